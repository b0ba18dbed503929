//! Requests, fed with changed bytes (tests/fuzz): addresses, headers and bodies, at a node that plays every role.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use actix_web::App;
use actix_web::body::to_bytes;
use actix_web::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode, Uri};
use actix_web::rt::System;
use actix_web::test::{TestRequest, call_service, init_service};
use actix_web::web::Data;
use domain::member::Role;
use domain::reasons::Reason;
use fuzz::{Said, Target};
use serde_json::{Value, json};
use utoipa::OpenApi as _;
use utoipa_actix_web::AppExt as _;

use super::methods::{Allowed, nothing_here};
use super::planted::signed;
use super::wallet::tests::node;
use crate::accounts::planted::{CLERK, PASSWORD};
use crate::api;
use crate::node::Node;

/// Answers a request: the status, and the code of a problem.
type Ask = Rc<RefCell<dyn FnMut(TestRequest) -> Said>>;

/// A node that answers requests; whatever is sent, the answer is a good one or a problem of the list.
fn served() -> (Ask, Data<Node>) {
    let system = System::new();
    // The ledger's threads outlive the test by a moment: their directory must too.
    let dir = std::mem::ManuallyDrop::new(tempfile::tempdir().unwrap());
    let (app, node) = system.block_on(async {
        let node = node(dir.path(), &Role::ALL);
        let app = App::new().app_data(node.clone()).into_utoipa_app().openapi(api::ApiDoc::openapi());
        let (app, openapi) = app.configure(api::configure).split_for_parts();
        let app = app.configure(api::extractors).app_data(Data::new(Allowed::by(&openapi)));
        (init_service(app.default_service(actix_web::web::to(nothing_here))).await, node)
    });
    let ask: Ask = Rc::new(RefCell::new(move |request: TestRequest| {
        system.block_on(async {
            let response = call_service(&app, request.to_request()).await;
            let (status, kind) = (response.status(), response.headers().get(CONTENT_TYPE).cloned());
            let body = to_bytes(response.into_body()).await.unwrap();
            if status.is_success() || status.is_redirection() {
                return Ok(());
            }
            let said = String::from_utf8_lossy(&body);
            assert!(!status.is_server_error() || status == StatusCode::SERVICE_UNAVAILABLE, "{status} {said}");
            assert_eq!(kind, Some(HeaderValue::from_static("application/problem+json")), "{status} {said}");
            let problem: Value = serde_json::from_slice(&body).unwrap();
            let code = problem["code"].as_str().unwrap();
            let reason = Reason::ALL.iter().find(|reason| reason.code() == code).expect("a code of the list");
            assert_eq!(reason.kind().status(), status.as_u16(), "{said}");
            Err(code.to_owned())
        })
    }));
    (ask, node)
}

const VOUCHER: &str = "xuanwu.6f0b6a6e-5a0e-4f6c-9b7e-0c1d2e3f4a5b";

