//! What no rule forbids and somebody must look at: back-dating, and patterns of fraud over uses and weeks.

use domain::holder::{BlockReason, RegistrarEvent};
use domain::lifecycle::AbortReason;
use domain::record::{AssistReason, Assisted, NoteRecord, Presentation, Record};
use domain::time::Timestamp;
use serde_json::Value;

use super::*;
use crate::auditor::sightings::{self, Sighting, TOLERANCE};
use crate::town::Town;

/// What the auditor writes now, of some kinds, with the evidence.
fn told(town: &mut Town, kinds: &[FindingKind]) -> Vec<(Finding, Value)> {
    town.spread();
    let before = town.read(audit(), |work| report::findings(work, None, 10_000).len());
    for command in [Command::Watch, Command::Audit] {
        town.ask::<Auditor>(audit(), command).unwrap();
    }
    let all = town.read(audit(), |work| report::findings(work, None, 10_000));
    let new = all.into_iter().skip(before).map(|(_, _, finding)| finding).filter(|f| kinds.contains(&f.kind));
    new.map(|finding| {
        let proof = finding.evidence.and_then(|digest| town.read(audit(), |work| evidence(&work.tx, digest)));
        let proof = proof.map_or(Value::Null, |bytes| serde_json::from_slice(&bytes).unwrap());
        (finding, proof)
    })
    .collect()
}

/// The auditor sees now how long a log is.
fn see(town: &mut Town, log: InstitutionId) {
    town.spread();
    let (size, at) = (town.read(audit(), |work| work.cursor(log).next), town.now);
    let sighting = Sighting { size, at, head: format!("a head over {size}") };
    let noted = town.decide(audit(), |desk| {
        sightings::note(desk, log, &sighting);
        Ok(())
    });
    noted.unwrap();
}

#[test]
fn a_record_dated_before_its_log_was_seen_without_it_is_back_dated() {
    // Minutes after the first sighting: of another one of the same head, if any; of the record. Whether it is back-dated.
    let table: [(Option<i64>, i64, bool); 6] = [
        (None, 0, false),
        (None, -10, false),
        (None, -11, true),
        (Some(60), 50, false),
        (Some(60), 49, true),
        (Some(4), -7, false), // so soon nothing is noted again
    ];
    for (again, dated, expected) in table {
        let mut scene = Scene::new();
        let begin = DAWN + Millis::days(1);
        let town = &mut scene.town;
        town.lie(gulou(), Role::Hospital, Body::Heartbeat);
        town.now = begin;
        see(town, gulou());
        if let Some(minutes) = again {
            town.now = begin + Millis::minutes(minutes);
            see(town, gulou());
        }
        town.now = begin + Millis::minutes(dated);
        let name = town.lie(gulou(), Role::Hospital, Body::Heartbeat);
        town.lie(gulou(), Role::Hospital, Body::Heartbeat);
        town.now = begin + Millis::hours(2);
        let found = told(town, &[FindingKind::BackDated]);
        assert_eq!(!found.is_empty(), expected, "{again:?} {dated}: {found:?}");
        if let Some((finding, proof)) = found.first() {
            assert_eq!((finding.institution, finding.records[0], finding.count), (gulou(), name, 2));
            assert_eq!(proof["seen"][0]["head"], "a head over 1");
            assert_eq!(proof["tolerance_millis"], TOLERANCE.0);
        }
        assert!(told(town, &[FindingKind::BackDated]).is_empty(), "it is told once");
    }
}

#[test]
fn what_is_kept_of_sightings_is_bounded() {
    let mut scene = Scene::new();
    let town = &mut scene.town;
    let kept = |town: &Town| town.read(audit(), |work| super::super::rows::sightings(&work.tx, gulou()));
    for n in 0..200 {
        town.now = DAWN + Millis::hours(n);
        town.lie(gulou(), Role::Hospital, Body::Heartbeat);
        see(town, gulou());
    }
    let sizes: Vec<_> = kept(town).iter().map(|s| s.size).collect();
    assert_eq!((sizes.len(), sizes[0], sizes[63]), (64, 1, 200));
    let long = Sighting { size: 201, at: town.now, head: "x".repeat(sightings::MAX_HEAD_BYTES + 1) };
    let noted = town.decide(audit(), |desk| {
        sightings::note(desk, gulou(), &long);
        Ok(())
    });
    noted.unwrap();
    assert_eq!(kept(town).len(), 64);
    assert!(told(town, &[FindingKind::BackDated]).is_empty(), "an honest log");
    assert_eq!(kept(town).iter().map(|s| s.size).collect::<Vec<_>>(), [200], "what is judged needs the newest alone");
}

