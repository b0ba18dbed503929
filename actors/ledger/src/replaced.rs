//! Mirrors that are replaced: one on the losing branch of a fork is given up whole, and fetched again.
//!
//! The journal is never written again, so what it has of such a mirror stays there and is overlooked: up to a frame that a
//! small file beside it names. Asking for it is another file, which the next open obeys, so that a crash in between
//! begins again.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write as _};
use std::path::Path;

/// Asks the next open to replace mirrors: one origin a line.
const ASKED: &str = "replace";

/// What is overlooked: an origin and the sequence of the last frame, a tab between them, one a line.
pub(crate) const OVERLOOKED: &str = "replaced";

/// Which sections of mirrors the replay overlooks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Replaced {
    until: BTreeMap<String, u64>,
}

impl Replaced {
    /// Reads what a ledger's directory says.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or a line of it is none.
    pub(crate) fn read(dir: &Path) -> io::Result<Self> {
        let line = |line: &str| {
            let (origin, sequence) = line.split_once('\t')?;
            Some((origin.to_owned(), sequence.parse().ok()?))
        };
        let until = lines(dir, OVERLOOKED)?.iter().map(|l| line(l)).collect::<Option<_>>();
        let until = until.ok_or_else(|| io::Error::other(format!("{} is not as it was written", OVERLOOKED)))?;
        Ok(Self { until })
    }

    /// Whether what a frame has of a log is overlooked.
    pub(crate) fn overlooks(&self, origin: &str, sequence: u64) -> bool {
        self.until.get(origin).is_some_and(|until| sequence <= *until)
    }

    /// From now on everything up to a frame is overlooked; durable when it returns.
    pub(crate) fn overlook(&mut self, dir: &Path, origins: &BTreeSet<String>, sequence: u64) -> io::Result<()> {
        self.until.extend(origins.iter().map(|origin| (origin.clone(), sequence)));
        write(dir, OVERLOOKED, self.until.iter().map(|(origin, sequence)| format!("{origin}\t{sequence}")))
    }
}

/// The origins whose mirrors the next open is to replace.
pub(crate) fn asked(dir: &Path) -> io::Result<BTreeSet<String>> {
    Ok(lines(dir, ASKED)?.into_iter().collect())
}

/// Asks the next open to replace a mirror; durable when it returns.
pub(crate) fn ask(dir: &Path, origin: &str) -> io::Result<()> {
    let mut all = asked(dir)?;
    if all.insert(origin.to_owned()) { write(dir, ASKED, all.into_iter()) } else { Ok(()) }
}

/// What was asked is done.
pub(crate) fn done(dir: &Path) -> io::Result<()> {
    std::fs::remove_file(dir.join(ASKED))?;
    sync(dir)
}

fn lines(dir: &Path, name: &str) -> io::Result<Vec<String>> {
    match std::fs::read_to_string(dir.join(name)) {
        Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn write(dir: &Path, name: &str, lines: impl Iterator<Item = String>) -> io::Result<()> {
    let new = dir.join(format!("{name}.new"));
    let mut file = std::fs::File::create(&new)?;
    for line in lines {
        writeln!(file, "{line}")?;
    }
    file.sync_all()?;
    std::fs::rename(&new, dir.join(name))?;
    sync(dir)
}

fn sync(dir: &Path) -> io::Result<()> {
    std::fs::File::open(dir)?.sync_all()
}
