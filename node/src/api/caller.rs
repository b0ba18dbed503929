//! Who calls: the one place where that is decided.
//!
//! An operator proves it by a session or a token (node/src/accounts), a holder by the phone's key. In this version the node
//! listens on loopback only, so a peer is believed when it says who it is.

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
use crate::accounts::permission::Permission;
use crate::accounts::{Accounts, Acting, Credential};

/// The cookie that carries a session. The prefix makes browsers insist on Secure, on Path=/ and on this very host.
pub const SESSION_COOKIE: &str = "__Host-voucher-session";

/// The header in which a page sends the session's token back with each request that changes something.
pub const CSRF_HEADER: &str = "X-CSRF-Token";

/// How old a holder's signature over a request may be.
pub const REQUEST_WINDOW: Millis = Millis::secs(60);

/// Most signatures over requests that are remembered; each is kept no longer than it could be repeated.
pub const MAX_SEEN: usize = 100_000;

/// Who calls.
#[derive(Debug, Clone)]
pub enum Caller {
    /// Nobody in particular.
    Anonymous,
    /// A clerk or an operator of this institution, by an account.
    Operator(Box<Acting>),
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
            Self::Operator(acting) => Some(acting.operator),
            _ => None,
        }
    }

    /// The account that acts, where the route lets an operator in (node/src/api/access.rs).
    ///
    /// # Errors
    ///
    /// As below.
    pub fn acting(&self) -> Result<&Acting, Problem> {
        match self {
            Self::Operator(acting) => Ok(acting),
            Self::Anonymous => Err(Reason::Unauthenticated.into()),
            _ => Err(Reason::Forbidden.into()),
        }
    }

    /// An operator of this institution.
    ///
    /// # Errors
    ///
    /// [`Reason::Unauthenticated`] if nobody in particular calls, [`Reason::Forbidden`] if somebody else does.
    pub fn must_be_operator(&self) -> Result<Operator, Problem> {
        self.acting().map(|acting| acting.operator)
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

    /// Someone to whom a voucher's whole state may be told.
    #[must_use]
    pub fn is_inside(&self) -> bool {
        match self {
            Self::Operator(acting) => acting.may(Permission::ReadRecords).is_ok(),
            Self::Peer(_) => true,
            _ => false,
        }
    }
}

impl Acting {
    /// Whether it may do something, by this request.
    ///
    /// # Errors
    ///
    /// [`Reason::Forbidden`], or [`Reason::PasswordChangeNeeded`] with a password for one sign-in.
    pub fn may(&self, permission: Permission) -> Result<(), Problem> {
        if self.one_time {
            return Err(Reason::PasswordChangeNeeded.into());
        }
        match self.permissions.has(permission) {
            true => Ok(()),
            false => Err(Problem::new(Reason::Forbidden).detail(format_args!("it takes the permission {permission}"))),
        }
    }

    /// A person in a session, with a password of their own.
    ///
    /// # Errors
    ///
    /// [`Reason::PersonNeeded`] for a token, [`Reason::PasswordChangeNeeded`].
    pub fn must_be_person(&self) -> Result<(), Problem> {
        match self.by {
            Credential::Token(_) => Err(Reason::PersonNeeded.into()),
            Credential::Session(_) if self.one_time => Err(Reason::PasswordChangeNeeded.into()),
            Credential::Session(_) => Ok(()),
        }
    }
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
/// A header that cannot be read; a session or token that is over; a page's request without the session's token; or a
/// holder's signature that is old, replayed or for something else.
pub fn decide(
    request: &HttpRequest,
    body: &[u8],
    me: InstitutionId,
    now: Timestamp,
    seen: &Seen,
    accounts: &Accounts,
) -> Result<Caller, Problem> {
    let text = |name: &str| -> Result<Option<&str>, Problem> {
        let Some(value) = request.headers().get(name) else { return Ok(None) };
        value.to_str().map(Some).map_err(|_| Problem::malformed(format!("the header {name} is not ASCII")))
    };
    let (authorization, institution) = (text("Authorization")?, text("Institution")?);
    if authorization.is_some() && institution.is_some() {
        return Err(Problem::malformed("one of Authorization and Institution says who calls"));
    }
    if let Some(id) = institution {
        return Ok(Caller::Peer(id.parse().map_err(|error| Problem::malformed(format!("Institution: {error}")))?));
    }
    let Some(authorization) = authorization else { return page(request, now, accounts) };
    if let Some(secret) = authorization.strip_prefix("Bearer ") {
        let acting = accounts.who(secret.trim(), now).ok_or(Reason::SessionOver)?;
        return Ok(Caller::Operator(Box::new(acting)));
    }
    let token = authorization.strip_prefix("VP1 ").ok_or(Reason::Unauthenticated)?;
    let proof = vp1::parse(token).map_err(|error| Problem::new(Reason::PresentationMalformed).detail(error))?;
    holder(request, body, me, now, seen, proof)
}

/// A page, by its cookie. Any site can make a browser send the cookie; none but ours can read the session's token, so a
/// request that changes something must carry that too. A cookie that is over is nobody's.
fn page(request: &HttpRequest, now: Timestamp, accounts: &Accounts) -> Result<Caller, Problem> {
    let Some(acting) = cookie(request).and_then(|secret| accounts.who(secret, now)) else {
        return Ok(Caller::Anonymous);
    };
    if !request.method().is_safe() {
        let sent = request.headers().get(CSRF_HEADER).and_then(|v| v.to_str().ok()).unwrap_or_default();
        // Digests are compared, so that the time it takes says nothing about the token.
        let same = |csrf: &String| sha2::Sha256::digest(csrf) == sha2::Sha256::digest(sent);
        if !acting.csrf.as_ref().is_some_and(same) {
            return Err(Reason::CsrfTokenWrong.into());
        }
    }
    Ok(Caller::Operator(Box::new(acting)))
}

/// The session in the request's cookies.
fn cookie(request: &HttpRequest) -> Option<&str> {
    let headers = request.headers().get_all(header::COOKIE);
    let mut pairs = headers.filter_map(|v| v.to_str().ok()).flat_map(|text| text.split(';'));
    pairs.find_map(|pair| pair.trim().strip_prefix(SESSION_COOKIE)?.strip_prefix('='))
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
        Caller::Operator(acting) => {
            hash.update(b"operator\0");
            hash.update(acting.operator.0.as_bytes());
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
