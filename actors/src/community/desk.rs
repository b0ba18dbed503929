//! The community's desk: who is there (C1), what they may have, issuing (C5), and help for people without a phone.

use domain::booking::Slot;
use domain::ids::{HolderId, InstitutionId, RecordName, ShortName, VoucherId};
use domain::lifecycle::{Stage, Step};
use domain::member::Role;
use domain::policy::Class;
use domain::reasons::Reason;
use domain::record::{Assisted, Consent, HelpStep, Note, Presentation, Witnessed};
use domain::time::{Millis, Timestamp};
use serde::{Deserialize, Serialize};

use super::command::{Answer, Assist, Entitlement, Issued, Known};
use super::people::{self, Person};
use super::registration;
use crate::keys::Key;
use crate::misbehave::misbehaves;
use crate::openings::digest_of;
use crate::presented::{self, voucher_name};
use crate::replica::Work;
use crate::token::vc1;
use crate::token::vp1;
use crate::voucher::letters::{self, Enrolled, HelpLetter, HelpOpening};
use crate::writer::{Desk, Refused};

/// Vouchers looked at to find one that can be issued.
const LOOKED_AT: usize = 64;

/// Wrong numbers within [`WRONG_WITHIN`] after which cards are looked up no more.
pub const MAX_WRONG: u32 = 10;

/// How long wrong numbers are counted together.
pub const WRONG_WITHIN: Millis = Millis::minutes(10);

/// Unit C1: who shows this personal QR of step *identify*, and what they may have. Writes nothing.
///
/// # Errors
///
/// What is wrong with the QR; [`Reason::HolderUnknown`] for someone of another community.
pub fn identify(work: &Work<'_>, qr: &str, now: Timestamp) -> Result<Known, Reason> {
    let shown = presented::read(qr)?;
    if shown.claims.consent != Consent::Identify {
        return Err(Reason::PresentationOtherStep);
    }
    shown.is_fresh(now)?;
    let candidates = people::by_main_key_id(&work.tx, shown.claims.kid);
    if candidates.is_empty() {
        return Err(Reason::HolderUnknown);
    }
    let signed = |person: &&Person| person.main_key.is_some_and(|key| shown.is_signed_by(&key));
    let person = candidates.iter().find(signed).ok_or(Reason::PresentationForged)?;
    Ok(known(work, person, now))
}

/// Who has the document that the clerk holds: somebody whose phone or card is lost. Writes nothing.
///
/// # Errors
///
/// [`Reason::HolderUnknown`] if nobody of this community is registered with it.
pub fn by_document(work: &Work<'_>, kind: &ShortName, number: &str, now: Timestamp) -> Result<Known, Reason> {
    let person = people::by_document(&work.tx, kind, number).ok_or(Reason::HolderUnknown)?;
    Ok(known(work, &person, now))
}

/// A person as a clerk sees them.
#[must_use]
pub fn known(work: &Work<'_>, person: &Person, now: Timestamp) -> Known {
    let by_card = person.main_key.is_none();
    let programmes = person.enrolments.iter().map(|e| entitlement(work, person.form.class, e, by_card, now));
    Known {
        holder: person.holder,
        name_masked: people::mask(&person.form.name),
        class: person.form.class,
        programmes: programmes.collect(),
    }
}

fn entitlement(work: &Work<'_>, class: Class, enrolled: &Enrolled, by_card: bool, now: Timestamp) -> Entitlement {
    let policy = work.enrolment(&enrolled.name).and_then(|e| work.programme(&e.programme));
    let allowance = policy.and_then(|p| p.in_force(now).map(|p| p.vouchers_per_holder)).unwrap_or_default();
    let outcome = choose(work, class, enrolled, by_card, now);
    Entitlement {
        programme: enrolled.programme.clone(),
        allowance,
        had: had(work, &enrolled.name),
        may_issue: outcome.is_ok(),
        reason: outcome.err(),
    }
}

/// Vouchers that an enrolment has had, without those that were voided or taken back.
fn had(work: &Work<'_>, enrolment: &RecordName) -> u16 {
    let counts = |id: &VoucherId| {
        let doc = work.voucher(*id);
        let state = doc.as_ref().and_then(|d| d.state());
        state.is_some_and(|v| {
            v.enrolment == Some(*enrolment) && !matches!(v.stage, Stage::Voided | Stage::Refused | Stage::Generated)
        })
    };
    u16::try_from(work.of_enrolment(enrolment).iter().filter(|id| counts(id)).count()).unwrap_or(u16::MAX)
}

