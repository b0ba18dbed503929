//! Package `ledger`.

mod book;
pub mod checkpoint;
mod commit;
pub mod cosignature;
pub mod disk;
pub mod fail;
pub mod fork;
pub mod frame;
#[cfg(test)]
mod fuzz;
pub mod journal;
mod keep;
pub mod key;
mod layout;
pub mod log;
pub mod marker;
mod marks;
pub mod merkle;
pub mod mirror;
pub mod note;
mod pack;
pub mod policy;
pub mod proof;
mod read;
pub mod record;
pub mod recover;
mod replaced;
pub mod scrub;
pub mod store;
pub mod survey;
pub mod tile;
pub mod value;
pub mod witness;
