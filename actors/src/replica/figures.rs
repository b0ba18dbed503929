//! Counters: kept with the state, changed by the difference that a voucher's path makes.

use domain::statistics::{Changes, Counter, Row};

use super::Work;
use crate::keys;
use crate::kv::{Space, read};

/// Adds changes to the counters; a counter at zero is no row.
pub(super) fn add(work: &mut Work<'_>, changes: Changes) {
    for (counter, change) in changes {
        let key = keys::counter(&counter);
        let n: i64 = work.tx.load_kept::<(Counter, i64)>(&key).map_or(0, |row| row.1) + change;
        if n == 0 {
            work.tx.delete(Space::State, key);
        } else {
            work.tx.keep(key, (counter, n));
        }
    }
}

/// All counters.
#[must_use]
pub fn counters(work: &Work<'_>) -> Vec<(Counter, i64)> {
    work.tx.prefix(Space::State, &[keys::COUNTER], usize::MAX).iter().map(|(_, v)| read(v)).collect()
}

/// The table of statistics for days `from..=until`, in its canonical order.
#[must_use]
pub fn statistics_rows(work: &Work<'_>, from: i32, until: i32) -> Vec<Row> {
    let mut rows: Vec<Row> = counters(work)
        .into_iter()
        .filter_map(|(counter, n)| match counter {
            Counter::Event { day, programme, community, hospital, measure } if (from..=until).contains(&day) => {
                Some(Row { day, programme, community, hospital, measure, count: u64::try_from(n).unwrap_or_default() })
            }
            _ => None,
        })
        .collect();
    rows.sort_unstable();
    rows
}
