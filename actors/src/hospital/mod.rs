//! The hospital: answers bookings, receives holders, verifies examinations, claims redemptions (units H1 to H4).
//!
//! | hears | from | writes |
//! | --- | --- | --- |
//! | `SetSchedule` | its office | private rows: weekly hours |
//! | `SetClosures` | its office | private rows: days without hours |
//! | `Open` | a voucher module | private rows: the opening of a booking; answers the booking if it is here already |
//! | duty *answer* | a `Booked` record | `BookingConfirmed`, or `BookingDeclined` with the reason |
//! | duty *release*, `Release` | the holder's wish; its office | `BookingReleased`; `BookingDeclined` before it is confirmed |
//! | `Arrive` | its desk | H1, H2: `Verified` and `UseConfirmed` |
//! | `Check` | its desk | `Verified` with the four states, good or refused |
//! | `NoShow` | its desk | `NoShow` |
//! | `Complete` | its desk | H3: `ExamCompleted`; a letter with the results to the voucher module |
//! | `Abort` | its desk | `UseAborted` |
//! | duty *claim*, `AnswerRejection` | an examination; its office | H4: `RedemptionClaimed`; a letter with the openings to the issuer |
//! | duty *return* | the issuer's wish | `Returned` |
//!
//! [`schedule`] has the arithmetic of slots, [`desk`] what a desk checks before anything is written, [`rows`] the
//! private rows, [`lists`] what people read.

mod command;
pub mod desk;
pub mod lists;
pub mod rows;
pub mod schedule;
mod state;

#[cfg(test)]
pub(crate) mod scene;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod visits;

use domain::duty::Due;
use domain::ids::VoucherId;
use domain::member::Role;
use domain::time::Timestamp;

use crate::replica::{VoucherDoc, Work};
use crate::role::{Reaction, Rules};
use crate::writer::{Desk, Refused};

#[cfg(test)]
pub(crate) use visits::use_and_complete;

pub use command::{Answer, Arrival, Command, Completion, Personal};

/// The rules of a hospital.
pub struct Hospital;

impl Rules for Hospital {
    const ROLE: Role = Role::Hospital;
    type Command = Command;
    type Answer = Answer;

    fn decide(desk: &mut Desk<'_>, command: Command) -> Result<Answer, Refused> {
        state::decide(desk, command)
    }

    fn react(work: &Work<'_>, id: VoucherId, doc: &VoucherDoc, due: Due, now: Timestamp) -> Reaction<Command> {
        state::react(work, id, doc, due, now)
    }

    fn tick(work: &Work<'_>, now: Timestamp) -> Option<Command> {
        (rows::next_tidy(&work.tx) <= now).then_some(Command::Tidy)
    }
}
