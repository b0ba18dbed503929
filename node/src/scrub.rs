//! Reading again, at the pace that the operator allows, what was stored long ago ([`ledger::scrub`]).

use std::sync::Arc;
use std::time::Duration;

use actors::keys;
use actors::writer::Act;
use domain::time::{Millis, Timestamp};
use ledger::scrub::Place;
use serde::{Deserialize, Serialize};

use crate::node::Node;

/// How long after a whole pass the next one begins.
const EVERY: Millis = Millis::hours(24);

/// How often it is looked whether that time is over.
const LOOK: Duration = Duration::from_secs(60);

/// Steps after which the place is kept, so that a restart does not begin again.
const KEPT_EVERY: u64 = 1_024;

/// How far the reading has come. A private row, so that passes end also on a node that is restarted each day.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Pass {
    /// Where it goes on; none between two passes.
    place: Option<Place>,
    /// When the last whole pass ended, if one did.
    pub passed_at: Option<Timestamp>,
}

impl Pass {
    /// The place to read next; none while the last pass is recent.
    fn due(&self, now: Timestamp) -> Option<Place> {
        let is_recent = self.passed_at.is_some_and(|at| now < at + EVERY);
        self.place.clone().or_else(|| (!is_recent).then(Place::first))
    }

    /// How far it has come after a step.
    fn after(&mut self, next: Option<Place>, now: Timestamp) {
        if next.is_none() {
            self.passed_at = Some(now);
        }
        self.place = next;
    }
}

/// Reads until the node stops. What is not as it was written stops the node.
pub async fn scrub(node: Arc<Node>) {
    let bytes_per_sec = node.config.store.scrub_kib_per_sec.saturating_mul(1_024);
    if bytes_per_sec == 0 {
        return;
    }
    let mut pass: Pass = node.writer.read(|work| work.tx.load_private(keys::SCRUB)).answer.unwrap_or_default();
    node.set_scrubbed(pass.passed_at);
    for step in 1_u64.. {
        let Some(place) = pass.due(node.writer.now()) else {
            tokio::time::sleep(LOOK).await;
            continue;
        };
        let writer = node.writer.clone();
        // A task that broke off has stopped the process, or the node is ending.
        let Ok(read) = tokio::task::spawn_blocking(move || writer.ledger().scrub(&place)).await else { return };
        node.metrics.scrub_bytes.inc_by(read.bytes);
        pass.after(read.next, node.writer.now());
        if pass.place.is_none() || step.is_multiple_of(KEPT_EVERY) {
            keep(&node, &pass);
        }
        node.set_scrubbed(pass.passed_at);
        tokio::time::sleep(Duration::from_secs_f64(read.bytes as f64 / bytes_per_sec as f64)).await;
    }
}

fn keep(node: &Node, pass: &Pass) {
    let kept = node.writer.decide(Act::default(), |desk| {
        desk.work.tx.store_private(keys::SCRUB.to_vec(), pass);
        Ok(())
    });
    if let Err(refused) = kept {
        tracing::debug!(%refused, "how far the store was read again could not be kept");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_goes_on_where_it_was_and_begins_again_a_day_later() {
        let noon = Timestamp::from_millis(1_790_000_000_000);
        let mut pass = Pass::default();
        assert_eq!(pass.due(noon), Some(Place::first()));
        let middle = Place { origin: None, next: 4 };
        pass.after(Some(middle.clone()), noon);
        assert_eq!(pass.due(noon), Some(middle));
        pass.after(None, noon);
        // hours after the pass; whether another is due
        for (hours, is_due) in [(0, false), (23, false), (24, true), (99, true)] {
            assert_eq!(pass.due(noon + Millis::hours(hours)).is_some(), is_due, "{hours}");
        }
    }
}
