//! Units B5 and B6: a claim is settled once everything fits, or rejected with the reason that does not.

use domain::duty::{Due, Duty};
use domain::ids::Operator;
use domain::lifecycle::{ClaimReason, Outcome, ReverseReason, Stage};
use domain::member::Role;
use domain::reasons::Reason;
use domain::record::{Note, VoidReason, Witnessed};
use domain::time::{Millis, Timestamp};

use super::{Journey, SECOND, ask, health, policy, short, voucher, why};
use crate::issuer::{Answer, ClaimOutcome, Command, Issuer, Openings, check_claim, openings};
use crate::role::Reaction;
use crate::token::vp1;
use crate::town::{id, reaction};

fn outcome(answer: Answer) -> ClaimOutcome {
    let Answer::Claim(outcome) = answer else { panic!("{answer:?}") };
    outcome
}

#[test]
fn a_finished_examination_is_redeemed_at_once_when_its_openings_come() {
    let mut journey = Journey::claimed();
    assert_eq!(outcome(journey.send_openings().unwrap()), ClaimOutcome::Redeemed);
    journey.town.spread();
    assert_eq!(super::stage(&journey.town, "gulou", journey.number), Stage::Redeemed);
    assert_eq!(outcome(journey.send_openings().unwrap()), ClaimOutcome::Answered);
    let settle = Command::Settle { voucher: voucher(journey.number) };
    assert_eq!(why(ask(&mut journey.town, settle)), Reason::AlreadyRedeemed);
}

/// Story 3: I redeems on H1's claim, loses its mirror of H1, and sees an old head: until the mirror is back that voucher can
/// only be waited for. It is neither taken back nor voided nor redeemed again.
#[test]
fn s03_mirrors_lost() {
    let (gulou, whole) = (id("gulou"), Journey::redeemed());
    let full = whole.town.read(health(), |work| work.cursor(gulou).next);
    for size in 0..full {
        let mut journey = Journey::redeemed();
        let voucher = voucher(journey.number);
        let before = journey.doc().state().cloned();
        journey.town.lose_mirror(health(), gulou, size);
        assert_ne!(journey.doc().state().cloned(), before, "an old head is seen, at {size} of {full}");
        journey.town.pass(Millis::days(400));
        let commands = [
            Command::Settle { voucher },
            Command::AnswerClaim { voucher },
            Command::Reject { voucher, reason: ClaimReason::Unfounded, is_final: true },
            Command::Void { voucher, reason: VoidReason::Mistake },
            Command::VoidExpired { voucher },
            Command::Reclaim { voucher },
        ];
        for command in commands {
            let what = format!("{command:?} at {size} of {full}");
            assert_eq!(why(ask(&mut journey.town, command)), Reason::Waiting, "{what}");
        }
        assert_eq!(Reason::Waiting.kind().status(), 503);
        let written = journey.doc().links.len();
        for _ in 0..3 {
            journey.town.do_duties::<Issuer>(health());
        }
        assert_eq!(journey.doc().links.len(), written, "nothing is written by itself either, at {size} of {full}");

        journey.town.carry(gulou, health(), u64::MAX);
        assert_eq!(journey.doc().state().cloned(), before, "the mirror is back, and all is as it was");
        assert_eq!(why(ask(&mut journey.town, Command::Settle { voucher })), Reason::AlreadyRedeemed);
    }
}

#[test]
fn openings_may_come_before_the_claim() {
    let mut journey = Journey::in_use();
    assert_eq!(why(journey.send_openings()), Reason::NotFound, "the sender tries again");
    let mut journey = Journey::examined();
    assert_eq!(outcome(journey.send_openings().unwrap()), ClaimOutcome::Waiting);
    journey.claim(None);
    journey.town.do_duties::<Issuer>(health());
    assert_eq!(journey.stage(), Stage::Redeemed);
}

