//! One key, one effect: however often a request comes, at once or later, it is done once and answered the same.

use domain::member::Role;
use serde_json::{Value, json};

use super::crash::issuer;
use crate::support::{TestNode, desk};

/// Requests under one key at once, and how often that is tried.
const AT_ONCE: usize = 8;
const ROUNDS: usize = 8;

/// Vouchers of the bulk: several parts.
const BULK: u64 = 1_200;

async fn at_once(node: &TestNode, key: &str, body: &Value) -> Vec<Value> {
    let ask = |_| node.post_as("/v1/issuer/vouchers", key, body);
    let answers = futures_util::future::join_all((0..AT_ONCE).map(ask)).await;
    let good = |answer: Result<(u16, Value), reqwest::Error>| {
        let (status, answer) = answer.unwrap();
        assert_eq!(status, 201, "{answer}");
        answer
    };
    answers.into_iter().map(good).collect()
}

async fn generated(node: &TestNode) -> u64 {
    node.folded(node.id).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_several_times_at_once_is_done_once() {
    let root = tempfile::tempdir().unwrap();
    let node = issuer(root.path()).await;
    for (round, count) in (0..ROUNDS).map(|round| (round, if round == 0 { BULK } else { 1 })) {
        let before = generated(&node).await;
        let body = json!({ "programme": "checkup", "count": count });
        let answers = at_once(&node, &format!("round-{round}"), &body).await;
        assert_eq!(generated(&node).await, before + count);
        assert!(answers.iter().all(|a| a["records"] == answers[0]["records"]), "{answers:?}");
        let firsts = answers.iter().filter(|a| a["repeated"] == false).count();
        // The parts of a bulk may be done by turns, each by whoever comes first.
        assert!(firsts >= 1 && (count > 1 || firsts == 1), "{firsts} say that they were the first");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_forgotten_protects_again_once_it_is_used_again() {
    let root = tempfile::tempdir().unwrap();
    let mut node = TestNode::new(root.path(), "health", &[Role::Issuer], None);
    node.args = ["--federation-clock", "0"].map(str::to_owned).to_vec();
    node.start().await;
    desk::publish(&node, "checkup").await;
    let wish = json!({ "programme": "checkup", "count": 1 });
    for (ahead_hours, repeated) in [(0, false), (0, true), (25, false), (25, true), (25, true)] {
        let (status, stepped) = node.post("/v1/clock", &json!({ "ahead_millis": ahead_hours * 3_600_000 })).await;
        assert_eq!(status, 200, "{stepped}");
        let (status, answer) = node.post_as("/v1/issuer/vouchers", "monthly", &wish).await.unwrap();
        assert_eq!((status, &answer["repeated"]), (201, &json!(repeated)), "{ahead_hours} h: {answer}");
        assert_eq!(answer["records"].as_array().map(Vec::len), Some(1), "{answer}");
    }
}
