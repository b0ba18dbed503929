//! The voucher's life: its stages, the steps between them, and who may take which step when.
//!
//! ```text
//! generated ─► sent ─► encoded ─► issued ⇄ booking requested ─► booked ─► in use ─► examined ─► claimed ─► redeemed
//!     ▲          │        │         │              │              │         │                    │  ▲
//!     └──────────┴────────┴─────────┴── Returned ──┴──────────────┘         │             rejected ─┘
//!     │                             ▲────────── UseAborted ◄────────────────┘                │ final
//!     └─► voided ◄─── refused ◄──── Reclaimed (any unsettled) ◄──────────────────────────────┘
//! ```
//!
//! [`step`] is one row of the protocol's table: it knows the state before, the author, the time and the step, and
//! nothing of other records. What depends on other records is judged in [`crate::custody`].

use serde::{Deserialize, Serialize};

use crate::ids::{Digest, InstitutionId, Operator, RecordName};
use crate::member::{Parameters, Role};
use crate::reasons::Reason;
use crate::record::Presentation;
use crate::time::{Millis, Timestamp};

pub use crate::causes::{
    AbortReason, ClaimReason, DeclineReason, Outcome, ReclaimReason, ReleaseReason, ReturnReason, ReverseReason,
    VoidCause,
};

/// How long before the slot an arrival counts.
pub const ARRIVE_BEFORE: Millis = Millis::hours(2);

/// How long after the slot's end an arrival counts, at most.
pub const ARRIVE_AFTER: Millis = Millis::hours(2);

/// Most claims for one examination: the first and two answers to rejections.
pub const MAX_CLAIMS: u8 = 3;

/// Where a voucher is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Made by the issuer.
    Generated,
    /// On its way to a community.
    Sent,
    /// The community made its QR.
    Encoded,
    /// The holder has it.
    Issued,
    /// The hospital is asked.
    BookingRequested,
    /// The hospital agreed.
    Booked,
    /// The holder is there.
    InUse,
    /// The examination is complete.
    Examined,
    /// The hospital claims.
    Claimed,
    /// The claim was rejected; the hospital may answer.
    Rejected,
    /// Refused for good, or taken back: only `Voided` may follow.
    Refused,
    /// Settled: redeemed.
    Redeemed,
    /// Settled: voided.
    Voided,
}

impl Stage {
    /// Every stage.
    pub const ALL: [Self; 13] = [
        Self::Generated,
        Self::Sent,
        Self::Encoded,
        Self::Issued,
        Self::BookingRequested,
        Self::Booked,
        Self::InUse,
        Self::Examined,
        Self::Claimed,
        Self::Rejected,
        Self::Refused,
        Self::Redeemed,
        Self::Voided,
    ];

    /// Whether the examination has not begun: time limits of validity apply.
    #[must_use]
    pub const fn is_before_use(self) -> bool {
        matches!(
            self,
            Self::Generated | Self::Sent | Self::Encoded | Self::Issued | Self::BookingRequested | Self::Booked
        )
    }

    /// Whether nothing more is expected.
    #[must_use]
    pub const fn is_settled(self) -> bool {
        matches!(self, Self::Redeemed | Self::Voided)
    }

    /// The role in which its custodian holds it.
    #[must_use]
    pub const fn custodian_role(self) -> Role {
        match self {
            Self::Sent | Self::Encoded => Role::Community,
            Self::Issued => Role::Voucher,
            Self::BookingRequested | Self::Booked | Self::InUse | Self::Examined | Self::Rejected => Role::Hospital,
            Self::Generated | Self::Claimed | Self::Refused | Self::Redeemed | Self::Voided => Role::Issuer,
        }
    }
}

