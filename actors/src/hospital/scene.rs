//! A scene for tests: a town with a programme, one holder with phone and card, and vouchers in the holder's hand.

use domain::booking::{BookingDetails, Examination, Item, Slot};
use domain::holder::RegistrarEvent;
use domain::ids::{CardId, EnrolmentId, InstitutionId, RecordName, VoucherId};
use domain::lifecycle::{Stage, Step};
use domain::member::{Purpose, Role};
use domain::policy::{Class, Policy, ProgrammeEvent};
use domain::reasons::Reason;
use domain::record::{Body, Note, Presentation};
use domain::time::{Millis, Timestamp};
use ed25519_dalek::SigningKey;
use uuid::Uuid;

use super::schedule::WeeklyHours;
use super::{Answer, Command, Hospital};
use crate::openings::digest_of;
use crate::replica;
use crate::token::{HolderKey, VoucherName, vc1, vp1, vq1};
use crate::town::{DAWN, Town, id, seed};
use crate::writer::Refused;

/// The first slot of Tuesday: nine o'clock in Nanjing.
pub(crate) const SLOT: Timestamp = Timestamp::from_millis(DAWN.millis() + 25 * 3_600_000);

/// A town with one holder.
pub(crate) struct Scene {
    pub(crate) town: Town,
    pub(crate) phone: HolderKey,
    pub(crate) card: vc1::Card,
    pub(crate) enrolment: (RecordName, EnrolmentId),
    pub(crate) programme: RecordName,
    counter: u64,
}

pub(crate) fn health() -> InstitutionId {
    id("health")
}
pub(crate) fn xuanwu() -> InstitutionId {
    id("xuanwu")
}
pub(crate) fn gulou() -> InstitutionId {
    id("gulou")
}

fn policy() -> Policy {
    Policy {
        programme: "heart-check".parse().unwrap(),
        title_zh: "心脏检查".into(),
        title_en: "Heart check".into(),
        service: "ecg".parse().unwrap(),
        issuing_department: "市卫健委".into(),
        classes: vec![Class::Elderly],
        validity_days: 30,
        vouchers_per_holder: 10,
        departments: vec!["cardiology".parse().unwrap()],
        card_allowed: true,
    }
}

/// Tuesdays nine to eleven, half an hour each, one person a slot, in two departments.
pub(crate) fn hours() -> Vec<WeeklyHours> {
    let row = |department: &str, doctor: &str| WeeklyHours {
        department: department.parse().unwrap(),
        department_name: "科室".into(),
        doctor: doctor.parse().unwrap(),
        doctor_name: "医生".into(),
        weekday: chrono::Weekday::Tue,
        start: "09:00".parse().unwrap(),
        end: "11:00".parse().unwrap(),
        slot_minutes: 30,
        capacity: 1,
    };
    vec![row("cardiology", "gl-1"), row("cardiology", "gl-2"), row("orthopaedics", "gl-9")]
}

/// The n-th half hour of a doctor's Tuesday.
pub(crate) fn slot(department: &str, doctor: &str, n: i64) -> Slot {
    let start = SLOT + Millis::minutes(30 * n);
    let (department, doctor) = (department.parse().unwrap(), doctor.parse().unwrap());
    Slot { hospital: gulou(), department, doctor, start, end: start + Millis::minutes(30) }
}

impl Scene {
    /// Programme, holder, schedule of `gulou`; no voucher yet.
    pub(crate) fn new() -> Self {
        let mut town = Town::default();
        let programme = Body::Programme(ProgrammeEvent::Published(policy()));
        let programme = town.write(health(), Role::Issuer, programme);
        let phone = HolderKey::ed25519(&[7; 32]);
        let enrolment_id = EnrolmentId(Uuid::from_u128(0x1234_5678_9abc_def0_1122_3344_5566_7788));
        let enrolled = RegistrarEvent::Enrolled {
            id: enrolment_id,
            key: Some(replica::holder_key(&phone.public())),
            programme,
            community: xuanwu(),
            voucher_module: xuanwu(),
        };
        let enrolment = town.write(health(), Role::Issuer, Body::Registrar(enrolled));
        let card = vc1::Card::generate(&mut rand::rng());
        let mut key = [0; 32];
        key.copy_from_slice(card.key_for(*enrolment_id.0.as_bytes()).public().as_bytes());
        let issued = RegistrarEvent::CardIssued { enrolment, card: CardId(Uuid::from_bytes(card.id())), key };
        town.write(health(), Role::Issuer, Body::Registrar(issued));
        town.spread();
        town.ask::<Hospital>(gulou(), Command::SetSchedule(hours())).unwrap();
        Self { town, phone, card, enrolment: (enrolment, enrolment_id), programme, counter: 0 }
    }

