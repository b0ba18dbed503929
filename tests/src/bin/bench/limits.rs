//! What this machine can do at most: the signature, the hash, the sync and the store that everything stands on.

use std::fs::File;
use std::hint::black_box;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use ed25519_dalek::{Signer as _, SigningKey};
use sha2::{Digest as _, Sha256};

use crate::report::{Line, Times};

/// Bytes of the message that is signed and hashed: a record of usual length.
const RECORD_BYTES: usize = 300;

/// Bytes of one write before a sync.
const BLOCK_BYTES: usize = 4_096;

/// Rows of one batch of the store.
const SLED_ROWS: u64 = 1_000;

/// All limits, each measured for `span`.
pub(crate) fn all(dir: &Path, span: Duration) -> anyhow::Result<Vec<Line>> {
    let key = SigningKey::from_bytes(&[7; 32]);
    let message = [9; RECORD_BYTES];
    let signature = key.sign(&message);
    let public = key.verifying_key();
    Ok(vec![
        spin("limit_sign", "signatures/s", span, || {
            black_box(key.sign(black_box(&message)));
            Ok(())
        })?,
        spin("limit_verify_strict", "signatures/s", span, || {
            Ok(public.verify_strict(black_box(&message), &signature)?)
        })?,
        spin("limit_sha256", "hashes/s", span, || {
            black_box(Sha256::digest(black_box(message)));
            Ok(())
        })?,
        fdatasync(dir, span)?,
        sled_batch(dir, span)?,
    ])
}

fn spin(
    workload: &'static str,
    unit: &'static str,
    span: Duration,
    mut once: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<Line> {
    let (began, mut done) = (Instant::now(), 0);
    while began.elapsed() < span {
        for _ in 0..32 {
            once()?;
        }
        done += 32;
    }
    Ok(Line::rate(workload, unit, done, began.elapsed(), Times::default()))
}

/// 4 KiB appended to a file and synced.
fn fdatasync(dir: &Path, span: Duration) -> anyhow::Result<Line> {
    let path = dir.join("fdatasync");
    let mut file = File::create(&path)?;
    let block = [7; BLOCK_BYTES];
    let (began, mut times, mut done) = (Instant::now(), Times::default(), 0);
    while began.elapsed() < span {
        let asked = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        times.since(asked);
        done += 1;
    }
    let line = Line::rate("limit_fdatasync", "syncs/s", done, began.elapsed(), times);
    std::fs::remove_file(path)?;
    Ok(line)
}

/// Batches of 1,000 rows in sled, each made durable.
fn sled_batch(dir: &Path, span: Duration) -> anyhow::Result<Line> {
    let path = dir.join("sled");
    let db = sled::Config::new().path(&path).flush_every_ms(None).open()?;
    let file = File::open(path.join("db"))?;
    let (began, mut times, mut done) = (Instant::now(), Times::default(), 0_u64);
    while began.elapsed() < span {
        let asked = Instant::now();
        let mut batch = sled::Batch::default();
        for row in done..done + SLED_ROWS {
            batch.insert(&row.to_be_bytes(), &[7; RECORD_BYTES][..]);
        }
        db.apply_batch(batch)?;
        // sled's own flush stops before the drive's cache.
        db.flush()?;
        file.sync_data()?;
        times.since(asked);
        done += SLED_ROWS;
    }
    let line = Line::rate("limit_sled_batch", "rows/s", done, began.elapsed(), times);
    drop(db);
    std::fs::remove_dir_all(path)?;
    Ok(line)
}
