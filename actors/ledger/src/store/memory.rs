//! A store in memory that loses what was not synced, for tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{Changes, Row, Store, StoreError};

type Rows = BTreeMap<Vec<u8>, Arc<[u8]>>;

#[derive(Default)]
struct Held {
    now: Rows,
    synced: Rows,
    since: Vec<Changes>,
    failing: bool,
}

/// A store in memory. Clones are the same store, as two handles of one disk.
#[derive(Clone, Default)]
pub struct MemoryStore(Arc<RwLock<Held>>);

impl MemoryStore {
    /// An empty store.
    pub fn new() -> MemoryStore {
        MemoryStore::default()
    }

    /// Loses power, and answers the store as it is found afterwards: of the rounds that were applied and not synced, a
    /// subset that `seed` chooses is lost. This handle fails from now on.
    pub fn lose_power(&self, seed: u64) -> MemoryStore {
        let mut random = StdRng::seed_from_u64(seed);
        let mut held = self.0.write();
        held.failing = true;
        let mut synced = std::mem::take(&mut held.synced);
        for changes in std::mem::take(&mut held.since) {
            if random.random() {
                change(&mut synced, changes);
            }
        }
        MemoryStore(Arc::new(RwLock::new(Held { now: synced.clone(), synced, ..Held::default() })))
    }

    /// From now on every call fails, as on a dying disk.
    pub fn fail(&self) {
        self.0.write().failing = true;
    }

    /// Changes one byte of the value under `key`, as a bad disk does. Answers whether there was one.
    pub fn flip(&self, key: &[u8]) -> bool {
        let mut held = self.0.write();
        let Some(value) = held.now.get(key) else { return false };
        let mut bytes = value.to_vec();
        if let Some(byte) = bytes.last_mut() {
            *byte ^= 1;
        }
        let bytes: Arc<[u8]> = bytes.into();
        held.now.insert(key.to_vec(), bytes.clone());
        held.synced.insert(key.to_vec(), bytes);
        true
    }

    fn read<T>(&self, read: impl FnOnce(&Rows) -> T) -> Result<T, StoreError> {
        let held = self.0.read();
        if held.failing {
            return Err(StoreError::Failed("the memory store was told to fail".into()));
        }
        Ok(read(&held.now))
    }
}

fn change(rows: &mut Rows, changes: Changes) {
    for (key, value) in changes {
        match value {
            Some(value) => rows.insert(key, value),
            None => rows.remove(&key),
        };
    }
}

fn copy((key, value): (&Vec<u8>, &Arc<[u8]>)) -> Row {
    (key.clone(), value.clone())
}

impl Store for MemoryStore {
    fn get(&self, key: &[u8]) -> Result<Option<Arc<[u8]>>, StoreError> {
        self.read(|rows| rows.get(key).cloned())
    }

    fn range(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, StoreError> {
        if from >= to {
            return Ok(Vec::new());
        }
        self.read(|rows| rows.range(from.to_vec()..to.to_vec()).take(limit).map(copy).collect())
    }

    fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<Row>, StoreError> {
        if from > to {
            return Ok(None);
        }
        self.read(|rows| rows.range(from.to_vec()..=to.to_vec()).next_back().map(copy))
    }

    fn apply(&self, changes: Changes) -> Result<(), StoreError> {
        self.read(|_| ())?;
        let mut held = self.0.write();
        held.since.push(changes.clone());
        change(&mut held.now, changes);
        Ok(())
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.read(|_| ())?;
        let mut held = self.0.write();
        held.since.clear();
        held.synced = held.now.clone();
        Ok(())
    }
}
