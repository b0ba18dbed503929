//! The envelope of VP1 and VQ1: COSE_Sign1 with tag 18 in its one accepted form, and the CBOR map of claims inside.
//!
//! ```text
//! d2 84                       tag 18, array of four
//!    4d a2 01 26|27 04 48 ..  protected, as bytes: {1 alg: -7 ES256 | -8 EdDSA, 4 kid: 8 bytes}
//!    a0                       unprotected: empty
//!    58 nn ..                 payload, as bytes: the map of claims, keys in the order of their bytes, shortest integers
//!    58 40 ..                 signature over Sig_structure("Signature1", protected, empty external data, payload)
//! ```
//!
//! All but the claims takes 84 bytes, and one byte more if they have 24 or more, as they always do.

use ciborium::Value;
use coset::iana;
use coset::{
    CborSerializable as _, CoseError, CoseSign1, CoseSign1Builder, HeaderBuilder, TaggedCborSerializable as _,
};

use super::TokenError;
use super::key::{HolderKey, KEY_ID_BYTES, PublicKey, SIGNATURE_BYTES};

/// Issuer of the token (RFC 8392).
pub const CLAIM_ISS: i64 = 1;
/// Whom the token is for (RFC 8392).
pub const CLAIM_AUD: i64 = 3;
/// From when it does not hold, in seconds since 1970 UTC (RFC 8392).
pub const CLAIM_EXP: i64 = 4;
/// From when it holds, in seconds since 1970 UTC (RFC 8392).
pub const CLAIM_NBF: i64 = 5;
/// When it was signed, in seconds since 1970 UTC (RFC 8392).
pub const CLAIM_IAT: i64 = 6;
/// What makes it unlike any other (RFC 8392).
pub const CLAIM_CTI: i64 = 7;

/// Latest time in a token, in seconds since 1970 UTC (the year 2106): a time takes at most five bytes.
pub const MAX_SECONDS: i64 = u32::MAX as i64;

/// First byte of every token: CBOR tag 18, COSE_Sign1.
const TAG_SIGN1: u8 = 0xd2;

/// The two signature algorithms (IANA COSE registry).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// -8, with Ed25519.
    EdDsa,
    /// -7, P-256 with SHA-256, raw r and s.
    Es256,
}

/// A COSE_Sign1 in its one form, signature not yet looked at.
#[derive(Debug, Clone)]
pub struct Envelope {
    algorithm: Algorithm,
    key_id: [u8; KEY_ID_BYTES],
    signature: [u8; SIGNATURE_BYTES],
    payload: Vec<u8>,
    /// What the signature covers.
    signed: Vec<u8>,
    bytes: Vec<u8>,
}

impl Envelope {
    /// Signs a payload.
    #[must_use]
    pub fn seal(key_id: [u8; KEY_ID_BYTES], payload: Vec<u8>, key: &HolderKey) -> Self {
        let algorithm = key.public().algorithm();
        let signed = sign1(algorithm, key_id, payload.clone(), &[]).tbs_data(&[]);
        let signature = key.sign(&signed);
        let bytes = to_bytes(sign1(algorithm, key_id, payload.clone(), &signature));
        Self { algorithm, key_id, signature, payload, signed, bytes }
    }

    /// Takes bytes apart; `max_bytes` is looked at first.
    ///
    /// # Errors
    ///
    /// The [`TokenError`] that names what is not as it should be; [`TokenError::NotCanonical`] for another spelling of the
    /// right content.
    pub fn open(bytes: &[u8], max_bytes: usize) -> Result<Self, TokenError> {
        if bytes.len() > max_bytes {
            return Err(TokenError::TooLong { max: max_bytes });
        }
        if bytes.first() != Some(&TAG_SIGN1) {
            return Err(TokenError::NotSign1);
        }
        let cose = CoseSign1::from_tagged_slice(bytes).map_err(|error| match error {
            CoseError::ExtraneousData => TokenError::TrailingBytes,
            CoseError::DuplicateMapKey => TokenError::Header,
            _ => TokenError::NotSign1,
        })?;
        let header = &cose.protected.header;
        let algorithm = match header.alg {
            Some(coset::RegisteredLabelWithPrivate::Assigned(iana::Algorithm::EdDSA)) => Algorithm::EdDsa,
            Some(coset::RegisteredLabelWithPrivate::Assigned(iana::Algorithm::ES256)) => Algorithm::Es256,
            _ => return Err(TokenError::Algorithm),
        };
        let key_id = header.key_id.as_slice().try_into().map_err(|_| TokenError::KeyId)?;
        let expected = HeaderBuilder::new().algorithm(algorithm.cose()).key_id(header.key_id.clone()).build();
        if *header != expected || !cose.unprotected.is_empty() {
            return Err(TokenError::Header);
        }
        let signature: [u8; SIGNATURE_BYTES] =
            cose.signature.as_slice().try_into().map_err(|_| TokenError::SignatureLength)?;
        let signed = cose.tbs_data(&[]);
        let payload = cose.payload.ok_or(TokenError::NotClaims)?;
        if to_bytes(sign1(algorithm, key_id, payload.clone(), &signature)) != bytes {
            return Err(TokenError::NotCanonical);
        }
        Ok(Self { algorithm, key_id, signature, payload, signed, bytes: bytes.to_vec() })
    }

