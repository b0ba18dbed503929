//! The replica: what this node knows, folded from its own log and its mirrors of all others. Pure over a transaction.
//!
//! Own and peers' records go through one function, [`apply`]. The order in which logs arrive does not matter: a
//! voucher's state is folded from the set of its records, and what waits for a record is folded again when it comes.

mod figures;
mod names;
mod notes;
mod presentation;
mod registrar;
mod voucher;

use std::sync::Arc;

use chrono::FixedOffset;
use domain::ids::{Digest, InstitutionId, RecordName, VoucherId};
use domain::member::{FRESHNESS, Registry, Role};
use domain::policy::{Programme, ProgrammeEvent};
use domain::reasons::Reason;
use domain::record::{Body, Record};
use domain::time::Timestamp;
use ledger::log::Entry;
use ledger::record::DecodeError;
use serde::{Deserialize, Serialize};

use crate::keys;
use crate::kv::{Space, Tx};
use crate::token::vp1::Unverified;

pub use figures::{counters, statistics_rows};
pub use notes::NoteEntry;
pub use presentation::{claims, holder_key, of_token, public_key, token, verifies};
pub use registrar::{check_entry, check_succession, possession_message, signature_bytes, signature_of};
pub use voucher::{VoucherDoc, postpone, refold};

/// What never changes while a node runs.
#[derive(Debug, Clone)]
pub struct Settings {
    /// This institution.
    pub me: InstitutionId,
    /// Its roles.
    pub roles: Vec<Role>,
    /// The trust anchor.
    pub registrar: InstitutionId,
    /// The time zone by which days are counted.
    pub offset: FixedOffset,
    /// How long personal data is kept.
    pub retention: crate::personal::Retention,
}

/// How far a log is folded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The index of the next record.
    pub next: u64,
    /// The time of the last one.
    pub last_at: Timestamp,
    /// The fold stopped: the next record has a format that this node does not know.
    pub upgrade_needed: bool,
}

/// What a record begins with, up to its time.
#[derive(Deserialize)]
#[allow(dead_code, reason = "the fields before the time are read to get to it")]
struct Opening {
    institution: InstitutionId,
    index: u64,
    role: Role,
    at: Timestamp,
}

/// The time of an entry, read without the rest of it; none where it does not begin as a record does.
#[must_use]
pub fn time_of(entry: &[u8]) -> Option<Timestamp> {
    ledger::record::decode_opening::<Opening>(entry).map(|opening| opening.at)
}

/// What a repeated request is answered with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repeated {
    /// Digest of the request.
    pub request: Digest,
    /// When it was answered.
    pub at: Timestamp,
    /// The records that it made.
    pub records: Vec<RecordName>,
}

/// A transaction and the registry it sees: all that the fold works on.
pub struct Work<'a> {
    /// Rows.
    pub tx: Tx<'a>,
    /// Members and parameters; replaced as a whole on change.
    pub registry: Arc<Registry>,
    /// What never changes.
    pub settings: &'a Settings,
}

/// Why a record that stands in a log is of no use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Broken {
    /// Its bytes are not canonical, or it names another place than it stands in.
    Unreadable,
    /// Its time is before that of the record before it.
    ClockWentBack,
    /// It breaks a rule.
    Rule(Reason),
}

/// Proof that a log showed two histories. It stands in no log here, so it is a private row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fork {
    /// The last size at which both histories are the same. Until that is found, the entries held when the fork was seen:
    /// nothing past those is ever taken.
    pub common_size: u64,
    /// The signed head that the entries held lead to.
    pub held: String,
    /// The signed head that does not fit it.
    pub offered: String,
    /// What shows others that the two do not fit; none until it could be had.
    pub split: Option<ledger::fork::Split>,
}

/// The line that the registrar drew in a log that had shown two histories.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frozen {
    /// Nothing from there on counts.
    pub size: u64,
    /// The root there: of the history that counts.
    pub root: Digest,
}

impl Frozen {
    /// Whether entries that end at a size with a root may still be taken: none past the line, and up to it those of the
    /// history that counts.
    #[must_use]
    pub fn takes(&self, size: u64, root: Digest) -> bool {
        size < self.size || (size == self.size && root == self.root)
    }
}

/// Applies one record of a log, which must be the next one. The one way in.
///
/// Returns the record, or none where its bytes are of no use.
pub fn apply(work: &mut Work<'_>, institution: InstitutionId, index: u64, bytes: &Arc<[u8]>) -> Option<Record> {
    let name = RecordName { institution, index, id: Digest(ledger::merkle::leaf_hash(bytes).0) };
    apply_decoded(work, name, bytes, ledger::record::decode_record)
}

