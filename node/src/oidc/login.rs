//! Sign-ins that are under way at the provider: in bounded memory, each for one browser and one time. The clock comes in by
//! argument.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::time::{Millis, Timestamp};
use sha2::Digest as _;
use zeroize::Zeroizing;

use crate::accounts::session::{SecretDigest, secret};

/// How long somebody may take at the provider.
pub const LOGIN_WINDOW: Millis = Millis::minutes(10);

/// Most sign-ins under way; the one that began first makes way for a new one.
pub const MAX_PENDING: usize = 10_000;

/// What a sign-in begins with.
#[derive(Debug)]
pub struct Begun {
    /// The provider gives it back.
    pub state: String,
    /// The browser keeps it, as a cookie.
    pub browser: String,
    /// It comes back in the ID token.
    pub nonce: String,
    /// SHA-256 of the verifier, base64url (RFC 7636, S256).
    pub challenge: String,
}

/// A sign-in that has come back to its browser.
#[derive(Debug)]
pub struct Waiting {
    /// What the ID token must carry.
    pub nonce: String,
    /// What proves to the provider that who asked is who redeems the code.
    pub verifier: Zeroizing<String>,
}

#[derive(Debug)]
struct Pending {
    browser: SecretDigest,
    began: Timestamp,
    waiting: Waiting,
}

/// All sign-ins under way, by the digest of their state.
#[derive(Debug, Default)]
pub struct Logins(HashMap<SecretDigest, Pending>);

impl Logins {
    /// Begins one.
    pub fn begin(&mut self, now: Timestamp) -> Begun {
        self.0.retain(|_, pending| is_on(pending, now));
        if self.0.len() >= MAX_PENDING
            && let Some(first) = self.0.iter().min_by_key(|(_, pending)| pending.began).map(|(state, _)| *state)
        {
            self.0.remove(&first);
        }
        let [state, browser, nonce, verifier] = [(); 4].map(|()| secret(""));
        let challenge = URL_SAFE_NO_PAD.encode(sha2::Sha256::digest(&verifier));
        let waiting = Waiting { nonce: nonce.clone(), verifier: Zeroizing::new(verifier) };
        self.0.insert(SecretDigest::of(&state), Pending { browser: SecretDigest::of(&browser), began: now, waiting });
        Begun { state, browser, nonce, challenge }
    }

    /// Ends one, whatever comes of it. None if there is none of that state, it took too long, or another browser began it.
    pub fn take(&mut self, state: &str, browser: Option<&str>, now: Timestamp) -> Option<Waiting> {
        let pending = self.0.remove(&SecretDigest::of(state))?;
        let is_its_own = browser.is_some_and(|browser| SecretDigest::of(browser) == pending.browser);
        (is_its_own && is_on(&pending, now)).then_some(pending.waiting)
    }
}

fn is_on(pending: &Pending, now: Timestamp) -> bool {
    now < pending.began + LOGIN_WINDOW
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Timestamp = Timestamp::from_millis(1_772_409_600_000);

    #[test]
    fn a_sign_in_is_for_its_browser_once_and_for_ten_minutes() {
        let mut logins = Logins::default();
        let begun = logins.begin(NOON);
        let waiting = logins.take(&begun.state, Some(&begun.browser), NOON).unwrap();
        assert_eq!(waiting.nonce, begun.nonce);
        assert_eq!(URL_SAFE_NO_PAD.encode(sha2::Sha256::digest(waiting.verifier.as_bytes())), begun.challenge);
        assert!((43..=128).contains(&waiting.verifier.len()), "RFC 7636, section 4.1");
        assert!(logins.take(&begun.state, Some(&begun.browser), NOON).is_none(), "once");

        let other = logins.begin(NOON);
        for browser in [None, Some(""), Some(begun.browser.as_str())] {
            let begun = logins.begin(NOON);
            assert!(logins.take(&begun.state, browser, NOON).is_none(), "{browser:?}");
            assert!(logins.take(&begun.state, Some(&begun.browser), NOON).is_none(), "one try");
        }
        assert!(logins.take("guess", Some(&other.browser), NOON).is_none());
        let late = NOON + Millis::secs(599);
        assert!(logins.take(&other.state, Some(&other.browser), late).is_some());
        let other = logins.begin(NOON);
        assert!(logins.take(&other.state, Some(&other.browser), NOON + Millis::secs(600)).is_none());
    }

    #[test]
    fn memory_is_bounded() {
        let mut logins = Logins::default();
        let first = logins.begin(NOON);
        let second = logins.begin(NOON + Millis(1));
        for n in 2..=MAX_PENDING {
            logins.begin(NOON + Millis(n as i64));
        }
        assert_eq!(logins.0.len(), MAX_PENDING);
        assert!(logins.take(&first.state, Some(&first.browser), NOON).is_none());
        assert!(logins.take(&second.state, Some(&second.browser), NOON).is_some());
        logins.begin(NOON + LOGIN_WINDOW + Millis::minutes(1));
        assert_eq!(logins.0.len(), 1, "what is over is forgotten");
    }
}
