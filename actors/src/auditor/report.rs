//! The auditor's report: how every log, programme and published table stands here, now.

use std::collections::BTreeMap;

use domain::ids::{InstitutionId, RecordName};
use domain::lifecycle::Stage;
use domain::record::{Finding, FindingKind};
use domain::statistics::{Conservation, Counter, StatisticsPublished};
use domain::time::Timestamp;
use serde::Serialize;

use super::check::{self, By};
use super::recount::Difference;
use super::witness;
use crate::keys::{self, Parts};
use crate::kv::{Space, read};
use crate::misbehave::misbehaves;
use crate::receipts;
use crate::replica::{Broken, Work, counters};

/// How a log stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogVerdict {
    /// Every record in it counts, waits, or was lawfully superseded.
    Good,
    /// Some of its records broke a rule.
    RulesBroken,
    /// It has a record of a format that this node does not know: nothing past it is judged.
    UpgradeNeeded,
    /// It has shown two histories.
    Forked,
}

/// One log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogReport {
    /// Whose.
    pub institution: InstitutionId,
    /// How it stands.
    pub verdict: LogVerdict,
    /// Records folded.
    pub records: u64,
    /// The time of the last one.
    pub last_at: Timestamp,
    /// Records that do not count, by the code of the reason.
    pub not_counting: BTreeMap<String, u64>,
    /// The last size that two views of it have in common, if it forked.
    pub forked_at: Option<u64>,
    /// Findings about it, by all auditors.
    pub findings: BTreeMap<FindingKind, u64>,
    /// The newest head that auditors have cosigned, as far as it is known here: of another's log what this auditor has cosigned
    /// itself, of its own log what the others have.
    pub cosigned: Option<Cosigned>,
}

/// A head with good cosignatures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cosigned {
    /// Entries under it.
    pub size: u64,
    /// The auditors that have cosigned it, and when.
    pub by: By,
}

/// One programme.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProgrammeReport {
    /// The record that published it.
    pub programme: RecordName,
    /// Its short name, if it is known here.
    pub short: Option<String>,
    /// Whether what came in is what stands, was voided and was redeemed.
    pub holds: bool,
    /// The figures.
    pub figures: Conservation,
}

/// One published table of statistics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableReport {
    /// Who published it.
    pub issuer: InstitutionId,
    /// Where in its log.
    pub index: u64,
    /// First moment of its period.
    pub from: Timestamp,
    /// First moment after it.
    pub until: Timestamp,
    /// When it was counted again here; none if not yet.
    pub counted_at: Option<Timestamp>,
    /// What differed.
    pub difference: Option<Difference>,
}

/// How everything stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Nothing is wrong in any of the parts.
    pub good: bool,
    /// Each log.
    pub logs: Vec<LogReport>,
    /// Each programme.
    pub programmes: Vec<ProgrammeReport>,
    /// Each published table.
    pub tables: Vec<TableReport>,
    /// Vouchers by where they stand.
    pub vouchers: BTreeMap<Stage, i64>,
}

/// Findings in the order of logs and places, after a place: at most `limit`, of one auditor or all.
#[must_use]
pub fn findings(
    work: &Work<'_>,
    after: Option<(InstitutionId, u64)>,
    limit: usize,
) -> Vec<(InstitutionId, u64, Finding)> {
    let from = after.map_or_else(|| vec![keys::FINDING], |(by, index)| [keys::finding(by, index), vec![0]].concat());
    let rows = work.tx.range(Space::State, &from, &crate::kv::after_prefix(&[keys::FINDING]), limit);
    let found = rows.iter().filter_map(|(key, value)| {
        let mut parts = Parts(key.get(1..)?);
        Some((parts.institution()?, parts.number()?, read(value)))
    });
    found.collect()
}

fn code(broken: &Broken) -> String {
    match broken {
        Broken::Unreadable => "unreadable".to_owned(),
        Broken::ClockWentBack => "clock-went-back".to_owned(),
        Broken::Rule(reason) => reason.code().to_owned(),
    }
}

