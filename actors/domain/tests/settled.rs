//! Stories of settling: what the issuer may take, what it may not, and what stays when a line is drawn afterwards.

#![allow(clippy::unwrap_used)]

mod support;

use domain::custody::Verdict;
use domain::holder::RegistrarEvent;
use domain::ids::RecordName;
use domain::lifecycle::{Outcome, Stage, Step};
use domain::reasons::Reason;
use domain::record::VoidReason;
use domain::time::Millis;
use support::*;

fn in_use() -> (Town, RecordName, RecordName) {
    let mut town = Town::new();
    let issued = town.issue();
    let confirmed = town.book_and_confirm("h1", 10, issued);
    let used = town.use_it("h1", 31, confirmed);
    (town, confirmed, used)
}

/// `Resolved` is no way to take a voucher from an honest hospital: a branch that the issuer opens itself, or a second
/// booking that is mere evidence, gives nothing to resolve.
#[test]
fn a_resolution_takes_nothing_from_who_holds_it() {
    for outcome in [|_| Outcome::Void(VoidReason::SuspectedFraud), Outcome::Keep] {
        let (mut town, confirmed, used) = in_use();
        let booked = town.look().path()[4].0;
        let issued = town.look().path()[3].0;
        town.book("h2", 32, issued);
        let tries = [used, confirmed, booked].map(|prev| town.step("i", hour(33), prev, resolved(outcome(issued))));
        let seen = town.look();
        assert_eq!(seen.stage(), Stage::InUse);
        for name in tries {
            assert_eq!(seen.verdict(name), Verdict::Broken(Reason::NothingToResolve), "{name}");
        }
    }
}

/// A garbage record by somebody suspended opens nothing either: it would not count without the line.
#[test]
fn a_garbage_record_past_a_line_gives_nothing_to_resolve() {
    let (mut town, confirmed, used) = in_use();
    town.suspend("h2", 31);
    town.step("h2", hour(32), confirmed, released());
    let tried = town.step("i", hour(33), used, resolved(Outcome::Keep(confirmed)));
    assert_eq!(town.look().verdict(tried), Verdict::Broken(Reason::NothingToResolve));
}

/// H1 is suspended from before its use on: the use is cut off, and the issuer may keep it, with a second person.
#[test]
fn what_a_line_cuts_off_can_be_kept() {
    let mut town = Town::new();
    let issued = town.issue();
    let confirmed = town.book_and_confirm("h1", 10, issued);
    town.judged_by = Some(town.newest_registrar());
    let suspended = town.suspend("h1", 31);
    let used = town.use_it("h1", 31, confirmed);
    let claimed = town.complete_and_claim("h1", 31, used);
    assert_eq!(town.look_with(&town.without(suspended)).stage(), Stage::Claimed);
    assert_eq!(town.look().stage(), Stage::Booked);
    assert_eq!(town.look().verdict(used), Verdict::Broken(Reason::NotInGoodStanding));

    town.judged_by = None;
    let kept = town.step("i", hour(33), confirmed, resolved(Outcome::Keep(claimed)));
    let redeemed = town.step("i", hour(34), kept, Step::Redeemed);
    let seen = town.look();
    assert_eq!(seen.verdict(redeemed), Verdict::Counts);
    assert_eq!(seen.stage(), Stage::Redeemed);
}

/// A voucher that was voided beside a used branch can be given back to it.
#[test]
fn a_superseded_branch_of_a_voided_voucher_can_be_kept() {
    let (mut town, confirmed, used) = in_use();
    let taken = town.step("i", hour(58), confirmed, reclaimed());
    let early = town.step("i", hour(58), taken, resolved(Outcome::Keep(used)));
    assert_eq!(town.look().verdict(early), Verdict::Broken(Reason::NothingToResolve), "it is not voided yet");
    let voided = town.step("i", hour(59), taken, voided());
    assert_eq!(town.look().verdict(used), Verdict::Superseded);
    town.step("i", hour(60), voided, resolved(Outcome::Keep(used)));
    assert_eq!(town.look().stage(), Stage::InUse);
    assert_eq!(town.look().state().custodian, Some(id("h1")));
}

/// A log that forked makes the voucher contested until the issuer resolves it, and again if it goes on in the fork.
#[test]
fn a_fork_contests_until_it_is_resolved() {
    let (mut town, _, used) = in_use();
    assert!(!town.look().folded.contested);
    town.forks.insert(id("h1"), used.index);
    assert!(town.look().folded.contested);
    let kept = town.step("i", hour(33), used, resolved(Outcome::Keep(used)));
    assert!(!town.look().folded.contested);
    let aborted = town.step("h1", hour(34), kept, aborted());
    assert_eq!(town.look().verdict(aborted), Verdict::Counts);
    assert!(town.look().folded.contested);
}

/// Once the registrar has drawn its line, all judge alike what may be resolved, whoever has seen the two histories.
#[test]
fn what_a_frozen_institution_wrote_can_be_resolved() {
    for frozen in [false, true] {
        let (mut town, _, used) = in_use();
        if frozen {
            town.freeze("h1", 32, used.index + 1);
        }
        let kept = town.step("i", hour(34), used, resolved(Outcome::Keep(used)));
        let verdict = if frozen { Verdict::Counts } else { Verdict::Broken(Reason::NothingToResolve) };
        assert_eq!(town.look().verdict(kept), verdict);
    }
}

