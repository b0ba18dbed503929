//! The vault alone: what opens, what does not any more, what a crash leaves.

use std::sync::Arc;

use super::disk::MemorySlots;
use super::format::{ROW_MAGIC, SLOT_BYTES, Sealed, SlotRef};
use super::*;

fn data_key(n: u8) -> Key {
    Zeroizing::new([n; 32])
}

/// A key of a kind that is sealed.
fn person(n: u8) -> Vec<u8> {
    vec![b'c', b'h', n]
}

fn seal(vault: &Vault, n: u8, plain: &[u8]) -> Vec<u8> {
    let writes = Writes::from([(person(n), Some(plain.to_vec()))]);
    let sealing = vault.seal_all(writes, |_| None);
    sealing.writes[&person(n)].clone().unwrap()
}

fn stored(n: u8, sealed: &[u8]) -> StoredRow {
    StoredRow { row_key: person(n), needs: Sealed::read(sealed).unwrap().key }
}

#[test]
fn a_row_opens_in_its_place_and_under_its_key_alone() {
    let slots = MemorySlots::default();
    let vault = Vault::open(slots.clone(), data_key(7)).unwrap();
    let sealed = seal(&vault, 1, "王秀英".as_bytes());
    assert!(sealed.starts_with(&ROW_MAGIC));
    assert!(!sealed.windows(9).any(|w| w == "王秀英".as_bytes()));
    assert_eq!(&*vault.open_row(&person(1), sealed.clone().into()), "王秀英".as_bytes());
    let read = Sealed::read(&sealed).unwrap();
    assert!(vault.opened(&person(2), &read).is_none(), "a row of another key");
    for at in 8..sealed.len() {
        let mut bent = sealed.clone();
        bent[at] ^= 1;
        let opened = Sealed::read(&bent).and_then(|bent| vault.opened(&person(1), &bent));
        assert!(opened.is_none(), "byte {at}");
    }
    // Another row has another key.
    let other = seal(&vault, 2, b"x");
    assert_ne!(Sealed::read(&other).unwrap().key, read.key);
    // After a restart it opens again.
    let again = Vault::open(slots, data_key(7)).unwrap();
    assert_eq!(&*again.open_row(&person(1), sealed.into()), "王秀英".as_bytes());
}

#[test]
fn what_is_not_personal_and_what_was_never_sealed_stays_as_it_is() {
    let vault = Vault::in_memory();
    let row: Vec<u8> = b"ce-and-more".to_vec();
    let sealing = vault.seal_all(Writes::from([(row.clone(), Some(b"id".to_vec()))]), |_| None);
    assert_eq!(sealing.writes[&row].as_deref(), Some(&b"id"[..]));
    let old: Arc<[u8]> = b"written by an older program".as_slice().into();
    assert_eq!(vault.open_row(&person(1), old.clone()), old);
}

#[test]
fn a_key_is_on_disk_before_its_row_and_a_start_erases_what_no_row_names() {
    let slots = MemorySlots::default();
    let vault = Vault::open(slots.clone(), data_key(7)).unwrap();
    let (kept, gone) = (seal(&vault, 1, b"kept"), seal(&vault, 2, b"gone"));

    // The process dies here; the journal has both rows, then the second was deleted and its key not yet erased.
    let crashed = slots.crashed();
    let vault = Vault::open(crashed.clone(), data_key(7)).unwrap();
    assert!(vault.opened(&person(2), &Sealed::read(&gone).unwrap()).is_some());
    assert!(vault.settle(&[stored(1, &kept)], false).unwrap().is_empty());
    assert_eq!(&*vault.open_row(&person(1), kept.clone().into()), b"kept");
    assert!(vault.opened(&person(2), &Sealed::read(&gone).unwrap()).is_none());

    // On disk too, and one slot alone holds anything.
    let bytes = crashed.crashed().load().unwrap();
    let used = bytes.chunks(SLOT_BYTES).filter(|slot| slot.iter().any(|byte| *byte != 0)).count();
    assert_eq!(used, 1);

    // What was erased is used again, under another key.
    let new: Vec<SlotRef> = (0..POOL).map(|_| Sealed::read(&seal(&vault, 3, b"new")).unwrap().key).collect();
    let old = Sealed::read(&gone).unwrap().key;
    assert!(new.iter().any(|of| of.slot == old.slot) && !new.contains(&old));
    assert!(vault.opened(&person(2), &Sealed::read(&gone).unwrap()).is_none());
}

#[test]
fn rows_without_keys_stop_a_start_unless_they_are_let_go() {
    let slots = MemorySlots::default();
    let vault = Vault::open(slots.clone(), data_key(7)).unwrap();
    let sealed = seal(&vault, 1, b"x");
    let lost = Vault::open(MemorySlots::default(), data_key(7)).unwrap();
    assert!(matches!(lost.settle(&[stored(1, &sealed)], false), Err(VaultError::KeysMissing(1))));
    assert_eq!(lost.settle(&[stored(1, &sealed)], true).unwrap(), [person(1)]);
    assert!(matches!(Vault::open(slots, data_key(8)), Err(VaultError::OtherDataKey)));
}

#[test]
fn keys_of_rows_that_the_ledger_did_not_take_are_used_for_others() {
    let vault = Vault::in_memory();
    let sealing = vault.seal_all(Writes::from([(person(1), Some(b"x".to_vec()))]), |_| None);
    let taken = sealing.taken.clone();
    vault.give_back(sealing);
    assert_eq!(Sealed::read(&seal(&vault, 2, b"y")).unwrap().key, taken[0]);
}

#[test]
fn slots_are_wrapped_anew_and_may_be_broken_off() {
    let slots = MemorySlots::default();
    let vault = Vault::open(slots.clone(), data_key(1)).unwrap();
    let sealed: Vec<Vec<u8>> = (0..3).map(|n| seal(&vault, n, &[n; 9])).collect();
    let rows: Vec<StoredRow> = (0..3).map(|n| stored(n, &sealed[usize::from(n)])).collect();
    assert!(matches!(rewrap(&slots, &data_key(8), &data_key(9)), Err(VaultError::OtherDataKey)));

    // Broken off after some slots: what was there before stands beside what is new.
    let whole = slots.load().unwrap();
    assert_eq!(rewrap(&slots, &data_key(1), &data_key(2)).unwrap(), POOL as usize);
    for (number, old) in (0_u64..).zip(whole.chunks(SLOT_BYTES)).filter(|(number, _)| number % 2 == 1) {
        slots.write_at(number * SLOT_BYTES as u64, old).unwrap();
    }
    assert_eq!(rewrap(&slots, &data_key(1), &data_key(2)).unwrap(), POOL as usize / 2);
    assert_eq!(rewrap(&slots, &data_key(1), &data_key(2)).unwrap(), 0, "it is done");

    let again = Vault::open(slots.crashed(), data_key(2)).unwrap();
    assert!(again.settle(&rows, false).unwrap().is_empty());
    for n in 0..3 {
        assert_eq!(&*again.open_row(&person(n), sealed[usize::from(n)].as_slice().into()), &[n; 9]);
    }
    assert!(matches!(Vault::open(slots.crashed(), data_key(1)), Err(VaultError::OtherDataKey)));
}
