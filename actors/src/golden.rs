//! Golden bytes of records: what stands in logs is read for ever, so its bytes never change.

use domain::holder::{BlockReason, HolderKey, RegistrarEvent};
use domain::ids::{CardId, Digest, EnrolmentId, InstitutionId, Operator, RecordName, VoucherId};
use domain::lifecycle::{
    AbortReason, ClaimReason, DeclineReason, Outcome, ReclaimReason, ReleaseReason, ReturnReason, ReverseReason, Step,
    VoidCause,
};
use domain::member::{MemberEntry, Parameters, Purpose, Role, Signature};
use domain::policy::{Class, Policy, ProgrammeEvent};
use domain::record::{
    Approved, AssistReason, Assisted, Body, ChainRecord, CheckOutcome, Finding, FindingKind, FourStates, HelpStep,
    Idempotency, Insistence, Note, NoteRecord, OperatorInsisted, Place, Presentation, Record, VoidReason, Witnessed,
};
use domain::statistics::{Covered, Measure, StatisticsPublished};
use domain::time::{Millis, Timestamp};
use uuid::Uuid;

fn id(text: &str) -> InstitutionId {
    text.parse().unwrap()
}

/// Bytes that are all different, so that an order that changes is seen.
fn bytes<const N: usize>(first: u8) -> [u8; N] {
    std::array::from_fn(|i| first.wrapping_add(i as u8))
}

fn name(index: u64) -> RecordName {
    RecordName { institution: id("nanjing-health"), index, id: Digest(bytes(index as u8)) }
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(1_790_000_000_000 + millis)
}

fn voucher() -> VoucherId {
    VoucherId { issuer: id("nanjing-health"), uuid: Uuid::from_bytes(bytes(0x40)) }
}

fn presentation(assisted: bool) -> Presentation {
    let helper = Assisted { helper: Operator(Uuid::from_bytes(bytes(0x90))), reason: AssistReason::NeedsHelp };
    Presentation { cose: bytes::<21>(0xc0).to_vec(), assisted: assisted.then_some(helper) }
}

fn signature(first: u8) -> Signature {
    Signature { r: bytes(first), s: bytes(first.wrapping_add(32)) }
}

fn chain(step: Step) -> Body {
    Body::Chain(ChainRecord { voucher: voucher(), prev: Some(name(7)), registrar: name(9), step })
}

fn note(note: Note) -> Body {
    Body::Note(NoteRecord { voucher: voucher(), about: name(3), note })
}

fn witnessed() -> Witnessed {
    Witnessed { presentation: presentation(false), registrar: name(9) }
}

fn operator(first: u8) -> Operator {
    Operator(Uuid::from_bytes(bytes(first)))
}

fn policy() -> Policy {
    Policy {
        programme: "ecg".parse().unwrap(),
        title_zh: "心电图".into(),
        title_en: "ECG".into(),
        service: "ecg".parse().unwrap(),
        issuing_department: "市卫健委".into(),
        classes: vec![Class::Elderly, Class::Disabled],
        validity_days: 90,
        vouchers_per_holder: 2,
        departments: vec!["cardiology".parse().unwrap()],
        card_allowed: true,
    }
}

/// Every other step of a voucher. Where a word has variants it is the last: one that is put before it is seen.
fn other_steps() -> Vec<(&'static str, Body)> {
    let examined =
        Step::ExamCompleted { evidence: Digest(bytes(0x33)), presentation: presentation(false), claim_by: at(7) };
    let refused = Step::ClaimRejected { reason: ClaimReason::Unfounded, is_final: true };
    let reclaimed = Step::Reclaimed { reason: ReclaimReason::Standing, positions: vec![name(3)] };
    let reversed = Step::Reversed { reason: ReverseReason::CutOff, approver: operator(0x80), void: true };
    let kept = Step::Resolved { outcome: Outcome::Keep(name(4)), approver: operator(0x80) };
    let voided = Step::Resolved { outcome: Outcome::Void(VoidReason::Lapsed), approver: operator(0x80) };
    let steps = vec![
        ("sent", Step::Sent { community: id("community-xuanwu") }),
        ("handed-over", Step::HandedOver { enrolment: name(5) }),
        ("confirmed", Step::BookingConfirmed),
        ("declined", Step::BookingDeclined { reason: DeclineReason::Unable }),
        ("released", Step::BookingReleased { reason: ReleaseReason::Unable }),
        ("lapsed", Step::BookingLapsed { position: name(3) }),
        ("aborted", Step::UseAborted { reason: AbortReason::Unable }),
        ("examined", examined),
        ("refused", refused),
        ("returned", Step::Returned { reason: ReturnReason::Leaving }),
        ("voided", Step::Voided { cause: VoidCause::Reason(VoidReason::Lapsed) }),
        ("reclaimed", reclaimed),
        ("reversed", reversed),
        ("resolved-keep", kept),
        ("resolved-void", voided),
    ];
    steps.into_iter().map(|(what, step)| (what, chain(step))).collect()
}

