//! What two persons of a health authority decide on its pages: numbers, keys, who takes part, and vouchers that went wrong where
//! an institution was cut off. One asks, another reads what was asked and consents.

use std::process::Command;
use std::time::Duration;

use domain::member::Role;
use serde_json::json;

use crate::support::browser::{Browser, Screen};
use crate::support::town::{Phone, Town, WITHIN, good};
use crate::support::{SECOND, TestNode, desk, eventually, program};

/// Two persons of one authority, each in a browser of their own: at a desk in Chinese, on a phone in English.
struct Two {
    url: String,
    first: Browser,
    second: Browser,
}

impl Two {
    async fn sign_in(url: &str) -> Self {
        let first = Browser::open(Screen::Desk, "zh-CN").await;
        let second = Browser::open(Screen::Phone, "en").await;
        first.sign_in(url, "test").await;
        second.sign_in(url, SECOND).await;
        Self { url: url.to_owned(), first, second }
    }

    /// The first goes to a page.
    async fn at(&self, path: &str) {
        self.first.goto(&format!("{}{path}", self.url)).await;
    }

    /// The first has asked: it waits, and cannot be consented to by who asked. The second sees this in it, and answers.
    async fn answer(&self, seen: &[&str], css: &str) {
        self.first.find("article .refuse").await;
        assert!(!self.first.has(".consent").await);
        self.second.goto(&format!("{}/issuer/approvals", self.url)).await;
        let waits = self.second.text("article").await;
        assert!(seen.iter().all(|words| waits.contains(words)), "{seen:?} in {waits}");
        self.second.follow(&format!("article {css}")).await;
        self.second.find(".notice.good").await;
    }

    async fn consent(&self, seen: &[&str]) {
        self.answer(seen, ".consent").await;
    }

    /// How a member is to stand.
    async fn member(&self, id: &str, wish: &str, then: &str) {
        self.at("/issuer/members").await;
        self.first.press(&format!("article[aria-labelledby=member-{id}] summary")).await;
        self.first.follow(&format!("article[aria-labelledby=member-{id}] [value={wish}]")).await;
        self.consent(&[id]).await;
        self.at("/issuer/members").await;
        let stands = self.first.text(&format!("article[aria-labelledby=member-{id}] .tag")).await;
        assert_eq!(stands, then);
    }

    /// The voucher looked up among the corrections; what is said of it.
    async fn look_up(&self, voucher: &str) -> String {
        self.at("/issuer/corrections").await;
        self.first.fill("#voucher", voucher).await;
        self.first.follow("form[method=get] button").await;
        self.first.text("#found").await
    }

    async fn close(self, refused: &[u16]) {
        for browser in [self.first, self.second] {
            browser.clean(&self.url, refused).await;
            browser.close().await;
        }
    }
}

