//! The vault: keys of private rows, each in a slot that is overwritten when its row goes.
//!
//! ```text
//!  row to write ─► seal: next ready slot ─► journal and store hold ciphertext
//!  row deleted or replaced ─► commit durable ─► slot overwritten, synced ─► answer
//!  start ─► slots that no row names are overwritten: what a crash left
//! ```
//!
//! Journal and store keep old bytes for ever; without the key they say nothing. A key hides one row, so it belongs to one
//! holder or one voucher and goes with it. Keys are made ahead, many with one sync, so a row never waits for its key; a
//! key is on disk before the first row under it. The pure rules know nothing of this: rows are sealed on their way into
//! the ledger and opened on their way out ([`crate::writer`]).

pub mod disk;
pub mod format;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use parking_lot::Mutex;
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use crate::kv::Writes;
use crate::personal;
use disk::{MemorySlots, SlotDisk};
use format::{Key, SLOT_BYTES, Sealed, SlotRef};

/// Keys that are made at once.
pub const POOL: u32 = 1_024;

/// Why the vault cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The slots cannot be read or written.
    #[error("the slots of the vault: {0}")]
    Io(#[from] std::io::Error),
    /// Nothing in it opens.
    #[error("no slot of the vault opens under this node's data key: one of the two was copied from elsewhere")]
    OtherDataKey,
    /// There are more slots than numbers.
    #[error("the vault is full")]
    Full,
    /// Rows whose keys are not there.
    #[error(
        "{0} rows with personal data have no key in the vault: put the vault back that belongs to this ledger, or let \
         them go with `voucher-node keys forget-lost`"
    )]
    KeysMissing(usize),
}

/// A private row as it is stored, and the key that it needs.
pub struct StoredRow {
    /// The row's key.
    pub row_key: Vec<u8>,
    /// What opens its value.
    pub needs: SlotRef,
}

/// A slot: erased, or damaged and not yet erased, or with a key.
enum Slot {
    Erased,
    Damaged,
    /// In a box of its own, so that a growing list leaves no copies of keys behind.
    Holds(SlotRef, Box<Key>),
}

struct Slots {
    disk: Arc<dyn SlotDisk>,
    all: Vec<Slot>,
    /// With keys that no row has used.
    ready: Vec<u32>,
    /// Without keys.
    erased: Vec<u32>,
}

/// Slots that are overwritten once a commit is durable, and who waits for that.
#[derive(Default)]
struct Leaving {
    slots: Vec<SlotRef>,
    waiting: Vec<oneshot::Sender<()>>,
}

struct Core {
    slots: Mutex<Slots>,
    disk: Arc<dyn SlotDisk>,
    leaving: Mutex<BTreeMap<u64, Leaving>>,
    data_key: Key,
}

/// The keys of private rows.
pub struct Vault {
    /// None: this process opens and seals nothing.
    core: Option<Arc<Core>>,
    durable: Sender<u64>,
}

/// Rows on their way into the ledger.
#[derive(Default)]
pub struct Sealing {
    /// The rows, sealed where they must be.
    pub writes: Writes,
    /// Keys that they took.
    taken: Vec<SlotRef>,
    /// Keys of the rows that they delete or replace.
    released: Vec<SlotRef>,
}

