//! Issuing at the community's desk, the voucher's sheet, and booking for somebody without a phone.

use std::collections::BTreeSet;

use actix_web::web::{Data, Path, Query};
use actix_web::{HttpRequest, HttpResponse};
use actors::token::vc1::Card;
use actors::voucher::booking;
use askama::Template;
use domain::ids::{ShortName, VoucherId};
use domain::lifecycle::Step;
use domain::member::Role;
use domain::reasons::Reason;
use domain::record::{AssistReason, HelpStep};
use domain::time::{Millis, Timestamp};
use serde::Deserialize;

use super::community::refused;
use super::fields::Fields;
use super::shown::{Knowledge, When, stage};
use crate::accounts::permission::Permission as P;
use crate::api::access::Access::Operator;
use crate::api::answer::{self, Get, Plain};
use crate::api::community::{self, Help, Issue};
use crate::api::problem::Problem;
use crate::api::wallet::{Wanted, offers};
use crate::node::Node;
use crate::pages::answer::{see_other, show};
use crate::pages::form::{Form, PlainForm};
use crate::pages::frame::Frame;
use crate::pages::picture;
use crate::pages::text::text;

crate::pages! {
    POST "/desk/community/issue", Operator(P::IssueVouchers), Some(Role::Community), None => issue;
    GET "/desk/community/vouchers/{voucher}", Operator(P::IdentifyPeople), Some(Role::Community), None => sheet;
    POST "/desk/community/slots", Operator(P::HelpHolders), Some(Role::Community), None => slots;
    POST "/desk/community/help", Operator(P::HelpHolders), Some(Role::Community), None => help;
}

/// How far ahead appointments are offered.
const AHEAD: Millis = Millis::days(14);

/// Most appointments on a page: a clerk reads them aloud.
const MAX_OFFERS: usize = 60;

/// Dots of a printer to a module of the voucher's QR: 65 modules of 12 dots are 66 mm.
const SHEET_DOTS: u32 = 12;

async fn issue(node: Data<Node>, request: HttpRequest, Form(post): Form<Fields>) -> Result<HttpResponse, Problem> {
    let frame = Frame::new(&node, &request, &post.caller);
    let caller = post.caller.clone();
    let issued = async {
        let post = post.in_words(|fields| {
            Ok(Issue {
                qr: fields.code("qr").map(str::to_owned),
                card: fields.code("card").map(str::to_owned),
                programme: if fields.code("card").is_some() { fields.parsed("programme")? } else { None },
                document_number: fields.text("document_number").map(str::to_owned),
                assist_reason: fields.word("assist_reason")?,
            })
        })?;
        let receipt = community::issued(&node, &post).await?;
        receipt.voucher.ok_or_else(|| Problem::new(Reason::Internal))
    };
    match issued.await {
        Ok(voucher) => Ok(see_other(&format!("/desk/community/vouchers/{voucher}?done=issued")).finish()),
        Err(problem) => refused(&node, &frame, &caller, "community-not-issued", &problem).await,
    }
}

/// A voucher's sheet: what its holder takes away on paper.
#[derive(Template)]
#[template(path = "desk/sheet.html")]
struct SheetPage<'a> {
    frame: &'a Frame,
    just_issued: bool,
    title: String,
    code: String,
    voucher: String,
    from: String,
    until: String,
    department: String,
    state: String,
    as_of: String,
}

/// Whether it was issued a moment ago.
#[derive(Deserialize)]
struct Done {
    done: Option<String>,
}

async fn sheet(
    node: Data<Node>,
    request: HttpRequest,
    voucher: Path<String>,
    done: Query<Done>,
    get: Get,
) -> Result<HttpResponse, Problem> {
    let voucher: VoucherId = voucher.parse().map_err(|_| Reason::NotFound)?;
    let frame = Frame::new(&node, &request, &get.caller);
    let found = answer::read(&node, |work| {
        let doc = work.voucher(voucher)?;
        let link = doc.last_on_path(|step| matches!(step, Step::Encoded { .. }))?;
        let Step::Encoded { token } = &link.step else { return None };
        let state = doc.state()?.clone();
        let policy = work.programme(&state.programme)?.newest()?.clone();
        Some((token.clone(), state, policy))
    });
    let (token, state, policy) = found.await.ok_or(Reason::NotFound)?;
    let when = When::new(&node, &frame);
    let title = match frame.language {
        domain::reason_texts::Language::Zh => policy.title_zh,
        domain::reason_texts::Language::En => policy.title_en,
    };
    let code = picture::printed(&token, &frame.t("sheet-code"), SHEET_DOTS);
    let page = SheetPage {
        just_issued: done.done.is_some(),
        title,
        code: code.map_err(|_| Reason::Internal)?,
        voucher: voucher.to_string(),
        from: when.day(state.valid_from),
        until: format!("{} {}", when.day(state.valid_until), when.time(state.valid_until)),
        department: policy.issuing_department,
        state: stage(&frame, state.stage),
        as_of: when.moment(node.writer.now()),
        frame: &frame,
    };
    show(&page)
}

