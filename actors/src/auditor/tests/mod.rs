//! Liars and accidents, each with the finding that tells of it.

mod again;
mod orders;
mod patterns;
mod texts;

use domain::ids::{Digest, InstitutionId, RecordName, VoucherId};
use domain::lifecycle::{ReclaimReason, Stage, Step};
use domain::member::Role;
use domain::record::{Body, ChainRecord, Finding, FindingKind, Note, Witnessed};
use domain::statistics::Counter;
use domain::time::Millis;
use ledger::fork::{Beginning, Split};
use ledger::merkle::Hash;

use super::*;
use crate::hospital::Hospital;
use crate::hospital::scene::*;
use crate::keys;
use crate::replica::Fork;
use crate::token::vp1;
use crate::town::{DAWN, id};

fn audit() -> InstitutionId {
    id("audit")
}

/// The auditor looks at everything that is there now, and says what it wrote.
fn findings(scene: &mut Scene) -> Vec<Finding> {
    scene.town.spread();
    let before = scene.town.read(audit(), |work| report::findings(work, None, 1_000).len());
    for command in [Command::Watch, Command::Audit] {
        scene.town.ask::<Auditor>(audit(), command).unwrap();
    }
    scene.town.spread();
    let all = scene.town.read(audit(), |work| report::findings(work, None, 1_000));
    all.into_iter().skip(before).map(|(_, _, finding)| finding).collect()
}

fn chain(scene: &Scene, at: InstitutionId, voucher: VoucherId, prev: RecordName, step: Step) -> Body {
    let registrar = scene.town.read(at, |work| work.registrar_position()).unwrap();
    Body::Chain(ChainRecord { voucher, prev: Some(prev), registrar, step })
}

fn head(scene: &Scene, voucher: VoucherId) -> RecordName {
    scene.town.voucher(health(), voucher).unwrap().head_name().unwrap()
}

#[test]
fn an_honest_day_gives_nothing_to_find() {
    let mut scene = Scene::new();
    let voucher = scene.booked();
    scene.at(SLOT);
    let (personal, qr) = (scene.arrive(voucher), scene.current_qr(voucher));
    scene.step_in(personal, qr);
    assert_eq!(findings(&mut scene), []);
    let report = scene.town.read(audit(), report::report);
    assert!(report.good, "{report:?}");
    assert_eq!(report.vouchers.get(&Stage::InUse), Some(&1));
    assert_eq!(report.logs.len(), 6);
}

