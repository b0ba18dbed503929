//! `/v1/sessions/oidc`: signing in at the institution's identity provider (node/src/oidc).

use actix_web::http::header;
use actix_web::web::{Data, Query};
use actix_web::{HttpRequest, HttpResponse, get};
use domain::reasons::Reason;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_actix_web::service_config::ServiceConfig;

use super::answer::Get;
use super::caller;
use super::problem::{Problem, ProblemBody};
use super::sessions::{note, session_cookie};
use crate::node::Node;
use crate::oidc::login::LOGIN_WINDOW;
use crate::oidc::{Oidc, Returned};

/// The cookie that binds a sign-in to the browser that began it.
pub const LOGIN_COOKIE: &str = "__Host-voucher-sign-in";

/// Where somebody goes who has signed in: nothing in a request can say another place.
const HOME: &str = "/";

/// Registers the routes.
pub fn configure(config: &mut ServiceConfig<'_>) {
    config.service(start).service(callback);
}

/// `Lax`, because the provider is another site and sends the browser back.
fn login_cookie(value: &str, max_age_secs: i64) -> String {
    format!("{LOGIN_COOKIE}={value}; Path=/; Max-Age={max_age_secs}; Secure; HttpOnly; SameSite=Lax")
}

fn provider(node: &Node) -> Result<&Oidc, Problem> {
    node.oidc.as_deref().ok_or_else(|| Reason::OidcOff.into())
}

/// Sends a browser on. Neither the page after it nor a cache learns where it came from.
fn see_other(to: &str) -> actix_web::HttpResponseBuilder {
    let mut answer = HttpResponse::SeeOther();
    answer
        .insert_header((header::LOCATION, to))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"));
    answer
}

/// Sign in at the identity provider: open this in a browser.
///
/// `303` to the provider; `404` `oidc-off` if none is configured; `429` `sign-in-throttled`; `503` `provider-unreachable`.
#[utoipa::path(tag = "accounts", responses(
    (status = 303, description = "To the provider; a cookie binds the sign-in to this browser for ten minutes"),
    (status = 404, body = ProblemBody), (status = 429, body = ProblemBody),
))]
#[get("/v1/sessions/oidc/start")]
async fn start(node: Data<Node>, request: HttpRequest, get: Get) -> Result<HttpResponse, Problem> {
    let begun = || {
        let oidc = provider(&node)?;
        // A picture or a frame in somebody else's page begins no sign-in.
        let kind = caller::header(&request, "Sec-Fetch-Dest")?;
        if kind.is_some_and(|kind| kind != "document") {
            return Err(Reason::Forbidden.into());
        }
        let address = request.peer_addr().map(|address| address.ip());
        node.accounts.attempt_from(address, node.writer.now())?;
        Ok(oidc.begin()?)
    };
    let outward = begun().map_err(|problem: Problem| problem.language(get.language))?;
    let cookie = login_cookie(&outward.browser, LOGIN_WINDOW.0 / 1_000);
    Ok(see_other(&outward.url).insert_header((header::SET_COOKIE, cookie)).finish())
}

/// What the provider sends a browser back with; what else stands there is passed over.
#[derive(Debug, Deserialize, IntoParams)]
struct Answer {
    /// As it was sent out.
    state: String,
    /// To be redeemed.
    code: Option<String>,
    /// Which provider it is.
    iss: Option<String>,
    /// Why there is no code.
    error: Option<String>,
}

/// Where the identity provider sends a browser back: the end of a sign-in.
///
/// `303` to `/` with a session, as signing in with a password opens one; `401` `sign-in-lost` if this browser has begun no
/// such sign-in, it took too long or was used, `provider-refused`, `provider-token-invalid`; `403` `account-not-linked`.
#[utoipa::path(tag = "accounts", params(Answer), responses(
    (status = 303, description = "Signed in: a session as a cookie"), (status = 401, body = ProblemBody),
    (status = 403, body = ProblemBody), (status = 404, body = ProblemBody), (status = 429, body = ProblemBody),
))]
#[get("/v1/sessions/oidc/callback")]
async fn callback(
    node: Data<Node>,
    request: HttpRequest,
    answer: Query<Answer>,
    get: Get,
) -> Result<HttpResponse, Problem> {
    let text = signed_in(&node, &request, &answer).await.map_err(|problem| problem.language(get.language))?;
    let mut response = see_other(HOME);
    response.append_header((header::SET_COOKIE, session_cookie(&node, &text)));
    response.append_header((header::SET_COOKIE, login_cookie("", 0)));
    Ok(response.finish())
}

/// The text of a session, for whom the provider names.
async fn signed_in(node: &Node, request: &HttpRequest, answer: &Answer) -> Result<String, Problem> {
    let oidc = provider(node)?;
    let address = request.peer_addr().map(|address| address.ip());
    let Some(waiting) = oidc.take(&answer.state, caller::cookie(request, LOGIN_COOKIE)) else {
        // One that was begun has been counted then; this is a guess.
        node.accounts.attempt_from(address, node.writer.now())?;
        return Err(Reason::SignInLost.into());
    };
    let Answer { code, iss, error, .. } = answer;
    let returned = Returned { code: code.as_deref(), iss: iss.as_deref(), error: error.as_deref() };
    let subject = oidc.finish(&waiting, &returned).await?;
    let (text, session, _) = node.accounts.sign_in_as(&subject, address, node.writer.now())?;
    note(node, request, &session);
    Ok(text)
}
