//! Membership: who plays which role, from which position of whose log, and what a change does to what was written.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::InstitutionId;
use crate::time::{Millis, Timestamp};

/// How long after its own `at` a change acts on steps that name an older registrar position (protocol section 2).
pub const FRESHNESS: Millis = Millis::minutes(10);

/// What an institution does in the federation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Generates, sends, voids and settles vouchers; one of them is the registrar.
    Issuer,
    /// Gives vouchers to people.
    Community,
    /// Keeps the holders' wallets and books for them.
    Voucher,
    /// Examines, and claims.
    Hospital,
    /// Verifies everything.
    Auditor,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 5] = [Self::Issuer, Self::Community, Self::Voucher, Self::Hospital, Self::Auditor];

    /// The word for it in configuration, API and records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Issuer => "issuer",
            Self::Community => "community",
            Self::Voucher => "voucher",
            Self::Hospital => "hospital",
            Self::Auditor => "auditor",
        }
    }
}

/// What a key is for. One key, one purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// Signs checkpoints.
    Log,
    /// Signs QR tokens and requests.
    Node,
    /// Signs cosignatures.
    Witness,
}

/// A 64-byte Ed25519 signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// The point R.
    pub r: [u8; 32],
    /// The scalar s.
    pub s: [u8; 32],
}

/// An institution's entry in the registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberEntry {
    /// Who.
    pub institution: InstitutionId,
    /// Its roles, in order, each once.
    pub roles: Vec<Role>,
    /// Base URL of its node, at most 200 bytes.
    pub url: String,
    /// The name of its log and of its log key.
    pub origin: String,
    /// Ed25519 public keys by purpose: log, node, witness.
    pub keys: [[u8; 32]; 3],
    /// Proofs of possession over (institution, purpose, origin), in the same order.
    pub proofs: [Signature; 3],
}

/// A change of one member, as the registrar wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Index in the registrar's log.
    pub index: u64,
    /// The registrar's time.
    pub at: Timestamp,
    /// The index in the member's log from which it holds.
    pub from: u64,
    /// What changed.
    pub what: What,
}

/// What changed about a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// Registered with these roles.
    Registered(Vec<Role>),
    /// Other roles.
    Roles(Vec<Role>),
    /// Suspended.
    Suspended,
    /// Restored.
    Restored,
    /// Revoked for good.
    Revoked,
    /// Its log is frozen at this size.
    Frozen,
    /// One of its keys was replaced.
    Key(Purpose),
    /// Another institution's log goes on where its own ended.
    LogSucceeded(InstitutionId),
    /// Another issuer goes on with its vouchers.
    IssuerSucceeded(InstitutionId),
}

/// How a member stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// In good standing.
    Good,
    /// Suspended: its records do not count until it is restored.
    Suspended,
    /// Revoked for good.
    Revoked,
    /// Its log is frozen.
    Frozen,
    /// Another log goes on where its own ended.
    Succeeded,
}

/// A member and the history of its registration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The newest entry.
    pub entry: MemberEntry,
    /// Keys by purpose that were replaced, with the index in the member's log up to which they signed.
    pub old_keys: Vec<(Purpose, [u8; 32], u64)>,
    /// In the order of the registrar's log.
    pub changes: Vec<Change>,
}

impl Member {
    /// Standing and roles by the changes that `applies` lets through.
    fn standing_by(&self, role: Option<Role>, applies: impl Fn(&Change) -> bool) -> Option<Standing> {
        let mut standing = None;
        let mut plays = false;
        for change in self.changes.iter().filter(|c| applies(c)) {
            match &change.what {
                // Once: who was revoked does not come back under the same name.
                What::Registered(roles) if standing.is_none() => {
                    standing = Some(Standing::Good);
                    plays = role.is_none_or(|r| roles.contains(&r));
                }
                What::Roles(roles) => plays = role.is_none_or(|r| roles.contains(&r)),
                What::Suspended if standing == Some(Standing::Good) => standing = Some(Standing::Suspended),
                What::Restored if standing == Some(Standing::Suspended) => standing = Some(Standing::Good),
                What::Revoked => standing = Some(Standing::Revoked),
                What::Frozen => standing = Some(Standing::Frozen),
                What::LogSucceeded(_) => standing = Some(Standing::Succeeded),
                What::IssuerSucceeded(_) if role == Some(Role::Issuer) => standing = Some(Standing::Succeeded),
                What::Registered(_) | What::Suspended | What::Restored | What::Key(_) | What::IssuerSucceeded(_) => {}
            }
        }
        standing.filter(|_| plays)
    }
}

/// Numbers that the whole federation goes by, published by the registrar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameters {
    /// Grace before a silent custodian's voucher is taken back, before *in use*.
    pub grace_before_use: Millis,
    /// The same from *in use* on.
    pub grace_after_use: Millis,
    /// Longest time from use to completion.
    pub complete_within: Millis,
    /// Longest time from completion to claim.
    pub claim_within: Millis,
    /// How long after a redemption it may be reversed.
    pub correction_period: Millis,
    /// Highest record format version that writers may use.
    pub format_level: u8,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            grace_before_use: Millis::hours(24),
            grace_after_use: Millis::days(30),
            complete_within: Millis::days(7),
            claim_within: Millis::days(30),
            correction_period: Millis::days(90),
            format_level: 1,
        }
    }
}

/// How much of the registrar's log a judgement knows: changes up to and including this index, or all that is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Horizon(pub u64);

impl Horizon {
    /// All that is held.
    pub const ALL: Self = Self(u64::MAX);
}

