//! The ledger of one node: its own log, the mirrors of its peers, the state folded from them, and private rows.
//!
//! ```text
//!   submit ──► memory ──► writer: hash, sign, frame, ONE fdatasync ──► marker ──► heads, callbacks
//!                └──────────────────► storer, about each second: one batch into the store, synced
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, RwLock};

use crate::book::{Book, Snapshot};
use crate::commit::{Item, Pending, Queue};
use crate::fail::Stop;
use crate::key::NoteSigner;
use crate::layout;
use crate::merkle::{Hash, leaf_hash};
use crate::mirror::{Accepted, Head, Held};
use crate::read::HashedTiles;
use crate::record::{MAX_RECORD_BYTES, MAX_VALUE_BYTES};
use crate::store::{Changes, Store};
use crate::value::Value;

/// Most bytes of one batch: entries, mirrored entries and private rows. A frame of the journal has room for it.
pub const MAX_BATCH_BYTES: usize = 16 * 1024 * 1024;

/// Most entries of one batch.
pub const MAX_BATCH_ENTRIES: usize = 65_536;

/// Longest key of the state and of the private rows, in bytes.
pub const MAX_KEY_BYTES: usize = 512;

/// How a ledger is opened.
#[derive(Debug, Clone)]
pub struct Options {
    /// The directory of the journal and the store. One process at a time.
    pub dir: PathBuf,
    /// Name of the own log: the name of its key.
    pub origin: String,
    /// The own log's key.
    pub signer: Arc<NoteSigner>,
    /// Whether the last own head must be signed by `signer`. A caller whose key may have been replaced since that head
    /// asks for no such check, and makes its own.
    pub checks_signature: bool,
    /// How often the store is written.
    pub store_every: Duration,
    /// Size at which a segment of the journal is sealed, in bytes.
    pub segment_bytes: u64,
    /// Most bytes that wait for the writer; above it [`SubmitError::Busy`].
    pub max_waiting_bytes: usize,
    /// Most bytes in memory that wait for the store; above it [`SubmitError::Busy`].
    pub max_unstored_bytes: usize,
    /// Free disk space below which nothing is accepted, in bytes.
    pub min_free_disk_bytes: u64,
    /// A directory that a reboot empties, for the marker.
    pub marker_dir: PathBuf,
    /// Names this boot (`/proc/sys/kernel/random/boot_id`).
    pub boot_id: String,
    /// First bytes of those keys of the state whose rows never have values: they are stored many to a row.
    pub marks: Vec<u8>,
    /// What happens when the storage fails.
    pub stop: Stop,
}

impl Options {
    /// The defaults: the origin is the signer's name, the store is written each second, segments of 64 MiB, 32 MiB
    /// waiting, 512 MiB unstored, 512 MiB of free disk, the marker in `/dev/shm`, no marks, exit on failure.
    pub fn new(dir: impl Into<PathBuf>, signer: impl Into<Arc<NoteSigner>>, boot_id: impl Into<String>) -> Options {
        let signer = signer.into();
        Options {
            dir: dir.into(),
            origin: signer.name().to_owned(),
            signer,
            checks_signature: true,
            store_every: Duration::from_secs(1),
            segment_bytes: 64 * 1024 * 1024,
            max_waiting_bytes: 32 * 1024 * 1024,
            max_unstored_bytes: 512 * 1024 * 1024,
            min_free_disk_bytes: 512 * 1024 * 1024,
            marker_dir: "/dev/shm".into(),
            boot_id: boot_id.into(),
            marks: Vec::new(),
            stop: Stop::default(),
        }
    }
}

impl Options {
    /// Which kind of row of the store a key of the state has.
    pub(crate) fn kind_of(&self, key: &[u8]) -> u8 {
        if key.first().is_some_and(|first| self.marks.contains(first)) { layout::MARK } else { layout::STATE }
    }
}

/// A key's name is not the log's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the key has another name than the log")]
pub struct OtherName;

