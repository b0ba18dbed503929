//! Following one log: long-poll its checkpoint, fetch entry bundles, verify, hand over; rest after failures.
//!
//! Nothing is accepted that does not lead to the signed root. What the log's own node does not give is asked of the
//! other members, who mirror it. Records more than five minutes ahead of the clock here are not taken yet: they wait in
//! their log, and what stands before them is taken. A log that has shown two histories rests until the registrar has drawn
//! its line, and is then taken up to that, from the registrar.

use std::sync::Arc;
use std::time::Duration;

use actors::replica::Frozen;
use domain::ids::InstitutionId;
use domain::reasons::Reason;
use domain::time::Timestamp;
use ledger::key::NoteVerifier;
use ledger::mirror::{self, Head, Held, Refused};

use super::clocks::first_ahead;
use super::fetch::{self, FetchError, STEP_ENTRIES, Source};
use super::{Place, forks};
use crate::node::Node;

/// First rest after a failure.
const FIRST_REST: Duration = Duration::from_millis(50);

/// After so many failures in a row the operator is told, once for each cause.
const TOLD_AFTER: u32 = 4;

/// What one round of following came to.
#[derive(Debug, PartialEq, Eq)]
enum Round {
    Grown,
    Nothing,
}

/// Why a round brought nothing.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("this node cannot take entries now: {0}")]
    Here(Reason),
    #[error("no key is known for this log")]
    NoKey,
    #[error("this is not, or does not show, the history of the registrar's log that the configuration names")]
    OtherHistory,
    #[error("the next record is of {0}, too far ahead of the clock here")]
    TooEarly(Timestamp),
}

/// Follows an institution's log until the node stops.
pub async fn follow(node: Arc<Node>, institution: InstitutionId) {
    let mut rest = FIRST_REST;
    let longest = Duration::from_millis(node.config.peers.max_backoff_millis.max(100));
    let labels = crate::telemetry::LogLabels { institution: institution.to_string() };
    let (mut failures, mut told) = (0_u32, String::new());
    loop {
        let frozen = node.frozen(institution);
        if let Some(frozen) = frozen
            && forks::is_complete(&node, institution, frozen).await
        {
            tracing::warn!(%institution, "the log was frozen and is not followed further");
            node.set_too_early(institution, None);
            return;
        }
        if node.is_given_up(institution) || (frozen.is_none() && node.is_forked(institution)) {
            node.set_too_early(institution, None);
            tokio::time::sleep(longest).await;
            continue;
        }
        let began = tokio::time::Instant::now();
        match round(&node, institution, frozen, failures).await {
            Ok(round) => {
                rest = FIRST_REST;
                failures = 0;
                told.clear();
                node.set_too_early(institution, None);
                if round == Round::Nothing {
                    // A peer that does not wait with its answer shall not keep this node busy.
                    tokio::time::sleep_until(began + FIRST_REST).await;
                }
            }
            Err(Trouble::TooEarly(at)) => {
                if node.set_too_early(institution, Some(at)) {
                    tracing::warn!(%institution, %at, "records too far ahead of the clock here wait");
                }
                tokio::time::sleep(rest).await;
                rest = (rest * 2).min(longest);
            }
            Err(trouble) => {
                node.metrics.poll_failures.get_or_create(&labels).inc();
                failures = failures.saturating_add(1);
                tracing::debug!(%institution, %trouble, rest_millis = rest.as_millis(), "a poll failed");
                let why = trouble.to_string();
                if failures >= TOLD_AFTER && why != told {
                    tracing::warn!(%institution, why, "the log cannot be had; it is asked for again and again");
                    told = why;
                }
                tokio::time::sleep(rest).await;
                rest = (rest * 2).min(longest);
            }
        }
    }
}

/// Where to ask: the log's own node, and after failures every other member in turn.
fn source(node: &Node, institution: InstitutionId, frozen: Option<Frozen>, failures: u32) -> Option<Place> {
    if frozen.is_some() {
        // The history that counts is the one that the registrar holds.
        let registrar = super::peer(node, node.config.registrar.institution)?;
        return Some(Place::of(institution, registrar));
    }
    let direct = super::peer(node, institution)?;
    let mut others = super::others(node);
    others.retain(|peer| peer.institution != institution);
    let peer = if failures < 3 || failures.is_multiple_of(2) || others.is_empty() {
        direct
    } else {
        let turn = usize::try_from(failures / 2).unwrap_or_default() % others.len();
        others.swap_remove(turn)
    };
    Some(Place::of(institution, peer))
}

