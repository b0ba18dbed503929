//! `/issuer/corrections`: what may be done about one voucher that has gone wrong, each offered where it can be.
//!
//! | what | when | by whom |
//! |---|---|---|
//! | reversal | redeemed, within the correction period | two persons |
//! | resolution | a fork, a line or a superseded branch left it open | two persons |
//! | compensation | a hospital's use was superseded though it broke no rule | two persons |
//! | taking back, handing over | its custodian or voucher module is silent or gone | one person |

use actix_web::http::StatusCode;
use actix_web::web::{Data, Query};
use actix_web::{HttpRequest, HttpResponse, ResponseError as _};
use askama::Template;
use domain::ids::VoucherId;
use domain::lifecycle::{ReverseReason, Stage, Step};
use domain::member::Role;
use domain::record::{Note, VoidReason};
use serde::Deserialize;

use super::vouchers::REASONS;
use super::{Nav, after, around};
use crate::accounts::permission::Permission as P;
use crate::api::access::Access::{OneOf, Operator};
use crate::api::answer::{Get, Post, RecordRef};
use crate::api::approvals::Came;
use crate::api::caller::Caller;
use crate::api::issuer::claims::{self, Compensation, Resolution, Reversal};
use crate::api::issuer::vouchers::{self, One};
use crate::api::problem::Problem;
use crate::api::records::{History, HistoryStep, VoucherInside, history_of, voucher_at};
use crate::node::Node;
use crate::pages;
use crate::pages::answer::{see_other, show_as};
use crate::pages::form::Form;
use crate::pages::frame::Frame;
use crate::pages::may;
use crate::pages::problem::Notice;
use crate::pages::records::said;
use crate::pages::words::{self, Known, or_dash};

/// Whoever may correct something.
const OF_CORRECTIONS: &[P] =
    &[P::VoidVouchers, P::RecoverVouchers, P::ReverseRedemptions, P::ResolveVouchers, P::Compensate];

pages! {
    GET "/issuer/corrections", OneOf(OF_CORRECTIONS), Some(Role::Issuer), Some("issuer-corrections") => show;
    POST "/issuer/corrections/reversal", Operator(P::ReverseRedemptions), Some(Role::Issuer), None => reverse;
    POST "/issuer/corrections/resolution", Operator(P::ResolveVouchers), Some(Role::Issuer), None => resolve;
    POST "/issuer/corrections/compensation", Operator(P::Compensate), Some(Role::Issuer), None => compensate;
    POST "/issuer/corrections/reclaim", Operator(P::RecoverVouchers), Some(Role::Issuer), None => reclaim;
    POST "/issuer/corrections/handover", Operator(P::RecoverVouchers), Some(Role::Issuer), None => hand_over;
}

/// Why a redemption is reversed.
const REVERSALS: [ReverseReason; 4] =
    [ReverseReason::Mistake, ReverseReason::Disputed, ReverseReason::Fraud, ReverseReason::CutOff];

/// A record that can be chosen, by its position.
struct Choice {
    position: String,
    what: String,
    at: String,
}

/// A voucher with what can be done about it.
struct Found {
    stage: String,
    custodian: String,
    contested: bool,
    may_void: bool,
    may_reverse: bool,
    may_reclaim: bool,
    may_hand_over: bool,
    branches: Vec<Choice>,
    superseded: Vec<Choice>,
}

impl Found {
    fn has_nothing(&self) -> bool {
        !(self.may_void || self.may_reverse || self.may_reclaim || self.may_hand_over)
            && self.branches.is_empty()
            && self.superseded.is_empty()
    }
}

/// Whether a voucher's life is over.
fn is_over(stage: Stage) -> bool {
    matches!(stage, Stage::Voided | Stage::Redeemed)
}

