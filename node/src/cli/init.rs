//! `init`: an institution's keys, its configuration, and the file with which it asks to join a federation.

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use actors::clock::Clock as _;
use anyhow::{Context as _, bail, ensure};
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use domain::ids::InstitutionId;
use domain::member::{MemberEntry, Role};
use ledger::key::{KeyKind, NoteVerifier};
use ledger::note::to_base64;
use serde::Serialize;
use voucher_node::accounts::permission::AccountRole;
use voucher_node::clock::NodeClock;
use voucher_node::config::{Config, check_node_url};
use voucher_node::keys::NodeKeys;

use super::output::{say, say_json};
use super::{GOOD, account};

const AFTER_HELP: &str = "\
Examples:
  The registrar, the first institution of a federation, whose word on members and keys is taken:
    voucher-node init --institution nanjing-health --roles issuer --federation voucher-ledger.example \\
      --url https://vouchers.nanjing.example:7201 --tls-bind 0.0.0.0:7201 --bind 127.0.0.1:7101 \\
      --dir /srv/voucher/nanjing-health
  Everyone else, with the vkey that the registrar's `init` printed:
    voucher-node init --institution hospital-gulou --roles hospital --federation voucher-ledger.example \\
      --url https://gulou.example:7204 --tls-bind 0.0.0.0:7204 --bind 127.0.0.1:7104 \\
      --dir /srv/voucher/hospital-gulou \\
      --registrar nanjing-health --registrar-url https://vouchers.nanjing.example:7201 --registrar-vkey VKEY

It makes DIR/node.toml, DIR/join.json, DIR/accounts.json with the first account, and DIR/keys/{log,node,witness}.key, and
never overwrites any of them. Keys and accounts that are there already are used. The first account's password is printed,
for one sign-in, or read from --admin-password-file; it never stands on the command line. Keep the keys as you keep the institution's seal, and never two running copies of them.";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct InitArgs {
    /// Short id of the institution, for good: 1 to 24 characters of a-z, 0-9 and -
    #[arg(long, value_name = "ID")]
    pub institution: InstitutionId,
    /// What it does, separated by commas
    #[arg(long, value_name = "ROLE,..", value_delimiter = ',', required = true, value_parser = role())]
    pub roles: Vec<Role>,
    /// What the names of the federation's logs begin with, such as voucher-ledger.example
    #[arg(long, value_name = "NAME")]
    pub federation: String,
    /// The base URL at which the others reach this node: https, or an address of this machine
    #[arg(long, value_name = "URL")]
    pub url: String,
    /// Where this node listens for programs on this machine, without transport security: a loopback address
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub bind: SocketAddr,
    /// Where it listens for everybody else, with transport security; needed for an https URL
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub tls_bind: Option<SocketAddr>,
    /// Directory for keys, configuration and data; made if it is not there
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// The federation's registrar; without it, this institution is the registrar of a new federation
    #[arg(long, value_name = "ID", requires_all = ["registrar_url", "registrar_vkey"])]
    pub registrar: Option<InstitutionId>,
    /// Base URL of the registrar's node
    #[arg(long, value_name = "URL", requires = "registrar")]
    pub registrar_url: Option<String>,
    /// Verification key of the registrar's log: ask the registrar on a way that nobody can tamper with
    #[arg(long, value_name = "VKEY", requires = "registrar")]
    pub registrar_vkey: Option<String>,
    /// Name of the first account, which makes the others
    #[arg(long, value_name = "NAME", default_value = "admin")]
    pub admin: String,
    /// A file with its password in the first line, or - for standard input; without it one is made up for one sign-in
    #[arg(long, value_name = "FILE")]
    pub admin_password_file: Option<PathBuf>,
    /// What was made, as JSON
    #[arg(long)]
    pub json: bool,
}

fn role() -> impl clap::builder::TypedValueParser<Value = Role> {
    PossibleValuesParser::new(Role::ALL.map(Role::as_str)).map(|word| {
        let found = Role::ALL.into_iter().find(|role| role.as_str() == word);
        found.expect("only the words of roles are possible values")
    })
}

