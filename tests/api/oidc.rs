//! Operators of an identity provider, over a real node: good ones come in, and each liar is told why not.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Duration;

use domain::member::Role;
use reqwest::header::{COOKIE, LOCATION, RETRY_AFTER, SET_COOKIE};
use reqwest::redirect::Policy;
use serde_json::{Value, json};

use crate::support::idp::{AUDIENCE, CLIENT, Idp, Lie, now, serve, serve_tls};
use crate::support::{PASSWORD, SECOND, TestNode, eventually, program};

const START: &str = "/v1/sessions/oidc/start";
const CALLBACK: &str = "/v1/sessions/oidc/callback";
const CURRENT: &str = "/v1/sessions/current";

/// What came of a request.
struct Said {
    status: u16,
    location: String,
    set: Vec<String>,
    retry_after: Option<String>,
    body: Value,
}

impl Said {
    fn is(&self, status: u16, code: &str) -> bool {
        self.status == status && self.body["code"] == code
    }

    async fn of(request: reqwest::RequestBuilder) -> Self {
        let answer = request.send().await.unwrap();
        let header = |name| answer.headers().get(name).map(|v| v.to_str().unwrap().to_owned());
        let set = answer.headers().get_all(SET_COOKIE).iter().map(|v| v.to_str().unwrap().to_owned()).collect();
        Self {
            status: answer.status().as_u16(),
            location: header(LOCATION).unwrap_or_default(),
            set,
            retry_after: header(RETRY_AFTER),
            body: answer.json().await.unwrap_or_default(),
        }
    }
}

/// A browser, as far as it matters: it keeps the node's cookies, and follows nothing by itself.
#[derive(Default)]
struct Browser {
    cookies: BTreeMap<String, String>,
}

/// It trusts no authority: reading the system's takes longer than a request.
fn client() -> reqwest::Client {
    reqwest::Client::builder().redirect(Policy::none()).tls_certs_only([]).build().unwrap()
}

impl Browser {
    async fn open(&mut self, url: &str) -> Said {
        let cookies: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let said = Said::of(client().get(url).header(COOKIE, cookies.join("; "))).await;
        for set in &said.set {
            let (name, value) = set.split(';').next().unwrap().split_once('=').unwrap();
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        said
    }

    /// To the provider, and through it: where that sends the browser back.
    async fn sent_back(&mut self, node: &TestNode) -> String {
        let out = self.open(&format!("{}{START}", node.url)).await;
        assert_eq!(out.status, 303, "{}", out.body);
        let back = self.open(&out.location).await;
        assert_eq!(back.status, 302, "{}", out.location);
        back.location
    }

    async fn sign_in(&mut self, node: &TestNode) -> Said {
        let back = self.sent_back(node).await;
        self.open(&back).await
    }
}

/// A node whose operators sign in at a provider.
fn with_provider(root: &std::path::Path, idp: &Idp) -> TestNode {
    let mut node = TestNode::new(root, "health", &[Role::Issuer], None);
    let callback = format!("{}{CALLBACK}", node.url);
    let said = [("ISSUER", &*idp.url), ("CLIENT_ID", CLIENT), ("REDIRECT_URL", &callback), ("AUDIENCE", AUDIENCE)];
    node.env.extend(said.map(|(field, value)| (format!("VOUCHER__OIDC__{field}"), value.to_owned())));
    node
}

/// Waits until the node knows the provider.
async fn knows_provider(node: &TestNode) {
    let known = || async { Said::of(client().get(format!("{}{START}", node.url))).await.status == 303 };
    eventually("the provider is known", Duration::from_secs(20), known).await;
}

/// Somebody who keeps the accounts, signed in with a password.
struct Keeper {
    url: String,
    bearer: String,
}

impl Keeper {
    async fn of(node: &TestNode) -> Self {
        let sign_in = json!({ "name": SECOND, "password": PASSWORD });
        let said = Said::of(client().post(format!("{}/v1/sessions", node.url)).json(&sign_in)).await;
        Self { url: node.url.clone(), bearer: said.body["bearer"].as_str().unwrap().to_owned() }
    }

    async fn post(&self, path: &str, body: Value) -> Said {
        Said::of(client().post(format!("{}{path}", self.url)).bearer_auth(&self.bearer).json(&body)).await
    }

