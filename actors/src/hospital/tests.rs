//! Bookings, claims and what a hospital does by itself, with every reason and the stories of a booking.

use domain::booking::BookingDetails;
use domain::duty::{Due, Duty};
use domain::lifecycle::{ClaimReason, DeclineReason, ReleaseReason, Stage, Step};
use domain::member::Role;
use domain::reasons::Reason;
use domain::record::{Note, VoidReason, Witnessed};
use domain::time::Millis;
use uuid::Uuid;

use super::lists::{self, SlotQuery};
use super::scene::*;
use super::*;
use crate::openings::digest_of;
use crate::role::Reaction;
use crate::token::vp1;
use crate::town::{DAWN, id, reaction};

fn decline_of(scene: &Scene, voucher: VoucherId) -> Option<DeclineReason> {
    let doc = scene.town.voucher(gulou(), voucher).unwrap();
    doc.links.iter().rev().find_map(|link| match link.step {
        Step::BookingDeclined { reason } => Some(reason),
        _ => None,
    })
}

fn free(scene: &Scene) -> Vec<(String, u16)> {
    let query = SlotQuery {
        department: Some("cardiology".parse().unwrap()),
        doctor: Some("gl-1".parse().unwrap()),
        from: DAWN,
        until: DAWN + Millis::days(2),
        after: None,
        limit: 100,
    };
    let slots = scene.town.read(gulou(), |work| lists::free_slots(work, &query, scene.town.now));
    slots.found.into_iter().map(|s| (s.slot.start.to_string()[11..16].to_owned(), s.free)).collect()
}

#[test]
fn a_booking_is_answered_by_the_schedule() {
    type Change = fn(&mut BookingDetails);
    let table: [(&str, Change, Option<DeclineReason>); 6] = [
        ("as it stands in the schedule", |_| {}, None),
        ("no such doctor", |d| d.slot.doctor = "gl-3".parse().unwrap(), Some(DeclineReason::SlotUnknown)),
        ("after hours", |d| d.slot = slot("cardiology", "gl-1", 4), Some(DeclineReason::SlotUnknown)),
        ("longer than a slot", |d| d.slot.end = d.slot.end + Millis::minutes(1), Some(DeclineReason::SlotUnknown)),
        (
            "a department that the programme does not know",
            |d| d.slot = slot("orthopaedics", "gl-9", 0),
            Some(DeclineReason::DepartmentNotAllowed),
        ),
        ("of another voucher", |d| d.voucher.uuid = Uuid::from_u128(99), Some(DeclineReason::DetailsMissing)),
    ];
    for (what, change, expected) in table {
        let mut scene = Scene::new();
        let voucher = scene.issued();
        let mut details = BookingDetails { salt: [9; 32], voucher, slot: slot("cardiology", "gl-1", 0) };
        change(&mut details);
        let booked = Step::Booked {
            hospital: gulou(),
            details: digest_of(&details),
            respond_by: scene.town.now + Millis::hours(24),
            use_from: details.slot.use_from(),
            use_by: details.slot.use_by(DAWN + Millis::days(30)),
        };
        scene.step(xuanwu(), Role::Voucher, voucher, booked);
        scene.open(details).unwrap();
        scene.town.do_duties::<Hospital>(gulou());
        let stage = if expected.is_none() { Stage::Booked } else { Stage::Issued };
        assert_eq!((scene.stage(voucher), decline_of(&scene, voucher)), (stage, expected), "{what}");
    }
}

#[test]
fn a_window_that_the_slot_does_not_give_is_declined() {
    let mut scene = Scene::new();
    let voucher = scene.issued();
    let details = BookingDetails { salt: [9; 32], voucher, slot: slot("cardiology", "gl-1", 0) };
    let (use_from, use_by) = (details.slot.use_from(), details.slot.use_by(DAWN + Millis::days(30)));
    let respond_by = DAWN + Millis::hours(20);
    let wide = Step::Booked {
        hospital: gulou(),
        details: digest_of(&details),
        respond_by,
        use_from,
        use_by: use_by + Millis::hours(1),
    };
    scene.step(xuanwu(), Role::Voucher, voucher, wide);
    assert_eq!(scene.open(details), Ok(Answer::Opened { confirmed: Some(false) }));
    assert_eq!(decline_of(&scene, voucher), Some(DeclineReason::DetailsMissing));
}

