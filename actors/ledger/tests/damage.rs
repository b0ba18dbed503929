//! Random damage: a bit that turned anywhere in a directory. What opens answers right; what does not says why.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ledger::checkpoint::Checkpoint;
use ledger::fail::Stop;
use ledger::log::{Batch, Ledger, Options};
use ledger::mirror;
use ledger::survey;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use support::*;

/// Bits that are turned, each in a fresh copy. A release is tried with more: `VOUCHER_FLIPS=10000`.
const FLIPS: u64 = 1_000;

/// Entries of the own log.
const SIZE: u64 = 80;

/// Entries of the mirror.
const MIRRORED: u64 = 40;

/// A directory in memory: what is tried here is the reading, not the disk.
fn in_memory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn small(dir: &Path) -> Options {
    // Written when it is asked for, and not in between.
    Options { segment_bytes: 6_000, store_every: Duration::from_secs(3_600), ..options(dir) }
}

/// A ledger with several segments, a mirror, private rows and state. `closed` has all of it in the store; the other is as a kill
/// leaves it, with half of it in the store.
fn template(dir: &Path, closed: bool) -> Template {
    let live = dir.join("live");
    let (ledger, _) = open(small(&live));
    for size in (0..SIZE).step_by(5) {
        append(&ledger, size, 5);
        if size == SIZE / 2 {
            let held = ledger.edge(PEER);
            let entries: Vec<Vec<u8>> = (0..MIRRORED).map(entry).collect();
            let entries: Vec<&[u8]> = entries.iter().map(Vec::as_slice).collect();
            let note = signed(PEER, MIRRORED);
            let step = mirror::step(&held, note.as_bytes(), PEER, &keys(PEER), &entries, &[]).unwrap();
            wait(&ledger, ledger.submit(Batch { mirrors: vec![step], ..Batch::default() }).unwrap());
            ledger.flush();
        }
    }
    let copy = dir.join("copy");
    if closed {
        ledger.close();
        copy_dir(&live, &copy);
    } else {
        copy_dir(&live, &copy);
        ledger.close();
    }
    let mut found = Vec::new();
    files(&copy, &copy, &mut found);
    found.sort();
    for (file, used) in found.iter().filter(|(file, _)| file.extension().is_some_and(|end| end == "journal")) {
        // The space ahead is zeros: some of it is enough, and a thousand copies take their time.
        std::fs::File::options().write(true).open(copy.join(file)).unwrap().set_len(*used as u64 + 256).unwrap();
    }
    Template { dir: copy, files: found }
}

/// A directory to be copied, and its files: how many bytes of each say something.
struct Template {
    dir: PathBuf,
    files: Vec<(PathBuf, usize)>,
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_dir(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// The files under a directory, and how many bytes of each say something: behind them are zeros.
fn files(top: &Path, dir: &Path, found: &mut Vec<(PathBuf, usize)>) {
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            files(top, &path, found);
        } else {
            let bytes = std::fs::read(&path).unwrap();
            let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| (last + 64).min(bytes.len()));
            if used > 0 {
                found.push((path.strip_prefix(top).unwrap().to_owned(), used));
            }
        }
    }
}

/// Opens a directory and asks it for everything; what came of it, in a word.
fn judge(dir: &Path, boot: &str) -> String {
    let failed = Arc::new(OnceLock::new());
    let heard = failed.clone();
    let stop = Stop::hooked(move |reason| drop(heard.set(reason.to_owned())));
    let opened = Ledger::open(Options { stop, boot_id: boot.into(), ..small(dir) });
    let (ledger, report) = match opened {
        Ok(opened) => opened,
        Err(error) => return name_of(&error.to_string()),
    };
    let read = catch_unwind(AssertUnwindSafe(|| {
        let size = ledger.accepted_size(ORIGIN);
        complete(&ledger, size);
        let mirrored = ledger.entries(PEER, 0, usize::MAX);
        assert_eq!(mirrored.len() as u64, ledger.accepted_size(PEER));
        (0..)
            .zip(&mirrored)
            .for_each(|(index, found)| assert_eq!(**found, entry(index), "entry {index} of the mirror"));
        // The state is what was folded up to where it says, or is not there.
        let stored = report.stored.iter().find(|(origin, _)| origin == ORIGIN).map(|(_, size)| *size);
        if let Some(count) = ledger.get(b"count") {
            assert_eq!(Some(&*count), stored.map(u64::to_le_bytes).as_ref().map(|bytes| &bytes[..]), "{report:?}");
        }
        for (key, value) in ledger.range_private(b"p", b"q", 999) {
            let first: u64 = std::str::from_utf8(&key[1..]).unwrap().parse().unwrap();
            assert!(first < size && *value == *b"sealed", "a private row of {first}");
        }
        let private = ledger.range_private(b"p", b"q", 999).len() as u64;
        assert_eq!(private, size / 5);
        assert!(size == SIZE || !report.plain_restart, "{size} entries, and it may write");
        assert!(size == SIZE || report.torn_bytes > 0, "{size} entries, and nothing is said");
        (size, ledger.accepted_size(PEER))
    }));
    match (read, failed.get()) {
        (Ok((SIZE, MIRRORED)), _) if report.rebuilt.is_some() => "opens, the store rebuilt".into(),
        (Ok((SIZE, MIRRORED)), _) => "opens".into(),
        (Ok(_), _) => "opens without a torn last write, and may not write".into(),
        (Err(_), Some(reason)) => format!("stops: {}", name_of(reason)),
        (Err(cause), None) => std::panic::resume_unwind(cause),
    }
}

