//! Stories over real nodes.

mod crash;
mod demo;
mod expiry;
mod import;
mod readme;
mod replication;
mod restore;
mod stop;
