//! Verifying a JWT (RFC 7519, RFC 7515): its signature by a key of the provider, then its claims. The clock comes in by
//! argument.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::time::{Millis, Timestamp};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::jwk::{Found, KeySet, algorithm};
use crate::accounts::permission::{Permission, Permissions};
use crate::api::json;

/// Longest JWT, in bytes.
pub const MAX_JWT_BYTES: usize = 8 * 1024;

/// How far a provider's clock may be off.
pub const LEEWAY: Millis = Millis::secs(60);

/// How old an ID token may be: it was made for the sign-in under way.
pub const MAX_ID_TOKEN_AGE: Millis = Millis::minutes(10);

/// Longest subject, in bytes (OpenID Connect Core 1.0, section 2).
pub const MAX_SUBJECT_BYTES: usize = 255;

/// Why a JWT is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Untrusted {
    /// It is no JWT.
    #[error("it cannot be read")]
    Malformed,
    /// Its algorithm is not taken, or the key is for another one.
    #[error("its algorithm is not one of the key's")]
    Algorithm,
    /// It has a header that must be understood, or is a JWT for something else.
    #[error("it is a JWT of another type")]
    OtherType,
    /// The provider shows no such key.
    #[error("it names a key that the provider does not show")]
    UnknownKey,
    /// The signature does not hold.
    #[error("its signature does not hold")]
    Signature,
    /// A claim says that it is not for this, or not for now.
    #[error("its claim {0} does not fit")]
    Claim(&'static str),
}

/// Whether a text looks like a JWT rather than like the text of a session or token.
#[must_use]
pub fn looks_like_one(text: &str) -> bool {
    text.bytes().filter(|b| *b == b'.').count() == 2
}

/// What a JWT says of itself.
#[derive(Debug, Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    crit: Option<IgnoredAny>,
}

/// Seconds since 1970; a provider may say fractions.
#[derive(Debug, Clone, Copy, Deserialize)]
struct NumericDate(f64);

impl NumericDate {
    /// Saturates: what lies beyond all times is beyond every limit too.
    fn time(self) -> Timestamp {
        Timestamp::from_millis((self.0.clamp(0.0, 1e12) * 1_000.0) as i64)
    }
}

/// For whom.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Audience {
    fn all(&self) -> &[String] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

/// What a provider claims; what else stands in a JWT, such as names and roles, is not looked at.
#[derive(Debug, Deserialize)]
pub struct Claims {
    iss: String,
    /// Whom the provider speaks of.
    pub sub: String,
    aud: Audience,
    exp: NumericDate,
    iat: Option<NumericDate>,
    nbf: Option<NumericDate>,
    azp: Option<String>,
    nonce: Option<String>,
    auth_time: Option<NumericDate>,
    acr: Option<String>,
    scope: Option<String>,
    cnf: Option<IgnoredAny>,
}

fn part<T: DeserializeOwned>(text: &str) -> Result<T, Untrusted> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| Untrusted::Malformed)?;
    json::read(&bytes).map_err(|_| Untrusted::Malformed)
}

/// Verifies the signature, and reads the claims: not yet whether they fit.
///
/// The header chooses among the algorithms of its key, never beyond them.
///
/// # Errors
///
/// [`Untrusted`], [`Untrusted::UnknownKey`] if another set may have the key.
fn signed(text: &str, keys: &KeySet, types: &[&str]) -> Result<Claims, Untrusted> {
    if text.len() > MAX_JWT_BYTES || !looks_like_one(text) {
        return Err(Untrusted::Malformed);
    }
    let (message, signature) = text.rsplit_once('.').ok_or(Untrusted::Malformed)?;
    let (header, claims) = message.split_once('.').ok_or(Untrusted::Malformed)?;
    let header: Header = part(header)?;
    let algorithm = algorithm(&header.alg).ok_or(Untrusted::Algorithm)?;
    // What must be understood is understood by nobody here; what is typed says what it is for.
    if header.crit.is_some() || header.typ.is_some_and(|typ| !types.contains(&typ.to_ascii_lowercase().as_str())) {
        return Err(Untrusted::OtherType);
    }
    let key = match keys.find(header.kid.as_deref(), algorithm) {
        Found::Key(key) => key,
        Found::OtherAlgorithm => return Err(Untrusted::Algorithm),
        Found::Unknown => return Err(Untrusted::UnknownKey),
    };
    match jsonwebtoken::crypto::verify(signature, message.as_bytes(), &key.public, algorithm) {
        Ok(true) => part(claims),
        _ => Err(Untrusted::Signature),
    }
}