/// The body of `POST /v1/issuer/members`.
#[derive(Debug, Serialize)]
struct Join {
    institution: InstitutionId,
    roles: Vec<Role>,
    url: String,
    origin: String,
    keys: Three,
    proofs: Three,
}

/// One text for each of the three keys, base64.
#[derive(Debug, Serialize)]
struct Three {
    log: String,
    node: String,
    witness: String,
}

impl From<MemberEntry> for Join {
    fn from(entry: MemberEntry) -> Self {
        let [log, node, witness] = entry.keys.map(|key| to_base64(&key));
        let keys = Three { log, node, witness };
        let [log, node, witness] = entry.proofs.map(|proof| to_base64(&actors::replica::signature_bytes(&proof)));
        let proofs = Three { log, node, witness };
        let MemberEntry { institution, roles, url, origin, .. } = entry;
        Self { institution, roles, url, origin, keys, proofs }
    }
}

/// What was made, for machines.
#[derive(Debug, Serialize)]
struct Made {
    config: PathBuf,
    join: PathBuf,
    keys: PathBuf,
    origin: String,
    log_vkey: String,
    accounts: PathBuf,
    /// The first account; none if there were accounts already.
    administrator: Option<String>,
    /// Its password for one sign-in, if none was given. It stands in no file.
    one_time_password: Option<String>,
}

pub(super) fn init(args: &InitArgs) -> anyhow::Result<ExitCode> {
    let made = make(args)?;
    if args.json {
        say_json(&made)?;
    } else {
        say(&page(args, &made));
    }
    Ok(ExitCode::from(GOOD))
}

fn make(args: &InitArgs) -> anyhow::Result<Made> {
    check(args)?;
    let dir = std::path::absolute(&args.dir).with_context(|| format!("--dir {}", args.dir.display()))?;
    let (config_path, join_path) = (dir.join("node.toml"), dir.join("join.json"));
    for path in [&config_path, &join_path] {
        ensure!(!path.exists(), "{} is there already; init never overwrites, take another --dir", path.display());
    }
    let text = config_text(args, &dir)?;
    fs::create_dir_all(&dir).with_context(|| format!("{} cannot be made", dir.display()))?;
    write_new(&config_path, &text)?;
    let rest = || {
        // The file is read as the node will read it, so that what `run` refuses is refused here.
        let config = Config::load(&config_path)?;
        let keys = NodeKeys::load_or_make(&config.store.keys)?;
        let signer = keys.log_signer(&config.origin())?;
        let join = Join::from(keys.entry(config.institution, &config.roles, &config.http.url, &config.origin()));
        let accounts = account::open(&config)?;
        let (mut administrator, mut one_time_password) = (None, None);
        if accounts.all().is_empty() {
            let (password, is_made_up) = account::password(args.admin_password_file.as_deref())?;
            let roles = [AccountRole::Administrator];
            let made = accounts.create(&args.admin, &roles, &password, is_made_up, NodeClock::real().now())?;
            administrator = Some(made.name);
            one_time_password = is_made_up.then(|| password[..].to_owned());
        }
        // The last thing, so that whoever tries again after a fault does not find half of it.
        write_new(&join_path, &format!("{}\n", serde_json::to_string_pretty(&join)?))?;
        let (origin, log_vkey) = (config.origin(), signer.verifier().to_string());
        let file = config.accounts_file();
        anyhow::Ok((origin, log_vkey, config.store.keys, file, administrator, one_time_password))
    };
    match rest() {
        Ok((origin, log_vkey, keys, accounts, administrator, one_time_password)) => Ok(Made {
            config: config_path,
            join: join_path,
            keys,
            origin,
            log_vkey,
            accounts,
            administrator,
            one_time_password,
        }),
        Err(error) => {
            // What is half made would stand in the way of the next try. Keys stay: they are used then.
            let _ = fs::remove_file(&config_path);
            Err(error)
        }
    }
}

