//! What the demo tells: a page that a health officer can read, and the checks that stand behind each sentence.

use std::fmt::Display;
use std::io::Write as _;

use serde::Serialize;

/// A record's name as the story prints it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    /// Whose log.
    pub(super) institution: String,
    /// Index in it.
    pub(super) index: u64,
    /// RFC 6962 leaf hash, hexadecimal.
    pub(super) id: String,
}

/// `institution.index` and the first eight digits of the id.
impl Display for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{} {:.8}", self.institution, self.index, self.id)
    }
}

/// One check and what came of it, as `checks.json` has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    /// Its name, the same on every run.
    pub(super) name: &'static str,
    /// Whether it held.
    pub(super) held: bool,
    /// What was expected and seen.
    pub(super) detail: String,
}

/// All checks of a run, in order. The run is good only if there are some and every one held.
#[derive(Debug, Default, Serialize)]
pub(super) struct Checks(Vec<Check>);

impl Checks {
    /// Notes a check.
    pub(super) fn check(&mut self, name: &'static str, held: bool, detail: impl Display) -> &Check {
        self.0.push(Check { name, held, detail: detail.to_string() });
        &self.0[self.0.len() - 1]
    }

    /// How many were made.
    #[must_use]
    pub(super) fn made(&self) -> usize {
        self.0.len()
    }

    /// Those that did not hold.
    pub(super) fn failed(&self) -> impl Iterator<Item = &Check> {
        self.0.iter().filter(|check| !check.held)
    }

    /// Whether every check held, and there was at least one.
    #[must_use]
    pub(super) fn all_held(&self) -> bool {
        self.made() > 0 && self.failed().next().is_none()
    }
}

/// The story as it is printed, line by line, while it happens.
#[derive(Debug, Default)]
pub(super) struct Story {
    /// The checks so far.
    pub(super) checks: Checks,
    chapters: usize,
}

impl Story {
    /// Begins a chapter.
    pub(super) fn chapter(&mut self, title: &str, when: impl Display) {
        self.chapters += 1;
        self.line(&format!("\n{}. {title}   ({when})", self.chapters));
    }

    /// Tells something.
    pub(super) fn tell(&mut self, text: impl Display) {
        self.line(&format!("   {text}"));
    }

    /// Tells something that stands in the ledger, with the names of the records.
    pub(super) fn wrote(&mut self, text: impl Display, records: &[Named]) {
        let names: String = match records {
            [] => String::new(),
            [first] => format!("   [{first}]"),
            [first, .., last] if first.institution == last.institution => {
                format!("   [{first} .. {}.{}]", last.institution, last.index)
            }
            [first, .., last] => format!("   [{first} .. {last}]"),
        };
        self.line(&format!("   {text}{names}"));
    }

    /// Checks something and says so; one that fails prints what was expected and seen.
    pub(super) fn check(&mut self, name: &'static str, held: bool, detail: impl Display) -> bool {
        let check = self.checks.check(name, held, detail).clone();
        let word = if check.held { "ok     " } else { "FAILED " };
        self.line(&format!("   {word}{}: {}", check.name, check.detail));
        held
    }

    /// Says at the end what came of all checks.
    pub(super) fn verdict(&mut self) {
        let failed: Vec<Check> = self.checks.failed().cloned().collect();
        let made = self.checks.made();
        if failed.is_empty() {
            self.line(&format!("\n{made} checks, all held."));
            return;
        }
        self.line(&format!("\n{made} checks, {} FAILED:", failed.len()));
        for check in failed {
            self.line(&format!("   FAILED {}: {}", check.name, check.detail));
        }
    }

    /// Prints a line. A reader that closed the pipe does not end the demo: its exit code still tells.
    fn line(&mut self, text: &str) {
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "{text}").and_then(|()| out.flush());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_good_only_if_it_checked_something_and_all_held() {
        let mut checks = Checks::default();
        assert!(!checks.all_held(), "nothing was checked");
        checks.check("one", true, "1 = 1");
        assert!(checks.all_held());
        checks.check("two", false, "expected 2, saw 3");
        checks.check("three", true, "");
        assert!(!checks.all_held());
        assert_eq!(checks.failed().map(|c| c.name).collect::<Vec<_>>(), ["two"]);
        assert_eq!(checks.made(), 3);
    }

    #[test]
    fn a_record_is_named_shortly() {
        let named = Named { institution: "hospital-gulou".into(), index: 7, id: "0123456789abcdef".into() };
        assert_eq!(named.to_string(), "hospital-gulou.7 01234567");
    }
}
