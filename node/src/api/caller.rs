//! Who calls: the one place where that is decided.
//!
//! An operator proves it by a session or a token (node/src/accounts), a holder by the phone's key, a peer by the node key
//! that the registry has of it (node/src/peers/signature.rs).

use actix_web::HttpRequest;
use actix_web::http::header::{ACCEPT_LANGUAGE, AUTHORIZATION, HeaderValue};
use actors::token::vp1;
use domain::custody::PRESENTATION_WINDOW;
use domain::ids::{Digest, InstitutionId, Operator};
use domain::member::{Purpose, Standing};
use domain::reason_texts::Language;
use domain::reasons::Reason;
use domain::time::{Millis, Timestamp};
use ed25519_dalek::VerifyingKey;
use sha2::Digest as _;

use super::problem::Problem;
use super::seen::Again;
use crate::accounts::permission::Permission;
use crate::accounts::{Accounts, Acting, Credential};
use crate::node::Node;
use crate::oidc::{Oidc, jwt};
use crate::pages::text;
use crate::peers::signature::{self, Message, Signed};

/// The cookie that carries a session. The prefix makes browsers insist on Secure, on Path=/ and on this very host.
pub const SESSION_COOKIE: &str = "__Host-voucher-session";

/// The cookie that keeps the language which somebody chose on a page.
pub const LANGUAGE_COOKIE: &str = "__Host-voucher-language";

/// The media type of a page's form.
pub const FORM: &str = "application/x-www-form-urlencoded";

/// The header in which a page sends the session's token back with each request that changes something.
pub const CSRF_HEADER: &str = "X-CSRF-Token";

/// What a peer must do that did not.
pub const PEERS_SIGN: &str = "a node signs its requests (Signature-Input, Signature)";

/// How old a holder's signature over a request may be.
pub const REQUEST_WINDOW: Millis = Millis::secs(60);

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
            Self::Anonymous => Err(Problem::new(Reason::Unauthenticated).detail(PEERS_SIGN)),
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

/// The language in which to answer: English for who asks for none.
#[must_use]
pub fn language(request: &HttpRequest) -> Language {
    wished_language(request).unwrap_or(Language::En)
}

