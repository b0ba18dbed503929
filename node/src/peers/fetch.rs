//! Reading another institution's log over HTTP: bundles and tiles, and verified steps towards a signed head.
//!
//! What is read needs no trust: [`mirror::step`] checks it against the head.

use ledger::checkpoint::Checkpoint;
use ledger::fork::Beginning;
use ledger::key::NoteVerifier;
use ledger::merkle::{Hash, verify_consistency};
use ledger::mirror::{self, Accepted, Held, Refused};
use ledger::tile::{TILE_WIDTH, TileError, TileHashes, TileKind, TilePath, parse_bundle};

use super::Place;
use super::client::{Answer, CallError};
use crate::node::Node;

/// Entries that are verified and handed over at once: small, so that people's requests come in between.
pub const STEP_ENTRIES: u64 = 1_024;

/// Why a log could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No answer, or none that can be read.
    #[error(transparent)]
    Call(#[from] CallError),
    /// Another status than 200.
    #[error("the peer answered {0}")]
    Status(u16),
    /// It does not lead to the signed head.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// A bundle is none.
    #[error("an entry bundle cannot be read: {0}")]
    Bundle(#[from] ledger::tile::BundleError),
    /// The tiles give no proof.
    #[error("no proof can be made from the peer's tiles: {0}")]
    Proof(#[from] TileError),
}

/// A signed head of a log, and where its tiles are to be had.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// Where its tiles are.
    pub place: &'a Place,
    /// The log's name.
    pub origin: &'a str,
    /// The log's keys.
    pub keys: &'a [NoteVerifier],
    /// The signed note.
    pub note: &'a [u8],
    /// The size that it signs.
    pub size: u64,
}

/// The next step from what is held towards the signed head, verified: at most `most` entries.
///
/// # Errors
///
/// [`FetchError`]; nothing is changed.
pub async fn step(node: &Node, source: Source<'_>, held: &Held, most: u64) -> Result<Accepted, FetchError> {
    let Source { place, size, .. } = source;
    let until = size.min(held.size() + most);
    let entries = fetch(node, place, held.size(), until, size).await?;
    let slices: Vec<&[u8]> = entries.iter().map(Vec::as_slice).collect();
    let proof = if until < size { prove(node, place, until, size).await? } else { Vec::new() };
    Ok(mirror::step(held, source.note, source.origin, source.keys, &slices, &proof)?)
}

/// The first `size` entries of a signed head, at least one, by the tiles of a peer: proved to be a beginning of it.
///
/// # Errors
///
/// [`FetchError`]: the tiles cannot be had, do not fit together, or do not lead to the head.
pub async fn beginning(node: &Node, place: &Place, size: u64, head: &Checkpoint) -> Result<Beginning, FetchError> {
    if size == head.size {
        return Ok(Beginning { root: head.root, proof: Vec::new() });
    }
    let root = over_tiles(node, place, head.size, |tiles| ledger::merkle::root(size, tiles)).await?;
    let proof = prove(node, place, size, head.size).await?;
    verify_consistency(size, &root, head.size, &head.root, &proof).map_err(Refused::BadProof)?;
    Ok(Beginning { root, proof })
}

async fn tile(node: &Node, place: &Place, path: TilePath) -> Result<Answer, FetchError> {
    let path = format!("{}/{path}", place.base);
    Ok(node.client.get(&place.peer, &path, super::client::CALL_TIMEOUT).await?)
}

/// A tile or bundle of at least `width`; where the partial one is gone the full one is taken.
async fn fetch_tile(
    node: &Node,
    place: &Place,
    kind: TileKind,
    index: u64,
    width: u16,
) -> Result<(Vec<u8>, u16), FetchError> {
    let answer = tile(node, place, TilePath { kind, index, width }).await?;
    if answer.status == 200 {
        return Ok((answer.body, width));
    }
    let full = TILE_WIDTH as u16;
    if answer.status == 404 && width < full {
        let answer = tile(node, place, TilePath { kind, index, width: full }).await?;
        if answer.status == 200 {
            return Ok((answer.body, full));
        }
    }
    Err(FetchError::Status(answer.status))
}

/// Entries `from..until` of a log of `size` entries.
async fn fetch(node: &Node, place: &Place, from: u64, until: u64, size: u64) -> Result<Vec<Vec<u8>>, FetchError> {
    let width = TILE_WIDTH as u64;
    let mut entries = Vec::new();
    for bundle in from / width..until.div_ceil(width) {
        let have = (size - bundle * width).min(width) as u16;
        let (bytes, got) = fetch_tile(node, place, TileKind::Entries, bundle, have).await?;
        for (offset, entry) in parse_bundle(&bytes, usize::from(got))?.into_iter().enumerate() {
            let index = bundle * width + offset as u64;
            if (from..until).contains(&index) {
                entries.push(entry.to_vec());
            }
        }
    }
    Ok(entries)
}

/// The proof that the first `old` entries are those of the log of `new`, made from the peer's tiles.
async fn prove(node: &Node, place: &Place, old: u64, new: u64) -> Result<Vec<Hash>, FetchError> {
    over_tiles(node, place, new, |tiles| ledger::merkle::consistency_proof(old, new, tiles)).await
}

/// Hashes by (level, index, width), as far as they are here.
type Read<'a> = TileHashes<&'a dyn Fn(u8, u64, u16) -> Option<Vec<u8>>>;

/// Computes over a peer's tiles of a log of `size` entries, and fetches those that it finds missing.
async fn over_tiles<T>(
    node: &Node,
    place: &Place,
    size: u64,
    compute: impl Fn(&Read<'_>) -> Result<T, TileError>,
) -> Result<T, FetchError> {
    let mut held = std::collections::HashMap::<(u8, u64), (Vec<u8>, u16)>::new();
    loop {
        let missing = std::cell::Cell::new(None);
        let computed = {
            let read = |level: u8, index: u64, width: u16| match held.get(&(level, index)) {
                Some((bytes, have)) if *have >= width => Some(bytes.clone()),
                _ => {
                    missing.set(Some((level, index, width)));
                    None
                }
            };
            compute(&TileHashes(&read))
        };
        match (computed, missing.get()) {
            (Ok(computed), _) => return Ok(computed),
            (Err(_), Some((level, index, width))) => {
                let exists = exists(size, level, index).max(width);
                let tile = fetch_tile(node, place, TileKind::Hashes(level), index, exists).await?;
                held.insert((level, index), tile);
            }
            (Err(error), None) => return Err(error.into()),
        }
    }
}

/// How many hashes a tile has in a log of `size` entries.
#[must_use]
pub fn exists(size: u64, level: u8, index: u64) -> u16 {
    let at_level = size.checked_shr(8 * u32::from(level)).unwrap_or(0);
    let width = TILE_WIDTH as u64;
    at_level.saturating_sub(index.saturating_mul(width)).min(width) as u16
}
