//! The Merkle tree of RFC 6962: hashes, the right edge of a growing tree, and proofs; it never reads a disk.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Largest number of leaves, 2^63 - 1: what C2SP decimals may say.
pub const MAX_SIZE: u64 = i64::MAX as u64;

/// Most hashes in a proof. A tree of [`MAX_SIZE`] leaves is 63 levels high.
pub const MAX_PROOF_HASHES: usize = 63;

/// A SHA-256 hash of a leaf, of an inner node, or the root of a tree.
///
/// With serde it is 32 bytes without a length. It shows itself in lower-case hexadecimal; notes and proofs use
/// [`Hash::to_base64`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Hash(pub [u8; 32]);

/// The root of a tree without leaves: SHA-256 of nothing.
pub const EMPTY_ROOT: Hash = Hash([
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27, 0xae, 0x41,
    0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
]);

impl Hash {
    /// Reads standard base64 of exactly 32 bytes: padded, no white space, unused bits zero. `None` for all else.
    pub fn from_base64(text: &str) -> Option<Hash> {
        crate::note::from_base64(text)?.try_into().ok().map(Hash)
    }

    /// Standard base64 with padding, 44 characters.
    pub fn to_base64(&self) -> String {
        crate::note::to_base64(&self.0)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The hash of an entry: SHA-256 of 0x00 and the entry. Source: RFC 6962, section 2.1.
pub fn leaf_hash(entry: &[u8]) -> Hash {
    Hash(Sha256::new().chain_update([0]).chain_update(entry).finalize().into())
}

/// The hash of an inner node: SHA-256 of 0x01, left, right. Source: RFC 6962, section 2.1.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut input = [1; 65];
    input[1..33].copy_from_slice(&left.0);
    input[33..].copy_from_slice(&right.0);
    Hash(Sha256::digest(input).into())
}

/// The right edge of a tree: the roots of its complete subtrees from left (largest) to right, one for each bit
/// of the size that is set. Enough to append and to know the root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edge {
    size: u64,
    roots: Vec<Hash>,
}

/// Why stored parts do not make a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EdgeError {
    /// The size is above [`MAX_SIZE`].
    #[error("a tree of {0} leaves is larger than a log may be")]
    Size(u64),
    /// A tree of this size has another number of complete subtrees on its edge.
    #[error("the right edge of {size} leaves has {} roots, not {roots}", size.count_ones())]
    Roots {
        /// Leaves.
        size: u64,
        /// Roots that were given.
        roots: usize,
    },
}

impl Edge {
    /// Takes back what [`Edge::parts`] gave. Only the number of roots can be checked here: compare
    /// [`Edge::root`] with a signed root before relying on it.
    ///
    /// # Errors
    ///
    /// [`EdgeError`] if the size is too large or the number of roots does not belong to it.
    pub fn from_parts(size: u64, roots: Vec<Hash>) -> Result<Edge, EdgeError> {
        if size > MAX_SIZE {
            return Err(EdgeError::Size(size));
        }
        if roots.len() != size.count_ones() as usize {
            return Err(EdgeError::Roots { size, roots: roots.len() });
        }
        Ok(Edge { size, roots })
    }

    /// The number of leaves, and the roots of the complete subtrees from the largest to the smallest.
    pub fn parts(&self) -> (u64, &[Hash]) {
        (self.size, &self.roots)
    }

    /// Appends a leaf.
    pub fn push(&mut self, leaf: Hash) {
        self.push_each(leaf, |_, _| ());
    }

    /// Appends a leaf and tells of every subtree that it completes, from the leaf itself (level 0) upwards:
    /// `complete(level, root)` where the subtree has 2^level leaves.
    pub fn push_each(&mut self, leaf: Hash, mut complete: impl FnMut(u8, &Hash)) {
        let mut hash = leaf;
        complete(0, &hash);
        for level in 1..=self.size.trailing_ones() as u8 {
            let left = self.roots.pop().expect("there is a root for each bit of the size that is set");
            hash = node_hash(&left, &hash);
            complete(level, &hash);
        }
        self.roots.push(hash);
        self.size += 1;
    }

