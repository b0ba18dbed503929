//! The storer thread: about each second it writes what is durable in the journal into the store, in one synced round.

use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::book;
use crate::commit::Item;
use crate::fail;
use crate::layout;
use crate::log::Shared;
use crate::store::{Changes, Store, StoreError};

/// The kinds of rows that the state has.
const STATE_KINDS: [u8; 2] = [layout::STATE, layout::MARK];

/// Rows of the state removed in one round.
const CLEAR_ROWS: usize = 4_096;

/// Stores each `store_every` and whenever much waits, until the ledger closes; then once more.
pub(crate) fn run(shared: &Shared) {
    loop {
        let mut alarm = shared.alarm.lock();
        if !*alarm {
            shared.store_due.wait_for(&mut alarm, shared.options.store_every);
        }
        *alarm = false;
        drop(alarm);
        let closed = shared.queue.lock().closed;
        look_at_disk(shared);
        round(shared);
        if closed {
            return;
        }
    }
}

/// Remembers whether the disk has less free space than its floor.
pub(crate) fn look_at_disk(shared: &Shared) {
    let dir = &shared.options.dir;
    if shared.options.min_free_disk_bytes == 0 {
        return;
    }
    let free = rustix::fs::statvfs(dir).map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    let free = shared.options.stop.unless("asking for free disk space", free);
    shared.disk_low.store(free < shared.options.min_free_disk_bytes, Ordering::Relaxed);
}

/// One round: sets the state aside, waits until all that it was folded from is durable in the journal, and writes both
/// together.
pub(crate) fn round(shared: &Shared) {
    let stop = &shared.options.stop;
    let _storing = shared.storing.lock();
    {
        // The state is set aside and the writer's place marked in one moment, so that the two fit.
        let mut book = shared.book.write();
        book.freeze();
        shared.queue.lock().items.push_back(Item::Freeze);
        shared.work.notify_one();
    }
    let snapshot = {
        let mut handover = shared.handover.lock();
        loop {
            match handover.snapshot.take() {
                Some(snapshot) => break snapshot,
                None if handover.ended => return,
                None => shared.handed_over.wait(&mut handover),
            }
        }
    };
    let gathered = book::gather(&shared.book.read(), &snapshot);
    let blocks = stop.unless("reading marks", crate::marks::changes(&*shared.store, gathered.marks()));
    let changes = gathered.changes(blocks);
    if !changes.is_empty() {
        let start = Instant::now();
        stop.unless("writing the store", apply(&*shared.store, changes));
        shared.counters.stores.fetch_add(1, Ordering::Relaxed);
        shared.counters.store_micros.fetch_add(start.elapsed().as_micros() as u64, Ordering::Relaxed);
    }
    let forgotten = book::stored(&mut shared.book.write(), &snapshot);
    drop(forgotten);
}

/// Writes one round durably.
pub(crate) fn apply(store: &dyn Store, changes: Changes) -> Result<(), StoreError> {
    store.apply(changes)?;
    fail::point("store-syncing");
    store.sync()
}

/// Removes all rows of the state; a crash in between is finished at the next open.
pub(crate) fn clear_state(shared: &Shared) {
    let _storing = shared.storing.lock();
    let mut book = shared.book.write();
    book.live.retain(|key, _| !key.first().is_some_and(|kind| STATE_KINDS.contains(kind)));
    shared.options.stop.unless("clearing the state", clear_rows(&*shared.store, &shared.options.marks));
    book.rounds += 1;
}

/// Removes all rows of the state from the store, durably. They are encoded for these marks from now on.
pub(crate) fn clear_rows(store: &dyn Store, marks: &[u8]) -> Result<(), StoreError> {
    apply(store, vec![(layout::CLEARING.to_vec(), Some([1_u8].into()))])?;
    for kind in STATE_KINDS {
        loop {
            let rows = store.range(&[kind], &[kind + 1], CLEAR_ROWS)?;
            if rows.is_empty() {
                break;
            }
            store.apply(rows.into_iter().map(|(key, _)| (key, None)).collect())?;
        }
    }
    let encoding = Some(layout::rows_value(marks));
    apply(store, vec![(layout::CLEARING.to_vec(), None), (layout::ROWS.to_vec(), encoding)])
}
