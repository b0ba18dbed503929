//! `/issuer`: what people of a health authority see and do.

pub mod approvals;
pub mod chart;
pub mod claims;
pub mod corrections;
pub mod figures;
pub mod members;
pub mod parameters;
pub mod programmes;
pub mod publications;
pub mod sheet;
pub mod supply;
pub mod vouchers;

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;

use super::answer::see_other;
use super::frame::Frame;
use super::table::Page;
use super::words;
use crate::api::approvals::Came;
use crate::api::caller::Caller;
use crate::node::Node;

/// The authority's pages that a caller is offered, as they stand above each of them.
type Nav = Vec<&'static Page>;

/// What stands around every page of the authority.
fn around(node: &Data<Node>, request: &HttpRequest, caller: &Caller) -> (Frame, Nav) {
    (Frame::new(node, request, caller), words::beside(node, caller, "/issuer"))
}

/// Whether something was just done: a form that went well leads back to its page and says so in the address.
#[derive(Debug, Deserialize)]
struct Done {
    done: Option<String>,
}

impl Done {
    const fn is_done(&self) -> bool {
        self.done.is_some()
    }
}

/// Where a browser goes that asked for something which two persons do.
fn after(came: &Came, then: &str) -> HttpResponse {
    match came {
        Came::Waits(asked) => see_other(&format!("/issuer/approvals?asked={}", asked.approval)).finish(),
        Came::Done(_) => see_other(then).finish(),
    }
}
