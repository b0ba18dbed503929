//! Duties as a table: what each institution owes in each stage, and when.

#![allow(clippy::unwrap_used)]

mod support;

use domain::duty::{Due, Duty, Notes, duties};
use domain::ids::InstitutionId;
use domain::lifecycle::{Stage, Step, Voucher};
use domain::member::Parameters;
use domain::time::Timestamp;
use support::*;

/// The states of a voucher that goes from `Generated` to `Redeemed`, and those of one that is refused.
fn states() -> Vec<Voucher> {
    let mut town = Town::new();
    let issued = town.issue();
    let confirmed = town.book_and_confirm("h1", 10, issued);
    let used = town.use_it("h1", 31, confirmed);
    let claimed = town.complete_and_claim("h1", 32, used);
    let mut other = town.clone();
    town.step("i", hour(33), claimed, Step::Redeemed);
    let rejection = other.step("i", hour(33), claimed, rejected(false));
    let again = other.step("h1", hour(34), rejection, Step::RedemptionClaimed { answers: Some(rejection) });
    let refused = other.step("i", hour(35), again, rejected(true));
    other.step("i", hour(36), refused, voided());
    let path = |town: &Town| town.look().path().into_iter().map(|(_, state)| state).collect::<Vec<_>>();
    let mut all = path(&town);
    all.extend(path(&other).into_iter().skip(9));
    all
}

fn state(stage: Stage) -> Voucher {
    states().into_iter().find(|s| s.stage == stage).unwrap()
}

/// `duty` for now, `duty@log+hours` for when that log has reached that hour of the town.
fn words(due: &Due) -> String {
    let duty = format!("{:?}", due.duty).to_lowercase();
    let hours = (due.at.millis() - hour(0).millis()) / 3_600_000;
    if due.at == Timestamp::MIN { duty } else { format!("{duty}@{}+{hours}", due.blocker) }
}

fn owed(me: InstitutionId, state: &Voucher, notes: Notes) -> Vec<Duty> {
    duties(me, state, notes, &Parameters::default()).into_iter().map(|due| due.duty).collect()
}

const OWED: &str = "
generated          i   voidexpired@i+100
sent               c   encode heartbeat@c+100
sent               i   voidexpired@c+100 reclaim@i+124
encoded            c   heartbeat@c+100
issued             v   heartbeat@v+100
issued             i   reclaim@i+124 voidexpired@v+100
booking-requested  h1  answer heartbeat@h1+20 heartbeat@h1+100
booking-requested  v   lapse@h1+20 heartbeat@v+20 heartbeat@v+100
booking-requested  i   voidexpired@h1+100 reclaim@i+44
booked             h1  heartbeat@h1+34 heartbeat@h1+100
booked             v   lapse@h1+34 heartbeat@v+34 heartbeat@v+100
booked             i   voidexpired@h1+100 reclaim@i+58
in-use             h1  heartbeat@h1+199
in-use             i   reclaim@i+919
examined           h1  claim heartbeat@h1+752
examined           i   reclaim@i+1472
claimed            i   settle
claimed            h1
rejected           h1  heartbeat@h1+752
rejected           i   reclaim@i+1472
refused            i   voidheld
redeemed           i
redeemed           h1
redeemed           v   removerecord
redeemed           c   retireqr
voided             v   removerecord
voided             c   retireqr
";

#[test]
fn who_owes_what_in_which_stage() {
    for line in OWED.lines().skip(1) {
        let mut cells = line.split_whitespace();
        let (stage, me) = (cells.next().unwrap(), id(cells.next().unwrap()));
        let stage = Stage::ALL.into_iter().find(|s| word(*s) == stage).unwrap();
        let owed = duties(me, &state(stage), Notes::default(), &Parameters::default());
        let mut owed: Vec<String> = owed.iter().map(words).collect();
        let mut expected: Vec<String> = cells.map(str::to_owned).collect();
        owed.sort();
        expected.sort();
        assert_eq!(owed, expected, "{line}");
    }
}

fn word(stage: Stage) -> String {
    let mut text = String::new();
    for c in format!("{stage:?}").chars() {
        if c.is_uppercase() && !text.is_empty() {
            text.push('-');
        }
        text.push(c.to_ascii_lowercase());
    }
    text
}

/// What was done is owed no more, what the holder or the issuer asked is owed at once.
#[test]
fn notes_change_what_is_owed() {
    let note = |change: fn(&mut Notes)| {
        let mut notes = Notes::default();
        change(&mut notes);
        notes
    };
    let (done, removed) = (note(|n| n.qr_retired = true), note(|n| n.record_removed = true));
    assert!(!owed(id("c"), &state(Stage::Redeemed), done).contains(&Duty::RetireQr));
    assert!(owed(id("c"), &state(Stage::Issued), done).contains(&Duty::RestoreQr), "after a reversal");
    assert!(!owed(id("v"), &state(Stage::Redeemed), removed).contains(&Duty::RemoveRecord));

    let cancelled = note(|n| n.release_requested = true);
    assert!(owed(id("h1"), &state(Stage::Booked), cancelled).contains(&Duty::Release));
    assert!(!owed(id("h1"), &state(Stage::BookingRequested), cancelled).contains(&Duty::Answer));

    let wanted_back = note(|n| n.void_requested = true);
    let table = [
        (Stage::Sent, "c", true),
        (Stage::Encoded, "c", true),
        (Stage::Issued, "v", true),
        (Stage::BookingRequested, "h1", true),
        (Stage::Booked, "h1", true),
        (Stage::InUse, "h1", false),
        (Stage::Examined, "h1", false),
        (Stage::Booked, "v", false),
    ];
    for (stage, me, returns) in table {
        let owed = owed(id(me), &state(stage), wanted_back);
        assert_eq!(owed.contains(&Duty::Return), returns, "{stage:?} {me}");
        assert!(!returns || !owed.iter().any(|d| matches!(d, Duty::Encode | Duty::Answer)), "{stage:?} {me}");
    }
    assert_eq!(owed(id("i"), &state(Stage::Generated), wanted_back), [Duty::VoidHeld]);
}

/// An issuer that is its own community lets time pass in its own log: its `Voided` will name a record there.
#[test]
fn an_issuer_that_is_its_own_community_owes_itself_a_heartbeat() {
    let own = Voucher { custodian: Some(id("i")), community: Some(id("i")), ..state(Stage::Encoded) };
    let owed = owed(id("i"), &own, Notes::default());
    assert!(owed.contains(&Duty::Heartbeat) && owed.contains(&Duty::VoidExpired), "{owed:?}");
    assert!(!owed.contains(&Duty::Reclaim), "{owed:?}");
}
