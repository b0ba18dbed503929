//! Where slots lie: a file that is written in place, or memory. It knows offsets and bytes, no keys.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

/// Bytes that are overwritten in place.
pub trait SlotDisk: Send + Sync {
    /// All that is there.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    fn load(&self) -> io::Result<Vec<u8>>;
    /// Puts bytes where others may be.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Returns when everything written is on disk.
    ///
    /// # Errors
    ///
    /// Nobody knows whether it is.
    fn sync(&self) -> io::Result<()>;
}

/// Slots in a file that its owner alone may read.
#[derive(Debug)]
pub struct FileSlots(File);

impl FileSlots {
    /// Opens the file, or makes it with mode 600.
    ///
    /// # Errors
    ///
    /// It cannot be opened, or others may read it.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
                fs::create_dir_all(parent)?;
                let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
                file.sync_all()?;
                // The name must last as well: keys in a file that is not there after a crash are lost.
                File::open(parent)?.sync_all()?;
                file
            }
            opened => opened?,
        };
        if file.metadata()?.permissions().mode() & 0o077 != 0 {
            let text = format!("{} can be read by others; set its mode to 600", path.display());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        Ok(Self(file))
    }
}

impl SlotDisk for FileSlots {
    fn load(&self) -> io::Result<Vec<u8>> {
        let length = usize::try_from(self.0.metadata()?.len()).map_err(io::Error::other)?;
        let mut bytes = vec![0; length];
        self.0.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }
    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

/// Slots in memory; clones share them, and see what a crash would leave.
#[derive(Debug, Clone, Default)]
pub struct MemorySlots(Arc<Mutex<Held>>);

#[derive(Debug, Default)]
struct Held {
    now: Vec<u8>,
    synced: Vec<u8>,
}

impl MemorySlots {
    /// What a crash now would leave.
    #[must_use]
    pub fn crashed(&self) -> Self {
        let synced = self.0.lock().synced.clone();
        Self(Arc::new(Mutex::new(Held { now: synced.clone(), synced })))
    }
}

impl SlotDisk for MemorySlots {
    fn load(&self) -> io::Result<Vec<u8>> {
        Ok(self.0.lock().now.clone())
    }
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut held = self.0.lock();
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let end = start.saturating_add(bytes.len());
        if held.now.len() < end {
            held.now.resize(end, 0);
        }
        held.now[start..end].copy_from_slice(bytes);
        Ok(())
    }
    fn sync(&self) -> io::Result<()> {
        let mut held = self.0.lock();
        held.synced = held.now.clone();
        Ok(())
    }
}
