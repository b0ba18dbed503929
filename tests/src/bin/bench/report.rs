//! What a workload came to: one JSON line each, and a table at the end.

use std::time::{Duration, Instant};

use serde::Serialize;

/// One result.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Line {
    /// Which workload.
    pub(crate) workload: &'static str,
    /// What `value` counts.
    pub(crate) unit: &'static str,
    /// The figure.
    pub(crate) value: f64,
    /// Half of the operations took at most so long, in milliseconds; none where single operations are not timed.
    pub(crate) p50_ms: Option<f64>,
    /// 99 of 100 operations took at most so long, in milliseconds.
    pub(crate) p99_ms: Option<f64>,
}

/// The goal of a workload, in the unit of its line (docs/performance.md).
const GOALS: &[(&str, f64)] = &[
    ("append_one", 12_000.0),
    ("append_64", 100_000.0),
    ("append_batch", 150_000.0),
    ("proof", 100_000.0),
    ("catchup", 60_000.0),
    ("verify", 150_000.0),
    ("verify_log", 1_000_000.0),
];

impl Line {
    /// A figure without the times of single operations.
    pub(crate) fn plain(workload: &'static str, unit: &'static str, value: f64) -> Self {
        Self { workload, unit, value, p50_ms: None, p99_ms: None }
    }

    /// Operations a second, and how long single ones took.
    pub(crate) fn rate(
        workload: &'static str,
        unit: &'static str,
        done: u64,
        took: Duration,
        mut times: Times,
    ) -> Self {
        let (p50_ms, p99_ms) = times.percentiles();
        Self { workload, unit, value: done as f64 / took.as_secs_f64(), p50_ms, p99_ms }
    }

    /// Writes the line.
    pub(crate) fn print(&self) -> anyhow::Result<()> {
        println!("{}", serde_json::to_string(self)?);
        Ok(())
    }
}

/// How long single operations took.
#[derive(Debug, Default)]
pub(crate) struct Times(Vec<Duration>);

impl Times {
    /// Notes an operation that began at `began` and has just ended.
    pub(crate) fn since(&mut self, began: Instant) {
        self.0.push(began.elapsed());
    }

    /// Takes over what another thread noted.
    pub(crate) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// The 50th and the 99th percentile, in milliseconds.
    pub(crate) fn percentiles(&mut self) -> (Option<f64>, Option<f64>) {
        self.0.sort_unstable();
        let at = |hundredths: usize| {
            let place = self.0.len().saturating_sub(1) * hundredths / 100;
            self.0.get(place).map(|took| took.as_secs_f64() * 1_000.0)
        };
        (at(50), at(99))
    }
}

/// All results as a table for people.
pub(crate) fn table(lines: &[Line]) -> String {
    let mut table = format!(
        "{:<18} {:>14} {:<12} {:>10} {:>10} {:>8}\n",
        "workload", "value", "unit", "p50 ms", "p99 ms", "of goal"
    );
    for line in lines {
        let ms = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"));
        let goal = GOALS.iter().find(|(workload, _)| *workload == line.workload);
        let share = goal.map_or_else(|| "-".to_owned(), |(_, goal)| format!("{:.0} %", 100.0 * line.value / goal));
        table.push_str(&format!(
            "{:<18} {:>14.1} {:<12} {:>10} {:>10} {:>8}\n",
            line.workload,
            line.value,
            line.unit,
            ms(line.p50_ms),
            ms(line.p99_ms),
            share
        ));
    }
    table
}
