//! The desks: a phone is registered, known and issued to, a card is printed, and at the hospital the same person comes in, is
//! examined and goes, with the claim settled behind it.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use actors::token::vp1;
use serde_json::json;

use crate::support::browser::{Browser, Screen};
use crate::support::town::{Phone, Town, WITHIN};
use crate::support::{TestNode, eventually};

/// Most bytes of a page with everything, packed.
const MAX_PAGE_BYTES: u64 = 150 * 1024;

/// A film of a code, as a camera would see it: black on white in the middle of a grey desk.
fn film(path: &Path, text: &str) {
    const WIDE: usize = 640;
    const HIGH: usize = 480;
    let svg = node::qr::svg(text, "").unwrap();
    let side: usize = svg.split("viewBox=\"0 0 ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    let dots = (HIGH - 20) / side;
    let (left, top) = ((WIDE - side * dots) / 2, (HIGH - side * dots) / 2);
    let mut grey = vec![150_u8; WIDE * HIGH];
    let mut fill = |x: usize, y: usize, width: usize, value: u8| {
        for row in 0..dots {
            let at = (top + y * dots + row) * WIDE + left + x * dots;
            grey[at..at + width * dots].fill(value);
        }
    };
    (0..side).for_each(|y| fill(0, y, side, 235));
    for place in svg.split("d=\"").nth(1).unwrap().split('"').next().unwrap().split_terminator("h1v1h-1z") {
        let (x, y) = place[1..].split_once(' ').unwrap();
        fill(x.parse().unwrap(), y.parse().unwrap(), 1, 16);
    }
    let mut file = std::fs::File::create(path).unwrap();
    writeln!(file, "YUV4MPEG2 W{WIDE} H{HIGH} F10:1 Ip A1:1 C420mpeg2").unwrap();
    for _ in 0..10 {
        file.write_all(b"FRAME\n").unwrap();
        file.write_all(&grey).unwrap();
        file.write_all(&vec![128; WIDE * HIGH / 2]).unwrap();
    }
}

/// Width and height of a document's pages, in millimetres.
fn pages(pdf: &[u8]) -> Vec<(f64, f64)> {
    let text = String::from_utf8_lossy(pdf);
    let boxes = text.split("/MediaBox").skip(1);
    let numbers = boxes.map(|rest| {
        let inside = rest.split('[').nth(1).unwrap().split(']').next().unwrap();
        inside.split_whitespace().map(|n| n.parse::<f64>().unwrap() / 72.0 * 25.4).collect::<Vec<_>>()
    });
    numbers.map(|corners| (corners[2] - corners[0], corners[3] - corners[1])).collect()
}

/// Registers a phone, sees who it is, issues, prints the sheet; then a card for somebody without a phone.
async fn at_the_community(town: &TestNode, screen: Screen, language: &str, phone: &mut Phone, person: usize) {
    let name = |what: &str| format!("community-{what}-{language}");
    let browser = Browser::open(screen, language).await;
    browser.sign_in(&town.url, "test").await;
    browser.goto(&format!("{}/", town.url)).await;
    browser.press(".choices a[href='/desk/community']").await;
    browser.find("#scan").await;
    browser.accessible("the community's desk").await;
    assert!(browser.weight().await < MAX_PAGE_BYTES);
    browser.picture(&name("desk")).await;

    phone.announce(town).await;
    browser.scan(&phone.register()).await;
    browser.fill("#reg-number", &format!("E1234567{person}")).await;
    let kind = browser.find("#reg-type").await;
    kind.select_by_value("passport").await.unwrap();
    browser.fill("#name", "王秀英").await;
    // A date field is typed as the browser shows it; its value is set as it stands in the form.
    let born = "document.querySelector('#born').value = '1949-12-31'";
    browser.client.execute(born, Vec::new()).await.unwrap();
    browser.find("#sex").await.select_by_value("F").await.unwrap();
    browser.find("#class").await.select_by_value("elderly").await.unwrap();
    browser.accessible("a phone is registered").await;
    browser.picture(&name("register")).await;
    browser.press("button.big").await;
    browser.find(".notice.good").await;
    assert!(browser.text(".person h2").await.starts_with("王**"), "masked");
    phone.until(town, "the phone finds itself", |wallet| !wallet["enrolments"][0]["id"].is_null()).await;

    // Somebody else's picture says so, in plain words.
    browser.scan("https://elsewhere.example/").await;
    browser.find(".verdict.bad").await;
    browser.accessible("a wrong picture").await;
    browser.picture(&name("wrong")).await;

    browser.scan(&phone.keys.sign(vp1::Step::Identify)).await;
    browser.find(".person").await;
    is_seen(&browser, ".person h2").await;
    browser.picture(&name("identified")).await;

    let receive = vp1::Step::Receive { community: "xuanwu".into(), programme: "checkup".into() };
    browser.scan(&phone.by_enrolment(receive)).await;
    browser.find(".person button.big").await;
    browser.accessible("who it is").await;
    browser.picture(&name("person")).await;
    browser.press(".person button.big").await;
    browser.find(".sheet .qr-printed").await;
    browser.accessible("the voucher's sheet").await;
    browser.picture(&name("sheet")).await;
    let sheet = browser.print_sized().await;
    let sizes = pages(&sheet);
    assert_eq!(sizes.len(), 1, "{sizes:?}");
    phone.until(town, "the voucher is on the phone", |wallet| !wallet["vouchers"][0].is_null()).await;

    // Without a phone: the card is as large as a bank card.
    browser.goto(&format!("{}/desk/community/register", town.url)).await;
    browser.find("#document-type").await.select_by_value("passport").await.unwrap();
    browser.fill("#document-number", &format!("E7654321{person}")).await;
    browser.fill("#name", "李大明").await;
    browser.client.execute(born, Vec::new()).await.unwrap();
    browser.find("#sex").await.select_by_value("M").await.unwrap();
    browser.find("#class").await.select_by_value("elderly").await.unwrap();
    browser.accessible("somebody without a phone").await;
    browser.press("main form button.main").await;
    browser.find(".id-card .qr-printed").await;
    browser.accessible("the card").await;
    browser.picture(&name("card")).await;
    let card = browser.print_sized().await;
    let sizes = pages(&card);
    assert_eq!(sizes.len(), 1, "{sizes:?}");
    assert!((sizes[0].0 - 85.6).abs() < 0.5 && (sizes[0].1 - 54.0).abs() < 0.5, "{sizes:?}");
    browser.keep(&name("card.pdf"), &card);
    browser.keep(&name("sheet.pdf"), &sheet);

    let digits = browser.text(".id-card-digits").await;
    browser.goto(&format!("{}/desk/community", town.url)).await;
    browser.scan(&digits).await;
    assert!(browser.text(".person h2").await.starts_with("李**"));
    browser.goto(&format!("{}/desk/community/stock", town.url)).await;
    browser.find("table").await;
    browser.accessible("the stock").await;
    browser.picture(&name("stock")).await;
    browser.clean(&town.url, &[409, 404]).await;
    browser.close().await;
}

async fn at_the_hospital(town: &Town, screen: Screen, language: &str, phone: &mut Phone) {
    let Town { town, issuer } = town;
    let name = |what: &str| format!("hospital-{what}-{language}");
    let (voucher, token) = phone.book(town).await;
    let browser = Browser::open(screen, language).await;
    browser.sign_in(&town.url, "test").await;
    browser.goto(&format!("{}/desk/hospital", town.url)).await;
    browser.find("#scan").await;
    browser.accessible("the hospital's desk").await;
    assert!(browser.weight().await < MAX_PAGE_BYTES);
    browser.picture(&name("desk")).await;

    // A picture that somebody else signed: red, with the reason.
    let stranger = Phone { enrolment: phone.enrolment, ..Phone::new(77) };
    browser.scan(&stranger.at_hospital(&voucher, false)).await;
    browser.scan(&token).await;
    browser.find(".verdict.bad").await;
    assert!(!browser.text(".verdict-what").await.is_empty());
    is_seen(&browser, ".verdict").await;
    browser.accessible("a wrong picture").await;
    browser.picture(&name("red")).await;

    // The voucher alone: whether it can be used; then the person.
    browser.scan(&token).await;
    browser.find(".verdict.good").await;
    browser.picture(&name("checked")).await;
    browser.scan(&phone.at_hospital(&voucher, false)).await;
    browser.find("#performer").await;
    browser.find(".verdict.good").await;
    is_seen(&browser, ".verdict").await;
    browser.accessible("let in").await;
    browser.picture(&name("green")).await;

    tokio::time::sleep(Duration::from_millis(1_500)).await;
    browser.fill("#result-1", "正常").await;
    browser.scan(&phone.at_hospital(&voucher, true)).await;
    browser.find("main .verdict.good").await;
    assert!(!browser.has("#performer").await, "{}", browser.text("main").await);
    browser.picture(&name("completed")).await;

    // The claim goes by itself, and the issuer settles it.
    let settled = async || {
        let (_, seen) = issuer.get(&format!("/v1/vouchers/{voucher}")).await;
        seen.to_string().contains("redeemed")
    };
    eventually("the claim is settled", WITHIN, settled).await;
    eventually("the hospital shows it", WITHIN, || async {
        browser.goto(&format!("{}/desk/hospital/claims", town.url)).await;
        let stage = browser.text(".line-stage").await;
        stage == if language == "en" { "Redeemed" } else { "已核销" }
    })
    .await;
    browser.accessible("claims").await;
    browser.picture(&name("claims")).await;
    browser.goto(&format!("{}/desk/hospital/hours", town.url)).await;
    browser.find(".lines").await;
    browser.accessible("hours").await;
    browser.picture(&name("hours")).await;
    without_hours(&browser).await;
    browser.clean(&town.url, &[409, 404, 422]).await;
    browser.close().await;
}

/// An element lies within the window, wherever the focus has gone.
async fn is_seen(browser: &Browser, css: &str) {
    let script = "
        const { top, bottom } = document.querySelector(arguments[0]).getBoundingClientRect();
        return [top, bottom, innerHeight];";
    let found = browser.client.execute(script, vec![json!(css)]).await.unwrap();
    let [top, bottom, window] = [0, 1, 2].map(|n| found[n].as_f64().unwrap());
    assert!(0.0 <= top && bottom <= window, "{css} is from {top} to {bottom} of {window}");
}

/// On the page of the hours: a day without them is added for one doctor, and taken back.
async fn without_hours(browser: &Browser) {
    let script = "
        const day = new Date(Date.now() + 40 * 24 * 3600 * 1000).toISOString().slice(0, 10);
        document.querySelector('#day').value = day;
        return day;";
    let day = browser.client.execute(script, Vec::new()).await.unwrap();
    let day = day.as_str().unwrap();
    browser.find("#only-doctor").await.select_by_index(1).await.unwrap();
    browser.press("#add-closure button").await;
    browser.find(&format!("#closures a[href$='{day}']")).await;
    browser.accessible("days without hours").await;
    browser.press("#closures button").await;
    eventually("the day is taken back", WITHIN, async || !browser.has("#closures").await).await;
    browser.find(".notice.good").await;
}

/// The camera in the page reads the code that a phone shows.
async fn by_camera(town: &TestNode, phone: &Phone, dir: &Path) {
    let path = dir.join("code.y4m");
    film(&path, &phone.keys.sign(vp1::Step::Identify));
    let browser = Browser::with_camera(Screen::Phone, "zh-CN", Some(&path)).await;
    browser.sign_in(&town.url, "test").await;
    browser.goto(&format!("{}/desk/community", town.url)).await;
    browser.press("[data-scan-camera]").await;
    assert!(browser.text(".person h2").await.starts_with("王**"));
    browser.picture("community-camera-zh-CN").await;
    browser.clean(&town.url, &[]).await;
    browser.close().await;
}

/// The desks' own node stops: the page that is open says what to write on paper, and what was typed stays. It is sent once the node
/// is there again.
async fn node_down(town: &mut TestNode) {
    let mut desks = Vec::new();
    for (desk, screen, language, paper) in
        [("hospital", Screen::Desk, "zh-CN", "纸"), ("community", Screen::Phone, "en", "paper")]
    {
        let browser = Browser::open(screen, language).await;
        browser.sign_in(&town.url, "test").await;
        browser.goto(&format!("{}/desk/{desk}", town.url)).await;
        browser.find("#scan").await;
        desks.push((desk, language, paper, browser));
    }
    town.kill();
    for (desk, language, paper, browser) in &desks {
        browser.types("VP1:SOMETHING").await;
        browser.until("[data-node-down]:not([hidden])", paper).await;
        let typed = browser.find("#scan").await.prop("value").await.unwrap();
        assert_eq!(typed.as_deref(), Some("VP1:SOMETHING"));
        browser.accessible("the node is down").await;
        browser.picture(&format!("{desk}-down-{language}")).await;
    }
    town.start().await;
    for (desk, _, _, browser) in desks {
        eventually("the page sees that the node is there", WITHIN, async || {
            browser.has("[data-node-down][hidden]").await
        })
        .await;
        browser.follow(".scan-row button").await;
        // Sessions are over with their node: whoever signs in again is back at the desk.
        browser.find("#password").await;
        assert_eq!(browser.path().await, format!("/sign-in?next=%2Fdesk%2F{desk}"));
        browser.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_goes_from_the_communitys_desk_to_the_hospitals() {
    let root = tempfile::tempdir().unwrap();
    let mut town = Town::found(root.path()).await;
    for (person, (screen, language)) in [(Screen::Desk, "zh-CN"), (Screen::Phone, "en")].into_iter().enumerate() {
        let mut phone = Phone::new(u8::try_from(person).unwrap() + 1);
        at_the_community(&town.town, screen, language, &mut phone, person).await;
        at_the_hospital(&town, screen, language, &mut phone).await;
        if person == 0 {
            by_camera(&town.town, &phone, root.path()).await;
        }
    }

    // Others are away: the desk goes on, and says how old its knowledge of them is.
    town.issuer.kill();
    let browser = Browser::open(Screen::Phone, "en").await;
    browser.sign_in(&town.town.url, "test").await;
    eventually("the desk says that the issuer is away", WITHIN, || async {
        browser.goto(&format!("{}/desk/hospital", town.town.url)).await;
        browser.has("main > .notice:not(.good):not(.bad)").await
    })
    .await;
    browser.accessible("others are away").await;
    browser.picture("hospital-away-en").await;
    browser.close().await;
    node_down(&mut town.town).await;
}
