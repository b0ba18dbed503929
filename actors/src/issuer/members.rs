//! Membership (unit B1): who is in the federation, how each stands, and from which record of its log on.

use domain::holder::RegistrarEvent;
use domain::ids::{Digest, InstitutionId, Operator};
use domain::member::{Member, MemberEntry, Parameters, Purpose, Role, Signature, Standing as Stands};
use domain::reasons::Reason;
use domain::record::{Approved, Body};
use domain::time::Millis;

use super::Issuer;
use super::command::{Answer, Command, Standing};
use crate::role::Rules as _;
use crate::writer::{Desk, Refused};

/// Longest base URL in bytes.
const MAX_URL_BYTES: usize = 200;

/// Longest of the federation's spans of time.
const MAX_SPAN: Millis = Millis::days(3_660);

/// Only the trust anchor's institution keeps the registry.
pub(super) fn must_be_registrar(desk: &Desk<'_>) -> Result<(), Refused> {
    if desk.me() == desk.work.settings.registrar { Ok(()) } else { Err(Reason::NotMyRole.into()) }
}

/// Two persons: somebody acts, and somebody else approves.
pub(super) fn second_person(desk: &Desk<'_>, approver: Operator) -> Result<(), Refused> {
    if desk.operator().is_some_and(|o| o != approver) { Ok(()) } else { Err(Reason::ApproverNeeded.into()) }
}

/// Does what takes two persons, and names the second beside it.
pub(super) fn approved(desk: &mut Desk<'_>, command: Command, approver: Operator) -> Result<Answer, Refused> {
    second_person(desk, approver)?;
    let answer = Issuer::decide(desk, command)?;
    if let Some(record) = desk.records().last().copied() {
        desk.write(Role::Issuer, Body::Approved(Approved { record, approver }))?;
    }
    Ok(answer)
}

fn write(desk: &mut Desk<'_>, event: RegistrarEvent) -> Result<Answer, Refused> {
    desk.write(Role::Issuer, Body::Registrar(event)).map(|_| Answer::Written)
}

fn member(desk: &Desk<'_>, institution: InstitutionId) -> Result<Member, Refused> {
    must_be_registrar(desk)?;
    desk.work.registry.member(institution).cloned().ok_or(Reason::MemberUnknown.into())
}

/// The first index of a member's log that a change may act on: what is known of the log, and where the last change began.
fn known_from(desk: &Desk<'_>, member: &Member) -> u64 {
    let last = member.changes.iter().map(|c| c.from).max().unwrap_or_default();
    desk.work.cursor(member.entry.institution).next.max(last)
}

pub(super) fn register(desk: &mut Desk<'_>, entry: MemberEntry) -> Result<Answer, Refused> {
    must_be_registrar(desk)?;
    // The fold checks the entry itself: names, keys, proofs.
    write(desk, RegistrarEvent::MemberRegistered(entry))
}

pub(super) fn change(
    desk: &mut Desk<'_>,
    institution: InstitutionId,
    roles: Vec<Role>,
    url: String,
) -> Result<Answer, Refused> {
    let member = member(desk, institution)?;
    let mut once = roles.clone();
    once.sort_unstable();
    once.dedup();
    if roles.is_empty() || once != roles || url.is_empty() || url.len() > MAX_URL_BYTES {
        return Err(Reason::Malformed.into());
    }
    if institution == desk.me() && !roles.contains(&Role::Issuer) {
        return Err(Reason::Forbidden.into()); // the registrar cannot take its own role away
    }
    let from = known_from(desk, &member);
    write(desk, RegistrarEvent::MemberChanged { institution, from, roles, url })
}

pub(super) fn stand(
    desk: &mut Desk<'_>,
    institution: InstitutionId,
    standing: Standing,
    from: Option<u64>,
    key_stolen: bool,
    approver: Operator,
) -> Result<Answer, Refused> {
    let member = member(desk, institution)?;
    second_person(desk, approver)?;
    if institution == desk.me() {
        return Err(Reason::Forbidden.into()); // another trust anchor comes by configuration alone
    }
    let now = desk.work.registry.standing(institution, u64::MAX);
    let fits = match standing {
        Standing::Suspended => now == Some(Stands::Good),
        Standing::Restored => now == Some(Stands::Suspended),
        Standing::Revoked => matches!(now, Some(Stands::Good | Stands::Suspended)),
    };
    if !fits {
        return Err(Reason::WrongState.into());
    }
    let known = known_from(desk, &member);
    let from = from.unwrap_or(known);
    if from < known && (!key_stolen || standing == Standing::Restored) {
        return Err(Reason::BadWindow.into());
    }
    write(
        desk,
        match standing {
            Standing::Suspended => RegistrarEvent::MemberSuspended { institution, from, approver },
            Standing::Restored => RegistrarEvent::MemberRestored { institution, from, approver },
            Standing::Revoked => RegistrarEvent::MemberRevoked { institution, from, approver },
        },
    )
}

