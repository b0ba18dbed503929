//! Stories over real nodes.

mod crash;
mod demo;
mod readme;
mod replication;
mod restore;
