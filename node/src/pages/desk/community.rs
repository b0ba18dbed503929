//! `/desk/community`: who is there, by whatever they show, and what they may have.

use std::collections::BTreeMap;

use actix_web::http::StatusCode;
use actix_web::web::{Data, Path, Query};
use actix_web::{HttpRequest, HttpResponse, ResponseError as _};
use actors::community::command::Known;
use actors::community::desk::{self, Held};
use actors::token::vc1::Card;
use askama::Template;
use domain::ids::{HolderId, ShortName};
use domain::lifecycle::Stage;
use domain::member::Role;
use domain::reason_texts::texts;
use domain::reasons::Reason;
use serde::Deserialize;

use super::fields::Fields;
use super::scan::{self, Scan, Scanned, Step};
use super::shown::{Knowledge, Verdict, When, stage, title, titles, word};
use crate::accounts::permission::Permission as P;
use crate::api::access::Access::Operator;
use crate::api::answer::{self, Get, Plain};
use crate::api::caller::Caller;
use crate::api::community::{self, MaskedRow, WhoseDocument};
use crate::api::problem::Problem;
use crate::node::Node;
use crate::pages;
use crate::pages::answer::show_as;
use crate::pages::form::PlainForm;
use crate::pages::frame::Frame;
use crate::pages::may;

pages! {
    GET "/desk/community", Operator(P::IdentifyPeople), Some(Role::Community), Some("community-desk") => home;
    POST "/desk/community", Operator(P::IdentifyPeople), Some(Role::Community), None => look;
    GET "/desk/community/people/{holder}", Operator(P::IdentifyPeople), Some(Role::Community), None => person;
    POST "/desk/community/document", Operator(P::IdentifyPeople), Some(Role::Community), None => by_document;
    POST "/desk/community/residents", Operator(P::IdentifyPeople), Some(Role::Community), None => resident;
}

/// What an account may do at this desk.
#[derive(Debug)]
pub(super) struct Mays {
    issue: bool,
    help: bool,
    register: bool,
    carriers: bool,
    block: bool,
    erase: bool,
    stock: bool,
}

impl Mays {
    fn of(caller: &Caller) -> Self {
        Self {
            issue: may(caller, P::IssueVouchers),
            help: may(caller, P::HelpHolders),
            register: may(caller, P::RegisterPeople),
            carriers: may(caller, P::ReplaceCarriers),
            block: may(caller, P::BlockPeople),
            erase: may(caller, P::ErasePeople),
            stock: may(caller, P::ReadStock),
        }
    }
}

/// A programme that somebody is enrolled in.
#[derive(Debug)]
pub(super) struct ProgrammeRow {
    short: String,
    title: String,
    had: u16,
    allowance: u16,
    may_issue: bool,
    /// If not, what to do.
    reason: Option<&'static str>,
    /// The phone asks for a voucher of this one.
    is_asked: bool,
}

/// A voucher that somebody has.
#[derive(Debug)]
pub(super) struct VoucherRow {
    id: String,
    title: String,
    stage: String,
    until: String,
    hospital: Option<String>,
    may_book: bool,
    may_cancel: bool,
}

/// Somebody as the desk sees them.
#[derive(Debug)]
pub(super) struct Person {
    holder: String,
    name: String,
    class: String,
    programmes: Vec<ProgrammeRow>,
    vouchers: Vec<VoucherRow>,
    /// Programmes that were opened since this person was registered.
    more: Vec<String>,
    /// Whether they can be added now: a phone has said which keys it has for them.
    may_add: bool,
    /// The personal QR of step *receive* that was scanned.
    receive: Option<String>,
    /// The card that was scanned.
    card: Option<String>,
}

/// Somebody of the list of residents, masked unless the whole was asked for.
#[derive(Debug)]
pub(super) struct ResidentView {
    document_type: String,
    typed: String,
    document: String,
    name: String,
    born: String,
    phone: Option<String>,
    class: String,
    smartphone: bool,
    is_whole: bool,
}

#[derive(Template)]
#[template(path = "desk/community.html")]
struct CommunityPage<'a> {
    frame: &'a Frame,
    knowledge: Knowledge,
    scan: Scan,
    mays: Mays,
    verdict: Option<Verdict>,
    done: Option<String>,
    people: Vec<Person>,
    resident: Option<ResidentView>,
    /// A phone's register code: it is registered, or put in the place of an old one.
    register: Option<String>,
}

/// What the desk's page shows beside the scanner.
#[derive(Default)]
pub(super) struct Found {
    pub(super) verdict: Option<Verdict>,
    pub(super) done: Option<String>,
    pub(super) people: Vec<Person>,
    pub(super) resident: Option<ResidentView>,
    pub(super) register: Option<String>,
}

