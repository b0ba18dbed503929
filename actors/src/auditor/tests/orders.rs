//! Any order of arrival: wild histories by honest and dishonest hands, received in many orders, give the same state.

use domain::holder::{BlockReason, RegistrarEvent};
use domain::ids::{CardId, Digest, InstitutionId, Operator, RecordName, VoucherId};
use domain::lifecycle::{
    AbortReason, ClaimReason, DeclineReason, Outcome, ReclaimReason, ReleaseReason, ReturnReason, ReverseReason, Step,
    VoidCause,
};
use domain::member::Role;
use domain::policy::ProgrammeEvent;
use domain::record::{
    AssistReason, Assisted, Body, ChainRecord, Note, NoteRecord, Presentation, VoidReason, Witnessed,
};
use domain::time::Millis;
use uuid::Uuid;

use super::*;
use crate::auditor::verify::compare;
use crate::kv::{Memory, Tx};
use crate::replica::Work;

/// Histories that are tried, each with [`ORDERS`] orders of arrival.
const HISTORIES: u64 = 12;

/// Orders of arrival per history.
const ORDERS: u64 = 4;

/// Moves in a history.
const MOVES: u64 = 70;

/// Numbers that depend on the seed alone (an LCG with Knuth's constants).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn of<T: Copy>(&mut self, choice: &[T]) -> T {
        choice[usize::try_from(self.roll(choice.len() as u64)).unwrap()]
    }
}

/// A history in the making.
struct Wild {
    scene: Scene,
    dice: Dice,
    vouchers: Vec<VoucherId>,
}

impl Wild {
    fn new(seed: u64) -> Self {
        let mut scene = Scene::new();
        let vouchers = vec![scene.issued(), scene.booked()];
        Self { scene, dice: Dice(seed), vouchers }
    }

    /// A record of the voucher's chain: mostly its head, sometimes an older one.
    fn prev(&mut self, voucher: VoucherId) -> RecordName {
        let doc = self.scene.town.voucher(health(), voucher).unwrap();
        let links: Vec<RecordName> = doc.links.iter().map(|l| l.name).collect();
        if self.dice.roll(4) == 0 { self.dice.of(&links) } else { doc.head_name().unwrap() }
    }

    /// A registrar position: mostly the newest, sometimes an older one.
    fn position(&mut self) -> RecordName {
        let newest = self.scene.town.read(health(), |work| work.registrar_position()).unwrap();
        if self.dice.roll(4) > 0 {
            return newest;
        }
        let index = self.dice.roll(newest.index + 1);
        self.scene.town.read(health(), |work| work.name_at(health(), index)).unwrap()
    }

    fn last_of(&self, institution: InstitutionId) -> Option<RecordName> {
        let next = self.scene.town.read(institution, |work| work.cursor(institution).next);
        self.scene.town.read(institution, |work| work.name_at(institution, next.checked_sub(1)?))
    }

    fn shown(&mut self, step: vp1::Step) -> Presentation {
        if self.dice.roll(3) > 0 {
            let text = self.scene.show(step);
            return self.scene.presentation(&text);
        }
        let key = self.scene.card.key_for(*self.scene.enrolment.1.0.as_bytes());
        let text = self.scene.show_as(step, &key, self.scene.town.now);
        let assisted = Some(Assisted { helper: Operator(Uuid::from_u128(3)), reason: AssistReason::NoPhone });
        Presentation { assisted, ..self.scene.presentation(&text) }
    }

