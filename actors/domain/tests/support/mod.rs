//! A small federation in memory: logs of named institutions, and what a node sees that holds any prefix of each.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)] // each test binary uses its part

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use domain::custody::{self, Folded, Link, Names, Tree, Verdict, View};
use domain::holder::{BlockReason, Enrolment, EnrolmentChange, HolderKey, RegistrarEvent};
use domain::ids::{Digest, EnrolmentId, InstitutionId, Operator, RecordName, ShortName, VoucherId};
use domain::lifecycle::{AbortReason, ClaimReason, DeclineReason, ReclaimReason, ReleaseReason, ReturnReason};
use domain::lifecycle::{Outcome, ReverseReason, Stage, Step, VoidCause, Voucher};
use domain::member::{Change, Member, MemberEntry, Registry, Role, Signature, What};
use domain::policy::{Class, Policy, Programme, ProgrammeEvent};
use domain::reasons::Reason;
use domain::record::{Body, ChainRecord, Claims, Consent, Note, NoteRecord, Presentation, Record, VoidReason};
use domain::time::{Millis, Timestamp};
use uuid::Uuid;

/// The issuer and registrar, another issuer, the community, two voucher modules, three hospitals.
pub const EVERYBODY: [&str; 8] = ["i", "i2", "c", "v", "v2", "h1", "h2", "h3"];

/// First moment after the voucher's validity, in hours of the town's time.
pub const VALID_UNTIL: i64 = 100;

/// The institution of that name.
pub fn id(name: &str) -> InstitutionId {
    InstitutionId::new(name).unwrap()
}

/// That many hours after the town's first moment.
pub fn hour(n: i64) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000) + Millis::hours(n)
}

/// An operator, by number.
pub fn operator(n: u128) -> Operator {
    Operator(Uuid::from_u128(n))
}

/// The phone's key, by number.
pub fn phone(n: u8) -> HolderKey {
    HolderKey::Ed25519([n; 32])
}

/// The role that an institution of the town plays.
pub fn role_of(who: InstitutionId) -> Role {
    match who.as_str().as_bytes()[0] {
        b'i' => Role::Issuer,
        b'c' => Role::Community,
        b'v' => Role::Voucher,
        _ => Role::Hospital,
    }
}

/// How much of each log a node holds.
pub type Held = BTreeMap<InstitutionId, usize>;

/// The logs of everybody, and one voucher.
#[derive(Clone)]
pub struct Town {
    /// The logs by institution.
    pub logs: BTreeMap<InstitutionId, Vec<(RecordName, Record)>>,
    /// The voucher of the story.
    pub voucher: VoucherId,
    /// The programme's record.
    pub programme: RecordName,
    /// The holder's enrolment with `v`.
    pub enrolment: RecordName,
    /// The registrar position that writers name, unless they name the newest.
    pub judged_by: Option<RecordName>,
    /// What presentations say, by their bytes, and the key under which they verify.
    pub presentations: HashMap<Vec<u8>, (Claims, HolderKey)>,
    /// Logs that forked, with the last common size.
    pub forks: BTreeMap<InstitutionId, u64>,
    made: u64,
}

/// What a node sees that holds some prefix of each log.
pub struct Node<'a> {
    town: &'a Town,
    held: Held,
    registry: Registry,
    enrolments: BTreeMap<RecordName, Arc<Enrolment>>,
    programmes: BTreeMap<RecordName, Arc<Programme>>,
}

/// A voucher as a node sees it.
pub struct Seen {
    /// Its links.
    pub links: Vec<Link>,
    /// The fold.
    pub folded: Folded,
}

impl Seen {
    /// The state, or none before `Generated`.
    pub fn state(&self) -> &Voucher {
        self.folded.head().unwrap().1
    }

    /// The stage of the head.
    pub fn stage(&self) -> Stage {
        self.state().stage
    }

