//! Records, tokens, names and sealed rows, fed with changed bytes (tests/fuzz).

use std::fmt::{Debug, Display};
use std::str::FromStr;

use domain::ids::{Digest, InstitutionId, RecordName, ShortName, VoucherId};
use domain::record::Record;
use domain::time::Timestamp;
use fuzz::{Said, Target};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::golden;
use crate::token::cose::Envelope;
use crate::token::key::{HolderKey, KEY_ID_BYTES, PublicKey};
use crate::token::{vc1, vp1, vq1};
use crate::vault::Vault;
use crate::vault::disk::{MemorySlots, SlotDisk as _};
use crate::vault::format::{HEADER_BYTES, SLOT_BYTES, Sealed, SlotRef, place, seal, unwrap, wrap};

fn vectors(kind: &str, field: &str) -> Vec<String> {
    let file = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors/tokens.json"));
    let all: Value = serde_json::from_str(file).unwrap();
    all[kind].as_array().unwrap().iter().map(|v| v[field].as_str().unwrap().to_owned()).collect()
}

fn bytes(kind: &str, field: &str) -> Vec<Vec<u8>> {
    vectors(kind, field).iter().map(|text| hex::decode(text).unwrap()).collect()
}

fn said<T, E: Display>(result: Result<T, E>) -> Said {
    result.map(drop).map_err(|error| error.to_string())
}

/// A key of tests, under which no vector is signed.
fn key() -> HolderKey {
    HolderKey::ed25519(&[77; 32])
}

fn records() -> Vec<Target> {
    let record = |name| {
        Target::new(name, golden::records(), |bytes| {
            let read = ledger::record::decode_record::<Record>(bytes);
            if let Ok(record) = &read {
                assert_eq!(ledger::record::encode_record(record).unwrap(), bytes);
                // What is read here is shown as JSON to whoever asks for it.
                assert!(serde_json::to_string(record).is_ok());
            }
            ledger::record::decode_opening::<(InstitutionId, u64)>(bytes);
            said(read)
        })
    };
    vec![record("record").max_bytes(ledger::record::MAX_RECORD_BYTES + 1).shares(3)]
}

fn tokens() -> Vec<Target> {
    let alphabet = ["VP1:", "VQ1:", "VC1:", "%", "$", ":", "6", "0"];
    let (vp1_bytes, vq1_bytes) = (bytes("vp1", "cose_hex"), bytes("vq1", "cose_hex"));
    let (signed_vp1, signed_vq1) = (vp1_bytes.clone(), vq1_bytes.clone());
    let keys: Vec<PublicKey> = golden_keys("vp1");
    let node_keys: Vec<PublicKey> = golden_keys("vq1");
    let cards = vectors("vc1", "text");
    let numbers = vectors("vc1", "lookup_number");
    let key_texts: Vec<String> = keys.iter().map(ToString::to_string).collect();
    vec![
        Target::text("VP1 text", vectors("vp1", "text"), |text| {
            let read = vp1::parse(text);
            assert!(read.as_ref().is_ok_and(|token| token.text() == text) || read.is_err());
            said(read)
        })
        .words(alphabet),
        Target::new("VP1 bytes", vp1_bytes, move |bytes| {
            let read = vp1::Unverified::from_cose(bytes);
            if let Ok(token) = &read {
                assert_eq!(token.cose_bytes(), bytes);
                let is_signed = keys.iter().any(|key| token.verify(key));
                assert!(!is_signed || signed_vp1.iter().any(|signed| signed == bytes), "a forged token");
            }
            said(read)
        }),
        Target::new("VP1 claims", bytes("vp1", "cbor_hex"), |payload| {
            // The key id of a main key is proved by the claims themselves: both are tried.
            let named = payload.windows(32).last().map_or([0; 32], |last| last.try_into().unwrap());
            let of_key = PublicKey::ed25519(named).map_or([0; KEY_ID_BYTES], |key| key.key_id());
            let ids = [of_key, *b"\x56\x47\x5a\xa7\x54\x63\x47\x4c", es256_id(payload)];
            let read = |id| {
                let read = vp1::Unverified::from_cose(Envelope::seal(id, payload.to_vec(), &key()).bytes());
                read.map(|token| assert_eq!(token.claims.to_cbor().unwrap(), payload))
            };
            let mut all = ids.into_iter().map(read);
            let first = all.next().unwrap();
            said(all.fold(first, |so_far, next| so_far.or(next)))
        }),
        Target::text("VQ1 text", vectors("vq1", "text"), |text| {
            let read = vq1::parse(text);
            assert!(read.as_ref().is_ok_and(|token| token.text() == text) || read.is_err());
            said(read)
        })
        .words(alphabet),
        Target::new("VQ1 bytes", vq1_bytes, move |bytes| {
            let read = vq1::Unverified::from_cose(bytes);
            if let Ok(token) = &read {
                assert_eq!(token.cose_bytes(), bytes);
                let is_signed = node_keys.iter().any(|key| token.verify(key));
                assert!(!is_signed || signed_vq1.iter().any(|signed| signed == bytes), "a forged token");
            }
            said(read)
        }),
        Target::new("VQ1 claims", bytes("vq1", "cbor_hex"), |payload| {
            let sealed = Envelope::seal(key().public().key_id(), payload.to_vec(), &key());
            let read = vq1::Unverified::from_cose(sealed.bytes());
            said(read.map(|token| assert_eq!(token.claims.to_cbor().unwrap(), payload)))
        }),
        Target::text("VC1 text", cards, |text| {
            let read = vc1::Card::parse(text);
            assert!(read.as_ref().is_ok_and(|card| *card.text() == text) || read.is_err());
            said(read)
        })
        .words(alphabet),
        Target::text("card number", numbers, |text| {
            let read = vc1::check_lookup_number(text);
            let again = read.as_deref().map(vc1::check_lookup_number);
            assert!(again.is_none_or(|again| again == read));
            read.map(drop).ok_or_else(|| "none".to_owned())
        }),
        Target::text("key text", key_texts, spelled_once::<PublicKey>).words(["ed25519:", "es256:", "="]),
    ]
}