async fn round(
    node: &Arc<Node>,
    institution: InstitutionId,
    frozen: Option<Frozen>,
    failures: u32,
) -> Result<Round, Trouble> {
    let origin = node.writer.logs().origin(institution);
    let place = source(node, institution, frozen, failures).ok_or(Trouble::NoKey)?;
    if super::keys_of(node, institution).is_empty() {
        return Err(Trouble::NoKey);
    }
    let held = node.writer.ledger().edge(&origin);
    // What is asked for tells the other side what this node holds, so that must be on the disk.
    node.writer.durable(node.writer.ledger().last_ticket()).await;
    let wait = if failures == 0 { node.config.peers.poll_wait_secs } else { 0 };
    let path = format!("{}/checkpoint?newer_than={}&wait_secs={wait}", place.base, held.size());
    let asked = node.client.get(&place.peer, &path, Duration::from_secs(wait + 10)).await;
    if place.peer.institution == institution {
        node.note_answer(institution, asked.is_ok());
    }
    let answer = asked.map_err(FetchError::from)?;
    let seen_at = super::sightings::time_of_answer(node, &place.peer);
    if answer.status == 404 && held.size() == 0 {
        // Nothing is written there yet.
        tokio::time::sleep(Duration::from_millis(200)).await;
        return Ok(Round::Nothing);
    }
    if answer.status != 200 {
        return Err(FetchError::Status(answer.status).into());
    }
    let note = answer.body;
    let keys = super::keys_for(node, institution, &note);
    let head =
        ledger::checkpoint::Checkpoint::open(&note, &origin, &keys).map_err(|e| FetchError::from(Refused::from(e)))?;
    if !forks::is_agreed(node, &place, institution, &head, held.size()).await? {
        return Err(Trouble::OtherHistory);
    }
    let source = Source { place: &place, origin: &origin, keys: &keys, note: &note, size: head.size };
    let taken = take(node, institution, source, frozen, &held).await;
    // A mirror may be behind, and a node that was brought back shows less than it has signed: neither tells what there was.
    if taken.is_ok()
        && let Some(at) = seen_at.filter(|_| place.peer.institution == institution && head.size >= held.size())
    {
        super::sightings::note(node, institution, head.size, &note, at).await;
    }
    if let Err(Trouble::Fetch(FetchError::Refused(refused))) = &taken {
        if let Some(frozen) = frozen {
            forks::refused(node, &place, institution, frozen, &head).await;
        }
        let offered = Head { checkpoint: head, note: String::from_utf8_lossy(&note).into() };
        if !node.is_judged(institution)
            && let Some(evidence) = forks::evidence(node, &place, institution, refused, &offered).await
        {
            forks::keep(node, &place, institution, &evidence).await;
        }
    }
    taken
}

/// Takes what leads to a head: all, or as far as the registrar has drawn its line.
async fn take(
    node: &Arc<Node>,
    institution: InstitutionId,
    source: Source<'_>,
    frozen: Option<Frozen>,
    held: &Held,
) -> Result<Round, Trouble> {
    let Source { origin, keys, note, size, .. } = source;
    if size <= held.size() {
        return judge_old(node, note, origin, keys, held);
    }
    let until = frozen.map_or(size, |frozen| frozen.size.min(size));
    loop {
        let left = until.saturating_sub(node.writer.ledger().edge(origin).size());
        if left == 0 {
            return Ok(Round::Grown);
        }
        let accepted = next_step(node, source, left.min(STEP_ENTRIES)).await?;
        hand_over(node, institution, accepted).await?;
    }
}

/// The next verified step, as far as the clock here has come: the entries before the first that is too far ahead.
async fn next_step(node: &Node, source: Source<'_>, most: u64) -> Result<mirror::Accepted, Trouble> {
    let held = node.writer.ledger().edge(source.origin);
    let step = fetch::step(node, source, &held, most).await?;
    match first_ahead(step.entries().iter().map(|entry| &**entry), node.writer.now()) {
        None => Ok(step),
        Some((0, at)) => Err(Trouble::TooEarly(at)),
        // They are proved to be a beginning of the signed head, which is kept with them.
        Some((before, _)) => Ok(fetch::step(node, source, &held, before as u64).await?),
    }
}

/// A head that is not longer than ours: the same, an older one that fits, or proof of a fork.
fn judge_old(node: &Node, note: &[u8], origin: &str, keys: &[NoteVerifier], held: &Held) -> Result<Round, Trouble> {
    if let Some(newest) = forks::held_head(node, origin, held.size()) {
        let root_at = |size| node.writer.ledger().root_at(origin, size);
        if let Some(evidence) = mirror::conflict(&newest, note, origin, keys, root_at).map_err(FetchError::from)? {
            return Err(FetchError::from(Refused::Fork(Box::new(evidence))).into());
        }
    }
    Ok(Round::Nothing)
}

async fn hand_over(node: &Arc<Node>, institution: InstitutionId, accepted: mirror::Accepted) -> Result<(), Trouble> {
    loop {
        let (writer, step) = (node.writer.clone(), accepted.clone());
        // Folding is work for the processor: not on a thread that serves requests.
        let result = tokio::task::spawn_blocking(move || writer.accept(step, institution)).await;
        match result.map_err(|_| Trouble::Here(Reason::Closing))? {
            Ok(_) => return Ok(()),
            Err(refused) if refused.reason() == Reason::Busy => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(refused) => return Err(Trouble::Here(refused.reason())),
        }
    }
}
