//! A town for stories of desks: one node that is community, voucher module and hospital, its authority, and people with phones.

use std::path::Path;
use std::time::Duration;

use actors::token::{HolderKey, VoucherName, vp1};
use domain::ids::VoucherId;
use domain::member::Role;
use reqwest::Method;
use serde_json::{Value, json};

use super::{TestNode, desk, eventually, phone};

/// How long nodes may take for what they do by themselves.
pub const WITHIN: Duration = Duration::from_secs(30);

/// What a booking takes of an appointment that is offered.
const TAKEN: [&str; 4] = ["hospital", "department", "doctor", "start"];

/// A registrar and issuer, and a node that is community, voucher module and hospital of one town.
pub struct Town {
    pub issuer: TestNode,
    pub town: TestNode,
}

impl Town {
    /// Founds one with eight vouchers on the community's shelf, and doctors who are there by day and night.
    pub async fn found(root: &Path) -> Self {
        Self::with(root, &[]).await
    }

    /// The same, whose clocks can be moved ([`Self::pass`]).
    pub async fn with_clock(root: &Path) -> Self {
        Self::with(root, &["--federation-clock", "0"]).await
    }

    async fn with(root: &Path, args: &[&str]) -> Self {
        let args: Vec<_> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let mut issuer = TestNode::new(root, "health", &[Role::Issuer], None);
        issuer.args.clone_from(&args);
        issuer.start().await;
        let roles = [Role::Community, Role::Voucher, Role::Hospital];
        let mut town = TestNode::new(root, "xuanwu", &roles, Some(&issuer));
        town.args = args;
        desk::register(&issuer, &town).await;
        desk::publish(&issuer, "checkup").await;
        town.start().await;
        let size = issuer.folded("health").await;
        eventually("the town knows the programme", WITHIN, || async { town.folded("health").await == size }).await;

        let made = json!({ "programme": "checkup", "count": 8 });
        let sent = json!({ "community": "xuanwu", "programme": "checkup", "count": 8 });
        good(issuer.post("/v1/issuer/vouchers", &made).await);
        good(issuer.post("/v1/issuer/dispatches", &sent).await);
        let hours = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"].map(|weekday| {
            json!({ "department": "geriatrics", "department_name": "老年科", "doctor": "gl-1001", "doctor_name": "周玉珍",
                    "weekday": weekday, "start": "00:00", "end": "24:00", "slot_minutes": 15, "capacity": 10 })
        });
        good(town.post("/v1/hospital/schedules", &json!({ "hours": hours })).await);
        eventually("the stock has its codes", WITHIN, || async {
            let (_, stock) = town.get("/v1/community/stock").await;
            stock["items"][0]["encoded"] == 8
        })
        .await;
        Self { issuer, town }
    }

    /// Moves the clocks of both forward to so far ahead of the machine's.
    pub async fn pass(&self, ahead: Duration) {
        for node in [&self.issuer, &self.town] {
            let step = json!({ "ahead_millis": u64::try_from(ahead.as_millis()).unwrap() });
            good(node.post("/v1/clock", &step).await);
        }
    }

    /// Waits until each holds all that the other has written.
    pub async fn agree(&self) {
        let Self { issuer, town } = self;
        for (reader, writer) in [(issuer, town), (town, issuer)] {
            eventually("they agree", WITHIN, || async {
                reader.folded(writer.id).await >= writer.folded(writer.id).await
            })
            .await;
        }
    }
}

/// What was asked was done.
pub fn good((status, answer): (u16, Value)) -> Value {
    assert!((200..300).contains(&status), "{status} {answer}");
    answer
}

/// A holder's phone, and the enrolment that its wallet names.
pub struct Phone {
    pub keys: phone::Phone,
    pub enrolment: Option<uuid::Uuid>,
}

impl Phone {
    pub fn new(seed: u8) -> Self {
        let [main, checkup] = [seed, seed + 100].map(|seed| HolderKey::ed25519(&[seed; 32]));
        Self { keys: phone::Phone { main, checkup }, enrolment: None }
    }