/// What the issuer settled naming a position before the line stays; what it had not settled does not count.
#[test]
fn a_line_drawn_afterwards_spares_what_was_settled() {
    for settle in [true, false] {
        let (mut town, _, used) = in_use();
        let claimed = town.complete_and_claim("h1", 32, used);
        if settle {
            town.step("i", hour(33), claimed, Step::Redeemed);
        }
        town.freeze("h1", 34, used.index);
        let stage = town.look().stage();
        assert_eq!(stage, if settle { Stage::Redeemed } else { Stage::Booked });
    }
}

/// What leads to somebody who is not in good standing leads to the issuer instead.
#[test]
fn a_voucher_bounces_off_who_cannot_take_it() {
    let mut town = Town::new();
    let issued = town.issue();
    town.suspend("h1", 9);
    town.book("h1", 10, issued);
    assert_eq!(town.look().stage(), Stage::Generated);
    assert_eq!(town.look().state().custodian, Some(id("i")));

    let (mut town, _, used) = in_use();
    let claimed = town.complete_and_claim("h1", 32, used);
    town.suspend("h1", 33);
    town.step("i", hour(34), claimed, rejected(false));
    assert_eq!(town.look().stage(), Stage::Refused);
}

/// While an earlier settlement of the issuer waits, a later one waits with it: the earlier may still win.
#[test]
fn settlements_stand_in_the_order_of_the_issuers_log() {
    let mut town = Town::new();
    let issued = town.issue();
    let confirmed = town.book_and_confirm("h1", 10, issued);
    let at_h1 = town.heartbeat("h1", VALID_UNTIL);
    let at_v = town.heartbeat("v", VALID_UNTIL);
    let voided = town.step("i", hour(VALID_UNTIL + 25), confirmed, expired(&[at_h1, at_v]));
    let taken = town.step("i", hour(VALID_UNTIL + 25), confirmed, reclaimed());
    let seen = town.look_with(&town.without(at_v));
    assert_eq!(seen.stage(), Stage::Booked);
    assert_eq!((seen.verdict(voided), seen.verdict(taken)), (Verdict::Waits, Verdict::Waits));
    let seen = town.look();
    assert_eq!(seen.stage(), Stage::Voided);
    assert_eq!((seen.verdict(voided), seen.verdict(taken)), (Verdict::Counts, Verdict::Superseded));
}

/// The same where what stands between two settlements is not here yet: the earlier of them may still win.
#[test]
fn a_settlement_waits_for_what_it_stands_on() {
    let (mut town, confirmed, used) = in_use();
    let taken = town.step("i", hour(58), confirmed, reclaimed());
    let voided = town.step("i", hour(59), taken, voided());
    let kept = town.step("i", hour(60), voided, resolved(Outcome::Keep(used)));
    let claimed = town.complete_and_claim("h1", 61, kept);
    let redeemed = town.step("i", hour(62), claimed, Step::Redeemed);
    let taken = town.step("i", hour(2_000), kept, reclaimed());
    let again = town.step("i", hour(2_001), taken, support::voided());
    let early = town.look_with(&town.without(claimed));
    assert_eq!((early.verdict(redeemed), early.verdict(again)), (Verdict::Waits, Verdict::Waits));
    let seen = town.look();
    assert_eq!((seen.verdict(redeemed), seen.verdict(again)), (Verdict::Counts, Verdict::Superseded));
}

/// Two resolutions of a plainly voided voucher do not make a branch for each other.
#[test]
fn resolutions_give_each_other_nothing_to_resolve() {
    let mut town = Town::new();
    let generated = town.generate();
    let voided = town.step("i", hour(2), generated, voided());
    let tries = [3, 4].map(|at| town.step("i", hour(at), voided, resolved(Outcome::Keep(generated))));
    for name in tries {
        assert_eq!(town.look().verdict(name), Verdict::Broken(Reason::NothingToResolve));
    }
    assert_eq!(town.look().stage(), Stage::Voided);
}

/// A suspension acts ten minutes after its own time on whoever names an older position, even before its line.
#[test]
fn a_suspension_acts_after_ten_minutes() {
    let ten = Millis::minutes(10);
    for (wait, verdict) in [(Millis(ten.0 - 1), Verdict::Counts), (ten, Verdict::Broken(Reason::StalePosition))] {
        let mut town = Town::new();
        let issued = town.issue();
        let booked = town.book("h1", 10, issued);
        town.judged_by = Some(town.newest_registrar());
        let (institution, from, approver) = (id("h1"), 100, operator(2));
        let suspended = town.registrar(11, RegistrarEvent::MemberSuspended { institution, from, approver });
        let confirmed = town.step("h1", hour(11) + wait, booked, Step::BookingConfirmed);
        assert_eq!(town.look_with(&town.without(suspended)).verdict(confirmed), Verdict::Counts);
        assert_eq!(town.look().verdict(confirmed), verdict);
    }
}
