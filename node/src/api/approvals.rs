//! `/v1/approvals`: what one person asked for and another must consent to, each in a session of their own.
//!
//! What waits is kept in memory for a day; a restart forgets it, and it is asked for again.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix_web::web::{Data, Path};
use actix_web::{HttpResponse, get, post};
use actors::issuer::{Answer, Command, Issuer};
use actors::writer::Act;
use domain::ids::{Digest, Operator};
use domain::reasons::Reason;
use domain::record::Idempotency;
use domain::time::{Millis, Timestamp};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;
use uuid::Uuid;

use super::answer::{self, Get, Listed, Nothing, Plain, Post, Receipt};
use super::caller::Caller;
use super::problem::{Problem, ProblemBody};
use crate::accounts::permission::Permission;
use crate::node::Node;

/// How long a request waits for a second person.
pub const WAITS_FOR: Millis = Millis::days(1);

/// Most requests that wait.
pub const MAX_WAITING: usize = 1_000;

/// Registers the routes.
pub fn configure(config: &mut ServiceConfig<'_>) {
    config.service(list).service(consent).service(refuse);
}

/// The command, once the second person is known.
type Make = Arc<dyn Fn(Operator) -> Result<Command, Problem> + Send + Sync>;

#[derive(Clone)]
struct Waiting {
    permission: Permission,
    account: Uuid,
    operator: Operator,
    idempotency: Idempotency,
    path: String,
    shown: serde_json::Value,
    asked_at: Timestamp,
    make: Make,
    /// Who consented, if somebody did: the same consent again gets the same answer.
    consented: Option<Uuid>,
}

/// What waits for a second person.
#[derive(Default)]
pub struct Approvals(Mutex<BTreeMap<Uuid, Waiting>>);

/// A request that was taken and not done yet.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Asked {
    /// What the second person consents to (`POST /v1/approvals/{approval}/consent`).
    #[schema(value_type = String)]
    pub(crate) approval: Uuid,
    /// SHA-256 over method, path and body, hexadecimal: the consent names it.
    #[schema(value_type = String)]
    request: Digest,
    /// First moment at which it is forgotten.
    #[schema(value_type = String)]
    expires_at: Timestamp,
}

/// What came of a request that needs two persons.
pub(crate) enum Came {
    /// It waits.
    Waits(Asked),
    /// It was done before, under this key.
    Done(Receipt<Nothing>),
}

/// As REST says it.
pub(super) fn told(came: Came) -> HttpResponse {
    match came {
        Came::Waits(asked) => HttpResponse::Accepted().json(asked),
        Came::Done(receipt) => answer::told(receipt),
    }
}

/// Takes a request that needs two persons: what the second one consents to, or, if it was done already under
/// this key, the receipt.
///
/// # Errors
///
/// [`Reason::IdempotencyKeyReused`], [`Reason::Busy`] if too much waits.
pub(super) async fn ask<T>(
    node: &Node,
    path: &str,
    permission: Permission,
    post: &Post<T>,
    shown: serde_json::Value,
    make: impl Fn(Operator) -> Result<Command, Problem> + Send + Sync + 'static,
) -> Result<Came, Problem> {
    let acting = post.caller.acting()?;
    acting.may(permission)?;
    if let Some(done) = answer::again::<_, Nothing>(node, post).await? {
        return Ok(Came::Done(done));
    }
    let now = node.writer.now();
    let mut all = node.approvals.0.lock();
    all.retain(|_, waiting| now < waiting.asked_at + WAITS_FOR);
    let asked = |approval: Uuid, since: Timestamp| {
        let expires_at = since + WAITS_FOR;
        Came::Waits(Asked { approval, request: post.idempotency.request, expires_at })
    };
    if let Some((id, before)) = all.iter().find(|(_, waiting)| waiting.idempotency.key == post.idempotency.key) {
        return match before.idempotency.request == post.idempotency.request {
            true => Ok(asked(*id, before.asked_at)),
            false => Err(Reason::IdempotencyKeyReused.into()),
        };
    }
    if all.len() >= MAX_WAITING {
        return Err(Reason::Busy.into());
    }
    let id = Uuid::new_v4();
    let waiting = Waiting {
        permission,
        account: acting.account,
        operator: acting.operator,
        idempotency: post.idempotency,
        path: path.to_owned(),
        shown,
        asked_at: now,
        make: Arc::new(make),
        consented: None,
    };
    all.insert(id, waiting);
    Ok(asked(id, now))
}

