//! Tiles and entry bundles (C2SP tlog-tiles): how a log is cut into files; it never reads or writes one.

use std::fmt;
use std::str::FromStr;

use crate::merkle::{Edge, Hash, Hashes, MAX_SIZE, ProofError, node_hash};

/// Hashes in a full tile, and entries in a full bundle.
pub const TILE_WIDTH: usize = 256;

/// Bytes of a full tile of hashes.
pub const TILE_BYTES: usize = TILE_WIDTH * HASH_BYTES;

/// Longest entry, in bytes: its length has 16 bits. What is longer must be refused when it is appended.
pub const MAX_ENTRY_BYTES: usize = u16::MAX as usize;

/// Highest level in a path.
pub const MAX_LEVEL: u8 = 63;

/// Longest path, in bytes: `tile/entries/`, seven groups of an index, and `.p/255`.
const MAX_PATH_BYTES: usize = 64;

const HASH_BYTES: usize = 32;

/// Tree levels in a tile: 256 is 2^8.
const TILE_HEIGHT: u8 = 8;

/// Tile levels that a tree of up to 2^63 - 1 leaves can have.
const TILE_LEVELS: u8 = 8;

/// What a tile holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TileKind {
    /// Roots of the complete subtrees of 256^level leaves; level 0 are the leaf hashes.
    Hashes(u8),
    /// The entries themselves, with their lengths: a bundle.
    Entries,
}

/// The address of a tile or bundle. Its text form is the only spelling: `tile/0/x001/x234/067.p/12`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TilePath {
    /// What it holds.
    pub kind: TileKind,
    /// Which one of its level, from 0.
    pub index: u64,
    /// Hashes or entries in it, 1 to 256. Below 256 it is partial.
    pub width: u16,
}

impl TilePath {
    /// The smallest tree, in leaves, in which this tile exists. `None` if no tree is that large.
    pub fn needs(&self) -> Option<u64> {
        let level = match self.kind {
            TileKind::Hashes(level) => level,
            TileKind::Entries => 0,
        };
        let hashes = self.index.checked_mul(TILE_WIDTH as u64)?.checked_add(self.width.into())?;
        let leaves = 256_u64.checked_pow(level.into())?.checked_mul(hashes)?;
        (leaves <= MAX_SIZE).then_some(leaves)
    }

    /// Whether a tree of this size has all hashes or entries of this tile.
    pub fn exists_in(&self, size: u64) -> bool {
        self.needs().is_some_and(|leaves| leaves <= size)
    }
}

impl fmt::Display for TilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            TileKind::Hashes(level) => write!(f, "tile/{level}/")?,
            TileKind::Entries => f.write_str("tile/entries/")?,
        }
        // Groups of three digits; every group but the last has an x.
        let mut unit = 1;
        while self.index / unit >= 1000 {
            unit *= 1000;
        }
        while unit > 1 {
            write!(f, "x{:03}/", self.index / unit % 1000)?;
            unit /= 1000;
        }
        write!(f, "{:03}", self.index % 1000)?;
        if usize::from(self.width) < TILE_WIDTH {
            write!(f, ".p/{}", self.width)?;
        }
        Ok(())
    }
}

/// The path names no tile, or not in its only spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not the path of a tile")]
pub struct PathError;

impl FromStr for TilePath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<TilePath, PathError> {
        let path = read_path(text).ok_or(PathError)?;
        // One resource, one address: read with some tolerance, then insist on our own spelling.
        if path.to_string() == text { Ok(path) } else { Err(PathError) }
    }
}

fn read_path(text: &str) -> Option<TilePath> {
    if text.len() > MAX_PATH_BYTES {
        return None;
    }
    let (kind, rest) = text.strip_prefix("tile/")?.split_once('/')?;
    let kind = match kind {
        "entries" => TileKind::Entries,
        level => TileKind::Hashes(level.parse().ok().filter(|level| *level <= MAX_LEVEL)?),
    };
    let (groups, width) = match rest.split_once(".p/") {
        Some((groups, width)) => (groups, width.parse().ok().filter(|width| (1..256).contains(width))?),
        None => (rest, TILE_WIDTH as u16),
    };
    let mut index = 0_u64;
    for group in groups.split('/') {
        let number: u64 = group.trim_start_matches('x').parse().ok().filter(|number| *number < 1000)?;
        index = index.checked_mul(1000)?.checked_add(number)?;
    }
    Some(TilePath { kind, index, width })
}

