//! Reading a journal that is not ours to write, such as a running node's or a copy's: judged as an open judges it, and nothing
//! of it is changed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::book::Durable;
use crate::disk::{Disk, segment_path, segments_in};
use crate::frame::Section;
use crate::journal::{self, JournalError};
use crate::mirror::Head;
use crate::recover::{self, OpenError};
use crate::replaced::{self, Replaced};

/// Largest file of a segment that is read, in bytes: what a segment is sealed at, a frame and the space ahead, many times over.
pub const MAX_SEGMENT_BYTES: u64 = 1 << 30;

/// How often a journal is read again that seems damaged: half of a write that is under way looks like it.
const TRIES: u32 = 5;

/// Rest between two tries.
const REST: Duration = Duration::from_millis(40);

/// What a journal holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// The segments, and how many bytes of each are whole frames.
    pub segments: Vec<Part>,
    /// Number of the last whole frame.
    pub frames: u64,
    /// Bytes behind it that are no frame: a write that is under way, or was torn.
    pub torn_bytes: u64,
    /// Where each log ends, by its name.
    pub logs: BTreeMap<String, End>,
}

/// A segment's whole frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Its number.
    pub number: u64,
    /// Bytes from its start.
    pub bytes: u64,
}

/// Where a log ends in a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// Entries that the journal holds, hashed up to the signed head.
    pub entries: u64,
    /// The newest signed head of which all entries are there.
    pub head: Option<Head>,
}

/// The name of a segment's file.
pub fn segment_file(number: u64) -> PathBuf {
    segment_path(Path::new(""), number)
}

/// The name of the file, beside the journal, without which what it has of replaced mirrors would be taken for good.
pub const REPLACED_FILE: &str = replaced::OVERLOOKED;

/// Reads the directory of a ledger, `own` its own log: every frame's checksum, number and place, and of each log that its
/// entries lead to its heads. Signatures are not judged.
///
/// What is read is made durable before it is answered: a frame that its node had written and a power cut took from it must
/// not live on in a copy.
///
/// # Errors
///
/// As opening: [`OpenError`] names segment and byte.
pub fn survey(dir: &Path, own: &str) -> Result<Survey, OpenError> {
    let mut tries = 1;
    loop {
        match survey_once(dir, own) {
            Err(OpenError::Journal(JournalError::Damaged { .. } | JournalError::Io(_))) if tries < TRIES => {
                tries += 1;
                std::thread::sleep(REST);
            }
            done => return done,
        }
    }
}

fn survey_once(dir: &Path, own: &str) -> Result<Survey, OpenError> {
    let io = |doing: &'static str| move |error| OpenError::Io { doing: doing.into(), error };
    let replaced = Replaced::read(dir).map_err(io("reading which mirrors were replaced"))?;
    let mut logs: BTreeMap<String, Durable> = BTreeMap::new();
    let mut survey = Survey::default();
    let mut disk = Reading { dir: dir.join("journal") };
    let end = journal::replay::<OpenError>(&mut disk, None, |frame, position| {
        let part = Part { number: position.segment, bytes: position.offset };
        match survey.segments.last_mut().filter(|last| last.number == part.number) {
            Some(last) => *last = part,
            None => survey.segments.push(part),
        }
        for section in &frame.sections {
            let (origin, judged) = match section {
                Section::Log(section) if replaced.overlooks(section.origin, frame.sequence) => continue,
                Section::Log(section) => (section.origin, take(&mut logs, section, own)),
                Section::Heads(rows) => {
                    let rows = rows.iter().filter(|row| !replaced.overlooks(row.origin, frame.sequence));
                    let unlike = rows.map(|row| (row.origin, recover::same_head(logs.get(row.origin), row)));
                    match unlike.into_iter().find(|(_, judged)| judged.is_err()) {
                        Some(unlike) => unlike,
                        None => continue,
                    }
                }
                Section::Private(_) => continue,
            };
            let (sequence, origin) = (frame.sequence, origin.to_owned());
            judged.map_err(|reason| OpenError::DoesNotContinue { sequence, origin, reason: reason.to_owned() })?;
        }
        Ok(())
    })?;
    if let Some(end) = end {
        (survey.frames, survey.torn_bytes) = (end.position.sequence, end.torn_bytes);
    }
    survey.logs =
        logs.into_iter().map(|(origin, log)| (origin, End { entries: log.size(), head: log.complete })).collect();
    Ok(survey)
}

fn take(
    logs: &mut BTreeMap<String, Durable>,
    section: &crate::frame::LogSection<'_>,
    own: &str,
) -> Result<(), &'static str> {
    let held = logs.entry(section.origin.to_owned()).or_default();
    let (continued, _) = recover::continued(held, section, own)?;
    *held = continued;
    Ok(())
}

/// The files of a journal, which are somebody else's to write.
struct Reading {
    dir: PathBuf,
}

fn not_ours() -> io::Error {
    io::Error::other("this journal is only read")
}

impl Disk for Reading {
    fn segments(&mut self) -> io::Result<Vec<u64>> {
        segments_in(&self.dir)
    }

    fn read(&mut self, segment: u64) -> io::Result<Vec<u8>> {
        let path = segment_path(&self.dir, segment);
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let file = File::open(&path).map_err(named)?;
        if file.metadata().map_err(named)?.len() > MAX_SEGMENT_BYTES {
            return Err(named(io::Error::other(format!("longer than the {MAX_SEGMENT_BYTES} bytes of any segment"))));
        }
        let bytes = std::fs::read(&path).map_err(named)?;
        // Afterwards: what stood there before the sync is durable then, and what came meanwhile was not read.
        file.sync_data().map_err(named)?;
        Ok(bytes)
    }

    fn create(&mut self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(not_ours())
    }

    fn resume(&mut self, _: u64, _: u64) -> io::Result<()> {
        Err(not_ours())
    }

    fn remove(&mut self, _: u64) -> io::Result<()> {
        // A first segment that was never finished is its node's to remove.
        Ok(())
    }

    fn append(&mut self, _: &[u8]) -> io::Result<()> {
        Err(not_ours())
    }

    fn sync(&mut self) -> io::Result<()> {
        Err(not_ours())
    }
}
