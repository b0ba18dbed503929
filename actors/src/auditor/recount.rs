//! Counting again: logs folded into a replica in memory up to given sizes, and published figures compared with it.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::FixedOffset;
use domain::ids::{Digest, InstitutionId};
use domain::member::Registry;
use domain::statistics::{Measure, Row, StatisticsPublished};
use domain::time::{Millis, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use super::ahead::{Ahead, Keys, Source};
use crate::keys;
use crate::kv::{Base, Memo, Memory, Space, Tx};
use crate::replica::{self, Settings, Work, statistics_rows};

/// Records folded in one transaction.
const CHUNK: usize = 256;

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
pub struct Again {
    settings: Settings,
    pub(super) registry: Arc<Registry>,
    /// What was folded.
    pub memory: Memory,
    /// The root of each log at its size.
    pub roots: BTreeMap<InstitutionId, Digest>,
}

impl Again {
    /// Folds every entry below the sizes, in the order of their own times, so that little has to wait.
    ///
    /// # Errors
    ///
    /// [`NotHeld`] names the first entry that is missing.
    pub fn fold(base: &dyn Base, settings: &Settings, sizes: &[(InstitutionId, u64)]) -> Result<Self, NotHeld> {
        let mut memory = Memory::default();
        let mut registry = Arc::new(Registry::new(settings.registrar));
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

        let open = |(institution, size): &(InstitutionId, u64)| Source::open(base, *institution, *size);
        let mut sources: Vec<Source> = sizes.iter().map(open).collect::<Result<_, _>>()?;
        // At one time the registrar speaks first.
        sources.sort_by_key(|s| (s.institution != settings.registrar, s.institution));
        let (mut known, mut memo) = (Keys::default(), Memo::default());
        let mut chunk = known.take(base, &mut sources, CHUNK)?;
        while !chunk.is_empty() {
            // While one chunk is folded, the other cores look at the next.
            let fold = || fold_chunk(&mut memory, memo, registry, settings, chunk);
            let (folded, next) = rayon::join(fold, || known.take(base, &mut sources, CHUNK));
            (registry, memo) = folded;
            chunk = next?;
        }
        let roots = sources.into_iter().map(|s| (s.institution, Digest(s.edge.root().0))).collect();
        Ok(Self { settings: settings.clone(), registry, memory, roots })
    }

    /// Reads what was folded.
    pub fn read<T>(&self, reading: impl FnOnce(&Work<'_>) -> T) -> T {
        reading(&Work { tx: Tx::new(&self.memory), registry: self.registry.clone(), settings: &self.settings })
    }
}

fn fold_chunk(
    memory: &mut Memory,
    memo: Memo,
    registry: Arc<Registry>,
    settings: &Settings,
    chunk: Vec<Ahead>,
) -> (Arc<Registry>, Memo) {
    let held: Vec<_> = chunk.iter().map(|ahead| (ahead.name, ahead.bytes.clone())).collect();
    let mut work = Work { tx: Tx::knowing(memory, memo), registry, settings };
    for Ahead { name, bytes, record, token, signed } in chunk {
        if let Some(key) = signed {
            work.tx.remember_signed(name, key);
        }
        replica::apply_read(&mut work, name, &bytes, record, token);
    }
    let registry = work.registry.clone();
    let (state, private, memo) = work.tx.end();
    memory.commit((state, private));
    for (name, bytes) in held {
        memory.hold(name.institution, name.index, bytes);
    }
    (registry, memo)
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
pub fn table_digest(rows: &[Row]) -> Digest {
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
