//! Counting again: published figures, stored state, and the order in which logs arrive.

use domain::ids::Digest;
use domain::lifecycle::ReleaseReason;
use domain::record::VoidReason;
use domain::statistics::{Covered, Measure, StatisticsPublished};

use super::*;
use crate::auditor::recount::{Again, Difference, NotHeld, recount, to_recount};
use crate::auditor::verify::{compare, folded_sizes, verify_store};
use crate::hospital;
use crate::issuer::Issuer;
use crate::kv::{Memory, Tx};
use crate::replica::{Settings, Work};

/// A few days with everything in them: bookings, a release, a cancellation, a visit, a redemption, a void.
fn days() -> (Scene, VoucherId) {
    let mut scene = Scene::new();
    let (used, second, third) = (scene.booked(), scene.issued(), scene.issued());
    let details = scene.request(second, slot("cardiology", "gl-2", 1));
    scene.open(details).unwrap();
    let text = scene.show(vp1::Step::Cancel { audience: "xuanwu".into(), voucher: named(second) });
    let registrar = scene.town.read(xuanwu(), |work| work.registrar_position()).unwrap();
    let witnessed = Witnessed { presentation: scene.presentation(&text), registrar };
    scene.note(xuanwu(), Role::Voucher, second, Note::CancelRequested { witnessed });
    scene.town.do_duties::<Hospital>(gulou());
    let details = scene.request(third, slot("cardiology", "gl-2", 2));
    scene.open(details).unwrap();
    let unable = hospital::Command::Release { voucher: third, reason: ReleaseReason::Unable };
    scene.ask(unable).unwrap();
    scene.note(health(), Role::Issuer, third, Note::VoidRequested { reason: VoidReason::Mistake });
    hospital::use_and_complete(&mut scene, used);
    scene.town.do_duties::<Hospital>(gulou());
    scene.town.spread();
    scene.step(health(), Role::Issuer, used, Step::Redeemed);
    let lie = chain(&scene, id("zhongda"), second, head(&scene, second), Step::BookingConfirmed);
    scene.town.lie(id("zhongda"), Role::Hospital, lie);
    scene.town.spread();
    (scene, used)
}

fn settings(scene: &Scene, at: InstitutionId) -> Settings {
    scene.town.read(at, |work| work.settings.clone())
}

fn covers(scene: &Scene) -> Vec<Covered> {
    let sizes = scene.town.read(health(), folded_sizes);
    let again = Again::fold(scene.town.base(health()), &settings(scene, health()), &sizes).unwrap();
    let covered =
        |(institution, size): (InstitutionId, u64)| Covered { institution, size, root: again.roots[&institution] };
    sizes.into_iter().map(covered).collect()
}

/// Days since 1970 of the town's first day.
fn monday() -> i32 {
    i32::try_from(DAWN.millis() / 86_400_000).unwrap()
}

/// Figures that the issuer has published, honest ones.
fn published() -> (Scene, u64, StatisticsPublished) {
    let (mut scene, _) = days();
    let command = crate::issuer::Command::Publish { from: monday(), until: monday() + 3, covers: covers(&scene) };
    scene.town.ask::<Issuer>(health(), command).unwrap();
    scene.town.spread();
    let (issuer, index, published) = scene.town.read(audit(), |work| to_recount(work, 10)).remove(0);
    assert_eq!(issuer, health());
    (scene, index, published)
}

