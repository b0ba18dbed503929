//! The drill: each key of an institution replaced while the federation lives on, lost, and stolen; the vault wrapped anew.

use std::path::Path;
use std::time::Duration;

use domain::member::{Purpose, Role};
use serde_json::{Value, json};

use crate::liars::fake_log::{FakeLog, serve};
use crate::support::{TestNode, copy_dir, desk, eventually, program};

/// How long nodes may take to hear of something and act on it.
const SOON: Duration = Duration::from_secs(20);

const PURPOSES: [(Purpose, &str); 3] = [(Purpose::Node, "node"), (Purpose::Log, "log"), (Purpose::Witness, "witness")];

/// Runs a command of the program with a node's configuration: whether it went well, and what it said.
fn command(node: &TestNode, words: &[&str], env: &[(&str, &str)]) -> (bool, String) {
    let mut command = std::process::Command::new(program());
    let output = command.args(words).arg("--config").arg(node.config_path()).envs(env.iter().copied()).output();
    let output = output.unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// Makes the next key of a purpose, and gives the request for the registrar.
fn next(node: &TestNode, purpose: &str, more: &[&str]) -> Value {
    let (made, said) = command(node, &[&["keys", "next", "--purpose", purpose], more].concat(), &[]);
    assert!(made && said.contains(&format!("/v1/issuer/members/{}/key", node.id)), "{said}");
    request(node, &format!("{purpose}.next.json"))
}

fn request(node: &TestNode, file: &str) -> Value {
    serde_json::from_slice(&std::fs::read(node.dir.join("keys").join(file)).unwrap()).unwrap()
}

async fn post(registrar: &TestNode, node: &TestNode, what: &str, body: &Value) {
    let (status, body) = registrar.post_by_two(&format!("/v1/issuer/members/{}/{what}", node.id), body).await;
    assert_eq!(status, 201, "{what}: {body}");
}

/// How the keys stand that are not as they should stay, in the node's own words.
async fn key_states(node: &TestNode) -> Value {
    node.get("/v1/status").await.1["keys"].clone()
}

async fn all_is_well(node: &TestNode) {
    eventually("the keys are as the registrar has them", SOON, || async {
        key_states(node).await == json!([]) && node.is_ready().await
    })
    .await;
}

/// Waits until a node has folded all that another has written.
async fn has_all_of(reader: &TestNode, writer: &TestNode) {
    let size = writer.folded(writer.id).await;
    eventually(&format!("{} has all of {}", reader.id, writer.id), SOON, || async {
        reader.folded(writer.id).await >= size
    })
    .await;
}

async fn generate(node: &TestNode, programme: &str) -> (u16, Value) {
    node.post("/v1/issuer/vouchers", &json!({ "programme": programme, "count": 2 })).await
}

/// What `verify` says of a stopped node's store.
fn verify(node: &TestNode) -> Value {
    let output = std::process::Command::new(program())
        .args(["verify", "--json", "--config"])
        .arg(node.config_path())
        .output()
        .unwrap();
    let verdict: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&verdict["good"], &verdict["complete"]), (&json!(true), &json!(true)), "{verdict}");
    verdict
}

