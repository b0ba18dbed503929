//! A holder at the desk: every reason of H1, H2 and H3, with phone, stolen picture, replay and card.

use domain::holder::{BlockReason, RegistrarEvent};
use domain::ids::Operator;
use domain::lifecycle::{AbortReason, Stage, Step};
use domain::member::Role;
use domain::reasons::Reason;
use domain::record::{AssistReason, Body, CheckOutcome, Note, VoidReason};
use domain::time::Millis;
use sha2::Digest as _;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::scene::*;
use super::*;
use crate::token::{HolderKey, vp1};
use crate::town::{DAWN, id};

fn phone(text: String, voucher_qr: Option<String>) -> Command {
    Command::Arrive(Arrival { personal: Personal::Phone(text), voucher_qr, voucher: None })
}

fn card(scene: &Scene) -> Personal {
    Personal::Card {
        text: Zeroizing::new(scene.card.text().to_string()),
        cti: [0xCC; 8],
        helper: Operator(Uuid::from_u128(5)),
        reason: AssistReason::NoPhone,
    }
}

/// Arrives at the slot with phone and voucher QR.
pub(super) fn use_it(scene: &mut Scene, voucher: VoucherId) -> Result<Answer, Refused> {
    let (personal, qr) = (scene.arrive(voucher), scene.current_qr(voucher));
    scene.ask(phone(personal, Some(qr)))
}

/// A whole visit: in at the slot, out twenty minutes later.
pub(crate) fn use_and_complete(scene: &mut Scene, voucher: VoucherId) {
    scene.at(SLOT);
    use_it(scene, voucher).unwrap();
    scene.at(SLOT + Millis::minutes(20));
    complete(scene, voucher, |_| {}).unwrap();
}

fn complete(
    scene: &mut Scene,
    voucher: VoucherId,
    change: impl FnOnce(&mut domain::booking::Examination),
) -> Result<Answer, Refused> {
    let personal = Personal::Phone(scene.done(voucher));
    let mut examination = examination(scene.town.now);
    change(&mut examination);
    scene.ask(Command::Complete(Completion { voucher, personal, examination, salt: [4; 32] }))
}

#[test]
fn a_holder_who_is_there_is_let_in() {
    let mut scene = Scene::new();
    let voucher = scene.booked();
    scene.at(SLOT);
    let answer = use_it(&mut scene, voucher).unwrap();
    assert_eq!(answer, Answer::Visit { voucher, complete_by: SLOT + Millis::days(7) });
    let doc = scene.town.voucher(id("audit"), voucher).unwrap();
    assert_eq!(doc.state().unwrap().stage, Stage::InUse);
    let verified = |n: &crate::replica::NoteEntry| matches!(n.note, Note::Verified { outcome: CheckOutcome::Good, .. });
    assert!(doc.notes.iter().any(verified), "the check reaches every peer");
}

/// What a desk is shown: the personal QR and the voucher QR, made in a town with a booked voucher at its slot.
type Shown = fn(&mut Scene, VoucherId) -> (String, Option<String>);

