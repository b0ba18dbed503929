//! Reading and writing state: a transaction over what the ledger holds, kept or dropped as a whole.

use std::any::Any;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;

use domain::holder::HolderKey;
use domain::ids::{InstitutionId, RecordName};
use domain::time::Timestamp;
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Which kind of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// Folded from the logs: can be thrown away and folded again.
    State,
    /// Rows that no log holds: openings, schedules, what a desk must know.
    Private,
}

/// A row: key and value.
pub type Row = (Vec<u8>, Arc<[u8]>);

/// What a transaction reads through to.
pub trait Base: Send + Sync {
    /// The value of a key.
    fn get(&self, space: Space, key: &[u8]) -> Option<Arc<[u8]>>;
    /// At most `limit` rows from `from` on and before `to`, in order.
    fn range(&self, space: Space, from: &[u8], to: &[u8], limit: usize) -> Vec<Row>;
    /// An accepted entry of an institution's log.
    fn entry(&self, institution: InstitutionId, index: u64) -> Option<Arc<[u8]>>;
    /// At most `most` of them from an index on, as far as they are held without a gap.
    fn entries(&self, institution: InstitutionId, from: u64, most: usize) -> Vec<Arc<[u8]>> {
        (from..).take(most).map_while(|index| self.entry(institution, index)).collect()
    }
}

/// New values by key; none deletes.
pub type Writes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// A value that a transaction keeps decoded.
trait Kept: Any + Send + Sync {
    fn bytes(&self) -> Vec<u8>;
}

impl<T: Serialize + Send + Sync + 'static> Kept for T {
    fn bytes(&self) -> Vec<u8> {
        write(self)
    }
}

struct KeptRow {
    value: Arc<dyn Kept>,
    /// Written here, and not yet among the transaction's writes.
    is_new: bool,
}

/// What a transaction has learnt of its base, which does not change below it.
#[derive(Default)]
struct Learnt {
    /// Ranges of the state that were looked at, and whether there is no row in them.
    looked_at: Vec<(Vec<u8>, Vec<u8>, bool)>,
    /// Keys without a row, of the state and of the private rows.
    absent: [HashSet<Vec<u8>>; 2],
    /// Records that are held, with their times.
    records: HashMap<RecordName, Timestamp>,
    /// Records whose presentations are known to verify, with the key.
    signed: HashSet<(RecordName, HolderKey)>,
    /// Names of records by their places.
    names: HashMap<(InstitutionId, u64), RecordName>,
}

/// A transaction: reads see its own writes; nothing outside sees them before it is committed.
pub struct Tx<'a> {
    base: &'a dyn Base,
    state: Writes,
    private: Writes,
    entries: BTreeMap<(InstitutionId, u64), Arc<[u8]>>,
    // Rows of the state that are read and written many times in one transaction: decoded once, encoded once.
    kept: Mutex<BTreeMap<Vec<u8>, KeptRow>>,
    learnt: Mutex<Learnt>,
}

impl<'a> Tx<'a> {
    /// An empty transaction.
    #[must_use]
    pub fn new(base: &'a dyn Base) -> Self {
        Self {
            base,
            state: Writes::new(),
            private: Writes::new(),
            entries: BTreeMap::new(),
            kept: Mutex::default(),
            learnt: Mutex::default(),
        }
    }

    const fn writes(&self, space: Space) -> &Writes {
        match space {
            Space::State => &self.state,
            Space::Private => &self.private,
        }
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, space: Space, key: &[u8]) -> Option<Arc<[u8]>> {
        match self.written(space, key) {
            Some(value) => value.map(Arc::from),
            None => self.base_get(space, key),
        }
    }

    /// What this transaction wrote under a key; the outer none if it did not.
    fn written(&self, space: Space, key: &[u8]) -> Option<Option<Vec<u8>>> {
        if space == Space::State
            && let Some(row) = self.kept.lock().get(key).filter(|row| row.is_new)
        {
            return Some(Some(row.value.bytes()));
        }
        self.writes(space).get(key).cloned()
    }

    fn base_get(&self, space: Space, key: &[u8]) -> Option<Arc<[u8]>> {
        if self.learnt.lock().absent[space as usize].contains(key) {
            return None;
        }
        let found = self.base.get(space, key);
        if found.is_none() {
            self.learnt.lock().absent[space as usize].insert(key.to_vec());
        }
        found
    }

    /// Puts a value.
    pub fn put(&mut self, space: Space, key: Vec<u8>, value: Vec<u8>) {
        self.set(space, key, Some(value));
    }