impl Vault {
    /// Reads the slots of a disk; `data_key` wraps what is in them.
    ///
    /// # Errors
    ///
    /// [`VaultError::Io`], [`VaultError::OtherDataKey`].
    pub fn open(disk: impl SlotDisk + 'static, data_key: Key) -> Result<Arc<Self>, VaultError> {
        let disk: Arc<dyn SlotDisk> = Arc::new(disk);
        let bytes = disk.load()?;
        let mut all = Vec::with_capacity(bytes.len() / SLOT_BYTES);
        for (number, slot) in (0..).zip(bytes.chunks(SLOT_BYTES)) {
            all.push(match format::unwrap(&data_key, number, slot) {
                Some((of, key)) => Slot::Holds(of, Box::new(key)),
                None if slot.iter().all(|byte| *byte == 0) => Slot::Erased,
                None => Slot::Damaged,
            });
        }
        let holds = |slot: &Slot| matches!(slot, Slot::Holds(..));
        if all.iter().any(|slot| matches!(slot, Slot::Damaged)) && !all.iter().any(holds) {
            return Err(VaultError::OtherDataKey);
        }
        let slots = Slots { disk: disk.clone(), all, ready: Vec::new(), erased: Vec::new() };
        let core = Arc::new(Core { slots: Mutex::new(slots), disk, leaving: Mutex::default(), data_key });
        let (durable, heard) = channel();
        let eraser = core.clone();
        std::thread::Builder::new().name("vault".into()).spawn(move || eraser.erase_as_told(&heard))?;
        Ok(Arc::new(Self { core: Some(core), durable }))
    }

    /// A vault that lives as long as the process, for tests.
    #[must_use]
    pub fn in_memory() -> Arc<Self> {
        Self::open(MemorySlots::default(), Zeroizing::new([0; 32])).expect("memory can be read and written")
    }

    /// No vault: for who looks at logs and state, and at no person.
    #[must_use]
    pub fn locked() -> Arc<Self> {
        let (durable, _) = channel();
        Arc::new(Self { core: None, durable })
    }

    /// Whether any slot has a key.
    #[must_use]
    pub fn holds_keys(&self) -> bool {
        let holds = |core: &Arc<Core>| core.slots.lock().all.iter().any(|slot| matches!(slot, Slot::Holds(..)));
        self.core.as_ref().is_some_and(holds)
    }

    /// Compares slots and rows, once, before anything is sealed: overwrites every slot that no row names. Where rows have
    /// no key, says which if they are to be let go.
    ///
    /// # Errors
    ///
    /// [`VaultError::KeysMissing`], and nothing is overwritten; [`VaultError::Io`].
    pub fn settle(&self, rows: &[StoredRow], let_go: bool) -> Result<Vec<Vec<u8>>, VaultError> {
        let Some(core) = &self.core else { return Ok(Vec::new()) };
        let mut slots = core.slots.lock();
        let holds = |of: SlotRef| matches!(slots.all.get(of.slot as usize), Some(Slot::Holds(held, _)) if *held == of);
        let lost: Vec<Vec<u8>> = rows.iter().filter(|row| !holds(row.needs)).map(|row| row.row_key.clone()).collect();
        if !lost.is_empty() && !let_go {
            return Err(VaultError::KeysMissing(lost.len()));
        }
        let named: std::collections::BTreeSet<SlotRef> = rows.iter().map(|row| row.needs).collect();
        let idle = |slot: &Slot| match slot {
            Slot::Erased => false,
            Slot::Damaged => true,
            Slot::Holds(of, _) => !named.contains(of),
        };
        let idle: Vec<u32> = (0..).zip(&slots.all).filter(|(_, slot)| idle(slot)).map(|(number, _)| number).collect();
        slots.overwrite(&idle)?;
        core.disk.sync()?;
        slots.erased =
            (0..).zip(&slots.all).filter(|(_, slot)| matches!(slot, Slot::Erased)).map(|(number, _)| number).collect();
        slots.ready.clear();
        Ok(lost)
    }

    /// Seals those of some rows that must be; `stored` gives what is stored under a key now.
    ///
    /// Keys that cannot be put on disk stop the process: nothing may be promised that cannot be read or erased.
    pub fn seal_all(&self, rows: Writes, stored: impl Fn(&[u8]) -> Option<Arc<[u8]>>) -> Sealing {
        let mut sealing = Sealing::default();
        for (key, value) in rows {
            if !personal::is_sealed(&key) {
                sealing.writes.insert(key, value);
                continue;
            }
            let old = stored(&key);
            sealing.released.extend(old.and_then(|old| Sealed::read(&old).map(|sealed| sealed.key)));
            let value = value.map(|plain| {
                let (of, sealed) = self.seal(&key, &Zeroizing::new(plain));
                sealing.taken.push(of);
                sealed
            });
            sealing.writes.insert(key, value);
        }
        sealing
    }

