//! Following one log: long-poll its checkpoint, fetch entry bundles, verify, hand over; rest after failures.
//!
//! Nothing is accepted that does not lead to the signed root. What the log's own node does not give is asked of the
//! other members, who mirror it.

use std::sync::Arc;
use std::time::Duration;

use domain::ids::InstitutionId;
use domain::reasons::Reason;
use ledger::key::NoteVerifier;
use ledger::merkle::Hash;
use ledger::mirror::{self, Held, Refused};
use ledger::tile::{TILE_WIDTH, TileHashes, TileKind, TilePath, parse_bundle};

use super::client::CallError;
use crate::node::Node;

/// Entries that are verified and handed over at once: small, so that people's requests come in between.
pub const STEP_ENTRIES: u64 = 1_024;

/// First rest after a failure.
const FIRST_REST: Duration = Duration::from_millis(50);

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
    Call(#[from] CallError),
    #[error("the peer answered {0}")]
    Status(u16),
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("an entry bundle cannot be read: {0}")]
    Bundle(#[from] ledger::tile::BundleError),
    #[error("no proof can be made from the peer's tiles: {0}")]
    Proof(#[from] ledger::tile::TileError),
    #[error("this node cannot take entries now: {0}")]
    Here(Reason),
    #[error("no key is known for this log")]
    NoKey,
}

/// Follows an institution's log until the node stops.
pub async fn follow(node: Arc<Node>, institution: InstitutionId) {
    let mut rest = FIRST_REST;
    let longest = Duration::from_millis(node.config.peers.max_backoff_millis.max(100));
    let labels = crate::telemetry::LogLabels { institution: institution.to_string() };
    let mut failures = 0_u32;
    loop {
        if node.is_forked(institution) {
            tracing::warn!(%institution, "the log has forked and is not followed further");
            return;
        }
        let began = tokio::time::Instant::now();
        match round(&node, institution, failures).await {
            Ok(round) => {
                rest = FIRST_REST;
                failures = 0;
                if round == Round::Nothing {
                    // A peer that does not wait with its answer shall not keep this node busy.
                    tokio::time::sleep_until(began + FIRST_REST).await;
                }
            }
            Err(trouble) => {
                node.metrics.poll_failures.get_or_create(&labels).inc();
                failures = failures.saturating_add(1);
                tracing::debug!(%institution, %trouble, rest_millis = rest.as_millis(), "a poll failed");
                if let Trouble::Refused(Refused::Fork(evidence)) = &trouble {
                    node.keep_fork(institution, evidence).await;
                }
                tokio::time::sleep(rest).await;
                rest = (rest * 2).min(longest);
            }
        }
    }
}

/// Where to ask: the log's own node, and after failures every other member in turn.
fn source(node: &Node, institution: InstitutionId, failures: u32) -> Option<(String, String)> {
    let registry = node.writer.registry();
    let own = registry
        .member(institution)
        .map(|m| m.entry.url.clone())
        .or_else(|| (institution == node.config.registrar.institution).then(|| node.config.registrar.url.clone()))?;
    let direct = (format!("{own}/log/checkpoint"), format!("{own}/log"));
    let others: Vec<_> = registry
        .members
        .values()
        .filter(|m| ![institution, node.config.institution].contains(&m.entry.institution))
        .map(|m| m.entry.url.clone())
        .collect();
    if failures < 3 || failures.is_multiple_of(2) || others.is_empty() {
        return Some(direct);
    }
    let turn = usize::try_from(failures / 2).unwrap_or_default() % others.len();
    let mirror = format!("{}/mirrors/{institution}", others[turn]);
    Some((format!("{mirror}/checkpoint"), mirror))
}

fn keys(node: &Node, institution: InstitutionId) -> Vec<NoteVerifier> {
    let registry = node.writer.registry();
    match registry.member(institution) {
        Some(member) => super::log_keys(member),
        // Before its first record is here, the registrar's key is that of the configuration.
        None if institution == node.config.registrar.institution => {
            node.config.registrar.log_vkey.parse().into_iter().collect()
        }
        None => Vec::new(),
    }
}

async fn round(node: &Arc<Node>, institution: InstitutionId, failures: u32) -> Result<Round, Trouble> {
    let origin = node.writer.logs().origin(institution);
    let keys = keys(node, institution);
    let (checkpoint_url, base) = source(node, institution, failures).ok_or(Trouble::NoKey)?;
    if keys.is_empty() {
        return Err(Trouble::NoKey);
    }
    let held = node.writer.ledger().edge(&origin);
    let wait = if failures == 0 { node.config.peers.poll_wait_secs } else { 0 };
    let url = format!("{checkpoint_url}?newer_than={}&wait_secs={wait}", held.size());
    let answer = node.client.get(&url, Duration::from_secs(wait + 10)).await?;
    if answer.status == 404 && held.size() == 0 {
        // Nothing is written there yet.
        tokio::time::sleep(Duration::from_millis(200)).await;
        return Ok(Round::Nothing);
    }
    if answer.status != 200 {
        return Err(Trouble::Status(answer.status));
    }
    let note = answer.body;
    let head = ledger::checkpoint::Checkpoint::open(&note, &origin, &keys).map_err(Refused::from)?;
    if head.size <= held.size() {
        return judge_old(node, &note, &origin, &keys, &held);
    }
    while node.writer.ledger().edge(&origin).size() < head.size {
        let held = node.writer.ledger().edge(&origin);
        let until = head.size.min(held.size() + STEP_ENTRIES);
        let entries = fetch(node, &base, held.size(), until, head.size).await?;
        let slices: Vec<&[u8]> = entries.iter().map(Vec::as_slice).collect();
        let proof = if until < head.size { prove(node, &base, until, head.size).await? } else { Vec::new() };
        let accepted = mirror::step(&held, &note, &origin, &keys, &slices, &proof)?;
        hand_over(node, institution, accepted).await?;
    }
    Ok(Round::Grown)
}

/// A head that is not longer than ours: the same, an older one that fits, or proof of a fork.
fn judge_old(node: &Node, note: &[u8], origin: &str, keys: &[NoteVerifier], held: &Held) -> Result<Round, Trouble> {
    if let Some(newest) = &held.newest {
        let root_at = |size| node.writer.ledger().root_at(origin, size);
        if let Some(evidence) = mirror::conflict(newest, note, origin, keys, root_at)? {
            return Err(Refused::Fork(Box::new(evidence)).into());
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

fn tile_url(base: &str, kind: TileKind, index: u64, width: u16) -> String {
    format!("{base}/{}", TilePath { kind, index, width })
}

/// A tile or bundle of at least `width`; where the partial one is gone the full one is taken.
async fn fetch_tile(
    node: &Node,
    base: &str,
    kind: TileKind,
    index: u64,
    width: u16,
) -> Result<(Vec<u8>, u16), Trouble> {
    let timeout = super::client::CALL_TIMEOUT;
    let answer = node.client.get(&tile_url(base, kind, index, width), timeout).await?;
    if answer.status == 200 {
        return Ok((answer.body, width));
    }
    let full = TILE_WIDTH as u16;
    if answer.status == 404 && width < full {
        let answer = node.client.get(&tile_url(base, kind, index, full), timeout).await?;
        if answer.status == 200 {
            return Ok((answer.body, full));
        }
    }
    Err(Trouble::Status(answer.status))
}

/// Entries `from..until` of a log of `size` entries.
async fn fetch(node: &Node, base: &str, from: u64, until: u64, size: u64) -> Result<Vec<Vec<u8>>, Trouble> {
    let width = TILE_WIDTH as u64;
    let mut entries = Vec::new();
    for bundle in from / width..until.div_ceil(width) {
        let have = (size - bundle * width).min(width) as u16;
        let (bytes, got) = fetch_tile(node, base, TileKind::Entries, bundle, have).await?;
        for (offset, entry) in parse_bundle(&bytes, usize::from(got))?.into_iter().enumerate() {
            let index = bundle * width + offset as u64;
            if (from..until).contains(&index) {
                entries.push(entry.to_vec());
            }
        }
    }
    Ok(entries)
}

/// The proof that the first `old` entries are those of the log of `new`, made from the peer's tiles.
///
/// The tiles need no trust: [`mirror::step`] checks the proof against the signed root.
async fn prove(node: &Node, base: &str, old: u64, new: u64) -> Result<Vec<Hash>, Trouble> {
    let mut held = std::collections::HashMap::<(u8, u64), (Vec<u8>, u16)>::new();
    loop {
        let missing = std::cell::Cell::new(None);
        let proof = {
            let tiles = TileHashes(|level: u8, index: u64, width: u16| match held.get(&(level, index)) {
                Some((bytes, have)) if *have >= width => Some(bytes.clone()),
                _ => {
                    missing.set(Some((level, index, width)));
                    None
                }
            });
            ledger::merkle::consistency_proof(old, new, &tiles)
        };
        match (proof, missing.get()) {
            (Ok(proof), _) => return Ok(proof),
            (Err(_), Some((level, index, width))) => {
                let exists = exists(new, level, index).max(width);
                let tile = fetch_tile(node, base, TileKind::Hashes(level), index, exists).await?;
                held.insert((level, index), tile);
            }
            (Err(error), None) => return Err(error.into()),
        }
    }
}

/// How many hashes a tile has in a log of `size` entries.
fn exists(size: u64, level: u8, index: u64) -> u16 {
    let at_level = size.checked_shr(8 * u32::from(level)).unwrap_or(0);
    let width = TILE_WIDTH as u64;
    at_level.saturating_sub(index.saturating_mul(width)).min(width) as u16
}
