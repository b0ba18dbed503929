//! The wallet: everything that a holder's terminal shows (units T1, T2), and the check of the four states (V2).

use domain::booking::Slot;
use domain::ids::{EnrolmentId, HolderId, InstitutionId, RecordName, ShortName, VoucherId};
use domain::lifecycle::{Stage, Step, Voucher};
use domain::member::Role;
use domain::reasons::Reason;
use domain::record::{CheckOutcome, FourStates, Note, Place};
use domain::time::Timestamp;
use serde::Serialize;

use super::booking::of_holder;
use super::command::{Answer, Checked};
use super::rows::{self, Outcome};
use crate::misbehave::misbehaves;
use crate::replica::{VoucherDoc, Work};
use crate::writer::{Desk, Refused};

/// Length of a day, in milliseconds.
const DAY_MILLIS: i64 = 86_400_000;

/// Length of a minute, in milliseconds: repeated checks within one are one record.
const MINUTE_MILLIS: i64 = 60_000;

/// What a terminal shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WalletView {
    /// The registrar's random id.
    pub holder: HolderId,
    /// One for each programme: a terminal signs with the key that it made for it.
    pub enrolments: Vec<EnrolmentView>,
    /// The holder's vouchers, those that end first come first.
    pub vouchers: Vec<VoucherView>,
}

/// An enrolment as its holder sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EnrolmentView {
    /// The programme.
    pub programme: ShortName,
    /// The enrolment's id: its first eight bytes are the kid of what is signed under it.
    pub id: EnrolmentId,
    /// The home community, which a QR of step *receive* names.
    pub community: Option<InstitutionId>,
    /// Nothing counts under it any more.
    pub blocked: bool,
}

/// One plain word in two languages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Word {
    /// Chinese.
    pub zh: &'static str,
    /// English.
    pub en: &'static str,
}

/// What the holder can do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Next {
    /// Book an appointment.
    Book,
    /// Wait for the hospital's answer.
    AwaitAnswer,
    /// Go there and show the personal QR.
    Arrive,
    /// Show the personal QR when the examination is done.
    Complete,
    /// Nothing: hospital and issuer settle.
    AwaitSettlement,
    /// Nothing any more.
    Nothing,
}

/// A voucher as its holder sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VoucherView {
    /// Which one.
    pub voucher: VoucherId,
    /// The programme.
    pub programme: ShortName,
    /// Its title in Chinese.
    pub title_zh: String,
    /// Its title in English.
    pub title_en: String,
    /// The department that issued it.
    pub issuing_department: String,
    /// Where it is in its life.
    pub stage: Stage,
    /// The same in one word; *expired* from the end of its validity on, whatever the record.
    pub word: Word,
    /// The four states of unit V2.
    pub states: FourStates,
    /// First moment of validity.
    pub valid_from: Timestamp,
    /// First moment after it.
    pub valid_until: Timestamp,
    /// Days left, the last one counted.
    pub days_left: i64,
    /// Its VQ1 token, while it is not settled.
    pub token: Option<String>,
    /// The booking, if one is requested or stands.
    pub booking: Option<BookingView>,
    /// The appointment to which it is being moved.
    pub moving_to: Option<Slot>,
    /// What the holder can do next.
    pub next: Next,
    /// The hospital's result, while it is kept.
    pub result: Option<ResultView>,
    /// The record of the redemption.
    pub receipt: Option<RecordName>,
}

/// A booking as its holder sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BookingView {
    /// The hospital.
    pub hospital: InstitutionId,
    /// Department, doctor and time; none if this module did not make it.
    pub slot: Option<Slot>,
    /// When the hospital must have answered.
    pub respond_by: Timestamp,
    /// First moment of the arrival window.
    pub use_from: Timestamp,
    /// First moment after it.
    pub use_by: Timestamp,
    /// Whether the hospital agreed.
    pub confirmed: bool,
    /// Whether the holder asked to cancel or move it.
    pub release_requested: bool,
    /// Whether the voucher's QR went to the hospital.
    pub presented: bool,
}

/// A result as its holder sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ResultView {
    /// The hospital.
    pub hospital: InstitutionId,
    /// When it came.
    pub at: Timestamp,
    /// In the hospital's words.
    pub text: String,
    /// What was ordered and done.
    pub items: Vec<domain::booking::Item>,
}

impl From<Outcome> for ResultView {
    fn from(outcome: Outcome) -> Self {
        let Outcome { hospital, text, items, at } = outcome;
        Self { hospital, at, text, items }
    }
}

