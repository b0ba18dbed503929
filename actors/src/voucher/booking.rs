//! Booking for a holder (units V3 and V4): book, cancel, move, send the QR, deny; each rule with its own reason.

use domain::booking::{BookingDetails, RESPOND_WITHIN, Slot};
use domain::ids::{HolderId, InstitutionId, RecordName, VoucherId};
use domain::lifecycle::{ReturnReason, Stage, Step, Voucher, wrong_stage};
use domain::member::Role;
use domain::reasons::{Kind, Reason};
use domain::record::{HelpStep, Note, Presentation, Witnessed};
use domain::time::{Millis, Timestamp};

use super::command::Answer;
use super::letters::{self, HelpLetter, OpeningLetter};
use super::rows::{self, Moving, Wallet};
use crate::misbehave::misbehaves;
use crate::openings::digest_of;
use crate::presented;
use crate::replica::{VoucherDoc, Work};
use crate::writer::{Desk, Refused};

/// How long before it begins an appointment can be booked at the latest: the hospital needs time to answer.
pub const NOTICE: Millis = Millis::minutes(10);

/// Longest appointment.
pub const MAX_SLOT: Millis = Millis::hours(12);

/// A holder's voucher with its state.
///
/// # Errors
///
/// [`Reason::HolderUnknown`]; not found if the voucher is none of this holder's.
pub fn of_holder(work: &Work<'_>, holder: HolderId, id: VoucherId) -> Result<(Wallet, VoucherDoc, Voucher), Refused> {
    let wallet = rows::wallet(&work.tx, holder).ok_or(Reason::HolderUnknown)?;
    let doc = work.voucher(id).ok_or(Refused::NotFound)?;
    let state = doc.state().cloned().ok_or(Reason::Waiting)?;
    let theirs = state.enrolment.is_some_and(|name| wallet.enrolments.iter().any(|e| e.name == name));
    // Someone else's voucher is not even said to exist.
    if theirs && state.voucher_module == Some(work.settings.me) {
        Ok((wallet, doc, state))
    } else {
        Err(Refused::NotFound)
    }
}

/// Whether a holder's voucher is one that can be booked at all: the stage, before any appointment is looked for.
///
/// # Errors
///
/// Those of [`of_holder`]; why its stage allows no booking.
pub fn can_book(work: &Work<'_>, holder: HolderId, id: VoucherId) -> Result<(), Refused> {
    let (_, _, state) = of_holder(work, holder, id)?;
    if state.stage == Stage::Issued { Ok(()) } else { Err(wrong_stage(state.stage).into()) }
}

/// Whether an appointment can be booked with a voucher, all rules but the stage: validity, time, hospital, department,
/// one open booking for each holder and programme.
fn check_slot(work: &Work<'_>, id: VoucherId, state: &Voucher, slot: &Slot, now: Timestamp) -> Result<(), Reason> {
    if now < state.valid_from || slot.start < state.valid_from {
        return Err(Reason::NotYetValid);
    }
    if now >= state.valid_until || slot.end > state.valid_until {
        return Err(Reason::Expired);
    }
    if slot.end <= slot.start || slot.end > slot.start + MAX_SLOT {
        return Err(Reason::SlotUnknown);
    }
    if slot.start < now + NOTICE {
        return Err(Reason::SlotPast);
    }
    let position = work.registrar_position().ok_or(Reason::NotReady)?.index;
    if work.registry.member(slot.hospital).is_none() {
        return Err(Reason::MemberUnknown);
    }
    if !work.registry.in_good_standing(slot.hospital, Role::Hospital, position) {
        // The booking would fall back to the issuer at once.
        return Err(Reason::NotInGoodStanding);
    }
    let programme = work.programme(&state.programme).ok_or(Reason::ProgrammeUnknown)?;
    let policy = programme.in_force(now).ok_or(Reason::ProgrammeUnknown)?;
    if !policy.departments.contains(&slot.department) {
        return Err(Reason::DepartmentNotAllowed);
    }
    let name = state.enrolment.ok_or(Reason::EnrolmentUnknown)?;
    let enrolment = work.enrolment(&name).and_then(|e| e.now()).ok_or(Reason::EnrolmentUnknown)?;
    if enrolment.blocked.is_some() {
        return Err(Reason::EnrolmentBlocked);
    }
    let is_open = |other: &VoucherId| {
        let doc = work.voucher(*other);
        let state = doc.as_ref().and_then(|d| d.state());
        state.is_some_and(|v| {
            v.enrolment == Some(name) && matches!(v.stage, Stage::BookingRequested | Stage::Booked | Stage::InUse)
        })
    };
    let open = work.of_enrolment(&name).iter().any(|other| *other != id && is_open(other));
    if open && !misbehaves("open-bookings-uncounted") {
        return Err(Reason::OpenBooking);
    }
    Ok(())
}

