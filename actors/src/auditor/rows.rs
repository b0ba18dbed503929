//! The auditor's private rows: what was found already, how far each log is read, evidence, what was counted again.
//!
//! | key | value |
//! | --- | --- |
//! | `B0` log, index | the kind of finding that was written about a record |
//! | `B1` digest | evidence |
//! | `B2` log | the index up to which it was watched |
//! | `B3` | when to audit next, and from which broken record on |
//! | `B4` log, index | what came of counting published statistics again |
//! | `B5` digest | a finding that is written once, by what it is about |
//! | `B6` digest | the checkpoint that was cosigned last, by its origin's digest ([`super::witness`]) |
//! | `B7` log, size | when its node showed that head as its newest ([`super::sightings`]) |
//! | `B8` log | the index up to which times were held against sightings |
//! | `B9` week, institution, tally | how many there were ([`super::weeks`]) |
//! | `BA` | the last week that was judged |

use std::collections::BTreeMap;

use domain::ids::{Digest, InstitutionId, RecordName};
use domain::record::FindingKind;
use domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use super::recount::Difference;
use super::sightings::Sighting;
use super::weeks::Tally;
use super::witness::Cosigned;
use crate::keys::Key;
use crate::kv::{Space, Tx, read};

const REPORTED: u8 = 0xB0;
const EVIDENCE: u8 = 0xB1;
const WATCHED: u8 = 0xB2;
const NEXT: u8 = 0xB3;
const RECOUNTED: u8 = 0xB4;
const ONCE: u8 = 0xB5;
const COSIGNED: u8 = 0xB6;
const SEEN: u8 = 0xB7;
const TIMES_JUDGED: u8 = 0xB8;
const TALLY: u8 = 0xB9;
const WEEK_JUDGED: u8 = 0xBA;

/// Largest evidence that is kept, in bytes: signed heads, a difference of figures, or a week of some hundred institutions.
pub(super) const MAX_EVIDENCE_BYTES: usize = 64 * 1024;

/// What came of counting published statistics again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recounted {
    /// When.
    pub at: Timestamp,
    /// What differs; none if nothing does.
    pub difference: Option<Difference>,
}

fn place(kind: u8, institution: InstitutionId, index: u64) -> Vec<u8> {
    Key::new(kind).institution(institution).number(index).done()
}

pub(super) fn reported(tx: &Tx<'_>, name: &RecordName) -> Option<FindingKind> {
    tx.load_private(&place(REPORTED, name.institution, name.index))
}

pub(super) fn report(tx: &mut Tx<'_>, name: &RecordName, kind: FindingKind) {
    tx.store_private(place(REPORTED, name.institution, name.index), &kind);
}

/// What was cosigned last of the log whose name has this digest.
pub(super) fn cosigned(tx: &Tx<'_>, origin: Digest) -> Option<Cosigned> {
    tx.load_private(&Key::new(COSIGNED).bytes(&origin.0).done())
}

pub(super) fn keep_cosigned(tx: &mut Tx<'_>, origin: Digest, cosigned: &Cosigned) {
    tx.store_private(Key::new(COSIGNED).bytes(&origin.0).done(), cosigned);
}

/// Keeps evidence, cut to [`MAX_EVIDENCE_BYTES`], and gives its digest.
pub(super) fn keep_evidence(tx: &mut Tx<'_>, bytes: &[u8]) -> Digest {
    let bytes = bytes.get(..MAX_EVIDENCE_BYTES).unwrap_or(bytes);
    let digest = Digest(sha2::Sha256::digest(bytes).into());
    tx.put(Space::Private, Key::new(EVIDENCE).bytes(&digest.0).done(), bytes.to_vec());
    digest
}

/// Evidence by its digest.
#[must_use]
pub fn evidence(tx: &Tx<'_>, digest: Digest) -> Option<Vec<u8>> {
    tx.get(Space::Private, &Key::new(EVIDENCE).bytes(&digest.0).done()).map(|bytes| bytes.to_vec())
}

pub(super) fn watched(tx: &Tx<'_>, institution: InstitutionId) -> u64 {
    tx.load_private(&Key::new(WATCHED).institution(institution).done()).unwrap_or(0)
}

pub(super) fn set_watched(tx: &mut Tx<'_>, institution: InstitutionId, next: u64) {
    tx.store_private(Key::new(WATCHED).institution(institution).done(), &next);
}