/// The name of a reason: its first words.
fn name_of(reason: &str) -> String {
    let words: Vec<&str> = reason.split([' ', ':']).filter(|word| !word.is_empty()).take(5).collect();
    format!("refused: {}", words.join(" ").replace(|c: char| c.is_ascii_digit(), "N"))
}

/// Turns one bit of a copy of a template, which `seed` chooses, and judges what is left.
fn flip(home: &Path, templates: &[Template; 2], seed: u64) -> String {
    let mut random = StdRng::seed_from_u64(seed);
    let template = &templates[random.random_range(0..2_usize)];
    let dir = home.join(format!("flip-{seed}"));
    copy_dir(&template.dir, &dir);
    let (file, used) = &template.files[random.random_range(0..template.files.len())];
    let (at, bit) = (random.random_range(0..*used), random.random_range(0..8_u8));
    let path = dir.join(file);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[at] ^= 1 << bit;
    std::fs::write(path, bytes).unwrap();
    // In half of the cases the machine was started anew, so that no marker knows what was acknowledged.
    let boot = ["boot-1", "boot-2"][random.random_range(0..2_usize)];
    let outcome = catch_unwind(AssertUnwindSafe(|| judge(&dir, boot)));
    let file = file.display();
    let outcome = outcome.unwrap_or_else(|_| panic!("seed {seed}: bit {bit} of byte {at} of {file}, {boot}"));
    std::fs::remove_dir_all(&dir).unwrap();
    outcome
}

#[test]
fn a_bit_that_turned_anywhere_gives_no_wrong_answer() {
    let flips = std::env::var("VOUCHER_FLIPS").ok().and_then(|n| n.parse().ok()).unwrap_or(FLIPS);
    let home = in_memory();
    let templates = [true, false].map(|closed| {
        let dir = home.path().join(format!("closed-{closed}"));
        template(&dir, closed)
    });
    // sled panics on damage, which is caught; to find out where each time would take most of the time.
    std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
    let next = AtomicU64::new(0);
    let outcomes: Mutex<BTreeMap<String, u64>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= flips {
                        return;
                    }
                    *outcomes.lock().entry(flip(home.path(), &templates, seed)).or_default() += 1;
                }
            });
        }
    });
    let outcomes = outcomes.into_inner();
    println!("{outcomes:#?}");
    assert_eq!(outcomes.values().sum::<u64>(), flips);
}

/// What a journal holds is read while it is written, and is always a beginning of what was acknowledged.
#[test]
fn a_journal_is_surveyed_while_it_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open(small(dir.path()));
    let writing = std::thread::spawn({
        let ledger = ledger.clone();
        move || (0..200).for_each(|size| append(&ledger, size, 1))
    });
    let mut seen = 0;
    while !writing.is_finished() {
        let known = ledger.head(ORIGIN).map_or(0, |head| head.checkpoint.size);
        let held = survey::survey(&dir.path().join("data"), ORIGIN).unwrap();
        let Some(end) = held.logs.get(ORIGIN) else { continue };
        assert!(end.entries >= known.max(seen), "{} of {known}", end.entries);
        let head = end.head.as_ref().unwrap();
        let signed = Checkpoint::open(head.note.as_bytes(), ORIGIN, &keys(ORIGIN)).unwrap();
        assert_eq!((signed.size, signed.root), (end.entries, root(end.entries)));
        seen = end.entries;
    }
    writing.join().unwrap();
    let held = survey::survey(&dir.path().join("data"), ORIGIN).unwrap();
    assert_eq!((held.logs[ORIGIN].entries, held.torn_bytes), (200, 0));
    assert!(held.segments.len() > 3);
    ledger.close();
}
