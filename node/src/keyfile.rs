//! One key in one file: its owner's alone to read, in plain or sealed under a passphrase.
//!
//! ```text
//! voucher-node/v1/log-key 5nQ…                                        plain, base64
//! voucher-node/v1/log-key-sealed 65536 3 1 salt nonce ciphertext      Argon2id (KiB, passes, lanes), XChaCha20-Poly1305
//! ```
//!
//! The passphrase comes from a file that `VOUCHER_PASSPHRASE_FILE` names, or from systemd's credential
//! `voucher-passphrase`; never from the command line or the environment itself, which others can read.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use actors::vault::format::{Key, decrypt, encrypt};
use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

/// Names the file of the passphrase.
pub const PASSPHRASE_FILE: &str = "VOUCHER_PASSPHRASE_FILE";

/// Name of the passphrase among systemd's credentials (`LoadCredential=`, `LoadCredentialEncrypted=`).
pub const CREDENTIAL: &str = "voucher-passphrase";

/// Memory of one try, in KiB.
const ARGON_KIB: u32 = 64 * 1024;

/// Passes over it.
const ARGON_PASSES: u32 = 3;

/// Most memory that a file may ask for, in KiB.
const MAX_ARGON_KIB: u32 = 1024 * 1024;

/// Most passes that a file may ask for.
const MAX_ARGON_PASSES: u32 = 16;

/// Shortest passphrase, in bytes.
const MIN_PASSPHRASE_BYTES: usize = 12;

/// Longest file of a key or passphrase, in bytes.
const MAX_FILE_BYTES: u64 = 4 * 1024;

/// Why a key cannot be used.
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
    /// It needs a passphrase, and there is none.
    #[error("{0} is sealed: name the file of its passphrase in {PASSPHRASE_FILE}, or give the credential {CREDENTIAL}")]
    NoPassphrase(PathBuf),
    /// It was sealed under another passphrase.
    #[error("{0} does not open with this passphrase")]
    OtherPassphrase(PathBuf),
    /// There is a passphrase, and the key lies there in plain.
    #[error("{0} is not sealed, and there is a passphrase: `voucher-node keys seal` seals it")]
    NotSealed(PathBuf),
    /// It would leave this machine, and lies there in plain.
    #[error("{0} is not sealed: `voucher-node keys seal` seals it under a passphrase")]
    InPlain(PathBuf),
    /// A passphrase that can be tried out.
    #[error("the passphrase in {0} is shorter than {MIN_PASSPHRASE_BYTES} bytes")]
    Short(PathBuf),
}

/// A passphrase: wiped when it is dropped, and shown by nothing.
#[derive(Debug, Clone)]
pub struct Passphrase(SecretString);

impl Passphrase {
    /// The passphrase of a file, without the end of its line.
    ///
    /// # Errors
    ///
    /// It cannot be read, others may read it, or it is too short.
    pub fn read(path: &Path) -> Result<Self, KeyFileError> {
        let text = text_of(path)?;
        let passphrase = text.trim_end_matches(['\r', '\n']);
        if passphrase.len() < MIN_PASSPHRASE_BYTES {
            return Err(KeyFileError::Short(path.to_owned()));
        }
        Ok(Self(passphrase.to_owned().into()))
    }

    /// The passphrase that the environment leads to, if it leads to one.
    ///
    /// # Errors
    ///
    /// As for [`Passphrase::read`]; a file that is named must be there, a credential need not.
    pub fn from_environment() -> Result<Option<Self>, KeyFileError> {
        if let Some(path) = std::env::var_os(PASSPHRASE_FILE).filter(|path| !path.is_empty()) {
            return Self::read(Path::new(&path)).map(Some);
        }
        let credential = std::env::var_os("CREDENTIALS_DIRECTORY").map(|dir| Path::new(&dir).join(CREDENTIAL));
        credential.filter(|path| path.exists()).map(|path| Self::read(&path)).transpose()
    }

    fn key(&self, salt: &[u8], [kib, passes, lanes]: [u32; 3]) -> Option<Key> {
        let params = Params::new(kib, passes, lanes, Some(32)).ok()?;
        let mut key = Zeroizing::new([0; 32]);
        let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        argon.hash_password_into(self.0.expose_secret().as_bytes(), salt, key.as_mut_slice()).ok()?;
        Some(key)
    }
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> KeyFileError + '_ {
    move |error| KeyFileError::Io { path: path.to_owned(), error }
}

