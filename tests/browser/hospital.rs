//! The hospital's desk beyond an arrival: a use undone, a booking let go, somebody who did not come, and the doctors' hours.

use std::time::Duration;

use crate::support::browser::{Browser, Screen};
use crate::support::eventually;
use crate::support::town::{Phone, Town, WITHIN};

/// The desk's page of the day on which the next appointments are: around midnight that is tomorrow.
async fn list(browser: &Browser, url: &str) {
    browser.goto(&format!("{url}/desk/hospital")).await;
    if !browser.has(".lines li").await {
        browser.follow("a[href^='/desk/hospital?day=']:last-of-type").await;
    }
}

/// What stands on the list about a voucher.
fn line(voucher: &str) -> String {
    format!("li:has([action*='{voucher}'], [href*='{voucher}'])")
}

/// Let in by mistake: the use is undone, and the booking stands again.
async fn undo(browser: &Browser, url: &str, voucher: &str) {
    browser.goto(&format!("{url}/desk/hospital/visits")).await;
    browser.follow(&format!(".lines a[href$='{voucher}']")).await;
    browser.press("details:has(#undo-reason) summary").await;
    browser.select("#undo-reason", "desk-error").await;
    browser.accessible("a use to undo").await;
    browser.follow("details:has(#undo-reason) button").await;
    browser.find(".notice.good").await;
    list(browser, url).await;
    assert_eq!(browser.text(&format!("{} .line-stage", line(voucher))).await, "Booked");
}

/// The hours of another doctor, added and taken back. What contradicts itself stays in its fields, with what is wrong.
async fn hours(browser: &Browser, url: &str) {
    browser.goto(&format!("{url}/desk/hospital/hours")).await;
    let rows = async || browser.client.find_all(fantoccini::Locator::Css("main > .lines > li")).await.unwrap().len();
    let before = rows().await;
    for (end, is_taken) in [("07:00", false), ("12:00", true)] {
        for (field, text) in
            [("department", "imaging"), ("department-name", "影像科"), ("doctor", "gl-2002"), ("doctor-name", "钱进")]
        {
            browser.fill(&format!("#{field}"), text).await;
        }
        // A field for the time is typed as the browser shows it; its value is set as it stands in the form.
        let times =
            "document.querySelector('#start').value = '08:00'; document.querySelector('#end').value = arguments[0];";
        browser.client.execute(times, vec![end.into()]).await.unwrap();
        browser.follow("#add-hours button").await;
        assert_eq!(browser.has(".verdict.bad").await, !is_taken, "until {end}");
        assert_eq!(rows().await, before + usize::from(is_taken));
    }
    browser.accessible("hours").await;
    let last = format!("main > .lines > li:nth-child({}) button", before + 1);
    browser.follow(&last).await;
    assert_eq!(rows().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receptionist_puts_the_days_list_right() {
    let root = tempfile::tempdir().unwrap();
    let town = Town::with_clock(root.path()).await;
    let url = &town.town.url;
    let mut waits = Phone::with_voucher(&town.town, 1, "E12345670").await;
    let mut comes = Phone::with_voucher(&town.town, 2, "E12345671").await;
    let (let_go, _) = waits.book(&town.town).await;
    let missed = comes.inside(&town.town).await;
    let browser = Browser::open(Screen::Phone, "en").await;
    browser.sign_in(url, "test").await;
    hours(&browser, url).await;
    undo(&browser, url, &missed).await;

    // The hospital cannot keep a booking: its holder books again.
    browser.accessible("the day's list").await;
    browser.follow(&format!("{} [action$='/release'] button", line(&let_go))).await;
    browser.find(".notice.good").await;
    waits.until(&town.town, "free again", |wallet| wallet["vouchers"][0]["stage"] == "issued").await;

    // Nobody is missed before their time is over. Then it is noted, once.
    list(&browser, url).await;
    let no_show = format!("{} [action$='/no-show'] button", line(&missed));
    assert!(!browser.has(&no_show).await);
    town.pass(Duration::from_secs(50 * 60)).await;
    // Meanwhile the session is over.
    browser.sign_in(url, "test").await;
    eventually("the appointment is over", WITHIN, async || {
        list(&browser, url).await;
        browser.has(&no_show).await
    })
    .await;
    browser.picture("hospital-no-show-en").await;
    browser.follow(&no_show).await;
    browser.find(".notice.good").await;
    list(&browser, url).await;
    assert!(!browser.has(&no_show).await);
    assert!(browser.text(&line(&missed)).await.contains("did not come"));
    browser.clean(url, &[400, 409, 422]).await;
    browser.close().await;
}
