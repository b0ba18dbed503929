//! What an auditor decides: which findings to write, each once.

use domain::ids::InstitutionId;
use domain::member::Role;
use domain::reasons::Reason;
use domain::record::{Body, Finding, FindingKind, Record};
use domain::time::{Millis, Timestamp};

use super::command::{Answer, Command};
use super::recount::Difference;
use super::rows::{self, Recounted};
use super::{findings, sightings, watch, weeks};
use crate::keys;
use crate::kv::{Space, Tx};
use crate::replica::Work;
use crate::writer::{Desk, Refused};

/// How often records that do not count are looked for.
pub(super) const EVERY: Millis = Millis::minutes(1);

pub(super) fn tick(work: &Work<'_>, now: Timestamp) -> Option<Command> {
    // A fork is not put off: the proof is here, and others still follow that log.
    if findings::forks(work).iter().any(|(id, _)| rows::is_new(&work.tx, &(FindingKind::Fork, id))) {
        return Some(Command::Watch);
    }
    if rows::next(&work.tx).0 <= now {
        return Some(Command::Audit);
    }
    let grown = |id| rows::watched(&work.tx, id) < work.cursor(id).next;
    let has_to = work.registry.members.keys().any(|id| grown(*id)) || weeks::due(work, now).is_some();
    has_to.then_some(Command::Watch)
}

pub(super) fn decide(desk: &mut Desk<'_>, command: Command) -> Result<Answer, Refused> {
    let findings = match command {
        Command::Audit => audit(desk)?,
        Command::Watch => watch(desk)?,
        Command::Recounted { issuer, index, difference } => {
            if desk.work.tx.get(Space::State, &keys::published(issuer, index)).is_none() {
                return Err(Refused::NotFound);
            }
            recounted(desk, issuer, index, difference)?
        }
    };
    Ok(Answer { findings })
}

fn write(desk: &mut Desk<'_>, finding: Finding) -> Result<usize, Refused> {
    desk.write(Role::Auditor, Body::Finding(finding))?;
    Ok(1)
}

/// Writes a finding with its evidence.
fn write_proved(desk: &mut Desk<'_>, mut finding: Finding, evidence: &[u8]) -> Result<usize, Refused> {
    finding.evidence = Some(rows::keep_evidence(&mut desk.work.tx, evidence));
    write(desk, finding)
}

fn audit(desk: &mut Desk<'_>) -> Result<usize, Refused> {
    let now = desk.now;
    let (_, from) = rows::next(&desk.work.tx);
    let round = findings::next_round(&desk.work, &from);
    let mut written = 0;
    for (finding, names) in round.findings {
        for name in &names {
            rows::report(&mut desk.work.tx, name, finding.kind);
        }
        written += write(desk, finding)?;
    }
    let (back_dated, is_through) = sightings::round(desk);
    for found in back_dated {
        written += write_proved(desk, found.finding, &found.evidence)?;
    }
    match round.next {
        Some(next) => {
            rows::set_next(&mut desk.work.tx, now, &next);
            return Ok(written);
        }
        None => rows::set_next(&mut desk.work.tx, if is_through { now + EVERY } else { now }, &[]),
    }
    for (programme, figures) in findings::not_conserved(&desk.work) {
        let day = now.day_at(desk.work.settings.offset).to_string();
        if rows::first_time(&mut desk.work.tx, &(FindingKind::NotConserved, programme, day)) {
            let (kind, institution) = (FindingKind::NotConserved, programme.institution);
            let records = vec![programme];
            let finding = Finding { kind, institution, voucher: None, records, count: 1, evidence: None };
            written += write_proved(desk, finding, &figures)?;
        }
    }
    Ok(written)
}

/// A fork was settled: another one of that log is another finding.
pub fn forget_fork(tx: &mut Tx<'_>, institution: InstitutionId) {
    rows::forget_once(tx, &(FindingKind::Fork, institution));
}

/// Publishes that a log has shown two histories, once: it is not followed any further, whatever else is found out about it.
fn forks(desk: &mut Desk<'_>) -> Result<usize, Refused> {
    let mut written = 0;
    for (institution, proof) in findings::forks(&desk.work) {
        if rows::first_time(&mut desk.work.tx, &(FindingKind::Fork, institution)) {
            let (kind, records) = (FindingKind::Fork, Vec::new());
            let finding = Finding { kind, institution, voucher: None, records, count: 1, evidence: None };
            written += write_proved(desk, finding, &proof)?;
        }
    }
    Ok(written)
}

fn watch(desk: &mut Desk<'_>) -> Result<usize, Refused> {
    let members: Vec<_> = desk.work.registry.members.keys().copied().collect();
    let (mut left, mut written) = (watch::ROUND, forks(desk)?);
    for institution in members {
        // What this round itself writes is read in the next one.
        let end = desk.work.cursor(institution).next;
        let mut next = rows::watched(&desk.work.tx, institution);
        let first = next;
        while next < end && left > 0 {
            left -= 1;
            let bytes = desk.work.tx.entry(institution, next);
            let record: Option<Record> = bytes.and_then(|b| ledger::record::decode_record(&b).ok());
            if let (Some(record), Some(name)) = (record, desk.work.name_at(institution, next)) {
                let found = watch::look(&desk.work, &record, name);
                weeks::count(desk, &record, &found);
                for finding in found {
                    if rows::first_time(&mut desk.work.tx, &(finding.kind, &finding.records)) {
                        written += write(desk, finding)?;
                    }
                }
            }
            next += 1;
        }
        if next != first {
            rows::set_watched(&mut desk.work.tx, institution, next);
        }
    }
    // With records left to read, a week would be judged by a part of it.
    while left > 0
        && let Some(week) = weeks::due(&desk.work, desk.now)
    {
        for found in weeks::judge(desk, week) {
            written += write_proved(desk, found.finding, &found.evidence)?;
        }
    }
    Ok(written)
}

fn recounted(
    desk: &mut Desk<'_>,
    issuer: InstitutionId,
    index: u64,
    difference: Option<Difference>,
) -> Result<usize, Refused> {
    let name = desk.work.name_at(issuer, index).ok_or(Reason::NotFound)?;
    let known = rows::recounted(&desk.work.tx, issuer, index);
    if known.is_some_and(|k| k.difference == difference) {
        return Ok(0);
    }
    let row = Recounted { at: desk.now, difference: difference.clone() };
    rows::set_recounted(&mut desk.work.tx, issuer, index, &row);
    let Some(difference) = difference else { return Ok(0) };
    let proof = serde_json::to_vec(&difference).map_err(|_| Reason::Internal)?;
    let kind = FindingKind::StatisticsDiffer;
    let finding = Finding { kind, institution: issuer, voucher: None, records: vec![name], count: 1, evidence: None };
    write_proved(desk, finding, &proof)
}
