//! `/desk/hospital/hours`: when who sees people, every week.

use std::collections::BTreeMap;

use actix_web::http::StatusCode;
use actix_web::web::{Data, Query};
use actix_web::{HttpRequest, HttpResponse, ResponseError as _};
use actors::hospital::rows;
use actors::hospital::schedule::{Minute, WeeklyHours};
use askama::Template;
use chrono::Weekday;
use domain::ids::ShortName;
use domain::member::Role;
use serde::Deserialize;
use sha2::Digest as _;

use super::fields::Fields;
use super::shown::{Knowledge, Verdict};
use crate::accounts::permission::Permission as P;
use crate::api::access::Access::Operator;
use crate::api::answer::{self, Get};
use crate::api::caller::Caller;
use crate::api::hospital::schedules;
use crate::api::problem::Problem;
use crate::node::Node;
use crate::pages;
use crate::pages::answer::{see_other, show_as};
use crate::pages::form::Form;
use crate::pages::frame::Frame;

pages! {
    GET "/desk/hospital/hours", Operator(P::ManageSchedules), Some(Role::Hospital), Some("hours") => hours;
    POST "/desk/hospital/hours", Operator(P::ManageSchedules), Some(Role::Hospital), None => change;
}

/// Departments and doctors as people read them.
#[derive(Debug, Default)]
pub(super) struct Names {
    departments: BTreeMap<ShortName, String>,
    doctors: BTreeMap<ShortName, String>,
}

impl Names {
    /// By the weekly hours of now.
    pub(super) async fn read(node: &Node) -> Self {
        let mut names = Self::default();
        for hours in answer::read(node, |work| rows::hours(&work.tx, None, None)).await {
            names.departments.insert(hours.department, hours.department_name);
            names.doctors.insert(hours.doctor, hours.doctor_name);
        }
        names
    }

    /// A doctor's name.
    pub(super) fn doctor(&self, doctor: &ShortName) -> String {
        self.doctors.get(doctor).cloned().unwrap_or_else(|| doctor.to_string())
    }

    /// Department and doctor.
    pub(super) fn place(&self, department: &ShortName, doctor: &ShortName) -> String {
        let department = self.departments.get(department).cloned().unwrap_or_else(|| department.to_string());
        format!("{department} · {}", self.doctor(doctor))
    }
}

/// A row of weekly hours.
struct Row {
    number: usize,
    department: String,
    doctor: String,
    day: String,
    time: String,
    slot: u16,
    capacity: u16,
}

#[derive(Template)]
#[template(path = "desk/hours.html")]
struct HoursPage<'a> {
    frame: &'a Frame,
    knowledge: Knowledge,
    verdict: Option<Verdict>,
    done: bool,
    rows: Vec<Row>,
    /// What the list was when the page was made: a change of another one is not undone by this page.
    seen: String,
    days: Vec<(&'static str, String)>,
    fields: &'a Fields,
}

impl HoursPage<'_> {
    fn typed(&self, name: &str) -> &str {
        self.fields.text(name).unwrap_or_default()
    }
}

/// The days of the week as a form names them.
const DAYS: [(Weekday, &str); 7] = [
    (Weekday::Mon, "mon"),
    (Weekday::Tue, "tue"),
    (Weekday::Wed, "wed"),
    (Weekday::Thu, "thu"),
    (Weekday::Fri, "fri"),
    (Weekday::Sat, "sat"),
    (Weekday::Sun, "sun"),
];

fn code(day: Weekday) -> &'static str {
    DAYS.iter().find(|(weekday, _)| *weekday == day).map_or("mon", |(_, code)| code)
}

fn digest(hours: &[WeeklyHours]) -> String {
    hex::encode(sha2::Sha256::digest(serde_json::to_vec(hours).unwrap_or_default()))
}

