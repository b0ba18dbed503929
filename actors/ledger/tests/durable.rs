//! Stories of one ledger on a real disk: append, read, reopen, and what a damaged disk leads to.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;

use ledger::journal::JournalError;
use ledger::log::{Batch, Ledger, Options, SubmitError};
use ledger::merkle::{leaf_hash, verify_consistency, verify_inclusion};
use ledger::recover::OpenError;
use ledger::value::Value;
use support::*;

#[test]
fn what_is_appended_is_read_at_once_and_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, report) = open(options(dir.path()));
    assert!(!report.plain_restart, "a new log does not know whether it is new");
    let mut size = 0;
    for count in [1, 1, 5, 300, 1, 600] {
        let ticket = ledger.submit(batch(size, count)).unwrap();
        size += count;
        assert_eq!(ledger.accepted_size(ORIGIN), size);
        assert_eq!(*ledger.entry(ORIGIN, size - 1).unwrap(), entry(size - 1));
        assert_eq!(*ledger.get(b"count").unwrap(), size.to_le_bytes());
        wait(&ledger, ticket);
        assert_eq!(ledger.head(ORIGIN).unwrap().checkpoint.root, root(size));
    }
    complete(&ledger, size);
    ledger.close();

    for replayed in [true, false] {
        let (ledger, report) = open(options(dir.path()));
        assert!(report.plain_restart);
        assert_eq!((report.size, report.rebuilt, report.torn_bytes), (size, None, 0));
        assert_eq!(report.stored, [(ORIGIN.to_owned(), size)], "{replayed}");
        complete(&ledger, size);
        assert_eq!(*ledger.get(b"count").unwrap(), size.to_le_bytes());
        assert_eq!(*ledger.get_private(b"p00000000").unwrap(), *b"sealed");
        assert_eq!(ledger.range_private(b"p", b"q", 3).len(), 3);
        append(&ledger, size, 1);
        size += 1;
        ledger.close();
    }
}

#[test]
fn a_batch_is_taken_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = Ledger::open(options(dir.path())).unwrap();
    assert_eq!(ledger.submit(batch(0, 1)), Err(SubmitError::NotYet));
    ledger.allow_writing();
    append(&ledger, 0, 3);
    let stale = Err(SubmitError::Stale { origin: ORIGIN.into(), size: 3 });
    assert_eq!(ledger.submit(batch(2, 1)), stale);
    assert_eq!(ledger.submit(batch(4, 1)), stale);
    let long = Batch { expected_size: 3, own: vec![vec![0; 7 * 1024 + 1].into()], ..batch(3, 1) };
    assert!(matches!(ledger.submit(long), Err(SubmitError::TooLarge { .. })));
    assert_eq!(*ledger.get(b"count").unwrap(), 3_u64.to_le_bytes());
    assert_eq!((ledger.accepted_size(ORIGIN), ledger.last_ticket()), (3, 1));
    let other = ledger.clone();
    ledger.close();
    assert_eq!(other.submit(batch(3, 1)), Err(SubmitError::Closed));
}

#[test]
fn tiles_bundles_and_proofs_hold_before_and_after_storing() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open(options(dir.path()));
    append(&ledger, 0, 700);
    for stored in [false, true] {
        if stored {
            ledger.flush();
        }
        let head = ledger.head(ORIGIN).unwrap().checkpoint;
        for index in [0, 255, 256, 511, 699] {
            let proof = ledger.inclusion_proof(ORIGIN, index, 700).unwrap();
            verify_inclusion(index, 700, &leaf_hash(&entry(index)), &proof, &head.root).unwrap();
        }
        for old in [1, 256, 300, 699, 700] {
            assert_eq!(ledger.root_at(ORIGIN, old).unwrap(), root(old));
            let proof = ledger.consistency_proof(ORIGIN, old, 700).unwrap();
            verify_consistency(old, &root(old), 700, &head.root, &proof).unwrap();
        }
        // level, index, width, there
        let table = [
            (0, 0, 256, true),
            (0, 1, 7, true),
            (0, 2, 188, true),
            (0, 2, 189, false),
            (0, 3, 1, false),
            (1, 0, 2, true),
            (1, 0, 3, false),
            (0, u64::MAX, 256, false),
            (9, 0, 1, false),
        ];
        for (level, index, width, there) in table {
            let tile = ledger.tile(ORIGIN, level, index, width);
            assert_eq!(
                tile.map(|tile| tile.len()),
                there.then_some(usize::from(width) * 32),
                "{level} {index} {width}"
            );
        }
        let bundle = ledger.bundle(ORIGIN, 2, 188).unwrap();
        let entries = ledger::tile::parse_bundle(&bundle, 188).unwrap();
        assert_eq!(entries[187], entry(699));
        assert_eq!(ledger.bundle(ORIGIN, 2, 189), None);
        assert_eq!(ledger.bundle(ORIGIN, u64::MAX, 256), None);
    }
}

