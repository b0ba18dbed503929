//! `restore`: a node's store made again from a backup, or from an export of anybody who mirrors its log.
//!
//! ```text
//!   source ─► store.dir/restoring: copied or fetched, hashed ─► opened and judged as `verify` does ─► store.dir/journal
//! ```
//!
//! The journal gets its name last, so what was broken off is begun again. Nothing is written to the log here: the marker of
//! this boot goes, and the next start asks the other members first what they hold of it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use actors::kv::Base as _;
use actors::writer::{Logs, Writer};
use anyhow::{Context as _, bail, ensure};
use domain::ids::InstitutionId;
use domain::reasons::Reason;
use ledger::checkpoint::Checkpoint;
use ledger::key::NoteVerifier;
use ledger::mirror::{self, Accepted};
use ledger::survey;
use ledger::tile::{TILE_WIDTH, TileHashes};
use serde::Serialize;
use voucher_node::clock::NodeClock;
use voucher_node::config::Config;
use voucher_node::peers;

use super::exported::Files;
use super::manifest::{Copied, Kind, Manifest, sync_dir};
use super::output::{progress, say, say_json, table};
use super::{BAD, GOOD, run, store, verify};

/// Entries that are verified at once.
const STEP_ENTRIES: u64 = 4_096;

/// Rest while the ledger has too much to write.
const BUSY: Duration = Duration::from_millis(20);

const AFTER_HELP: &str = "\
Examples:
  voucher-node restore --config /srv/voucher/gulou/node.toml --from /mnt/backup/gulou
  voucher-node restore --config node.toml --from /mnt/export-of-the-auditor --json

DIR is what `backup` made, or what `export` made at any node that mirrors this log; which of the two it is, is seen from what
is in it. There must be no journal and no store yet: nothing is restored over another one. Keys, accounts and vault that are
there already stay as they are.

What comes back is judged before it gets its place, as `verify` judges it: every hash, signature and record. Then start the
node: before it writes, it asks the other members for what they hold of its log beyond this.

Exit code 0: it is restored. 1: what was to be restored is not good, and nothing is in its place. 2: it could not be done.";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct RestoreArgs {
    /// The node's configuration
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// A backup, or an export
    #[arg(long, value_name = "DIR")]
    pub from: PathBuf,
    /// Leave the keys of personal data in the backup where they are
    #[arg(long)]
    pub without_vault: bool,
    /// What was restored, as JSON
    #[arg(long)]
    pub json: bool,
}

/// What came of it.
#[derive(Debug, Serialize)]
pub(super) struct Restored {
    /// `backup` or `export`.
    pub from: &'static str,
    /// Log by log, as judged.
    pub logs: Vec<verify::LogVerdict>,
    /// What is wrong; nothing is in its place then.
    pub faults: Vec<String>,
    /// What is not there again, and what to do, in words.
    pub notes: Vec<String>,
}

pub(super) fn restore(args: &RestoreArgs) -> anyhow::Result<ExitCode> {
    let config = run::load(&args.config)?;
    let restored = make(&config, args)?;
    if args.json {
        say_json(&restored)?;
    } else {
        say(&page(&restored));
    }
    Ok(ExitCode::from(if restored.faults.is_empty() { GOOD } else { BAD }))
}