/// An appointment that can be taken.
struct OfferRow {
    value: String,
    day: String,
    time: String,
    place: String,
}

/// Appointments to choose from, for the holder of a card.
#[derive(Template)]
#[template(path = "desk/slots.html")]
struct SlotsPage<'a> {
    frame: &'a Frame,
    knowledge: Knowledge,
    card: String,
    voucher: String,
    offers: Vec<OfferRow>,
    unanswered: Option<String>,
}

/// What a card holder's voucher can be booked for.
async fn slots(
    node: Data<Node>,
    request: HttpRequest,
    PlainForm(plain): PlainForm<Fields>,
) -> Result<HttpResponse, Problem> {
    let Plain { caller, body, .. } = plain;
    let frame = Frame::new(&node, &request, &caller);
    let asked = async {
        let card = body.code("card").ok_or_else(|| Problem::malformed("card"))?;
        Card::parse(card.trim()).map_err(|error| Problem::new(Reason::QrNotGenuine).detail(error))?;
        let voucher: VoucherId = body.parsed("voucher")?.ok_or_else(|| Problem::malformed("voucher"))?;
        let read = answer::read(&node, |work| {
            let state = work.voucher(voucher)?.state()?.clone();
            let policy = work.programme(&state.programme)?.newest()?.clone();
            Some((state.valid_from, state.valid_until, policy.departments))
        });
        let (valid_from, valid_until, departments) = read.await.ok_or(Reason::NotFound)?;
        Ok::<_, Problem>((card.to_owned(), voucher, valid_from, valid_until, departments))
    };
    let (card, voucher, valid_from, valid_until, departments) = match asked.await {
        Ok(asked) => asked,
        Err(problem) => return refused(&node, &frame, &caller, "community-not-helped", &problem).await,
    };
    let now = node.writer.now();
    let departments: BTreeSet<ShortName> = departments.into_iter().collect();
    let until = valid_until.min(now + AHEAD);
    // What the voucher module would refuse as too near is not offered, nor what lies before the voucher's time.
    let from = valid_from.max(now + booking::NOTICE);
    let (found, silent) = offers(&node, None, &departments, from, until, MAX_OFFERS).await;
    let when = When::new(&node, &frame);
    let called = |name: String, code: ShortName| if name.is_empty() { code.to_string() } else { name };
    let rows = found.into_iter().map(|offer| OfferRow {
        value: format!("{}|{}|{}|{}", offer.hospital, offer.department, offer.doctor, offer.start),
        day: when.day(offer.start),
        time: when.time(offer.start),
        place: format!(
            "{} · {} · {}",
            offer.hospital,
            called(offer.department_name, offer.department),
            called(offer.doctor_name, offer.doctor)
        ),
    });
    let names = silent.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let page = SlotsPage {
        knowledge: Knowledge::now(&node, &frame).await,
        card,
        voucher: voucher.to_string(),
        offers: rows.collect(),
        unanswered: (!silent.is_empty()).then(|| text(frame.language, "slots-unanswered", &[("names", &names)])),
        frame: &frame,
    };
    show(&page)
}

/// An appointment as the form names it.
fn wanted(text: &str) -> Option<Wanted> {
    let mut parts = text.split('|');
    let (hospital, department, doctor) =
        (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let start = chrono::DateTime::parse_from_rfc3339(parts.next()?).ok()?;
    parts.next().is_none().then(|| Wanted { hospital, department, doctor, start: Timestamp::from(start.to_utc()) })
}

async fn help(node: Data<Node>, request: HttpRequest, Form(post): Form<Fields>) -> Result<HttpResponse, Problem> {
    let frame = Frame::new(&node, &request, &post.caller);
    let caller = post.caller.clone();
    let helped = async {
        let post = post.in_words(|fields| {
            let step = fields.word("step")?.ok_or_else(|| Problem::malformed("step"))?;
            let slot = match step {
                HelpStep::Book => Some(wanted(fields.needed("slot")?).ok_or_else(|| Problem::malformed("slot"))?),
                HelpStep::Cancel => None,
            };
            Ok(Help {
                card: fields.code("card").ok_or_else(|| Problem::malformed("card"))?.to_owned(),
                voucher: fields.parsed("voucher")?.ok_or_else(|| Problem::malformed("voucher"))?,
                step,
                slot,
                assist_reason: fields.word("assist_reason")?.unwrap_or(AssistReason::NoPhone),
            })
        })?;
        community::helped(&node, &post).await?;
        Ok(post.body.step)
    };
    match helped.await {
        Ok(HelpStep::Book) => Ok(see_other("/desk/community?done=help-book").finish()),
        Ok(HelpStep::Cancel) => Ok(see_other("/desk/community?done=help-cancel").finish()),
        Err(problem) => refused(&node, &frame, &caller, "community-not-helped", &problem).await,
    }
}
