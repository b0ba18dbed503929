//! What a voucher module keeps beside the ledger: whose enrolments belong together, contact, openings, results.
//!
//! | key | row | removed |
//! | --- | --- | --- |
//! | `v` `h` holder | [`Wallet`] | erasure |
//! | `v` `t` thumbprint, holder | the way from the main key | erasure, another phone |
//! | `v` `e` enrolment record | the way from a voucher | erasure |
//! | `v` `c` holder | [`Contact`]: telephone, document (V1) | V5 of the last voucher, erasure |
//! | `v` `i` voucher | [`Information`] (V1) | V5, erasure |
//! | `v` `b` voucher | [`domain::booking::BookingDetails`] of the booking that stands | the next booking, V5, erasure |
//! | `v` `m` voucher | [`Moving`]: the appointment to which it moves | done, dropped, V5, erasure |
//! | `v` `r` holder, voucher | [`Outcome`]: the hospital's result, for the holder | its time, erasure |
//! | `v` `g` voucher | it goes to another module: its holder was moved | handed over |
//! | `v` `l` | the holder looked at last by a sweep | - |
//! | `v` `s` | when the last sweep was | - |
//! | `v` `x` time, holder, voucher | when a result came | with it |

use domain::booking::{BookingDetails, Item};
use domain::ids::{HolderId, InstitutionId, RecordName, ShortName, VoucherId};
use domain::policy::Class;
use domain::time::{Millis, Timestamp};
use serde::{Deserialize, Serialize};

use super::letters::Enrolled;
use crate::keys::{Key, Parts};
use crate::kv::{self, Space, Tx};
use crate::token::PublicKey;

/// Most holders of whom one key id can be.
const MAX_FOUND: usize = 64;

/// A holder of this module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wallet {
    /// The registrar's random id.
    pub holder: HolderId,
    /// The community that told.
    pub community: InstitutionId,
    /// The phone's main key; none for somebody with a card alone.
    pub main_key: Option<PublicKey>,
    /// Why this person is entitled.
    pub class: Class,
    /// One for each programme.
    pub enrolments: Vec<Enrolled>,
}

/// How to reach a holder, and which document they show: personal data.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact {
    /// Telephone number.
    pub phone: Option<String>,
    /// Kind and number of the document, once the terminal gave them.
    pub document: Option<(ShortName, String)>,
}

/// What the module took from the terminal about a voucher (unit V1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Information {
    /// Whose it is.
    pub holder: HolderId,
    /// Its VQ1 token.
    pub token: String,
    /// The department that issued it.
    pub issuing_department: String,
    /// First moment of validity.
    pub valid_from: Timestamp,
    /// First moment after it.
    pub valid_until: Timestamp,
    /// When it was taken.
    pub taken_at: Timestamp,
}

/// A booking that is being moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moving {
    /// Whose voucher it is.
    pub holder: HolderId,
    /// The new appointment.
    pub details: BookingDetails,
}

/// A hospital's result, kept for the holder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The hospital.
    pub hospital: InstitutionId,
    /// In its words.
    pub text: String,
    /// What was ordered and done.
    pub items: Vec<Item>,
    /// When it came.
    pub at: Timestamp,
}

fn row(kind: u8) -> Key {
    Key::new(b'v').bytes(&[kind])
}

fn wallet_key(holder: HolderId) -> Vec<u8> {
    row(b'h').bytes(holder.0.as_bytes()).done()
}
fn contact_key(holder: HolderId) -> Vec<u8> {
    row(b'c').bytes(holder.0.as_bytes()).done()
}
fn enrolment_key(name: &RecordName) -> Vec<u8> {
    row(b'e').institution(name.institution).number(name.index).done()
}
fn information_key(voucher: VoucherId) -> Vec<u8> {
    row(b'i').voucher(voucher).done()
}
fn booking_key(voucher: VoucherId) -> Vec<u8> {
    row(b'b').voucher(voucher).done()
}
fn moving_key(voucher: VoucherId) -> Vec<u8> {
    row(b'm').voucher(voucher).done()
}
fn result_key(holder: HolderId, voucher: VoucherId) -> Vec<u8> {
    row(b'r').bytes(holder.0.as_bytes()).voucher(voucher).done()
}
fn arrival_key(at: Timestamp, holder: HolderId, voucher: VoucherId) -> Vec<u8> {
    row(b'x').time(at).bytes(holder.0.as_bytes()).voucher(voucher).done()
}

