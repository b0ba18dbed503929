//! The community's rules as tables with each reason, and a story for each of its units.

use std::collections::BTreeMap;

use domain::duty::Duty;
use domain::holder::{BlockReason, RegistrarEvent};
use domain::ids::{EnrolmentId, HolderId, VoucherId};
use domain::lifecycle::{ReturnReason, Stage, Step, VoidCause};
use domain::policy::Class;
use domain::reasons::Reason;
use domain::record::{Body, HelpStep, Note, VoidReason};
use domain::time::Millis;
use uuid::Uuid;

use super::command::Assist;
use super::registration::{Carrier, WAITS};
use super::scene::*;
use super::*;
use crate::outbox::Letter;
use crate::token::vp1::Step as Wish;
use crate::token::{HolderKey, vp1};
use crate::town::id;
use crate::voucher::holders::genuine;
use crate::voucher::letters::{Enrolled, HELP_PATH, HelpLetter, KeyText};

fn stage(scene: &Scene, voucher: VoucherId) -> Stage {
    scene.town.voucher(xuanwu(), voucher).unwrap().state().unwrap().stage
}

fn reason<T: std::fmt::Debug>(result: Result<T, Refused>) -> Reason {
    result.unwrap_err().reason()
}

#[test]
fn an_announcement_is_proved_and_waits_a_day() {
    let mut scene = Scene::new();
    let phone = Phone { main: HolderKey::ed25519(&[9; 32]), ..scene.anna.clone() };
    let key = phone.main.public();
    let now = scene.town.now;
    let register = Wish::Register { key };
    let keys = |seeds: &[u8]| -> BTreeMap<_, _> {
        let key =
            |(i, seed): (usize, &u8)| (short(&format!("p{i}")), KeyText(HolderKey::ed25519(&[*seed; 32]).public()));
        seeds.iter().enumerate().map(key).collect()
    };
    let table = [
        ("a key for each programme", phone.show(register.clone(), 1, now), keys(&[10, 11]), None),
        ("none", phone.show(register.clone(), 1, now), keys(&[]), Some(Reason::Malformed)),
        ("one for two", phone.show(register.clone(), 1, now), keys(&[10, 10]), Some(Reason::KeyUnfit)),
        ("the main key again", phone.show(register.clone(), 1, now), keys(&[9]), Some(Reason::KeyUnfit)),
        ("old", phone.show(register.clone(), 1, now - Millis::secs(61)), keys(&[10]), Some(Reason::PresentationStale)),
        ("another step", phone.show(Wish::Identify, 1, now), keys(&[10]), Some(Reason::PresentationOtherStep)),
        ("no token", "VP1:".into(), keys(&[10]), Some(Reason::PresentationMalformed)),
    ];
    for (what, register, enrolment_keys, expected) in table {
        let result = scene.ask(Command::Announce { register, enrolment_keys });
        assert_eq!(result.err().map(Refused::reason), expected, "{what}");
    }

    let thumbprint = key.thumbprint();
    assert!(scene.pending(&thumbprint).is_some());
    scene.town.pass(WAITS);
    assert!(scene.pending(&thumbprint).is_none(), "a day later it is not found");
    scene.town.do_duties::<Community>(xuanwu());
    let rows = scene.town.read(xuanwu(), |work| work.tx.prefix(crate::kv::Space::Private, b"cp", 9).len());
    assert_eq!(rows, 0, "and then it is gone");
}

