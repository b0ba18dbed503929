//! `/issuer/publications`: figures that stand in the log for everybody, and the publication of a period's.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Query};
use actix_web::{HttpRequest, HttpResponse, ResponseError as _};
use askama::Template;
use chrono::NaiveDate;
use domain::member::Role;
use domain::time::Millis;
use serde::Deserialize;

use super::{Done, Nav, around};
use crate::accounts::permission::Permission as P;
use crate::api::access::Access::Operator;
use crate::api::answer::Get;
use crate::api::caller::Caller;
use crate::api::issuer::statistics::{self, Period, Publication};
use crate::api::problem::Problem;
use crate::node::Node;
use crate::pages;
use crate::pages::answer::{see_other, show_as};
use crate::pages::form::Form;
use crate::pages::frame::Frame;
use crate::pages::may;
use crate::pages::problem::Notice;
use crate::pages::words;

pages! {
    GET "/issuer/publications", Operator(P::ReadStatistics), Some(Role::Issuer), Some("issuer-publications") => list;
    POST "/issuer/publications", Operator(P::PublishStatistics), Some(Role::Issuer), None => publish;
}

/// Published figures of a period.
struct Line {
    from: String,
    until: String,
    record: String,
    table: String,
    totals: Vec<(String, u64)>,
}

fn line(node: &Node, frame: &Frame, publication: &Publication) -> Line {
    let published = &publication.published;
    let name = |(measure, count): &(_, u64)| (words::word(frame, "measure", measure), *count);
    Line {
        from: words::day(node, published.from),
        // The first moment after it is on the day after its last.
        until: words::day(node, published.until - Millis(1)),
        record: format!("{}.{}", publication.name.institution, publication.name.index),
        table: published.table.to_string(),
        totals: published.totals.iter().map(name).collect(),
    }
}

#[derive(Template)]
#[template(path = "issuer/publications.html")]
struct Publications {
    frame: Frame,
    nav: Nav,
    notice: Option<Notice>,
    done: bool,
    may_publish: bool,
    today: NaiveDate,
    lines: Vec<Line>,
}

async fn page(
    node: &Data<Node>,
    request: &HttpRequest,
    caller: &Caller,
    done: bool,
    refused: Option<Problem>,
) -> Result<HttpResponse, Problem> {
    let (frame, nav) = around(node, request, caller);
    let status = refused.as_ref().map_or(StatusCode::OK, |problem| problem.status_code());
    let page = Publications {
        notice: refused.map(|problem| Notice::of(&problem, &frame)),
        done,
        may_publish: may(caller, P::PublishStatistics),
        today: node.writer.now().day_at(node.writer.settings().offset),
        lines: statistics::newest(node).await.iter().map(|one| line(node, &frame, one)).collect(),
        nav,
        frame,
    };
    show_as(&page, status)
}

async fn list(node: Data<Node>, request: HttpRequest, done: Query<Done>, get: Get) -> Result<HttpResponse, Problem> {
    page(&node, &request, &get.caller, done.is_done(), None).await
}

/// A form carries more than REST's body, which allows nothing else.
#[derive(Debug, Deserialize)]
struct PeriodForm {
    from: NaiveDate,
    until: NaiveDate,
}

async fn publish(
    node: Data<Node>,
    request: HttpRequest,
    Form(post): Form<PeriodForm>,
) -> Result<HttpResponse, Problem> {
    let caller = post.caller.clone();
    let read = |PeriodForm { from, until }| Ok(Period { from, until });
    let made = async { statistics::published(&node, &post.in_words(read)?).await };
    match made.await {
        Ok(_) => Ok(see_other("/issuer/publications?done=1").finish()),
        Err(problem) => page(&node, &request, &caller, false, Some(problem)).await,
    }
}
