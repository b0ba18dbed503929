//! Who cannot go on as it was: an issuer that is lost for good, a registrar that has signed two histories.

use domain::member::Role;
use ledger::merkle::Hash;
use serde_json::{Value, json};

use super::crash::issuer;
use super::recovery::{Patient, WITHIN, has_all, hospital};
use super::restore::{head, is_forked};
use crate::support::town::{Phone, good};
use crate::support::{TestNode, copy_dir, desk, eventually};

/// An issuer's machine is lost with its keys, between an examination and the claim for it. By the word of two persons of the
/// registrar another issuer goes on with its vouchers: it settles that claim and those that come, what nobody has used comes back to
/// it and is voided, and all adds up.
#[tokio::test(flavor = "multi_thread")]
async fn the_vouchers_of_a_lost_issuer_live_on_with_another() {
    let root = tempfile::tempdir().unwrap();
    let mut health = TestNode::new(root.path(), "health", &[Role::Issuer], None);
    health.start().await;
    let make = |id, roles: &[Role]| TestNode::new(root.path(), id, roles, Some(&health));
    let (mut county, mut city) = (make("county", &[Role::Issuer]), make("city", &[Role::Issuer]));
    let mut xuanwu = make("xuanwu", &[Role::Community, Role::Voucher]);
    let mut audit = make("audit", &[Role::Auditor]);
    for node in [&mut county, &mut city, &mut xuanwu, &mut audit] {
        desk::register(&health, node).await;
        node.spawn();
    }
    for node in [&mut county, &mut city, &mut xuanwu, &mut audit] {
        node.ready().await;
        has_all(node, &health).await;
    }
    let gulou = hospital(root.path(), "gulou", &health).await;
    desk::publish(&county, "checkup").await;
    good(county.post("/v1/issuer/vouchers", &json!({ "programme": "checkup", "count": 4 })).await);
    let dispatch = json!({ "community": "xuanwu", "programme": "checkup", "count": 3 });
    good(county.post("/v1/issuer/dispatches", &dispatch).await);
    for node in [&health, &xuanwu, &gulou] {
        has_all(node, &county).await;
    }
    eventually("vouchers are on the shelf", WITHIN, || async {
        xuanwu.get("/v1/community/stock").await.1["items"][0]["encoded"] == 3
    })
    .await;
    let mut patients = Vec::new();
    for (seed, document) in [(5, "E12345678"), (6, "E12345679")] {
        let mut phone = Phone::with_voucher(&xuanwu, seed, document).await;
        let voucher = phone.wallet(&xuanwu).await["vouchers"][0]["voucher"].as_str().unwrap().to_owned();
        patients.push(Patient { phone, voucher });
    }
    let [mut first, mut second]: [Patient; 2] = patients.try_into().ok().unwrap();
    let code = first.book(&xuanwu, &gulou).await;
    eventually("the hospital knows", WITHIN, || async { first.stage(&gulou).await == "booked" }).await;
    first.arrive(&gulou, &code).await;

    for node in [&health, &city, &audit, &gulou] {
        has_all(node, &county).await;
    }
    county.kill();
    std::fs::remove_dir_all(&county.dir).unwrap();
    first.examined(&gulou).await;
    eventually("it is claimed", WITHIN, || async { first.stage(&city).await == "claimed" }).await;
    let mine = async |stage: &str| city.get(&format!("/v1/issuer/vouchers?stage={stage}")).await.1["items"].clone();
    assert_eq!(mine("claimed").await, json!([]), "it is not its own yet");

    let path = "/v1/issuer/members/county/issuer-succession";
    let (status, answer) = health.post_by_two(path, &json!({ "successor": "city" })).await;
    assert_eq!(status, 201, "{answer}");
    // The openings that were written to the old issuer go to the heir.
    for node in [&city, &xuanwu, &gulou, &audit] {
        eventually("what waited is redeemed", WITHIN, || async { first.stage(node).await == "redeemed" }).await;
    }
    let code = second.book(&xuanwu, &gulou).await;
    eventually("the hospital knows", WITHIN, || async { second.stage(&gulou).await == "booked" }).await;
    second.arrive(&gulou, &code).await;
    second.examined(&gulou).await;
    for node in [&city, &xuanwu, &gulou, &audit] {
        eventually("what came later is redeemed", WITHIN, || async { second.stage(node).await == "redeemed" }).await;
    }

    // What lay with the old issuer lies with the heir, and what is given back comes to it.
    let (_, shelf) = xuanwu.get("/v1/community/stock/vouchers").await;
    let left = shelf["items"][0]["voucher"].clone();
    let returns = json!({ "vouchers": [left], "reason": "not-needed" });
    good(xuanwu.post("/v1/community/returns", &returns).await);
    eventually("both are the heir's", WITHIN, || async { mine("generated").await.as_array().unwrap().len() == 2 })
        .await;
    for one in mine("generated").await.as_array().unwrap() {
        assert_eq!(one["custodian"], "city", "{one}");
        let wish = json!({ "voucher": one["voucher"], "reason": "issuer-decision" });
        let (status, answer) = city.post_by_two("/v1/issuer/voids", &wish).await;
        assert_eq!((status, &answer["result"]["voided"]), (201, &json!(true)), "{answer}");
    }
    has_all(&audit, &city).await;
    let report = async || audit.get("/v1/audit/report").await.1;
    let settled = json!({ "redeemed": 2, "voided": 2 });
    eventually("the auditor has all", WITHIN, || async { report().await["vouchers"] == settled }).await;
    let found = report().await;
    let is_good = |log: &Value| log["verdict"] == "good" && log["not_counting"] == json!({});
    assert!(found["good"] == true && found["logs"].as_array().unwrap().iter().all(is_good), "{found}");
    let (_, findings) = audit.get("/v1/audit/findings").await;
    assert_eq!(findings["items"], json!([]), "{findings}");
}