/// A small file that its owner alone may read.
fn text_of(path: &Path) -> Result<Zeroizing<String>, KeyFileError> {
    let file = File::open(path).map_err(io(path))?;
    if file.metadata().map_err(io(path))?.permissions().mode() & 0o077 != 0 {
        return Err(KeyFileError::Open(path.to_owned()));
    }
    let mut text = Zeroizing::new(String::with_capacity(MAX_FILE_BYTES as usize));
    file.take(MAX_FILE_BYTES).read_to_string(&mut text).map_err(io(path))?;
    Ok(text)
}

/// The first line of a small file that its owner alone may read: a secret of somebody else's making.
///
/// # Errors
///
/// It cannot be read, or others may read it.
pub fn first_line(path: &Path) -> Result<Zeroizing<String>, KeyFileError> {
    let text = text_of(path)?;
    Ok(Zeroizing::new(text.lines().next().unwrap_or_default().to_owned()))
}

fn header(word: &str) -> String {
    format!("voucher-node/v1/{word}-key ")
}

fn sealed_header(word: &str) -> String {
    format!("voucher-node/v1/{word}-key-sealed ")
}

/// Whether a file has a sealed key.
///
/// # Errors
///
/// It cannot be read, or others may read it.
pub fn is_sealed(path: &Path, word: &str) -> Result<bool, KeyFileError> {
    Ok(text_of(path)?.starts_with(&sealed_header(word)))
}

/// What a file holds.
enum Held {
    Plain(Key),
    Sealed(Key),
}

fn held(path: &Path, word: &'static str, passphrase: Option<&Passphrase>) -> Result<Held, KeyFileError> {
    let text = text_of(path)?;
    let unreadable = || KeyFileError::Unreadable(path.to_owned(), word);
    if let Some(sealed) = text.strip_prefix(&sealed_header(word)) {
        let passphrase = passphrase.ok_or_else(|| KeyFileError::NoPassphrase(path.to_owned()))?;
        let (costs, salt, nonce, hidden) = parse(sealed).ok_or_else(unreadable)?;
        let under = passphrase.key(&salt, costs).ok_or_else(unreadable)?;
        let opened = decrypt(&under, &nonce, bound(word, costs, &salt).as_bytes(), &hidden);
        let opened = opened.ok_or_else(|| KeyFileError::OtherPassphrase(path.to_owned()))?;
        let key: [u8; 32] = opened.as_slice().try_into().map_err(|_| unreadable())?;
        return Ok(Held::Sealed(Zeroizing::new(key)));
    }
    let base64 = text.strip_prefix(&header(word)).ok_or_else(unreadable)?;
    let seed = Zeroizing::new(STANDARD.decode(base64.trim_end()).map_err(|_| unreadable())?);
    let key: [u8; 32] = seed.as_slice().try_into().map_err(|_| unreadable())?;
    Ok(Held::Plain(Zeroizing::new(key)))
}

/// Costs, salt, nonce, ciphertext.
type Parsed = ([u32; 3], Vec<u8>, [u8; 24], Vec<u8>);

fn parse(text: &str) -> Option<Parsed> {
    let mut words = text.split_ascii_whitespace();
    let mut number = || words.next()?.parse::<u32>().ok();
    let costs = [number()?, number()?, number()?];
    let fits = costs[0] <= MAX_ARGON_KIB && costs[1] <= MAX_ARGON_PASSES && costs[2] == 1;
    let mut bytes = || STANDARD.decode(words.next()?).ok();
    let (salt, nonce, hidden) = (bytes()?, bytes()?, bytes()?);
    (fits && words.next().is_none()).then_some((costs, salt, nonce.try_into().ok()?, hidden))
}

/// A sealed key is bound to its purpose and costs.
fn bound(word: &str, costs: [u32; 3], salt: &[u8]) -> String {
    format!("{}{costs:?} {}", sealed_header(word), STANDARD.encode(salt))
}

/// Reads a key.
///
/// # Errors
///
/// [`KeyFileError`].
pub fn read(path: &Path, word: &'static str, passphrase: Option<&Passphrase>) -> Result<Key, KeyFileError> {
    match held(path, word, passphrase)? {
        Held::Plain(_) if passphrase.is_some() => Err(KeyFileError::NotSealed(path.to_owned())),
        Held::Plain(key) | Held::Sealed(key) => Ok(key),
    }
}

