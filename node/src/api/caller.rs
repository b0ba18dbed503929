//! Who calls: the one place where that is decided.
//!
//! In this version the node listens on loopback only, so a desk and a peer are believed when they say who they are; a
//! holder always proves it with the phone's key.

use std::collections::HashMap;

use actix_web::HttpRequest;
use actix_web::http::header;
use actors::token::vp1;
use domain::custody::PRESENTATION_WINDOW;
use domain::ids::{Digest, InstitutionId, Operator};
use domain::reason_texts::Language;
use domain::reasons::Reason;
use domain::time::{Millis, Timestamp};
use parking_lot::Mutex;
use sha2::Digest as _;

use super::problem::Problem;

/// Longest name in the `Operator` header, in bytes.
pub const MAX_OPERATOR_BYTES: usize = 64;

/// How old a holder's signature over a request may be.
pub const REQUEST_WINDOW: Millis = Millis::secs(60);

/// Most signatures over requests that are remembered; each is kept no longer than it could be repeated.
pub const MAX_SEEN: usize = 100_000;

/// Who calls.
#[derive(Debug, Clone)]
pub enum Caller {
    /// Nobody in particular.
    Anonymous,
    /// A clerk or an operator of this institution.
    Operator(Operator),
    /// The node of another institution.
    Peer(InstitutionId),
    /// A holder: signed, fresh, for this very request; whose key it is, is for the wallet to say.
    Holder(Box<vp1::Unverified>),
}

impl Caller {
    /// The operator, where one calls.
    #[must_use]
    pub const fn operator(&self) -> Option<Operator> {
        match self {
            Self::Operator(operator) => Some(*operator),
            _ => None,
        }
    }

    /// An operator of this institution.
    ///
    /// # Errors
    ///
    /// [`Reason::Unauthenticated`] if nobody in particular calls, [`Reason::Forbidden`] if somebody else does.
    pub fn must_be_operator(&self) -> Result<Operator, Problem> {
        match self {
            Self::Operator(operator) => Ok(*operator),
            Self::Anonymous => {
                Err(Problem::new(Reason::Unauthenticated).detail("the Operator header says who acts at the desk"))
            }
            _ => Err(Reason::Forbidden.into()),
        }
    }

    /// A peer's node.
    ///
    /// # Errors
    ///
    /// As above.
    pub fn must_be_peer(&self) -> Result<InstitutionId, Problem> {
        match self {
            Self::Peer(institution) => Ok(*institution),
            Self::Anonymous => {
                Err(Problem::new(Reason::Unauthenticated).detail("the Institution header says which node calls"))
            }
            _ => Err(Reason::Forbidden.into()),
        }
    }

    /// Someone of whom a voucher's whole state may be told.
    #[must_use]
    pub const fn is_inside(&self) -> bool {
        matches!(self, Self::Operator(_) | Self::Peer(_))
    }
}

/// The pseudonym of an operator's name at an institution.
#[must_use]
pub fn pseudonym(institution: InstitutionId, name: &str) -> Operator {
    let mut hash = sha2::Sha256::new();
    hash.update(b"voucher-node/v1/operator\0");
    hash.update(institution.as_str());
    hash.update(b"\0");
    hash.update(name);
    let digest: [u8; 32] = hash.finalize().into();
    let mut id = [0; 16];
    id.copy_from_slice(&digest[..16]);
    Operator(uuid::Uuid::from_bytes(id))
}

/// Remembers signatures over requests as long as they could be repeated.
#[derive(Debug, Default)]
pub struct Seen(Mutex<HashMap<Signed, i64>>);

/// Which signature: kid and cti.
type Signed = ([u8; 8], [u8; 8]);

impl Seen {
    fn first(&self, claims: &vp1::Claims, now: Timestamp) -> Result<(), Problem> {
        let mut seen = self.0.lock();
        if seen.len() >= MAX_SEEN {
            let oldest = now.secs() - 2 * REQUEST_WINDOW.0 / 1_000;
            seen.retain(|_, iat| *iat > oldest);
            if seen.len() >= MAX_SEEN {
                return Err(Reason::Busy.into());
            }
        }
        match seen.insert((claims.kid, claims.cti), claims.iat) {
            None => Ok(()),
            Some(_) => Err(Reason::PresentationReplayed.into()),
        }
    }
}

