//! The way a ledger stops when it may not go on, and the named points where a test makes the process die.

use std::fmt;
use std::sync::Arc;

/// The exit code of a process that stopped because its storage failed or an invariant broke.
pub const EXIT_CODE: i32 = 70;

/// The names that [`point`] is called with, in the order of a commit and a store round.
pub const POINTS: [&str; 6] =
    ["opening", "journal-written", "journal-synced", "segment-sealing", "store-half", "store-syncing"];

type Hook = Arc<dyn Fn(&str) + Send + Sync>;

/// What happens on a fail-stop: the process exits with [`EXIT_CODE`], or, in a test, a hook hears the reason and the
/// thread that failed ends there.
#[derive(Clone, Default)]
pub struct Stop(Option<Hook>);

impl Stop {
    /// A stop for tests: `hook` hears the reason, and then the calling thread unwinds. The process goes on.
    pub fn hooked(hook: impl Fn(&str) + Send + Sync + 'static) -> Stop {
        Stop(Some(Arc::new(hook)))
    }

    /// Stops for `reason`. Nothing may go on from a state that is not on disk, so this never returns.
    pub fn stop(&self, reason: &str) -> ! {
        tracing::error!(reason, "the ledger stops");
        match &self.0 {
            Some(hook) => {
                hook(reason);
                std::panic::resume_unwind(Box::new(Stopped))
            }
            None => std::process::exit(EXIT_CODE),
        }
    }

    /// The value, or a stop that names what was being done.
    pub fn unless<T, E: fmt::Display>(&self, doing: &str, result: Result<T, E>) -> T {
        match result {
            Ok(value) => value,
            Err(error) => self.stop(&format!("{doing}: {error}")),
        }
    }
}

impl fmt::Debug for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Stop(hook)" } else { "Stop(exit)" })
    }
}

/// What a thread unwinds with after a hooked stop.
#[derive(Debug)]
pub struct Stopped;

/// Stops the process for `reason`: logs it and exits with [`EXIT_CODE`].
pub fn stop(reason: &str) -> ! {
    Stop::default().stop(reason)
}

/// A place where a test may make the process die as by `kill -9`: `VOUCHER_FAIL_POINT="name"` or `"name:nth"` aborts at
/// the nth (from 1) time it is reached. Compiled to nothing without debug assertions.
#[inline]
pub fn point(name: &str) {
    #[cfg(debug_assertions)]
    armed::reached(name);
    #[cfg(not(debug_assertions))]
    let _ = name;
}

#[cfg(debug_assertions)]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static ARMED: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static REACHED: AtomicU64 = AtomicU64::new(0);

    pub(super) fn reached(name: &str) {
        let armed = ARMED.get_or_init(|| {
            let text = std::env::var("VOUCHER_FAIL_POINT").ok()?;
            match text.split_once(':') {
                Some((name, nth)) => Some((name.to_owned(), nth.parse().ok()?)),
                None => Some((text, 1)),
            }
        });
        if let Some((armed, nth)) = armed
            && armed == name
            && REACHED.fetch_add(1, Ordering::SeqCst) + 1 == *nth
        {
            std::process::abort();
        }
    }
}
