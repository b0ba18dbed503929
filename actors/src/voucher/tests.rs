//! The voucher module's rules as tables with each reason, and a story for each of its units.

use domain::booking::Slot;
use domain::holder::{BlockReason, RegistrarEvent};
use domain::ids::{HolderId, VoucherId};
use domain::lifecycle::{DeclineReason, ReleaseReason, ReturnReason, Stage, Step};
use domain::member::Role;
use domain::policy::Class;
use domain::reasons::Reason;
use domain::record::{CheckOutcome, HelpStep, Note, Presentation, VoidReason};
use domain::time::Millis;
use uuid::Uuid;

use super::command::{Checked, Profile};
use super::letters::{Enrolled, HolderLetter, KeyText, OPENINGS_PATH, OpeningLetter, ResultLetter};
use super::wallet::{Next, VoucherView};
use super::*;
use crate::community::scene::*;
use crate::openings::digest_of;
use crate::token::vp1::{self, Step as Wish};
use crate::town::id;

/// An appointment at Gulou's cardiology, some hours from now.
pub(crate) fn slot(scene: &Scene, hours: i64) -> Slot {
    let start = scene.town.now + Millis::hours(hours);
    let end = start + Millis::minutes(30);
    Slot { hospital: id("gulou"), department: short("cardiology"), doctor: short("gl-1"), start, end }
}

fn starts_in(scene: &Scene, span: Millis) -> Slot {
    let start = scene.town.now + span;
    Slot { start, end: start + Millis::minutes(30), ..slot(scene, 1) }
}

fn book(scene: &mut Scene, voucher: VoucherId, slot: Slot) -> Result<Answer, Refused> {
    let holder = scene.anna.holder;
    let answer = scene.wallet(Command::Book { holder, voucher, slot, salt: [8; 32] });
    scene.town.spread();
    answer
}

fn booked(scene: &mut Scene) -> VoucherId {
    let voucher = scene.issued();
    let at = slot(scene, 26);
    book(scene, voucher, at).unwrap();
    scene.hospital(voucher, Step::BookingConfirmed);
    voucher
}

fn presentation(scene: &mut Scene, step: Wish) -> Presentation {
    let cti = scene.fresh();
    let text = scene.anna.show(step, cti, scene.town.now);
    Presentation { cose: vp1::parse(&text).unwrap().cose_bytes().to_vec(), assisted: None }
}

fn arrive(scene: &mut Scene, voucher: VoucherId) {
    let presentation = presentation(scene, Wish::Arrive { audience: "gulou".into(), voucher: name_of(voucher) });
    let complete_by = scene.town.now + Millis::days(7);
    scene.hospital(voucher, Step::UseConfirmed { presentation, complete_by });
}

fn complete(scene: &mut Scene, voucher: VoucherId) {
    let presentation = presentation(scene, Wish::Complete { audience: "gulou".into(), voucher: name_of(voucher) });
    let (evidence, claim_by) = (domain::ids::Digest([1; 32]), scene.town.now + Millis::days(30));
    scene.hospital(voucher, Step::ExamCompleted { evidence, presentation, claim_by });
}

/// From *issued* to *redeemed*.
pub(crate) fn redeem(scene: &mut Scene, voucher: VoucherId) {
    let at = slot(scene, 1);
    book(scene, voucher, at).unwrap();
    scene.hospital(voucher, Step::BookingConfirmed);
    arrive(scene, voucher);
    complete(scene, voucher);
    scene.hospital(voucher, Step::RedemptionClaimed { answers: None });
    scene.issuer(voucher, Step::Redeemed);
}

fn stage(scene: &Scene, voucher: VoucherId) -> Stage {
    scene.town.voucher(xuanwu(), voucher).unwrap().state().unwrap().stage
}

fn view(scene: &Scene, voucher: VoucherId) -> VoucherView {
    let wallet = scene.town.read(xuanwu(), |work| wallet::wallet(work, scene.anna.holder, scene.town.now)).unwrap();
    wallet.vouchers.into_iter().find(|v| v.voucher == voucher).unwrap()
}

fn reason<T: std::fmt::Debug>(result: Result<T, Refused>) -> Reason {
    result.unwrap_err().reason()
}

