//! A running node: everything that handlers and followers share.

use std::any::{Any, TypeId};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use actix::Addr;
use actors::clock::Clock as _;
use actors::replica::{Fork, Frozen, Work};
use actors::role::{Hint, LookAround, RoleActor, Rules};
use actors::writer::{Act, CLOCK_BEHIND, Writer};
use domain::ids::InstitutionId;
use domain::reasons::Reason;
use domain::record::{Body, Insistence, OperatorInsisted};
use domain::time::Timestamp;
use ledger::fork::Split;
use ledger::mirror::Evidence;
use parking_lot::RwLock;

use crate::accounts::Accounts;
use crate::api::approvals::Approvals;
use crate::api::community::UnderWay;
use crate::api::problem::Problem;
use crate::api::seen::{SeenHolders, SeenPeers};
use crate::clock::NodeClock;
use crate::config::{Config, History, Registrar};
use crate::keys::NodeKeys;
use crate::limits::Limits;
use crate::oidc::Oidc;
use crate::pages::issuer::supply::Works;
use crate::peers::client::PeerClient;
use crate::peers::clocks::Verdict;
use crate::peers::holders::Holders;
use crate::peers::witnesses::{Quorum, Witnesses};
use crate::telemetry::Metrics;
use crate::tls::serving::Certificates;

/// Whether this node may write to its own log (the start rule).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writing {
    /// The others are asked how long this log is.
    Asking,
    /// Somebody holds a longer head under this log's key, and nobody has given the entries.
    LacksTail {
        /// Entries here.
        here: u64,
        /// Entries of the longer head.
        there: u64,
    },
    /// This log was written in two places: never again here.
    Forked,
    /// The registrar says that another key signs this log.
    OtherKey {
        /// The start rule was satisfied before.
        settled: bool,
    },
    /// It may.
    Allowed,
}

impl std::fmt::Display for Writing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Asking => f.write_str("the others are still asked how long this log is"),
            Self::LacksTail { here, there } => {
                write!(f, "{here} entries are here, a head over {there} is signed, and no mirror has given the rest")
            }
            Self::Forked => f.write_str("this log was written in two places: another log must succeed it"),
            Self::OtherKey { .. } => f.write_str(
                "the registrar has another log key of this institution than keys/log.key: bring that one back, or have it \
                 replaced (`voucher-node keys next`)",
            ),
            Self::Allowed => f.write_str("it may write"),
        }
    }
}

/// Free space of the disk under a directory, in MiB; none where the system does not say.
fn free_mib(dir: &std::path::Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(dir).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize) / (1024 * 1024))
}

/// A running node.
pub struct Node {
    /// What the operator decided.
    pub config: Config,
    /// Reads, decides, writes.
    pub writer: Arc<Writer>,
    /// The node's clock.
    pub clock: Arc<NodeClock>,
    /// The three keys.
    pub keys: NodeKeys,
    /// What is counted, so that nobody asks too much.
    pub limits: Arc<Limits>,
    /// Calls to other nodes.
    pub client: PeerClient,
    /// What is counted for operators.
    pub metrics: Metrics,
    /// Who may act here.
    pub accounts: Arc<Accounts>,
    /// The identity provider of those who may, if there is one.
    pub oidc: Option<Arc<Oidc>>,
    /// What waits for a second person.
    pub approvals: Approvals,
    /// Bulk requests that were begun on pages.
    pub works: Works,
    /// Signatures of holders over requests that were seen.
    pub seen: SeenHolders,
    /// The same of phones that announce themselves: anybody can make such a key, and none takes a holder's place.
    pub announced: SeenHolders,
    /// Requests of peers that were seen.
    pub seen_peers: SeenPeers,
    /// What the node shows who it is with, where it serves TLS.
    pub certificates: Option<Arc<Certificates>>,
    /// Registrations and cards that are being made.
    pub registering: UnderWay,
    /// Which roles run here, by the type of their rules.
    roles: HashMap<TypeId, Box<dyn Any + Send + Sync>>,
    wakers: Vec<Box<dyn Fn() + Send + Sync>>,
    /// Who holds how much of the own log.
    pub holders: Holders,
    /// Who has cosigned how much of it.
    pub witnesses: Witnesses,
    writing: RwLock<Writing>,
    clock_verdict: RwLock<Verdict>,
    scrubbed: RwLock<Option<Timestamp>>,
    too_early: RwLock<BTreeMap<InstitutionId, Timestamp>>,
    given_up: RwLock<BTreeSet<InstitutionId>>,
    silent: RwLock<BTreeMap<InstitutionId, Timestamp>>,
    commits: tokio::sync::watch::Sender<u64>,
    closing: tokio::sync::watch::Sender<bool>,
}

