//! What institutions did in a week, counted record by record as the logs are read, and compared when the week is over.
//!
//! Counted is what a log says, whether it counts for a voucher or not: so everybody can count the same again from the logs up to the
//! sizes that the evidence names, without folding anything. A week goes from Monday to Sunday in the time zone of the federation. It
//! is complete once every log has a record of a later time, since `at` never goes back; who is silent is waited for a day.

use std::collections::BTreeMap;

use domain::ids::InstitutionId;
use domain::lifecycle::Step;
use domain::member::Role;
use domain::record::{Body, Finding, FindingKind, Note, Record};
use domain::time::{Millis, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::findings::Proved;
use super::outliers::{self, LEAST_CASES, Share};
use super::rows;
use crate::replica::Work;
use crate::writer::Desk;

/// How long a log that says nothing is waited for after the end of a week: as long as a silent custodian is before a use.
const SILENT: Millis = Millis::hours(24);

/// Oldest weeks that are counted: an auditor that was away so long begins anew, and what is kept stays small.
const MOST_WEEKS: u64 = 8;

/// An institution that signs more than this part of its presentations with printed cards is told of, in hundredths: the card is for
/// who has no phone, and above a half the exception has become the rule.
pub const CARDS_PER_CENT: u64 = 50;

/// 1970-01-01 was a Thursday, three days after a Monday.
const DAYS_SINCE_MONDAY: i64 = 3;

/// What is counted of an institution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tally {
    /// `BookingConfirmed` by a hospital.
    Confirmed,
    /// `NoShow` by a hospital.
    NoShow,
    /// `UseConfirmed` by a hospital.
    Used,
    /// `UseConfirmed` by a hospital, with a printed card.
    UsedWithCard,
    /// `UseAborted` by a hospital.
    Aborted,
    /// `UseDisputed` by a holder's module, with the holder's signature, about a hospital's use.
    Disputed,
    /// `RedemptionClaimed` by a hospital.
    Claimed,
    /// `ClaimRejected` by an issuer, of a hospital's claim.
    Rejected,
    /// `Redeemed` by an issuer, on a hospital's claim.
    Redeemed,
    /// `Issued` by a community.
    Issued,
    /// `Issued` by a community, with a printed card.
    IssuedWithCard,
}

/// Shares in which hospitals are compared: the count, and of what. Not the number of redemptions by itself: a large house would be
/// far from the others every week.
const COMPARED: [(Tally, Tally); 5] = [
    (Tally::NoShow, Tally::Confirmed),
    (Tally::Aborted, Tally::Used),
    (Tally::Disputed, Tally::Used),
    (Tally::Rejected, Tally::Claimed),
    (Tally::Redeemed, Tally::Confirmed),
];

/// Shares of printed cards, which are published by themselves (protocol section 3).
const CARDS: [(Tally, Tally); 2] = [(Tally::UsedWithCard, Tally::Used), (Tally::IssuedWithCard, Tally::Issued)];

/// What has been counted of one week.
type Tallies = BTreeMap<(InstitutionId, Tally), u64>;

/// What a record adds, beside what the holder denies.
fn of_record(record: &Record) -> Vec<(InstitutionId, Tally)> {
    let by = record.institution;
    let chain = match &record.body {
        Body::Chain(chain) => chain,
        Body::Note(note) if note.note == Note::NoShow => return vec![(by, Tally::NoShow)],
        _ => return Vec::new(),
    };
    // An issuer settles what the hospital's record before says.
    let hospital = chain.prev.map_or(by, |prev| prev.institution);
    match &chain.step {
        Step::BookingConfirmed => vec![(by, Tally::Confirmed)],
        Step::UseConfirmed { presentation, .. } if presentation.assisted.is_some() => {
            vec![(by, Tally::Used), (by, Tally::UsedWithCard)]
        }
        Step::UseConfirmed { .. } => vec![(by, Tally::Used)],
        Step::UseAborted { .. } => vec![(by, Tally::Aborted)],
        Step::RedemptionClaimed { .. } => vec![(by, Tally::Claimed)],
        Step::ClaimRejected { .. } => vec![(hospital, Tally::Rejected)],
        Step::Redeemed => vec![(hospital, Tally::Redeemed)],
        Step::Issued { presentation, .. } if presentation.assisted.is_some() => {
            vec![(by, Tally::Issued), (by, Tally::IssuedWithCard)]
        }
        Step::Issued { .. } => vec![(by, Tally::Issued)],
        _ => Vec::new(),
    }
}

/// Counts a record, with what was found about it.
pub(super) fn count(desk: &mut Desk<'_>, record: &Record, found: &[Finding]) {
    let denied = found.iter().filter(|f| f.kind == FindingKind::UseDisputed).map(|f| (f.institution, Tally::Disputed));
    let mut added = of_record(record);
    added.extend(denied);
    added.retain(|(institution, _)| desk.work.registry.member(*institution).is_some());
    if added.is_empty() {
        return;
    }
    let week = week_of(&desk.work, record.at);
    if week < first_kept(&desk.work, desk.now) {
        return;
    }
    for (institution, tally) in added {
        rows::add_to_tally(&mut desk.work.tx, week, institution, tally);
    }
}

