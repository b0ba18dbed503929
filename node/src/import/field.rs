//! Parsers of single fields that more than one table has.

use chrono::NaiveDate;
use domain::policy::Class;
pub(super) use domain::policy::is_hidden;

use super::report::{Code, Flaw, Note};

/// Longest text that people read, as a name or a title, in characters.
pub const MAX_TEXT_CHARS: usize = 100;

/// Longest id, in characters.
pub const MAX_ID_CHARS: usize = 40;

/// Most entries of a list in one field.
pub const MAX_LIST_ENTRIES: usize = 20;

pub(super) fn class(text: &str) -> Result<Class, Flaw> {
    Class::ALL.into_iter().find(|class| class.as_str() == text).ok_or_else(|| Code::UnknownClass.into())
}

/// A text that people read: filled in, no formula, nothing hidden, [`MAX_TEXT_CHARS`] at most.
///
/// A name may end in a spreadsheet of the next office, and what begins with a formula's sign is
/// run there; the full-width signs are taken for the plain ones by Chinese input.
pub(super) fn text(text: &str) -> Result<String, Flaw> {
    let first = text.chars().next().ok_or(Code::Missing)?;
    if matches!(first, '=' | '+' | '-' | '@' | '\u{ff1d}' | '\u{ff0b}' | '\u{ff0d}' | '\u{ff20}') {
        return Err(Code::Formula.into());
    }
    if text.chars().any(is_hidden) {
        return Err(Code::HiddenCharacter.into());
    }
    if text.chars().count() > MAX_TEXT_CHARS {
        return Err(Code::TextTooLong.into());
    }
    Ok(text.to_owned())
}

/// An id: 1 to [`MAX_ID_CHARS`] of a-z, 0-9 and hyphen, with a letter or digit first.
pub(super) fn id(text: &str) -> Result<String, Flaw> {
    if text.is_empty() {
        return Err(Code::Missing.into());
    }
    let plain = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !plain || text.starts_with('-') || text.len() > MAX_ID_CHARS {
        return Err(Code::BadId.into());
    }
    Ok(text.to_owned())
}

/// A list of different entries, parted by semicolons, each read by `entry`.
pub(super) fn list<T: PartialEq>(text: &str, entry: impl Fn(&str) -> Result<T, Flaw>) -> Result<Vec<T>, Flaw> {
    let mut entries = Vec::new();
    for part in text.split(';') {
        if entries.len() >= MAX_LIST_ENTRIES {
            return Err(Code::ListTooLong.into());
        }
        let value = entry(part.trim())?;
        if entries.contains(&value) {
            return Err(Code::RepeatedEntry.into());
        }
        entries.push(value);
    }
    Ok(entries)
}

/// A whole number from `min` to `max`, in plain digits.
pub(super) fn number(text: &str, min: u16, max: u16) -> Result<u16, Flaw> {
    if text.is_empty() {
        return Err(Code::Missing.into());
    }
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Code::BadNumber.into());
    }
    let out_of_range = Flaw(Code::OutOfRange, Note::Range(min.into(), max.into()));
    let number = text.parse().map_err(|_| out_of_range)?;
    if (min..=max).contains(&number) { Ok(number) } else { Err(out_of_range) }
}

/// A date: year of four digits, month, day, as `1950-05-16` or as spreadsheets write it, `1950/5/16`.
pub(super) fn date(text: &str) -> Result<NaiveDate, Flaw> {
    if text.is_empty() {
        return Err(Code::Missing.into());
    }
    let separator = if text.contains('/') { '/' } else { '-' };
    let mut parts = text.split(separator);
    let mut part = |widths: std::ops::RangeInclusive<usize>| {
        let digits = parts.next().filter(|part| widths.contains(&part.len()))?;
        digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse::<u32>().ok())?
    };
    let (year, month, day) = (part(4..=4), part(1..=2), part(1..=2));
    match (year, month, day, parts.next()) {
        (Some(year), Some(month), Some(day), None) => i32::try_from(year)
            .ok()
            .and_then(|year| NaiveDate::from_ymd_opt(year, month, day))
            .ok_or(Code::ImpossibleDate.into()),
        _ => Err(Code::ImpossibleDate.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `good`, or the code of the flaw.
    fn outcome<T>(result: Result<T, Flaw>) -> &'static str {
        result.map_or_else(|flaw| flaw.0.as_str(), |_| "good")
    }

    #[test]
    fn texts() {
        let rows = [
            ("王芳", "good"),
            ("Ann-Marie O'Neil", "good"),
            ("", "missing"),
            ("=1+1", "formula"),
            ("+1", "formula"),
            ("-1", "formula"),
            ("@x", "formula"),
            ("\u{ff1d}1", "formula"),
            ("王\u{202e}芳", "hidden-character"),
            ("王\u{0}芳", "hidden-character"),
            (&"王".repeat(100), "good"),
            (&"王".repeat(101), "text-too-long"),
        ];
        for (case, expected) in rows {
            assert_eq!(outcome(text(case)), expected, "{case}");
        }
    }

    #[test]
    fn ids_and_lists() {
        let rows = [
            ("gl-1001", "good"),
            ("", "missing"),
            ("GL", "bad-id"),
            ("-x", "bad-id"),
            ("a_b", "bad-id"),
            ("产科", "bad-id"),
            (&"a".repeat(40), "good"),
            (&"a".repeat(41), "bad-id"),
        ];
        for (case, expected) in rows {
            assert_eq!(outcome(id(case)), expected, "{case}");
        }
        let many = |count: usize| (0..count).map(|n| n.to_string()).collect::<Vec<_>>().join(";");
        let rows = [
            ("a;b", "good"),
            ("a; b", "good"),
            ("a;", "missing"),
            ("", "missing"),
            ("a;B", "bad-id"),
            ("a;b;a", "repeated-entry"),
            (&many(20), "good"),
            (&many(21), "list-too-long"),
        ];
        for (case, expected) in rows {
            assert_eq!(outcome(list(case, id)), expected, "{case}");
        }
    }

    #[test]
    fn numbers_and_dates() {
        let rows = [
            ("1", "good"),
            ("100", "good"),
            ("0", "out-of-range"),
            ("101", "out-of-range"),
            ("99999999999999999999", "out-of-range"),
            ("-1", "bad-number"),
            ("+1", "bad-number"),
            ("1.0", "bad-number"),
            ("", "missing"),
        ];
        for (case, expected) in rows {
            assert_eq!(outcome(number(case, 1, 100)), expected, "{case}");
        }
        let rows = [
            ("1950-05-16", "good"),
            ("1950/5/16", "good"),
            ("2024-02-29", "good"),
            ("2023-02-29", "impossible-date"),
            ("1950-13-41", "impossible-date"),
            ("50-05-16", "impossible-date"),
            ("1950-05", "impossible-date"),
            ("1950-05-16-1", "impossible-date"),
            ("1950-05-16 00:00", "impossible-date"),
            ("1950-+5-16", "impossible-date"),
            ("05/16/1950", "impossible-date"),
            ("", "missing"),
        ];
        for (case, expected) in rows {
            assert_eq!(outcome(date(case)), expected, "{case}");
        }
    }
}
