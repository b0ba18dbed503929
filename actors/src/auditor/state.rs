//! What an auditor decides: which findings to write, each once.

use domain::member::Role;
use domain::reasons::Reason;
use domain::record::{Body, Finding, FindingKind, Record};
use domain::time::{Millis, Timestamp};

use super::command::{Answer, Command};
use super::recount::Difference;
use super::rows::{self, Recounted};
use super::{findings, watch};
use crate::keys;
use crate::kv::Space;
use crate::replica::Work;
use crate::writer::{Desk, Refused};

/// How often records that do not count are looked for.
pub(super) const EVERY: Millis = Millis::minutes(1);

pub(super) fn tick(work: &Work<'_>, now: Timestamp) -> Option<Command> {
    // A fork is not put off: the proof is here, and others still follow that log.
    if findings::forks(work).iter().any(|(_, proof)| rows::is_new(&work.tx, &(FindingKind::Fork, proof))) {
        return Some(Command::Watch);
    }
    if rows::next(&work.tx).0 <= now {
        return Some(Command::Audit);
    }
    let grown = |id| rows::watched(&work.tx, id) < work.cursor(id).next;
    work.registry.members.keys().any(|id| grown(*id)).then_some(Command::Watch)
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
    match round.next {
        Some(next) => {
            rows::set_next(&mut desk.work.tx, now, &next);
            return Ok(written);
        }
        None => rows::set_next(&mut desk.work.tx, now + EVERY, &[]),
    }
    for (programme, figures) in findings::not_conserved(&desk.work) {
        let day = now.day_at(desk.work.settings.offset).to_string();
        if rows::first_time(&mut desk.work.tx, &(FindingKind::NotConserved, programme, day)) {
            let evidence = Some(rows::keep_evidence(&mut desk.work.tx, &figures));
            let (kind, institution) = (FindingKind::NotConserved, programme.institution);
            let records = vec![programme];
            written += write(desk, Finding { kind, institution, voucher: None, records, count: 1, evidence })?;
        }
    }
    Ok(written)
}

/// Publishes each proof that a log has shown two histories.
fn forks(desk: &mut Desk<'_>) -> Result<usize, Refused> {
    let mut written = 0;
    for (institution, proof) in findings::forks(&desk.work) {
        if rows::first_time(&mut desk.work.tx, &(FindingKind::Fork, &proof)) {
            let evidence = Some(rows::keep_evidence(&mut desk.work.tx, &proof));
            let (kind, records) = (FindingKind::Fork, Vec::new());
            written += write(desk, Finding { kind, institution, voucher: None, records, count: 1, evidence })?;
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
                for finding in watch::look(&desk.work, &record, name) {
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
    Ok(written)
}

fn recounted(
    desk: &mut Desk<'_>,
    issuer: domain::ids::InstitutionId,
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
    let evidence = Some(rows::keep_evidence(&mut desk.work.tx, &proof));
    let kind = FindingKind::StatisticsDiffer;
    write(desk, Finding { kind, institution: issuer, voucher: None, records: vec![name], count: 1, evidence })
}
