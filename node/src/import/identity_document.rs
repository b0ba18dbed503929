//! The number of a resident identity document, GB 11643-1999, and what it says by itself.

use std::fmt;

use chrono::NaiveDate;
use serde::Serialize;

/// Characters of a number: region (6), date of birth (8), sequence (3), check digit (1).
const CHARS: usize = 18;

/// Sex as the document states it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum Sex {
    /// Female: an even sequence number.
    F,
    /// Male: an odd sequence number.
    M,
}

/// A valid number of a resident identity document. Residence permits of GB 11643 form are the same.
///
/// It is personal data: `Debug` hides it, and there is no `Display`.
///
/// # Source
///
/// GB 11643-1999 (numbers), GB/T 17710 / ISO 7064 MOD 11-2 (check digit). The 15-digit numbers of
/// before 1999 are no longer valid. Whether the region exists is not judged.
#[derive(Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(into = "String")]
pub struct DocumentNumber {
    number: String,
    born: NaiveDate,
    sex: Sex,
}

/// Why a text is not a document number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// Not 17 digits and a digit or X, or a date of birth that does not exist.
    #[error("a document number is 17 digits with a date of birth, and a check digit")]
    Malformed,
    /// The check digit belongs to another number: most likely a slip of the pen.
    #[error("the check digit is wrong")]
    CheckDigit,
}

impl DocumentNumber {
    /// Reads a number; a final `x` becomes `X`.
    ///
    /// # Errors
    ///
    /// [`DocumentError`].
    pub fn parse(text: &str) -> Result<Self, DocumentError> {
        let number = text.to_ascii_uppercase();
        if number.len() != CHARS {
            return Err(DocumentError::Malformed);
        }
        let mut digits = [0u32; CHARS];
        for (place, (digit, byte)) in digits.iter_mut().zip(number.bytes()).enumerate() {
            *digit = match byte {
                b'0'..=b'9' => u32::from(byte - b'0'),
                b'X' if place == CHARS - 1 => 10,
                _ => return Err(DocumentError::Malformed),
            };
        }
        let value = |digits: &[u32]| digits.iter().fold(0, |value, digit| value * 10 + digit);
        let born = i32::try_from(value(&digits[6..10]))
            .ok()
            .and_then(|year| NaiveDate::from_ymd_opt(year, value(&digits[10..12]), value(&digits[12..14])))
            .ok_or(DocumentError::Malformed)?;
        let sum = digits[..CHARS - 1].iter().fold(0, |sum, digit| (sum + digit) * 2 % 11);
        if (sum + digits[CHARS - 1]) % 11 != 1 {
            return Err(DocumentError::CheckDigit);
        }
        let sex = if digits[16] % 2 == 0 { Sex::F } else { Sex::M };
        Ok(Self { number, born, sex })
    }

    /// The 18 characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.number
    }

    /// The date of birth in the number.
    #[must_use]
    pub fn born(&self) -> NaiveDate {
        self.born
    }

    /// The sex in the number.
    #[must_use]
    pub fn sex(&self) -> Sex {
        self.sex
    }
}

impl From<DocumentNumber> for String {
    fn from(document: DocumentNumber) -> Self {
        document.number
    }
}

impl fmt::Debug for DocumentNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DocumentNumber(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_valid_or_say_why_not() {
        use DocumentError::{CheckDigit, Malformed};
        let good = |born: &str, sex: Sex| Ok((born.parse::<NaiveDate>().unwrap(), sex));
        let rows = [
            ("11010519491231002X", good("1949-12-31", Sex::F)), // the example of the standard
            ("11010519491231002x", good("1949-12-31", Sex::F)),
            ("440524188001010014", good("1880-01-01", Sex::M)), // the other one
            ("440524188001010015", Err(CheckDigit)),
            ("440524188001010041", Err(CheckDigit)), // neighbours swapped
            ("110105194912310021", Err(CheckDigit)),
            ("110105194913310026", Err(Malformed)),
            ("1101051949123100X2", Err(Malformed)),
            ("11010519491231002", Err(Malformed)),
            ("1.10105194912310E+17", Err(Malformed)),
            ("110105194912310028", Err(CheckDigit)),
            ("", Err(Malformed)),
        ];
        for (text, expected) in rows {
            assert_eq!(DocumentNumber::parse(text).map(|number| (number.born(), number.sex())), expected, "{text}");
        }
    }

    #[test]
    fn exactly_one_check_digit_fits() {
        let fitting = |stem: &str| {
            "0123456789X".chars().filter(|check| DocumentNumber::parse(&format!("{stem}{check}")).is_ok()).count()
        };
        for sequence in 0..1000 {
            assert_eq!(fitting(&format!("99000119830605{sequence:03}")), 1);
        }
    }

    #[test]
    fn debug_hides_the_number() {
        let number = DocumentNumber::parse("11010519491231002X").unwrap();
        assert_eq!(format!("{number:?}"), "DocumentNumber(hidden)");
    }
}
