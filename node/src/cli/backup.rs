//! `backup`: a copy of what a node needs to be itself again, taken while it runs.
//!
//! The journal is never written again, so a beginning of it is a backup: whole frames, up to a signed head. They are made
//! durable at the node before they are copied, read again from the copy, and judged there; only then the manifest says so.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use actors::clock::Clock as _;
use anyhow::{Context as _, bail, ensure};
use domain::time::Timestamp;
use ledger::survey::{self, Survey};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use voucher_node::clock::NodeClock;
use voucher_node::config::Config;
use voucher_node::keys::NodeKeys;

use super::export::put;
use super::manifest::{Copied, FILE, Kind, LogEnd, Manifest, VERSION, pass_through, sync_dir};
use super::output::{progress, say, say_json, table};
use super::{GOOD, run};

/// Bytes that are compared at once.
const CHUNK_BYTES: usize = 64 * 1024;

const AFTER_HELP: &str = "\
Examples:
  voucher-node backup --config /srv/voucher/gulou/node.toml --out /mnt/backup/gulou
  voucher-node backup --config node.toml --out /mnt/backup/gulou --with-keys --json

The node may run. The journal is copied up to the last whole commit; then the copy is read again: every frame's checksum, every
entry hashed up to the signed heads, the SHA-256 of each file. The same command again copies what has grown; one that was
broken off goes on. A directory that holds the backup of another history is not touched.

Left out unless asked for: the keys (--with-keys takes them if they are sealed), and the keys of personal data
(--with-vault): who keeps a copy of those keeps everybody who is erased later, until the next backup overwrites it.
docs/operating/recovery.md says what to keep beside a backup, and how to come back from one.

Exit code 0: the backup is there and was read again. 2: it could not be made.";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct BackupArgs {
    /// The node's configuration
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Where the backup goes; made if it is not there
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// The keys too, if each is sealed under a passphrase
    #[arg(long)]
    pub with_keys: bool,
    /// The keys of personal data too, overwritten in place by each further backup
    #[arg(long)]
    pub with_vault: bool,
    /// What was copied, as JSON
    #[arg(long)]
    pub json: bool,
}

/// What came of it.
#[derive(Debug, Serialize)]
pub(super) struct BackedUp {
    #[serde(flatten)]
    pub manifest: Manifest,
    /// Bytes of the journal that were copied this time.
    pub copied_bytes: u64,
    /// What is not in it, in words.
    pub left_out: Vec<&'static str>,
}

pub(super) fn backup(args: &BackupArgs) -> anyhow::Result<ExitCode> {
    let config = run::load(&args.config)?;
    let made = make(&config, args, NodeClock::real().now())?;
    if args.json {
        say_json(&made)?;
    } else {
        say(&page(&made, &args.out));
    }
    Ok(ExitCode::from(GOOD))
}