    fn seal(&self, row_key: &[u8], plain: &[u8]) -> (SlotRef, Vec<u8>) {
        let Some(core) = &self.core else { ledger::fail::stop("a row with personal data is written without a vault") };
        let mut slots = core.slots.lock();
        let taken = match slots.take(&core.data_key) {
            Ok(taken) => taken,
            Err(error) => ledger::fail::stop(&format!("a key for a row with personal data: {error}")),
        };
        let Some(Slot::Holds(of, key)) = slots.all.get(taken as usize) else {
            ledger::fail::stop("a ready slot of the vault holds no key")
        };
        (*of, format::seal(key, *of, &rand::random(), row_key, plain))
    }

    /// The value of a private row; a row that was never sealed is as it is.
    ///
    /// A value that does not open stops the process: keys and rows do not belong together.
    #[must_use]
    pub fn open_row(&self, row_key: &[u8], value: Arc<[u8]>) -> Arc<[u8]> {
        let Some(sealed) = personal::is_sealed(row_key).then(|| Sealed::read(&value)).flatten() else { return value };
        match self.opened(row_key, &sealed) {
            Some(plain) => plain.as_slice().into(),
            None => ledger::fail::stop("a row with personal data does not open: its key is not in the vault"),
        }
    }

    fn opened(&self, row_key: &[u8], sealed: &Sealed<'_>) -> Option<Zeroizing<Vec<u8>>> {
        let slots = self.core.as_ref()?.slots.lock();
        match slots.all.get(sealed.key.slot as usize)? {
            Slot::Holds(of, key) if *of == sealed.key && sealed.place == format::place(row_key) => sealed.open(key),
            _ => None,
        }
    }

    /// The ledger did not take the rows: their keys have hidden nothing that anybody has.
    pub fn give_back(&self, sealing: Sealing) {
        if let Some(core) = &self.core {
            core.slots.lock().ready.extend(sealing.taken.iter().map(|of| of.slot));
        }
    }

    /// The ledger took the rows with this ticket. The keys of those that they delete or replace are overwritten once it
    /// is durable, and not before: a crash must not take a row's key and leave the row.
    pub fn erase_after(&self, ticket: u64, released: Vec<SlotRef>, ledger: &ledger::log::Ledger) {
        let Some(core) = self.core.as_ref().filter(|_| !released.is_empty()) else { return };
        core.leaving.lock().entry(ticket).or_default().slots.extend(released);
        let durable = self.durable.clone();
        let tell = move || {
            // The eraser ends only with the process; what it has not done then is done by the next start.
            let _ = durable.send(ticket);
        };
        ledger.when_durable(ticket, Box::new(tell));
    }

    /// Returns when the keys that go with a commit are overwritten on disk.
    pub async fn erased(&self, ticket: u64) {
        let wait = {
            let Some(core) = &self.core else { return };
            let mut leaving = core.leaving.lock();
            let Some(leaving) = leaving.get_mut(&ticket) else { return };
            let (done, wait) = oneshot::channel();
            leaving.waiting.push(done);
            wait
        };
        // The sender is dropped unsent only when the process stops.
        let _ = wait.await;
    }
}

