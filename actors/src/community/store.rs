//! The community's stock and its store of voucher QRs: transcoding, keeping, giving back, retiring (units C2, C3, C4, C6).

use std::collections::BTreeMap;

use domain::ids::{RecordName, VoucherId};
use domain::lifecycle::{ReturnReason, Stage, Step};
use domain::member::Role;
use domain::reasons::Reason;
use domain::record::Note;
use domain::statistics::Counter;
use domain::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::command::{Answer, MAX_RETURNS};
use crate::keys::Key;
use crate::kv::Tx;
use crate::presented::voucher_name;
use crate::replica::{self, Work};
use crate::token::vq1;
use crate::writer::{Desk, Refused};

/// A voucher's QR as the community keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredQr {
    /// The VQ1 token; none once it is retired.
    pub token: Option<String>,
    /// When it was made.
    pub made_at: Timestamp,
    /// When it was retired.
    pub retired_at: Option<Timestamp>,
}

fn key(voucher: VoucherId) -> Vec<u8> {
    Key::new(b'c').bytes(b"q").voucher(voucher).done()
}

/// The QR that is kept for a voucher.
#[must_use]
pub fn stored(tx: &Tx<'_>, voucher: VoucherId) -> Option<StoredQr> {
    tx.load_private(&key(voucher))
}

/// Unit C3: makes a voucher's QR, and keeps it (C4).
pub(super) fn encode(desk: &mut Desk<'_>, voucher: VoucherId) -> Result<Answer, Refused> {
    let doc = desk.work.voucher(voucher).ok_or(Refused::NotFound)?;
    let state = doc.state().ok_or(Reason::Waiting)?;
    let programme = desk.work.programme(&state.programme).ok_or(Reason::ProgrammeUnknown)?;
    let policy = programme.in_force(desk.now).ok_or(Reason::ProgrammeUnknown)?;
    let claims = vq1::Claims {
        community: desk.me().to_string(),
        voucher: voucher_name(voucher),
        service: policy.service.to_string(),
        not_before: state.valid_from.secs(),
        expires: state.valid_until.secs(),
        iat: desk.now.secs(),
    };
    let signer = super::signer(desk.me()).ok_or(Reason::NotReady)?;
    let token = vq1::sign(&claims, &signer).map_err(|_| Reason::BadWindow)?;
    desk.step(Role::Community, voucher, Step::Encoded { token: token.clone() })?;
    let kept = StoredQr { token: Some(token), made_at: desk.now, retired_at: None };
    desk.work.tx.store_private(key(voucher), &kept);
    Ok(Answer::Done)
}

/// Gives vouchers back to the issuer, all or none.
pub(super) fn give_back(desk: &mut Desk<'_>, vouchers: &[VoucherId], reason: ReturnReason) -> Result<Answer, Refused> {
    if vouchers.is_empty() || vouchers.len() > MAX_RETURNS {
        return Err(Reason::Malformed.into());
    }
    for voucher in vouchers {
        // The QR is retired by the duty that follows.
        desk.step(Role::Community, *voucher, Step::Returned { reason })?;
    }
    Ok(Answer::Done)
}

/// Whether nobody needs a voucher's QR any more: it is settled, or back at the issuer.
const fn is_over(stage: Stage) -> bool {
    stage.is_settled() || matches!(stage, Stage::Generated | Stage::Refused)
}

/// Unit C6: the voucher is over, its QR is kept no longer.
pub(super) fn retire(desk: &mut Desk<'_>, voucher: VoucherId) -> Result<Answer, Refused> {
    let over = desk.work.voucher(voucher).and_then(|d| d.state().map(|v| is_over(v.stage)));
    if over != Some(true) {
        return Err(Reason::WrongState.into());
    }
    let made_at = stored(&desk.work.tx, voucher).map_or(desk.now, |qr| qr.made_at);
    let retired = StoredQr { token: None, made_at, retired_at: Some(desk.now) };
    desk.note(Role::Community, voucher, Note::QrRetired)?;
    desk.work.tx.store_private(key(voucher), &retired);
    Ok(Answer::Done)
}

/// The settlement was reversed: the QR holds again.
pub(super) fn restore(desk: &mut Desk<'_>, voucher: VoucherId) -> Result<Answer, Refused> {
    let doc = desk.work.voucher(voucher).ok_or(Refused::NotFound)?;
    if doc.state().is_none_or(|v| is_over(v.stage)) || !doc.notes_state().qr_retired {
        return Err(Reason::WrongState.into());
    }
    let token = doc.token().map(ToOwned::to_owned);
    let made_at = stored(&desk.work.tx, voucher).map_or(desk.now, |qr| qr.made_at);
    desk.note(Role::Community, voucher, Note::QrRestored)?;
    desk.work.tx.store_private(key(voucher), &StoredQr { token, made_at, retired_at: None });
    Ok(Answer::Done)
}

/// What a community has in stock of one programme.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Stock {
    /// On the way: their QR is not made yet.
    pub sent: i64,
    /// Ready to be issued.
    pub encoded: i64,
}

/// Stock by programme, from the counters that the replica keeps.
#[must_use]
pub fn stock(work: &Work<'_>) -> BTreeMap<RecordName, Stock> {
    let me = work.settings.me;
    let mut all: BTreeMap<RecordName, Stock> = BTreeMap::new();
    for (counter, n) in replica::counters(work) {
        match counter {
            Counter::Held(programme, holder, Stage::Sent) if holder == me => {
                all.entry(programme).or_default().sent += n
            }
            Counter::Held(programme, holder, Stage::Encoded) if holder == me => {
                all.entry(programme).or_default().encoded += n;
            }
            _ => {}
        }
    }
    all
}
