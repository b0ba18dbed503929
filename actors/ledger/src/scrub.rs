//! Reading again, slowly, what was stored long ago, so that a disk that forgets is found out before it is believed.
//!
//! ```text
//!   each log: bundle ─► leaf hashes = tile of level 0 ─► its root = hash in the tile above ─► … ─► the right edge
//!   each sealed segment of the journal: header and checksums of all frames
//! ```
//!
//! The right edge was compared with the signed head when the ledger was opened. Each bundle is judged for itself, so a
//! pass may be broken off anywhere and gone on with later.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::fail::Stop;
use crate::journal;
use crate::layout;
use crate::log::{Ledger, Shared};
use crate::merkle::{Edge, Hash, leaf_hash};
use crate::store::Store;
use crate::tile::TILE_WIDTH;

/// Bytes of a hash in a tile.
const HASH_BYTES: usize = 32;

/// Where a pass goes on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The log that is read; all logs come in the order of their names. None once all are read.
    pub origin: Option<String>,
    /// The bundle of that log, or after the last log the segment of the journal.
    pub next: u64,
}

impl Place {
    /// Where a pass begins.
    #[must_use]
    pub fn first() -> Place {
        Place { origin: Some(String::new()), next: 0 }
    }
}

/// One step of a pass: what was read, and where it goes on; none at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scrubbed {
    /// Bytes read.
    pub bytes: u64,
    /// The next place.
    pub next: Option<Place>,
}

impl Ledger {
    /// Reads one bundle or one sealed segment again and holds it against its hashes. It blocks while it reads.
    ///
    /// What is not as it was written stops the process: a damaged store is marked, so that the next open sets it aside and
    /// builds it again from the journal; a damaged segment is named for the operator.
    pub fn scrub(&self, place: &Place) -> Scrubbed {
        match &place.origin {
            Some(origin) => self.scrub_bundle(origin, place.next),
            None => self.scrub_segment(place.next),
        }
    }

    fn scrub_bundle(&self, origin: &str, index: u64) -> Scrubbed {
        let next_log = || {
            let later = self.origins().into_iter().find(|other| other.as_str() > origin);
            Some(Place { origin: later, next: 0 })
        };
        let size = self.edge_size(origin);
        let first = index.saturating_mul(TILE_WIDTH as u64);
        if first >= size {
            return Scrubbed { bytes: 0, next: next_log() };
        }
        let width = (size - first).min(TILE_WIDTH as u64) as usize;
        let entries = self.entries(origin, first, width);
        let hashes: Vec<u8> = entries.iter().flat_map(|entry| leaf_hash(entry).0).collect();
        if entries.len() != width || self.tile(origin, 0, index, width as u16).as_ref() != Some(&hashes) {
            self.shared
                .damaged(&format!("entries {first} to {} of {origin} do not have their hashes", first + width as u64));
        }
        let tiles = if width == TILE_WIDTH { self.climb(origin, index, hashes) } else { 1 };
        let bytes = entries.iter().map(|entry| entry.len() as u64).sum::<u64>();
        let next = if width == TILE_WIDTH {
            Some(Place { origin: Some(origin.to_owned()), next: index + 1 })
        } else {
            next_log()
        };
        Scrubbed { bytes: bytes + tiles * (TILE_WIDTH * HASH_BYTES) as u64, next }
    }

    fn edge_size(&self, origin: &str) -> u64 {
        self.shared.book.read().logs.get(origin).map_or(0, |log| log.durable.size())
    }

    /// From a full tile upwards, as long as it is the last of the tile above it. How many tiles were read.
    fn climb(&self, origin: &str, index: u64, hashes: Vec<u8>) -> u64 {
        let (mut index, mut hashes, mut read) = (index, hashes, 1);
        for level in 1..=7 {
            let above = index / TILE_WIDTH as u64;
            let width = (index % TILE_WIDTH as u64) as usize + 1;
            let Some(tile) = self.tile(origin, level, above, width as u16) else { return read };
            read += 1;
            if tile.get((width - 1) * HASH_BYTES..) != Some(&root_of(&hashes).0[..]) {
                self.shared.damaged(&format!("tile {}/{index} of {origin} is not below the head", level - 1));
            }
            if width < TILE_WIDTH {
                return read;
            }
            (index, hashes) = (above, tile);
        }
        read
    }

    fn scrub_segment(&self, from: u64) -> Scrubbed {
        let stop = &self.shared.options.stop;
        let dir = self.shared.options.dir.join("journal");
        let sealed = stop.unless("listing the journal's segments", sealed_segments(&dir));
        let Some(number) = sealed.into_iter().find(|number| *number >= from) else {
            return Scrubbed { bytes: 0, next: None };
        };
        let next = Some(Place { origin: None, next: number + 1 });
        match std::fs::read(crate::disk::segment_path(&dir, number)) {
            // It was dropped meanwhile.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Scrubbed { bytes: 0, next },
            read => {
                let bytes = stop.unless("reading a sealed segment of the journal", read);
                stop.unless("reading the journal again", journal::check_sealed(&bytes, number));
                Scrubbed { bytes: bytes.len() as u64, next }
            }
        }
    }
}

/// The root over a full tile.
fn root_of(hashes: &[u8]) -> Hash {
    let mut edge = Edge::default();
    for hash in hashes.as_chunks::<HASH_BYTES>().0 {
        edge.push(Hash(*hash));
    }
    edge.root()
}

/// All segments but the last, which is being written. None where the journal is no directory of files.
fn sealed_segments(dir: &Path) -> std::io::Result<Vec<u64>> {
    if !dir.is_dir() {
        return Ok(Vec::new());
    }
    let mut segments = crate::disk::segments_in(dir)?;
    segments.pop();
    Ok(segments)
}

