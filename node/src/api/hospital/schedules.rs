//! Weekly hours and what of them is free.

use actix_web::web::{Data, Query};
use actix_web::{HttpResponse, get, post};
use actors::hospital::lists::{FreeSlot, Place, SlotQuery, free_slots};
use actors::hospital::schedule::{self, Closure, Minute, WeeklyHours};
use actors::hospital::{Command, rows};
use chrono::Weekday;
use domain::ids::{InstitutionId, ShortName};
use domain::reasons::Reason;
use domain::time::{Millis, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;

use super::{Said, by_operator, plays};
use crate::api::answer::{self, Get, Listed, LongPost, Page, Post, Receipt};
use crate::api::problem::{Problem, ProblemBody};
use crate::node::Node;

/// Slots are listed for so long unless the caller asks otherwise.
const DEFAULT_SPAN: Millis = Millis::days(14);

/// Most readings for one page of slots: what is full is passed over.
const MAX_READINGS: usize = 20;

/// Longest list of weekly hours, in bytes: as many rows as a hospital may have, with names in Chinese.
pub const MAX_SCHEDULE_BYTES: usize = 2 * 1024 * 1024;

pub(super) fn configure(config: &mut ServiceConfig<'_>) {
    config.service(replace).service(list).service(free).service(close).service(list_closures);
}

/// When a doctor sees people, every week, in the federation's local time.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Hours {
    /// The department, 1 to 40 characters of a-z, 0-9, `-`.
    #[schema(value_type = String)]
    department: ShortName,
    /// The department as people read it, at most 100 bytes.
    department_name: String,
    /// The doctor, 1 to 40 characters of a-z, 0-9, `-`.
    #[schema(value_type = String)]
    doctor: ShortName,
    /// The doctor as people read it, at most 100 bytes.
    doctor_name: String,
    /// `Mon` to `Sun`.
    #[schema(value_type = String)]
    weekday: Weekday,
    /// First minute, `HH:MM`.
    #[schema(value_type = String)]
    start: Minute,
    /// First minute after it, up to `24:00`.
    #[schema(value_type = String)]
    end: Minute,
    /// Length of a slot, 1 to 480.
    slot_minutes: u16,
    /// Bookings that one slot takes, 1 to 100.
    capacity: u16,
}

impl From<Hours> for WeeklyHours {
    fn from(h: Hours) -> Self {
        let Hours { department, department_name, doctor, doctor_name, weekday, start, end, slot_minutes, capacity } = h;
        Self { department, department_name, doctor, doctor_name, weekday, start, end, slot_minutes, capacity }
    }
}

impl From<WeeklyHours> for Hours {
    fn from(h: WeeklyHours) -> Self {
        let WeeklyHours {
            department,
            department_name,
            doctor,
            doctor_name,
            weekday,
            start,
            end,
            slot_minutes,
            capacity,
        } = h;
        Self { department, department_name, doctor, doctor_name, weekday, start, end, slot_minutes, capacity }
    }
}

/// A hospital's weekly hours.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Schedule {
    /// Every row; at most 5,000, in 2 MiB.
    hours: Vec<Hours>,
}

/// Replace the weekly hours. Bookings that stand are kept.
///
/// `201`; `400` names the row that cannot be: a doctor in two places, hours without a slot.
#[utoipa::path(tag = "hospital", request_body = Schedule, responses(
    (status = 201, body = Receipt<Said>), (status = 400, body = ProblemBody),
))]
#[post("/v1/hospital/schedules")]
async fn replace(
    node: Data<Node>,
    LongPost(post): LongPost<Schedule, MAX_SCHEDULE_BYTES>,
) -> Result<HttpResponse, Problem> {
    let post = post.in_words(|Schedule { hours }| Ok(hours.into_iter().map(Into::into).collect()))?;
    replaced(&node, post).await.map(answer::told)
}

/// Replaces the weekly hours, for REST and pages.
///
/// # Errors
///
/// As the route.
pub async fn replaced(node: &Node, post: Post<Vec<WeeklyHours>>) -> Result<Receipt<Said>, Problem> {
    by_operator(node, post, |hours: Vec<WeeklyHours>| {
        schedule::check(&hours).map_err(Problem::malformed)?;
        Ok(Command::SetSchedule(hours))
    })
    .await
}

/// The weekly hours, public: who works where and when.
#[utoipa::path(tag = "hospital", params(Page), responses((status = 200, body = Listed<Hours>)))]
#[get("/v1/hospital/schedules")]
async fn list(node: Data<Node>, get: Get, page: Query<Page>) -> Result<HttpResponse, Problem> {
    plays(&node, &get)?;
    let limit = page.limit()?;
    let after: usize = page.after::<usize>()?.unwrap_or(0);
    let all = answer::read(&node, |work| rows::hours(&work.tx, None, None)).await;
    let next = after.checked_add(limit).filter(|end| *end < all.len()).map(|end| end.to_string());
    let items: Vec<Hours> = all.into_iter().skip(after).take(limit).map(Into::into).collect();
    Ok(HttpResponse::Ok().json(Listed { items, next }))
}

/// A day on which the weekly hours do not hold.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ClosedDay {
    /// `YYYY-MM-DD` in the federation's time zone.
    #[schema(value_type = String)]
    day: chrono::NaiveDate,
    /// Only this department.
    #[schema(value_type = Option<String>)]
    department: Option<ShortName>,
    /// Only this doctor.
    #[schema(value_type = Option<String>)]
    doctor: Option<ShortName>,
}

impl From<ClosedDay> for Closure {
    fn from(ClosedDay { day, department, doctor }: ClosedDay) -> Self {
        Self { day, department, doctor }
    }
}

