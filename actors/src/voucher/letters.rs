//! Letters to a voucher module: what a community or a hospital tells it point to point, as JSON.

use domain::booking::{Item, Slot};
use domain::ids::{EnrolmentId, HolderId, InstitutionId, RecordName, ShortName, VoucherId};
use domain::policy::Class;
use domain::record::{HelpStep, Presentation};
use serde::{Deserialize, Serialize};

use crate::token::PublicKey;

/// Where a community tells of its people.
pub const HOLDERS_PATH: &str = "/v1/voucher/holders";

/// Where a desk asks for a step in the name of someone without a phone.
pub const HELP_PATH: &str = "/v1/voucher/help";

/// Where a hospital sends results.
pub const RESULTS_PATH: &str = "/v1/voucher/results";

/// Most enrolments of one person.
pub const MAX_ENROLMENTS: usize = 64;

/// Longest result of a visit, in bytes: the text and all items together.
pub const MAX_RESULT_BYTES: usize = 64 * 1024;

/// A public key in JSON: `ed25519:` or `es256:` and base64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyText(pub PublicKey);

impl TryFrom<String> for KeyText {
    type Error = crate::token::TokenError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self)
    }
}

impl From<KeyText> for String {
    fn from(key: KeyText) -> Self {
        key.0.to_string()
    }
}

/// One of a person's enrolments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enrolled {
    /// The programme's short name.
    pub programme: ShortName,
    /// The enrolment's random id.
    pub id: EnrolmentId,
    /// The record that made it.
    pub name: RecordName,
}

/// A community tells a voucher module whose vouchers it will look after; sent again when something changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HolderLetter {
    /// Who, by the registrar's random id.
    pub holder: HolderId,
    /// The phone's main key; none for somebody with a card alone.
    pub main_key: Option<KeyText>,
    /// Why this person is entitled.
    pub class: Class,
    /// Which enrolments belong together; at most 64.
    pub enrolments: Vec<Enrolled>,
    /// Telephone number, at most 32 bytes.
    pub contact: Option<String>,
}

/// What the salted digest in `HelpRequested` stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HelpOpening {
    /// Random.
    pub salt: [u8; 32],
    /// Which voucher.
    pub voucher: VoucherId,
    /// Which step.
    pub step: HelpStep,
    /// The appointment, to book one.
    pub slot: Option<Slot>,
}

/// A desk asks for a step in the name of someone without a phone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HelpLetter {
    /// The record `HelpRequested`.
    pub record: RecordName,
    /// What its digest stands for.
    pub opening: HelpOpening,
    /// To cancel: signed with the card for the voucher module itself, which must show it to the hospital.
    pub cancel: Option<Presentation>,
}

/// Where a voucher module is told that a holder wants to be forgotten.
pub const ERASURES_PATH: &str = "/v1/voucher/erasures";

/// Where a home community is told so.
pub const COMMUNITY_ERASURES_PATH: &str = "/v1/community/erasures";

/// A holder wants to be forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErasureLetter {
    /// Who, by the registrar's random id.
    pub holder: HolderId,
}

/// A hospital sends the holder the result of a visit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResultLetter {
    /// Which voucher was used.
    pub voucher: VoucherId,
    /// In the hospital's words.
    pub text: String,
    /// What was ordered and done.
    pub items: Vec<Item>,
}

/// Where a hospital receives the opening of a booking.
pub const OPENINGS_PATH: &str = "/v1/hospital/openings";

/// The opening of a booking, for the hospital.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpeningLetter {
    /// What the digest in `Booked` stands for.
    pub details: domain::booking::BookingDetails,
}

/// Writes a letter and puts it in the outbox, in the same transaction as the records that it belongs to.
///
/// # Errors
///
/// [`domain::reasons::Reason::Internal`] if it cannot be written as JSON, which no letter here is.
pub fn post<T: Serialize>(
    desk: &mut crate::writer::Desk<'_>,
    to: InstitutionId,
    path: &str,
    letter: &T,
) -> Result<(), crate::writer::Refused> {
    let body = serde_json::to_vec(letter).map_err(|_| domain::reasons::Reason::Internal)?;
    crate::outbox::post(desk, to, path, body);
    Ok(())
}
