//! The courier: delivers letters to other nodes, in order for each receiver, until they are taken or refused for good.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actors::outbox::{self, Letter};
use actors::writer::Act;
use domain::ids::InstitutionId;

use crate::node::Node;

/// Letters looked at in one round.
const ROUND: usize = 256;

/// How long the courier rests when nothing was committed.
const REST: Duration = Duration::from_millis(500);

/// Longest rest for a receiver that does not answer.
const LONGEST_REST: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy)]
struct Patience {
    rest: Duration,
    not_before: tokio::time::Instant,
}

/// Delivers letters until the node stops.
pub async fn deliver(node: Arc<Node>) {
    let mut commits = node.commits();
    let mut patience: BTreeMap<InstitutionId, Patience> = BTreeMap::new();
    loop {
        let done = node.writer.read(|work| outbox::letters(&work.tx, 0, ROUND));
        // A letter leaves when what it speaks of is on disk.
        node.writer.durable(done.ticket).await;
        node.metrics.letters.set(i64::try_from(done.answer.len()).unwrap_or(i64::MAX));
        let mut delivered_any = false;
        for letter in &done.answer {
            let now = tokio::time::Instant::now();
            if patience.get(&letter.to).is_some_and(|p| p.not_before > now) {
                continue;
            }
            if hand_over(&node, letter).await {
                patience.remove(&letter.to);
                delivered_any = true;
            } else {
                let rest =
                    patience.get(&letter.to).map_or(Duration::from_millis(100), |p| (p.rest * 2).min(LONGEST_REST));
                patience.insert(letter.to, Patience { rest, not_before: now + rest });
            }
        }
        if !delivered_any {
            // Woken by a commit, or after a rest.
            let _ = tokio::time::timeout(REST, commits.changed()).await;
        }
    }
}

/// Whether the letter need not be kept any longer.
async fn hand_over(node: &Node, letter: &Letter) -> bool {
    let url = node.writer.registry().member(letter.to).map(|m| m.entry.url.clone());
    let Some(url) = url else {
        tracing::warn!(to = %letter.to, path = letter.path, "a letter to someone who is no member");
        return false;
    };
    let key = format!("letter-{}-{}", node.config.institution, letter.number);
    let answer = node.client.post(&format!("{url}{}", letter.path), &key, letter.body.clone()).await;
    let taken = match answer {
        Ok(answer) if (200..300).contains(&answer.status) => true,
        Ok(answer) if (400..500).contains(&answer.status) && ![404, 408, 429].contains(&answer.status) => {
            let code = serde_json::from_slice::<serde_json::Value>(&answer.body).ok();
            let code = code.and_then(|v| Some(v.get("code")?.as_str()?.to_owned())).unwrap_or_default();
            tracing::warn!(to = %letter.to, path = letter.path, status = answer.status, code, "a letter was refused");
            true
        }
        Ok(answer) => {
            tracing::debug!(to = %letter.to, path = letter.path, status = answer.status, "a letter waits");
            false
        }
        Err(error) => {
            tracing::debug!(to = %letter.to, path = letter.path, %error, "a letter waits");
            false
        }
    };
    if !taken {
        return false;
    }
    let removed = node.writer.decide(Act::default(), |desk| {
        outbox::delivered(desk, letter.number);
        Ok(())
    });
    removed.is_ok()
}
