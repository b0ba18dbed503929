//! Checking: inclusion proofs, one log against its signed head, and everything again from its first record.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actors::auditor::verify::verify_store;
use anyhow::{Context as _, ensure};
use ledger::checkpoint::Checkpoint;
use ledger::log::Ledger;
use ledger::merkle::{Edge, leaf_hash, verify_inclusion};
use rand::RngExt as _;
use rayon::prelude::*;

use crate::house::{House, verifier};
use crate::report::{Line, Times};

/// Entries read and hashed at once.
const READ_ENTRIES: usize = 16_384;

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

/// Everything, as the auditor does it: chains, custody and presentations folded again from the first record, the stored
/// state compared row by row, the root compared with the signed head.
pub(crate) fn verify(house: &House) -> anyhow::Result<Line> {
    let began = Instant::now();
    let (head, me) = (signed_head(house)?, house.config.institution);
    let verified = verify_store(house.writer.logs(), house.writer.settings(), &[(me, head.size)])?;
    let took = began.elapsed();
    ensure!(verified.is_good(), "the store is not what its log says: {:?}", verified.state);
    ensure!(verified.roots.get(&me).is_some_and(|root| root.0 == head.root.0), "the root is not the signed one");
    Ok(Line::rate("verify", "records/s", head.size, took, Times::default()))
}

/// What is done with the next entries of a log.
type EachChunk<'a> = dyn FnMut(&[Arc<[u8]>]) -> anyhow::Result<()> + 'a;

/// The newest head, its signature verified.
fn signed_head(house: &House) -> anyhow::Result<Checkpoint> {
    let origin = house.config.origin();
    let head = house.writer.ledger().head(&origin).context("nothing is written")?;
    Ok(Checkpoint::open(head.note.as_bytes(), &origin, &[verifier(&house.config)?])?)
}

fn read(ledger: &Ledger, origin: &str, size: u64, each: &mut EachChunk<'_>) -> anyhow::Result<()> {
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
