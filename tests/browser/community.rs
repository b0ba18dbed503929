//! The community's desk beyond the first visit: another phone, programmes opened since, help for the holder of a card, vouchers
//! given back, a block, and data erased.

use actors::token::{HolderKey, vp1};
use reqwest::Method;
use serde_json::json;

use crate::support::browser::{Browser, Screen};
use crate::support::town::{Phone, Town, WITHIN, good};
use crate::support::{TestNode, desk, eventually};

/// A programme like that of every test, for people of a class.
async fn publish(town: &Town, name: &str, class: &str) {
    let mut programme = desk::programme(name);
    programme["classes"] = json!([class]);
    good(town.issuer.post("/v1/issuer/programmes", &programme).await);
    town.agree().await;
}

/// Opens what is folded up on the page and holds an element, and presses that.
async fn unfold(browser: &Browser, css: &str) {
    browser.press(&format!("details:has({css}) summary")).await;
    browser.follow(css).await;
}

async fn scan_phone(browser: &Browser, phone: &Phone) {
    browser.scan(&phone.keys.sign(vp1::Step::Identify)).await;
}

/// A new phone takes the old one's place, though it has keys for more programmes than its holder is enrolled in.
async fn another_phone(town: &TestNode, browser: &Browser) -> Phone {
    let (old, new) = (Phone::with_voucher(town, 1, "E12345670").await, Phone::new(2));
    let keys = [("checkup", new.keys.checkup.clone()), ("prenatal", HolderKey::ed25519(&[202; 32]))];
    let keys: serde_json::Map<_, _> =
        keys.into_iter().map(|(name, key)| (name.to_owned(), json!(key.public().to_string()))).collect();
    let announced = json!({ "main_key": new.register(), "enrolment_keys": keys });
    good(new.keys.send(town, Method::POST, "/v1/community/registrations", &announced).await);

    browser.scan(&new.register()).await;
    browser.press("details:has(#other-number) summary").await;
    browser.select("#other-type", "passport").await;
    browser.fill("#other-number", "E12345670").await;
    browser.accessible("a phone in the place of another").await;
    browser.picture("community-new-phone-zh-CN").await;
    browser.follow("details:has(#other-number) button").await;
    browser.find(".notice.good").await;
    assert!(browser.text(".person h2").await.starts_with("王**"));
    scan_phone(browser, &old).await;
    browser.find(".verdict.bad").await;
    scan_phone(browser, &new).await;
    browser.find(".person .lines li").await;
    new
}

/// Somebody with a card is helped to an appointment and out of it again, and gets what was opened since with a new card.
async fn with_a_card(town: &Town, browser: &Browser) {
    let person = json!({
        "document_type": "passport", "document_number": "E76543210", "born": "1949-12-31", "sex": "M", "name": "李大明",
        "phone": null, "class": "elderly",
    });
    let made = good(town.town.post("/v1/community/registrations/without-phone", &person).await);
    let card = made["result"]["card"]["text"].as_str().unwrap();
    browser.scan(card).await;
    browser.fill("#seen-checkup", "E76543210").await;
    browser.follow(".person button.big").await;
    browser.find(".sheet .qr-printed").await;
    browser.goto(&format!("{}/desk/community", town.town.url)).await;
    browser.scan(card).await;
    browser.follow("form[action='/desk/community/slots'] button").await;
    let offered = browser.text(".lines li:nth-child(2)").await;
    assert!(offered.contains("老年科 · 周玉珍"), "called by their names: {offered}");
    browser.press(".lines li:nth-child(2) input").await;
    browser.accessible("appointments for who has a card").await;
    browser.follow("form[action='/desk/community/help'] button.main").await;
    browser.find(".notice.good").await;
    let cancel = "form[action='/desk/community/help'] .danger";
    for (awaited, acts) in [(cancel, true), ("form[action='/desk/community/slots'] button", false)] {
        eventually("the card's holder is helped", WITHIN, async || {
            browser.scan(card).await;
            browser.has(awaited).await
        })
        .await;
        if acts {
            browser.follow(awaited).await;
            browser.find(".notice.good").await;
        }
    }

    // What was opened since; then a new card, since the old one has no key for it. The old one is nobody's.
    publish(town, "dental", "elderly").await;
    browser.scan(card).await;
    browser.accessible("a programme opened since").await;
    browser.follow(".person .add").await;
    browser.find(".notice.good").await;
    assert!(!browser.has(".person .add").await && browser.has("#seen-checkup, .person .entitled").await);
    unfold(browser, "form[action='/desk/community/cards'] button").await;
    browser.find(".id-card .qr-printed").await;
    browser.find("[data-print]:not([hidden])").await;
    browser.goto(&format!("{}/desk/community", town.town.url)).await;
    browser.scan(card).await;
    browser.find(".verdict.bad").await;
}

/// Two vouchers go back to the authority. Nothing ticked is said on the same page.
async fn give_back(town: &Town, browser: &Browser) {
    browser.goto(&format!("{}/desk/community/stock", town.town.url)).await;
    let encoded = async || browser.text("thead + tbody .number").await.parse::<u32>().unwrap();
    let before = encoded().await;
    browser.follow("main form button.danger").await;
    browser.find(".verdict.bad").await;
    browser.find("#return-reason").await;
    for row in [1, 2] {
        browser.press(&format!("tr:nth-child({row}) [type=checkbox]")).await;
    }
    browser.select("#return-reason", "not-needed").await;
    browser.accessible("vouchers to give back").await;
    browser.follow("main form button.danger").await;
    browser.find(".notice.good").await;
    assert_eq!(encoded().await, before - 2);
}

/// Blocked: nothing is issued any more. Erased: nobody is found.
async fn block_and_erase(browser: &Browser, phone: &Phone, gone: &Phone) {
    scan_phone(browser, phone).await;
    browser.press("details:has([action$='/block']) summary").await;
    browser.select("[action$='/block'] select", "lost-or-stolen").await;
    browser.accessible("a block").await;
    browser.follow("[action$='/block'] button").await;
    browser.find(".notice.good").await;
    eventually("the block is here", WITHIN, async || {
        scan_phone(browser, phone).await;
        browser.has(".person .entitled .notice.bad").await
    })
    .await;

    scan_phone(browser, gone).await;
    browser.press("details:has([action$='/erasure']) summary").await;
    browser.press("[action$='/erasure'] input[type=checkbox]").await;
    browser.follow("[action$='/erasure'] button").await;
    browser.find(".notice.good").await;
    browser.press("details:has(#doc-number) summary").await;
    browser.select("#doc-type", "passport").await;
    browser.fill("#doc-number", "E12345675").await;
    browser.follow("details:has(#doc-number) button.main").await;
    browser.find(".verdict.bad").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clerk_helps_people_who_are_registered_already() {
    let root = tempfile::tempdir().unwrap();
    let town = Town::found(root.path()).await;
    publish(&town, "prenatal", "pregnant").await;
    let gone = Phone::with_voucher(&town.town, 5, "E12345675").await;
    let browser = Browser::open(Screen::Desk, "zh-CN").await;
    browser.sign_in(&town.town.url, "test").await;
    browser.goto(&format!("{}/desk/community", town.town.url)).await;
    let phone = another_phone(&town.town, &browser).await;
    with_a_card(&town, &browser).await;
    give_back(&town, &browser).await;
    browser.goto(&format!("{}/desk/community", town.town.url)).await;
    block_and_erase(&browser, &phone, &gone).await;
    browser.clean(&town.town.url, &[400, 404, 409]).await;
    browser.close().await;
}
