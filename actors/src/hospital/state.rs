//! What a hospital decides and what it does by itself: pure over the replica, its private rows and a command.

use domain::booking::{BookingDetails, Evidence, check_examination};
use domain::duty::{Due, Duty};
use domain::ids::{InstitutionId, VoucherId};
use domain::lifecycle::{AbortReason, Booking, DeclineReason, ReleaseReason, ReturnReason, Stage, Step, Voucher};
use domain::member::Role;
use domain::reasons::Reason;
use domain::record::{CheckOutcome, Note, Place};
use domain::time::{Millis, Timestamp};
use serde_json::json;

use super::command::{Answer, Arrival, Command, Completion, Personal};
use super::{desk as checks, rows, schedule};
use crate::misbehave::misbehaves;
use crate::outbox;
use crate::replica::{VoucherDoc, Work};
use crate::role::Reaction;
use crate::writer::{Desk, Refused};

const ROLE: Role = Role::Hospital;

/// How long before its limit a booking is declined whose opening has not come.
pub(super) const DECLINE_BEFORE: Millis = Millis::minutes(1);

/// Where openings of claims go.
pub(super) const CLAIM_OPENINGS: &str = "/v1/issuer/claims/openings";

/// Where results go.
pub(super) const RESULTS: &str = "/v1/voucher/results";

/// Longest results of one examination, in bytes of UTF-8: all items together.
pub(super) const MAX_RESULT_BYTES: usize = 16 * 1024;

pub(super) fn decide(desk: &mut Desk<'_>, command: Command) -> Result<Answer, Refused> {
    match command {
        Command::SetSchedule(mut hours) => {
            desk.remember_request();
            if misbehaves("schedule-row-dropped") {
                let monday = hours.iter().position(|h| h.weekday == chrono::Weekday::Mon);
                monday.map(|row| hours.remove(row));
            }
            schedule::check(&hours).map_err(|_| Reason::Malformed)?;
            rows::set_hours(&mut desk.work.tx, &hours);
            Ok(Answer::Done)
        }
        Command::SetClosures(closures) => {
            desk.remember_request();
            if closures.len() > schedule::MAX_CLOSURES {
                return Err(Reason::Malformed.into());
            }
            rows::set_closures(&mut desk.work.tx, &closures);
            Ok(Answer::Done)
        }
        Command::Open { from, details } => open(desk, from, &details),
        Command::Answer(voucher) => answer(desk, voucher),
        Command::Release { voucher, reason } => release(desk, voucher, reason),
        Command::NoShow(voucher) => no_show(desk, voucher),
        Command::Arrive(arrival) => arrive(desk, &arrival),
        Command::Check { voucher, refused } => check(desk, voucher, refused),
        Command::Complete(completion) => complete(desk, completion),
        Command::Abort { voucher, reason } => abort(desk, voucher, reason),
        Command::Claim(voucher) => claim(desk, voucher, false),
        Command::AnswerRejection(voucher) => claim(desk, voucher, true),
        Command::Return(voucher) => {
            desk.step(ROLE, voucher, Step::Returned { reason: ReturnReason::VoidRequested })?;
            Ok(Answer::Done)
        }
        Command::Tidy => {
            let now = desk.now;
            rows::tidy(&mut desk.work, now);
            Ok(Answer::Done)
        }
    }
}

pub(super) fn react(work: &Work<'_>, id: VoucherId, doc: &VoucherDoc, due: Due, now: Timestamp) -> Reaction<Command> {
    let Some(voucher) = doc.state() else { return Reaction::Nothing };
    // What is past its limit is no longer this hospital's to do: the voucher module takes it back.
    let in_time = |limit: Option<Timestamp>| limit.is_some_and(|limit| now < limit) && now < voucher.valid_until;
    let later = |at| Reaction::Later(Due { blocker: work.settings.me, at, duty: due.duty });
    match due.duty {
        Duty::Return if in_time(voucher.limit()) => Reaction::Do(Command::Return(id)),
        Duty::Release if in_time(voucher.limit()) => {
            Reaction::Do(Command::Release { voucher: id, reason: wished(doc, voucher) })
        }
        Duty::Answer if in_time(voucher.limit()) => {
            let Some(booking) = voucher.booking else { return Reaction::Nothing };
            let patience = booking.respond_by - DECLINE_BEFORE;
            if rows::opening(&work.tx, booking.details).is_some() || now >= patience {
                Reaction::Do(Command::Answer(id))
            } else {
                later(patience)
            }
        }
        Duty::Claim if voucher.claim_by.is_some_and(|by| now < by) => Reaction::Do(Command::Claim(id)),
        _ => Reaction::Nothing,
    }
}

