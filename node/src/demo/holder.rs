//! The people of the story: who they are, what their phones hold, and where their vouchers have been.

use anyhow::Context as _;
use domain::time::Timestamp;
use serde_json::Value;

use super::phone::Phone;
use super::report::Named;
use crate::import::Resident;

/// The people who play a part of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// Cancels a booking and books again.
    Canceller,
    /// Moves a booking to another hospital and day.
    Mover,
    /// Does not come.
    Absent,
    /// Tries to book twice.
    Doubler,
    /// Shows somebody else's picture.
    Thief,
    /// Never books: the voucher expires.
    Forgetful,
    /// Is no longer entitled: the voucher is voided while it is booked.
    Departed,
    /// Denies a use.
    Denier,
}

/// A person with a phone.
#[derive(Clone)]
pub(super) struct Holder {
    /// Who.
    pub(super) person: Resident,
    /// The phone.
    pub(super) phone: Phone,
    /// The programme that the person is here for.
    pub(super) programme: String,
    /// The vouchers on the phone.
    pub(super) vouchers: Vec<Voucher>,
}

/// A voucher on a phone.
#[derive(Debug, Clone)]
pub(super) struct Voucher {
    /// `issuer.uuid`.
    pub(super) id: String,
    /// The VQ1 token.
    pub(super) token: String,
    /// Where it is booked.
    pub(super) hospital: String,
    /// The doctor.
    pub(super) doctor: String,
}

impl Voucher {
    /// A voucher that is not booked.
    #[must_use]
    pub(super) fn new(id: &str, token: &str) -> Self {
        let (id, token) = (id.to_owned(), token.to_owned());
        Self { id, token, hospital: String::new(), doctor: String::new() }
    }

    /// The same, booked for a slot as a hospital offers it.
    #[must_use]
    pub(super) fn booked(&self, slot: &Value) -> Self {
        let text = |field: &str| slot[field].as_str().unwrap_or_default().to_owned();
        Self { hospital: text("hospital"), doctor: text("doctor"), ..self.clone() }
    }
}

impl Holder {
    /// The same person whose first voucher is another, or changed.
    #[must_use]
    pub(super) fn with_first(&self, first: Voucher) -> Self {
        let vouchers = std::iter::once(first).chain(self.vouchers.iter().skip(1).cloned()).collect();
        Self { vouchers, ..self.clone() }
    }

    /// The first voucher.
    ///
    /// # Errors
    ///
    /// The phone has none.
    pub(super) fn voucher(&self) -> anyhow::Result<&Voucher> {
        self.vouchers.first().with_context(|| format!("{} has no voucher", self.person.name))
    }

    /// The code *arrive* for the first voucher at the hospital where it is booked.
    ///
    /// # Errors
    ///
    /// The phone has no voucher.
    pub(super) fn arrive_qr(&self) -> anyhow::Result<String> {
        let voucher = self.voucher()?;
        Ok(self.phone.arrive_qr(&self.programme, &voucher.hospital, &voucher.id))
    }

    /// The code *complete*, likewise.
    ///
    /// # Errors
    ///
    /// The phone has no voucher.
    pub(super) fn complete_qr(&self) -> anyhow::Result<String> {
        let voucher = self.voucher()?;
        Ok(self.phone.complete_qr(&self.programme, &voucher.hospital, &voucher.id))
    }
}

/// A voucher's way by what a node knows.
pub(super) struct History {
    /// The steps that count, in order.
    pub(super) steps: Vec<(Named, Value)>,
    /// What is noted beside them.
    pub(super) notes: Vec<(Named, Value)>,
}

impl History {
    /// The last step of a kind, such as `Redeemed`.
    #[must_use]
    pub(super) fn step(&self, kind: &str) -> Option<&(Named, Value)> {
        self.steps.iter().rev().find(|(_, step)| is_kind(step, kind))
    }

    /// The last note of a kind, such as `QrRetired`.
    #[must_use]
    pub(super) fn note(&self, kind: &str) -> Option<&(Named, Value)> {
        self.notes.iter().rev().find(|(_, note)| is_kind(note, kind))
    }
}

/// A variant without fields is its name alone, another an object with its name as the only key.
fn is_kind(value: &Value, kind: &str) -> bool {
    value == kind || value.get(kind).is_some()
}

/// An appointment: hospital, doctor, begin.
pub(super) type Place = (String, String, Timestamp);

/// Where and when an offered appointment is, and how many more bookings it takes.
pub(super) fn place(slot: &Value) -> Option<(Place, u64)> {
    let text = |field: &str| Some(slot[field].as_str()?.to_owned());
    Some(((text("hospital")?, text("doctor")?, time(&slot["start"])?), slot["free"].as_u64()?))
}

/// A time in an answer.
#[must_use]
pub(super) fn time(value: &Value) -> Option<Timestamp> {
    serde_json::from_value(value.clone()).ok()
}
