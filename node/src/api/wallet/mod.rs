//! `/v1/wallet` for holders, whose every request is signed, and `/v1/voucher` for other nodes, each a command of
//! [`actors::voucher`].

mod bookings;
mod letters;
mod registration;
mod slots;
mod view;

#[cfg(test)]
pub(crate) mod tests;

pub use slots::{Offer, Wanted, offers, slot_of};

use actix_web::HttpResponse;
use actors::voucher::{Answer, Command, VoucherModule, holders};
use domain::ids::{HolderId, VoucherId};
use domain::reasons::Reason;
use serde::Serialize;
use utoipa_actix_web::service_config::ServiceConfig;

use super::answer::{self, Get, Post};
use super::caller::Caller;
use super::problem::Problem;
use crate::node::Node;

/// Registers the routes.
pub fn configure(config: &mut ServiceConfig<'_>) {
    view::configure(config);
    bookings::configure(config);
    letters::configure(config);
    registration::configure(config);
}

/// Whose wallet the caller may open: the holder of the main key that signed the request. A signature opens it once.
async fn holder(node: &Node, caller: &Caller) -> Result<HolderId, Problem> {
    node.role::<VoucherModule>()?;
    let Caller::Holder(proof) = caller else {
        let what = "a holder signs the request: Authorization: VP1 …";
        return Err(Problem::new(Reason::Unauthenticated).detail(what));
    };
    let holder = answer::read(node, |work| holders::whose(work, proof)).await?;
    node.seen.once(&proof.claims, node.writer.now())?;
    node.limits.by_holder(proof.claims.kid)?;
    Ok(holder)
}

/// The same for a request that changes nothing.
async fn holder_reads(node: &Node, get: &Get) -> Result<HolderId, Problem> {
    holder(node, &get.caller).await.map_err(|problem| problem.language(get.language))
}

/// A holder's request: made a command, asked, answered `201`.
async fn by_holder<B, T: Serialize>(
    node: &Node,
    post: Post<B>,
    make: impl AsyncFnOnce(&Node, HolderId, &B) -> Result<Command, Problem>,
    result: impl FnOnce(Answer) -> Option<T>,
) -> Result<HttpResponse, Problem> {
    let asked = async {
        let holder = holder(node, &post.caller).await?;
        // What was done is not made again: an appointment that it took may be gone by now.
        if let Some(again) = answer::repeated::<B, T>(node, &post).await? {
            return Ok(again);
        }
        let command = make(node, holder, &post.body).await?;
        let answered = answer::ask::<VoucherModule, B, T>(node, &post, command, result).await?;
        node.wake();
        Ok(answered)
    };
    asked.await.map_err(|problem: Problem| problem.language(post.language))
}

fn voucher_id(text: &str) -> Result<VoucherId, Problem> {
    text.parse().map_err(Problem::malformed)
}
