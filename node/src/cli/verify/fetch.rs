//! The logs that a running node holds, fetched into the files of an export: what they are worth is judged there.

use std::path::Path;

use actors::auditor::witness;
use anyhow::{Context as _, ensure};
use domain::ids::InstitutionId;
use ledger::checkpoint::claimed_size;
use ledger::key::NoteVerifier;
use ledger::note::MAX_NOTE_BYTES;
use serde::Deserialize;

use crate::cli::export::{COSIGNED, Exported, ExportedLog, VERSION, put, write_log};
use crate::cli::exported::{MAX_LOGS, contents_of};
use crate::cli::node::{CallError, Node};
use crate::cli::output::progress;

/// The time zone that an export names where nobody said another: published figures name their own.
const UTC_OFFSET_MINUTES: i32 = 480;

/// The heads that a node knows of.
#[derive(Deserialize)]
struct Heads {
    items: Vec<Known>,
}

/// One of them.
#[derive(Deserialize)]
struct Known {
    institution: InstitutionId,
}

/// Fetches what `dir` does not have yet. The registrar and the federation are those of its log's key.
///
/// # Errors
///
/// The node does not answer, or not with what it says that it has.
pub(super) fn fetch(node: &Node, anchor: &[NoteVerifier], dir: &Path) -> anyhow::Result<()> {
    let origin = anchor.first().context("no key of the registrar's log")?.name();
    let (federation, registrar) =
        origin.rsplit_once('/').with_context(|| format!("{origin} is no log of a federation"))?;
    let registrar: InstitutionId = registrar.parse().with_context(|| format!("{origin} is no log of a federation"))?;
    if let Some(before) = contents_of(dir)? {
        let same = before.federation == federation && before.registrar == registrar;
        ensure!(same, "{} is an export of another federation", dir.display());
    }
    let Heads { items } = node.get("/v1/checkpoints")?;
    ensure!(items.len() <= MAX_LOGS, "the node has {} logs, more than {MAX_LOGS}", items.len());
    let mut heads = Vec::new();
    for Known { institution } in items {
        let note = node.bytes(&format!("/mirrors/{institution}/checkpoint"))?;
        ensure!(note.len() <= MAX_NOTE_BYTES, "{institution}: the head is longer than a head may be");
        let note = String::from_utf8(note).with_context(|| format!("{institution}: the head is no text"))?;
        let size = claimed_size(&note).with_context(|| format!("{institution}: the head is none"))?;
        heads.push((institution, note, size));
    }
    let origin_of = |institution| format!("{federation}/{institution}");
    let bar = progress("fetching", heads.iter().map(|(.., size)| size).sum());
    let mut logs = Vec::new();
    for (institution, note, size) in heads {
        let dir_name = format!("logs/{institution}");
        let log_dir = dir.join(&dir_name);
        let before = std::fs::read_to_string(log_dir.join("checkpoint")).ok();
        let before = before.as_deref().and_then(claimed_size).filter(|before| *before <= size).unwrap_or_default();
        for path in [
            format!("/witness/{}/checkpoint", witness::digest_of(&origin_of(institution))),
            format!("/mirrors/{institution}/checkpoint?cosigned=true"),
        ] {
            // Only an auditor's node is a witness, and only of its own log a node keeps what was cosigned.
            let note = match node.bytes(&path) {
                Err(CallError::Refused { status: 404, .. }) => continue,
                note => String::from_utf8(note?).unwrap_or_default(),
            };
            if claimed_size(&note).is_some_and(|cosigned| cosigned <= size) && note.len() <= MAX_NOTE_BYTES {
                put(&log_dir.join(COSIGNED), note.as_bytes())?;
            }
        }
        let read = |path| Ok(node.bytes(&format!("/mirrors/{institution}/{path}"))?);
        let files = write_log(&log_dir, size, before, &note, &bar, read).with_context(|| institution.to_string())?;
        let origin = origin_of(institution);
        logs.push(ExportedLog { institution, origin, size, dir: dir_name, files });
    }
    bar.finish_and_clear();
    let federation = federation.to_owned();
    let exported = Exported { version: VERSION, federation, registrar, utc_offset_minutes: UTC_OFFSET_MINUTES, logs };
    put(&dir.join("export.json"), serde_json::to_string_pretty(&exported)?.as_bytes())
}