/// The voucher that someone would be issued: the policy of the programme, then the stock.
fn choose(
    work: &Work<'_>,
    class: Class,
    enrolled: &Enrolled,
    by_card: bool,
    now: Timestamp,
) -> Result<VoucherId, Reason> {
    // The registrar answered before its record came by: it will.
    let enrolment = work.enrolment(&enrolled.name).ok_or(Reason::Waiting)?;
    let stands = enrolment.now().ok_or(Reason::EnrolmentUnknown)?;
    if stands.blocked.is_some() {
        return Err(Reason::EnrolmentBlocked);
    }
    if stands.community != work.settings.me {
        return Err(Reason::EnrolmentElsewhere);
    }
    let position = work.registrar_position().ok_or(Reason::NotReady)?.index;
    if !work.registry.in_good_standing(stands.voucher_module, Role::Voucher, position) {
        // The voucher would fall back to the issuer at once.
        return Err(Reason::NotInGoodStanding);
    }
    let programme = work.programme(&enrolment.programme).ok_or(Reason::ProgrammeUnknown)?;
    let policy = programme.in_force(now).ok_or(Reason::ProgrammeUnknown)?;
    if !policy.classes.contains(&class) {
        return Err(Reason::NotEntitled);
    }
    if by_card && !policy.card_allowed {
        return Err(Reason::CardNotAllowed);
    }
    if had(work, &enrolled.name) >= policy.vouchers_per_holder && !misbehaves("allowance-ignored") {
        return Err(Reason::AllowanceUsed);
    }
    let on_shelf = work.on_shelf(Stage::Encoded, &programme.name, now, LOOKED_AT);
    let can_go = |id: &VoucherId| {
        let Some(doc) = work.voucher(*id) else { return false };
        let begun = doc.state().is_some_and(|v| v.is_valid_at(now));
        begun && !doc.contested && !doc.notes_state().void_requested
    };
    on_shelf.into_iter().find(can_go).ok_or(Reason::NoStock)
}

/// Unit C5: issues a voucher to whoever signed this personal QR of step *receive*.
pub(super) fn issue(desk: &mut Desk<'_>, qr: &str) -> Result<Answer, Refused> {
    let (person, enrolled, presentation) = receiver(&desk.work, qr, desk.now)?;
    hand_out(desk, &person, &enrolled, presentation)
}

/// Who asks for a voucher with this personal QR of step *receive*, and of which programme: for the desk that looks before it
/// issues. Writes nothing.
///
/// # Errors
///
/// What is wrong with the QR; [`Reason::HolderUnknown`] for someone of another community.
pub fn asks(work: &Work<'_>, qr: &str, now: Timestamp) -> Result<(Known, ShortName), Reason> {
    let (person, enrolled, _) = receiver(work, qr, now)?;
    Ok((known(work, &person, now), enrolled.programme))
}

/// Whose phone signed a personal QR of step *receive* for this community, under which enrolment.
fn receiver(work: &Work<'_>, qr: &str, now: Timestamp) -> Result<(Person, Enrolled, Presentation), Reason> {
    let shown = presented::read(qr)?;
    let Consent::Receive { aud, programme } = &shown.claims.consent else {
        return Err(Reason::PresentationOtherStep);
    };
    if *aud != work.settings.me {
        return Err(Reason::PresentationElsewhere);
    }
    shown.is_fresh(now)?;
    let mut refused = Reason::HolderUnknown;
    for person in people::by_enrolment_start(&work.tx, shown.claims.kid) {
        for enrolled in person.enrolments.iter().filter(|e| e.id.0.as_bytes().starts_with(&shown.claims.kid)) {
            if enrolled.programme.as_str() != programme {
                refused = Reason::PresentationOtherVoucher;
                continue;
            }
            let enrolment = work.enrolment(&enrolled.name).ok_or(Reason::Waiting)?;
            match shown.by_phone(&enrolment) {
                Ok(presentation) => return Ok((person.clone(), enrolled.clone(), presentation)),
                Err(reason) => refused = reason,
            }
        }
    }
    Err(refused)
}

