//! What a hospital's desk checks of the QRs that it scans, before anything is written (units H1 and H2).

use domain::ids::{Digest, InstitutionId, VoucherId};
use domain::lifecycle::{Stage, Step, Voucher};
use domain::member::{Purpose, Role};
use domain::reasons::Reason;
use domain::record::{AssistReason, Assisted, CheckOutcome, Consent, FourStates, Note, Presentation};
use domain::time::{Millis, Timestamp};
use sha2::Digest as _;

use super::command::Personal;
use crate::misbehave::misbehaves;
use crate::replica::{self, VoucherDoc, Work};
use crate::token::{PublicKey, VoucherName, vc1, vp1, vq1};

/// How old a personal QR may be at a desk: the phone draws it anew every minute.
pub const FRESH: Millis = Millis::secs(60);

/// For which step the holder signs at a hospital.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum For {
    /// To be let in.
    Arrival,
    /// To confirm that the examination took place.
    Completion,
}

/// How far the phone's clock is from the desk's: positive if the QR is from the past. None if it is no VP1.
///
/// A desk that refuses a stale QR says this, so that the holder knows what to set right.
#[must_use]
pub fn age(personal_qr: &str, now: Timestamp) -> Option<Millis> {
    let token = vp1::parse(personal_qr.trim()).ok()?;
    Some(Millis(now.millis().saturating_sub(token.claims.iat.saturating_mul(1_000))))
}

/// The voucher that a personal QR is about, as far as it is about one.
#[must_use]
pub fn voucher_of(personal_qr: &str) -> Option<VoucherId> {
    let token = vp1::parse(personal_qr.trim()).ok()?;
    match replica::of_token(&token.claims)?.consent {
        Consent::Arrive { voucher, .. } | Consent::Complete { voucher, .. } | Consent::Cancel { voucher, .. } => {
            Some(voucher)
        }
        _ => None,
    }
}

/// Unit H1: reads the QR of a phone. Whether the holder's key signed it is judged with the record.
///
/// # Errors
///
/// [`Reason::PresentationMalformed`], then what differs: [`Reason::PresentationOtherStep`],
/// [`Reason::PresentationElsewhere`], [`Reason::PresentationStale`].
pub fn read_phone(
    text: &str,
    step: For,
    me: InstitutionId,
    now: Timestamp,
) -> Result<(VoucherId, Presentation), Reason> {
    let token = vp1::parse(text.trim()).map_err(|_| Reason::PresentationMalformed)?;
    let claims = replica::of_token(&token.claims).ok_or(Reason::PresentationMalformed)?;
    let (aud, voucher) = match (claims.consent, step) {
        (Consent::Arrive { aud, voucher }, For::Arrival) | (Consent::Complete { aud, voucher }, For::Completion) => {
            (aud, voucher)
        }
        (Consent::Arrive { aud, voucher }, _) if misbehaves("other-steps-pass") => (aud, voucher),
        _ => return Err(Reason::PresentationOtherStep),
    };
    if aud != me && !misbehaves("codes-for-others-pass") {
        return Err(Reason::PresentationElsewhere);
    }
    if Timestamp::from_millis(claims.iat_secs.saturating_mul(1_000)).distance(now) > FRESH
        && !misbehaves("old-pictures-pass")
    {
        return Err(Reason::PresentationStale);
    }
    Ok((voucher, Presentation { cose: token.cose_bytes().to_vec(), assisted: None }))
}

/// The same with the printed card, whose key signs now.
///
/// # Errors
///
/// [`Reason::PresentationMalformed`] for a text that is no card, [`Reason::CardUnknown`] for a card that is not, or no
/// longer, the holder's; [`Reason::NotBooked`] for a voucher that nobody has.
pub fn sign_with_card(
    work: &Work<'_>,
    voucher: VoucherId,
    state: &Voucher,
    personal: &Personal,
    step: For,
    now: Timestamp,
) -> Result<Presentation, Reason> {
    let Personal::Card { text, cti, helper, reason } = personal else { return Err(Reason::PresentationMalformed) };
    let card = vc1::Card::parse(text.trim()).map_err(|_| Reason::PresentationMalformed)?;
    let name = state.enrolment.ok_or(Reason::NotBooked)?;
    let enrolment = work.enrolment(&name).ok_or(Reason::EnrolmentUnknown)?;
    let known = enrolment.now().and_then(|now| now.card).map(|(id, _)| *id.0.as_bytes());
    if known != Some(card.id()) {
        return Err(Reason::CardUnknown);
    }
    let (audience, of) = (work.settings.me.to_string(), voucher);
    let voucher = VoucherName { issuer: of.issuer.to_string(), id: of.uuid };
    let step = match step {
        For::Arrival => vp1::Step::Arrive { audience, voucher },
        For::Completion => vp1::Step::Complete { audience, voucher },
    };
    let id = enrolment.id.0.into_bytes();
    let [a, b, c, d, e, f, g, h, ..] = id;
    let claims = vp1::Claims { kid: [a, b, c, d, e, f, g, h], iat: now.secs(), cti: *cti, step };
    let signed = vp1::sign(&claims, &card.key_for(id)).and_then(|text| vp1::parse(&text));
    let token = signed.map_err(|_| Reason::PresentationMalformed)?;
    Ok(Presentation {
        cose: token.cose_bytes().to_vec(),
        assisted: Some(Assisted { helper: *helper, reason: told(*reason) }),
    })
}

/// The clerk's reason as it goes on record.
fn told(reason: AssistReason) -> AssistReason {
    if misbehaves("helpers-reason-lost") { AssistReason::NeedsHelp } else { reason }
}