/// Restores, or says why nothing is in its place.
pub(super) fn make(config: &Config, args: &RestoreArgs) -> anyhow::Result<Restored> {
    let dir = &config.store.dir;
    refuse_occupied(dir)?;
    let manifest = Manifest::read(&args.from)?;
    let exported = Files::open(&args.from)?;
    let staging = dir.join("restoring");
    if staging.exists() {
        std::fs::remove_dir_all(&staging).with_context(|| staging.display().to_string())?;
    }
    std::fs::create_dir_all(staging.join("journal")).with_context(|| staging.display().to_string())?;
    let mut staged = config.clone();
    staged.store.dir.clone_from(&staging);
    // Another process or boot may have left a marker that says more than the copy holds: it does not judge the copy.
    staged.store.marker_dir = staging.join("marker");

    let (from, mut notes) = match (&manifest, &exported) {
        (Some(manifest), _) => ("backup", from_backup(config, args, manifest, &staging)?),
        (None, Some(files)) => ("export", from_export(config, &staged, files)?),
        (None, None) => bail!(
            "{} is neither a backup (it has no {}) nor an export (no export.json)",
            args.from.display(),
            super::manifest::FILE
        ),
    };
    let verdict = match store::open(&staged) {
        Ok(opened) => {
            let verdict = verify::judge(&staged, &opened);
            opened.logs.ledger.close();
            verdict
        }
        Err(store::NotOpened::Damaged(why)) => verify::Verdict { faults: vec![why], ..verify::Verdict::default() },
        Err(error) => return Err(error.into()),
    };
    let verify::Verdict { logs, faults, .. } = verdict;
    if faults.is_empty() {
        make_way(config, &staging)?;
        if let Some(vault) = manifest.as_ref().and_then(|manifest| manifest.of(Kind::Vault).next()) {
            notes.push(restore_vault(config, args, manifest.as_ref(), vault)?);
        } else if !config.vault().exists() {
            notes.push(
                "there is no vault, neither here nor in what was restored: if the node says that rows have no key, let them \
                 go (voucher-node keys forget-lost), and register those people again"
                    .to_owned(),
            );
        }
        put_in_place(config, &staging)?;
    }
    std::fs::remove_dir_all(&staging).with_context(|| staging.display().to_string())?;
    Ok(Restored { from, logs, faults, notes })
}

/// Nothing is restored over a journal or a store.
fn refuse_occupied(dir: &Path) -> anyhow::Result<()> {
    let holds = |name: &str| match std::fs::read_dir(dir.join(name)) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) => error.kind() != std::io::ErrorKind::NotFound,
    };
    let there: Vec<String> = ["journal", "store"]
        .into_iter()
        .filter(|name| holds(name))
        .map(|name| format!("mv {0} {0}.before", dir.join(name).display()))
        .collect();
    ensure!(
        there.is_empty(),
        "{} is not empty, and nothing is restored over what is there. With the node stopped, set it aside and keep it:\n  {}",
        dir.display(),
        there.join("\n  ")
    );
    Ok(())
}

