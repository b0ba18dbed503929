//! Counting: what each step adds to the figures, so that figures are a pure function of logs.
//!
//! Conservation is counted from both ends: *transfers* say what went in and out of each institution's stock, *heads*
//! say who holds what now. The two must agree, and with what was generated, voided and redeemed.

use std::collections::BTreeMap;

use chrono::FixedOffset;
use serde::{Deserialize, Serialize};

use crate::custody::Link;
use crate::ids::{Digest, InstitutionId, RecordName};
use crate::lifecycle::{Stage, Step, Voucher};
use crate::time::Timestamp;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// `Generated`.
    Generated,
    /// `Sent`.
    Sent,
    /// `Issued`.
    Issued,
    /// `Booked`.
    BookingRequested,
    /// `BookingConfirmed`.
    Booked,
    /// `UseConfirmed`.
    Used,
    /// `UseConfirmed` with the printed card.
    UsedAssisted,
    /// `ExamCompleted`.
    Examined,
    /// `RedemptionClaimed`.
    Claimed,
    /// `ClaimRejected`.
    Rejected,
    /// `Redeemed`.
    Redeemed,
    /// `Reversed`.
    Reversed,
    /// `Returned`.
    Returned,
    /// `Reclaimed`.
    Reclaimed,
    /// `Voided`.
    Voided,
}

/// One counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Counter {
    /// How often something happened on a day, in a programme, at a community, at a hospital.
    Event {
        /// Days since 1970-01-01 in the time zone of the statistics.
        day: i32,
        /// The programme.
        programme: RecordName,
        /// The community, once it is known.
        community: Option<InstitutionId>,
        /// The hospital, while there is one.
        hospital: Option<InstitutionId>,
        /// What happened.
        measure: Measure,
    },
    /// Vouchers that came into an institution's stock.
    TransferIn(RecordName, InstitutionId),
    /// Vouchers that left it.
    TransferOut(RecordName, InstitutionId),
    /// Vouchers that an institution holds now, by stage.
    Held(RecordName, InstitutionId, Stage),
    /// Vouchers that are settled now: redeemed or voided.
    Settled(RecordName, Stage),
    /// Vouchers that were generated.
    Generated(RecordName),
}

/// Figures for a period that anyone can recompute from the logs named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatisticsPublished {
    /// First moment of the period.
    pub from: Timestamp,
    /// First moment after it.
    pub until: Timestamp,
    /// The time zone by which days are counted, in minutes east of UTC.
    pub utc_offset_minutes: i16,
    /// How much of each log the figures cover.
    pub covers: Vec<Covered>,
    /// SHA-256 of the canonical bytes of the table (a list of [`Row`]), served under `/v1/issuer/statistics/{digest}`.
    pub table: Digest,
    /// Rows of the table.
    pub rows: u32,
    /// Sums over the table.
    pub totals: Vec<(Measure, u64)>,
}

/// How much of a log is covered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Covered {
    /// Whose log.
    pub institution: InstitutionId,
    /// Its size.
    pub size: u64,
    /// Its root at that size.
    pub root: Digest,
}

/// One line of a table of statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Row {
    /// Days since 1970-01-01.
    pub day: i32,
    /// The programme.
    pub programme: RecordName,
    /// The community.
    pub community: Option<InstitutionId>,
    /// The hospital.
    pub hospital: Option<InstitutionId>,
    /// What is counted.
    pub measure: Measure,
    /// How many.
    pub count: u64,
}

/// Changes of counters.
pub type Changes = BTreeMap<Counter, i64>;

const fn measure(step: &Step) -> Option<Measure> {
    Some(match step {
        Step::Generated { .. } => Measure::Generated,
        Step::Sent { .. } => Measure::Sent,
        Step::Issued { .. } => Measure::Issued,
        Step::Booked { .. } => Measure::BookingRequested,
        Step::BookingConfirmed => Measure::Booked,
        Step::UseConfirmed { .. } => Measure::Used,
        Step::ExamCompleted { .. } => Measure::Examined,
        Step::RedemptionClaimed { .. } => Measure::Claimed,
        Step::ClaimRejected { .. } => Measure::Rejected,
        Step::Redeemed => Measure::Redeemed,
        Step::Reversed { .. } => Measure::Reversed,
        Step::Returned { .. } => Measure::Returned,
        Step::Reclaimed { .. } => Measure::Reclaimed,
        Step::Voided { .. } => Measure::Voided,
        _ => return None,
    })
}

/// Where a step of a path leaves a voucher: all that counting needs of its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The programme.
    pub programme: RecordName,
    /// The stage.
    pub stage: Stage,
    /// Who holds it.
    pub custodian: Option<InstitutionId>,
    /// The community, once it is known.
    pub community: Option<InstitutionId>,
    /// The hospital, while there is one.
    pub hospital: Option<InstitutionId>,
}

