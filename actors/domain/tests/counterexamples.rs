//! The stories that broke earlier drafts of the protocol, as far as the rules without stores and clocks can tell them.

#![allow(clippy::unwrap_used)]

mod support;

use domain::custody::{self, MAX_LINKS_PER_AUTHOR, Verdict};
use domain::duty::{Duty, Notes, duties};
use domain::holder::{HolderKey, RegistrarEvent};
use domain::ids::{Digest, RecordName};
use domain::lifecycle::{Outcome, Stage, Step};
use domain::member::Parameters;
use domain::reasons::Reason;
use domain::record::{Note, VoidReason};
use domain::time::{Millis, Timestamp};
use support::*;

/// Story 1: V#0 Booked(H1), H1#0 Heartbeat at respond_by, V#1 BookingLapsed(H1#0): what H1 answers then does not count.
#[test]
fn s01_a_late_answer_beside_a_lapse_does_not_count() {
    let answers = [
        ("declined", declined(), Reason::ResponseTooLate),
        ("returned", returned(), Reason::ResponseTooLate),
        ("confirmed", Step::BookingConfirmed, Reason::ResponseTooLate),
        ("released", released(), Reason::WrongState),
    ];
    for (what, answer, reason) in answers {
        let mut town = Town::new();
        let issued = town.issue();
        let booked = town.book("h1", 10, issued);
        let heartbeat = town.heartbeat("h1", 20);
        let lapsed = town.step("v", hour(21), booked, Step::BookingLapsed { position: heartbeat });
        let late = town.step("h1", hour(20), booked, answer);
        for held in [town.all(), town.without(late)] {
            let seen = town.look_with(&held);
            assert_eq!(seen.stage(), Stage::Issued, "{what}");
            assert_eq!(seen.verdict(lapsed), Verdict::Counts, "{what}");
        }
        let expected = if what == "released" { Reason::AlreadyBooked } else { reason };
        assert_eq!(town.look().verdict(late), Verdict::Broken(expected), "{what}");
    }
    // A no-show release of a confirmed booking, beside the lapse of its arrival window.
    let mut town = Town::new();
    let issued = town.issue();
    let confirmed = town.book_and_confirm("h1", 10, issued);
    let heartbeat = town.heartbeat("h1", 34);
    let lapsed = town.step("v", hour(35), confirmed, Step::BookingLapsed { position: heartbeat });
    let late = town.step("h1", hour(34), confirmed, released());
    assert_eq!(town.look().verdict(lapsed), Verdict::Counts);
    assert_eq!(town.look().verdict(late), Verdict::Broken(Reason::TooLate));
}

/// Story 1: the other side: an answer in time, before the position, refutes the lapse; a position too early proves nothing.
#[test]
fn s01_an_answer_in_time_stands_against_a_lapse() {
    let mut town = Town::new();
    let issued = town.issue();
    let booked = town.book("h1", 10, issued);
    let early = town.heartbeat("h1", 12);
    let confirmed = town.step("h1", hour(15), booked, Step::BookingConfirmed);
    let heartbeat = town.heartbeat("h1", 20);
    let too_early = town.step("v", hour(21), booked, Step::BookingLapsed { position: early });
    let refuted = town.step("v", hour(22), booked, Step::BookingLapsed { position: heartbeat });
    let seen = town.look();
    assert_eq!(seen.stage(), Stage::Booked);
    assert_eq!(seen.verdict(confirmed), Verdict::Counts);
    assert_eq!(seen.verdict(too_early), Verdict::Broken(Reason::NotSurelyOver));
    assert_eq!(seen.verdict(refuted), Verdict::Broken(Reason::NotSurelyOver));
}