/// Rows to set, or to remove with `None`, by key.
pub type Rows = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// Rows of the state to set, or to remove with `None`, by key.
pub type StateRows = BTreeMap<Vec<u8>, Option<Value>>;

/// An entry for the own log, with its leaf hash: hashed once, by whoever needs it first.
#[derive(Debug, Clone)]
pub struct Entry {
    bytes: Arc<[u8]>,
    leaf: Hash,
}

impl Entry {
    /// The bytes.
    pub fn bytes(&self) -> &Arc<[u8]> {
        &self.bytes
    }

    /// RFC 6962's leaf hash of the bytes.
    pub fn leaf(&self) -> Hash {
        self.leaf
    }
}

impl From<Arc<[u8]>> for Entry {
    fn from(bytes: Arc<[u8]>) -> Self {
        let leaf = leaf_hash(&bytes);
        Self { bytes, leaf }
    }
}

impl From<Vec<u8>> for Entry {
    fn from(bytes: Vec<u8>) -> Self {
        Self::from(Arc::from(bytes))
    }
}

/// What is accepted together or not at all, and stays together over any crash.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// Size of the own log before `own`: compared, so that two writers cannot both follow the same record. Not looked
    /// at if `own` is empty.
    pub expected_size: u64,
    /// Entries for the own log.
    pub own: Vec<Entry>,
    /// Entries of other logs, as [`crate::mirror::step`] accepted them.
    pub mirrors: Vec<Accepted>,
    /// Rows of the state. They are stored together with the entries they are folded from, and not journaled: after a
    /// crash the caller folds again what the state does not have.
    pub state: StateRows,
    /// Private rows: opaque, not derivable from logs, so journaled.
    pub private: Rows,
}

/// Why nothing was accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// Too much waits. Ask again later.
    #[error("too much waits to be written; ask again in a moment")]
    Busy,
    /// The disk is nearly full. Ask again when there is room.
    #[error("the disk has less free space than its floor")]
    DiskLow,
    /// Another batch was first.
    #[error("the log {origin} has {size} entries, not the number expected")]
    Stale {
        /// Which log, the own one or a mirror.
        origin: String,
        /// Its size, entries that are not yet durable included.
        size: u64,
    },
    /// The start rule is not satisfied yet.
    #[error("this node may not write yet: it is still asking its peers how far its log had come")]
    NotYet,
    /// A limit is passed; asking again is useless.
    #[error("{what} is more than the {limit} allowed")]
    TooLarge {
        /// What, with its size and unit.
        what: String,
        /// The limit in the same unit.
        limit: usize,
    },
    /// A mirror's step was made for the own log.
    #[error("{0} is this node's own log and is not mirrored here")]
    OwnLog(String),
    /// The ledger is closing.
    #[error("the ledger is closing")]
    Closed,
}

/// Numbers for metrics. Times are totals, to be divided by their counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Each log's origin, entries accepted and entries durable.
    pub logs: Vec<(String, u64, u64)>,
    /// Bytes that wait for the writer.
    pub waiting_bytes: usize,
    /// Bytes in memory that wait for the store.
    pub unstored_bytes: usize,
    /// Commits so far.
    pub commits: u64,
    /// Time spent in the journal's fdatasync, in microseconds.
    pub sync_micros: u64,
    /// Longest fdatasync of the journal, in microseconds.
    pub sync_max_micros: u64,
    /// Store rounds so far.
    pub stores: u64,
    /// Time spent writing and syncing the store, in microseconds.
    pub store_micros: u64,
    /// Bytes written to the journal.
    pub journal_bytes: u64,
}

pub(crate) type Done = Box<dyn FnOnce() + Send>;
type Hint = Arc<dyn Fn() + Send + Sync>;

#[derive(Default)]
pub(crate) struct Durability {
    pub(crate) ticket: u64,
    pub(crate) waiting: BTreeMap<u64, Vec<Done>>,
}

