//! What a backup says about itself: `backup.json`, written last, and the files that it names.
//!
//! ```text
//!   DIR/backup.json                    which files, how long, their SHA-256, and where each log ends
//!   DIR/journal/000000000001.journal   whole frames, from the first on
//!   DIR/files/…                        configuration, accounts; by their digest, so that an older manifest stays true
//!   DIR/vault                          only if asked for: overwritten in place by each backup
//! ```
//!
//! A file may be longer than the manifest says: a later backup that was broken off has begun to write behind it.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write as _};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use domain::ids::InstitutionId;
use domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The name of the manifest.
pub(super) const FILE: &str = "backup.json";

/// The version of the layout.
pub(super) const VERSION: u8 = 1;

/// Longest manifest that is read, in bytes: some hundred thousand segments.
const MAX_MANIFEST_BYTES: u64 = 64 * 1024 * 1024;

/// Bytes that are copied at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// `backup.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    pub version: u8,
    pub institution: InstitutionId,
    pub federation: String,
    /// When it was finished, by the clock of the machine that made it.
    pub taken_at: Timestamp,
    /// Number of the journal's last frame.
    pub frames: u64,
    /// Where each log ends.
    pub logs: Vec<LogEnd>,
    pub files: Vec<Copied>,
}

/// Where a log ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogEnd {
    pub origin: String,
    pub entries: u64,
    /// The newest signed head of which all entries are there.
    pub head: Option<String>,
}

/// What a file of a backup is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    /// A segment of the journal.
    Journal,
    /// Which mirrors were replaced.
    Replaced,
    /// The node's configuration.
    Configuration,
    /// Who may act there.
    Accounts,
    /// A key, sealed.
    Key,
    /// The keys of personal data.
    Vault,
}

/// One file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Copied {
    pub kind: Kind,
    /// What it is called where it belongs.
    pub name: String,
    /// Where it lies under the backup's directory.
    pub path: PathBuf,
    pub bytes: u64,
    pub sha256: String,
}

impl Manifest {
    /// Reads the manifest of a backup; none if there is none.
    ///
    /// # Errors
    ///
    /// It cannot be read, is none of this version, or names a file outside of the backup.
    pub(super) fn read(dir: &Path) -> anyhow::Result<Option<Self>> {
        let path = dir.join(FILE);
        let file = match File::open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            opened => opened.with_context(|| path.display().to_string())?,
        };
        let mut text = Vec::new();
        file.take(MAX_MANIFEST_BYTES).read_to_end(&mut text).with_context(|| path.display().to_string())?;
        let manifest: Self = serde_json::from_slice(&text)
            .with_context(|| format!("{} is not the manifest of a backup, or was not copied whole", path.display()))?;
        ensure!(manifest.version == VERSION, "{} has version {}, not {VERSION}", path.display(), manifest.version);
        for file in &manifest.files {
            let inside = |path: &Path| path.components().all(|part| matches!(part, Component::Normal(_)));
            let is_name = Path::new(&file.name).components().count() == 1;
            ensure!(
                inside(&file.path) && is_name && inside(Path::new(&file.name)),
                "{} names {}",
                path.display(),
                file.path.display()
            );
        }
        Ok(Some(manifest))
    }

    /// The files of a kind.
    pub(super) fn of(&self, kind: Kind) -> impl Iterator<Item = &Copied> {
        self.files.iter().filter(move |file| file.kind == kind)
    }
}

impl Copied {
    /// Checks the file in a backup's directory.
    ///
    /// # Errors
    ///
    /// It is not there, is shorter than it was, or has other bytes: the text names it.
    pub(super) fn check(&self, dir: &Path) -> anyhow::Result<()> {
        self.pass_on(dir, |_| Ok(()))
    }

    /// Copies the file to where nothing is yet, durably.
    ///
    /// # Errors
    ///
    /// As [`Copied::check`], and what is wrong at the other place.
    pub(super) fn copy(&self, dir: &Path, to: &Path) -> anyhow::Result<()> {
        let named = || to.display().to_string();
        std::fs::create_dir_all(to.parent().context("no directory")?).with_context(named)?;
        let mut file = OpenOptions::new().write(true).create_new(true).open(to).with_context(named)?;
        self.pass_on(dir, |bytes| file.write_all(bytes).with_context(named))?;
        file.sync_all().with_context(named)?;
        sync_dir(to.parent().context("no directory")?)
    }

    fn pass_on(&self, dir: &Path, with: impl FnMut(&[u8]) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let path = dir.join(&self.path);
        let (read, sha256) = pass_through(&path, self.bytes, with)?;
        if read != self.bytes {
            bail!("{} has {read} bytes, and the backup wrote {}: it was not copied whole", path.display(), self.bytes);
        }
        ensure!(
            sha256 == self.sha256,
            "{} is not what the backup wrote: it was changed, or its medium is damaged",
            path.display()
        );
        Ok(())
    }
}

/// Reads at most the first `most` bytes of a file of a backup, part by part; how many there were, and their SHA-256.
pub(super) fn pass_through(
    path: &Path,
    most: u64,
    mut with: impl FnMut(&[u8]) -> anyhow::Result<()>,
) -> anyhow::Result<(u64, String)> {
    let file = File::open(path).with_context(|| format!("{} of the backup", path.display()))?;
    let (mut left, mut hash) = (file.take(most), Sha256::new());
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut read = 0;
    loop {
        let got = left.read(&mut chunk).with_context(|| path.display().to_string())?;
        let Some(bytes) = chunk.get(..got).filter(|bytes| !bytes.is_empty()) else { break };
        hash.update(bytes);
        read += got as u64;
        with(bytes)?;
    }
    Ok((read, hex::encode(hash.finalize())))
}

/// Makes the names in a directory durable.
pub(super) fn sync_dir(dir: &Path) -> anyhow::Result<()> {
    File::open(dir).and_then(|dir| dir.sync_all()).with_context(|| dir.display().to_string())
}
