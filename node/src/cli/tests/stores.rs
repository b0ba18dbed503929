//! `verify` and `rebuild` over stores that are good, spoiled, in use and absent.

use std::fs;

use actors::keys;
use domain::ids::VoucherId;
use domain::member::Role;
use domain::record::{Body, Record};
use domain::time::Timestamp;
use ledger::log::Batch;

use super::house::House;
use crate::cli::store::{self, NotOpened, Opened};
use crate::cli::{rebuild, verify};

fn verdict(house: &House) -> verify::Verdict {
    verify::judge(&house.config, &house.open())
}

/// Row changes of the state, and nothing else.
fn rows(rows: impl IntoIterator<Item = (Vec<u8>, Option<Vec<u8>>)>) -> Batch {
    let state = rows.into_iter().map(|(key, value)| (key, value.map(Into::into))).collect();
    Batch { state, ..Batch::default() }
}

/// An own entry as it is, behind the six that are there.
fn entry(bytes: Vec<u8>) -> Batch {
    Batch { expected_size: 6, own: vec![bytes.into()], ..Batch::default() }
}

fn record(opened: &Opened, index: u64, at: Timestamp) -> Vec<u8> {
    let body = Body::Heartbeat;
    let institution = opened.settings.me;
    let record = Record { institution, index, role: Role::Issuer, at, operator: None, idempotency: None, body };
    ledger::record::encode_record(&record).unwrap()
}

fn voucher(opened: &Opened, n: u128) -> VoucherId {
    VoucherId { issuer: opened.settings.me, uuid: uuid::Uuid::from_u128(n) }
}

#[test]
fn a_good_store_is_good_and_stays_so() {
    let house = House::built();
    let first = verdict(&house);
    assert_eq!(first.faults, [""; 0]);
    assert_eq!(first.notes, [""; 0]);
    assert!(first.good && first.complete);
    assert_eq!((first.logs[0].entries, first.logs[0].signed, first.logs[0].faults), (6, 6, 0));
    assert!(
        first.state.rows > 6 && first.state.differing == 0 && first.report.as_ref().is_some_and(|report| report.good)
    );

    let rebuilt = rebuild::fold_again(&house.open()).unwrap();
    assert_eq!((rebuilt.records, rebuilt.same), (6, Some(true)));
    assert!(rebuilt.after.rows > 6);
    let second = verdict(&house);
    assert_eq!((second.good, &second.logs[0].root), (true, &first.logs[0].root));
}

#[test]
fn a_spoiled_state_is_named_and_rebuilt() {
    type Spoil = fn(&Opened) -> Batch;
    let table: [(&str, Spoil, &str); 5] = [
        (
            "a voucher lost",
            |o| rows([(keys::voucher(voucher(o, 1)), None)]),
            "voucher health.00000000-0000-0000-0000-000000000001 is not",
        ),
        (
            "a voucher swapped",
            |o| {
                let other = o.logs.ledger.get(&keys::voucher(voucher(o, 2))).unwrap();
                rows([(keys::voucher(voucher(o, 1)), Some(other.to_vec()))])
            },
            "voucher health.00000000-0000-0000-0000-000000000001 is not",
        ),
        (
            "a voucher unreadable",
            |o| rows([(keys::voucher(voucher(o, 1)), Some(vec![255; 9]))]),
            "voucher health.00000000-0000-0000-0000-000000000001 is not",
        ),
        (
            "a voucher made up",
            |o| {
                let other = o.logs.ledger.get(&keys::voucher(voucher(o, 2))).unwrap();
                rows([(keys::voucher(voucher(o, 9)), Some(other.to_vec()))])
            },
            "voucher health.00000000-0000-0000-0000-000000000009 is not",
        ),
        ("members forgotten", |_| rows([(keys::REGISTRY.to_vec(), None)]), "the registry of members"),
    ];
    for (case, spoil, said) in table {
        let house = House::built();
        house.spoil(spoil);
        let found = verdict(&house);
        assert!(!found.good && found.complete, "{case}");
        assert_eq!(found.state.differing, 1, "{case}: {:?}", found.faults);
        assert!(found.faults[0].contains(said), "{case}: {:?}", found.faults);

        let rebuilt = rebuild::fold_again(&house.open()).unwrap();
        assert_eq!(rebuilt.same, Some(false), "{case}");
        assert_eq!(verdict(&house).faults, [""; 0], "{case}");
    }
}

#[test]
fn a_state_that_is_behind_is_no_fault() {
    let house = House::built();
    house.spoil(|o| entry(record(o, 6, Timestamp::MAX)));
    let found = verdict(&house);
    assert_eq!(found.faults, [""; 0]);
    assert!(found.notes[0].contains("1 records of health are not folded yet"), "{:?}", found.notes);
    let rebuilt = rebuild::fold_again(&house.open()).unwrap();
    assert_eq!((rebuilt.before, rebuilt.same), (None, None));
    assert_eq!(verdict(&house).notes, [""; 0]);
}

