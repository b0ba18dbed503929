//! Checking: inclusion proofs, one log against its signed head, and everything again from its first record.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actors::kv::{Memory, Tx};
use actors::replica::{self, Settings, Work};
use anyhow::{Context as _, ensure};
use domain::ids::InstitutionId;
use domain::member::Registry;
use ledger::checkpoint::Checkpoint;
use ledger::log::Ledger;
use ledger::merkle::{Edge, leaf_hash, verify_inclusion};
use rand::RngExt as _;
use rayon::prelude::*;

use crate::house::{House, verifier};
use crate::report::{Line, Times};

/// Entries read and hashed at once.
const READ_ENTRIES: usize = 16_384;

/// Entries folded into one transaction.
const FOLD_ENTRIES: usize = 1_024;

/// Threads that ask for proofs.
const THREADS: u64 = 2;

/// Proofs of random records of a large log: made from the tiles, and checked against the head whose signature was
/// verified once.
pub(crate) fn proof(house: &House, span: Duration) -> anyhow::Result<Line> {
    let began = Instant::now();
    let (ledger, origin) = (house.writer.ledger(), house.config.origin());
    let head = signed_head(house)?;
    let worker = || -> anyhow::Result<(u64, Times)> {
        let (mut random, mut made, mut times) = (rand::rng(), 0, Times::default());
        while began.elapsed() < span {
            let asked = Instant::now();
            let index = random.random_range(0..head.size);
            let entry = ledger.entry(&origin, index).context("the entry is held")?;
            let path = ledger.inclusion_proof(&origin, index, head.size).context("a proof can be made")?;
            verify_inclusion(index, head.size, &leaf_hash(&entry), &path, &head.root)?;
            times.since(asked);
            made += 1;
        }
        Ok((made, times))
    };
    let (mut made, mut times) = (0, Times::default());
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS).map(|_| scope.spawn(worker)).collect();
        for worker in workers {
            let (n, took) = worker.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
            made += n;
            times.extend(took);
        }
        anyhow::Ok(())
    })?;
    Ok(Line::rate("proof", "proofs/s", made, began.elapsed(), times))
}

/// One log alone: each entry hashed, the root compared with the signed head.
pub(crate) fn verify_log(house: &House) -> anyhow::Result<Line> {
    let began = Instant::now();
    let head = signed_head(house)?;
    let mut edge = Edge::default();
    read(house.writer.ledger(), &house.config.origin(), head.size, &mut |entries| {
        let hashes: Vec<_> = entries.par_iter().map(|entry| leaf_hash(entry)).collect();
        hashes.into_iter().for_each(|hash| edge.push(hash));
        Ok(())
    })?;
    ensure!(edge.root() == head.root, "the entries do not lead to the signed head");
    Ok(Line::rate("verify_log", "records/s", head.size, began.elapsed(), Times::default()))
}

/// Everything: root, chains, custody, presentations, and the state that follows, compared with the node's own.
pub(crate) fn verify(house: &House) -> anyhow::Result<Line> {
    let began = Instant::now();
    let (head, me) = (signed_head(house)?, house.config.institution);
    let settings = house.writer.settings();
    let mut edge = Edge::default();
    let mut replica = Replica::new(settings);
    read(house.writer.ledger(), &house.config.origin(), head.size, &mut |entries| {
        let hashes: Vec<_> = entries.par_iter().map(|entry| leaf_hash(entry)).collect();
        hashes.into_iter().for_each(|hash| edge.push(hash));
        entries.chunks(FOLD_ENTRIES).try_for_each(|entries| replica.fold(me, entries))
    })?;
    ensure!(edge.root() == head.root, "the entries do not lead to the signed head");
    let counted = replica.read(replica::counters);
    ensure!(counted == house.writer.read(replica::counters).answer, "the state is not what the log says");
    Ok(Line::rate("verify", "records/s", head.size, began.elapsed(), Times::default()))
}

/// A replica in memory, folded from nothing.
struct Replica<'a> {
    settings: &'a Settings,
    memory: Memory,
    registry: Arc<Registry>,
    next: u64,
}

impl<'a> Replica<'a> {
    fn new(settings: &'a Settings) -> Self {
        let registry = Arc::new(Registry::new(settings.registrar));
        Self { settings, memory: Memory::default(), registry, next: 0 }
    }

    fn fold(&mut self, institution: InstitutionId, entries: &[Arc<[u8]>]) -> anyhow::Result<()> {
        let tx = Tx::new(&self.memory);
        let mut work = Work { tx, registry: self.registry.clone(), settings: self.settings };
        let first = self.next;
        for entry in entries {
            let known = replica::apply(&mut work, institution, self.next, entry);
            ensure!(known.is_some(), "record {} breaks the rules of a log", self.next);
            self.next += 1;
        }
        self.registry = work.registry.clone();
        let writes = work.tx.into_writes();
        self.memory.commit(writes);
        for (index, entry) in (first..).zip(entries) {
            self.memory.hold(institution, index, entry.clone());
        }
        Ok(())
    }

    fn read<T>(&self, reading: impl FnOnce(&Work<'_>) -> T) -> T {
        reading(&Work { tx: Tx::new(&self.memory), registry: self.registry.clone(), settings: self.settings })
    }
}

/// What is done with the next entries of a log.
type EachChunk<'a> = dyn FnMut(&[Arc<[u8]>]) -> anyhow::Result<()> + 'a;

/// The newest head, its signature verified.
fn signed_head(house: &House) -> anyhow::Result<Checkpoint> {
    let origin = house.config.origin();
    let head = house.writer.ledger().head(&origin).context("nothing is written")?;
    Ok(Checkpoint::open(head.note.as_bytes(), &origin, &[verifier(&house.config)?])?)
}

fn read(
    ledger: &Ledger,
    origin: &str,
    size: u64,
    each: &mut EachChunk<'_>,
) -> anyhow::Result<()> {
    let mut next = 0;
    while next < size {
        let most = usize::try_from(size - next).unwrap_or(usize::MAX).min(READ_ENTRIES);
        let entries = ledger.entries(origin, next, most);
        ensure!(!entries.is_empty(), "entry {next} is missing");
        each(&entries)?;
        next += entries.len() as u64;
    }
    Ok(())
}
