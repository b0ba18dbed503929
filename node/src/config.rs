//! The configuration of a node: a TOML file, then environment variables such as `VOUCHER__HTTP__BIND`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use chrono::FixedOffset;
use domain::ids::InstitutionId;
use domain::member::Role;
use domain::time::Millis;
use serde::{Deserialize, Serialize};

/// Longest time that an answer may wait for peers, in milliseconds.
pub const MAX_ACKNOWLEDGE_WAIT_MILLIS: u64 = 60_000;

/// Everything that an operator decides.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Format of this file; 1 is the only one yet.
    pub version: u32,
    /// Short stable id of the institution.
    pub institution: InstitutionId,
    /// Its roles.
    pub roles: Vec<Role>,
    /// What the names of the federation's logs begin with.
    pub federation: String,
    /// Time zone of opening hours and statistics, minutes east of UTC.
    #[serde(default = "shanghai_minutes")]
    pub utc_offset_minutes: i32,
    /// Where the node listens.
    pub http: Http,
    /// Where it keeps what it knows.
    pub store: Store,
    /// The trust anchor.
    pub registrar: Registrar,
    /// How it follows the others.
    #[serde(default)]
    pub peers: Peers,
    /// How long it keeps personal data.
    #[serde(default)]
    pub retention: Retention,
}

/// How long personal data is kept that nobody has asked to erase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// A hospital's openings and evidence, in days after their slot. Longer where a settlement can still be corrected.
    pub opening_days: u16,
    /// An issuer's openings of claims, in days after they came.
    pub claim_days: u16,
    /// A voucher module's results, in days after they came.
    pub result_days: u16,
}

impl Default for Retention {
    fn default() -> Self {
        Self { opening_days: 30, claim_days: 120, result_days: 30 }
    }
}

impl From<Retention> for actors::personal::Retention {
    fn from(days: Retention) -> Self {
        let millis = |days: u16| Millis::days(i64::from(days));
        Self { openings: millis(days.opening_days), claims: millis(days.claim_days), results: millis(days.result_days) }
    }
}

/// Where the node listens.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// Address and port. Only loopback until transport security is configured.
    pub bind: SocketAddr,
    /// The base URL at which others reach it.
    pub url: String,
    /// Threads that serve requests.
    #[serde(default = "two")]
    pub workers: usize,
}

/// Where the node keeps what it knows.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Store {
    /// Directory of journal and store.
    pub dir: PathBuf,
    /// Directory of the keys.
    pub keys: PathBuf,
    /// File of the keys of personal data, each overwritten when its row is erased; `vault` in `dir` if it is not said. A
    /// copy of it is a copy of what is erased later.
    #[serde(default)]
    pub vault: Option<PathBuf>,
    /// Free disk space below which nothing is accepted, in MiB.
    #[serde(default = "disk_floor")]
    pub min_free_disk_mib: u64,
    /// How much of what is stored is read again in the background, in KiB a second; 0 for nothing.
    #[serde(default = "scrub_kib_per_sec")]
    pub scrub_kib_per_sec: u64,
    /// A directory that a reboot empties.
    #[serde(default = "marker_dir")]
    pub marker_dir: PathBuf,
}

/// The trust anchor: whose word on members and keys is taken.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registrar {
    /// Its institution.
    pub institution: InstitutionId,
    /// Its base URL.
    pub url: String,
    /// The verification key of its log. Empty on the registrar itself.
    #[serde(default)]
    pub log_vkey: String,
}

/// How it follows the others.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Peers {
    /// How long a poll waits at the other side, in seconds.
    pub poll_wait_secs: u64,
    /// Longest rest after failures, in milliseconds.
    pub max_backoff_millis: u64,
    /// How often heads are compared with another peer, in seconds; 0 for never.
    pub compare_secs: u64,
    /// How many peers must hold what was written before it is acknowledged; 0 for this node's own disk alone.
    pub acknowledge: usize,
    /// How long an answer waits for that, in milliseconds.
    pub acknowledge_wait_millis: u64,
    /// Origins' institutions whose answer the start rule always asks for, beside the registrar.
    pub witnesses: Vec<InstitutionId>,
}

impl Default for Peers {
    fn default() -> Self {
        Self {
            poll_wait_secs: 20,
            max_backoff_millis: 5_000,
            compare_secs: 5,
            acknowledge: 0,
            acknowledge_wait_millis: 5_000,
            witnesses: Vec::new(),
        }
    }
}

const fn shanghai_minutes() -> i32 {
    8 * 60
}
const fn two() -> usize {
    2
}
const fn disk_floor() -> u64 {
    512
}
const fn scrub_kib_per_sec() -> u64 {
    1_024
}
fn marker_dir() -> PathBuf {
    PathBuf::from("/dev/shm")
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read, or has a field that is not known.
    #[error(transparent)]
    Unreadable(#[from] config::ConfigError),
    /// A value cannot be.
    #[error("{field}: {why}")]
    Value {
        /// Which field.
        field: &'static str,
        /// Why.
        why: String,
    },
}

impl Config {
    /// Reads a file, and what the environment changes about it.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the field.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let source = config::Config::builder()
            .add_source(config::File::from(path).format(config::FileFormat::Toml))
            .add_source(config::Environment::with_prefix("VOUCHER").separator("__").try_parsing(true))
            .build()?;
        let config: Self = source.try_deserialize()?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let bad = |field, why: &str| Err(ConfigError::Value { field, why: why.to_owned() });
        if self.version != 1 {
            return bad("version", "this node reads version 1");
        }
        if self.roles.is_empty() {
            return bad("roles", "an institution has at least one role");
        }
        let host_like = |c: char| c.is_ascii_alphanumeric() || ".-/".contains(c);
        if self.federation.is_empty() || self.federation.len() > 200 || !self.federation.chars().all(host_like) {
            return bad("federation", "1 to 200 characters of a-z, 0-9, '.', '-', '/'");
        }
        if self.offset().is_none() {
            return bad("utc_offset_minutes", "less than a day");
        }
        if !self.http.bind.ip().is_loopback() {
            return bad("http.bind", "only a loopback address: this version has no transport security");
        }
        if self.peers.acknowledge_wait_millis > MAX_ACKNOWLEDGE_WAIT_MILLIS {
            return bad("peers.acknowledge_wait_millis", "at most a minute: somebody waits");
        }
        let Retention { opening_days, claim_days, result_days } = self.retention;
        if [opening_days, claim_days, result_days].contains(&0) {
            return bad("retention", "at least one day: what is erased at once cannot be shown, claimed or checked");
        }
        if self.institution != self.registrar.institution && self.registrar.log_vkey.is_empty() {
            return bad("registrar.log_vkey", "the trust anchor's key is needed; the registrar's `init` prints it");
        }
        Ok(())
    }

    /// Where the keys of personal data are.
    #[must_use]
    pub fn vault(&self) -> PathBuf {
        self.store.vault.clone().unwrap_or_else(|| self.store.dir.join("vault"))
    }

    /// The time zone of opening hours and statistics.
    #[must_use]
    pub const fn offset(&self) -> Option<FixedOffset> {
        FixedOffset::east_opt(self.utc_offset_minutes * 60)
    }

    /// The name of this institution's log.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("{}/{}", self.federation, self.institution)
    }

    /// Whether this institution is the trust anchor.
    #[must_use]
    pub fn is_registrar(&self) -> bool {
        self.institution == self.registrar.institution
    }
}