/// Makes a key where there is none.
///
/// # Errors
///
/// [`KeyFileError::Io`], also if there is one.
pub fn make(path: &Path, word: &'static str, passphrase: Option<&Passphrase>) -> Result<Key, KeyFileError> {
    let key: Key = Zeroizing::new(rand::random());
    keep(path, word, &key, passphrase)?;
    Ok(key)
}

/// Keeps a key where there is none.
///
/// # Errors
///
/// [`KeyFileError::Io`], also if there is one.
pub fn keep(path: &Path, word: &'static str, key: &Key, passphrase: Option<&Passphrase>) -> Result<(), KeyFileError> {
    write(path, &line(path, word, key, passphrase)?)
}

fn line(
    path: &Path,
    word: &'static str,
    key: &Key,
    passphrase: Option<&Passphrase>,
) -> Result<Zeroizing<String>, KeyFileError> {
    let Some(passphrase) = passphrase else {
        let base64 = Zeroizing::new(STANDARD.encode(key.as_slice()));
        return Ok(Zeroizing::new(format!("{}{}\n", header(word), *base64)));
    };
    let costs = [ARGON_KIB, ARGON_PASSES, 1];
    sealed_line(word, key, passphrase, costs).ok_or_else(|| KeyFileError::Unreadable(path.to_owned(), word))
}

/// A key sealed at some costs (KiB, passes, lanes); none if they cannot be.
pub(crate) fn sealed_line(
    word: &str,
    key: &Key,
    passphrase: &Passphrase,
    costs: [u32; 3],
) -> Option<Zeroizing<String>> {
    let (salt, nonce): ([u8; 16], [u8; 24]) = (rand::random(), rand::random());
    let under = passphrase.key(&salt, costs)?;
    let hidden = encrypt(&under, &nonce, bound(word, costs, &salt).as_bytes(), key.as_slice());
    let [kib, passes, lanes] = costs;
    let (salt, nonce, hidden) = (STANDARD.encode(salt), STANDARD.encode(nonce), STANDARD.encode(hidden));
    Some(Zeroizing::new(format!("{}{kib} {passes} {lanes} {salt} {nonce} {hidden}\n", sealed_header(word))))
}

fn write(path: &Path, text: &str) -> Result<(), KeyFileError> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(io(path))?;
    file.write_all(text.as_bytes()).map_err(io(path))?;
    file.sync_all().map_err(io(path))?;
    sync_names(path)
}

/// Seals a key under a passphrase, in place of what the file was; whether it was in plain. What was in plain is
/// overwritten.
///
/// # Errors
///
/// [`KeyFileError`]; the old file stands until the new one is whole on disk.
pub fn seal(path: &Path, word: &'static str, passphrase: &Passphrase) -> Result<bool, KeyFileError> {
    let Held::Plain(key) = held(path, word, Some(passphrase))? else { return Ok(false) };
    let beside = path.with_extension("key.new");
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(&beside)(error)),
        _ => {}
    }
    write(&beside, &line(path, word, &key, Some(passphrase))?)?;
    put_in_place(&beside, path)?;
    Ok(true)
}

/// Puts a file in another's place, and overwrites what that one was, if there was one.
///
/// # Errors
///
/// [`KeyFileError::Io`]. Both stand as they were until the one is in place of the other.
pub fn put_in_place(beside: &Path, path: &Path) -> Result<(), KeyFileError> {
    let old = match OpenOptions::new().write(true).open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        opened => Some(opened.map_err(io(path))?),
    };
    fs::rename(beside, path).map_err(io(path))?;
    sync_names(path)?;
    // The old bytes have no name any more; they go from the disk as well.
    old.map_or(Ok(()), |old| overwrite(old, path))
}

/// Overwrites a file and removes it, if it is there.
///
/// # Errors
///
/// [`KeyFileError::Io`].
pub fn wipe(path: &Path) -> Result<(), KeyFileError> {
    let old = match OpenOptions::new().write(true).open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        opened => opened.map_err(io(path))?,
    };
    overwrite(old, path)?;
    fs::remove_file(path).map_err(io(path))?;
    sync_names(path)
}

fn overwrite(mut old: File, path: &Path) -> Result<(), KeyFileError> {
    let length = usize::try_from(old.metadata().map_err(io(path))?.len()).unwrap_or_default();
    old.seek(SeekFrom::Start(0)).and_then(|_| old.write_all(&vec![0; length])).map_err(io(path))?;
    old.sync_all().map_err(io(path))
}

/// Makes the names in a file's directory last.
fn sync_names(path: &Path) -> Result<(), KeyFileError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(io(dir))
}