    pub fn by_enrolment(&self, step: vp1::Step) -> String {
        self.keys.show(self.enrolment.unwrap(), step)
    }

    pub fn register(&self) -> String {
        self.keys.sign(vp1::Step::Register { key: self.keys.main.public() })
    }

    pub fn at_hospital(&self, voucher: &str, is_over: bool) -> String {
        let voucher: VoucherId = voucher.parse().unwrap();
        let voucher = VoucherName { issuer: voucher.issuer.to_string(), id: voucher.uuid };
        let audience = "xuanwu".to_owned();
        self.by_enrolment(match is_over {
            false => vp1::Step::Arrive { audience, voucher },
            true => vp1::Step::Complete { audience, voucher },
        })
    }

    pub async fn announce(&self, town: &TestNode) {
        let keys = json!({ "checkup": self.keys.checkup.public().to_string() });
        let body = json!({ "main_key": self.register(), "enrolment_keys": keys });
        let (status, body) = self.keys.send(town, Method::POST, "/v1/community/registrations", &body).await;
        assert_eq!(status, 201, "{body}");
    }

    /// The wallet, and the enrolment that it names.
    pub async fn wallet(&mut self, town: &TestNode) -> Value {
        let wallet = self.keys.get(town, "/v1/wallet").await;
        let id = wallet["enrolments"][0]["id"].as_str().and_then(|id| id.parse().ok());
        self.enrolment = id.or(self.enrolment);
        wallet
    }

    /// Waits until the wallet is so.
    pub async fn until(&mut self, town: &TestNode, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let began = std::time::Instant::now();
        loop {
            let wallet = self.wallet(town).await;
            if is_so(&wallet) {
                return wallet;
            }
            assert!(began.elapsed() < WITHIN, "{what}: {wallet}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Books the next appointment that is not too near; the voucher and its code.
    pub async fn book(&mut self, town: &TestNode) -> (String, String) {
        let wallet = self.wallet(town).await;
        let voucher = wallet["vouchers"][0]["voucher"].as_str().unwrap().to_owned();
        let (_, slots) = town.get("/v1/hospital/slots?limit=2").await;
        let mut booking = slots["items"][1].clone();
        booking.as_object_mut().unwrap().retain(|field, _| TAKEN.contains(&field.as_str()));
        booking["voucher"] = json!(voucher);
        good(self.keys.send(town, Method::POST, "/v1/wallet/bookings", &booking).await);
        let wallet = self.until(town, "booked", |wallet| wallet["vouchers"][0]["stage"] == "booked").await;
        (voucher, wallet["vouchers"][0]["token"].as_str().unwrap().to_owned())
    }

    /// Registered by this document and issued to, as desks and phones do it by their interfaces.
    pub async fn with_voucher(town: &TestNode, seed: u8, number: &str) -> Self {
        let mut phone = Self::new(seed);
        let person = json!({
            "document_type": "passport", "document_number": number, "born": "1949-12-31", "sex": "F", "name": "王秀英",
            "phone": "13900001234", "class": "elderly", "smartphone": true,
        });
        phone.keys.register(town, person).await;
        phone.until(town, "the phone finds itself", |wallet| !wallet["enrolments"][0]["id"].is_null()).await;
        let receive = vp1::Step::Receive { community: town.id.to_owned(), programme: "checkup".into() };
        good(town.post("/v1/community/desk/issue", &json!({ "qr": phone.by_enrolment(receive) })).await);
        phone.until(town, "the voucher is on the phone", |wallet| !wallet["vouchers"][0].is_null()).await;
        phone
    }

    /// Booked and let in at the hospital; the voucher.
    pub async fn inside(&mut self, town: &TestNode) -> String {
        let (voucher, token) = self.book(town).await;
        let arrival = json!({ "personal_qr": self.at_hospital(&voucher, false), "voucher_qr": token });
        good(town.post("/v1/hospital/visits", &arrival).await);
        voucher
    }
}