#[test]
fn a_community_tells_only_of_its_own_people() {
    type Change = fn(&mut Scene, &mut HolderLetter, &mut InstitutionId);
    let table: [(&str, Change, Option<Reason>); 8] = [
        ("again", |_, _, _| {}, None),
        ("another community", |_, _, from| *from = id("qinhuai"), Some(Reason::EnrolmentElsewhere)),
        (
            "another person's enrolment",
            |s, l, _| l.enrolments = vec![s.bao.enrolled.clone()],
            Some(Reason::EnrolmentElsewhere),
        ),
        ("another id", |_, l, _| l.enrolments[0].id.0 = Uuid::from_u128(3), Some(Reason::EnrolmentElsewhere)),
        ("a record that is none", |s, l, _| l.enrolments[0].name = s.programme, Some(Reason::EnrolmentUnknown)),
        ("a record not here yet", |_, l, _| l.enrolments[0].name.index = 9_999, Some(Reason::Waiting)),
        ("nothing", |_, l, _| l.enrolments.clear(), Some(Reason::Malformed)),
        ("a long number", |_, l, _| l.contact = Some("1".repeat(33)), Some(Reason::Malformed)),
    ];
    for (what, change, expected) in table {
        let mut scene = Scene::new();
        let mut letter = HolderLetter {
            holder: scene.anna.holder,
            main_key: Some(KeyText(scene.anna.main.public())),
            class: Class::Elderly,
            enrolments: vec![scene.anna.enrolled.clone()],
            contact: None,
        };
        let mut from = xuanwu();
        change(&mut scene, &mut letter, &mut from);
        let result = scene.wallet(Command::Learn { from, letter: Box::new(letter) });
        assert_eq!(result.err().map(Refused::reason), expected, "{what}");
    }
}

#[test]
fn a_wallet_is_opened_by_its_main_key_alone() {
    let scene = Scene::new();
    let wish = Wish::Wallet { audience: "xuanwu".into(), request: [0; 32] };
    let whose = |phone: &Phone| {
        let proof = vp1::parse(&phone.show(wish.clone(), 1, scene.town.now)).unwrap();
        scene.town.read(xuanwu(), |work| holders::whose(work, &proof))
    };
    assert_eq!(whose(&scene.anna), Ok(scene.anna.holder));
    let mut thief = scene.anna.clone();
    thief.main = crate::token::HolderKey::ed25519(&[200; 32]);
    assert_eq!(whose(&thief), Err(Reason::Unauthenticated));
}

#[test]
fn the_terminal_gives_information_about_its_own_genuine_vouchers() {
    let mut scene = Scene::new();
    let voucher = scene.issued();
    let token = view(&scene, voucher).token.unwrap();
    let in_stock = scene.stock(1)[0];
    let others = scene.town.voucher(xuanwu(), in_stock).unwrap().token().unwrap().to_owned();
    let flipped = token.replace(token.chars().last().unwrap(), "0");
    let profile = |tokens: Vec<String>| Profile {
        phone: Some("13900000002".into()),
        document_type: short("resident-id"),
        document_number: "110101194805010021".into(),
        tokens,
    };
    let mut no_number = profile(vec![]);
    no_number.document_number.clear();
    let table = [
        ("its own", profile(vec![token.clone()]), Ok(Answer::Taken(vec![voucher]))),
        ("none", profile(vec![]), Ok(Answer::Taken(vec![]))),
        ("one that is not issued to it", profile(vec![others]), Err(Refused::NotFound)),
        ("one with a slip", profile(vec![flipped]), Err(Reason::QrNotGenuine.into())),
        ("no document", no_number, Err(Reason::DocumentInvalid.into())),
        ("too many", profile(vec![token; 257]), Err(Reason::Malformed.into())),
    ];
    let holder = scene.anna.holder;
    for (what, profile, expected) in table {
        let result = scene.wallet(Command::TakeInformation { holder, profile: Box::new(profile) });
        assert_eq!(result, expected, "{what}");
    }
    let (information, contact) = scene.town.read(xuanwu(), |work| {
        (rows::information(&work.tx, voucher).unwrap(), rows::contact(&work.tx, holder).unwrap())
    });
    assert_eq!(information.issuing_department, "Elderly care office");
    assert_eq!(information.valid_until, view(&scene, voucher).valid_until);
    assert_eq!(contact.phone.as_deref(), Some("13900000002"));
}

