//! An identity provider for tests: it signs people in without asking, checks what a good one checks, and lies on demand.

use std::collections::HashMap;
use std::sync::Arc;

use actix_web::web::{Bytes, Data, Query};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use actors::clock::Clock as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256,
    RsaKeyPair,
};
use aws_lc_rs::{digest, hmac, rsa};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use node::clock::NodeClock;
use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};

/// The name of the node under test.
pub const CLIENT: &str = "voucher-node";

/// What machines' JWTs are for.
pub const AUDIENCE: &str = "vouchers";

enum Pair {
    Rsa(Box<RsaKeyPair>),
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// A key with the algorithm that it signs by.
pub struct Key {
    kid: &'static str,
    alg: &'static str,
    pair: Pair,
}

fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Key {
    pub fn new(kid: &'static str, alg: &'static str) -> Self {
        let pair = match alg {
            "ES256" => Pair::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()),
            "EdDSA" => Pair::Ed25519(Ed25519KeyPair::generate().unwrap()),
            _ => Pair::Rsa(Box::new(RsaKeyPair::generate(rsa::KeySize::Rsa2048).unwrap())),
        };
        Self { kid, alg, pair }
    }

    fn shown(&self) -> Value {
        let mut shown = match &self.pair {
            Pair::Rsa(pair) => {
                let (n, e) = (pair.public_key().modulus(), pair.public_key().exponent());
                let [n, e] = [n, e].map(|part| base64url(part.big_endian_without_leading_zero()));
                json!({ "kty": "RSA", "n": n, "e": e })
            }
            Pair::P256(pair) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                json!({ "kty": "EC", "crv": "P-256", "x": base64url(x), "y": base64url(y) })
            }
            Pair::Ed25519(pair) => json!({ "kty": "OKP", "crv": "Ed25519", "x": base64url(pair.public_key()) }),
        };
        (shown["kid"], shown["use"], shown["alg"]) = (self.kid.into(), "sig".into(), self.alg.into());
        shown
    }

    fn signature(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Rsa(pair) => {
                let padding: &dyn aws_lc_rs::signature::RsaEncoding =
                    if self.alg == "PS256" { &RSA_PSS_SHA256 } else { &RSA_PKCS1_SHA256 };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &random, message, &mut signature).unwrap();
                signature
            }
            Pair::P256(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }

    /// What whoever has read the public key can take for a secret.
    fn public_bytes(&self) -> Vec<u8> {
        match &self.pair {
            Pair::Rsa(pair) => pair.public_key().as_ref().to_vec(),
            Pair::P256(pair) => pair.public_key().as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.public_key().as_ref().to_vec(),
        }
    }

    /// A JWT of this key.
    pub fn jwt(&self, claims: &Value) -> String {
        self.headed(&json!({ "alg": self.alg, "kid": self.kid, "typ": "JWT" }), claims)
    }

    /// The same under a header of one's own.
    pub fn headed(&self, header: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", base64url(header.to_string()), base64url(claims.to_string()));
        let signature = match header["alg"].as_str() {
            Some("none") => Vec::new(),
            Some("HS256") => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, &self.public_bytes());
                hmac::sign(&key, message.as_bytes()).as_ref().to_vec()
            }
            _ => self.signature(message.as_bytes()),
        };
        format!("{message}.{}", base64url(signature))
    }
}

