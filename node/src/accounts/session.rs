//! Sessions: who has signed in, for how long, kept in memory alone. A restart ends them all.

use std::collections::HashMap;

use domain::time::{Millis, Timestamp};
use sha2::Digest as _;
use uuid::Uuid;

/// Most sessions of one account; the one that was used longest ago ends for a new one.
pub const MAX_SESSIONS_OF_AN_ACCOUNT: usize = 16;

/// What the text of a session begins with.
pub const SESSION_PREFIX: &str = "vns_";

/// What the text of a token begins with.
pub const TOKEN_PREFIX: &str = "vnt_";

/// SHA-256 of a secret text: the only thing that is kept of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SecretDigest(pub [u8; 32]);

impl SecretDigest {
    /// The digest of a text.
    #[must_use]
    pub fn of(text: &str) -> Self {
        Self(sha2::Sha256::digest(text).into())
    }
}

/// A secret of 256 random bits behind a prefix, base64url.
#[must_use]
pub fn secret(prefix: &str) -> String {
    use base64::Engine as _;
    let bytes: [u8; 32] = rand::random();
    format!("{prefix}{}", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes))
}

/// How long sessions last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Without a request.
    pub idle: Millis,
    /// In all.
    pub absolute: Millis,
}

/// By what somebody proved who they are when a session began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// A password of this node.
    Password,
    /// The word of the identity provider.
    Provider,
}

/// Somebody who has signed in.
#[derive(Debug, Clone)]
pub struct Session {
    /// Random id, no secret.
    pub id: Uuid,
    /// Whose.
    pub account: Uuid,
    /// By what it began.
    pub proof: Proof,
    /// What a page sends back with each request that changes something.
    pub csrf: String,
    /// Since when.
    pub began: Timestamp,
    /// The last request.
    pub used: Timestamp,
}

/// All sessions. The clock comes in by argument.
#[derive(Debug, Default)]
pub struct Sessions(HashMap<SecretDigest, Session>);

impl Sessions {
    /// Begins a session; its secret text is known to nobody but the caller.
    pub fn begin(&mut self, account: Uuid, proof: Proof, now: Timestamp, limits: Limits) -> (String, Session) {
        self.0.retain(|_, session| is_on(session, now, limits));
        let of_account = self.0.iter().filter(|(_, s)| s.account == account);
        if of_account.clone().count() >= MAX_SESSIONS_OF_AN_ACCOUNT
            && let Some(oldest) = of_account.min_by_key(|(_, s)| s.used).map(|(digest, _)| *digest)
        {
            self.0.remove(&oldest);
        }
        let text = secret(SESSION_PREFIX);
        let session = Session { id: Uuid::new_v4(), account, proof, csrf: secret("vnc_"), began: now, used: now };
        self.0.insert(SecretDigest::of(&text), session.clone());
        (text, session)
    }

    /// The session of a secret, which is used with that. One that is over is gone.
    pub fn find(&mut self, secret: SecretDigest, now: Timestamp, limits: Limits) -> Option<Session> {
        let session = self.0.get_mut(&secret)?;
        if !is_on(session, now, limits) {
            self.0.remove(&secret);
            return None;
        }
        session.used = session.used.max(now);
        Some(session.clone())
    }

    /// Those of an account that are open, the newest first.
    pub fn of(&self, account: Uuid, now: Timestamp, limits: Limits) -> Vec<Session> {
        let open = self.0.values().filter(|session| session.account == account && is_on(session, now, limits));
        let mut all: Vec<Session> = open.cloned().collect();
        all.sort_by_key(|session| std::cmp::Reverse((session.began, session.id)));
        all
    }

    /// Ends one.
    pub fn end(&mut self, id: Uuid) {
        self.0.retain(|_, session| session.id != id);
    }

    /// Ends all of an account, but one.
    pub fn end_all(&mut self, account: Uuid, but: Option<Uuid>) {
        self.0.retain(|_, session| session.account != account || Some(session.id) == but);
    }

    /// A session with a text that is known beforehand.
    #[cfg(test)]
    pub(crate) fn plant(&mut self, text: &str, account: Uuid, now: Timestamp) {
        let (id, csrf) = (Uuid::new_v4(), "vnc_planted".to_owned());
        let session = Session { id, account, proof: Proof::Password, csrf, began: now, used: now };
        self.0.insert(SecretDigest::of(text), session);
    }
}

fn is_on(session: &Session, now: Timestamp, limits: Limits) -> bool {
    now < session.used + limits.idle && now < session.began + limits.absolute
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Timestamp = Timestamp::from_millis(1_772_409_600_000);
    const LIMITS: Limits = Limits { idle: Millis::minutes(30), absolute: Millis::hours(12) };

    #[test]
    fn a_session_ends_at_its_limits_to_the_second() {
        let mut sessions = Sessions::default();
        let at = |secs| NOON + Millis::secs(secs);
        let (text, session) = sessions.begin(Uuid::nil(), Proof::Password, NOON, LIMITS);
        let digest = SecretDigest::of(&text);
        assert_eq!(sessions.find(digest, at(1_799), LIMITS).map(|s| s.id), Some(session.id));
        assert!(sessions.find(digest, at(1_799 + 1_799), LIMITS).is_some(), "each request counts anew");
        assert!(sessions.find(digest, at(1_799 + 1_799 + 1_800), LIMITS).is_none(), "idle");
        assert!(sessions.find(digest, at(1_799 + 1_799), LIMITS).is_none(), "over is over");

        let (text, _) = sessions.begin(Uuid::nil(), Proof::Password, NOON, LIMITS);
        let digest = SecretDigest::of(&text);
        for minutes in 1..720 {
            assert!(sessions.find(digest, NOON + Millis::minutes(minutes), LIMITS).is_some(), "{minutes}");
        }
        assert!(sessions.find(digest, NOON + Millis::secs(12 * 3_600 - 1), LIMITS).is_some());
        assert!(sessions.find(digest, NOON + Millis::hours(12), LIMITS).is_none(), "absolute");
    }

    #[test]
    fn sessions_are_ended_one_by_one_all_together_and_when_there_are_too_many() {
        let mut sessions = Sessions::default();
        let (a, b) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let begin = |sessions: &mut Sessions, account, secs| {
            let (text, session) = sessions.begin(account, Proof::Password, NOON + Millis::secs(secs), LIMITS);
            (SecretDigest::of(&text), session.id)
        };
        let first = begin(&mut sessions, a, 0);
        let rest: Vec<_> = (1..=MAX_SESSIONS_OF_AN_ACCOUNT as i64).map(|n| begin(&mut sessions, a, n)).collect();
        let other = begin(&mut sessions, b, 0);
        let now = NOON + Millis::secs(20);
        assert!(sessions.find(first.0, now, LIMITS).is_none(), "the oldest made way");
        sessions.end(rest[0].1);
        assert!(sessions.find(rest[0].0, now, LIMITS).is_none());
        sessions.end_all(a, Some(rest[1].1));
        assert!(sessions.find(rest[1].0, now, LIMITS).is_some() && sessions.find(rest[2].0, now, LIMITS).is_none());
        assert!(sessions.find(other.0, now, LIMITS).is_some(), "somebody else's");
    }
}
