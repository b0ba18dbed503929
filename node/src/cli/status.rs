//! `status`: how a node stands, and how old its knowledge of each log is.

use std::path::PathBuf;
use std::process::ExitCode;

use domain::time::{Millis, Timestamp};

use super::account::read_password;
use super::node::{CertificateStatus, DEFAULT_URL, KeyStatus, LogStatus, Node, Status};
use super::output::{say, say_json, span, table};
use super::{BAD, GOOD};

const AFTER_HELP: &str = "\
Examples:
  voucher-node status
  voucher-node status --url http://127.0.0.1:7104
  voucher-node status --json | jq .logs

`age` is the time since the last record of that log that this node knows: what it says about vouchers is at least as
new as that. A log whose institution has nothing to do grows old without harm.
Exit code 0: the node may write. 1: it may not (the start rule or its clock, see docs/operating/setup.md), or a log needs
a newer program. 2: it cannot be reached.";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct StatusArgs {
    /// Base URL of the node
    #[arg(long, value_name = "URL", default_value = DEFAULT_URL, env = "VOUCHER_NODE_URL")]
    url: String,
    /// The authority of its certificate, PEM: keys/authority.pem of the node
    #[arg(long, value_name = "FILE", env = "VOUCHER_NODE_CA")]
    ca: Option<PathBuf>,
    /// A file with a token that may read-status, or - for standard input; a node on this machine asks for none
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The node's own answer, as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn status(args: &StatusArgs) -> anyhow::Result<ExitCode> {
    let token = args.token_file.as_deref().map(read_password).transpose()?;
    let node = Node::at(&args.url, args.ca.as_deref(), token)?;
    let status = node.status()?;
    if args.json {
        say_json(&node.get::<serde_json::Value>("/v1/status")?)?;
    } else {
        say(&page(&status));
    }
    let good = status.member && status.ready && !status.logs.iter().flatten().any(|log| log.upgrade_needed);
    Ok(ExitCode::from(if good { GOOD } else { BAD }))
}

fn page(status: &Status) -> String {
    let roles: Vec<&str> = status.roles.iter().map(|role| role.as_str()).collect();
    let ready = match status.ready {
        true if status.member => "may write".to_owned(),
        true => {
            "is NO MEMBER yet: the registrar's operator posts its join.json, and what it writes before counts nowhere"
                .to_owned()
        }
        false => format!("may NOT write: {}", status.writing),
    };
    let clock = match status.clock_ahead_secs {
        ahead if status.clock == "federation" => {
            format!("the demo's clock, {} ahead", span(Millis(ahead.saturating_mul(1_000))))
        }
        _ => "the machine's clock".to_owned(),
    };
    let ending =
        status.certificates.iter().filter(|certificate| certificate.is_ending).map(|certificate| match certificate {
            CertificateStatus { kind, days_left, .. } if *days_left < 0 => format!("the {kind} certificate is OVER\n"),
            CertificateStatus { kind, days_left, .. } => format!("the {kind} certificate ENDS in {days_left} days\n"),
        });
    let keys = status.keys.iter().map(|KeyStatus { purpose, state }| match state.as_str() {
        "next-waits" => format!("the next {purpose} key waits for the registrar's record\n"),
        _ => format!("the registrar has ANOTHER {purpose} KEY: this node is not believed\n"),
    });
    let warnings: String = ending.chain(keys).collect();
    let logs = match &status.logs {
        Some(logs) => {
            let mut rows = vec![["log", "entries", "folded", "last record", "age", ""].map(str::to_owned).to_vec()];
            rows.extend(logs.iter().map(|log| row(log, status.time)));
            table(&rows)
        }
        None => "What it holds it tells members, accounts with read-status (--token-file), and its own machine.\n"
            .to_owned(),
    };
    let version = status.version.as_ref().map(|version| format!(", version {version}")).unwrap_or_default();
    format!(
        "{} ({}){version}\n{}   {clock}\n{ready}\n{warnings}\n{logs}",
        status.institution,
        roles.join(", "),
        status.time,
    )
}

fn row(log: &LogStatus, now: Timestamp) -> Vec<String> {
    let (last, age) = match log.folded {
        0 => ("-".to_owned(), "-".to_owned()),
        _ => (log.last_at.to_string(), span(Millis(now.millis().saturating_sub(log.last_at.millis())))),
    };
    let note = match log.size.saturating_sub(log.folded) {
        _ if log.given_up => "the history that does not count: start the node again, to replace it".to_owned(),
        _ if log.forked => "has signed two histories".to_owned(),
        _ if log.upgrade_needed => "needs a newer program".to_owned(),
        _ if log.too_early.is_some() => "its next record is ahead of the clock here, and waits".to_owned(),
        0 => String::new(),
        behind => format!("{behind} not folded yet"),
    };
    vec![log.institution.to_string(), log.size.to_string(), log.folded.to_string(), last, age, note]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_says_how_old_each_log_is() {
        let status: Status = serde_json::from_value(serde_json::json!({
            "institution": "hospital-gulou", "roles": ["hospital"], "time": "2026-11-23T08:00:10.000Z",
            "clock": "federation", "clock_ahead_secs": 7200, "ready": false, "version": "0.1.0",
            "certificates": [
                {"kind": "node", "not_after_secs": 0, "days_left": 88, "is_ending": false},
                {"kind": "public", "not_after_secs": 0, "days_left": 20, "is_ending": true},
            ],
            "keys": [{"purpose": "node", "state": "next-waits"}, {"purpose": "log", "state": "other"}],
            "writing": "the others are still asked how long this log is",
            "logs": [
                {"institution": "audit-jiangsu", "origin": "x", "size": 0, "folded": 0, "last_at": "1970-01-01T00:00:00.000Z", "upgrade_needed": false},
                {"institution": "hospital-gulou", "origin": "y", "size": 12, "folded": 12, "last_at": "2026-11-23T08:00:07.000Z", "upgrade_needed": false},
                {"institution": "nanjing-health", "origin": "z", "size": 300, "folded": 298, "last_at": "2026-11-23T06:00:00.000Z", "upgrade_needed": false},
            ]
        }))
        .unwrap();
        assert_eq!(
            page(&status),
            "hospital-gulou (hospital), version 0.1.0\n\
             2026-11-23T08:00:10.000Z   the demo's clock, 2 h ahead\n\
             may NOT write: the others are still asked how long this log is\n\
             the public certificate ENDS in 20 days\n\
             the next node key waits for the registrar's record\n\
             the registrar has ANOTHER log KEY: this node is not believed\n\
             \n\
             log             entries  folded               last record  age\n\
             audit-jiangsu         0       0                         -    -\n\
             hospital-gulou       12      12  2026-11-23T08:00:07.000Z  3 s\n\
             nanjing-health      300     298  2026-11-23T06:00:00.000Z  2 h  2 not folded yet\n"
        );
    }
}
