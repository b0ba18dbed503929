//! Every test over real nodes, in one binary: stories, liars, kills and restarts, the interface.

#![allow(missing_docs, reason = "tests say what they check in their names")]
#![allow(unreachable_pub, reason = "one binary: nothing is reachable from outside")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod api;
mod browser;
mod liars;
mod scenarios;
mod support;