    /// How the record of that name stands.
    pub fn verdict(&self, name: RecordName) -> Verdict {
        self.folded.verdicts[self.links.iter().position(|l| l.name == name).unwrap()]
    }

    /// Path by names, with the state after each.
    pub fn path(&self) -> Vec<(RecordName, Voucher)> {
        self.folded.path.iter().map(|(i, v)| (self.links[*i].name, v.clone())).collect()
    }

    /// Verdicts by name.
    pub fn verdicts(&self) -> BTreeMap<RecordName, Verdict> {
        self.links.iter().map(|l| l.name).zip(self.folded.verdicts.iter().copied()).collect()
    }
}

impl Town {
    /// Members, programme and one enrolment stand in the issuer's log; nothing else is written.
    pub fn new() -> Self {
        let nowhere = RecordName { institution: id("i"), index: 0, id: Digest::default() };
        let mut town = Self {
            logs: EVERYBODY.iter().map(|n| (id(n), Vec::new())).collect(),
            voucher: VoucherId { issuer: id("i"), uuid: Uuid::from_u128(1) },
            programme: nowhere,
            enrolment: nowhere,
            judged_by: None,
            presentations: HashMap::new(),
            forks: BTreeMap::new(),
            made: 0,
        };
        for name in EVERYBODY {
            let entry = MemberEntry {
                institution: id(name),
                roles: vec![role_of(id(name))],
                url: String::new(),
                origin: name.to_owned(),
                keys: [[0; 32]; 3],
                proofs: [Signature { r: [0; 32], s: [0; 32] }; 3],
            };
            town.registrar(0, RegistrarEvent::MemberRegistered(entry));
        }
        let policy = town.policy(true);
        town.programme = town.write("i", hour(0), Body::Programme(ProgrammeEvent::Published(policy)));
        town.enrolment = town.enrol("v");
        town
    }

    /// A policy that allows printed cards or not.
    pub fn policy(&self, card_allowed: bool) -> Policy {
        let name = |t: &str| ShortName::new(t).unwrap();
        Policy {
            programme: name("checkup"),
            title_zh: "体检".into(),
            title_en: "Checkup".into(),
            service: name("checkup"),
            issuing_department: "health".into(),
            classes: vec![Class::Elderly],
            validity_days: 30,
            vouchers_per_holder: 1,
            departments: vec![name("cardiology")],
            card_allowed,
        }
    }

    /// Another enrolment of the programme, with that voucher module and the same phone.
    pub fn enrol(&mut self, module: &str) -> RecordName {
        let event = RegistrarEvent::Enrolled {
            id: EnrolmentId(Uuid::from_u128(7)),
            key: Some(phone(1)),
            programme: self.programme,
            community: id("c"),
            voucher_module: id(module),
        };
        self.registrar(0, event)
    }

    /// Appends to a log. A time before the log's last is lifted to it, as in every log.
    pub fn write(&mut self, who: &str, at: Timestamp, body: Body) -> RecordName {
        self.write_as(id(who), role_of(id(who)), at, body)
    }

