//! Everything of the ledger that is read from outside or from a disk, fed with changed bytes (tests/fuzz).

use std::cell::RefCell;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use fuzz::{Said, Target};
use serde_json::Value;

use crate::checkpoint::Checkpoint;
use crate::disk::{Disk as _, MemoryDisk};
use crate::fail::Stop;
use crate::frame::{self, Frame, FrameWriter, Section};
use crate::key::{NoteSigner, NoteVerifier, PrivateKey};
use crate::log::{Batch, Ledger, Options};
use crate::marker::Marker;
use crate::merkle::{Hash, MAX_PROOF_HASHES, leaf_hash, verify_consistency, verify_inclusion};
use crate::mirror::{self, Held};
use crate::note::Note;
use crate::policy::Policy;
use crate::proof::TlogProof;
use crate::store::memory::MemoryStore;
use crate::tile::{MAX_ENTRY_BYTES, TILE_WIDTH, TilePath, TileTree, encode_bundle, parse_bundle};
use crate::{layout, pack, record};

const ORIGIN: &str = "a.example/log";
const GENERATION: u64 = 7;

macro_rules! vectors {
    ($file:literal) => {
        serde_json::from_str::<Value>(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/", $file)))
            .unwrap()
    };
}

fn said<T, E: Display>(result: Result<T, E>) -> Said {
    result.map(drop).map_err(|error| error.to_string())
}

fn some<T>(option: Option<T>) -> Said {
    option.map(drop).ok_or_else(|| "none".to_owned())
}

fn strings(list: &Value, field: &str) -> Vec<String> {
    list.as_array().unwrap().iter().map(|item| item[field].as_str().unwrap().to_owned()).collect()
}

fn signer() -> NoteSigner {
    NoteSigner::new(ORIGIN, PrivateKey::from_seed(&[9; 32])).unwrap()
}

fn entries(count: u64) -> Vec<Vec<u8>> {
    (0..count).map(|index| format!("entry {index} {}", "x".repeat((index % 30) as usize)).into_bytes()).collect()
}

/// The heads of a log at some sizes, signed.
fn heads(sizes: &[u64]) -> Vec<String> {
    let mut edge = crate::merkle::Edge::default();
    let mut heads = vec![Checkpoint { origin: ORIGIN.into(), size: 0, root: edge.root() }];
    for (size, entry) in (1..).zip(entries(*sizes.iter().max().unwrap())) {
        edge.push(leaf_hash(&entry));
        heads.push(Checkpoint { origin: ORIGIN.into(), size, root: edge.root() });
    }
    sizes.iter().map(|size| heads[*size as usize].sign(&signer())).collect()
}

fn notes() -> Vec<Target> {
    let keys = vectors!("keys.json");
    let vkeys: Vec<String> = ["log", "log_after_rotation"].iter().map(|k| keys[*k]["vkey"].to_string()).collect();
    let vkeys: Vec<String> = vkeys.iter().map(|vkey| vkey.trim_matches('"').to_owned()).collect();
    let verifiers: Vec<NoteVerifier> = vkeys.iter().map(|vkey| vkey.parse().unwrap()).collect();
    let checkpoints = vectors!("checkpoints.json");
    let mut signed = strings(&checkpoints["valid"], "checkpoint");
    for more in ["with_cosignatures", "during_key_rotation", "with_extension_line"] {
        signed.push(checkpoints[more].as_str().unwrap().to_owned());
    }
    let texts: Vec<String> = signed.iter().map(|note| note.rsplit_once("\n\n").unwrap().0.to_owned() + "\n").collect();
    let words = ["\n\n", "\u{2014} ", "\n", "+", "=", "ledger.example/issuer-01 "];
    let proofs = vectors!("tlog_proofs.json");
    let policy = proofs["policy"].as_str().unwrap().to_owned();
    vec![
        Target::new("signed note", &signed, |bytes| said(Note::parse(bytes).map(|note| note.claimed_origin().len())))
            .beside(strings(&checkpoints["invalid_note"], "note"))
            .words(words),
        Target::new("checkpoint", &signed, move |bytes| {
            let opened = Checkpoint::open_note(bytes, "ledger.example/issuer-01", &verifiers);
            if let Ok((checkpoint, note)) = &opened {
                // Nobody but the log makes a text that is believed.
                assert!(texts.iter().any(|text| text == note.text()), "forged: {:?}", note.text());
                assert!(note.text().starts_with(&checkpoint.note_text()));
            }
            said(opened)
        })
        .beside(strings(&checkpoints["invalid_checkpoint"], "note"))
        .words(words),
        Target::text("vkey", &vkeys, |text| {
            let read = text.parse::<NoteVerifier>();
            assert!(read.as_ref().is_ok_and(|key| key.to_string() == text) || read.is_err());
            said(read)
        }),
        Target::text("witness policy", [&policy], |text| {
            let read = text.parse::<Policy>();
            said(read.map(|policy| assert!(policy.verifiers().len() * 40 <= text.len())))
        })
        .words(["group ", " any", " all", "quorum none", "witness ", "log ", "# "]),
        Target::text("tlog-proof", strings(&proofs["proofs"], "proof"), |text| {
            let read = TlogProof::parse(text);
            if let Ok(proof) = &read {
                assert!(proof.path.len() <= MAX_PROOF_HASHES && proof.to_string() == text);
            }
            said(read)
        })
        .words(["extra ", "index ", "\n\n", "c2sp.org/tlog-proof@v1\n"]),
    ]
}

fn tiles() -> Vec<Target> {
    let paths = vectors!("tile_paths.json");
    let tile = |entries: &[Vec<u8>]| entries.iter().flat_map(|entry| leaf_hash(entry).0).collect::<Vec<u8>>();
    let all = entries(256);
    let bundle = |count: usize| {
        let bundle = encode_bundle(all[..count].iter().map(Vec::as_slice));
        [vec![(count - 1) as u8], bundle].concat()
    };
    let proof = vectors!("proofs.json");
    let inclusion = proof["inclusion"].as_array().unwrap().clone();
    let hashes = |of: &Value| -> Vec<u8> {
        let hashes = of.as_array().unwrap().iter().map(|hash| Hash::from_base64(hash.as_str().unwrap()).unwrap().0);
        hashes.flatten().collect()
    };
    let hash = |of: &Value| Hash(hex::decode(of.as_str().unwrap()).unwrap().try_into().unwrap());
    // Index, size, leaf hash, proof: of one root.
    let root = hash(&inclusion.iter().max_by_key(|row| row["size"].as_u64()).unwrap()["root_hex"]);
    let mut known = Vec::new();
    for row in inclusion.iter().filter(|row| hash(&row["root_hex"]) == root) {
        let number = |field: &str| row[field].as_u64().unwrap().to_be_bytes();
        let leaf = hash(&row["leaf_hash_hex"]).0;
        known.push([&number("index")[..], &number("size"), &leaf, &hashes(&row["proof_b64"])].concat());
    }
    let good = known.clone();
    vec![
        Target::text("tile path", strings(&paths["tiles"], "path"), |text| {
            let read = text.parse::<TilePath>();
            if let Ok(path) = &read {
                assert_eq!(path.to_string(), text);
                let needs = path.needs();
                assert!(needs.is_none_or(|size| path.exists_in(size) && !path.exists_in(size - 1)));
            }
            said(read)
        })
        .beside(["tile/0/x001/x234/067.p/12", "tile/63/000.p/1", "tile/entries/x999/999"])
        .words(["tile/", "x001/", ".p/", "entries/"]),
        Target::new("bundle", [bundle(1), bundle(9), bundle(256)], |bytes| {
            let Some((count, bundle)) = bytes.split_first() else { return Err("empty".into()) };
            let read = parse_bundle(bundle, usize::from(*count) + 1);
            if let Ok(entries) = &read {
                assert!(entries.iter().all(|entry| entry.len() <= MAX_ENTRY_BYTES));
                assert_eq!(encode_bundle(entries.iter().copied()), bundle);
            }
            said(read)
        }),
        Target::new("tile", [tile(&all), tile(&all[..5])], |bytes| {
            let tree = TileTree::new(bytes);
            if let Some(tree) = &tree {
                let width = bytes.len() / 32;
                assert!(width <= TILE_WIDTH && tree.subtree(8, 0).is_some() == (width == TILE_WIDTH));
            }
            some(tree)
        }),
        Target::new("inclusion proof", known, move |bytes| {
            let read = || {
                let (index, rest) = bytes.split_first_chunk::<8>()?;
                let (size, rest) = rest.split_first_chunk::<8>()?;
                let (leaf, rest) = rest.split_first_chunk::<32>()?;
                let (path, []) = rest.as_chunks::<32>() else { return None };
                Some((u64::from_be_bytes(*index), u64::from_be_bytes(*size), Hash(*leaf), path))
            };
            let Some((index, size, leaf, path)) = read() else { return Err("cut".into()) };
            let path: Vec<Hash> = path.iter().map(|hash| Hash(*hash)).collect();
            let verified = verify_inclusion(index, size, &leaf, &path, &root);
            let same = || good.iter().any(|good| good[..8] == bytes[..8] && good[16..] == bytes[16..]);
            assert!(verified.is_err() || same(), "{index} of {size} is proved, and is not there");
            let _ = verify_consistency(index, &leaf, size, &root, &path);
            said(verified)
        }),
    ]
}

/// What a peer shows of its log: a head, a count, a bundle, and hashes of a proof.
fn steps() -> Vec<Target> {
    let whole = entries(40);
    let keys = [signer().verifier().clone()];
    let heads = heads(&[40, 7]);
    let parts = |head: &str, from: usize, until: usize| {
        let bundle = encode_bundle(whole[from..until].iter().map(Vec::as_slice));
        let head = head.as_bytes();
        [&[head.len() as u8, (until - from) as u8][..], head, &bundle].concat()
    };
    let seeds = [parts(&heads[0], 0, 40), parts(&heads[1], 0, 7)];
    let whole = whole.clone();
    vec![Target::new("a peer's log", seeds, move |bytes| {
        let Some(([head, count], rest)) = bytes.split_first_chunk::<2>() else { return Err("empty".into()) };
        let Some((note, bundle)) = rest.split_at_checked(usize::from(*head)) else { return Err("cut".into()) };
        let entries = parse_bundle(bundle, usize::from(*count)).map_err(|error| error.to_string())?;
        let step = mirror::step(&Held::default(), note, ORIGIN, &keys, &entries, &[]);
        if let Ok(step) = &step {
            assert!(step.entries().iter().zip(&whole).all(|(got, sent)| **got == **sent), "other entries are believed");
        }
        said(step)
    })]
}

fn rewritten(frame: &Frame<'_>, generation: u64) -> Vec<u8> {
    let mut writer = FrameWriter::default();
    writer.begin(generation, frame.sequence);
    for section in &frame.sections {
        match section {
            Section::Log(log) => {
                writer.log(log.own, log.origin, log.first, &log.previous, log.entries.iter().copied());
                writer.end_log(log.size, &log.root, log.note);
            }
            Section::Private(rows) => writer.private(rows.iter().copied()),
            Section::Heads(rows) => writer.heads(rows.iter().cloned()),
        }
    }
    writer.finish().to_vec()
}

/// A frame whose length and checksum are right, whatever is in it.
fn framed(sections: &[u8]) -> Vec<u8> {
    let mut writer = FrameWriter::default();
    writer.begin(GENERATION, 3);
    let mut bytes = writer.finish().to_vec();
    bytes.extend_from_slice(sections);
    let length = bytes.len() as u32;
    bytes[12..16].copy_from_slice(&length.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[12..]);
    bytes[8..12].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn options(dir: &std::path::Path) -> Options {
    Options {
        min_free_disk_bytes: 0,
        store_every: Duration::from_secs(60),
        segment_bytes: 1_500,
        marker_dir: dir.to_owned(),
        stop: Stop::hooked(|_| ()),
        ..Options::new(dir.join("data"), signer(), "boot-1")
    }
}

/// The segments of a journal with some commits.
fn journal(dir: &std::path::Path) -> Vec<Vec<u8>> {
    let mut disk = MemoryDisk::new();
    let (ledger, _) = Ledger::open_on(options(dir), Box::new(disk.clone()), Arc::new(MemoryStore::new())).unwrap();
    ledger.allow_writing();
    for (size, entry) in (0..).zip(entries(6)) {
        let private = [(vec![size as u8], Some(entry.clone())), (b"gone".to_vec(), None)].into();
        ledger.submit(Batch { expected_size: size, own: vec![entry.into()], private, ..Batch::default() }).unwrap();
        ledger.flush();
    }
    ledger.close();
    disk.segments().unwrap().into_iter().map(|segment| disk.read(segment).unwrap()).collect()
}

/// Opens a journal of these segments on a new store: how many entries it has.
fn reopened(dir: &std::path::Path, segments: &[&[u8]]) -> Result<u64, String> {
    let mut disk = MemoryDisk::new();
    for (number, bytes) in (1..).zip(segments) {
        disk.create(number, bytes).unwrap();
    }
    // What the life before told of this boot is not known on another disk.
    let options = Options { boot_id: "boot-2".into(), ..options(dir) };
    let (ledger, report) =
        Ledger::open_on(options, Box::new(disk), Arc::new(MemoryStore::new())).map_err(|error| error.to_string())?;
    let found = ledger.entries(ORIGIN, 0, usize::MAX);
    assert_eq!(found.len() as u64, report.size);
    for (found, written) in found.iter().zip(entries(6)) {
        assert_eq!(**found, *written, "an entry that was not written");
    }
    if let Some(head) = ledger.head(ORIGIN) {
        let keys = [signer().verifier().clone()];
        assert_eq!(Checkpoint::open(head.note.as_bytes(), ORIGIN, &keys), Ok(head.checkpoint));
    }
    ledger.close();
    Ok(report.size)
}

fn journals() -> Vec<Target> {
    let mut writer = FrameWriter::default();
    writer.begin(GENERATION, 3);
    writer.log(true, ORIGIN, 5, &Hash([1; 32]), [&b"one"[..], b""].into_iter());
    writer.end_log(7, &Hash([2; 32]), "note");
    writer.private([(&b"k"[..], Some(&b"v"[..])), (b"gone", None)].into_iter());
    let row = frame::HeadRow { origin: "b", size: 9, root: Hash([3; 32]), complete: "", newest: "n" };
    writer.heads([row].into_iter());
    let frame = writer.finish().to_vec();
    let sections = frame[frame::FRAME_HEADER_BYTES..].to_vec();
    let dir = std::mem::ManuallyDrop::new(tempfile::tempdir().unwrap()).path().to_owned();
    let segments = journal(&dir);
    assert!(segments.len() > 1, "{}", segments.len());
    let whole = segments.concat();
    let cuts: Vec<usize> = segments.iter().map(Vec::len).collect();
    assert_eq!(reopened(&dir, &segments.iter().map(Vec::as_slice).collect::<Vec<_>>()), Ok(6));
    let home = dir.clone();
    let whole_frames = RefCell::new(0_u64);
    vec![
        Target::new("frame", [&frame], |bytes| {
            let read = frame::read(bytes, GENERATION);
            if let Some(read) = &read {
                assert_eq!(rewritten(read, GENERATION), bytes[..read.length]);
            }
            assert!(read.is_none() || frame::find(bytes, GENERATION).is_some() && frame::count_any(bytes) > 0);
            frame::read_segment_header(bytes, 1);
            some(read)
        })
        .words(["SVJFRAM1", "SVJSEGM1"]),
        Target::new("frame's sections", [&sections], |bytes| {
            let frame = framed(bytes);
            let read = frame::read(&frame, GENERATION);
            if let Some(read) = &read {
                assert_eq!(rewritten(read, GENERATION), frame);
            }
            layout::parse_head(&frame);
            some(read)
        }),
        Target::new("journal", [&whole], move |bytes| {
            let mut rest = bytes;
            let mut segments = Vec::new();
            for (nth, cut) in cuts.iter().enumerate() {
                let at = if nth + 1 == cuts.len() { rest.len() } else { (*cut).min(rest.len()) };
                let (segment, after) = rest.split_at(at);
                segments.push(segment);
                rest = after;
            }
            reopened(&dir, &segments).map(drop)
        })
        .words(["SVJFRAM1", "SVJSEGM1"])
        .may_take(Duration::from_secs(3), 64)
        .shares(3),
        Target::new(
            "marker",
            [{
                let (marker, _) = Marker::open(&home, ORIGIN, "boot").unwrap();
                marker.write(9, Hash([1; 32]), 4).unwrap();
                std::fs::read(marker.path()).unwrap()
            }],
            move |bytes| {
                let (marker, _) = Marker::open(&home, ORIGIN, "boot").unwrap();
                std::fs::write(marker.path(), bytes).unwrap();
                *whole_frames.borrow_mut() += 1;
                some(Marker::open(&home, ORIGIN, "boot").unwrap().1)
            },
        ),
    ]
}

fn values() -> Vec<Target> {
    let value: Arc<[u8]> = b"nanjing-health ".repeat(20).into();
    let chunk = encode_bundle(entries(9).iter().map(Vec::as_slice));
    type Sample = (u64, String, Option<bool>, std::collections::BTreeMap<u8, u16>, Vec<u64>);
    let sample: Sample = (7, "ab".into(), Some(true), [(1, 2), (3, 4)].into(), vec![1, 2, 3]);
    let sample = record::encode_record(&sample).unwrap();
    vec![
        Target::new("packed row", [pack::pack(&value).to_vec(), vec![0, 1, 2]], |bytes| {
            let value = pack::unpack(bytes);
            assert!(value.as_ref().is_none_or(|value| value.len() <= 255 * bytes.len()));
            some(value)
        }),
        Target::new("chunk of entries", [&chunk], |bytes| some(layout::parse_chunk(bytes, 1, TILE_WIDTH))),
        Target::new("record of any kind", [&sample], |bytes| {
            let read = record::decode_record::<Sample>(bytes);
            if let Ok(read) = &read {
                assert_eq!(record::encode_record(read).unwrap(), bytes);
            }
            said(read)
        }),
    ]
}

#[test]
fn no_bytes_bring_a_reader_of_the_ledger_down() {
    let all = || [notes(), tiles(), steps(), journals(), values()].into_iter().flatten().collect();
    fuzz::run(module_path!(), "no_bytes_bring_a_reader_of_the_ledger_down", all);
}
