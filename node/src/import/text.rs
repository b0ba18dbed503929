//! From the bytes of a file to its text, and why a whole file is refused.

use std::borrow::Cow;

use super::report::Text;
use super::table::MAX_ROWS;

/// Largest file, in bytes. A million rows of a city's residents take about 90 MB, a district's far
/// less; what is larger is sent in parts.
pub const MAX_FILE_BYTES: usize = 64 * 1024 * 1024;

/// Longest name of an unknown column that is shown back, in characters.
const MAX_COLUMN_NAME_CHARS: usize = 40;

/// Most unknown columns that are shown back.
const MAX_COLUMNS_SHOWN: usize = 10;

/// Why a file is not read at all. Nothing of it is kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// More than [`MAX_FILE_BYTES`].
    #[error("the file is larger than {} MiB; send it in parts", MAX_FILE_BYTES / (1024 * 1024))]
    TooLarge,
    /// Neither UTF-8 nor GB18030.
    #[error("the file is neither UTF-8 nor GB18030 text; save it as CSV")]
    Encoding,
    /// No line with text.
    #[error("the file is empty")]
    Empty,
    /// The first line names none of the table's columns. It is not shown: it may be a person's row.
    #[error("the first line does not name the columns; expected: {}", expected.join(", "))]
    NoHeader {
        /// The columns of this table.
        expected: &'static [&'static str],
    },
    /// Columns that this table lacks or does not know.
    #[error("wrong columns:{}", english(missing, unknown, repeated))]
    Columns {
        /// Columns that must be there and are not.
        missing: Vec<&'static str>,
        /// Columns that this table does not have, shortened for showing.
        unknown: Vec<String>,
        /// Columns that are there more than once.
        repeated: Vec<&'static str>,
    },
    /// More than [`MAX_ROWS`] rows.
    #[error("the file has more than {MAX_ROWS} rows; send it in parts")]
    TooManyRows,
}

impl Refused {
    /// The reason in Chinese and English, for the page of the clerk who sent the file.
    #[must_use]
    pub fn text(&self) -> Text {
        let zh = match self {
            Self::TooLarge => format!("文件超过 {} MiB，请分批上传", MAX_FILE_BYTES / (1024 * 1024)),
            Self::Encoding => "文件既不是 UTF-8 也不是 GB18030 文本，请另存为 CSV".to_owned(),
            Self::Empty => "文件为空".to_owned(),
            Self::NoHeader { expected } => format!("首行不是列名，应为：{}", expected.join(", ")),
            Self::Columns { missing, unknown, repeated } => {
                let mut zh = "列名有误：".to_owned();
                for (what, names) in
                    [("缺少", missing.join(", ")), ("未知", unknown.join(", ")), ("重复", repeated.join(", "))]
                {
                    if !names.is_empty() {
                        zh.push_str(&format!(" {what} {names};"));
                    }
                }
                zh
            }
            Self::TooManyRows => format!("文件超过 {MAX_ROWS} 行，请分批上传"),
        };
        Text { zh: zh.into(), en: self.to_string().into() }
    }
}

fn english(missing: &[&str], unknown: &[String], repeated: &[&str]) -> String {
    let mut text = String::new();
    for (what, names) in
        [("missing", missing.join(", ")), ("unknown", unknown.join(", ")), ("repeated", repeated.join(", "))]
    {
        if !names.is_empty() {
            text.push_str(&format!(" {what} {names};"));
        }
    }
    text
}

/// Shortens the names of unknown columns, so that a hostile header cannot fill a page or a log.
pub(super) fn shown<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    names
        .take(MAX_COLUMNS_SHOWN)
        .map(|name| name.chars().filter(|c| !super::field::is_hidden(*c)).take(MAX_COLUMN_NAME_CHARS).collect())
        .collect()
}

/// Decodes a file: UTF-8 if it is valid UTF-8, else GB18030; a byte order mark is dropped.
///
/// UTF-8 goes first because Chinese text in GB18030 is practically never valid UTF-8, while most
/// UTF-8 text can be misread as GB18030.
///
/// # Errors
///
/// [`Refused::TooLarge`] before anything is decoded, [`Refused::Encoding`].
pub(super) fn decode(file: &[u8]) -> Result<Cow<'_, str>, Refused> {
    if file.len() > MAX_FILE_BYTES {
        return Err(Refused::TooLarge);
    }
    let text = match std::str::from_utf8(file) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => {
            encoding_rs::GB18030.decode_without_bom_handling_and_without_replacement(file).ok_or(Refused::Encoding)?
        }
    };
    Ok(match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.strip_prefix('\u{feff}').unwrap_or(text)),
        Cow::Owned(text) => Cow::Owned(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoding_is_found() {
        let gb18030 = |text: &str| encoding_rs::GB18030.encode(text).0.into_owned();
        let rows: [(&str, Vec<u8>, Result<&str, Refused>); 7] = [
            ("utf-8", "姓名".into(), Ok("姓名")),
            ("utf-8 with BOM", "\u{feff}姓名".into(), Ok("姓名")),
            ("gb18030", gb18030("姓名"), Ok("姓名")),
            ("gb18030 of four bytes", gb18030("姓名𠀀"), Ok("姓名𠀀")),
            ("gb18030 with BOM", gb18030("\u{feff}姓名"), Ok("姓名")),
            ("utf-16 of a spreadsheet", vec![0xff, 0xfe, 0xd3, 0x59], Err(Refused::Encoding)),
            ("half a character", vec![0xd0, 0xd5, 0xc3], Err(Refused::Encoding)),
        ];
        for (case, bytes, expected) in rows {
            assert_eq!(decode(&bytes).as_deref(), expected.as_ref().copied(), "{case}");
        }
    }

    #[test]
    fn one_byte_over_the_limit_is_too_large() {
        let mut file = vec![b'a'; MAX_FILE_BYTES];
        assert!(decode(&file).is_ok());
        file.push(b'a');
        assert_eq!(decode(&file), Err(Refused::TooLarge));
    }
}
