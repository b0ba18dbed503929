//! The node's clock: the machine's time, moved forward in steps by the demo's federation clock, and nowhere else asked.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::SystemTime;

use actors::clock::Clock;
use domain::time::{Millis, Timestamp};

/// UTC from the machine, plus the steps that the demo took.
#[derive(Debug, Default)]
pub struct NodeClock {
    ahead_millis: AtomicI64,
    steps_allowed: bool,
    is_off: AtomicBool,
}

impl NodeClock {
    /// A clock that follows the machine.
    #[must_use]
    pub const fn real() -> Self {
        Self { ahead_millis: AtomicI64::new(0), steps_allowed: false, is_off: AtomicBool::new(false) }
    }

    /// A clock that may be moved forward: the demo's.
    #[must_use]
    pub const fn federation(ahead: Millis) -> Self {
        Self { ahead_millis: AtomicI64::new(ahead.0), steps_allowed: true, is_off: AtomicBool::new(false) }
    }

    /// Whether this clock may be moved.
    #[must_use]
    pub const fn is_federation(&self) -> bool {
        self.steps_allowed
    }

    /// How far it is ahead of the machine.
    #[must_use]
    pub fn ahead(&self) -> Millis {
        Millis(self.ahead_millis.load(Ordering::SeqCst))
    }

    /// Moves it forward to `ahead` of the machine. Never back; `false` if it may not be moved, or not that way.
    #[must_use]
    pub fn step_to(&self, ahead: Millis) -> bool {
        self.steps_allowed && self.ahead_millis.fetch_max(ahead.0, Ordering::SeqCst) <= ahead.0
    }

    /// Whether it was found too far off the clocks of the others: nothing is written by it then.
    pub fn set_off(&self, is_off: bool) {
        self.is_off.store(is_off, Ordering::SeqCst);
    }
}

/// The machine's time, which no step of the demo moves: what certificates are held against, here and elsewhere.
#[allow(clippy::disallowed_methods, reason = "the one place that asks the machine for the time")]
#[must_use]
pub fn machine_time() -> SystemTime {
    SystemTime::now()
}

impl Clock for NodeClock {
    #[allow(clippy::disallowed_methods, reason = "the one place that asks the machine for the time")]
    fn now(&self) -> Timestamp {
        Timestamp::from(chrono::Utc::now()) + self.ahead()
    }

    fn is_fit(&self) -> bool {
        !self.is_off.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_demos_clock_moves_and_only_forward() {
        assert!(!NodeClock::real().step_to(Millis::days(1)));
        let clock = NodeClock::federation(Millis(0));
        assert!(clock.step_to(Millis::days(2)));
        assert!(!clock.step_to(Millis::days(1)));
        assert_eq!(clock.ahead(), Millis::days(2));
    }
}
