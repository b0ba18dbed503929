//! The files of an export, judged by the registrar's key alone: every log from its bytes up, and the federation folded from nothing.

use std::path::Path;

use actors::auditor::report::LogVerdict;
use actors::auditor::verify::{Verified, verify_logs};
use actors::kv::Base;
use actors::replica::Settings;
use anyhow::Context as _;
use chrono::FixedOffset;
use domain::ids::InstitutionId;
use ledger::key::NoteVerifier;
use ledger::policy::Policy;

use super::logs::{Held, Trust, Watched, judge_all};
use super::{Verdict, take_over, take_over_logs};
use crate::cli::exported::Files;
use crate::cli::output::progress;

impl Held for Files {
    fn base(&self) -> &dyn Base {
        self
    }
    fn origin(&self, institution: InstitutionId) -> String {
        format!("{}/{institution}", self.contents.federation)
    }
    fn size(&self, institution: InstitutionId) -> u64 {
        Files::size(self, institution)
    }
    fn head(&self, institution: InstitutionId) -> Option<String> {
        Files::head(self, institution)
    }
    fn cosigned_head(&self, institution: InstitutionId) -> Option<String> {
        Files::cosigned_head(self, institution)
    }
    fn tile(&self, institution: InstitutionId, level: u8, index: u64, width: u16) -> Option<Vec<u8>> {
        Files::tile(self, institution, level, index, width)
    }
}

/// Judges an export by the keys of the registrar's log.
///
/// # Errors
///
/// It is no export.
pub(in crate::cli) fn judge(dir: &Path, anchor: &[NoteVerifier], policy: Policy) -> anyhow::Result<Verdict> {
    let files = Files::open(dir)?.with_context(|| format!("{} has no export.json", dir.display()))?;
    let institutions = files.institutions();
    let contents = &files.contents;
    let minutes = contents.utc_offset_minutes;
    let offset = minutes.checked_mul(60).and_then(FixedOffset::east_opt);
    let settings = Settings {
        me: contents.registrar,
        roles: Vec::new(),
        registrar: contents.registrar,
        offset: offset.with_context(|| format!("export.json: utc_offset_minutes {minutes} is a day or more"))?,
        retention: actors::personal::Retention::default(),
    };
    let mut verdict = Verdict { complete: true, ..Verdict::default() };

    let sizes: Vec<(InstitutionId, u64)> = institutions.iter().map(|id| (*id, files.size(*id))).collect();
    let bar = progress("folding", sizes.iter().map(|(_, size)| size).sum());
    let folded = verify_logs(&Watched { base: &files, bar: &bar }, &settings, &sizes);
    bar.finish_and_clear();
    let mut trust = Trust { registry: None, policy };
    match folded {
        Ok(verified) => {
            trust.registry = Some(verified.registry.clone());
            federation(&mut verdict, &verified, &files);
            take_over(&mut verdict, verified);
        }
        Err(missing) => {
            verdict.faults.push(missing.to_string());
            verdict.complete = false;
        }
    }
    let keys = institutions.iter().map(|id| {
        let is_anchor = *id == contents.registrar;
        let keys = if is_anchor { anchor.to_vec() } else { trust.keys_of(*id, files.size(*id)) };
        (*id, keys)
    });
    let keys = keys.filter(|(id, _)| trust.registry.is_some() || *id == contents.registrar).collect();
    let bar = progress("hashing and reading", sizes.iter().map(|(_, size)| size).sum());
    let judged = judge_all(&files, &institutions, &keys, &trust, &bar);
    bar.finish_and_clear();
    take_over_logs(&mut verdict, judged);
    verdict.faults.extend(files.troubles());
    verdict.good = verdict.faults.is_empty();
    Ok(verdict)
}

/// What an outsider asks beyond the bytes: is every member's log here, and did everybody keep the rules?
fn federation(verdict: &mut Verdict, verified: &Verified, files: &Files) {
    for log in &verified.report.logs {
        let id = log.institution;
        if files.head(id).is_none() {
            // Who has written nothing yet has no log; whether that is so no export can say.
            verdict
                .notes
                .push(format!("no log of {id} is in the export: if it has written anything, that is not judged"));
        }
        if log.verdict == LogVerdict::RulesBroken {
            let why: Vec<String> = log.not_counting.iter().map(|(reason, n)| format!("{reason}: {n}")).collect();
            verdict.faults.push(format!("{id}: records that break the rules and do not count ({})", why.join(", ")));
        }
    }
}
