//! Tests of the issuer: a table per rule, a story per unit, in a town with real rules, keys and replicas.

mod claims;
mod holders;
mod members;
mod statistics;
mod stock;

use domain::booking::{BookingDetails, Evidence, Examination, Item, Slot};
use domain::ids::{EnrolmentId, InstitutionId, Operator, RecordName, ShortName, VoucherId};
use domain::lifecycle::{Stage, Step};
use domain::member::Role;
use domain::policy::{Class, Policy};
use domain::reasons::Reason;
use domain::record::Presentation;
use domain::time::{Millis, Timestamp};
use uuid::Uuid;

use super::{Answer, Command, Document, Enrolled, Issuer, Openings, Person, Registration, Wanted};
use crate::openings::digest_of;
use crate::token::{HolderKey, VoucherName, vp1};
use crate::town::{Town, id};

/// The second person of every act that needs one; the town's operator is another.
const SECOND: Operator = Operator(Uuid::from_u128(2));

fn short(text: &str) -> ShortName {
    text.parse().unwrap()
}

fn health() -> InstitutionId {
    id("health")
}

fn uuid(n: u128) -> Uuid {
    uuid::Builder::from_custom_bytes(n.to_be_bytes()).into_uuid()
}

fn voucher(n: u128) -> VoucherId {
    VoucherId { issuer: health(), uuid: uuid(n) }
}

fn policy(programme: &str) -> Policy {
    Policy {
        programme: short(programme),
        title_zh: "心电图优先检查".into(),
        title_en: "Priority ECG".into(),
        service: short("ecg"),
        issuing_department: "Health Commission".into(),
        classes: vec![Class::Elderly],
        validity_days: 30,
        vouchers_per_holder: 2,
        departments: vec![short("cardiology")],
        card_allowed: true,
    }
}

fn why<T: std::fmt::Debug>(result: Result<T, crate::writer::Refused>) -> Reason {
    result.unwrap_err().reason()
}

fn ask(town: &mut Town, command: Command) -> Result<Answer, crate::writer::Refused> {
    town.ask::<Issuer>(health(), command)
}

fn stage(town: &Town, at: &str, n: u128) -> Stage {
    town.voucher(id(at), voucher(n)).unwrap().state().unwrap().stage
}

/// The holder of the stories, and the keys on the phone.
struct Holder {
    main: HolderKey,
    ecg: HolderKey,
    enrolment: EnrolmentId,
}

fn holder() -> Holder {
    Holder { main: HolderKey::ed25519(&[1; 32]), ecg: HolderKey::ed25519(&[2; 32]), enrolment: EnrolmentId(uuid(900)) }
}

impl Holder {
    fn main_key(&self, town: &Town) -> String {
        let key = self.main.public();
        let step = vp1::Step::Register { key };
        let claims = vp1::Claims { kid: key.key_id(), iat: town.now.secs(), cti: [0; 8], step };
        vp1::sign(&claims, &self.main).unwrap()
    }

    fn registration(&self, town: &Town) -> Registration {
        Registration {
            holder: uuid(800),
            secret: [7; 32],
            document: Document { kind: short("resident-id"), number: "110105 19491231 002x".into() },
            person: Person {
                name: "王秀英".into(),
                born: "1949-12-31".parse().unwrap(),
                sex: "f".into(),
                phone: Some("13900001234".into()),
            },
            class: Class::Elderly,
            community: id("xuanwu"),
            voucher_module: id("xuanwu"),
            main_key: Some(self.main_key(town)),
            card: None,
            enrolments: vec![Wanted {
                programme: short("ecg"),
                id: self.enrolment,
                key: Some(self.ecg.public()),
                card_key: None,
            }],
        }
    }

    fn present(&self, town: &Town, cti: u8, step: vp1::Step) -> Presentation {
        let mut kid = [0; 8];
        kid.copy_from_slice(&self.enrolment.0.as_bytes()[..8]);
        let claims = vp1::Claims { kid, iat: town.now.secs(), cti: [cti; 8], step };
        let text = vp1::sign(&claims, &self.ecg).unwrap();
        Presentation { cose: vp1::parse(&text).unwrap().cose_bytes().to_vec(), assisted: None }
    }
}

/// A town with the programme `ecg`, its holder registered, and ten vouchers generated.
fn town() -> (Town, Holder, RecordName) {
    let mut town = Town::default();
    ask(&mut town, Command::PublishProgramme(Box::new(policy("ecg")))).unwrap();
    let holder = holder();
    let registration = holder.registration(&town);
    let answer = ask(&mut town, Command::Register(Box::new(registration))).unwrap();
    let Answer::Enrolled { enrolments, .. } = answer else { panic!("{answer:?}") };
    let Enrolled { name, .. } = enrolments[0].clone();
    generate(&mut town, 1..=10);
    town.spread();
    (town, holder, name)
}

fn generate(town: &mut Town, numbers: std::ops::RangeInclusive<u128>) {
    let uuids: Vec<Uuid> = numbers.map(uuid).collect();
    for chunk in uuids.chunks(250) {
        ask(town, Command::Generate { programme: short("ecg"), uuids: chunk.to_vec(), valid_from: None }).unwrap();
    }
}

