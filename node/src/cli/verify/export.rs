//! The files of an export, judged by the registrar's key alone: every log from its bytes up, and the federation folded from nothing.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use actors::auditor::report::LogVerdict;
use actors::auditor::verify::{Verified, verify_logs};
use actors::kv::{Base, Row, Space};
use actors::replica::Settings;
use anyhow::{Context as _, ensure};
use chrono::FixedOffset;
use domain::ids::InstitutionId;
use ledger::key::NoteVerifier;
use ledger::note::MAX_NOTE_BYTES;
use ledger::policy::Policy;
use ledger::tile::{MAX_ENTRY_BYTES, TILE_BYTES, TILE_WIDTH, TileKind, TilePath, parse_bundle};
use parking_lot::Mutex;
use serde::Deserialize;

use super::logs::{Held, MAX_LISTED, Trust, Watched, judge_all};
use super::{Verdict, take_over, take_over_logs};
use crate::cli::export::{COSIGNED, VERSION, size_of};
use crate::cli::output::progress;

/// Longest `export.json`, in bytes.
const MAX_CONTENTS_BYTES: usize = 1024 * 1024;

/// Most logs of an export.
pub(super) const MAX_LOGS: usize = 1_024;

/// `export.json`, as far as it is needed. Sizes and directories it only repeats.
#[derive(Debug, Deserialize)]
pub(super) struct Contents {
    version: u8,
    pub federation: String,
    pub registrar: InstitutionId,
    utc_offset_minutes: i32,
    logs: Vec<Named>,
}

/// A log of an export.
#[derive(Debug, Deserialize)]
struct Named {
    institution: InstitutionId,
}

/// What an export says of itself; none if there is none.
///
/// # Errors
///
/// It cannot be read, or is of another version.
pub(super) fn contents_of(dir: &Path) -> anyhow::Result<Option<Contents>> {
    let path = dir.join("export.json");
    let Some(bytes) = read_to(&path, MAX_CONTENTS_BYTES)? else { return Ok(None) };
    let contents: Contents =
        serde_json::from_slice(&bytes).with_context(|| format!("{} is no export", path.display()))?;
    let (version, logs) = (contents.version, contents.logs.len());
    ensure!(version == VERSION, "{}: version {version}; this program reads {VERSION}", path.display());
    ensure!(logs <= MAX_LOGS, "{}: {logs} logs, more than {MAX_LOGS}", path.display());
    Ok(Some(contents))
}

/// An export's files.
#[derive(Debug)]
pub(super) struct Files {
    dir: PathBuf,
    contents: Contents,
    heads: BTreeMap<InstitutionId, String>,
    /// Files that cannot be read or are not what they should be, in words; the first of them.
    troubles: Mutex<Vec<String>>,
}

impl Files {
    /// Opens an export.
    ///
    /// # Errors
    ///
    /// It is none, or of another version.
    pub(super) fn open(dir: &Path) -> anyhow::Result<Self> {
        let contents = contents_of(dir)?.with_context(|| format!("{} has no export.json", dir.display()))?;
        let mut files = Self { dir: dir.to_owned(), contents, heads: BTreeMap::new(), troubles: Mutex::default() };
        for Named { institution } in &files.contents.logs {
            let head = files.read(&files.log_dir(*institution).join("checkpoint"), MAX_NOTE_BYTES);
            let head = head.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
            files.heads.insert(*institution, head);
        }
        Ok(files)
    }

    fn log_dir(&self, institution: InstitutionId) -> PathBuf {
        // Not by what `export.json` says: a path from outside leads anywhere.
        self.dir.join("logs").join(institution.as_str())
    }

    /// The bytes of a file that must be there; what is wrong with it is noted.
    fn read(&self, path: &Path, most: usize) -> Option<Vec<u8>> {
        match read_to(path, most) {
            Ok(Some(bytes)) => return Some(bytes),
            Ok(None) => self.trouble(format!("{} is missing", self.name(path))),
            Err(error) => self.trouble(format!("{error:#}")),
        }
        None
    }

    fn trouble(&self, text: String) {
        let mut troubles = self.troubles.lock();
        if troubles.len() < MAX_LISTED && !troubles.contains(&text) {
            troubles.push(text);
        }
    }

    fn name(&self, path: &Path) -> String {
        path.strip_prefix(&self.dir).unwrap_or(path).display().to_string()
    }

    /// The institutions in the order in which they are folded: the registrar first.
    fn institutions(&self) -> Vec<InstitutionId> {
        let mut all: Vec<InstitutionId> = self.heads.keys().copied().collect();
        all.sort_by_key(|id| (*id != self.contents.registrar, *id));
        all
    }
}

/// A file of at most so many bytes; none if it is not there.
fn read_to(path: &Path, most: usize) -> anyhow::Result<Option<Vec<u8>>> {
    let name = || path.display().to_string();
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(name),
    };
    let mut bytes = Vec::new();
    file.take(most as u64 + 1).read_to_end(&mut bytes).with_context(name)?;
    ensure!(bytes.len() <= most, "{} has more than {most} bytes", path.display());
    Ok(Some(bytes))
}

impl Base for Files {
    fn get(&self, _: Space, _: &[u8]) -> Option<Arc<[u8]>> {
        None
    }

    fn range(&self, _: Space, _: &[u8], _: &[u8], _: usize) -> Vec<Row> {
        Vec::new()
    }

