//! Stock: programmes, generation, sending and voiding (units B2, B3, B4), and taking back from who is silent.

use domain::duty::{Due, Duty};
use domain::ids::{InstitutionId, RecordName, ShortName, VoucherId};
use domain::lifecycle::{ReclaimReason, Stage, Step, VoidCause, Voucher, wrong_stage};
use domain::member::Role;
use domain::policy::{Policy, Programme, ProgrammeEvent};
use domain::reasons::Reason;
use domain::record::{Body, Note, Record, VoidReason};
use domain::time::{Millis, Timestamp};
use uuid::Uuid;

use super::command::{Answer, Command};
use super::holders::check_member;
use crate::replica::{VoucherDoc, Work};
use crate::role::Reaction;
use crate::writer::{Desk, Refused};

/// Most vouchers in one transaction.
pub const MAX_CHUNK: usize = 250;

/// Bytes at the beginning of an id that all vouchers of a batch share.
const BATCH_BYTES: usize = 6;

/// How far back in a log a record is looked for that can be read and is late enough.
const LOOK_BACK: u64 = 64;

/// When a reclaim that is not allowed yet is looked at again.
const RECLAIM_AGAIN: Millis = Millis::hours(1);

pub(super) fn publish_programme(desk: &mut Desk<'_>, policy: Policy) -> Result<Answer, Refused> {
    policy.check_new().map_err(|_| Reason::Malformed)?;
    desk.write(Role::Issuer, Body::Programme(ProgrammeEvent::Published(policy))).map(|_| Answer::Written)
}

pub(super) fn change_programme(desk: &mut Desk<'_>, short: &ShortName, policy: Policy) -> Result<Answer, Refused> {
    let programme = own_programme(desk, short)?.name;
    if policy.check_new().is_err() || policy.programme != *short {
        return Err(Reason::Malformed.into());
    }
    let event = ProgrammeEvent::Changed { programme, policy };
    desk.write(Role::Issuer, Body::Programme(event)).map(|_| Answer::Written)
}

fn own_programme(desk: &Desk<'_>, short: &ShortName) -> Result<Programme, Refused> {
    desk.work.programme_named(desk.me(), short.as_str()).ok_or(Reason::ProgrammeUnknown.into())
}

/// Ids for a batch of vouchers, out of random bytes: UUIDs of version 8 (RFC 9562) that share their first 48 bits.
///
/// So a batch lies together in the store of every node. The other 74 bits are random for each; no id tells a time.
pub fn batch_ids(size: usize, mut random: impl FnMut() -> [u8; 16]) -> Vec<Uuid> {
    let batch = random();
    let id = |mut bytes: [u8; 16]| {
        bytes[..BATCH_BYTES].copy_from_slice(&batch[..BATCH_BYTES]);
        uuid::Builder::from_custom_bytes(bytes).into_uuid()
    };
    (0..size).map(|_| id(random())).collect()
}

pub(super) fn generate(
    desk: &mut Desk<'_>,
    short: &ShortName,
    uuids: &[Uuid],
    valid_from: Option<Timestamp>,
) -> Result<Answer, Refused> {
    let programme = own_programme(desk, short)?;
    let policy = programme.in_force(desk.now).ok_or(Reason::ProgrammeUnknown)?;
    if uuids.len() > MAX_CHUNK {
        return Err(Reason::TooLarge.into());
    }
    if uuids.is_empty() || uuids.iter().any(|u| u.get_version_num() != 8) {
        return Err(Reason::Malformed.into());
    }
    let valid_from = valid_from.unwrap_or(desk.now);
    let valid_until = valid_from + policy.validity();
    let step = Step::Generated { programme: programme.name, valid_from, valid_until };
    for uuid in uuids {
        desk.step(Role::Issuer, VoucherId { issuer: desk.me(), uuid: *uuid }, step.clone())?;
    }
    Ok(Answer::Written)
}

pub(super) fn dispatch(
    desk: &mut Desk<'_>,
    community: InstitutionId,
    short: &ShortName,
    count: usize,
) -> Result<Answer, Refused> {
    check_member(desk, community, Role::Community)?;
    let programme = own_programme(desk, short)?.name;
    if count > MAX_CHUNK {
        return Err(Reason::TooLarge.into());
    }
    if count == 0 {
        return Err(Reason::Malformed.into());
    }
    // What the issuer itself wants voided lies on the shelf for the moment until that is done.
    let shelf = desk.work.on_shelf(Stage::Generated, &programme, desk.now, 2 * MAX_CHUNK);
    let wanted = |id: &VoucherId| desk.work.voucher(*id).is_some_and(|d| !d.notes_state().void_requested);
    let ready: Vec<VoucherId> = shelf.into_iter().filter(wanted).take(count).collect();
    if ready.len() < count {
        return Err(Reason::NoStock.into());
    }
    for voucher in ready {
        desk.step(Role::Issuer, voucher, Step::Sent { community })?;
    }
    Ok(Answer::Written)
}