    /// The same in another role.
    pub fn write_as(&mut self, who: InstitutionId, role: Role, at: Timestamp, body: Body) -> RecordName {
        self.made += 1;
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&self.made.to_be_bytes());
        let log = self.logs.get_mut(&who).unwrap();
        let at = log.last().map_or(at, |(_, last)| last.at.max(at));
        let index = log.len() as u64;
        let name = RecordName { institution: who, index, id: Digest(digest) };
        let record = Record { institution: who, index, role, at, operator: Some(operator(1)), idempotency: None, body };
        log.push((name, record));
        name
    }

    /// What the registrar says, at an hour.
    pub fn registrar(&mut self, at: i64, event: RegistrarEvent) -> RecordName {
        self.write("i", hour(at), Body::Registrar(event))
    }

    /// A step of the voucher.
    pub fn step(&mut self, who: &str, at: Timestamp, prev: RecordName, step: Step) -> RecordName {
        let registrar = self.judged_by.unwrap_or_else(|| self.newest_registrar());
        self.write(who, at, Body::Chain(ChainRecord { voucher: self.voucher, prev: Some(prev), registrar, step }))
    }

    /// The newest position of the registrar's log.
    pub fn newest_registrar(&self) -> RecordName {
        self.logs[&id("i")].last().unwrap().0
    }

    /// Time passes in a log.
    pub fn heartbeat(&mut self, who: &str, at: i64) -> RecordName {
        self.write(who, hour(at), Body::Heartbeat)
    }

    /// A note about the voucher.
    pub fn note(&mut self, who: &str, at: i64, about: RecordName, note: Note) -> RecordName {
        self.write(who, hour(at), Body::Note(NoteRecord { voucher: self.voucher, about, note }))
    }

    /// A presentation that verifies under the enrolment's first phone key.
    pub fn signed(&mut self, at: Timestamp, consent: Consent) -> Presentation {
        self.made += 1;
        let cose = self.made.to_be_bytes().to_vec();
        let kid = Uuid::from_u128(7).as_bytes()[..8].try_into().unwrap();
        let claims = Claims { kid, iat_secs: at.secs(), cti: self.made.to_be_bytes(), consent };
        self.presentations.insert(cose.clone(), (claims, phone(1)));
        Presentation { cose, assisted: None }
    }

    /// The holder says to a hospital: I am here.
    pub fn arrive(&mut self, hospital: &str, at: Timestamp) -> Presentation {
        self.signed(at, Consent::Arrive { aud: id(hospital), voucher: self.voucher })
    }

    /// `Generated`, at hour 1, valid from hour 0.
    pub fn generate(&mut self) -> RecordName {
        let step = Step::Generated { programme: self.programme, valid_from: hour(0), valid_until: hour(VALID_UNTIL) };
        let registrar = self.newest_registrar();
        self.write("i", hour(1), Body::Chain(ChainRecord { voucher: self.voucher, prev: None, registrar, step }))
    }

    /// Generated, sent, encoded and issued to the holder, by hour 4.
    pub fn issue(&mut self) -> RecordName {
        let generated = self.generate();
        let sent = self.step("i", hour(2), generated, Step::Sent { community: id("c") });
        let encoded = self.step("c", hour(3), sent, Step::Encoded { token: "VQ1:".into() });
        let step = self.issued_step(hour(4));
        self.step("c", hour(4), encoded, step)
    }

    /// `Issued` to the holder, who agrees.
    pub fn issued_step(&mut self, at: Timestamp) -> Step {
        let presentation = self.signed(at, Consent::Receive { aud: id("c"), programme: "checkup".into() });
        Step::Issued { enrolment: self.enrolment, presentation }
    }

    /// Books a hospital at an hour: answer within 10 hours, arrival from 20 to 24 hours later.
    pub fn book(&mut self, hospital: &str, at: i64, prev: RecordName) -> RecordName {
        self.step("v", hour(at), prev, booked_step(hospital, at))
    }

    /// Books and confirms.
    pub fn book_and_confirm(&mut self, hospital: &str, at: i64, prev: RecordName) -> RecordName {
        let booked = self.book(hospital, at, prev);
        self.step(hospital, hour(at + 1), booked, Step::BookingConfirmed)
    }

    /// The holder arrives.
    pub fn use_it(&mut self, hospital: &str, at: i64, prev: RecordName) -> RecordName {
        let step = self.use_step(hospital, hour(at));
        self.step(hospital, hour(at), prev, step)
    }

    /// `UseConfirmed`, with the holder's presentation.
    pub fn use_step(&mut self, hospital: &str, at: Timestamp) -> Step {
        let presentation = self.arrive(hospital, at);
        Step::UseConfirmed { presentation, complete_by: at + Millis::days(7) }
    }

    /// The examination is complete, and claimed at the same hour.
    pub fn complete_and_claim(&mut self, hospital: &str, at: i64, prev: RecordName) -> RecordName {
        let step = self.complete_step(hospital, hour(at));
        let completed = self.step(hospital, hour(at), prev, step);
        self.step(hospital, hour(at), completed, Step::RedemptionClaimed { answers: None })
    }

    /// `ExamCompleted`, with the holder's presentation.
    pub fn complete_step(&mut self, hospital: &str, at: Timestamp) -> Step {
        let presentation = self.signed(at, Consent::Complete { aud: id(hospital), voucher: self.voucher });
        Step::ExamCompleted { evidence: Digest::default(), presentation, claim_by: at + Millis::days(30) }
    }

    /// The enrolment is blocked.
    pub fn block(&mut self, at: i64) -> RecordName {
        let (enrolment, reason) = (self.enrolment, BlockReason::LostOrStolen);
        self.registrar(at, RegistrarEvent::EnrolmentBlocked { enrolment, reason })
    }

    /// An institution is suspended from the end of its log on.
    pub fn suspend(&mut self, who: &str, at: i64) -> RecordName {
        let from = self.logs[&id(who)].len() as u64;
        self.registrar(at, RegistrarEvent::MemberSuspended { institution: id(who), from, approver: operator(2) })
    }

    /// An institution's log is frozen at that size.
    pub fn freeze(&mut self, who: &str, at: i64, size: u64) -> RecordName {
        let (institution, root, approver) = (id(who), Digest::default(), operator(2));
        self.registrar(at, RegistrarEvent::LogFrozen { institution, size, root, approver })
    }

    /// Everything that is written.
    pub fn all(&self) -> Held {
        self.logs.iter().map(|(who, log)| (*who, log.len())).collect()
    }

    /// Everything but the records of one log from a record on.
    pub fn without(&self, first: RecordName) -> Held {
        let mut held = self.all();
        held.insert(first.institution, first.index as usize);
        held
    }

    /// The voucher as a node sees it that holds everything.
    pub fn look(&self) -> Seen {
        self.look_with(&self.all())
    }

    /// The voucher as a node sees it that holds these prefixes.
    pub fn look_with(&self, held: &Held) -> Seen {
        let links = self.links(held);
        let folded = custody::fold(self.voucher, &links, &self.node(held));
        Seen { links, folded }
    }

    /// The voucher as a node sees it that lost something that one record names.
    pub fn look_waiting(&self, record: RecordName) -> Seen {
        let held = self.all();
        let mut links = self.links(&held);
        links.iter_mut().find(|l| l.name == record).unwrap().names = Names::Waiting;
        let folded = custody::fold(self.voucher, &links, &self.node(&held));
        Seen { links, folded }
    }

    /// What the author of a record would be told before it writes it, at the state that it sees.
    pub fn judge(&self, seen: &Seen, record: RecordName) -> Result<Voucher, Reason> {
        let node = self.node(&self.all());
        let index = seen.links.iter().position(|l| l.name == record).unwrap();
        Tree::new(self.voucher, &seen.links, &node).judge(index, Some(seen.state()))
    }

    /// The links of the voucher, in the order of institutions and logs.
    pub fn links(&self, held: &Held) -> Vec<Link> {
        let mut links = Vec::new();
        for (who, log) in &self.logs {
            let mut presented = BTreeSet::new();
            for (name, record) in &log[..held[who]] {
                let Body::Chain(chain) = &record.body else { continue };
                let presentation = custody::presentation_of(&chain.step);
                let claims = presentation.and_then(|p| self.presentations.get(&p.cose)).map(|(claims, _)| claims);
                links.push(Link {
                    name: *name,
                    at: record.at,
                    role: record.role,
                    operator: record.operator,
                    prev: chain.prev,
                    registrar: chain.registrar,
                    step: chain.step.clone(),
                    names: self.names(held, *name, chain),
                    claims: claims.cloned(),
                    first_use: claims.is_none_or(|c| presented.insert((c.kid, c.cti))),
                });
            }
        }
        links
    }

    fn names(&self, held: &Held, own: RecordName, chain: &ChainRecord) -> Names {
        let in_step = custody::named_in(&chain.step);
        let all: Vec<RecordName> = chain.prev.into_iter().chain([chain.registrar]).chain(in_step.to_vec()).collect();
        let record = |n: &RecordName| self.logs.get(&n.institution).and_then(|log| log.get(n.index as usize));
        let is_held = |n: &RecordName| held.get(&n.institution).is_some_and(|size| n.index < *size as u64);
        let follows = |n: &RecordName| n.institution == own.institution && n.index >= own.index;
        if all.iter().any(|n| follows(n) || (is_held(n) && record(n).is_none_or(|(name, _)| name != n))) {
            return Names::Wrong;
        }
        if !all.iter().all(is_held) {
            return Names::Waiting;
        }
        Names::Held(in_step.iter().filter_map(|n| record(n).map(|(_, r)| r.at)).collect())
    }

    /// Registry, enrolments and programmes of a node that holds these prefixes.
    pub fn node(&self, held: &Held) -> Node<'_> {
        let mut node = Node {
            town: self,
            held: held.clone(),
            registry: Registry::new(id("i")),
            enrolments: BTreeMap::new(),
            programmes: BTreeMap::new(),
        };
        for (name, record) in &self.logs[&id("i")][..held[&id("i")]] {
            match &record.body {
                Body::Registrar(event) => node.hear(*name, record.at, event),
                Body::Programme(ProgrammeEvent::Published(policy)) => {
                    let programme = Programme { name: *name, history: vec![(record.at, policy.clone())] };
                    node.programmes.insert(*name, Arc::new(programme));
                }
                Body::Programme(ProgrammeEvent::Changed { programme, policy }) => {
                    let known = node.programmes.get_mut(programme).unwrap();
                    Arc::make_mut(known).history.push((record.at, policy.clone()));
                }
                _ => {}
            }
        }
        node
    }
}

