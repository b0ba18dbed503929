//! `export`: what is written, what is not written again, and what is left alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use actors::clock::Hand;
use actors::receipts::{self, CosignedHead};
use actors::writer::{Act, Desk, Writer};
use domain::ids::Digest;
use domain::member::Role;
use domain::record::{Body, Record};
use domain::time::Timestamp;
use ledger::checkpoint::Checkpoint;
use ledger::key::{NoteSigner, NoteVerifier, PrivateKey};
use ledger::log::Batch;
use ledger::merkle::{Edge, leaf_hash};
use ledger::policy::Policy;
use ledger::tile::parse_bundle;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::record::RowAccessor as _;

use super::house::House;
use crate::cli::export::{COSIGNED, Exported, Forms, make};
use crate::cli::store::Opened;
use crate::cli::verify::{Verdict, judge_export};

/// When what is added to the house is written.
const LATER: i64 = 1_780_000_000_000;

pub(super) fn exported(house: &House, out: &Path) -> anyhow::Result<Exported> {
    make(&house.open(), 480, out, Forms { lines: true, parquet: true })
}

/// Writes heartbeats behind what is there.
pub(super) fn beat(house: &House, times: u64) {
    house.spoil(|opened| {
        let first = opened.size(opened.settings.me);
        let beat = |index| {
            let (institution, at) = (opened.settings.me, Timestamp::from_millis(LATER));
            let record = Record {
                institution,
                index,
                role: Role::Issuer,
                at,
                operator: None,
                idempotency: None,
                body: Body::Heartbeat,
            };
            ledger::record::encode_record(&record).unwrap().into()
        };
        Batch { expected_size: first, own: (first..first + times).map(beat).collect(), ..Batch::default() }
    });
}

/// The files of a log, by their paths in it.
pub(super) fn files(dir: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![dir.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.insert(path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found
}

fn names<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.map(str::to_owned).into()
}

#[test]
fn an_export_is_a_log_and_goes_on_where_it_stopped() {
    let house = House::built();
    let out = house.home.path().join("export");
    let log = out.join("logs/health");
    let first = exported(&house, &out).unwrap();
    assert_eq!((first.logs.len(), first.logs[0].size, first.logs[0].files), (1, 6, 2));
    assert_eq!(files(&log), names(["checkpoint", "tile/0/000.p/6", "tile/entries/000.p/6"]));

    // The bundle leads to the signed root, and the lines say the same.
    let note = fs::read_to_string(log.join("checkpoint")).unwrap();
    let head = Checkpoint::open(note, "town/health", &[house.open().own_key]).unwrap();
    let bundle = fs::read(log.join("tile/entries/000.p/6")).unwrap();
    let mut edge = Edge::default();
    let entries = parse_bundle(&bundle, 6).unwrap();
    entries.iter().for_each(|entry| edge.push(leaf_hash(entry)));
    assert_eq!((edge.size(), edge.root()), (head.size, head.root));
    let lines = fs::read_to_string(out.join("records/health.jsonl")).unwrap();
    for (index, (line, entry)) in lines.lines().zip(&entries).enumerate() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["index"], index);
        assert_eq!(line["id"], Digest(leaf_hash(entry).0).to_string());
        assert!(line["record"]["body"].is_object(), "{line}");
    }

    assert_eq!(exported(&house, &out).unwrap().logs[0].files, 0, "nothing has grown");

    // It has grown past a full tile; the export before was broken off within a line.
    beat(&house, 294);
    fs::write(out.join("records/health.jsonl"), format!("{lines}{{\"index\":6,")).unwrap();
    assert_eq!((exported(&house, &out).unwrap().logs[0].size, lines.lines().count()), (300, 6));
    let expected =
        ["checkpoint", "tile/0/000", "tile/0/001.p/44", "tile/1/000.p/1", "tile/entries/000", "tile/entries/001.p/44"];
    assert_eq!(files(&log), names(expected), "and partial tiles of the old head are gone");
    let grown = fs::read_to_string(out.join("records/health.jsonl")).unwrap();
    assert!(grown.starts_with(&lines) && grown.lines().count() == 300);
    let last: serde_json::Value = serde_json::from_str(grown.lines().last().unwrap()).unwrap();
    assert_eq!(last["index"], 299);
}