/// Whose card it is, and what they may have. Writes nothing.
///
/// # Errors
///
/// [`Reason::CardUnknown`].
pub fn with_card(work: &Work<'_>, card: &vc1::Card, now: Timestamp) -> Result<Known, Reason> {
    let card = domain::ids::CardId(uuid::Uuid::from_bytes(card.id()));
    people::by_card(&work.tx, card).map(|person| known(work, &person, now)).ok_or(Reason::CardUnknown)
}

/// Somebody of this community by the registrar's random id. Writes nothing.
///
/// # Errors
///
/// [`Reason::HolderUnknown`].
pub fn by_holder(work: &Work<'_>, holder: HolderId, now: Timestamp) -> Result<Known, Reason> {
    people::of(&work.tx, holder).map(|person| known(work, &person, now)).ok_or(Reason::HolderUnknown)
}

/// The programmes that were opened to somebody since they were registered, and whether they can be enrolled in one of them now.
#[must_use]
pub fn more(work: &Work<'_>, holder: HolderId, now: Timestamp) -> (Vec<ShortName>, bool) {
    let Some(person) = people::of(&work.tx, holder) else { return (Vec::new(), false) };
    let open = registration::opened_since(work, &person, now);
    let may_add = registration::more(work, &person, uuid::Uuid::nil, now).is_ok();
    (open, may_add)
}

/// A voucher that somebody of this community has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Which one.
    pub voucher: VoucherId,
    /// Of which programme.
    pub programme: ShortName,
    /// Where it stands.
    pub stage: Stage,
    /// First moment after its validity.
    pub valid_until: Timestamp,
    /// Where it is booked, or a booking is asked for.
    pub hospital: Option<InstitutionId>,
}

/// The vouchers that somebody has, those that came to nothing left out.
#[must_use]
pub fn held(work: &Work<'_>, holder: HolderId) -> Vec<Held> {
    let enrolments = people::of(&work.tx, holder).map(|person| person.enrolments).unwrap_or_default();
    let of = |enrolled: Enrolled| {
        let vouchers = work.of_enrolment(&enrolled.name).into_iter();
        let found = vouchers.filter_map(|voucher| {
            let doc = work.voucher(voucher)?;
            let state = doc.state().filter(|v| v.enrolment == Some(enrolled.name))?;
            let (stage, valid_until) = (state.stage, state.valid_until);
            let hospital = state.booking.map(|booking| booking.hospital);
            let is_left = !matches!(stage, Stage::Voided | Stage::Refused | Stage::Generated);
            is_left.then(|| Held { voucher, programme: enrolled.programme.clone(), stage, valid_until, hospital })
        });
        found.collect::<Vec<_>>()
    };
    enrolments.into_iter().flat_map(of).collect()
}

/// Unit C5 for someone without a phone: the clerk has seen the document and signs with the card.
pub(super) fn issue_by_card(
    desk: &mut Desk<'_>,
    assist: &Assist,
    programme: &ShortName,
    document_number: &str,
) -> Result<Answer, Refused> {
    let person = of_card(desk, assist)?;
    let same = person.form.document_number.eq_ignore_ascii_case(document_number.trim());
    if !same && !misbehaves("documents-unchecked") {
        return Err(Reason::HolderUnknown.into());
    }
    let enrolled = person.enrolments.iter().find(|e| e.programme == *programme).ok_or(Reason::NotEntitled)?;
    let enrolment = desk.work.enrolment(&enrolled.name).ok_or(Reason::Waiting)?;
    let step = vp1::Step::Receive { community: desk.me().to_string(), programme: programme.to_string() };
    let presentation = presented::by_card(&assist.card, &enrolment, step, assist.cti[0], assisted(assist), desk.now)?;
    hand_out(desk, &person, enrolled, presentation)
}

