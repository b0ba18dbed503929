//! `/issuer`: figures of a period as numbers, bars and tables, and as files.

use std::collections::BTreeMap;

use actix_web::http::header;
use actix_web::web::{Data, Query};
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use chrono::{Days, NaiveDate};
use domain::member::Role;
use domain::reasons::Reason;
use domain::statistics::Measure;
use serde::Deserialize;

use super::chart::{self, Chart};
use super::sheet::{Cell, Sheet};
use super::{Nav, around};
use crate::accounts::permission::Permission as P;
use crate::api::access::Access::Operator;
use crate::api::answer::Get;
use crate::api::issuer::statistics::{Line, figures_of};
use crate::api::problem::Problem;
use crate::node::Node;
use crate::pages;
use crate::pages::answer::show;
use crate::pages::frame::{self, Frame};
use crate::pages::text;
use crate::pages::words::{self, Known, or_dash};

pages! {
    GET "/issuer", Operator(P::ReadStatistics), Some(Role::Issuer), Some("issuer-figures") => page;
    GET "/issuer/figures.csv", Operator(P::ReadStatistics), Some(Role::Issuer), None => csv;
    GET "/issuer/figures.xlsx", Operator(P::ReadStatistics), Some(Role::Issuer), None => xlsx;
}

/// Days that are shown where nobody asks for others.
const SHOWN_DAYS: u64 = 30;

/// Most days that get bars of their own.
const MAX_BAR_DAYS: usize = 120;

/// What is shown, in the order of a voucher's life.
const MEASURES: [Measure; 8] = [
    Measure::Generated,
    Measure::Sent,
    Measure::Issued,
    Measure::Booked,
    Measure::Used,
    Measure::Redeemed,
    Measure::Voided,
    Measure::UsedAssisted,
];

/// What the bars show.
const BARS: [Measure; 3] = [Measure::Issued, Measure::Used, Measure::Redeemed];

/// Counts by measure.
#[derive(Debug, Clone, Copy, Default)]
struct Tally([u64; MEASURES.len()]);

impl Tally {
    fn add(&mut self, measure: Measure, count: u64) {
        if let Some(at) = MEASURES.iter().position(|known| *known == measure) {
            self.0[at] += count;
        }
    }

    fn of(&self, measure: Measure) -> u64 {
        MEASURES.iter().position(|known| *known == measure).map_or(0, |at| self.0[at])
    }

    /// How many of a hundred uses were helped with the printed card.
    fn assisted_share(&self) -> String {
        match self.of(Measure::Used) {
            0 => "–".to_owned(),
            used => format!("{} %", self.of(Measure::UsedAssisted) * 100 / used),
        }
    }

    /// What a table shows: all but the number of helped uses, whose share says more.
    fn cells(&self) -> Vec<String> {
        let counts = MEASURES.iter().filter(|m| **m != Measure::UsedAssisted).map(|m| self.of(*m).to_string());
        counts.chain([self.assisted_share()]).collect()
    }
}

/// Which days.
#[derive(Debug, Deserialize)]
struct Period {
    from: Option<String>,
    until: Option<String>,
}

impl Period {
    /// The days that are asked for; the last thirty for what is no day.
    fn days(&self, node: &Node) -> (NaiveDate, NaiveDate) {
        let read = |text: &Option<String>| text.as_deref().and_then(|text| text.parse().ok());
        let today = node.writer.now().day_at(node.writer.settings().offset);
        let until = read(&self.until).unwrap_or(today);
        let from =
            read(&self.from).unwrap_or_else(|| until.checked_sub_days(Days::new(SHOWN_DAYS - 1)).unwrap_or(until));
        (from, until)
    }
}

/// One of the tables.
struct Table {
    title: String,
    by: String,
    rows: Vec<(String, Vec<String>)>,
}

/// A programme whose stock was counted from both ends.
struct Balance {
    programme: String,
    holds: bool,
}

/// The figures.
#[derive(Template)]
#[template(path = "issuer/figures.html")]
struct Figures {
    frame: Frame,
    nav: Nav,
    known: Known,
    from: String,
    until: String,
    totals: Vec<(String, String)>,
    columns: Vec<String>,
    series: Vec<String>,
    chart: Option<Chart>,
    tables: Vec<Table>,
    balances: Vec<Balance>,
    has_rows: bool,
}

/// The word for what is counted.
fn measure(frame: &Frame, measure: Measure) -> String {
    words::word(frame, "measure", &measure)
}

/// Lines summed by what they have in common.
fn summed(lines: &[Line], key: impl Fn(&Line) -> Option<String>) -> BTreeMap<String, Tally> {
    let mut all: BTreeMap<String, Tally> = BTreeMap::new();
    for line in lines {
        if let Some(key) = key(line) {
            all.entry(key).or_default().add(line.measure, line.count);
        }
    }
    all
}

