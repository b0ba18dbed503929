//! `/v1/tokens`: keys of machines to one's own account: scoped, for a time, revocable.

use actix_web::http::header;
use actix_web::web::{Data, Path};
use actix_web::{HttpResponse, delete, get, post};
use domain::time::{Millis, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;
use uuid::Uuid;

use super::answer::{Get, Listed, Plain};
use super::problem::{Problem, ProblemBody};
use crate::accounts::permission::Permission;
use crate::accounts::store::Token;
use crate::node::Node;

/// Registers the routes.
pub fn configure(config: &mut ServiceConfig<'_>) {
    config.service(list).service(issue).service(revoke);
}

/// A token as it is kept: not what opens anything.
#[derive(Debug, Serialize, ToSchema)]
struct TokenView {
    /// Random id, no secret.
    #[schema(value_type = String)]
    id: Uuid,
    /// What it is for.
    label: String,
    /// What it may do, as far as the account still may.
    #[schema(value_type = Vec<String>)]
    scope: Vec<Permission>,
    /// Since when it exists.
    #[schema(value_type = String)]
    created_at: Timestamp,
    /// First moment at which it opens nothing.
    #[schema(value_type = String)]
    expires_at: Timestamp,
    /// The token itself. It is said this once.
    #[serde(skip_serializing_if = "Option::is_none")]
    bearer: Option<String>,
}

impl From<Token> for TokenView {
    fn from(token: Token) -> Self {
        let Token { id, label, scope, created_at, expires_at, .. } = token;
        Self { id, label, scope, created_at, expires_at, bearer: None }
    }
}

/// The tokens of the own account, without the texts that open something.
#[utoipa::path(tag = "accounts", responses((status = 200, body = Listed<TokenView>)))]
#[get("/v1/tokens")]
async fn list(node: Data<Node>, get: Get) -> Result<HttpResponse, Problem> {
    let acting = get.caller.acting().map_err(|problem| problem.language(get.language))?;
    let items: Vec<TokenView> = node.accounts.tokens(acting.account).into_iter().map(Into::into).collect();
    Ok(HttpResponse::Ok().json(Listed { items, next: None }))
}

/// What a token is to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Wish {
    /// What it is for, 1 to 100 bytes.
    label: String,
    /// Permissions of the own account; not `manage-accounts`.
    #[schema(value_type = Vec<String>)]
    scope: Vec<Permission>,
    /// Seconds until it opens nothing any more, at most 366 days.
    expires_in_secs: u32,
}

/// Make a token of the own account for a machine.
///
/// `201` with its text, which is said this once; `400` for a scope beyond the account's, or a life that is too long.
#[utoipa::path(tag = "accounts", request_body = Wish, responses(
    (status = 201, body = TokenView), (status = 400, body = ProblemBody),
))]
#[post("/v1/tokens")]
async fn issue(node: Data<Node>, plain: Plain<Wish>) -> Result<HttpResponse, Problem> {
    let Plain { caller, body: Wish { label, scope, expires_in_secs }, language } = plain;
    let issued = || {
        let now = node.writer.now();
        let expires_at = now + Millis::secs(expires_in_secs.into());
        let (text, token) = node.accounts.issue_token(caller.acting()?.account, &label, &scope, expires_at, now)?;
        Ok(TokenView { bearer: Some(text), ..token.into() })
    };
    let view = issued().map_err(|problem: Problem| problem.language(language))?;
    Ok(HttpResponse::Created().insert_header((header::CACHE_CONTROL, "no-store")).json(view))
}

/// Revoke a token of the own account; who keeps the accounts may revoke anybody's.
#[utoipa::path(tag = "accounts", params(("id" = String, Path)), responses(
    (status = 204, description = "It opens nothing any more"), (status = 404, body = ProblemBody),
))]
#[delete("/v1/tokens/{id}")]
async fn revoke(node: Data<Node>, get: Get, id: Path<Uuid>) -> Result<HttpResponse, Problem> {
    let revoked = || {
        let acting = get.caller.acting()?;
        let of = if acting.may(Permission::ManageAccounts).is_ok() { None } else { Some(acting.account) };
        Ok(node.accounts.revoke_token(of, *id)?)
    };
    revoked().map_err(|problem: Problem| problem.language(get.language))?;
    Ok(HttpResponse::NoContent().finish())
}
