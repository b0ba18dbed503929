//! Nodes that are killed and restarted.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use domain::member::Role;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::support::{TestNode, desk, eventually};

/// How often the node is killed under load; every third time once more while it opens.
const KILLS: usize = 30;

pub async fn issuer(root: &Path) -> TestNode {
    let mut node = TestNode::new(root, "health", &[Role::Issuer], None);
    node.start().await;
    desk::publish(&node, "checkup").await;
    node
}

/// Nothing acknowledged is missing, nothing is doubled: an outside record of acknowledgements is compared with the log.
#[tokio::test(flavor = "multi_thread")]
async fn killed_in_a_loop_under_load() {
    let root = tempfile::tempdir().unwrap();
    let mut node = issuer(root.path()).await;
    let acknowledged: Arc<Mutex<BTreeMap<u64, (String, String)>>> = Arc::default();
    for round in 0..KILLS {
        let (url, token) = (node.url.clone(), node.token.clone());
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let (url, token, acknowledged) = (url.clone(), token.clone(), acknowledged.clone());
                tokio::spawn(async move {
                    let client = reqwest::Client::new();
                    for n in 0.. {
                        let key = format!("k-{round}-{writer}-{n}");
                        let answer = client
                            .post(format!("{url}/v1/issuer/vouchers"))
                            .bearer_auth(&token)
                            .header("Idempotency-Key", &key)
                            .json(&json!({ "programme": "checkup", "count": 1 }))
                            .send()
                            .await;
                        let Ok(answer) = answer else { return };
                        if answer.status() != 201 {
                            return;
                        }
                        let Ok(body) = answer.json::<Value>().await else { return };
                        let record = &body["records"][0];
                        let index = record["index"].as_u64().unwrap();
                        let id = record["id"].as_str().unwrap().to_owned();
                        let before = acknowledged.lock().insert(index, (id, key));
                        assert!(before.is_none(), "index {index} was acknowledged twice");
                    }
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(60 + 37 * (round as u64 % 12))).await;
        node.kill();
        for writer in writers {
            writer.await.unwrap();
        }
        if round % 3 == 0 {
            node.spawn();
            tokio::time::sleep(Duration::from_millis(5 + 11 * round as u64 % 90)).await;
            node.kill();
        }
        node.start().await;
    }
    let acknowledged = acknowledged.lock().clone();
    assert!(acknowledged.len() > KILLS, "the load wrote something: {}", acknowledged.len());
    for (index, (id, key)) in &acknowledged {
        let (status, record) = node.get(&format!("/v1/records/health.{index}")).await;
        assert_eq!((status, record["name"]["id"].as_str()), (200, Some(id.as_str())), "record {index}");
        // Asked again under the same key it answers the same record, and writes nothing.
        let body = json!({ "programme": "checkup", "count": 1 });
        if index % 7 == 0 {
            let (status, again) = node.post_as("/v1/issuer/vouchers", key, &body).await.unwrap();
            assert_eq!((status, again["repeated"].as_bool()), (201, Some(true)), "{again}");
            assert_eq!(again["records"][0]["index"].as_u64(), Some(*index));
        }
    }
}

/// An ordinary restart goes on at once, with the same state.
#[tokio::test(flavor = "multi_thread")]
async fn a_plain_restart_goes_on() {
    let root = tempfile::tempdir().unwrap();
    let mut node = issuer(root.path()).await;
    let generate = json!({ "programme": "checkup", "count": 5 });
    let (_, made) = node.post("/v1/issuer/vouchers", &generate).await;
    let first = made["records"][0]["index"].as_u64().unwrap();
    let before = node.get(&format!("/v1/records/health.{first}")).await;
    node.kill();
    node.start().await;
    assert_eq!(node.get(&format!("/v1/records/health.{first}")).await, before);
    let (status, _) = node.post("/v1/issuer/vouchers", &generate).await;
    assert_eq!(status, 201);
    // What was stored is read again in the background, and a restart remembers the last whole pass.
    eventually("the store was read again", Duration::from_secs(10), || async {
        node.get("/v1/status").await.1["scrubbed_at"].is_string()
    })
    .await;
    let metrics = reqwest::get(format!("{}/metrics", node.url)).await.unwrap().text().await.unwrap();
    assert!(metrics.contains("\nvoucher_node_scrub_bytes_total "), "{metrics}");
}