impl Node<'_> {
    fn hear(&mut self, name: RecordName, at: Timestamp, event: &RegistrarEvent) {
        let index = name.index;
        let (institution, from, what) = match event {
            RegistrarEvent::MemberRegistered(entry) => {
                let member = Member { entry: entry.clone(), old_keys: Vec::new(), changes: Vec::new() };
                self.registry.members.insert(entry.institution, member);
                (entry.institution, 0, What::Registered(entry.roles.clone()))
            }
            RegistrarEvent::MemberSuspended { institution, from, .. } => (*institution, *from, What::Suspended),
            RegistrarEvent::MemberRestored { institution, from, .. } => (*institution, *from, What::Restored),
            RegistrarEvent::MemberRevoked { institution, from, .. } => (*institution, *from, What::Revoked),
            RegistrarEvent::LogFrozen { institution, size, .. } => (*institution, *size, What::Frozen),
            RegistrarEvent::LogSucceeded { institution, size, successor, .. } => {
                (*institution, *size, What::LogSucceeded(*successor))
            }
            RegistrarEvent::IssuerSucceeded { issuer, from, successor, .. } => {
                (*issuer, *from, What::IssuerSucceeded(*successor))
            }
            RegistrarEvent::Enrolled { id, key, programme, community, voucher_module } => {
                let home = EnrolmentChange::Home(*community, *voucher_module);
                let history = vec![(index, at, EnrolmentChange::Key(*key)), (index, at, home)];
                let enrolment = Enrolment { name, id: *id, programme: *programme, history };
                self.enrolments.insert(name, Arc::new(enrolment));
                return;
            }
            RegistrarEvent::EnrolmentBlocked { enrolment, reason } => {
                return self.change(enrolment, (index, at, EnrolmentChange::Blocked(*reason)));
            }
            RegistrarEvent::EnrolmentKeyChanged { enrolment, key } => {
                return self.change(enrolment, (index, at, EnrolmentChange::Key(*key)));
            }
            RegistrarEvent::EnrolmentMoved { enrolment, community, voucher_module } => {
                return self.change(enrolment, (index, at, EnrolmentChange::Home(*community, *voucher_module)));
            }
            RegistrarEvent::CardIssued { enrolment, card, key } => {
                return self.change(enrolment, (index, at, EnrolmentChange::Card(*card, *key)));
            }
            _ => return,
        };
        let change = Change { index, at, from, what };
        self.registry.members.get_mut(&institution).unwrap().changes.push(change);
    }

    fn change(&mut self, enrolment: &RecordName, change: (u64, Timestamp, EnrolmentChange)) {
        Arc::make_mut(self.enrolments.get_mut(enrolment).unwrap()).history.push(change);
    }
}