fn addresses(ask: &Ask) -> Target {
    let ask = ask.clone();
    let good = [
        "/v1/records/xuanwu.0".to_owned(),
        "/v1/records/xuanwu.0/proof".to_owned(),
        format!("/v1/issuer/vouchers?stage=generated&programme=ecg&limit=5&cursor={VOUCHER}"),
        format!("/v1/issuer/claims?stage=claimed&limit=5&cursor={VOUCHER}"),
        format!("/v1/community/stock/vouchers?programme=ecg&limit=5&cursor={VOUCHER}"),
        format!("/v1/hospital/visits?limit=9&cursor=0.{VOUCHER}"),
        "/v1/hospital/bookings?day=2026-03-02".to_owned(),
        "/v1/hospital/slots?department=imaging&from=2026-03-02T00:00:00Z&until=2026-03-09T00:00:00Z&limit=5".to_owned(),
        "/v1/hospital/slots?department=imaging&cursor=1772409600000.imaging.d-1".to_owned(),
        "/v1/hospital/schedules?limit=5&cursor=7".to_owned(),
        "/v1/audit/findings?limit=5&cursor=xuanwu.7".to_owned(),
        "/v1/issuer/statistics?from=2026-01-01&until=2026-01-31".to_owned(),
        "/v1/issuer/statistics/publications?limit=5".to_owned(),
        "/log/tile/0/000.p/1".to_owned(),
        "/log/tile/entries/000.p/1".to_owned(),
        "/mirrors/xuanwu/checkpoint".to_owned(),
        "/v1/accounts".to_owned(),
    ];
    let other = [
        format!("/v1/vouchers/{VOUCHER}/history"),
        format!("/v1/vouchers/{VOUCHER}/qr.png?dots=4"),
        "/v1/community/cards/490314286148".to_owned(),
        "/v1/issuer/holders/6f0b6a6e-5a0e-4f6c-9b7e-0c1d2e3f4a5b".to_owned(),
        format!("/v1/audit/evidence/{}", "00ff".repeat(16)),
        format!("/v1/issuer/statistics/tables/{}", "00ff".repeat(16)),
        "/mirrors/nobody/tile/0/x001/067".to_owned(),
        format!("/v1/wallet/results/{VOUCHER}"),
    ];
    let run = move |bytes: &[u8]| {
        let path = if bytes.starts_with(b"/") { bytes.to_vec() } else { [b"/", bytes].concat() };
        let Ok(uri) = Uri::try_from(path) else { return Err("no address".into()) };
        if uri.path_and_query().is_none() || uri.query().unwrap_or_default().contains("wait_secs") {
            return Err("no address".into());
        }
        ask.borrow_mut()(TestRequest::get().uri(&uri.to_string()).insert_header(CLERK))
    };
    Target::new("address", good, run)
        .beside(other)
        .words(["/", "?", "&", "=", "%", "%00", "%2F", "%2e%2e/", "limit=", "cursor=", "from=", "0.", "/../", "%F0%9F"])
        .max_bytes(4_096)
        .may_take(Duration::from_secs(3), 256)
        .shares(3)
}

/// A node's signature that nobody made.
const SIGNED: &str = "signature-input: node=(\"@method\" \"@path\" \"@query\" \"audience\" \"content-digest\" \
    \"content-type\" \"idempotency-key\");created=1772409600;nonce=\"00112233445566778899aabbccddeeff\"\
    ;keyid=\"xuanwu\";alg=\"ed25519\";tag=\"voucher-node\"\nsignature: node=:AAAA:\naudience: xuanwu\n\
    content-digest: sha-256=:AAAA:\n";

fn headers(ask: &Ask) -> Target {
    let ask = ask.clone();
    let json = "content-type: application/json; charset=utf-8\nidempotency-key: a\n";
    let bearer = "authorization: Bearer vns_li\n";
    let good = [
        format!("{bearer}{json}accept-language: zh-CN,en;q=0.5, *;q=0.1\n"),
        format!("{bearer}{json}content-encoding: identity\naccept-encoding: gzip\ncontent-length: 2\n"),
        format!("{bearer}{json}x-csrf-token: vnc_x\ncookie: a=b; c=d\nif-none-match: x\n"),
    ];
    let other = [
        format!("{SIGNED}{json}"),
        format!("cookie: __Host-voucher-session=vns_li\nx-csrf-token: vnc_x\n{json}"),
        format!("authorization: VP1 VP1:6BFOXN\n{json}"),
        format!("authorization: Bearer vnt_x\n{json}"),
    ];
    let run = move |bytes: &[u8]| {
        let mut request = TestRequest::post().uri("/v1/audit/check").set_payload("{\"text\":\"VQ1:\"}");
        for line in bytes.split(|byte| *byte == b'\n') {
            let at = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
            let (name, value) = (&line[..at], line.get(at + 1..).unwrap_or_default().trim_ascii());
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
                request = request.append_header((name, value));
            }
        }
        ask.borrow_mut()(request)
    };
    Target::new("headers", good, run)
        .beside(other)
        .words([
            "q=",
            ";q=NaN",
            ";q=inf",
            ";q=-1",
            "zh",
            "Bearer ",
            "VP1 ",
            ";",
            ",",
            ": ",
            "\n",
            "node=",
            ";created=",
            ";nonce=",
            "(\"@method\")",
        ])
        .max_bytes(8_192)
        .may_take(Duration::from_secs(3), 256)
        .shares(2)
}

