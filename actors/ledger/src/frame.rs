//! The bytes of one commit in the journal: a frame with its checksum, and the sections in it.

use crate::merkle::Hash;

/// Longest frame, in bytes. A length field above it is damage.
pub const MAX_FRAME_BYTES: usize = 64 * 1024 * 1024;

/// Bytes in front of the sections: magic, crc32c of the rest, length of the whole, generation, sequence.
pub const FRAME_HEADER_BYTES: usize = 32;

/// Bytes in front of the first frame of a segment: magic, number, generation, crc32c of these.
pub const SEGMENT_HEADER_BYTES: usize = 28;

const FRAME_MAGIC: &[u8; 8] = b"SVJFRAM1";
const SEGMENT_MAGIC: &[u8; 8] = b"SVJSEGM1";

/// A change of one log: new entries, and the head that covers them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSection<'a> {
    /// This node's own log, or a mirror of another's.
    pub own: bool,
    /// Which log.
    pub origin: &'a str,
    /// Index of the first entry; the size of the log before.
    pub first: u64,
    /// Root of the log before.
    pub previous: Hash,
    /// The entries, in order.
    pub entries: Vec<&'a [u8]>,
    /// Size of the log after.
    pub size: u64,
    /// Root of the log after.
    pub root: Hash,
    /// The signed checkpoint that covers this size; of a mirror it may be of a larger size.
    pub note: &'a str,
}

/// Where one log stood when a segment was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadRow<'a> {
    /// Which log.
    pub origin: &'a str,
    /// Entries held.
    pub size: u64,
    /// Root of these.
    pub root: Hash,
    /// The last signed checkpoint of which all entries are held; empty if none.
    pub complete: &'a str,
    /// The last signed checkpoint accepted; of a mirror it may be larger than what is held.
    pub newest: &'a str,
}

/// One part of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Section<'a> {
    /// New entries of a log.
    Log(LogSection<'a>),
    /// Private rows: key, and value or removal.
    Private(Vec<(&'a [u8], Option<&'a [u8]>)>),
    /// The heads of all logs, first frame of a segment.
    Heads(Vec<HeadRow<'a>>),
}

/// One commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Number of the commit, from 1 and without gaps, over all segments.
    pub sequence: u64,
    /// What it holds.
    pub sections: Vec<Section<'a>>,
    /// Bytes of the whole frame.
    pub length: usize,
}

const LOG_OWN: u8 = 1;
const LOG_MIRROR: u8 = 2;
const PRIVATE: u8 = 3;
const HEADS: u8 = 4;

/// Writes one frame into a buffer that is used again and again.
#[derive(Debug, Default)]
pub struct FrameWriter {
    bytes: Vec<u8>,
    spans: Vec<(usize, usize)>,
}

impl FrameWriter {
    /// Begins a frame and forgets the one before.
    pub fn begin(&mut self, generation: u64, sequence: u64) {
        self.bytes.clear();
        self.spans.clear();
        self.bytes.extend_from_slice(FRAME_MAGIC);
        self.bytes.extend_from_slice(&[0; 8]);
        self.bytes.extend_from_slice(&generation.to_le_bytes());
        self.bytes.extend_from_slice(&sequence.to_le_bytes());
    }

    /// Writes the entries of a log; [`FrameWriter::end_log`] must follow.
    pub fn log<'e>(
        &mut self,
        own: bool,
        origin: &str,
        first: u64,
        previous: &Hash,
        entries: impl ExactSizeIterator<Item = &'e [u8]>,
    ) {
        self.spans.clear();
        self.bytes.push(if own { LOG_OWN } else { LOG_MIRROR });
        self.sized(origin.as_bytes());
        self.bytes.extend_from_slice(&first.to_le_bytes());
        self.bytes.extend_from_slice(&previous.0);
        self.bytes.extend_from_slice(&(entries.len() as u32).to_le_bytes());
        for entry in entries {
            let start = self.bytes.len() + 4;
            self.sized(entry);
            self.spans.push((start, self.bytes.len()));
        }
    }

    /// The entries of the last [`FrameWriter::log`] as they stand in the frame: what is hashed before signing.
    pub fn entries(&self) -> impl Iterator<Item = &[u8]> {
        self.spans.iter().map(|&(start, end)| &self.bytes[start..end])
    }

    /// Writes the head behind the entries.
    pub fn end_log(&mut self, size: u64, root: &Hash, note: &str) {
        self.bytes.extend_from_slice(&size.to_le_bytes());
        self.bytes.extend_from_slice(&root.0);
        self.sized(note.as_bytes());
    }

    /// Writes private rows.
    pub fn private<'r>(&mut self, rows: impl ExactSizeIterator<Item = (&'r [u8], Option<&'r [u8]>)>) {
        self.bytes.push(PRIVATE);
        self.bytes.extend_from_slice(&(rows.len() as u32).to_le_bytes());
        for (key, value) in rows {
            self.sized(key);
            self.bytes.push(value.is_some().into());
            self.sized(value.unwrap_or_default());
        }
    }

    /// Writes where all logs stand.
    pub fn heads<'r>(&mut self, rows: impl ExactSizeIterator<Item = HeadRow<'r>>) {
        self.bytes.push(HEADS);
        self.bytes.extend_from_slice(&(rows.len() as u32).to_le_bytes());
        for row in rows {
            self.sized(row.origin.as_bytes());
            self.bytes.extend_from_slice(&row.size.to_le_bytes());
            self.bytes.extend_from_slice(&row.root.0);
            self.sized(row.complete.as_bytes());
            self.sized(row.newest.as_bytes());
        }
    }

    /// Ends the frame: length and checksum. Answers its bytes.
    pub fn finish(&mut self) -> &[u8] {
        let length = self.bytes.len() as u32;
        self.bytes[12..16].copy_from_slice(&length.to_le_bytes());
        let crc = crc32c::crc32c(&self.bytes[12..]);
        self.bytes[8..12].copy_from_slice(&crc.to_le_bytes());
        &self.bytes
    }

    fn sized(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(bytes);
    }
}

