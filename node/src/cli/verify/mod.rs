//! `verify`: everything again from the bytes up, of a stopped node's store, an export, a running node, or the proof of one record.

mod export;
mod fetch;
mod history;
mod logs;
mod proof;
mod store;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use actors::auditor::report::Report;
use actors::auditor::verify::{Comparison, Verified};
use domain::ids::{Digest, InstitutionId};
use ledger::key::NoteVerifier;
use ledger::policy::Policy;
use serde::Serialize;

pub(super) use self::logs::LogVerdict;
use self::logs::MAX_LISTED;
use super::account::read_password;
use super::node::Node;
use super::output::{say, say_json, table};
use super::state;
use super::store::NotOpened;
use super::{BAD, GOOD, NOT_DONE, run};

#[cfg(test)]
pub(super) use self::export::judge as judge_export;
pub(super) use self::store::judge;

const AFTER_HELP: &str = "\
Examples:
  voucher-node verify --config /srv/voucher/gulou/node.toml
  voucher-node verify /srv/export --key \"$REGISTRAR_VKEY\" --json > verdict.json
  voucher-node verify https://gulou.example --key \"$REGISTRAR_VKEY\" --keep /srv/export
  voucher-node verify 17.tlog-proof --policy federation.policy

A store (--config) needs its node stopped. For each log every entry is hashed again and compared with the signed head and with
the tiles that the node serves, the signature is checked, and every record is read in its one canonical form. Then all records are
folded again and compared with the stored state row by row. Private rows (openings, contacts) are in no log and not judged.
Opening replays the tail of the journal into the store, as a start does; nothing else is written.

An export is judged by the key of the registrar's log alone: whose key may sign which log, its records say. Every file of every log
is checked, all records are folded from nothing, and the figures that were published are counted again. A running node's logs are
fetched first, its own and those that it mirrors.

A proof (C2SP tlog-proof) of one record is judged by its log's key, or by a policy that names the key. It carries the record; --id
says which one it must be. No node and no network is needed.

Exit code 0: all of it is as it should be. 1: something is not. 2: it could not be judged.";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct VerifyArgs {
    /// The directory of an export, the base URL of a running node, or the file of a proof; - for a proof on standard input
    #[arg(value_name = "EXPORT|URL|PROOF", required_unless_present = "config")]
    target: Option<PathBuf>,
    /// A stopped node's configuration: its store
    #[arg(long, value_name = "FILE", conflicts_with = "target")]
    config: Option<PathBuf>,
    /// Of an export or a node the key of the registrar's log, of a proof that of its log; several, if it was replaced
    #[arg(long, value_name = "VKEY", conflicts_with = "config")]
    key: Vec<NoteVerifier>,
    /// The logs and witnesses that are trusted, and how many of these must have cosigned (C2SP tlog-policy)
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    policy: Option<PathBuf>,
    /// Which record a proof must be of: its id, 64 hexadecimal digits
    #[arg(long, value_name = "ID", conflicts_with_all = ["config", "record"])]
    id: Option<Digest>,
    /// Which record a proof must be of: the record itself, as GET /v1/records/{position} answered
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    record: Option<PathBuf>,
    /// Where what a node answered is kept, as an export; the same again fetches only what has grown
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    keep: Option<PathBuf>,
    /// The authority of the node's certificate, PEM: keys/authority.pem of the node
    #[arg(long, value_name = "FILE", env = "VOUCHER_NODE_CA")]
    ca: Option<PathBuf>,
    /// A file with a token of an operator of the node, or - for standard input; logs that are public need none
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The verdict on logs as JSON
    #[arg(long)]
    json: bool,
}

/// The verdict on a store or an export.
#[derive(Debug, Default, Serialize)]
pub(super) struct Verdict {
    /// Nothing is wrong.
    pub good: bool,
    /// Everything could be judged.
    pub complete: bool,
    /// Log by log.
    pub logs: Vec<LogVerdict>,
    /// The stored state against the records.
    pub state: Comparison,
    /// Rows of the state that differ, in words.
    pub rows: Vec<String>,
    /// What the records come to, as an auditor reports it.
    pub report: Option<Report>,
    /// What is wrong, in words.
    pub faults: Vec<String>,
    /// What else an operator may want to know.
    pub notes: Vec<String>,
}

pub(super) fn verify(args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let verdict = match (&args.config, &args.target) {
        (Some(config), _) => {
            let config = run::load(config)?;
            match super::store::open(&config) {
                Ok(opened) => store::judge(&config, &opened),
                Err(NotOpened::Damaged(why)) => Verdict { complete: true, faults: vec![why], ..Verdict::default() },
                Err(error) => return Err(error.into()),
            }
        }
        (None, Some(url)) if is_url(url) => {
            let (anchor, policy) = trust(args)?;
            let token = args.token_file.as_deref().map(read_password).transpose()?;
            let node = Node::at(&url.to_string_lossy(), args.ca.as_deref(), token)?;
            // Where nobody wants the files, they go when they are judged.
            let scratch = tempfile::tempdir()?;
            let dir = args.keep.as_deref().unwrap_or(scratch.path());
            fetch::fetch(&node, &anchor, dir)?;
            export::judge(dir, &anchor, policy)?
        }
        (None, Some(dir)) if dir.is_dir() => {
            let (anchor, policy) = trust(args)?;
            export::judge(dir, &anchor, policy)?
        }
        (None, Some(file)) => return proof::verify(file, args),
        (None, None) => anyhow::bail!("a store (--config), an export, a node or a proof is needed"),
    };
    if args.json {
        say_json(&verdict)?;
    } else {
        say(&page(&verdict));
    }
    Ok(ExitCode::from(match (verdict.good, verdict.complete) {
        (false, _) => BAD,
        (true, false) => NOT_DONE,
        (true, true) => GOOD,
    }))
}