    /// Somebody takes a step that may or may not count.
    fn step(&mut self) {
        let voucher = self.dice.of(&self.vouchers.clone());
        let (hospital, name) = self.dice.of(&[(gulou(), "gulou"), (gulou(), "gulou"), (id("zhongda"), "zhongda")]);
        let now = self.scene.town.now;
        let prev = self.prev(voucher);
        let named = named(voucher);
        let (at, role, step) = match self.dice.roll(19) {
            0 | 1 => {
                let (respond_by, use_from, use_by) = (now + Millis::hours(6), now, now + Millis::hours(9));
                let booked = Step::Booked { hospital, details: Digest([1; 32]), respond_by, use_from, use_by };
                (xuanwu(), Role::Voucher, booked)
            }
            2 | 3 => (hospital, Role::Hospital, Step::BookingConfirmed),
            4 => (hospital, Role::Hospital, Step::BookingDeclined { reason: DeclineReason::Unable }),
            5 => (hospital, Role::Hospital, Step::BookingReleased { reason: ReleaseReason::Unable }),
            6 => {
                let position = self.last_of(hospital).unwrap_or(prev);
                (xuanwu(), Role::Voucher, Step::BookingLapsed { position })
            }
            7..=9 => {
                let presentation = self.shown(vp1::Step::Arrive { audience: name.into(), voucher: named });
                (hospital, Role::Hospital, Step::UseConfirmed { presentation, complete_by: now + Millis::days(3) })
            }
            10 => (
                hospital,
                Role::Hospital,
                Step::UseAborted { reason: self.dice.of(&[AbortReason::DeskError, AbortReason::HolderLeft]) },
            ),
            11 | 12 => {
                let presentation = self.shown(vp1::Step::Complete { audience: name.into(), voucher: named });
                let claim_by = now + Millis::days(3);
                (hospital, Role::Hospital, Step::ExamCompleted { evidence: Digest([2; 32]), presentation, claim_by })
            }
            13 => {
                (hospital, Role::Hospital, Step::RedemptionClaimed { answers: self.dice.of(&[None, None, Some(prev)]) })
            }
            14 => (health(), Role::Issuer, Step::Redeemed),
            15 => (
                health(),
                Role::Issuer,
                Step::ClaimRejected { reason: ClaimReason::ItemNotDone, is_final: self.dice.roll(2) == 0 },
            ),
            16 => {
                let (at, role) = self.dice.of(&[(xuanwu(), Role::Voucher), (hospital, Role::Hospital)]);
                (at, role, Step::Returned { reason: ReturnReason::NotNeeded })
            }
            17 => {
                let step = match self.dice.roll(4) {
                    0 => Step::Reversed {
                        reason: ReverseReason::Mistake,
                        approver: Operator(Uuid::from_u128(9)),
                        void: false,
                    },
                    1 => Step::Voided { cause: VoidCause::Reason(VoidReason::Mistake) },
                    2 => Step::Resolved { outcome: Outcome::Keep(prev), approver: Operator(Uuid::from_u128(9)) },
                    _ => Step::Reclaimed { reason: ReclaimReason::Silent, positions: Vec::new() },
                };
                (health(), Role::Issuer, step)
            }
            _ => (xuanwu(), Role::Voucher, Step::HandedOver { enrolment: self.scene.enrolment.0 }),
        };
        let registrar = self.position();
        self.scene.town.lie(at, role, Body::Chain(ChainRecord { voucher, prev: Some(prev), registrar, step }));
    }

    /// Somebody says something about a voucher.
    fn note(&mut self) {
        let voucher = self.dice.of(&self.vouchers.clone());
        let about = self.prev(voucher);
        let registrar = self.position();
        let (at, role, note) = match self.dice.roll(3) {
            0 => (health(), Role::Issuer, Note::VoidRequested { reason: VoidReason::Mistake }),
            1 => {
                let step = vp1::Step::Cancel { audience: "xuanwu".into(), voucher: named(voucher) };
                let witnessed = Witnessed { presentation: self.shown(step), registrar };
                (xuanwu(), Role::Voucher, Note::CancelRequested { witnessed })
            }
            _ => (gulou(), Role::Hospital, Note::NoShow),
        };
        self.scene.town.lie(at, role, Body::Note(NoteRecord { voucher, about, note }));
    }

    /// The registrar or the issuer changes what others are judged by.
    fn change(&mut self) {
        let institution = self.dice.of(&[gulou(), id("zhongda"), xuanwu()]);
        let next = self.scene.town.read(institution, |work| work.cursor(institution).next);
        let from = next - self.dice.roll(4).min(next);
        let approver = Operator(Uuid::from_u128(9));
        let enrolment = self.scene.enrolment.0;
        let event = match self.dice.roll(9) {
            0 => RegistrarEvent::MemberSuspended { institution, from, approver },
            1 | 2 => RegistrarEvent::MemberRestored { institution, from: next, approver },
            3 if self.dice.roll(3) == 0 => {
                RegistrarEvent::LogFrozen { institution, size: from, root: Digest([0; 32]), approver }
            }
            3 if self.dice.roll(2) == 0 => {
                let (institution, successor) = (id("zhongda"), gulou());
                let size = self.scene.town.read(institution, |work| work.cursor(institution).next);
                let root = Digest([0; 32]);
                RegistrarEvent::LogSucceeded { institution, size, root, successor, approver }
            }
            4 if self.dice.roll(4) == 0 => {
                RegistrarEvent::EnrolmentBlocked { enrolment, reason: BlockReason::LostOrStolen }
            }
            5 => {
                let key = self.dice.of(&[[7_u8; 32], [7; 32], [8; 32]]);
                let key = Some(crate::replica::holder_key(&crate::token::HolderKey::ed25519(&key).public()));
                RegistrarEvent::EnrolmentKeyChanged { enrolment, key }
            }
            6 => {
                let key = self.scene.card.key_for(*self.scene.enrolment.1.0.as_bytes());
                let mut bytes = [0; 32];
                bytes.copy_from_slice(key.public().as_bytes());
                RegistrarEvent::CardIssued { enrolment, card: CardId(Uuid::from_u128(4)), key: bytes }
            }
            _ => {
                let programme = self.scene.programme;
                let mut policy = self
                    .scene
                    .town
                    .read(health(), |work| work.programme(&programme))
                    .unwrap()
                    .newest()
                    .unwrap()
                    .clone();
                policy.card_allowed = !policy.card_allowed;
                self.scene.town.lie(
                    health(),
                    Role::Issuer,
                    Body::Programme(ProgrammeEvent::Changed { programme, policy }),
                );
                return;
            }
        };
        self.scene.town.lie(health(), Role::Issuer, Body::Registrar(event));
    }