impl From<&Voucher> for Standing {
    fn from(v: &Voucher) -> Self {
        let Voucher { programme, stage, custodian, community, .. } = *v;
        Self { programme, stage, custodian, community, hospital: v.hospital() }
    }
}

/// Adds what one step of a path contributes, times `sign` (+1 to count it, -1 to take it back).
fn count_step(
    changes: &mut Changes,
    link: &Link,
    before: Option<&Standing>,
    after: &Standing,
    offset: FixedOffset,
    sign: i64,
) {
    let mut add = |counter| *changes.entry(counter).or_insert(0) += sign;
    let programme = after.programme;
    let day = i32::try_from(link.at.day_at(offset).signed_duration_since(chrono::NaiveDate::default()).num_days())
        .unwrap_or(i32::MAX);
    // What a step takes away is still counted where it stood.
    let place = before.filter(|b| b.hospital.is_some() && after.hospital.is_none()).unwrap_or(after);
    let community = after.community.or_else(|| before.and_then(|b| b.community));
    let event = |measure| Counter::Event { day, programme, community, hospital: place.hospital, measure };
    if let Some(measure) = measure(&link.step) {
        add(event(measure));
    }
    if matches!(&link.step, Step::UseConfirmed { presentation, .. } if presentation.assisted.is_some()) {
        add(event(Measure::UsedAssisted));
    }
    if matches!(link.step, Step::Generated { .. }) {
        add(Counter::Generated(programme));
    }
    let from = before.and_then(|b| b.custodian);
    if from != after.custodian {
        if let Some(from) = from {
            add(Counter::TransferOut(programme, from));
        }
        if let Some(to) = after.custodian {
            add(Counter::TransferIn(programme, to));
        }
    }
}

/// Adds where the head of a path stands, times `sign`.
fn count_head(changes: &mut Changes, head: &Standing, sign: i64) {
    let counter = match head.custodian {
        Some(holder) => Counter::Held(head.programme, holder, head.stage),
        None => Counter::Settled(head.programme, head.stage),
    };
    *changes.entry(counter).or_insert(0) += sign;
}

/// What a voucher's path changes in the counters when it is replaced by another.
#[must_use]
pub fn difference(old: &[(&Link, Standing)], new: &[(&Link, Standing)], offset: FixedOffset) -> Changes {
    let common = old.iter().zip(new).take_while(|(a, b)| a.0.name == b.0.name && a.1 == b.1).count();
    let mut changes = Changes::new();
    for (path, sign) in [(old, -1), (new, 1)] {
        for i in common..path.len() {
            let before = i.checked_sub(1).map(|b| &path[b].1);
            count_step(&mut changes, path[i].0, before, &path[i].1, offset, sign);
        }
        if let Some((_, head)) = path.last() {
            count_head(&mut changes, head, sign);
        }
    }
    changes.retain(|_, change| *change != 0);
    changes
}

/// Stock counted from both ends, for one programme.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Conservation {
    /// Vouchers that `Generated` brought in.
    pub generated: i64,
    /// Vouchers voided, by their heads.
    pub voided: i64,
    /// Vouchers redeemed, by their heads.
    pub redeemed: i64,
    /// Each institution's stock by transfers in and out.
    pub stock_by_transfers: BTreeMap<InstitutionId, i64>,
    /// Each institution's stock by the vouchers' heads.
    pub stock_by_heads: BTreeMap<InstitutionId, i64>,
}

impl Conservation {
    /// Sums counters by programme.
    #[must_use]
    pub fn of(counters: impl IntoIterator<Item = (Counter, i64)>) -> BTreeMap<RecordName, Self> {
        let mut all: BTreeMap<RecordName, Self> = BTreeMap::new();
        for (counter, n) in counters {
            match counter {
                Counter::Event { .. } => {}
                Counter::Generated(p) => all.entry(p).or_default().generated += n,
                Counter::Settled(p, Stage::Redeemed) => all.entry(p).or_default().redeemed += n,
                Counter::Settled(p, _) => all.entry(p).or_default().voided += n,
                Counter::TransferIn(p, i) => *all.entry(p).or_default().stock_by_transfers.entry(i).or_default() += n,
                Counter::TransferOut(p, i) => *all.entry(p).or_default().stock_by_transfers.entry(i).or_default() -= n,
                Counter::Held(p, i, _) => *all.entry(p).or_default().stock_by_heads.entry(i).or_default() += n,
            }
        }
        for c in all.values_mut() {
            c.stock_by_transfers.retain(|_, n| *n != 0);
            c.stock_by_heads.retain(|_, n| *n != 0);
        }
        all
    }

    /// Whether what came in is what stands, was voided and was redeemed, counted from both ends.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.stock_by_transfers == self.stock_by_heads
            && self.generated == self.stock_by_heads.values().sum::<i64>() + self.voided + self.redeemed
    }
}
