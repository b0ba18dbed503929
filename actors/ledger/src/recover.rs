//! Opening a ledger: the journal is made durable, the store is checked against it and brought up to its end.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use fs4::FileExt;
use parking_lot::{Condvar, Mutex, RwLock};

use crate::book::{self, Book, Durable, FullTiles, Log, Snapshot};
use crate::checkpoint::Checkpoint;
use crate::commit::{self, Queue};
use crate::disk::{Disk, FileDisk};
use crate::fail;
use crate::frame::{Frame, HeadRow, LogSection, Section};
use crate::journal::{self, End, Journal, JournalError, Position};
use crate::keep;
use crate::layout;
use crate::log::{Durability, Handover, Ledger, Options, Shared};
use crate::marker::{MAX_BOOT_ID_BYTES, Marker};
use crate::merkle::{EMPTY_ROOT, Hash, leaf_hash};
use crate::mirror::{Head, Held};
use crate::note::Note;
use crate::read::{HASHED_TILES, HashedTiles};
use crate::replaced::{self, Replaced};
use crate::store::sled::{OpenStoreError, SledStore};
use crate::store::{Changes, Store, StoreError};
use crate::tile::{TILE_WIDTH, Tiles};
use crate::value::Value;

/// Bytes of replayed entries and rows after which the store is written, so that a long replay does not fill the memory.
const REPLAY_ROUND_BYTES: usize = 32 * 1024 * 1024;

/// Most logs of one ledger.
const MAX_LOGS: usize = 65_536;

/// What was found while opening.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// This boot's marker says that the own log is all there: writing is allowed already.
    pub plain_restart: bool,
    /// The own log's last head: size and root.
    pub size: u64,
    /// Its root.
    pub root: Option<Hash>,
    /// Frames replayed into the store.
    pub replayed_frames: u64,
    /// Each log's size that the store already had, with the state that was folded up to there.
    pub stored: Vec<(String, u64)>,
    /// Bytes of a torn last frame that were cut off. Nobody was told of it.
    pub torn_bytes: u64,
    /// Why the store was set aside and rebuilt from the journal, if it was.
    pub rebuilt: Option<String>,
}

/// Why a ledger does not open. Each text says what an operator can do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file cannot be made, read or written.
    #[error("{doing}: {error}")]
    Io {
        /// What was being done.
        doing: String,
        /// What the file system says.
        error: std::io::Error,
    },
    /// An option is of no use.
    #[error("the option {0}")]
    Options(&'static str),
    /// Another process has the directory.
    #[error("{0} is in use by another process. One directory serves one node: stop the other one")]
    InUse(PathBuf),
    /// The journal cannot be relied on.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A frame does not continue what is held before it.
    #[error(
        "frame {sequence} of the journal does not continue the log {origin}: {reason}. \
         Restore the journal from a backup, or the log from its mirrors"
    )]
    DoesNotContinue {
        /// Number of the frame.
        sequence: u64,
        /// Which log.
        origin: String,
        /// What does not fit.
        reason: String,
    },
    /// The store is damaged, and the journal does not reach back to the first entry.
    #[error(
        "the store is damaged ({0}), and the journal no longer has the first entries. Restore the log from its mirrors"
    )]
    CannotRebuild(String),
    /// The store failed.
    #[error("the store cannot be used: {0}")]
    Store(#[from] StoreError),
}

fn io(doing: impl Into<String>) -> impl FnOnce(std::io::Error) -> OpenError {
    let doing = doing.into();
    move |error| OpenError::Io { doing, error }
}

impl Ledger {
    /// Opens the ledger of `options.dir`, or makes a new one.
    ///
    /// # Errors
    ///
    /// See [`OpenError`]. Nothing that was acknowledged is ever cut off or replaced to make it open.
    pub fn open(options: Options) -> Result<(Ledger, OpenReport), OpenError> {
        let dir = options.dir.clone();
        std::fs::create_dir_all(&dir).map_err(io("making the ledger's directory"))?;
        let lock_path = dir.join("lock");
        let lock = std::fs::OpenOptions::new().write(true).create(true).truncate(false).open(&lock_path);
        let lock = lock.map_err(io("opening the lock file"))?;
        if FileExt::try_lock(&lock).is_err() {
            return Err(OpenError::InUse(dir));
        }
        let mut disk = FileDisk::open(&dir.join("journal")).map_err(io("opening the journal's directory"))?;
        let store_dir = dir.join("store");
        let mut replaced = Replaced::read(&dir).map_err(io("reading which mirrors were replaced"))?;
        let given_up = give_up(&dir, &store_dir, &mut disk, &mut replaced)?;
        let (store, damage) = match SledStore::open(&store_dir) {
            Ok(store) => (store, given_up),
            Err(OpenStoreError::Io(error)) => return Err(io("opening the store")(error)),
            Err(OpenStoreError::Damaged(reason)) => (new_store(&store_dir)?, Some(reason)),
        };
        sync_dirs(&dir)?;
        let renew = |old: Arc<dyn Store>| {
            // sled holds its directory until the last handle is gone.
            drop(old);
            new_store(&store_dir).map(|store| Arc::new(store) as Arc<dyn Store>)
        };
        open_with(options, Box::new(disk), Arc::new(store), damage, Some(lock), &replaced, renew)
    }

