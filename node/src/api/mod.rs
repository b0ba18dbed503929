//! REST: thin. Parse, make a command, ask a role, answer. Which route is whose stands in the file of that role.

pub mod access;
pub mod access_log;
pub mod accounts;
pub mod answer;
pub mod approvals;
pub mod audit;
pub mod caller;
pub mod community;
pub mod document;
pub mod edge;
pub mod hospital;
pub mod issuer;
pub mod json;
pub mod log;
pub mod looked;
pub mod methods;
pub mod oidc;
pub mod openapi;
pub mod problem;
pub mod problems;
pub mod records;
pub mod seen;
pub mod sessions;
pub mod system;
pub mod tokens;
pub mod wallet;
pub mod witness;

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod matrix;
#[cfg(test)]
pub(crate) mod planted;
#[cfg(test)]
mod tests;

use actix_web::{HttpRequest, web};
use utoipa::OpenApi;
use utoipa_actix_web::service_config::ServiceConfig;

use problem::Problem;

/// What stands above the generated paths.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Voucher node",
        description = "The REST interface of one institution's node. Times are RFC 3339 UTC. Problems are RFC 9457 with a \
                       `code` from a closed list. Every POST and PUT carries an `Idempotency-Key`, but for sessions, accounts \
                       and the reading of a photo. An operator signs in (`/v1/sessions`) or sends a token \
                       (`Authorization: Bearer …`), a node signs its requests (RFC 9421), and so does a holder \
                       (`Authorization: VP1 …`).",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    components(schemas(problem::ProblemBody))
)]
pub struct ApiDoc;

/// Every route of the node. Roles that do not run here answer `not-my-role`.
pub fn configure(config: &mut ServiceConfig<'_>) {
    system::configure(config);
    sessions::configure(config);
    oidc::configure(config);
    tokens::configure(config);
    accounts::configure(config);
    approvals::configure(config);
    problems::configure(config);
    records::configure(config);
    log::configure(config);
    witness::configure(config);
    issuer::configure(config);
    hospital::configure(config);
    audit::configure(config);
    community::configure(config);
    wallet::configure(config);
}

/// What a body that is not ours to read says: path, query and payload extractors of actix.
pub fn extractors(config: &mut web::ServiceConfig) {
    config
        .app_data(web::PathConfig::default().error_handler(|error, request| malformed(&error, request).into()))
        .app_data(web::QueryConfig::default().error_handler(|error, request| malformed(&error, request).into()));
}

/// A path or query that cannot be read. Who must sign in first, or is not let in at all, is told that and nothing else: actix reads
/// paths before anybody has asked who calls. The body is not here, so what only it can prove is left open: a form's token, and who
/// signs, whose signature also counts but once.
fn malformed(error: &dyn std::fmt::Display, request: &HttpRequest) -> Problem {
    if caller::signs(request) {
        return Problem::malformed(error);
    }
    let admitted = answer::node(request).and_then(|node| answer::admitted(node, request, &[]));
    match admitted {
        Err(problem) if answer::is_known_without_body(problem.reason) => problem,
        _ => Problem::malformed(error),
    }
}
