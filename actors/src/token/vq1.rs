//! VQ1, the voucher QR: a community says that this voucher is genuine, for what and until when; it verifies with no network.
//!
//! The claims, a CBOR map of six entries in this order:
//!
//! | key | claim | value | bytes with the key, at most |
//! | --- | --- | --- | --- |
//! | 1 | iss | text, institution id of the community, 1 to 24 characters | 27 |
//! | 4 | exp | seconds since 1970 UTC from which it does not hold, below 2^32 | 6 |
//! | 5 | nbf | seconds since 1970 UTC from which it holds, less than exp | 6 |
//! | 6 | iat | seconds since 1970 UTC of the transcoding | 6 |
//! | -8 | voucher | bytes: the voucher's UUID (16), then the characters of its issuer's id (1 to 24) | 43 |
//! | -9 | service | bytes: the service's name, packed | 30 |
//!
//! Packed: three characters in two bytes, `a*1600 + b*40 + c`, big-endian, with a = 1 .. z = 26, 0 = 27 .. 9 = 36, `-` = 37,
//! and 0 where a last group of two has no third; a last single character takes one byte, its number. As text the longest
//! service would have to end at 27 characters to stay within version 10-M.
//!
//! The kid is the first 8 bytes of the SHA-256 of the node's public key; the algorithm is always EdDSA.

use ciborium::Value;
use ed25519_dalek::SigningKey;

use super::cose::{Algorithm, CLAIM_EXP, CLAIM_IAT, CLAIM_ISS, CLAIM_NBF, Claims as Map, Envelope, seconds};
use super::key::{HolderKey, KEY_ID_BYTES, PublicKey};
use super::name::{MAX_INSTITUTION_BYTES, MAX_NAME_BYTES, VoucherName, is_name, pack, unpack};
use super::{TokenError, from_text, to_text};

/// What the text begins with.
pub const PREFIX: &str = "VQ1:";

/// Longest text in characters: what QR version 10 holds at level M in alphanumeric mode.
pub const MAX_CHARS: usize = 311;

/// Longest COSE structure in bytes: what base45 writes in the characters behind the prefix.
pub const MAX_BYTES: usize = 204;

const CLAIM_VOUCHER: i64 = -8;
const CLAIM_SERVICE: i64 = -9;

/// What a VQ1 says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// Institution id of the community that signed it.
    pub community: String,
    /// The voucher.
    pub voucher: VoucherName,
    /// What the voucher is for, 1 to 40 characters of a-z, 0-9, `-`.
    pub service: String,
    /// From when the voucher holds, in seconds since 1970 UTC.
    pub not_before: i64,
    /// From when it does not hold, in seconds since 1970 UTC.
    pub expires: i64,
    /// When the voucher was transcoded, in seconds since 1970 UTC.
    pub iat: i64,
}

impl Claims {
    /// The CBOR map of the table above.
    ///
    /// # Errors
    ///
    /// [`TokenError::BadClaim`] for a name that is none, a time out of range or a validity that is empty.
    pub fn to_cbor(&self) -> Result<Vec<u8>, TokenError> {
        if !is_name(&self.community, MAX_INSTITUTION_BYTES) {
            return Err(TokenError::BadClaim(CLAIM_ISS));
        }
        if self.not_before >= self.expires {
            return Err(TokenError::BadClaim(CLAIM_EXP));
        }
        let voucher = self.voucher.to_bytes().ok_or(TokenError::BadClaim(CLAIM_VOUCHER))?;
        let service = pack(&self.service, MAX_NAME_BYTES).ok_or(TokenError::BadClaim(CLAIM_SERVICE))?;
        Ok(Map::write(vec![
            (CLAIM_ISS, Value::from(self.community.as_str())),
            (CLAIM_EXP, seconds(CLAIM_EXP, self.expires)?),
            (CLAIM_NBF, seconds(CLAIM_NBF, self.not_before)?),
            (CLAIM_IAT, seconds(CLAIM_IAT, self.iat)?),
            (CLAIM_VOUCHER, Value::Bytes(voucher)),
            (CLAIM_SERVICE, Value::Bytes(service)),
        ]))
    }

    fn read(payload: &[u8]) -> Result<Self, TokenError> {
        let mut map = Map::read(payload)?;
        let claims = Self {
            community: map.take_text(CLAIM_ISS)?,
            expires: map.take_seconds(CLAIM_EXP)?,
            not_before: map.take_seconds(CLAIM_NBF)?,
            iat: map.take_seconds(CLAIM_IAT)?,
            voucher: VoucherName::from_bytes(&map.take_bytes(CLAIM_VOUCHER)?)
                .ok_or(TokenError::BadClaim(CLAIM_VOUCHER))?,
            service: unpack(&map.take_bytes(CLAIM_SERVICE)?, MAX_NAME_BYTES)
                .ok_or(TokenError::BadClaim(CLAIM_SERVICE))?,
        };
        map.finish()?;
        if claims.to_cbor()? == payload { Ok(claims) } else { Err(TokenError::NotCanonical) }
    }
}

/// A VQ1 whose form is right and whose signature nobody has looked at.
#[derive(Debug, Clone)]
pub struct Unverified {
    /// What it says.
    pub claims: Claims,
    envelope: Envelope,
}

impl Unverified {
    /// Takes the COSE structure apart that a record keeps.
    ///
    /// # Errors
    ///
    /// The [`TokenError`] that names what is wrong; the size, at most [`MAX_BYTES`], is looked at first.
    pub fn from_cose(bytes: &[u8]) -> Result<Self, TokenError> {
        let envelope = Envelope::open(bytes, MAX_BYTES)?;
        if envelope.algorithm() != Algorithm::EdDsa {
            return Err(TokenError::Algorithm);
        }
        Ok(Self { claims: Claims::read(envelope.payload())?, envelope })
    }

    /// The COSE structure: what a record keeps, at most [`MAX_BYTES`].
    #[must_use]
    pub fn cose_bytes(&self) -> &[u8] {
        self.envelope.bytes()
    }

    /// The text of the QR.
    #[must_use]
    pub fn text(&self) -> String {
        to_text(PREFIX, self.cose_bytes())
    }

    /// First 8 bytes of the SHA-256 of the node key that it names.
    #[must_use]
    pub fn kid(&self) -> [u8; KEY_ID_BYTES] {
        self.envelope.key_id()
    }

    /// Whether this node key is the one that the token names, and signed it. Says nothing about the time.
    #[must_use]
    pub fn verify(&self, node_key: &PublicKey) -> bool {
        node_key.key_id() == self.kid() && self.envelope.verify(node_key)
    }
}

/// Signs claims with the community's node key and gives the text of the QR.
///
/// # Errors
///
/// Those of [`Claims::to_cbor`].
pub fn sign(claims: &Claims, node_key: &SigningKey) -> Result<String, TokenError> {
    let key = HolderKey::Ed25519(node_key.clone());
    Ok(to_text(PREFIX, Envelope::seal(key.public().key_id(), claims.to_cbor()?, &key).bytes()))
}

/// Takes the text of a QR apart.
///
/// # Errors
///
/// The [`TokenError`] that names what is wrong; the length, at most [`MAX_CHARS`], is looked at first.
pub fn parse(text: &str) -> Result<Unverified, TokenError> {
    Unverified::from_cose(&from_text(PREFIX, MAX_CHARS, text)?)
}
