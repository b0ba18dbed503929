//! Random histories, legal and illegal: the same records give the same state in any order, and what must hold holds.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use chrono::FixedOffset;
use domain::custody::{self, Link, Verdict};
use domain::holder::RegistrarEvent;
use domain::ids::{InstitutionId, RecordName};
use domain::lifecycle::{Outcome, Stage, Step, Voucher};
use domain::record::{Body, VoidReason};
use domain::statistics::{self, Changes, Conservation, Counter, Standing};
use domain::time::{Millis, Timestamp};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use support::*;

/// One thing that somebody does.
#[derive(Debug, Clone)]
struct Move {
    /// What, of the list in [`act`].
    what: u8,
    /// Which hospital or module, where there is a choice.
    who: u8,
    /// How long after the move before, in units of 5 minutes; large ones jump to a limit.
    wait: u8,
    /// How far back from the head the record before it is; mostly 0.
    back: u8,
    /// Which registrar position it names: the newest, or as of some records before.
    stale: u8,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let back = prop_oneof![8 => Just(0_u8), 2 => 1_u8..6];
    let stale = prop_oneof![6 => Just(0_u8), 1 => 1_u8..4];
    let wait = prop_oneof![25 => 0_u8..25, 1 => 25_u8..28];
    let one = (any::<u8>(), any::<u8>(), wait, back, stale).prop_map(|(what, who, wait, back, stale)| Move {
        what,
        who,
        wait,
        back,
        stale,
    });
    prop::collection::vec(one, 5..40)
}

/// Plays the moves in a town where the voucher was issued.
fn play(moves: &[Move]) -> Town {
    let mut town = Town::new();
    let other_enrolment = town.enrol("v2");
    town.issue();
    let mut now = hour(10);
    for m in moves {
        let seen = town.look();
        let state = seen.state().clone();
        now = match m.wait {
            // Somewhere at the next limit, or past the grace after it: the interesting moments.
            25 => state.limit().unwrap_or(now).max(now),
            26 => (state.limit().unwrap_or(now) + Millis::hours(24)).max(now),
            27 => (state.limit().unwrap_or(now) + Millis::days(30)).max(now),
            n => now + Millis::minutes(i64::from(n) * 5),
        };
        // The head, or some other record: of the path, or any of the voucher.
        let path = seen.path();
        let prev = match m.back {
            0 => path.last().unwrap().0,
            n @ 1..=3 => path[path.len().saturating_sub(usize::from(n) + 1)].0,
            n => seen.links[(usize::from(m.who) + usize::from(n)) % seen.links.len()].name,
        };
        let registrars = &town.logs[&id("i")];
        let named = registrars[registrars.len() - 1 - usize::from(m.stale)].0;
        town.judged_by = (m.stale > 0).then_some(named);
        act(&mut town, m, now, prev, &state, other_enrolment);
    }
    town.judged_by = None;
    town
}

/// The step that would be next for the state, so that histories get somewhere.
fn forward(town: &mut Town, m: &Move, at: Timestamp, state: &Voucher, hospital: &str) -> (String, Step) {
    let holder = state.custodian.unwrap_or(id("i")).to_string();
    let (soon, later) = (at + Millis::hours(3), at + Millis::hours(9));
    let step = match state.stage {
        Stage::Generated => Step::Sent { community: id("c") },
        Stage::Sent => Step::Encoded { token: "VQ1:".into() },
        Stage::Encoded => town.issued_step(at),
        Stage::Issued => Step::Booked {
            hospital: id(hospital),
            details: Default::default(),
            respond_by: soon,
            use_from: at,
            use_by: later,
        },
        Stage::BookingRequested => Step::BookingConfirmed,
        Stage::Booked => town.use_step(&holder, at),
        Stage::InUse => town.complete_step(&holder, at),
        Stage::Examined => Step::RedemptionClaimed { answers: None },
        Stage::Claimed if m.who.is_multiple_of(3) => rejected(m.who.is_multiple_of(2)),
        Stage::Claimed => Step::Redeemed,
        Stage::Rejected => {
            let answers = town.look().path().last().map(|(name, _)| *name);
            Step::RedemptionClaimed { answers }
        }
        Stage::Refused => voided(),
        Stage::Redeemed => reversed(m.who.is_multiple_of(2)),
        Stage::Voided if m.who.is_multiple_of(2) => resolved(Outcome::Void(VoidReason::Mistake)),
        Stage::Voided => {
            let links = town.look().links;
            resolved(Outcome::Keep(links[usize::from(m.what) % links.len()].name))
        }
    };
    (holder, step)
}

