//! Every route of the description, asked by every kind of caller, and for what is somebody else's.
//!
//! The routes come from the description itself, so that a new one is asked too; what is expected comes from the table of
//! access (node/src/api/access.rs) and, for objects, from a table here in which each route must stand.

use std::collections::{BTreeMap, BTreeSet};

use actix_web::body::to_bytes;
use actix_web::dev::{Service, ServiceResponse};
use actix_web::http::Method;
use actix_web::test::{TestRequest, call_service, init_service};
use actix_web::web::Data;
use actix_web::{App, Error};
use actors::token::{HolderKey, VoucherName, vp1};
use actors::writer::Act;
use domain::holder::RegistrarEvent;
use domain::ids::VoucherId;
use domain::lifecycle::Step;
use domain::member::Role;
use domain::record::{Body, Presentation};
use domain::time::Millis;
use serde_json::{Value, json};
use utoipa::{Modify as _, OpenApi as _};
use utoipa_actix_web::AppExt as _;
use uuid::Uuid;

use super::access::{Access, access};
use super::planted::signed;
use super::wallet::tests::node;
use crate::accounts::permission::{AccountRole, Permission, Permissions};
use crate::accounts::planted::{self, SECOND};
use crate::api;
use crate::keys::NodeKeys;
use crate::node::Node;

/// The institution whose node is asked.
const ME: &str = "xuanwu";

/// Another one.
const OTHER: &str = "qinhuai";

/// One that is no member.
const STRANGE: &str = "nobody";

const SOME_ID: &str = "6f0b6a6e-5a0e-4f6c-9b7e-0c1d2e3f4a5b";

/// Who asks.
#[derive(Debug, Clone, PartialEq)]
enum Who {
    /// Without a word of who it is.
    Anonymous,
    /// With an `Authorization` that is nobody's, or was another node's.
    Stranger(String),
    /// An account of these roles, in a session.
    Session(Vec<AccountRole>),
    /// A token of an account that may do everything, for some of it.
    Token(Vec<Permission>),
    /// Another institution's node.
    Peer(&'static str),
    /// A phone.
    Holder(u8),
}

/// A phone's key, by its seed.
fn phone(seed: u8) -> HolderKey {
    HolderKey::ed25519(&[seed; 32])
}

/// The served routes, and how a request for them is finished.
struct Served<S, R> {
    app: S,
    finish: fn(TestRequest) -> R,
    node: Data<Node>,
}

macro_rules! serve {
    ($node:expr) => {{
        let app = App::new().app_data($node.clone()).into_utoipa_app().openapi(api::ApiDoc::openapi());
        let (app, mut openapi) = app.configure(api::configure).split_for_parts();
        api::openapi::Common.modify(&mut openapi);
        let app = init_service(app.configure(api::extractors)).await;
        let served = Served { app, finish: |request| request.to_request(), node: $node.clone() };
        (served, serde_json::to_value(openapi).unwrap())
    }};
}

impl<R, S: Service<R, Response = ServiceResponse, Error = Error>> Served<S, R> {
    /// Asks: status, and code of a problem or the whole answer.
    async fn ask(&self, who: &Who, method: &Method, path: &str, body: &Value) -> (u16, Value) {
        let now = self.node.writer.now();
        let has_body = *method != Method::GET && *method != Method::DELETE;
        let bytes = if has_body { serde_json::to_vec(body).unwrap() } else { Vec::new() };
        let mut request = TestRequest::default().method(method.clone()).uri(path);
        let key = Uuid::new_v4().to_string();
        if has_body {
            request = request.insert_header(("Idempotency-Key", key.as_str()));
            request = request.insert_header(("Content-Type", "application/json"));
        }
        request = match who {
            Who::Anonymous => request,
            Who::Stranger(text) => request.insert_header(("Authorization", text.as_str())),
            Who::Session(roles) => {
                // Made anew each time: a route may end it.
                let name = roles.iter().map(|role| role.code()).collect::<Vec<_>>().join("-");
                let name = if roles.len() > 1 { "everybody".to_owned() } else { format!("one-{name}") };
                let secret = planted::session(&self.node.accounts, &name, roles, now);
                request.insert_header(("Authorization", format!("Bearer {secret}")))
            }
            Who::Token(scope) => {
                let id = self.node.accounts.named("li").unwrap().id;
                let made = self.node.accounts.issue_token(id, "matrix", scope, now + Millis::hours(1), now).unwrap();
                let (secret, token) = made;
                let asked = request.insert_header(("Authorization", format!("Bearer {secret}")));
                let answer = self.send(asked.set_payload(bytes)).await;
                let _ = self.node.accounts.revoke_token(None, token.id);
                return answer;
            }
            Who::Peer(institution) => {
                let sent = has_body.then_some((key.as_str(), bytes.as_slice()));
                let headers = signed(&self.node, institution, method, path, sent);
                headers.into_iter().fold(request, TestRequest::insert_header)
            }
            Who::Holder(seed) => {
                let (key, digest) = (phone(*seed), vp1::request_digest(method.as_str(), path, &bytes));
                let step = vp1::Step::Wallet { audience: ME.into(), request: digest };
                let kid = key.public().key_id();
                let claims = vp1::Claims { kid, iat: now.secs(), cti: rand::random(), step };
                request.insert_header(("Authorization", format!("VP1 {}", vp1::sign(&claims, &key).unwrap())))
            }
        };
        self.send(request.set_payload(bytes)).await
    }