/// The next node key of an institution, as its operator sends it to the registrar: a text to be pasted.
fn next_key(node: &TestNode) -> String {
    let mut command = Command::new(program());
    command.args(["keys", "next", "--purpose", "node", "--config"]).arg(node.config_path());
    assert!(command.output().unwrap().status.success());
    std::fs::read_to_string(node.dir.join("keys/node.next.json")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_persons_change_numbers_and_a_members_key() {
    let root = tempfile::tempdir().unwrap();
    let mut issuer = TestNode::new(root.path(), "health", &[Role::Issuer], None);
    issuer.start().await;
    let community = TestNode::new(root.path(), "xuanwu", &[Role::Community], Some(&issuer));
    desk::register(&issuer, &community).await;
    let two = Two::sign_in(&issuer.url).await;

    // What is no number of days stays in its field, with what is wrong.
    two.at("/issuer/parameters").await;
    two.first.fill("#claim-within", "40000").await;
    two.first.follow("main form button").await;
    two.first.find(".notice.bad").await;
    let value = async || two.first.find("#claim-within").await.prop("value").await.unwrap().unwrap();
    assert_eq!(value().await, "40000");

    // Refused, nothing changes; asked again and consented to, the page has the new number.
    for (css, then) in [(".refuse", "30"), (".consent", "10.5")] {
        two.at("/issuer/parameters").await;
        two.first.fill("#claim-within", "10.5").await;
        two.first.follow("main form button").await;
        two.answer(&["907200000"], css).await;
        two.at("/issuer/parameters").await;
        assert_eq!(value().await, then);
    }

    two.at("/issuer/members").await;
    let key = next_key(&community);
    let details = "article[aria-labelledby=member-xuanwu] details:has(textarea)";
    for (pasted, is_read) in [("no key", false), (key.as_str(), true)] {
        two.first.press(&format!("{details} summary")).await;
        let paste = "document.querySelector('#key-xuanwu').value = arguments[0]";
        two.first.client.execute(paste, vec![pasted.into()]).await.unwrap();
        two.first.accessible("a member's next key").await;
        two.first.follow(&format!("{details} button")).await;
        assert_eq!(two.first.has(".notice.bad").await, !is_read);
    }
    let asked: serde_json::Value = serde_json::from_str(&key).unwrap();
    let next = asked["key"].as_str().unwrap();
    two.consent(&[next]).await;
    let (_, members) = issuer.get("/v1/members").await;
    assert!(members.to_string().contains(next), "{members}");
    two.close(&[400]).await;
}

/// A hospital is cut off while the authority takes a voucher back, and uses it all the same. What each did is put right in pages.
#[tokio::test(flavor = "multi_thread")]
async fn two_persons_put_right_what_a_cut_off_town_did() {
    let root = tempfile::tempdir().unwrap();
    let mut both = Town::found(root.path()).await;
    let other = TestNode::new(root.path(), "renmin", &[Role::Community, Role::Voucher], Some(&both.issuer));
    desk::register(&both.issuer, &other).await;
    let mut used = Phone::with_voucher(&both.town, 1, "E12345670").await;
    let mut moved = Phone::with_voucher(&both.town, 2, "E12345671").await;
    let (voucher, token) = used.book(&both.town).await;
    let wallet = moved.wallet(&both.town).await;
    let stranded = wallet["vouchers"][0]["voucher"].as_str().unwrap().to_owned();
    both.agree().await;
    both.town.kill();
    let two = Two::sign_in(&both.issuer.url).await;

    // In good standing and within its time nothing is taken from anybody; once it is suspended, both ways are open.
    assert!(two.look_up(&voucher).await.contains("xuanwu"));
    assert!(!two.first.has("#handover").await, "a booked voucher is not handed over");
    two.first.follow("#reclaim button").await;
    two.first.find(".notice.bad").await;
    two.member("xuanwu", "suspend", "已暂停").await;
    two.look_up(&voucher).await;
    two.first.follow("#reclaim button").await;
    two.first.find(".notice.good").await;
    assert!(two.first.text("#found").await.contains("已作废"), "what came back is voided by itself");

    let path = format!("/v1/issuer/holders/{}/move", wallet["holder"].as_str().unwrap());
    good(both.issuer.post(&path, &json!({ "community": "renmin", "voucher_module": "renmin" })).await);
    two.look_up(&stranded).await;
    two.first.accessible("what can be taken back").await;
    two.first.follow("#handover button").await;
    two.first.find(".notice.good").await;
    assert!(two.first.text("#found").await.contains("renmin"));
    two.member("xuanwu", "restore", "正常").await;

    // The hospital has heard of nothing and lets the holder in.
    both.issuer.kill();
    both.town.start().await;
    let arrival = json!({ "personal_qr": used.at_hospital(&voucher, false), "voucher_qr": token });
    good(both.town.post("/v1/hospital/visits", &arrival).await);
    both.issuer.start().await;
    // A session does not outlive its node.
    two.first.sign_in(&two.url, "test").await;
    two.second.sign_in(&two.url, SECOND).await;
    let superseded = async || {
        two.look_up(&voucher).await;
        two.first.has("#compensation").await
    };
    eventually("the use is seen as superseded", WITHIN, superseded).await;
    two.first.accessible("a superseded use").await;
    two.first.picture("issuer-superseded-zh-CN").await;
    two.first.fill("#why", "线路中断").await;
    two.first.follow("#compensation button").await;
    two.consent(&[&voucher, "线路中断"]).await;

    // Paid once, not offered twice; then the voucher is settled.
    two.look_up(&voucher).await;
    assert!(!two.first.has("#compensation").await, "it is paid");
    two.first.press("#resolution [value='']").await;
    two.first.select("#void-reason", "issuer-decision").await;
    two.first.follow("#resolution button").await;
    two.consent(&[&voucher, "issuer-decision"]).await;
    assert!(two.look_up(&voucher).await.contains("已作废"));
    two.first.goto(&format!("{}/records/vouchers/{voucher}", two.url)).await;
    two.first.find("#path").await;
    two.first.accessible("a voucher's two ways").await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    two.close(&[409]).await;
}
