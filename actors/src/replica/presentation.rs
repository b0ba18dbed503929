//! Presentations: from the COSE message in a record to what the rules ask about it.

use std::collections::HashMap;
use std::sync::LazyLock;

use domain::holder::HolderKey;
use domain::ids::{Digest, InstitutionId, VoucherId};
use domain::lifecycle;
use domain::record::{ChainRecord, Claims, Consent, MAX_PRESENTATION_BYTES};
use domain::time::Timestamp;

use parking_lot::Mutex;

use super::Work;
use crate::misbehave::misbehaves;
use crate::token::vp1::{self, Step, Unverified};
use crate::token::{PublicKey, VoucherName};

fn institution(text: &str) -> Option<InstitutionId> {
    text.parse().ok()
}

fn voucher(name: &VoucherName) -> Option<VoucherId> {
    Some(VoucherId { issuer: institution(&name.issuer)?, uuid: name.id })
}

/// A presentation taken apart; none where it cannot be read.
#[must_use]
pub fn token(cose: &[u8]) -> Option<Unverified> {
    if cose.len() > MAX_PRESENTATION_BYTES {
        return None;
    }
    Unverified::from_cose(cose).ok()
}

/// What a presentation says; none where it cannot be read.
#[must_use]
pub fn claims(cose: &[u8]) -> Option<Claims> {
    of_token(&token(cose)?.claims)
}

/// What a token says, in the words of the rules.
#[must_use]
pub fn of_token(claims: &vp1::Claims) -> Option<Claims> {
    let consent = match &claims.step {
        Step::Register { .. } => Consent::Register,
        Step::Identify => Consent::Identify,
        Step::Receive { community, programme } => {
            Consent::Receive { aud: institution(community)?, programme: programme.clone() }
        }
        Step::Arrive { audience, voucher: v } => Consent::Arrive { aud: institution(audience)?, voucher: voucher(v)? },
        Step::Complete { audience, voucher: v } => {
            Consent::Complete { aud: institution(audience)?, voucher: voucher(v)? }
        }
        Step::Cancel { audience, voucher: v } => Consent::Cancel { aud: institution(audience)?, voucher: voucher(v)? },
        Step::Wallet { audience, request } => {
            Consent::Wallet { aud: institution(audience)?, request: Digest(*request) }
        }
    };
    Some(Claims { kid: claims.kid, iat_secs: claims.iat, cti: claims.cti, consent })
}

/// What a presentation says, to a node that misbehaves; any other takes it as it is.
pub(super) fn taken_as(work: &Work<'_>, at: Timestamp, chain: &ChainRecord, mut claims: Claims) -> Claims {
    if misbehaves("old-pictures-pass") {
        claims.iat_secs = at.secs();
    }
    if misbehaves("signatures-unchecked") {
        let name = work.voucher(chain.voucher).and_then(|doc| doc.state()?.enrolment);
        let holder = name.and_then(|name| work.enrolment(&name));
        claims.kid = holder.and_then(|holder| holder.id.0.as_bytes().first_chunk().copied()).unwrap_or(claims.kid);
    }
    match (claims.consent, &chain.step) {
        (Consent::Arrive { aud, voucher }, lifecycle::Step::ExamCompleted { .. }) if misbehaves("other-steps-pass") => {
            Claims { consent: Consent::Complete { aud, voucher }, ..claims }
        }
        (consent, _) => Claims { consent, ..claims },
    }
}

/// Whether a presentation verifies under a key. Strict, single; the same everywhere.
#[must_use]
pub fn verifies(cose: &[u8], key: &HolderKey) -> bool {
    token(cose).is_some_and(|token| is_signed(&token, key))
}

/// The same of a presentation that was taken apart.
pub(super) fn is_signed(token: &Unverified, key: &HolderKey) -> bool {
    public_key(key).is_some_and(|key| token.verify(&key))
}

/// Most keys whose check is remembered.
const CHECKED_KEYS: usize = 16_384;

/// The key as the tokens know it; none if it cannot be one.
///
/// Checking a point costs as much as a signature, and one holder signs again and again: what came of it is remembered.
#[must_use]
pub fn public_key(key: &HolderKey) -> Option<PublicKey> {
    static CHECKED: LazyLock<Mutex<HashMap<HolderKey, Option<PublicKey>>>> = LazyLock::new(Mutex::default);
    if let Some(known) = CHECKED.lock().get(key) {
        return *known;
    }
    let checked = check(key);
    let mut known = CHECKED.lock();
    if known.len() >= CHECKED_KEYS {
        known.clear();
    }
    known.insert(*key, checked);
    checked
}

fn check(key: &HolderKey) -> Option<PublicKey> {
    match key {
        HolderKey::Ed25519(bytes) => PublicKey::ed25519(*bytes).ok(),
        HolderKey::Es256 { odd, x } => {
            let mut point = [0; 33];
            point[0] = if *odd { 3 } else { 2 };
            point[1..].copy_from_slice(x);
            PublicKey::es256(point).ok()
        }
    }
}

/// The key as records hold it.
#[must_use]
pub fn holder_key(key: &PublicKey) -> HolderKey {
    match key {
        PublicKey::Ed25519(bytes) => HolderKey::Ed25519(*bytes),
        PublicKey::Es256(point) => {
            let mut x = [0; 32];
            x.copy_from_slice(&point[1..]);
            HolderKey::Es256 { odd: point[0] == 3, x }
        }
    }
}