fn other_notes() -> Vec<(&'static str, Body)> {
    let help = Note::HelpRequested { step: HelpStep::Cancel, details: Digest(bytes(3)), witnessed: witnessed() };
    let notes = vec![
        ("cancel-requested", Note::CancelRequested { witnessed: witnessed() }),
        ("use-presented", Note::UsePresented { token: Digest(bytes(3)) }),
        ("help-requested", help),
        ("use-disputed", Note::UseDisputed { witnessed: witnessed() }),
        ("void-requested", Note::VoidRequested { reason: VoidReason::Lapsed }),
        ("compensation", Note::CompensationGranted { superseded: name(2), approver: operator(0x80) }),
        ("no-show", Note::NoShow),
        ("qr-retired", Note::QrRetired),
        ("qr-restored", Note::QrRestored),
        ("record-removed", Note::RecordRemoved),
    ];
    notes.into_iter().map(|(what, said)| (what, note(said))).collect()
}

fn other_events() -> Vec<(&'static str, Body)> {
    let (institution, from, size, approver) = (id("h"), 12, 12, operator(6));
    let (root, community, voucher_module) = (Digest(bytes(8)), id("c"), id("v"));
    let key = Some(HolderKey::Ed25519(bytes(0x60)));
    let changed =
        RegistrarEvent::MemberChanged { institution, from, roles: vec![Role::Auditor], url: "https://h".into() };
    let successor = id("s");
    let events = vec![
        ("member-changed", changed),
        ("suspended", RegistrarEvent::MemberSuspended { institution, from, approver }),
        ("restored", RegistrarEvent::MemberRestored { institution, from, approver }),
        ("revoked", RegistrarEvent::MemberRevoked { institution, from, approver }),
        ("frozen", RegistrarEvent::LogFrozen { institution, size, root, approver }),
        ("key-changed", RegistrarEvent::EnrolmentKeyChanged { enrolment: name(6), key }),
        ("moved-home", RegistrarEvent::EnrolmentMoved { enrolment: name(6), community, voucher_module }),
        ("log-succeeded", RegistrarEvent::LogSucceeded { institution, size, root, successor, approver }),
        ("issuer-succeeded", RegistrarEvent::IssuerSucceeded { issuer: institution, from, successor, approver }),
    ];
    let mut events: Vec<_> = events.into_iter().map(|(what, event)| (what, Body::Registrar(event))).collect();
    let insisted = OperatorInsisted { what: Insistence::TrustAnchor };
    events.push(("published", Body::Programme(ProgrammeEvent::Published(policy()))));
    events.push(("insisted", Body::OperatorInsisted(insisted)));
    events
}

/// A record of each kind, with a name for it.
fn bodies() -> Vec<(&'static str, Body)> {
    [first_bodies(), other_steps(), other_notes(), other_events()].concat()
}