#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) commits: AtomicU64,
    pub(crate) sync_micros: AtomicU64,
    pub(crate) sync_max_micros: AtomicU64,
    pub(crate) stores: AtomicU64,
    pub(crate) store_micros: AtomicU64,
    pub(crate) journal_bytes: AtomicU64,
}

/// What the writer hands to the storer.
#[derive(Default)]
pub(crate) struct Handover {
    pub(crate) snapshot: Option<Snapshot>,
    /// The writer has ended, and hands nothing over any more.
    pub(crate) ended: bool,
}

/// What the threads share. Locks are taken in the order of the fields.
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) origin: Arc<str>,
    /// The key of the next head.
    pub(crate) signer: RwLock<Arc<NoteSigner>>,
    /// Held by who writes the store.
    pub(crate) storing: Mutex<()>,
    pub(crate) book: RwLock<Book>,
    pub(crate) queue: Mutex<Queue>,
    pub(crate) work: Condvar,
    pub(crate) handover: Mutex<Handover>,
    pub(crate) handed_over: Condvar,
    pub(crate) alarm: Mutex<bool>,
    pub(crate) store_due: Condvar,
    pub(crate) durability: Mutex<Durability>,
    pub(crate) hints: Mutex<Vec<Hint>>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) hashed_tiles: HashedTiles,
    pub(crate) disk_low: AtomicBool,
    pub(crate) counters: Counters,
}

impl Shared {
    /// Runs a thread's work; a panic in it stops the process like any other failure.
    pub(crate) fn guarded(self: &Arc<Self>, name: &str, work: impl FnOnce(&Shared)) {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(self)));
        if let Err(cause) = result
            && !cause.is::<crate::fail::Stopped>()
        {
            self.options.stop.stop(&format!("the {name} thread panicked"));
        }
    }
}

/// A ledger. Clones are the same ledger; it closes with the last one.
#[derive(Clone)]
pub struct Ledger {
    pub(crate) shared: Arc<Shared>,
    _threads: Arc<Threads>,
}

struct Threads {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
    storer: Mutex<Option<JoinHandle<()>>>,
    // Released when the threads have ended.
    _lock: Option<std::fs::File>,
}

impl Threads {
    fn close(&self) {
        self.shared.queue.lock().closed = true;
        *self.shared.alarm.lock() = true;
        self.shared.store_due.notify_all();
        join(&self.storer);
        self.shared.queue.lock().items.push_back(Item::End);
        self.shared.work.notify_all();
        join(&self.writer);
    }
}

/// Waits for a thread, unless it is this one: a callback may hold the last handle.
fn join(thread: &Mutex<Option<JoinHandle<()>>>) {
    if let Some(thread) = thread.lock().take()
        && thread.thread().id() != std::thread::current().id()
    {
        // What ended it early has already stopped the process or told the hook.
        let _ = thread.join();
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.close();
    }
}

impl Ledger {
    pub(crate) fn start(
        shared: Arc<Shared>,
        journal: crate::journal::Journal,
        marker: Option<crate::marker::Marker>,
        lock: Option<std::fs::File>,
    ) -> std::io::Result<Ledger> {
        let run = shared.clone();
        let writer = std::thread::Builder::new()
            .name("ledger-writer".into())
            .spawn(move || run.guarded("writer", |shared| crate::commit::run(shared, journal, marker)))?;
        let run = shared.clone();
        let storer = std::thread::Builder::new()
            .name("ledger-storer".into())
            .spawn(move || run.guarded("storer", crate::keep::run))?;
        let threads = Threads {
            shared: shared.clone(),
            writer: Mutex::new(Some(writer)),
            storer: Mutex::new(Some(storer)),
            _lock: lock,
        };
        Ok(Ledger { shared, _threads: Arc::new(threads) })
    }

