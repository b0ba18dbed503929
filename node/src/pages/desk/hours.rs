//! `/desk/hospital/hours`: when who sees people every week, and the days on which they do not.

use std::collections::BTreeMap;

use actix_web::http::StatusCode;
use actix_web::web::{Data, Query};
use actix_web::{HttpRequest, HttpResponse, ResponseError as _};
use actors::hospital::rows;
use actors::hospital::schedule::{Closure, Minute, WeeklyHours};
use askama::Template;
use chrono::{NaiveDate, Weekday};
use domain::ids::ShortName;
use domain::member::Role;
use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use super::fields::Fields;
use super::shown::{Knowledge, Verdict, When};
use crate::accounts::permission::Permission as P;
use crate::api::access::Access::Operator;
use crate::api::answer::{self, Get, Receipt};
use crate::api::hospital::{Said, schedules};
use crate::api::problem::Problem;
use crate::node::Node;
use crate::pages;
use crate::pages::answer::{see_other, show_as};
use crate::pages::form::Form;
use crate::pages::frame::Frame;

pages! {
    GET "/desk/hospital/hours", Operator(P::ManageSchedules), Some(Role::Hospital), Some("hours") => hours;
    POST "/desk/hospital/hours", Operator(P::ManageSchedules), Some(Role::Hospital), None => change;
    POST "/desk/hospital/closures", Operator(P::ManageSchedules), Some(Role::Hospital), None => close;
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
        Self::of(&answer::read(node, |work| rows::hours(&work.tx, None, None)).await)
    }

    fn of(hours: &[WeeklyHours]) -> Self {
        let departments = hours.iter().map(|row| (row.department.clone(), row.department_name.clone()));
        let doctors = hours.iter().map(|row| (row.doctor.clone(), row.doctor_name.clone()));
        Self { departments: departments.collect(), doctors: doctors.collect() }
    }

    fn department(&self, department: &ShortName) -> String {
        self.departments.get(department).cloned().unwrap_or_else(|| department.to_string())
    }

    /// A doctor's name.
    pub(super) fn doctor(&self, doctor: &ShortName) -> String {
        self.doctors.get(doctor).cloned().unwrap_or_else(|| doctor.to_string())
    }

    /// Department and doctor.
    pub(super) fn place(&self, department: &ShortName, doctor: &ShortName) -> String {
        format!("{} · {}", self.department(department), self.doctor(doctor))
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

/// A day without hours.
struct Closed {
    number: usize,
    day: NaiveDate,
    date: String,
    /// Whom it concerns; empty for everybody.
    who: Vec<String>,
}

#[derive(Template)]
#[template(path = "desk/hours.html")]
struct HoursPage<'a> {
    frame: &'a Frame,
    knowledge: Knowledge,
    verdict: Option<Verdict>,
    done: bool,
    rows: Vec<Row>,
    closures: Vec<Closed>,
    /// What the lists were when the page was made: a change of another one is not undone by this page.
    seen: String,
    seen_closures: String,
    names: Names,
    today: NaiveDate,
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

fn digest<T: Serialize>(rows: &[T]) -> String {
    hex::encode(sha2::Sha256::digest(serde_json::to_vec(rows).unwrap_or_default()))
}

async fn page(
    node: &Node,
    frame: &Frame,
    fields: &Fields,
    verdict: Option<Verdict>,
    done: bool,
    status: StatusCode,
) -> Result<HttpResponse, Problem> {
    let (hours, closures) =
        answer::read(node, |work| (rows::hours(&work.tx, None, None), rows::closures(&work.tx))).await;
    let (when, names) = (When::new(node, frame), Names::of(&hours));
    let closed = closures.iter().enumerate().map(|(number, closure)| Closed {
        number,
        day: closure.day,
        date: when.date(closure.day),
        who: [
            closure.department.as_ref().map(|department| names.department(department)),
            closure.doctor.as_ref().map(|doctor| names.doctor(doctor)),
        ]
        .into_iter()
        .flatten()
        .collect(),
    });
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
        closures: closed.collect(),
        seen: digest(&hours),
        seen_closures: digest(&closures),
        today: node.writer.now().day_at(node.writer.settings().offset),
        days: DAYS.iter().map(|(_, day)| (*day, frame.t(&format!("day-{day}")))).collect(),
        names,
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

/// What a form says that was made for another list than the one of now: what it means would be another row.
async fn outdated(node: &Node, frame: &Frame, fields: &Fields) -> Result<HttpResponse, Problem> {
    let (headline, desk) = (frame.t("hours-changed"), frame.t("hours-changed-what"));
    let no = Verdict { is_good: false, headline, desk, holder: None, detail: None, code: None };
    page(node, frame, fields, Some(no), false, StatusCode::CONFLICT).await
}

/// The page once the list is replaced, or the reason why it is not.
async fn told(
    node: &Node,
    frame: &Frame,
    fields: &Fields,
    replaced: Result<Receipt<Said>, Problem>,
) -> Result<HttpResponse, Problem> {
    match replaced {
        Ok(_) => Ok(see_other("/desk/hospital/hours?done=1").finish()),
        Err(problem) => {
            let no = Some(Verdict::no(frame, "hospital-not-done", &problem));
            page(node, frame, fields, no, false, problem.status_code()).await
        }
    }
}

/// The days without hours with what the form changes: one more, or one less. Days that are over go by themselves.
fn closures_changed(mut closures: Vec<Closure>, fields: &Fields, today: NaiveDate) -> Result<Vec<Closure>, Problem> {
    match fields.parsed::<usize>("remove")? {
        Some(number) if number < closures.len() => drop(closures.remove(number)),
        Some(_) => return Err(Problem::malformed("remove")),
        None => {
            let day = fields.parsed("day")?.ok_or_else(|| Problem::malformed("day is empty"))?;
            if day < today {
                return Err(Problem::malformed("day: it is over"));
            }
            let closure =
                Closure { day, department: fields.parsed("only_department")?, doctor: fields.parsed("only_doctor")? };
            if !closures.contains(&closure) {
                closures.push(closure);
            }
        }
    }
    closures.retain(|closure| closure.day >= today);
    closures.sort_by_key(|closure| closure.day);
    Ok(closures)
}

async fn close(node: Data<Node>, request: HttpRequest, Form(post): Form<Fields>) -> Result<HttpResponse, Problem> {
    let frame = Frame::new(&node, &request, &post.caller);
    let answer::Post { caller, idempotency, body: fields, language } = post;
    let closures = answer::read(&node, |work| rows::closures(&work.tx)).await;
    if fields.text("seen") != Some(&digest(&closures)) {
        return outdated(&node, &frame, &fields).await;
    }
    let today = node.writer.now().day_at(node.writer.settings().offset);
    let replaced = async {
        let body = closures_changed(closures, &fields, today)?;
        schedules::closed(&node, answer::Post { caller, idempotency, body, language }).await
    };
    told(&node, &frame, &fields, replaced.await).await
}

async fn change(node: Data<Node>, request: HttpRequest, Form(post): Form<Fields>) -> Result<HttpResponse, Problem> {
    let frame = Frame::new(&node, &request, &post.caller);
    let answer::Post { caller, idempotency, body: fields, language } = post;
    let hours = answer::read(&node, |work| rows::hours(&work.tx, None, None)).await;
    if fields.text("seen") != Some(&digest(&hours)) {
        return outdated(&node, &frame, &fields).await;
    }
    let replaced = async {
        let body = changed(hours, &fields)?;
        schedules::replaced(&node, answer::Post { caller, idempotency, body, language }).await
    };
    told(&node, &frame, &fields, replaced.await).await
}
