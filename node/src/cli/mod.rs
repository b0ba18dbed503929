//! The command line: what an operator types, and in which words and exit codes the node answers.
//!
//! Exit codes, the same for every subcommand: [`GOOD`], [`BAD`], [`NOT_DONE`]; a ledger that may not go on ends the
//! process with [`ledger::fail::EXIT_CODE`].

mod account;
mod backup;
mod export;
mod exported;
mod import;
mod init;
mod keys;
mod manifest;
mod node;
mod output;
mod parquet;
mod rebuild;
mod restore;
mod run;
mod state;
mod status;
mod store;
mod verify;

#[cfg(test)]
mod tests;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use voucher_node::demo::{self, DemoArgs};

/// Done, and everything that was looked at is as it should be.
pub(crate) const GOOD: u8 = 0;

/// Something is wrong with what was looked at: a damaged store, a table with faults, a node that is not ready or says no.
pub(crate) const BAD: u8 = 1;

/// It could not be done or judged at all: wrong arguments, no such file, no connection, a store in use.
pub(crate) const NOT_DONE: u8 = 2;

const ABOUT: &str = "One institution's node of the service voucher ledger";

const AFTER_HELP: &str = "\
First steps:
  voucher-node demo                     six institutions on this machine, and a story that they live through
  voucher-node init --help              keys, configuration and join file of an institution
  voucher-node run --config FILE        the node itself
  voucher-node status --url URL         how a node stands

Exit codes:
  0   done, and everything is as it should be
  1   something is wrong with what was looked at, or the node said no
  2   it could not be done: wrong arguments, no such file, no connection, a store in use
  70  the ledger stopped itself, because its storage failed or an invariant broke

Help on one command: voucher-node COMMAND --help. All of it: docs/operating/commands.md.";

#[derive(Debug, Parser)]
#[command(name = "voucher-node", version, about = ABOUT, after_help = AFTER_HELP, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make an institution: its keys, its configuration and the file with which it joins a federation
    Init(init::InitArgs),
    /// Run a node until it is told to stop (Ctrl-C or SIGTERM)
    Run(run::RunArgs),
    /// Six institutions on this machine, and a story that they live through
    Demo(DemoArgs),
    /// The accounts of a stopped node: who may act there
    Account(account::AccountArgs),
    /// How a running node stands, and how old its knowledge of each log is
    Status(status::StatusArgs),
    /// Check the store of a stopped node, an export, or the proof of one record: signatures, hashes, records, the state folded again
    Verify(verify::VerifyArgs),
    /// Write the logs of a stopped node as files for web servers, outsiders' tools and spreadsheets
    Export(export::ExportArgs),
    /// Copy what a node needs to be itself again, while it runs; what has grown since, if it is asked again
    Backup(backup::BackupArgs),
    /// Make a node's store again from a backup, or from an export of somebody who mirrors its log
    Restore(restore::RestoreArgs),
    /// Throw the folded state of a stopped node away and fold it again from the logs
    Rebuild(rebuild::RebuildArgs),
    /// Seal a node's keys under a passphrase, or let go what lost keys hid
    Keys(keys::KeysArgs),
    /// Bring the tables of an office into a node: residents, weekly hours, programmes
    Import(import::ImportArgs),
}

/// Runs what was typed.
pub(crate) fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Init(args) => init::init(&args),
        Command::Run(args) => run::run(&args),
        Command::Demo(args) => demo::run(args),
        Command::Account(args) => account::account(&args),
        Command::Status(args) => status::status(&args),
        Command::Verify(args) => verify::verify(&args),
        Command::Export(args) => export::export(&args),
        Command::Backup(args) => backup::backup(&args),
        Command::Restore(args) => restore::restore(&args),
        Command::Rebuild(args) => rebuild::rebuild(&args),
        Command::Keys(args) => keys::keys(&args),
        Command::Import(args) => import::import(&args),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::from(code_of(&error))
    })
}

/// A node that answered and said no is another thing than a node that could not be asked.
fn code_of(error: &anyhow::Error) -> u8 {
    match error.downcast_ref::<node::CallError>() {
        Some(node::CallError::Refused { .. }) => BAD,
        _ => NOT_DONE,
    }
}
