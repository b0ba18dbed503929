//! Single texts that somebody holds under the auditor's camera.

use domain::member::Purpose;
use ledger::checkpoint::Checkpoint;
use ledger::cosignature::Cosigner;
use ledger::key::{NoteSigner, PrivateKey};
use ledger::merkle::{Edge, Hash, leaf_hash};
use ledger::proof::TlogProof;

use super::*;
use crate::auditor::check::{TextKind, check};
use crate::town::seed;

fn fact<'a>(checked: &'a super::super::check::Checked, name: &str) -> &'a str {
    checked.facts.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
}

/// A checkpoint over the first `size` entries of a log, signed by the log key of `signer`.
fn signed_head(scene: &Scene, of: &str, size: u64, signer: &str) -> (String, Hash) {
    let mut edge = Edge::default();
    for index in 0..size {
        edge.push(leaf_hash(&scene.town.entry(id(of), index).unwrap()));
    }
    let origin = format!("town/{of}");
    let key = PrivateKey::from_seed(&seed(id(signer), Purpose::Log));
    let checkpoint = Checkpoint { origin: origin.clone(), size, root: edge.root() };
    (checkpoint.sign(&NoteSigner::new(&origin, key).unwrap()), edge.root())
}

#[test]
fn a_text_is_what_it_is_and_genuine_or_not() {
    let mut scene = Scene::new();
    let voucher = scene.booked();
    let now = scene.town.now;
    let stranger = crate::token::HolderKey::ed25519(&[8; 32]);
    let arrive = || vp1::Step::Arrive { audience: "gulou".into(), voucher: named(voucher) };
    let record = scene.town.entry(gulou(), 0).unwrap();
    let mut altered = record.to_vec();
    *altered.last_mut().unwrap() ^= 1;
    let table: Vec<(&str, String, TextKind, bool)> = vec![
        ("the holder's QR", scene.arrive(voucher), TextKind::PersonalQr, true),
        ("a stranger's", scene.show_as(arrive(), &stranger, now), TextKind::PersonalQr, false),
        ("a broken one", "VP1:A".into(), TextKind::PersonalQr, false),
        ("the voucher's QR", scene.current_qr(voucher), TextKind::VoucherQr, true),
        ("a broken one", "VQ1:A".into(), TextKind::VoucherQr, false),
        ("a record", hex::encode(&record), TextKind::Record, true),
        ("an altered record", hex::encode(&altered), TextKind::Record, false),
        ("a head", signed_head(&scene, "gulou", 1, "gulou").0, TextKind::Checkpoint, true),
        ("a head signed by another", signed_head(&scene, "gulou", 1, "zhongda").0, TextKind::Checkpoint, false),
        ("a poem", "窗前明月光".into(), TextKind::Unknown, false),
        ("nothing", String::new(), TextKind::Unknown, false),
        ("too much", "a".repeat(super::super::check::MAX_CHARS + 1), TextKind::Unknown, false),
    ];
    for (what, text, kind, genuine) in table {
        let checked = scene.town.read(audit(), |work| check(work, &text, now));
        assert_eq!((checked.kind, checked.genuine), (kind, genuine), "{what}: {checked:?}");
    }
}

#[test]
fn a_proof_is_looked_up_and_verified() {
    let scene = {
        let mut scene = Scene::new();
        scene.booked();
        scene
    };
    let (one, two) = (scene.town.entry(health(), 0).unwrap(), scene.town.entry(health(), 1).unwrap());
    let (head, _) = signed_head(&scene, "health", 2, "health");
    let proof = |index, sibling: &[u8]| {
        let path = vec![leaf_hash(sibling)];
        TlogProof { extra: None, index, path, checkpoint: head.clone() }.to_string()
    };
    let now = scene.town.now;
    let said = |text: &str| scene.town.read(audit(), |work| check(work, text, now));
    let good = said(&proof(1, &one));
    assert!(good.genuine, "{good:?}");
    assert_eq!((fact(&good, "institution"), fact(&good, "verdict")), ("health", "stands"));
    assert!(!said(&proof(1, &two)).genuine, "a path that does not lead to the root");
    assert!(!said("c2sp.org/tlog-proof@v1\n").genuine);
}

#[test]
fn a_head_is_held_against_the_history_that_is_here() {
    let mut scene = Scene::new();
    scene.booked();
    let (note, root) = signed_head(&scene, "health", 2, "health");
    let now = scene.town.now;
    // the root that is held over as many entries; whether it is genuine, and what is said of it
    for (held, genuine, says) in
        [(Some(root), true, "same"), (None, true, "fewer"), (Some(Hash([9; 32])), false, "other")]
    {
        let said = scene.town.read(audit(), |work| check(work, &note, now)).against(held);
        assert_eq!((said.genuine, fact(&said, "held-here"), fact(&said, "cosigned-by")), (genuine, says, "–"));
    }
    // What is no signed head is held against nothing.
    let said = scene.town.read(audit(), |work| check(work, "窗前明月光", now));
    assert_eq!(said.clone().against(Some(root)), said);
}

#[test]
fn a_cosignature_counts_if_it_is_an_auditors() {
    let mut scene = Scene::new();
    scene.booked();
    let (note, _) = signed_head(&scene, "health", 2, "health");
    let text = note.split_once("\n\n").map(|(text, _)| format!("{text}\n")).unwrap();
    let line = |of: &str, text: &str| {
        let key = PrivateKey::from_seed(&seed(id(of), Purpose::Witness));
        Cosigner::new(&format!("town/{of}"), key).unwrap().sign(1_767_225_600, text)
    };
    let now = scene.town.now;
    for (lines, by) in [
        (line("audit", &text), "audit"),
        (line("gulou", &text), "–"),
        (line("gulou", &text) + &line("audit", &text), "audit"),
        (String::new(), "–"),
    ] {
        let said = scene.town.read(audit(), |work| check(work, &format!("{note}{lines}"), now));
        assert_eq!((said.genuine, fact(&said, "cosigned-by")), (true, by), "{lines}");
    }
    // A false line of a key that is known makes the whole note false.
    let said = scene.town.read(audit(), |work| check(work, &format!("{note}{}", line("audit", "town/else\n1\n")), now));
    assert!(!said.genuine, "{said:?}");
}

#[test]
fn a_check_tells_what_a_desk_wants_to_know() {
    let mut scene = Scene::new();
    let voucher = scene.booked();
    let qr = scene.current_qr(voucher);
    let now = scene.town.now;
    let checked = scene.town.read(audit(), |work| check(work, &qr, now));
    assert_eq!(
        ["voucher", "current", "stage", "in-time"].map(|name| fact(&checked, name)),
        [voucher.to_string().as_str(), "true", "booked", "true"]
    );
    let old = scene.token(voucher);
    let checked = scene.town.read(audit(), |work| check(work, &old, now));
    assert_eq!((checked.genuine, fact(&checked, "current")), (true, "false"));
}