#[test]
fn a_desk_lets_nobody_in_who_is_not_there_now() {
    let table: [(&str, Shown, Reason); 13] = [
        ("no VP1", |s, v| ("VP1:HELLO".into(), Some(s.current_qr(v))), Reason::PresentationMalformed),
        ("another step", |s, v| (s.done(v), Some(s.current_qr(v))), Reason::PresentationOtherStep),
        (
            "for another hospital",
            |s, v| {
                let step = vp1::Step::Arrive { audience: "zhongda".into(), voucher: named(v) };
                (s.show(step), Some(s.current_qr(v)))
            },
            Reason::PresentationElsewhere,
        ),
        (
            "a picture of yesterday's screen",
            |s, v| {
                let step = vp1::Step::Arrive { audience: "gulou".into(), voucher: named(v) };
                let old = s.town.now - Millis::secs(61);
                (s.show_as(step, &s.phone.clone(), old), Some(s.current_qr(v)))
            },
            Reason::PresentationStale,
        ),
        (
            "a clock that is ahead",
            |s, v| {
                let step = vp1::Step::Arrive { audience: "gulou".into(), voucher: named(v) };
                let ahead = s.town.now + Millis::secs(61);
                (s.show_as(step, &s.phone.clone(), ahead), Some(s.current_qr(v)))
            },
            Reason::PresentationStale,
        ),
        (
            "someone else's key",
            |s, v| {
                let step = vp1::Step::Arrive { audience: "gulou".into(), voucher: named(v) };
                let thief = HolderKey::ed25519(&[8; 32]);
                (s.show_as(step, &thief, s.town.now), Some(s.current_qr(v)))
            },
            Reason::PresentationForged,
        ),
        (
            "the QR of another voucher of the same holder",
            |s, v| {
                let second = s.issued();
                (s.arrive(v), Some(s.current_qr(second)))
            },
            Reason::PresentationOtherVoucher,
        ),
        ("no voucher QR at all", |s, v| (s.arrive(v), None), Reason::QrUnreadable),
        ("no VQ1", |s, v| (s.arrive(v), Some("VQ1:HELLO".into())), Reason::QrNotGenuine),
        (
            "a voucher QR that the hospital made itself",
            |s, v| {
                let mut claims = crate::token::vq1::parse(&s.current_qr(v)).unwrap().claims;
                claims.iat += 1;
                let key = crate::town::seed(gulou(), domain::member::Purpose::Node);
                let forged = crate::token::vq1::sign(&claims, &ed25519_dalek::SigningKey::from_bytes(&key));
                (s.arrive(v), Some(forged.unwrap()))
            },
            Reason::QrNotGenuine,
        ),
        ("a voucher QR that is not current", |s, v| (s.arrive(v), Some(s.token(v))), Reason::Superseded),
        (
            "a voucher that nobody booked",
            |s, _| {
                let second = s.issued();
                (s.arrive(second), Some(s.current_qr(second)))
            },
            Reason::NotBooked,
        ),
        (
            "a voucher that the issuer wants back",
            |s, v| {
                s.note(health(), Role::Issuer, v, Note::VoidRequested { reason: VoidReason::SuspectedFraud });
                (s.arrive(v), Some(s.current_qr(v)))
            },
            Reason::VoidRequested,
        ),
    ];
    for (what, shown, expected) in table {
        let mut scene = Scene::new();
        let voucher = scene.booked();
        scene.at(SLOT);
        let (personal, qr) = shown(&mut scene, voucher);
        assert_eq!(why(scene.ask(phone(personal, qr))), Some(expected), "{what}");
        assert_eq!(scene.stage(voucher), Stage::Booked, "{what}: nothing is written");
    }
}

#[test]
fn the_arrival_window_is_kept_to_the_millisecond() {
    let end = SLOT + Millis::minutes(30) + Millis::hours(2);
    let table = [
        (SLOT - Millis::hours(2) - Millis(1), Some(Reason::TooEarly)),
        (SLOT - Millis::hours(2), None),
        (end - Millis(1), None),
        (end, Some(Reason::TooLate)),
    ];
    for (now, expected) in table {
        let mut scene = Scene::new();
        let voucher = scene.booked();
        scene.at(now);
        assert_eq!(why(use_it(&mut scene, voucher)), expected, "{now}");
    }
}

#[test]
fn the_state_of_a_voucher_says_why_it_cannot_be_used() {
    type Turn = fn(&mut Scene, VoucherId);
    let table: [(&str, Turn, Reason); 5] = [
        ("in use", |s, v| assert!(use_it(s, v).is_ok()), Reason::AlreadyUsed),
        ("examined", use_and_complete, Reason::AlreadyUsed),
        (
            "redeemed",
            |s, v| {
                use_and_complete(s, v);
                s.town.do_duties::<Hospital>(gulou());
                s.town.spread();
                s.step(health(), Role::Issuer, v, Step::Redeemed);
            },
            Reason::AlreadyRedeemed,
        ),
        (
            "voided",
            |s, v| {
                s.note(health(), Role::Issuer, v, Note::VoidRequested { reason: VoidReason::Mistake });
                s.town.do_duties::<Hospital>(gulou());
                s.town.spread();
                let cause = domain::lifecycle::VoidCause::Reason(VoidReason::Mistake);
                s.step(health(), Role::Issuer, v, Step::Voided { cause });
            },
            Reason::Voided,
        ),
        (
            "blocked",
            |s, _| {
                let (enrolment, reason) = (s.enrolment.0, BlockReason::LostOrStolen);
                let blocked = Body::Registrar(RegistrarEvent::EnrolmentBlocked { enrolment, reason });
                s.town.write(health(), Role::Issuer, blocked);
                s.town.spread();
            },
            Reason::EnrolmentBlocked,
        ),
    ];
    for (what, turn, expected) in table {
        let mut scene = Scene::new();
        let voucher = scene.booked();
        scene.at(SLOT);
        turn(&mut scene, voucher);
        assert_eq!(why(use_it(&mut scene, voucher)), Some(expected), "{what}");
    }
}

