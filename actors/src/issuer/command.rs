//! What the issuer can be asked, and what it answers.

use domain::booking::{BookingDetails, Evidence};
use domain::holder::BlockReason;
use domain::ids::{CardId, Digest, EnrolmentId, InstitutionId, Operator, RecordName, ShortName, VoucherId};
use domain::lifecycle::{ClaimReason, Outcome, ReverseReason};
use domain::member::{MemberEntry, Parameters, Purpose, Role, Signature};
use domain::policy::{Class, Policy};
use domain::record::VoidReason;
use domain::statistics::Covered;
use domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::token::PublicKey;

/// Who asks about a holder: none for an operator of the registrar, else the community that asks for its own holder.
pub type By = Option<InstitutionId>;

/// What the issuer can be asked.
#[derive(Debug, Clone)]
pub enum Command {
    /// What takes two persons, where its record has no field for the second: another record beside it names them.
    Approved {
        /// What is to be done.
        command: Box<Self>,
        /// The second person.
        approver: Operator,
    },
    /// B1, registrar: a new member.
    RegisterMember(Box<MemberEntry>),
    /// B1, registrar: other roles or another URL, from the known size of the member's log on.
    ChangeMember {
        /// Who.
        institution: InstitutionId,
        /// Its roles, in order, each once.
        roles: Vec<Role>,
        /// Base URL, at most 200 bytes.
        url: String,
    },
    /// B1, registrar: suspend, restore or revoke.
    Stand {
        /// Who.
        institution: InstitutionId,
        /// How it stands from then on.
        standing: Standing,
        /// The index in its log from which it holds; the size known here if none is given.
        from: Option<u64>,
        /// Its key was stolen: `from` may lie below the size known here.
        key_stolen: bool,
        /// The second person.
        approver: Operator,
    },
    /// B1, registrar: another key for a member.
    RotateKey {
        /// Who.
        institution: InstitutionId,
        /// Which key.
        purpose: Purpose,
        /// The new key.
        key: [u8; 32],
        /// Proof of possession by the new key.
        proof: Box<Signature>,
        /// The old key's signature over the same and the new key; none after loss or theft.
        by_old: Option<Box<Signature>>,
        /// The size of the member's log up to which the old key's heads hold; the size known here if none is given.
        from: Option<u64>,
        /// The old key was stolen: `from` may lie below the size known here.
        key_stolen: bool,
        /// The second person.
        approver: Operator,
    },
    /// B1, registrar: the line for a log that forked.
    Freeze {
        /// Whose log.
        institution: InstitutionId,
        /// What it holds up to this size counts.
        size: u64,
        /// The root at that size.
        root: Digest,
        /// The second person.
        approver: Operator,
    },
    /// B1, registrar: another log goes on where a member's ended.
    SucceedLog {
        /// Whose log ended.
        institution: InstitutionId,
        /// What it holds up to this size counts.
        size: u64,
        /// The root at that size.
        root: Digest,
        /// Whose log goes on: it plays all roles of the other.
        successor: InstitutionId,
        /// The second person.
        approver: Operator,
    },
    /// B1, registrar: another issuer goes on with an issuer's vouchers.
    SucceedIssuer {
        /// Who is gone.
        issuer: InstitutionId,
        /// Who goes on.
        successor: InstitutionId,
        /// The second person.
        approver: Operator,
    },
    /// Registrar: the federation's numbers.
    SetParameters(Parameters),
    /// B2: a new programme.
    PublishProgramme(Box<Policy>),
    /// B2: another policy for a programme; it acts ten minutes later.
    ChangeProgramme {
        /// The programme's short name; that of the policy too.
        programme: ShortName,
        /// The new policy.
        policy: Box<Policy>,
    },
    /// B1, registrar: a person.
    Register(Box<Registration>),
    /// B1, registrar: a registered person in more programmes.
    Enrol {
        /// Who.
        holder: Uuid,
        /// Who asks.
        by: By,
        /// In which programmes.
        enrolments: Vec<Wanted>,
    },
    /// B1, registrar: blocks all enrolments of a person, with phone and card, in one act.
    Block {
        /// Who.
        holder: Uuid,
        /// Who asks.
        by: By,
        /// Why.
        reason: BlockReason,
    },
    /// B1, registrar: another phone. Enrolments that are not named have no phone key from then on.
    ChangeKey {
        /// Who.
        holder: Uuid,
        /// Who asks.
        by: By,
        /// Text of a VP1 with step *register*; none if only a card is left.
        main_key: Option<String>,
        /// The phone's key for each programme.
        keys: Vec<(ShortName, PublicKey)>,
    },
    /// B1, registrar: a printed card; it replaces an earlier one.
    IssueCard {
        /// Who.
        holder: Uuid,
        /// Who asks.
        by: By,
        /// The card's random id.
        card: CardId,
        /// The card's Ed25519 key for each programme.
        keys: Vec<(ShortName, [u8; 32])>,
    },
    /// B1, registrar: another home community or voucher module.
    Move {
        /// Who.
        holder: Uuid,
        /// Who asks.
        by: By,
        /// The new home community.
        community: InstitutionId,
        /// The new voucher module.
        voucher_module: InstitutionId,
    },
    /// B2: generates vouchers.
    Generate {
        /// The short name of a programme of this issuer.
        programme: ShortName,
        /// Their ids, as [`super::batch_ids`] makes them, 1 to 250.
        uuids: Vec<Uuid>,
        /// First moment of validity; now if none is given.
        valid_from: Option<Timestamp>,
    },
    /// B3: sends generated vouchers, those that end first go first. All or none.
    Dispatch {
        /// To whom.
        community: InstitutionId,
        /// The short name of a programme of this issuer.
        programme: ShortName,
        /// How many, 1 to 250.
        count: usize,
    },
    /// B4: voids a voucher, or asks its custodian to give it back.
    Void {
        /// Which one.
        voucher: VoucherId,
        /// Why.
        reason: VoidReason,
    },
    /// B4, duty: voids what was given back, refused or asked for.
    VoidHeld {
        /// Which one.
        voucher: VoucherId,
    },
    /// B4, duty: voids what is surely past its validity.
    VoidExpired {
        /// Which one.
        voucher: VoucherId,
    },
    /// B4: takes a voucher from a custodian that is silent or not in good standing.
    Reclaim {
        /// Which one.
        voucher: VoucherId,
    },
    /// The holder's new voucher module takes over from one that is gone.
    HandOver {
        /// Which voucher.
        voucher: VoucherId,
    },
    /// B5: the openings behind a hospital's claim.
    ReceiveOpenings {
        /// The hospital that sends them.
        from: InstitutionId,
        /// About which voucher.
        voucher: VoucherId,
        /// What stands behind the digests.
        openings: Box<Openings>,
    },
    /// B6, duty: settles or rejects a claim by the rules.
    AnswerClaim {
        /// Which voucher.
        voucher: VoucherId,
    },
    /// B6: an operator settles a claim, also one that the holder denies or that the issuer wanted back.
    Settle {
        /// Which voucher.
        voucher: VoucherId,
    },
    /// B6: an operator rejects a claim.
    Reject {
        /// Which voucher.
        voucher: VoucherId,
        /// Why.
        reason: ClaimReason,
        /// Whether the hospital may not answer.
        is_final: bool,
    },
    /// B6: corrects a redemption.
    Reverse {
        /// Which voucher.
        voucher: VoucherId,
        /// Why.
        reason: ReverseReason,
        /// The second person.
        approver: Operator,
        /// Whether it goes back to the issuer.
        void: bool,
    },
    /// B6: decides what a fork, a line or a superseded branch left open.
    Resolve {
        /// Which voucher.
        voucher: VoucherId,
        /// What is kept.
        outcome: Outcome,
        /// The second person.
        approver: Operator,
    },
    /// B6: pays an honest hospital whose use was superseded.
    Compensate {
        /// Which voucher.
        voucher: VoucherId,
        /// The `UseConfirmed` that was superseded.
        superseded: RecordName,
        /// Why, in the operator's words; kept here, not in the ledger. At most 500 bytes.
        reason: String,
        /// The second person.
        approver: Operator,
    },
    /// Deletes openings whose time is over.
    ForgetOpenings,
    /// B7: publishes the figures of a period.
    Publish {
        /// First day, in days since 1970-01-01 in the federation's time zone.
        from: i32,
        /// Last day.
        until: i32,
        /// Size and root of every log that is folded here.
        covers: Vec<Covered>,
    },
}