    fn next(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    pub(crate) fn step(&mut self, at: InstitutionId, role: Role, voucher: VoucherId, step: Step) -> RecordName {
        let name = self.town.decide(at, |desk| desk.step(role, voucher, step)).unwrap();
        self.town.spread();
        name
    }

    pub(crate) fn note(&mut self, at: InstitutionId, role: Role, voucher: VoucherId, note: Note) {
        self.town.decide(at, |desk| desk.note(role, voucher, note)).unwrap();
        self.town.spread();
    }

    /// A VP1 of the holder's phone, signed now.
    pub(crate) fn show(&mut self, step: vp1::Step) -> String {
        self.show_as(step, &self.phone.clone(), self.town.now)
    }

    /// A VP1 under any key, signed at any time.
    pub(crate) fn show_as(&mut self, step: vp1::Step, key: &HolderKey, at: Timestamp) -> String {
        let mut kid = [0; 8];
        kid.copy_from_slice(&self.enrolment.1.0.as_bytes()[..8]);
        let claims = vp1::Claims { kid, iat: at.secs(), cti: self.next().to_be_bytes(), step };
        vp1::sign(&claims, key).unwrap()
    }

    pub(crate) fn arrive(&mut self, voucher: VoucherId) -> String {
        self.show(vp1::Step::Arrive { audience: "gulou".into(), voucher: named(voucher) })
    }

    pub(crate) fn done(&mut self, voucher: VoucherId) -> String {
        self.show(vp1::Step::Complete { audience: "gulou".into(), voucher: named(voucher) })
    }

    pub(crate) fn presentation(&self, text: &str) -> Presentation {
        Presentation { cose: vp1::parse(text).unwrap().cose_bytes().to_vec(), assisted: None }
    }

    /// A VQ1 of a voucher by `xuanwu`.
    pub(crate) fn token(&mut self, voucher: VoucherId) -> String {
        let claims = vq1::Claims {
            community: "xuanwu".into(),
            voucher: named(voucher),
            service: "ecg".into(),
            not_before: DAWN.secs(),
            expires: (DAWN + Millis::days(30)).secs(),
            iat: i64::try_from(self.next()).unwrap(),
        };
        vq1::sign(&claims, &SigningKey::from_bytes(&seed(xuanwu(), Purpose::Node))).unwrap()
    }

    /// A voucher in the holder's hand.
    pub(crate) fn issued(&mut self) -> VoucherId {
        let voucher = VoucherId { issuer: health(), uuid: Uuid::from_u128(u128::from(self.next())) };
        let (valid_from, valid_until) = (DAWN, DAWN + Millis::days(30));
        let generated = Step::Generated { programme: self.programme, valid_from, valid_until };
        self.step(health(), Role::Issuer, voucher, generated);
        self.step(health(), Role::Issuer, voucher, Step::Sent { community: xuanwu() });
        let token = self.token(voucher);
        self.step(xuanwu(), Role::Community, voucher, Step::Encoded { token });
        let receive = vp1::Step::Receive { community: "xuanwu".into(), programme: "heart-check".into() };
        let text = self.show(receive);
        let presentation = self.presentation(&text);
        self.step(xuanwu(), Role::Community, voucher, Step::Issued { enrolment: self.enrolment.0, presentation });
        voucher
    }

    /// Asks a hospital for a slot. The opening is returned and not yet sent.
    pub(crate) fn request(&mut self, voucher: VoucherId, slot: Slot) -> BookingDetails {
        let details = BookingDetails { salt: [9; 32], voucher, slot };
        let booked = Step::Booked {
            hospital: details.slot.hospital,
            details: digest_of(&details),
            respond_by: (self.town.now + Millis::hours(24)).min(details.slot.end),
            use_from: details.slot.use_from(),
            use_by: details.slot.use_by(DAWN + Millis::days(30)),
        };
        self.step(xuanwu(), Role::Voucher, voucher, booked);
        details
    }

    /// The opening reaches `gulou`.
    pub(crate) fn open(&mut self, details: BookingDetails) -> Result<Answer, Refused> {
        self.ask(Command::Open { from: xuanwu(), details })
    }

    /// A voucher with a booking that is confirmed: cardiology, `gl-1`, the first slot.
    pub(crate) fn booked(&mut self) -> VoucherId {
        let voucher = self.issued();
        let details = self.request(voucher, slot("cardiology", "gl-1", 0));
        assert_eq!(self.open(details), Ok(Answer::Opened { confirmed: Some(true) }));
        voucher
    }

    /// Asks `gulou`; what it writes reaches everyone.
    pub(crate) fn ask(&mut self, command: Command) -> Result<Answer, Refused> {
        let answer = self.town.ask::<Hospital>(gulou(), command);
        self.town.spread();
        answer
    }

    /// The holder arrives at `gulou`; the name of the use.
    pub(crate) fn step_in(&mut self, personal: String, voucher_qr: String) -> RecordName {
        let (personal, voucher_qr) = (super::Personal::Phone(personal), Some(voucher_qr));
        let Answer::Visit { voucher, .. } =
            self.ask(Command::Arrive(super::Arrival { personal, voucher_qr, voucher: None })).unwrap()
        else {
            panic!("who arrives visits")
        };
        self.town.voucher(gulou(), voucher).unwrap().head_name().unwrap()
    }

    pub(crate) fn stage(&self, voucher: VoucherId) -> Stage {
        self.town.voucher(gulou(), voucher).unwrap().state().unwrap().stage
    }

    pub(crate) fn current_qr(&self, voucher: VoucherId) -> String {
        super::desk::current_token(&self.town.voucher(gulou(), voucher).unwrap()).unwrap().to_owned()
    }

    /// Lets the clock stand at a time.
    pub(crate) fn at(&mut self, time: Timestamp) {
        self.town.now = time;
    }
}

pub(crate) fn named(voucher: VoucherId) -> VoucherName {
    VoucherName { issuer: voucher.issuer.to_string(), id: voucher.uuid }
}

/// An examination by `gl-1` in the quarter of an hour before `now`.
pub(crate) fn examination(now: Timestamp) -> Examination {
    let item = Item { code: "ecg".parse().unwrap(), done: true, result: Some("窦性心律".into()) };
    let (started_at, ended_at) = (now - Millis::minutes(10), now - Millis::minutes(1));
    Examination { performer: "gl-1".parse().unwrap(), started_at, ended_at, items: vec![item] }
}

/// The reason of a refusal; none if it went well.
pub(crate) fn why<T>(result: Result<T, Refused>) -> Option<Reason> {
    result.err().map(Refused::reason)
}
