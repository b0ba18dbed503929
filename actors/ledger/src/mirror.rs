//! One pure step of following another institution's log: what is held, a checkpoint and entries give what is accepted,
//! or the reason, or evidence.

use std::sync::Arc;

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::key::NoteVerifier;
use crate::merkle::{Hash, ProofError, leaf_hash, verify_consistency};
use crate::record::MAX_RECORD_BYTES;
use crate::tile::Tiles;

/// Most entries in one step.
pub const MAX_STEP_ENTRIES: usize = 4_096;

/// Most bytes of entries in one step.
pub const MAX_STEP_BYTES: usize = 8 * 1024 * 1024;

/// Longest signed checkpoint that is kept, in bytes: room for the log's line and some ten cosignatures.
pub const MAX_CHECKPOINT_BYTES: usize = 16 * 1024;

/// A checkpoint and the note that signs it, as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// What is signed.
    pub checkpoint: Checkpoint,
    /// The whole signed note.
    pub note: Arc<str>,
}

/// What this node holds of a log.
#[derive(Debug, Clone, Default)]
pub struct Held {
    /// The right edge of the entries held.
    pub tiles: Tiles,
    /// The newest signed head accepted. It may cover more than is held, while a long way is gone in steps.
    pub newest: Option<Head>,
}

impl Held {
    /// Number of entries held.
    pub fn size(&self) -> u64 {
        self.tiles.size()
    }

    /// Root of the entries held.
    pub fn root(&self) -> Hash {
        self.tiles.root()
    }
}

/// What a step brings, verified, to be put into a [`crate::log::Batch`].
#[derive(Debug, Clone)]
pub struct Accepted {
    pub(crate) origin: Arc<str>,
    pub(crate) previous: Hash,
    pub(crate) first_index: u64,
    pub(crate) entries: Vec<Arc<[u8]>>,
    pub(crate) root: Hash,
    pub(crate) held: Held,
    pub(crate) head: Head,
}

impl Accepted {
    /// Which log.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Index of the first entry.
    pub fn first_index(&self) -> u64 {
        self.first_index
    }

    /// The entries, in order.
    pub fn entries(&self) -> &[Arc<[u8]>] {
        &self.entries
    }

    /// The signed checkpoint that covers them.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// What is held after this step; the next one starts from it.
    pub fn held(&self) -> &Held {
        &self.held
    }
}

/// Two heads that one log signed and that do not fit together: proof against it, for anyone who has its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// The head accepted before.
    pub held: Head,
    /// The head offered now.
    pub offered: Head,
}

/// Why a step brings nothing.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The checkpoint is not one of this log under its keys.
    #[error("the checkpoint is refused: {0}")]
    BadNote(#[from] CheckpointError),
    /// The checkpoint is smaller than the newest one accepted. That alone is no fault: whoever sent it lags behind.
    /// [`conflict`] judges whether it fits.
    #[error("the checkpoint has {offered} entries, and one of {held} is known")]
    Behind {
        /// Size of the newest head accepted.
        held: u64,
        /// Size of the one offered.
        offered: u64,
    },
    /// The log signed two histories.
    #[error("the log signed two heads that do not fit")]
    Fork(Box<Evidence>),
    /// The entries do not lead to the signed root. They, the proof or the head are false; which one is not proved.
    #[error("the entries do not lead to the signed root")]
    RootMismatch,
    /// The proof from the entries to a later checkpoint does not hold.
    #[error("the proof to the signed checkpoint does not hold: {0}")]
    BadProof(ProofError),
    /// More entries than the checkpoint covers.
    #[error("the entries go beyond the checkpoint")]
    BeyondCheckpoint,
    /// Nothing new: the checkpoint is known, or no entry leads towards it.
    #[error("nothing new")]
    Nothing,
    /// A limit of this file is passed.
    #[error("{what} is more than the {limit} allowed")]
    TooLarge {
        /// What, with its size and unit.
        what: String,
        /// The limit, in the same unit.
        limit: usize,
    },
}

