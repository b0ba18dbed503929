//! `verify-proof`: one record's place in a log, checked offline by a key or a policy alone.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use domain::ids::Digest;
use ledger::checkpoint::Checkpoint;
use ledger::key::NoteVerifier;
use ledger::merkle::{Hash, leaf_hash};
use ledger::note::{Note, from_base64};
use ledger::policy::{MAX_POLICY_BYTES, Policy};
use ledger::proof::{MAX_PROOF_BYTES, TlogProof};
use serde::Deserialize;

use super::output::say;
use super::{BAD, GOOD};

/// Longest answer about a record that is read, in bytes: a record in base64, and again as JSON.
const MAX_RECORD_ANSWER_BYTES: usize = 256 * 1024;

const AFTER_HELP: &str = "\
Examples:
  voucher-node verify-proof 17.proof --key \"$VKEY\" --id 4f1c…e2
  voucher-node verify-proof 17.proof --key \"$VKEY\" --record 17.json
  curl -fsS $URL/v1/records/my-health.17/proof | voucher-node verify-proof - --key \"$VKEY\" --id 4f1c…e2

A proof (C2SP tlog-proof) says where a record stands under a signed head; it does not carry the record. What it is about is
named by the record's id, as every receipt has it, or given whole, as GET /v1/records/{position} answers it. No node and no
network is needed. The key is the log's own: `log_vkey` in GET /v1/members, got in a way that nobody can tamper with.

Exit code 0: the record stands in that log, in that place, under a head that the key has signed. 1: it does not. 2: it could
not be judged: no such file, or a file that is no proof.";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct ProofArgs {
    /// The proof; - for standard input
    #[arg(value_name = "FILE")]
    proof: PathBuf,
    /// The log's verification key; several, if it was replaced
    #[arg(long, value_name = "VKEY", required_unless_present = "policy")]
    key: Vec<NoteVerifier>,
    /// The logs and witnesses that are trusted, and how many of these must have cosigned (C2SP tlog-policy)
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// The record's id, 64 hexadecimal digits
    #[arg(long, value_name = "ID", required_unless_present = "record", conflicts_with = "record")]
    id: Option<Digest>,
    /// The record itself, as GET /v1/records/{position} answered
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
}

/// What is needed of the answer about a record: its bytes. What else stands there is only said.
#[derive(Deserialize)]
struct Answered {
    bytes: String,
}

pub(super) fn verify_proof(args: &ProofArgs) -> anyhow::Result<ExitCode> {
    let policy = args.policy.as_deref().map(policy).transpose()?.unwrap_or_default();
    let leaf = match (&args.id, &args.record) {
        (Some(id), _) => Hash(id.0),
        (None, Some(file)) => leaf_of(file)?,
        (None, None) => anyhow::bail!("--id or --record says which record it is about"),
    };
    let proof = TlogProof::parse(read(&args.proof, MAX_PROOF_BYTES)?)
        .with_context(|| format!("{} cannot be judged", args.proof.display()))?;
    // A file whose head is no signed note, such as one with a line too many, is no proof; it proves nothing false either.
    let note = Note::parse(&proof.checkpoint).with_context(|| format!("{} cannot be judged", args.proof.display()))?;
    // A policy may know several logs: the proof says of which one it is, and then only that one's keys count.
    let origin = args.key.first().map_or(note.claimed_origin(), NoteVerifier::name);
    ensure!(args.key.iter().all(|key| key.name() == origin), "--key: the keys are of different logs");
    let named = policy.logs().map(|party| &party.verifier).filter(|key| key.name() == origin);
    let keys: Vec<NoteVerifier> = args.key.iter().chain(named).cloned().collect();
    let (said, code) = match proof.verify(&leaf, origin, &keys, &policy) {
        Ok(head) => {
            let place =
                format!("it stands in {origin} as entry {} of {}, under a good signature", proof.index, head.size);
            (place + &cosigned(&proof, origin, keys, &policy), GOOD)
        }
        Err(error) => (format!("NOT PROVED: entry {} of {origin}: {error}", proof.index), BAD),
    };
    say(&format!("{said}\n"));
    Ok(ExitCode::from(code))
}

/// Which witnesses of the policy have cosigned, in words.
fn cosigned(proof: &TlogProof, origin: &str, mut keys: Vec<NoteVerifier>, policy: &Policy) -> String {
    keys.extend(policy.witnesses().map(|party| party.verifier.clone()));
    let Ok((_, note)) = Checkpoint::open_note(&proof.checkpoint, origin, &keys) else { return String::new() };
    let witnesses = note.signatures().iter().filter(|signature| signature.seconds.is_some());
    let names: Vec<&str> = witnesses.map(|signature| signature.verifier.name()).collect();
    if names.is_empty() { String::new() } else { format!(", cosigned by {}", names.join(", ")) }
}

fn policy(file: &Path) -> anyhow::Result<Policy> {
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
