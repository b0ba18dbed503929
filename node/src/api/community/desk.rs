//! The community's desk: who is there (C1), issuing (C5), help for people without a phone.

use actix_web::web::Data;
use actix_web::{HttpResponse, post};
use actors::community::Community;
use actors::community::command::{Answer, Assist, Command, Issued, Known};
use actors::community::desk;
use actors::replica::Work;
use actors::token::vc1::Card;
use actors::voucher::letters::ErasureLetter;
use domain::ids::{Operator, ShortName, VoucherId};
use domain::reasons::Reason;
use domain::record::{AssistReason, HelpStep};
use domain::time::Timestamp;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use super::residents::WhoseDocument;
use super::{clerk, received, send};
use crate::api::answer::{self, Nothing, Post, Receipt};
use crate::api::caller::Caller;
use crate::api::looked::{self, Shown};
use crate::api::problem::{Problem, ProblemBody};
use crate::api::wallet::{Wanted, slot_of};
use crate::node::Node;

pub(super) fn configure(config: &mut ServiceConfig<'_>) {
    config.service(identify).service(by_document).service(issue).service(help).service(erase);
}

/// A personal QR.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ShownQr {
    /// Text of the VP1 with step *identify*.
    qr: String,
}

/// Who shows this personal QR, and what they may have. Nothing is written.
///
/// `200` with masked name and programmes; `404` for somebody of another community; `409` `presentation-stale`,
/// `presentation-forged`, `presentation-other-step`.
#[utoipa::path(tag = "community", request_body = ShownQr, responses(
    (status = 200, body = Object), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody),
))]
#[post("/v1/community/desk/identify")]
async fn identify(node: Data<Node>, post: Post<ShownQr>) -> Result<HttpResponse, Problem> {
    let known = identified(&node, &post.caller, &post.body.qr).await;
    Ok(HttpResponse::Ok().json(known.map_err(|problem| problem.language(post.language))?))
}

/// Who shows this personal QR; the look is on record.
///
/// # Errors
///
/// What is wrong with the QR; [`Reason::HolderUnknown`].
pub async fn identified(node: &Node, caller: &Caller, qr: &str) -> Result<Known, Problem> {
    looked_at(node, caller, |work, now| desk::identify(work, qr, now)).await
}

/// Who has this document; the look is on record.
///
/// # Errors
///
/// [`Reason::HolderUnknown`].
pub async fn person_of(node: &Node, caller: &Caller, document: &WhoseDocument) -> Result<Known, Problem> {
    let WhoseDocument { document_type, document_number } = document;
    looked_at(node, caller, |work, now| desk::by_document(work, document_type, document_number, now)).await
}

/// Somebody whom a desk has confirmed by other means, such as a card; the look is on record.
///
/// # Errors
///
/// What the reading says.
pub async fn known_by(
    node: &Node,
    caller: &Caller,
    reading: impl FnOnce(&Work<'_>, Timestamp) -> Result<Known, Reason>,
) -> Result<Known, Problem> {
    looked_at(node, caller, reading).await
}

async fn looked_at(
    node: &Node,
    caller: &Caller,
    reading: impl FnOnce(&Work<'_>, Timestamp) -> Result<Known, Reason>,
) -> Result<Known, Problem> {
    node.role::<Community>()?;
    let operator = caller.must_be_operator()?;
    let now = node.writer.now();
    let known = answer::read(node, |work| reading(work, now)).await;
    looked::note(operator, "person", known.as_ref().ok().map(|k| k.holder), Shown::Masked, known.is_ok());
    Ok(known?)
}

/// Who has this document, and what they may have: for somebody whose phone or card is lost. Nothing is written.
///
/// A POST, so that no address carries the number of a document. `200` with masked name and programmes; `404`
/// `holder-unknown` if nobody of this community is registered with it.
#[utoipa::path(tag = "community", request_body = WhoseDocument, responses(
    (status = 200, body = Object), (status = 404, body = ProblemBody),
))]
#[post("/v1/community/desk/person")]
async fn by_document(node: Data<Node>, post: Post<WhoseDocument>) -> Result<HttpResponse, Problem> {
    let known = person_of(&node, &post.caller, &post.body).await;
    Ok(HttpResponse::Ok().json(known.map_err(|problem| problem.language(post.language))?))
}

/// To whom a voucher is issued: a phone's code, or card and document.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Issue {
    /// Text of the VP1 with step *receive*.
    pub qr: Option<String>,
    /// Text of the VC1.
    pub card: Option<String>,
    /// With a card: of which programme.
    #[schema(value_type = Option<String>)]
    pub programme: Option<ShortName>,
    /// With a card: the number of the document that the clerk sees.
    pub document_number: Option<String>,
    /// With a card: `no-phone`, `phone-broken` or `needs-help`.
    #[schema(value_type = Option<String>)]
    pub assist_reason: Option<AssistReason>,
}

/// A voucher as its holder takes it away.
#[derive(ToSchema)]
#[allow(dead_code)] // the shape of an answer, for the documentation
struct IssuedVoucher {
    /// `issuer.uuid`.
    voucher: String,
    /// Text of the VQ1.
    token: String,
    /// First moment after its validity.
    valid_until: String,
}

