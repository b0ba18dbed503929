//! `keys`: keys sealed under a passphrase, replaced after a while, a loss or a theft; the vault wrapped anew; rows let go
//! whose keys are lost.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use actors::vault::Vault;
use actors::vault::disk::FileSlots;
use actors::writer::Logs;
use anyhow::{Context as _, ensure};
use clap::ValueEnum;
use domain::member::Purpose;
use ledger::key::PrivateKey;
use ledger::note::to_base64;
use serde::Serialize;
use voucher_node::config::Config;
use voucher_node::keyfile::{CREDENTIAL, PASSPHRASE_FILE};
use voucher_node::keys::{NodeKeys, PURPOSES, Passphrase, next_file_of};

use super::output::say;
use super::{GOOD, run, store};

const AFTER_HELP: &str = "\
Examples:
  VOUCHER_PASSPHRASE_FILE=/root/passphrase voucher-node keys seal --config /srv/voucher/gulou/node.toml
  voucher-node keys next --purpose node --config /srv/voucher/gulou/node.toml
  voucher-node keys next --purpose log --stolen-at 4711 --config /srv/voucher/gulou/node.toml
  voucher-node keys rewrap --config /srv/voucher/gulou/node.toml
  voucher-node keys forget-lost --config /srv/voucher/gulou/node.toml

`next` may run beside the node, which takes the key by itself once the registrar's log names it. All others need the node
stopped.

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
    /// Make the next log, node or witness key, and the request with which the registrar records it
    Next(NextArgs),
    /// Make another data key and wrap the vault under it: after the old one may have been seen
    Rewrap(Of),
    /// Delete the rows with personal data whose keys are not in the vault any more: those people are registered again
    ForgetLost(Of),
}

