//! Stores that are copied away and brought back: the start rule, and the tail that the mirrors still have.

use std::path::Path;
use std::time::Duration;

use domain::member::Role;
use ledger::checkpoint::Checkpoint;
use ledger::merkle::Hash;
use serde_json::{Value, json};

use super::crash::issuer;
use crate::liars::fake_log::{FakeLog, serve};
use crate::support::{TestNode, copy_dir, desk, eventually, program};

const WITHIN: Duration = Duration::from_secs(15);

fn bring_back(copy: &Path, store: &Path) {
    std::fs::remove_dir_all(store).unwrap();
    copy_dir(copy, store);
}

pub(super) async fn generate(node: &TestNode) -> (u16, Value) {
    node.post("/v1/issuer/vouchers", &json!({ "programme": "checkup", "count": 3 })).await
}

pub(super) async fn head(node: &TestNode) -> String {
    reqwest::get(format!("{}/log/checkpoint", node.url)).await.unwrap().text().await.unwrap()
}

pub(super) async fn is_forked(node: &TestNode, of: &str) -> bool {
    let (_, status) = node.get("/v1/status").await;
    status["logs"].as_array().unwrap().iter().any(|log| log["institution"] == of && log["forked"] == true)
}

/// Story 13: a store that was copied away and brought back in place, in the same boot, or on another one: the node takes
/// back what its peers have of its log, and goes on where it was. Nobody sees two histories.
#[tokio::test(flavor = "multi_thread")]
async fn s13_a_store_brought_back_takes_its_tail_from_the_mirrors() {
    let root = tempfile::tempdir().unwrap();
    let mut node = issuer(root.path()).await;
    let mut peer = TestNode::new(root.path(), "audit", &[Role::Auditor], Some(&node));
    desk::register(&node, &peer).await;
    peer.start().await;
    for same_boot in [true, false] {
        node.kill();
        let (store, copy) = (node.dir.join("ledger"), root.path().join(format!("copy-{same_boot}")));
        copy_dir(&store, &copy);

        node.start().await;
        let (status, made) = generate(&node).await;
        assert_eq!(status, 201);
        let (size, signed) = (node.folded("health").await, head(&node).await);
        eventually("the peer has followed", WITHIN, || async { peer.folded("health").await == size }).await;
        node.kill();

        bring_back(&copy, &store);
        if !same_boot {
            std::fs::remove_dir_all(node.dir.join("marker")).unwrap();
            std::fs::create_dir_all(node.dir.join("marker")).unwrap();
        }
        node.start().await;
        assert_eq!((node.folded("health").await, head(&node).await), (size, signed), "same boot: {same_boot}");
        let made = &made["records"][0];
        let (status, record) = node.get(&format!("/v1/records/health.{}", made["index"])).await;
        assert_eq!((status, &record["name"]["id"]), (200, &made["id"]));
        assert_eq!(generate(&node).await.0, 201);
        let size = node.folded("health").await;
        eventually("the peer goes on following", WITHIN, || async { peer.folded("health").await == size }).await;
        assert!(!is_forked(&peer, "health").await);
    }
}

/// A store that is missing is made from the journal; `verify` accuses nobody's signature, and `run` says what it found.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_store_and_a_torn_tail_are_told_and_accuse_nobody() {
    let root = tempfile::tempdir().unwrap();
    let node = issuer(root.path()).await;
    let mut peer = TestNode::new(root.path(), "audit", &[Role::Auditor], Some(&node));
    // Whose keys are in the records alone, neither the auditor's own nor configured.
    let mut third = TestNode::new(root.path(), "gulou", &[Role::Issuer], Some(&node));
    for member in [&mut peer, &mut third] {
        desk::register(&node, member).await;
        member.start().await;
    }
    desk::publish(&third, "rehab").await;
    let size = node.folded("health").await;
    eventually("the peer has followed", WITHIN, || async {
        peer.folded("health").await == size && peer.folded("gulou").await > 0
    })
    .await;
    let store = peer.dir.join("ledger/store");
    peer.terminate();
    std::fs::remove_dir_all(&store).unwrap();
    let mut verify = std::process::Command::new(program());
    let verified = verify.arg("verify").arg("--config").arg(peer.config_path()).output().unwrap();
    let said = String::from_utf8(verified.stdout).unwrap();
    assert!(
        verified.status.code() == Some(0) && said.contains("are not folded yet") && !said.contains("FAULT"),
        "{said}"
    );

    std::fs::remove_dir_all(&store).unwrap();
    let segments = std::fs::read_dir(peer.dir.join("ledger/journal")).unwrap().map(|entry| entry.unwrap().path());
    let last = segments.filter(|path| path.is_file()).max().unwrap();
    let mut bytes = std::fs::read(&last).unwrap();
    // A frame may end with zeros: what is torn stands well behind the last byte that is none.
    let behind = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 64;
    bytes.resize(bytes.len().max(behind + 40), 0);
    bytes[behind..behind + 40].fill(0x5a);
    std::fs::write(&last, bytes).unwrap();
    peer.start().await;
    let log = peer.log();
    for said in ["the store was missing or empty", "a torn last write"] {
        assert!(log.lines().any(|line| line.contains("WARN") && line.contains(said)), "{said}: {log}");
    }
}

/// Story 13: somebody holds a head under this log's key whose entries nobody gives: nothing is written, and the node says
/// why. It still serves what it holds.
#[tokio::test(flavor = "multi_thread")]
async fn s13_a_tail_that_nobody_has_is_waited_for() {
    let root = tempfile::tempdir().unwrap();
    let mut node = issuer(root.path()).await;
    let witness = TestNode::new(root.path(), "audit", &[Role::Auditor], Some(&node));
    let signer = witness.keys().log_signer(&witness.origin()).unwrap();
    let longer = Checkpoint { origin: node.origin(), size: 1_000, root: Hash([7; 32]) };
    let note = longer.sign(&node.keys().log_signer(&node.origin()).unwrap());
    let server = serve(FakeLog::new(signer, Vec::new()).knowing(&note)).await;
    let mut join = desk::join(&witness);
    join["url"] = server.url.clone().into();
    assert_eq!(node.post_by_two("/v1/issuer/members", &join).await.0, 201);
    node.kill();
    std::fs::remove_dir_all(node.dir.join("marker")).unwrap();
    std::fs::create_dir_all(node.dir.join("marker")).unwrap();

    node.spawn();
    let says = |status: &Value| status["writing"].as_str().is_some_and(|text| text.contains("over 1000"));
    eventually("the node has heard of its longer head", WITHIN, || async {
        match reqwest::get(format!("{}/v1/status", node.url)).await {
            Ok(answer) => says(&answer.json().await.unwrap_or_default()),
            Err(_) => false,
        }
    })
    .await;
    let (status, answer) = generate(&node).await;
    assert_eq!((status, answer["code"].as_str()), (503, Some("not-ready")), "{answer}");
    assert!(head(&node).await.starts_with(&node.origin()));
}
