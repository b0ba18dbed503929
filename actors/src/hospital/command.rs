//! What a hospital can be asked, and what it answers.

use domain::booking::{BookingDetails, Examination};
use domain::ids::{InstitutionId, Operator, VoucherId};
use domain::lifecycle::{AbortReason, ReleaseReason};
use domain::record::{AssistReason, CheckOutcome, FourStates};
use domain::time::Timestamp;
use serde::Serialize;
use zeroize::Zeroizing;

use super::schedule::{Closure, WeeklyHours};
use crate::token::vp1::CTI_BYTES;

/// What a hospital can be asked.
pub enum Command {
    /// Replaces the weekly hours. Bookings that stand are kept.
    SetSchedule(Vec<WeeklyHours>),
    /// Replaces the days on which the weekly hours do not hold. Bookings that stand are kept.
    SetClosures(Vec<Closure>),
    /// A voucher module tells what a booking is about.
    Open {
        /// Who sent it.
        from: InstitutionId,
        /// The opening.
        details: BookingDetails,
    },
    /// Answers a booking that is requested.
    Answer(VoucherId),
    /// Lets a booking go.
    Release {
        /// Which voucher.
        voucher: VoucherId,
        /// Why.
        reason: ReleaseReason,
    },
    /// The holder did not come.
    NoShow(VoucherId),
    /// The holder is at the desk.
    Arrive(Arrival),
    /// A desk looks whether a voucher can be used here and now; written down, good or refused.
    Check {
        /// Which voucher.
        voucher: VoucherId,
        /// Whether something beside the voucher's state was wrong, such as the personal QR.
        refused: bool,
    },
    /// The examination is complete.
    Complete(Completion),
    /// The use is undone.
    Abort {
        /// Which voucher.
        voucher: VoucherId,
        /// Why.
        reason: AbortReason,
    },
    /// Claims the redemption of a completed examination.
    Claim(VoucherId),
    /// Claims again after a rejection: an operator's act, never a duty.
    AnswerRejection(VoucherId),
    /// Gives a voucher back that the issuer wants.
    Return(VoucherId),
    /// Forgets openings and evidence that nobody can need any more.
    Tidy,
}

/// How the holder says that it is them.
pub enum Personal {
    /// The text of the VP1 that the phone shows.
    Phone(String),
    /// The printed card, with which the desk signs for the holder.
    Card {
        /// The text of the VC1. It is a secret: it is wiped after use and written nowhere.
        text: Zeroizing<String>,
        /// Random, made at the edge.
        cti: [u8; CTI_BYTES],
        /// Who helps.
        helper: Operator,
        /// Why.
        reason: AssistReason,
    },
}

impl Personal {
    /// A card as it was scanned, with what is random about its use.
    #[must_use]
    pub fn card(text: String, cti: [u8; CTI_BYTES], helper: Operator, reason: AssistReason) -> Self {
        Self::Card { text: Zeroizing::new(text), cti, helper, reason }
    }
}

/// A holder at the desk (units H1 and H2).
pub struct Arrival {
    /// Who is there.
    pub personal: Personal,
    /// The text of the VQ1; none if the voucher module has presented it already (unit V4).
    pub voucher_qr: Option<String>,
    /// Which voucher, where neither QR says it: a card and a voucher that was presented.
    pub voucher: Option<VoucherId>,
}

/// A completed examination (unit H3).
pub struct Completion {
    /// Which voucher.
    pub voucher: VoucherId,
    /// The holder's word that it took place.
    pub personal: Personal,
    /// What was done.
    pub examination: Examination,
    /// Random, made at the edge: what the evidence's digest is salted with.
    pub salt: [u8; 32],
}

/// What a hospital answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// It is done.
    Done,
    /// The opening is kept.
    Opened {
        /// Whether the booking was confirmed with it; none if it is not requested yet, or answered already.
        confirmed: Option<bool>,
    },
    /// The holder is in.
    Visit {
        /// Which voucher is used.
        voucher: VoucherId,
        /// When the examination must be complete.
        complete_by: Timestamp,
    },
    /// What a check said.
    Checked {
        /// Which voucher.
        voucher: VoucherId,
        /// Its four states.
        states: FourStates,
        /// Whether it can be used here and now.
        outcome: CheckOutcome,
    },
}
