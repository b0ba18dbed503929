//! Unit B1, persons: each once by document and key; the ledger learns enrolments and nothing of the person.

use domain::holder::{BlockReason, HolderKey as Key};
use domain::ids::{CardId, EnrolmentId};
use domain::policy::Class;
use domain::reasons::Reason;
use domain::time::Millis;

use super::{Holder, ask, health, holder, policy, short, town, uuid, why};
use crate::issuer::{self, Answer, Command, Registration, Wanted};
use crate::replica::holder_key;
use crate::token::{HolderKey, PublicKey, vp1};
use crate::town::{Town, id};

/// Somebody else than the holder of the stories: other ids, document and keys.
fn other(town: &Town) -> (Holder, Registration) {
    let holder = Holder {
        main: HolderKey::es256(&[11; 32]).unwrap(),
        ecg: HolderKey::es256(&[12; 32]).unwrap(),
        enrolment: EnrolmentId(uuid(901)),
    };
    let mut registration = holder.registration(town);
    registration.holder = uuid(801);
    registration.document.number = "440524188001010014".into();
    (holder, registration)
}

fn register(town: &mut Town, registration: Registration) -> Result<Answer, crate::writer::Refused> {
    ask(town, Command::Register(Box::new(registration)))
}

#[test]
fn a_person_is_registered_once_or_told_why_not() {
    let (mut town, first, _) = town();
    type Change = fn(&mut Registration, &Town);
    let table: [(&str, Change, Reason); 19] = [
        (
            "the same document, spelled otherwise",
            |r, _| r.document.number = "11010519491231002X".into(),
            Reason::DocumentRegistered,
        ),
        ("no number", |r, _| r.document.number = " - ".into(), Reason::DocumentInvalid),
        ("not a number", |r, _| r.document.number = "１１０１０５".into(), Reason::DocumentInvalid),
        ("too long a number", |r, _| r.document.number = "1".repeat(41), Reason::DocumentInvalid),
        ("no name", |r, _| r.person.name = "  ".into(), Reason::Malformed),
        ("the same holder id", |r, _| r.holder = uuid(800), Reason::Malformed),
        ("the same main key", |r, t| r.main_key = Some(holder().main_key(t)), Reason::KeyRegistered),
        ("the same phone key", |r, _| r.enrolments[0].key = Some(holder().ecg.public()), Reason::KeyRegistered),
        ("main key for an enrolment", |r, _| r.enrolments[0].key = Some(holder().main.public()), Reason::KeyRegistered),
        ("the same enrolment id", |r, _| r.enrolments[0].id = holder().enrolment, Reason::KeyRegistered),
        ("a key of small order", |r, _| r.enrolments[0].key = Some(PublicKey::Ed25519([0; 32])), Reason::KeyUnfit),
        ("unknown programme", |r, _| r.enrolments[0].programme = short("mri"), Reason::ProgrammeUnknown),
        ("class not entitled", |r, _| r.class = Class::Pregnant, Reason::NotEntitled),
        ("no enrolment", |r, _| r.enrolments.clear(), Reason::NotEntitled),
        ("phone key without main key", |r, _| r.main_key = None, Reason::Malformed),
        ("card key without card", |r, _| r.enrolments[0].card_key = Some([1; 32]), Reason::Malformed),
        ("main key is no token", |r, _| r.main_key = Some("VP1:XX".into()), Reason::PresentationMalformed),
        ("unknown community", |r, _| r.community = id("nobody"), Reason::MemberUnknown),
        ("not a voucher module", |r, _| r.voucher_module = id("gulou"), Reason::NotInGoodStanding),
    ];
    let before = town.state(health());
    for (what, change, reason) in table {
        let (_, mut registration) = other(&town);
        change(&mut registration, &town);
        assert_eq!(why(register(&mut town, registration)), reason, "{what}");
    }
    assert_eq!(town.state(health()), before, "a refused registration leaves nothing");
    let (_, good) = other(&town);
    register(&mut town, good).unwrap();
    drop(first);
}

/// The registrar wrote, and the community never heard it: the same question has the same answer, for a day.
#[test]
fn a_lost_answer_is_given_again_and_nothing_else_is() {
    type Change = fn(&mut Registration, &mut Town);
    let table: [(&str, Change, bool); 9] = [
        ("nothing", |_, _| (), true),
        ("other random ids", |r, _| (r.holder, r.enrolments[0].id) = (uuid(810), EnrolmentId(uuid(910))), true),
        ("hours later", |_, t| t.pass(Millis::hours(23)), true),
        ("a day later", |_, t| t.pass(Millis::hours(25)), false),
        ("another name", |r, _| r.person.name = "Somebody Else".into(), false),
        ("another class", |r, _| r.class = Class::Chronic, false),
        ("another community", |r, _| r.community = id("qinhuai"), false),
        ("another phone", |r, t| r.main_key = Some(holder().main_key(t)), false),
        ("another key for the programme", |r, _| r.enrolments[0].key = Some(holder().ecg.public()), false),
    ];
    for (what, change, is_answered) in table {
        let (mut town, _, _) = town();
        let (somebody, registration) = other(&town);
        let first = register(&mut town, registration.clone()).unwrap();
        let size = town.read(health(), |work| work.cursor(health()).next);
        let mut again = registration;
        change(&mut again, &mut town);
        if what.contains("later") {
            again.main_key = Some(somebody.main_key(&town));
        }
        match register(&mut town, again) {
            Ok(answer) => assert!(is_answered && answer == first, "{what}"),
            Err(refused) => {
                assert!(!is_answered && refused.reason() == Reason::DocumentRegistered, "{what}: {refused}")
            }
        }
        assert_eq!(town.read(health(), |work| work.cursor(health()).next), size, "{what}: nothing is written");
    }
}

