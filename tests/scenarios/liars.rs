//! The table of liars: each attacks real nodes through its log, and is noticed. What its own key has signed becomes a finding; what it has
//! not signed is refused and accuses nobody.
//!
//! Elsewhere: a log that shows two histories to two of its peers, forged and altered logs byte by byte (`tests/liars`), a store that
//! was brought back (`restore`), a clock that is ahead of the others' (`clocks`), a stolen log key (`keys`), nodes that misbehave
//! inside (`demo_breaks`), each rule that a record can break (`actors/src/auditor/tests`).

use std::time::Duration;

use actors::clock::Clock as _;
use domain::member::Role;
use domain::time::{Millis, Timestamp};
use ledger::checkpoint::Checkpoint;
use ledger::fork::{Beginning, Split};
use ledger::key::{NoteSigner, PrivateKey};
use ledger::merkle::Hash;
use ledger::witness::add_checkpoint;
use node::clock::NodeClock;
use serde_json::Value;

use crate::liars::fake_log::{FakeLog, Server, serve};
use crate::liars::heartbeat_at;
use crate::support::{TestNode, desk, eventually};

/// An auditor looks each minute at what does not count.
const A_MINUTE_AND_MORE: Duration = Duration::from_secs(180);

/// A member whose node is a liar, and how it lies.
struct Liar {
    node: TestNode,
    server: Server,
    begin: Timestamp,
}

impl Liar {
    fn entry(&self, index: u64, after: Millis) -> Vec<u8> {
        heartbeat_at(self.node.id, index, self.begin + after)
    }

    /// A log whose entries are dated so many minutes after the first.
    fn log(&self, minutes: &[i64]) -> FakeLog {
        let entries = (0..).zip(minutes).map(|(index, after)| self.entry(index, Millis::minutes(*after)));
        FakeLog::new(self.node.keys().log_signer(&self.node.origin()).unwrap(), entries.collect())
    }
}

