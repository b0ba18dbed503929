//! The institution's three keys and the node's data key, one file each, readable by their owner alone. Made once, never
//! committed.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::ids::InstitutionId;
use domain::member::{MemberEntry, Purpose, Role, Signature};
use hmac::{Hmac, KeyInit as _, Mac as _};
use ledger::key::{NoteSigner, PrivateKey};

/// Why the keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file cannot be read or written.
    #[error("{path}: {error}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// Others may read the file.
    #[error("{0} can be read by others; set its mode to 600")]
    Open(PathBuf),
    /// The file does not hold a key of this purpose.
    #[error("{0} does not hold a {1} key")]
    Unreadable(PathBuf, &'static str),
}

const PURPOSES: [(Purpose, &str); 3] = [(Purpose::Log, "log"), (Purpose::Node, "node"), (Purpose::Witness, "witness")];

/// What the file of the data key is called: it never leaves the node, and is registered nowhere.
const DATA: &str = "data";

/// The three private seeds, by purpose, and the data key.
pub struct NodeKeys {
    seeds: [[u8; 32]; 3],
    data: [u8; 32],
}

impl NodeKeys {
    /// Reads the keys of a directory, or makes them if none is there yet.
    ///
    /// # Errors
    ///
    /// [`KeyFileError`]; a key that is there is never overwritten.
    pub fn load_or_make(dir: &Path) -> Result<Self, KeyFileError> {
        fs::create_dir_all(dir).map_err(|error| KeyFileError::Io { path: dir.to_owned(), error })?;
        let one = |word| {
            let path = dir.join(format!("{word}.key"));
            if path.exists() { read(&path, word) } else { make(&path, word) }
        };
        let mut seeds = [[0; 32]; 3];
        for (seed, (_, word)) in seeds.iter_mut().zip(PURPOSES) {
            *seed = one(word)?;
        }
        Ok(Self { seeds, data: one(DATA)? })
    }

    /// A key of this node's own for one purpose, made of the data key.
    fn derived(&self, purpose: &str) -> [u8; 32] {
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&self.data).expect("any length is a key of an HMAC");
        mac.update(b"voucher-node/v1/");
        mac.update(purpose.as_bytes());
        mac.finalize().into_bytes().into()
    }

    /// Wraps the keys in the vault's slots.
    #[must_use]
    pub fn vault_key(&self) -> [u8; 32] {
        self.derived("vault")
    }

    /// Keys the digests of requests: what stands in a record must not let anybody try what a request said of a person.
    #[must_use]
    pub fn request_key(&self) -> [u8; 32] {
        self.derived("request")
    }

    fn private(&self, purpose: Purpose) -> PrivateKey {
        PrivateKey::from_seed(&self.seeds[purpose as usize])
    }

    /// Signs checkpoints of the log of this name.
    ///
    /// # Errors
    ///
    /// The name is not one for a note's key.
    pub fn log_signer(&self, origin: &str) -> Result<NoteSigner, ledger::key::KeyError> {
        NoteSigner::new(origin, self.private(Purpose::Log))
    }

    /// The key that signs QR tokens.
    #[must_use]
    pub fn node_key(&self) -> ed25519_dalek::SigningKey {
        ed25519_dalek::SigningKey::from_bytes(&self.seeds[Purpose::Node as usize])
    }

    /// The public halves, by purpose.
    #[must_use]
    pub fn public(&self) -> [[u8; 32]; 3] {
        PURPOSES.map(|(purpose, _)| *self.private(purpose).public().as_bytes())
    }

    /// What the institution asks to be registered with: keys, and proof that it has them.
    #[must_use]
    pub fn entry(&self, institution: InstitutionId, roles: &[Role], url: &str, origin: &str) -> MemberEntry {
        let mut roles = roles.to_vec();
        roles.sort_unstable();
        roles.dedup();
        let proofs: [Signature; 3] = PURPOSES.map(|(purpose, _)| {
            let message = actors::replica::possession_message(institution, purpose, origin);
            actors::replica::signature_of(&self.private(purpose).sign(&message))
        });
        let (url, origin) = (url.to_owned(), origin.to_owned());
        MemberEntry { institution, roles, url, origin, keys: self.public(), proofs }
    }
}

fn header(word: &str) -> String {
    format!("voucher-node/v1/{word}-key ")
}

fn read(path: &Path, word: &'static str) -> Result<[u8; 32], KeyFileError> {
    let io = |error| KeyFileError::Io { path: path.to_owned(), error };
    let mode = fs::metadata(path).map_err(io)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Open(path.to_owned()));
    }
    let text = fs::read_to_string(path).map_err(io)?;
    let seed = text.strip_prefix(&header(word)).and_then(|b64| STANDARD.decode(b64.trim_end()).ok());
    seed.and_then(|s| s.try_into().ok()).ok_or(KeyFileError::Unreadable(path.to_owned(), word))
}

fn make(path: &Path, word: &str) -> Result<[u8; 32], KeyFileError> {
    let io = |error| KeyFileError::Io { path: path.to_owned(), error };
    let seed: [u8; 32] = rand::random();
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(io)?;
    writeln!(file, "{}{}", header(word), STANDARD.encode(seed)).map_err(io)?;
    file.sync_all().map_err(io)?;
    Ok(seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_made_once_and_guarded() {
        let dir = tempfile::tempdir().unwrap();
        let first = NodeKeys::load_or_make(dir.path()).unwrap().public();
        assert_eq!(NodeKeys::load_or_make(dir.path()).unwrap().public(), first);
        assert!(first[0] != first[1] && first[1] != first[2]);

        let log = dir.path().join("log.key");
        fs::set_permissions(&log, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(NodeKeys::load_or_make(dir.path()), Err(KeyFileError::Open(_))));

        fs::set_permissions(&log, fs::Permissions::from_mode(0o600)).unwrap();
        fs::copy(dir.path().join("node.key"), &log).unwrap();
        assert!(matches!(NodeKeys::load_or_make(dir.path()), Err(KeyFileError::Unreadable(..))));
    }
}
