//! The hospital's REST on one node that plays every role, with a ledger on disk: a visit from schedule to claim.

use std::sync::Arc;

use actix_web::body::to_bytes;
use actix_web::dev::{Service, ServiceResponse};
use actix_web::http::Method;
use actix_web::test::{TestRequest, call_service, init_service};
use actix_web::web::Data;
use actix_web::{App, Error};
use actors::openings::digest_of;
use actors::replica;
use actors::token::{HolderKey, VoucherName, vp1, vq1};
use actors::writer::Act;
use domain::booking::{BookingDetails, Slot};
use domain::holder::RegistrarEvent;
use domain::ids::{EnrolmentId, InstitutionId, RecordName, VoucherId};
use domain::lifecycle::{Stage, Step};
use domain::member::Role;
use domain::policy::{Class, Policy, ProgrammeEvent};
use domain::record::{Body, Presentation};
use domain::time::{Millis, Timestamp};
use serde_json::{Value, json};
use utoipa_actix_web::AppExt as _;
use uuid::Uuid;

use crate::accounts::planted;
use crate::api;
use crate::api::planted::{Who, request};
use crate::clock::NodeClock;
use crate::config::{AccountRules, Config, Http, Peers, Registrar, Store};
use crate::keys::NodeKeys;
use crate::node::Node;
use crate::peers::client::PeerClient;

const ME: &str = "gulou";
const ENROLMENT: Uuid = Uuid::from_u128(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10);

/// Everything of a town in one institution.
struct Everyone {
    node: Data<Node>,
    phone: HolderKey,
    cti: std::cell::Cell<u64>,
}

fn me() -> InstitutionId {
    ME.parse().unwrap()
}

