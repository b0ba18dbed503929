//! `account`: the accounts of a stopped node, kept from its own machine. A running node is asked at `/v1/accounts`.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use actors::clock::Clock as _;
use anyhow::{Context as _, ensure};
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{Args, Subcommand};
use voucher_node::accounts::password::{MAX_PASSWORD_BYTES, Secret, made_up};
use voucher_node::accounts::permission::AccountRole;
use voucher_node::accounts::store::Account;
use voucher_node::accounts::{Accounts, Subject};
use voucher_node::clock::NodeClock;
use voucher_node::config::Config;

use super::GOOD;
use super::output::say;

const AFTER_HELP: &str = "\
Examples:
  voucher-node account list   --config node.toml
  voucher-node account add    --config node.toml wang --roles issuing-officer,claims-officer
  voucher-node account passwd --config node.toml wang --password-file -
  voucher-node account disable --config node.toml wang
  voucher-node account link   --config node.toml wang --subject 248289761001

The node must be stopped; a running one is asked at /v1/accounts. Without --password-file a password is made up and printed,
for one sign-in. A password never stands on the command line, where every user of the machine can read it.";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct AccountArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Args)]
struct Whose {
    /// The node's configuration
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The account's name
    #[arg(value_name = "NAME")]
    name: String,
}

#[derive(Debug, Args)]
struct Given {
    /// A file with the password in its first line, or - for standard input; without it one is made up for one sign-in
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Every account, with the pseudonym that its records carry
    List {
        /// The node's configuration
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Make an account
    Add {
        #[command(flatten)]
        whose: Whose,
        /// What it is there for, separated by commas
        #[arg(long, value_name = "ROLE,..", value_delimiter = ',', required = true, value_parser = role())]
        roles: Vec<AccountRole>,
        #[command(flatten)]
        given: Given,
        /// Who it is at the identity provider (`sub`): it signs in there, and no password opens it
        #[arg(long, value_name = "SUB", conflicts_with = "password_file")]
        subject: Option<String>,
    },
    /// Set an account's password; its tokens are revoked
    Passwd {
        #[command(flatten)]
        whose: Whose,
        #[command(flatten)]
        given: Given,
    },
    /// Lock an account out
    Disable(Whose),
    /// Let a disabled account in again
    Enable(Whose),
    /// Link an account to somebody whom the identity provider knows
    Link {
        #[command(flatten)]
        whose: Whose,
        /// The provider's name for its owner (`sub`)
        #[arg(long, value_name = "SUB")]
        subject: String,
        /// No password opens it from now on
        #[arg(long)]
        drop_password: bool,
    },
    /// Link an account to nobody whom the identity provider knows
    Unlink(Whose),
    /// Give an account other roles
    Roles {
        #[command(flatten)]
        whose: Whose,
        /// All that it is to have, separated by commas
        #[arg(long, value_name = "ROLE,..", value_delimiter = ',', required = true, value_parser = role())]
        roles: Vec<AccountRole>,
    },
}

fn role() -> impl clap::builder::TypedValueParser<Value = AccountRole> {
    PossibleValuesParser::new(AccountRole::ALL.iter().map(|role| role.code())).map(|word| {
        let found = AccountRole::ALL.iter().copied().find(|role| role.code() == word);
        found.expect("only the words of roles are possible values")
    })
}

/// The first line of a file, or of standard input.
///
/// # Errors
///
/// It cannot be read, or is no text.
pub(super) fn read_password(path: &Path) -> anyhow::Result<Secret> {
    let mut bytes = Vec::new();
    let limit = MAX_PASSWORD_BYTES as u64 + 2;
    let read = if path.as_os_str() == "-" {
        std::io::stdin().lock().take(limit).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes))
    };
    read.with_context(|| format!("{} cannot be read", path.display()))?;
    let text = String::from_utf8(bytes).with_context(|| format!("{} is not UTF-8", path.display()))?;
    let line = text.lines().next().unwrap_or_default().to_owned();
    ensure!(!line.is_empty(), "{}: its first line is the password, and it is empty", path.display());
    Ok(Secret::from(line))
}