/// A step of a voucher, as it stands in a chain record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// B2: it exists.
    Generated {
        /// The record that published the programme.
        programme: RecordName,
        /// First moment of validity.
        valid_from: Timestamp,
        /// First moment after it.
        valid_until: Timestamp,
    },
    /// B3: it goes to a community.
    Sent {
        /// Which one.
        community: InstitutionId,
    },
    /// C3: it has its QR.
    Encoded {
        /// The VQ1 token.
        token: String,
    },
    /// C5: the holder has it.
    Issued {
        /// Whose it is.
        enrolment: RecordName,
        /// Signed with step *receive*.
        presentation: Presentation,
    },
    /// Another voucher module looks after it.
    HandedOver {
        /// The holder's enrolment with the new module.
        enrolment: RecordName,
    },
    /// V3: the hospital is asked.
    Booked {
        /// Which one.
        hospital: InstitutionId,
        /// Salted digest of department, doctor and slot.
        details: Digest,
        /// When the answer must have come.
        respond_by: Timestamp,
        /// First moment of the arrival window.
        use_from: Timestamp,
        /// First moment after it.
        use_by: Timestamp,
    },
    /// The hospital agrees.
    BookingConfirmed,
    /// The hospital does not.
    BookingDeclined {
        /// Why.
        reason: DeclineReason,
    },
    /// The hospital lets it go.
    BookingReleased {
        /// Why.
        reason: ReleaseReason,
    },
    /// The voucher module takes it back: the hospital's time is surely over.
    BookingLapsed {
        /// A record of the hospital's log at or past the limit.
        position: RecordName,
    },
    /// H2: the holder is here.
    UseConfirmed {
        /// Signed with step *arrive*.
        presentation: Presentation,
        /// When the examination must be complete.
        complete_by: Timestamp,
    },
    /// The use is undone.
    UseAborted {
        /// Why.
        reason: AbortReason,
    },
    /// H3: the examination is complete.
    ExamCompleted {
        /// Salted digest of the evidence.
        evidence: Digest,
        /// Signed with step *complete*.
        presentation: Presentation,
        /// When it must be claimed.
        claim_by: Timestamp,
    },
    /// H4: the hospital claims.
    RedemptionClaimed {
        /// The rejection that it answers, if it does.
        answers: Option<RecordName>,
    },
    /// B6: the issuer agrees.
    Redeemed,
    /// B6: the issuer does not.
    ClaimRejected {
        /// Why.
        reason: ClaimReason,
        /// Whether it may not be answered.
        is_final: bool,
    },
    /// The custodian gives it back to the issuer.
    Returned {
        /// Why.
        reason: ReturnReason,
    },
    /// B4: the issuer voids it.
    Voided {
        /// Why, with proof where it takes it from others.
        cause: VoidCause,
    },
    /// The issuer takes it from a silent custodian.
    Reclaimed {
        /// Why.
        reason: ReclaimReason,
        /// The last positions held of the logs concerned.
        positions: Vec<RecordName>,
    },
    /// The issuer corrects a redemption.
    Reversed {
        /// Why.
        reason: ReverseReason,
        /// The second person.
        approver: Operator,
        /// Whether it goes back to the issuer.
        void: bool,
    },
    /// The issuer decides what a fork, a line or a superseded branch left open.
    Resolved {
        /// What is kept.
        outcome: Outcome,
        /// The second person.
        approver: Operator,
    },
}

/// A voucher's state after a record of its chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Voucher {
    /// Where it is in its life.
    pub stage: Stage,
    /// Who may write the next record; none once it is settled.
    pub custodian: Option<InstitutionId>,
    /// Who wrote `Generated`.
    pub issuer: InstitutionId,
    /// The record that published its programme.
    pub programme: RecordName,
    /// First moment of validity.
    pub valid_from: Timestamp,
    /// First moment after it.
    pub valid_until: Timestamp,
    /// The community that it was sent to.
    pub community: Option<InstitutionId>,
    /// Whose it is.
    pub enrolment: Option<RecordName>,
    /// The voucher module that looks after it.
    pub voucher_module: Option<InstitutionId>,
    /// The booking, from request to claim.
    pub booking: Option<Booking>,
    /// When the examination must be complete, while in use.
    pub complete_by: Option<Timestamp>,
    /// When it must be claimed, once examined.
    pub claim_by: Option<Timestamp>,
    /// How often it was claimed.
    pub claims: u8,
    /// When it was redeemed.
    pub redeemed_at: Option<Timestamp>,
}

