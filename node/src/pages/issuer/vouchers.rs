//! `/issuer/vouchers`: vouchers at a stage, those that lapse soon, and one that is to be voided.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Query};
use actix_web::{HttpRequest, HttpResponse, ResponseError as _};
use askama::Template;
use domain::ids::{ShortName, VoucherId};
use domain::lifecycle::Stage;
use domain::member::Role;
use domain::record::VoidReason;
use domain::time::Millis;
use serde::Deserialize;

use super::{Nav, after, around};
use crate::accounts::permission::Permission as P;
use crate::api::access::Access::Operator;
use crate::api::answer::Get;
use crate::api::caller::Caller;
use crate::api::issuer::vouchers::{self, Void, VoucherRow, Which};
use crate::api::problem::Problem;
use crate::api::system::programmes_of;
use crate::node::Node;
use crate::pages;
use crate::pages::answer::{show, show_as};
use crate::pages::form::Form;
use crate::pages::frame::Frame;
use crate::pages::problem::Notice;
use crate::pages::words::{self, Known, or_dash};

pages! {
    GET "/issuer/vouchers", Operator(P::ReadVouchers), Some(Role::Issuer), Some("issuer-vouchers") => list;
    GET "/issuer/expiring", Operator(P::ReadVouchers), Some(Role::Issuer), Some("issuer-expiring") => expiring;
    GET "/issuer/voids", Operator(P::VoidVouchers), Some(Role::Issuer), None => void_form;
    POST "/issuer/voids", Operator(P::VoidVouchers), Some(Role::Issuer), None => void;
}

/// Vouchers on a page.
const ON_PAGE: usize = 50;

/// Most vouchers that are shown as lapsing soon.
const MAX_EXPIRING: usize = 200;

/// Within how many days a voucher lapses soon.
const SOON_DAYS: [u16; 3] = [7, 30, 90];

/// What an officer may give as a reason.
pub(super) const REASONS: [VoidReason; 5] = [
    VoidReason::IssuerDecision,
    VoidReason::EntitlementEnded,
    VoidReason::HolderDied,
    VoidReason::Mistake,
    VoidReason::SuspectedFraud,
];

/// A voucher as the lists show it.
struct Line {
    voucher: String,
    stage: String,
    programme: String,
    community: String,
    hospital: String,
    until: String,
    days_left: i64,
}

fn line(node: &Node, frame: &Frame, row: &VoucherRow) -> Line {
    Line {
        voucher: row.voucher.to_string(),
        stage: words::word(frame, "stage", &row.stage),
        programme: or_dash(row.programme.as_ref()),
        community: or_dash(row.community),
        hospital: or_dash(row.hospital),
        // The first moment after it is on the day after its last.
        until: words::day(node, row.valid_until - Millis(1)),
        days_left: (row.valid_until.millis() - node.writer.now().millis()).max(0) / Millis::days(1).0,
    }
}

/// Vouchers at a stage.
#[derive(Template)]
#[template(path = "issuer/vouchers.html")]
struct Vouchers {
    frame: Frame,
    nav: Nav,
    known: Known,
    stages: Vec<(String, String, bool)>,
    programmes: Vec<(String, bool)>,
    lines: Vec<Line>,
    next: Option<String>,
    stage: String,
    programme: String,
}

/// Which ones. A form sends an empty text for all programmes.
#[derive(Debug, Deserialize)]
struct Asked {
    stage: Option<Stage>,
    programme: Option<String>,
    cursor: Option<String>,
}

async fn list(node: Data<Node>, request: HttpRequest, asked: Query<Asked>, get: Get) -> Result<HttpResponse, Problem> {
    let Asked { stage, programme, cursor } = asked.into_inner();
    let stage = stage.unwrap_or(Stage::Generated);
    let programme: Option<ShortName> = programme.and_then(|name| name.parse().ok());
    let which = Which { stage: Some(stage), programme: programme.clone(), limit: Some(ON_PAGE), cursor };
    let listed = vouchers::listed(&node, &get, which).await?;
    let (frame, nav) = around(&node, &request, &get.caller);
    let programmes = programmes_of(&node).await.into_iter().map(|view| {
        let is_it = programme.as_ref() == Some(&view.policy.programme);
        (view.policy.programme.to_string(), is_it)
    });
    let stages = Stage::ALL.map(|one| (words::code(&one), words::word(&frame, "stage", &one), one == stage));
    show(&Vouchers {
        known: words::known(&node).await,
        stages: stages.to_vec(),
        programmes: programmes.collect(),
        lines: listed.items.iter().map(|row| line(&node, &frame, row)).collect(),
        next: listed.next,
        stage: words::code(&stage),
        programme: programme.map(|name| name.to_string()).unwrap_or_default(),
        nav,
        frame,
    })
}

