//! Duties: what an institution owes, as a function of a voucher's state. Nothing is owed because a message came by.

use serde::{Deserialize, Serialize};

use crate::ids::InstitutionId;
use crate::lifecycle::{Stage, Voucher};
use crate::member::{Parameters, Role};
use crate::time::Timestamp;

/// Something that an institution must do about a voucher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Duty {
    /// Community: make its QR (C3).
    Encode,
    /// Custodian: give it back, the issuer asked.
    Return,
    /// Hospital: answer the booking.
    Answer,
    /// Hospital: let the booking go, the holder asked.
    Release,
    /// Hospital: claim the redemption (H3, H4).
    Claim,
    /// Issuer: settle or reject the claim (B6).
    Settle,
    /// Voucher module: take the booking back, the hospital's time is over.
    Lapse,
    /// Issuer: void it, its validity is over (B4).
    VoidExpired,
    /// Issuer: void what was given back past its validity, refused, or asked for.
    VoidHeld,
    /// Issuer: take it from a silent custodian.
    Reclaim,
    /// Community: retire the stored QR (C6).
    RetireQr,
    /// Community: restore the QR after a reversal.
    RestoreQr,
    /// Voucher module: remove its record and the personal data with it (V5).
    RemoveRecord,
    /// Anyone: let time pass in one's own log.
    Heartbeat,
}

impl Duty {
    /// Every duty.
    pub const ALL: [Self; 14] = [
        Self::Encode,
        Self::Return,
        Self::Answer,
        Self::Release,
        Self::Claim,
        Self::Settle,
        Self::Lapse,
        Self::VoidExpired,
        Self::VoidHeld,
        Self::Reclaim,
        Self::RetireQr,
        Self::RestoreQr,
        Self::RemoveRecord,
        Self::Heartbeat,
    ];
}

/// When a duty is due: when the log of `blocker` has reached `at`. For one's own log that is when the clock has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Due {
    /// Whose log must have reached the time.
    pub blocker: InstitutionId,
    /// The time.
    pub at: Timestamp,
    /// What is due then.
    pub duty: Duty,
}

/// What is known of a voucher beside its chain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notes {
    /// The issuer wants it back.
    pub void_requested: bool,
    /// The holder cancels or moves the booking that stands.
    pub release_requested: bool,
    /// The community retired the QR since it was last current.
    pub qr_retired: bool,
    /// The voucher module removed its record.
    pub record_removed: bool,
    /// The hospital noted that the holder did not come to the booking that stands.
    pub no_show: bool,
    /// The voucher's QR went to the hospital for the booking that stands.
    pub use_presented: bool,
    /// The holder denies the use.
    pub disputed: bool,
}

/// What `me` owes about a voucher, each with the time from which it is due.
#[must_use]
pub fn duties(me: InstitutionId, voucher: &Voucher, notes: Notes, parameters: &Parameters) -> Vec<Due> {
    let mut owed = Vec::new();
    let now = Timestamp::MIN;
    let mut owe = |blocker, at, duty| owed.push(Due { blocker, at, duty });
    let holds = voucher.custodian == Some(me);
    let is_issuer = voucher.issuer == me;
    let is_module = voucher.voucher_module == Some(me);
    let stage = voucher.stage;

    if holds && notes.void_requested && !is_issuer && stage.is_before_use() {
        owe(me, now, Duty::Return);
    } else if holds {
        match stage {
            Stage::Sent => owe(me, now, Duty::Encode),
            Stage::BookingRequested if notes.release_requested => owe(me, now, Duty::Release),
            Stage::BookingRequested => owe(me, now, Duty::Answer),
            Stage::Booked if notes.release_requested => owe(me, now, Duty::Release),
            Stage::Examined => owe(me, now, Duty::Claim),
            _ => {}
        }
    }
    if is_issuer {
        match stage {
            Stage::Claimed => owe(me, now, Duty::Settle),
            Stage::Refused => owe(me, now, Duty::VoidHeld),
            Stage::Generated if notes.void_requested => owe(me, now, Duty::VoidHeld),
            Stage::Generated => owe(me, voucher.valid_until, Duty::VoidExpired),
            _ => {}
        }
        // Whoever could still have moved it must have let the time pass in its own log.
        if let Some(first) = voucher.must_be_silent().into_iter().next() {
            owe(first, voucher.valid_until, Duty::VoidExpired);
        }
        if let (Some(limit), false) = (voucher.limit(), voucher.custodian == Some(me)) {
            let grace = if stage.is_before_use() { parameters.grace_before_use } else { parameters.grace_after_use };
            owe(me, limit + grace, Duty::Reclaim);
        }
    }
    if is_module
        && let (Some(booking), Some(limit)) = (voucher.booking, voucher.limit())
        && matches!(stage, Stage::BookingRequested | Stage::Booked)
    {
        owe(booking.hospital, limit, Duty::Lapse);
    }
    // Settled, or back at the issuer: nobody needs its QR, or what was kept of its holder.
    let is_over = stage.is_settled() || matches!(stage, Stage::Generated | Stage::Refused);
    if is_module && is_over && !notes.record_removed {
        owe(me, now, Duty::RemoveRecord);
    }
    if voucher.community == Some(me) && stage != Stage::Sent {
        if is_over && !notes.qr_retired {
            owe(me, now, Duty::RetireQr);
        } else if !is_over && notes.qr_retired {
            owe(me, now, Duty::RestoreQr);
        }
    }
    // One's own log must show that the limit has passed, for whoever waits for it.
    let may_take_back = is_module && matches!(stage, Stage::BookingRequested | Stage::Booked);
    // The issuer too, where it plays another role: its own voiding names its own log then.
    let proves = !is_issuer || stage.custodian_role() != Role::Issuer;
    if (holds || may_take_back) && proves {
        if let Some(limit) = voucher.limit() {
            owe(me, limit, Duty::Heartbeat);
        }
        if stage.is_before_use() && voucher.limit() != Some(voucher.valid_until) {
            owe(me, voucher.valid_until, Duty::Heartbeat);
        }
    }
    owed.sort_unstable();
    owed.dedup();
    owed
}

/// The role in which a duty is done; none where that depends on the voucher's stage.
#[must_use]
pub const fn fixed_role(duty: Duty) -> Option<Role> {
    match duty {
        Duty::Encode | Duty::RetireQr | Duty::RestoreQr => Some(Role::Community),
        Duty::Answer | Duty::Release | Duty::Claim => Some(Role::Hospital),
        Duty::Settle | Duty::VoidExpired | Duty::VoidHeld | Duty::Reclaim => Some(Role::Issuer),
        Duty::Lapse | Duty::RemoveRecord => Some(Role::Voucher),
        Duty::Return | Duty::Heartbeat => None,
    }
}

/// The role in which a duty is done.
#[must_use]
pub const fn role_of(duty: Duty, stage: Stage) -> Role {
    match fixed_role(duty) {
        Some(role) => role,
        None => stage.custodian_role(),
    }
}