/// The language that the caller asks for.
#[must_use]
pub fn language(request: &HttpRequest) -> Language {
    let wanted = request.headers().get(header::ACCEPT_LANGUAGE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let first = wanted.split(',').map(|part| part.split(';').next().unwrap_or_default().trim());
    for tag in first {
        if tag.to_ascii_lowercase().starts_with("zh") {
            return Language::Zh;
        }
        if tag.to_ascii_lowercase().starts_with("en") {
            return Language::En;
        }
    }
    Language::En
}

/// Decides who calls.
///
/// # Errors
///
/// A header that cannot be read, or a holder's signature that is old, replayed or for something else.
pub fn decide(
    request: &HttpRequest,
    body: &[u8],
    me: InstitutionId,
    now: Timestamp,
    seen: &Seen,
) -> Result<Caller, Problem> {
    let text = |name: &str| -> Result<Option<&str>, Problem> {
        let Some(value) = request.headers().get(name) else { return Ok(None) };
        value.to_str().map(Some).map_err(|_| Problem::malformed(format!("the header {name} is not ASCII")))
    };
    let (authorization, operator, institution) = (text("Authorization")?, text("Operator")?, text("Institution")?);
    let given = [authorization, operator, institution].iter().flatten().count();
    if given > 1 {
        return Err(Problem::malformed("one of Authorization, Operator and Institution says who calls"));
    }
    if let Some(name) = operator {
        if name.is_empty() || name.len() > MAX_OPERATOR_BYTES {
            return Err(Problem::malformed("the Operator header has 1 to 64 characters"));
        }
        return Ok(Caller::Operator(pseudonym(me, name)));
    }
    if let Some(id) = institution {
        return Ok(Caller::Peer(id.parse().map_err(|error| Problem::malformed(format!("Institution: {error}")))?));
    }
    let Some(authorization) = authorization else { return Ok(Caller::Anonymous) };
    let token = authorization.strip_prefix("VP1 ").ok_or(Reason::Unauthenticated)?;
    let proof = vp1::parse(token).map_err(|error| Problem::new(Reason::PresentationMalformed).detail(error))?;
    holder(request, body, me, now, seen, proof)
}

fn holder(
    request: &HttpRequest,
    body: &[u8],
    me: InstitutionId,
    now: Timestamp,
    seen: &Seen,
    proof: vp1::Unverified,
) -> Result<Caller, Problem> {
    let claims = &proof.claims;
    let vp1::Step::Wallet { audience, request: signed } = &claims.step else {
        return Err(Reason::PresentationOtherStep.into());
    };
    if audience != me.as_str() {
        return Err(Reason::PresentationElsewhere.into());
    }
    let path = request.uri().path_and_query().map_or("/", |p| p.as_str());
    if vp1::request_digest(request.method().as_str(), path, body) != *signed {
        return Err(Problem::new(Reason::PresentationForged).detail("the signature is over another request"));
    }
    let iat = Timestamp::from_millis(claims.iat.saturating_mul(1_000));
    if iat.distance(now) > REQUEST_WINDOW.min(PRESENTATION_WINDOW) {
        let off = (claims.iat - now.secs()).clamp(-86_400 * 365, 86_400 * 365);
        return Err(Problem::new(Reason::PresentationStale).detail(format!("the phone's clock is off by {off} s")));
    }
    seen.first(claims, now)?;
    Ok(Caller::Holder(Box::new(proof)))
}

/// The digest of an idempotency key: by caller, so that nobody can take another's.
#[must_use]
pub fn idempotency_digest(caller: &Caller, key: &str) -> Digest {
    let mut hash = sha2::Sha256::new();
    hash.update(b"voucher-node/v1/idempotency\0");
    match caller {
        Caller::Anonymous => hash.update(b"anonymous"),
        Caller::Operator(operator) => {
            hash.update(b"operator\0");
            hash.update(operator.0.as_bytes());
        }
        Caller::Peer(institution) => {
            hash.update(b"peer\0");
            hash.update(institution.as_str());
        }
        Caller::Holder(proof) => {
            hash.update(b"holder\0");
            hash.update(proof.claims.kid);
        }
    }
    hash.update(b"\0");
    hash.update(key);
    Digest(hash.finalize().into())
}
