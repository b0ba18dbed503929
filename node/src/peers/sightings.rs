//! An auditor notes when it saw how long a log is, so that records that are dated earlier and appended later are found out
//! (actors/src/auditor/sightings.rs).

use actors::auditor::Auditor;
use actors::auditor::sightings::{self, MAX_HEAD_BYTES, Sighting};
use actors::writer::Act;
use domain::ids::InstitutionId;
use domain::time::{Millis, Timestamp};

use super::client::Peer;
use crate::node::Node;

/// The time of an answer that a peer has just given, by the clock here; none while that is not to be trusted.
#[must_use]
pub fn time_of_answer(node: &Node, peer: &Peer) -> Option<Timestamp> {
    if node.clock_verdict().is_off {
        return None;
    }
    let now = node.writer.now();
    if !node.clock.is_federation() {
        return Some(now);
    }
    // The demo's nodes take their steps one after the other: nobody is blamed for one that the peer has not taken yet.
    let there = node.client.clocks().steps_of(&peer.url.parse().ok()?)?;
    Some(now - (node.clock.ahead() - there).max(Millis(0)))
}

/// Notes a head that a log's own node has shown as its newest, where an auditor runs and if it is news.
pub async fn note(node: &Node, institution: InstitutionId, size: u64, head: &[u8], at: Timestamp) {
    if head.len() > MAX_HEAD_BYTES || node.role::<Auditor>().is_err() {
        return;
    }
    let Ok(head) = std::str::from_utf8(head) else { return };
    if !node.writer.read(|work| sightings::is_news(work, institution, size, at)).answer {
        return;
    }
    let sighting = Sighting { size, at, head: head.to_owned() };
    let noted = node.writer.decide(Act::default(), |desk| {
        sightings::note(desk, institution, &sighting);
        Ok(())
    });
    match noted {
        Ok(done) => node.writer.durable(done.ticket).await,
        // The next answer is noted instead.
        Err(refused) => tracing::debug!(%institution, %refused, "a sighting could not be noted"),
    }
}