/// Checks what the configuration's own check does not see.
fn check(args: &InitArgs) -> anyhow::Result<()> {
    for (option, url) in
        std::iter::once(("--url", &args.url)).chain(args.registrar_url.iter().map(|u| ("--registrar-url", u)))
    {
        check_node_url(url).map_err(|why| anyhow::anyhow!("{option} {url}: {why}"))?;
    }
    ensure!(args.tls_bind.is_some() || !args.url.starts_with("https:"), "--url {} needs --tls-bind", args.url);
    match (args.registrar, &args.registrar_vkey) {
        (None, _) if !args.roles.contains(&Role::Issuer) => {
            bail!("without --registrar this institution is the registrar itself, and that needs the role issuer")
        }
        (Some(registrar), _) if registrar == args.institution => {
            bail!("--registrar {registrar} is this institution itself: leave the three --registrar options away")
        }
        (Some(registrar), Some(vkey)) => {
            let verifier: NoteVerifier = vkey.parse().context("--registrar-vkey")?;
            let origin = format!("{}/{registrar}", args.federation);
            ensure!(verifier.kind() == KeyKind::Log, "--registrar-vkey is the key of a witness, not of a log");
            ensure!(verifier.name() == origin, "--registrar-vkey is the key of {}, not of {origin}", verifier.name());
            Ok(())
        }
        _ => Ok(()),
    }
}

