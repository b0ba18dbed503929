//! What is known of a provider, how long it holds, and when it is asked again. Moments come in by argument.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::jwk::KeySet;
use super::metadata::Metadata;

/// How often a provider is asked for its document and keys while nothing calls for more.
pub const REFRESH: Duration = Duration::from_secs(600);

/// Shortest time from one answer to the next question, however many unknown keys are named.
pub const REFETCH_REST: Duration = Duration::from_secs(60);

/// How long keys are believed that the provider does not confirm: one that was withdrawn dies within it.
pub const MAX_AGE: Duration = Duration::from_secs(24 * 3_600);

/// A provider as it was when it was last asked.
#[derive(Debug)]
pub struct Provider {
    /// Its endpoints.
    pub metadata: Metadata,
    /// Its keys.
    pub keys: KeySet,
}

/// What is known of a provider.
#[derive(Debug, Default)]
pub struct Known {
    held: Option<(Arc<Provider>, Instant)>,
    is_asked: bool,
}

/// What may be hoped for, where a key is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hope {
    /// The provider must be asked now.
    Ask,
    /// It is being asked.
    Wait,
    /// It was asked just now: there is no such key.
    None,
}

impl Known {
    /// The provider, unless it was silent too long.
    #[must_use]
    pub fn provider(&self, now: Instant) -> Option<Arc<Provider>> {
        let held = self.held.as_ref().filter(|(_, since)| now.saturating_duration_since(*since) < MAX_AGE);
        held.map(|(provider, _)| provider.clone())
    }

    /// Keeps what the provider has answered.
    pub fn keep(&mut self, provider: Provider, now: Instant) {
        *self = Self { held: Some((Arc::new(provider), now)), is_asked: false };
    }

    /// Somebody names a key that is not held.
    pub fn misses_a_key(&mut self, now: Instant) -> Hope {
        let is_fresh = |since: Instant| now.saturating_duration_since(since) < REFETCH_REST;
        match &self.held {
            _ if self.is_asked => Hope::Wait,
            Some((_, since)) if is_fresh(*since) => Hope::None,
            _ => {
                self.is_asked = true;
                Hope::Ask
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn provider() -> Provider {
        let at = "https://idp.example";
        let document = json!({
            "issuer": at, "authorization_endpoint": at, "token_endpoint": at, "jwks_uri": at,
        });
        let keys = json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "x": "A".repeat(43) }] });
        Provider {
            metadata: Metadata::parse(document.to_string().as_bytes(), at).unwrap(),
            keys: KeySet::parse(keys.to_string().as_bytes()).unwrap(),
        }
    }

    #[test]
    fn an_unknown_key_is_asked_for_once_a_minute() {
        let (mut known, began) = (Known::default(), Instant::now());
        let at = |secs| began + Duration::from_secs(secs);
        assert_eq!(known.misses_a_key(at(0)), Hope::Ask);
        assert_eq!(known.misses_a_key(at(90)), Hope::Wait, "until it answers");
        known.keep(provider(), at(100));
        assert_eq!(known.misses_a_key(at(100)), Hope::None);
        assert_eq!(known.misses_a_key(at(159)), Hope::None);
        assert_eq!(known.misses_a_key(at(160)), Hope::Ask);
        assert_eq!(known.misses_a_key(at(160)), Hope::Wait);
    }

    #[test]
    fn keys_that_nobody_confirms_die_within_a_day() {
        let (mut known, began) = (Known::default(), Instant::now());
        assert!(known.provider(began).is_none());
        known.keep(provider(), began);
        assert!(known.provider(began + MAX_AGE - Duration::from_secs(1)).is_some());
        assert!(known.provider(began + MAX_AGE).is_none());
    }
}