/// A voucher of this issuer.
pub(super) fn own_voucher(desk: &Desk<'_>, id: VoucherId) -> Result<(VoucherDoc, Voucher), Refused> {
    let doc = desk.work.voucher(id).ok_or(Refused::NotFound)?;
    if doc.own_waits(desk.me()) {
        // This issuer has gone further than it can see: its mirrors are not back yet.
        return Err(Reason::Waiting.into());
    }
    let state = doc.state().cloned().ok_or(Reason::Waiting)?;
    if state.issuer != desk.me() {
        return Err(Reason::NotCustodian.into());
    }
    Ok((doc, state))
}

pub(super) fn void(desk: &mut Desk<'_>, id: VoucherId, reason: VoidReason) -> Result<Answer, Refused> {
    let (doc, state) = own_voucher(desk, id)?;
    if matches!(reason, VoidReason::ClaimRefused | VoidReason::TakenBack | VoidReason::Lapsed) {
        return Err(Reason::Malformed.into()); // these are for the node itself to find
    }
    if state.stage.is_settled() {
        return Err(wrong_stage(state.stage).into());
    }
    if matches!(state.stage, Stage::Generated | Stage::Refused) {
        desk.step(Role::Issuer, id, Step::Voided { cause: VoidCause::Reason(reason) })?;
        return Ok(Answer::Void { voided: true });
    }
    if doc.notes_state().void_requested {
        return Err(Reason::VoidRequested.into());
    }
    desk.note(Role::Issuer, id, Note::VoidRequested { reason })?;
    Ok(Answer::Void { voided: false })
}

/// Why a voucher that came back to the issuer is voided.
fn reason_held(id: VoucherId, doc: &VoucherDoc, state: &Voucher) -> VoidReason {
    if state.stage == Stage::Refused {
        let taken = doc.path().last().is_some_and(|l| matches!(l.step, Step::Reclaimed { .. }));
        return if taken { VoidReason::TakenBack } else { VoidReason::ClaimRefused };
    }
    let asked = doc.notes.iter().rev().find_map(|n| match n.note {
        Note::VoidRequested { reason } if [state.issuer, id.issuer].contains(&n.name.institution) => Some(reason),
        _ => None,
    });
    asked.unwrap_or(VoidReason::Lapsed)
}

pub(super) fn void_held(desk: &mut Desk<'_>, id: VoucherId) -> Result<Answer, Refused> {
    let (doc, state) = own_voucher(desk, id)?;
    let cause = VoidCause::Reason(reason_held(id, &doc, &state));
    desk.step(Role::Issuer, id, Step::Voided { cause })?;
    Ok(Answer::Void { voided: true })
}

/// The newest record of a log, if it can be read and stands at or past a limit.
fn position_past(work: &Work<'_>, log: InstitutionId, limit: Timestamp) -> Option<RecordName> {
    let cursor = work.cursor(log);
    if cursor.last_at < limit {
        return None;
    }
    // Nearly always the last one; a record that cannot be read is no proof.
    let newest = (cursor.next.saturating_sub(LOOK_BACK)..cursor.next).rev();
    newest.into_iter().find_map(|index| {
        let bytes = work.tx.entry(log, index)?;
        let record: Record = ledger::record::decode_record(&bytes).ok()?;
        (record.at >= limit).then(|| work.name_at(log, index))?
    })
}

pub(super) fn react_expired(work: &Work<'_>, id: VoucherId, doc: &VoucherDoc) -> Reaction<Command> {
    let Some(state) = doc.state() else { return Reaction::Nothing };
    let me = work.settings.me;
    let silent = state.must_be_silent();
    match silent.into_iter().find(|log| *log != me && position_past(work, *log, state.valid_until).is_none()) {
        Some(blocker) => Reaction::Later(Due { blocker, at: state.valid_until, duty: Duty::VoidExpired }),
        None => Reaction::Do(Command::VoidExpired { voucher: id }),
    }
}