#[test]
fn one_seat_is_given_once_and_is_free_again_after_a_release() {
    let mut scene = Scene::new();
    assert_eq!(free(&scene).len(), 4);
    let (first, second) = (scene.issued(), scene.issued());
    let details = scene.request(first, slot("cardiology", "gl-1", 0));
    let same = scene.request(second, slot("cardiology", "gl-1", 0));
    assert_eq!(scene.open(details), Ok(Answer::Opened { confirmed: Some(true) }), "who only asks takes no seat");
    assert_eq!(scene.open(same), Ok(Answer::Opened { confirmed: Some(false) }));
    assert_eq!(decline_of(&scene, second), Some(DeclineReason::SlotTaken));
    assert_eq!(free(&scene).first(), Some(&("01:30".to_owned(), 1)), "the first slot is listed no more");

    scene.ask(Command::Release { voucher: first, reason: ReleaseReason::Unable }).unwrap();
    assert_eq!(scene.stage(first), Stage::Issued);
    assert_eq!(free(&scene).first(), Some(&("01:00".to_owned(), 1)));
    let again = scene.request(second, slot("cardiology", "gl-1", 0));
    assert_eq!(scene.open(again), Ok(Answer::Opened { confirmed: Some(true) }));
}

#[test]
fn a_booking_without_its_opening_waits_and_is_declined_before_its_limit() {
    let mut scene = Scene::new();
    let voucher = scene.issued();
    scene.request(voucher, slot("cardiology", "gl-1", 0));
    scene.town.do_duties::<Hospital>(gulou());
    assert_eq!(scene.stage(voucher), Stage::BookingRequested);
    let limit = DAWN + Millis::hours(24);
    scene.at(limit - Millis::secs(61));
    scene.town.do_duties::<Hospital>(gulou());
    assert_eq!(scene.stage(voucher), Stage::BookingRequested);
    scene.at(limit - Millis::secs(60));
    scene.town.do_duties::<Hospital>(gulou());
    assert_eq!(decline_of(&scene, voucher), Some(DeclineReason::DetailsMissing));

    let late = scene.issued();
    scene.request(late, slot("cardiology", "gl-2", 3));
    let due = Due { blocker: gulou(), at: DAWN, duty: Duty::Answer };
    scene.at(slot("cardiology", "gl-2", 3).end);
    let nothing = reaction::<Hospital>(&scene.town, gulou(), late, due);
    assert!(matches!(nothing, Some(Reaction::Nothing)), "past its limit it is the voucher module's");
}

#[test]
fn an_opening_that_comes_before_the_record_is_kept() {
    let mut scene = Scene::new();
    let voucher = scene.issued();
    let details = BookingDetails { salt: [9; 32], voucher, slot: slot("cardiology", "gl-1", 0) };
    assert_eq!(scene.open(details), Ok(Answer::Opened { confirmed: None }));
    scene.request(voucher, slot("cardiology", "gl-1", 0));
    scene.town.do_duties::<Hospital>(gulou());
    assert_eq!(scene.stage(voucher), Stage::Booked);
}

#[test]
fn openings_come_from_the_vouchers_module_alone() {
    let mut scene = Scene::new();
    let voucher = scene.issued();
    let details = scene.request(voucher, slot("cardiology", "gl-1", 0));
    let from = |from: &str, details: &BookingDetails| Command::Open { from: id(from), details: details.clone() };
    for stranger in ["qinhuai", "zhongda", "nobody"] {
        assert_eq!(why(scene.ask(from(stranger, &details))), Some(Reason::Forbidden), "{stranger}");
    }
    let mut other = details.clone();
    other.slot.hospital = id("zhongda");
    assert_eq!(why(scene.ask(from("xuanwu", &other))), Some(Reason::BookedElsewhere));
    assert_eq!(scene.stage(voucher), Stage::BookingRequested);
}

#[test]
fn nobody_asks_for_seats_without_bound() {
    let mut scene = Scene::new();
    let mut kept = 0;
    for n in 0..=rows::MAX_OPENINGS_PER_SLOT {
        let voucher = VoucherId { issuer: health(), uuid: Uuid::from_u128(n as u128) };
        let details = BookingDetails { salt: [0; 32], voucher, slot: slot("cardiology", "gl-1", 0) };
        let kept_now = scene.town.ask::<Hospital>(gulou(), Command::Open { from: xuanwu(), details });
        kept += usize::from(kept_now.is_ok());
    }
    assert_eq!(kept, rows::MAX_OPENINGS_PER_SLOT);
    assert_eq!(free(&scene).len(), 4, "none of them is booked");
}

fn cancel(scene: &mut Scene, voucher: VoucherId) -> Witnessed {
    let text = scene.show(vp1::Step::Cancel { audience: "xuanwu".into(), voucher: named(voucher) });
    let registrar = scene.town.read(xuanwu(), |work| work.registrar_position()).unwrap();
    Witnessed { presentation: scene.presentation(&text), registrar }
}

