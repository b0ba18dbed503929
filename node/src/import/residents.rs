//! The table of people entitled to vouchers, as a community exports it.

use std::collections::BTreeSet;
use std::fmt;

use chrono::NaiveDate;
use domain::policy::Class;
use serde::Serialize;

use super::field;
use super::identity_document::{DocumentError, DocumentNumber, Sex};
use super::report::{Code, Faults, Flaw, Report};
use super::table::{self, Claims, Row};
use super::text::Refused;

const COLUMNS: [&str; 9] = [
    "name",
    "document_type",
    "document_number",
    "born",
    "sex",
    "phone",
    "entitlement_class",
    "community",
    "smartphone",
];

/// Digits of a mobile number in China.
const PHONE_DIGITS: usize = 11;

/// A person entitled to vouchers: personal data in every field. `Debug` shows the line only.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct Resident {
    /// Physical line in the file, for what the registrar may have to say later.
    pub line: u32,
    /// As in the document, [`field::MAX_TEXT_CHARS`] at most.
    pub name: String,
    /// Agrees with `born` and `sex`.
    pub document: DocumentNumber,
    /// Not after the day of reading.
    pub born: NaiveDate,
    /// As in the document.
    pub sex: Sex,
    /// Eleven digits; none only without a smartphone.
    pub phone: Option<String>,
    /// Why this person is entitled.
    pub class: Class,
    /// Id of the home community, one of those the caller knows.
    pub community: String,
    /// Whether vouchers can go to a phone; else a card is printed.
    pub smartphone: bool,
}

impl fmt::Debug for Resident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resident").field("line", &self.line).finish_non_exhaustive()
    }
}

/// Reads people entitled to vouchers.
///
/// `communities` are the ids of the registered ones; `today` is the day at the office. If rows
/// with different content name one document, none of them is good, because the file cannot say
/// which is right; of exact copies the first one counts.
///
/// # Errors
///
/// [`Refused`] if the file as a whole is not this table.
pub fn residents(file: &[u8], communities: &BTreeSet<String>, today: NaiveDate) -> Result<Report<Resident>, Refused> {
    let mut faults = Faults::default();
    let mut claims = Claims::default();
    let mut good = Vec::new();
    table::read(file, &COLUMNS, &mut faults, |mut row| {
        let [name, _, number, ..] = row.cells;
        // A row with other faults claims its document all the same.
        if let Ok(document) = DocumentNumber::parse(number.text) {
            claims.add(document.as_str(), name.text, row.line);
        }
        good.extend(resident(&mut row, communities, today));
    })?;
    let contested = claims.contested("document_number", Code::DocumentShared, &mut faults);
    good.retain(|resident: &Resident| contested.binary_search(&resident.line).is_err());
    Ok(faults.report(good))
}

fn resident(row: &mut Row<'_, 9>, communities: &BTreeSet<String>, today: NaiveDate) -> Option<Resident> {
    let [name, kind, number, born, sex, phone, class, community, smartphone] = row.cells;
    // All cells are read before the first fault ends the row, so that one look mends it.
    let name = row.read(name, field::text);
    let kind = row.read(kind, document_type);
    let document = row.read(number, document);
    let birth = row.read(born, |text| born_by(text, today));
    let stated_sex = row.read(sex, parse_sex);
    let has_smartphone = row.read(smartphone, yes_or_no);
    let phone = row.read(phone, |text| parse_phone(text, has_smartphone));
    let class = row.read(class, field::class);
    let community =
        row.read(
            community,
            |text| {
                if communities.contains(text) { Ok(text.to_owned()) } else { Err(Code::UnknownCommunity) }
            },
        );
    let mut agrees = true;
    if let Some(document) = &document {
        if birth.is_some_and(|birth| birth != document.born()) {
            row.fault(born, Code::BirthContradictsDocument);
            agrees = false;
        }
        if stated_sex.is_some_and(|sex| sex != document.sex()) {
            row.fault(sex, Code::SexContradictsDocument);
            agrees = false;
        }
    }
    kind?;
    if !agrees {
        return None;
    }
    Some(Resident {
        line: row.line,
        name: name?,
        document: document?,
        born: birth?,
        sex: stated_sex?,
        phone: phone?,
        class: class?,
        community: community?,
        smartphone: has_smartphone?,
    })
}

