//! The writer thread: everything that waits becomes one frame, one signature and one fdatasync; then callers hear.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::book::{Durable, FullTiles, Snapshot};
use crate::checkpoint::Checkpoint;
use crate::fail;
use crate::frame::HeadRow;
use crate::journal::Journal;
use crate::log::{Entry, MAX_BATCH_BYTES, Shared};
use crate::marker::Marker;
use crate::merkle::{EMPTY_ROOT, leaf_hash};
use crate::mirror::{Accepted, Head};
use crate::store::Changes;

/// Most bytes of one commit beyond its first batch, so that a frame stays below its limit.
const MAX_COMMIT_BYTES: usize = MAX_BATCH_BYTES;

/// One accepted batch that waits to become durable.
pub(crate) struct Pending {
    pub(crate) ticket: u64,
    /// Entries with the leaf hashes that were computed when they were accepted.
    pub(crate) own: Vec<Entry>,
    pub(crate) mirrors: Vec<Accepted>,
    pub(crate) private: Changes,
    pub(crate) bytes: usize,
}

/// What the writer is to do next.
pub(crate) enum Item {
    Commit(Pending),
    /// Tell the storer how things stand here, between two commits.
    Freeze,
    End,
}

/// What waits.
#[derive(Default)]
pub(crate) struct Queue {
    pub(crate) items: VecDeque<Item>,
    pub(crate) bytes: usize,
    pub(crate) closed: bool,
    pub(crate) may_write: bool,
}

/// The logs as a commit leaves them, with the full tiles that it made.
type Touched = BTreeMap<Arc<str>, (Durable, FullTiles)>;

/// Tells a storer that waits that nothing comes any more, however the writer ends.
struct Ended<'a>(&'a Shared);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.handover.lock().ended = true;
        self.0.handed_over.notify_all();
    }
}

/// Writes until the end of the queue.
pub(crate) fn run(shared: &Shared, mut journal: Journal, marker: Option<Marker>) {
    let _ended = Ended(shared);
    loop {
        let (batches, then) = take(shared);
        if let Some(last) = batches.last() {
            let ticket = last.ticket;
            commit(shared, &mut journal, marker.as_ref(), batches);
            told(shared, ticket);
        }
        match then {
            Some(Item::End) => return,
            Some(Item::Freeze) => {
                let logs =
                    shared.book.read().logs.iter().map(|(origin, log)| (origin.clone(), log.durable.clone())).collect();
                shared.handover.lock().snapshot = Some(Snapshot { position: journal.position(), logs });
                shared.handed_over.notify_all();
            }
            Some(Item::Commit(_)) | None => {}
        }
    }
}

/// Waits for work and takes all of it, up to the commit's limit or the first item that is not a batch.
fn take(shared: &Shared) -> (Vec<Pending>, Option<Item>) {
    let mut queue = shared.queue.lock();
    while queue.items.is_empty() {
        shared.work.wait(&mut queue);
    }
    let mut batches = Vec::new();
    let mut bytes = 0;
    while let Some(item) = queue.items.pop_front() {
        let Item::Commit(batch) = item else { return (batches, Some(item)) };
        if !batches.is_empty() && bytes + batch.bytes > MAX_COMMIT_BYTES {
            queue.items.push_front(Item::Commit(batch));
            break;
        }
        bytes += batch.bytes;
        queue.bytes -= batch.bytes;
        batches.push(batch);
    }
    (batches, None)
}