fn write_new(path: &Path, text: &str) -> anyhow::Result<()> {
    let write = || {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().with_context(|| format!("{} cannot be written", path.display()))
}

/// The configuration with the words that explain it.
fn config_text(args: &InitArgs, dir: &Path) -> anyhow::Result<String> {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let path = |name: &str| {
        let path = dir.join(name);
        let text = path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?;
        anyhow::Ok(quoted(text))
    };
    let mut roles = args.roles.clone();
    roles.sort_unstable();
    roles.dedup();
    let roles: Vec<String> = roles.iter().map(|role| quoted(role.as_str())).collect();
    let registrar = args.registrar.unwrap_or(args.institution);
    let registrar_url = args.registrar_url.as_deref().unwrap_or(&args.url);
    // Without it the section is there to be filled in.
    let (tls, tls_bind) = match &args.tls_bind {
        Some(bind) => ("", quoted(&bind.to_string())),
        None => ("# ", quoted("0.0.0.0:7443")),
    };
    Ok(format!(
        "\
# One institution's node. Any field can be set by the environment instead: VOUCHER__HTTP__BIND for bind in [http].

# Format of this file.
version = 1
# Short id, for good: it stands in every record.
institution = {institution}
# issuer, community, voucher, hospital, auditor.
roles = [{roles}]
# The name of this institution's log is this, a slash, and its id.
federation = {federation}
# Time zone of opening hours and statistics, in minutes east of UTC.
utc_offset_minutes = 480

[http]
# Where it listens for programs on this machine, without transport security: a loopback address.
bind = {bind}
# The base URL at which the others reach it: https, by [tls], or an address of this machine.
url = {url}
# Threads that serve requests.
workers = 2

{tls}[tls]
# Where it listens for everybody else. It certifies a TLS key with its node key, which the registry has, and renews it by
# itself; names are further host names and addresses by which it is reached, beside the host of http.url.
{tls}bind = {tls_bind}
{tls}names = []
# A certificate that browsers trust, and its key, PEM; read again when the files change. Other nodes do not need it.
# certificate = \"/etc/voucher/chain.pem\"
# key = \"/etc/voucher/key.pem\"

[log]
# Whether anybody may read this node's log and mirrors, or only members and operators. Records name no person.
public = false

[store]
# Journal and store. One directory, one node; never run a copy of it.
dir = {store}
# The three keys: log, node, witness; mode 600.
keys = {keys}
# Free disk space, in MiB, below which nothing is accepted.
min_free_disk_mib = 512
# How much of what is stored is read again in the background, in KiB a second, so that a disk that forgets is found out;
# 0 for nothing.
scrub_kib_per_sec = 1024
# A directory that a reboot empties: it tells a plain restart from a machine that may have lost something.
marker_dir = \"/dev/shm\"

[registrar]
# The trust anchor: the institution whose word on members and keys is taken.
institution = {registrar}
url = {registrar_url}
# The verification key of its log; empty on the registrar itself.
log_vkey = {vkey}

[peers]
# How long a question for something new waits at the other side, in seconds.
poll_wait_secs = 20
# Longest rest after failures, in milliseconds.
max_backoff_millis = 5000
# How often heads are compared with another peer, in seconds; 0 for never.
compare_secs = 5
# How many members must hold what was written before it is acknowledged; 0 for this node's own disk alone. Set it when
# so many follow.
acknowledge = 0
# How long an answer waits for them, in milliseconds, before it says that it is not held yet.
acknowledge_wait_millis = 5000
# Institutions whose answer, beside the registrar's, lets this node write again after a crash of the machine.
witnesses = []

[accounts]
# A session ends after so many minutes without a request, and after so many hours in all.
session_idle_minutes = 30
session_hours = 12
# What argon2id spends on one password: memory in KiB, and passes over it. Less than this is for tests alone.
password_memory_kib = 19456
password_passes = 2
",
        institution = quoted(args.institution.as_str()),
        roles = roles.join(", "),
        federation = quoted(&args.federation),
        bind = quoted(&args.bind.to_string()),
        url = quoted(&args.url),
        store = path("data")?,
        keys = path("keys")?,
        registrar = quoted(registrar.as_str()),
        registrar_url = quoted(registrar_url),
        vkey = quoted(args.registrar_vkey.as_deref().unwrap_or_default()),
    ))
}

fn page(args: &InitArgs, made: &Made) -> String {
    let Made { config, join, keys, origin, log_vkey, accounts, administrator, one_time_password } = made;
    let (config, join, keys) = (config.display(), join.display(), keys.display());
    let mut text = format!(
        "configuration  {config}\nkeys           {keys}   (back them up apart from the data; show them to nobody)\n\
         join file      {join}\nlog            {origin}\nlog vkey       {log_vkey}\naccounts       {accounts}\n",
        accounts = accounts.display()
    );
    text.push_str(&match (administrator, one_time_password) {
        (None, _) => "the accounts that were there are kept\n".to_owned(),
        (Some(name), None) => format!("first account  {name}, with the password that was given\n"),
        (Some(name), Some(password)) => {
            format!("first account  {name}\npassword       {password}   (for one sign-in, said this once)\n")
        }
    });
    text.push_str("\nNext:\n");
    match (&args.registrar, &args.registrar_url) {
        (Some(registrar), Some(url)) => text.push_str(&format!(
            "  1. Give the join file to an officer of {registrar}, who registers this institution; a second one consents:\n     \
             curl -sS{ca} -X POST {url}/v1/issuer/members -H 'Content-Type: application/json' \\\n       \
             -H @officer.header -H 'Idempotency-Key: join-{id}' --data @{join}\n  \
             2. Start the node:  voucher-node run --config {config}\n  \
             3. See it catch up: voucher-node status --url http://{own}\n",
            id = args.institution,
            own = args.bind,
            ca = if url.starts_with("https:") { " --cacert authority.pem" } else { "" },
        )),
        _ => text.push_str(&format!(
            "  1. Start the node:  voucher-node run --config {config}\n     \
             It registers itself as the first entry of its log, so its join file is not needed.\n  \
             2. Give the others the id {id}, the URL {own} and the log vkey above, for their `init`:\n     \
             --registrar {id} --registrar-url {own} --registrar-vkey {log_vkey}\n  \
             3. Register each of them with the join file that their `init` makes.\n",
            id = args.institution,
            own = args.url,
        )),
    }
    text.push_str("  4. Sign in as the first account and make the others: docs/operating/accounts.md\n");
    text
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use domain::member::Registry;

    use super::*;

    #[derive(clap::Parser)]
    struct Typed {
        #[command(flatten)]
        init: InitArgs,
    }

    /// A registrar's arguments, with changes: each names an option and its new value.
    fn typed(dir: &Path, changes: &[(&str, &str)]) -> Result<InitArgs, clap::Error> {
        let dir = dir.to_str().unwrap();
        let mut options = vec![
            ("--institution", "nanjing-health"),
            ("--roles", "issuer"),
            ("--federation", "voucher-ledger.example"),
            ("--url", "http://127.0.0.1:7101"),
            ("--bind", "127.0.0.1:7101"),
            ("--dir", dir),
        ];
        options.retain(|(option, _)| !changes.iter().any(|(changed, _)| changed == option));
        options.extend(changes);
        let words = options.iter().flat_map(|(option, value)| [*option, *value]);
        Typed::try_parse_from(std::iter::once("init").chain(words)).map(|typed| typed.init)
    }

    #[test]
    fn a_federation_begins_and_grows() {
        let home = tempfile::tempdir().unwrap();
        let registrar = make(&typed(&home.path().join("r"), &[]).unwrap()).unwrap();
        let vkey = registrar.log_vkey.as_str();
        let joining = [
            ("--institution", "community-xuanwu"),
            ("--roles", "voucher,community,voucher"),
            ("--registrar", "nanjing-health"),
            ("--registrar-url", "http://127.0.0.1:7101"),
            ("--registrar-vkey", vkey),
        ];
        let dir = home.path().join("x");
        let args = typed(&dir, &joining).unwrap();
        let made = make(&args).unwrap();

        let config = Config::load(&made.config).unwrap();
        assert_eq!(config.roles, [Role::Community, Role::Voucher]);
        assert_eq!((config.registrar.log_vkey.as_str(), config.store.keys.clone()), (vkey, dir.join("keys")));
        assert_eq!(made.origin, "voucher-ledger.example/community-xuanwu");
        assert!(page(&args, &made).contains(&format!("--data @{}", made.join.display())));

        // The join file says what the registrar checks before it registers anyone.
        let keys = NodeKeys::load_or_make(&config.store.keys).unwrap();
        let entry = keys.entry(config.institution, &config.roles, &config.http.url, &config.origin());
        actors::replica::check_entry(&Registry::new(config.registrar.institution), &entry).unwrap();
        let join: serde_json::Value = serde_json::from_slice(&fs::read(&made.join).unwrap()).unwrap();
        assert_eq!(join["institution"], "community-xuanwu");
        assert_eq!(join["roles"], serde_json::json!(["community", "voucher"]));
        assert_eq!(join["keys"]["log"], to_base64(&entry.keys[0]));
        assert_eq!(join["proofs"]["witness"], to_base64(&actors::replica::signature_bytes(&entry.proofs[2])));

        // Nothing is overwritten, and nothing was changed by the try.
        let before = fs::read(&made.config).unwrap();
        assert!(make(&args).unwrap_err().to_string().contains("never overwrites"));
        assert_eq!(fs::read(&made.config).unwrap(), before);
        // A configuration that was removed is made again over the same keys.
        fs::remove_file(&made.config).unwrap();
        fs::remove_file(&made.join).unwrap();
        assert_eq!(make(&args).unwrap().log_vkey, made.log_vkey);
    }

    #[test]
    fn the_first_account_keeps_accounts_and_nothing_else() {
        use std::os::unix::fs::PermissionsExt as _;
        let home = tempfile::tempdir().unwrap();
        let args = typed(home.path(), &[]).unwrap();
        let made = make(&args).unwrap();
        let given = made.one_time_password.clone().unwrap();
        assert!(page(&args, &made).contains(&given));
        assert_eq!(fs::metadata(&made.accounts).unwrap().permissions().mode() & 0o077, 0);
        let config = Config::load(&made.config).unwrap();
        let accounts = account::open(&config).unwrap();
        let now = NodeClock::real().now();
        let (_, _, admin) = accounts.sign_in("admin", &given, None, now).unwrap();
        assert_eq!((admin.roles, admin.one_time), (vec![AccountRole::Administrator], true));
        drop(accounts);
        // A configuration that was removed is made again: the accounts are kept, and no password is said.
        fs::remove_file(&made.config).unwrap();
        fs::remove_file(&made.join).unwrap();
        assert_eq!(make(&args).unwrap().one_time_password, None);

        // A password that is given is read from a file, and is its owner's from the start.
        let (other, file) = (tempfile::tempdir().unwrap(), home.path().join("password"));
        fs::write(&file, "correct horse battery\n").unwrap();
        let given = [("--admin", "gao"), ("--admin-password-file", file.to_str().unwrap())];
        let made = make(&typed(other.path(), &given).unwrap()).unwrap();
        assert_eq!((made.administrator.as_deref(), made.one_time_password), (Some("gao"), None));
        let accounts = account::open(&Config::load(&made.config).unwrap()).unwrap();
        assert!(!accounts.sign_in("gao", "correct horse battery", None, now).unwrap().2.one_time);
        fs::write(&file, "short\n").unwrap();
        let third = tempfile::tempdir().unwrap();
        assert!(make(&typed(third.path(), &given).unwrap()).unwrap_err().to_string().contains("at least 12"));
        assert!(!third.path().join("node.toml").exists());
    }

    /// Every field of a table, as `section.field`.
    fn fields(text: &str) -> std::collections::BTreeSet<String> {
        let table: toml::Table = text.parse().unwrap();
        let of = |(name, value): (&String, &toml::Value)| match value {
            toml::Value::Table(section) => section.keys().map(|field| format!("{name}.{field}")).collect(),
            _ => vec![name.clone()],
        };
        table.iter().flat_map(of).collect()
    }

    #[test]
    fn what_is_made_has_every_field_of_the_examples() {
        let home = tempfile::tempdir().unwrap();
        let protected = [("--url", "https://health.example"), ("--tls-bind", "0.0.0.0:443")];
        let made = make(&typed(home.path(), &protected).unwrap()).unwrap();
        let example = include_str!("../../../config/nanjing-health.toml");
        assert_eq!(fields(&fs::read_to_string(made.config).unwrap()), fields(example));
    }

    #[test]
    fn what_cannot_be_is_refused_and_leaves_nothing() {
        let other = NoteVerifier::new(
            "voucher-ledger.example/somebody",
            KeyKind::Log,
            ledger::key::PrivateKey::from_seed(&[7; 32]).public(),
        );
        let vkey = other.unwrap().to_string();
        let registrar = |vkey: &'static str| {
            vec![("--registrar", "a"), ("--registrar-url", "http://127.0.0.1:1"), ("--registrar-vkey", vkey)]
        };
        let vkey: &'static str = vkey.leak();
        let table: [(Vec<(&str, &str)>, &str); 14] = [
            (vec![("--url", "https://health.example")], "needs --tls-bind"),
            (vec![("--url", "http://health.example")], "nodes talk over TLS"),
            (vec![("--institution", "Nanjing")], "a-z, 0-9 and -"),
            (vec![("--roles", "issuer,doctor")], "possible values: issuer, community, voucher, hospital, auditor"),
            (vec![("--roles", "hospital")], "needs the role issuer"),
            (vec![("--federation", "a b")], "federation:"),
            (vec![("--federation", "")], "federation:"),
            (vec![("--url", "127.0.0.1:7101")], "begins with http://"),
            (vec![("--url", "http://127.0.0.1:7101/")], "without the /"),
            (vec![("--bind", "0.0.0.0:7101")], "only a loopback address"),
            (vec![("--registrar", "a")], "--registrar-url"),
            (registrar("a+b+c"), "--registrar-vkey"),
            (registrar(vkey), "is the key of voucher-ledger.example/somebody, not of voucher-ledger.example/a"),
            ([registrar(vkey), vec![("--institution", "a")]].concat(), "is this institution itself"),
        ];
        for (changes, why) in table {
            let home = tempfile::tempdir().unwrap();
            let dir = home.path().join("d");
            let said = match typed(&dir, &changes) {
                Ok(args) => format!("{:#}", make(&args).unwrap_err()),
                Err(error) => error.to_string(),
            };
            assert!(said.contains(why), "{changes:?}: {said}");
            assert!(!dir.join("node.toml").exists() && !dir.join("join.json").exists(), "{changes:?}");
        }
    }
}
