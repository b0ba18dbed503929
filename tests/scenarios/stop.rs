//! A node that is told to stop: who waits is answered, and what it logged can be read anywhere.

use std::time::{Duration, Instant};

use domain::member::Role;

use super::crash::issuer;
use crate::support::{TestNode, desk, eventually};

/// How long a node may take to stop, with polls open and peers connected.
const STOPS_WITHIN: Duration = Duration::from_millis(2_500);

#[tokio::test(flavor = "multi_thread")]
async fn open_polls_are_answered_when_a_node_stops() {
    let root = tempfile::tempdir().unwrap();
    let mut node = issuer(root.path()).await;
    let mut peer = TestNode::new(root.path(), "audit", &[Role::Auditor], Some(&node));
    desk::register(&node, &peer).await;
    peer.start().await;
    eventually("the peer follows", Duration::from_secs(10), || async { peer.folded("health").await >= 3 }).await;

    let url = format!("{}/log/checkpoint?newer_than=1000000&wait_secs=30", node.url);
    let polls: Vec<_> = (0..4)
        .map(|_| {
            let url = url.clone();
            tokio::spawn(async move {
                let answer = reqwest::get(url).await.unwrap();
                (answer.status().as_u16(), answer.text().await.unwrap(), Instant::now())
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(polls.iter().all(|poll| !poll.is_finished()), "they wait");

    let told = Instant::now();
    let took = tokio::task::spawn_blocking(move || (node.terminate(), node)).await.unwrap();
    for poll in polls {
        let (status, text, at) = poll.await.unwrap();
        assert_eq!(status, 503);
        assert!(text.contains("\"closing\""), "{text}");
        assert!(at - told < Duration::from_secs(1), "answered after {:?}", at - told);
    }
    assert!(took.0 < STOPS_WITHIN, "it took {:?}", took.0);

    // What it logged went to a file, so there are no colours in it.
    let log = took.1.log();
    assert!(log.contains("told to stop") && !log.contains('\u{1b}'), "{log}");
}