#[test]
fn an_application_needs_the_phone_that_announced() {
    let mut scene = Scene::new();
    let phone = Phone { main: HolderKey::ed25519(&[9; 32]), ..scene.anna.clone() };
    let now = scene.town.now;
    let show = |phone: &Phone, at| phone.show(Wish::Register { key: phone.main.public() }, 3, at);
    let announce = |scene: &mut Scene, programme: &str| {
        let keys = BTreeMap::from([(short(programme), KeyText(HolderKey::ed25519(&[10; 32]).public()))]);
        scene.ask(Command::Announce { register: show(&phone, now), enrolment_keys: keys }).unwrap();
        scene.pending(&phone.main.public().thumbprint()).unwrap()
    };
    let other = announce(&mut scene, "another");
    let pending = announce(&mut scene, PROGRAMME);
    let good = form("Li", "1", Class::Elderly);
    let (mut no_number, mut no_name) = (good.clone(), good.clone());
    no_number.document_number = " ".into();
    no_name.name = "x".repeat(people::MAX_NAME_BYTES + 1);
    let stranger = Phone { main: HolderKey::ed25519(&[8; 32]), ..phone.clone() };
    let ok = show(&phone, now);
    let table = [
        ("as announced", good.clone(), None, ok.clone(), &pending, None),
        ("its own module", good.clone(), Some(xuanwu()), ok.clone(), &pending, None),
        ("a hospital as module", good.clone(), Some(id("gulou")), ok.clone(), &pending, Some(Reason::MemberUnknown)),
        ("no programme", form("Li", "1", Class::Pregnant), None, ok.clone(), &pending, Some(Reason::NotEntitled)),
        ("no number", no_number, None, ok.clone(), &pending, Some(Reason::DocumentInvalid)),
        ("a long name", no_name, None, ok.clone(), &pending, Some(Reason::Malformed)),
        ("no key for the programme", good.clone(), None, ok.clone(), &other, Some(Reason::KeyUnfit)),
        ("another phone", good.clone(), None, show(&stranger, now), &pending, Some(Reason::PresentationForged)),
        (
            "an old picture",
            good.clone(),
            None,
            show(&phone, now - Millis::minutes(2)),
            &pending,
            Some(Reason::PresentationStale),
        ),
    ];
    for (what, form, module, qr, pending, expected) in table {
        let result = scene.town.read(xuanwu(), |work| {
            let carrier = Carrier::Phone(&qr, pending);
            registration::application(work, &form, module, &carrier, || Uuid::from_u128(5), now)
        });
        assert_eq!(result.err(), expected, "{what}");
    }
}

#[test]
fn a_personal_qr_says_who_is_there_and_what_they_may_have() {
    let mut scene = Scene::new();
    scene.stock(1);
    let now = scene.town.now;
    let stranger = Phone { main: HolderKey::ed25519(&[77; 32]), ..scene.anna.clone() };
    let claims =
        vp1::Claims { kid: scene.anna.main.public().key_id(), iat: now.secs(), cti: [1; 8], step: Wish::Identify };
    let forged = vp1::sign(&claims, &stranger.main).unwrap();
    let table = [
        ("Anna", scene.anna.show(Wish::Identify, 1, now), None),
        ("her phone is a minute ahead", scene.anna.show(Wish::Identify, 1, now + Millis::secs(60)), None),
        ("old", scene.anna.show(Wish::Identify, 1, now - Millis::secs(61)), Some(Reason::PresentationStale)),
        ("for something else", scene.receive(), Some(Reason::PresentationOtherStep)),
        ("a stranger", stranger.show(Wish::Identify, 1, now), Some(Reason::HolderUnknown)),
        ("someone with her key id", forged, Some(Reason::PresentationForged)),
        ("no token", "hello".into(), Some(Reason::PresentationMalformed)),
    ];
    for (what, qr, expected) in table {
        let result = scene.town.read(xuanwu(), |work| desk::identify(work, &qr, now));
        assert_eq!(result.as_ref().err().copied(), expected, "{what}");
        if let Ok(known) = result {
            assert_eq!((known.holder, known.name_masked.as_str()), (scene.anna.holder, "A** B**"));
            let programme = &known.programmes[0];
            assert_eq!((programme.allowance, programme.had, programme.may_issue), (2, 0, true));
        }
    }
}

