//! Identity documents in requests: what a number says by itself is checked at the door.

use chrono::NaiveDate;
use domain::ids::ShortName;
use domain::reasons::Reason;

use super::problem::Problem;
use crate::import::DocumentNumber;

/// The kind of document whose number has a check digit.
pub const RESIDENT_ID: &str = "resident-id";

/// The number in its one spelling. Of other kinds nothing is known, and they are left as they are.
///
/// # Errors
///
/// [`Reason::DocumentInvalid`] if the number cannot be, or names another date of birth.
pub fn checked(kind: &ShortName, number: String, born: NaiveDate) -> Result<String, Problem> {
    if kind.as_str() != RESIDENT_ID {
        return Ok(number);
    }
    let document = DocumentNumber::parse(number.trim()).map_err(|e| Problem::new(Reason::DocumentInvalid).detail(e))?;
    if document.born() != born {
        return Err(Problem::new(Reason::DocumentInvalid).detail("the date of birth is not that of the number"));
    }
    Ok(document.as_str().to_owned())
}
