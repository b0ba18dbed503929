//! What was signed once counts once: signatures over requests are remembered as long as they could be repeated.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::Hash;

use actors::token::vp1;
use domain::ids::InstitutionId;
use domain::reasons::Reason;
use domain::time::{Millis, Timestamp};
use parking_lot::Mutex;

use super::caller::REQUEST_WINDOW;
use super::problem::Problem;
use crate::peers::signature;

/// Holders' signatures: kid and cti.
pub type SeenHolders = Seen<[u8; 8], [u8; 8], Holders>;

/// Peers' signatures: institution and nonce.
pub type SeenPeers = Seen<InstitutionId, [u8; 16], Peers>;

/// How much is remembered of whom.
pub trait Bounds {
    /// What is older is refused as stale.
    const WINDOW: Millis;
    /// Most that are remembered.
    const MOST: usize;
    /// Most of one key, so that nobody who may call takes the place of all others.
    const MOST_OF_ONE: usize;
}

/// The bounds for holders' signatures.
#[derive(Debug)]
pub enum Holders {}

impl Bounds for Holders {
    const WINDOW: Millis = REQUEST_WINDOW;
    const MOST: usize = 100_000;
    const MOST_OF_ONE: usize = 1_000;
}

/// The bounds for peers' signatures: who takes over a long log asks some hundred times a second.
#[derive(Debug)]
pub enum Peers {}

impl Bounds for Peers {
    const WINDOW: Millis = signature::WINDOW;
    const MOST: usize = 1_000_000;
    const MOST_OF_ONE: usize = 250_000;
}

/// Why a signature is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// It came before.
    Repeated,
    /// Too many came within the window.
    Crowded,
}

/// Remembers signatures by their key and what makes each unique.
#[derive(Debug)]
pub struct Seen<K, N, B>(Mutex<Remembered<K, N>>, std::marker::PhantomData<B>);

#[derive(Debug)]
struct Remembered<K, N> {
    by_key: HashMap<K, HashSet<N>>,
    /// Which were made in a second: the oldest are forgotten first, and only those are looked at.
    by_second: BTreeMap<i64, Vec<(K, N)>>,
    /// How many.
    count: usize,
}

impl<K: Eq + Hash, N: Eq + Hash> Remembered<K, N> {
    /// Forgets what is refused as stale by now.
    fn forget(&mut self, now: Timestamp, window: Millis) {
        let fresh = now.secs() - window.0 / 1_000;
        while let Some(oldest) = self.by_second.first_entry().filter(|second| *second.key() < fresh) {
            for (key, unique) in oldest.remove() {
                self.count -= 1;
                if let Some(of_one) = self.by_key.get_mut(&key) {
                    of_one.remove(&unique);
                    if of_one.is_empty() {
                        self.by_key.remove(&key);
                    }
                }
            }
        }
    }
}

impl SeenHolders {
    /// Takes a holder's signature over a request once.
    ///
    /// # Errors
    ///
    /// [`Reason::PresentationReplayed`]; [`Reason::Busy`] if too many came within the window.
    pub fn once(&self, claims: &vp1::Claims, now: Timestamp) -> Result<(), Problem> {
        self.first(claims.kid, claims.cti, claims.iat, now).map_err(|again| match again {
            Again::Repeated => Reason::PresentationReplayed.into(),
            Again::Crowded => Reason::Busy.into(),
        })
    }
}

impl<K, N, B> Default for Seen<K, N, B> {
    fn default() -> Self {
        let nothing = Remembered { by_key: HashMap::new(), by_second: BTreeMap::new(), count: 0 };
        Self(Mutex::new(nothing), std::marker::PhantomData)
    }
}

impl<K: Copy + Eq + Hash, N: Copy + Eq + Hash, B: Bounds> Seen<K, N, B> {
    /// Takes a signature once, made in that second. Only for one that was verified: what nobody signed would crowd out what
    /// others sign.
    ///
    /// # Errors
    ///
    /// [`Again`].
    pub fn first(&self, key: K, unique: N, made_secs: i64, now: Timestamp) -> Result<(), Again> {
        let mut seen = self.0.lock();
        seen.forget(now, B::WINDOW);
        let is_full = seen.count >= B::MOST;
        let of_one = seen.by_key.get(&key);
        if of_one.is_some_and(|known| known.contains(&unique)) {
            return Err(Again::Repeated);
        }
        if is_full || of_one.is_some_and(|known| known.len() >= B::MOST_OF_ONE) {
            return Err(Again::Crowded);
        }
        seen.by_key.entry(key).or_default().insert(unique);
        seen.by_second.entry(made_secs).or_default().push((key, unique));
        seen.count += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_millis(secs * 1_000)
    }

    #[test]
    fn a_signature_counts_once_as_long_as_it_could_be_repeated() {
        let seen = SeenHolders::default();
        let first = |kid, cti, iat, now| seen.first([kid; 8], [cti; 8], iat, at(now));
        assert_eq!(first(1, 1, 1_000, 1_000), Ok(()));
        assert_eq!(first(1, 1, 1_000, 1_060), Err(Again::Repeated));
        assert_eq!(first(1, 2, 1_000, 1_060), Ok(()));
        assert_eq!(first(2, 1, 1_060, 1_000), Ok(()), "another's, by a clock that is ahead");
        assert_eq!(first(2, 1, 1_060, 1_120), Err(Again::Repeated));
        assert_eq!(seen.0.lock().count, 1, "what is stale is forgotten");
    }

    #[test]
    fn one_key_crowds_out_nobody_and_what_is_full_is_free_again_after_the_window() {
        let seen = SeenHolders::default();
        let first = |kid: u64, cti: u64, now| seen.first(kid.to_be_bytes(), cti.to_be_bytes(), now, at(now));
        let (one, all) = (Holders::MOST_OF_ONE as u64, Holders::MOST as u64);
        for cti in 0..one {
            assert_eq!(first(0, cti, 1_000), Ok(()));
        }
        assert_eq!(first(0, one, 1_000), Err(Again::Crowded));
        for kid in one..all {
            assert_eq!(first(kid, 0, 1_000), Ok(()));
        }
        assert_eq!(first(all, 0, 1_000), Err(Again::Crowded));
        assert_eq!(first(0, 0, 1_000), Err(Again::Repeated), "also while full");
        assert_eq!(first(all, 0, 1_061), Ok(()));
        let left = seen.0.lock();
        assert_eq!((left.count, left.by_key.len()), (1, 1));
    }
}