#[test]
fn a_use_in_the_minutes_that_a_block_takes_to_act_is_told() {
    let kinds = [FindingKind::UsedAfterBlock, FindingKind::RuleBroken];
    for (minutes, expected) in [(0, &[][..]), (5, &kinds[..1]), (11, &kinds[1..])] {
        let mut scene = Scene::new();
        let voucher = scene.booked();
        scene.at(SLOT);
        let (enrolment, reason) = (scene.enrolment.0, BlockReason::LostOrStolen);
        let block = Body::Registrar(RegistrarEvent::EnrolmentBlocked { enrolment, reason });
        let block = scene.town.write(health(), Role::Issuer, block);
        // The hospital has not heard of it.
        scene.at(SLOT + Millis::minutes(minutes));
        let text = scene.arrive(voucher);
        let (presentation, complete_by) = (scene.presentation(&text), SLOT + Millis::days(7));
        let used = scene
            .town
            .decide(gulou(), |desk| {
                desk.step(Role::Hospital, voucher, Step::UseConfirmed { presentation, complete_by })
            })
            .unwrap();
        let found = told(&mut scene.town, &kinds);
        assert_eq!(found.iter().map(|(f, _)| f.kind).collect::<Vec<_>>(), expected, "{minutes} minutes after");
        if expected == &kinds[..1] {
            assert_eq!((found[0].0.institution, found[0].0.records.clone()), (gulou(), vec![used, block]));
        }
        assert!(told(&mut scene.town, &kinds).is_empty(), "it is told once");
    }
}

#[test]
fn a_use_dated_before_the_issue_is_told() {
    for (minutes, expected) in [(25, 1), (11, 1), (10, 0)] {
        let mut scene = Scene::new();
        // The community's clock is that far ahead of the hospital's.
        scene.at(SLOT + Millis::minutes(minutes));
        let voucher = scene.issued();
        scene.request(voucher, slot("cardiology", "gl-1", 0));
        let issued = scene.town.voucher(health(), voucher).unwrap();
        let issued = issued.last_on_path(|step| matches!(step, Step::Issued { .. })).unwrap().name;
        scene.at(SLOT);
        scene.step(gulou(), Role::Hospital, voucher, Step::BookingConfirmed);
        let text = scene.arrive(voucher);
        let (presentation, complete_by) = (scene.presentation(&text), SLOT + Millis::days(7));
        let used = scene.step(gulou(), Role::Hospital, voucher, Step::UseConfirmed { presentation, complete_by });
        assert_eq!(scene.stage(voucher), Stage::InUse, "no rule forbids it");
        let found = told(&mut scene.town, &[FindingKind::ExaminedBeforeIssue]);
        assert_eq!(found.len(), expected, "{minutes}: {found:?}");
        if let Some((finding, _)) = found.first() {
            assert_eq!((finding.institution, finding.records.clone()), (gulou(), vec![issued, used]));
        }
    }
}

const HOSPITALS: [&str; 6] = ["gulou", "zhongda", "pukou", "jiangning", "lishui", "gaochun"];

/// A town with six hospitals and two communities.
fn city() -> Town {
    let hospitals = HOSPITALS.map(|name| (name, &[Role::Hospital][..]));
    let others: [(&str, &[Role]); 4] = [
        ("health", &[Role::Issuer]),
        ("xuanwu", &[Role::Community]),
        ("qinhuai", &[Role::Community]),
        ("audit", &[Role::Auditor]),
    ];
    Town::new(&[&others[..], &hospitals[..]].concat())
}

/// Records of some kind in a log, whatever voucher they are about.
fn say(town: &mut Town, at: &str, role: Role, body: &dyn Fn(RecordName, VoucherId) -> Body, times: usize) {
    let registrar = town.read(id(at), |work| work.registrar_position()).unwrap();
    for _ in 0..times {
        let voucher = VoucherId { issuer: health(), uuid: uuid::Uuid::from_u128(7) };
        town.lie(id(at), role, body(registrar, voucher));
    }
}

fn step(step: Step) -> impl Fn(RecordName, VoucherId) -> Body {
    move |registrar, voucher| {
        let prev = Some(RecordName { index: 100_000, ..registrar });
        Body::Chain(ChainRecord { voucher, prev, registrar, step: step.clone() })
    }
}

fn no_show(registrar: RecordName, voucher: VoucherId) -> Body {
    Body::Note(NoteRecord { voucher, about: registrar, note: Note::NoShow })
}

/// Every log goes on into the next week.
fn next_week(town: &mut Town, but: Option<&str>) {
    let all: Vec<_> = town.read(audit(), |work| work.registry.members.keys().copied().collect());
    for institution in all.into_iter().filter(|i| but.is_none_or(|but| *i != id(but))) {
        town.lie(institution, Role::Hospital, Body::Heartbeat);
    }
}

