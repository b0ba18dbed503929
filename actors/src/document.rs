//! The keyed digest of an identity document: what finds a person again in private rows, and tells nothing without the key.

use domain::ids::{Digest, ShortName};
use sha2::Digest as _;

/// SHA-256 over the secret, the kind, a zero byte and the number in one spelling: letters and digits alone, upper case.
#[must_use]
pub fn digest(secret: &[u8; 32], kind: &ShortName, number: &str) -> Digest {
    let spelled: String = number.chars().filter(char::is_ascii_alphanumeric).collect();
    let mut hash = sha2::Sha256::new();
    for part in [secret.as_slice(), kind.as_str().as_bytes(), &[0], spelled.to_ascii_uppercase().as_bytes()] {
        hash.update(part);
    }
    Digest(hash.finalize().into())
}