#[test]
fn openings_come_from_the_hospital_that_claims_and_in_bounds() {
    let mut journey = Journey::claimed();
    let send = |from: &str, openings: Openings| Command::ReceiveOpenings {
        from: id(from),
        voucher: voucher(journey.number),
        openings: Box::new(openings),
    };
    let mut large = journey.openings.clone();
    large.evidence.examination.items[0].result = Some("x".repeat(60_000));
    let mut many = journey.openings.clone();
    many.evidence.examination.items = vec![many.evidence.examination.items[0].clone(); 51];
    let table = [
        (send("zhongda", journey.openings.clone()), Reason::Forbidden),
        (send("gulou", large), Reason::TooLarge),
        (send("gulou", many), Reason::TooLarge),
    ];
    for (command, reason) in table {
        assert_eq!(why(ask(&mut journey.town, command)), reason);
    }
    assert!(journey.town.read(health(), |work| openings(work, voucher(journey.number))).is_none());
}

#[test]
fn every_check_of_a_claim_has_its_reason() {
    type Change = fn(&mut Openings);
    let table: [(&str, Change, Result<(), ClaimReason>); 11] = [
        ("as it was", |_| {}, Ok(())),
        (
            "another department than booked",
            |o| o.evidence.department = short("dental"),
            Err(ClaimReason::DepartmentNotAllowed),
        ),
        (
            "a department outside the programme",
            |o| {
                o.booking.slot.department = short("dental");
                o.evidence.department = short("dental");
            },
            Err(ClaimReason::DepartmentNotAllowed),
        ),
        ("a slot of an hour ago", |o| shift(&mut o.booking.slot.start, -60), Err(ClaimReason::TimesDiffer)),
        (
            "a slot that ends before it begins",
            |o| o.booking.slot.end = o.booking.slot.start,
            Err(ClaimReason::TimesDiffer),
        ),
        (
            "begun before the holder came",
            |o| shift(&mut o.evidence.examination.started_at, -6),
            Err(ClaimReason::TimesDiffer),
        ),
        (
            "ended after it was completed",
            |o| shift(&mut o.evidence.examination.ended_at, 6),
            Err(ClaimReason::TimesDiffer),
        ),
        ("ended before it began", |o| shift(&mut o.evidence.examination.ended_at, -16), Err(ClaimReason::TimesDiffer)),
        ("an item not done", |o| o.evidence.examination.items[0].done = false, Err(ClaimReason::ItemNotDone)),
        ("nothing ordered", |o| o.evidence.examination.items.clear(), Err(ClaimReason::ItemNotDone)),
        ("no result", |o| o.evidence.examination.items[0].result = None, Err(ClaimReason::ItemNotDone)),
    ];
    for (what, change, expected) in table {
        // The hospital's digests fit what it says: only its content is judged.
        let mut journey = Journey::issued();
        let true_slot = journey.openings.booking.slot.clone();
        change(&mut journey.openings);
        let said = journey.openings.booking.slot.clone();
        let mut journey = run_to_claim(journey, &true_slot);
        assert_eq!(journey.openings.booking.slot, said);
        let checked = check_claim(voucher(journey.number), &journey.doc(), &policy("ecg"), &journey.openings);
        assert_eq!(checked, expected, "{what}");
        let answered = match expected {
            Ok(()) => ClaimOutcome::Redeemed,
            Err(reason) => ClaimOutcome::Rejected(reason),
        };
        assert_eq!(outcome(journey.send_openings().unwrap()), answered, "{what}");
    }
}

fn shift(time: &mut Timestamp, minutes: i64) {
    *time = *time + Millis::minutes(minutes);
}

/// Books by the true slot's times while the opening says something else, then goes on to the claim.
fn run_to_claim(mut journey: Journey, true_slot: &domain::booking::Slot) -> Journey {
    journey.request(true_slot);
    journey.confirm_and_arrive(true_slot.start);
    journey.complete();
    journey.claim(None);
    journey
}

#[test]
fn openings_that_do_not_fit_their_digest_are_told_apart() {
    let changes: [fn(&mut Openings); 3] = [
        |o| o.booking.salt = [0; 32],
        |o| o.evidence.salt = [0; 32],
        |o| o.evidence.examination.items[0].result = Some("another".into()),
    ];
    for change in changes {
        let mut journey = Journey::claimed();
        change(&mut journey.openings);
        assert_eq!(outcome(journey.send_openings().unwrap()), ClaimOutcome::Rejected(ClaimReason::OpeningDiffers));
    }
    // Openings of another voucher fit their digests and are not this one's.
    let mut journey = Journey::issued();
    journey.openings.booking.voucher = voucher(77);
    let slot = journey.openings.booking.slot.clone();
    let mut journey = run_to_claim(journey, &slot);
    assert_eq!(outcome(journey.send_openings().unwrap()), ClaimOutcome::Rejected(ClaimReason::OpeningDiffers));
}

