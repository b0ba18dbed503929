//! What the ledger's stories share: a place on disk, keys, batches and waiting.
#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use ledger::checkpoint::Checkpoint;
use ledger::key::{NoteSigner, NoteVerifier, PrivateKey};
use ledger::log::{Batch, Ledger, Options};
use ledger::merkle::{Edge, Hash, leaf_hash};
use ledger::recover::OpenReport;

pub const ORIGIN: &str = "a.example/log";
pub const PEER: &str = "b.example/log";

pub fn signer(name: &str) -> NoteSigner {
    NoteSigner::new(name, PrivateKey::from_seed(&[name.as_bytes()[0]; 32])).unwrap()
}

pub fn keys(name: &str) -> [NoteVerifier; 1] {
    [signer(name).verifier().clone()]
}

pub fn options(dir: &Path) -> Options {
    Options {
        store_every: Duration::from_millis(20),
        min_free_disk_bytes: 0,
        marker_dir: dir.join("shm"),
        marks: vec![b'k'],
        ..Options::new(dir.join("data"), signer(ORIGIN), "boot-1")
    }
}

/// A ledger that may write.
pub fn open(options: Options) -> (Ledger, OpenReport) {
    let (ledger, report) = Ledger::open(options).unwrap();
    ledger.allow_writing();
    (ledger, report)
}

pub fn entry(index: u64) -> Vec<u8> {
    format!("entry {index} {}", "x".repeat((index % 300) as usize)).into_bytes()
}

/// The next `count` entries of the own log, with their count in the state and a private row.
pub fn batch(from: u64, count: u64) -> Batch {
    Batch {
        expected_size: from,
        own: (from..from + count).map(|index| entry(index).into()).collect(),
        state: [(b"count".to_vec(), Some((from + count).to_le_bytes().to_vec().into()))].into(),
        private: [(format!("p{from:08}").into_bytes(), Some(b"sealed".to_vec()))].into(),
        ..Batch::default()
    }
}

pub fn wait(ledger: &Ledger, ticket: u64) {
    let (done, waits) = mpsc::channel();
    ledger.when_durable(ticket, Box::new(move || done.send(()).unwrap()));
    waits.recv_timeout(Duration::from_secs(20)).unwrap();
}

/// Appends and waits until it is durable.
pub fn append(ledger: &Ledger, from: u64, count: u64) {
    let ticket = ledger.submit(batch(from, count)).unwrap();
    wait(ledger, ticket);
}

pub fn root(size: u64) -> Hash {
    let mut edge = Edge::default();
    (0..size).for_each(|index| edge.push(leaf_hash(&entry(index))));
    edge.root()
}

/// The signed head of another log that has the same entries.
pub fn signed(origin: &str, size: u64) -> String {
    Checkpoint { origin: origin.into(), size, root: root(size) }.sign(&signer(origin))
}

/// Everything that must be there after `size` entries were acknowledged: entries, head, private rows.
pub fn complete(ledger: &Ledger, size: u64) {
    assert!(ledger.accepted_size(ORIGIN) >= size, "{} of {size}", ledger.accepted_size(ORIGIN));
    let entries = ledger.entries(ORIGIN, 0, usize::MAX);
    assert_eq!(entries.len() as u64, ledger.accepted_size(ORIGIN));
    for (index, found) in entries.iter().enumerate() {
        assert_eq!(**found, entry(index as u64), "entry {index}");
    }
    if let Some(head) = ledger.head(ORIGIN) {
        let checkpoint = Checkpoint::open(head.note.as_bytes(), ORIGIN, &keys(ORIGIN)).unwrap();
        assert_eq!(checkpoint, head.checkpoint);
        assert_eq!(checkpoint.root, root(checkpoint.size));
        assert!(checkpoint.size >= size);
    } else {
        assert_eq!(size, 0);
    }
}

pub fn shared<T: Send + 'static>(value: T) -> Arc<parking_lot::Mutex<T>> {
    Arc::new(parking_lot::Mutex::new(value))
}
