//! The federation's one clock: it runs at its normal pace, and the demo moves it forward in steps while all are quiet.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use actors::clock::Clock as _;
use anyhow::Context as _;
use chrono::{DateTime, Datelike as _, Days, FixedOffset, NaiveTime, TimeZone as _, Weekday};
use domain::time::{Millis, Timestamp};
use serde_json::{Value, json};

use super::client::{As, Client};
use super::desks::CLOCK;
use super::federation::write_whole;
use crate::clock::NodeClock;

/// How long nothing must happen until it counts as quiet.
const QUIET_FOR: Duration = Duration::from_millis(250);

/// Largest difference between what a node and the phones take for now, after a step.
const SAME_TIME: Millis = Millis::secs(2);

/// The clock of all nodes and phones.
pub(super) struct FederationClock {
    clock: Arc<NodeClock>,
    file: PathBuf,
    offset: FixedOffset,
    /// How long everything that is under way may take to come to rest.
    patience: Duration,
}

/// What a step came to.
#[derive(Debug)]
pub(super) struct Stepped {
    /// By how much it went forward.
    pub(super) by: Millis,
    /// Nodes whose answers do not show the new time, each with what it shows.
    pub(super) astray: Vec<String>,
}

impl FederationClock {
    /// The clock as an earlier start left it; else the machine's time.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub(super) fn load(file: &Path, offset: FixedOffset, patience: Duration) -> anyhow::Result<Self> {
        let ahead = match fs::read(file) {
            Ok(text) => {
                let value: Value = serde_json::from_slice(&text).with_context(|| file.display().to_string())?;
                value["ahead_millis"].as_i64().with_context(|| format!("{}: ahead_millis", file.display()))?
            }
            Err(_) => 0,
        };
        Ok(Self { clock: Arc::new(NodeClock::federation(Millis(ahead))), file: file.to_owned(), offset, patience })
    }

    /// The phones' clock.
    #[must_use]
    pub(super) const fn shared(&self) -> &Arc<NodeClock> {
        &self.clock
    }

    /// Now.
    #[must_use]
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// How far it is ahead of the machine.
    #[must_use]
    pub(super) fn ahead(&self) -> Millis {
        self.clock.ahead()
    }

    /// The local day and time of a moment, as people write it.
    #[must_use]
    pub(super) fn local(&self, at: Timestamp) -> String {
        self.at_offset(at).format("%a %Y-%m-%d %H:%M").to_string()
    }

    /// First moment of the local day of a moment, and first moment after it.
    ///
    /// # Errors
    ///
    /// The calendar ends.
    pub(super) fn day(&self, at: Timestamp) -> anyhow::Result<(Timestamp, Timestamp)> {
        let midnight = self.at_offset(at).date_naive().and_time(NaiveTime::MIN);
        let first = self.offset.from_local_datetime(&midnight).single().context("the calendar ends")?;
        let first = Timestamp::from(first.to_utc());
        Ok((first, first + Millis::days(1)))
    }

    fn at_offset(&self, at: Timestamp) -> DateTime<FixedOffset> {
        at.to_utc().with_timezone(&self.offset)
    }

    /// This time of day on the next such weekday that is at least `after` away.
    ///
    /// # Errors
    ///
    /// The calendar ends.
    pub(super) fn next(&self, weekday: Weekday, hour: u32, minute: u32, after: Millis) -> anyhow::Result<Timestamp> {
        let earliest = self.now() + after;
        let first = self.at_offset(earliest).date_naive();
        let time = NaiveTime::from_hms_opt(hour, minute, 0).context("a time of day")?;
        (0..=7)
            .filter_map(|n| first.checked_add_days(Days::new(n)))
            .filter(|day| day.weekday() == weekday)
            .filter_map(|day| self.offset.from_local_datetime(&day.and_time(time)).single())
            .map(|local| Timestamp::from(local.to_utc()))
            .find(|at| *at >= earliest)
            .context("the calendar ends")
    }

    /// Waits until every node holds all that every other has written, and nothing more is being written. Returns the
    /// sizes of the logs.
    ///
    /// # Errors
    ///
    /// It does not come to rest; the text says who lacks what.
    pub(super) async fn quiet(&self, client: &Client) -> anyhow::Result<BTreeMap<String, u64>> {
        let began = Instant::now();
        let mut last: Option<(Sizes, Instant)> = None;
        loop {
            let seen = sizes(client).await?;
            match (&last, seen.lag()) {
                (Some((before, since)), None) if *before == seen => {
                    if since.elapsed() >= QUIET_FOR {
                        return Ok(seen.owned());
                    }
                }
                (_, None) => last = Some((seen, Instant::now())),
                (_, Some(lag)) => {
                    anyhow::ensure!(began.elapsed() < self.patience, "the federation does not come to rest: {lag}");
                    last = None;
                }
            }
            anyhow::ensure!(began.elapsed() < 2 * self.patience, "the federation does not stop writing");
            tokio::time::sleep(QUIET_FOR / 5).await;
        }
    }

    /// Moves the clock of every node and phone forward to a moment: wait until all is quiet, take the step, confirm it.
    ///
    /// # Errors
    ///
    /// A node does not come to rest or does not take the step.
    pub(super) async fn step_to(&self, client: &Client, to: Timestamp) -> anyhow::Result<Stepped> {
        self.quiet(client).await?;
        let by = Millis(to.millis() - self.now().millis());
        anyhow::ensure!(by.0 > 0, "the clock goes forward only: {to} has passed");
        let ahead = Millis(self.ahead().0 + by.0);
        // Kept first: records may carry the new time as soon as one node has taken the step.
        write_whole(&self.file, json!({ "ahead_millis": ahead.0 }).to_string().as_bytes())?;
        let body = json!({ "ahead_millis": ahead.0 });
        let nodes: Vec<&str> = client.institutions().collect();
        let told = nodes.iter().map(|id| client.post(As::Operator(CLOCK), id, "/v1/clock", &body));
        for answer in futures_util::future::join_all(told).await {
            answer?.good()?;
        }
        anyhow::ensure!(self.clock.step_to(ahead), "the clock of the phones goes forward only");
        let mut astray = Vec::new();
        for id in nodes {
            let status = client.get(As::Anyone, id, "/v1/status").await?.good()?;
            let shown = status.node_time.map_or("no Node-Time".to_owned(), |t| t.to_string());
            let agrees = status.node_time.is_some_and(|t| t.distance(self.now()) <= SAME_TIME)
                && status.body["clock"] == "federation"
                && status.body["clock_ahead_secs"] == ahead.0 / 1_000;
            if !agrees {
                astray.push(format!("{id} shows {shown}"));
            }
        }
        Ok(Stepped { by, astray })
    }
}