/// What the holder asked for last.
fn wished(doc: &VoucherDoc, voucher: &Voucher) -> ReleaseReason {
    let by_module = doc.notes.iter().filter(|n| n.proved && Some(n.name.institution) == voucher.voucher_module);
    let mut last = ReleaseReason::Cancelled;
    for entry in by_module {
        match entry.note {
            Note::CancelRequested { .. } => last = ReleaseReason::Cancelled,
            Note::MoveRequested { .. } => last = ReleaseReason::Moved,
            _ => {}
        }
    }
    last
}

fn known(work: &Work<'_>, id: VoucherId) -> Result<(VoucherDoc, Voucher), Refused> {
    let doc = work.voucher(id).ok_or(Refused::NotFound)?;
    let state = doc.state().cloned().ok_or(Reason::Waiting)?;
    Ok((doc, state))
}

fn open(desk: &mut Desk<'_>, from: InstitutionId, details: &BookingDetails) -> Result<Answer, Refused> {
    let me = desk.me();
    if details.slot.hospital != me {
        return Err(Reason::BookedElsewhere.into());
    }
    let state = desk.work.voucher(details.voucher).and_then(|doc| doc.state().cloned());
    let other = state.as_ref().and_then(|v| v.voucher_module).is_some_and(|module| module != from);
    if other || !desk.work.registry.in_good_standing(from, Role::Voucher, u64::MAX) {
        return Err(Reason::Forbidden.into());
    }
    if !rows::keep_opening(&mut desk.work.tx, details) {
        return Err(Reason::SlotTaken.into());
    }
    let waits = state.is_some_and(|v| {
        let same = v.booking.is_some_and(|b| b.details == crate::openings::digest_of(details));
        v.stage == Stage::BookingRequested && v.custodian == Some(me) && same
    });
    if !waits {
        return Ok(Answer::Opened { confirmed: None });
    }
    match answer(desk, details.voucher) {
        // The opening is kept whatever the booking comes to: the duty answers it later.
        Err(_) => Ok(Answer::Opened { confirmed: None }),
        good => good,
    }
}

/// Whether a booking can be kept, and if not, why.
fn verdict(work: &Work<'_>, id: VoucherId, voucher: &Voucher, booking: &Booking, now: Timestamp) -> Step {
    let no = |reason| Step::BookingDeclined { reason };
    let Some(BookingDetails { voucher: of, slot, .. }) = rows::opening(&work.tx, booking.details) else {
        return no(DeclineReason::DetailsMissing);
    };
    let window = booking.use_from == slot.use_from() && booking.use_by <= slot.use_by(voucher.valid_until);
    if of != id || slot.hospital != work.settings.me || !window {
        return no(DeclineReason::DetailsMissing);
    }
    let hours = rows::hours(&work.tx, Some(&slot.department), Some(&slot.doctor));
    let Some(capacity) = schedule::capacity_of(&hours, &slot, work.settings.offset) else {
        return no(DeclineReason::SlotUnknown);
    };
    if schedule::is_closed(&rows::closures(&work.tx), &slot, work.settings.offset) {
        return no(DeclineReason::Unable);
    }
    if slot.start <= now || (misbehaves("department-declined") && slot.department.as_str() == "obstetrics") {
        return no(DeclineReason::Unable);
    }
    let programme = work.programme(&voucher.programme);
    let policy = programme.as_ref().and_then(|p| p.in_force(now));
    if !policy.is_some_and(|p| p.departments.contains(&slot.department)) {
        return no(DeclineReason::DepartmentNotAllowed);
    }
    if rows::taken(work, &slot, Some(id), now) >= usize::from(capacity) && !misbehaves("slots-taken-twice") {
        return no(DeclineReason::SlotTaken);
    }
    Step::BookingConfirmed
}

fn answer(desk: &mut Desk<'_>, id: VoucherId) -> Result<Answer, Refused> {
    let (_, voucher) = known(&desk.work, id)?;
    let booking = voucher.booking.ok_or(Reason::NotBooked)?;
    let step = verdict(&desk.work, id, &voucher, &booking, desk.now);
    let confirmed = matches!(step, Step::BookingConfirmed);
    desk.step(ROLE, id, step)?;
    Ok(Answer::Opened { confirmed: Some(confirmed) })
}

