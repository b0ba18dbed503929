//! The start rule: a node that may have lost part of its own log asks everyone before it writes again.
//!
//! A plain restart (the marker of this boot says that nothing is missing) writes at once. Any other start asks the members, all
//! whom the registrar's log names, for the longest checkpoint under its own key. Who holds more gives the tail back; too few
//! answers mean waiting. So a node that was brought back from a copy never forks itself.

use std::sync::Arc;
use std::time::Duration;

use domain::ids::InstitutionId;
use domain::reasons::Reason;
use ledger::checkpoint::Checkpoint;
use ledger::key::NoteVerifier;
use ledger::mirror::Head;

use super::client::Peer;
use super::fetch::{self, FetchError, Source};
use super::{Place, forks};
use crate::api::log::{Longest, LongestAnswer};
use crate::node::{Node, Writing};
use crate::rotation;

/// Time between two rounds of asking.
const ROUND: Duration = Duration::from_secs(1);

/// How often it is looked whether the registrar's log has come.
const LOOK: Duration = Duration::from_millis(50);

/// What one member answered.
#[derive(Debug, Clone)]
struct Answered {
    is_registrar: bool,
    is_witness: bool,
    head: Option<Seen>,
}

/// A head under this node's own key that somebody holds.
#[derive(Debug, Clone)]
struct Seen {
    head: Head,
    /// Where its tiles may be had.
    place: Place,
}

/// Whether the answers suffice: a majority of the others, and among them the registrar or a configured witness.
///
/// The registrar itself, if it has configured no witness, has only the majority to go by.
fn suffices(answers: &[Answered], others: usize, is_unwitnessed_registrar: bool) -> bool {
    let anchored = is_unwitnessed_registrar || answers.iter().any(|a| a.is_registrar || a.is_witness);
    2 * answers.len() > others && anchored
}

/// Asks until it is settled whether the node may write; takes back what the others have of its log and it has not.
///
/// # Errors
///
/// Somebody holds another history under our key: this log must not be written to here.
pub async fn settle(node: &Arc<Node>, plain_restart: bool) -> Result<(), Unlike> {
    let origin = node.config.origin();
    let is_unwitnessed_registrar = node.config.is_registrar() && node.config.peers.witnesses.is_empty();
    let mut knows_members = false;
    loop {
        if !rotation::may_sign(node) {
            // Whatever is missing would be taken back under a head that nobody takes.
            node.forbid_writing(Writing::OtherKey { settled: false });
            tokio::time::sleep(ROUND).await;
            continue;
        }
        if plain_restart {
            node.allow_writing();
            return Ok(());
        }
        if !knows_members {
            node.set_writing(Writing::Asking);
            knows_members = members_known(node).await;
        }
        let keys = super::keys_of(node, node.config.institution);
        let (answers, others) = ask_all(node, &origin, &keys).await;
        let size = node.writer.ledger().accepted_size(&origin);
        let mut longer: Vec<&Seen> = Vec::new();
        for seen in answers.iter().filter_map(|a| a.head.as_ref()) {
            let there = seen.head.checkpoint.size;
            let root = node.writer.ledger().root_at(&origin, there);
            if there > size {
                longer.push(seen);
            } else if root.is_some_and(|root| root != seen.head.checkpoint.root) {
                return Err(Unlike { here: size, there });
            }
        }
        longer.sort_by_key(|seen| std::cmp::Reverse(seen.head.checkpoint.size));
        if let Some(longest) = longer.first() {
            let there = longest.head.checkpoint.size;
            match restore_from_any(node, &origin, &keys, &longer).await {
                // Asked again: what was true of the shorter log may not be of the longer one.
                Ok(true) => continue,
                Ok(false) => {}
                Err(Forked) => return Err(Unlike { here: size, there }),
            }
            node.set_writing(Writing::LacksTail { here: size, there });
            tracing::error!(
                here = size,
                there,
                "a head over more entries than are here is signed under this log's key, and nobody gives the entries: \
                 nothing is written until a mirror has them; if they are lost for good, another log must succeed this one"
            );
        } else if !knows_members && answers.iter().any(|answer| answer.is_registrar) {
            tracing::debug!("the registrar has begun to answer: its log says who else is to be asked");
        } else if (node.config.is_registrar() && others == 0) || suffices(&answers, others, is_unwitnessed_registrar) {
            // With no others: the very first start of a federation, the registrar alone with an empty log.
            node.allow_writing();
            return Ok(());
        } else {
            node.set_writing(Writing::Asking);
            tracing::info!(
                answers = answers.len(),
                others,
                "asking how long this log is; nothing is written until enough answer"
            );
        }
        tokio::time::sleep(ROUND).await;
    }
}