/// The desk's page.
pub(super) async fn desk_page(
    node: &Node,
    frame: &Frame,
    caller: &Caller,
    found: Found,
    status: StatusCode,
) -> Result<HttpResponse, Problem> {
    let Found { verdict, done, people, resident, register } = found;
    let (scan, mays) = (Scan::new(frame, "/desk/community", "scan-community"), Mays::of(caller));
    let knowledge = Knowledge::now(node, frame).await;
    let page = CommunityPage { frame, knowledge, scan, mays, verdict, done, people, resident, register };
    show_as(&page, status)
}

/// The desk's page with a no.
pub(super) async fn refused(
    node: &Node,
    frame: &Frame,
    caller: &Caller,
    headline: &str,
    problem: &Problem,
) -> Result<HttpResponse, Problem> {
    let found = Found { verdict: Some(Verdict::no(frame, headline, problem)), ..Found::default() };
    desk_page(node, frame, caller, found, problem.status_code()).await
}

/// What came of something, by its word in the address.
#[derive(Deserialize)]
struct Done {
    done: Option<String>,
}

/// Sentences that an address may ask for.
const SAID: [&str; 7] =
    ["registered", "phone-replaced", "programmes-added", "blocked", "erased", "help-book", "help-cancel"];

impl Done {
    fn text(&self, frame: &Frame) -> Option<String> {
        let word = self.done.as_deref().filter(|word| SAID.contains(word))?;
        Some(frame.t(&format!("community-done-{word}")))
    }
}

async fn home(node: Data<Node>, request: HttpRequest, done: Query<Done>, get: Get) -> Result<HttpResponse, Problem> {
    let frame = Frame::new(&node, &request, &get.caller);
    let found = Found { done: done.text(&frame), ..Found::default() };
    desk_page(&node, &frame, &get.caller, found, StatusCode::OK).await
}

async fn look(
    node: Data<Node>,
    request: HttpRequest,
    PlainForm(plain): PlainForm<Fields>,
) -> Result<HttpResponse, Problem> {
    let Plain { caller, body, .. } = plain;
    let frame = Frame::new(&node, &request, &caller);
    let found = seen(&node, &frame, &caller, body.code("scan").unwrap_or_default()).await;
    shown(&node, &frame, &caller, found).await
}

/// What was looked for, or that it is not known.
async fn shown(
    node: &Node,
    frame: &Frame,
    caller: &Caller,
    found: Result<Found, Problem>,
) -> Result<HttpResponse, Problem> {
    match found {
        Ok(found) => desk_page(node, frame, caller, found, StatusCode::OK).await,
        Err(problem) => refused(node, frame, caller, "community-not-known", &problem).await,
    }
}

/// Who or what a scanned text is.
async fn seen(node: &Node, frame: &Frame, caller: &Caller, text: &str) -> Result<Found, Problem> {
    let people = match scan::read(text)? {
        Scanned::Personal(qr, Step::Identify) => {
            let known = community::identified(node, caller, &qr).await?;
            vec![view(node, frame, known, None, None).await]
        }
        Scanned::Personal(qr, Step::Receive) => {
            let mut asked = None;
            let reading = |work: &actors::replica::Work<'_>, now| {
                let (known, programme) = desk::asks(work, &qr, now)?;
                asked = Some(programme);
                Ok(known)
            };
            let known = community::known_by(node, caller, reading).await?;
            let asked = asked.map(|programme| (qr.clone(), programme));
            vec![view(node, frame, known, asked, None).await]
        }
        Scanned::Personal(qr, Step::Register) => {
            return Ok(Found { register: Some(qr), ..Found::default() });
        }
        Scanned::Personal(..) => return Err(Reason::PresentationOtherStep.into()),
        Scanned::Card(text) => {
            let card = Card::parse(text.trim()).map_err(|error| Problem::new(Reason::QrNotGenuine).detail(error))?;
            let known = community::known_by(node, caller, |work, now| desk::with_card(work, &card, now)).await?;
            vec![view(node, frame, known, None, Some(text)).await]
        }
        Scanned::Number(digits) => {
            let mut people = Vec::new();
            for known in community::looked_up(node, caller, digits).await? {
                people.push(view(node, frame, known, None, None).await);
            }
            people
        }
        Scanned::Voucher(_, voucher) => {
            let done = Some(frame.tx("community-voucher-scanned", "voucher", voucher.to_string()));
            return Ok(Found { done, ..Found::default() });
        }
    };
    Ok(Found { people, ..Found::default() })
}

