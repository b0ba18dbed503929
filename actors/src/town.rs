//! A federation in memory, for tests: institutions with real rules, replicas and keys, without disk, network, actors.
//!
//! What one writes reaches the others when the test says so ([`Town::spread`]), in full or up to a size.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::FixedOffset;
use domain::holder::RegistrarEvent;
use domain::ids::{InstitutionId, Operator, RecordName, VoucherId};
use domain::member::{MemberEntry, Purpose, Registry, Role};
use domain::record::{Body, Record};
use domain::time::{Millis, Timestamp};
use ledger::key::PrivateKey;

use crate::kv::{Base, Memo, Memory, Tx};
use crate::outbox::{self, Letter};
use crate::replica::{self, Settings, VoucherDoc, Work};
use crate::role::{Reaction, Rules};
use crate::writer::{self, Act, Desk, Draft, Refused, Seen};

/// The time at which every town begins: Monday, 2 March 2026, 00:00 UTC.
pub const DAWN: Timestamp = Timestamp::from_millis(1_772_409_600_000);

/// One institution.
struct House {
    settings: Settings,
    memory: Memory,
    registry: Arc<Registry>,
    log: Vec<Arc<[u8]>>,
}

impl House {
    /// Takes over what of a log is new, up to a size, and folds it.
    fn fold(&mut self, from: InstitutionId, log: &[Arc<[u8]>], size: u64) {
        let mut work = Work { tx: Tx::new(&self.memory), registry: self.registry.clone(), settings: &self.settings };
        let next = usize::try_from(work.cursor(from).next).unwrap_or(usize::MAX);
        let mut held = Vec::new();
        for (index, bytes) in (0..size).zip(log).skip(next) {
            replica::apply(&mut work, from, index, bytes);
            held.push((index, bytes.clone()));
        }
        let registry = work.registry.clone();
        let writes = work.tx.into_writes();
        for (index, bytes) in held {
            self.memory.hold(from, index, bytes);
        }
        self.memory.commit(writes);
        self.registry = registry;
    }

    /// How much it holds of a log.
    fn size_of(&self, log: InstitutionId) -> u64 {
        let work = Work { tx: Tx::new(&self.memory), registry: self.registry.clone(), settings: &self.settings };
        work.cursor(log).next
    }
}

/// A federation in memory.
pub struct Town {
    houses: BTreeMap<InstitutionId, House>,
    /// The town's clock.
    pub now: Timestamp,
}

/// An institution's id in a test.
#[must_use]
pub fn id(text: &str) -> InstitutionId {
    text.parse().expect("a test names institutions well")
}

/// The seed of an institution's key for a purpose, the same in every run.
#[must_use]
pub fn seed(institution: InstitutionId, purpose: Purpose) -> [u8; 32] {
    use sha2::Digest as _;
    sha2::Sha256::digest(format!("town/{institution}/{}", purpose as u8)).into()
}

/// A member's entry with keys and proofs.
#[must_use]
pub fn entry(institution: InstitutionId, roles: &[Role]) -> MemberEntry {
    let origin = format!("town/{institution}");
    let keys = [Purpose::Log, Purpose::Node, Purpose::Witness].map(|p| PrivateKey::from_seed(&seed(institution, p)));
    let mut proofs = Vec::new();
    for (key, purpose) in keys.iter().zip([Purpose::Log, Purpose::Node, Purpose::Witness]) {
        proofs.push(replica::signature_of(&key.sign(&replica::possession_message(institution, purpose, &origin))));
    }
    MemberEntry {
        institution,
        roles: roles.to_vec(),
        url: format!("http://{institution}.test"),
        origin,
        keys: keys.each_ref().map(|k| *k.public().as_bytes()),
        proofs: [proofs[0], proofs[1], proofs[2]],
    }
}

impl Default for Town {
    /// The demo's federation: `health` (issuer, registrar), `xuanwu` (community, voucher module), `qinhuai`
    /// (community), `gulou` and `zhongda` (hospitals), `audit` (auditor).
    fn default() -> Self {
        Self::new(&[
            ("health", &[Role::Issuer]),
            ("xuanwu", &[Role::Community, Role::Voucher]),
            ("qinhuai", &[Role::Community]),
            ("gulou", &[Role::Hospital]),
            ("zhongda", &[Role::Hospital]),
            ("audit", &[Role::Auditor]),
        ])
    }
}

