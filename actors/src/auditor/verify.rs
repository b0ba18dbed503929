//! Verifying a whole store: every log is folded again in memory, and the stored state is compared with it row by row.
//!
//! What is compared is what follows from the logs. Alarms are this node's own notebook of what to look at when, and
//! the order in which records came in is no part of a voucher's state; both may differ between two good stores.

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::custody::Link;
use domain::ids::{Digest, InstitutionId, RecordName};
use domain::lifecycle::Voucher;
use domain::member::Registry;
use rayon::iter::ParallelIterator as _;
use rayon::slice::ParallelSlice as _;
use serde::Serialize;

use super::recount::{Again, Difference, NotHeld, recount};
use super::report::{Report, report};
use crate::keys;
use crate::kv::{Base, Memory, Space, after_prefix};
use crate::replica::{NoteEntry, Settings, VoucherDoc, Work};

/// Most differing rows that are named; all are counted.
pub const MAX_NAMED: usize = 100;

/// Rows read at once.
const CHUNK: usize = 1_000;

/// Rows that one core compares.
const PART: usize = 8_000;

/// How a store's state compares with the logs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// Rows compared.
    pub rows: u64,
    /// Rows that differ, are missing or are too many.
    pub differing: u64,
    /// The keys of the first of them, hexadecimal.
    pub keys: Vec<String>,
}

/// What verifying a store comes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// The report over the state as it was folded again.
    pub report: Report,
    /// The root of each log, computed from its entries.
    pub roots: BTreeMap<InstitutionId, Digest>,
    /// The stored state against the folded one.
    pub state: Comparison,
    /// Published statistics, by issuer and index, that are not what the logs say.
    pub statistics: Vec<(InstitutionId, u64, Difference)>,
    /// How many were counted again.
    pub statistics_checked: u64,
    /// Members and parameters as the records say.
    #[serde(skip)]
    pub registry: Arc<Registry>,
}

impl Verified {
    /// Nothing is wrong.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.report.good && self.state.differing == 0 && self.statistics.is_empty()
    }
}

/// Folds every log again up to its size and compares everything that follows from it.
///
/// `sizes` are those up to which the stored state is folded. Roots are for the caller to compare with signed heads.
///
/// # Errors
///
/// [`NotHeld`] if an entry is missing.
pub fn verify_store(base: &dyn Base, settings: &Settings, sizes: &[(InstitutionId, u64)]) -> Result<Verified, NotHeld> {
    let again = Again::fold(base, settings, sizes)?;
    let state = compare(base, &again.memory);
    verified(base, again, settings, state)
}

/// The same of logs alone, without a stored state to compare with.
///
/// # Errors
///
/// [`NotHeld`] if an entry is missing.
pub fn verify_logs(base: &dyn Base, settings: &Settings, sizes: &[(InstitutionId, u64)]) -> Result<Verified, NotHeld> {
    verified(base, Again::fold(base, settings, sizes)?, settings, Comparison::default())
}

fn verified(base: &dyn Base, again: Again<'_>, settings: &Settings, state: Comparison) -> Result<Verified, NotHeld> {
    let published = again.read(|work| super::recount::to_recount(work, usize::MAX));
    let mut statistics = Vec::new();
    let statistics_checked = published.len() as u64;
    for (issuer, index, published) in published {
        if let Some(difference) = recount(base, settings, &published)? {
            statistics.push((issuer, index, difference));
        }
    }
    let report = again.read(report);
    let (roots, registry) = (again.roots, again.registry);
    Ok(Verified { report, roots, state, statistics, statistics_checked, registry })
}

/// Members and parameters as the first `size` records of the registrar say, whatever the stored state has folded.
///
/// # Errors
///
/// [`NotHeld`] if an entry is missing.
pub fn registry_at(base: &dyn Base, settings: &Settings, size: u64) -> Result<Arc<Registry>, NotHeld> {
    // Nobody else's log says anything of members.
    Again::fold(base, settings, &[(settings.registrar, size)]).map(|again| again.registry)
}

/// The sizes up to which a stored state is folded.
#[must_use]
pub fn folded_sizes(work: &Work<'_>) -> Vec<(InstitutionId, u64)> {
    work.logs().into_iter().map(|id| (id, work.cursor(id).next)).collect()
}

