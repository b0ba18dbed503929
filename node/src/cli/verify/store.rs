//! The store of a stopped node: every log from its bytes up, and the stored state against all records folded again.

use std::sync::Arc;

use actors::auditor::recount::NotHeld;
use actors::auditor::verify::{Verified, registry_at, verify_store};
use actors::kv::Base;
use domain::ids::InstitutionId;
use domain::member::Registry;
use ledger::key::NoteVerifier;
use voucher_node::config::Config;

use super::logs::{Held, Trust, Watched, judge_all};
use super::{Verdict, take_over, take_over_logs};
use crate::cli::output::progress;
use crate::cli::state;
use crate::cli::store::{self, Opened};

/// Judges an opened store.
pub(in crate::cli) fn judge(config: &Config, opened: &Opened) -> Verdict {
    let mut verdict = Verdict { complete: true, ..Verdict::default() };
    if let Some(why) = &opened.report.rebuilt {
        verdict.faults.push(format!("the store was damaged ({why}); it was set aside and rebuilt from the journal"));
    }
    if opened.report.torn_bytes > 0 {
        let torn = opened.report.torn_bytes;
        verdict.notes.push(format!("{torn} bytes of a torn last write at the journal's end were cut off"));
    }
    if let Err(why) = opened.reading(|| look(config, opened, &mut verdict)) {
        verdict.faults.push(format!("the store cannot be read ({why}). {}", store::SET_ASIDE));
    }
    verdict.good = verdict.faults.is_empty();
    verdict
}

fn look(config: &Config, opened: &Opened, verdict: &mut Verdict) {
    let institutions = opened.institutions();
    let sizes = sizes(opened, &institutions, verdict);
    let bar = progress("folding again", sizes.iter().map(|(_, size)| size).sum());
    let folded = verify_store(&Watched { base: &opened.logs, bar: &bar }, &opened.settings, &sizes);
    bar.finish_and_clear();
    let registry = match folded {
        Ok(verified) => {
            let registry = registry(opened, &sizes, &verified);
            take_over(verdict, verified);
            registry
        }
        Err(missing) => Err(missing),
    };
    let registry = registry.map_err(|missing| verdict.faults.push(missing.to_string())).ok();
    if registry.is_none() {
        verdict.complete = false;
        verdict.notes.push("whose key may sign which log cannot be said: no signed head was checked".to_owned());
    }
    let trust = Trust { registry, ..Trust::default() };
    let keys = trust.registry.as_ref().map(|registry| {
        let keys = |id: &InstitutionId| (*id, opened.keys_of(config, registry, *id));
        institutions.iter().map(keys).collect()
    });
    let bar = progress("hashing and reading", institutions.iter().map(|id| opened.size(*id)).sum());
    let judged = judge_all(opened, &institutions, &keys.unwrap_or_default(), &trust, &bar);
    bar.finish_and_clear();
    take_over_logs(verdict, judged);
    if let Some(registry) = trust.registry
        && let Ok(configured) = config.registrar.log_vkey.parse::<NoteVerifier>()
        && !opened.keys_of(config, &registry, opened.settings.registrar).contains(&configured)
    {
        let whose = opened.settings.registrar;
        verdict.faults.push(format!("{whose}: its log never had the key of registrar.log_vkey"));
    }
}

/// Members as all records of the registrar say that are here. The stored state may be behind them: a store that was set
/// aside has folded nothing yet.
fn registry(opened: &Opened, sizes: &[(InstitutionId, u64)], verified: &Verified) -> Result<Arc<Registry>, NotHeld> {
    let registrar = opened.settings.registrar;
    let held = opened.size(registrar);
    if sizes.contains(&(registrar, held)) {
        return Ok(verified.registry.clone());
    }
    registry_at(&opened.logs, &opened.settings, held)
}

/// Up to where the stored state has folded each log.
fn sizes(opened: &Opened, institutions: &[InstitutionId], verdict: &mut Verdict) -> Vec<(InstitutionId, u64)> {
    let mut sizes = Vec::new();
    for institution in institutions {
        let held = opened.size(*institution);
        let Some(cursor) = state::cursor(&opened.logs, *institution) else {
            verdict.faults.push(format!("the row that says how far {institution} is folded cannot be read"));
            sizes.push((*institution, held));
            continue;
        };
        match held.checked_sub(cursor.next) {
            None => verdict.faults.push(format!(
                "the state has folded {} records of {institution}, and only {held} are here",
                cursor.next
            )),
            Some(0) => {}
            Some(_) if cursor.upgrade_needed => {}
            Some(behind) => verdict
                .notes
                .push(format!("{behind} records of {institution} are not folded yet; the next start folds them")),
        }
        // The record at which a fold stops leaves its mark in the state too.
        let folded = cursor.next.saturating_add(u64::from(cursor.upgrade_needed));
        sizes.push((*institution, folded.min(held)));
    }
    sizes
}

impl Held for Opened {
    fn base(&self) -> &dyn Base {
        &self.logs
    }
    fn origin(&self, institution: InstitutionId) -> String {
        self.logs.origin(institution)
    }
    fn size(&self, institution: InstitutionId) -> u64 {
        Opened::size(self, institution)
    }
    fn head(&self, institution: InstitutionId) -> Option<String> {
        Some(self.logs.ledger.head(&self.logs.origin(institution))?.note.to_string())
    }
    fn tile(&self, institution: InstitutionId, level: u8, index: u64, width: u16) -> Option<Vec<u8>> {
        self.logs.ledger.tile(&self.logs.origin(institution), level, index, width)
    }
}
