//! What each page weighs, which is held to a limit, and how soon it is there, which is only printed: a busy machine is no fault.
//! The figures of docs/performance.md come from here.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::browser::{Browser, Screen};
use crate::support::town::{Phone, Town};

/// Most bytes of a page with everything, packed.
const MAX_PAGE_BYTES: u64 = 150 * 1024;

/// How often each page is asked for.
const ASKED: usize = 20;

/// How often the terminal is opened.
const OPENINGS: usize = 3;

/// Every kind of page, by whose node has it.
const PAGES: [(&str, &[&str]); 2] = [
    (
        "health",
        &[
            "/",
            "/password",
            "/issuer",
            "/issuer/claims",
            "/issuer/supply",
            "/issuer/vouchers",
            "/issuer/expiring",
            "/issuer/voids",
            "/issuer/corrections",
            "/issuer/publications",
            "/issuer/programmes",
            "/issuer/programmes/new",
            "/issuer/members",
            "/issuer/parameters",
            "/issuer/approvals",
            "/records",
        ],
    ),
    (
        "xuanwu",
        &[
            "/desk/community",
            "/desk/community/register",
            "/desk/community/stock",
            "/desk/hospital",
            "/desk/hospital/visits",
            "/desk/hospital/claims",
            "/desk/hospital/hours",
            "/terminal",
        ],
    ),
];

/// The median of the times in which a node answers with a page, without the network.
async fn answer_time(url: &str, cookie: &str) -> Duration {
    let client = reqwest::Client::new();
    let mut times = Vec::new();
    for _ in 0..ASKED {
        let asked = client.get(url).header("Accept", "text/html").header("Cookie", cookie);
        let began = Instant::now();
        let answer = asked.send().await.unwrap();
        assert_eq!(answer.status(), 200, "{url}");
        answer.bytes().await.unwrap();
        times.push(began.elapsed());
    }
    times.sort_unstable();
    times[ASKED / 2]
}

/// How long after opening the code is drawn on a slow phone in a slow network: the first time, with nothing kept, and later.
async fn code_on_a_slow_phone(town: &Town) {
    let browser = Browser::open(Screen::Phone, "en").await;
    let url = format!("{}/terminal", town.town.url);
    browser.devtools("Emulation.setCPUThrottlingRate", json!({ "rate": 4 })).await;
    browser.devtools("Network.enable", json!({})).await;
    let (down, up) = (1_600_000 / 8, 750_000 / 8);
    let slow = json!({ "offline": false, "latency": 150, "downloadThroughput": down, "uploadThroughput": up });
    browser.devtools("Network.emulateNetworkConditions", slow).await;
    browser.goto(&url).await;
    browser.find("#community option").await;
    let ready = "return Math.round(performance.getEntriesByType('resource').reduce((last, one) => Math.max(last, one.responseEnd), 0));";
    let first = browser.client.execute(ready, Vec::new()).await.unwrap();
    browser.press("#begin").await;
    browser.find("#screen-register:not([hidden]) .place canvas").await;
    let mut later = Vec::new();
    for _ in 0..OPENINGS {
        browser.goto("about:blank").await;
        browser.goto(&url).await;
        browser.find("#screen-register:not([hidden]) .place canvas").await;
        let drawn = "return Math.round(performance.getEntriesByName('code-drawn')[0]?.startTime ?? -1);";
        later.push(browser.client.execute(drawn, Vec::new()).await.unwrap());
    }
    println!(
        "a phone 4 times slower, 150 ms, 1.6 Mbit/s: all that the first run needs after {first} ms, the code of each later opening after {later:?} ms"
    );
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_is_light() {
    let root = tempfile::tempdir().unwrap();
    let town = Town::found(root.path()).await;
    Phone::with_voucher(&town.town, 1, "E12345670").await.inside(&town.town).await;
    let browser = Browser::open(Screen::Phone, "zh-CN").await;
    println!("{:<28} {:>9} {:>9}", "page", "KiB", "ms");
    for (id, paths) in PAGES {
        let url = if id == "health" { &town.issuer.url } else { &town.town.url };
        browser.sign_in(url, "test").await;
        let cookies = browser.client.get_all_cookies().await.unwrap();
        let cookies = cookies.iter().map(|cookie| format!("{}={}", cookie.name(), cookie.value()));
        let cookies = cookies.collect::<Vec<_>>().join("; ");
        for path in paths {
            browser.goto(&format!("{url}{path}")).await;
            browser.find("h1").await;
            let bytes = browser.weight().await;
            assert!((1..MAX_PAGE_BYTES).contains(&bytes), "{path}: {bytes}");
            let millis = answer_time(&format!("{url}{path}"), &cookies).await.as_secs_f64() * 1e3;
            println!("{path:<28} {:>9.1} {millis:>9.1}", bytes as f64 / 1024.0);
        }
        browser.goto(&format!("{url}/")).await;
        browser.follow(".account button").await;
    }
    browser.close().await;
    code_on_a_slow_phone(&town).await;
}
