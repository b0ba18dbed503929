//! Bookings: openings from voucher modules, the list of a day, releases, who did not come.

use actix_web::web::{Data, Path, Query};
use actix_web::{HttpResponse, get, post};
use actors::hospital::Command;
use actors::hospital::lists::{self, BookingRow};
use actors::voucher::letters::OpeningLetter;
use chrono::NaiveDate;
use domain::booking::Slot;
use domain::ids::VoucherId;
use domain::lifecycle::{ClaimReason, ReleaseReason, Stage};
use domain::time::{Millis, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;

use super::{Empty, Said, ask, by_operator, operator_reads, voucher_id};
use crate::api::answer::{self, Get, Listed, Post, Receipt, RecordRef};
use crate::api::caller::Caller;
use crate::api::problem::{Problem, ProblemBody};
use crate::node::Node;

pub(super) fn configure(config: &mut ServiceConfig<'_>) {
    config.service(open).service(list).service(release).service(no_show);
}

/// Receive what a booking is about. A booking that is requested already is answered at once.
///
/// `201` with whether it was confirmed; `403` for another node than the voucher's module; `409` `booked-elsewhere` for another
/// hospital's slot, `slot-taken` if too many ask for it.
#[utoipa::path(tag = "hospital", request_body = Object, responses(
    (status = 201, body = Receipt<Said>), (status = 403, body = ProblemBody), (status = 409, body = ProblemBody),
))]
#[post("/v1/hospital/openings")]
async fn open(node: Data<Node>, post: Post<OpeningLetter>) -> Result<HttpResponse, Problem> {
    let make = |OpeningLetter { details }, caller: &Caller| Ok(Command::Open { from: caller.must_be_peer()?, details });
    ask(&node, post, make).await.map(answer::told)
}

/// A booking as the hospital's desk sees it, from request to claim.
#[derive(Debug, Serialize, ToSchema)]
pub struct Booking {
    /// `issuer.uuid`.
    #[schema(value_type = String)]
    pub voucher: VoucherId,
    /// When, where, with whom; none if that was forgotten already.
    #[schema(value_type = Option<Object>)]
    pub slot: Option<Slot>,
    /// Where the voucher stands.
    #[schema(value_type = String)]
    pub stage: Stage,
    /// First moment of the arrival window.
    #[schema(value_type = String)]
    pub use_from: Timestamp,
    /// First moment after it.
    #[schema(value_type = String)]
    pub use_by: Timestamp,
    /// The voucher's QR came already.
    pub presented: bool,
    /// The holder wants to cancel or move it.
    pub release_requested: bool,
    /// The holder did not come.
    pub no_show: bool,
    /// The holder denies the use.
    pub disputed: bool,
    /// When the examination must be complete, while in use.
    #[schema(value_type = Option<String>)]
    pub complete_by: Option<Timestamp>,
    /// When it must be claimed, once examined.
    #[schema(value_type = Option<String>)]
    pub claim_by: Option<Timestamp>,
    /// How often it was claimed.
    pub claims: u8,
    /// Why the last claim was rejected, if it may be answered.
    #[schema(value_type = Option<String>)]
    pub rejected: Option<ClaimReason>,
    /// The last record that counts.
    pub head: Option<RecordRef>,
}

impl From<BookingRow> for Booking {
    fn from(row: BookingRow) -> Self {
        Self {
            voucher: row.voucher,
            slot: row.slot,
            stage: row.stage,
            use_from: row.use_from,
            use_by: row.use_by,
            presented: row.presented,
            release_requested: row.release_requested,
            no_show: row.no_show,
            disputed: row.disputed,
            complete_by: row.complete_by,
            claim_by: row.claim_by,
            claims: row.claims,
            rejected: row.rejected,
            head: row.head.map(Into::into),
        }
    }
}

/// Which day.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct Day {
    /// `YYYY-MM-DD` in the federation's time zone; today, unless said otherwise.
    #[param(value_type = Option<String>)]
    day: Option<NaiveDate>,
}

/// The bookings of a day in order of time, used ones included.
#[utoipa::path(tag = "hospital", params(Day), responses((status = 200, body = Listed<Booking>)))]
#[get("/v1/hospital/bookings")]
async fn list(node: Data<Node>, get: Get, day: Query<Day>) -> Result<HttpResponse, Problem> {
    operator_reads(&node, &get)?;
    let items = on_day(&node, day.day).await.map_err(|problem| problem.language(get.language))?;
    Ok(HttpResponse::Ok().json(Listed::<Booking> { items, next: None }))
}

/// The bookings of a day, of today unless said otherwise, for REST and pages.
///
/// # Errors
///
/// [`Reason::Malformed`](domain::reasons::Reason::Malformed) at the ends of the calendar.
pub async fn on_day(node: &Node, day: Option<NaiveDate>) -> Result<Vec<Booking>, Problem> {
    let offset = node.writer.settings().offset;
    let day = day.unwrap_or_else(|| node.writer.now().day_at(offset));
    let midnight = day.and_time(chrono::NaiveTime::MIN).and_local_timezone(offset).single();
    let from = Timestamp::from(midnight.ok_or_else(|| Problem::malformed("no such day"))?.to_utc());
    let rows = answer::read(node, |work| lists::bookings(work, from, from + Millis::days(1))).await;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// Why a booking is let go.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// `unable`; `cancelled` or `moved` at the holder's word.
    #[schema(value_type = String)]
    pub reason: ReleaseReason,
}

/// Let a booking go: the holder can book again. One that is not confirmed yet is declined.
///
/// `201`; `409` `not-booked`, `already-used`, `booked-elsewhere`, `too-late`, `response-too-late`.
#[utoipa::path(tag = "hospital", params(("voucher" = String, Path)), request_body = Release, responses(
    (status = 201, body = Receipt<Said>), (status = 409, body = ProblemBody),
))]
#[post("/v1/hospital/bookings/{voucher}/release")]
async fn release(node: Data<Node>, voucher: Path<String>, post: Post<Release>) -> Result<HttpResponse, Problem> {
    let voucher = voucher_id(&voucher, post.language)?;
    released(&node, voucher, post).await.map(answer::told)
}

/// Lets a booking go, for REST and pages.
///
/// # Errors
///
/// As the route.
pub async fn released(node: &Node, voucher: VoucherId, post: Post<Release>) -> Result<Receipt<Said>, Problem> {
    by_operator(node, post, |Release { reason }| Ok(Command::Release { voucher, reason })).await
}

/// Note that the holder did not come. Who comes late, within the arrival window, is let in all the same.
///
/// `201`; `409` `too-early` before the slot has ended, `not-booked`, `already-used`, `wrong-state` if it is noted already.
#[utoipa::path(tag = "hospital", params(("voucher" = String, Path)), request_body = Empty, responses(
    (status = 201, body = Receipt<Said>), (status = 409, body = ProblemBody),
))]
#[post("/v1/hospital/bookings/{voucher}/no-show")]
async fn no_show(node: Data<Node>, voucher: Path<String>, post: Post<Empty>) -> Result<HttpResponse, Problem> {
    let voucher = voucher_id(&voucher, post.language)?;
    absent(&node, voucher, post).await.map(answer::told)
}

/// Notes that the holder did not come, for REST and pages.
///
/// # Errors
///
/// As the route.
pub async fn absent(node: &Node, voucher: VoucherId, post: Post<Empty>) -> Result<Receipt<Said>, Problem> {
    by_operator(node, post, |Empty {}| Ok(Command::NoShow(voucher))).await
}
