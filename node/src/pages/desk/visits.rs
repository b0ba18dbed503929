//! Who is in: the examination and its end; and `/desk/hospital/claims`, what became of it.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Path, Query};
use actix_web::{HttpRequest, HttpResponse, ResponseError as _};
use actors::hospital::{lists, rows};
use askama::Template;
use domain::causes::AbortReason;
use domain::ids::VoucherId;
use domain::lifecycle::{Stage, Step};
use domain::member::Role;
use domain::reasons::Reason;
use domain::time::{Millis, Timestamp};
use serde::Deserialize;

use super::fields::Fields;
use super::hospital::short;
use super::hours::Names;
use super::scan::{self, Scan, Scanned};
use super::shown::{Knowledge, Verdict, When, stage, word};
use crate::accounts::permission::Permission as P;
use crate::api::access::Access::Operator;
use crate::api::answer::{self, Get};
use crate::api::caller::Caller;
use crate::api::hospital::Empty;
use crate::api::hospital::bookings::Booking;
use crate::api::hospital::visits::{self, Abort, CLAIMS, Completing, Done, Ordered};
use crate::api::problem::Problem;
use crate::node::Node;
use crate::pages;
use crate::pages::answer::{see_other, show_as};
use crate::pages::form::Form;
use crate::pages::frame::Frame;
use crate::pages::may;

pages! {
    GET "/desk/hospital/visits", Operator(P::ReadBookings), Some(Role::Hospital), Some("visits") => inside;
    GET "/desk/hospital/visits/{voucher}", Operator(P::ReadBookings), Some(Role::Hospital), None => visit;
    POST "/desk/hospital/visits/{voucher}/completion", Operator(P::CompleteExaminations), Some(Role::Hospital), None => complete;
    POST "/desk/hospital/visits/{voucher}/undo", Operator(P::AdmitHolders), Some(Role::Hospital), None => undo;
    GET "/desk/hospital/claims", Operator(P::ReadBookings), Some(Role::Hospital), Some("claims") => claims;
    POST "/desk/hospital/claims/{voucher}/answer", Operator(P::AnswerClaims), Some(Role::Hospital), None => answer_rejection;
}

/// Items that the form has room for.
const ITEMS: usize = 6;

/// Most lines of a list.
const MAX_LINES: usize = 200;

/// A visit, or a booking that is none yet.
#[derive(Template)]
#[template(path = "desk/visit.html")]
struct VisitPage<'a> {
    frame: &'a Frame,
    knowledge: Knowledge,
    scan: Scan,
    verdict: Option<Verdict>,
    hint: Option<String>,
    short: String,
    voucher: String,
    time: String,
    place: String,
    stage: String,
    is_in: bool,
    complete_by: Option<String>,
    may_complete: bool,
    may_undo: bool,
    performers: Vec<(String, String, bool)>,
    started_at: String,
    ended_at: String,
    items: Vec<ItemLine>,
}

/// A line of the form for what was ordered.
struct ItemLine {
    number: usize,
    code: String,
    done: bool,
    result: String,
}

/// What led here.
#[derive(Deserialize)]
struct Came {
    done: Option<String>,
}

async fn visit(
    node: Data<Node>,
    request: HttpRequest,
    id: Path<String>,
    came: Query<Came>,
    get: Get,
) -> Result<HttpResponse, Problem> {
    let id: VoucherId = id.parse().map_err(|_| Reason::NotFound)?;
    let frame = Frame::new(&node, &request, &get.caller);
    let (verdict, hint) = match came.done.as_deref() {
        Some("arrived") => (Some(Verdict::yes(frame.t("arrived"), frame.t("arrived-what"))), None),
        Some("completed") => (Some(Verdict::yes(frame.t("completed"), frame.t("completed-what"))), None),
        Some("scan-again") => (None, Some(frame.t("complete-scan-again"))),
        _ => (None, None),
    };
    visit_page(&node, &frame, &get.caller, id, &Fields::default(), verdict, hint, StatusCode::OK).await
}

/// What is known of a visit beside the booking: when the holder arrived, and what the voucher is for.
struct About {
    row: Booking,
    arrived: Option<Timestamp>,
    service: String,
    performers: Vec<domain::ids::ShortName>,
}

async fn about(node: &Node, id: VoucherId) -> Option<About> {
    answer::read(node, |work| {
        let row: Booking = lists::one(work, id)?.into();
        let doc = work.voucher(id)?;
        let used = doc.last_on_path(|step| matches!(step, Step::UseConfirmed { .. })).map(|link| link.at);
        let service = work.programme(&doc.state()?.programme)?.newest()?.service.to_string();
        let department = row.slot.as_ref().map(|slot| slot.department.clone());
        let performers = department.map(|department| rows::performers(&work.tx, &department)).unwrap_or_default();
        Some(About { row, arrived: used, service, performers })
    })
    .await
}

