//! `/sign-in`, `/sign-out`, `/password`, `/language`: who somebody is, and in which language they read.

use actix_web::http::header;
use actix_web::web::{Data, Path, Query};
use actix_web::{HttpRequest, HttpResponse, ResponseError as _};
use askama::Template;
use domain::reasons::Reason;
use serde::Deserialize;

use super::answer::{see_other, show, show_as};
use super::form::PlainForm;
use super::frame::{Frame, local};
use super::problem::Notice;
use super::text;
use crate::accounts::password::Secret;
use crate::api::access::Access;
use crate::api::answer::{Get, Plain};
use crate::api::caller::{Caller, LANGUAGE_COOKIE};
use crate::api::problem::Problem;
use crate::api::sessions;
use crate::node::Node;
use crate::pages;

pages! {
    GET "/sign-in", Access::Anyone, None, None => form;
    POST "/sign-in", Access::SignIn, None, None => sign_in;
    POST "/sign-out", Access::SignedIn, None, None => sign_out;
    GET "/password", Access::SignedIn, None, Some("password") => password_form;
    POST "/password", Access::SignedIn, None, None => set_password;
    GET "/language/{language}", Access::Anyone, None, None => choose_language;
}

/// How long a browser keeps the language that was chosen, in seconds.
const LANGUAGE_SECS: u32 = 365 * 86_400;

/// Where to go afterwards.
#[derive(Deserialize)]
struct Next {
    next: Option<String>,
}

/// The form for name and password.
#[derive(Template)]
#[template(path = "sign-in.html")]
struct SignInPage<'a> {
    frame: &'a Frame,
    notice: Option<Notice>,
    name: &'a str,
    next: &'a str,
    has_provider: bool,
}

async fn form(node: Data<Node>, request: HttpRequest, next: Query<Next>, get: Get) -> Result<HttpResponse, Problem> {
    let next = local(next.next.as_deref().unwrap_or("/"));
    if matches!(get.caller, Caller::Operator(_)) {
        return Ok(see_other(next).finish());
    }
    let frame = Frame::new(&node, &request, &get.caller);
    show(&SignInPage { frame: &frame, notice: None, name: "", next, has_provider: node.oidc.is_some() })
}

/// Name and password.
#[derive(Deserialize)]
struct SignIn {
    name: String,
    password: Secret,
    next: Option<String>,
}

async fn sign_in(
    node: Data<Node>,
    request: HttpRequest,
    PlainForm(plain): PlainForm<SignIn>,
) -> Result<HttpResponse, Problem> {
    let Plain { body: SignIn { name, password, next }, .. } = plain;
    let next = local(next.as_deref().unwrap_or("/"));
    match sessions::begin(&node, &request, name.clone(), password).await {
        Ok((text, _)) => {
            let cookie = sessions::session_cookie(&node, &text);
            Ok(see_other(next).insert_header((header::SET_COOKIE, cookie)).finish())
        }
        Err(problem) => {
            let frame = Frame::new(&node, &request, &Caller::Anonymous);
            let notice = Some(Notice::of(&problem, &frame));
            let page = SignInPage { frame: &frame, notice, name: &name, next, has_provider: node.oidc.is_some() };
            show_as(&page, problem.status_code())
        }
    }
}

/// A form without anything but what is hidden in it.
#[derive(Deserialize)]
struct Nothing {}

async fn sign_out(node: Data<Node>, PlainForm(plain): PlainForm<Nothing>) -> Result<HttpResponse, Problem> {
    sessions::end(&node, &plain.caller)?;
    Ok(see_other("/sign-in").insert_header((header::SET_COOKIE, sessions::no_cookie())).finish())
}

/// The form for another password.
#[derive(Template)]
#[template(path = "password.html")]
struct PasswordPage<'a> {
    frame: &'a Frame,
    notice: Option<Notice>,
    is_needed: bool,
    done: bool,
}

/// What came of it.
#[derive(Deserialize)]
struct Done {
    done: Option<String>,
}

async fn password_form(
    node: Data<Node>,
    request: HttpRequest,
    done: Query<Done>,
    get: Get,
) -> Result<HttpResponse, Problem> {
    let is_needed = get.caller.acting()?.one_time;
    let frame = Frame::new(&node, &request, &get.caller);
    show(&PasswordPage { frame: &frame, notice: None, is_needed, done: done.done.is_some() })
}

/// The own password.
#[derive(Deserialize)]
struct PasswordChange {
    current: Secret,
    new: Secret,
}

async fn set_password(
    node: Data<Node>,
    request: HttpRequest,
    PlainForm(plain): PlainForm<PasswordChange>,
) -> Result<HttpResponse, Problem> {
    let Plain { caller, body: PasswordChange { current, new }, .. } = plain;
    let is_needed = caller.acting()?.one_time;
    match sessions::set_password(&node, &caller, current, new).await {
        Ok(()) => Ok(see_other(if is_needed { "/" } else { "/password?done=1" }).finish()),
        Err(problem) => {
            let frame = Frame::new(&node, &request, &caller);
            let notice = Some(Notice::of(&problem, &frame));
            show_as(&PasswordPage { frame: &frame, notice, is_needed, done: false }, problem.status_code())
        }
    }
}

/// The page from which a language was chosen.
#[derive(Deserialize)]
struct Back {
    back: Option<String>,
}

async fn choose_language(language: Path<String>, back: Query<Back>, _get: Get) -> Result<HttpResponse, Problem> {
    let language = text::by_tag(&language).ok_or(Reason::NotFound)?;
    let tag = text::tag(language);
    let cookie = format!("{LANGUAGE_COOKIE}={tag}; Path=/; Max-Age={LANGUAGE_SECS}; Secure; HttpOnly; SameSite=Lax");
    let back = local(back.back.as_deref().unwrap_or("/"));
    Ok(see_other(back).insert_header((header::SET_COOKIE, cookie)).finish())
}