/// Bodies that each route reads, good ones where that is possible at a node that knows nobody.
fn asked() -> Vec<(&'static str, Value)> {
    let (uuid, digest) = ("6f0b6a6e-5a0e-4f6c-9b7e-0c1d2e3f4a5b", "00ff".repeat(16));
    let base64 = |bytes: usize| ledger::note::to_base64(&vec![7; bytes]);
    let three = |bytes: usize| json!({ "log": base64(bytes), "node": base64(bytes), "witness": base64(bytes) });
    let person = json!({
        "document_type": "resident-id", "document_number": "11010519491231002X", "name": "王秀英", "born": "1949-12-31",
        "sex": "F", "phone": "13900001234", "class": "elderly",
    });
    let with = |more: Value| {
        let mut all = person.clone();
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    };
    let policy = json!({
        "programme": "ecg", "title_zh": "心电图", "title_en": "ECG", "service": "ecg", "issuing_department": "卫健委",
        "classes": ["elderly"], "validity_days": 30, "vouchers_per_holder": 2, "departments": ["cardiology"],
        "card_allowed": true,
    });
    let hours = json!({
        "department": "imaging", "department_name": "影像", "doctor": "d-1", "doctor_name": "周", "weekday": "Mon",
        "start": "08:00", "end": "12:00", "slot_minutes": 30, "capacity": 1,
    });
    let join = json!({
        "institution": "gulou", "roles": ["hospital"], "url": "http://127.0.0.1:2", "origin": "test/gulou",
        "keys": three(32), "proofs": three(64),
    });
    let slot = json!({
        "hospital": "xuanwu", "department": "imaging", "doctor": "d-1", "start": "2026-03-02T00:00:00Z",
        "end": "2026-03-02T00:30:00Z",
    });
    let item = json!({ "code": "ecg", "done": true, "result": "x" });
    let examination = json!({
        "performer": "d-1", "started_at": "2026-03-02T00:00:00Z", "ended_at": "2026-03-02T00:00:00Z", "items": [item],
    });
    let details = json!({ "salt": vec![7_u8; 32], "voucher": VOUCHER, "slot": slot });
    vec![
        ("/v1/issuer/members", join),
        ("/v1/issuer/members/xuanwu/changes", json!({ "roles": ["issuer"], "url": "http://a" })),
        ("/v1/issuer/members/xuanwu/log-succession", json!({ "origin": "a", "size": 1, "root": digest })),
        ("/v1/issuer/parameters", json!({})),
        ("/v1/issuer/programmes", policy.clone()),
        ("/v1/issuer/programmes/ecg/changes", policy),
        (
            "/v1/issuer/holders",
            with(json!({ "community": "xuanwu", "voucher_module": "xuanwu", "enrolment_keys": {} })),
        ),
        ("/v1/issuer/vouchers", json!({ "programme": "ecg", "count": 2 })),
        ("/v1/issuer/dispatches", json!({ "community": "xuanwu", "programme": "ecg", "count": 1 })),
        ("/v1/issuer/voids", json!({ "voucher": VOUCHER, "reason": "mistake" })),
        ("/v1/issuer/reversals", json!({ "voucher": VOUCHER, "reason": "x" })),
        ("/v1/issuer/statistics/publications", json!({ "from": "2026-01-01", "until": "2026-01-02" })),
        ("/v1/community/residents", json!({ "residents": [with(json!({ "smartphone": true }))] })),
        ("/v1/community/residents/removals", json!({ "document_type": "passport", "document_number": "E1" })),
        ("/v1/community/desk/resident", json!({ "document_type": "passport", "document_number": "E1", "whole": true })),
        ("/v1/community/desk/identify", json!({ "qr": "VP1:6BF" })),
        ("/v1/community/desk/issue", json!({ "qr": "VP1:6BF" })),
        ("/v1/community/registrations/without-phone", person),
        ("/v1/community/cards", json!({ "holder": uuid })),
        ("/v1/community/returns", json!({ "vouchers": [VOUCHER], "reason": "leaving" })),
        ("/v1/hospital/schedules", json!({ "hours": [hours] })),
        ("/v1/hospital/checks", json!({ "voucher": VOUCHER })),
        ("/v1/hospital/visits", json!({ "personal_qr": "VP1:6BF", "voucher_qr": "VQ1:6BF" })),
        (
            "/v1/hospital/visits/xuanwu.6f0b6a6e-5a0e-4f6c-9b7e-0c1d2e3f4a5b/completion",
            json!({ "personal_qr": "VP1:6BF", "examination": examination }),
        ),
        ("/v1/start/longest", json!({ "origin": "test/xuanwu" })),
        ("/v1/audit/check", json!({ "text": "VQ1:6BF" })),
        ("/v1/sessions", json!({ "name": "chen", "password": PASSWORD })),
        ("/v1/sessions/password", json!({ "current": "x", "new": "some other words" })),
        ("/v1/tokens", json!({ "label": "importer", "scope": ["read-stock"], "expires_in_secs": 60 })),
        ("/v1/accounts", json!({ "name": "chen", "roles": ["reader"] })),
        ("/v1/hospital/openings", json!({ "details": details })),
        ("/v1/voucher/erasures", json!({ "holder": uuid })),
        ("/v1/voucher/results", json!({ "voucher": VOUCHER, "text": "", "items": [] })),
    ]
}