#[test]
fn a_claim_without_openings_waits_an_hour() {
    let mut journey = Journey::claimed();
    let claimed_at = journey.town.now;
    let due = Due { blocker: health(), at: Timestamp::MIN, duty: Duty::Settle };
    let reaction = reaction::<Issuer>(&journey.town, health(), voucher(journey.number), due);
    let Some(Reaction::Later(later)) = reaction else { panic!("{reaction:?}") };
    assert_eq!(later.at, claimed_at + Millis::hours(1));
    journey.town.do_duties::<Issuer>(health());
    journey.town.now = later.at - Millis(1);
    assert_eq!(journey.town.do_duties::<Issuer>(health()), 0, "it rests until then");
    let settle = Command::Settle { voucher: voucher(journey.number) };
    assert_eq!(why(ask(&mut journey.town, settle)), Reason::EvidenceMissing);
    journey.town.now = later.at;
    journey.town.do_duties::<Issuer>(health());
    assert_eq!(journey.stage(), Stage::Rejected);

    // The hospital answers, this time with its openings.
    journey.town.spread();
    let rejection = journey.doc().head_name();
    journey.claim(rejection);
    assert_eq!(outcome(journey.send_openings().unwrap()), ClaimOutcome::Redeemed);
}

fn dispute(journey: &mut Journey) {
    let cancel = vp1::Step::Cancel { audience: "xuanwu".into(), voucher: journey.name() };
    let presentation = journey.holder.present(&journey.town, 9, cancel);
    let n = journey.number;
    let noted = journey.town.decide(id("xuanwu"), |desk| {
        let registrar = desk.work.registrar_position().unwrap();
        let witnessed = Witnessed { presentation, registrar };
        desk.note(Role::Voucher, voucher(n), Note::UseDisputed { witnessed })
    });
    noted.unwrap();
    journey.town.spread();
}

#[test]
fn a_use_that_the_holder_denies_is_for_a_person_to_weigh() {
    let mut journey = Journey::claimed();
    dispute(&mut journey);
    assert_eq!(outcome(journey.send_openings().unwrap()), ClaimOutcome::Rejected(ClaimReason::Disputed));
    let rejection = journey.doc().head_name();
    journey.town.spread();
    journey.claim(rejection);
    assert_eq!(outcome(journey.send_openings().unwrap()), ClaimOutcome::ForOperator);
    journey.town.do_duties::<Issuer>(health());
    assert_eq!(journey.stage(), Stage::Claimed, "no duty decides it");
    assert_eq!(journey.town.do_duties::<Issuer>(health()), 0);
    let settle = Command::Settle { voucher: voucher(journey.number) };
    assert_eq!(outcome(ask(&mut journey.town, settle).unwrap()), ClaimOutcome::Redeemed);
}

#[test]
fn what_the_issuer_wanted_back_is_looked_at_before_it_is_settled() {
    let mut journey = Journey::claimed();
    let wanted = Command::Void { voucher: voucher(journey.number), reason: VoidReason::SuspectedFraud };
    assert_eq!(ask(&mut journey.town, wanted).unwrap(), Answer::Void { voided: false });
    assert_eq!(outcome(journey.send_openings().unwrap()), ClaimOutcome::ForOperator);
    let refuse = Command::Reject { voucher: voucher(journey.number), reason: ClaimReason::Unfounded, is_final: true };
    ask(&mut journey.town, refuse.clone()).unwrap();
    assert_eq!(journey.stage(), Stage::Refused);
    journey.town.do_duties::<Issuer>(health());
    assert_eq!(journey.stage(), Stage::Voided);
    assert_eq!(why(ask(&mut journey.town, refuse)), Reason::Voided);
}

#[test]
fn the_third_rejection_is_the_last() {
    let mut journey = Journey::claimed();
    let reject = Command::Reject { voucher: voucher(journey.number), reason: ClaimReason::Unfounded, is_final: false };
    for round in 1..=3 {
        ask(&mut journey.town, reject.clone()).unwrap();
        journey.town.spread();
        if round < 3 {
            assert_eq!(why(ask(&mut journey.town, reject.clone())), Reason::WrongState);
            let answers = journey.doc().head_name();
            journey.claim(answers);
        }
    }
    assert_eq!(journey.stage(), Stage::Refused);
}

