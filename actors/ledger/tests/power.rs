//! Stories on a disk and a store in memory that lose what was not synced, and fail on command.
#![allow(clippy::unwrap_used)]

mod support;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use ledger::disk::{Call, Disk, MemoryDisk};
use ledger::fail::Stop;
use ledger::journal::JournalError;
use ledger::log::{Ledger, Options, SubmitError};
use ledger::recover::{OpenError, OpenReport};
use ledger::store::memory::MemoryStore;
use support::*;

fn open_on(options: Options, disk: &MemoryDisk, store: &MemoryStore) -> Result<(Ledger, OpenReport), OpenError> {
    let (ledger, report) = Ledger::open_on(options, Box::new(disk.clone()), Arc::new(store.clone()))?;
    ledger.allow_writing();
    Ok((ledger, report))
}

#[test]
fn a_power_loss_takes_nothing_that_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    for seed in 0..150 {
        let (mut disk, mut store) = (MemoryDisk::new(), MemoryStore::new());
        let mut size = 0;
        for life in 0..3 {
            let mut options = options(dir.path());
            options.segment_bytes = 2_000 + seed * 17;
            options.stop = Stop::hooked(|_| ());
            options.store_every = Duration::from_millis(1 + seed % 3);
            let (ledger, _) = open_on(options, &disk, &store).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            complete(&ledger, size);
            size = ledger.accepted_size(ORIGIN);
            let rows = ledger.range_private(b"p", b"q", 1_000).len() as u64;
            assert_eq!(rows * 3, size, "seed {seed}: half a batch");
            for _ in 0..=(seed + life) % 4 {
                append(&ledger, size, 3);
                size += 3;
            }
            // One more is under way while the power fails; nobody was told of it.
            let _ = ledger.submit(batch(size, 3));
            (disk, store) = (disk.lose_power(seed * 3 + life), store.lose_power(seed * 5 + life));
            ledger.close();
        }
    }
}

/// A disk on which, once `killed`, nothing is synced any more: the process is gone, the page cache is not.
struct PageCache {
    disk: MemoryDisk,
    killed: Arc<AtomicBool>,
}

impl Disk for PageCache {
    fn segments(&mut self) -> io::Result<Vec<u64>> {
        self.disk.segments()
    }
    fn read(&mut self, segment: u64) -> io::Result<Vec<u8>> {
        self.disk.read(segment)
    }
    fn create(&mut self, segment: u64, bytes: &[u8]) -> io::Result<()> {
        self.disk.create(segment, bytes)
    }
    fn resume(&mut self, segment: u64, length: u64) -> io::Result<()> {
        self.disk.resume(segment, length)
    }
    fn remove(&mut self, segment: u64) -> io::Result<()> {
        self.disk.remove(segment)
    }
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.disk.append(bytes)
    }
    fn sync(&mut self) -> io::Result<()> {
        if self.killed.load(Ordering::SeqCst) {
            return Err(io::Error::other("killed"));
        }
        self.disk.sync()
    }
}

/// Story 15: a frame that was only in the page cache when the process was killed is found at the next open, and is synced
/// before anything built on it can leave the node: a power cut right after the open takes nothing of it away.
#[test]
fn s15_what_was_replayed_survives_the_power_cut_that_follows() {
    for seed in 0..60 {
        let dir = tempfile::tempdir().unwrap();
        let (disk, store) = (MemoryDisk::new(), MemoryStore::new());
        let killed = Arc::new(AtomicBool::new(false));
        let (stopped, hears) = mpsc::channel();
        let mut dying = options(dir.path());
        dying.stop = Stop::hooked(move |_| {
            let _ = stopped.send(());
        });
        let cached = PageCache { disk: disk.clone(), killed: killed.clone() };
        let (ledger, _) = Ledger::open_on(dying, Box::new(cached), Arc::new(store.clone())).unwrap();
        ledger.allow_writing();
        append(&ledger, 0, 3);
        killed.store(true, Ordering::SeqCst);
        let _ = ledger.submit(batch(3, 2));
        hears.recv_timeout(Duration::from_secs(20)).unwrap();

        let mut next = options(dir.path());
        next.stop = Stop::hooked(|_| ());
        let (ledger, report) = Ledger::open_on(next, Box::new(disk.clone()), Arc::new(store.clone())).unwrap();
        assert_eq!((report.size, ledger.accepted_size(ORIGIN)), (5, 5), "seed {seed}: the page cache had it");
        // Peers may hear of it from here on; now the power fails before anything else is written.
        let heard = ledger.head(ORIGIN).unwrap().checkpoint;
        let (disk, store) = (disk.lose_power(seed), store.lose_power(seed));
        let (ledger, report) = open_on(options(dir.path()), &disk, &store).unwrap();
        assert_eq!((report.size, ledger.head(ORIGIN).unwrap().checkpoint), (5, heard), "seed {seed}");
        complete(&ledger, 5);
    }
}

