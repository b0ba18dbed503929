//! A real browser for tests of pages: Debian's chromium, driven by chromedriver (`scripts/test` installs both).
//!
//! What a page must never do is looked at after each story ([`Browser::clean`]): break its policy, ask another host, fail in a
//! script. What somebody who cannot see well would meet is what axe-core finds ([`Browser::accessible`]).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fantoccini::wd::{Capabilities, WebDriverCompatibleCommand};
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};

use super::{PASSWORD, free_port};

/// How long the driver may take to start, and a page to show something.
const WITHIN: Duration = Duration::from_secs(20);

/// A screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Screen {
    /// A cheap phone: 360 x 740 points, two dots to a point, touched.
    Phone,
    /// A desk.
    Desk,
}

/// Both.
pub const SCREENS: [Screen; 2] = [Screen::Phone, Screen::Desk];

/// The languages of pages.
pub const LANGUAGES: [&str; 2] = ["zh-CN", "en"];

/// A browser of its own, with nothing remembered.
pub struct Browser {
    pub client: Client,
    pub screen: Screen,
    driver: Child,
    /// The browser's process: it outlives its driver.
    process: Option<u64>,
    /// Profile and logs.
    dir: tempfile::TempDir,
}

/// What axe-core is read from: `scripts/test` brings it (tests/browser/package-lock.json).
fn axe() -> String {
    let target = super::program().ancestors().nth(2).unwrap().to_owned();
    let path = target.join("browser/node_modules/axe-core/axe.min.js");
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}; run scripts/test once", path.display()))
}

impl Browser {
    /// Opens one whose camera shows nothing.
    pub async fn open(screen: Screen, language: &str) -> Self {
        Self::with_camera(screen, language, None).await
    }

    /// Opens one whose camera shows a film: a `.y4m` or `.mjpeg` file.
    pub async fn with_camera(screen: Screen, language: &str, film: Option<&Path>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let log = std::fs::File::create(dir.path().join("driver.log")).unwrap();
        let mut driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .expect("chromedriver is installed by scripts/test (Debian: chromium chromium-driver)");
        let began = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(began.elapsed() < WITHIN && driver.try_wait().unwrap().is_none(), "chromedriver does not start");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let capabilities = capabilities(screen, language, dir.path(), film);
        let mut builder = ClientBuilder::new(HttpConnector::new());
        let client = builder.capabilities(capabilities).connect(&format!("http://127.0.0.1:{port}")).await;
        let client = match client {
            Ok(client) => client,
            Err(error) => {
                let _ = driver.kill();
                let told = std::fs::read_to_string(dir.path().join("driver.log")).unwrap_or_default();
                panic!("chromium does not start: {error}\n{told}");
            }
        };
        let process = client.capabilities().and_then(|all| all.get("goog:processID")?.as_u64());
        let browser = Self { client, screen, driver, process, dir };
        // What it shows by itself when it starts is not looked at.
        browser.goto("about:blank").await;
        browser.log("browser").await;
        browser.log("performance").await;
        browser
    }

    /// Goes to an address.
    pub async fn goto(&self, url: &str) {
        self.client.goto(url).await.unwrap();
    }

