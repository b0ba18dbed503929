//! The voucher's life as tables: every step in every stage, both ends of every limit, roles and authors.

#![allow(clippy::unwrap_used)]

mod support;

use domain::ids::{Digest, InstitutionId, RecordName};
use domain::lifecycle::{self, AbortReason, Booking, Context, Outcome, Stage, Step, Voucher};
use domain::member::{Parameters, Role};
use domain::reasons::Reason;
use domain::record::{Presentation, VoidReason};
use domain::time::{Millis, Timestamp};
use support::*;

const RESPOND_BY: i64 = 20;
const USE_FROM: i64 = 30;
const USE_BY: i64 = 34;
const COMPLETE_BY: i64 = 50;
const CLAIM_BY: i64 = 60;

fn name(n: u64) -> RecordName {
    RecordName { institution: id("i"), index: n, id: Digest::default() }
}

/// A voucher in a stage, as the chain of protocol section 2 leaves it.
fn voucher(stage: Stage) -> Voucher {
    use Stage::*;
    let sent = !matches!(stage, Generated);
    let issued = sent && !matches!(stage, Sent | Encoded);
    let booked = issued && !matches!(stage, Issued | Refused | Voided);
    let custodian = match stage.custodian_role() {
        _ if stage.is_settled() => None,
        Role::Issuer => Some(id("i")),
        Role::Community => Some(id("c")),
        Role::Voucher => Some(id("v")),
        _ => Some(id("h1")),
    };
    let booking = Booking {
        hospital: id("h1"),
        details: Digest::default(),
        respond_by: hour(RESPOND_BY),
        use_from: hour(USE_FROM),
        use_by: hour(USE_BY),
    };
    Voucher {
        stage,
        custodian,
        issuer: id("i"),
        programme: name(7),
        valid_from: hour(0),
        valid_until: hour(VALID_UNTIL),
        community: sent.then(|| id("c")),
        enrolment: issued.then(|| name(8)),
        voucher_module: issued.then(|| id("v")),
        booking: booked.then_some(booking),
        complete_by: (stage == InUse).then(|| hour(COMPLETE_BY)),
        claim_by: matches!(stage, Examined | Claimed | Rejected | Redeemed).then(|| hour(CLAIM_BY)),
        claims: u8::from(matches!(stage, Claimed | Rejected | Redeemed)),
        redeemed_at: (stage == Redeemed).then(|| hour(40)),
    }
}

fn no_presentation() -> Presentation {
    Presentation { cose: Vec::new(), assisted: None }
}

/// The steps of the table, by the words in its first column: who writes it, when it is in time, what it says.
fn row(word: &str) -> (&'static str, i64, Step) {
    let presentation = no_presentation();
    match word {
        "Generated" => {
            ("i", 5, Step::Generated { programme: name(7), valid_from: hour(0), valid_until: hour(VALID_UNTIL) })
        }
        "Sent" => ("i", 5, Step::Sent { community: id("c") }),
        "Encoded" => ("c", 5, Step::Encoded { token: "VQ1:".into() }),
        "Issued" => ("c", 5, Step::Issued { enrolment: name(8), presentation }),
        "HandedOver" => ("v", 5, Step::HandedOver { enrolment: name(9) }),
        "Booked" => ("v", 10, booked_step("h1", 10)),
        "Confirmed" => ("h1", 15, Step::BookingConfirmed),
        "Declined" => ("h1", 15, declined()),
        "Released" => ("h1", 15, released()),
        "Lapsed" => ("v", 35, Step::BookingLapsed { position: name(9) }),
        "Used" => ("h1", 31, Step::UseConfirmed { presentation, complete_by: hour(COMPLETE_BY) }),
        "Aborted" => ("h1", 32, aborted()),
        "Aborted-desk" => ("h1", 32, Step::UseAborted { reason: AbortReason::DeskError }),
        "Completed" => {
            let evidence = Digest::default();
            ("h1", 32, Step::ExamCompleted { evidence, presentation, claim_by: hour(CLAIM_BY) })
        }
        "Claimed" => ("h1", 33, Step::RedemptionClaimed { answers: None }),
        "Claimed-answer" => ("h1", 33, Step::RedemptionClaimed { answers: Some(name(9)) }),
        "Redeemed" => ("i", 40, Step::Redeemed),
        "Rejected" => ("i", 40, rejected(false)),
        "Rejected-final" => ("i", 40, rejected(true)),
        "Returned" => ("", 15, returned()),
        "Voided" => ("i", 40, voided()),
        "Voided-expired" => ("i", VALID_UNTIL, expired(&[])),
        "Reclaimed" => ("i", 2_000, reclaimed()),
        "Reversed" => ("i", 45, reversed(false)),
        "Reversed-void" => ("i", 45, reversed(true)),
        "Resolved-void" => ("i", 45, resolved(Outcome::Void(VoidReason::Mistake))),
        "Resolved-keep" => ("i", 45, resolved(Outcome::Keep(name(9)))),
        other => panic!("{other} is no row"),
    }
}

