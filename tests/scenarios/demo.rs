//! The demo itself: six nodes, some hundred holders, every check.

use crate::support::demo::good_and_again;

#[test]
fn every_check_of_the_demo_holds() {
    let (run, _) = good_and_again();
    assert!(run.good && !run.checks.is_empty() && run.checks.values().all(|held| *held), "{}", run.story);

    let institutions = run.federation["institutions"].as_array().unwrap();
    assert_eq!(institutions.len(), 6);
    for institution in institutions {
        for field in ["id", "roles", "url", "log_origin", "log_vkey", "pid"] {
            assert!(!institution[field].is_null(), "{field} of {institution}");
        }
        // Nothing is left running.
        let pid = institution["pid"].as_u64().unwrap();
        assert!(!std::path::Path::new(&format!("/proc/{pid}/exe")).exists(), "process {pid} is still there");
    }
}