/// How a member is made to stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// What it writes does not count until it is restored.
    Suspended,
    /// It counts again.
    Restored,
    /// What it writes never counts again.
    Revoked,
}

/// A person to register.
#[derive(Debug, Clone)]
pub struct Registration {
    /// The holder's id inside the institutions that may know them: random.
    pub holder: Uuid,
    /// 32 random bytes: the registrar's secret for keyed digests if it has none yet.
    pub secret: [u8; 32],
    /// The document by which the person is known once.
    pub document: Document,
    /// Who it is.
    pub person: Person,
    /// Entitlement class.
    pub class: Class,
    /// Home community.
    pub community: InstitutionId,
    /// Voucher module.
    pub voucher_module: InstitutionId,
    /// Text of a VP1 with step *register*; none for somebody without a phone.
    pub main_key: Option<String>,
    /// The printed card; none for somebody with a phone alone.
    pub card: Option<CardId>,
    /// In which programmes, at least one.
    pub enrolments: Vec<Wanted>,
}

/// An identity document. Its number is personal data and is kept only as a keyed digest.
#[derive(Clone)]
pub struct Document {
    /// Which kind, such as `resident-id`.
    pub kind: ShortName,
    /// Its number, 1 to 40 letters and digits; case, spaces and hyphens do not matter.
    pub number: String,
}