/// Applies a record that was just written here, as [`apply`] would apply its bytes: what is canonical is not read back.
///
/// Returns its name, or none where the state is not at its place or stopped.
pub fn apply_own(work: &mut Work<'_>, record: Record, entry: &Entry) -> Option<RecordName> {
    debug_assert!(ledger::record::decode_record(entry.bytes()).is_ok_and(|read: Record| read == record));
    let name = RecordName { institution: record.institution, index: record.index, id: digest_of(entry.leaf()) };
    apply_decoded(work, name, entry.bytes(), |_| Ok(record)).map(|_| name)
}

/// Applies a record that was read from its bytes already, and its presentation with it: as [`apply`], or, where another
/// part of the fold sees to its voucher, no more of it than its place.
pub(crate) fn apply_read(
    work: &mut Work<'_>,
    name: RecordName,
    bytes: &Arc<[u8]>,
    record: Result<&Record, &DecodeError>,
    token: Option<&Unverified>,
    is_seen_to: bool,
) {
    if work.cursor(name.institution).next != name.index {
        return;
    }
    if let (true, Ok(record)) = (enter(work, name, bytes, record), record) {
        if is_seen_to {
            act(work, name, record, token.cloned());
        }
        end(work, name);
    }
}

/// The id of a record whose leaf hash this is.
#[must_use]
pub const fn digest_of(leaf: ledger::merkle::Hash) -> Digest {
    Digest(leaf.0)
}

fn apply_decoded(
    work: &mut Work<'_>,
    name: RecordName,
    bytes: &Arc<[u8]>,
    decode: impl FnOnce(&[u8]) -> Result<Record, DecodeError>,
) -> Option<Record> {
    if work.cursor(name.institution).next != name.index {
        return None;
    }
    let record = decode(bytes);
    if !enter(work, name, bytes, record.as_ref()) {
        return None;
    }
    let record = record.ok()?;
    act(work, name, &record, None);
    end(work, name);
    Some(record)
}

/// Takes a record's place in its log; says whether it has anything to say there.
fn enter(work: &mut Work<'_>, name: RecordName, bytes: &Arc<[u8]>, record: Result<&Record, &DecodeError>) -> bool {
    let RecordName { institution, index, .. } = name;
    let key = keys::cursor(institution);
    let mut cursor: Cursor = work.cursor(institution);
    work.tx.stage_entry(institution, index, bytes.clone());
    let record = match record {
        Ok(record) => record,
        Err(DecodeError::UnknownVersion(_)) => {
            cursor.upgrade_needed = true;
            work.tx.keep(key, cursor);
            return false;
        }
        Err(_) => {
            cursor.next += 1;
            cursor.upgrade_needed = false;
            work.tx.keep(key, cursor);
            report(work, name, &Broken::Unreadable);
            voucher::wake(work, name);
            return false;
        }
    };
    // A newer program knows the version at which an older one stopped.
    cursor.upgrade_needed = false;
    let in_place = record.institution == institution && record.index == index;
    let backwards = record.at < cursor.last_at;
    cursor.next += 1;
    cursor.last_at = cursor.last_at.max(record.at);
    work.tx.keep(key, cursor);
    if !in_place || backwards {
        report(work, name, if in_place { &Broken::ClockWentBack } else { &Broken::Unreadable });
        voucher::wake(work, name);
        return false;
    }
    if let Some(idempotency) = record.idempotency.filter(|_| institution == work.settings.me) {
        let key = keys::idempotency(idempotency.key);
        // The records of one request are written at once; what stands there of another time or request is over.
        let before: Option<Repeated> = work.tx.load(&key);
        let same = before.filter(|r| r.at == record.at && r.request == idempotency.request);
        let mut repeated =
            same.unwrap_or(Repeated { request: idempotency.request, at: record.at, records: Vec::new() });
        repeated.records.push(name);
        work.tx.store(key, &repeated);
    }
    work.tx.remember(name, record.at);
    true
}

