//! Reading and writing state: a transaction over what the ledger holds, kept or dropped as a whole.

use std::any::Any;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Bound;
use std::sync::Arc;

use domain::holder::HolderKey;
use domain::ids::{InstitutionId, RecordName};
use domain::time::Timestamp;
pub use ledger::log::StateRows;
use ledger::value::{Kept, Value};
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

/// A row as a transaction wrote it; none deletes.
type Change<'a> = (&'a Vec<u8>, Option<Arc<[u8]>>);

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

/// New private values by key; none deletes.
pub type Writes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// A map in memory, under a hash that is quick and seeded at random.
type Map<K, V> = std::collections::HashMap<K, V, foldhash::fast::RandomState>;

/// The same without values.
type Set<K> = std::collections::HashSet<K, foldhash::fast::RandomState>;

/// Most rows, and most facts of one kind, that are remembered from one transaction to the next.
const REMEMBERED: usize = 16_384;

/// What transactions have learnt of their base, for the next one over it: true as long as nobody else writes there.
#[derive(Default)]
pub struct Memo {
    /// Rows of the state, decoded.
    rows: Map<Vec<u8>, Arc<dyn Kept>>,
    /// Ranges of the state that were looked at, and whether there is no row in them.
    looked_at: Vec<(Vec<u8>, Vec<u8>, bool)>,
    /// Keys without a row, of the state and of the private rows.
    absent: [Set<Vec<u8>>; 2],
    /// Records by their places; with their times those that are known to be held.
    records: Map<(InstitutionId, u64), (RecordName, Option<Timestamp>)>,
    /// Records whose presentations are known to verify, with the key.
    signed: Set<(RecordName, HolderKey)>,
}

impl Memo {
    /// The base has taken over what a transaction wrote.
    fn follow(&mut self, state: &StateRows, private: &Writes) {
        let exists =
            |from: &Vec<u8>, to: &Vec<u8>| state.range::<Vec<u8>, _>(from..to).any(|(_, value)| value.is_some());
        self.looked_at.retain(|(from, to, is_empty)| *is_empty && !exists(from, to));
        for (key, value) in state {
            match value {
                Some(Value::Kept(value)) => drop(self.rows.insert(key.clone(), value.clone())),
                Some(Value::Bytes(_) | Value::New) | None => drop(self.rows.remove(key)),
            }
            if value.is_some() {
                self.absent[Space::State as usize].remove(key);
            }
        }
        for (key, _) in private.iter().filter(|(_, value)| value.is_some()) {
            self.absent[Space::Private as usize].remove(key);
        }
        self.bound();
    }

    /// The transaction came to nothing: only what it read stays true.
    fn forget_facts(&mut self) {
        self.records.clear();
        self.signed.clear();
    }

    fn bound(&mut self) {
        self.signed.clear();
        if self.rows.len() > REMEMBERED {
            self.rows.clear();
        }
        if self.looked_at.len() > REMEMBERED {
            self.looked_at.clear();
        }
        for keys in &mut self.absent {
            if keys.len() > REMEMBERED {
                keys.clear();
            }
        }
        if self.records.len() > REMEMBERED {
            self.forget_facts();
        }
    }
}

/// A transaction: reads see its own writes; nothing outside sees them before it is committed.
pub struct Tx<'a> {
    base: &'a dyn Base,
    state: StateRows,
    private: Writes,
    entries: BTreeMap<(InstitutionId, u64), Arc<[u8]>>,
    memo: Mutex<Memo>,
}

impl<'a> Tx<'a> {
    /// An empty transaction.
    #[must_use]
    pub fn new(base: &'a dyn Base) -> Self {
        Self::knowing(base, Memo::default())
    }

    /// An empty transaction over a base of which something is known.
    #[must_use]
    pub fn knowing(base: &'a dyn Base, memo: Memo) -> Self {
        Self { base, state: StateRows::new(), private: Writes::new(), entries: BTreeMap::new(), memo: Mutex::new(memo) }
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, space: Space, key: &[u8]) -> Option<Arc<[u8]>> {
        self.written(space, key).unwrap_or_else(|| self.base_get(space, key))
    }

    /// What this transaction wrote under a key; the outer none if it did not.
    fn written(&self, space: Space, key: &[u8]) -> Option<Option<Arc<[u8]>>> {
        match space {
            Space::State => self.state.get(key).map(|value| value.as_ref().map(Value::bytes)),
            Space::Private => self.private.get(key).map(|value| value.as_deref().map(Arc::from)),
        }
    }

