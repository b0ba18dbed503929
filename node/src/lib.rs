//! Package `voucher-node`: one institution's node. It connects rules and book to people and peers.

pub mod accounts;
pub mod api;
pub mod clock;
pub mod config;
pub mod demo;
pub mod door;
#[cfg(test)]
mod fuzz;
pub mod http;
pub mod import;
pub mod keyfile;
pub mod keys;
pub mod limits;
pub mod node;
pub mod oidc;
pub mod pages;
pub mod peers;
pub mod qr;
pub mod rewrap;
pub mod roles;
pub mod rotation;
pub mod scrub;
pub mod server;
pub mod telemetry;
pub mod tls;