/// For each node, how much it has folded of each log.
#[derive(Debug, PartialEq, Eq)]
struct Sizes(BTreeMap<String, BTreeMap<String, u64>>);

impl Sizes {
    /// The size of each log at its owner.
    fn owned(&self) -> BTreeMap<String, u64> {
        self.0.iter().filter_map(|(id, logs)| Some((id.clone(), *logs.get(id)?))).collect()
    }

    /// The first log of which somebody holds less than its owner.
    fn lag(&self) -> Option<String> {
        for (holder, logs) in &self.0 {
            for (owner, own_logs) in &self.0 {
                let (has, there) = (logs.get(owner), own_logs.get(owner));
                if has != there {
                    let [has, there] = [has, there].map(|n| n.copied().unwrap_or_default());
                    return Some(format!("{holder} holds {has} of {there} records of {owner}"));
                }
            }
        }
        None
    }
}

async fn sizes(client: &Client) -> anyhow::Result<Sizes> {
    let nodes: Vec<&str> = client.institutions().collect();
    let asked = nodes.iter().map(|id| client.get(As::Anyone, id, "/v1/status"));
    let mut sizes = BTreeMap::new();
    for (id, answer) in nodes.iter().zip(futures_util::future::join_all(asked).await) {
        let answer = answer?.good()?;
        let folded = |log: &Value| Some((log["institution"].as_str()?.to_owned(), log["folded"].as_u64()?));
        sizes.insert((*id).to_owned(), answer.list("/logs")?.iter().filter_map(folded).collect());
    }
    Ok(Sizes(sizes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_monday_is_a_monday_and_far_enough() {
        let dir = tempfile::tempdir().unwrap();
        let offset = FixedOffset::east_opt(8 * 3600).unwrap();
        let clock = FederationClock::load(&dir.path().join("clock.json"), offset, Duration::ZERO).unwrap();
        for days in 0..9 {
            let after = Millis::days(days);
            let monday = clock.next(Weekday::Mon, 9, 30, after).unwrap();
            assert!(clock.local(monday).starts_with("Mon ") && clock.local(monday).ends_with(" 09:30"));
            assert!(monday >= clock.now() + after - Millis::secs(5));
            assert!(monday <= clock.now() + after + Millis::days(7));
        }
    }

    #[test]
    fn a_node_that_lacks_a_record_is_named() {
        let of = |a: u64, b: u64| BTreeMap::from([("a".to_owned(), a), ("b".to_owned(), b)]);
        let sizes = |held: [(u64, u64); 2]| {
            Sizes(BTreeMap::from([("a".into(), of(held[0].0, held[0].1)), ("b".into(), of(held[1].0, held[1].1))]))
        };
        assert_eq!(sizes([(3, 4), (3, 4)]).lag(), None);
        assert_eq!(sizes([(3, 4), (2, 4)]).lag().unwrap(), "b holds 2 of 3 records of a");
    }
}