impl std::fmt::Debug for Document {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Document(hidden)")
    }
}

/// Who a holder is, for the registrar's desk alone.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// As in the document, 1 to 200 bytes of UTF-8.
    pub name: String,
    /// Date of birth, `YYYY-MM-DD`.
    pub born: chrono::NaiveDate,
    /// As in the document, such as `f` or `m`, at most 16 bytes.
    pub sex: String,
    /// Phone number, at most 32 bytes.
    pub phone: Option<String>,
}

impl std::fmt::Debug for Person {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Person(hidden)")
    }
}

/// An enrolment that is asked for.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The programme.
    pub programme: ShortName,
    /// Random id: the keys of a card are derived from it.
    pub id: EnrolmentId,
    /// The phone's key for this programme.
    pub key: Option<PublicKey>,
    /// The card's Ed25519 key for this programme.
    pub card_key: Option<[u8; 32]>,
}

/// What stands behind the digests of a claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Openings {
    /// Of `Booked`.
    pub booking: BookingDetails,
    /// Of `ExamCompleted`.
    pub evidence: Evidence,
}

/// What the issuer answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// The records say it all.
    Written,
    /// A person's enrolments.
    Enrolled {
        /// Who.
        holder: Uuid,
        /// What was written for them now.
        enrolments: Vec<Enrolled>,
    },
    /// What became of a wish to void.
    Void {
        /// Voided at once, or its custodian is asked to give it back.
        voided: bool,
    },
    /// What became of a claim.
    Claim(ClaimOutcome),
    /// Published figures.
    Published {
        /// Digest of the table's bytes.
        table: Digest,
        /// Its rows.
        rows: u32,
    },
}

/// An enrolment as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolled {
    /// The programme's short name.
    pub programme: ShortName,
    /// The enrolment's random id.
    pub id: EnrolmentId,
    /// The record that made it.
    pub name: RecordName,
}

/// What became of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "claim", content = "reason")]
pub enum ClaimOutcome {
    /// The voucher is redeemed.
    Redeemed,
    /// The claim is rejected.
    Rejected(ClaimReason),
    /// The openings are kept; the claim, or what it needs, is not here yet.
    Waiting,
    /// An operator has to look.
    ForOperator,
    /// The claim was answered before.
    Answered,
}

impl Command {
    /// The same with a second person, as far as it does not name them already.
    #[must_use]
    pub fn approved_by(self, approver: Operator) -> Self {
        match self {
            Self::RegisterMember(_) | Self::ChangeMember { .. } | Self::SetParameters(_) | Self::Void { .. } => {
                Self::Approved { command: Box::new(self), approver }
            }
            named => named,
        }
    }
}
