//! The configuration of a node: a TOML file, then environment variables such as `VOUCHER__HTTP__BIND`.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use chrono::FixedOffset;
use domain::ids::{Digest, InstitutionId};
use domain::member::Role;
use domain::time::Millis;
use serde::{Deserialize, Serialize};

use crate::accounts::password::Cost;
use crate::accounts::session::Limits;
use crate::limits::LimitRules;
use crate::oidc::settings as oidc;

/// Longest time that an answer may wait for peers, in milliseconds.
pub const MAX_ACKNOWLEDGE_WAIT_MILLIS: u64 = 60_000;

/// Most free disk space that can be asked for, in MiB: a PiB.
pub const MAX_FREE_DISK_MIB: u64 = 1 << 30;

/// Most threads that serve requests.
pub const MAX_WORKERS: usize = 256;

/// Longest base URL of a node, in bytes: the registrar refuses a longer one.
pub const MAX_URL_BYTES: usize = 200;

/// Longest wait of a poll, in seconds.
pub const MAX_POLL_WAIT_SECS: u64 = 300;

/// Longest rest after failures, in milliseconds.
pub const MAX_BACKOFF_MILLIS: u64 = 600_000;

/// Longest time between two comparisons of heads, in seconds: a day.
pub const MAX_COMPARE_SECS: u64 = 86_400;

/// Most names in the node's certificate beside its host.
pub const MAX_NAMES: usize = 32;

/// What the names of variables begin with that set a field, in lower case.
const ENVIRONMENT: &str = "voucher__";

/// Lists that the environment may set, their entries parted by commas.
const LISTS: [&str; 3] = ["roles", "peers.witnesses", "tls.names"];

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
    /// Where it listens with transport security; without it, only on this machine.
    #[serde(default)]
    pub tls: Option<Tls>,
    /// Who may read its log.
    #[serde(default)]
    pub log: LogRules,
    /// Who is told how it stands.
    #[serde(default)]
    pub status: StatusRules,
    /// The trust anchor.
    pub registrar: Registrar,
    /// How it follows the others.
    #[serde(default)]
    pub peers: Peers,
    /// Who may act here, and for how long.
    #[serde(default)]
    pub accounts: AccountRules,
    /// How long it keeps personal data.
    #[serde(default)]
    pub retention: Retention,
    /// How much anybody may ask.
    #[serde(default)]
    pub limits: LimitRules,
    /// The identity provider of its operators; none unless it is said.
    #[serde(default)]
    pub oidc: Option<oidc::Settings>,
}

/// Who may act here, and for how long.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AccountRules {
    /// A session ends after so many minutes without a request.
    pub session_idle_minutes: u32,
    /// A session ends after so many hours, whatever happens.
    pub session_hours: u32,
    /// Memory of argon2id for one password, in KiB.
    pub password_memory_kib: u32,
    /// Passes of argon2id over that memory.
    pub password_passes: u32,
}

impl Default for AccountRules {
    fn default() -> Self {
        let Cost { memory_kib, passes } = Cost::default();
        Self { session_idle_minutes: 30, session_hours: 12, password_memory_kib: memory_kib, password_passes: passes }
    }
}

impl AccountRules {
    /// How much work a hash is.
    #[must_use]
    pub const fn cost(&self) -> Cost {
        Cost { memory_kib: self.password_memory_kib, passes: self.password_passes }
    }

    /// How long sessions last.
    #[must_use]
    pub fn limits(&self) -> Limits {
        let (idle, absolute) = (self.session_idle_minutes.into(), self.session_hours.into());
        Limits { idle: Millis::minutes(idle), absolute: Millis::hours(absolute) }
    }
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
    /// Address and port without transport security: a loopback address.
    pub bind: SocketAddr,
    /// The base URL at which others reach it: `https` with `[tls]`, or on this machine alone.
    pub url: String,
    /// Threads that serve requests.
    #[serde(default = "two")]
    pub workers: usize,
}

/// Where the node listens with transport security.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// Address and port.
    pub bind: SocketAddr,
    /// Further names and addresses by which it is reached, beside the host of `http.url`.
    #[serde(default)]
    pub names: Vec<String>,
    /// A certificate chain that browsers trust, PEM, the node's own first. Other nodes do not need it.
    #[serde(default)]
    pub certificate: Option<PathBuf>,
    /// Its private key, PEM.
    #[serde(default)]
    pub key: Option<PathBuf>,
}

