//! The store on disk: one sled tree, written by one thread, synced by our own handle as well.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use super::round::RoundFile;
use super::{Changes, Row, Store, StoreError};
use crate::fail;

/// What sled may keep in memory, in bytes. Its default is 1 GiB and counts bytes on disk.
pub const CACHE_BYTES: u64 = 64 * 1024 * 1024;

/// A round of more rows is made row by row out of the round file: a batch of sled's keeps every reader waiting.
pub const BATCH_ROWS: usize = 64;

/// Why a directory is no store.
#[derive(Debug, thiserror::Error)]
pub enum OpenStoreError {
    /// The file system says no: asking again may help, setting the store aside does not.
    #[error("the store's files cannot be opened: {0}")]
    Io(#[from] std::io::Error),
    /// The content is damaged; it can be set aside and rebuilt.
    #[error("the store is damaged: {0}")]
    Damaged(String),
}

/// One sled tree in one directory.
#[derive(Debug)]
pub struct SledStore {
    // The database is dropped after the tree; the field keeps it open.
    db: ::sled::Db,
    tree: ::sled::Tree,
    // sled's flush uses sync_file_range, which leaves the drive's cache alone; this handle has a real fdatasync.
    file: File,
    round: Mutex<RoundFile>,
}

impl SledStore {
    /// Opens or makes a store. sled can panic on damage, so that is caught; a damaged snapshot is moved aside
    /// (`snap.*` to `damaged-snap.*`) and the store opened from its log.
    ///
    /// # Errors
    ///
    /// [`OpenStoreError::Damaged`] if the content cannot be read even so.
    pub fn open(dir: &Path) -> Result<SledStore, OpenStoreError> {
        let first = match Self::open_once(dir) {
            Err(OpenStoreError::Damaged(first)) => first,
            other => return other,
        };
        if !move_snapshots_aside(dir)? {
            return Err(OpenStoreError::Damaged(first));
        }
        tracing::warn!(reason = first, "the store's snapshot was moved aside");
        Self::open_once(dir)
    }

    /// Opens, and waits a moment for the lock: a store that was closed just now lets go of it a little later.
    fn open_once(dir: &Path) -> Result<SledStore, OpenStoreError> {
        let mut waits = 0;
        loop {
            match Self::try_open(dir) {
                Err(OpenStoreError::Io(error)) if waits < LOCK_WAITS && error.to_string().contains("acquire lock") => {
                    waits += 1;
                    std::thread::sleep(LOCK_WAIT);
                }
                other => return other,
            }
        }
    }

    fn try_open(dir: &Path) -> Result<SledStore, OpenStoreError> {
        let opened = catch_unwind(AssertUnwindSafe(|| {
            ::sled::Config::new()
                .path(dir)
                .cache_capacity(CACHE_BYTES)
                .flush_every_ms(None)
                .open()
                .and_then(|db| Ok((db.open_tree("ledger")?, db)))
        }));
        let (tree, db) = match opened {
            Ok(Ok(opened)) => opened,
            Ok(Err(::sled::Error::Io(error))) => return Err(error.into()),
            Ok(Err(error)) => return Err(OpenStoreError::Damaged(error.to_string())),
            Err(_) => return Err(OpenStoreError::Damaged("it panicked while opening".into())),
        };
        let file = File::open(dir.join("db"))?;
        file.sync_all()?;
        let (round, pending) = RoundFile::open(dir)?;
        File::open(dir)?.sync_all()?;
        let store = SledStore { db, tree, file, round: Mutex::new(round) };
        store.finish(pending).map_err(|error| match error {
            StoreError::Io(error) => OpenStoreError::Io(error),
            StoreError::Failed(reason) => OpenStoreError::Damaged(reason),
        })?;
        Ok(store)
    }

    /// Makes the round again that a crash may have left half made.
    fn finish(&self, pending: Option<Changes>) -> Result<(), StoreError> {
        let mut round = self.round.lock();
        if let Some(changes) = pending {
            self.make(changes)?;
        }
        if round.is_open {
            self.sync_round(&mut round)?;
        }
        Ok(())
    }

    /// Makes changes one by one; sled lets readers in between.
    fn make(&self, changes: Changes) -> Result<(), StoreError> {
        let half = changes.len() / 2;
        caught(|| {
            for (nth, (key, value)) in changes.into_iter().enumerate() {
                if nth == half {
                    fail::point("store-half");
                }
                match value {
                    Some(value) => drop(self.tree.insert(key, value.as_ref())?),
                    // Most rows that go were never stored; to look is cheaper than to remove what is not there.
                    None if self.tree.contains_key(&key)? => drop(self.tree.remove(key)?),
                    None => {}
                }
            }
            Ok(())
        })
    }

    fn batch(&self, changes: Changes) -> Result<(), StoreError> {
        caught(|| {
            let mut batch = ::sled::Batch::default();
            for (key, value) in changes {
                match value {
                    Some(value) => batch.insert(key, value.as_ref()),
                    None => batch.remove(key),
                }
            }
            self.tree.apply_batch(batch)
        })
    }

    fn sync_round(&self, round: &mut RoundFile) -> Result<(), StoreError> {
        caught(|| self.db.flush())?;
        self.file.sync_data()?;
        if round.is_open {
            round.clear()?;
        }
        Ok(())
    }
}

/// How long to wait for the lock of a store that was closed just now, and how often.
const LOCK_WAIT: std::time::Duration = std::time::Duration::from_millis(50);
const LOCK_WAITS: u32 = 40;

/// Renames each `snap.*`; answers whether there was one.
fn move_snapshots_aside(dir: &Path) -> std::io::Result<bool> {
    let mut moved = false;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("snap.") {
            std::fs::rename(entry.path(), dir.join(format!("damaged-{name}")))?;
            moved = true;
        }
    }
    Ok(moved)
}

fn failed(error: ::sled::Error) -> StoreError {
    match error {
        ::sled::Error::Io(error) => StoreError::Io(error),
        other => StoreError::Failed(other.to_string()),
    }
}

/// sled panics on some damage that it meets while reading; that is an error like the others.
fn caught<T>(work: impl FnOnce() -> Result<T, ::sled::Error>) -> Result<T, StoreError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(failed),
        Err(_) => Err(StoreError::Failed("sled panicked".into())),
    }
}

fn copy((key, value): (::sled::IVec, ::sled::IVec)) -> Row {
    (key.to_vec(), value.as_ref().into())
}

impl Store for SledStore {
    fn get(&self, key: &[u8]) -> Result<Option<Arc<[u8]>>, StoreError> {
        caught(|| Ok(self.tree.get(key)?.map(|value| value.as_ref().into())))
    }

    fn range(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, StoreError> {
        if from >= to {
            return Ok(Vec::new());
        }
        caught(|| self.tree.range(from..to).take(limit).map(|row| row.map(copy)).collect())
    }

    fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<Row>, StoreError> {
        if from > to {
            return Ok(None);
        }
        caught(|| self.tree.range(from..=to).next_back().transpose().map(|row| row.map(copy)))
    }

    fn apply(&self, changes: Changes) -> Result<(), StoreError> {
        let mut round = self.round.lock();
        if round.is_open {
            // What is made next must not stand behind a round that a crash would make again.
            self.sync_round(&mut round)?;
        }
        if changes.len() <= BATCH_ROWS {
            return self.batch(changes);
        }
        round.write(&changes)?;
        self.make(changes)
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.sync_round(&mut self.round.lock())
    }
}