/// Does what a record says.
fn act(work: &mut Work<'_>, name: RecordName, record: &Record, token: Option<Unverified>) {
    let RecordName { institution, index, .. } = name;
    match &record.body {
        Body::Chain(chain) => voucher::apply_chain(work, name, record, chain, token),
        Body::Note(note) => notes::apply(work, name, record, note),
        Body::Registrar(event) => {
            if let Err(reason) = registrar::apply(work, name, record.at, event) {
                report(work, name, &Broken::Rule(reason));
            }
        }
        Body::Programme(event) => {
            if let Err(reason) = apply_programme(work, name, record, event) {
                report(work, name, &Broken::Rule(reason));
            }
        }
        Body::Statistics(published) => work.tx.store(keys::published(institution, index), published),
        Body::Finding(finding) => work.tx.store(keys::finding(institution, index), finding),
        Body::Approved(approved) => {
            // It is about the record before it, and of somebody else than who acted there.
            let is_next = approved.record.index + 1 == index && names::is_held(work, name, &approved.record);
            let is_other = record.operator.is_some_and(|operator| operator != approved.approver);
            if approved.record.institution != institution || !is_next {
                report(work, name, &Broken::Rule(Reason::BadName));
            } else if !is_other {
                report(work, name, &Broken::Rule(Reason::ApproverNeeded));
            }
        }
        Body::Heartbeat | Body::OperatorInsisted(_) => {}
    }
}

/// What waited for a record goes on.
fn end(work: &mut Work<'_>, name: RecordName) {
    voucher::wake(work, name);
    if work.registry.any_succeeded() {
        voucher::wake_heirs(work, name.institution, name.index + 1);
    }
}

fn report(work: &mut Work<'_>, name: RecordName, broken: &Broken) {
    work.tx.store(keys::broken(name.institution, name.index), &(name, broken));
}

fn apply_programme(
    work: &mut Work<'_>,
    name: RecordName,
    record: &Record,
    event: &ProgrammeEvent,
) -> Result<(), Reason> {
    if record.role != Role::Issuer {
        return Err(Reason::WrongRole);
    }
    let (ProgrammeEvent::Published(policy) | ProgrammeEvent::Changed { policy, .. }) = event;
    policy.check().map_err(|_| Reason::Malformed)?;
    let short = keys::programme_name(name.institution, policy.programme.as_str());
    let programme = match event {
        ProgrammeEvent::Published(policy) => {
            if work.tx.get(Space::State, &short).is_some() {
                return Err(Reason::ProgrammeExists);
            }
            work.tx.store(short, &name);
            Programme { name, history: vec![(record.at, policy.clone())] }
        }
        ProgrammeEvent::Changed { programme, policy } => {
            let known: Option<RecordName> = work.tx.load(&short);
            let mut old: Programme = work.tx.load(&keys::programme(programme)).ok_or(Reason::ProgrammeUnknown)?;
            if old.name != *programme || programme.institution != name.institution || known != Some(*programme) {
                return Err(Reason::ProgrammeUnknown);
            }
            old.history.push((record.at, policy.clone()));
            old
        }
    };
    work.tx.store(keys::programme(&programme.name), &programme);
    if matches!(event, ProgrammeEvent::Changed { .. }) {
        // Records that the change already acts on may have come before it.
        voucher::judge_again_since(work, record.at + FRESHNESS);
    }
    Ok(())
}

