//! VC1, the printed card for people without a phone: the secret of Ed25519 keys, and a number that only looks the card up.
//!
//! | bytes | what |
//! | --- | --- |
//! | 1 | version, 1 |
//! | 16 | card id, random, not secret |
//! | 16 | secret, random |
//!
//! The text is `VC1:` and the base45 of these 33 bytes. A key's seed is HKDF-SHA256 of the secret (no salt, 32 bytes, info
//! [`KEY_DOMAIN`], the card id and the enrolment's id): one key for each enrolment, since the same public key under two of
//! them would say to everyone that they are one person's. The printed number is made of the card id alone: who reads it
//! learns nothing of the keys. Its last digit is Damm's check digit, which catches each single wrong digit and each swap of two neighbours.

use hkdf::Hkdf;
use rand::CryptoRng;
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use super::key::HolderKey;
use super::{TokenError, from_text, to_text};

/// What the text begins with.
pub const PREFIX: &str = "VC1:";

/// Length of the text in characters; a longer one is not parsed.
pub const MAX_CHARS: usize = 54;

/// Length of a card id in bytes.
pub const CARD_ID_BYTES: usize = 16;

/// Length of an enrolment's id in bytes.
pub const ENROLMENT_ID_BYTES: usize = 16;

/// Length of a card's secret in bytes.
pub const SECRET_BYTES: usize = 16;

/// Number of digits printed on the card, check digit included.
pub const LOOKUP_DIGITS: usize = 12;

/// Longest typed lookup number in characters, spaces and hyphens between the digits included.
pub const MAX_TYPED_CHARS: usize = 32;

/// What HKDF's info begins with.
pub const KEY_DOMAIN: &[u8] = b"service-voucher/v1/card-key";

/// What the hash behind the lookup number begins with.
pub const LOOKUP_DOMAIN: &[u8] = b"service-voucher/v1/card-lookup";

const VERSION: u8 = 1;

/// Eleven digits.
const LOOKUP_SPACE: u64 = 100_000_000_000;

/// A printed card. It holds the secret, which is wiped when the card is dropped.
pub struct Card {
    id: [u8; CARD_ID_BYTES],
    secret: [u8; SECRET_BYTES],
}

impl Card {
    /// A fresh card.
    pub fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        let mut card = Self { id: [0; CARD_ID_BYTES], secret: [0; SECRET_BYTES] };
        rng.fill_bytes(&mut card.id);
        rng.fill_bytes(&mut card.secret);
        card
    }

    /// Takes the text of a card apart.
    ///
    /// # Errors
    ///
    /// [`TokenError::TooLong`], [`TokenError::Prefix`], [`TokenError::Base45`] (also for a wrong number of bytes) or
    /// [`TokenError::CardVersion`].
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let bytes = Zeroizing::new(from_text(PREFIX, MAX_CHARS, text)?);
        let (version, rest) = bytes.split_first().ok_or(TokenError::Base45)?;
        if *version != VERSION {
            return Err(TokenError::CardVersion(*version));
        }
        let (id, secret) = rest.split_first_chunk().ok_or(TokenError::Base45)?;
        Ok(Self { id: *id, secret: secret.try_into().map_err(|_| TokenError::Base45)? })
    }

    /// The text to print as a QR. It is the secret: it is wiped when dropped, and belongs in no log.
    #[must_use]
    pub fn text(&self) -> Zeroizing<String> {
        let bytes = Zeroizing::new([&[VERSION][..], &self.id, &self.secret].concat());
        Zeroizing::new(to_text(PREFIX, &bytes))
    }

    /// The card's id, 16 bytes; not secret.
    #[must_use]
    pub fn id(&self) -> [u8; CARD_ID_BYTES] {
        self.id
    }

    /// The key that signs under one enrolment; its public half is what `CardIssued` publishes for it.
    ///
    /// # Panics
    ///
    /// Never: HKDF-SHA256 gives up to 8,160 bytes.
    #[must_use]
    pub fn key_for(&self, enrolment: [u8; ENROLMENT_ID_BYTES]) -> HolderKey {
        let mut seed = Zeroizing::new([0; 32]);
        Hkdf::<Sha256>::new(None, &self.secret)
            .expand_multi_info(&[KEY_DOMAIN, &self.id, &enrolment], seed.as_mut_slice())
            .expect("HKDF-SHA256 gives 32 bytes");
        HolderKey::ed25519(&seed)
    }

    /// The number printed on the card: twelve digits, the last of them the check digit.
    #[must_use]
    pub fn lookup_number(&self) -> String {
        lookup_number(&self.id)
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

/// Shows the lookup number and nothing of the secret.
impl std::fmt::Debug for Card {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Card").field("lookup_number", &self.lookup_number()).finish_non_exhaustive()
    }
}

