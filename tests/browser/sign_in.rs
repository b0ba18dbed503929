//! Signing in and out, the language, and what a refusal looks like.

use domain::member::Role;

use crate::support::TestNode;
use crate::support::browser::{Browser, LANGUAGES, SCREENS, Screen};

/// Most bytes of a page with everything, packed.
const MAX_PAGE_BYTES: u64 = 150 * 1024;

async fn story(node: &TestNode, url: &str, screen: Screen, language: &str) {
    let browser = Browser::open(screen, language).await;
    let other = if language == "en" { "zh-CN" } else { "en" };
    let lang = async || browser.client.execute("return document.documentElement.lang", Vec::new()).await.unwrap();

    // Whoever opens a page that needs an account signs in first, in the language of the browser.
    browser.goto(&format!("{url}/password")).await;
    assert_eq!(browser.path().await, "/sign-in?next=%2Fpassword");
    assert_eq!(lang().await, language);
    browser.accessible("the sign-in").await;
    assert!(browser.weight().await < MAX_PAGE_BYTES);
    browser.picture(&format!("sign-in-{language}")).await;

    // A wrong password is said in words.
    browser.fill("#name", "test").await;
    browser.fill("#password", "not the password").await;
    browser.press("main button").await;
    assert!(!browser.text(".notice.bad").await.is_empty());
    browser.accessible("a wrong password").await;
    browser.picture(&format!("sign-in-wrong-{language}")).await;

    // The other language and back, without a script.
    browser.press(&format!(".languages [lang={other}]")).await;
    browser.find(&format!("html[lang={other}]")).await;
    browser.press(&format!(".languages [lang={language}]")).await;
    browser.find(&format!("html[lang={language}]")).await;

    // In, and the start page offers what this account may.
    browser.sign_in(url, "test").await;
    browser.goto(&format!("{url}/")).await;
    browser.find(".choices a[href='/password']").await;
    assert!(!browser.has(".choices a[href='/sign-in']").await);
    assert!(browser.print().await.starts_with(b"%PDF-"));
    browser.accessible("the start page").await;
    assert!(browser.weight().await < MAX_PAGE_BYTES);
    browser.picture(&format!("start-{language}")).await;
    browser.press(".choices a[href='/password']").await;
    browser.find("#new").await;
    browser.accessible("another password").await;
    browser.picture(&format!("password-{language}")).await;

    // What is not there is said as a page too.
    browser.goto(&format!("{url}/no/such/page")).await;
    browser.find(".notice.bad").await;
    browser.accessible("not found").await;
    browser.picture(&format!("not-found-{language}")).await;

    // Out: nothing opens any more.
    browser.press(".home").await;
    browser.press(".account button").await;
    browser.find("#password").await;
    browser.goto(&format!("{url}/password")).await;
    assert_eq!(browser.path().await, "/sign-in?next=%2Fpassword", "{}", node.log());
    browser.clean(url, &[401, 404]).await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_signs_in_on_every_screen_and_in_both_languages() {
    let root = tempfile::tempdir().unwrap();
    let mut node = TestNode::protected(root.path(), "health", &[Role::Issuer], None);
    node.start().await;
    for screen in SCREENS {
        for language in LANGUAGES {
            story(&node, &node.peer_url(), screen, language).await;
        }
    }
}

/// Where the node is on the same machine, as in the demo, there is no TLS, and browsers keep the session all the same.
#[tokio::test(flavor = "multi_thread")]
async fn an_operator_signs_in_at_the_door_of_this_machine() {
    let root = tempfile::tempdir().unwrap();
    let mut node = TestNode::new(root.path(), "health", &[Role::Issuer], None);
    node.start().await;
    story(&node, &node.url, Screen::Desk, "zh-CN").await;
}