#[test]
fn a_cancelled_booking_is_released_by_itself() {
    let mut scene = Scene::new();
    let voucher = scene.booked();
    let witnessed = cancel(&mut scene, voucher);
    scene.note(xuanwu(), Role::Voucher, voucher, Note::CancelRequested { witnessed });
    scene.town.do_duties::<Hospital>(gulou());
    assert_eq!(scene.stage(voucher), Stage::Issued);
    assert_eq!(free(&scene).len(), 4);
}

#[test]
fn a_moved_booking_holds_the_new_slot_for_ten_minutes() {
    let mut scene = Scene::new();
    let (voucher, rival) = (scene.booked(), scene.issued());
    let new = BookingDetails { salt: [3; 32], voucher, slot: slot("cardiology", "gl-1", 1) };
    scene.open(new.clone()).unwrap();
    let witnessed = cancel(&mut scene, voucher);
    let moved = Note::MoveRequested { witnessed, details: digest_of(&new), hospital: gulou() };
    scene.note(xuanwu(), Role::Voucher, voucher, moved);
    scene.town.do_duties::<Hospital>(gulou());
    scene.town.spread();
    let released = scene.town.voucher(gulou(), voucher).unwrap();
    let last = released.last_on_path(|_| true).unwrap();
    assert_eq!(last.step, Step::BookingReleased { reason: ReleaseReason::Moved });

    let taken = scene.request(rival, slot("cardiology", "gl-1", 1));
    assert_eq!(scene.open(taken), Ok(Answer::Opened { confirmed: Some(false) }), "it is held");
    scene.town.pass(rows::HOLD);
    let free_now = scene.request(rival, slot("cardiology", "gl-1", 1));
    assert_eq!(scene.open(free_now), Ok(Answer::Opened { confirmed: Some(true) }), "and not for ever");
}

#[test]
fn what_the_issuer_wants_back_is_given_back() {
    let mut scene = Scene::new();
    let (asked, booked) = (scene.issued(), scene.booked());
    scene.request(asked, slot("cardiology", "gl-2", 0));
    for voucher in [asked, booked] {
        scene.note(health(), Role::Issuer, voucher, Note::VoidRequested { reason: VoidReason::Mistake });
    }
    scene.town.do_duties::<Hospital>(gulou());
    for voucher in [asked, booked] {
        assert_eq!(scene.stage(voucher), Stage::Generated);
    }
    assert_eq!(free(&scene).len(), 4);
}

/// An examined voucher that gulou has claimed.
fn claimed() -> (Scene, VoucherId) {
    let mut scene = Scene::new();
    let voucher = scene.booked();
    super::visits::use_and_complete(&mut scene, voucher);
    scene.town.do_duties::<Hospital>(gulou());
    scene.town.spread();
    (scene, voucher)
}

#[test]
fn a_completed_examination_is_claimed_with_both_openings() {
    let (mut scene, voucher) = claimed();
    assert_eq!(scene.stage(voucher), Stage::Claimed);
    let doc = scene.town.voucher(health(), voucher).unwrap();
    let letters = scene.town.letters(gulou());
    let claim = letters.iter().find(|l| l.path == "/v1/issuer/claims/openings").unwrap();
    assert_eq!(claim.to, health());
    let body: serde_json::Value = serde_json::from_slice(&claim.body).unwrap();
    let booking: BookingDetails = serde_json::from_value(body["booking"].clone()).unwrap();
    let evidence: domain::booking::Evidence = serde_json::from_value(body["evidence"].clone()).unwrap();
    assert_eq!(Some(digest_of(&booking)), doc.state().unwrap().booking.map(|b| b.details));
    let on_record = doc.path().find_map(|l| match &l.step {
        Step::ExamCompleted { evidence, .. } => Some(*evidence),
        _ => None,
    });
    assert_eq!(Some(digest_of(&evidence)), on_record);

    let result = letters.iter().find(|l| l.path == "/v1/voucher/results").unwrap();
    let body: serde_json::Value = serde_json::from_slice(&result.body).unwrap();
    assert_eq!((result.to, body["text"].as_str()), (xuanwu(), Some("ecg: 窦性心律")));
}