impl View for Node<'_> {
    fn registry(&self) -> &Registry {
        &self.registry
    }
    fn enrolment(&self, name: &RecordName) -> Option<Arc<Enrolment>> {
        self.enrolments.get(name).cloned()
    }
    fn programme(&self, name: &RecordName) -> Option<Arc<Programme>> {
        self.programmes.get(name).cloned()
    }
    fn is_signed(&self, _: &RecordName, presentation: &Presentation, key: &HolderKey) -> bool {
        self.town.presentations.get(&presentation.cose).is_some_and(|(_, by)| by == key)
    }
    fn holds(&self, institution: InstitutionId, size: u64) -> bool {
        self.held.get(&institution).is_some_and(|held| *held as u64 >= size)
    }
    fn forked_at(&self, institution: InstitutionId) -> Option<u64> {
        self.town.forks.get(&institution).copied()
    }
}

/// `Booked` at an hour: answer within 10 hours, arrival from 20 to 24 hours later.
pub fn booked_step(hospital: &str, at: i64) -> Step {
    Step::Booked {
        hospital: id(hospital),
        details: Digest::default(),
        respond_by: hour(at + 10),
        use_from: hour(at + 20),
        use_by: hour(at + 24),
    }
}

/// `BookingDeclined`, the slot is taken.
pub const fn declined() -> Step {
    Step::BookingDeclined { reason: DeclineReason::SlotTaken }
}