/// A key that takes another's place.
pub(super) struct NewKey {
    pub purpose: Purpose,
    pub key: [u8; 32],
    pub proof: Signature,
    pub by_old: Option<Signature>,
}

pub(super) fn rotate(
    desk: &mut Desk<'_>,
    institution: InstitutionId,
    new: NewKey,
    from: Option<u64>,
    key_stolen: bool,
    approver: Operator,
) -> Result<Answer, Refused> {
    let member = member(desk, institution)?;
    second_person(desk, approver)?;
    // The registrar's own record of it is the last that its old key signs.
    let known = known_from(desk, &member) + u64::from(institution == desk.me());
    let from = from.unwrap_or(known);
    if from < known && !key_stolen {
        return Err(Reason::BadWindow.into());
    }
    let NewKey { purpose, key, proof, by_old } = new;
    write(desk, RegistrarEvent::KeyRotated { institution, from, purpose, key, proof, by_old, approver })
}

pub(super) fn freeze(
    desk: &mut Desk<'_>,
    institution: InstitutionId,
    size: u64,
    root: Digest,
    approver: Operator,
) -> Result<Answer, Refused> {
    member(desk, institution)?;
    second_person(desk, approver)?;
    if institution == desk.me() {
        return Err(Reason::Forbidden.into());
    }
    let standing = desk.work.registry.standing(institution, u64::MAX);
    if matches!(standing, Some(Stands::Frozen | Stands::Revoked)) {
        return Err(Reason::WrongState.into());
    }
    // Nobody could say that the head at such a size is the log's: it is not here.
    if size > desk.work.cursor(institution).next {
        return Err(Reason::BadName.into());
    }
    write(desk, RegistrarEvent::LogFrozen { institution, size, root, approver })
}

pub(super) fn succeed_log(
    desk: &mut Desk<'_>,
    institution: InstitutionId,
    size: u64,
    root: Digest,
    successor: InstitutionId,
    approver: Operator,
) -> Result<Answer, Refused> {
    let old = heir_fits(desk, institution, successor, approver)?;
    let heir = member(desk, successor)?;
    if !old.entry.roles.iter().all(|role| heir.entry.roles.contains(role)) {
        return Err(Reason::WrongRole.into()); // what the old one held it could not take
    }
    if size < known_from(desk, &old) {
        return Err(Reason::BadWindow.into());
    }
    write(desk, RegistrarEvent::LogSucceeded { institution, size, root, successor, approver })
}

pub(super) fn succeed_issuer(
    desk: &mut Desk<'_>,
    issuer: InstitutionId,
    successor: InstitutionId,
    approver: Operator,
) -> Result<Answer, Refused> {
    let old = heir_fits(desk, issuer, successor, approver)?;
    if !old.entry.roles.contains(&Role::Issuer) || !member(desk, successor)?.entry.roles.contains(&Role::Issuer) {
        return Err(Reason::WrongRole.into());
    }
    let from = known_from(desk, &old);
    write(desk, RegistrarEvent::IssuerSucceeded { issuer, from, successor, approver })
}

/// The member that is succeeded, if the other one may succeed it.
fn heir_fits(desk: &Desk<'_>, of: InstitutionId, heir: InstitutionId, approver: Operator) -> Result<Member, Refused> {
    let old = member(desk, of)?;
    second_person(desk, approver)?;
    crate::replica::check_succession(&desk.work.registry, of, heir)?;
    if desk.work.registry.standing(heir, u64::MAX) != Some(Stands::Good) {
        return Err(Reason::NotInGoodStanding.into());
    }
    Ok(old)
}

pub(super) fn parameters(desk: &mut Desk<'_>, parameters: Parameters) -> Result<Answer, Refused> {
    must_be_registrar(desk)?;
    let Parameters {
        grace_before_use,
        grace_after_use,
        complete_within,
        claim_within,
        correction_period,
        format_level,
    } = parameters;
    let spans = [grace_before_use, grace_after_use, complete_within, claim_within, correction_period];
    let now = desk.work.registry.parameters_at(u64::MAX).format_level;
    let sound = spans.iter().all(|s| Millis(0) < *s && *s <= MAX_SPAN);
    // What writers may use must be what this node itself can read, and never goes back.
    if !sound || format_level < now || format_level > ledger::record::FORMAT {
        return Err(Reason::Malformed.into());
    }
    write(desk, RegistrarEvent::ParametersPublished(parameters))
}
