//! The keys of holders: Ed25519 or ES256 (P-256), checked where they come in, one rule of verification each.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{Signature as EdSignature, Signer as _, SigningKey, VerifyingKey};
use p256::ecdsa::signature::Verifier as _;
use p256::ecdsa::{Signature as EsSignature, SigningKey as EsSigningKey, VerifyingKey as EsVerifyingKey};
use rand::CryptoRng;
use serde::{Deserialize, Deserializer, Serialize};
use sha2::{Digest, Sha256};

use super::TokenError;
use super::cose::Algorithm;

/// Length of an Ed25519 public key in bytes.
pub const ED25519_BYTES: usize = 32;

/// Length of a P-256 public key in bytes: SEC1, compressed.
pub const ES256_BYTES: usize = 33;

/// Length of a signature in bytes, of both algorithms (ES256: raw r and s).
pub const SIGNATURE_BYTES: usize = 64;

/// Longest text of a key in characters: `ed25519:` and 44 characters of base64.
pub const MAX_KEY_TEXT_CHARS: usize = 52;

const ED25519_WORD: &str = "ed25519:";
const ES256_WORD: &str = "es256:";

/// Length of a key id in bytes: the first bytes of an enrolment id or of a thumbprint.
pub const KEY_ID_BYTES: usize = 8;

/// A holder's public key.
///
/// Build one with [`PublicKey::ed25519`] or [`PublicKey::es256`], or read one with serde: all three check it. A variant that
/// is written down by hand is not checked; [`PublicKey::check`] does that, and a bad key verifies nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum PublicKey {
    /// RFC 8032: the encoded point.
    Ed25519([u8; ED25519_BYTES]),
    /// NIST P-256: SEC1, compressed.
    Es256(#[serde(serialize_with = "bytes33::serialize")] [u8; ES256_BYTES]),
}

impl PublicKey {
    /// An Ed25519 key.
    ///
    /// # Errors
    ///
    /// [`TokenError::BadKey`] unless the point is canonical, torsion-free and not of small order.
    pub fn ed25519(bytes: [u8; ED25519_BYTES]) -> Result<Self, TokenError> {
        Self::Ed25519(bytes).check()
    }

    /// An ES256 key.
    ///
    /// # Errors
    ///
    /// [`TokenError::BadKey`] unless the bytes are a compressed point of P-256 other than the identity.
    pub fn es256(bytes: [u8; ES256_BYTES]) -> Result<Self, TokenError> {
        Self::Es256(bytes).check()
    }

    /// The key itself if it may be registered, see [`PublicKey::ed25519`] and [`PublicKey::es256`].
    ///
    /// # Errors
    ///
    /// [`TokenError::BadKey`].
    pub fn check(self) -> Result<Self, TokenError> {
        match self {
            Self::Ed25519(bytes) => {
                let key = VerifyingKey::from_bytes(&bytes).map_err(|_| TokenError::BadKey)?;
                let point = key.to_edwards();
                // Decompression takes some points in two spellings; a key must have one thumbprint.
                let good = !key.is_weak() && point.is_torsion_free() && point.compress().to_bytes() == bytes;
                if good { Ok(self) } else { Err(TokenError::BadKey) }
            }
            Self::Es256(bytes) => {
                // SEC1 writes the identity in one byte, so 33 bytes on the curve are never it.
                let compressed = matches!(bytes.first(), Some(2 | 3));
                if compressed && EsVerifyingKey::from_sec1_bytes(&bytes).is_ok() {
                    Ok(self)
                } else {
                    Err(TokenError::BadKey)
                }
            }
        }
    }

    /// The key's bytes: 32 for Ed25519, 33 for ES256.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Ed25519(bytes) => bytes,
            Self::Es256(bytes) => bytes,
        }
    }

    /// Reads the bytes of [`Self::as_bytes`]; their number says which algorithm it is.
    ///
    /// # Errors
    ///
    /// [`TokenError::BadKey`] for another length or a key that may not be registered.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, TokenError> {
        if let Ok(bytes) = <[u8; ED25519_BYTES]>::try_from(bytes) {
            return Self::ed25519(bytes);
        }
        Self::es256(bytes.try_into().map_err(|_| TokenError::BadKey)?)
    }

    /// SHA-256 of the key's bytes.
    #[must_use]
    pub fn thumbprint(&self) -> [u8; 32] {
        Sha256::digest(self.as_bytes()).into()
    }

    /// The first 8 bytes of the thumbprint: the kid of what a main key or a node key signs.
    #[must_use]
    pub fn key_id(&self) -> [u8; KEY_ID_BYTES] {
        let [a, b, c, d, e, f, g, h, ..] = self.thumbprint();
        [a, b, c, d, e, f, g, h]
    }

    /// The COSE algorithm that this key verifies.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Self::Ed25519(_) => Algorithm::EdDsa,
            Self::Es256(_) => Algorithm::Es256,
        }
    }

    /// Whether the signature over these bytes is this key's. Ed25519 only by the strict rule; a bad key verifies nothing.
    #[must_use]
    pub fn verify(&self, message: &[u8], signature: &[u8; SIGNATURE_BYTES]) -> bool {
        match self {
            Self::Ed25519(bytes) => VerifyingKey::from_bytes(bytes)
                .is_ok_and(|key| key.verify_strict(message, &EdSignature::from_bytes(signature)).is_ok()),
            Self::Es256(bytes) => EsVerifyingKey::from_sec1_bytes(bytes)
                .and_then(|key| key.verify(message, &EsSignature::from_slice(signature)?))
                .is_ok(),
        }
    }
}

