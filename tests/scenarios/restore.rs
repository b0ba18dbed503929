//! Stores that are copied away and brought back: the start rule, and the tail that the mirrors still have.

use std::path::Path;
use std::time::Duration;

use domain::member::Role;
use ledger::checkpoint::Checkpoint;
use ledger::merkle::Hash;
use serde_json::{Value, json};

use super::crash::issuer;
use crate::liars::fake_log::{FakeLog, serve};
use crate::support::{TestNode, desk, eventually};

const WITHIN: Duration = Duration::from_secs(15);

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn bring_back(copy: &Path, store: &Path) {
    std::fs::remove_dir_all(store).unwrap();
    copy_dir(copy, store);
}

async fn generate(node: &TestNode) -> (u16, Value) {
    node.post("/v1/issuer/vouchers", &json!({ "programme": "checkup", "count": 3 })).await
}

async fn head(node: &TestNode) -> String {
    reqwest::get(format!("{}/log/checkpoint", node.url)).await.unwrap().text().await.unwrap()
}

async fn is_forked(node: &TestNode, of: &str) -> bool {
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
    assert_eq!(node.post("/v1/issuer/members", &join).await.0, 201);
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
