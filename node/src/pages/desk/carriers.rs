//! Registration at the community's desk, cards, phones, blocks, erasure.
//!
//! A card's text is a secret that is kept nowhere: the page that prints it is the answer to the form itself. Loaded again, it
//! says that the card was shown.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse, ResponseError as _};
use actors::community::registration;
use actors::presented;
use actors::voucher::letters::{ErasureLetter, KeyText};
use askama::Template;
use domain::ids::{HolderId, ShortName};
use domain::member::Role;
use domain::reasons::Reason;

use super::community::{Found, desk_page, document, refused};
use super::fields::Fields;
use super::shown::{Knowledge, Verdict};
use crate::accounts::permission::Permission as P;
use crate::api::access::Access::Operator;
use crate::api::answer::{self, Get, Post};
use crate::api::community::{self, Block, NewPhone, PersonForm, PrintedCard, WhoseCard};
use crate::api::problem::Problem;
use crate::node::Node;
use crate::pages;
use crate::pages::answer::{see_other, show, show_as};
use crate::pages::form::Form;
use crate::pages::frame::Frame;
use crate::pages::picture;

pages! {
    GET "/desk/community/register", Operator(P::RegisterPeople), Some(Role::Community), Some("register") => form;
    POST "/desk/community/register", Operator(P::RegisterPeople), Some(Role::Community), None => register;
    POST "/desk/community/phones", Operator(P::ReplaceCarriers), Some(Role::Community), None => replace_phone;
    POST "/desk/community/cards", Operator(P::ReplaceCarriers), Some(Role::Community), None => make_card;
    POST "/desk/community/people/{holder}/programmes", Operator(P::RegisterPeople), Some(Role::Community), None => add_programmes;
    POST "/desk/community/people/{holder}/block", Operator(P::BlockPeople), Some(Role::Community), None => block;
    POST "/desk/community/people/{holder}/erasure", Operator(P::ErasePeople), Some(Role::Community), None => erase;
}

/// Dots of a printer to a module of a card's QR: 37 modules of 11 dots are 34 mm.
const CARD_DOTS: u32 = 11;

/// The form for somebody who is not registered yet.
#[derive(Template)]
#[template(path = "desk/register.html")]
struct RegisterPage<'a> {
    frame: &'a Frame,
    knowledge: Knowledge,
    verdict: Option<Verdict>,
    fields: &'a Fields,
    /// The phone's register code; none for a card.
    register: Option<String>,
}

impl RegisterPage<'_> {
    /// What was typed before.
    fn typed(&self, name: &str) -> &str {
        self.fields.text(name).unwrap_or_default()
    }

    fn class_name(&self, class: &str) -> String {
        self.frame.t(&format!("class-{class}"))
    }

    fn is_chosen(&self, name: &str, word: &str) -> bool {
        self.fields.text(name) == Some(word)
    }
}

async fn form(node: Data<Node>, request: HttpRequest, get: Get) -> Result<HttpResponse, Problem> {
    let frame = Frame::new(&node, &request, &get.caller);
    let knowledge = Knowledge::now(&node, &frame).await;
    let page = RegisterPage { frame: &frame, knowledge, verdict: None, fields: &Fields::default(), register: None };
    show(&page)
}

/// A form as REST has it.
fn person(fields: &Fields) -> Result<PersonForm, Problem> {
    let community::WhoseDocument { document_type, document_number } = document(fields)?;
    Ok(PersonForm {
        document_type,
        document_number,
        name: fields.text("name").map(str::to_owned),
        born: fields.parsed("born")?,
        sex: fields.word("sex")?,
        phone: fields.text("phone").map(str::to_owned),
        class: fields.word("class")?,
        voucher_module: None,
        qr: fields.code("qr").map(str::to_owned),
    })
}

/// The thumbprint of the phone that shows a register code.
fn thumbprint(qr: &str) -> Result<[u8; 32], Problem> {
    Ok(presented::read(qr)?.main_key()?.thumbprint())
}

async fn register(node: Data<Node>, request: HttpRequest, Form(post): Form<Fields>) -> Result<HttpResponse, Problem> {
    let frame = Frame::new(&node, &request, &post.caller);
    let Post { caller, idempotency, body: fields, language } = post;
    let read = person(&fields).map(|body| Post { caller, idempotency, body, language });
    let registered = async {
        let post = read?;
        match post.body.qr.as_deref().map(thumbprint).transpose()? {
            Some(thumbprint) => community::completed(&node, thumbprint, &post).await,
            None => community::registered_without_phone(&node, &post).await,
        }
    };
    let problem = match registered.await {
        Ok(receipt) => match receipt.result {
            Some(done) => match &done.card {
                Some(card) => return card_page(&node, &frame, card),
                None => {
                    let person = format!("/desk/community/people/{}?done=registered", done.holder);
                    return Ok(see_other(&person).finish());
                }
            },
            // The same form once more: it was done, and the card was shown then.
            None => Problem::new(Reason::DocumentRegistered),
        },
        Err(problem) => problem,
    };
    let page = RegisterPage {
        knowledge: Knowledge::now(&node, &frame).await,
        verdict: Some(Verdict::no(&frame, "register-refused", &problem)),
        register: fields.code("qr").map(str::to_owned),
        fields: &fields,
        frame: &frame,
    };
    show_as(&page, problem.status_code())
}

/// A card, to be printed now.
#[derive(Template)]
#[template(path = "desk/card.html")]
struct CardPage<'a> {
    frame: &'a Frame,
    code: String,
    digits: String,
}