/// The number of a time's week.
fn week_of(work: &Work<'_>, at: Timestamp) -> u64 {
    let day = at.day_at(work.settings.offset).signed_duration_since(chrono::NaiveDate::default()).num_days();
    u64::try_from((day + DAYS_SINCE_MONDAY).div_euclid(7)).unwrap_or_default()
}

/// First moment of a week.
fn begin_of(work: &Work<'_>, week: u64) -> Timestamp {
    let days = i64::try_from(week).unwrap_or_default().saturating_mul(7).saturating_sub(DAYS_SINCE_MONDAY);
    let midnight = days.saturating_mul(Millis::days(1).0);
    let east = Millis::secs(i64::from(work.settings.offset.local_minus_utc()));
    Timestamp::from_millis(midnight.saturating_sub(east.0))
}

/// The first week that is not judged yet and not too long ago.
fn first_kept(work: &Work<'_>, now: Timestamp) -> u64 {
    let oldest = week_of(work, now).saturating_sub(MOST_WEEKS);
    rows::week_judged(&work.tx).map_or(oldest, |judged| oldest.max(judged.saturating_add(1)))
}

/// The next week that can be judged: it is over, and every log has gone past it or is silent.
pub(super) fn due(work: &Work<'_>, now: Timestamp) -> Option<u64> {
    let week = first_kept(work, now);
    let end = begin_of(work, week.saturating_add(1));
    if now < end {
        return None;
    }
    let has_passed = |id: &InstitutionId| work.cursor(*id).last_at >= end;
    let is_complete = now >= end + SILENT || work.registry.members.keys().all(has_passed);
    is_complete.then_some(week)
}

/// Judges a week of which all logs are read, and forgets what was counted of it.
pub(super) fn judge(desk: &mut Desk<'_>, week: u64) -> Vec<Proved> {
    let tallies = rows::tallies(&desk.work.tx, week);
    let found = patterns(&desk.work, week, &tallies);
    rows::set_week_judged(&mut desk.work.tx, week);
    found
}

fn patterns(work: &Work<'_>, week: u64, tallies: &Tallies) -> Vec<Proved> {
    let share = |institution, (count, of): (Tally, Tally)| {
        let n = |tally| tallies.get(&(institution, tally)).copied().unwrap_or_default();
        Share { count: n(count), of: n(of) }
    };
    let of_enough = |roles: &[Role], tallies: (Tally, Tally)| {
        let members = work.registry.members.keys().copied();
        let playing = |id: &InstitutionId| roles.iter().any(|role| plays(work, *id, *role));
        let shares = members.filter(playing).map(|id| (id, share(id, tallies)));
        shares.filter(|(_, share)| share.of >= LEAST_CASES).collect::<Vec<_>>()
    };
    let frame = |(count, of): (Tally, Tally), shares: &[(InstitutionId, Share)]| {
        let covers: Vec<_> = work.registry.members.keys().map(|id| (*id, rows::watched(&work.tx, *id))).collect();
        json!({
            "from": begin_of(work, week), "until": begin_of(work, week + 1),
            "utc_offset_minutes": work.settings.offset.local_minus_utc() / 60,
            "counted": count, "of": of, "least_cases": LEAST_CASES,
            "shares": shares.iter().map(|(id, share)| (id, share.count, share.of)).collect::<Vec<_>>(),
            "covers": covers,
        })
    };
    let mut found = Vec::new();
    for tallies in COMPARED {
        let shares = of_enough(&[Role::Hospital], tallies);
        let only: Vec<_> = shares.iter().map(|(_, share)| *share).collect();
        let Some(compared) = outliers::compare(&only) else { continue };
        let mut evidence = frame(tallies, &shares);
        if let Value::Object(fields) = &mut evidence {
            fields.insert("compared".to_owned(), json!(compared));
        }
        let outlying = compared.above.iter().filter_map(|place| shares.get(*place));
        found.extend(outlying.map(|(id, share)| pattern(FindingKind::OutlierHospital, *id, share.count, &evidence)));
    }
    for tallies in CARDS {
        let shares = of_enough(&[Role::Hospital, Role::Community], tallies);
        let mut evidence = frame(tallies, &shares);
        if let Value::Object(fields) = &mut evidence {
            fields.insert("more_than_per_cent".to_owned(), json!(CARDS_PER_CENT));
        }
        let many = |share: &Share| u128::from(share.count) * 100 > u128::from(share.of) * u128::from(CARDS_PER_CENT);
        let above = shares.iter().filter(|(_, share)| many(share));
        found.extend(above.map(|(id, share)| pattern(FindingKind::AssistedShare, *id, share.count, &evidence)));
    }
    found
}

fn plays(work: &Work<'_>, institution: InstitutionId, role: Role) -> bool {
    work.registry.playing(role).any(|member| member.entry.institution == institution)
}

fn pattern(kind: FindingKind, institution: InstitutionId, count: u64, evidence: &Value) -> Proved {
    let finding = Finding { kind, institution, voucher: None, records: Vec::new(), count, evidence: None };
    Proved { finding, evidence: evidence.to_string().into_bytes() }
}