/// When to audit next, and from which row on.
pub(super) fn next(tx: &Tx<'_>) -> (Timestamp, Vec<u8>) {
    tx.load_private(&[NEXT]).unwrap_or((Timestamp::MIN, Vec::new()))
}

pub(super) fn set_next(tx: &mut Tx<'_>, at: Timestamp, from: &[u8]) {
    tx.store_private(vec![NEXT], &(at, from));
}

/// What came of counting published statistics again, if they were.
#[must_use]
pub fn recounted(tx: &Tx<'_>, institution: InstitutionId, index: u64) -> Option<Recounted> {
    tx.load_private(&place(RECOUNTED, institution, index))
}

pub(super) fn set_recounted(tx: &mut Tx<'_>, institution: InstitutionId, index: u64, recounted: &Recounted) {
    tx.store_private(place(RECOUNTED, institution, index), recounted);
}

/// Sightings of a log, the shortest head first; at most [`super::sightings`] lets there be.
pub(super) fn sightings(tx: &Tx<'_>, institution: InstitutionId) -> Vec<Sighting> {
    let rows = tx.prefix(Space::Private, &Key::new(SEEN).institution(institution).done(), usize::MAX);
    rows.iter().map(|(_, value)| read(value)).collect()
}

pub(super) fn keep_sighting(tx: &mut Tx<'_>, institution: InstitutionId, sighting: &Sighting) {
    tx.store_private(place(SEEN, institution, sighting.size), sighting);
}

pub(super) fn forget_sighting(tx: &mut Tx<'_>, institution: InstitutionId, size: u64) {
    tx.delete(Space::Private, place(SEEN, institution, size));
}

pub(super) fn times_judged(tx: &Tx<'_>, institution: InstitutionId) -> u64 {
    tx.load_private(&Key::new(TIMES_JUDGED).institution(institution).done()).unwrap_or(0)
}

pub(super) fn set_times_judged(tx: &mut Tx<'_>, institution: InstitutionId, next: u64) {
    tx.store_private(Key::new(TIMES_JUDGED).institution(institution).done(), &next);
}

fn week(week: u64) -> Key {
    Key::new(TALLY).number(week)
}

pub(super) fn add_to_tally(tx: &mut Tx<'_>, number: u64, institution: InstitutionId, tally: Tally) {
    let key = week(number).institution(institution).bytes(&[tally as u8]).done();
    let before: Option<(InstitutionId, Tally, u64)> = tx.load_private(&key);
    let n = before.map_or(1, |(_, _, n)| n.saturating_add(1));
    tx.store_private(key, &(institution, tally, n));
}

/// What has been counted of a week.
pub(super) fn tallies(tx: &Tx<'_>, number: u64) -> BTreeMap<(InstitutionId, Tally), u64> {
    let rows = tx.prefix(Space::Private, &week(number).done(), usize::MAX);
    let counted = rows.iter().map(|(_, value)| read::<(InstitutionId, Tally, u64)>(value));
    counted.map(|(institution, tally, n)| ((institution, tally), n)).collect()
}

/// The last week that was judged.
pub(super) fn week_judged(tx: &Tx<'_>) -> Option<u64> {
    tx.load_private(&[WEEK_JUDGED])
}

/// Keeps that a week was judged, and forgets what was counted of it and before.
pub(super) fn set_week_judged(tx: &mut Tx<'_>, number: u64) {
    let counted = tx.range(Space::Private, &[TALLY], &week(number.saturating_add(1)).done(), usize::MAX);
    for (key, _) in counted {
        tx.delete(Space::Private, key);
    }
    tx.store_private(vec![WEEK_JUDGED], &number);
}

fn once<T: Serialize>(about: &T) -> Vec<u8> {
    Key::new(ONCE).bytes(&sha2::Sha256::digest(crate::kv::write(about))).done()
}

/// Whether nobody has asked about it with [`first_time`].
pub(super) fn is_new<T: Serialize>(tx: &Tx<'_>, about: &T) -> bool {
    tx.get(Space::Private, &once(about)).is_none()
}

/// What is asked about next is new.
pub(super) fn forget_once<T: Serialize>(tx: &mut Tx<'_>, about: &T) {
    tx.delete(Space::Private, once(about));
}

/// True the first time that something is asked about.
pub(super) fn first_time<T: Serialize>(tx: &mut Tx<'_>, about: &T) -> bool {
    let first = is_new(tx, about);
    tx.put(Space::Private, once(about), Vec::new());
    first
}