#[test]
fn an_export_of_another_history_is_left_alone() {
    let house = House::built();
    let out = house.home.path().join("export");
    exported(&house, &out).unwrap();
    let file = out.join("logs/health/checkpoint");
    let good = fs::read_to_string(&file).unwrap();
    let root = good.lines().nth(2).unwrap().to_owned();
    let other = good.replace(&root, &ledger::merkle::Hash([7; 32]).to_base64());
    for (text, what) in [
        (other, "another root"),
        (good.replacen("\n6\n", "\n7\n", 1), "a longer log"),
        (good.replacen("town/health", "town/gulou", 1), "another log"),
        (good.replacen("\n6\n", "\nsix\n", 1), "no size"),
        (String::new(), "nothing"),
    ] {
        fs::write(&file, &text).unwrap();
        let error = exported(&house, &out).unwrap_err();
        assert!(format!("{error:#}").contains("another history"), "{what}: {error:#}");
        assert_eq!(fs::read_to_string(&file).unwrap(), text, "{what}");
    }
    fs::write(&file, good).unwrap();
    exported(&house, &out).unwrap();
}

/// A cosigned head goes into an export if it is of the history that is held, whatever its size.
#[test]
fn a_cosigned_head_of_another_history_is_not_exported() {
    let house = House::built();
    let signer = NoteSigner::new("town/health", PrivateKey::from_seed(&[9; 32])).unwrap();
    let here = |size| house.open().logs.ledger.root_at("town/health", size).unwrap();
    let other = ledger::merkle::Hash([7; 32]);
    for (size, root, is_exported) in [(4, other, false), (6, other, false), (7, other, false), (4, here(4), true)] {
        let note = Checkpoint { origin: "town/health".to_owned(), size, root }.sign(&signer);
        let head = CosignedHead { size, note: note.clone(), lines: BTreeMap::new() };
        let Opened { logs, settings, .. } = house.open();
        let writer = Writer::open(logs, settings, Arc::new(Hand::at(Timestamp::from_millis(LATER))));
        let keep = |desk: &mut Desk<'_>| {
            receipts::keep(desk, &head);
            Ok(())
        };
        writer.decide(Act::default(), keep).unwrap();
        writer.ledger().flush();
        drop(writer);
        let out = tempfile::tempdir().unwrap();
        exported(&house, out.path()).unwrap();
        let beside = fs::read_to_string(out.path().join("logs/health").join(COSIGNED)).ok();
        assert_eq!(beside, is_exported.then_some(note), "{size}");
    }
}

/// The key of the registrar's log in the house's export.
fn anchor(house: &House) -> Vec<NoteVerifier> {
    vec![house.open().own_key]
}

fn judged(house: &House, dir: &Path) -> Verdict {
    judge_export(dir, &anchor(house), Policy::default()).unwrap()
}

#[test]
fn records_in_columns_are_those_of_the_log_and_grow_with_it() {
    let house = House::built();
    let root = tempfile::tempdir().unwrap();
    exported(&house, root.path()).unwrap();
    let dir = root.path().join("parquet").join(house.config.institution.as_str());
    assert_eq!(files(&dir), names(["000000000000-000000000006.parquet"]));
    beat(&house, 9_000);
    exported(&house, root.path()).unwrap();
    assert_eq!(files(&dir), names(["000000000000-000000009006.parquet"]));

    let part = fs::File::open(dir.join("000000000000-000000009006.parquet")).unwrap();
    let rows = SerializedFileReader::new(part).unwrap();
    let opened = house.open();
    let origin = opened.logs.origin(house.config.institution);
    let mut kinds = BTreeMap::new();
    for (index, row) in (0..).zip(rows.get_row_iter(None).unwrap().map(Result::unwrap)) {
        let entry = opened.logs.ledger.entry(&origin, index).unwrap();
        let record: Record = ledger::record::decode_record(&entry).unwrap();
        assert_eq!(row.get_long(0).unwrap(), index as i64);
        assert_eq!(row.get_string(1).unwrap(), &hex::encode(leaf_hash(&entry).0));
        assert_eq!(row.get_timestamp_millis(2).unwrap(), record.at.millis());
        assert_eq!(row.get_string(3).unwrap(), record.role.as_str());
        assert_eq!(row.get_bytes(8).unwrap().data(), &*entry);
        let readable: serde_json::Value = serde_json::from_str(row.get_string(7).unwrap()).unwrap();
        assert_eq!(readable, serde_json::to_value(&record).unwrap());
        *kinds.entry(row.get_string(5).unwrap().clone()).or_insert(0) += 1;
    }
    assert_eq!(kinds.values().sum::<u64>(), 9_006);
    assert!(kinds["Heartbeat"] >= 9_000 && kinds.contains_key("MemberRegistered"), "{kinds:?}");
}

