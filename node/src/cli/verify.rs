//! `verify`: everything that a stopped node has on disk, checked again from the bytes up.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use actors::auditor::recount::NotHeld;
use actors::auditor::report::Report;
use actors::auditor::verify::{Comparison, Verified, registry_at, verify_store};
use domain::ids::InstitutionId;
use domain::member::Registry;
use domain::record::Record;
use domain::time::Timestamp;
use indicatif::ProgressBar;
use ledger::checkpoint::Checkpoint;
use ledger::key::NoteVerifier;
use ledger::merkle::{EMPTY_ROOT, Hash, leaf_hash};
use ledger::record::DecodeError;
use ledger::tile::{TILE_WIDTH, Tiles};
use rayon::prelude::*;
use serde::Serialize;
use voucher_node::config::Config;
use voucher_node::peers;

use super::output::{progress, say, say_json, table};
use super::state;
use super::store::{self, NotOpened, Opened};
use super::{BAD, GOOD, NOT_DONE, run};

/// Faults that are listed of each log; the others are counted.
const MAX_LISTED: usize = 20;

const AFTER_HELP: &str = "\
Examples:
  voucher-node verify --config /srv/voucher/gulou/node.toml
  voucher-node verify --config node.toml --json > verdict.json

It needs the node stopped. For each log it hashes every entry again, compares with the signed head and with the tiles
that the node serves, checks the signature, and reads every record in its one canonical form. Then it folds all records
again and compares with the stored state row by row. Private rows (openings, contacts) are in no log and not judged.
Opening replays the tail of the journal into the store, as a start does; nothing else is written.

Exit code 0: all of it is as it should be. 1: something is not. 2: it could not be judged.";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct VerifyArgs {
    /// The node's configuration
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The verdict as JSON
    #[arg(long)]
    json: bool,
}

/// The verdict on a store.
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

/// The verdict on a log.
#[derive(Debug, Serialize)]
pub(super) struct LogVerdict {
    /// Whose log.
    pub institution: InstitutionId,
    /// Its name.
    pub origin: String,
    /// Entries held.
    pub entries: u64,
    /// Entries under the newest signed head of which all are held.
    pub signed: u64,
    /// The root over all entries held, base64, computed from their bytes.
    pub root: String,
    /// The next record has a format that this program does not know.
    pub upgrade_needed: bool,
    /// How many things are wrong with it.
    pub faults: usize,
    #[serde(skip)]
    listed: Vec<String>,
}