/// Story 2: I#1 VoidRequested; V, not knowing, books H1; it lapses; V books H2; H1's late Returned must not pull the voucher
/// from H2, who uses it in time.
#[test]
fn s02_a_void_that_crosses_a_rebooking_pulls_nothing_from_the_second_hospital() {
    let mut town = Town::new();
    let issued = town.issue();
    town.note("i", 5, issued, Note::VoidRequested { reason: VoidReason::IssuerDecision });
    let first = town.book("h1", 10, issued);
    let heartbeat = town.heartbeat("h1", 20);
    let lapsed = town.step("v", hour(21), first, Step::BookingLapsed { position: heartbeat });
    let second = town.book_and_confirm("h2", 22, lapsed);
    let late = town.step("h1", hour(40), first, returned());
    let used = town.use_it("h2", 43, second);
    let seen = town.look();
    assert_eq!(seen.verdict(late), Verdict::Broken(Reason::ResponseTooLate));
    assert_eq!(seen.verdict(used), Verdict::Counts);
    assert_eq!(seen.state().custodian, Some(id("h2")));
}

/// Story 4: H1#1 UseConfirmed waits for a name that H1 lost: what H1 writes beside it waits too, and H1's node does not
/// write it.
#[test]
fn s04_beside_an_own_record_that_waits_nothing_counts() {
    let mut town = Town::new();
    let issued = town.issue();
    let confirmed = town.book_and_confirm("h1", 10, issued);
    let used = town.use_it("h1", 31, confirmed);
    let beside = town.step("h1", hour(32), confirmed, released());
    let behind = town.step("v", hour(33), beside, booked_step("h2", 33));

    let seen = town.look_waiting(used);
    assert_eq!(seen.stage(), Stage::Booked);
    for name in [used, beside, behind] {
        assert_eq!(seen.verdict(name), Verdict::Waits, "{name}");
    }
    assert_eq!(town.judge(&seen, beside), Err(Reason::Waiting), "H1 does not write it");

    let seen = town.look();
    assert_eq!(seen.stage(), Stage::InUse);
    assert_eq!(seen.verdict(beside), Verdict::Superseded);
}

/// Story 5: UseConfirmed in time waits at I for a registrar record: Voided {expired} waits too, at I and at whoever sees one.
#[test]
fn s05_a_take_back_waits_for_a_waiting_successor() {
    let mut town = Town::new();
    let issued = town.issue();
    let confirmed = town.book_and_confirm("h1", 10, issued);
    let used = town.use_it("h1", 31, confirmed);
    let at_h1 = town.heartbeat("h1", VALID_UNTIL);
    let at_v = town.heartbeat("v", VALID_UNTIL);
    let taken = town.step("i", hour(VALID_UNTIL + 1), confirmed, expired(&[at_h1, at_v]));

    let seen = town.look_waiting(used);
    assert_eq!(seen.stage(), Stage::Booked, "it moves nowhere while the use waits");
    assert_eq!(seen.verdict(taken), Verdict::Waits);
    assert_eq!(town.judge(&seen, taken), Err(Reason::Waiting), "the issuer does not write it");

    let seen = town.look();
    assert_eq!(seen.stage(), Stage::InUse);
    assert_eq!(seen.verdict(taken), Verdict::Broken(Reason::NotSurelyOver));
}

/// Story 6: VoidRequested, then a Booked written in ignorance, in both orders of arrival: the same state.
#[test]
fn s06_a_void_request_moves_nothing_in_any_order_of_arrival() {
    let mut town = Town::new();
    let issued = town.issue();
    town.judged_by = Some(town.newest_registrar()); // V holds no more of I's log when it books
    let requested = town.note("i", 5, issued, Note::VoidRequested { reason: VoidReason::IssuerDecision });
    let before = town.all();
    town.book("h1", 10, issued);
    let ignorant = town.without(requested);
    assert_eq!(town.look_with(&before).stage(), Stage::Issued);
    assert_eq!(town.look_with(&ignorant).path(), town.look().path());
    let state = town.look().state().clone();
    assert_eq!(state.stage, Stage::BookingRequested);
    // Who becomes custodian owes the return.
    let notes = Notes { void_requested: true, ..Notes::default() };
    let owed = duties(id("h1"), &state, notes, &Parameters::default());
    assert!(owed.iter().any(|due| due.duty == Duty::Return));
    assert!(owed.iter().all(|due| due.duty != Duty::Answer));
}

