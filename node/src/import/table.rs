//! From the text of a file to its rows: header, physical lines, fields.

use std::borrow::Cow;
use std::collections::HashMap;

use super::report::{Code, Faults, Flaw, Note};
use super::text::{Refused, decode, shown};

/// Most rows of one file, the header not counted.
pub const MAX_ROWS: usize = 1_000_000;

/// Longest field, in bytes of UTF-8.
pub const MAX_FIELD_BYTES: usize = 4 * 1024;

/// Longest header line, in bytes.
const MAX_HEADER_BYTES: usize = 16 * 1024;

/// One field of a row with the name of its column. Blanks around the text are gone.
#[derive(Clone, Copy)]
pub(super) struct Cell<'a> {
    pub(super) column: &'static str,
    pub(super) text: &'a str,
}

/// Reads the cells of one row and collects what is wrong with them.
pub(super) struct Row<'a, const N: usize> {
    pub(super) line: u32,
    /// In the order of the table's own columns, whatever the order in the file.
    pub(super) cells: [Cell<'a>; N],
    faults: &'a mut Faults,
}

impl<const N: usize> Row<'_, N> {
    /// Parses a cell; a flaw becomes a fault of its column.
    pub(super) fn read<T, E: Into<Flaw>>(
        &mut self,
        cell: Cell<'_>,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        match parse(cell.text) {
            Ok(value) => Some(value),
            Err(flaw) => {
                self.fault(cell, flaw);
                None
            }
        }
    }

    /// Reports a fault of a cell.
    pub(super) fn fault(&mut self, cell: Cell<'_>, flaw: impl Into<Flaw>) {
        self.faults.push(self.line, Some(cell.column), flaw);
    }
}

/// Reads a table and hands its rows to `each` in the order of the file.
///
/// Every physical line is read by itself. None of our columns holds a line break, and so a
/// quotation mark that is never closed spoils its own line and cannot swallow the rest of the file.
/// Lines without any text are passed over; exact copies of earlier rows are reported here.
///
/// # Errors
///
/// [`Refused`] if the file as a whole cannot be this table.
pub(super) fn read<const N: usize>(
    file: &[u8],
    columns: &'static [&'static str; N],
    faults: &mut Faults,
    mut each: impl FnMut(Row<'_, N>),
) -> Result<(), Refused> {
    let text = decode(file)?;
    let mut lines = (1u32..)
        .zip(text.split('\n'))
        .map(|(line, text)| (line, text.strip_suffix('\r').unwrap_or(text)))
        .filter(|(_, text)| !text.trim().is_empty());
    let (_, header) = lines.next().ok_or(Refused::Empty)?;
    let header = Header::parse(header, columns)?;

    let mut seen = HashMap::<String, u32>::new();
    for (count, (line, text)) in lines.enumerate() {
        if count >= MAX_ROWS {
            return Err(Refused::TooManyRows);
        }
        // Quotation marks may double a field; beyond that the line is not even split.
        if text.len() > (N + 1) * 2 * (MAX_FIELD_BYTES + 2) {
            faults.push(line, None, Code::FieldTooLong);
            continue;
        }
        let fields = match split(text) {
            Ok(fields) => fields,
            Err(code) => {
                faults.push(line, None, code);
                continue;
            }
        };
        if fields.iter().all(|field| field.trim().is_empty()) {
            continue;
        }
        let cells = match header.arrange(&fields, columns) {
            Ok(cells) => cells,
            Err((column, code)) => {
                faults.push(line, column, code);
                continue;
            }
        };
        let content = cells.map(|cell| cell.text).join("\n");
        if let Some(first) = seen.get(&content) {
            faults.push(line, None, Flaw(Code::DuplicateRow, Note::SeeLine(*first)));
            continue;
        }
        seen.insert(content, line);
        each(Row { line, cells, faults });
    }
    Ok(())
}

/// Where each column of the table stands in the file.
struct Header<const N: usize> {
    places: [usize; N],
}

