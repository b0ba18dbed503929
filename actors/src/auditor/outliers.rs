//! Which of some shares are far from the others: a robust statistic in whole numbers, so that everybody computes the same.
//!
//! The score is the modified z-score of Iglewicz and Hoaglin (How to Detect and Handle Outliers, 1993): the distance from the median,
//! measured by the median of all such distances, which a minority of liars cannot move. Where more than half of the shares are equal
//! that median is zero, and the mean of the distances takes its place. docs/decisions/0031-fraud-patterns.md says why.

use serde::Serialize;

/// Fewest shares that are compared. By the mean of the distances one of four can never reach the score, one of five can.
pub const LEAST_SHARES: usize = 5;

/// Fewest cases that make a share: below it a few chances move it by as much as a pattern would.
pub const LEAST_CASES: u64 = 30;

/// A share whose score is above 3.5 is an outlier (Iglewicz and Hoaglin), with 0.6745 as the factor of the median of distances: in
/// ten-thousandths.
const SCORE_BY_MEDIAN: (u128, u128) = (6_745, 35_000);

/// The same by the mean of distances: 3.5 times 1.253314, in millionths.
const SCORE_BY_MEAN: u128 = 4_386_599;

/// The square of the standard deviations of chance by which cases must be more than the median lets expect: three of them, for
/// counts of rare events (Poisson).
const CHANCE_SQUARED: u128 = 9;

/// Parts in a whole share.
const WHOLE: u128 = 1_000_000;

/// Most cases that are told apart: more cannot be in a week, and no product below overflows.
const MOST_CASES: u64 = u32::MAX as u64;

/// So many of so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Share {
    /// How many.
    pub count: u64,
    /// Of how many.
    pub of: u64,
}

impl Share {
    fn cut(self) -> (u128, u128) {
        (u128::from(self.count.min(MOST_CASES)), u128::from(self.of.min(MOST_CASES)))
    }

    /// In millionths; what has no cases is no share.
    fn millionths(self) -> u128 {
        let (count, of) = self.cut();
        (count * WHOLE).checked_div(of).unwrap_or_default()
    }
}

/// What is usual among some shares, and which are far above it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Compared {
    /// The median, in millionths; of an even number of shares the lower one of the middle.
    pub median: u64,
    /// The median of the distances from it.
    pub median_distance: u64,
    /// The sum of the distances.
    pub sum_of_distances: u64,
    /// The places of those that are far above.
    #[serde(skip)]
    pub above: Vec<usize>,
}

fn median(mut values: Vec<u128>) -> u128 {
    values.sort_unstable();
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or_default()
}

/// Compares shares; none where there are too few to compare.
#[must_use]
pub fn compare(shares: &[Share]) -> Option<Compared> {
    if shares.len() < LEAST_SHARES || shares.iter().any(|share| share.of < LEAST_CASES) {
        return None;
    }
    let values: Vec<u128> = shares.iter().map(|share| share.millionths()).collect();
    let usual = median(values.clone());
    let distances: Vec<u128> = values.iter().map(|value| value.abs_diff(usual)).collect();
    let (middle, sum) = (median(distances.clone()), distances.iter().sum::<u128>());
    let is_far = |distance: u128| {
        let (factor, limit) = SCORE_BY_MEDIAN;
        match middle {
            0 => distance * shares.len() as u128 * WHOLE > SCORE_BY_MEAN * sum,
            _ => factor * distance > limit * middle,
        }
    };
    let is_no_chance = |share: &Share| {
        let (count, of) = share.cut();
        let (cases, expected) = (count * WHOLE, usual * of);
        cases.saturating_sub(expected).pow(2) > CHANCE_SQUARED * expected.max(WHOLE) * WHOLE
    };
    let places = shares.iter().zip(&values).zip(&distances).enumerate();
    let above = places
        .filter(|(_, ((share, value), distance))| **value > usual && is_far(**distance) && is_no_chance(share))
        .map(|(place, _)| place)
        .collect();
    let cut = |n: u128| u64::try_from(n).unwrap_or(u64::MAX);
    Some(Compared { median: cut(usual), median_distance: cut(middle), sum_of_distances: cut(sum), above })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What it is about, counts and of how many, and the places of those that are far above.
    type Row<'a> = (&'a str, &'a [(u64, u64)], Option<&'a [usize]>);

    #[test]
    fn what_is_far_above_the_others_is_found_and_chance_is_not() {
        let table: [Row<'_>; 11] = [
            ("nobody", &[], None),
            ("four are too few", &[(0, 50), (0, 50), (0, 50), (50, 50)], None),
            ("one has too few cases", &[(0, 50), (0, 50), (0, 50), (0, 50), (29, 29)], None),
            ("all alike", &[(5, 50); 6], Some(&[])),
            ("one against four", &[(0, 50), (0, 50), (0, 50), (0, 50), (30, 50)], Some(&[4])),
            ("two cases more are chance", &[(0, 50), (0, 50), (0, 50), (0, 50), (2, 50)], Some(&[])),
            ("far above peers that differ", &[(4, 100), (5, 100), (6, 100), (7, 100), (60, 100)], Some(&[4])),
            ("far below is no fraud", &[(80, 100), (81, 100), (82, 100), (83, 100), (0, 100)], Some(&[])),
            ("peers that differ much", &[(10, 100), (30, 100), (50, 100), (70, 100), (90, 100)], Some(&[])),
            ("two of seven", &[(50, 100), (1, 100), (2, 100), (3, 100), (2, 100), (1, 100), (60, 100)], Some(&[0, 6])),
            ("numbers that cannot be", &[(u64::MAX, 30), (0, u64::MAX), (0, 30), (0, 30), (0, 30)], Some(&[0])),
        ];
        for (what, shares, above) in table {
            let shares: Vec<_> = shares.iter().map(|&(count, of)| Share { count, of }).collect();
            let found = compare(&shares);
            assert_eq!(found.as_ref().map(|found| found.above.as_slice()), above, "{what}: {found:?}");
        }
    }

    #[test]
    fn the_order_of_the_shares_changes_nothing() {
        let mut shares: Vec<_> = (0..9).map(|n| Share { count: n * n, of: 100 }).collect();
        let first = compare(&shares).unwrap();
        shares.reverse();
        let second = compare(&shares).unwrap();
        assert_eq!((first.median, first.median_distance), (second.median, second.median_distance));
        assert_eq!(first.above.iter().map(|place| 8 - place).rev().collect::<Vec<_>>(), second.above);
    }
}
