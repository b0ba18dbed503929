//! Disasters and what is left after them: backups taken while a node works, lost disks, lost registrars.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use actors::clock::Clock as _;
use actors::token::{VoucherName, vp1};
use domain::ids::VoucherId;
use domain::member::Role;
use ledger::merkle::Hash;
use node::clock::NodeClock;
use reqwest::Method;
use serde_json::{Value, json};

use super::crash::issuer;
use super::restore::{generate, head, is_forked};
use crate::support::town::{Phone, good};
use crate::support::{TestNode, desk, eventually, program};

pub(super) const WITHIN: Duration = Duration::from_secs(20);

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

pub(super) async fn has_all(reader: &TestNode, writer: &TestNode) -> u64 {
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

    audit.terminate();
    lose_the_disk(&mut member);
    registrar.start().await;
    member.spawn();
    eventually("the registrar's log says who else is to be asked", WITHIN, || async {
        reqwest::get(format!("{}/healthz", member.url)).await.is_ok() && member.folded("health").await > 0
    })
    .await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(!member.is_ready().await, "one of two others has answered, and it holds the least");
    audit.start().await;
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

/// A hospital, its doctor there by day and night.
pub(super) async fn hospital(root: &Path, id: &'static str, issuer: &TestNode) -> TestNode {
    let mut hospital = TestNode::new(root, id, &[Role::Hospital], Some(issuer));
    desk::register(issuer, &hospital).await;
    hospital.start().await;
    let hours = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"].map(|weekday| {
        json!({ "department": "imaging", "department_name": "影像科", "doctor": "d-1", "doctor_name": "周", "weekday": weekday,
                "start": "00:00", "end": "24:00", "slot_minutes": 15, "capacity": 5 })
    });
    good(hospital.post("/v1/hospital/schedules", &json!({ "hours": hours })).await);
    hospital
}

/// Somebody with a voucher, who goes to hospitals.
pub(super) struct Patient {
    pub(super) phone: Phone,
    pub(super) voucher: String,
}

impl Patient {
    pub(super) fn name(&self) -> VoucherName {
        let id: VoucherId = self.voucher.parse().unwrap();
        VoucherName { issuer: id.issuer.to_string(), id: id.uuid }
    }

    /// Books the next appointment; the voucher's code.
    pub(super) async fn book(&mut self, community: &TestNode, hospital: &TestNode) -> String {
        let (_, slots) = hospital.get("/v1/hospital/slots?department=imaging&doctor=d-1&limit=2").await;
        let booking = json!({ "voucher": self.voucher, "hospital": hospital.id, "department": "imaging", "doctor": "d-1",
                              "start": slots["items"][1]["start"] });
        good(self.phone.keys.send(community, Method::POST, "/v1/wallet/bookings", &booking).await);
        let booked = |wallet: &Value| wallet["vouchers"][0]["stage"] == "booked";
        let wallet = self.phone.until(community, "booked", booked).await;
        wallet["vouchers"][0]["token"].as_str().unwrap().to_owned()
    }

    pub(super) async fn arrive(&self, hospital: &TestNode, code: &str) -> Value {
        let arrive = vp1::Step::Arrive { audience: hospital.id.to_owned(), voucher: self.name() };
        let arrival = json!({ "personal_qr": self.phone.by_enrolment(arrive), "voucher_qr": code });
        good(hospital.post("/v1/hospital/visits", &arrival).await)
    }

    pub(super) async fn examined(&self, hospital: &TestNode) {
        let began = NodeClock::real().now();
        tokio::time::sleep(Duration::from_millis(50)).await;
        let complete = vp1::Step::Complete { audience: hospital.id.to_owned(), voucher: self.name() };
        let examination = json!({ "performer": "d-1", "started_at": began, "ended_at": began,
                                  "items": [{ "code": "ct", "done": true, "result": "nothing found" }] });
        let completion = json!({ "personal_qr": self.phone.by_enrolment(complete), "examination": examination });
        good(hospital.post(&format!("/v1/hospital/visits/{}/completion", self.voucher), &completion).await);
    }

    pub(super) async fn stage(&self, at: &TestNode) -> String {
        let (_, voucher) = at.get(&format!("/v1/vouchers/{}", self.voucher)).await;
        voucher["inside"]["stage"].as_str().unwrap_or_default().to_owned()
    }
}

