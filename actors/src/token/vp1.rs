//! VP1, the personal QR: a holder's phone (or card) says with a fresh signature what it wants now.
//!
//! The claims, a CBOR map of four or five entries in this order:
//!
//! | key | claim | value | bytes with the key |
//! | --- | --- | --- | --- |
//! | 3 | aud | text, institution id, 1 to 24 characters; absent for *register* and *identify* | 26 |
//! | 6 | iat | seconds since 1970 UTC by the phone's corrected clock, below 2^32 | 6 |
//! | 7 | cti | 8 random bytes | 10 |
//! | -1 - n | step n, exactly one | what the step is about, below | 43 |
//!
//! | n | key | step | value |
//! | --- | --- | --- | --- |
//! | 0 | -1 | register | bytes: the main public key, 32 of Ed25519 or 33 of ES256 |
//! | 1 | -2 | identify | null |
//! | 2 | -3 | receive | text: programme, 1 to 40 characters of a-z, 0-9, `-` |
//! | 3 | -4 | arrive | bytes: the voucher's UUID (16), then the characters of its issuer's id (1 to 24) |
//! | 4 | -5 | complete | as *arrive* |
//! | 5 | -6 | cancel | as *arrive* |
//! | 6 | -7 | wallet | bytes: the digest of a REST request (32), see [`request_digest`] |
//!
//! The step is the key and not a claim of its own because only so the issuer's id fits: with the longest ids the structure
//! has exactly [`MAX_BYTES`]. The keys -1 to -24 are free in IANA's registry of CWT claims; those reserved for private use
//! take four bytes more each.
//!
//! The kid is the first 8 bytes of the enrolment's id, or of the thumbprint of the main key for *register* and *identify*.

use ciborium::Value;
use sha2::{Digest, Sha256};

use super::cose::{Algorithm, CLAIM_AUD, CLAIM_CTI, CLAIM_IAT, Claims as Map, Envelope, seconds};
use super::key::{HolderKey, KEY_ID_BYTES, PublicKey};
use super::name::{MAX_INSTITUTION_BYTES, MAX_NAME_BYTES, VoucherName, is_name};
use super::{TokenError, from_text, to_text};

/// What the text begins with.
pub const PREFIX: &str = "VP1:";

/// Longest text in characters: what QR version 9 holds at level M in alphanumeric mode.
pub const MAX_CHARS: usize = 262;

/// Longest COSE structure in bytes: what base45 writes in the characters behind the prefix.
pub const MAX_BYTES: usize = 172;

/// Length of a cti in bytes.
pub const CTI_BYTES: usize = 8;

/// What the holder wants (protocol section 3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Register this main key. Signed by it: a proof of possession.
    Register {
        /// The key that signs.
        key: PublicKey,
    },
    /// Say who is there, for display only.
    Identify,
    /// Receive a voucher of a programme.
    Receive {
        /// Institution id of the community.
        community: String,
        /// Programme name, 1 to 40 characters of a-z, 0-9, `-`.
        programme: String,
    },
    /// Arrive to use a voucher.
    Arrive {
        /// Institution id of the hospital.
        audience: String,
        /// The voucher.
        voucher: VoucherName,
    },
    /// Confirm that the examination was completed.
    Complete {
        /// Institution id of the hospital.
        audience: String,
        /// The voucher.
        voucher: VoucherName,
    },
    /// Cancel or move a booking, or deny a use.
    Cancel {
        /// Institution id of the voucher module.
        audience: String,
        /// The voucher.
        voucher: VoucherName,
    },
    /// Call the REST API of a node; never shown as a picture.
    Wallet {
        /// Institution id of the node that is called.
        audience: String,
        /// The [`request_digest`] of the call.
        request: [u8; 32],
    },
}

impl Step {
    /// Whom the step is for: an institution id, none for *register* and *identify*.
    #[must_use]
    pub fn audience(&self) -> Option<&str> {
        match self {
            Self::Register { .. } | Self::Identify => None,
            Self::Receive { community: audience, .. }
            | Self::Arrive { audience, .. }
            | Self::Complete { audience, .. }
            | Self::Cancel { audience, .. }
            | Self::Wallet { audience, .. } => Some(audience),
        }
    }

    /// The voucher that the step is about: only for *arrive*, *complete* and *cancel*.
    #[must_use]
    pub fn voucher(&self) -> Option<&VoucherName> {
        match self {
            Self::Arrive { voucher, .. } | Self::Complete { voucher, .. } | Self::Cancel { voucher, .. } => {
                Some(voucher)
            }
            Self::Register { .. } | Self::Identify | Self::Receive { .. } | Self::Wallet { .. } => None,
        }
    }

    /// Key of the step's claim.
    fn claim(&self) -> i64 {
        match self {
            Self::Register { .. } => -1,
            Self::Identify => -2,
            Self::Receive { .. } => -3,
            Self::Arrive { .. } => -4,
            Self::Complete { .. } => -5,
            Self::Cancel { .. } => -6,
            Self::Wallet { .. } => -7,
        }
    }
}

/// What a VP1 says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// First 8 bytes of the enrolment's id, or of the main key's thumbprint.
    pub kid: [u8; KEY_ID_BYTES],
    /// When it was signed, in seconds since 1970 UTC by the phone's corrected clock.
    pub iat: i64,
    /// Random bytes, which a verifier accepts once.
    pub cti: [u8; CTI_BYTES],
    /// What the holder wants.
    pub step: Step,
}