    fn base_get(&self, space: Space, key: &[u8]) -> Option<Arc<[u8]>> {
        if self.memo.lock().absent[space as usize].contains(key) {
            return None;
        }
        let found = self.base.get(space, key);
        if found.is_none() {
            self.memo.lock().absent[space as usize].insert(key.to_vec());
        }
        found
    }

    /// Puts a value.
    pub fn put(&mut self, space: Space, key: Vec<u8>, value: Vec<u8>) {
        self.set(space, key, Some(value));
    }

    /// Adds a row without a value to the state, under a key that has none.
    pub fn add(&mut self, key: Vec<u8>) {
        match self.state.entry(key) {
            Entry::Vacant(row) => drop(row.insert(Some(Value::New))),
            // It was deleted here, so it had been there.
            Entry::Occupied(mut row) => drop(row.insert(Some(Vec::new().into()))),
        }
    }

    /// Deletes a key.
    pub fn delete(&mut self, space: Space, key: Vec<u8>) {
        if space == Space::State && matches!(self.state.get(&key), Some(Some(Value::New))) {
            self.state.remove(&key);
            return;
        }
        self.set(space, key, None);
    }

    fn set(&mut self, space: Space, key: Vec<u8>, value: Option<Vec<u8>>) {
        match space {
            Space::State => drop(self.state.insert(key, value.map(Value::from))),
            Space::Private => drop(self.private.insert(key, value)),
        }
    }

    /// At most `limit` rows from `from` on and before `to`, in order.
    #[must_use]
    pub fn range(&self, space: Space, from: &[u8], to: &[u8], limit: usize) -> Vec<Row> {
        if from >= to {
            return Vec::new();
        }
        let bounds = (Bound::Included(from), Bound::Excluded(to));
        let written: Vec<Change<'_>> = match space {
            Space::State => {
                self.state.range::<[u8], _>(bounds).map(|(k, v)| (k, v.as_ref().map(Value::bytes))).collect()
            }
            Space::Private => {
                self.private.range::<[u8], _>(bounds).map(|(k, v)| (k, v.as_deref().map(Arc::from))).collect()
            }
        };
        if written.is_empty() {
            return self.base_range(space, from, to, limit);
        }
        // Rows deleted here make room for as many more from below.
        let deleted = written.iter().filter(|(_, v)| v.is_none()).count();
        let below = self.base_range(space, from, to, limit.saturating_add(deleted));
        let mut rows: BTreeMap<Vec<u8>, Arc<[u8]>> = below.into_iter().collect();
        for (key, value) in written {
            match value {
                Some(value) => drop(rows.insert(key.clone(), value)),
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
        let memo = self.memo.lock();
        let around = memo.looked_at.iter().find(|(start, end, _)| start.as_slice() <= from && to <= end.as_slice());
        around.map(|(_, _, is_empty)| *is_empty)
    }

    /// Looks once whether a range of the state has any row, so that parts of it need not be looked for one by one.
    pub fn look_ahead(&self, from: &[u8], to: &[u8]) {
        if from < to && self.is_empty(from, to).is_none() {
            let is_empty = self.base.range(Space::State, from, to, 1).is_empty();
            self.memo.lock().looked_at.push((from.to_vec(), to.to_vec(), is_empty));
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
        self.memo.lock().records.insert((name.institution, name.index), (name, Some(at)));
    }

    /// Remembers that a record's presentation verifies under a key.
    pub fn remember_signed(&self, name: RecordName, key: HolderKey) {
        self.memo.lock().signed.insert((name, key));
    }

    /// Whether [`Tx::remember_signed`] was told so.
    #[must_use]
    pub fn is_known_signed(&self, name: &RecordName, key: &HolderKey) -> bool {
        self.memo.lock().signed.contains(&(*name, *key))
    }

    /// The name of the record at a place, looked up once by `find`.
    pub fn name_at(
        &self,
        institution: InstitutionId,
        index: u64,
        find: impl FnOnce() -> Option<RecordName>,
    ) -> Option<RecordName> {
        let place = (institution, index);
        if let Some((name, _)) = self.memo.lock().records.get(&place) {
            return Some(*name);
        }
        let name = find()?;
        self.memo.lock().records.insert(place, (name, None));
        Some(name)
    }

    /// The time of a record that [`Tx::remember`] was told of.
    #[must_use]
    pub fn remembered(&self, name: &RecordName) -> Option<Timestamp> {
        let memo = self.memo.lock();
        let (known, at) = memo.records.get(&(name.institution, name.index))?;
        at.filter(|_| known == name)
    }

    /// A typed value of the state that is kept decoded.
    #[must_use]
    pub fn load_kept<T>(&self, key: &[u8]) -> Option<Arc<T>>
    where
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
    {
        if let Some(written) = self.state.get(key) {
            let value = written.as_ref()?;
            return decoded(value).or_else(|| Some(Arc::new(read(&value.bytes()))));
        }
        if let Some(value) = self.memo.lock().rows.get(key).and_then(downcast) {
            return Some(value);
        }
        let value: Arc<T> = Arc::new(read(&self.base_get(Space::State, key)?));
        self.memo.lock().rows.insert(key.to_vec(), value.clone());
        Some(value)
    }

    /// Stores a typed value of the state; its bytes are made when somebody asks for them.
    pub fn keep<T: Serialize + Send + Sync + 'static>(&mut self, key: Vec<u8>, value: T) {
        self.state.insert(key, Some(Value::Kept(Arc::new(value))));
    }

    /// Takes a value out to be changed. The caller keeps it again: what was written of it here is gone otherwise.
    pub fn take_kept<T>(&mut self, key: &[u8]) -> Option<T>
    where
        T: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
    {
        let value = self.load_kept::<T>(key)?;
        self.state.remove(key);
        self.memo.get_mut().rows.remove(key);
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
    pub fn into_writes(self) -> (StateRows, Writes) {
        (self.state, self.private)
    }

    /// What it wrote, and what is known of the base once that has taken it over.
    #[must_use]
    pub fn end(self) -> (StateRows, Writes, Memo) {
        let mut memo = self.memo.into_inner();
        memo.follow(&self.state, &self.private);
        (self.state, self.private, memo)
    }

    /// Drops what it wrote; what is known of the base stays.
    #[must_use]
    pub fn give_up(self) -> Memo {
        let mut memo = self.memo.into_inner();
        memo.forget_facts();
        memo.bound();
        memo
    }
}

fn decoded<T: Send + Sync + 'static>(value: &Value) -> Option<Arc<T>> {
    match value {
        Value::Kept(value) => downcast(value),
        Value::Bytes(_) | Value::New => None,
    }
}

fn downcast<T: Send + Sync + 'static>(value: &Arc<dyn Kept>) -> Option<Arc<T>> {
    let any: Arc<dyn Any + Send + Sync> = value.clone();
    any.downcast().ok()
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
    ledger::value::encode(value)
}

