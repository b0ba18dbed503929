//! Golden bytes of records: what stands in logs is read for ever, so its bytes never change.

use domain::holder::{BlockReason, HolderKey, RegistrarEvent};
use domain::ids::{CardId, Digest, EnrolmentId, InstitutionId, Operator, RecordName, VoucherId};
use domain::lifecycle::{Step, VoidCause};
use domain::member::{MemberEntry, Parameters, Purpose, Role, Signature};
use domain::policy::{Class, Policy, ProgrammeEvent};
use domain::record::{
    Approved, AssistReason, Assisted, Body, ChainRecord, CheckOutcome, Finding, FindingKind, FourStates, Idempotency,
    Note, NoteRecord, Place, Presentation, Record, Witnessed,
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

fn bodies() -> Vec<(&'static str, Body)> {
    let chain = |step| Body::Chain(ChainRecord { voucher: voucher(), prev: Some(name(7)), registrar: name(9), step });
    let note = |note| Body::Note(NoteRecord { voucher: voucher(), about: name(3), note });
    let entry = MemberEntry {
        institution: id("hospital-gulou"),
        roles: vec![Role::Hospital],
        url: "https://gulou.example".into(),
        origin: "example/hospital-gulou".into(),
        keys: [bytes(1), bytes(2), bytes(3)],
        proofs: [signature(4), signature(5), signature(6)],
    };
    let policy = Policy {
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
    let witnessed = Witnessed { presentation: presentation(false), registrar: name(9) };
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
        ("moved", note(Note::MoveRequested { witnessed, details: Digest(bytes(3)), hospital: id("h") })),
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
        ("programme", Body::Programme(ProgrammeEvent::Changed { programme: name(1), policy })),
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

/// Length and leaf hash of each record.
const GOLDEN: &str = "
generated 374 dd8d0be6fad58ee891f4ff3f8ec5c30edbe129900720ca5132bcf798bdca2642
encoded 231 5e07b81723c3f2631c589cc73e7dbb41c44db4d121a623c5835ca8348a20e5c9
issued 388 ae30c5d0f29c0d0208ceee592a7e019476de04be5c1886f0375406a0e1f9a38e
booked 294 565d6581dacd3af264bba01f84cec8707b7532a012debff1da0c61723c41d9b2
used 354 b9d90f2ea13561d14ed5e6fa0b991cd1959f0f59df6180901c9a22b57990c073
claimed 279 0bdeaf0930657b0a71631e15e603c8d51c13be44b829d56c472b4fa22c741d11
redeemed 296 0428bdca68093725ca4c4778e3bda9740affdab909bf6a305ba1fcb0721e6827
expired 352 8e9e2776efcd613930b7be6376938faf50f496440ec89202a644e58ec4301fa7
moved 366 658255bed97c3184371d83f6271ec30a5b99a38cd4d501e835da250a36d86530
verified 165 4e77d55b7f264c890b3ad716253dd9f42f7bd78d661d7ae1b8e0f607b216b743
registered 514 e782bedabe8cf530647eb33f1bd14234bd2a453f26fdc73c99251ad27dcb2186
parameters 94 b9edc193e54ea650cce6c1f8191d6830200957c67e8398c53663343a2347c22e
enrolled 267 4333e90ab3a83eae432fbd1a733a74dd2a7bba17f15c95d4e6b00d2221474c35
blocked 119 deac4aff1d0eabbbf052f41281d4bc4f62414eb5df1df8dfe017e4b57964c60c
card 243 b4596d89d3add724670e8c3bc341229f3b4b633438d5347f97e15f6505fa9e61
rotated 251 4d66db2a019a45c3e82f9eee5d163ed2c0a47d1d207671326b6f4cce4b6c64c5
programme 312 86c5d6ed96d4787b9d1df3a2d7b8607a169d3bf6819fbb2dca071ceb2f394af0
statistics 180 5187c606677ee44afd64ad34e319aae6f6e44a95d40baa4b70adf8e63f9c9943
heartbeat 129 c0d448013c92ecba47505ff6e952fa110d928fac07f064ba59cd9f7b9ea7c491
finding 274 e2029df18ddf8c8b6f5da499791439ee9b03cbcbf2f40918492046f2d3301ab3
approved 207 866e9a3b10bd7026df3ab1bc50bc0abcb64100ff3c8ee3254b0751507428307d
";

#[test]
fn every_record_keeps_its_bytes() {
    let mut table = String::from("\n");
    for (n, (what, body)) in bodies().into_iter().enumerate() {
        let bytes = encoded(body, n % 2 == 0);
        table += &format!("{what} {} {}\n", bytes.len(), hex::encode(ledger::merkle::leaf_hash(&bytes).0));
    }
    assert_eq!(table, GOLDEN);
}

#[test]
fn a_heartbeat_byte_by_byte() {
    let golden = concat!(
        "01", // version
        "0e00000000000000",
        "6e616e6a696e672d6865616c7468", // nanjing-health
        "0403020100000000",             // index
        "00000000",                     // issuer
        "805a87c4a0010000",             // at
        "00",
        "00",       // no operator, no idempotency
        "05000000", // heartbeat
    );
    assert_eq!(hex::encode(encoded(Body::Heartbeat, false)), golden);
}
