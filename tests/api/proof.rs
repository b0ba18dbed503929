//! A record's proof, kept in a file and verified without a node.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use domain::member::Role;
use ledger::key::PrivateKey;

use crate::support::{TestNode, desk, program};

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