impl Everyone {
    fn new(dir: &std::path::Path) -> Self {
        // The registry knows every role; only these two run, so that the others' duties are the test's.
        let config = Config {
            version: 1,
            institution: me(),
            roles: vec![Role::Hospital, Role::Auditor],
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
            registrar: Registrar {
                institution: me(),
                url: "http://127.0.0.1:1".into(),
                log_vkey: String::new(),
                history: None,
            },
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
        let (writer, keys, _): (_, NodeKeys, _) = crate::server::open(&config, clock.clone()).unwrap();
        let entry = keys.entry(me(), &Role::ALL, &config.http.url, &config.origin());
        let accounts = planted::accounts(me(), dir, writer.now());
        let client = PeerClient::new(&config, &keys, writer.clone()).unwrap();
        let mut node = Node::new(config, writer, clock, keys, client, accounts);
        crate::roles::start(&mut node);
        node.allow_writing();
        let phone = HolderKey::ed25519(&[7; 32]);
        let everyone = Self { node: Data::new(node), phone, cti: std::cell::Cell::new(0) };
        everyone.write(Body::Registrar(RegistrarEvent::MemberRegistered(entry)));
        everyone
    }

    fn now(&self) -> Timestamp {
        self.node.writer.now()
    }

    fn write(&self, body: Body) -> RecordName {
        self.node.writer.decide(Act::default(), |desk| desk.write(Role::Issuer, body)).unwrap().answer
    }

    fn step(&self, role: Role, voucher: VoucherId, step: Step) {
        self.node.writer.decide(Act::default(), |desk| desk.step(role, voucher, step)).unwrap();
    }

    fn stage(&self, voucher: VoucherId) -> Stage {
        self.node.writer.read(|work| work.voucher(voucher).unwrap().state().unwrap().stage).answer
    }

    /// A VP1 of the holder, signed some seconds ago.
    fn show(&self, step: vp1::Step, secs_ago: i64) -> String {
        self.cti.set(self.cti.get() + 1);
        let mut kid = [0; 8];
        kid.copy_from_slice(&ENROLMENT.as_bytes()[..8]);
        let (cti, iat) = (self.cti.get().to_be_bytes(), self.now().secs() - secs_ago);
        vp1::sign(&vp1::Claims { kid, iat, cti, step }, &self.phone).unwrap()
    }

    fn arrive(&self, voucher: VoucherId, secs_ago: i64) -> String {
        self.show(vp1::Step::Arrive { audience: ME.into(), voucher: named(voucher) }, secs_ago)
    }

    /// A voucher whose holder has it, and its QR.
    fn issued(&self) -> (VoucherId, String) {
        let policy = Policy {
            programme: "heart".parse().unwrap(),
            title_zh: "心脏检查".into(),
            title_en: "Heart".into(),
            service: "ecg".parse().unwrap(),
            issuing_department: "市卫健委".into(),
            classes: vec![Class::Elderly],
            validity_days: 30,
            vouchers_per_holder: 1,
            departments: vec!["cardiology".parse().unwrap()],
            card_allowed: true,
        };
        let programme = self.write(Body::Programme(ProgrammeEvent::Published(policy)));
        let key = Some(replica::holder_key(&self.phone.public()));
        let (community, voucher_module) = (me(), me());
        let enrolled =
            RegistrarEvent::Enrolled { id: EnrolmentId(ENROLMENT), key, programme, community, voucher_module };
        let enrolment = self.write(Body::Registrar(enrolled));
        let voucher = VoucherId { issuer: me(), uuid: Uuid::from_u128(42) };
        let (valid_from, valid_until) = (self.now() - Millis::days(1), self.now() + Millis::days(29));
        self.step(Role::Issuer, voucher, Step::Generated { programme, valid_from, valid_until });
        self.step(Role::Issuer, voucher, Step::Sent { community });
        let claims = vq1::Claims {
            community: ME.into(),
            voucher: named(voucher),
            service: "ecg".into(),
            not_before: valid_from.secs(),
            expires: valid_until.secs(),
            iat: self.now().secs(),
        };
        let token = vq1::sign(&claims, &self.node.keys.node_key()).unwrap();
        self.step(Role::Community, voucher, Step::Encoded { token: token.clone() });
        let receive = vp1::Step::Receive { community: ME.into(), programme: "heart".into() };
        let presentation = presentation(&self.show(receive, 0));
        self.step(Role::Community, voucher, Step::Issued { enrolment, presentation });
        (voucher, token)
    }

    fn request(&self, voucher: VoucherId, slot: Slot) -> BookingDetails {
        let details = BookingDetails { salt: [9; 32], voucher, slot };
        let until = self.node.writer.read(|work| work.voucher(voucher).unwrap().state().unwrap().valid_until).answer;
        let booked = Step::Booked {
            hospital: me(),
            details: digest_of(&details),
            respond_by: details.slot.end,
            use_from: details.slot.use_from(),
            use_by: details.slot.use_by(until),
        };
        self.step(Role::Voucher, voucher, booked);
        details
    }
}

fn named(voucher: VoucherId) -> VoucherName {
    VoucherName { issuer: voucher.issuer.to_string(), id: voucher.uuid }
}

fn presentation(text: &str) -> Presentation {
    Presentation { cose: vp1::parse(text).unwrap().cose_bytes().to_vec(), assisted: None }
}

const CLERK: Who = Who::Header(planted::CLERK);
const MODULE: Who = Who::Peer(ME);

/// The served routes of a node, and how a request for them is finished.
struct Caller<S, R>(S, fn(TestRequest) -> R, Data<Node>);

impl<R, S: Service<R, Response = ServiceResponse, Error = Error>> Caller<S, R> {
    async fn send(&self, who: Who, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let (key, body) = (Uuid::new_v4().to_string(), body.map(|body| serde_json::to_vec(&body).unwrap()));
        let request = request(&self.2, who, method, path, &key, body.as_deref());
        let response = call_service(&self.0, (self.1)(request)).await;
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body()).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    async fn post(&self, who: Who, path: &str, body: Value) -> (u16, Value) {
        self.send(who, Method::POST, path, Some(body)).await
    }

    async fn good(&self, who: Who, path: &str, body: Value) -> Value {
        let (status, answer) = self.post(who, path, body).await;
        assert_eq!(status, 201, "{path}: {answer}");
        answer
    }

