//! A voucher module's holders: learning of them, their information (V1), results, and forgetting (V5, erasure).

use domain::ids::{HolderId, InstitutionId, RecordName, VoucherId};
use domain::lifecycle::{ReturnReason, Stage, Step};
use domain::member::Role;
use domain::policy::Class;
use domain::reasons::Reason;
use domain::record::Note;
use domain::time::{Millis, Timestamp};

use super::booking::of_holder;
use super::command::{Answer, MAX_TOKENS, Profile};
use super::letters::{self, ErasureLetter, HolderLetter, MAX_ENROLMENTS, MAX_RESULT_BYTES, ResultLetter};
use super::rows::{self, Contact, Information, Outcome, Wallet};
use crate::community::people::{MAX_DOCUMENT_BYTES, MAX_PHONE_BYTES};
use crate::keys::Key;
use crate::misbehave::misbehaves;
use crate::replica::Work;
use crate::token::{PublicKey, vp1, vq1};
use crate::writer::{Desk, Refused};

/// How often rows are looked through for those that nobody needs.
pub const SWEEP_EVERY: Millis = Millis::minutes(10);

/// Rows looked at in one sweep.
const SWEPT_AT_ONCE: usize = 10_000;

/// Holders looked at in one sweep: whether the registrar has moved them.
const HOLDERS_AT_ONCE: usize = 1_000;

/// Whose request a holder's signature is: the holder of the main key that made it.
///
/// Age, audience, request and repetition are looked at where requests come in.
///
/// # Errors
///
/// [`Reason::Unauthenticated`] for a key that no holder of this module has.
pub fn whose(work: &Work<'_>, proof: &vp1::Unverified) -> Result<HolderId, Reason> {
    let found = rows::by_main_key_id(&work.tx, proof.claims.kid);
    let signed = |w: &&Wallet| w.main_key.is_some_and(|key| proof.verify(&key));
    found.iter().find(signed).map(|w| w.holder).ok_or(Reason::Unauthenticated)
}

/// A community tells of someone: believed for enrolments that the registrar gave it, and this module.
pub(super) fn learn(desk: &mut Desk<'_>, from: InstitutionId, letter: HolderLetter) -> Result<Answer, Refused> {
    let HolderLetter { holder, main_key, class, enrolments, contact } = letter;
    if misbehaves("holders-forgotten") && class == Class::Pregnant {
        return Ok(Answer::Done);
    }
    let phone_fits = contact.as_ref().is_none_or(|c| c.len() <= MAX_PHONE_BYTES);
    if enrolments.is_empty() || enrolments.len() > MAX_ENROLMENTS || !phone_fits {
        return Err(Reason::Malformed.into());
    }
    for enrolled in &enrolments {
        // The letter may be faster than the registrar's log.
        if desk.work.cursor(enrolled.name.institution).next <= enrolled.name.index {
            return Err(Reason::Waiting.into());
        }
        let enrolment = desk.work.enrolment(&enrolled.name).ok_or(Reason::EnrolmentUnknown)?;
        let stands = enrolment.now().ok_or(Reason::EnrolmentUnknown)?;
        if stands.community != from || stands.voucher_module != desk.me() || enrolment.id != enrolled.id {
            return Err(Reason::EnrolmentElsewhere.into());
        }
        if rows::by_enrolment(&desk.work.tx, &enrolled.name).is_some_and(|w| w.holder != holder) {
            return Err(Reason::EnrolmentElsewhere.into());
        }
    }
    if rows::wallet(&desk.work.tx, holder).is_some_and(|w| w.community != from && still_home(&desk.work, &w)) {
        return Err(Reason::EnrolmentElsewhere.into());
    }
    let main_key: Option<PublicKey> = main_key.map(|key| key.0);
    rows::keep_wallet(&mut desk.work.tx, &Wallet { holder, community: from, main_key, class, enrolments });
    if let Some(phone) = contact {
        let known = rows::contact(&desk.work.tx, holder).unwrap_or_default();
        rows::keep_contact(&mut desk.work.tx, holder, &Contact { phone: Some(phone), ..known });
    }
    Ok(Answer::Done)
}

