//! `import`: the tables of an office, read, judged, and sent to the node that they are for.

mod plan;

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::ValueEnum;
use serde::Serialize;
use serde_json::Value;
use sha2::Digest as _;
use voucher_node::import::MAX_FILE_BYTES;

use self::plan::{Plan, Request};
use super::account::read_password;
use super::node::{CallError, DEFAULT_URL, Node};
use super::output::{progress, say, say_json};
use super::{BAD, GOOD};

const AFTER_HELP: &str = "\
Examples:
  voucher-node import programmes programmes.csv --url http://127.0.0.1:7101
  voucher-node import programmes programmes.csv --url http://127.0.0.1:7101 --token-file wang.token --yes
  voucher-node import schedule  hours.csv      --url http://127.0.0.1:7104 --token-file li.token --yes
  voucher-node import residents residents.csv  --url http://127.0.0.1:7102 --token-file - --yes

The token is of an account that may do it: manage-programmes, manage-schedules, manage-residents (POST /v1/tokens).

Without --yes it reads the table, lists its faults by line and column, says what it would send, and sends nothing.
Rows with a fault are never sent; the others are. Of a table for several institutions, only the rows of the one whose
node is at --url are sent: programmes to an issuer, hours to a hospital, residents to a community.
Columns, UTF-8 or GB18030, with or without a byte order mark: docs/operating/commands.md.

Sending the same file twice does nothing twice. What was broken off is finished by the same command.
Exit code 0: every row is good (and sent, with --yes). 1: some rows have faults, or the node refused some. 2: it could
not be done.";

/// Which table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Table {
    /// People entitled, to their community
    Residents,
    /// Weekly consulting hours, to a hospital; they replace what it had
    Schedule,
    /// Voucher programmes, to an issuer
    Programmes,
}

impl Table {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Residents => "residents",
            Self::Schedule => "schedule",
            Self::Programmes => "programmes",
        }
    }
}

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct ImportArgs {
    /// Which table the file is
    #[arg(value_enum)]
    pub table: Table,
    /// The file, CSV
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Base URL of the node that it is for
    #[arg(long, value_name = "URL", default_value = DEFAULT_URL, env = "VOUCHER_NODE_URL")]
    pub url: String,
    /// The authority of its certificate, PEM: keys/authority.pem of the node
    #[arg(long, value_name = "FILE", env = "VOUCHER_NODE_CA")]
    pub ca: Option<PathBuf>,
    /// A file with the token of the account that imports, or - for standard input
    #[arg(long, value_name = "FILE", required_if_eq("yes", "true"))]
    pub token_file: Option<PathBuf>,
    /// Send what is good; without it, nothing is sent
    #[arg(long)]
    pub yes: bool,
    /// Time zone in which a date of birth is judged, in minutes east of UTC
    #[arg(long, value_name = "MINUTES", default_value_t = 480, hide = true)]
    pub utc_offset_minutes: i32,
    /// Report and answers as JSON
    #[arg(long)]
    pub json: bool,
}

/// What was read and sent, for machines. It holds no row of the file.
#[derive(Debug, Serialize)]
struct Outcome {
    table: &'static str,
    institution: String,
    /// Rows without a fault, and the faults.
    report: Value,
    /// Good rows that are not for this node.
    elsewhere: usize,
    /// Rows that need not be sent or cannot be, with the reason.
    left: Vec<String>,
    /// Rows to send, and in how many requests.
    rows: usize,
    requests: usize,
    /// What the node answered, in order.
    answers: Vec<Value>,
}

pub(super) fn import(args: &ImportArgs) -> anyhow::Result<ExitCode> {
    let file = read(&args.file)?;
    let token = args.token_file.as_deref().map(read_password).transpose()?;
    let node = Node::at(&args.url, args.ca.as_deref(), token)?;
    let plan = Plan::make(args, &file, &node)?;
    if !args.json {
        say(&page(args, &plan));
    }
    let answers = if args.yes { send(args, &plan, &run_of(args.table, &file), &node)? } else { Vec::new() };
    let all_taken = answers.iter().all(|answer| refused(answer).next().is_none());
    if args.json {
        say_json(&Outcome {
            table: args.table.as_str(),
            institution: plan.institution.to_string(),
            rows: plan.rows(),
            requests: plan.requests.len(),
            report: plan.report.clone(),
            elsewhere: plan.elsewhere,
            left: plan.left.clone(),
            answers,
        })?;
    }
    Ok(ExitCode::from(if plan.is_clean() && all_taken { GOOD } else { BAD }))
}

