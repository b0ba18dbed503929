//! What is done about a log that showed two histories: the proof is kept, the last common size found, and once the
//! registrar has drawn its line a mirror of the history that does not count is given up.

use actors::replica::Frozen;
use domain::ids::InstitutionId;
use ledger::checkpoint::Checkpoint;
use ledger::fork::{Beginning, Split};
use ledger::mirror::{Evidence, Head, Refused};

use super::Place;
use super::fetch::{self, FetchError};
use crate::node::Node;

/// A head that the first `size` entries held of a log lead to: one of which all entries are here, if there is one, since what leads to
/// that can be shown to others.
#[must_use]
pub fn held_head(node: &Node, origin: &str, size: u64) -> Option<Head> {
    let ledger = node.writer.ledger();
    let whole = ledger.head(origin).filter(|head| head.checkpoint.size >= size);
    whole.or_else(|| ledger.edge(origin).newest)
}

/// The newest head that is held of a log, if the entries that lead to it contradict a head that the log's key has signed. A
/// contradiction of the own log stops this node, unless it does not write yet.
#[must_use]
pub fn unlike(node: &Node, log: InstitutionId, offered: &Checkpoint) -> Option<Head> {
    let (ledger, origin) = (node.writer.ledger(), node.writer.logs().origin(log));
    ledger.root_at(&origin, offered.size).filter(|root| *root != offered.root)?;
    if log != node.config.institution {
        return held_head(node, &origin, offered.size);
    }
    if node.may_write() {
        let size = offered.size;
        ledger::fail::stop(&format!(
            "a head over {size} entries is signed under this log's key and is not this log's: it was written in two places"
        ));
    }
    None // the start rule is at it
}

/// Keeps two heads that do not fit, and finds by the tiles of who showed the second what proves it to others, and how far the
/// histories are the same.
pub async fn keep(node: &Node, place: &Place, log: InstitutionId, evidence: &Evidence) {
    // What the members did not agree on is no news any more; who goes on from what they did may fork again.
    let offered = &evidence.offered;
    if node.agreed(log).is_some() && !is_agreed(node, place, log, &offered.checkpoint, 0).await.unwrap_or(false) {
        return;
    }
    // What is held proves nothing before it is on the disk.
    node.writer.durable(node.writer.ledger().last_ticket()).await;
    node.keep_fork(log, evidence, split(node, log, evidence, None), None).await;
    let found = async {
        let (evidence, split) = proved(node, place, log, evidence).await?;
        Ok::<_, FetchError>((evidence, split, common_size(node, place, log, offered).await?))
    };
    match found.await {
        Ok((evidence, split, size)) => node.keep_fork(log, &evidence, split, size).await,
        // Whoever shows that history the next time is asked again.
        Err(trouble) => tracing::debug!(%log, %trouble, "how far the two histories are the same is not known yet"),
    }
}

/// What shows others that a head does not fit what is held, by the tiles of who showed it: beside the head of the evidence, of which
/// not all entries may be here, the newest of which they are.
async fn proved(
    node: &Node,
    place: &Place,
    log: InstitutionId,
    evidence: &Evidence,
) -> Result<(Evidence, Option<Split>), FetchError> {
    let whole = node.writer.ledger().head(&node.writer.logs().origin(log));
    let whole = whole.filter(|whole| whole.checkpoint.size > 0 && whole.checkpoint != evidence.held.checkpoint);
    for held in std::iter::once(evidence.held.clone()).chain(whole) {
        let evidence = Evidence { held, offered: evidence.offered.clone() };
        let size = evidence.held.checkpoint.size.min(evidence.offered.checkpoint.size);
        let there = fetch::beginning(node, place, size, &evidence.offered.checkpoint).await?;
        if let Some(split) = split(node, log, &evidence, Some(there)) {
            return Ok((evidence, Some(split)));
        }
    }
    Ok((evidence.clone(), None))
}

