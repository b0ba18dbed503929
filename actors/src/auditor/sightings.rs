//! When this auditor saw how long a log was, and the records that are dated before that and stand behind it.
//!
//! Heads carry no time, so the time is this node's own: what the log's own node showed as its newest head then. A record that is
//! appended later and dated earlier was back-dated, as far as two lawful clocks can be apart.
//!
//! Kept are the sightings that records to come are held against: for each log the newest that everything judged stands behind, and
//! those behind which something is not judged yet.

use domain::ids::InstitutionId;
use domain::record::{Finding, FindingKind, MAX_NAMES};
use domain::time::{Millis, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::findings::Proved;
use super::rows;
use crate::keys;
use crate::replica::{self, Broken, Work};
use crate::writer::Desk;

/// How far a record's time and a sighting's may be apart: each of the two clocks may be five minutes off the median of its
/// peers before its node stops writing (protocol section 4).
pub const TOLERANCE: Millis = Millis::minutes(10);

/// How old a sighting of a log that does not grow becomes before it is noted again: a shorter time would be rows in the journal
/// for less than the tolerance.
const AGAIN_AFTER: Millis = Millis::minutes(5);

/// Most sightings of one log that are kept; with more the newest gives way, and what stands behind it is held against an
/// earlier one.
const MAX_KEPT: usize = 64;

/// Longest signed head that is kept, in bytes: its text, the log's signatures, and some cosignatures.
pub const MAX_HEAD_BYTES: usize = 4_096;

/// Records whose times are looked at in one round.
pub const ROUND: u64 = 4_000;

/// A head, and when it was the newest one that its log's node showed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sighting {
    /// Entries of the log.
    pub size: u64,
    /// By the clock of this node.
    pub at: Timestamp,
    /// The signed head.
    pub head: String,
}

/// Whether a sighting tells more than what is noted of that log.
#[must_use]
pub fn is_news(work: &Work<'_>, institution: InstitutionId, size: u64, at: Timestamp) -> bool {
    let newest = rows::sightings(&work.tx, institution).pop();
    newest.is_none_or(|newest| size > newest.size || (size == newest.size && at >= newest.at + AGAIN_AFTER))
}

/// Notes a sighting, if it is news. Heads that are longer than [`MAX_HEAD_BYTES`] are not noted.
pub fn note(desk: &mut Desk<'_>, institution: InstitutionId, sighting: &Sighting) {
    let is_news = is_news(&desk.work, institution, sighting.size, sighting.at);
    if !is_news || sighting.head.len() > MAX_HEAD_BYTES {
        return;
    }
    let kept = rows::sightings(&desk.work.tx, institution);
    if let Some(newest) = kept.last().filter(|_| kept.len() >= MAX_KEPT) {
        rows::forget_sighting(&mut desk.work.tx, institution, newest.size);
    }
    rows::keep_sighting(&mut desk.work.tx, institution, sighting);
}

/// Looks at the times of the records that came since the last round, and says which logs have back-dated some. The second value is
/// false if there are more to look at.
pub(super) fn round(desk: &mut Desk<'_>) -> (Vec<Proved>, bool) {
    let mut logs: Vec<_> = desk.work.registry.members.keys().copied().collect();
    logs.retain(|id| *id != desk.work.settings.me);
    let (mut left, mut found, mut is_through) = (ROUND, Vec::new(), true);
    for institution in logs {
        let sightings = rows::sightings(&desk.work.tx, institution);
        let end = desk.work.cursor(institution).next;
        let first = rows::times_judged(&desk.work.tx, institution);
        // What stands before the first sighting is held against nothing.
        let from = sightings.first().map_or(end, |s| s.size).clamp(first, end.max(first));
        let until = end.min(from.saturating_add(left)).max(from);
        left -= until - from;
        is_through &= until >= end;
        found.extend(judge(&desk.work, institution, &sightings, from, until));
        if until != first {
            rows::set_times_judged(&mut desk.work.tx, institution, until);
        }
        let needed = sightings.iter().rposition(|s| s.size <= until).unwrap_or(0);
        for old in sightings.iter().take(needed) {
            rows::forget_sighting(&mut desk.work.tx, institution, old.size);
        }
    }
    (found, is_through)
}

/// The records of `from..until` that are dated before the last sighting that they stand behind.
fn judge(work: &Work<'_>, institution: InstitutionId, sightings: &[Sighting], from: u64, until: u64) -> Option<Proved> {
    let (mut records, mut shown, mut heads, mut count) = (Vec::new(), Vec::new(), Vec::new(), 0_u64);
    for index in from..until {
        let at = work.tx.entry(institution, index).and_then(|entry| replica::time_of(&entry));
        let behind = sightings.iter().rfind(|s| s.size <= index);
        let (Some(at), Some(behind)) = (at, behind) else { continue };
        if at + TOLERANCE >= behind.at || went_back(work, institution, index) {
            continue;
        }
        count += 1;
        if records.len() < MAX_NAMES
            && let Some(name) = work.name_at(institution, index)
        {
            records.push(name);
            shown.push(json!({ "index": index, "at": at }));
            if !heads.contains(&behind) {
                heads.push(behind);
            }
        }
    }
    if count == 0 {
        return None;
    }
    let evidence = json!({ "tolerance_millis": TOLERANCE.0, "seen": heads, "records": shown });
    let kind = FindingKind::BackDated;
    let finding = Finding { kind, institution, voucher: None, records, count, evidence: None };
    Some(Proved { finding, evidence: evidence.to_string().into_bytes() })
}

/// Whether the record's time is told of already: it lies before that of the record before it.
fn went_back(work: &Work<'_>, institution: InstitutionId, index: u64) -> bool {
    let broken: Option<(domain::ids::RecordName, Broken)> = work.tx.load(&keys::broken(institution, index));
    broken.is_some_and(|(_, why)| why == Broken::ClockWentBack)
}