/// Copies what `args.out` does not have yet, and reads all of it again.
pub(super) fn make(config: &Config, args: &BackupArgs, now: Timestamp) -> anyhow::Result<BackedUp> {
    let (dir, out) = (&config.store.dir, &args.out);
    ensure!(dir.join("journal").is_dir(), "there is no ledger at {}: this node was never started", dir.display());
    std::fs::create_dir_all(out.join("journal")).with_context(|| out.display().to_string())?;
    let _one_at_a_time = lock(out)?;
    let before = Manifest::read(out)?;
    if let Some(before) = &before {
        ensure!(
            (before.institution, &before.federation) == (config.institution, &config.federation),
            "{} holds a backup of {}/{}",
            out.display(),
            before.federation,
            before.institution
        );
    }
    // First the journal, then what belongs to it: a key of personal data that is overwritten in between is not in the
    // copy, as it should be, and none is missing for a row that is.
    let held = survey::survey(dir, &config.origin()).context("the node's journal")?;
    ensure!(held.frames > 0, "the journal in {} has nothing in it yet", dir.display());
    let bar = progress("copying", held.segments.len() as u64);
    let mut copied_bytes = 0;
    for part in &held.segments {
        let name = survey::segment_file(part.number);
        let (from, to) = (dir.join("journal").join(&name), out.join("journal").join(&name));
        copied_bytes += extend(&from, &to, part.bytes, sure_bytes(before.as_ref(), &name))?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    sync_dir(&out.join("journal"))?;
    refuse_more(out, &held)?;

    let mut files = Vec::new();
    small(out, &mut files, Kind::Configuration, &args.config)?;
    small(out, &mut files, Kind::Accounts, &config.accounts_file())?;
    small(out, &mut files, Kind::Replaced, &dir.join(survey::REPLACED_FILE))?;
    if args.with_keys {
        for path in NodeKeys::sealed_files(&config.store.keys).context("--with-keys")? {
            small(out, &mut files, Kind::Key, &path)?;
        }
    }
    if args.with_vault || out.join("vault").exists() {
        vault(config, out, &mut files)?;
    }
    read_again(config, out, &held, &mut files)?;

    let logs = held.logs.into_iter().map(|(origin, end)| LogEnd {
        origin,
        entries: end.entries,
        head: end.head.map(|head| head.note.to_string()),
    });
    files.sort_by(|a, b| (a.kind, &a.path).cmp(&(b.kind, &b.path)));
    let manifest = Manifest {
        version: VERSION,
        institution: config.institution,
        federation: config.federation.clone(),
        taken_at: now,
        frames: held.frames,
        logs: logs.collect(),
        files,
    };
    put(&out.join(FILE), serde_json::to_string_pretty(&manifest)?.as_bytes())?;
    sync_dir(out)?;
    forget_old(out, before.as_ref(), &manifest)?;
    let has = |kind| manifest.of(kind).next().is_some();
    let mut left_out = Vec::new();
    if !has(Kind::Key) {
        left_out.push("the keys: keep a copy of them apart, without them this backup is nobody's");
    }
    if !has(Kind::Vault) {
        left_out.push(
            "the vault, the keys of personal data: without it the people whom this node knows are not in this backup",
        );
    }
    Ok(BackedUp { manifest, copied_bytes, left_out })
}

/// One backup at a time goes into a directory.
fn lock(out: &Path) -> anyhow::Result<File> {
    let path = out.join("lock");
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
    let file = file.with_context(|| path.display().to_string())?;
    ensure!(file.try_lock().is_ok(), "another backup is being made in {}", out.display());
    Ok(file)
}

/// How much of a segment the last finished backup has: what stands behind it may be half of a write.
fn sure_bytes(before: Option<&Manifest>, name: &Path) -> u64 {
    let segments = before.into_iter().flat_map(|before| before.of(Kind::Journal));
    segments.filter(|file| Path::new(&file.name) == name).map(|file| file.bytes).max().unwrap_or(0)
}

/// Makes a copy as long as the first `bytes` of a segment, durably; how many bytes that took. Its first `sure` bytes must be
/// those of the segment.
fn extend(from: &Path, to: &Path, bytes: u64, sure: u64) -> anyhow::Result<u64> {
    let named = |path: &Path| path.display().to_string();
    let mut source = File::open(from).with_context(|| named(from))?;
    let copy = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(to);
    let mut copy = copy.with_context(|| named(to))?;
    let held = copy.metadata().with_context(|| named(to))?.len();
    if held == bytes && sure == bytes {
        return Ok(0); // Its bytes are judged with the others.
    }
    let same = same_bytes(&source, &copy, held.min(bytes)).with_context(|| named(to))?;
    if same < sure {
        bail!(
            "{} is not a beginning of {}: it is of another history, or was damaged. Make a new backup in another directory",
            to.display(),
            from.display()
        );
    }
    copy.set_len(same).with_context(|| named(to))?;
    source.seek(SeekFrom::Start(same)).with_context(|| named(from))?;
    copy.seek(SeekFrom::Start(same)).with_context(|| named(to))?;
    let added = std::io::copy(&mut source.take(bytes - same), &mut copy).with_context(|| named(to))?;
    copy.sync_all().with_context(|| named(to))?;
    ensure!(same + added == bytes, "{} has become shorter", from.display());
    Ok(added)
}

/// How many of the first `most` bytes of two files are the same.
fn same_bytes(a: &File, b: &File, most: u64) -> std::io::Result<u64> {
    let (mut left, mut right) = (vec![0; CHUNK_BYTES], vec![0; CHUNK_BYTES]);
    let mut at = 0;
    while at < most {
        let want = usize::try_from(most - at).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
        let (left, right) = (&mut left[..want], &mut right[..want]);
        a.read_exact_at(left, at)?;
        b.read_exact_at(right, at)?;
        if left != right {
            let same = left.iter().zip(&*right).take_while(|(a, b)| a == b).count();
            return Ok(at + same as u64);
        }
        at += want as u64;
    }
    Ok(at)
}

/// Segments that the node does not have are another history's.
fn refuse_more(out: &Path, held: &Survey) -> anyhow::Result<()> {
    let journal = out.join("journal");
    for entry in std::fs::read_dir(&journal).with_context(|| journal.display().to_string())? {
        let name = entry.with_context(|| journal.display().to_string())?.file_name();
        let known = held.segments.iter().any(|part| survey::segment_file(part.number).as_os_str() == name);
        ensure!(
            known,
            "{} is not in the node's journal: the backup is of another history, or of a longer one",
            journal.join(&name).display()
        );
    }
    Ok(())
}

/// Copies a small file whole, under its digest.
fn small(out: &Path, files: &mut Vec<Copied>, kind: Kind, from: &Path) -> anyhow::Result<()> {
    let bytes = match std::fs::read(from) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && kind != Kind::Configuration => return Ok(()),
        read => read.with_context(|| from.display().to_string())?,
    };
    let name = from.file_name().and_then(|name| name.to_str()).context("its name is no text")?.to_owned();
    let sha256 = hex::encode(Sha256::digest(&bytes));
    let path = PathBuf::from("files").join(format!("{}-{name}", &sha256[..16]));
    put(&out.join(&path), &bytes)?;
    files.push(Copied { kind, name, path, bytes: bytes.len() as u64, sha256 });
    Ok(())
}