    /// Where it is, without host and port.
    pub async fn path(&self) -> String {
        let url = self.client.current_url().await.unwrap();
        url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()))
    }

    /// Waits for an element.
    pub async fn find(&self, css: &str) -> fantoccini::elements::Element {
        let found = self.client.wait().at_most(WITHIN).for_element(Locator::Css(css)).await;
        match found {
            Ok(element) => element,
            Err(error) => panic!("{css}: {error}\n{}", self.client.source().await.unwrap_or_default()),
        }
    }

    /// Whether there is such an element now.
    pub async fn has(&self, css: &str) -> bool {
        !self.client.find_all(Locator::Css(css)).await.unwrap().is_empty()
    }

    /// Presses something.
    pub async fn press(&self, css: &str) {
        self.find(css).await.click().await.unwrap_or_else(|error| panic!("{css}: {error}"));
    }

    /// Types into a field.
    pub async fn fill(&self, css: &str, text: &str) {
        let field = self.find(css).await;
        field.clear().await.unwrap();
        field.send_keys(text).await.unwrap();
    }

    /// What is written in an element.
    pub async fn text(&self, css: &str) -> String {
        self.find(css).await.text().await.unwrap()
    }

    /// A hand scanner: it types, and sends Enter.
    pub async fn types(&self, text: &str) {
        self.fill("#scan", &format!("{text}\u{E007}")).await;
    }

    /// The same, until the page that follows is there.
    pub async fn scan(&self, text: &str) {
        self.mark().await;
        self.types(text).await;
        self.find("html:not([data-before]) main").await;
    }

    /// Presses what leads to another page, also to the same once more, and waits for it.
    pub async fn follow(&self, css: &str) {
        self.mark().await;
        self.press(css).await;
        self.find("html:not([data-before]) main").await;
    }

    async fn mark(&self) {
        self.client.execute("document.documentElement.dataset.before = '1'", Vec::new()).await.unwrap();
    }

    /// Chooses in a list.
    pub async fn select(&self, css: &str, value: &str) {
        self.find(css).await.select_by_value(value).await.unwrap_or_else(|error| panic!("{css}: {error}"));
    }

    /// Signs in as an account of a test node, on its page.
    pub async fn sign_in(&self, url: &str, account: &str) {
        self.goto(&format!("{url}/sign-in")).await;
        self.fill("#name", account).await;
        self.fill("#password", PASSWORD).await;
        self.press("main button").await;
        self.find(".account").await;
    }

    /// Fails if axe-core finds anything in the page as it is now.
    pub async fn accessible(&self, what: &str) {
        self.client.execute(&axe(), Vec::new()).await.unwrap();
        let run = "const done = arguments[arguments.length - 1];
                   axe.run({ runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] })
                      .then(found => done(found.violations), error => done([{ id: String(error), nodes: [] }]));";
        let found = self.client.execute_async(run, Vec::new()).await.unwrap();
        let said: Vec<String> = found.as_array().unwrap().iter().map(violation).collect();
        assert!(said.is_empty(), "{what}, {:?}: {}\n{}", self.screen, self.path().await, said.join("\n"));
        // What cannot be read without moving sideways is not read on a phone.
        let wide = "return document.documentElement.scrollWidth - document.documentElement.clientWidth;";
        let beyond = self.client.execute(wide, Vec::new()).await.unwrap();
        assert!(beyond.as_i64().unwrap() <= 0, "{what}, {:?}: {beyond} points stand beyond the screen", self.screen);
    }

    /// What the browser has written since it was asked last: `browser` for messages, `performance` for what it asked for.
    async fn log(&self, kind: &'static str) -> Vec<Value> {
        let entries = self.client.issue_cmd(ReadLog(kind)).await.unwrap();
        entries.as_array().cloned().unwrap_or_default()
    }

    /// Fails if a page since the last time broke its policy, failed in a script, or asked anybody but `url` for anything.
    /// `refused` are statuses that the story provoked, which a browser reports as failures.
    pub async fn clean(&self, url: &str, refused: &[u16]) {
        let is_expected = |text: &str| refused.iter().any(|status| text.contains(&format!("status of {status} ")));
        let messages: Vec<String> = self.log("browser").await.iter().map(|m| m["message"].to_string()).collect();
        let bad: Vec<_> = messages.iter().filter(|text| !is_expected(text)).collect();
        assert!(bad.is_empty(), "{bad:#?}");
        let mut asked = BTreeSet::new();
        for entry in self.log("performance").await {
            let event: Value = serde_json::from_str(entry["message"].as_str().unwrap()).unwrap();
            if event["message"]["method"] == "Network.requestWillBeSent" {
                asked.insert(event["message"]["params"]["request"]["url"].as_str().unwrap().to_owned());
            }
        }
        assert!(!asked.is_empty(), "the browser says what it asks for");
        let own = |asked: &String| {
            asked.starts_with(&format!("{url}/")) || ["data:", "blob:", "about:"].iter().any(|s| asked.starts_with(s))
        };
        let foreign: Vec<_> = asked.iter().filter(|asked| !own(asked)).collect();
        assert!(foreign.is_empty(), "asked of other hosts: {foreign:#?}");
    }

    /// A command of the devtools protocol: what no person does, such as a slow phone or a network that is gone.
    pub async fn devtools(&self, command: &'static str, parameters: Value) -> Value {
        self.client.issue_cmd(Devtools(command, parameters)).await.unwrap()
    }

    /// The QR code on a canvas, read from its picture: made small first, since readers are slow in a build for tests and give up
    /// on a busy machine.
    pub async fn read_code(&self, css: &str) -> String {
        let small = "const canvas = document.querySelector(arguments[0]);
            const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
            let edge = 0;
            while (edge < canvas.width && pixels[4 * edge * (canvas.width + 1)] > 128) edge += 1;
            const [dots, small] = [edge / 4, document.createElement('canvas')];
            small.width = small.height = 4 * canvas.width / dots;
            const paint = small.getContext('2d');
            paint.imageSmoothingEnabled = false;
            paint.drawImage(canvas, 0, 0, small.width, small.height);
            return Number.isInteger(dots) ? small.toDataURL() : '';";
        let began = Instant::now();
        loop {
            let url = self.client.execute(small, vec![json!(css)]).await.unwrap_or_default();
            let picture = url.as_str().and_then(|url| url.strip_prefix("data:image/png;base64,"));
            let picture = picture.and_then(ledger::note::from_base64);
            let read = picture.and_then(|bytes| node::qr::decode(&bytes).ok());
            if let Some(text) = read.and_then(|mut texts| texts.pop()) {
                return text;
            }
            if began.elapsed() > WITHIN {
                self.picture("no-code").await;
                panic!("{css}: no code can be read; {url}");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until an element says something.
    pub async fn until(&self, css: &str, says: &str) {
        let began = Instant::now();
        loop {
            let found = self.client.find(Locator::Css(css)).await;
            let text = match found {
                Ok(element) => element.text().await.unwrap_or_default(),
                Err(_) => String::new(),
            };
            if text.contains(says) {
                return;
            }
            if began.elapsed() > WITHIN {
                self.picture("not-said").await;
                let page = self.client.find(Locator::Css("main")).await;
                let page = async { page.ok()?.text().await.ok() }.await;
                panic!("{css} says {text:?} and not {says:?}; the page: {page:?}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// How much came over the network for the page as it is now, in bytes, packed as it came.
    pub async fn weight(&self) -> u64 {
        let sum = "return [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]
                   .reduce((sum, entry) => sum + entry.encodedBodySize, 0);";
        self.client.execute(sum, Vec::new()).await.unwrap().as_u64().unwrap()
    }

    /// A picture of the screen, kept under `target/browser/pictures` for who wants to look.
    pub async fn picture(&self, name: &str) {
        let bytes = self.client.screenshot().await.unwrap();
        let dir: PathBuf = super::program().ancestors().nth(2).unwrap().join("browser/pictures");
        std::fs::create_dir_all(&dir).unwrap();
        let screen = format!("{:?}", self.screen).to_lowercase();
        std::fs::write(dir.join(format!("{name}-{screen}.png")), bytes).unwrap();
    }

    /// The page as it would be printed, PDF.
    pub async fn print(&self) -> Vec<u8> {
        self.client.print(fantoccini::wd::PrintConfiguration::default()).await.unwrap()
    }

    /// The page as it would be printed on the paper that its style asks for, PDF.
    pub async fn print_sized(&self) -> Vec<u8> {
        let own_size = fantoccini::wd::PrintConfiguration::builder().shrink_to_fit(false).build().unwrap();
        self.client.print(own_size).await.unwrap()
    }

    /// Keeps a file beside the pictures.
    pub fn keep(&self, name: &str, bytes: &[u8]) {
        let dir: PathBuf = super::program().ancestors().nth(2).unwrap().join("browser/pictures");
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join(name), bytes).unwrap();
    }

    /// Closes it.
    pub async fn close(self) {
        let _ = self.client.clone().close().await;
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.driver.kill();
        let _ = self.driver.wait();
        // A story that failed has closed nothing. Only what still runs in this profile is ended: ids are given anew.
        let Some(process) = self.process else { return };
        let profile = self.dir.path().join("profile");
        let line = || std::fs::read_to_string(format!("/proc/{process}/cmdline")).unwrap_or_default();
        let began = Instant::now();
        while line().contains(&*profile.to_string_lossy()) && began.elapsed() < Duration::from_secs(5) {
            let _ = Command::new("kill").arg(process.to_string()).status();
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

fn capabilities(screen: Screen, language: &str, dir: &Path, film: Option<&Path>) -> Capabilities {
    let (wide, high) = match screen {
        Screen::Phone => (500, 900),
        Screen::Desk => (1280, 900),
    };
    let mut arguments = vec![
        "--headless".to_owned(),
        "--no-sandbox".to_owned(),
        "--disable-gpu".to_owned(),
        "--disable-quic".to_owned(),
        "--no-first-run".to_owned(),
        "--disable-background-networking".to_owned(),
        "--disable-component-update".to_owned(),
        "--disable-sync".to_owned(),
        // A node's certificate is its own.
        "--ignore-certificate-errors".to_owned(),
        "--use-fake-device-for-media-stream".to_owned(),
        "--use-fake-ui-for-media-stream".to_owned(),
        format!("--lang={language}"),
        format!("--accept-lang={language}"),
        format!("--window-size={wide},{high}"),
        format!("--user-data-dir={}", dir.join("profile").display()),
    ];
    arguments.extend(film.map(|film| format!("--use-file-for-fake-video-capture={}", film.display())));
    let mut chrome = json!({ "args": arguments, "prefs": { "intl.accept_languages": language } });
    if screen == Screen::Phone {
        chrome["mobileEmulation"] =
            json!({ "deviceMetrics": { "width": 360, "height": 740, "pixelRatio": 2.0, "touch": true } });
    }
    let all = json!({
        "browserName": "chrome",
        "acceptInsecureCerts": true,
        "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        "goog:chromeOptions": chrome,
    });
    all.as_object().unwrap().clone()
}

/// What axe-core found, in a line for each element.
fn violation(found: &Value) -> String {
    let nodes = found["nodes"].as_array().into_iter().flatten();
    let nodes = nodes.map(|node| format!("    {}: {}", node["html"], node["failureSummary"])).collect::<Vec<_>>();
    format!("{}: {}\n{}", found["id"], found["help"], nodes.join("\n"))
}

/// Chromium's own command for its logs.
#[derive(Debug)]
struct ReadLog(&'static str);

impl WebDriverCompatibleCommand for ReadLog {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/se/log", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &url::Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(json!({ "type": self.0 }).to_string()))
    }
}

/// A command of the devtools protocol, by chromedriver's own endpoint.
#[derive(Debug)]
struct Devtools(&'static str, Value);

impl WebDriverCompatibleCommand for Devtools {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/goog/cdp/execute", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &url::Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(json!({ "cmd": self.0, "params": self.1 }).to_string()))
    }
}
