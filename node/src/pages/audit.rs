//! `/audit`: how every log stands, what was found, and whether a text that somebody brings is genuine.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Path, Query};
use actix_web::{HttpRequest, HttpResponse, ResponseError as _};
use actors::auditor::report::LogVerdict;
use askama::Template;
use domain::member::Role;
use domain::time::Timestamp;
use serde::Deserialize;

use super::answer::{show, show_as};
use super::form::PlainForm;
use super::frame::Frame;
use super::problem::Notice;
use super::words::{self, Known, or_dash};
use crate::accounts::permission::Permission as P;
use crate::api::access::Access::{Anyone, Operator};
use crate::api::answer::{Get, Page};
use crate::api::audit::{self, CheckedText};
use crate::api::caller::Caller;
use crate::api::log::heads;
use crate::api::problem::Problem;
use crate::node::Node;
use crate::pages;

pages! {
    GET "/audit", Operator(P::ReadAudit), Some(Role::Auditor), Some("audit") => page;
    GET "/audit/evidence/{digest}", Operator(P::ReadAudit), Some(Role::Auditor), None => evidence;
    GET "/audit/check", Anyone, Some(Role::Auditor), Some("audit-check") => check_form;
    POST "/audit/check", Anyone, Some(Role::Auditor), None => check;
}

/// Findings on a page.
const ON_PAGE: usize = 50;

/// A log.
struct Log {
    institution: String,
    verdict: String,
    is_good: bool,
    records: u64,
    last_at: String,
    why: Vec<(String, u64)>,
    size: String,
    signatures: usize,
    note: Option<String>,
    cosigned: Option<Cosigned>,
}

/// What auditors have cosigned of a log.
struct Cosigned {
    size: u64,
    by: Vec<(String, String)>,
}

/// A programme's figures from both ends.
struct Programme {
    name: String,
    holds: bool,
    generated: i64,
    redeemed: i64,
    voided: i64,
    standing: i64,
}

/// Published figures.
struct Table {
    name: String,
    period: String,
    verdict: String,
    is_good: bool,
}

/// Something that was found.
struct Found {
    kind: String,
    institution: String,
    by: String,
    count: u64,
    voucher: Option<String>,
    records: Vec<String>,
    evidence: Option<String>,
}

/// How everything stands.
#[derive(Template)]
#[template(path = "audit/report.html")]
struct Report {
    frame: Frame,
    known: Known,
    good: bool,
    logs: Vec<Log>,
    programmes: Vec<Programme>,
    tables: Vec<Table>,
    findings: Vec<Found>,
    /// Of all cosignatures the newest: when, and how many minutes ago.
    newest: Option<(String, i64)>,
    next: Option<String>,
}

async fn page(node: Data<Node>, request: HttpRequest, which: Query<Page>, get: Get) -> Result<HttpResponse, Problem> {
    let report = audit::reported(&node, &get).await?;
    let which = Page { limit: Some(ON_PAGE), cursor: which.into_inner().cursor };
    let found = audit::found(&node, &get, &which).await?;
    let frame = Frame::new(&node, &request, &get.caller);
    let heads = heads(&node);
    let newest = report.logs.iter().flat_map(|log| log.cosigned.iter().flat_map(|cosigned| cosigned.by.values())).max();
    let minutes = |at: Timestamp| (node.writer.now().millis() - at.millis()).max(0) / 60_000;
    let newest = newest.map(|at| (words::when(&node, *at), minutes(*at)));
    let log = |log: actors::auditor::report::LogReport| {
        let head = heads.iter().find(|head| head.institution == log.institution);
        let lines = head.map_or("", |head| head.note.as_str()).lines();
        let size = lines.clone().nth(1);
        let why = log.not_counting.into_iter().chain(log.forked_at.map(|at| ("forked-at".to_owned(), at)));
        Log {
            institution: log.institution.to_string(),
            verdict: words::word(&frame, "verdict", &log.verdict),
            is_good: log.verdict == LogVerdict::Good,
            records: log.records,
            last_at: or_dash((log.records > 0).then(|| words::when(&node, log.last_at))),
            why: why.collect(),
            size: or_dash(size),
            signatures: lines.filter(|line| line.starts_with('\u{2014}')).count(),
            note: head.map(|head| head.note.clone()),
            cosigned: log.cosigned.map(|cosigned| Cosigned {
                size: cosigned.size,
                by: cosigned.by.iter().map(|(by, at)| (by.to_string(), words::when(&node, *at))).collect(),
            }),
        }
    };
    let programme = |p: actors::auditor::report::ProgrammeReport| Programme {
        name: p.short.unwrap_or_else(|| format!("{}.{}", p.programme.institution, p.programme.index)),
        holds: p.holds,
        generated: p.figures.generated,
        redeemed: p.figures.redeemed,
        voided: p.figures.voided,
        standing: p.figures.stock_by_heads.values().sum(),
    };
    let table = |t: actors::auditor::report::TableReport| Table {
        name: format!("{}.{}", t.issuer, t.index),
        period: format!("{} – {}", words::when(&node, t.from), words::when(&node, t.until)),
        verdict: match (&t.difference, t.counted_at) {
            (Some(_), _) => frame.t("audit-table-differs"),
            (None, Some(_)) => frame.t("audit-table-same"),
            (None, None) => frame.t("audit-table-waits"),
        },
        is_good: t.difference.is_none(),
    };
    let finding = |f: audit::Found| Found {
        kind: words::word(&frame, "finding", &f.kind),
        institution: f.institution.to_string(),
        by: format!("{}.{}", f.by, f.index),
        count: f.count,
        voucher: f.voucher.map(|id| id.to_string()),
        records: f.records.iter().map(|r| format!("{}.{}", r.institution, r.index)).collect(),
        evidence: f.evidence.filter(|_| f.by == node.config.institution).map(|digest| digest.to_string()),
    };
    show(&Report {
        known: words::known(&node).await,
        good: report.good,
        logs: report.logs.into_iter().map(log).collect(),
        programmes: report.programmes.into_iter().map(programme).collect(),
        tables: report.tables.into_iter().map(table).collect(),
        findings: found.items.into_iter().map(finding).collect(),
        newest,
        next: found.next,
        frame,
    })
}