/// Issue a voucher to whoever signed: by phone, or by card with the document in hand.
///
/// `201` with the voucher QR's text; `409` `allowance-used`, `no-stock`, `not-entitled`, `enrolment-blocked`,
/// `enrolment-elsewhere`, `presentation-…`, `card-not-allowed`, `card-unknown`; `404` `holder-unknown`; `503` `waiting` while
/// the registrar's record is on its way.
#[utoipa::path(tag = "community", request_body = Issue, responses(
    (status = 201, body = Receipt<IssuedVoucher>), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody),
    (status = 503, body = ProblemBody),
))]
#[post("/v1/community/desk/issue")]
async fn issue(node: Data<Node>, post: Post<Issue>) -> Result<HttpResponse, Problem> {
    Ok(answer::told(issued(&node, &post).await?))
}

/// Issues a voucher; the receipt, for REST and pages.
///
/// # Errors
///
/// As the route.
pub async fn issued(node: &Node, post: &Post<Issue>) -> Result<Receipt<Issued>, Problem> {
    received(node, post, async {
        let helper = clerk(node, post)?;
        if let Some(again) = answer::again::<_, Issued>(node, post).await? {
            return Ok(again);
        }
        let body = &post.body;
        let command = match (&body.qr, &body.card, &body.programme, &body.document_number, body.assist_reason) {
            (Some(qr), None, None, None, None) => Command::Issue { qr: qr.clone() },
            (None, Some(card), Some(programme), Some(document_number), Some(reason)) => Command::IssueByCard {
                assist: assist(card, helper, reason)?,
                programme: programme.clone(),
                document_number: document_number.clone(),
            },
            _ => {
                let what = "either qr, or card with programme, document_number and assist_reason";
                return Err(Problem::malformed(what));
            }
        };
        let done = send(node, post, command).await?;
        let Answer::Issued(issued) = done.answer else { return Err(Reason::Internal.into()) };
        Ok(answer::receipt(node, &done.records, Some(issued)))
    })
    .await
}

fn assist(card: &str, helper: Operator, reason: AssistReason) -> Result<Assist, Problem> {
    let card = Card::parse(card.trim()).map_err(|error| Problem::new(Reason::QrNotGenuine).detail(error))?;
    Ok(Assist { card, helper, reason, cti: rand::random() })
}

/// What a clerk asks the voucher module for.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Help {
    /// Text of the VC1.
    pub card: String,
    /// `issuer.uuid`.
    #[schema(value_type = String)]
    pub voucher: VoucherId,
    /// `book` or `cancel`.
    #[schema(value_type = String)]
    pub step: HelpStep,
    /// To book: the appointment.
    pub slot: Option<Wanted>,
    /// `no-phone`, `phone-broken` or `needs-help`.
    #[schema(value_type = String)]
    pub assist_reason: AssistReason,
}

/// Ask the voucher module to book or cancel for the holder of a card. The card's signature stands in the record.
///
/// `201`; the booking follows by itself; `409` `card-unknown`, `card-not-allowed`, `enrolment-elsewhere`, `slot-unknown`;
/// `404` for a voucher that is not known here.
#[utoipa::path(tag = "community", request_body = Help, responses(
    (status = 201, body = Receipt<Nothing>), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody),
))]
#[post("/v1/community/desk/help")]
async fn help(node: Data<Node>, post: Post<Help>) -> Result<HttpResponse, Problem> {
    Ok(answer::told(helped(&node, &post).await?))
}

/// Asks for the holder of a card; the receipt, for REST and pages.
///
/// # Errors
///
/// As the route.
pub async fn helped(node: &Node, post: &Post<Help>) -> Result<Receipt<Nothing>, Problem> {
    received(node, post, async {
        let helper = clerk(node, post)?;
        if let Some(again) = answer::again::<_, Nothing>(node, post).await? {
            return Ok(again);
        }
        let Help { card, voucher, step, slot, assist_reason } = &post.body;
        let assist = assist(card, helper, *assist_reason)?;
        let slot = match slot {
            Some(wanted) => Some(slot_of(node, wanted).await?),
            None => None,
        };
        let command = Command::Help { assist, voucher: *voucher, step: *step, slot, salt: rand::random() };
        let done = send(node, post, command).await?;
        node.wake();
        Ok(answer::receipt(node, &done.records, Some(Nothing {})))
    })
    .await
}

/// Erase what this node keeps about somebody who asked for it, at the desk or through the voucher module. The registrar
/// blocks them for good and keeps a keyed digest of the document; the voucher module erases what it keeps.
///
/// `201`; `404` `holder-unknown`; `403` for a node that does not look after their vouchers.
#[utoipa::path(tag = "community", request_body = Object, responses(
    (status = 201, body = Receipt<Nothing>), (status = 404, body = ProblemBody), (status = 403, body = ProblemBody),
))]
#[post("/v1/community/erasures")]
async fn erase(node: Data<Node>, post: Post<ErasureLetter>) -> Result<HttpResponse, Problem> {
    Ok(answer::told(erased(&node, &post).await?))
}

/// Erases somebody; the receipt, for REST and pages.
///
/// # Errors
///
/// As the route.
pub async fn erased(node: &Node, post: &Post<ErasureLetter>) -> Result<Receipt<Nothing>, Problem> {
    received(node, post, async {
        let from = match &post.caller {
            Caller::Peer(module) => Some(*module),
            _ => clerk(node, post).map(|_| None)?,
        };
        if let Some(again) = answer::again::<_, Nothing>(node, post).await? {
            return Ok(again);
        }
        let done = send(node, post, Command::Erase { from, holder: post.body.holder }).await?;
        node.wake();
        Ok(answer::receipt(node, &done.records, Some(Nothing {})))
    })
    .await
}
