//! The registrar's log: members, parameters, enrolments, and what a change does to vouchers.

use std::sync::Arc;

use domain::holder::{Enrolment, EnrolmentChange, RegistrarEvent};
use domain::ids::{InstitutionId, RecordName};
use domain::member::{Change, Member, MemberEntry, Purpose, Registry, Signature, What};
use domain::reasons::Reason;
use domain::time::Timestamp;
use ledger::key::{PublicKey, verify_strict};

use super::{Frozen, Work, voucher};
use crate::keys;

/// What a proof of possession is signed over: purpose and origin, in a domain of its own.
#[must_use]
pub fn possession_message(institution: InstitutionId, purpose: Purpose, origin: &str) -> Vec<u8> {
    let word = match purpose {
        Purpose::Log => "log",
        Purpose::Node => "node",
        Purpose::Witness => "witness",
    };
    format!("voucher-node/v1/possession\n{institution}\n{word}\n{origin}\n").into_bytes()
}

/// Checks an entry as it is registered: keys fit for use, each once, each possessed.
///
/// # Errors
///
/// [`Reason::Malformed`] for fields that cannot be, [`Reason::KeyUnfit`] for a key that may not be registered,
/// [`Reason::KeyRegistered`] for one that stands already, [`Reason::MemberExists`].
pub fn check_entry(registry: &Registry, entry: &MemberEntry) -> Result<(), Reason> {
    let mut roles = entry.roles.clone();
    roles.sort_unstable();
    roles.dedup();
    let sound = !roles.is_empty() && roles == entry.roles && entry.url.len() <= 200 && entry.origin.len() <= 255;
    if !sound || entry.url.is_empty() || !entry.origin.ends_with(&format!("/{}", entry.institution)) {
        return Err(Reason::Malformed);
    }
    if registry.member(entry.institution).is_some() {
        return Err(Reason::MemberExists);
    }
    for (i, (key, purpose)) in entry.keys.iter().zip([Purpose::Log, Purpose::Node, Purpose::Witness]).enumerate() {
        let fit = PublicKey::checked(key).map_err(|_| Reason::KeyUnfit)?;
        let used = registry
            .members
            .values()
            .any(|m| m.entry.keys.contains(key) || m.old_keys.iter().any(|(_, old, _)| old == key));
        if used || entry.keys[..i].contains(key) {
            return Err(Reason::KeyRegistered);
        }
        let message = possession_message(entry.institution, purpose, &entry.origin);
        if !verify_strict(&fit, &message, &signature_bytes(&entry.proofs[i])) {
            return Err(Reason::KeyUnfit);
        }
    }
    Ok(())
}

/// The 64 bytes of a signature.
#[must_use]
pub fn signature_bytes(signature: &Signature) -> [u8; 64] {
    let mut bytes = [0; 64];
    bytes[..32].copy_from_slice(&signature.r);
    bytes[32..].copy_from_slice(&signature.s);
    bytes
}

/// A signature from its 64 bytes.
#[must_use]
pub fn signature_of(bytes: &[u8; 64]) -> Signature {
    let (mut r, mut s) = ([0; 32], [0; 32]);
    r.copy_from_slice(&bytes[..32]);
    s.copy_from_slice(&bytes[32..]);
    Signature { r, s }
}

