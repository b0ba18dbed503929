//! An auditor's day: how every log stands, a record and its voucher's way, and a text that somebody brings.

use domain::member::Role;

use crate::support::browser::{Browser, LANGUAGES, SCREENS};
use crate::support::{TestNode, desk};

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
            browser.clean(&url, &[]).await;
            browser.close().await;
        }
    }
}