    fn entry(&self, institution: InstitutionId, index: u64) -> Option<Arc<[u8]>> {
        self.entries(institution, index, 1).pop()
    }

    /// As far as the bundle goes in which the first of them stands.
    fn entries(&self, institution: InstitutionId, from: u64, most: usize) -> Vec<Arc<[u8]>> {
        let (size, width) = (Held::size(self, institution), TILE_WIDTH as u64);
        let left = size.saturating_sub(from / width * width).min(width);
        let (Ok(count), Ok(skipped)) = (u16::try_from(left), usize::try_from(from % width)) else { return Vec::new() };
        if from >= size {
            return Vec::new();
        }
        let tile = TilePath { kind: TileKind::Entries, index: from / width, width: count };
        let path = self.log_dir(institution).join(tile.to_string());
        let Some(bytes) = self.read(&path, TILE_WIDTH * (MAX_ENTRY_BYTES + 2)) else { return Vec::new() };
        match parse_bundle(&bytes, count.into()) {
            Ok(entries) => entries.into_iter().skip(skipped).take(most).map(Arc::from).collect(),
            Err(error) => {
                self.trouble(format!("{}: {error}", self.name(&path)));
                Vec::new()
            }
        }
    }
}

impl Held for Files {
    fn origin(&self, institution: InstitutionId) -> String {
        format!("{}/{institution}", self.contents.federation)
    }

    fn size(&self, institution: InstitutionId) -> u64 {
        self.heads.get(&institution).and_then(|head| size_of(head)).unwrap_or_default()
    }

    fn head(&self, institution: InstitutionId) -> Option<String> {
        self.heads.get(&institution).cloned()
    }

    fn cosigned_head(&self, institution: InstitutionId) -> Option<String> {
        let path = self.log_dir(institution).join(COSIGNED);
        // Only its own text may be no UTF-8; then its signature is no good either.
        let bytes = read_to(&path, MAX_NOTE_BYTES).unwrap_or_else(|error| {
            self.trouble(format!("{error:#}"));
            None
        });
        bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    fn tile(&self, institution: InstitutionId, level: u8, index: u64, width: u16) -> Option<Vec<u8>> {
        let tile = TilePath { kind: TileKind::Hashes(level), index, width };
        read_to(&self.log_dir(institution).join(tile.to_string()), TILE_BYTES).ok().flatten()
    }
}

/// Judges an export by the keys of the registrar's log.
///
/// # Errors
///
/// It is no export.
pub(in crate::cli) fn judge(dir: &Path, anchor: &[NoteVerifier], policy: Policy) -> anyhow::Result<Verdict> {
    let files = Files::open(dir)?;
    let institutions = files.institutions();
    let contents = &files.contents;
    let minutes = contents.utc_offset_minutes;
    let offset = minutes.checked_mul(60).and_then(FixedOffset::east_opt);
    let settings = Settings {
        me: contents.registrar,
        roles: Vec::new(),
        registrar: contents.registrar,
        offset: offset.with_context(|| format!("export.json: utc_offset_minutes {minutes} is a day or more"))?,
        retention: actors::personal::Retention::default(),
    };
    let mut verdict = Verdict { complete: true, ..Verdict::default() };

    let sizes: Vec<(InstitutionId, u64)> = institutions.iter().map(|id| (*id, files.size(*id))).collect();
    let bar = progress("folding", sizes.iter().map(|(_, size)| size).sum());
    let folded = verify_logs(&Watched { base: &files, bar: &bar }, &settings, &sizes);
    bar.finish_and_clear();
    let mut trust = Trust { registry: None, policy };
    match folded {
        Ok(verified) => {
            trust.registry = Some(verified.registry.clone());
            federation(&mut verdict, &verified, &files);
            take_over(&mut verdict, verified);
        }
        Err(missing) => {
            verdict.faults.push(missing.to_string());
            verdict.complete = false;
        }
    }
    let keys = institutions.iter().map(|id| {
        let is_anchor = *id == contents.registrar;
        let keys = if is_anchor { anchor.to_vec() } else { trust.keys_of(*id, files.size(*id)) };
        (*id, keys)
    });
    let keys = keys.filter(|(id, _)| trust.registry.is_some() || *id == contents.registrar).collect();
    let bar = progress("hashing and reading", sizes.iter().map(|(_, size)| size).sum());
    let judged = judge_all(&files, &institutions, &keys, &trust, &bar);
    bar.finish_and_clear();
    take_over_logs(&mut verdict, judged);
    verdict.faults.extend(files.troubles.into_inner());
    verdict.good = verdict.faults.is_empty();
    Ok(verdict)
}

/// What an outsider asks beyond the bytes: is every member's log here, and did everybody keep the rules?
fn federation(verdict: &mut Verdict, verified: &Verified, files: &Files) {
    for log in &verified.report.logs {
        let id = log.institution;
        if !files.heads.contains_key(&id) {
            // Who has written nothing yet has no log; whether that is so no export can say.
            verdict
                .notes
                .push(format!("no log of {id} is in the export: if it has written anything, that is not judged"));
        }
        if log.verdict == LogVerdict::RulesBroken {
            let why: Vec<String> = log.not_counting.iter().map(|(reason, n)| format!("{reason}: {n}")).collect();
            verdict.faults.push(format!("{id}: records that break the rules and do not count ({})", why.join(", ")));
        }
    }
}
