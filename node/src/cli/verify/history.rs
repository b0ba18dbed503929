//! A voucher's history with its proofs, checked offline: that each record stands where it says, and follows the one before it.

use std::fmt::Write as _;

use anyhow::Context as _;
use domain::ids::{Digest, InstitutionId, RecordName, VoucherId};
use domain::record::{Body, Record};
use ledger::key::NoteVerifier;
use ledger::merkle::leaf_hash;
use ledger::note::Note;
use ledger::policy::Policy;
use ledger::proof::TlogProof;
use serde::Deserialize;

use super::logs::cosigned_by;
use crate::cli::output::table;
use crate::cli::parquet::name_of;

/// Longest history, in bytes.
pub(super) const MAX_HISTORY_BYTES: usize = 16 * 1024 * 1024;

/// What is needed of `GET /v1/vouchers/{voucher}/history?proofs=true`. What else stands there is only said.
#[derive(Deserialize)]
struct History {
    voucher: VoucherId,
    path: Vec<Step>,
    aside: Vec<Step>,
    notes: Vec<Step>,
    not_proved: Vec<String>,
}

/// A record of a history.
#[derive(Deserialize)]
struct Step {
    name: Name,
    proof: Option<String>,
}

/// A record's name as REST says it.
#[derive(Deserialize)]
struct Name {
    institution: InstitutionId,
    index: u64,
    id: Digest,
}

/// What is about a voucher: a step of its chain with the record before it, or a note.
enum About {
    Chain { prev: Option<RecordName>, step: String },
    Note,
}

/// Judges a history: what there is to say, and whether all of it is proved.
///
/// # Errors
///
/// It is no history.
pub(super) fn judge(file: &[u8], keys: &[NoteVerifier], policy: &Policy) -> anyhow::Result<(String, bool)> {
    let History { voucher, path, aside, notes, not_proved } =
        serde_json::from_slice(file).context("it is neither a proof nor a history")?;
    let mut rows = vec![["record", "at", "what", "cosigned by"].map(str::to_owned).to_vec()];
    let mut faults = Vec::new();
    let mut before: Option<RecordName> = None;
    let groups = [("path", path), ("aside", aside), ("notes", notes)];
    for (group, steps) in groups {
        for (n, Step { name, proof }) in steps.into_iter().enumerate() {
            let Name { institution, index, id } = name;
            let name = RecordName { institution, index, id };
            let place = format!("{group}[{n}] {institution}.{index}");
            match proved(&name, proof.as_deref(), voucher, keys, policy) {
                Err(why) => faults.push(format!("{place}: {why:#}")),
                Ok((record, about, by)) => {
                    let what = match about {
                        About::Chain { prev, .. } if group == "path" && prev != before => {
                            faults.push(format!("{place}: it does not follow the record before it"));
                            continue;
                        }
                        About::Chain { step, .. } if group != "notes" => step,
                        About::Note if group == "notes" => "note".to_owned(),
                        About::Chain { .. } | About::Note => {
                            faults.push(format!("{place}: it is of another kind"));
                            continue;
                        }
                    };
                    let what = if group == "aside" { format!("{what}, does not count") } else { what };
                    rows.push(vec![format!("{institution}.{index}"), record.at.to_string(), what, by.join(", ")]);
                }
            }
            if group == "path" {
                before = Some(name);
            }
        }
    }
    let mut text = format!("voucher {voucher}\n\n{}", table(&rows));
    for fault in &faults {
        let _ = writeln!(text, "FAULT: {fault}");
    }
    text.push_str(match faults.is_empty() {
        true => "\nevery record stands in its log, and each follows the one before it. This does not prove:\n",
        false => "\nNOT PROVED\n",
    });
    for line in not_proved.iter().filter(|_| faults.is_empty()).take(16) {
        let _ = writeln!(text, "  - {line}");
    }
    Ok((text, faults.is_empty()))
}

/// The record that a proof carries, if it stands where the history says.
fn proved(
    name: &RecordName,
    proof: Option<&str>,
    voucher: VoucherId,
    keys: &[NoteVerifier],
    policy: &Policy,
) -> anyhow::Result<(Record, About, Vec<String>)> {
    let proof = TlogProof::parse(proof.context("it has no proof: ask for the history with proofs=true")?)?;
    let bytes = proof.extra.as_deref().context("its proof carries no record")?;
    let leaf = leaf_hash(bytes);
    anyhow::ensure!(Digest(leaf.0) == name.id && proof.index == name.index, "its proof is of another record");
    let origin = Note::parse(&proof.checkpoint)?.claimed_origin().to_owned();
    let of_log: Vec<NoteVerifier> = keys.iter().filter(|key| key.name() == origin).cloned().collect();
    anyhow::ensure!(!of_log.is_empty(), "no key of the log {origin} is known");
    let (_, note) = proof.verify_note(&leaf, &origin, &of_log, policy)?;
    let record: Record = ledger::record::decode_record(bytes)?;
    let is_there = (record.institution, record.index) == (name.institution, name.index)
        && origin.rsplit('/').next() == Some(name.institution.as_str());
    anyhow::ensure!(is_there, "the record says that it stands elsewhere");
    let (of, about) = match &record.body {
        Body::Chain(chain) => {
            (chain.voucher, About::Chain { prev: chain.prev, step: name_of(&chain.step).unwrap_or_default() })
        }
        Body::Note(note) => (note.voucher, About::Note),
        _ => anyhow::bail!("it is about no voucher"),
    };
    anyhow::ensure!(of == voucher, "it is about another voucher");
    Ok((record, about, cosigned_by(&note)))
}