/// The tiles of one kind and level when that level has `count` hashes or entries.
fn row(kind: TileKind, count: u64) -> impl Iterator<Item = TilePath> {
    let (full, rest) = (count / TILE_WIDTH as u64, (count % TILE_WIDTH as u64) as u16);
    let full_tiles = (0..full).map(move |index| TilePath { kind, index, width: TILE_WIDTH as u16 });
    full_tiles.chain((rest > 0).then_some(TilePath { kind, index: full, width: rest }))
}

/// The hash tiles of a tree of `size` leaves: level by level from the leaves, each from left to right.
pub fn tiles_of(size: u64) -> impl Iterator<Item = TilePath> {
    (0..TILE_LEVELS).flat_map(move |level| row(TileKind::Hashes(level), size >> (TILE_HEIGHT * level)))
}

/// The entry bundles of a tree of `size` leaves, from left to right.
pub fn bundles_of(size: u64) -> impl Iterator<Item = TilePath> {
    row(TileKind::Entries, size)
}

/// The right edge of a tree as tiles: what is needed to append, to know the root and to write tiles.
#[derive(Clone, Debug, Default)]
pub struct Tiles {
    edge: Edge,
    /// The partial tile of each level, shorter than [`TILE_BYTES`].
    partials: Vec<Vec<u8>>,
    full: Vec<(u8, u64, Vec<u8>)>,
}

/// Why the right edge cannot be put together from stored tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartialsError {
    /// The size is larger than a log may be.
    #[error("a tree of {0} leaves is larger than a log may be")]
    Size(u64),
    /// A tile that this size needs is not there.
    #[error("the tile {0} is missing")]
    Missing(TilePath),
    /// A tile does not have its 32 bytes for each hash.
    #[error("the tile {path} has {found} bytes")]
    Length {
        /// Which tile.
        path: TilePath,
        /// Its bytes.
        found: usize,
    },
}

impl Tiles {
    /// A tree without leaves.
    pub fn new() -> Tiles {
        Tiles::default()
    }

    /// Opens a tree of `size` leaves again from its partial tiles: `tile(level, index, width)` gives the bytes of
    /// the partial tile, at most one on each level. Compare [`Tiles::root`] with a signed root before relying
    /// on it: the tiles themselves prove nothing.
    ///
    /// # Errors
    ///
    /// [`PartialsError`].
    pub fn from_partials(
        size: u64,
        mut tile: impl FnMut(u8, u64, u16) -> Option<Vec<u8>>,
    ) -> Result<Tiles, PartialsError> {
        let mut tiles = Tiles::new();
        for level in 0..TILE_LEVELS {
            let count = size >> (TILE_HEIGHT * level);
            let (index, width) = (count / TILE_WIDTH as u64, (count % TILE_WIDTH as u64) as u16);
            let mut bytes = Vec::new();
            if width > 0 {
                let path = TilePath { kind: TileKind::Hashes(level), index, width };
                bytes = tile(level, index, width).ok_or(PartialsError::Missing(path))?;
                if bytes.len() != usize::from(width) * HASH_BYTES {
                    return Err(PartialsError::Length { path, found: bytes.len() });
                }
            }
            tiles.partials.push(bytes);
        }
        let mut roots = Vec::new();
        for partial in tiles.partials.iter().rev() {
            let mut hashes = partial.chunks_exact(HASH_BYTES).map(to_hash);
            let width = partial.len() / HASH_BYTES;
            for height in (0..TILE_HEIGHT).rev().filter(|height| width >> height & 1 == 1) {
                roots.extend(complete_root(&mut hashes, height));
            }
        }
        tiles.edge = Edge::from_parts(size, roots).map_err(|_| PartialsError::Size(size))?;
        Ok(tiles)
    }

