//! Pages: what people see in a browser, rendered here. Who may see what and what is done is decided where REST decides it
//! (node/src/api); nothing is decided twice.
//!
//! ```text
//! GET   ─► api::answer::Get   who calls, and may they (the tables below)      ─► handler ─► template ─► answer::show
//! POST  ─► form::Form         the same, by the form's hidden `csrf` and `key` ─► the function that REST calls ─► 303
//! a refusal ─► problem.rs     a page for who prefers HTML, JSON for everybody else
//! ```
//!
//! | file | what |
//! | --- | --- |
//! | `table.rs` | `pages!`: a page's route, access and handler in one row, so that none is served without its row |
//! | `frame.rs` | what stands around every page: language, who is signed in, texts, addresses of files |
//! | `answer.rs` | a template becomes an answer, with the headers of pages |
//! | `form.rs` | what a form sends |
//! | `text.rs` | texts in both languages (node/locales) |
//! | `assets.rs` | style, scripts, pictures (node/assets) |
//! | `picture.rs` | QR codes inside a page |
//! | `problem.rs` | refusals as pages |
//! | `desk/` | the community's and the hospital's desk |
//! | `words.rs` | codes, times and the age of knowledge in words |
//! | `issuer/` | the health authority: figures, publications, claims, supply, vouchers, corrections, programmes, members, parameters, consent |
//! | `audit.rs`, `records.rs` | the auditor; every log record by record |
//! | `terminal.rs` | the holder's own page, and what keeps it on a phone |
//! | `start.rs`, `sign_in.rs` | the start page; signing in and out, the own password, the language |
//!
//! Templates stand in node/templates, with a folder for each role beside the common ones. To add a page: a row in the table of
//! its file, a handler, a template, its texts in both languages, and a row in the table of `tests.rs`.

pub mod answer;
pub mod assets;
pub mod audit;
pub mod desk;
pub mod form;
pub mod frame;
pub mod issuer;
pub mod picture;
pub mod problem;
pub mod records;
pub mod sign_in;
pub mod start;
pub mod table;
pub mod terminal;
pub mod text;
pub mod words;

#[cfg(test)]
mod tests;

use actix_web::web;

use crate::accounts::permission::Permission;
use crate::api::access::{Access, Opened};
use crate::api::caller::Caller;
use table::Page;

/// The pages of each file, in the order in which the start page offers them: what people are here for first. Who adds a file
/// adds its table here, and its `configure` below.
pub const ALL: &[&[Page]] = &[
    terminal::PAGES,
    start::PAGES,
    desk::community::PAGES,
    desk::carriers::PAGES,
    desk::issue::PAGES,
    desk::stock::PAGES,
    desk::hospital::PAGES,
    desk::visits::PAGES,
    desk::hours::PAGES,
    issuer::figures::PAGES,
    issuer::publications::PAGES,
    issuer::claims::PAGES,
    issuer::supply::PAGES,
    issuer::vouchers::PAGES,
    issuer::corrections::PAGES,
    issuer::programmes::PAGES,
    issuer::members::PAGES,
    issuer::parameters::PAGES,
    issuer::approvals::PAGES,
    audit::PAGES,
    records::PAGES,
    sign_in::PAGES,
    assets::PAGES,
];

/// Whether a caller may do something: what they may not is not offered.
#[must_use]
pub fn may(caller: &Caller, permission: Permission) -> bool {
    Access::Operator(permission).admit(caller, Opened::default()).is_ok()
}

/// Every page.
pub fn configure(config: &mut web::ServiceConfig) {
    terminal::configure(config);
    start::configure(config);
    desk::configure(config);
    issuer::figures::configure(config);
    issuer::publications::configure(config);
    issuer::claims::configure(config);
    issuer::supply::configure(config);
    issuer::vouchers::configure(config);
    issuer::corrections::configure(config);
    issuer::programmes::configure(config);
    issuer::members::configure(config);
    issuer::parameters::configure(config);
    issuer::approvals::configure(config);
    audit::configure(config);
    records::configure(config);
    sign_in::configure(config);
    assets::configure(config);
}