/// A registrar, an institution that gives vouchers of its own, and an auditor; who looks at a thief is reached without TLS.
async fn federation(
    root: &Path,
    make: fn(&Path, &'static str, &[Role], Option<&TestNode>) -> TestNode,
) -> [TestNode; 3] {
    let mut registrar = make(root, "health", &[Role::Issuer], None);
    registrar.start().await;
    let mut member = make(root, "xuanwu", &[Role::Issuer, Role::Community, Role::Voucher], Some(&registrar));
    let mut auditor = make(root, "audit", &[Role::Auditor], Some(&registrar));
    for node in [&mut member, &mut auditor] {
        desk::register(&registrar, node).await;
        node.start().await;
    }
    has_all_of(&member, &registrar).await;
    desk::publish(&member, "rehab").await;
    [registrar, member, auditor]
}

#[tokio::test(flavor = "multi_thread")]
async fn each_key_is_replaced_while_the_federation_lives_on() {
    let root = tempfile::tempdir().unwrap();
    let [mut registrar, mut member, mut auditor] = federation(root.path(), TestNode::protected).await;
    for (purpose, word) in PURPOSES {
        assert_eq!(generate(&member, "rehab").await.0, 201);
        let old = member.keys().public();
        let asked = next(&member, word, &[]);
        assert!(asked["by_old"].is_string(), "{asked}");
        let (made, said) = command(&member, &["keys", "next", "--purpose", word], &[]);
        assert!(!made && said.contains("is there already"), "{said}");
        eventually("the node has seen the next key", SOON, || async {
            key_states(&member).await == json!([{ "purpose": word, "state": "next-waits" }])
        })
        .await;
        assert_eq!(member.keys().public(), old, "nothing is taken before the registrar says so");

        post(&registrar, &member, "key", &asked).await;
        all_is_well(&member).await;
        let new = member.keys().public()[purpose as usize];
        assert_eq!(ledger::note::to_base64(&new), asked["key"].as_str().unwrap());
        assert!(!member.dir.join(format!("keys/{word}.next.key")).exists());

        // Both ways, under the new key: what it writes is read, what others write it reads.
        assert_eq!(generate(&member, "rehab").await.0, 201);
        desk::publish(&registrar, &format!("with-{word}")).await;
        has_all_of(&auditor, &member).await;
        has_all_of(&registrar, &member).await;
        has_all_of(&member, &registrar).await;
    }
    for node in [&mut member, &mut auditor, &mut registrar] {
        node.terminate();
    }
    for node in [&member, &auditor] {
        for log in verify(node)["report"]["logs"].as_array().unwrap() {
            assert_eq!(log["not_counting"], json!({}), "{log}");
        }
    }
    for node in [&mut registrar, &mut member] {
        node.start().await;
    }
    all_is_well(&member).await;
    assert_eq!(generate(&member, "rehab").await.0, 201);
}

/// The registrar's own log key: those who follow it go on by its own records; who begins needs the new vkey.
#[tokio::test(flavor = "multi_thread")]
async fn the_registrar_replaces_its_own_log_key() {
    let root = tempfile::tempdir().unwrap();
    let [registrar, member, _auditor] = federation(root.path(), TestNode::protected).await;
    let old = registrar.vkey();
    let asked = next(&registrar, "log", &[]);
    post(&registrar, &registrar, "key", &asked).await;
    all_is_well(&registrar).await;
    assert_ne!(registrar.vkey(), old);
    desk::publish(&registrar, "checkup").await;
    has_all_of(&member, &registrar).await;

    let mut begins = TestNode::protected(root.path(), "gulou", &[Role::Hospital], Some(&registrar));
    desk::register(&registrar, &begins).await;
    begins.start().await;
    has_all_of(&begins, &registrar).await;
    begins.terminate();
    verify(&begins);
}

/// A kill between the file and what goes with it: the next start has the new key, and nothing is signed with the old one.
#[cfg(debug_assertions)] // a release has no fail points
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_while_a_log_key_is_taken_leaves_the_new_one() {
    let root = tempfile::tempdir().unwrap();
    let [registrar, mut member, auditor] = federation(root.path(), TestNode::protected).await;
    member.terminate();
    member.env = vec![("VOUCHER_FAIL_POINT".into(), "key-in-place".into())];
    let asked = next(&member, "log", &[]);
    member.start().await;
    post(&registrar, &member, "key", &asked).await;
    eventually("the node died", SOON, || async { reqwest::get(&member.url).await.is_err() }).await;
    member.kill();
    member.env.clear();
    member.start().await;
    all_is_well(&member).await;
    assert_eq!(generate(&member, "rehab").await.0, 201);
    has_all_of(&auditor, &member).await;
}

/// Who comes back with keys and data from before a log key was replaced signs nothing with the old one, whether the node
/// knows of the new one or has to hear of it first.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_key_that_was_replaced_signs_nothing_more() {
    let root = tempfile::tempdir().unwrap();
    let [registrar, mut member, auditor] = federation(root.path(), TestNode::protected).await;
    let (keys, data, copy) = (member.dir.join("keys"), member.dir.join("ledger"), root.path().join("copy"));
    member.terminate();
    copy_dir(&keys, &copy.join("keys"));
    copy_dir(&data, &copy.join("ledger"));
    member.start().await;
    post(&registrar, &member, "key", &next(&member, "log", &[])).await;
    all_is_well(&member).await;
    assert_eq!(generate(&member, "rehab").await.0, 201);
    has_all_of(&auditor, &member).await;
    let (size, new) = (member.folded("xuanwu").await, std::fs::read(keys.join("log.key")).unwrap());

    for with_data in [false, true] {
        member.terminate();
        std::fs::copy(copy.join("keys/log.key"), keys.join("log.key")).unwrap();
        if with_data {
            // On another machine, without the marker of this boot.
            std::fs::remove_dir_all(&data).unwrap();
            copy_dir(&copy.join("ledger"), &data);
            std::fs::remove_dir_all(member.dir.join("marker")).unwrap();
            std::fs::create_dir_all(member.dir.join("marker")).unwrap();
        }
        member.spawn();
        eventually("the node says why it does not write", SOON, || async {
            match reqwest::get(format!("{}/v1/status", member.url)).await {
                Ok(answer) => answer.text().await.unwrap_or_default().contains("another log key"),
                Err(_) => false,
            }
        })
        .await;
        assert_eq!(generate(&member, "rehab").await.0, 503);
        member.terminate();
        std::fs::write(keys.join("log.key"), &new).unwrap();
        member.start().await;
        all_is_well(&member).await;
        assert!(member.folded("xuanwu").await >= size, "with data: {with_data}");
        assert_eq!(generate(&member, "rehab").await.0, 201);
        has_all_of(&auditor, &member).await;
        let (_, status) = auditor.get("/v1/status").await;
        assert!(status["logs"].as_array().unwrap().iter().all(|log| log["forked"] == false), "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_key_is_replaced() {
    let root = tempfile::tempdir().unwrap();
    let [registrar, mut member, mut auditor] = federation(root.path(), TestNode::protected).await;
    for (_, word) in PURPOSES {
        assert_eq!(generate(&member, "rehab").await.0, 201);
        has_all_of(&auditor, &member).await;
        member.terminate();
        std::fs::remove_file(member.dir.join(format!("keys/{word}.key"))).unwrap();
        let (started, said) = command(&member, &["run"], &[]);
        assert!(!started && said.contains(&format!("keys next --purpose {word}")), "{said}");

        let asked = next(&member, word, &[]);
        assert_eq!(asked["by_old"], Value::Null, "nobody has the old one");
        // The node runs before the registrar has done its part: it is not believed, says so, and signs nothing.
        member.spawn();
        let waits = json!([{ "purpose": word, "state": "other" }]);
        eventually("the node says that it is not believed", SOON, || async {
            match reqwest::Client::new().get(format!("{}/v1/status", member.url)).send().await {
                Ok(answer) => answer.json::<Value>().await.unwrap()["keys"] == waits,
                Err(_) => false,
            }
        })
        .await;
        if word == "log" {
            let (status, refused) = generate(&member, "rehab").await;
            assert_eq!((status, &refused["code"]), (503, &json!("not-ready")), "{refused}");
        }
        post(&registrar, &member, "key", &asked).await;
        all_is_well(&member).await;
        assert_eq!(generate(&member, "rehab").await.0, 201);
        has_all_of(&auditor, &member).await;
        has_all_of(&member, &registrar).await;
    }
    for node in [&mut member, &mut auditor] {
        node.terminate();
        verify(node);
    }
}

/// A log key that was stolen at an index: what stood before counts, what the thief wrote does not, and nobody takes a head
/// from the thief any more.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_thief_of_a_log_key_wrote_does_not_count() {
    let root = tempfile::tempdir().unwrap();
    let [registrar, mut member, mut auditor] = federation(root.path(), TestNode::new).await;
    let thief = member.keys().log_signer(&member.origin()).unwrap();
    assert_eq!(generate(&member, "rehab").await.0, 201);
    let (status, stolen) = generate(&member, "rehab").await;
    assert_eq!(status, 201);
    let from = stolen["records"][0]["index"].as_u64().unwrap();
    let size = member.folded("xuanwu").await;
    let tile = format!("{}/log/tile/entries/000.p/{size}", member.url);
    let bundle = reqwest::get(tile).await.unwrap().bytes().await.unwrap();
    let mut longer: Vec<Vec<u8>> =
        ledger::tile::parse_bundle(&bundle, size as usize).unwrap().into_iter().map(<[u8]>::to_vec).collect();
    longer.extend(vec![vec![7; 40]; 3]);
    has_all_of(&auditor, &member).await;
    has_all_of(&registrar, &member).await;
    member.terminate();

    let (made, said) = command(&member, &["keys", "next", "--purpose", "node", "--stolen-at", "3"], &[]);
    assert!(!made && said.contains("is for the log key"), "{said}");
    let asked = next(&member, "log", &["--stolen-at", &from.to_string()]);
    assert_eq!((&asked["from"], &asked["key_stolen"], &asked["by_old"]), (&json!(from), &json!(true), &Value::Null));
    let path = format!("/v1/issuer/members/{}/key", member.id);
    let mut unsaid = asked.clone();
    unsaid["key_stolen"] = json!(false);
    let (status, refused) = registrar.post_by_two(&path, &unsaid).await;
    assert_eq!((status, &refused["code"]), (409, &json!("bad-window")), "{refused}");
    post(&registrar, &member, "suspension", &request(&member, "log.suspension.json")).await;
    post(&registrar, &member, "key", &asked).await;
    has_all_of(&auditor, &registrar).await;

    // The thief sits at the institution's address and goes on with its log, under the old key.
    let forged = serve(FakeLog::new(thief, longer)).await;
    let roles = json!(["issuer", "community", "voucher"]);
    let own = member.url.clone();
    post(&registrar, &member, "changes", &json!({ "roles": roles, "url": forged.url })).await;
    has_all_of(&auditor, &registrar).await;
    let asked_before = forged.asked();
    eventually("the thief's log was asked for", SOON, || async { forged.asked() > asked_before + 3 }).await;
    let (_, status) = auditor.get("/v1/status").await;
    let log = status["logs"].as_array().unwrap().iter().find(|log| log["institution"] == "xuanwu").unwrap().clone();
    assert_eq!((&log["forked"], &log["size"]), (&json!(false), &json!(size)), "{log}");
    post(&registrar, &member, "changes", &json!({ "roles": roles, "url": own })).await;

    // The institution is back with its new key, and is let in again.
    member.start().await;
    all_is_well(&member).await;
    has_all_of(&registrar, &member).await;
    post(&registrar, &member, "restoration", &json!({})).await;
    has_all_of(&member, &registrar).await;
    let (status, after) = generate(&member, "rehab").await;
    assert_eq!(status, 201, "{after}");
    has_all_of(&auditor, &member).await;
    has_all_of(&auditor, &registrar).await;
    auditor.terminate();
    let verdict = verify(&auditor);
    let programmes = verdict["report"]["programmes"].as_array().unwrap();
    let came_in = programmes.iter().find(|programme| programme["short"] == "rehab").unwrap();
    let logs = verdict["report"]["logs"].as_array().unwrap();
    let own = logs.iter().find(|log| log["institution"] == "xuanwu").unwrap();
    assert_eq!(own["not_counting"], json!({ "not-in-good-standing": 2 }), "both that the thief made: {own}");
    assert_eq!(came_in["figures"]["generated"], json!(4), "two before the theft and two after it: {came_in}");
}

/// The vault under another data key, broken off wherever it may be: people are known, a request is not done twice, and an
/// erasure erases.
#[cfg(debug_assertions)] // a release has no fail points
#[tokio::test(flavor = "multi_thread")]
async fn the_vault_is_wrapped_anew_and_broken_off() {
    use actors::vault::format::{SLOT_BYTES, unwrap};

    let root = tempfile::tempdir().unwrap();
    let [registrar, mut member, _auditor] = federation(root.path(), TestNode::new).await;
    desk::publish(&registrar, "checkup").await;
    has_all_of(&member, &registrar).await;
    let person = json!({
        "document_type": "passport", "document_number": "E7731905", "born": "1949-12-31", "sex": "F", "name": "王秀英",
        "phone": "+86-25-7731905", "class": "elderly",
    });
    let path = "/v1/community/registrations/without-phone";
    let (status, registered) = member.post_as(path, "once", &person).await.unwrap();
    assert_eq!(status, 201, "{registered}");
    let document = json!({ "document_type": "passport", "document_number": "E7731905" });
    let (vault, old) = (member.dir.join("ledger/vault"), member.keys().vault_key());
    let opening = |under: &actors::vault::format::Key| {
        let bytes = std::fs::read(&vault).unwrap();
        (0..).zip(bytes.chunks(SLOT_BYTES)).filter(|(number, slot)| unwrap(under, *number, slot).is_some()).count()
    };
    assert!(opening(&old) > 0);

    for point in ["request-key-kept", "data-key-made", "slot-rewrapped:3", "slots-rewrapped"] {
        let before = member.keys().vault_key();
        member.terminate();
        let (done, said) = command(&member, &["keys", "rewrap"], &[("VOUCHER_FAIL_POINT", point)]);
        assert!(!done, "{point}: {said}");
        member.start().await;
        let (status, known) = member.post("/v1/community/desk/person", &document).await;
        assert_eq!((status, &known["holder"]), (200, &registered["result"]["holder"]), "{point}: {known}");
        let after = member.keys().vault_key();
        assert_eq!(before == after, point == "request-key-kept", "{point}: a start finishes what was begun");
        assert!(before == after || opening(&before) == 0, "{point}");
    }
    let before = member.keys().vault_key();
    let (done, said) = command(&member, &["keys", "rewrap"], &[]);
    assert!(!done && said.contains("in use"), "{said}");
    member.terminate();
    let (done, said) = command(&member, &["keys", "rewrap"], &[]);
    assert!(done && said.contains("wrapped under a new data key"), "{said}");
    member.start().await;
    assert!(member.keys().vault_key() != before && (opening(&old), opening(&before)) == (0, 0));

    let (status, erased) =
        member.post("/v1/community/erasures", &json!({ "holder": registered["result"]["holder"] })).await;
    assert_eq!(status, 201, "{erased}");
    let (status, known) = member.post("/v1/community/desk/person", &document).await;
    assert_eq!((status, &known["code"]), (404, &json!("holder-unknown")), "{known}");
}

/// A request that was answered before the vault was wrapped anew is known after it, by the same words alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_known_again_after_the_vault_is_wrapped_anew() {
    let root = tempfile::tempdir().unwrap();
    let [_registrar, mut member, _auditor] = federation(root.path(), TestNode::new).await;
    let body = json!({ "programme": "rehab", "count": 2 });
    let (status, first) = member.post_as("/v1/issuer/vouchers", "once", &body).await.unwrap();
    assert_eq!((status, &first["repeated"]), (201, &json!(false)), "{first}");
    member.terminate();
    let (done, said) = command(&member, &["keys", "rewrap"], &[]);
    assert!(done, "{said}");
    member.start().await;
    let (status, again) = member.post_as("/v1/issuer/vouchers", "once", &body).await.unwrap();
    assert_eq!((status, &again["repeated"]), (201, &json!(true)), "{again}");
    assert_eq!(again["records"], first["records"]);
    let other = json!({ "programme": "rehab", "count": 3 });
    let (status, refused) = member.post_as("/v1/issuer/vouchers", "once", &other).await.unwrap();
    assert_eq!((status, &refused["code"]), (422, &json!("idempotency-key-reused")), "{refused}");
}

