//! What no rule forbids and somebody must look at: denied uses, one holder at two hospitals at once, what was settled before a
//! change became known, uses after a block, examinations before issue. Each log is read once, record by record.

use domain::custody::{Link, presentation_of};
use domain::holder::{EnrolmentChange, RegistrarEvent};
use domain::ids::{InstitutionId, RecordName, VoucherId};
use domain::lifecycle::Step;
use domain::member::Horizon;
use domain::record::{Body, Finding, FindingKind, Note, Record};
use domain::time::Timestamp;

use super::sightings::TOLERANCE;
use crate::replica::{VoucherDoc, Work};

/// Records read in one round.
pub const ROUND: usize = 512;

/// Most records behind a line, and vouchers of an enrolment, that are looked at again when it is drawn.
const BEHIND_A_LINE: u64 = 10_000;

/// What one record gives to look at.
#[must_use]
pub fn look(work: &Work<'_>, record: &Record, name: RecordName) -> Vec<Finding> {
    match &record.body {
        Body::Note(note) if matches!(note.note, Note::UseDisputed { .. }) => disputed(work, note.voucher, name),
        Body::Chain(chain) => {
            let Some(doc) = work.voucher(chain.voucher) else { return Vec::new() };
            let mut found = settled_before_known(work, chain.voucher, &doc);
            found.extend(used_after_block(work, chain.voucher, &doc));
            found.extend(examined_before_issue(chain.voucher, &doc));
            if matches!(chain.step, Step::UseConfirmed { .. } | Step::ExamCompleted { .. } | Step::UseAborted { .. }) {
                found.extend(two_places(work, chain.voucher, &doc));
            }
            found
        }
        Body::Registrar(event) => {
            let vouchers = match event {
                RegistrarEvent::EnrolmentBlocked { enrolment, .. }
                | RegistrarEvent::EnrolmentKeyChanged { enrolment, .. } => work.of_enrolment(enrolment),
                RegistrarEvent::MemberSuspended { institution, from, .. }
                | RegistrarEvent::MemberRevoked { institution, from, .. }
                | RegistrarEvent::KeyRotated { institution, from, .. }
                | RegistrarEvent::LogFrozen { institution, size: from, .. }
                | RegistrarEvent::LogSucceeded { institution, size: from, .. }
                | RegistrarEvent::IssuerSucceeded { issuer: institution, from, .. } => {
                    behind(work, *institution, *from)
                }
                _ => Vec::new(),
            };
            let docs = vouchers.into_iter().filter_map(|id| work.voucher(id).map(|doc| (id, doc)));
            let again = |(id, doc): (VoucherId, VoucherDoc)| {
                let mut found = settled_before_known(work, id, &doc);
                found.extend(used_after_block(work, id, &doc));
                found
            };
            docs.flat_map(again).collect()
        }
        _ => Vec::new(),
    }
}

fn behind(work: &Work<'_>, institution: InstitutionId, from: u64) -> Vec<VoucherId> {
    let end = work.cursor(institution).next.min(from.saturating_add(BEHIND_A_LINE));
    let mut vouchers = std::collections::BTreeSet::new();
    for index in from..end {
        let Some(bytes) = work.tx.entry(institution, index) else { continue };
        if let Ok(Record { body: Body::Chain(chain), .. }) = ledger::record::decode_record(&bytes) {
            vouchers.insert(chain.voucher);
        }
    }
    vouchers.into_iter().collect()
}

fn disputed(work: &Work<'_>, voucher: VoucherId, name: RecordName) -> Vec<Finding> {
    let Some(doc) = work.voucher(voucher) else { return Vec::new() };
    let proved = doc.notes.iter().any(|n| n.name == name && n.proved);
    let used = doc.last_on_path(|s| matches!(s, Step::UseConfirmed { .. }));
    let Some(used) = used.filter(|_| proved) else { return Vec::new() };
    vec![Finding {
        kind: FindingKind::UseDisputed,
        institution: used.name.institution,
        voucher: Some(voucher),
        records: vec![used.name, name],
        count: 1,
        evidence: None,
    }]
}

/// Records that count because the issuer settled on them before it knew of a change that would have stopped them.
fn settled_before_known(work: &Work<'_>, voucher: VoucherId, doc: &VoucherDoc) -> Vec<Finding> {
    let late = |link: &&Link| {
        let author = link.name.institution;
        let registry = &work.registry;
        let position = link.registrar.index;
        !registry.author_counts(author, link.role, link.name.index, Horizon::ALL)
            || registry.is_stale(author, position, link.at, Horizon::ALL)
            || presentation_of(&link.step).is_some()
                && doc
                    .state()
                    .and_then(|v| v.enrolment)
                    .and_then(|e| work.enrolment(&e))
                    .is_some_and(|e| e.is_stale(position, link.at, Horizon::ALL))
    };
    let found = doc.path().filter(late).map(|link| Finding {
        kind: FindingKind::SettledBeforeKnown,
        institution: link.name.institution,
        voucher: Some(voucher),
        records: vec![link.name],
        count: 1,
        evidence: None,
    });
    found.collect()
}