#[test]
fn published_figures_are_what_the_logs_say_or_the_difference_is_named() {
    type Change = fn(&mut StatisticsPublished);
    type Expected = fn(Difference) -> bool;
    let (scene, _, good) = published();
    let settings = settings(&scene, audit());
    assert!(good.totals.contains(&(Measure::Redeemed, 1)), "there is something to count");
    assert_eq!(recount(scene.town.base(audit()), &settings, &good), Ok(None));
    let table: [(&str, Change, Expected); 6] = [
        ("another table", |p| p.table = Digest([1; 32]), |d| matches!(d, Difference::Table { .. })),
        ("a row more", |p| p.rows += 1, |d| matches!(d, Difference::Table { .. })),
        ("a day less", |p| p.until = p.until - Millis::days(3), |d| matches!(d, Difference::Table { .. })),
        ("other sums", |p| p.totals[0].1 += 1, |d| matches!(d, Difference::Totals { .. })),
        ("another root", |p| p.covers[0].root = Digest([2; 32]), |d| matches!(d, Difference::Root { .. })),
        ("a log twice", |p| p.covers.push(p.covers[0]), |d| matches!(d, Difference::CoveredTwice(_))),
    ];
    for (what, change, expected) in table {
        let mut lie = good.clone();
        change(&mut lie);
        let difference = recount(scene.town.base(audit()), &settings, &lie).unwrap();
        assert!(difference.clone().is_some_and(expected), "{what}: {difference:?}");
    }
    let mut ahead = good;
    let gulou_log = ahead.covers.iter_mut().find(|c| c.institution == gulou()).unwrap();
    gulou_log.size += 1;
    let missing = NotHeld { institution: gulou(), index: gulou_log.size - 1 };
    assert_eq!(recount(scene.town.base(audit()), &settings, &ahead), Err(missing));
}

#[test]
fn later_records_change_nothing_in_what_was_covered() {
    let (mut scene, _, good) = published();
    scene.issued();
    let settings = settings(&scene, audit());
    assert_eq!(recount(scene.town.base(audit()), &settings, &good), Ok(None));
}

#[test]
fn false_figures_become_a_finding_once() {
    let (mut scene, index, good) = published();
    let difference = Difference::Totals { counted: good.totals };
    let tell = |scene: &mut Scene, difference: Option<Difference>| {
        let command = Command::Recounted { issuer: health(), index, difference };
        scene.town.ask::<Auditor>(audit(), command).map(|answer| answer.findings)
    };
    assert_eq!(tell(&mut scene, Some(difference.clone())), Ok(1));
    assert_eq!(tell(&mut scene, Some(difference.clone())), Ok(0));
    let report = scene.town.read(audit(), report::report);
    assert_eq!(report.tables.iter().map(|t| t.difference.clone()).collect::<Vec<_>>(), [Some(difference)]);
    assert!(scene.town.read(audit(), |work| to_recount(work, 10)).is_empty(), "it is counted");
    let nothing = Command::Recounted { issuer: gulou(), index: 0, difference: None };
    assert!(scene.town.ask::<Auditor>(audit(), nothing).is_err(), "nobody published that");
}

#[test]
fn state_thrown_away_and_folded_again_is_equal_everywhere() {
    let (scene, _, _) = published();
    for at in ["health", "xuanwu", "gulou", "zhongda", "audit"] {
        let sizes = scene.town.read(id(at), folded_sizes);
        let verified = verify_store(scene.town.base(id(at)), &settings(&scene, id(at)), &sizes).unwrap();
        assert_eq!((verified.state.differing, &verified.state.keys), (0, &Vec::new()), "{at}");
        assert!(verified.state.rows > 20, "{at}: {} rows", verified.state.rows);
        assert_eq!((verified.statistics_checked, verified.statistics.len()), (1, 0), "{at}");
        assert!(!verified.report.good, "{at}: zhongda lied");
    }
}

