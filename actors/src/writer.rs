//! The single writer of this institution's log: what is decided is judged, folded and handed to the ledger as one.
//!
//! ```text
//! decide(state, command) ─► events ─► record bytes ─► fold (same function as for peers) ─► does it count?
//!      no: the whole transaction is dropped, nothing happened          yes: ledger.submit, wait for its sync
//! ```
//!
//! A record of a chain is appended only onto the head, and only if it counts by the same rules that every peer
//! applies; so compare-and-append is one judgement, made under one lock, over everything accepted so far.

use std::sync::Arc;

use domain::custody::Names;
use domain::ids::{Digest, InstitutionId, Operator, RecordName, VoucherId};
use domain::lifecycle::Step;
use domain::member::{Registry, Role};
use domain::reasons::Reason;
use domain::record::{Body, ChainRecord, Idempotency, Note, NoteRecord, Record};
use domain::time::{Millis, Timestamp};
use ledger::log::{Batch, Entry, Ledger, SubmitError};
use parking_lot::Mutex;

use crate::clock::Clock;
use crate::keys;
use crate::kv::{Base, Memo, Row, Space, StateRows, Tx, Writes};
use crate::misbehave::misbehaves;
use crate::replica::{self, Repeated, Settings, Work};
use crate::vault::format::Sealed;
use crate::vault::{StoredRow, Vault};

/// How far the node's clock may be behind its own last record before it refuses to write.
pub const CLOCK_BEHIND: Millis = Millis::secs(2);

/// How long a request is remembered by its idempotency key.
pub const REMEMBER_REQUESTS: Millis = Millis::hours(24);

/// Private rows read at once when they are compared with the vault.
const SETTLE_ROWS: usize = 4_096;

/// Entries folded under one hold of the lock.
pub const FOLD_CHUNK: usize = 256;

/// Why nothing was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A rule says no, or the machine cannot now: the reason's kind tells which.
    #[error("{0}")]
    Reason(Reason),
    /// The voucher or thing named does not exist here.
    #[error("not found")]
    NotFound,
    /// This very request was done before, perhaps a moment ago: [`Writer::repeated`] has its answer.
    #[error("done before")]
    Repeated,
}

impl From<Reason> for Refused {
    fn from(reason: Reason) -> Self {
        Self::Reason(reason)
    }
}

impl Refused {
    /// The reason of it.
    #[must_use]
    pub const fn reason(self) -> Reason {
        match self {
            Self::Reason(reason) => reason,
            Self::NotFound => Reason::NotFound,
            // Whoever asks again is told what came of it.
            Self::Repeated => Reason::Busy,
        }
    }
}

/// Who acts, and by which request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Act {
    /// The operator's pseudonym; none where the node acts by itself or the holder acts.
    pub operator: Option<Operator>,
    /// The request, so that its repetition is answered and not done again.
    pub idempotency: Option<Idempotency>,
}

/// What came of a decision: an answer that may leave the process once `ticket` is durable.
#[derive(Debug, Clone)]
pub struct Done<T> {
    /// The answer.
    pub answer: T,
    /// The records written, in order.
    pub records: Vec<RecordName>,
    /// The commit that covers everything the answer depends on.
    pub ticket: u64,
}

/// The ledger seen by institutions: logs are named by who writes them.
pub struct Logs {
    /// The ledger.
    pub ledger: Ledger,
    /// What the names of the federation's logs begin with: an origin is `{federation}/{institution}`.
    pub federation: String,
    /// The keys of private rows.
    pub vault: Arc<Vault>,
}

impl Logs {
    /// The name of an institution's log.
    #[must_use]
    pub fn origin(&self, institution: InstitutionId) -> String {
        format!("{}/{institution}", self.federation)
    }

    /// Hands a batch to the ledger, with private rows sealed on their way; the keys of those that it deletes or replaces
    /// are erased once it is durable.
    fn submit(&self, batch: Batch) -> Result<u64, SubmitError> {
        let mut sealing = self.vault.seal_all(batch.private, |key| self.ledger.get_private(key));
        let private = std::mem::take(&mut sealing.writes);
        match self.ledger.submit(Batch { private, ..batch }) {
            Ok(ticket) => {
                self.vault.erase_after(ticket, sealing.released(), &self.ledger);
                Ok(ticket)
            }
            Err(error) => {
                self.vault.give_back(sealing);
                Err(error)
            }
        }
    }