fn context(author: InstitutionId, role: Role, at: Timestamp) -> Context {
    Context {
        author,
        role,
        at,
        parameters: Parameters::default(),
        operator: Some(operator(1)),
        voucher_module: Some(id("v")),
        others_gone: false,
    }
}

/// Takes the step of a row; an empty author stands for whoever holds the voucher.
fn take(before: &Voucher, word: &str, at: Option<Timestamp>) -> Result<Voucher, Reason> {
    let (who, in_time, step) = row(word);
    let who = if who.is_empty() { before.custodian.unwrap_or(id("h1")) } else { id(who) };
    lifecycle::step(before, &context(who, role_of(who), at.unwrap_or(hour(in_time))), &step)
}

/// Short words for the columns: stages by three letters, reasons by a word with a dot before it.
fn short(outcome: &Result<Voucher, Reason>) -> &'static str {
    match outcome {
        Ok(after) => stage_word(after.stage),
        Err(Reason::WrongState) => ".",
        Err(Reason::NotCustodian) => ".hold",
        Err(Reason::AlreadyBooked) => ".book",
        Err(Reason::AlreadyUsed) => ".used",
        Err(Reason::AlreadyRedeemed) => ".rede",
        Err(Reason::Voided) => ".void",
        Err(Reason::NotBooked) => ".notb",
        Err(Reason::AnswerMissing) => ".answ",
        Err(Reason::GraceNotOver) => ".grac",
        Err(other) => other.code(),
    }
}

const fn stage_word(stage: Stage) -> &'static str {
    match stage {
        Stage::Generated => "gen",
        Stage::Sent => "sent",
        Stage::Encoded => "enc",
        Stage::Issued => "iss",
        Stage::BookingRequested => "req",
        Stage::Booked => "bkd",
        Stage::InUse => "use",
        Stage::Examined => "exa",
        Stage::Claimed => "clm",
        Stage::Rejected => "rej",
        Stage::Refused => "ref",
        Stage::Redeemed => "red",
        Stage::Voided => "void",
    }
}

