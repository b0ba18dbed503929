//! Many vouchers that lapse in the same minute: they are voided by themselves, and requests in between are answered as ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use domain::member::Role;
use serde_json::{Value, json};

use crate::support::{TestNode, desk, eventually};

/// Vouchers that lapse unless the environment says otherwise: to make 100,000 first takes minutes in a debug build.
const VOUCHERS: u64 = 10_000;

/// Names another number of vouchers.
const VOUCHERS_VARIABLE: &str = "VOUCHER_TEST_LAPSES";

/// What the slowest of a hundred requests may take meanwhile, on a machine that also builds and tests: several times of what
/// docs/performance.md says, and less than half of what it is where lapses keep requests waiting.
const P99_MOST: Duration = Duration::from_secs(1);

/// The validity of the programme, and more.
const PAST_VALIDITY_MILLIS: i64 = 91 * 86_400_000;

/// How long each kind of request took.
#[derive(Default)]
struct Latencies(Vec<Duration>);

impl Latencies {
    fn at(&mut self, share: f64) -> Duration {
        self.0.sort_unstable();
        self.0[((self.0.len() - 1) as f64 * share) as usize]
    }
}

/// Asks small things one after another until it is told to stop: a voucher generated, the status read.
async fn ask_small_things(url: String, token: String, stop: Arc<AtomicBool>) -> (Latencies, Latencies) {
    let client = reqwest::Client::new();
    let (mut writes, mut reads) = (Latencies::default(), Latencies::default());
    for n in 0.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let post = client
            .post(format!("{url}/v1/issuer/vouchers"))
            .bearer_auth(&token)
            .header("Idempotency-Key", format!("small-{n}"))
            .json(&json!({ "programme": "checkup", "count": 1 }));
        let get = client.get(format!("{url}/v1/issuer/vouchers?limit=1")).bearer_auth(&token);
        for (request, expected, times) in [(post, 201, &mut writes), (get, 200, &mut reads)] {
            let began = Instant::now();
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), expected);
            let _ = answer.bytes().await.unwrap();
            times.0.push(began.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    (writes, reads)
}

/// Half of them lie at the issuer, half in a community's stock on the same node, with their QR.
async fn fill(node: &TestNode, vouchers: u64) {
    let client = reqwest::Client::new();
    let half = json!({ "programme": "checkup", "count": vouchers / 2, "community": node.id });
    let all = json!({ "programme": "checkup", "count": vouchers });
    for (path, body) in [("/v1/issuer/vouchers", &all), ("/v1/issuer/dispatches", &half)] {
        let post = client.post(format!("{}{path}", node.url)).bearer_auth(&node.token);
        let answer = post.header("Idempotency-Key", path.replace('/', "-")).json(body).send().await.unwrap();
        assert_eq!(answer.status(), 201, "{}", answer.text().await.unwrap());
    }
    eventually("every QR is made", Duration::from_secs(600), || async { encoded(node).await == vouchers / 2 }).await;
}

async fn encoded(node: &TestNode) -> u64 {
    let (_, stock) = node.get("/v1/community/stock").await;
    stock["items"][0]["encoded"].as_u64().unwrap_or(0)
}

/// How many the figures say are voided.
async fn voided(node: &TestNode) -> u64 {
    let (_, figures) = node.get("/v1/issuer/statistics?from=2026-01-01&until=2026-01-01").await;
    figures["conservation"][0]["sums"]["voided"].as_u64().unwrap_or_else(|| panic!("{figures}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_city_that_lapses_in_one_minute_keeps_nobody_waiting() {
    let vouchers = std::env::var(VOUCHERS_VARIABLE).map_or(VOUCHERS, |text| text.parse().unwrap());
    let root = tempfile::tempdir().unwrap();
    let mut node = TestNode::new(root.path(), "health", &[Role::Issuer, Role::Community], None);
    node.args = ["--federation-clock", "0"].map(str::to_owned).to_vec();
    node.start().await;
    desk::publish(&node, "checkup").await;
    let filled = Instant::now();
    fill(&node, vouchers).await;
    println!("{vouchers} vouchers, half of them with a QR, after {:?}", filled.elapsed());

    let stop = Arc::new(AtomicBool::new(false));
    let small = tokio::spawn(ask_small_things(node.url.clone(), node.token.clone(), stop.clone()));
    let (status, stepped): (u16, Value) =
        node.post("/v1/clock", &json!({ "ahead_millis": PAST_VALIDITY_MILLIS })).await;
    assert_eq!(status, 200, "{stepped}");
    let began = Instant::now();
    // Every look costs the node something as well.
    while voided(&node).await < vouchers {
        assert!(began.elapsed() < Duration::from_secs(900), "{} of {vouchers} are voided", voided(&node).await);
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    let lapsed = began.elapsed();
    stop.store(true, Ordering::SeqCst);
    let (mut writes, mut reads) = small.await.unwrap();
    for (what, times) in [("write", &mut writes), ("read", &mut reads)] {
        let [p50, p99, most] = [0.5, 0.99, 1.0].map(|share| times.at(share));
        println!("{what}: {} requests, p50 {p50:?}, p99 {p99:?}, slowest {most:?}", times.0.len());
        assert!(p99 < P99_MOST, "{what}: p99 {p99:?}");
    }
    println!("{vouchers} vouchers lapsed in {lapsed:?}");
    assert_eq!(encoded(&node).await, 0);
}