fn act(town: &mut Town, m: &Move, at: Timestamp, prev: RecordName, state: &Voucher, other: RecordName) {
    let hospital = ["h1", "h2"][usize::from(m.who % 2)];
    let holder = state.custodian.unwrap_or(id("i")).to_string();
    let module = state.voucher_module.unwrap_or(id("v")).to_string();
    let last = |town: &Town, who: &str| town.logs[&id(who)].last().map(|(name, _)| *name);
    let put = |town: &mut Town, who: &str, step| {
        town.step(who, at, prev, step);
    };
    match m.what % 40 {
        0..=13 | 32..=39 => {
            let (who, step) = forward(town, m, at, state, hospital);
            put(town, &who, step);
        }
        // The lapse and the take-backs, with proof or without.
        14 | 15 => {
            let booked = state.hospital().unwrap_or(id(hospital)).to_string();
            if !m.who.is_multiple_of(4) {
                town.write(&booked, at, Body::Heartbeat);
            }
            if let Some(position) = last(town, &booked) {
                put(town, &module, Step::BookingLapsed { position });
            }
        }
        16 => {
            let silent = state.must_be_silent();
            if !m.who.is_multiple_of(4) {
                for who in &silent {
                    town.write(who.as_str(), at, Body::Heartbeat);
                }
            }
            let positions: Vec<_> = silent.iter().filter_map(|who| last(town, who.as_str())).collect();
            put(town, "i", expired(&positions));
        }
        17 => put(town, "i", reclaimed()),
        18 => put(town, "i", voided()),
        19 => put(town, &holder, returned()),
        20 => put(town, &holder, aborted()),
        21 => put(town, &holder, if m.who.is_multiple_of(2) { declined() } else { released() }),
        22 => put(
            town,
            &module,
            Step::HandedOver { enrolment: if m.who.is_multiple_of(2) { other } else { town.enrolment } },
        ),
        // Liars: a second booking, a use without its holder, the same presentation twice, a redemption of nothing.
        23 => put(town, &module, booked_step(hospital, 10)),
        24 => {
            let mut step = town.use_step(hospital, at);
            let signed = town.presentations.keys().max().cloned();
            if let (Step::UseConfirmed { presentation, .. }, Some(cose)) = (&mut step, signed) {
                presentation.cose = if m.who.is_multiple_of(3) { Vec::new() } else { cose };
            }
            put(town, hospital, step);
        }
        25 => put(town, if m.who.is_multiple_of(2) { "i" } else { hospital }, Step::Redeemed),
        26 => {
            let links = town.look().links;
            let kept = links[usize::from(m.who) % links.len()].name;
            put(town, "i", resolved(Outcome::Keep(kept)));
        }
        // The registrar.
        27 => {
            let from = town.logs[&id(hospital)].len() as u64;
            let (institution, approver) = (id(hospital), operator(2));
            let event = if m.who % 4 < 2 {
                RegistrarEvent::MemberSuspended { institution, from, approver }
            } else {
                RegistrarEvent::MemberRestored { institution, from, approver }
            };
            town.write("i", at, Body::Registrar(event));
        }
        28 => {
            let event = RegistrarEvent::EnrolmentKeyChanged { enrolment: town.enrolment, key: Some(phone(1)) };
            town.write("i", at, Body::Registrar(event));
        }
        29 if m.who.is_multiple_of(8) => {
            town.write("i", at, Body::Registrar(blocked(town)));
        }
        30 if m.who.is_multiple_of(4) => {
            let size = town.logs[&id(hospital)].len() as u64;
            let (institution, approver) = (id(hospital), operator(2));
            let event = RegistrarEvent::LogFrozen { institution, size, root: Default::default(), approver };
            town.write("i", at, Body::Registrar(event));
        }
        _ => {
            town.write(hospital, at, Body::Heartbeat);
        }
    }
}

fn blocked(town: &Town) -> RegistrarEvent {
    let reason = domain::holder::BlockReason::LostOrStolen;
    RegistrarEvent::EnrolmentBlocked { enrolment: town.enrolment, reason }
}

fn offset() -> FixedOffset {
    FixedOffset::east_opt(8 * 3600).unwrap()
}

fn standings(path: &[(Link, Standing)]) -> Vec<(&Link, Standing)> {
    path.iter().map(|(link, standing)| (link, *standing)).collect()
}

fn path_of(seen: &Seen) -> Vec<(Link, Standing)> {
    seen.folded.path.iter().map(|(i, v)| (seen.links[*i].clone(), Standing::from(v))).collect()
}

fn add(figures: &mut BTreeMap<Counter, i64>, changes: Changes) {
    for (counter, change) in changes {
        *figures.entry(counter).or_default() += change;
    }
    figures.retain(|_, n| *n != 0);
}