/// Reads the frame at the start of `bytes`. `None` if there is no good one: too short, another generation, a wrong
/// checksum, a section that does not parse. Checks nothing about what the sections say.
pub fn read(bytes: &[u8], generation: u64) -> Option<Frame<'_>> {
    let mut cursor = Cursor(bytes);
    if cursor.array()? != FRAME_MAGIC {
        return None;
    }
    let crc = cursor.u32()?;
    let length = cursor.u32()? as usize;
    if !(FRAME_HEADER_BYTES..=MAX_FRAME_BYTES).contains(&length) || cursor.u64()? != generation {
        return None;
    }
    let sequence = cursor.u64()?;
    let frame = bytes.get(..length)?;
    if crc32c::crc32c(&frame[12..]) != crc {
        return None;
    }
    let mut cursor = Cursor(&frame[FRAME_HEADER_BYTES..]);
    let mut sections = Vec::new();
    while !cursor.0.is_empty() {
        sections.push(cursor.section()?);
    }
    Some(Frame { sequence, sections, length })
}

/// The sequence of the first good frame that begins anywhere in `bytes`, if there is one. The generation is random, so
/// nobody can write an entry that looks like a frame.
pub fn find(bytes: &[u8], generation: u64) -> Option<u64> {
    let mut rest = bytes;
    while rest.len() >= FRAME_HEADER_BYTES {
        let at = rest.windows(FRAME_MAGIC.len()).position(|window| window == FRAME_MAGIC)?;
        rest = rest.get(at..)?;
        if let Some(frame) = read(rest, generation) {
            return Some(frame.sequence);
        }
        rest = rest.get(1..)?;
    }
    None
}

/// How many good frames of any generation begin in `bytes`: for a segment whose own generation cannot be read.
pub fn count_any(bytes: &[u8]) -> usize {
    let mut count = 0;
    let mut rest = bytes;
    while let Some(at) = rest.windows(FRAME_MAGIC.len()).position(|window| window == FRAME_MAGIC) {
        let Some(found) = rest.get(at..) else { break };
        let generation = found.get(16..).and_then(|bytes| Cursor(bytes).u64());
        count += usize::from(generation.is_some_and(|generation| read(found, generation).is_some()));
        rest = found.get(1..).unwrap_or_default();
    }
    count
}