/// Somebody as the page shows them.
pub(super) async fn view(
    node: &Node,
    frame: &Frame,
    known: Known,
    asked: Option<(String, ShortName)>,
    card: Option<String>,
) -> Person {
    let titles = titles(node, frame).await;
    let held = answer::read(node, |work| desk::held(work, known.holder)).await;
    let now = node.writer.now();
    let (more, may_add) = answer::read(node, |work| desk::more(work, known.holder, now)).await;
    let is_asked = |programme: &ShortName| asked.as_ref().is_some_and(|(_, asked)| asked == programme);
    let programmes = known.programmes.iter().map(|entitled| ProgrammeRow {
        short: entitled.programme.to_string(),
        title: title(&titles, &entitled.programme),
        had: entitled.had,
        allowance: entitled.allowance,
        may_issue: entitled.may_issue,
        reason: entitled.reason.map(|reason| texts(reason, frame.language).desk),
        is_asked: is_asked(&entitled.programme),
    });
    let when = When::new(node, frame);
    Person {
        holder: known.holder.to_string(),
        name: known.name_masked.clone(),
        class: frame.t(&format!("class-{}", known.class.as_str())),
        programmes: programmes.collect(),
        vouchers: held.iter().map(|held| voucher_row(held, frame, &when, &titles)).collect(),
        more: more.iter().map(|programme| title(&titles, programme)).collect(),
        may_add,
        receive: asked.map(|(qr, _)| qr),
        card,
    }
}

fn voucher_row(held: &Held, frame: &Frame, when: &When, titles: &BTreeMap<ShortName, String>) -> VoucherRow {
    VoucherRow {
        id: held.voucher.to_string(),
        title: title(titles, &held.programme),
        stage: stage(frame, held.stage),
        until: when.day(held.valid_until),
        hospital: held.hospital.map(|hospital| hospital.to_string()),
        may_book: held.stage == Stage::Issued,
        may_cancel: matches!(held.stage, Stage::Booked | Stage::BookingRequested),
    }
}

async fn person(
    node: Data<Node>,
    request: HttpRequest,
    holder: Path<String>,
    done: Query<Done>,
    get: Get,
) -> Result<HttpResponse, Problem> {
    let holder = HolderId(holder.parse().map_err(|_| Reason::NotFound)?);
    let frame = Frame::new(&node, &request, &get.caller);
    let known = community::known_by(&node, &get.caller, |work, now| desk::by_holder(work, holder, now)).await?;
    let people = vec![view(&node, &frame, known, None, None).await];
    let found = Found { people, done: done.text(&frame), ..Found::default() };
    desk_page(&node, &frame, &get.caller, found, StatusCode::OK).await
}

/// The document that a form names.
pub(super) fn document(fields: &Fields) -> Result<WhoseDocument, Problem> {
    let document_type = fields.parsed("document_type")?.ok_or_else(|| Problem::malformed("document_type"))?;
    Ok(WhoseDocument { document_type, document_number: fields.needed("document_number")?.to_owned() })
}

async fn by_document(
    node: Data<Node>,
    request: HttpRequest,
    PlainForm(plain): PlainForm<Fields>,
) -> Result<HttpResponse, Problem> {
    let Plain { caller, body, .. } = plain;
    let frame = Frame::new(&node, &request, &caller);
    let found = async {
        let known = community::person_of(&node, &caller, &document(&body)?).await?;
        Ok(Found { people: vec![view(&node, &frame, known, None, None).await], ..Found::default() })
    };
    shown(&node, &frame, &caller, found.await).await
}

/// What the office's list says of a document: masked, or whole where the clerk asks for it, which is on record.
async fn resident(
    node: Data<Node>,
    request: HttpRequest,
    PlainForm(plain): PlainForm<Fields>,
) -> Result<HttpResponse, Problem> {
    let Plain { caller, body, .. } = plain;
    let frame = Frame::new(&node, &request, &caller);
    let is_whole = body.is_ticked("whole");
    let found = async {
        let WhoseDocument { document_type, document_number } = document(&body)?;
        let row = community::listed_as(&node, &caller, &document_type, &document_number, is_whole).await?;
        let (whole, row) = (row.form.clone(), MaskedRow::from(row));
        let class = frame.t(&format!("class-{}", row.class.as_str()));
        Ok(ResidentView {
            document_type: word(&document_type),
            typed: document_number,
            document: if is_whole { whole.document_number } else { row.document_number },
            name: if is_whole { whole.name } else { row.name },
            born: if is_whole { whole.born.to_string() } else { row.born.to_string() },
            phone: if is_whole { whole.phone } else { row.phone },
            class,
            smartphone: row.smartphone,
            is_whole,
        })
    };
    let found = found.await.map(|resident| Found { resident: Some(resident), ..Found::default() });
    shown(&node, &frame, &caller, found).await
}