/// Uses that count although the holder was blocked before them, by the times of both records: the hospital had not heard of it, or
/// says so. What came later than a block takes to act is [`settled_before_known`], or does not count.
fn used_after_block(work: &Work<'_>, voucher: VoucherId, doc: &VoucherDoc) -> Vec<Finding> {
    let enrolment = doc.state().and_then(|v| v.enrolment).and_then(|e| work.enrolment(&e));
    let Some(enrolment) = enrolment else { return Vec::new() };
    let block = enrolment.history.iter().find(|(_, _, change)| matches!(change, EnrolmentChange::Blocked(_)));
    let Some((index, since, _)) = block else { return Vec::new() };
    let Some(block) = work.name_at(enrolment.name.institution, *index) else { return Vec::new() };
    let is_after = |link: &&Link| {
        matches!(link.step, Step::UseConfirmed { .. })
            && link.at > *since
            && !enrolment.is_stale(link.registrar.index, link.at, Horizon::ALL)
    };
    let found = doc.path().filter(is_after).map(|link| Finding {
        kind: FindingKind::UsedAfterBlock,
        institution: link.name.institution,
        voucher: Some(voucher),
        records: vec![link.name, block],
        count: 1,
        evidence: None,
    });
    found.collect()
}

/// Uses and examinations on a voucher's path that are dated before it was issued, by more than lawful clocks can be apart.
fn examined_before_issue(voucher: VoucherId, doc: &VoucherDoc) -> Vec<Finding> {
    let (mut issued, mut found) = (None, Vec::new());
    for link in doc.path() {
        match (&link.step, issued) {
            (Step::Issued { .. }, _) => issued = Some((link.name, link.at)),
            (Step::UseConfirmed { .. } | Step::ExamCompleted { .. }, Some((issue, at))) if link.at + TOLERANCE < at => {
                found.push(Finding {
                    kind: FindingKind::ExaminedBeforeIssue,
                    institution: link.name.institution,
                    voucher: Some(voucher),
                    records: vec![issue, link.name],
                    count: 1,
                    evidence: None,
                });
            }
            _ => {}
        }
    }
    found
}

/// A stay at a hospital: from the use to its end, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stay {
    /// Where.
    pub hospital: InstitutionId,
    /// The use.
    pub used: RecordName,
    /// When it began.
    pub from: Timestamp,
    /// When it ended; the same as `from` while nobody knows.
    pub until: Timestamp,
}

/// The stays for which a voucher's path tells of a use.
#[must_use]
pub fn stays(doc: &VoucherDoc) -> Vec<Stay> {
    let mut found: Vec<Stay> = Vec::new();
    for link in doc.path() {
        match &link.step {
            Step::UseConfirmed { .. } => {
                let (hospital, used) = (link.name.institution, link.name);
                found.push(Stay { hospital, used, from: link.at, until: link.at });
            }
            Step::ExamCompleted { .. } | Step::UseAborted { .. } => {
                if let Some(stay) = found.last_mut() {
                    stay.until = link.at;
                }
            }
            _ => {}
        }
    }
    found
}

/// Whether two stays cannot both be: at different hospitals at one time.
#[must_use]
pub fn overlap(a: &Stay, b: &Stay) -> bool {
    a.hospital != b.hospital && a.from <= b.until && b.from <= a.until
}

fn two_places(work: &Work<'_>, voucher: VoucherId, doc: &VoucherDoc) -> Vec<Finding> {
    let Some(enrolment) = doc.state().and_then(|v| v.enrolment) else { return Vec::new() };
    let here = stays(doc);
    let others = work.of_enrolment(&enrolment).into_iter().filter(|id| *id != voucher);
    let mut found = Vec::new();
    for there in others.filter_map(|id| work.voucher(id)).flat_map(|doc| stays(&doc)) {
        for stay in here.iter().filter(|stay| overlap(stay, &there)) {
            let mut records = vec![stay.used, there.used];
            records.sort_unstable();
            found.push(Finding {
                kind: FindingKind::OverlappingPresence,
                institution: records[0].institution,
                voucher: None,
                records,
                count: 1,
                evidence: None,
            });
        }
    }
    found
}