async fn page(
    node: &Node,
    frame: &Frame,
    fields: &Fields,
    verdict: Option<Verdict>,
    done: bool,
    status: StatusCode,
) -> Result<HttpResponse, Problem> {
    let hours = answer::read(node, |work| rows::hours(&work.tx, None, None)).await;
    let named = |name: &str, short: &ShortName| format!("{name} ({short})");
    let rows = hours.iter().enumerate().map(|(number, row)| Row {
        number,
        department: named(&row.department_name, &row.department),
        doctor: named(&row.doctor_name, &row.doctor),
        day: frame.t(&format!("day-{}", code(row.weekday))),
        time: format!("{}–{}", row.start, row.end),
        slot: row.slot_minutes,
        capacity: row.capacity,
    });
    let page = HoursPage {
        knowledge: Knowledge::now(node, frame).await,
        verdict,
        done,
        rows: rows.collect(),
        seen: digest(&hours),
        days: DAYS.iter().map(|(_, day)| (*day, frame.t(&format!("day-{day}")))).collect(),
        fields,
        frame,
    };
    show_as(&page, status)
}

/// Whether something was done.
#[derive(Deserialize)]
struct Came {
    done: Option<String>,
}

async fn hours(node: Data<Node>, request: HttpRequest, came: Query<Came>, get: Get) -> Result<HttpResponse, Problem> {
    let frame = Frame::new(&node, &request, &get.caller);
    page(&node, &frame, &Fields::default(), None, came.done.is_some(), StatusCode::OK).await
}

/// A row as the form has it.
fn row(fields: &Fields) -> Result<WeeklyHours, Problem> {
    fn minute(fields: &Fields, name: &str) -> Result<Minute, Problem> {
        fields.parsed(name)?.ok_or_else(|| Problem::malformed(format_args!("{name} is empty")))
    }
    let short = |name: &str| fields.parsed(name)?.ok_or_else(|| Problem::malformed(format_args!("{name} is empty")));
    let number =
        |name: &str| fields.parsed::<u16>(name)?.ok_or_else(|| Problem::malformed(format_args!("{name} is empty")));
    let day = fields.needed("weekday")?;
    let weekday = DAYS.iter().find(|(_, code)| *code == day).map(|(weekday, _)| *weekday);
    Ok(WeeklyHours {
        department: short("department")?,
        department_name: fields.needed("department_name")?.to_owned(),
        doctor: short("doctor")?,
        doctor_name: fields.needed("doctor_name")?.to_owned(),
        weekday: weekday.ok_or_else(|| Problem::malformed("weekday"))?,
        start: minute(fields, "start")?,
        end: minute(fields, "end")?,
        slot_minutes: number("slot_minutes")?,
        capacity: number("capacity")?,
    })
}

/// The list with what the form changes: a row more, or one less.
fn changed(mut hours: Vec<WeeklyHours>, fields: &Fields) -> Result<Vec<WeeklyHours>, Problem> {
    match fields.parsed::<usize>("remove")? {
        Some(number) if number < hours.len() => drop(hours.remove(number)),
        Some(_) => return Err(Problem::malformed("remove")),
        None => hours.push(row(fields)?),
    }
    Ok(hours)
}

async fn change(node: Data<Node>, request: HttpRequest, Form(post): Form<Fields>) -> Result<HttpResponse, Problem> {
    let frame = Frame::new(&node, &request, &post.caller);
    let answer::Post { caller, idempotency, body: fields, language } = post;
    let hours = answer::read(&node, |work| rows::hours(&work.tx, None, None)).await;
    if fields.text("seen") != Some(&digest(&hours)) {
        // Somebody else has changed them since this page was made: what this form means would be another row.
        let (headline, desk) = (frame.t("hours-changed"), frame.t("hours-changed-what"));
        let no = Verdict { is_good: false, headline, desk, holder: None, detail: None, code: None };
        return page(&node, &frame, &fields, Some(no), false, StatusCode::CONFLICT).await;
    }
    let changed = async {
        let body = changed(hours, &fields)?;
        let post = answer::Post { caller: Caller::clone(&caller), idempotency, body, language };
        schedules::replaced(&node, post).await
    };
    match changed.await {
        Ok(_) => Ok(see_other("/desk/hospital/hours?done=1").finish()),
        Err(problem) => {
            let no = Some(Verdict::no(&frame, "hospital-not-done", &problem));
            page(&node, &frame, &fields, no, false, problem.status_code()).await
        }
    }
}