#[test]
fn a_booking_at_another_hospital_is_told_apart() {
    let mut scene = Scene::new();
    let voucher = scene.issued();
    let mut there = slot("cardiology", "zd-1", 0);
    there.hospital = id("zhongda");
    scene.request(voucher, there);
    scene.at(SLOT);
    assert_eq!(why(use_it(&mut scene, voucher)), Some(Reason::BookedElsewhere));
    let elsewhere = Command::Abort { voucher, reason: AbortReason::Unable };
    assert_eq!(why(scene.ask(elsewhere)), Some(Reason::BookedElsewhere));
}

#[test]
fn a_presentation_is_good_once() {
    let mut scene = Scene::new();
    let voucher = scene.booked();
    scene.at(SLOT);
    let (personal, qr) = (scene.arrive(voucher), scene.current_qr(voucher));
    scene.ask(phone(personal.clone(), Some(qr.clone()))).unwrap();
    scene.ask(Command::Abort { voucher, reason: AbortReason::DeskError }).unwrap();
    assert_eq!(scene.stage(voucher), Stage::Booked, "after a wrong button the booking stands");
    assert_eq!(why(scene.ask(phone(personal, Some(qr)))), Some(Reason::PresentationReplayed));
    use_it(&mut scene, voucher).unwrap();
    scene.ask(Command::Abort { voucher, reason: AbortReason::HolderLeft }).unwrap();
    assert_eq!(scene.stage(voucher), Stage::Issued, "who leaves books again");
}

#[test]
fn a_voucher_qr_that_was_presented_need_not_be_shown() {
    let mut scene = Scene::new();
    let voucher = scene.booked();
    let qr = scene.current_qr(voucher);
    let digest = |text: &str| domain::ids::Digest(sha2::Sha256::digest(text).into());
    scene.at(SLOT);
    let wrong = Note::UsePresented { token: digest("VQ1:ANOTHER") };
    scene.note(xuanwu(), Role::Voucher, voucher, wrong);
    let shown = scene.arrive(voucher);
    assert_eq!(why(scene.ask(phone(shown, None))), Some(Reason::QrUnreadable));
    scene.note(xuanwu(), Role::Voucher, voucher, Note::UsePresented { token: digest(&qr) });
    let shown = scene.arrive(voucher);
    assert!(scene.ask(phone(shown, None)).is_ok());
}

#[test]
fn a_printed_card_stands_in_for_the_phone() {
    let mut scene = Scene::new();
    let voucher = scene.booked();
    scene.at(SLOT);
    let stranger = crate::token::vc1::Card::generate(&mut rand::rng());
    let arrival =
        |personal, qr: &str| Command::Arrive(Arrival { personal, voucher_qr: Some(qr.to_owned()), voucher: None });
    let qr = scene.current_qr(voucher);
    let mut wrong = card(&scene);
    if let Personal::Card { text, .. } = &mut wrong {
        *text = Zeroizing::new(stranger.text().to_string());
    }
    assert_eq!(why(scene.ask(arrival(wrong, &qr))), Some(Reason::CardUnknown));
    let good = card(&scene);
    scene.ask(arrival(good, &qr)).unwrap();
    let doc = scene.town.voucher(id("audit"), voucher).unwrap();
    let used = doc.last_on_path(|s| matches!(s, Step::UseConfirmed { .. })).unwrap();
    let Step::UseConfirmed { presentation, .. } = &used.step else { panic!() };
    assert_eq!(presentation.assisted.map(|a| a.reason), Some(AssistReason::NoPhone), "and says so");
}

#[test]
fn a_check_is_written_once_a_minute() {
    let mut scene = Scene::new();
    let voucher = scene.booked();
    let verified = |scene: &Scene| {
        let doc = scene.town.voucher(id("audit"), voucher).unwrap();
        doc.notes.iter().filter(|n| matches!(n.note, Note::Verified { .. })).count()
    };
    let mut outcomes = Vec::new();
    for (at, refused) in [(DAWN, false), (DAWN + Millis::secs(5), false), (SLOT, false), (SLOT, false), (SLOT, true)] {
        scene.at(at);
        let Ok(Answer::Checked { outcome, states, .. }) = scene.ask(Command::Check { voucher, refused }) else {
            panic!()
        };
        assert!(states.booked && states.valid && !states.examined && !states.redeemed);
        outcomes.push((outcome == CheckOutcome::Good, verified(&scene)));
    }
    assert_eq!(outcomes, [(false, 1), (false, 1), (true, 2), (true, 2), (false, 3)]);
}