/// Waits until the registrar's log is folded here as far as the registrar shows it: it says who is to be asked. A store that
/// is empty, or as old as a copy that was brought back, knows too few, and they may be those who hold the least.
///
/// A registrar that does not answer keeps nobody waiting: whether those who are known suffice without it is judged then. Whether it
/// has answered: if not, it is to be asked again before its answer counts.
async fn members_known(node: &Arc<Node>) -> bool {
    let registrar = node.config.registrar.institution;
    let Some(peer) = super::peer(node, registrar).filter(|_| !node.config.is_registrar()) else { return true };
    let body = Longest { origin: node.writer.logs().origin(registrar) };
    let key = format!("start-{}", rand::random::<u64>());
    let answer: Result<LongestAnswer, _> = node.client.post_json(&peer, "/v1/start/longest", &key, &body).await;
    let Ok(answer) = answer else { return false };
    let Some(note) = answer.checkpoint else { return true };
    let mut asked = 0_u32;
    loop {
        // Its keys may be in those records that are not here yet, so it is looked again each time.
        let keys = super::keys_for(node, registrar, note.as_bytes());
        let size = Checkpoint::open(note.as_bytes(), &body.origin, &keys).ok().map(|head| head.size);
        let cursor = node.writer.read(|work| work.cursor(registrar)).answer;
        // What is not followed any more, or not understood, does not come by waiting.
        let is_over = node.is_forked(registrar) || cursor.upgrade_needed;
        if is_over || size.is_some_and(|size| size <= cursor.next) {
            return true;
        }
        if asked.is_multiple_of(20) {
            tracing::info!(
                here = cursor.next,
                there = size,
                "the registrar's log is fetched: it says who is to be asked"
            );
        }
        asked = asked.wrapping_add(1);
        tokio::time::sleep(LOOK).await;
    }
}

/// Somebody holds a history under this node's key that does not fit the one here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this log has {here} entries here, and somebody holds a head over {there} under its key that does not fit: this log \
     was written in two places. It is not written to any more; the registrar freezes it, and another log succeeds it"
)]
pub struct Unlike {
    /// Entries here.
    pub here: u64,
    /// Entries of the head held elsewhere.
    pub there: u64,
}

/// What is offered is another history.
struct Forked;

/// Takes the tail from the first that has it; whether anything was taken.
async fn restore_from_any(
    node: &Arc<Node>,
    origin: &str,
    keys: &[NoteVerifier],
    longer: &[&Seen],
) -> Result<bool, Forked> {
    for seen in longer {
        let (place, note, size) = (&seen.place, seen.head.note.as_bytes(), seen.head.checkpoint.size);
        let from = place.peer.institution;
        match restore(node, Source { place, origin, keys, note, size }).await {
            Ok(entries) => {
                tracing::warn!(entries, size, %from, "entries of this log that were missing here are taken back");
                if entries == size {
                    tracing::warn!(
                        "nothing of this log was here: what stands in no log (people, openings, opening hours, what was \
                         imported) comes back from a backup alone"
                    );
                }
                return Ok(true);
            }
            Err(RestoreError::Fetch(FetchError::Refused(refused)))
                if forks::evidence(node, place, node.config.institution, &refused, &seen.head).await.is_some() =>
            {
                return Err(Forked);
            }
            Err(trouble) => tracing::warn!(%trouble, %from, "the missing entries cannot be had here"),
        }
    }
    Ok(false)
}

