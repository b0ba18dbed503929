//! Unit B1, institutions: registered once, suspended, restored, revoked, rotated, frozen; each from a known position.

use domain::holder::RegistrarEvent;
use domain::ids::Digest;
use domain::member::{Parameters, Purpose, Role, Standing as Stands};
use domain::reasons::Reason;
use domain::record::Body;
use domain::time::Millis;
use ledger::key::PrivateKey;

use super::{SECOND, ask, health, why};
use crate::issuer::{Command, Issuer, Standing};
use crate::replica::{possession_message, signature_of};
use crate::town::{Town, entry, id, seed};

fn stand(institution: &str, standing: Standing, from: Option<u64>, key_stolen: bool) -> Command {
    Command::Stand { institution: id(institution), standing, from, key_stolen, approver: SECOND }
}

fn standing(town: &Town, of: &str) -> Option<Stands> {
    town.read(health(), |work| work.registry.standing(id(of), u64::MAX))
}

#[test]
fn an_institution_is_registered_once_with_keys_of_its_own() {
    let mut town = Town::default();
    let new = || entry(id("pukou"), &[Role::Community]);
    let with = |change: fn(&mut domain::member::MemberEntry)| {
        let mut entry = new();
        change(&mut entry);
        Command::RegisterMember(Box::new(entry))
    };
    let table = [
        (with(|e| e.institution = id("gulou")), Reason::Malformed), // the origin names another
        (Command::RegisterMember(Box::new(entry(id("gulou"), &[Role::Hospital]))), Reason::MemberExists),
        (with(|e| e.keys[0] = entry(id("gulou"), &[]).keys[0]), Reason::KeyRegistered),
        (with(|e| e.keys[1] = e.keys[0]), Reason::KeyRegistered),
        (with(|e| e.keys[1] = [0; 32]), Reason::KeyUnfit),
        (with(|e| e.proofs[2] = e.proofs[0]), Reason::KeyUnfit),
        (with(|e| e.roles = vec![]), Reason::Malformed),
    ];
    for (command, reason) in table {
        let shown = format!("{command:?}");
        assert_eq!(why(ask(&mut town, command)), reason, "{shown}");
    }
    ask(&mut town, Command::RegisterMember(Box::new(new()))).unwrap();
    town.spread();
    assert!(town.read(id("audit"), |work| work.registry.member(id("pukou")).is_some()));
    assert_eq!(why(ask(&mut town, Command::RegisterMember(Box::new(new())))), Reason::MemberExists);
}

#[test]
fn only_the_registrar_keeps_the_registry() {
    let mut town = Town::new(&[("health", &[Role::Issuer]), ("county", &[Role::Issuer])]);
    let commands = [
        Command::RegisterMember(Box::new(entry(id("pukou"), &[Role::Community]))),
        stand("health", Standing::Suspended, None, false),
        Command::SetParameters(Parameters::default()),
    ];
    for command in commands {
        assert_eq!(why(town.ask::<Issuer>(id("county"), command)), Reason::NotMyRole);
    }
}

#[test]
fn what_takes_two_persons_names_both() {
    let mut town = Town::default();
    let same = domain::ids::Operator(uuid::Uuid::from_u128(1)); // who acts in the town
    let commands = || {
        [
            Command::RegisterMember(Box::new(entry(id("pukou"), &[Role::Community]))),
            Command::ChangeMember { institution: id("gulou"), roles: vec![Role::Hospital], url: "https://new".into() },
            Command::SetParameters(Parameters::default()),
        ]
    };
    for command in commands() {
        assert_eq!(why(ask(&mut town, command.approved_by(same))), Reason::ApproverNeeded);
    }
    for command in commands() {
        let before = town.read(health(), |work| work.cursor(health()).next);
        ask(&mut town, command.approved_by(SECOND)).unwrap();
        town.spread();
        for at in ["health", "audit"] {
            let (record, beside) = town.read(id(at), |work| {
                let read = |index| work.tx.entry(health(), index).map(|bytes| decoded(&bytes));
                (read(before).unwrap(), read(before + 1).unwrap())
            });
            let named =
                domain::ids::Digest(ledger::merkle::leaf_hash(&ledger::record::encode_record(&record).unwrap()).0);
            let Body::Approved(approved) = beside.body else { panic!("{beside:?}") };
            assert_eq!((approved.record.index, approved.record.id, approved.approver), (before, named, SECOND));
            assert_eq!((record.operator, beside.operator), (Some(same), Some(same)), "{at}");
        }
    }
    // A record that names its own author, or another record, is told as one that breaks a rule.
    let last = town.read(health(), |work| work.cursor(health()).next - 1);
    let name = |town: &Town, index| town.read(health(), |work| work.name_at(health(), index)).unwrap();
    for (index, approver) in [(last, same), (last - 1, SECOND)] {
        let record = name(&town, index);
        let liar = Body::Approved(domain::record::Approved { record, approver });
        assert!(town.decide(health(), |desk| desk.write(Role::Issuer, liar)).is_err());
    }
}