impl Work<'_> {
    /// The proof that a log showed two histories, if it did.
    #[must_use]
    pub fn fork(&self, institution: InstitutionId) -> Option<Fork> {
        self.tx.load_private(&keys::forked(institution))
    }

    /// Keeps the proof that a log showed two histories. What stands there past the common size is contested from now on.
    pub fn keep_fork(&mut self, institution: InstitutionId, fork: &Fork) {
        self.tx.store_private(keys::forked(institution), fork);
        voucher::judge_log_again(self, institution, fork.common_size);
    }

    /// The members have agreed on one history of the registrar's log: what it wrote is judged by that alone. That the anchor is
    /// another one is to go on record.
    pub fn settle_fork(&mut self, institution: InstitutionId) {
        let Some(fork) = self.fork(institution) else { return };
        self.tx.delete(Space::Private, keys::forked(institution));
        self.tx.store_private(keys::SETTLED.to_vec(), &institution);
        voucher::judge_log_again(self, institution, fork.common_size);
    }

    /// Whether a settlement is to go on record; it is asked once.
    pub fn take_settled(&mut self) -> bool {
        let is_settled = self.tx.get(Space::Private, keys::SETTLED).is_some();
        if is_settled {
            self.tx.delete(Space::Private, keys::SETTLED.to_vec());
        }
        is_settled
    }

    /// The line that the registrar drew in a log that had shown two histories.
    #[must_use]
    pub fn frozen(&self, institution: InstitutionId) -> Option<Frozen> {
        self.tx.load(&keys::frozen(institution))
    }

    /// How far a log is folded.
    #[must_use]
    pub fn cursor(&self, institution: InstitutionId) -> Cursor {
        self.tx.load_kept(&keys::cursor(institution)).map_or_else(Cursor::default, |cursor| *cursor)
    }

    /// The institutions whose logs are folded here.
    #[must_use]
    pub fn logs(&self) -> Vec<InstitutionId> {
        let rows = self.tx.prefix(Space::State, &[keys::CURSOR], usize::MAX);
        rows.iter().filter_map(|(key, _)| keys::Parts(key.get(1..)?).institution()).collect()
    }

    /// A voucher's records and state.
    #[must_use]
    pub fn voucher(&self, id: VoucherId) -> Option<VoucherDoc> {
        self.voucher_kept(id).map(Arc::unwrap_or_clone)
    }

    /// The same, shared with the transaction: to be read, and let go before the voucher is written.
    #[must_use]
    pub fn voucher_kept(&self, id: VoucherId) -> Option<Arc<VoucherDoc>> {
        self.tx.load_kept(&keys::voucher(id))
    }

    /// The enrolment that a record made.
    #[must_use]
    pub fn enrolment(&self, name: &RecordName) -> Option<domain::holder::Enrolment> {
        self.tx.load(&keys::enrolment(name)).filter(|e: &domain::holder::Enrolment| e.name == *name)
    }

    /// The programme that a record published.
    #[must_use]
    pub fn programme(&self, name: &RecordName) -> Option<Programme> {
        self.tx.load(&keys::programme(name)).filter(|p: &Programme| p.name == *name)
    }

    /// The programme of that short name.
    #[must_use]
    pub fn programme_named(&self, issuer: InstitutionId, short: &str) -> Option<Programme> {
        let name: RecordName = self.tx.load(&keys::programme_name(issuer, short))?;
        self.programme(&name)
    }

    /// All programmes of all issuers.
    #[must_use]
    pub fn programmes(&self) -> Vec<Programme> {
        let names = self.tx.prefix(Space::State, &[keys::PROGRAMME_NAME], 10_000);
        names.iter().filter_map(|(_, name)| self.programme(&crate::kv::read(name))).collect()
    }

    /// The newest registrar position that is folded here: what a new record is judged by. None past the last common size of a registrar
    /// that has shown two histories: whichever of them will count has that one.
    #[must_use]
    pub fn registrar_position(&self) -> Option<RecordName> {
        let registrar = self.settings.registrar;
        let next = self.cursor(registrar).next;
        let size = self.fork(registrar).map_or(next, |fork| fork.common_size.min(next));
        self.name_at(registrar, size.checked_sub(1)?)
    }

    /// The name of the record at a position that is folded here.
    #[must_use]
    pub fn name_at(&self, institution: InstitutionId, index: u64) -> Option<RecordName> {
        self.tx.name_at(institution, index, || {
            let bytes = self.tx.entry(institution, index)?;
            Some(RecordName { institution, index, id: Digest(ledger::merkle::leaf_hash(&bytes).0) })
        })
    }

    /// Vouchers that this institution has to do with at a stage: at most `limit` after `after`.
    #[must_use]
    pub fn mine(&self, stage: domain::lifecycle::Stage, after: Option<VoucherId>, limit: usize) -> Vec<VoucherId> {
        let prefix = keys::mine_at(stage);
        let mut from = after.map_or_else(|| prefix.clone(), |id| keys::mine(stage, id));
        if after.is_some() {
            from.push(0);
        }
        let rows = self.tx.range(Space::State, &from, &crate::kv::after_prefix(&prefix), limit);
        rows.iter().filter_map(|(key, _)| keys::Parts(&key[2..]).voucher()).collect()
    }

    /// Vouchers of a programme that this institution holds at `generated` or `encoded` and that are valid past `now`:
    /// at most `limit`, those that end first come first.
    #[must_use]
    pub fn on_shelf(
        &self,
        stage: domain::lifecycle::Stage,
        programme: &RecordName,
        now: Timestamp,
        limit: usize,
    ) -> Vec<VoucherId> {
        let from = keys::shelf_until(stage, programme, now + domain::time::Millis(1)).done();
        let to = keys::shelf_until(stage, programme, Timestamp::MAX).done();
        let rows = self.tx.range(Space::State, &from, &to, limit);
        rows.iter().filter_map(|(key, _)| keys::Parts(key.get(from.len()..)?).voucher()).collect()
    }

    /// The vouchers of an enrolment.
    #[must_use]
    pub fn of_enrolment(&self, enrolment: &RecordName) -> Vec<VoucherId> {
        let prefix = keys::of_enrolment_all(enrolment);
        let rows = self.tx.prefix(Space::State, &prefix, 10_000);
        rows.iter().filter_map(|(key, _)| keys::Parts(&key[prefix.len()..]).voucher()).collect()
    }
}