/// A holder of this module.
#[must_use]
pub fn wallet(tx: &Tx<'_>, holder: HolderId) -> Option<Wallet> {
    tx.load_private(&wallet_key(holder))
}

/// Those whose main key has this key id: several on a collision.
#[must_use]
pub fn by_main_key_id(tx: &Tx<'_>, kid: [u8; 8]) -> Vec<Wallet> {
    let rows = tx.prefix(Space::Private, &row(b't').bytes(&kid).done(), MAX_FOUND);
    rows.iter().filter_map(|(_, holder)| wallet(tx, kv::read(holder))).collect()
}

/// Whose enrolment a record made.
#[must_use]
pub fn by_enrolment(tx: &Tx<'_>, name: &RecordName) -> Option<Wallet> {
    wallet(tx, tx.load_private(&enrolment_key(name))?)
}

fn ways(wallet: &Wallet) -> Vec<Vec<u8>> {
    let id = wallet.holder.0;
    let mut ways: Vec<Vec<u8>> = wallet.enrolments.iter().map(|e| enrolment_key(&e.name)).collect();
    if let Some(key) = &wallet.main_key {
        ways.push(row(b't').bytes(&key.thumbprint()).bytes(id.as_bytes()).done());
    }
    ways
}

pub(super) fn keep_wallet(tx: &mut Tx<'_>, new: &Wallet) {
    forget_wallet(tx, new.holder);
    for key in ways(new) {
        tx.store_private(key, &new.holder);
    }
    tx.store_private(wallet_key(new.holder), new);
}

pub(super) fn forget_wallet(tx: &mut Tx<'_>, holder: HolderId) {
    if let Some(old) = wallet(tx, holder) {
        ways(&old).into_iter().for_each(|key| tx.delete(Space::Private, key));
        tx.delete(Space::Private, wallet_key(holder));
    }
}

/// How to reach a holder.
#[must_use]
pub fn contact(tx: &Tx<'_>, holder: HolderId) -> Option<Contact> {
    tx.load_private(&contact_key(holder))
}
pub(super) fn keep_contact(tx: &mut Tx<'_>, holder: HolderId, contact: &Contact) {
    tx.store_private(contact_key(holder), contact);
}
pub(super) fn forget_contact(tx: &mut Tx<'_>, holder: HolderId) {
    tx.delete(Space::Private, contact_key(holder));
}

/// What the module took from the terminal about a voucher.
#[must_use]
pub fn information(tx: &Tx<'_>, voucher: VoucherId) -> Option<Information> {
    tx.load_private(&information_key(voucher))
}
pub(super) fn keep_information(tx: &mut Tx<'_>, voucher: VoucherId, information: &Information) {
    tx.store_private(information_key(voucher), information);
}

/// The opening of the last booking that this module made.
#[must_use]
pub fn booking(tx: &Tx<'_>, voucher: VoucherId) -> Option<BookingDetails> {
    tx.load_private(&booking_key(voucher))
}
pub(super) fn keep_booking(tx: &mut Tx<'_>, details: &BookingDetails) {
    tx.store_private(booking_key(details.voucher), details);
}

/// The appointment to which a booking is being moved.
#[must_use]
pub fn moving(tx: &Tx<'_>, voucher: VoucherId) -> Option<Moving> {
    tx.load_private(&moving_key(voucher))
}
pub(super) fn keep_moving(tx: &mut Tx<'_>, moving: &Moving) {
    tx.store_private(moving_key(moving.details.voucher), moving);
}
pub(super) fn drop_moving(tx: &mut Tx<'_>, voucher: VoucherId) {
    tx.delete(Space::Private, moving_key(voucher));
}

/// Vouchers whose bookings are being moved, at most `limit`.
#[must_use]
pub fn all_moving(tx: &Tx<'_>, limit: usize) -> Vec<VoucherId> {
    of_kind(tx, b'm', limit)
}

/// Notes that a voucher goes to another module.
pub(super) fn keep_leaving(tx: &mut Tx<'_>, voucher: VoucherId) {
    tx.put(Space::Private, row(b'g').voucher(voucher).done(), Vec::new());
}
pub(super) fn drop_leaving(tx: &mut Tx<'_>, voucher: VoucherId) {
    tx.delete(Space::Private, row(b'g').voucher(voucher).done());
}

