//! The one field into which every code is read: typed by a hand scanner, read from a photo, or seen by the camera
//! (node/assets/scan.js, node/templates/desk/scan.html).

use actors::hospital::desk;
use actors::presented;
use actors::token::{vc1, vq1};
use domain::ids::VoucherId;
use domain::reasons::Reason;
use domain::record::Consent;

use crate::pages::frame::Frame;

/// The field and what stands around it.
#[derive(Debug)]
pub struct Scan {
    /// Where its form goes.
    pub action: String,
    /// What is to be scanned.
    pub label: String,
    /// What was scanned before, and goes along.
    pub carried: Vec<(&'static str, String)>,
}

impl Scan {
    /// A field for what a text names.
    #[must_use]
    pub fn new(frame: &Frame, action: &str, label: &str) -> Self {
        Self { action: action.to_owned(), label: frame.t(label), carried: Vec::new() }
    }

    /// With what was scanned before.
    #[must_use]
    pub fn with(mut self, carried: impl IntoIterator<Item = (&'static str, Option<String>)>) -> Self {
        self.carried.extend(carried.into_iter().filter_map(|(name, text)| Some((name, text?))));
        self
    }
}

/// What a scanned text is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scanned {
    /// A personal QR, and for which step.
    Personal(String, Step),
    /// A voucher's QR, and of which voucher.
    Voucher(String, VoucherId),
    /// A printed card.
    Card(String),
    /// The digits printed on a card.
    Number(String),
}

/// Which step a personal QR is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A phone announces its keys.
    Register,
    /// To be known.
    Identify,
    /// A voucher is asked for.
    Receive,
    /// The holder is at the hospital.
    Arrive,
    /// The examination took place.
    Complete,
    /// A booking is to go.
    Cancel,
}

/// Says what a text is; whether it is genuine is for who acts on it.
///
/// # Errors
///
/// [`Reason::PresentationMalformed`] for a personal QR that is none, [`Reason::QrNotGenuine`] for every other text.
pub fn read(text: &str) -> Result<Scanned, Reason> {
    let text = text.trim_matches(['\r', '\n', '\t']);
    let begins = |prefix: &str| text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    if begins("VP1:") {
        let step = match presented::read(text)?.claims.consent {
            Consent::Register => Step::Register,
            Consent::Identify => Step::Identify,
            Consent::Receive { .. } => Step::Receive,
            Consent::Arrive { .. } => Step::Arrive,
            Consent::Complete { .. } => Step::Complete,
            Consent::Cancel { .. } => Step::Cancel,
            _ => return Err(Reason::PresentationOtherStep),
        };
        return Ok(Scanned::Personal(text.to_owned(), step));
    }
    if begins(vq1::PREFIX) {
        return Ok(Scanned::Voucher(text.to_owned(), desk::named_by(text)?));
    }
    if begins(vc1::PREFIX) {
        return Ok(Scanned::Card(text.to_owned()));
    }
    let digits = text.chars().filter(|c| !matches!(c, ' ' | '-')).collect::<String>();
    if digits.len() == vc1::LOOKUP_DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(Scanned::Number(digits));
    }
    Err(Reason::QrNotGenuine)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_code_is_said_so() {
        for (text, expected) in [
            ("VP1:ABC", Reason::PresentationMalformed),
            ("VQ1:ABC", Reason::QrNotGenuine),
            ("https://elsewhere.example/", Reason::QrNotGenuine),
            ("12345", Reason::QrNotGenuine),
            ("多多", Reason::QrNotGenuine),
        ] {
            assert_eq!(read(text), Err(expected), "{text}");
        }
        assert_eq!(read("1234 5678-9012\r"), Ok(Scanned::Number("123456789012".into())));
        assert_eq!(read("VC1:ABC"), Ok(Scanned::Card("VC1:ABC".into())));
    }
}