/// Makes three vouchers; the name of one of them.
async fn made(issuer: &TestNode, programme: &str) -> String {
    let wish = json!({ "programme": programme, "count": 3 });
    let receipt = good(issuer.post("/v1/issuer/vouchers", &wish).await);
    let (_, record) = issuer.get(&format!("/v1/records/{}.{}", issuer.id, receipt["records"][0]["index"])).await;
    record["record"]["body"]["Chain"]["voucher"].as_str().unwrap().to_owned()
}

/// A copy of the registrar's store was started beside what it came from, and both signed. Everybody who followed notices, nobody
/// takes more, and who does not need the registrar works on. No record of the registrar's can end that: the members agree on one of the
/// histories, and each node takes that one by its configuration.
#[tokio::test(flavor = "multi_thread")]
async fn a_registrar_with_two_histories_is_followed_again_by_the_one_that_its_members_agree_on() {
    let root = tempfile::tempdir().unwrap();
    let mut health = issuer(root.path()).await;
    let mut gulou = TestNode::new(root.path(), "gulou", &[Role::Issuer], Some(&health));
    let mut audit = TestNode::new(root.path(), "audit", &[Role::Auditor], Some(&health));
    for node in [&mut gulou, &mut audit] {
        desk::register(&health, node).await;
        node.start().await;
    }
    has_all(&gulou, &health).await;
    desk::publish(&gulou, "rehab").await;
    let before = made(&health, "checkup").await;
    for (reader, writer) in [(&gulou, &health), (&audit, &health), (&health, &gulou), (&audit, &gulou)] {
        has_all(reader, writer).await;
    }
    health.terminate();
    let aside = root.path().join("aside");
    for part in ["ledger", "marker"] {
        copy_dir(&health.dir.join(part), &aside.join(part));
    }
    health.start().await;
    let common = health.folded("health").await;
    let lost = made(&health, "checkup").await;
    let held = health.folded("health").await;
    for reader in [&gulou, &audit] {
        has_all(reader, &health).await;
    }

    // The copy finds out as soon as it asks anybody: this one asks nobody.
    health.kill();
    for part in ["ledger", "marker"] {
        std::fs::remove_dir_all(health.dir.join(part)).unwrap();
        copy_dir(&aside.join(part), &health.dir.join(part));
    }
    health.env.extend(["COMPARE", "COSIGN"].map(|what| (format!("VOUCHER__PEERS__{what}_SECS"), "0".to_owned())));
    health.start().await;
    made(&health, "checkup").await;
    let kept = made(&health, "checkup").await;
    let size = health.folded("health").await;
    for node in [&gulou, &audit] {
        eventually("it is noticed", WITHIN, || async { is_forked(node, "health").await }).await;
        assert_eq!(node.folded("health").await, held, "nothing of the second history is taken");
    }
    let log = async |node: &TestNode, field: &str| {
        let (_, report) = node.get("/v1/audit/report").await;
        let logs = report["logs"].as_array().unwrap().clone();
        logs.iter().find(|log| log["institution"] == "health").unwrap()[field].clone()
    };
    eventually("how far they are the same is found", WITHIN, || async { log(&audit, "forked_at").await == common })
        .await;
    assert_eq!(log(&audit, "verdict").await, "forked");
    let findings = async |node: &TestNode| node.get("/v1/audit/findings").await.1["items"].as_array().unwrap().len();
    eventually("it is published", WITHIN, || async { findings(&audit).await == 1 }).await;
    let inside = async |node: &TestNode, id: &str| node.get(&format!("/v1/vouchers/{id}")).await.1["inside"].clone();
    for node in [&gulou, &audit] {
        eventually("what goes past that is contested", WITHIN, || async {
            inside(node, &lost).await["contested"] == true
        })
        .await;
        assert_eq!(inside(node, &before).await["contested"], false);
    }
    // Work that does not need the registrar goes on, judged by what both histories have.
    let others = made(&gulou, "rehab").await;
    has_all(&audit, &gulou).await;

    let note = head(&health).await;
    let agreed = note.lines().nth(2).and_then(Hash::from_base64).unwrap();
    for node in [&mut gulou, &mut audit] {
        node.env.push(("VOUCHER__REGISTRAR__HISTORY__SIZE".into(), size.to_string()));
        node.env.push(("VOUCHER__REGISTRAR__HISTORY__ROOT".into(), agreed.to_string()));
        node.terminate();
        node.start().await;
        assert!(node.log().contains("start the node again, to replace it"), "{}", node.log());
        node.terminate();
        node.spawn();
    }
    for node in [&mut gulou, &mut audit] {
        node.ready().await;
        eventually("the agreed history is taken", WITHIN, || async { node.folded("health").await == size }).await;
        assert!(!is_forked(node, "health").await);
        assert_eq!(node.get(&format!("/v1/vouchers/{lost}")).await.0, 404);
        for id in [&before, &kept, &others] {
            eventually("it is judged by that", WITHIN, || async { inside(node, id).await["stage"] == "generated" })
                .await;
            assert_eq!(inside(node, id).await["contested"], false);
        }
        // That the anchor is another one stands in its log.
        let own = node.folded(node.id).await;
        let mut bodies = Vec::new();
        for index in 0..own {
            bodies.push(node.get(&format!("/v1/records/{}.{index}", node.id)).await.1["record"]["body"].clone());
        }
        let insisted = json!({ "OperatorInsisted": { "what": "trust-anchor" } });
        assert_eq!(bodies.iter().filter(|body| **body == insisted).count(), 1, "{bodies:?}");
    }
    made(&health, "checkup").await;
    made(&gulou, "rehab").await;
    for (reader, writer) in [(&gulou, &health), (&audit, &health), (&health, &gulou), (&audit, &gulou)] {
        has_all(reader, writer).await;
    }
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    assert!(!is_forked(&gulou, "health").await && !is_forked(&audit, "health").await, "what was settled is no news");
    assert_eq!((log(&audit, "verdict").await, findings(&audit).await), (json!("good"), 1));
}