/// Something that waits for a second person.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ApprovalView {
    /// What to consent to.
    #[schema(value_type = String)]
    pub(crate) approval: Uuid,
    /// The permission that it takes, of both persons.
    #[schema(value_type = String)]
    pub(crate) permission: Permission,
    /// The path that was called.
    pub(crate) path: String,
    /// The body that was sent.
    #[schema(value_type = Object)]
    pub(crate) body: serde_json::Value,
    /// SHA-256 over method, path and body, hexadecimal: the consent names it.
    #[schema(value_type = String)]
    pub(crate) request: Digest,
    /// Who asked: the name of the account.
    pub(crate) asked_by: String,
    /// Its pseudonym.
    #[schema(value_type = String)]
    pub(crate) operator: Uuid,
    /// When.
    #[schema(value_type = String)]
    pub(crate) asked_at: Timestamp,
    /// First moment at which it is forgotten.
    #[schema(value_type = String)]
    pub(crate) expires_at: Timestamp,
}

/// What waits for a second person, as far as the caller could be that person or has asked for it.
#[utoipa::path(tag = "accounts", responses((status = 200, body = Listed<ApprovalView>)))]
#[get("/v1/approvals")]
async fn list(node: Data<Node>, get: Get) -> Result<HttpResponse, Problem> {
    let items = waiting(&node, &get.caller).map_err(|problem| problem.language(get.language))?;
    Ok(HttpResponse::Ok().json(Listed { items, next: None }))
}

/// What waits, for REST and pages.
///
/// # Errors
///
/// For who is no operator.
pub(crate) fn waiting(node: &Node, caller: &Caller) -> Result<Vec<ApprovalView>, Problem> {
    let acting = caller.acting()?;
    let (now, accounts) = (node.writer.now(), node.accounts.all());
    let name = |id: Uuid| accounts.iter().find(|a| a.id == id).map(|a| a.name.clone()).unwrap_or_default();
    let all = node.approvals.0.lock();
    let open = all.iter().filter(|(_, w)| w.consented.is_none() && now < w.asked_at + WAITS_FOR);
    let seen = open.filter(|(_, w)| acting.permissions.has(w.permission) || acting.account == w.account);
    let view = |(id, w): (&Uuid, &Waiting)| ApprovalView {
        approval: *id,
        permission: w.permission,
        path: w.path.clone(),
        body: w.shown.clone(),
        request: w.idempotency.request,
        asked_by: name(w.account),
        operator: w.operator.0,
        asked_at: w.asked_at,
        expires_at: w.asked_at + WAITS_FOR,
    };
    Ok(seen.map(view).collect())
}

/// What exactly is consented to.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Consent {
    /// The digest of the request, as `GET /v1/approvals` shows it: nobody consents to something else than they saw.
    #[schema(value_type = String)]
    pub(crate) request: Digest,
}

/// Consent as the second person: the request is done now, in the name of who asked.
///
/// `201` with the receipt; `404` if nothing of that id and digest waits; `409` `approver-needed` for who asked, and whatever
/// the request itself is refused for; `403` without the permission.
#[utoipa::path(tag = "accounts", params(("id" = String, Path)), request_body = Consent, responses(
    (status = 201, body = Receipt<Nothing>), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody),
))]
#[post("/v1/approvals/{id}/consent")]
async fn consent(node: Data<Node>, plain: Plain<Consent>, id: Path<Uuid>) -> Result<HttpResponse, Problem> {
    consented(&node, &plain, *id).await.map(answer::told)
}