#[test]
fn each_lie_has_its_finding() {
    type Lie = fn(&mut Scene, VoucherId) -> &'static str;
    let table: [(&str, Lie, FindingKind); 8] = [
        (
            "bytes that are no record",
            |s, _| {
                let good = s.town.entry(gulou(), 0);
                assert!(good.is_some(), "gulou has confirmed");
                let longer = [good.unwrap().as_ref(), &[0]].concat();
                s.town.lie_in_bytes(gulou(), &longer);
                "gulou"
            },
            FindingKind::BadRecord,
        ),
        (
            "a clock that goes back",
            |s, _| {
                s.town.now = DAWN - Millis(1);
                s.town.lie(gulou(), Role::Hospital, Body::Heartbeat);
                "gulou"
            },
            FindingKind::ClockWentBack,
        ),
        (
            "a hospital that confirms what it does not hold",
            |s, v| {
                let lie = chain(s, id("zhongda"), v, head(s, v), Step::BookingConfirmed);
                s.town.lie(id("zhongda"), Role::Hospital, lie);
                "zhongda"
            },
            FindingKind::RuleBroken,
        ),
        (
            "a token that no QR can hold is not kept with the voucher",
            |s, v| {
                let links = s.town.voucher(health(), v).unwrap().links.len();
                let lie = chain(s, xuanwu(), v, head(s, v), Step::Encoded { token: "X".repeat(6_000) });
                s.town.lie(xuanwu(), Role::Community, lie);
                s.town.spread();
                assert_eq!(s.town.voucher(health(), v).unwrap().links.len(), links);
                "xuanwu"
            },
            FindingKind::RuleBroken,
        ),
        (
            "a voucher module that books twice",
            |s, v| {
                let doc = s.town.voucher(health(), v).unwrap();
                let booked = doc.last_on_path(|step| matches!(step, Step::Booked { .. })).unwrap();
                let Step::Booked { details, respond_by, use_from, use_by, .. } = booked.step.clone() else { panic!() };
                let twice = Step::Booked { hospital: id("zhongda"), details, respond_by, use_from, use_by };
                let lie = chain(s, xuanwu(), v, booked.prev.unwrap(), twice);
                s.town.lie(xuanwu(), Role::Voucher, lie);
                "xuanwu"
            },
            FindingKind::SecondSuccessor,
        ),
        (
            "a hospital that signs for the holder",
            |s, v| {
                s.at(SLOT);
                let step = vp1::Step::Arrive { audience: "gulou".into(), voucher: named(v) };
                let own = crate::token::HolderKey::ed25519(&[8; 32]);
                let text = s.show_as(step, &own, s.town.now);
                let presentation = s.presentation(&text);
                let used = Step::UseConfirmed { presentation, complete_by: SLOT + Millis::days(7) };
                let lie = chain(s, gulou(), v, head(s, v), used);
                s.town.lie(gulou(), Role::Hospital, lie);
                "gulou"
            },
            FindingKind::BadPresentation,
        ),
        (
            "a hospital that uses one presentation twice",
            |s, v| {
                s.at(SLOT);
                let text = s.arrive(v);
                let presentation = s.presentation(&text);
                let used = Step::UseConfirmed { presentation, complete_by: SLOT + Millis::days(7) };
                s.step(gulou(), Role::Hospital, v, used.clone());
                let reason = domain::lifecycle::AbortReason::DeskError;
                s.step(gulou(), Role::Hospital, v, Step::UseAborted { reason });
                let lie = chain(s, gulou(), v, head(s, v), used);
                s.town.lie(gulou(), Role::Hospital, lie);
                "gulou"
            },
            FindingKind::PresentationTwice,
        ),
        (
            "an issuer that takes back what it knows to be used",
            |s, v| {
                let booked = head(s, v);
                s.at(SLOT);
                let (personal, qr) = (s.arrive(v), s.current_qr(v));
                let used = s.step_in(personal, qr);
                s.at(SLOT + Millis::hours(48));
                let taken = Step::Reclaimed { reason: ReclaimReason::Silent, positions: vec![used] };
                let lie = chain(s, health(), v, booked, taken);
                s.town.lie(health(), Role::Issuer, lie);
                "health"
            },
            FindingKind::TakenBackWrongly,
        ),
    ];
    for (what, lie, kind) in table {
        let mut scene = Scene::new();
        let voucher = scene.booked();
        let liar = lie(&mut scene, voucher);
        let found = findings(&mut scene);
        assert_eq!(found.iter().map(|f| f.kind).collect::<Vec<_>>(), [kind], "{what}");
        assert_eq!((found[0].institution, found[0].count), (id(liar), 1), "{what}");
        assert_eq!(findings(&mut scene), [], "{what}: it is told once");
    }
}

#[test]
fn many_lies_of_one_log_are_one_finding() {
    let mut scene = Scene::new();
    let voucher = scene.booked();
    for _ in 0..20 {
        let lie = chain(&scene, id("zhongda"), voucher, head(&scene, voucher), Step::BookingConfirmed);
        scene.town.lie(id("zhongda"), Role::Hospital, lie);
    }
    let found = findings(&mut scene);
    assert_eq!(found.iter().map(|f| (f.count, f.records.len())).collect::<Vec<_>>(), [(20, 8)]);
    let report = scene.town.read(audit(), report::report);
    let zhongda = report.logs.iter().find(|l| l.institution == id("zhongda")).unwrap();
    assert_eq!(zhongda.verdict, report::LogVerdict::RulesBroken);
    assert_eq!(zhongda.not_counting.get("already-booked"), Some(&20));
    assert_eq!(zhongda.findings.get(&FindingKind::RuleBroken), Some(&20));
    assert!(!report.good);
}

#[test]
fn a_flood_is_read_in_rounds() {
    let mut scene = Scene::new();
    for _ in 0..findings::ROUND + 5 {
        scene.town.lie_in_bytes(id("zhongda"), &[1]);
    }
    assert_eq!(findings(&mut scene)[0].count, findings::ROUND as u64);
    let more = scene.town.read(audit(), |work| Auditor::tick(work, scene.town.now));
    assert_eq!(more, Some(Command::Audit), "it does not wait for the next minute");
    assert_eq!(findings(&mut scene)[0].count, 5);
    assert_eq!(findings(&mut scene), []);
}

