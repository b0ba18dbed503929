//! What is done about a log that showed two histories: the proof is kept, the last common size found, and once the
//! registrar has drawn its line a mirror of the history that does not count is given up.

use actors::replica::Frozen;
use anyhow::Context as _;
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

/// Holds the registrar's log to the history that the members have agreed on: at the start, before anything is followed, asked or
/// written. A mirror of another history is given up; one of this history, or none, is followed again. Of a mirror that does not
/// reach so far nobody knows which it follows.
///
/// # Errors
///
/// The own log is of another history, a mirror of one could not be given up, or the store takes nothing now.
pub async fn take_agreed_history(node: &Node) -> anyhow::Result<()> {
    let registrar = node.config.registrar.institution;
    let Some(agreed) = node.agreed(registrar) else { return Ok(()) };
    let (ledger, origin) = (node.writer.ledger(), node.writer.logs().origin(registrar));
    let held = ledger.accepted_size(&origin);
    let is_agreed = ledger.root_at(&origin, agreed.size).map(|root| root.0 == agreed.root.0);
    if registrar == node.config.institution {
        anyhow::ensure!(
            is_agreed == Some(true),
            "this registrar's log has {held} entries here and is not of the history that registrar.history names ({} entries, \
             root {}): what is written here would make the other one longer. Bring the store of that history back, or restore it \
             from an export of a member that has it (voucher-node restore)",
            agreed.size,
            agreed.root
        );
        return Ok(());
    }
    let is_forked = node.is_forked(registrar);
    if is_agreed == Some(false) || (is_agreed.is_none() && is_forked && held > 0) {
        node.give_up_mirror(registrar).await;
        anyhow::ensure!(
            node.is_given_up(registrar),
            "the mirror of {origin} is not of the history that registrar.history names, and could not be given up"
        );
    } else if is_forked {
        node.settle_registrar().await.map_err(anyhow::Error::msg).context("the fork of the registrar's log")?;
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use actors::replica::Fork;
    use actors::writer::{Act, Desk};
    use domain::ids::Digest;
    use domain::member::Role;
    use ledger::key::{NoteSigner, PrivateKey};
    use ledger::merkle::{Edge, leaf_hash};

    use super::*;
    use crate::api::wallet::tests::node_alone;
    use crate::config::History;

    const REGISTRAR: &str = "health";

    /// The entries that a log of this origin begins with, as a mirror takes them.
    fn step(size: u8, origin: &str) -> ledger::mirror::Accepted {
        let signer = NoteSigner::new(origin, PrivateKey::from_seed(&[8; 32])).unwrap();
        let entries: Vec<Vec<u8>> = (0..size).map(|n| vec![ledger::record::FORMAT, n]).collect();
        let mut edge = Edge::default();
        entries.iter().for_each(|entry| edge.push(leaf_hash(entry)));
        let head = Checkpoint { origin: origin.to_owned(), size: edge.size(), root: edge.root() }.sign(&signer);
        let (new, keys) = (entries.iter().map(Vec::as_slice).collect::<Vec<_>>(), [signer.verifier().clone()]);
        let nothing = ledger::mirror::Held::default();
        ledger::mirror::step(&nothing, head.as_bytes(), origin, &keys, &new, &[]).unwrap()
    }

    /// What becomes of the fork of the registrar's log at a start with a mirror of so many entries: settled before anybody is
    /// asked, where nothing of another history is held, and told once.
    #[actix_web::test]
    async fn a_fork_is_settled_where_nothing_but_the_agreed_history_is_held() {
        for (held, size, is_same, given_up, settled) in [
            (0, 2, true, false, true),
            (3, 2, true, false, true),
            (3, 3, true, false, true),
            (3, 2, false, true, false),
            (3, 4, true, true, false),
        ] {
            // The ledger's threads outlive the test by a moment: their directory must too.
            let dir = std::mem::ManuallyDrop::new(tempfile::tempdir().unwrap());
            let mut node = node_alone(dir.path(), &[Role::Auditor]);
            let registrar: InstitutionId = REGISTRAR.parse().unwrap();
            let origin = node.writer.logs().origin(registrar);
            if held > 0 {
                node.writer.accept(step(held, &origin), registrar).unwrap();
            }
            let root = if is_same { step(size, &origin).held().root().0 } else { [1; 32] };
            node.config.registrar.institution = registrar;
            node.config.registrar.history = Some(History { size: size.into(), root: Digest(root) });
            let fork = Fork { common_size: 1, held: String::new(), offered: String::new(), split: None };
            let keep = |desk: &mut Desk<'_>| {
                desk.work.keep_fork(registrar, &fork);
                Ok(())
            };
            node.writer.decide(Act::default(), keep).unwrap();
            node.writer.durable(node.writer.ledger().last_ticket()).await;

            node.writer.ledger().forbid_writing();
            take_agreed_history(&node).await.unwrap();
            let what = format!("{held} held, {size} agreed, the same: {is_same}");
            assert_eq!((node.is_given_up(registrar), !node.is_forked(registrar)), (given_up, settled), "{what}");
            let own = |node: &Node| node.writer.ledger().accepted_size(&node.config.origin());
            let before = own(&node);
            assert_eq!(node.record_settlement().await.is_ok(), !settled, "{what}: nothing may be written yet");
            node.allow_writing();
            for _ in 0..2 {
                node.record_settlement().await.unwrap();
                assert_eq!(own(&node) - before, u64::from(settled), "{what}");
            }
        }
    }

    #[actix_web::test]
    async fn a_registrar_of_another_history_does_not_start() {
        let dir = std::mem::ManuallyDrop::new(tempfile::tempdir().unwrap());
        let mut node = node_alone(dir.path(), &[Role::Issuer]);
        node.writer.durable(node.writer.ledger().last_ticket()).await;
        let root = node.writer.ledger().root_at(&node.config.origin(), 1).unwrap().0;
        for (size, root, starts) in [(1, root, true), (1, [1; 32], false), (2, root, false)] {
            node.config.registrar.history = Some(History { size, root: Digest(root) });
            let refused = take_agreed_history(&node).await.err().map(|error| error.to_string());
            assert_eq!(refused.is_none(), starts, "{size}: {refused:?}");
            assert!(refused.is_none_or(|text| text.contains("registrar.history") && text.contains("1 entries here")));
        }
    }
}