/// Story 7: H1 used it in time and was cut off; I reclaims; H1 returns and claims: the voucher is voided, nothing is redeemed
/// twice, and no second hospital ever gets the same voucher.
#[test]
fn s07_reclaimed_in_silence_and_used_in_fact() {
    for issuer_lies in [false, true] {
        let mut town = Town::new();
        let issued = town.issue();
        let confirmed = town.book_and_confirm("h1", 10, issued);
        let taken = town.step("i", hour(34 + 24), confirmed, reclaimed());
        assert_eq!(town.look().stage(), Stage::Refused);
        let used = town.use_it("h1", 31, confirmed);
        let claimed = town.complete_and_claim("h1", 32, used);
        let redeemed = issuer_lies.then(|| town.step("i", hour(60), claimed, Step::Redeemed));
        let again = town.step("i", hour(61), taken, Step::Sent { community: id("c") });
        let voided = town.step("i", hour(62), taken, voided());
        let seen = town.look();
        assert_eq!((seen.stage(), seen.verdict(voided)), (Stage::Voided, Verdict::Counts));
        assert_eq!(seen.verdict(again), Verdict::Broken(Reason::Voided));
        for name in [Some(used), Some(claimed), redeemed].into_iter().flatten() {
            assert_eq!(seen.verdict(name), Verdict::Superseded, "{name}");
        }
        // Whoever does not hear of H1 sees the same, unless the issuer itself names what is not here.
        let early = town.look_with(&town.without(used)).stage();
        assert_eq!(early, if issuer_lies { Stage::Refused } else { Stage::Voided });
    }
}

/// Story 8: V#0 Booked(H1), V#1 Booked(H2) on the same record: V#0 counts, H2 confirms nothing, the second is evidence.
#[test]
fn s08_of_two_bookings_the_earlier_counts() {
    let mut town = Town::new();
    let issued = town.issue();
    let first = town.book("h1", 10, issued);
    let second = town.book("h2", 10, issued);
    let confirmed = town.step("h2", hour(11), second, Step::BookingConfirmed);
    let seen = town.look();
    assert_eq!(seen.state().custodian, Some(id("h1")));
    assert_eq!(seen.verdict(first), Verdict::Counts);
    assert_eq!(seen.verdict(second), Verdict::Superseded);
    assert_eq!(seen.verdict(confirmed), Verdict::Superseded);
    assert_eq!(town.judge(&seen, confirmed), Err(Reason::NotCustodian), "H2 may not confirm");
}

/// Story 9: A former custodian signs a second successor to an old record of a redeemed voucher, years later, dated back:
/// evidence, no change.
#[test]
fn s09_nothing_unredeems() {
    let mut town = Town::new();
    let issued = town.issue();
    let confirmed = town.book_and_confirm("h1", 10, issued);
    let used = town.use_it("h1", 31, confirmed);
    let claimed = town.complete_and_claim("h1", 32, used);
    let redeemed = town.step("i", hour(33), claimed, Step::Redeemed);
    let honest = town.look().path();
    assert_eq!(honest.last().unwrap().0, redeemed);

    let back_dated = town.step("v", hour(11), issued, booked_step("h2", 11));
    let years_later = town.step("v", hour(30_000), issued, booked_step("h2", 30_000));
    let lapse = town.step("v", hour(30_001), confirmed, Step::BookingLapsed { position: used });
    let release = town.step("h1", hour(33), confirmed, released());
    let abort = town.step("h1", hour(33), used, aborted());
    let seen = town.look();
    assert_eq!(seen.path(), honest);
    assert_eq!(seen.verdict(back_dated), Verdict::Superseded);
    assert_eq!(seen.verdict(years_later), Verdict::Broken(Reason::Expired));
    assert_eq!(seen.verdict(lapse), Verdict::Broken(Reason::Expired));
    assert_eq!(seen.verdict(release), Verdict::Superseded);
    assert_eq!(seen.verdict(abort), Verdict::Superseded);
}