const LIFE: &str = "
step            gen    sent   enc    iss    req    bkd    use    exa    clm    rej    ref    red    void
Generated       .      .      .      .      .      .      .      .      .      .      .      .      .
Sent            sent   .      .      .      .book  .book  .used  .used  .used  .used  .void  .rede  .void
Encoded         .      enc    .      .      .book  .book  .used  .used  .used  .used  .void  .rede  .void
Issued          .      .      iss    .      .book  .book  .used  .used  .used  .used  .void  .rede  .void
HandedOver      .      .      .      iss    .book  .book  .used  .used  .used  .used  .void  .rede  .void
Booked          .      .      .      req    .book  .book  .used  .used  .used  .used  .void  .rede  .void
Confirmed       .      .      .      .      bkd    .book  .used  .used  .used  .used  .void  .rede  .void
Declined        .      .      .      .      iss    .book  .used  .used  .used  .used  .void  .rede  .void
Released        .      .      .      .      .book  iss    .used  .used  .used  .used  .void  .rede  .void
Lapsed          .      .      .      .      iss    iss    .used  .used  .used  .used  .void  .rede  .void
Used            .notb  .notb  .notb  .notb  .notb  use    .used  .used  .used  .used  .void  .rede  .void
Aborted         .      .      .      .      .      .      iss    .used  .used  .used  .void  .rede  .void
Aborted-desk    .      .      .      .      .      .      bkd    .used  .used  .used  .void  .rede  .void
Completed       .      .      .      .      .      .      exa    .used  .used  .used  .void  .rede  .void
Claimed         .      .      .      .      .      .      .      clm    .      .answ  .void  .rede  .void
Claimed-answer  .      .      .      .      .      .      .      .answ  .      clm    .void  .rede  .void
Redeemed        .      .      .      .      .      .      .      .      red    .      .void  .rede  .void
Rejected        .      .      .      .      .      .      .      .      rej    .      .void  .rede  .void
Rejected-final  .      .      .      .      .      .      .      .      ref    .      .void  .rede  .void
Returned        .      gen    gen    gen    gen    gen    .used  .used  .used  .used  .void  .rede  .void
Voided          void   .      .      .      .book  .book  .used  .used  .used  .used  void   .rede  .void
Voided-expired  void   void   void   void   void   void   .used  .used  .used  .used  .void  .rede  .void
Reclaimed       .      ref    ref    ref    ref    ref    ref    ref    .used  ref    .void  .rede  .void
Reversed        .      .      .      .      .      .      .      .      .      .      .      iss    .
Reversed-void   .      .      .      .      .      .      .      .      .      .      .      gen    .
Resolved-void   void   void   void   void   void   void   void   void   void   void   void   .rede  void
Resolved-keep   gen    sent   enc    iss    req    bkd    use    exa    clm    rej    ref    .rede  void
";

/// Every step in every stage, by its right author and in its time: the next stage, or after a dot the reason why not.
/// `.` alone is wrong-state; .book already-booked, .used already-used, .rede already-redeemed, .void voided,
/// .notb not-booked, .hold not-custodian, .answ answer-missing, .grac grace-not-over.
#[test]
fn every_step_in_every_stage() {
    let mut lines = LIFE.lines().skip(1);
    let stages: Vec<&str> = lines.next().unwrap().split_whitespace().skip(1).collect();
    assert_eq!(stages, Stage::ALL.map(stage_word), "every stage has its column");
    let mut rows = 0;
    for line in lines {
        let mut cells = line.split_whitespace();
        let word = cells.next().unwrap();
        rows += 1;
        for (stage, expected) in Stage::ALL.into_iter().zip(cells.by_ref()) {
            let outcome = take(&voucher(stage), word, None);
            assert_eq!(short(&outcome), expected, "{word} in {stage:?}");
        }
        assert_eq!(cells.next(), None, "{word}");
    }
    assert_eq!(rows, 27);
}

/// A limit: the row, the stage, the limit in hours, and what is said one millisecond before it, at it, and after it.
const LIMITS: &str = "
step            stage  limit           before           at                   after
Generated       none   valid_until     gen              bad-window           bad-window
Booked          iss    valid_from      not-yet-valid    req                  req
Booked          iss    valid_until     bad-window       expired              expired
Encoded         sent   valid_until     enc              expired              expired
Returned        iss    valid_until     gen              expired              expired
Sent            gen    valid_until     sent             sent                 sent
Confirmed       req    respond_by      bkd              response-too-late    response-too-late
Declined        req    respond_by      iss              response-too-late    response-too-late
Returned        req    respond_by      gen              response-too-late    response-too-late
Used            bkd    use_from        too-early        use                  use
Used            bkd    use_by          use              too-late             too-late
Released        bkd    use_by          iss              too-late             too-late
Returned        bkd    use_by          gen              too-late             too-late
Aborted-desk    use    use_by          bkd              iss                  iss
Aborted         use    valid_until     iss              gen                  gen
Aborted-desk    use    valid_until     iss              gen                  gen
Completed       use    complete_by     exa              completion-too-late  completion-too-late
Claimed         exa    claim_by        clm              claim-too-late       claim-too-late
Claimed-answer  rej    claim_by        clm              claim-too-late       claim-too-late
Redeemed        clm    claim_by        red              red                  red
Voided-expired  gen    valid_until     not-surely-over  void                 void
Voided-expired  bkd    valid_until     not-surely-over  void                 void
Reclaimed       iss    valid_grace     .grac            ref                  ref
Reclaimed       req    respond_grace   .grac            ref                  ref
Reclaimed       bkd    use_grace       .grac            ref                  ref
Reclaimed       use    complete_grace  .grac            ref                  ref
Reclaimed       exa    claim_grace     .grac            ref                  ref
Reclaimed       rej    claim_grace     .grac            ref                  ref
Reversed        red    valid_until     iss              gen                  gen
Reversed        red    correction      gen              correction-over      correction-over
Reversed-void   red    correction      gen              correction-over      correction-over
";

