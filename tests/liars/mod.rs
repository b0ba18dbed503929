//! A member that lies about its log: what it says is refused, noted, and acts on nothing; the truth is taken afterwards.

pub mod fake_log;

use std::time::Duration;

use domain::member::Role;
use domain::record::{Body, Record};
use domain::time::Timestamp;
use fake_log::{FakeLog, serve};

use crate::support::{TestNode, desk, eventually};

/// A record of the liar's own: time passes.
fn heartbeat(institution: &str, index: u64, at: i64) -> Vec<u8> {
    heartbeat_at(institution, index, Timestamp::from_millis(1_790_000_000_000 + at))
}

pub fn heartbeat_at(institution: &str, index: u64, at: Timestamp) -> Vec<u8> {
    let record = Record {
        institution: institution.parse().unwrap(),
        index,
        role: Role::Hospital,
        at,
        operator: None,
        idempotency: None,
        body: Body::Heartbeat,
    };
    ledger::record::encode_record(&record).unwrap()
}

fn honest(node: &TestNode, entries: u64) -> FakeLog {
    let signer = node.keys().log_signer(&node.origin()).unwrap();
    FakeLog::new(signer, (0..entries).map(|i| heartbeat(node.id, i, i64::try_from(i).unwrap())).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_taken_only_as_it_is_signed() {
    let root = tempfile::tempdir().unwrap();
    let mut issuer = TestNode::new(root.path(), "health", &[Role::Issuer], None);
    issuer.start().await;
    let mut liar = TestNode::new(root.path(), "liar", &[Role::Hospital], Some(&issuer));
    let server = serve(honest(&liar, 3)).await;
    liar.url.clone_from(&server.url);
    desk::register(&issuer, &liar).await;
    eventually("the honest beginning is taken", Duration::from_secs(10), || async { issuer.folded("liar").await == 3 })
        .await;

    let stranger = {
        let other = TestNode::new(root.path(), "stranger", &[Role::Hospital], Some(&issuer));
        other.keys().log_signer(&liar.origin()).unwrap()
    };
    let lies: Vec<(&str, FakeLog)> = vec![
        ("signed by another key", honest(&liar, 6).signed_by(stranger)),
        ("another log's name", {
            let other = liar.keys().log_signer("voucher-ledger.test/health").unwrap();
            honest(&liar, 6).signed_by(other)
        }),
        ("an entry changed after signing", honest(&liar, 6).changing_entry(4)),
        ("an entry left out", honest(&liar, 6).leaving_out(4)),
        ("a bundle that never ends", honest(&liar, 6).with_bundle_bytes(vec![0xff; 5 * 1024 * 1024])),
        ("a bundle cut short", honest(&liar, 6).with_bundle_bytes(vec![0, 9, 1, 2])),
        ("rubbish for a checkpoint", honest(&liar, 6).with_checkpoint(b"rubbish".to_vec())),
        ("an endless checkpoint", honest(&liar, 6).with_checkpoint(vec![b'a'; 6 * 1024 * 1024])),
        ("a signature cut off", {
            let log = honest(&liar, 6);
            let note = log.checkpoint();
            log.with_checkpoint(note[..note.len() - 9].to_vec())
        }),
    ];
    for (what, lie) in lies {
        server.say(lie);
        let polls = server.asked();
        eventually("the lie was heard", Duration::from_secs(10), || async { server.asked() > polls + 3 }).await;
        assert_eq!(issuer.folded("liar").await, 3, "{what}");
        assert!(issuer.is_ready().await, "{what}");
    }
    // The truth is taken after all that.
    server.say(honest(&liar, 6));
    eventually("the truth is taken", Duration::from_secs(10), || async { issuer.folded("liar").await == 6 }).await;

    // A second history, well signed: kept as proof, and the log is not followed further.
    let mut forked: Vec<Vec<u8>> = (0..2).map(|i| heartbeat("liar", i, i64::try_from(i).unwrap())).collect();
    forked.extend((2..9).map(|i| heartbeat("liar", i, 500 + i64::try_from(i).unwrap())));
    let signer = liar.keys().log_signer(&liar.origin()).unwrap();
    server.say(FakeLog::new(signer, forked));
    let polls = server.asked();
    eventually("the fork was heard", Duration::from_secs(10), || async { server.asked() > polls }).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(issuer.folded("liar").await, 6, "nothing of the second history is taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_no_member_is_not_followed_and_bad_proofs_do_not_register() {
    let root = tempfile::tempdir().unwrap();
    let mut issuer = TestNode::new(root.path(), "health", &[Role::Issuer], None);
    issuer.start().await;
    let liar = TestNode::new(root.path(), "liar", &[Role::Hospital], Some(&issuer));
    let good = desk::join(&liar);
    let changed = |pointer: &str, value: serde_json::Value| {
        let mut body = good.clone();
        *body.pointer_mut(pointer).unwrap() = value;
        body
    };
    let other = desk::join(&TestNode::new(root.path(), "other", &[Role::Hospital], Some(&issuer)));
    let small_order = ledger::note::to_base64(&{
        let mut neutral = [0; 32];
        neutral[0] = 1;
        neutral
    });
    for (what, body, code) in [
        ("another's proof", changed("/proofs/log", other["proofs"]["log"].clone()), "key-unfit"),
        ("a key of small order", changed("/keys/log", small_order.into()), "key-unfit"),
        ("one key twice", changed("/keys/node", good["keys"]["log"].clone()), "key-registered"),
        ("another's name", changed("/institution", "health".into()), "malformed"),
        ("no role", changed("/roles", serde_json::json!([])), "malformed"),
    ] {
        let (status, answer) = issuer.post_by_two("/v1/issuer/members", &body).await;
        assert!((400..500).contains(&status), "{what}: {status} {answer}");
        assert_eq!(answer["code"], code, "{what}: {answer}");
    }
    let (_, members) = issuer.get("/v1/members").await;
    assert_eq!(members["items"].as_array().unwrap().len(), 1);
}

/// A log that shows one history to some and another to others: each is well signed, and they find out through each other.
#[tokio::test(flavor = "multi_thread")]
async fn two_who_are_shown_two_histories_find_out_through_each_other() {
    let root = tempfile::tempdir().unwrap();
    let mut issuer = TestNode::new(root.path(), "health", &[Role::Issuer], None);
    issuer.start().await;
    let mut liar = TestNode::new(root.path(), "liar", &[Role::Hospital], Some(&issuer));
    let mut audit = TestNode::new(root.path(), "audit", &[Role::Auditor], Some(&issuer));
    let server = serve(honest(&liar, 6)).await;
    let signer = liar.keys().log_signer(&liar.origin()).unwrap();
    let other = (0..9).map(|i| heartbeat("liar", i, if i < 2 { i as i64 } else { 700 + i as i64 })).collect();
    server.say_to("audit", FakeLog::new(signer, other));
    liar.url.clone_from(&server.url);
    desk::register(&issuer, &liar).await;
    desk::register(&issuer, &audit).await;
    audit.start().await;
    let forked = async |node: &TestNode| {
        let (_, status) = node.get("/v1/status").await;
        status["logs"].as_array().unwrap().iter().any(|log| log["institution"] == "liar" && log["forked"] == true)
    };
    eventually("both know of both histories", Duration::from_secs(20), || async {
        forked(&issuer).await && forked(&audit).await
    })
    .await;
    assert_eq!((issuer.folded("liar").await, audit.folded("liar").await), (6, 9), "each keeps what it was shown");
    let (_, report) = audit.get("/v1/audit/report").await;
    assert_eq!(report["good"], false, "{report}");
    let log = report["logs"].as_array().unwrap().iter().find(|log| log["institution"] == "liar").unwrap();
    assert_eq!(log["verdict"], "forked", "{log}");
    eventually("the auditor found how far the two are the same", Duration::from_secs(20), || async {
        let (_, report) = audit.get("/v1/audit/report").await;
        let logs = report["logs"].as_array().unwrap();
        logs.iter().any(|log| log["institution"] == "liar" && log["forked_at"] == 2)
    })
    .await;

    // The registrar draws its line in the history that it holds: the other mirror is given up, and replaced at a start.
    let root_at = |size: u64| {
        let mut edge = ledger::merkle::Edge::default();
        (0..size).for_each(|i| edge.push(ledger::merkle::leaf_hash(&heartbeat("liar", i, i as i64))));
        domain::ids::Digest(edge.root().0).to_string()
    };
    let line = serde_json::json!({ "size": 5, "root": root_at(5) });
    let (status, answer) = issuer.post_by_two("/v1/issuer/members/liar/freeze", &line).await;
    assert_eq!(status, 201, "{answer}");
    let given_up = async |node: &TestNode| {
        let (_, status) = node.get("/v1/status").await;
        status["logs"].as_array().unwrap().iter().any(|log| log["institution"] == "liar" && log["given_up"] == true)
    };
    eventually("the other history is given up", Duration::from_secs(20), || given_up(&audit)).await;
    assert!(!given_up(&issuer).await, "it holds the one that counts");
    audit.terminate();
    audit.start().await;
    eventually("the history that counts is there, up to the line", Duration::from_secs(20), || async {
        audit.folded("liar").await == 5
    })
    .await;
    let request = reqwest::Client::new().get(format!("{}/mirrors/liar/tile/entries/000.p/5", audit.url));
    let bundle = request.bearer_auth(&audit.token).send().await.unwrap().bytes().await.unwrap();
    let entries = ledger::tile::parse_bundle(&bundle, 5).unwrap();
    assert!((0..5).zip(entries).all(|(i, entry)| entry == heartbeat("liar", i, i as i64)));
    assert!(!given_up(&audit).await);
}
