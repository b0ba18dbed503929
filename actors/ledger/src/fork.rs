//! What proves to anyone who has a log's key, and who trusts nobody, that the log signed two histories: two signed heads, and a
//! size at which they have two roots.
//!
//! Two heads of one size show it by themselves. Of two sizes each comes with the root of its first `size` entries and the
//! consistency proof from there to the head (RFC 6962). Under one head one root alone has such a proof, so whoever shows
//! tiles, entries or a proof that the log's key did not sign makes nobody guilty.

use serde::{Deserialize, Serialize};

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::key::NoteVerifier;
use crate::merkle::{Hash, ProofError, verify_consistency};

/// The beginning of a signed head: the root of its first entries, and the proof that they begin it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beginning {
    /// The root of those entries.
    pub root: Hash,
    /// The consistency proof from them to the head; empty if they are all of it.
    pub proof: Vec<Hash>,
}

/// Where the histories of two heads differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// How many entries each of the two beginnings has.
    pub size: u64,
    /// The beginning of the head that was accepted.
    pub held: Beginning,
    /// The beginning of the head that was offered.
    pub offered: Beginning,
}

/// Why two heads and a split prove nothing.
#[derive(Debug, thiserror::Error)]
pub enum Unproved {
    /// A head is not one of this log under its keys.
    #[error("a head is not of this log: {0}")]
    Head(#[from] CheckpointError),
    /// A root does not begin its head.
    #[error("a root does not begin its head: {0}")]
    Beginning(#[from] ProofError),
    /// Both heads begin alike.
    #[error("both heads have this root")]
    Alike,
}

impl Split {
    /// Proves that the log `origin` signed two heads of which neither continues the other.
    ///
    /// # Errors
    ///
    /// [`Unproved`]; that says nothing about the log.
    pub fn prove(&self, origin: &str, keys: &[NoteVerifier], held: &str, offered: &str) -> Result<(), Unproved> {
        for (note, Beginning { root, proof }) in [(held, &self.held), (offered, &self.offered)] {
            let head = Checkpoint::open(note.as_bytes(), origin, keys)?;
            verify_consistency(self.size, root, head.size, &head.root, proof)?;
        }
        if self.held.root == self.offered.root { Err(Unproved::Alike) } else { Ok(()) }
    }
}