impl Node {
    /// A node without roles.
    #[must_use]
    pub fn new(
        config: Config,
        writer: Arc<Writer>,
        clock: Arc<NodeClock>,
        keys: NodeKeys,
        client: PeerClient,
        accounts: Accounts,
    ) -> Self {
        Self {
            accounts: Arc::new(accounts),
            oidc: None,
            approvals: Approvals::default(),
            works: Works::default(),
            limits: Arc::new(Limits::new(config.limits)),
            config,
            writer,
            clock,
            keys,
            client,
            metrics: Metrics::default(),
            seen: SeenHolders::default(),
            announced: SeenHolders::default(),
            seen_peers: SeenPeers::default(),
            certificates: None,
            registering: UnderWay::default(),
            roles: HashMap::new(),
            wakers: Vec::new(),
            holders: Holders::default(),
            witnesses: Witnesses::default(),
            writing: RwLock::new(Writing::Asking),
            clock_verdict: RwLock::default(),
            scrubbed: RwLock::default(),
            too_early: RwLock::default(),
            given_up: RwLock::default(),
            silent: RwLock::default(),
            commits: tokio::sync::watch::Sender::new(0),
            closing: tokio::sync::watch::Sender::new(false),
        }
    }

    /// Adds a role that runs here.
    pub fn add<R: Rules>(&mut self, address: Addr<RoleActor<R>>) {
        let (woken, hint) = (address.clone(), Hint::default());
        self.wakers.push(Box::new(move || {
            // A full mailbox will look around by itself soon: the hint may be lost.
            if !hint.swap(true, Ordering::SeqCst) && woken.try_send(LookAround(hint.clone())).is_err() {
                hint.store(false, Ordering::SeqCst);
            }
        }));
        self.roles.insert(TypeId::of::<R>(), Box::new(address));
    }

    /// The actor of a role.
    ///
    /// # Errors
    ///
    /// [`Reason::NotMyRole`] if it does not run here.
    pub fn role<R: Rules>(&self) -> Result<&Addr<RoleActor<R>>, Problem> {
        let found = self.roles.get(&TypeId::of::<R>()).and_then(|any| any.downcast_ref());
        found.ok_or_else(|| Problem::new(Reason::NotMyRole))
    }

    /// Counts commits: changes whenever something has become durable.
    #[must_use]
    pub fn commits(&self) -> tokio::sync::watch::Receiver<u64> {
        self.commits.subscribe()
    }

    /// Something was committed: roles may have something to do, and whoever waits for a log's growth goes on.
    pub fn wake(&self) {
        self.commits.send_modify(|n| *n += 1);
        self.wakers.iter().for_each(|wake| wake());
    }

    /// The node stops: whoever waits for something is answered now.
    pub fn close(&self) {
        self.closing.send_replace(true);
    }

