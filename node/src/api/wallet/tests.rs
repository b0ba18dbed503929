//! Who may ask community and voucher module for what, on a node with a ledger on disk: a table of callers and answers.

use std::sync::{Arc, OnceLock};

use actix_web::App;
use actix_web::body::to_bytes;
use actix_web::http::Method;
use actix_web::test::{TestRequest, call_service, init_service};
use actix_web::web::Data;
use actors::token::{HolderKey, vp1};
use actors::writer::Act;
use domain::holder::RegistrarEvent;
use domain::member::Role;
use domain::record::Body;
use serde_json::{Value, json};
use utoipa_actix_web::AppExt as _;

use crate::accounts::planted;
use crate::api;
use crate::api::planted::{Who, request};
use crate::clock::NodeClock;
use crate::config::{AccountRules, Config, Http, Peers, Registrar, Store};
use crate::node::Node;
use crate::peers::client::PeerClient;

/// A node of an institution that is alone; nobody serves its registrar's URL.
pub(crate) fn node(dir: &std::path::Path, roles: &[Role]) -> Data<Node> {
    Data::new(node_alone(dir, roles))
}

/// Gives a node of a test the keys that all of them have: what signs for an institution is one for a process, and tests run beside
/// each other.
fn give_keys(dir: &std::path::Path) {
    static MADE: OnceLock<tempfile::TempDir> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let made = tempfile::tempdir().unwrap();
        crate::keys::NodeKeys::load_or_make(made.path()).unwrap();
        made
    });
    std::fs::create_dir_all(dir).unwrap();
    for file in std::fs::read_dir(made.path()).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), dir.join(file.file_name())).unwrap();
    }
}

/// The same, not shared yet.
pub(crate) fn node_alone(dir: &std::path::Path, roles: &[Role]) -> Node {
    give_keys(&dir.join("keys"));
    let institution = "xuanwu".parse().unwrap();
    let nobody = "http://127.0.0.1:1".to_owned();
    let config = Config {
        version: 1,
        institution,
        roles: roles.to_vec(),
        federation: "test".into(),
        utc_offset_minutes: 480,
        http: Http { bind: "127.0.0.1:0".parse().unwrap(), url: nobody.clone(), workers: 1 },
        store: Store {
            dir: dir.join("data"),
            keys: dir.join("keys"),
            vault: None,
            min_free_disk_mib: 1,
            scrub_kib_per_sec: 0,
            marker_dir: dir.to_owned(),
        },
        registrar: Registrar { institution, url: nobody, log_vkey: String::new(), history: None },
        tls: None,
        log: Default::default(),
        status: Default::default(),
        peers: Peers::default(),
        accounts: AccountRules::default(),
        retention: Default::default(),
        limits: Default::default(),
        oidc: None,
    };
    let clock = Arc::new(NodeClock::real());
    let (writer, keys, _) = crate::server::open(&config, clock.clone()).unwrap();
    let entry = keys.entry(institution, &config.roles, &config.http.url, &config.origin());
    let client = PeerClient::new(&config, &keys, writer.clone()).unwrap();
    let accounts = planted::accounts(institution, dir, writer.now());
    let mut node = Node::new(config, writer, clock, keys, client, accounts);
    crate::roles::start(&mut node);
    node.allow_writing();
    let registered = RegistrarEvent::MemberRegistered(entry);
    node.writer.decide(Act::default(), |desk| desk.write(Role::Issuer, Body::Registrar(registered))).unwrap();
    node
}

/// A phone with one key.
struct Phone(HolderKey);

impl Phone {
    fn sign(&self, step: vp1::Step, at: i64) -> String {
        let claims = vp1::Claims { kid: self.0.public().key_id(), iat: at, cti: rand::random(), step };
        vp1::sign(&claims, &self.0).unwrap()
    }

    fn register(&self, at: i64) -> String {
        self.sign(vp1::Step::Register { key: self.0.public() }, at)
    }

    fn wallet(&self, method: &str, path: &str, body: &[u8], at: i64) -> String {
        let request = vp1::request_digest(method, path, body);
        format!("VP1 {}", self.sign(vp1::Step::Wallet { audience: "xuanwu".into(), request }, at))
    }
}