/// A hospital's machine is lost with its keys, and with records that it had acknowledged and that nobody else has. The registrar
/// states, by two persons, how far that log counts and who goes on; the other hospital holds from then on what the first one held,
/// and the voucher that was booked there is redeemed.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_whose_tail_is_lost_for_good_is_succeeded_and_its_vouchers_go_on() {
    let root = tempfile::tempdir().unwrap();
    let mut issuer = issuer(root.path()).await;
    let mut community = TestNode::new(root.path(), "xuanwu", &[Role::Community, Role::Voucher], Some(&issuer));
    desk::register(&issuer, &community).await;
    community.start().await;
    let mut gulou = hospital(root.path(), "gulou", &issuer).await;
    let mut zhongda = hospital(root.path(), "zhongda", &issuer).await;
    good(issuer.post("/v1/issuer/vouchers", &json!({ "programme": "checkup", "count": 1 })).await);
    let dispatch = json!({ "community": "xuanwu", "programme": "checkup", "count": 1 });
    good(issuer.post("/v1/issuer/dispatches", &dispatch).await);
    eventually("a voucher is on the shelf", WITHIN, || async {
        community.get("/v1/community/stock").await.1["items"][0]["encoded"] == 1
    })
    .await;
    let mut phone = Phone::with_voucher(&community, 5, "E12345678").await;
    let voucher = phone.wallet(&community).await["vouchers"][0]["voucher"].as_str().unwrap().to_owned();
    let mut patient = Patient { phone, voucher };
    let code = patient.book(&community, &gulou).await;
    for reader in [&issuer, &zhongda] {
        has_all(reader, &gulou).await;
    }
    eventually("the hospital knows", WITHIN, || async { patient.stage(&gulou).await == "booked" }).await;

    // The holder arrives while nobody follows: acknowledged, and gone with the machine.
    for node in [&mut issuer, &mut community, &mut zhongda] {
        node.terminate();
    }
    let lost = patient.arrive(&gulou, &code).await;
    gulou.kill();
    std::fs::remove_dir_all(&gulou.dir).unwrap();
    for node in [&mut issuer, &mut community, &mut zhongda] {
        node.spawn();
    }
    for node in [&mut issuer, &mut community, &mut zhongda] {
        node.ready().await;
    }
    let index = lost["records"][0]["index"].as_u64().unwrap();
    assert_eq!(issuer.folded("gulou").await, index, "the arrival is in nobody's mirror");

    let mirror = reqwest::get(format!("{}/mirrors/gulou/checkpoint", issuer.url)).await.unwrap().text().await.unwrap();
    let root = mirror.lines().nth(2).and_then(Hash::from_base64).unwrap();
    let succession = json!({ "size": index, "root": hex::encode(root.0), "successor": "zhongda" });
    let (status, answer) = issuer.post_by_two("/v1/issuer/members/gulou/log-succession", &succession).await;
    assert_eq!(status, 201, "{answer}");
    for reader in [&community, &zhongda] {
        has_all(reader, &issuer).await;
    }
    // It is stated in a signed record, for whoever asks.
    let stated = &answer["records"][0];
    let (_, record) = zhongda.get(&format!("/v1/records/health.{}", stated["index"])).await;
    let stated = &record["record"]["body"]["Registrar"]["LogSucceeded"];
    let said = [&stated["institution"], &stated["size"], &stated["root"], &stated["successor"]];
    assert_eq!(said, [&json!("gulou"), &json!(index), &succession["root"], &json!("zhongda")], "{record}");

    // What the old hospital held is the heir's: it lets the booking go, as the holder wishes, and has the next one itself.
    let cancel = vp1::Step::Cancel { audience: "xuanwu".into(), voucher: patient.name() };
    let word = json!({ "qr": patient.phone.by_enrolment(cancel) });
    let path = format!("/v1/wallet/bookings/{}/cancellation", patient.voucher);
    good(patient.phone.keys.send(&community, Method::POST, &path, &word).await);
    let free = |wallet: &Value| wallet["vouchers"][0]["stage"] == "issued";
    patient.phone.until(&community, "the heir has let it go", free).await;
    let code = patient.book(&community, &zhongda).await;
    eventually("the heir knows", WITHIN, || async { patient.stage(&zhongda).await == "booked" }).await;
    patient.arrive(&zhongda, &code).await;
    patient.examined(&zhongda).await;
    for node in [&issuer, &community, &zhongda] {
        eventually("it is redeemed everywhere", WITHIN, || async { patient.stage(node).await == "redeemed" }).await;
    }
}