#[test]
fn who_does_not_come_is_noted_after_the_slot() {
    let mut scene = Scene::new();
    let (voucher, unbooked) = (scene.booked(), scene.issued());
    scene.at(SLOT + Millis::minutes(29));
    assert_eq!(why(scene.ask(Command::NoShow(voucher))), Some(Reason::TooEarly));
    assert_eq!(why(scene.ask(Command::NoShow(unbooked))), Some(Reason::NotBooked));
    scene.at(SLOT + Millis::minutes(30));
    scene.ask(Command::NoShow(voucher)).unwrap();
    assert_eq!(why(scene.ask(Command::NoShow(voucher))), Some(Reason::WrongState));
    let row = scene.town.read(gulou(), |work| lists::one(work, voucher)).unwrap();
    assert!(row.no_show && row.stage == Stage::Booked);
    use_it(&mut scene, voucher).expect("who comes late within the window is let in all the same");
    assert_eq!(why(scene.ask(Command::NoShow(voucher))), Some(Reason::AlreadyUsed));
}

#[test]
fn an_examination_counts_when_it_is_complete_and_says_what_is_missing() {
    type Change = fn(&mut domain::booking::Examination);
    let table: [(&str, Change, Option<Reason>); 9] = [
        ("as booked", |_| {}, None),
        ("a colleague of the same department", |e| e.performer = "gl-2".parse().unwrap(), None),
        ("another department", |e| e.performer = "gl-9".parse().unwrap(), Some(Reason::PerformerElsewhere)),
        ("before arrival", |e| e.started_at = SLOT - Millis(1), Some(Reason::StartedBeforeArrival)),
        ("backwards", |e| e.ended_at = e.started_at - Millis(1), Some(Reason::EndedBeforeStart)),
        ("in the future", |e| e.ended_at = SLOT + Millis::hours(1), Some(Reason::EndsInFuture)),
        ("not done", |e| e.items[0].done = false, Some(Reason::ItemNotDone)),
        ("no result", |e| e.items[0].result = None, Some(Reason::EvidenceMissing)),
        ("a novel", |e| e.items[0].result = Some("x".repeat(16 * 1024 + 1)), Some(Reason::TooLarge)),
    ];
    for (what, change, expected) in table {
        let mut scene = Scene::new();
        let voucher = scene.booked();
        scene.at(SLOT);
        use_it(&mut scene, voucher).unwrap();
        scene.at(SLOT + Millis::minutes(20));
        assert_eq!(why(complete(&mut scene, voucher, change)), expected, "{what}");
        let stage = if expected.is_none() { Stage::Examined } else { Stage::InUse };
        assert_eq!(scene.stage(voucher), stage, "{what}");
    }
}

#[test]
fn without_the_holders_word_nothing_is_complete() {
    let mut scene = Scene::new();
    let (voucher, second) = (scene.booked(), scene.issued());
    scene.at(SLOT);
    assert_eq!(why(complete(&mut scene, voucher, |_| {})), Some(Reason::WrongState), "nobody is in");
    use_it(&mut scene, voucher).unwrap();
    scene.at(SLOT + Millis::minutes(20));
    let now = scene.town.now;
    let with = |scene: &mut Scene, text: String| {
        let (personal, examination) = (Personal::Phone(text), examination(now));
        why(scene.ask(Command::Complete(Completion { voucher, personal, examination, salt: [4; 32] })))
    };
    let arrive = scene.arrive(voucher);
    assert_eq!(with(&mut scene, arrive), Some(Reason::PresentationOtherStep));
    let other = scene.done(second);
    assert_eq!(with(&mut scene, other), Some(Reason::PresentationOtherVoucher));
    let step = vp1::Step::Complete { audience: "gulou".into(), voucher: named(voucher) };
    let forged = scene.show_as(step, &HolderKey::ed25519(&[8; 32]), now);
    assert_eq!(with(&mut scene, forged), Some(Reason::PresentationForged));
    let good = scene.done(voucher);
    assert_eq!(with(&mut scene, good), None);
    let again = scene.done(voucher);
    assert_eq!(with(&mut scene, again), Some(Reason::AlreadyUsed));
}

#[test]
fn an_examination_not_completed_in_a_week_is_too_late() {
    let mut scene = Scene::new();
    let voucher = scene.booked();
    scene.at(SLOT);
    use_it(&mut scene, voucher).unwrap();
    scene.at(SLOT + Millis::days(7));
    assert_eq!(why(complete(&mut scene, voucher, |_| {})), Some(Reason::CompletionTooLate));
}

#[test]
fn a_desk_can_say_how_far_a_phones_clock_is_off() {
    let mut scene = Scene::new();
    let voucher = scene.booked();
    let step = vp1::Step::Arrive { audience: "gulou".into(), voucher: named(voucher) };
    let old = scene.show_as(step, &scene.phone.clone(), DAWN - Millis::secs(95));
    assert_eq!(desk::age(&old, DAWN), Some(Millis::secs(95)));
    assert_eq!(desk::voucher_of(&old), Some(voucher));
    assert_eq!(desk::age("VQ1:", DAWN), None);
}