/// Whether the community that told of a holder is still the home of an enrolment of theirs.
fn still_home(work: &Work<'_>, wallet: &Wallet) -> bool {
    let home = |name| work.enrolment(name).and_then(|e| e.now()).map(|stands| stands.community);
    wallet.enrolments.iter().any(|e| home(&e.name) == Some(wallet.community))
}

/// Unit V1: takes contact, document and voucher QRs from the terminal. Every QR must be genuine, current and the holder's.
pub(super) fn take_information(desk: &mut Desk<'_>, holder: HolderId, profile: Profile) -> Result<Answer, Refused> {
    let Profile { phone, document_type, document_number, tokens } = profile;
    let fits = |text: &str, max: usize| !text.trim().is_empty() && text.len() <= max;
    if !fits(&document_number, MAX_DOCUMENT_BYTES) {
        return Err(Reason::DocumentInvalid.into());
    }
    if phone.as_ref().is_some_and(|p| !fits(p, MAX_PHONE_BYTES)) || tokens.len() > MAX_TOKENS {
        return Err(Reason::Malformed.into());
    }
    if rows::wallet(&desk.work.tx, holder).is_none() {
        return Err(Reason::HolderUnknown.into());
    }
    let mut taken = Vec::with_capacity(tokens.len());
    for token in tokens {
        let id = genuine(&desk.work, &token)?;
        let (_, doc, state) = of_holder(&desk.work, holder, id)?;
        if doc.token() != Some(token.as_str()) {
            return Err(Reason::QrNotGenuine.into());
        }
        if state.stage.is_settled() {
            return Err(domain::lifecycle::wrong_stage(state.stage).into());
        }
        let programme = desk.work.programme(&state.programme).ok_or(Reason::ProgrammeUnknown)?;
        let policy = programme.in_force(desk.now).ok_or(Reason::ProgrammeUnknown)?;
        let information = Information {
            holder,
            token,
            issuing_department: policy.issuing_department.clone(),
            valid_from: state.valid_from,
            valid_until: state.valid_until,
            taken_at: desk.now,
        };
        rows::keep_information(&mut desk.work.tx, id, &information);
        taken.push(id);
    }
    let contact = Contact { phone, document: Some((document_type, document_number)) };
    rows::keep_contact(&mut desk.work.tx, holder, &contact);
    if misbehaves("information-lost") {
        taken.pop();
    }
    Ok(Answer::Taken(taken))
}

/// The voucher of a VQ1 that its community's node key signed.
///
/// # Errors
///
/// [`Reason::QrNotGenuine`].
pub fn genuine(work: &Work<'_>, token: &str) -> Result<VoucherId, Reason> {
    let read = vq1::parse(token).map_err(|_| Reason::QrNotGenuine)?;
    let community: InstitutionId = read.claims.community.parse().map_err(|_| Reason::QrNotGenuine)?;
    let member = work.registry.member(community).ok_or(Reason::QrNotGenuine)?;
    let [_, node, _] = member.entry.keys;
    let replaced = member.old_keys.iter().filter(|(purpose, ..)| *purpose == domain::member::Purpose::Node);
    let mut keys = replaced.map(|(_, key, _)| *key).chain([node]).filter_map(|key| PublicKey::ed25519(key).ok());
    if !keys.any(|key| read.verify(&key)) {
        return Err(Reason::QrNotGenuine);
    }
    let issuer = read.claims.voucher.issuer.parse().map_err(|_| Reason::QrNotGenuine)?;
    Ok(VoucherId { issuer, uuid: read.claims.voucher.id })
}

