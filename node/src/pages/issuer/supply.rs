//! `/issuer/supply`: vouchers are generated and sent in bulk, and one sees how far it is.
//!
//! ```text
//! POST ─► begun ─► the function that REST calls, part by part ─► told here after each ─► the page asks until it is over
//! ```
//!
//! What is under way is kept in memory. A node that stops ends it: what is done stands in the ledger.

use std::collections::BTreeMap;

use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use domain::ids::{InstitutionId, ShortName};
use domain::member::Role;
use domain::reasons::Reason;
use domain::record::Idempotency;
use domain::time::Timestamp;
use parking_lot::Mutex;
use serde::Deserialize;

use super::{Nav, around};
use crate::accounts::permission::Permission as P;
use crate::api::access::Access::{OneOf, Operator};
use crate::api::answer::{Get, Post, Receipt};
use crate::api::issuer::vouchers::{Bulk, Dispatch, Generation, MAX_COUNT, dispatched, generated, on_shelf};
use crate::api::problem::Problem;
use crate::api::system::members_of;
use crate::node::Node;
use crate::pages;
use crate::pages::answer::{see_other, show};
use crate::pages::form::Form;
use crate::pages::frame::Frame;
use crate::pages::problem::Notice;
use crate::pages::words::{self, Known};

const EITHER: &[P] = &[P::GenerateVouchers, P::DispatchVouchers];

pages! {
    GET "/issuer/supply", OneOf(EITHER), Some(Role::Issuer), Some("issuer-supply") => page;
    POST "/issuer/supply/generations", Operator(P::GenerateVouchers), Some(Role::Issuer), None => generate;
    POST "/issuer/supply/dispatches", Operator(P::DispatchVouchers), Some(Role::Issuer), None => dispatch;
    GET "/issuer/supply/{work}", OneOf(EITHER), Some(Role::Issuer), None => progress;
}

/// Most bulk requests that are remembered.
const MAX_WORKS: usize = 200;

/// What became of a bulk request.
#[derive(Debug, Clone)]
enum Came {
    Running,
    Done { first: Option<u64>, last: Option<u64> },
    Refused(Problem),
}

/// A bulk request.
#[derive(Debug, Clone)]
struct Work {
    is_dispatch: bool,
    programme: String,
    community: Option<String>,
    count: usize,
    done: usize,
    began: Timestamp,
    came: Came,
}

/// Bulk requests that were begun on pages, by what makes each recognisable.
#[derive(Debug, Default)]
pub struct Works(Mutex<BTreeMap<String, Work>>);

impl Works {
    /// Whether it is to be done now: what runs or is done already is not.
    fn begin(&self, id: &str, work: Work) -> bool {
        let mut all = self.0.lock();
        if all.get(id).is_some_and(|known| !matches!(known.came, Came::Refused(_))) {
            return false;
        }
        if all.len() >= MAX_WORKS {
            let over = all.iter().filter(|(_, work)| !matches!(work.came, Came::Running));
            let oldest = over.min_by_key(|(_, work)| work.began).map(|(id, _)| id.clone());
            oldest.and_then(|id| all.remove(&id));
        }
        all.insert(id.to_owned(), work);
        true
    }

    fn change(&self, id: &str, change: impl FnOnce(&mut Work)) {
        self.0.lock().get_mut(id).map(change).unwrap_or_default();
    }

    fn end(&self, id: &str, came: Result<Receipt<Bulk>, Problem>) {
        self.change(id, |work| match came {
            Ok(Receipt { result, .. }) => {
                work.done = work.count;
                let (first, last) = result.map_or((None, None), |bulk| (bulk.first, bulk.last));
                work.came = Came::Done { first, last };
            }
            Err(problem) => work.came = Came::Refused(problem),
        });
    }
}

/// The address of a request's page.
fn id_of(idempotency: &Idempotency) -> String {
    hex::encode(&idempotency.key.0[..16])
}

/// A programme with what is on the shelf.
struct Shelf {
    programme: String,
    title: String,
    stock: usize,
}

/// A bulk request in the list.
struct Line {
    id: String,
    text: String,
    began: String,
    state: String,
}

/// The forms.
#[derive(Template)]
#[template(path = "issuer/supply.html")]
struct Supply {
    frame: Frame,
    nav: Nav,
    known: Known,
    shelves: Vec<Shelf>,
    communities: Vec<String>,
    works: Vec<Line>,
    may_generate: bool,
    may_dispatch: bool,
    most: usize,
}

fn about(frame: &Frame, work: &Work) -> String {
    match &work.community {
        Some(community) => frame.tx2("supply-sending", "count", work.count, "community", community),
        None => frame.tx2("supply-generating", "count", work.count, "programme", &work.programme),
    }
}

fn state(frame: &Frame, work: &Work) -> String {
    match work.came {
        Came::Running => frame.t("supply-running"),
        Came::Done { .. } => frame.t("supply-done"),
        Came::Refused(_) => frame.t("supply-refused"),
    }
}