/// Story 10: V is silent, an honest H1 holds a booked voucher past valid_until: it can still be voided.
#[test]
fn s10_a_silent_voucher_module_does_not_keep_a_voucher_alive() {
    let mut town = Town::new();
    let issued = town.issue();
    let confirmed = town.book_and_confirm("h1", 10, issued);
    let at_h1 = town.heartbeat("h1", VALID_UNTIL);
    let silent = town.logs[&id("v")].last().unwrap().0;
    let unproved = town.step("i", hour(VALID_UNTIL + 1), confirmed, expired(&[at_h1, silent]));
    let seen = town.look();
    assert_eq!(seen.verdict(unproved), Verdict::Broken(Reason::NotSurelyOver));
    let taken = town.step("i", hour(VALID_UNTIL + 25), confirmed, reclaimed());
    town.step("i", hour(VALID_UNTIL + 25), taken, voided());
    assert_eq!(town.look().stage(), Stage::Voided);
}

/// Story 11: A living hospital forgets a used voucher, with heartbeats: it is reclaimed after the grace, not before.
#[test]
fn s11_a_living_hospital_that_forgets_loses_the_voucher_after_the_grace() {
    let grace = Parameters::default().grace_after_use;
    let mut town = Town::new();
    let issued = town.issue();
    let confirmed = town.book_and_confirm("h1", 10, issued);
    let used = town.use_it("h1", 31, confirmed);
    let complete_by = hour(31) + Millis::days(7);
    town.write("h1", complete_by, domain::record::Body::Heartbeat);
    let early = town.step("i", complete_by + grace - Millis(1), used, reclaimed());
    let taken = town.step("i", complete_by + grace, used, reclaimed());
    let seen = town.look();
    assert_eq!(seen.verdict(early), Verdict::Broken(Reason::GraceNotOver));
    assert_eq!(seen.verdict(taken), Verdict::Counts);
    assert_eq!(seen.stage(), Stage::Refused);
}

/// Story 12: A hospital names a registrar position before the block: from block + 10 min on it does not count, is judged again
/// when the block arrives, and what the issuer settled before it knew stays.
#[test]
fn s12_a_stolen_phone_and_an_old_position() {
    let block_at = hour(31);
    let ten = Millis::minutes(10);
    for (at, counts) in [(block_at + ten - Millis(1), true), (block_at + ten, false)] {
        let mut town = Town::new();
        let issued = town.issue();
        let confirmed = town.book_and_confirm("h1", 10, issued);
        let old = town.newest_registrar();
        let block = town.block(31);
        town.judged_by = Some(old);
        let step = town.use_step("h1", at);
        let used = town.step("h1", at, confirmed, step);
        assert_eq!(town.look_with(&town.without(block)).verdict(used), Verdict::Counts, "before the block arrives");
        let expected = if counts { Verdict::Counts } else { Verdict::Broken(Reason::StalePosition) };
        assert_eq!(town.look().verdict(used), expected, "{at}");
        // Who names the block itself is refused at once.
        town.judged_by = None;
        let step = town.use_step("h1", at);
        let named = town.step("h1", at, confirmed, step);
        if !counts {
            assert_eq!(town.look().verdict(named), Verdict::Broken(Reason::EnrolmentBlocked));
        }
    }
    let mut town = Town::new();
    let issued = town.issue();
    let confirmed = town.book_and_confirm("h1", 10, issued);
    let used = town.use_it("h1", 33, confirmed);
    let claimed = town.complete_and_claim("h1", 34, used);
    let redeemed = town.step("i", hour(35), claimed, Step::Redeemed);
    town.block(36);
    assert_eq!(town.look().verdict(redeemed), Verdict::Counts, "what was settled before it was known stays");
}

/// Story 16: The same presentation twice in one log: the second does not count, whatever stands between.
#[test]
fn s16_a_presentation_counts_once() {
    let mut town = Town::new();
    let issued = town.issue();
    let confirmed = town.book_and_confirm("h1", 10, issued);
    let step = town.use_step("h1", hour(31));
    let used = town.step("h1", hour(31), confirmed, step.clone());
    let undone = Step::UseAborted { reason: domain::lifecycle::AbortReason::DeskError };
    let aborted = town.step("h1", hour(31), used, undone);
    let again = town.step("h1", hour(31), aborted, step);
    let seen = town.look();
    assert_eq!(seen.verdict(used), Verdict::Counts);
    assert_eq!(seen.verdict(again), Verdict::Broken(Reason::PresentationReplayed));
    assert_eq!(seen.stage(), Stage::Booked);
    let fresh = town.use_it("h1", 32, aborted);
    assert_eq!(town.look().verdict(fresh), Verdict::Counts);
}

