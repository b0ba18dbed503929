//! The auditor: follows every log through the replica, writes down what is wrong, and counts everything again.
//!
//! | hears | writes |
//! | --- | --- |
//! | each minute: records that do not count ([`findings`]) | `Finding`, one per log, kind and round, with how many they are |
//! | each minute: records dated before their log was seen without them ([`sightings`]) | `Finding`, one per log and round |
//! | each minute: conservation; at once: forks | `Finding` |
//! | each log's growth ([`watch`]): denied uses, a holder at two places at once, what was settled before a change was known, uses after a block, examinations before issue | `Finding` |
//! | each week: hospitals far from their peers ([`outliers`]), mostly printed cards ([`weeks`]) | `Finding`, one per institution and share |
//! | `Recounted`: published statistics, counted again at the edge ([`recount`]) | `Finding` if they differ |
//!
//! It judges nothing by itself: rules and folds are those of every node. [`report`] tells how everything stands,
//! [`verify`] folds a whole store again and compares, [`check`] looks at a single text.

mod ahead;
pub mod check;
mod command;
pub mod findings;
pub mod outliers;
pub mod recount;
pub mod report;
mod rows;
pub mod sightings;
mod state;
pub mod verify;
pub mod watch;
pub mod weeks;
pub mod witness;

#[cfg(test)]
mod tests;

use domain::duty::Due;
use domain::ids::VoucherId;
use domain::member::Role;
use domain::time::Timestamp;

use crate::replica::{VoucherDoc, Work};
use crate::role::{Reaction, Rules};
use crate::writer::{Desk, Refused};

pub use command::{Answer, Command};
pub use rows::{Recounted, evidence, recounted};
pub use state::forget_fork;

/// The rules of an auditor.
pub struct Auditor;

impl Rules for Auditor {
    const ROLE: Role = Role::Auditor;
    type Command = Command;
    type Answer = Answer;

    fn decide(desk: &mut Desk<'_>, command: Command) -> Result<Answer, Refused> {
        state::decide(desk, command)
    }

    fn react(_: &Work<'_>, _: VoucherId, _: &VoucherDoc, _: Due, _: Timestamp) -> Reaction<Command> {
        Reaction::Nothing // an auditor holds no voucher, so it owes nothing about one
    }

    fn tick(work: &Work<'_>, now: Timestamp) -> Option<Command> {
        state::tick(work, now)
    }
}