/// How the provider lies.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Lie {
    /// Not at all.
    #[default]
    Nothing,
    /// A claim of the ID token says something else.
    Claim(&'static str, Value),
    /// So does its header.
    Header(&'static str, Value),
    /// The ID token is signed by a key that is not shown, under the name of one that is.
    OtherKey,
    /// The browser comes back as if from another provider.
    OtherIssuer,
    /// It lets nobody in.
    Denial,
    /// Whatever it is asked but for signing in: this status, this body.
    Says(u16, String),
}

/// A code that was given out.
struct Code {
    challenge: String,
    redirect: String,
    nonce: String,
    sub: String,
}

/// What the provider knows and does.
struct State {
    keys: Vec<Key>,
    lie: Lie,
    subject: String,
    secret: Option<String>,
    codes: HashMap<String, Code>,
    times_keys: usize,
    times_redeemed: usize,
}

type Shared = Arc<Mutex<State>>;

/// A running provider.
pub struct Idp {
    pub url: String,
    /// The certificate (PEM) of the authority that vouches for it, if it speaks TLS.
    pub authority: Option<String>,
    state: Shared,
    handle: actix_web::dev::ServerHandle,
}

impl Idp {
    /// From now on it lies like this.
    pub fn lie(&self, lie: Lie) {
        self.state.lock().lie = lie;
    }

    /// From now on it is this one who sits at every browser.
    pub fn seats(&self, subject: &str) {
        subject.clone_into(&mut self.state.lock().subject);
    }

    /// From now on codes are redeemed with a secret only.
    pub fn wants_secret(&self, secret: &str) {
        self.state.lock().secret = Some(secret.to_owned());
    }

    /// How often it was asked for its keys.
    pub fn times_keys(&self) -> usize {
        self.state.lock().times_keys
    }

    /// How often it was shown a code.
    pub fn times_redeemed(&self) -> usize {
        self.state.lock().times_redeemed
    }

    /// A JWT that its key of a name has signed.
    pub fn jwt(&self, kid: &str, claims: &Value) -> String {
        self.with(kid, |key| key.jwt(claims))
    }

    /// The same under a header that differs.
    pub fn headed(&self, kid: &str, header: &Value, claims: &Value) -> String {
        self.with(kid, |key| key.headed(header, claims))
    }

    fn with<T>(&self, kid: &str, sign: impl FnOnce(&Key) -> T) -> T {
        sign(self.state.lock().keys.iter().find(|key| key.kid == kid).unwrap())
    }

    /// What a machine's JWT claims.
    pub fn claims(&self, sub: &str) -> Value {
        let now = now();
        json!({ "iss": self.url, "sub": sub, "aud": AUDIENCE, "exp": now + 300, "nbf": now - 5, "iat": now - 5, "jti": "1" })
    }
}

impl Drop for Idp {
    fn drop(&mut self) {
        drop(self.handle.stop(false));
    }
}

/// The machine's time in seconds.
pub fn now() -> i64 {
    NodeClock::real().now().secs()
}

type Pairs = HashMap<String, String>;

fn pairs(text: &str) -> Pairs {
    Query::<Pairs>::from_query(text).unwrap().into_inner()
}

fn issuer(request: &HttpRequest) -> String {
    format!("{}://{}", request.connection_info().scheme(), request.connection_info().host())
}

fn overridden(state: &State) -> Option<HttpResponse> {
    let Lie::Says(status, body) = &state.lie else { return None };
    Some(HttpResponse::build((*status).try_into().unwrap()).body(body.clone()))
}

async fn discovery(request: HttpRequest, state: Data<Shared>) -> HttpResponse {
    if let Some(lie) = overridden(&state.lock()) {
        return lie;
    }
    let url = issuer(&request);
    HttpResponse::Ok().json(json!({
        "issuer": url, "authorization_endpoint": format!("{url}/authorize?tenant=town"),
        "token_endpoint": format!("{url}/token"), "jwks_uri": format!("{url}/keys"),
        "response_types_supported": ["code"], "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"], "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": true,
    }))
}

async fn keys(state: Data<Shared>) -> HttpResponse {
    let mut state = state.lock();
    state.times_keys += 1;
    if let Some(lie) = overridden(&state) {
        return lie;
    }
    let keys: Vec<Value> = state.keys.iter().map(Key::shown).collect();
    HttpResponse::Ok().json(json!({ "keys": keys }))
}

async fn authorize(request: HttpRequest, state: Data<Shared>) -> HttpResponse {
    let (asked, mut state) = (pairs(request.query_string()), state.lock());
    let is_good = asked["response_type"] == "code"
        && asked["client_id"] == CLIENT
        && asked["scope"].split(' ').any(|word| word == "openid")
        && asked["code_challenge_method"] == "S256"
        && asked["tenant"] == "town";
    if !is_good {
        return HttpResponse::BadRequest().finish();
    }
    let iss = if state.lie == Lie::OtherIssuer { "https://mallory.example".to_owned() } else { issuer(&request) };
    let back = if state.lie == Lie::Denial {
        format!("{}?error=access_denied&state={}&iss={iss}", asked["redirect_uri"], asked["state"])
    } else {
        let (name, sub) = (uuid::Uuid::new_v4().to_string(), state.subject.clone());
        let [challenge, redirect, nonce] = ["code_challenge", "redirect_uri", "nonce"].map(|name| asked[name].clone());
        let back = format!("{redirect}?code={name}&state={}&iss={iss}&session_state=x", asked["state"]);
        state.codes.insert(name, Code { challenge, redirect, nonce, sub });
        back
    };
    HttpResponse::Found().insert_header(("Location", back)).finish()
}

