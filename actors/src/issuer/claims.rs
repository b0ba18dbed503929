//! Claims (units B5 and B6): openings received, each claim checked against the voucher's whole history, then settled
//! or rejected with its reason; and what corrects a settlement.
//!
//! That the holder was there, that the hospital held the voucher and that it is claimed once is the chain's business
//! and judged by the fold. What stands in the records only as digests is judged here.

use domain::booking::{MAX_ITEMS, check_examination};
use domain::duty::{Due, Duty};
use domain::ids::{InstitutionId, Operator, RecordName, VoucherId};
use domain::lifecycle::{
    ARRIVE_AFTER, ClaimReason, MAX_CLAIMS, Outcome, ReverseReason, Stage, Step, Voucher, wrong_stage,
};
use domain::member::Role;
use domain::policy::Policy;
use domain::reasons::Reason;
use domain::record::Note;
use domain::time::{Millis, Timestamp};

use super::command::{Answer, ClaimOutcome, Command, Openings};
use super::members::second_person;
use super::state::{self, ClaimRow, MAX_OPENINGS_BYTES};
use super::stock::own_voucher;
use crate::misbehave::misbehaves;
use crate::openings::digest_of;
use crate::replica::{Broken, VoucherDoc, Work};
use crate::role::Reaction;
use crate::writer::{Desk, Refused};

/// How long after a claim its openings may come.
pub const OPENING_GRACE: Millis = Millis::hours(1);

/// Longest words of an operator about a compensation, in bytes.
const MAX_WORDS_BYTES: usize = 500;

/// What the rules say about a claim.
enum Judgement {
    Good,
    Bad(ClaimReason),
    Waits(Timestamp),
    ForOperator,
}

/// Checks openings against the voucher's records and the programme's policy at the booking.
///
/// # Errors
///
/// The first rule that is broken, each with its own reason; in this order: digests, department, times, items.
pub fn check_claim(id: VoucherId, doc: &VoucherDoc, policy: &Policy, openings: &Openings) -> Result<(), ClaimReason> {
    let Openings { booking, evidence } = openings;
    let slot = &booking.slot;
    let exam = &evidence.examination;
    let booked = doc.state().and_then(|v| v.booking).ok_or(ClaimReason::Unfounded)?;
    let used = doc.last_on_path(|s| matches!(s, Step::UseConfirmed { .. })).ok_or(ClaimReason::Unfounded)?;
    let completed = doc.last_on_path(|s| matches!(s, Step::ExamCompleted { .. })).ok_or(ClaimReason::Unfounded)?;
    let Step::ExamCompleted { evidence: digest, .. } = &completed.step else { return Err(ClaimReason::Unfounded) };

    let same = booking.voucher == id && evidence.voucher == id && slot.hospital == booked.hospital;
    if digest_of(booking) != booked.details || digest_of(evidence) != *digest || !same {
        return Err(ClaimReason::OpeningDiffers);
    }
    if evidence.department != slot.department || !policy.departments.contains(&slot.department) {
        return Err(ClaimReason::DepartmentNotAllowed);
    }
    let window_fits =
        slot.start < slot.end && booked.use_from == slot.use_from() && booked.use_by <= slot.end + ARRIVE_AFTER;
    if !window_fits {
        return Err(ClaimReason::TimesDiffer);
    }
    // Who works where is the hospital's own knowledge (unit H3); everything else is checked again here.
    let performers = std::slice::from_ref(&exam.performer);
    check_examination(exam, performers, used.at, completed.at).map_err(|reason| match reason {
        Reason::PerformerElsewhere => ClaimReason::PerformerElsewhere,
        Reason::StartedBeforeArrival | Reason::EndedBeforeStart | Reason::EndsInFuture => ClaimReason::TimesDiffer,
        _ => ClaimReason::ItemNotDone,
    })
}

/// The openings that this issuer holds for a voucher's current examination.
#[must_use]
pub fn openings(work: &Work<'_>, id: VoucherId) -> Option<Openings> {
    let doc = work.voucher(id)?;
    let examination = doc.last_on_path(|s| matches!(s, Step::ExamCompleted { .. }))?.name;
    let row = state::load_claim(&work.tx, id)?;
    // Openings of an earlier examination are of no use after a reversal.
    (row.examination == examination).then_some(row.openings)
}

