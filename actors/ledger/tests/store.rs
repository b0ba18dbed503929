//! One conformance test over every store, and what the one in memory loses.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use ledger::store::memory::MemoryStore;
use ledger::store::sled::SledStore;
use ledger::store::{Changes, Store};

fn changes(rows: &[(&str, Option<&str>)]) -> Changes {
    let bytes = |text: &str| Arc::from(text.as_bytes());
    rows.iter().map(|(key, value)| (key.as_bytes().to_vec(), value.map(bytes))).collect()
}

fn text(row: (Vec<u8>, Arc<[u8]>)) -> String {
    String::from_utf8([&row.0[..], b"=", &row.1].concat()).unwrap()
}

fn conforms(store: &dyn Store) {
    store.apply(changes(&[("a", Some("1")), ("b", Some("1")), ("d", Some("1"))])).unwrap();
    store.apply(changes(&[("a", None), ("b", Some("2")), ("x", None)])).unwrap();
    store.sync().unwrap();
    assert_eq!(store.get(b"a").unwrap(), None);
    assert_eq!(*store.get(b"b").unwrap().unwrap(), *b"2");
    // from, to, limit, rows
    let table: [(&str, &str, usize, &[&str]); 6] = [
        ("a", "z", 9, &["b=2", "d=1"]),
        ("a", "z", 1, &["b=2"]),
        ("a", "d", 9, &["b=2"]),
        ("b", "b", 9, &[]),
        ("z", "a", 9, &[]),
        ("a", "z", 0, &[]),
    ];
    for (from, to, limit, rows) in table {
        let found: Vec<_> = store.range(from.as_bytes(), to.as_bytes(), limit).unwrap().into_iter().map(text).collect();
        assert_eq!(found, rows, "{from}..{to} {limit}");
    }
    // from, to, row
    let table = [("a", "c", Some("b=2")), ("a", "d", Some("d=1")), ("c", "c", None), ("z", "a", None)];
    for (from, to, row) in table {
        let found = store.last(from.as_bytes(), to.as_bytes()).unwrap().map(text);
        assert_eq!(found.as_deref(), row, "{from}..={to}");
    }
}

#[test]
fn every_store_conforms() {
    conforms(&MemoryStore::new());
    let dir = tempfile::tempdir().unwrap();
    conforms(&SledStore::open(dir.path()).unwrap());
    let again = SledStore::open(dir.path()).unwrap();
    assert_eq!(*again.get(b"b").unwrap().unwrap(), *b"2");
}

#[test]
fn a_large_round_is_whole_after_it_was_left_half_made() {
    let dir = tempfile::tempdir().unwrap();
    let rows = |value: &str| -> Changes {
        let row = |n: usize| (format!("k{n:04}").into_bytes(), Some(Arc::from(value.as_bytes())));
        (0..1_000).map(row).chain([(b"gone".to_vec(), None)]).collect()
    };
    let open = || SledStore::open(dir.path()).unwrap();
    let file = dir.path().join("round");
    let store = open();
    store.apply(changes(&[("gone", Some("1"))])).unwrap();
    store.apply(rows("old")).unwrap();
    store.sync().unwrap();
    assert_eq!(std::fs::read(&file).unwrap().len(), 0, "a round that is stored is not made again");
    store.apply(rows("new")).unwrap();
    let written = std::fs::read(&file).unwrap();
    // The crash: half of the rows are there, and the round file.
    store.sync().unwrap();
    store.apply(changes(&[("gone", Some("1")), ("k0007", Some("old")), ("k0999", None)])).unwrap();
    store.sync().unwrap();
    drop(store);
    std::fs::write(&file, &written).unwrap();
    let store = open();
    let found = store.range(b"a", b"z", 9_999).unwrap();
    assert_eq!(found.len(), 1_000);
    assert!(found.iter().all(|(_, value)| **value == *b"new"));
    assert_eq!(std::fs::read(&file).unwrap().len(), 0);
    drop(store);
    // A round that was torn while it was written was not begun in the store.
    std::fs::write(&file, &written[..written.len() / 2]).unwrap();
    assert_eq!(open().range(b"a", b"z", 9_999).unwrap().len(), 1_000);
}

#[test]
fn memory_loses_whole_rounds_that_were_not_synced_and_no_others() {
    let mut outcomes = std::collections::BTreeSet::new();
    for seed in 0..40 {
        let store = MemoryStore::new();
        store.apply(changes(&[("kept", Some("1"))])).unwrap();
        store.sync().unwrap();
        store.apply(changes(&[("a1", Some("1")), ("a2", Some("1"))])).unwrap();
        store.apply(changes(&[("b1", Some("1")), ("b2", Some("1"))])).unwrap();
        let store = store.lose_power(seed);
        let there = |key: &str| store.get(key.as_bytes()).unwrap().is_some();
        assert!(there("kept"));
        assert_eq!((there("a1"), there("b1")), (there("a2"), there("b2")), "seed {seed}: half a round");
        outcomes.insert((there("a1"), there("b1")));
    }
    assert_eq!(outcomes.len(), 4, "any subset may be lost");
}
