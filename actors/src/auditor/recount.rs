//! Counting again: logs folded into a replica in memory up to given sizes, and published figures compared with it.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::FixedOffset;
use domain::ids::{Digest, InstitutionId};
use domain::member::Registry;
use domain::statistics::{Counter, Measure, Row as TableRow, StatisticsPublished};
use domain::time::{Millis, Timestamp};
use rayon::iter::{IntoParallelRefMutIterator as _, ParallelIterator as _};
use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use super::ahead::{Ahead, Keys, Source};
use crate::keys;
use crate::kv::{Base, Contradiction, Memo, Memory, Row, Space, Tx};
use crate::replica::{self, Settings, Work, statistics_rows};

/// Records folded in one transaction.
const CHUNK: usize = 2_048;

/// Most parts of a fold: what is of no voucher is folded in each.
const MOST_PARTS: usize = 8;

/// A log that is not held as far as it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("entry {index} of the log of {institution} is not held here")]
pub struct NotHeld {
    /// Whose log.
    pub institution: InstitutionId,
    /// Which entry.
    pub index: u64,
}

/// A federation folded again, up to given sizes.
pub struct Again<'a> {
    entries: &'a dyn Base,
    settings: Settings,
    pub(super) registry: Arc<Registry>,
    /// What was folded: rows, no entries.
    pub memory: Memory,
    /// The root of each log at its size.
    pub roots: BTreeMap<InstitutionId, Digest>,
}

impl<'a> Again<'a> {
    /// Folds every entry below the sizes, in the order of their own times, so that little has to wait; vouchers on all cores.
    ///
    /// # Errors
    ///
    /// [`NotHeld`] names the first entry that is missing.
    pub fn fold(base: &'a dyn Base, settings: &Settings, sizes: &[(InstitutionId, u64)]) -> Result<Self, NotHeld> {
        Self::fold_in(rayon::current_num_threads().clamp(1, MOST_PARTS), base, settings, sizes)
    }

    /// The same in so many parts.
    pub(super) fn fold_in(
        parts: usize,
        base: &'a dyn Base,
        settings: &Settings,
        sizes: &[(InstitutionId, u64)],
    ) -> Result<Self, NotHeld> {
        let mut parts: Vec<Part> = (0..parts).map(|number| Part::new(number, base, settings, sizes)).collect();
        let open = |(institution, size): &(InstitutionId, u64)| Source::open(base, *institution, *size);
        let mut sources: Vec<Source> = sizes.iter().map(open).collect::<Result<_, _>>()?;
        // At one time the registrar speaks first.
        sources.sort_by_key(|s| (s.institution != settings.registrar, s.institution));
        let mut known = Keys::default();
        let mut chunk = known.take(base, &mut sources, CHUNK)?;
        while !chunk.is_empty() {
            // While one chunk is folded, whoever is free looks at the next.
            let of = parts.len();
            let fold = || parts.par_iter_mut().for_each(|part| part.fold(base, settings, &chunk, of));
            let ((), next) = rayon::join(fold, || known.take(base, &mut sources, CHUNK));
            chunk = next?;
        }
        let mut parts = parts.into_iter();
        let Part { mut memory, registry, .. } = parts.next().unwrap_or_else(|| Part::new(0, base, settings, sizes));
        for part in parts {
            if memory.join(part.memory, add_up).is_err() {
                // Whoever showed one presentation for two vouchers, say: that is for one fold to tell.
                return Self::fold_in(1, base, settings, sizes);
            }
        }
        let roots = sources.into_iter().map(|s| (s.institution, Digest(s.edge.root().0))).collect();
        Ok(Self { entries: base, settings: settings.clone(), registry, memory, roots })
    }

    /// Reads what was folded.
    pub fn read<T>(&self, reading: impl FnOnce(&Work<'_>) -> T) -> T {
        let over = Over { rows: &self.memory, entries: self.entries };
        reading(&Work { tx: Tx::new(&over), registry: self.registry.clone(), settings: &self.settings })
    }
}

/// A part of the fold: the vouchers that fall to it, and whatever is of no voucher.
struct Part {
    number: usize,
    memory: Memory,
    memo: Memo,
    registry: Arc<Registry>,
}

impl Part {
    fn new(number: usize, base: &dyn Base, settings: &Settings, sizes: &[(InstitutionId, u64)]) -> Self {
        let mut memory = Memory::default();
        // Proofs of forks are no part of any log: they are what this node has seen.
        let mut seen = Tx::new(&memory);
        for (institution, _) in sizes {
            let key = keys::forked(*institution);
            if let Some(fork) = base.get(Space::Private, &key) {
                seen.put(Space::Private, key, fork.to_vec());
            }
        }
        let seen = seen.into_writes();
        memory.commit(seen);
        Self { number, memory, memo: Memo::default(), registry: Arc::new(Registry::new(settings.registrar)) }
    }

    fn fold(&mut self, base: &dyn Base, settings: &Settings, chunk: &[Ahead], parts: usize) {
        let over = Over { rows: &self.memory, entries: base };
        let tx = Tx::knowing(&over, std::mem::take(&mut self.memo));
        let mut work = Work { tx, registry: self.registry.clone(), settings };
        for ahead in chunk {
            let is_seen_to =
                ahead.voucher().is_none_or(|id| usize::from(id.uuid.as_bytes()[15]) % parts == self.number);
            if let Some(key) = ahead.signed.filter(|_| is_seen_to) {
                work.tx.remember_signed(ahead.name, key);
            }
            let Ahead { name, bytes, record, token, .. } = ahead;
            replica::apply_read(&mut work, *name, bytes, record.as_ref(), token.as_ref(), is_seen_to);
        }
        let registry = work.registry.clone();
        let (state, private, memo) = work.tx.end();
        self.memory.commit((state, private));
        (self.registry, self.memo) = (registry, memo);
    }
}

/// Rows that were folded, over entries that lie elsewhere.
struct Over<'a> {
    rows: &'a Memory,
    entries: &'a dyn Base,
}