/// Wraps the key of every slot under another data key, in its place; how many were wrapped under the old one.
///
/// Broken off at any point it is done by doing it again: a slot is under the one or the other. What opens under neither is
/// left as it is, and erased by the next start.
///
/// # Errors
///
/// [`VaultError::Io`]; [`VaultError::OtherDataKey`], and nothing is changed.
pub fn rewrap(disk: &impl SlotDisk, old: &Key, new: &Key) -> Result<usize, VaultError> {
    let bytes = disk.load()?;
    let is_done = |(number, slot): (u32, &[u8])| format::unwrap(new, number, slot).is_some();
    let slots = || (0..).zip(bytes.chunks(SLOT_BYTES)).filter(|(_, slot)| slot.iter().any(|byte| *byte != 0));
    let mut wrapped = 0;
    for (number, slot) in slots() {
        let Some((of, key)) = format::unwrap(old, number, slot) else { continue };
        let anew = format::wrap(new, of, &rand::random(), &key);
        disk.write_at(u64::from(number) * SLOT_BYTES as u64, &anew)?;
        wrapped += 1;
        ledger::fail::point("slot-rewrapped");
    }
    if wrapped == 0 && slots().next().is_some() && !slots().any(is_done) {
        return Err(VaultError::OtherDataKey);
    }
    disk.sync()?;
    Ok(wrapped)
}

impl Sealing {
    /// Keys of the rows that are deleted or replaced.
    pub fn released(&mut self) -> Vec<SlotRef> {
        std::mem::take(&mut self.released)
    }
}

impl Core {
    fn erase_as_told(&self, durable: &Receiver<u64>) {
        while let Ok(first) = durable.recv() {
            let tickets: Vec<u64> = std::iter::once(first).chain(durable.try_iter()).collect();
            let mut going: Vec<u32> = Vec::new();
            {
                let leaving = self.leaving.lock();
                let slots = tickets.iter().filter_map(|ticket| leaving.get(ticket));
                going.extend(slots.flat_map(|leaving| leaving.slots.iter().map(|of| of.slot)));
            }
            let overwritten = self.slots.lock().overwrite(&going);
            // Rows are sealed and opened meanwhile; a slot is used again when it is known to be empty on disk.
            let synced = overwritten.and_then(|()| self.disk.sync().map_err(VaultError::Io));
            self.slots.lock().erased.extend(going);
            if let Err(error) = synced {
                ledger::fail::stop(&format!("keys of erased rows cannot be overwritten: {error}"));
            }
            let mut leaving = self.leaving.lock();
            for done in tickets.iter().filter_map(|ticket| leaving.remove(ticket)).flat_map(|l| l.waiting) {
                // Whoever waited may have gone.
                let _ = done.send(());
            }
        }
    }
}

impl Slots {
    /// Overwrites slots. It lasts when the disk is synced.
    fn overwrite(&mut self, numbers: &[u32]) -> Result<(), VaultError> {
        for number in numbers {
            self.disk.write_at(u64::from(*number) * SLOT_BYTES as u64, &[0; SLOT_BYTES])?;
            if let Some(slot) = self.all.get_mut(*number as usize) {
                *slot = Slot::Erased;
            }
        }
        Ok(())
    }

    /// A slot with a key that no row has used; makes many if there is none.
    fn take(&mut self, data_key: &Key) -> Result<u32, VaultError> {
        if let Some(ready) = self.ready.pop() {
            return Ok(ready);
        }
        let next = u32::try_from(self.all.len()).map_err(|_| VaultError::Full)?;
        let until = next.checked_add(POOL).ok_or(VaultError::Full)?;
        let reused = self.erased.len().saturating_sub(POOL as usize);
        let mut numbers = self.erased.split_off(reused);
        let wanted = until - u32::try_from(numbers.len()).map_err(|_| VaultError::Full)?;
        numbers.extend(next..wanted.max(next));
        self.all.resize_with(self.all.len().max(wanted as usize), || Slot::Erased);
        for number in &numbers {
            let of = SlotRef { slot: *number, id: rand::random() };
            let key: Key = Zeroizing::new(rand::random());
            let bytes = format::wrap(data_key, of, &rand::random(), &key);
            self.disk.write_at(u64::from(*number) * SLOT_BYTES as u64, &bytes)?;
            self.all[*number as usize] = Slot::Holds(of, Box::new(key));
        }
        self.disk.sync()?;
        self.ready = numbers;
        self.ready.pop().ok_or(VaultError::Full)
    }
}