    async fn send(&self, request: TestRequest) -> (u16, Value) {
        let response = call_service(&self.app, (self.finish)(request)).await;
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body()).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    /// What stands in this node's log, and what it keeps beside it, by their counts.
    fn size(&self) -> u64 {
        let ledger = self.node.writer.ledger();
        ledger.flush();
        ledger.accepted_size(ledger.origin())
    }

    async fn good(&self, who: &Who, path: &str, body: Value) -> Value {
        let (status, answer) = self.ask(who, &Method::POST, path, &body).await;
        assert_eq!(status, 201, "{path}: {answer}");
        answer
    }
}

/// What a caller is answered before anything is made of the request; none if the route is for it.
fn refusal(access: Access, who: &Who) -> Option<(u16, &'static str)> {
    let may = |permission: Permission| match who {
        Who::Session(roles) => Permissions::of(roles).has(permission),
        Who::Token(scope) => scope.contains(&permission),
        _ => false,
    };
    const NOBODY: (u16, &str) = (401, "unauthenticated");
    const NOT_YOU: (u16, &str) = (403, "forbidden");
    match (access, who) {
        (Access::Anyone | Access::SignIn, _) => None,
        (_, Who::Stranger(text)) => Some(match text {
            text if text.starts_with("Bearer ") => (401, "session-over"),
            text if text.starts_with("VP1 ") => (409, "presentation-malformed"),
            _ => NOBODY,
        }),
        (_, Who::Peer(STRANGE)) => Some((401, "signature-invalid")),
        (Access::Holder, Who::Holder(_)) => None,
        (Access::Holder, _) | (_, Who::Anonymous) => Some(NOBODY),
        (Access::Peer | Access::Log | Access::Status(_) | Access::Inside(_), Who::Peer(_)) => None,
        (Access::Log, Who::Session(_) | Who::Token(_)) if may(Permission::ReadRecords) => None,
        (Access::SignedIn, Who::Session(_) | Who::Token(_)) | (Access::Person, Who::Session(_)) => None,
        (Access::Person | Access::PersonWith(_), Who::Token(_)) => Some((403, "person-needed")),
        (
            Access::Operator(needed) | Access::Inside(needed) | Access::Status(needed),
            Who::Session(_) | Who::Token(_),
        ) if may(needed) => None,
        (Access::PersonWith(needed), Who::Session(_)) if may(needed) => None,
        _ => Some(NOT_YOU),
    }
}

/// Every kind of caller. `elsewhere` are a session and a token of another institution's node.
fn callers(elsewhere: [String; 2]) -> Vec<Who> {
    let mut all = vec![Who::Anonymous, Who::Session(Vec::new()), Who::Peer(OTHER), Who::Peer(STRANGE), Who::Holder(99)];
    let nobody = ["Bearer ", "Bearer vns_gone", "Bearer vnt_gone", "Basic bGk6eA==", "li", "VP1 VP1:6BF"];
    all.extend(nobody.map(|text| Who::Stranger(text.to_owned())));
    all.extend(elsewhere.map(|secret| Who::Stranger(format!("Bearer {secret}"))));
    all.extend(AccountRole::ALL.iter().map(|role| Who::Session(vec![*role])));
    all.push(Who::Session(AccountRole::ALL.to_vec()));
    all.push(Who::Token(vec![Permission::ReadStock]));
    all.push(Who::Token(vec![Permission::ReadRecords, Permission::AdmitHolders, Permission::VoidVouchers]));
    all
}

/// Each operation: method, path, and its description.
fn operations(openapi: &Value) -> Vec<(Method, String, Value)> {
    let mut all = Vec::new();
    for (path, item) in openapi["paths"].as_object().unwrap() {
        for (verb, operation) in item.as_object().unwrap() {
            all.push((verb.to_uppercase().parse().unwrap(), path.clone(), operation.clone()));
        }
    }
    all
}

/// A path with something in the place of each name, which is not there, and not even an id.
fn filled(path: &str, with: &str) -> String {
    let mut filled = path.to_owned();
    while let (Some(open), Some(close)) = (filled.find('{'), filled.find('}')) {
        filled.replace_range(open..=close, with);
    }
    filled
}

#[actix_web::test]
async fn every_route_answers_each_kind_of_caller_as_the_table_says() {
    // The ledger's threads outlive the test by a moment: their directory must too.
    let dir = std::mem::ManuallyDrop::new(tempfile::tempdir().unwrap());
    let node = node(dir.path(), &Role::ALL);
    let other = NodeKeys::load_or_make(&dir.path().join(OTHER)).unwrap();
    let other = other.entry(OTHER.parse().unwrap(), &Role::ALL, "http://127.0.0.1:2", &format!("test/{OTHER}"));
    let registered = Body::Registrar(RegistrarEvent::MemberRegistered(other));
    node.writer.decide(Act::default(), |desk| desk.write(Role::Issuer, registered)).unwrap();
    let (served, openapi) = serve!(node);
    let far = dir.path().join("far");
    std::fs::create_dir(&far).unwrap();
    let now = served.node.writer.now();
    let accounts = planted::accounts(OTHER.parse().unwrap(), &far, now);
    let session = planted::session(&accounts, "far", AccountRole::ALL, now);
    let scope = [Permission::ReadRecords];
    let far_away = accounts.named("far").unwrap().id;
    let (token, _) = accounts.issue_token(far_away, "far", &scope, now + Millis::hours(1), now).unwrap();
    let size = served.size();
    let (mut refused, mut admitted, mut wrong) = (0, 0, Vec::new());
    for (method, path, _) in operations(&openapi) {
        let access = access(&method, &path).unwrap_or_else(|| panic!("{method} {path} is not in the table"));
        for who in callers([session.clone(), token.clone()]) {
            let expected = refusal(access, &who);
            // A request of which nothing can be read: who asks is looked at before.
            for with in [SOME_ID, "_"] {
                let query = if with == "_" { "?no-such-name=1" } else { "" };
                let asked = format!("{}{query}", filled(&path, with));
                let (status, answer) = served.ask(&who, &method, &asked, &json!({ "no-such-field": 1 })).await;
                let code = answer["code"].as_str().unwrap_or_default();
                let what = format!("{method} {asked} by {who:?}: {status} {code} {}", answer["detail"]);
                match expected {
                    Some(expected) => {
                        refused += 1;
                        wrong.extend(((status, code) != expected).then(|| format!("{expected:?}: {what}")));
                    }
                    None if matches!(access, Access::Anyone | Access::SignIn) => {
                        wrong.extend((code == "forbidden").then(|| what.clone()));
                    }
                    None => {
                        admitted += 1;
                        let turned_away = ["forbidden", "session-over", "person-needed", "csrf-token-wrong"];
                        // A stranger's phone is let through by the table, and known to nobody.
                        let is_holder = access == Access::Holder && code == "unauthenticated";
                        // A token has no session to end.
                        let is_token = access == Access::SignedIn && code == "person-needed";
                        let is_good = !turned_away.contains(&code) && status != 401 || is_holder || is_token;
                        wrong.extend((!is_good).then(|| format!("admitted: {what}")));
                    }
                }
                assert!(status < 500 || status == 503, "{what}");
            }
        }
        assert_eq!(served.size(), size, "{method} {path} wrote something");
    }
    assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(refused > 4_000 && admitted > 300, "{refused} refused, {admitted} admitted");
}

/// A request for what is somebody else's, and the answer to it.
struct Row {
    who: Who,
    method: &'static str,
    pattern: &'static str,
    /// In the place of the pattern's name.
    name: String,
    /// Behind the path.
    query: String,
    body: Value,
    answer: (u16, &'static str),
}

/// Routes without anybody's object, or on whose objects whoever is let in may act, each with the reason.
const NOBODYS: &[(&str, &str)] = &[
    ("POST /v1/clock", "one clock"),
    ("GET /metrics", "one node"),
    ("GET /log/checkpoint", "every member reads every log"),
    ("GET /log/tile/{path}", "every member reads every log"),
    ("GET /mirrors/{institution}/checkpoint", "every member reads every log"),
    ("GET /mirrors/{institution}/tile/{path}", "every member reads every log"),
    ("GET /v1/checkpoints", "every member reads every log"),
    ("GET /witness/{origin}/checkpoint", "every member reads every log"),
    ("POST /v1/start/longest", "every member reads every log"),
    ("GET /v1/records/{position}/proof", "every member reads every log"),
    ("GET /v1/records/{position}", "every member reads every log"),
    ("GET /v1/vouchers/{voucher}/history", "every member reads every log"),
    ("GET /v1/sessions", "lists the own ones"),
    ("DELETE /v1/accounts/{id}/sessions", "who keeps accounts keeps all"),
    ("GET /v1/tokens", "lists the own ones"),
    ("POST /v1/tokens", "makes an own one"),
    ("GET /v1/accounts", "who keeps accounts keeps all"),
    ("POST /v1/accounts", "who keeps accounts keeps all"),
    ("POST /v1/accounts/{id}/roles", "who keeps accounts keeps all"),
    ("POST /v1/accounts/{id}/password", "who keeps accounts keeps all"),
    ("POST /v1/accounts/{id}/disabled", "who keeps accounts keeps all"),
    ("POST /v1/accounts/{id}/subject", "who keeps accounts keeps all"),
    ("GET /v1/approvals", "lists what the caller may consent to"),
    ("POST /v1/issuer/members", "the registrar keeps all members"),
    ("POST /v1/issuer/members/{id}/changes", "the registrar keeps all members"),
    ("POST /v1/issuer/members/{id}/suspension", "the registrar keeps all members"),
    ("POST /v1/issuer/members/{id}/restoration", "the registrar keeps all members"),
    ("POST /v1/issuer/members/{id}/revocation", "the registrar keeps all members"),
    ("POST /v1/issuer/members/{id}/freeze", "the registrar keeps all members"),
    ("POST /v1/issuer/members/{id}/log-succession", "the registrar keeps all members"),
    ("POST /v1/issuer/members/{id}/issuer-succession", "the registrar keeps all members"),
    ("POST /v1/issuer/members/{id}/key", "the registrar keeps all members"),
    ("POST /v1/issuer/parameters", "of the federation"),
    ("POST /v1/issuer/programmes", "of the issuer"),
    ("POST /v1/issuer/vouchers", "makes new ones"),
    ("GET /v1/issuer/vouchers", "lists the own ones"),
    ("POST /v1/issuer/dispatches", "takes of the own stock"),
    ("GET /v1/issuer/claims", "lists those at this issuer"),
    ("GET /v1/issuer/shared-contacts", "the registrar's own people, masked"),
    ("GET /v1/issuer/statistics", "figures without people"),
    ("POST /v1/issuer/statistics/publications", "figures without people"),
    ("POST /v1/community/residents", "the own list"),
    ("POST /v1/community/registrations/without-phone", "somebody new"),
    ("GET /v1/community/stock", "the own one"),
    ("GET /v1/community/stock/vouchers", "the own one"),
    ("POST /v1/hospital/schedules", "the own hours"),
    ("POST /v1/hospital/closures", "the own hours"),
    ("GET /v1/hospital/bookings", "the own ones"),
    ("GET /v1/hospital/visits", "the own ones"),
    ("GET /v1/hospital/claims", "the own ones"),
    ("POST /v1/hospital/checks", "whoever looks is noted, whosever voucher it is"),
    ("GET /v1/wallet", "the own one"),
    ("GET /v1/wallet/notices", "the own ones"),
    ("POST /v1/wallet/erasure", "the own data"),
    ("GET /v1/audit/findings", "every member reads them"),
    ("GET /v1/audit/report", "every member reads it"),
    ("GET /v1/audit/evidence/{digest}", "every member reads it"),
];

/// Where the record is made that somebody was refused, as for every look at a voucher.
const NOTED: [&str; 1] = ["/v1/hospital/visits"];

/// Somebody who is registered: the phone by its seed, its enrolment, the registrar's answer.
struct Person {
    holder: String,
    enrolment: Uuid,
    seed: u8,
    granted: Value,
    voucher: String,
    token: String,
    /// The record that gave them the voucher.
    issued: String,
}

impl Person {
    /// What a community tells the voucher module about them.
    fn letter(&self) -> Value {
        json!({
            "holder": self.holder, "main_key": phone(self.seed).public().to_string(), "class": "elderly",
            "enrolments": self.granted["enrolments"], "contact": null,
        })
    }

