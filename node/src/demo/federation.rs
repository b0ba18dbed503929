//! Six institutions as six processes: their files, keys, ports, start and stop, and `federation.json` that tells of them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use chrono::FixedOffset;
use domain::member::{MemberEntry, Role};
use domain::time::Millis;
use ledger::key::KeyKind;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use super::client::Client;
use super::desk::Desk;
use super::desks::{self, Desks, OFFICER, SECOND_OFFICER};
use crate::config::{Config, Http, Registrar, Store, Tls};
use crate::keys::NodeKeys;

/// The configuration of each institution, the registrar first.
const CONFIGS: [&str; 6] = [
    include_str!("../../../config/nanjing-health.toml"),
    include_str!("../../../config/community-xuanwu.toml"),
    include_str!("../../../config/community-qinhuai.toml"),
    include_str!("../../../config/hospital-gulou.toml"),
    include_str!("../../../config/hospital-zhongda.toml"),
    include_str!("../../../config/audit-jiangsu.toml"),
];

/// How long a node may take until it is ready.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// How long a node may take to stop by itself.
const STOP_WITHIN: Duration = Duration::from_secs(6);

/// How much of a node's output is shown when it does not start, in bytes.
const TAIL_BYTES: usize = 2_000;

/// An institution as `federation.json` tells of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Institution {
    /// Its id.
    pub(super) id: String,
    /// Its roles.
    pub(super) roles: Vec<Role>,
    /// Base URL of its node for programs on this machine.
    pub(super) url: String,
    /// Base URL at which the other nodes reach it.
    pub(super) peer_url: String,
    /// The name of its log.
    pub(super) log_origin: String,
    /// The verification key of its log.
    pub(super) log_vkey: String,
    /// The verification key of its cosignatures, if it is an auditor.
    pub(super) witness_vkey: String,
    /// Its process.
    pub(super) pid: Option<u32>,
}

/// What stands in `federation.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Told {
    institutions: Vec<Institution>,
}

/// Where a node listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Binds {
    plain: SocketAddr,
    tls: SocketAddr,
}

impl Binds {
    /// Where an example configuration says.
    fn of(config: &Config) -> anyhow::Result<Self> {
        let tls = config.tls.as_ref().with_context(|| format!("{}: [tls]", config.institution))?;
        Ok(Self { plain: config.http.bind, tls: tls.bind })
    }
}

struct Member {
    told: Institution,
    entry: MemberEntry,
    home: PathBuf,
    bind: Binds,
    process: Option<Child>,
}

/// The federation and its processes. Dropping it kills them.
pub(super) struct Federation {
    /// Where everything is kept.
    pub(super) dir: PathBuf,
    /// Time zone of opening hours and statistics.
    pub(super) offset: FixedOffset,
    /// The accounts of the desks.
    pub(super) desks: Desks,
    kept: bool,
    marker_dir: PathBuf,
    members: Vec<Member>,
    ports_were_taken: bool,
    /// Held as long as the configured ports are used, so that another demo on this machine takes others.
    _ports: Option<File>,
}

impl Federation {
    /// Makes or reads the files and keys of all institutions. Nothing runs yet. Unless they are `kept`, dropping removes
    /// them.
    ///
    /// # Errors
    ///
    /// A file cannot be read or written, or a port of an earlier start is taken.
    pub(super) fn prepare(dir: &Path, kept: bool) -> anyhow::Result<Self> {
        fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
        let dir = dir.canonicalize()?;
        let is_foreign = kept && !dir.join("federation.json").exists() && fs::read_dir(&dir)?.next().is_some();
        anyhow::ensure!(
            !is_foreign,
            "{} is not empty, and no demo has been there: take an empty directory, or one that is not there yet",
            dir.display()
        );
        let configs = CONFIGS.map(toml::from_str::<Config>).into_iter().collect::<Result<Vec<_>, _>>()?;
        let offset = configs[0].offset().context("utc_offset_minutes")?;
        let (ports, binds) = addresses(&dir, &configs)?;
        let mut members = Vec::new();
        let configured = configs.iter().map(Binds::of).collect::<anyhow::Result<Vec<_>>>()?;
        let ports_were_taken = configured != binds;
        for (config, bind) in configs.iter().zip(binds) {
            let id = config.institution.to_string();
            let home = dir.join(&id);
            fs::create_dir_all(&home)?;
            let keys = NodeKeys::load_or_make(&home.join("keys"))?;
            let (url, peer_url) = (format!("http://{}", bind.plain), format!("https://{}", bind.tls));
            let entry = keys.entry(config.institution, &config.roles, &peer_url, &config.origin());
            let (log_origin, log_vkey) = (config.origin(), crate::peers::vkey(&entry, KeyKind::Log));
            let witness_vkey = crate::peers::vkey(&entry, KeyKind::Witness);
            let roles = entry.roles.clone();
            let told = Institution { id, roles, url, peer_url, log_origin, log_vkey, witness_vkey, pid: None };
            members.push(Member { told, entry, home, bind, process: None });
        }
        // By directory, because two demos have institutions of the same names.
        let mark = hex::encode(&actors::openings::digest_of(&dir.display().to_string()).0[..8]);
        let shm = Path::new("/dev/shm");
        let marker_dir = if shm.is_dir() { shm.join(format!("voucher-demo-{mark}")) } else { dir.join("boot") };
        fs::create_dir_all(&marker_dir)?;
        let desks = Desks::load_or_make(&dir.join("desks.secret"))?;
        let federation = Self { dir, offset, desks, kept, marker_dir, members, ports_were_taken, _ports: ports };
        configs.into_iter().try_for_each(|config| federation.configure(config))?;
        Ok(federation)
    }

