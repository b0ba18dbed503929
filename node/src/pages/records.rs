//! `/records`: logs record by record, and the way of a voucher through all of them.

use actix_web::web::{Data, Path, Query};
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use domain::ids::InstitutionId;
use domain::record::{Body, Record};
use serde::{Deserialize, Serialize};

use super::answer::{see_other, show};
use super::frame::Frame;
use super::words::{self, Known, or_dash};
use crate::accounts::permission::Permission as P;
use crate::api::access::Access::Operator;
use crate::api::answer::Get;
use crate::api::problem::Problem;
use crate::api::records::{
    History, HistoryStep, RecordRow, RecordView, VoucherView, history_of, newest, proof_of, record_at, voucher_at,
};
use crate::api::system::members_of;
use crate::node::Node;
use crate::pages;

pages! {
    GET "/records", Operator(P::ReadRecords), None, Some("records") => list;
    GET "/records/{position}", Operator(P::ReadRecords), None, None => record;
    GET "/records/vouchers/{voucher}", Operator(P::ReadRecords), None, None => voucher;
}

/// Records on a page.
const ON_PAGE: usize = 25;

/// The name of what stands first in JSON: `BookingConfirmed` of a step.
fn variant(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name,
        Ok(serde_json::Value::Object(fields)) => fields.into_iter().next().map(|(name, _)| name).unwrap_or_default(),
        _ => String::new(),
    }
}

/// `booking-confirmed` for `BookingConfirmed`, as keys of texts are written.
fn kebab(name: &str) -> String {
    let mut text = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !text.is_empty() {
            text.push('-');
        }
        text.push(c.to_ascii_lowercase());
    }
    text
}

/// What a record of a kind says, in a few words.
pub(super) fn said(frame: &Frame, prefix: &str, value: &impl Serialize) -> String {
    frame.t(&format!("{prefix}-{}", kebab(&variant(value))))
}

/// What a record says, in a few words, and about which voucher.
fn summary(frame: &Frame, record: &Record) -> (String, Option<String>) {
    match &record.body {
        Body::Chain(chain) => (said(frame, "step", &chain.step), Some(chain.voucher.to_string())),
        Body::Note(note) => (said(frame, "note", &note.note), Some(note.voucher.to_string())),
        other => (said(frame, "body", other), None),
    }
}

/// A record in a list.
struct Line {
    position: String,
    at: String,
    what: String,
    voucher: Option<String>,
}

/// A log.
#[derive(Template)]
#[template(path = "audit/records.html")]
struct Records {
    frame: Frame,
    known: Known,
    logs: Vec<(String, bool)>,
    size: u64,
    lines: Vec<Line>,
    log: String,
    before: Option<u64>,
}

/// Which log, from where on back; or what somebody looks for.
#[derive(Debug, Deserialize)]
struct Asked {
    log: Option<InstitutionId>,
    before: Option<u64>,
    find: Option<String>,
}

async fn list(node: Data<Node>, request: HttpRequest, asked: Query<Asked>, get: Get) -> Result<HttpResponse, Problem> {
    let Asked { log, before, find } = asked.into_inner();
    if let Some(find) = find.as_deref().map(str::trim).filter(|find| !find.is_empty()) {
        // A voucher is `issuer.uuid`, a record `institution.index`.
        let is_record = find.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
        let safe = askama::filters::urlencode_strict(find).map(|find| find.to_string()).unwrap_or_default();
        let place = if is_record { format!("/records/{safe}") } else { format!("/records/vouchers/{safe}") };
        return Ok(see_other(&place).finish());
    }
    let institution = log.unwrap_or(node.config.institution);
    let (rows, size) = newest(&node, institution, before, ON_PAGE).await;
    let frame = Frame::new(&node, &request, &get.caller);
    let next = rows.last().map(|row| row.index).filter(|index| *index > 0);
    let line = |RecordRow { index, record }: RecordRow| {
        let (what, voucher) =
            record.as_ref().map_or_else(|| (frame.t("record-unknown"), None), |record| summary(&frame, record));
        let at = or_dash(record.map(|record| words::when(&node, record.at)));
        Line { position: format!("{institution}.{index}"), at, what, voucher }
    };
    let members = members_of(&node).await.into_iter();
    show(&Records {
        known: words::known(&node).await,
        logs: members.map(|m| (m.institution.to_string(), m.institution == institution)).collect(),
        size,
        lines: rows.into_iter().map(line).collect(),
        log: institution.to_string(),
        before: next,
        frame,
    })
}