/// The same with keys under a passphrase: each next one is sealed from the beginning, the running node takes it, and the vault
/// is wrapped under a data key that is sealed too.
#[tokio::test(flavor = "multi_thread")]
async fn sealed_keys_are_replaced_and_wrap_the_vault_anew() {
    use std::os::unix::fs::PermissionsExt as _;

    let root = tempfile::tempdir().unwrap();
    let [registrar, mut member, mut auditor] = federation(root.path(), TestNode::protected).await;
    desk::publish(&registrar, "checkup").await;
    has_all_of(&member, &registrar).await;
    let person = json!({
        "document_type": "passport", "document_number": "E7731905", "born": "1949-12-31", "sex": "F", "name": "王秀英",
        "phone": null, "class": "elderly",
    });
    let (status, registered) = member.post("/v1/community/registrations/without-phone", &person).await;
    assert_eq!(status, 201, "{registered}");
    member.terminate();

    let file = root.path().join("passphrase");
    std::fs::write(&file, "correct horse battery\n").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let passphrase = ("VOUCHER_PASSPHRASE_FILE", file.to_str().unwrap());
    let (sealed, said) = command(&member, &["keys", "seal"], &[passphrase]);
    assert!(sealed && said.contains("4 keys sealed"), "{said}");
    member.env.push((passphrase.0.to_owned(), passphrase.1.to_owned()));
    member.start().await;
    let key = |member: &TestNode, name: &str| std::fs::read_to_string(member.dir.join("keys").join(name)).unwrap();
    for (_, word) in PURPOSES {
        let before = key(&member, &format!("{word}.key"));
        let asked = ["keys", "next", "--purpose", word];
        let (made, said) = command(&member, &asked, &[]);
        assert!(!made && said.contains("is sealed"), "{said}");
        let (made, said) = command(&member, &asked, &[passphrase]);
        assert!(made, "{said}");
        assert!(key(&member, &format!("{word}.next.key")).contains("sealed"), "{word}");
        post(&registrar, &member, "key", &request(&member, &format!("{word}.next.json"))).await;
        // All may look well until the node has seen its next key: its taking is waited for first.
        eventually(&format!("the next {word} key is taken"), SOON, || async {
            key(&member, &format!("{word}.key")) != before
        })
        .await;
        all_is_well(&member).await;
        assert!(key(&member, &format!("{word}.key")).contains("sealed"), "{word}");
        assert_eq!(generate(&member, "rehab").await.0, 201);
        has_all_of(&auditor, &member).await;
        has_all_of(&member, &registrar).await;
    }

    member.terminate();
    let before = key(&member, "data.key");
    let (done, said) = command(&member, &["keys", "rewrap"], &[]);
    assert!(!done && said.contains("is sealed"), "{said}");
    let (done, said) = command(&member, &["keys", "rewrap"], &[passphrase]);
    assert!(done && said.contains("wrapped under a new data key"), "{said}");
    let after = key(&member, "data.key");
    assert!(after != before && after.contains("sealed"));
    member.start().await;
    all_is_well(&member).await;
    let document = json!({ "document_type": "passport", "document_number": "E7731905" });
    let (status, known) = member.post("/v1/community/desk/person", &document).await;
    assert_eq!((status, &known["holder"]), (200, &registered["result"]["holder"]), "{known}");
    auditor.terminate();
    verify(&auditor);
}