#[test]
fn the_state_shows_the_last_value_over_all_layers() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open(options(dir.path()));
    let set = |rows: &[(&str, Option<&str>)]| {
        let rows = rows
            .iter()
            .map(|(key, value)| (key.as_bytes().to_vec(), value.map(|value| value.as_bytes().to_vec().into())));
        wait(&ledger, ledger.submit(Batch { state: rows.collect(), ..Batch::default() }).unwrap());
    };
    let rows = |limit| {
        let rows = ledger.range(b"a", b"z", limit).into_iter();
        rows.map(|(key, value)| String::from_utf8([&key[..], b"=", &value].concat()).unwrap()).collect::<Vec<_>>()
    };
    set(&[("a", Some("1")), ("b", Some("1")), ("c", Some("1")), ("z", Some("1"))]);
    ledger.flush();
    set(&[("a", None), ("b", Some("2")), ("d", Some("2"))]);
    assert_eq!(rows(9), ["b=2", "c=1", "d=2"]);
    assert_eq!(rows(2), ["b=2", "c=1"]);
    ledger.flush();
    assert_eq!(rows(9), ["b=2", "c=1", "d=2"]);
    append(&ledger, 0, 2);
    ledger.clear_state();
    assert_eq!(rows(9), [""; 0]);
    assert_eq!(*ledger.get_private(b"p00000000").unwrap(), *b"sealed");
    ledger.close();
    let (ledger, _) = open(options(dir.path()));
    assert_eq!(ledger.get(b"b"), None);
    complete(&ledger, 2);
}

#[test]
fn a_new_row_comes_and_goes_in_any_layer() {
    let new = || Some(Value::New);
    // What is set on a key, with a store round after it or not, and whether the row is there in the end. Of a row that is
    // there nobody says that it is new.
    type Sets<'a> = &'a [(Option<Value>, bool)];
    let table: [(Sets<'_>, bool); 7] = [
        (&[(new(), false)], true),
        (&[(new(), false), (None, false)], false),
        (&[(new(), true), (None, false)], false),
        (&[(new(), true), (None, false), (new(), false)], true),
        (&[(new(), true), (None, false), (new(), false), (None, false)], false),
        (&[(new(), true), (None, true), (new(), false), (None, false)], false),
        (&[(new(), false), (None, false), (new(), true)], true),
    ];
    // With marks, `k` is one.
    let each = table.iter().enumerate().flat_map(|row| [(row, vec![]), (row, vec![b'k'])]);
    for ((nth, (sets, there)), marks) in each {
        let dir = tempfile::tempdir().unwrap();
        let (ledger, _) = open(Options { marks, ..options(dir.path()) });
        for (value, round) in *sets {
            let state = [(b"k".to_vec(), value.clone())].into();
            wait(&ledger, ledger.submit(Batch { state, ..Batch::default() }).unwrap());
            if *round {
                ledger.flush();
            }
        }
        assert_eq!(ledger.get(b"k").is_some(), *there, "{nth}");
        ledger.flush();
        assert_eq!(ledger.range(b"a", b"z", 9).len(), usize::from(*there), "{nth}");
        assert_eq!(ledger.range(b"k", b"l", 9).len(), usize::from(*there), "{nth}");
    }
}

#[test]
fn a_directory_serves_one_process() {
    let dir = tempfile::tempdir().unwrap();
    let _first = open(options(dir.path()));
    assert!(matches!(Ledger::open(options(dir.path())), Err(OpenError::InUse(_))));
}

fn segment(dir: &Path, number: u64) -> std::path::PathBuf {
    dir.join(format!("data/journal/{number:012}.journal"))
}

/// A closed ledger of `size` entries, one commit each, stored up to the end only if `stored`.
fn written(dir: &Path, size: u64, stored: bool) {
    let mut options = options(dir);
    options.segment_bytes = 4_000;
    let (ledger, _) = open(options);
    (0..size).for_each(|index| append(&ledger, index, 1));
    ledger.close();
    if !stored {
        std::fs::remove_dir_all(dir.join("data/store")).unwrap();
    }
}

#[test]
fn a_lost_store_is_built_again_from_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), 40, false);
    let (ledger, report) = open(options(dir.path()));
    assert!(segment(dir.path(), 3).exists(), "the journal must have rolled");
    assert!(report.replayed_frames > 40 && report.stored.is_empty());
    complete(&ledger, 40);
    assert_eq!(ledger.range_private(b"p", b"q", 99).len(), 40);
    assert_eq!(ledger.get(b"count"), None, "the state is the caller's to fold again");
}

