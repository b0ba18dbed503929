//! The record: everything that an institution can put into its log, as it is written.
//!
//! The order of fields and variants is the wire format (docs/record-format.md); golden bytes guard it. Nothing here
//! names a person: identities, departments, doctors, slots and free text stand only as salted digests.

use serde::{Deserialize, Serialize};

use crate::holder::RegistrarEvent;
use crate::ids::{Digest, EnrolmentId, InstitutionId, Operator, RecordName, VoucherId};
use crate::lifecycle::Step;
use crate::member::Role;
use crate::policy::ProgrammeEvent;
use crate::statistics::StatisticsPublished;
use crate::time::Timestamp;

/// Most names of other records that one record may carry (protocol section 2).
pub const MAX_NAMES: usize = 8;

/// Longest COSE message of a presentation, in bytes.
pub const MAX_PRESENTATION_BYTES: usize = 512;

/// Longest VQ1 token, in bytes: an alphanumeric QR of version 10-M (protocol section 3).
pub const MAX_TOKEN_BYTES: usize = 311;

/// One entry of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Whose log it stands in.
    pub institution: InstitutionId,
    /// Its index there: no two records have the same bytes.
    pub index: u64,
    /// In which role the institution acts.
    pub role: Role,
    /// UTC milliseconds, never less than in the record before it.
    pub at: Timestamp,
    /// Who acted, or none where the node acts by itself.
    pub operator: Option<Operator>,
    /// The request that made it, so that its repetition is recognised after a crash too.
    pub idempotency: Option<Idempotency>,
    /// What it says.
    pub body: Body,
}

/// What makes a repeated request recognisable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Idempotency {
    /// SHA-256 over caller and `Idempotency-Key`.
    pub key: Digest,
    /// HMAC-SHA-256 over `Idempotency-Key`, method, path and body, under a key of the node: the same key with another
    /// request is refused, and nobody else can try what the request said.
    pub request: Digest,
}

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Body {
    /// A step of a voucher: it names the record before it and moves the voucher.
    Chain(ChainRecord),
    /// Something about a voucher that moves nothing.
    Note(NoteRecord),
    /// Membership, parameters, enrolments: the registrar's log alone.
    Registrar(RegistrarEvent),
    /// Programmes and their policy: an issuer's log.
    Programme(ProgrammeEvent),
    /// Figures that anyone can recompute: an issuer's log.
    Statistics(StatisticsPublished),
    /// Time has passed in this log: covers every limit up to `at`.
    Heartbeat,
    /// What an auditor found.
    Finding(Finding),
    /// An operator went on against a warning.
    OperatorInsisted(OperatorInsisted),
    /// A second person consented to the record before, which has no field for them.
    Approved(Approved),
}

/// A step of a voucher's chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainRecord {
    /// Which voucher.
    pub voucher: VoucherId,
    /// The record that it continues; none for `Generated` alone.
    pub prev: Option<RecordName>,
    /// The registrar position that it was judged by.
    pub registrar: RecordName,
    /// The step.
    pub step: Step,
}

/// The holder's own signature, as it came from the phone or was made with the card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presentation {
    /// The COSE_Sign1 message of the VP1 token.
    #[serde(with = "crate::raw::string")]
    pub cose: Vec<u8>,
    /// Who helped, if it was made with the printed card.
    pub assisted: Option<Assisted>,
}

/// A clerk signed with the holder's printed card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assisted {
    /// Pseudonym of the clerk.
    pub helper: Operator,
    /// Why the card was used.
    pub reason: AssistReason,
}

/// Why a clerk signed with the printed card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AssistReason {
    /// The holder has no phone.
    NoPhone,
    /// The phone does not work here and now.
    PhoneBroken,
    /// The holder cannot handle the phone.
    NeedsHelp,
}

