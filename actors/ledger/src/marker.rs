//! The file on tmpfs that says how far the log had come in this boot, so that a plain restart may write at once.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::merkle::Hash;

/// Longest boot id, in bytes. Linux writes 36.
pub const MAX_BOOT_ID_BYTES: usize = 128;

const MAGIC: &[u8; 8] = b"SVMARK2\n";
const BYTES: usize = 8 + 2 + MAX_BOOT_ID_BYTES + 8 + 32 + 8 + 4;

/// What a marker says: in this boot the log had reached this head, and callers were told so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Names the boot (`/proc/sys/kernel/random/boot_id`).
    pub boot_id: String,
    /// Size of the log.
    pub size: u64,
    /// Root of the log at that size.
    pub root: Hash,
    /// Number of the journal's last frame that was durable, whatever it holds.
    pub frame: u64,
}

impl Mark {
    /// Whether a journal whose last own head is (`size`, `root`) has reached this mark, in the same boot.
    pub fn reached_by(&self, boot_id: &str, size: u64, root: &Hash) -> bool {
        self.boot_id == boot_id && (size > self.size || (size == self.size && *root == self.root))
    }

    /// Whether a journal whose last good frame is `frame` lacks one that callers were told of, in the same boot.
    pub fn is_behind(&self, boot_id: &str, frame: u64) -> bool {
        self.boot_id == boot_id && frame < self.frame
    }

    fn to_bytes(&self) -> [u8; BYTES] {
        let boot = self.boot_id.as_bytes();
        let boot = &boot[..boot.len().min(MAX_BOOT_ID_BYTES)];
        let mut bytes = Vec::with_capacity(BYTES);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&(boot.len() as u16).to_le_bytes());
        bytes.extend_from_slice(boot);
        bytes.resize(10 + MAX_BOOT_ID_BYTES, 0);
        bytes.extend_from_slice(&self.size.to_le_bytes());
        bytes.extend_from_slice(&self.root.0);
        bytes.extend_from_slice(&self.frame.to_le_bytes());
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        bytes.try_into().expect("the parts above add up to BYTES")
    }

    fn from_bytes(bytes: &[u8]) -> Option<Mark> {
        let bytes: &[u8; BYTES] = bytes.try_into().ok()?;
        let (body, crc) = bytes.split_last_chunk::<4>()?;
        let (magic, body) = body.split_first_chunk::<8>()?;
        if magic != MAGIC || crc32c::crc32c(&bytes[..BYTES - 4]) != u32::from_le_bytes(*crc) {
            return None;
        }
        let (length, body) = body.split_first_chunk::<2>()?;
        let (boot, body) = body.split_first_chunk::<MAX_BOOT_ID_BYTES>()?;
        let boot = boot.get(..usize::from(u16::from_le_bytes(*length)))?;
        let (size, body) = body.split_first_chunk::<8>()?;
        let (root, frame) = body.split_first_chunk::<32>()?;
        Some(Mark {
            boot_id: String::from_utf8(boot.to_vec()).ok()?,
            size: u64::from_le_bytes(*size),
            root: Hash(*root),
            frame: u64::from_le_bytes(frame.try_into().ok()?),
        })
    }
}

fn path_of(dir: &Path, origin: &str) -> PathBuf {
    dir.join(format!("voucher-ledger-{}", hex::encode(Sha256::digest(origin.as_bytes()))))
}

/// Forgets what was said of a log in this boot: the next open may not write before the others were asked.
///
/// # Errors
///
/// The file cannot be removed.
pub fn forget(dir: &Path, origin: &str) -> io::Result<()> {
    match std::fs::remove_file(path_of(dir, origin)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The open marker of one log.
#[derive(Debug)]
pub struct Marker {
    file: File,
    path: PathBuf,
    boot_id: String,
}

impl Marker {
    /// Opens or makes the marker of `origin` in `dir`, and answers what it said before. A damaged one says nothing.
    ///
    /// # Errors
    ///
    /// The directory or the file cannot be opened or read.
    pub fn open(dir: &Path, origin: &str, boot_id: &str) -> io::Result<(Marker, Option<Mark>)> {
        std::fs::create_dir_all(dir)?;
        let path = path_of(dir, origin);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
        let mut bytes = [0; BYTES];
        let before = file.read_exact_at(&mut bytes, 0).ok().and_then(|()| Mark::from_bytes(&bytes));
        Ok((Marker { file, path, boot_id: boot_id.to_owned() }, before))
    }

    /// Says that the log has reached (`size`, `root`) and the journal this frame: one write at the start of the kept-open
    /// file.
    ///
    /// # Errors
    ///
    /// The write fails.
    pub fn write(&self, size: u64, root: Hash, frame: u64) -> io::Result<()> {
        let mark = Mark { boot_id: self.boot_id.clone(), size, root, frame };
        self.file.write_all_at(&mark.to_bytes(), 0)
    }

    /// Where the marker lies.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_reached_by_the_same_boot_only() {
        let mark = Mark { boot_id: "b1".into(), size: 5, root: Hash([5; 32]), frame: 9 };
        assert!(mark.is_behind("b1", 8) && !mark.is_behind("b1", 9) && !mark.is_behind("b2", 8));
        // boot, size, root, reached
        let table =
            [("b1", 5, 5, true), ("b1", 6, 6, true), ("b1", 5, 6, false), ("b1", 4, 4, false), ("b2", 6, 6, false)];
        for (boot, size, root, reached) in table {
            assert_eq!(mark.reached_by(boot, size, &Hash([root; 32])), reached, "{boot} {size} {root}");
        }
    }

    #[test]
    fn a_mark_is_read_back_and_a_damaged_one_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (marker, before) = Marker::open(dir.path(), "log.example/a", "boot").unwrap();
        assert_eq!(before, None);
        marker.write(9, Hash([1; 32]), 4).unwrap();
        let said = Marker::open(dir.path(), "log.example/a", "other").unwrap().1.unwrap();
        assert_eq!(said, Mark { boot_id: "boot".into(), size: 9, root: Hash([1; 32]), frame: 4 });
        assert_eq!(Marker::open(dir.path(), "log.example/b", "boot").unwrap().1, None);

        let mut bytes = std::fs::read(marker.path()).unwrap();
        bytes[150] ^= 1;
        std::fs::write(marker.path(), bytes).unwrap();
        assert_eq!(Marker::open(dir.path(), "log.example/a", "boot").unwrap().1, None);
    }
}