fn bodies(ask: &Ask, node: &Data<Node>) -> Target {
    let (ask, node) = (ask.clone(), node.clone());
    let routes = asked();
    // The first byte says which route a body is for.
    let body = |(route, (_, body)): (u8, &(&str, Value))| [&[route][..], body.to_string().as_bytes()].concat();
    let seeds: Vec<Vec<u8>> = (0..).zip(&routes).map(body).collect();
    let mut key = 0_u64;
    let run = move |bytes: &[u8]| {
        let Some((route, body)) = bytes.split_first() else { return Err("empty".into()) };
        let (path, _) = &routes[usize::from(*route) % routes.len()];
        key += 1;
        let letter = ["/v1/hospital/openings", "/v1/voucher/"].iter().any(|of| path.starts_with(of));
        let request = TestRequest::default().method(Method::POST).uri(path);
        let request = request.insert_header((CONTENT_TYPE, "application/json"));
        let key = key.to_string();
        let request = request.insert_header(("Idempotency-Key", key.as_str())).set_payload(body.to_vec());
        let request = if letter {
            let headers = signed(&node, "xuanwu", &Method::POST, path, Some((&key, body)));
            headers.into_iter().fold(request, TestRequest::insert_header)
        } else {
            request.insert_header(CLERK)
        };
        ask.borrow_mut()(request)
    };
    Target::new("body", ["\u{18}{\"origin\":\"a\"}"], run)
        .beside(seeds)
        .words([
            "null",
            "[]",
            "{}",
            "\"\"",
            ",",
            ":",
            "\\u0000",
            "1e99",
            "-1",
            "18446744073709551616",
            "[[[[",
            "\"x\":1,",
        ])
        .max_bytes(8_192)
        .may_take(Duration::from_secs(5), 512)
        .shares(6)
}

#[test]
fn no_request_is_answered_by_a_failure() {
    let all = || {
        let (ask, node) = served();
        vec![addresses(&ask), headers(&ask), bodies(&ask, &node)]
    };
    fuzz::run(module_path!(), "no_request_is_answered_by_a_failure", all);
}
