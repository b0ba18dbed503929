//! The demo's checks can fail: nodes are made to misbehave (`actors::misbehave`), and the checks that should notice do.

use std::collections::BTreeSet;
use std::sync::Mutex;

use crate::support::demo::{Run, good_and_again, run};

/// Demos that run at once.
const AT_ONCE: usize = 2;

/// Nodes that misbehave in some ways, and the checks that notice.
struct Row {
    misbehaviours: &'static [&'static str],
    noticed_by: &'static [&'static str],
}

/// The longest runs first, so that no thread waits for another at the end.
const TABLE: [Row; 6] = [
    // Duties that nobody does.
    Row {
        misbehaviours: &[
            "release-forgotten",
            "return-forgotten",
            "lapse-forgotten",
            "retirement-forgotten",
            "expiry-forgotten",
            "disputes-ignored",
        ],
        noticed_by: &[
            "cancelled",
            "booked-again",
            "moved",
            "moved-visit-redeemed",
            "void-while-booked",
            "voided-is-not-booked",
            "lapsed-by-itself",
            "lapsed-cannot-be-used",
            "qr-retired",
            "reversed",
            "expired-is-voided",
            "phone-says-expired",
            "disputed-claim-rejected",
            "second-claim-waits-for-a-person",
            "refused-claim-voids",
            "new-voucher-after-refusal",
        ],
    },
    Row {
        misbehaviours: &["claim-forgotten", "other-steps-pass", "reopening-fails"],
        noticed_by: &[
            "redeemed-at-once",
            "redeemed-once",
            "card-redeemed",
            "phone-has-receipt",
            "no-completion-without-holder",
            "no-second-use",
            "no-second-completion",
            "no-second-redemption",
            "killed-node-keeps-all",
        ],
    },
    // Whatever the rules say, the desk is told that it is done.
    Row {
        misbehaviours: &["refusals-hidden"],
        noticed_by: &[
            "document-registers-once",
            "key-registers-once",
            "allowance-kept",
            "no-double-booking",
            "one-open-booking",
            "voided-is-not-booked",
            "old-picture-refused",
            "stolen-voucher-refused",
            "forged-presentation-refused",
            "other-hospital-refused",
            "too-early-refused",
            "replay-refused",
            "card-opens-own-voucher-only",
            "no-completion-without-holder",
            "no-completion-by-others",
            "no-half-examination",
            "no-second-use",
            "no-second-completion",
            "no-second-claim",
            "no-second-redemption",
            "reversal-needs-two",
            "lapsed-cannot-be-used",
            "expired-is-not-booked",
        ],
    },
    // Consulting hours, people and vouchers are lost, and time stands still for the auditor.
    Row {
        misbehaviours: &["schedule-row-dropped", "holders-forgotten", "encoding-skipped", "clock-stuck"],
        noticed_by: &[
            "slots-as-imported",
            "holders-registered",
            "transcoded",
            "vouchers-issued",
            "information-given",
            "holders-arrived",
            "clock-step",
        ],
    },
    // What no node may accept is accepted by all of them, and stands in the logs.
    Row {
        misbehaviours: &[
            "documents-register-twice",
            "allowance-ignored",
            "documents-unchecked",
            "helpers-ignored",
            "open-bookings-uncounted",
            "slots-taken-twice",
            "department-declined",
            "old-pictures-pass",
            "voucher-qr-unchecked",
            "signatures-unchecked",
            "codes-for-others-pass",
            "replays-pass",
            "half-examinations-pass",
            "statistics-flattered",
        ],
        noticed_by: &[
            "document-registers-once",
            "allowance-kept",
            "card-needs-its-document",
            "card-booked",
            "one-open-booking",
            "no-slot-twice",
            "bookings-confirmed",
            "old-picture-refused",
            "stolen-voucher-refused",
            "forged-presentation-refused",
            "other-hospital-refused",
            "replay-refused",
            "no-completion-by-others",
            "no-half-examination",
            "auditor-statistics",
            "auditor-findings",
            "auditor-verdict",
        ],
    },
    // Something else is shown, written or offered than what is.
    Row {
        misbehaviours: &[
            "programme-hidden",
            "repetitions-done-again",
            "information-lost",
            "members-keys-mixed",
            "pictures-cut",
            "states-guessed",
            "helpers-reason-lost",
            "full-slots-offered",
            "no-show-unwritten",
            "receipts-withheld",
            "redemptions-doubled",
            "document-in-log",
            "issuer-miscounts",
            "records-cut",
            "auditor-overlooks-a-log",
            "auditor-miscounts",
        ],
        noticed_by: &[
            "programmes-everywhere",
            "nothing-done-twice",
            "information-given",
            "voucher-qr-offline",
            "voucher-qr-picture",
            "four-states",
            "card-use-is-assisted",
            "full-slot-not-offered",
            "no-show-noted",
            "phone-has-receipt",
            "phone-says-expired",
            "redeemed-once",
            "no-personal-data-in-logs",
            "conservation",
            "redemption-proved-offline",
            "auditor-logs",
            "auditor-conservation",
        ],
    },
];

/// What a second start from a directory checks first.
const NOTICED_AGAIN: [&str; 2] = ["stores-kept", "redeemed-stays"];

/// What a run of misbehaving nodes should have shown and did not; empty if all is as it should be.
fn unnoticed(run: &Run, noticed_by: &[&str]) -> String {
    let missed: Vec<&str> = noticed_by.iter().copied().filter(|check| !run.failed(check)).collect();
    if !run.good && missed.is_empty() {
        return String::new();
    }
    format!("exit code 0: {}, not seen to fail: {missed:?}\n{}", run.good, run.story)
}

#[test]
fn a_node_that_misbehaves_is_noticed() {
    let rows = Mutex::new(TABLE.iter());
    let missed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(row) = { rows.lock().unwrap().next() } {
                    let dir = tempfile::tempdir().unwrap();
                    let run = run(dir.path(), row.misbehaviours);
                    missed.lock().unwrap().push(unnoticed(&run, row.noticed_by));
                }
            });
        }
    });
    let missed = missed.into_inner().unwrap().concat();
    assert!(missed.is_empty(), "{missed}");
}

#[test]
fn a_second_start_notices_what_was_lost() {
    let missed = unnoticed(&good_and_again().1, &NOTICED_AGAIN);
    assert!(missed.is_empty(), "{missed}");
}

#[test]
fn every_check_has_been_seen_to_fail() {
    let (good, again) = good_and_again();
    let made: BTreeSet<&str> = good.names().chain(again.names()).collect();
    let listed = TABLE.iter().flat_map(|row| row.noticed_by).chain(&NOTICED_AGAIN).copied();
    assert_eq!(listed.collect::<BTreeSet<_>>(), made, "left: seen to fail; right: checks of the story");
}