    /// Compares the vault with the private rows, once, before anything is read or written here.
    ///
    /// # Errors
    ///
    /// [`crate::vault::VaultError`]; with `let_go` rows without keys are deleted instead.
    pub fn settle_vault(&self, let_go: bool) -> Result<usize, crate::vault::VaultError> {
        let (mut rows, mut from) = (Vec::new(), Vec::new());
        loop {
            let page = self.ledger.range_private(&from, &[u8::MAX; 64], SETTLE_ROWS);
            for (row_key, value) in &page {
                if let Some(sealed) = Sealed::read(value).filter(|_| crate::personal::is_sealed(row_key)) {
                    rows.push(StoredRow { row_key: row_key.clone(), needs: sealed.key });
                }
            }
            match page.last() {
                Some((last, _)) if page.len() == SETTLE_ROWS => from = [last.as_slice(), &[0]].concat(),
                _ => break,
            }
        }
        let lost = self.vault.settle(&rows, let_go)?;
        for keys in lost.chunks(SETTLE_ROWS) {
            let private = keys.iter().map(|key| (key.clone(), None)).collect();
            let deleted = self.ledger.submit(Batch { private, ..Batch::default() });
            if let Err(error) = deleted {
                ledger::fail::stop(&format!("rows that cannot be opened cannot be deleted: {error}"));
            }
        }
        Ok(lost.len())
    }
}

impl Base for Logs {
    fn get(&self, space: Space, key: &[u8]) -> Option<Arc<[u8]>> {
        match space {
            Space::State => self.ledger.get(key),
            Space::Private => self.ledger.get_private(key).map(|value| self.vault.open_row(key, value)),
        }
    }
    fn range(&self, space: Space, from: &[u8], to: &[u8], limit: usize) -> Vec<Row> {
        match space {
            Space::State => self.ledger.range(from, to, limit),
            Space::Private => {
                let rows = self.ledger.range_private(from, to, limit).into_iter();
                rows.map(|(key, value)| (self.vault.open_row(&key, value), key))
                    .map(|(value, key)| (key, value))
                    .collect()
            }
        }
    }
    fn entry(&self, institution: InstitutionId, index: u64) -> Option<Arc<[u8]>> {
        self.ledger.entry(&self.origin(institution), index)
    }
    fn entries(&self, institution: InstitutionId, from: u64, most: usize) -> Vec<Arc<[u8]>> {
        self.ledger.entries(&self.origin(institution), from, most)
    }
}

/// Reads, decides, writes. Shared by all roles of a node.
pub struct Writer {
    logs: Logs,
    /// The name of the own log.
    origin: String,
    settings: Settings,
    clock: Arc<dyn Clock>,
    /// Why nothing is written for now.
    paused: Mutex<Option<Reason>>,
    /// Everything that is decided happens under this lock.
    seen: Mutex<Seen>,
}

/// What one decision leaves to the next.
pub struct Seen {
    /// Members and parameters.
    pub registry: Arc<Registry>,
    /// What is known of the rows below.
    pub memo: Memo,
}

impl Seen {
    /// A transaction over a base; what it learns is to be given back.
    fn work<'a>(&mut self, base: &'a dyn Base, settings: &'a Settings) -> Work<'a> {
        let tx = Tx::knowing(base, std::mem::take(&mut self.memo));
        Work { tx, registry: self.registry.clone(), settings }
    }
}

/// A decision that was made and is not yet handed to any ledger.
pub struct Draft<T> {
    /// The answer.
    pub answer: T,
    /// Entries for the own log, in order.
    pub entries: Vec<Entry>,
    /// Their names.
    pub records: Vec<RecordName>,
    /// What it leaves to the next once the base has taken it over.
    pub seen: Seen,
    /// Rows of the state.
    pub state: StateRows,
    /// Private rows.
    pub private: Writes,
}