/// One record.
#[derive(Template)]
#[template(path = "audit/record.html")]
struct RecordPage {
    frame: Frame,
    position: String,
    log: String,
    id: String,
    what: String,
    voucher: Option<String>,
    at: String,
    role: String,
    operator: Option<String>,
    refused: Option<&'static str>,
    json: String,
    proof: Option<String>,
}

async fn record(
    node: Data<Node>,
    request: HttpRequest,
    position: Path<String>,
    get: Get,
) -> Result<HttpResponse, Problem> {
    let RecordView { name, record, refused, bytes } = record_at(&node, &get, &position).await?;
    let frame = Frame::new(&node, &request, &get.caller);
    let (what, voucher) =
        record.as_ref().map_or_else(|| (frame.t("record-unknown"), None), |record| summary(&frame, record));
    let json = record.as_ref().and_then(|record| serde_json::to_string_pretty(record).ok()).unwrap_or(bytes);
    show(&RecordPage {
        position: position.into_inner(),
        log: name.institution.to_string(),
        id: name.id.to_string(),
        what,
        voucher,
        at: or_dash(record.as_ref().map(|record| words::when(&node, record.at))),
        role: record.as_ref().map_or_else(String::new, |record| words::word(&frame, "role", &record.role)),
        operator: record.as_ref().and_then(|record| record.operator).map(|operator| operator.0.to_string()),
        refused: refused.map(|reason| domain::reason_texts::texts(reason, frame.language).desk),
        json,
        proof: proof_of(&node, name.institution, name.index).await,
        frame,
    })
}

/// A step on a voucher's way.
struct Step {
    position: String,
    at: String,
    what: String,
}

fn step(node: &Node, frame: &Frame, step: &HistoryStep) -> Step {
    Step {
        position: format!("{}.{}", step.name.institution, step.name.index),
        at: words::when(node, step.at),
        what: said(frame, "step", &step.step),
    }
}

/// A voucher's way.
#[derive(Template)]
#[template(path = "audit/voucher.html")]
struct VoucherPage {
    frame: Frame,
    known: Known,
    voucher: String,
    in_time: bool,
    stage: String,
    custodian: String,
    until: String,
    contested: bool,
    waiting: bool,
    path: Vec<Step>,
    aside: Vec<Step>,
    notes: Vec<Step>,
    as_of: Vec<(String, u64)>,
}

async fn voucher(node: Data<Node>, request: HttpRequest, id: Path<String>, get: Get) -> Result<HttpResponse, Problem> {
    let VoucherView { in_time, inside, .. } = voucher_at(&node, &get, &id).await?;
    let History { path, aside, notes, complete_as_of, .. } = history_of(&node, &get, &id).await?;
    let frame = Frame::new(&node, &request, &get.caller);
    let steps = |all: Vec<HistoryStep>| all.iter().map(|one| step(&node, &frame, one)).collect();
    let inside = inside.as_ref();
    show(&VoucherPage {
        known: words::known(&node).await,
        in_time,
        stage: inside.map_or_else(String::new, |inside| words::word(&frame, "stage", &inside.stage)),
        custodian: or_dash(inside.and_then(|inside| inside.custodian)),
        until: or_dash(inside.map(|inside| words::when(&node, inside.valid_until))),
        contested: inside.is_some_and(|inside| inside.contested),
        waiting: inside.is_some_and(|inside| inside.waiting),
        path: steps(path),
        aside: steps(aside),
        notes: notes
            .iter()
            .map(|note| Step {
                position: format!("{}.{}", note.name.institution, note.name.index),
                at: words::when(&node, note.at),
                what: said(&frame, "note", &note.note),
            })
            .collect(),
        as_of: complete_as_of.into_iter().map(|log| (log.institution.to_string(), log.size)).collect(),
        voucher: id.into_inner(),
        frame,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_named_as_its_text_is() {
        assert_eq!(kebab(&variant(&domain::lifecycle::Step::BookingConfirmed)), "booking-confirmed");
        assert_eq!(kebab(&variant(&Body::Heartbeat)), "heartbeat");
    }
}