#[test]
fn a_main_key_is_proved_by_itself_and_lately() {
    let (mut town, _, _) = town();
    let (holder, registration) = other(&town);
    let key = holder.main.public();
    let sign = |by: &HolderKey, iat: i64, step: vp1::Step| {
        vp1::sign(&vp1::Claims { kid: key.key_id(), iat, cti: [5; 8], step }, by).unwrap()
    };
    let now = town.now.secs();
    let table = [
        (sign(&holder.ecg, now, vp1::Step::Register { key }), Reason::PresentationForged),
        (sign(&holder.main, now, vp1::Step::Identify), Reason::PresentationOtherStep),
        (sign(&holder.main, now + 301, vp1::Step::Register { key }), Reason::PresentationStale),
        (sign(&holder.main, now - 86_400 - 301, vp1::Step::Register { key }), Reason::PresentationStale),
    ];
    for (text, reason) in table {
        let registration = Registration { main_key: Some(text), ..registration.clone() };
        assert_eq!(why(register(&mut town, registration)), reason);
    }
    let day_old = sign(&holder.main, now - 86_400, vp1::Step::Register { key });
    register(&mut town, Registration { main_key: Some(day_old), ..registration }).unwrap();
}

#[test]
fn the_ledger_learns_enrolments_and_never_the_person() {
    let (town, holder, enrolment) = town();
    let enrolled = town.read(id("audit"), |work| work.enrolment(&enrolment)).unwrap();
    let now = enrolled.now().unwrap();
    assert_eq!((now.key, now.community), (Some(holder_key(&holder.ecg.public())), id("xuanwu")));
    let secrets = ["王秀英", "13900001234", "11010519491231002X", "110105 19491231 002x", "1949-12-31"];
    for index in 0.. {
        let Some(entry) = town.entry(health(), index) else { break };
        for secret in secrets {
            let found = entry.windows(secret.len()).any(|w| w == secret.as_bytes());
            assert!(!found, "record {index} holds {secret}");
        }
        assert!(!entry.windows(32).any(|w| w == holder.main.public().as_bytes()), "the main key links enrolments");
    }
}

#[test]
fn a_holder_is_shown_masked_to_the_desk() {
    let (town, _, enrolment) = town();
    let shown = town.read(health(), |work| issuer::holder(work, uuid(800))).unwrap();
    assert_eq!(shown.name.as_deref(), Some("王**"));
    assert_eq!(shown.phone.as_deref(), Some("*********34"));
    assert_eq!((shown.born, shown.has_phone), (Some(1949), true));
    assert_eq!(shown.enrolments[0].name, enrolment);
    assert!(town.read(health(), |work| issuer::holder(work, uuid(802))).is_none());
    assert_eq!(town.read(health(), |work| issuer::holder_of(work, holder().enrolment)), Some(uuid(800)));
}

#[test]
fn somebody_without_a_phone_has_a_card() {
    let (mut town, _, _) = town();
    let card = HolderKey::ed25519(&[21; 32]);
    let PublicKey::Ed25519(card_key) = card.public() else { panic!() };
    let (_, mut registration) = other(&town);
    registration.main_key = None;
    registration.card = Some(CardId(uuid(700)));
    registration.enrolments[0].key = None;
    registration.enrolments[0].card_key = Some(card_key);
    let Answer::Enrolled { enrolments, .. } = register(&mut town, registration).unwrap() else { panic!() };
    let now = town.read(health(), |work| work.enrolment(&enrolments[0].name)).unwrap().now().unwrap();
    assert_eq!((now.key, now.card), (None, Some((CardId(uuid(700)), card_key))));
}