    /// The number of leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The root of the tree, [`EMPTY_ROOT`] without leaves.
    pub fn root(&self) -> Hash {
        self.roots.iter().rev().copied().reduce(|right, left| node_hash(&left, &right)).unwrap_or(EMPTY_ROOT)
    }
}

/// Where a proof finds its hashes.
pub trait Hashes {
    /// Why a hash could not be had; also takes the error of a proof that cannot exist.
    type Error: From<ProofError>;

    /// The root of the complete subtree of 2^level leaves from leaf `index` * 2^level on.
    ///
    /// # Errors
    ///
    /// Whatever keeps the hash from being read.
    fn subtree(&self, level: u8, index: u64) -> Result<Hash, Self::Error>;
}

/// The root of the first `size` leaves.
///
/// # Errors
///
/// Whatever keeps a hash from being read.
pub fn root<H: Hashes>(size: u64, hashes: &H) -> Result<Hash, H::Error> {
    // A tree is its complete subtrees from left to right, one for each set bit of its size.
    let subtree = |bit: u32| hashes.subtree(bit as u8, (size >> bit) - 1);
    let mut bits = (0..u64::BITS).filter(|bit| size >> bit & 1 == 1);
    let Some(last) = bits.next() else { return Ok(EMPTY_ROOT) };
    let mut root = subtree(last)?;
    for bit in bits {
        root = node_hash(&subtree(bit)?, &root);
    }
    Ok(root)
}

/// Why a proof proves nothing, or cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// There is no such leaf.
    #[error("a tree of {size} leaves has no leaf {index}")]
    NoSuchLeaf {
        /// The leaf, from 0.
        index: u64,
        /// Leaves.
        size: u64,
    },
    /// The tree that should be the longer one is the shorter one.
    #[error("a tree of {old} leaves cannot be the beginning of one of {new}")]
    Shrinks {
        /// Leaves before.
        old: u64,
        /// Leaves after.
        new: u64,
    },
    /// The size is above [`MAX_SIZE`].
    #[error("a tree of {0} leaves is larger than a log may be")]
    Size(u64),
    /// The proof has too few or too many hashes for its sizes.
    #[error("the proof has the wrong number of hashes")]
    Length,
    /// The hashes lead to another root.
    #[error("the proof leads to another root")]
    Root,
}

/// The largest power of two below `size`, as an exponent. `size` is at least 2.
fn split_level(size: u64) -> u8 {
    (size - 1).ilog2() as u8
}

/// The root of `size` leaves from `start` on. Between the two lies a node of the tree, so `start` is a multiple
/// of every subtree in it. The recursion is one call deep for each set bit of `size`.
fn range_root<H: Hashes>(start: u64, size: u64, hashes: &H) -> Result<Hash, H::Error> {
    if size.is_power_of_two() {
        let level = size.ilog2() as u8;
        return hashes.subtree(level, start >> level);
    }
    let level = split_level(size);
    let left = hashes.subtree(level, start >> level)?;
    Ok(node_hash(&left, &range_root(start + (1 << level), size - (1 << level), hashes)?))
}

/// Makes the proof that leaf `index` is in the tree of `size` leaves, from the leaf's sibling upwards.
///
/// # Errors
///
/// [`ProofError::NoSuchLeaf`] and [`ProofError::Size`] as `H::Error`, and what `hashes` answers.
pub fn inclusion_proof<H: Hashes>(index: u64, size: u64, hashes: &H) -> Result<Vec<Hash>, H::Error> {
    if size > MAX_SIZE {
        return Err(ProofError::Size(size).into());
    }
    if index >= size {
        return Err(ProofError::NoSuchLeaf { index, size }.into());
    }
    let mut path = Vec::new();
    let (mut start, mut left) = (0, size);
    while left > 1 {
        let half = 1 << split_level(left);
        if index - start < half {
            path.push(range_root(start + half, left - half, hashes)?);
            left = half;
        } else {
            path.push(range_root(start, half, hashes)?);
            start += half;
            left -= half;
        }
    }
    path.reverse();
    Ok(path)
}