/// A booking as the ledger knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Booking {
    /// The hospital.
    pub hospital: InstitutionId,
    /// Salted digest of department, doctor and slot.
    pub details: Digest,
    /// When the answer must have come.
    pub respond_by: Timestamp,
    /// First moment of the arrival window.
    pub use_from: Timestamp,
    /// First moment after it.
    pub use_by: Timestamp,
}

/// What a row needs to know beside the state before.
#[derive(Debug, Clone, Copy)]
pub struct Context {
    /// Who writes.
    pub author: InstitutionId,
    /// In which role.
    pub role: Role,
    /// The record's own time.
    pub at: Timestamp,
    /// The federation's numbers at the named registrar position.
    pub parameters: Parameters,
    /// Operator that acts, for steps that need two persons.
    pub operator: Option<Operator>,
    /// For `Issued` and `HandedOver`: the voucher module of the named enrolment.
    pub voucher_module: Option<InstitutionId>,
    /// For `HandedOver`, `Reclaimed`: the author may act because who should is not in good standing.
    pub others_gone: bool,
}

impl Voucher {
    /// The time at which its custodian's right to the next forward step ends, if it has a limit.
    #[must_use]
    pub fn limit(&self) -> Option<Timestamp> {
        match self.stage {
            Stage::BookingRequested => self.booking.map(|b| b.respond_by),
            Stage::Booked => self.booking.map(|b| b.use_by),
            Stage::Generated | Stage::Sent | Stage::Encoded | Stage::Issued => Some(self.valid_until),
            Stage::InUse => self.complete_by,
            Stage::Examined | Stage::Rejected => self.claim_by,
            Stage::Claimed | Stage::Refused | Stage::Redeemed | Stage::Voided => None,
        }
    }

    /// Those in whose logs it must be proved that the validity is over, before the issuer may void it as expired.
    #[must_use]
    pub fn must_be_silent(&self) -> Vec<InstitutionId> {
        let mut logs = Vec::new();
        match self.stage {
            Stage::Sent | Stage::Encoded | Stage::Issued => logs.extend(self.custodian),
            Stage::BookingRequested | Stage::Booked => {
                logs.extend(self.custodian);
                logs.extend(self.voucher_module);
            }
            _ => {}
        }
        logs.dedup();
        logs
    }

    /// The hospital of the booking, if any.
    #[must_use]
    pub fn hospital(&self) -> Option<InstitutionId> {
        self.booking.map(|b| b.hospital)
    }

    /// Whether a time lies within its validity.
    #[must_use]
    pub fn is_valid_at(&self, at: Timestamp) -> bool {
        self.valid_from <= at && at < self.valid_until
    }

    /// The voucher as it stands once what everybody held has passed on to the `heir` of each in a role.
    #[must_use]
    pub fn inherited(mut self, heir: impl Fn(InstitutionId, Role) -> InstitutionId) -> Self {
        let role = self.stage.custodian_role();
        self.custodian = self.custodian.map(|id| heir(id, role));
        self.issuer = heir(self.issuer, Role::Issuer);
        self.community = self.community.map(|id| heir(id, Role::Community));
        self.voucher_module = self.voucher_module.map(|id| heir(id, Role::Voucher));
        if let Some(booking) = &mut self.booking {
            booking.hospital = heir(booking.hospital, Role::Hospital);
        }
        self
    }

    fn into_issuer(mut self, stage: Stage) -> Self {
        self.stage = stage;
        self.custodian = Some(self.issuer);
        self.booking = None;
        self.complete_by = None;
        self.claim_by = None;
        self.redeemed_at = None;
        if stage == Stage::Generated {
            // Community, enrolment and module stay named until it is sent again: they still have to clear up.
            self.claims = 0;
        }
        self
    }

    fn into_voucher_module(mut self, at: Timestamp) -> Result<Self, Reason> {
        if at >= self.valid_until {
            // A voucher given back past its validity goes to the issuer, who voids it.
            return Ok(self.into_issuer(Stage::Generated));
        }
        self.stage = Stage::Issued;
        self.custodian = Some(self.voucher_module.ok_or(Reason::WrongState)?);
        self.booking = None;
        self.complete_by = None;
        self.claim_by = None;
        self.claims = 0;
        self.redeemed_at = None;
        Ok(self)
    }