#[test]
fn records_that_cannot_be_are_found_under_a_good_signature() {
    type Make = fn(&Opened) -> Vec<u8>;
    let table: [(&str, Make, &str); 4] = [
        ("noise", |_| vec![1, 2, 3], "record 6 is not a canonical record"),
        ("left over", |o| [record(o, 6, Timestamp::MAX), vec![0]].concat(), "record 6 is not a canonical record"),
        ("elsewhere", |o| record(o, 7, Timestamp::MAX), "record 6 says that it is health.7"),
        ("back-dated", |o| record(o, 6, Timestamp::MIN), "record 6 is dated 1970-01-01T00:00:00.000Z after one of"),
    ];
    for (case, make, said) in table {
        let house = House::built();
        house.spoil(|o| entry(make(o)));
        // The state is folded over it as over any other: it moves nothing.
        rebuild::fold_again(&house.open()).unwrap();
        let found = verdict(&house);
        assert!(!found.good, "{case}");
        assert!(found.faults.iter().any(|fault| fault.contains(said)), "{case}: {:?}", found.faults);
        assert_eq!((found.logs[0].faults, found.state.differing), (1, 0), "{case}");
    }
}

#[test]
fn a_newer_format_is_not_judged_and_not_called_wrong() {
    let house = House::built();
    house.spoil(|_| entry(vec![2, 0, 0]));
    // The state stops in front of it, as a running node's does.
    rebuild::fold_again(&house.open()).unwrap();
    let found = verdict(&house);
    assert_eq!(found.faults, [""; 0]);
    assert!(found.good && !found.complete && found.logs[0].upgrade_needed);
}

#[test]
fn a_damaged_journal_is_told_and_nothing_is_cut() {
    let house = House::built();
    let journal = house.config.store.dir.join("journal");
    let segment = fs::read_dir(&journal).unwrap().map(|e| e.unwrap().path()).find(|p| p.is_file()).unwrap();
    let mut bytes = fs::read(&segment).unwrap();
    let middle = bytes.iter().position(|b| *b != 0).unwrap() + 200;
    bytes[middle] ^= 1;
    fs::write(&segment, &bytes).unwrap();
    // The store alone would not know: it is set aside, so that everything must come from the journal.
    fs::remove_dir_all(house.config.store.dir.join("store")).unwrap();
    match store::open(&house.config) {
        Err(NotOpened::Damaged(why)) => assert!(why.contains("journal"), "{why}"),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("a damaged journal was opened"),
    }
    assert_eq!(fs::read(&segment).unwrap(), bytes);
}

#[test]
fn a_rotten_store_is_told_and_comes_back_from_the_journal() {
    let house = House::built();
    let good = verdict(&house);
    let store = house.config.store.dir.join("store");
    let file = store.join("db");
    let mut bytes = fs::read(&file).unwrap();
    bytes.iter_mut().filter(|byte| **byte != 0).for_each(|byte| *byte ^= 0x55);
    fs::write(&file, bytes).unwrap();

    // sled reports the damage, or takes rubbish for an empty store: either way nothing wrong is called right.
    let found = verdict(&house);
    let told = found.faults.iter().any(|fault| fault.contains("store"));
    assert!(told || found.notes.iter().any(|note| note.contains("not folded")), "{:?} {:?}", found.faults, found.notes);
    let _ = fs::remove_dir_all(&store);
    assert_eq!(rebuild::fold_again(&house.open()).unwrap().records, 6);
    let back = verdict(&house);
    assert_eq!((back.faults, &back.logs[0].root, back.state), (vec![], &good.logs[0].root, good.state));
}

#[test]
fn a_missing_store_accuses_no_signature() {
    let house = House::built();
    fs::remove_dir_all(house.config.store.dir.join("store")).unwrap();
    let found = verdict(&house);
    assert_eq!(found.faults, [""; 0]);
    assert!(found.notes.iter().any(|note| note.contains("6 records of health are not folded")), "{:?}", found.notes);
    assert_eq!((found.logs[0].entries, found.logs[0].signed, found.logs[0].faults), (6, 6, 0));
}

#[test]
fn what_is_not_there_or_in_use_is_not_judged_and_not_made() {
    let house = House::built();
    let running = house.open();
    assert!(matches!(store::open(&house.config), Err(NotOpened::Unusable(why)) if why.contains("in use")));
    drop(running);

    let mut elsewhere = house.config.clone();
    elsewhere.store.dir = house.home.path().join("nowhere");
    assert!(matches!(store::open(&elsewhere), Err(NotOpened::Absent(_))));
    assert!(!elsewhere.store.dir.exists());

    fs::remove_file(house.config.store.keys.join("node.key")).unwrap();
    assert!(matches!(store::open(&house.config), Err(NotOpened::Keys(_))));
    assert!(!house.config.store.keys.join("node.key").exists());
    assert!(house.file().is_file());
}
