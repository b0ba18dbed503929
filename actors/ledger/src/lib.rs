//! Package `ledger`.