impl Claims {
    /// By this provider, for this audience, of somebody, and now.
    fn must_fit(&self, issuer: &str, audience: &str, now: Timestamp) -> Result<(), Untrusted> {
        if self.iss != issuer {
            return Err(Untrusted::Claim("iss"));
        }
        if !self.aud.all().iter().any(|one| one == audience) {
            return Err(Untrusted::Claim("aud"));
        }
        check_subject(&self.sub)?;
        if now >= self.exp.time() + LEEWAY {
            return Err(Untrusted::Claim("exp"));
        }
        if self.nbf.is_some_and(|nbf| nbf.time() > now + LEEWAY) {
            return Err(Untrusted::Claim("nbf"));
        }
        if self.iat.is_some_and(|iat| iat.time() > now + LEEWAY) {
            return Err(Untrusted::Claim("iat"));
        }
        Ok(())
    }

    /// When and how somebody proved to the provider who they are, where this node asked for that: a provider may pass over what it
    /// was asked.
    ///
    /// # Errors
    ///
    /// [`Untrusted::Claim`].
    pub fn must_be_proved(&self, max_age_secs: Option<u32>, acr: Option<&str>) -> Result<(), Untrusted> {
        let is_old = |secs: u32| {
            let times = self.iat.zip(self.auth_time);
            times.is_none_or(|(made, proved)| proved.time() + Millis::secs(secs.into()) + LEEWAY < made.time())
        };
        if max_age_secs.is_some_and(is_old) {
            return Err(Untrusted::Claim("auth_time"));
        }
        if acr.is_some_and(|acr| self.acr.as_deref() != Some(acr)) {
            return Err(Untrusted::Claim("acr"));
        }
        Ok(())
    }

    /// What it narrows its account to: the permissions that its scope names, where it names any.
    #[must_use]
    pub fn scope(&self) -> Option<Permissions> {
        let words = self.scope.as_deref()?.split(' ');
        let named: Vec<Permission> = words.filter_map(|word| word.parse().ok()).collect();
        (!named.is_empty()).then(|| named.into_iter().collect())
    }
}

/// Checks a subject: what a provider says of somebody, and what an account is linked to.
///
/// # Errors
///
/// [`Untrusted::Claim`].
pub fn check_subject(sub: &str) -> Result<(), Untrusted> {
    let is_plain = |b: u8| b.is_ascii() && !b.is_ascii_control();
    if (1..=MAX_SUBJECT_BYTES).contains(&sub.len()) && sub.bytes().all(is_plain) {
        Ok(())
    } else {
        Err(Untrusted::Claim("sub"))
    }
}

/// Verifies what a sign-in brought (OpenID Connect Core 1.0, section 3.1.3.7).
///
/// # Errors
///
/// [`Untrusted`].
pub fn id_token(
    text: &str,
    keys: &KeySet,
    [issuer, client_id, nonce]: [&str; 3],
    now: Timestamp,
) -> Result<Claims, Untrusted> {
    let claims = signed(text, keys, &["jwt"])?;
    claims.must_fit(issuer, client_id, now)?;
    let is_shared = claims.aud.all().len() > 1;
    if claims.azp.as_deref().map_or(is_shared, |party| party != client_id) {
        return Err(Untrusted::Claim("azp"));
    }
    if claims.iat.is_none_or(|iat| iat.time() + MAX_ID_TOKEN_AGE + LEEWAY < now) {
        return Err(Untrusted::Claim("iat"));
    }
    if claims.nonce.as_deref() != Some(nonce) {
        return Err(Untrusted::Claim("nonce"));
    }
    Ok(claims)
}