#[test]
fn a_voucher_is_issued_only_by_the_policy_and_to_whoever_signed() {
    type Prepare = fn(&mut Scene) -> String;
    fn shown(scene: &mut Scene, community: &str, programme: &str, late: Millis) -> String {
        let step = Wish::Receive { community: community.into(), programme: programme.into() };
        let cti = scene.fresh();
        scene.anna.show(step, cti, scene.town.now - late)
    }
    let table: [(&str, Prepare, Option<Reason>); 15] = [
        ("in stock", Scene::receive, None),
        (
            "an older policy would not matter",
            |s| {
                s.change_policy(|p| p.card_allowed = false);
                s.receive()
            },
            None,
        ),
        ("for another community", |s| shown(s, "qinhuai", PROGRAMME, Millis(0)), Some(Reason::PresentationElsewhere)),
        ("for another programme", |s| shown(s, "xuanwu", "another", Millis(0)), Some(Reason::PresentationOtherVoucher)),
        ("an old picture", |s| shown(s, "xuanwu", PROGRAMME, Millis::secs(61)), Some(Reason::PresentationStale)),
        ("for display", |s| s.anna.show(Wish::Identify, 1, s.town.now), Some(Reason::PresentationOtherStep)),
        ("no token", |_| "VP1:0".into(), Some(Reason::PresentationMalformed)),
        (
            "signed by someone else",
            |s| {
                s.anna.key = HolderKey::ed25519(&[66; 32]);
                s.receive()
            },
            Some(Reason::PresentationForged),
        ),
        (
            "of an enrolment nobody here has",
            |s| {
                s.anna.enrolled.id = EnrolmentId(Uuid::from_u128(1 << 120));
                s.receive()
            },
            Some(Reason::HolderUnknown),
        ),
        (
            "blocked",
            |s| {
                let enrolment = s.anna.enrolled.name;
                s.registrar(RegistrarEvent::EnrolmentBlocked { enrolment, reason: BlockReason::HolderAsked });
                s.receive()
            },
            Some(Reason::EnrolmentBlocked),
        ),
        (
            "moved to another community",
            |s| {
                let (enrolment, community) = (s.anna.enrolled.name, id("qinhuai"));
                s.registrar(RegistrarEvent::EnrolmentMoved { enrolment, community, voucher_module: xuanwu() });
                s.receive()
            },
            Some(Reason::EnrolmentElsewhere),
        ),
        (
            "no longer entitled",
            |s| {
                s.change_policy(|p| p.classes = vec![Class::Pregnant]);
                s.receive()
            },
            Some(Reason::NotEntitled),
        ),
        (
            "all had",
            |s| {
                for _ in 0..2 {
                    let qr = s.receive();
                    s.ask(Command::Issue { qr }).unwrap();
                }
                s.receive()
            },
            Some(Reason::AllowanceUsed),
        ),
        (
            "all expired",
            |s| {
                s.town.pass(Millis::days(90));
                s.receive()
            },
            Some(Reason::NoStock),
        ),
        (
            "shown twice",
            |s| {
                let qr = s.receive();
                s.ask(Command::Issue { qr: qr.clone() }).unwrap();
                qr
            },
            Some(Reason::PresentationReplayed),
        ),
    ];
    for (what, prepare, expected) in table {
        let mut scene = Scene::new();
        scene.stock(3);
        let qr = prepare(&mut scene);
        let result = scene.ask(Command::Issue { qr });
        assert_eq!(result.as_ref().err().map(|r| r.reason()), expected, "{what}");
        if let Ok(answer) = result {
            let Answer::Issued(issued) = answer else { panic!("{what}") };
            assert_eq!(stage(&scene, issued.voucher), Stage::Issued);
            assert_eq!(scene.town.read(xuanwu(), |work| genuine(work, &issued.token)), Ok(issued.voucher));
        }
    }
}

#[test]
fn what_was_voided_is_not_counted_as_had() {
    let mut scene = Scene::new();
    let first = scene.issued();
    scene.issued();
    let given_back = Step::Returned { reason: ReturnReason::NotNeeded };
    scene.town.decide(xuanwu(), |desk| desk.step(Role::Voucher, first, given_back)).unwrap();
    scene.town.spread();
    scene.issuer(first, Step::Voided { cause: VoidCause::Reason(VoidReason::Lapsed) });
    scene.issued();
    scene.stock(1);
    let qr = scene.receive();
    assert_eq!(reason(scene.ask(Command::Issue { qr })), Reason::AllowanceUsed);
}