/// Counts again what an evidence names, from the bytes of the logs alone.
fn counted_again(town: &Town, proof: &Value, hospital: &str) -> (u64, u64) {
    let covers: Vec<(InstitutionId, u64)> = serde_json::from_value(proof["covers"].clone()).unwrap();
    let time = |field: &str| serde_json::from_value::<Timestamp>(proof[field].clone()).unwrap();
    let size = covers.iter().find(|(log, _)| *log == id(hospital)).unwrap().1;
    let records = (0..size).map(|i| ledger::record::decode_record::<Record>(&town.entry(id(hospital), i).unwrap()));
    let week: Vec<_> =
        records.map(Result::unwrap).filter(|r| time("from") <= r.at && r.at < time("until")).map(|r| r.body).collect();
    let count = |is: &dyn Fn(&Body) -> bool| week.iter().filter(|body| is(body)).count() as u64;
    (
        count(&|body| matches!(body, Body::Note(note) if note.note == Note::NoShow)),
        count(&|body| matches!(body, Body::Chain(c) if c.step == Step::BookingConfirmed)),
    )
}

#[test]
fn a_hospital_far_from_its_peers_is_told_once_a_week_and_anyone_can_count_again() {
    let mut town = city();
    let kinds = [FindingKind::OutlierHospital, FindingKind::AssistedShare];
    for (hospital, missed) in HOSPITALS.iter().zip([2, 1, 3, 2, 25, 2]) {
        say(&mut town, hospital, Role::Hospital, &step(Step::BookingConfirmed), 40);
        say(&mut town, hospital, Role::Hospital, &no_show, missed);
    }
    // Another week's records change nothing, wherever they stand.
    town.now = DAWN + Millis::days(7);
    say(&mut town, "gulou", Role::Hospital, &no_show, 40);
    next_week(&mut town, Some("qinhuai"));
    assert_eq!(told(&mut town, &kinds), [], "one log has not gone past the week");
    town.now = DAWN + Millis::days(8);
    let found = told(&mut town, &kinds);
    assert_eq!(found.len(), 1, "{found:?}");
    let (finding, proof) = &found[0];
    assert_eq!((finding.kind, finding.institution, finding.count), (kinds[0], id("lishui"), 25));
    let shares: Vec<(String, u64, u64)> = serde_json::from_value(proof["shares"].clone()).unwrap();
    assert_eq!(shares.len(), HOSPITALS.len());
    for (hospital, count, of) in &shares {
        assert_eq!(counted_again(&town, proof, hospital), (*count, *of), "{hospital}");
    }
    assert_eq!((proof["counted"].as_str(), proof["of"].as_str()), (Some("no-show"), Some("confirmed")));
    assert_eq!(told(&mut town, &kinds), [], "a week is judged once");
    assert_eq!(town.read(audit(), |work| Auditor::tick(work, town.now)), None, "and nothing is left to do");
    // The next week is another one: gulou has too few bookings to be compared.
    town.now = DAWN + Millis::days(15);
    next_week(&mut town, None);
    assert_eq!(told(&mut town, &kinds), []);
}

#[test]
fn who_mostly_signs_with_printed_cards_is_told() {
    let mut town = city();
    let kinds = [FindingKind::OutlierHospital, FindingKind::AssistedShare];
    let presented = |with_card: bool| {
        let helper = domain::ids::Operator(uuid::Uuid::from_u128(3));
        let assisted = with_card.then_some(Assisted { helper, reason: AssistReason::NoPhone });
        Presentation { cose: vec![1], assisted }
    };
    let issued = |card| {
        step(Step::Issued {
            enrolment: RecordName { institution: health(), index: 100_000, id: Digest([1; 32]) },
            presentation: presented(card),
        })
    };
    let used = |card| step(Step::UseConfirmed { presentation: presented(card), complete_by: DAWN });
    say(&mut town, "xuanwu", Role::Community, &issued(true), 16);
    say(&mut town, "xuanwu", Role::Community, &issued(false), 15);
    say(&mut town, "qinhuai", Role::Community, &issued(true), 15);
    say(&mut town, "qinhuai", Role::Community, &issued(false), 15);
    say(&mut town, "gulou", Role::Hospital, &used(true), 29); // too few
    say(&mut town, "zhongda", Role::Hospital, &used(true), 30);
    let aborted = step(Step::UseAborted { reason: AbortReason::HolderLeft });
    say(&mut town, "zhongda", Role::Hospital, &aborted, 30); // with nobody to compare it with
    town.now = DAWN + Millis::days(7);
    next_week(&mut town, None);
    let found = told(&mut town, &kinds);
    let of: Vec<_> = found.iter().map(|(f, _)| (f.kind, f.institution, f.count)).collect();
    assert_eq!(of, [(kinds[1], id("zhongda"), 30), (kinds[1], xuanwu(), 16)]);
}