fn found(node: &Node, frame: &Frame, caller: &Caller, inside: &VoucherInside, history: &History) -> Found {
    let choice = |one: &HistoryStep| Choice {
        position: position(&one.name),
        what: format!("{} · {}", one.name.institution, said(frame, "step", &one.step)),
        at: words::when(node, one.at),
    };
    let is_open = may(caller, P::ResolveVouchers) && (inside.contested || !history.aside.is_empty());
    let heads = history.path.last().into_iter().chain(&history.aside).filter(|_| is_open);
    let uses = history.aside.iter().filter(|one| matches!(one.step, Step::UseConfirmed { .. }));
    // Paid once is paid.
    let is_paid = |one: &HistoryStep| {
        let paid =
            |note: &Note| matches!(note, Note::CompensationGranted { superseded, .. } if superseded.id == one.name.id);
        history.notes.iter().any(|noted| paid(&noted.note))
    };
    let may_recover = may(caller, P::RecoverVouchers);
    let is_elsewhere = inside.custodian.is_some_and(|custodian| custodian != node.config.institution);
    Found {
        stage: words::word(frame, "stage", &inside.stage),
        custodian: or_dash(inside.custodian),
        contested: inside.contested,
        may_void: may(caller, P::VoidVouchers) && !is_over(inside.stage),
        may_reverse: may(caller, P::ReverseRedemptions) && inside.stage == Stage::Redeemed,
        may_reclaim: may_recover && !is_over(inside.stage) && is_elsewhere,
        may_hand_over: may_recover && inside.stage == Stage::Issued,
        branches: heads.map(choice).collect(),
        superseded: uses.filter(|one| may(caller, P::Compensate) && !is_paid(one)).map(choice).collect(),
    }
}

#[derive(Template)]
#[template(path = "issuer/corrections.html")]
struct Corrections {
    frame: Frame,
    nav: Nav,
    known: Known,
    notice: Option<Notice>,
    done: bool,
    voucher: String,
    found: Option<Found>,
    reversals: Vec<(String, String)>,
    reasons: Vec<(String, String)>,
}

async fn page(
    node: &Data<Node>,
    request: &HttpRequest,
    get: &Get,
    (voucher, done): (String, bool),
    refused: Option<Problem>,
) -> Result<HttpResponse, Problem> {
    let (frame, nav) = around(node, request, &get.caller);
    let (mut refused, mut shown) = (refused, None);
    if !voucher.is_empty() {
        match (voucher_at(node, get, &voucher).await, history_of(node, get, &voucher).await) {
            (Ok(view), Ok(history)) => {
                shown = view.inside.map(|inside| found(node, &frame, &get.caller, &inside, &history));
            }
            (Err(problem), _) | (_, Err(problem)) => refused = refused.or(Some(problem)),
        }
    }
    let status = refused.as_ref().map_or(StatusCode::OK, |problem| problem.status_code());
    let named = |prefix: &str, word: String| (word.clone(), frame.t(&format!("{prefix}-{word}")));
    let page = Corrections {
        known: words::known(node).await,
        notice: refused.map(|problem| Notice::of(&problem, &frame)),
        done,
        voucher,
        found: shown,
        reversals: REVERSALS.map(|reason| named("reverse-reason", words::code(&reason))).to_vec(),
        reasons: REASONS.map(|reason| named("void-reason", words::code(&reason))).to_vec(),
        nav,
        frame,
    };
    show_as(&page, status)
}

/// Which voucher, and whether something was just done.
#[derive(Debug, Deserialize)]
struct Asked {
    voucher: Option<String>,
    done: Option<String>,
}

async fn show(node: Data<Node>, request: HttpRequest, asked: Query<Asked>, get: Get) -> Result<HttpResponse, Problem> {
    let Asked { voucher, done } = asked.into_inner();
    let voucher = voucher.unwrap_or_default().trim().to_owned();
    page(&node, &request, &get, (voucher, done.is_some()), None).await
}

/// `institution.index`, as `/records` names a record.
fn position(name: &RecordRef) -> String {
    format!("{}.{}", name.institution, name.index)
}

fn voucher_id(text: &str) -> Result<VoucherId, Problem> {
    text.trim().parse().map_err(Problem::malformed)
}

/// The record of a voucher's history that stands at a position.
async fn record(node: &Node, get: &Get, voucher: &str, at: &str) -> Result<RecordRef, Problem> {
    let History { path, aside, .. } = history_of(node, get, voucher).await?;
    let found = path.into_iter().chain(aside).find(|one| position(&one.name) == at);
    found.map(|one| one.name).ok_or_else(|| Problem::malformed(format_args!("no record of this voucher is at {at}")))
}

/// Where the browser goes after a form: to the approvals while it waits, back with the problem where it is refused.
async fn answer(
    node: &Data<Node>,
    request: &HttpRequest,
    get: &Get,
    voucher: String,
    came: Result<Came, Problem>,
) -> Result<HttpResponse, Problem> {
    match came {
        Ok(came) => Ok(after(&came, "/issuer/corrections?done=1")),
        Err(problem) => page(node, request, get, (voucher, false), Some(problem)).await,
    }
}

