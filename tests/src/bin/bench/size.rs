//! What a large log costs: starting again over it, and its bytes on disk.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use node::clock::NodeClock;

use crate::house::House;
use crate::report::Line;

/// Closes the house and opens it again, until it could decide.
pub(crate) fn restart(house: House) -> anyhow::Result<Line> {
    let (size, config) = (house.size(), house.config.clone());
    house.close()?;
    let began = Instant::now();
    let (writer, ..) = node::server::open(&config, Arc::new(NodeClock::real()))?;
    let took = began.elapsed();
    let folded = writer.read(|work| work.cursor(config.institution).next).answer;
    ensure!(folded == size, "{folded} of {size} records are folded");
    let writer = Arc::into_inner(writer).context("nobody else has the writer")?;
    writer.ledger().clone().close();
    Ok(Line::plain("restart", "s", took.as_secs_f64()))
}

/// Bytes on disk for each record: journal, entries, tiles and state.
pub(crate) fn bytes_per_record(dir: &Path, records: u64) -> anyhow::Result<Line> {
    Ok(Line::plain("bytes_per_record", "bytes", bytes_below(dir)? as f64 / records as f64))
}

/// Blocks that the files below a directory take, in bytes.
fn bytes_below(dir: &Path) -> std::io::Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let data = entry.metadata()?;
        bytes += if data.is_dir() { bytes_below(&entry.path())? } else { data.blocks() * 512 };
    }
    Ok(bytes)
}