macro_rules! serve {
    ($node:expr) => {{
        let (app, _) = App::new().app_data($node.clone()).into_utoipa_app().configure(api::configure).split_for_parts();
        init_service(app.configure(api::extractors)).await
    }};
}

macro_rules! call {
    ($app:expr, $request:expr) => {{
        let response = call_service(&$app, $request.to_request()).await;
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body()).await.unwrap();
        (status, serde_json::from_slice::<Value>(&body).unwrap_or_default())
    }};
}

macro_rules! ask {
    ($app:expr, $method:expr, $path:expr, $who:expr, $body:expr) => {{
        let method: Method = $method;
        let mut request = TestRequest::default().method(method.clone()).uri($path);
        if let Some((name, value)) = $who {
            request = request.insert_header((name, value));
        }
        if method != Method::GET {
            let body: Vec<u8> = $body;
            let key = uuid::Uuid::new_v4().to_string();
            request = request.insert_header(("Idempotency-Key", key));
            request = request.insert_header(("Content-Type", "application/json")).set_payload(body);
        }
        call!($app, request)
    }};
}

#[actix_web::test]
async fn each_route_answers_only_whom_it_is_for() {
    // The ledger's threads outlive the test by a moment: their directory must too.
    let dir = std::mem::ManuallyDrop::new(tempfile::tempdir().unwrap());
    let node = node(dir.path(), &[Role::Issuer, Role::Community, Role::Voucher]);
    let app = serve!(node);
    let (clerk, peer, nobody) = (Who::Header(planted::CLERK), Who::Peer("xuanwu"), Who::Nobody);
    let voucher = "xuanwu.6f0b6a6e-5a0e-4f6c-9b7e-0c1d2e3f4a5b";
    let about = json!({ "voucher": voucher });
    let qr = json!({ "qr": "VP1:" });
    let table = [
        ("GET", "/v1/community/stock", clerk, json!(null), 200, ""),
        ("GET", "/v1/community/stock", nobody, json!(null), 401, "unauthenticated"),
        ("GET", "/v1/community/stock", peer, json!(null), 403, "forbidden"),
        ("GET", "/v1/community/stock/vouchers?limit=0", clerk, json!(null), 400, "malformed"),
        ("GET", "/v1/community/stock/vouchers?cursor=x", clerk, json!(null), 400, "cursor-invalid"),
        ("GET", "/v1/community/stock/vouchers?more=1", clerk, json!(null), 400, "malformed"),
        ("GET", "/v1/issuer/vouchers?more=1", clerk, json!(null), 400, "malformed"),
        ("GET", "/v1/issuer/claims?more=1", clerk, json!(null), 400, "malformed"),
        ("GET", "/v1/wallet/notices?more=1", clerk, json!(null), 401, "unauthenticated"),
        ("GET", "/v1/wallet/slots?voucher=x", nobody, json!(null), 401, "unauthenticated"),
        ("POST", "/v1/wallet/checks", nobody, json!({}), 401, "unauthenticated"),
        ("GET", "/v1/issuer/statistics?from=2026-01-02&until=2026-01-01", clerk, json!(null), 400, "malformed"),
        (
            "POST",
            "/v1/issuer/statistics/publications",
            clerk,
            json!({ "from": "2026-01-01", "until": "2999-01-01" }),
            400,
            "malformed",
        ),
        ("GET", "/v1/community/cards/490314286148", clerk, json!(null), 404, "not-found"),
        ("POST", "/v1/community/desk/identify", clerk, qr.clone(), 409, "presentation-malformed"),
        ("POST", "/v1/community/desk/identify", nobody, qr.clone(), 401, "unauthenticated"),
        ("POST", "/v1/community/desk/issue", clerk, json!({ "qr": "x", "card": "y" }), 400, "malformed"),
        ("POST", "/v1/community/desk/issue", clerk, json!({}), 400, "malformed"),
        ("POST", "/v1/community/desk/issue", clerk, json!({ "qr": "x", "more": 1 }), 400, "malformed"),
        ("POST", "/v1/community/cards", clerk, json!({ "holder": uuid::Uuid::nil() }), 404, "holder-unknown"),
        ("POST", "/v1/community/returns", clerk, json!({ "vouchers": [], "reason": "leaving" }), 400, "malformed"),
        (
            "POST",
            "/v1/community/registrations",
            clerk,
            json!({ "main_key": "", "enrolment_keys": {} }),
            401,
            "unauthenticated",
        ),
        ("GET", "/v1/wallet", nobody, json!(null), 401, "unauthenticated"),
        ("GET", "/v1/wallet", clerk, json!(null), 401, "unauthenticated"),
        ("POST", "/v1/wallet/checks", peer, about.clone(), 401, "unauthenticated"),
        ("POST", "/v1/voucher/holders", clerk, json!({}), 403, "forbidden"),
        ("POST", "/v1/voucher/holders", peer, json!({}), 400, "malformed"),
        (
            "POST",
            "/v1/voucher/results",
            clerk,
            json!({ "voucher": voucher, "text": "", "items": [] }),
            403,
            "forbidden",
        ),
        ("POST", "/v1/voucher/results", peer, json!({ "voucher": voucher, "text": "", "items": [] }), 503, "waiting"),
    ];
    for (method, path, who, body, status, code) in table {
        let verb = Method::from_bytes(method.as_bytes()).unwrap();
        let (key, body) = (uuid::Uuid::new_v4().to_string(), serde_json::to_vec(&body).unwrap());
        let body = (method != "GET").then_some(body.as_slice());
        let (got, answer) = call!(app, request(&node, who, verb, path, &key, body));
        let seen = answer["code"].as_str().unwrap_or_default();
        assert_eq!((got, seen), (status, code), "{method} {path} {who:?}: {answer}");
    }
}

