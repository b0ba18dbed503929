//! `/issuer/claims`: what hospitals claim, and what an officer decides.

use actix_web::web::{Data, Path, Query};
use actix_web::{HttpRequest, HttpResponse, ResponseError as _};
use actors::issuer::{Answer, ClaimOutcome};
use askama::Template;
use domain::causes::ClaimReason;
use domain::lifecycle::Stage;
use domain::member::Role;
use serde::Deserialize;

use super::{Nav, around};
use crate::accounts::permission::Permission as P;
use crate::api::access::Access::Operator;
use crate::api::answer::{Get, Post, Receipt};
use crate::api::caller::Caller;
use crate::api::issuer::claims::{self, ClaimRow, Empty, Rejection, Which};
use crate::api::problem::Problem;
use crate::node::Node;
use crate::pages;
use crate::pages::answer::{see_other, show_as};
use crate::pages::form::Form;
use crate::pages::frame::Frame;
use crate::pages::problem::Notice;
use crate::pages::words::{self, Known, or_dash};

pages! {
    GET "/issuer/claims", Operator(P::ReadClaims), Some(Role::Issuer), Some("issuer-claims") => list;
    POST "/issuer/claims/{voucher}/settlement", Operator(P::DecideClaims), Some(Role::Issuer), None => settle;
    POST "/issuer/claims/{voucher}/rejection", Operator(P::DecideClaims), Some(Role::Issuer), None => reject;
}

/// Claims on a page: more are not looked at in one go.
const ON_PAGE: usize = 20;

/// What an officer may give as a reason.
const REASONS: [ClaimReason; 8] = [
    ClaimReason::Unfounded,
    ClaimReason::OpeningMissing,
    ClaimReason::OpeningDiffers,
    ClaimReason::DepartmentNotAllowed,
    ClaimReason::PerformerElsewhere,
    ClaimReason::TimesDiffer,
    ClaimReason::ItemNotDone,
    ClaimReason::Disputed,
];

/// What becomes of claims, as the page says it afterwards.
const OUTCOMES: [&str; 5] = ["redeemed", "rejected", "waiting", "for-operator", "answered"];

/// A claim as the page shows it.
struct Shown {
    voucher: String,
    hospital: String,
    claimed_at: String,
    claims: u8,
    rejected: Option<String>,
    disputed: bool,
    void_requested: bool,
    opened: Option<Opened>,
}

/// What the hospital opened of it.
struct Opened {
    department: String,
    performer: String,
    from: String,
    until: String,
    done: usize,
    ordered: usize,
}

/// Claims.
#[derive(Template)]
#[template(path = "issuer/claims.html")]
struct Claims {
    frame: Frame,
    nav: Nav,
    notice: Option<Notice>,
    known: Known,
    done: Option<String>,
    is_rejected: bool,
    may_decide: bool,
    claims: Vec<Shown>,
    reasons: Vec<(String, String)>,
    next: Option<String>,
}

/// Which ones, and what was just done.
#[derive(Debug, Default, Deserialize)]
struct Asked {
    stage: Option<String>,
    cursor: Option<String>,
    done: Option<String>,
}

fn shown(node: &Node, frame: &Frame, row: ClaimRow) -> Shown {
    let opened = row.openings.map(|openings| {
        let evidence = openings.evidence;
        Opened {
            department: evidence.department.to_string(),
            performer: evidence.examination.performer.to_string(),
            from: words::when(node, evidence.examination.started_at),
            until: words::when(node, evidence.examination.ended_at),
            done: evidence.examination.items.iter().filter(|item| item.done).count(),
            ordered: evidence.examination.items.len(),
        }
    });
    Shown {
        voucher: row.voucher.to_string(),
        hospital: or_dash(row.hospital),
        claimed_at: or_dash(row.claimed_at.map(|at| words::when(node, at))),
        claims: row.claims,
        rejected: row.rejected.map(|reason| words::word(frame, "claim-reason", &reason)),
        disputed: row.disputed,
        void_requested: row.void_requested,
        opened,
    }
}