impl<const N: usize> Header<N> {
    fn parse(line: &str, columns: &'static [&'static str; N]) -> Result<Self, Refused> {
        let no_header = Refused::NoHeader { expected: columns };
        if line.len() > MAX_HEADER_BYTES {
            return Err(no_header);
        }
        let fields = split(line).map_err(|_| no_header.clone())?;
        let names: Vec<&str> = fields.iter().map(|field| field.trim()).collect();
        let times = |column: &str| names.iter().filter(|name| **name == column).count();
        if columns.iter().all(|column| times(column) == 0) {
            return Err(no_header);
        }
        let missing: Vec<_> = columns.iter().copied().filter(|column| times(column) == 0).collect();
        let repeated: Vec<_> = columns.iter().copied().filter(|column| times(column) > 1).collect();
        let unknown = shown(names.iter().copied().filter(|name| !columns.contains(name)));
        if !(missing.is_empty() && repeated.is_empty() && unknown.is_empty()) {
            return Err(Refused::Columns { missing, unknown, repeated });
        }
        let places = columns.map(|column| names.iter().position(|name| *name == column).unwrap_or(usize::MAX));
        Ok(Self { places })
    }

    /// Puts the fields of a line into the table's own order.
    fn arrange<'a>(
        &self,
        fields: &'a [Cow<'_, str>],
        columns: &'static [&'static str; N],
    ) -> Result<[Cell<'a>; N], (Option<&'static str>, Code)> {
        if fields.len() > N {
            return Err((None, Code::LongRow));
        }
        let mut cells = columns.map(|column| Cell { column, text: "" });
        for (cell, place) in cells.iter_mut().zip(self.places) {
            let field = fields.get(place).ok_or((None, Code::ShortRow))?;
            if field.len() > MAX_FIELD_BYTES {
                return Err((Some(cell.column), Code::FieldTooLong));
            }
            cell.text = field.trim();
        }
        Ok(cells)
    }
}

/// Splits one physical line by the rules of RFC 4180, strictly: a quotation mark opens and closes a
/// whole field, and stands doubled inside. General CSV parsers mend what is broken here by guessing,
/// and read on into the next lines while a quotation is open.
fn split(line: &str) -> Result<Vec<Cow<'_, str>>, Code> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        // Blanks before a quotation mark are tolerated, as blanks around a field are.
        let Some(mut quoted) = rest.trim_start().strip_prefix('"') else {
            let (field, after) = rest.split_once(',').map_or((rest, None), |(field, after)| (field, Some(after)));
            if field.contains('"') {
                return Err(Code::BrokenQuotes);
            }
            fields.push(Cow::Borrowed(field));
            let Some(after) = after else { return Ok(fields) };
            rest = after;
            continue;
        };
        let mut field = String::new();
        let after = loop {
            let (part, after) = quoted.split_once('"').ok_or(Code::BrokenQuotes)?;
            field.push_str(part);
            let Some(next) = after.strip_prefix('"') else { break after };
            field.push('"');
            quoted = next;
        };
        fields.push(Cow::Owned(field));
        let after = after.trim_start();
        if after.is_empty() {
            return Ok(fields);
        }
        rest = after.strip_prefix(',').ok_or(Code::BrokenQuotes)?;
    }
}

/// Rows that claim the same key, as one document or one programme, with different content.
///
/// Exact copies never come here, so two claims of a key always differ: nobody can tell from the
/// file which of them is right, and all of them are reported.
#[derive(Default)]
pub(super) struct Claims {
    by_key: HashMap<String, Claim>,
}

struct Claim {
    name: String,
    lines: Vec<u32>,
    names_differ: bool,
}

impl Claims {
    /// Notes that `line` claims `key` under `name`.
    pub(super) fn add(&mut self, key: &str, name: &str, line: u32) {
        match self.by_key.get_mut(key) {
            Some(claim) => {
                claim.names_differ |= claim.name != name;
                claim.lines.push(line);
            }
            None => {
                let claim = Claim { name: name.to_owned(), lines: vec![line], names_differ: false };
                self.by_key.insert(key.to_owned(), claim);
            }
        }
    }

