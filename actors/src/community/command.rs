//! What a community can be asked, and what it answers.

use std::collections::BTreeMap;

use domain::booking::Slot;
use domain::ids::{CardId, HolderId, InstitutionId, Operator, ShortName, VoucherId};
use domain::lifecycle::ReturnReason;
use domain::reasons::Reason;
use domain::record::{AssistReason, HelpStep};
use domain::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::people::Form;
use super::residents::{Resident, Taken};
use crate::token::PublicKey;
use crate::token::vc1::Card;
use crate::voucher::letters::{Enrolled, KeyText};

/// Most vouchers that one command gives back.
pub const MAX_RETURNS: usize = 250;

/// What a community can be asked.
#[derive(Debug)]
pub enum Command {
    /// A phone announces its keys; the desk completes it within 24 hours.
    Announce {
        /// The personal QR of step *register*.
        register: String,
        /// A key for each programme.
        enrolment_keys: BTreeMap<ShortName, KeyText>,
    },
    /// The registrar has registered someone: keep what the desk must know.
    Keep(Box<Registered>),
    /// The registrar has put a new card in someone's name.
    KeepCard {
        /// Who.
        holder: HolderId,
        /// The card's id and the number printed on it.
        card: (CardId, String),
    },
    /// The registrar has put another phone in someone's name.
    KeepPhone {
        /// Who.
        holder: HolderId,
        /// The new phone's main key; none if only a card is left.
        main_key: Option<PublicKey>,
    },
    /// The registrar has enrolled someone in more programmes.
    KeepEnrolments {
        /// Who.
        holder: HolderId,
        /// The new ones.
        enrolments: Vec<Enrolled>,
    },
    /// Take residents into the community's list.
    List {
        /// Random: becomes the secret of the list's keys, if there is none yet.
        secret: [u8; 32],
        /// At most 200.
        residents: Vec<Resident>,
    },
    /// Take somebody off the list.
    Unlist {
        /// Kind of document.
        document_type: ShortName,
        /// Its number.
        document_number: String,
    },
    /// Issue a voucher to the holder of a phone (C5).
    Issue {
        /// The personal QR of step *receive*.
        qr: String,
    },
    /// Issue a voucher to the holder of a printed card.
    IssueByCard {
        /// The card as it was scanned, and how.
        assist: Assist,
        /// Which programme.
        programme: ShortName,
        /// The number of the document that the clerk sees.
        document_number: String,
    },
    /// Ask the voucher module for a step in the name of a card's holder.
    Help {
        /// The card as it was scanned, and how.
        assist: Assist,
        /// Which voucher.
        voucher: VoucherId,
        /// Which step.
        step: HelpStep,
        /// The appointment, to book one.
        slot: Option<Slot>,
        /// Random: salts the details.
        salt: [u8; 32],
    },
    /// Look a card up by the number printed on it; wrong numbers are counted.
    LookUp {
        /// As typed.
        number: String,
    },
    /// Forget a person who asked for it, and tell the registrar.
    Erase {
        /// The voucher module that was asked; none where the person asked at the desk.
        from: Option<InstitutionId>,
        /// Who.
        holder: HolderId,
    },
    /// Make a voucher's QR (C3).
    Encode(VoucherId),
    /// Give vouchers back.
    Return {
        /// Which ones, at most 250.
        vouchers: Vec<VoucherId>,
        /// Why.
        reason: ReturnReason,
    },
    /// Retire the stored QR (C6).
    RetireQr(VoucherId),
    /// Restore it after a reversal.
    RestoreQr(VoucherId),
    /// Forget registrations that nobody completed.
    Sweep,
}

/// A clerk signs with a printed card.
#[derive(Debug)]
pub struct Assist {
    /// The card.
    pub card: Card,
    /// The clerk.
    pub helper: Operator,
    /// Why.
    pub reason: AssistReason,
    /// Random: one for each signature.
    pub cti: [[u8; 8]; 2],
}

/// What became of a registration.
#[derive(Debug)]
pub struct Registered {
    /// What the desk read.
    pub form: Form,
    /// The registrar's answer.
    pub granted: Granted,
    /// The phone's main key.
    pub main_key: Option<PublicKey>,
    /// Who looks after the vouchers.
    pub voucher_module: InstitutionId,
    /// The printed card's id and number, if one was made.
    pub card: Option<(CardId, String)>,
    /// Random: the secret under which documents are found again, where there is none yet.
    pub secret: [u8; 32],
}

/// The registrar's answer to an application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Granted {
    /// Random id of the person.
    pub holder: HolderId,
    /// One for each programme that is open to the class.
    pub enrolments: Vec<Enrolled>,
}

/// What a community answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The thumbprint under which the announcement waits.
    Announced([u8; 32]),
    /// Nothing more to say.
    Done,
    /// What became of each resident, in order.
    Listed(Vec<Result<Taken, Reason>>),
    /// A voucher was issued.
    Issued(Issued),
    /// Whose card it may be: none if the number is on no card.
    Cards(Vec<Known>),
}

/// A voucher as its holder takes it away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Issued {
    /// Which one.
    pub voucher: VoucherId,
    /// Its VQ1 token.
    pub token: String,
    /// First moment after its validity.
    pub valid_until: Timestamp,
}

/// A person as a clerk sees them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Known {
    /// The registrar's random id.
    pub holder: HolderId,
    /// First characters of the name.
    pub name_masked: String,
    /// Why this person is entitled.
    pub class: domain::policy::Class,
    /// What they may have.
    pub programmes: Vec<Entitlement>,
}

/// What a person may have of one programme.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entitlement {
    /// The programme.
    pub programme: ShortName,
    /// Most vouchers.
    pub allowance: u16,
    /// Vouchers had, without those that were voided.
    pub had: u16,
    /// Whether one may be issued now.
    pub may_issue: bool,
    /// If not, why.
    pub reason: Option<Reason>,
}
