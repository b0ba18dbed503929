//! Holders as the ledger knows them: enrolments with keys and cards, never persons.

use serde::{Deserialize, Serialize};

use crate::ids::{CardId, Digest, EnrolmentId, InstitutionId, Operator, RecordName};
use crate::member::{FRESHNESS, Horizon, MemberEntry, Parameters, Purpose, Role, Signature};
use crate::time::Timestamp;

/// A holder's public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HolderKey {
    /// Ed25519, 32 bytes.
    Ed25519([u8; 32]),
    /// ECDSA over P-256 with SHA-256, as a compressed point.
    Es256 {
        /// Whether y is odd.
        odd: bool,
        /// The x coordinate, big-endian.
        x: [u8; 32],
    },
}

/// What the registrar says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RegistrarEvent {
    /// A new member. Entry 0 of the registrar's log is its own.
    MemberRegistered(MemberEntry),
    /// Other roles or another URL.
    MemberChanged {
        /// Who.
        institution: InstitutionId,
        /// The index in its log from which it holds.
        from: u64,
        /// Its roles.
        roles: Vec<Role>,
        /// Its base URL.
        url: String,
    },
    /// What it writes from `from` on does not count.
    MemberSuspended {
        /// Who.
        institution: InstitutionId,
        /// The index in its log from which it holds.
        from: u64,
        /// The second person.
        approver: Operator,
    },
    /// What it writes from `from` on counts again.
    MemberRestored {
        /// Who.
        institution: InstitutionId,
        /// The index in its log from which it holds.
        from: u64,
        /// The second person.
        approver: Operator,
    },
    /// What it writes from `from` on never counts.
    MemberRevoked {
        /// Who.
        institution: InstitutionId,
        /// The index in its log from which it holds.
        from: u64,
        /// The second person.
        approver: Operator,
    },
    /// A key was replaced.
    KeyRotated {
        /// Who.
        institution: InstitutionId,
        /// The index in its log from which it holds.
        from: u64,
        /// Which key.
        purpose: Purpose,
        /// The new key.
        key: [u8; 32],
        /// Proof of possession by the new key.
        proof: Signature,
        /// The old key's signature over the same, or none after loss or theft.
        by_old: Option<Signature>,
        /// The second person; after loss or theft the registrar acts with two.
        approver: Operator,
    },
    /// The line for a log that forked.
    LogFrozen {
        /// Whose log.
        institution: InstitutionId,
        /// What it holds up to this size counts.
        size: u64,
        /// The root at that size.
        root: Digest,
        /// The second person.
        approver: Operator,
    },
    /// The federation's numbers.
    ParametersPublished(Parameters),
    /// A person's enrolment in a programme, without the person.
    Enrolled {
        /// Random.
        id: EnrolmentId,
        /// The phone's key for this programme; none for somebody with a card alone.
        key: Option<HolderKey>,
        /// The programme.
        programme: RecordName,
        /// Only this community may issue.
        community: InstitutionId,
        /// Only to this voucher module.
        voucher_module: InstitutionId,
    },
    /// Nothing counts under it any more.
    EnrolmentBlocked {
        /// Which enrolment.
        enrolment: RecordName,
        /// Why.
        reason: BlockReason,
    },
    /// Another phone.
    EnrolmentKeyChanged {
        /// Which enrolment.
        enrolment: RecordName,
        /// The new key; none if only a card is left.
        key: Option<HolderKey>,
    },
    /// Another home community or voucher module.
    EnrolmentMoved {
        /// Which enrolment.
        enrolment: RecordName,
        /// The new home community.
        community: InstitutionId,
        /// The new voucher module.
        voucher_module: InstitutionId,
    },
    /// A printed card; it replaces an earlier one.
    CardIssued {
        /// Which enrolment.
        enrolment: RecordName,
        /// Random.
        card: CardId,
        /// Its public key.
        key: [u8; 32],
    },
    /// Nobody has the rest of a log, or its institution can write it no more: what it held passes to another log.
    LogSucceeded {
        /// Whose log ended.
        institution: InstitutionId,
        /// What it holds up to this size counts.
        size: u64,
        /// The root at that size.
        root: Digest,
        /// Whose log goes on.
        successor: InstitutionId,
        /// The second person.
        approver: Operator,
    },
    /// An issuer is gone: another one goes on with its vouchers.
    IssuerSucceeded {
        /// Who is gone.
        issuer: InstitutionId,
        /// The index in its log from which it issues nothing more.
        from: u64,
        /// Who goes on.
        successor: InstitutionId,
        /// The second person.
        approver: Operator,
    },
}

/// Why an enrolment is blocked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BlockReason {
    /// Phone or card lost or stolen.
    LostOrStolen,
    /// The holder died.
    Died,
    /// The holder is no longer entitled.
    EntitlementEnded,
    /// The holder asked for it.
    HolderAsked,
}

/// An enrolment and its history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolment {
    /// The record that made it.
    pub name: RecordName,
    /// Random id.
    pub id: EnrolmentId,
    /// The programme.
    pub programme: RecordName,
    /// What happened to it, in the order of the registrar's log; the first is at `name.index`.
    pub history: Vec<(u64, Timestamp, EnrolmentChange)>,
}

/// What can happen to an enrolment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EnrolmentChange {
    /// The phone's key, or none.
    Key(Option<HolderKey>),
    /// Home community and voucher module.
    Home(InstitutionId, InstitutionId),
    /// The printed card's id and key.
    Card(CardId, [u8; 32]),
    /// Blocked for good.
    Blocked(BlockReason),
}

/// An enrolment as it stood at a registrar position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EnrolmentAt {
    /// The phone's key.
    pub key: Option<HolderKey>,
    /// The printed card's id and key.
    pub card: Option<(CardId, [u8; 32])>,
    /// Home community.
    pub community: InstitutionId,
    /// Voucher module.
    pub voucher_module: InstitutionId,
    /// Why it is blocked, if it is.
    pub blocked: Option<BlockReason>,
}

impl Enrolment {
    /// How it stood at a registrar position; none before it existed.
    #[must_use]
    pub fn at(&self, position: u64) -> Option<EnrolmentAt> {
        let mut home = None;
        let (mut key, mut card, mut blocked) = (None, None, None);
        for (_, _, change) in self.history.iter().filter(|(index, _, _)| *index <= position) {
            match change {
                EnrolmentChange::Key(k) => key = *k,
                EnrolmentChange::Home(community, module) => home = Some((*community, *module)),
                EnrolmentChange::Card(id, k) => card = Some((*id, *k)),
                EnrolmentChange::Blocked(why) => blocked = Some(*why),
            }
        }
        home.map(|(community, voucher_module)| EnrolmentAt { key, card, community, voucher_module, blocked })
    }

    /// How it stands now.
    #[must_use]
    pub fn now(&self) -> Option<EnrolmentAt> {
        self.at(u64::MAX)
    }

    /// Whether a block or key change, unknown at `named` and known within the horizon, already acted at `at`.
    #[must_use]
    pub fn is_stale(&self, named: u64, at: Timestamp, horizon: Horizon) -> bool {
        self.history.iter().any(|(index, since, change)| {
            *index > named
                && *index <= horizon.0
                && !matches!(change, EnrolmentChange::Home(..))
                && *since + FRESHNESS <= at
        })
    }
}
