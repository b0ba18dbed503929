//! `/v1/accounts`: keeping the accounts of this node.

use actix_web::http::header;
use actix_web::web::{Data, Path};
use actix_web::{HttpResponse, get, post};
use domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;
use uuid::Uuid;

use super::answer::{Get, Listed, Plain};
use super::problem::{Problem, ProblemBody};
use super::sessions::slowly;
use crate::accounts::password;
use crate::accounts::permission::{AccountRole, Permission, Permissions};
use crate::accounts::store::Account;
use crate::node::Node;

/// Registers the routes.
pub fn configure(config: &mut ServiceConfig<'_>) {
    config.service(list).service(create).service(set_roles).service(reset_password).service(disable);
}

/// An account as whoever keeps them sees it. It links a name with a pseudonym: it answers who did what.
#[derive(Debug, Serialize, ToSchema)]
struct AccountView {
    /// Random id.
    #[schema(value_type = String)]
    id: Uuid,
    /// Its name.
    name: String,
    /// The pseudonym that its records carry.
    #[schema(value_type = String)]
    operator: Uuid,
    /// Its roles.
    #[schema(value_type = Vec<String>)]
    roles: Vec<AccountRole>,
    /// What they let it do.
    #[schema(value_type = Vec<String>)]
    permissions: Vec<Permission>,
    /// It cannot sign in.
    disabled: bool,
    /// Its password is for one sign-in.
    one_time: bool,
    /// Since when it exists.
    #[schema(value_type = String)]
    created_at: Timestamp,
    /// A password for one sign-in. It is said this once.
    #[serde(skip_serializing_if = "Option::is_none")]
    one_time_password: Option<String>,
}

fn view(node: &Node, account: Account) -> AccountView {
    let (operator, permissions) = (node.accounts.pseudonym(account.id).0, Permissions::of(&account.roles));
    let Account { id, name, roles, disabled, one_time, created_at, .. } = account;
    let permissions = permissions.iter().collect();
    AccountView { id, name, operator, roles, permissions, disabled, one_time, created_at, one_time_password: None }
}

/// Every account with its pseudonym.
#[utoipa::path(tag = "accounts", responses((status = 200, body = Listed<AccountView>)))]
#[get("/v1/accounts")]
async fn list(node: Data<Node>, _get: Get) -> HttpResponse {
    let items: Vec<AccountView> = node.accounts.all().into_iter().map(|account| view(&node, account)).collect();
    HttpResponse::Ok().json(Listed { items, next: None })
}

/// An account to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewAccount {
    /// 1 to 64 bytes of letters, digits, `-`, `.`, `_`, `@`.
    name: String,
    /// What it is there for.
    #[schema(value_type = Vec<String>)]
    roles: Vec<AccountRole>,
}

/// Make an account.
///
/// `201` with a password for one sign-in, after which its owner sets another; `409` `account-exists`.
#[utoipa::path(tag = "accounts", request_body = NewAccount, responses(
    (status = 201, body = AccountView), (status = 409, body = ProblemBody),
))]
#[post("/v1/accounts")]
async fn create(node: Data<Node>, plain: Plain<NewAccount>) -> Result<HttpResponse, Problem> {
    let Plain { body: NewAccount { name, roles }, language, .. } = plain;
    let (now, password) = (node.writer.now(), password::made_up());
    let given = password.clone();
    let made = slowly(&node, move |accounts| accounts.create(&name, &roles, &given, true, now)).await;
    let account = made.map_err(|problem| problem.language(language))?;
    let view = AccountView { one_time_password: Some(password[..].to_owned()), ..view(&node, account) };
    Ok(HttpResponse::Created().insert_header((header::CACHE_CONTROL, "no-store")).json(view))
}

/// Other roles.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Roles {
    /// All that it is to have.
    #[schema(value_type = Vec<String>)]
    roles: Vec<AccountRole>,
}

/// Give an account other roles. They act at once, also on open sessions and tokens.
///
/// `200`; `404`; `409` `last-administrator`.
#[utoipa::path(tag = "accounts", params(("id" = String, Path)), request_body = Roles, responses(
    (status = 200, body = AccountView), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody),
))]
#[post("/v1/accounts/{id}/roles")]
async fn set_roles(node: Data<Node>, plain: Plain<Roles>, id: Path<Uuid>) -> Result<HttpResponse, Problem> {
    let set = node.accounts.set_roles(*id, &plain.body.roles);
    let account = set.map_err(|fault| Problem::from(fault).language(plain.language))?;
    Ok(HttpResponse::Ok().json(view(&node, account)))
}

/// Nothing more to say.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Empty {}

/// Give an account a password for one sign-in. Its sessions end, its tokens are revoked.
///
/// `200` with the password, which is said this once; `404`.
#[utoipa::path(tag = "accounts", params(("id" = String, Path)), request_body = Empty, responses(
    (status = 200, body = AccountView), (status = 404, body = ProblemBody),
))]
#[post("/v1/accounts/{id}/password")]
async fn reset_password(node: Data<Node>, plain: Plain<Empty>, id: Path<Uuid>) -> Result<HttpResponse, Problem> {
    let (id, password) = (*id, password::made_up());
    let given = password.clone();
    let reset = slowly(&node, move |accounts| accounts.reset_password(id, &given)).await;
    let account = reset.map_err(|problem| problem.language(plain.language))?;
    let view = AccountView { one_time_password: Some(password[..].to_owned()), ..view(&node, account) };
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(view))
}

/// Whether it may sign in.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Disabled {
    /// True to lock it out: its sessions end, its tokens open nothing while it is so.
    disabled: bool,
}

/// Disable an account, or let it in again.
///
/// `200`; `404`; `409` `last-administrator`.
#[utoipa::path(tag = "accounts", params(("id" = String, Path)), request_body = Disabled, responses(
    (status = 200, body = AccountView), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody),
))]
#[post("/v1/accounts/{id}/disabled")]
async fn disable(node: Data<Node>, plain: Plain<Disabled>, id: Path<Uuid>) -> Result<HttpResponse, Problem> {
    let set = node.accounts.set_disabled(*id, plain.body.disabled);
    let account = set.map_err(|fault| Problem::from(fault).language(plain.language))?;
    Ok(HttpResponse::Ok().json(view(&node, account)))
}
