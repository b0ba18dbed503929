//! Unit B7: figures that anyone can count again from the logs they name.

use domain::ids::Digest;
use domain::member::Role;
use domain::reasons::Reason;
use domain::record::Body;
use domain::statistics::{Conservation, Covered, Measure, Row, StatisticsPublished};
use domain::time::Millis;
use sha2::Digest as _;

use super::{Journey, ask, health, why};
use crate::issuer::{Answer, Command, Issuer, publications, table, table_bytes};
use crate::replica::{counters, statistics_rows};
use crate::town::{DAWN, Town, id};

/// Monday, 2 March 2026, in days since 1970.
const MONDAY: i32 = 20_514;

fn covers(town: &Town) -> Vec<Covered> {
    town.read(health(), |work| {
        let logs = work.registry.members.keys().map(|i| (*i, work.cursor(*i).next)).filter(|(_, size)| *size > 0);
        logs.map(|(institution, size)| Covered { institution, size, root: Digest([1; 32]) }).collect()
    })
}

fn publish(town: &mut Town, from: i32, until: i32) -> Result<Answer, crate::writer::Refused> {
    let covers = covers(town);
    ask(town, Command::Publish { from, until, covers })
}

fn newest(town: &Town) -> StatisticsPublished {
    let size = town.read(health(), |work| work.cursor(health()).next);
    let entry = town.entry(health(), size - 1).unwrap();
    let record: domain::record::Record = ledger::record::decode_record(&entry).unwrap();
    let Body::Statistics(published) = record.body else { panic!("{record:?}") };
    published
}

#[test]
fn a_redemption_shows_in_every_column_where_it_happened() {
    let mut journey = Journey::redeemed();
    let Answer::Published { table: digest, rows } = publish(&mut journey.town, MONDAY, MONDAY + 1).unwrap() else {
        panic!()
    };
    let published = newest(&journey.town);
    assert_eq!((published.table, published.rows), (digest, rows));
    assert_eq!(published.from, DAWN - Millis::hours(8), "the day begins in Shanghai");
    assert_eq!(published.until, DAWN - Millis::hours(8) + Millis::days(2));
    let total = |measure| published.totals.iter().find(|(m, _)| *m == measure).map(|(_, n)| *n);
    let expected = [
        (Measure::Generated, Some(10)),
        (Measure::Sent, Some(1)),
        (Measure::Issued, Some(1)),
        (Measure::Booked, Some(1)),
        (Measure::Used, Some(1)),
        (Measure::Examined, Some(1)),
        (Measure::Redeemed, Some(1)),
        (Measure::Voided, None),
    ];
    for (measure, n) in expected {
        assert_eq!(total(measure), n, "{measure:?}");
    }
    let row = |rows: &[Row], measure| *rows.iter().find(|r| r.measure == measure).unwrap();
    let rows = journey.town.read(health(), |work| statistics_rows(work, MONDAY, MONDAY + 1));
    let redeemed = row(&rows, Measure::Redeemed);
    assert_eq!((redeemed.community, redeemed.hospital), (Some(id("xuanwu")), Some(id("gulou"))));
    assert_eq!((redeemed.day, row(&rows, Measure::Sent).day), (MONDAY + 1, MONDAY));
}

#[test]
fn everyone_counts_the_same_and_finds_the_table_by_its_digest() {
    let mut journey = Journey::redeemed();
    publish(&mut journey.town, MONDAY, MONDAY + 1).unwrap();
    let published = newest(&journey.town);
    let bytes = table_bytes(&journey.town.read(health(), |work| table(work, published.table)).unwrap());
    assert_eq!(Digest(sha2::Sha256::digest(&bytes).into()), published.table);
    let listed = journey.town.read(health(), |work| publications(work, 9));
    assert_eq!(listed.iter().map(|(_, p)| p).collect::<Vec<_>>(), [&published]);
    journey.town.spread();
    let counted = journey.town.read(id("audit"), |work| table_bytes(&statistics_rows(work, MONDAY, MONDAY + 1)));
    assert_eq!(counted, bytes);
    let short: Vec<Row> = journey.town.read(health(), |work| statistics_rows(work, MONDAY, MONDAY));
    assert_eq!(table_bytes(&short), ledger::record::encode(&short).unwrap(), "the bytes of the list as a whole");
    assert!(journey.town.read(health(), |work| table(work, Digest([0; 32]))).is_none());
    let conserved = journey.town.read(id("audit"), |work| Conservation::of(counters(work)));
    assert!(conserved.values().all(Conservation::holds) && conserved.len() == 1);
}

#[test]
fn figures_cover_every_log_exactly_as_far_as_it_is_folded() {
    let mut journey = Journey::issued();
    let town = &mut journey.town;
    let good = covers(town);
    type Change = fn(&mut Vec<Covered>);
    let changes: [(&str, Change); 4] = [
        ("a log is missing", |c| c.truncate(c.len() - 1)),
        ("a log is named twice", |c| c.push(c[0])),
        ("less than is folded", |c| c[0].size -= 1),
        ("more than is folded", |c| c[0].size += 1),
    ];
    for (what, change) in changes {
        let mut covers = good.clone();
        change(&mut covers);
        let refused = ask(town, Command::Publish { from: MONDAY, until: MONDAY, covers });
        assert_eq!(why(refused), Reason::StalePosition, "{what}");
    }
    for (from, until) in [(MONDAY, MONDAY - 1), (-1, 0), (MONDAY, MONDAY + 366), (i32::MAX - 1, i32::MAX)] {
        assert_eq!(why(publish(town, from, until)), Reason::Malformed, "{from} to {until}");
    }
    town.write(id("gulou"), Role::Hospital, Body::Heartbeat);
    town.spread();
    let late = ask(town, Command::Publish { from: MONDAY, until: MONDAY, covers: good });
    assert_eq!(why(late), Reason::StalePosition, "a log has grown meanwhile");
}

#[test]
fn a_long_table_is_kept_whole() {
    // Many days: more bytes than one row of the store or one value of a record takes.
    let mut journey = Journey::issued();
    for day in 0..200 {
        journey.town.now = DAWN + Millis::days(day);
        super::generate(&mut journey.town, (1_000 + day as u128 * 2)..=(1_001 + day as u128 * 2));
    }
    journey.town.spread();
    journey.town.do_duties::<Issuer>(health());
    publish(&mut journey.town, MONDAY, MONDAY + 365).unwrap();
    let published = newest(&journey.town);
    let bytes = table_bytes(&journey.town.read(health(), |work| table(work, published.table)).unwrap());
    assert!(bytes.len() > 8 * 1024 && published.rows > 200);
    assert_eq!(Digest(sha2::Sha256::digest(&bytes).into()), published.table);
}
