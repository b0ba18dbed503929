//! The small storage trait behind the ledger: what holds entries, tiles and state, and may always be rebuilt.

pub mod memory;
mod round;
pub mod sled;

use std::sync::Arc;

/// What one round changes: keys in any order, `None` removes.
pub type Changes = Vec<(Vec<u8>, Option<Arc<[u8]>>)>;

/// A key and its value.
pub type Row = (Vec<u8>, Arc<[u8]>);

/// Why a store did not do its work. Any of these stops the process.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store itself says so.
    #[error("the store failed: {0}")]
    Failed(String),
    /// The file system says so.
    #[error("the store's files failed: {0}")]
    Io(#[from] std::io::Error),
}

/// Ordered keys and values. One thread writes; any thread reads.
pub trait Store: Send + Sync {
    /// The value under `key`.
    ///
    /// # Errors
    ///
    /// See [`StoreError`].
    fn get(&self, key: &[u8]) -> Result<Option<Arc<[u8]>>, StoreError>;

    /// Keys from `from` up to, not including, `to`, in order, at most `limit`.
    ///
    /// # Errors
    ///
    /// See [`StoreError`].
    fn range(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, StoreError>;

    /// The greatest key that is at least `from` and at most `to`.
    ///
    /// # Errors
    ///
    /// See [`StoreError`].
    fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<Row>, StoreError>;

    /// Makes all changes; after a crash all or none of them are there, whatever was [synced](Store::sync) for sure.
    /// Meanwhile readers may see some of them: who reads has the newest values of what is being stored in memory.
    ///
    /// # Errors
    ///
    /// See [`StoreError`].
    fn apply(&self, changes: Changes) -> Result<(), StoreError>;

    /// Makes what was applied survive a crash and a power loss.
    ///
    /// # Errors
    ///
    /// See [`StoreError`].
    fn sync(&self) -> Result<(), StoreError>;
}