/// Consents, for REST and pages.
///
/// # Errors
///
/// As above.
pub(crate) async fn consented(node: &Node, plain: &Plain<Consent>, id: Uuid) -> Result<Receipt<Answer>, Problem> {
    let done = async {
        let waiting = second(node, id, &plain.caller, plain.body.request)?;
        let approver = plain.caller.acting()?;
        // Who asked must still be let to: they may have left since.
        let first = node.accounts.all().into_iter().find(|account| account.id == waiting.account);
        if !first.is_some_and(|account| account.permissions().has(waiting.permission)) {
            return Err(Problem::new(Reason::Forbidden).detail("who asked for it may no longer do so"));
        }
        let act = Act { operator: Some(waiting.operator), idempotency: Some(waiting.idempotency) };
        let command = (waiting.make)(approver.operator)?;
        if let Some(kept) = node.approvals.0.lock().get_mut(&id) {
            kept.consented = Some(approver.account);
        }
        let done = answer::asked_as::<Issuer, Answer>(node, act, command, Some).await;
        if done.is_err()
            && let Some(kept) = node.approvals.0.lock().get_mut(&id)
        {
            kept.consented = None;
        }
        let (first, second) = (waiting.operator.0, approver.operator.0);
        let outcome = done.as_ref().map_or_else(|problem| problem.reason.code(), |_| "done");
        tracing::info!(target: "access", who = "two-persons", %first, %second, permission = %waiting.permission, outcome);
        done
    };
    done.await.map_err(|problem: Problem| problem.language(plain.language))
}

/// What waits under an id, for somebody who may be the second person.
fn second(node: &Node, id: Uuid, caller: &Caller, request: Digest) -> Result<Waiting, Problem> {
    let acting = caller.acting()?;
    let now = node.writer.now();
    let found = node.approvals.0.lock().get(&id).cloned();
    let is_it = |w: &Waiting| w.idempotency.request == request && now < w.asked_at + WAITS_FOR;
    let waiting = found.filter(is_it).ok_or(Reason::NotFound)?;
    acting.may(waiting.permission)?;
    if waiting.account == acting.account {
        return Err(Problem::new(Reason::ApproverNeeded).detail("who asks for it cannot consent to it"));
    }
    match waiting.consented {
        Some(other) if other != acting.account => Err(Reason::NotFound.into()),
        _ => Ok(waiting),
    }
}

/// Refuse as the second person, or withdraw what one asked for. It is forgotten, and nothing was done.
#[utoipa::path(tag = "accounts", params(("id" = String, Path)), request_body = Consent, responses(
    (status = 204, description = "It is forgotten"), (status = 404, body = ProblemBody),
))]
#[post("/v1/approvals/{id}/refusal")]
async fn refuse(node: Data<Node>, plain: Plain<Consent>, id: Path<Uuid>) -> Result<HttpResponse, Problem> {
    refused(&node, &plain, *id)?;
    Ok(HttpResponse::NoContent().finish())
}

/// Refuses or withdraws, for REST and pages.
///
/// # Errors
///
/// As above.
pub(crate) fn refused(node: &Node, plain: &Plain<Consent>, id: Uuid) -> Result<(), Problem> {
    let refused = || {
        let acting = plain.caller.acting()?;
        let mut all = node.approvals.0.lock();
        let waiting = all.get(&id).filter(|w| w.idempotency.request == plain.body.request && w.consented.is_none());
        let waiting = waiting.ok_or(Reason::NotFound)?;
        if waiting.account != acting.account {
            acting.may(waiting.permission)?;
        }
        all.remove(&id);
        Ok(())
    };
    refused().map_err(|problem: Problem| problem.language(plain.language))
}
