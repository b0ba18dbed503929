//! The small storage trait behind the ledger: what holds entries, tiles and state, and may always be rebuilt.

pub mod memory;
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

    /// Makes all changes, or after a crash none of them. Readers see them at once; a crash may take them back until
    /// [`Store::sync`].
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