    /// Appends a leaf.
    pub fn push(&mut self, leaf: Hash) {
        let index = self.edge.size();
        let (partials, full) = (&mut self.partials, &mut self.full);
        // Only complete subtrees appear above level 0: those the edge completes, every eighth level.
        self.edge.push_each(leaf, |height, hash| {
            if height % TILE_HEIGHT != 0 {
                return;
            }
            let level = height / TILE_HEIGHT;
            if partials.len() <= level.into() {
                partials.resize_with(usize::from(level) + 1, Vec::new);
            }
            let partial = &mut partials[usize::from(level)];
            partial.extend_from_slice(&hash.0);
            if partial.len() == TILE_BYTES {
                let tile = std::mem::replace(partial, Vec::with_capacity(TILE_BYTES));
                full.push((level, index >> height >> TILE_HEIGHT, tile));
            }
        });
    }

    /// The number of leaves.
    pub fn size(&self) -> u64 {
        self.edge.size()
    }

    /// The root of the tree.
    pub fn root(&self) -> Hash {
        self.edge.root()
    }

    /// The right edge without tiles.
    pub fn edge(&self) -> &Edge {
        &self.edge
    }

    /// The tiles that became full since the last call: level, index and 8,192 bytes.
    pub fn take_full(&mut self) -> Vec<(u8, u64, Vec<u8>)> {
        std::mem::take(&mut self.full)
    }

    /// The partial tile of a level: its index and its bytes, 32 for each hash. `None` if the level ends with a
    /// full tile or has none.
    pub fn partial(&self, level: u8) -> Option<(u64, &[u8])> {
        let bytes = self.partials.get(usize::from(level)).filter(|bytes| !bytes.is_empty())?;
        // There are fewer than nine levels, so the shift is short.
        Some((self.edge.size() >> (u32::from(TILE_HEIGHT) * u32::from(level)) >> TILE_HEIGHT, bytes))
    }
}

fn to_hash(bytes: &[u8]) -> Hash {
    Hash(bytes.try_into().expect("the chunk has 32 bytes"))
}

/// The root of the next 2^height hashes; `None` if there are fewer.
fn complete_root(hashes: &mut impl Iterator<Item = Hash>, height: u8) -> Option<Hash> {
    if height == 0 {
        return hashes.next();
    }
    let left = complete_root(hashes, height - 1)?;
    Some(node_hash(&left, &complete_root(hashes, height - 1)?))
}

/// Finds the hashes of a proof in tiles.
///
/// The function gives the bytes of tile (level, index), of at least the width it is asked for; it may give a
/// wider or the full tile. The bytes are believed, so a proof made of tiles from elsewhere must be verified
/// against a signed root.
pub struct TileHashes<F>(pub F)
where
    F: Fn(u8, u64, u16) -> Option<Vec<u8>>;

/// Why a hash could not be taken from a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TileError {
    /// The tile is not there.
    #[error("the tile {0} is missing")]
    Missing(TilePath),
    /// The tile has fewer hashes than asked for, or a part of one.
    #[error("the tile {path} has {found} bytes")]
    Length {
        /// The narrowest tile that would do.
        path: TilePath,
        /// The bytes that came.
        found: usize,
    },
    /// No such proof exists.
    #[error(transparent)]
    Proof(#[from] ProofError),
}

impl<F> Hashes for TileHashes<F>
where
    F: Fn(u8, u64, u16) -> Option<Vec<u8>>,
{
    type Error = TileError;

    fn subtree(&self, level: u8, index: u64) -> Result<Hash, TileError> {
        let (tile_level, tile_index, height, nth) = place_of(level, index);
        let first = nth << height;
        let end = first + (1 << height);
        let path = TilePath { kind: TileKind::Hashes(tile_level), index: tile_index, width: end as u16 };
        let bytes = (self.0)(tile_level, tile_index, path.width).ok_or(TileError::Missing(path))?;
        let wrong = TileError::Length { path, found: bytes.len() };
        if bytes.len() % HASH_BYTES != 0 || bytes.len() > TILE_BYTES {
            return Err(wrong);
        }
        let part = bytes.get(first * HASH_BYTES..end * HASH_BYTES).ok_or(wrong)?;
        complete_root(&mut part.chunks_exact(HASH_BYTES).map(to_hash), height).ok_or(wrong)
    }
}