fn release(desk: &mut Desk<'_>, id: VoucherId, reason: ReleaseReason) -> Result<Answer, Refused> {
    let (_, voucher) = known(&desk.work, id)?;
    checks::not_elsewhere(&desk.work, &voucher)?;
    let step = match voucher.stage {
        // Not confirmed yet: there is nothing to release, the request is declined.
        Stage::BookingRequested => Step::BookingDeclined { reason: DeclineReason::Unable },
        Stage::Booked => Step::BookingReleased { reason },
        Stage::Generated | Stage::Sent | Stage::Encoded | Stage::Issued => return Err(Reason::NotBooked.into()),
        stage => return Err(domain::lifecycle::wrong_stage(stage).into()),
    };
    desk.step(ROLE, id, step)?;
    Ok(Answer::Done)
}

fn no_show(desk: &mut Desk<'_>, id: VoucherId) -> Result<Answer, Refused> {
    let (doc, voucher) = known(&desk.work, id)?;
    checks::not_elsewhere(&desk.work, &voucher)?;
    let booking = match (voucher.stage, voucher.booking) {
        (Stage::Booked, Some(booking)) => booking,
        (Stage::InUse | Stage::Examined | Stage::Claimed | Stage::Rejected | Stage::Redeemed, _) => {
            return Err(Reason::AlreadyUsed.into());
        }
        _ => return Err(Reason::NotBooked.into()),
    };
    let ends = rows::opening(&desk.work.tx, booking.details).map_or(booking.use_by, |opening| opening.slot.end);
    if desk.now < ends {
        return Err(Reason::TooEarly.into());
    }
    if doc.notes_state().no_show {
        return Err(Reason::WrongState.into());
    }
    if misbehaves("no-show-unwritten") {
        return Ok(Answer::Done);
    }
    desk.note(ROLE, id, Note::NoShow)?;
    Ok(Answer::Done)
}

/// Who is there, for which voucher, and what the holder's signature is.
fn arrive(desk: &mut Desk<'_>, arrival: &Arrival) -> Result<Answer, Refused> {
    let (me, now) = (desk.me(), desk.now);
    let by_qr = arrival.voucher_qr.as_deref().map(checks::named_by).transpose();
    let (id, on_phone) = match &arrival.personal {
        Personal::Phone(text) => {
            let (id, presentation) = checks::read_phone(text, checks::For::Arrival, me, now)?;
            (id, Some(presentation))
        }
        Personal::Card { .. } => (by_qr?.or(arrival.voucher).ok_or(Reason::QrUnreadable)?, None),
    };
    if arrival.voucher.is_some_and(|named| named != id) {
        return Err(Reason::PresentationOtherVoucher.into());
    }
    let (doc, voucher) = known(&desk.work, id)?;
    match &arrival.voucher_qr {
        Some(text) => checks::check_voucher_qr(&desk.work, id, &doc, text)?,
        None if checks::was_presented(&doc) => {}
        None => return Err(Reason::QrUnreadable.into()),
    }
    checks::can_be_used(&desk.work, &doc, now)?;
    let presentation = match on_phone {
        Some(presentation) => presentation,
        None => {
            let step = checks::For::Arrival;
            checks::sign_with_card(&desk.work, id, &voucher, &arrival.personal, step, now)?
        }
    };
    let complete_by = now + desk.work.registry.parameters_at(u64::MAX).complete_within;
    let states = checks::four_states(&voucher, now);
    let outcome = CheckOutcome::Good;
    desk.note(ROLE, id, Note::Verified { place: Place::HospitalDesk, states, outcome })?;
    desk.step(ROLE, id, Step::UseConfirmed { presentation, complete_by })?;
    Ok(Answer::Visit { voucher: id, complete_by })
}

fn check(desk: &mut Desk<'_>, id: VoucherId, refused: bool) -> Result<Answer, Refused> {
    let (doc, voucher) = known(&desk.work, id)?;
    let (me, now) = (desk.me(), desk.now);
    let states = checks::four_states(&voucher, now);
    let outcome = if refused { CheckOutcome::Refused } else { checks::outcome(&desk.work, &doc, now) };
    // One per voucher, verifier, outcome and minute.
    let minute = |at: Timestamp| at.millis().div_euclid(60_000);
    let again = doc.notes.iter().any(|n| {
        let same = matches!(n.note, Note::Verified { outcome: o, place: Place::HospitalDesk, .. } if o == outcome);
        same && n.name.institution == me && minute(n.at) == minute(now)
    });
    if !again {
        desk.note(ROLE, id, Note::Verified { place: Place::HospitalDesk, states, outcome })?;
    }
    Ok(Answer::Checked { voucher: id, states, outcome })
}

