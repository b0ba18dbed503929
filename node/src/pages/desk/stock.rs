//! `/desk/community/stock`: what can be issued, and giving back what is not needed.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Query};
use actix_web::{HttpRequest, HttpResponse, ResponseError as _};
use askama::Template;
use domain::ids::VoucherId;
use domain::member::Role;
use domain::reason_texts::Language;
use serde::Deserialize;

use super::fields::Fields;
use super::shown::{Knowledge, Verdict, When};
use crate::accounts::permission::Permission as P;
use crate::api::access::Access::Operator;
use crate::api::answer::Get;
use crate::api::caller::Caller;
use crate::api::community::{self, Returns, in_stock, shelf};
use crate::api::problem::Problem;
use crate::node::Node;
use crate::pages;
use crate::pages::answer::{see_other, show_as};
use crate::pages::form::Form;
use crate::pages::frame::Frame;
use crate::pages::may;

pages! {
    GET "/desk/community/stock", Operator(P::ReadStock), Some(Role::Community), Some("stock") => stock;
    POST "/desk/community/returns", Operator(P::ReturnVouchers), Some(Role::Community), None => give_back;
}

/// Vouchers on a page.
const MAX_SHOWN: usize = 50;

/// Stock of a programme.
struct StockLine {
    title: String,
    sent: i64,
    encoded: i64,
}

/// A voucher that can be issued.
struct ShelfLine {
    id: String,
    programme: String,
    until: String,
    has_qr: bool,
}

#[derive(Template)]
#[template(path = "desk/stock.html")]
struct StockPage<'a> {
    frame: &'a Frame,
    knowledge: Knowledge,
    verdict: Option<Verdict>,
    done: bool,
    stock: Vec<StockLine>,
    shelf: Vec<ShelfLine>,
    next: Option<String>,
    may_return: bool,
}

/// Which page, and whether something was just given back.
#[derive(Default, Deserialize)]
struct Which {
    after: Option<String>,
    done: Option<String>,
}

async fn stock(node: Data<Node>, request: HttpRequest, which: Query<Which>, get: Get) -> Result<HttpResponse, Problem> {
    let frame = Frame::new(&node, &request, &get.caller);
    page(&node, &frame, &get.caller, &which, None).await
}

async fn page(
    node: &Node,
    frame: &Frame,
    caller: &Caller,
    which: &Which,
    refused: Option<Problem>,
) -> Result<HttpResponse, Problem> {
    let after: Option<VoucherId> = which.after.as_deref().map(str::parse).transpose().map_err(Problem::malformed)?;
    let when = When::new(node, frame);
    let lines = in_stock(node).await.into_iter().map(|row| StockLine {
        title: if frame.language == Language::Zh { row.title_zh } else { row.title_en },
        sent: row.sent,
        encoded: row.encoded,
    });
    let on_shelf = shelf(node, None, after, MAX_SHOWN).await;
    let vouchers = on_shelf.items.into_iter().map(|row| ShelfLine {
        id: row.voucher.to_string(),
        programme: row.programme.map(|programme| programme.to_string()).unwrap_or_default(),
        until: row.valid_until.map(|until| when.day(until)).unwrap_or_default(),
        has_qr: row.has_qr,
    });
    let page = StockPage {
        knowledge: Knowledge::now(node, frame).await,
        verdict: refused.as_ref().map(|problem| Verdict::no(frame, "stock-not-returned", problem)),
        done: which.done.is_some(),
        stock: lines.collect(),
        shelf: vouchers.collect(),
        next: on_shelf.next,
        may_return: may(caller, P::ReturnVouchers),
        frame,
    };
    show_as(&page, refused.map_or(StatusCode::OK, |problem| problem.status_code()))
}

async fn give_back(node: Data<Node>, request: HttpRequest, Form(post): Form<Fields>) -> Result<HttpResponse, Problem> {
    let frame = Frame::new(&node, &request, &post.caller);
    let caller = post.caller.clone();
    let returned = async {
        let post = post.in_words(|fields| {
            let vouchers = fields.beginning("voucher-").map(str::parse).collect::<Result<Vec<_>, _>>();
            let reason = fields.word("reason")?.ok_or_else(|| Problem::malformed("reason"))?;
            Ok(Returns { vouchers: vouchers.map_err(Problem::malformed)?, reason })
        })?;
        community::given_back(&node, &post).await
    };
    match returned.await {
        Ok(_) => Ok(see_other("/desk/community/stock?done=1").finish()),
        Err(problem) => page(&node, &frame, &caller, &Which::default(), Some(problem)).await,
    }
}
