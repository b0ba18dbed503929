//! Visits: the holder arrives, is examined, leaves; and what becomes of the claim.

use actix_web::web::{Data, Path, Query};
use actix_web::{HttpResponse, get, post};
use actors::hospital::{Arrival, Command, Completion, Hospital, Personal, desk, lists};
use actors::role::Ask;
use actors::writer::Act;
use domain::booking::{Examination, Item};
use domain::ids::{Operator, ShortName, VoucherId};
use domain::lifecycle::{AbortReason, Stage};
use domain::reasons::{Kind, Reason};
use domain::record::AssistReason;
use domain::time::Timestamp;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use super::bookings::Booking;
use super::{Empty, Said, by_operator, operator_reads, voucher_id};
use crate::api::answer::{self, Get, Listed, Page, Post, Receipt};
use crate::api::problem::{Problem, ProblemBody};
use crate::node::Node;

/// Most ordered items of one examination in a request.
const MAX_ITEMS: usize = domain::booking::MAX_ITEMS;

pub(super) fn configure(config: &mut ServiceConfig<'_>) {
    config
        .service(arrive)
        .service(check)
        .service(visits)
        .service(complete)
        .service(abort)
        .service(claims)
        .service(answer_rejection);
}

/// Who is at the desk: the phone's QR, or the printed card.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Arriving {
    /// The text of the phone's personal QR, step *arrive*.
    pub personal_qr: Option<String>,
    /// The text of the printed card. It is a secret: nothing keeps it.
    pub card: Option<String>,
    /// The clerk compared the holder with the identity document: needed with a card.
    pub document_checked: Option<bool>,
    /// `no-phone`, `phone-broken` or `needs-help`: needed with a card.
    #[schema(value_type = Option<String>)]
    pub assist_reason: Option<AssistReason>,
    /// The text of the voucher's QR; not needed if the holder sent it ahead.
    pub voucher_qr: Option<String>,
    /// `issuer.uuid`: needed with a card and without the voucher's QR.
    #[schema(value_type = Option<String>)]
    pub voucher: Option<VoucherId>,
}

/// What the holder shows, from the two ways in which a request can say it.
fn personal(
    phone: Option<String>,
    card: Option<String>,
    reason: Option<AssistReason>,
    helper: Operator,
) -> Result<Personal, Problem> {
    match (phone, card, reason) {
        (Some(text), None, None) => Ok(Personal::Phone(text)),
        (None, Some(text), Some(reason)) => Ok(Personal::card(text, rand::random(), helper, reason)),
        (None, Some(_), None) => Err(Problem::malformed("with a card, assist_reason says why")),
        _ => Err(Problem::malformed("either personal_qr, or card with assist_reason")),
    }
}

/// Let a holder in: checks the personal QR and the voucher's QR, and that the voucher is booked here, now.
///
/// `201` with when the examination must be complete. `409` says which rule refuses: `presentation-malformed`,
/// `presentation-other-step`, `presentation-elsewhere`, `presentation-stale` (and by how much the phone's clock is off),
/// `presentation-forged`, `presentation-replayed`, `presentation-other-voucher`, `qr-not-genuine`, `superseded` (a voucher QR
/// that is not current), `not-booked`, `booked-elsewhere`, `too-early`, `too-late`, `already-used`, `already-redeemed`,
/// `voided`, `void-requested`, `expired`, `card-unknown`, `card-not-allowed`, `enrolment-blocked`. `422` `qr-unreadable`: no
/// voucher QR was shown or sent ahead. A refused check of a known voucher is written down.
#[utoipa::path(tag = "hospital", request_body = Arriving, responses(
    (status = 201, body = Receipt<Said>), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody),
    (status = 422, body = ProblemBody),
))]
#[post("/v1/hospital/visits")]
async fn arrive(node: Data<Node>, post: Post<Arriving>) -> Result<HttpResponse, Problem> {
    arrived(&node, post).await.map(answer::told)
}

