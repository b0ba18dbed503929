//! `rebuild`: the folded state thrown away and folded again from the logs, which stay as they are.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use actors::writer::{Logs, Writer};
use anyhow::{Context as _, anyhow};
use serde::Serialize;
use voucher_node::clock::NodeClock;

use super::output::{progress, say, say_json};
use super::state::{self, Weight};
use super::store::{self, Opened};
use super::{BAD, GOOD, run};

/// How often the bar is moved.
const LOOK_EVERY: Duration = Duration::from_millis(100);

const AFTER_HELP: &str = "\
Examples:
  voucher-node rebuild --config /srv/voucher/gulou/node.toml

It needs the node stopped. Logs, heads and private rows stay; what is folded from them is removed and made again, by the
same function as ever. Run it after a message that a stored value cannot be read, or after `verify` named rows of the
state. It may be broken off at any point: the next start goes on.

Exit code 0: the new state is the old one, or the old one was behind and there was nothing to compare. 1: the old state
was another, and is right now. 2: it could not be done.";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct RebuildArgs {
    /// The node's configuration
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// What came of it, as JSON
    #[arg(long)]
    json: bool,
}

/// What came of it.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Rebuilt {
    /// Records that were folded.
    pub records: u64,
    /// The state before; none if it had not folded every record, so that the two cannot be compared.
    pub before: Option<Weight>,
    /// The state now.
    pub after: Weight,
    /// Whether the two are the same, where they can be compared.
    pub same: Option<bool>,
}

pub(super) fn rebuild(args: &RebuildArgs) -> anyhow::Result<ExitCode> {
    let config = run::load(&args.config)?;
    let opened = store::open(&config)?;
    let rebuilt = opened
        .reading(|| fold_again(&opened))
        .map_err(|why| anyhow!("the store failed ({why}). {}", store::SET_ASIDE))?
        .context("folding again")?;
    opened.logs.ledger.flush();
    if args.json {
        say_json(&rebuilt)?;
    } else {
        say(&page(&rebuilt));
    }
    Ok(ExitCode::from(if rebuilt.same == Some(false) { BAD } else { GOOD }))
}

pub(super) fn fold_again(opened: &Opened) -> anyhow::Result<Rebuilt> {
    let institutions = opened.institutions();
    let folded = |id: &_| state::cursor(&opened.logs, *id).map_or(0, |cursor| cursor.next);
    let records = institutions.iter().map(|id| opened.size(*id)).sum();
    let whole = institutions.iter().all(|id| {
        let cursor = state::cursor(&opened.logs, *id);
        cursor.is_some_and(|cursor| cursor.upgrade_needed || cursor.next == opened.size(*id))
    });
    let before = whole.then(|| state::weigh(&opened.logs));

    let bar = progress("folding again", records);
    opened.logs.ledger.clear_state();
    let Logs { ledger, federation, vault } = &opened.logs;
    let logs = Logs { ledger: ledger.clone(), federation: federation.clone(), vault: vault.clone() };
    let settings = opened.settings.clone();
    let folding = std::thread::spawn(move || drop(Writer::open(logs, settings, Arc::new(NodeClock::real()))));
    while !folding.is_finished() {
        bar.set_position(institutions.iter().map(folded).sum());
        std::thread::sleep(LOOK_EVERY);
    }
    folding.join().map_err(|_| anyhow!("the records cannot be folded; the log above says why"))?;
    bar.finish_and_clear();

    let after = state::weigh(&opened.logs);
    let same = before.as_ref().map(|before| *before == after);
    Ok(Rebuilt { records, before, after, same })
}

fn page(rebuilt: &Rebuilt) -> String {
    let line = |word: &str, weight: &Weight| format!("{word:7} {:>9} rows  {}\n", weight.rows, weight.digest);
    let before = match &rebuilt.before {
        Some(weight) => line("before", weight),
        None => "before  not every record was folded: nothing to compare\n".to_owned(),
    };
    let verdict = match rebuilt.same {
        Some(true) => "the same state",
        Some(false) => "ANOTHER state: the old one was wrong, or folded by another version of the program",
        None => "a complete state",
    };
    format!("{} records folded again\n{before}{}{verdict}\n", rebuilt.records, line("now", &rebuilt.after))
}