impl Claims {
    /// The CBOR map of the table above.
    ///
    /// # Errors
    ///
    /// [`TokenError::BadClaim`] for a name that is none or a time out of range, [`TokenError::BadKey`] for a bad main key,
    /// [`TokenError::KeyId`] if *register* names another key than its own.
    pub fn to_cbor(&self) -> Result<Vec<u8>, TokenError> {
        let mut map = Vec::new();
        if let Some(audience) = self.step.audience() {
            if !is_name(audience, MAX_INSTITUTION_BYTES) {
                return Err(TokenError::BadClaim(CLAIM_AUD));
            }
            map.push((CLAIM_AUD, Value::from(audience)));
        }
        map.push((CLAIM_IAT, seconds(CLAIM_IAT, self.iat)?));
        map.push((CLAIM_CTI, Value::Bytes(self.cti.to_vec())));
        let claim = self.step.claim();
        let object = match &self.step {
            Step::Register { key } if key.check()?.key_id() == self.kid => Value::Bytes(key.as_bytes().to_vec()),
            Step::Register { .. } => return Err(TokenError::KeyId),
            Step::Identify => Value::Null,
            Step::Receive { programme, .. } if is_name(programme, MAX_NAME_BYTES) => Value::from(programme.as_str()),
            Step::Receive { .. } => return Err(TokenError::BadClaim(claim)),
            Step::Arrive { voucher, .. } | Step::Complete { voucher, .. } | Step::Cancel { voucher, .. } => {
                Value::Bytes(voucher.to_bytes().ok_or(TokenError::BadClaim(claim))?)
            }
            Step::Wallet { request, .. } => Value::Bytes(request.to_vec()),
        };
        map.push((claim, object));
        Ok(Map::write(map))
    }

    fn read(kid: [u8; KEY_ID_BYTES], payload: &[u8]) -> Result<Self, TokenError> {
        let mut map = Map::read(payload)?;
        let iat = map.take_seconds(CLAIM_IAT)?;
        let cti = map.take_bytes(CLAIM_CTI)?.try_into().map_err(|_| TokenError::BadClaim(CLAIM_CTI))?;
        // A token without any step is told that the first one is missing.
        let claim = map.keys().find(|key| (-7..=-1).contains(key)).unwrap_or(-1);
        let bad = TokenError::BadClaim(claim);
        let step = match claim {
            -1 => Step::Register { key: PublicKey::from_slice(&map.take_bytes(claim)?)? },
            -2 if map.take(claim)?.is_null() => Step::Identify,
            -2 => return Err(bad),
            -3 => Step::Receive { community: map.take_text(CLAIM_AUD)?, programme: map.take_text(claim)? },
            -7 => Step::Wallet {
                audience: map.take_text(CLAIM_AUD)?,
                request: map.take_bytes(claim)?.try_into().map_err(|_| bad)?,
            },
            _ => {
                let audience = map.take_text(CLAIM_AUD)?;
                let voucher = VoucherName::from_bytes(&map.take_bytes(claim)?).ok_or(bad)?;
                match claim {
                    -4 => Step::Arrive { audience, voucher },
                    -5 => Step::Complete { audience, voucher },
                    _ => Step::Cancel { audience, voucher },
                }
            }
        };
        map.finish()?;
        let claims = Self { kid, iat, cti, step };
        if claims.to_cbor()? == payload { Ok(claims) } else { Err(TokenError::NotCanonical) }
    }
}

/// A VP1 whose form is right and whose signature nobody has looked at.
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
        let claims = Claims::read(envelope.key_id(), envelope.payload())?;
        Ok(Self { claims, envelope })
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

    /// The algorithm that the header names.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.envelope.algorithm()
    }

    /// Whether this key signed it. Says nothing about age, audience or whether it was seen before.
    #[must_use]
    pub fn verify(&self, key: &PublicKey) -> bool {
        self.envelope.verify(key)
    }

    /// For *register*: the main key, if it signed the token that names it.
    #[must_use]
    pub fn proven_key(&self) -> Option<&PublicKey> {
        match &self.claims.step {
            Step::Register { key } if self.verify(key) => Some(key),
            _ => None,
        }
    }
}

/// Signs claims and gives the text of the QR.
///
/// # Errors
///
/// Those of [`Claims::to_cbor`].
pub fn sign(claims: &Claims, key: &HolderKey) -> Result<String, TokenError> {
    Ok(to_text(PREFIX, Envelope::seal(claims.kid, claims.to_cbor()?, key).bytes()))
}

/// Takes the text of a QR apart.
///
/// # Errors
///
/// The [`TokenError`] that names what is wrong; the length, at most [`MAX_CHARS`], is looked at first.
pub fn parse(text: &str) -> Result<Unverified, TokenError> {
    Unverified::from_cose(&from_text(PREFIX, MAX_CHARS, text)?)
}

/// The digest that a *wallet* token signs: SHA-256 of the method, a line feed, the path with its query, a line feed, and the
/// SHA-256 (32 bytes) of the body.
#[must_use]
pub fn request_digest(method: &str, path_and_query: &str, body: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in [method.as_bytes(), b"\n", path_and_query.as_bytes(), b"\n", &Sha256::digest(body)] {
        hash.update(part);
    }
    hash.finalize().into()
}