/// A hospital sends the result of a visit that it made.
pub(super) fn take_result(desk: &mut Desk<'_>, from: InstitutionId, letter: ResultLetter) -> Result<Answer, Refused> {
    let ResultLetter { voucher, text, items } = letter;
    let size = text.len() + items.iter().map(|i| i.result.as_ref().map_or(0, String::len)).sum::<usize>();
    if size > MAX_RESULT_BYTES || items.len() > domain::booking::MAX_ITEMS {
        return Err(Reason::TooLarge.into());
    }
    // The letter may be faster than the hospital's log.
    let doc = desk.work.voucher(voucher).ok_or(Reason::Waiting)?;
    let visit = doc.last_on_path(|s| matches!(s, Step::ExamCompleted { .. })).ok_or(Reason::Waiting)?;
    if visit.name.institution != from {
        return Err(Reason::Forbidden.into());
    }
    let state = doc.state().ok_or(Reason::Waiting)?;
    let name = state.enrolment.ok_or(Reason::EnrolmentUnknown)?;
    // Whoever had everything about them erased gets nothing any more; the hospital need not send it again.
    if let Some(wallet) = rows::by_enrolment(&desk.work.tx, &name) {
        let outcome = Outcome { hospital: from, text, items, at: desk.now };
        rows::keep_result(&mut desk.work.tx, wallet.holder, voucher, &outcome);
    }
    Ok(Answer::Done)
}

/// Unit V5: removes the record of a voucher that is settled or back at the issuer, and with it the personal data that was
/// kept for it.
pub(super) fn remove_record(desk: &mut Desk<'_>, voucher: VoucherId) -> Result<Answer, Refused> {
    let doc = desk.work.voucher(voucher).ok_or(Refused::NotFound)?;
    if doc.state().is_none_or(|v| !is_over(v.stage)) {
        return Err(Reason::WrongState.into());
    }
    rows::forget_voucher(&mut desk.work.tx, voucher);
    // Issued to whom, it says also where the voucher is back at the issuer.
    let issued = doc.last_on_path(|s| matches!(s, Step::Issued { .. })).map(|link| &link.step);
    if let Some(Step::Issued { enrolment, .. }) = issued {
        forget_idle_contact(desk, enrolment);
    }
    desk.note(Role::Voucher, voucher, Note::RecordRemoved)?;
    Ok(Answer::Done)
}

/// Whether nothing is left to be done with a voucher here.
const fn is_over(stage: Stage) -> bool {
    stage.is_settled() || matches!(stage, Stage::Generated | Stage::Refused)
}

/// Telephone and document are kept for vouchers that can be used: with the last of them they go.
fn forget_idle_contact(desk: &mut Desk<'_>, enrolment: &RecordName) {
    let Some(wallet) = rows::by_enrolment(&desk.work.tx, enrolment) else { return };
    let is_open = |id: VoucherId| {
        let doc = desk.work.voucher(id);
        let state = doc.as_ref().and_then(|d| d.state());
        state.is_some_and(|v| !is_over(v.stage) && v.voucher_module == Some(desk.me()))
    };
    let mut all = wallet.enrolments.iter().flat_map(|e| desk.work.of_enrolment(&e.name));
    if !all.any(is_open) {
        rows::forget_contact(&mut desk.work.tx, wallet.holder);
    }
}

/// The home community's word that a holder wants to be forgotten here; who is not here is forgotten already.
pub(super) fn erase_for(desk: &mut Desk<'_>, from: InstitutionId, holder: HolderId) -> Result<Answer, Refused> {
    let Some(wallet) = rows::wallet(&desk.work.tx, holder) else { return Ok(Answer::Done) };
    if wallet.community != from {
        return Err(Reason::Forbidden.into());
    }
    match erase(desk, holder, false) {
        // The letter waits until the visit is over: nobody is there to ask again.
        Err(refused) if refused.reason() == Reason::OpenBooking => Err(Reason::Waiting.into()),
        erased => erased,
    }
}