/// The language that the caller asks for: what was chosen on a page, else of those that there are the one with the greatest
/// weight (RFC 9110).
#[must_use]
pub fn wished_language(request: &HttpRequest) -> Option<Language> {
    if let Some(chosen) = cookie(request, LANGUAGE_COOKIE).and_then(text::by_tag) {
        return Some(chosen);
    }
    let wanted = request.headers().get_all(ACCEPT_LANGUAGE).filter_map(|v| v.to_str().ok());
    let mut best = (0.0, None);
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
            best = (weight.unwrap_or(1.0), Some(language));
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

/// Whether who calls can be known only from the body too: holders and peers sign it.
#[must_use]
pub fn signs(request: &HttpRequest) -> bool {
    let by_key = |value: &HeaderValue| !value.as_bytes().starts_with(b"Bearer ");
    request.headers().contains_key(signature::SIGNATURE_INPUT)
        || request.headers().get(AUTHORIZATION).is_some_and(by_key)
}

/// Decides who calls.
///
/// # Errors
///
/// A header that cannot be read or stands twice; a session, token or JWT that is over or not believed; a page's request without the session's
/// token; a holder's or a peer's signature that is old, came before, or is for something else.
pub fn decide(node: &Node, request: &HttpRequest, body: &[u8]) -> Result<Caller, Problem> {
    let (me, now, accounts) = (node.config.institution, node.writer.now(), &node.accounts);
    let authorization = header(request, "Authorization")?;
    if request.headers().contains_key(signature::SIGNATURE_INPUT) {
        if authorization.is_some() {
            return Err(Problem::malformed("one of Authorization and Signature says who calls"));
        }
        return peer(node, request, body, now).map(Caller::Peer);
    }
    let Some(authorization) = authorization else { return page(request, body, now, accounts) };
    if let Some(secret) = authorization.strip_prefix("Bearer ") {
        return bearer(secret.trim(), now, accounts, node.oidc.as_deref())
            .map(|acting| Caller::Operator(Box::new(acting)));
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

/// A peer, by the node key that the registry has of it.
fn peer(node: &Node, request: &HttpRequest, body: &[u8], now: Timestamp) -> Result<InstitutionId, Problem> {
    let values = |name: &str| {
        let values = request.headers().get_all(name);
        values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect()
    };
    let uri = request.uri();
    let (path, query) = (uri.path(), uri.query().unwrap_or_default());
    let message = Message { method: request.method().as_str(), authority: "", path, query, header: &values };
    let invalid = |why: &dyn std::fmt::Display| Problem::new(Reason::SignatureInvalid).detail(why);
    let signed = Signed::read(&message, body, node.config.institution).map_err(|fault| invalid(&fault))?;
    let institution = signed.institution;
    let registry = node.writer.registry();
    let is_in = registry.standing(institution, u64::MAX).is_some_and(|standing| standing != Standing::Revoked);
    let member = registry.member(institution).filter(|_| is_in);
    let member =
        member.ok_or_else(|| invalid(&format_args!("{institution} is no member, as far as this node knows")))?;
    let key = VerifyingKey::from_bytes(&member.entry.keys[Purpose::Node as usize]);
    if !key.is_ok_and(|key| signed.is_by(&key)) {
        return Err(invalid(&format_args!("it is not signed by the node key of {institution}")));
    }
    let off = signed.created.distance(now);
    if off > signature::WINDOW {
        return Err(Problem::new(Reason::SignatureStale).detail(format_args!("{} s apart", off.0 / 1_000)));
    }
    match node.seen_peers.first(institution, signed.nonce, signed.created.secs(), now) {
        Ok(()) => Ok(institution),
        Err(Again::Repeated) => Err(Reason::SignatureReplayed.into()),
        Err(Again::Crowded) => Err(Reason::Busy.into()),
    }
}

/// A page, by its cookie. Any site can make a browser send the cookie; none but ours can read the session's token, so a
/// request that changes something must carry that too: a script's in a header, a form's in its body. A cookie that is over is
/// nobody's.
fn page(request: &HttpRequest, body: &[u8], now: Timestamp, accounts: &Accounts) -> Result<Caller, Problem> {
    let Some(acting) = cookie(request, SESSION_COOKIE).and_then(|secret| accounts.who(secret, now)) else {
        return Ok(Caller::Anonymous);
    };
    if !request.method().is_safe() {
        let field = body.split(|byte| *byte == b'&').find_map(|pair| pair.strip_prefix(b"csrf="));
        let field = field.filter(|_| is_form(request)).and_then(|token| std::str::from_utf8(token).ok());
        let header = request.headers().get(CSRF_HEADER).and_then(|v| v.to_str().ok());
        let sent = header.or(field).unwrap_or_default();
        // Digests are compared, so that the time it takes says nothing about the token.
        let same = |csrf: &String| sha2::Sha256::digest(csrf) == sha2::Sha256::digest(sent);
        if !acting.csrf.as_ref().is_some_and(same) {
            return Err(Reason::CsrfTokenWrong.into());
        }
    }
    Ok(Caller::Operator(Box::new(acting)))
}

/// Whether the body is a page's form.
#[must_use]
pub fn is_form(request: &HttpRequest) -> bool {
    let kind = header(request, "Content-Type").ok().flatten().unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(FORM)
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
    let path = request.uri().path_and_query().map_or("/", |p| p.as_str());
    is_over(&proof, me, request.method().as_str(), path, body, now)?;
    Ok(Caller::Holder(Box::new(proof)))
}

/// Whether a holder's signature is fresh, and over this request to this institution. Whose it is, the role says.
///
/// # Errors
///
/// What differs: step, institution, request or time.
pub fn is_over(
    proof: &vp1::Unverified,
    me: InstitutionId,
    method: &str,
    path: &str,
    body: &[u8],
    now: Timestamp,
) -> Result<(), Problem> {
    let claims = &proof.claims;
    let vp1::Step::Wallet { audience, request: signed } = &claims.step else {
        return Err(Reason::PresentationOtherStep.into());
    };
    if audience != me.as_str() {
        return Err(Reason::PresentationElsewhere.into());
    }
    if vp1::request_digest(method, path, body) != *signed {
        return Err(Problem::new(Reason::PresentationForged).detail("the signature is over another request"));
    }
    let iat = Timestamp::from_millis(claims.iat.saturating_mul(1_000));
    if iat.distance(now) > REQUEST_WINDOW.min(PRESENTATION_WINDOW) {
        let off = (claims.iat - now.secs()).clamp(-86_400 * 365, 86_400 * 365);
        return Err(Problem::new(Reason::PresentationStale).detail(format!("the phone's clock is off by {off} s")));
    }
    Ok(())
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
    use super::*;

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
        let request = TestRequest::get().append_header(("Audience", "li")).append_header(("X", "1"));
        let request = request.append_header(("X", "1")).to_http_request();
        assert_eq!(header(&request, "Audience").unwrap(), Some("li"));
        assert_eq!(header(&request, "Signature").unwrap(), None);
        assert_eq!(header(&request, "X").unwrap_err().reason, Reason::Malformed);
    }
}
