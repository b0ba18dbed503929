//! What people read of a hospital: free slots, the bookings of a day, who is in, and what became of claims.

use std::collections::BTreeMap;

use domain::booking::Slot;
use domain::ids::{RecordName, ShortName, VoucherId};
use domain::lifecycle::{ClaimReason, Stage, Step};
use domain::time::{Millis, Timestamp};
use serde::Serialize;

use super::{rows, schedule};
use crate::misbehave::misbehaves;
use crate::replica::{VoucherDoc, Work};

/// Most rows of one list: a page, and one more to know whether another follows.
pub const MAX_LIST: usize = 1_001;

/// Most slots that are looked at in one reading.
pub const MAX_LOOKED_AT: usize = 1_001;

/// Most bookings of one day that are looked at.
const MAX_DAY: usize = 20_000;

/// A slot that takes at least one more booking.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FreeSlot {
    /// Which one.
    #[serde(flatten)]
    pub slot: Slot,
    /// How many more bookings it takes.
    pub free: u16,
    /// The department as people read it.
    pub department_name: String,
    /// The doctor as people read it.
    pub doctor_name: String,
}

/// Which slots are asked for.
#[derive(Debug, Clone)]
pub struct SlotQuery {
    /// Only this department.
    pub department: Option<ShortName>,
    /// Only this doctor.
    pub doctor: Option<ShortName>,
    /// Not before this time; what is past is never listed.
    pub from: Timestamp,
    /// Before this time.
    pub until: Timestamp,
    /// After this one.
    pub after: Option<Place>,
    /// At most so many, and [`MAX_LIST`].
    pub limit: usize,
}

/// Free slots, and where looking for more goes on.
#[derive(Debug, Clone, Default)]
pub struct FreeSlots {
    /// In order of time, department and doctor.
    pub found: Vec<FreeSlot>,
    /// The last slot that was looked at, if there may be more after it.
    pub goes_on: Option<Place>,
}

/// A slot's place in the order: begin, department, doctor.
pub type Place = (Timestamp, ShortName, ShortName);

/// The free slots, in order of time, department and doctor. At most [`MAX_LOOKED_AT`] slots are looked at, free or not: while
/// this reads, nobody else does.
#[must_use]
pub fn free_slots(work: &Work<'_>, query: &SlotQuery, now: Timestamp) -> FreeSlots {
    let hours = rows::hours(&work.tx, query.department.as_ref(), query.doctor.as_ref());
    // A page begins where the one before ended: what lies before is not made again.
    let from = query.after.as_ref().map_or(query.from, |(start, ..)| query.from.max(*start)).max(now + Millis(1));
    let is_after = |slot: &Slot| {
        let Some((start, department, doctor)) = &query.after else { return true };
        (slot.start, &slot.department, &slot.doctor) > (*start, department, doctor)
    };
    let mut slots = FreeSlots::default();
    let names: BTreeMap<_, _> = hours.iter().map(|h| ((&h.department, &h.doctor), h)).collect();
    let all = schedule::slots(&hours, work.settings.me, from, query.until, work.settings.offset);
    let closures = rows::closures(&work.tx);
    let mut all = all.filter(|(slot, _)| is_after(slot)).peekable();
    let mut looked_at = 0;
    while let Some((slot, capacity)) = all.next() {
        looked_at += 1;
        let free = if misbehaves("full-slots-offered") {
            capacity
        } else if schedule::is_closed(&closures, &slot, work.settings.offset) {
            0
        } else {
            capacity.saturating_sub(u16::try_from(rows::taken(work, &slot, None, now)).unwrap_or(u16::MAX))
        };
        let place = (slot.start, slot.department.clone(), slot.doctor.clone());
        if free > 0 {
            let named = names.get(&(&slot.department, &slot.doctor));
            let department_name = named.map(|h| h.department_name.clone()).unwrap_or_default();
            let doctor_name = named.map(|h| h.doctor_name.clone()).unwrap_or_default();
            slots.found.push(FreeSlot { slot, free, department_name, doctor_name });
        }
        if slots.found.len() >= query.limit.min(MAX_LIST) || looked_at >= MAX_LOOKED_AT {
            slots.goes_on = all.peek().map(|_| place);
            break;
        }
    }
    slots
}

