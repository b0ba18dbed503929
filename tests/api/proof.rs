//! A record's proof, kept in a file and verified without a node.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use domain::member::Role;
use ledger::key::PrivateKey;
use serde_json::{Value, json};

use crate::support::town::{Phone, Town};
use crate::support::{TestNode, desk, eventually, program};

/// Exit code, and what was said.
fn verify(args: &[&str], dir: &Path, input: &str) -> (Option<i32>, String) {
    let mut command = Command::new(program());
    command.arg("verify").args(args).current_dir(dir);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Who does not read the input may be gone already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let done = child.wait_with_output().unwrap();
    let said = [done.stdout, done.stderr].concat();
    (done.status.code(), String::from_utf8(said).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_is_verified_offline_by_the_key_alone() {
    let root = tempfile::tempdir().unwrap();
    let mut node = TestNode::new(root.path(), "health", &[Role::Issuer], None);
    node.start().await;
    desk::publish(&node, "checkup").await;
    let (key, url) = (node.vkey(), node.url.clone());
    let (_, record) = node.get("/v1/records/health.1").await;
    let (_, other) = node.get("/v1/records/health.2").await;
    let proof = reqwest::get(format!("{url}/v1/records/health.1/proof")).await.unwrap().text().await.unwrap();
    node.terminate();

    let dir = root.path();
    let write = |name: &str, text: &str| std::fs::write(dir.join(name), text).unwrap();
    write("1.proof", &proof);
    write("1.json", &record.to_string());
    write("2.json", &other.to_string());
    write("moved.proof", &proof.replacen("index 1\n", "index 0\n", 1));
    write("no.proof", "nothing");
    write("long.proof", &format!("{proof}\n"));
    let id = record["name"]["id"].as_str().unwrap();
    let strange =
        ledger::key::NoteSigner::new(&node.origin(), PrivateKey::from_seed(&[9; 32])).unwrap().verifier().to_string();
    let elsewhere =
        ledger::key::NoteSigner::new("another/log", PrivateKey::from_seed(&[9; 32])).unwrap().verifier().to_string();
    let bare = ledger::proof::TlogProof { extra: None, ..ledger::proof::TlogProof::parse(&proof).unwrap() }.to_string();
    write("bare.proof", &bare);
    write("policy", &format!("log {key}\nquorum none\n"));
    let table: [(&str, &[&str], i32, &str); 14] = [
        ("as it came", &["1.proof", "--key", &key], 0, "ParametersPublished"),
        ("by a policy", &["1.proof", "--policy", "policy"], 0, "ParametersPublished"),
        ("by its id", &["1.proof", "--key", &key, "--id", id], 0, "as entry 1 of"),
        ("whole", &["1.proof", "--key", &key, "--record", "1.json"], 0, "under a good signature"),
        ("from a pipe", &["-", "--key", &key, "--id", id], 0, "as entry 1 of"),
        ("an older key too", &["1.proof", "--key", &strange, "--key", &key, "--id", id], 0, "as entry 1 of"),
        ("another record", &["1.proof", "--key", &key, "--record", "2.json"], 1, "NOT PROVED"),
        ("another place", &["moved.proof", "--key", &key, "--id", id], 1, "NOT PROVED"),
        ("another key", &["1.proof", "--key", &strange, "--id", id], 1, "NOT PROVED"),
        ("another log", &["1.proof", "--key", &elsewhere, "--id", id], 1, "NOT PROVED"),
        ("a line too many", &["long.proof", "--key", &key, "--id", id], 2, "cannot be judged"),
        ("no proof", &["no.proof", "--key", &key, "--id", id], 2, "not an offline proof"),
        ("no file", &["gone.proof", "--key", &key, "--id", id], 2, "cannot be read"),
        ("about nothing", &["bare.proof", "--key", &key], 2, "carries no record"),
    ];
    for (case, args, code, words) in table {
        let (exit, said) = verify(args, dir, &proof);
        assert!(exit == Some(code) && said.contains(words), "{case}: {exit:?} {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_running_node_holds_is_fetched_and_judged() {
    let root = tempfile::tempdir().unwrap();
    let mut health = TestNode::new(root.path(), "health", &[Role::Issuer], None);
    health.start().await;
    let mut gulou = TestNode::new(root.path(), "gulou", &[Role::Hospital], Some(&health));
    desk::register(&health, &gulou).await;
    gulou.start().await;
    desk::publish(&health, "checkup").await;
    let size = health.folded("health").await;
    eventually("the hospital holds the issuer's log", Duration::from_secs(20), || async {
        gulou.folded("health").await == size
    })
    .await;
    let (dir, key, url) = (root.path(), health.vkey(), gulou.url.clone());
    std::fs::write(dir.join("token"), &gulou.token).unwrap();
    std::fs::write(dir.join("bad"), "nobody").unwrap();
    let told = ["--key", &key, "--token-file", "token", "--keep", "kept"];
    let (code, said) = verify(&[&[url.as_str()], &told[..]].concat(), dir, "");
    assert!(code == Some(0) && said.contains("everything is good"), "{code:?} {said}");
    // What was kept is an export; what has grown since comes to it.
    desk::publish(&health, "checkup-2").await;
    let size = health.folded("health").await;
    eventually("the hospital holds it", Duration::from_secs(20), || async { gulou.folded("health").await == size })
        .await;
    let (code, said) = verify(&[&[url.as_str()], &told[..]].concat(), dir, "");
    assert!(code == Some(0) && said.contains(&format!("{size}")), "{code:?} {said}");
    assert_eq!(verify(&["kept", "--key", &key], dir, "").0, Some(0));

    let stranger = ledger::key::NoteSigner::new(&health.origin(), PrivateKey::from_seed(&[9; 32])).unwrap();
    let strange = stranger.verifier().to_string();
    let table: [(&str, &[&str], i32, &str); 4] = [
        ("another key", &[&url, "--key", &strange, "--token-file", "token"], 1, "health: its signed head is not good"),
        ("nobody's token", &[&url, "--key", &key, "--token-file", "bad"], 1, "the node says no (401"),
        ("nobody there", &["http://127.0.0.1:1", "--key", &key], 2, "cannot be reached"),
        ("no key", &[&url], 2, "--key or --policy"),
    ];
    for (case, args, code, words) in table {
        let (exit, said) = verify(args, dir, "");
        assert!(exit == Some(code) && said.contains(words), "{case}: {exit:?} {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_is_verified_offline_by_the_federations_policy() {
    let root = tempfile::tempdir().unwrap();
    let Town { issuer, town } = Town::found(root.path()).await;
    let mut phone = Phone::with_voucher(&town, 1, "E11111111").await;
    let voucher = phone.inside(&town).await;
    let policy = reqwest::get(format!("{}/v1/policy", issuer.url)).await.unwrap().text().await.unwrap();
    let path = format!("/v1/vouchers/{voucher}/history?proofs=true");
    let all_proved = |told: &Value| told["path"].as_array().unwrap().iter().all(|step| step["proof"].is_string());
    eventually("every record has its proof", Duration::from_secs(20), || async {
        all_proved(&town.get(&path).await.1)
    })
    .await;
    let (_, told) = town.get(&path).await;
    assert_eq!(told["path"].as_array().unwrap().len(), 7);
    assert_eq!(told["complete_as_of"].as_array().unwrap().len(), 2);

    let dir = root.path();
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut other = told.clone();
        change(&mut other);
        other.to_string()
    };
    std::fs::write(dir.join("policy"), &policy).unwrap();
    std::fs::write(
        dir.join("town"),
        policy.lines().filter(|line| !line.contains("/health+")).collect::<Vec<_>>().join("\n"),
    )
    .unwrap();
    let table: [(&str, &str, String, i32, &str); 9] = [
        ("as it came", "policy", told.to_string(), 0, "UseConfirmed"),
        ("what it does not prove", "policy", told.to_string(), 0, "no other record is about this voucher"),
        ("a step left out", "policy", changed(&|h| drop(h["path"].as_array_mut().unwrap().remove(2))), 1, "path[2]"),
        ("two exchanged", "policy", changed(&|h| h["path"].as_array_mut().unwrap().swap(3, 4)), 1, "does not follow"),
        (
            "another voucher",
            "policy",
            changed(&|h| h["voucher"] = json!("health.00000000-0000-4000-8000-000000000000")),
            1,
            "another voucher",
        ),
        ("another index", "policy", changed(&|h| h["path"][0]["name"]["index"] = json!(3)), 1, "of another record"),
        ("no proof", "policy", changed(&|h| h["path"][1]["proof"] = Value::Null), 1, "path[1]"),
        ("a log that is not trusted", "town", told.to_string(), 1, "no key of the log"),
        ("no history", "policy", "{}".into(), 2, "neither a proof nor a history"),
    ];
    for (case, policy, file, code, words) in table {
        std::fs::write(dir.join("history.json"), file).unwrap();
        let (exit, said) = verify(&["history.json", "--policy", policy], dir, "");
        assert!(exit == Some(code) && said.contains(words), "{case}: {exit:?} {said}");
    }
}