/// What stands behind a log beside its own signature.
fn cosigned(work: &Work<'_>, institution: InstitutionId) -> Option<Cosigned> {
    let note = if institution == work.settings.me {
        receipts::kept_in(&work.tx).map(|kept| kept.note())
    } else {
        let origin = &work.registry.member(institution)?.entry.origin;
        witness::cosigned(work, witness::digest_of(origin)).map(|cosigned| cosigned.note)
    };
    let (size, by) = check::cosigned(work, &note?)?;
    (!by.is_empty()).then_some(Cosigned { size, by })
}

/// Reports how everything stands. It reads every row of records that do not count, and no voucher.
#[must_use]
pub fn report(work: &Work<'_>) -> Report {
    let mut found: BTreeMap<InstitutionId, BTreeMap<FindingKind, u64>> = BTreeMap::new();
    for (_, _, finding) in findings(work, None, usize::MAX) {
        let n = found.entry(finding.institution).or_default().entry(finding.kind).or_default();
        *n = n.saturating_add(finding.count);
    }
    let mut broken: BTreeMap<InstitutionId, BTreeMap<String, u64>> = BTreeMap::new();
    for (_, value) in work.tx.prefix(Space::State, &[keys::BROKEN], usize::MAX) {
        let (name, why): (RecordName, Broken) = read(&value);
        *broken.entry(name.institution).or_default().entry(code(&why)).or_default() += 1;
    }
    let mut logs: Vec<LogReport> = work
        .registry
        .members
        .keys()
        .map(|id| {
            let cursor = work.cursor(*id);
            let forked_at = work.fork(*id).map(|fork| fork.common_size);
            let not_counting = broken.remove(id).unwrap_or_default();
            let superseded = domain::reasons::Reason::Superseded.code();
            let verdict = if forked_at.is_some() {
                LogVerdict::Forked
            } else if cursor.upgrade_needed {
                LogVerdict::UpgradeNeeded
            } else if not_counting.keys().any(|code| code != superseded) {
                LogVerdict::RulesBroken
            } else {
                LogVerdict::Good
            };
            LogReport {
                institution: *id,
                verdict,
                records: cursor.next,
                last_at: cursor.last_at,
                not_counting,
                forked_at,
                findings: found.remove(id).unwrap_or_default(),
                cosigned: cosigned(work, *id),
            }
        })
        .collect();

    if misbehaves("auditor-overlooks-a-log") {
        logs.pop();
    }

    let mut counters = counters(work);
    if misbehaves("auditor-miscounts") {
        counters.retain(|(counter, _)| !matches!(counter, Counter::Settled(_, Stage::Redeemed)));
    }
    let mut vouchers: BTreeMap<Stage, i64> = BTreeMap::new();
    for (counter, n) in &counters {
        if let Counter::Held(_, _, stage) | Counter::Settled(_, stage) = counter {
            *vouchers.entry(*stage).or_default() += n;
        }
    }
    let programmes: Vec<ProgrammeReport> = Conservation::of(counters)
        .into_iter()
        .map(|(programme, figures)| {
            let policy = work.programme(&programme).and_then(|p| p.newest().map(|p| p.programme.to_string()));
            ProgrammeReport { programme, short: policy, holds: figures.holds(), figures }
        })
        .collect();
    let tables = tables(work);
    let good = logs.iter().all(|l| l.verdict == LogVerdict::Good)
        && programmes.iter().all(|p| p.holds)
        && tables.iter().all(|t| t.difference.is_none());
    Report { good, logs, programmes, tables, vouchers }
}

fn tables(work: &Work<'_>) -> Vec<TableReport> {
    let rows = work.tx.prefix(Space::State, &[keys::PUBLISHED], usize::MAX);
    let found = rows.iter().filter_map(|(key, value)| {
        let mut parts = Parts(key.get(1..)?);
        let (issuer, index) = (parts.institution()?, parts.number()?);
        let StatisticsPublished { from, until, .. } = read(value);
        let again = super::recounted(&work.tx, issuer, index);
        let counted_at = again.as_ref().map(|again| again.at);
        Some(TableReport { issuer, index, from, until, counted_at, difference: again.and_then(|a| a.difference) })
    });
    found.collect()
}