#[test]
fn a_new_phone_takes_the_old_ones_place() {
    let (mut town, _, enrolment) = town();
    let new = Holder { main: HolderKey::ed25519(&[31; 32]), ecg: HolderKey::ed25519(&[32; 32]), ..holder() };
    let change = |town: &Town, by, keys: Vec<_>| Command::ChangeKey {
        holder: uuid(800),
        by,
        main_key: Some(new.main_key(town)),
        keys,
    };
    let key = (short("ecg"), new.ecg.public());
    let table = [
        (change(&town, Some(id("qinhuai")), vec![key.clone()]), Reason::Forbidden),
        (change(&town, None, vec![(short("mri"), new.ecg.public())]), Reason::EnrolmentUnknown),
        (change(&town, None, vec![key.clone(), key.clone()]), Reason::Malformed),
        (change(&town, None, vec![(short("ecg"), holder().ecg.public())]), Reason::KeyRegistered),
    ];
    for (command, reason) in table {
        assert_eq!(why(ask(&mut town, command)), reason);
    }
    let command = change(&town, Some(id("xuanwu")), vec![key]);
    ask(&mut town, command).unwrap();
    let known = |town: &Town| town.read(health(), |work| work.enrolment(&enrolment)).unwrap().now().unwrap().key;
    assert_eq!(known(&town), Some(holder_key(&new.ecg.public())));

    // The phone is lost and only a card is left: nothing that the old phone signs counts.
    let lost = Command::ChangeKey { holder: uuid(800), by: None, main_key: None, keys: vec![] };
    ask(&mut town, lost).unwrap();
    assert_eq!(known(&town), None::<Key>);
}

#[test]
fn a_block_takes_all_carriers_in_one_act_and_the_person_with_them() {
    let (mut town, _, enrolment) = town();
    let block = |reason| Command::Block { holder: uuid(800), by: None, reason };
    assert_eq!(
        why(ask(&mut town, Command::Block { holder: uuid(5), by: None, reason: BlockReason::Died })),
        Reason::HolderUnknown
    );
    ask(&mut town, block(BlockReason::Died)).unwrap();
    town.spread();
    let now = town.read(id("gulou"), |work| work.enrolment(&enrolment)).unwrap().now().unwrap();
    assert_eq!(now.blocked, Some(BlockReason::Died));
    let shown = town.read(health(), |work| issuer::holder(work, uuid(800))).unwrap();
    assert_eq!((shown.name, shown.blocked), (None, Some(BlockReason::Died)));
    assert_eq!(why(ask(&mut town, block(BlockReason::Died))), Reason::EnrolmentBlocked);
    let again = holder().registration(&town);
    let again = Registration { holder: uuid(803), ..again };
    assert_eq!(why(register(&mut town, again)), Reason::DocumentRegistered);
}

#[test]
fn a_holder_moves_gets_a_card_and_joins_a_new_programme() {
    let (mut town, _, enrolment) = town();
    let moved = |community| Command::Move { holder: uuid(800), by: None, community, voucher_module: id("xuanwu") };
    assert_eq!(why(ask(&mut town, moved(id("gulou")))), Reason::NotInGoodStanding);
    ask(&mut town, moved(id("qinhuai"))).unwrap();
    let card = |key| Command::IssueCard {
        holder: uuid(800),
        by: Some(id("qinhuai")),
        card: CardId(uuid(701)),
        keys: vec![(short("ecg"), key)],
    };
    let PublicKey::Ed25519(key) = HolderKey::ed25519(&[41; 32]).public() else { panic!() };
    ask(&mut town, card(key)).unwrap();
    assert_eq!(why(ask(&mut town, card(key))), Reason::KeyRegistered);
    let now = town.read(health(), |work| work.enrolment(&enrolment)).unwrap().now().unwrap();
    assert_eq!((now.community, now.card), (id("qinhuai"), Some((CardId(uuid(701)), key))));

    ask(&mut town, Command::PublishProgramme(Box::new(policy("mri")))).unwrap();
    town.pass(Millis::minutes(1));
    let join = |programme: &str| Command::Enrol {
        holder: uuid(800),
        by: Some(id("qinhuai")),
        enrolments: vec![Wanted {
            programme: short(programme),
            id: EnrolmentId(uuid(905)),
            key: Some(HolderKey::ed25519(&[42; 32]).public()),
            card_key: None,
        }],
    };
    assert_eq!(why(ask(&mut town, join("ecg"))), Reason::Malformed);
    ask(&mut town, join("mri")).unwrap();
    assert_eq!(town.read(health(), |work| issuer::holder(work, uuid(800))).unwrap().enrolments.len(), 2);
}

#[test]
fn one_telephone_behind_many_people_is_listed_for_the_registrar() {
    let (mut town, _, _) = town();
    // The number, and whether it is that of the others, however it was written.
    let written = ["+86 139 0000 1234", "0086-13900001234", "139-0000-1234", "13900009999", "110", "none"];
    for (n, phone) in (0_u128..).zip(written) {
        let (_, mut registration) = other(&town);
        registration.holder = uuid(810 + n);
        registration.document.number = format!("44052418800101{n:04}");
        registration.person.phone = Some(phone.into());
        registration.main_key = None;
        registration.enrolments[0].id = EnrolmentId(uuid(910 + n));
        registration.enrolments[0].key = None;
        register(&mut town, registration).unwrap();
    }
    let shared = |at_least, limit| issuer::shared_contacts(town.base(health()), at_least, limit);
    let found = shared(3, 10);
    assert_eq!(found.iter().map(|s| (s.phone.as_str(), s.people)).collect::<Vec<_>>(), [("*********34", 4)]);
    assert_eq!(found[0].holders, [800, 810, 811, 812].map(uuid));
    assert_eq!((shared(5, 10).len(), shared(1, 10).len(), shared(1, 1).len()), (0, 2, 1));
}