fn decoded(bytes: &[u8]) -> domain::record::Record {
    ledger::record::decode_record(bytes).unwrap()
}

#[test]
fn standing_changes_from_a_known_record_on_and_with_two_persons() {
    let mut town = Town::default();
    for _ in 0..3 {
        town.write(id("gulou"), Role::Hospital, Body::Heartbeat);
    }
    town.spread();
    let mut same = stand("gulou", Standing::Suspended, None, false);
    if let Command::Stand { approver, .. } = &mut same {
        *approver = domain::ids::Operator(uuid::Uuid::from_u128(1)); // who acts in the town
    }
    let good = Ok(());
    let table: [(Command, Result<(), Reason>, Option<Stands>); 11] = [
        (same, Err(Reason::ApproverNeeded), Some(Stands::Good)),
        (stand("nobody", Standing::Suspended, None, false), Err(Reason::MemberUnknown), Some(Stands::Good)),
        (stand("health", Standing::Revoked, None, false), Err(Reason::Forbidden), Some(Stands::Good)),
        (stand("gulou", Standing::Restored, None, false), Err(Reason::WrongState), Some(Stands::Good)),
        (stand("gulou", Standing::Suspended, Some(2), false), Err(Reason::BadWindow), Some(Stands::Good)),
        (stand("gulou", Standing::Suspended, None, false), good, Some(Stands::Suspended)),
        (stand("gulou", Standing::Suspended, None, false), Err(Reason::WrongState), Some(Stands::Suspended)),
        (stand("gulou", Standing::Restored, Some(2), true), Err(Reason::BadWindow), Some(Stands::Suspended)),
        (stand("gulou", Standing::Restored, None, false), good, Some(Stands::Good)),
        (stand("gulou", Standing::Revoked, Some(1), true), good, Some(Stands::Revoked)),
        (stand("gulou", Standing::Restored, None, false), Err(Reason::WrongState), Some(Stands::Revoked)),
    ];
    for (n, (command, outcome, then)) in table.into_iter().enumerate() {
        let done = ask(&mut town, command).map(drop).map_err(|r| r.reason());
        assert_eq!((done, standing(&town, "gulou")), (outcome, then), "row {n}");
    }
    let froms: Vec<u64> =
        town.read(health(), |work| work.registry.member(id("gulou")).unwrap().changes.iter().map(|c| c.from).collect());
    assert_eq!(froms, [0, 3, 3, 1], "the known size, unless a key was stolen");
}

#[test]
fn a_key_is_rotated_by_old_and_new() {
    let mut town = Town::default();
    let new = PrivateKey::from_seed(&[9; 32]);
    let message = possession_message(id("gulou"), Purpose::Node, "town/gulou");
    let by_both = [message.as_slice(), new.public().as_bytes()].concat();
    let old = PrivateKey::from_seed(&seed(id("gulou"), Purpose::Node));
    let rotate = |proof: [u8; 64], by_old: Option<[u8; 64]>| Command::RotateKey {
        institution: id("gulou"),
        purpose: Purpose::Node,
        key: *new.public().as_bytes(),
        proof: Box::new(signature_of(&proof)),
        by_old: by_old.map(|s| Box::new(signature_of(&s))),
        from: None,
        key_stolen: false,
        approver: SECOND,
    };
    let stranger = PrivateKey::from_seed(&[8; 32]);
    assert_eq!(why(ask(&mut town, rotate(stranger.sign(&message), None))), Reason::KeyUnfit);
    let forged = rotate(new.sign(&message), Some(stranger.sign(&by_both)));
    assert_eq!(why(ask(&mut town, forged)), Reason::KeyUnfit);
    ask(&mut town, rotate(new.sign(&message), Some(old.sign(&by_both)))).unwrap();
    let key = town.read(health(), |work| work.registry.member(id("gulou")).unwrap().entry.keys[1]);
    assert_eq!(key, *new.public().as_bytes());
    let again = rotate(new.sign(&message), None);
    assert_eq!(why(ask(&mut town, again)), Reason::KeyRegistered);
}

#[test]
fn a_forked_log_is_frozen_once() {
    let mut town = Town::default();
    let at = |of: &str, size| Command::Freeze { institution: id(of), size, root: Digest([5; 32]), approver: SECOND };
    let freeze = |of: &str| at(of, 0);
    assert_eq!(why(ask(&mut town, at("gulou", 1))), Reason::BadName, "of which nothing is here");
    assert_eq!(why(ask(&mut town, freeze("health"))), Reason::Forbidden);
    ask(&mut town, freeze("gulou")).unwrap();
    assert_eq!(standing(&town, "gulou"), Some(Stands::Frozen));
    assert_eq!(why(ask(&mut town, freeze("gulou"))), Reason::WrongState);
}

