//! The other nodes: following their logs, delivering letters to them, and asking them how long our own log is.
//!
//! Nodes call each other for nothing that a record can carry: a follower pulls signed logs, the courier delivers what
//! may stand in no record, and the start rule asks once.

pub mod client;
pub mod courier;
pub mod follower;
pub mod start;

use domain::member::{Member, MemberEntry, Purpose};
use ledger::key::{KeyKind, NoteVerifier, PublicKey};

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

/// The keys that may sign a member's log: the newest and those it replaced.
#[must_use]
pub fn log_keys(member: &Member) -> Vec<NoteVerifier> {
    let old = member.old_keys.iter().filter(|(purpose, _, _)| *purpose == Purpose::Log).map(|(_, key, _)| key);
    std::iter::once(&member.entry.keys[Purpose::Log as usize])
        .chain(old)
        .filter_map(|key| verifier(&member.entry.origin, KeyKind::Log, key))
        .collect()
}