#[test]
fn a_planted_double_count_is_found() {
    let mut scene = Scene::new();
    scene.booked();
    let programme = scene.programme;
    let plant = |scene: &mut Scene, by: i64| {
        let key = keys::counter(&Counter::Held(programme, gulou(), Stage::Booked));
        let planted = scene.town.decide(audit(), |desk| {
            let (counter, n): (Counter, i64) = desk.work.tx.load(&key).unwrap();
            desk.work.tx.store(key.clone(), &(counter, n + by));
            Ok(())
        });
        planted.unwrap();
    };
    plant(&mut scene, 1);
    let found = findings(&mut scene);
    assert_eq!(
        found.iter().map(|f| (f.kind, f.records.clone())).collect::<Vec<_>>(),
        [(FindingKind::NotConserved, vec![programme])]
    );
    let proof = scene.town.read(audit(), |work| evidence(&work.tx, found[0].evidence.unwrap())).unwrap();
    assert!(String::from_utf8(proof).unwrap().contains("stock_by_heads"));
    assert!(!scene.town.read(audit(), report::report).good);
    assert_eq!(findings(&mut scene), [], "once a day");
    plant(&mut scene, -1);
    assert!(scene.town.read(audit(), report::report).programmes.iter().all(|p| p.holds));
}

/// One fork is one finding: not before it can be shown to others, and not again when more is known of it.
#[test]
fn two_histories_are_published_once_with_their_proof() {
    let mut scene = Scene::new();
    let keep = |scene: &mut Scene, common_size: u64, offered: &str, roots: Option<[u8; 2]>| {
        let begin = |root| Beginning { root: Hash([root; 32]), proof: Vec::new() };
        let split = roots.map(|[held, offered]| Split { size: 5, held: begin(held), offered: begin(offered) });
        let fork = Fork { common_size, held: "one head".into(), offered: offered.into(), split };
        let kept = scene.town.decide(audit(), |desk| {
            desk.work.keep_fork(gulou(), &fork);
            Ok(())
        });
        kept.unwrap();
    };
    let tick = |scene: &Scene| scene.town.read(audit(), |work| Auditor::tick(work, scene.town.now));
    let forked_at = |scene: &Scene| {
        let report = scene.town.read(audit(), report::report);
        report.logs.iter().find(|l| l.institution == gulou()).unwrap().forked_at
    };
    keep(&mut scene, 5, "another", None);
    assert_eq!(findings(&mut scene), [], "nobody else could tell");
    assert_eq!((tick(&scene), forked_at(&scene)), (None, Some(5)));

    keep(&mut scene, 5, "another", Some([1, 2]));
    assert_eq!(tick(&scene), Some(Command::Watch), "it is not put off to the next minute");
    let found = findings(&mut scene);
    assert_eq!(found.iter().map(|f| (f.kind, f.institution)).collect::<Vec<_>>(), [(FindingKind::Fork, gulou())]);
    let proof = scene.town.read(audit(), |work| evidence(&work.tx, found[0].evidence.unwrap())).unwrap();
    let proof: serde_json::Value = serde_json::from_slice(&proof).unwrap();
    let hash = |n| Hash([n; 32]).to_base64();
    let expected = serde_json::json!({
        "held": "one head", "offered": "another", "size": 5,
        "held_root": hash(1), "held_proof": [], "offered_root": hash(2), "offered_proof": [],
    });
    assert_eq!(proof, expected);

    for (common_size, offered) in [(3, "another"), (3, "a third")] {
        keep(&mut scene, common_size, offered, Some([1, 3]));
        assert_eq!((tick(&scene), findings(&mut scene)), (None, Vec::new()), "once");
    }
    assert_eq!(forked_at(&scene), Some(3));

    let settled = scene.town.decide(audit(), |desk| {
        desk.work.settle_fork(gulou());
        super::forget_fork(&mut desk.work.tx, gulou());
        Ok((desk.work.take_settled(), desk.work.take_settled()))
    });
    assert_eq!(settled.unwrap(), (true, false), "it goes on record once");
    assert_eq!((findings(&mut scene), forked_at(&scene)), (Vec::new(), None));
    keep(&mut scene, 7, "past the settlement", Some([1, 4]));
    let found = findings(&mut scene);
    assert_eq!(found.iter().map(|f| (f.kind, f.institution)).collect::<Vec<_>>(), [(FindingKind::Fork, gulou())]);
}

