//! Clocks that are off: a record from the future waits, and a node whose clock is alone does not write.

use std::time::Duration;

use actors::clock::Clock as _;
use domain::member::Role;
use domain::time::Millis;
use node::clock::NodeClock;
use node::peers::clocks::APART;
use serde_json::{Value, json};

use crate::liars::fake_log::{FakeLog, Server, serve};
use crate::liars::heartbeat_at;
use crate::scenarios::crash::issuer;
use crate::support::{TestNode, desk, eventually};

const WITHIN: Duration = Duration::from_secs(20);

fn log_of(node: &TestNode, entries: Vec<Vec<u8>>) -> FakeLog {
    FakeLog::new(node.keys().log_signer(&node.origin()).unwrap(), entries)
}

async fn registered(issuer: &TestNode, id: &'static str, root: &std::path::Path) -> (TestNode, Server) {
    let mut node = TestNode::new(root, id, &[Role::Hospital], Some(issuer));
    let server = serve(log_of(&node, Vec::new())).await;
    node.url.clone_from(&server.url);
    desk::register(issuer, &node).await;
    (node, server)
}

async fn status(node: &TestNode) -> Value {
    node.get("/v1/status").await.1
}

/// What stands before a record of the future is taken; it and what stands behind it wait until the clock has come there.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_more_than_five_minutes_ahead_waits() {
    let root = tempfile::tempdir().unwrap();
    let mut issuer = TestNode::new(root.path(), "health", &[Role::Issuer], None);
    issuer.start().await;
    let (liar, server) = registered(&issuer, "liar", root.path()).await;
    let now = NodeClock::real().now();
    let soon = now + APART + Millis::secs(6);
    let times = [now, now + APART - Millis::secs(9), soon, soon];
    let entries: Vec<_> = (0..).zip(times).map(|(index, at)| heartbeat_at("liar", index, at)).collect();
    server.say(log_of(&liar, entries));

    let seen = async || {
        let logs = status(&issuer).await["logs"].as_array().unwrap().clone();
        let log = logs.into_iter().find(|log| log["institution"] == "liar").unwrap();
        (log["folded"].as_u64().unwrap(), log["too_early"].as_str().map(str::to_owned))
    };
    eventually("two are taken and the rest waits", WITHIN, || async { seen().await == (2, Some(soon.to_string())) })
        .await;
    assert!(NodeClock::real().now() < now + Millis::secs(6), "this test was too slow to see anything");
    let metrics = reqwest::get(format!("{}/metrics", issuer.url)).await.unwrap().text().await.unwrap();
    assert!(metrics.contains("voucher_node_log_too_early_seconds{institution=\"liar\"} 30"), "{metrics}");
    assert!(issuer.is_ready().await, "another's clock keeps nobody from writing");
    eventually("the clock has come there", WITHIN, || async { seen().await == (4, None) }).await;
    assert!(NodeClock::real().now() >= now + Millis::secs(6), "they were taken too early");
}

/// A node hears from its peers' answers what time it is there. It does not write while it is alone with its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_most_peers_contradict_writes_nothing() {
    let root = tempfile::tempdir().unwrap();
    let node = issuer(root.path()).await;
    let mut peers = Vec::new();
    for id in ["gulou", "zhongda", "xuanwu"] {
        peers.push(registered(&node, id, root.path()).await);
    }
    let show = |ahead: [i64; 3]| {
        for ((peer, server), secs) in peers.iter().zip(ahead) {
            server.say(log_of(peer, Vec::new()).with_clock_ahead(Millis::secs(secs)));
        }
    };
    let generate = async || node.post("/v1/issuer/vouchers", &json!({ "programme": "checkup", "count": 1 })).await;
    let heard = async |ahead_secs: i64| {
        let clock = status(&node).await["clock_verdict"].clone();
        let millis = clock["ahead_millis"].as_i64();
        clock["heard"] == 3 && millis.is_some_and(|m| (m - ahead_secs * 1_000).abs() < 2_000)
    };

    // One of three is an hour off: it is that one.
    show([3_600, 0, 1]);
    eventually("all are heard", WITHIN, || heard(0)).await;
    assert!(node.is_ready().await);
    assert_eq!(generate().await.0, 201);

    // Two of three say that this node is ten minutes behind.
    show([3_600, 600, 601]);
    eventually("this clock is off", Duration::from_secs(90), || heard(-601)).await;
    let (code, answer) = generate().await;
    assert_eq!((code, answer["code"].as_str()), (503, Some("clock-off")), "{answer}");
    let (code, answer) = node.get("/readyz").await;
    assert_eq!((code, answer["code"].as_str()), (503, Some("clock-off")), "{answer}");
    assert!(status(&node).await["writing"].as_str().unwrap().contains("ahead of the median of 3"));
    let size = node.folded("health").await;

    // They were wrong, and are put right: this node goes on by itself.
    show([0, 0, 1]);
    eventually("this clock fits again", Duration::from_secs(90), || heard(0)).await;
    eventually("it writes again", WITHIN, || async { generate().await.0 == 201 }).await;
    assert!(node.folded("health").await > size);
}
