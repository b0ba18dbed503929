//! The benchmark: one JSON line per workload, then a table. What each workload measures: docs/performance.md.

mod append;
mod audit;
mod follow;
mod house;
mod lifecycle;
mod limits;
mod overload;
mod qr;
mod report;
mod size;

/// As the node's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use house::House;
use report::Line;

/// Measures this build on this machine.
#[derive(Debug, Parser)]
struct Arguments {
    /// A small version of every workload, in about a minute.
    #[arg(long)]
    quick: bool,
    /// Workloads to run, by name, with commas between; all if not given.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Where the measured ledgers lie: on the disk that is to be measured. Emptied first.
    #[arg(long)]
    dir: PathBuf,
}

/// How much of everything.
struct Scale {
    span: Duration,
    limit_span: Duration,
    catchup_records: u64,
    lives_records: u64,
    large_records: u64,
    /// Vouchers of each of the holders who live through everything.
    vouchers_each: usize,
    /// Pictures of each case of bad pictures.
    pictures: u32,
}

const FULL: Scale = Scale {
    span: Duration::from_secs(30),
    limit_span: Duration::from_secs(3),
    catchup_records: 300_000,
    lives_records: 300_000,
    large_records: 1_000_000,
    vouchers_each: 50,
    pictures: 30,
};

const QUICK: Scale = Scale {
    span: Duration::from_secs(3),
    limit_span: Duration::from_millis(500),
    catchup_records: 30_000,
    lives_records: 20_000,
    large_records: 60_000,
    vouchers_each: 5,
    pictures: 6,
};

struct Bench {
    arguments: Arguments,
    lines: Vec<Line>,
}

impl Bench {
    fn wants(&self, workloads: &[&str]) -> bool {
        let only = &self.arguments.only;
        only.is_empty() || only.iter().any(|wanted| workloads.contains(&wanted.as_str()))
    }

    fn add(&mut self, line: Line) -> anyhow::Result<()> {
        if self.wants(&[line.workload]) {
            line.print()?;
            self.lines.push(line);
        }
        Ok(())
    }

    /// A directory of its own for a workload; the one before is removed.
    fn dir(&self, name: &str) -> anyhow::Result<PathBuf> {
        let dir = self.arguments.dir.join("bench-data");
        remove(&dir)?;
        let dir = dir.join(name);
        std::fs::create_dir_all(&dir).with_context(|| format!("{} cannot be made", dir.display()))?;
        Ok(dir)
    }
}

fn remove(dir: &Path) -> anyhow::Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("{} cannot be emptied", dir.display()))
        }
        _ => Ok(()),
    }
}

fn closed(house: Arc<House>) -> anyhow::Result<()> {
    Arc::into_inner(house).context("the house is still in use")?.close()
}

async fn run(bench: &mut Bench, scale: &Scale) -> anyhow::Result<()> {
    if bench.wants(&["append_one"]) {
        let house = Arc::new(House::found(&bench.dir("append-one")?)?);
        bench.add(append::one(house.clone(), scale.span).await?)?;
        closed(house)?;
    }
    if bench.wants(&["append_64"]) {
        let house = Arc::new(House::found(&bench.dir("append-64")?)?);
        bench.add(append::sixty_four(house.clone(), scale.span).await?)?;
        closed(house)?;
    }
    if bench.wants(&["append_batch"]) {
        let house = Arc::new(House::found(&bench.dir("append-batch")?)?);
        bench.add(append::batch(house.clone(), scale.span).await?)?;
        closed(house)?;
    }
    if bench.wants(&["catchup", "live_delay"]) {
        let dir = bench.dir("follow")?;
        let house = Arc::new(House::found(&dir)?);
        let records = if bench.wants(&["catchup"]) { scale.catchup_records } else { 0 };
        house.grow(records)?;
        let mut pair = follow::Pair::open(house, &dir)?;
        bench.add(pair.catch_up().await?)?;
        if bench.wants(&["live_delay"]) {
            bench.add(pair.live_delay(scale.span).await?)?;
        }
        pair.close().await;
    }
    if bench.wants(&["verify"]) {
        let house = House::found(&bench.dir("lives")?)?;
        house.live(scale.lives_records)?;
        bench.add(audit::verify(&house)?)?;
        house.close()?;
    }
    if bench.wants(&["proof", "verify_log", "restart", "bytes_per_record"]) {
        let dir = bench.dir("large")?;
        let house = House::found(&dir)?;
        house.grow(scale.large_records)?;
        if bench.wants(&["proof"]) {
            bench.add(audit::proof(&house, scale.span)?)?;
        }
        bench.add(audit::verify_log(&house)?)?;
        let (records, store) = (house.size(), house.config.store.dir.clone());
        bench.add(size::restart(house)?)?;
        bench.add(size::bytes_per_record(&store, records)?)?;
    }
    if bench.wants(&["lifecycle"]) {
        let dir = bench.dir("lifecycle")?;
        bench.add(lifecycle::lifecycle(&dir, scale.vouchers_each).await?)?;
    }
    if bench.wants(&["rest_writes", "overload"]) {
        let dir = bench.dir("overload")?;
        for line in overload::overload(&dir, scale.span).await? {
            bench.add(line)?;
        }
    }
    if bench.wants(&qr::workloads()) {
        for line in qr::reading(scale.pictures)? {
            bench.add(line)?;
        }
    }
    let limits = ["limit_sign", "limit_verify_strict", "limit_sha256", "limit_fdatasync", "limit_sled_batch"];
    if bench.wants(&limits) {
        for line in limits::all(&bench.dir("limits")?, scale.limit_span)? {
            bench.add(line)?;
        }
    }
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let scale = if arguments.quick { QUICK } else { FULL };
    let mut bench = Bench { arguments, lines: Vec::new() };
    run(&mut bench, &scale).await?;
    remove(&bench.arguments.dir.join("bench-data"))?;
    println!("\n{}", report::table(&bench.lines));
    Ok(())
}