#[test]
fn a_denied_use_is_a_finding_if_the_holder_denies_it() {
    for honest in [true, false] {
        let mut scene = Scene::new();
        let voucher = scene.booked();
        scene.at(SLOT);
        let (personal, qr) = (scene.arrive(voucher), scene.current_qr(voucher));
        scene.step_in(personal, qr);
        let key = if honest { scene.phone.clone() } else { crate::token::HolderKey::ed25519(&[8; 32]) };
        let step = vp1::Step::Cancel { audience: "xuanwu".into(), voucher: named(voucher) };
        let text = scene.show_as(step, &key, scene.town.now);
        let registrar = scene.town.read(xuanwu(), |work| work.registrar_position()).unwrap();
        let witnessed = Witnessed { presentation: scene.presentation(&text), registrar };
        let note =
            domain::record::NoteRecord { voucher, about: head(&scene, voucher), note: Note::UseDisputed { witnessed } };
        scene.town.lie(xuanwu(), Role::Voucher, Body::Note(note));
        let kind = if honest { FindingKind::UseDisputed } else { FindingKind::BadPresentation };
        let about = if honest { gulou() } else { xuanwu() };
        let found = findings(&mut scene);
        assert_eq!(found.iter().map(|f| (f.kind, f.institution)).collect::<Vec<_>>(), [(kind, about)]);
    }
}

#[test]
fn nobody_is_at_two_hospitals_at_once() {
    for (minutes, expected) in [(10, 1), (25, 0)] {
        let mut scene = Scene::new();
        let (here, there) = (scene.booked(), scene.issued());
        let mut slot = slot("cardiology", "zd-1", 0);
        slot.hospital = id("zhongda");
        scene.request(there, slot);
        scene.step(id("zhongda"), Role::Hospital, there, Step::BookingConfirmed);
        scene.at(SLOT);
        let (personal, qr) = (scene.arrive(here), scene.current_qr(here));
        scene.step_in(personal, qr);
        scene.at(SLOT + Millis::minutes(minutes));
        let text = scene.show(vp1::Step::Arrive { audience: "zhongda".into(), voucher: named(there) });
        let (presentation, complete_by) = (scene.presentation(&text), SLOT + Millis::days(1));
        scene.step(id("zhongda"), Role::Hospital, there, Step::UseConfirmed { presentation, complete_by });
        scene.at(SLOT + Millis::minutes(20));
        let text = scene.done(here);
        let (presentation, claim_by) = (scene.presentation(&text), SLOT + Millis::days(9));
        let completed = Step::ExamCompleted { evidence: Digest([1; 32]), presentation, claim_by };
        if minutes < 20 {
            scene.step(gulou(), Role::Hospital, here, completed);
        }
        let found = findings(&mut scene);
        let overlapping = found.iter().filter(|f| f.kind == FindingKind::OverlappingPresence).count();
        assert_eq!(overlapping, expected, "zhongda {minutes} minutes after gulou: {found:?}");
    }
}

#[test]
fn what_was_settled_before_a_line_was_known_is_told() {
    let mut scene = Scene::new();
    let voucher = scene.booked();
    let line = scene.town.read(health(), |work| work.cursor(gulou()).next);
    crate::hospital::use_and_complete(&mut scene, voucher);
    scene.town.do_duties::<Hospital>(gulou());
    scene.town.spread();
    scene.step(health(), Role::Issuer, voucher, Step::Redeemed);
    assert_eq!(findings(&mut scene), []);
    let approver = domain::ids::Operator(uuid::Uuid::from_u128(2));
    let suspended = domain::holder::RegistrarEvent::MemberSuspended { institution: gulou(), from: line, approver };
    scene.town.write(health(), Role::Issuer, Body::Registrar(suspended));
    let found = findings(&mut scene);
    assert_eq!(scene.stage(voucher), Stage::Redeemed, "what the issuer settled stays");
    let of = |kind| found.iter().filter(|f| (f.kind, f.institution) == (kind, gulou())).count();
    assert_eq!(of(FindingKind::SettledBeforeKnown), 3, "use, examination, claim: {found:?}");
    assert_eq!((of(FindingKind::RuleBroken), found.len()), (1, 4), "the desk's check is cut off");
}

#[test]
fn time_makes_the_auditor_look() {
    let mut scene = Scene::new();
    scene.booked();
    let tick = |scene: &Scene| scene.town.read(audit(), |work| Auditor::tick(work, scene.town.now));
    assert_eq!(tick(&scene), Some(Command::Audit));
    scene.town.do_duties::<Auditor>(audit());
    assert_eq!(tick(&scene), Some(Command::Watch));
    scene.town.do_duties::<Auditor>(audit());
    assert_eq!(tick(&scene), None);
    scene.town.pass(Millis::minutes(1));
    assert_eq!(tick(&scene), Some(Command::Audit));
}
