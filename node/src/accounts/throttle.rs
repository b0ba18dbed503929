//! How often somebody may try to sign in: counted by name, whether there is such an account or not, and by address.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;

use domain::time::{Millis, Timestamp};

use crate::limits::counted;

/// Wrong passwords for one name before it is locked.
pub const FAILURES_OF_A_NAME: u32 = 5;

/// Wrong passwords from one address before it is locked. Many desks may stand behind one.
pub const FAILURES_OF_AN_ADDRESS: u32 = 50;

/// The first lock; each further failure doubles it.
pub const FIRST_LOCK: Millis = Millis::secs(30);

/// Longest lock: whoever knows a name can keep its owner out no longer than this at a time.
pub const LONGEST_LOCK: Millis = Millis::minutes(15);

/// Without a failure for so long, nothing is held against anybody.
pub const FORGET_AFTER: Millis = Millis::hours(1);

/// Most names and most addresses that are remembered; those longest silent are forgotten first.
pub const MAX_REMEMBERED: usize = 10_000;

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last: Timestamp,
    locked_until: Timestamp,
}

/// Failed tries to sign in. The clock comes in by argument.
#[derive(Debug, Default)]
pub struct Throttle {
    names: HashMap<String, Failures>,
    addresses: HashMap<IpAddr, Failures>,
}

impl Throttle {
    /// Whether somebody may try now. The try counts as failed until [`Throttle::succeeded`] says otherwise, so that tries at
    /// the same time are counted too.
    ///
    /// # Errors
    ///
    /// The time that is left, if name or address is locked.
    pub fn attempt(&mut self, name: &str, address: Option<IpAddr>, now: Timestamp) -> Result<(), Millis> {
        let address = address.map(counted);
        let locks = [
            self.names.get(name).map(|f| f.locked_until),
            address.and_then(|a| self.addresses.get(&a)).map(|f| f.locked_until),
        ];
        if let Some(until) = locks.into_iter().flatten().max().filter(|until| now < *until) {
            return Err(Millis(until.millis() - now.millis()));
        }
        fail(&mut self.names, name.to_owned(), FAILURES_OF_A_NAME, now);
        if let Some(address) = address {
            fail(&mut self.addresses, address, FAILURES_OF_AN_ADDRESS, now);
        }
        Ok(())
    }

    /// The same where the provider is told a name, and this node is told none.
    ///
    /// # Errors
    ///
    /// As above.
    pub fn attempt_from(&mut self, address: IpAddr, now: Timestamp) -> Result<(), Millis> {
        let address = counted(address);
        let lock = self.addresses.get(&address).map(|f| f.locked_until);
        if let Some(until) = lock.filter(|until| now < *until) {
            return Err(Millis(until.millis() - now.millis()));
        }
        fail(&mut self.addresses, address, FAILURES_OF_AN_ADDRESS, now);
        Ok(())
    }

    /// The try was no failure: nothing is held against the name, and one less against the address.
    pub fn succeeded(&mut self, name: &str, address: Option<IpAddr>) {
        self.names.remove(name);
        self.succeeded_from(address);
    }

    /// One failure less against an address.
    pub fn succeeded_from(&mut self, address: Option<IpAddr>) {
        if let Some(failures) = address.and_then(|a| self.addresses.get_mut(&counted(a))) {
            failures.count = failures.count.saturating_sub(1);
            // Only the lock that this very try would have set: others' failures stay.
            if failures.count < FAILURES_OF_AN_ADDRESS {
                failures.locked_until = Timestamp::MIN;
            }
        }
    }
}