impl Base for Over<'_> {
    fn get(&self, space: Space, key: &[u8]) -> Option<Arc<[u8]>> {
        self.rows.get(space, key)
    }
    fn range(&self, space: Space, from: &[u8], to: &[u8], limit: usize) -> Vec<Row> {
        self.rows.range(space, from, to, limit)
    }
    fn entry(&self, institution: InstitutionId, index: u64) -> Option<Arc<[u8]>> {
        self.entries.entry(institution, index)
    }
}

/// What two parts say of one row together: counters are sums, and all else both must say.
fn add_up(key: &[u8], one: &Arc<[u8]>, other: &Arc<[u8]>) -> Result<Option<Arc<[u8]>>, Contradiction> {
    if key.first() == Some(&keys::COUNTER) {
        let (counter, n): (Counter, i64) = crate::kv::read(one);
        let (_, more): (Counter, i64) = crate::kv::read(other);
        return Ok((n + more != 0).then(|| crate::kv::write(&(counter, n + more)).into()));
    }
    if one == other { Ok(Some(one.clone())) } else { Err(Contradiction) }
}

/// How published figures differ from the logs that they name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Difference {
    /// The root that is named for a log is not its root at that size.
    Root {
        /// Whose log.
        institution: InstitutionId,
        /// What is named.
        published: Digest,
        /// What the entries give.
        counted: Digest,
    },
    /// A log is covered twice.
    CoveredTwice(InstitutionId),
    /// The table is another one.
    Table {
        /// The digest that is published.
        published: Digest,
        /// The digest of the table that the logs give.
        counted: Digest,
        /// How many rows that table has.
        rows: u64,
    },
    /// The sums do not fit the table.
    Totals {
        /// What the logs give.
        counted: Vec<(Measure, u64)>,
    },
}

/// SHA-256 of a table's canonical bytes: the number of its rows, then each row (docs/record-format.md).
#[must_use]
pub fn table_digest(rows: &[TableRow]) -> Digest {
    let mut hash = sha2::Sha256::new();
    hash.update((rows.len() as u64).to_le_bytes());
    for row in rows {
        hash.update(crate::kv::write(row));
    }
    Digest(hash.finalize().into())
}

/// Counts published figures again, over exactly the logs and sizes that they name.
///
/// It folds everything from the beginning and may take long: at the edge, in a thread of its own.
///
/// # Errors
///
/// [`NotHeld`] while this node does not hold a log that far.
pub fn recount(
    base: &dyn Base,
    settings: &Settings,
    published: &StatisticsPublished,
) -> Result<Option<Difference>, NotHeld> {
    let sizes: BTreeMap<InstitutionId, u64> = published.covers.iter().map(|c| (c.institution, c.size)).collect();
    if sizes.len() != published.covers.len() {
        let mut covers: Vec<_> = published.covers.iter().map(|c| c.institution).collect();
        covers.sort_unstable();
        let twice = covers.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0]);
        return Ok(twice.map(Difference::CoveredTwice));
    }
    let east = i32::from(published.utc_offset_minutes) * 60;
    let offset = FixedOffset::east_opt(east).unwrap_or(settings.offset);
    let settings = Settings { offset, ..settings.clone() };
    let sizes: Vec<_> = sizes.into_iter().collect();
    let again = Again::fold(base, &settings, &sizes)?;
    for covered in &published.covers {
        let counted = again.roots.get(&covered.institution).copied().unwrap_or_default();
        if counted != covered.root {
            let (institution, published) = (covered.institution, covered.root);
            return Ok(Some(Difference::Root { institution, published, counted }));
        }
    }
    let day = |at: Timestamp| {
        let days = at.day_at(offset).signed_duration_since(chrono::NaiveDate::default()).num_days();
        i32::try_from(days).unwrap_or(i32::MAX)
    };
    let rows = again.read(|work| statistics_rows(work, day(published.from), day(published.until - Millis(1))));
    let counted = table_digest(&rows);
    if counted != published.table || rows.len() as u64 != u64::from(published.rows) {
        let published = published.table;
        return Ok(Some(Difference::Table { published, counted, rows: rows.len() as u64 }));
    }
    let mut totals: BTreeMap<Measure, u64> = BTreeMap::new();
    for row in &rows {
        let total = totals.entry(row.measure).or_default();
        *total = total.saturating_add(row.count);
    }
    let counted: Vec<(Measure, u64)> = totals.into_iter().collect();
    Ok((counted != published.totals).then_some(Difference::Totals { counted }))
}

/// Published figures that nobody here has counted again yet and whose logs are held far enough, oldest first.
#[must_use]
pub fn to_recount(work: &Work<'_>, limit: usize) -> Vec<(InstitutionId, u64, StatisticsPublished)> {
    let rows = work.tx.prefix(Space::State, &[keys::PUBLISHED], usize::MAX);
    let waiting = rows.iter().filter_map(|(key, value)| {
        let mut parts = keys::Parts(key.get(1..)?);
        let (issuer, index) = (parts.institution()?, parts.number()?);
        super::recounted(&work.tx, issuer, index).is_none().then_some(())?;
        let published: StatisticsPublished = crate::kv::read(value);
        let held = |c: &domain::statistics::Covered| work.cursor(c.institution).next >= c.size;
        published.covers.iter().all(held).then_some((issuer, index, published))
    });
    waiting.take(limit).collect()
}