    /// Whether the signature is this key's, by the algorithm that the header names.
    #[must_use]
    pub fn verify(&self, key: &PublicKey) -> bool {
        key.algorithm() == self.algorithm && key.verify(&self.signed, &self.signature)
    }

    /// The algorithm of the protected header.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The kid of the protected header.
    #[must_use]
    pub fn key_id(&self) -> [u8; KEY_ID_BYTES] {
        self.key_id
    }

    /// The encoded claims.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The whole structure: what a record keeps.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl Algorithm {
    fn cose(self) -> iana::Algorithm {
        match self {
            Self::EdDsa => iana::Algorithm::EdDSA,
            Self::Es256 => iana::Algorithm::ES256,
        }
    }
}

fn sign1(algorithm: Algorithm, key_id: [u8; KEY_ID_BYTES], payload: Vec<u8>, signature: &[u8]) -> CoseSign1 {
    CoseSign1Builder::new()
        .protected(HeaderBuilder::new().algorithm(algorithm.cose()).key_id(key_id.to_vec()).build())
        .payload(payload)
        .signature(signature.to_vec())
        .build()
}

fn to_bytes(cose: CoseSign1) -> Vec<u8> {
    cose.to_tagged_vec().expect("byte strings, integers and one map always encode")
}

/// Claims as they stand in a payload: integer keys, each once.
#[derive(Debug)]
pub(super) struct Claims(Vec<(i64, Value)>);

impl Claims {
    /// Reads a payload, which [`Envelope::open`] has bounded.
    pub(super) fn read(payload: &[u8]) -> Result<Self, TokenError> {
        let value = Value::from_slice(payload).map_err(|error| match error {
            CoseError::ExtraneousData => TokenError::TrailingBytes,
            _ => TokenError::NotClaims,
        })?;
        let mut claims: Vec<(i64, Value)> = Vec::new();
        for (key, value) in value.into_map().map_err(|_| TokenError::NotClaims)? {
            let key = key.into_integer().ok().and_then(|key| i64::try_from(key).ok()).ok_or(TokenError::NotClaims)?;
            if claims.iter().any(|(other, _)| *other == key) {
                return Err(TokenError::DuplicateClaim(key));
            }
            claims.push((key, value));
        }
        Ok(Self(claims))
    }

    /// Writes claims that are already in the order of their encoded keys.
    pub(super) fn write(claims: Vec<(i64, Value)>) -> Vec<u8> {
        let map = claims.into_iter().map(|(key, value)| (Value::from(key), value)).collect();
        Value::Map(map).to_vec().expect("integers, texts and byte strings always encode")
    }

    pub(super) fn take(&mut self, key: i64) -> Result<Value, TokenError> {
        let place = self.0.iter().position(|(other, _)| *other == key).ok_or(TokenError::MissingClaim(key))?;
        Ok(self.0.remove(place).1)
    }

    pub(super) fn take_text(&mut self, key: i64) -> Result<String, TokenError> {
        self.take(key)?.into_text().map_err(|_| TokenError::BadClaim(key))
    }

    pub(super) fn take_bytes(&mut self, key: i64) -> Result<Vec<u8>, TokenError> {
        self.take(key)?.into_bytes().map_err(|_| TokenError::BadClaim(key))
    }

    pub(super) fn take_seconds(&mut self, key: i64) -> Result<i64, TokenError> {
        let number = self.take(key)?.into_integer().map_err(|_| TokenError::BadClaim(key))?;
        i64::try_from(number).map_err(|_| TokenError::BadClaim(key))
    }

    /// Refuses what nobody took.
    pub(super) fn finish(self) -> Result<(), TokenError> {
        self.0.first().map_or(Ok(()), |(key, _)| Err(TokenError::UnknownClaim(*key)))
    }

    /// The keys that nobody took.
    pub(super) fn keys(&self) -> impl Iterator<Item = i64> {
        self.0.iter().map(|(key, _)| *key)
    }
}

/// A time claim within its range.
pub(super) fn seconds(key: i64, seconds: i64) -> Result<Value, TokenError> {
    if (0..=MAX_SECONDS).contains(&seconds) { Ok(Value::from(seconds)) } else { Err(TokenError::BadClaim(key)) }
}