pub(super) fn verify(args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let config = run::load(&args.config)?;
    let verdict = match store::open(&config) {
        Ok(opened) => judge(&config, &opened),
        Err(NotOpened::Damaged(why)) => Verdict { complete: true, faults: vec![why], ..Verdict::default() },
        Err(error) => return Err(error.into()),
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

/// Judges an opened store.
pub(super) fn judge(config: &Config, opened: &Opened) -> Verdict {
    let mut verdict = Verdict { complete: true, ..Verdict::default() };
    if let Some(why) = &opened.report.rebuilt {
        verdict.faults.push(format!("the store was damaged ({why}); it was set aside and rebuilt from the journal"));
    }
    if opened.report.torn_bytes > 0 {
        let torn = opened.report.torn_bytes;
        verdict.notes.push(format!("{torn} bytes of a torn last write at the journal's end were cut off"));
    }
    if let Err(why) = opened.reading(|| look(config, opened, &mut verdict)) {
        verdict.faults.push(format!("the store cannot be read ({why}). {}", store::SET_ASIDE));
    }
    verdict.good = verdict.faults.is_empty();
    verdict
}

fn look(config: &Config, opened: &Opened, verdict: &mut Verdict) {
    let institutions = opened.institutions();
    let sizes = sizes(opened, &institutions, verdict);
    let bar = progress("folding again", sizes.iter().map(|(_, size)| size).sum());
    let folded = verify_store(&opened.logs, &opened.settings, &sizes);
    bar.finish_and_clear();
    let registry = match folded {
        Ok(verified) => {
            let registry = registry(opened, &sizes, &verified);
            take_over(verdict, verified);
            registry
        }
        Err(missing) => Err(missing),
    };
    let registry = registry.map_err(|missing| verdict.faults.push(missing.to_string())).ok();
    if registry.is_none() {
        verdict.complete = false;
        verdict.notes.push("whose key may sign which log cannot be said: no signed head was checked".to_owned());
    }
    let bar = progress("hashing and reading", institutions.iter().map(|id| opened.size(*id)).sum());
    let judged: Vec<LogVerdict> = institutions
        .par_iter()
        .map(|institution| {
            let keys = registry.as_ref().map(|registry| keys_of(config, opened, registry, *institution));
            judge_log(opened, *institution, keys.as_deref(), &bar)
        })
        .collect();
    bar.finish_and_clear();
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
    if let Some(registry) = registry
        && let Ok(configured) = config.registrar.log_vkey.parse::<NoteVerifier>()
        && !keys_of(config, opened, &registry, opened.settings.registrar).contains(&configured)
    {
        let whose = opened.settings.registrar;
        verdict.faults.push(format!("{whose}: its log never had the key of registrar.log_vkey"));
    }
}

/// Members as all records of the registrar say that are here. The stored state may be behind them: a store that was set
/// aside has folded nothing yet.
fn registry(opened: &Opened, sizes: &[(InstitutionId, u64)], verified: &Verified) -> Result<Arc<Registry>, NotHeld> {
    let registrar = opened.settings.registrar;
    let held = opened.size(registrar);
    if sizes.contains(&(registrar, held)) {
        return Ok(verified.registry.clone());
    }
    registry_at(&opened.logs, &opened.settings, held)
}

/// Up to where the stored state has folded each log.
fn sizes(opened: &Opened, institutions: &[InstitutionId], verdict: &mut Verdict) -> Vec<(InstitutionId, u64)> {
    let mut sizes = Vec::new();
    for institution in institutions {
        let held = opened.size(*institution);
        let Some(cursor) = state::cursor(&opened.logs, *institution) else {
            verdict.faults.push(format!("the row that says how far {institution} is folded cannot be read"));
            sizes.push((*institution, held));
            continue;
        };
        match held.checked_sub(cursor.next) {
            None => verdict.faults.push(format!(
                "the state has folded {} records of {institution}, and only {held} are here",
                cursor.next
            )),
            Some(0) => {}
            Some(_) if cursor.upgrade_needed => {}
            Some(behind) => verdict
                .notes
                .push(format!("{behind} records of {institution} are not folded yet; the next start folds them")),
        }
        // The record at which a fold stops leaves its mark in the state too.
        let folded = cursor.next.saturating_add(u64::from(cursor.upgrade_needed));
        sizes.push((*institution, folded.min(held)));
    }
    sizes
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

/// The keys that may have signed a log's head.
fn keys_of(config: &Config, opened: &Opened, registry: &Registry, institution: InstitutionId) -> Vec<NoteVerifier> {
    match registry.member(institution) {
        Some(member) => peers::log_keys(member),
        None if institution == opened.settings.me => vec![opened.own_key.clone()],
        None if institution == opened.settings.registrar => config.registrar.log_vkey.parse().into_iter().collect(),
        None => Vec::new(),
    }
}

/// Judges one log, from the bytes of its entries up; its signature where it is known whose keys may have made it.
fn judge_log(
    opened: &Opened,
    institution: InstitutionId,
    keys: Option<&[NoteVerifier]>,
    bar: &ProgressBar,
) -> LogVerdict {
    let ledger = &opened.logs.ledger;
    let origin = opened.logs.origin(institution);
    let head = ledger.head(&origin);
    let entries = ledger.accepted_size(&origin);
    let signed = head.as_ref().map_or(0, |head| head.checkpoint.size);
    let mut log = LogVerdict {
        institution,
        origin: origin.clone(),
        entries,
        signed,
        root: String::new(),
        upgrade_needed: false,
        faults: 0,
        listed: Vec::new(),
    };
    let head_is_missing = head.is_none() && entries > 0;
    let mut tree = Tiles::new();
    let mut signed_root = EMPTY_ROOT;
    let mut last_at = Timestamp::MIN;
    let mut index = 0;
    while index < entries {
        let chunk = ledger.entries(&origin, index, TILE_WIDTH);
        if chunk.is_empty() {
            log.fault(format!("entry {index} is missing"));
            break;
        }
        let hashes: Vec<Hash> = chunk.iter().map(|entry| leaf_hash(entry)).collect();
        if let (TILE_WIDTH, Some(tile)) = (chunk.len(), ledger.tile(&origin, 0, index / TILE_WIDTH as u64, 256))
            && tile != hashes.iter().flat_map(|hash| hash.0).collect::<Vec<u8>>()
        {
            log.fault(format!("the tile over entries {index} and following is not theirs"));
        }
        for (entry, hash) in chunk.iter().zip(hashes) {
            tree.push(hash);
            if tree.size() == signed {
                signed_root = tree.root();
            }
            log.read(entry, index, &mut last_at);
            index += 1;
        }
        // Full tiles are compared above and not kept.
        drop(tree.take_full());
        bar.inc(chunk.len() as u64);
    }
    log.root = tree.root().to_base64();
    if ledger.root_at(&origin, entries) != Some(tree.root()) {
        log.fault("the tree that it serves is not that of its entries".to_owned());
    }
    match head.zip(keys) {
        None if head_is_missing => log.fault("no signed head covers its entries".to_owned()),
        None => {}
        Some((_, [])) => log.fault("it belongs to no member, so nobody's key can have signed it".to_owned()),
        Some((head, keys)) => match Checkpoint::open(head.note.as_bytes(), &origin, keys) {
            Err(error) => log.fault(format!("its signed head is not good: {error}")),
            Ok(said) if said.size != signed || said.root != signed_root => {
                log.fault(format!("its signed head over {signed} entries is not the root of its entries"));
            }
            Ok(_) => {}
        },
    }
    log
}

impl LogVerdict {
    fn fault(&mut self, text: String) {
        self.faults += 1;
        if self.listed.len() < MAX_LISTED {
            self.listed.push(text);
        }
    }

    /// Reads a record in its place.
    fn read(&mut self, entry: &[u8], index: u64, last_at: &mut Timestamp) {
        if self.upgrade_needed {
            return;
        }
        match ledger::record::decode_record::<Record>(entry) {
            Err(DecodeError::UnknownVersion(_)) => self.upgrade_needed = true,
            Err(error) => self.fault(format!("record {index} is not a canonical record: {error}")),
            Ok(record) if (record.institution, record.index) != (self.institution, index) => {
                self.fault(format!("record {index} says that it is {}.{}", record.institution, record.index));
            }
            Ok(record) if record.at < *last_at => {
                self.fault(format!("record {index} is dated {} after one of {last_at}", record.at));
            }
            Ok(record) => *last_at = record.at,
        }
    }
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
        let _ = writeln!(text, "\nstate: {rows} rows compared with the records folded again, {differing} differ");
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
