//! Who calls: the one place where that is decided.
//!
//! An operator proves it by a session or a token (node/src/accounts), a holder by the phone's key. In this version the node
//! listens on loopback only, so a peer is believed when it says who it is.

use std::collections::{BTreeMap, HashMap, HashSet};

use actix_web::HttpRequest;
use actix_web::http::header::ACCEPT_LANGUAGE;
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
use crate::oidc::{Oidc, jwt};

/// The cookie that carries a session. The prefix makes browsers insist on Secure, on Path=/ and on this very host.
pub const SESSION_COOKIE: &str = "__Host-voucher-session";

/// The header in which a page sends the session's token back with each request that changes something.
pub const CSRF_HEADER: &str = "X-CSRF-Token";

/// How old a holder's signature over a request may be.
pub const REQUEST_WINDOW: Millis = Millis::secs(60);

/// Most signatures over requests that are remembered; each is kept no longer than it could be repeated.
pub const MAX_SEEN: usize = 100_000;

/// Most of them by one key, so that nobody who may call takes the place of all others.
pub const MAX_SEEN_OF_ONE: usize = 1_000;

/// Who calls.
#[derive(Debug, Clone)]
pub enum Caller {
    /// Nobody in particular.
    Anonymous,
    /// A clerk or an operator of this institution, by an account.
    Operator(Box<Acting>),
    /// The node of another institution.
    Peer(InstitutionId),
    /// A holder: fresh, for this very request; whose signature it is, and that it comes once, is for the wallet to say.
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
            Credential::Token(_) | Credential::Jwt => Err(Reason::PersonNeeded.into()),
            Credential::Session(_) if self.one_time => Err(Reason::PasswordChangeNeeded.into()),
            Credential::Session(_) => Ok(()),
        }
    }
}

/// Remembers signatures over requests as long as they could be repeated.
#[derive(Debug, Default)]
pub struct Seen(Mutex<Remembered>);

/// Which signature: kid and cti.
type Signed = ([u8; 8], [u8; 8]);

#[derive(Debug, Default)]
struct Remembered {
    /// Their ctis, by kid.
    by_key: HashMap<[u8; 8], HashSet<[u8; 8]>>,
    /// Which were made in a second: the oldest are forgotten first, and only those are looked at.
    by_second: BTreeMap<i64, Vec<Signed>>,
    /// How many.
    count: usize,
}

impl Remembered {
    /// Forgets what is refused as stale by now.
    fn forget(&mut self, now: Timestamp) {
        let fresh = now.secs() - REQUEST_WINDOW.0 / 1_000;
        while let Some(oldest) = self.by_second.first_entry().filter(|second| *second.key() < fresh) {
            for (kid, cti) in oldest.remove() {
                self.count -= 1;
                if let Some(ctis) = self.by_key.get_mut(&kid) {
                    ctis.remove(&cti);
                    if ctis.is_empty() {
                        self.by_key.remove(&kid);
                    }
                }
            }
        }
    }
}

impl Seen {
    /// Takes a signature once. Only for one that was verified: what nobody signed would crowd out what holders sign.
    ///
    /// # Errors
    ///
    /// [`Reason::PresentationReplayed`]; [`Reason::Busy`] if too many came within a minute.
    pub fn first(&self, claims: &vp1::Claims, now: Timestamp) -> Result<(), Problem> {
        let mut seen = self.0.lock();
        seen.forget(now);
        let is_full = seen.count >= MAX_SEEN;
        let of_one = seen.by_key.get(&claims.kid);
        if of_one.is_some_and(|ctis| ctis.contains(&claims.cti)) {
            return Err(Reason::PresentationReplayed.into());
        }
        if is_full || of_one.is_some_and(|ctis| ctis.len() >= MAX_SEEN_OF_ONE) {
            return Err(Reason::Busy.into());
        }
        seen.by_key.entry(claims.kid).or_default().insert(claims.cti);
        seen.by_second.entry(claims.iat).or_default().push((claims.kid, claims.cti));
        seen.count += 1;
        Ok(())
    }
}

