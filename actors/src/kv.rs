//! Reading and writing state: a transaction over what the ledger holds, kept or dropped as a whole.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use domain::ids::InstitutionId;
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
}

/// New values by key; none deletes.
pub type Writes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// A transaction: reads see its own writes; nothing outside sees them before it is committed.
pub struct Tx<'a> {
    base: &'a dyn Base,
    state: Writes,
    private: Writes,
    entries: BTreeMap<(InstitutionId, u64), Arc<[u8]>>,
}

impl<'a> Tx<'a> {
    /// An empty transaction.
    #[must_use]
    pub const fn new(base: &'a dyn Base) -> Self {
        Self { base, state: Writes::new(), private: Writes::new(), entries: BTreeMap::new() }
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
        match self.writes(space).get(key) {
            Some(value) => value.as_deref().map(Arc::from),
            None => self.base.get(space, key),
        }
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
            Space::State => self.state.insert(key, value),
            Space::Private => self.private.insert(key, value),
        };
    }

    /// At most `limit` rows from `from` on and before `to`, in order.
    #[must_use]
    pub fn range(&self, space: Space, from: &[u8], to: &[u8], limit: usize) -> Vec<Row> {
        let bounds = (Bound::Included(from.to_vec()), Bound::Excluded(to.to_vec()));
        if from >= to {
            return Vec::new();
        }
        let mut written = self.writes(space).range(bounds).peekable();
        if written.peek().is_none() {
            return self.base.range(space, from, to, limit);
        }
        // Rows deleted here make room for as many more from below.
        let deleted = self.writes(space).range((Bound::Included(from.to_vec()), Bound::Excluded(to.to_vec())));
        let deleted = deleted.filter(|(_, v)| v.is_none()).count();
        let mut rows: BTreeMap<Vec<u8>, Arc<[u8]>> =
            self.base.range(space, from, to, limit.saturating_add(deleted)).into_iter().collect();
        for (key, value) in written {
            match value {
                Some(value) => drop(rows.insert(key.clone(), Arc::from(value.as_slice()))),
                None => drop(rows.remove(key)),
            }
        }
        rows.into_iter().take(limit).collect()
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

    /// A typed value of the state.
    #[must_use]
    pub fn load<T: DeserializeOwned>(&self, key: &[u8]) -> Option<T> {
        self.get(Space::State, key).map(|bytes| read(&bytes))
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
    pub fn into_writes(self) -> (Writes, Writes) {
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
}
