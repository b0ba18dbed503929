//! Real nodes for tests: each a process of the real program, with its own directory, on loopback.

pub mod demo;
pub mod desk;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use domain::member::Role;
use node::keys::NodeKeys;
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
    port: u16,
    registrar: (String, String, String),
    child: Option<Child>,
    /// Environment of the process.
    pub env: Vec<(String, String)>,
}

pub const FEDERATION: &str = "voucher-ledger.test";

impl TestNode {
    /// A node that was not started yet. `registrar` is (id, url, log vkey); a registrar names itself with no key.
    pub fn new(root: &Path, id: &'static str, roles: &[Role], registrar: Option<&TestNode>) -> Self {
        let port = free_port();
        let url = format!("http://127.0.0.1:{port}");
        let dir = root.join(id);
        std::fs::create_dir_all(&dir).unwrap();
        let registrar = match registrar {
            Some(r) => (r.id.to_owned(), r.url.clone(), r.vkey()),
            None => (id.to_owned(), url.clone(), String::new()),
        };
        // Each node has a place of its own for markers, so that tests do not meet each other's.
        std::fs::create_dir_all(dir.join("marker")).unwrap();
        Self { id, roles: roles.to_vec(), dir, url, port, registrar, child: None, env: Vec::new() }
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
        let text = format!(
            "version = 1\ninstitution = \"{id}\"\nroles = [{roles}]\nfederation = \"{FEDERATION}\"\n\
             [http]\nbind = \"127.0.0.1:{port}\"\nurl = \"{own}\"\n\
             [store]\ndir = \"{dir}/ledger\"\nkeys = \"{dir}/keys\"\nmin_free_disk_mib = 64\nmarker_dir = \"{dir}/marker\"\n\
             [registrar]\ninstitution = \"{registrar}\"\nurl = \"{url}\"\nlog_vkey = \"{vkey}\"\n\
             [peers]\npoll_wait_secs = 2\nmax_backoff_millis = 500\ncompare_secs = 1\n",
            id = self.id,
            roles = roles.join(", "),
            port = self.port,
            own = self.url,
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
        let request = reqwest::Client::new().get(format!("{}{path}", self.url)).header("Operator", "test");
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or(Value::Null))
    }

    /// POSTs JSON as an operator under a key.
    pub async fn post_as(&self, path: &str, key: &str, body: &Value) -> Result<(u16, Value), reqwest::Error> {
        let request = reqwest::Client::new()
            .post(format!("{}{path}", self.url))
            .header("Operator", "test")
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

    /// What it holds of a log: folded size.
    pub async fn folded(&self, of: &str) -> u64 {
        let (_, status) = self.get("/v1/status").await;
        let logs = status["logs"].as_array().cloned().unwrap_or_default();
        logs.iter().find(|l| l["institution"] == of).and_then(|l| l["folded"].as_u64()).unwrap_or(0)
    }
}

impl Drop for TestNode {
    fn drop(&mut self) {
        self.kill();
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
