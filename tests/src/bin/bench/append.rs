//! Appending: decided by the rules, folded into the state, in the journal and synced before it counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::house::{House, STEPS_TO_A_QR};
use crate::report::{Line, Times};

/// Callers that wait at the same time.
const IN_FLIGHT: usize = 64;

/// Records of one decision.
const BATCH: usize = 1_000;

/// One caller, one record at a time, each acknowledged before the next is asked for.
pub(crate) async fn one(house: Arc<House>, span: Duration) -> anyhow::Result<Line> {
    in_flight("append_one", house, 1, span).await
}

/// 64 callers, one record at a time each.
pub(crate) async fn sixty_four(house: Arc<House>, span: Duration) -> anyhow::Result<Line> {
    in_flight("append_64", house, IN_FLIGHT, span).await
}

async fn in_flight(workload: &'static str, house: Arc<House>, callers: usize, span: Duration) -> anyhow::Result<Line> {
    let began = Instant::now();
    let written = Arc::new(AtomicU64::new(0));
    let mut running = Vec::new();
    for _ in 0..callers {
        let (house, written) = (house.clone(), written.clone());
        running.push(tokio::spawn(async move {
            let mut times = Times::default();
            while began.elapsed() < span {
                let voucher = house.voucher();
                for nth in 0..STEPS_TO_A_QR {
                    let asked = Instant::now();
                    let done = house.decide(|desk| house.step(desk, voucher, nth))?;
                    house.writer.durable(done.ticket).await;
                    times.since(asked);
                    written.fetch_add(1, Ordering::Relaxed);
                }
            }
            anyhow::Ok(times)
        }));
    }
    let mut times = Times::default();
    for one in running {
        times.extend(one.await??);
    }
    house.writer.ledger().flush();
    Ok(Line::rate(workload, "records/s", written.load(Ordering::Relaxed), began.elapsed(), times))
}

/// Decisions of 1,000 records, the next one made while the last is synced.
pub(crate) async fn batch(house: Arc<House>, span: Duration) -> anyhow::Result<Line> {
    let began = Instant::now();
    let (mut times, mut written) = (Times::default(), 0);
    let mut before: Option<(Instant, u64)> = None;
    while began.elapsed() < span {
        let vouchers: Vec<_> = (0..BATCH).map(|_| house.voucher()).collect();
        for nth in 0..STEPS_TO_A_QR {
            let asked = Instant::now();
            let done = tokio::task::block_in_place(|| {
                house.decide(|desk| vouchers.iter().try_for_each(|voucher| house.step(desk, *voucher, nth).map(drop)))
            })?;
            if let Some((asked, ticket)) = before.replace((asked, done.ticket)) {
                house.writer.durable(ticket).await;
                times.since(asked);
            }
            written += BATCH as u64;
        }
    }
    if let Some((asked, ticket)) = before {
        house.writer.durable(ticket).await;
        times.since(asked);
    }
    house.writer.ledger().flush();
    Ok(Line::rate("append_batch", "records/s", written, began.elapsed(), times))
}
