//! What anyone may read from a ledger: entries, tiles, proofs, state. Reads never fail; a storage error stops the process.

use std::sync::Arc;

use crate::book::{Durable, Log};
use crate::layout;
use crate::log::Ledger;
use crate::marks;
use crate::merkle::{self, Hash, Hashes};
use crate::store::Row;
use crate::tile::{self, TILE_WIDTH, TileError, TileKind, TilePath, TileTree, encode_bundle};

/// Bytes of a hash in a tile.
const HASH_BYTES: usize = 32;

/// Tiles kept hashed for proofs, of 16 KiB each.
pub(crate) const HASHED_TILES: usize = 4_096;

/// Tiles kept hashed.
pub(crate) type HashedTiles = quick_cache::sync::Cache<TileName, Arc<TileTree>>;

/// Names a tile.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct TileName {
    origin: Arc<str>,
    level: u8,
    index: u64,
    width: u16,
}

/// The same, borrowed; it hashes alike.
#[derive(Hash)]
struct TileRef<'a> {
    origin: &'a str,
    level: u8,
    index: u64,
    width: u16,
}

impl quick_cache::Equivalent<TileName> for TileRef<'_> {
    fn equivalent(&self, name: &TileName) -> bool {
        (self.origin, self.level, self.index, self.width) == (&*name.origin, name.level, name.index, name.width)
    }
}

impl Ledger {
    /// The entry at `index` of a log, if it is accepted (durable or not).
    pub fn entry(&self, origin: &str, index: u64) -> Option<Arc<[u8]>> {
        self.entries(origin, index, 1).pop()
    }

    /// At most `max` entries from index `from` on, as far as they are accepted (durable or not).
    pub fn entries(&self, origin: &str, from: u64, max: usize) -> Vec<Arc<[u8]>> {
        let mut entries = Vec::new();
        let mut recent = Vec::new();
        let stored_until;
        {
            let book = self.shared.book.read();
            let Some(log) = book.logs.get(origin) else { return entries };
            let until = log.accepted.min(from.saturating_add(max as u64));
            stored_until = until.min(log.recent_from);
            let first = from.max(log.recent_from);
            recent.extend((first..until).map_while(|index| log.recent(index).cloned()));
        }
        if from < stored_until {
            self.stored_entries(origin, from, stored_until, &mut entries);
        }
        entries.append(&mut recent);
        entries
    }

    /// Entries of closed chunks, which are all in the store.
    fn stored_entries(&self, origin: &str, from: u64, until: u64, entries: &mut Vec<Arc<[u8]>>) {
        let stop = &self.shared.options.stop;
        let store = &self.shared.store;
        let mut next = from;
        while next < until {
            let (start, end) = (layout::entries_key(origin, 0), layout::entries_key(origin, next));
            let found = stop.unless("reading entries", store.last(&start, &end));
            let wanted = found.and_then(|(key, chunk)| {
                let skip = usize::try_from(next - layout::first_of(&key)?).ok()?;
                layout::parse_chunk(&chunk, skip, (until - next) as usize)
            });
            match wanted {
                Some(wanted) if !wanted.is_empty() => entries.extend(wanted),
                _ => self.shared.damaged(&format!("entry {next} of {origin} is missing")),
            }
            next = from + entries.len() as u64;
        }
    }

    /// The first `width` hashes of a tile, if all of them lie within the durable head.
    pub fn tile(&self, origin: &str, level: u8, index: u64, width: u16) -> Option<Vec<u8>> {
        let (bytes, durable) = {
            let book = self.shared.book.read();
            let log = book.logs.get(origin)?;
            (memory_tile(log, level, index), log.durable.clone())
        };
        self.tile_of(origin, &durable, bytes, level, index, width)
    }

    fn tile_of(
        &self,
        origin: &str,
        durable: &Durable,
        in_memory: Option<Arc<[u8]>>,
        level: u8,
        index: u64,
        width: u16,
    ) -> Option<Vec<u8>> {
        let width = usize::from(width);
        if level > 7 || width == 0 || width > TILE_WIDTH {
            return None;
        }
        let end = (u128::from(index) * TILE_WIDTH as u128 + width as u128) << (8 * u32::from(level));
        if end > u128::from(durable.size()) {
            return None;
        }
        let take = |bytes: &[u8]| bytes.get(..width * HASH_BYTES).map(<[u8]>::to_vec);
        if let Some((partial, bytes)) = durable.tiles.partial(level)
            && partial == index
        {
            return take(bytes);
        }
        if let Some(bytes) = in_memory {
            return take(&bytes);
        }
        let stop = &self.shared.options.stop;
        let stored = stop.unless("reading a tile", self.shared.store.get(&layout::tile_key(origin, level, index)));
        match stored.and_then(|bytes| take(&bytes)) {
            Some(bytes) => Some(bytes),
            None => self.shared.damaged(&format!("tile {level}/{index} of {origin} is missing")),
        }
    }

