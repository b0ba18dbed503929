//! The hospital's private rows: weekly hours, openings of bookings, seats, evidence. No log holds them.
//!
//! | key | value |
//! | --- | --- |
//! | `A0` department, doctor, weekday, first minute | weekly hours |
//! | `A1` digest | the opening of a booking |
//! | `A2` begin of the slot, tag of department and doctor, voucher | digest of the opening: who wants or has a seat there |
//! | `A3` digest | evidence of an examination |
//! | `A4` | when to tidy up next, and from which row on |
//! | `A5` day | the secret of that day's tags |
//! | `A6` | days without hours |
//!
//! A row's key stays in the journal for ever. What a slot's salted digest hides in the log must not be read there: the tag
//! says nothing once the day's secret is erased, with the last seat of the day.

use std::collections::BTreeSet;

use domain::booking::{BookingDetails, Evidence, Slot};
use domain::ids::{Digest, InstitutionId, ShortName, VoucherId};
use domain::lifecycle::{Stage, Step};
use domain::record::Note;
use domain::time::{Millis, Timestamp};

use super::schedule::{self, Closure, WeeklyHours};
use crate::keys::{Key, Parts};
use crate::kv::{Space, Tx, read};
use crate::openings::digest_of;
use crate::replica::{VoucherDoc, Work};

const HOURS: u8 = 0xA0;
const OPENING: u8 = 0xA1;
const SEAT: u8 = 0xA2;
const EVIDENCE: u8 = 0xA3;
const TIDY: u8 = 0xA4;
const DAY: u8 = 0xA5;
const CLOSURES: u8 = 0xA6;

/// Bytes of the tag of department and doctor in a seat's key.
const TAG_BYTES: usize = 16;

/// Length of a day, in milliseconds.
const DAY_MILLIS: i64 = 86_400_000;

/// Most openings that are kept for one slot: who asks for more seats than this is not believed.
pub const MAX_OPENINGS_PER_SLOT: usize = 500;

/// How long a slot is held for a booking that is moved there.
pub const HOLD: Millis = Millis::minutes(10);

/// How often the hospital tidies up.
pub const TIDY_EVERY: Millis = Millis::hours(1);

/// Rows looked at in one tidying.
const TIDY_ROWS: usize = 500;

fn name(key: Key, name: &ShortName) -> Key {
    key.bytes(name.as_str().as_bytes()).bytes(&[0])
}

/// Replaces the weekly hours.
pub(super) fn set_hours(tx: &mut Tx<'_>, hours: &[WeeklyHours]) {
    for (key, _) in tx.prefix(Space::Private, &[HOURS], usize::MAX) {
        tx.delete(Space::Private, key);
    }
    for h in hours {
        let key = name(name(Key::new(HOURS), &h.department), &h.doctor);
        let day = u64::from(h.weekday.num_days_from_monday());
        tx.store_private(key.number(day).number(u64::from(h.start.since_midnight())).done(), h);
    }
}

/// The weekly hours, of one department and doctor or of all.
#[must_use]
pub fn hours(tx: &Tx<'_>, department: Option<&ShortName>, doctor: Option<&ShortName>) -> Vec<WeeklyHours> {
    let mut key = Key::new(HOURS);
    if let Some(department) = department {
        key = name(key, department);
    }
    let rows = tx.prefix(Space::Private, &key.done(), schedule::MAX_HOURS);
    let all = rows.iter().map(|(_, value)| read::<WeeklyHours>(value));
    all.filter(|h| doctor.is_none_or(|d| h.doctor == *d)).collect()
}

/// Replaces the days without hours.
pub(super) fn set_closures(tx: &mut Tx<'_>, closures: &[Closure]) {
    tx.store_private(Key::new(CLOSURES).done(), &closures.to_vec());
}

/// The days without hours, in the order in which they were given.
#[must_use]
pub fn closures(tx: &Tx<'_>) -> Vec<Closure> {
    tx.load_private(&Key::new(CLOSURES).done()).unwrap_or_default()
}

