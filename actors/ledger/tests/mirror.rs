//! Following another log: what is accepted, a liar for each refusal, and a mirror that survives its own restart.
#![allow(clippy::unwrap_used)]

mod support;

use ledger::fork::{Beginning, Split, Unproved};
use ledger::log::{Batch, Ledger, SubmitError};
use ledger::merkle::Hash;
use ledger::mirror::{self, Accepted, Held, MAX_CHECKPOINT_BYTES, MAX_STEP_ENTRIES, Refused};
use ledger::tile::TileHashes;
use support::*;

fn step(held: &Held, note: &str, from: u64, to: u64, proof: &[Hash]) -> Result<Accepted, Refused> {
    let entries: Vec<_> = (from..to).map(entry).collect();
    let entries: Vec<_> = entries.iter().map(|entry| &entry[..]).collect();
    mirror::step(held, note.as_bytes(), PEER, &keys(PEER), &entries, proof)
}

fn held(size: u64) -> Held {
    step(&Held::default(), &signed(PEER, size), 0, size, &[]).unwrap().held().clone()
}

/// A head of another history, signed with the peer's own key.
fn forked(size: u64) -> String {
    let checkpoint = ledger::checkpoint::Checkpoint { origin: PEER.into(), size, root: Hash([7; 32]) };
    checkpoint.sign(&signer(PEER))
}

#[test]
fn honest_entries_are_accepted() {
    let accepted = step(&held(5), &signed(PEER, 9), 5, 9, &[]).unwrap();
    assert_eq!((accepted.origin(), accepted.first_index(), accepted.entries().len()), (PEER, 5, 4));
    assert_eq!((accepted.held().size(), accepted.held().root()), (9, root(9)));
    assert_eq!(accepted.head().checkpoint.size, 9);
}

#[test]
fn a_liar_is_refused() {
    let held = held(5);
    let good = signed(PEER, 9);
    let of = |name: &str, size| signed(name, size).replace(&format!("{name}\n"), &format!("{PEER}\n"));
    let long = format!("{good}{}", "x".repeat(MAX_CHECKPOINT_BYTES));
    type Expected = fn(&Refused) -> bool;
    type Row<'a> = (&'a str, &'a str, u64, u64, &'a [Hash], Expected);
    let table: [Row<'_>; 13] = [
        ("another origin", &signed("c.example/log", 9), 5, 9, &[], |r| matches!(r, Refused::BadNote(_))),
        ("another key", &of("c.example/log", 9), 5, 9, &[], |r| matches!(r, Refused::BadNote(_))),
        ("changed size", &good.replace("\n9\n", "\n8\n"), 5, 8, &[], |r| matches!(r, Refused::BadNote(_))),
        ("no note", "", 5, 9, &[], |r| matches!(r, Refused::BadNote(_))),
        ("changed entries", &good, 6, 10, &[], |r| matches!(r, Refused::RootMismatch)),
        ("another root", &forked(9), 5, 9, &[], |r| matches!(r, Refused::RootMismatch)),
        ("too many entries", &good, 5, 10, &[], |r| matches!(r, Refused::BeyondCheckpoint)),
        ("no proof", &good, 5, 8, &[], |r| matches!(r, Refused::BadProof(_))),
        ("proof for nothing", &good, 5, 9, &[Hash([1; 32])], |r| matches!(r, Refused::BadProof(_))),
        ("no entries", &good, 5, 5, &[], |r| matches!(r, Refused::Nothing)),
        ("known", &signed(PEER, 5), 5, 5, &[], |r| matches!(r, Refused::Nothing)),
        ("older", &signed(PEER, 4), 5, 5, &[], |r| matches!(r, Refused::Behind { held: 5, offered: 4 })),
        ("a long note", &long, 5, 9, &[], |r| matches!(r, Refused::TooLarge { .. })),
    ];
    for (name, note, from, to, proof, expected) in table {
        let refused = step(&held, note, from, to, proof).unwrap_err();
        assert!(expected(&refused), "{name}: {refused}");
    }
    let many = vec![&b"x"[..]; MAX_STEP_ENTRIES + 1];
    let refused = mirror::step(&held, good.as_bytes(), PEER, &keys(PEER), &many, &[]).unwrap_err();
    assert!(matches!(refused, Refused::TooLarge { .. }));
    let big = [&[0; 7 * 1024 + 1][..]];
    let refused = mirror::step(&held, good.as_bytes(), PEER, &keys(PEER), &big, &[]).unwrap_err();
    assert!(matches!(refused, Refused::TooLarge { .. }));
}