/// What a finding stands on.
#[derive(Template)]
#[template(path = "audit/evidence.html")]
struct Evidence {
    frame: Frame,
    digest: String,
    text: String,
}

async fn evidence(
    node: Data<Node>,
    request: HttpRequest,
    digest: Path<String>,
    get: Get,
) -> Result<HttpResponse, Problem> {
    let bytes = audit::evidence_of(&node, &get, &digest).await?;
    let read: Option<serde_json::Value> = serde_json::from_slice(&bytes).ok();
    let pretty = read.and_then(|value| serde_json::to_string_pretty(&value).ok());
    let text = pretty.unwrap_or_else(|| String::from_utf8_lossy(&bytes).into_owned());
    let frame = Frame::new(&node, &request, &get.caller);
    show(&Evidence { text, digest: digest.into_inner(), frame })
}

/// The form for a text, and what can be said of it.
#[derive(Template)]
#[template(path = "audit/check.html")]
struct Check {
    frame: Frame,
    notice: Option<Notice>,
    text: String,
    said: Option<Said>,
    /// Who may compare an export with what this node holds.
    is_inside: bool,
}

/// What can be said.
struct Said {
    kind: String,
    genuine: bool,
    facts: Vec<(String, String, Option<String>)>,
    is_outside: bool,
}

fn check_page(
    node: &Node,
    request: &HttpRequest,
    caller: &Caller,
    (text, said): (String, Option<CheckedText>),
    refused: Option<Problem>,
) -> Result<HttpResponse, Problem> {
    let frame = Frame::new(node, request, caller);
    let status = refused.as_ref().map_or(StatusCode::OK, |problem| problem.status_code());
    let notice = refused.map(|problem| Notice::of(&problem, &frame));
    let said = said.map(|said| {
        let place = |name: &str| said.facts.iter().find(|fact| fact.name == name).map(|fact| fact.value.clone());
        let record = place("institution").zip(place("index")).map(|(log, index)| format!("/records/{log}.{index}"));
        let link = |name: &str, value: &str| match name {
            "voucher" => Some(format!("/records/vouchers/{value}")),
            "index" => record.clone(),
            _ => None,
        };
        let value = |f: &audit::Fact| match f.name.as_str() {
            "held-here" => frame.t(&format!("held-{}", f.value)),
            _ => f.value.clone(),
        };
        let fact = |f: &audit::Fact| (frame.t(&format!("fact-{}", f.name)), value(f), link(&f.name, &f.value));
        Said {
            kind: words::word(&frame, "text-kind", &said.kind),
            genuine: said.genuine,
            facts: said.facts.iter().map(fact).collect(),
            is_outside: !caller.is_inside(),
        }
    });
    show_as(&Check { notice, text, said, is_inside: caller.is_inside(), frame }, status)
}

async fn check_form(node: Data<Node>, request: HttpRequest, get: Get) -> Result<HttpResponse, Problem> {
    check_page(&node, &request, &get.caller, (String::new(), None), None)
}

/// A text that somebody brings.
#[derive(Debug, Deserialize)]
struct Text {
    text: String,
}

async fn check(
    node: Data<Node>,
    request: HttpRequest,
    PlainForm(plain): PlainForm<Text>,
) -> Result<HttpResponse, Problem> {
    // Forms send the ends of lines of the web; what was signed has those of notes.
    let text = plain.body.text.replace("\r\n", "\n");
    match audit::checked(&node, &plain.caller, &text).await {
        Ok(said) => check_page(&node, &request, &plain.caller, (text, Some(said)), None),
        Err(problem) => check_page(&node, &request, &plain.caller, (text, None), Some(problem)),
    }
}
