//! Letters of other nodes to this voucher module: people from communities, requests for help, results from hospitals.

use actix_web::web::Data;
use actix_web::{HttpResponse, post};
use actors::voucher::letters::{ErasureLetter, HelpLetter, HolderLetter, ResultLetter};
use actors::voucher::{Answer, Command, VoucherModule};
use domain::ids::InstitutionId;
use utoipa_actix_web::service_config::ServiceConfig;

use crate::api::answer::{self, Nothing, Post, Receipt};
use crate::api::problem::{Problem, ProblemBody};
use crate::node::Node;

pub(super) fn configure(config: &mut ServiceConfig<'_>) {
    config.service(learn).service(help).service(result).service(erase);
}

async fn by_peer<T>(
    node: &Node,
    post: Post<T>,
    make: impl FnOnce(InstitutionId, T) -> Command,
) -> Result<HttpResponse, Problem> {
    let Post { caller, idempotency, body, language } = post;
    let from = caller.must_be_peer().map_err(|problem| problem.language(language))?;
    let command = make(from, body);
    let post = Post { caller, idempotency, body: (), language };
    let nothing = |_: Answer| Some(Nothing {});
    let answered = answer::ask::<VoucherModule, (), Nothing>(node, &post, command, nothing).await?;
    node.wake();
    Ok(answered)
}

/// Learn of somebody whose vouchers this module looks after. Told again when something changed.
///
/// `201`; `503` `waiting` while the registrar's records are on their way; `409` `enrolment-elsewhere`.
#[utoipa::path(tag = "voucher", request_body = Object, responses(
    (status = 201, body = Receipt<Nothing>), (status = 409, body = ProblemBody), (status = 503, body = ProblemBody),
))]
#[post("/v1/voucher/holders")]
async fn learn(node: Data<Node>, post: Post<HolderLetter>) -> Result<HttpResponse, Problem> {
    by_peer(&node, post, |from, letter| Command::Learn { from, letter: Box::new(letter) }).await
}

/// Book or cancel for somebody without a phone, as the record `HelpRequested` says.
///
/// `201`; `503` `waiting` while that record is on its way; `409` `opening-differs`, `presentation-forged`, and every reason of
/// a booking.
#[utoipa::path(tag = "voucher", request_body = Object, responses(
    (status = 201, body = Receipt<Nothing>), (status = 409, body = ProblemBody), (status = 503, body = ProblemBody),
))]
#[post("/v1/voucher/help")]
async fn help(node: Data<Node>, post: Post<HelpLetter>) -> Result<HttpResponse, Problem> {
    by_peer(&node, post, |from, letter| Command::Help { from, letter: Box::new(letter) }).await
}

/// Keep the result of a visit for its holder.
///
/// `201`; `403` for a hospital that did not make the visit; `503` `waiting` while its record is on its way.
#[utoipa::path(tag = "voucher", request_body = Object, responses(
    (status = 201, body = Receipt<Nothing>), (status = 403, body = ProblemBody), (status = 503, body = ProblemBody),
))]
#[post("/v1/voucher/results")]
async fn result(node: Data<Node>, post: Post<ResultLetter>) -> Result<HttpResponse, Problem> {
    by_peer(&node, post, |from, letter| Command::TakeResult { from, letter: Box::new(letter) }).await
}

/// Erase everything that this node keeps about a holder who asked for it at the home community's desk.
///
/// `201`, also where nothing is kept; `503` `waiting` while an appointment stands; `403` for another community.
#[utoipa::path(tag = "voucher", request_body = Object, responses(
    (status = 201, body = Receipt<Nothing>), (status = 403, body = ProblemBody), (status = 503, body = ProblemBody),
))]
#[post("/v1/voucher/erasures")]
async fn erase(node: Data<Node>, post: Post<ErasureLetter>) -> Result<HttpResponse, Problem> {
    by_peer(&node, post, |from, letter| Command::EraseFor { from, holder: letter.holder }).await
}