/// The four states of unit V2, at a time.
#[must_use]
pub fn four_states(voucher: &Voucher, now: Timestamp) -> FourStates {
    FourStates {
        booked: matches!(voucher.stage, Stage::BookingRequested | Stage::Booked) || misbehaves("states-guessed"),
        examined: matches!(voucher.stage, Stage::Examined | Stage::Claimed | Stage::Rejected | Stage::Redeemed),
        redeemed: voucher.stage == Stage::Redeemed,
        valid: voucher.is_valid_at(now) || misbehaves("states-guessed"),
    }
}

/// The word for a stage; *expired* from the end of validity on, as long as nothing has begun.
#[must_use]
pub fn word(voucher: &Voucher, now: Timestamp) -> Word {
    let (zh, en) = match voucher.stage {
        _ if voucher.stage.is_before_use() && now >= voucher.valid_until => ("已过期", "expired"),
        // A holder sees it only once it was theirs.
        Stage::Generated | Stage::Sent | Stage::Encoded => ("已退回", "given back"),
        Stage::Issued if now < voucher.valid_from => ("未生效", "not yet valid"),
        Stage::Issued => ("可预约", "ready"),
        Stage::BookingRequested => ("预约待确认", "waiting"),
        Stage::Booked => ("已预约", "booked"),
        Stage::InUse => ("检查中", "in use"),
        Stage::Examined | Stage::Claimed | Stage::Rejected => ("已检查", "examined"),
        Stage::Redeemed => ("已核销", "redeemed"),
        Stage::Refused | Stage::Voided => ("已作废", "void"),
    };
    Word { zh, en }
}

fn next(voucher: &Voucher, now: Timestamp) -> Next {
    match voucher.stage {
        _ if voucher.stage.is_before_use() && now >= voucher.valid_until => Next::Nothing,
        Stage::Issued => Next::Book,
        Stage::BookingRequested => Next::AwaitAnswer,
        Stage::Booked => Next::Arrive,
        Stage::InUse => Next::Complete,
        Stage::Examined | Stage::Claimed | Stage::Rejected => Next::AwaitSettlement,
        _ => Next::Nothing,
    }
}

/// Days until a time, a begun one counted; none after it.
fn days_left(valid_until: Timestamp, now: Timestamp) -> i64 {
    let left = valid_until.millis().saturating_sub(now.millis()).max(0);
    left.saturating_add(DAY_MILLIS - 1) / DAY_MILLIS
}

/// Everything that a holder's terminal shows.
///
/// # Errors
///
/// [`Reason::HolderUnknown`].
pub fn wallet(work: &Work<'_>, holder: HolderId, now: Timestamp) -> Result<WalletView, Reason> {
    let wallet = rows::wallet(&work.tx, holder).ok_or(Reason::HolderUnknown)?;
    let mut vouchers = Vec::new();
    let mut enrolments = Vec::new();
    for enrolled in &wallet.enrolments {
        let stands = work.enrolment(&enrolled.name).and_then(|e| e.now());
        enrolments.push(EnrolmentView {
            programme: enrolled.programme.clone(),
            id: enrolled.id,
            community: stands.map(|s| s.community),
            blocked: stands.is_some_and(|s| s.blocked.is_some()),
        });
        for id in work.of_enrolment(&enrolled.name) {
            let Some(doc) = work.voucher(id) else { continue };
            let Some(state) = doc.state().filter(|v| v.enrolment == Some(enrolled.name)) else { continue };
            vouchers.extend(view(work, holder, id, &doc, state, now));
        }
    }
    vouchers.sort_by_key(|v| (v.valid_until, v.voucher));
    Ok(WalletView { holder, enrolments, vouchers })
}

fn view(
    work: &Work<'_>,
    holder: HolderId,
    id: VoucherId,
    doc: &VoucherDoc,
    state: &Voucher,
    now: Timestamp,
) -> Option<VoucherView> {
    let programme = work.programme(&state.programme)?;
    let policy = programme.in_force(now)?;
    let notes = doc.notes_state();
    let opening = rows::booking(&work.tx, id);
    let booking =
        state.booking.filter(|_| matches!(state.stage, Stage::BookingRequested | Stage::Booked | Stage::InUse));
    let booking = booking.map(|b| BookingView {
        hospital: b.hospital,
        slot: opening.filter(|o| crate::openings::digest_of(o) == b.details).map(|o| o.slot),
        respond_by: b.respond_by,
        use_from: b.use_from,
        use_by: b.use_by,
        confirmed: state.stage != Stage::BookingRequested,
        release_requested: notes.release_requested,
        presented: notes.use_presented,
    });
    let is_settled = state.stage == Stage::Redeemed && !misbehaves("receipts-withheld");
    let redeemed = doc.last_on_path(|s| matches!(s, Step::Redeemed)).filter(|_| is_settled);
    let token = doc.token().filter(|_| !state.stage.is_settled()).map(ToOwned::to_owned);
    Some(VoucherView {
        voucher: id,
        programme: policy.programme.clone(),
        title_zh: policy.title_zh.clone(),
        title_en: policy.title_en.clone(),
        issuing_department: policy.issuing_department.clone(),
        stage: state.stage,
        word: word(state, now),
        states: four_states(state, now),
        valid_from: state.valid_from,
        valid_until: state.valid_until,
        days_left: days_left(state.valid_until, now),
        token,
        booking,
        moving_to: rows::moving(&work.tx, id).map(|m| m.details.slot),
        next: next(state, now),
        result: rows::result(&work.tx, holder, id).map(Into::into),
        receipt: redeemed.map(|link| link.name),
    })
}