/// Who may read this node's log and its mirrors of others'.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogRules {
    /// Anybody, not members and operators alone.
    pub public: bool,
}

/// Who is told how the node stands (`/metrics`, all of `/v1/status`), beside members and operators.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StatusRules {
    /// Whoever asks at `http.bind`, on this machine. Not behind a proxy there, which hands in requests of strangers.
    pub local: bool,
}

impl Default for StatusRules {
    fn default() -> Self {
        Self { local: true }
    }
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
    /// Which history of its log counts, once it has shown two: agreed among the members outside of the ledger.
    #[serde(default)]
    pub history: Option<History>,
}

/// A head by which one history of a log is told from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct History {
    /// A size past the last one at which both are the same.
    pub size: u64,
    /// The root of that history there, in hexadecimal.
    pub root: Digest,
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
    /// How often the auditors are asked to cosign the own log, if it has grown, in seconds; 0 for never.
    pub cosign_secs: u64,
    /// How many auditors must have cosigned what was written; as many as there are, if that is less.
    pub cosign_quorum: usize,
    /// How long they may take for that before it is said that they are missing, in seconds.
    pub cosign_wait_secs: u64,
    /// Whether nothing is written while they are missing (fail closed); otherwise it is said, and writing goes on.
    pub cosign_required: bool,
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
            cosign_secs: 5,
            cosign_quorum: 1,
            cosign_wait_secs: 60,
            cosign_required: false,
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

/// Whether a URL leads to this machine.
#[must_use]
pub fn is_loopback(url: &reqwest::Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// Checks the base URL of a node: paths are put behind it.
///
/// # Errors
///
/// What it must be, in words for an operator.
pub fn check_url(text: &str) -> Result<(), &'static str> {
    let http = |url: &reqwest::Url| matches!(url.scheme(), "http" | "https") && url.has_host();
    let Some(url) = reqwest::Url::parse(text).ok().filter(http) else {
        return Err("a base URL begins with http:// or https:// and a host");
    };
    if !url.username().is_empty() || url.password().is_some() || text.contains(['@', '?', '#']) {
        return Err("a base URL has no user, no ? and no #");
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("a base URL has no spaces");
    }
    if text.ends_with('/') {
        return Err("without the / at its end");
    }
    if text.len() > MAX_URL_BYTES { Err("a base URL has at most 200 bytes") } else { Ok(()) }
}

/// Checks where other nodes are to find a node: they ask it over TLS, unless it is on their machine.
///
/// # Errors
///
/// As above.
pub fn check_node_url(text: &str) -> Result<(), &'static str> {
    check_url(text)?;
    let url = reqwest::Url::parse(text).map_err(|_| "not a URL")?;
    let is_protected = url.scheme() == "https" || is_loopback(&url);
    if is_protected { Ok(()) } else { Err("https://, or an address of this machine: nodes talk over TLS") }
}

/// Whether a text is an address, or a host name as certificates have it (RFC 1123), of which the first label may be `*`.
fn is_host(text: &str) -> bool {
    let is_label = |label: &str| {
        let plain = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        (1..=63).contains(&label.len()) && plain && !label.starts_with('-') && !label.ends_with('-')
    };
    let name = text.strip_prefix("*.").unwrap_or(text);
    // Four numbers that are no address are no name either.
    let ends_in_digits = name.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
    text.parse::<IpAddr>().is_ok() || name.len() <= 253 && !ends_in_digits && name.split('.').all(is_label)
}