#[test]
fn a_store_of_rubbish_is_set_aside_and_built_again() {
    for what in ["db", "snap"] {
        let dir = tempfile::tempdir().unwrap();
        written(dir.path(), 40, true);
        let store = dir.path().join("data/store");
        for file in std::fs::read_dir(&store).unwrap().map(|file| file.unwrap().path()) {
            if file.file_name().unwrap().to_str().unwrap().starts_with(what) {
                let length = std::fs::metadata(&file).unwrap().len() as usize;
                std::fs::write(&file, vec![0xa5; length]).unwrap();
            }
        }
        let (ledger, report) = open(options(dir.path()));
        complete(&ledger, 40);
        assert_eq!(ledger.range_private(b"p", b"q", 99).len(), 40);
        let aside = dir.path().join("data/store.damaged-1").exists();
        assert_eq!(aside, report.rebuilt.is_some());
        // sled takes some damage for an empty store; either way everything comes back from the journal.
        assert!(what == "snap" || report.replayed_frames > 40);
    }
}

/// Story 14: a frame that a power cut tore is cut, and nothing else; where it had been acknowledged the marker knows, and
/// the node asks its peers before it writes.
#[test]
fn s14_a_torn_last_frame_is_cut_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), 3, false);
    let path = segment(dir.path(), 1);
    let bytes = std::fs::read(&path).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    for (torn, size) in [(end - 1, 2), (end - 200, 2), (end, 3)] {
        std::fs::write(&path, &bytes[..torn]).unwrap();
        let _ = std::fs::remove_dir_all(dir.path().join("data/store"));
        // The machine lost its power: nobody knows whether the last write was acknowledged, so the others are asked.
        let after_power_cut = Options { boot_id: "boot-2".into(), ..options(dir.path()) };
        let (ledger, report) = open(after_power_cut);
        assert_eq!((report.size, report.torn_bytes > 0), (size, size == 2), "cut at {torn}");
        assert!(!report.plain_restart);
        complete(&ledger, size);
    }
    let (ledger, report) = open(options(dir.path()));
    assert!(report.plain_restart);
    complete(&ledger, 3);
}

