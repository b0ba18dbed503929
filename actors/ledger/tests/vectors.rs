//! The golden vectors of every wire format, with second opinions from independent crates.

#![allow(clippy::unwrap_used, reason = "all of this file is a test, its helpers too")]

use ledger::checkpoint::{Checkpoint, CheckpointError};
use ledger::cosignature::Cosigner;
use ledger::key::{KeyError, KeyKind, NoteSigner, NoteVerifier, PrivateKey};
use ledger::merkle::{
    EMPTY_ROOT, Edge, Hash, ProofError, consistency_proof, inclusion_proof, leaf_hash, node_hash, verify_consistency,
    verify_inclusion,
};
use ledger::note::{Note, NoteError};
use ledger::policy::Policy;
use ledger::proof::TlogProof;
use ledger::tile::{
    BundleError, MAX_ENTRY_BYTES, TileHashes, TileKind, TilePath, Tiles, bundles_of, encode_bundle, parse_bundle,
    push_entry, tiles_of,
};
use ledger::witness::{AddCheckpoint, Refusal};
use serde_json::Value;
use sha2::{Digest, Sha256};

macro_rules! vectors {
    ($file:literal) => {
        serde_json::from_str::<Value>(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/", $file)))
            .unwrap()
    };
}

/// The items of a list; an empty or missing list would test nothing.
fn list(value: &Value) -> &Vec<Value> {
    let items = value.as_array().unwrap();
    assert!(!items.is_empty());
    items
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(text(value)).unwrap()
}

fn hash(value: &Value) -> Hash {
    Hash(bytes(value).try_into().unwrap())
}

fn hashes(value: &Value) -> Vec<Hash> {
    value.as_array().unwrap().iter().map(|hash| Hash::from_base64(text(hash)).unwrap()).collect()
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// The vectors' entries.
fn entry(index: u64) -> Vec<u8> {
    let mut entry = format!("record {index}\n").into_bytes();
    entry.extend(vec![(index % 256) as u8; (index % 7) as usize]);
    entry
}

/// The vectors' log, and a witness.
fn log() -> NoteSigner {
    let key = &vectors!("keys.json")["log"];
    NoteSigner::new(text(&key["name"]), PrivateKey::from_seed(&bytes(&key["seed_hex"]).try_into().unwrap())).unwrap()
}

fn witness(number: usize) -> Cosigner {
    let key = &vectors!("keys.json")["witnesses"][number];
    Cosigner::new(text(&key["name"]), PrivateKey::from_seed(&bytes(&key["seed_hex"]).try_into().unwrap())).unwrap()
}

/// The log of `size` vector entries, with all its tiles as a reader would fetch them.
fn build(size: u64) -> (Tiles, impl Fn(u8, u64, u16) -> Option<Vec<u8>>) {
    let mut tiles = Tiles::new();
    (0..size).for_each(|index| tiles.push(leaf_hash(&entry(index))));
    let full = tiles.take_full();
    let edge = tiles.clone();
    let read = move |level: u8, index: u64, _: u16| {
        let full = full.iter().find(|tile| (tile.0, tile.1) == (level, index)).map(|tile| tile.2.clone());
        full.or_else(|| edge.partial(level).filter(|tile| tile.0 == index).map(|tile| tile.1.to_vec()))
    };
    (tiles, read)
}

#[test]
fn keys() {
    let file = vectors!("keys.json");
    let logs = [(&file["log"], KeyKind::Log), (&file["log_after_rotation"], KeyKind::Log)];
    let witnesses = list(&file["witnesses"]).iter().map(|key| (key, KeyKind::Witness));
    for (key, kind) in logs.into_iter().chain(witnesses) {
        let private = PrivateKey::from_seed(&bytes(&key["seed_hex"]).try_into().unwrap());
        assert_eq!(private.public().as_bytes()[..], bytes(&key["public_key_hex"]));
        let made = NoteVerifier::new(text(&key["name"]), kind, private.public()).unwrap();
        assert_eq!(hex::encode(made.key_id()), text(&key["key_id_hex"]));
        assert_eq!(made.to_string(), text(&key["vkey"]));
        assert_eq!(text(&key["vkey"]).parse(), Ok(made));
    }
}

#[test]
fn hashing() {
    let file = vectors!("hashing.json");
    assert_eq!(EMPTY_ROOT, hash(&file["empty_root_hex"]));
    assert_eq!(leaf_hash(b""), hash(&file["leaf_hash_of_empty_entry_hex"]));
    for leaf in list(&file["leaves"]) {
        assert_eq!(bytes(&leaf["data_hex"]), entry(number(&leaf["index"])));
        assert_eq!(leaf_hash(&bytes(&leaf["data_hex"])), hash(&leaf["leaf_hash_hex"]));
    }
    let node = node_hash(&leaf_hash(&entry(0)), &leaf_hash(&entry(1)));
    assert_eq!(node, hash(&file["node_hash_of_leaves_0_1_hex"]));

    let mut edge = Edge::default();
    for root in list(&file["roots"]) {
        while edge.size() < number(&root["size"]) {
            edge.push(leaf_hash(&entry(edge.size())));
        }
        assert_eq!((edge.size(), edge.root()), (number(&root["size"]), hash(&root["root_hex"])));
        assert_eq!(edge.root().to_base64(), text(&root["root_b64"]));
    }
}

#[test]
fn tile_paths() {
    let file = vectors!("tile_paths.json");
    for index in list(&file["index"]) {
        let path = TilePath { kind: TileKind::Entries, index: number(&index["n"]), width: 256 };
        assert_eq!(path.to_string(), format!("tile/entries/{}", text(&index["path"])));
        assert_eq!(path.to_string().parse(), Ok(path));
    }
    for tile in list(&file["tiles"]) {
        let kind = TileKind::Hashes(number(&tile["level"]) as u8);
        let path = TilePath { kind, index: number(&tile["n"]), width: number(&tile["width"]) as u16 };
        assert_eq!(path.to_string(), text(&tile["path"]));
        assert_eq!(text(&tile["path"]).parse(), Ok(path));
    }
    for path in list(&file["invalid"]) {
        assert!(text(path).parse::<TilePath>().is_err(), "{path}");
    }
}

#[test]
fn tiles_and_bundles_of_a_size() {
    let file = vectors!("tiles.json");
    for tree in list(&file["trees"]) {
        let size = number(&tree["size"]);
        let (tiles, read) = build(size);
        assert_eq!(tiles.root(), hash(&tree["root_hex"]));
        assert_eq!(tiles_of(size).count() as u64, number(&tree["tile_count"]));
        assert_eq!(bundles_of(size).count() as u64, number(&tree["bundle_count"]));
        for tile in list(&tree["tiles"]) {
            let path: TilePath = text(&tile["path"]).parse().unwrap();
            assert!(tiles_of(size).any(|other| other == path), "{path} of {size}");
            let TileKind::Hashes(level) = path.kind else { panic!("{path} is a bundle") };
            let bytes = read(level, path.index, path.width).unwrap();
            assert_eq!((bytes.len() as u64, sha256(&bytes)), (number(&tile["bytes"]), text(&tile["sha256"]).into()));
        }
        for bundle in tree["bundles"].as_array().unwrap() {
            let path: TilePath = text(&bundle["path"]).parse().unwrap();
            assert!(bundles_of(size).any(|other| other == path), "{path} of {size}");
            let first = path.index * 256;
            let entries: Vec<_> = (first..first + u64::from(path.width)).map(entry).collect();
            let bytes = encode_bundle(entries.iter().map(Vec::as_slice));
            assert_eq!(
                (bytes.len() as u64, sha256(&bytes)),
                (number(&bundle["bytes"]), text(&bundle["sha256"]).into())
            );
            assert_eq!(parse_bundle(&bytes, entries.len()).unwrap(), entries);
        }
    }
    assert_eq!(build(5).0.partial(0), Some((0, &bytes(&file["tile5_hex"])[..])));
    let five: Vec<_> = (0..5).map(entry).collect();
    assert_eq!(encode_bundle(five.iter().map(Vec::as_slice)), bytes(&file["bundle5_hex"]));
}

#[test]
fn bundles() {
    let file = vectors!("bundles.json");
    for edge in list(&file["edge"]) {
        let content = if number(&edge["entry_len"]) == 1 { b'a' } else { 0 };
        let entry = vec![content; number(&edge["entry_len"]) as usize];
        assert_eq!(leaf_hash(&entry), hash(&edge["leaf_hash_hex"]));
        let bundle = encode_bundle([&entry[..]].into_iter());
        assert_eq!(
            (&bundle[..2], sha256(&bundle)),
            (&bytes(&edge["prefix_hex"])[..], text(&edge["bundle_sha256"]).into())
        );
        assert_eq!(parse_bundle(&bundle, 1), Ok(vec![&entry[..]]));
    }
    let example = bytes(&file["example"]["bundle_hex"]);
    let entries: Vec<_> = list(&file["example"]["entries_hex"]).iter().map(bytes).collect();
    assert_eq!(parse_bundle(&example, entries.len()).unwrap(), entries);
    assert_eq!(encode_bundle(entries.iter().map(Vec::as_slice)), example);
    for bundle in list(&file["invalid"]) {
        for count in [1, 2, 256] {
            assert!(parse_bundle(&bytes(&bundle["bundle_hex"]), count).is_err(), "{bundle} as {count}");
        }
    }
    let too_long = number(&file["too_long"]["entry_len"]) as usize;
    let mut bundle = vec![1];
    assert_eq!(push_entry(&mut bundle, &vec![0; too_long]), Err(BundleError::EntryTooLong(MAX_ENTRY_BYTES + 1)));
    assert_eq!(bundle, [1]);
}

#[test]
fn proofs() {
    let file = vectors!("proofs.json");
    let largest = list(&file["inclusion"]).iter().map(|proof| number(&proof["size"])).max().unwrap();
    let (_, read) = build(largest);
    let tiles = TileHashes(read);
    let theirs = |hash: Hash| tlog_tiles::Hash(hash.0);
    for vector in list(&file["inclusion"]) {
        let (index, size) = (number(&vector["index"]), number(&vector["size"]));
        let (leaf, root, proof) =
            (hash(&vector["leaf_hash_hex"]), hash(&vector["root_hex"]), hashes(&vector["proof_b64"]));
        assert_eq!(verify_inclusion(index, size, &leaf, &proof, &root), Ok(()));
        assert_eq!(inclusion_proof(index, size, &tiles), Ok(proof.clone()));
        assert_eq!(verify_inclusion(index, size, &root, &proof, &leaf).is_ok(), size == 1);
        let second = proof.into_iter().map(theirs).collect();
        assert!(tlog_tiles::check_record(&second, size, theirs(root), index, theirs(leaf)).is_ok());
    }
    for vector in list(&file["consistency"]) {
        let (old, new) = (number(&vector["old"]), number(&vector["new"]));
        let (old_root, new_root, proof) =
            (hash(&vector["old_root_hex"]), hash(&vector["new_root_hex"]), hashes(&vector["proof_b64"]));
        assert_eq!(verify_consistency(old, &old_root, new, &new_root, &proof), Ok(()));
        assert_eq!(consistency_proof(old, new, &tiles), Ok(proof.clone()));
        assert_eq!(verify_consistency(old, &new_root, new, &old_root, &proof).is_ok(), old == new);
        if old > 0 {
            let second = proof.into_iter().map(theirs).collect();
            assert!(tlog_tiles::check_tree(&second, new, theirs(new_root), old, theirs(old_root)).is_ok());
        }
    }
}

/// What another implementation says about a note under the log's key.
fn second_opinion(note: &str) -> Result<Vec<u8>, String> {
    let verifier = signed_note::StandardVerifier::new(&log().verifier().to_string()).unwrap();
    let note = signed_note::Note::from_bytes(note.as_bytes()).map_err(|error| error.to_string())?;
    let known = signed_note::VerifierList::new(vec![Box::new(verifier)]);
    note.verify(&known).map_err(|error| error.to_string())?;
    Ok(note.text().to_vec())
}

#[test]
fn good_checkpoints() {
    let file = vectors!("checkpoints.json");
    let (signer, origin) = (log(), log().name().to_owned());
    let known = [signer.verifier().clone()];
    for vector in list(&file["valid"]) {
        let checkpoint = Checkpoint::open(text(&vector["checkpoint"]), &origin, &known).unwrap();
        assert_eq!(checkpoint.size, number(&vector["size"]));
        assert_eq!(checkpoint.note_text(), text(&vector["note_text"]));
        assert_eq!(checkpoint.note_text().into_bytes(), bytes(&vector["signed_message_hex"]));
        assert_eq!(checkpoint.sign(&signer), text(&vector["checkpoint"]));
    }
    let after: NoteVerifier = text(&vectors!("keys.json")["log_after_rotation"]["vkey"]).parse().unwrap();
    let (w0, w1) = (witness(0).verifier().clone(), witness(1).verifier().clone());
    let all = [known[0].clone(), after.clone(), w0, w1];
    let cases = [
        // which note, known keys, good signatures
        ("with_cosignatures", &known[..], 1),
        ("with_cosignatures", &all, 3),
        ("during_key_rotation", &known, 1),
        ("during_key_rotation", &[after], 1),
        ("during_key_rotation", &all, 2),
        ("with_extension_line", &known, 1),
        ("with_unknown_signature_still_valid", &all, 1),
    ];
    for (name, known, signatures) in cases {
        let (checkpoint, note) = Checkpoint::open_note(text(&file[name]), &origin, known).unwrap();
        assert_eq!(note.signatures().len(), signatures, "{name}");
        assert_eq!(note.text() == checkpoint.note_text(), name != "with_extension_line", "{name}");
        assert_eq!(second_opinion(text(&file[name])).unwrap(), note.text().as_bytes(), "{name}");
    }
}

#[test]
fn bad_checkpoints() {
    let file = vectors!("checkpoints.json");
    let (known, origin) = ([log().verifier().clone()], log().name().to_owned());
    for vector in list(&file["invalid_note"]) {
        let note = text(&vector["note"]);
        assert!(Note::parse(note).and_then(|note| note.verify(&known)).is_err(), "{}", vector["why"]);
        assert!(second_opinion(note).is_err(), "{}", vector["why"]);
    }
    for vector in list(&file["invalid_checkpoint"]) {
        let note = text(&vector["note"]);
        let error = Checkpoint::open(note, &origin, &known).unwrap_err();
        // All but one are well-formed notes, so it is the checkpoint that is refused.
        let bad_text = !matches!(error, CheckpointError::Note(_));
        assert!(bad_text && second_opinion(note).is_ok(), "{}: {error}", vector["why"]);
    }
}

#[test]
fn cosignatures() {
    let file = vectors!("cosignatures.json");
    let note_text = text(&file["note_text"]);
    for (index, vector) in list(&file["cosignatures"]).iter().enumerate() {
        let (cosigner, line) = (witness(index), text(&vector["line"]));
        assert_eq!(cosigner.sign(number(&vector["time"]), note_text), line);
        let known = [cosigner.verifier().clone()];
        let note = Note::parse(format!("{note_text}\n{line}")).unwrap().verify(&known).unwrap();
        assert_eq!(note.signatures()[0].seconds, Some(number(&vector["time"])));
        let other = Note::parse(format!("{note_text}more\n\n{line}")).unwrap().verify(&known);
        assert_eq!(other, Err(NoteError::FalseSignature(text(&vector["name"]).into())));
        // The message in the file is what is signed, seen from the signature's side.
        let field = ledger::note::from_base64(line.trim_end().rsplit(' ').next().unwrap()).unwrap();
        let signature = field[12..].try_into().unwrap();
        let message = text(&vector["signed_message"]).as_bytes();
        assert!(ledger::key::verify_strict(cosigner.verifier().key(), message, signature));
    }
}

#[test]
fn an_unknown_signature_type_is_passed_over() {
    let vector = vectors!("mldsa44.json");
    assert_eq!(
        text(&vector["vkey"]).parse::<NoteVerifier>().map_err(|error| matches!(error, KeyError::Vkey)),
        Err(true)
    );
    let signed = text(&vectors!("checkpoints.json")["with_cosignatures"]).to_owned() + text(&vector["line"]);
    let known = [log().verifier().clone(), witness(0).verifier().clone()];
    let (checkpoint, note) = Checkpoint::open_note(signed, text(&vector["origin"]), &known).unwrap();
    assert_eq!((checkpoint.size, checkpoint.root), (number(&vector["end"]), hash(&vector["hash_hex"])));
    assert_eq!(note.signatures().len(), 2);
}

#[test]
fn two_histories_are_told_apart() {
    let file = vectors!("equivocation.json");
    let (known, origin) = ([log().verifier().clone()], log().name().to_owned());
    let open = |note: &Value| Checkpoint::open(text(note), &origin, &known).unwrap();

    let (a, b) = (open(&file["same_size"][0]), open(&file["same_size"][1]));
    assert_eq!(a.size, b.size);
    assert_eq!(verify_consistency(a.size, &a.root, b.size, &b.root, &[]), Err(ProofError::Root));

    let case = &file["shorter_and_longer"];
    let (a, b) = (open(&case["shorter"]), open(&case["longer"]));
    let proof = hashes(&case["proof_b64_from_liar"]);
    assert_eq!(verify_consistency(a.size, &a.root, b.size, &b.root, &proof), Err(ProofError::Root));
}

#[test]
fn offline_proofs() {
    let file = vectors!("tlog_proofs.json");
    let policy: Policy = text(&file["policy"]).parse().unwrap();
    let known: Vec<_> = policy.logs().map(|party| party.verifier.clone()).collect();
    assert_eq!(known, [log().verifier().clone()]);
    let origin = log().name().to_owned();
    for vector in list(&file["proofs"]) {
        let proof = TlogProof::parse(text(&vector["proof"])).unwrap();
        assert_eq!(proof.to_string(), text(&vector["proof"]));
        assert_eq!(proof.index, number(&vector["index"]));
        assert_eq!(proof.extra.as_deref().map(hex::encode).as_deref(), vector["extra_hex"].as_str());
        let leaf = leaf_hash(&bytes(&vector["entry_hex"]));
        let checkpoint = proof.verify(&leaf, &origin, &known, &Policy::default()).unwrap();
        // The proof of the one-leaf tree has no cosignature.
        assert_eq!(proof.verify(&leaf, &origin, &known, &policy).is_ok(), checkpoint.size == 300);
        assert!(proof.verify(&leaf_hash(b"liar"), &origin, &known, &Policy::default()).is_err());
        assert!(proof.verify(&leaf, "other.example/log", &known, &Policy::default()).is_err());
    }
}

#[test]
fn a_witness_answers_step_by_step() {
    let file = vectors!("witness.json");
    let keys = [text(&file["log_vkey"]).parse::<NoteVerifier>().unwrap()];
    let cosigner = witness(0);
    let mut kept: Option<Checkpoint> = None;
    for step in list(&file["steps"]) {
        let why = text(&step["why"]);
        let answer = AddCheckpoint::parse(text(&step["body"]).as_bytes()).and_then(|request| {
            let known = *request.claimed_origin() == *text(&file["origin"]);
            let signed = request.open(known.then_some(&keys))?;
            signed.judge(kept.as_ref()).map(|()| signed.cosign(&cosigner, 1_767_225_605))
        });
        let (status, body) = match answer {
            Ok((line, whole)) => {
                let known = [keys[0].clone(), cosigner.verifier().clone()];
                let (checkpoint, note) = Checkpoint::open_note(whole, text(&file["origin"]), &known).unwrap();
                assert_eq!(note.signatures().len(), 2, "{why}");
                kept = Some(checkpoint);
                (200, line)
            }
            Err(refusal @ Refusal::Stale(size)) => (refusal.status(), format!("{size}\n")),
            Err(refusal) => (refusal.status(), String::new()),
        };
        assert_eq!(u64::from(status), number(&step["status"]), "{why}");
        if let Some(expected) = step["response"].as_str() {
            assert_eq!(body, expected, "{why}");
        }
        if let Some(size) = step["state_after"].as_u64() {
            assert_eq!(kept.as_ref().map(|kept| kept.size), Some(size), "{why}");
        }
    }
}