#[test]
fn nobody_hears_before_the_sync() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, store) = (MemoryDisk::new(), MemoryStore::new());
    let (ledger, _) = open_on(options(dir.path()), &disk, &store).unwrap();
    let hints = shared(0);
    let counted = hints.clone();
    ledger.on_commit(Box::new(move || *counted.lock() += 1));
    let (told, hears) = mpsc::channel();
    for index in 0..50 {
        let ticket = ledger.submit(batch(index, 1)).unwrap();
        let (told, seen, ledger_then) = (told.clone(), disk.clone(), ledger.clone());
        ledger.when_durable(
            ticket,
            Box::new(move || {
                let head = ledger_then.head(ORIGIN).unwrap().checkpoint.size;
                told.send((index, ticket, seen.calls(), head, ledger_then.durable())).unwrap();
            }),
        );
    }
    for _ in 0..50 {
        let (index, ticket, calls, head, durable) = hears.recv_timeout(Duration::from_secs(20)).unwrap();
        assert!(head > index && durable >= ticket, "the head covers what was acknowledged");
        let appended = calls.iter().rposition(|call| *call == Call::Append).unwrap();
        let synced = calls.iter().rposition(|call| *call == Call::Sync).unwrap();
        // A call made at once from this thread may see the next frame being written; each frame has its sync.
        let frames = calls[..=synced].iter().filter(|call| **call == Call::Append).count();
        assert!(frames >= 1 && (appended < synced || calls.len() - appended == 1), "{calls:?}");
    }
    // The hint follows the answers.
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while *hints.lock() == 0 {
        assert!(std::time::Instant::now() < deadline, "nobody was told that the log has grown");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_failing_journal_stops_the_process_and_answers_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, store) = (MemoryDisk::new(), MemoryStore::new());
    let (stopped, hears) = mpsc::channel();
    let mut options = options(dir.path());
    options.stop = Stop::hooked(move |reason| stopped.send(reason.to_owned()).unwrap());
    let (ledger, _) = open_on(options, &disk, &store).unwrap();
    append(&ledger, 0, 1);
    disk.fail();
    let ticket = ledger.submit(batch(1, 1)).unwrap();
    let (told, answers) = mpsc::channel();
    ledger.when_durable(ticket, Box::new(move || told.send(()).unwrap()));
    assert!(hears.recv_timeout(Duration::from_secs(20)).unwrap().contains("journal"));
    assert!(answers.recv_timeout(Duration::from_millis(100)).is_err());
    assert_eq!((ledger.durable(), ledger.head(ORIGIN).unwrap().checkpoint.size), (1, 1));
}

#[test]
fn a_failing_store_stops_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, store) = (MemoryDisk::new(), MemoryStore::new());
    let (stopped, hears) = mpsc::channel();
    let mut options = options(dir.path());
    options.stop = Stop::hooked(move |reason| drop(stopped.send(reason.to_owned())));
    let (ledger, _) = open_on(options, &disk, &store).unwrap();
    store.fail();
    let read = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| ledger.get(b"unknown")));
    assert!(read.is_err(), "a read must not answer");
    assert!(hears.recv_timeout(Duration::from_secs(20)).unwrap().contains("memory store was told to fail"));
}

#[test]
fn damage_in_memory_is_found_at_open() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, store) = (MemoryDisk::new(), MemoryStore::new());
    let (ledger, _) = open_on(options(dir.path()), &disk, &store).unwrap();
    (0..300).for_each(|index| append(&ledger, index, 1));
    ledger.close();
    assert!(store.flip(b"ra.example/log\0\0"), "the right edge is stored under this key");
    let error = open_on(options(dir.path()), &disk, &store).err().unwrap();
    assert!(matches!(error, OpenError::CannotRebuild(_)), "{error}");
    assert!(disk.flip(1, 5_000));
    let error = open_on(options(dir.path()), &disk, &MemoryStore::new()).err().unwrap();
    assert!(matches!(error, OpenError::Journal(JournalError::Damaged { .. })), "{error}");
}

#[test]
fn what_waits_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, store) = (MemoryDisk::new(), MemoryStore::new());
    let mut options = options(dir.path());
    options.max_unstored_bytes = 10_000;
    options.store_every = Duration::from_secs(3600);
    let (ledger, _) = open_on(options, &disk, &store).unwrap();
    let (mut size, mut busy) = (0, 0);
    while size < 500 {
        match ledger.submit(batch(size, 10)) {
            Ok(_) => size += 10,
            Err(SubmitError::Busy) => {
                busy += 1;
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) => panic!("{error}"),
        }
        assert!(ledger.stats().unstored_bytes <= 10_000);
    }
    assert!(busy > 0 && ledger.stats().stores > 0, "it was busy and then went on");
    ledger.flush();
    complete(&ledger, 500);
}
