//! `/v1/hospital`: what a hospital's desk, its office and other nodes ask, each handler a command of [`actors::hospital`].

pub mod bookings;
pub mod schedules;
pub mod visits;

#[cfg(test)]
mod tests;

use actors::hospital::{Answer, Command, Hospital};
use domain::ids::VoucherId;
use domain::reason_texts::Language;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use super::answer::{self, Get, Post, Receipt};
use super::caller::Caller;
use super::problem::Problem;
use crate::node::Node;

/// Registers the routes.
pub fn configure(config: &mut ServiceConfig<'_>) {
    schedules::configure(config);
    bookings::configure(config);
    visits::configure(config);
}

/// Nothing more to say.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Empty {}

/// What a hospital says of what it did.
#[derive(Debug, Serialize, ToSchema)]
pub struct Said {
    /// What came of it, by the kind of command: a visit, a check, a booking.
    #[schema(value_type = Object)]
    pub hospital: Answer,
}

/// A request of an operator of this institution: made a command, asked, answered with a receipt.
async fn by_operator<T>(
    node: &Node,
    post: Post<T>,
    make: impl FnOnce(T) -> Result<Command, Problem>,
) -> Result<Receipt<Said>, Problem> {
    let language = post.language;
    post.caller.must_be_operator().map_err(|problem| problem.language(language))?;
    ask(node, post, |body, _| make(body)).await
}

async fn ask<T>(
    node: &Node,
    post: Post<T>,
    make: impl FnOnce(T, &Caller) -> Result<Command, Problem>,
) -> Result<Receipt<Said>, Problem> {
    let Post { caller, idempotency, body, language } = post;
    let command = make(body, &caller).map_err(|problem| problem.language(language))?;
    let post = Post { caller, idempotency, body: (), language };
    answer::asked::<Hospital, _, Said>(node, &post, command, |hospital| match hospital {
        Answer::Done => None,
        hospital => Some(Said { hospital }),
    })
    .await
}

/// This node plays a hospital.
fn plays(node: &Node, get: &Get) -> Result<(), Problem> {
    node.role::<Hospital>().map(drop).map_err(|problem| problem.language(get.language))
}

/// This node plays a hospital, and whoever asks is an operator here.
fn operator_reads(node: &Node, get: &Get) -> Result<(), Problem> {
    plays(node, get)?;
    get.caller.must_be_operator().map(drop).map_err(|problem| problem.language(get.language))
}

fn voucher_id(text: &str, language: Language) -> Result<VoucherId, Problem> {
    text.parse().map_err(|error| Problem::malformed(error).language(language))
}