/// Unit V3: books only when not yet booked, not yet examined, within validity and not redeemed.
pub(super) fn book(
    desk: &mut Desk<'_>,
    holder: HolderId,
    id: VoucherId,
    slot: Slot,
    salt: [u8; 32],
) -> Result<Answer, Refused> {
    of_holder(&desk.work, holder, id)?;
    request(desk, BookingDetails { salt, voucher: id, slot }).map(Answer::Booked)
}

/// The step that books an appointment, if every rule agrees; nothing is written yet.
fn plan(work: &Work<'_>, details: &BookingDetails, now: Timestamp) -> Result<Step, Refused> {
    let (id, slot) = (details.voucher, &details.slot);
    let doc = work.voucher(id).ok_or(Refused::NotFound)?;
    let state = doc.state().ok_or(Reason::Waiting)?;
    if state.stage != Stage::Issued {
        return Err(wrong_stage(state.stage).into());
    }
    if state.custodian != Some(work.settings.me) {
        return Err(Reason::NotCustodian.into());
    }
    if doc.contested || doc.own_waits(work.settings.me) {
        return Err(Reason::Waiting.into());
    }
    if doc.notes_state().void_requested {
        return Err(Reason::VoidRequested.into());
    }
    check_slot(work, id, state, slot, now)?;
    Ok(Step::Booked {
        hospital: slot.hospital,
        details: digest_of(details),
        respond_by: (now + RESPOND_WITHIN).min(slot.start),
        use_from: slot.use_from(),
        use_by: slot.use_by(state.valid_until),
    })
}

fn request(desk: &mut Desk<'_>, details: BookingDetails) -> Result<BookingDetails, Refused> {
    let step = plan(&desk.work, &details, desk.now)?;
    desk.step(Role::Voucher, details.voucher, step)?;
    rows::drop_moving(&mut desk.work.tx, details.voucher);
    rows::keep_booking(&mut desk.work.tx, &details);
    let hospital = details.slot.hospital;
    letters::post(desk, hospital, letters::OPENINGS_PATH, &OpeningLetter { details: details.clone() })?;
    Ok(details)
}

/// The holder's consent to cancel, move or deny, as a record carries it.
fn consent(desk: &Desk<'_>, id: VoucherId, state: &Voucher, qr: &str) -> Result<Witnessed, Reason> {
    let shown = presented::read(qr)?;
    shown.cancels(desk.me(), id)?;
    shown.is_fresh(desk.now)?;
    let enrolment = state.enrolment.and_then(|name| desk.work.enrolment(&name)).ok_or(Reason::EnrolmentUnknown)?;
    let presentation = shown.by_phone(&enrolment)?;
    let registrar = desk.work.registrar_position().ok_or(Reason::NotReady)?;
    Ok(Witnessed { presentation, registrar })
}

fn must_be_booked(state: &Voucher) -> Result<(), Reason> {
    match state.stage {
        Stage::BookingRequested | Stage::Booked => Ok(()),
        Stage::Generated | Stage::Sent | Stage::Encoded | Stage::Issued => Err(Reason::NotBooked),
        other => Err(wrong_stage(other)),
    }
}

/// Asks the hospital to let a booking go. Asking again changes nothing.
pub(super) fn cancel(desk: &mut Desk<'_>, holder: HolderId, id: VoucherId, qr: &str) -> Result<Answer, Refused> {
    let (_, _, state) = of_holder(&desk.work, holder, id)?;
    must_be_booked(&state)?;
    let witnessed = consent(desk, id, &state, qr)?;
    cancel_with(desk, id, witnessed)
}

fn cancel_with(desk: &mut Desk<'_>, id: VoucherId, witnessed: Witnessed) -> Result<Answer, Refused> {
    desk.note(Role::Voucher, id, Note::CancelRequested { witnessed })?;
    // Who cancels while moving wants neither appointment.
    rows::drop_moving(&mut desk.work.tx, id);
    Ok(Answer::Done)
}

