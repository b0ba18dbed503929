//! Ed25519 keys of notes, and the one place in which an Ed25519 signature is verified.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::note;

/// Longest key name, in bytes: other cosignature types have an 8-bit length for it.
pub const MAX_NAME_BYTES: usize = 255;

/// Longest vkey, in bytes: a name, two signs, 8 digits of the key ID and 44 characters of key.
pub const MAX_VKEY_BYTES: usize = MAX_NAME_BYTES + 54;

/// Why a key, a name or a vkey is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The bytes are no point of the curve.
    #[error("these bytes are not an Ed25519 public key")]
    NotAPoint,
    /// The same point has another, shorter encoding, so one key would have two names.
    #[error("this public key is not in its one canonical form")]
    NotCanonical,
    /// Anyone can make signatures that seem to come from this key.
    #[error("this public key is one of the few weak ones for which signatures can be made up")]
    SmallOrder,
    /// The point has a part of small order, so verifiers may disagree about its signatures.
    #[error("this public key has a part outside the prime-order group")]
    MixedOrder,
    /// A key name is 1 to 255 bytes without white space, control characters and plus signs.
    #[error("a key name is 1 to 255 bytes without spaces, control characters and plus signs")]
    Name,
    /// The vkey does not have the form name, plus, eight digits, plus, base64.
    #[error("a vkey reads NAME+KEYID+BASE64")]
    Vkey,
    /// The key ID in a vkey is not the one of its name and key.
    #[error("the key ID in the vkey does not belong to its name and key")]
    KeyId,
    /// The vkey has a signature type other than 0x01 and 0x04.
    #[error("keys of signature type {0:#04x} are not supported")]
    Type(u8),
}

/// An Ed25519 public key that passed [`PublicKey::checked`].
///
/// With serde it is 32 bytes without a length, and is checked when read.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "[u8; 32]", into = "[u8; 32]")]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Takes a key that is canonically encoded, free of torsion and not of small order.
    ///
    /// # Errors
    ///
    /// [`KeyError::NotAPoint`], [`KeyError::NotCanonical`], [`KeyError::SmallOrder`], [`KeyError::MixedOrder`].
    pub fn checked(bytes: &[u8; 32]) -> Result<PublicKey, KeyError> {
        let point = VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::NotAPoint)?.to_edwards();
        if point.compress().as_bytes() != bytes {
            return Err(KeyError::NotCanonical);
        }
        if point.is_small_order() {
            return Err(KeyError::SmallOrder);
        }
        if !point.is_torsion_free() {
            return Err(KeyError::MixedOrder);
        }
        Ok(PublicKey(*bytes))
    }

    /// The 32 bytes of RFC 8032.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl TryFrom<[u8; 32]> for PublicKey {
    type Error = KeyError;

    fn try_from(bytes: [u8; 32]) -> Result<PublicKey, KeyError> {
        PublicKey::checked(&bytes)
    }
}

impl From<PublicKey> for [u8; 32] {
    fn from(key: PublicKey) -> [u8; 32] {
        key.0
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whether `signature` is this key's over `message`, by the strict rule: canonical scalar and points, and no
/// point of small order. The answer never depends on other signatures.
pub fn verify_strict(key: &PublicKey, message: &[u8], signature: &[u8; 64]) -> bool {
    VerifyingKey::from_bytes(&key.0)
        .is_ok_and(|key| key.verify_strict(message, &Signature::from_bytes(signature)).is_ok())
}

/// An Ed25519 private key. It is wiped from memory when dropped and does not show itself.
pub struct PrivateKey(SigningKey);

impl PrivateKey {
    /// The key of a 32-byte seed (RFC 8032, section 5.1.5). Make the seed with the system's randomness.
    pub fn from_seed(seed: &[u8; 32]) -> PrivateKey {
        PrivateKey(SigningKey::from_bytes(seed))
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Signs a message. The caller gives it a domain: one key, one purpose.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey of {}", self.public())
    }
}

/// What a note key signs. The number is the signature type of C2SP signed-note.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyKind {
    /// Type 0x01: a log's signature over the note text.
    Log,
    /// Type 0x04: a witness's `cosignature/v1` over a time and the note text.
    Witness,
}

impl KeyKind {
    /// The byte in key IDs and vkeys.
    pub fn byte(self) -> u8 {
        match self {
            KeyKind::Log => 0x01,
            KeyKind::Witness => 0x04,
        }
    }