/// How a lie is noticed.
#[derive(Clone, Copy)]
enum Noticed {
    /// As a finding of that kind about the liar.
    Found(&'static str),
    /// It is refused: nothing is taken, and nobody is accused.
    Refused,
}

use Noticed::{Found, Refused};

/// Name, what it says after three honest entries, and how that is noticed.
type Row = (&'static str, fn(&Liar), Noticed);

const HONEST: [i64; 3] = [0, 1, 2];

const TABLE: [Row; 11] = [
    // Signs the same size twice: shown to a witness below.
    ("equivocator", |_| {}, Found("fork")),
    ("rewinder", |liar| liar.server.say(liar.log(&[0, 1])), Refused),
    // A longer log that leaves out what it signed before, and one that does not show how it is made.
    ("rewriter", |liar| liar.server.say(liar.log(&[0, 5, 6, 7])), Found("fork")),
    ("shy-rewriter", |liar| liar.server.say(liar.log(&[0, 5, 6, 7]).without_tiles()), Refused),
    // Its head is as it should be; its tiles are of another log.
    ("tile-forger", |liar| liar.server.say(liar.log(&[0, 1, 2, 3]).changing_entry(3).changing_tiles()), Refused),
    (
        "split-viewer",
        |liar| {
            liar.server.say_to("audit", liar.log(&[0, 1, 2, 59]));
            liar.server.say(liar.log(&[0, 1, 2, 60]));
        },
        Found("fork"),
    ),
    ("clock-liar", |liar| liar.server.say(liar.log(&[0, 1, 2, 1])), Found("clock-went-back")),
    // The hour of the three entries is over: an honest fourth would be dated now.
    ("back-dater", |liar| liar.server.say(liar.log(&[0, 1, 2, 3])), Found("back-dated")),
    (
        "forger",
        |liar| {
            let stranger = NoteSigner::new(&liar.node.origin(), PrivateKey::from_seed(&[9; 32])).unwrap();
            liar.server.say(liar.log(&[0, 1, 2, 3]).signed_by(stranger));
        },
        Refused,
    ),
    ("tamperer", |liar| liar.server.say(liar.log(&[0, 1, 2, 3]).changing_entry(3)), Refused),
    ("withholder", |liar| liar.server.say(liar.log(&[0, 1, 2, 3]).leaving_out(3)), Refused),
];

async fn findings(auditor: &TestNode) -> Vec<(String, String, String)> {
    let (_, listed) = auditor.get("/v1/audit/findings?limit=1000").await;
    let text = |one: &Value, field: &str| one[field].as_str().unwrap_or_default().to_owned();
    let items = listed["items"].as_array().cloned().unwrap_or_default();
    items.iter().map(|one| (text(one, "institution"), text(one, "kind"), text(one, "evidence"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_liar_is_noticed() {
    let root = tempfile::tempdir().unwrap();
    let mut issuer = TestNode::new(root.path(), "health", &[Role::Issuer], None);
    issuer.start().await;
    let mut auditor = TestNode::new(root.path(), "audit", &[Role::Auditor], Some(&issuer));
    desk::register(&issuer, &auditor).await;
    auditor.start().await;

    let begin = NodeClock::real().now() - Millis::hours(1);
    let mut liars = Vec::new();
    for (name, ..) in TABLE {
        let node = TestNode::new(root.path(), name, &[Role::Hospital], Some(&issuer));
        let signer = node.keys().log_signer(&node.origin()).unwrap();
        let server = serve(FakeLog::new(signer, Vec::new())).await;
        let mut liar = Liar { node, server, begin };
        liar.server.say(liar.log(&HONEST));
        liar.node.url.clone_from(&liar.server.url);
        desk::register(&issuer, &liar.node).await;
        liars.push(liar);
    }
    for liar in &liars {
        eventually("the honest beginning is taken", Duration::from_secs(30), || async {
            auditor.folded(liar.node.id).await == 3 && issuer.folded(liar.node.id).await == 3
        })
        .await;
    }
    // What shows how long each log is was noted by now.
    let polls: Vec<_> = liars.iter().map(|liar| liar.server.asked()).collect();
    eventually("each was asked again", Duration::from_secs(30), || async {
        liars.iter().zip(&polls).all(|(liar, before)| liar.server.asked() > before + 3)
    })
    .await;
    assert_eq!(findings(&auditor).await, [], "nobody has lied yet");

    for (liar, (_, lie, _)) in liars.iter().zip(TABLE) {
        lie(liar);
    }
    // Somebody who has both heads shows the second one to a witness, which cosigned neither.
    let equivocator = &liars[0].node;
    let second = Checkpoint { origin: equivocator.origin(), size: 3, root: Hash([9; 32]) };
    let second = second.sign(&equivocator.keys().log_signer(&equivocator.origin()).unwrap());
    let shown = reqwest::Client::new().post(format!("{}/witness/add-checkpoint", auditor.url));
    let answer = shown.body(add_checkpoint(0, &[], &second)).send().await.unwrap();
    assert_eq!(answer.status(), 422, "what contradicts the mirror is not cosigned");

    for (name, _, noticed) in TABLE {
        let Found(kind) = noticed else { continue };
        eventually(&format!("{name} is found"), A_MINUTE_AND_MORE, || async {
            findings(&auditor).await.iter().any(|(of, found, _)| of == name && found == kind)
        })
        .await;
    }
    let found = findings(&auditor).await;
    for (liar, (name, _, noticed)) in liars.iter().zip(TABLE) {
        let of: Vec<_> = found.iter().filter(|(of, ..)| of == name).map(|(_, kind, _)| kind.as_str()).collect();
        match noticed {
            Found(kind) => assert_eq!(of, [kind], "{name}"),
            Refused => {
                assert!(of.is_empty(), "{name}: {of:?}");
                assert_eq!(auditor.folded(name).await, 3, "{name}");
                // The truth is taken afterwards.
                liar.server.say(liar.log(&[0, 1, 2, 60]));
                eventually(&format!("{name} says the truth"), Duration::from_secs(30), || async {
                    auditor.folded(name).await == 4
                })
                .await;
            }
        }
    }
    // Forks and back-dating carry what proves them: heads that the liar's own key has signed.
    for (of, kind, digest) in found.iter().filter(|(_, kind, _)| kind == "fork" || kind == "back-dated") {
        let (status, proof) = auditor.get(&format!("/v1/audit/evidence/{digest}")).await;
        assert_eq!(status, 200, "{of} {kind}");
        let node = &liars.iter().find(|liar| liar.node.id == of).unwrap().node;
        let known = [node.keys().log_signer(&node.origin()).unwrap().verifier().clone()];
        let signed = |note: &Value| Checkpoint::open(note.as_str().unwrap(), &node.origin(), &known).unwrap();
        if kind == "fork" {
            let hash = |text: &Value| Hash::from_base64(text.as_str().unwrap()).unwrap();
            let begin = |root: &str, steps: &str| Beginning {
                root: hash(&proof[root]),
                proof: proof[steps].as_array().unwrap().iter().map(hash).collect(),
            };
            let (held, offered) = (begin("held_root", "held_proof"), begin("offered_root", "offered_proof"));
            let split = Split { size: proof["size"].as_u64().unwrap(), held, offered };
            let text = |note: &str| proof[note].as_str().unwrap().to_owned();
            split.prove(&node.origin(), &known, &text("held"), &text("offered")).unwrap();
        } else {
            assert_eq!((signed(&proof["seen"][0]["head"]).size, &proof["records"][0]["index"]), (3, &3.into()));
        }
    }
    // It resumes where it was, and tells nothing twice.
    auditor.kill();
    auditor.start().await;
    eventually("all are followed again", Duration::from_secs(30), || async { auditor.folded("tamperer").await == 4 })
        .await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(findings(&auditor).await, found);
}
