//! The institution's three keys and the node's data key, one file each, readable by their owner alone. Made once, never
//! committed.

use std::fs;
use std::path::Path;

use actors::vault::format::Key;
use domain::ids::InstitutionId;
use domain::member::{MemberEntry, Purpose, Role, Signature};
use hmac::{Hmac, KeyInit as _, Mac as _};
use ledger::key::{NoteSigner, PrivateKey};
use zeroize::Zeroizing;

pub use crate::keyfile::{KeyFileError, Passphrase};
use crate::keyfile::{make, read};

const PURPOSES: [(Purpose, &str); 3] = [(Purpose::Log, "log"), (Purpose::Node, "node"), (Purpose::Witness, "witness")];

/// What the file of the data key is called: it never leaves the node, and is registered nowhere.
const DATA: &str = "data";

/// The three private seeds, by purpose, and the data key.
pub struct NodeKeys {
    seeds: [Key; 3],
    data: Key,
}

impl NodeKeys {
    /// Reads the keys of a directory, or makes them if none is there yet; under the passphrase to which the environment
    /// leads, if it leads to one.
    ///
    /// # Errors
    ///
    /// [`KeyFileError`]; a key that is there is never overwritten.
    pub fn load_or_make(dir: &Path) -> Result<Self, KeyFileError> {
        Self::load_or_make_under(dir, Passphrase::from_environment()?.as_ref())
    }

    /// The same under a passphrase, or none.
    ///
    /// # Errors
    ///
    /// As above.
    pub fn load_or_make_under(dir: &Path, passphrase: Option<&Passphrase>) -> Result<Self, KeyFileError> {
        fs::create_dir_all(dir).map_err(|error| KeyFileError::Io { path: dir.to_owned(), error })?;
        let one = |word| {
            let path = dir.join(format!("{word}.key"));
            if path.exists() { read(&path, word, passphrase) } else { make(&path, word, passphrase) }
        };
        let [log, node, witness] = PURPOSES.map(|(_, word)| one(word));
        Ok(Self { seeds: [log?, node?, witness?], data: one(DATA)? })
    }

    /// Seals the keys of a directory under a passphrase; how many were in plain.
    ///
    /// # Errors
    ///
    /// [`KeyFileError`]; those before it are sealed then, and the same command goes on.
    pub fn seal(dir: &Path, passphrase: &Passphrase) -> Result<usize, KeyFileError> {
        let mut sealed = 0;
        for word in PURPOSES.map(|(_, word)| word).into_iter().chain([DATA]) {
            sealed += usize::from(crate::keyfile::seal(&dir.join(format!("{word}.key")), word, passphrase)?);
        }
        Ok(sealed)
    }

    /// A key of this node's own for one purpose, made of the data key.
    fn derived(&self, purpose: &str) -> Key {
        let mut mac =
            Hmac::<sha2::Sha256>::new_from_slice(self.data.as_slice()).expect("any length is a key of an HMAC");
        mac.update(b"voucher-node/v1/");
        mac.update(purpose.as_bytes());
        Zeroizing::new(mac.finalize().into_bytes().into())
    }

    /// Wraps the keys in the vault's slots.
    #[must_use]
    pub fn vault_key(&self) -> Key {
        self.derived("vault")
    }

    /// Keys the digests of requests: what stands in a record must not let anybody try what a request said of a person.
    #[must_use]
    pub fn request_key(&self) -> Key {
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

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

    #[test]
    fn sealed_keys_open_with_their_passphrase_alone() {
        let dir = tempfile::tempdir().unwrap();
        let passphrase = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            Passphrase::read(&path)
        };
        let good = passphrase("good", "correct horse battery\n").unwrap();
        let other = passphrase("other", "incorrect horse battery").unwrap();
        assert!(matches!(passphrase("short", "horse\n"), Err(KeyFileError::Short(_))));
        let keys = dir.path().join("keys");
        let under = |passphrase| NodeKeys::load_or_make_under(&keys, passphrase);
        let first = under(None).unwrap();
        let plain = fs::read_to_string(keys.join("log.key")).unwrap();
        assert!(matches!(under(Some(&good)), Err(KeyFileError::NotSealed(_))));
        // What was opened before the file got another in its place shows what becomes of the old bytes.
        let mut old = fs::File::open(keys.join("log.key")).unwrap();
        assert_eq!(NodeKeys::seal(&keys, &good).unwrap(), 4);
        assert_eq!(NodeKeys::seal(&keys, &good).unwrap(), 0);
        let mut left = Vec::new();
        std::io::Read::read_to_end(&mut old, &mut left).unwrap();
        assert_eq!(left, vec![0; plain.len()]);
        let again = under(Some(&good)).unwrap();
        assert_eq!((again.public(), &again.data), (first.public(), &first.data));
        assert!(matches!(under(None), Err(KeyFileError::NoPassphrase(_))));
        assert!(matches!(under(Some(&other)), Err(KeyFileError::OtherPassphrase(_))));
        // A key for another purpose does not open, though the passphrase is right.
        let sealed = fs::read_to_string(keys.join("node.key")).unwrap();
        fs::write(keys.join("log.key"), sealed.replace("node-key-sealed", "log-key-sealed")).unwrap();
        assert!(matches!(under(Some(&good)), Err(KeyFileError::OtherPassphrase(_))));
    }
}