/// The kind as the interface spells it, or as offices export it.
fn document_type(text: &str) -> Result<(), Code> {
    if matches!(text, "resident-id" | "resident_id") { Ok(()) } else { Err(Code::UnknownDocumentType) }
}

fn document(text: &str) -> Result<DocumentNumber, Code> {
    if text.is_empty() {
        return Err(Code::Missing);
    }
    DocumentNumber::parse(text).map_err(|error| match error {
        DocumentError::Malformed => Code::MalformedDocument,
        DocumentError::CheckDigit => Code::CheckDigit,
    })
}

fn born_by(text: &str, today: NaiveDate) -> Result<NaiveDate, Flaw> {
    let born = field::date(text)?;
    if born > today { Err(Code::BornInFuture.into()) } else { Ok(born) }
}

fn parse_sex(text: &str) -> Result<Sex, Code> {
    match text {
        "F" => Ok(Sex::F),
        "M" => Ok(Sex::M),
        _ => Err(Code::UnknownSex),
    }
}

fn yes_or_no(text: &str) -> Result<bool, Code> {
    match text {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err(Code::NotYesOrNo),
    }
}

/// An empty phone is a fault only where a smartphone is stated: with that cell unreadable, one
/// fault is enough.
fn parse_phone(text: &str, smartphone: Option<bool>) -> Result<Option<String>, Code> {
    if text.is_empty() {
        return if smartphone == Some(true) { Err(Code::BadPhone) } else { Ok(None) };
    }
    if text.len() == PHONE_DIGITS && text.bytes().all(|b| b.is_ascii_digit()) {
        Ok(Some(text.to_owned()))
    } else {
        Err(Code::BadPhone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLEAN: &[u8] = include_bytes!("../../../tests/data/residents.csv");
    const DIRTY: &[u8] = include_bytes!("../../../tests/data/residents-dirty.csv");
    const HEADER: &str = "name,document_type,document_number,born,sex,phone,entitlement_class,community,smartphone\n";

    fn read(file: &[u8]) -> Report<Resident> {
        let communities = ["community-xuanwu", "community-qinhuai"].map(str::to_owned).into();
        residents(file, &communities, "2026-11-22".parse().unwrap()).unwrap()
    }

    /// The faults as `line column code`.
    fn faults(report: &Report<Resident>) -> Vec<String> {
        let line = |fault: &super::super::Fault| {
            format!("{} {} {}", fault.line, fault.column.unwrap_or("-"), fault.code.as_str())
        };
        report.faults.iter().map(line).collect()
    }

    #[test]
    fn two_thousand_people_come_in() {
        let report = read(CLEAN);
        assert_eq!((report.good.len(), report.faults.len()), (2000, 0));
        let first = &report.good[0];
        assert_eq!((first.line, first.name.as_str(), first.document.as_str()), (2, "谭飞辉", "990008198311046468"));
        assert_eq!((first.born, first.sex), ("1983-11-04".parse().unwrap(), Sex::F));
        assert_eq!((first.class, first.community.as_str()), (Class::Chronic, "community-xuanwu"));
        assert_eq!((first.phone.as_deref(), first.smartphone), (Some("12053493880"), true));
        assert_eq!(report.good[1999].line, 2001);
        assert_eq!(report.good.iter().filter(|person| person.phone.is_none()).count(), 323);
    }

    #[test]
    fn every_encoding_gives_the_same_people() {
        let text = std::str::from_utf8(CLEAN).unwrap();
        let gb18030 = encoding_rs::GB18030.encode(text).0.into_owned();
        assert_ne!(gb18030, CLEAN);
        let expected = read(CLEAN);
        for file in [gb18030, format!("\u{feff}{text}").into_bytes(), text.replace("\r\n", "\n").into_bytes()] {
            assert_eq!(read(&file), expected);
        }
    }

    #[test]
    fn a_file_from_an_office_names_each_fault() {
        let report = read(DIRTY);
        let expected = [
            "5 document_number check-digit",
            "7 - duplicate-row",
            "8 name missing",
            "9 born impossible-date",
            "10 entitlement_class unknown-class",
            "11 born birth-contradicts-document",
            "11 sex sex-contradicts-document",
            "11 document_number document-shared",
            "12 document_number document-shared",
            "13 community unknown-community",
            "14 phone bad-phone",
            "15 born born-in-future",
            "16 name formula",
            "17 name text-too-long",
            "18 born birth-contradicts-document",
            "19 sex unknown-sex",
            "22 - short-row",
        ];
        assert_eq!(faults(&report), expected);
        let good: Vec<u32> = report.good.iter().map(|person| person.line).collect();
        assert_eq!(good, [2, 3, 4, 6, 20, 21]);
    }

    #[test]
    fn no_fault_tells_a_value() {
        let report = read(DIRTY);
        let told = format!("{report} {report:?} {}", serde_json::to_string(&report.summary()).unwrap());
        let text = encoding_rs::GB18030.decode(DIRTY).0.into_owned();
        let mut values = 0;
        for line in text.lines().skip(1) {
            for value in line.split(',').take(6).filter(|value| value.len() > 4 && *value != "resident_id") {
                assert!(!told.contains(value), "{value}");
                values += 1;
            }
        }
        assert!(values > 70);
    }

    #[test]
    fn one_cell_at_a_time() {
        const ROW: [&str; 9] = [
            "林云国",
            "resident_id",
            "990108193909128807",
            "1939-09-12",
            "F",
            "12034520524",
            "elderly",
            "community-qinhuai",
            "yes",
        ];
        let rows = [
            (0, "林云国", ""),
            (1, "resident-id", ""),
            (1, "passport", "2 document_type unknown-document-type"),
            (2, "", "2 document_number missing"),
            (2, "9.90108E+17", "2 document_number malformed-document"),
            (3, "1939/9/12", ""),
            (3, "2026-11-22", "2 born birth-contradicts-document"),
            (3, "2026-11-23", "2 born born-in-future"),
            (4, "M", "2 sex sex-contradicts-document"),
            (5, "", "2 phone bad-phone"),
            (5, "1203452052", "2 phone bad-phone"),
            (5, "\u{ff11}2034520524", "2 phone bad-phone"),
            (8, "no", ""),
            (8, "", "2 smartphone not-yes-or-no"),
        ];
        for (column, value, expected) in rows {
            let mut cells = ROW;
            cells[column] = value;
            let report = read(format!("{HEADER}{}\n", cells.join(",")).as_bytes());
            assert_eq!(faults(&report).join(" "), expected, "{value}");
            assert_eq!(report.good.len(), usize::from(expected.is_empty()), "{value}");
        }
        let mut cells = ROW;
        (cells[5], cells[8]) = ("", "no");
        assert_eq!(read(format!("{HEADER}{}\n", cells.join(",")).as_bytes()).good[0].phone, None);
    }

    #[test]
    fn a_contested_document_needs_a_look() {
        let row = |name: &str, number: &str, phone: &str| {
            format!("{name},resident_id,{number},1949-12-31,F,{phone},elderly,community-xuanwu,yes\n")
        };
        let (upper, lower) = ("11010519491231002X", "11010519491231002x");
        let a = row("甲", upper, "12000000001");
        let cases = [
            (a.clone() + &a, "3 - duplicate-row", 1),
            (a.clone() + &row("乙", lower, "12000000001"), "2 document-shared 3 document-shared", 0),
            (a.clone() + &row("甲", upper, "12000000002"), "2 conflicting-rows 3 conflicting-rows", 0),
            (
                a.clone() + &a + &row("乙", upper, ""),
                "2 document-shared 3 - duplicate-row 4 bad-phone 4 document-shared",
                0,
            ),
        ];
        for (rows, expected, good) in cases {
            let report = read(format!("{HEADER}{rows}").as_bytes());
            let told = faults(&report).join(" ").replace("document_number ", "").replace("phone bad", "bad");
            assert_eq!((told.as_str(), report.good.len()), (expected, good));
        }
    }
}
