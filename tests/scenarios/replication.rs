//! A record made on one node acts on another, soon; a late joiner catches up; mirrors serve onward.

use std::time::{Duration, Instant};

use domain::member::Role;
use ledger::checkpoint::Checkpoint;
use serde_json::json;

use crate::support::{TestNode, desk, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_record_reaches_everyone_and_is_served_onward() {
    let root = tempfile::tempdir().unwrap();
    let mut issuer = TestNode::new(root.path(), "health", &[Role::Issuer], None);
    issuer.start().await;
    let mut community = TestNode::new(root.path(), "xuanwu", &[Role::Community, Role::Voucher], Some(&issuer));
    let mut auditor = TestNode::new(root.path(), "audit", &[Role::Auditor], Some(&issuer));
    desk::register(&issuer, &community).await;
    desk::register(&issuer, &auditor).await;
    community.start().await;
    auditor.start().await;
    desk::publish(&issuer, "checkup").await;
    let (status, _) = issuer.post("/v1/issuer/vouchers", &json!({ "programme": "checkup", "count": 10 })).await;
    assert_eq!(status, 201);

    // Sent by the issuer, encoded by the community by itself, seen by the issuer again: two hops.
    let began = Instant::now();
    let dispatch = json!({ "community": "xuanwu", "programme": "checkup", "count": 10 });
    let (status, sent) = issuer.post("/v1/issuer/dispatches", &dispatch).await;
    assert_eq!(status, 201, "{sent}");
    eventually("the community's records are folded at the issuer", Duration::from_secs(10), || async {
        issuer.folded("xuanwu").await >= 10
    })
    .await;
    assert!(began.elapsed() < Duration::from_secs(5), "two hops took {:?}", began.elapsed());

    let size = issuer.folded("health").await;
    eventually("the auditor holds the issuer's log", Duration::from_secs(10), || async {
        auditor.folded("health").await >= size
    })
    .await;
    let note = reqwest::get(format!("{}/mirrors/health/checkpoint", auditor.url)).await.unwrap().bytes().await.unwrap();
    let key = [issuer.vkey().parse().unwrap()];
    let mirrored = Checkpoint::open(&note, &issuer.origin(), &key).unwrap();
    assert!(mirrored.size >= size);

    // The issuer's own node is gone: who joins now still gets its log, from those who mirror it.
    let (status, record) = auditor.get("/v1/records/health.0").await;
    assert_eq!(status, 200);
    assert!(record["record"]["body"]["Registrar"]["MemberRegistered"].is_object(), "{record}");
}
