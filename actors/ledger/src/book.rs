//! What the ledger holds in memory: the tail of each log that is not stored yet, and the state's newest values.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::frame::HeadRow;
use crate::journal::Position;
use crate::layout;
use crate::merkle::Hash;
use crate::mirror::{Head, Held};
use crate::store::Changes;
use crate::tile::Tiles;
use crate::value::Value;

/// Newest values by store key; `None` is a removal.
pub(crate) type Overlay = BTreeMap<Vec<u8>, Option<Value>>;

/// Full tiles by level and index.
pub(crate) type FullTiles = Vec<((u8, u64), Arc<[u8]>)>;

/// What a log's durable part looks like at one commit.
#[derive(Debug, Clone)]
pub(crate) struct Durable {
    pub(crate) root: Hash,
    pub(crate) tiles: Tiles,
    /// The last signed head of which all entries are held.
    pub(crate) complete: Option<Head>,
    /// The last signed head.
    pub(crate) newest: Option<Head>,
}

impl Default for Durable {
    fn default() -> Durable {
        Durable { root: crate::merkle::EMPTY_ROOT, tiles: Tiles::new(), complete: None, newest: None }
    }
}

impl Durable {
    pub(crate) fn size(&self) -> u64 {
        self.tiles.size()
    }

    pub(crate) fn head_row<'a>(&'a self, origin: &'a str) -> HeadRow<'a> {
        let note = |head: &'a Option<Head>| head.as_ref().map_or("", |head| &*head.note);
        HeadRow {
            origin,
            size: self.size(),
            root: self.root,
            complete: note(&self.complete),
            newest: note(&self.newest),
        }
    }
}

/// One log.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// Entries accepted, durable or not.
    pub(crate) accepted: u64,
    /// The edge behind what is accepted; only mirrors have it before it is durable.
    pub(crate) held: Held,
    /// Entries from `recent_from` on: those that are not stored, and the open chunk before them.
    pub(crate) recent: VecDeque<Arc<[u8]>>,
    pub(crate) recent_from: u64,
    pub(crate) durable: Arc<Durable>,
    /// Full tiles that are durable and not stored.
    pub(crate) full: BTreeMap<(u8, u64), Arc<[u8]>>,
    /// What the store has.
    pub(crate) stored: Arc<Durable>,
}

impl Log {
    pub(crate) fn accept(&mut self, entries: impl IntoIterator<Item = Arc<[u8]>>) {
        let before = self.recent.len();
        self.recent.extend(entries);
        self.accepted += (self.recent.len() - before) as u64;
    }

    /// The entry at `index` if it is in memory.
    pub(crate) fn recent(&self, index: u64) -> Option<&Arc<[u8]>> {
        self.recent.get(usize::try_from(index.checked_sub(self.recent_from)?).ok()?)
    }
}

/// Everything in memory. One lock guards it.
#[derive(Debug, Default)]
pub(crate) struct Book {
    pub(crate) logs: BTreeMap<Arc<str>, Log>,
    pub(crate) live: Overlay,
    /// What a store round is writing; readable until it is stored.
    pub(crate) frozen: Option<Arc<Overlay>>,
    /// Bytes of entries and rows that are not stored.
    pub(crate) live_bytes: usize,
    pub(crate) frozen_bytes: usize,
    /// How many store rounds have ended.
    pub(crate) rounds: u64,
    pub(crate) last_ticket: u64,
}

impl Book {
    /// The newest value in memory; the outer `None` means that the store knows.
    pub(crate) fn row(&self, key: &[u8]) -> Option<Option<Value>> {
        let frozen = || self.frozen.as_ref().and_then(|frozen| frozen.get(key));
        self.live.get(key).or_else(frozen).cloned()
    }

    /// The rows in memory from `from` up to `to`.
    pub(crate) fn rows(&self, from: &[u8], to: &[u8]) -> Overlay {
        let span = || (std::ops::Bound::Included(from), std::ops::Bound::Excluded(to));
        let mut rows = Overlay::new();
        for layer in self.frozen.as_deref().into_iter().chain([&self.live]) {
            rows.extend(layer.range::<[u8], _>(span()).map(|(key, value)| (key.clone(), value.clone())));
        }
        rows
    }

    /// Sets a row by its store key.
    pub(crate) fn set(&mut self, key: Vec<u8>, value: Option<Value>) {
        let bytes = key.len() + value.as_ref().map_or(0, Value::weight);
        let mut row = match self.live.entry(key) {
            Entry::Vacant(row) => {
                self.live_bytes += bytes;
                row.insert(value);
                return;
            }
            Entry::Occupied(row) => row,
        };
        match (row.get(), value) {
            // It came and went between two rounds.
            (Some(Value::New), None) => drop(row.remove()),
            // It was there before it was removed, so it is not new to the store.
            (None, Some(Value::New)) => drop(row.insert(Some(Vec::new().into()))),
            (_, value) => {
                self.live_bytes += bytes;
                row.insert(value);
            }
        }
    }

    /// Sets the rows aside that a store round will write.
    pub(crate) fn freeze(&mut self) {
        self.frozen = Some(Arc::new(std::mem::take(&mut self.live)));
        self.frozen_bytes = std::mem::take(&mut self.live_bytes);
    }
}

/// What a store round writes: the logs as they were at one commit, and the rows frozen before it.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    pub(crate) position: Position,
    pub(crate) logs: Vec<(Arc<str>, Arc<Durable>)>,
}