/// Makes a decision over a base, purely: what it reads and writes is in the arguments and in the draft.
///
/// `size` is that of the own log, everything accepted included; `now` is the node's clock. What `seen` knows of the base goes
/// into the draft; where the decision is refused, `seen` has it back.
///
/// # Errors
///
/// What the decision refuses; [`Refused::Repeated`] if the request was done before, [`Reason::IdempotencyKeyReused`] if another
/// was under the same key; [`Reason::ClockOff`] if it writes while the clock is behind the log.
pub fn draft<T>(
    base: &dyn Base,
    settings: &Settings,
    seen: &mut Seen,
    size: u64,
    now: Timestamp,
    act: Act,
    decision: impl FnOnce(&mut Desk<'_>) -> Result<T, Refused>,
) -> Result<Draft<T>, Refused> {
    let work = seen.work(base, settings);
    let last_at = work.cursor(settings.me).last_at;
    let (entries, records) = (Vec::new(), Vec::new());
    let now_here = now.max(last_at);
    // Looked up under the lock under which it is decided: of two that come at once only one is done.
    let done_before = act.idempotency.map_or(Ok(None), |idempotency| answered(&work, &idempotency, now_here));
    if let Some(refused) = done_before.map_or_else(Some, |before| before.map(|_| Refused::Repeated)) {
        seen.memo = work.tx.give_up();
        return Err(refused);
    }
    let mut desk = Desk { work, now: now_here, act, size, entries, records, failed: None };
    let decided = decision(&mut desk);
    let Desk { work, entries, records, failed, .. } = desk;
    let sound = match failed {
        // A role that passes over a refused step must not keep what the step has left behind.
        Some(refused) => Err(refused),
        None if !entries.is_empty() && now + CLOCK_BEHIND < last_at => Err(Reason::ClockOff.into()),
        None => Ok(()),
    };
    match decided.and_then(|answer| sound.map(|()| answer)) {
        Ok(answer) => {
            let registry = work.registry.clone();
            let (state, private, memo) = work.tx.end();
            Ok(Draft { answer, entries, records, seen: Seen { registry, memo }, state, private })
        }
        Err(refused) => {
            seen.memo = work.tx.give_up();
            Err(refused)
        }
    }
}

/// A decision in the making: reads see what it has written so far.
pub struct Desk<'a> {
    /// State and rows.
    pub work: Work<'a>,
    /// The time by which it is decided; the time of every record it writes.
    pub now: Timestamp,
    act: Act,
    size: u64,
    entries: Vec<Entry>,
    records: Vec<RecordName>,
    /// The first write that was refused: nothing is kept then, whatever the decision makes of it.
    failed: Option<Refused>,
}

impl Writer {
    /// A writer over an opened ledger. Folds what the state has not seen yet.
    #[must_use]
    pub fn open(logs: Logs, settings: Settings, clock: Arc<dyn Clock>) -> Arc<Self> {
        let registry = load_registry(&Tx::new(&logs), &settings);
        let seen = Seen { registry: Arc::new(registry), memo: Memo::default() };
        let origin = logs.origin(settings.me);
        let writer = Self { logs, origin, settings, clock, paused: Mutex::new(None), seen: Mutex::new(seen) };
        writer.catch_up();
        Arc::new(writer)
    }

    /// This institution's settings.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The ledger below.
    #[must_use]
    pub const fn ledger(&self) -> &Ledger {
        &self.logs.ledger
    }

    /// The logs by institution.
    #[must_use]
    pub const fn logs(&self) -> &Logs {
        &self.logs
    }

    /// The node's time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Refuses to write records, for a reason, or goes on. What others write is still taken in.
    pub fn pause(&self, reason: Option<Reason>) {
        *self.paused.lock() = reason;
    }

    /// Why no records are written for now.
    #[must_use]
    pub fn paused(&self) -> Option<Reason> {
        *self.paused.lock()
    }

    /// Members and parameters now.
    #[must_use]
    pub fn registry(&self) -> Arc<Registry> {
        self.seen.lock().registry.clone()
    }