    /// Writes a node's configuration: the example of `config/`, with the places and addresses of this federation.
    fn configure(&self, config: Config) -> anyhow::Result<()> {
        let registrar = self.registrar();
        let member = self.members.iter().find(|m| m.entry.institution == config.institution);
        let Some(Member { told, home, bind, .. }) = member else { return Ok(()) };
        let config = Config {
            http: Http { bind: bind.plain, url: told.peer_url.clone(), ..config.http },
            tls: config.tls.map(|tls| Tls { bind: bind.tls, ..tls }),
            store: Store {
                dir: home.join("store"),
                keys: home.join("keys"),
                marker_dir: self.marker_dir.clone(),
                ..config.store
            },
            registrar: Registrar {
                url: registrar.peer_url.clone(),
                log_vkey: registrar.log_vkey.clone(),
                ..config.registrar
            },
            accounts: desks::rules(),
            ..config
        };
        self.desks.furnish(&config)?;
        let text = toml::to_string(&config).context("node.toml")?;
        fs::write(
            home.join("node.toml"),
            format!(
                "# Written by the demo. Each field: docs/operating/setup.md. The cost of passwords is for the demo alone.\n\n{text}"
            ),
        )?;
        Ok(())
    }

    /// Whether the nodes listen elsewhere than `config/` says, because a port was taken.
    pub(super) const fn ports_were_taken(&self) -> bool {
        self.ports_were_taken
    }

    /// The institutions, the registrar first.
    pub(super) fn institutions(&self) -> impl Iterator<Item = &Institution> {
        self.members.iter().map(|m| &m.told)
    }

    /// The ids of those who play a role, in the order of their configuration.
    #[must_use]
    pub(super) fn playing(&self, role: Role) -> Vec<&str> {
        self.institutions().filter(|i| i.roles.contains(&role)).map(|i| i.id.as_str()).collect()
    }

    /// Base URLs by institution.
    #[must_use]
    pub(super) fn urls(&self) -> BTreeMap<String, String> {
        self.institutions().map(|i| (i.id.clone(), i.url.clone())).collect()
    }

    /// Starts every node, the registrar first, and registers those who are no members yet.
    ///
    /// Returns how many were registered.
    ///
    /// # Errors
    ///
    /// A node does not become ready; the text has the end of what it said.
    pub(super) async fn start(&mut self, client: &Client, ahead: Millis) -> anyhow::Result<usize> {
        let registrar = self.registrar().clone();
        self.start_one(&registrar.id, ahead).await?;
        self.ready(client, &registrar.id).await?;
        let mut registered = 0;
        let others: Vec<String> = self.institutions().skip(1).map(|i| i.id.clone()).collect();
        for id in &others {
            self.start_one(id, ahead).await?;
        }
        let [officer, second] = [OFFICER, SECOND_OFFICER].map(|name| Desk::new(client, &registrar.id, name));
        for member in self.members.iter().skip(1) {
            let answer = officer.post_with(&second, "/v1/issuer/members", join(&member.entry)).await?;
            if answer.is_refused("member-exists") {
                continue;
            }
            answer.good()?;
            registered += 1;
        }
        for id in &others {
            self.ready(client, id).await?;
        }
        self.tell()?;
        Ok(registered)
    }

