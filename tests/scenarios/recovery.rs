//! Disasters and what is left after them: backups taken while a node works, lost disks, lost registrars.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use domain::member::Role;
use serde_json::{Value, json};

use super::crash::issuer;
use super::restore::{generate, head, is_forked};
use crate::support::{TestNode, desk, eventually, program};

const WITHIN: Duration = Duration::from_secs(20);

/// Runs a command of the program over a node's files: its exit code, and what it printed.
fn command(node: &TestNode, name: &str, args: &[(&str, &Path)]) -> (Option<i32>, String) {
    let mut command = Command::new(program());
    command.arg(name).arg("--config").arg(node.config_path());
    for (option, path) in args {
        command.arg(option).arg(path);
    }
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.code(), format!("{}{}", String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap()))
}

fn lose_the_disk(node: &mut TestNode) {
    node.kill();
    std::fs::remove_dir_all(node.dir.join("ledger")).unwrap();
}

async fn has_all(reader: &TestNode, writer: &TestNode) -> u64 {
    let size = writer.folded(writer.id).await;
    eventually("the other has followed", WITHIN, || async { reader.folded(writer.id).await >= size }).await;
    size
}

/// A backup is taken while vouchers are made, and again; the disk is lost. What the backup has comes from there, the rest from
/// the mirror, and nobody sees two histories; in the same boot, whose marker knows of more.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_backed_up_while_it_works_and_comes_back_with_its_tail() {
    let root = tempfile::tempdir().unwrap();
    let mut node = issuer(root.path()).await;
    let mut peer = TestNode::new(root.path(), "audit", &[Role::Auditor], Some(&node));
    desk::register(&node, &peer).await;
    peer.start().await;
    let out = root.path().join("backup");
    let acknowledged = std::sync::atomic::AtomicU64::new(0);
    let working = async {
        for _ in 0..40 {
            let (status, made) = generate(&node).await;
            assert_eq!(status, 201, "{made}");
            acknowledged.store(made["records"][0]["index"].as_u64().unwrap(), std::sync::atomic::Ordering::Relaxed);
        }
    };
    let copying = async {
        let mut copied = Vec::new();
        for _ in 0..3 {
            let known = acknowledged.load(std::sync::atomic::Ordering::Relaxed);
            let (code, said) = tokio::task::block_in_place(|| command(&node, "backup", &[("--out", &out)]));
            assert_eq!(code, Some(0), "{said}");
            let manifest: Value = serde_json::from_slice(&std::fs::read(out.join("backup.json")).unwrap()).unwrap();
            let own = manifest["logs"].as_array().unwrap().iter().find(|log| log["origin"] == node.origin()).unwrap();
            let entries = own["entries"].as_u64().unwrap();
            assert!(entries > known, "what was acknowledged before the backup is in it: {entries} of {known}");
            copied.push(entries);
        }
        copied
    };
    let ((), copied) = tokio::join!(working, copying);
    assert!(copied.is_sorted(), "{copied:?}");
    assert_eq!(generate(&node).await.0, 201);
    let size = has_all(&peer, &node).await;
    assert!(copied.iter().all(|copied| *copied < size), "{copied:?} of {size}");
    let signed = head(&node).await;

    lose_the_disk(&mut node);
    node.spawn();
    eventually("the registrar does not begin anew", WITHIN, || async {
        node.log().contains("this registrar has founded its federation")
    })
    .await;
    node.kill();
    // That start made an empty journal. Nothing is restored over another, and what is said to be done helps.
    let (code, said) = command(&node, "restore", &[("--from", &out)]);
    assert!(code == Some(2) && said.contains("nothing is restored over"), "{said}");
    std::fs::remove_dir_all(node.dir.join("ledger")).unwrap();
    let (code, said) = command(&node, "restore", &[("--from", &out)]);
    assert!(code == Some(0) && said.contains("The store is restored from the backup"), "{code:?} {said}");
    node.start().await;
    assert_eq!((node.folded("health").await, head(&node).await), (size, signed));
    assert_eq!(generate(&node).await.0, 201);
    has_all(&peer, &node).await;
    assert!(!is_forked(&peer, "health").await);

    // The auditor's export brings the registrar back where there is no backup.
    let size = node.folded("health").await;
    lose_the_disk(&mut node);
    peer.terminate();
    let export = root.path().join("export");
    let (code, said) = command(&peer, "export", &[("--out", &export)]);
    assert_eq!(code, Some(0), "{said}");
    peer.start().await;
    let (code, said) = command(&node, "restore", &[("--from", &export)]);
    assert!(code == Some(0) && said.contains("restored from the export"), "{code:?} {said}");
    node.start().await;
    assert_eq!(node.folded("health").await, size);
    assert_eq!(generate(&node).await.0, 201);
    has_all(&peer, &node).await;
    assert!(!is_forked(&peer, "health").await);
}

/// A member with an empty store and its old keys comes back from its peers alone, also where the registrar, the only one
/// whom it knows at first, holds less of its log than another does.
#[tokio::test(flavor = "multi_thread")]
async fn an_empty_store_comes_back_from_the_member_who_holds_most() {
    let root = tempfile::tempdir().unwrap();
    let mut registrar = issuer(root.path()).await;
    let mut member = TestNode::new(root.path(), "gulou", &[Role::Issuer], Some(&registrar));
    let mut audit = TestNode::new(root.path(), "audit", &[Role::Auditor], Some(&registrar));
    for node in [&mut member, &mut audit] {
        desk::register(&registrar, node).await;
        node.start().await;
    }
    desk::publish(&member, "rehab").await;
    has_all(&registrar, &member).await;
    registrar.kill();
    let (status, made) = member.post("/v1/issuer/vouchers", &json!({ "programme": "rehab", "count": 3 })).await;
    assert_eq!(status, 201, "{made}");
    let size = has_all(&audit, &member).await;
    let signed = head(&member).await;

    lose_the_disk(&mut member);
    member.spawn();
    registrar.start().await;
    member.ready().await;
    assert_eq!((member.folded("gulou").await, head(&member).await), (size, signed));
    assert!(member.log().contains("what stands in no log"), "{}", member.log());
    let (status, _) = member.post("/v1/issuer/vouchers", &json!({ "programme": "rehab", "count": 1 })).await;
    assert_eq!(status, 201);
    for other in [&registrar, &audit] {
        has_all(other, &member).await;
        assert!(!is_forked(other, "gulou").await);
    }
}