/// `BookingReleased`, the hospital cannot.
pub const fn released() -> Step {
    Step::BookingReleased { reason: ReleaseReason::Unable }
}

/// `Returned`, the issuer asked.
pub const fn returned() -> Step {
    Step::Returned { reason: ReturnReason::VoidRequested }
}

/// `UseAborted`, the holder left.
pub const fn aborted() -> Step {
    Step::UseAborted { reason: AbortReason::HolderLeft }
}

/// `ClaimRejected`, for good or not.
pub const fn rejected(is_final: bool) -> Step {
    Step::ClaimRejected { reason: ClaimReason::Unfounded, is_final }
}

/// `Voided` for a reason.
pub const fn voided() -> Step {
    Step::Voided { cause: VoidCause::Reason(VoidReason::TakenBack) }
}

/// `Voided`, the validity is over as these positions prove.
pub fn expired(positions: &[RecordName]) -> Step {
    Step::Voided { cause: VoidCause::Expired { positions: positions.to_vec() } }
}

/// `Reclaimed` from a silent custodian.
pub fn reclaimed() -> Step {
    Step::Reclaimed { reason: ReclaimReason::Silent, positions: Vec::new() }
}

/// `Reversed`, approved by a second person.
pub fn reversed(void: bool) -> Step {
    Step::Reversed { reason: ReverseReason::Mistake, approver: operator(2), void }
}

/// `Resolved`, approved by a second person.
pub fn resolved(outcome: Outcome) -> Step {
    Step::Resolved { outcome, approver: operator(2) }
}
