//! Stories of a process that dies at each named point: what was acknowledged is there, and nothing is torn in half.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use ledger::fail::POINTS;
use ledger::log::{Batch, Ledger};
use support::*;

/// Set for the child: the directory to write in.
const CHILD: &str = "LEDGER_CRASH_CHILD";

/// Entries of one batch: two, so that half of one would show.
const BATCH: u64 = 2;

/// Rows of the state that change together: more than the store takes as one batch.
const ROWS: usize = 100;

/// Not a test by itself: the child that appends until it dies, and says each size that was acknowledged.
#[test]
fn child() {
    let Ok(dir) = std::env::var(CHILD) else { return };
    let mut options = options(Path::new(&dir));
    options.segment_bytes = 3_000;
    let (ledger, _) = open(options);
    let start = ledger.accepted_size(ORIGIN);
    for size in (start..start + 400).step_by(BATCH as usize) {
        append(&ledger, size, BATCH);
        println!("acknowledged {}", size + BATCH);
        if size % 16 == 0 {
            let rows = (0..ROWS).map(|n| (format!("s{n:03}").into_bytes(), Some(size.to_be_bytes().to_vec().into())));
            ledger.submit(Batch { state: rows.collect(), ..Batch::default() }).unwrap();
            ledger.flush();
        }
    }
}

/// Runs a child that dies at `point`; answers the size that was acknowledged last.
fn die_at(dir: &Path, point: &str) -> Option<u64> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(CHILD, dir)
        .env("VOUCHER_FAIL_POINT", point)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let sizes = lines.map_while(Result::ok).filter_map(|line| line.strip_prefix("acknowledged ")?.parse().ok());
    let last = sizes.last();
    assert!(!child.wait().unwrap().success(), "the child must die at {point}");
    last
}

#[test]
fn nothing_acknowledged_is_lost_wherever_the_process_dies() {
    for name in POINTS {
        let dir = tempfile::tempdir().unwrap();
        let mut acknowledged = 0;
        for nth in [1, 2, 3, 7] {
            // A process opens once.
            let nth = if name == "opening" { 1 } else { nth };
            let told = die_at(dir.path(), &format!("{name}:{nth}"));
            acknowledged = told.unwrap_or(acknowledged);
            let (ledger, report) = Ledger::open(options(dir.path())).unwrap();
            let size = ledger.accepted_size(ORIGIN);
            complete(&ledger, acknowledged);
            assert_eq!(size % BATCH, 0, "{name}: half a batch");
            assert!(size <= acknowledged + BATCH, "{name}: one batch at most was in flight");
            let rows = ledger.range_private(b"p", b"q", 1_000).len() as u64;
            assert_eq!(rows, size / BATCH, "{name}: private rows and entries stay together");
            let state = ledger.range(b"s", b"t", 1_000);
            let whole = state.len() == ROWS && state.iter().all(|(_, value)| *value == state[0].1);
            assert!(whole || state.is_empty(), "{name}: half a round in the store");
            assert!(report.plain_restart || told.is_none(), "{name}: the journal has all that the marker knows");
            acknowledged = size;
            ledger.close();
        }
        assert!(name == "opening" || acknowledged > 0, "{name} was reached before anything was written");
    }
}