/// Verifies what a machine shows as its bearer (RFC 9068, and JWTs of providers that do not follow it).
///
/// # Errors
///
/// [`Untrusted`].
pub fn access_token(
    text: &str,
    keys: &KeySet,
    issuer: &str,
    audience: &str,
    now: Timestamp,
) -> Result<Claims, Untrusted> {
    let claims = signed(text, keys, &["jwt", "at+jwt", "application/at+jwt"])?;
    claims.must_fit(issuer, audience, now)?;
    // It is bound to a key of its owner's, which nobody proves here: whoever stole it would be believed.
    if claims.cnf.is_some() {
        return Err(Untrusted::Claim("cnf"));
    }
    Ok(claims)
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signer as _, SigningKey};
    use hmac::{Hmac, KeyInit as _, Mac as _};
    use serde_json::{Value, json};

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_772_409_600_000);
    const NAMES: [&str; 3] = ["https://idp.example", "node", "n-1"];

    fn key() -> SigningKey {
        SigningKey::from_bytes(&[7; 32])
    }

    fn keys() -> KeySet {
        let x = URL_SAFE_NO_PAD.encode(key().verifying_key().as_bytes());
        let other = URL_SAFE_NO_PAD.encode([9; 32]);
        let keys = json!({ "keys": [
            { "kty": "OKP", "crv": "Ed25519", "x": x, "kid": "a" },
            { "kty": "OKP", "crv": "Ed25519", "x": other, "kid": "b" },
        ] });
        KeySet::parse(keys.to_string().as_bytes()).unwrap()
    }

    fn message(header: &str, claims: &str) -> String {
        format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims))
    }

    fn sign(header: &str, claims: &str) -> String {
        let message = message(header, claims);
        let signature = key().sign(message.as_bytes()).to_bytes();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn claims() -> Value {
        let now = NOW.secs();
        json!({ "iss": NAMES[0], "sub": "li", "aud": NAMES[1], "exp": now + 300, "iat": now - 5, "nonce": NAMES[2] })
    }

    const HEADER: &str = r#"{"alg":"EdDSA","kid":"a","typ":"JWT"}"#;

    #[test]
    fn the_header_chooses_nothing_that_the_key_is_not_for() {
        let claims = claims().to_string();
        let good = sign(HEADER, &claims);
        let by_public = {
            let message = message(r#"{"alg":"HS256","kid":"a"}"#, &claims);
            let mut mac = Hmac::<sha2::Sha256>::new_from_slice(key().verifying_key().as_bytes()).unwrap();
            mac.update(message.as_bytes());
            format!("{message}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
        };
        let unsigned = |header| format!("{}.", message(header, &claims));
        let (algorithm, malformed) = (Err(Untrusted::Algorithm), Err(Untrusted::Malformed));
        let table = [
            (good.clone(), Ok("li")),
            (sign(r#"{"alg":"EdDSA","kid":"a"}"#, &claims), Ok("li")),
            (sign(r#"{"alg":"EdDSA","kid":"a","jwk":{},"jku":"http://127.0.0.1:1"}"#, &claims), Ok("li")),
            (by_public, algorithm),
            (unsigned(r#"{"alg":"none","kid":"a"}"#), algorithm),
            (unsigned(r#"{"alg":"None","kid":"a"}"#), algorithm),
            (unsigned(r#"{"alg":"EdDSA","kid":"a"}"#), Err(Untrusted::Signature)),
            (sign(r#"{"alg":"RS256","kid":"a"}"#, &claims), algorithm),
            (sign(r#"{"alg":"ES256","kid":"a"}"#, &claims), algorithm),
            (sign(r#"{"alg":"eddsa","kid":"a"}"#, &claims), algorithm),
            (sign(r#"{"alg":"EdDSA","kid":"b"}"#, &claims), Err(Untrusted::Signature)),
            (sign(r#"{"alg":"EdDSA","kid":"c"}"#, &claims), Err(Untrusted::UnknownKey)),
            (sign(r#"{"alg":"EdDSA"}"#, &claims), Err(Untrusted::UnknownKey)),
            (sign(r#"{"alg":"EdDSA","kid":"a","crit":["exp"]}"#, &claims), Err(Untrusted::OtherType)),
            (sign(r#"{"alg":"EdDSA","kid":"a","typ":"logout+jwt"}"#, &claims), Err(Untrusted::OtherType)),
            (sign(r#"{"alg":"EdDSA","kid":"a","typ":"at+jwt"}"#, &claims), Err(Untrusted::OtherType)),
            (sign(r#"{"alg":"EdDSA","alg":"EdDSA","kid":"a"}"#, &claims), malformed),
            (sign(HEADER, "[]"), malformed),
            (sign(HEADER, "{"), malformed),
            (good.replacen('.', ".e", 1), Err(Untrusted::Signature)),
            (format!("{good}="), Err(Untrusted::Signature)),
            (format!("{good}.x"), malformed),
            ("..".into(), malformed),
            (String::new(), malformed),
            (sign(HEADER, &format!("{}{}", claims, " ".repeat(MAX_JWT_BYTES))), malformed),
        ];
        for (text, expected) in table {
            let came = id_token(&text, &keys(), NAMES, NOW).map(|claims| claims.sub);
            assert_eq!(came.as_deref().map_err(|why| *why), expected, "{text}");
        }
    }

    #[test]
    fn an_id_token_is_for_this_sign_in() {
        let (past, future) = (NOW.secs() - 61, NOW.secs() + 61);
        let table = [
            ("", Value::Null, ""),
            ("iss", json!("https://idp.example/"), "iss"),
            ("aud", json!("vouchers"), "aud"),
            ("aud", json!([]), "aud"),
            ("aud", json!(["node"]), ""),
            ("aud", json!(["node", "other"]), "azp"),
            ("azp", json!("other"), "azp"),
            ("azp", json!("node"), ""),
            ("exp", json!(past), "exp"),
            ("exp", json!(NOW.secs() - 60), "exp"),
            ("exp", json!(NOW.secs() - 59), ""),
            ("exp", json!(1e300), ""),
            ("iat", json!(future), "iat"),
            ("iat", json!(future - 1), ""),
            ("iat", json!(NOW.secs() - 661), "iat"),
            ("iat", json!(NOW.secs() - 660), ""),
            ("iat", Value::Null, "iat"),
            ("nbf", json!(future), "nbf"),
            ("nbf", json!(future as f64 - 1.5), ""),
            ("nonce", json!("n-2"), "nonce"),
            ("nonce", Value::Null, "nonce"),
            ("sub", json!(""), "sub"),
            ("sub", json!("x".repeat(256)), "sub"),
            ("sub", json!("l\ni"), "sub"),
        ];
        for (claim, value, refused) in table {
            let mut said = claims();
            if !claim.is_empty() {
                said[claim] = value.clone();
            }
            let came = id_token(&sign(HEADER, &said.to_string()), &keys(), NAMES, NOW).map(|_| ());
            let expected = if refused.is_empty() { Ok(()) } else { Err(Untrusted::Claim(refused)) };
            assert_eq!(came, expected, "{claim} {value}");
        }
        for (claim, value) in [("exp", Value::Null), ("exp", json!("soon")), ("sub", json!(7)), ("iss", json!(["x"]))] {
            let mut said = claims();
            said[claim] = value;
            let came = id_token(&sign(HEADER, &said.to_string()), &keys(), NAMES, NOW).map(|_| ());
            assert_eq!(came, Err(Untrusted::Malformed), "{claim}");
        }
    }

    #[test]
    fn what_was_asked_of_a_sign_in_is_looked_for() {
        let now = NOW.secs();
        let table = [
            // max_age, acr, auth_time and acr as said, what does not fit
            (None, None, Value::Null, Value::Null, ""),
            (None, None, json!(1), json!("weak"), ""),
            (Some(300), None, json!(now - 360), Value::Null, ""),
            (Some(300), None, json!(now - 361), Value::Null, "auth_time"),
            (Some(0), None, json!(now), Value::Null, ""),
            (Some(0), None, json!(now - 61), Value::Null, "auth_time"),
            (Some(300), None, Value::Null, Value::Null, "auth_time"),
            (None, Some("mfa"), Value::Null, json!("mfa"), ""),
            (None, Some("mfa"), Value::Null, json!("pwd"), "acr"),
            (None, Some("mfa"), Value::Null, Value::Null, "acr"),
        ];
        for (max_age, acr, auth_time, said_acr, refused) in table {
            let mut said = claims();
            (said["iat"], said["auth_time"], said["acr"]) = (json!(now), auth_time.clone(), said_acr.clone());
            let claims = id_token(&sign(HEADER, &said.to_string()), &keys(), NAMES, NOW).unwrap();
            let expected = if refused.is_empty() { Ok(()) } else { Err(Untrusted::Claim(refused)) };
            assert_eq!(claims.must_be_proved(max_age, acr), expected, "{max_age:?} {acr:?} {auth_time} {said_acr}");
        }
    }

    #[test]
    fn an_access_token_is_for_this_node_and_narrows_what_it_names() {
        let asked = |header: &str, claim: &str, value: Value| {
            let mut said = claims();
            said["aud"] = json!(["account", "vouchers"]);
            said[claim] = value;
            access_token(&sign(header, &said.to_string()), &keys(), NAMES[0], "vouchers", NOW)
        };
        let typed = HEADER.replace("JWT", "at+JWT");
        for header in [HEADER, &typed] {
            assert!(asked(header, "azp", json!("importer")).is_ok());
            assert!(asked(header, "iat", Value::Null).is_ok());
            assert_eq!(asked(header, "aud", json!("node")).map(|_| ()), Err(Untrusted::Claim("aud")));
            assert_eq!(asked(header, "cnf", json!({ "jkt": "x" })).map(|_| ()), Err(Untrusted::Claim("cnf")));
        }
        let scope = |text: Value| asked(HEADER, "scope", text).unwrap().scope();
        assert_eq!(scope(Value::Null), None);
        assert_eq!(scope(json!("openid profile")), None);
        let stock: Permissions = [Permission::ReadStock].into_iter().collect();
        assert_eq!(scope(json!("openid read-stock")), Some(stock));
    }
}