    /// Opens a ledger on any disk and store, for tests and simulations. A damaged store is an error here, since only
    /// the caller can give another one.
    ///
    /// # Errors
    ///
    /// As [`Ledger::open`].
    pub fn open_on(
        options: Options,
        disk: Box<dyn Disk>,
        store: Arc<dyn Store>,
    ) -> Result<(Ledger, OpenReport), OpenError> {
        open_with(options, disk, store, None, None, &Replaced::default(), |_| {
            Err(OpenError::CannotRebuild("a store that was given from outside".into()))
        })
    }
}

/// Gives up the mirrors that are to be replaced: what the journal has of them is overlooked from now on, and the store,
/// which has them, goes. Answers why the store is made again, if it is.
fn give_up(
    dir: &Path,
    store_dir: &Path,
    disk: &mut FileDisk,
    replaced: &mut Replaced,
) -> Result<Option<String>, OpenError> {
    let asked = replaced::asked(dir).map_err(io("reading which mirrors are to be replaced"))?;
    if asked.is_empty() {
        return Ok(None);
    }
    let end = journal::replay::<OpenError>(disk, None, |_, _| Ok(()))?;
    let sequence = end.map_or(0, |end| end.position.sequence);
    replaced.overlook(dir, &asked, sequence).map_err(io("writing which mirrors were replaced"))?;
    match std::fs::remove_dir_all(store_dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(io("removing the store with the mirrors that are replaced")(error));
        }
        _ => {}
    }
    replaced::done(dir).map_err(io("ending the replacement of mirrors"))?;
    Ok(Some(format!("the mirrors of {} were replaced", asked.into_iter().collect::<Vec<_>>().join(", "))))
}

/// Renames a damaged store to `store.damaged-N` and opens an empty one.
fn new_store(store_dir: &Path) -> Result<SledStore, OpenError> {
    for number in 1..=u32::MAX {
        let aside = store_dir.with_file_name(format!("store.damaged-{number}"));
        if !aside.exists() {
            std::fs::rename(store_dir, &aside).map_err(io("setting the damaged store aside"))?;
            break;
        }
    }
    SledStore::open(store_dir).map_err(|error| OpenError::Store(StoreError::Failed(error.to_string())))
}

/// Makes the names in the ledger's directory durable, and its own name.
fn sync_dirs(dir: &Path) -> Result<(), OpenError> {
    for dir in [Some(dir), dir.parent().filter(|parent| !parent.as_os_str().is_empty())].into_iter().flatten() {
        std::fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(io("syncing the ledger's directory"))?;
    }
    Ok(())
}

fn check(options: &Options) -> Result<(), OpenError> {
    if options.origin != options.signer.name() || options.origin.contains('\0') {
        return Err(OpenError::Options("origin must be the name of the signer's key"));
    }
    if options.boot_id.is_empty() || options.boot_id.len() > MAX_BOOT_ID_BYTES {
        return Err(OpenError::Options("boot_id must have 1 to 128 bytes"));
    }
    Ok(())
}

