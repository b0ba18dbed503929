//! Values of the state: bytes, or what they were decoded to, whose bytes are made when a reader or the store wants them.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;

/// A value that is kept decoded.
///
/// A row that changes many times between two rounds of the store is so encoded once.
pub trait Kept: Any + Send + Sync {
    /// Its bytes, as [`encode`] makes them.
    fn bytes(&self) -> Vec<u8>;
}

impl<T: Serialize + Send + Sync + 'static> Kept for T {
    fn bytes(&self) -> Vec<u8> {
        encode(self)
    }
}

/// The bytes of a value of this node's own. One that cannot be encoded stops the process.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    or_stop(crate::record::encode(value))
}

/// As [`encode`], behind bytes that are there already.
pub fn encode_onto<T: Serialize>(bytes: Vec<u8>, value: &T) -> Vec<u8> {
    or_stop(crate::record::encode_onto(bytes, value))
}

fn or_stop(encoded: Result<Vec<u8>, crate::record::EncodeError>) -> Vec<u8> {
    match encoded {
        Ok(bytes) => bytes,
        Err(error) => crate::fail::stop(&format!("a value cannot be stored: {error}")),
    }
}

/// A value of the state.
#[derive(Clone)]
pub enum Value {
    /// Its bytes.
    Bytes(Arc<[u8]>),
    /// What its bytes are decoded to.
    Kept(Arc<dyn Kept>),
    /// No bytes, under a key that had no row before: if it is removed before it is stored, the store has nothing to do.
    New,
}

/// What a kept value counts for where memory is limited, in bytes: its size is not known before it is encoded.
const KEPT_WEIGHT: usize = 4096;

impl Value {
    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> Arc<[u8]> {
        match self {
            Self::Bytes(bytes) => bytes.clone(),
            Self::Kept(value) => value.bytes().into(),
            Self::New => Arc::from([]),
        }
    }

    /// What it takes of the memory that may wait for the store, in bytes; a guess for what is kept decoded.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Kept(_) => KEPT_WEIGHT,
            Self::New => 0,
        }
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes.into())
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
            Self::Kept(_) => f.write_str("a kept value"),
            Self::New => f.write_str("a new row"),
        }
    }
}