fn complete(desk: &mut Desk<'_>, completion: Completion) -> Result<Answer, Refused> {
    let Completion { voucher: id, personal, mut examination, salt } = completion;
    if misbehaves("half-examinations-pass") {
        examination.items.iter_mut().for_each(|item| item.done = true);
    }
    let (me, now) = (desk.me(), desk.now);
    let (doc, voucher) = known(&desk.work, id)?;
    checks::not_elsewhere(&desk.work, &voucher)?;
    let (Stage::InUse, Some(booking)) = (voucher.stage, voucher.booking) else {
        return Err(match voucher.stage {
            Stage::BookingRequested | Stage::Booked => Reason::WrongState,
            stage => domain::lifecycle::wrong_stage(stage),
        }
        .into());
    };
    let presentation = match &personal {
        Personal::Phone(text) => {
            let (named, presentation) = checks::read_phone(text, checks::For::Completion, me, now)?;
            if named != id {
                return Err(Reason::PresentationOtherVoucher.into());
            }
            presentation
        }
        card @ Personal::Card { .. } => {
            checks::sign_with_card(&desk.work, id, &voucher, card, checks::For::Completion, now)?
        }
    };
    let opening = rows::opening(&desk.work.tx, booking.details).ok_or(Reason::OpeningDiffers)?;
    let arrived_at = doc.last_on_path(|step| matches!(step, Step::UseConfirmed { .. })).map(|link| link.at);
    let arrived_at = arrived_at.ok_or(Reason::WrongState)?;
    let department = opening.slot.department;
    let performers = rows::performers(&desk.work.tx, &department);
    check_examination(&examination, &performers, arrived_at, now)?;
    let results = examination.items.iter().filter_map(|item| item.result.as_ref());
    if results.map(String::len).sum::<usize>() > MAX_RESULT_BYTES {
        return Err(Reason::TooLarge.into());
    }

    let module = voucher.voucher_module.ok_or(Reason::WrongState)?;
    let letter = json!({ "voucher": id, "text": summary(&examination.items), "items": examination.items });
    let evidence = Evidence { salt, voucher: id, department, examination };
    let evidence = rows::keep_evidence(&mut desk.work.tx, &evidence);
    let claim_by = now + desk.work.registry.parameters_at(u64::MAX).claim_within;
    desk.step(ROLE, id, Step::ExamCompleted { evidence, presentation, claim_by })?;
    outbox::post(desk, module, RESULTS, letter.to_string().into_bytes());
    Ok(Answer::Done)
}

/// The results in one text, a line for each item.
fn summary(items: &[domain::booking::Item]) -> String {
    let line = |item: &domain::booking::Item| format!("{}: {}", item.code, item.result.as_deref().unwrap_or_default());
    items.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn abort(desk: &mut Desk<'_>, id: VoucherId, reason: AbortReason) -> Result<Answer, Refused> {
    let (_, voucher) = known(&desk.work, id)?;
    checks::not_elsewhere(&desk.work, &voucher)?;
    desk.step(ROLE, id, Step::UseAborted { reason })?;
    Ok(Answer::Done)
}

/// Claims with both openings, so that the issuer can check what the digests hide.
fn claim(desk: &mut Desk<'_>, id: VoucherId, again: bool) -> Result<Answer, Refused> {
    let (doc, voucher) = known(&desk.work, id)?;
    let answers = match voucher.stage {
        Stage::Rejected if again => doc.head_name(),
        // What was rejected is an operator's to answer, and nothing else is.
        Stage::Rejected => return Err(Reason::AnswerMissing.into()),
        stage @ (Stage::Redeemed | Stage::Voided) if again => return Err(domain::lifecycle::wrong_stage(stage).into()),
        _ if again => return Err(Reason::WrongState.into()),
        _ => None,
    };
    let exam = doc.last_on_path(|step| matches!(step, Step::ExamCompleted { .. }));
    let evidence = exam.and_then(|link| match &link.step {
        Step::ExamCompleted { evidence, .. } => rows::evidence(&desk.work.tx, *evidence),
        _ => None,
    });
    let booking = voucher.booking.and_then(|b| rows::opening(&desk.work.tx, b.details));
    desk.step(ROLE, id, Step::RedemptionClaimed { answers })?;
    let (Some(booking), Some(evidence)) = (booking, evidence) else { return Err(Reason::EvidenceMissing.into()) };
    let letter = json!({ "voucher": id, "booking": booking, "evidence": evidence });
    outbox::post(desk, voucher.issuer, CLAIM_OPENINGS, letter.to_string().into_bytes());
    Ok(Answer::Done)
}