/// Applies what the registrar says.
pub(super) fn apply(
    work: &mut Work<'_>,
    name: RecordName,
    at: Timestamp,
    event: &RegistrarEvent,
) -> Result<(), Reason> {
    if name.institution != work.settings.registrar {
        return Err(Reason::NotCustodian);
    }
    match event {
        RegistrarEvent::MemberRegistered(entry) => {
            check_entry(&work.registry, entry)?;
            let what = What::Registered(entry.roles.clone());
            let change = Change { index: name.index, at, from: 0, what };
            let member = Member { entry: entry.clone(), old_keys: Vec::new(), changes: vec![change] };
            change_registry(work, |registry| {
                registry.members.insert(entry.institution, member);
                Ok(())
            })?;
            // Its log may have come before the record that registers it.
            voucher::judge_log_again(work, entry.institution, 0);
            Ok(())
        }
        RegistrarEvent::MemberChanged { institution, from, roles, url } => {
            change_registry(work, |registry| {
                let member = registry.members.get_mut(institution).ok_or(Reason::MemberUnknown)?;
                let what = What::Roles(roles.clone());
                member.entry.roles.clone_from(roles);
                member.entry.url.clone_from(url);
                member.changes.push(Change { index: name.index, at, from: *from, what });
                Ok(())
            })?;
            voucher::judge_log_again(work, *institution, *from);
            Ok(())
        }
        RegistrarEvent::MemberSuspended { institution, from, .. } => {
            line(work, *institution, Change { index: name.index, at, from: *from, what: What::Suspended })
        }
        RegistrarEvent::MemberRestored { institution, from, .. } => {
            line(work, *institution, Change { index: name.index, at, from: *from, what: What::Restored })
        }
        RegistrarEvent::MemberRevoked { institution, from, .. } => {
            line(work, *institution, Change { index: name.index, at, from: *from, what: What::Revoked })
        }
        RegistrarEvent::LogFrozen { institution, size, root, .. } => {
            // The first line is the one by which mirrors are kept.
            if work.frozen(*institution).is_none() && work.registry.member(*institution).is_some() {
                work.tx.store(keys::frozen(*institution), &Frozen { size: *size, root: *root });
            }
            line(work, *institution, Change { index: name.index, at, from: *size, what: What::Frozen })
        }
        RegistrarEvent::LogSucceeded { institution, size, successor, .. } => {
            let what = What::LogSucceeded(*successor);
            succeed(work, *institution, *successor, Change { index: name.index, at, from: *size, what })
        }
        RegistrarEvent::IssuerSucceeded { issuer, from, successor, .. } => {
            let what = What::IssuerSucceeded(*successor);
            succeed(work, *issuer, *successor, Change { index: name.index, at, from: *from, what })
        }
        RegistrarEvent::KeyRotated { institution, from, purpose, key, proof, by_old, .. } => {
            rotate(work, name, at, *institution, *from, *purpose, key, proof, by_old.as_ref())
        }
        RegistrarEvent::ParametersPublished(parameters) => change_registry(work, |registry| {
            registry.parameters.push((name.index, *parameters));
            Ok(())
        }),
        RegistrarEvent::Enrolled { id, key, programme, community, voucher_module } => {
            let history = vec![
                (name.index, at, EnrolmentChange::Key(*key)),
                (name.index, at, EnrolmentChange::Home(*community, *voucher_module)),
            ];
            let enrolment = Enrolment { name, id: *id, programme: *programme, history };
            work.tx.store(keys::enrolment(&name), &enrolment);
            Ok(())
        }
        RegistrarEvent::EnrolmentBlocked { enrolment, reason } => {
            enrolment_change(work, name, at, enrolment, EnrolmentChange::Blocked(*reason))
        }
        RegistrarEvent::EnrolmentKeyChanged { enrolment, key } => {
            enrolment_change(work, name, at, enrolment, EnrolmentChange::Key(*key))
        }
        RegistrarEvent::EnrolmentMoved { enrolment, community, voucher_module } => {
            enrolment_change(work, name, at, enrolment, EnrolmentChange::Home(*community, *voucher_module))
        }
        RegistrarEvent::CardIssued { enrolment, card, key } => {
            PublicKey::checked(key).map_err(|_| Reason::KeyUnfit)?;
            enrolment_change(work, name, at, enrolment, EnrolmentChange::Card(*card, *key))
        }
    }
}

fn change_registry(
    work: &mut Work<'_>,
    change: impl FnOnce(&mut Registry) -> Result<(), Reason>,
) -> Result<(), Reason> {
    let mut registry = Registry::clone(&work.registry);
    change(&mut registry)?;
    work.tx.store(keys::REGISTRY.to_vec(), &registry);
    work.registry = Arc::new(registry);
    Ok(())
}