/// Makes the proof that the tree of `old` leaves is the beginning of the tree of `new` leaves. Empty if `old` is
/// 0 or `new`.
///
/// # Errors
///
/// [`ProofError::Shrinks`] and [`ProofError::Size`] as `H::Error`, and what `hashes` answers.
pub fn consistency_proof<H: Hashes>(old: u64, new: u64, hashes: &H) -> Result<Vec<Hash>, H::Error> {
    if new > MAX_SIZE {
        return Err(ProofError::Size(new).into());
    }
    if old > new {
        return Err(ProofError::Shrinks { old, new }.into());
    }
    let mut path = Vec::new();
    if old == 0 {
        return Ok(path);
    }
    let (mut start, mut left) = (0, new);
    while old - start < left {
        let half = 1 << split_level(left);
        if old - start <= half {
            path.push(range_root(start + half, left - half, hashes)?);
            left = half;
        } else {
            path.push(range_root(start, half, hashes)?);
            start += half;
            left -= half;
        }
    }
    // The verifier has the old root itself; it needs this node only if the old tree is more than that.
    if start > 0 {
        path.push(range_root(start, left, hashes)?);
    }
    path.reverse();
    Ok(path)
}

/// Checks that `leaf` is number `index` of the tree with `size` leaves and this root.
///
/// # Errors
///
/// [`ProofError`]: no such leaf, wrong number of hashes, another root.
///
/// # Source
///
/// RFC 9162, section 2.1.3.2.
pub fn verify_inclusion(index: u64, size: u64, leaf: &Hash, proof: &[Hash], root: &Hash) -> Result<(), ProofError> {
    if size > MAX_SIZE {
        return Err(ProofError::Size(size));
    }
    if index >= size {
        return Err(ProofError::NoSuchLeaf { index, size });
    }
    let (mut node, mut last) = (index, size - 1);
    let mut hash = *leaf;
    for sibling in proof {
        if last == 0 {
            return Err(ProofError::Length);
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            climb_left_edge(&mut node, &mut last);
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(ProofError::Length);
    }
    if hash == *root { Ok(()) } else { Err(ProofError::Root) }
}

/// Checks that the tree of `old` leaves and `old_root` is the beginning of the tree of `new` leaves and
/// `new_root`.
///
/// # Errors
///
/// [`ProofError`]: the tree shrinks, wrong number of hashes, another root (also an old root of size 0 that is
/// not [`EMPTY_ROOT`]).
///
/// # Source
///
/// RFC 9162, section 2.1.4.2.
pub fn verify_consistency(
    old: u64,
    old_root: &Hash,
    new: u64,
    new_root: &Hash,
    proof: &[Hash],
) -> Result<(), ProofError> {
    if new > MAX_SIZE {
        return Err(ProofError::Size(new));
    }
    if old > new {
        return Err(ProofError::Shrinks { old, new });
    }
    if old == 0 || old == new {
        if !proof.is_empty() {
            return Err(ProofError::Length);
        }
        let expected = if old == 0 { &EMPTY_ROOT } else { new_root };
        let new_fits = new != 0 || *new_root == EMPTY_ROOT;
        return if old_root == expected && new_fits { Ok(()) } else { Err(ProofError::Root) };
    }
    // A power of two is a node of the new tree, so its root is the start and not in the proof.
    let (first, rest) = if old.is_power_of_two() {
        if proof.is_empty() {
            return Err(ProofError::Length);
        }
        (old_root, proof)
    } else {
        proof.split_first().ok_or(ProofError::Length)?
    };
    let (mut node, mut last) = (old - 1, new - 1);
    let common = node.trailing_ones();
    node >>= common;
    last >>= common;
    let (mut old_hash, mut new_hash) = (*first, *first);
    for sibling in rest {
        if last == 0 {
            return Err(ProofError::Length);
        }
        if node & 1 == 1 || node == last {
            old_hash = node_hash(sibling, &old_hash);
            new_hash = node_hash(sibling, &new_hash);
            climb_left_edge(&mut node, &mut last);
        } else {
            new_hash = node_hash(&new_hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(ProofError::Length);
    }
    if old_hash == *old_root && new_hash == *new_root { Ok(()) } else { Err(ProofError::Root) }
}

/// Goes up past the levels on which a last node has no sibling.
fn climb_left_edge(node: &mut u64, last: &mut u64) {
    while *node & 1 == 0 && *node != 0 {
        *node >>= 1;
        *last >>= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The plain definition of the RFC, over all leaves.
    struct Naive(Vec<Hash>);

    impl Naive {
        fn new(size: u64) -> Naive {
            Naive((0..size).map(|i| leaf_hash(&i.to_le_bytes())).collect())
        }

        fn root(leaves: &[Hash]) -> Hash {
            match leaves {
                [] => EMPTY_ROOT,
                [one] => *one,
                _ => {
                    let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
                    node_hash(&Naive::root(left), &Naive::root(right))
                }
            }
        }

        fn path(index: usize, leaves: &[Hash]) -> Vec<Hash> {
            if leaves.len() == 1 {
                return vec![];
            }
            let half = leaves.len().next_power_of_two() / 2;
            let (left, right) = leaves.split_at(half);
            let (mut path, other) =
                if index < half { (Naive::path(index, left), right) } else { (Naive::path(index - half, right), left) };
            path.push(Naive::root(other));
            path
        }

        fn sub(old: usize, leaves: &[Hash], whole: bool) -> Vec<Hash> {
            if old == leaves.len() {
                return if whole { vec![] } else { vec![Naive::root(leaves)] };
            }
            let half = leaves.len().next_power_of_two() / 2;
            let (left, right) = leaves.split_at(half);
            let (mut path, other) = if old <= half {
                (Naive::sub(old, left, whole), right)
            } else {
                (Naive::sub(old - half, right, false), left)
            };
            path.push(Naive::root(other));
            path
        }
    }

    impl Hashes for Naive {
        type Error = ProofError;

        fn subtree(&self, level: u8, index: u64) -> Result<Hash, ProofError> {
            let start = (index << level) as usize;
            Ok(Naive::root(&self.0[start..start + (1 << level)]))
        }
    }

    #[test]
    fn the_edge_agrees_with_the_definition_and_survives_storage() {
        let naive = Naive::new(200);
        let mut edge = Edge::default();
        for size in 0..=200 {
            assert_eq!(edge.root(), Naive::root(&naive.0[..size]), "size {size}");
            let (leaves, roots) = edge.parts();
            edge = Edge::from_parts(leaves, roots.to_vec()).unwrap();
            edge.push(naive.0.get(size).copied().unwrap_or(EMPTY_ROOT));
        }
        assert_eq!(Edge::from_parts(5, vec![EMPTY_ROOT]), Err(EdgeError::Roots { size: 5, roots: 1 }));
        assert_eq!(Edge::from_parts(1 << 63, vec![EMPTY_ROOT]), Err(EdgeError::Size(1 << 63)));
    }

    #[test]
    fn every_proof_up_to_forty_leaves_is_the_definitions_and_verifies() {
        let naive = Naive::new(40);
        for size in 1..=40_usize {
            let leaves = &naive.0[..size];
            let (n, root) = (size as u64, Naive::root(leaves));
            for index in 0..size {
                let proof = inclusion_proof(index as u64, n, &naive).unwrap();
                assert_eq!(proof, Naive::path(index, leaves));
                assert_eq!(verify_inclusion(index as u64, n, &leaves[index], &proof, &root), Ok(()));
                let old = index + 1;
                let proof = consistency_proof(old as u64, n, &naive).unwrap();
                assert_eq!(proof, Naive::sub(old, leaves, true));
                assert_eq!(verify_consistency(old as u64, &Naive::root(&leaves[..old]), n, &root, &proof), Ok(()));
            }
        }
    }

    proptest! {
        #[test]
        fn a_proof_holds_for_its_own_statement_only(size in 1_u64..200, a in any::<u64>(), b in any::<u64>(), flip in any::<u8>()) {
            let naive = Naive::new(size);
            let root = Naive::root(&naive.0);
            let (index, other) = (a % size, b % size);
            let leaf = naive.0[index as usize];
            let mut proof = inclusion_proof(index, size, &naive).unwrap();
            prop_assert_eq!(&proof, &Naive::path(index as usize, &naive.0));
            prop_assert!(verify_inclusion(index, size, &leaf, &proof, &root).is_ok());
            prop_assert_eq!(verify_inclusion(other, size, &leaf, &proof, &root).is_ok(), other == index);
            proof.push(root);
            prop_assert_eq!(verify_inclusion(index, size, &leaf, &proof, &root), Err(ProofError::Length));
            proof.pop();
            if proof.pop().is_some() {
                prop_assert_eq!(verify_inclusion(index, size, &leaf, &proof, &root), Err(ProofError::Length));
            }

            let old = index + 1;
            let old_root = Naive::root(&naive.0[..old as usize]);
            let mut proof = consistency_proof(old, size, &naive).unwrap();
            prop_assert_eq!(&proof, &Naive::sub(old as usize, &naive.0, true));
            prop_assert!(verify_consistency(old, &old_root, size, &root, &proof).is_ok());
            prop_assert!(verify_consistency(old, &leaf_hash(b"liar"), size, &root, &proof).is_err());
            prop_assert!(verify_consistency(old, &old_root, size, &leaf_hash(b"liar"), &proof).is_err());
            let length = proof.len();
            if let Some(hash) = proof.get_mut(flip as usize % length.max(1)) {
                hash.0[flip as usize % 32] ^= 1;
                prop_assert_eq!(verify_consistency(old, &old_root, size, &root, &proof), Err(ProofError::Root));
            }
        }

        #[test]
        fn no_input_makes_a_verifier_panic(index: u64, size: u64, old: u64, hashes in proptest::collection::vec(any::<[u8; 32]>(), 0..70)) {
            let proof: Vec<Hash> = hashes.into_iter().map(Hash).collect();
            prop_assert!(verify_inclusion(index, size, &EMPTY_ROOT, &proof, &EMPTY_ROOT).is_err());
            prop_assert!(verify_consistency(old, &Hash([1; 32]), size, &Hash([2; 32]), &proof).is_err());
        }
    }

    #[test]
    fn what_cannot_exist_is_refused() {
        let naive = Naive::new(4);
        let root = Naive::root(&naive.0);
        assert_eq!(inclusion_proof(4, 4, &naive), Err(ProofError::NoSuchLeaf { index: 4, size: 4 }));
        assert_eq!(inclusion_proof(0, u64::MAX, &naive), Err(ProofError::Size(u64::MAX)));
        assert_eq!(consistency_proof(5, 4, &naive), Err(ProofError::Shrinks { old: 5, new: 4 }));
        assert_eq!(verify_inclusion(0, 0, &root, &[], &root), Err(ProofError::NoSuchLeaf { index: 0, size: 0 }));
        let too_large = MAX_SIZE + 1;
        assert_eq!(verify_inclusion(0, too_large, &root, &[root; 63], &root), Err(ProofError::Size(too_large)));
        assert_eq!(verify_consistency(0, &EMPTY_ROOT, too_large, &root, &[]), Err(ProofError::Size(too_large)));
        let cases = [
            // old, old root, new, new root, outcome
            (0, EMPTY_ROOT, 4, root, Ok(())),
            (0, root, 4, root, Err(ProofError::Root)),
            (4, root, 4, root, Ok(())),
            (4, root, 4, EMPTY_ROOT, Err(ProofError::Root)),
            (2, root, 4, root, Err(ProofError::Length)),
            (5, root, 4, root, Err(ProofError::Shrinks { old: 5, new: 4 })),
            (0, EMPTY_ROOT, 0, root, Err(ProofError::Root)),
        ];
        for (old, old_root, new, new_root, outcome) in cases {
            assert_eq!(verify_consistency(old, &old_root, new, &new_root, &[]), outcome, "{old} -> {new}");
        }
    }

    #[test]
    fn a_hash_is_read_and_written_strictly() {
        let text = EMPTY_ROOT.to_base64();
        assert_eq!(Hash::from_base64(&text), Some(EMPTY_ROOT));
        assert_eq!(format!("{EMPTY_ROOT:?}").len(), 64);
        for bad in
            ["", text.trim_end_matches('='), &format!("{text} "), &format!("\n{text}"), &text.replace("U=", "V=")]
        {
            assert_eq!(Hash::from_base64(bad), None, "{bad:?}");
        }
    }
}
