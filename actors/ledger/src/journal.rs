//! The journal: the append-only file of frames that makes a commit durable, and its reading at open.

use std::io;

use crate::disk::Disk;
use crate::fail;
use crate::frame::{self, Frame, FrameWriter, HeadRow, SEGMENT_HEADER_BYTES};

/// A place in the journal: behind the frame `sequence`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    /// Number of the segment, from 1. 0 is the start of an empty journal.
    pub segment: u64,
    /// Bytes from the start of the segment.
    pub offset: u64,
    /// Number of the last frame before this place, from 1.
    pub sequence: u64,
}

/// Why a journal cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file system says so.
    #[error("the journal cannot be read: {0}")]
    Io(#[from] io::Error),
    /// What was acknowledged is damaged.
    #[error(
        "the journal is damaged in segment {segment} at byte {offset}: {reason}. \
         Restore that segment from a backup or the log from its mirrors; do not cut it"
    )]
    Damaged {
        /// Number of the segment.
        segment: u64,
        /// Where, in bytes from its start.
        offset: u64,
        /// What is wrong there.
        reason: String,
    },
    /// A segment between others is not there.
    #[error("segment {0} of the journal is missing. Restore it from a backup")]
    Missing(u64),
    /// The store holds more than the journal.
    #[error(
        "the store was written behind frame {stored}, but the journal ends with frame {journal}. \
         The journal was lost or is an older copy: restore it, or the log from its mirrors"
    )]
    StoreAhead {
        /// The store's last frame.
        stored: u64,
        /// The journal's last frame.
        journal: u64,
    },
}

/// Where a journal ends, and what was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// Behind the last good frame.
    pub position: Position,
    generation: u64,
    /// Bytes of a torn last frame, which are cut off.
    pub torn_bytes: u64,
    /// A last segment that was never finished, to be removed.
    unfinished: Option<u64>,
}

