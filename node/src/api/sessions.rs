//! `/v1/sessions`: signing in and out, and the own password.

use actix_web::http::header;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse, delete, get, post};
use domain::reasons::Reason;
use domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;
use uuid::Uuid;

use super::access_log;
use super::answer::{Get, Listed, Plain};
use super::caller::{Caller, SESSION_COOKIE};
use super::problem::{Problem, ProblemBody};
use crate::accounts::password::Secret;
use crate::accounts::permission::{AccountRole, Permission};
use crate::accounts::session::{Proof, Session};
use crate::accounts::{Accounts, Acting, Credential, Fault};
use crate::node::Node;

/// Most passwords that are hashed at one time: each takes memory and a processor.
static HASHING: tokio::sync::Semaphore = tokio::sync::Semaphore::const_new(2);

/// How long a password waits for its turn.
const HASH_WAIT: std::time::Duration = std::time::Duration::from_secs(5);

/// What a browser throws away when somebody signs out. Not what pages store: a holder's keys may lie there.
const CLEARED: &str = "\"cache\", \"cookies\"";

/// Registers the routes.
pub fn configure(config: &mut ServiceConfig<'_>) {
    config.service(sign_in).service(show).service(sign_out).service(list).service(change_password);
    // Behind the names that stand in its place.
    config.service(end_one);
}

/// Does what hashes, beside the threads that answer requests.
///
/// # Errors
///
/// What it says itself; [`Reason::Busy`] while others are hashed.
pub(super) async fn slowly<T: Send + 'static>(
    node: &Node,
    work: impl FnOnce(&Accounts) -> Result<T, Fault> + Send + 'static,
) -> Result<T, Problem> {
    let turn = tokio::time::timeout(HASH_WAIT, HASHING.acquire()).await;
    let Ok(Ok(turn)) = turn else { return Err(Reason::Busy.into()) };
    let accounts = node.accounts.clone();
    let done = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        work(&accounts)
    });
    Ok(done.await.map_err(|_| Problem::new(Reason::Internal))??)
}

/// Name and password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SignIn {
    /// The account's name.
    name: String,
    /// Its password.
    #[schema(value_type = String, format = Password)]
    password: Secret,
}

/// Who is signed in.
#[derive(Debug, Serialize, ToSchema)]
struct SignedIn {
    /// Random id of the session, no secret.
    #[schema(value_type = Option<String>)]
    session: Option<Uuid>,
    /// The account's name.
    name: String,
    /// Its pseudonym in records.
    #[schema(value_type = String)]
    operator: Uuid,
    /// Its roles.
    #[schema(value_type = Vec<String>)]
    roles: Vec<AccountRole>,
    /// What it may do, by this session or token.
    #[schema(value_type = Vec<String>)]
    permissions: Vec<Permission>,
    /// Nothing but another password is possible (`POST /v1/sessions/password`).
    password_change_needed: bool,
    /// Seconds without a request after which the session ends.
    idle_secs: i64,
    /// When it ends whatever happens; none when it is not a session that says this.
    #[schema(value_type = Option<String>)]
    ends_at: Option<Timestamp>,
    /// For pages: send it back as `X-CSRF-Token` with each request that changes something.
    csrf_token: Option<String>,
    /// For programs: `Authorization: Bearer …`. It is said this once.
    #[serde(skip_serializing_if = "Option::is_none")]
    bearer: Option<String>,
}

fn said(node: &Node, acting: &Acting) -> Result<SignedIn, Problem> {
    let all = node.accounts.all();
    let account = all.into_iter().find(|account| account.id == acting.account).ok_or(Reason::SessionOver)?;
    Ok(SignedIn {
        session: match acting.by {
            Credential::Session(id) => Some(id),
            Credential::Token(_) | Credential::Jwt => None,
        },
        name: account.name,
        operator: acting.operator.0,
        roles: account.roles,
        permissions: acting.permissions.iter().collect(),
        password_change_needed: acting.one_time,
        idle_secs: node.accounts.limits().idle.0 / 1_000,
        ends_at: None,
        csrf_token: acting.csrf.clone(),
        bearer: None,
    })
}