#[test]
fn two_histories_leave_evidence() {
    let Refused::Fork(evidence) = step(&held(5), &forked(5), 5, 5, &[]).unwrap_err() else { panic!("no evidence") };
    for head in [&evidence.held, &evidence.offered] {
        let signed = ledger::checkpoint::Checkpoint::open(head.note.as_bytes(), PEER, &keys(PEER)).unwrap();
        assert_eq!(signed, head.checkpoint);
    }
    assert_ne!(evidence.held.checkpoint.root, evidence.offered.checkpoint.root);
    // An older head is judged against what is held.
    let newest = held(5).newest.unwrap();
    let judge = |note: &str| mirror::conflict(&newest, note.as_bytes(), PEER, &keys(PEER), |size| Some(root(size)));
    assert_eq!(judge(&signed(PEER, 3)).unwrap(), None);
    assert_eq!(judge(&forked(3)).unwrap().unwrap().offered.checkpoint.size, 3);
}

#[test]
fn a_fork_shows_when_entries_pass_the_head_accepted_before() {
    // Entries 0..3 are accepted under a head of size 5 that belongs to another history with the same beginning.
    let mut other = ledger::tile::Tiles::new();
    let changed = |index| if index < 3 { entry(index) } else { b"changed".to_vec() };
    (0..5).for_each(|index| other.push(ledger::merkle::leaf_hash(&changed(index))));
    let head = ledger::checkpoint::Checkpoint { origin: PEER.into(), size: 5, root: other.root() };
    let leaves: Vec<_> = (0..5).map(|index| ledger::merkle::leaf_hash(&changed(index))).collect();
    let node = ledger::merkle::node_hash;
    // From 3 to 5: the leaf at 2, its sibling, the left pair, the last leaf.
    let proof = [leaves[2], leaves[3], node(&leaves[0], &leaves[1]), leaves[4]];
    let start = step(&Held::default(), &head.sign(&signer(PEER)), 0, 3, &proof).unwrap();
    assert_eq!((start.held().size(), start.held().root()), (3, root(3)));
    let refused = step(start.held(), &signed(PEER, 9), 3, 9, &[]).unwrap_err();
    assert!(matches!(refused, Refused::Fork(_)), "{refused}");
}

