//! Stories of holders: phones, printed cards, blocks, moves, and voucher modules that look after them.

#![allow(clippy::unwrap_used)]

mod support;

use domain::custody::Verdict;
use domain::holder::{HolderKey, RegistrarEvent};
use domain::ids::{CardId, RecordName};
use domain::lifecycle::{Stage, Step};
use domain::policy::ProgrammeEvent;
use domain::reasons::Reason;
use domain::record::{AssistReason, Assisted, Body};
use support::*;
use uuid::Uuid;

fn booked() -> (Town, RecordName) {
    let mut town = Town::new();
    let issued = town.issue();
    let confirmed = town.book_and_confirm("h1", 10, issued);
    (town, confirmed)
}

fn card(town: &mut Town, at: i64, key: u8) {
    let (enrolment, card) = (town.enrolment, CardId(Uuid::from_u128(u128::from(key))));
    town.registrar(at, RegistrarEvent::CardIssued { enrolment, card, key: [key; 32] });
}

/// A use with the printed card of that key.
fn use_by_card(town: &mut Town, at: i64, prev: RecordName, key: u8) -> RecordName {
    let mut step = town.use_step("h1", hour(at));
    if let Step::UseConfirmed { presentation, .. } = &mut step {
        presentation.assisted = Some(Assisted { helper: operator(3), reason: AssistReason::NoPhone });
        town.presentations.get_mut(&presentation.cose).unwrap().1 = HolderKey::Ed25519([key; 32]);
    }
    town.step("h1", hour(at), prev, step)
}

/// The card that was issued last counts; the one before it, the phone's key in its place, or none, does not.
#[test]
fn a_printed_card_stands_in_for_the_phone() {
    let (mut town, confirmed) = booked();
    let before = use_by_card(&mut town, 30, confirmed, 5);
    card(&mut town, 30, 5);
    card(&mut town, 30, 6);
    let old = use_by_card(&mut town, 31, confirmed, 5);
    let phone = use_by_card(&mut town, 31, confirmed, 1);
    let new = use_by_card(&mut town, 31, confirmed, 6);
    let seen = town.look();
    assert_eq!(seen.verdict(before), Verdict::Broken(Reason::CardUnknown));
    assert_eq!(seen.verdict(old), Verdict::Broken(Reason::PresentationForged));
    assert_eq!(seen.verdict(phone), Verdict::Broken(Reason::PresentationForged));
    assert_eq!(seen.verdict(new), Verdict::Counts);
}

/// A programme that stops taking cards does so ten minutes after it says so.
#[test]
fn a_programme_decides_about_cards() {
    for (at, reason) in [(30, None), (31, Some(Reason::CardNotAllowed))] {
        let (mut town, confirmed) = booked();
        card(&mut town, 20, 5);
        let (programme, policy) = (town.programme, town.policy(false));
        town.write("i", hour(30), Body::Programme(ProgrammeEvent::Changed { programme, policy }));
        let used = use_by_card(&mut town, at, confirmed, 5);
        let expected = reason.map_or(Verdict::Counts, Verdict::Broken);
        assert_eq!(town.look().verdict(used), expected, "hour {at}");
    }
}

/// Only the home community issues, only to the home's voucher module, only under an enrolment of the programme.
#[test]
fn a_voucher_is_issued_at_home() {
    let mut town = Town::new();
    let generated = town.generate();
    let sent = town.step("i", hour(2), generated, Step::Sent { community: id("c") });
    let encoded = town.step("c", hour(3), sent, Step::Encoded { token: "VQ1:".into() });
    let enrolment = town.enrolment;
    let unknown = Step::Issued { enrolment: generated, presentation: town.arrive("c", hour(4)) };
    let unknown = town.step("c", hour(4), encoded, unknown);
    let wrong_step = Step::Issued { enrolment, presentation: town.arrive("c", hour(4)) };
    let wrong_step = town.step("c", hour(4), encoded, wrong_step);
    let moved = RegistrarEvent::EnrolmentMoved { enrolment, community: id("v"), voucher_module: id("v2") };
    town.registrar(4, moved);
    let step = town.issued_step(hour(4));
    let moved = town.step("c", hour(4), encoded, step.clone());
    let moved_back = RegistrarEvent::EnrolmentMoved { enrolment, community: id("c"), voucher_module: id("v2") };
    town.registrar(4, moved_back);
    let step = town.issued_step(hour(4));
    let issued = town.step("c", hour(4), encoded, step);
    let seen = town.look();
    assert_eq!(seen.verdict(unknown), Verdict::Broken(Reason::EnrolmentUnknown));
    assert_eq!(seen.verdict(wrong_step), Verdict::Broken(Reason::PresentationOtherStep));
    assert_eq!(seen.verdict(moved), Verdict::Broken(Reason::EnrolmentElsewhere));
    assert_eq!(seen.verdict(issued), Verdict::Counts);
    assert_eq!(seen.state().custodian, Some(id("v2")), "to the module of the newest home");
}

/// A blocked holder books nothing.
#[test]
fn a_blocked_holder_books_nothing() {
    let mut town = Town::new();
    let issued = town.issue();
    town.block(9);
    let booked = town.book("h1", 10, issued);
    assert_eq!(town.look().verdict(booked), Verdict::Broken(Reason::EnrolmentBlocked));
}

/// A module hands its holder over; the issuer does it only for a module that is gone, and not past what it did in time.
#[test]
fn a_voucher_module_hands_over() {
    let mut town = Town::new();
    let enrolment = town.enrol("v2");
    let issued = town.issue();
    let early = town.step("i", hour(5), issued, Step::HandedOver { enrolment });
    assert_eq!(town.look().verdict(early), Verdict::Broken(Reason::NotCustodian));
    let mut gone = town.clone();

    let handed = town.step("v", hour(6), issued, Step::HandedOver { enrolment });
    assert_eq!(town.look().verdict(handed), Verdict::Counts);
    assert_eq!(town.look().state().custodian, Some(id("v2")));

    let mut in_time = gone.clone();
    let booked = in_time.book("h1", 6, issued);
    for (town, stage) in [(&mut gone, Stage::Issued), (&mut in_time, Stage::BookingRequested)] {
        town.suspend("v", 7);
        let handed = town.step("i", hour(8), issued, Step::HandedOver { enrolment });
        let seen = town.look();
        assert_eq!(seen.stage(), stage);
        assert_eq!(seen.verdict(handed) == Verdict::Counts, stage == Stage::Issued);
    }
    let seen = in_time.look_waiting(booked);
    assert_eq!(seen.stage(), Stage::Issued);
    assert_eq!(seen.state().custodian, Some(id("v")), "while the booking waits, the hand-over waits");
}
