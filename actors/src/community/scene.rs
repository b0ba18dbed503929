//! A town with a programme, people and stock, for the tests of community and voucher module.

use std::collections::BTreeMap;

use domain::holder::RegistrarEvent;
use domain::ids::{EnrolmentId, HolderId, InstitutionId, RecordName, ShortName, VoucherId};
use domain::lifecycle::Step;
use domain::member::Role;
use domain::policy::{Class, Policy, ProgrammeEvent};
use domain::record::{AssistReason, Body};
use domain::time::{Millis, Timestamp};
use uuid::Uuid;

use super::command::{Answer, Assist, Command, Granted, Registered};
use super::people::{Form, Sex};
use super::registration::{self, Carrier, Pending};
use super::{Community, people};
use crate::replica;
use crate::token::vc1::Card;
use crate::token::vp1::{self, Step as Wish};
use crate::token::{HolderKey, VoucherName};
use crate::town::{Town, id};
use crate::voucher::letters::{Enrolled, HOLDERS_PATH, HolderLetter, KeyText};
use crate::voucher::{self, VoucherModule};
use crate::writer::Refused;

/// The programme of all scenes.
pub(crate) const PROGRAMME: &str = "checkup";

/// A town with one programme, an old woman with a phone and an old man with a card.
pub(crate) struct Scene {
    pub(crate) town: Town,
    pub(crate) programme: RecordName,
    pub(crate) policy: Policy,
    pub(crate) anna: Phone,
    pub(crate) bao: Carded,
    random: u64,
}

/// Someone with a phone.
#[derive(Clone)]
pub(crate) struct Phone {
    pub(crate) holder: HolderId,
    pub(crate) main: HolderKey,
    pub(crate) key: HolderKey,
    pub(crate) enrolled: Enrolled,
}

/// Someone with a printed card.
pub(crate) struct Carded {
    pub(crate) holder: HolderId,
    pub(crate) card: String,
    pub(crate) enrolled: Enrolled,
}

pub(crate) fn short(text: &str) -> ShortName {
    text.parse().unwrap()
}

pub(crate) fn form(name: &str, number: &str, class: Class) -> Form {
    Form {
        document_type: short("resident-id"),
        document_number: number.into(),
        name: name.into(),
        born: chrono::NaiveDate::from_ymd_opt(1948, 5, 1).unwrap(),
        sex: Sex::F,
        phone: Some("13800000001".into()),
        class,
    }
}

impl Phone {
    /// What the phone shows for a step under its enrolment (or main key), signed at a time.
    pub(crate) fn show(&self, step: Wish, cti: u64, at: Timestamp) -> String {
        let main = matches!(step, Wish::Register { .. } | Wish::Identify | Wish::Wallet { .. });
        let key = if main { &self.main } else { &self.key };
        let kid = if main { self.main.public().key_id() } else { start(self.enrolled.id) };
        vp1::sign(&vp1::Claims { kid, iat: at.secs(), cti: cti.to_be_bytes(), step }, key).unwrap()
    }
}

pub(crate) fn start(id: EnrolmentId) -> [u8; 8] {
    *id.0.as_bytes().first_chunk().unwrap()
}

pub(crate) fn health() -> InstitutionId {
    id("health")
}

pub(crate) fn xuanwu() -> InstitutionId {
    id("xuanwu")
}

