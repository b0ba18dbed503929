//! `export`: the logs of a stopped node as files that any web server serves and anybody's tools verify.
//!
//! ```text
//!   DIR/export.json                        which logs, and how far
//!   DIR/logs/INSTITUTION/checkpoint        the signed head (C2SP tlog-checkpoint), with the cosignatures that it has
//!   DIR/logs/INSTITUTION/cosigned-checkpoint   an older one that has some, where the newest has none
//!   DIR/logs/INSTITUTION/tile/...          tiles and bundles of entries (C2SP tlog-tiles)
//!   DIR/records/INSTITUTION.jsonl          one record a line, readable
//!   DIR/parquet/INSTITUTION/...            the same in columns ([`super::parquet`])
//! ```
//!
//! An export that was broken off, or that has become old, is gone on with: what never changes is not written again, and a head
//! is there only when everything under it is.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, BufWriter, ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use actors::auditor::witness;
use actors::kv::Tx;
use actors::receipts;
use actors::replica::Work;
use anyhow::{Context as _, bail};
use domain::ids::InstitutionId;
use domain::member::Registry;
use domain::record::Record;
use indicatif::ProgressBar;
use ledger::checkpoint::{Checkpoint, claimed_size};
use ledger::log::Ledger;
use ledger::merkle::leaf_hash;
use ledger::mirror::Head;
use ledger::note::{MAX_NOTE_BYTES, to_base64};
use ledger::tile::{TILE_WIDTH, TileKind, TilePath, bundles_of, tiles_of};
use serde::{Deserialize, Serialize};

use super::output::{progress, say, say_json, table};
use super::store::{self, Opened};
use super::{GOOD, run};

/// The version of the layout.
pub(super) const VERSION: u8 = 1;

/// The file of a log's newest cosigned head, where that is older than its newest head.
pub(super) const COSIGNED: &str = "cosigned-checkpoint";

/// Entries read at once.
const CHUNK: usize = 1_024;

const AFTER_HELP: &str = "\
Examples:
  voucher-node export --config /srv/voucher/audit/node.toml --out /srv/export
  python3 scripts/verify_export.py /srv/export --registrar-vkey \"$VKEY\"

It needs the node stopped. Every log that the node holds, its own and its mirrors, is written up to its newest signed head:
tiles and bundles as C2SP's tlog-tiles has them, so that a web server over DIR/logs/INSTITUTION is a log, and one record a line as
JSON. People are in no log, so nobody is in an export.

The same command again goes on where it stopped: only what has grown is written. An export of another history is not
touched.

Exit code 0: the export is there. 2: it could not be made.";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct ExportArgs {
    /// The node's configuration
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Where the files go; made if it is not there
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Leave the records as JSON lines out
    #[arg(long)]
    no_json: bool,
    /// Leave the records as Parquet out
    #[arg(long)]
    no_parquet: bool,
    /// What was written, as JSON
    #[arg(long)]
    json: bool,
}

/// `export.json`.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Exported {
    pub version: u8,
    pub federation: String,
    pub registrar: InstitutionId,
    pub utc_offset_minutes: i32,
    pub logs: Vec<ExportedLog>,
}

/// One log of an export.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ExportedLog {
    pub institution: InstitutionId,
    pub origin: String,
    /// Entries under the head.
    pub size: u64,
    pub dir: String,
    /// Files that were written this time.
    #[serde(skip)]
    pub files: u64,
}

/// A record of a log, as a line.
#[derive(Serialize)]
struct RecordLine<'a> {
    index: u64,
    id: String,
    bytes: String,
    record: Option<&'a Record>,
}

/// In which forms records are written beside the logs themselves.
#[derive(Debug, Clone, Copy)]
pub(super) struct Forms {
    pub lines: bool,
    pub parquet: bool,
}

impl ExportArgs {
    const fn forms(&self) -> Forms {
        Forms { lines: !self.no_json, parquet: !self.no_parquet }
    }
}

pub(super) fn export(args: &ExportArgs) -> anyhow::Result<ExitCode> {
    let config = run::load(&args.config)?;
    let opened = store::open(&config)?;
    let made = opened.reading(|| make(&opened, config.utc_offset_minutes, &args.out, args.forms()));
    let exported = made.map_err(|why| anyhow::anyhow!("the store failed ({why}). {}", store::SET_ASIDE))??;
    if args.json {
        say_json(&exported)?;
    } else {
        say(&page(&exported, &args.out));
    }
    Ok(ExitCode::from(GOOD))
}

