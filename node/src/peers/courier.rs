//! The courier: delivers letters to other nodes, those about one thing in order, until they are taken or refused for good.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actors::outbox::{self, Letter};
use actors::writer::Act;
use domain::ids::InstitutionId;
use domain::member::{Registry, Role};
use futures_util::StreamExt as _;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use crate::node::Node;

/// Letters read at once.
const PAGE: usize = 512;

/// Most pages read in one look: what waits for silent receivers may stand before what can be delivered.
const PAGES: usize = 32;

/// Letters for one receiver in one round.
const BATCH: usize = 64;

/// Letters on their way to one receiver at once.
const AT_ONCE: usize = 8;

/// How long the courier rests when nothing was committed.
const REST: Duration = Duration::from_millis(500);

/// Rest between two looks at the outbox, and of a receiver that could not take some letter yet.
const SHORT_REST: Duration = Duration::from_millis(20);

/// Longest rest for a receiver that takes nothing.
const LONGEST_REST: Duration = Duration::from_secs(10);

/// A receiver to whom nothing more is sent for the moment.
#[derive(Debug, Clone, Copy)]
struct Pause {
    /// How long the last rest was.
    rest: Duration,
    /// Until when; none while letters are on their way.
    until: Option<Instant>,
}

/// What became of a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// It need not be kept any longer.
    Done,
    /// The receiver cannot take it yet.
    NotYet,
    /// The receiver does not answer.
    Silent,
}

/// What became of a round of letters to one receiver.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Tally {
    done: usize,
    left: usize,
}

impl Tally {
    /// How long the receiver rests, after a rest before.
    fn rest(self, before: Duration) -> Option<Duration> {
        match self {
            Self { left: 0, .. } => None,
            Self { done: 0, .. } => Some((before * 2).clamp(SHORT_REST, LONGEST_REST)),
            _ => Some(SHORT_REST),
        }
    }
}

/// Delivers letters until the node stops. A receiver that is slow or silent holds no other one up.
pub async fn deliver(node: Arc<Node>) {
    let mut commits = node.commits();
    let mut pauses: BTreeMap<InstitutionId, Pause> = BTreeMap::new();
    let mut rounds: JoinSet<(InstitutionId, Tally)> = JoinSet::new();
    loop {
        let now = Instant::now();
        let is_paused = |to: &InstitutionId| pauses.get(to).is_some_and(|p| p.until.is_none_or(|until| until > now));
        for (to, letters) in waiting(&node, is_paused).await {
            let rest = pauses.get(&to).map_or(Duration::ZERO, |p| p.rest);
            pauses.insert(to, Pause { rest, until: None });
            let node = node.clone();
            rounds.spawn(async move { (to, hand_over_all(&node, letters).await) });
        }
        tokio::time::sleep(SHORT_REST).await;
        tokio::select! {
            // Woken by a commit, or after a rest.
            _ = tokio::time::timeout(REST, commits.changed()) => {}
            Some(round) = rounds.join_next() => settle(&mut pauses, round),
        }
        while let Some(round) = rounds.try_join_next() {
            settle(&mut pauses, round);
        }
    }
}

fn settle(pauses: &mut BTreeMap<InstitutionId, Pause>, round: Result<(InstitutionId, Tally), JoinError>) {
    match round {
        Ok((to, tally)) => match tally.rest(pauses.get(&to).map_or(Duration::ZERO, |p| p.rest)) {
            Some(rest) => drop(pauses.insert(to, Pause { rest, until: Some(Instant::now() + rest) })),
            None => drop(pauses.remove(&to)),
        },
        Err(error) => {
            // Nobody knows whose round it was. Letters are taken once however often they come.
            tracing::error!(%error, "a round of letters broke off");
            pauses.clear();
        }
    }
}

/// The oldest letters of each receiver that is not paused.
async fn waiting(node: &Node, is_paused: impl Fn(&InstitutionId) -> bool) -> BTreeMap<InstitutionId, Vec<Letter>> {
    let mut found: BTreeMap<InstitutionId, Vec<Letter>> = BTreeMap::new();
    let (mut from, mut seen) = (0, 0);
    for _ in 0..PAGES {
        let done = node.writer.read(|work| outbox::letters(&work.tx, from, PAGE));
        let registry = node.writer.registry();
        // A letter leaves when what it speaks of is on disk.
        node.writer.durable(done.ticket).await;
        let read = done.answer.len();
        seen += read;
        from = done.answer.last().map_or(from, |letter| letter.number + 1);
        for letter in done.answer {
            let letter = Letter { to: addressee(&registry, &letter), ..letter };
            if !is_paused(&letter.to) {
                let letters = found.entry(letter.to).or_default();
                letters.extend((letters.len() < BATCH).then_some(letter));
            }
        }
        if read < PAGE || !found.is_empty() {
            break;
        }
    }
    node.metrics.letters.set(i64::try_from(seen).unwrap_or(i64::MAX));
    found
}