/// While that is settled a member is itself brought back from an old copy. The mirror that it starts without names nobody who may hold
/// more of its log, and the registrar is the last to start: it waits until the agreed history says whom to ask, and takes its tail.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_copy_asks_those_whom_the_agreed_history_names() {
    let root = tempfile::tempdir().unwrap();
    let mut health = issuer(root.path()).await;
    let mut gulou = TestNode::new(root.path(), "gulou", &[Role::Issuer], Some(&health));
    let mut audit = TestNode::new(root.path(), "audit", &[Role::Auditor], Some(&health));
    for node in [&mut gulou, &mut audit] {
        desk::register(&health, node).await;
        node.start().await;
    }
    has_all(&gulou, &health).await;
    desk::publish(&gulou, "rehab").await;
    for (reader, writer) in [(&gulou, &health), (&audit, &health), (&health, &gulou), (&audit, &gulou)] {
        has_all(reader, writer).await;
    }
    health.terminate();
    let copies = ["health", "gulou"].map(|id| root.path().join(format!("copy-{id}")));
    copy_dir(&health.dir, &copies[0]);
    health.start().await;
    made(&health, "checkup").await;
    for reader in [&gulou, &audit] {
        has_all(reader, &health).await;
    }
    health.kill();
    for part in ["ledger", "marker"] {
        std::fs::remove_dir_all(health.dir.join(part)).unwrap();
        copy_dir(&copies[0].join(part), &health.dir.join(part));
    }
    health.env.extend(["COMPARE", "COSIGN"].map(|what| (format!("VOUCHER__PEERS__{what}_SECS"), "0".to_owned())));
    health.start().await;
    made(&health, "checkup").await;
    made(&health, "checkup").await;
    let (size, note) = (health.folded("health").await, head(&health).await);
    for node in [&gulou, &audit] {
        eventually("it is noticed", WITHIN, || async { is_forked(node, "health").await }).await;
    }
    health.terminate();

    // What is made now only the auditor has.
    gulou.terminate();
    copy_dir(&gulou.dir.join("ledger"), &copies[1]);
    gulou.start().await;
    let voucher = made(&gulou, "rehab").await;
    let written = has_all(&audit, &gulou).await;
    audit.terminate();
    gulou.kill();
    std::fs::remove_dir_all(gulou.dir.join("ledger")).unwrap();
    copy_dir(&copies[1], &gulou.dir.join("ledger"));

    let agreed = note.lines().nth(2).and_then(Hash::from_base64).unwrap();
    for node in [&mut gulou, &mut audit] {
        node.env.push(("VOUCHER__REGISTRAR__HISTORY__SIZE".into(), size.to_string()));
        node.env.push(("VOUCHER__REGISTRAR__HISTORY__ROOT".into(), agreed.to_string()));
        node.spawn();
        let says = || async { node.log().contains("start the node again, to replace it") };
        eventually("it gives up its mirror", WITHIN, says).await;
        node.kill();
    }
    gulou.spawn();
    health.start().await;
    eventually("the agreed history is taken", WITHIN, || async { gulou.folded("health").await >= size }).await;
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    assert!(!gulou.is_ready().await, "the registrar alone does not know how long the log is");
    audit.spawn();
    for node in [&mut gulou, &mut audit] {
        node.ready().await;
    }
    assert!(gulou.folded("gulou").await > written, "the tail, and that the anchor is another one");
    assert_eq!(gulou.get(&format!("/v1/vouchers/{voucher}")).await.0, 200);
    for reader in [&audit, &health] {
        has_all(reader, &gulou).await;
        assert!(!is_forked(reader, "gulou").await);
    }
}