    /// The status and the code of a refusal.
    async fn refused(&self, who: Who, path: &str, body: Value) -> (u16, String) {
        let (status, answer) = self.post(who, path, body).await;
        (status, answer["code"].as_str().unwrap_or_default().to_owned())
    }

    async fn get(&self, who: Who, path: &str) -> Value {
        let (status, answer) = self.send(who, Method::GET, path, None).await;
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }
}

macro_rules! serve {
    ($node:expr) => {{
        let (app, _) = App::new().app_data($node.clone()).into_utoipa_app().configure(api::configure).split_for_parts();
        Caller(init_service(app.configure(api::extractors)).await, |request| request.to_request(), $node.clone())
    }};
}

/// One row of hours around now, every day of the week, so that the test may run at any hour.
fn hours() -> Vec<Value> {
    let row = |day: &str| {
        json!({ "department": "cardiology", "department_name": "心内科", "doctor": "gl-1", "doctor_name": "周玉珍",
                "weekday": day, "start": "00:00", "end": "24:00", "slot_minutes": 30, "capacity": 1 })
    };
    ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"].map(row).into()
}

#[actix_web::test]
async fn a_day_without_hours_offers_nothing_and_takes_no_booking() {
    // The ledger's threads outlive the test by a moment: their directory must too.
    let dir = std::mem::ManuallyDrop::new(tempfile::tempdir().unwrap());
    let town = Everyone::new(dir.path());
    let http = serve!(town.node);
    let (closures, mine) = ("/v1/hospital/closures", "department=cardiology&limit=1000");
    http.good(CLERK, "/v1/hospital/schedules", json!({ "hours": hours() })).await;
    let (voucher, _) = town.issued();
    let slot = second_slot(&http).await;
    let day = slot.start.day_at(town.node.writer.settings().offset);
    let is_offered = async || {
        let page = http.get(Who::Nobody, &format!("/v1/hospital/slots?{mine}")).await;
        page["items"].as_array().unwrap().iter().any(|item| item["start"] == json!(slot.start))
    };
    // The day, the department and the doctor that have no hours; whether the slot is still offered.
    let day_after = day.succ_opt().unwrap();
    for (closure, offered) in [
        (json!({ "day": day, "department": "imaging" }), true),
        (json!({ "day": day, "doctor": "gl-2" }), true),
        (json!({ "day": day_after }), true),
        (json!({ "day": day, "department": "cardiology", "doctor": "gl-1" }), false),
        (json!({ "day": day }), false),
    ] {
        http.good(CLERK, closures, json!({ "closures": [closure] })).await;
        let listed = http.get(Who::Nobody, closures).await;
        assert_eq!(listed["items"][0]["day"], closure["day"], "{closure}");
        assert_eq!(is_offered().await, offered, "{closure}");
    }
    let opening = json!({ "details": town.request(voucher, slot.clone()) });
    let answer = http.good(MODULE, "/v1/hospital/openings", opening).await;
    assert_eq!(answer["result"]["hospital"]["opened"]["confirmed"], false, "{answer}");

    let many: Vec<Value> = vec![json!({ "day": day }); 1_001];
    assert_eq!(http.refused(CLERK, closures, json!({ "closures": many })).await, (400, "malformed".into()));
    assert_eq!(http.refused(CLERK, closures, json!({ "closures": [{ "day": "soon" }] })).await.0, 400);
    assert_eq!(http.refused(Who::Nobody, closures, json!({ "closures": [] })).await.0, 401);
    http.good(CLERK, closures, json!({ "closures": [] })).await;
    assert!(is_offered().await);
}

/// The first free slot that begins in the future and is not the very next.
async fn second_slot<R, S: Service<R, Response = ServiceResponse, Error = Error>>(http: &Caller<S, R>) -> Slot {
    let page = http.get(Who::Nobody, "/v1/hospital/slots?department=cardiology&limit=1").await;
    let next = page["next"].as_str().unwrap();
    let page = http.get(Who::Nobody, &format!("/v1/hospital/slots?department=cardiology&limit=1&cursor={next}")).await;
    let item = &page["items"][0];
    assert_eq!(
        (&item["free"], &item["department_name"], &item["doctor_name"]),
        (&json!(1), &json!("心内科"), &json!("周玉珍"))
    );
    let fields = ["hospital", "department", "doctor", "start", "end"];
    serde_json::from_value(fields.iter().map(|name| ((*name).to_owned(), item[name].clone())).collect()).unwrap()
}

#[actix_web::test]
async fn a_holder_is_booked_examined_and_the_visit_claimed() {
    // The ledger's threads outlive the test by a moment: their directory must too.
    let dir = std::mem::ManuallyDrop::new(tempfile::tempdir().unwrap());
    let town = Everyone::new(dir.path());
    let http = serve!(town.node);

    // The office sets the hours.
    let twice = json!({ "hours": [hours()[0], hours()[0]] });
    assert_eq!(http.refused(CLERK, "/v1/hospital/schedules", twice).await, (400, "malformed".into()));
    assert_eq!(http.refused(Who::Nobody, "/v1/hospital/schedules", json!({ "hours": [] })).await.0, 401);
    http.good(CLERK, "/v1/hospital/schedules", json!({ "hours": hours() })).await;
    assert_eq!(http.get(Who::Nobody, "/v1/hospital/schedules?limit=5").await["next"], "5");

    // A voucher module asks for a slot, and tells what it is about.
    let (voucher, qr) = town.issued();
    let slot = second_slot(&http).await;
    let opening = json!({ "details": town.request(voucher, slot.clone()) });
    let stranger = Who::Peer("nobody");
    assert_eq!(
        http.refused(stranger, "/v1/hospital/openings", opening.clone()).await,
        (401, "signature-invalid".into())
    );
    let answer = http.good(MODULE, "/v1/hospital/openings", opening).await;
    assert_eq!(answer["result"]["hospital"]["opened"]["confirmed"], true);
    let still = second_slot(&http).await;
    assert_ne!(still.start, slot.start, "it is free no more");
    let day = slot.start.day_at(town.node.writer.settings().offset);
    let bookings = http.get(CLERK, &format!("/v1/hospital/bookings?day={day}")).await;
    assert_eq!(bookings["items"][0]["voucher"], voucher.to_string());

    // The holder comes.
    let (status, stale) = http
        .post(CLERK, "/v1/hospital/visits", json!({ "personal_qr": town.arrive(voucher, 90), "voucher_qr": qr }))
        .await;
    assert_eq!((status, stale["code"].as_str()), (409, Some("presentation-stale")));
    assert!(stale["detail"].as_str().unwrap().contains(" 9"), "it says by how much: {stale}");
    let both = json!({ "personal_qr": "VP1:", "card": "VC1:", "assist_reason": "no-phone", "document_checked": true });
    let unchecked = json!({ "card": "VC1:", "assist_reason": "no-phone", "voucher_qr": qr });
    let table = [
        (json!({ "personal_qr": town.arrive(voucher, 0) }), (422, "qr-unreadable")),
        (json!({ "personal_qr": "VP1:", "voucher_qr": qr }), (409, "presentation-malformed")),
        (both, (400, "malformed")),
        (unchecked, (400, "malformed")),
        (json!({ "surprise": 1 }), (400, "malformed")),
    ];
    for (body, (status, code)) in table {
        assert_eq!(http.refused(CLERK, "/v1/hospital/visits", body.clone()).await, (status, code.to_owned()), "{body}");
    }
    let arrival = json!({ "personal_qr": town.arrive(voucher, 0), "voucher_qr": qr });
    assert_eq!(
        http.refused(Who::Nobody, "/v1/hospital/visits", arrival.clone()).await,
        (401, "unauthenticated".into())
    );
    let answer = http.good(CLERK, "/v1/hospital/visits", arrival).await;
    assert_eq!(answer["result"]["hospital"]["visit"]["voucher"], voucher.to_string());
    let visits = http.get(CLERK, "/v1/hospital/visits").await;
    assert_eq!(visits["items"][0]["stage"], "in-use");

    // The examination is complete when the holder says so and nothing is missing.
    let completion = format!("/v1/hospital/visits/{voucher}/completion");
    let done = |performer: &str| {
        let step = vp1::Step::Complete { audience: ME.into(), voucher: named(voucher) };
        let now = town.now();
        let item = json!({ "code": "ecg", "done": true, "result": "窦性心律" });
        json!({ "personal_qr": town.show(step, 0), "examination":
            { "performer": performer, "started_at": now, "ended_at": now, "items": [item] } })
    };
    assert_eq!(http.refused(CLERK, &completion, done("gl-2")).await, (409, "performer-elsewhere".into()));
    http.good(CLERK, &completion, done("gl-1")).await;

    // It is claimed by itself.
    for _ in 0..100 {
        if town.stage(voucher) == Stage::Claimed {
            break;
        }
        actix_web::rt::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let claims = http.get(CLERK, "/v1/hospital/claims?limit=1").await;
    assert_eq!((&claims["items"][0]["stage"], &claims["next"]), (&json!("claimed"), &Value::Null));
    let paths: Vec<String> = {
        let letters = town.node.writer.read(|work| actors::outbox::letters(&work.tx, 0, 10)).answer;
        letters.into_iter().map(|letter| letter.path).collect()
    };
    assert_eq!(paths, ["/v1/voucher/results", "/v1/issuer/claims/openings"]);
    let again = http.refused(CLERK, &format!("/v1/hospital/claims/{voucher}/answer"), json!({})).await;
    assert_eq!(again, (409, "wrong-state".into()), "nothing is rejected");

    // The auditor on the same node has seen nothing wrong, and can tell a true QR from a false one.
    let report = http.get(CLERK, "/v1/audit/report").await;
    assert_eq!((&report["good"], &report["vouchers"]["claimed"]), (&json!(true), &json!(1)), "{report}");
    assert_eq!(http.get(CLERK, "/v1/audit/findings").await["items"], json!([]));
    let (status, checked) = http.post(CLERK, "/v1/audit/check", json!({ "text": qr })).await;
    assert_eq!((status, &checked["genuine"]), (200, &json!(true)), "{checked}");
    let (_, checked) = http.post(Who::Nobody, "/v1/audit/check", json!({ "text": qr })).await;
    assert_eq!((&checked["genuine"], &checked["facts"]), (&json!(true), &json!([])), "outside only this much");
    let outside = http.send(Who::Nobody, Method::GET, "/v1/audit/report", None).await;
    assert_eq!(outside.0, 401);
}

#[actix_web::test]
async fn a_check_at_the_desk_says_the_four_states() {
    // The ledger's threads outlive the test by a moment: their directory must too.
    let dir = std::mem::ManuallyDrop::new(tempfile::tempdir().unwrap());
    let town = Everyone::new(dir.path());
    let http = serve!(town.node);
    let (voucher, qr) = town.issued();
    let answer = http.good(CLERK, "/v1/hospital/checks", json!({ "voucher_qr": qr })).await;
    let checked = &answer["result"]["hospital"]["checked"];
    assert_eq!(
        (&checked["outcome"], &checked["states"]["valid"]),
        (&json!("refused"), &json!(true)),
        "it is not booked"
    );
    assert_eq!(answer["records"].as_array().map(Vec::len), Some(1), "the check is on record");
    let table = [
        (json!({ "voucher_qr": "VQ1:" }), (409, "qr-not-genuine")),
        (json!({ "voucher": "gulou.00000000-0000-0000-0000-000000000000" }), (404, "not-found")),
        (json!({}), (400, "malformed")),
    ];
    for (body, (status, code)) in table {
        assert_eq!(http.refused(CLERK, "/v1/hospital/checks", body.clone()).await, (status, code.to_owned()), "{body}");
    }
    let none = http.refused(CLERK, &format!("/v1/hospital/bookings/{voucher}/no-show"), json!({})).await;
    assert_eq!(none, (409, "not-booked".into()));
    let none =
        http.refused(CLERK, &format!("/v1/hospital/visits/{voucher}/abort"), json!({ "reason": "unable" })).await;
    assert_eq!(none.0, 409);
}