/// The number of a card id: the first 8 bytes of SHA-256([`LOOKUP_DOMAIN`], id), big-endian, modulo 10^11, as eleven digits,
/// then the check digit. Two cards may share one: whoever looks a card up must expect several.
#[must_use]
pub fn lookup_number(id: &[u8; CARD_ID_BYTES]) -> String {
    let mut hash = Sha256::new();
    hash.update(LOOKUP_DOMAIN);
    hash.update(id);
    let [a, b, c, d, e, f, g, h, ..] = <[u8; 32]>::from(hash.finalize());
    let digits = format!("{:011}", u64::from_be_bytes([a, b, c, d, e, f, g, h]) % LOOKUP_SPACE);
    let check = damm(digits.bytes().map(|digit| digit - b'0'));
    format!("{digits}{check}")
}

/// The twelve digits of a typed number without its spaces and hyphens, if the check digit is right.
///
/// At most [`MAX_TYPED_CHARS`] are read; `None` for anything else.
#[must_use]
pub fn check_lookup_number(typed: &str) -> Option<String> {
    if typed.len() > MAX_TYPED_CHARS {
        return None;
    }
    let digits: String = typed.chars().filter(|char| !matches!(char, ' ' | '-')).collect();
    let good = digits.len() == LOOKUP_DIGITS
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && damm(digits.bytes().map(|digit| digit - b'0')) == 0;
    good.then_some(digits)
}

/// Damm's check digit of these digits (0 if the last of them is already the check digit).
fn damm(digits: impl Iterator<Item = u8>) -> u8 {
    /// A totally anti-symmetric quasigroup of order ten (H. M. Damm, 2004).
    const TABLE: [[u8; 10]; 10] = [
        [0, 3, 1, 7, 5, 9, 8, 6, 4, 2],
        [7, 0, 9, 2, 1, 5, 4, 8, 6, 3],
        [4, 2, 0, 6, 8, 7, 1, 3, 5, 9],
        [1, 7, 5, 0, 9, 8, 3, 4, 2, 6],
        [6, 1, 2, 3, 0, 4, 5, 9, 7, 8],
        [3, 6, 7, 4, 2, 0, 9, 5, 8, 1],
        [5, 8, 6, 9, 7, 2, 0, 1, 3, 4],
        [8, 9, 4, 5, 3, 6, 2, 0, 1, 7],
        [9, 4, 3, 8, 6, 1, 7, 2, 0, 5],
        [2, 5, 8, 1, 4, 3, 6, 7, 9, 0],
    ];
    digits.fold(0, |interim, digit| TABLE[usize::from(interim % 10)][usize::from(digit % 10)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_digit_catches_each_slip_of_one_digit_and_each_swap_of_neighbours() {
        assert_eq!(damm([5, 7, 2].into_iter()), 4, "the published example");
        for interim in 0..10 {
            for a in 0..10 {
                for b in (0..10).filter(|b| *b != a) {
                    // From any interim digit, another digit leads elsewhere, and so does the swapped pair.
                    let from = |digits: [u8; 2]| damm([interim].into_iter().chain(digits));
                    assert_ne!(from([a, 0]), from([b, 0]));
                    assert_ne!(from([a, b]), from([b, a]));
                }
            }
        }
        let number = lookup_number(&[7; CARD_ID_BYTES]);
        for place in 0..LOOKUP_DIGITS {
            let mut slip = number.clone().into_bytes();
            slip[place] = b'0' + (slip[place] - b'0' + 1) % 10;
            assert_eq!(check_lookup_number(std::str::from_utf8(&slip).unwrap()), None);
        }
        let spaced = format!("{} {}-{}", &number[..4], &number[4..8], &number[8..]);
        assert_eq!(check_lookup_number(&spaced), Some(number.clone()));
        for bad in ["", "12", "abcdefghijkl", "１２３４", &format!("{number}0"), &" ".repeat(4096)] {
            assert_eq!(check_lookup_number(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_card_survives_printing_and_keeps_its_secret() {
        let card = Card::generate(&mut rand::rng());
        let again = Card::parse(&card.text()).unwrap();
        assert_eq!(card.text().len(), MAX_CHARS);
        assert_eq!(again.key_for([5; 16]).public(), card.key_for([5; 16]).public());
        assert_ne!(card.key_for([6; 16]).public(), card.key_for([5; 16]).public(), "enrolments stay unlinked");
        assert_eq!(again.lookup_number(), card.lookup_number());
        assert_ne!(Card::generate(&mut rand::rng()).key_for([5; 16]).public(), card.key_for([5; 16]).public());
        let shown = format!("{card:?}");
        assert!(shown.contains(&card.lookup_number()) && !shown.contains("secret") && !shown.contains("id"), "{shown}");
    }

    #[test]
    fn what_is_no_card_is_refused() {
        let text = |bytes: &[u8]| to_text(PREFIX, bytes);
        let long = text(&[1; 34]);
        for (bad, why) in [
            ("VC1:", TokenError::Base45),
            ("VP1:00", TokenError::Prefix(PREFIX)),
            ("VC1:a0", TokenError::Base45),
            (&text(&[2; 33]), TokenError::CardVersion(2)),
            (&text(&[1; 32]), TokenError::Base45),
            (&text(&[1; 16]), TokenError::Base45),
            (&long, TokenError::TooLong { max: MAX_CHARS }),
        ] {
            assert_eq!(Card::parse(bad).unwrap_err(), why, "{bad}");
        }
    }
}