#[test]
fn a_card_is_issued_to_only_with_its_document() {
    type Change = fn(&mut Scene, &mut Assist, &mut String);
    let table: [(&str, Change, Option<Reason>); 6] = [
        ("card and document", |_, _, _| {}, None),
        ("another document", |_, _, number| *number = "110101194805010021".into(), Some(Reason::HolderUnknown)),
        (
            "a card that nobody here has",
            |_, assist, _| assist.card = crate::token::vc1::Card::generate(&mut rand::rng()),
            Some(Reason::CardUnknown),
        ),
        (
            "a card that was replaced",
            |scene, _, _| {
                let HolderKey::Ed25519(key) = HolderKey::ed25519(&[3; 32]) else { panic!("Ed25519") };
                let (enrolment, key) = (scene.bao.enrolled.name, key.verifying_key().to_bytes());
                let card = domain::ids::CardId(Uuid::from_u128(4));
                scene.registrar(RegistrarEvent::CardIssued { enrolment, card, key });
            },
            Some(Reason::CardUnknown),
        ),
        (
            "a programme without cards",
            |scene, _, _| scene.change_policy(|p| p.card_allowed = false),
            Some(Reason::CardNotAllowed),
        ),
        (
            "blocked",
            |scene, _, _| {
                let enrolment = scene.bao.enrolled.name;
                scene.registrar(RegistrarEvent::EnrolmentBlocked { enrolment, reason: BlockReason::LostOrStolen });
            },
            Some(Reason::EnrolmentBlocked),
        ),
    ];
    for (what, change, expected) in table {
        let mut scene = Scene::new();
        scene.stock(1);
        let mut assist = scene.assist();
        let mut document_number = "110101194805010013".to_owned();
        change(&mut scene, &mut assist, &mut document_number);
        let result = scene.ask(Command::IssueByCard { assist, programme: short(PROGRAMME), document_number });
        assert_eq!(result.as_ref().err().map(|r| r.reason()), expected, "{what}");
        if let Ok(Answer::Issued(issued)) = result {
            let doc = scene.town.voucher(xuanwu(), issued.voucher).unwrap();
            let link = doc.last_on_path(|s| matches!(s, Step::Issued { .. })).unwrap();
            let Step::Issued { presentation, enrolment } = &link.step else { panic!("issued") };
            assert_eq!(*enrolment, scene.bao.enrolled.name);
            assert!(presentation.assisted.is_some(), "the record says who helped");
        }
    }
}

#[test]
fn what_the_issuer_wants_back_is_not_issued_but_returned() {
    let mut scene = Scene::new();
    let voucher = scene.stock(1)[0];
    let wanted = Note::VoidRequested { reason: VoidReason::Mistake };
    scene.town.decide(health(), |desk| desk.note(Role::Issuer, voucher, wanted)).unwrap();
    scene.town.spread();
    let qr = scene.receive();
    assert_eq!(reason(scene.ask(Command::Issue { qr })), Reason::NoStock);
    scene.duties();
    assert_eq!(stage(&scene, voucher), Stage::Generated);
    scene.duties();
    assert!(scene.town.read(xuanwu(), |work| store::stored(&work.tx, voucher)).unwrap().token.is_none());
}

#[test]
fn a_qr_is_made_kept_issued_retired_and_restored() {
    let mut scene = Scene::new();
    let voucher = scene.stock(1)[0];
    let stored = |scene: &Scene| scene.town.read(xuanwu(), |work| store::stored(&work.tx, voucher)).unwrap();
    let token = stored(&scene).token.unwrap();
    assert_eq!(scene.town.read(id("gulou"), |work| genuine(work, &token)), Ok(voucher), "any node can check it");
    let stock = scene.town.read(xuanwu(), store::stock);
    assert_eq!(stock[&scene.programme], store::Stock { sent: 0, encoded: 1 });

    let qr = scene.receive();
    scene.ask(Command::Issue { qr }).unwrap();
    scene.town.spread();
    assert!(scene.town.read(xuanwu(), store::stock).is_empty());
    assert_eq!(reason(scene.ask(Command::RetireQr(voucher))), Reason::WrongState);
    assert_eq!(reason(scene.ask(Command::RestoreQr(voucher))), Reason::WrongState);

    crate::voucher::tests::redeem(&mut scene, voucher);
    scene.duties();
    let notes = |scene: &Scene| scene.town.voucher(id("audit"), voucher).unwrap().notes_state();
    assert!(notes(&scene).qr_retired && stored(&scene).token.is_none(), "C6: on the settlement");
    scene.duties();
    let retired = scene.town.voucher(xuanwu(), voucher).unwrap();
    assert_eq!(retired.notes.iter().filter(|n| n.note == Note::QrRetired).count(), 1, "once");
    assert!(retired.alarms.iter().all(|d| d.duty != Duty::RetireQr));

    let approver = domain::ids::Operator(Uuid::from_u128(2));
    let reason = domain::lifecycle::ReverseReason::Mistake;
    scene.issuer(voucher, Step::Reversed { reason, approver, void: false });
    scene.duties();
    assert!(!notes(&scene).qr_retired);
    assert_eq!(stored(&scene).token, Some(token), "the same QR holds again");
}