async fn token(request: HttpRequest, body: Bytes, state: Data<Shared>) -> HttpResponse {
    let (asked, mut state) = (pairs(std::str::from_utf8(&body).unwrap()), state.lock());
    state.times_redeemed += 1;
    if let Some(lie) = overridden(&state) {
        return lie;
    }
    let refused = |error: &str| HttpResponse::BadRequest().json(json!({ "error": error }));
    if let Some(secret) = &state.secret {
        let expected = format!("Basic {}", STANDARD.encode(format!("{CLIENT}:{secret}")));
        if request.headers().get("Authorization").is_none_or(|said| *said != *expected) {
            return HttpResponse::Unauthorized().json(json!({ "error": "invalid_client" }));
        }
    }
    // A code is gone with its first use, whatever comes of it.
    let Some(code) = state.codes.remove(&asked["code"]) else { return refused("invalid_grant") };
    let verifier = asked.get("code_verifier").map(String::as_str).unwrap_or_default();
    let hashed = base64url(digest::digest(&digest::SHA256, verifier.as_bytes()));
    if asked["client_id"] != CLIENT || asked["redirect_uri"] != code.redirect || hashed != code.challenge {
        return refused("invalid_grant");
    }
    let id_token = id_token(&state, &issuer(&request), &code);
    HttpResponse::Ok().json(json!({
        "access_token": "opaque", "token_type": "Bearer", "expires_in": 60, "id_token": id_token,
    }))
}

fn id_token(state: &State, issuer: &str, code: &Code) -> String {
    let now = now();
    let mut claims = json!({
        "iss": issuer, "sub": code.sub, "aud": CLIENT, "exp": now + 60, "iat": now, "nonce": code.nonce,
        "name": "Somebody", "roles": ["administrator"], "scope": "manage-accounts",
    });
    let key = &state.keys[0];
    let mut header = json!({ "alg": key.alg, "kid": key.kid, "typ": "JWT" });
    match &state.lie {
        Lie::Claim(claim, value) => claims[*claim] = value.clone(),
        Lie::Header(name, value) => header[*name] = value.clone(),
        Lie::OtherKey => return Key::new(key.kid, key.alg).headed(&header, &claims),
        _ => {}
    }
    key.headed(&header, &claims)
}

/// A certificate for this machine, and that of the authority that signed it, PEM.
fn certified() -> (ServerConfig, String) {
    let (own, authority) = (rcgen::KeyPair::generate().unwrap(), rcgen::KeyPair::generate().unwrap());
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let of_authority = params.self_signed(&authority).unwrap().pem();
    let named = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = named.signed_by(&own, &rcgen::Issuer::new(params, authority)).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let key = PrivateKeyDer::try_from(own.serialize_der()).unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).unwrap();
    (config, of_authority)
}

/// Serves a provider on loopback, with a key for each algorithm that a good one may use.
pub async fn serve(subject: &str, lie: Lie) -> Idp {
    serve_by(subject, lie, None).await
}

/// The same over TLS, under an authority of its own.
pub async fn serve_tls(subject: &str) -> Idp {
    serve_by(subject, Lie::Nothing, Some(certified())).await
}

async fn serve_by(subject: &str, lie: Lie, tls: Option<(ServerConfig, String)>) -> Idp {
    let (tls, authority) = tls.unzip();
    let named = [("rsa", "RS256"), ("pss", "PS256"), ("p256", "ES256"), ("ed", "EdDSA")];
    let made = named.map(|(kid, alg)| Key::new(kid, alg)).into_iter().collect();
    let (subject, secret, codes) = (subject.to_owned(), None, HashMap::new());
    let state = State { keys: made, lie, subject, secret, codes, times_keys: 0, times_redeemed: 0 };
    let state: Shared = Arc::new(Mutex::new(state));
    let (served, (sender, receiver)) = (Data::new(state.clone()), tokio::sync::oneshot::channel());
    std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            let server = HttpServer::new(move || {
                App::new()
                    .app_data(served.clone())
                    .route("/.well-known/openid-configuration", web::get().to(discovery))
                    .route("/keys", web::get().to(keys))
                    .route("/authorize", web::get().to(authorize))
                    .route("/token", web::post().to(token))
            });
            let server = match tls {
                Some(config) => server.workers(1).bind_rustls_0_23("127.0.0.1:0", config).unwrap(),
                None => server.workers(1).bind("127.0.0.1:0").unwrap(),
            };
            let address = server.addrs()[0];
            let server = server.run();
            sender.send((address, server.handle())).ok().unwrap();
            server.await.unwrap();
        });
    });
    let (address, handle) = receiver.await.unwrap();
    let scheme = if authority.is_some() { "https" } else { "http" };
    Idp { url: format!("{scheme}://{address}"), authority, state, handle }
}
