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

use domain::ids::{Digest, InstitutionId, RecordName};
use domain::record::FindingKind;
use domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use super::recount::Difference;
use super::witness::Cosigned;
use crate::keys::Key;
use crate::kv::{Space, Tx};

const REPORTED: u8 = 0xB0;
const EVIDENCE: u8 = 0xB1;
const WATCHED: u8 = 0xB2;
const NEXT: u8 = 0xB3;
const RECOUNTED: u8 = 0xB4;
const ONCE: u8 = 0xB5;
const COSIGNED: u8 = 0xB6;

/// Largest evidence that is kept, in bytes: two signed heads, or a difference of figures.
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

fn once<T: Serialize>(about: &T) -> Vec<u8> {
    Key::new(ONCE).bytes(&sha2::Sha256::digest(crate::kv::write(about))).done()
}

/// Whether nobody has asked about it with [`first_time`].
pub(super) fn is_new<T: Serialize>(tx: &Tx<'_>, about: &T) -> bool {
    tx.get(Space::Private, &once(about)).is_none()
}

/// True the first time that something is asked about.
pub(super) fn first_time<T: Serialize>(tx: &mut Tx<'_>, about: &T) -> bool {
    let first = is_new(tx, about);
    tx.put(Space::Private, once(about), Vec::new());
    first
}
