//! The terminal on an older phone: keys of the second kind, a programme opened after its first run, and everything erased.

use actors::token::{PublicKey, vp1};
use serde_json::json;

use crate::support::browser::{Browser, Screen};
use crate::support::town::{Town, WITHIN, good};
use crate::support::{desk, eventually};

/// The shown screen's code.
const CODE: &str = "section:not([hidden]) .place canvas";

/// A browser as it was before Ed25519 came to WebCrypto.
const OLDER: &str = "
    const make = crypto.subtle.generateKey.bind(crypto.subtle);
    crypto.subtle.generateKey = async (kind, ...more) => {
      if ((kind.name ?? kind) === 'Ed25519') throw new DOMException('Algorithm: Unrecognized name', 'NotSupportedError');
      return make(kind, ...more);
    };";

/// Registered at the community's desk with what the phone shows.
async fn register(town: &Town, phone: &Browser) -> PublicKey {
    let shown = phone.read_code(CODE).await;
    let main = *vp1::parse(&shown).unwrap().proven_key().unwrap();
    let person = json!({
        "document_type": "passport", "document_number": "E12345670", "name": "王秀英", "born": "1949-12-31", "sex": "F",
        "phone": null, "class": "elderly", "qr": shown,
    });
    let path = format!("/v1/community/registrations/{}/completion", hex::encode(main.thumbprint()));
    good(town.town.post(&path, &person).await);
    main
}

/// A programme is opened, and the community has vouchers of it.
async fn open_another(town: &Town) {
    let mut programme = desk::programme("dental");
    (programme["title_zh"], programme["title_en"]) = (json!("口腔检查券"), json!("Dental check"));
    good(town.issuer.post("/v1/issuer/programmes", &programme).await);
    town.agree().await;
    for (path, body) in [
        ("/v1/issuer/vouchers", json!({ "programme": "dental", "count": 2 })),
        ("/v1/issuer/dispatches", json!({ "programme": "dental", "count": 2, "community": "xuanwu" })),
    ] {
        good(town.issuer.post(path, &body).await);
    }
    eventually("there are vouchers of it", WITHIN, async || {
        let (_, stock) = town.town.get("/v1/community/stock").await;
        stock["items"].as_array().unwrap().iter().any(|line| line["programme"] == "dental" && line["encoded"] == 2)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_phone_gets_a_programme_that_was_opened_later() {
    let root = tempfile::tempdir().unwrap();
    let town = Town::found(root.path()).await;
    let url = &town.town.url;
    let phone = Browser::open(Screen::Phone, "en").await;
    phone.devtools("Page.addScriptToEvaluateOnNewDocument", json!({ "source": OLDER })).await;
    phone.goto(&format!("{url}/terminal")).await;
    phone.find("#community option").await;
    phone.press("#begin").await;
    phone.find("#screen-register:not([hidden]) .place canvas").await;
    let main = register(&town, &phone).await;
    assert!(main.to_string().starts_with("es256:"), "{main}");
    phone.find("#screen-home:not([hidden]) .place canvas").await;

    // At the desk, before the phone has said anything: the clerk reads what the holder must press.
    open_another(&town).await;
    let desk = Browser::open(Screen::Desk, "en").await;
    desk.sign_in(url, "test").await;
    desk.goto(&format!("{url}/desk/community")).await;
    let identify = phone.read_code(CODE).await;
    assert!(vp1::parse(&identify).unwrap().verify(&main));
    desk.scan(&identify).await;
    assert!(desk.text(".person").await.contains("Dental check"));
    assert!(!desk.has(".person .add").await);
    desk.accessible("a programme without keys").await;

    // The holder presses so; the desk scans again, adds it, and the phone has it by itself.
    phone.press("#to-receive").await;
    eventually("the desk may add it", WITHIN, async || {
        let receive = phone.read_code(CODE).await;
        desk.scan(&receive).await;
        desk.has(".person .add").await
    })
    .await;
    desk.accessible("a programme to add").await;
    desk.picture("community-opened-since-en").await;
    desk.follow(".person .add").await;
    desk.find(".notice.good").await;
    assert!(!desk.has(".person .add").await);
    phone.find("#programmes li:nth-child(2) button").await;
    phone.accessible("which voucher").await;
    phone.picture("terminal-which-en").await;
    let dental = "#programmes li:has(button)";
    assert!(phone.text("#programmes").await.contains("Dental check"));
    let last = if phone.text(&format!("{dental}:last-child")).await.contains("Dental") { "last" } else { "first" };
    phone.press(&format!("{dental}:{last}-child button")).await;
    phone.until("#screen-receive .line", "Dental check").await;
    desk.scan(&phone.read_code(CODE).await).await;
    desk.follow(".person button.big").await;
    desk.find(".sheet .qr-printed").await;
    phone.until("#vouchers", "Dental check").await;

    // Everything erased, everywhere: the phone begins anew, and the desk knows nobody.
    phone.press("a[href='#/data']").await;
    phone.press("#erase-everywhere").await;
    phone.accessible("erasing everywhere").await;
    phone.press("#sure [value=yes]").await;
    phone.find("#screen-first:not([hidden])").await;
    phone.until("#said", "rased").await;
    eventually("the desk knows nobody", WITHIN, async || {
        desk.goto(&format!("{url}/desk/community")).await;
        desk.press("details:has(#doc-number) summary").await;
        desk.select("#doc-type", "passport").await;
        desk.fill("#doc-number", "E12345670").await;
        desk.follow("details:has(#doc-number) button.main").await;
        desk.has(".verdict.bad").await
    })
    .await;
    phone.clean(url, &[401]).await;
    desk.clean(url, &[404, 409]).await;
    phone.close().await;
    desk.close().await;
}