/// The same in the boot in which it was acknowledged: no tear, but damage, whatever the frame holds.
#[test]
fn s14_an_acknowledged_last_frame_that_cannot_be_read_stops_the_node() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), 3, false);
    let path = segment(dir.path(), 1);
    let (ledger, _) = open(options(dir.path()));
    let private = [(b"p9".to_vec(), Some(b"sealed".to_vec()))].into();
    wait(&ledger, ledger.submit(Batch { private, ..Batch::default() }).unwrap());
    ledger.close();
    let good = std::fs::read(&path).unwrap();
    let end = good.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let flipped: Vec<u8> =
        good.iter().enumerate().map(|(at, byte)| if at == end - 3 { byte ^ 1 } else { *byte }).collect();
    for bytes in [&flipped[..], &good[..end - 1]] {
        std::fs::write(&path, bytes).unwrap();
        let _ = std::fs::remove_dir_all(dir.path().join("data/store"));
        let error = Ledger::open(options(dir.path())).err().expect("damage must not open");
        assert!(matches!(error, OpenError::Journal(JournalError::Damaged { segment: 1, .. })), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "nothing is cut off");
    }
    std::fs::write(&path, &good).unwrap();
    assert!(open(options(dir.path())).0.get_private(b"p9").is_some());
}

/// Story 14: a byte that turned in a frame which others stand upon is no tear: the node does not start.
#[test]
fn s14_a_flipped_byte_in_an_acknowledged_frame_stops_the_node() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), 12, false);
    let path = segment(dir.path(), 1);
    let good = std::fs::read(&path).unwrap();
    for at in [0, 20, 30, 60, 400, 900, 1_500] {
        let mut bytes = good.clone();
        bytes[at] ^= 4;
        std::fs::write(&path, &bytes).unwrap();
        let error = Ledger::open(options(dir.path())).err().expect("damage must not open");
        assert!(matches!(error, OpenError::Journal(JournalError::Damaged { segment: 1, .. })), "byte {at}: {error}");
    }
    std::fs::write(&path, &good).unwrap();
    complete(&open(options(dir.path())).0, 12);
}

#[test]
fn a_store_ahead_of_its_journal_stops_the_node() {
    for gone in [1, 12] {
        let dir = tempfile::tempdir().unwrap();
        written(dir.path(), 12, true);
        for number in gone..=12 {
            let _ = std::fs::remove_file(segment(dir.path(), number));
        }
        let path = segment(dir.path(), 1);
        if let Ok(bytes) = std::fs::read(&path) {
            std::fs::write(&path, &bytes[..1_000]).unwrap();
            (2..12).for_each(|number| drop(std::fs::remove_file(segment(dir.path(), number))));
        }
        let error = Ledger::open(options(dir.path())).err().expect("must not open");
        assert!(matches!(error, OpenError::Journal(JournalError::StoreAhead { .. })), "{gone}: {error}");
    }
}

#[test]
fn a_missing_segment_and_a_foreign_key_stop_the_node() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), 40, false);
    std::fs::rename(segment(dir.path(), 2), dir.path().join("kept")).unwrap();
    let error = Ledger::open(options(dir.path())).err().unwrap();
    assert!(matches!(error, OpenError::Journal(JournalError::Missing(2))), "{error}");
    std::fs::rename(dir.path().join("kept"), segment(dir.path(), 2)).unwrap();

    let mut foreign = options(dir.path());
    let other = ledger::key::PrivateKey::from_seed(&[9; 32]);
    foreign.signer = ledger::key::NoteSigner::new(ORIGIN, other).unwrap().into();
    assert!(matches!(Ledger::open(foreign), Err(OpenError::DoesNotContinue { .. })));
}

#[test]
fn a_copy_brought_back_is_no_plain_restart() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), 5, true);
    let (data, copy) = (dir.path().join("data"), dir.path().join("copy"));
    let copied = |from: &Path, to: &Path| {
        assert!(std::process::Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
    };
    copied(&data, &copy);
    let (ledger, report) = open(options(dir.path()));
    assert!(report.plain_restart);
    append(&ledger, 5, 1);
    ledger.close();
    std::fs::remove_dir_all(&data).unwrap();
    copied(&copy, &data);
    let (ledger, report) = Ledger::open(options(dir.path())).unwrap();
    assert_eq!((report.plain_restart, report.size), (false, 5));
    assert_eq!(ledger.submit(batch(5, 1)), Err(SubmitError::NotYet));
    ledger.close();
    let mut rebooted = options(dir.path());
    rebooted.boot_id = "boot-2".into();
    assert!(!Ledger::open(rebooted).unwrap().1.plain_restart);
}
