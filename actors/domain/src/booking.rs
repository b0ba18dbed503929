//! Bookings and examinations as the parties see them: what stands in records only as a salted digest.

use serde::{Deserialize, Serialize};

use crate::ids::{InstitutionId, ShortName, VoucherId};
use crate::lifecycle::{ARRIVE_AFTER, ARRIVE_BEFORE};
use crate::reasons::Reason;
use crate::time::{Millis, Timestamp};

/// How long a hospital has to answer a booking, at most.
pub const RESPOND_WITHIN: Millis = Millis::hours(24);

/// Most ordered items of one examination.
pub const MAX_ITEMS: usize = 50;

/// An appointment that can be booked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slot {
    /// The hospital.
    pub hospital: InstitutionId,
    /// The department.
    pub department: ShortName,
    /// The doctor.
    pub doctor: ShortName,
    /// First moment.
    pub start: Timestamp,
    /// First moment after it.
    pub end: Timestamp,
}

impl Slot {
    /// First moment of the arrival window.
    #[must_use]
    pub fn use_from(&self) -> Timestamp {
        self.start - ARRIVE_BEFORE
    }

    /// First moment after the arrival window, never at or past the end of the voucher's validity.
    #[must_use]
    pub fn use_by(&self, valid_until: Timestamp) -> Timestamp {
        let last = Timestamp::from_millis(valid_until.millis() - 1);
        (self.end + ARRIVE_AFTER).min(last)
    }
}

/// The opening of a booking: its digest stands in `Booked`, this goes point to point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BookingDetails {
    /// Random: without it the few possible slots could be tried.
    pub salt: [u8; 32],
    /// Which voucher.
    pub voucher: VoucherId,
    /// Which appointment.
    pub slot: Slot,
}

/// What was done, for the check that an examination is complete (unit H3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Examination {
    /// Who performed it.
    pub performer: ShortName,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// What was ordered.
    pub items: Vec<Item>,
}

/// One ordered item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Item {
    /// Its code in the hospital's catalogue.
    pub code: ShortName,
    /// Whether it is done.
    pub done: bool,
    /// The result in the hospital's words, kept apart from the ledger.
    pub result: Option<String>,
}

/// The opening of the evidence: its digest stands in `ExamCompleted`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// Random.
    pub salt: [u8; 32],
    /// Which voucher.
    pub voucher: VoucherId,
    /// The booked department.
    pub department: ShortName,
    /// What was done.
    pub examination: Examination,
}

/// Unit H3: whether an examination was completed as booked.
///
/// `performers` are those who work in the booked department; `arrived_at` is the use's own time.
///
/// # Errors
///
/// The first rule that is broken, each with its own reason.
pub fn check_examination(
    examination: &Examination,
    performers: &[ShortName],
    arrived_at: Timestamp,
    now: Timestamp,
) -> Result<(), Reason> {
    if !performers.contains(&examination.performer) {
        Err(Reason::PerformerElsewhere)
    } else if examination.started_at < arrived_at {
        Err(Reason::StartedBeforeArrival)
    } else if examination.ended_at < examination.started_at {
        Err(Reason::EndedBeforeStart)
    } else if examination.ended_at > now {
        Err(Reason::EndsInFuture)
    } else if examination.items.is_empty() || examination.items.len() > MAX_ITEMS {
        Err(Reason::EvidenceMissing)
    } else if examination.items.iter().any(|i| !i.done) {
        Err(Reason::ItemNotDone)
    } else if examination.items.iter().any(|i| i.result.as_ref().is_none_or(|r| r.trim().is_empty())) {
        Err(Reason::EvidenceMissing)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_examination_is_complete_or_says_what_is_missing() {
        let name = |t: &str| ShortName::new(t).unwrap();
        let at = |m: i64| Timestamp::from_millis(m * 60_000);
        let item = |done, result: Option<&str>| Item { code: name("ecg"), done, result: result.map(Into::into) };
        let good = || Examination {
            performer: name("gl-1"),
            started_at: at(10),
            ended_at: at(20),
            items: vec![item(true, Some("sinus rhythm"))],
        };
        type Change = fn(&mut Examination);
        let table: [(&str, Change, Result<(), Reason>); 9] = [
            ("as booked", |_| {}, Ok(())),
            ("another department", |e| e.performer = ShortName::new("zd-9").unwrap(), Err(Reason::PerformerElsewhere)),
            (
                "before arrival",
                |e| e.started_at = Timestamp::from_millis(4 * 60_000),
                Err(Reason::StartedBeforeArrival),
            ),
            ("backwards", |e| e.ended_at = Timestamp::from_millis(9 * 60_000), Err(Reason::EndedBeforeStart)),
            ("in the future", |e| e.ended_at = Timestamp::from_millis(31 * 60_000), Err(Reason::EndsInFuture)),
            ("nothing ordered", |e| e.items.clear(), Err(Reason::EvidenceMissing)),
            ("not done", |e| e.items[0].done = false, Err(Reason::ItemNotDone)),
            ("no result", |e| e.items[0].result = None, Err(Reason::EvidenceMissing)),
            ("empty result", |e| e.items[0].result = Some("  ".into()), Err(Reason::EvidenceMissing)),
        ];
        for (what, change, expected) in table {
            let mut examination = good();
            change(&mut examination);
            assert_eq!(check_examination(&examination, &[name("gl-1")], at(5), at(30)), expected, "{what}");
        }
    }
}