/// A tile with every node above its hashes: what proofs within it need, without hashing it again.
#[derive(Clone, Debug)]
pub struct TileTree {
    width: usize,
    // The node below `n` on the left is `2n`, on the right `2n + 1`; the root is 1, the tile's hashes begin at 256. Nodes
    // above hashes that a partial tile does not have mean nothing.
    nodes: Box<[Hash]>,
}

impl TileTree {
    /// Hashes a tile, full or partial; `None` if it holds no whole number of hashes, or too many.
    pub fn new(tile: &[u8]) -> Option<TileTree> {
        let width = tile.len() / HASH_BYTES;
        if !tile.len().is_multiple_of(HASH_BYTES) || width > TILE_WIDTH {
            return None;
        }
        let mut nodes = vec![crate::merkle::EMPTY_ROOT; 2 * TILE_WIDTH];
        for (node, hash) in nodes[TILE_WIDTH..].iter_mut().zip(tile.chunks_exact(HASH_BYTES)) {
            *node = to_hash(hash);
        }
        for height in 1..=TILE_HEIGHT {
            let first = TILE_WIDTH >> height;
            for n in first..first + (width >> height) {
                nodes[n] = node_hash(&nodes[2 * n], &nodes[2 * n + 1]);
            }
        }
        Some(TileTree { width, nodes: nodes.into() })
    }

    /// The root of the subtree of 2^height of the tile's hashes from `nth` * 2^height on, if the tile has it.
    pub fn subtree(&self, height: u8, nth: usize) -> Option<Hash> {
        let first = TILE_WIDTH.checked_shr(height.into())?;
        if height > TILE_HEIGHT || nth >= self.width >> height {
            return None;
        }
        self.nodes.get(first + nth).copied()
    }
}

/// Where the complete subtree of 2^`level` leaves from leaf `index` * 2^level on lies: level and index of its tile, and
/// in it the height and the place at that height.
pub const fn place_of(level: u8, index: u64) -> (u8, u64, u8, usize) {
    let (tile_level, height) = (level / TILE_HEIGHT, level % TILE_HEIGHT);
    let tiles_apart = TILE_HEIGHT - height;
    (tile_level, index >> tiles_apart, height, (index & ((1 << tiles_apart) - 1)) as usize)
}

/// Why bytes are not a bundle, or an entry does not fit into one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// More entries were asked for than a bundle can hold.
    #[error("a bundle holds at most {TILE_WIDTH} entries, not {0}")]
    Count(usize),
    /// The bytes end within entry number so-and-so, or before it.
    #[error("the bundle ends before the end of entry {0}")]
    Cut(usize),
    /// Bytes follow the last entry.
    #[error("{0} bytes follow the last entry of the bundle")]
    Trailing(usize),
    /// An entry is longer than [`MAX_ENTRY_BYTES`].
    #[error("an entry of {0} bytes does not fit into a bundle")]
    EntryTooLong(usize),
}

/// Puts an entry at the end of a bundle: 16 bits of length, then the entry.
///
/// # Errors
///
/// [`BundleError::EntryTooLong`] above [`MAX_ENTRY_BYTES`]; the bundle is unchanged.
pub fn push_entry(bundle: &mut Vec<u8>, entry: &[u8]) -> Result<(), BundleError> {
    let length = u16::try_from(entry.len()).map_err(|_| BundleError::EntryTooLong(entry.len()))?;
    bundle.extend_from_slice(&length.to_be_bytes());
    bundle.extend_from_slice(entry);
    Ok(())
}

/// Writes the bundle of these entries.
///
/// # Panics
///
/// If an entry is longer than [`MAX_ENTRY_BYTES`]: such an entry is in no log. Where that is not yet known, use
/// [`push_entry`].
pub fn encode_bundle<'a>(entries: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut bundle = Vec::new();
    for entry in entries {
        push_entry(&mut bundle, entry).expect("an entry above 65,535 bytes is refused when it is appended");
    }
    bundle
}