fn is_url(target: &Path) -> bool {
    let text = target.to_string_lossy();
    text.starts_with("http://") || text.starts_with("https://")
}

/// The keys of logs that are trusted: those given, and those of the policy.
fn keys(args: &VerifyArgs, policy: &Policy) -> Vec<NoteVerifier> {
    args.key.iter().chain(policy.logs().map(|party| &party.verifier)).cloned().collect()
}

/// The keys that may be the registrar's, and the policy.
fn trust(args: &VerifyArgs) -> anyhow::Result<(Vec<NoteVerifier>, Policy)> {
    let policy = policy(args.policy.as_deref())?;
    let anchor = keys(args, &policy);
    anyhow::ensure!(!anchor.is_empty(), "--key or --policy: the key of the registrar's log is needed");
    Ok((anchor, policy))
}

/// Takes over what folding again came to.
fn take_over(verdict: &mut Verdict, verified: Verified) {
    let Verified { report, state, statistics, statistics_checked, .. } = verified;
    for key in &state.keys {
        let key = hex::decode(key).unwrap_or_default();
        verdict.rows.push(format!("{} is not what the records say", state::name_of(&key)));
    }
    verdict.faults.extend(verdict.rows.iter().take(MAX_LISTED).cloned());
    let more = state.differing.saturating_sub(MAX_LISTED as u64);
    if more > 0 {
        verdict.faults.push(format!("and {more} more rows of the state"));
    }
    for programme in report.programmes.iter().filter(|programme| !programme.holds) {
        let name = programme.short.clone().unwrap_or_else(|| programme.programme.to_string());
        verdict.faults.push(format!("programme {name}: what came in is not what stands, was voided and was redeemed"));
    }
    for (issuer, index, _) in &statistics {
        verdict.faults.push(format!("the figures published in {issuer}.{index} are not what the records say"));
    }
    for log in report.logs.iter().filter(|log| log.forked_at.is_some()) {
        verdict.notes.push(format!("{} has shown two histories; the proof is kept", log.institution));
    }
    if statistics_checked > 0 {
        verdict.notes.push(format!("{statistics_checked} published tables of figures were counted again"));
    }
    verdict.state = state;
    verdict.report = Some(report);
}

/// Takes over the verdicts on logs.
fn take_over_logs(verdict: &mut Verdict, judged: Vec<LogVerdict>) {
    for log in judged {
        verdict.complete &= !log.upgrade_needed;
        if log.upgrade_needed {
            verdict.notes.push(format!("{} has records that need a newer program to be judged", log.institution));
        }
        let more = log.faults - log.listed.len();
        verdict.faults.extend(log.listed.iter().map(|fault| format!("{}: {fault}", log.institution)));
        if more > 0 {
            verdict.faults.push(format!("{}: and {more} more", log.institution));
        }
        verdict.logs.push(log);
    }
}

/// A policy's file; without one nobody is known and no cosignature asked for.
fn policy(file: Option<&Path>) -> anyhow::Result<Policy> {
    file.map(proof::policy).transpose().map(Option::unwrap_or_default)
}

fn page(verdict: &Verdict) -> String {
    let mut text = String::new();
    if !verdict.logs.is_empty() {
        let heading = ["log", "entries", "signed", "not counting", "faults", "root"];
        let mut rows = vec![heading.map(str::to_owned).to_vec()];
        let reports = verdict.report.iter().flat_map(|report| &report.logs);
        let broken: BTreeMap<InstitutionId, u64> =
            reports.map(|log| (log.institution, log.not_counting.values().sum())).collect();
        rows.extend(verdict.logs.iter().map(|log| {
            let broken = broken.get(&log.institution).copied().unwrap_or_default();
            let numbers = [log.entries, log.signed, broken, log.faults as u64].map(|n| n.to_string());
            [vec![log.institution.to_string()], numbers.to_vec(), vec![log.root.clone()]].concat()
        }));
        text.push_str(&table(&rows));
        let Comparison { rows, differing, .. } = verdict.state;
        if rows > 0 {
            let _ = writeln!(text, "\nstate: {rows} rows compared with the records folded again, {differing} differ");
        }
    }
    for note in &verdict.notes {
        let _ = writeln!(text, "note:  {note}");
    }
    for fault in &verdict.faults {
        let _ = writeln!(text, "FAULT: {fault}");
    }
    text.push_str(match (verdict.good, verdict.complete) {
        (false, _) => "\nNOT GOOD: see the faults above, and docs/operating/commands.md on what to do\n",
        (true, false) => "\nas far as this program can judge, everything is good\n",
        (true, true) => "\neverything is good\n",
    });
    text
}