/// Writes what `out` does not have yet.
pub(super) fn make(opened: &Opened, utc_offset_minutes: i32, out: &Path, forms: Forms) -> anyhow::Result<Exported> {
    let ledger = &opened.logs.ledger;
    let mut heads = Vec::new();
    for institution in opened.institutions() {
        // A log of which no head is held yet has nothing that could be verified.
        if let Some(head) = ledger.head(&opened.logs.origin(institution)) {
            heads.push((institution, head));
        }
    }
    let mut logs = Vec::new();
    let bar = progress("writing", heads.iter().map(|(_, head)| head.checkpoint.size).sum());
    for (institution, head) in heads {
        let dir = format!("logs/{institution}");
        let files = tiles(ledger, &head, &out.join(&dir), &bar).with_context(|| format!("the log of {institution}"))?;
        cosigned(opened, institution, &head, &out.join(&dir))?;
        if forms.lines {
            let file = out.join("records").join(format!("{institution}.jsonl"));
            records(ledger, &head, &file).with_context(|| file.display().to_string())?;
        }
        if forms.parquet {
            super::parquet::write(ledger, &head, &out.join("parquet").join(institution.as_str()))?;
        }
        let Checkpoint { origin, size, .. } = head.checkpoint;
        logs.push(ExportedLog { institution, origin, size, dir, files });
    }
    bar.finish_and_clear();
    let federation = opened.logs.federation.clone();
    let exported =
        Exported { version: VERSION, federation, registrar: opened.settings.registrar, utc_offset_minutes, logs };
    put(&out.join("export.json"), serde_json::to_string_pretty(&exported)?.as_bytes())?;
    Ok(exported)
}

/// One log of a store.
fn tiles(ledger: &Ledger, head: &Head, dir: &Path, bar: &ProgressBar) -> anyhow::Result<u64> {
    let Checkpoint { origin, size, .. } = &head.checkpoint;
    let before = last(ledger, head, dir)?;
    write_log(dir, *size, before, &head.note, bar, |path| {
        let bytes = match path.kind {
            TileKind::Entries => ledger.bundle(origin, path.index, path.width),
            TileKind::Hashes(level) => ledger.tile(origin, level, path.index, path.width),
        };
        bytes.with_context(|| format!("{path} is not held"))
    })
}

/// One log, from wherever `read` has it: tiles and bundles that are not there yet, then the head. How many files were written.
pub(super) fn write_log(
    dir: &Path,
    size: u64,
    before: u64,
    note: &str,
    bar: &ProgressBar,
    mut read: impl FnMut(TilePath) -> anyhow::Result<Vec<u8>>,
) -> anyhow::Result<u64> {
    let mut files = 0;
    for path in bundles_of(size).chain(tiles_of(size)) {
        if path.kind == TileKind::Entries {
            bar.inc(path.width.into());
        }
        let file = dir.join(path.to_string());
        if file.is_file() {
            continue; // It is there whole or not at all, and never changes.
        }
        put(&file, &read(path)?)?;
        files += 1;
    }
    put(&dir.join("checkpoint"), note.as_bytes())?;
    // Partial tiles that only an older head needed.
    let old = bundles_of(before).chain(tiles_of(before));
    for path in old.filter(|path| usize::from(path.width) < TILE_WIDTH && !is_needed(*path, size)) {
        match std::fs::remove_file(dir.join(path.to_string())) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
            // Its directory goes with the last one in it.
            _ => drop(dir.join(path.to_string()).parent().map(std::fs::remove_dir)),
        }
    }
    Ok(files)
}

/// The newest head that is cosigned, as far as this node knows one of that log: in place of the head, where it is the same, else beside it.
fn cosigned(opened: &Opened, institution: InstitutionId, head: &Head, dir: &Path) -> anyhow::Result<()> {
    let (ledger, Checkpoint { origin, size, .. }) = (&opened.logs.ledger, &head.checkpoint);
    let note = if institution == opened.settings.me {
        receipts::kept(&opened.logs).map(|kept| kept.note())
    } else {
        let registry = Arc::new(Registry::new(opened.settings.registrar));
        let work = Work { tx: Tx::new(&opened.logs), registry, settings: &opened.settings };
        witness::cosigned(&work, witness::digest_of(origin)).map(|cosigned| cosigned.note)
    };
    // A witness may have seen a head whose entries are not here yet, or one of another history.
    let is_of = |note: &String| claimed_size(note).is_some_and(|at| at <= *size && is_held(ledger, origin, at, note));
    let note = note.filter(is_of);
    match note {
        Some(note) if note.starts_with(&head.checkpoint.note_text()) => put(&dir.join("checkpoint"), note.as_bytes()),
        Some(note) => put(&dir.join(COSIGNED), note.as_bytes()),
        None => Ok(()),
    }
}

