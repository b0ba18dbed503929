//! The issuer's private rows: what no log may hold, kept beside it.
//!
//! | key | value |
//! | --- | --- |
//! | `i` `S` | the secret of keyed digests, 32 bytes |
//! | `i` `H` holder | [`HolderRow`]: class, home, enrolments |
//! | `i` `P` holder | [`super::Person`], deleted when the person is blocked for good |
//! | `i` `D` bucket of a document's keyed digest, holder | digest and holder |
//! | `i` `K` thumbprint of a key | holder: no key is registered twice, not even an old one |
//! | `i` `E` enrolment id | holder |
//! | `i` `O` voucher, part | bytes of a [`ClaimRow`] |
//! | `i` `F` time, voucher | the openings of that voucher are forgotten then |
//! | `i` `T` digest, part | rows of a published table |
//! | `i` `C` index of a `CompensationGranted` | the operator's words |

use domain::ids::{Digest, EnrolmentId, InstitutionId, RecordName, VoucherId};
use domain::policy::Class;
use domain::statistics::Row;
use domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::Digest as _;
use uuid::Uuid;

use super::command::{Enrolled, Openings};
use crate::keys::Key;
use crate::kv::{Space, Tx, read};
use crate::writer::Desk;

/// Most bytes of a claim's openings together.
pub const MAX_OPENINGS_BYTES: usize = 48 * 1024;

/// Bytes of a value that is kept in parts: the store takes values below 8 KiB well.
const PART_BYTES: usize = 4_096;

/// Rows of a table that are kept in one value, for the same reason.
const PART_ROWS: usize = 32;

/// Openings forgotten in one go.
const FORGET_AT_ONCE: usize = 100;

/// A registered person, without who it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HolderRow {
    pub document: Digest,
    pub document_kind: String,
    pub class: Class,
    pub community: InstitutionId,
    pub voucher_module: InstitutionId,
    pub main_key: Option<Digest>,
    pub enrolments: Vec<Enrolled>,
    pub blocked: Option<domain::holder::BlockReason>,
}

/// Openings, and the `ExamCompleted` that they are for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ClaimRow {
    pub examination: RecordName,
    pub openings: Openings,
}

fn key(kind: u8) -> Key {
    Key::new(b'i').bytes(&[kind])
}

pub(super) fn secret() -> Vec<u8> {
    key(b'S').done()
}
pub(super) fn holder_row(holder: Uuid) -> Vec<u8> {
    key(b'H').bytes(holder.as_bytes()).done()
}
pub(super) fn person(holder: Uuid) -> Vec<u8> {
    key(b'P').bytes(holder.as_bytes()).done()
}
pub(super) fn persons() -> Vec<u8> {
    key(b'P').done()
}
fn documents(digest: Digest) -> Key {
    key(b'D').bytes(&crate::document::bucket(digest))
}

/// Whose document it is. The digest is in the sealed value: the row's key has its bucket alone.
pub(super) fn of_document(tx: &Tx<'_>, wanted: Digest) -> Option<Uuid> {
    let rows = tx.prefix(Space::Private, &documents(wanted).done(), usize::MAX);
    let mut found = rows.iter().map(|(_, value)| read::<(Digest, Uuid)>(value));
    found.find(|(digest, _)| *digest == wanted).map(|(_, holder)| holder)
}
pub(super) fn keep_document(tx: &mut Tx<'_>, digest: Digest, holder: Uuid) {
    tx.store_private(documents(digest).bytes(holder.as_bytes()).done(), &(digest, holder));
}
pub(super) fn thumbprint(key_bytes: &[u8]) -> Vec<u8> {
    key(b'K').bytes(&sha2::Sha256::digest(key_bytes)).done()
}
pub(super) fn enrolment(id: EnrolmentId) -> Vec<u8> {
    key(b'E').bytes(id.0.as_bytes()).done()
}
fn table(digest: Digest) -> Vec<u8> {
    key(b'T').bytes(&digest.0).done()
}
pub(super) fn compensation(index: u64) -> Vec<u8> {
    key(b'C').number(index).done()
}
fn openings_of(voucher: VoucherId) -> Vec<u8> {
    key(b'O').voucher(voucher).done()
}

/// Keeps a published table.
pub(super) fn store_table(tx: &mut Tx<'_>, digest: Digest, rows: &[Row]) {
    for (part, rows) in (0_u64..).zip(rows.chunks(PART_ROWS)) {
        tx.store_private([table(digest).as_slice(), part.to_be_bytes().as_slice()].concat(), &rows);
    }
}

/// A published table; none where there is none. A table without rows is none either: there is nothing to serve.
pub(super) fn load_table(tx: &Tx<'_>, digest: Digest) -> Option<Vec<Row>> {
    let parts = tx.prefix(Space::Private, &table(digest), usize::MAX);
    (!parts.is_empty()).then(|| parts.iter().flat_map(|(_, rows)| read::<Vec<Row>>(rows)).collect())
}

fn delete_all(tx: &mut Tx<'_>, prefix: &[u8]) {
    for (key, _) in tx.prefix(Space::Private, prefix, usize::MAX) {
        tx.delete(Space::Private, key);
    }
}

/// Keeps the bytes of a claim's openings in place of earlier ones, until they are forgotten.
pub(super) fn store_claim(desk: &mut Desk<'_>, voucher: VoucherId, row: &[u8]) {
    let prefix = openings_of(voucher);
    delete_all(&mut desk.work.tx, &prefix);
    for (part, bytes) in (0_u64..).zip(row.chunks(PART_BYTES)) {
        let key = [prefix.as_slice(), part.to_be_bytes().as_slice()].concat();
        desk.work.tx.put(Space::Private, key, bytes.to_vec());
    }
    let forget = key(b'F').time(desk.now + desk.work.settings.retention.claims).voucher(voucher).done();
    desk.work.tx.put(Space::Private, forget, Vec::new());
}

/// The openings of a claim.
pub(super) fn load_claim(tx: &Tx<'_>, voucher: VoucherId) -> Option<ClaimRow> {
    let parts = tx.prefix(Space::Private, &openings_of(voucher), usize::MAX);
    let bytes: Vec<u8> = parts.iter().flat_map(|(_, bytes)| bytes.iter().copied()).collect();
    (!parts.is_empty()).then(|| read(&bytes))
}

fn to_forget(tx: &Tx<'_>, now: Timestamp, limit: usize) -> Vec<Vec<u8>> {
    let rows = tx.range(Space::Private, &key(b'F').done(), &key(b'F').time(now).done(), limit);
    rows.into_iter().map(|(key, _)| key).collect()
}

pub(super) fn has_to_forget(tx: &Tx<'_>, now: Timestamp) -> bool {
    !to_forget(tx, now, 1).is_empty()
}

/// Deletes openings whose time is over, the oldest first.
pub(super) fn forget_openings(desk: &mut Desk<'_>) {
    for row in to_forget(&desk.work.tx, desk.now, FORGET_AT_ONCE) {
        let mut parts = crate::keys::Parts(row.get(2..).unwrap_or_default());
        if let (Some(_), Some(voucher)) = (parts.number(), parts.voucher()) {
            delete_all(&mut desk.work.tx, &openings_of(voucher));
        }
        desk.work.tx.delete(Space::Private, row);
    }
}
