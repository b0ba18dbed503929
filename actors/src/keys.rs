//! Where state lies: one prefix byte per kind of row, then ordered parts, so that a range is a list.

use domain::ids::{Digest, InstitutionId, RecordName, VoucherId};
use domain::lifecycle::Stage;
use domain::statistics::Counter;
use domain::time::Timestamp;

/// Most keys are not longer, in bytes.
const USUAL_BYTES: usize = 64;

/// Key of a row, built part by part.
#[derive(Debug, Clone)]
pub struct Key(Vec<u8>);

impl Key {
    /// A key of one kind.
    #[must_use]
    pub fn new(kind: u8) -> Self {
        let mut key = Vec::with_capacity(USUAL_BYTES);
        key.push(kind);
        Self(key)
    }
    /// Adds an institution, padded so that ids sort and never run into each other.
    #[must_use]
    pub fn institution(mut self, id: InstitutionId) -> Self {
        self.0.extend_from_slice(id.as_bytes());
        self.0.push(0);
        self
    }
    /// Adds a number, big-endian.
    #[must_use]
    pub fn number(mut self, n: u64) -> Self {
        self.0.extend_from_slice(&n.to_be_bytes());
        self
    }
    /// Adds a time. Times are never negative.
    #[must_use]
    pub fn time(self, at: Timestamp) -> Self {
        self.number(u64::try_from(at.millis()).unwrap_or_default())
    }
    /// Adds raw bytes; only as the last part or of fixed length.
    #[must_use]
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }
    /// Adds a voucher.
    #[must_use]
    pub fn voucher(self, id: VoucherId) -> Self {
        self.institution(id.issuer).bytes(id.uuid.as_bytes())
    }
    /// The finished key.
    #[must_use]
    pub fn done(self) -> Vec<u8> {
        self.0
    }
}

/// Reads the parts of a key back in the order in which they were added.
pub struct Parts<'a>(pub &'a [u8]);

impl Parts<'_> {
    /// An institution.
    pub fn institution(&mut self) -> Option<InstitutionId> {
        let end = self.0.iter().position(|b| *b == 0)?;
        let id = std::str::from_utf8(&self.0[..end]).ok()?.parse().ok()?;
        self.0 = &self.0[end + 1..];
        Some(id)
    }
    /// A number.
    pub fn number(&mut self) -> Option<u64> {
        let (n, rest) = self.0.split_first_chunk::<8>()?;
        self.0 = rest;
        Some(u64::from_be_bytes(*n))
    }
    /// A voucher.
    pub fn voucher(&mut self) -> Option<VoucherId> {
        let issuer = self.institution()?;
        let (uuid, rest) = self.0.split_first_chunk::<16>()?;
        self.0 = rest;
        Some(VoucherId { issuer, uuid: uuid::Uuid::from_bytes(*uuid) })
    }
}

/// The registry of members and parameters.
pub const REGISTRY: &[u8] = b"R";
/// First byte of each log's cursor.
pub const CURSOR: u8 = b'C';
/// First byte of alarms.
pub const ALARM: u8 = b'A';
/// First byte of vouchers.
pub const VOUCHER: u8 = b'V';
/// First byte of counters.
pub const COUNTER: u8 = b'S';
/// Notes about vouchers of which no record has come.
pub const WAITING_NOTE: u8 = b'w';
/// First byte of what waits for a record.
pub const WAITING: u8 = b'W';
/// First byte of broken records, for the auditor.
pub const BROKEN: u8 = b'B';
/// First byte of the vouchers that this institution holds or looks after, by stage.
pub const MINE: u8 = b'M';
/// First byte of programmes by name.
pub const PROGRAMME_NAME: u8 = b'p';
/// First byte of the vouchers of an enrolment.
pub const OF_ENROLMENT: u8 = b'L';
/// First byte of published statistics.
pub const PUBLISHED: u8 = b'Q';
/// First bytes of rows without values.
pub const MARKS: [u8; 4] = [ALARM, MINE, SHELF, OF_ENROLMENT];
/// First byte of what can be passed on.
pub const SHELF: u8 = b'G';
/// First byte of findings.
pub const FINDING: u8 = b'F';