/// Verifies the next entries of the log `origin` against a signed checkpoint.
///
/// `entries` are those from `held.size()` on. If they reach the size of the checkpoint, their root must be its root and
/// `proof` must be empty. If they end before it, `proof` is the consistency proof from where they end to the
/// checkpoint, so that a long way can be gone in steps.
///
/// # Errors
///
/// See [`Refused`]; nothing is changed.
///
/// # Source
///
/// Protocol section 4; C2SP tlog-tiles and tlog-checkpoint.
pub fn step(
    held: &Held,
    checkpoint_note: &[u8],
    origin: &str,
    keys: &[NoteVerifier],
    entries: &[&[u8]],
    proof: &[Hash],
) -> Result<Accepted, Refused> {
    limits(checkpoint_note, entries)?;
    let checkpoint = Checkpoint::open(checkpoint_note, origin, keys)?;
    let note = String::from_utf8_lossy(checkpoint_note).into_owned().into();
    let head = Head { checkpoint, note };
    let size = head.checkpoint.size;

    if let Some(newest) = &held.newest {
        if size < newest.checkpoint.size {
            return Err(Refused::Behind { held: newest.checkpoint.size, offered: size });
        }
        if size == newest.checkpoint.size && head.checkpoint.root != newest.checkpoint.root {
            return Err(fork(newest, head));
        }
        if size == newest.checkpoint.size && entries.is_empty() {
            return Err(Refused::Nothing);
        }
    }
    let first_index = held.size();
    let reached = first_index.checked_add(entries.len() as u64).ok_or(Refused::BeyondCheckpoint)?;
    if reached > size {
        return Err(Refused::BeyondCheckpoint);
    }
    if reached < size && entries.is_empty() {
        return Err(Refused::Nothing);
    }

    let mut tiles = held.tiles.clone();
    let mut at_newest = None;
    for entry in entries {
        tiles.push(leaf_hash(entry));
        if held.newest.as_ref().is_some_and(|newest| newest.checkpoint.size == tiles.size()) {
            at_newest = Some(tiles.root());
        }
    }
    tiles.take_full();
    let root = tiles.root();
    if reached == size {
        if root != head.checkpoint.root {
            return Err(Refused::RootMismatch);
        }
        if !proof.is_empty() {
            return Err(Refused::BadProof(ProofError::Length));
        }
    } else {
        verify_consistency(reached, &root, size, &head.checkpoint.root, proof).map_err(Refused::BadProof)?;
    }
    // The entries fit the head offered. If they pass the size of the head accepted before with another root, the log
    // signed both histories.
    if let (Some(newest), Some(root)) = (&held.newest, at_newest)
        && newest.checkpoint.root != root
    {
        return Err(fork(newest, head));
    }
    Ok(Accepted {
        origin: origin.into(),
        previous: held.root(),
        first_index,
        entries: entries.iter().map(|entry| Arc::from(*entry)).collect(),
        root,
        held: Held { tiles, newest: Some(head.clone()) },
        head,
    })
}

/// Judges an older head of a log against what is held: `root_at` gives the root of the entries held at a size, see
/// [`crate::log::Ledger::root_at`]. Evidence if the log signed a head that its later one does not contain.
///
/// # Errors
///
/// The note is not a checkpoint of this log under its keys.
pub fn conflict(
    newest: &Head,
    checkpoint_note: &[u8],
    origin: &str,
    keys: &[NoteVerifier],
    root_at: impl FnOnce(u64) -> Option<Hash>,
) -> Result<Option<Evidence>, Refused> {
    limits(checkpoint_note, &[])?;
    let checkpoint = Checkpoint::open(checkpoint_note, origin, keys)?;
    let fits = root_at(checkpoint.size).is_none_or(|root| root == checkpoint.root);
    let note = String::from_utf8_lossy(checkpoint_note).into_owned().into();
    Ok((!fits).then(|| Evidence { held: newest.clone(), offered: Head { checkpoint, note } }))
}

fn fork(held: &Head, offered: Head) -> Refused {
    Refused::Fork(Box::new(Evidence { held: held.clone(), offered }))
}

fn limits(checkpoint_note: &[u8], entries: &[&[u8]]) -> Result<(), Refused> {
    let too_large = |what: String, limit| Err(Refused::TooLarge { what, limit });
    if checkpoint_note.len() > MAX_CHECKPOINT_BYTES {
        return too_large(format!("a checkpoint of {} bytes", checkpoint_note.len()), MAX_CHECKPOINT_BYTES);
    }
    if entries.len() > MAX_STEP_ENTRIES {
        return too_large(format!("a step of {} entries", entries.len()), MAX_STEP_ENTRIES);
    }
    let mut bytes = 0;
    for entry in entries {
        if entry.len() > MAX_RECORD_BYTES {
            return too_large(format!("an entry of {} bytes", entry.len()), MAX_RECORD_BYTES);
        }
        bytes += entry.len();
    }
    if bytes > MAX_STEP_BYTES {
        return too_large(format!("a step of {bytes} bytes"), MAX_STEP_BYTES);
    }
    Ok(())
}
