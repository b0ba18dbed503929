//! `/issuer/approvals`: what one person asked for and another consents to, each signed in as themselves.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Path, Query};
use actix_web::{HttpRequest, HttpResponse, ResponseError as _};
use askama::Template;
use domain::member::Role;
use serde::Deserialize;
use uuid::Uuid;

use super::{Nav, around};
use crate::accounts::permission::Permission as P;
use crate::api::access::Access::{OneOf, Person};
use crate::api::answer::{Get, Plain};
use crate::api::approvals::{self, ApprovalView, Consent};
use crate::api::caller::Caller;
use crate::api::problem::Problem;
use crate::node::Node;
use crate::pages;
use crate::pages::answer::{see_other, show_as};
use crate::pages::form::PlainForm;
use crate::pages::frame::Frame;
use crate::pages::problem::Notice;
use crate::pages::words;

/// Whoever may be one of two persons.
const OF_TWO: &[P] = &[
    P::ManageMembers,
    P::ChangeKeys,
    P::SetParameters,
    P::VoidVouchers,
    P::ReverseRedemptions,
    P::ResolveVouchers,
    P::Compensate,
];

pages! {
    GET "/issuer/approvals", OneOf(OF_TWO), Some(Role::Issuer), Some("issuer-approvals") => list;
    POST "/issuer/approvals/{id}/consent", Person, Some(Role::Issuer), None => consent;
    POST "/issuer/approvals/{id}/refusal", Person, Some(Role::Issuer), None => refuse;
}

/// Something that waits.
struct Waiting {
    id: Uuid,
    what: String,
    path: String,
    body: Vec<(String, String)>,
    request: String,
    asked_by: String,
    asked_at: String,
    expires_at: String,
    is_own: bool,
    is_new: bool,
}

/// What waits.
#[derive(Template)]
#[template(path = "issuer/approvals.html")]
struct Approvals {
    frame: Frame,
    nav: Nav,
    notice: Option<Notice>,
    done: Option<String>,
    waiting: Vec<Waiting>,
}

/// What was just asked for or done.
#[derive(Debug, Default, Deserialize)]
struct Asked {
    asked: Option<Uuid>,
    done: Option<String>,
}

fn waiting(node: &Node, frame: &Frame, me: Option<Uuid>, new: Option<Uuid>, view: ApprovalView) -> Waiting {
    // What is consented to is shown as it was sent: a nicer value could say something else. Names of fields are put in words.
    let label = |name: String| {
        let key = format!("field-{}", name.replace('_', "-"));
        let text = frame.t(&key);
        if text == key { name } else { text }
    };
    let body = match view.body {
        serde_json::Value::Object(fields) => fields
            .into_iter()
            .map(|(name, value)| (label(name), value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)))
            .collect(),
        other => vec![(String::new(), other.to_string())],
    };
    Waiting {
        id: view.approval,
        what: words::word(frame, "permission", &view.permission),
        path: view.path,
        body,
        request: view.request.to_string(),
        asked_by: view.asked_by,
        asked_at: words::when(node, view.asked_at),
        expires_at: words::when(node, view.expires_at),
        is_own: me == Some(view.operator),
        is_new: new == Some(view.approval),
    }
}

fn page(
    node: &Data<Node>,
    request: &HttpRequest,
    caller: &Caller,
    asked: Asked,
    refused: Option<Problem>,
) -> Result<HttpResponse, Problem> {
    let me = caller.operator().map(|operator| operator.0);
    let (frame, nav) = around(node, request, caller);
    let status = refused.as_ref().map_or(StatusCode::OK, |problem| problem.status_code());
    let all = approvals::waiting(node, caller)?.into_iter();
    let page = Approvals {
        notice: refused.map(|problem| Notice::of(&problem, &frame)),
        done: match asked.done.as_deref() {
            Some("consent") => Some(frame.t("approval-done")),
            Some("refusal") => Some(frame.t("approval-refused")),
            _ => None,
        },
        waiting: all.map(|view| waiting(node, &frame, me, asked.asked, view)).collect(),
        nav,
        frame,
    };
    show_as(&page, status)
}

async fn list(node: Data<Node>, request: HttpRequest, asked: Query<Asked>, get: Get) -> Result<HttpResponse, Problem> {
    page(&node, &request, &get.caller, asked.into_inner(), None)
}

/// What exactly is consented to. A form carries more than REST's body, which allows nothing else.
#[derive(Debug, Deserialize)]
struct Digest {
    request: domain::ids::Digest,
}

fn as_consent(Plain { caller, body: Digest { request }, language }: Plain<Digest>) -> Plain<Consent> {
    Plain { caller, body: Consent { request }, language }
}

async fn consent(
    node: Data<Node>,
    request: HttpRequest,
    id: Path<Uuid>,
    PlainForm(plain): PlainForm<Digest>,
) -> Result<HttpResponse, Problem> {
    let plain = as_consent(plain);
    match approvals::consented(&node, &plain, *id).await {
        Ok(_) => Ok(see_other("/issuer/approvals?done=consent").finish()),
        Err(problem) => page(&node, &request, &plain.caller, Asked::default(), Some(problem)),
    }
}

async fn refuse(
    node: Data<Node>,
    request: HttpRequest,
    id: Path<Uuid>,
    PlainForm(plain): PlainForm<Digest>,
) -> Result<HttpResponse, Problem> {
    let plain = as_consent(plain);
    match approvals::refused(&node, &plain, *id) {
        Ok(()) => Ok(see_other("/issuer/approvals?done=refusal").finish()),
        Err(problem) => page(&node, &request, &plain.caller, Asked::default(), Some(problem)),
    }
}