/// Lets a holder in, for REST and pages. A refused check of a known voucher is written down.
///
/// # Errors
///
/// As the route.
pub async fn arrived(node: &Node, post: Post<Arriving>) -> Result<Receipt<Said>, Problem> {
    let language = post.language;
    let operator = post.caller.must_be_operator().map_err(|problem| problem.language(language))?;
    let body = &post.body;
    let by_phone = body.personal_qr.as_deref();
    let by_qr = body.voucher_qr.as_deref().and_then(|qr| desk::named_by(qr).ok());
    let about = by_phone.and_then(desk::voucher_of).or(by_qr).or(body.voucher);
    let age = by_phone.and_then(|text| desk::age(text, node.writer.now()));
    let answered = by_operator(node, post, |body| {
        let Arriving { personal_qr, card, document_checked, assist_reason, voucher_qr, voucher } = body;
        if card.is_some() && document_checked != Some(true) {
            return Err(Problem::malformed("with a card, the clerk checks the document: document_checked"));
        }
        let personal = personal(personal_qr, card, assist_reason, operator)?;
        Ok(Command::Arrive(Arrival { personal, voucher_qr, voucher }))
    });
    match answered.await {
        Err(problem) if problem.reason.kind() == Kind::Rule => {
            if let Some(voucher) = about {
                write_refused(node, operator, voucher).await;
            }
            Err(stale(problem, age))
        }
        answered => answered,
    }
}

/// A stale QR is refused with how far the phone's clock is off.
fn stale(problem: Problem, age: Option<domain::time::Millis>) -> Problem {
    match age {
        Some(age) if problem.reason == Reason::PresentationStale => {
            problem.detail(format!("the QR was signed {} s before this desk's time", age.0 / 1_000))
        }
        _ => problem,
    }
}

/// What a desk refused reaches every peer too, once a minute. If it cannot be written now, the answer stays the same.
async fn write_refused(node: &Node, operator: Operator, voucher: VoucherId) {
    let Ok(role) = node.role::<Hospital>() else { return };
    let act = Act { operator: Some(operator), idempotency: None };
    let written = role.send(Ask::<Hospital> { act, command: Command::Check { voucher, refused: true } }).await;
    if !matches!(written, Ok(Ok(_))) {
        tracing::debug!(%voucher, "a refused check could not be written");
    }
}

/// A voucher to look at.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Look {
    /// The text of its QR.
    pub voucher_qr: Option<String>,
    /// `issuer.uuid`.
    #[schema(value_type = Option<String>)]
    pub voucher: Option<VoucherId>,
}

/// Look whether a voucher can be used here and now: its four states. Written down, good or refused, once a minute.
///
/// `201`; `404` for a voucher that is not known here; `409` `qr-not-genuine`.
#[utoipa::path(tag = "hospital", request_body = Look, responses(
    (status = 201, body = Receipt<Said>), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody),
))]
#[post("/v1/hospital/checks")]
async fn check(node: Data<Node>, post: Post<Look>) -> Result<HttpResponse, Problem> {
    checked(&node, post).await.map(answer::told)
}

/// Looks at a voucher's four states, for REST and pages.
///
/// # Errors
///
/// As the route.
pub async fn checked(node: &Node, post: Post<Look>) -> Result<Receipt<Said>, Problem> {
    let genuine = |text: &str| node.writer.read(|work| desk::is_current(work, text)).answer;
    by_operator(node, post, |Look { voucher_qr, voucher }| match (voucher_qr, voucher) {
        (Some(text), None) => Ok(Command::Check { voucher: desk::named_by(&text)?, refused: !genuine(&text)? }),
        (None, Some(voucher)) => Ok(Command::Check { voucher, refused: false }),
        _ => Err(Problem::malformed("either voucher_qr or voucher")),
    })
    .await
}

