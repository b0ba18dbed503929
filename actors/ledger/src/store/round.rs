//! The round file beside the store: all changes of a round, durable before the first of them is made. So they can be made
//! one by one, between readers, and are whole after a crash.
//!
//! ```text
//! magic · rows: key length, value length (u32 le; u32::MAX removes), key, value · crc32c of all before (u32 le)
//! ```

use std::fs::File;
use std::io::{self, BufWriter, Read as _, Seek as _, Write};
use std::path::Path;
use std::sync::Arc;

use super::Changes;

const NAME: &str = "round";
const MAGIC: &[u8; 8] = b"SVROUND1";

/// In place of a value's length: the row is removed.
const REMOVED: u32 = u32::MAX;

/// The file of one store.
#[derive(Debug)]
pub(super) struct RoundFile {
    file: File,
    /// Whether a round stands in it that the store may not have.
    pub(super) is_open: bool,
}

impl RoundFile {
    /// Opens or makes the file in a store's directory, which the caller syncs. Answers the round that stands in it: one
    /// that was finished here and may be half made in the store. A torn one was not begun there.
    pub(super) fn open(dir: &Path) -> io::Result<(RoundFile, Option<Changes>)> {
        let mut file = File::options().read(true).write(true).create(true).truncate(false).open(dir.join(NAME))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let changes = parse(&bytes);
        Ok((RoundFile { file, is_open: !bytes.is_empty() }, changes))
    }

    /// Writes a round, durably.
    pub(super) fn write(&mut self, changes: &Changes) -> io::Result<()> {
        self.is_open = true;
        self.file.set_len(0)?;
        self.file.rewind()?;
        let mut writer = Summed { inner: BufWriter::new(&self.file), crc: 0 };
        writer.write_all(MAGIC)?;
        for (key, value) in changes {
            writer.write_all(&length(key)?)?;
            writer.write_all(&value.as_ref().map_or(Ok(REMOVED.to_le_bytes()), |value| length(value))?)?;
            writer.write_all(key)?;
            writer.write_all(value.as_deref().unwrap_or_default())?;
        }
        let crc = writer.crc.to_le_bytes();
        writer.write_all(&crc)?;
        writer.flush()?;
        drop(writer);
        self.file.sync_data()
    }

    /// The round is durable in the store: it must never be made again over a later one.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.sync_data()?;
        self.is_open = false;
        Ok(())
    }
}

fn length(bytes: &[u8]) -> io::Result<[u8; 4]> {
    match u32::try_from(bytes.len()) {
        Ok(length) if length != REMOVED => Ok(length.to_le_bytes()),
        _ => Err(io::Error::new(io::ErrorKind::FileTooLarge, "a row of 4 GiB")),
    }
}

/// A writer that sums up what passes.
struct Summed<W> {
    inner: W,
    crc: u32,
}

impl<W: Write> Write for Summed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.crc = crc32c::crc32c_append(self.crc, bytes.get(..written).unwrap_or_default());
        Ok(written)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// The rows of a whole round; `None` if it was torn.
fn parse(bytes: &[u8]) -> Option<Changes> {
    let (round, crc) = bytes.split_last_chunk::<4>()?;
    if crc32c::crc32c(round) != u32::from_le_bytes(*crc) {
        return None;
    }
    let mut rest = round.strip_prefix(MAGIC)?;
    let mut changes = Changes::new();
    while !rest.is_empty() {
        let (key_length, after) = rest.split_first_chunk::<4>()?;
        let (value_length, after) = after.split_first_chunk::<4>()?;
        let (key, after) = after.split_at_checked(u32::from_le_bytes(*key_length) as usize)?;
        let (value, after) = match u32::from_le_bytes(*value_length) {
            REMOVED => (None, after),
            length => {
                let (value, after) = after.split_at_checked(length as usize)?;
                (Some(Arc::from(value)), after)
            }
        };
        changes.push((key.to_vec(), value));
        rest = after;
    }
    Some(changes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Changes {
        let row = |key: &str, value: Option<&str>| (key.into(), value.map(|value| Arc::from(value.as_bytes())));
        vec![row("a", Some("1")), row("b", None), row("", Some(""))]
    }

    #[test]
    fn a_round_is_read_back_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let (mut round, pending) = RoundFile::open(dir.path()).unwrap();
        assert_eq!((round.is_open, pending), (false, None));
        round.write(&rows()).unwrap();
        let whole = std::fs::read(dir.path().join(NAME)).unwrap();
        assert_eq!(RoundFile::open(dir.path()).unwrap().1, Some(rows()));
        for cut in 0..whole.len() {
            assert_eq!(parse(&whole[..cut]), None, "cut at {cut}");
        }
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            assert_eq!(parse(&flipped), None, "flipped at {at}");
        }
        round.clear().unwrap();
        assert_eq!(RoundFile::open(dir.path()).unwrap().1, None);
    }
}
