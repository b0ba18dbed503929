//! The scenes of the story, in the order in which they are lived through. Each names its checks.

pub(super) mod absence;
pub(super) mod accounts;
pub(super) mod booking;
pub(super) mod card;
pub(super) mod changes;
pub(super) mod corrections;
pub(super) mod expiry;
pub(super) mod refusals;
pub(super) mod registration;
pub(super) mod restart;
pub(super) mod tables;
pub(super) mod visit;
pub(super) mod vouchers;

use super::client::Answer;
use super::world::World;

/// Checks that a node refuses, and for this reason.
fn refused(world: &mut World, name: &'static str, what: &str, answer: &Answer, code: &str) -> bool {
    world.story.check(name, answer.is_refused(code), format!("{what}: expected {code}, the node says {answer}"))
}
