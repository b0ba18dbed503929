//! Names of records: whether what is named is held, stands where it is said to stand, and when it was written.

use domain::custody::{self, Names};
use domain::ids::{Digest, RecordName};
use domain::record::ChainRecord;
use domain::time::Timestamp;

use super::Work;

/// What is known of one name.
enum Known {
    Held(Timestamp),
    NotYet,
    Wrong,
}

fn look(work: &Work<'_>, own: RecordName, name: &RecordName) -> Known {
    if name.institution == own.institution && name.index >= own.index {
        return Known::Wrong; // a record cannot name itself or what comes after it
    }
    if let Some(at) = work.tx.remembered(name) {
        return Known::Held(at);
    }
    if work.cursor(name.institution).next <= name.index {
        return Known::NotYet;
    }
    let Some(bytes) = work.tx.entry(name.institution, name.index) else { return Known::NotYet };
    if Digest(ledger::merkle::leaf_hash(&bytes).0) != name.id {
        return Known::Wrong;
    }
    match ledger::record::decode_record::<domain::record::Record>(&bytes) {
        Ok(record) => {
            work.tx.remember(*name, record.at);
            Known::Held(record.at)
        }
        Err(_) => Known::Wrong,
    }
}

/// Whether a record is held that stands where its name says.
pub(super) fn is_held(work: &Work<'_>, own: RecordName, name: &RecordName) -> bool {
    matches!(look(work, own, name), Known::Held(_))
}

/// Resolves what a chain record names. The second part lists what is missing.
pub(super) fn resolve(work: &Work<'_>, own: RecordName, chain: &ChainRecord) -> (Names, Vec<RecordName>) {
    let in_step = custody::named_in(&chain.step);
    let mut times = Vec::with_capacity(in_step.len());
    let mut missing = Vec::new();
    let others = chain.prev.iter().chain(std::iter::once(&chain.registrar)).map(|n| (n, false));
    for (name, is_position) in others.chain(in_step.iter().map(|n| (n, true))) {
        match look(work, own, name) {
            Known::Held(at) if is_position => times.push(at),
            Known::Held(_) => {}
            Known::NotYet => missing.push(*name),
            Known::Wrong => return (Names::Wrong, Vec::new()),
        }
    }
    if missing.is_empty() { (Names::Held(times), missing) } else { (Names::Waiting, missing) }
}
