//! Where time comes in: the only place that may ask the machine for it, directly or through the node.

use domain::time::Timestamp;

/// Tells the time. The node's real clock, the federation's clock of the demo, a test's hand.
pub trait Clock: Send + Sync + 'static {
    /// UTC now.
    fn now(&self) -> Timestamp;

    /// Whether records may be written by it: not while it is known to be too far off the clocks of the others.
    fn is_fit(&self) -> bool {
        true
    }
}

/// A clock that stands until it is set: for tests and simulations.
#[derive(Debug, Default)]
pub struct Hand(std::sync::atomic::AtomicI64);

impl Hand {
    /// A clock that stands at a time.
    #[must_use]
    pub const fn at(time: Timestamp) -> Self {
        Self(std::sync::atomic::AtomicI64::new(time.millis()))
    }

    /// Sets it.
    pub fn set(&self, time: Timestamp) {
        self.0.store(time.millis(), std::sync::atomic::Ordering::SeqCst);
    }
}

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(std::sync::atomic::Ordering::SeqCst))
    }
}
