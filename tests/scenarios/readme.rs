//! The walk-through of README, as a newcomer pastes it, against a running demo; and what documents say of files.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::support::program;

/// Ends the demo as Ctrl-C does, so that it stops its nodes.
struct Running(Child);

impl Running {
    fn interrupt(&self) {
        let _ = Command::new("kill").args(["-INT", &self.0.id().to_string()]).status();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.interrupt();
        let _ = self.0.wait();
    }
}

fn walk() -> Vec<String> {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).unwrap();
    let section = readme.split("\n## ").find(|s| s.starts_with("A walk through the interface")).unwrap();
    let blocks = section.split("```sh\n").skip(1).map(|b| b.split("```").next().unwrap().to_owned());
    blocks.collect()
}

/// Every file of the repository's documents, without decisions: they also tell of what was not done.
fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut found = vec![root.join("README.md")];
    let mut folders = vec![root.join("docs")];
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            match path.is_dir() {
                true if path.ends_with("decisions") => {}
                true => folders.push(path),
                false => found.push(path),
            }
        }
    }
    found
}

#[test]
fn the_sources_that_the_documents_name_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut named = 0;
    for document in documents() {
        let Ok(text) = std::fs::read_to_string(&document) else { continue };
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || "_/.-".contains(c)));
        for path in words.filter(|word| word.ends_with(".rs")) {
            assert!(root.join(path).is_file(), "{}: {path} is not a path from the root", document.display());
            named += 1;
        }
    }
    assert!(named > 20, "{named}");
}

#[test]
fn the_walk_through_of_the_readme_works() {
    let dir = tempfile::tempdir().unwrap();
    let demo = Command::new(program()).args(["demo", "--dir"]).arg(dir.path()).stdout(Stdio::piped()).spawn().unwrap();
    let mut demo = Running(demo);
    let mut told = String::new();
    let mut lines = BufReader::new(demo.0.stdout.take().unwrap()).lines();
    for line in lines.by_ref() {
        let line = line.unwrap();
        told.push_str(&line);
        told.push('\n');
        // The last line of what is told: by then the tokens of the desks are written.
        if line.contains("The files are in") {
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
        "ISSUER={} COMMUNITY={} HOSPITAL={} AUDITOR={}\nDESKS={}\n",
        url("nanjing-health"),
        url("community-xuanwu"),
        url("hospital-gulou"),
        url("audit-jiangsu"),
        dir.path().join("desks").display()
    );
    let script = format!("set -euo pipefail\n{}", blocks.join("echo\necho ----\n"));
    let output = Command::new("bash").args(["-c", &script]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    for expected in ["log_vkey", "\"repeated\":false", "programme-unknown", "c2sp.org/tlog-proof@v1", "\"good\":true"] {
        assert!(said.contains(expected), "{expected} is not in what the walk prints:\n{said}");
    }

    demo.interrupt();
    let last: Vec<String> = lines.map_while(Result::ok).collect();
    let last = last.join("\n");
    assert!(last.contains("the 6 nodes are stopped"), "{last}");
    assert!(last.contains(&format!("Their stores stay in {}", dir.path().display())), "{last}");
}
