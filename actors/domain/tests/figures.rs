//! Figures: what one voucher adds, where and when, and that replacing a path takes away exactly what it added.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;

use chrono::FixedOffset;
use domain::custody::Link;
use domain::lifecycle::{Stage, Step};
use domain::statistics::{self, Counter, Measure, Standing};
use support::*;

fn offset() -> FixedOffset {
    FixedOffset::east_opt(8 * 3600).unwrap()
}

fn redeemed() -> (Town, Seen) {
    let mut town = Town::new();
    let issued = town.issue();
    let confirmed = town.book_and_confirm("h1", 10, issued);
    let used = town.use_it("h1", 31, confirmed);
    let claimed = town.complete_and_claim("h1", 32, used);
    town.step("i", hour(33), claimed, Step::Redeemed);
    let seen = town.look();
    (town, seen)
}

fn path(seen: &Seen) -> Vec<(&Link, Standing)> {
    seen.folded.path.iter().map(|(i, v)| (&seen.links[*i], Standing::from(v))).collect()
}

/// Measure, community, hospital, days after the day of `Generated`: the town begins at 16:00 in Shanghai, so that hour 31
/// is the last of the next day there.
const EVENTS: &str = "
generated          -  -   0
sent               c  -   0
issued             c  -   0
booking-requested  c  h1  1
booked             c  h1  1
used               c  h1  1
examined           c  h1  2
claimed            c  h1  2
redeemed           c  h1  2
";

#[test]
fn one_voucher_from_generated_to_redeemed() {
    let (_, seen) = redeemed();
    let figures = statistics::difference(&[], &path(&seen), offset());
    let first = hour(1).day_at(offset());
    let measures = [
        Measure::Generated,
        Measure::Sent,
        Measure::Issued,
        Measure::BookingRequested,
        Measure::Booked,
        Measure::Used,
        Measure::Examined,
        Measure::Claimed,
        Measure::Redeemed,
    ];
    let mut expected: BTreeMap<String, i64> = BTreeMap::new();
    for (line, measure) in EVENTS.lines().skip(1).zip(measures) {
        let cells: Vec<&str> = line.split_whitespace().collect();
        expected.insert(format!("{measure:?} {} {} {}", cells[1], cells[2], cells[3]), 1);
    }
    let mut events = BTreeMap::new();
    let (mut moved_in, mut moved_out, mut rest) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
    for (counter, n) in figures {
        let word = |id: Option<_>| id.map_or_else(|| "-".to_owned(), |id: domain::ids::InstitutionId| id.to_string());
        match counter {
            Counter::Event { day, community, hospital, measure, .. } => {
                let since = first.signed_duration_since(chrono::NaiveDate::default()).num_days();
                let line = format!("{measure:?} {} {} {}", word(community), word(hospital), i64::from(day) - since);
                events.insert(line, n);
            }
            Counter::TransferIn(_, who) => drop(moved_in.insert(who.to_string(), n)),
            Counter::TransferOut(_, who) => drop(moved_out.insert(who.to_string(), n)),
            other => rest.push((other, n)),
        }
    }
    assert_eq!(events, expected);
    let moves = |all: [(&str, i64); 4]| all.map(|(who, n)| (who.to_owned(), n)).into_iter().collect::<BTreeMap<_, _>>();
    assert_eq!(moved_in, moves([("c", 1), ("h1", 1), ("i", 2), ("v", 1)]));
    assert_eq!(moved_out, moves([("c", 1), ("h1", 1), ("i", 2), ("v", 1)]));
    let programme = seen.state().programme;
    assert_eq!(rest, [(Counter::Settled(programme, Stage::Redeemed), 1), (Counter::Generated(programme), 1)]);
}

/// From any prefix of a path to any other, and where a record stands differently than before: the difference is that of
/// the two counted at once.
#[test]
fn a_replaced_path_takes_away_what_it_added() {
    let (_, seen) = redeemed();
    let whole = path(&seen);
    let mut other = whole.clone();
    for (_, standing) in &mut other[4..] {
        standing.hospital = Some(id("h2"));
        standing.custodian = standing.custodian.map(|who| if who == id("h1") { id("h2") } else { who });
    }
    let paths: Vec<_> = [&whole, &other].into_iter().flat_map(|p| (0..=p.len()).map(|n| &p[..n])).collect();
    for old in &paths {
        for new in &paths {
            let mut figures = statistics::difference(&[], old, offset());
            for (counter, n) in statistics::difference(old, new, offset()) {
                *figures.entry(counter).or_default() += n;
            }
            figures.retain(|_, n| *n != 0);
            assert_eq!(figures, statistics::difference(&[], new, offset()));
        }
    }
}