/// Why a tail could not be taken back.
#[derive(Debug, thiserror::Error)]
enum RestoreError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("this node cannot take entries now: {0}")]
    Here(Reason),
}

/// Takes the entries up to a signed head, step by step; how many.
async fn restore(node: &Arc<Node>, source: Source<'_>) -> Result<u64, RestoreError> {
    let first = node.writer.ledger().edge(source.origin).size();
    loop {
        let held = node.writer.ledger().edge(source.origin);
        if held.size() >= source.size {
            return Ok(held.size() - first);
        }
        let step = fetch::step(node, source, &held, fetch::STEP_ENTRIES).await?;
        let writer = node.writer.clone();
        let taken = tokio::task::spawn_blocking(move || writer.restore(&step)).await;
        match taken.map_err(|_| RestoreError::Here(Reason::Closing))? {
            Ok(ticket) => node.writer.durable(ticket).await,
            Err(refused) if refused.reason() == Reason::Busy => tokio::time::sleep(ROUND / 20).await,
            Err(refused) => return Err(RestoreError::Here(refused.reason())),
        }
    }
}

/// Everyone's answer, and how many others there are.
async fn ask_all(node: &Arc<Node>, origin: &str, keys: &[NoteVerifier]) -> (Vec<Answered>, usize) {
    let registrar = node.config.registrar.institution;
    let others = super::others(node);
    let asked = others.iter().map(|peer| async move {
        let key = format!("start-{}", rand::random::<u64>());
        let body = Longest { origin: origin.to_owned() };
        let answer: LongestAnswer = node.client.post_json(peer, "/v1/start/longest", &key, &body).await.ok()?;
        let is_witness = node.config.peers.witnesses.contains(&peer.institution);
        let is_registrar = peer.institution == registrar;
        let told = answer.checkpoint.is_some();
        let head = answer.checkpoint.and_then(|note| seen(peer, node.config.institution, origin, keys, note));
        // The registrar knows which keys this log has. What it holds under another key than is known here is longer than
        // what is here: its own log is followed first, and says which key that is.
        (!is_registrar || !told || head.is_some()).then_some(Answered { is_registrar, is_witness, head })
    });
    let answers = futures_util::future::join_all(asked).await;
    (answers.into_iter().flatten().collect(), others.len())
}

/// A head that is signed under our key; what is not says nothing about our log.
fn seen(peer: &Peer, me: InstitutionId, origin: &str, keys: &[NoteVerifier], note: String) -> Option<Seen> {
    let checkpoint = Checkpoint::open(note.as_bytes(), origin, keys).ok()?;
    Some(Seen { head: Head { checkpoint, note: note.into() }, place: Place::of(me, peer.clone()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_majority_with_the_registrar_or_a_witness_suffices() {
        let answer = |is_registrar, is_witness| Answered { is_registrar, is_witness, head: None };
        let (plain, registrar, witness) = (answer(false, false), answer(true, false), answer(false, true));
        for (answers, others, expected, as_registrar) in [
            (vec![], 0, false, false),
            (vec![registrar.clone()], 1, true, true),
            (vec![registrar.clone()], 2, false, false),
            (vec![registrar.clone(), plain.clone()], 3, true, true),
            (vec![plain.clone(), plain.clone(), plain.clone()], 4, false, true),
            (vec![plain.clone(), plain.clone(), plain.clone(), plain.clone()], 9, false, false),
            (vec![plain.clone(), plain, witness], 4, true, true),
        ] {
            assert_eq!(suffices(&answers, others, false), expected, "{} of {others}", answers.len());
            assert_eq!(suffices(&answers, others, true), as_registrar, "{} of {others}, the registrar", answers.len());
        }
    }
}