    /// The id of an account.
    async fn id(&self, name: &str) -> String {
        let all = Said::of(client().get(format!("{}/v1/accounts", self.url)).bearer_auth(&self.bearer)).await;
        let found = all.body["items"].as_array().unwrap().iter().find(|a| a["name"] == name).unwrap();
        found["id"].as_str().unwrap().to_owned()
    }

    async fn link(&self, name: &str, subject: Option<&str>) -> Said {
        let path = format!("/v1/accounts/{}/subject", self.id(name).await);
        self.post(&path, json!({ "subject": subject })).await
    }
}

/// GETs as whoever shows this.
async fn shows(node: &TestNode, bearer: &str, path: &str) -> Said {
    Said::of(client().get(format!("{}{path}", node.url)).bearer_auth(bearer)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn oidc_opens_a_session_of_the_account_that_is_linked() {
    let root = tempfile::tempdir().unwrap();
    let idp = serve("sub-chen", Lie::Nothing).await;
    let mut node = with_provider(root.path(), &idp);
    node.start().await;
    knows_provider(&node).await;
    let keeper = Keeper::of(&node).await;

    // An account without a password, and one whose password somebody else has set.
    let made = keeper.post("/v1/accounts", json!({ "name": "chen", "roles": ["reader"], "subject": "sub-chen" })).await;
    assert_eq!((made.status, &made.body["has_password"]), (201, &json!(false)), "{}", made.body);
    assert_eq!(made.body["subject"], json!({ "issuer": idp.url, "sub": "sub-chen" }));
    assert!(made.body.get("one_time_password").is_none());
    let by_password = json!({ "name": "chen", "password": "" });
    assert!(keeper.post("/v1/sessions", by_password).await.is(401, "sign-in-failed"));
    let one_time = keeper.post("/v1/accounts", json!({ "name": "zhao", "roles": ["reader"] })).await;
    assert_eq!(one_time.body["one_time"], true);
    assert!(keeper.link("zhao", Some("sub-chen")).await.is(409, "subject-taken"));
    assert_eq!(keeper.link("zhao", Some("sub-zhao")).await.status, 200);

    let mut browser = Browser::default();
    let back = browser.sent_back(&node).await;
    let came = browser.open(&back).await;
    assert_eq!((came.status, came.location.as_str()), (303, "/"), "{}", came.body);
    let set = came.set.iter().find(|set| set.starts_with("__Host-voucher-session=vns_")).unwrap();
    for part in ["Secure", "HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=43200"] {
        assert!(set.contains(part), "{part}: {set}");
    }
    assert_eq!(browser.cookies["__Host-voucher-sign-in"], "", "it has done its work");
    let current = browser.open(&format!("{}{CURRENT}", node.url)).await;
    assert_eq!(
        (current.status, &current.body["name"], &current.body["roles"]),
        (200, &json!("chen"), &json!(["reader"]))
    );
    assert!(current.body["csrf_token"].as_str().unwrap().starts_with("vnc_"));
    let cookie = format!("__Host-voucher-session={}", browser.cookies["__Host-voucher-session"]);
    let forged = client().delete(format!("{}{CURRENT}", node.url)).header(COOKIE, &cookie);
    assert!(Said::of(forged).await.is(403, "csrf-token-wrong"));

    // The provider's word is enough where somebody else has set a password.
    idp.seats("sub-zhao");
    let mut other = Browser::default();
    assert_eq!(other.sign_in(&node).await.status, 303);
    let zhao = other.open(&format!("{}{CURRENT}", node.url)).await;
    assert_eq!((&zhao.body["name"], &zhao.body["password_change_needed"]), (&json!("zhao"), &json!(false)));

    // What is no longer linked opens nothing, at once.
    assert_eq!(keeper.link("zhao", None).await.status, 200);
    assert_eq!(other.open(&format!("{}{CURRENT}", node.url)).await.status, 401);
    assert!(other.sign_in(&node).await.is(403, "account-not-linked"));
    assert!(keeper.link("chen", Some("")).await.is(400, "malformed"));

    let log = node.log();
    let told = log.lines().filter(|line| line.contains("access") && line.contains(CALLBACK)).collect::<Vec<_>>();
    assert!(told.iter().any(|line| line.contains("operator") && line.contains("303")), "{told:?}");
    let code = back.split("code=").nth(1).unwrap().split('&').next().unwrap();
    assert!(!log.contains(code) && !log.contains("sub-chen"), "no code and no subject stands in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn oidc_believes_no_liar() {
    let root = tempfile::tempdir().unwrap();
    let idp = serve("sub-test", Lie::Nothing).await;
    let mut node = with_provider(root.path(), &idp);
    node.start().await;
    knows_provider(&node).await;
    let keeper = Keeper::of(&node).await;
    assert_eq!(keeper.link("test", Some("sub-test")).await.status, 200);
    let invalid = (401, "provider-token-invalid");
    let lies = [
        ("wrong nonce", Lie::Claim("nonce", json!("another")), invalid),
        ("no nonce", Lie::Claim("nonce", Value::Null), invalid),
        ("wrong aud", Lie::Claim("aud", json!("another-client")), invalid),
        ("the machines' aud", Lie::Claim("aud", json!(AUDIENCE)), invalid),
        ("aud of several, azp of none", Lie::Claim("aud", json!([CLIENT, "another"])), invalid),
        ("azp of another", Lie::Claim("azp", json!("another")), invalid),
        ("wrong iss", Lie::Claim("iss", json!("http://127.0.0.1:1")), invalid),
        ("expired", Lie::Claim("exp", json!(now() - 3_600)), invalid),
        ("from the future", Lie::Claim("iat", json!(now() + 3_600)), invalid),
        ("made long ago", Lie::Claim("iat", json!(now() - 3_600)), invalid),
        ("not yet", Lie::Claim("nbf", json!(now() + 3_600)), invalid),
        ("alg none", Lie::Header("alg", json!("none")), invalid),
        ("HS256 by the public key", Lie::Header("alg", json!("HS256")), invalid),
        ("the key is for another algorithm", Lie::Header("alg", json!("PS256")), invalid),
        ("an access token", Lie::Header("typ", json!("at+jwt")), invalid),
        ("unknown kid", Lie::Header("kid", json!("another")), invalid),
        ("another's key", Lie::OtherKey, invalid),
        ("unlinked subject", Lie::Claim("sub", json!("sub-nobody")), (403, "account-not-linked")),
        ("another provider", Lie::OtherIssuer, invalid),
        ("nobody let in", Lie::Denial, (401, "provider-refused")),
    ];
    for (what, lie, (status, code)) in lies {
        idp.lie(lie);
        let mut browser = Browser::default();
        let came = browser.sign_in(&node).await;
        assert!(came.is(status, code), "{what}: {} {}", came.status, came.body);
        assert!(!browser.cookies.contains_key("__Host-voucher-session"), "{what}");
    }
    // What the provider says when it is ill is no sign-in either.
    for (status, body) in
        [(500, String::new()), (200, "<html>".into()), (200, "x".repeat(70_000)), (302, String::new())]
    {
        idp.lie(Lie::Nothing);
        let mut browser = Browser::default();
        let back = browser.sent_back(&node).await;
        idp.lie(Lie::Says(status, body));
        let came = browser.open(&back).await;
        assert!(came.is(503, "provider-unreachable") && came.retry_after.is_some(), "{status}: {}", came.body);
    }
    idp.lie(Lie::Nothing);
    assert_eq!(Browser::default().sign_in(&node).await.status, 303, "the truth is taken after all that");
}

#[tokio::test(flavor = "multi_thread")]
async fn oidc_takes_a_sign_in_once_and_from_the_browser_that_began_it() {
    let root = tempfile::tempdir().unwrap();
    let idp = serve("sub-test", Lie::Nothing).await;
    let mut node = with_provider(root.path(), &idp);
    node.start().await;
    knows_provider(&node).await;
    let keeper = Keeper::of(&node).await;
    assert_eq!(keeper.link("test", Some("sub-test")).await.status, 200);
    let lost = (401, "sign-in-lost");

    // Another provider's code is shown to nobody.
    idp.lie(Lie::OtherIssuer);
    let before = idp.times_redeemed();
    assert!(Browser::default().sign_in(&node).await.is(401, "provider-token-invalid"));
    assert_eq!(idp.times_redeemed(), before);
    idp.lie(Lie::Nothing);

    // Another browser: without the cookie, and with that of its own sign-in. It was one try.
    let mut victim = Browser::default();
    for mut other in [Browser::default(), {
        let mut other = Browser::default();
        other.sent_back(&node).await;
        other
    }] {
        let back = victim.sent_back(&node).await;
        let came = other.open(&back).await;
        assert!(came.is(lost.0, lost.1), "{}", came.body);
        assert!(victim.open(&back).await.is(lost.0, lost.1), "one try");
    }

    // A state of nobody's making, none, and one that was used.
    let back = victim.sent_back(&node).await;
    let state = back.split("state=").nth(1).unwrap().split('&').next().unwrap().to_owned();
    assert!(victim.open(&back.replace(&state, "another")).await.is(lost.0, lost.1));
    assert_eq!(victim.open(&back.replace("state=", "other=")).await.status, 400);
    assert_eq!(victim.open(&format!("{back}&state=another")).await.status, 400, "twice");
    assert_eq!(victim.open(&back).await.status, 303);
    assert!(victim.open(&back).await.is(lost.0, lost.1), "replayed");

    // A code that was used, and one of another sign-in: its verifier is another one.
    let code = |back: &str| back.split("code=").nth(1).unwrap().split('&').next().unwrap().to_owned();
    let (used, fresh) = (code(&back), code(&Browser::default().sent_back(&node).await));
    for (what, injected) in [("used twice", used), ("another's", fresh.clone()), ("a guess", "x".repeat(5_000))] {
        let back = victim.sent_back(&node).await;
        let came = victim.open(&back.replace(&code(&back), &injected)).await;
        assert!(came.is(401, "provider-refused"), "{what}: {}", came.body);
    }
    // The provider of these tests does look at verifiers.
    let stolen = code(&Browser::default().sent_back(&node).await);
    let body =
        format!("grant_type=authorization_code&code={stolen}&client_id={CLIENT}&redirect_uri={}{CALLBACK}", node.url);
    assert_eq!(client().post(format!("{}/token", idp.url)).body(body).send().await.unwrap().status(), 400);

    // A disabled account is like one that is not there.
    let disabled = format!("/v1/accounts/{}/disabled", keeper.id("test").await);
    assert_eq!(keeper.post(&disabled, json!({ "disabled": true })).await.status, 200);
    assert!(victim.sign_in(&node).await.is(403, "account-not-linked"));
    assert_eq!(keeper.post(&disabled, json!({ "disabled": false })).await.status, 200);

    // Nothing in a request says where somebody goes afterwards.
    let out = victim.open(&format!("{}{START}?next=https://mallory.example&redirect_uri=x", node.url)).await;
    let back = victim.open(&out.location).await.location;
    assert_eq!(victim.open(&format!("{back}&next=//mallory.example")).await.location, "/");

    // Who guesses is told to wait, as with passwords.
    let mut guesser = Browser::default();
    let mut waits = 0;
    for _ in 0..60 {
        let came = guesser.open(&format!("{}{CALLBACK}?state=guess&code=x", node.url)).await;
        assert!(came.is(lost.0, lost.1) || came.is(429, "sign-in-throttled"), "{}", came.body);
        waits += usize::from(came.retry_after.is_some());
    }
    assert!(waits > 5, "{waits}");
    assert!(guesser.open(&format!("{}{START}", node.url)).await.is(429, "sign-in-throttled"));
}

#[tokio::test(flavor = "multi_thread")]
async fn oidc_machines_show_jwts() {
    let root = tempfile::tempdir().unwrap();
    let idp = serve("sub-test", Lie::Nothing).await;
    let mut node = with_provider(root.path(), &idp);
    node.start().await;
    knows_provider(&node).await;
    let keeper = Keeper::of(&node).await;
    assert_eq!(keeper.link("test", Some("sub-machine")).await.status, 200);
    let with = |claim: &str, value: Value| {
        let mut claims = idp.claims("sub-machine");
        claims[claim] = value;
        claims
    };
    for kid in ["rsa", "pss", "p256", "ed"] {
        let said = shows(&node, &idp.jwt(kid, &idp.claims("sub-machine")), CURRENT).await;
        assert_eq!(
            (said.status, &said.body["name"], &said.body["session"]),
            (200, &json!("test"), &Value::Null),
            "{kid}"
        );
        let held = said.body["permissions"].as_array().unwrap();
        assert!(held.contains(&json!("read-vouchers")) && !held.contains(&json!("manage-accounts")), "{kid}: {held:?}");
    }
    let good = idp.jwt("rsa", &with("aud", json!(["account", AUDIENCE])));
    assert_eq!(shows(&node, &good, "/v1/issuer/vouchers").await.status, 200);
    let header = |alg: &str, kid: &str, typ: &str| json!({ "alg": alg, "kid": kid, "typ": typ });
    let access_token = idp.headed("p256", &header("ES256", "p256", "at+jwt"), &idp.claims("sub-machine"));
    assert_eq!(shows(&node, &access_token, CURRENT).await.status, 200);

    // A scope narrows, and gives nothing.
    let narrow = idp.jwt("ed", &with("scope", json!("openid read-stock manage-accounts")));
    assert_eq!(shows(&node, &narrow, CURRENT).await.body["permissions"], json!(["read-stock"]));
    assert!(shows(&node, &narrow, "/v1/issuer/vouchers").await.is(403, "forbidden"));
    // A machine keeps no accounts, makes no tokens, and is nobody's second person.
    for path in ["/v1/accounts", "/v1/tokens", "/v1/approvals"] {
        assert!(shows(&node, &good, path).await.is(403, "person-needed"), "{path}");
    }
    let consent = format!("{}/v1/approvals/{}/consent", node.url, uuid::Uuid::nil());
    let consent = client().post(consent).bearer_auth(&good).json(&json!({ "request": "x" }));
    assert!(Said::of(consent).await.is(403, "person-needed"));
    assert!(
        Said::of(client().delete(format!("{}{CURRENT}", node.url)).bearer_auth(&good)).await.is(403, "person-needed")
    );

    let claims = idp.claims("sub-machine");
    let headed = |alg: &str, kid: &str| idp.headed("rsa", &header(alg, kid, "JWT"), &claims);
    let (signed, rest) = good.split_at(good.len() - 8);
    let liars = [
        ("wrong aud", idp.jwt("rsa", &with("aud", json!("another")))),
        ("an ID token", idp.jwt("rsa", &with("aud", json!(CLIENT)))),
        ("wrong iss", idp.jwt("rsa", &with("iss", json!("http://127.0.0.1:1")))),
        ("expired", idp.jwt("rsa", &with("exp", json!(now() - 61)))),
        ("for ever", idp.jwt("rsa", &with("exp", Value::Null))),
        ("not yet", idp.jwt("rsa", &with("nbf", json!(now() + 3_600)))),
        ("from the future", idp.jwt("rsa", &with("iat", json!(now() + 3_600)))),
        ("bound to a key", idp.jwt("rsa", &with("cnf", json!({ "jkt": "x" })))),
        ("alg none", headed("none", "rsa")),
        ("HS256 by the public key", headed("HS256", "rsa")),
        ("another algorithm of the same kind", headed("PS256", "rsa")),
        ("another key's name", headed("RS256", "p256")),
        ("no name of a key", idp.headed("rsa", &json!({ "alg": "RS256" }), &claims)),
        ("unknown kid", headed("RS256", "another")),
        ("another type", idp.headed("rsa", &header("RS256", "rsa", "logout+jwt"), &claims)),
        ("the signature of another", format!("{signed}{}", rest.chars().rev().collect::<String>())),
        ("no signature", format!("{}.", good.rsplit_once('.').unwrap().0)),
        ("rubbish", "a.b.c".to_owned()),
        ("endless", format!("a.{}.c", "b".repeat(20_000))),
    ];
    for (what, liar) in liars {
        let said = shows(&node, &liar, CURRENT).await;
        assert!(said.is(401, "provider-token-invalid"), "{what}: {} {}", said.status, said.body);
    }
    // However many unknown keys are named, the provider is asked no more often than once a minute.
    let asked = idp.times_keys();
    for n in 0..20 {
        shows(&node, &headed("RS256", &format!("another-{n}")), CURRENT).await;
    }
    assert_eq!(idp.times_keys(), asked);

    assert!(shows(&node, &idp.jwt("rsa", &idp.claims("sub-nobody")), CURRENT).await.is(403, "account-not-linked"));
    let disabled = format!("/v1/accounts/{}/disabled", keeper.id("test").await);
    assert_eq!(keeper.post(&disabled, json!({ "disabled": true })).await.status, 200);
    assert!(shows(&node, &good, CURRENT).await.is(403, "account-not-linked"));
    assert_eq!(keeper.post(&disabled, json!({ "disabled": false })).await.status, 200);
    assert_eq!(shows(&node, &good, CURRENT).await.status, 200);
    assert_eq!(keeper.link("test", None).await.status, 200);
    assert!(shows(&node, &good, CURRENT).await.is(403, "account-not-linked"));
}

#[tokio::test(flavor = "multi_thread")]
async fn oidc_trusts_a_provider_by_its_authority() {
    let root = tempfile::tempdir().unwrap();
    let idp = serve_tls("sub-test").await;
    let mut node = with_provider(root.path(), &idp);
    // By the authorities of the system nobody knows it.
    node.start().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(Browser::default().open(&format!("{}{START}", node.url)).await.is(503, "provider-unreachable"));
    assert_eq!(idp.times_keys(), 0);
    node.terminate();

    let file = root.path().join("ca.pem");
    let authority = idp.authority.clone().unwrap();
    std::fs::write(&file, &authority).unwrap();
    node.env.push(("VOUCHER__OIDC__CA_FILE".into(), file.display().to_string()));
    node.start().await;
    knows_provider(&node).await;
    assert_eq!(Keeper::of(&node).await.link("test", Some("sub-test")).await.status, 200);
    let mut browser = Browser::default();
    let out = browser.open(&format!("{}{START}", node.url)).await;
    assert!(out.location.starts_with("https://"), "{}", out.location);
    let trusting = reqwest::Certificate::from_pem(authority.as_bytes()).unwrap();
    let trusting = reqwest::Client::builder().redirect(Policy::none()).tls_certs_only([trusting]).build().unwrap();
    let back = Said::of(trusting.get(out.location)).await.location;
    assert_eq!(browser.open(&back).await.status, 303);
    assert_eq!(shows(&node, &idp.jwt("p256", &idp.claims("sub-test")), CURRENT).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn oidc_waits_for_a_provider_and_is_off_without_one() {
    let root = tempfile::tempdir().unwrap();
    let mut node = TestNode::new(root.path(), "health", &[Role::Issuer], None);
    node.start().await;
    let mut browser = Browser::default();
    assert!(browser.open(&format!("{}{START}", node.url)).await.is(404, "oidc-off"));
    assert!(browser.open(&format!("{}{CALLBACK}?state=x", node.url)).await.is(404, "oidc-off"));
    assert!(shows(&node, "a.b.c", CURRENT).await.is(401, "session-over"));
    assert!(Keeper::of(&node).await.link("test", Some("sub-test")).await.is(404, "oidc-off"));
    node.kill();

    // A node starts without its provider, and knows it when it comes.
    let idp = serve("sub-test", Lie::Says(503, String::new())).await;
    let mut node = with_provider(root.path(), &idp);
    let secret = root.path().join("client-secret");
    std::fs::write(&secret, "s3cret\n").unwrap();
    node.env.push(("VOUCHER__OIDC__CLIENT_SECRET_FILE".into(), secret.display().to_string()));
    // Others can read the secret: nothing is started.
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o644)).unwrap();
    let config = node.config_path();
    let run = Command::new(program()).arg("run").arg("--config").arg(&config).envs(node.env.clone()).output().unwrap();
    let told = String::from_utf8_lossy(&run.stderr).into_owned();
    assert!(!run.status.success() && told.contains("oidc.client_secret_file"), "{told}");
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();

    // The account is linked while the node is stopped.
    let account = |args: &[&str]| {
        let mut command = Command::new(program());
        let done =
            command.arg("account").args(args).arg("--config").arg(&config).envs(node.env.clone()).output().unwrap();
        (done.status.success(), String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned())
    };
    assert!(account(&["link", "test", "--subject", "sub-test"]).0);
    let (linked, told) = account(&["link", SECOND, "--subject", "sub-test"]);
    assert!(!linked && told.contains("another account"), "{told}");
    let (added, told) = account(&["add", "chen", "--roles", "reader", "--subject", "sub-chen"]);
    assert!(added && told.contains("sub-chen") && !told.contains("password for one sign-in"), "{told}");
    assert!(account(&["unlink", "chen"]).0);
    assert!(!account(&["list"]).1.contains("sub-chen"));

    idp.wants_secret("s3cret");
    node.start().await;
    let early = browser.open(&format!("{}{START}", node.url)).await;
    assert!(early.is(503, "provider-unreachable") && early.retry_after.is_some(), "{}", early.body);
    let jwt = idp.jwt("rsa", &idp.claims("sub-test"));
    assert!(shows(&node, &jwt, CURRENT).await.is(503, "provider-unreachable"));
    idp.lie(Lie::Nothing);
    knows_provider(&node).await;
    assert_eq!(browser.sign_in(&node).await.status, 303);
    assert_eq!(shows(&node, &jwt, CURRENT).await.status, 200);
    idp.wants_secret("another");
    assert!(browser.sign_in(&node).await.is(401, "provider-refused"));
}
