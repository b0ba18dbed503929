//! Stories over real nodes.

mod crash;
mod demo;
#[cfg(debug_assertions)] // a release has no misbehaviours
mod demo_breaks;
mod readme;
mod replication;
mod restore;
