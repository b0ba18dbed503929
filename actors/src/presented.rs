//! Personal QRs as a desk or the wallet's node reads them: form, age, purpose and key, each with its own reason.
//!
//! The rules of custody judge a presentation again when a record carries it. What is checked here is refused before
//! anything is written, and may be stricter.

use domain::holder::{Enrolment, HolderKey};
use domain::ids::{CardId, InstitutionId, VoucherId};
use domain::reasons::Reason;
use domain::record::{Assisted, Claims, Consent, Presentation};
use domain::time::{Millis, Timestamp};

use crate::replica;
use crate::token::vc1::Card;
use crate::token::vp1::{self, Step};
use crate::token::{PublicKey, VoucherName};

/// How old a picture may be that is read at a desk; the phone draws a new one each minute.
pub const DESK_AGE: Millis = Millis::secs(60);

/// A personal QR whose form is right.
#[derive(Debug, Clone)]
pub struct Shown {
    /// What it says, in the words of the rules.
    pub claims: Claims,
    token: vp1::Unverified,
}

/// Reads the text of a personal QR.
///
/// # Errors
///
/// [`Reason::PresentationMalformed`].
pub fn read(text: &str) -> Result<Shown, Reason> {
    let token = vp1::parse(text).map_err(|_| Reason::PresentationMalformed)?;
    let claims = replica::of_token(&token.claims).ok_or(Reason::PresentationMalformed)?;
    Ok(Shown { claims, token })
}

impl Shown {
    /// Whether it was signed no longer ago, and no later, than a picture may be old.
    ///
    /// # Errors
    ///
    /// [`Reason::PresentationStale`].
    pub fn is_fresh(&self, now: Timestamp) -> Result<(), Reason> {
        let signed = Timestamp::from_millis(self.claims.iat_secs.saturating_mul(1_000));
        if signed.distance(now) <= DESK_AGE { Ok(()) } else { Err(Reason::PresentationStale) }
    }

    /// The main key that a *register* names and that signed it.
    ///
    /// # Errors
    ///
    /// [`Reason::PresentationOtherStep`], or [`Reason::PresentationForged`] if another key signed.
    pub fn main_key(&self) -> Result<PublicKey, Reason> {
        if !matches!(self.claims.consent, Consent::Register) {
            return Err(Reason::PresentationOtherStep);
        }
        self.token.proven_key().copied().ok_or(Reason::PresentationForged)
    }

    /// Whether a key signed it.
    #[must_use]
    pub fn is_signed_by(&self, key: &PublicKey) -> bool {
        self.token.verify(key)
    }

    /// Whether it is consent to cancel, move or deny, meant for `me` and this voucher.
    ///
    /// # Errors
    ///
    /// Which of step, institution and voucher differs.
    pub fn cancels(&self, me: InstitutionId, voucher: VoucherId) -> Result<(), Reason> {
        match &self.claims.consent {
            Consent::Cancel { aud, .. } if *aud != me => Err(Reason::PresentationElsewhere),
            Consent::Cancel { voucher: v, .. } if *v != voucher => Err(Reason::PresentationOtherVoucher),
            Consent::Cancel { .. } => Ok(()),
            _ => Err(Reason::PresentationOtherStep),
        }
    }

    /// What a record keeps of it, if the phone of this enrolment signed it.
    ///
    /// # Errors
    ///
    /// [`Reason::EnrolmentBlocked`], [`Reason::PresentationForged`].
    pub fn by_phone(&self, enrolment: &Enrolment) -> Result<Presentation, Reason> {
        let now = enrolment.now().ok_or(Reason::EnrolmentUnknown)?;
        if now.blocked.is_some() {
            return Err(Reason::EnrolmentBlocked);
        }
        let key = now.key.as_ref().and_then(replica::public_key).ok_or(Reason::PresentationForged)?;
        if !self.claims.is_for(enrolment.id) || !self.is_signed_by(&key) {
            return Err(Reason::PresentationForged);
        }
        Ok(Presentation { cose: self.token.cose_bytes().to_vec(), assisted: None })
    }
}

/// What a clerk signs with the holder's printed card, under one enrolment.
///
/// # Errors
///
/// [`Reason::EnrolmentBlocked`], [`Reason::CardUnknown`] if this is not the card that was issued last.
pub fn by_card(
    card: &Card,
    enrolment: &Enrolment,
    step: Step,
    cti: [u8; 8],
    assisted: Assisted,
    now: Timestamp,
) -> Result<Presentation, Reason> {
    let stands = enrolment.now().ok_or(Reason::EnrolmentUnknown)?;
    if stands.blocked.is_some() {
        return Err(Reason::EnrolmentBlocked);
    }
    let id = *enrolment.id.0.as_bytes();
    let key = card.key_for(id);
    let known = stands.card.map(|(id, key)| (id, HolderKey::Ed25519(key)));
    if known != Some((CardId(uuid::Uuid::from_bytes(card.id())), replica::holder_key(&key.public()))) {
        return Err(Reason::CardUnknown);
    }
    let kid = id.first_chunk::<8>().copied().unwrap_or_default();
    let claims = vp1::Claims { kid, iat: now.secs(), cti, step };
    let text = vp1::sign(&claims, &key).map_err(|_| Reason::PresentationMalformed)?;
    let token = vp1::parse(&text).map_err(|_| Reason::PresentationMalformed)?;
    Ok(Presentation { cose: token.cose_bytes().to_vec(), assisted: Some(assisted) })
}

/// A voucher's name as tokens write it.
#[must_use]
pub fn voucher_name(voucher: VoucherId) -> VoucherName {
    VoucherName { issuer: voucher.issuer.to_string(), id: voucher.uuid }
}