/// The language that the caller asks for: of those that there are, the one with the greatest weight (RFC 9110).
#[must_use]
pub fn language(request: &HttpRequest) -> Language {
    let wanted = request.headers().get_all(ACCEPT_LANGUAGE).filter_map(|v| v.to_str().ok());
    let mut best = (0.0, Language::En);
    for part in wanted.flat_map(|value| value.split(',')) {
        let mut words = part.split(';').map(|word| word.trim().to_ascii_lowercase());
        let language = match words.next().unwrap_or_default() {
            tag if tag.starts_with("zh") => Language::Zh,
            tag if tag.starts_with("en") => Language::En,
            _ => continue,
        };
        let weight = words.find_map(|word| word.strip_prefix("q=").map(|q| q.parse::<f32>().unwrap_or(0.0)));
        // Of equals the first.
        if weight.unwrap_or(1.0) > best.0 {
            best = (weight.unwrap_or(1.0), language);
        }
    }
    best.1
}

/// A header's text, if it is there.
///
/// # Errors
///
/// [`Reason::Malformed`] if it is not ASCII or stands twice: who looked at the request on its way may have seen the other.
pub fn header<'a>(request: &'a HttpRequest, name: &str) -> Result<Option<&'a str>, Problem> {
    let mut values = request.headers().get_all(name);
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Problem::malformed(format!("the header {name} stands twice")));
    }
    value.to_str().map(Some).map_err(|_| Problem::malformed(format!("the header {name} is not ASCII")))
}

/// Decides who calls.
///
/// # Errors
///
/// A header that cannot be read or stands twice; a session, token or JWT that is over or not believed; a page's request without the session's
/// token; or a holder's signature that is old or for something else.
pub fn decide(
    request: &HttpRequest,
    body: &[u8],
    me: InstitutionId,
    now: Timestamp,
    accounts: &Accounts,
    oidc: Option<&Oidc>,
) -> Result<Caller, Problem> {
    let (authorization, institution) = (header(request, "Authorization")?, header(request, "Institution")?);
    if authorization.is_some() && institution.is_some() {
        return Err(Problem::malformed("one of Authorization and Institution says who calls"));
    }
    if let Some(id) = institution {
        return Ok(Caller::Peer(id.parse().map_err(|error| Problem::malformed(format!("Institution: {error}")))?));
    }
    let Some(authorization) = authorization else { return page(request, now, accounts) };
    if let Some(secret) = authorization.strip_prefix("Bearer ") {
        return bearer(secret.trim(), now, accounts, oidc).map(|acting| Caller::Operator(Box::new(acting)));
    }
    let token = authorization.strip_prefix("VP1 ").ok_or(Reason::Unauthenticated)?;
    let proof = vp1::parse(token).map_err(|error| Problem::new(Reason::PresentationMalformed).detail(error))?;
    holder(request, body, me, now, proof)
}

/// A session or token of this node, or a JWT where an identity provider is configured. What a JWT claims is judged by the
/// machine's time.
fn bearer(secret: &str, now: Timestamp, accounts: &Accounts, oidc: Option<&Oidc>) -> Result<Acting, Problem> {
    if let Some(oidc) = oidc.filter(|_| jwt::looks_like_one(secret)) {
        let (subject, scope) = oidc.bearer(secret)?;
        return Ok(accounts.who_is(&subject, scope)?);
    }
    Ok(accounts.who(secret, now).ok_or(Reason::SessionOver)?)
}

/// A page, by its cookie. Any site can make a browser send the cookie; none but ours can read the session's token, so a
/// request that changes something must carry that too. A cookie that is over is nobody's.
fn page(request: &HttpRequest, now: Timestamp, accounts: &Accounts) -> Result<Caller, Problem> {
    let Some(acting) = cookie(request, SESSION_COOKIE).and_then(|secret| accounts.who(secret, now)) else {
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

/// A cookie of the request by its name.
#[must_use]
pub fn cookie<'a>(request: &'a HttpRequest, name: &str) -> Option<&'a str> {
    let headers = request.headers().get_all(actix_web::http::header::COOKIE);
    let mut pairs = headers.filter_map(|v| v.to_str().ok()).flat_map(|text| text.split(';'));
    pairs.find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
}

