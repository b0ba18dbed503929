//! The three printed or shown tokens: VP1 (who), VQ1 (which voucher), VC1 (a card instead of a phone); it knows no ledger and no clock.
//!
//! | token | file | signed by | text, at most |
//! | --- | --- | --- | --- |
//! | `VP1:` personal QR | [`vp1`] | the holder's phone or card | 262 characters, QR version 9-M |
//! | `VQ1:` voucher QR | [`vq1`] | the community's node key | 311 characters, QR version 10-M |
//! | `VC1:` printed card | [`vc1`] | not signed: it *is* the keys | 54 characters |
//!
//! VP1 and VQ1 are CWTs in COSE_Sign1 ([`cose`] has the envelope, RFC 8392 and 9052), written in base45 (RFC 9285), so that
//! a QR code holds them in its alphanumeric mode. Each has exactly one accepted form: what is parsed is encoded again
//! and compared, byte for byte.

pub mod cose;
pub mod key;
mod name;
pub mod vc1;
pub mod vp1;
pub mod vq1;

#[cfg(test)]
mod golden;
#[cfg(test)]
mod liars;

pub use key::{HolderKey, PublicKey};
pub use name::{MAX_INSTITUTION_BYTES, MAX_NAME_BYTES, VoucherName};

/// Why a text or its bytes are not a token. None of them says anything about the signature: that is `verify`'s word.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Larger than any token of its kind; nothing was parsed.
    #[error("larger than {max} characters or bytes")]
    TooLong {
        /// The limit that was passed: characters of a text, bytes of a COSE structure.
        max: usize,
    },
    /// The text does not begin with the prefix of its kind.
    #[error("does not begin with {0}")]
    Prefix(&'static str),
    /// The rest of the text is not the base45 of anything (RFC 9285), or not its only form.
    #[error("not base45")]
    Base45,
    /// Not a COSE_Sign1 structure with tag 18.
    #[error("not a tagged COSE_Sign1")]
    NotSign1,
    /// Bytes are left after the end of the structure or of the claims.
    #[error("bytes are left over")]
    TrailingBytes,
    /// The algorithm is neither EdDSA nor ES256, or not one that this kind allows.
    #[error("signature algorithm not allowed")]
    Algorithm,
    /// The protected header has more or less than algorithm and key id, or the unprotected header is not empty.
    #[error("COSE header not as expected")]
    Header,
    /// The key id is not 8 bytes, or not that of the key that the token itself names.
    #[error("key id not as expected")]
    KeyId,
    /// The signature is not 64 bytes.
    #[error("signature is not 64 bytes")]
    SignatureLength,
    /// The payload is no CBOR map with integer keys.
    #[error("claims are not a CBOR map")]
    NotClaims,
    /// A claim stands twice.
    #[error("claim {0} stands twice")]
    DuplicateClaim(i64),
    /// A claim that this kind must have is not there.
    #[error("claim {0} is missing")]
    MissingClaim(i64),
    /// A claim that this kind does not have.
    #[error("claim {0} does not belong here")]
    UnknownClaim(i64),
    /// A claim has the wrong type, length, alphabet or range.
    #[error("claim {0} has a wrong value")]
    BadClaim(i64),
    /// The same claims have another, canonical form.
    #[error("not in canonical form")]
    NotCanonical,
    /// A public key is not canonical, not on its curve, of small order or with torsion.
    #[error("not a usable public key")]
    BadKey,
    /// The version byte of a card is not known.
    #[error("card version {0} is not known")]
    CardVersion(u8),
}

/// Text of a token: prefix and base45.
fn to_text(prefix: &str, bytes: &[u8]) -> String {
    format!("{prefix}{}", base45::encode(bytes))
}

/// Bytes of a token's text, with the limit looked at before anything else.
fn from_text(prefix: &'static str, max_chars: usize, text: &str) -> Result<Vec<u8>, TokenError> {
    if text.len() > max_chars {
        return Err(TokenError::TooLong { max: max_chars });
    }
    let body = text.strip_prefix(prefix).ok_or(TokenError::Prefix(prefix))?;
    let bytes = base45::decode(body).map_err(|_| TokenError::Base45)?;
    // The decoder cuts a last pair above 255 down to a byte, so one token would have several texts.
    if base45::encode(&bytes) != body {
        return Err(TokenError::Base45);
    }
    Ok(bytes)
}