#[allow(clippy::too_many_arguments)]
async fn visit_page(
    node: &Node,
    frame: &Frame,
    caller: &Caller,
    id: VoucherId,
    fields: &Fields,
    verdict: Option<Verdict>,
    hint: Option<String>,
    status: StatusCode,
) -> Result<HttpResponse, Problem> {
    let About { row, arrived, service, performers } = about(node, id).await.ok_or(Reason::NotFound)?;
    let (when, names) = (When::new(node, frame), Names::read(node).await);
    let slot = row.slot.as_ref();
    let typed = |name: &str| fields.text(name).map(str::to_owned);
    let doctor = typed("performer").or_else(|| slot.map(|slot| slot.doctor.to_string())).unwrap_or_default();
    let performers = performers.iter().map(|performer| {
        let is_chosen = performer.as_str() == doctor;
        (performer.to_string(), names.doctor(performer), is_chosen)
    });
    // A field says whole seconds, and what was done did not begin before the arrival.
    let began = arrived.map(|at| when.field(at + Millis(999))).unwrap_or_default();
    let is_fresh = fields.text("code-1").is_none();
    let items = (1..=ITEMS).map(|number| ItemLine {
        number,
        code: typed(&format!("code-{number}"))
            .unwrap_or_else(|| if number == 1 { service.clone() } else { String::new() }),
        done: fields.is_ticked(&format!("done-{number}")) || (is_fresh && number == 1),
        result: typed(&format!("result-{number}")).unwrap_or_default(),
    });
    let page = VisitPage {
        knowledge: Knowledge::now(node, frame).await,
        scan: Scan::new(frame, &format!("/desk/hospital/visits/{id}/completion"), "scan-complete"),
        verdict,
        hint,
        short: short(id),
        voucher: id.to_string(),
        time: slot
            .map(|slot| format!("{} {}–{}", when.day(slot.start), when.time(slot.start), when.time(slot.end)))
            .unwrap_or_default(),
        place: slot.map(|slot| names.place(&slot.department, &slot.doctor)).unwrap_or_default(),
        stage: stage(frame, row.stage),
        is_in: row.stage == Stage::InUse,
        complete_by: row.complete_by.map(|by| when.moment(by)),
        may_complete: may(caller, P::CompleteExaminations),
        may_undo: may(caller, P::AdmitHolders),
        performers: performers.collect(),
        started_at: typed("started_at").unwrap_or(began),
        ended_at: typed("ended_at").unwrap_or_default(),
        items: items.collect(),
        frame,
    };
    show_as(&page, status)
}

/// What the form says was done.
fn examination(fields: &Fields, when: &When, now: Timestamp) -> Result<Done, Problem> {
    let mut items = Vec::new();
    for number in 1..=ITEMS {
        if let Some(code) = fields.parsed(&format!("code-{number}"))? {
            let done = fields.is_ticked(&format!("done-{number}"));
            items.push(Ordered { code, done, result: fields.text(&format!("result-{number}")).map(str::to_owned) });
        }
    }
    Ok(Done {
        performer: fields.parsed("performer")?.ok_or_else(|| Problem::malformed("performer is empty"))?,
        started_at: when.read(fields.needed("started_at")?)?,
        // Left empty, it ends now.
        ended_at: fields.text("ended_at").map_or(Ok(now), |field| when.read(field))?,
        items,
    })
}

async fn complete(
    node: Data<Node>,
    request: HttpRequest,
    id: Path<String>,
    Form(post): Form<Fields>,
) -> Result<HttpResponse, Problem> {
    let id: VoucherId = id.parse().map_err(|_| Reason::NotFound)?;
    let frame = Frame::new(&node, &request, &post.caller);
    let answer::Post { caller, idempotency, body: fields, language } = post;
    let (when, now) = (When::new(&node, &frame), node.writer.now());
    let words = || -> Result<Completing, Problem> {
        let (personal_qr, card) = match scan::read(fields.code("scan").unwrap_or_default())? {
            Scanned::Personal(qr, _) => (Some(qr), None),
            Scanned::Card(card) => (None, Some(card)),
            Scanned::Voucher(..) | Scanned::Number(_) => return Err(Reason::PresentationOtherStep.into()),
        };
        let assist_reason = if card.is_some() { fields.word("assist_reason")? } else { None };
        Ok(Completing { personal_qr, card, assist_reason, examination: examination(&fields, &when, now)? })
    };
    let completed = async {
        let post = answer::Post { caller: caller.clone(), idempotency, body: words()?, language };
        visits::completed(&node, id, post).await
    };
    match completed.await {
        Ok(_) => Ok(see_other(&format!("/desk/hospital/visits/{id}?done=completed")).finish()),
        Err(problem) => {
            let no = Some(Verdict::no(&frame, "complete-refused", &problem));
            visit_page(&node, &frame, &caller, id, &fields, no, None, problem.status_code()).await
        }
    }
}