pub(crate) fn name_of(voucher: VoucherId) -> VoucherName {
    crate::presented::voucher_name(voucher)
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self::with(&[Role::Community])
    }

    /// The same town, where `qinhuai` plays these roles.
    pub(crate) fn with(qinhuai: &[Role]) -> Self {
        let mut town = Town::new(&[
            ("health", &[Role::Issuer]),
            ("xuanwu", &[Role::Community, Role::Voucher]),
            ("qinhuai", qinhuai),
            ("gulou", &[Role::Hospital]),
            ("zhongda", &[Role::Hospital]),
            ("audit", &[Role::Auditor]),
        ]);
        let policy = Policy {
            programme: short(PROGRAMME),
            title_zh: "老年人免费体检".into(),
            title_en: "Health check for the elderly".into(),
            service: short("health-check"),
            issuing_department: "Elderly care office".into(),
            classes: vec![Class::Elderly],
            validity_days: 90,
            vouchers_per_holder: 2,
            departments: vec![short("cardiology")],
            card_allowed: true,
        };
        let event = ProgrammeEvent::Published(policy.clone());
        let programme = town.write(health(), Role::Issuer, Body::Programme(event));
        town.spread();
        let nobody = Enrolled { programme: short(PROGRAMME), id: EnrolmentId(Uuid::nil()), name: programme };
        let anna = Phone {
            holder: HolderId(Uuid::from_u128(0xa)),
            main: HolderKey::ed25519(&[1; 32]),
            key: HolderKey::ed25519(&[2; 32]),
            enrolled: nobody.clone(),
        };
        let bao = Carded { holder: HolderId(Uuid::from_u128(0xb)), card: String::new(), enrolled: nobody };
        let mut scene = Self { town, programme, policy, anna, bao, random: 0 };
        scene.register_anna();
        scene.register_bao();
        scene
    }

    /// A number that was not given before.
    pub(crate) fn fresh(&mut self) -> u64 {
        self.random += 1;
        self.random
    }

    /// A phone announces itself and the desk completes it, with the registrar's part written by hand.
    fn register_anna(&mut self) {
        let key = self.anna.main.public();
        let register = self.anna.show(Wish::Register { key }, 1, self.town.now);
        let keys = BTreeMap::from([(short(PROGRAMME), KeyText(self.anna.key.public()))]);
        let announce = Command::Announce { register: register.clone(), enrolment_keys: keys };
        let Answer::Announced(thumbprint) = self.ask(announce).unwrap() else { panic!("announced") };
        let pending = self.pending(&thumbprint).unwrap();
        let form = form("Anna Berg", "110101194805010021", Class::Elderly);
        let application = self.town.read(xuanwu(), |work| {
            let carrier = Carrier::Phone(&register, &pending);
            registration::application(work, &form, None, &carrier, || Uuid::from_u128(0xaaaa << 112), self.town.now)
        });
        let application = application.unwrap();
        let enrolment = application.enrolment_ids[&short(PROGRAMME)];
        let name = self.enrol(enrolment, Some(self.anna.key.public()), xuanwu());
        self.anna.enrolled = Enrolled { programme: short(PROGRAMME), id: enrolment, name };
        let granted = Granted { holder: self.anna.holder, enrolments: vec![self.anna.enrolled.clone()] };
        let main_key = Some(self.anna.main.public());
        self.keep(Registered { form, granted, main_key, voucher_module: xuanwu(), card: None, secret: [7; 32] });
    }

    fn register_bao(&mut self) {
        let card = Card::parse("VC1:V50X507H0QS00+0J61%H1CT1V+1572OI2/T2H-2 73AJ3TU3V0").unwrap();
        let form = form("王宝", "110101194805010013", Class::Elderly);
        let application = self.town.read(xuanwu(), |work| {
            let ids = || Uuid::from_u128(0xbbbb << 112);
            registration::application(work, &form, None, &Carrier::Card(&card), ids, self.town.now)
        });
        let application = application.unwrap();
        let enrolment = application.enrolment_ids[&short(PROGRAMME)];
        let name = self.enrol(enrolment, None, xuanwu());
        let card_id = application.card.unwrap().card;
        let HolderKey::Ed25519(key) = card.key_for(*enrolment.0.as_bytes()) else { panic!("a card's key is Ed25519") };
        let issued = RegistrarEvent::CardIssued { enrolment: name, card: card_id, key: key.verifying_key().to_bytes() };
        self.registrar(issued);
        self.bao.card = card.text().to_string();
        self.bao.enrolled = Enrolled { programme: short(PROGRAMME), id: enrolment, name };
        let granted = Granted { holder: self.bao.holder, enrolments: vec![self.bao.enrolled.clone()] };
        let card = Some((card_id, card.lookup_number()));
        self.keep(Registered { form, granted, main_key: None, voucher_module: xuanwu(), card, secret: [7; 32] });
    }

    fn keep(&mut self, registered: Registered) {
        self.ask(Command::Keep(Box::new(registered))).unwrap();
        let letters = self.town.letters(xuanwu());
        assert_eq!(letters.len(), 1);
        assert_eq!((letters[0].to, letters[0].path.as_str()), (xuanwu(), HOLDERS_PATH));
        let letter: HolderLetter = serde_json::from_slice(&letters[0].body).unwrap();
        self.wallet(voucher::Command::Learn { from: xuanwu(), letter: Box::new(letter) }).unwrap();
    }

    pub(crate) fn enrol(
        &mut self,
        id: EnrolmentId,
        key: Option<crate::token::PublicKey>,
        community: InstitutionId,
    ) -> RecordName {
        let (programme, voucher_module) = (self.programme, xuanwu());
        let key = key.map(|key| replica::holder_key(&key));
        self.registrar(RegistrarEvent::Enrolled { id, key, programme, community, voucher_module })
    }

    /// The registrar writes, and everyone hears it.
    pub(crate) fn registrar(&mut self, event: RegistrarEvent) -> RecordName {
        let name = self.town.write(health(), Role::Issuer, Body::Registrar(event));
        self.town.spread();
        name
    }

    /// The programme's policy becomes another, and acts.
    pub(crate) fn change_policy(&mut self, change: impl FnOnce(&mut Policy)) {
        change(&mut self.policy);
        let event = ProgrammeEvent::Changed { programme: self.programme, policy: self.policy.clone() };
        self.town.write(health(), Role::Issuer, Body::Programme(event));
        self.town.pass(Millis::minutes(10));
        self.town.spread();
    }

    /// Another programme like that of all scenes.
    pub(crate) fn open_programme(&mut self, name: &str) {
        let policy = Policy { programme: short(name), ..self.policy.clone() };
        self.town.write(health(), Role::Issuer, Body::Programme(ProgrammeEvent::Published(policy)));
        self.town.pass(Millis::minutes(10));
        self.town.spread();
    }

    /// Asks the community.
    pub(crate) fn ask(&mut self, command: Command) -> Result<Answer, Refused> {
        self.town.ask::<Community>(xuanwu(), command)
    }

    /// Asks the voucher module.
    pub(crate) fn wallet(&mut self, command: voucher::Command) -> Result<voucher::Answer, Refused> {
        self.town.ask::<VoucherModule>(xuanwu(), command)
    }

    pub(crate) fn pending(&self, thumbprint: &[u8; 32]) -> Option<Pending> {
        self.town.read(xuanwu(), |work| registration::pending(work, thumbprint, self.town.now))
    }

    pub(crate) fn person(&self, holder: HolderId) -> Option<people::Person> {
        self.town.read(xuanwu(), |work| people::of(&work.tx, holder))
    }

    /// The issuer takes a step.
    pub(crate) fn issuer(&mut self, voucher: VoucherId, step: Step) {
        self.town.decide(health(), |desk| desk.step(Role::Issuer, voucher, step)).unwrap();
        self.town.spread();
    }

    /// The hospital takes a step.
    pub(crate) fn hospital(&mut self, voucher: VoucherId, step: Step) {
        self.town.decide(id("gulou"), |desk| desk.step(Role::Hospital, voucher, step)).unwrap();
        self.town.spread();
    }

    /// Vouchers of the programme come into stock, QRs made.
    pub(crate) fn stock(&mut self, count: u64) -> Vec<VoucherId> {
        let (programme, from, until) = (self.programme, self.town.now, self.town.now + self.policy.validity());
        let vouchers: Vec<VoucherId> = (0..count)
            .map(|_| VoucherId { issuer: health(), uuid: Uuid::from_u128(u128::from(self.fresh())) })
            .collect();
        for voucher in &vouchers {
            self.issuer(*voucher, Step::Generated { programme, valid_from: from, valid_until: until });
            self.issuer(*voucher, Step::Sent { community: xuanwu() });
        }
        self.duties();
        vouchers
    }

    /// Community and voucher module do what they owe.
    pub(crate) fn duties(&mut self) {
        self.town.do_duties::<Community>(xuanwu());
        self.town.do_duties::<VoucherModule>(xuanwu());
        self.town.spread();
    }

    /// What Anna's phone shows to be given a voucher.
    pub(crate) fn receive(&mut self) -> String {
        let step = Wish::Receive { community: "xuanwu".into(), programme: PROGRAMME.into() };
        let cti = self.fresh();
        self.anna.show(step, cti, self.town.now)
    }

    /// Anna has a voucher.
    pub(crate) fn issued(&mut self) -> VoucherId {
        self.stock(1);
        let qr = self.receive();
        let Answer::Issued(issued) = self.ask(Command::Issue { qr }).unwrap() else { panic!("issued") };
        self.town.spread();
        issued.voucher
    }

    /// Anna's consent to cancel, move or deny.
    pub(crate) fn cancel_qr(&mut self, voucher: VoucherId) -> String {
        let step = Wish::Cancel { audience: "xuanwu".into(), voucher: name_of(voucher) };
        let cti = self.fresh();
        self.anna.show(step, cti, self.town.now)
    }

    /// Bao's card in a clerk's hand.
    pub(crate) fn assist(&mut self) -> Assist {
        let (a, b) = (self.fresh(), self.fresh());
        Assist {
            card: Card::parse(&self.bao.card).unwrap(),
            helper: domain::ids::Operator(Uuid::from_u128(7)),
            reason: AssistReason::NoPhone,
            cti: [a.to_be_bytes(), b.to_be_bytes()],
        }
    }
}