/// Story 16: its neighbours: forged, for another hospital, another step, too old; each does not count and says why.
#[test]
fn s16_liars_with_presentations() {
    type Lie = fn(&mut Town, Timestamp) -> Step;
    let lies: [(&str, Lie, Reason); 7] = [
        ("another hospital", |t, at| t.use_step("h2", at), Reason::PresentationElsewhere),
        ("too old", |t, at| restamp(t.use_step("h1", at - Millis::secs(301)), at), Reason::PresentationStale),
        ("from the future", |t, at| restamp(t.use_step("h1", at + Millis::secs(301)), at), Reason::PresentationStale),
        ("no presentation", |t, at| strip(t.use_step("h1", at)), Reason::PresentationMalformed),
        ("a card never issued", |t, at| assisted(t.use_step("h1", at)), Reason::CardUnknown),
        ("another key", |t, at| forge(t, at), Reason::PresentationForged),
        ("signed to complete", |t, at| completion(t, at), Reason::PresentationOtherStep),
    ];
    for (what, lie, reason) in lies {
        let mut town = Town::new();
        let issued = town.issue();
        let confirmed = town.book_and_confirm("h1", 10, issued);
        let step = lie(&mut town, hour(31));
        let used = town.step("h1", hour(31), confirmed, step);
        assert_eq!(town.look().verdict(used), Verdict::Broken(reason), "{what}");
        assert_eq!(town.look().stage(), Stage::Booked, "{what}");
    }
}

fn restamp(step: Step, at: Timestamp) -> Step {
    let Step::UseConfirmed { presentation, .. } = step else { unreachable!() };
    Step::UseConfirmed { presentation, complete_by: at + Millis::days(7) }
}

fn strip(mut step: Step) -> Step {
    if let Step::UseConfirmed { presentation, .. } = &mut step {
        presentation.cose.clear();
    }
    step
}

fn assisted(mut step: Step) -> Step {
    if let Step::UseConfirmed { presentation, .. } = &mut step {
        let reason = domain::record::AssistReason::NoPhone;
        presentation.assisted = Some(domain::record::Assisted { helper: operator(3), reason });
    }
    step
}

fn forge(town: &mut Town, at: Timestamp) -> Step {
    let step = town.use_step("h1", at);
    if let Step::UseConfirmed { presentation, .. } = &step {
        town.presentations.get_mut(&presentation.cose).unwrap().1 = HolderKey::Ed25519([9; 32]);
    }
    step
}

fn completion(town: &mut Town, at: Timestamp) -> Step {
    let Step::ExamCompleted { presentation, .. } = town.complete_step("h1", at) else { unreachable!() };
    Step::UseConfirmed { presentation, complete_by: at + Millis::days(7) }
}

/// A key change acts like a block: the old phone opens nothing ten minutes later, the new one does.
#[test]
fn s12_a_new_phone_replaces_the_old_one() {
    let mut town = Town::new();
    let issued = town.issue();
    let confirmed = town.book_and_confirm("h1", 10, issued);
    let change = RegistrarEvent::EnrolmentKeyChanged { enrolment: town.enrolment, key: Some(phone(2)) };
    town.registrar(30, change);
    let old_phone = town.use_it("h1", 31, confirmed);
    assert_eq!(town.look().verdict(old_phone), Verdict::Broken(Reason::PresentationForged));
    let step = town.use_step("h1", hour(32));
    if let Step::UseConfirmed { presentation, .. } = &step {
        town.presentations.get_mut(&presentation.cose).unwrap().1 = phone(2);
    }
    let new_phone = town.step("h1", hour(32), confirmed, step);
    assert_eq!(town.look().verdict(new_phone), Verdict::Counts);
}