impl Shared {
    /// What the store holds is not what was written: it is marked, so that the next open sets it aside and builds it again
    /// from the journal, and the process stops.
    pub(crate) fn damaged(&self, what: &str) -> ! {
        mark(&*self.store, what, &self.options.stop);
        self.options.stop.stop(&format!(
            "the store is damaged: {what}. At the next start it is set aside and built again from the journal"
        ))
    }
}

fn mark(store: &dyn Store, what: &str, stop: &Stop) {
    let marked = store.apply(vec![(layout::DAMAGED.to_vec(), Some(what.as_bytes().into()))]);
    stop.unless("marking the damaged store", marked.and_then(|()| store.sync()));
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;
    use crate::key::{NoteSigner, PrivateKey};
    use crate::log::{Batch, Options};
    use crate::recover::OpenReport;
    use crate::store::sled::SledStore;

    const ORIGIN: &str = "test.example/log";

    /// More than one full tile of level 1.
    const SIZE: u64 = 66_000;

    struct House {
        dir: tempfile::TempDir,
        said: Arc<Mutex<Vec<String>>>,
    }

    impl House {
        fn new() -> House {
            House { dir: tempfile::tempdir().unwrap(), said: Arc::default() }
        }

        fn open(&self) -> (Ledger, OpenReport) {
            let signer = NoteSigner::new(ORIGIN, PrivateKey::from_seed(&[7; 32])).unwrap();
            let said = self.said.clone();
            let options = Options {
                min_free_disk_bytes: 0,
                segment_bytes: 512 * 1024,
                marker_dir: self.dir.path().join("marker"),
                stop: Stop::hooked(move |reason| said.lock().push(reason.to_owned())),
                ..Options::new(self.dir.path().join("data"), signer, "boot")
            };
            let (ledger, report) = Ledger::open(options).unwrap();
            ledger.allow_writing();
            (ledger, report)
        }

        fn written() -> House {
            let place = House::new();
            let (ledger, _) = place.open();
            for first in (0..SIZE).step_by(6_000) {
                let own = (first..first + 6_000).map(|index| entry(index).into()).collect();
                ledger.submit(Batch { expected_size: first, own, ..Batch::default() }).unwrap();
                ledger.flush();
            }
            ledger.close();
            place
        }

        /// Changes a value of the closed store, as a bad disk does.
        fn flip(&self, key: Vec<u8>) {
            let store = SledStore::open(&self.dir.path().join("data/store")).unwrap();
            let mut value = store.get(&key).unwrap().unwrap().to_vec();
            *value.last_mut().unwrap() ^= 1;
            store.apply(vec![(key, Some(value.into()))]).unwrap();
            store.sync().unwrap();
        }

        fn last(&self) -> String {
            self.said.lock().last().cloned().unwrap_or_default()
        }
    }

    fn entry(index: u64) -> Vec<u8> {
        format!("entry {index}").into_bytes()
    }

    /// A whole pass: the bytes read and the places; none if it was stopped.
    fn pass(ledger: &Ledger) -> Option<(u64, u64)> {
        let (mut place, mut bytes, mut steps) = (Some(Place::first()), 0, 0);
        while let Some(at) = place {
            let scrubbed = catch_unwind(AssertUnwindSafe(|| ledger.scrub(&at))).ok()?;
            (bytes, steps, place) = (bytes + scrubbed.bytes, steps + 1, scrubbed.next);
        }
        Some((bytes, steps))
    }

    #[test]
    fn a_flipped_byte_in_the_store_is_found_and_the_store_is_built_again() {
        let place = House::written();
        let (ledger, _) = place.open();
        let (bytes, steps) = pass(&ledger).unwrap();
        assert!(bytes > SIZE * 10 && steps > SIZE / 256, "{bytes} bytes in {steps} steps");
        ledger.close();

        let chunk = {
            let store = SledStore::open(&place.dir.path().join("data/store")).unwrap();
            store.last(&layout::entries_key(ORIGIN, 0), &layout::entries_key(ORIGIN, 40_000)).unwrap().unwrap().0
        };
        for (what, key) in [
            ("do not have their hashes", chunk),
            ("do not have their hashes", layout::tile_key(ORIGIN, 0, 100)),
            ("is not below the head", layout::tile_key(ORIGIN, 1, 0)),
        ] {
            place.flip(key);
            let (ledger, report) = place.open();
            assert_eq!(report.rebuilt, None, "an open does not read everything");
            assert_eq!(pass(&ledger), None, "{what}");
            assert!(place.last().contains(what), "{}", place.last());
            ledger.close();
            let (ledger, report) = place.open();
            assert!(report.rebuilt.is_some_and(|why| why.contains(what)));
            assert!(pass(&ledger).is_some(), "{}", place.last());
            for index in [0, 255, 40_000, SIZE - 1] {
                assert_eq!(ledger.entry(ORIGIN, index).unwrap()[..], entry(index));
            }
            ledger.close();
        }
    }

    #[test]
    fn a_flipped_byte_in_a_sealed_segment_is_found() {
        let place = House::written();
        let path = crate::disk::segment_path(&place.dir.path().join("data/journal"), 1);
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 3;
        bytes[middle] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let (ledger, _) = place.open();
        assert_eq!(pass(&ledger), None);
        assert!(place.last().contains("damaged in segment 1"), "{}", place.last());
        // What is served stands in the store, which is sound.
        assert_eq!(ledger.entry(ORIGIN, 3).unwrap()[..], entry(3));
    }

    #[test]
    fn an_empty_ledger_is_soon_read() {
        let place = House::new();
        assert_eq!(pass(&place.open().0).unwrap().0, 0);
    }
}