fn holder(
    request: &HttpRequest,
    body: &[u8],
    me: InstitutionId,
    now: Timestamp,
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

#[cfg(test)]
mod tests {
    use actors::token::HolderKey;

    use super::*;

    fn claims(kid: u64, cti: u64, iat: i64) -> vp1::Claims {
        let step = vp1::Step::Register { key: HolderKey::ed25519(&[1; 32]).public() };
        vp1::Claims { kid: kid.to_be_bytes(), iat, cti: cti.to_be_bytes(), step }
    }

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_millis(secs * 1_000)
    }

    #[test]
    fn a_signature_counts_once_as_long_as_it_could_be_repeated() {
        let seen = Seen::default();
        let first = |kid, cti, iat, now| seen.first(&claims(kid, cti, iat), at(now)).map_err(|p| p.reason);
        assert_eq!(first(1, 1, 1_000, 1_000), Ok(()));
        assert_eq!(first(1, 1, 1_000, 1_060), Err(Reason::PresentationReplayed));
        assert_eq!(first(1, 2, 1_000, 1_060), Ok(()));
        assert_eq!(first(2, 1, 1_060, 1_000), Ok(()), "another's, by a clock that is ahead");
        assert_eq!(first(2, 1, 1_060, 1_120), Err(Reason::PresentationReplayed));
        assert_eq!(seen.0.lock().count, 1, "what is stale is forgotten");
    }

    #[test]
    fn one_key_crowds_out_nobody_and_what_is_full_is_free_again_after_the_window() {
        let seen = Seen::default();
        let first = |kid, cti, now| seen.first(&claims(kid, cti, now), at(now)).map_err(|p| p.reason);
        let (one, all) = (MAX_SEEN_OF_ONE as u64, MAX_SEEN as u64);
        for cti in 0..one {
            assert_eq!(first(0, cti, 1_000), Ok(()));
        }
        assert_eq!(first(0, one, 1_000), Err(Reason::Busy));
        for kid in one..all {
            assert_eq!(first(kid, 0, 1_000), Ok(()));
        }
        assert_eq!(first(all, 0, 1_000), Err(Reason::Busy));
        assert_eq!(first(0, 0, 1_000), Err(Reason::PresentationReplayed), "also while full");
        assert_eq!(first(all, 0, 1_061), Ok(()));
        let left = seen.0.lock();
        assert_eq!((left.count, left.by_key.len()), (1, 1));
    }

    #[test]
    fn the_language_is_the_one_that_is_wanted_most() {
        use actix_web::test::TestRequest;
        let (zh, en) = (Language::Zh, Language::En);
        let table = [
            ("", en),
            ("zh-CN", zh),
            ("en;q=0.1, zh;q=0.9", zh),
            ("zh;q=0.1, en", en),
            ("fr, zh-TW;q=0.2", zh),
            ("zh, en", zh),
            ("en-GB,zh", en),
            ("zh;q=0", en),
            ("zh;q=x, en;q=0.1", en),
            ("ZH; Q=0.5", zh),
            ("*", en),
        ];
        for (wanted, expected) in table {
            let request = TestRequest::get().insert_header((ACCEPT_LANGUAGE, wanted)).to_http_request();
            assert_eq!(language(&request), expected, "{wanted}");
        }
    }

    #[test]
    fn a_header_stands_once() {
        use actix_web::test::TestRequest;
        let request = TestRequest::get().append_header(("Operator", "li")).append_header(("X", "1"));
        let request = request.append_header(("X", "1")).to_http_request();
        assert_eq!(header(&request, "Operator").unwrap(), Some("li"));
        assert_eq!(header(&request, "Institution").unwrap(), None);
        assert_eq!(header(&request, "X").unwrap_err().reason, Reason::Malformed);
    }
}
