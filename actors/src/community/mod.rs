//! The community: gives vouchers to the people of its quarter, with the holder's own signature.
//!
//! | unit | hears | writes |
//! | --- | --- | --- |
//! | C1 personal-QR receiving | personal QR at the desk ([`desk::identify`]) | - |
//! | C2 voucher receiving | `Sent` in an issuer's log | - |
//! | C3 transcoding | duty *encode* | `Encoded` with the VQ1 token |
//! | C4 QR store | the same | a private row for each voucher ([`store::stored`]) |
//! | C5 QR issuing | personal QR of step *receive*, or card and document | `Issued` with the presentation |
//! | C6 redemption information | `Redeemed` or `Voided` in an issuer's log: duty *retire QR* | `QrRetired`; `QrRestored` after a reversal |
//! | list of residents | an office's table ([`residents`]) | private rows |
//! | registration | a phone's announcement, a desk's form, the registrar's answer | private rows, a letter to the voucher module |
//! | erasure | the holder, at the desk or through the voucher module | letters to registrar and voucher module |
//! | help | card and document | `HelpRequested`, a letter to the voucher module |
//!
//! Who the people are stands in private rows alone. What a rule needs of them (class, enrolments) is looked up there;
//! what a record says of them is an enrolment and a signature.

pub mod command;
pub mod desk;
pub mod people;
pub mod registration;
pub mod residents;
pub mod store;

#[cfg(test)]
pub(crate) mod scene;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use domain::duty::{Due, Duty};
use domain::ids::{InstitutionId, VoucherId};
use domain::lifecycle::ReturnReason;
use domain::member::Role;
use domain::time::Timestamp;
use ed25519_dalek::SigningKey;
use parking_lot::RwLock;

use crate::misbehave::misbehaves;
use crate::replica::{VoucherDoc, Work};
use crate::role::{Reaction, Rules};
use crate::writer::{Desk, Refused};

pub use command::{Answer, Command};

/// The node keys of this process, by institution. Rules sign tokens with them: an Ed25519 signature is a function of key
/// and text, so deciding twice gives the same bytes.
static SIGNERS: RwLock<BTreeMap<InstitutionId, SigningKey>> = RwLock::new(BTreeMap::new());

/// Sets the node key with which an institution of this process signs voucher QRs; to be done before its role starts.
pub fn set_signer(institution: InstitutionId, seed: &[u8; 32]) {
    SIGNERS.write().insert(institution, SigningKey::from_bytes(seed));
}

/// The node key of an institution of this process.
#[must_use]
pub fn signer(institution: InstitutionId) -> Option<SigningKey> {
    SIGNERS.read().get(&institution).cloned()
}

/// The community role.
#[derive(Debug)]
pub struct Community;

impl Rules for Community {
    const ROLE: Role = Role::Community;
    type Command = Command;
    type Answer = Answer;

    fn decide(desk: &mut Desk<'_>, command: Command) -> Result<Answer, Refused> {
        match command {
            Command::Announce { register, enrolment_keys } => registration::announce(desk, &register, enrolment_keys),
            Command::Keep(registered) => registration::keep(desk, *registered),
            Command::KeepCard { holder, card } => registration::keep_card(desk, holder, card),
            Command::KeepEnrolments { holder, enrolments } => registration::keep_enrolments(desk, holder, enrolments),
            Command::KeepPhone { holder, main_key } => registration::keep_phone(desk, holder, main_key),
            Command::List { secret, residents } => residents::list(desk, secret, residents),
            Command::Unlist { document_type, document_number } => {
                residents::unlist(desk, &document_type, &document_number)
            }
            Command::Issue { qr } => desk::issue(desk, &qr),
            Command::IssueByCard { assist, programme, document_number } => {
                desk::issue_by_card(desk, &assist, &programme, &document_number)
            }
            Command::Help { assist, voucher, step, slot, salt } => desk::help(desk, &assist, voucher, step, slot, salt),
            Command::LookUp { number } => desk::look_up(desk, &number),
            Command::Erase { from, holder } => registration::erase(desk, from, holder),
            Command::Encode(voucher) => store::encode(desk, voucher),
            Command::Return { vouchers, reason } => store::give_back(desk, &vouchers, reason),
            Command::RetireQr(voucher) => store::retire(desk, voucher),
            Command::RestoreQr(voucher) => store::restore(desk, voucher),
            Command::Sweep => registration::sweep(desk),
        }
    }

    fn react(_work: &Work<'_>, id: VoucherId, _doc: &VoucherDoc, due: Due, _now: Timestamp) -> Reaction<Command> {
        match due.duty {
            // One in eight never gets a QR; the last byte tells, as a batch has its first bytes in common.
            Duty::Encode if misbehaves("encoding-skipped") && id.uuid.as_bytes()[15] < 32 => Reaction::Nothing,
            Duty::Encode => Reaction::Do(Command::Encode(id)),
            Duty::Return => Reaction::Do(Command::Return { vouchers: vec![id], reason: ReturnReason::VoidRequested }),
            Duty::RetireQr => Reaction::Do(Command::RetireQr(id)),
            Duty::RestoreQr => Reaction::Do(Command::RestoreQr(id)),
            _ => Reaction::Nothing,
        }
    }

    fn tick(work: &Work<'_>, now: Timestamp) -> Option<Command> {
        registration::has_old(work, now).then_some(Command::Sweep)
    }
}