#[test]
fn the_four_states_are_checked_and_written_once_a_minute() {
    let mut scene = Scene::new();
    let holder = scene.anna.holder;
    let voucher = scene.issued();
    let check = |scene: &mut Scene| {
        let Answer::Checked(Checked { states, outcome }) = scene.wallet(Command::Check { holder, voucher }).unwrap()
        else {
            panic!("checked")
        };
        (states.booked, states.examined, states.redeemed, states.valid, outcome == CheckOutcome::Good)
    };
    let written = |scene: &Scene| {
        let doc = scene.town.voucher(xuanwu(), voucher).unwrap();
        doc.notes.iter().filter(|n| matches!(n.note, Note::Verified { .. })).count()
    };
    assert_eq!(check(&mut scene), (false, false, false, true, true));
    assert_eq!(check(&mut scene), (false, false, false, true, true));
    assert_eq!(written(&scene), 1);
    scene.town.pass(Millis::minutes(1));
    check(&mut scene);
    assert_eq!(written(&scene), 2);
    let at = slot(&scene, 1);
    book(&mut scene, voucher, at).unwrap();
    assert_eq!(check(&mut scene), (true, false, false, true, true));
    scene.hospital(voucher, Step::BookingConfirmed);
    assert_eq!(check(&mut scene), (true, false, false, true, true));
    arrive(&mut scene, voucher);
    complete(&mut scene, voucher);
    assert_eq!(check(&mut scene), (false, true, false, true, false));
    scene.hospital(voucher, Step::RedemptionClaimed { answers: None });
    scene.issuer(voucher, Step::Redeemed);
    assert_eq!(check(&mut scene), (false, true, true, true, false));
    scene.town.pass(Millis::days(90));
    assert_eq!(check(&mut scene), (false, true, true, false, false));
    let stranger = scene.bao.holder;
    assert_eq!(scene.wallet(Command::Check { holder: stranger, voucher }), Err(Refused::NotFound));
}

#[test]
fn a_booking_is_offered_only_where_every_rule_agrees() {
    type Change = fn(&mut Scene, VoucherId, &mut Slot);
    let table: [(&str, Change, Option<Reason>); 18] = [
        ("tomorrow", |_, _, _| {}, None),
        ("just in time", |s, _, at| *at = starts_in(s, booking::NOTICE), None),
        ("too near", |s, _, at| *at = starts_in(s, Millis::minutes(9)), Some(Reason::SlotPast)),
        ("in the past", |s, _, at| *at = starts_in(s, Millis(-1)), Some(Reason::NotYetValid)),
        ("backwards", |_, _, at| at.end = at.start, Some(Reason::SlotUnknown)),
        ("all day", |_, _, at| at.end = at.start + Millis::hours(13), Some(Reason::SlotUnknown)),
        (
            "past the validity",
            |s, _, at| {
                (at.start, at.end) =
                    (s.town.now + Millis::days(90) - Millis(1), s.town.now + Millis::days(90) + Millis(1))
            },
            Some(Reason::Expired),
        ),
        (
            "after the validity",
            |s, _, at| {
                s.town.pass(Millis::days(90));
                *at = slot(s, 1);
            },
            Some(Reason::Expired),
        ),
        ("no hospital", |_, _, at| at.hospital = id("qinhuai"), Some(Reason::NotInGoodStanding)),
        ("nobody", |_, _, at| at.hospital = id("nobody"), Some(Reason::MemberUnknown)),
        ("another department", |_, _, at| at.department = short("dentistry"), Some(Reason::DepartmentNotAllowed)),
        ("asked already", |s, v, at| drop(book(s, v, at.clone()).unwrap()), Some(Reason::AlreadyBooked)),
        (
            "booked already",
            |s, v, at| {
                book(s, v, at.clone()).unwrap();
                s.hospital(v, Step::BookingConfirmed);
            },
            Some(Reason::AlreadyBooked),
        ),
        (
            "in use",
            |s, v, _| {
                let at = slot(s, 1);
                book(s, v, at).unwrap();
                s.hospital(v, Step::BookingConfirmed);
                arrive(s, v);
            },
            Some(Reason::AlreadyUsed),
        ),
        ("redeemed", |s, v, _| redeem(s, v), Some(Reason::AlreadyRedeemed)),
        (
            "another booking is open",
            |s, _, at| {
                let other = s.issued();
                book(s, other, at.clone()).unwrap();
            },
            Some(Reason::OpenBooking),
        ),
        (
            "blocked",
            |s, _, _| {
                let enrolment = s.anna.enrolled.name;
                s.registrar(RegistrarEvent::EnrolmentBlocked { enrolment, reason: BlockReason::Died });
            },
            Some(Reason::EnrolmentBlocked),
        ),
        (
            "the issuer wants it back",
            |s, v, _| {
                let wanted = Note::VoidRequested { reason: VoidReason::EntitlementEnded };
                s.town.decide(health(), |desk| desk.note(Role::Issuer, v, wanted)).unwrap();
                s.town.spread();
            },
            Some(Reason::VoidRequested),
        ),
    ];
    for (what, change, expected) in table {
        let mut scene = Scene::new();
        let voucher = scene.issued();
        let mut at = slot(&scene, 26);
        change(&mut scene, voucher, &mut at);
        scene.town.letters(xuanwu());
        let result = book(&mut scene, voucher, at.clone());
        assert_eq!(result.as_ref().err().map(|r| r.reason()), expected, "{what}");
        let letters = scene.town.letters(xuanwu());
        assert_eq!(letters.len(), usize::from(expected.is_none()), "{what}: an opening goes with a booking alone");
        if let Ok(Answer::Booked(details)) = result {
            let opening: OpeningLetter = serde_json::from_slice(&letters[0].body).unwrap();
            assert_eq!((letters[0].to, letters[0].path.as_str()), (id("gulou"), OPENINGS_PATH));
            let known = scene.town.voucher(id("gulou"), voucher).unwrap();
            assert_eq!(known.state().unwrap().booking.unwrap().details, digest_of(&opening.details));
            assert_eq!((&opening.details.slot, &details), (&at, &opening.details));
        }
    }
}