/// Who works in a department: those who have hours there.
#[must_use]
pub fn performers(tx: &Tx<'_>, department: &ShortName) -> Vec<ShortName> {
    let names: BTreeSet<ShortName> = hours(tx, Some(department), None).into_iter().map(|h| h.doctor).collect();
    names.into_iter().collect()
}

/// The opening of a booking.
#[must_use]
pub fn opening(tx: &Tx<'_>, digest: Digest) -> Option<BookingDetails> {
    tx.load_private(&Key::new(OPENING).bytes(&digest.0).done())
}

/// Days since 1970, in UTC.
const fn day_of(at: Timestamp) -> i64 {
    at.millis().div_euclid(DAY_MILLIS)
}

fn day_key(day: i64) -> Vec<u8> {
    Key::new(DAY).number(u64::try_from(day).unwrap_or_default()).done()
}

/// What the keys of a slot's seats begin with; none on a day of which there is no seat.
fn seats_of(tx: &Tx<'_>, slot: &Slot) -> Option<Key> {
    let secret: Digest = tx.load_private(&day_key(day_of(slot.start)))?;
    let tag = digest_of(&("voucher-node/v1/seats", secret, &slot.department, &slot.doctor));
    Some(Key::new(SEAT).time(slot.start).bytes(&tag.0[..TAG_BYTES]))
}

/// Keeps an opening, and that its voucher wants a seat. False if there are too many for that slot.
pub(super) fn keep_opening(tx: &mut Tx<'_>, details: &BookingDetails) -> bool {
    let digest = digest_of(details);
    let day = day_key(day_of(details.slot.start));
    if tx.get(Space::Private, &day).is_none() {
        // The opening's salt is random, and nobody else's: so is what is made of the day's first.
        tx.store_private(day, &digest_of(&("voucher-node/v1/seats of a day", details.salt)));
    }
    let Some(seats) = seats_of(tx, &details.slot) else { return false };
    let seat = seats.clone().voucher(details.voucher).done();
    let is_new = tx.get(Space::Private, &seat).is_none();
    if is_new && tx.prefix(Space::Private, &seats.done(), MAX_OPENINGS_PER_SLOT).len() >= MAX_OPENINGS_PER_SLOT {
        return false;
    }
    tx.store_private(seat, &digest);
    tx.store_private(Key::new(OPENING).bytes(&digest.0).done(), details);
    true
}

/// Seats of a slot that others than `except` have now: by the current state of their vouchers.
#[must_use]
pub fn taken(work: &Work<'_>, slot: &Slot, except: Option<VoucherId>, now: Timestamp) -> usize {
    let Some(seats) = seats_of(&work.tx, slot).map(Key::done) else { return 0 };
    let rows = work.tx.prefix(Space::Private, &seats, MAX_OPENINGS_PER_SLOT);
    let has_seat = |(key, value): &(Vec<u8>, std::sync::Arc<[u8]>)| {
        let id = key.get(seats.len()..).and_then(|rest| Parts(rest).voucher());
        let Some(id) = id.filter(|id| Some(*id) != except) else { return false };
        work.voucher(id).is_some_and(|doc| holds(&doc, work.settings.me, read(value), now))
    };
    rows.iter().filter(|row| has_seat(row)).count()
}

/// Whether a voucher has the seat of an opening: booked, used, or about to be moved there.
fn holds(doc: &VoucherDoc, me: InstitutionId, digest: Digest, now: Timestamp) -> bool {
    let Some(voucher) = doc.state() else { return false };
    if voucher.booking.is_some_and(|b| b.hospital == me && b.details == digest) {
        return voucher.stage != Stage::BookingRequested;
    }
    let moves = |note: &Note| matches!(note, Note::MoveRequested { details, hospital, .. } if *details == digest && *hospital == me);
    let waits = matches!(voucher.stage, Stage::Issued | Stage::BookingRequested | Stage::Booked);
    waits
        && doc.notes.iter().any(|n| {
            n.proved && Some(n.name.institution) == voucher.voucher_module && now < n.at + HOLD && moves(&n.note)
        })
}