#[test]
fn roles_and_parameters_change_within_limits() {
    let mut town = Town::default();
    let change = |of: &str, roles: &[Role], url: &str| Command::ChangeMember {
        institution: id(of),
        roles: roles.to_vec(),
        url: url.to_owned(),
    };
    let url = "https://gulou.test";
    let table = [
        (change("gulou", &[], url), Reason::Malformed),
        (change("gulou", &[Role::Hospital, Role::Hospital], url), Reason::Malformed),
        (change("gulou", &[Role::Hospital], &"x".repeat(201)), Reason::Malformed),
        (change("health", &[Role::Auditor], url), Reason::Forbidden),
    ];
    for (command, reason) in table {
        assert_eq!(why(ask(&mut town, command)), reason);
    }
    ask(&mut town, change("gulou", &[Role::Community, Role::Hospital], url)).unwrap();
    assert!(town.read(health(), |w| w.registry.in_good_standing(id("gulou"), Role::Community, u64::MAX)));

    let numbers = Parameters { correction_period: Millis::days(10), ..Parameters::default() };
    ask(&mut town, Command::SetParameters(numbers)).unwrap();
    assert_eq!(town.read(health(), |w| w.registry.parameters_at(u64::MAX)), numbers);
    for bad in [
        Parameters { grace_before_use: Millis(0), ..numbers },
        Parameters { claim_within: Millis::days(4_000), ..numbers },
        Parameters { format_level: 2, ..numbers },
        Parameters { format_level: 0, ..numbers },
    ] {
        assert_eq!(why(ask(&mut town, Command::SetParameters(bad))), Reason::Malformed, "{bad:?}");
    }
}

#[test]
fn a_registrar_begins_with_itself() {
    let event = RegistrarEvent::MemberRegistered(entry(health(), &[Role::Issuer]));
    let town = Town::new(&[("health", &[Role::Issuer])]);
    let first = town.entry(health(), 0).unwrap();
    let record: domain::record::Record = ledger::record::decode_record(&first).unwrap();
    assert_eq!(record.body, Body::Registrar(event));
}

#[test]
fn a_log_is_succeeded_once_by_a_member_that_plays_its_roles() {
    let mut town = Town::default();
    let succeed = |institution: &str, successor: &str, size| Command::SucceedLog {
        institution: id(institution),
        size,
        root: Digest([0; 32]),
        successor: id(successor),
        approver: SECOND,
    };
    town.write(id("gulou"), Role::Hospital, Body::Heartbeat);
    town.spread();
    let table = [
        (succeed("health", "gulou", 9), Err(Reason::Forbidden), "another trust anchor comes by configuration"),
        (succeed("gulou", "nobody", 1), Err(Reason::MemberUnknown), ""),
        (succeed("gulou", "gulou", 1), Err(Reason::WrongState), "nobody succeeds oneself"),
        (succeed("gulou", "xuanwu", 1), Err(Reason::WrongRole), "a community is no hospital"),
        (succeed("gulou", "zhongda", 0), Err(Reason::BadWindow), "one record is known to stand"),
        (succeed("gulou", "zhongda", 1), Ok(()), ""),
        (succeed("gulou", "zhongda", 1), Err(Reason::WrongState), "once"),
        (succeed("zhongda", "gulou", 0), Err(Reason::WrongState), "in no circle"),
    ];
    for (command, outcome, why) in table {
        let shown = format!("{command:?}: {why}");
        assert_eq!(ask(&mut town, command).map(drop).map_err(|r| r.reason()), outcome, "{shown}");
    }
    assert_eq!(standing(&town, "gulou"), Some(Stands::Succeeded));
}

#[test]
fn an_issuer_that_is_gone_is_succeeded_by_another() {
    let issuer: &[Role] = &[Role::Issuer];
    let mut town = Town::new(&[("health", issuer), ("county", issuer), ("city", issuer)]);
    let (county, city) = (id("county"), id("city"));
    let programme = super::policy("heart-check");
    town.ask::<Issuer>(county, Command::PublishProgramme(Box::new(programme))).unwrap();
    let uuid = uuid::Builder::from_custom_bytes([7; 16]).into_uuid();
    let uuids = vec![uuid];
    let generate = Command::Generate { programme: "heart-check".parse().unwrap(), uuids, valid_from: None };
    town.ask::<Issuer>(county, generate).unwrap();
    town.spread();
    let voucher = domain::ids::VoucherId { issuer: county, uuid };
    let void = || Command::Void { voucher, reason: domain::record::VoidReason::IssuerDecision };
    assert_eq!(why(town.ask::<Issuer>(city, void())), Reason::NotCustodian);

    let succeed = Command::SucceedIssuer { issuer: county, successor: city, approver: SECOND };
    ask(&mut town, succeed).unwrap();
    town.spread();
    assert!(town.ask::<Issuer>(county, void()).is_err(), "who was succeeded issues nothing more");
    town.ask::<Issuer>(city, void()).unwrap();
    town.spread();
    let state = town.voucher(id("health"), voucher).unwrap().state().cloned().unwrap();
    assert_eq!(state.stage, domain::lifecycle::Stage::Voided);
}
