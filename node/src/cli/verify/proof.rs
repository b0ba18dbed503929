//! One record's place in a log, checked offline by a key or a policy alone.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use domain::record::Record;
use ledger::key::NoteVerifier;
use ledger::merkle::{Hash, leaf_hash};
use ledger::note::{Note, VerifiedNote, from_base64};
use ledger::policy::{MAX_POLICY_BYTES, Policy};
use ledger::proof::TlogProof;
use ledger::record::decode_record;
use serde::Deserialize;

use super::VerifyArgs;
use super::history::{self, MAX_HISTORY_BYTES};
use super::logs::cosigned_by;
use crate::cli::output::say;
use crate::cli::{BAD, GOOD};

/// Longest answer about a record that is read, in bytes: a record in base64, and again as JSON.
const MAX_RECORD_ANSWER_BYTES: usize = 256 * 1024;

/// What is needed of the answer about a record: its bytes. What else stands there is only said.
#[derive(Deserialize)]
struct Answered {
    bytes: String,
}

/// Judges the proof in a file, and says what it proves.
pub(super) fn verify(file: &Path, args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let policy = super::policy(args.policy.as_deref())?;
    ensure!(args.policy.is_some() || !args.key.is_empty(), "--key or --policy: the key of the proof's log is needed");
    ensure!(!args.json, "--json is for the verdict on a store or an export");
    let no_proof = || format!("{} cannot be judged", file.display());
    let bytes = read(file, MAX_HISTORY_BYTES)?;
    if bytes.first() == Some(&b'{') {
        let keys = super::keys(args, &policy);
        let (said, is_proved) = history::judge(&bytes, &keys, &policy).with_context(no_proof)?;
        say(&said);
        return Ok(ExitCode::from(if is_proved { GOOD } else { BAD }));
    }
    let proof = TlogProof::parse(bytes).with_context(no_proof)?;
    // A file whose head is no signed note, such as one with a line too many, is no proof; it proves nothing false either.
    let note = Note::parse(&proof.checkpoint).with_context(no_proof)?;
    let leaf = match (&args.id, &args.record, &proof.extra) {
        (Some(id), ..) => Hash(id.0),
        (None, Some(file), _) => leaf_of(file)?,
        (None, None, Some(bytes)) => leaf_hash(bytes),
        (None, None, None) => bail!("{} carries no record: --id or --record says which it must be of", file.display()),
    };
    // A policy may know several logs: the proof says of which one it is, and then only that one's keys count.
    let origin = args.key.first().map_or(note.claimed_origin(), NoteVerifier::name);
    ensure!(args.key.iter().all(|key| key.name() == origin), "--key: the keys are of different logs");
    let keys: Vec<NoteVerifier> = super::keys(args, &policy).into_iter().filter(|key| key.name() == origin).collect();
    let (said, code) = match proof.verify_note(&leaf, origin, &keys, &policy) {
        Ok((head, note)) => {
            let place =
                format!("it stands in {origin} as entry {} of {}, under a good signature", proof.index, head.size);
            let carried = proof.extra.as_deref().filter(|bytes| leaf_hash(bytes) == leaf);
            (place + &cosigned(&note) + &carried.map(described).unwrap_or_default(), GOOD)
        }
        Err(error) => (format!("NOT PROVED: entry {} of {origin}: {error}", proof.index), BAD),
    };
    say(&format!("{said}\n"));
    Ok(ExitCode::from(code))
}

/// What a proved record says, in words and whole.
fn described(bytes: &[u8]) -> String {
    let id = hex::encode(leaf_hash(bytes).0);
    match decode_record::<Record>(bytes) {
        Ok(record) => {
            let json = serde_json::to_string_pretty(&record.body).unwrap_or_default();
            format!("\nrecord {id}\nwritten by {} at {}\n{json}", record.institution, record.at)
        }
        Err(error) => format!("\nrecord {id}, which this program cannot read: {error}"),
    }
}

/// Which witnesses of the policy have cosigned, in words.
fn cosigned(note: &VerifiedNote) -> String {
    let names = cosigned_by(note);
    if names.is_empty() { String::new() } else { format!(", cosigned by {}", names.join(", ")) }
}

/// Reads a policy.
pub(super) fn policy(file: &Path) -> anyhow::Result<Policy> {
    let no_policy = || format!("{} is no policy", file.display());
    let text = String::from_utf8(read(file, MAX_POLICY_BYTES)?).with_context(no_policy)?;
    text.parse().with_context(no_policy)
}

fn leaf_of(file: &Path) -> anyhow::Result<Hash> {
    let no_record = || format!("{} is no answer about a record", file.display());
    let answered: Answered = serde_json::from_slice(&read(file, MAX_RECORD_ANSWER_BYTES)?).with_context(no_record)?;
    let bytes = from_base64(&answered.bytes).with_context(no_record)?;
    Ok(leaf_hash(&bytes))
}

/// Reads a file up to a limit and a byte more, so that what is too long is told.
fn read(path: &Path, limit: usize) -> anyhow::Result<Vec<u8>> {
    let input: Box<dyn Read> = if path.as_os_str() == "-" {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(File::open(path).with_context(|| format!("{} cannot be read", path.display()))?)
    };
    let mut bytes = Vec::new();
    let read = input.take(limit as u64 + 1).read_to_end(&mut bytes);
    read.with_context(|| format!("{} cannot be read", path.display()))?;
    ensure!(bytes.len() <= limit, "{} has more than {limit} bytes", path.display());
    Ok(bytes)
}