/// What must hold of a path, whoever wrote what.
fn check_path(seen: &Seen) -> Result<(), TestCaseError> {
    let links: Vec<&Link> = seen.folded.path.iter().map(|(i, _)| &seen.links[*i]).collect();
    let mut before: Option<&Voucher> = None;
    let (mut open_booking, mut in_use, mut redeemed, mut voided) = (false, false, false, false);
    let mut used = BTreeSet::new();
    for (link, (_, after)) in links.iter().zip(&seen.folded.path) {
        prop_assert_eq!(link.prev.is_none(), before.is_none());
        prop_assert_eq!(after.custodian.is_none(), after.stage.is_settled());
        match &link.step {
            Step::Booked { .. } => {
                prop_assert!(!open_booking, "two bookings at once");
                prop_assert!(before.unwrap().is_valid_at(link.at), "booked out of its time");
            }
            Step::UseConfirmed { presentation, .. } => {
                prop_assert!(!in_use, "used twice without an abort between");
                prop_assert!(used.insert(presentation.cose.clone()), "a presentation counted twice");
                prop_assert!(link.claims.is_some() && link.first_use);
            }
            Step::Redeemed => {
                prop_assert!(!redeemed && !voided, "redeemed twice, or though voided");
                prop_assert!(was_there(seen, link), "redeemed without its holder");
            }
            Step::Voided { .. } => prop_assert!(!redeemed && !voided, "voided though settled"),
            _ => {}
        }
        open_booking = after.booking.is_some() && !after.stage.is_settled();
        in_use = matches!(after.stage, Stage::InUse | Stage::Examined | Stage::Claimed | Stage::Rejected);
        (redeemed, voided) = (after.stage == Stage::Redeemed, after.stage == Stage::Voided);
        before = Some(after);
    }
    Ok(())
}

/// Whether the holder was there, on the path to a record or on the branch that a `Resolved` of it keeps.
fn was_there(seen: &Seen, link: &Link) -> bool {
    let find = |name: &RecordName| seen.links.iter().find(|l| l.name == *name);
    matches!(link.step, Step::UseConfirmed { .. })
        || custody::named_in(&link.step).iter().chain(&link.prev).filter_map(find).any(|l| was_there(seen, l))
}

/// The settlements of a path.
fn settled(seen: &Seen) -> BTreeSet<RecordName> {
    let links = seen.folded.path.iter().map(|(i, _)| &seen.links[*i]);
    links.filter(|link| custody::is_settlement(link)).map(|link| link.name).collect()
}

/// Cuts the arrival of all records into steps: which institution's next record comes.
fn arrivals(town: &Town, picks: &[u8]) -> Vec<InstitutionId> {
    let mut left = town.all();
    let mut picks = picks.iter().cycle();
    let mut order = Vec::new();
    while !left.is_empty() {
        left.retain(|_, n| *n > 0);
        let waiting: Vec<InstitutionId> = left.keys().copied().collect();
        let Some(pick) = waiting.get(usize::from(*picks.next().unwrap()) % waiting.len().max(1)) else { break };
        *left.get_mut(pick).unwrap() -= 1;
        order.push(*pick);
    }
    order
}

/// Plays the moves and lets the records arrive in the order of the picks.
fn check(moves: &[Move], picks: &[u8], shuffle: u64) -> Result<(), TestCaseError> {
    let town = play(moves);
    let all = town.look();
    check_path(&all)?;

    let mut held: Held = town.logs.keys().map(|who| (*who, 0)).collect();
    let mut figures = BTreeMap::new();
    let mut old: Vec<(Link, Standing)> = Vec::new();
    let mut sealed = BTreeSet::new();
    for who in arrivals(&town, picks) {
        *held.get_mut(&who).unwrap() += 1;
        let seen = town.look_with(&held);
        check_path(&seen)?;

        // The order of the links is the order of arrival on some node.
        let mut links = seen.links.clone();
        links.sort_by_key(|l| {
            l.at.millis().wrapping_mul(31).rotate_left(17) as u64 ^ shuffle.rotate_left(l.name.index as u32)
        });
        let folded = custody::fold(town.voucher, &links, &town.node(&held));
        let shuffled = Seen { links, folded };
        prop_assert_eq!(shuffled.path(), seen.path());
        prop_assert_eq!(shuffled.verdicts(), seen.verdicts());

        // Figures kept as records come are the figures counted at once, and nothing is lost or counted twice.
        let new = path_of(&seen);
        add(&mut figures, statistics::difference(&standings(&old), &standings(&new), offset()));
        prop_assert_eq!(&figures, &statistics::difference(&[], &standings(&new), offset()));
        for (_, balance) in Conservation::of(figures.clone()) {
            prop_assert!(balance.holds(), "{:?}", balance);
        }
        old = new;

        // What an issuer in good standing settled stays, whatever comes later.
        let now_sealed = settled(&seen);
        prop_assert!(sealed.is_subset(&now_sealed), "{:?} lost of {:?}", sealed.difference(&now_sealed), sealed);
        sealed = now_sealed;
    }
    let seen = town.look_with(&held);
    prop_assert_eq!(seen.path(), all.path());
    prop_assert_eq!(seen.verdicts(), all.verdicts());
    prop_assert!(seen.verdicts().values().all(|v| *v != Verdict::Waits), "nothing waits once everything is here");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_same_records_give_the_same_state_in_any_order(
        moves in moves(),
        picks in prop::collection::vec(any::<u8>(), 1..60),
        shuffle in any::<u64>(),
    ) {
        check(&moves, &picks, shuffle)?;
    }
}