/// Vouchers that lapse soon.
#[derive(Template)]
#[template(path = "issuer/expiring.html")]
struct Expiring {
    frame: Frame,
    nav: Nav,
    known: Known,
    days: Vec<(u16, bool)>,
    lines: Vec<Line>,
    is_whole: bool,
}

/// Within how many days.
#[derive(Debug, Deserialize)]
struct Soon {
    days: Option<u16>,
}

async fn expiring(
    node: Data<Node>,
    request: HttpRequest,
    soon: Query<Soon>,
    get: Get,
) -> Result<HttpResponse, Problem> {
    let within = soon.days.filter(|days| SOON_DAYS.contains(days)).unwrap_or(SOON_DAYS[1]);
    let before = node.writer.now() + Millis::days(i64::from(within));
    let (rows, is_whole) = vouchers::expiring(&node, before, MAX_EXPIRING).await;
    let (frame, nav) = around(&node, &request, &get.caller);
    show(&Expiring {
        known: words::known(&node).await,
        days: SOON_DAYS.map(|days| (days, days == within)).to_vec(),
        lines: rows.iter().map(|row| line(&node, &frame, row)).collect(),
        is_whole,
        nav,
        frame,
    })
}

/// The form for a voucher to void.
#[derive(Template)]
#[template(path = "issuer/void.html")]
struct VoidPage {
    frame: Frame,
    nav: Nav,
    notice: Option<Notice>,
    voucher: String,
    reasons: Vec<(String, String)>,
    done: bool,
}

fn void_page(
    node: &Data<Node>,
    request: &HttpRequest,
    caller: &Caller,
    (voucher, done): (String, bool),
    refused: Option<Problem>,
) -> Result<HttpResponse, Problem> {
    let (frame, nav) = around(node, request, caller);
    let status = refused.as_ref().map_or(StatusCode::OK, |problem| problem.status_code());
    let notice = refused.map(|problem| Notice::of(&problem, &frame));
    let reasons = REASONS.map(|reason| (words::code(&reason), words::word(&frame, "void-reason", &reason)));
    show_as(&VoidPage { notice, voucher, reasons: reasons.to_vec(), done, nav, frame }, status)
}

/// What was named before.
#[derive(Debug, Deserialize)]
struct Named {
    voucher: Option<String>,
    done: Option<String>,
}

async fn void_form(
    node: Data<Node>,
    request: HttpRequest,
    named: Query<Named>,
    get: Get,
) -> Result<HttpResponse, Problem> {
    let Named { voucher, done } = named.into_inner();
    void_page(&node, &request, &get.caller, (voucher.unwrap_or_default(), done.is_some()), None)
}

/// A voucher to void.
#[derive(Debug, Deserialize)]
struct VoidForm {
    voucher: String,
    reason: VoidReason,
}

async fn void(node: Data<Node>, request: HttpRequest, Form(post): Form<VoidForm>) -> Result<HttpResponse, Problem> {
    let (caller, typed) = (post.caller.clone(), post.body.voucher.clone());
    let read = |VoidForm { voucher, reason }: VoidForm| {
        let voucher: VoucherId = voucher.trim().parse().map_err(Problem::malformed)?;
        Ok(Void { voucher, reason })
    };
    let came = async { vouchers::voided(&node, "/v1/issuer/voids", post.in_words(read)?).await };
    match came.await {
        Ok(came) => Ok(after(&came, "/issuer/voids?done=1")),
        Err(problem) => void_page(&node, &request, &caller, (typed, false), Some(problem)),
    }
}
