//! Which key of the store holds what: entries several to a value, tiles, heads, state and private rows.

use std::sync::Arc;

use crate::frame::{FrameWriter, HeadRow, Section};
use crate::journal::Position;

/// How many bytes of entries go into one value: with the largest record it stays below 8 KiB, above which sled is slow.
pub(crate) const CHUNK_BYTES: usize = 7 * 1024 + 512;

pub(crate) const STATE: u8 = b's';
pub(crate) const PRIVATE: u8 = b'p';
/// Rows of the state that have no values (`Options::marks`).
pub(crate) const MARK: u8 = b'k';
const ENTRIES: u8 = b'e';
const TILE: u8 = b't';
const RIGHT_EDGE: u8 = b'r';
const HEAD: u8 = b'h';
const META: u8 = b'm';

/// The key that says up to where of the journal the store holds everything.
pub(crate) const POSITION: &[u8] = b"mposition";
/// The key that says how rows of the state are encoded: [`ROWS_VERSION`] and the first bytes of marks.
pub(crate) const ROWS: &[u8] = b"mrows";
/// Rows of the state that are encoded in any other way are thrown away at open, to be folded again. 1 was not packed.
pub(crate) const ROWS_VERSION: u8 = 2;
/// The key that says that the state is being thrown away.
pub(crate) const CLEARING: &[u8] = b"mclearing";
/// The key that says why the store must be built again.
pub(crate) const DAMAGED: &[u8] = b"mdamaged";
const _: () = assert!(ROWS[0] == META && POSITION[0] == META && CLEARING[0] == META && DAMAGED[0] == META);

/// A key of the state or of the private rows.
pub(crate) fn row_key(kind: u8, key: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(key.len() + 1);
    bytes.push(kind);
    bytes.extend_from_slice(key);
    bytes
}

fn log_key(kind: u8, origin: &str, rest: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(origin.len() + rest.len() + 2);
    key.push(kind);
    key.extend_from_slice(origin.as_bytes());
    key.push(0);
    key.extend_from_slice(rest);
    key
}

/// The chunk of entries that begins with entry `first`.
pub(crate) fn entries_key(origin: &str, first: u64) -> Vec<u8> {
    log_key(ENTRIES, origin, &first.to_be_bytes())
}

/// The first entry of the chunk under a key that [`entries_key`] made.
pub(crate) fn first_of(key: &[u8]) -> Option<u64> {
    key.last_chunk().map(|bytes| u64::from_be_bytes(*bytes))
}

/// A full tile.
pub(crate) fn tile_key(origin: &str, level: u8, index: u64) -> Vec<u8> {
    let mut rest = [level; 9];
    rest[1..].copy_from_slice(&index.to_be_bytes());
    log_key(TILE, origin, &rest)
}

/// The partial tile of a level: its index in 8 bytes, big-endian, then its hashes.
pub(crate) fn edge_key(origin: &str, level: u8) -> Vec<u8> {
    log_key(RIGHT_EDGE, origin, &[level])
}

pub(crate) fn head_key(origin: &str) -> Vec<u8> {
    log_key(HEAD, origin, &[])
}

/// The keys of all heads: from, to.
pub(crate) const HEADS: (&[u8], &[u8]) = (&[HEAD], &[HEAD + 1]);

/// Where the next chunk ends that begins with the first of `entries`: how many of them it takes. It never crosses a
/// bundle's border. The answer for a given start does not depend on what comes later, once the chunk is closed.
pub(crate) struct Chunk {
    /// How many entries it takes.
    pub(crate) count: usize,
    /// Whether a later entry cannot join it.
    pub(crate) closed: bool,
}

pub(crate) fn chunk(first: u64, lengths: impl Iterator<Item = usize>) -> Chunk {
    let room = crate::tile::TILE_WIDTH - (first % crate::tile::TILE_WIDTH as u64) as usize;
    let (mut count, mut bytes) = (0, 0);
    for length in lengths {
        bytes += length + 2;
        if count > 0 && bytes > CHUNK_BYTES {
            return Chunk { count, closed: true };
        }
        count += 1;
        if count == room {
            return Chunk { count, closed: true };
        }
    }
    Chunk { count, closed: false }
}

/// At most `max` entries of a chunk after the first `skip`. `None` if it is damaged so far.
pub(crate) fn parse_chunk(mut bytes: &[u8], skip: usize, max: usize) -> Option<Vec<Arc<[u8]>>> {
    let mut entries = Vec::new();
    let mut nth = 0;
    while !bytes.is_empty() && entries.len() < max {
        let (length, rest) = bytes.split_first_chunk::<2>()?;
        let (entry, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
        if nth >= skip {
            entries.push(entry.into());
        }
        nth += 1;
        bytes = rest;
    }
    Some(entries)
}

/// A head as a value; a frame, for its checksum.
pub(crate) fn head_value(row: HeadRow<'_>) -> Arc<[u8]> {
    let mut writer = FrameWriter::default();
    writer.begin(0, 0);
    writer.heads([row].into_iter());
    writer.finish().into()
}

pub(crate) fn parse_head(value: &[u8]) -> Option<HeadRow<'_>> {
    match crate::frame::read(value, 0)?.sections.pop()? {
        Section::Heads(rows) => rows.into_iter().next(),
        _ => None,
    }
}

/// How rows of the state are encoded, with these marks.
pub(crate) fn rows_value(marks: &[u8]) -> Arc<[u8]> {
    [&[ROWS_VERSION], marks].concat().into()
}

pub(crate) fn position_value(position: Position) -> Arc<[u8]> {
    [position.segment, position.offset, position.sequence].map(u64::to_le_bytes).concat().into()
}

pub(crate) fn parse_position(value: &[u8]) -> Option<Position> {
    let (parts, []) = value.as_chunks::<8>() else { return None };
    let [segment, offset, sequence] = parts else { return None };
    let number = |bytes: &[u8; 8]| u64::from_le_bytes(*bytes);
    Some(Position { segment: number(segment), offset: number(offset), sequence: number(sequence) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_closes_at_its_bytes_and_at_a_bundle() {
        // first, lengths, count, closed
        let table: [(u64, Vec<usize>, usize, bool); 6] = [
            (0, vec![], 0, false),
            (0, vec![300; 10], 10, false),
            (0, vec![300; 100], 25, true),
            (250, vec![1; 100], 6, true),
            (250, vec![1; 6], 6, true),
            (0, vec![7168, 1000], 1, true),
        ];
        for (first, lengths, count, closed) in table {
            let chunk = chunk(first, lengths.iter().copied());
            assert_eq!((chunk.count, chunk.closed), (count, closed), "{first} {}", lengths.len());
        }
    }

    #[test]
    fn a_damaged_chunk_is_none() {
        assert_eq!(parse_chunk(&[0, 1, 9, 0, 0], 0, 9).unwrap(), [Arc::from([9_u8]), Arc::from([])]);
        assert_eq!(parse_chunk(&[0, 2, 9], 0, 9), None);
        assert_eq!(parse_chunk(&[0], 0, 9), None);
        assert_eq!(parse_chunk(&[0, 0, 0, 1, 8, 0, 1, 7], 1, 1).unwrap(), [Arc::from([8_u8])]);
    }

    #[test]
    fn a_position_is_read_back() {
        let position = Position { segment: 1, offset: 2, sequence: 3 };
        assert_eq!(parse_position(&position_value(position)), Some(position));
        assert_eq!(parse_position(&[0; 23]), None);
    }
}
