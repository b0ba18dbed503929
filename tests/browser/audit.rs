//! An auditor's day: how every log stands and who has cosigned it, a record and its voucher's way, and a text or an export that
//! somebody brings.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use domain::member::Role;
use ledger::checkpoint::Checkpoint;
use ledger::merkle::Hash;
use ledger::note::to_base64;
use serde_json::json;

use crate::support::browser::{Browser, LANGUAGES, SCREENS, Screen};
use crate::support::{TestNode, copy_dir, desk, eventually, program};

#[tokio::test(flavor = "multi_thread")]
async fn an_auditor_reads_verdicts_and_checks_what_somebody_brings() {
    let root = tempfile::tempdir().unwrap();
    let mut node = TestNode::new(root.path(), "health", &[Role::Issuer, Role::Auditor], None);
    node.start().await;
    desk::publish(&node, "elder-check").await;
    let made = serde_json::json!({ "programme": "elder-check", "count": 3 });
    let (status, receipt) = node.post("/v1/issuer/vouchers", &made).await;
    assert_eq!(status, 201, "{receipt}");
    let position = format!("health.{}", receipt["result"]["first"]);
    let proof = reqwest::get(format!("{}/v1/records/{position}/proof", node.url)).await.unwrap().text().await.unwrap();
    let url = node.url.clone();
    for screen in SCREENS {
        for language in LANGUAGES {
            let browser = Browser::open(screen, language).await;
            // Anybody may ask whether something is genuine.
            browser.goto(&format!("{url}/audit/check")).await;
            browser.fill("#text", "VP1:NOTHING").await;
            browser.press("#check button").await;
            browser.find("#said .verdict.bad").await;

            browser.sign_in(&url, "test").await;
            browser.goto(&format!("{url}/audit")).await;
            browser.find("#verdict.good").await;
            assert!(browser.has("#logs .tag.good").await);
            browser.accessible("the report").await;
            browser.picture(&format!("audit-{language}")).await;

            // From the log to a record, and from it to the voucher's way.
            browser.press("#logs a[href='/records?log=health']").await;
            browser.find("#records").await;
            browser.accessible("the records").await;
            browser.picture(&format!("records-{language}")).await;
            browser.goto(&format!("{url}/records?find={position}")).await;
            assert_eq!(browser.path().await, format!("/records/{position}"));
            browser.accessible("a record").await;
            browser.press("a[href^='/records/vouchers/']").await;
            browser.find("#path li").await;
            browser.accessible("a voucher's way").await;
            browser.picture(&format!("voucher-{language}")).await;

            // A proof file, dropped: what it proves is said, with the way to the record.
            browser.goto(&format!("{url}/audit/check")).await;
            browser.accessible("the check").await;
            let drop = "const data = new DataTransfer();
                        data.items.add(new File([arguments[0]], 'proof.txt', { type: 'text/plain' }));
                        window.dispatchEvent(new DragEvent('drop', { dataTransfer: data, cancelable: true }));";
            browser.client.execute(drop, vec![proof.clone().into()]).await.unwrap();
            browser.find("#said .verdict.good").await;
            assert!(browser.has(&format!("#said a[href='/records/{position}']")).await);
            browser.accessible("a proof").await;
            browser.picture(&format!("check-{language}")).await;
            // A picture with a code, dropped by who is signed in.
            let picture = to_base64(&::node::qr::png("VP1:NOTHING", 6).unwrap());
            let drop = "const data = new DataTransfer();
                        const bytes = Uint8Array.from(atob(arguments[0]), (one) => one.charCodeAt(0));
                        data.items.add(new File([bytes], 'code.png', { type: 'image/png' }));
                        window.dispatchEvent(new DragEvent('drop', { dataTransfer: data, cancelable: true }));";
            browser.client.execute(drop, vec![picture.into()]).await.unwrap();
            browser.find("#said .verdict.bad").await;
            browser.clean(&url, &[]).await;
            browser.close().await;
        }
    }
}

