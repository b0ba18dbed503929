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
    // Each asks all members how long its log is, so they start together.
    community.spawn();
    auditor.start().await;
    community.ready().await;
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

/// With `peers.acknowledge` an answer waits until so many peers hold what was written. Where they do not, the reason says
/// so, and the same request is answered once they do.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_acknowledged_is_held_by_as_many_peers_as_configured() {
    let root = tempfile::tempdir().unwrap();
    let mut issuer = TestNode::new(root.path(), "health", &[Role::Issuer], None);
    issuer.start().await;
    let mut xuanwu = TestNode::new(root.path(), "xuanwu", &[Role::Community, Role::Voucher], Some(&issuer));
    let mut audit = TestNode::new(root.path(), "audit", &[Role::Auditor], Some(&issuer));
    for peer in [&mut xuanwu, &mut audit] {
        desk::register(&issuer, peer).await;
        peer.start().await;
    }
    desk::publish(&issuer, "checkup").await;
    issuer.kill();
    issuer.env.push(("VOUCHER__PEERS__ACKNOWLEDGE".into(), "2".into()));
    issuer.env.push(("VOUCHER__PEERS__ACKNOWLEDGE_WAIT_MILLIS".into(), "1500".into()));
    issuer.start().await;

    let body = json!({ "programme": "checkup", "count": 3 });
    let generate = async |key: &str| issuer.post_as("/v1/issuer/vouchers", key, &body).await.unwrap();
    eventually("both peers follow again", Duration::from_secs(10), || async { generate("first").await.0 == 201 }).await;
    for n in 0..20 {
        let (status, made) = generate(&format!("held-{n}")).await;
        assert_eq!(status, 201, "{made}");
        let last = made["records"].as_array().unwrap().last().unwrap()["index"].as_u64().unwrap();
        for peer in [&xuanwu, &audit] {
            let url = format!("{}/mirrors/health/checkpoint", peer.url);
            let note = reqwest::get(url).await.unwrap().text().await.unwrap();
            let held: u64 = note.lines().nth(1).unwrap().parse().unwrap();
            assert!(held > last, "{} holds {held} entries, and {last} was acknowledged", peer.id);
        }
    }

    audit.kill();
    let before = issuer.folded("health").await;
    for _ in 0..2 {
        let (status, answer) = generate("kept").await;
        assert_eq!((status, answer["code"].as_str()), (503, Some("not-yet-held")), "{answer}");
        assert!(answer["detail"].as_str().unwrap().contains("1 of 2 peers"), "{answer}");
        assert_eq!(issuer.folded("health").await, before + 3, "it is written once");
    }
    let (_, status) = issuer.get("/v1/status").await;
    assert_eq!((status["held_by"].as_u64(), status["acknowledge"].as_u64()), (Some(1), Some(2)));
    audit.start().await;
    eventually("the same request is answered", Duration::from_secs(20), || async {
        let (status, answer) = generate("kept").await;
        assert!(status == 503 || answer["repeated"] == true, "{answer}");
        status == 201 && answer["records"][0]["index"] == before
    })
    .await;
    assert_eq!(issuer.folded("health").await, before + 3);
}