    /// Decides something, all or nothing.
    ///
    /// # Errors
    ///
    /// What the decision refuses, or why the ledger cannot take it; nothing is changed then.
    pub fn decide<T>(
        &self,
        act: Act,
        decision: impl FnOnce(&mut Desk<'_>) -> Result<T, Refused>,
    ) -> Result<Done<T>, Refused> {
        let mut seen = self.seen.lock();
        let size = self.logs.ledger.accepted_size(&self.origin);
        let now = self.clock.now();
        let draft = draft(&self.logs, &self.settings, &mut seen, size, now, act, decision)?;
        // What it learnt is taken over only when the ledger has taken the draft.
        let Draft { answer, entries, records, seen: changed, state, private } = draft;
        if !entries.is_empty() {
            if !self.clock.is_fit() {
                return Err(Reason::ClockOff.into());
            }
            if let Some(reason) = self.paused() {
                return Err(reason.into());
            }
        }
        if entries.is_empty() && state.is_empty() && private.is_empty() {
            *seen = changed;
            return Ok(Done { answer, records, ticket: self.logs.ledger.last_ticket() });
        }
        let batch = Batch { expected_size: size, own: entries, mirrors: Vec::new(), state, private };
        let ticket = self.logs.submit(batch).map_err(refused)?;
        *seen = changed;
        Ok(Done { answer, records, ticket })
    }

    /// Reads something. The answer may leave the process once its ticket is durable.
    pub fn read<T>(&self, reading: impl FnOnce(&Work<'_>) -> T) -> Done<T> {
        let mut seen = self.seen.lock();
        let work = seen.work(&self.logs, &self.settings);
        let answer = reading(&work);
        (_, _, seen.memo) = work.tx.end();
        Done { answer, records: Vec::new(), ticket: self.logs.ledger.last_ticket() }
    }

    /// Accepts verified entries of a peer's log, then folds them in small parts, so that requests come in between.
    ///
    /// # Errors
    ///
    /// Why the ledger cannot take them now; [`Reason::NotInGoodStanding`] once the log is known to have forked, until the
    /// registrar has drawn its line, and for what goes past that or leads elsewhere.
    pub fn accept(&self, accepted: ledger::mirror::Accepted, institution: InstitutionId) -> Result<u64, Refused> {
        {
            // Under the lock under which the proof of a fork is kept: nothing past the size that it names is ever held,
            // so that no state depends on who has seen the proof.
            let mut seen = self.seen.lock();
            let work = seen.work(&self.logs, &self.settings);
            let held = accepted.held();
            let takes = match work.frozen(institution) {
                Some(frozen) => frozen.takes(held.size(), Digest(held.root().0)),
                None => work.fork(institution).is_none(),
            };
            (_, _, seen.memo) = work.tx.end();
            if !takes {
                return Err(Reason::NotInGoodStanding.into());
            }
            self.logs.submit(Batch { mirrors: vec![accepted], ..Batch::default() }).map_err(refused)?;
        }
        while self.catch_up_chunk(institution) {}
        Ok(self.logs.ledger.last_ticket())
    }

    /// Takes back entries of this institution's own log that a mirror still has, and folds them.
    ///
    /// # Errors
    ///
    /// Why the ledger cannot take them now.
    pub fn restore(&self, step: &ledger::mirror::Accepted) -> Result<u64, Refused> {
        self.logs.ledger.restore(step).map_err(refused)?;
        while self.catch_up_chunk(self.settings.me) {}
        Ok(self.logs.ledger.last_ticket())
    }

    /// Folds every entry that the ledger holds and the state has not seen: after a crash, a rebuild, an upgrade.
    pub fn catch_up(&self) {
        let mut institutions: Vec<InstitutionId> = Vec::new();
        for origin in self.logs.ledger.origins() {
            let institution: Option<InstitutionId> =
                origin.strip_prefix(&format!("{}/", self.logs.federation)).and_then(|i| i.parse().ok());
            institutions.extend(institution);
        }
        // The registrar first: what it says is what the others are judged by.
        institutions.sort_by_key(|i| (*i != self.settings.registrar, *i));
        for institution in institutions {
            while self.catch_up_chunk(institution) {}
        }
    }

    fn catch_up_chunk(&self, institution: InstitutionId) -> bool {
        let mut seen = self.seen.lock();
        let mut work = seen.work(&self.logs, &self.settings);
        let cursor = work.cursor(institution);
        // Where the fold stopped before a record of an unknown version, only that record is looked at again.
        let most = if cursor.upgrade_needed { 1 } else { FOLD_CHUNK };
        let entries = self.logs.ledger.entries(&self.logs.origin(institution), cursor.next, most);
        for (index, bytes) in (cursor.next..).zip(&entries) {
            replica::apply(&mut work, institution, index, bytes);
        }
        if work.cursor(institution) == cursor {
            seen.memo = work.tx.give_up();
            return false;
        }
        let registry = work.registry.clone();
        let (state, private, memo) = work.tx.end();
        let expected_size = self.logs.ledger.accepted_size(&self.origin);
        let batch = Batch { expected_size, own: Vec::new(), mirrors: Vec::new(), state, private };
        if let Err(error) = self.logs.submit(batch) {
            if matches!(error, SubmitError::Busy) {
                drop(seen);
                std::thread::sleep(std::time::Duration::from_millis(5));
                return true;
            }
            ledger::fail::stop(&format!("the state cannot be folded: {error}"));
        }
        *seen = Seen { registry, memo };
        true
    }

    /// Waits until a commit is on disk, and the keys of the rows that it deleted are overwritten there.
    pub async fn durable(&self, ticket: u64) {
        if self.logs.ledger.durable() < ticket {
            let (done, wait) = tokio::sync::oneshot::channel();
            self.logs.ledger.when_durable(
                ticket,
                Box::new(move || {
                    let _ = done.send(());
                }),
            );
            // The sender is dropped unsent only when the process stops.
            let _ = wait.await;
        }
        self.logs.vault.erased(ticket).await;
    }

    /// What was answered to this request before, if it was.
    ///
    /// # Errors
    ///
    /// [`Reason::IdempotencyKeyReused`] if the same key came with another request.
    pub fn repeated(&self, idempotency: &Idempotency) -> Result<Option<Done<Repeated>>, Refused> {
        let Done { answer, ticket, .. } = self.read(|work| answered(work, idempotency, self.clock.now()));
        Ok(answer?.map(|answer| Done { records: answer.records.clone(), answer, ticket }))
    }
}

/// What was answered to a request before, if it was and is remembered still.
fn answered(work: &Work<'_>, idempotency: &Idempotency, now: Timestamp) -> Result<Option<Repeated>, Refused> {
    let key = keys::idempotency(idempotency.key);
    let remembered = |before: &Repeated| before.at + REMEMBER_REQUESTS > now && !misbehaves("repetitions-done-again");
    let of_state = work.tx.load::<Repeated>(&key).filter(remembered);
    let before = of_state.or_else(|| work.tx.load_private::<Repeated>(&key).filter(remembered));
    match before {
        Some(before) if before.request != idempotency.request => Err(Reason::IdempotencyKeyReused.into()),
        before => Ok(before),
    }
}

fn load_registry(tx: &Tx<'_>, settings: &Settings) -> Registry {
    tx.load(keys::REGISTRY).unwrap_or_else(|| Registry::new(settings.registrar))
}

fn refused(error: SubmitError) -> Refused {
    let reason = match error {
        SubmitError::Busy => Reason::Busy,
        SubmitError::DiskLow => Reason::DiskLow,
        SubmitError::NotYet => Reason::NotReady,
        SubmitError::Closed => Reason::Closing,
        // Everything is decided under one lock: another size or an unfit record is a defect of this node.
        _ => Reason::Internal,
    };
    Refused::Reason(reason)
}

impl Desk<'_> {
    /// This institution.
    #[must_use]
    pub const fn me(&self) -> InstitutionId {
        self.work.settings.me
    }

    /// Who acts; none where the node acts by itself or the holder acts.
    #[must_use]
    pub const fn operator(&self) -> Option<Operator> {
        self.act.operator
    }

    /// Writes a record.
    ///
    /// # Errors
    ///
    /// [`Reason::TooLarge`] if it is over the limit of a record. The whole decision is refused then, as after
    /// [`Desk::step`] and [`Desk::note`].
    pub fn write(&mut self, role: Role, body: Body) -> Result<RecordName, Refused> {
        let written = self.try_write(role, body);
        self.or_fail(written)
    }

    fn or_fail<T>(&mut self, result: Result<T, Refused>) -> Result<T, Refused> {
        if let Err(refused) = &result {
            self.failed.get_or_insert(*refused);
        }
        result
    }

    fn try_write(&mut self, role: Role, body: Body) -> Result<RecordName, Refused> {
        let index = self.size + self.entries.len() as u64;
        let record = Record {
            institution: self.me(),
            index,
            role,
            at: self.now,
            operator: self.act.operator,
            idempotency: self.act.idempotency,
            body,
        };
        let entry = Entry::from(ledger::record::encode_record(&record).map_err(|_| Reason::TooLarge)?);
        // The state is behind the log, or does not know the format: nothing can be decided.
        let name = replica::apply_own(&mut self.work, record, &entry).ok_or(Reason::NotReady)?;
        // The place in the log is new, so what is wrong with it can only have been written now.
        let broken = self.work.tx.load_written(&keys::broken(name.institution, name.index));
        if let Some((_, broken)) = broken as Option<(RecordName, replica::Broken)> {
            return Err(match broken {
                replica::Broken::Rule(reason) => reason.into(),
                _ => Reason::Internal.into(),
            });
        }
        self.entries.push(entry);
        self.records.push(name);
        Ok(name)
    }

    /// Takes a voucher a step further, from its head, if the step counts.
    ///
    /// # Errors
    ///
    /// The rule that says no; [`Reason::Waiting`] while something it depends on is not here;
    /// [`Reason::VoidRequested`] for a forward step of a voucher that the issuer wants back.
    pub fn step(&mut self, role: Role, voucher: VoucherId, step: Step) -> Result<RecordName, Refused> {
        let stepped = self.try_step(role, voucher, step);
        self.or_fail(stepped)
    }

    fn try_step(&mut self, role: Role, voucher: VoucherId, step: Step) -> Result<RecordName, Refused> {
        let me = self.me();
        let prev = match self.work.voucher_kept(voucher) {
            Some(doc) => {
                if doc.own_waits(me) {
                    return Err(Reason::Waiting.into());
                }
                let head = doc.head_name();
                if doc.contested && !matches!(step, Step::Resolved { .. }) {
                    return Err(Reason::Waiting.into());
                }
                let asked_back =
                    doc.notes_state().void_requested && doc.state().is_some_and(|v| v.stage.is_before_use());
                if asked_back && is_forward(&step) {
                    return Err(Reason::VoidRequested.into());
                }
                if head.is_none() {
                    return Err(Reason::Waiting.into());
                }
                head
            }
            None if matches!(step, Step::Generated { .. }) => None,
            None => return Err(Refused::NotFound),
        };
        let registrar = self.work.registrar_position().ok_or(Reason::NotReady)?;
        let name = self.write(role, Body::Chain(ChainRecord { voucher, prev, registrar, step }))?;
        let doc = self.work.voucher_kept(voucher).ok_or(Refused::NotFound)?;
        if doc.head_name() == Some(name) {
            return Ok(name);
        }
        // It does not count: say why.
        let link = doc.links.iter().find(|l| l.name == name);
        let why = self.work.tx.load::<(RecordName, replica::Broken)>(&keys::broken(name.institution, name.index));
        Err(match (link.map(|l| &l.names), why) {
            (Some(Names::Waiting), _) => Reason::Waiting.into(),
            (_, Some((_, replica::Broken::Rule(reason)))) => reason.into(),
            _ => Reason::Waiting.into(),
        })
    }

    /// Notes something about a voucher.
    ///
    /// # Errors
    ///
    /// [`Refused::NotFound`] for a voucher that is not known here.
    pub fn note(&mut self, role: Role, voucher: VoucherId, note: Note) -> Result<RecordName, Refused> {
        let about = self.work.voucher(voucher).map(|doc| doc.head_name()).ok_or(Refused::NotFound);
        let about = self.or_fail(about.and_then(|head| head.ok_or(Reason::Waiting.into())))?;
        self.write(role, Body::Note(NoteRecord { voucher, about, note }))
    }

    /// Remembers a request that writes no record, so that its repetition does nothing again. What writes a record is
    /// remembered by the record.
    pub fn remember_request(&mut self) {
        let Some(Idempotency { key, request }) = self.act.idempotency else { return };
        let repeated = Repeated { request, at: self.now, records: Vec::new() };
        self.work.tx.store_private(keys::idempotency(key), &repeated);
    }

    /// What it has written so far.
    #[must_use]
    pub fn records(&self) -> &[RecordName] {
        &self.records
    }
}

const fn is_forward(step: &Step) -> bool {
    matches!(
        step,
        Step::Sent { .. }
            | Step::Encoded { .. }
            | Step::Issued { .. }
            | Step::HandedOver { .. }
            | Step::Booked { .. }
            | Step::BookingConfirmed
            | Step::UseConfirmed { .. }
    )
}

#[cfg(test)]
mod tests {
    use chrono::FixedOffset;
    use ledger::checkpoint::Checkpoint;
    use ledger::disk::MemoryDisk;
    use ledger::key::{NoteSigner, PrivateKey};
    use ledger::log::Options;
    use ledger::store::memory::MemoryStore;