async fn undo(
    node: Data<Node>,
    request: HttpRequest,
    id: Path<String>,
    Form(post): Form<Fields>,
) -> Result<HttpResponse, Problem> {
    let id: VoucherId = id.parse().map_err(|_| Reason::NotFound)?;
    let frame = Frame::new(&node, &request, &post.caller);
    let caller = post.caller.clone();
    let words = |fields: Fields| Ok(Abort { reason: fields.word("reason")?.unwrap_or(AbortReason::DeskError) });
    let undone = async { visits::undone(&node, id, post.in_words(words)?).await };
    match undone.await {
        Ok(_) => Ok(see_other("/desk/hospital?done=undone").finish()),
        Err(problem) => {
            let no = Some(Verdict::no(&frame, "hospital-not-done", &problem));
            visit_page(&node, &frame, &caller, id, &Fields::default(), no, None, problem.status_code()).await
        }
    }
}

/// Until when the hospital must do something about it.
const fn deadline(row: &Booking) -> Option<Timestamp> {
    match row.stage {
        Stage::InUse => row.complete_by,
        Stage::Examined | Stage::Rejected => row.claim_by,
        _ => None,
    }
}

/// A line of a list: who is in, or a claim.
struct Line {
    id: String,
    short: String,
    time: String,
    place: String,
    stage: String,
    until: Option<String>,
    claims: u8,
    rejected: Option<String>,
}

#[derive(Template)]
#[template(path = "desk/claims.html")]
struct ListPage<'a> {
    frame: &'a Frame,
    knowledge: Knowledge,
    is_claims: bool,
    verdict: Option<Verdict>,
    done: bool,
    lines: Vec<Line>,
    may_answer: bool,
}

async fn list(
    node: &Node,
    frame: &Frame,
    caller: &Caller,
    stages: &[Stage],
    verdict: Option<Verdict>,
    done: bool,
) -> Result<HttpResponse, Problem> {
    let (when, names) = (When::new(node, frame), Names::read(node).await);
    let rows = visits::standing_at(node, stages, None, MAX_LINES).await;
    let lines = rows.iter().map(|row| {
        let slot = row.slot.as_ref();
        Line {
            id: row.voucher.to_string(),
            short: short(row.voucher),
            time: slot.map(|slot| when.moment(slot.start)).unwrap_or_default(),
            place: slot.map(|slot| names.place(&slot.department, &slot.doctor)).unwrap_or_default(),
            stage: stage(frame, row.stage),
            until: deadline(row).map(|by| when.moment(by)),
            claims: row.claims,
            rejected: row.rejected.map(|reason| frame.t(&format!("claim-{}", word(&reason)))),
        }
    });
    let is_claims = stages.len() > 1;
    let status = if verdict.is_some() { StatusCode::CONFLICT } else { StatusCode::OK };
    let page = ListPage {
        knowledge: Knowledge::now(node, frame).await,
        is_claims,
        verdict,
        done,
        lines: lines.collect(),
        may_answer: may(caller, P::AnswerClaims),
        frame,
    };
    show_as(&page, status)
}

async fn inside(node: Data<Node>, request: HttpRequest, get: Get) -> Result<HttpResponse, Problem> {
    let frame = Frame::new(&node, &request, &get.caller);
    list(&node, &frame, &get.caller, &[Stage::InUse], None, false).await
}

async fn claims(node: Data<Node>, request: HttpRequest, came: Query<Came>, get: Get) -> Result<HttpResponse, Problem> {
    let frame = Frame::new(&node, &request, &get.caller);
    list(&node, &frame, &get.caller, &CLAIMS, None, came.done.is_some()).await
}

async fn answer_rejection(
    node: Data<Node>,
    request: HttpRequest,
    id: Path<String>,
    Form(post): Form<Fields>,
) -> Result<HttpResponse, Problem> {
    let id: VoucherId = id.parse().map_err(|_| Reason::NotFound)?;
    let frame = Frame::new(&node, &request, &post.caller);
    let caller = post.caller.clone();
    let answered = async { visits::rejection_answered(&node, id, post.in_words(|_: Fields| Ok(Empty {}))?).await };
    match answered.await {
        Ok(_) => Ok(see_other("/desk/hospital/claims?done=answered").finish()),
        Err(problem) => {
            let no = Some(Verdict::no(&frame, "hospital-not-done", &problem));
            list(&node, &frame, &caller, &CLAIMS, no, false).await
        }
    }
}