impl From<Closure> for ClosedDay {
    fn from(Closure { day, department, doctor }: Closure) -> Self {
        Self { day, department, doctor }
    }
}

/// A hospital's days without hours.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Closures {
    /// Every one; at most 1,000.
    closures: Vec<ClosedDay>,
}

/// Replace the days on which the weekly hours do not hold. Nothing is offered then, and a new booking is declined; bookings that
/// stand are kept until the desk lets them go.
///
/// `201`; `400` for more than 1,000.
#[utoipa::path(tag = "hospital", request_body = Closures, responses(
    (status = 201, body = Receipt<Said>), (status = 400, body = ProblemBody),
))]
#[post("/v1/hospital/closures")]
async fn close(node: Data<Node>, post: Post<Closures>) -> Result<HttpResponse, Problem> {
    let post = post.in_words(|Closures { closures }| Ok(closures.into_iter().map(Into::into).collect()))?;
    closed(&node, post).await.map(answer::told)
}

/// Replaces the days without hours, for REST and pages.
///
/// # Errors
///
/// As the route.
pub async fn closed(node: &Node, post: Post<Vec<Closure>>) -> Result<Receipt<Said>, Problem> {
    by_operator(node, post, |closures: Vec<Closure>| match closures.len() > schedule::MAX_CLOSURES {
        true => Err(Problem::malformed(format!("at most {} days", schedule::MAX_CLOSURES))),
        false => Ok(Command::SetClosures(closures)),
    })
    .await
}

/// The days on which the weekly hours do not hold, public.
#[utoipa::path(tag = "hospital", responses((status = 200, body = Listed<ClosedDay>)))]
#[get("/v1/hospital/closures")]
async fn list_closures(node: Data<Node>, get: Get) -> Result<HttpResponse, Problem> {
    plays(&node, &get)?;
    let all = answer::read(&node, |work| rows::closures(&work.tx)).await;
    let items: Vec<ClosedDay> = all.into_iter().map(Into::into).collect();
    Ok(HttpResponse::Ok().json(Listed { items, next: None }))
}

/// Which slots to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct Which {
    /// Only this department.
    #[param(value_type = Option<String>)]
    department: Option<ShortName>,
    /// Only this doctor.
    #[param(value_type = Option<String>)]
    doctor: Option<ShortName>,
    /// Not before this time; now, unless said otherwise.
    #[param(value_type = Option<String>)]
    from: Option<Timestamp>,
    /// Before this time; 14 days later, unless said otherwise, and 92 days at most.
    #[param(value_type = Option<String>)]
    until: Option<Timestamp>,
    /// Most items, 1 to 1,000.
    limit: Option<usize>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// A slot that takes at least one more booking.
#[derive(Debug, Serialize, ToSchema)]
struct Free {
    /// The hospital.
    #[schema(value_type = String)]
    hospital: InstitutionId,
    /// The department.
    #[schema(value_type = String)]
    department: ShortName,
    /// The department as people read it.
    department_name: String,
    /// The doctor.
    #[schema(value_type = String)]
    doctor: ShortName,
    /// The doctor as people read it.
    doctor_name: String,
    /// First moment.
    #[schema(value_type = String)]
    start: Timestamp,
    /// First moment after it.
    #[schema(value_type = String)]
    end: Timestamp,
    /// How many more bookings it takes.
    free: u16,
}

impl From<FreeSlot> for Free {
    fn from(f: FreeSlot) -> Self {
        let FreeSlot { slot, free: places, department_name, doctor_name } = f;
        let domain::booking::Slot { hospital, department, doctor, start, end } = slot;
        Self { hospital, department, department_name, doctor, doctor_name, start, end, free: places }
    }
}

/// A cursor names a slot: begin in milliseconds, department, doctor.
fn read_cursor(text: &str) -> Option<Place> {
    let mut parts = text.split('.');
    let start = Timestamp::from_millis(parts.next()?.parse().ok()?);
    let (department, doctor) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    parts.next().is_none().then_some((start, department, doctor))
}

/// Slots that are free, public, in order of time. What is full or past is not listed. Where most are full, a page may have
/// fewer items than asked for, and there is a next one.
///
/// `200`; `400` `cursor-invalid`.
#[utoipa::path(tag = "hospital", params(Which), responses(
    (status = 200, body = Listed<Free>), (status = 400, body = ProblemBody),
))]
#[get("/v1/hospital/slots")]
async fn free(node: Data<Node>, get: Get, which: Query<Which>) -> Result<HttpResponse, Problem> {
    plays(&node, &get)?;
    let Which { department, doctor, from, until, limit, cursor } = which.into_inner();
    let page = Page { limit, cursor };
    let limit = page.limit()?;
    let invalid = || Problem::new(Reason::CursorInvalid).language(get.language);
    let after = page.cursor.as_deref().map(|text| read_cursor(text).ok_or_else(invalid)).transpose()?;
    let now = node.writer.now();
    let from = from.unwrap_or(now).max(after.as_ref().map_or(Timestamp::MIN, |(start, ..)| *start));
    let until = until.unwrap_or(from + DEFAULT_SPAN);
    let mut query = SlotQuery { department, doctor, from, until, after, limit };
    let mut items: Vec<Free> = Vec::new();
    for _ in 0..MAX_READINGS {
        query.limit = limit - items.len();
        let slots = answer::read(&node, |work| free_slots(work, &query, now)).await;
        items.extend(slots.found.into_iter().map(Free::from));
        query.after = slots.goes_on;
        if query.after.is_none() || items.len() >= limit {
            break;
        }
        // Others have their turn in between.
        tokio::task::yield_now().await;
    }
    let next = query.after.map(|(start, department, doctor)| format!("{}.{department}.{doctor}", start.millis()));
    Ok(HttpResponse::Ok().json(Listed { items, next }))
}
