//! Package `domain`.