    /// One move. Who writes has not always heard what others wrote.
    fn go(&mut self) {
        self.scene.town.pass(Millis::minutes(i64::try_from(self.dice.roll(40)).unwrap()));
        match self.dice.roll(10) {
            0 => self.change(),
            1 => self.note(),
            _ => self.step(),
        }
        if self.dice.roll(3) > 0 {
            self.scene.town.spread();
        }
    }
}

/// Folds the logs that `audit` holds in an order that the dice give, some records at a time.
fn received(scene: &Scene, dice: &mut Dice) -> Memory {
    let settings = scene.town.read(audit(), |work| work.settings.clone());
    let mut memory = Memory::default();
    let mut registry = std::sync::Arc::new(domain::member::Registry::new(settings.registrar));
    let sizes = scene.town.read(audit(), crate::auditor::verify::folded_sizes);
    let mut next: Vec<(InstitutionId, u64, u64)> = sizes.into_iter().map(|(id, size)| (id, 0, size)).collect();
    while !next.is_empty() {
        let which = usize::try_from(dice.roll(next.len() as u64)).unwrap();
        let run = 1 + dice.roll(20);
        let (institution, index, size) = &mut next[which];
        let until = (*index + run).min(*size);
        let mut work = Work { tx: Tx::new(&memory), registry: registry.clone(), settings: &settings };
        let first = *index;
        for at in first..until {
            let bytes = scene.town.base(audit()).entry(*institution, at).unwrap();
            crate::replica::apply(&mut work, *institution, at, &bytes);
        }
        let changed = work.registry.clone();
        let writes = work.tx.into_writes();
        memory.commit(writes);
        for at in first..until {
            memory.hold(*institution, at, scene.town.base(audit()).entry(*institution, at).unwrap());
        }
        registry = changed;
        *index = until;
        if until == *size {
            next.remove(which);
        }
    }
    memory
}

#[test]
fn wild_histories_give_the_same_state_in_any_order_of_arrival() {
    let mut stages = std::collections::BTreeSet::new();
    for seed in 0..HISTORIES {
        let mut wild = Wild::new(seed);
        for _ in 0..MOVES {
            wild.go();
        }
        wild.scene.town.spread();
        let vouchers = wild.vouchers.clone();
        stages.extend(vouchers.iter().map(|v| wild.scene.town.voucher(audit(), *v).unwrap().state().unwrap().stage));
        let mut dice = Dice(seed ^ 0x5eed);
        let first = received(&wild.scene, &mut dice);
        for order in 1..ORDERS {
            let other = received(&wild.scene, &mut dice);
            let compared = compare(&first, &other);
            assert_eq!((compared.differing, &compared.keys), (0, &Vec::new()), "seed {seed}, order {order}");
        }
    }
    assert!(stages.len() >= 5, "the histories get about: {stages:?}");
}

/// The programme forbids cards; a hospital that has not heard of it uses one long after, and writes under an old date behind
/// it. Who hears of the use first judges it again when the change comes.
#[test]
fn a_change_of_programme_that_comes_late_is_judged_as_if_it_had_come_first() {
    let mut scene = Scene::new();
    let voucher = scene.booked();
    scene.at(SLOT);
    let (programme, changed) = (scene.programme, scene.town.read(health(), |work| work.programme(&scene.programme)));
    let mut policy = changed.unwrap().newest().unwrap().clone();
    policy.card_allowed = false;
    scene.town.lie(health(), Role::Issuer, Body::Programme(ProgrammeEvent::Changed { programme, policy }));
    scene.town.pass(Millis::minutes(20));
    let card = scene.card.key_for(*scene.enrolment.1.0.as_bytes());
    let step = vp1::Step::Arrive { audience: "gulou".into(), voucher: named(voucher) };
    let text = scene.show_as(step, &card, scene.town.now);
    let assisted = Some(Assisted { helper: Operator(Uuid::from_u128(3)), reason: AssistReason::NoPhone });
    let presentation = Presentation { assisted, ..scene.presentation(&text) };
    let used = Step::UseConfirmed { presentation, complete_by: SLOT + Millis::days(7) };
    scene.town.decide(gulou(), |desk| desk.step(Role::Hospital, voucher, used)).unwrap();
    let now = std::mem::replace(&mut scene.town.now, DAWN);
    scene.town.lie(gulou(), Role::Hospital, Body::Heartbeat);
    scene.town.now = now;
    let stage = |scene: &Scene, at| scene.town.voucher(at, voucher).unwrap().state().unwrap().stage;
    scene.town.carry(gulou(), audit(), u64::MAX);
    assert_eq!(stage(&scene, audit()), Stage::InUse, "nothing is known against it");
    scene.town.spread();
    for at in [health(), audit(), gulou()] {
        assert_eq!(stage(&scene, at), Stage::Booked, "{at}");
    }
}