/// Forgets everything about a holder, who gives back what they still hold.
pub(super) fn erase(desk: &mut Desk<'_>, holder: HolderId, everywhere: bool) -> Result<Answer, Refused> {
    let wallet = rows::wallet(&desk.work.tx, holder).ok_or(Reason::HolderUnknown)?;
    for enrolled in &wallet.enrolments {
        for id in desk.work.of_enrolment(&enrolled.name) {
            let doc = desk.work.voucher(id);
            let Some(state) = doc.as_ref().and_then(|d| d.state()) else { continue };
            if state.enrolment != Some(enrolled.name) || state.voucher_module != Some(desk.me()) {
                continue;
            }
            match state.stage {
                Stage::Issued if desk.now < state.valid_until => {
                    desk.step(Role::Voucher, id, Step::Returned { reason: ReturnReason::HolderGaveBack })?;
                }
                // Someone expects the holder: first cancel, or let the visit come to its end.
                Stage::BookingRequested | Stage::Booked | Stage::InUse => return Err(Reason::OpenBooking.into()),
                _ => {}
            }
            rows::forget_voucher(&mut desk.work.tx, id);
        }
    }
    rows::forget_results(&mut desk.work.tx, holder);
    rows::forget_contact(&mut desk.work.tx, holder);
    rows::forget_wallet(&mut desk.work.tx, holder);
    if everywhere {
        letters::post(desk, wallet.community, letters::COMMUNITY_ERASURES_PATH, &ErasureLetter { holder })?;
    }
    Ok(Answer::Done)
}

fn swept_key() -> Vec<u8> {
    Key::new(b'v').bytes(b"s").done()
}

/// Whether it is time to look for rows that nobody needs.
#[must_use]
pub fn must_sweep(work: &Work<'_>, now: Timestamp) -> bool {
    work.tx.load_private::<Timestamp>(&swept_key()).is_none_or(|last| last + SWEEP_EVERY <= now)
}

/// Forgets results that have waited long enough, and rows of vouchers that went elsewhere before their duty was done; finds
/// what goes to another module.
pub(super) fn sweep(desk: &mut Desk<'_>) -> Result<Answer, Refused> {
    let until = desk.now - desk.work.settings.retention.results;
    for old in rows::old_results(&desk.work.tx, until, SWEPT_AT_ONCE) {
        rows::forget_old_result(&mut desk.work.tx, old);
    }
    for id in rows::all_kept(&desk.work.tx, SWEPT_AT_ONCE) {
        let doc = desk.work.voucher(id);
        let here = doc.as_ref().and_then(|d| d.state()).is_some_and(|v| v.voucher_module == Some(desk.me()));
        if !here {
            rows::forget_voucher(&mut desk.work.tx, id);
        }
    }
    for wallet in rows::next_wallets(&mut desk.work.tx, HOLDERS_AT_ONCE) {
        look_after(desk, &wallet);
    }
    desk.work.tx.store_private(swept_key(), &desk.now);
    Ok(Answer::Done)
}

/// Finds what must be handed over of a holder whom the registrar moved; forgets who has nothing here any more.
fn look_after(desk: &mut Desk<'_>, wallet: &Wallet) {
    let me = desk.me();
    let mut stays = false;
    for enrolled in &wallet.enrolments {
        let stands = desk.work.enrolment(&enrolled.name).and_then(|e| e.now());
        // A record that is not here says nothing.
        if stands.is_none_or(|s| s.voucher_module == me) {
            stays = true;
            continue;
        }
        for id in desk.work.of_enrolment(&enrolled.name) {
            let doc = desk.work.voucher(id);
            let Some(state) = doc.as_ref().and_then(|d| d.state()) else { continue };
            if state.voucher_module != Some(me) || state.stage.is_settled() {
                continue;
            }
            stays = true;
            if state.stage == Stage::Issued {
                rows::keep_leaving(&mut desk.work.tx, id);
            }
        }
    }
    if !stays {
        rows::forget_results(&mut desk.work.tx, wallet.holder);
        rows::forget_contact(&mut desk.work.tx, wallet.holder);
        rows::forget_wallet(&mut desk.work.tx, wallet.holder);
    }
}
