//! `/v1/community`: registration, the desk, stock and cards, each handler a command of [`actors::community`].

mod desk;
mod registration;
mod residents;
mod stock;

use actix_web::HttpResponse;
use actors::community::Community;
use actors::community::command::{Answer, Command};
use actors::role::Ask;
use actors::writer::Done;
use domain::ids::{HolderId, Operator};
use domain::reasons::Reason;
use serde::Serialize;
use serde::de::DeserializeOwned;
use utoipa_actix_web::service_config::ServiceConfig;

pub use desk::{Help, Issue, erased, helped, identified, issued, known_by, person_of};
pub use registration::{
    Announced, Block, Completed, NewCard, NewPhone, PassedOn, PersonForm, PrintedCard, UnderWay, WhoseCard, blocked,
    card_made, completed, enrolled_in_more, hear, looked_up, phone_replaced, registered_without_phone,
};
pub use residents::{MaskedRow, WhoseDocument, listed_as};
pub use stock::{InStock, Returns, StockRow, given_back, in_stock, shelf};

use super::answer::{self, Get, Nothing, Post, Receipt};
use super::problem::Problem;
use crate::node::Node;
use crate::peers;
use crate::peers::client::{CallError, Peer};

/// Registers the routes.
pub fn configure(config: &mut ServiceConfig<'_>) {
    residents::configure(config);
    registration::configure(config);
    desk::configure(config);
    stock::configure(config);
}

/// This node plays the community, and whoever asks is a clerk here.
fn clerk<T>(node: &Node, post: &Post<T>) -> Result<Operator, Problem> {
    node.role::<Community>()?;
    post.caller.must_be_operator()
}

/// The same for a request that changes nothing.
fn clerk_reads(node: &Node, get: &Get) -> Result<(), Problem> {
    let allowed = node.role::<Community>().map(drop).and_then(|()| get.caller.must_be_operator().map(drop));
    allowed.map_err(|problem| problem.language(get.language))
}

/// Asks the community; the answer is durable.
async fn send<T>(node: &Node, post: &Post<T>, command: Command) -> Result<Done<Answer>, Problem> {
    Ok(node.role::<Community>()?.send(Ask::<Community> { act: post.act(), command }).await??)
}

/// What came of a request, in the caller's language; where the same request was done meanwhile, what came of that.
async fn answered<T>(
    node: &Node,
    post: &Post<T>,
    handled: impl Future<Output = Result<HttpResponse, Problem>>,
) -> Result<HttpResponse, Problem> {
    answer::or_again::<T, Nothing>(node, post, handled.await).await
}

/// The same of a receipt, for REST and pages.
async fn received<B, T>(
    node: &Node,
    post: &Post<B>,
    handled: impl Future<Output = Result<Receipt<T>, Problem>>,
) -> Result<Receipt<T>, Problem> {
    answer::receipt_or_again(node, post, handled.await).await
}

/// The registrar by its own record: what is sent names people, and goes to nobody whose key is not known.
fn known_registrar(node: &Node) -> Result<Peer, Problem> {
    let registrar = node.config.registrar.institution;
    let is_known = node.writer.registry().member(registrar).is_some();
    let peer = peers::peer(node, registrar).filter(|_| is_known);
    peer.ok_or_else(|| Problem::new(Reason::NotReady).detail("the registrar's log is not here yet"))
}

fn not_answered(error: &CallError) -> Problem {
    Problem::new(error.reason()).detail(format!("the registrar: {error}"))
}

/// POSTs to the registrar, under a key of its own.
async fn registrar<T: DeserializeOwned>(
    node: &Node,
    path: &str,
    key: &str,
    body: &impl Serialize,
) -> Result<T, Problem> {
    let answered = node.client.post_json(&known_registrar(node)?, path, key, body).await;
    answered.map_err(|error| not_answered(&error))
}

/// GETs from the registrar.
async fn registrar_shows<T: DeserializeOwned>(node: &Node, path: &str) -> Result<T, Problem> {
    let answered = node.client.get_json(&known_registrar(node)?, path).await;
    answered.map_err(|error| not_answered(&error))
}

/// The key under which a request of a desk is passed on.
fn key_of<T>(post: &Post<T>) -> String {
    format!("desk-{}", post.idempotency.key)
}

fn holder_id(text: &str) -> Result<HolderId, Problem> {
    text.parse().map(HolderId).map_err(Problem::malformed)
}