/// Two bases say different things of one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contradiction;

/// A base in memory: for the auditor's recomputation and for tests.
#[derive(Debug, Default)]
pub struct Memory {
    state: BTreeMap<Vec<u8>, Arc<[u8]>>,
    private: BTreeMap<Vec<u8>, Arc<[u8]>>,
    entries: BTreeMap<(InstitutionId, u64), Arc<[u8]>>,
}

impl Memory {
    /// Takes over what a transaction wrote.
    pub fn commit(&mut self, (state, private): (StateRows, Writes)) {
        let state = state.into_iter().map(|(key, value)| (key, value.map(|value| value.bytes())));
        let private = private.into_iter().map(|(key, value)| (key, value.map(Arc::from)));
        take_over(&mut self.state, state);
        take_over(&mut self.private, private);
    }

    /// Holds an entry.
    pub fn hold(&mut self, institution: InstitutionId, index: u64, bytes: Arc<[u8]>) {
        self.entries.insert((institution, index), bytes);
    }

    /// Takes over the rows of another. Where both have one, `together` says what becomes of it.
    ///
    /// # Errors
    ///
    /// The [`Contradiction`] that `together` found; what is here then is of no use.
    pub fn join(
        &mut self,
        other: Self,
        together: impl Fn(&[u8], &Arc<[u8]>, &Arc<[u8]>) -> Result<Option<Arc<[u8]>>, Contradiction>,
    ) -> Result<(), Contradiction> {
        let both = [(&mut self.state, other.state), (&mut self.private, other.private)];
        for (rows, more) in both {
            for (key, value) in more {
                match rows.get(&key) {
                    None => drop(rows.insert(key, value)),
                    Some(row) => match together(&key, row, &value)? {
                        Some(value) => drop(rows.insert(key, value)),
                        None => drop(rows.remove(&key)),
                    },
                }
            }
        }
        self.entries.extend(other.entries);
        Ok(())
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

fn take_over(rows: &mut BTreeMap<Vec<u8>, Arc<[u8]>>, writes: impl Iterator<Item = (Vec<u8>, Option<Arc<[u8]>>)>) {
    for (key, value) in writes {
        match value {
            Some(value) => drop(rows.insert(key, value)),
            None => drop(rows.remove(&key)),
        }
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
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_transaction_reads_its_own_writes_over_the_base() {
        let mut memory = Memory::default();
        let rows = |pairs: &[(&str, Option<&str>)]| -> StateRows {
            pairs.iter().map(|(k, v)| (k.as_bytes().to_vec(), v.map(|v| v.as_bytes().to_vec().into()))).collect()
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
    fn a_row_that_comes_and_goes_leaves_nothing() {
        let mut memory = Memory::default();
        let (a, b) = (b"a".to_vec(), b"b".to_vec());
        memory.commit(([(a.clone(), Some(vec![].into()))].into(), Writes::new()));
        let mut tx = Tx::new(&memory);
        tx.delete(Space::State, a.clone());
        tx.add(a.clone());
        tx.add(b.clone());
        assert_eq!(tx.prefix(Space::State, b"", 9).len(), 2);
        tx.delete(Space::State, a.clone());
        tx.delete(Space::State, b);
        assert_eq!(tx.prefix(Space::State, b"", 9).len(), 0);
        let (state, _) = tx.into_writes();
        assert!(matches!(state.into_iter().collect::<Vec<_>>()[..], [(ref key, None)] if *key == a));
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

    /// What one of many transactions does.
    #[derive(Debug, Clone)]
    enum Act {
        Keep(u8, u64),
        Take(u8),
        Store(u8, u64),
        Delete(u8),
        StorePrivate(u8, u64),
        Load(u8),
        LoadPrivate(u8),
        LookAhead(u8, u8),
        Range(u8, u8),
    }

    fn act() -> impl Strategy<Value = Act> {
        let key = 0..6_u8;
        prop_oneof![
            (key.clone(), any::<u64>()).prop_map(|(k, v)| Act::Keep(k, v)),
            key.clone().prop_map(Act::Take),
            (key.clone(), any::<u64>()).prop_map(|(k, v)| Act::Store(k, v)),
            key.clone().prop_map(Act::Delete),
            (key.clone(), any::<u64>()).prop_map(|(k, v)| Act::StorePrivate(k, v)),
            key.clone().prop_map(Act::Load),
            key.clone().prop_map(Act::LoadPrivate),
            (key.clone(), key.clone()).prop_map(|(from, to)| Act::LookAhead(from, to)),
            (key.clone(), key).prop_map(|(from, to)| Act::Range(from, to)),
        ]
    }

    /// Does it, and answers what was read.
    fn run(tx: &mut Tx<'_>, act: &Act) -> Vec<(u8, u64)> {
        let row = |key: u8, value: Option<u64>| value.map(|value| (key, value)).into_iter().collect();
        match *act {
            Act::Keep(key, value) => tx.keep(vec![key], value),
            Act::Take(key) => {
                if let Some(value) = tx.take_kept::<u64>(&[key]) {
                    tx.keep(vec![key], value.wrapping_add(1));
                }
            }
            Act::Store(key, value) => tx.store(vec![key], &value),
            Act::Delete(key) => tx.delete(Space::State, vec![key]),
            Act::StorePrivate(key, value) => tx.store_private(vec![key], &value),
            Act::Load(key) => {
                assert_eq!(tx.load_kept::<u64>(&[key]).as_deref().copied(), tx.load(&[key]));
                return row(key, tx.load(&[key]));
            }
            Act::LoadPrivate(key) => return row(key, tx.load_private(&[key])),
            Act::LookAhead(from, to) => tx.look_ahead(&[from], &[to]),
            Act::Range(from, to) => {
                let rows = tx.range(Space::State, &[from], &[to], 4);
                return rows.iter().map(|(key, value)| (key[0], read(value))).collect();
            }
        }
        Vec::new()
    }

    proptest! {
        /// A transaction that knows what others before it have learnt reads what one reads that knows nothing.
        #[test]
        fn what_is_remembered_is_what_is_there(
            transactions in proptest::collection::vec((proptest::collection::vec(act(), 0..8), any::<bool>()), 0..12),
        ) {
            let (mut memory, mut memo) = (Memory::default(), Memo::default());
            for (acts, is_committed) in transactions {
                let (mut knowing, mut fresh) = (Tx::knowing(&memory, memo), Tx::new(&memory));
                for act in &acts {
                    prop_assert_eq!(run(&mut knowing, act), run(&mut fresh, act));
                }
                if is_committed {
                    let (state, private, learnt) = knowing.end();
                    memo = learnt;
                    memory.commit((state, private));
                } else {
                    memo = knowing.give_up();
                }
            }
        }
    }
}
