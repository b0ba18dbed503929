//! `keys`: keys of a stopped node sealed under a passphrase; rows let go whose keys are lost.

use std::path::PathBuf;
use std::process::ExitCode;

use actors::vault::Vault;
use actors::vault::disk::FileSlots;
use actors::writer::Logs;
use anyhow::Context as _;
use voucher_node::keyfile::{CREDENTIAL, PASSPHRASE_FILE};
use voucher_node::keys::{NodeKeys, Passphrase};

use super::output::say;
use super::{GOOD, run, store};

const AFTER_HELP: &str = "\
Examples:
  VOUCHER_PASSPHRASE_FILE=/root/passphrase voucher-node keys seal --config /srv/voucher/gulou/node.toml
  voucher-node keys forget-lost --config /srv/voucher/gulou/node.toml

The passphrase is the first line of the file that VOUCHER_PASSPHRASE_FILE names, or systemd's credential
voucher-passphrase. From then on every command that needs the keys is given it in the same way. Seal again after no change:
what is sealed stays as it is.

Exit code 0: done. 2: it could not be done.";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct KeysArgs {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Debug, clap::Subcommand)]
enum KeysCommand {
    /// Seal the node's keys under a passphrase; what lay there in plain is overwritten
    Seal(Of),
    /// Delete the rows with personal data whose keys are not in the vault any more: those people are registered again
    ForgetLost(Of),
}

#[derive(Debug, clap::Args)]
struct Of {
    /// The node's configuration
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

pub(super) fn keys(args: &KeysArgs) -> anyhow::Result<ExitCode> {
    match &args.command {
        KeysCommand::Seal(of) => seal(of)?,
        KeysCommand::ForgetLost(of) => forget_lost(of)?,
    }
    Ok(ExitCode::from(GOOD))
}

fn seal(of: &Of) -> anyhow::Result<()> {
    let config = run::load(&of.config)?;
    let passphrase = Passphrase::from_environment()?.with_context(|| {
        format!("there is no passphrase: name its file in {PASSPHRASE_FILE}, or give the credential {CREDENTIAL}")
    })?;
    let sealed = NodeKeys::seal(&config.store.keys, &passphrase)?;
    say(&format!("{sealed} keys sealed in {}\n", config.store.keys.display()));
    Ok(())
}

fn forget_lost(of: &Of) -> anyhow::Result<()> {
    let config = run::load(&of.config)?;
    let opened = store::open(&config)?;
    let keys = NodeKeys::load_or_make(&config.store.keys)?;
    let slots = FileSlots::open(&config.vault()).with_context(|| config.vault().display().to_string())?;
    let Logs { ledger, federation, .. } = &opened.logs;
    let vault = Vault::open(slots, keys.vault_key())?;
    let logs = Logs { ledger: ledger.clone(), federation: federation.clone(), vault };
    let lost = logs.settle_vault(true)?;
    let (done, durable) = std::sync::mpsc::channel();
    let tell = move || {
        // Whoever waits is this command.
        let _ = done.send(());
    };
    ledger.when_durable(ledger.last_ticket(), Box::new(tell));
    durable.recv().context("the ledger stopped before the rows were deleted")?;
    ledger.flush();
    say(&format!("{lost} rows without keys deleted\n"));
    Ok(())
}
