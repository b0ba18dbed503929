//! Statistics (unit B7): the figures of a period with the logs that they cover, so that anyone can count again.

use std::collections::BTreeMap;

use chrono::{NaiveDate, TimeDelta};
use domain::ids::{Digest, RecordName};
use domain::member::Role;
use domain::reasons::Reason;
use domain::record::Body;
use domain::statistics::{Covered, Measure, Row, StatisticsPublished};
use domain::time::{Millis, Timestamp};
use sha2::Digest as _;

use super::command::Answer;
use super::state;
use crate::keys::{self, Key};
use crate::kv::{Space, read};
use crate::misbehave::misbehaves;
use crate::replica::{Work, statistics_rows};
use crate::writer::{Desk, Refused};

/// Longest period of one publication, in days.
pub const MAX_PERIOD_DAYS: i32 = 366;

/// Most rows of a published table.
pub const MAX_TABLE_ROWS: usize = 100_000;

/// The canonical bytes of a table: the number of rows (8 bytes, little-endian), then the bytes of each.
///
/// They are those of the list as a whole, which can be longer than one value of a record may be.
#[must_use]
pub fn table_bytes(rows: &[Row]) -> Vec<u8> {
    let mut bytes = (rows.len() as u64).to_le_bytes().to_vec();
    for row in rows {
        bytes.extend(crate::kv::write(row));
    }
    bytes
}

/// A table that was published here, by the digest of its canonical bytes.
#[must_use]
pub fn table(work: &Work<'_>, digest: Digest) -> Option<Vec<Row>> {
    state::load_table(&work.tx, digest)
}

/// The figures that this issuer has published, the newest first.
#[must_use]
pub fn publications(work: &Work<'_>, limit: usize) -> Vec<(RecordName, StatisticsPublished)> {
    let prefix = Key::new(keys::PUBLISHED).institution(work.settings.me).done();
    let rows = work.tx.prefix(Space::State, &prefix, usize::MAX);
    let newest = rows.iter().rev().take(limit).filter_map(|(key, value)| {
        let index = keys::Parts(key.get(prefix.len()..)?).number()?;
        Some((work.name_at(work.settings.me, index)?, read(value)))
    });
    newest.collect()
}

/// First moment of a day, counted since 1970-01-01 in the federation's time zone.
fn first_moment(work: &Work<'_>, day: i32) -> Option<Timestamp> {
    let date = NaiveDate::default().checked_add_signed(TimeDelta::try_days(i64::from(day))?)?;
    let midnight = date.and_hms_opt(0, 0, 0)?.and_utc();
    Some(Timestamp::from(midnight) - Millis::secs(i64::from(work.settings.offset.local_minus_utc())))
}

/// Every log with its size as folded here.
fn folded(work: &Work<'_>) -> BTreeMap<domain::ids::InstitutionId, u64> {
    let sizes = work.registry.members.keys().map(|id| (*id, work.cursor(*id).next));
    sizes.filter(|(_, size)| *size > 0).collect()
}

pub(super) fn publish(desk: &mut Desk<'_>, from: i32, until: i32, covers: Vec<Covered>) -> Result<Answer, Refused> {
    if from < 0 || until < from || until - from >= MAX_PERIOD_DAYS {
        return Err(Reason::Malformed.into());
    }
    // The figures are those of the logs as they are folded now, or they could not be counted again.
    let named: BTreeMap<_, _> = covers.iter().map(|c| (c.institution, c.size)).collect();
    if named.len() != covers.len() || named != folded(&desk.work) {
        return Err(Reason::StalePosition.into());
    }
    let mut rows = statistics_rows(&desk.work, from, until);
    if misbehaves("statistics-flattered") {
        rows.iter_mut().for_each(|row| row.count += 1);
    }
    if rows.len() > MAX_TABLE_ROWS {
        return Err(Reason::TooLarge.into());
    }
    let bytes = table_bytes(&rows);
    let table = Digest(sha2::Sha256::digest(&bytes).into());
    let mut totals: BTreeMap<Measure, u64> = BTreeMap::new();
    for row in &rows {
        let total = totals.entry(row.measure).or_default();
        *total = total.saturating_add(row.count);
    }
    let count = u32::try_from(rows.len()).map_err(|_| Reason::TooLarge)?;
    let published = StatisticsPublished {
        from: first_moment(&desk.work, from).ok_or(Reason::Malformed)?,
        until: first_moment(&desk.work, until + 1).ok_or(Reason::Malformed)?,
        utc_offset_minutes: i16::try_from(desk.work.settings.offset.local_minus_utc() / 60)
            .map_err(|_| Reason::Internal)?,
        covers,
        table,
        rows: count,
        totals: totals.into_iter().collect(),
    };
    desk.write(Role::Issuer, Body::Statistics(published))?;
    state::store_table(&mut desk.work.tx, table, &rows);
    Ok(Answer::Published { table, rows: count })
}