    use super::*;
    use crate::clock::Hand;

    const NOON: Timestamp = Timestamp::from_millis(1_790_000_000_000);

    /// A node's writer over a disk and a store that another one may go on with.
    fn open(marker: &std::path::Path, disk: &MemoryDisk, store: &Arc<MemoryStore>) -> Arc<Writer> {
        open_by(Arc::new(Hand::at(NOON)), marker, disk, store)
    }

    fn open_by(clock: Arc<Hand>, marker: &std::path::Path, disk: &MemoryDisk, store: &Arc<MemoryStore>) -> Arc<Writer> {
        let me: InstitutionId = "health".parse().unwrap();
        let signer = NoteSigner::new("test/health", PrivateKey::from_seed(&[7; 32])).unwrap();
        let mut options = Options::new("/", signer, "boot");
        options.min_free_disk_bytes = 0;
        options.marks = keys::MARKS.to_vec();
        options.marker_dir = marker.to_owned();
        let (ledger, _) = Ledger::open_on(options, Box::new(disk.clone()), store.clone()).unwrap();
        ledger.allow_writing();
        let offset = FixedOffset::east_opt(0).unwrap();
        let settings = Settings { me, roles: vec![Role::Issuer], registrar: me, offset, retention: Default::default() };
        let vault = Vault::in_memory();
        Writer::open(Logs { ledger, federation: "test".into(), vault }, settings, clock)
    }