#[test]
fn a_booking_is_cancelled_only_with_the_holders_own_word() {
    type Show = fn(&mut Scene, VoucherId) -> String;
    let table: [(&str, Show, Option<Reason>); 6] = [
        ("her word", Scene::cancel_qr, None),
        (
            "for the hospital",
            |s, v| s.anna.show(Wish::Cancel { audience: "gulou".into(), voucher: name_of(v) }, 7, s.town.now),
            Some(Reason::PresentationElsewhere),
        ),
        (
            "for another voucher",
            |s, v| {
                let other = VoucherId { uuid: Uuid::from_u128(88), ..v };
                s.cancel_qr(other)
            },
            Some(Reason::PresentationOtherVoucher),
        ),
        (
            "to arrive",
            |s, v| s.anna.show(Wish::Arrive { audience: "xuanwu".into(), voucher: name_of(v) }, 7, s.town.now),
            Some(Reason::PresentationOtherStep),
        ),
        (
            "yesterday's",
            |s, v| {
                let at = s.town.now - Millis::days(1);
                s.anna.show(Wish::Cancel { audience: "xuanwu".into(), voucher: name_of(v) }, 7, at)
            },
            Some(Reason::PresentationStale),
        ),
        (
            "by another key",
            |s, v| {
                s.anna.key = crate::token::HolderKey::ed25519(&[99; 32]);
                s.cancel_qr(v)
            },
            Some(Reason::PresentationForged),
        ),
    ];
    for (what, show, expected) in table {
        let mut scene = Scene::new();
        let voucher = booked(&mut scene);
        let holder = scene.anna.holder;
        let qr = show(&mut scene, voucher);
        let result = scene.wallet(Command::Cancel { holder, voucher, qr: qr.clone() });
        assert_eq!(result.err().map(Refused::reason), expected, "{what}");
        scene.town.spread();
        let asked = scene.town.voucher(id("gulou"), voucher).unwrap().notes_state().release_requested;
        assert_eq!(asked, expected.is_none(), "{what}: the hospital hears it");
    }
    let mut scene = Scene::new();
    let voucher = scene.issued();
    let (holder, qr) = (scene.anna.holder, scene.cancel_qr(voucher));
    assert_eq!(reason(scene.wallet(Command::Cancel { holder, voucher, qr })), Reason::NotBooked);
}