fn limit(word: &str) -> Timestamp {
    let parameters = Parameters::default();
    let (before, after) = (parameters.grace_before_use, parameters.grace_after_use);
    match word {
        "valid_from" => hour(0),
        "valid_until" => hour(VALID_UNTIL),
        "respond_by" => hour(RESPOND_BY),
        "use_from" => hour(USE_FROM),
        "use_by" => hour(USE_BY),
        "complete_by" => hour(COMPLETE_BY),
        "claim_by" => hour(CLAIM_BY),
        "valid_grace" => hour(VALID_UNTIL) + before,
        "respond_grace" => hour(RESPOND_BY) + before,
        "use_grace" => hour(USE_BY) + before,
        "complete_grace" => hour(COMPLETE_BY) + after,
        "claim_grace" => hour(CLAIM_BY) + after,
        "correction" => hour(40) + parameters.correction_period,
        other => panic!("{other} is no limit"),
    }
}

#[test]
fn both_ends_of_every_limit() {
    for line in LIMITS.lines().skip(2) {
        let [word, stage, limit_word, expected @ ..] = &line.split_whitespace().collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        assert_eq!(expected.len(), 3, "{line}");
        for (offset, expected) in [-1, 0, 1].into_iter().zip(expected) {
            let at = limit(limit_word) + Millis(offset);
            let outcome = match Stage::ALL.into_iter().find(|s| stage_word(*s) == *stage) {
                None => lifecycle::first(&context(id("i"), Role::Issuer, at), &row(word).2),
                Some(stage) => take(&voucher(stage), word, Some(at)),
            };
            assert_eq!(short(&outcome), *expected, "{line}: {offset:+} ms");
        }
    }
}

/// What a step says about times itself: windows that cannot be, and limits longer than the federation allows.
#[test]
fn windows_that_cannot_be() {
    let (week, month) = (Millis::days(7), Millis::days(30));
    let booked = |respond_by, use_from, use_by| {
        let (respond_by, use_from, use_by) = (hour(respond_by), hour(use_from), hour(use_by));
        Step::Booked { hospital: id("h1"), details: Digest::default(), respond_by, use_from, use_by }
    };
    let used = |by| Step::UseConfirmed { presentation: no_presentation(), complete_by: by };
    let completed = |by| {
        let (evidence, presentation) = (Digest::default(), no_presentation());
        Step::ExamCompleted { evidence, presentation, claim_by: by }
    };
    let h32 = hour(32);
    let table = [
        ("answer in the past", Stage::Issued, booked(32, 40, 50), Some(Reason::BadWindow)),
        ("answer after the window", Stage::Issued, booked(51, 40, 50), Some(Reason::BadWindow)),
        ("answer at the window's end", Stage::Issued, booked(50, 40, 50), None),
        ("a window backwards", Stage::Issued, booked(33, 50, 50), Some(Reason::BadWindow)),
        ("a window past the validity", Stage::Issued, booked(33, 40, VALID_UNTIL), Some(Reason::Expired)),
        ("a window up to the validity", Stage::Issued, booked(33, 40, VALID_UNTIL - 1), None),
        ("a window that has begun", Stage::Issued, booked(33, 30, 50), None),
        ("complete at once", Stage::Booked, used(h32), Some(Reason::BadWindow)),
        ("complete in a week", Stage::Booked, used(h32 + week), None),
        ("complete later than a week", Stage::Booked, used(h32 + week + Millis(1)), Some(Reason::BadWindow)),
        ("claim at once", Stage::InUse, completed(h32), Some(Reason::BadWindow)),
        ("claim in a month", Stage::InUse, completed(h32 + month), None),
        ("claim later than a month", Stage::InUse, completed(h32 + month + Millis(1)), Some(Reason::BadWindow)),
    ];
    for (what, stage, step, expected) in table {
        let before = voucher(stage);
        let who = before.custodian.unwrap();
        let outcome = lifecycle::step(&before, &context(who, role_of(who), h32), &step);
        assert_eq!(outcome.err(), expected, "{what}");
    }
}