/// As text in the API: `ed25519:` or `es256:` and the key's bytes in base64 (RFC 4648, section 4).
impl std::fmt::Display for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let word = match self {
            Self::Ed25519(_) => ED25519_WORD,
            Self::Es256(_) => ES256_WORD,
        };
        write!(f, "{word}{}", BASE64.encode(self.as_bytes()))
    }
}

impl std::str::FromStr for PublicKey {
    type Err = TokenError;
    fn from_str(text: &str) -> Result<Self, TokenError> {
        if text.len() > MAX_KEY_TEXT_CHARS {
            return Err(TokenError::TooLong { max: MAX_KEY_TEXT_CHARS });
        }
        let bytes = |body: &str| BASE64.decode(body).map_err(|_| TokenError::BadKey);
        if let Some(body) = text.strip_prefix(ED25519_WORD) {
            Self::ed25519(bytes(body)?.try_into().map_err(|_| TokenError::BadKey)?)
        } else if let Some(body) = text.strip_prefix(ES256_WORD) {
            Self::es256(bytes(body)?.try_into().map_err(|_| TokenError::BadKey)?)
        } else {
            Err(TokenError::BadKey)
        }
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// The same shape, not yet checked.
        #[derive(Deserialize)]
        #[serde(rename = "PublicKey")]
        enum Unchecked {
            Ed25519([u8; ED25519_BYTES]),
            Es256(#[serde(deserialize_with = "bytes33::deserialize")] [u8; ES256_BYTES]),
        }
        let key = match Unchecked::deserialize(deserializer)? {
            Unchecked::Ed25519(bytes) => Self::Ed25519(bytes),
            Unchecked::Es256(bytes) => Self::Es256(bytes),
        };
        key.check().map_err(serde::de::Error::custom)
    }
}

/// A holder's signing key: in demo phones, in tests, and read from a printed card. Real phones keep theirs.
///
/// Both kinds are wiped from memory when dropped.
#[derive(Clone)]
pub enum HolderKey {
    /// Ed25519.
    Ed25519(SigningKey),
    /// ES256 on P-256.
    Es256(EsSigningKey),
}

impl HolderKey {
    /// A fresh Ed25519 key.
    pub fn generate_ed25519<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        let mut seed = zeroize::Zeroizing::new([0; 32]);
        rng.fill_bytes(seed.as_mut_slice());
        Self::ed25519(&seed)
    }

    /// A fresh ES256 key.
    pub fn generate_es256<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        loop {
            let mut scalar = zeroize::Zeroizing::new([0; 32]);
            rng.fill_bytes(scalar.as_mut_slice());
            // One in 2^32 scalars is not below the order of the curve.
            if let Ok(key) = Self::es256(&scalar) {
                return key;
            }
        }
    }

    /// The Ed25519 key of a 32-byte seed.
    #[must_use]
    pub fn ed25519(seed: &[u8; 32]) -> Self {
        Self::Ed25519(SigningKey::from_bytes(seed))
    }

    /// The ES256 key of a 32-byte big-endian scalar.
    ///
    /// # Errors
    ///
    /// [`TokenError::BadKey`] if the scalar is zero or not below the order of the curve.
    pub fn es256(scalar: &[u8; 32]) -> Result<Self, TokenError> {
        EsSigningKey::from_slice(scalar).map(Self::Es256).map_err(|_| TokenError::BadKey)
    }

    /// The public half.
    ///
    /// # Panics
    ///
    /// Never: a compressed point of P-256 has 33 bytes.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        match self {
            Self::Ed25519(key) => PublicKey::Ed25519(key.verifying_key().to_bytes()),
            Self::Es256(key) => {
                let point = key.verifying_key().to_sec1_point(true);
                PublicKey::Es256(point.as_bytes().try_into().expect("a compressed point of P-256 has 33 bytes"))
            }
        }
    }

    /// Signs bytes; deterministic for both algorithms (RFC 8032, RFC 6979).
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_BYTES] {
        match self {
            Self::Ed25519(key) => key.sign(message).to_bytes(),
            Self::Es256(key) => {
                let signature: EsSignature = key.sign(message);
                signature.to_bytes().into()
            }
        }
    }
}

/// Shows the public half only.
impl std::fmt::Debug for HolderKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("HolderKey").field(&self.public()).finish()
    }
}

/// Serde for 33 bytes as a tuple, since serde's own arrays end at 32.
mod bytes33 {
    use serde::de::{Error, SeqAccess, Visitor};
    use serde::ser::SerializeTuple;
    use serde::{Deserializer, Serializer};

    use super::ES256_BYTES;

    pub(super) fn serialize<S: Serializer>(bytes: &[u8; ES256_BYTES], serializer: S) -> Result<S::Ok, S::Error> {
        let mut tuple = serializer.serialize_tuple(ES256_BYTES)?;
        for byte in bytes {
            tuple.serialize_element(byte)?;
        }
        tuple.end()
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; ES256_BYTES], D::Error> {
        struct Bytes;
        impl<'de> Visitor<'de> for Bytes {
            type Value = [u8; ES256_BYTES];
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("33 bytes")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut bytes = [0; ES256_BYTES];
                for (index, byte) in bytes.iter_mut().enumerate() {
                    *byte = seq.next_element()?.ok_or_else(|| A::Error::invalid_length(index, &self))?;
                }
                if seq.next_element::<u8>()?.is_some() {
                    return Err(A::Error::invalid_length(ES256_BYTES + 1, &self));
                }
                Ok(bytes)
            }
        }
        deserializer.deserialize_tuple(ES256_BYTES, Bytes)
    }
}