/// Vouchers that go to another module, at most `limit`.
#[must_use]
pub fn all_leaving(tx: &Tx<'_>, limit: usize) -> Vec<VoucherId> {
    of_kind(tx, b'g', limit)
}

/// The next holders to look at, at most `limit`, in turn: after the last one it begins anew.
pub(super) fn next_wallets(tx: &mut Tx<'_>, limit: usize) -> Vec<Wallet> {
    let last = row(b'l').done();
    let prefix = row(b'h').done();
    let after: Option<HolderId> = tx.load_private(&last);
    let mut from = after.map_or_else(|| prefix.clone(), wallet_key);
    if after.is_some() {
        from.push(0);
    }
    let found = tx.range(Space::Private, &from, &kv::after_prefix(&prefix), limit);
    let wallets: Vec<Wallet> = found.iter().map(|(_, wallet)| kv::read(wallet)).collect();
    match wallets.last().filter(|_| wallets.len() >= limit) {
        Some(wallet) => tx.store_private(last, &wallet.holder),
        None => tx.delete(Space::Private, last),
    }
    wallets
}

/// Vouchers of which something is kept, at most `limit`.
#[must_use]
pub fn all_kept(tx: &Tx<'_>, limit: usize) -> Vec<VoucherId> {
    let mut all = of_kind(tx, b'i', limit);
    all.extend(of_kind(tx, b'b', limit));
    all.sort_unstable();
    all.dedup();
    all
}

fn of_kind(tx: &Tx<'_>, kind: u8, limit: usize) -> Vec<VoucherId> {
    let prefix = row(kind).done();
    let rows = tx.prefix(Space::Private, &prefix, limit);
    rows.iter().filter_map(|(key, _)| Parts(key.get(prefix.len()..)?).voucher()).collect()
}

/// Removes every row of a voucher. Returns whether there was one.
pub(super) fn forget_voucher(tx: &mut Tx<'_>, voucher: VoucherId) -> bool {
    let mut any = false;
    for key in [information_key(voucher), booking_key(voucher), moving_key(voucher)] {
        if tx.get(Space::Private, &key).is_some() {
            any = true;
            tx.delete(Space::Private, key);
        }
    }
    any
}

/// A result that waits for its holder.
#[must_use]
pub fn result(tx: &Tx<'_>, holder: HolderId, voucher: VoucherId) -> Option<Outcome> {
    tx.load_private(&result_key(holder, voucher))
}

pub(super) fn keep_result(tx: &mut Tx<'_>, holder: HolderId, voucher: VoucherId, outcome: &Outcome) {
    if let Some(old) = result(tx, holder, voucher) {
        tx.delete(Space::Private, arrival_key(old.at, holder, voucher));
    }
    tx.store_private(arrival_key(outcome.at, holder, voucher), &holder);
    tx.store_private(result_key(holder, voucher), outcome);
}

/// Results that came at a time or before it, at most `limit`.
#[must_use]
pub fn old_results(tx: &Tx<'_>, until: Timestamp, limit: usize) -> Vec<(Vec<u8>, HolderId, VoucherId)> {
    let (from, to) = (row(b'x').done(), row(b'x').time(until + Millis(1)).done());
    let read = |(key, holder): &kv::Row| {
        let voucher = Parts(key.get(from.len() + 8 + 16..)?).voucher()?;
        Some((key.clone(), kv::read(holder), voucher))
    };
    tx.range(Space::Private, &from, &to, limit).iter().filter_map(read).collect()
}

pub(super) fn forget_old_result(tx: &mut Tx<'_>, old: (Vec<u8>, HolderId, VoucherId)) {
    tx.delete(Space::Private, old.0);
    tx.delete(Space::Private, result_key(old.1, old.2));
}

pub(super) fn forget_results(tx: &mut Tx<'_>, holder: HolderId) {
    let prefix = row(b'r').bytes(holder.0.as_bytes()).done();
    for (key, outcome) in tx.prefix(Space::Private, &prefix, usize::MAX) {
        let outcome: Outcome = kv::read(&outcome);
        if let Some(voucher) = key.get(prefix.len()..).and_then(|rest| Parts(rest).voucher()) {
            tx.delete(Space::Private, arrival_key(outcome.at, holder, voucher));
        }
        tx.delete(Space::Private, key);
    }
}