fn open_with(
    options: Options,
    mut disk: Box<dyn Disk>,
    store: Arc<dyn Store>,
    damage: Option<String>,
    lock: Option<std::fs::File>,
    replaced: &Replaced,
    renew: impl FnOnce(Arc<dyn Store>) -> Result<Arc<dyn Store>, OpenError>,
) -> Result<(Ledger, OpenReport), OpenError> {
    check(&options)?;
    fail::point("opening");
    let origin: Arc<str> = options.origin.as_str().into();
    let mut report = OpenReport { rebuilt: damage, ..OpenReport::default() };

    let loaded = match load(&*store)? {
        Loaded::Book(book, position) => Ok((book, position)),
        Loaded::Damaged(reason) => Err(reason),
    };
    let (store, (book, from)) = match loaded {
        Ok(loaded) => (store, loaded),
        Err(reason) => {
            let store = renew(store)?;
            report.rebuilt = Some(reason);
            (store, (Book::default(), None))
        }
    };
    let size = |(origin, log): (&Arc<str>, &Log)| (origin.to_string(), log.accepted);
    report.stored = book.logs.iter().map(size).collect();

    let position = from.unwrap_or_default();
    let mut replay = Replay { options: &options, store: &*store, replaced, book, position, frames: 0 };
    let end: Option<End> = match &report.rebuilt {
        Some(reason) => {
            let reason = reason.clone();
            journal::replay(&mut *disk, None, |frame, position| {
                if position.sequence > 1 && replay.frames == 0 {
                    return Err(OpenError::CannotRebuild(reason.clone()));
                }
                replay.frame(frame, position)
            })?
        }
        None => journal::replay(&mut *disk, from, |frame, position| replay.frame(frame, position))?,
    };
    if options.checks_signature {
        replay.check_signature(&origin)?;
    }
    report.replayed_frames = replay.frames;
    let mut book = replay.book;
    let (marker, mark) =
        Marker::open(&options.marker_dir, &origin, &options.boot_id).map_err(io("opening the marker"))?;
    let journal = match end {
        Some(end) => {
            // A write that was torn was told to nobody. In this boot the marker knows what was told.
            if end.torn_bytes > 0 && mark.as_ref().is_some_and(|m| m.is_behind(&options.boot_id, end.position.sequence))
            {
                let Position { segment, offset, .. } = end.position;
                let reason = "a frame that was acknowledged cannot be read".into();
                return Err(JournalError::Damaged { segment, offset, reason }.into());
            }
            report.torn_bytes = end.torn_bytes;
            Journal::resume(disk, end, options.segment_bytes)
        }
        None => Journal::create(disk, options.segment_bytes),
    };
    let journal = journal.map_err(io("opening the journal for writing"))?;
    let encoded = store.get(layout::ROWS)?;
    let as_now = encoded.is_some_and(|rows| rows == layout::rows_value(&options.marks));
    if store.get(layout::CLEARING)?.is_some() || !as_now {
        keep::clear_rows(&*store, &options.marks)?;
    }

    let own = book.logs.entry(origin.clone()).or_default();
    (report.size, report.root) = (own.durable.size(), Some(own.durable.root));
    report.plain_restart =
        mark.is_some_and(|mark| mark.reached_by(&options.boot_id, own.durable.size(), &own.durable.root));

    let shared = Arc::new(Shared {
        origin,
        signer: RwLock::new(options.signer.clone()),
        storing: Mutex::new(()),
        book: RwLock::new(book),
        queue: Mutex::new(Queue { may_write: report.plain_restart, ..Queue::default() }),
        work: Condvar::new(),
        handover: Mutex::new(Handover::default()),
        handed_over: Condvar::new(),
        alarm: Mutex::new(false),
        store_due: Condvar::new(),
        durability: Mutex::new(Durability::default()),
        hints: Mutex::default(),
        store,
        hashed_tiles: HashedTiles::new(HASHED_TILES),
        disk_low: Default::default(),
        counters: Default::default(),
        options,
    });
    keep::look_at_disk(&shared);
    let ledger = Ledger::start(shared, journal, Some(marker), lock).map_err(io("starting the ledger's threads"))?;
    Ok((ledger, report))
}

enum Loaded {
    Book(Book, Option<Position>),
    Damaged(String),
}

/// Reads where the store stands: each log's head, its right edge, and its last chunk of entries.
fn load(store: &dyn Store) -> Result<Loaded, StoreError> {
    let position = match store.get(layout::POSITION) {
        Ok(None) => return Ok(Loaded::Book(Book::default(), None)),
        Ok(Some(value)) => layout::parse_position(&value),
        Err(StoreError::Failed(reason)) => return Ok(Loaded::Damaged(reason)),
        Err(error) => return Err(error),
    };
    let damaged = |what: &str| Ok(Loaded::Damaged(what.to_owned()));
    match store.get(layout::DAMAGED) {
        Ok(None) => {}
        Ok(Some(why)) => return damaged(&String::from_utf8_lossy(&why)),
        Err(StoreError::Failed(reason)) => return Ok(Loaded::Damaged(reason)),
        Err(error) => return Err(error),
    }
    let Some(position) = position else { return damaged("its position is unreadable") };
    let rows = match store.range(layout::HEADS.0, layout::HEADS.1, MAX_LOGS) {
        Ok(rows) => rows,
        Err(StoreError::Failed(reason)) => return Ok(Loaded::Damaged(reason)),
        Err(error) => return Err(error),
    };
    let mut book = Book::default();
    for (_, value) in rows {
        let Some(row) = layout::parse_head(&value) else { return damaged("a head is unreadable") };
        match load_log(store, &row) {
            Ok(log) => book.logs.insert(row.origin.into(), log),
            Err(StoreError::Failed(reason)) => return Ok(Loaded::Damaged(reason)),
            Err(error) => return Err(error),
        };
    }
    Ok(Loaded::Book(book, Some(position)))
}