/// Copies what a backup has, each file against its digest, and reads every frame.
fn from_backup(
    config: &Config,
    args: &RestoreArgs,
    manifest: &Manifest,
    staging: &Path,
) -> anyhow::Result<Vec<String>> {
    let (whose, here) = ((manifest.institution, &manifest.federation), (config.institution, &config.federation));
    ensure!(whose == here, "the backup is of {}/{}, and this is {}", whose.1, whose.0, config.origin());
    let from = &args.from;
    let bar = progress("copying", manifest.files.len() as u64);
    for file in &manifest.files {
        match file.kind {
            Kind::Journal => file.copy(from, &staging.join("journal").join(&file.name))?,
            Kind::Replaced => file.copy(from, &staging.join(survey::REPLACED_FILE))?,
            Kind::Configuration | Kind::Accounts | Kind::Key => file.check(from)?,
            Kind::Vault if args.without_vault => {}
            Kind::Vault => file.check(from).context(
                "the vault: a backup that was broken off may have begun to write it. Finish that backup if the node is still \
                 there, or restore --without-vault",
            )?,
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    let held = survey::survey(staging, &config.origin()).context("the backup's journal")?;
    let ends = held.logs.iter().map(|(origin, end)| (origin, end.entries));
    ensure!(
        held.frames == manifest.frames && ends.eq(manifest.logs.iter().map(|log| (&log.origin, log.entries))),
        "the backup's journal has {} commits and its manifest says {}: files of two backups were mixed",
        held.frames,
        manifest.frames
    );
    let at = manifest.taken_at;
    let mut notes = vec![format!(
        "the backup is of {at}: what the node wrote to its log afterwards is asked of the other members at the next start; what \
         stood only here since then (people, openings, opening hours, what was imported) is lost"
    )];
    for file in manifest.of(Kind::Key) {
        restore_small(from, file, &config.store.keys.join(&file.name))?;
    }
    for file in manifest.of(Kind::Accounts) {
        if !restore_small(from, file, &config.accounts_file())? {
            notes.push(format!("{} is there already and stays", config.accounts_file().display()));
        }
    }
    Ok(notes)
}

/// Copies a file to where nothing is yet; whether it did.
fn restore_small(from: &Path, file: &Copied, to: &Path) -> anyhow::Result<bool> {
    if to.exists() {
        return Ok(false);
    }
    file.copy(from, to).map(|()| true)
}

fn restore_vault(
    config: &Config,
    args: &RestoreArgs,
    manifest: Option<&Manifest>,
    vault: &Copied,
) -> anyhow::Result<String> {
    let to = config.vault();
    if to.exists() {
        return Ok(format!(
            "the vault {} is there already and stays: it is the newer one. If the node says that rows have no key, they are of people \
             who were erased since: voucher-node keys forget-lost",
            to.display()
        ));
    }
    if args.without_vault {
        return Ok(
            "the vault of the backup was left where it is: people who were known are lost (keys forget-lost)".into()
        );
    }
    vault.copy(&args.from, &to)?;
    let at = manifest.map(|manifest| manifest.taken_at.to_string()).unwrap_or_default();
    Ok(format!("the vault is that of {at}: WHO WAS ERASED SINCE THEN IS BACK. Erase them again, before anything else"))
}

/// What must be so before the journal is in its place: what it has of replaced mirrors is said, and this boot's marker is gone.
fn make_way(config: &Config, staging: &Path) -> anyhow::Result<()> {
    let dir = &config.store.dir;
    let replaced = dir.join(survey::REPLACED_FILE);
    match std::fs::rename(staging.join(survey::REPLACED_FILE), &replaced) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            // One that is left over would hide mirrors of this journal.
            match std::fs::remove_file(&replaced) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        renamed => renamed.with_context(|| replaced.display().to_string())?,
    }
    ledger::marker::forget(&config.store.marker_dir, &config.origin())
        .with_context(|| format!("the marker in {}", config.store.marker_dir.display()))
}

/// The journal gets its name, last of all.
fn put_in_place(config: &Config, staging: &Path) -> anyhow::Result<()> {
    let dir = &config.store.dir;
    let journal = dir.join("journal");
    if journal.exists() {
        std::fs::remove_dir(&journal).with_context(|| journal.display().to_string())?; // It is empty.
    }
    std::fs::rename(staging.join("journal"), &journal).with_context(|| journal.display().to_string())?;
    sync_dir(dir)
}

/// Takes every log of an export as a follower takes a peer's: step by step, verified to its signed head.
fn from_export(config: &Config, staged: &Config, files: &Files) -> anyhow::Result<Vec<String>> {
    let exported = &files.contents;
    ensure!(
        exported.federation == config.federation && exported.registrar == config.registrar.institution,
        "the export is of the federation {} with the registrar {}, and this node is of {} with {}",
        exported.federation,
        exported.registrar,
        config.federation,
        config.registrar.institution
    );
    let me = config.institution;
    ensure!(
        exported.logs.iter().any(|log| log.institution == me),
        "the export has no log of {me}: it is of a node that has never seen it"
    );
    let opened = store::open(staged)?;
    let store::Opened { logs: Logs { ledger, federation, vault }, settings, .. } = &opened;
    let logs = Logs { ledger: ledger.clone(), federation: federation.clone(), vault: vault.clone() };
    let writer = Writer::open(logs, settings.clone(), Arc::new(NodeClock::real()));
    let mut order: Vec<InstitutionId> = exported.logs.iter().map(|log| log.institution).collect();
    // What the registrar says is what the others are judged by.
    order.sort_by_key(|id| (*id != settings.registrar, *id != me, *id));
    let bar = progress("reading", exported.logs.iter().map(|log| log.size).sum());
    let mut notes = Vec::new();
    for institution in order {
        let registry = writer.registry();
        let keys = opened.keys_of(config, &registry, institution);
        match take(&writer, files, institution, &keys, &bar) {
            // The own log and the registrar's must come back; another one is followed anew from its own node.
            Err(error) if institution != me && institution != settings.registrar => {
                notes.push(format!("the mirror of {institution} is not restored ({error:#}): it is fetched again"));
            }
            done => done.with_context(|| files.log_dir(institution).display().to_string())?,
        }
    }
    bar.finish_and_clear();
    ledger.flush();
    drop(writer);
    opened.logs.ledger.close();
    notes.push(
        "an export has logs and nothing else: people, openings, opening hours and what was imported are not there again. \
         Accounts and vault stay as they are"
            .to_owned(),
    );
    Ok(notes)
}

/// Takes the log of an institution from an export's files.
fn take(
    writer: &Writer,
    files: &Files,
    institution: InstitutionId,
    keys: &[NoteVerifier],
    bar: &indicatif::ProgressBar,
) -> anyhow::Result<()> {
    let origin = writer.logs().origin(institution);
    let note = files.head(institution).unwrap_or_default();
    let head = Checkpoint::open(&note, &origin, keys).context("checkpoint")?;
    let own = institution == writer.settings().me;
    loop {
        let held = writer.ledger().edge(&origin);
        if held.size() >= head.size {
            return Ok(());
        }
        let until = head.size.min(held.size() + STEP_ENTRIES);
        let mut entries: Vec<Arc<[u8]>> = Vec::new();
        while held.size() + (entries.len() as u64) < until {
            let from = held.size() + entries.len() as u64;
            let more = files.entries(institution, from, usize::try_from(until - from).unwrap_or(TILE_WIDTH));
            ensure!(!more.is_empty(), "{}", files.troubles().join("; "));
            entries.extend(more);
        }
        let slices: Vec<&[u8]> = entries.iter().map(AsRef::as_ref).collect();
        let read = |level: u8, index: u64, _: u16| {
            files.tile(institution, level, index, peers::fetch::exists(head.size, level, index))
        };
        let proof = match until < head.size {
            true => ledger::merkle::consistency_proof(until, head.size, &TileHashes(read))?,
            false => Vec::new(),
        };
        let step = mirror::step(&held, note.as_bytes(), &origin, keys, &slices, &proof);
        hand_over(writer, institution, own, &step.with_context(|| format!("entries from {} on", held.size()))?)?;
        bar.inc(until - held.size());
    }
}

fn hand_over(writer: &Writer, institution: InstitutionId, own: bool, step: &Accepted) -> anyhow::Result<()> {
    loop {
        let taken = if own { writer.restore(step) } else { writer.accept(step.clone(), institution) };
        match taken {
            Ok(ticket) => {
                // What is held next is told by the head that is on disk.
                while writer.ledger().durable() < ticket {
                    std::thread::sleep(BUSY);
                }
                return Ok(());
            }
            Err(refused) if refused.reason() == Reason::Busy => std::thread::sleep(BUSY),
            Err(refused) => bail!("it is not taken: {refused}"),
        }
    }
}

fn page(restored: &Restored) -> String {
    let mut rows = vec![["log", "entries", "signed", "faults"].map(str::to_owned).to_vec()];
    rows.extend(restored.logs.iter().map(|log| {
        let numbers = [log.entries, log.signed, log.faults as u64].map(|n| n.to_string());
        [vec![log.institution.to_string()], numbers.to_vec()].concat()
    }));
    let mut text = if restored.logs.is_empty() { String::new() } else { format!("{}\n", table(&rows)) };
    for fault in &restored.faults {
        text.push_str(&format!("FAULT: {fault}\n"));
    }
    for note in &restored.notes {
        text.push_str(&format!("note:  {note}\n"));
    }
    text.push_str(match (restored.faults.is_empty(), restored.from) {
        (false, _) => "\nNOT RESTORED: what is there is not good, and nothing of it is in its place\n",
        (true, "backup") => {
            "\nThe store is restored from the backup. Start the node; it asks the others before it writes.\n"
        }
        (true, _) => "\nThe logs are restored from the export. Start the node; it asks the others before it writes.\n",
    });
    text
}
