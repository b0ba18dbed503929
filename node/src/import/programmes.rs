//! The table of voucher programmes and their policy, as the issuer keeps it.

use domain::policy::Class;
use serde::{Deserialize, Serialize};

use super::field;
use super::report::{Code, Faults, Report};
use super::table::{self, Claims, Row};
use super::text::Refused;

const COLUMNS: [&str; 10] = [
    "programme",
    "title_zh",
    "title_en",
    "service",
    "issuing_department",
    "entitlement_classes",
    "validity_days",
    "vouchers_per_holder",
    "departments",
    "card_presentation",
];

/// Longest validity, in days: two years. A voucher that lives longer is forgotten, not used.
const MAX_VALIDITY_DAYS: u16 = 731;

/// Most vouchers of one programme for one holder.
const MAX_VOUCHERS_PER_HOLDER: u16 = 100;

/// Whether the holder may present a printed card instead of a phone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CardPresentation {
    /// A card may be used, with a helper and a reason.
    Allowed,
    /// Only a phone.
    Forbidden,
}

/// A voucher programme: who is entitled, to how many vouchers, for how long, where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Programme {
    /// Id: 1 to 40 of a-z, 0-9 and hyphen.
    pub programme: String,
    /// Title in Chinese.
    pub title_zh: String,
    /// Title in English.
    pub title_en: String,
    /// Id of the service.
    pub service: String,
    /// The department that issues, as people read it.
    pub issuing_department: String,
    /// Who is entitled: at least one class, none twice.
    pub classes: Vec<Class>,
    /// How long a voucher is valid, in days, 1 to 731.
    pub validity_days: u16,
    /// How many vouchers a holder gets, 1 to 100.
    pub vouchers_per_holder: u16,
    /// Ids of the departments where it can be used: at least one, none twice.
    pub departments: Vec<String>,
    /// Whether a printed card will do.
    pub card: CardPresentation,
}

/// Reads programmes. Rows that give one id different policies are all reported.
///
/// # Errors
///
/// [`Refused`] if the file as a whole is not this table.
pub fn programmes(file: &[u8]) -> Result<Report<Programme>, Refused> {
    let mut faults = Faults::default();
    let mut claims = Claims::default();
    let mut good = Vec::new();
    table::read(file, &COLUMNS, &mut faults, |mut row| {
        let [id, ..] = row.cells;
        if !id.text.is_empty() {
            claims.add(id.text, "", row.line);
        }
        let line = row.line;
        good.extend(programme(&mut row).map(|programme| (line, programme)));
    })?;
    let contested = claims.contested("programme", Code::ConflictingRows, &mut faults);
    good.retain(|(line, _)| contested.binary_search(line).is_err());
    Ok(faults.report(good.into_iter().map(|(_, programme)| programme).collect()))
}

fn programme(row: &mut Row<'_, 10>) -> Option<Programme> {
    let [id, title_zh, title_en, service, issuing_department, classes, validity_days, per_holder, departments, card] =
        row.cells;
    let id = row.read(id, field::id);
    let title_zh = row.read(title_zh, field::text);
    let title_en = row.read(title_en, field::text);
    let service = row.read(service, field::id);
    let issuing_department = row.read(issuing_department, field::text);
    let classes = row.read(classes, |text| field::list(text, field::class));
    let validity_days = row.read(validity_days, |text| field::number(text, 1, MAX_VALIDITY_DAYS));
    let vouchers_per_holder = row.read(per_holder, |text| field::number(text, 1, MAX_VOUCHERS_PER_HOLDER));
    let departments = row.read(departments, |text| field::list(text, field::id));
    let card = row.read(card, presentation);
    Some(Programme {
        programme: id?,
        title_zh: title_zh?,
        title_en: title_en?,
        service: service?,
        issuing_department: issuing_department?,
        classes: classes?,
        validity_days: validity_days?,
        vouchers_per_holder: vouchers_per_holder?,
        departments: departments?,
        card: card?,
    })
}

fn presentation(text: &str) -> Result<CardPresentation, Code> {
    match text {
        "allowed" => Ok(CardPresentation::Allowed),
        "forbidden" => Ok(CardPresentation::Forbidden),
        _ => Err(Code::UnknownPresentation),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &[u8] = include_bytes!("../../../tests/data/programmes.csv");
    const ROW: [&str; 10] =
        ["p-1", "体检券", "Health check", "check", "公共卫生处", "elderly", "90", "1", "imaging", "allowed"];

    fn faults(rows: &[String]) -> (String, usize) {
        let report = programmes(format!("{}\n{}\n", COLUMNS.join(","), rows.join("\n")).as_bytes()).unwrap();
        let told: Vec<_> =
            report.faults.iter().map(|f| format!("{} {} {}", f.line, f.column.unwrap_or("-"), f.code)).collect();
        (told.join(" "), report.good.len())
    }

    #[test]
    fn the_sample_comes_in() {
        let report = programmes(SAMPLE).unwrap();
        assert_eq!((report.good.len(), report.faults.len()), (4, 0));
        let expected = Programme {
            programme: "chronic-followup-2026".to_owned(),
            title_zh: "慢病随访检查券".to_owned(),
            title_en: "Chronic disease follow-up".to_owned(),
            service: "follow-up".to_owned(),
            issuing_department: "慢病防治处".to_owned(),
            classes: vec![Class::Chronic, Class::Elderly],
            validity_days: 60,
            vouchers_per_holder: 4,
            departments: vec!["cardiology".to_owned(), "endocrinology".to_owned()],
            card: CardPresentation::Allowed,
        };
        assert_eq!(report.good[1], expected);
        assert_eq!(report.good[2].card, CardPresentation::Forbidden);
        let json = serde_json::to_string(&expected).unwrap();
        assert!(json.contains(r#""classes":["chronic","elderly"]"#) && json.contains(r#""card":"allowed""#), "{json}");
    }

    #[test]
    fn one_cell_at_a_time() {
        let long = "a".repeat(41);
        let rows = [
            (0, long.as_str(), "2 programme bad-id"),
            (0, "", "2 programme missing"),
            (1, "", "2 title_zh missing"),
            (2, "@SUM", "2 title_en formula"),
            (3, "Check", "2 service bad-id"),
            (4, "", "2 issuing_department missing"),
            (5, "vip", "2 entitlement_classes unknown-class"),
            (5, "elderly;vip", "2 entitlement_classes unknown-class"),
            (5, "elderly;elderly", "2 entitlement_classes repeated-entry"),
            (6, "0", "2 validity_days out-of-range"),
            (6, "732", "2 validity_days out-of-range"),
            (7, "many", "2 vouchers_per_holder bad-number"),
            (8, "", "2 departments missing"),
            (9, "maybe", "2 card_presentation unknown-presentation"),
        ];
        for (column, value, expected) in rows {
            let mut cells = ROW;
            cells[column] = value;
            assert_eq!(faults(&[cells.join(",")]), (expected.to_owned(), 0), "{value}");
        }
    }

    #[test]
    fn one_id_has_one_policy() {
        let mut longer = ROW;
        longer[6] = "91";
        let (row, longer) = (ROW.join(","), longer.join(","));
        assert_eq!(faults(&[row.clone(), row.clone()]), ("3 - duplicate-row".to_owned(), 1));
        let both = "2 programme conflicting-rows 3 programme conflicting-rows";
        assert_eq!(faults(&[row, longer]), (both.to_owned(), 0));
    }
}