#[test]
fn a_moved_booking_is_made_anew_when_the_old_one_is_released() {
    let mut scene = Scene::new();
    let voucher = booked(&mut scene);
    let holder = scene.anna.holder;
    scene.town.letters(xuanwu());
    let mut later = slot(&scene, 50);
    later.hospital = id("zhongda");
    let qr = scene.cancel_qr(voucher);
    scene.wallet(Command::Move { holder, voucher, qr, slot: later.clone(), salt: [9; 32] }).unwrap();
    assert_eq!(scene.town.letters(xuanwu())[0].to, id("zhongda"), "so that it can hold the new slot");
    assert_eq!(view(&scene, voucher).moving_to.as_ref(), Some(&later));
    scene.duties();
    assert_eq!(stage(&scene, voucher), Stage::Booked, "the old one stands until it is released");
    scene.hospital(voucher, Step::BookingReleased { reason: ReleaseReason::Moved });
    scene.duties();
    let state = scene.town.voucher(id("zhongda"), voucher).unwrap().state().cloned().unwrap();
    assert_eq!((state.stage, state.hospital()), (Stage::BookingRequested, Some(id("zhongda"))));
    assert_eq!(view(&scene, voucher).moving_to, None);
    assert_eq!(view(&scene, voucher).booking.unwrap().slot, Some(later));
}

#[test]
fn a_move_that_became_impossible_is_dropped_and_a_cancel_ends_it() {
    let mut scene = Scene::new();
    let voucher = booked(&mut scene);
    let holder = scene.anna.holder;
    let soon = slot(&scene, 1);
    let qr = scene.cancel_qr(voucher);
    let same = view(&scene, voucher).booking.unwrap().slot.unwrap();
    let stay = Command::Move { holder, voucher, qr: qr.clone(), slot: same, salt: [9; 32] };
    assert_eq!(reason(scene.wallet(stay)), Reason::AlreadyBooked);
    scene.wallet(Command::Move { holder, voucher, qr, slot: soon, salt: [9; 32] }).unwrap();
    scene.town.pass(Millis::hours(2));
    scene.hospital(voucher, Step::BookingReleased { reason: ReleaseReason::Moved });
    scene.duties();
    assert_eq!((stage(&scene, voucher), view(&scene, voucher).moving_to), (Stage::Issued, None));

    let mut scene = Scene::new();
    let voucher = booked(&mut scene);
    let (qr, at) = (scene.cancel_qr(voucher), slot(&scene, 50));
    scene.wallet(Command::Move { holder, voucher, qr, slot: at, salt: [9; 32] }).unwrap();
    let qr = scene.cancel_qr(voucher);
    scene.wallet(Command::Cancel { holder, voucher, qr }).unwrap();
    scene.town.spread();
    scene.hospital(voucher, Step::BookingReleased { reason: ReleaseReason::Cancelled });
    scene.duties();
    assert_eq!(stage(&scene, voucher), Stage::Issued, "who cancels wants neither");
}

#[test]
fn a_silent_hospital_loses_the_booking_once_its_log_shows_the_time() {
    let mut scene = Scene::new();
    let voucher = scene.issued();
    let at = slot(&scene, 26);
    book(&mut scene, voucher, at).unwrap();
    scene.town.pass(Millis::hours(24));
    scene.duties();
    assert_eq!(stage(&scene, voucher), Stage::BookingRequested, "nothing of the hospital's log proves it");
    scene.town.write(id("gulou"), Role::Hospital, domain::record::Body::Heartbeat);
    scene.town.spread();
    scene.duties();
    assert_eq!(stage(&scene, voucher), Stage::Issued);
    assert!(scene.wallet(Command::Rebook(voucher)).is_ok(), "nothing is moved: nothing happens");
    let notices = scene.town.read(xuanwu(), |work| wallet::notices(work, scene.anna.holder, 10)).unwrap();
    assert_eq!(notices.iter().map(|n| n.what).collect::<Vec<_>>(), ["booking-lapsed", "issued"]);
}