#[actix_web::test]
async fn what_cannot_come_is_not_waited_for() {
    // The ledger's threads outlive the test by a moment: their directory must too.
    let dir = std::mem::ManuallyDrop::new(tempfile::tempdir().unwrap());
    let node = node(dir.path(), &[Role::Issuer]);
    let app = serve!(node);
    for (path, status, code) in [
        ("/mirrors/nobody/checkpoint?newer_than=0&wait_secs=30", 404, "not-found"),
        ("/mirrors/Nobody/checkpoint", 400, "malformed"),
        ("/log/checkpoint?newer_than=0&wait_secs=301", 400, "malformed"),
        ("/log/checkpoint?newer_than=0&wait_secs=300", 200, ""),
        ("/mirrors/xuanwu/checkpoint?newer_than=0&wait_secs=30", 200, ""),
    ] {
        let asked = async { ask!(app, Method::GET, path, Some(planted::CLERK), Vec::new()) };
        let (got, answer) =
            actix_web::rt::time::timeout(std::time::Duration::from_secs(5), asked).await.expect("it is not waited for");
        assert_eq!((got, answer["code"].as_str().unwrap_or_default()), (status, code), "{path}: {answer}");
    }
}

#[actix_web::test]
async fn a_phone_announces_itself_and_opens_no_wallet_that_is_not_its_own() {
    // The ledger's threads outlive the test by a moment: their directory must too.
    let dir = std::mem::ManuallyDrop::new(tempfile::tempdir().unwrap());
    let node = node(dir.path(), &[Role::Issuer, Role::Community, Role::Voucher]);
    let app = serve!(node);
    let now = node.writer.now().secs();
    let (phone, other) = (Phone(HolderKey::ed25519(&[1; 32])), Phone(HolderKey::ed25519(&[2; 32])));
    let path = "/v1/community/registrations";
    let keys = json!({ "ecg": HolderKey::ed25519(&[3; 32]).public().to_string() });
    let body = serde_json::to_vec(&json!({ "main_key": phone.register(now), "enrolment_keys": keys })).unwrap();

    let stolen = other.wallet("POST", path, &body, now);
    let (status, answer) = ask!(app, Method::POST, path, Some(("Authorization", stolen)), body.clone());
    assert_eq!((status, &answer["code"]), (401, &json!("unauthenticated")), "signed by another key");
    let signed = phone.wallet("POST", path, &body, now);
    let (status, answer) = ask!(app, Method::POST, path, Some(("Authorization", signed)), body.clone());
    assert_eq!(status, 201, "{answer}");
    let thumbprint = hex::encode(phone.0.public().thumbprint());
    assert_eq!(answer["result"]["thumbprint"], json!(thumbprint));

    // By way of the voucher module, here the same node: the phone signs both requests.
    let announcement = String::from_utf8(body.clone()).unwrap();
    let by_way = "/v1/wallet/registrations";
    for (signer, expected) in [(&other, 401), (&phone, 201)] {
        let signature = signer.wallet("POST", path, &body, now);
        let signature = signature.trim_start_matches("VP1 ");
        let sent = json!({ "community": "xuanwu", "announcement": announcement, "signature": signature });
        let sent = serde_json::to_vec(&sent).unwrap();
        let signed = phone.wallet("POST", by_way, &sent, now);
        let (status, answer) = ask!(app, Method::POST, by_way, Some(("Authorization", signed)), sent);
        assert_eq!(status, expected, "{answer}");
    }

    let form = json!({
        "document_type": "resident-id", "document_number": "11010519491231002X", "name": "王秀英", "born": "1949-12-31",
        "sex": "F", "phone": null, "class": "elderly", "voucher_module": null, "qr": phone.register(now),
    });
    let complete = format!("{path}/{thumbprint}/completion");
    let clerk = Some(planted::CLERK);
    let (status, answer) = ask!(app, Method::POST, &complete, clerk, serde_json::to_vec(&form).unwrap());
    assert_eq!((status, &answer["code"]), (409, &json!("not-entitled")), "no programme is published: {answer}");
    let unknown = format!("{path}/{}/completion", "00".repeat(32));
    let (status, _) = ask!(app, Method::POST, &unknown, clerk, serde_json::to_vec(&form).unwrap());
    assert_eq!(status, 404);

    let signed = phone.wallet("GET", "/v1/wallet", b"", now);
    let (status, answer) = ask!(app, Method::GET, "/v1/wallet", Some(("Authorization", signed)), Vec::new());
    assert_eq!((status, &answer["code"]), (401, &json!("unauthenticated")), "nobody told of this holder");
}

