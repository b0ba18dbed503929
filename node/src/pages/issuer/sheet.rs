//! Figures as files: CSV as office programs read it, and a workbook.

use rust_xlsxwriter::{ExcelDateTime, Format, Workbook, XlsxError};

/// What a cell holds.
#[derive(Debug, Clone)]
pub(crate) enum Cell {
    Words(String),
    /// `YYYY-MM-DD`.
    Day(String),
    Count(u64),
}

/// Rows under their titles.
pub(crate) struct Sheet {
    pub(crate) title: String,
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<Vec<Cell>>,
}

/// Office programs take what begins so for a formula, and would run what somebody else has named.
const FORMULA: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

/// Office programs know UTF-8 by it.
const BYTE_ORDER_MARK: &str = "\u{feff}";

/// Longest name of a sheet, in characters.
const MAX_TITLE: usize = 31;

/// Text of a cell, which is text for an office program too.
fn guarded(text: &str) -> String {
    let text = if text.starts_with(FORMULA) { format!("'{text}") } else { text.to_owned() };
    if text.contains(['"', ',', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

impl Sheet {
    /// CSV by RFC 4180.
    pub(crate) fn csv(&self) -> String {
        let line = |cells: Vec<String>| cells.join(",") + "\r\n";
        let cell = |cell: &Cell| match cell {
            Cell::Words(text) => guarded(text),
            Cell::Day(day) => day.clone(),
            Cell::Count(count) => count.to_string(),
        };
        let titles = line(self.columns.iter().map(|title| guarded(title)).collect());
        let rows = self.rows.iter().map(|row| line(row.iter().map(cell).collect()));
        BYTE_ORDER_MARK.to_owned() + &titles + &rows.collect::<String>()
    }

    /// A workbook, XLSX.
    ///
    /// # Errors
    ///
    /// More rows than a sheet takes.
    pub(crate) fn xlsx(&self) -> Result<Vec<u8>, XlsxError> {
        let (mut book, bold, day) =
            (Workbook::new(), Format::new().set_bold(), Format::new().set_num_format("yyyy-mm-dd"));
        let sheet = book.add_worksheet();
        sheet.set_name(self.title.chars().take(MAX_TITLE).collect::<String>())?;
        for (column, title) in (0_u16..).zip(&self.columns) {
            sheet.write_string_with_format(0, column, title, &bold)?;
            sheet.set_column_width(column, 16)?;
        }
        sheet.set_freeze_panes(1, 0)?;
        for (row, cells) in (1_u32..).zip(&self.rows) {
            for (column, cell) in (0_u16..).zip(cells) {
                match cell {
                    // Written as text, it is none of the program's formulas.
                    Cell::Words(text) => sheet.write_string(row, column, text)?,
                    Cell::Day(text) => {
                        sheet.write_datetime_with_format(row, column, ExcelDateTime::parse_from_str(text)?, &day)?
                    }
                    #[allow(clippy::cast_precision_loss)] // nobody issues 2^53 vouchers
                    Cell::Count(count) => sheet.write_number(row, column, *count as f64)?,
                };
            }
        }
        book.save_to_buffer()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_file_is_taken_for_a_formula() {
        let names = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "plain", "two, \"three\""];
        let rows = names.map(|name| vec![Cell::Day("2026-03-02".into()), Cell::Words(name.into()), Cell::Count(7)]);
        let columns = vec!["日期".to_owned(), "名称".to_owned(), "数".to_owned()];
        let sheet = Sheet { title: "统计".into(), columns, rows: rows.to_vec() };
        let csv = sheet.csv();
        assert!(csv.starts_with("\u{feff}日期,名称,数\r\n"), "{csv}");
        for line in ["'=1+1,7", "'+1,7", "'-1,7", "'@SUM(A1),7", "'\t=1,7", "plain,7", "\"two, \"\"three\"\"\",7"] {
            assert!(csv.contains(&format!("\r\n2026-03-02,{line}\r\n")), "{line}: {csv}");
        }
        assert!(sheet.xlsx().unwrap().starts_with(b"PK"));
    }
}