/// A booking as the hospital's desk sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BookingRow {
    /// Which voucher.
    pub voucher: VoucherId,
    /// When, where, with whom; none if the opening is gone, and while the desk has nothing more to do with it: from the claim
    /// on, unless that was rejected.
    pub slot: Option<Slot>,
    /// Where the voucher stands.
    pub stage: Stage,
    /// First moment of the arrival window.
    pub use_from: Timestamp,
    /// First moment after it.
    pub use_by: Timestamp,
    /// The voucher's QR came already (unit V4).
    pub presented: bool,
    /// The holder wants to cancel or move it.
    pub release_requested: bool,
    /// The holder did not come.
    pub no_show: bool,
    /// The holder denies the use.
    pub disputed: bool,
    /// When the examination must be complete, while in use.
    pub complete_by: Option<Timestamp>,
    /// When it must be claimed, once examined.
    pub claim_by: Option<Timestamp>,
    /// How often it was claimed.
    pub claims: u8,
    /// Why the last claim was rejected.
    pub rejected: Option<ClaimReason>,
    /// The last record that counts.
    pub head: Option<RecordName>,
}

/// Whether a voucher is out of the desk's hands: claimed, or past that. What was opened for it is kept, and shown no more.
const fn is_hidden(stage: Stage) -> bool {
    matches!(stage, Stage::Claimed) || stage.is_settled()
}

fn row(work: &Work<'_>, id: VoucherId, doc: &VoucherDoc) -> Option<BookingRow> {
    let voucher = doc.state()?;
    let booking = voucher.booking.filter(|b| b.hospital == work.settings.me)?;
    let notes = doc.notes_state();
    let rejection = doc.last_on_path(|step| matches!(step, Step::ClaimRejected { .. })).map(|link| &link.step);
    let rejected = match rejection {
        Some(Step::ClaimRejected { reason, .. }) if voucher.stage == Stage::Rejected => Some(*reason),
        _ => None,
    };
    Some(BookingRow {
        voucher: id,
        slot: rows::opening(&work.tx, booking.details)
            .filter(|_| !is_hidden(voucher.stage))
            .map(|opening| opening.slot),
        stage: voucher.stage,
        use_from: booking.use_from,
        use_by: booking.use_by,
        presented: notes.use_presented,
        release_requested: notes.release_requested,
        no_show: notes.no_show,
        disputed: notes.disputed,
        complete_by: voucher.complete_by,
        claim_by: voucher.claim_by,
        claims: voucher.claims,
        rejected,
        head: doc.head_name(),
    })
}

/// The bookings whose slot begins in `[from, until)`, in order of time, used ones included.
#[must_use]
pub fn bookings(work: &Work<'_>, from: Timestamp, until: Timestamp) -> Vec<BookingRow> {
    let wanted = rows::wanted(&work.tx, from, until, MAX_DAY);
    let current = wanted.into_iter().filter_map(|opening| {
        let doc = work.voucher(opening.voucher)?;
        let digest = crate::openings::digest_of(&opening);
        let stands = doc.state().and_then(|v| v.booking).is_some_and(|b| b.details == digest);
        stands.then(|| row(work, opening.voucher, &doc))?
    });
    current.collect()
}

/// Vouchers of this hospital at these stages after `after`, stage by stage: at most `limit`, and [`MAX_LIST`].
#[must_use]
pub fn at_stages(
    work: &Work<'_>,
    stages: &[Stage],
    after: Option<(Stage, VoucherId)>,
    limit: usize,
) -> Vec<BookingRow> {
    let limit = limit.min(MAX_LIST);
    let mut found = Vec::new();
    for stage in stages.iter().skip_while(|s| after.is_some_and(|(at, _)| at != **s)) {
        let mut last = after.filter(|(at, _)| at == stage).map(|(_, id)| id);
        while found.len() < limit {
            let ids = work.mine(*stage, last, MAX_LIST);
            last = ids.last().copied();
            for id in &ids {
                if found.len() < limit {
                    found.extend(work.voucher(*id).and_then(|doc| row(work, *id, &doc)));
                }
            }
            if ids.len() < MAX_LIST {
                break;
            }
        }
    }
    found
}

/// One voucher as this hospital sees it, if it has to do with it.
#[must_use]
pub fn one(work: &Work<'_>, id: VoucherId) -> Option<BookingRow> {
    row(work, id, &work.voucher(id)?)
}