    /// Whether it stops.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        *self.closing.borrow()
    }

    /// Waits until the node stops.
    pub async fn closing(&self) {
        // The sender is this node's own, so the wait ends only with what is waited for.
        let _ = self.closing.subscribe().wait_for(|closing| *closing).await;
    }

    /// Whether a log has shown two histories and is not followed further.
    #[must_use]
    pub fn is_forked(&self, institution: InstitutionId) -> bool {
        self.writer.read(|work| work.fork(institution).is_some()).answer
    }

    /// Whether nothing more is to be found out about a log that showed two histories: the last common size is known, or the
    /// registrar has drawn its line.
    #[must_use]
    pub fn is_judged(&self, institution: InstitutionId) -> bool {
        let held = self.writer.ledger().accepted_size(&self.writer.logs().origin(institution));
        let judged = |work: &Work<'_>| {
            work.frozen(institution).is_some() || work.fork(institution).is_some_and(|fork| fork.common_size < held)
        };
        self.writer.read(judged).answer
    }

    /// The line that the registrar drew in a log that had shown two histories.
    #[must_use]
    pub fn frozen(&self, institution: InstitutionId) -> Option<Frozen> {
        self.writer.read(|work| work.frozen(institution)).answer
    }

    /// Which history of the registrar's log the members have agreed on.
    #[must_use]
    pub fn agreed(&self, institution: InstitutionId) -> Option<History> {
        let Registrar { institution: registrar, history, .. } = &self.config.registrar;
        history.filter(|_| institution == *registrar)
    }

    /// The members have agreed on the history that is held of the registrar's log: it is followed again.
    ///
    /// # Errors
    ///
    /// The store takes nothing now.
    pub async fn settle_registrar(&self) -> Result<(), Reason> {
        let registrar = self.config.registrar.institution;
        let done = self.writer.decide(Act::default(), |desk| {
            desk.work.settle_fork(registrar);
            actors::auditor::forget_fork(&mut desk.work.tx, registrar);
            Ok(())
        });
        self.writer.durable(done.map_err(|refused| refused.reason())?.ticket).await;
        tracing::warn!(%registrar, "the registrar's log is followed again, by the history that the configuration names");
        Ok(())
    }

    /// Puts on record that the trust anchor is another one, if it was replaced and that is not there yet.
    ///
    /// # Errors
    ///
    /// Nothing can be written now.
    pub async fn record_settlement(&self) -> Result<(), Reason> {
        let done = self.writer.decide(Act::default(), |desk| {
            if !desk.work.take_settled() {
                return Ok(());
            }
            let role = desk.work.settings.roles.first().copied().ok_or(Reason::WrongRole)?;
            desk.write(role, Body::OperatorInsisted(OperatorInsisted { what: Insistence::TrustAnchor })).map(drop)
        });
        self.writer.durable(done.map_err(|refused| refused.reason())?.ticket).await;
        Ok(())
    }

    /// Keeps the proof that a log has shown two histories; what shows it to others and up to which size they are the same, once
    /// that is found. What was proved before stays.
    pub async fn keep_fork(
        &self,
        institution: InstitutionId,
        evidence: &Evidence,
        split: Option<Split>,
        common_size: Option<u64>,
    ) {
        let origin = self.writer.logs().origin(institution);
        let kept = self.writer.decide(Act::default(), |desk| {
            let known = desk.work.fork(institution);
            // What is held leads to one of the two heads; nothing past it is taken any more.
            let before = known.as_ref().map_or_else(|| self.writer.ledger().accepted_size(&origin), |f| f.common_size);
            let common_size = common_size.map_or(before, |size| size.min(before));
            let (held, offered) = (evidence.held.note.to_string(), evidence.offered.note.to_string());
            let fork = match known.clone() {
                Some(known) if known.split.is_some() || split.is_none() => Fork { common_size, ..known },
                _ => Fork { common_size, held, offered, split },
            };
            if known.as_ref() != Some(&fork) {
                tracing::error!(%institution, common_size, "the log has signed two histories; the proof is kept");
                desk.work.keep_fork(institution, &fork);
            }
            Ok(())
        });
        match kept {
            Ok(done) => self.writer.durable(done.ticket).await,
            Err(refused) => tracing::error!(%institution, %refused, "the proof of a fork could not be kept yet"),
        }
    }

    /// Whether a mirror is given up at the next start.
    #[must_use]
    pub fn is_given_up(&self, institution: InstitutionId) -> bool {
        self.given_up.read().contains(&institution)
    }

    /// Gives up the mirror of a history that does not count: it is fetched again after the next start.
    pub async fn give_up_mirror(&self, institution: InstitutionId) {
        if self.is_given_up(institution) {
            return;
        }
        let (ledger, origin) = (self.writer.ledger().clone(), self.writer.logs().origin(institution));
        let asked = actix_web::web::block(move || ledger.replace_mirror(&origin)).await;
        match asked.map_err(std::io::Error::other).flatten() {
            Ok(()) => {
                self.given_up.write().insert(institution);
                tracing::error!(%institution, "the mirror follows the history that does not count: start the node again, to replace it");
            }
            Err(error) => tracing::error!(%institution, %error, "the mirror could not be given up"),
        }
    }

    /// The start rule is satisfied.
    pub fn allow_writing(&self) {
        self.writer.ledger().allow_writing();
        self.set_writing(Writing::Allowed);
    }

    /// Nothing is written to the own log any more until it is allowed again.
    pub fn forbid_writing(&self, why: Writing) {
        self.writer.ledger().forbid_writing();
        self.set_writing(why);
    }

    /// How the start rule stands.
    pub fn set_writing(&self, writing: Writing) {
        *self.writing.write() = writing;
    }

    /// How the start rule stands.
    #[must_use]
    pub fn writing(&self) -> Writing {
        *self.writing.read()
    }

    /// Whether the start rule is satisfied.
    #[must_use]
    pub fn may_write(&self) -> bool {
        self.writing() == Writing::Allowed
    }
    /// When all that is stored was last read again and found as it was written.
    #[must_use]
    pub fn scrubbed(&self) -> Option<Timestamp> {
        *self.scrubbed.read()
    }

    /// Keeps when all that is stored was last read again.
    pub fn set_scrubbed(&self, at: Option<Timestamp>) {
        *self.scrubbed.write() = at;
    }

    /// How this node's clock stands to the others'.
    #[must_use]
    pub fn clock_verdict(&self) -> Verdict {
        *self.clock_verdict.read()
    }

    /// What keeps this node from writing, if anything does: whoever waits for it to be ready waits for this.
    #[must_use]
    pub fn hindrance(&self) -> Option<Problem> {
        if !self.may_write() {
            return Some(Problem::new(Reason::NotReady).detail(self.writing()));
        }
        let clock = self.clock_verdict();
        if clock.is_off {
            return Some(Problem::new(Reason::ClockOff).detail(clock));
        }
        let (last, now) =
            (self.writer.read(|work| work.cursor(self.config.institution).last_at).answer, self.clock.now());
        if now + CLOCK_BEHIND < last {
            let behind = format!("the clock here says {now}, and the own log's last record is of {last}");
            return Some(Problem::new(Reason::ClockOff).detail(behind));
        }
        if let Some(reason) = self.writer.paused() {
            let Quorum { of, size, .. } = self.witnesses.quorum();
            let told = format!("{of} auditors must cosign, and what they have cosigned ends with entry {size}");
            return Some(Problem::new(reason).detail(told));
        }
        let floor = self.config.store.min_free_disk_mib;
        let free = free_mib(&self.config.store.dir).filter(|free| *free < floor)?;
        Some(Problem::new(Reason::DiskLow).detail(format!("{free} MiB of disk are free, and the floor is {floor} MiB")))
    }

    /// Why nothing is written, or that it may be.
    #[must_use]
    pub fn why(&self) -> String {
        self.hindrance().and_then(|problem| problem.detail).unwrap_or_else(|| self.writing().to_string())
    }

    /// Keeps how this node's clock stands to the others', and writes nothing while it is off.
    pub fn set_clock_verdict(&self, verdict: Verdict) {
        self.clock.set_off(verdict.is_off);
        *self.clock_verdict.write() = verdict;
    }

    /// Institutions whose node does not answer this one, and since when: of them nothing new is known here, unless others
    /// have it.
    #[must_use]
    pub fn silent(&self) -> BTreeMap<InstitutionId, Timestamp> {
        self.silent.read().clone()
    }

    /// Notes whether an institution's own node answered.
    pub fn note_answer(&self, institution: InstitutionId, answered: bool) {
        if answered != self.silent.read().contains_key(&institution) {
            return;
        }
        let mut silent = self.silent.write();
        if answered {
            silent.remove(&institution);
        } else {
            silent.insert(institution, self.writer.now());
        }
    }

    /// The time of the next record of a log, if it is too far ahead of the clock here and waits.
    #[must_use]
    pub fn too_early(&self, institution: InstitutionId) -> Option<Timestamp> {
        self.too_early.read().get(&institution).copied()
    }

    /// Keeps the time of the next record of a log that waits, or that none does; whether that is news.
    pub fn set_too_early(&self, institution: InstitutionId, at: Option<Timestamp>) -> bool {
        if at == self.too_early(institution) {
            return false;
        }
        let mut waiting = self.too_early.write();
        match at {
            Some(at) => waiting.insert(institution, at),
            None => waiting.remove(&institution),
        };
        true
    }
}