    /// Starts one node, and tells of it.
    ///
    /// # Errors
    ///
    /// The process cannot be started.
    pub(super) async fn start_one(&mut self, id: &str, ahead: Millis) -> anyhow::Result<()> {
        let member = self.member(id)?;
        let output = File::options().create(true).append(true).open(member.home.join("node.log"))?;
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg("run")
            .arg("--config")
            .arg(member.home.join("node.toml"))
            .arg("--federation-clock")
            .arg(ahead.0.to_string())
            .arg("--stop-at-eof")
            .env("NO_COLOR", "1")
            // The node stops when this pipe closes, so none outlives the demo, however that ends.
            .stdin(Stdio::piped())
            .stdout(output.try_clone()?)
            .stderr(output)
            // Ctrl-C is for the demo to answer: it stops the nodes in order.
            .process_group(0)
            .kill_on_drop(true);
        let child = command.spawn().with_context(|| format!("cannot start {id}"))?;
        member.told.pid = child.id();
        member.process = Some(child);
        self.tell()
    }

    /// Waits until a node is ready.
    ///
    /// # Errors
    ///
    /// It ended, or took longer than [`READY_WITHIN`].
    pub(super) async fn ready(&mut self, client: &Client, id: &str) -> anyhow::Result<()> {
        let began = Instant::now();
        let member = self.member(id)?;
        loop {
            if let Some(status) = member.process.as_mut().and_then(|p| p.try_wait().ok().flatten()) {
                anyhow::bail!("{id} ended with {status}:\n{}", tail(&member.home.join("node.log")));
            }
            if client.try_get(id, "/readyz").await.is_ok_and(|answer| answer.is_good()) {
                return Ok(());
            }
            if began.elapsed() > READY_WITHIN {
                anyhow::bail!(
                    "{id} is not ready after {} s:\n{}",
                    READY_WITHIN.as_secs(),
                    tail(&member.home.join("node.log"))
                );
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Ends one node without a word, as a power failure does.
    ///
    /// # Errors
    ///
    /// It did not run.
    pub(super) async fn kill_one(&mut self, id: &str) -> anyhow::Result<()> {
        let member = self.member(id)?;
        let mut process = member.process.take().with_context(|| format!("{id} does not run"))?;
        member.told.pid = None;
        process.kill().await?;
        Ok(())
    }

    /// Stops all nodes, the registrar last.
    pub(super) async fn stop(&mut self) {
        for member in self.members.iter_mut().rev() {
            if let Some(process) = member.process.as_mut() {
                // Closing the pipe asks it to stop.
                drop(process.stdin.take());
            }
        }
        for member in self.members.iter_mut().rev() {
            if let Some(mut process) = member.process.take()
                && tokio::time::timeout(STOP_WITHIN, process.wait()).await.is_err()
            {
                let _ = process.kill().await;
            }
            member.told.pid = None;
        }
    }

    fn registrar(&self) -> &Institution {
        &self.members[0].told
    }

    fn member(&mut self, id: &str) -> anyhow::Result<&mut Member> {
        self.members.iter_mut().find(|m| m.told.id == id).with_context(|| format!("no institution {id}"))
    }

    /// Writes `federation.json`, whole or not at all.
    fn tell(&self) -> anyhow::Result<()> {
        let told = Told { institutions: self.institutions().cloned().collect() };
        write_whole(&self.dir.join("federation.json"), &serde_json::to_vec_pretty(&told)?)
    }
}

impl Drop for Federation {
    fn drop(&mut self) {
        // Nobody runs any more, or is killed when the members are dropped; what is left are files.
        self.members.clear();
        if !self.kept {
            let _ = fs::remove_dir_all(&self.marker_dir);
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

/// Writes a file under another name first, so that a reader never sees half of it.
///
/// # Errors
///
/// The file cannot be written.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let beside = path.with_extension("new");
    let mut file = File::create(&beside).with_context(|| beside.display().to_string())?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path).with_context(|| path.display().to_string())
}

/// The body with which an institution asks to be registered.
fn join(entry: &MemberEntry) -> Value {
    let signature = |s: &domain::member::Signature| ledger::note::to_base64(&[s.r, s.s].concat());
    let [log, node, witness] = entry.keys.map(|key| ledger::note::to_base64(&key));
    let [log_proof, node_proof, witness_proof] = entry.proofs.each_ref().map(signature);
    json!({
        "institution": entry.institution,
        "roles": entry.roles,
        "url": entry.url,
        "origin": entry.origin,
        "keys": {"log": log, "node": node, "witness": witness},
        "proofs": {"log": log_proof, "node": node_proof, "witness": witness_proof},
    })
}

/// Where the nodes listen: where they did at an earlier start from this directory, because the ledger has it on record;
/// else the configured ports if they are all free; else free ones.
fn addresses(dir: &Path, configs: &[Config]) -> anyhow::Result<(Option<File>, Vec<Binds>)> {
    let configured = configs.iter().map(Binds::of).collect::<anyhow::Result<Vec<_>>>()?;
    let lock = File::create(std::env::temp_dir().join("voucher-demo-ports.lock")).ok();
    let lock = lock.filter(|file| file.try_lock().is_ok());
    if let Ok(text) = fs::read(dir.join("federation.json")) {
        let told: Told = serde_json::from_slice(&text).context("federation.json")?;
        let address = |url: &str| url.trim_start_matches("http://").trim_start_matches("https://").parse();
        let binds = told.institutions.iter().map(|i| Ok(Binds { plain: address(&i.url)?, tls: address(&i.peer_url)? }));
        let recorded: Result<Vec<Binds>, std::net::AddrParseError> = binds.collect();
        let recorded = recorded.context("federation.json: url, peer_url")?;
        anyhow::ensure!(recorded.len() == configs.len(), "federation.json names {} institutions", recorded.len());
        let began = Instant::now();
        // The nodes of a demo that was killed a moment ago may still be stopping.
        while let Some(running) = told.institutions.iter().find(|i| still_runs(dir, i)) {
            let Institution { id, pid, .. } = running;
            anyhow::ensure!(
                began.elapsed() < STOP_WITHIN,
                "{id} still runs in this directory, as process {}",
                pid.unwrap_or_default()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        listen_on_all(&recorded).context("an address from the first start of this directory is taken now")?;
        return Ok((lock.filter(|_| recorded == configured), recorded));
    }
    if lock.is_some() && listen_on_all(&configured).is_ok() {
        return Ok((lock, configured));
    }
    let free = |address: SocketAddr| SocketAddr::new(address.ip(), 0);
    let any: Vec<Binds> = configured.iter().map(|b| Binds { plain: free(b.plain), tls: free(b.tls) }).collect();
    Ok((None, listen_on_all(&any)?))
}

/// Whether a node of an earlier start of this directory is alive.
fn still_runs(dir: &Path, institution: &Institution) -> bool {
    let Some(pid) = institution.pid else { return false };
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let config = dir.join(&institution.id).join("node.toml").display().to_string();
    command.split(|byte| *byte == 0).any(|argument| argument == config.as_bytes())
}

/// Listens on all of these at once, and says where that was. They are free again afterwards.
fn listen_on_all(addresses: &[Binds]) -> std::io::Result<Vec<Binds>> {
    let listen = |b: &Binds| Ok([TcpListener::bind(b.plain)?, TcpListener::bind(b.tls)?]);
    let listeners = addresses.iter().map(listen).collect::<std::io::Result<Vec<_>>>()?;
    let told = |[plain, tls]: &[TcpListener; 2]| Ok(Binds { plain: plain.local_addr()?, tls: tls.local_addr()? });
    listeners.iter().map(told).collect()
}

fn tail(path: &Path) -> String {
    let text = fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&text[text.len().saturating_sub(TAIL_BYTES)..]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_federation_is_prepared_once() {
        let dir = tempfile::tempdir().unwrap();
        let first = Federation::prepare(dir.path(), true).unwrap();
        first.tell().unwrap();
        let again = Federation::prepare(dir.path(), false).unwrap();
        let vkeys = |f: &Federation| f.institutions().map(|i| (i.log_vkey.clone(), i.url.clone())).collect::<Vec<_>>();
        assert_eq!(vkeys(&first), vkeys(&again), "keys and addresses stay");
        assert_eq!(first.playing(Role::Issuer), ["nanjing-health"]);
        assert_eq!(first.playing(Role::Community).len(), 2);
        assert_eq!(first.playing(Role::Voucher), ["community-xuanwu"]);
        assert_eq!(first.playing(Role::Hospital).len(), 2);
        assert_eq!(first.playing(Role::Auditor).len(), 1);
        drop(again);
        assert!(!dir.path().exists(), "nothing is left of a demo that keeps nothing");
    }

    #[test]
    fn two_federations_share_no_address() {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [a, b] = dirs.each_ref().map(|d| Federation::prepare(d.path(), false).unwrap());
        let all: std::collections::BTreeSet<String> = a.urls().into_values().chain(b.urls().into_values()).collect();
        assert_eq!(all.len(), 12);
    }

    #[test]
    fn a_directory_of_something_else_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("thesis.txt"), "x").unwrap();
        let refused = Federation::prepare(dir.path(), true).err().unwrap().to_string();
        assert!(refused.contains("is not empty"), "{refused}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing was made there");
    }
}