/// The cursor of a log.
#[must_use]
pub fn cursor(institution: InstitutionId) -> Vec<u8> {
    Key::new(CURSOR).institution(institution).done()
}
/// A voucher's document.
#[must_use]
pub fn voucher(id: VoucherId) -> Vec<u8> {
    Key::new(VOUCHER).voucher(id).done()
}
/// An enrolment, by the record that made it.
#[must_use]
pub fn enrolment(name: &RecordName) -> Vec<u8> {
    Key::new(b'E').institution(name.institution).number(name.index).done()
}
/// A programme, by the record that published it.
#[must_use]
pub fn programme(name: &RecordName) -> Vec<u8> {
    Key::new(b'P').institution(name.institution).number(name.index).done()
}
/// A programme by issuer and short name.
#[must_use]
pub fn programme_name(issuer: InstitutionId, short: &str) -> Vec<u8> {
    Key::new(PROGRAMME_NAME).institution(issuer).bytes(short.as_bytes()).done()
}
/// The first use of a presentation in a log.
#[must_use]
pub fn presentation(author: InstitutionId, kid: [u8; 8], cti: [u8; 8]) -> Vec<u8> {
    Key::new(b'U').institution(author).bytes(&kid).bytes(&cti).done()
}
/// A voucher that waits for a record.
#[must_use]
pub fn waiting(missing: InstitutionId, index: u64, voucher: VoucherId) -> Vec<u8> {
    Key::new(WAITING).institution(missing).number(index).voucher(voucher).done()
}
/// All that waits for a record.
#[must_use]
pub fn waiting_for(missing: InstitutionId, index: u64) -> Vec<u8> {
    Key::new(WAITING).institution(missing).number(index).done()
}
/// An alarm.
#[must_use]
pub fn alarm(blocker: InstitutionId, at: Timestamp, voucher: VoucherId, duty: u8) -> Vec<u8> {
    Key::new(ALARM).institution(blocker).time(at).voucher(voucher).bytes(&[duty]).done()
}
/// A counter.
#[must_use]
pub fn counter(counter: &Counter) -> Vec<u8> {
    ledger::value::encode_onto(Key::new(COUNTER).done(), counter)
}
/// The request behind an idempotency key.
#[must_use]
pub fn idempotency(key: Digest) -> Vec<u8> {
    Key::new(b'I').bytes(&key.0).done()
}
/// One of the vouchers that this institution has to do with, by stage.
#[must_use]
pub fn mine(stage: Stage, voucher: VoucherId) -> Vec<u8> {
    Key::new(MINE).bytes(&[stage as u8]).voucher(voucher).done()
}
/// All of them at a stage.
#[must_use]
pub fn mine_at(stage: Stage) -> Vec<u8> {
    Key::new(MINE).bytes(&[stage as u8]).done()
}
/// One of the vouchers that this institution holds and can pass on, by programme; those that end first come first.
#[must_use]
pub fn shelf(stage: Stage, programme: &RecordName, valid_until: Timestamp, voucher: VoucherId) -> Vec<u8> {
    shelf_until(stage, programme, valid_until).voucher(voucher).done()
}
/// The place on the shelf of what ends at a time.
#[must_use]
pub fn shelf_until(stage: Stage, programme: &RecordName, valid_until: Timestamp) -> Key {
    let key = Key::new(SHELF).bytes(&[stage as u8]).institution(programme.institution).number(programme.index);
    key.time(valid_until)
}
/// One of an enrolment's vouchers.
#[must_use]
pub fn of_enrolment(enrolment: &RecordName, voucher: VoucherId) -> Vec<u8> {
    Key::new(OF_ENROLMENT).institution(enrolment.institution).number(enrolment.index).voucher(voucher).done()
}
/// All of an enrolment's vouchers.
#[must_use]
pub fn of_enrolment_all(enrolment: &RecordName) -> Vec<u8> {
    Key::new(OF_ENROLMENT).institution(enrolment.institution).number(enrolment.index).done()
}
/// A record that does not count, or cannot be read.
#[must_use]
pub fn broken(institution: InstitutionId, index: u64) -> Vec<u8> {
    Key::new(BROKEN).institution(institution).number(index).done()
}
/// A published table of statistics.
#[must_use]
pub fn published(institution: InstitutionId, index: u64) -> Vec<u8> {
    Key::new(PUBLISHED).institution(institution).number(index).done()
}
/// A finding.
#[must_use]
pub fn finding(institution: InstitutionId, index: u64) -> Vec<u8> {
    Key::new(FINDING).institution(institution).number(index).done()
}
/// How far the stored bytes were read again; a private row.
pub const SCRUB: &[u8] = b"z";

/// That another history of the registrar's log was taken, which is not on record yet; a private row.
pub const SETTLED: &[u8] = b"K";

/// The last common size of a log that forked.
#[must_use]
pub fn forked(institution: InstitutionId) -> Vec<u8> {
    Key::new(b'K').institution(institution).done()
}
/// Where the registrar ended a log that had shown two histories.
#[must_use]
pub fn frozen(institution: InstitutionId) -> Vec<u8> {
    Key::new(b'Z').institution(institution).done()
}
/// A note about a voucher of which no record is known yet.
#[must_use]
pub fn waiting_note(voucher: VoucherId, note: RecordName) -> Vec<u8> {
    Key::new(WAITING_NOTE).voucher(voucher).institution(note.institution).number(note.index).done()
}
/// All notes about such a voucher.
#[must_use]
pub fn waiting_notes_for(voucher: VoucherId) -> Vec<u8> {
    Key::new(WAITING_NOTE).voucher(voucher).done()
}
