//! The institution's three keys and the node's data key, one file each, readable by their owner alone. Never committed.
//!
//! ```text
//! log.key  node.key  witness.key  data.key      in use
//! log.next.key …                                made, and waiting for the registrar's record (node/src/rotation.rs)
//! data.next.key                                 the vault is being wrapped anew (node/src/rewrap.rs)
//! request.before.key                            keyed the digests of requests before that, for a day
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use actors::vault::format::Key;
use domain::ids::InstitutionId;
use domain::member::{MemberEntry, Purpose, Role, Signature};
use hmac::{Hmac, KeyInit as _, Mac as _};
use ledger::cosignature::Cosigner;
use ledger::key::{NoteSigner, PrivateKey};
use parking_lot::RwLock;
use zeroize::Zeroizing;

use crate::keyfile;
pub use crate::keyfile::{KeyFileError, Passphrase};
use crate::keyfile::{make, read};

/// The keys that the registry knows, and what their files are called.
pub const PURPOSES: [(Purpose, &str); 3] =
    [(Purpose::Log, "log"), (Purpose::Node, "node"), (Purpose::Witness, "witness")];

/// What the file of the data key is called: it never leaves the node, and is registered nowhere.
pub(crate) const DATA: &str = "data";

/// What the file of the key is called under which the digests of requests stood before the vault was wrapped anew.
const REQUEST: &str = "request";

/// How long that one is kept: a request may be repeated for a day.
const REQUEST_BEFORE_KEPT: Duration = Duration::from_secs(25 * 3_600);

/// Where a key lies.
#[must_use]
pub fn file_of(dir: &Path, word: &str) -> PathBuf {
    dir.join(format!("{word}.key"))
}

/// Where a key lies that is to take another's place.
#[must_use]
pub fn next_file_of(dir: &Path, word: &str) -> PathBuf {
    dir.join(format!("{word}.next.key"))
}

fn before_file_of(dir: &Path, word: &str) -> PathBuf {
    dir.join(format!("{word}.before.key"))
}

/// What of a kind of key is in memory.
struct Held {
    /// In use.
    now: Key,
    /// Its public half.
    public: [u8; 32],
    /// Made, and not yet named by the registrar.
    next: Option<Key>,
    /// In use before, in this process.
    before: Option<Key>,
}

impl Held {
    fn new(now: Key, next: Option<Key>) -> Self {
        Self { public: public_of(&now), now, next, before: None }
    }
}

fn public_of(seed: &Key) -> [u8; 32] {
    *PrivateKey::from_seed(seed).public().as_bytes()
}

struct Inner {
    dir: PathBuf,
    held: RwLock<[Held; 3]>,
    data: Key,
    request_before: Option<Key>,
}