    /// The voucher as a chain record leaves it when the next custodian cannot take it (protocol section 2, Counting).
    #[must_use]
    pub fn bounced(self) -> Self {
        let stage = if self.stage == Stage::Rejected { Stage::Refused } else { Stage::Generated };
        self.into_issuer(stage)
    }
}

const fn only(good: bool, reason: Reason) -> Result<(), Reason> {
    if good { Ok(()) } else { Err(reason) }
}

/// Why a voucher in this stage cannot take a step that another stage allows.
#[must_use]
pub const fn wrong_stage(stage: Stage) -> Reason {
    match stage {
        Stage::Redeemed => Reason::AlreadyRedeemed,
        Stage::Voided | Stage::Refused => Reason::Voided,
        Stage::BookingRequested | Stage::Booked => Reason::AlreadyBooked,
        Stage::InUse | Stage::Examined | Stage::Claimed | Stage::Rejected => Reason::AlreadyUsed,
        Stage::Generated | Stage::Sent | Stage::Encoded | Stage::Issued => Reason::WrongState,
    }
}

/// The first step of a voucher.
///
/// # Errors
///
/// [`Reason::WrongRole`] unless an issuer writes it, [`Reason::BadWindow`] unless it is valid for some time,
/// [`Reason::WrongState`] if it is not `Generated`.
pub fn first(context: &Context, step: &Step) -> Result<Voucher, Reason> {
    let Step::Generated { programme, valid_from, valid_until } = step else {
        return Err(Reason::WrongState);
    };
    only(context.role == Role::Issuer, Reason::WrongRole)?;
    only(valid_from < valid_until && context.at < *valid_until, Reason::BadWindow)?;
    Ok(Voucher {
        stage: Stage::Generated,
        custodian: Some(context.author),
        issuer: context.author,
        programme: *programme,
        valid_from: *valid_from,
        valid_until: *valid_until,
        community: None,
        enrolment: None,
        voucher_module: None,
        booking: None,
        complete_by: None,
        claim_by: None,
        claims: 0,
        redeemed_at: None,
    })
}