/// Who takes a letter now: to whom it was written, or who has succeeded that in the role that its path names.
fn addressee(registry: &Registry, letter: &Letter) -> InstitutionId {
    let named = |role: &&Role| letter.path.split('/').nth(2) == Some(role.as_str());
    let role = Role::ALL.iter().find(named);
    role.map_or(letter.to, |role| registry.heir(letter.to, *role, u64::MAX))
}

/// What a letter is about: letters about one thing are delivered in their order.
fn subject(letter: &Letter) -> String {
    let body: serde_json::Value = serde_json::from_slice(&letter.body).unwrap_or_default();
    let places = ["/voucher", "/holder", "/details/voucher", "/opening/voucher"];
    let named = places.into_iter().find_map(|place| body.pointer(place)?.as_str());
    format!("{} {}", letter.path, named.unwrap_or_default())
}

/// Delivers letters to one receiver, several at once, those about one thing in their order.
async fn hand_over_all(node: &Node, letters: Vec<Letter>) -> Tally {
    let mut lanes: BTreeMap<String, Vec<Letter>> = BTreeMap::new();
    for letter in letters {
        lanes.entry(subject(&letter)).or_default().push(letter);
    }
    let silent = AtomicBool::new(false);
    let silent = &silent;
    let tallies = lanes.into_values().map(|lane| async move {
        let mut tally = Tally { done: 0, left: lane.len() };
        for letter in &lane {
            if silent.load(Ordering::Relaxed) {
                break;
            }
            match hand_over(node, letter).await {
                Outcome::Done => tally = Tally { done: tally.done + 1, left: tally.left - 1 },
                Outcome::NotYet => break,
                Outcome::Silent => silent.store(true, Ordering::Relaxed),
            }
        }
        tally
    });
    let sum = |a: Tally, b: Tally| Tally { done: a.done + b.done, left: a.left + b.left };
    let all = futures_util::stream::iter(tallies).buffer_unordered(AT_ONCE);
    all.fold(Tally::default(), |a, b| async move { sum(a, b) }).await
}

/// Delivers one letter, and takes it out of the outbox if it need not be kept.
async fn hand_over(node: &Node, letter: &Letter) -> Outcome {
    let Some(peer) = super::peer(node, letter.to) else {
        tracing::warn!(to = %letter.to, path = letter.path, "a letter to someone who is no member");
        return Outcome::NotYet;
    };
    let key = format!("letter-{}-{}", node.config.institution, letter.number);
    let answer = node.client.post(&peer, &letter.path, &key, letter.body.clone()).await;
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
            return Outcome::Silent;
        }
    };
    if !taken {
        return Outcome::NotYet;
    }
    let removed = node.writer.decide(Act::default(), |desk| {
        outbox::delivered(desk, letter.number);
        Ok(())
    });
    if removed.is_ok() { Outcome::Done } else { Outcome::NotYet }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(path: &str, body: &str) -> Letter {
        let to = InstitutionId::new("issuer").unwrap();
        Letter { number: 0, to, path: path.to_owned(), body: body.as_bytes().to_vec() }
    }

    #[test]
    fn letters_about_one_thing_stay_in_order() {
        let rows = [
            (("/a", r#"{"voucher":"v.1","n":1}"#), ("/a", r#"{"voucher":"v.1","n":2}"#), true),
            (("/a", r#"{"voucher":"v.1"}"#), ("/a", r#"{"voucher":"v.2"}"#), false),
            (("/a", r#"{"holder":"h1"}"#), ("/a", r#"{"holder":"h1","x":0}"#), true),
            (("/a", r#"{"details":{"voucher":"v.1"}}"#), ("/a", r#"{"voucher":"v.1"}"#), true),
            (("/a", r#"{"voucher":"v.1"}"#), ("/b", r#"{"voucher":"v.1"}"#), false),
            (("/a", "{}"), ("/a", "not JSON"), true),
        ];
        for ((path, body), (other_path, other_body), same) in rows {
            let equal = subject(&letter(path, body)) == subject(&letter(other_path, other_body));
            assert_eq!(equal, same, "{path} {body} / {other_path} {other_body}");
        }
    }

    #[test]
    fn who_takes_nothing_is_asked_ever_less_often() {
        let millis = Duration::from_millis;
        for (done, left, before, rest) in [
            (3, 0, millis(0), None),
            (0, 0, millis(80), None),
            (3, 1, millis(5_000), Some(millis(20))),
            (0, 1, millis(0), Some(millis(20))),
            (0, 4, millis(80), Some(millis(160))),
            (0, 4, millis(9_000), Some(millis(10_000))),
        ] {
            assert_eq!(Tally { done, left }.rest(before), rest, "{done} done, {left} left, after {before:?}");
        }
    }
}
