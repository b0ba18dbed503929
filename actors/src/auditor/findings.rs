//! From records that do not count to findings: one per log and kind, with how many there are. Pure over the replica.

use std::collections::BTreeMap;

use domain::custody::named_in;
use domain::ids::{InstitutionId, RecordName};
use domain::lifecycle::Step;
use domain::reasons::Reason;
use domain::record::{Finding, FindingKind, MAX_NAMES};
use ledger::fork::Split;
use ledger::merkle::Hash;
use serde_json::json;

use super::rows;
use crate::keys;
use crate::kv::{Space, after_prefix, read};
use crate::replica::{Broken, Fork, VoucherDoc, Work, counters};

/// Broken records looked at in one round.
pub const ROUND: usize = 2_000;

/// A finding with its evidence.
pub(super) struct Proved {
    pub(super) finding: Finding,
    pub(super) evidence: Vec<u8>,
}

/// Findings of one round, and the records that they answer for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Round {
    /// What to write, by log and kind.
    pub findings: Vec<(Finding, Vec<RecordName>)>,
    /// Where the next round begins; none after the last broken record.
    pub next: Option<Vec<u8>>,
}

/// The next broken records that no finding tells of yet, from a row on.
#[must_use]
pub fn next_round(work: &Work<'_>, from: &[u8]) -> Round {
    let start = if from.is_empty() { vec![keys::BROKEN] } else { from.to_vec() };
    let rows = work.tx.range(Space::State, &start, &after_prefix(&[keys::BROKEN]), ROUND);
    let next = rows.last().filter(|_| rows.len() == ROUND).map(|(key, _)| [key.as_slice(), &[0]].concat());
    let mut groups: BTreeMap<(InstitutionId, FindingKind), Vec<RecordName>> = BTreeMap::new();
    for (_, value) in &rows {
        let (name, broken): (RecordName, Broken) = read(value);
        let (kind, whose) = kind_of(work, &name, &broken);
        if rows::reported(&work.tx, &name) != Some(kind) {
            groups.entry((whose, kind)).or_default().push(name);
        }
    }
    let findings = groups.into_iter().map(|((institution, kind), names)| {
        let voucher = match names.as_slice() {
            [one] => document(work, one).map(|(id, _)| id),
            _ => None,
        };
        let (records, count) = (names.iter().take(MAX_NAMES).copied().collect(), names.len() as u64);
        (Finding { kind, institution, voucher, records, count, evidence: None }, names)
    });
    Round { findings: findings.collect(), next }
}

fn document(work: &Work<'_>, name: &RecordName) -> Option<(domain::ids::VoucherId, VoucherDoc)> {
    use domain::record::Body;
    let bytes = work.tx.entry(name.institution, name.index)?;
    let record: domain::record::Record = ledger::record::decode_record(&bytes).ok()?;
    let id = match record.body {
        Body::Chain(chain) => chain.voucher,
        Body::Note(note) => note.voucher,
        _ => return None,
    };
    work.voucher(id).map(|doc| (id, doc))
}

/// What is wrong with a record that does not count, and whose act that was.
fn kind_of(work: &Work<'_>, name: &RecordName, broken: &Broken) -> (FindingKind, InstitutionId) {
    let kind = match broken {
        Broken::Unreadable => FindingKind::BadRecord,
        Broken::ClockWentBack => FindingKind::ClockWentBack,
        Broken::Rule(Reason::PresentationReplayed) => FindingKind::PresentationTwice,
        Broken::Rule(
            Reason::PresentationForged
            | Reason::PresentationMalformed
            | Reason::PresentationStale
            | Reason::PresentationElsewhere
            | Reason::PresentationOtherStep
            | Reason::PresentationOtherVoucher
            | Reason::CardNotAllowed
            | Reason::CardUnknown,
        ) => FindingKind::BadPresentation,
        Broken::Rule(Reason::Superseded) => return superseded(work, name),
        Broken::Rule(_) => FindingKind::RuleBroken,
    };
    (kind, name.institution)
}

/// A record that broke no rule by itself, and that another branch replaced: who is to answer for that?
fn superseded(work: &Work<'_>, name: &RecordName) -> (FindingKind, InstitutionId) {
    let Some((_, doc)) = document(work, name) else { return (FindingKind::RuleBroken, name.institution) };
    let Some(link) = doc.links.iter().find(|l| l.name == *name) else {
        return (FindingKind::RuleBroken, name.institution);
    };
    let siblings = || doc.links.iter().filter(|l| l.prev == link.prev && l.name != *name);
    if siblings().any(|l| l.name.institution == name.institution) {
        return (FindingKind::SecondSuccessor, name.institution);
    }
    // The issuer took the voucher back and held this very record when it did.
    let held = |l: &&domain::custody::Link| {
        named_in(&l.step).iter().any(|p| p.institution == name.institution && p.index >= name.index)
    };
    if let Some(taken) = siblings().filter(|l| matches!(l.step, Step::Reclaimed { .. })).find(held) {
        return (FindingKind::TakenBackWrongly, taken.name.institution);
    }
    (FindingKind::RuleBroken, name.institution)
}

/// Logs that have shown two histories, with what proves it to anyone as evidence: two signed heads, a size at which they have two
/// roots, and for each the proof that its root there leads to it ([`ledger::fork`]).
#[must_use]
pub fn forks(work: &Work<'_>) -> Vec<(InstitutionId, Vec<u8>)> {
    let lines = |proof: &[Hash]| proof.iter().map(Hash::to_base64).collect::<Vec<_>>();
    let proved = |id: &InstitutionId| {
        let Fork { held, offered, split, .. } = work.fork(*id)?;
        let Split { size, held: ours, offered: theirs } = split?;
        let json = json!({
            "held": held, "offered": offered, "size": size,
            "held_root": ours.root.to_base64(), "held_proof": lines(&ours.proof),
            "offered_root": theirs.root.to_base64(), "offered_proof": lines(&theirs.proof),
        });
        Some((*id, json.to_string().into_bytes()))
    };
    work.registry.members.keys().filter_map(proved).collect()
}

/// Programmes whose vouchers do not add up, with the figures as evidence.
#[must_use]
pub fn not_conserved(work: &Work<'_>) -> Vec<(RecordName, Vec<u8>)> {
    let all = domain::statistics::Conservation::of(counters(work));
    let bad = all.into_iter().filter(|(_, figures)| !figures.holds());
    bad.map(|(programme, figures)| (programme, serde_json::to_vec(&figures).unwrap_or_default())).collect()
}
