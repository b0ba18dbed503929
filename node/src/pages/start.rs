//! `/`: what this node and this person can do, and nothing else.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use domain::reasons::Reason;

use super::ALL;
use super::answer::{see_other, show};
use super::frame::Frame;
use super::problem::{again, is_from_elsewhere};
use super::table::Page;
use crate::api::access::Access;
use crate::api::answer::Get;
use crate::api::caller::Caller;
use crate::api::problem::Problem;
use crate::node::Node;
use crate::pages;

pages! {
    GET "/", Access::Anyone, None, None => start;
}

/// What this node and this person can do.
#[derive(Template)]
#[template(path = "start.html")]
struct Start<'a> {
    frame: &'a Frame,
    choices: Vec<&'static Page>,
}

async fn start(node: Data<Node>, request: HttpRequest, get: Get) -> Result<HttpResponse, Problem> {
    match &get.caller {
        Caller::Operator(acting) if acting.one_time => return Ok(see_other("/password").finish()),
        Caller::Anonymous if is_from_elsewhere(&request) => return Ok(again("/")),
        Caller::Peer(_) | Caller::Holder(_) => return Err(Reason::Forbidden.into()),
        _ => {}
    }
    let frame = Frame::new(&node, &request, &get.caller);
    let all = ALL.iter().copied().flatten();
    let choices = all.filter(|page| page.is_offered(&node.config.roles, &get.caller)).collect();
    show(&Start { frame: &frame, choices })
}
