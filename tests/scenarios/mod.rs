//! Stories over real nodes.

mod abuse;
mod clocks;
mod crash;
mod demo;
#[cfg(debug_assertions)] // a release has no misbehaviours
mod demo_breaks;
mod expiry;
mod idempotency;
mod import;
mod keys;
mod liars;
mod privacy;
mod readme;
mod recovery;
mod registration;
mod replication;
mod restore;
mod stop;
mod succession;
mod transport;
mod witnesses;