/// Story 17: A name of a future position waits; once the log has passed it and something else stands there, it is invalid for
/// ever. As many as an author may write cost little time.
#[test]
fn s17_names_that_wait_for_ever() {
    let mut town = Town::new();
    let issued = town.issue();
    let booked = town.book("h1", 10, issued);
    let future = RecordName { institution: id("h2"), index: 0, id: Digest([7; 32]) };
    let waits = town.step("v", hour(21), booked, Step::BookingLapsed { position: future });
    assert_eq!(town.look().verdict(waits), Verdict::Waits);
    town.heartbeat("h2", 22);
    assert_eq!(town.look().verdict(waits), Verdict::Broken(Reason::BadName));
    // A record that names what follows it in its own log.
    let own = RecordName { institution: id("v"), index: 60_000, id: Digest([7; 32]) };
    let circle = town.step("v", hour(23), booked, Step::BookingLapsed { position: own });
    assert_eq!(town.look().verdict(circle), Verdict::Broken(Reason::BadName));

    let mut town = Town::new();
    let issued = town.issue();
    let booked = town.book("h1", 10, issued);
    let mut position = town.heartbeat("h1", 20);
    for _ in 0..MAX_LINKS_PER_AUTHOR {
        town.step("v", hour(21), booked, Step::BookingLapsed { position });
        position = town.step("h1", hour(21), booked, Step::BookingLapsed { position });
    }
    assert_eq!(town.look().stage(), Stage::Issued);
}

/// Story 17: with settlements that keep each other: each costs as much as a walk, and no stack.
#[test]
fn s17_resolutions_that_name_each_other_cost_no_more_than_their_number() {
    for beside in [false, true] {
        let mut town = Town::new();
        let issued = town.issue();
        let first = town.book("h1", 10, issued);
        town.forks.insert(id("h1"), 0);
        town.step("h1", hour(11), first, Step::BookingConfirmed);
        let mut kept = first;
        for n in 0..MAX_LINKS_PER_AUTHOR as i64 - 2 {
            let prev = if beside { first } else { kept };
            kept = town.step("i", hour(11 + n), prev, resolved(Outcome::Keep(kept)));
        }
        let held = town.all();
        let mut links = town.links(&held);
        links.reverse();
        let folded = custody::fold(town.voucher, &links, &town.node(&held));
        assert_eq!(folded.head().unwrap().1.stage, Stage::BookingRequested);
    }
}

/// Story 18: A rejected claim is not claimed again by itself; an operator may answer it, and the third rejection is final.
#[test]
fn s18_a_rejected_claim_is_no_duty() {
    let mut town = Town::new();
    let issued = town.issue();
    let confirmed = town.book_and_confirm("h1", 10, issued);
    let used = town.use_it("h1", 31, confirmed);
    let mut claimed = town.complete_and_claim("h1", 32, used);
    for n in 1..=3 {
        let rejection = town.step("i", hour(32 + n), claimed, rejected(false));
        let state = town.look().state().clone();
        if n == 3 {
            assert_eq!(state.stage, Stage::Refused);
            let late = Step::RedemptionClaimed { answers: Some(rejection) };
            let fourth = town.step("h1", hour(36), rejection, late);
            assert_eq!(town.look().verdict(fourth), Verdict::Broken(Reason::Voided));
            return;
        }
        assert_eq!(state.stage, Stage::Rejected);
        let owed = duties(id("h1"), &state, Notes::default(), &Parameters::default());
        assert!(owed.iter().all(|due| due.duty != Duty::Claim), "{owed:?}");
        let silent = town.step("h1", hour(32 + n), rejection, Step::RedemptionClaimed { answers: None });
        assert_eq!(town.look().verdict(silent), Verdict::Broken(Reason::AnswerMissing));
        let other = town.step("h1", hour(32 + n), rejection, Step::RedemptionClaimed { answers: Some(claimed) });
        assert_eq!(town.look().verdict(other), Verdict::Broken(Reason::AnswerMissing));
        claimed = town.step("h1", hour(32 + n), rejection, Step::RedemptionClaimed { answers: Some(rejection) });
    }
}