    /// Deletes a key.
    pub fn delete(&mut self, space: Space, key: Vec<u8>) {
        self.set(space, key, None);
    }

    fn set(&mut self, space: Space, key: Vec<u8>, value: Option<Vec<u8>>) {
        match space {
            Space::State => {
                self.kept.get_mut().remove(&key);
                self.state.insert(key, value)
            }
            Space::Private => self.private.insert(key, value),
        };
    }

    /// At most `limit` rows from `from` on and before `to`, in order.
    #[must_use]
    pub fn range(&self, space: Space, from: &[u8], to: &[u8], limit: usize) -> Vec<Row> {
        if from >= to {
            return Vec::new();
        }
        let bounds = (Bound::Included(from), Bound::Excluded(to));
        let mut written: BTreeMap<&[u8], Option<Arc<[u8]>>> = BTreeMap::new();
        for (key, value) in self.writes(space).range::<[u8], _>(bounds) {
            written.insert(key, value.as_deref().map(Arc::from));
        }
        let kept = self.kept.lock();
        if space == Space::State {
            for (key, row) in kept.range::<[u8], _>(bounds).filter(|(_, row)| row.is_new) {
                written.insert(key, Some(row.value.bytes().into()));
            }
        }
        if written.is_empty() {
            return self.base_range(space, from, to, limit);
        }
        // Rows deleted here make room for as many more from below.
        let deleted = written.values().filter(|v| v.is_none()).count();
        let below = self.base_range(space, from, to, limit.saturating_add(deleted));
        let mut rows: BTreeMap<Vec<u8>, Arc<[u8]>> = below.into_iter().collect();
        for (key, value) in written {
            match value {
                Some(value) => drop(rows.insert(key.to_vec(), value)),
                None => drop(rows.remove(key)),
            }
        }
        rows.into_iter().take(limit).collect()
    }

    fn base_range(&self, space: Space, from: &[u8], to: &[u8], limit: usize) -> Vec<Row> {
        if space == Space::State && self.is_empty(from, to) == Some(true) {
            return Vec::new();
        }
        self.base.range(space, from, to, limit)
    }

    /// Whether the base has no row in a range, if a range around it was looked at.
    fn is_empty(&self, from: &[u8], to: &[u8]) -> Option<bool> {
        let learnt = self.learnt.lock();
        let around = learnt.looked_at.iter().find(|(start, end, _)| start.as_slice() <= from && to <= end.as_slice());
        around.map(|(_, _, is_empty)| *is_empty)
    }

    /// Looks once whether a range of the state has any row, so that parts of it need not be looked for one by one.
    pub fn look_ahead(&self, from: &[u8], to: &[u8]) {
        if self.is_empty(from, to).is_none() {
            let is_empty = self.base.range(Space::State, from, to, 1).is_empty();
            self.learnt.lock().looked_at.push((from.to_vec(), to.to_vec(), is_empty));
        }
    }

    /// Every row whose key begins with `prefix`, at most `limit`.
    #[must_use]
    pub fn prefix(&self, space: Space, prefix: &[u8], limit: usize) -> Vec<Row> {
        self.range(space, prefix, &after_prefix(prefix), limit)
    }

    /// An entry that is accepted, or written by this transaction.
    #[must_use]
    pub fn entry(&self, institution: InstitutionId, index: u64) -> Option<Arc<[u8]>> {
        self.entries.get(&(institution, index)).cloned().or_else(|| self.base.entry(institution, index))
    }

    /// Makes an entry readable before the ledger has it.
    pub fn stage_entry(&mut self, institution: InstitutionId, index: u64, bytes: Arc<[u8]>) {
        self.entries.insert((institution, index), bytes);
    }

    /// Remembers that a record is held, and its time.
    pub fn remember(&self, name: RecordName, at: Timestamp) {
        self.learnt.lock().records.insert(name, at);
    }

    /// Remembers that a record's presentation verifies under a key.
    pub fn remember_signed(&self, name: RecordName, key: HolderKey) {
        self.learnt.lock().signed.insert((name, key));
    }

    /// Whether [`Tx::remember_signed`] was told so.
    #[must_use]
    pub fn is_known_signed(&self, name: &RecordName, key: &HolderKey) -> bool {
        self.learnt.lock().signed.contains(&(*name, *key))
    }

    /// The name of the record at a place, looked up once by `find`.
    pub fn name_at(
        &self,
        institution: InstitutionId,
        index: u64,
        find: impl FnOnce() -> Option<RecordName>,
    ) -> Option<RecordName> {
        let place = (institution, index);
        if let Some(name) = self.learnt.lock().names.get(&place) {
            return Some(*name);
        }
        let name = find()?;
        self.learnt.lock().names.insert(place, name);
        Some(name)
    }