/// The first bytes of a segment.
pub fn segment_header(number: u64, generation: u64) -> [u8; SEGMENT_HEADER_BYTES] {
    let mut bytes = [0; SEGMENT_HEADER_BYTES];
    bytes[..8].copy_from_slice(SEGMENT_MAGIC);
    bytes[8..16].copy_from_slice(&number.to_le_bytes());
    bytes[16..24].copy_from_slice(&generation.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..24]);
    bytes[24..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// The generation of the segment `number`; `None` if its first bytes are not those of that segment.
pub fn read_segment_header(bytes: &[u8], number: u64) -> Option<u64> {
    let mut cursor = Cursor(bytes.get(..SEGMENT_HEADER_BYTES)?);
    if cursor.array()? != SEGMENT_MAGIC || cursor.u64()? != number {
        return None;
    }
    let generation = cursor.u64()?;
    (cursor.u32()? == crc32c::crc32c(&bytes[..24])).then_some(generation)
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(taken)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(|bytes| u32::from_le_bytes(*bytes))
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(|bytes| u64::from_le_bytes(*bytes))
    }

    fn hash(&mut self) -> Option<Hash> {
        self.array().map(|bytes| Hash(*bytes))
    }

    fn sized(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()? as usize;
        self.take(length)
    }

    fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.sized()?).ok()
    }

    /// As many items as a count in front of them says; the count itself allocates nothing.
    fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.u32()?;
        (0..count).map(|_| item(self)).collect()
    }

    fn section(&mut self) -> Option<Section<'a>> {
        match self.array::<1>()?[0] {
            kind @ (LOG_OWN | LOG_MIRROR) => Some(Section::Log(LogSection {
                own: kind == LOG_OWN,
                origin: self.text()?,
                first: self.u64()?,
                previous: self.hash()?,
                entries: self.list(Self::sized)?,
                size: self.u64()?,
                root: self.hash()?,
                note: self.text()?,
            })),
            PRIVATE => Some(Section::Private(self.list(|cursor| {
                let key = cursor.sized()?;
                let present = match cursor.array::<1>()?[0] {
                    0 => false,
                    1 => true,
                    _ => return None,
                };
                let value = cursor.sized()?;
                // What is removed has no value: a frame has one spelling.
                (present || value.is_empty()).then_some((key, present.then_some(value)))
            })?)),
            HEADS => Some(Section::Heads(self.list(|cursor| {
                Some(HeadRow {
                    origin: cursor.text()?,
                    size: cursor.u64()?,
                    root: cursor.hash()?,
                    complete: cursor.text()?,
                    newest: cursor.text()?,
                })
            })?)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let mut writer = FrameWriter::default();
        writer.begin(7, 3);
        writer.log(true, "a.example/log", 5, &Hash([1; 32]), [&b"one"[..], b""].into_iter());
        assert_eq!(writer.entries().collect::<Vec<_>>(), [&b"one"[..], b""]);
        writer.end_log(7, &Hash([2; 32]), "note");
        writer.private([(&b"k"[..], Some(&b"v"[..])), (b"gone", None)].into_iter());
        let row = HeadRow { origin: "b", size: 9, root: Hash([3; 32]), complete: "", newest: "n" };
        writer.heads([row].into_iter());
        writer.finish().to_vec()
    }

    #[test]
    fn a_frame_is_read_as_it_was_written() {
        let bytes = sample();
        let frame = read(&bytes, 7).unwrap();
        assert_eq!((frame.sequence, frame.length), (3, bytes.len()));
        let [Section::Log(log), Section::Private(rows), Section::Heads(heads)] = &frame.sections[..] else { panic!() };
        assert_eq!((log.own, log.origin, log.first, log.size, log.note), (true, "a.example/log", 5, 7, "note"));
        assert_eq!(log.entries, [&b"one"[..], b""]);
        assert_eq!(rows, &[(&b"k"[..], Some(&b"v"[..])), (b"gone", None)]);
        assert_eq!(heads[0].size, 9);
    }

    #[test]
    fn golden_bytes() {
        let mut writer = FrameWriter::default();
        writer.begin(1, 2);
        writer.private([(&b"k"[..], Some(&b"v"[..]))].into_iter());
        let golden = "53564a4652414d31 2eb52933 30000000 0100000000000000 0200000000000000 \
                      03 01000000 01000000 6b 01 01000000 76";
        assert_eq!(hex::encode(writer.finish()), golden.replace(' ', ""));
    }

    #[test]
    fn no_changed_or_cut_frame_is_read() {
        let bytes = sample();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            assert_eq!(read(&changed, 7), None, "byte {at}");
            assert_eq!(read(&bytes[..at], 7), None, "cut at {at}");
        }
        assert_eq!(read(&bytes, 8), None, "another generation");
    }

    #[test]
    fn a_removal_with_a_value_is_none() {
        let mut writer = FrameWriter::default();
        for (present, value, good) in
            [(1, &b"v"[..], true), (1, b"", true), (0, b"", true), (0, b"v", false), (2, b"", false)]
        {
            writer.begin(7, 3);
            writer.bytes.extend_from_slice(&[PRIVATE, 1, 0, 0, 0, 1, 0, 0, 0, b'k', present]);
            writer.sized(value);
            let bytes = writer.finish();
            assert_eq!(read(bytes, 7).is_some(), good, "{present} {value:?}");
        }
    }

    #[test]
    fn a_frame_is_found_behind_damage() {
        let mut bytes = b"SVJFRAM1 no frame".to_vec();
        assert_eq!(find(&bytes, 7), None);
        bytes.extend(sample());
        assert_eq!(find(&bytes, 7), Some(3));
        assert_eq!(find(&bytes, 8), None);
    }

    #[test]
    fn a_segment_header_names_its_number() {
        let header = segment_header(4, 99);
        assert_eq!(read_segment_header(&header, 4), Some(99));
        assert_eq!(read_segment_header(&header, 5), None);
        assert_eq!(read_segment_header(&header[..27], 4), None);
    }
}