fn fail<K: Hash + Eq + Clone>(all: &mut HashMap<K, Failures>, key: K, most: u32, now: Timestamp) {
    if all.len() >= MAX_REMEMBERED && !all.contains_key(&key) {
        all.retain(|_, f| now < f.last + FORGET_AFTER);
        if all.len() >= MAX_REMEMBERED
            && let Some(oldest) = all.iter().min_by_key(|(_, f)| f.last).map(|(key, _)| key.clone())
        {
            all.remove(&oldest);
        }
    }
    let failures = all.entry(key).or_insert(Failures { count: 0, last: now, locked_until: Timestamp::MIN });
    if now >= failures.last + FORGET_AFTER {
        failures.count = 0;
    }
    failures.count += 1;
    failures.last = now;
    if let Some(over) = failures.count.checked_sub(most) {
        let lock = FIRST_LOCK.0.saturating_mul(1 << over.min(16)).min(LONGEST_LOCK.0);
        failures.locked_until = now + Millis(lock);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Timestamp = Timestamp::from_millis(1_772_409_600_000);

    fn at(secs: i64) -> Timestamp {
        NOON + Millis::secs(secs)
    }

    #[test]
    fn a_name_is_locked_to_the_second_and_longer_each_time() {
        let mut throttle = Throttle::default();
        for n in 0..4 {
            assert_eq!(throttle.attempt("wang", None, at(n)), Ok(()), "{n}");
        }
        assert_eq!(throttle.attempt("wang", None, at(4)), Ok(()), "the fifth is tried, and locks");
        assert_eq!(throttle.attempt("wang", None, at(5)), Err(Millis::secs(29)));
        assert_eq!(throttle.attempt("li", None, at(5)), Ok(()), "another name is not");
        assert_eq!(throttle.attempt("wang", None, at(33)), Err(Millis::secs(1)));
        assert_eq!(throttle.attempt("wang", None, at(34)), Ok(()), "the lock is over");
        assert_eq!(throttle.attempt("wang", None, at(34)), Err(Millis::secs(60)), "the next is twice as long");
        let mut now = at(94);
        for _ in 0..10 {
            assert_eq!(throttle.attempt("wang", None, now), Ok(()));
            let left = throttle.attempt("wang", None, now).unwrap_err();
            assert!(left <= LONGEST_LOCK, "{left:?}");
            now = now + left;
        }
        assert_eq!(throttle.attempt("wang", None, now), Ok(()));
        throttle.succeeded("wang", None);
        assert_eq!(throttle.attempt("wang", None, now), Ok(()), "who got in begins anew");
    }

    #[test]
    fn an_address_is_locked_whatever_the_names() {
        let (mut throttle, here) = (Throttle::default(), Some("192.0.2.7".parse().unwrap()));
        for n in 0..FAILURES_OF_AN_ADDRESS {
            assert_eq!(throttle.attempt(&format!("name-{n}"), here, NOON), Ok(()));
        }
        assert_eq!(throttle.attempt("another", here, NOON), Err(FIRST_LOCK));
        assert_eq!(throttle.attempt("another", Some("192.0.2.8".parse().unwrap()), NOON), Ok(()));
        for n in 0..FAILURES_OF_AN_ADDRESS {
            let one_of_a_network = format!("2001:db8::{n:x}").parse().unwrap();
            assert_eq!(throttle.attempt(&format!("name-{n}"), Some(one_of_a_network), NOON), Ok(()));
        }
        assert_eq!(throttle.attempt("another", Some("2001:db8::ffff".parse().unwrap()), NOON), Err(FIRST_LOCK));
        assert_eq!(throttle.attempt("another-2", here, NOON + FORGET_AFTER), Ok(()), "forgotten after an hour");
        assert_eq!(throttle.attempt("another-3", here, NOON + FORGET_AFTER), Ok(()));
    }

    #[test]
    fn an_address_is_locked_without_a_name_too() {
        let (mut throttle, here) = (Throttle::default(), "192.0.2.7".parse().unwrap());
        for _ in 0..FAILURES_OF_AN_ADDRESS {
            assert_eq!(throttle.attempt_from(here, NOON), Ok(()));
        }
        assert_eq!(throttle.attempt_from(here, NOON), Err(FIRST_LOCK));
        assert_eq!(throttle.attempt("li", Some(here), NOON), Err(FIRST_LOCK), "it is one lock");
        throttle.succeeded_from(Some(here));
        assert_eq!(throttle.attempt_from(here, NOON), Ok(()));
    }

    #[test]
    fn memory_is_bounded() {
        let mut throttle = Throttle::default();
        for n in 0..MAX_REMEMBERED + 5 {
            throttle.attempt(&n.to_string(), None, NOON + Millis(n as i64)).unwrap();
        }
        assert_eq!(throttle.names.len(), MAX_REMEMBERED);
    }
}
