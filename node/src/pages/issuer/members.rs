//! `/issuer/members`: the institutions of the federation, how they stand, and what two persons change of that.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Path, Query};
use actix_web::{HttpRequest, HttpResponse, ResponseError as _};
use actors::issuer::Standing as To;
use askama::Template;
use domain::member::{Role, Standing};
use serde::Deserialize;

use super::{Done, Nav, after, around};
use crate::accounts::permission::Permission as P;
use crate::api::access::Access::Operator;
use crate::api::answer::Get;
use crate::api::caller::Caller;
use crate::api::issuer::members::{self, Join, Line, Rotation};
use crate::api::problem::Problem;
use crate::api::system::members_of;
use crate::node::Node;
use crate::pages;
use crate::pages::answer::show_as;
use crate::pages::form::Form;
use crate::pages::frame::Frame;
use crate::pages::may;
use crate::pages::problem::Notice;
use crate::pages::words::{self, Known};

pages! {
    GET "/issuer/members", Operator(P::ManageMembers), Some(Role::Issuer), Some("issuer-members") => list;
    POST "/issuer/members", Operator(P::ManageMembers), Some(Role::Issuer), None => register;
    POST "/issuer/members/{id}/key", Operator(P::ChangeKeys), Some(Role::Issuer), None => replace_key;
    POST "/issuer/members/{id}/standing", Operator(P::ManageMembers), Some(Role::Issuer), None => stand;
}

/// A member as the page shows it.
struct Member {
    institution: String,
    roles: String,
    url: String,
    standing: String,
    is_good: bool,
    is_suspended: bool,
    is_registrar: bool,
}

/// The members.
#[derive(Template)]
#[template(path = "issuer/members.html")]
struct Members {
    frame: Frame,
    nav: Nav,
    notice: Option<Notice>,
    known: Known,
    members: Vec<Member>,
    join: String,
    done: bool,
    is_registrar: bool,
    may_change_keys: bool,
}

async fn page(
    node: &Data<Node>,
    request: &HttpRequest,
    caller: &Caller,
    (join, done): (String, bool),
    refused: Option<Problem>,
) -> Result<HttpResponse, Problem> {
    let (frame, nav) = around(node, request, caller);
    let status = refused.as_ref().map_or(StatusCode::OK, |problem| problem.status_code());
    let registrar = node.writer.settings().registrar;
    let member = |view: crate::api::system::MemberView| Member {
        institution: view.institution.to_string(),
        roles: view.roles.iter().map(|role| words::word(&frame, "role", role)).collect::<Vec<_>>().join(" · "),
        url: view.url,
        standing: view.standing.map_or_else(String::new, |standing| words::word(&frame, "standing", &standing)),
        is_good: view.standing == Some(Standing::Good),
        is_suspended: view.standing == Some(Standing::Suspended),
        is_registrar: view.institution == registrar,
    };
    let members = members_of(node).await.into_iter().map(member).collect();
    let page = Members {
        notice: refused.map(|problem| Notice::of(&problem, &frame)),
        known: words::known(node).await,
        members,
        join,
        done,
        may_change_keys: may(caller, P::ChangeKeys),
        is_registrar: registrar == node.config.institution,
        nav,
        frame,
    };
    show_as(&page, status)
}

async fn list(node: Data<Node>, request: HttpRequest, done: Query<Done>, get: Get) -> Result<HttpResponse, Problem> {
    page(&node, &request, &get.caller, (String::new(), done.is_done()), None).await
}

/// A join file, pasted.
#[derive(Debug, Deserialize)]
struct JoinForm {
    join: String,
}

async fn register(node: Data<Node>, request: HttpRequest, Form(post): Form<JoinForm>) -> Result<HttpResponse, Problem> {
    let (caller, typed) = (post.caller.clone(), post.body.join.clone());
    let read = |form: JoinForm| serde_json::from_str::<Join>(&form.join).map_err(Problem::malformed);
    let came = async { members::registered(&node, "/v1/issuer/members", post.in_words(read)?).await };
    match came.await {
        Ok(came) => Ok(after(&came, "/issuer/members?done=1")),
        Err(problem) => page(&node, &request, &caller, (typed, false), Some(problem)).await,
    }
}

/// How a member is to stand.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Wish {
    Suspend,
    Restore,
    Revoke,
}

/// The form for that.
#[derive(Debug, Deserialize)]
struct StandForm {
    wish: Wish,
}

async fn stand(
    node: Data<Node>,
    request: HttpRequest,
    id: Path<String>,
    Form(post): Form<StandForm>,
) -> Result<HttpResponse, Problem> {
    let caller = post.caller.clone();
    let (to, path) = match post.body.wish {
        Wish::Suspend => (To::Suspended, "suspension"),
        Wish::Restore => (To::Restored, "restoration"),
        Wish::Revoke => (To::Revoked, "revocation"),
    };
    let path = format!("/v1/issuer/members/{id}/{path}");
    let came = async {
        let post = post.in_words(|_| Ok(Line { from: None, key_stolen: false }))?;
        members::stood(&node, &path, id.into_inner(), post, to).await
    };
    match came.await {
        Ok(came) => Ok(after(&came, "/issuer/members?done=1")),
        Err(problem) => page(&node, &request, &caller, (String::new(), false), Some(problem)).await,
    }
}

/// What `keys next` wrote, pasted. Every form has a field `key` of its own (`node/src/pages/form.rs`).
#[derive(Debug, Deserialize)]
struct KeyForm {
    next: String,
}

async fn replace_key(
    node: Data<Node>,
    request: HttpRequest,
    id: Path<String>,
    Form(post): Form<KeyForm>,
) -> Result<HttpResponse, Problem> {
    let (caller, path) = (post.caller.clone(), format!("/v1/issuer/members/{id}/key"));
    let read = |form: KeyForm| serde_json::from_str::<Rotation>(&form.next).map_err(Problem::malformed);
    let came = async { members::rotated(&node, &path, id.into_inner(), post.in_words(read)?).await };
    match came.await {
        Ok(came) => Ok(after(&came, "/issuer/members?done=1")),
        Err(problem) => page(&node, &request, &caller, (String::new(), false), Some(problem)).await,
    }
}