/// One row of the table: the voucher after a step, by what the step and the state before say alone.
///
/// # Errors
///
/// The [`Reason`] that names the broken rule: custody, role, stage or time.
///
/// # Source
///
/// Protocol section 2, the table of chain records.
pub fn step(before: &Voucher, context: &Context, step: &Step) -> Result<Voucher, Reason> {
    let Context { author, at, .. } = *context;
    let is_issuer = author == before.issuer && context.role == Role::Issuer;
    let is_custodian = before.custodian == Some(author) && context.role == before.stage.custodian_role();
    let is_module = before.voucher_module == Some(author) && context.role == Role::Voucher;
    // Before use nothing but the issuer's records counts once the validity is over.
    if before.stage.is_before_use() && !is_issuer && at >= before.valid_until {
        return Err(Reason::Expired);
    }
    let from = |stages: &[Stage]| only(stages.contains(&before.stage), wrong_stage(before.stage));
    let custodian = || only(is_custodian, Reason::NotCustodian);
    let issuer = || only(is_issuer, Reason::NotCustodian);
    let second = |approver: &Operator| only(context.operator.is_some_and(|o| o != *approver), Reason::ApproverNeeded);
    let booking = || before.booking.ok_or(Reason::WrongState);
    let mut after = before.clone();

    match step {
        Step::Generated { .. } => Err(Reason::WrongState),
        Step::Sent { community } => {
            from(&[Stage::Generated])?;
            custodian()?;
            after.stage = Stage::Sent;
            after.custodian = Some(*community);
            after.community = Some(*community);
            after.enrolment = None;
            after.voucher_module = None;
            Ok(after)
        }
        Step::Encoded { .. } => {
            from(&[Stage::Sent])?;
            custodian()?;
            after.stage = Stage::Encoded;
            Ok(after)
        }
        Step::Issued { enrolment, .. } => {
            from(&[Stage::Encoded])?;
            custodian()?;
            let module = context.voucher_module.ok_or(Reason::EnrolmentUnknown)?;
            after.stage = Stage::Issued;
            after.enrolment = Some(*enrolment);
            after.voucher_module = Some(module);
            after.custodian = Some(module);
            Ok(after)
        }
        Step::HandedOver { enrolment } => {
            from(&[Stage::Issued])?;
            only(is_custodian || (is_issuer && context.others_gone), Reason::NotCustodian)?;
            let module = context.voucher_module.ok_or(Reason::EnrolmentUnknown)?;
            after.enrolment = Some(*enrolment);
            after.voucher_module = Some(module);
            after.custodian = Some(module);
            Ok(after)
        }
        Step::Booked { hospital, details, respond_by, use_from, use_by } => {
            from(&[Stage::Issued])?;
            custodian()?;
            only(before.valid_from <= at, Reason::NotYetValid)?;
            only(before.is_valid_at(*use_by), Reason::Expired)?;
            only(at < *respond_by && respond_by <= use_by && use_from < use_by && at < *use_by, Reason::BadWindow)?;
            after.stage = Stage::BookingRequested;
            after.custodian = Some(*hospital);
            after.booking = Some(Booking {
                hospital: *hospital,
                details: *details,
                respond_by: *respond_by,
                use_from: *use_from,
                use_by: *use_by,
            });
            Ok(after)
        }
        Step::BookingConfirmed => {
            from(&[Stage::BookingRequested])?;
            custodian()?;
            only(at < booking()?.respond_by, Reason::ResponseTooLate)?;
            after.stage = Stage::Booked;
            Ok(after)
        }
        Step::BookingDeclined { .. } => {
            from(&[Stage::BookingRequested])?;
            custodian()?;
            only(at < booking()?.respond_by, Reason::ResponseTooLate)?;
            after.into_voucher_module(at)
        }
        Step::BookingReleased { .. } => {
            from(&[Stage::Booked])?;
            custodian()?;
            only(at < booking()?.use_by, Reason::TooLate)?;
            after.into_voucher_module(at)
        }
        Step::BookingLapsed { .. } => {
            from(&[Stage::BookingRequested, Stage::Booked])?;
            only(is_module, Reason::NotCustodian)?;
            after.into_voucher_module(at)
        }
        Step::UseConfirmed { complete_by, .. } => {
            if before.stage == Stage::BookingRequested {
                return Err(Reason::NotBooked);
            }
            only(before.stage == Stage::Booked, use_refused(before.stage))?;
            custodian()?;
            let booking = booking()?;
            only(booking.use_from <= at, Reason::TooEarly)?;
            only(at < booking.use_by, Reason::TooLate)?;
            let limit = at + context.parameters.complete_within;
            only(at < *complete_by && *complete_by <= limit, Reason::BadWindow)?;
            after.stage = Stage::InUse;
            after.complete_by = Some(*complete_by);
            Ok(after)
        }
        Step::UseAborted { reason } => {
            from_use(before.stage)?;
            custodian()?;
            if *reason == AbortReason::DeskError && at < booking()?.use_by {
                after.stage = Stage::Booked;
                after.complete_by = None;
                Ok(after)
            } else {
                after.into_voucher_module(at)
            }
        }
        Step::ExamCompleted { claim_by, .. } => {
            from_use(before.stage)?;
            custodian()?;
            only(before.complete_by.is_some_and(|by| at < by), Reason::CompletionTooLate)?;
            let limit = at + context.parameters.claim_within;
            only(at < *claim_by && *claim_by <= limit, Reason::BadWindow)?;
            after.stage = Stage::Examined;
            after.complete_by = None;
            after.claim_by = Some(*claim_by);
            Ok(after)
        }
        Step::RedemptionClaimed { answers } => {
            only(matches!(before.stage, Stage::Examined | Stage::Rejected), claim_refused(before.stage))?;
            custodian()?;
            only(answers.is_some() == (before.stage == Stage::Rejected), Reason::AnswerMissing)?;
            only(before.claims < MAX_CLAIMS, Reason::TooManyClaims)?;
            only(before.claim_by.is_some_and(|by| at < by), Reason::ClaimTooLate)?;
            after.stage = Stage::Claimed;
            after.custodian = Some(before.issuer);
            after.claims += 1;
            Ok(after)
        }
        Step::Redeemed => {
            only(before.stage == Stage::Claimed, claim_refused(before.stage))?;
            issuer()?;
            after.stage = Stage::Redeemed;
            after.custodian = None;
            after.redeemed_at = Some(at);
            Ok(after)
        }
        Step::ClaimRejected { is_final, .. } => {
            only(before.stage == Stage::Claimed, claim_refused(before.stage))?;
            issuer()?;
            if *is_final || before.claims >= MAX_CLAIMS {
                return Ok(after.into_issuer(Stage::Refused));
            }
            after.stage = Stage::Rejected;
            after.custodian = Some(booking()?.hospital);
            Ok(after)
        }
        Step::Returned { .. } => {
            let allowed = [Stage::Sent, Stage::Encoded, Stage::Issued, Stage::BookingRequested, Stage::Booked];
            from(&allowed)?;
            custodian()?;
            if before.stage == Stage::BookingRequested {
                only(at < booking()?.respond_by, Reason::ResponseTooLate)?;
            } else if before.stage == Stage::Booked {
                only(at < booking()?.use_by, Reason::TooLate)?;
            }
            Ok(after.into_issuer(Stage::Generated))
        }
        Step::Voided { cause } => {
            issuer()?;
            match cause {
                VoidCause::Reason(_) => from(&[Stage::Generated, Stage::Refused])?,
                VoidCause::Expired { .. } => {
                    only(before.stage.is_before_use(), wrong_stage(before.stage))?;
                    only(at >= before.valid_until, Reason::NotSurelyOver)?;
                }
            }
            after.stage = Stage::Voided;
            after.custodian = None;
            Ok(after)
        }
        Step::Reclaimed { .. } => {
            issuer()?;
            only(!before.stage.is_settled() && before.custodian != Some(before.issuer), wrong_stage(before.stage))?;
            let parameters = &context.parameters;
            let grace =
                if before.stage.is_before_use() { parameters.grace_before_use } else { parameters.grace_after_use };
            let over = before.limit().is_some_and(|limit| at >= limit + grace);
            only(over || context.others_gone, Reason::GraceNotOver)?;
            Ok(after.into_issuer(Stage::Refused))
        }
        Step::Reversed { approver, void, .. } => {
            only(before.stage == Stage::Redeemed, Reason::WrongState)?;
            issuer()?;
            second(approver)?;
            let until = before.redeemed_at.ok_or(Reason::WrongState)? + context.parameters.correction_period;
            only(at < until, Reason::CorrectionOver)?;
            if *void { Ok(after.into_issuer(Stage::Generated)) } else { after.into_voucher_module(at) }
        }
        Step::Resolved { outcome, approver } => {
            issuer()?;
            second(approver)?;
            only(before.stage != Stage::Redeemed, Reason::AlreadyRedeemed)?;
            match outcome {
                Outcome::Void(_) => {
                    after.stage = Stage::Voided;
                    after.custodian = None;
                    Ok(after)
                }
                // Which state a kept branch has is for the fold to say: it alone sees the tree.
                Outcome::Keep(_) => Ok(after),
            }
        }
    }
}

const fn from_use(stage: Stage) -> Result<(), Reason> {
    match stage {
        Stage::InUse => Ok(()),
        Stage::BookingRequested | Stage::Booked => Err(Reason::WrongState),
        _ => Err(wrong_stage(stage)),
    }
}

const fn use_refused(stage: Stage) -> Reason {
    match stage {
        Stage::Generated | Stage::Sent | Stage::Encoded | Stage::Issued => Reason::NotBooked,
        _ => wrong_stage(stage),
    }
}

const fn claim_refused(stage: Stage) -> Reason {
    match stage {
        Stage::Redeemed => Reason::AlreadyRedeemed,
        Stage::Voided | Stage::Refused => Reason::Voided,
        _ => Reason::WrongState,
    }
}
