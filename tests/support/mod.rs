//! Real nodes for tests: each a process of the real program, with its own directory, on loopback.

pub mod browser;
pub mod demo;
pub mod desk;
pub mod idp;
pub mod phone;
pub mod town;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use actors::clock::Clock as _;
use domain::member::Role;
use domain::time::{Millis, Timestamp};
use node::accounts::Accounts;
use node::accounts::password::Cost;
use node::accounts::permission::{AccountRole, Permission};
use node::clock::NodeClock;
use node::config::AccountRules;
use node::keys::NodeKeys;
use node::peers::signature::{self, Parameters};
use serde_json::Value;

/// How long a node may take to become ready.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// The program under test, built by `cargo build --workspace`.
pub fn program() -> PathBuf {
    assert_cmd::cargo::cargo_bin("voucher-node")
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// One institution's node.
pub struct TestNode {
    pub id: &'static str,
    pub roles: Vec<Role>,
    pub dir: PathBuf,
    pub url: String,
    /// A token of an account that may do everything.
    pub token: String,
    port: u16,
    /// Where it listens with transport security, if it does.
    tls_port: Option<u16>,
    /// Whether anybody may read its log.
    pub public_log: bool,
    registrar: (String, String, String),
    child: Option<Child>,
    /// Environment of the process.
    pub env: Vec<(String, String)>,
    /// Further arguments of `run`.
    pub args: Vec<String>,
}

pub const FEDERATION: &str = "voucher-ledger.test";

/// The account of a second person, at every node.
pub const SECOND: &str = "second";

/// The password of every account of tests.
pub const PASSWORD: &str = "correct horse battery";

/// Makes two accounts that may do everything; the token of the first.
fn accounts(id: &str, dir: &Path) -> String {
    let (now, rules) = (NodeClock::real().now(), AccountRules::default());
    let file = dir.join("accounts.json");
    let accounts = Accounts::open(id.parse().unwrap(), &file, Cost::FOR_TESTS_ONLY, rules.limits()).unwrap();
    let [first, _] = ["test", SECOND].map(|name| {
        // A node that is made again in its old directory has its accounts already.
        let made = accounts.create(name, AccountRole::ALL, PASSWORD, false, now);
        made.unwrap_or_else(|_| accounts.named(name).unwrap())
    });
    let scope: Vec<_> = first.permissions().iter().filter(|p| *p != Permission::ManageAccounts).collect();
    accounts.issue_token(first.id, "tests", &scope, now + Millis::days(366), now).unwrap().0
}

impl TestNode {
    /// A node that was not started yet. `registrar` is (id, url, log vkey); a registrar names itself with no key.
    pub fn new(root: &Path, id: &'static str, roles: &[Role], registrar: Option<&TestNode>) -> Self {
        let port = free_port();
        let url = format!("http://127.0.0.1:{port}");
        let dir = root.join(id);
        std::fs::create_dir_all(&dir).unwrap();
        let registrar = match registrar {
            Some(r) => (r.id.to_owned(), r.peer_url(), r.vkey()),
            None => (id.to_owned(), url.clone(), String::new()),
        };
        // Each node has a place of its own for markers, so that tests do not meet each other's.
        std::fs::create_dir_all(dir.join("marker")).unwrap();
        let (env, args, token) = (Vec::new(), Vec::new(), accounts(id, &dir));
        let (roles, tls_port, public_log) = (roles.to_vec(), None, true);
        Self { id, roles, dir, url, token, port, tls_port, public_log, registrar, child: None, env, args }
    }

    /// The same, reached by other nodes over TLS, its log for members alone.
    pub fn protected(root: &Path, id: &'static str, roles: &[Role], registrar: Option<&TestNode>) -> Self {
        let mut node = Self::new(root, id, roles, registrar);
        (node.tls_port, node.public_log) = (Some(free_port()), false);
        if registrar.is_none() {
            node.registrar.1 = node.peer_url();
        }
        node
    }

    /// The base URL at which other nodes reach it.
    pub fn peer_url(&self) -> String {
        self.tls_port.map_or_else(|| self.url.clone(), |port| format!("https://127.0.0.1:{port}"))
    }

    pub fn origin(&self) -> String {
        format!("{FEDERATION}/{}", self.id)
    }

    pub fn keys(&self) -> NodeKeys {
        NodeKeys::load_or_make(&self.dir.join("keys")).unwrap()
    }

    pub fn vkey(&self) -> String {
        self.keys().log_signer(&self.origin()).unwrap().verifier().to_string()
    }

    pub fn config_path(&self) -> PathBuf {
        let roles: Vec<_> = self.roles.iter().map(|r| format!("\"{}\"", r.as_str())).collect();
        let (registrar, url, vkey) = &self.registrar;
        let tls = self.tls_port.map(|port| format!("[tls]\nbind = \"127.0.0.1:{port}\"\n")).unwrap_or_default();
        let text = format!(
            "version = 1\ninstitution = \"{id}\"\nroles = [{roles}]\nfederation = \"{FEDERATION}\"\n\
             [http]\nbind = \"127.0.0.1:{port}\"\nurl = \"{own}\"\n\
             [store]\ndir = \"{dir}/ledger\"\nkeys = \"{dir}/keys\"\nmin_free_disk_mib = 64\nmarker_dir = \"{dir}/marker\"\n\
             {tls}[log]\npublic = {public}\n\
             [registrar]\ninstitution = \"{registrar}\"\nurl = \"{url}\"\nlog_vkey = \"{vkey}\"\n\
             [peers]\npoll_wait_secs = 2\nmax_backoff_millis = 500\ncompare_secs = 1\n\
             # Passwords that protect nothing: for tests alone.\n\
             [accounts]\npassword_memory_kib = 64\npassword_passes = 1\n",
            id = self.id,
            roles = roles.join(", "),
            port = self.port,
            own = self.peer_url(),
            public = self.public_log,
            dir = self.dir.display(),
        );
        let path = self.dir.join("node.toml");
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Starts the process, and does not wait.
    pub fn spawn(&mut self) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.dir.join("node.log")).unwrap();
        let child = Command::new(program())
            .arg("run")
            .arg("--config")
            .arg(self.config_path())
            .args(&self.args)
            .envs(self.env.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    /// Starts the process and waits until it is ready.
    pub async fn start(&mut self) {
        self.spawn();
        self.ready().await;
    }

    pub async fn ready(&mut self) {
        let began = Instant::now();
        while !self.is_ready().await {
            assert!(began.elapsed() < READY_WITHIN, "{} is not ready:\n{}", self.id, self.log());
            if let Some(status) = self.child.as_mut().and_then(|c| c.try_wait().unwrap()) {
                panic!("{} ended with {status}:\n{}", self.id, self.log());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub async fn is_ready(&self) -> bool {
        let answer = reqwest::get(format!("{}/readyz", self.url)).await;
        answer.is_ok_and(|a| a.status().is_success())
    }

    /// Tells it to stop as a service manager does, and says how long that took.
    pub fn terminate(&mut self) -> Duration {
        let mut child = self.child.take().unwrap();
        let began = Instant::now();
        let told = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
        assert!(told.success());
        let status = child.wait().unwrap();
        assert!(status.success(), "{} ended with {status}:\n{}", self.id, self.log());
        began.elapsed()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("node.log")).unwrap_or_default()
    }

    /// GETs JSON as an operator.
    pub async fn get(&self, path: &str) -> (u16, Value) {
        let request = reqwest::Client::new().get(format!("{}{path}", self.url)).bearer_auth(&self.token);
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or(Value::Null))
    }

    /// POSTs JSON as an operator under a key.
    pub async fn post_as(&self, path: &str, key: &str, body: &Value) -> Result<(u16, Value), reqwest::Error> {
        let request = reqwest::Client::new()
            .post(format!("{}{path}", self.url))
            .bearer_auth(&self.token)
            .header("Idempotency-Key", key)
            .timeout(Duration::from_secs(10))
            .json(body);
        let answer = request.send().await?;
        let status = answer.status().as_u16();
        Ok((status, answer.json().await.unwrap_or(Value::Null)))
    }

    /// POSTs JSON as an operator.
    pub async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.post_as(path, &uuid::Uuid::new_v4().to_string(), body).await.unwrap()
    }

    /// A request as this institution's node signs it to another, at a time of its clock.
    pub fn signed_to(
        &self,
        asked: &Self,
        method: &str,
        path: &str,
        sent: Option<(&str, &Value)>,
        at: Timestamp,
    ) -> Signed {
        let body = sent.map(|(_, body)| serde_json::to_vec(body).unwrap());
        let parameters = Parameters { institution: self.id.parse().unwrap(), created: at, nonce: rand::random() };
        let carried = sent.map(|(key, _)| key).zip(body.as_deref());
        let headers = signature::headers(&self.keys().node_key(), parameters, asked.id, method, path, carried).unwrap();
        Signed {
            method: method.to_owned(),
            url: format!("{}{path}", asked.url),
            headers,
            body: body.unwrap_or_default(),
        }
    }

    /// POSTs JSON as this institution's node does.
    pub async fn post_to(&self, asked: &Self, path: &str, key: &str, body: &Value) -> (u16, Value) {
        self.signed_to(asked, "POST", path, Some((key, body)), NodeClock::real().now()).send().await
    }

    /// POSTs what takes two persons: one asks by token, another consents in a session. The last answer of the two.
    pub async fn post_by_two(&self, path: &str, body: &Value) -> (u16, Value) {
        let (status, asked) = self.post(path, body).await;
        if status != 202 {
            return (status, asked);
        }
        let client = reqwest::Client::new();
        let sign_in = serde_json::json!({ "name": SECOND, "password": PASSWORD });
        let session = client.post(format!("{}/v1/sessions", self.url)).json(&sign_in).send().await.unwrap();
        let session: Value = session.json().await.unwrap();
        let path = format!("{}/v1/approvals/{}/consent", self.url, asked["approval"].as_str().unwrap());
        let consent = client.post(path).bearer_auth(session["bearer"].as_str().unwrap());
        let answer = consent.json(&serde_json::json!({ "request": asked["request"] })).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or(Value::Null))
    }

    /// What it holds of a log: folded size.
    pub async fn folded(&self, of: &str) -> u64 {
        let (_, status) = self.get("/v1/status").await;
        let logs = status["logs"].as_array().cloned().unwrap_or_default();
        logs.iter().find(|l| l["institution"] == of).and_then(|l| l["folded"].as_u64()).unwrap_or(0)
    }
}

/// A signed request, to be sent as it is or changed.
#[derive(Debug, Clone)]
pub struct Signed {
    pub method: String,
    pub url: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

impl Signed {
    /// Sends it, once.
    pub async fn send(&self) -> (u16, Value) {
        let mut request = reqwest::Client::new().request(self.method.parse().unwrap(), &self.url);
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let answer = request.body(self.body.clone()).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or(Value::Null))
    }
}

impl Drop for TestNode {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Copies a directory with all that is below it.
pub fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Waits until something holds.
pub async fn eventually<F, Fut>(what: &str, within: Duration, mut holds: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = bool>,
{
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < within, "{what} did not come about within {within:?}");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}
