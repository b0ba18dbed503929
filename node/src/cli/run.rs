//! `run`: the node itself.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use domain::time::Millis;
use voucher_node::clock::NodeClock;
use voucher_node::config::Config;
use voucher_node::{server, telemetry};

use super::GOOD;

const AFTER_HELP: &str = "\
Examples:
  voucher-node run --config /srv/voucher/gulou/node.toml
  VOUCHER__HTTP__BIND=127.0.0.1:7200 voucher-node run --config node.toml
  RUST_LOG=debug voucher-node run --config node.toml --log-json 2>>node.log

Every field of the file can be set by the environment: VOUCHER__, the section, __, the field.
What it says goes to standard error; RUST_LOG chooses how much. It stops on Ctrl-C and on SIGTERM, after what it has
accepted is on disk. Killed at any point, it loses nothing that it has answered.";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct RunArgs {
    /// The node's configuration (`init` writes one; config/ has examples that explain each field)
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Log lines as JSON, for machines
    #[arg(long)]
    log_json: bool,
    /// For the demo: a clock so many milliseconds ahead, which may be moved forward. Never in production
    #[arg(long, value_name = "MILLIS")]
    federation_clock: Option<i64>,
    /// Stop when standard input ends: for a parent process that starts nodes and may not outlive them
    #[arg(long)]
    stop_at_eof: bool,
}

pub(super) fn run(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let config = load(&args.config)?;
    telemetry::start_logging(args.log_json);
    let clock = match args.federation_clock {
        Some(ahead) if ahead < 0 => anyhow::bail!("--federation-clock {ahead}: the clock is only ever ahead"),
        Some(ahead) => NodeClock::federation(Millis(ahead)),
        None => NodeClock::real(),
    };
    if args.stop_at_eof {
        server::stop_at_eof();
    }
    actix_web::rt::System::new().block_on(server::run(config, Arc::new(clock)))?;
    Ok(ExitCode::from(GOOD))
}

/// Reads a configuration, and says what to do where that does not work.
pub(super) fn load(path: &std::path::Path) -> anyhow::Result<Config> {
    if !path.is_file() {
        anyhow::bail!("there is no configuration at {}; `voucher-node init` makes one", path.display());
    }
    Config::load(path).with_context(|| format!("the configuration {} cannot be used", path.display()))
}