    /// Accepts a batch in memory, all of it or nothing, and answers its ticket: the number of the batch, from 1 in this
    /// process. What is accepted is read at once; it is durable when [`Ledger::durable`] has reached the ticket.
    ///
    /// # Errors
    ///
    /// See [`SubmitError`]; nothing is changed.
    pub fn submit(&self, batch: Batch) -> Result<u64, SubmitError> {
        self.take(batch, false)
    }

    /// Takes back entries of the own log that were lost here and that a mirror still has: verified, by a step from what
    /// is durable, against a head under this log's own key. Their heads are signed again on the way; each is a beginning
    /// of the one that was signed before, so nothing forks.
    ///
    /// # Errors
    ///
    /// [`SubmitError::Stale`] if the step does not continue what is here or writing is allowed already; else as
    /// [`Ledger::submit`].
    pub fn restore(&self, step: &Accepted) -> Result<u64, SubmitError> {
        let held = self.edge(&self.shared.origin);
        let stale = || SubmitError::Stale { origin: step.origin.to_string(), size: held.size() };
        let continues = (held.size(), held.root()) == (step.first_index, step.previous);
        if *step.origin != *self.shared.origin || !continues || self.shared.queue.lock().may_write {
            return Err(stale());
        }
        let own = step.entries.iter().cloned().map(Entry::from).collect();
        self.take(Batch { expected_size: step.first_index, own, ..Batch::default() }, true)
    }

    /// Gives up the mirror of a log at the next open, so that it is fetched again: it follows the losing branch of a fork.
    /// The state is folded again then.
    ///
    /// # Errors
    ///
    /// The request cannot be written.
    pub fn replace_mirror(&self, origin: &str) -> std::io::Result<()> {
        if *origin == *self.shared.origin {
            return Err(std::io::Error::other("the own log is not replaced"));
        }
        crate::replaced::ask(&self.shared.options.dir, origin)
    }