/// Who is in.
#[utoipa::path(tag = "hospital", params(Page), responses((status = 200, body = Listed<Booking>)))]
#[get("/v1/hospital/visits")]
async fn visits(node: Data<Node>, get: Get, page: Query<Page>) -> Result<HttpResponse, Problem> {
    at_stages(&node, &page, &get, &[Stage::InUse]).await
}

async fn at_stages(node: &Node, page: &Page, get: &Get, stages: &[Stage]) -> Result<HttpResponse, Problem> {
    operator_reads(node, get)?;
    let limit = page.limit()?;
    // A cursor is the place of a stage in the list, and a voucher.
    let read = |text: &str| -> Option<(Stage, VoucherId)> {
        let (stage, voucher) = text.split_once('.')?;
        Some((*stages.get(stage.parse::<usize>().ok()?)?, voucher.parse().ok()?))
    };
    let invalid = || Problem::new(Reason::CursorInvalid).language(get.language);
    let after = page.cursor.as_deref().map(|text| read(text).ok_or_else(invalid)).transpose()?;
    let items = standing_at(node, stages, after, limit + 1).await;
    let cursor = |row: &Booking| {
        let place = stages.iter().position(|stage| *stage == row.stage).unwrap_or_default();
        format!("{place}.{}", row.voucher)
    };
    Ok(HttpResponse::Ok().json(Listed::new(items, limit, cursor)))
}

/// Vouchers of this hospital at these stages, stage by stage, for REST and pages.
pub async fn standing_at(
    node: &Node,
    stages: &[Stage],
    after: Option<(Stage, VoucherId)>,
    limit: usize,
) -> Vec<Booking> {
    let rows = answer::read(node, |work| lists::at_stages(work, stages, after, limit)).await;
    rows.into_iter().map(Into::into).collect()
}

/// The stages of what became of completed examinations, what needs somebody first.
pub const CLAIMS: [Stage; 4] = [Stage::Rejected, Stage::Examined, Stage::Claimed, Stage::Redeemed];

/// One ordered item.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Ordered {
    /// Its code in the hospital's catalogue, 1 to 40 characters of a-z, 0-9, `-`.
    #[schema(value_type = String)]
    pub code: ShortName,
    /// Whether it is done.
    pub done: bool,
    /// The result in the hospital's words, kept apart from the ledger.
    pub result: Option<String>,
}

/// What was done.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Done {
    /// Who performed it: a doctor of the booked department.
    #[schema(value_type = String)]
    pub performer: ShortName,
    /// When it began.
    #[schema(value_type = String)]
    pub started_at: Timestamp,
    /// When it ended.
    #[schema(value_type = String)]
    pub ended_at: Timestamp,
    /// What was ordered, 1 to 50 items; the results have 16 KiB together at most.
    pub items: Vec<Ordered>,
}

/// An examination that is complete, with the holder's word.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Completing {
    /// The text of the phone's personal QR, step *complete*.
    pub personal_qr: Option<String>,
    /// The text of the printed card.
    pub card: Option<String>,
    /// Needed with a card.
    #[schema(value_type = Option<String>)]
    pub assist_reason: Option<AssistReason>,
    /// What was done.
    pub examination: Done,
}

/// Confirm that the examination is complete. The claim follows by itself, and the result goes to the holder.
///
/// `201`; `409` says what is missing: `performer-elsewhere`, `started-before-arrival`, `ended-before-start`, `ends-in-future`,
/// `item-not-done`, `evidence-missing`, `completion-too-late`, `wrong-state` (nobody is in), `already-used`, and every reason of
/// a presentation.
#[utoipa::path(tag = "hospital", params(("voucher" = String, Path)), request_body = Completing, responses(
    (status = 201, body = Receipt<Said>), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody),
))]
#[post("/v1/hospital/visits/{voucher}/completion")]
async fn complete(node: Data<Node>, voucher: Path<String>, post: Post<Completing>) -> Result<HttpResponse, Problem> {
    let voucher = voucher_id(&voucher, post.language)?;
    completed(&node, voucher, post).await.map(answer::told)
}