/// A presentation outside the chain, with the registrar position that it is judged by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Witnessed {
    /// The holder's signature.
    pub presentation: Presentation,
    /// The registrar position.
    pub registrar: RecordName,
}

/// A record about a voucher outside its chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoteRecord {
    /// Which voucher.
    pub voucher: VoucherId,
    /// The chain's head that the author knew.
    pub about: RecordName,
    /// What is noted.
    pub note: Note,
}

/// What can be noted about a voucher. Notes move nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Note {
    /// The holder cancels the booking; the hospital releases it.
    CancelRequested {
        /// Signed with step *cancel*.
        witnessed: Witnessed,
    },
    /// The holder moves the booking; the hospital releases it, and the new slot is held for 10 minutes.
    MoveRequested {
        /// Signed with step *cancel*.
        witnessed: Witnessed,
        /// Salted digest of the new booking's details.
        details: Digest,
        /// The hospital that holds the new slot.
        hospital: InstitutionId,
    },
    /// The voucher's QR goes to the hospital (unit V4).
    UsePresented {
        /// SHA-256 of the VQ1 token.
        token: Digest,
    },
    /// A clerk asks the voucher module for a step in the name of someone without a phone.
    HelpRequested {
        /// Which step.
        step: HelpStep,
        /// Salted digest of the details; the opening travels point to point.
        details: Digest,
        /// Signed with the printed card.
        witnessed: Witnessed,
    },
    /// The holder denies a use; the hospital must answer.
    UseDisputed {
        /// Signed with step *cancel*.
        witnessed: Witnessed,
    },
    /// The issuer wants the voucher back; it binds decisions, never counting.
    VoidRequested {
        /// Why.
        reason: VoidReason,
    },
    /// The issuer pays an honest hospital whose branch was superseded.
    CompensationGranted {
        /// The use that was superseded.
        superseded: RecordName,
        /// The second person.
        approver: Operator,
    },
    /// Someone checked the voucher at a desk, or its holder did.
    Verified {
        /// Where it was checked.
        place: Place,
        /// The four states of unit V2.
        states: FourStates,
        /// What the check said.
        outcome: CheckOutcome,
    },
    /// The holder did not come.
    NoShow,
    /// The community retired the stored voucher QR (unit C6).
    QrRetired,
    /// The community restored the voucher QR after a reversal.
    QrRestored,
    /// The voucher module removed its record and the personal data with it (unit V5).
    RecordRemoved,
}

/// A step that a clerk asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HelpStep {
    /// Book an appointment.
    Book,
    /// Cancel it.
    Cancel,
}

/// Where a check happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// A community's desk.
    CommunityDesk,
    /// A hospital's desk.
    HospitalDesk,
    /// The holder's own terminal.
    Terminal,
}

/// The four states of unit V2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FourStates {
    /// A booking is requested or stands.
    pub booked: bool,
    /// The examination is complete.
    pub examined: bool,
    /// It is redeemed.
    pub redeemed: bool,
    /// Now lies within its validity.
    pub valid: bool,
}

/// What a check said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckOutcome {
    /// It can be used in its state.
    Good,
    /// It cannot.
    Refused,
}

/// Why a voucher is voided or wanted back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VoidReason {
    /// An operator of the issuer says so.
    IssuerDecision,
    /// The holder is no longer entitled.
    EntitlementEnded,
    /// The holder died.
    HolderDied,
    /// Made by mistake.
    Mistake,
    /// Fraud is suspected.
    SuspectedFraud,
    /// The claim was refused for good.
    ClaimRefused,
    /// It was taken back from an institution that is silent.
    TakenBack,
    /// It came back past its validity.
    Lapsed,
}

/// What an auditor found, with its evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What is wrong.
    pub kind: FindingKind,
    /// Whose log or act it is about.
    pub institution: InstitutionId,
    /// The voucher, if it is about one.
    pub voucher: Option<VoucherId>,
    /// The records that show it.
    pub records: Vec<RecordName>,
    /// How many like it in the same log and minute.
    pub count: u64,
    /// SHA-256 of the evidence, served by the auditor under `/v1/audit/evidence/{digest}`.
    pub evidence: Option<Digest>,
}

