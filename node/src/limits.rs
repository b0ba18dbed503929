//! How much anybody may ask: by address, by caller, and all together. What is too much is refused before it costs anything.
//!
//! Peers are bounded by the nonces of their signatures (node/src/api/seen.rs), bodies and times by node/src/api/answer.rs.

use std::any::Any;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix_web::dev::Extensions;
use actix_web::rt::net::TcpStream;
use domain::ids::Operator;
use domain::reasons::Reason;
use governor::clock::{Clock as _, MonotonicClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use parking_lot::Mutex;
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
    /// Connections from one address.
    pub connections_per_address: NonZeroU32,
    /// Requests that are being answered at the same time, beside those that wait for a log to grow.
    pub under_way: NonZeroU32,
    /// Requests that wait for a log to grow.
    pub polls: NonZeroU32,
    /// Whether addresses of this machine are counted too. A proxy has one address for everybody behind it.
    pub loopback: bool,
}

/// A number that is not zero, and one in place of zero.
const fn of(number: u32) -> NonZeroU32 {
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
            under_way: of(512),
            polls: of(1_024),
            loopback: false,
        }
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
    connections: Mutex<HashMap<IpAddr, u32>>,
    under_way: AtomicUsize,
    polls: AtomicUsize,
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

/// A connection from an address, as long as it is open.
#[derive(Debug)]
pub struct Connection {
    limits: Arc<Limits>,
    address: IpAddr,
    /// There were too many from this address when it was opened.
    pub is_one_too_many: bool,
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut connections = self.limits.connections.lock();
        if let Some(open) = connections.get_mut(&self.address) {
            *open -= 1;
            if *open == 0 {
                connections.remove(&self.address);
            }
        }
    }
}

/// A request that is being answered, as long as it is.
#[derive(Debug)]
pub struct UnderWay {
    limits: Arc<Limits>,
    is_poll: bool,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.limits.count(self.is_poll).fetch_sub(1, Ordering::AcqRel);
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
            connections: Mutex::default(),
            under_way: AtomicUsize::new(0),
            polls: AtomicUsize::new(0),
        }
    }

    fn is_counted(&self, address: IpAddr) -> bool {
        self.rules.loopback || !address.to_canonical().is_loopback()
    }

    /// A request from an address.
    ///
    /// # Errors
    ///
    /// [`Reason::TooManyRequests`], with the time after which one more is taken.
    pub fn from_address(&self, address: IpAddr) -> Result<(), Problem> {
        if self.is_counted(address) { self.by_address.take(counted(address)) } else { Ok(()) }
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
    pub fn enter(self: &Arc<Self>, is_poll: bool) -> Result<UnderWay, Problem> {
        let most = if is_poll { self.rules.polls } else { self.rules.under_way };
        let before = self.count(is_poll).fetch_add(1, Ordering::AcqRel);
        let place = UnderWay { limits: self.clone(), is_poll };
        if before >= usize::try_from(most.get()).unwrap_or(usize::MAX) {
            return Err(Reason::Busy.into());
        }
        Ok(place)
    }

    const fn count(&self, is_poll: bool) -> &AtomicUsize {
        if is_poll { &self.polls } else { &self.under_way }
    }

    /// A connection that was opened; none from an address that is not counted.
    pub fn connected(self: &Arc<Self>, address: IpAddr) -> Option<Connection> {
        if !self.is_counted(address) {
            return None;
        }
        let address = counted(address);
        let mut connections = self.connections.lock();
        let open = connections.entry(address).or_default();
        *open += 1;
        let is_one_too_many = *open > self.rules.connections_per_address.get();
        drop(connections);
        Some(Connection { limits: self.clone(), address, is_one_too_many })
    }

    /// Counts a connection when the server takes it.
    pub fn on_connect(self: &Arc<Self>, io: &dyn Any, data: &mut Extensions) {
        let plain = io.downcast_ref::<TcpStream>();
        let tls = io.downcast_ref::<actix_tls::accept::rustls_0_23::TlsStream<TcpStream>>();
        let stream = plain.or_else(|| tls.map(|tls| tls.get_ref().0));
        let address = stream.and_then(|stream| stream.peer_addr().ok());
        if let Some(connection) = address.and_then(|address| self.connected(address.ip())) {
            data.insert(connection);
        }
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
        let limits = limits(|rules| (rules.under_way, rules.polls) = (of(2), of(1)));
        let first = limits.enter(false).unwrap();
        let second = limits.enter(false).unwrap();
        assert_eq!(limits.enter(false).unwrap_err().reason, Reason::Busy);
        let poll = limits.enter(true).unwrap();
        assert_eq!(limits.enter(true).unwrap_err().reason, Reason::Busy);
        drop((first, poll));
        let third = limits.enter(false).unwrap();
        assert!(limits.enter(true).is_ok());
        drop((second, third));
        assert_eq!(limits.under_way.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn connections_are_counted_by_address_while_they_are_open() {
        let limits = limits(|rules| rules.connections_per_address = of(2));
        let open = |text: &str| limits.connected(address(text)).unwrap();
        let kept = [open("192.0.2.1"), open("192.0.2.1")];
        assert!(!kept[1].is_one_too_many && open("192.0.2.1").is_one_too_many);
        assert!(!open("192.0.2.2").is_one_too_many);
        drop(kept);
        assert!(!open("192.0.2.1").is_one_too_many);
        assert!(limits.connections.lock().is_empty() && limits.connected(address("::1")).is_none());
    }
}