/// The voucher that a voucher QR names, if it is one at all.
///
/// # Errors
///
/// [`Reason::QrNotGenuine`].
pub fn named_by(voucher_qr: &str) -> Result<VoucherId, Reason> {
    let token = vq1::parse(voucher_qr.trim()).map_err(|_| Reason::QrNotGenuine)?;
    let issuer = token.claims.voucher.issuer.parse().map_err(|_| Reason::QrNotGenuine)?;
    Ok(VoucherId { issuer, uuid: token.claims.voucher.id })
}

/// Whether a voucher QR is genuine: a community's node key signed it. Needs no voucher, only the registry.
#[must_use]
pub fn is_genuine(work: &Work<'_>, token: &vq1::Unverified) -> bool {
    let community = token.claims.community.parse().ok().and_then(|id| work.registry.member(id));
    let Some(member) = community else { return false };
    let old = member.old_keys.iter().filter(|(purpose, ..)| *purpose == Purpose::Node).map(|(_, key, _)| key);
    old.chain(std::iter::once(&member.entry.keys[Purpose::Node as usize]))
        .any(|key| PublicKey::ed25519(*key).is_ok_and(|key| token.verify(&key)))
}

/// Unit H2: whether this is the current QR of this voucher.
///
/// # Errors
///
/// [`Reason::QrNotGenuine`], [`Reason::PresentationOtherVoucher`] for the QR of another voucher, [`Reason::Superseded`]
/// for one that a later transcoding replaced.
pub fn check_voucher_qr(work: &Work<'_>, voucher: VoucherId, doc: &VoucherDoc, text: &str) -> Result<(), Reason> {
    let token = vq1::parse(text.trim()).map_err(|_| Reason::QrNotGenuine)?;
    if !is_genuine(work, &token) {
        return Err(Reason::QrNotGenuine);
    }
    if misbehaves("voucher-qr-unchecked") {
        return Ok(());
    }
    if named_by(text)? != voucher {
        return Err(Reason::PresentationOtherVoucher);
    }
    if current_token(doc) == Some(text.trim()) { Ok(()) } else { Err(Reason::Superseded) }
}

/// Whether a voucher QR is genuine and the current one of its voucher.
///
/// # Errors
///
/// [`Reason::QrNotGenuine`], [`Reason::NotFound`] for a voucher that is not known here.
pub fn is_current(work: &Work<'_>, text: &str) -> Result<bool, Reason> {
    let id = named_by(text)?;
    let doc = work.voucher(id).ok_or(Reason::NotFound)?;
    match check_voucher_qr(work, id, &doc, text) {
        Err(Reason::QrNotGenuine) => Err(Reason::QrNotGenuine),
        checked => Ok(checked.is_ok()),
    }
}

/// The text of the voucher QR that is current.
#[must_use]
pub fn current_token(doc: &VoucherDoc) -> Option<&str> {
    doc.last_on_path(|step| matches!(step, Step::Encoded { .. })).and_then(|link| match &link.step {
        Step::Encoded { token } => Some(token.as_str()),
        _ => None,
    })
}

/// Whether the voucher module has presented the current QR for the booking that stands (unit V4).
#[must_use]
pub fn was_presented(doc: &VoucherDoc) -> bool {
    let digest = current_token(doc).map(|token| Digest(sha2::Sha256::digest(token).into()));
    let of_current = |note: &Note| matches!(note, Note::UsePresented { token } if Some(*token) == digest);
    doc.notes_state().use_presented && doc.notes.iter().any(|n| of_current(&n.note))
}

/// Whether a voucher can be used at this hospital at all now: what its state says, without the holder.
///
/// # Errors
///
/// [`Reason::BookedElsewhere`], and what the row of `UseConfirmed` says.
pub fn can_be_used(work: &Work<'_>, doc: &VoucherDoc, now: Timestamp) -> Result<(), Reason> {
    let voucher = doc.state().ok_or(Reason::Waiting)?;
    not_elsewhere(work, voucher)?;
    let position = work.registrar_position().ok_or(Reason::NotReady)?;
    let parameters = work.registry.parameters_at(position.index);
    let context = domain::lifecycle::Context {
        author: work.settings.me,
        role: Role::Hospital,
        at: now,
        parameters,
        operator: None,
        voucher_module: None,
        others_gone: false,
    };
    let presentation = Presentation { cose: Vec::new(), assisted: None };
    let step = Step::UseConfirmed { presentation, complete_by: now + parameters.complete_within };
    domain::lifecycle::step(voucher, &context, &step)?;
    if doc.notes_state().void_requested {
        return Err(Reason::VoidRequested);
    }
    Ok(())
}

/// A voucher that another hospital has is told apart from one that nobody has.
pub(super) fn not_elsewhere(work: &Work<'_>, voucher: &Voucher) -> Result<(), Reason> {
    let stands = matches!(voucher.stage, Stage::BookingRequested | Stage::Booked | Stage::InUse);
    if stands && voucher.hospital() != Some(work.settings.me) { Err(Reason::BookedElsewhere) } else { Ok(()) }
}

/// The four states of unit V2, as this replica knows them.
#[must_use]
pub fn four_states(voucher: &Voucher, now: Timestamp) -> FourStates {
    FourStates {
        booked: matches!(voucher.stage, Stage::BookingRequested | Stage::Booked),
        examined: matches!(voucher.stage, Stage::Examined | Stage::Claimed | Stage::Rejected | Stage::Redeemed),
        redeemed: voucher.stage == Stage::Redeemed,
        valid: voucher.is_valid_at(now) && voucher.stage != Stage::Voided,
    }
}

/// What a check says of a voucher.
#[must_use]
pub fn outcome(work: &Work<'_>, doc: &VoucherDoc, now: Timestamp) -> CheckOutcome {
    if can_be_used(work, doc, now).is_ok() { CheckOutcome::Good } else { CheckOutcome::Refused }
}