/// Asks the hospital to let a booking go for another appointment, which is booked as soon as it has.
pub(super) fn move_to(
    desk: &mut Desk<'_>,
    holder: HolderId,
    id: VoucherId,
    qr: &str,
    slot: Slot,
    salt: [u8; 32],
) -> Result<Answer, Refused> {
    let (_, _, state) = of_holder(&desk.work, holder, id)?;
    must_be_booked(&state)?;
    check_slot(&desk.work, id, &state, &slot, desk.now)?;
    if rows::booking(&desk.work.tx, id).is_some_and(|old| old.slot == slot) {
        return Err(Reason::AlreadyBooked.into());
    }
    let witnessed = consent(desk, id, &state, qr)?;
    let details = BookingDetails { salt, voucher: id, slot };
    let hospital = details.slot.hospital;
    desk.note(Role::Voucher, id, Note::MoveRequested { witnessed, details: digest_of(&details), hospital })?;
    rows::keep_moving(&mut desk.work.tx, &Moving { holder, details: details.clone() });
    // The hospital of the new appointment holds it for some minutes when it knows which one.
    letters::post(desk, hospital, letters::OPENINGS_PATH, &OpeningLetter { details })?;
    Ok(Answer::Done)
}

/// Whether a moved booking's turn has come, or its move has lost its sense.
#[must_use]
pub fn can_rebook(work: &Work<'_>, id: VoucherId) -> bool {
    let doc = work.voucher(id);
    let Some(state) = doc.as_ref().and_then(|d| d.state()) else { return true };
    match state.stage {
        Stage::BookingRequested | Stage::Booked => state.voucher_module != Some(work.settings.me),
        _ => true,
    }
}

/// The old booking is released: makes the new one; if a rule forbids that by now, the move is dropped.
pub(super) fn rebook(desk: &mut Desk<'_>, id: VoucherId) -> Result<Answer, Refused> {
    let Some(moving) = rows::moving(&desk.work.tx, id) else { return Ok(Answer::Done) };
    if !can_rebook(&desk.work, id) {
        return Ok(Answer::Done);
    }
    let theirs = of_holder(&desk.work, moving.holder, id).map(drop);
    // Looked at before anything is written: what a step has begun is kept or dropped as a whole.
    match theirs.and_then(|()| plan(&desk.work, &moving.details, desk.now)) {
        Ok(_) => request(desk, moving.details).map(Answer::Booked),
        Err(refused) if matches!(refused.reason().kind(), Kind::Rule | Kind::NotFound) => {
            rows::drop_moving(&mut desk.work.tx, id);
            Ok(Answer::Done)
        }
        Err(refused) => Err(refused),
    }
}

/// Unit V4: sends the voucher's QR to the hospital where it is booked. Sending it again changes nothing.
///
/// The QR itself stands in `Encoded`, which the hospital holds; the record says by its digest which one is presented.
pub(super) fn present(desk: &mut Desk<'_>, holder: HolderId, id: VoucherId) -> Result<Answer, Refused> {
    use sha2::Digest as _;
    let (_, doc, state) = of_holder(&desk.work, holder, id)?;
    match state.stage {
        Stage::Booked => {}
        // Nobody has agreed to expect the holder yet.
        Stage::BookingRequested => return Err(Reason::NotBooked.into()),
        _ => must_be_booked(&state)?,
    }
    let booking = state.booking.ok_or(Reason::NotBooked)?;
    if desk.now >= booking.use_by {
        return Err(Reason::TooLate.into());
    }
    if doc.notes_state().release_requested {
        return Err(Reason::NotBooked.into());
    }
    let token = doc.token().ok_or(Reason::WrongState)?;
    if !doc.notes_state().use_presented {
        let digest = domain::ids::Digest(sha2::Sha256::digest(token.as_bytes()).into());
        desk.note(Role::Voucher, id, Note::UsePresented { token: digest })?;
    }
    Ok(Answer::Done)
}