#[test]
fn a_redemption_is_corrected_by_two_persons_in_its_time() {
    let reverse =
        |n, approver, void| Command::Reverse { voucher: voucher(n), reason: ReverseReason::Mistake, approver, void };
    let mut journey = Journey::redeemed();
    let alone = reverse(journey.number, Operator(uuid::Uuid::from_u128(1)), false);
    assert_eq!(why(ask(&mut journey.town, alone)), Reason::ApproverNeeded);
    let redeemed_at = journey.town.now;
    journey.town.now = redeemed_at + Millis::days(90);
    let back = reverse(journey.number, SECOND, false);
    assert_eq!(why(ask(&mut journey.town, back.clone())), Reason::CorrectionOver);

    let table = [
        (false, Millis::days(1), Stage::Issued),
        (true, Millis::days(1), Stage::Generated),
        (false, Millis::days(40), Stage::Generated),
    ];
    for (void, after, stage) in table {
        let mut journey = Journey::redeemed();
        journey.town.pass(after);
        ask(&mut journey.town, reverse(journey.number, SECOND, void)).unwrap();
        assert_eq!(journey.stage(), stage);
        let openings = journey.town.read(health(), |work| openings(work, voucher(journey.number)));
        assert!(openings.is_some(), "kept for the auditor");
    }
    let mut journey = Journey::claimed();
    let early = reverse(journey.number, SECOND, false);
    assert_eq!(why(ask(&mut journey.town, early)), Reason::WrongState);
}

#[test]
fn a_resolution_needs_something_open_and_two_persons() {
    let mut journey = Journey::issued();
    let resolve = |approver| Command::Resolve {
        voucher: voucher(journey.number),
        outcome: Outcome::Void(VoidReason::IssuerDecision),
        approver,
    };
    assert_eq!(why(ask(&mut journey.town, resolve(Operator(uuid::Uuid::from_u128(1))))), Reason::ApproverNeeded);
    assert_eq!(why(ask(&mut journey.town, resolve(SECOND))), Reason::NothingToResolve);
}

#[test]
fn openings_are_forgotten_when_their_time_is_over() {
    let mut journey = Journey::redeemed();
    let held =
        |journey: &Journey| journey.town.read(health(), |work| openings(work, voucher(journey.number))).is_some();
    journey.town.pass(Millis::days(119));
    journey.town.do_duties::<Issuer>(health());
    assert!(held(&journey));
    journey.town.pass(Millis::days(2));
    journey.town.do_duties::<Issuer>(health());
    assert!(!held(&journey));
}

#[test]
fn only_an_honest_superseded_use_is_compensated() {
    // The hospital uses the voucher while the issuer, which hears nothing, takes it back as silent.
    let mut journey = Journey::booked();
    let slot = journey.openings.booking.slot.clone();
    journey.town.now = slot.start;
    let arrival = journey.arrival();
    let n = journey.number;
    let used = journey.town.decide(id("gulou"), |desk| desk.step(Role::Hospital, voucher(n), arrival));
    let used = used.unwrap();
    journey.town.now = journey.doc().state().unwrap().limit().unwrap() + Millis::hours(24);
    ask(&mut journey.town, Command::Reclaim { voucher: voucher(n) }).unwrap();
    journey.town.spread();
    assert_eq!(journey.stage(), Stage::Refused);

    let pay = |superseded, approver| Command::Compensate {
        voucher: voucher(n),
        superseded,
        reason: "the line was cut".into(),
        approver,
    };
    let generated = journey.doc().links[0].name;
    let table = [
        (pay(used, Operator(uuid::Uuid::from_u128(1))), Reason::ApproverNeeded),
        (pay(generated, SECOND), Reason::ClaimUnfounded),
    ];
    for (command, reason) in table {
        assert_eq!(why(ask(&mut journey.town, command)), reason);
    }
    ask(&mut journey.town, pay(used, SECOND)).unwrap();
    assert_eq!(why(ask(&mut journey.town, pay(used, SECOND))), Reason::AlreadyRedeemed);
}
