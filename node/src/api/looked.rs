//! Every look at a person is put on record: who looked, at what, whole or masked. Nothing of the person stands there.

use domain::ids::{HolderId, Operator};

/// How much was shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// Enough to recognise.
    Masked,
    /// All of it.
    Whole,
}

impl Shown {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Masked => "masked",
            Self::Whole => "whole",
        }
    }
}

/// Puts a look on record, as an event of the log's target `access`.
///
/// `whom` is the registrar's random id; none where the person is not registered. A look that found nobody is one as well:
/// who tries numbers is seen.
pub fn note(operator: Operator, what: &'static str, whom: Option<HolderId>, shown: Shown, found: bool) {
    let whom = whom.map_or_else(String::new, |holder| holder.0.to_string());
    tracing::info!(target: "access", operator = %operator.0, what, whom, shown = shown.as_str(), found, "somebody looked at a person");
}
