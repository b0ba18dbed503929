//! The folded state of a store, row by row: how far it has come, what it weighs, and what its rows are called.
//!
//! Two folds of the same records must mean the same, but a voucher's document keeps its records in the order in which
//! they came, and the alarms of duties move when a role looks at them. So rows are weighed by what they mean
//! ([`meaning`]).

use actors::keys::{self, Parts};
use actors::kv::{Base as _, Row, Space};
use actors::replica::{Cursor, VoucherDoc};
use actors::writer::Logs;
use domain::ids::{Digest, InstitutionId};
use sha2::Digest as _;

/// Rows read from the store at once.
const ROWS: usize = 4_096;

/// How far the stored state has folded a log; none if that row cannot be read.
pub(super) fn cursor(logs: &Logs, institution: InstitutionId) -> Option<Cursor> {
    match logs.get(Space::State, &keys::cursor(institution)) {
        Some(value) => ledger::record::decode_trusted(&value).ok(),
        None => Some(Cursor::default()),
    }
}

/// Every row of the stored state, in order.
fn stored(logs: &Logs) -> impl Iterator<Item = Row> {
    let mut from = Some(Vec::new());
    std::iter::from_fn(move || {
        let rows = logs.ledger.range(from.as_ref()?, &[u8::MAX; 8], ROWS);
        // The next page begins behind the last key of this one.
        from = rows.last().filter(|_| rows.len() == ROWS).map(|(key, _)| [key.as_slice(), &[0]].concat());
        (!rows.is_empty()).then_some(rows)
    })
    .flatten()
}

/// What a row means: the same bytes for the same meaning. None for alarms, which are not a function of the logs alone.
fn meaning(key: &[u8], value: &[u8]) -> Option<Vec<u8>> {
    match key.first() {
        Some(&keys::ALARM) => None,
        Some(&keys::VOUCHER) => {
            let document: Option<VoucherDoc> = ledger::record::decode_trusted(value).ok();
            // What cannot be read means only itself.
            Some(document.and_then(|document| of_voucher(&document)).unwrap_or_else(|| value.to_vec()))
        }
        _ => Some(value.to_vec()),
    }
}

fn of_voucher(document: &VoucherDoc) -> Option<Vec<u8>> {
    let mut links: Vec<_> = document.links.iter().collect();
    links.sort_by_key(|link| link.name);
    let mut notes: Vec<_> = document.notes.iter().collect();
    notes.sort_by_key(|note| note.name);
    let path: Vec<_> = document.path().map(|link| link.name).collect();
    let meant = (links, notes, path, document.head_name(), document.state(), document.contested);
    ledger::record::encode(&meant).ok()
}

/// A digest of what the stored state means, and its rows.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(super) struct Weight {
    /// Rows that were counted.
    pub rows: u64,
    /// SHA-256 over keys and meanings, each with its length before it.
    pub digest: Digest,
}

/// Weighs the stored state.
pub(super) fn weigh(logs: &Logs) -> Weight {
    let mut hash = sha2::Sha256::new();
    let mut rows = 0;
    for (key, value) in stored(logs) {
        let Some(meaning) = meaning(&key, &value) else { continue };
        for part in [&key, &meaning] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        rows += 1;
    }
    Weight { rows, digest: Digest(hash.finalize().into()) }
}

/// A row's name in words; its key in hexadecimal where there are none.
pub(super) fn name_of(key: &[u8]) -> String {
    let Some((kind, rest)) = key.split_first() else { return "a row without a key".to_owned() };
    let hexadecimal = || hex::encode(key);
    let mut parts = Parts(rest);
    match *kind {
        keys::VOUCHER => parts.voucher().map_or_else(hexadecimal, |id| format!("voucher {id}")),
        keys::CURSOR => parts.institution().map_or_else(hexadecimal, |id| format!("how far {id} is folded")),
        keys::BROKEN => {
            let place = parts.institution().zip(parts.number());
            place.map_or_else(hexadecimal, |(id, index)| format!("the verdict on record {id}.{index}"))
        }
        keys::COUNTER => format!("a counter of the statistics ({})", hexadecimal()),
        _ if key == keys::REGISTRY => "the registry of members".to_owned(),
        _ => hexadecimal(),
    }
}