#[test]
fn a_rejected_claim_is_an_operators_to_answer_and_three_times_at_most() {
    let (mut scene, voucher) = claimed();
    for round in 1..=3 {
        assert_eq!(scene.stage(voucher), Stage::Claimed, "claim {round}");
        assert_eq!(why(scene.ask(Command::AnswerRejection(voucher))), Some(Reason::WrongState));
        let reason = ClaimReason::Unfounded;
        scene.step(health(), Role::Issuer, voucher, Step::ClaimRejected { reason, is_final: false });
        if round == 3 {
            break;
        }
        assert_eq!(why(scene.ask(Command::Claim(voucher))), Some(Reason::AnswerMissing), "no duty");
        assert_eq!(scene.town.do_duties::<Hospital>(gulou()), 0, "a rejected claim is not claimed again by itself");
        let rows = scene.town.read(gulou(), |work| lists::at_stages(work, &[Stage::Rejected], None, 10));
        assert_eq!(rows.iter().map(|r| (r.voucher, r.rejected)).collect::<Vec<_>>(), [(voucher, Some(reason))]);
        scene.town.letters(gulou());
        scene.ask(Command::AnswerRejection(voucher)).unwrap();
        assert_eq!(scene.town.letters(gulou()).len(), 1, "the openings go with it");
    }
    assert_eq!(scene.stage(voucher), Stage::Refused);
    assert_eq!(why(scene.ask(Command::AnswerRejection(voucher))), Some(Reason::WrongState));
}

#[test]
fn a_claimed_voucher_s_appointment_is_shown_again_only_when_the_claim_is_rejected() {
    let (mut scene, voucher) = claimed();
    let slot = |scene: &Scene| {
        let row = scene.town.read(gulou(), |work| lists::one(work, voucher));
        row.map(|row| (row.stage, row.slot.is_some()))
    };
    assert_eq!(slot(&scene), Some((Stage::Claimed, false)));
    let rejected = Step::ClaimRejected { reason: ClaimReason::Unfounded, is_final: false };
    scene.step(health(), Role::Issuer, voucher, rejected);
    assert_eq!(slot(&scene), Some((Stage::Rejected, true)), "the desk has to answer");
}

#[test]
fn what_is_settled_is_not_answered_again_and_says_how_it_was_settled() {
    let (mut scene, voucher) = claimed();
    scene.step(health(), Role::Issuer, voucher, Step::Redeemed);
    assert_eq!(why(scene.ask(Command::AnswerRejection(voucher))), Some(Reason::AlreadyRedeemed));

    let (mut scene, voucher) = claimed();
    scene.step(health(), Role::Issuer, voucher, Step::ClaimRejected { reason: ClaimReason::Unfounded, is_final: true });
    let cause = domain::lifecycle::VoidCause::Reason(domain::record::VoidReason::ClaimRefused);
    scene.step(health(), Role::Issuer, voucher, Step::Voided { cause });
    assert_eq!(why(scene.ask(Command::AnswerRejection(voucher))), Some(Reason::Voided));
}

#[test]
fn openings_and_evidence_are_forgotten_when_nobody_can_need_them() {
    let (mut scene, voucher) = claimed();
    let unused = scene.issued();
    let details = scene.request(unused, slot("cardiology", "gl-2", 3));
    scene.open(details).unwrap();
    scene.ask(Command::Release { voucher: unused, reason: ReleaseReason::Unable }).unwrap();
    scene.step(health(), Role::Issuer, voucher, Step::Redeemed);
    let kept = |scene: &Scene| {
        let day = |work: &Work<'_>| rows::wanted(&work.tx, DAWN, DAWN + Millis::days(9), 10).len();
        let doc = scene.town.voucher(gulou(), voucher).unwrap();
        let digest = doc.path().find_map(|l| match &l.step {
            Step::ExamCompleted { evidence, .. } => Some(*evidence),
            _ => None,
        });
        scene.town.read(gulou(), |work| (day(work), rows::evidence(&work.tx, digest.unwrap()).is_some()))
    };
    let mut tidied = Vec::new();
    for days in [20, 60, 200] {
        scene.at(DAWN + Millis::days(days));
        scene.town.do_duties::<Hospital>(gulou());
        tidied.push(kept(&scene));
    }
    assert_eq!(tidied, [(2, true), (1, true), (0, false)]);
}

#[test]
fn a_schedule_that_cannot_be_changes_nothing() {
    let mut scene = Scene::new();
    let mut twice = hours();
    twice.push(hours()[0].clone());
    assert_eq!(why(scene.ask(Command::SetSchedule(twice))), Some(Reason::Malformed));
    assert_eq!(free(&scene).len(), 4);
    scene.ask(Command::SetSchedule(hours()[1..].to_vec())).unwrap();
    assert_eq!(free(&scene).len(), 0, "a schedule replaces the one before");
}