/// What the openings alone say: what an operator cannot overrule.
fn judge_openings(work: &Work<'_>, id: VoucherId, doc: &VoucherDoc, state: &Voucher) -> Result<(), ClaimReason> {
    let openings = openings(work, id).ok_or(ClaimReason::OpeningMissing)?;
    let booked = doc.last_on_path(|s| matches!(s, Step::Booked { .. })).ok_or(ClaimReason::Unfounded)?;
    let programme = work.programme(&state.programme).ok_or(ClaimReason::Unfounded)?;
    let policy = programme.in_force(booked.at).ok_or(ClaimReason::Unfounded)?;
    check_claim(id, doc, policy, &openings)
}

fn judge(work: &Work<'_>, id: VoucherId, doc: &VoucherDoc, state: &Voucher, now: Timestamp) -> Judgement {
    let notes = doc.notes_state();
    let claimed_at = doc.last_on_path(|s| matches!(s, Step::RedemptionClaimed { .. })).map(|l| l.at);
    let waits_until = claimed_at.map_or(now, |at| at + OPENING_GRACE);
    match judge_openings(work, id, doc, state) {
        Err(ClaimReason::OpeningMissing) if now < waits_until => Judgement::Waits(waits_until),
        Err(reason) => Judgement::Bad(reason),
        // The hospital is heard once; what it answers is for a person to weigh.
        Ok(()) if misbehaves("disputes-ignored") => Judgement::Good,
        Ok(()) if notes.disputed && state.claims == 1 => Judgement::Bad(ClaimReason::Disputed),
        Ok(()) if notes.disputed || notes.void_requested => Judgement::ForOperator,
        Ok(()) => Judgement::Good,
    }
}

pub(super) fn react(work: &Work<'_>, id: VoucherId, doc: &VoucherDoc, now: Timestamp) -> Reaction<Command> {
    let Some(state) = doc.state().filter(|v| v.stage == Stage::Claimed) else { return Reaction::Nothing };
    match judge(work, id, doc, state, now) {
        Judgement::Good | Judgement::Bad(_) => Reaction::Do(Command::AnswerClaim { voucher: id }),
        Judgement::Waits(at) => Reaction::Later(Due { blocker: work.settings.me, at, duty: Duty::Settle }),
        Judgement::ForOperator => Reaction::Nothing,
    }
}

/// Answers a claim by the rules, if they have an answer now.
pub(super) fn answer(desk: &mut Desk<'_>, id: VoucherId) -> Result<ClaimOutcome, Refused> {
    let (doc, state) = claimed(desk, id)?;
    match judge(&desk.work, id, &doc, &state, desk.now) {
        Judgement::Good => {
            desk.step(Role::Issuer, id, Step::Redeemed)?;
            Ok(ClaimOutcome::Redeemed)
        }
        Judgement::Bad(reason) => {
            desk.step(Role::Issuer, id, Step::ClaimRejected { reason, is_final: false })?;
            Ok(ClaimOutcome::Rejected(reason))
        }
        Judgement::Waits(_) => Ok(ClaimOutcome::Waiting),
        Judgement::ForOperator => Ok(ClaimOutcome::ForOperator),
    }
}

/// A voucher whose claim stands unanswered.
fn claimed(desk: &Desk<'_>, id: VoucherId) -> Result<(VoucherDoc, Voucher), Refused> {
    let (doc, state) = own_voucher(desk, id)?;
    match state.stage {
        Stage::Claimed => Ok((doc, state)),
        stage @ (Stage::Redeemed | Stage::Voided | Stage::Refused) => Err(wrong_stage(stage).into()),
        _ => Err(Reason::WrongState.into()),
    }
}

pub(super) fn receive(
    desk: &mut Desk<'_>,
    from: InstitutionId,
    id: VoucherId,
    openings: &Openings,
) -> Result<Answer, Refused> {
    let (doc, state) = own_voucher(desk, id).map_err(|refused| match refused.reason() {
        // Whether it is the heir of the voucher's issuer this node may hear after the hospital: the sender tries again.
        Reason::NotCustodian => Reason::Waiting.into(),
        _ => refused,
    })?;
    match state.stage {
        Stage::Examined | Stage::Claimed | Stage::Rejected => {}
        Stage::Redeemed | Stage::Voided | Stage::Refused => return Ok(Answer::Claim(ClaimOutcome::Answered)),
        // The record that these openings are for is still on its way: the sender tries again.
        _ => return Err(Refused::NotFound),
    }
    if state.hospital() != Some(from) {
        return Err(Reason::Forbidden.into());
    }
    if openings.evidence.examination.items.len() > MAX_ITEMS {
        return Err(Reason::TooLarge.into());
    }
    let completed = doc.last_on_path(|s| matches!(s, Step::ExamCompleted { .. })).ok_or(Refused::NotFound)?;
    let row = ClaimRow { examination: completed.name, openings: openings.clone() };
    let bytes = ledger::record::encode(&row).map_err(|_| Reason::TooLarge)?;
    if bytes.len() > MAX_OPENINGS_BYTES {
        return Err(Reason::TooLarge.into());
    }
    state::store_claim(desk, id, &bytes);
    if state.stage == Stage::Claimed {
        return answer(desk, id).map(Answer::Claim);
    }
    Ok(Answer::Claim(ClaimOutcome::Waiting))
}

