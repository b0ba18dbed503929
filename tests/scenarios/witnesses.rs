//! Auditors cosign the logs of the others: a receipt carries it, a policy asks for it, and a witness that restarts has not forgotten.

use std::process::Command;
use std::time::Duration;

use domain::member::Role;
use ledger::key::NoteSigner;
use ledger::merkle::Hash;
use ledger::witness::add_checkpoint;
use serde_json::{Value, json};

use crate::support::{TestNode, desk, eventually, program};

/// The size that witnesses have cosigned of a node's log, and who did.
async fn cosigned(node: &TestNode) -> (u64, Vec<Value>) {
    let (_, status) = node.get("/v1/status").await;
    let cosigned = &status["cosigned"];
    (cosigned["size"].as_u64().unwrap_or_default(), cosigned["by"].as_array().cloned().unwrap_or_default())
}

async fn text(url: String) -> (u16, String) {
    let answer = reqwest::get(url).await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// What `verify` says of a proof under a policy, and its exit code.
fn verify(root: &std::path::Path, proof: &str, policy: &str, id: &str) -> (Option<i32>, String) {
    let (proof_file, policy_file) = (root.join("record.proof"), root.join("policy"));
    std::fs::write(&proof_file, proof).unwrap();
    std::fs::write(&policy_file, policy).unwrap();
    let mut command = Command::new(program());
    command.arg("verify").arg(proof_file).arg("--policy").arg(policy_file).args(["--id", id]);
    let output = command.output().unwrap();
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_carries_the_auditors_cosignature() {
    let root = tempfile::tempdir().unwrap();
    let mut issuer = TestNode::new(root.path(), "health", &[Role::Issuer], None);
    issuer.env.push(("VOUCHER__PEERS__COSIGN_SECS".into(), "1".into()));
    issuer.start().await;
    let mut auditor = TestNode::new(root.path(), "audit", &[Role::Auditor], Some(&issuer));
    desk::register(&issuer, &auditor).await;
    auditor.start().await;
    desk::publish(&issuer, "checkup").await;
    let (status, made) = issuer.post("/v1/issuer/vouchers", &json!({ "programme": "checkup", "count": 3 })).await;
    assert_eq!(status, 201, "{made}");
    let size = issuer.folded("health").await;
    eventually("the auditor has cosigned all of it", Duration::from_secs(20), || async {
        cosigned(&issuer).await == (size, vec![json!("audit")])
    })
    .await;
    let asked = reqwest::Client::new().get(format!("{}/metrics", issuer.url)).bearer_auth(&issuer.token);
    let metrics = asked.send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("log_cosignatures 1"), "{metrics}");

    // The receipt, the log's key and the witness's are enough, without any node.
    let record = &made["records"][0];
    let (index, id) = (record["index"].as_u64().unwrap(), record["id"].as_str().unwrap());
    let (_, proof) = text(format!("{}/v1/records/health.{index}/proof", issuer.url)).await;
    let witness = auditor.keys().cosigner(&auditor.origin()).unwrap().verifier().to_string();
    let log = format!("log {}\n", issuer.vkey());
    let (code, said) = verify(root.path(), &proof, &format!("{log}witness audit {witness}\nquorum audit\n"), id);
    assert!(code == Some(0) && said.contains(&format!("cosigned by {}", auditor.origin())), "{code:?} {said}");
    // Another witness has not seen it.
    let other = issuer.keys().cosigner("voucher-ledger.test/else").unwrap().verifier().to_string();
    let (code, said) = verify(root.path(), &proof, &format!("{log}witness else {other}\nquorum else\n"), id);
    assert!(code == Some(1) && said.contains("NOT PROVED"), "{code:?} {said}");

    // The auditor serves it too, for records of a log that is not its own, and says who has cosigned how much.
    let (_, proof) = text(format!("{}/v1/records/health.{index}/proof", auditor.url)).await;
    let (code, said) = verify(root.path(), &proof, &format!("{log}witness audit {witness}\nquorum audit\n"), id);
    assert!(code == Some(0) && said.contains(&format!("cosigned by {}", auditor.origin())), "{code:?} {said}");
    let (status, note) = text(format!("{}/mirrors/health/checkpoint?cosigned=true", auditor.url)).await;
    assert!(status == 200 && note.contains(&format!("\u{2014} {} ", auditor.origin())), "{status} {note}");
    let (_, report) = auditor.get("/v1/audit/report").await;
    let of = |id: &str| report["logs"].as_array().unwrap().iter().find(|log| log["institution"] == id).unwrap().clone();
    assert_eq!(of("health")["cosigned"]["size"], size, "{report}");
    assert!(of("health")["cosigned"]["by"]["audit"].is_string() && of("audit")["cosigned"].is_null(), "{report}");
    // A head says whose log it is, whether its history is held here, and who cosigned it.
    let (_, said) = auditor.post("/v1/audit/check", &json!({ "text": note })).await;
    let fact = |name: &str| {
        said["facts"].as_array().unwrap().iter().find(|fact| fact["name"] == name).unwrap()["value"].clone()
    };
    assert_eq!(
        (said["genuine"].clone(), fact("held-here"), fact("cosigned-by")),
        (json!(true), json!("same"), json!("audit"))
    );

    // The witness starts again, and still knows what it cosigned: a head that contradicts it gets nothing.
    auditor.kill();
    auditor.start().await;
    let (status, kept) = {
        let name = ledger_name(&issuer.origin());
        text(format!("{}/witness/{name}/checkpoint", auditor.url)).await
    };
    assert!(status == 200 && kept.starts_with(&format!("{}\n{size}\n", issuer.origin())), "{status} {kept}");
    let signer: NoteSigner = issuer.keys().log_signer(&issuer.origin()).unwrap();
    let liar = |size: u64| {
        let root = Hash([9; 32]);
        ledger::checkpoint::Checkpoint { origin: issuer.origin(), size, root }.sign(&signer)
    };
    // Nor is it genuine to who asks here, although the log's key has signed it; of a longer one nothing is known.
    for (of, genuine, held) in [(size, false, "other"), (size + 1, true, "fewer")] {
        let (_, said) = auditor.post("/v1/audit/check", &json!({ "text": liar(of) })).await;
        assert!(said["genuine"] == genuine && said.to_string().contains(&format!("\"value\":\"{held}\"")), "{said}");
    }
    for (body, expected) in [
        (add_checkpoint(size, &[], &liar(size)), (422, "checkpoint-unfit")),
        (add_checkpoint(size, &[], &liar(size + 1)), (422, "checkpoint-unfit")),
        (add_checkpoint(0, &[], &liar(2)), (409, &*format!("{size}\n"))),
    ] {
        let asked = reqwest::Client::new().post(format!("{}/witness/add-checkpoint", auditor.url)).body(body);
        let answer = asked.send().await.unwrap();
        let (status, said) = (answer.status().as_u16(), answer.text().await.unwrap());
        assert!(status == expected.0 && said.contains(expected.1), "{status} {said}");
    }
    // It goes on with the log that it knows, from where it was.
    let (status, _) = issuer.post("/v1/issuer/vouchers", &json!({ "programme": "checkup", "count": 1 })).await;
    assert_eq!(status, 201);
    eventually("what has grown is cosigned", Duration::from_secs(20), || async { cosigned(&issuer).await.0 > size })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_must_be_cosigned_stops_without_its_witnesses_and_goes_on_with_them() {
    let root = tempfile::tempdir().unwrap();
    let mut issuer = TestNode::new(root.path(), "health", &[Role::Issuer], None);
    for (name, value) in [("SECS", "1"), ("WAIT_SECS", "2"), ("REQUIRED", "true")] {
        issuer.env.push((format!("VOUCHER__PEERS__COSIGN_{name}"), value.into()));
    }
    issuer.start().await;
    // Nobody can cosign before there is an auditor: the registrar writes, so that there can be one.
    desk::publish(&issuer, "checkup").await;
    let mut auditor = TestNode::new(root.path(), "audit", &[Role::Auditor], Some(&issuer));
    desk::register(&issuer, &auditor).await;
    auditor.start().await;
    let size = issuer.folded("health").await;
    let all = || async { cosigned(&issuer).await == (issuer.folded("health").await, vec![json!("audit")]) };
    eventually("the auditor has cosigned all of it", Duration::from_secs(20), all).await;
    let (_, note) = text(format!("{}/log/checkpoint", issuer.url)).await;
    assert_eq!(note.lines().filter(|line| line.starts_with('\u{2014}')).count(), 2, "{note}");

    // With both down and the issuer alone back, what was cosigned is still known.
    auditor.kill();
    issuer.terminate();
    issuer.start().await;
    let (kept, by) = cosigned(&issuer).await;
    assert!(kept >= size && by == [json!("audit")], "{kept} {by:?}");
    let (_, older) = text(format!("{}/log/checkpoint?cosigned=true", issuer.url)).await;
    assert!(older.starts_with(&format!("{}\n{kept}\n", issuer.origin())), "{older}");

    let one = json!({ "programme": "checkup", "count": 1 });
    eventually("it writes nothing more", Duration::from_secs(20), || async {
        let (status, answer) = issuer.post("/v1/issuer/vouchers", &one).await;
        assert!(status == 201 || answer["code"] == "witnesses-missing", "{status} {answer}");
        status == 503
    })
    .await;
    let (_, status) = issuer.get("/v1/status").await;
    assert!(status["ready"] == false && status["cosigned"]["is_quorum_missing"] == true, "{status}");
    auditor.start().await;
    eventually("it writes again", Duration::from_secs(20), || async {
        issuer.post("/v1/issuer/vouchers", &one).await.0 == 201
    })
    .await;
    let (_, status) = issuer.get("/v1/status").await;
    assert_eq!(status["cosigned"]["is_quorum_missing"], false, "{status}");
}

/// What a witness names a log by.
fn ledger_name(origin: &str) -> String {
    actors::auditor::witness::digest_of(origin).to_string()
}