fn card_page(_node: &Node, frame: &Frame, card: &PrintedCard) -> Result<HttpResponse, Problem> {
    let code = picture::printed(&card.text, &frame.t("card-code"), CARD_DOTS).map_err(|_| Reason::Internal)?;
    let digits: Vec<char> = card.lookup_number.chars().filter(char::is_ascii_digit).collect();
    let groups = digits.chunks(4).map(|group| group.iter().collect::<String>());
    let digits = groups.collect::<Vec<_>>().join(" ");
    show_as(&CardPage { frame, code, digits }, StatusCode::CREATED)
}

async fn make_card(node: Data<Node>, request: HttpRequest, Form(post): Form<Fields>) -> Result<HttpResponse, Problem> {
    let frame = Frame::new(&node, &request, &post.caller);
    let caller = post.caller.clone();
    let made = async {
        let post = post.in_words(|fields| Ok(WhoseCard { holder: whose(fields.needed("holder")?)? }))?;
        community::card_made(&node, &post).await
    };
    match made.await {
        Ok(receipt) => match receipt.result {
            Some(made) => card_page(&node, &frame, &made.card),
            None => {
                // The same form once more: the card was made, and shown then.
                let (headline, desk) = (frame.t("card-was-shown"), frame.t("card-was-shown-what"));
                let no = Verdict { is_good: false, headline, desk, holder: None, detail: None, code: None };
                let found = Found { verdict: Some(no), ..Found::default() };
                desk_page(&node, &frame, &caller, found, StatusCode::OK).await
            }
        },
        Err(problem) => refused(&node, &frame, &caller, "card-refused", &problem).await,
    }
}

fn whose(text: &str) -> Result<HolderId, Problem> {
    text.parse().map(HolderId).map_err(Problem::malformed)
}

/// Another phone for somebody who is registered: found by the document, keys as the phone announced them.
async fn replace_phone(
    node: Data<Node>,
    request: HttpRequest,
    Form(post): Form<Fields>,
) -> Result<HttpResponse, Problem> {
    let frame = Frame::new(&node, &request, &post.caller);
    let caller = post.caller.clone();
    let replaced = async {
        let known = community::person_of(&node, &caller, &document(&post.body)?).await?;
        let qr = post.body.code("qr").ok_or_else(|| Problem::malformed("qr"))?.to_owned();
        let print = thumbprint(&qr)?;
        let now = node.writer.now();
        let pending = answer::read(&node, |work| registration::pending(work, &print, now)).await;
        let pending = pending.ok_or_else(|| Problem::new(Reason::NotFound).detail("no phone of that code waits"))?;
        // A phone makes a key for each programme that there is; those that this person is not enrolled in are none of it.
        let is_enrolled = |name: &ShortName| known.programmes.iter().any(|entitled| entitled.programme == *name);
        let keys = pending.enrolment_keys.into_iter().filter(|(name, _)| is_enrolled(name));
        let enrolment_keys = keys.map(|(name, key)| (name, KeyText(key))).collect();
        let post = post.in_words(|_| Ok(NewPhone { main_key: Some(qr), enrolment_keys }))?;
        community::phone_replaced(&node, known.holder, &post).await?;
        Ok(known.holder)
    };
    match replaced.await {
        Ok(holder) => Ok(see_other(&format!("/desk/community/people/{holder}?done=phone-replaced")).finish()),
        Err(problem) => refused(&node, &frame, &caller, "phone-refused", &problem).await,
    }
}

/// Programmes that were opened since somebody was registered.
async fn add_programmes(
    node: Data<Node>,
    request: HttpRequest,
    holder: Path<String>,
    Form(post): Form<Fields>,
) -> Result<HttpResponse, Problem> {
    let frame = Frame::new(&node, &request, &post.caller);
    let caller = post.caller.clone();
    let added = async {
        let holder = whose(&holder)?;
        community::enrolled_in_more(&node, holder, &post).await.map(|_| holder)
    };
    match added.await {
        Ok(holder) => Ok(see_other(&format!("/desk/community/people/{holder}?done=programmes-added")).finish()),
        Err(problem) => refused(&node, &frame, &caller, "programmes-not-added", &problem).await,
    }
}

async fn block(
    node: Data<Node>,
    request: HttpRequest,
    holder: Path<String>,
    Form(post): Form<Fields>,
) -> Result<HttpResponse, Problem> {
    let frame = Frame::new(&node, &request, &post.caller);
    let caller = post.caller.clone();
    let blocked = async {
        let holder = whose(&holder)?;
        let words =
            |fields: Fields| Ok(Block { reason: fields.word("reason")?.ok_or_else(|| Problem::malformed("reason"))? });
        community::blocked(&node, holder, &post.in_words(words)?).await
    };
    match blocked.await {
        Ok(_) => Ok(see_other("/desk/community?done=blocked").finish()),
        Err(problem) => refused(&node, &frame, &caller, "block-refused", &problem).await,
    }
}

async fn erase(
    node: Data<Node>,
    request: HttpRequest,
    holder: Path<String>,
    Form(post): Form<Fields>,
) -> Result<HttpResponse, Problem> {
    let frame = Frame::new(&node, &request, &post.caller);
    let caller = post.caller.clone();
    let erased = async {
        let holder = whose(&holder)?;
        let words = |fields: Fields| {
            let asked = fields.is_ticked("asked").then_some(ErasureLetter { holder });
            asked.ok_or_else(|| Problem::malformed("asked: it takes the holder's word"))
        };
        community::erased(&node, &post.in_words(words)?).await
    };
    match erased.await {
        Ok(_) => Ok(see_other("/desk/community?done=erased").finish()),
        Err(problem) => refused(&node, &frame, &caller, "erase-refused", &problem).await,
    }
}