pub(super) fn settle(desk: &mut Desk<'_>, id: VoucherId) -> Result<Answer, Refused> {
    let (doc, state) = claimed(desk, id)?;
    judge_openings(&desk.work, id, &doc, &state).map_err(|reason| match reason {
        ClaimReason::OpeningMissing => Reason::EvidenceMissing,
        ClaimReason::OpeningDiffers => Reason::OpeningDiffers,
        ClaimReason::DepartmentNotAllowed => Reason::DepartmentNotAllowed,
        ClaimReason::PerformerElsewhere => Reason::PerformerElsewhere,
        ClaimReason::ItemNotDone => Reason::ItemNotDone,
        ClaimReason::TimesDiffer | ClaimReason::Disputed | ClaimReason::Unfounded => Reason::ClaimUnfounded,
    })?;
    desk.step(Role::Issuer, id, Step::Redeemed)?;
    Ok(Answer::Claim(ClaimOutcome::Redeemed))
}

pub(super) fn reject(
    desk: &mut Desk<'_>,
    id: VoucherId,
    reason: ClaimReason,
    is_final: bool,
) -> Result<Answer, Refused> {
    let (_, state) = claimed(desk, id)?;
    let is_final = is_final || state.claims >= MAX_CLAIMS;
    desk.step(Role::Issuer, id, Step::ClaimRejected { reason, is_final })?;
    Ok(Answer::Claim(ClaimOutcome::Rejected(reason)))
}

pub(super) fn reverse(
    desk: &mut Desk<'_>,
    id: VoucherId,
    reason: ReverseReason,
    approver: Operator,
    void: bool,
) -> Result<Answer, Refused> {
    own_voucher(desk, id)?;
    second_person(desk, approver)?;
    desk.step(Role::Issuer, id, Step::Reversed { reason, approver, void })?;
    Ok(Answer::Written)
}

pub(super) fn resolve(
    desk: &mut Desk<'_>,
    id: VoucherId,
    outcome: Outcome,
    approver: Operator,
) -> Result<Answer, Refused> {
    own_voucher(desk, id)?;
    second_person(desk, approver)?;
    desk.step(Role::Issuer, id, Step::Resolved { outcome, approver })?;
    Ok(Answer::Written)
}

pub(super) fn compensate(
    desk: &mut Desk<'_>,
    id: VoucherId,
    superseded: RecordName,
    words: String,
    approver: Operator,
) -> Result<Answer, Refused> {
    let (doc, _) = own_voucher(desk, id)?;
    second_person(desk, approver)?;
    if words.len() > MAX_WORDS_BYTES {
        return Err(Reason::Malformed.into());
    }
    let paid = |n: &crate::replica::NoteEntry| matches!(n.note, Note::CompensationGranted { superseded: s, .. } if s == superseded);
    if doc.notes.iter().any(paid) {
        return Err(Reason::AlreadyRedeemed.into());
    }
    let a_use = doc.links.iter().any(|l| l.name == superseded && matches!(l.step, Step::UseConfirmed { .. }));
    let row = crate::keys::broken(superseded.institution, superseded.index);
    let verdict: Option<(RecordName, Broken)> = desk.work.tx.load(&row);
    // It broke no rule by itself: another branch stands. Who broke a rule is not paid.
    let honest = verdict == Some((superseded, Broken::Rule(Reason::Superseded)));
    if !a_use || !honest {
        return Err(Reason::ClaimUnfounded.into());
    }
    let name = desk.note(Role::Issuer, id, Note::CompensationGranted { superseded, approver })?;
    desk.work.tx.store_private(state::compensation(name.index), &words);
    Ok(Answer::Written)
}
