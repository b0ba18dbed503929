//! The clocks of the others: whether this node's own may be trusted, and which records come too early by it.
//!
//! Every answer of a node carries its time (`node-time`). The median of the peers' is what this node's clock is held
//! against: while it is more than [`APART`] off, nothing is written here. A peer's record that is more than [`APART`]
//! ahead waits in its log until the clock here reaches it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actors::replica;
use domain::time::{Millis, Timestamp};
use parking_lot::Mutex;
use reqwest::Url;
use reqwest::header::HeaderMap;
use serde::Serialize;
use utoipa::ToSchema;

use crate::node::Node;

/// How far clocks may be apart (protocol section 4).
pub const APART: Millis = Millis::minutes(5);

/// The header with the time of the node that answers, RFC 3339 with milliseconds. `Date` has whole seconds.
pub const TIME_HEADER: &str = "node-time";

/// The header by which a node of the demo says how far its clock is ahead of the machine's, in milliseconds.
pub const STEPS_HEADER: &str = "node-time-steps";

/// Fewest peers that must have been heard: one alone shall not stop another.
const FEWEST: usize = 2;

/// How long what a peer's clock showed is believed.
const BELIEVED: Duration = Duration::from_secs(600);

/// How long a sharper answer is preferred to a newer one.
const PREFERRED: Duration = Duration::from_secs(60);

/// What two answers of one clock may differ by beside the way between question and answer.
const SAME: Millis = Millis::secs(1);

/// Most nodes of which a time is kept.
const MAX_HEARD: usize = 4_096;

/// How often the own clock is held against the others'.
const EVERY: Duration = Duration::from_secs(1);

/// What this node's clock is worth.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Verdict {
    /// How many peers' clocks were heard lately.
    pub heard: usize,
    /// Milliseconds that this node's clock is ahead of their median, negative if behind; none while too few were heard.
    pub ahead_millis: Option<i64>,
    /// It is so far off that nothing is written.
    pub is_off: bool,
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.ahead_millis {
            Some(millis) => write!(f, "its clock is {} s ahead of the median of {} peers", millis / 1_000, self.heard),
            None => f.write_str("too few peers' clocks were heard"),
        }
    }
}

/// Judges a clock by how far it is ahead of each peer's.
///
/// The median of an even number is the middle one nearer to zero, so that a clock is off only if more than half of the
/// peers, and two at least, say so.
#[must_use]
pub fn judge(mut ahead: Vec<Millis>) -> Verdict {
    let heard = ahead.len();
    if heard < FEWEST {
        return Verdict { heard, ..Verdict::default() };
    }
    ahead.sort_unstable();
    let (low, high) = (ahead[(heard - 1) / 2].0, ahead[heard / 2].0);
    let median = if low.unsigned_abs() <= high.unsigned_abs() { low } else { high };
    Verdict { heard, ahead_millis: Some(median), is_off: median.unsigned_abs() > APART.0.unsigned_abs() }
}

/// The first of some entries that is more than [`APART`] ahead of `now`: its place among them, and its time.
///
/// What cannot be read has no time and does not wait: the fold deals with it.
pub fn first_ahead<'a>(entries: impl IntoIterator<Item = &'a [u8]>, now: Timestamp) -> Option<(usize, Timestamp)> {
    let times = entries.into_iter().map(replica::time_of);
    times.enumerate().find_map(|(place, at)| at.filter(|at| *at > now + APART).map(|at| (place, at)))
}

/// What a peer's clock showed.
#[derive(Debug, Clone, Copy)]
struct Shown {
    /// The time it showed, and how much of it were the demo's steps.
    time: Timestamp,
    steps: Millis,
    /// The moment at which it showed it, as far as one can tell here: half of the way between question and answer.
    at: Instant,
    /// How wrong that can be.
    error: Duration,
}

impl Shown {
    /// Whether a later answer shows the same clock going on, as far as the two can tell.
    fn goes_on_as(&self, later: &Self) -> bool {
        let expected = self.time + millis(later.at.saturating_duration_since(self.at));
        expected.distance(later.time) <= millis(self.error + later.error) + SAME
    }
}

fn millis(span: Duration) -> Millis {
    Millis(i64::try_from(span.as_millis()).unwrap_or(i64::MAX))
}

/// What the clocks of other nodes showed, by the host that was asked. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Clocks(Arc<Mutex<HashMap<String, Shown>>>);