fn hand_out(
    desk: &mut Desk<'_>,
    person: &Person,
    enrolled: &Enrolled,
    presentation: Presentation,
) -> Result<Answer, Refused> {
    let by_card = presentation.assisted.is_some();
    let voucher = choose(&desk.work, person.form.class, enrolled, by_card, desk.now)?;
    desk.step(Role::Community, voucher, Step::Issued { enrolment: enrolled.name, presentation })?;
    let doc = desk.work.voucher(voucher).ok_or(Refused::NotFound)?;
    let valid_until = doc.state().ok_or(Reason::Waiting)?.valid_until;
    let token = doc.token().ok_or(Reason::WrongState)?.to_owned();
    Ok(Answer::Issued(Issued { voucher, token, valid_until }))
}

fn of_card(desk: &Desk<'_>, assist: &Assist) -> Result<Person, Reason> {
    let card = domain::ids::CardId(uuid::Uuid::from_bytes(assist.card.id()));
    people::by_card(&desk.work.tx, card).ok_or(Reason::CardUnknown)
}

const fn assisted(assist: &Assist) -> Assisted {
    Assisted { helper: assist.helper, reason: assist.reason }
}

/// A clerk asks the voucher module to book or cancel for the holder of a card.
pub(super) fn help(
    desk: &mut Desk<'_>,
    assist: &Assist,
    voucher: VoucherId,
    step: HelpStep,
    slot: Option<Slot>,
    salt: [u8; 32],
) -> Result<Answer, Refused> {
    if slot.is_some() != (step == HelpStep::Book) {
        return Err(Reason::Malformed.into());
    }
    let person = of_card(desk, assist)?;
    let doc = desk.work.voucher(voucher).ok_or(Refused::NotFound)?;
    let state = doc.state().ok_or(Reason::Waiting)?;
    let module = state.voucher_module.ok_or(Reason::WrongState)?;
    let name = state.enrolment.ok_or(Reason::WrongState)?;
    person.enrolment(&name).ok_or(Reason::EnrolmentElsewhere)?;
    let programme = desk.work.programme(&state.programme).ok_or(Reason::ProgrammeUnknown)?;
    if programme.in_force(desk.now).is_none_or(|p| !p.card_allowed) {
        return Err(Reason::CardNotAllowed.into());
    }
    let enrolment = desk.work.enrolment(&name).ok_or(Reason::EnrolmentUnknown)?;
    let cancel = |audience: domain::ids::InstitutionId, cti: [u8; 8]| {
        let step = vp1::Step::Cancel { audience: audience.to_string(), voucher: voucher_name(voucher) };
        presented::by_card(&assist.card, &enrolment, step, cti, assisted(assist), desk.now)
    };
    let [mine, theirs] = assist.cti;
    let presentation = cancel(desk.me(), mine)?;
    let for_module = if step == HelpStep::Cancel { Some(cancel(module, theirs)?) } else { None };
    let registrar = desk.work.registrar_position().ok_or(Reason::NotReady)?;
    let opening = HelpOpening { salt, voucher, step, slot };
    let witnessed = Witnessed { presentation, registrar };
    let note = Note::HelpRequested { step, details: digest_of(&opening), witnessed };
    let record = desk.note(Role::Community, voucher, note)?;
    letters::post(desk, module, letters::HELP_PATH, &HelpLetter { record, opening, cancel: for_module })?;
    Ok(Answer::Done)
}

/// Wrong numbers of late.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Wrong {
    since: Timestamp,
    count: u32,
}

/// Looks a card up by its printed number: whose it is, never what it signs. Wrong numbers are counted for the whole desk.
pub(super) fn look_up(desk: &mut Desk<'_>, number: &str) -> Result<Answer, Refused> {
    let key = Key::new(b'c').bytes(b"w").done();
    let mut wrong: Wrong = desk.work.tx.load_private(&key).unwrap_or_default();
    if desk.now >= wrong.since + WRONG_WITHIN {
        wrong = Wrong { since: desk.now, count: 0 };
    }
    if wrong.count >= MAX_WRONG {
        return Err(Reason::LookupThrottled.into());
    }
    let people = vc1::check_lookup_number(number).map(|digits| people::by_number(&desk.work.tx, &digits));
    let people = people.unwrap_or_default();
    if people.is_empty() {
        // Counted although nothing was found: so it is no error, which would drop the count.
        wrong.count += 1;
        desk.work.tx.store_private(key, &wrong);
    }
    Ok(Answer::Cards(people.iter().map(|person| known(&desk.work, person, desk.now)).collect()))
}