/// `Secure`, so over TLS or to this machine alone; not readable for scripts; sent by our own pages alone.
fn cookie(value: &str, max_age_secs: i64) -> String {
    format!("{SESSION_COOKIE}={value}; Path=/; Max-Age={max_age_secs}; Secure; HttpOnly; SameSite=Strict")
}

/// The cookie of a session that has begun.
pub(crate) fn session_cookie(node: &Node, text: &str) -> String {
    cookie(text, node.accounts.limits().absolute.0 / 1_000)
}

/// What takes the cookie away again.
pub(crate) fn no_cookie() -> String {
    cookie("", 0)
}

/// Names who has signed in to the access log.
pub(super) fn note(node: &Node, request: &HttpRequest, session: &Session) {
    let operator = node.accounts.pseudonym(session.account);
    access_log::also(request, "operator", operator, format!("session {}", session.id));
}

/// Begins a session by name and password: its text, and what is known of it.
///
/// # Errors
///
/// [`Reason::SignInFailed`], [`Reason::SignInThrottled`].
pub(crate) async fn begin(
    node: &Node,
    request: &HttpRequest,
    name: String,
    password: Secret,
) -> Result<(String, Session), Problem> {
    let (now, address) = (node.writer.now(), request.peer_addr().map(|address| address.ip()));
    let tried = slowly(node, move |accounts| accounts.sign_in(&name, &password, address, now)).await;
    let (text, session, _) = tried?;
    note(node, request, &session);
    Ok((text, session))
}

/// Ends the session by which somebody acts.
///
/// # Errors
///
/// [`Reason::PersonNeeded`] for a token, which has none.
pub(crate) fn end(node: &Node, caller: &Caller) -> Result<(), Problem> {
    match caller.acting()?.by {
        Credential::Session(id) => node.accounts.sign_out(id),
        Credential::Token(_) | Credential::Jwt => return Err(Reason::PersonNeeded.into()),
    }
    Ok(())
}

/// Sets the own password.
///
/// # Errors
///
/// [`Reason::SignInFailed`] for a wrong current one, [`Reason::PasswordUnfit`], [`Reason::SignInThrottled`],
/// [`Reason::PersonNeeded`] for a token.
pub(crate) async fn set_password(node: &Node, caller: &Caller, current: Secret, new: Secret) -> Result<(), Problem> {
    let acting = caller.acting()?.clone();
    if !matches!(acting.by, Credential::Session(_)) {
        return Err(Reason::PersonNeeded.into());
    }
    let now = node.writer.now();
    slowly(node, move |accounts| accounts.change_password(&acting, &current, &new, now)).await
}

/// Sign in: a session as a cookie for pages, and the same as a bearer text for programs.
///
/// `201`; `401` `sign-in-failed`, which does not say whether name or password is wrong; `429` `sign-in-throttled` with
/// `Retry-After` after too many failures for a name or from an address.
#[utoipa::path(tag = "accounts", request_body = SignIn, responses(
    (status = 201, body = SignedIn), (status = 401, body = ProblemBody), (status = 429, body = ProblemBody),
))]
#[post("/v1/sessions")]
async fn sign_in(node: Data<Node>, request: HttpRequest, plain: Plain<SignIn>) -> Result<HttpResponse, Problem> {
    let Plain { body: SignIn { name, password }, language, .. } = plain;
    let begun = begin(&node, &request, name, password).await;
    let (text, session) = begun.map_err(|problem| problem.language(language))?;
    let acting =
        node.accounts.who(&text, node.writer.now()).ok_or(Problem::new(Reason::SessionOver).language(language))?;
    let limits = node.accounts.limits();
    let cookie = session_cookie(&node, &text);
    let ends_at = Some(session.began + limits.absolute);
    let said = SignedIn { ends_at, bearer: Some(text), ..said(&node, &acting)? };
    let mut answer = HttpResponse::Created();
    answer.insert_header((header::SET_COOKIE, cookie)).insert_header((header::CACHE_CONTROL, "no-store"));
    Ok(answer.json(said))
}