#[test]
fn the_qr_goes_to_the_hospital_only_when_it_is_booked() {
    let mut scene = Scene::new();
    let voucher = scene.issued();
    let holder = scene.anna.holder;
    let send = Command::Use { holder, voucher };
    assert_eq!(reason(scene.wallet(send)), Reason::NotBooked);
    let at = slot(&scene, 1);
    book(&mut scene, voucher, at).unwrap();
    assert_eq!(reason(scene.wallet(Command::Use { holder, voucher })), Reason::NotBooked, "nobody agreed yet");
    scene.hospital(voucher, Step::BookingConfirmed);
    for _ in 0..2 {
        scene.wallet(Command::Use { holder, voucher }).unwrap();
        scene.town.spread();
    }
    let doc = scene.town.voucher(id("gulou"), voucher).unwrap();
    let sent: Vec<_> = doc.notes.iter().filter(|n| matches!(n.note, Note::UsePresented { .. })).collect();
    assert_eq!((sent.len(), doc.notes_state().use_presented), (1, true));
    arrive(&mut scene, voucher);
    assert_eq!(reason(scene.wallet(Command::Use { holder, voucher })), Reason::AlreadyUsed);

    let late = booked(&mut Scene::new());
    let mut scene = Scene::new();
    assert_eq!(booked(&mut scene), late);
    scene.town.pass(Millis::hours(29));
    assert_eq!(reason(scene.wallet(Command::Use { holder, voucher: late })), Reason::TooLate);
}

#[test]
fn a_holder_denies_a_use() {
    let mut scene = Scene::new();
    let voucher = scene.issued();
    let holder = scene.anna.holder;
    let qr = scene.cancel_qr(voucher);
    assert_eq!(reason(scene.wallet(Command::Dispute { holder, voucher, qr })), Reason::WrongState);
    let at = slot(&scene, 1);
    book(&mut scene, voucher, at).unwrap();
    scene.hospital(voucher, Step::BookingConfirmed);
    arrive(&mut scene, voucher);
    let qr = scene.cancel_qr(voucher);
    scene.wallet(Command::Dispute { holder, voucher, qr }).unwrap();
    scene.town.spread();
    assert!(scene.town.voucher(health(), voucher).unwrap().notes_state().disputed, "the issuer hears it");
}

#[test]
fn help_is_given_only_for_what_is_on_record() {
    use crate::community;
    let mut scene = Scene::new();
    scene.stock(1);
    let assist = scene.assist();
    let document_number = "110101194805010013".to_owned();
    let issue = community::Command::IssueByCard { assist, programme: short(PROGRAMME), document_number };
    let community::Answer::Issued(issued) = scene.ask(issue).unwrap() else { panic!("issued") };
    let voucher = issued.voucher;
    let at = slot(&scene, 26);
    let ask = |scene: &mut Scene, step, slot| {
        let assist = scene.assist();
        scene.ask(community::Command::Help { assist, voucher, step, slot, salt: [5; 32] }).unwrap();
        let letters = scene.town.letters(xuanwu());
        serde_json::from_slice::<letters::HelpLetter>(&letters[0].body).unwrap()
    };
    let good = ask(&mut scene, HelpStep::Book, Some(at));
    let (mut unknown, mut other) = (good.clone(), good.clone());
    unknown.record.index = 9_999;
    other.opening.salt = [6; 32];
    let table = [
        ("another institution's record", id("qinhuai"), good.clone(), Some(Reason::Forbidden)),
        ("a record not here yet", xuanwu(), unknown, Some(Reason::Waiting)),
        ("another opening", xuanwu(), other, Some(Reason::OpeningDiffers)),
        ("as on record", xuanwu(), good.clone(), None),
        ("the same again", xuanwu(), good, Some(Reason::AlreadyBooked)),
    ];
    for (what, from, letter, expected) in table {
        let result = scene.wallet(Command::Help { from, letter: Box::new(letter) });
        assert_eq!(result.err().map(Refused::reason), expected, "{what}");
    }
    assert_eq!(stage(&scene, voucher), Stage::BookingRequested);
    scene.town.letters(xuanwu());
    let cancel = ask(&mut scene, HelpStep::Cancel, None);
    let mut unsigned = cancel.clone();
    unsigned.cancel = None;
    let help = |letter: letters::HelpLetter| Command::Help { from: xuanwu(), letter: Box::new(letter) };
    assert_eq!(reason(scene.wallet(help(unsigned))), Reason::PresentationMalformed);
    scene.wallet(help(cancel)).unwrap();
    assert!(scene.town.voucher(xuanwu(), voucher).unwrap().notes_state().release_requested);
}

