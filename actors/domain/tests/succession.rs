//! Succession: what an institution held goes on in another log, from all that was written before and from nothing past it.

mod support;

use domain::custody::Verdict;
use domain::holder::RegistrarEvent;
use domain::ids::{Digest, RecordName};
use domain::lifecycle::{Stage, Step};
use domain::reasons::Reason;
use support::*;

/// At an hour the log of `old` ends at its present size, or before, and that of `heir` goes on.
fn succeed(town: &mut Town, old: &str, heir: &str, at: i64, less: usize) -> RecordName {
    let size = (town.logs[&id(old)].len() - less) as u64;
    let (institution, successor, root) = (id(old), id(heir), Digest::default());
    town.registrar(at, RegistrarEvent::LogSucceeded { institution, size, root, successor, approver: operator(2) })
}

#[test]
fn an_heir_goes_on_with_what_a_hospital_held() {
    let mut town = Town::new();
    let issued = town.issue();
    let booked = town.book_and_confirm("h1", 10, issued);
    let before = town.newest_registrar();
    succeed(&mut town, "h1", "h3", 11, 0);

    // Who does not know of it does not inherit.
    town.judged_by = Some(before);
    let early = town.use_it("h3", 31, booked);
    town.judged_by = None;
    assert_eq!(town.look().verdict(early), Verdict::Broken(Reason::NotCustodian));

    let late = town.use_it("h1", 31, booked);
    let used = town.use_it("h3", 31, booked);
    let claimed = town.complete_and_claim("h3", 32, used);
    let redeemed = town.step("i", hour(33), claimed, Step::Redeemed);
    let seen = town.look();
    assert_eq!(seen.verdict(late), Verdict::Broken(Reason::NotInGoodStanding));
    assert_eq!((seen.stage(), seen.verdict(redeemed)), (Stage::Redeemed, Verdict::Counts));
}

#[test]
fn an_heir_waits_for_all_that_was_written_before() {
    let mut town = Town::new();
    let issued = town.issue();
    let booked = town.book_and_confirm("h1", 10, issued);
    let beat = town.heartbeat("h1", 11);
    succeed(&mut town, "h1", "h3", 12, 0);
    let used = town.use_it("h3", 31, booked);
    assert_eq!(town.look_with(&town.without(beat)).verdict(used), Verdict::Waits);
    assert_eq!(town.look().verdict(used), Verdict::Counts);
}

#[test]
fn a_voucher_module_takes_over_bookings_and_their_lapse() {
    let mut town = Town::new();
    let issued = town.issue();
    let booked = town.book_and_confirm("h1", 10, issued);
    succeed(&mut town, "v", "v2", 11, 0);
    succeed(&mut town, "h1", "h3", 11, 0);
    let over = town.heartbeat("h3", 40);
    let lapsed = town.step("v2", hour(41), booked, Step::BookingLapsed { position: over });
    let again = town.book("h2", 42, lapsed);
    let by_heir = town.step("v2", hour(42), lapsed, booked_step("h2", 42));
    let seen = town.look();
    assert_eq!(seen.verdict(lapsed), Verdict::Counts);
    assert_eq!(seen.verdict(again), Verdict::Broken(Reason::NotInGoodStanding), "the old module's log has ended");
    assert_eq!((seen.verdict(by_heir), seen.stage()), (Verdict::Counts, Stage::BookingRequested));
}

#[test]
fn what_the_old_log_holds_in_time_stands_against_a_lapse_by_the_heirs_log() {
    let mut town = Town::new();
    let issued = town.issue();
    let booked = town.book_and_confirm("h1", 10, issued);
    let used = town.use_it("h1", 31, booked);
    succeed(&mut town, "h1", "h3", 32, 0);
    let over = town.heartbeat("h3", 40);
    let lapsed = town.step("v", hour(41), booked, Step::BookingLapsed { position: over });
    let seen = town.look();
    assert_eq!((seen.verdict(used), seen.stage()), (Verdict::Counts, Stage::InUse));
    assert_eq!(seen.verdict(lapsed), Verdict::Broken(Reason::NotSurelyOver));
    let done = town.complete_and_claim("h3", 42, used);
    assert_eq!(town.look().verdict(done), Verdict::Counts);
}

#[test]
fn what_goes_to_who_was_succeeded_comes_back_to_the_issuer() {
    let mut town = Town::new();
    let issued = town.issue();
    succeed(&mut town, "h1", "h3", 9, 0);
    town.book("h1", 10, issued);
    assert_eq!(town.look().stage(), Stage::Generated);
}

#[test]
fn another_issuer_settles_and_the_old_one_no_more() {
    let mut town = Town::new();
    let issued = town.issue();
    let booked = town.book_and_confirm("h1", 10, issued);
    let used = town.use_it("h1", 31, booked);
    let claimed = town.complete_and_claim("h1", 32, used);
    let too_early = town.step("i2", hour(33), claimed, Step::Redeemed);
    assert_eq!(town.look().verdict(too_early), Verdict::Broken(Reason::NotCustodian));

    let from = town.logs[&id("i")].len() as u64;
    let event = RegistrarEvent::IssuerSucceeded { issuer: id("i"), from, successor: id("i2"), approver: operator(2) };
    town.registrar(34, event);
    let by_old = town.step("i", hour(35), claimed, rejected(true));
    let redeemed = town.step("i2", hour(35), claimed, Step::Redeemed);
    let seen = town.look();
    assert_eq!((seen.verdict(redeemed), seen.stage()), (Verdict::Counts, Stage::Redeemed));
    assert_eq!(seen.verdict(by_old), Verdict::Broken(Reason::NotInGoodStanding));

    // The heir corrects as the issuer would.
    town.step("i2", hour(36), redeemed, reversed(true));
    assert_eq!((town.look().stage(), town.look().state().custodian), (Stage::Generated, Some(id("i2"))));
}

#[test]
fn what_the_old_issuer_settled_before_the_line_stays() {
    let mut town = Town::new();
    let issued = town.issue();
    let booked = town.book_and_confirm("h1", 10, issued);
    let used = town.use_it("h1", 31, booked);
    let claimed = town.complete_and_claim("h1", 32, used);
    let redeemed = town.step("i", hour(33), claimed, Step::Redeemed);
    let from = town.logs[&id("i")].len() as u64;
    let event = RegistrarEvent::IssuerSucceeded { issuer: id("i"), from, successor: id("i2"), approver: operator(2) };
    town.registrar(34, event);
    let reclaimed = town.step("i2", hour(90 * 24), claimed, reclaimed());
    let seen = town.look();
    assert_eq!((seen.verdict(redeemed), seen.stage()), (Verdict::Counts, Stage::Redeemed));
    assert_ne!(seen.verdict(reclaimed), Verdict::Counts);
}