/// The holder denies a use: a finding, and the hospital must answer.
pub(super) fn dispute(desk: &mut Desk<'_>, holder: HolderId, id: VoucherId, qr: &str) -> Result<Answer, Refused> {
    let (_, doc, state) = of_holder(&desk.work, holder, id)?;
    if doc.last_on_path(|s| matches!(s, Step::UseConfirmed { .. })).is_none() {
        return Err(Reason::WrongState.into());
    }
    let witnessed = consent(desk, id, &state, qr)?;
    desk.note(Role::Voucher, id, Note::UseDisputed { witnessed })?;
    Ok(Answer::Done)
}

/// A desk asks in the name of someone without a phone: only what it put on record, with the card's own signature.
pub(super) fn help(desk: &mut Desk<'_>, from: InstitutionId, letter: HelpLetter) -> Result<Answer, Refused> {
    let HelpLetter { record, opening, cancel } = letter;
    if misbehaves("helpers-ignored") {
        return Ok(Answer::Done);
    }
    let id = opening.voucher;
    if record.institution != from {
        return Err(Reason::Forbidden.into());
    }
    if desk.work.cursor(from).next <= record.index {
        return Err(Reason::Waiting.into());
    }
    let doc = desk.work.voucher(id).ok_or(Refused::NotFound)?;
    let state = doc.state().cloned().ok_or(Reason::Waiting)?;
    if state.voucher_module != Some(desk.me()) {
        return Err(Reason::EnrolmentElsewhere.into());
    }
    let note = doc.notes.iter().find(|n| n.name == record && n.proved).ok_or(Reason::PresentationForged)?;
    let Note::HelpRequested { step, details, .. } = &note.note else { return Err(Reason::OpeningDiffers.into()) };
    if *step != opening.step || *details != digest_of(&opening) {
        return Err(Reason::OpeningDiffers.into());
    }
    // What was asked for one head is not done to another.
    if doc.head_name() != Some(note.about) {
        return Err(wrong_stage(state.stage).into());
    }
    match (step, opening.slot) {
        (HelpStep::Book, Some(slot)) => {
            request(desk, BookingDetails { salt: opening.salt, voucher: id, slot }).map(Answer::Booked)
        }
        (HelpStep::Cancel, None) => {
            must_be_booked(&state)?;
            let presentation: Presentation = cancel.ok_or(Reason::PresentationMalformed)?;
            let registrar = desk.work.registrar_position().ok_or(Reason::NotReady)?;
            cancel_with(desk, id, Witnessed { presentation, registrar })
        }
        _ => Err(Reason::Malformed.into()),
    }
}

/// Takes a booking back: a record of the hospital's log proves that its time is over.
pub(super) fn lapse(desk: &mut Desk<'_>, id: VoucherId, position: RecordName) -> Result<Answer, Refused> {
    desk.step(Role::Voucher, id, Step::BookingLapsed { position })?;
    Ok(Answer::Done)
}

/// Gives a voucher back: the issuer asked. What is kept of it is removed by the duty that follows.
pub(super) fn give_back(desk: &mut Desk<'_>, id: VoucherId) -> Result<Answer, Refused> {
    desk.step(Role::Voucher, id, Step::Returned { reason: ReturnReason::VoidRequested })?;
    Ok(Answer::Done)
}

/// Whether a voucher can be handed over: its holder's enrolment belongs to another voucher module by now.
fn leaves(work: &Work<'_>, id: VoucherId, now: Timestamp) -> Option<RecordName> {
    let me = work.settings.me;
    let doc = work.voucher(id)?;
    let state = doc.state().filter(|v| v.stage == Stage::Issued && v.custodian == Some(me) && now < v.valid_until)?;
    let free = !doc.contested && !doc.own_waits(me) && !doc.notes_state().void_requested;
    let name = state.enrolment.filter(|_| free)?;
    let stands = work.enrolment(&name)?.now()?;
    let position = work.registrar_position()?.index;
    let there = stands.voucher_module;
    let can = there != me && stands.blocked.is_none() && work.registry.in_good_standing(there, Role::Voucher, position);
    can.then_some(name)
}

/// Hands a voucher over to the module to which the registrar moved its holder.
pub(super) fn hand_over(desk: &mut Desk<'_>, id: VoucherId) -> Result<Answer, Refused> {
    rows::drop_leaving(&mut desk.work.tx, id);
    if let Some(enrolment) = leaves(&desk.work, id, desk.now) {
        desk.step(Role::Voucher, id, Step::HandedOver { enrolment })?;
        rows::forget_voucher(&mut desk.work.tx, id);
    }
    Ok(Answer::Done)
}