fn first_bodies() -> Vec<(&'static str, Body)> {
    let entry = MemberEntry {
        institution: id("hospital-gulou"),
        roles: vec![Role::Hospital],
        url: "https://gulou.example".into(),
        origin: "example/hospital-gulou".into(),
        keys: [bytes(1), bytes(2), bytes(3)],
        proofs: [signature(4), signature(5), signature(6)],
    };
    let published = StatisticsPublished {
        from: at(0),
        until: at(1),
        utc_offset_minutes: 480,
        covers: vec![Covered { institution: id("a"), size: 5, root: Digest(bytes(8)) }],
        table: Digest(bytes(9)),
        rows: 3,
        totals: vec![(Measure::Voided, 4)],
    };
    let finding = Finding {
        kind: FindingKind::OverlappingPresence,
        institution: id("b"),
        voucher: Some(voucher()),
        records: vec![name(1), name(2)],
        count: 2,
        evidence: Some(Digest(bytes(11))),
    };
    let enrolled = RegistrarEvent::Enrolled {
        id: EnrolmentId(Uuid::from_bytes(bytes(0x50))),
        key: Some(HolderKey::Es256 { odd: true, x: bytes(0x60) }),
        programme: name(4),
        community: id("c"),
        voucher_module: id("v"),
    };
    let card =
        RegistrarEvent::CardIssued { enrolment: name(6), card: CardId(Uuid::from_bytes(bytes(1))), key: bytes(2) };
    let rotated = RegistrarEvent::KeyRotated {
        institution: id("h"),
        from: 12,
        purpose: Purpose::Witness,
        key: bytes(3),
        proof: signature(4),
        by_old: Some(signature(5)),
        approver: Operator(Uuid::from_bytes(bytes(6))),
    };
    let generated = Step::Generated { programme: name(2), valid_from: at(1), valid_until: at(2) };
    let booked = Step::Booked {
        hospital: id("hospital-gulou"),
        details: Digest(bytes(0x22)),
        respond_by: at(3),
        use_from: at(4),
        use_by: at(5),
    };
    let used = Step::UseConfirmed { presentation: presentation(true), complete_by: at(6) };
    let issued = Step::Issued { enrolment: name(5), presentation: presentation(false) };
    let expired = Step::Voided { cause: VoidCause::Expired { positions: vec![name(1), name(2)] } };
    let states = FourStates { booked: true, examined: false, redeemed: false, valid: true };
    vec![
        ("generated", chain(generated)),
        ("encoded", chain(Step::Encoded { token: "VQ1:ABC".into() })),
        ("issued", chain(issued)),
        ("booked", chain(booked)),
        ("used", chain(used)),
        ("claimed", chain(Step::RedemptionClaimed { answers: Some(name(8)) })),
        ("redeemed", chain(Step::Redeemed)),
        ("expired", chain(expired)),
        ("moved", note(Note::MoveRequested { witnessed: witnessed(), details: Digest(bytes(3)), hospital: id("h") })),
        ("verified", note(Note::Verified { place: Place::Terminal, states, outcome: CheckOutcome::Refused })),
        ("registered", Body::Registrar(RegistrarEvent::MemberRegistered(entry))),
        ("parameters", Body::Registrar(RegistrarEvent::ParametersPublished(Parameters::default()))),
        ("enrolled", Body::Registrar(enrolled)),
        (
            "blocked",
            Body::Registrar(RegistrarEvent::EnrolmentBlocked { enrolment: name(1), reason: BlockReason::Died }),
        ),
        ("card", Body::Registrar(card)),
        ("rotated", Body::Registrar(rotated)),
        ("programme", Body::Programme(ProgrammeEvent::Changed { programme: name(1), policy: policy() })),
        ("statistics", Body::Statistics(published)),
        ("heartbeat", Body::Heartbeat),
        ("finding", Body::Finding(finding)),
        ("approved", Body::Approved(Approved { record: name(7), approver: Operator(Uuid::from_bytes(bytes(0x80))) })),
    ]
}

fn encoded(body: Body, acted: bool) -> Vec<u8> {
    let idempotency = Idempotency { key: Digest(bytes(1)), request: Digest(bytes(2)) };
    let record = Record {
        institution: id("nanjing-health"),
        index: 0x0102_0304,
        role: Role::Issuer,
        at: at(Millis::hours(1).0),
        operator: acted.then_some(Operator(Uuid::from_bytes(bytes(0x70)))),
        idempotency: acted.then_some(idempotency),
        body,
    };
    let bytes = ledger::record::encode_record(&record).unwrap();
    assert_eq!(ledger::record::decode_record::<Record>(&bytes).unwrap(), record);
    bytes
}

/// The bytes of a record of each kind, for other tests.
pub(crate) fn records() -> Vec<Vec<u8>> {
    bodies().into_iter().enumerate().map(|(n, (_, body))| encoded(body, n % 2 == 0)).collect()
}

/// Name, leaf hash and bytes of each record: what docs/record-format.md gives as examples.
const EXAMPLES: &str = include_str!("../../docs/record-format-examples.txt");

#[test]
fn every_record_keeps_its_bytes() {
    let mut table = String::new();
    for (n, (what, body)) in bodies().into_iter().enumerate() {
        let bytes = encoded(body, n % 2 == 0);
        let leaf = hex::encode(ledger::merkle::leaf_hash(&bytes).0);
        table += &format!("{what} {leaf} {}\n", hex::encode(bytes));
    }
    for (line, held) in table.lines().zip(EXAMPLES.lines()) {
        assert_eq!(line, held);
    }
    assert_eq!(table.lines().count(), EXAMPLES.lines().count());
}

/// docs/record-format.md takes one record apart, byte by byte: what stands there in hexadecimal is the record.
#[test]
fn a_heartbeat_byte_by_byte() {
    let document = include_str!("../../docs/record-format.md");
    let section = document.split("## An example").nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("    ")?.split("  ").next());
    let golden: String = rows.flat_map(|row| row.split(' ')).collect();
    assert_eq!(hex::encode(encoded(Body::Heartbeat, false)), golden);
}