    /// The time of a record that [`Tx::remember`] was told of.
    #[must_use]
    pub fn remembered(&self, name: &RecordName) -> Option<Timestamp> {
        self.learnt.lock().records.get(name).copied()
    }

    /// A typed value of the state, decoded at most once in this transaction.
    #[must_use]
    pub fn load_kept<T>(&self, key: &[u8]) -> Option<Arc<T>>
    where
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
    {
        if let Some(row) = self.kept.lock().get(key) {
            let any: Arc<dyn Any + Send + Sync> = row.value.clone();
            if let Ok(value) = any.downcast() {
                return Some(value);
            }
        }
        let value: Arc<T> = Arc::new(self.load(key)?);
        self.kept.lock().entry(key.to_vec()).or_insert_with(|| KeptRow { value: value.clone(), is_new: false });
        Some(value)
    }

    /// Stores a typed value of the state; its bytes are made when the transaction ends or somebody asks for them.
    pub fn keep<T: Serialize + Send + Sync + 'static>(&mut self, key: Vec<u8>, value: T) {
        self.kept.get_mut().insert(key, KeptRow { value: Arc::new(value), is_new: true });
    }

    /// Takes a value out to be changed. The caller keeps it again: what was written of it here is gone otherwise.
    pub fn take_kept<T>(&mut self, key: &[u8]) -> Option<T>
    where
        T: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
    {
        let value = self.load_kept::<T>(key)?;
        self.kept.get_mut().remove(key);
        Some(Arc::unwrap_or_clone(value))
    }

    /// A typed value of the state.
    #[must_use]
    pub fn load<T: DeserializeOwned>(&self, key: &[u8]) -> Option<T> {
        match self.written(Space::State, key) {
            Some(value) => value.map(|bytes| read(&bytes)),
            None => self.base_get(Space::State, key).map(|bytes| read(&bytes)),
        }
    }

    /// A typed value that this transaction wrote under a key of the state, and not any other before it.
    #[must_use]
    pub fn load_written<T: DeserializeOwned>(&self, key: &[u8]) -> Option<T> {
        self.written(Space::State, key).flatten().map(|bytes| read(&bytes))
    }

    /// Stores a typed value of the state.
    pub fn store<T: Serialize>(&mut self, key: Vec<u8>, value: &T) {
        self.put(Space::State, key, write(value));
    }

    /// A typed private row.
    #[must_use]
    pub fn load_private<T: DeserializeOwned>(&self, key: &[u8]) -> Option<T> {
        self.get(Space::Private, key).map(|bytes| read(&bytes))
    }

    /// Stores a typed private row.
    pub fn store_private<T: Serialize>(&mut self, key: Vec<u8>, value: &T) {
        self.put(Space::Private, key, write(value));
    }

    /// What it wrote: state and private rows.
    #[must_use]
    pub fn into_writes(mut self) -> (Writes, Writes) {
        for (key, row) in self.kept.into_inner().into_iter().filter(|(_, row)| row.is_new) {
            self.state.insert(key, Some(row.value.bytes()));
        }
        (self.state, self.private)
    }
}

/// The first key after all keys with a prefix.
#[must_use]
pub fn after_prefix(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.last_mut() {
        if *last < u8::MAX {
            *last += 1;
            return end;
        }
        end.pop();
    }
    vec![u8::MAX; 64]
}

/// Reads a value that this node wrote itself. A value that cannot be read means a damaged store: the node stops.
pub fn read<T: DeserializeOwned>(bytes: &[u8]) -> T {
    match ledger::record::decode_trusted(bytes) {
        Ok(value) => value,
        Err(error) => {
            ledger::fail::stop(&format!("a stored value cannot be read: {error}; run `voucher-node rebuild`"))
        }
    }
}

/// The bytes of a value of this node's own.
pub fn write<T: Serialize>(value: &T) -> Vec<u8> {
    match ledger::record::encode(value) {
        Ok(bytes) => bytes,
        Err(error) => ledger::fail::stop(&format!("a value cannot be stored: {error}")),
    }
}

/// A base in memory: for the auditor's recomputation and for tests.
#[derive(Debug, Default)]
pub struct Memory {
    state: BTreeMap<Vec<u8>, Arc<[u8]>>,
    private: BTreeMap<Vec<u8>, Arc<[u8]>>,
    entries: BTreeMap<(InstitutionId, u64), Arc<[u8]>>,
}