    fn take(&self, batch: Batch, restoring: bool) -> Result<u64, SubmitError> {
        let shared = &*self.shared;
        let bytes = bytes_of(&batch, &shared.options)?;
        let own = batch.own;
        let private: Changes = batch.private.into_iter().map(|(key, value)| (key, value.map(Arc::from))).collect();

        let mut book = shared.book.write();
        let mut queue = shared.queue.lock();
        if queue.closed {
            return Err(SubmitError::Closed);
        }
        if !own.is_empty() && !queue.may_write && !restoring {
            return Err(SubmitError::NotYet);
        }
        if shared.disk_low.load(Ordering::Relaxed) {
            return Err(SubmitError::DiskLow);
        }
        let unstored = book.live_bytes + book.frozen_bytes + bytes;
        if queue.bytes + bytes > shared.options.max_waiting_bytes.max(bytes)
            || unstored > shared.options.max_unstored_bytes
        {
            self.store_soon();
            return Err(SubmitError::Busy);
        }
        let size = book.logs.get(&shared.origin).map_or(0, |log| log.accepted);
        if !own.is_empty() && size != batch.expected_size {
            return Err(SubmitError::Stale { origin: shared.origin.to_string(), size });
        }
        let mut edges: BTreeMap<&str, (u64, Hash)> = BTreeMap::new();
        for step in &batch.mirrors {
            if *step.origin == *shared.origin {
                return Err(SubmitError::OwnLog(step.origin.to_string()));
            }
            let edge = edges.entry(&step.origin).or_insert_with(|| {
                let held = book.logs.get(&step.origin).map(|log| &log.held);
                held.map_or((0, crate::merkle::EMPTY_ROOT), |held| (held.size(), held.root()))
            });
            if *edge != (step.first_index, step.previous) {
                return Err(SubmitError::Stale { origin: step.origin.to_string(), size: edge.0 });
            }
            *edge = (step.held.size(), step.root);
        }

        // Nothing below can fail.
        if !own.is_empty() {
            let log = book.logs.entry(shared.origin.clone()).or_default();
            log.accept(own.iter().map(|entry| entry.bytes.clone()));
        }
        for step in &batch.mirrors {
            let log = book.logs.entry(step.origin.clone()).or_default();
            log.accept(step.entries.iter().cloned());
            log.held = step.held.clone();
        }
        for (mut key, value) in batch.state {
            key.insert(0, shared.options.kind_of(&key)); // layout::row_key in place: keys are made with room
            book.set(key, value);
        }
        for (key, value) in &private {
            book.set(layout::row_key(layout::PRIVATE, key), value.clone().map(Value::Bytes));
        }
        let rows: usize =
            private.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, |value| value.len())).sum();
        book.live_bytes += bytes.saturating_sub(rows);
        book.last_ticket += 1;
        let ticket = book.last_ticket;
        queue.bytes += bytes;
        let idle = queue.items.is_empty();
        queue.items.push_back(Item::Commit(Pending { ticket, own, mirrors: batch.mirrors, private, bytes }));
        drop(queue);
        drop(book);
        if idle {
            shared.work.notify_one();
        }
        if unstored > shared.options.max_unstored_bytes / 2 {
            self.store_soon();
        }
        Ok(ticket)
    }

    fn store_soon(&self) {
        *self.shared.alarm.lock() = true;
        self.shared.store_due.notify_one();
    }

    /// Calls `done` when the batch of this ticket is durable; at once if it is. It runs on the writer's thread, so it
    /// must be short and must not wait.
    pub fn when_durable(&self, ticket: u64, done: Done) {
        let mut durability = self.shared.durability.lock();
        if durability.ticket < ticket {
            durability.waiting.entry(ticket).or_default().push(done);
        } else {
            drop(durability);
            done();
        }
    }

    /// The last ticket that is durable; 0 before the first.
    pub fn durable(&self) -> u64 {
        self.shared.durability.lock().ticket
    }

    /// The last ticket given out; 0 before the first.
    pub fn last_ticket(&self) -> u64 {
        self.shared.book.read().last_ticket
    }

    /// Calls `hint` after each commit: "something has grown". On the writer's thread: short, and must not wait.
    pub fn on_commit(&self, hint: Box<dyn Fn() + Send + Sync>) {
        self.shared.hints.lock().push(hint.into());
    }

    /// Name of the own log.
    pub fn origin(&self) -> &str {
        &self.shared.origin
    }

    /// The origins of all logs here, the own one and the mirrors, in order.
    pub fn origins(&self) -> Vec<String> {
        self.shared.book.read().logs.keys().map(|origin| origin.to_string()).collect()
    }

    /// Entries accepted of a log, those included that are not yet durable; 0 for an unknown one.
    pub fn accepted_size(&self, origin: &str) -> u64 {
        self.shared.book.read().logs.get(origin).map_or(0, |log| log.accepted)
    }

    /// The last durable signed head of a log of which every entry is held.
    pub fn head(&self, origin: &str) -> Option<Head> {
        self.shared.book.read().logs.get(origin)?.durable.complete.clone()
    }

    /// What is accepted of a log, for the next [`crate::mirror::step`]. Of the own log: what is durable.
    pub fn edge(&self, origin: &str) -> Held {
        let book = self.shared.book.read();
        match book.logs.get(origin) {
            None => Held::default(),
            Some(log) if *origin == *self.shared.origin => {
                Held { tiles: log.durable.tiles.clone(), newest: log.durable.newest.clone() }
            }
            Some(log) => log.held.clone(),
        }
    }

    /// Lets the own log grow: the start rule is satisfied.
    pub fn allow_writing(&self) {
        self.shared.queue.lock().may_write = true;
    }

    /// Takes that back: nothing is written to the own log until it is allowed again.
    pub fn forbid_writing(&self) {
        self.shared.queue.lock().may_write = false;
    }

    /// Signs the own log with another key, from the next head on.
    ///
    /// # Errors
    ///
    /// The key has another name than the log; nothing is changed.
    pub fn sign_with(&self, signer: NoteSigner) -> Result<(), OtherName> {
        if signer.name() != &*self.shared.origin {
            return Err(OtherName);
        }
        *self.shared.signer.write() = Arc::new(signer);
        Ok(())
    }

    /// Waits until everything submitted so far is durable and stored.
    pub fn flush(&self) {
        crate::keep::round(&self.shared);
    }

    /// Throws all rows of the state away, durably; entries, tiles and private rows stay. The caller folds again. No
    /// batch may be submitted meanwhile.
    pub fn clear_state(&self) {
        self.flush();
        crate::keep::clear_state(&self.shared);
    }

    /// Refuses new batches, writes what waits, stores it and ends the threads.
    pub fn close(self) {
        self._threads.close();
    }

    /// Numbers for metrics.
    pub fn stats(&self) -> Stats {
        let book = self.shared.book.read();
        let waiting_bytes = self.shared.queue.lock().bytes;
        let counters = &self.shared.counters;
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let row =
            |(origin, log): (&Arc<str>, &crate::book::Log)| (origin.to_string(), log.accepted, log.durable.size());
        Stats {
            logs: book.logs.iter().map(row).collect(),
            waiting_bytes,
            unstored_bytes: book.live_bytes + book.frozen_bytes,
            commits: load(&counters.commits),
            sync_micros: load(&counters.sync_micros),
            sync_max_micros: load(&counters.sync_max_micros),
            stores: load(&counters.stores),
            store_micros: load(&counters.store_micros),
            journal_bytes: load(&counters.journal_bytes),
        }
    }
}

