//! Words and times as the pages of the authority and the auditor say them.

use actix_web::web::Data;
use domain::time::Timestamp;
use serde::Serialize;

use super::ALL;
use super::frame::Frame;
use super::table::Page;
use crate::api::answer;
use crate::api::caller::Caller;
use crate::node::Node;

/// The code of a word of a closed list, as JSON has it.
#[must_use]
pub fn code(word: &impl Serialize) -> String {
    match serde_json::to_value(word) {
        Ok(serde_json::Value::String(code)) => code,
        Ok(other) => other.to_string(),
        Err(_) => String::new(),
    }
}

/// The text of such a word: that of the key `prefix-code`.
#[must_use]
pub fn word(frame: &Frame, prefix: &str, word: &impl Serialize) -> String {
    frame.t(&format!("{prefix}-{}", code(word)))
}

/// Names in a row, or a dash where there is none.
#[must_use]
pub fn or_dash(name: Option<impl ToString>) -> String {
    name.map_or_else(|| "–".to_owned(), |name| name.to_string())
}

/// A time by the federation's clock on the wall.
#[must_use]
pub fn when(node: &Node, at: Timestamp) -> String {
    at.to_utc().with_timezone(&node.writer.settings().offset).format("%Y-%m-%d %H:%M").to_string()
}

/// A day of the federation.
#[must_use]
pub fn day(node: &Node, at: Timestamp) -> String {
    at.day_at(node.writer.settings().offset).to_string()
}

/// How old what a page shows is.
#[derive(Debug)]
pub struct Known {
    /// Now.
    pub now: String,
    /// The log whose newest record is oldest, with the time of that: whose news may be missing.
    pub oldest: Option<(String, String)>,
}

/// How old this node's knowledge is.
pub async fn known(node: &Node) -> Known {
    let me = node.config.institution;
    let oldest = answer::read(node, |work| {
        let others = work.registry.members.keys().filter(|id| **id != me);
        // Who has written nothing yet has no news that could be missing.
        let begun = others.map(|id| (work.cursor(*id), *id)).filter(|(cursor, _)| cursor.next > 0);
        begun.map(|(cursor, id)| (cursor.last_at, id)).min()
    });
    let oldest = oldest.await.map(|(at, id)| (id.to_string(), when(node, at)));
    Known { now: when(node, node.writer.now()), oldest }
}

/// The pages under a path that a caller is offered: the way from each to each.
#[must_use]
pub fn beside(node: &Data<Node>, caller: &Caller, path: &str) -> Vec<&'static Page> {
    let all = ALL.iter().copied().flatten().filter(|page| page.path.starts_with(path));
    all.filter(|page| page.is_offered(&node.config.roles, caller)).collect()
}