/// What shows others that two heads do not fit, if it holds: the shorter one and the beginning of the longer one. What is held begins
/// here, and what was offered `there` if it is longer.
#[must_use]
pub fn split(node: &Node, log: InstitutionId, evidence: &Evidence, there: Option<Beginning>) -> Option<Split> {
    let (ledger, origin) = (node.writer.ledger(), node.writer.logs().origin(log));
    let (held, offered) = (&evidence.held.checkpoint, &evidence.offered.checkpoint);
    let all = |head: &Checkpoint| Beginning { root: head.root, proof: Vec::new() };
    let size = held.size.min(offered.size);
    let here = || {
        let proof = ledger.consistency_proof(&origin, size, held.size)?;
        Some(Beginning { root: ledger.root_at(&origin, size)?, proof })
    };
    let split = Split {
        size,
        held: if size == held.size { all(held) } else { here()? },
        offered: if size == offered.size { all(offered) } else { there? },
    };
    let keys = super::keys_of(node, log);
    split.prove(&origin, &keys, &evidence.held.note, &evidence.offered.note).is_ok().then_some(split)
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
        if size == 0 {
            return Ok(true);
        }
        Ok(ledger.root_at(&origin, size) == Some(fetch::beginning(node, place, size, new).await?.root))
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
    let origin = node.writer.logs().origin(log);
    let held = node.writer.ledger().edge(&origin);
    let size = held.size();
    let Some(head) = held_head(node, &origin, size).filter(|_| size > 0) else { return Ok(None) };
    // Tiles that do not lead to the signed head prove nothing against the log: only its own signature does.
    let there = fetch::beginning(node, place, size, &offered.checkpoint).await?;
    Ok((there.root != held.root()).then(|| Evidence { held: head, offered: offered.clone() }))
}

/// What a refusal is evidence of: entries that do not lead from what is held to the signed head may be false themselves, or the head
/// may leave out or change what its log signed before.
pub async fn evidence(
    node: &Node,
    place: &Place,
    log: InstitutionId,
    refused: &Refused,
    offered: &Head,
) -> Option<Evidence> {
    match refused {
        Refused::Fork(evidence) => Some((**evidence).clone()),
        Refused::RootMismatch | Refused::BadProof(_) => continues(node, place, log, offered).await.ok().flatten(),
        _ => None,
    }
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
    let there = fetch::beginning(node, place, frozen.size, offered).await;
    if there.is_ok_and(|there| there.root.0 == frozen.root.0) {
        node.give_up_mirror(log).await;
    }
}

/// Gives up a mirror of the registrar's log that follows another history than the members have agreed on: at the start, before
/// anything is followed. Of a mirror that does not reach so far nobody knows which it follows.
pub async fn give_up_other_history(node: &Node) {
    let registrar = node.config.registrar.institution;
    let Some(agreed) = node.agreed(registrar).filter(|_| registrar != node.config.institution) else { return };
    let (ledger, origin) = (node.writer.ledger(), node.writer.logs().origin(registrar));
    let is_other = match ledger.root_at(&origin, agreed.size) {
        Some(root) => root.0 != agreed.root.0,
        None => ledger.accepted_size(&origin) > 0 && node.is_forked(registrar),
    };
    if is_other {
        node.give_up_mirror(registrar).await;
    }
}

/// Whether a head of the registrar's log is of the history that the members have agreed on; of every other log, and where nothing
/// was agreed or that is held already, it is.
///
/// # Errors
///
/// [`FetchError`]: its tiles do not show it.
pub async fn is_agreed(
    node: &Node,
    place: &Place,
    log: InstitutionId,
    head: &Checkpoint,
    held: u64,
) -> Result<bool, FetchError> {
    match node.agreed(log).filter(|agreed| held < agreed.size) {
        Some(agreed) if head.size < agreed.size => Ok(false),
        Some(agreed) => Ok(fetch::beginning(node, place, agreed.size, head).await?.root.0 == agreed.root.0),
        None => Ok(true),
    }
}