impl Config {
    /// Reads a file, and what the environment changes about it.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the field.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            let name = name.into_string().ok().filter(|name| name.to_ascii_lowercase().starts_with(ENVIRONMENT))?;
            Some((name, value))
        });
        Self::read(path, variables)
    }

    /// Each variable is taken as it is typed: what it means is for its field to say, and a name of digits is no number.
    fn read(path: &Path, variables: impl Iterator<Item = (String, OsString)>) -> Result<Self, ConfigError> {
        let mut builder =
            config::Config::builder().add_source(config::File::from(path).format(config::FileFormat::Toml));
        for (variable, value) in variables {
            let Ok(value) = value.into_string() else {
                return Err(ConfigError::Value { field: "environment", why: format!("{variable} is not UTF-8") });
            };
            let field = variable.to_ascii_lowercase().replacen(ENVIRONMENT, "", 1).replace("__", ".");
            builder = if LISTS.contains(&field.as_str()) {
                let parts = value.split(',').map(str::trim).filter(|part| !part.is_empty());
                builder.set_override(field, parts.map(str::to_owned).collect::<Vec<_>>())?
            } else {
                builder.set_override(field, value)?
            };
        }
        let config: Self = builder.build()?.try_deserialize()?;
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
        let host_like = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-/".contains(c);
        if self.federation.is_empty() || self.federation.len() > 200 || !self.federation.chars().all(host_like) {
            return bad("federation", "1 to 200 characters of a-z, 0-9, '.', '-', '/'");
        }
        if self.offset().is_none() {
            return bad("utc_offset_minutes", "less than a day");
        }
        if !self.http.bind.ip().is_loopback() {
            return bad("http.bind", "only a loopback address: what others reach is tls.bind");
        }
        for (field, url) in [("http.url", &self.http.url), ("registrar.url", &self.registrar.url)] {
            if let Err(why) = check_node_url(url) {
                return bad(field, why);
            }
        }
        self.check_tls()?;
        if !(1..=MAX_WORKERS).contains(&self.http.workers) {
            return bad("http.workers", &format!("1 to {MAX_WORKERS} threads"));
        }
        if self.store.min_free_disk_mib > MAX_FREE_DISK_MIB {
            return bad("store.min_free_disk_mib", &format!("at most {MAX_FREE_DISK_MIB} MiB"));
        }
        if self.peers.poll_wait_secs > MAX_POLL_WAIT_SECS {
            return bad("peers.poll_wait_secs", &format!("at most {MAX_POLL_WAIT_SECS} seconds"));
        }
        if self.peers.max_backoff_millis > MAX_BACKOFF_MILLIS {
            return bad("peers.max_backoff_millis", &format!("at most {MAX_BACKOFF_MILLIS} milliseconds"));
        }
        if self.peers.compare_secs > MAX_COMPARE_SECS {
            return bad("peers.compare_secs", &format!("at most {MAX_COMPARE_SECS} seconds, a day; 0 for never"));
        }
        if self.peers.cosign_secs > MAX_COMPARE_SECS {
            return bad("peers.cosign_secs", &format!("at most {MAX_COMPARE_SECS} seconds, a day; 0 for never"));
        }
        if self.peers.cosign_wait_secs > MAX_COMPARE_SECS {
            return bad("peers.cosign_wait_secs", &format!("at most {MAX_COMPARE_SECS} seconds, a day"));
        }
        if self.peers.cosign_required && self.peers.cosign_secs == 0 {
            return bad("peers.cosign_required", "nobody is asked while peers.cosign_secs is 0");
        }
        if self.peers.acknowledge_wait_millis > MAX_ACKNOWLEDGE_WAIT_MILLIS {
            return bad("peers.acknowledge_wait_millis", "at most a minute: somebody waits");
        }
        if self.accounts.session_idle_minutes == 0 || self.accounts.session_hours == 0 {
            return bad("accounts", "a session lasts at least a minute, and an hour in all");
        }
        if !self.accounts.cost().is_possible() {
            return bad("accounts.password_memory_kib", "argon2id takes 8 KiB or more, and at least one pass");
        }
        let Retention { opening_days, claim_days, result_days } = self.retention;
        if [opening_days, claim_days, result_days].contains(&0) {
            return bad("retention", "at least one day: what is erased at once cannot be shown, claimed or checked");
        }
        if let Some((field, why)) = self.oidc.as_ref().and_then(|oidc| oidc.check().err()) {
            return bad(field, why);
        }
        if self.institution != self.registrar.institution && self.registrar.log_vkey.is_empty() {
            return bad("registrar.log_vkey", "the trust anchor's key is needed; the registrar's `init` prints it");
        }
        Ok(())
    }

    fn check_tls(&self) -> Result<(), ConfigError> {
        let bad = |field, why: &str| Err(ConfigError::Value { field, why: why.to_owned() });
        let is_https = self.http.url.starts_with("https://");
        let Some(tls) = &self.tls else {
            return if is_https { bad("http.url", "https needs [tls], with the address to listen on") } else { Ok(()) };
        };
        if tls.bind == self.http.bind && tls.bind.port() != 0 {
            return bad("tls.bind", "another address or port than http.bind");
        }
        if tls.certificate.is_some() != tls.key.is_some() {
            return bad("tls.certificate", "a certificate and its key (tls.key) go together");
        }
        if tls.names.len() > MAX_NAMES {
            return bad("tls.names", &format!("at most {MAX_NAMES} host names or addresses"));
        }
        if let Some(name) = tls.names.iter().find(|name| !is_host(name)) {
            return bad("tls.names", &format!("\"{name}\" is neither a host name nor an address, without port"));
        }
        Ok(())
    }

    /// The host at which others reach it, without brackets.
    #[must_use]
    pub fn host(&self) -> Option<String> {
        let url = reqwest::Url::parse(&self.http.url).ok()?;
        Some(url.host_str()?.trim_start_matches('[').trim_end_matches(']').to_owned())
    }

    /// Where the keys of personal data are.
    #[must_use]
    pub fn vault(&self) -> PathBuf {
        self.store.vault.clone().unwrap_or_else(|| self.store.dir.join("vault"))
    }

    /// The time zone of opening hours and statistics.
    #[must_use]
    pub fn offset(&self) -> Option<FixedOffset> {
        self.utc_offset_minutes.checked_mul(60).and_then(FixedOffset::east_opt)
    }

    /// The file of accounts and tokens: beside the store, which may be copied and looked at without it.
    #[must_use]
    pub fn accounts_file(&self) -> PathBuf {
        self.store.dir.with_file_name("accounts.json")
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

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "version = 1\ninstitution = 'health'\nroles = ['issuer']\nfederation = 'town'\n\
        [http]\nbind = '127.0.0.1:7101'\nurl = 'http://127.0.0.1:7101'\n[store]\ndir = 'd'\nkeys = 'k'\n\
        [registrar]\ninstitution = 'health'\nurl = 'http://127.0.0.1:7101'\n";

    fn with(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.toml");
        std::fs::write(&path, FILE).unwrap();
        Config::read(&path, variables.iter().map(|(name, value)| ((*name).to_owned(), OsString::from(value))))
    }

    #[test]
    fn the_environment_sets_lists_too() {
        let set = [("VOUCHER__ROLES", "issuer,hospital"), ("VOUCHER__PEERS__WITNESSES", "audit,gulou")];
        let config = with(&set).unwrap();
        assert_eq!(config.roles, [Role::Issuer, Role::Hospital]);
        assert_eq!(config.peers.witnesses.len(), 2);
        assert_eq!(with(&[("VOUCHER__ROLES", "auditor")]).unwrap().roles, [Role::Auditor]);
        assert_eq!(with(&[("VOUCHER__HTTP__BIND", "127.0.0.1:7200")]).unwrap().http.bind.port(), 7200);
    }

    #[test]
    fn a_variable_is_taken_as_it_is_typed() {
        let config = with(&[
            ("VOUCHER__FEDERATION", "007"),
            ("VOUCHER__STORE__DIR", "1e3"),
            ("VOUCHER__STORE__KEYS", "TRUE"),
            ("VOUCHER__HTTP__WORKERS", "3"),
            ("VOUCHER__LOG__PUBLIC", "true"),
            ("VOUCHER__LIMITS__POLLS", "7"),
            ("VOUCHER__TLS__BIND", "127.0.0.1:7443"),
            ("VOUCHER__TLS__NAMES", "desk.example, 192.0.2.7"),
        ]);
        let config = config.unwrap();
        assert_eq!((config.federation.as_str(), config.http.workers, config.log.public), ("007", 3, true));
        assert_eq!((config.store.dir, config.store.keys), ("1e3".into(), "TRUE".into()));
        assert_eq!((config.limits.polls.get(), config.tls.unwrap().names.len()), (7, 2));
        assert!(with(&[("VOUCHER__HTTP__WORKERS", "three")]).is_err());
        assert!(with(&[("VOUCHER__HTTP__WORKERS", "2.5")]).is_err());
    }

    #[test]
    fn a_name_in_a_certificate_is_a_host_or_an_address() {
        for good in ["desk.example", "*.desk.example", "localhost", "192.0.2.7", "2001:db8::1", "xn--e1afmkfd.example"]
        {
            assert!(is_host(good), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            "*",
            "a..b",
            "-a.example",
            "a-.example",
            "desk.example:7443",
            "a.*.example",
            "1.2.3",
            "[::1]",
        ] {
            assert!(!is_host(bad), "{bad}");
        }
    }

    #[test]
    fn an_identity_provider_is_there_if_it_is_said() {
        assert_eq!(with(&[]).unwrap().oidc, None);
        let at = "https://idp.example";
        let callback = "https://node.example/v1/sessions/oidc/callback";
        let issuer = ("VOUCHER__OIDC__ISSUER", at);
        let client = ("VOUCHER__OIDC__CLIENT_ID", "voucher-node");
        let redirect = ("VOUCHER__OIDC__REDIRECT_URL", callback);
        let oidc = with(&[issuer, client, redirect]).unwrap().oidc.unwrap();
        assert_eq!((oidc.issuer.as_str(), oidc.scopes.as_str(), oidc.audience), (at, "openid profile", None));
        assert!(with(&[issuer, client]).is_err(), "a callback is needed");
        let error = with(&[("VOUCHER__OIDC__ISSUER", "http://idp.example"), client, redirect]).unwrap_err();
        assert!(error.to_string().starts_with("oidc.issuer: "), "{error}");
    }

    #[test]
    fn a_value_that_cannot_be_is_named() {
        let table = [
            ("VOUCHER__UTC_OFFSET_MINUTES", "99999999", "utc_offset_minutes"),
            ("VOUCHER__UTC_OFFSET_MINUTES", "1440", "utc_offset_minutes"),
            ("VOUCHER__STORE__MIN_FREE_DISK_MIB", "17592186044416", "store.min_free_disk_mib"),
            ("VOUCHER__HTTP__WORKERS", "100000", "http.workers"),
            ("VOUCHER__HTTP__WORKERS", "0", "http.workers"),
            ("VOUCHER__PEERS__POLL_WAIT_SECS", "301", "peers.poll_wait_secs"),
            ("VOUCHER__PEERS__MAX_BACKOFF_MILLIS", "600001", "peers.max_backoff_millis"),
            ("VOUCHER__PEERS__COMPARE_SECS", "86401", "peers.compare_secs"),
            ("VOUCHER__PEERS__COSIGN_SECS", "86401", "peers.cosign_secs"),
            ("VOUCHER__FEDERATION", "Town", "federation"),
            ("VOUCHER__FEDERATION", "to wn", "federation"),
            ("VOUCHER__HTTP__URL", "foo", "http.url"),
            ("VOUCHER__HTTP__URL", "ftp://host", "http.url"),
            ("VOUCHER__HTTP__URL", "http://u:p@host", "http.url"),
            ("VOUCHER__HTTP__URL", "http://host?x", "http.url"),
            ("VOUCHER__HTTP__URL", "http://host#x", "http.url"),
            ("VOUCHER__HTTP__URL", "http://host/", "http.url"),
            ("VOUCHER__REGISTRAR__URL", "http://", "registrar.url"),
            ("VOUCHER__REGISTRAR__URL", "http://192.0.2.1:7101", "registrar.url"),
            ("VOUCHER__HTTP__URL", "http://192.0.2.1:7101", "http.url"),
            ("VOUCHER__HTTP__URL", "https://127.0.0.1:7101", "http.url"),
            ("VOUCHER__TLS__BIND", "127.0.0.1:7101", "tls.bind"),
        ];
        for (variable, value, field) in table {
            let error = with(&[(variable, value)]).expect_err(variable).to_string();
            assert!(error.starts_with(&format!("{field}: ")), "{variable}={value}: {error}");
        }
        let tls = ("VOUCHER__TLS__BIND", "0.0.0.0:7443");
        assert!(with(&[("VOUCHER__HTTP__URL", "https://host/node-1"), tls]).is_ok());
        assert!(with(&[("VOUCHER__HTTP__URL", "http://[::1]:7101"), tls]).is_ok());
        for (variable, value, field) in [
            ("VOUCHER__TLS__CERTIFICATE", "chain.pem", "tls.certificate"),
            ("VOUCHER__TLS__NAMES", "desk.example,a b", "tls.names"),
        ] {
            let error = with(&[tls, (variable, value)]).expect_err(variable).to_string();
            assert!(error.starts_with(field), "{error}");
        }
    }
}