fn host(url: &Url) -> String {
    url.authority().to_owned()
}

impl Clocks {
    /// Notes what an answer says of the time there. `asked` is when the question was sent.
    pub fn hear(&self, url: &Url, headers: &HeaderMap, asked: Instant) {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let time = text(TIME_HEADER).and_then(|text| chrono::DateTime::parse_from_rfc3339(text).ok());
        let Some(time) = time.map(|time| Timestamp::from(time.to_utc())) else { return };
        let steps = Millis(text(STEPS_HEADER).and_then(|text| text.parse().ok()).unwrap_or_default());
        let error = asked.elapsed() / 2;
        self.keep(host(url), Shown { time, steps, at: asked + error, error });
    }

    fn keep(&self, host: String, shown: Shown) {
        let mut clocks = self.0.lock();
        let is_better =
            |old: &Shown| shown.error <= old.error || old.at.elapsed() > PREFERRED || !old.goes_on_as(&shown);
        if clocks.get(&host).is_none_or(is_better) {
            clocks.insert(host, shown);
        }
        if clocks.len() > MAX_HEARD {
            clocks.retain(|_, old| old.at.elapsed() <= BELIEVED);
        }
        if clocks.len() > MAX_HEARD {
            clocks.clear(); // more than can be asked in that time: hear them again
        }
    }

    /// The demo's steps that a node's clock had taken when it was heard last.
    #[must_use]
    pub fn steps_of(&self, url: &Url) -> Option<Millis> {
        self.0.lock().get(&host(url)).map(|shown| shown.steps)
    }

    /// How far a clock that shows `now` is ahead of each of these nodes' clocks, where they were heard lately.
    ///
    /// The demo's steps are counted out on both sides if `with_steps`: all its nodes are on one machine, and one may be
    /// asked between its own step and the other's.
    fn ahead_of(&self, urls: &[Url], now: Timestamp, with_steps: Option<Millis>) -> Vec<Millis> {
        let clocks = self.0.lock();
        let known = urls.iter().filter_map(|url| clocks.get(&host(url)));
        let ahead = |shown: &Shown| {
            let since = shown.at.elapsed();
            let there = shown.time + millis(since);
            let steps = with_steps.map_or(Millis(0), |own| own - shown.steps);
            (since <= BELIEVED).then(|| Millis(now.millis() - there.millis()) - steps)
        };
        known.filter_map(ahead).collect()
    }
}

/// Holds the own clock against the others' until the node stops.
pub async fn watch(node: Arc<Node>) {
    loop {
        let verdict = look(&node);
        let was_off = node.clock_verdict().is_off;
        if verdict.is_off && !was_off {
            let ahead_millis = verdict.ahead_millis.unwrap_or_default();
            tracing::error!(ahead_millis, heard = verdict.heard, "this node's clock is off: nothing is written");
        } else if was_off && !verdict.is_off {
            tracing::info!(heard = verdict.heard, "this node's clock fits the others' again");
        }
        node.set_clock_verdict(verdict);
        tokio::time::sleep(EVERY).await;
    }
}

fn look(node: &Node) -> Verdict {
    let urls: Vec<Url> = super::others(node).iter().filter_map(|peer| peer.url.parse().ok()).collect();
    let steps = node.clock.is_federation().then(|| node.clock.ahead());
    judge(node.client.clocks().ahead_of(&urls, node.writer.now(), steps))
}

#[cfg(test)]
mod tests {
    use domain::member::Role;
    use domain::record::{Body, Record};

    use super::*;

    #[test]
    fn a_clock_is_off_if_more_than_half_of_the_others_say_so() {
        // seconds ahead of each peer; the median; whether it is off
        let table: [(&[i64], Option<i64>, bool); 12] = [
            (&[], None, false),
            (&[9_000], None, false),
            (&[0, 1], Some(0), false),
            (&[301, 400], Some(301), true),
            (&[-301, -400], Some(-301), true),
            (&[0, 9_000], Some(0), false),
            (&[-9_000, 9_000], Some(-9_000), true),
            (&[300, 300], Some(300), false),
            (&[2, 9_000, 9_000], Some(9_000), true),
            (&[-9_000, 1, 9_000], Some(1), false),
            (&[-1, -2, 9_000, 9_000], Some(-1), false),
            (&[-1, 301, 302, 303], Some(301), true),
        ];
        for (ahead, median, is_off) in table {
            let verdict = judge(ahead.iter().map(|secs| Millis::secs(*secs)).collect());
            assert_eq!((verdict.ahead_millis, verdict.is_off), (median.map(|s| s * 1_000), is_off), "{ahead:?}");
            assert_eq!(verdict.heard, ahead.len());
        }
        assert!(judge(vec![Millis(i64::MIN), Millis(i64::MIN), Millis(i64::MAX)]).is_off, "no clock overflows it");
    }

