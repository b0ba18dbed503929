//! Bars by day, as places in an SVG: the template draws them, and the table under it says the same in numbers.

/// Height of the tallest bar, in units of the picture.
pub(crate) const HIGH: u64 = 200;
/// Where the bars begin.
pub(crate) const LEFT: u64 = 70;
/// How wide all of them are.
pub(crate) const WIDE: u64 = 820;
/// Where they stand.
pub(crate) const FLOOR: u64 = 220;
/// Most days that are named under the bars.
const NAMED: usize = 6;

/// One bar.
pub(crate) struct Bar {
    pub(crate) x: u64,
    pub(crate) y: u64,
    pub(crate) wide: u64,
    pub(crate) high: u64,
    /// Which series it belongs to, from 0.
    pub(crate) series: usize,
}

/// Bars, the numbers beside them and the days under them.
pub(crate) struct Chart {
    pub(crate) bars: Vec<Bar>,
    /// Place and number of each line across.
    pub(crate) lines: Vec<(u64, u64)>,
    /// Place and day of each name.
    pub(crate) days: Vec<(u64, String)>,
}

/// The next number above that is 1, 2 or 5 with noughts.
fn round_up(n: u64) -> u64 {
    let mut step = 1_u64;
    loop {
        if let Some(fits) = [1, 2, 5].map(|by| step.saturating_mul(by)).into_iter().find(|fits| *fits >= n) {
            return fits;
        }
        step = step.saturating_mul(10);
    }
}

impl Chart {
    /// A bar of each series for each day.
    pub(crate) fn new<const SERIES: usize>(days: &[(String, [u64; SERIES])]) -> Self {
        let top = round_up(days.iter().flat_map(|(_, counts)| *counts).max().unwrap_or(0).max(2));
        let count = days.len().max(1);
        let place = |day: usize| LEFT + WIDE * day as u64 / count as u64;
        let room = WIDE / count as u64;
        // A fifth of the room is between days; of very many days each bar is a line.
        let wide = (room * 4 / 5 / SERIES as u64).clamp(1, 40);
        let mut bars = Vec::new();
        for (n, (_, counts)) in days.iter().enumerate() {
            let begins = place(n) + (room.saturating_sub(wide * SERIES as u64)) / 2;
            for (series, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
                // What happened once among thousands is seen all the same.
                let high = (HIGH * count / top).max(1);
                bars.push(Bar { x: begins + wide * series as u64, y: FLOOR - high, wide, high, series });
            }
        }
        let lines = [0, top / 2, top].map(|n| (FLOOR - HIGH * n / top, n)).to_vec();
        let every = days.len().div_ceil(NAMED).max(1);
        let named = days.iter().enumerate().step_by(every);
        // The year is said by the table.
        let named = named.map(|(n, (day, _))| (place(n) + room / 2, day.get(5..).unwrap_or(day).to_owned()));
        Self { bars, lines, days: named.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bar_stands_inside_the_picture() {
        for (n, most) in [(0, 0), (1, 1), (7, 3), (31, 1_000), (366, 100_000), (1_000, u64::from(u32::MAX))] {
            let days: Vec<_> = (0..n).map(|n| (format!("2026-03-{n:02}"), [most, most / 2, 0])).collect();
            let chart = Chart::new(&days);
            for Bar { x, y, wide, high, .. } in &chart.bars {
                assert!(*x >= LEFT && x + wide <= LEFT + WIDE + 3 && y + high == FLOOR && *high <= HIGH, "{n} days");
            }
            assert!(chart.days.len() <= NAMED);
        }
        assert_eq!([1, 2, 3, 11, 51].map(round_up), [1, 2, 5, 20, 100]);
    }
}
