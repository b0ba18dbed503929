//! The issuer's REST on a registrar's node with a ledger on disk: what is read, who may ask, what is answered.

use actix_web::body::to_bytes;
use actix_web::dev::Service;
use actix_web::dev::ServiceResponse;
use actix_web::http::Method;
use actix_web::test::{TestRequest, call_service, init_service};
use actix_web::web::Data;
use actix_web::{App, Error};
use actors::token::{HolderKey, vp1};
use actors::writer::Act;
use domain::holder::RegistrarEvent;
use domain::member::Role;
use domain::record::Body;
use serde_json::{Value, json};
use sha2::Digest as _;
use std::sync::Arc;
use utoipa_actix_web::AppExt as _;

use crate::accounts::planted;
use crate::api;
use crate::api::planted::{Who, request};
use crate::clock::NodeClock;
use crate::config::{AccountRules, Config, Http, Peers, Registrar, Store};
use crate::keys::NodeKeys;
use crate::node::Node;
use crate::peers::client::PeerClient;

/// A registrar's node in a directory, alone in its federation.
fn node(dir: &std::path::Path) -> Data<Node> {
    let institution = "health".parse().unwrap();
    let config = Config {
        version: 1,
        institution,
        roles: vec![Role::Issuer],
        federation: "test".into(),
        utc_offset_minutes: 480,
        http: Http { bind: "127.0.0.1:0".parse().unwrap(), url: "http://127.0.0.1:1".into(), workers: 1 },
        store: Store {
            dir: dir.join("data"),
            keys: dir.join("keys"),
            vault: None,
            min_free_disk_mib: 1,
            scrub_kib_per_sec: 0,
            marker_dir: dir.to_owned(),
        },
        registrar: Registrar { institution, url: "http://127.0.0.1:1".into(), log_vkey: String::new(), history: None },
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
    Data::new(node)
}

const CLERK: Who = Who::Header(planted::CLERK);
const SECOND: Who = Who::Header(planted::SECOND);
const XUANWU: Who = Who::Peer("xuanwu");

/// The served routes of a node, and how a request for them is finished.
struct Caller<S, R>(S, fn(TestRequest) -> R, Data<Node>);

impl<R, S: Service<R, Response = ServiceResponse, Error = Error>> Caller<S, R> {
    async fn send(&self, request: TestRequest) -> (u16, Vec<u8>) {
        let response = call_service(&self.0, (self.1)(request)).await;
        let status = response.status().as_u16();
        (status, to_bytes(response.into_body()).await.unwrap().to_vec())
    }

    async fn post(&self, who: Who, path: &str, key: &str, body: Value) -> (u16, Value) {
        let (path, body) = (format!("/v1/issuer/{path}"), serde_json::to_vec(&body).unwrap());
        let (status, bytes) = self.send(request(&self.2, who, Method::POST, &path, key, Some(&body))).await;
        (status, serde_json::from_slice(&bytes).unwrap())
    }

    async fn get(&self, who: Who, path: &str) -> (u16, Value) {
        let path = format!("/v1/issuer/{path}");
        let (status, bytes) = self.send(request(&self.2, who, Method::GET, &path, "", None)).await;
        (status, serde_json::from_slice(&bytes).unwrap())
    }

    async fn good(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self.post(CLERK, path, &uuid::Uuid::new_v4().to_string(), body).await;
        assert_eq!(status, 201, "{path}: {answer}");
        answer
    }

    /// One asks, the other consents: the receipt.
    async fn by_two(&self, path: &str, body: Value) -> Value {
        let (status, asked) = self.post(CLERK, path, &uuid::Uuid::new_v4().to_string(), body).await;
        assert_eq!(status, 202, "{path}: {asked}");
        let (status, done) = self.consent(SECOND, &asked).await;
        assert_eq!(status, 201, "{path}: {done}");
        done
    }

    async fn consent(&self, who: Who, asked: &Value) -> (u16, Value) {
        let path = format!("/v1/approvals/{}/consent", asked["approval"].as_str().unwrap());
        let body = serde_json::to_vec(&json!({ "request": asked["request"] })).unwrap();
        let (status, bytes) = self.send(request(&self.2, who, Method::POST, &path, "consent", Some(&body))).await;
        (status, serde_json::from_slice(&bytes).unwrap())
    }

    async fn refused(&self, who: Who, path: &str, body: Value) -> (u16, String) {
        let (status, answer) = self.post(who, path, &uuid::Uuid::new_v4().to_string(), body).await;
        (status, answer["code"].as_str().unwrap_or_default().to_owned())
    }
}

macro_rules! serve {
    ($node:expr) => {{
        let (app, _) = App::new().app_data($node.clone()).into_utoipa_app().configure(api::configure).split_for_parts();
        Caller(init_service(app.configure(api::extractors)).await, |request| request.to_request(), $node.clone())
    }};
}

fn join(dir: &std::path::Path, institution: &str, roles: &[Role]) -> Value {
    let keys = NodeKeys::load_or_make(&dir.join(institution)).unwrap();
    let entry = keys.entry(institution.parse().unwrap(), roles, "http://127.0.0.1:2", &format!("test/{institution}"));
    let text = |bytes: &[u8]| ledger::note::to_base64(bytes);
    let proofs: Vec<String> = entry.proofs.iter().map(|p| text(&actors::replica::signature_bytes(p))).collect();
    json!({
        "institution": institution, "roles": roles, "url": entry.url, "origin": entry.origin,
        "keys": {"log": text(&entry.keys[0]), "node": text(&entry.keys[1]), "witness": text(&entry.keys[2])},
        "proofs": {"log": proofs[0], "node": proofs[1], "witness": proofs[2]},
    })
}

fn programme() -> Value {
    json!({
        "programme": "ecg", "title_zh": "心电图优先检查", "title_en": "Priority ECG", "service": "ecg",
        "issuing_department": "Health Commission", "classes": ["elderly"], "validity_days": 30,
        "vouchers_per_holder": 2, "departments": ["cardiology"], "card_allowed": true,
    })
}

fn person(now: i64) -> Value {
    let (main, ecg) = (HolderKey::ed25519(&[1; 32]), HolderKey::ed25519(&[2; 32]));
    let key = main.public();
    let claims = vp1::Claims { kid: key.key_id(), iat: now, cti: [0; 8], step: vp1::Step::Register { key } };
    json!({
        "document_type": "resident-id", "document_number": "11010519491231002x", "born": "1949-12-31", "sex": "F",
        "name": "王秀英", "phone": "13900001234", "class": "elderly", "community": "xuanwu",
        "voucher_module": "xuanwu", "main_key": vp1::sign(&claims, &main).unwrap(),
        "enrolment_keys": {"ecg": ecg.public().to_string()},
        "enrolment_ids": {"ecg": uuid::Uuid::new_v4()}, "card": null,
    })
}

#[actix_web::test]
async fn an_authority_founds_a_federation_and_fills_it() {
    // The ledger's threads outlive the test by a moment: their directory must too.
    let dir = std::mem::ManuallyDrop::new(tempfile::tempdir().unwrap());
    let node = node(dir.path());
    let http = serve!(node);
    http.by_two("members", join(dir.path(), "xuanwu", &[Role::Community, Role::Voucher])).await;
    http.by_two("members", join(dir.path(), "qinhuai", &[Role::Community])).await;
    http.good("programmes", programme()).await;

    // A person, from the community's desk; the same request is answered the same.
    let person = person(node.writer.now().secs());
    let (status, first) = http.post(XUANWU, "holders", "a", person.clone()).await;
    assert_eq!((status, first["repeated"].as_bool()), (201, Some(false)), "{first}");
    let (_, again) = http.post(XUANWU, "holders", "a", person.clone()).await;
    assert_eq!((&again["result"], &again["repeated"]), (&first["result"], &json!(true)));
    // Asked under another key it is answered the same too: the community may have lost the answer. Nothing is written.
    let (status, lost) = http.post(XUANWU, "holders", "b", person.clone()).await;
    assert_eq!((status, &lost["result"]), (201, &first["result"]), "{lost}");
    assert_eq!(lost["records"].as_array().map(Vec::len), Some(0));
    let mut other = person;
    other["name"] = json!("李小红");
    assert_eq!(http.refused(XUANWU, "holders", other).await, (409, "document-registered".into()));
    let holder = first["result"]["holder"].as_str().unwrap();
    let (_, shown) = http.get(XUANWU, &format!("holders/{holder}")).await;
    assert_eq!((&shown["name"], &shown["document_type"]), (&json!("王**"), &json!("resident-id")));
    assert_eq!(http.get(Who::Peer("qinhuai"), &format!("holders/{holder}")).await.0, 404);
    assert_eq!(http.get(CLERK, "shared-contacts?at_least=1").await.0, 400);
    let (status, shared) = http.get(CLERK, "shared-contacts").await;
    assert_eq!((status, shared["items"].as_array().map(Vec::len)), (200, Some(0)), "{shared}");

    // Vouchers in parts; the same key goes on where it was and does nothing twice.
    let wish = json!({"programme": "ecg", "count": 600});
    let (_, made) = http.post(CLERK, "vouchers", "b", wish.clone()).await;
    assert_eq!((&made["result"]["count"], &made["repeated"]), (&json!(600), &json!(false)));
    let (_, same) = http.post(CLERK, "vouchers", "b", wish).await;
    assert_eq!((&same["result"], &same["repeated"]), (&made["result"], &json!(true)));
    let (status, reused) = http.post(CLERK, "vouchers", "b", json!({"programme": "ecg", "count": 601})).await;
    assert_eq!((status, reused["code"].as_str()), (422, Some("idempotency-key-reused")));

    let dispatch = |count: usize| json!({"community": "xuanwu", "programme": "ecg", "count": count});
    http.good("dispatches", dispatch(300)).await;
    assert_eq!(http.refused(CLERK, "dispatches", dispatch(301)).await, (409, "no-stock".into()));
    let (_, page) = http.get(CLERK, "vouchers?stage=generated&programme=ecg&limit=200").await;
    let next = page["next"].as_str().unwrap();
    let (_, rest) = http.get(CLERK, &format!("vouchers?stage=generated&programme=ecg&limit=200&cursor={next}")).await;
    let count = |page: &Value| page["items"].as_array().unwrap().len();
    assert_eq!((count(&page), count(&rest), &rest["next"]), (200, 100, &Value::Null));

    let voucher = page["items"][0]["voucher"].as_str().unwrap();
    let voided = http.by_two("voids", json!({"voucher": voucher, "reason": "mistake"})).await;
    assert_eq!((&voided["result"]["voided"], &voided["voucher"]), (&json!(true), &json!(voucher)));

    // Figures: now, published, and the published table by its digest.
    let today = node.writer.now().day_at(node.writer.settings().offset).to_string();
    let (_, figures) = http.get(CLERK, &format!("statistics?from={today}&until={today}")).await;
    let of = |measure: &str| {
        let rows = figures["rows"].as_array().unwrap().iter();
        rows.filter(|r| r["measure"] == measure).map(|r| r["count"].as_u64().unwrap()).sum::<u64>()
    };
    assert_eq!((of("generated"), of("sent"), of("voided")), (600, 300, 1), "{figures}");
    assert_eq!(figures["conservation"][0]["holds"], json!(true));
    let published = http.good("statistics/publications", json!({"from": today, "until": today})).await;
    let digest = published["result"]["table"].as_str().unwrap();
    let table = TestRequest::default().uri(&format!("/v1/issuer/statistics/tables/{digest}"));
    let (_, bytes) = http.send(table.insert_header(("Accept", "application/octet-stream"))).await;
    assert_eq!(hex::encode(sha2::Sha256::digest(&bytes)), digest);
    let (_, lines) = http.get(CLERK, &format!("statistics/tables/{digest}")).await;
    assert_eq!(lines["items"], figures["rows"]);
    let (_, list) = http.get(CLERK, "statistics/publications").await;
    let log = node.writer.ledger();
    let covered = &list["items"][0]["published"]["covers"][0];
    let root = log.root_at("test/health", covered["size"].as_u64().unwrap()).unwrap();
    assert_eq!(covered["root"], json!(hex::encode(root.0)), "the root that a checkpoint of that size has");
}

#[actix_web::test]
async fn who_may_not_is_told_so() {
    // The ledger's threads outlive the test by a moment: their directory must too.
    let dir = std::mem::ManuallyDrop::new(tempfile::tempdir().unwrap());
    let node = node(dir.path());
    let http = serve!(node);
    http.by_two("members", join(dir.path(), "xuanwu", &[Role::Community, Role::Voucher])).await;
    http.good("programmes", programme()).await;
    let now = node.writer.now().secs();
    let with = |change: fn(&mut Value)| {
        let mut person = person(now);
        change(&mut person);
        person
    };
    let generate = json!({"programme": "ecg", "count": 1});
    let suspend = json!({});
    let table = [
        (XUANWU, "vouchers", generate.clone(), 403, "forbidden"),
        (Who::Nobody, "vouchers", generate, 401, "unauthenticated"),
        (CLERK, "vouchers", json!({"programme": "ecg", "count": 0}), 400, "malformed"),
        (CLERK, "vouchers", json!({"programme": "ecg", "count": 100_001}), 400, "malformed"),
        (CLERK, "vouchers", json!({"programme": "mri", "count": 1}), 409, "programme-unknown"),
        (CLERK, "vouchers", json!({"programme": "ecg", "count": 1, "more": 1}), 400, "malformed"),
        (CLERK, "programmes", programme(), 409, "programme-exists"),
        (Who::Peer("gulou"), "holders", with(|_| {}), 401, "signature-invalid"),
        (XUANWU, "holders", with(|p| p["document_number"] = json!("110105194912310021")), 409, "document-invalid"),
        (XUANWU, "holders", with(|p| p["born"] = json!("1949-12-30")), 409, "document-invalid"),
        (XUANWU, "holders", with(|p| p["enrolment_keys"] = json!({"ecg": "ed25519:AA=="})), 409, "key-unfit"),
        (XUANWU, "holders", with(|p| p["enrolment_ids"] = json!({})), 400, "malformed"),
        (CLERK, "members/xuanwu/suspension", json!({"approver": "wang"}), 400, "malformed"),
        (CLERK, "members/Nobody/suspension", suspend.clone(), 400, "malformed"),
        (CLERK, "members/xuanwu/changes", json!({"roles": ["community"], "url": "http://192.0.2.1"}), 400, "malformed"),
        (
            CLERK,
            "members/xuanwu/changes",
            json!({"roles": ["community"], "url": "https://x.example/?a"}),
            400,
            "malformed",
        ),
        (Who::Header(planted::POWERLESS), "members/xuanwu/suspension", suspend.clone(), 403, "forbidden"),
        (CLERK, "voids", json!({"voucher": "health.x", "reason": "mistake"}), 400, "malformed"),
        (CLERK, "claims/health.x/settlement", json!({}), 400, "malformed"),
        (CLERK, "statistics/publications", json!({"from": "2026-01-02", "until": "2026-01-01"}), 400, "malformed"),
    ];
    for (who, path, body, status, code) in table {
        let shown = format!("{who:?} {path} {body}");
        assert_eq!(http.refused(who, path, body).await, (status, code.into()), "{shown}");
    }
    let unknown = "claims/health.6f0b6a6e-5a0e-4f6c-9b7e-0c1d2e3f4a5b/settlement";
    assert_eq!(http.refused(CLERK, unknown, json!({})).await, (404, "not-found".into()));
    let (_, asked) = http.post(CLERK, "members/health/revocation", "self", suspend.clone()).await;
    let (status, refused) = http.consent(SECOND, &asked).await;
    assert_eq!((status, &refused["code"]), (403, &json!("forbidden")), "the registrar itself: {refused}");
    http.by_two("members/xuanwu/suspension", suspend).await;
    assert_eq!(http.refused(XUANWU, "holders", with(|_| {})).await, (409, "not-in-good-standing".into()));
}

#[actix_web::test]
async fn two_persons_void_and_the_record_is_written_once() {
    let dir = std::mem::ManuallyDrop::new(tempfile::tempdir().unwrap());
    let node = node(dir.path());
    let http = serve!(node);
    http.good("programmes", programme()).await;
    let made = http.good("vouchers", json!({"programme": "ecg", "count": 1})).await;
    let index = made["result"]["first"].as_u64().unwrap();
    let (_, page) = http.get(CLERK, "vouchers?stage=generated").await;
    let body = json!({"voucher": page["items"][0]["voucher"], "reason": "mistake"});

    let (status, asked) = http.post(CLERK, "voids", "v", body.clone()).await;
    assert_eq!(status, 202, "{asked}");
    let (_, same) = http.post(CLERK, "voids", "v", body.clone()).await;
    assert_eq!(same, asked, "asked again under the same key, it waits once");
    let (status, other) =
        http.post(CLERK, "voids", "v", json!({"voucher": body["voucher"], "reason": "holder-died"})).await;
    assert_eq!((status, &other["code"]), (422, &json!("idempotency-key-reused")));
    let (_, page) = http.get(CLERK, "vouchers?stage=generated").await;
    assert_eq!(page["items"].as_array().map(Vec::len), Some(1), "nothing is done yet");

    let mut another = asked.clone();
    another["request"] = json!("00".repeat(32));
    let table = [
        (CLERK, &asked, 409, "approver-needed"),
        (Who::Header(planted::POWERLESS), &asked, 403, "forbidden"),
        (Who::Peer("health"), &asked, 403, "forbidden"),
        (Who::Nobody, &asked, 401, "unauthenticated"),
        (SECOND, &another, 404, "not-found"),
    ];
    for (who, asked, status, code) in table {
        let (got, answer) = http.consent(who, asked).await;
        assert_eq!((got, &answer["code"]), (status, &json!(code)), "{who:?}");
    }
    // A token is a machine, and a machine consents to nothing.
    let wang = node.accounts.named("wang").unwrap().id;
    let now = node.writer.now();
    let scope = [crate::accounts::permission::Permission::VoidVouchers];
    let (token, _) =
        node.accounts.issue_token(wang, "machine", &scope, now + domain::time::Millis::days(1), now).unwrap();
    let token: &'static str = format!("Bearer {token}").leak();
    assert_eq!(http.consent(Who::Header(("Authorization", token)), &asked).await.1["code"], json!("person-needed"));

    let (status, done) = http.consent(SECOND, &asked).await;
    assert_eq!((status, &done["result"]["voided"], &done["repeated"]), (201, &json!(true), &json!(false)), "{done}");
    let (status, again) = http.consent(SECOND, &asked).await;
    assert_eq!((status, &again["repeated"], &again["records"]), (201, &json!(true), &done["records"]));
    let (status, first) = http.post(CLERK, "voids", "v", body).await;
    assert_eq!((status, &first["records"]), (201, &done["records"]), "who asked gets the receipt");
    let li = node.accounts.pseudonym(node.accounts.named("li").unwrap().id);
    let bytes = node.writer.ledger().entry("test/health", index + 1).unwrap();
    let record: domain::record::Record = ledger::record::decode_record(&bytes).unwrap();
    assert_eq!(record.operator, Some(li));
}