/// Whether a head of this size needs a partial tile.
fn is_needed(path: TilePath, size: u64) -> bool {
    bundles_of(size).chain(tiles_of(size)).any(|needed| needed == path)
}

/// The size up to which a log was exported before, 0 if it was not; its head must be one of the history that is held here.
fn last(ledger: &Ledger, head: &Head, dir: &Path) -> anyhow::Result<u64> {
    let Checkpoint { origin, size: held, .. } = &head.checkpoint;
    let file = dir.join("checkpoint");
    let mut text = String::new();
    match File::open(&file) {
        Ok(open) => open.take(MAX_NOTE_BYTES as u64).read_to_string(&mut text)?,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error).with_context(|| file.display().to_string()),
    };
    let size = claimed_size(&text).filter(|size| size <= held && is_held(ledger, origin, *size, &text));
    size.with_context(|| format!("{} is of another history, or of a longer one", file.display()))
}

/// Whether a note is a head over the first `size` entries that are held of a log.
fn is_held(ledger: &Ledger, origin: &str, size: u64, note: &str) -> bool {
    let head = |root| Checkpoint { origin: origin.to_owned(), size, root }.note_text();
    ledger.root_at(origin, size).is_some_and(|root| note.starts_with(&format!("{}\n", head(root))))
}

/// The records of one log as lines, behind those that are there.
fn records(ledger: &Ledger, head: &Head, path: &Path) -> anyhow::Result<()> {
    let Checkpoint { origin, size, .. } = &head.checkpoint;
    std::fs::create_dir_all(path.parent().context("no directory")?)?;
    let file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
    let (mut next, whole) = whole_lines(&file)?;
    file.set_len(whole)?;
    let mut lines = BufWriter::new(file);
    while next < *size {
        let most = usize::try_from(size - next).unwrap_or(CHUNK).min(CHUNK);
        let entries = ledger.entries(origin, next, most);
        if entries.is_empty() {
            bail!("entry {next} of {origin} is not held");
        }
        for bytes in entries {
            let record: Option<Record> = ledger::record::decode_record(&bytes).ok();
            let (id, text) = (hex::encode(leaf_hash(&bytes).0), to_base64(&bytes));
            serde_json::to_writer(&mut lines, &RecordLine { index: next, id, bytes: text, record: record.as_ref() })?;
            lines.write_all(b"\n")?;
            next += 1;
        }
    }
    lines.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()?;
    Ok(())
}

/// How many lines a file has, and how many bytes they are: a line that was cut off is none.
fn whole_lines(file: &File) -> anyhow::Result<(u64, u64)> {
    let (mut lines, mut whole, mut seen) = (0, 0, 0);
    let mut reader = BufReader::with_capacity(1 << 16, file);
    loop {
        let read = reader.fill_buf()?;
        if read.is_empty() {
            return Ok((lines, whole));
        }
        for (at, _) in read.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
            lines += 1;
            whole = seen + at as u64 + 1;
        }
        let length = read.len();
        seen += length as u64;
        reader.consume(length);
    }
}

/// Writes a file whole or not at all.
pub(super) fn put(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let dir = path.parent().context("no directory")?;
    std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    // Beside it, under a name that no part of an export has.
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let written = File::create(&beside).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.with_context(|| beside.display().to_string())?;
    std::fs::rename(&beside, path).with_context(|| path.display().to_string())
}

fn page(exported: &Exported, out: &Path) -> String {
    let mut rows = vec![["log", "records", "files written"].map(str::to_owned).to_vec()];
    rows.extend(
        exported.logs.iter().map(|log| vec![log.institution.to_string(), log.size.to_string(), log.files.to_string()]),
    );
    format!("{}\nThe export is in {}.\n", table(&rows), out.display())
}
