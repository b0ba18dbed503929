//! Three times as many requests as a node can do: what it still does, and how long everything else takes meanwhile.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use serde_json::json;
use tokio::task::JoinSet;

use crate::lifecycle::{PROGRAMME, Town};
use crate::report::{Line, Times};

/// Callers who ask one after another, to find out how much the node can do.
const CALLERS: usize = 64;

/// Most requests of the flood that are on their way at once.
const MOST: usize = 4_096;

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
    let good = flood(&town, capacity * TIMES, span).await;
    over.store(true, Ordering::Relaxed);
    let (p50_ms, p99_ms) = looking.await??.percentiles();
    Ok(vec![
        Line::plain("rest_writes", "requests/s", capacity),
        Line { workload: "overload", unit: "of rest_writes", value: good / capacity, p50_ms, p99_ms },
    ])
}

async fn write(town: &Town) -> bool {
    town.desk("/v1/issuer/vouchers", json!({ "programme": PROGRAMME, "count": 1 })).await.is_ok()
}

/// Writes a second by callers who wait for each answer.
async fn capacity(town: &Arc<Town>, span: Duration) -> anyhow::Result<f64> {
    let (began, done) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (town, done) = (town.clone(), done.clone());
        callers.spawn(async move {
            while began.elapsed() < span {
                if write(&town).await {
                    done.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
    }
    while let Some(caller) = callers.join_next().await {
        caller?;
    }
    Ok(done.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64())
}

/// Good writes a second when so many are asked for, whatever comes of those before.
async fn flood(town: &Arc<Town>, per_sec: f64, span: Duration) -> f64 {
    let (began, good) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let places = Arc::new(tokio::sync::Semaphore::new(MOST));
    let mut asked = 0_u64;
    while began.elapsed() < span {
        let due = (began.elapsed().as_secs_f64() * per_sec) as u64;
        for _ in asked..due {
            // Who finds no place is one more whom the node does not get to.
            let Ok(place) = places.clone().try_acquire_owned() else { break };
            let (town, good) = (town.clone(), good.clone());
            tokio::spawn(async move {
                if write(&town).await && began.elapsed() < span {
                    good.fetch_add(1, Ordering::Relaxed);
                }
                drop(place);
            });
        }
        asked = due;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    good.load(Ordering::Relaxed) as f64 / span.as_secs_f64()
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