/// The registry of members and parameters: the fold of the registrar's log, without enrolments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registry {
    /// Whose log it is.
    pub registrar: InstitutionId,
    /// The members by id.
    pub members: BTreeMap<InstitutionId, Member>,
    /// Parameters with the registrar index from which they hold.
    pub parameters: Vec<(u64, Parameters)>,
}

impl Registry {
    /// An empty registry of a registrar.
    #[must_use]
    pub const fn new(registrar: InstitutionId) -> Self {
        Self { registrar, members: BTreeMap::new(), parameters: Vec::new() }
    }

    /// The member of that id.
    #[must_use]
    pub fn member(&self, id: InstitutionId) -> Option<&Member> {
        self.members.get(&id)
    }

    /// Whether what `id` wrote in `role` at `log_index` of its own log may count, by what the horizon knows.
    #[must_use]
    pub fn author_counts(&self, id: InstitutionId, role: Role, log_index: u64, horizon: Horizon) -> bool {
        self.member(id)
            .and_then(|m| m.standing_by(Some(role), |c| c.index <= horizon.0 && c.from <= log_index))
            .is_some_and(|s| s == Standing::Good)
    }

    /// Whether `id` plays `role` in good standing at a registrar position.
    #[must_use]
    pub fn in_good_standing(&self, id: InstitutionId, role: Role, position: u64) -> bool {
        self.member(id)
            .and_then(|m| m.standing_by(Some(role), |c| c.index <= position))
            .is_some_and(|s| s == Standing::Good)
    }

    /// How `id` stands at a registrar position, whatever its roles.
    #[must_use]
    pub fn standing(&self, id: InstitutionId, position: u64) -> Option<Standing> {
        self.member(id).and_then(|m| m.standing_by(None, |c| c.index <= position))
    }

    /// Whether a change of this member, unknown at `named` and known within the horizon, already acted at `at`.
    #[must_use]
    pub fn is_stale(&self, id: InstitutionId, named: u64, at: Timestamp, horizon: Horizon) -> bool {
        self.member(id).is_some_and(|m| {
            m.changes.iter().any(|c| {
                c.index > named
                    && c.index <= horizon.0
                    && !matches!(c.what, What::Registered(_) | What::Restored)
                    && c.at + FRESHNESS <= at
            })
        })
    }

    /// The size at which a log ends, frozen or succeeded, by what the horizon knows.
    #[must_use]
    pub fn ended_at(&self, id: InstitutionId, horizon: Horizon) -> Option<u64> {
        self.member(id)?
            .changes
            .iter()
            .filter(|c| c.index <= horizon.0 && matches!(c.what, What::Frozen | What::LogSucceeded(_)))
            .map(|c| c.from)
            .min()
    }

    /// Whether the registrar froze a log that had shown two histories. Whatever its institution wrote may be resolved then:
    /// what only some have seen of the two is nothing by which all could judge alike.
    #[must_use]
    pub fn is_frozen(&self, id: InstitutionId, horizon: Horizon) -> bool {
        self.member(id)
            .is_some_and(|m| m.changes.iter().any(|c| c.index <= horizon.0 && matches!(c.what, What::Frozen)))
    }

    /// Whether any log has ended at all: spares the common case a look-up for each name.
    #[must_use]
    pub fn any_ended(&self) -> bool {
        let ends = |c: &Change| matches!(c.what, What::Frozen | What::LogSucceeded(_));
        self.members.values().any(|m| m.changes.iter().any(ends))
    }

    /// Whether anybody was succeeded: spares the common case a look at who.
    #[must_use]
    pub fn any_succeeded(&self) -> bool {
        let succeeds = |c: &Change| matches!(c.what, What::LogSucceeded(_) | What::IssuerSucceeded(_));
        self.members.values().any(|m| m.changes.iter().any(succeeds))
    }

    /// Who holds at a registrar position what `id` held in `role`: itself, or who succeeded it.
    #[must_use]
    pub fn heir(&self, id: InstitutionId, role: Role, position: u64) -> InstitutionId {
        self.line(id, role, position).last().map_or(id, |(_, _, heir)| heir)
    }

    /// How what `id` held in `role` passed on up to a registrar position: from whom, at which size of whose log, to whom.
    pub fn line(
        &self,
        id: InstitutionId,
        role: Role,
        position: u64,
    ) -> impl Iterator<Item = (InstitutionId, u64, InstitutionId)> + '_ {
        let next = move |from: InstitutionId| {
            self.member(from)?.changes.iter().filter(|c| c.index <= position).find_map(|c| match c.what {
                What::LogSucceeded(heir) => Some((from, c.from, heir)),
                What::IssuerSucceeded(heir) if role == Role::Issuer => Some((from, c.from, heir)),
                _ => None,
            })
        };
        // Nobody succeeds twice, so a line is no longer than the members are many.
        std::iter::successors(next(id), move |(_, _, heir)| next(*heir)).take(self.members.len())
    }

    /// The parameters in force at a registrar position.
    #[must_use]
    pub fn parameters_at(&self, position: u64) -> Parameters {
        self.parameters.iter().rev().find(|(index, _)| *index <= position).map(|(_, p)| *p).unwrap_or_default()
    }

    /// Those who play a role in good standing now, in the order of their ids.
    pub fn playing(&self, role: Role) -> impl Iterator<Item = &Member> {
        self.members.values().filter(move |m| {
            self.in_good_standing(m.entry.institution, role, u64::MAX) && m.entry.roles.contains(&role)
        })
    }
}
