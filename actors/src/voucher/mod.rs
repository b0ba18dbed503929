//! The voucher module: keeps the holders' wallets, checks, books and cancels for them, and forgets what it must.
//!
//! | unit | hears | writes |
//! | --- | --- | --- |
//! | T1, T2 terminal | the holder's signed requests ([`wallet::wallet`] answers with everything the terminal shows) | - |
//! | V1 information | contact, document and voucher QRs from the terminal | private rows |
//! | V2 state check | a check from the terminal | `Verified` |
//! | V3 booking | an appointment | `Booked`, a letter with the opening to the hospital |
//! | | consent to cancel or move | `CancelRequested`, `MoveRequested`; later `Booked` again |
//! | | the hospital's time is over: duty *lapse* | `BookingLapsed` |
//! | V4 use | the holder's word | `UsePresented` with the digest of the VQ1 token |
//! | V5 redemption | `Redeemed` or `Voided` in an issuer's log: duty *remove record* | `RecordRemoved`, rows deleted |
//! | | consent to deny a use | `UseDisputed` |
//! | | the issuer asks: duty *return*; erasure | `Returned` |
//! | | the registrar moved the holder to another module | `HandedOver` |
//!
//! Which enrolments belong together is in private rows alone ([`rows`]); a booking's details stand in the ledger as a
//! salted digest.

pub mod booking;
pub mod command;
pub mod holders;
pub mod letters;
pub mod rows;
pub mod wallet;

#[cfg(test)]
pub(crate) mod tests;

use domain::duty::{Due, Duty};
use domain::ids::{InstitutionId, RecordName, VoucherId};
use domain::lifecycle::Stage;
use domain::member::Role;
use domain::record::Record;
use domain::time::Timestamp;

use crate::replica::{VoucherDoc, Work};
use crate::role::{Reaction, Rules};
use crate::writer::{Desk, Refused};

pub use command::{Answer, Command};

/// Last records of a log among which one is sought that proves a time.
const SOUGHT: u64 = 64;

/// The voucher module's role.
#[derive(Debug)]
pub struct VoucherModule;

impl Rules for VoucherModule {
    const ROLE: Role = Role::Voucher;
    type Command = Command;
    type Answer = Answer;

    fn decide(desk: &mut Desk<'_>, command: Command) -> Result<Answer, Refused> {
        match command {
            Command::Learn { from, letter } => holders::learn(desk, from, *letter),
            Command::TakeInformation { holder, profile } => holders::take_information(desk, holder, *profile),
            Command::Check { holder, voucher } => wallet::check(desk, holder, voucher),
            Command::Book { holder, voucher, slot, salt } => booking::book(desk, holder, voucher, slot, salt),
            Command::Cancel { holder, voucher, qr } => booking::cancel(desk, holder, voucher, &qr),
            Command::Move { holder, voucher, qr, slot, salt } => {
                booking::move_to(desk, holder, voucher, &qr, slot, salt)
            }
            Command::Use { holder, voucher } => booking::present(desk, holder, voucher),
            Command::Dispute { holder, voucher, qr } => booking::dispute(desk, holder, voucher, &qr),
            Command::Help { from, letter } => booking::help(desk, from, *letter),
            Command::TakeResult { from, letter } => holders::take_result(desk, from, *letter),
            Command::Erase { holder, everywhere } => holders::erase(desk, holder, everywhere),
            Command::EraseFor { from, holder } => holders::erase_for(desk, from, holder),
            Command::Lapse { voucher, position } => booking::lapse(desk, voucher, position),
            Command::Return(voucher) => booking::give_back(desk, voucher),
            Command::RemoveRecord(voucher) => holders::remove_record(desk, voucher),
            Command::Rebook(voucher) => booking::rebook(desk, voucher),
            Command::HandOver(voucher) => booking::hand_over(desk, voucher),
            Command::Sweep => holders::sweep(desk),
        }
    }

    fn react(work: &Work<'_>, id: VoucherId, doc: &VoucherDoc, due: Due, now: Timestamp) -> Reaction<Command> {
        let Some(state) = doc.state() else { return Reaction::Nothing };
        match due.duty {
            // Past its validity the issuer takes it, wherever it is.
            Duty::Lapse if now >= state.valid_until => Reaction::Nothing,
            Duty::Lapse => match proof_of_time(work, due.blocker, due.at) {
                Some(position) => Reaction::Do(Command::Lapse { voucher: id, position }),
                None => Reaction::Later(due),
            },
            Duty::RemoveRecord => Reaction::Do(Command::RemoveRecord(id)),
            Duty::Return if state.stage == Stage::Issued => Reaction::Do(Command::Return(id)),
            _ => Reaction::Nothing,
        }
    }

    fn tick(work: &Work<'_>, now: Timestamp) -> Option<Command> {
        let moved = rows::all_moving(&work.tx, 1_000).into_iter().find(|id| booking::can_rebook(work, *id));
        let leaving = || rows::all_leaving(&work.tx, 1).into_iter().next().map(Command::HandOver);
        let sweep = || holders::must_sweep(work, now).then_some(Command::Sweep);
        moved.map(Command::Rebook).or_else(leaving).or_else(sweep)
    }
}

/// A readable record of a log, at or past a time.
fn proof_of_time(work: &Work<'_>, log: InstitutionId, at: Timestamp) -> Option<RecordName> {
    let cursor = work.cursor(log);
    if cursor.last_at < at {
        return None;
    }
    let newest_first = (cursor.next.saturating_sub(SOUGHT)..cursor.next).rev();
    newest_first.filter_map(|index| work.name_at(log, index)).find(|name| {
        let bytes = work.tx.entry(name.institution, name.index);
        let record = bytes.and_then(|b| ledger::record::decode_record::<Record>(&b).ok());
        record.is_some_and(|r| r.at >= at)
    })
}