    /// The bundle of the first `width` entries from `index` * 256 on, if all of them lie within the durable head.
    pub fn bundle(&self, origin: &str, index: u64, width: u16) -> Option<Vec<u8>> {
        if width == 0 || usize::from(width) > TILE_WIDTH {
            return None;
        }
        let first = index.checked_mul(TILE_WIDTH as u64)?;
        let end = first.checked_add(width.into())?;
        if end > self.durable_of(origin)?.size() {
            return None;
        }
        let entries = self.entries(origin, first, width.into());
        Some(encode_bundle(entries.iter().map(|entry| &**entry)))
    }

    /// The proof that the entry at `index` is in the log's first `size` entries; `None` beyond the durable head.
    pub fn inclusion_proof(&self, origin: &str, index: u64, size: u64) -> Option<Vec<Hash>> {
        let durable = self.durable_of(origin)?;
        if index >= size || size > durable.size() {
            return None;
        }
        merkle::inclusion_proof(index, size, &self.hashes(origin, &durable)).ok()
    }

    /// The proof that the log's first `old` entries begin its first `new` entries; `None` beyond the durable head.
    pub fn consistency_proof(&self, origin: &str, old: u64, new: u64) -> Option<Vec<Hash>> {
        let durable = self.durable_of(origin)?;
        if old > new || new > durable.size() {
            return None;
        }
        merkle::consistency_proof(old, new, &self.hashes(origin, &durable)).ok()
    }

    /// The root of the log's first `size` entries; `None` beyond the durable head.
    pub fn root_at(&self, origin: &str, size: u64) -> Option<Hash> {
        let durable = self.durable_of(origin)?;
        match size {
            size if size > durable.size() => None,
            size if size == durable.size() => Some(durable.root),
            _ => merkle::root(size, &self.hashes(origin, &durable)).ok(),
        }
    }

    fn durable_of(&self, origin: &str) -> Option<Arc<Durable>> {
        Some(self.shared.book.read().logs.get(origin)?.durable.clone())
    }

