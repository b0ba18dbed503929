//! Programmes and their policy: who is entitled, how many, how long, where, whether a printed card may be used.

use serde::{Deserialize, Serialize};

use crate::ids::{RecordName, ShortName};
use crate::member::FRESHNESS;
use crate::time::{Millis, Timestamp};

/// Longest title of a programme, in bytes of UTF-8.
pub const MAX_TITLE_BYTES: usize = 200;

/// Longest validity, in days.
pub const MAX_VALIDITY_DAYS: u16 = 1_096;

/// Entitlement class of a holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Old people.
    Elderly,
    /// Chronically ill people.
    Chronic,
    /// Pregnant women.
    Pregnant,
    /// Disabled people.
    Disabled,
}

impl Class {
    /// All classes.
    pub const ALL: [Self; 4] = [Self::Elderly, Self::Chronic, Self::Pregnant, Self::Disabled];

    /// The word for it in files and API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Elderly => "elderly",
            Self::Chronic => "chronic",
            Self::Pregnant => "pregnant",
            Self::Disabled => "disabled",
        }
    }
}

/// The policy of a programme.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Short name, stable over changes.
    pub programme: ShortName,
    /// Title in Chinese.
    pub title_zh: String,
    /// Title in English.
    pub title_en: String,
    /// What is examined.
    pub service: ShortName,
    /// The department that issues it, as the authority writes it.
    pub issuing_department: String,
    /// Who is entitled.
    pub classes: Vec<Class>,
    /// How long a voucher is valid.
    pub validity_days: u16,
    /// Most vouchers that one holder may be issued.
    pub vouchers_per_holder: u16,
    /// Departments in which it may be used.
    pub departments: Vec<ShortName>,
    /// Whether a printed card may stand in for the phone.
    pub card_allowed: bool,
}

/// A policy that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPolicy {
    /// Titles and issuing department have 1 to 200 bytes.
    #[error("titles and issuing department have 1 to {MAX_TITLE_BYTES} bytes")]
    Title,
    /// Titles and issuing department show nothing else than they are.
    #[error("titles and issuing department have no control characters, and none that hide or turn others")]
    Hidden,
    /// At least one class, each once.
    #[error("at least one class, each once")]
    Classes,
    /// 1 to 1,096 days.
    #[error("the validity is 1 to {MAX_VALIDITY_DAYS} days")]
    Validity,
    /// At least one voucher per holder.
    #[error("at least one voucher per holder")]
    PerHolder,
    /// 1 to 20 departments, each once.
    #[error("1 to 20 departments, each once")]
    Departments,
}

/// Whether a character shows nothing, or changes the order in which others are shown: with it, two texts can look alike and
/// differ, and a picture cannot carry it.
#[must_use]
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

impl Policy {
    /// Checks what no type can, of a policy that is to be written: [`Self::check`], and texts that show all that they are.
    ///
    /// # Errors
    ///
    /// [`BadPolicy`] names the first field that cannot be.
    pub fn check_new(&self) -> Result<(), BadPolicy> {
        let titles = [&self.title_zh, &self.title_en, &self.issuing_department];
        if titles.iter().any(|title| title.chars().any(is_hidden)) {
            return Err(BadPolicy::Hidden);
        }
        self.check()
    }

    /// Checks what no type can. Every node checks so what others have written, and always has: it stays as it is.
    ///
    /// # Errors
    ///
    /// [`BadPolicy`] names the first field that cannot be.
    pub fn check(&self) -> Result<(), BadPolicy> {
        let once = |n: usize, distinct: usize| n > 0 && n == distinct;
        let titles = [&self.title_zh, &self.title_en, &self.issuing_department];
        let classes: std::collections::BTreeSet<_> = self.classes.iter().collect();
        let departments: std::collections::BTreeSet<_> = self.departments.iter().collect();
        if titles.iter().any(|t| t.trim().is_empty() || t.len() > MAX_TITLE_BYTES) {
            Err(BadPolicy::Title)
        } else if !once(self.classes.len(), classes.len()) {
            Err(BadPolicy::Classes)
        } else if !(1..=MAX_VALIDITY_DAYS).contains(&self.validity_days) {
            Err(BadPolicy::Validity)
        } else if self.vouchers_per_holder == 0 {
            Err(BadPolicy::PerHolder)
        } else if !once(self.departments.len(), departments.len()) || departments.len() > 20 {
            Err(BadPolicy::Departments)
        } else {
            Ok(())
        }
    }

    /// How long a voucher of it is valid.
    #[must_use]
    pub fn validity(&self) -> Millis {
        Millis::days(i64::from(self.validity_days))
    }
}

/// What an issuer says about its programmes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProgrammeEvent {
    /// A new programme.
    Published(Policy),
    /// Another policy for a programme.
    Changed {
        /// The record that published it.
        programme: RecordName,
        /// The new policy; it acts 10 minutes after its own `at`.
        policy: Policy,
    },
}

/// A programme and the history of its policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Programme {
    /// The record that published it.
    pub name: RecordName,
    /// Policies with the time from which they are written, oldest first; never empty.
    pub history: Vec<(Timestamp, Policy)>,
}

impl Programme {
    /// The policy in force at a time: a change acts [`FRESHNESS`] after its own `at`; the first acts at once.
    ///
    /// No settlement needs a horizon here: it stands in the log of the change itself, so what it settled before the
    /// change is older than the change, let alone than the time from which it acts.
    #[must_use]
    pub fn in_force(&self, at: Timestamp) -> Option<&Policy> {
        let changed = self.history.iter().skip(1).rev().find(|(since, _)| *since + FRESHNESS <= at);
        changed.or_else(|| self.history.first()).map(|(_, policy)| policy)
    }

    /// The newest policy, in force or about to be.
    #[must_use]
    pub fn newest(&self) -> Option<&Policy> {
        self.history.last().map(|(_, policy)| policy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_from_now_on_shows_all_that_it_is() {
        let policy = |title: &str| Policy {
            programme: "heart".parse().unwrap(),
            title_zh: title.into(),
            title_en: "Heart".into(),
            service: "check".parse().unwrap(),
            issuing_department: "处".into(),
            classes: vec![Class::Elderly],
            validity_days: 90,
            vouchers_per_holder: 1,
            departments: vec!["heart".parse().unwrap()],
            card_allowed: true,
        };
        assert_eq!(policy("心电图检查").check_new(), Ok(()));
        for bad in ["心\n电", "心\u{7}", "心\u{202e}电", "心\u{200b}电", "\u{feff}心"] {
            assert_eq!(policy(bad).check_new(), Err(BadPolicy::Hidden), "{bad:?}");
            assert_eq!(policy(bad).check(), Ok(()), "a record that is written stays good: {bad:?}");
            let other = Policy { issuing_department: bad.into(), ..policy("心") };
            assert_eq!(other.check_new(), Err(BadPolicy::Hidden), "{bad:?}");
        }
    }
}
