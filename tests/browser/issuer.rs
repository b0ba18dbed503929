//! A health authority's day: it generates and sends vouchers, reads its figures and keeps them as files; two persons void one.

use std::path::Path;
use std::time::Duration;

use actors::clock::Clock as _;
use actors::token::{HolderKey, VoucherName, vp1};
use domain::ids::VoucherId;
use domain::member::Role;
use domain::time::Millis;
use node::clock::NodeClock;
use serde_json::{Value, json};

use crate::support::browser::{Browser, LANGUAGES, SCREENS, Screen};
use crate::support::phone::Phone;
use crate::support::{SECOND, TestNode, desk, eventually};

/// Most bytes of a page with everything, packed.
const MAX_PAGE_BYTES: u64 = 150 * 1024;

/// An authority and a community, in one federation.
async fn town(root: &Path) -> (TestNode, TestNode) {
    let mut issuer = TestNode::new(root, "health", &[Role::Issuer], None);
    issuer.start().await;
    let community = TestNode::new(root, "xuanwu", &[Role::Community, Role::Voucher], Some(&issuer));
    desk::register(&issuer, &community).await;
    desk::publish(&issuer, "elder-check").await;
    (issuer, community)
}

/// A file as the page's own session gets it: its first bytes as numbers, its text, and its kind.
async fn file(browser: &Browser, css: &str) -> (Vec<u64>, String, String) {
    let get = "const done = arguments[arguments.length - 1];
               fetch(document.querySelector(arguments[0]).href).then(async answer => {
                 const bytes = new Uint8Array(await answer.arrayBuffer());
                 done([[...bytes.slice(0, 4)], new TextDecoder('utf-8').decode(bytes), answer.headers.get('content-type')]);
               });";
    let found = browser.client.execute_async(get, vec![css.into()]).await.unwrap();
    let bytes = found[0].as_array().unwrap().iter().map(|byte| byte.as_u64().unwrap()).collect();
    (bytes, found[1].as_str().unwrap().to_owned(), found[2].as_str().unwrap().to_owned())
}

/// The files of a zip file by their names, unpacked by the browser as an office program would.
async fn unzipped(browser: &Browser, css: &str) -> Value {
    let unzip = "
        const done = arguments[arguments.length - 1];
        const run = async () => {
          const bytes = new Uint8Array(await (await fetch(document.querySelector(arguments[0]).href)).arrayBuffer());
          const view = new DataView(bytes.buffer);
          const [short, long] = [(at) => view.getUint16(at, true), (at) => view.getUint32(at, true)];
          const end = bytes.length - 22;
          const files = {};
          for (let [left, at] = [short(end + 10), long(end + 16)]; left > 0; left -= 1) {
            const name = new TextDecoder().decode(bytes.slice(at + 46, at + 46 + short(at + 28)));
            const start = long(at + 42) + 30 + short(long(at + 42) + 26) + short(long(at + 42) + 28);
            const packed = new Blob([bytes.slice(start, start + long(at + 20))]).stream();
            const plain = short(at + 10) === 8 ? packed.pipeThrough(new DecompressionStream('deflate-raw')) : packed;
            files[name] = await new Response(plain).text();
            at += 46 + short(at + 28) + short(at + 30) + short(at + 32);
          }
          return files;
        };
        run().then(done, error => done(String(error)));";
    browser.client.execute_async(unzip, vec![css.into()]).await.unwrap()
}