    /// A personal QR.
    fn show(&self, step: vp1::Step, now: i64) -> String {
        let mut kid = [0; 8];
        kid.copy_from_slice(&self.enrolment.as_bytes()[..8]);
        vp1::sign(&vp1::Claims { kid, iat: now, cti: rand::random(), step }, &phone(self.seed + 100)).unwrap()
    }
}

fn named(voucher: &str) -> VoucherName {
    let voucher: VoucherId = voucher.parse().unwrap();
    VoucherName { issuer: voucher.issuer.to_string(), id: voucher.uuid }
}

fn application(seed: u8, community: &str, enrolment: Uuid, now: i64) -> Value {
    let key = phone(seed).public();
    let claims = vp1::Claims { kid: key.key_id(), iat: now, cti: rand::random(), step: vp1::Step::Register { key } };
    json!({
        "document_type": "passport", "document_number": format!("E12345{seed:02}"), "born": "1949-12-31", "sex": "F",
        "name": "王秀英", "phone": "13900001234", "class": "elderly", "community": community,
        "voucher_module": community, "main_key": vp1::sign(&claims, &phone(seed)).unwrap(),
        "enrolment_keys": { "ecg": phone(seed + 100).public().to_string() }, "enrolment_ids": { "ecg": enrolment },
        "card": null,
    })
}

fn join(dir: &std::path::Path, institution: &str) -> Value {
    let keys = NodeKeys::load_or_make(&dir.join(institution)).unwrap();
    let origin = format!("test/{institution}");
    let entry = keys.entry(institution.parse().unwrap(), &Role::ALL, "http://127.0.0.1:2", &origin);
    let [log, node, witness] = entry.keys.map(|key| ledger::note::to_base64(&key));
    let proofs = entry.proofs.map(|proof| ledger::note::to_base64(&actors::replica::signature_bytes(&proof)));
    json!({
        "institution": institution, "roles": entry.roles, "url": entry.url, "origin": entry.origin,
        "keys": { "log": log, "node": node, "witness": witness },
        "proofs": { "log": proofs[0], "node": proofs[1], "witness": proofs[2] },
    })
}

fn everybody() -> Who {
    Who::Session(AccountRole::ALL.to_vec())
}

impl<R, S: Service<R, Response = ServiceResponse, Error = Error>> Served<S, R> {
    /// Registers somebody at the registrar, as a community's node does.
    async fn register(&self, seed: u8, community: &'static str) -> Person {
        let (enrolment, now) = (Uuid::from_u128(u128::from(seed) << 64 | 7 << 100), self.node.writer.now().secs());
        let body = application(seed, community, enrolment, now);
        let answer = self.good(&Who::Peer(community), "/v1/issuer/holders", body).await;
        let granted = answer["result"].clone();
        let holder = granted["holder"].as_str().unwrap().to_owned();
        Person { holder, enrolment, seed, granted, voucher: String::new(), token: String::new(), issued: String::new() }
    }