#[derive(Debug, clap::Args)]
struct Of {
    /// The node's configuration
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

#[derive(Debug, clap::Args)]
struct NextArgs {
    /// Which key
    #[arg(long, value_enum)]
    purpose: Which,
    /// The log key was stolen: the index of the first record in this log that the thief may have written
    #[arg(long, value_name = "INDEX")]
    stolen_at: Option<u64>,
    /// The node's configuration
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// A purpose, as it is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Which {
    /// Signs the heads of the log
    Log,
    /// Signs requests, certificates and QR codes
    Node,
    /// Signs cosignatures
    Witness,
}

/// What the registrar's officers post: `POST /v1/issuer/members/{id}/key`.
#[derive(Debug, Serialize)]
struct Rotation {
    purpose: Purpose,
    key: String,
    proof: String,
    by_old: Option<String>,
    from: Option<u64>,
    key_stolen: bool,
}

/// What they post before it after a theft: `POST /v1/issuer/members/{id}/suspension`.
#[derive(Debug, Serialize)]
struct Suspension {
    from: u64,
    key_stolen: bool,
}

pub(super) fn keys(args: &KeysArgs) -> anyhow::Result<ExitCode> {
    match &args.command {
        KeysCommand::Seal(of) => seal(of)?,
        KeysCommand::Next(args) => next(args)?,
        KeysCommand::Rewrap(of) => rewrap(of)?,
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

fn next(args: &NextArgs) -> anyhow::Result<()> {
    let config = run::load(&args.config)?;
    let dir = &config.store.keys;
    let (purpose, word) = PURPOSES[args.purpose as usize];
    ensure!(
        args.stolen_at.is_none() || purpose == Purpose::Log,
        "--stolen-at is for the log key: the {word} key signs no record, and nothing that it signed is cut off"
    );
    let (file, request) = (next_file_of(dir, word), dir.join(format!("{word}.next.json")));
    ensure!(
        !file.exists(),
        "{} is there already, and waits for the registrar's record: its request is {}. If that was never posted and is not \
         to be, remove both",
        file.display(),
        request.display()
    );
    let passphrase = Passphrase::from_environment()?;
    let old = NodeKeys::in_file(dir, purpose, passphrase.as_ref())?;
    let new = NodeKeys::make_next(dir, purpose, passphrase.as_ref())?;
    let rotation = rotation(&config, purpose, &new, old.as_ref(), args.stolen_at);
    write(&request, &rotation)?;
    let page = match args.stolen_at {
        None => page(&config, word, &file, &request, &rotation),
        Some(from) => {
            let suspension = dir.join("log.suspension.json");
            write(&suspension, &Suspension { from, key_stolen: true })?;
            stolen_page(&config, &file, &suspension, &request, &rotation)
        }
    };
    say(&page);
    Ok(())
}

fn rotation(
    config: &Config,
    purpose: Purpose,
    new: &PrivateKey,
    old: Option<&PrivateKey>,
    stolen_at: Option<u64>,
) -> Rotation {
    let (key, message) =
        (new.public(), actors::replica::possession_message(config.institution, purpose, &config.origin()));
    let by_both = [message.as_slice(), key.as_bytes()].concat();
    // Whoever has stolen a key can sign with it as well as its owner: that says nothing any more.
    let by_old = old.filter(|_| stolen_at.is_none()).map(|old| to_base64(&old.sign(&by_both)));
    let (key, proof) = (to_base64(key.as_bytes()), to_base64(&new.sign(&message)));
    Rotation { purpose, key, proof, by_old, from: stolen_at, key_stolen: stolen_at.is_some() }
}

fn write(path: &Path, request: &impl Serialize) -> anyhow::Result<()> {
    let text = format!("{}\n", serde_json::to_string_pretty(request)?);
    fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))
}

fn curl(config: &Config, what: &str, key: &str, body: &str) -> String {
    let (registrar, id) = (&config.registrar.url, config.institution);
    format!(
        "     curl -sS -X POST {registrar}/v1/issuer/members/{id}/{what} -H 'Content-Type: application/json' \\\n       \
         -H @officer.header -H 'Idempotency-Key: {key}' --data {body}\n"
    )
}

/// The same request under the same key is done once, another one has another key.
fn idempotency(what: &str, rotation: &Rotation) -> String {
    let end: String = rotation.key.chars().filter(char::is_ascii_alphanumeric).take(8).collect();
    format!("{what}-{end}")
}

fn page(config: &Config, word: &str, file: &Path, request: &Path, rotation: &Rotation) -> String {
    let posted = curl(config, "key", &idempotency(word, rotation), &format!("@{}", request.display()));
    let by_whom = if rotation.by_old.is_some() { "the old key and the new one" } else { "the new key alone" };
    format!(
        "next {word} key  {}\nrequest       {}, signed by {by_whom}\n\n  \
         1. An officer of {registrar} posts it there, a second one consents:\n{posted}  \
         2. The node takes the key by itself when it has read the registrar's record of it; if it is stopped, at its next\n     \
         start. Until then `voucher-node status` says that a key waits, and the old one is in use.\n",
        file.display(),
        request.display(),
        registrar = config.registrar.institution,
    )
}

fn stolen_page(config: &Config, file: &Path, suspension: &Path, request: &Path, rotation: &Rotation) -> String {
    let post = |what, body: &str| curl(config, what, &idempotency(what, rotation), body);
    format!(
        "next log key  {}\nrequests      {}, {}\n\n  \
         1. Stop the node, if the thief can have reached it, and close that way.\n  \
         2. Officers of {registrar} post both, second persons consent. What stands in the log from there on counts no more,\n     \
         and no longer head under the old key is taken:\n{}{}  \
         3. Start the node; it takes the key. When `voucher-node status` at {registrar} shows all entries of this log:\n{}  \
         What is written from then on counts. What the institution itself wrote in between is done again.\n",
        file.display(),
        suspension.display(),
        request.display(),
        post("suspension", &format!("@{}", suspension.display())),
        post("key", &format!("@{}", request.display())),
        post("restoration", "'{}'"),
        registrar = config.registrar.institution,
    )
}

fn rewrap(of: &Of) -> anyhow::Result<()> {
    let config = run::load(&of.config)?;
    // Held so long: no node may run meanwhile.
    let opened = store::open(&config)?;
    let wrapped = voucher_node::rewrap::rewrap(&config)?;
    drop(opened);
    say(&format!("{wrapped} keys of the vault are wrapped under a new data key; the old one is overwritten\n"));
    Ok(())
}

fn forget_lost(of: &Of) -> anyhow::Result<()> {
    let config = run::load(&of.config)?;
    let opened = store::open(&config)?;
    voucher_node::rewrap::finish(&config)?;
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