/// Runs `export` over a stopped node's files.
fn export(node: &TestNode, out: &Path) {
    let mut command = Command::new(program());
    let output = command.arg("export").arg("--config").arg(node.config_path()).arg("--out").arg(out).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A copy of an export, to be changed.
fn copied(export: &Path, name: &str) -> PathBuf {
    let to = export.with_file_name(name);
    copy_dir(export, &to);
    to
}

/// Opens the check and chooses a directory; the class of what is concluded, and its words.
async fn choose(browser: &Browser, url: &str, dir: &Path) -> (String, String) {
    browser.goto(&format!("{url}/audit/check")).await;
    browser.find("#folder").await.send_keys(dir.to_str().unwrap()).await.unwrap();
    concluded(browser).await
}

async fn concluded(browser: &Browser) -> (String, String) {
    let notice = browser.find("#export-status .notice, #export-alert .notice").await;
    (notice.attr("class").await.unwrap().unwrap(), notice.text().await.unwrap())
}

/// A federation of an issuer and an auditor, which has cosigned all that the issuer wrote.
async fn witnessed(root: &Path) -> (TestNode, TestNode) {
    let mut issuer = TestNode::new(root, "health", &[Role::Issuer], None);
    issuer.env.push(("VOUCHER__PEERS__COSIGN_SECS".into(), "1".into()));
    issuer.start().await;
    let mut auditor = TestNode::new(root, "audit", &[Role::Auditor], Some(&issuer));
    desk::register(&issuer, &auditor).await;
    auditor.start().await;
    desk::publish(&issuer, "elder-check").await;
    generate(&issuer).await;
    let size = issuer.folded("health").await;
    eventually("the auditor has cosigned all of it", Duration::from_secs(20), || async {
        issuer.get("/v1/status").await.1["cosigned"]["size"] == size && auditor.folded("health").await == size
    })
    .await;
    (issuer, auditor)
}

async fn generate(issuer: &TestNode) {
    let (status, made) = issuer.post("/v1/issuer/vouchers", &json!({ "programme": "elder-check", "count": 300 })).await;
    assert_eq!(status, 201, "{made}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_auditor_sees_who_cosigned_and_holds_an_export_against_its_own_copy() {
    let root = tempfile::tempdir().unwrap();
    let (mut issuer, auditor) = witnessed(root.path()).await;
    let (size, url) = (issuer.folded("health").await, auditor.url.clone());
    issuer.terminate();
    let good = root.path().join("export");
    export(&issuer, &good);
    let flipped = copied(&good, "flipped");
    let bundle = flipped.join("logs/health/tile/entries/000");
    let mut bytes = std::fs::read(&bundle).unwrap();
    bytes[7] ^= 1;
    std::fs::write(&bundle, bytes).unwrap();
    let end = format!("tile/0/001.p/{}", size - 256);
    let tile = flipped.join("logs/health").join(&end);
    let bytes = std::fs::read(&tile).unwrap();
    std::fs::write(&tile, &bytes[..bytes.len() - 1]).unwrap();
    for screen in SCREENS {
        for (language, cosigned, same, differs) in [
            ("zh-CN", format!("{size} 条记录"), "与本审计节点的副本一致", "与本审计节点的副本不同"),
            ("en", format!("{size} records"), "as this auditor holds it", "is not what this auditor holds"),
        ] {
            let browser = Browser::open(screen, language).await;
            browser.sign_in(&url, "test").await;
            browser.goto(&format!("{url}/audit")).await;
            let said = browser.text("#logs tr:has(a[href='/records?log=health']) .cosigned").await;
            assert!(said.contains(&cosigned) && said.contains("audit"), "{said}");
            browser.accessible("the report with cosignatures").await;
            browser.picture(&format!("audit-cosigned-{language}")).await;

            let (class, said) = choose(&browser, &url, &good).await;
            assert!(class == "notice good" && said.contains(same), "{class} {said}");
            assert!(browser.has("#export-logs .tag.good").await && !browser.has("#export-logs .tag.bad").await);
            let said = browser.text("#export-logs").await;
            assert!(said.contains("health") && said.contains(&cosigned) && said.contains("audit"), "{said}");
            browser.accessible("a good export").await;
            browser.client.execute("document.querySelector('#export').scrollIntoView()", Vec::new()).await.unwrap();
            browser.picture(&format!("export-good-{language}")).await;

            let (class, said) = choose(&browser, &url, &flipped).await;
            assert!(class == "notice bad" && browser.has("#export-alert .notice.bad").await, "{class} {said}");
            let said = browser.text("#export-logs").await;
            let named = [format!("tile/entries/000 {differs}"), format!("{end} {differs}")];
            assert!(named.iter().all(|file| said.contains(file)), "{said}");
            browser.accessible("a false export").await;
            browser.client.execute("document.querySelector('#export').scrollIntoView()", Vec::new()).await.unwrap();
            browser.picture(&format!("export-bad-{language}")).await;
            browser.clean(&url, &[]).await;
            browser.close().await;
        }
    }
}

/// What is wrong, the file that is written in place of the good one, or taken away, and what is said then.
type Case<'a> = (&'a str, &'a str, Option<Vec<u8>>, &'a str, &'a str);

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_brought_as_an_export_gets_a_clear_answer() {
    let root = tempfile::tempdir().unwrap();
    let (mut issuer, auditor) = witnessed(root.path()).await;
    let (size, url) = (issuer.folded("health").await, auditor.url.clone());
    issuer.terminate();
    let good = root.path().join("export");
    export(&issuer, &good);
    let browser = Browser::open(Screen::Desk, "en").await;
    browser.sign_in(&url, "test").await;
    let head = Checkpoint { origin: issuer.origin(), size, root: Hash([9; 32]) };
    let forked = head.sign(&issuer.keys().log_signer(&issuer.origin()).unwrap());
    let others = Checkpoint { origin: auditor.origin(), ..head.clone() };
    let others = others.sign(&auditor.keys().log_signer(&auditor.origin()).unwrap());
    let heads = std::fs::read(good.join("logs/health/checkpoint")).unwrap();
    let contents = |logs: serde_json::Value| json!({ "version": 1, "logs": logs }).to_string();
    let many: Vec<_> = (0..1_025).map(|n| json!({ "institution": format!("i-{n}") })).collect();
    let checkpoint = "logs/health/checkpoint";
    let entries = format!("logs/health/tile/entries/001.p/{}", size - 256);
    let odd = "logs/health/tile/<img src=x onerror=alert(1)>\u{202e}%2e%2e %00#?.p";
    let table: Vec<Case<'_>> = vec![
        ("no contents", "export.json", None, "bad", "no export"),
        ("empty contents", "export.json", Some(Vec::new()), "bad", "no export"),
        ("contents of another kind", "export.json", Some(b"[[[[".to_vec()), "bad", "no export"),
        ("null", "export.json", Some(b"null".to_vec()), "bad", "no export"),
        ("another version", "export.json", Some(b"{\"version\":2,\"logs\":[]}".to_vec()), "bad", "no export"),
        ("no logs", "export.json", Some(contents(json!([])).into()), "bad", "no export"),
        ("a log without a name", "export.json", Some(contents(json!([null])).into()), "bad", "no export"),
        (
            "a path",
            "export.json",
            Some(contents(json!([{"institution": "../../v1/accounts"}])).into()),
            "bad",
            "no export",
        ),
        ("markup", "export.json", Some(contents(json!([{"institution": "<img src=x>"}])).into()), "bad", "no export"),
        (
            "a prototype",
            "export.json",
            Some(contents(json!([{"institution": "__proto__"}])).into()),
            "bad",
            "no export",
        ),
        ("too many logs", "export.json", Some(contents(json!(many)).into()), "bad", "no export"),
        ("too much", "export.json", Some(vec![b' '; 2 * 1024 * 1024]), "bad", "no export"),
        (
            "a log of nobody",
            "export.json",
            Some(contents(json!([{"institution": "nobody"}])).into()),
            "bad",
            "checkpoint is missing",
        ),
        ("no checkpoint", checkpoint, None, "bad", "checkpoint is missing"),
        (
            "one with a mark before it",
            checkpoint,
            Some([&[0xef, 0xbb, 0xbf][..], &heads].concat()),
            "bad",
            "no checkpoint that",
        ),
        ("one of control characters", checkpoint, Some(vec![1; 60_000]), "bad", "no checkpoint that"),
        ("an empty one", checkpoint, Some(Vec::new()), "bad", "no checkpoint that"),
        ("one of 10 MB", checkpoint, Some(vec![b'a'; 10_000_000]), "bad", "no checkpoint that"),
        ("one that is no text", checkpoint, Some(vec![0xff; 2_000]), "bad", "no checkpoint that"),
        ("one of another log", checkpoint, Some(others.into()), "bad", "no checkpoint that"),
        ("one of another history", checkpoint, Some(forked.into()), "bad", "has signed two"),
        ("an empty bundle", &entries, Some(Vec::new()), "bad", "is not what this auditor holds"),
        ("a bundle of 10 MB", &entries, Some(vec![0; 10_000_000]), "bad", "is not what this auditor holds"),
        ("no bundle", &entries, None, "bad", "is missing"),
        ("a file too many", odd, Some(b"x".to_vec()), "good", "not looked at: 1"),
    ];
    for (n, (what, path, bytes, verdict, says)) in table.into_iter().enumerate() {
        let dir = copied(&good, &format!("case-{n}"));
        match bytes {
            Some(bytes) => std::fs::write(dir.join(path), bytes).unwrap(),
            None => std::fs::remove_file(dir.join(path)).unwrap(),
        }
        let (class, said) = choose(&browser, &url, &dir).await;
        let all = browser.text("#export").await;
        assert!(class == format!("notice {verdict}") && all.contains(says), "{what}: {class} {said}\n{all}");
        assert!(!browser.has("#export-logs img").await, "{what}");
    }
    let stranger = copied(&good, "stranger");
    std::fs::rename(stranger.join("logs/health"), stranger.join("logs/nobody")).unwrap();
    std::fs::write(stranger.join("export.json"), contents(json!([{ "institution": "nobody" }]))).unwrap();
    let (class, said) = choose(&browser, &url, &stranger).await;
    assert!(class == "notice wait" && said.contains("not all of it could be judged"), "{class} {said}");

    browser.clean(&url, &[]).await;
    browser.close().await;

    // Who is not signed in is offered no export to check.
    let browser = Browser::open(Screen::Desk, "en").await;
    browser.goto(&format!("{url}/audit/check")).await;
    browser.find("#file-field:not([hidden])").await;
    assert!(!browser.has("#export").await);
    browser.clean(&url, &[]).await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_may_be_dropped() {
    let root = tempfile::tempdir().unwrap();
    let (mut issuer, auditor) = witnessed(root.path()).await;
    let url = auditor.url.clone();
    issuer.terminate();
    let good = root.path().join("export");
    export(&issuer, &good);
    let browser = Browser::open(Screen::Desk, "en").await;
    browser.sign_in(&url, "test").await;
    let empty = root.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    for (dir, verdict) in [(&good, "good"), (&empty, "bad")] {
        browser.goto(&format!("{url}/audit/check")).await;
        for kind in ["dragEnter", "dragOver", "drop"] {
            let data = json!({ "items": [], "files": [dir], "dragOperationsMask": 1 });
            let event = json!({ "type": kind, "x": 300, "y": 300, "data": data });
            browser.devtools("Input.dispatchDragEvent", event).await;
        }
        let (class, said) = concluded(&browser).await;
        assert_eq!(class, format!("notice {verdict}"), "{said}");
    }
    browser.clean(&url, &[]).await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_of_a_longer_log_is_judged_as_far_as_it_is_known() {
    let root = tempfile::tempdir().unwrap();
    let (mut issuer, mut auditor) = witnessed(root.path()).await;
    let (size, url) = (issuer.folded("health").await, auditor.url.clone());
    let good = root.path().join("export");
    // Who writes after the auditor has stopped has more than it knows.
    auditor.terminate();
    generate(&issuer).await;
    issuer.terminate();
    export(&issuer, &good);
    auditor.spawn();
    eventually("the auditor answers", Duration::from_secs(20), || async {
        reqwest::get(format!("{url}/healthz")).await.is_ok_and(|answer| answer.status().is_success())
    })
    .await;
    let browser = Browser::open(Screen::Desk, "en").await;
    browser.sign_in(&url, "test").await;
    let (class, said) = choose(&browser, &url, &good).await;
    assert_eq!(class, "notice wait", "{said}");
    let said = browser.text("#export-logs").await;
    assert!(said.contains(&format!("holds {size} of them")), "{said}");
    browser.close().await;
}