impl Town {
    /// A federation whose first institution is the registrar. All are registered and know of each other.
    #[must_use]
    pub fn new(institutions: &[(&str, &[Role])]) -> Self {
        let registrar = id(institutions[0].0);
        let offset = FixedOffset::east_opt(8 * 3600).expect("eight hours is an offset");
        let houses = institutions
            .iter()
            .map(|(name, roles)| {
                let retention = crate::personal::Retention::default();
                let settings = Settings { me: id(name), roles: roles.to_vec(), registrar, offset, retention };
                let registry = Arc::new(Registry::new(registrar));
                (id(name), House { settings, memory: Memory::default(), registry, log: Vec::new() })
            })
            .collect();
        let mut town = Self { houses, now: DAWN };
        for (name, roles) in institutions {
            crate::community::set_signer(id(name), &seed(id(name), Purpose::Node));
            let event = RegistrarEvent::MemberRegistered(entry(id(name), roles));
            town.write(registrar, Role::Issuer, Body::Registrar(event));
        }
        town.spread();
        town
    }

    /// Lets time pass.
    pub fn pass(&mut self, span: Millis) {
        self.now = self.now + span;
    }

    /// Decides a command of a role at an institution.
    ///
    /// # Errors
    ///
    /// What the role refuses.
    pub fn ask<R: Rules>(&mut self, at: InstitutionId, command: R::Command) -> Result<R::Answer, Refused> {
        self.decide(at, |desk| R::decide(desk, command))
    }