/// Compares a stored state with one that was folded again, row by row, on all cores.
#[must_use]
pub fn compare(stored: &dyn Base, folded: &Memory) -> Comparison {
    let mut bounds: Vec<Vec<u8>> = folded.state().map(|(key, _)| key.to_vec()).step_by(PART).skip(1).collect();
    bounds.insert(0, Vec::new());
    bounds.push(after_prefix(&[u8::MAX]));
    let parts: Vec<Comparison> =
        bounds.par_windows(2).map(|part| compare_part(stored, folded, &part[0], &part[1])).collect();
    let mut all = Comparison::default();
    for Comparison { rows, differing, keys } in parts {
        all.rows += rows;
        all.differing += differing;
        let room = MAX_NAMED - all.keys.len();
        all.keys.extend(keys.into_iter().take(room));
    }
    all
}

fn compare_part(stored: &dyn Base, folded: &dyn Base, from: &[u8], to: &[u8]) -> Comparison {
    let mut comparison = Comparison::default();
    let (mut left, mut right) = (Rows::new(stored, from, to), Rows::new(folded, from, to));
    loop {
        let order = match (left.peek(), right.peek()) {
            (None, None) => break,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some((a, _)), Some((b, _))) => a.cmp(b),
        };
        let a = (order != std::cmp::Ordering::Greater).then(|| left.next()).flatten();
        let b = (order != std::cmp::Ordering::Less).then(|| right.next()).flatten();
        let key = a.as_ref().or(b.as_ref()).map(|(key, _)| key.clone()).unwrap_or_default();
        comparison.rows += 1;
        let same = match (&a, &b) {
            (Some((_, a)), Some((_, b))) => a == b || (key.first() == Some(&keys::VOUCHER) && same_voucher(a, b)),
            _ => false,
        };
        if !same {
            comparison.differing += 1;
            if comparison.keys.len() < MAX_NAMED {
                comparison.keys.push(hex::encode(&key));
            }
        }
    }
    comparison
}

/// Rows of a state in order, a chunk at a time, without alarms.
struct Rows<'a> {
    base: &'a dyn Base,
    chunk: std::collections::VecDeque<crate::kv::Row>,
    from: Vec<u8>,
    to: &'a [u8],
    over: bool,
}

impl<'a> Rows<'a> {
    fn new(base: &'a dyn Base, from: &[u8], to: &'a [u8]) -> Self {
        Self { base, chunk: std::collections::VecDeque::new(), from: from.to_vec(), to, over: false }
    }

    fn peek(&mut self) -> Option<&crate::kv::Row> {
        while self.chunk.is_empty() && !self.over {
            let rows = self.base.range(Space::State, &self.from, self.to, CHUNK);
            self.over = rows.len() < CHUNK;
            if let Some((last, _)) = rows.last() {
                self.from = [last.as_slice(), &[0]].concat();
            }
            self.chunk.extend(rows.into_iter().filter(|(key, _)| key.first() != Some(&keys::ALARM)));
        }
        self.chunk.front()
    }

    fn next(&mut self) -> Option<crate::kv::Row> {
        self.peek()?;
        self.chunk.pop_front()
    }
}

/// What of a voucher follows from its records, whatever their order of arrival.
#[derive(PartialEq, Eq)]
struct Canonical {
    links: Vec<Link>,
    path: Vec<RecordName>,
    head: Option<(RecordName, Voucher)>,
    contested: bool,
    notes: Vec<NoteEntry>,
}

fn canonical(bytes: &[u8]) -> Option<Canonical> {
    let doc: VoucherDoc = ledger::record::decode_trusted(bytes).ok()?;
    let path = doc.path().map(|link| link.name).collect();
    let head = doc.head_name().zip(doc.state().cloned());
    let VoucherDoc { mut links, mut notes, contested, .. } = doc;
    links.sort_by_key(|link| link.name);
    notes.sort_by_key(|note| note.name);
    Some(Canonical { links, path, head, contested, notes })
}

fn same_voucher(a: &[u8], b: &[u8]) -> bool {
    canonical(a).zip(canonical(b)).is_some_and(|(a, b)| a == b)
}
