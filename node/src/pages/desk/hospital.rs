//! `/desk/hospital`: today's list, arrivals by what the holder shows, who did not come.
//!
//! ```text
//! personal QR (arrive) ─┬─ the voucher's QR came ahead, or is scanned next ─► arrive ─► green, or red with the reason
//! voucher's QR ─────────┘    alone: a check of its four states, then the personal QR is asked for
//! card ─ voucher's QR ─ the document compared, by a tick ─► arrive
//! personal QR (complete) ─► the page of the visit
//! ```

use actix_web::http::StatusCode;
use actix_web::web::{Data, Path, Query};
use actix_web::{HttpRequest, HttpResponse, ResponseError as _};
use actors::hospital::{Answer, desk, lists};
use askama::Template;
use chrono::NaiveDate;
use domain::causes::ReleaseReason;
use domain::ids::VoucherId;
use domain::lifecycle::Stage;
use domain::member::Role;
use domain::reasons::Reason;
use domain::record::CheckOutcome;
use domain::time::Timestamp;
use serde::Deserialize;

use super::fields::Fields;
use super::hours::Names;
use super::scan::{self, Scan, Scanned, Step};
use super::shown::{Knowledge, Verdict, When, stage};
use crate::accounts::permission::Permission as P;
use crate::api::access::Access::Operator;
use crate::api::answer::{self, Get, Post};
use crate::api::caller::Caller;
use crate::api::hospital::bookings::{self, Booking, Release};
use crate::api::hospital::visits::{self, Arriving, Look};
use crate::api::hospital::{Empty, Said};
use crate::api::problem::Problem;
use crate::node::Node;
use crate::pages;
use crate::pages::answer::{see_other, show_as};
use crate::pages::form::Form;
use crate::pages::frame::Frame;
use crate::pages::may;

pages! {
    GET "/desk/hospital", Operator(P::ReadBookings), Some(Role::Hospital), Some("hospital-desk") => today;
    POST "/desk/hospital", Operator(P::AdmitHolders), Some(Role::Hospital), None => scan;
    POST "/desk/hospital/bookings/{voucher}/no-show", Operator(P::ManageBookings), Some(Role::Hospital), None => no_show;
    POST "/desk/hospital/bookings/{voucher}/release", Operator(P::ManageBookings), Some(Role::Hospital), None => release;
}

/// A line of the day's list.
#[derive(Debug)]
pub(super) struct BookingLine {
    pub(super) id: String,
    pub(super) short: String,
    pub(super) time: String,
    pub(super) place: String,
    pub(super) stage: String,
    pub(super) is_in: bool,
    is_past: bool,
    is_open: bool,
    no_show: bool,
    presented: bool,
    wants_release: bool,
    disputed: bool,
}

/// The last characters of a voucher's id: enough to tell two on a list apart.
pub(super) fn short(voucher: VoucherId) -> String {
    let id = voucher.uuid.simple().to_string();
    id.get(id.len() - 6..).unwrap_or_default().to_owned()
}

pub(super) fn line(row: &Booking, frame: &Frame, when: &When, names: &Names, now: Timestamp) -> BookingLine {
    let slot = row.slot.as_ref();
    BookingLine {
        id: row.voucher.to_string(),
        short: short(row.voucher),
        time: slot.map(|slot| format!("{}–{}", when.time(slot.start), when.time(slot.end))).unwrap_or_default(),
        place: slot.map(|slot| names.place(&slot.department, &slot.doctor)).unwrap_or_default(),
        stage: stage(frame, row.stage),
        is_in: row.stage == Stage::InUse,
        is_past: slot.is_some_and(|slot| slot.end <= now),
        is_open: matches!(row.stage, Stage::Booked | Stage::BookingRequested),
        no_show: row.no_show,
        presented: row.presented,
        wants_release: row.release_requested,
        disputed: row.disputed,
    }
}

/// What a desk may do here.
#[derive(Debug)]
struct Mays {
    admit: bool,
    manage: bool,
    hours: bool,
}

/// A card whose holder's document is still to be compared.
#[derive(Debug)]
struct Compare {
    card: String,
    voucher_qr: String,
}

#[derive(Template)]
#[template(path = "desk/hospital.html")]
struct HospitalPage<'a> {
    frame: &'a Frame,
    knowledge: Knowledge,
    scan: Scan,
    mays: Mays,
    verdict: Option<Verdict>,
    done: Option<String>,
    compare: Option<Compare>,
    day_title: String,
    before: String,
    after: String,
    lines: Vec<BookingLine>,
    counts: [usize; 3],
}

/// What the page shows beside the list.
#[derive(Default)]
struct Found {
    verdict: Option<Verdict>,
    done: Option<String>,
    scan: Option<Scan>,
    compare: Option<Compare>,
}

