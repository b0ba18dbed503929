//! Package `actors`.

pub mod token;
