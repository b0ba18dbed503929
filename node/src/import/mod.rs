//! Reading the tables that offices send: people entitled, weekly hours, programmes.
//!
//! Bytes go in, typed rows and faults come out. Nothing here opens a file or looks at a clock: the
//! caller passes the bytes and the day. A file that cannot be read as the table it should be is
//! [`Refused`] as a whole; a row that is wrong is listed as a [`Fault`] and the rows beside it
//! stand.
//!
//! ```text
//! bytes -> text (encoding) -> table (header, lines) -> residents | schedule | programmes -> Report
//! ```
//!
//! No text made here carries a value of the file: a fault names the line and the column.

mod field;
mod identity_document;
mod programmes;
mod report;
mod residents;
mod schedule;
mod slots;
mod table;
mod text;

pub use field::{MAX_ID_CHARS, MAX_LIST_ENTRIES, MAX_TEXT_CHARS};
pub use identity_document::{DocumentError, DocumentNumber, Sex};
pub use programmes::{CardPresentation, Programme, programmes};
pub use report::{Code, Fault, MAX_FAULTS_LISTED, Report, Summary, Text};
pub use residents::{Resident, residents};
pub use schedule::{WeeklyHours, schedule};
pub use slots::{MAX_SLOT_DAYS, MAX_SLOTS, Slot, SlotsError, slots};
pub use table::{MAX_FIELD_BYTES, MAX_ROWS};
pub use text::{MAX_FILE_BYTES, Refused};
