//! `/v1/accounts`: keeping the accounts of this node.

use actix_web::http::header;
use actix_web::web::{Data, Path};
use actix_web::{HttpResponse, delete, get, post};
use domain::reasons::Reason;
use domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;
use uuid::Uuid;

use super::answer::{Get, Listed, Plain};
use super::problem::{Problem, ProblemBody};
use super::sessions::slowly;
use crate::accounts::Subject;
use crate::accounts::password;
use crate::accounts::permission::{AccountRole, Permission, Permissions};
use crate::accounts::store::Account;
use crate::node::Node;

/// Registers the routes.
pub fn configure(config: &mut ServiceConfig<'_>) {
    config
        .service(list)
        .service(create)
        .service(set_roles)
        .service(reset_password)
        .service(disable)
        .service(link)
        .service(sign_out);
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
    /// A password opens it.
    has_password: bool,
    /// Who it is at the identity provider, if it is linked.
    subject: Option<SubjectView>,
    /// Since when it exists.
    #[schema(value_type = String)]
    created_at: Timestamp,
    /// A password for one sign-in. It is said this once.
    #[serde(skip_serializing_if = "Option::is_none")]
    one_time_password: Option<String>,
}

/// Somebody as an identity provider knows them.
#[derive(Debug, Serialize, ToSchema)]
struct SubjectView {
    /// The provider.
    issuer: String,
    /// Its name for them.
    sub: String,
}

fn view(node: &Node, account: Account) -> AccountView {
    let (operator, permissions) = (node.accounts.pseudonym(account.id).0, Permissions::of(&account.roles));
    let Account { id, name, roles, hash, disabled, one_time, created_at, subject, .. } = account;
    AccountView {
        id,
        name,
        operator,
        roles,
        permissions: permissions.iter().collect(),
        disabled,
        one_time,
        has_password: hash.is_some(),
        subject: subject.map(|Subject { issuer, sub }| SubjectView { issuer, sub }),
        created_at,
        one_time_password: None,
    }
}

/// A subject of the provider that is configured.
fn subject(node: &Node, sub: String) -> Result<Subject, Problem> {
    let issuer = node.config.oidc.as_ref().ok_or(Reason::OidcOff)?.issuer.clone();
    Ok(Subject { issuer, sub })
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
    /// Who it is at the identity provider (`sub`): it signs in there, and no password opens it.
    subject: Option<String>,
}

/// Make an account.
///
/// `201` with a password for one sign-in, after which its owner sets another, unless it is linked to a subject; `409`
/// `account-exists`, `subject-taken`; `404` `oidc-off`.
#[utoipa::path(tag = "accounts", request_body = NewAccount, responses(
    (status = 201, body = AccountView), (status = 409, body = ProblemBody),
))]
#[post("/v1/accounts")]
async fn create(node: Data<Node>, plain: Plain<NewAccount>) -> Result<HttpResponse, Problem> {
    let Plain { body: NewAccount { name, roles, subject: sub }, language, .. } = plain;
    if let Some(sub) = sub {
        let made = create_linked(&node, &name, &roles, sub).map_err(|problem| problem.language(language))?;
        return Ok(HttpResponse::Created().json(view(&node, made)));
    }
    let (now, password) = (node.writer.now(), password::made_up());
    let given = password.clone();
    let made = slowly(&node, move |accounts| accounts.create(&name, &roles, &given, true, now)).await;
    let account = made.map_err(|problem| problem.language(language))?;
    let view = AccountView { one_time_password: Some(password[..].to_owned()), ..view(&node, account) };
    Ok(HttpResponse::Created().insert_header((header::CACHE_CONTROL, "no-store")).json(view))
}

fn create_linked(node: &Node, name: &str, roles: &[AccountRole], sub: String) -> Result<Account, Problem> {
    Ok(node.accounts.create_linked(name, roles, subject(node, sub)?, node.writer.now())?)
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
    let now = node.writer.now();
    let reset = slowly(&node, move |accounts| accounts.reset_password(id, &given, now)).await;
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

/// End all sessions of an account: its owner signs in anew. Tokens stay.
#[utoipa::path(tag = "accounts", params(("id" = String, Path)), responses(
    (status = 204, description = "They are over"), (status = 404, body = ProblemBody),
))]
#[delete("/v1/accounts/{id}/sessions")]
async fn sign_out(node: Data<Node>, get: Get, id: Path<Uuid>) -> Result<HttpResponse, Problem> {
    if !node.accounts.all().iter().any(|account| account.id == *id) {
        return Err(Problem::new(Reason::NotFound).language(get.language));
    }
    node.accounts.sign_out_everywhere(*id);
    Ok(HttpResponse::NoContent().finish())
}

/// Who it is at the identity provider.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Link {
    /// The provider's name for its owner (`sub`); null to unlink.
    #[serde(deserialize_with = "Option::deserialize")]
    #[schema(required)]
    subject: Option<String>,
    /// No password opens the account from now on; only with a subject.
    #[serde(default)]
    drop_password: bool,
}

/// Link an account to a subject of the identity provider, or to none. Its sessions end.
///
/// Who signs in there acts as this account, with its roles; what the provider says of roles is not looked at. `200`; `404`,
/// also `oidc-off`; `409` `subject-taken`.
#[utoipa::path(tag = "accounts", params(("id" = String, Path)), request_body = Link, responses(
    (status = 200, body = AccountView), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody),
))]
#[post("/v1/accounts/{id}/subject")]
async fn link(node: Data<Node>, plain: Plain<Link>, id: Path<Uuid>) -> Result<HttpResponse, Problem> {
    let Plain { body: Link { subject: sub, drop_password }, language, .. } = plain;
    let linked = || {
        let subject = sub.map(|sub| subject(&node, sub)).transpose()?;
        Ok(node.accounts.link(*id, subject, drop_password)?)
    };
    let account = linked().map_err(|problem: Problem| problem.language(language))?;
    Ok(HttpResponse::Ok().json(view(&node, account)))
}