fn commit(shared: &Shared, journal: &mut Journal, marker: Option<&Marker>, batches: Vec<Pending>) {
    let stop = &shared.options.stop;
    let journaled = |batch: &Pending| !(batch.own.is_empty() && batch.mirrors.is_empty() && batch.private.is_empty());
    if !batches.iter().any(journaled) {
        // Only state, which is folded from logs and needs no frame.
        return;
    }
    if journal.is_full() {
        let book = shared.book.read();
        let rows: Vec<HeadRow<'_>> = book.logs.iter().map(|(origin, log)| log.durable.head_row(origin)).collect();
        stop.unless("opening the next segment of the journal", journal.roll(rows.into_iter()));
    }
    let mut touched = Touched::new();
    let frame = journal.begin();

    let own: Vec<&Entry> = batches.iter().flat_map(|batch| &batch.own).collect();
    if !own.is_empty() {
        let (durable, full) = touch(shared, &mut touched, &shared.origin);
        let first = durable.size();
        frame.log(true, &shared.origin, first, &durable.root, own.iter().map(|entry| &**entry.bytes()));
        // What is signed is hashed from the very bytes that go to disk; the ids that callers were given must be the same.
        for (entry, expected) in frame.entries().zip(own.iter().map(|entry| entry.leaf())) {
            let hash = leaf_hash(entry);
            if hash != expected {
                stop.stop("a record changed in memory between its acceptance and its frame");
            }
            durable.tiles.push(hash);
        }
        let signed = durable.newest.as_ref().map_or(0, |head| head.checkpoint.size);
        let size = durable.size();
        if signed != first || size != first + own.len() as u64 {
            stop.stop("the head to sign does not follow the last signed head");
        }
        take_full(durable, full);
        durable.root = durable.tiles.root();
        let checkpoint = Checkpoint { origin: shared.origin.to_string(), size, root: durable.root };
        let note: Arc<str> = checkpoint.sign(&shared.signer.read()).into();
        frame.end_log(size, &durable.root, &note);
        let head = Head { checkpoint, note };
        durable.newest = Some(head.clone());
        durable.complete = Some(head);
    }
    for step in batches.iter().flat_map(|batch| &batch.mirrors) {
        let (durable, full) = touch(shared, &mut touched, &step.origin);
        if (durable.size(), durable.root) != (step.first_index, step.previous) {
            stop.stop("a mirror's step does not follow what is durable of it");
        }
        frame.log(false, &step.origin, step.first_index, &step.previous, step.entries.iter().map(|entry| &**entry));
        for entry in frame.entries() {
            durable.tiles.push(leaf_hash(entry));
        }
        take_full(durable, full);
        durable.root = durable.tiles.root();
        if durable.root != step.root {
            stop.stop("a mirrored record changed in memory between its acceptance and its frame");
        }
        frame.end_log(durable.size(), &durable.root, &step.head.note);
        covered(durable, step.head.clone());
    }
    for batch in batches.iter().filter(|batch| !batch.private.is_empty()) {
        frame.private(batch.private.iter().map(|(key, value)| (&**key, value.as_deref())));
    }

    let before = journal.position();
    stop.unless("writing the journal", journal.write());
    fail::point("journal-written");
    let start = Instant::now();
    stop.unless("syncing the journal", journal.sync());
    let micros = start.elapsed().as_micros() as u64;
    fail::point("journal-synced");
    // Before the start rule is satisfied the own log may lack its tail: a marker would say that nothing is missing.
    let may_write = shared.queue.lock().may_write;
    if let Some(marker) = marker.filter(|_| may_write) {
        let own = |durable: &Durable| (durable.size(), durable.root);
        let (size, root) = match touched.get(&shared.origin) {
            Some((durable, _)) => own(durable),
            None => shared.book.read().logs.get(&shared.origin).map_or((0, EMPTY_ROOT), |log| own(&log.durable)),
        };
        stop.unless("writing the marker", marker.write(size, root, journal.position().sequence));
    }
    let counters = &shared.counters;
    counters.commits.fetch_add(1, Ordering::Relaxed);
    counters.sync_micros.fetch_add(micros, Ordering::Relaxed);
    counters.sync_max_micros.fetch_max(micros, Ordering::Relaxed);
    counters.journal_bytes.fetch_add(journal.position().offset - before.offset, Ordering::Relaxed);

    let mut book = shared.book.write();
    for (origin, (durable, full)) in touched {
        let log = book.logs.entry(origin).or_default();
        log.durable = Arc::new(durable);
        log.full.extend(full);
    }
}

/// The log as this commit leaves it so far.
fn touch<'t>(shared: &Shared, touched: &'t mut Touched, origin: &Arc<str>) -> &'t mut (Durable, FullTiles) {
    touched.entry(origin.clone()).or_insert_with(|| {
        let durable = shared.book.read().logs.get(origin).map(|log| log.durable.clone());
        (durable.map_or_else(Durable::default, |durable| Durable::clone(&durable)), Vec::new())
    })
}

pub(crate) fn take_full(durable: &mut Durable, full: &mut FullTiles) {
    full.extend(durable.tiles.take_full().into_iter().map(|(level, index, bytes)| ((level, index), bytes.into())));
}

/// Notes a mirror's head, and as complete if all that it covers is held.
pub(crate) fn covered(durable: &mut Durable, head: Head) {
    if head.checkpoint.size == durable.size() {
        durable.complete = Some(head.clone());
    }
    durable.newest = Some(head);
}

/// Tells everyone who waits that `ticket` is durable.
fn told(shared: &Shared, ticket: u64) {
    let mut durability = shared.durability.lock();
    durability.ticket = ticket;
    let later = durability.waiting.split_off(&(ticket + 1));
    let now = std::mem::replace(&mut durability.waiting, later);
    drop(durability);
    for done in now.into_values().flatten() {
        done();
    }
    let hints = shared.hints.lock().clone();
    for hint in hints {
        hint();
    }
}