/// Vouchers with an opening for a slot that begins in `[from, until)`, in the order of time, at most `limit`.
#[must_use]
pub fn wanted(tx: &Tx<'_>, from: Timestamp, until: Timestamp, limit: usize) -> Vec<BookingDetails> {
    let (from, to) = (Key::new(SEAT).time(from).done(), Key::new(SEAT).time(until).done());
    let rows = tx.range(Space::Private, &from, &to, limit);
    rows.iter().filter_map(|(_, value)| opening(tx, read(value))).collect()
}

/// Keeps the evidence of an examination, and gives its digest.
pub(super) fn keep_evidence(tx: &mut Tx<'_>, evidence: &Evidence) -> Digest {
    let digest = digest_of(evidence);
    tx.store_private(Key::new(EVIDENCE).bytes(&digest.0).done(), evidence);
    digest
}

/// The evidence of an examination.
#[must_use]
pub fn evidence(tx: &Tx<'_>, digest: Digest) -> Option<Evidence> {
    tx.load_private(&Key::new(EVIDENCE).bytes(&digest.0).done())
}

/// When to tidy up next, and from which row on.
type Tidying = (Timestamp, Vec<u8>);

/// When to tidy up next.
#[must_use]
pub fn next_tidy(tx: &Tx<'_>) -> Timestamp {
    tx.load_private::<Tidying>(&[TIDY]).map_or(Timestamp::MIN, |(at, _)| at)
}

/// Forgets openings and evidence that nobody can need any more: the slot is long over, and the voucher is settled past
/// every correction, or was never used with them.
pub(super) fn tidy(work: &mut Work<'_>, now: Timestamp) {
    let correction = work.registry.parameters_at(u64::MAX).correction_period;
    let from = work.tx.load_private::<Tidying>(&[TIDY]).map_or_else(|| vec![SEAT], |(_, from)| from);
    let end = Key::new(SEAT).time(now - work.settings.retention.openings).done();
    let rows = work.tx.range(Space::Private, &from, &end, TIDY_ROWS);
    let next: Tidying = match rows.last() {
        Some((last, _)) if rows.len() == TIDY_ROWS => (now, [last.as_slice(), &[0]].concat()),
        _ => (now + TIDY_EVERY, vec![SEAT]),
    };
    work.tx.store_private(vec![TIDY], &next);
    let mut days = BTreeSet::new();
    for (key, value) in rows {
        let digest: Digest = read(&value);
        let doc = opening(&work.tx, digest).and_then(|details| work.voucher(details.voucher));
        let voucher = doc.as_ref().and_then(VoucherDoc::state);
        let corrected = voucher.and_then(|v| v.redeemed_at).is_none_or(|at| now < at + correction);
        let booked_with = voucher.and_then(|v| v.booking).filter(|b| b.hospital == work.settings.me);
        let settled = voucher.is_some_and(|v| v.stage == Stage::Voided);
        if booked_with.is_some_and(|b| b.details == digest) && corrected && !settled {
            continue;
        }
        days.extend(Parts(key.get(1..).unwrap_or_default()).number());
        work.tx.delete(Space::Private, key);
        work.tx.delete(Space::Private, Key::new(OPENING).bytes(&digest.0).done());
        if booked_with.is_some_and(|b| b.details != digest) {
            continue; // used here again since: its evidence goes with the later booking
        }
        for link in doc.iter().flat_map(|doc| &doc.links) {
            if let Step::ExamCompleted { evidence, .. } = &link.step
                && link.name.institution == work.settings.me
            {
                work.tx.delete(Space::Private, Key::new(EVIDENCE).bytes(&evidence.0).done());
            }
        }
    }
    forget_days(&mut work.tx, days.into_iter().filter_map(|start| i64::try_from(start).ok()));
}

/// Erases the secrets of days that have no seats any more; `starts` are slots of which seats went.
fn forget_days(tx: &mut Tx<'_>, starts: impl Iterator<Item = i64>) {
    let days: BTreeSet<i64> = starts.map(|start| day_of(Timestamp::from_millis(start))).collect();
    for day in days {
        let begin = |day: i64| Key::new(SEAT).time(Timestamp::from_millis(day.saturating_mul(DAY_MILLIS))).done();
        if tx.range(Space::Private, &begin(day), &begin(day.saturating_add(1)), 1).is_empty() {
            tx.delete(Space::Private, day_key(day));
        }
    }
}
