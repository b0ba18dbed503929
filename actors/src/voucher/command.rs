//! What a voucher module can be asked, and what it answers.

use domain::booking::{BookingDetails, Slot};
use domain::ids::{HolderId, InstitutionId, RecordName, ShortName, VoucherId};
use domain::record::{CheckOutcome, FourStates};
use serde::{Deserialize, Serialize};

use super::letters::{HelpLetter, HolderLetter, ResultLetter};

/// Most vouchers that a terminal names in one go.
pub const MAX_TOKENS: usize = 256;

/// What a voucher module can be asked. A holder is proved at the edge, by the main key.
#[derive(Debug)]
pub enum Command {
    /// A community tells of someone whose vouchers this module looks after.
    Learn {
        /// The community.
        from: InstitutionId,
        /// What it says.
        letter: Box<HolderLetter>,
    },
    /// V1: take what the terminal gives.
    TakeInformation {
        /// Who.
        holder: HolderId,
        /// What.
        profile: Box<Profile>,
    },
    /// V2: check the four states.
    Check {
        /// Who.
        holder: HolderId,
        /// Which voucher.
        voucher: VoucherId,
    },
    /// V3: book.
    Book {
        /// Who.
        holder: HolderId,
        /// Which voucher.
        voucher: VoucherId,
        /// The appointment.
        slot: Slot,
        /// Random: salts the details.
        salt: [u8; 32],
    },
    /// Cancel a booking.
    Cancel {
        /// Who.
        holder: HolderId,
        /// Which voucher.
        voucher: VoucherId,
        /// The personal QR of step *cancel*.
        qr: String,
    },
    /// Move a booking: the old one is released, then the new one is made.
    Move {
        /// Who.
        holder: HolderId,
        /// Which voucher.
        voucher: VoucherId,
        /// The personal QR of step *cancel*.
        qr: String,
        /// The new appointment.
        slot: Slot,
        /// Random: salts the new details.
        salt: [u8; 32],
    },
    /// V4: send the voucher's QR to the hospital where it is booked.
    Use {
        /// Who.
        holder: HolderId,
        /// Which voucher.
        voucher: VoucherId,
    },
    /// Deny a use.
    Dispute {
        /// Who.
        holder: HolderId,
        /// Which voucher.
        voucher: VoucherId,
        /// The personal QR of step *cancel*.
        qr: String,
    },
    /// A desk asks in the name of someone without a phone.
    Help {
        /// The community or hospital.
        from: InstitutionId,
        /// What it asks.
        letter: Box<HelpLetter>,
    },
    /// A hospital sends a result.
    TakeResult {
        /// The hospital.
        from: InstitutionId,
        /// The result.
        letter: Box<ResultLetter>,
    },
    /// Forget everything about a holder, and give back what they hold.
    Erase {
        /// Who.
        holder: HolderId,
        /// Whether the home community and the registrar shall forget them too.
        everywhere: bool,
    },
    /// The same on the word of the home community, where the holder asked at the desk.
    EraseFor {
        /// The community.
        from: InstitutionId,
        /// Who.
        holder: HolderId,
    },
    /// Take a booking back: the hospital's time is over.
    Lapse {
        /// Which voucher.
        voucher: VoucherId,
        /// A record of the hospital's log past the limit.
        position: RecordName,
    },
    /// Give a voucher back: the issuer asked.
    Return(VoucherId),
    /// V5: remove the record of a settled voucher.
    RemoveRecord(VoucherId),
    /// A moved booking was released: make the new one.
    Rebook(VoucherId),
    /// Hand a voucher over: its holder was moved to another module.
    HandOver(VoucherId),
    /// Forget what nobody needs any more.
    Sweep,
}

/// What the terminal gives (unit V1): personal data in the first three fields.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Telephone number, at most 32 bytes.
    pub phone: Option<String>,
    /// Kind of document, such as `resident-id`.
    pub document_type: ShortName,
    /// Its number, at most 40 bytes.
    pub document_number: String,
    /// The voucher QRs that the terminal holds, VQ1, at most 256.
    pub tokens: Vec<String>,
}

/// Shows nothing of the person.
impl std::fmt::Debug for Profile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Profile").field("tokens", &self.tokens.len()).finish_non_exhaustive()
    }
}

/// What a voucher module answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Nothing more to say.
    Done,
    /// The vouchers that the terminal's QRs stand for.
    Taken(Vec<VoucherId>),
    /// The four states.
    Checked(Checked),
    /// What was booked, for whoever keeps the opening.
    Booked(BookingDetails),
}

/// The four states of a voucher (unit V2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// Booking, examination, redemption, validity.
    pub states: FourStates,
    /// Whether it can be used in its state.
    pub outcome: CheckOutcome,
}
