//! The walk-through of README, as a newcomer pastes it, against a running demo.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::support::program;

/// Ends the demo as Ctrl-C does, so that it stops its nodes.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-INT", &self.0.id().to_string()]).status();
        let _ = self.0.wait();
    }
}

fn walk() -> Vec<String> {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).unwrap();
    let section = readme.split("\n## ").find(|s| s.starts_with("A walk through the interface")).unwrap();
    let blocks = section.split("```sh\n").skip(1).map(|b| b.split("```").next().unwrap().to_owned());
    blocks.collect()
}

#[test]
fn the_walk_through_of_the_readme_works() {
    let dir = tempfile::tempdir().unwrap();
    let demo = Command::new(program()).args(["demo", "--dir"]).arg(dir.path()).stdout(Stdio::piped()).spawn().unwrap();
    let mut demo = Running(demo);
    let mut told = String::new();
    for line in BufReader::new(demo.0.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        told.push_str(&line);
        told.push('\n');
        if line.contains("Go on by hand") {
            break;
        }
    }
    assert!(told.contains("Go on by hand"), "{told}");

    let federation: Value =
        serde_json::from_slice(&std::fs::read(dir.path().join("federation.json")).unwrap()).unwrap();
    let url = |id: &str| {
        let institutions = federation["institutions"].as_array().unwrap();
        institutions.iter().find(|i| i["id"] == id).unwrap()["url"].as_str().unwrap().to_owned()
    };
    let mut blocks = walk();
    assert!(blocks.len() >= 7, "the walk has {} blocks", blocks.len());
    // The first block names the addresses; a demo whose ports were taken has others.
    assert!(blocks[0].starts_with("ISSUER=http://127.0.0.1:7101"));
    blocks[0] = format!(
        "ISSUER={} COMMUNITY={} HOSPITAL={} AUDITOR={}\n",
        url("nanjing-health"),
        url("community-xuanwu"),
        url("hospital-gulou"),
        url("audit-jiangsu")
    );
    let script = format!("set -euo pipefail\n{}", blocks.join("echo\necho ----\n"));
    let output = Command::new("bash").args(["-c", &script]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    for expected in ["log_vkey", "\"repeated\":false", "programme-unknown", "c2sp.org/tlog-proof@v1", "\"good\":true"] {
        assert!(said.contains(expected), "{expected} is not in what the walk prints:\n{said}");
    }
}