async fn desk_page(
    node: &Node,
    frame: &Frame,
    caller: &Caller,
    day: Option<NaiveDate>,
    found: Found,
    status: StatusCode,
) -> Result<HttpResponse, Problem> {
    let now = node.writer.now();
    let rows = bookings::on_day(node, day).await?;
    let (when, names) = (When::new(node, frame), Names::read(node).await);
    let day = day.unwrap_or_else(|| now.day_at(node.writer.settings().offset));
    let beside = |days| day.checked_add_signed(chrono::TimeDelta::days(days)).unwrap_or(day).to_string();
    let count = |stages: &[Stage]| rows.iter().filter(|row| stages.contains(&row.stage)).count();
    let Found { verdict, done, scan, compare } = found;
    let page = HospitalPage {
        knowledge: Knowledge::now(node, frame).await,
        scan: scan.unwrap_or_else(|| Scan::new(frame, "/desk/hospital", "scan-hospital")),
        mays: Mays {
            admit: may(caller, P::AdmitHolders),
            manage: may(caller, P::ManageBookings),
            hours: may(caller, P::ManageSchedules),
        },
        verdict,
        done,
        compare,
        day_title: when.date(day),
        before: beside(-1),
        after: beside(1),
        counts: [
            count(&[Stage::Booked, Stage::BookingRequested]),
            count(&[Stage::InUse]),
            count(&[Stage::Examined, Stage::Claimed, Stage::Rejected, Stage::Redeemed]),
        ],
        lines: rows.iter().map(|row| line(row, frame, &when, &names, now)).collect(),
        frame,
    };
    show_as(&page, status)
}

/// Which day, and what came of something.
#[derive(Deserialize)]
struct Day {
    day: Option<NaiveDate>,
    done: Option<String>,
}

/// Sentences that an address may ask for.
const SAID: [&str; 3] = ["no-show", "released", "undone"];

async fn today(node: Data<Node>, request: HttpRequest, day: Query<Day>, get: Get) -> Result<HttpResponse, Problem> {
    let frame = Frame::new(&node, &request, &get.caller);
    let done = day.done.as_deref().filter(|word| SAID.contains(word));
    let done = done.map(|word| frame.t(&format!("hospital-done-{word}")));
    desk_page(&node, &frame, &get.caller, day.day, Found { done, ..Found::default() }, StatusCode::OK).await
}

/// What a holder has shown so far.
#[derive(Default)]
struct Shown {
    personal: Option<String>,
    card: Option<String>,
    voucher_qr: Option<String>,
}

async fn scan(node: Data<Node>, request: HttpRequest, Form(post): Form<Fields>) -> Result<HttpResponse, Problem> {
    let frame = Frame::new(&node, &request, &post.caller);
    let caller = post.caller.clone();
    match scanned(&node, &frame, post).await {
        Ok(Came::Gone(answer)) => Ok(answer),
        Ok(Came::Asks(found)) => desk_page(&node, &frame, &caller, None, *found, StatusCode::OK).await,
        Err(problem) => {
            let verdict = Some(Verdict::no(&frame, "hospital-no", &problem));
            let found = Found { verdict, ..Found::default() };
            desk_page(&node, &frame, &caller, None, found, problem.status_code()).await
        }
    }
}

/// What comes of a scan.
enum Came {
    /// It is done, or another page goes on.
    Gone(HttpResponse),
    /// Something more is to be scanned or ticked.
    Asks(Box<Found>),
}

async fn scanned(node: &Node, frame: &Frame, post: Post<Fields>) -> Result<Came, Problem> {
    let fields = &post.body;
    let mut shown = Shown {
        personal: fields.code("personal_qr").map(str::to_owned),
        card: fields.code("card").map(str::to_owned),
        voucher_qr: fields.code("voucher_qr").map(str::to_owned),
    };
    // A photo may show two codes.
    for text in ["scan", "also"].iter().filter_map(|name| fields.code(name)) {
        match scan::read(text)? {
            Scanned::Personal(qr, Step::Complete) => {
                let voucher = desk::voucher_of(&qr).ok_or(Reason::PresentationMalformed)?;
                return Ok(Came::Gone(see_other(&format!("/desk/hospital/visits/{voucher}?done=scan-again")).finish()));
            }
            Scanned::Personal(qr, Step::Arrive) => shown.personal = Some(qr),
            Scanned::Personal(..) => return Err(Reason::PresentationOtherStep.into()),
            Scanned::Voucher(qr, _) => shown.voucher_qr = Some(qr),
            Scanned::Card(card) => shown.card = Some(card),
            Scanned::Number(_) => return Err(Reason::QrNotGenuine.into()),
        }
    }
    let ask = |label: &str| Scan::new(frame, "/desk/hospital", label);
    let came_ahead = async |qr: &str| {
        let voucher = desk::voucher_of(qr)?;
        answer::read(node, |work| lists::one(work, voucher)).await.filter(|row| row.presented)
    };
    match shown {
        Shown { personal: Some(qr), voucher_qr, .. } => {
            if voucher_qr.is_none() && came_ahead(&qr).await.is_none() {
                let scan = ask("scan-voucher").with([("personal_qr", Some(qr))]);
                return Ok(Came::Asks(Box::new(Found { scan: Some(scan), ..Found::default() })));
            }
            arrive(node, post, Some(qr), None, voucher_qr, None).await
        }
        Shown { card: Some(card), voucher_qr: Some(voucher_qr), .. } => {
            if !fields.is_ticked("document_checked") {
                let compare = Some(Compare { card, voucher_qr });
                return Ok(Came::Asks(Box::new(Found { compare, ..Found::default() })));
            }
            arrive(node, post, None, Some(card), Some(voucher_qr), Some(true)).await
        }
        Shown { card: Some(card), .. } => {
            let scan = ask("scan-voucher").with([("card", Some(card))]);
            Ok(Came::Asks(Box::new(Found { scan: Some(scan), ..Found::default() })))
        }
        Shown { voucher_qr: Some(qr), .. } => {
            let post = post.in_words(|_| Ok(Look { voucher_qr: Some(qr.clone()), voucher: None }))?;
            let verdict = checked(node, frame, post).await?;
            let scan = verdict.is_good.then(|| ask("scan-personal").with([("voucher_qr", Some(qr))]));
            Ok(Came::Asks(Box::new(Found { verdict: Some(verdict), scan, ..Found::default() })))
        }
        Shown { .. } => Err(Problem::malformed("nothing was scanned")),
    }
}

