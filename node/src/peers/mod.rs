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
pub mod holders;
pub mod start;

use domain::ids::InstitutionId;
use domain::member::{Member, MemberEntry, Purpose};
use ledger::key::{KeyKind, NoteVerifier, PublicKey};

use crate::node::Node;

/// A member's verification key as text; empty if the key cannot be one, which registration excludes.
#[must_use]
pub fn vkey(entry: &MemberEntry, kind: KeyKind) -> String {
    let key = match kind {
        KeyKind::Log => entry.keys[Purpose::Log as usize],
        KeyKind::Witness => entry.keys[Purpose::Witness as usize],
    };
    verifier(&entry.origin, kind, &key).map(|v| v.to_string()).unwrap_or_default()
}

fn verifier(origin: &str, kind: KeyKind, key: &[u8; 32]) -> Option<NoteVerifier> {
    NoteVerifier::new(origin, kind, PublicKey::checked(key).ok()?).ok()
}

/// The keys that may sign an institution's log, as far as this node knows it.
#[must_use]
pub fn keys_of(node: &Node, institution: InstitutionId) -> Vec<NoteVerifier> {
    let registry = node.writer.registry();
    let mut keys = registry.member(institution).map(log_keys).unwrap_or_default();
    let config = &node.config;
    // Before its first record is here, the registrar's key is that of the configuration, and this node's own its file's.
    if keys.is_empty() && institution == config.registrar.institution {
        keys.extend(config.registrar.log_vkey.parse().ok());
    }
    if institution == config.institution {
        let own = verifier(&config.origin(), KeyKind::Log, &node.keys.public()[Purpose::Log as usize]);
        keys.extend(own.filter(|own| !keys.contains(own)));
    }
    keys
}

/// Everyone else who is known, with the base URL of each: the members, and the registrar of the configuration.
#[must_use]
pub fn others(node: &Node) -> Vec<(InstitutionId, String)> {
    let (me, registrar) = (node.config.institution, &node.config.registrar);
    let registry = node.writer.registry();
    let members = registry.members.values().map(|m| (m.entry.institution, m.entry.url.clone()));
    let mut others: Vec<_> = members.filter(|(id, _)| *id != me).collect();
    if registrar.institution != me && !others.iter().any(|(id, _)| *id == registrar.institution) {
        others.push((registrar.institution, registrar.url.clone()));
    }
    others
}

/// Where a peer serves the tiles of a log: its own, or its mirror of another's.
#[must_use]
pub fn tiles_at(peer: InstitutionId, url: &str, log: InstitutionId) -> String {
    if peer == log { format!("{url}/log") } else { format!("{url}/mirrors/{log}") }
}

/// The keys that may sign a member's log: the newest and those it replaced.
#[must_use]
pub fn log_keys(member: &Member) -> Vec<NoteVerifier> {
    let old = member.old_keys.iter().filter(|(purpose, _, _)| *purpose == Purpose::Log).map(|(_, key, _)| key);
    std::iter::once(&member.entry.keys[Purpose::Log as usize])
        .chain(old)
        .filter_map(|key| verifier(&member.entry.origin, KeyKind::Log, key))
        .collect()
}