async fn page(
    node: Data<Node>,
    request: HttpRequest,
    period: Query<Period>,
    get: Get,
) -> Result<HttpResponse, Problem> {
    let (from, until) = period.days(&node);
    let found = figures_of(&node, from, until).await.map_err(|problem| problem.language(get.language))?;
    let (frame, nav) = around(&node, &request, &get.caller);
    let known = words::known(&node).await;
    let lines = &found.rows;
    let mut total = Tally::default();
    lines.iter().for_each(|line| total.add(line.measure, line.count));
    let names = MEASURES.iter().filter(|m| **m != Measure::UsedAssisted).map(|m| measure(&frame, *m));
    let columns: Vec<String> = names.chain([frame.t("issuer-assisted-share")]).collect();
    let totals = columns.iter().cloned().zip(total.cells()).collect();
    let by_day = summed(lines, |line| line.day.map(|day| day.to_string()));
    let each_day: Vec<_> = from.iter_days().take_while(|day| *day <= until).take(MAX_BAR_DAYS + 1).collect();
    let bars = each_day.iter().map(|day| {
        let tally = by_day.get(&day.to_string()).copied().unwrap_or_default();
        (day.to_string(), BARS.map(|measure| tally.of(measure)))
    });
    let chart = (each_day.len() <= MAX_BAR_DAYS && !lines.is_empty()).then(|| Chart::new(&bars.collect::<Vec<_>>()));
    let table = |what: &str, sums: BTreeMap<String, Tally>| Table {
        title: frame.t(&format!("issuer-by-{what}")),
        by: frame.t(&format!("issuer-{what}")),
        rows: sums.into_iter().map(|(key, tally)| (key, tally.cells())).collect(),
    };
    let mut tables = vec![
        table("programme", summed(lines, |line| line.programme.as_ref().map(ToString::to_string))),
        table("community", summed(lines, |line| line.community.map(|id| id.to_string()))),
        table("hospital", summed(lines, |line| line.hospital.map(|id| id.to_string()))),
        table("day", by_day),
    ];
    // The newest day is looked at first.
    tables.iter_mut().skip(3).for_each(|table| table.rows.reverse());
    tables.retain(|table| !table.rows.is_empty());
    let balance = |b: &crate::api::issuer::statistics::Balance| Balance {
        programme: or_dash(b.programme.as_ref()),
        holds: b.holds,
    };
    let balances = found.conservation.iter().map(balance).collect();
    let series = BARS.iter().map(|m| measure(&frame, *m)).collect();
    let has_rows = !lines.is_empty();
    show(&Figures {
        known,
        from: from.to_string(),
        until: until.to_string(),
        totals,
        columns,
        series,
        chart,
        tables,
        balances,
        has_rows,
        nav,
        frame,
    })
}

/// Every place and day with its counts, as a file has it.
async fn sheet(node: &Node, request: &HttpRequest, period: &Period) -> Result<(Sheet, String), Problem> {
    let (from, until) = period.days(node);
    let found = figures_of(node, from, until).await?;
    let language = frame::language(request);
    let t = |key: &str| text::text(language, key, &[]);
    let mut sums: BTreeMap<_, Tally> = BTreeMap::new();
    for line in &found.rows {
        let key = (line.day, line.programme.clone(), line.community, line.hospital);
        sums.entry(key).or_default().add(line.measure, line.count);
    }
    let places = ["issuer-day", "issuer-programme", "issuer-community", "issuer-hospital"].map(t);
    let measures = MEASURES.map(|measure| t(&format!("measure-{}", words::code(&measure))));
    let columns = places.into_iter().chain(measures).collect();
    let words = |name: Option<String>| Cell::Words(name.unwrap_or_default());
    let rows = sums.into_iter().map(|((day, programme, community, hospital), tally)| {
        let day = day.map_or_else(|| Cell::Words(String::new()), |day| Cell::Day(day.to_string()));
        let institutions = [community, hospital].map(|id| words(id.map(|id| id.to_string())));
        let places = [day, words(programme.map(|name| name.to_string()))].into_iter().chain(institutions);
        places.chain(tally.0.map(Cell::Count)).collect()
    });
    let sheet = Sheet { title: t("issuer-figures"), columns, rows: rows.collect() };
    Ok((sheet, format!("vouchers-{from}-{until}")))
}

/// A file to keep.
fn file(bytes: Vec<u8>, kind: &'static str, name: &str) -> HttpResponse {
    HttpResponse::Ok()
        .content_type(kind)
        .insert_header((header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body(bytes)
}

async fn csv(node: Data<Node>, request: HttpRequest, period: Query<Period>, get: Get) -> Result<HttpResponse, Problem> {
    let made = sheet(&node, &request, &period).await;
    let (sheet, name) = made.map_err(|problem| problem.language(get.language))?;
    Ok(file(sheet.csv().into_bytes(), "text/csv; charset=utf-8", &format!("{name}.csv")))
}

/// The media type of a workbook.
const XLSX: &str = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";

async fn xlsx(
    node: Data<Node>,
    request: HttpRequest,
    period: Query<Period>,
    get: Get,
) -> Result<HttpResponse, Problem> {
    let made = sheet(&node, &request, &period).await;
    let (sheet, name) = made.map_err(|problem| problem.language(get.language))?;
    let bytes = sheet.xlsx().map_err(|error| {
        tracing::error!(%error, "figures as a workbook");
        Problem::new(Reason::Internal).language(get.language)
    })?;
    Ok(file(bytes, XLSX, &format!("{name}.xlsx")))
}
