//! How much anybody may ask: by address, by caller, and all together. What is too much is refused before it costs anything.
//!
//! Peers are bounded by the nonces of their signatures (node/src/api/seen.rs), bodies by node/src/api/answer.rs, connections by
//! node/src/door/.

use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use domain::ids::Operator;
use domain::reasons::Reason;
use governor::clock::{Clock as _, MonotonicClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use serde::{Deserialize, Serialize};

use crate::api::caller::Caller;
use crate::api::problem::Problem;

/// Most addresses or callers that are counted apart; beyond it those who are new are counted together.
const MAX_KEYS: usize = 100_000;

/// How often who has not come lately is forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(10);

/// How much anybody may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitRules {
    /// Requests a second from one address, and how many at once after a rest.
    pub address_per_sec: NonZeroU32,
    /// How many at once after a rest.
    pub address_burst: NonZeroU32,
    /// Requests a second of one holder.
    pub holder_per_sec: NonZeroU32,
    /// How many at once after a rest.
    pub holder_burst: NonZeroU32,
    /// Requests a second of one operator, whatever the session or token.
    pub operator_per_sec: NonZeroU32,
    /// How many at once after a rest.
    pub operator_burst: NonZeroU32,
    /// Connections from one address at each door.
    pub connections_per_address: NonZeroU32,
    /// Connections at each door. Beyond it the one that has been open longest, and over which no member and no operator has
    /// asked yet, makes room.
    pub connections: NonZeroU32,
    /// How long a caller may take to shake hands, in seconds.
    pub handshake_secs: NonZeroU32,
    /// How long the headers of each request may take to come, in seconds.
    pub head_secs: NonZeroU32,
    /// How long a connection is kept without a request, in seconds: longer than other nodes keep theirs
    /// (node/src/peers/client.rs).
    pub idle_secs: NonZeroU32,
    /// How long a caller may take to read 8 KiB of an answer, in seconds.
    pub unread_secs: NonZeroU32,
    /// Requests that are being answered at the same time, beside those that wait for a log to grow.
    pub under_way: NonZeroU32,
    /// Requests that wait for a log to grow.
    pub polls: NonZeroU32,
    /// Requests under way whose body is longer than 64 KiB, or comes without a length. Slow ones leave the other places alone.
    pub long_bodies: NonZeroU32,
    /// Whether addresses of this machine are counted too. A proxy has one address for everybody behind it.
    pub loopback: bool,
}

/// A number that is not zero, and one in place of zero.
pub(crate) const fn of(number: u32) -> NonZeroU32 {
    match NonZeroU32::new(number) {
        Some(number) => number,
        None => NonZeroU32::MIN,
    }
}

impl Default for LimitRules {
    fn default() -> Self {
        Self {
            address_per_sec: of(200),
            address_burst: of(2_000),
            holder_per_sec: of(20),
            holder_burst: of(200),
            operator_per_sec: of(1_000),
            operator_burst: of(5_000),
            connections_per_address: of(256),
            connections: of(4_096),
            handshake_secs: of(3),
            head_secs: of(10),
            idle_secs: of(20),
            unread_secs: of(20),
            under_way: of(512),
            polls: of(1_024),
            long_bodies: of(64),
            loopback: false,
        }
    }
}

impl LimitRules {
    /// Whether an address is counted.
    #[must_use]
    pub const fn counts(&self, address: IpAddr) -> bool {
        self.loopback || !address.to_canonical().is_loopback()
    }
}

/// A rate by key.
struct Rate<K: Clone + Eq + Hash> {
    known: DefaultKeyedRateLimiter<K>,
    /// For whoever is new when too many are known.
    others: K,
}

impl<K: Clone + Eq + Hash> Rate<K> {
    fn new(per_sec: NonZeroU32, burst: NonZeroU32, others: K) -> Self {
        Self { known: RateLimiter::dashmap(Quota::per_second(per_sec).allow_burst(burst)), others }
    }

    fn take(&self, key: K) -> Result<(), Problem> {
        let key = if self.known.len() >= MAX_KEYS { &self.others } else { &key };
        self.known.check_key(key).map_err(|until| {
            let wait = until.wait_time_from(MonotonicClock.now());
            let secs = u32::try_from(wait.as_millis().div_ceil(1_000)).unwrap_or(u32::MAX);
            Problem::new(Reason::TooManyRequests).retry_after(secs.max(1))
        })
    }

    fn forget(&self) {
        self.known.retain_recent();
        self.known.shrink_to_fit();
    }
}

/// What is counted.
pub struct Limits {
    rules: LimitRules,
    by_address: Rate<IpAddr>,
    by_holder: Rate<[u8; 8]>,
    by_operator: Rate<Operator>,
    under_way: [AtomicUsize; 3],
}

impl std::fmt::Debug for Limits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Limits").field("rules", &self.rules).finish_non_exhaustive()
    }
}

/// What an address is counted as: of IPv6, the network of one customer.
#[must_use]
pub fn counted(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from(u128::from(v6) >> 64 << 64)),
        v4 => v4,
    }
}

/// Among which others a request is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queue {
    /// Those that are being answered.
    UnderWay,
    /// Those that wait for a log to grow.
    Polls,
    /// Those whose body is long.
    LongBodies,
}