async fn page(node: Data<Node>, request: HttpRequest, get: Get) -> Result<HttpResponse, Problem> {
    let (frame, nav) = around(&node, &request, &get.caller);
    let may = |permission| get.caller.acting().is_ok_and(|acting| acting.may(permission).is_ok());
    let is_english = frame.is_in("en");
    let shelves = on_shelf(&node).await.into_iter().map(|(policy, stock)| Shelf {
        programme: policy.programme.to_string(),
        title: if is_english { policy.title_en } else { policy.title_zh },
        stock,
    });
    let members = members_of(&node).await.into_iter();
    let communities = members.filter(|m| m.roles.contains(&Role::Community)).map(|m| m.institution.to_string());
    let mut works: Vec<_> = node.works.0.lock().clone().into_iter().collect();
    works.sort_by_key(|(_, work)| std::cmp::Reverse(work.began));
    let line = |(id, work): (String, Work)| Line {
        text: about(&frame, &work),
        began: words::when(&node, work.began),
        state: state(&frame, &work),
        id,
    };
    show(&Supply {
        known: words::known(&node).await,
        shelves: shelves.collect(),
        communities: communities.collect(),
        works: works.into_iter().take(10).map(line).collect(),
        may_generate: may(P::GenerateVouchers),
        may_dispatch: may(P::DispatchVouchers),
        most: MAX_COUNT,
        nav,
        frame,
    })
}

/// What to generate.
#[derive(Debug, Deserialize)]
struct GenerationForm {
    programme: ShortName,
    count: usize,
}

async fn generate(node: Data<Node>, Form(post): Form<GenerationForm>) -> Result<HttpResponse, Problem> {
    let GenerationForm { programme, count } = &post.body;
    let work = begun(&node, programme, None, *count);
    let make = |GenerationForm { programme, count }| Ok(Generation { programme, count, valid_from: None });
    let post: Post<Generation> = post.in_words(make)?;
    let id = id_of(&post.idempotency);
    if node.works.begin(&id, work) {
        let id = id.clone();
        actix_web::rt::spawn(async move {
            let came = generated(&node, &post, |done| node.works.change(&id, |work| work.done = done)).await;
            node.works.end(&id, came);
        });
    }
    Ok(see_other(&format!("/issuer/supply/{id}")).finish())
}

/// What to send.
#[derive(Debug, Deserialize)]
struct DispatchForm {
    community: InstitutionId,
    programme: ShortName,
    count: usize,
}

async fn dispatch(node: Data<Node>, Form(post): Form<DispatchForm>) -> Result<HttpResponse, Problem> {
    let DispatchForm { community, programme, count } = &post.body;
    let work = begun(&node, programme, Some(*community), *count);
    let make = |DispatchForm { community, programme, count }| Ok(Dispatch { community, programme, count });
    let post: Post<Dispatch> = post.in_words(make)?;
    let id = id_of(&post.idempotency);
    if node.works.begin(&id, work) {
        let id = id.clone();
        actix_web::rt::spawn(async move {
            let came = dispatched(&node, &post, |done| node.works.change(&id, |work| work.done = done)).await;
            node.works.end(&id, came);
        });
    }
    Ok(see_other(&format!("/issuer/supply/{id}")).finish())
}

fn begun(node: &Node, programme: &ShortName, community: Option<InstitutionId>, count: usize) -> Work {
    Work {
        is_dispatch: community.is_some(),
        programme: programme.to_string(),
        community: community.map(|id| id.to_string()),
        count,
        done: 0,
        began: node.writer.now(),
        came: Came::Running,
    }
}

/// How far it is.
#[derive(Template)]
#[template(path = "issuer/progress.html")]
struct Progress {
    frame: Frame,
    nav: Nav,
    notice: Option<Notice>,
    text: String,
    done: usize,
    count: usize,
    is_running: bool,
    is_done: bool,
    is_dispatch: bool,
    records: Option<(u64, u64)>,
}

async fn progress(node: Data<Node>, request: HttpRequest, id: Path<String>, get: Get) -> Result<HttpResponse, Problem> {
    let work = node.works.0.lock().get(&*id).cloned();
    let work = work.ok_or_else(|| Problem::new(Reason::NotFound).language(get.language))?;
    let (frame, nav) = around(&node, &request, &get.caller);
    let (notice, records) = match &work.came {
        Came::Refused(problem) => (Some(Notice::of(problem, &frame)), None),
        Came::Done { first, last } => (None, first.zip(*last)),
        Came::Running => (None, None),
    };
    show(&Progress {
        notice,
        records,
        text: about(&frame, &work),
        done: work.done,
        count: work.count,
        is_running: matches!(work.came, Came::Running),
        is_done: matches!(work.came, Came::Done { .. }),
        is_dispatch: work.is_dispatch,
        nav,
        frame,
    })
}