/// Something done to the bytes of a file.
type Damage<'a> = &'a dyn Fn(&mut Vec<u8>);

#[test]
fn an_export_is_judged_and_what_was_changed_in_it_is_named() {
    let house = House::built();
    beat(&house, 300);
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    let me = house.config.institution;
    exported(&house, dir).unwrap();
    let verdict = judged(&house, dir);
    assert_eq!((verdict.faults, verdict.good, verdict.complete), (vec![], true, true));
    assert_eq!((verdict.logs[0].entries, verdict.logs[0].signed), (306, 306));
    let stranger = NoteSigner::new(&house.config.origin(), PrivateKey::from_seed(&[9; 32])).unwrap();
    let strange = judge_export(dir, &[stranger.verifier().clone()], Policy::default()).unwrap();
    assert!(strange.faults.iter().any(|fault| fault.contains("its signed head is not good")), "{:?}", strange.faults);

    let log = dir.join("logs").join(me.as_str());
    let flip = |bytes: &mut Vec<u8>| bytes[20] ^= 1;
    let cut = |bytes: &mut Vec<u8>| bytes.truncate(100);
    let longer = |bytes: &mut Vec<u8>| bytes.extend([0; 9_000]);
    let larger = |bytes: &mut Vec<u8>| {
        let text = String::from_utf8(bytes.clone()).unwrap();
        *bytes = text.replacen("\n306\n", "\n9223372036854775807\n", 1).into_bytes();
    };
    let other_text = |bytes: &mut Vec<u8>| *bytes = b"\xff\xfe".to_vec();
    let table: [(&str, Damage<'_>, &str); 10] = [
        ("tile/entries/000", &flip, "is not the root of its entries"),
        ("tile/entries/000", &cut, "tile/entries/000"),
        ("tile/entries/001.p/50", &longer, "tile/entries/001.p/50"),
        ("tile/0/000", &flip, "tile/0/000 is not what its entries give"),
        ("tile/0/001.p/50", &cut, "tile/0/001.p/50 is not what its entries give"),
        ("tile/1/000.p/1", &flip, "tile/1/000.p/1 is not what its entries give"),
        ("tile/1/000.p/1", &longer, "tile/1/000.p/1 is missing"),
        ("checkpoint", &flip, "its signed head is not good"),
        ("checkpoint", &larger, "entry 256 of the log of"),
        ("checkpoint", &other_text, "its signed head is not good"),
    ];
    for (file, damage, named) in table {
        let path = log.join(file);
        let before = fs::read(&path).unwrap();
        let mut bytes = before.clone();
        damage(&mut bytes);
        fs::write(&path, bytes).unwrap();
        let found = judged(&house, dir);
        assert!(!found.good && found.faults.iter().any(|fault| fault.contains(named)), "{file}: {:?}", found.faults);
        fs::remove_file(&path).unwrap();
        let found = judged(&house, dir);
        assert!(!found.good && found.faults.iter().any(|f| f.contains(file)), "no {file}: {:?}", found.faults);
        fs::write(&path, before).unwrap();
    }
    // A pipe to which nobody writes is not waited for.
    let head = log.join("checkpoint");
    let before = fs::read(&head).unwrap();
    fs::remove_file(&head).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&head).status().unwrap().success());
    let found = judged(&house, dir);
    assert!(!found.good && found.faults.iter().any(|fault| fault.contains("is not a file")), "{:?}", found.faults);
    fs::remove_file(&head).unwrap();
    fs::write(&head, before).unwrap();
    for (contents, said) in [
        ("{", "is no export"),
        (r#"{"version":2,"federation":"f","registrar":"a","utc_offset_minutes":0,"logs":[]}"#, "version 2"),
        (r#"{"version":1,"federation":"f","registrar":"../a","utc_offset_minutes":0,"logs":[]}"#, "is no export"),
        (r#"{"version":1,"federation":"f","registrar":"a","utc_offset_minutes":2000000,"logs":[]}"#, "a day or more"),
    ] {
        fs::write(dir.join("export.json"), contents).unwrap();
        let error = judge_export(dir, &anchor(&house), Policy::default()).unwrap_err();
        assert!(format!("{error:#}").contains(said), "{contents}: {error:#}");
    }
}