#[test]
fn vouchers_are_given_back_all_or_none() {
    let mut scene = Scene::new();
    let vouchers = scene.stock(2);
    let give = |vouchers: Vec<VoucherId>| Command::Return { vouchers, reason: ReturnReason::NotNeeded };
    let unknown = VoucherId { issuer: health(), uuid: Uuid::from_u128(999) };
    assert_eq!(reason(scene.ask(give(vec![]))), Reason::Malformed);
    assert_eq!(reason(scene.ask(give(vec![unknown; 251]))), Reason::Malformed);
    assert_eq!(reason(scene.ask(give(vec![vouchers[0], unknown]))), Reason::NotFound);
    assert_eq!(stage(&scene, vouchers[0]), Stage::Encoded, "none of them");
    scene.ask(give(vouchers.clone())).unwrap();
    assert!(vouchers.iter().all(|v| stage(&scene, *v) == Stage::Generated));
    assert_eq!(reason(scene.ask(give(vouchers))), Reason::WrongState);
}

#[test]
fn a_lookup_number_finds_a_card_and_is_not_guessed() {
    let mut scene = Scene::new();
    let number = scene.person(scene.bao.holder).unwrap().card.unwrap().1;
    let look = |scene: &mut Scene, number: &str| scene.ask(Command::LookUp { number: number.to_owned() });
    let Ok(Answer::Cards(found)) = look(&mut scene, &number) else { panic!("found") };
    assert_eq!((found[0].holder, found[0].name_masked.as_str()), (scene.bao.holder, "王**"));
    for _ in 0..desk::MAX_WRONG {
        assert_eq!(look(&mut scene, "789902335262"), Ok(Answer::Cards(vec![])));
    }
    assert_eq!(reason(look(&mut scene, &number)), Reason::LookupThrottled);
    scene.town.pass(desk::WRONG_WITHIN);
    assert!(look(&mut scene, &number).is_ok());
}

#[test]
fn a_clerk_asks_for_help_with_the_card() {
    let mut scene = Scene::new();
    scene.stock(1);
    let assist = scene.assist();
    let document_number = "110101194805010013".to_owned();
    let issue = Command::IssueByCard { assist, programme: short(PROGRAMME), document_number };
    let Answer::Issued(issued) = scene.ask(issue).unwrap() else { panic!("issued") };
    let voucher = issued.voucher;
    let annas = scene.issued();
    let slot = crate::voucher::tests::slot(&scene, 26);
    let help = |scene: &mut Scene, voucher, step, slot| {
        let assist = scene.assist();
        scene.ask(Command::Help { assist, voucher, step, slot, salt: [5; 32] })
    };
    let table = [
        ("booking without a slot", voucher, HelpStep::Book, None, Reason::Malformed),
        ("cancelling with one", voucher, HelpStep::Cancel, Some(slot.clone()), Reason::Malformed),
        ("someone else's voucher", annas, HelpStep::Book, Some(slot.clone()), Reason::EnrolmentElsewhere),
    ];
    for (what, voucher, step, slot, expected) in table {
        assert_eq!(reason(help(&mut scene, voucher, step, slot)), expected, "{what}");
    }
    assert!(scene.town.letters(xuanwu()).is_empty(), "nothing is sent for what is refused");
    help(&mut scene, voucher, HelpStep::Book, Some(slot)).unwrap();
    let letters: Vec<Letter> = scene.town.letters(xuanwu());
    assert_eq!((letters.len(), letters[0].path.as_str()), (1, HELP_PATH));
    let letter: HelpLetter = serde_json::from_slice(&letters[0].body).unwrap();
    let doc = scene.town.voucher(xuanwu(), voucher).unwrap();
    let note = doc.notes.iter().find(|n| n.name == letter.record).unwrap();
    assert!(note.proved, "the card's signature holds for everyone");
    scene.change_policy(|p| p.card_allowed = false);
    let again = crate::voucher::tests::slot(&scene, 26);
    assert_eq!(reason(help(&mut scene, voucher, HelpStep::Book, Some(again))), Reason::CardNotAllowed);
}