    #[test]
    fn the_first_record_too_far_ahead_is_found() {
        let now = Timestamp::from_millis(1_790_000_000_000);
        let record = |secs: i64| {
            let institution = "liar".parse().unwrap();
            let at = now + Millis::secs(secs);
            let body = Body::Heartbeat;
            let record =
                Record { institution, index: 0, role: Role::Hospital, at, operator: None, idempotency: None, body };
            ledger::record::encode_record(&record).unwrap()
        };
        // seconds ahead; the place of the first that waits
        let table: [(&[i64], Option<usize>); 5] = [
            (&[], None),
            (&[-9_000, 0, 300], None),
            (&[0, 301, 302], Some(1)),
            (&[301], Some(0)),
            (&[0, 9_000, 0], Some(1)),
        ];
        for (secs, place) in table {
            let entries: Vec<_> = secs.iter().map(|secs| record(*secs)).collect();
            let found = first_ahead(entries.iter().map(Vec::as_slice), now);
            assert_eq!(found.map(|(place, _)| place), place, "{secs:?}");
        }
        assert_eq!(first_ahead([&[][..], &[1, 2, 3], &[9; 40]], now), None, "what cannot be read does not wait");
    }

    #[test]
    fn an_answer_tells_the_time_there() {
        let clocks = Clocks::default();
        let url: Url = "http://127.0.0.1:7101/log/checkpoint".parse().unwrap();
        let hear = |time: &str, steps: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(TIME_HEADER, time.parse().unwrap());
            steps.map(|steps| headers.insert(STEPS_HEADER, steps.parse().unwrap()));
            clocks.hear(&url, &headers, Instant::now());
        };
        let now = Timestamp::from_millis(1_790_000_000_000);
        let ahead = |steps| clocks.ahead_of(&["http://127.0.0.1:7101".parse().unwrap()], now, steps).first().copied();
        let about = |found: Option<Millis>, secs: i64| found.is_some_and(|f| (f.0 - secs * 1_000).abs() < 500);

        hear("yesterday", None);
        assert_eq!(ahead(None), None);
        hear(&(now - Millis::hours(1)).to_string(), None);
        assert!(about(ahead(None), 3_600), "{:?}", ahead(None));
        // A node of the demo that has taken a step which this one has not, and the other way round.
        hear(&(now + Millis::days(1)).to_string(), Some("86400000"));
        assert!(about(ahead(Some(Millis(0))), 0), "{:?}", ahead(Some(Millis(0))));
        hear(&(now - Millis::days(1)).to_string(), Some("0"));
        assert!(about(ahead(Some(Millis::days(1))), 0), "{:?}", ahead(Some(Millis::days(1))));
        // Nobody's machine is believed on its word that it is stepped.
        assert!(about(ahead(None), 86_400), "{:?}", ahead(None));
    }

    #[test]
    fn a_sharper_answer_stays_and_what_is_kept_is_bounded() {
        let clocks = Clocks::default();
        let shown = |secs: i64, error| Shown {
            time: Timestamp::from_millis(secs * 1_000),
            steps: Millis(0),
            at: Instant::now(),
            error: Duration::from_millis(error),
        };
        clocks.keep("a".into(), shown(10, 5));
        // error in milliseconds, seconds shown, seconds kept: a blunter answer counts only if the clock was set
        for (error, secs, kept) in [(9_000, 15, 10), (9_000, 30, 30), (9_000, 31, 31), (4, 32, 32)] {
            clocks.keep("a".into(), shown(secs, error));
            assert_eq!(clocks.0.lock()["a"].time.secs(), kept, "{secs} {error}");
        }
        for n in 0..2 * MAX_HEARD {
            clocks.keep(n.to_string(), shown(0, 0));
        }
        assert!(clocks.0.lock().len() <= MAX_HEARD);
    }
}