    fn cursor(writer: &Writer) -> replica::Cursor {
        writer.read(|work| work.cursor(work.settings.me)).answer
    }

    #[test]
    fn nothing_of_a_log_that_forked_is_taken_past_the_proof() {
        let dir = tempfile::tempdir().unwrap();
        let writer = open(dir.path(), &MemoryDisk::new(), &Arc::new(MemoryStore::new()));
        let (liar, origin) = ("liar".parse().unwrap(), "test/liar");
        let signer = NoteSigner::new(origin, PrivateKey::from_seed(&[8; 32])).unwrap();
        let entries: Vec<Vec<u8>> = (0..3_u8).map(|n| vec![ledger::record::FORMAT, n]).collect();
        let step = |until: usize| {
            let mut edge = ledger::merkle::Edge::default();
            entries[..until].iter().for_each(|entry| edge.push(ledger::merkle::leaf_hash(entry)));
            let head = Checkpoint { origin: origin.to_owned(), size: edge.size(), root: edge.root() };
            let (held, keys) = (writer.ledger().edge(origin), [signer.verifier().clone()]);
            let new: Vec<&[u8]> = entries[held.size() as usize..until].iter().map(Vec::as_slice).collect();
            ledger::mirror::step(&held, head.sign(&signer).as_bytes(), origin, &keys, &new, &[]).unwrap()
        };
        writer.accept(step(2), liar).unwrap();
        let fork = replica::Fork { common_size: 2, held: String::new(), offered: String::new(), split: None };
        let keep = |desk: &mut Desk<'_>| {
            desk.work.keep_fork(liar, &fork);
            Ok(())
        };
        writer.decide(Act::default(), keep).unwrap();
        let refused = writer.accept(step(3), liar).unwrap_err();
        assert_eq!(refused.reason(), Reason::NotInGoodStanding);
        assert_eq!(writer.ledger().accepted_size(origin), 2);

