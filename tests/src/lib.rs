//! Package `tests`: everything that is checked over real nodes stands in `main.rs` beside this folder.
