//! The newest head of the own log that witnesses have cosigned, kept over restarts: receipts and exports carry it.
//!
//! It is a private row (`R`), since no log holds it, and worth nothing to who cannot verify it: every line in it is a signature.

use std::collections::BTreeMap;

use domain::ids::InstitutionId;
use ledger::note::MAX_SIGNATURES;
use serde::{Deserialize, Serialize};

use crate::keys::Key;
use crate::kv::{Base, Tx};
use crate::writer::Desk;

const COSIGNED_HEAD: u8 = b'R';

/// A signed head with what witnesses have answered to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CosignedHead {
    /// Entries under the head.
    pub size: u64,
    /// The note that the log has signed.
    pub note: String,
    /// The cosignature of each witness, a line of a note.
    pub lines: BTreeMap<InstitutionId, String>,
}

impl CosignedHead {
    /// The signed checkpoint with the cosignatures behind it.
    #[must_use]
    pub fn note(&self) -> String {
        let lines: String = self.lines.values().take(MAX_SIGNATURES - 1).map(String::as_str).collect();
        format!("{}{lines}", self.note)
    }
}

/// Keeps it in place of an older one.
pub fn keep(desk: &mut Desk<'_>, head: &CosignedHead) {
    desk.work.tx.store_private(Key::new(COSIGNED_HEAD).done(), head);
}

/// What was kept.
#[must_use]
pub fn kept(base: &dyn Base) -> Option<CosignedHead> {
    kept_in(&Tx::new(base))
}

/// What was kept, as a transaction sees it.
#[must_use]
pub fn kept_in(tx: &Tx<'_>) -> Option<CosignedHead> {
    tx.load_private(&Key::new(COSIGNED_HEAD).done())
}