/// Copies the vault over the one that is there, in place: what was erased at the node is erased here too.
fn vault(config: &Config, out: &Path, files: &mut Vec<Copied>) -> anyhow::Result<()> {
    let from = config.vault();
    let is_rewrapped = voucher_node::rewrap::is_under_way(config);
    ensure!(!is_rewrapped, "the vault is being wrapped anew: finish that first (voucher-node keys rewrap, or a start)");
    let bytes = match std::fs::read(&from) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        read => read.with_context(|| from.display().to_string())?,
    };
    let to = out.join("vault");
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&to);
    let written = file.and_then(|file| {
        file.write_all_at(&bytes, 0)?;
        file.set_len(bytes.len() as u64)?;
        file.sync_all()
    });
    written.with_context(|| to.display().to_string())?;
    let sha256 = hex::encode(Sha256::digest(&bytes));
    files.push(Copied {
        kind: Kind::Vault,
        name: "vault".into(),
        path: "vault".into(),
        bytes: bytes.len() as u64,
        sha256,
    });
    Ok(())
}

/// Reads the copy as a restore would: the digest of each file, and every frame up to the heads that the node has.
fn read_again(config: &Config, out: &Path, held: &Survey, files: &mut Vec<Copied>) -> anyhow::Result<()> {
    // What is replaced is said beside the journal, where the survey looks for it.
    let replaced = out.join(survey::REPLACED_FILE);
    match files.iter().find(|file| file.kind == Kind::Replaced) {
        Some(file) => put(&replaced, &std::fs::read(out.join(&file.path))?)?,
        None => drop(std::fs::remove_file(&replaced)),
    }
    let copied = survey::survey(out, &config.origin()).context("the copy")?;
    ensure!(
        (&copied.segments, copied.frames, &copied.logs) == (&held.segments, held.frames, &held.logs),
        "the copy in {} does not hold what the node holds: its medium may be damaged",
        out.display()
    );
    for file in files.iter() {
        file.check(out)?;
    }
    for part in &held.segments {
        let name = survey::segment_file(part.number);
        let path = Path::new("journal").join(&name);
        let (_, sha256) = pass_through(&out.join(&path), part.bytes, |_| Ok(()))?;
        let name = name.display().to_string();
        files.push(Copied { kind: Kind::Journal, name, path, bytes: part.bytes, sha256 });
    }
    Ok(())
}

/// Removes small files that only the manifest before named.
fn forget_old(out: &Path, before: Option<&Manifest>, now: &Manifest) -> anyhow::Result<()> {
    for file in before.iter().flat_map(|before| &before.files) {
        let is_small = file.path.starts_with("files");
        if is_small && !now.files.iter().any(|kept| kept.path == file.path) {
            let path = out.join(&file.path);
            std::fs::remove_file(&path).with_context(|| path.display().to_string())?;
        }
    }
    Ok(())
}

fn page(made: &BackedUp, out: &Path) -> String {
    let mut rows = vec![["log", "entries"].map(str::to_owned).to_vec()];
    rows.extend(made.manifest.logs.iter().map(|log| vec![log.origin.clone(), log.entries.to_string()]));
    let mut text = format!(
        "{}\n{} commits, {} KiB of the journal copied now; the copy was read again and is right.\n",
        table(&rows),
        made.manifest.frames,
        made.copied_bytes.div_ceil(1024)
    );
    for left in &made.left_out {
        text.push_str(&format!("not in it: {left}\n"));
    }
    text.push_str(&format!("The backup is in {}.\n", out.display()));
    text
}