fn load_log(store: &dyn Store, row: &HeadRow<'_>) -> Result<Log, StoreError> {
    let damaged = |what: &str| StoreError::Failed(format!("{what} of {}", row.origin));
    let mut failed = None;
    let tiles = Tiles::from_partials(row.size, |level, index, width| {
        let value = match store.get(&layout::edge_key(row.origin, level)) {
            Ok(value) => value?,
            Err(error) => {
                failed = Some(error);
                return None;
            }
        };
        let (stored, hashes) = value.split_first_chunk::<8>()?;
        (u64::from_be_bytes(*stored) == index && hashes.len() == usize::from(width) * 32).then(|| hashes.to_vec())
    });
    if let Some(error) = failed {
        return Err(error);
    }
    let tiles = tiles.map_err(|error| damaged(&format!("the right edge ({error})")))?;
    if tiles.root() != row.root {
        return Err(damaged("the right edge does not have the root of the last head"));
    }
    let complete = head(row.complete, row.origin).map_err(|()| damaged("an unreadable head"))?;
    let newest = head(row.newest, row.origin).map_err(|()| damaged("an unreadable head"))?;
    let fits = |head: &Head| head.checkpoint.size != row.size || head.checkpoint.root == row.root;
    if !complete.iter().chain(&newest).all(fits) {
        return Err(damaged("the signed head does not have the root"));
    }
    let durable = Arc::new(Durable { root: row.root, tiles: tiles.clone(), complete, newest: newest.clone() });
    let mut log = Log {
        accepted: row.size,
        held: Held { tiles, newest },
        recent_from: row.size,
        durable: durable.clone(),
        stored: durable,
        ..Log::default()
    };
    if let Some(last) = row.size.checked_sub(1) {
        let found = store.last(&layout::entries_key(row.origin, 0), &layout::entries_key(row.origin, last))?;
        let chunk =
            found.and_then(|(key, value)| Some((layout::first_of(&key)?, layout::parse_chunk(&value, 0, TILE_WIDTH)?)));
        let (first, entries) = chunk.ok_or_else(|| damaged("the last entries"))?;
        if first + entries.len() as u64 != row.size {
            return Err(damaged("the last entries"));
        }
        log.recent_from = first;
        log.recent = entries.into();
    }
    Ok(log)
}

/// A head as the journal or the store keeps it. The signature was verified when it was accepted; the text is read again.
fn head(note: &str, origin: &str) -> Result<Option<Head>, ()> {
    if note.is_empty() {
        return Ok(None);
    }
    let text = note.split("\n\n").next().ok_or(())?;
    let mut lines = text.split('\n');
    let found = lines.next().ok_or(())?;
    let size = lines.next().and_then(|line| line.parse().ok()).ok_or(())?;
    let root = lines.next().and_then(Hash::from_base64).ok_or(())?;
    if found != origin || Note::parse(note).is_err() {
        return Err(());
    }
    let checkpoint = Checkpoint { origin: origin.to_owned(), size, root };
    Ok(Some(Head { checkpoint, note: note.into() }))
}

/// What is held of a log after a section that continues it, with the tiles that it filled: its entries must lead to its
/// root and to its head. `own` is the name of the own log.
pub(crate) fn continued(
    held: &Durable,
    section: &LogSection<'_>,
    own: &str,
) -> Result<(Durable, FullTiles), &'static str> {
    if section.own != (section.origin == own) {
        return Err("a frame of the own log is another log's, or the other way round");
    }
    if section.first != held.size() {
        return Err("its first index is not the size held");
    }
    if section.previous != held.root {
        return Err("its previous root is not the root held");
    }
    let mut durable = held.clone();
    for entry in &section.entries {
        durable.tiles.push(leaf_hash(entry));
    }
    let mut full = Vec::new();
    commit::take_full(&mut durable, &mut full);
    durable.root = durable.tiles.root();
    if (durable.size(), durable.root) != (section.size, section.root) {
        return Err("its entries do not lead to its root");
    }
    let head = head(section.note, section.origin).ok().flatten().ok_or("its head is unreadable")?;
    let signed = &head.checkpoint;
    let fits = if signed.size == section.size { signed.root == section.root } else { signed.size > section.size };
    if !fits || (section.own && signed.size != section.size) {
        return Err("its signed head is not the head of its entries");
    }
    commit::covered(&mut durable, head);
    Ok((durable, full))
}