/// Who is signed in, and what they may do.
#[utoipa::path(tag = "accounts", responses((status = 200, body = SignedIn)))]
#[get("/v1/sessions/current")]
async fn show(node: Data<Node>, get: Get) -> Result<HttpResponse, Problem> {
    let said = get.caller.acting().and_then(|acting| said(&node, acting));
    let said = said.map_err(|problem| problem.language(get.language))?;
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(said))
}

/// Sign out. The session opens nothing any more.
#[utoipa::path(tag = "accounts", responses((status = 204, description = "It is over")))]
#[delete("/v1/sessions/current")]
async fn sign_out(node: Data<Node>, get: Get) -> Result<HttpResponse, Problem> {
    end(&node, &get.caller).map_err(|problem| problem.language(get.language))?;
    let mut answer = HttpResponse::NoContent();
    answer.insert_header((header::SET_COOKIE, no_cookie())).insert_header(("Clear-Site-Data", CLEARED));
    Ok(answer.finish())
}

/// One of the own sessions.
#[derive(Debug, Serialize, ToSchema)]
struct SessionView {
    /// Random id, no secret.
    #[schema(value_type = String)]
    session: Uuid,
    /// It is the one that asks.
    is_current: bool,
    /// `password` or `provider`: by what it began.
    proof: &'static str,
    /// Since when.
    #[schema(value_type = String)]
    began_at: Timestamp,
    /// The last request.
    #[schema(value_type = String)]
    used_at: Timestamp,
}

/// The own sessions that are open, the newest first.
#[utoipa::path(tag = "accounts", responses((status = 200, body = Listed<SessionView>)))]
#[get("/v1/sessions")]
async fn list(node: Data<Node>, get: Get) -> Result<HttpResponse, Problem> {
    let acting = get.caller.acting().map_err(|problem| problem.language(get.language))?;
    let view = |session: Session| SessionView {
        session: session.id,
        is_current: acting.by == Credential::Session(session.id),
        proof: match session.proof {
            Proof::Password => "password",
            Proof::Provider => "provider",
        },
        began_at: session.began,
        used_at: session.used,
    };
    let items = node.accounts.sessions(acting.account, node.writer.now()).into_iter().map(view).collect::<Vec<_>>();
    Ok(HttpResponse::Ok().json(Listed { items, next: None }))
}

/// End one of the own sessions: another browser's, a lost machine's.
#[utoipa::path(tag = "accounts", params(("id" = String, Path)), responses(
    (status = 204, description = "It is over"), (status = 404, body = ProblemBody),
))]
#[delete("/v1/sessions/{id}")]
async fn end_one(node: Data<Node>, get: Get, id: Path<Uuid>) -> Result<HttpResponse, Problem> {
    let ended = || {
        let acting = get.caller.acting()?;
        Ok(node.accounts.sign_out_of(acting.account, *id, node.writer.now())?)
    };
    ended().map_err(|problem: Problem| problem.language(get.language))?;
    Ok(HttpResponse::NoContent().finish())
}

/// The own password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PasswordChange {
    /// The one until now.
    #[schema(value_type = String, format = Password)]
    current: Secret,
    /// The one from now on: at least 12 characters, not the account's name.
    #[schema(value_type = String, format = Password)]
    new: Secret,
}

/// Set the own password. All other sessions of the account end.
///
/// `204`; `401` `sign-in-failed` for a wrong current one; `422` `password-unfit`; `429` `sign-in-throttled`.
#[utoipa::path(tag = "accounts", request_body = PasswordChange, responses(
    (status = 204, description = "It is set"), (status = 422, body = ProblemBody), (status = 429, body = ProblemBody),
))]
#[post("/v1/sessions/password")]
async fn change_password(node: Data<Node>, plain: Plain<PasswordChange>) -> Result<HttpResponse, Problem> {
    let Plain { caller, body: PasswordChange { current, new }, language } = plain;
    let set = set_password(&node, &caller, current, new).await;
    set.map_err(|problem| problem.language(language))?;
    Ok(HttpResponse::NoContent().finish())
}