/// Who asks, for reading beside what a form asks for.
fn reader<T>(post: &Post<T>) -> Get {
    Get { caller: post.caller.clone(), is_here: false, language: post.language }
}

/// A redemption to reverse.
#[derive(Debug, Deserialize)]
struct ReversalForm {
    voucher: String,
    reason: ReverseReason,
    void: Option<String>,
}

async fn reverse(
    node: Data<Node>,
    request: HttpRequest,
    Form(post): Form<ReversalForm>,
) -> Result<HttpResponse, Problem> {
    let (get, voucher) = (reader(&post), post.body.voucher.clone());
    let read = |ReversalForm { voucher, reason, void }: ReversalForm| {
        Ok(Reversal { voucher: voucher_id(&voucher)?, reason, void: void.is_some() })
    };
    let came = async { claims::reversed(&node, "/v1/issuer/reversals", post.in_words(read)?).await };
    answer(&node, &request, &get, voucher, came.await).await
}

/// A branch to keep, by its head's position, or a reason to void the voucher.
#[derive(Debug, Deserialize)]
struct ResolutionForm {
    voucher: String,
    keep: String,
    reason: VoidReason,
}

async fn resolve(
    node: Data<Node>,
    request: HttpRequest,
    Form(post): Form<ResolutionForm>,
) -> Result<HttpResponse, Problem> {
    let (get, voucher) = (reader(&post), post.body.voucher.clone());
    let came = async {
        let keep = match post.body.keep.as_str() {
            "" => None,
            at => Some(record(&node, &get, &voucher, at).await?),
        };
        let read = |ResolutionForm { voucher, reason, .. }: ResolutionForm| {
            let reason = keep.is_none().then_some(reason);
            Ok(Resolution { voucher: voucher_id(&voucher)?, keep, reason })
        };
        claims::resolved(&node, "/v1/issuer/resolutions", post.in_words(read)?).await
    };
    answer(&node, &request, &get, voucher.clone(), came.await).await
}

/// A use that was superseded.
#[derive(Debug, Deserialize)]
struct CompensationForm {
    voucher: String,
    superseded: String,
    reason: String,
}

async fn compensate(
    node: Data<Node>,
    request: HttpRequest,
    Form(post): Form<CompensationForm>,
) -> Result<HttpResponse, Problem> {
    let (get, voucher) = (reader(&post), post.body.voucher.clone());
    let came = async {
        let superseded = record(&node, &get, &voucher, &post.body.superseded).await?;
        let read = |CompensationForm { voucher, reason, .. }: CompensationForm| {
            Ok(Compensation { voucher: voucher_id(&voucher)?, superseded, reason })
        };
        claims::compensated(&node, "/v1/issuer/compensations", post.in_words(read)?).await
    };
    answer(&node, &request, &get, voucher.clone(), came.await).await
}

/// A voucher whose custodian or module is silent or gone.
#[derive(Debug, Deserialize)]
struct VoucherForm {
    voucher: String,
}

async fn reclaim(
    node: Data<Node>,
    request: HttpRequest,
    Form(post): Form<VoucherForm>,
) -> Result<HttpResponse, Problem> {
    let (get, voucher) = (reader(&post), post.body.voucher.clone());
    let came = async { vouchers::reclaimed(&node, post.in_words(one)?).await };
    at_once(&node, &request, &get, voucher, came.await.map(drop)).await
}

async fn hand_over(
    node: Data<Node>,
    request: HttpRequest,
    Form(post): Form<VoucherForm>,
) -> Result<HttpResponse, Problem> {
    let (get, voucher) = (reader(&post), post.body.voucher.clone());
    let came = async { vouchers::handed_over(&node, post.in_words(one)?).await };
    at_once(&node, &request, &get, voucher, came.await.map(drop)).await
}

fn one(VoucherForm { voucher }: VoucherForm) -> Result<One, Problem> {
    Ok(One { voucher: voucher.trim().to_owned() })
}

/// What one person does needs nobody's consent.
async fn at_once(
    node: &Data<Node>,
    request: &HttpRequest,
    get: &Get,
    voucher: String,
    done: Result<(), Problem>,
) -> Result<HttpResponse, Problem> {
    match done {
        Ok(()) => Ok(see_other(&format!("/issuer/corrections?done=1&voucher={}", voucher.trim())).finish()),
        Err(problem) => page(node, request, get, (voucher, false), Some(problem)).await,
    }
}