        // The registrar draws its line: up to it is taken what leads to its root, and nothing else.
        let line = |size: u64, root: [u8; 32]| {
            let draw = |desk: &mut Desk<'_>| {
                let frozen = replica::Frozen { size, root: Digest(root) };
                desk.work.tx.store(keys::frozen(liar), &frozen);
                Ok(())
            };
            writer.decide(Act::default(), draw).unwrap();
        };
        for (size, root, taken) in [(2, [1; 32], false), (3, [1; 32], false), (3, step(3).held().root().0, true)] {
            line(size, root);
            assert_eq!(writer.accept(step(3), liar).is_ok(), taken, "a line at {size}");
        }
        assert_eq!(writer.ledger().accepted_size(origin), 3);
    }

    #[test]
    fn a_request_is_done_once_whenever_it_comes() {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(Hand::at(NOON));
        let writer = open_by(clock.clone(), dir.path(), &MemoryDisk::new(), &Arc::new(MemoryStore::new()));
        let ask = |request: u8, quiet: bool| {
            let idempotency = Idempotency { key: Digest([1; 32]), request: Digest([request; 32]) };
            let act = Act { operator: None, idempotency: Some(idempotency) };
            let decide = |desk: &mut Desk<'_>| {
                if quiet {
                    desk.remember_request();
                    return Ok(());
                }
                desk.write(Role::Issuer, Body::Heartbeat).map(drop)
            };
            writer.decide(act, decide).map(|done| done.records.len())
        };
        // Whether it writes a record or only remembers itself; the other one asks under the same key.
        for quiet in [false, true] {
            assert_eq!(ask(1, quiet), Ok(usize::from(!quiet)));
            assert_eq!(ask(1, quiet), Err(Refused::Repeated));
            assert_eq!(ask(2, quiet), Err(Reason::IdempotencyKeyReused.into()));
            clock.set(writer.now() + REMEMBER_REQUESTS);
        }
    }

    #[test]
    fn a_newer_program_goes_on_where_an_older_one_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let (disk, store) = (MemoryDisk::new(), Arc::new(MemoryStore::new()));
        let writer = open(dir.path(), &disk, &store);
        for _ in 0..3 {
            writer.decide(Act::default(), |desk| desk.write(Role::Issuer, Body::Heartbeat)).unwrap();
        }
        let whole = cursor(&writer);
        // An older program did not know what stands at index 1, and stopped there.
        let stopped = replica::Cursor { next: 1, upgrade_needed: true, ..whole };
        let state = [(keys::cursor(writer.settings().me), Some(crate::kv::write(&stopped).into()))].into();
        writer.ledger().submit(Batch { state, ..Batch::default() }).unwrap();
        writer.ledger().flush();
        drop(writer);

        let writer = open(dir.path(), &disk, &store);
        assert_eq!(cursor(&writer), whole, "what was folded no further goes on");

        // This program stops before a version that it does not know, and stays there.
        let unknown = vec![ledger::record::FORMAT + 1, 1, 2, 3];
        let batch = Batch { expected_size: 3, own: vec![unknown.into()], ..Batch::default() };
        writer.ledger().submit(batch).unwrap();
        for _ in 0..2 {
            writer.catch_up();
            assert_eq!(cursor(&writer), replica::Cursor { upgrade_needed: true, ..whole });
        }
        let refused = writer.decide(Act::default(), |desk| desk.write(Role::Issuer, Body::Heartbeat)).unwrap_err();
        assert_eq!(refused.reason(), Reason::NotReady);
    }
}
