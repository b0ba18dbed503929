//! The start rule: a node that may have lost part of its own log asks everyone before it writes again.
//!
//! A plain restart (the marker of this boot says that nothing is missing) writes at once. Any other start asks the
//! members for the longest checkpoint under its own key. Who holds more gives the tail back; nobody answering enough
//! means waiting. So a node that was brought back from a copy never forks itself.

use std::sync::Arc;
use std::time::Duration;

use ledger::checkpoint::Checkpoint;
use ledger::key::NoteVerifier;

use crate::api::log::{Longest, LongestAnswer};
use crate::node::Node;

/// Time between two rounds of asking.
const ROUND: Duration = Duration::from_secs(1);

/// What one member answered.
#[derive(Debug, Clone)]
struct Answered {
    is_registrar: bool,
    is_witness: bool,
    checkpoint: Option<Checkpoint>,
}

/// Whether the answers suffice: a majority of the others, and among them the registrar or a configured witness.
fn suffices(answers: &[Answered], others: usize) -> bool {
    2 * answers.len() > others && answers.iter().any(|a| a.is_registrar || a.is_witness)
}

/// Asks until it is settled whether the node may write.
///
/// # Errors
///
/// Somebody holds a longer or another history under our key: this log must not be written to here.
pub async fn settle(node: &Arc<Node>, plain_restart: bool) -> Result<(), LongerElsewhere> {
    if plain_restart {
        node.allow_writing();
        return Ok(());
    }
    let own_key: Vec<NoteVerifier> = own_verifier(node).into_iter().collect();
    let origin = node.config.origin();
    loop {
        let (answers, others) = ask_all(node, &origin, &own_key).await;
        let size = node.writer.ledger().accepted_size(&origin);
        for checkpoint in answers.iter().filter_map(|a| a.checkpoint.as_ref()) {
            let fits = checkpoint.size <= size
                && node.writer.ledger().root_at(&origin, checkpoint.size).is_none_or(|root| root == checkpoint.root);
            if !fits {
                return Err(LongerElsewhere { here: size, there: checkpoint.size });
            }
        }
        // The very first start of a federation: the registrar is alone, and its log is empty.
        let alone = node.config.is_registrar() && others == 0;
        if alone || suffices(&answers, others) {
            node.allow_writing();
            return Ok(());
        }
        tracing::info!(
            answers = answers.len(),
            others,
            "asking how long this log is; nothing is written until enough answer"
        );
        tokio::time::sleep(ROUND).await;
    }
}

/// Somebody holds a history under this node's key that this node does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this log has {here} entries here, and somebody holds a head over {there} that does not fit: this store is not \
         the newest; bring the newest one back, or restore the tail from a mirror, before this node may write"
)]
pub struct LongerElsewhere {
    /// Entries here.
    pub here: u64,
    /// Entries of the head held elsewhere.
    pub there: u64,
}

fn own_verifier(node: &Node) -> Option<NoteVerifier> {
    let key = ledger::key::PublicKey::checked(&node.keys.public()[0]).ok()?;
    NoteVerifier::new(&node.config.origin(), ledger::key::KeyKind::Log, key).ok()
}

/// Everyone's answer, and how many others there are.
async fn ask_all(node: &Arc<Node>, origin: &str, keys: &[NoteVerifier]) -> (Vec<Answered>, usize) {
    let registry = node.writer.registry();
    let registrar = node.config.registrar.institution;
    let mut others: Vec<_> = registry
        .members
        .values()
        .filter(|m| m.entry.institution != node.config.institution)
        .map(|m| (m.entry.institution, m.entry.url.clone()))
        .collect();
    if !node.config.is_registrar() && !others.iter().any(|(id, _)| *id == registrar) {
        others.push((registrar, node.config.registrar.url.clone()));
    }
    let asked = others.iter().map(|(id, url)| async move {
        let key = format!("start-{}", rand::random::<u64>());
        let body = Longest { origin: origin.to_owned() };
        let url = format!("{url}/v1/start/longest");
        let answer: LongestAnswer = node.client.post_json(&url, &key, &body).await.ok()?;
        let checkpoint = match answer.checkpoint {
            // What is not signed under our key says nothing about our log.
            Some(note) => Checkpoint::open(note.as_bytes(), origin, keys).ok(),
            None => None,
        };
        let is_witness = node.config.peers.witnesses.contains(id);
        Some(Answered { is_registrar: *id == registrar, is_witness, checkpoint })
    });
    let answers = futures_util::future::join_all(asked).await;
    (answers.into_iter().flatten().collect(), others.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_majority_with_the_registrar_or_a_witness_suffices() {
        let answer = |is_registrar, is_witness| Answered { is_registrar, is_witness, checkpoint: None };
        let (plain, registrar, witness) = (answer(false, false), answer(true, false), answer(false, true));
        for (answers, others, expected) in [
            (vec![], 0, false),
            (vec![registrar.clone()], 1, true),
            (vec![registrar.clone()], 2, false),
            (vec![registrar.clone(), plain.clone()], 3, true),
            (vec![plain.clone(), plain.clone(), plain.clone()], 4, false),
            (vec![plain.clone(), plain, witness], 4, true),
        ] {
            assert_eq!(suffices(&answers, others), expected, "{} of {others}", answers.len());
        }
    }
}