    /// Decides at an institution, as one operator.
    ///
    /// # Errors
    ///
    /// What the decision refuses.
    pub fn decide<T>(
        &mut self,
        at: InstitutionId,
        decision: impl FnOnce(&mut Desk<'_>) -> Result<T, Refused>,
    ) -> Result<T, Refused> {
        let now = self.now;
        let house = self.house(at);
        let act = Act { operator: Some(Operator(uuid::Uuid::from_u128(1))), idempotency: None };
        let size = house.log.len() as u64;
        let mut seen = Seen { registry: house.registry.clone(), memo: Memo::default() };
        let draft = writer::draft(&house.memory, &house.settings, &mut seen, size, now, act, decision)?;
        let Draft { answer, entries, seen, state, private, .. } = draft;
        for entry in entries {
            house.memory.hold(at, house.log.len() as u64, entry.bytes().clone());
            house.log.push(entry.bytes().clone());
        }
        house.memory.commit((state, private));
        house.registry = seen.registry;
        Ok(answer)
    }

    /// Writes a record as it is, and says where.
    pub fn write(&mut self, at: InstitutionId, role: Role, body: Body) -> RecordName {
        self.decide(at, |desk| desk.write(role, body)).expect("a test writes what can be written")
    }

    /// Writes a record without asking whether it may: what a dishonest node does.
    pub fn lie(&mut self, at: InstitutionId, role: Role, body: Body) -> RecordName {
        let index = self.house(at).log.len() as u64;
        let record = Record { institution: at, index, role, at: self.now, operator: None, idempotency: None, body };
        self.lie_in_bytes(at, &ledger::record::encode_record(&record).expect("a lie is small"))
    }

    /// The same with any bytes.
    pub fn lie_in_bytes(&mut self, at: InstitutionId, bytes: &[u8]) -> RecordName {
        let house = self.house(at);
        let index = house.log.len() as u64;
        let bytes: Arc<[u8]> = bytes.into();
        let mut work = Work { tx: Tx::new(&house.memory), registry: house.registry.clone(), settings: &house.settings };
        replica::apply(&mut work, at, index, &bytes);
        let registry = work.registry.clone();
        let writes = work.tx.into_writes();
        house.memory.commit(writes);
        house.memory.hold(at, index, bytes.clone());
        house.registry = registry;
        let id = domain::ids::Digest(ledger::merkle::leaf_hash(&bytes).0);
        house.log.push(bytes);
        RecordName { institution: at, index, id }
    }

    /// What an institution has stored.
    #[must_use]
    pub fn base(&self, at: InstitutionId) -> &dyn Base {
        &self.houses[&at].memory
    }

    /// Every log reaches everyone.
    pub fn spread(&mut self) {
        let ids: Vec<_> = self.houses.keys().copied().collect();
        for from in &ids {
            for to in &ids {
                self.carry(*from, *to, u64::MAX);
            }
        }
    }

    /// One log reaches one institution, up to a size.
    pub fn carry(&mut self, from: InstitutionId, to: InstitutionId, size: u64) {
        if from == to {
            return;
        }
        let entries = self.house(from).log.clone();
        self.house(to).fold(from, &entries, size);
    }

    /// An institution loses its mirror of another's log and gets it back only up to a size; it folds again what it holds.
    pub fn lose_mirror(&mut self, at: InstitutionId, of: InstitutionId, size: u64) {
        let logs: Vec<_> = self.houses.iter().map(|(id, house)| (*id, house.log.clone())).collect();
        let house = self.house(at);
        let sizes: BTreeMap<_, _> = logs.iter().map(|(id, _)| (*id, house.size_of(*id))).collect();
        house.memory.forget();
        house.registry = Arc::new(Registry::new(house.settings.registrar));
        for (id, log) in logs {
            let size = if id == of { size } else { sizes[&id] };
            house.fold(id, &log, size);
        }
    }

    /// An institution does what it owes in a role now, once. Returns how many duties were due.
    pub fn do_duties<R: Rules>(&mut self, at: InstitutionId) -> usize {
        let now = self.now;
        let due = self.read(at, |work| crate::role::due_in::<R>(work, now, 1_000));
        for (voucher, due) in &due {
            let (voucher, due) = (*voucher, *due);
            let _ = self.decide(at, |desk| crate::role::duty_step::<R>(desk, voucher, due, now));
        }
        if let Some(command) = self.read(at, |work| R::tick(work, now)) {
            let _ = self.ask::<R>(at, command);
        }
        due.len()
    }

    /// Reads at an institution.
    pub fn read<T>(&self, at: InstitutionId, reading: impl FnOnce(&Work<'_>) -> T) -> T {
        let house = &self.houses[&at];
        reading(&Work { tx: Tx::new(&house.memory), registry: house.registry.clone(), settings: &house.settings })
    }

    /// What an institution knows of a voucher.
    #[must_use]
    pub fn voucher(&self, at: InstitutionId, voucher: VoucherId) -> Option<VoucherDoc> {
        self.read(at, |work| work.voucher(voucher))
    }

    /// Takes the letters out of an institution's outbox.
    pub fn letters(&mut self, at: InstitutionId) -> Vec<Letter> {
        let letters = self.read(at, |work| outbox::letters(&work.tx, 0, 10_000));
        for letter in &letters {
            let taken = self.decide(at, |desk| {
                outbox::delivered(desk, letter.number);
                Ok(())
            });
            taken.expect("a letter can be taken out");
        }
        letters
    }

    /// An entry of a log.
    #[must_use]
    pub fn entry(&self, at: InstitutionId, index: u64) -> Option<Arc<[u8]>> {
        self.houses[&at].memory.entry(at, index)
    }

    /// Every row of an institution's state: what must be equal wherever the same logs are held by the same institution.
    #[must_use]
    pub fn state(&self, at: InstitutionId) -> BTreeMap<Vec<u8>, Vec<u8>> {
        self.houses[&at].memory.state().map(|(k, v)| (k.to_vec(), v.to_vec())).collect()
    }

    fn house(&mut self, at: InstitutionId) -> &mut House {
        self.houses.get_mut(&at).expect("a test asks institutions of its town")
    }
}

/// What a role would do about a duty, for tests of `react`.
pub fn reaction<R: Rules>(
    town: &Town,
    at: InstitutionId,
    voucher: VoucherId,
    due: domain::duty::Due,
) -> Option<Reaction<R::Command>> {
    town.read(at, |work| work.voucher(voucher).map(|doc| R::react(work, voucher, &doc, due, town.now)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_that_passes_over_a_refused_write_is_refused_as_a_whole() {
        let mut town = Town::default();
        let health = id("health");
        let before = (town.state(health), town.read(health, |work| work.cursor(health).next));
        let missing = VoucherId { issuer: health, uuid: uuid::Uuid::nil() };
        let steps: [fn(&mut Desk<'_>, VoucherId) -> bool; 3] = [
            |desk, id| desk.step(Role::Issuer, id, domain::lifecycle::Step::Redeemed).is_ok(),
            |desk, id| desk.note(Role::Issuer, id, domain::record::Note::NoShow).is_ok(),
            // Written already when it is found that it does not count: a second registration of the same institution.
            |desk, _| {
                let event = RegistrarEvent::MemberRegistered(entry(id("gulou"), &[Role::Hospital]));
                desk.write(Role::Issuer, Body::Registrar(event)).is_ok()
            },
        ];
        for (nth, step) in steps.into_iter().enumerate() {
            let decided = town.decide(health, |desk| {
                desk.write(Role::Issuer, Body::Heartbeat)?;
                assert!(!step(desk, missing), "step {nth} is refused");
                Ok("all is well")
            });
            assert!(decided.is_err(), "step {nth}");
            let after = (town.state(health), town.read(health, |work| work.cursor(health).next));
            assert_eq!(after, before, "step {nth}");
        }
    }

    #[test]
    fn everyone_knows_everyone() {
        let town = Town::default();
        for at in ["health", "audit"] {
            assert_eq!(town.read(id(at), |work| work.registry.members.len()), 6, "{at}");
        }
    }
}