#[actix_web::test]
async fn what_nobody_signed_is_not_remembered_and_an_announcement_comes_once() {
    // The ledger's threads outlive the test by a moment: their directory must too.
    let dir = std::mem::ManuallyDrop::new(tempfile::tempdir().unwrap());
    let node = node(dir.path(), &[Role::Issuer, Role::Community, Role::Voucher]);
    let app = serve!(node);
    let now = node.writer.now().secs();
    let phone = Phone(HolderKey::ed25519(&[1; 32]));

    // One who has no key of a holder, again and again: refused as often as it comes, on every route, and never as a
    // repetition, which would be what filled the memory.
    for (path, status) in [("/v1/wallet", 401), ("/v1/status", 200)] {
        let signed = phone.wallet("GET", path, b"", now);
        for _ in 0..3 {
            let (got, answer) = ask!(app, Method::GET, path, Some(("Authorization", signed.clone())), Vec::new());
            assert_eq!(got, status, "{path}: {answer}");
        }
    }

    let path = "/v1/community/registrations";
    let keys = json!({ "ecg": HolderKey::ed25519(&[3; 32]).public().to_string() });
    let body = serde_json::to_vec(&json!({ "main_key": phone.register(now), "enrolment_keys": keys })).unwrap();
    let signed = phone.wallet("POST", path, &body, now);
    for code in [json!(null), json!("presentation-replayed")] {
        let who = Some(("Authorization", signed.clone()));
        let (_, answer) = ask!(app, Method::POST, path, who, body.clone());
        assert_eq!(answer["code"], code, "{answer}");
    }
}

#[actix_web::test]
async fn a_node_without_the_role_says_so() {
    // The ledger's threads outlive the test by a moment: their directory must too.
    let dir = std::mem::ManuallyDrop::new(tempfile::tempdir().unwrap());
    let node = node(dir.path(), &[Role::Issuer]);
    let app = serve!(node);
    let clerk = Some(planted::CLERK);
    let phone = Phone(HolderKey::ed25519(&[1; 32]));
    let now = node.writer.now().secs();
    for path in ["/v1/community/stock", "/v1/community/cards/490314286148", "/v1/wallet", "/v1/wallet/notices"] {
        let signed = Some(("Authorization", phone.wallet("GET", path, b"", now)));
        let clerk = clerk.map(|(name, value)| (name, value.to_owned()));
        let who = if path.starts_with("/v1/wallet") { signed } else { clerk };
        let (status, answer) = ask!(app, Method::GET, path, who, Vec::new());
        assert_eq!((status, &answer["code"]), (404, &json!("not-my-role")), "{path}");
    }
}