    /// Reports every row of a contested key and returns the lines, sorted.
    pub(super) fn contested(self, column: &'static str, other_name: Code, faults: &mut Faults) -> Vec<u32> {
        let mut contested = Vec::new();
        for claim in self.by_key.into_values() {
            let [first, second, ..] = claim.lines[..] else { continue };
            let code = if claim.names_differ { other_name } else { Code::ConflictingRows };
            for line in claim.lines {
                contested.push((line, Flaw(code, Note::SeeLine(if line == first { second } else { first }))));
            }
        }
        // A map has no order; a report always has the same one.
        contested.sort_by_key(|(line, _)| *line);
        for (line, flaw) in &contested {
            faults.push(*line, Some(column), *flaw);
        }
        contested.into_iter().map(|(line, _)| line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [&str; 2] = ["a", "b"];

    /// The rows as `line:a|b` and the faults as `line:column:code`.
    fn table(file: &str) -> Result<String, Refused> {
        let mut faults = Faults::default();
        let mut rows = Vec::new();
        read(file.as_bytes(), &COLUMNS, &mut faults, |row| {
            let [a, b] = row.cells;
            rows.push(format!("{}:{}|{}", row.line, a.text, b.text));
        })?;
        for fault in faults.report(Vec::<()>::new()).faults {
            rows.push(format!("{}:{}:{}", fault.line, fault.column.unwrap_or("-"), fault.code));
        }
        Ok(rows.join(" "))
    }

    #[test]
    fn every_line_is_a_row_or_a_fault() {
        let long = "x".repeat(MAX_FIELD_BYTES);
        let rows = [
            ("lf", "a,b\n1,2\n3,4\n", "2:1|2 3:3|4".to_owned()),
            ("crlf, no end", "a,b\r\n1,2\r\n3,4", "2:1|2 3:3|4".to_owned()),
            ("order is free", "b,a\n1,2\n", "2:2|1".to_owned()),
            ("blank lines count", "\na,b\n\n ,\n1,2\n", "5:1|2".to_owned()),
            ("blanks around", "a, b \n 1 ,\u{3000}2\n", "2:1|2".to_owned()),
            ("quotes", "a,b\n\"1,1\",\"say \"\"x\"\"\"\n", "2:1,1|say \"x\"".to_owned()),
            ("empty quotes", "a,b\n\"\",2\n1, \"\" \n", "2:|2 3:1|".to_owned()),
            (
                "quotes inside",
                "a,b\n1\",2\n1,\"2\"x\n\"\"\"\",2\n",
                "4:\"|2 2:-:broken-quotes 3:-:broken-quotes".to_owned(),
            ),
            ("a pair that stays open", "a,b\n1\"x,\"2\n3,4\n", "3:3|4 2:-:broken-quotes".to_owned()),
            ("the last field is empty", "a,b\n1,\n", "2:1|".to_owned()),
            ("an open quote spoils one line", "a,b\n\"1,2\n3,4\n", "3:3|4 2:-:broken-quotes".to_owned()),
            ("short and long", "a,b\n1\n1,2,3\n", "2:-:short-row 3:-:long-row".to_owned()),
            ("copies", "a,b\n1,2\n1,2\n\"1\",2\n", "2:1|2 3:-:duplicate-row 4:-:duplicate-row".to_owned()),
            ("no copy", "a,b\n1,23\n12,3\n", "2:1|23 3:12|3".to_owned()),
            ("longest field", &format!("a,b\n1,{long}\n2,{long}x\n"), format!("2:1|{long} 3:b:field-too-long")),
            ("a line of commas", &format!("a,b\n{}\n", ",".repeat(64 * 1024)), "2:-:field-too-long".to_owned()),
        ];
        for (case, file, expected) in rows {
            assert_eq!(table(file), Ok(expected), "{case}");
        }
    }

    #[test]
    fn wrong_headers_are_refused_by_name() {
        let columns = |missing: &[&'static str], unknown: &[&str], repeated: &[&'static str]| Refused::Columns {
            missing: missing.to_vec(),
            unknown: unknown.iter().map(|name| (*name).to_owned()).collect(),
            repeated: repeated.to_vec(),
        };
        let no_header = Refused::NoHeader { expected: &COLUMNS };
        let rows = [
            ("empty", "", Refused::Empty),
            ("blank", "\r\n \n", Refused::Empty),
            ("a row in its place", "王芳,990108193909128807\n", no_header.clone()),
            ("a hostile first line", &",".repeat(MAX_HEADER_BYTES + 1), no_header),
            ("missing", "a\n1\n", columns(&["b"], &[], &[])),
            ("unknown", "a,b,备注\n", columns(&[], &["备注"], &[])),
            ("both", "a,c\n", columns(&["b"], &["c"], &[])),
            ("repeated", "a,b,a\n", columns(&[], &[], &["a"])),
            ("long and hidden", &format!("a,b,\u{202e}{}\n", "x".repeat(50)), columns(&[], &[&"x".repeat(40)], &[])),
        ];
        for (case, file, expected) in rows {
            let refused = table(file).unwrap_err();
            assert_eq!(refused, expected, "{case}");
            assert!(!refused.text().en.contains("9901") && !refused.text().zh.contains("王芳"), "{case}");
        }
        assert_eq!(columns(&["b"], &["c"], &[]).to_string(), "wrong columns: missing b; unknown c;");
    }

    #[test]
    fn one_row_over_the_limit_is_refused() {
        let mut file = "a,b\n".to_owned() + &"1\n".repeat(MAX_ROWS);
        assert!(table(&file).is_ok());
        file.push_str("1\n");
        assert_eq!(table(&file), Err(Refused::TooManyRows));
    }
}