fn line(work: &mut Work<'_>, institution: InstitutionId, change: Change) -> Result<(), Reason> {
    let from = change.from;
    change_registry(work, |registry| {
        registry.members.get_mut(&institution).ok_or(Reason::MemberUnknown)?.changes.push(change);
        Ok(())
    })?;
    voucher::judge_log_again(work, institution, from);
    Ok(())
}

/// What `of` held passes to `heir`: a member in good standing that nobody succeeded, and that succeeds nobody yet.
fn succeed(work: &mut Work<'_>, of: InstitutionId, heir: InstitutionId, change: Change) -> Result<(), Reason> {
    check_succession(&work.registry, of, heir)?;
    line(work, of, change)?;
    voucher::pass_on(work, of);
    Ok(())
}

/// Whether one institution may succeed another.
///
/// # Errors
///
/// [`Reason::MemberUnknown`], [`Reason::Forbidden`] for the registrar (another trust anchor comes by configuration), and
/// [`Reason::WrongState`] where a line would fork or run in a circle.
pub fn check_succession(registry: &Registry, of: InstitutionId, heir: InstitutionId) -> Result<(), Reason> {
    if of == registry.registrar {
        return Err(Reason::Forbidden);
    }
    let (old, new) = (registry.member(of), registry.member(heir));
    let (old, new) = old.zip(new).ok_or(Reason::MemberUnknown)?;
    let succeeded = |m: &Member| {
        m.changes.iter().find_map(|c| match c.what {
            What::LogSucceeded(heir) | What::IssuerSucceeded(heir) => Some(heir),
            _ => None,
        })
    };
    let inherits = registry.members.values().any(|m| succeeded(m) == Some(heir));
    if of == heir || inherits || succeeded(old).is_some() || succeeded(new).is_some() {
        return Err(Reason::WrongState);
    }
    Ok(())
}

#[allow(clippy::too_many_arguments)]
fn rotate(
    work: &mut Work<'_>,
    name: RecordName,
    at: Timestamp,
    institution: InstitutionId,
    from: u64,
    purpose: Purpose,
    key: &[u8; 32],
    proof: &Signature,
    by_old: Option<&Signature>,
) -> Result<(), Reason> {
    let member = work.registry.member(institution).ok_or(Reason::MemberUnknown)?;
    let message = possession_message(institution, purpose, &member.entry.origin);
    let new = PublicKey::checked(key).map_err(|_| Reason::KeyUnfit)?;
    if !verify_strict(&new, &message, &signature_bytes(proof)) {
        return Err(Reason::KeyUnfit);
    }
    let slot = purpose as usize;
    if let Some(by_old) = by_old {
        let old = PublicKey::checked(&member.entry.keys[slot]).map_err(|_| Reason::KeyUnfit)?;
        let mut by_both = message;
        by_both.extend_from_slice(key);
        if !verify_strict(&old, &by_both, &signature_bytes(by_old)) {
            return Err(Reason::KeyUnfit);
        }
    }
    change_registry(work, |registry| {
        let used = registry.members.values().any(|m| m.entry.keys.contains(key));
        let member = registry.members.get_mut(&institution).ok_or(Reason::MemberUnknown)?;
        if used || member.old_keys.iter().any(|(_, old, _)| old == key) {
            return Err(Reason::KeyRegistered);
        }
        member.old_keys.push((purpose, member.entry.keys[slot], from));
        member.entry.keys[slot] = *key;
        member.entry.proofs[slot] = *proof;
        member.changes.push(Change { index: name.index, at, from, what: What::Key(purpose) });
        Ok(())
    })?;
    voucher::judge_log_again(work, institution, from);
    Ok(())
}

fn enrolment_change(
    work: &mut Work<'_>,
    name: RecordName,
    at: Timestamp,
    of: &RecordName,
    change: EnrolmentChange,
) -> Result<(), Reason> {
    let mut enrolment = work.enrolment(of).ok_or(Reason::EnrolmentUnknown)?;
    enrolment.history.push((name.index, at, change));
    work.tx.store(keys::enrolment(of), &enrolment);
    // What names an older position may be stale now.
    for voucher in work.of_enrolment(of) {
        voucher::refold(work, voucher);
    }
    Ok(())
}
