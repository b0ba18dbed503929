//! Why a step of a voucher is taken: the closed lists of causes, as they stand in records.

use serde::{Deserialize, Serialize};

use crate::ids::RecordName;
use crate::record::VoidReason;

/// Why a hospital declines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeclineReason {
    /// The slot is full.
    SlotTaken,
    /// There is no such slot.
    SlotUnknown,
    /// The opening did not arrive, or does not fit.
    DetailsMissing,
    /// The department is not one of the programme's.
    DepartmentNotAllowed,
    /// The hospital cannot.
    Unable,
}

/// Why a hospital lets a booking go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReleaseReason {
    /// The holder cancelled.
    Cancelled,
    /// The holder moved it.
    Moved,
    /// The hospital cannot.
    Unable,
}

/// Why a use is undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AbortReason {
    /// The desk pressed the wrong button: the booking stands again.
    DeskError,
    /// The holder left.
    HolderLeft,
    /// The hospital cannot.
    Unable,
}

/// Why a claim is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClaimReason {
    /// The opening of booking or evidence did not come.
    OpeningMissing,
    /// It does not fit its digest.
    OpeningDiffers,
    /// The department is not one of the programme's.
    DepartmentNotAllowed,
    /// The performer is not of the booked department.
    PerformerElsewhere,
    /// The times do not fit.
    TimesDiffer,
    /// An ordered item is not done.
    ItemNotDone,
    /// The holder denies the use.
    Disputed,
    /// The issuer looked and does not believe it.
    Unfounded,
}

/// Why a custodian gives a voucher back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReturnReason {
    /// The issuer asked.
    VoidRequested,
    /// Nobody needs it.
    NotNeeded,
    /// The holder gives it back.
    HolderGaveBack,
    /// The custodian leaves.
    Leaving,
}

/// Why and by what right the issuer voids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum VoidCause {
    /// The issuer holds it and says why.
    Reason(VoidReason),
    /// Its validity is surely over.
    Expired {
        /// Records at or past `valid_until` in the logs of those who could still have moved it.
        positions: Vec<RecordName>,
    },
}

/// Why a voucher is taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReclaimReason {
    /// Limit and grace are over and nothing was heard.
    Silent,
    /// The custodian is suspended, revoked or frozen.
    Standing,
}

/// Why a redemption is reversed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReverseReason {
    /// It was claimed by mistake.
    Mistake,
    /// The holder was right to deny it.
    Disputed,
    /// Fraud.
    Fraud,
    /// The author's records were cut off afterwards.
    CutOff,
}

/// What [`Step::Resolved`](crate::lifecycle::Step::Resolved) keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The branch whose head is this record; the chain goes on from there.
    Keep(RecordName),
    /// Nothing: the voucher is voided.
    Void(VoidReason),
}