    fn from_byte(byte: u8) -> Result<KeyKind, KeyError> {
        match byte {
            0x01 => Ok(KeyKind::Log),
            0x04 => Ok(KeyKind::Witness),
            other => Err(KeyError::Type(other)),
        }
    }
}

/// The first four bytes of SHA-256 over name, line feed, type and key. A hint which key to try, not an identity.
fn key_id(name: &str, kind: KeyKind, key: &PublicKey) -> [u8; 4] {
    let hash = Sha256::new().chain_update(name).chain_update([b'\n', kind.byte()]).chain_update(key.0).finalize();
    [hash[0], hash[1], hash[2], hash[3]]
}

/// A public key with its name and purpose: it verifies one kind of note line. Written and read as a vkey.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NoteVerifier {
    name: String,
    key_id: [u8; 4],
    key: PublicKey,
    kind: KeyKind,
}

impl NoteVerifier {
    /// A verifier for lines of this name, kind and key.
    ///
    /// # Errors
    ///
    /// [`KeyError::Name`].
    pub fn new(name: &str, kind: KeyKind, key: PublicKey) -> Result<NoteVerifier, KeyError> {
        if !note::is_key_name(name) || name.len() > MAX_NAME_BYTES || name.chars().any(char::is_control) {
            return Err(KeyError::Name);
        }
        Ok(NoteVerifier { name: name.to_owned(), key_id: key_id(name, kind, &key), key, kind })
    }

    /// The key's name: for a log its origin.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The four bytes that open the base64 of a signature line.
    pub fn key_id(&self) -> [u8; 4] {
        self.key_id
    }

    /// The public key.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// What the key signs.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }
}

impl FromStr for NoteVerifier {
    type Err = KeyError;

    /// Reads a vkey: name, plus, key ID in 8 lower-case digits, plus, base64 of the type and the key.
    fn from_str(text: &str) -> Result<NoteVerifier, KeyError> {
        if text.len() > MAX_VKEY_BYTES {
            return Err(KeyError::Vkey);
        }
        // The base64 may itself hold plus signs.
        let (name, rest) = text.split_once('+').ok_or(KeyError::Vkey)?;
        let (id, key) = rest.split_once('+').ok_or(KeyError::Vkey)?;
        let key = note::from_base64(key).ok_or(KeyError::Vkey)?;
        let (&kind, key) = key.split_first().ok_or(KeyError::Vkey)?;
        let kind = KeyKind::from_byte(kind)?;
        let key = PublicKey::checked(key.try_into().map_err(|_| KeyError::Vkey)?)?;
        let verifier = NoteVerifier::new(name, kind, key)?;
        if id != hex::encode(verifier.key_id) {
            return Err(KeyError::KeyId);
        }
        Ok(verifier)
    }
}

impl fmt::Display for NoteVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut typed_key = vec![self.kind.byte()];
        typed_key.extend(self.key.0);
        write!(f, "{}+{}+{}", self.name, hex::encode(self.key_id), note::to_base64(&typed_key))
    }
}

impl fmt::Debug for NoteVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A log's private key with the log's name: signs notes (type 0x01).
#[derive(Debug)]
pub struct NoteSigner {
    key: PrivateKey,
    verifier: NoteVerifier,
}

impl NoteSigner {
    /// A signer under this name.
    ///
    /// # Errors
    ///
    /// [`KeyError::Name`].
    pub fn new(name: &str, key: PrivateKey) -> Result<NoteSigner, KeyError> {
        let verifier = NoteVerifier::new(name, KeyKind::Log, key.public())?;
        Ok(NoteSigner { key, verifier })
    }

    /// What verifies this signer's lines. Its text form is the log's vkey.
    pub fn verifier(&self) -> &NoteVerifier {
        &self.verifier
    }

    /// The key's name.
    pub fn name(&self) -> &str {
        self.verifier.name()
    }

    /// The four bytes that open the base64 of this signer's lines.
    pub fn key_id(&self) -> [u8; 4] {
        self.verifier.key_id()
    }

