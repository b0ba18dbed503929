//! What an auditor can be asked, and what it answers.

use domain::ids::InstitutionId;

use super::recount::Difference;

/// What an auditor can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Looks for records that do not count, and figures that do not add up.
    Audit,
    /// Reads on in every log, and publishes the forks that this node has the proof of.
    Watch,
    /// Published statistics were counted again.
    Recounted {
        /// Who published them.
        issuer: InstitutionId,
        /// Where in its log.
        index: u64,
        /// What differs; none if nothing does.
        difference: Option<Difference>,
    },
}

/// What an auditor answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// How many findings were written.
    pub findings: usize,
}