impl Memory {
    /// Takes over what a transaction wrote.
    pub fn commit(&mut self, writes: (Writes, Writes)) {
        for (rows, writes) in [(&mut self.state, writes.0), (&mut self.private, writes.1)] {
            for (key, value) in writes {
                match value {
                    Some(value) => drop(rows.insert(key, value.into())),
                    None => drop(rows.remove(&key)),
                }
            }
        }
    }

    /// Holds an entry.
    pub fn hold(&mut self, institution: InstitutionId, index: u64, bytes: Arc<[u8]>) {
        self.entries.insert((institution, index), bytes);
    }

    /// Forgets state and entries, as a rebuild does; private rows stay.
    pub fn forget(&mut self) {
        self.state.clear();
        self.entries.clear();
    }

    /// Every row of the state.
    pub fn state(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.state.iter().map(|(k, v)| (k.as_slice(), v.as_ref()))
    }
}

impl Base for Memory {
    fn get(&self, space: Space, key: &[u8]) -> Option<Arc<[u8]>> {
        match space {
            Space::State => self.state.get(key).cloned(),
            Space::Private => self.private.get(key).cloned(),
        }
    }

    fn range(&self, space: Space, from: &[u8], to: &[u8], limit: usize) -> Vec<Row> {
        let rows = match space {
            Space::State => &self.state,
            Space::Private => &self.private,
        };
        if from >= to {
            return Vec::new();
        }
        rows.range::<[u8], _>((Bound::Included(from), Bound::Excluded(to)))
            .take(limit)
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect()
    }

    fn entry(&self, institution: InstitutionId, index: u64) -> Option<Arc<[u8]>> {
        self.entries.get(&(institution, index)).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_reads_its_own_writes_over_the_base() {
        let mut memory = Memory::default();
        let rows = |pairs: &[(&str, Option<&str>)]| -> Writes {
            pairs.iter().map(|(k, v)| (k.as_bytes().to_vec(), v.map(|v| v.as_bytes().to_vec()))).collect()
        };
        memory.commit((rows(&[("a", Some("1")), ("b", Some("2")), ("c", Some("3"))]), Writes::new()));
        let mut tx = Tx::new(&memory);
        tx.delete(Space::State, b"a".to_vec());
        tx.put(Space::State, b"bb".to_vec(), b"new".to_vec());
        let keys =
            |limit| -> Vec<Vec<u8>> { tx.range(Space::State, b"a", b"z", limit).into_iter().map(|(k, _)| k).collect() };
        assert_eq!(keys(9), [b"b".to_vec(), b"bb".to_vec(), b"c".to_vec()]);
        assert_eq!(keys(2), [b"b".to_vec(), b"bb".to_vec()]);
        assert!(tx.get(Space::State, b"a").is_none());
        assert_eq!(after_prefix(b"a\xff"), b"b".to_vec());
    }

    #[test]
    fn what_is_kept_is_a_row_like_any_other() {
        let mut memory = Memory::default();
        let mut first = Tx::new(&memory);
        first.keep(b"a".to_vec(), 1_u64);
        first.keep(b"b".to_vec(), 2_u64);
        memory.commit(first.into_writes());

        let mut tx = Tx::new(&memory);
        tx.look_ahead(b"c", b"z");
        assert_eq!(tx.load_kept::<u64>(b"a").as_deref(), Some(&1));
        let taken: Option<u64> = tx.take_kept(b"a");
        tx.keep(b"a".to_vec(), taken.unwrap() + 10);
        tx.keep(b"c".to_vec(), 3_u64);
        tx.delete(Space::State, b"b".to_vec());
        let rows: Vec<u64> = tx.range(Space::State, b"a", b"z", 9).iter().map(|(_, v)| read(v)).collect();
        assert_eq!(rows, [11, 3]);
        assert_eq!(
            (tx.load::<u64>(b"a"), tx.load::<u64>(b"b"), tx.load_written::<u64>(b"c")),
            (Some(11), None, Some(3))
        );
        // Plain writes replace what was kept.
        tx.store(b"c".to_vec(), &4_u64);
        assert_eq!((tx.load_kept::<u64>(b"c").as_deref(), tx.load_kept::<u64>(b"b")), (Some(&4), None));
        memory.commit(tx.into_writes());
        let left: Vec<(&[u8], u64)> = memory.state().map(|(k, v)| (k, read(v))).collect();
        assert_eq!(left, [(&b"a"[..], 11), (&b"c"[..], 4)]);
    }
}