    /// Gives somebody a voucher, as the community's desk does.
    async fn issue(&self, person: &mut Person, voucher: &str) {
        let step = vp1::Step::Receive { community: ME.into(), programme: "ecg".into() };
        let shown = vp1::parse(&person.show(step, self.node.writer.now().secs())).unwrap();
        let presentation = Presentation { cose: shown.cose_bytes().to_vec(), assisted: None };
        let enrolment = serde_json::from_value(person.granted["enrolments"][0]["name"].clone()).unwrap();
        let issued = Step::Issued { enrolment, presentation };
        let id: VoucherId = voucher.parse().unwrap();
        let write = || self.node.writer.decide(Act::default(), |desk| desk.step(Role::Community, id, issued.clone()));
        let mut tries = 0..200;
        // The QR is made by the community's duty.
        let done = loop {
            match write() {
                Ok(done) => break done,
                Err(error) => assert!(tries.next().is_some(), "{error:?}"),
            }
            actix_web::rt::time::sleep(std::time::Duration::from_millis(50)).await;
        };
        person.issued = format!("{ME}.{}", done.records[0].index);
        let history = format!("/v1/vouchers/{voucher}/history");
        let told = self.ask(&everybody(), &Method::GET, &history, &Value::Null).await.1.to_string();
        let token = told.split('"').find(|text| text.starts_with("VQ1:")).unwrap();
        (person.voucher, person.token) = (voucher.to_owned(), token.to_owned());
    }
}

#[actix_web::test]
async fn what_is_somebody_else_s_is_refused_and_nothing_is_written() {
    // The ledger's threads outlive the test by a moment: their directory must too.
    let dir = std::mem::ManuallyDrop::new(tempfile::tempdir().unwrap());
    let node = node(dir.path(), &Role::ALL);
    let (served, openapi) = serve!(node);
    let (desk, second) = (everybody(), Who::Stranger(SECOND.1.to_owned()));
    let policy = json!({
        "programme": "ecg", "title_zh": "心电图", "title_en": "ECG", "service": "ecg", "issuing_department": "卫健委",
        "classes": ["elderly"], "validity_days": 30, "vouchers_per_holder": 2, "departments": ["cardiology"],
        "card_allowed": true,
    });
    served.good(&desk, "/v1/issuer/programmes", policy.clone()).await;
    let (status, asked) = served.ask(&desk, &Method::POST, "/v1/issuer/members", &join(dir.path(), OTHER)).await;
    assert_eq!(status, 202, "{asked}");
    let consent = format!("/v1/approvals/{}/consent", asked["approval"].as_str().unwrap());
    served.good(&second, &consent, json!({ "request": asked["request"] })).await;

    // Two of here, one of elsewhere; each of the two has a voucher, a third one lies at the other community.
    let mut anna = served.register(1, ME).await;
    let mut berta = served.register(2, ME).await;
    let far = served.register(3, OTHER).await;
    for person in [&anna, &berta] {
        served.good(&Who::Peer(ME), "/v1/voucher/holders", person.letter()).await;
    }
    served.good(&desk, "/v1/issuer/vouchers", json!({ "programme": "ecg", "count": 3 })).await;
    let mut sent = Vec::new();
    for community in [OTHER, ME, ME] {
        let one = json!({ "community": community, "programme": "ecg", "count": 1 });
        let receipt = served.good(&desk, "/v1/issuer/dispatches", one).await;
        let record = format!("/v1/records/{ME}.{}", receipt["result"]["first"]);
        let told = served.ask(&desk, &Method::GET, &record, &Value::Null).await.1["record"].to_string();
        let is_voucher = |text: &&str| text.starts_with(&format!("{ME}."));
        sent.push(told.split('"').find(is_voucher).unwrap_or_else(|| panic!("{told}")).to_owned());
    }
    let [at_other, here @ ..] = &sent[..] else { panic!("three were sent") };
    served.issue(&mut anna, &here[0]).await;
    served.issue(&mut berta, &here[1]).await;

    let now = served.node.writer.now();
    let rows = rows(&served, &anna, &berta, &far, at_other);
    let known: BTreeSet<String> = rows.iter().map(|row| format!("{} {}", row.method, row.pattern)).collect();
    let free: BTreeMap<&str, &str> = NOBODYS.iter().copied().collect();
    for (method, path, _) in operations(&openapi) {
        let what = format!("{method} {path}");
        let for_anyone = matches!(access(&method, &path), Some(Access::Anyone | Access::SignIn | Access::SignedIn));
        let classified = u8::from(known.contains(&what)) + u8::from(free.contains_key(&*what)) + u8::from(for_anyone);
        assert_eq!(classified, 1, "{what}: say whose objects it is about, in rows() or in NOBODYS");
    }

    let mut wrong = String::new();
    for row in rows {
        let (size, method) = (served.size(), row.method.parse().unwrap());
        let path = filled(row.pattern, &row.name) + &row.query;
        let (mut status, mut answer) = served.ask(&row.who, &method, &path, &row.body).await;
        if status == 202 {
            // It waits for a second person; what is asked for is looked at when it is done.
            let consent = format!("/v1/approvals/{}/consent", answer["approval"].as_str().unwrap());
            let body = json!({ "request": answer["request"] });
            (status, answer) = served.ask(&second, &Method::POST, &consent, &body).await;
        }
        let code = answer["code"].as_str().unwrap_or_default();
        let written = served.size() - size;
        if (status, code) != row.answer || written != u64::from(NOTED.contains(&row.pattern)) {
            let (who, expected, detail) = (row.who, row.answer, &answer["detail"]);
            wrong +=
                &format!("{method} {path} by {who:?}: {status} {code} for {expected:?}, {written} records, {detail}\n");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");

    // The same requests, of whom they are for, come further.
    let (hers, start) = (&anna.voucher, now + Millis::days(2));
    let cancel = vp1::Step::Cancel { audience: ME.into(), voucher: named(hers) };
    let booking = json!({
        "voucher": hers, "hospital": ME, "department": "cardiology", "doctor": "d-1", "start": start,
    });
    let own: [(&str, String, Value, (u16, &str)); 8] = [
        ("GET", format!("/v1/wallet/slots?voucher={hers}"), Value::Null, (200, "")),
        ("POST", "/v1/wallet/checks".into(), json!({ "voucher": hers }), (201, "")),
        ("POST", "/v1/wallet/bookings".into(), booking, (503, "peer-unreachable")),
        ("POST", "/v1/wallet/uses".into(), json!({ "voucher": hers }), (409, "not-booked")),
        (
            "POST",
            format!("/v1/wallet/bookings/{hers}/cancellation"),
            json!({ "qr": anna.show(cancel, now.secs()) }),
            (409, "not-booked"),
        ),
        (
            "PUT",
            "/v1/wallet/profile".into(),
            json!({ "document_type": "passport", "document_number": "E1234501", "tokens": [anna.token] }),
            (201, ""),
        ),
        ("GET", "/v1/wallet".into(), Value::Null, (200, "")),
        ("GET", format!("/v1/wallet/proofs/{}", anna.issued), Value::Null, (200, "")),
    ];
    for (method, path, body, expected) in own {
        let (status, answer) = served.ask(&Who::Holder(1), &method.parse().unwrap(), &path, &body).await;
        let code = answer["code"].as_str().unwrap_or_default();
        assert_eq!((status, code), expected, "{method} {path}: {answer}");
    }
}

/// Every route that is about somebody's object, asked by somebody else.
fn rows<S, R>(served: &Served<S, R>, anna: &Person, berta: &Person, far: &Person, at_other: &str) -> Vec<Row> {
    let now = served.node.writer.now();
    let (secs, start) = (now.secs(), now + Millis::days(2));
    let mut rows = Vec::new();
    let mut row = |who: &Who, method, pattern, name: &str, query: &str, body, answer| {
        let (name, query) = (name.to_owned(), query.to_owned());
        rows.push(Row { who: who.clone(), method, pattern, name, query, body, answer });
    };
    let none = || json!({});

    // A phone, about another holder's voucher.
    let phone_b = Who::Holder(berta.seed);
    let hers = anna.voucher.as_str();
    let unknown = (404, "not-found");
    let cancel = || {
        let step = vp1::Step::Cancel { audience: ME.into(), voucher: named(hers) };
        json!({ "qr": berta.show(step, secs) })
    };
    let place = json!({ "hospital": ME, "department": "cardiology", "doctor": "d-1", "start": start });
    let and = |one: &Value, more: Value| {
        let mut all = one.clone();
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    };
    let profile = json!({ "document_type": "passport", "document_number": "E1234502", "tokens": [anna.token] });
    row(&phone_b, "GET", "/v1/wallet/results/{voucher}", hers, "", none(), unknown);
    row(&phone_b, "PUT", "/v1/wallet/profile", "", "", profile, unknown);
    row(&phone_b, "POST", "/v1/wallet/checks", "", "", json!({ "voucher": hers }), unknown);
    row(&phone_b, "GET", "/v1/wallet/slots", "", &format!("?voucher={hers}"), none(), unknown);
    row(&phone_b, "POST", "/v1/wallet/bookings", "", "", and(&place, json!({ "voucher": hers })), unknown);
    row(&phone_b, "POST", "/v1/wallet/bookings/{voucher}/cancellation", hers, "", cancel(), unknown);
    row(&phone_b, "POST", "/v1/wallet/bookings/{voucher}/move", hers, "", and(&place, cancel()), unknown);
    row(&phone_b, "POST", "/v1/wallet/uses", "", "", json!({ "voucher": hers }), unknown);
    row(&phone_b, "POST", "/v1/wallet/disputes", "", "", and(&cancel(), json!({ "voucher": hers })), unknown);
    let key = phone(anna.seed).public();
    let claims = vp1::Claims { kid: key.key_id(), iat: secs, cti: rand::random(), step: vp1::Step::Register { key } };
    let announced = json!({ "main_key": vp1::sign(&claims, &phone(anna.seed)).unwrap(), "enrolment_keys": {} });
    row(&phone_b, "POST", "/v1/community/registrations", "", "", announced.clone(), (401, "unauthenticated"));
    // Signed by one phone, with the main key of another.
    let text = announced.to_string();
    let request = vp1::request_digest("POST", "/v1/community/registrations", text.as_bytes());
    let step = vp1::Step::Wallet { audience: ME.into(), request };
    let (kid, cti) = (phone(berta.seed).public().key_id(), rand::random());
    let signature = vp1::sign(&vp1::Claims { kid, iat: secs, cti, step }, &phone(berta.seed)).unwrap();
    let passed_on = json!({ "announcement": text, "signature": signature });
    let to_me = and(&passed_on, json!({ "community": ME }));
    row(&phone_b, "POST", "/v1/wallet/registrations", "", "", to_me, (401, "unauthenticated"));
    row(&Who::Peer(OTHER), "POST", "/v1/community/announcements", "", "", passed_on, (401, "unauthenticated"));
    // The proof of the record that gave somebody else a voucher.
    row(&phone_b, "GET", "/v1/wallet/proofs/{position}", &anna.issued, "", none(), unknown);

    // Another institution's node, about people and vouchers of this one.
    let peer = Who::Peer(OTHER);
    let (person, slot) = (anna.holder.as_str(), and(&place, json!({ "end": start + Millis::minutes(30) })));
    let details = json!({ "salt": vec![7_u8; 32], "voucher": hers, "slot": slot });
    let examination = json!({ "performer": "d-1", "started_at": start, "ended_at": start, "items": [] });
    let evidence =
        json!({ "salt": vec![7_u8; 32], "voucher": hers, "department": "cardiology", "examination": examination });
    let record = anna.granted["enrolments"][0]["name"].clone();
    let opening = json!({ "salt": vec![7_u8; 32], "voucher": hers, "step": "cancel", "slot": null });
    let more = json!({ "enrolment_ids": { "ecg": Uuid::nil() }, "enrolment_keys": {} });
    let card = json!({ "card": Uuid::nil(), "keys": {} });
    let stolen = application(9, ME, Uuid::nil(), secs);
    let (not_theirs, not_yours) = ((404, "holder-unknown"), (403, "forbidden"));
    row(&peer, "POST", "/v1/issuer/holders", "", "", stolen, (403, "forbidden"));
    row(&peer, "GET", "/v1/issuer/holders/{holder}", person, "", none(), not_theirs);
    row(&peer, "POST", "/v1/issuer/holders/{holder}/enrolments", person, "", more, not_yours);
    row(&peer, "POST", "/v1/issuer/holders/{holder}/block", person, "", json!({ "reason": "died" }), not_yours);
    row(&peer, "POST", "/v1/issuer/holders/{holder}/key", person, "", json!({ "main_key": null }), not_yours);
    row(&peer, "POST", "/v1/issuer/holders/{holder}/card", person, "", card, not_yours);
    row(
        &peer,
        "POST",
        "/v1/issuer/holders/{holder}/move",
        person,
        "",
        json!({ "community": OTHER, "voucher_module": OTHER }),
        not_yours,
    );
    let letter = json!({ "voucher": hers, "booking": details, "evidence": evidence });
    row(&peer, "POST", "/v1/issuer/claims/openings", "", "", letter, unknown);
    row(&peer, "POST", "/v1/hospital/openings", "", "", json!({ "details": details }), (403, "forbidden"));
    row(&peer, "POST", "/v1/voucher/holders", "", "", anna.letter(), (409, "enrolment-elsewhere"));
    row(
        &peer,
        "POST",
        "/v1/voucher/help",
        "",
        "",
        json!({ "record": record, "opening": opening, "cancel": null }),
        (403, "forbidden"),
    );
    let result = json!({ "voucher": hers, "text": "x", "items": [] });
    // The record of a visit there may be on its way: the letter waits, and is not taken.
    row(&peer, "POST", "/v1/voucher/results", "", "", result, (503, "waiting"));
    row(&peer, "POST", "/v1/voucher/erasures", "", "", json!({ "holder": person }), (403, "forbidden"));
    // Who is not here is forgotten already.
    row(&peer, "POST", "/v1/community/erasures", "", "", json!({ "holder": person }), (201, ""));

    // A desk of this institution, about what is another institution's.
    let desk = everybody();
    let foreign = format!("{OTHER}.{SOME_ID}");
    let theirs = json!({ "voucher": foreign });
    let reason = |reason: &str| and(&theirs, json!({ "reason": reason }));
    let kept = and(&reason("x"), json!({ "superseded": record }));
    row(
        &desk,
        "POST",
        "/v1/issuer/programmes/{short}/changes",
        "theirs",
        "",
        json!({
            "programme": "theirs", "title_zh": "心电图", "title_en": "ECG", "service": "ecg", "issuing_department": "卫健委",
            "classes": ["elderly"], "validity_days": 30, "vouchers_per_holder": 2, "departments": ["cardiology"],
            "card_allowed": true,
        }),
        (409, "programme-unknown"),
    );
    row(&desk, "POST", "/v1/issuer/voids", "", "", reason("mistake"), unknown);
    row(&desk, "POST", "/v1/issuer/reclaims", "", "", theirs.clone(), unknown);
    row(&desk, "POST", "/v1/issuer/handovers", "", "", theirs.clone(), unknown);
    row(&desk, "POST", "/v1/issuer/claims/{voucher}/settlement", &foreign, "", none(), unknown);
    let rejection = json!({ "reason": "opening-missing", "is_final": false });
    row(&desk, "POST", "/v1/issuer/claims/{voucher}/rejection", &foreign, "", rejection, unknown);
    row(&desk, "POST", "/v1/issuer/reversals", "", "", and(&reason("fraud"), json!({ "void": false })), unknown);
    row(&desk, "POST", "/v1/issuer/resolutions", "", "", reason("mistake"), unknown);
    row(&desk, "POST", "/v1/issuer/compensations", "", "", kept, unknown);
    let theirs_here = json!({ "document_type": "passport", "document_number": "E1234503" });
    let (far_away, unlisted) = (far.holder.as_str(), (404, "resident-unknown"));
    row(&desk, "POST", "/v1/community/residents/removals", "", "", theirs_here.clone(), unlisted);
    row(&desk, "POST", "/v1/community/desk/resident", "", "", theirs_here.clone(), unlisted);
    row(&desk, "POST", "/v1/community/desk/person", "", "", theirs_here, not_theirs);
    let identify = json!({ "qr": far.show(vp1::Step::Identify, secs) });
    row(&desk, "POST", "/v1/community/desk/identify", "", "", identify, not_theirs);
    let receive = vp1::Step::Receive { community: ME.into(), programme: "ecg".into() };
    let receive = json!({ "qr": far.show(receive, secs) });
    row(&desk, "POST", "/v1/community/desk/issue", "", "", receive, not_theirs);
    let card = actors::token::vc1::Card::generate(&mut rand::rng());
    let help =
        json!({ "card": *card.text(), "voucher": hers, "step": "cancel", "slot": null, "assist_reason": "no-phone" });
    row(&desk, "POST", "/v1/community/desk/help", "", "", help, (409, "card-unknown"));
    let thumbprint = hex::encode(phone(far.seed).public().thumbprint());
    let key = phone(far.seed).public();
    let claims = vp1::Claims { kid: key.key_id(), iat: secs, cti: rand::random(), step: vp1::Step::Register { key } };
    let qr = vp1::sign(&claims, &phone(far.seed)).unwrap();
    let form = json!({ "document_type": "passport", "document_number": "E1234503", "qr": qr });
    row(&desk, "POST", "/v1/community/registrations/{thumbprint}/completion", &thumbprint, "", form, unlisted);
    row(&desk, "POST", "/v1/community/cards", "", "", json!({ "holder": far_away }), not_theirs);
    row(&desk, "GET", "/v1/community/cards/{lookup_number}", &card.lookup_number(), "", none(), unknown);
    row(&desk, "POST", "/v1/community/holders/{holder}/block", far_away, "", json!({ "reason": "died" }), not_theirs);
    row(&desk, "POST", "/v1/community/holders/{holder}/phone", far_away, "", json!({ "main_key": null }), not_theirs);
    row(&desk, "POST", "/v1/community/holders/{holder}/enrolments", far_away, "", json!({}), not_theirs);
    row(
        &desk,
        "POST",
        "/v1/community/returns",
        "",
        "",
        json!({ "vouchers": [at_other], "reason": "leaving" }),
        (409, "not-custodian"),
    );
    row(&desk, "POST", "/v1/community/erasures", "", "", json!({ "holder": far_away }), not_theirs);
    let arrive = vp1::Step::Arrive { audience: ME.into(), voucher: named(hers) };
    let arrival = json!({ "personal_qr": anna.show(arrive, secs), "voucher_qr": anna.token });
    row(&desk, "POST", "/v1/hospital/visits", "", "", arrival, (409, "not-booked"));
    let not_here = (409, "not-booked");
    row(&desk, "POST", "/v1/hospital/bookings/{voucher}/release", hers, "", json!({ "reason": "unable" }), not_here);
    row(&desk, "POST", "/v1/hospital/bookings/{voucher}/no-show", hers, "", none(), not_here);
    row(
        &desk,
        "POST",
        "/v1/hospital/visits/{voucher}/abort",
        hers,
        "",
        json!({ "reason": "unable" }),
        (409, "wrong-state"),
    );
    let complete = vp1::Step::Complete { audience: ME.into(), voucher: named(hers) };
    let done = json!({ "personal_qr": anna.show(complete, secs), "examination": examination });
    row(&desk, "POST", "/v1/hospital/visits/{voucher}/completion", hers, "", done, (409, "wrong-state"));
    row(&desk, "POST", "/v1/hospital/claims/{voucher}/answer", hers, "", none(), (409, "wrong-state"));

    // A person, about another person's token and request.
    let accounts = &served.node.accounts;
    let li = accounts.named("li").unwrap().id;
    let (_, token) = accounts.issue_token(li, "li's", &[Permission::ReadStock], now + Millis::hours(1), now).unwrap();
    let consent = json!({ "request": "00".repeat(32) });
    let clerk = Who::Session(vec![AccountRole::CommunityClerk]);
    row(&clerk, "DELETE", "/v1/tokens/{id}", &token.id.to_string(), "", none(), unknown);
    planted::session(accounts, "li", AccountRole::ALL, now);
    let session = accounts.sessions(li, now).first().unwrap().id.to_string();
    row(&clerk, "DELETE", "/v1/sessions/{id}", &session, "", none(), unknown);
    row(&desk, "POST", "/v1/approvals/{id}/consent", SOME_ID, "", consent.clone(), unknown);
    row(&desk, "POST", "/v1/approvals/{id}/refusal", SOME_ID, "", consent, unknown);
    rows
}