/// What a store round takes from the book: shared, not copied, so that the lock is held shortly.
pub(crate) struct Gathered<'s> {
    snapshot: &'s Snapshot,
    frozen: Option<Arc<Overlay>>,
    logs: Vec<GatheredLog<'s>>,
}

struct GatheredLog<'s> {
    origin: &'s str,
    durable: &'s Durable,
    first: u64,
    entries: Vec<Arc<[u8]>>,
    full: FullTiles,
}

/// Takes what the store does not have at `snapshot`. The book must still hold what the snapshot saw.
pub(crate) fn gather<'s>(book: &Book, snapshot: &'s Snapshot) -> Gathered<'s> {
    let mut logs = Vec::new();
    for (origin, durable) in &snapshot.logs {
        let Some(log) = book.logs.get(origin) else { continue };
        if Arc::ptr_eq(&log.stored, durable) {
            continue;
        }
        let count = ((durable.size() - log.recent_from) as usize).min(log.recent.len());
        logs.push(GatheredLog {
            origin,
            durable,
            first: log.recent_from,
            entries: log.recent.range(..count).cloned().collect(),
            full: full_tiles(log, durable.size()).map(|(place, bytes)| (place, bytes.clone())).collect(),
        });
    }
    Gathered { snapshot, frozen: book.frozen.clone(), logs }
}

impl Gathered<'_> {
    /// What becomes of marks, in order.
    pub(crate) fn marks(&self) -> impl Iterator<Item = crate::marks::Change<'_>> {
        let marks = self.frozen.iter().flat_map(|frozen| frozen.range(vec![layout::MARK]..vec![layout::MARK + 1]));
        marks.map(|(key, value)| (key.as_slice(), value.is_some()))
    }

    /// All changes that bring the store to the snapshot, with the blocks of the marks; none if it is there.
    pub(crate) fn changes(self, blocks: Changes) -> Changes {
        let mut changes = blocks;
        if let Some(frozen) = &self.frozen {
            let rows = frozen.iter().filter(|(key, _)| key.first() != Some(&layout::MARK));
            changes.extend(rows.map(|(key, value)| (key.clone(), value.as_ref().map(|v| stored_row(key, v)))));
        }
        for log in self.logs {
            entry_changes(log.origin, log.first, &log.entries, &mut changes);
            for ((level, index), bytes) in log.full {
                changes.push((layout::tile_key(log.origin, level, index), Some(bytes)));
            }
            for level in 0..8 {
                if let Some((index, bytes)) = log.durable.tiles.partial(level) {
                    let value = [&index.to_be_bytes()[..], bytes].concat();
                    changes.push((layout::edge_key(log.origin, level), Some(value.into())));
                }
            }
            changes.push((layout::head_key(log.origin), Some(layout::head_value(log.durable.head_row(log.origin)))));
        }
        if !changes.is_empty() {
            changes.push((layout::POSITION.to_vec(), Some(layout::position_value(self.snapshot.position))));
        }
        changes
    }
}

/// What the store keeps of a row of the state or of a private one.
fn stored_row(key: &[u8], value: &Value) -> Arc<[u8]> {
    let bytes = value.bytes();
    if key.first() == Some(&layout::STATE) { crate::pack::pack(&bytes) } else { bytes }
}

fn entry_changes(origin: &str, mut first: u64, mut rest: &[Arc<[u8]>], changes: &mut Changes) {
    while !rest.is_empty() {
        let chunk = layout::chunk(first, rest.iter().map(|entry| entry.len()));
        let (entries, later) = rest.split_at(chunk.count);
        let value = crate::tile::encode_bundle(entries.iter().map(|entry| &**entry));
        changes.push((layout::entries_key(origin, first), Some(value.into())));
        first += chunk.count as u64;
        rest = later;
    }
}

/// The full tiles of a log that lie within its first `size` entries.
fn full_tiles(log: &Log, size: u64) -> impl Iterator<Item = ((u8, u64), &Arc<[u8]>)> {
    log.full
        .iter()
        .map(|(place, bytes)| (*place, bytes))
        .filter(move |((level, index), _)| u128::from(index + 1) << (8 * (u32::from(*level) + 1)) <= u128::from(size))
}

/// Forgets what the store has got with `snapshot`, and answers it, to be dropped without the lock.
pub(crate) fn stored(book: &mut Book, snapshot: &Snapshot) -> impl Sized + use<> {
    let mut forgotten = Vec::new();
    for (origin, durable) in &snapshot.logs {
        let Some(log) = book.logs.get_mut(origin) else { continue };
        // The last chunk stays in memory while it can grow, so that it is written whole again.
        while log.recent_from < durable.size() {
            let held = ((durable.size() - log.recent_from) as usize).min(log.recent.len());
            let chunk = layout::chunk(log.recent_from, log.recent.range(..held).map(|entry| entry.len()));
            if !chunk.closed {
                break;
            }
            forgotten.extend(log.recent.drain(..chunk.count));
            log.recent_from += chunk.count as u64;
        }
        let gone: Vec<_> = full_tiles(log, durable.size()).map(|(place, _)| place).collect();
        for place in gone {
            log.full.remove(&place);
        }
        log.stored = durable.clone();
    }
    let frozen = book.frozen.take();
    book.frozen_bytes = 0;
    book.rounds += 1;
    (forgotten, frozen)
}