/// A head at the start of a segment must be the one held.
pub(crate) fn same_head(held: Option<&Durable>, row: &HeadRow<'_>) -> Result<(), &'static str> {
    let held = held.map_or((0, EMPTY_ROOT), |held| (held.size(), held.root));
    if held == (row.size, row.root) { Ok(()) } else { Err("the segment opens with another head than the one held") }
}

/// What is replayed, frame by frame.
struct Replay<'a> {
    options: &'a Options,
    store: &'a dyn Store,
    replaced: &'a Replaced,
    book: Book,
    position: Position,
    frames: u64,
}

impl Replay<'_> {
    fn frame(&mut self, frame: &Frame<'_>, position: Position) -> Result<(), OpenError> {
        let sequence = frame.sequence;
        for section in &frame.sections {
            match section {
                Section::Log(section) if self.replaced.overlooks(section.origin, sequence) => {}
                Section::Log(section) => self.log(section).map_err(|reason| OpenError::DoesNotContinue {
                    sequence,
                    origin: section.origin.to_owned(),
                    reason: reason.to_owned(),
                })?,
                Section::Private(rows) => {
                    for (key, value) in rows.iter() {
                        let value = value.map(|value| Value::Bytes(value.into()));
                        self.book.set(layout::row_key(layout::PRIVATE, key), value);
                    }
                }
                Section::Heads(rows) => {
                    for row in rows.iter().filter(|row| !self.replaced.overlooks(row.origin, sequence)) {
                        self.heads(row).map_err(|reason| OpenError::DoesNotContinue {
                            sequence,
                            origin: row.origin.to_owned(),
                            reason: reason.to_owned(),
                        })?;
                    }
                }
            }
        }
        self.position = position;
        self.frames += 1;
        if self.book.live_bytes > REPLAY_ROUND_BYTES {
            self.store()?;
        }
        Ok(())
    }

    fn log(&mut self, section: &LogSection<'_>) -> Result<(), &'static str> {
        let log = self.book.logs.entry(section.origin.into()).or_default();
        let (durable, full) = continued(&log.durable, section, &self.options.origin)?;
        log.accept(section.entries.iter().map(|entry| Arc::from(*entry)));
        log.held = Held { tiles: durable.tiles.clone(), newest: durable.newest.clone() };
        log.durable = Arc::new(durable);
        log.full.extend(full);
        self.book.live_bytes += section.entries.iter().map(|entry| entry.len()).sum::<usize>();
        Ok(())
    }

    /// The heads at the start of a segment must be those held.
    fn heads(&self, row: &HeadRow<'_>) -> Result<(), &'static str> {
        same_head(self.book.logs.get(row.origin).map(|log| &*log.durable), row)
    }

    /// Writes what was replayed so far into the store.
    fn store(&mut self) -> Result<(), OpenError> {
        let logs = self.book.logs.iter().map(|(origin, log)| (origin.clone(), log.durable.clone())).collect();
        let snapshot = Snapshot { position: self.position, logs };
        self.book.freeze();
        keep::apply(self.store, book::gather(&self.book, &snapshot).changes(Changes::new()))?;
        drop(book::stored(&mut self.book, &snapshot));
        Ok(())
    }

    /// The last own head must be signed by this log's key: a directory with another key's log must not be continued.
    fn check_signature(&self, origin: &str) -> Result<(), OpenError> {
        let newest = self.book.logs.get(origin).and_then(|log| log.durable.newest.as_ref());
        let Some(newest) = newest else { return Ok(()) };
        let keys = [self.options.signer.verifier().clone()];
        Checkpoint::open(newest.note.as_bytes(), origin, &keys).map(|_| ()).map_err(|error| {
            OpenError::DoesNotContinue {
                sequence: self.position.sequence,
                origin: origin.to_owned(),
                reason: format!("the last head is not signed by this node's key ({error})"),
            }
        })
    }
}
