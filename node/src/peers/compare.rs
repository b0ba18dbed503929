//! Comparing heads with everyone in turn, so that a log that shows two histories is found out by those it shows them to.
//!
//! Each round asks one peer for the newest head of every log that it holds. An older one must be a beginning of what is
//! held here; a longer one must continue it. Two that do not fit are proof, and are kept.

use std::sync::Arc;
use std::time::Duration;

use domain::ids::InstitutionId;
use ledger::checkpoint::Checkpoint;
use ledger::key::NoteVerifier;
use ledger::mirror::{Evidence, Head, MAX_CHECKPOINT_BYTES};

use super::client::{CallError, Peer};
use super::{Place, forks};
use crate::api::answer::Listed;
use crate::api::log::HeadView;
use crate::node::Node;

/// Most heads of one answer that are looked at.
pub const MAX_HEADS: usize = 1_000;

/// A longer head is looked at after this time, if the log has not been followed there meanwhile.
const PATIENCE: Duration = Duration::from_secs(1);

/// Compares with one peer after the other until the node stops.
pub async fn compare(node: Arc<Node>) {
    let every = Duration::from_secs(node.config.peers.compare_secs);
    if every.is_zero() {
        return;
    }
    for turn in 0_usize.. {
        tokio::time::sleep(every).await;
        let others = super::others(&node);
        if others.is_empty() {
            continue;
        }
        let peer = &others[turn % others.len()];
        if let Err(trouble) = with(&node, peer).await {
            tracing::debug!(peer = %peer.institution, %trouble, "heads could not be compared");
        }
    }
}

/// Compares every log with one peer.
async fn with(node: &Arc<Node>, peer: &Peer) -> Result<(), CallError> {
    let heads: Listed<HeadView> = node.client.get_json(peer, "/v1/checkpoints").await?;
    let mut longer = Vec::new();
    for view in heads.items.into_iter().take(MAX_HEADS).filter(|view| view.note.len() <= MAX_CHECKPOINT_BYTES) {
        let origin = node.writer.logs().origin(view.institution);
        let keys = super::keys_for(node, view.institution, view.note.as_bytes());
        // What is not signed under the log's key says nothing about it.
        let Some(offered) = open(view.note, &origin, &keys) else { continue };
        if !judge(node, &Place::of(view.institution, peer.clone()), view.institution, &origin, &offered).await {
            longer.push((view.institution, origin, offered));
        }
    }
    if longer.is_empty() {
        return Ok(());
    }
    tokio::time::sleep(PATIENCE).await;
    for (log, origin, offered) in longer {
        let place = Place::of(log, peer.clone());
        if judge(node, &place, log, &origin, &offered).await {
            continue;
        }
        match forks::continues(node, &place, log, &offered).await {
            Ok(None) => {}
            Ok(Some(evidence)) => forks::keep(node, &place, log, &evidence).await,
            Err(trouble) => {
                tracing::debug!(peer = %peer.institution, %log, %trouble, "a longer head could not be judged")
            }
        }
    }
    Ok(())
}

fn open(note: String, origin: &str, keys: &[NoteVerifier]) -> Option<Head> {
    let checkpoint = Checkpoint::open(note.as_bytes(), origin, keys).ok()?;
    Some(Head { checkpoint, note: note.into() })
}

/// Judges a head that is not longer than what is held; `false` for a longer one, which needs a proof.
async fn judge(node: &Arc<Node>, place: &Place, log: InstitutionId, origin: &str, offered: &Head) -> bool {
    let ledger = node.writer.ledger();
    let held = ledger.edge(origin);
    let size = offered.checkpoint.size;
    let is_own = log == node.config.institution;
    if is_own && !node.may_write() {
        return true; // the start rule is at it
    }
    if size > held.size() {
        if is_own {
            ledger::fail::stop(&format!(
                "a head over {size} entries is signed under this log's key, and {} are here: another process writes this log",
                held.size()
            ));
        }
        return node.is_judged(log);
    }
    if let Some(held) = forks::unlike(node, log, &offered.checkpoint)
        && !node.is_judged(log)
    {
        forks::keep(node, place, log, &Evidence { held, offered: offered.clone() }).await;
    }
    true
}
