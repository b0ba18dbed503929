//! The outbox: what must reach another institution point to point, kept until it is delivered.
//!
//! A letter is written in the same transaction as the record that depends on it, so neither is lost without the other.

use domain::ids::InstitutionId;
use serde::{Deserialize, Serialize};

use crate::keys::Key;
use crate::kv::{Space, Tx};
use crate::writer::Desk;

/// First byte of letters among the private rows.
const LETTER: u8 = b'X';

/// A letter to another institution's node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// Its place in the order of letters; with the sender's id it is its `Idempotency-Key`.
    pub number: u64,
    /// To whom.
    pub to: InstitutionId,
    /// Path of the POST, such as `/v1/hospital/openings`.
    pub path: String,
    /// The body, JSON.
    pub body: Vec<u8>,
}

/// Puts a letter in the outbox.
pub fn post(desk: &mut Desk<'_>, to: InstitutionId, path: &str, body: Vec<u8>) {
    let counter = Key::new(b'N').done();
    let number: u64 = desk.work.tx.load_private(&counter).unwrap_or(0);
    desk.work.tx.store_private(counter, &(number + 1));
    let letter = Letter { number, to, path: path.to_owned(), body };
    desk.work.tx.store_private(Key::new(LETTER).number(number).done(), &letter);
}

/// The oldest letters, at most `limit` from number `from` on.
#[must_use]
pub fn letters(tx: &Tx<'_>, from: u64, limit: usize) -> Vec<Letter> {
    let start = Key::new(LETTER).number(from).done();
    let end = crate::kv::after_prefix(&[LETTER]);
    tx.range(Space::Private, &start, &end, limit).iter().map(|(_, v)| crate::kv::read(v)).collect()
}

/// Takes a delivered letter out.
pub fn delivered(desk: &mut Desk<'_>, number: u64) {
    desk.work.tx.delete(Space::Private, Key::new(LETTER).number(number).done());
}
