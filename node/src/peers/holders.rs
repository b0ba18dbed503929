//! Who holds how much of this node's own log: what its followers say by asking for more, and waiting for them.
//!
//! A follower asks for what comes after the entries that are on its disk ([`super::follower`]), so its question is the
//! proof that it has come so far. The last one counts: a follower that was brought back from a copy holds less again.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::ids::InstitutionId;
use domain::reasons::Reason;
use tokio::sync::watch;

use crate::api::problem::Problem;
use crate::node::Node;

/// How many entries of the own log each member holds, as far as it was heard since the start.
#[derive(Debug, Default)]
pub struct Holders(watch::Sender<BTreeMap<InstitutionId, u64>>);

impl Holders {
    /// A member has `size` entries on its disk, and asks for more.
    pub fn hold(&self, member: InstitutionId, size: u64) {
        self.0.send_if_modified(|sizes| sizes.insert(member, size) != Some(size));
    }

    /// How many members hold at least `size` entries.
    #[must_use]
    pub fn holding(&self, size: u64) -> usize {
        holding(&self.0.borrow(), size)
    }

    /// Waits until `members` hold `size` entries.
    ///
    /// # Errors
    ///
    /// How many do, if they are fewer when the time is over.
    pub async fn until(&self, members: usize, size: u64, within: Duration) -> Result<(), usize> {
        let mut sizes = self.0.subscribe();
        let enough = sizes.wait_for(|sizes| holding(sizes, size) >= members);
        match tokio::time::timeout(within, enough).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(self.holding(size)),
        }
    }
}

fn holding(sizes: &BTreeMap<InstitutionId, u64>, size: u64) -> usize {
    sizes.values().filter(|held| **held >= size).count()
}

/// A member asks for what comes after `size` entries of the own log.
pub fn asked(node: &Node, member: InstitutionId, size: u64) {
    // Who claims more than there is does not follow this log.
    if member != node.config.institution && size <= own_size(node) {
        node.holders.hold(member, size);
    }
}

/// Entries of the own log under its newest durable head.
#[must_use]
pub fn own_size(node: &Node) -> u64 {
    node.writer.ledger().head(&node.config.origin()).map_or(0, |head| head.checkpoint.size)
}

/// Waits, before something done is acknowledged, until as many peers as configured hold the own log as it is now: with
/// that also everything that the answer depends on.
///
/// # Errors
///
/// [`Reason::NotYetHeld`]: it is on this node's disk, and the same request is answered when enough hold it.
pub async fn acknowledge(node: &Node) -> Result<(), Problem> {
    let peers = &node.config.peers;
    if peers.acknowledge == 0 {
        return Ok(());
    }
    let size = own_size(node);
    let within = Duration::from_millis(peers.acknowledge_wait_millis);
    node.holders.until(peers.acknowledge, size, within).await.map_err(|held_by| {
        Problem::new(Reason::NotYetHeld).detail(format!(
            "it is written here; {held_by} of {} peers hold the log up to {size} entries; ask again with the same Idempotency-Key",
            peers.acknowledge
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wait_ends_when_enough_hold_it_or_the_time_is_over() {
        let id = |text: &str| text.parse::<InstitutionId>().unwrap();
        let holders = Holders::default();
        let short = Duration::from_millis(20);
        assert_eq!(holders.until(0, 9, short).await, Ok(()));
        assert_eq!(holders.until(1, 1, short).await, Err(0));
        holders.hold(id("a"), 5);
        holders.hold(id("b"), 4);
        // members, size, what comes of it
        for (members, size, expected) in
            [(1, 5, Ok(())), (2, 4, Ok(())), (2, 5, Err(1)), (3, 1, Err(2)), (1, 6, Err(0))]
        {
            assert_eq!(holders.until(members, size, short).await, expected, "{members} {size}");
        }
        let (waited, ()) = tokio::join!(holders.until(2, 5, Duration::from_secs(9)), async {
            tokio::time::sleep(short).await;
            holders.hold(id("b"), 5);
        });
        assert_eq!(waited, Ok(()));
        // A follower that was brought back from a copy holds less again.
        holders.hold(id("a"), 0);
        assert_eq!(holders.until(2, 5, short).await, Err(1));
    }
}