/// The three private seeds, by purpose, and the data key. Clones share them: who took the next key took it for all.
#[derive(Clone)]
pub struct NodeKeys(Arc<Inner>);

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
            let path = file_of(dir, word);
            if path.exists() { read(&path, word, passphrase) } else { make(&path, word, passphrase) }
        };
        let three = |(_, word)| {
            let (path, next) = (file_of(dir, word), next_file_of(dir, word));
            if !path.exists() && next.exists() {
                // The old one is lost. With the next one nobody believes this node before the registrar names it.
                keyfile::put_in_place(&next, &path)?;
            }
            let next = next.exists().then(|| read(&next, word, passphrase)).transpose()?;
            Ok(Held::new(one(word)?, next))
        };
        let [log, node, witness] = PURPOSES.map(three);
        let request_before = request_before(dir, passphrase)?;
        let held = RwLock::new([log?, node?, witness?]);
        Ok(Self(Arc::new(Inner { dir: dir.to_owned(), held, data: one(DATA)?, request_before })))
    }

    /// Seals the keys of a directory under a passphrase; how many were in plain.
    ///
    /// # Errors
    ///
    /// [`KeyFileError`]; those before it are sealed then, and the same command goes on.
    pub fn seal(dir: &Path, passphrase: &Passphrase) -> Result<usize, KeyFileError> {
        let mut sealed = 0;
        for (path, word) in Self::files(dir) {
            sealed += usize::from(keyfile::seal(&path, word, passphrase)?);
        }
        Ok(sealed)
    }

    /// All files of keys: those that must be there, and those others that are.
    fn files(dir: &Path) -> Vec<(PathBuf, &'static str)> {
        let words = PURPOSES.map(|(_, word)| word).into_iter().chain([DATA]);
        let mut files: Vec<_> = words.clone().map(|word| (file_of(dir, word), word)).collect();
        let others = words.map(|word| (next_file_of(dir, word), word)).chain([(before_file_of(dir, REQUEST), REQUEST)]);
        files.extend(others.filter(|(path, _)| path.exists()));
        files
    }

    /// The files of the keys, each sealed: what may be copied to where others come.
    ///
    /// # Errors
    ///
    /// [`KeyFileError::InPlain`] names one that is not.
    pub fn sealed_files(dir: &Path) -> Result<Vec<PathBuf>, KeyFileError> {
        let sealed = |(path, word): (PathBuf, _)| {
            if keyfile::is_sealed(&path, word)? { Ok(path) } else { Err(KeyFileError::InPlain(path)) }
        };
        Self::files(dir).into_iter().map(sealed).collect()
    }

    /// Makes the next key of a purpose, beside the one in use; its public half.
    ///
    /// # Errors
    ///
    /// [`KeyFileError`], also if there is a next one already.
    pub fn make_next(
        dir: &Path,
        purpose: Purpose,
        passphrase: Option<&Passphrase>,
    ) -> Result<PrivateKey, KeyFileError> {
        let (_, word) = PURPOSES[purpose as usize];
        make(&next_file_of(dir, word), word, passphrase).map(|seed| PrivateKey::from_seed(&seed))
    }

    /// The key of a purpose as its file has it; none if the file is gone.
    ///
    /// # Errors
    ///
    /// [`KeyFileError`].
    pub fn in_file(
        dir: &Path,
        purpose: Purpose,
        passphrase: Option<&Passphrase>,
    ) -> Result<Option<PrivateKey>, KeyFileError> {
        let (_, word) = PURPOSES[purpose as usize];
        let path = file_of(dir, word);
        let seed = path.exists().then(|| read(&path, word, passphrase)).transpose()?;
        Ok(seed.map(|seed| PrivateKey::from_seed(&seed)))
    }

    /// The file of a purpose that is not there, and has no successor.
    #[must_use]
    pub fn missing(dir: &Path) -> Option<(&'static str, PathBuf)> {
        let gone = |word: &str| !file_of(dir, word).exists() && !next_file_of(dir, word).exists();
        PURPOSES.iter().find(|(_, word)| gone(word)).map(|(_, word)| (*word, file_of(dir, word)))
    }

    /// Reads those next keys that were made while the node runs.
    ///
    /// # Errors
    ///
    /// [`KeyFileError`].
    pub fn look_for_next(&self) -> Result<(), KeyFileError> {
        for (purpose, word) in PURPOSES {
            let path = next_file_of(&self.0.dir, word);
            if self.0.held.read()[purpose as usize].next.is_none() && path.exists() {
                let next = read(&path, word, Passphrase::from_environment()?.as_ref())?;
                self.0.held.write()[purpose as usize].next = Some(next);
            }
        }
        Ok(())
    }

    /// Whether there is a next key that is not in use yet.
    #[must_use]
    pub fn has_next(&self, purpose: Purpose) -> bool {
        self.0.held.read()[purpose as usize].next.is_some()
    }

    /// Takes the next key of a purpose into use, if it is the one of this public half; the old file is overwritten.
    ///
    /// # Errors
    ///
    /// [`KeyFileError`].
    pub fn take_next(&self, purpose: Purpose, named: &[u8; 32]) -> Result<bool, KeyFileError> {
        let (_, word) = PURPOSES[purpose as usize];
        let mut held = self.0.held.write();
        let held = &mut held[purpose as usize];
        let Some(next) = held.next.take_if(|next| public_of(next) == *named) else { return Ok(false) };
        if let Err(error) = keyfile::put_in_place(&next_file_of(&self.0.dir, word), &file_of(&self.0.dir, word)) {
            held.next = Some(next);
            return Err(error);
        }
        held.public = *named;
        held.before = Some(std::mem::replace(&mut held.now, next));
        Ok(true)
    }

    /// A key of this node's own for one purpose, made of the data key.
    fn derived(&self, purpose: &str) -> Key {
        derived(&self.0.data, purpose)
    }

    /// Wraps the keys in the vault's slots.
    #[must_use]
    pub fn vault_key(&self) -> Key {
        vault_key(&self.0.data)
    }

    /// Keys the digests of requests: what stands in a record must not let anybody try what a request said of a person.
    #[must_use]
    pub fn request_key(&self) -> Key {
        self.derived(REQUEST)
    }

    /// Keyed them before the vault was wrapped anew: for requests that are repeated.
    #[must_use]
    pub fn request_key_before(&self) -> Option<Key> {
        self.0.request_before.clone()
    }

    /// Keeps the key of the digests of requests for those that are repeated after the data key is another one.
    ///
    /// # Errors
    ///
    /// [`KeyFileError`].
    pub fn keep_request_key(&self, passphrase: Option<&Passphrase>) -> Result<(), KeyFileError> {
        let path = before_file_of(&self.0.dir, REQUEST);
        keyfile::wipe(&path)?;
        keyfile::keep(&path, REQUEST, &self.request_key(), passphrase)
    }

    fn private(&self, purpose: Purpose) -> PrivateKey {
        PrivateKey::from_seed(&self.0.held.read()[purpose as usize].now)
    }

    /// Signs checkpoints of the log of this name.
    ///
    /// # Errors
    ///
    /// The name is not one for a note's key.
    pub fn log_signer(&self, origin: &str) -> Result<NoteSigner, ledger::key::KeyError> {
        NoteSigner::new(origin, self.private(Purpose::Log))
    }

    /// What cosigns the logs of the federation, under this institution's name.
    ///
    /// # Errors
    ///
    /// The name cannot be that of a key.
    pub fn cosigner(&self, name: &str) -> Result<Cosigner, ledger::key::KeyError> {
        Cosigner::new(name, self.private(Purpose::Witness))
    }

    /// The key that signs QR tokens.
    #[must_use]
    pub fn node_key(&self) -> ed25519_dalek::SigningKey {
        ed25519_dalek::SigningKey::from_bytes(&self.0.held.read()[Purpose::Node as usize].now)
    }

    /// The node key that somebody may believe who has another copy of the registrar's log: the next one, or the one before.
    #[must_use]
    pub fn other_node_key(&self) -> Option<ed25519_dalek::SigningKey> {
        let held = self.0.held.read();
        let held = &held[Purpose::Node as usize];
        held.next.as_ref().or(held.before.as_ref()).map(|seed| ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// The public halves, by purpose.
    #[must_use]
    pub fn public(&self) -> [[u8; 32]; 3] {
        self.0.held.read().each_ref().map(|held| held.public)
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

fn derived(data: &Key, purpose: &str) -> Key {
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(data.as_slice()).expect("any length is a key of an HMAC");
    mac.update(b"voucher-node/v1/");
    mac.update(purpose.as_bytes());
    Zeroizing::new(mac.finalize().into_bytes().into())
}

/// The key that a data key gives for the vault's slots.
pub(crate) fn vault_key(data: &Key) -> Key {
    derived(data, "vault")
}

/// The key of requests before the vault was wrapped anew, as long as it is of use.
fn request_before(dir: &Path, passphrase: Option<&Passphrase>) -> Result<Option<Key>, KeyFileError> {
    let path = before_file_of(dir, REQUEST);
    let Ok(made) = fs::metadata(&path).and_then(|file| file.modified()) else { return Ok(None) };
    let age = crate::clock::machine_time().duration_since(made).unwrap_or_default();
    if age > REQUEST_BEFORE_KEPT {
        return keyfile::wipe(&path).map(|()| None);
    }
    read(&path, REQUEST, passphrase).map(Some)
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
        assert_eq!((again.public(), &again.0.data), (first.public(), &first.0.data));
        assert!(matches!(under(None), Err(KeyFileError::NoPassphrase(_))));
        assert!(matches!(under(Some(&other)), Err(KeyFileError::OtherPassphrase(_))));
        // A key for another purpose does not open, though the passphrase is right.
        let sealed = fs::read_to_string(keys.join("node.key")).unwrap();
        fs::write(keys.join("log.key"), sealed.replace("node-key-sealed", "log-key-sealed")).unwrap();
        assert!(matches!(under(Some(&good)), Err(KeyFileError::OtherPassphrase(_))));
    }

    #[test]
    fn the_next_key_is_taken_when_it_is_named_and_the_old_one_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let keys = NodeKeys::load_or_make(dir.path()).unwrap();
        let old = keys.public();
        let next = *NodeKeys::make_next(dir.path(), Purpose::Node, None).unwrap().public().as_bytes();
        assert!(NodeKeys::make_next(dir.path(), Purpose::Node, None).is_err(), "one at a time");
        let file = next_file_of(dir.path(), "node");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!keys.take_next(Purpose::Node, &next).unwrap(), "it has not looked");
        keys.look_for_next().unwrap();
        assert!(!keys.take_next(Purpose::Node, &old[0]).unwrap() && !keys.take_next(Purpose::Log, &next).unwrap());
        assert_eq!((keys.public(), keys.has_next(Purpose::Node)), (old, true));

        let mut there = fs::File::open(file_of(dir.path(), "node")).unwrap();
        let before = keys.node_key();
        assert!(keys.take_next(Purpose::Node, &next).unwrap());
        assert_eq!(keys.public(), [old[0], next, old[2]]);
        assert_eq!(keys.other_node_key().unwrap(), before, "for who has not heard of it yet");
        assert_eq!(NodeKeys::load_or_make(dir.path()).unwrap().public(), keys.public());
        assert!(!file.exists());
        let mut left = Vec::new();
        std::io::Read::read_to_end(&mut there, &mut left).unwrap();
        assert!(left.iter().all(|byte| *byte == 0), "the old bytes are overwritten");

        // Lost, with a next one that nobody has named yet: nobody believes it, and nothing is made in its place.
        let lost = *NodeKeys::make_next(dir.path(), Purpose::Log, None).unwrap().public().as_bytes();
        fs::remove_file(file_of(dir.path(), "log")).unwrap();
        assert_eq!(NodeKeys::missing(dir.path()), None);
        assert_eq!(NodeKeys::load_or_make(dir.path()).unwrap().public()[0], lost);
        fs::remove_file(file_of(dir.path(), "log")).unwrap();
        assert_eq!(NodeKeys::missing(dir.path()).unwrap().0, "log");
    }
}