    fn hashes<'a>(&'a self, origin: &'a str, durable: &'a Durable) -> Nodes<'a> {
        Nodes { ledger: self, origin, durable }
    }

    fn durable_tile(&self, origin: &str, durable: &Durable, level: u8, index: u64, width: u16) -> Option<Vec<u8>> {
        let in_memory = self.shared.book.read().logs.get(origin).and_then(|log| memory_tile(log, level, index));
        self.tile_of(origin, durable, in_memory, level, index, width)
    }

    /// A tile as far as it lies within the durable head, hashed. Of one width it never changes.
    fn hashed_tile(&self, origin: &str, durable: &Durable, level: u8, index: u64) -> Option<Arc<TileTree>> {
        let hashes = durable.size().checked_shr(8 * u32::from(level)).unwrap_or_default();
        let width = hashes.saturating_sub(index.saturating_mul(TILE_WIDTH as u64)).min(TILE_WIDTH as u64) as u16;
        let tiles = &self.shared.hashed_tiles;
        if let Some(tree) = tiles.get(&TileRef { origin, level, index, width }) {
            return Some(tree);
        }
        let tree = Arc::new(TileTree::new(&self.durable_tile(origin, durable, level, index, width)?)?);
        tiles.insert(TileName { origin: origin.into(), level, index, width }, tree.clone());
        Some(tree)
    }

    /// The state's value under `key`: the last one submitted.
    pub fn get(&self, key: &[u8]) -> Option<Arc<[u8]>> {
        self.row(&layout::row_key(self.shared.options.kind_of(key), key))
    }

    /// The private value under `key`: the last one submitted.
    pub fn get_private(&self, key: &[u8]) -> Option<Arc<[u8]>> {
        self.row(&layout::row_key(layout::PRIVATE, key))
    }

    /// The state's rows from `from` up to, not including, `to`, in order, at most `limit`.
    pub fn range(&self, from: &[u8], to: &[u8], limit: usize) -> Vec<Row> {
        let first = from.first();
        if let Some(next) = first.and_then(|first| first.checked_add(1))
            && to <= [next].as_slice()
        {
            return self.rows(self.shared.options.kind_of(from), from, to, limit);
        }
        let mut rows = self.rows(layout::STATE, from, to, limit);
        rows.append(&mut self.rows(layout::MARK, from, to, limit));
        rows.sort_unstable();
        rows.truncate(limit);
        rows
    }

    /// The private rows from `from` up to, not including, `to`, in order, at most `limit`.
    pub fn range_private(&self, from: &[u8], to: &[u8], limit: usize) -> Vec<Row> {
        self.rows(layout::PRIVATE, from, to, limit)
    }

    fn row(&self, key: &[u8]) -> Option<Arc<[u8]>> {
        let in_memory = self.shared.book.read().row(key);
        match in_memory {
            Some(value) => value.map(|value| value.bytes()),
            None if key.first() == Some(&layout::MARK) => {
                let there = marks::contains(&*self.shared.store, key);
                self.shared.options.stop.unless("reading a mark", there).then(|| Arc::from([]))
            }
            None => {
                let stored = self.shared.options.stop.unless("reading a row", self.shared.store.get(key));
                stored.map(|stored| self.unpacked(key, stored))
            }
        }
    }

    /// Rows as the store has them.
    fn stored_rows(&self, from: &[u8], to: &[u8], limit: usize) -> Vec<Row> {
        let stop = &self.shared.options.stop;
        if from.first() == Some(&layout::MARK) {
            let marks = stop.unless("reading marks", marks::range(&*self.shared.store, from, to, limit));
            return marks.into_iter().map(|mark| (mark, Arc::from([]))).collect();
        }
        let rows = stop.unless("reading rows", self.shared.store.range(from, to, limit));
        let unpacked = rows.into_iter().map(|(key, value)| {
            let value = self.unpacked(&key, value);
            (key, value)
        });
        unpacked.collect()
    }

    /// A row's value from what the store keeps of it.
    fn unpacked(&self, key: &[u8], stored: Arc<[u8]>) -> Arc<[u8]> {
        if key.first() != Some(&layout::STATE) {
            return stored;
        }
        let damaged = || self.shared.damaged(&format!("the row {} of the state cannot be read", hex::encode(key)));
        crate::pack::unpack(&stored).unwrap_or_else(damaged)
    }

    fn rows(&self, kind: u8, from: &[u8], to: &[u8], limit: usize) -> Vec<Row> {
        if from >= to {
            return Vec::new();
        }
        let (from, to) = (layout::row_key(kind, from), layout::row_key(kind, to));
        let read = |overlay: &crate::book::Overlay| {
            // Each removal in memory may hide one row of the store.
            let removed = overlay.values().filter(|value| value.is_none()).count();
            self.stored_rows(&from, &to, limit.saturating_add(removed))
        };
        // A store round that ends in between would mix two moments, so such a read is made again; at last under the lock.
        for _ in 0..3 {
            let (overlay, rounds) = {
                let book = self.shared.book.read();
                (book.rows(&from, &to), book.rounds)
            };
            let stored = read(&overlay);
            if self.shared.book.read().rounds == rounds {
                return merged(stored, overlay, limit);
            }
        }
        let book = self.shared.book.read();
        let overlay = book.rows(&from, &to);
        let stored = read(&overlay);
        merged(stored, overlay, limit)
    }
}

/// The nodes of a log's tree, from its tiles.
struct Nodes<'a> {
    ledger: &'a Ledger,
    origin: &'a str,
    durable: &'a Durable,
}

impl Hashes for Nodes<'_> {
    type Error = TileError;

    fn subtree(&self, level: u8, index: u64) -> Result<Hash, TileError> {
        let Nodes { ledger, origin, durable } = *self;
        let (tile_level, tile_index, height, nth) = tile::place_of(level, index);
        let node = ledger.hashed_tile(origin, durable, tile_level, tile_index).and_then(|t| t.subtree(height, nth));
        let width = ((nth + 1) << height) as u16;
        let kind = TileKind::Hashes(tile_level);
        node.ok_or(TileError::Missing(TilePath { kind, index: tile_index, width }))
    }
}

fn memory_tile(log: &Log, level: u8, index: u64) -> Option<Arc<[u8]>> {
    log.full.get(&(level, index)).cloned()
}

/// Rows of the store with the newer ones of memory over them, without the byte that names their kind.
fn merged(stored: Vec<Row>, overlay: crate::book::Overlay, limit: usize) -> Vec<Row> {
    let mut stored = stored.into_iter().peekable();
    let mut overlay = overlay.into_iter().peekable();
    let mut rows = Vec::new();
    while rows.len() < limit {
        let newer = match (stored.peek(), overlay.peek()) {
            (None, None) => break,
            (Some(_), None) => false,
            (None, Some(_)) => true,
            (Some((old, _)), Some((new, _))) => {
                if old == new {
                    stored.next();
                }
                stored.peek().is_none_or(|(old, _)| new < old)
            }
        };
        let row =
            if newer { overlay.next().and_then(|(key, value)| Some((key, value?.bytes()))) } else { stored.next() };
        rows.extend(row.map(|(key, value)| (key[1..].to_vec(), value)));
    }
    rows
}