/// The voucher's four states, in words.
async fn checked(node: &Node, frame: &Frame, post: Post<Look>) -> Result<Verdict, Problem> {
    let receipt = visits::checked(node, post).await?;
    let Some(Said { hospital: Answer::Checked { states, outcome, .. } }) = receipt.result else {
        return Err(Problem::new(Reason::Busy));
    };
    if outcome == CheckOutcome::Good {
        return Ok(Verdict::yes(frame.t("check-good"), frame.t("check-good-what")));
    }
    // The first of the four that is not as it must be says why.
    let reason = match states {
        domain::record::FourStates { redeemed: true, .. } => Reason::AlreadyRedeemed,
        domain::record::FourStates { examined: true, .. } => Reason::AlreadyUsed,
        domain::record::FourStates { valid: false, .. } => Reason::Expired,
        domain::record::FourStates { booked: false, .. } => Reason::NotBooked,
        _ => return Ok(Verdict::no(frame, "check-bad", &Problem::new(Reason::TooEarly))),
    };
    Ok(Verdict::no(frame, "check-bad", &Problem::new(reason)))
}

async fn arrive(
    node: &Node,
    post: Post<Fields>,
    personal_qr: Option<String>,
    card: Option<String>,
    voucher_qr: Option<String>,
    document_checked: Option<bool>,
) -> Result<Came, Problem> {
    let post = post.in_words(|fields| {
        let assist_reason = if card.is_some() { fields.word("assist_reason")? } else { None };
        Ok(Arriving { personal_qr, card, document_checked, assist_reason, voucher_qr, voucher: None })
    })?;
    let receipt = visits::arrived(node, post).await?;
    let voucher = receipt.voucher.ok_or(Reason::Internal)?;
    Ok(Came::Gone(see_other(&format!("/desk/hospital/visits/{voucher}?done=arrived")).finish()))
}

fn voucher(text: &str) -> Result<VoucherId, Problem> {
    text.parse().map_err(|_| Reason::NotFound.into())
}

/// A no to one of the list's buttons, above the list.
async fn not_done(node: &Node, frame: &Frame, caller: &Caller, problem: Problem) -> Result<HttpResponse, Problem> {
    let found = Found { verdict: Some(Verdict::no(frame, "hospital-not-done", &problem)), ..Found::default() };
    desk_page(node, frame, caller, None, found, problem.status_code()).await
}

async fn no_show(
    node: Data<Node>,
    request: HttpRequest,
    id: Path<String>,
    Form(post): Form<Fields>,
) -> Result<HttpResponse, Problem> {
    let frame = Frame::new(&node, &request, &post.caller);
    let caller = post.caller.clone();
    let done = async { bookings::absent(&node, voucher(&id)?, post.in_words(|_| Ok(Empty {}))?).await };
    match done.await {
        Ok(_) => Ok(see_other("/desk/hospital?done=no-show").finish()),
        Err(problem) => not_done(&node, &frame, &caller, problem).await,
    }
}

async fn release(
    node: Data<Node>,
    request: HttpRequest,
    id: Path<String>,
    Form(post): Form<Fields>,
) -> Result<HttpResponse, Problem> {
    let frame = Frame::new(&node, &request, &post.caller);
    let caller = post.caller.clone();
    let words = |fields: Fields| Ok(Release { reason: fields.word("reason")?.unwrap_or(ReleaseReason::Unable) });
    let done = async { bookings::released(&node, voucher(&id)?, post.in_words(words)?).await };
    match done.await {
        Ok(_) => Ok(see_other("/desk/hospital?done=released").finish()),
        Err(problem) => not_done(&node, &frame, &caller, problem).await,
    }
}
