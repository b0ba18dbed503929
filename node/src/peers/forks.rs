//! What is done about a log that showed two histories: the proof is kept, the last common size found, and once the
//! registrar has drawn its line a mirror of the history that does not count is given up.

use domain::ids::InstitutionId;
use ledger::merkle::verify_consistency;
use ledger::mirror::{Evidence, Head};

use super::Place;
use super::fetch::{self, FetchError};
use crate::node::Node;

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
    // What only a liar's tiles say is nothing: they must lead to the root that the log signed.
    let same_at = async |size: u64| -> Result<bool, FetchError> {
        let there = match size {
            0 => return Ok(true),
            size if size == new.size => new.root,
            size => {
                let (root, proof) = fetch::root_and_proof(node, place, size, new.size).await?;
                verify_consistency(size, &root, new.size, &new.root, &proof).map_err(fetch::unproved)?;
                root
            }
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
    let (size, new) = (held.size(), &offered.checkpoint);
    let Some(newest) = held.newest.clone().filter(|_| size > 0) else { return Ok(None) };
    let (root, proof) = fetch::root_and_proof(node, place, size, new.size).await?;
    // Tiles that do not lead to the signed head prove nothing against the log: only its own signature does.
    let leads_there = verify_consistency(size, &root, new.size, &new.root, &proof).is_ok();
    Ok((leads_there && root != held.root()).then(|| Evidence { held: newest, offered: offered.clone() }))
}

/// Whether nothing more is to be had of a log that the registrar has frozen. A mirror of the other history is given up.
pub async fn is_complete(node: &Node, log: InstitutionId) -> bool {
    let Some(frozen) = node.frozen(log) else { return false };
    let root = node.writer.ledger().root_at(&node.writer.logs().origin(log), frozen.size);
    if root.is_some_and(|root| root.0 != frozen.root.0) {
        node.give_up_mirror(log).await;
    }
    root.is_some() || node.is_given_up(log)
}

/// Entries of a frozen log were refused: if they lead to the registrar's line, it is what is held that does not.
pub async fn refused(node: &Node, place: &Place, log: InstitutionId, offered: &Head) {
    let Some(frozen) = node.frozen(log) else { return };
    let new = &offered.checkpoint;
    let proved = match fetch::root_and_proof(node, place, frozen.size, new.size).await {
        Ok((root, proof)) => {
            root.0 == frozen.root.0 && verify_consistency(frozen.size, &root, new.size, &new.root, &proof).is_ok()
        }
        Err(_) => false,
    };
    if proved {
        node.give_up_mirror(log).await;
    }
}