/// Confirms that an examination is complete, for REST and pages.
///
/// # Errors
///
/// As the route.
pub async fn completed(node: &Node, voucher: VoucherId, post: Post<Completing>) -> Result<Receipt<Said>, Problem> {
    let language = post.language;
    let operator = post.caller.must_be_operator().map_err(|problem| problem.language(language))?;
    let age = post.body.personal_qr.as_deref().and_then(|text| desk::age(text, node.writer.now()));
    let completed = by_operator(node, post, |Completing { personal_qr, card, assist_reason, examination }| {
        let Done { performer, started_at, ended_at, items } = examination;
        if items.len() > MAX_ITEMS {
            return Err(Problem::malformed(format!("at most {MAX_ITEMS} items")));
        }
        let items = items.into_iter().map(|Ordered { code, done, result }| Item { code, done, result }).collect();
        Ok(Command::Complete(Completion {
            voucher,
            personal: personal(personal_qr, card, assist_reason, operator)?,
            examination: Examination { performer, started_at, ended_at, items },
            salt: rand::random(),
        }))
    });
    let completed = completed.await.map_err(|problem| stale(problem, age))?;
    node.wake();
    Ok(completed)
}

/// Why a use is undone.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Abort {
    /// `desk-error` (the booking stands again), `holder-left` or `unable`.
    #[schema(value_type = String)]
    pub reason: AbortReason,
}

/// Undo a use.
///
/// `201`; `409` `wrong-state`, `booked-elsewhere`.
#[utoipa::path(tag = "hospital", params(("voucher" = String, Path)), request_body = Abort, responses(
    (status = 201, body = Receipt<Said>), (status = 409, body = ProblemBody),
))]
#[post("/v1/hospital/visits/{voucher}/abort")]
async fn abort(node: Data<Node>, voucher: Path<String>, post: Post<Abort>) -> Result<HttpResponse, Problem> {
    let voucher = voucher_id(&voucher, post.language)?;
    undone(&node, voucher, post).await.map(answer::told)
}

/// Undoes a use, for REST and pages.
///
/// # Errors
///
/// As the route.
pub async fn undone(node: &Node, voucher: VoucherId, post: Post<Abort>) -> Result<Receipt<Said>, Problem> {
    by_operator(node, post, |Abort { reason }| Ok(Command::Abort { voucher, reason })).await
}

/// What became of completed examinations: to be claimed, claimed, rejected (with the reason), redeemed.
#[utoipa::path(tag = "hospital", params(Page), responses((status = 200, body = Listed<Booking>)))]
#[get("/v1/hospital/claims")]
async fn claims(node: Data<Node>, get: Get, page: Query<Page>) -> Result<HttpResponse, Problem> {
    at_stages(&node, &page, &get, &CLAIMS).await
}

/// Answer a rejection with another claim. At most three claims, never by itself.
///
/// `201`; `409` `already-redeemed`, `voided`, `wrong-state` if nothing is rejected, `too-many-claims`, `claim-too-late`.
#[utoipa::path(tag = "hospital", params(("voucher" = String, Path)), request_body = Empty, responses(
    (status = 201, body = Receipt<Said>), (status = 409, body = ProblemBody),
))]
#[post("/v1/hospital/claims/{voucher}/answer")]
async fn answer_rejection(node: Data<Node>, voucher: Path<String>, post: Post<Empty>) -> Result<HttpResponse, Problem> {
    let voucher = voucher_id(&voucher, post.language)?;
    rejection_answered(&node, voucher, post).await.map(answer::told)
}

/// Answers a rejection with another claim, for REST and pages.
///
/// # Errors
///
/// As the route.
pub async fn rejection_answered(node: &Node, voucher: VoucherId, post: Post<Empty>) -> Result<Receipt<Said>, Problem> {
    by_operator(node, post, |Empty {}| Ok(Command::AnswerRejection(voucher))).await
}
