//! The demo itself: six nodes, some hundred holders, every check.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::support::program;

#[test]
fn every_check_of_the_demo_holds() {
    let dir = tempfile::tempdir().unwrap();
    let output =
        Command::new(program()).args(["demo", "--once", "--dir"]).arg(dir.path()).output().expect("the demo runs");
    let story = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{story}\n{}", String::from_utf8_lossy(&output.stderr));

    let federation: Value =
        serde_json::from_slice(&std::fs::read(dir.path().join("federation.json")).unwrap()).unwrap();
    let institutions = federation["institutions"].as_array().unwrap();
    assert_eq!(institutions.len(), 6);
    for institution in institutions {
        for field in ["id", "roles", "url", "log_origin", "log_vkey", "pid"] {
            assert!(!institution[field].is_null(), "{field} of {institution}");
        }
    }
    // Nothing is left running.
    std::thread::sleep(Duration::from_millis(200));
    for institution in institutions {
        let pid = institution["pid"].as_u64().unwrap();
        assert!(!std::path::Path::new(&format!("/proc/{pid}/exe")).exists(), "process {pid} is still there");
    }
}
