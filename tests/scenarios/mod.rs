//! Stories over real nodes.

mod clocks;
mod crash;
mod demo;
mod readme;
mod registration;
mod replication;
mod restore;