/// A request that is being answered, as long as it is.
#[derive(Debug)]
pub struct UnderWay {
    limits: Arc<Limits>,
    queue: Queue,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.limits.count(self.queue).fetch_sub(1, Ordering::AcqRel);
    }
}

impl Limits {
    /// Nothing counted yet.
    #[must_use]
    pub fn new(rules: LimitRules) -> Self {
        let operator = Operator(uuid::Uuid::nil());
        Self {
            rules,
            by_address: Rate::new(rules.address_per_sec, rules.address_burst, Ipv6Addr::UNSPECIFIED.into()),
            by_holder: Rate::new(rules.holder_per_sec, rules.holder_burst, [0; 8]),
            by_operator: Rate::new(rules.operator_per_sec, rules.operator_burst, operator),
            under_way: Default::default(),
        }
    }

    /// A request from an address.
    ///
    /// # Errors
    ///
    /// [`Reason::TooManyRequests`], with the time after which one more is taken.
    pub fn from_address(&self, address: IpAddr) -> Result<(), Problem> {
        if self.rules.counts(address) { self.by_address.take(counted(address)) } else { Ok(()) }
    }

    /// A request by a caller who has been recognised.
    ///
    /// # Errors
    ///
    /// As above.
    pub fn by(&self, caller: &Caller) -> Result<(), Problem> {
        match caller {
            Caller::Operator(acting) => self.by_operator.take(acting.operator),
            // Whose key a holder's is, only the wallet can say; a name that nobody proved counts against nobody.
            Caller::Anonymous | Caller::Peer(_) | Caller::Holder(_) => Ok(()),
        }
    }

    /// A request by a holder whose key has been found to be theirs.
    ///
    /// # Errors
    ///
    /// As above.
    pub fn by_holder(&self, kid: [u8; 8]) -> Result<(), Problem> {
        self.by_holder.take(kid)
    }

    /// A place among the requests that are being answered.
    ///
    /// # Errors
    ///
    /// [`Reason::Busy`]: all are taken. Whoever waits longer than that gains nothing, and holds up everybody.
    pub fn enter(self: &Arc<Self>, queue: Queue) -> Result<UnderWay, Problem> {
        let most = match queue {
            Queue::UnderWay => self.rules.under_way,
            Queue::Polls => self.rules.polls,
            Queue::LongBodies => self.rules.long_bodies,
        };
        let before = self.count(queue).fetch_add(1, Ordering::AcqRel);
        let place = UnderWay { limits: self.clone(), queue };
        if before >= usize::try_from(most.get()).unwrap_or(usize::MAX) {
            return Err(Reason::Busy.into());
        }
        Ok(place)
    }

    const fn count(&self, queue: Queue) -> &AtomicUsize {
        &self.under_way[queue as usize]
    }

    /// Forgets who has not come lately, again and again.
    pub async fn forget(self: Arc<Self>) {
        loop {
            tokio::time::sleep(FORGET_EVERY).await;
            self.by_address.forget();
            self.by_holder.forget();
            self.by_operator.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(change: impl FnOnce(&mut LimitRules)) -> Arc<Limits> {
        let mut rules = LimitRules::default();
        change(&mut rules);
        Arc::new(Limits::new(rules))
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_asks_so_much_and_keeps_no_other_from_asking() {
        let limits = limits(|rules| (rules.address_per_sec, rules.address_burst) = (of(1), of(3)));
        let table =
            [("192.0.2.1", "192.0.2.2", "another address"), ("2001:db8::1", "2001:db8:1::1", "another network")];
        for (one, other, what) in table {
            for _ in 0..3 {
                limits.from_address(address(one)).unwrap();
            }
            let problem = limits.from_address(address(one)).unwrap_err();
            assert_eq!((problem.reason, problem.retry_after_secs), (Reason::TooManyRequests, Some(1)), "{one}");
            limits.from_address(address(other)).unwrap_or_else(|_| panic!("{what}"));
        }
        limits.from_address(address("2001:db8::ffff")).expect_err("the same network");
        limits.from_address(address("::ffff:192.0.2.1")).expect_err("the same address");
        for _ in 0..10 {
            limits.from_address(address("127.0.0.1")).unwrap();
        }
    }

    #[test]
    fn places_are_given_back() {
        let limits = limits(|rules| (rules.under_way, rules.polls, rules.long_bodies) = (of(2), of(1), of(1)));
        let first = limits.enter(Queue::UnderWay).unwrap();
        let second = limits.enter(Queue::UnderWay).unwrap();
        assert_eq!(limits.enter(Queue::UnderWay).unwrap_err().reason, Reason::Busy);
        let others = [Queue::Polls, Queue::LongBodies].map(|queue| {
            let place = limits.enter(queue).unwrap();
            assert_eq!(limits.enter(queue).unwrap_err().reason, Reason::Busy, "{queue:?}");
            place
        });
        drop((first, others));
        let third = limits.enter(Queue::UnderWay).unwrap();
        assert!(limits.enter(Queue::Polls).is_ok());
        drop((second, third));
        assert!(limits.under_way.iter().all(|count| count.load(Ordering::SeqCst) == 0));
    }
}