/// A password that was given, or one that is made up for one sign-in.
pub(super) fn password(file: Option<&Path>) -> anyhow::Result<(Secret, bool)> {
    Ok(match file {
        Some(path) => (read_password(path)?, false),
        None => (made_up(), true),
    })
}

/// The accounts of a stopped node.
pub(super) fn open(config: &Config) -> anyhow::Result<Accounts> {
    let rules = &config.accounts;
    Ok(Accounts::open(config.institution, &config.accounts_file(), rules.cost(), rules.limits())?)
}

fn row(accounts: &Accounts, account: &Account) -> String {
    let roles: Vec<&str> = account.roles.iter().map(|role| role.code()).collect();
    let state = match (account.disabled, account.one_time) {
        (true, _) => "disabled",
        (false, true) => "one-time password",
        (false, false) => "",
    };
    let pseudonym = accounts.pseudonym(account.id).0;
    let linked = account.subject.as_ref().map(|subject| format!("  {} at {}", subject.sub, subject.issuer));
    let (roles, linked) = (roles.join(","), linked.unwrap_or_default());
    format!("{:<20} {pseudonym}  {state:<18} {roles}{linked}", account.name).trim_end().to_owned()
}

/// Somebody as the configured identity provider knows them.
fn subject(config: &Config, sub: &str) -> anyhow::Result<Subject> {
    let oidc = config.oidc.as_ref().context("the configuration names no identity provider ([oidc])")?;
    Ok(Subject { issuer: oidc.issuer.clone(), sub: sub.to_owned() })
}

pub(super) fn account(args: &AccountArgs) -> anyhow::Result<ExitCode> {
    let config = match &args.what {
        What::List { config } => config,
        What::Add { whose, .. } | What::Passwd { whose, .. } | What::Roles { whose, .. } => &whose.config,
        What::Disable(whose) | What::Enable(whose) | What::Unlink(whose) | What::Link { whose, .. } => &whose.config,
    };
    let config = Config::load(config).with_context(|| config.display().to_string())?;
    let accounts = open(&config)?;
    let of = |whose: &Whose| {
        let found = accounts.named(&whose.name).with_context(|| format!("there is no account {}", whose.name));
        found.map(|account| account.id)
    };
    let mut text = String::new();
    let mut tell = |account: &Account| {
        text.push_str(&row(&accounts, account));
        text.push('\n');
    };
    let mut one_time = None;
    match &args.what {
        What::List { .. } => accounts.all().iter().for_each(&mut tell),
        What::Add { whose, roles, subject: Some(sub), .. } => {
            let (subject, now) = (subject(&config, sub)?, NodeClock::real().now());
            tell(&accounts.create_linked(&whose.name, roles, subject, now)?);
        }
        What::Add { whose, roles, given, subject: None } => {
            let (password, is_made_up) = password(given.password_file.as_deref())?;
            tell(&accounts.create(&whose.name, roles, &password, is_made_up, NodeClock::real().now())?);
            one_time = is_made_up.then_some(password);
        }
        What::Passwd { whose, given } => {
            let (password, is_made_up) = password(given.password_file.as_deref())?;
            // Whoever types somebody else's password knows it: it is for one sign-in, wherever it comes from.
            tell(&accounts.reset_password(of(whose)?, &password, NodeClock::real().now())?);
            one_time = is_made_up.then_some(password);
        }
        What::Link { whose, subject: sub, drop_password } => {
            tell(&accounts.link(of(whose)?, Some(subject(&config, sub)?), *drop_password)?);
        }
        What::Unlink(whose) => tell(&accounts.link(of(whose)?, None, false)?),
        What::Disable(whose) => tell(&accounts.set_disabled(of(whose)?, true)?),
        What::Enable(whose) => tell(&accounts.set_disabled(of(whose)?, false)?),
        What::Roles { whose, roles } => tell(&accounts.set_roles(of(whose)?, roles)?),
    }
    if let Some(password) = one_time {
        let _ = writeln!(text, "password for one sign-in: {}", &password[..]);
    }
    say(&text);
    Ok(ExitCode::from(GOOD))
}
