//! The other nodes: following their logs, delivering letters to them, and asking them how long our own log is.
//!
//! Nodes call each other for nothing that a record can carry: a follower pulls signed logs, the courier delivers what
//! may stand in no record, the start rule asks once, and heads are compared with everyone in turn.

pub mod client;
pub mod clocks;
pub mod compare;
pub mod courier;
pub mod fetch;
pub mod follower;
pub mod forks;
pub mod holders;
pub mod sightings;
pub mod signature;
pub mod start;
pub mod witnesses;

use domain::ids::InstitutionId;
use domain::member::{Member, MemberEntry, Purpose};
use ledger::checkpoint::claimed_size;
use ledger::key::{KeyKind, NoteVerifier, PublicKey};

use crate::node::Node;
use client::Peer;

/// A member's verification key as text; empty if the key cannot be one, which registration excludes.
#[must_use]
pub fn vkey(entry: &MemberEntry, kind: KeyKind) -> String {
    let key = match kind {
        KeyKind::Log => entry.keys[Purpose::Log as usize],
        KeyKind::Witness => entry.keys[Purpose::Witness as usize],
    };
    verifier(&entry.origin, kind, &key).map(|v| v.to_string()).unwrap_or_default()
}

/// A key of a log or a witness as the verifier of its notes; none for bytes that are no key.
#[must_use]
pub fn verifier(origin: &str, kind: KeyKind, key: &[u8; 32]) -> Option<NoteVerifier> {
    NoteVerifier::new(origin, kind, PublicKey::checked(key).ok()?).ok()
}

/// The keys that may have signed an institution's log, as far as this node knows it.
#[must_use]
pub fn keys_of(node: &Node, institution: InstitutionId) -> Vec<NoteVerifier> {
    keys_at(node, institution, 0)
}

/// The keys that may sign a head of an institution's log: those that were replaced only up to the size from which the
/// registrar says that another holds. Whoever has stolen one signs nothing longer with it.
#[must_use]
pub fn keys_for(node: &Node, institution: InstitutionId, note: &[u8]) -> Vec<NoteVerifier> {
    // The size is signed, so who claims another one is not believed under any key.
    let claimed = std::str::from_utf8(note).ok().and_then(claimed_size);
    keys_at(node, institution, claimed.unwrap_or(u64::MAX))
}

fn keys_at(node: &Node, institution: InstitutionId, size: u64) -> Vec<NoteVerifier> {
    let registry = node.writer.registry();
    let member = registry.member(institution);
    let mut keys = member.map(|member| log_keys_at(member, size)).unwrap_or_default();
    let config = &node.config;
    // As long as its records do not say what became of the configured key: before the first of them is here, or before
    // that which names it.
    if institution == config.registrar.institution
        && let Ok(configured) = config.registrar.log_vkey.parse::<NoteVerifier>()
        && !member.is_some_and(|member| log_keys(member).contains(&configured))
    {
        keys.push(configured);
    }
    if institution == config.institution {
        let own = verifier(&config.origin(), KeyKind::Log, &node.keys.public()[Purpose::Log as usize]);
        keys.extend(own.filter(|own| !keys.contains(own)));
    }
    keys
}

/// A member's node, or the registrar's of the configuration.
#[must_use]
pub fn peer(node: &Node, institution: InstitutionId) -> Option<Peer> {
    let registrar = &node.config.registrar;
    let registered = node.writer.registry().member(institution).map(|member| member.entry.url.clone());
    let url = registered.or_else(|| (institution == registrar.institution).then(|| registrar.url.clone()))?;
    Some(Peer { institution, url })
}

/// Everyone else who is known: the members, and the registrar of the configuration.
#[must_use]
pub fn others(node: &Node) -> Vec<Peer> {
    let registry = node.writer.registry();
    let mut known: std::collections::BTreeSet<InstitutionId> = registry.members.keys().copied().collect();
    known.insert(node.config.registrar.institution);
    known.remove(&node.config.institution);
    known.into_iter().filter_map(|institution| peer(node, institution)).collect()
}

/// Where a log is served: by its own node, or as another's mirror of it.
#[derive(Debug, Clone)]
pub struct Place {
    /// By whom.
    pub peer: Peer,
    /// The path below which checkpoint and tiles lie.
    pub base: String,
}

impl Place {
    /// Where a peer serves that log.
    #[must_use]
    pub fn of(log: InstitutionId, peer: Peer) -> Self {
        let base = if peer.institution == log { "/log".to_owned() } else { format!("/mirrors/{log}") };
        Self { peer, base }
    }
}

/// The keys that may have signed a member's log: the newest and those it replaced.
#[must_use]
pub fn log_keys(member: &Member) -> Vec<NoteVerifier> {
    log_keys_at(member, 0)
}

/// The keys that may sign a head over so many entries.
#[must_use]
pub fn log_keys_at(member: &Member, size: u64) -> Vec<NoteVerifier> {
    let old = member.old_keys.iter().filter(|(purpose, _, until)| *purpose == Purpose::Log && size <= *until);
    std::iter::once(&member.entry.keys[Purpose::Log as usize])
        .chain(old.map(|(_, key, _)| key))
        .filter_map(|key| verifier(&member.entry.origin, KeyKind::Log, key))
        .collect()
}