/// Each step in its stage: nobody but its author may write it, and its author only in its role.
#[test]
fn roles_and_authors() {
    let table = [
        ("Sent", Stage::Generated, "i"),
        ("Encoded", Stage::Sent, "c"),
        ("Issued", Stage::Encoded, "c"),
        ("HandedOver", Stage::Issued, "v"),
        ("Booked", Stage::Issued, "v"),
        ("Confirmed", Stage::BookingRequested, "h1"),
        ("Declined", Stage::BookingRequested, "h1"),
        ("Released", Stage::Booked, "h1"),
        ("Lapsed", Stage::Booked, "v"),
        ("Used", Stage::Booked, "h1"),
        ("Aborted", Stage::InUse, "h1"),
        ("Completed", Stage::InUse, "h1"),
        ("Claimed", Stage::Examined, "h1"),
        ("Redeemed", Stage::Claimed, "i"),
        ("Rejected", Stage::Claimed, "i"),
        ("Voided", Stage::Generated, "i"),
        ("Voided-expired", Stage::Issued, "i"),
        ("Reclaimed", Stage::InUse, "i"),
        ("Reversed", Stage::Redeemed, "i"),
        ("Resolved-void", Stage::Booked, "i"),
    ];
    for (word, stage, author) in table {
        let (_, in_time, step) = row(word);
        for who in EVERYBODY {
            for role in Role::ALL {
                let outcome = lifecycle::step(&voucher(stage), &context(id(who), role, hour(in_time)), &step);
                let allowed = who == author && role == role_of(id(author));
                assert_eq!(outcome.is_ok(), allowed, "{word} by {who} as {role:?}: {outcome:?}");
                // Past the validity everybody but the issuer is told so first.
                let expected = if word == "Voided-expired" { Reason::Expired } else { Reason::NotCustodian };
                let expected = if who == "i" && role == Role::Issuer { Reason::NotCustodian } else { expected };
                assert!(allowed || outcome == Err(expected), "{word} by {who} as {role:?}: {outcome:?}");
            }
        }
    }
    let step = row("Generated").2;
    for role in Role::ALL {
        let outcome = lifecycle::first(&context(id("i"), role, hour(5)), &step);
        assert_eq!(outcome.err(), (role != Role::Issuer).then_some(Reason::WrongRole));
    }
}

/// A reversal and a resolution need two persons: none, or the same twice, is refused.
#[test]
fn two_persons() {
    for (word, stage) in [("Reversed", Stage::Redeemed), ("Resolved-void", Stage::Voided)] {
        let (_, at, step) = row(word);
        for (who, good) in [(None, false), (Some(operator(2)), false), (Some(operator(1)), true)] {
            let context = Context { operator: who, ..context(id("i"), Role::Issuer, hour(at)) };
            let outcome = lifecycle::step(&voucher(stage), &context, &step);
            assert_eq!(outcome.err(), (!good).then_some(Reason::ApproverNeeded), "{word}");
        }
    }
}

/// Who is gone may be passed over at once: the issuer hands over and takes back without waiting.
#[test]
fn without_who_is_gone() {
    for (word, stage, next) in [("HandedOver", Stage::Issued, "iss"), ("Reclaimed", Stage::Booked, "ref")] {
        for (others_gone, expected) in [(true, next), (false, if next == "iss" { ".hold" } else { ".grac" })] {
            let context = Context { others_gone, ..context(id("i"), Role::Issuer, hour(5)) };
            assert_eq!(short(&lifecycle::step(&voucher(stage), &context, &row(word).2)), expected, "{word}");
        }
    }
}
