//! The store of a stopped node, opened to be looked at: what is wrong with it is told, and never repaired in passing.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actors::replica::Settings;
use actors::vault::Vault;
use actors::writer::Logs;
use domain::ids::InstitutionId;
use domain::member::Registry;
use ledger::fail::Stop;
use ledger::journal::JournalError;
use ledger::key::NoteVerifier;
use ledger::log::{Ledger, Options};
use ledger::recover::{OpenError, OpenReport};
use voucher_node::config::Config;
use voucher_node::keys::{NodeKeys, next_file_of};
use voucher_node::peers;

/// How often the store is written in the background while it is looked at: hardly ever.
const STORE_EVERY: Duration = Duration::from_secs(3_600);

/// What helps where entries or rows of the store cannot be read.
pub(super) const SET_ASIDE: &str =
    "The journal is apart from it: move the directory `store` in `store.dir` aside, and the next start makes it again";

/// An open ledger, and what is needed to judge it.
pub(super) struct Opened {
    /// The logs.
    pub logs: Logs,
    /// What was found while opening.
    pub report: OpenReport,
    /// Whose view of the logs is folded.
    pub settings: Settings,
    /// The key of the own log.
    pub own_key: NoteVerifier,
    /// Why the storage failed after opening, if it did.
    pub failed: Arc<OnceLock<String>>,
}

/// Why a store was not opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotOpened {
    /// There is none.
    #[error("there is no ledger at {0}: this node was never started, or `store.dir` is another")]
    Absent(PathBuf),
    /// A key is missing or cannot be used.
    #[error("the institution's keys: {0}")]
    Keys(String),
    /// Something that is no fault of the store.
    #[error("{0}")]
    Unusable(String),
    /// The store cannot be relied on.
    #[error("{0}")]
    Damaged(String),
}

impl From<OpenError> for NotOpened {
    fn from(error: OpenError) -> Self {
        let text = error.to_string();
        match error {
            OpenError::Io { .. }
            | OpenError::Options(_)
            | OpenError::InUse(_)
            | OpenError::Journal(JournalError::Io(_)) => Self::Unusable(text),
            OpenError::Journal(_)
            | OpenError::DoesNotContinue { .. }
            | OpenError::CannotRebuild(_)
            | OpenError::Store(_) => Self::Damaged(text),
        }
    }
}

/// Opens the store of a configuration. Opening replays what the journal has and the store has not, as a start does;
/// nothing else is changed, and nothing is made where there is nothing.
pub(super) fn open(config: &Config) -> Result<Opened, NotOpened> {
    let dir = &config.store.dir;
    if !dir.join("journal").is_dir() {
        return Err(NotOpened::Absent(dir.clone()));
    }
    for word in ["log", "node", "witness"] {
        let path = config.store.keys.join(format!("{word}.key"));
        if !path.is_file() && !next_file_of(&config.store.keys, word).is_file() {
            return Err(NotOpened::Keys(format!("{} is missing", path.display())));
        }
    }
    let unusable = |error: &dyn std::fmt::Display| NotOpened::Unusable(error.to_string());
    let keys = NodeKeys::load_or_make(&config.store.keys).map_err(|error| NotOpened::Keys(error.to_string()))?;
    let signer = keys.log_signer(&config.origin()).map_err(|error| unusable(&error))?;
    let own_key = signer.verifier().clone();
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map_err(|error| unusable(&error))?;
    let mut options = Options::new(dir, signer, boot_id.trim());
    options.marks = actors::keys::MARKS.to_vec();
    options.min_free_disk_bytes = config.store.min_free_disk_mib.saturating_mul(1024 * 1024);
    options.marker_dir.clone_from(&config.store.marker_dir);
    options.store_every = STORE_EVERY;
    // It may be by a key that was replaced since: `verify` judges it by the keys that the records name.
    options.checks_signature = false;
    let failed = Arc::new(OnceLock::new());
    let heard = failed.clone();
    // A running node must stop at once when its storage fails; here the failure is the answer.
    options.stop = Stop::hooked(move |reason| drop(heard.set(reason.to_owned())));
    let settings = Settings {
        me: config.institution,
        roles: config.roles.clone(),
        registrar: config.registrar.institution,
        offset: config.offset().ok_or_else(|| NotOpened::Unusable("utc_offset_minutes: less than a day".into()))?,
        retention: config.retention.into(),
    };
    let (ledger, report) = Ledger::open(options)?;
    let logs = Logs { ledger, federation: config.federation.clone(), vault: Vault::locked() };
    Ok(Opened { logs, report, settings, own_key, failed })
}

impl Opened {
    /// The institutions whose logs are here, in the order in which a start folds them: the registrar first.
    pub(super) fn institutions(&self) -> Vec<InstitutionId> {
        let prefix = format!("{}/", self.logs.federation);
        let origins = self.logs.ledger.origins();
        let mut found: Vec<InstitutionId> =
            origins.iter().filter_map(|origin| origin.strip_prefix(&prefix)?.parse().ok()).collect();
        found.sort_by_key(|id| (*id != self.settings.registrar, *id));
        found
    }

    /// Entries of a log.
    pub(super) fn size(&self, institution: InstitutionId) -> u64 {
        self.logs.ledger.accepted_size(&self.logs.origin(institution))
    }

    /// The keys that may have signed a log's head: those that the registrar's records name, or before they do, those that are known.
    pub(super) fn keys_of(
        &self,
        config: &Config,
        registry: &Registry,
        institution: InstitutionId,
    ) -> Vec<NoteVerifier> {
        match registry.member(institution) {
            Some(member) => peers::log_keys(member),
            None if institution == self.settings.me => vec![self.own_key.clone()],
            None if institution == self.settings.registrar => config.registrar.log_vkey.parse().into_iter().collect(),
            None => Vec::new(),
        }
    }

    /// Runs what reads the store; a failing read is told, with its reason, instead of ending the process.
    pub(super) fn reading<T>(&self, work: impl FnOnce() -> T) -> Result<T, String> {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).map_err(|cause| match self.failed.get() {
            Some(reason) => reason.clone(),
            None => std::panic::resume_unwind(cause),
        })
    }
}