/// Reads a file, up to the limit of a table and a byte more, so that the reader of the table can say that it is too large.
fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = MAX_FILE_BYTES as u64 + 1;
    let read = File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes));
    read.with_context(|| format!("{} cannot be read", path.display()))?;
    Ok(bytes)
}

/// What a run is called in idempotency keys. Programmes stay once they are published, so the same file is the same run: the
/// first 16 bytes of its SHA-256. Lists of people and hours are replaced in between, so each run is one of its own.
fn run_of(table: Table, file: &[u8]) -> String {
    match table {
        Table::Programmes => {
            let digest: [u8; 32] = sha2::Sha256::digest(file).into();
            hex::encode(&digest[..16])
        }
        Table::Residents | Table::Schedule => uuid::Uuid::new_v4().simple().to_string(),
    }
}

/// Sends the requests in order. The node answers a repetition as it answered the first time, and does nothing again.
fn send(args: &ImportArgs, plan: &Plan, run: &str, node: &Node) -> anyhow::Result<Vec<Value>> {
    let bar = progress("sending", plan.requests.len() as u64);
    let mut answers = Vec::new();
    for request in &plan.requests {
        let key = format!("import-{}-{run}-{}", args.table.as_str(), request.name);
        let answer = node.post(plan.path, &key, &request.body).map_err(|error| {
            let stopped = format!("{}, after {} of {} requests", request.what, answers.len(), plan.requests.len());
            let no_such_route = matches!(&error, CallError::Refused { status: 404, .. });
            let why = if no_such_route { "; this node takes no such table" } else { "" };
            anyhow::Error::new(error).context(format!("{stopped}{why}"))
        })?;
        if !args.json {
            bar.suspend(|| say(&format!("{}: {}\n{}", request.what, taken(&answer), not_taken(request, &answer))));
        }
        bar.inc(1);
        answers.push(answer);
    }
    bar.finish_and_clear();
    Ok(answers)
}

/// An answer in a few words: its numbers, never its rows.
fn taken(answer: &Value) -> String {
    if answer["repeated"] == Value::Bool(true) {
        return "was taken before, nothing was done again".to_owned();
    }
    let mut text = "taken".to_owned();
    for (name, value) in answer["result"].as_object().into_iter().flatten() {
        if let Value::Number(number) = value {
            let _ = write!(text, ", {name} {number}");
        }
    }
    text
}

/// The rows that the node refused, of those that it judged one by one.
fn refused(answer: &Value) -> impl Iterator<Item = &Value> {
    let rows = answer["result"]["rows"].as_array().into_iter().flatten();
    rows.filter(|row| row["outcome"] == "refused")
}

/// The same by lines of the file, with the node's reason. Never what stands there.
fn not_taken(request: &Request, answer: &Value) -> String {
    let mut text = String::new();
    for row in refused(answer) {
        let place = row["row"].as_u64().and_then(|row| usize::try_from(row).ok()?.checked_sub(1));
        let line = place.and_then(|place| request.lines.get(place)).map_or_else(|| "?".to_owned(), u32::to_string);
        let said = |field: &str| row[field].as_str().unwrap_or_default().to_owned();
        let _ = writeln!(text, "{line:>7}  {}  {}", said("code"), said("desk"));
    }
    text
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn page(args: &ImportArgs, plan: &Plan) -> String {
    let mut text = plan.faults_text.clone();
    for left in &plan.left {
        let _ = writeln!(text, "{left}");
    }
    if plan.elsewhere > 0 {
        let _ = writeln!(text, "for other institutions, and not sent: {}", count(plan.elsewhere, "good row"));
    }
    let to_send =
        format!("{} to {} in {}", count(plan.rows(), "row"), plan.institution, count(plan.requests.len(), "request"));
    let _ = match (args.yes, plan.requests.len()) {
        (_, 0) => writeln!(text, "there is nothing to send to {}", plan.institution),
        (true, _) => writeln!(text, "sending {to_send}"),
        (false, _) => writeln!(text, "nothing was sent; with --yes --token-file FILE it sends {to_send}"),
    };
    text
}

#[cfg(test)]
mod tests;