/// What can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FindingKind {
    /// Two signed heads of one log do not fit.
    Fork,
    /// Entries do not hash to the signed root.
    RootMismatch,
    /// A record's bytes are not canonical, or it stands in the wrong place.
    BadRecord,
    /// `at` went back.
    ClockWentBack,
    /// A record does not count: its author broke a rule.
    RuleBroken,
    /// Two successors of one record in one log.
    SecondSuccessor,
    /// A presentation does not verify.
    BadPresentation,
    /// A presentation was used twice.
    PresentationTwice,
    /// Published statistics are not what the logs say.
    StatisticsDiffer,
    /// A voucher was taken back although a successor was held.
    TakenBackWrongly,
    /// What was settled before a change became known.
    SettledBeforeKnown,
    /// The holder denies a use.
    UseDisputed,
    /// What was generated is not what stands, was voided and was redeemed.
    NotConserved,
    /// The same holder was present at two hospitals at overlapping times.
    OverlappingPresence,
    /// `at` lies before the time at which the auditor saw a signed head without the record.
    BackDated,
    /// A use counts, and its holder's enrolment was blocked before it: within the minutes that a block takes to act.
    UsedAfterBlock,
    /// A use or an examination is dated before the voucher was issued.
    ExaminedBeforeIssue,
    /// A hospital's figures of a week are far from those of its peers.
    OutlierHospital,
    /// More than half of an institution's presentations of a week were signed with the printed card.
    AssistedShare,
}

/// A second person's consent. Both stand in the log: who acted in the record that is named, who consented here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approved {
    /// What was consented to: the record before this one.
    pub record: RecordName,
    /// The second person.
    pub approver: Operator,
}

/// An operator went on against a warning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorInsisted {
    /// Against which warning.
    pub what: Insistence,
}

/// A warning that an operator may overrule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Insistence {
    /// Writing began although not every witness answered the start rule.
    StartRule,
    /// The trust anchor of the configuration was replaced.
    TrustAnchor,
}

/// What the fold needs of a presentation, read from its COSE message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// First eight bytes of the enrolment's or key's id.
    pub kid: [u8; 8],
    /// When the phone signed, in seconds since 1970.
    pub iat_secs: i64,
    /// Random: the same one counts once in a log.
    pub cti: [u8; 8],
    /// What the holder agreed to.
    pub consent: Consent,
}

impl Claims {
    /// Whether the kid is that of an enrolment.
    #[must_use]
    pub fn is_for(&self, enrolment: EnrolmentId) -> bool {
        enrolment.0.as_bytes().starts_with(&self.kid)
    }
}

/// What the holder agreed to by signing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Consent {
    /// Step *register*: proof of possession of a new main key.
    Register,
    /// Step *identify*: display only.
    Identify,
    /// Step *receive*: to be given a voucher of this programme by this community.
    Receive {
        /// The community.
        aud: InstitutionId,
        /// The programme's short name.
        programme: String,
    },
    /// Step *arrive*: I am here.
    Arrive {
        /// The hospital.
        aud: InstitutionId,
        /// The voucher.
        voucher: VoucherId,
    },
    /// Step *complete*: the examination took place.
    Complete {
        /// The hospital.
        aud: InstitutionId,
        /// The voucher.
        voucher: VoucherId,
    },
    /// Step *cancel*: cancel, move, or deny a use.
    Cancel {
        /// The voucher module.
        aud: InstitutionId,
        /// The voucher.
        voucher: VoucherId,
    },
    /// Step *wallet*: this very request to the voucher module.
    Wallet {
        /// The voucher module.
        aud: InstitutionId,
        /// Digest of method, path and body.
        request: Digest,
    },
}