#[test]
fn a_result_reaches_its_holder_and_v5_forgets_the_voucher() {
    let mut scene = Scene::new();
    let holder = scene.anna.holder;
    let voucher = scene.issued();
    let token = view(&scene, voucher).token.unwrap();
    let profile = Profile {
        phone: None,
        document_type: short("resident-id"),
        document_number: "110101194805010021".into(),
        tokens: vec![token],
    };
    scene.wallet(Command::TakeInformation { holder, profile: Box::new(profile) }).unwrap();
    let letter = || Box::new(ResultLetter { voucher, text: "sinus rhythm".into(), items: vec![] });
    let early = scene.wallet(Command::TakeResult { from: id("gulou"), letter: letter() });
    assert_eq!(reason(early), Reason::Waiting, "the letter was faster than the log");
    redeem(&mut scene, voucher);
    let elsewhere = scene.wallet(Command::TakeResult { from: id("zhongda"), letter: letter() });
    assert_eq!(reason(elsewhere), Reason::Forbidden);
    scene.wallet(Command::TakeResult { from: id("gulou"), letter: letter() }).unwrap();

    let kept = |scene: &Scene| scene.town.read(xuanwu(), |work| rows::all_kept(&work.tx, 10));
    assert_eq!(kept(&scene), [voucher]);
    scene.duties();
    assert_eq!(kept(&scene), [], "booking and information are gone");
    assert!(scene.town.voucher(id("audit"), voucher).unwrap().notes_state().record_removed);
    let shown = view(&scene, voucher);
    assert_eq!((shown.stage, shown.token.as_deref(), shown.word.en), (Stage::Redeemed, None, "redeemed"));
    assert_eq!(shown.result.unwrap().text, "sinus rhythm");
    assert!(shown.receipt.is_some());
    scene.town.pass(crate::personal::Retention::default().results);
    scene.duties();
    assert_eq!(view(&scene, voucher).result, Some(None).flatten(), "after 30 days it is gone too");
}

#[test]
fn a_wallet_says_what_to_do_next() {
    let mut scene = Scene::new();
    let voucher = scene.issued();
    let at = |scene: &Scene| {
        let v = view(scene, voucher);
        (v.stage, v.word.en, v.next)
    };
    assert_eq!(at(&scene), (Stage::Issued, "ready", Next::Book));
    assert_eq!(view(&scene, voucher).days_left, 90);
    let when = slot(&scene, 1);
    book(&mut scene, voucher, when).unwrap();
    assert_eq!(at(&scene), (Stage::BookingRequested, "waiting", Next::AwaitAnswer));
    scene.hospital(voucher, Step::BookingDeclined { reason: DeclineReason::SlotTaken });
    assert_eq!(at(&scene), (Stage::Issued, "ready", Next::Book));
    let when = slot(&scene, 1);
    book(&mut scene, voucher, when).unwrap();
    scene.hospital(voucher, Step::BookingConfirmed);
    assert_eq!(at(&scene), (Stage::Booked, "booked", Next::Arrive));
    arrive(&mut scene, voucher);
    assert_eq!(at(&scene), (Stage::InUse, "in use", Next::Complete));
    complete(&mut scene, voucher);
    assert_eq!(at(&scene), (Stage::Examined, "examined", Next::AwaitSettlement));
    let other = scene.issued();
    scene.town.pass(Millis::days(90));
    let v = view(&scene, other);
    assert_eq!((v.word.en, v.next, v.days_left), ("expired", Next::Nothing, 0));
}

#[test]
fn erasure_leaves_nothing_and_waits_for_no_open_visit() {
    let mut scene = Scene::new();
    let holder = scene.anna.holder;
    let voucher = booked(&mut scene);
    assert_eq!(reason(scene.wallet(Command::Erase { holder, everywhere: false })), Reason::OpenBooking);
    scene.hospital(voucher, Step::BookingReleased { reason: ReleaseReason::Unable });
    scene.wallet(Command::Erase { holder, everywhere: false }).unwrap();
    let doc = scene.town.voucher(xuanwu(), voucher).unwrap();
    let back = doc.last_on_path(|s| matches!(s, Step::Returned { reason: ReturnReason::HolderGaveBack }));
    assert!(back.is_some() && stage(&scene, voucher) == Stage::Generated);
    let left = scene.town.read(xuanwu(), |work| work.tx.prefix(crate::kv::Space::Private, b"v", 100));
    let of_anna = |row: &crate::kv::Row| {
        let id = holder.0.as_bytes();
        row.0.windows(16).any(|w| w == id) || row.1.windows(16).any(|w| w == id)
    };
    assert_eq!(left.iter().filter(|row| of_anna(row)).count(), 0);
    assert!(left.iter().any(|row| row.0.windows(16).any(|w| w == scene.bao.holder.0.as_bytes())), "others stay");
    assert_eq!(reason(scene.wallet(Command::Check { holder, voucher })), Reason::HolderUnknown);
}