/// The key id of the ES256 key with which a payload ends, if it ends so.
fn es256_id(payload: &[u8]) -> [u8; KEY_ID_BYTES] {
    let key = payload.last_chunk::<33>().and_then(|key| PublicKey::es256(*key).ok());
    key.map_or([1; KEY_ID_BYTES], |key| key.key_id())
}

fn golden_keys(kind: &str) -> Vec<PublicKey> {
    let file = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors/tokens.json"));
    let all: Value = serde_json::from_str(file).unwrap();
    let key = |vector: &Value| hex::decode(vector["key"]["public_hex"].as_str().unwrap()).unwrap();
    let keys = all[kind].as_array().unwrap().iter().map(|v| PublicKey::from_slice(&key(v)).unwrap());
    let mut different: Vec<PublicKey> = Vec::new();
    keys.for_each(|key| {
        if !different.contains(&key) {
            different.push(key)
        }
    });
    different
}

/// A text is what it is written as again.
fn spelled_once<T: FromStr<Err: Display> + ToString>(text: &str) -> Said {
    let read = text.parse::<T>();
    if let Ok(read) = &read {
        assert_eq!(read.to_string(), text);
    }
    said(read)
}

/// Whatever JSON is read is written and read again as the same.
fn stays_same<T: Serialize + DeserializeOwned + PartialEq + Debug>(text: &str) -> Said {
    let read = serde_json::from_str::<T>(text);
    if let Ok(read) = &read {
        let written = serde_json::to_string(read).unwrap();
        assert_eq!(serde_json::from_str::<T>(&written).unwrap(), *read, "{written}");
    }
    said(read)
}

fn names() -> Vec<Target> {
    let uuid = "6f0b6a6e-5a0e-4f6c-9b7e-0c1d2e3f4a5b";
    let digest = "00ff".repeat(16);
    let record = format!("{{\"institution\":\"a-1\",\"index\":7,\"id\":\"{digest}\"}}");
    vec![
        Target::text("institution", ["hospital-gulou", "a", "0-9"], spelled_once::<InstitutionId>),
        Target::text("short name", ["elderly-checkup-2026", "x"], spelled_once::<ShortName>),
        Target::text("digest", [&digest], spelled_once::<Digest>),
        Target::text("voucher", [format!("nanjing-health.{uuid}")], spelled_once::<VoucherId>).words([
            "{",
            "}",
            "urn:uuid:",
        ]),
        Target::text("record's name", [record], stays_same::<RecordName>).words(["\"index\":", "\"id\":", "null"]),
        Target::text(
            "time",
            ["\"2026-03-02T00:00:00Z\"", "\"2026-03-02T08:00:00.123456789+08:00\"", "\"1970-01-01T00:00:00.000Z\""],
            stays_same::<Timestamp>,
        )
        .words(["-", "+08:00", "Z", "T", "9999-12-31T23:59:59.999Z", "24:00:00", ":60"]),
    ]
}

fn sealed() -> Vec<Target> {
    let (data_key, key, row_key) = ([5; 32], [6; 32], b"row");
    let of = SlotRef { slot: 1, id: [7; 8] };
    let row = seal(&key, of, &[8; 24], row_key, b"a name");
    let slot = wrap(&data_key, of, &[9; 24], &key);
    let other = wrap(&data_key, SlotRef { slot: 2, id: [1; 8] }, &[3; 24], &[4; 32]);
    let file = [&[0; SLOT_BYTES][..], &slot, &other, &[0; SLOT_BYTES]].concat();
    vec![
        Target::new("sealed row", [&row], move |bytes| {
            let Some(sealed) = Sealed::read(bytes) else { return Err("none".into()) };
            let opened = sealed.open(&key);
            if let Some(plain) = &opened {
                assert!(bytes.len() >= HEADER_BYTES && plain.as_slice() == b"a name" && sealed.place == place(row_key));
                assert_eq!(sealed.key, of);
            }
            opened.map(drop).ok_or_else(|| "closed".into())
        }),
        Target::new("slot", [slot], move |bytes| {
            let opened = unwrap(&data_key, 1, bytes);
            if let Some((found, opened)) = &opened {
                assert!(*found == of && **opened == key);
            }
            assert!(unwrap(&data_key, 2, bytes).is_none_or(|(found, _)| found.slot == 2));
            opened.map(drop).ok_or_else(|| "closed".into())
        }),
        Target::new("vault file", [file], move |bytes| {
            let disk = MemorySlots::default();
            disk.write_at(0, bytes).unwrap();
            let vault = Vault::open(disk.clone(), Zeroizing::new(data_key)).map_err(|error| error.to_string())?;
            vault.settle(&[], false).map_err(|error| error.to_string())?;
            // No row names a key: each slot is erased, and a damaged one too.
            let left = disk.load().unwrap();
            assert!(left.iter().all(|byte| *byte == 0), "something is left");
            Ok(())
        })
        .max_bytes(SLOT_BYTES * 64)
        .words([&b"VNSLOT1\0"[..], b"VNSEAL1\0"]),
    ]
}

#[test]
fn no_bytes_bring_a_reader_of_records_and_tokens_down() {
    let all = || [records(), tokens(), names(), sealed()].into_iter().flatten().collect();
    fuzz::run(module_path!(), "no_bytes_bring_a_reader_of_records_and_tokens_down", all);
}