    /// Signs a note text (which ends with a line feed) and gives the signature line with its line feed.
    pub fn sign(&self, text: &str) -> String {
        note::signature_line(self.name(), self.key_id(), &self.key.sign(text.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "ledger.example/issuer-01+1d94e11b+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4";

    fn key(hex_text: &str) -> Result<PublicKey, KeyError> {
        PublicKey::checked(&hex::decode(hex_text).unwrap().try_into().unwrap())
    }

    #[test]
    fn only_whole_keys_are_taken() {
        let cases = [
            // a good one
            ("03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8", None),
            // the identity, y = -1, y = 0 and a point of order 8
            ("0100000000000000000000000000000000000000000000000000000000000000", Some(KeyError::SmallOrder)),
            ("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", Some(KeyError::SmallOrder)),
            ("0000000000000000000000000000000000000000000000000000000000000000", Some(KeyError::SmallOrder)),
            ("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05", Some(KeyError::SmallOrder)),
            // y = p + 1 and y = p, and the identity with a sign
            ("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", Some(KeyError::NotCanonical)),
            ("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", Some(KeyError::NotCanonical)),
            ("0100000000000000000000000000000000000000000000000000000000000080", Some(KeyError::NotCanonical)),
            // y = 2 has no x
            ("0200000000000000000000000000000000000000000000000000000000000000", Some(KeyError::NotAPoint)),
        ];
        for (hex_text, refused) in cases {
            assert_eq!(key(hex_text).err(), refused, "{hex_text}");
        }
    }

    #[test]
    fn a_good_key_plus_a_small_one_is_refused() {
        let good = PrivateKey::from_seed(&[7; 32]).public();
        let small = "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05";
        let small: [u8; 32] = hex::decode(small).unwrap().try_into().unwrap();
        let point = |bytes| VerifyingKey::from_bytes(bytes).unwrap().to_edwards();
        let mixed = (point(&good.0) + point(&small)).compress().to_bytes();
        assert_eq!(PublicKey::checked(&mixed), Err(KeyError::MixedOrder));
        let read = |bytes: &[u8; 32]| serde_json::from_value::<PublicKey>(serde_json::json!(bytes)).ok();
        assert_eq!((read(&mixed), read(&good.0)), (None, Some(good)));
    }

    #[test]
    fn a_signature_made_up_for_the_identity_is_refused() {
        // R = identity, s = 0 satisfies the loose equation for every message under the identity key.
        let identity = PublicKey(*b"\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
        let mut signature = [0; 64];
        signature[0] = 1;
        assert!(!verify_strict(&identity, b"anything", &signature));
    }

    #[test]
    fn one_bit_makes_a_signature_false() {
        let key = PrivateKey::from_seed(&[1; 32]);
        let signature = key.sign(b"text");
        assert!(verify_strict(&key.public(), b"text", &signature));
        assert!(!verify_strict(&key.public(), b"test", &signature));
        assert!(!verify_strict(&PrivateKey::from_seed(&[2; 32]).public(), b"text", &signature));
        for bit in 0..512 {
            let mut other = signature;
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(!verify_strict(&key.public(), b"text", &other), "bit {bit}");
        }
    }

    #[test]
    fn a_vkey_is_read_strictly() {
        let verifier: NoteVerifier = LOG.parse().unwrap();
        assert_eq!((verifier.to_string().as_str(), verifier.kind()), (LOG, KeyKind::Log));
        let cases = [
            ("", KeyError::Vkey),
            ("name", KeyError::Vkey),
            ("name+1d94e11b", KeyError::Vkey),
            (&LOG.replace("1d94e11b", "1D94E11B"), KeyError::KeyId),
            (&LOG.replace("issuer-01", "issuer-02"), KeyError::KeyId),
            (&LOG.replace("ledger.example", "ledger example"), KeyError::Name),
            (&LOG.replace("ledger.example/issuer-01", ""), KeyError::Name),
            (&LOG.replace("+AQO", "+BgO"), KeyError::Type(6)),
            (&format!("{LOG}="), KeyError::Vkey),
            (&format!("{LOG}\n"), KeyError::Vkey),
            (&"n".repeat(MAX_VKEY_BYTES + 1), KeyError::Vkey),
        ];
        for (text, error) in cases {
            assert_eq!(text.parse::<NoteVerifier>(), Err(error), "{text:?}");
        }
        let key = PrivateKey::from_seed(&[1; 32]).public();
        for name in ["", "a b", "a+b", "a\u{a0}b", "a\u{7f}b", &"n".repeat(256)] {
            assert_eq!(NoteVerifier::new(name, KeyKind::Log, key), Err(KeyError::Name), "{name:?}");
        }
    }

    #[test]
    fn a_private_key_does_not_show_itself() {
        let shown = format!("{:?}", NoteSigner::new("a", PrivateKey::from_seed(&[0x5a; 32])).unwrap());
        assert!(!shown.contains("5a5a") && !shown.contains("90, 90"), "{shown}");
    }
}