/// A hospital whose log is frozen writes on what the issuer resolved later: an earlier `Resolved` does not wait for it.
#[test]
fn what_was_written_later_was_not_there_to_be_resolved() {
    let moves = [
        (32, 156, 0, 0, 0),
        (140, 0, 0, 0, 0),
        (0, 0, 0, 0, 0),
        (32, 0, 0, 0, 0),
        (29, 50, 0, 0, 0),
        (32, 0, 0, 0, 0),
        (189, 1, 0, 0, 0),
        (179, 0, 0, 0, 0),
        (14, 1, 0, 0, 0),
        (112, 0, 0, 0, 0),
        (32, 183, 0, 0, 0),
        (0, 59, 0, 1, 0),
        (110, 104, 0, 0, 0),
        (112, 0, 25, 0, 0),
        (32, 0, 0, 0, 0),
        (189, 1, 0, 0, 0),
        (16, 0, 0, 0, 0),
        (32, 0, 0, 0, 0),
        (189, 1, 0, 0, 0),
        (226, 12, 0, 0, 0),
        (214, 0, 0, 0, 0),
        (32, 0, 0, 0, 0),
        (27, 0, 0, 0, 0),
        (177, 0, 0, 0, 0),
        (152, 0, 0, 0, 0),
        (118, 55, 0, 0, 0),
        (0, 0, 0, 0, 0),
    ];
    let moves = moves.map(|(what, who, wait, back, stale)| Move { what, who, wait, back, stale });
    let picks = [
        109, 69, 159, 12, 224, 2, 43, 15, 169, 97, 31, 1, 49, 12, 126, 49, 1, 2, 31, 43, 5, 56, 253, 103, 19, 92, 133,
        11, 44, 30, 48, 11, 47, 0, 56, 73, 157, 126, 47, 8, 0,
    ];
    check(&moves, &picks, 1).unwrap();
}

/// The histories above reach what they are about; without this they could all be dull.
#[test]
fn the_histories_get_everywhere() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut stages, mut steps, mut verdicts) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for _ in 0..400 {
        let moves = moves().new_tree(&mut runner).unwrap().current();
        let seen = play(&moves).look();
        *stages.entry(seen.stage()).or_insert(0) += 1;
        for (i, _) in &seen.folded.path {
            let name = format!("{:?}", seen.links[*i].step);
            let name = name.split(' ').next().unwrap().to_owned();
            *steps.entry(name).or_insert(0) += 1;
        }
        for verdict in &seen.folded.verdicts {
            *verdicts.entry(format!("{verdict:?}")).or_insert(0) += 1;
        }
    }
    println!("{stages:?}\n{steps:?}\n{verdicts:?}");
    for step in ["BookingLapsed", "Redeemed", "Reversed", "Reclaimed", "Resolved", "Voided", "HandedOver", "Returned"] {
        assert!(steps.get(step).is_some_and(|n| *n >= 5), "{step}: {steps:?}");
    }
    assert!(verdicts.get("Superseded").is_some_and(|n| *n >= 50), "{verdicts:?}");
    assert!(verdicts.len() >= 20, "{verdicts:?}");
}

/// A planted double count is found: the balance is counted from both ends.
#[test]
fn a_planted_double_count_is_found() {
    let mut town = Town::new();
    let issued = town.issue();
    let confirmed = town.book_and_confirm("h1", 10, issued);
    let used = town.use_it("h1", 31, confirmed);
    let claimed = town.complete_and_claim("h1", 32, used);
    town.step("i", hour(33), claimed, Step::Redeemed);
    let path = path_of(&town.look());
    let honest = statistics::difference(&[], &standings(&path), offset());
    assert!(Conservation::of(honest.clone()).values().all(Conservation::holds));
    let is_event = |counter: &Counter| matches!(counter, Counter::Event { .. });
    for planted in honest.keys().filter(|c| !is_event(c)) {
        let mut figures = honest.clone();
        *figures.get_mut(planted).unwrap() += 1;
        assert!(!Conservation::of(figures).values().all(Conservation::holds), "{planted:?}");
    }
}