/// What proves two histories to somebody who has the log's key alone, and what accuses nobody.
#[test]
fn a_split_proves_two_histories_and_nothing_else() {
    // From entry 3 on the other history is another one.
    let leaf = |other: bool, index: u64| match other && index >= 3 {
        true => ledger::merkle::leaf_hash(format!("other {index}").as_bytes()),
        false => ledger::merkle::leaf_hash(&entry(index)),
    };
    let begin = |other: bool, size: u64, of: u64| {
        let tile = |_: u8, _: u64, width: u16| Some((0..width.into()).flat_map(|i| leaf(other, i).0).collect());
        let (tile, root) = (&TileHashes(&tile), |size| ledger::merkle::root(size, &TileHashes(&tile)).unwrap());
        let proof = ledger::merkle::consistency_proof(size, of, tile).unwrap();
        (Beginning { root: root(size), proof }, root(of))
    };
    let note = |name: &str, key: &str, size: u64, root: Hash| {
        ledger::checkpoint::Checkpoint { origin: name.into(), size, root }.sign(&signer(key))
    };
    let judge = |size: u64, held: u64, (other, offered): (bool, u64), change: fn(&mut Split), by: (&str, &str)| {
        let ((ours, held_root), (theirs, offered_root)) = (begin(false, size, held), begin(other, size, offered));
        let mut split = Split { size, held: ours, offered: theirs };
        change(&mut split);
        let (held, offered) = (note(PEER, PEER, held, held_root), note(by.0, by.1, offered, offered_root));
        split.prove(PEER, &keys(PEER), &held, &offered)
    };
    let (peer, as_it_is): (_, fn(&mut Split)) = ((PEER, PEER), |_| ());
    for (size, held, offered) in [(5, 5, 5), (5, 5, 9), (5, 9, 5), (4, 7, 9), (9, 9, 12)] {
        judge(size, held, (true, offered), as_it_is, peer)
            .unwrap_or_else(|e| panic!("{size} of {held}, {offered}: {e}"));
    }
    type Expected = fn(&Unproved) -> bool;
    type Row<'a> = (&'a str, u64, (bool, u64), fn(&mut Split), (&'a str, &'a str), Expected);
    let table: [Row<'_>; 9] = [
        ("it goes on", 5, (false, 9), as_it_is, peer, |e| matches!(e, Unproved::Alike)),
        ("before they differ", 3, (true, 9), as_it_is, peer, |e| matches!(e, Unproved::Alike)),
        ("of nothing", 0, (true, 9), as_it_is, peer, |e| matches!(e, Unproved::Alike)),
        (
            "a root of nobody",
            5,
            (false, 9),
            |s| s.offered.root = Hash([7; 32]),
            peer,
            |e| matches!(e, Unproved::Beginning(_)),
        ),
        (
            "a held root of nobody",
            5,
            (true, 9),
            |s| s.held.root = Hash([7; 32]),
            peer,
            |e| matches!(e, Unproved::Beginning(_)),
        ),
        (
            "a proof of nobody",
            5,
            (true, 9),
            |s| s.offered.proof[0].0[0] ^= 1,
            peer,
            |e| matches!(e, Unproved::Beginning(_)),
        ),
        ("no proof", 5, (true, 9), |s| s.offered.proof.clear(), peer, |e| matches!(e, Unproved::Beginning(_))),
        ("another key", 5, (true, 9), as_it_is, (PEER, "c.example/log"), |e| matches!(e, Unproved::Head(_))),
        ("another log", 5, (true, 9), as_it_is, ("c.example/log", "c.example/log"), |e| matches!(e, Unproved::Head(_))),
    ];
    for (name, size, offered, change, by, expected) in table {
        let unproved = judge(size, 5, offered, change, by).unwrap_err();
        assert!(expected(&unproved), "{name}: {unproved}");
    }
}