/// Unit V2: checks the four states and puts the check on record, once for each voucher, outcome and minute.
pub(super) fn check(desk: &mut Desk<'_>, holder: HolderId, id: VoucherId) -> Result<Answer, Refused> {
    let (_, doc, state) = of_holder(&desk.work, holder, id)?;
    let states = four_states(&state, desk.now);
    let usable = matches!(state.stage, Stage::Issued | Stage::BookingRequested | Stage::Booked | Stage::InUse);
    let outcome = if usable && states.valid { CheckOutcome::Good } else { CheckOutcome::Refused };
    let me = desk.me();
    let minute = desk.now.millis() / MINUTE_MILLIS;
    let known = doc.notes.iter().any(|n| {
        let same = matches!(&n.note, Note::Verified { outcome: o, place: Place::Terminal, .. } if *o == outcome);
        same && n.name.institution == me && n.at.millis() / MINUTE_MILLIS == minute
    });
    if !known {
        desk.note(Role::Voucher, id, Note::Verified { place: Place::Terminal, states, outcome })?;
    }
    Ok(Answer::Checked(Checked { states, outcome }))
}

/// Something that happened to a voucher, for its holder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Notice {
    /// When.
    pub at: Timestamp,
    /// Which voucher.
    pub voucher: VoucherId,
    /// What, such as `booking-confirmed`.
    pub what: &'static str,
    /// The record that says so.
    pub record: RecordName,
}

/// What happened to a holder's vouchers, newest first, at most `limit`: read from the ledger, so nothing is missed.
///
/// # Errors
///
/// [`Reason::HolderUnknown`].
pub fn notices(work: &Work<'_>, holder: HolderId, limit: usize) -> Result<Vec<Notice>, Reason> {
    let wallet = rows::wallet(&work.tx, holder).ok_or(Reason::HolderUnknown)?;
    let mut all = Vec::new();
    for enrolled in &wallet.enrolments {
        for voucher in work.of_enrolment(&enrolled.name) {
            let Some(doc) = work.voucher(voucher) else { continue };
            // Before it was issued to this holder it was nobody's.
            let since_issue = doc
                .path()
                .skip_while(|l| !matches!(&l.step, Step::Issued { enrolment, .. } if *enrolment == enrolled.name));
            all.extend(since_issue.filter_map(|link| {
                told(&link.step).map(|what| Notice { at: link.at, voucher, what, record: link.name })
            }));
        }
    }
    all.sort_by_key(|n| (std::cmp::Reverse(n.at), n.voucher, std::cmp::Reverse(n.record.index)));
    all.truncate(limit);
    Ok(all)
}

const fn told(step: &Step) -> Option<&'static str> {
    Some(match step {
        Step::Issued { .. } => "issued",
        Step::HandedOver { .. } => "handed-over",
        Step::BookingConfirmed => "booking-confirmed",
        Step::BookingDeclined { .. } => "booking-declined",
        Step::BookingReleased { .. } => "booking-released",
        Step::BookingLapsed { .. } => "booking-lapsed",
        Step::UseConfirmed { .. } => "used",
        Step::UseAborted { .. } => "use-aborted",
        Step::ExamCompleted { .. } => "examined",
        Step::Redeemed => "redeemed",
        Step::ClaimRejected { .. } => "claim-rejected",
        Step::Reversed { .. } => "reversed",
        Step::Returned { .. } => "given-back",
        Step::Voided { .. } => "voided",
        Step::Reclaimed { .. } => "taken-back",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use domain::lifecycle::ClaimReason;

    use super::*;

    #[test]
    fn a_holder_hears_what_became_of_the_claim_and_not_that_it_was_made() {
        let rejected = |is_final| Step::ClaimRejected { reason: ClaimReason::Disputed, is_final };
        let told = [Step::Redeemed, rejected(false), rejected(true)].map(|step| super::told(&step));
        assert_eq!(told, [Some("redeemed"), Some("claim-rejected"), Some("claim-rejected")]);
        assert_eq!(super::told(&Step::BookingConfirmed), Some("booking-confirmed"));
    }
}
