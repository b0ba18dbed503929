//! Keys that are replaced: the running node takes the next one as soon as the registrar's log, as it is held here, names it.
//!
//! ```text
//! keys next ─► log.next.key, and a request ─► the registrar records it ─► followed, folded here ─► taken
//! ```
//!
//! Nothing is taken on anybody's word, and nothing is signed with a key that the registrar's log does not have.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actors::writer::Act;
use anyhow::Context as _;
use domain::ids::InstitutionId;
use domain::member::{Purpose, Registry};
use domain::record::Body;
use ledger::note::Note;
use serde::Serialize;
use utoipa::ToSchema;

use crate::config::Config;
use crate::keys::{NodeKeys, PURPOSES};
use crate::node::{Node, Writing};

/// How often files and records are looked at, at least.
const EVERY: Duration = Duration::from_secs(1);

/// How often the same trouble is told.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// The file, beside the keys, with the authority of the node's own certificate: for who calls it without being a node.
const AUTHORITY: &str = "authority.pem";

/// How one of a node's keys stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum KeyState {
    /// The next one waits for the registrar's record.
    NextWaits,
    /// The registrar's log has another one: this node is not believed.
    Other,
}

/// A key that is not as the registrar's log has it, or is about to be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct KeyView {
    /// `log`, `node` or `witness`.
    #[schema(value_type = String)]
    purpose: Purpose,
    /// How it stands.
    state: KeyState,
}

/// The institution's own key of a purpose in the registry, if it is another one than is in use here.
fn named_otherwise(registry: &Registry, me: InstitutionId, keys: &NodeKeys, purpose: Purpose) -> Option<[u8; 32]> {
    let named = registry.member(me)?.entry.keys[purpose as usize];
    (named != keys.public()[purpose as usize]).then_some(named)
}

/// The keys of a node that are not as they should stay.
#[must_use]
pub fn views(node: &Node) -> Vec<KeyView> {
    let (registry, me) = (node.writer.registry(), node.config.institution);
    let state = |purpose| match named_otherwise(&registry, me, &node.keys, purpose) {
        Some(_) => Some(KeyState::Other),
        None => node.keys.has_next(purpose).then_some(KeyState::NextWaits),
    };
    PURPOSES.into_iter().filter_map(|(purpose, _)| Some(KeyView { purpose, state: state(purpose)? })).collect()
}

/// Whether this node's log key is the one that the registrar's log has, as far as that says anything.
#[must_use]
pub fn may_sign(node: &Node) -> bool {
    named_otherwise(&node.writer.registry(), node.config.institution, &node.keys, Purpose::Log).is_none()
}

/// Writes the authority of the node's certificate beside the keys.
///
/// # Errors
///
/// It cannot be written.
pub fn write_authority(config: &Config, keys: &NodeKeys) -> anyhow::Result<()> {
    let pem = crate::tls::certificate::authority_pem(config.institution, &keys.node_key())?;
    let file = config.store.keys.join(AUTHORITY);
    std::fs::write(&file, pem).with_context(|| format!("{} cannot be written", file.display()))
}

/// Takes the next keys that the registrar's log names, until the node stops.
pub async fn watch(node: Arc<Node>) {
    let mut commits = node.commits();
    let (mut told, mut told_failure) = ([None; 3], None::<Instant>);
    while !node.is_closing() {
        let turned = node.clone();
        // A sealed key takes work for the processor.
        let done = tokio::task::spawn_blocking(move || turn(&turned)).await;
        if let Err(error) = done.map_err(anyhow::Error::from).and_then(|done| done)
            && told_failure.is_none_or(|at| at.elapsed() >= TOLD_EVERY)
        {
            told_failure = Some(Instant::now());
            tracing::error!(error = format!("{error:#}"), "the next key cannot be taken");
        }
        tell(&node, &mut told);
        tokio::time::sleep(EVERY / 10).await;
        // Whichever comes first: both mean that there may be something to do.
        let _ = tokio::time::timeout(EVERY, commits.changed()).await;
    }
}

/// What one look at files and records makes happen.
///
/// # Errors
///
/// A next key cannot be read or put in its place.
pub fn turn(node: &Node) -> anyhow::Result<()> {
    let me = node.config.institution;
    node.keys.look_for_next()?;
    let registry = node.writer.registry();
    for (purpose, word) in PURPOSES {
        let Some(named) = named_otherwise(&registry, me, &node.keys, purpose) else { continue };
        if node.keys.take_next(purpose, &named)? {
            ledger::fail::point("key-in-place");
            taken(node, purpose)?;
            tracing::warn!(purpose = word, "the registrar's log names the next key: it is taken");
        }
    }
    match (node.writing(), may_sign(node)) {
        (Writing::Allowed, false) => node.forbid_writing(Writing::OtherKey { settled: true }),
        (Writing::OtherKey { settled: true }, true) => node.allow_writing(),
        _ => {}
    }
    if node.may_write() && may_sign(node) {
        sign_anew(node)?;
    }
    Ok(())
}

/// What goes with a key that was taken.
fn taken(node: &Node, purpose: Purpose) -> anyhow::Result<()> {
    match purpose {
        Purpose::Log => {
            node.writer.ledger().sign_with(node.keys.log_signer(&node.config.origin())?)?;
        }
        Purpose::Node => {
            let key = node.keys.node_key();
            actors::community::set_signer(node.config.institution, &key.to_bytes());
            if let Some(certificates) = &node.certificates {
                certificates.take(key)?;
                write_authority(&node.config, &node.keys)?;
            }
        }
        Purpose::Witness => {}
    }
    Ok(())
}

/// Writes a record where the last head is still under a key that was replaced: until there is one under the new key,
/// nobody takes what was written past the registrar's line.
fn sign_anew(node: &Node) -> anyhow::Result<()> {
    let origin = node.config.origin();
    let Some(head) = node.writer.ledger().head(&origin) else { return Ok(()) };
    let signer = node.keys.log_signer(&origin)?;
    let note = Note::parse(&*head.note).ok();
    if note.is_some_and(|note| note.verify(std::slice::from_ref(signer.verifier())).is_ok()) {
        return Ok(());
    }
    let Some(role) = node.config.roles.first() else { return Ok(()) };
    let written = node.writer.decide(Act::default(), |desk| desk.write(*role, Body::Heartbeat));
    written.map_err(|refused| anyhow::anyhow!("a first record under the new log key: {refused}"))?;
    Ok(())
}

/// Says, while it is so, that this node is not believed.
fn tell(node: &Node, told: &mut [Option<Instant>; 3]) {
    for KeyView { purpose, .. } in views(node).iter().filter(|view| view.state == KeyState::Other) {
        let told = &mut told[*purpose as usize];
        if told.is_none_or(|at| at.elapsed() >= TOLD_EVERY) {
            *told = Some(Instant::now());
            let (_, word) = PURPOSES[*purpose as usize];
            tracing::error!(
                purpose = word,
                "the registrar's log has another key of this institution than this node: it is not believed. Bring that \
                 key back, or have it replaced (voucher-node keys next)"
            );
        }
    }
}