#[test]
fn a_mirror_is_kept_in_steps_and_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (peer_dir, note) = (tempfile::tempdir().unwrap(), signed(PEER, 1_000));
    let mut of_peer = options(peer_dir.path());
    (of_peer.origin, of_peer.signer) = (PEER.into(), signer(PEER).into());
    let (peer, _) = open(of_peer);
    append(&peer, 0, 1_000);

    // Mirroring needs no permission to write.
    let (ledger, _) = Ledger::open(options(dir.path())).unwrap();
    for (from, to) in [(0, 300), (300, 700), (700, 1_000)] {
        let proof = peer.consistency_proof(PEER, to, 1_000).unwrap();
        let accepted = step(&ledger.edge(PEER), &note, from, to, &proof).unwrap();
        let batch = Batch { mirrors: vec![accepted], ..Batch::default() };
        let ticket = ledger.submit(batch.clone()).unwrap();
        assert_eq!(ledger.submit(batch), Err(SubmitError::Stale { origin: PEER.into(), size: to }));
        wait(&ledger, ticket);
        assert_eq!(ledger.accepted_size(PEER), to);
        // The head is served only when every entry of it is.
        assert_eq!(ledger.head(PEER).map(|head| head.checkpoint.size), (to == 1_000).then_some(1_000));
    }
    let own = Batch { mirrors: vec![step(&Held::default(), &note, 0, 1_000, &[]).unwrap()], ..Batch::default() };
    assert!(matches!(peer.submit(own), Err(SubmitError::OwnLog(_))));
    ledger.close();

    for lost_store in [false, true] {
        if lost_store {
            std::fs::remove_dir_all(dir.path().join("data/store")).unwrap();
        }
        let (ledger, _) = Ledger::open(options(dir.path())).unwrap();
        assert_eq!(ledger.origins(), [ORIGIN, PEER]);
        assert_eq!(*ledger.head(PEER).unwrap().note, *note);
        assert_eq!(*ledger.entry(PEER, 999).unwrap(), entry(999));
        assert_eq!(ledger.edge(PEER).root(), root(1_000));
        assert_eq!(ledger.root_at(PEER, 700).unwrap(), root(700));
        assert_eq!(ledger.tile(PEER, 0, 2, 256), peer.tile(PEER, 0, 2, 256));
        assert_eq!(ledger.bundle(PEER, 3, 100), peer.bundle(PEER, 3, 100));
        ledger.close();
    }
}

/// The mirror is given up at the next open and another history taken in its place; journal, own log and private rows stay,
/// also over later opens with and without the store.
#[test]
fn a_mirror_on_the_losing_branch_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let small = || ledger::log::Options { segment_bytes: 8 * 1024, ..options(dir.path()) };
    let other = |index: u64| if index < 3 { entry(index) } else { format!("other {index}").into_bytes() };
    let (ledger, _) = open(small());
    append(&ledger, 0, 100);
    for to in [40, 80] {
        let from = ledger.edge(PEER).size();
        let mirrors = vec![step(&ledger.edge(PEER), &signed(PEER, to), from, to, &[]).unwrap()];
        wait(&ledger, ledger.submit(Batch { mirrors, ..Batch::default() }).unwrap());
        append(&ledger, 60 + to, 40);
    }
    assert!(ledger.replace_mirror(ORIGIN).is_err(), "the own log stays");
    ledger.replace_mirror(PEER).unwrap();
    ledger.replace_mirror(PEER).unwrap();
    assert_eq!(ledger.accepted_size(PEER), 80);
    ledger.close();

    let (ledger, report) = open(small());
    assert_eq!(report.rebuilt.as_deref(), Some("the mirrors of b.example/log were replaced"));
    assert_eq!((ledger.accepted_size(PEER), ledger.head(PEER).is_none()), (0, true));
    let mut edge = ledger::merkle::Edge::default();
    (0..50).for_each(|index| edge.push(ledger::merkle::leaf_hash(&other(index))));
    let root = edge.root();
    let note = ledger::checkpoint::Checkpoint { origin: PEER.into(), size: 50, root }.sign(&signer(PEER));
    let entries: Vec<_> = (0..50).map(other).collect();
    let entries: Vec<_> = entries.iter().map(Vec::as_slice).collect();
    let taken = mirror::step(&Held::default(), note.as_bytes(), PEER, &keys(PEER), &entries, &[]).unwrap();
    wait(&ledger, ledger.submit(Batch { mirrors: vec![taken], ..Batch::default() }).unwrap());
    append(&ledger, 180, 120);
    ledger.close();

    for lost_store in [false, true] {
        if lost_store {
            std::fs::remove_dir_all(dir.path().join("data/store")).unwrap();
        }
        let (ledger, report) = open(small());
        assert_eq!(report.rebuilt, None);
        complete(&ledger, 300);
        assert_eq!((ledger.edge(PEER).size(), ledger.edge(PEER).root()), (50, root));
        assert_eq!(*ledger.entry(PEER, 49).unwrap(), other(49));
        assert!(ledger.get_private(b"p00000140").is_some());
        ledger.close();
    }
}