/// The list, with what is wrong where something was refused.
async fn page(
    node: &Data<Node>,
    request: &HttpRequest,
    get: Get,
    asked: Asked,
    refused: Option<Problem>,
) -> Result<HttpResponse, Problem> {
    let is_rejected = asked.stage.as_deref() == Some("rejected");
    let stage = Some(if is_rejected { Stage::Rejected } else { Stage::Claimed });
    let which = Which { stage, limit: Some(ON_PAGE), cursor: asked.cursor };
    let listed = claims::listed(node, &get, which).await?;
    let (frame, nav) = around(node, request, &get.caller);
    let status = refused.as_ref().map_or(actix_web::http::StatusCode::OK, |problem| problem.status_code());
    let page = Claims {
        notice: refused.map(|problem| Notice::of(&problem, &frame)),
        known: words::known(node).await,
        done: asked.done.filter(|done| OUTCOMES.contains(&&**done)).map(|done| frame.t(&format!("claim-came-{done}"))),
        is_rejected,
        may_decide: get.caller.acting().is_ok_and(|acting| acting.may(P::DecideClaims).is_ok()),
        claims: listed.items.into_iter().map(|row| shown(node, &frame, row)).collect(),
        reasons: REASONS.map(|reason| (words::code(&reason), words::word(&frame, "claim-reason", &reason))).to_vec(),
        next: listed.next,
        nav,
        frame,
    };
    show_as(&page, status)
}

async fn list(node: Data<Node>, request: HttpRequest, asked: Query<Asked>, get: Get) -> Result<HttpResponse, Problem> {
    page(&node, &request, get, asked.into_inner(), None).await
}

/// On to the list, with what came of it; or the list with what was wrong.
async fn after(
    node: &Data<Node>,
    request: &HttpRequest,
    caller: Caller,
    came: Result<Receipt<Answer>, Problem>,
    otherwise: &str,
) -> Result<HttpResponse, Problem> {
    match came {
        Ok(receipt) => {
            let outcome = match receipt.result {
                Some(Answer::Claim(ClaimOutcome::Redeemed)) => "redeemed",
                Some(Answer::Claim(ClaimOutcome::Rejected(_))) => "rejected",
                Some(Answer::Claim(ClaimOutcome::Waiting)) => "waiting",
                Some(Answer::Claim(ClaimOutcome::ForOperator)) => "for-operator",
                Some(Answer::Claim(ClaimOutcome::Answered)) => "answered",
                _ => otherwise,
            };
            Ok(see_other(&format!("/issuer/claims?done={outcome}")).finish())
        }
        // Who may decide and not read is told on a page of its own.
        Err(problem) if !caller.acting().is_ok_and(|acting| acting.may(P::ReadClaims).is_ok()) => Err(problem),
        Err(problem) => {
            let get = Get { caller, is_here: false, language: problem.language };
            page(node, request, get, Asked::default(), Some(problem)).await
        }
    }
}

/// A form with nothing in it but what is hidden.
#[derive(Debug, Deserialize)]
struct Settlement {}

async fn settle(
    node: Data<Node>,
    request: HttpRequest,
    voucher: Path<String>,
    Form(post): Form<Settlement>,
) -> Result<HttpResponse, Problem> {
    let caller = post.caller.clone();
    let post: Post<Empty> = post.in_words(|Settlement {}| Ok(Empty {}))?;
    let came = claims::settled(&node, &voucher, post).await;
    after(&node, &request, caller, came, "redeemed").await
}

/// Why a claim is rejected.
#[derive(Debug, Deserialize)]
struct Reasons {
    reason: ClaimReason,
    is_final: Option<String>,
}

async fn reject(
    node: Data<Node>,
    request: HttpRequest,
    voucher: Path<String>,
    Form(post): Form<Reasons>,
) -> Result<HttpResponse, Problem> {
    let caller = post.caller.clone();
    let post = post.in_words(|Reasons { reason, is_final }| Ok(Rejection { reason, is_final: is_final.is_some() }))?;
    let came = claims::rejected(&node, &voucher, post).await;
    after(&node, &request, caller, came, "rejected").await
}