#[test]
fn a_new_phone_replaces_the_old_one() {
    let mut scene = Scene::new();
    let new = HolderKey::ed25519(&[42; 32]);
    let holder = scene.anna.holder;
    scene.ask(Command::KeepPhone { holder, main_key: Some(new.public()) }).unwrap();
    assert_eq!(scene.town.letters(xuanwu()).len(), 1, "the voucher module hears of it");
    let now = scene.town.now;
    let identify = |scene: &Scene| {
        let qr = scene.anna.show(Wish::Identify, 1, now);
        scene.town.read(xuanwu(), |work| desk::identify(work, &qr, now).map(|k| k.holder))
    };
    assert_eq!(identify(&scene), Err(Reason::HolderUnknown));
    scene.anna.main = new;
    assert_eq!(identify(&scene), Ok(holder));
    let nobody = HolderId(Uuid::from_u128(99));
    assert_eq!(reason(scene.ask(Command::KeepPhone { holder: nobody, main_key: None })), Reason::HolderUnknown);
}

#[test]
fn a_programme_that_was_opened_since_is_added_with_the_key_that_the_phone_announced() {
    let mut scene = Scene::new();
    let holder = scene.anna.holder;
    let more = |scene: &Scene| {
        scene.town.read(xuanwu(), |work| {
            let person = people::of(&work.tx, holder).unwrap();
            registration::more(work, &person, || Uuid::from_u128(77), scene.town.now)
        })
    };
    assert_eq!(more(&scene), Err(Reason::NotEntitled), "she is enrolled in all that there is");
    scene.open_programme("dental");
    assert_eq!(more(&scene), Err(Reason::KeyUnfit), "her phone has not said which key it has for it");
    let (main, key) = (scene.anna.main.public(), HolderKey::ed25519(&[43; 32]).public());
    let register = scene.anna.show(Wish::Register { key: main }, 1, scene.town.now);
    let enrolment_keys = BTreeMap::from([(short("dental"), KeyText(key))]);
    scene.ask(Command::Announce { register, enrolment_keys: enrolment_keys.clone() }).unwrap();
    let asked = more(&scene).unwrap();
    assert_eq!(asked.enrolment_keys, enrolment_keys);

    let id = asked.enrolment_ids[&short("dental")];
    let name = scene.town.read(xuanwu(), |work| people::of(&work.tx, holder).unwrap().enrolments[0].name);
    let enrolments = vec![Enrolled { programme: short("dental"), id, name }];
    for _ in 0..2 {
        // Told twice, it is there once.
        scene.ask(Command::KeepEnrolments { holder, enrolments: enrolments.clone() }).unwrap();
        let person = scene.town.read(xuanwu(), |work| people::of(&work.tx, holder).unwrap());
        assert_eq!(person.enrolments.iter().filter(|e| e.programme == short("dental")).count(), 1);
    }
    assert_eq!(more(&scene), Err(Reason::NotEntitled));
    assert_eq!(scene.town.letters(xuanwu()).len(), 2, "the voucher module hears of it");
}

#[test]
fn no_record_names_a_person() {
    let mut scene = Scene::new();
    scene.issued();
    for index in 0.. {
        let Some(bytes) = scene.town.entry(xuanwu(), index) else { break };
        for secret in ["Anna", "Berg", "王宝", "110101194805010021", "13800000001"] {
            assert!(!bytes.windows(secret.len()).any(|w| w == secret.as_bytes()), "{secret} in record {index}");
        }
        let record: domain::record::Record = ledger::record::decode_record(&bytes).unwrap();
        assert!(!matches!(record.body, Body::Registrar(_)));
    }
}
