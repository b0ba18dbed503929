//! Programmes (unit B2): what is offered, to whom, for how long, where.

use actix_web::web::{Data, Path};
use actix_web::{HttpResponse, post};
use actors::issuer::{Answer, Command};
use domain::policy::Policy;
use utoipa_actix_web::service_config::ServiceConfig;

use super::{done_by_operator, parsed};
use crate::api::answer::{self, Nothing, Post, Receipt};
use crate::api::problem::{Problem, ProblemBody};
use crate::node::Node;

pub(super) fn configure(config: &mut ServiceConfig<'_>) {
    config.service(publish).service(change);
}

fn checked(policy: Policy) -> Result<Box<Policy>, Problem> {
    policy.check_new().map_err(Problem::malformed)?;
    Ok(Box::new(policy))
}

/// Publish a programme with its policy.
///
/// `201`; `400` for a policy that cannot be; `409` `programme-exists`.
#[utoipa::path(tag = "issuer", request_body = Object, responses(
    (status = 201, body = Receipt<Nothing>), (status = 409, body = ProblemBody),
))]
#[post("/v1/issuer/programmes")]
async fn publish(node: Data<Node>, post: Post<Policy>) -> Result<HttpResponse, Problem> {
    published(&node, post).await.map(answer::told)
}

/// Publishes a programme, for REST and pages.
///
/// # Errors
///
/// As above.
pub(crate) async fn published(node: &Node, post: Post<Policy>) -> Result<Receipt<Answer>, Problem> {
    done_by_operator(node, post, |_, policy| Ok(Command::PublishProgramme(checked(policy)?))).await
}

/// Change a programme's policy. It acts ten minutes later.
///
/// `201`; `400` for a policy that cannot be; `409` `programme-unknown`.
#[utoipa::path(tag = "issuer", params(("short" = String, Path)), request_body = Object, responses(
    (status = 201, body = Receipt<Nothing>), (status = 409, body = ProblemBody),
))]
#[post("/v1/issuer/programmes/{short}/changes")]
async fn change(node: Data<Node>, short: Path<String>, post: Post<Policy>) -> Result<HttpResponse, Problem> {
    changed(&node, &short, post).await.map(answer::told)
}

/// Changes a programme, for REST and pages.
///
/// # Errors
///
/// As above.
pub(crate) async fn changed(node: &Node, short: &str, post: Post<Policy>) -> Result<Receipt<Answer>, Problem> {
    done_by_operator(node, post, |_, policy| {
        Ok(Command::ChangeProgramme { programme: parsed("a programme", short)?, policy: checked(policy)? })
    })
    .await
}