fn chain(town: &mut Town, at: &str, role: Role, n: u128, step: Step) -> RecordName {
    let name = town.decide(id(at), |desk| desk.step(role, voucher(n), step)).unwrap();
    town.spread();
    name
}

/// One voucher of a town on its way to a claim.
struct Journey {
    town: Town,
    holder: Holder,
    openings: Openings,
    number: u128,
}

impl Journey {
    /// A voucher that the holder has.
    fn issued() -> Self {
        let (mut town, holder, enrolment) = town();
        ask(&mut town, Command::Dispatch { community: id("xuanwu"), programme: short("ecg"), count: 1 }).unwrap();
        town.spread();
        let number = (1..=10).find(|n| stage(&town, "health", *n) == Stage::Sent).unwrap();
        chain(&mut town, "xuanwu", Role::Community, number, Step::Encoded { token: "VQ1:".into() });
        let receive = vp1::Step::Receive { community: "xuanwu".into(), programme: "ecg".into() };
        let presentation = holder.present(&town, 1, receive);
        chain(&mut town, "xuanwu", Role::Community, number, Step::Issued { enrolment, presentation });
        let start = town.now + Millis::hours(24);
        let openings = Openings {
            booking: BookingDetails {
                salt: [3; 32],
                voucher: voucher(number),
                slot: Slot {
                    hospital: id("gulou"),
                    department: short("cardiology"),
                    doctor: short("gl-1"),
                    start,
                    end: start + Millis::minutes(30),
                },
            },
            evidence: Evidence {
                salt: [4; 32],
                voucher: voucher(number),
                department: short("cardiology"),
                examination: Examination {
                    performer: short("gl-1"),
                    started_at: start + Millis::minutes(5),
                    ended_at: start + Millis::minutes(20),
                    items: vec![Item { code: short("ecg"), done: true, result: Some("sinus rhythm".into()) }],
                },
            },
        };
        Self { town, holder, openings, number }
    }

    fn step(&mut self, at: &str, role: Role, step: Step) -> RecordName {
        chain(&mut self.town, at, role, self.number, step)
    }

    /// Books by the times of a slot.
    fn request(&mut self, slot: &Slot) {
        let valid_until = self.doc().state().unwrap().valid_until;
        let booked = Step::Booked {
            hospital: slot.hospital,
            details: digest_of(&self.openings.booking),
            respond_by: self.town.now + Millis::hours(12),
            use_from: slot.use_from(),
            use_by: slot.use_by(valid_until),
        };
        self.step("xuanwu", Role::Voucher, booked);
    }

    fn name(&self) -> VoucherName {
        VoucherName { issuer: "health".into(), id: uuid(self.number) }
    }

    /// What the hospital confirms when the holder arrives.
    fn arrival(&self) -> Step {
        let arrive = vp1::Step::Arrive { audience: "gulou".into(), voucher: self.name() };
        let presentation = self.holder.present(&self.town, 2, arrive);
        Step::UseConfirmed { presentation, complete_by: self.town.now + Millis::days(7) }
    }

    fn confirm_and_arrive(&mut self, at: Timestamp) {
        self.step("gulou", Role::Hospital, Step::BookingConfirmed);
        self.town.now = at;
        let arrival = self.arrival();
        self.step("gulou", Role::Hospital, arrival);
    }

    fn complete(&mut self) {
        self.town.pass(Millis::minutes(25));
        let complete = vp1::Step::Complete { audience: "gulou".into(), voucher: self.name() };
        let presentation = self.holder.present(&self.town, 3, complete);
        let evidence = digest_of(&self.openings.evidence);
        let claim_by = self.town.now + Millis::days(30);
        self.step("gulou", Role::Hospital, Step::ExamCompleted { evidence, presentation, claim_by });
    }

    fn claim(&mut self, answers: Option<RecordName>) {
        self.step("gulou", Role::Hospital, Step::RedemptionClaimed { answers });
    }

    fn requested() -> Self {
        let mut journey = Self::issued();
        let slot = journey.openings.booking.slot.clone();
        journey.request(&slot);
        journey
    }

    fn booked() -> Self {
        let mut journey = Self::requested();
        journey.step("gulou", Role::Hospital, Step::BookingConfirmed);
        journey
    }

    fn in_use() -> Self {
        let mut journey = Self::requested();
        let start = journey.openings.booking.slot.start;
        journey.confirm_and_arrive(start);
        journey
    }

    fn examined() -> Self {
        let mut journey = Self::in_use();
        journey.complete();
        journey
    }

    fn claimed() -> Self {
        let mut journey = Self::examined();
        journey.claim(None);
        journey
    }

    fn redeemed() -> Self {
        let mut journey = Self::claimed();
        journey.send_openings().unwrap();
        journey.town.spread();
        assert_eq!(journey.stage(), Stage::Redeemed);
        journey
    }

    fn send_openings(&mut self) -> Result<Answer, crate::writer::Refused> {
        let (voucher, openings) = (voucher(self.number), Box::new(self.openings.clone()));
        ask(&mut self.town, Command::ReceiveOpenings { from: id("gulou"), voucher, openings })
    }

    fn doc(&self) -> crate::replica::VoucherDoc {
        self.town.voucher(health(), voucher(self.number)).unwrap()
    }

    fn stage(&self) -> Stage {
        stage(&self.town, "health", self.number)
    }
}
