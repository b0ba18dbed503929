//! An export as it lies on a disk: which logs it has, and their files. What they are worth is for others to judge.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use actors::kv::{Base, Row, Space};
use anyhow::{Context as _, ensure};
use domain::ids::InstitutionId;
use ledger::checkpoint::claimed_size;
use ledger::note::MAX_NOTE_BYTES;
use ledger::tile::{MAX_ENTRY_BYTES, TILE_BYTES, TILE_WIDTH, TileKind, TilePath, parse_bundle};
use parking_lot::Mutex;

use super::export::{COSIGNED, Exported, VERSION};

/// Files that are told of; whoever reads on stops at one.
const MAX_TROUBLES: usize = 20;

/// Longest `export.json`, in bytes.
const MAX_CONTENTS_BYTES: usize = 1024 * 1024;

/// Most logs of an export.
pub(super) const MAX_LOGS: usize = 1_024;

/// What an export says of itself; none if there is none.
///
/// # Errors
///
/// It cannot be read, or is of another version.
pub(super) fn contents_of(dir: &Path) -> anyhow::Result<Option<Exported>> {
    let path = dir.join("export.json");
    let Some(bytes) = read_to(&path, MAX_CONTENTS_BYTES)? else { return Ok(None) };
    let contents: Exported =
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
    pub contents: Exported,
    heads: BTreeMap<InstitutionId, String>,
    troubles: Mutex<Vec<String>>,
}

impl Files {
    /// Opens an export; none if there is none.
    ///
    /// # Errors
    ///
    /// As [`contents_of`].
    pub(super) fn open(dir: &Path) -> anyhow::Result<Option<Self>> {
        let Some(contents) = contents_of(dir)? else { return Ok(None) };
        let mut files = Self { dir: dir.to_owned(), contents, heads: BTreeMap::new(), troubles: Mutex::default() };
        for log in &files.contents.logs {
            let head = files.read(&files.log_dir(log.institution).join("checkpoint"), MAX_NOTE_BYTES);
            let head = head.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
            files.heads.insert(log.institution, head);
        }
        Ok(Some(files))
    }

    pub(super) fn log_dir(&self, institution: InstitutionId) -> PathBuf {
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

    /// Files that cannot be read or are not what they should be, in words; the first of them.
    pub(super) fn troubles(&self) -> Vec<String> {
        self.troubles.lock().clone()
    }

    fn trouble(&self, text: String) {
        let mut troubles = self.troubles.lock();
        if troubles.len() < MAX_TROUBLES && !troubles.contains(&text) {
            troubles.push(text);
        }
    }

    fn name(&self, path: &Path) -> String {
        path.strip_prefix(&self.dir).unwrap_or(path).display().to_string()
    }

    /// The institutions in the order in which they are folded: the registrar first.
    pub(super) fn institutions(&self) -> Vec<InstitutionId> {
        let mut all: Vec<InstitutionId> = self.heads.keys().copied().collect();
        all.sort_by_key(|id| (*id != self.contents.registrar, *id));
        all
    }

    /// The size that its head claims.
    pub(super) fn size(&self, institution: InstitutionId) -> u64 {
        self.heads.get(&institution).and_then(|head| claimed_size(head)).unwrap_or_default()
    }

    /// The signed head; empty where it cannot be read.
    pub(super) fn head(&self, institution: InstitutionId) -> Option<String> {
        self.heads.get(&institution).cloned()
    }

    /// The newest cosigned head, where that is another one.
    pub(super) fn cosigned_head(&self, institution: InstitutionId) -> Option<String> {
        let path = self.log_dir(institution).join(COSIGNED);
        // Only its own text may be no UTF-8; then its signature is no good either.
        let bytes = read_to(&path, MAX_NOTE_BYTES).unwrap_or_else(|error| {
            self.trouble(format!("{error:#}"));
            None
        });
        bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// A tile of hashes.
    pub(super) fn tile(&self, institution: InstitutionId, level: u8, index: u64, width: u16) -> Option<Vec<u8>> {
        let tile = TilePath { kind: TileKind::Hashes(level), index, width };
        read_to(&self.log_dir(institution).join(tile.to_string()), TILE_BYTES).ok().flatten()
    }
}

/// A file of at most so many bytes; none if it is not there.
fn read_to(path: &Path, most: usize) -> anyhow::Result<Option<Vec<u8>>> {
    let name = || path.display().to_string();
    // Before it is opened: a pipe would be waited for.
    match path.metadata() {
        Ok(found) => ensure!(found.is_file(), "{} is not a file", path.display()),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(name),
    }
    let mut bytes = Vec::new();
    File::open(path).with_context(name)?.take(most as u64 + 1).read_to_end(&mut bytes).with_context(name)?;
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
        let (size, width) = (self.size(institution), TILE_WIDTH as u64);
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