/// Checks the limits of a batch; answers its bytes.
fn bytes_of(batch: &Batch, options: &Options) -> Result<usize, SubmitError> {
    let too_large = |what: String, limit| Err(SubmitError::TooLarge { what, limit });
    let mut bytes = 0;
    let mut entries = batch.own.len();
    for entry in batch.own.iter().map(|entry| &entry.bytes) {
        if entry.len() > MAX_RECORD_BYTES {
            return too_large(format!("an entry of {} bytes", entry.len()), MAX_RECORD_BYTES);
        }
        bytes += entry.len();
    }
    for step in &batch.mirrors {
        entries += step.entries.len();
        bytes += step.entries.iter().map(|entry| entry.len()).sum::<usize>() + step.head.note.len();
    }
    let state = batch.state.iter().map(|(key, value)| {
        let length = match value {
            Some(Value::Bytes(bytes)) => bytes.len(),
            // What it cannot be encoded to stops the process when it is wanted.
            Some(Value::Kept(_) | Value::New) | None => 0,
        };
        (key, length)
    });
    let private = batch.private.iter().map(|(key, value)| (key, value.as_ref().map_or(0, Vec::len)));
    for (key, length) in state.chain(private) {
        if key.len() > MAX_KEY_BYTES {
            return too_large(format!("a key of {} bytes", key.len()), MAX_KEY_BYTES);
        }
        if length > MAX_VALUE_BYTES {
            return too_large(format!("a value of {length} bytes"), MAX_VALUE_BYTES);
        }
    }
    for (key, value) in &batch.state {
        let empty = match value {
            Some(Value::Bytes(bytes)) => bytes.is_empty(),
            Some(Value::Kept(_)) => false,
            Some(Value::New) | None => true,
        };
        if !empty && options.kind_of(key) == layout::MARK {
            return too_large("the value of a mark".into(), 0);
        }
    }
    bytes += batch.private.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len)).sum::<usize>();
    if entries > MAX_BATCH_ENTRIES {
        return too_large(format!("a batch of {entries} entries"), MAX_BATCH_ENTRIES);
    }
    if bytes > MAX_BATCH_BYTES {
        return too_large(format!("a batch of {bytes} bytes"), MAX_BATCH_BYTES);
    }
    Ok(bytes)
}
