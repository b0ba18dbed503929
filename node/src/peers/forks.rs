//! What is done about a log that showed two histories: the proof is kept, the last common size found, and once the
//! registrar has drawn its line a mirror of the history that does not count is given up.

use actors::replica::Frozen;
use domain::ids::InstitutionId;
use ledger::checkpoint::Checkpoint;
use ledger::mirror::{Evidence, Head};

use super::Place;
use super::fetch::{self, FetchError};
use crate::node::Node;

/// The newest head that is held of a log, if the entries that lead to it contradict a head that the log's key has signed. A
/// contradiction of the own log stops this node, unless it does not write yet.
#[must_use]
pub fn unlike(node: &Node, log: InstitutionId, offered: &Checkpoint) -> Option<Head> {
    let (ledger, origin) = (node.writer.ledger(), node.writer.logs().origin(log));
    ledger.root_at(&origin, offered.size).filter(|root| *root != offered.root)?;
    if log != node.config.institution {
        return ledger.edge(&origin).newest;
    }
    if node.may_write() {
        let size = offered.size;
        ledger::fail::stop(&format!(
            "a head over {size} entries is signed under this log's key and is not this log's: it was written in two places"
        ));
    }
    None // the start rule is at it
}

/// Keeps two heads that do not fit, and finds by the tiles of who showed the second how far the histories are the same.
pub async fn keep(node: &Node, place: &Place, log: InstitutionId, evidence: &Evidence) {
    node.keep_fork(log, evidence, None).await;
    match common_size(node, place, log, &evidence.offered).await {
        Ok(Some(size)) => node.keep_fork(log, evidence, Some(size)).await,
        Ok(None) => {}
        // Whoever shows that history the next time is asked again.
        Err(trouble) => tracing::debug!(%log, %trouble, "how far the two histories are the same is not known yet"),
    }
}

/// The last size at which what is held is the same as the history of another head; none if it is so to its end.
async fn common_size(
    node: &Node,
    place: &Place,
    log: InstitutionId,
    offered: &Head,
) -> Result<Option<u64>, FetchError> {
    let origin = node.writer.logs().origin(log);
    let ledger = node.writer.ledger();
    let new = &offered.checkpoint;
    let same_at = async |size: u64| -> Result<bool, FetchError> {
        let there = match size {
            0 => return Ok(true),
            size if size == new.size => new.root,
            size => fetch::root_at(node, place, size, new).await?,
        };
        Ok(ledger.root_at(&origin, size) == Some(there))
    };
    let (mut same, mut unlike) = (0, ledger.edge(&origin).size().min(new.size));
    if same_at(unlike).await? {
        return Ok(None);
    }
    while unlike - same > 1 {
        let middle = same + (unlike - same) / 2;
        if same_at(middle).await? { same = middle } else { unlike = middle }
    }
    Ok(Some(same))
}

/// Whether a longer head continues what is held, by the tiles of who showed it; evidence if it provably does not.
pub async fn continues(
    node: &Node,
    place: &Place,
    log: InstitutionId,
    offered: &Head,
) -> Result<Option<Evidence>, FetchError> {
    let held = node.writer.ledger().edge(&node.writer.logs().origin(log));
    let size = held.size();
    let Some(newest) = held.newest.clone().filter(|_| size > 0) else { return Ok(None) };
    // Tiles that do not lead to the signed head prove nothing against the log: only its own signature does.
    let root = fetch::root_at(node, place, size, &offered.checkpoint).await?;
    Ok((root != held.root()).then(|| Evidence { held: newest, offered: offered.clone() }))
}

/// Whether nothing more is to be had of a log that the registrar has frozen. A mirror of the other history is given up.
pub async fn is_complete(node: &Node, log: InstitutionId, frozen: Frozen) -> bool {
    let root = node.writer.ledger().root_at(&node.writer.logs().origin(log), frozen.size);
    if root.is_some_and(|root| root.0 != frozen.root.0) {
        node.give_up_mirror(log).await;
    }
    root.is_some() || node.is_given_up(log)
}

/// Entries of a frozen log were refused: if they lead to the registrar's line, it is what is held that does not.
pub async fn refused(node: &Node, place: &Place, log: InstitutionId, frozen: Frozen, offered: &Checkpoint) {
    let there = fetch::root_at(node, place, frozen.size, offered).await;
    if there.is_ok_and(|root| root.0 == frozen.root.0) {
        node.give_up_mirror(log).await;
    }
}