#[test]
fn a_voucher_that_the_issuer_wants_back_is_returned() {
    let mut scene = Scene::new();
    let voucher = scene.issued();
    let wanted = Note::VoidRequested { reason: VoidReason::HolderDied };
    scene.town.decide(health(), |desk| desk.note(Role::Issuer, voucher, wanted)).unwrap();
    scene.town.spread();
    scene.duties();
    assert_eq!(stage(&scene, voucher), Stage::Generated);
}

#[test]
fn what_is_kept_of_a_voucher_goes_when_the_voucher_does() {
    let kept = |scene: &Scene| scene.town.read(xuanwu(), |work| rows::all_kept(&work.tx, 10));
    let mut scene = Scene::new();
    let voucher = booked(&mut scene);
    assert_eq!(kept(&scene), [voucher]);
    assert_eq!(reason(scene.wallet(Command::RemoveRecord(voucher))), Reason::WrongState);
    scene.hospital(voucher, Step::Returned { reason: ReturnReason::NotNeeded });
    assert_eq!(view(&scene, voucher).word.en, "given back");
    scene.duties();
    assert_eq!(kept(&scene), []);

    let mut scene = Scene::new();
    let voucher = booked(&mut scene);
    scene.hospital(voucher, Step::Returned { reason: ReturnReason::NotNeeded });
    scene.issuer(voucher, Step::Sent { community: id("qinhuai") });
    scene.duties();
    assert_eq!(kept(&scene), [voucher], "sent again before the duty was done");
    scene.town.pass(holders::SWEEP_EVERY);
    scene.duties();
    assert_eq!(kept(&scene), []);
}

#[test]
fn a_moved_holders_vouchers_are_handed_over() {
    let mut scene = Scene::with(&[Role::Community, Role::Voucher]);
    let (kept, booked) = (scene.issued(), booked(&mut scene));
    let (enrolment, there) = (scene.anna.enrolled.name, id("qinhuai"));
    scene.registrar(RegistrarEvent::EnrolmentMoved { enrolment, community: there, voucher_module: there });
    scene.town.pass(holders::SWEEP_EVERY);
    (0..3).for_each(|_| scene.duties());
    let module = |scene: &Scene, voucher| {
        let doc = scene.town.voucher(id("audit"), voucher).unwrap();
        doc.state().and_then(|v| v.voucher_module)
    };
    assert_eq!(module(&scene, kept), Some(there));
    assert_eq!(module(&scene, booked), Some(xuanwu()), "a booking is kept where it was made");
    assert!(scene.town.read(xuanwu(), |work| rows::wallet(&work.tx, scene.anna.holder)).is_some());
    scene.hospital(booked, Step::BookingReleased { reason: ReleaseReason::Unable });
    for _ in 0..2 {
        scene.town.pass(holders::SWEEP_EVERY);
        (0..3).for_each(|_| scene.duties());
    }
    assert_eq!(module(&scene, booked), Some(there));
    assert!(scene.town.read(xuanwu(), |work| rows::wallet(&work.tx, scene.anna.holder)).is_none(), "and is forgotten");
    assert!(scene.town.read(xuanwu(), |work| rows::wallet(&work.tx, scene.bao.holder)).is_some(), "others stay");
}

/// Nothing that a holder is told goes to somebody else.
#[test]
fn a_wallet_shows_only_its_own() {
    let mut scene = Scene::new();
    scene.issued();
    let look = |holder: HolderId| scene.town.read(xuanwu(), |work| wallet::wallet(work, holder, scene.town.now));
    assert_eq!(look(scene.anna.holder).unwrap().vouchers.len(), 1);
    assert_eq!(look(scene.bao.holder).unwrap().vouchers.len(), 0);
    assert_eq!(look(HolderId(Uuid::from_u128(1))), Err(Reason::HolderUnknown));
    let enrolled: Vec<Enrolled> =
        scene.town.read(xuanwu(), |work| rows::wallet(&work.tx, scene.bao.holder).unwrap().enrolments);
    assert_eq!(enrolled, [scene.bao.enrolled.clone()]);
}