/// Every page of the authority can be read, on this screen and in this language.
async fn every_page(browser: &Browser, url: &str, language: &str) {
    for (path, name) in [
        ("/issuer", "figures"),
        ("/issuer/claims", "claims"),
        ("/issuer/supply", "supply"),
        ("/issuer/vouchers", "vouchers"),
        ("/issuer/expiring?days=90", "expiring"),
        ("/issuer/voids", "void"),
        ("/issuer/publications", "publications"),
        ("/issuer/parameters", "parameters"),
        ("/issuer/corrections", "corrections-none"),
        ("/issuer/programmes", "programmes"),
        ("/issuer/programmes/elder-check/changes", "programme"),
        ("/issuer/members", "members"),
        ("/issuer/approvals", "approvals"),
    ] {
        browser.goto(&format!("{url}{path}")).await;
        browser.find("h1").await;
        browser.accessible(path).await;
        assert!(browser.weight().await < MAX_PAGE_BYTES, "{path}");
        browser.picture(&format!("issuer-{name}-{language}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_supplies_a_community_and_reads_its_figures() {
    let root = tempfile::tempdir().unwrap();
    let (issuer, _community) = town(root.path()).await;
    let url = issuer.url.clone();
    let browser = Browser::open(Screen::Desk, "zh-CN").await;
    browser.sign_in(&url, "test").await;
    browser.goto(&format!("{url}/")).await;
    browser.press(".choices a[href='/issuer/supply']").await;

    // Generated in bulk, and one sees it end.
    browser.fill("#generate-count", "1200").await;
    browser.press("form[action='/issuer/supply/generations'] button").await;
    browser.find("#progress .notice.good").await;
    assert!(browser.path().await.starts_with("/issuer/supply/"));
    browser.accessible("the progress").await;
    browser.picture("issuer-progress-zh-CN").await;

    // Sent; more than there are is refused in words.
    browser.press("#progress a.main").await;
    browser.fill("#send-count", "500").await;
    browser.press("form[action='/issuer/supply/dispatches'] button").await;
    browser.find("#progress .notice.good").await;
    browser.press("#progress a.main").await;
    browser.fill("#send-count", "5000").await;
    browser.press("form[action='/issuer/supply/dispatches'] button").await;
    browser.find("#progress .notice.bad").await;

    // The figures, as numbers, bars, tables and files.
    browser.press(".tabs a[href='/issuer']").await;
    let totals = browser.text(".totals").await;
    assert!(totals.contains("1200") && totals.contains("500"), "{totals}");
    assert!(browser.has(".tag.good").await, "the stock adds up");
    let (begins, csv, kind) = file(&browser, "#csv").await;
    assert!(begins.starts_with(&[0xef, 0xbb, 0xbf]) && kind.starts_with("text/csv"), "{begins:?} {kind}");
    assert!(csv.contains("日期,项目,社区,医院,已生成") && csv.contains(",elder-check,xuanwu,,0,500,"), "{csv}");
    let (_, _, kind) = file(&browser, "#xlsx").await;
    assert_eq!(kind, "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet");
    let book = unzipped(&browser, "#xlsx").await;
    assert!(book["xl/sharedStrings.xml"].as_str().unwrap().contains("<t>elder-check</t>"), "{book}");
    assert!(book["xl/worksheets/sheet1.xml"].as_str().unwrap().contains("<v>1200</v>"), "{book}");
    browser.press(".tabs a[href='/issuer/publications']").await;
    browser.press("#publish button").await;
    browser.find(".notice.good").await;
    assert!(browser.text("article .totals").await.contains("1200"));
    browser.clean(&url, &[]).await;
    browser.close().await;

    for screen in SCREENS {
        for language in LANGUAGES {
            let browser = Browser::open(screen, language).await;
            browser.sign_in(&url, "test").await;
            every_page(&browser, &url, language).await;
            browser.clean(&url, &[]).await;
            browser.close().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_persons_void_a_voucher() {
    let root = tempfile::tempdir().unwrap();
    let (issuer, _community) = town(root.path()).await;
    let url = issuer.url.clone();
    let made = json!({ "programme": "elder-check", "count": 1 });
    assert_eq!(issuer.post("/v1/issuer/vouchers", &made).await.0, 201);
    let (_, listed) = issuer.get("/v1/issuer/vouchers").await;
    let voucher = listed["items"][0]["voucher"].as_str().unwrap().to_owned();

    let first = Browser::open(Screen::Desk, "en").await;
    first.sign_in(&url, "test").await;
    first.goto(&format!("{url}/issuer/voids")).await;
    first.fill("#voucher", "no voucher").await;
    first.press("main form button").await;
    first.find(".notice.bad").await;
    first.fill("#voucher", &voucher).await;
    first.press("main form button").await;
    // Who asks cannot consent.
    first.find("article .refuse").await;
    assert!(!first.has(".consent").await);
    first.accessible("what waits").await;
    first.picture("issuer-asked-en").await;

    let second = Browser::open(Screen::Desk, "en").await;
    second.sign_in(&url, SECOND).await;
    second.goto(&format!("{url}/issuer/approvals")).await;
    assert!(second.text("article").await.contains(&voucher));
    second.press(".consent").await;
    second.find(".notice.good").await;
    second.goto(&format!("{url}/records/vouchers/{voucher}")).await;
    let path = second.text("#path").await;
    assert!(path.contains("Generated") && path.contains("Voided"), "{path}");
    first.clean(&url, &[400]).await;
    second.clean(&url, &[]).await;
    first.close().await;
    second.close().await;
}

fn good((status, answer): (u16, Value)) -> Value {
    assert!((200..300).contains(&status), "{status} {answer}");
    answer
}

/// A use that the holder denies and the hospital claims all the same: the voucher waits for an officer.
async fn disputed_claim(issuer: &TestNode, community: &TestNode, hospital: &TestNode) -> String {
    let soon = Duration::from_secs(30);
    let week = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"].map(|weekday| {
        json!({ "department": "imaging", "department_name": "影像科", "doctor": "d-1", "doctor_name": "周", "weekday": weekday,
                "start": "00:00", "end": "24:00", "slot_minutes": 30, "capacity": 5 })
    });
    good(hospital.post("/v1/hospital/schedules", &json!({ "hours": week })).await);
    good(issuer.post("/v1/issuer/vouchers", &json!({ "programme": "checkup", "count": 1 })).await);
    let dispatch = json!({ "community": "xuanwu", "programme": "checkup", "count": 1 });
    good(issuer.post("/v1/issuer/dispatches", &dispatch).await);
    eventually("a voucher is on the shelf", soon, || async {
        community.get("/v1/community/stock/vouchers").await.1["items"].as_array().is_some_and(|v| !v.is_empty())
    })
    .await;
    let phone = Phone { main: HolderKey::ed25519(&[3; 32]), checkup: HolderKey::ed25519(&[4; 32]) };
    let person = json!({
        "document_type": "passport", "document_number": "E12345678", "born": "1949-12-31", "sex": "F", "name": "王秀英",
        "phone": "13900001234", "class": "elderly", "smartphone": true,
    });
    phone.register(community, person).await;
    eventually("the voucher module knows the phone", soon, || async {
        !phone.get(community, "/v1/wallet").await["enrolments"][0]["id"].is_null()
    })
    .await;
    let wallet = phone.get(community, "/v1/wallet").await;
    let enrolment = wallet["enrolments"][0]["id"].as_str().unwrap().parse().unwrap();
    let receive = vp1::Step::Receive { community: "xuanwu".into(), programme: "checkup".into() };
    let issue = json!({ "qr": phone.show(enrolment, receive) });
    let issued = good(community.post("/v1/community/desk/issue", &issue).await);
    let (id, token) = (issued["result"]["voucher"].as_str().unwrap().to_owned(), &issued["result"]["token"]);
    let name = || {
        let id: VoucherId = id.parse().unwrap();
        VoucherName { issuer: id.issuer.to_string(), id: id.uuid }
    };
    let from = NodeClock::real().now() + Millis::minutes(15);
    let slots = format!("/v1/hospital/slots?department=imaging&doctor=d-1&limit=1&from={from}");
    let booking = json!({ "voucher": id, "hospital": "gulou", "department": "imaging", "doctor": "d-1",
                          "start": hospital.get(&slots).await.1["items"][0]["start"] });
    good(phone.send(community, reqwest::Method::POST, "/v1/wallet/bookings", &booking).await);
    let is_at = async |node: &TestNode, stage: &str| {
        node.get(&format!("/v1/vouchers/{id}")).await.1["inside"]["stage"] == stage
    };
    eventually("it is booked", soon, || is_at(hospital, "booked")).await;
    let arrive = phone.show(enrolment, vp1::Step::Arrive { audience: "gulou".into(), voucher: name() });
    good(hospital.post("/v1/hospital/visits", &json!({ "personal_qr": arrive, "voucher_qr": token })).await);
    eventually("the voucher module knows of the use", soon, || is_at(community, "in-use")).await;
    let qr = phone.show(enrolment, vp1::Step::Cancel { audience: "xuanwu".into(), voucher: name() });
    let denial = json!({ "voucher": id, "qr": qr });
    good(phone.send(community, reqwest::Method::POST, "/v1/wallet/disputes", &denial).await);
    eventually("the issuer knows of the denial", soon, || async {
        issuer.folded("xuanwu").await == community.folded("xuanwu").await
    })
    .await;
    let began = NodeClock::real().now();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let complete = phone.show(enrolment, vp1::Step::Complete { audience: "gulou".into(), voucher: name() });
    let items = json!([{ "code": "ct", "done": true, "result": "normal" }]);
    let examination = json!({ "performer": "d-1", "started_at": began, "ended_at": began, "items": items });
    let completion = json!({ "personal_qr": complete, "examination": examination });
    good(hospital.post(&format!("/v1/hospital/visits/{id}/completion"), &completion).await);
    eventually("the first claim is rejected", soon, || is_at(hospital, "rejected")).await;
    good(hospital.post(&format!("/v1/hospital/claims/{id}/answer"), &json!({})).await);
    eventually("the claim waits for an officer", soon, || async {
        issuer.get("/v1/issuer/claims").await.1["items"].as_array().is_some_and(|claims| claims.len() == 1)
    })
    .await;
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn an_officer_decides_a_claim_that_the_holder_denies() {
    let root = tempfile::tempdir().unwrap();
    let mut issuer = TestNode::new(root.path(), "health", &[Role::Issuer], None);
    issuer.start().await;
    let mut community = TestNode::new(root.path(), "xuanwu", &[Role::Community, Role::Voucher], Some(&issuer));
    let mut hospital = TestNode::new(root.path(), "gulou", &[Role::Hospital], Some(&issuer));
    for node in [&mut community, &mut hospital] {
        desk::register(&issuer, node).await;
        node.start().await;
    }
    desk::publish(&issuer, "checkup").await;
    let size = issuer.folded("health").await;
    eventually("the programme is known", Duration::from_secs(30), || async {
        community.folded("health").await >= size && hospital.folded("health").await >= size
    })
    .await;
    let voucher = disputed_claim(&issuer, &community, &hospital).await;

    let browser = Browser::open(Screen::Desk, "zh-CN").await;
    browser.sign_in(&issuer.url, "test").await;
    browser.goto(&format!("{}/issuer/claims", issuer.url)).await;
    let claim = browser.text("article").await;
    assert!(claim.contains(&voucher) && claim.contains("gulou") && claim.contains("imaging"), "{claim}");
    assert!(browser.has("article .tag.bad").await, "that it is denied is seen");
    browser.accessible("a claim").await;
    browser.picture("issuer-claim-zh-CN").await;

    // Rejected with a reason; the hospital reads it on its own page and claims once more; then it is settled.
    browser.press("article summary").await;
    browser.select("article select", "unfounded").await;
    browser.accessible("a claim to be rejected").await;
    browser.follow("article .reject").await;
    browser.find(".notice.good").await;
    browser.goto(&format!("{}/issuer/claims?stage=rejected", issuer.url)).await;
    assert!(browser.text("article").await.contains(&voucher));
    let desk = Browser::open(Screen::Phone, "en").await;
    desk.sign_in(&hospital.url, "test").await;
    eventually("the hospital sees why", Duration::from_secs(30), || async {
        desk.goto(&format!("{}/desk/hospital/claims", hospital.url)).await;
        desk.has(".lines form button.main").await && desk.text(".lines .notice.bad").await.contains("unfounded")
    })
    .await;
    desk.accessible("a rejected claim").await;
    desk.picture("hospital-rejected-en").await;
    desk.follow(".lines form button.main").await;
    desk.find(".notice.good").await;
    desk.clean(&hospital.url, &[]).await;
    desk.close().await;
    eventually("the claim is here again", Duration::from_secs(30), || async {
        browser.goto(&format!("{}/issuer/claims", issuer.url)).await;
        browser.has("article .settle").await
    })
    .await;
    browser.follow("article .settle").await;
    browser.find(".notice.good").await;
    assert!(!browser.has("article").await);
    let (_, view) = issuer.get(&format!("/v1/vouchers/{voucher}")).await;
    assert_eq!(view["inside"]["stage"], "redeemed");
    browser.goto(&format!("{}/issuer", issuer.url)).await;
    browser.find(".chart svg").await;
    browser.picture("issuer-figures-full-zh-CN").await;

    // The holder turns out to be right: two persons give the voucher back.
    browser.goto(&format!("{}/issuer/corrections", issuer.url)).await;
    browser.fill("#voucher", "health.nothing").await;
    browser.press("form[method=get] button").await;
    browser.find(".notice.bad").await;
    browser.fill("#voucher", &voucher).await;
    browser.press("form[method=get] button").await;
    assert!(browser.text("#found").await.contains("已核销"));
    assert!(!browser.has("#resolution").await && !browser.has("#compensation").await, "nothing of that can be done");
    browser.find("#reverse-reason").await.select_by_value("disputed").await.unwrap();
    browser.accessible("corrections").await;
    browser.picture("issuer-corrections-zh-CN").await;
    browser.press("#reversal button").await;
    browser.find("article .refuse").await;
    let second = Browser::open(Screen::Phone, "en").await;
    second.sign_in(&issuer.url, SECOND).await;
    second.goto(&format!("{}/issuer/approvals", issuer.url)).await;
    second.press(".consent").await;
    second.find(".notice.good").await;
    second.clean(&issuer.url, &[]).await;
    second.close().await;
    let (_, view) = issuer.get(&format!("/v1/vouchers/{voucher}")).await;
    assert_eq!(view["inside"]["stage"], "issued", "{view}");
    browser.clean(&issuer.url, &[400, 404]).await;
    browser.close().await;
}