/// Reads a bundle of exactly `count` entries.
///
/// # Errors
///
/// [`BundleError`]: too many asked for, an entry cut short or missing, bytes after the last one.
pub fn parse_bundle(bytes: &[u8], count: usize) -> Result<Vec<&[u8]>, BundleError> {
    if count > TILE_WIDTH {
        return Err(BundleError::Count(count));
    }
    let mut entries = Vec::with_capacity(count);
    let mut rest = bytes;
    for number in 0..count {
        let (length, tail) = rest.split_first_chunk::<2>().ok_or(BundleError::Cut(number))?;
        let (entry, tail) =
            tail.split_at_checked(u16::from_be_bytes(*length).into()).ok_or(BundleError::Cut(number))?;
        entries.push(entry);
        rest = tail;
    }
    if rest.is_empty() { Ok(entries) } else { Err(BundleError::Trailing(rest.len())) }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::merkle::{consistency_proof, inclusion_proof, leaf_hash, verify_consistency, verify_inclusion};
    use proptest::prelude::*;

    fn leaf(index: u64) -> Hash {
        leaf_hash(&index.to_le_bytes())
    }

    /// A disk that keeps full tiles, and the partial ones of its last save.
    #[derive(Default)]
    struct Disk(HashMap<(u8, u64), Vec<u8>>);

    impl Disk {
        fn save(&mut self, tiles: &mut Tiles) {
            self.0.extend(tiles.take_full().into_iter().map(|(level, index, bytes)| ((level, index), bytes)));
            for level in 0..TILE_LEVELS {
                self.0.extend(tiles.partial(level).map(|(index, bytes)| ((level, index), bytes.to_vec())));
            }
        }

        fn read(&self, level: u8, index: u64) -> Option<Vec<u8>> {
            self.0.get(&(level, index)).cloned()
        }
    }

    /// All nodes of all levels, from the plain definition.
    fn levels(size: u64) -> Vec<Vec<Hash>> {
        let mut levels = vec![(0..size).map(leaf).collect::<Vec<_>>()];
        while levels[levels.len() - 1].len() > 1 {
            levels.push(levels[levels.len() - 1].chunks_exact(2).map(|pair| node_hash(&pair[0], &pair[1])).collect());
        }
        levels
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]

        #[test]
        fn tiles_hold_the_hashes_of_the_definition(size in 1_u64..70_000, stop in any::<u64>(), a in any::<u64>(), b in any::<u64>()) {
            // The node stops once on the way, and opens its tree again from partial tiles.
            let stop = stop % size;
            let mut disk = Disk::default();
            let mut tiles = Tiles::new();
            let mut edge = Edge::default();
            for index in 0..size {
                if index == stop {
                    disk.save(&mut tiles);
                    tiles = Tiles::from_partials(stop, |level, index, width| {
                        disk.read(level, index).map(|bytes| bytes[..usize::from(width) * 32].to_vec())
                    }).unwrap();
                }
                tiles.push(leaf(index));
                edge.push(leaf(index));
            }
            disk.save(&mut tiles);
            prop_assert_eq!(tiles.edge(), &edge);
            prop_assert_eq!(disk.0.len(), tiles_of(size).count());

            let naive = levels(size);
            let hashes = TileHashes(|level, index, _| disk.read(level, index));
            for (level, row) in naive.iter().enumerate() {
                for index in [a, b, u64::MAX].iter().filter(|_| !row.is_empty()).map(|n| n % row.len() as u64) {
                    prop_assert_eq!(hashes.subtree(level as u8, index), Ok(row[index as usize]));
                    let (tile_level, tile, height, nth) = place_of(level as u8, index);
                    if let Some(tree) = disk.read(tile_level, tile).and_then(|bytes| TileTree::new(&bytes)) {
                        prop_assert_eq!(tree.subtree(height, nth), Some(row[index as usize]));
                        prop_assert_eq!(tree.subtree(height, TILE_WIDTH >> height), None);
                        prop_assert_eq!(tree.subtree(9, 0), None);
                    }
                }
            }

            let (index, old) = (a % size, b % size);
            let proof = inclusion_proof(index, size, &hashes).unwrap();
            prop_assert_eq!(verify_inclusion(index, size, &leaf(index), &proof, &tiles.root()), Ok(()));
            let mut before = Edge::default();
            (0..old).for_each(|index| before.push(leaf(index)));
            let proof = consistency_proof(old, size, &hashes).unwrap();
            prop_assert_eq!(verify_consistency(old, &before.root(), size, &tiles.root(), &proof), Ok(()));
        }

        #[test]
        fn a_path_has_one_spelling(level in 0_u8..=63, index: u64, width in 1_u16..=256, entries: bool, junk in "tile/[0-9x./pentris]{0,20}") {
            let kind = if entries { TileKind::Entries } else { TileKind::Hashes(level) };
            let path = TilePath { kind, index, width };
            prop_assert_eq!(path.to_string().parse(), Ok(path));
            if let Ok(path) = junk.parse::<TilePath>() {
                prop_assert_eq!(path.to_string(), junk);
            }
        }

        #[test]
        fn a_bundle_is_what_was_put_in(entries in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..9), 0..20), junk in proptest::collection::vec(any::<u8>(), 0..40)) {
            let mut bundle = encode_bundle(entries.iter().map(Vec::as_slice));
            prop_assert_eq!(parse_bundle(&bundle, entries.len()).unwrap(), entries.clone());
            prop_assert_eq!(parse_bundle(&bundle, entries.len() + 1), Err(BundleError::Cut(entries.len())));
            bundle.push(0);
            prop_assert_eq!(parse_bundle(&bundle, entries.len()), Err(BundleError::Trailing(1)));
            if let Ok(read) = parse_bundle(&junk, entries.len()) {
                prop_assert_eq!(encode_bundle(read.into_iter()), junk);
            }
        }
    }

    #[test]
    fn tiles_that_lack_bytes_are_refused() {
        let path = TilePath { kind: TileKind::Hashes(0), index: 1, width: 44 };
        let missing = Tiles::from_partials(300, |_, _, _| None);
        assert_eq!(missing.err(), Some(PartialsError::Missing(path)));
        let short = Tiles::from_partials(300, |_, _, width| Some(vec![0; usize::from(width) * 32 - 1]));
        assert_eq!(short.err(), Some(PartialsError::Length { path, found: 44 * 32 - 1 }));
        let large = Tiles::from_partials(u64::MAX, |_, _, width| Some(vec![0; usize::from(width) * 32]));
        assert_eq!(large.err(), Some(PartialsError::Size(u64::MAX)));

        let path = TilePath { kind: TileKind::Hashes(0), index: 1, width: 6 };
        let cases = [
            (None, Err(TileError::Missing(path))),
            (Some(5 * 32), Err(TileError::Length { path, found: 5 * 32 })),
            (Some(6 * 32 + 1), Err(TileError::Length { path, found: 6 * 32 + 1 })),
            (Some(257 * 32), Err(TileError::Length { path, found: 257 * 32 })),
            (Some(6 * 32), Ok(node_hash(&Hash([0; 32]), &Hash([0; 32])))),
        ];
        for (bytes, outcome) in cases {
            let hashes = TileHashes(|_, _, _| bytes.map(|bytes| vec![0; bytes]));
            assert_eq!(hashes.subtree(1, 130), outcome, "{bytes:?}");
        }
    }

    #[test]
    fn a_tile_exists_from_a_size_on() {
        let cases = [
            ("tile/0/000.p/1", Some(1)),
            ("tile/0/273.p/112", Some(70_000)),
            ("tile/entries/001", Some(512)),
            ("tile/1/001.p/17", Some(69_888)),
            ("tile/7/000.p/127", Some(127 << 56)),
            ("tile/7/000.p/128", None),
            ("tile/63/000.p/1", None),
            ("tile/0/x018/x446/x744/x073/x709/x551/615", None),
        ];
        for (path, size) in cases {
            let path: TilePath = path.parse().unwrap();
            assert_eq!(path.needs(), size, "{path}");
            assert!(size.is_none_or(|size| path.exists_in(size) && !path.exists_in(size - 1)), "{path}");
        }
    }

    #[test]
    #[should_panic(expected = "refused when it is appended")]
    fn an_entry_is_never_truncated() {
        encode_bundle([&[0; MAX_ENTRY_BYTES + 1][..]].into_iter());
    }
}
