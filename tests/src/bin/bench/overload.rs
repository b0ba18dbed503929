//! Three times as many requests as a node can do: what it still does, and how long everything else takes meanwhile.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::lifecycle::{PROGRAMME, Town};
use crate::report::{Line, Times};

/// Callers who ask one after another, to find out how much the node can do.
const CALLERS: usize = 64;

/// Connections of the flood; together they ask as often as it takes.
const MOST: usize = 1_024;

/// How many times the capacity is asked for.
const TIMES: f64 = 3.0;

/// Rest between two looks at something else.
const REST: Duration = Duration::from_millis(20);

/// How much is written at three times the capacity, as a part of the capacity; p50 and p99 of other requests meanwhile.
pub(crate) async fn overload(dir: &Path, span: Duration) -> anyhow::Result<Vec<Line>> {
    let town = Arc::new(Town::open(dir).await?);
    town.furnish().await?;
    let capacity = capacity(&town, span).await?;
    ensure!(capacity > 0.0, "the node did nothing");
    let over = Arc::new(AtomicBool::new(false));
    let looking = tokio::spawn(look(town.clone(), over.clone()));
    let good = flood(&town, capacity * TIMES, span).await?;
    over.store(true, Ordering::Relaxed);
    let (p50_ms, p99_ms) = looking.await??.percentiles();
    Ok(vec![
        Line::plain("rest_writes", "requests/s", capacity),
        Line { workload: "overload", unit: "of rest_writes", value: good / capacity, p50_ms, p99_ms },
    ])
}

/// A connection that sends one kind of request, and knows a good answer by its first line: a library's client would take more of
/// the two cores than the node.
struct Wire {
    stream: BufReader<TcpStream>,
    head: String,
}

impl Wire {
    async fn open(town: &Town) -> anyhow::Result<Self> {
        let address = town.url.trim_start_matches("http://");
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let body = json!({ "programme": PROGRAMME, "count": 1 }).to_string();
        let head = format!(
            "POST /v1/issuer/vouchers HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\nIdempotency-Key: {{}}\r\n\r\n{body}",
            town.token,
            body.len()
        );
        Ok(Self { stream: BufReader::new(stream), head })
    }

    /// Writes a voucher; whether it was made.
    async fn write(&mut self) -> anyhow::Result<bool> {
        let request = self.head.replacen("{}", &uuid::Uuid::new_v4().to_string(), 1);
        self.stream.get_mut().write_all(request.as_bytes()).await?;
        let (mut line, mut length, mut is_good) = (String::new(), 0, None);
        loop {
            line.clear();
            ensure!(self.stream.read_line(&mut line).await? > 0, "the node hung up");
            is_good.get_or_insert_with(|| line.starts_with("HTTP/1.1 201"));
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
            if line == "\r\n" {
                break;
            }
        }
        self.stream.read_exact(&mut vec![0; length]).await?;
        Ok(is_good == Some(true))
    }
}

/// Writes a second by callers who wait for each answer.
async fn capacity(town: &Arc<Town>, span: Duration) -> anyhow::Result<f64> {
    let (began, done) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (mut line, done) = (Wire::open(town).await?, done.clone());
        callers.spawn(async move {
            while began.elapsed() < span {
                done.fetch_add(u64::from(line.write().await?), Ordering::Relaxed);
            }
            anyhow::Ok(())
        });
    }
    while let Some(caller) = callers.join_next().await {
        caller??;
    }
    Ok(done.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64())
}

/// Good writes a second when so many are asked for, whatever comes of those before.
async fn flood(town: &Arc<Town>, per_sec: f64, span: Duration) -> anyhow::Result<f64> {
    let (began, good) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let mut callers = JoinSet::new();
    for nth in 0..MOST {
        let (mut line, good, town) = (Wire::open(town).await?, good.clone(), town.clone());
        // Each asks at its own times, whatever came of the time before; who is still waiting then asks as soon as it can.
        let every = Duration::from_secs_f64(MOST as f64 / per_sec);
        let first = every.mul_f64(nth as f64 / MOST as f64);
        callers.spawn(async move {
            let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + first, every);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            while began.elapsed() < span {
                ticks.tick().await;
                match line.write().await {
                    Ok(is_good) => {
                        let counts = is_good && began.elapsed() < span;
                        good.fetch_add(u64::from(counts), Ordering::Relaxed);
                    }
                    // A refusal comes before the body is read, and the connection ends with it.
                    Err(_) => line = Wire::open(&town).await?,
                }
            }
            anyhow::Ok(())
        });
    }
    while let Some(caller) = callers.join_next().await {
        caller??;
    }
    Ok(good.load(Ordering::Relaxed) as f64 / span.as_secs_f64())
}

/// What an operator and a stranger look at while the node is busy.
async fn look(town: Arc<Town>, over: Arc<AtomicBool>) -> anyhow::Result<Times> {
    let mut times = Times::default();
    // Connections of its own, as somebody else has.
    let http = reqwest::Client::builder().no_proxy().build()?;
    while !over.load(Ordering::Relaxed) {
        for path in ["/healthz", "/readyz"] {
            let asked = Instant::now();
            let answer = http.get(format!("{}{path}", town.url)).send().await?;
            ensure!(answer.status().is_success(), "{path}: {}", answer.status());
            times.since(asked);
        }
        tokio::time::sleep(REST).await;
    }
    Ok(times)
}
