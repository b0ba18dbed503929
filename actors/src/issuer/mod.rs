//! The issuer: registers, generates, sends, voids, settles, counts (units B1 to B7). One issuer is the registrar.
//!
//! | unit | asked | writes | by itself |
//! | --- | --- | --- | --- |
//! | B1 | [`Command::RegisterMember`] and its changes, [`Command::Register`] and its changes | `Member*`, `Approved`, `KeyRotated`, `LogFrozen`, `LogSucceeded`, `IssuerSucceeded`, `Enrolled`, `CardIssued`, `Enrolment*` | |
//! | B2 | [`Command::Generate`], [`Command::PublishProgramme`] | `Generated`, `ProgrammePublished` | |
//! | B3 | [`Command::Dispatch`] | `Sent` | |
//! | B4 | [`Command::Void`], [`Command::Reclaim`], [`Command::HandOver`] | `Voided`, `VoidRequested`, `Reclaimed`, `HandedOver` | voids what lapsed, what came back, what is silent past its grace |
//! | B5 | [`Command::ReceiveOpenings`] | | answers the claim at once |
//! | B6 | [`Command::Settle`], [`Command::Reject`], [`Command::Reverse`], [`Command::Resolve`], [`Command::Compensate`] | `Redeemed`, `ClaimRejected`, `Reversed`, `Resolved`, `CompensationGranted` | settles or rejects each claim |
//! | B7 | [`Command::Publish`] | `StatisticsPublished` | |
//!
//! It knows no clock, network or chance: UUIDs, secrets and roots of logs come in with the command.

mod claims;
mod command;
mod holders;
mod members;
mod state;
mod statistics;
mod stock;

#[cfg(test)]
mod tests;

pub use claims::{OPENING_GRACE, check_claim, openings};
pub use command::{
    Answer, By, ClaimOutcome, Command, Document, Enrolled, Openings, Person, Registration, Standing, Wanted,
};
pub use holders::{MAX_SHOWN_PEOPLE, MaskedHolder, SharedContact, holder, holder_of, shared_contacts};
pub use state::MAX_OPENINGS_BYTES;
pub use statistics::{MAX_PERIOD_DAYS, MAX_TABLE_ROWS, publications, table, table_bytes};
pub use stock::{MAX_CHUNK, batch_ids};

use domain::duty::{Due, Duty};
use domain::ids::VoucherId;
use domain::member::Role;
use domain::time::Timestamp;

use crate::replica::{VoucherDoc, Work};
use crate::role::{Reaction, Rules};
use crate::writer::{Desk, Refused};

/// The rules of the issuer's role.
#[derive(Debug, Clone, Copy)]
pub struct Issuer;

impl Rules for Issuer {
    const ROLE: Role = Role::Issuer;
    type Command = Command;
    type Answer = Answer;

    fn decide(desk: &mut Desk<'_>, command: Command) -> Result<Answer, Refused> {
        match command {
            Command::Approved { command, approver } => members::approved(desk, *command, approver),
            Command::RegisterMember(entry) => members::register(desk, *entry),
            Command::ChangeMember { institution, roles, url } => members::change(desk, institution, roles, url),
            Command::Stand { institution, standing, from, key_stolen, approver } => {
                members::stand(desk, institution, standing, from, key_stolen, approver)
            }
            Command::RotateKey { institution, purpose, key, proof, by_old, from, key_stolen, approver } => {
                let new = members::NewKey { purpose, key, proof: *proof, by_old: by_old.map(|s| *s) };
                members::rotate(desk, institution, new, from, key_stolen, approver)
            }
            Command::Freeze { institution, size, root, approver } => {
                members::freeze(desk, institution, size, root, approver)
            }
            Command::SucceedLog { institution, size, root, successor, approver } => {
                members::succeed_log(desk, institution, size, root, successor, approver)
            }
            Command::SucceedIssuer { issuer, successor, approver } => {
                members::succeed_issuer(desk, issuer, successor, approver)
            }
            Command::SetParameters(parameters) => members::parameters(desk, parameters),
            Command::PublishProgramme(policy) => stock::publish_programme(desk, *policy),
            Command::ChangeProgramme { programme, policy } => stock::change_programme(desk, &programme, *policy),
            Command::Register(registration) => holders::register(desk, *registration),
            Command::Enrol { holder, by, enrolments } => holders::enrol(desk, holder, by, &enrolments),
            Command::Block { holder, by, reason } => holders::block(desk, holder, by, reason),
            Command::ChangeKey { holder, by, main_key, keys } => {
                holders::change_key(desk, holder, by, main_key.as_deref(), &keys)
            }
            Command::IssueCard { holder, by, card, keys } => holders::issue_card(desk, holder, by, card, &keys),
            Command::Move { holder, by, community, voucher_module } => {
                holders::move_home(desk, holder, by, community, voucher_module)
            }
            Command::Generate { programme, uuids, valid_from } => stock::generate(desk, &programme, &uuids, valid_from),
            Command::Dispatch { community, programme, count } => stock::dispatch(desk, community, &programme, count),
            Command::Void { voucher, reason } => stock::void(desk, voucher, reason),
            Command::VoidHeld { voucher } => stock::void_held(desk, voucher),
            Command::VoidExpired { voucher } => stock::void_expired(desk, voucher),
            Command::Reclaim { voucher } => stock::reclaim(desk, voucher),
            Command::HandOver { voucher } => stock::hand_over(desk, voucher),
            Command::ReceiveOpenings { from, voucher, openings } => claims::receive(desk, from, voucher, &openings),
            Command::AnswerClaim { voucher } => claims::answer(desk, voucher).map(Answer::Claim),
            Command::Settle { voucher } => claims::settle(desk, voucher),
            Command::Reject { voucher, reason, is_final } => claims::reject(desk, voucher, reason, is_final),
            Command::Reverse { voucher, reason, approver, void } => {
                claims::reverse(desk, voucher, reason, approver, void)
            }
            Command::Resolve { voucher, outcome, approver } => claims::resolve(desk, voucher, outcome, approver),
            Command::Compensate { voucher, superseded, reason, approver } => {
                claims::compensate(desk, voucher, superseded, reason, approver)
            }
            Command::ForgetOpenings => {
                state::forget_openings(desk);
                Ok(Answer::Written)
            }
            Command::Publish { from, until, covers } => statistics::publish(desk, from, until, covers),
        }
    }

    fn react(work: &Work<'_>, id: VoucherId, doc: &VoucherDoc, due: Due, now: Timestamp) -> Reaction<Command> {
        match due.duty {
            Duty::Settle => claims::react(work, id, doc, now),
            Duty::VoidHeld => Reaction::Do(Command::VoidHeld { voucher: id }),
            Duty::VoidExpired => stock::react_expired(work, id, doc),
            Duty::Reclaim => stock::react_reclaim(work, id, doc, now),
            _ => Reaction::Nothing,
        }
    }

    fn tick(work: &Work<'_>, now: Timestamp) -> Option<Command> {
        state::has_to_forget(&work.tx, now).then_some(Command::ForgetOpenings)
    }
}