#[test]
fn a_changed_row_is_found() {
    let (mut scene, used) = days();
    let sizes = scene.town.read(audit(), folded_sizes);
    let settings = settings(&scene, audit());
    type Change = fn(&mut Tx<'_>, VoucherId);
    let table: [(&str, Change); 4] = [
        ("a voucher is missing", |tx, v| tx.delete(crate::kv::Space::State, keys::voucher(v))),
        ("a voucher is contested", |tx, v| {
            let mut doc: crate::replica::VoucherDoc = tx.load(&keys::voucher(v)).unwrap();
            doc.contested = true;
            tx.store(keys::voucher(v), &doc);
        }),
        ("a row too many", |tx, _| tx.store(keys::broken(id("health"), 0), &1_u8)),
        ("a cursor is ahead", |tx, _| tx.store(keys::cursor(id("gulou")), &9_u64)),
    ];
    for (what, change) in table {
        let row = |scene: &mut Scene, change: &dyn Fn(&mut Tx<'_>)| {
            let changed = scene.town.decide(audit(), |desk| {
                change(&mut desk.work.tx);
                Ok(())
            });
            changed.unwrap();
        };
        let before = scene.town.state(audit());
        row(&mut scene, &|tx| change(tx, used));
        let verified = verify_store(scene.town.base(audit()), &settings, &sizes).unwrap();
        assert_eq!(verified.state.differing, 1, "{what}: {:?}", verified.state.keys);
        let after = scene.town.state(audit());
        row(&mut scene, &|tx| {
            for key in after.keys().filter(|key| !before.contains_key(*key)) {
                tx.delete(crate::kv::Space::State, key.clone());
            }
            for (key, value) in before.iter().filter(|(key, value)| after.get(*key) != Some(*value)) {
                tx.put(crate::kv::Space::State, key.clone(), value.clone());
            }
        });
    }
}

#[test]
fn a_fold_in_parts_is_the_fold_in_one() {
    let (mut scene, used) = days();
    let same = |scene: &Scene, what: &str| {
        let (base, settings) = (scene.town.base(audit()), settings(scene, audit()));
        let sizes = scene.town.read(audit(), folded_sizes);
        let whole = Again::fold_in(1, base, &settings, &sizes).unwrap();
        for parts in [2, 7] {
            let in_parts = Again::fold_in(parts, base, &settings, &sizes).unwrap();
            let compared = compare(&whole.memory, &in_parts.memory);
            assert_eq!((compared.differing, &compared.keys), (0, &Vec::new()), "{what}, {parts} parts");
            assert_eq!((&in_parts.roots, in_parts.read(report::report)), (&whole.roots, whole.read(report::report)));
        }
    };
    same(&scene, "days");
    // One presentation for many vouchers: no part alone can say which of them was first.
    let text = scene.show(vp1::Step::Arrive { audience: "gulou".into(), voucher: named(used) });
    for _ in 0..6 {
        let voucher = scene.issued();
        let presentation = scene.presentation(&text);
        let step = Step::UseConfirmed { presentation, complete_by: SLOT + Millis::days(7) };
        let lie = chain(&scene, gulou(), voucher, head(&scene, voucher), step);
        scene.town.lie(gulou(), Role::Hospital, lie);
    }
    scene.town.spread();
    same(&scene, "one presentation for many vouchers");
}

/// Folds whole logs one after the other, as a node that was away might receive them.
fn one_after_the_other(scene: &Scene, order: &[&str]) -> Memory {
    let settings = settings(scene, audit());
    let mut memory = Memory::default();
    let mut registry = std::sync::Arc::new(domain::member::Registry::new(settings.registrar));
    for institution in order.iter().map(|name| id(name)) {
        for index in 0.. {
            let Some(bytes) = scene.town.base(audit()).entry(institution, index) else { break };
            let mut work = Work { tx: Tx::new(&memory), registry: registry.clone(), settings: &settings };
            crate::replica::apply(&mut work, institution, index, &bytes);
            let changed = work.registry.clone();
            let writes = work.tx.into_writes();
            memory.commit(writes);
            memory.hold(institution, index, bytes);
            registry = changed;
        }
    }
    memory
}

#[test]
fn the_order_in_which_logs_arrive_changes_nothing() {
    let (scene, _) = days();
    let orders = [
        ["health", "xuanwu", "gulou", "zhongda", "audit", "qinhuai"],
        ["zhongda", "gulou", "xuanwu", "qinhuai", "audit", "health"],
        ["xuanwu", "health", "zhongda", "gulou", "qinhuai", "audit"],
        ["gulou", "health", "audit", "xuanwu", "zhongda", "qinhuai"],
    ];
    let first = one_after_the_other(&scene, &orders[0]);
    for order in &orders[1..] {
        let other = one_after_the_other(&scene, order);
        let compared = compare(&first, &other);
        assert_eq!((compared.differing, &compared.keys), (0, &Vec::new()), "{order:?}");
    }
}