pub(super) fn void_expired(desk: &mut Desk<'_>, id: VoucherId) -> Result<Answer, Refused> {
    let (_, state) = own_voucher(desk, id)?;
    if desk.now < state.valid_until {
        return Err(Reason::NotSurelyOver.into());
    }
    let mut positions = Vec::new();
    for log in state.must_be_silent() {
        if log == desk.me() && desk.work.cursor(log).last_at < state.valid_until {
            // An issuer that plays the other roles too lets time pass in its own log.
            desk.write(Role::Issuer, Body::Heartbeat)?;
        }
        positions.push(position_past(&desk.work, log, state.valid_until).ok_or(Reason::NotSurelyOver)?);
    }
    // What came back past its validity is said so; the rest ran out where it was.
    let came_back = state.stage == Stage::Generated && positions.is_empty() && came_back(desk, id, &state);
    let cause = if came_back { VoidCause::Reason(VoidReason::Lapsed) } else { VoidCause::Expired { positions } };
    desk.step(Role::Issuer, id, Step::Voided { cause })?;
    Ok(Answer::Void { voided: true })
}

fn came_back(desk: &Desk<'_>, id: VoucherId, state: &Voucher) -> bool {
    let doc = desk.work.voucher(id);
    let last = doc.as_ref().and_then(|d| d.path().last());
    last.is_some_and(|l| !matches!(l.step, Step::Generated { .. }) && l.at >= state.valid_until)
}

/// Those who could still move a voucher: its custodian, and while it is booked the voucher module.
fn concerned(state: &Voucher) -> Vec<(InstitutionId, Role)> {
    let mut all: Vec<_> = state.custodian.map(|id| (id, state.stage.custodian_role())).into_iter().collect();
    if matches!(state.stage, Stage::BookingRequested | Stage::Booked) {
        all.extend(state.voucher_module.map(|id| (id, Role::Voucher)));
    }
    all
}

/// Whether the issuer may take a voucher back now, and why.
fn may_reclaim(work: &Work<'_>, state: &Voucher, now: Timestamp) -> Option<ReclaimReason> {
    if state.stage.is_settled() || state.custodian == Some(state.issuer) {
        return None;
    }
    let concerned = concerned(state);
    if concerned.iter().any(|(id, role)| !work.registry.in_good_standing(*id, *role, u64::MAX)) {
        return Some(ReclaimReason::Standing);
    }
    let parameters = work.registry.parameters_at(u64::MAX);
    let before_use = state.stage.is_before_use();
    let grace = if before_use { parameters.grace_before_use } else { parameters.grace_after_use };
    let limit = state.limit().filter(|limit| now >= *limit + grace)?;
    // Whoever speaks before use can give it back or be proved late: only silence needs this.
    let silent = !before_use || concerned.iter().any(|(id, _)| work.cursor(*id).last_at < limit);
    silent.then_some(ReclaimReason::Silent)
}

pub(super) fn react_reclaim(work: &Work<'_>, id: VoucherId, doc: &VoucherDoc, now: Timestamp) -> Reaction<Command> {
    let Some(state) = doc.state() else { return Reaction::Nothing };
    match may_reclaim(work, state, now) {
        Some(_) => Reaction::Do(Command::Reclaim { voucher: id }),
        // Standing can change without any record about the voucher.
        None => Reaction::Later(Due { blocker: work.settings.me, at: now + RECLAIM_AGAIN, duty: Duty::Reclaim }),
    }
}

pub(super) fn reclaim(desk: &mut Desk<'_>, id: VoucherId) -> Result<Answer, Refused> {
    let (_, state) = own_voucher(desk, id)?;
    if state.stage.is_settled() || state.custodian == Some(desk.me()) {
        return Err(wrong_stage(state.stage).into());
    }
    let reason = may_reclaim(&desk.work, &state, desk.now).ok_or(Reason::GraceNotOver)?;
    let last = |log: InstitutionId| {
        let index = desk.work.cursor(log).next.checked_sub(1)?;
        desk.work.name_at(log, index)
    };
    let positions = concerned(&state).into_iter().filter_map(|(log, _)| last(log)).collect();
    desk.step(Role::Issuer, id, Step::Reclaimed { reason, positions })?;
    Ok(Answer::Written)
}

pub(super) fn hand_over(desk: &mut Desk<'_>, id: VoucherId) -> Result<Answer, Refused> {
    let (_, state) = own_voucher(desk, id)?;
    let enrolment = state.enrolment.ok_or(wrong_stage(state.stage))?;
    desk.step(Role::Issuer, id, Step::HandedOver { enrolment })?;
    Ok(Answer::Written)
}
