//! `/v1/issuer`: what an issuer and the registrar are asked, each handler a command of [`actors::issuer`].

pub(crate) mod claims;
mod holders;
pub(crate) mod members;
pub(crate) mod programmes;
pub(crate) mod statistics;
pub(crate) mod vouchers;

#[cfg(test)]
mod tests;

pub use statistics::publish_periodically;

use actix_web::{HttpRequest, HttpResponse};
use actors::issuer::{Answer, By, Command, Issuer};
use domain::ids::{Operator, VoucherId};
use serde::Serialize;
use utoipa_actix_web::service_config::ServiceConfig;

use super::answer::{self, Get, Post, Receipt};
use super::approvals::{self, Came};
use super::caller::Caller;
use super::problem::Problem;
use crate::accounts::permission::Permission;
use crate::node::Node;

/// Registers the routes.
pub fn configure(config: &mut ServiceConfig<'_>) {
    members::configure(config);
    programmes::configure(config);
    holders::configure(config);
    vouchers::configure(config);
    claims::configure(config);
    statistics::configure(config);
}

/// A request of an operator of this institution: made a command and asked; the receipt, for REST and pages.
async fn done_by_operator<T>(
    node: &Node,
    post: Post<T>,
    make: impl FnOnce(&Node, T) -> Result<Command, Problem>,
) -> Result<Receipt<Answer>, Problem> {
    let (language, operator) = (post.language, post.caller.must_be_operator());
    operator.map_err(|problem| problem.language(language))?;
    asked(node, post, |body, _| make(node, body)).await
}

/// A request about a holder: of an operator here, or of the holder's home community.
async fn by_home<T>(
    node: &Node,
    post: Post<T>,
    make: impl FnOnce(T, By) -> Result<Command, Problem>,
) -> Result<HttpResponse, Problem> {
    let language = post.language;
    let by = home(&post.caller).map_err(|problem| problem.language(language))?;
    ask(node, post, |body, _| make(body, by)).await
}

fn home(caller: &Caller) -> Result<By, Problem> {
    match caller {
        Caller::Peer(community) => Ok(Some(*community)),
        other => other.must_be_operator().map(|_| None),
    }
}

async fn ask<T>(
    node: &Node,
    post: Post<T>,
    make: impl FnOnce(T, &Caller) -> Result<Command, Problem>,
) -> Result<HttpResponse, Problem> {
    asked(node, post, make).await.map(answer::told)
}

async fn asked<T>(
    node: &Node,
    post: Post<T>,
    make: impl FnOnce(T, &Caller) -> Result<Command, Problem>,
) -> Result<Receipt<Answer>, Problem> {
    let Post { caller, idempotency, body, language } = post;
    let command = make(body, &caller).map_err(|problem| problem.language(language))?;
    let post = Post { caller, idempotency, body: (), language };
    answer::asked::<Issuer, _, Answer>(node, &post, command, Some).await
}

/// This node plays the issuer, and whoever asks is an operator here.
fn operator_reads(node: &Node, get: &Get) -> Result<(), Problem> {
    let allowed = node.role::<Issuer>().map(drop).and_then(|()| get.caller.must_be_operator().map(drop));
    allowed.map_err(|problem| problem.language(get.language))
}

/// A request of an operator that a second one must consent to: `202`, and it is done when that one has.
async fn by_two<T: Serialize + Send + Sync + 'static>(
    node: &Node,
    request: &HttpRequest,
    permission: Permission,
    post: Post<T>,
    make: impl Fn(&T, Operator) -> Result<Command, Problem> + Send + Sync + 'static,
) -> Result<HttpResponse, Problem> {
    asked_of_two(node, request.uri().path(), permission, post, make).await.map(approvals::told)
}

/// The same; what came of it, for REST and pages. `path` is REST's, as the second person is shown it.
async fn asked_of_two<T: Serialize + Send + Sync + 'static>(
    node: &Node,
    path: &str,
    permission: Permission,
    post: Post<T>,
    make: impl Fn(&T, Operator) -> Result<Command, Problem> + Send + Sync + 'static,
) -> Result<Came, Problem> {
    let language = post.language;
    let asked = async {
        node.role::<Issuer>()?;
        let Post { caller, idempotency, body, language } = post;
        let first = caller.must_be_operator()?;
        // What cannot be made is refused now, and not after somebody has consented.
        let shown = serde_json::to_value(&body).map_err(Problem::malformed)?;
        make(&body, first)?;
        let post = Post { caller, idempotency, body: (), language };
        let make = move |second| make(&body, second).map(|command| command.approved_by(second));
        approvals::ask(node, path, permission, &post, shown, make).await
    };
    asked.await.map_err(|problem: Problem| problem.language(language))
}

fn voucher_id(text: &str) -> Result<VoucherId, Problem> {
    text.parse().map_err(Problem::malformed)
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(what: &str, text: &str) -> Result<T, Problem> {
    text.parse().map_err(|error| Problem::malformed(format!("{what}: {error}")))
}

/// Bytes of a fixed length from base64.
fn bytes<const N: usize>(what: &str, text: &str) -> Result<[u8; N], Problem> {
    let wrong = || Problem::malformed(format!("{what} is {N} bytes in base64"));
    // Four characters for three bytes, and nothing longer is decoded at all.
    let decoded = if text.len() <= N.div_ceil(3) * 4 { ledger::note::from_base64(text) } else { None };
    decoded.and_then(|bytes| bytes.try_into().ok()).ok_or_else(wrong)
}
