//! Runs of the demo, with good nodes and with broken ones.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

use super::program;

/// How long a demo of broken nodes waits for what they do not do, in seconds.
const BROKEN_PATIENCE_SECS: &str = "4";

/// What came of a run of the demo.
pub struct Run {
    /// The exit code was 0.
    pub good: bool,
    /// Whether every check of a name held, by name.
    pub checks: BTreeMap<String, bool>,
    /// What was printed.
    pub story: String,
    /// `federation.json`.
    pub federation: Value,
}

impl Run {
    /// Whether checks of this name were made, and one failed.
    pub fn failed(&self, check: &str) -> bool {
        self.checks.get(check) == Some(&false)
    }

    /// The names of the story's checks, without those that only say that a scene broke off.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.checks.keys().map(String::as_str).filter(|name| !name.starts_with("scene-") && *name != "story-told")
    }
}

/// Lives through the story in a directory, with nodes that misbehave in these ways.
pub fn run(dir: &Path, misbehaviours: &[&str]) -> Run {
    let mut command = Command::new(program());
    command.args(["demo", "--once", "--dir"]).arg(dir).env("VOUCHER_BREAK", misbehaviours.join(","));
    if !misbehaviours.is_empty() {
        command.args(["--patience-secs", BROKEN_PATIENCE_SECS]);
    }
    let output = command.output().expect("the demo runs");
    let told = [output.stdout, output.stderr].concat();
    let read = |name: &str| -> Value {
        std::fs::read(dir.join(name)).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
    };
    let mut checks = BTreeMap::new();
    for check in read("checks.json").as_array().into_iter().flatten() {
        let held = checks.entry(check["name"].as_str().unwrap_or_default().to_owned()).or_insert(true);
        *held &= check["held"] == true;
    }
    let story = String::from_utf8_lossy(&told).into_owned();
    Run { good: output.status.success(), checks, story, federation: read("federation.json") }
}

/// How nodes misbehave that are started again after a good story.
pub const AGAIN: [&str; 2] = ["logs-shown-half", "redemptions-unsaid"];

/// What a demo leaves can be verified with the configuration that stands beside it, and is nobody else's to read.
fn left_behind(dir: &Path) {
    let home = dir.join("audit-jiangsu");
    let verified = Command::new(program()).arg("verify").arg("--config").arg(home.join("node.toml")).output().unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    let mode = std::fs::metadata(home.join("store/store/db")).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "{mode:o}");
}

/// A good run, and a second one of misbehaving nodes from the same directory; made once for all tests.
pub fn good_and_again() -> &'static (Run, Run) {
    static RUNS: OnceLock<(Run, Run)> = OnceLock::new();
    RUNS.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let good = run(dir.path(), &[]);
        left_behind(dir.path());
        (good, run(dir.path(), &AGAIN))
    })
}