/// Reads the journal from `from` on (behind what the store has), or from its start, and hands each good frame with the
/// place behind it to `visit`. Each segment is made durable before it is read. `None` if there is no journal yet.
///
/// # Errors
///
/// See [`JournalError`], and what `visit` answers.
pub fn replay<E: From<JournalError>>(
    disk: &mut dyn Disk,
    from: Option<Position>,
    mut visit: impl FnMut(&Frame<'_>, Position) -> Result<(), E>,
) -> Result<Option<End>, E> {
    let segments = disk.segments().map_err(JournalError::Io)?;
    for pair in segments.windows(2) {
        if pair[1] != pair[0] + 1 {
            return Err(JournalError::Missing(pair[0] + 1).into());
        }
    }
    let stored = from.map_or(0, |from| from.sequence);
    let first = from.map_or(0, |from| from.segment);
    let last = segments.last().copied();
    let mut end: Option<End> = None;
    let mut sequence = None;
    for number in segments.into_iter().filter(|number| *number >= first) {
        let bytes = disk.read(number).map_err(JournalError::Io)?;
        let damaged = |offset: usize, reason: &str| JournalError::Damaged {
            segment: number,
            offset: offset as u64,
            reason: reason.to_owned(),
        };
        let generation = frame::read_segment_header(&bytes, number);
        let opening = generation.and_then(|generation| frame::read(bytes.get(SEGMENT_HEADER_BYTES..)?, generation));
        if opening.is_none() {
            // A crash while a segment is made leaves its first frame torn, and nothing behind it.
            if Some(number) != last || frame::count_any(&bytes) > 1 {
                return Err(damaged(0, "the segment does not open with its header and the last heads").into());
            }
            match &mut end {
                Some(end) => end.unfinished = Some(number),
                None => {
                    if stored > 0 {
                        return Err(JournalError::StoreAhead { stored, journal: 0 }.into());
                    }
                    disk.remove(number).map_err(JournalError::Io)?;
                }
            }
            break;
        }
        let generation = generation.unwrap_or_default();
        let mut offset = SEGMENT_HEADER_BYTES;
        let mut torn_bytes = 0;
        while let Some(rest) = bytes.get(offset..) {
            let Some(frame) = frame::read(rest, generation) else {
                let torn = rest.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
                if torn > 0 && (Some(number) != last || frame::find(rest, generation).is_some()) {
                    return Err(damaged(offset, "a bad frame stands before a good one").into());
                }
                torn_bytes = torn as u64;
                break;
            };
            if sequence.is_some_and(|sequence| frame.sequence != sequence + 1) {
                return Err(damaged(offset, "a frame is missing before this one").into());
            }
            sequence = Some(frame.sequence);
            offset += frame.length;
            let position = Position { segment: number, offset: offset as u64, sequence: frame.sequence };
            if from.is_some_and(|from| from.sequence == frame.sequence && from != position) {
                return Err(damaged(offset, "the frame the store was written behind stands elsewhere").into());
            }
            if frame.sequence > stored {
                visit(&frame, position)?;
            }
        }
        let position = Position { segment: number, offset: offset as u64, sequence: sequence.unwrap_or_default() };
        end = Some(End { position, generation, torn_bytes, unfinished: None });
    }
    let journal = end.map_or(0, |end| end.position.sequence);
    if journal < stored {
        return Err(JournalError::StoreAhead { stored, journal }.into());
    }
    Ok(end)
}

/// Checks the bytes of a sealed segment: its header, and good frames up to the zeros at its end.
///
/// # Errors
///
/// [`JournalError::Damaged`].
pub fn check_sealed(bytes: &[u8], number: u64) -> Result<(), JournalError> {
    let damaged = |offset: usize, reason: &str| {
        Err(JournalError::Damaged { segment: number, offset: offset as u64, reason: reason.to_owned() })
    };
    let Some(generation) = frame::read_segment_header(bytes, number) else {
        return damaged(0, "the segment does not open with its header");
    };
    let mut offset = SEGMENT_HEADER_BYTES;
    while let Some(rest) = bytes.get(offset..).filter(|rest| rest.iter().any(|byte| *byte != 0)) {
        let Some(frame) = frame::read(rest, generation) else {
            return damaged(offset, "a bad frame stands in a sealed segment");
        };
        offset += frame.length;
    }
    Ok(())
}

/// The journal that is being written.
pub struct Journal {
    disk: Box<dyn Disk>,
    position: Position,
    generation: u64,
    segment_bytes: u64,
    writer: FrameWriter,
}

impl Journal {
    /// Makes the first segment.
    ///
    /// # Errors
    ///
    /// It cannot be made.
    pub fn create(disk: Box<dyn Disk>, segment_bytes: u64) -> io::Result<Journal> {
        let mut journal = Journal {
            disk,
            position: Position::default(),
            generation: 0,
            segment_bytes,
            writer: FrameWriter::default(),
        };
        journal.open_segment(std::iter::empty())?;
        Ok(journal)
    }

    /// Goes on behind `end`; a torn last frame is cut off.
    ///
    /// # Errors
    ///
    /// The files cannot be written.
    pub fn resume(mut disk: Box<dyn Disk>, end: End, segment_bytes: u64) -> io::Result<Journal> {
        if let Some(unfinished) = end.unfinished {
            disk.remove(unfinished)?;
        }
        disk.resume(end.position.segment, end.position.offset)?;
        let writer = FrameWriter::default();
        Ok(Journal { disk, position: end.position, generation: end.generation, segment_bytes, writer })
    }

    /// Whether the segment has reached its size, so that [`Journal::roll`] is due.
    pub fn is_full(&self) -> bool {
        self.position.offset >= self.segment_bytes
    }

    /// Seals the segment and opens the next one with the last heads. The sealed one is never written again.
    ///
    /// # Errors
    ///
    /// The new one cannot be made.
    pub fn roll<'r>(&mut self, heads: impl ExactSizeIterator<Item = HeadRow<'r>>) -> io::Result<()> {
        fail::point("segment-sealing");
        self.open_segment(heads)
    }

    fn open_segment<'r>(&mut self, heads: impl ExactSizeIterator<Item = HeadRow<'r>>) -> io::Result<()> {
        let segment = self.position.segment + 1;
        let sequence = self.position.sequence + 1;
        let generation = rand::random();
        self.writer.begin(generation, sequence);
        self.writer.heads(heads);
        let mut bytes = frame::segment_header(segment, generation).to_vec();
        bytes.extend_from_slice(self.writer.finish());
        self.disk.create(segment, &bytes)?;
        self.position = Position { segment, offset: bytes.len() as u64, sequence };
        self.generation = generation;
        Ok(())
    }

    /// Begins the next frame.
    pub fn begin(&mut self) -> &mut FrameWriter {
        self.writer.begin(self.generation, self.position.sequence + 1);
        &mut self.writer
    }

    /// Ends the frame and writes it. It is durable after [`Journal::sync`].
    ///
    /// # Errors
    ///
    /// The write fails; nothing may be written after that.
    pub fn write(&mut self) -> io::Result<()> {
        let bytes = self.writer.finish();
        self.disk.append(bytes)?;
        self.position.offset += bytes.len() as u64;
        self.position.sequence += 1;
        Ok(())
    }

    /// Makes what was written durable.
    ///
    /// # Errors
    ///
    /// The sync fails; nothing may be written after that.
    pub fn sync(&mut self) -> io::Result<()> {
        self.disk.sync()
    }

    /// The place behind the last frame.
    pub fn position(&self) -> Position {
        self.position
    }
}
