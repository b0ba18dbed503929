//! What operators see: logs by `tracing`, numbers in the OpenMetrics text format.

use std::io::IsTerminal as _;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// Labels of an answered request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    /// HTTP method, one of few.
    pub method: &'static str,
    /// The route's pattern, never a path with ids in it.
    pub route: String,
    /// HTTP status.
    pub status: u16,
}

/// Labels of a log.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct LogLabels {
    /// Whose log.
    pub institution: String,
}

/// Labels of a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CertificateLabels {
    /// `node` or `public`.
    pub certificate: &'static str,
}

/// The node's numbers.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Requests answered.
    pub requests: Family<RequestLabels, Counter>,
    /// How long answers took, in seconds.
    pub request_seconds: Histogram,
    /// Entries of each log held here.
    pub log_size: Family<LogLabels, Gauge>,
    /// Polls of a peer's log that failed.
    pub poll_failures: Family<LogLabels, Counter>,
    /// Letters that wait for delivery.
    pub letters: Gauge,
    /// Commits that are on disk.
    pub commits: Gauge<i64>,
    /// Whether the node may write.
    pub may_write: Gauge,
    /// Bytes of the store and the journal that were read again.
    pub scrub_bytes: Counter,
    /// When a whole pass over them last ended, in seconds since 1970; 0 before the first.
    pub scrub_passed: Gauge,
    /// Peers that hold the own log as it is now.
    pub held_by: Gauge,
    /// Witnesses behind the newest cosigned head of the own log.
    pub cosignatures: Gauge,
    /// Entries under that head.
    pub cosigned_size: Gauge,
    /// Whether too few have for too long.
    pub quorum_missing: Gauge,
    /// Seconds that the next record of a log is ahead of the clock here, while it waits for that.
    pub log_too_early: Family<LogLabels, Gauge>,
    /// Seconds that the clock is ahead of the median of the peers'.
    pub clock_off: Gauge<f64, AtomicU64>,
    /// Seconds that the clock is ahead of the machine's, in the demo.
    pub clock_ahead: Gauge<u64, AtomicU64>,
    /// Until when each certificate holds, in seconds since 1970.
    pub certificate_not_after: Family<CertificateLabels, Gauge>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("voucher_node");
        let requests = Family::default();
        let request_seconds = Histogram::new(exponential_buckets(0.000_5, 2.0, 14));
        let (log_size, poll_failures) = (Family::default(), Family::default());
        let (letters, commits, may_write) = (Gauge::default(), Gauge::default(), Gauge::default());
        let clock_ahead = Gauge::<u64, AtomicU64>::default();
        let (held_by, scrub_passed, scrub_bytes) = (Gauge::default(), Gauge::default(), Counter::default());
        registry.register("scrub_bytes", "Stored bytes that were read again", scrub_bytes.clone());
        registry.register("scrub_passed_timestamp_seconds", "End of the last whole pass", scrub_passed.clone());
        registry.register("log_held_by", "Peers that hold the own log whole", held_by.clone());
        let (cosignatures, cosigned_size, quorum_missing) = (Gauge::default(), Gauge::default(), Gauge::default());
        registry.register("log_cosignatures", "Witnesses behind the newest cosigned head", cosignatures.clone());
        let missing = "1 while too few auditors have cosigned the own log for too long";
        registry.register("log_quorum_missing", missing, quorum_missing.clone());
        registry.register("log_cosigned_size", "Entries under the newest cosigned head", cosigned_size.clone());
        let (log_too_early, clock_off) = (Family::default(), Gauge::<f64, AtomicU64>::default());
        let certificate_not_after = Family::default();
        let name = "certificate_not_after_timestamp_seconds";
        registry.register(name, "Until when each certificate holds", certificate_not_after.clone());
        registry.register("requests", "Requests answered", requests.clone());
        registry.register_with_unit("request", "Time to answer", Unit::Seconds, request_seconds.clone());
        registry.register("log_entries", "Entries held of each log", log_size.clone());
        registry.register("poll_failures", "Polls of a peer's log that failed", poll_failures.clone());
        registry.register("letters_waiting", "Letters that wait for delivery", letters.clone());
        registry.register("durable_commit", "Number of the last commit on disk", commits.clone());
        registry.register("may_write", "1 once the start rule is satisfied", may_write.clone());
        registry.register("log_too_early_seconds", "How far ahead a waiting record is", log_too_early.clone());
        registry.register_with_unit("clock_off", "Ahead of the peers' median", Unit::Seconds, clock_off.clone());
        registry.register_with_unit("clock_ahead", "Demo clock", Unit::Seconds, clock_ahead.clone());
        Self {
            registry,
            requests,
            request_seconds,
            log_size,
            poll_failures,
            letters,
            commits,
            may_write,
            scrub_bytes,
            scrub_passed,
            held_by,
            cosignatures,
            cosigned_size,
            quorum_missing,
            log_too_early,
            clock_off,
            clock_ahead,
            certificate_not_after,
        }
    }
}

impl Metrics {
    /// The OpenMetrics text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        match encode(&mut text, &self.registry) {
            Ok(()) => text,
            Err(error) => {
                tracing::error!(%error, "metrics cannot be written");
                String::new()
            }
        }
    }
}

/// Starts logging on standard error: `RUST_LOG` filters, `json` for machines; colours on a terminal alone.
pub fn start_logging(json: bool) {
    use tracing_subscriber::prelude::*;
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info,sled=warn"));
    let registry = tracing_subscriber::registry().with(filter);
    let started = if json {
        registry.with(tracing_subscriber::fmt::layer().json().with_writer(std::io::stderr)).try_init()
    } else {
        let colours = std::io::stderr().is_terminal();
        registry.with(tracing_subscriber::fmt::layer().with_ansi(colours).with_writer(std::io::stderr)).try_init()
    };
    if let Err(error) = started {
        eprintln!("logging was started already: {error}");
    }
}
