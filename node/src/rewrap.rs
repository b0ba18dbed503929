//! The vault wrapped anew under another data key, after the old one may have been seen by others.
//!
//! ```text
//! request.before.key ─► data.next.key ─► each slot, in its place ─► data.next.key becomes data.key, the old is overwritten
//! ```
//!
//! As long as `data.next.key` is there, it is not done: the next start, or the same command, goes on with it. Every slot
//! is wrapped under one of the two at any time.

use actors::vault::disk::FileSlots;
use anyhow::Context as _;

use crate::config::Config;
use crate::keyfile::{self, Passphrase};
use crate::keys::{DATA, NodeKeys, file_of, next_file_of, vault_key};

/// Makes another data key and wraps the vault under it, or goes on where that was broken off; how many slots it wrapped.
/// The node must be stopped.
///
/// # Errors
///
/// Keys or vault cannot be read or written, or do not belong together; the same command goes on.
pub fn rewrap(config: &Config) -> anyhow::Result<usize> {
    let (dir, passphrase) = (&config.store.keys, Passphrase::from_environment()?);
    let next = next_file_of(dir, DATA);
    if !next.exists() {
        // A request that is repeated within a day is known by a digest that the old data key gave.
        NodeKeys::load_or_make(dir)?.keep_request_key(passphrase.as_ref())?;
        ledger::fail::point("request-key-kept");
        keyfile::make(&next, DATA, passphrase.as_ref())?;
        ledger::fail::point("data-key-made");
    }
    finish(config)
}

/// Whether it was begun and is not done: the slots are under two keys.
#[must_use]
pub fn is_under_way(config: &Config) -> bool {
    next_file_of(&config.store.keys, DATA).exists()
}

/// Finishes what was broken off, if something was; how many slots that took.
///
/// # Errors
///
/// As above.
pub fn finish(config: &Config) -> anyhow::Result<usize> {
    let dir = &config.store.keys;
    let (path, next) = (file_of(dir, DATA), next_file_of(dir, DATA));
    if !next.exists() {
        return Ok(0);
    }
    let passphrase = Passphrase::from_environment()?;
    let read = |path| keyfile::read(path, DATA, passphrase.as_ref());
    let (old, new) = (read(&path)?, read(&next)?);
    let vault = config.vault();
    let slots = FileSlots::open(&vault).with_context(|| format!("the vault {}", vault.display()))?;
    let wrapped = actors::vault::rewrap(&slots, &vault_key(&old), &vault_key(&new))?;
    ledger::fail::point("slots-rewrapped");
    keyfile::put_in_place(&next, &path)?;
    Ok(wrapped)
}
