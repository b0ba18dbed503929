//! Marks: keys of the state without values, such as lists and alarms. The store keeps many of them in one row.
//!
//! ```text
//!   row      where the block begins: the marks from there on, up to where the next block begins
//!   value    each mark in order: bytes shared with the one before u16, bytes of its own u16 (little-endian), those bytes
//! ```
//!
//! What the store takes for a row is its time, hardly its size (docs/performance.md), and most keys have neighbours that
//! come and go with them. A block that nobody wrote begins before all marks and is empty.

use std::collections::BTreeSet;
use std::ops::Bound;

use crate::layout;
use crate::store::{Changes, Store, StoreError};

/// Most marks of a block: one more and it is cut into pieces of [`PIECE_MARKS`].
const BLOCK_MARKS: usize = 64;

/// Marks of a piece, so that there is room for more.
const PIECE_MARKS: usize = 48;

/// Blocks read at once.
const BLOCKS_AT_ONCE: usize = 16;

/// The end of all rows of marks.
const END: &[u8] = &[layout::MARK + 1];

/// What a store round does to a mark: its row's key, and whether it is there from now on.
pub(crate) type Change<'a> = (&'a [u8], bool);

/// The rows of the store that bring its blocks up to these changes, which come in order.
pub(crate) fn changes<'a>(store: &dyn Store, marks: impl Iterator<Item = Change<'a>>) -> Result<Changes, StoreError> {
    let mut marks = marks.peekable();
    let mut rows = Changes::new();
    while let Some((first, _)) = marks.peek() {
        let (start, mut block) = block_of(store, first)?;
        let end = store.range(&after(first), END, 1)?.pop().map(|(key, _)| key);
        let mut changed = false;
        while let Some((key, there)) = marks.next_if(|(key, _)| end.as_ref().is_none_or(|end| key < &end.as_slice())) {
            let differs = if there { block.insert(key.to_vec()) } else { block.remove(key) };
            changed |= differs;
        }
        if !changed {
            continue;
        }
        let mut block = block.into_iter().peekable();
        if block.peek().is_none() {
            rows.push((start, None));
            continue;
        }
        let piece = if block.len() > BLOCK_MARKS { PIECE_MARKS } else { BLOCK_MARKS };
        let mut begins = Some(start);
        while let Some(first) = block.peek() {
            let key = begins.take().unwrap_or_else(|| first.clone());
            rows.push((key, Some(encode(block.by_ref().take(piece)).into())));
        }
    }
    Ok(rows)
}

/// Whether a mark is in the store.
pub(crate) fn contains(store: &dyn Store, key: &[u8]) -> Result<bool, StoreError> {
    Ok(block_of(store, key)?.1.contains(key))
}

/// The marks from `from` up to, not including, `to`, in order, at most `limit`.
pub(crate) fn range(store: &dyn Store, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Vec<u8>>, StoreError> {
    let mut found = Vec::new();
    let span = (Bound::Included(from), Bound::Excluded(to));
    let mut blocks = vec![block_of(store, from)?.1];
    let mut next = after(from);
    loop {
        for block in &blocks {
            found.extend(block.range::<[u8], _>(span).take(limit - found.len()).cloned());
            if found.len() == limit {
                return Ok(found);
            }
        }
        let rows = store.range(&next, to, BLOCKS_AT_ONCE)?;
        let Some((last, _)) = rows.last() else { return Ok(found) };
        next = after(last);
        blocks = rows.iter().map(|(key, value)| decode(key, value)).collect::<Result<_, _>>()?;
    }
}

/// The block in which a mark lies: where it begins, and what is in it.
fn block_of(store: &dyn Store, key: &[u8]) -> Result<(Vec<u8>, BTreeSet<Vec<u8>>), StoreError> {
    match store.last(&[layout::MARK], key)? {
        Some((start, value)) => {
            let block = decode(&start, &value)?;
            Ok((start, block))
        }
        None => Ok((vec![layout::MARK], BTreeSet::new())),
    }
}

/// The first key after this one.
fn after(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

fn encode(marks: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut before = Vec::new();
    for mark in marks {
        let shared = mark.iter().zip(&before).take_while(|(a, b)| a == b).count();
        let own = &mark[shared..];
        // Keys of the state have at most `MAX_KEY_BYTES`.
        bytes.extend_from_slice(&(shared as u16).to_le_bytes());
        bytes.extend_from_slice(&(own.len() as u16).to_le_bytes());
        bytes.extend_from_slice(own);
        before = mark;
    }
    bytes
}

fn decode(key: &[u8], value: &[u8]) -> Result<BTreeSet<Vec<u8>>, StoreError> {
    parse(value).ok_or_else(|| StoreError::Failed(format!("the marks at {} cannot be read", hex::encode(key))))
}

fn parse(mut bytes: &[u8]) -> Option<BTreeSet<Vec<u8>>> {
    let mut marks = BTreeSet::new();
    let mut before: Vec<u8> = Vec::new();
    while let Some((lengths, rest)) = bytes.split_first_chunk::<4>() {
        let shared = usize::from(u16::from_le_bytes([lengths[0], lengths[1]]));
        let own = usize::from(u16::from_le_bytes([lengths[2], lengths[3]]));
        let (own, rest) = rest.split_at_checked(own)?;
        before.truncate(shared);
        if before.len() < shared {
            return None;
        }
        before.extend_from_slice(own);
        marks.insert(before.clone());
        bytes = rest;
    }
    bytes.is_empty().then_some(marks)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::store::memory::MemoryStore;

    fn mark(n: u16) -> Vec<u8> {
        format!("{}{:05}", char::from(layout::MARK), n).into_bytes()
    }

    proptest! {
        #[test]
        fn blocks_hold_what_a_set_holds(
            rounds in prop::collection::vec(prop::collection::btree_map(0..600_u16, any::<bool>(), 0..300), 1..12),
            spans in prop::collection::vec((0..620_u16, 0..620_u16, 1..200_usize), 1..8),
        ) {
            let store = MemoryStore::new();
            let mut set = BTreeSet::new();
            for round in rounds {
                let round: BTreeMap<Vec<u8>, bool> = round.into_iter().map(|(n, there)| (mark(n), there)).collect();
                for (key, there) in &round {
                    if *there { set.insert(key.clone()); } else { set.remove(key); }
                }
                let rows = changes(&store, round.iter().map(|(key, there)| (key.as_slice(), *there))).unwrap();
                store.apply(rows).unwrap();
                for (from, to, limit) in &spans {
                    let (from, to) = (mark(*from), mark(*to));
                    if from < to {
                        let expected: Vec<_> = set.range(from.clone()..to.clone()).take(*limit).cloned().collect();
                        prop_assert_eq!(range(&store, &from, &to, *limit).unwrap(), expected);
                    }
                    prop_assert_eq!(contains(&store, &from).unwrap(), set.contains(&from));
                }
                let rows = store.range(&[layout::MARK], END, usize::MAX).unwrap();
                prop_assert!(rows.len() <= 1 + set.len());
            }
            if set.is_empty() {
                prop_assert!(store.range(&[layout::MARK], END, 1).unwrap().is_empty());
            }
        }
    }

    #[test]
    fn neighbours_share_a_row() {
        let store = MemoryStore::new();
        let keys: Vec<Vec<u8>> = (0..480).map(mark).collect();
        store.apply(changes(&store, keys.iter().map(|key| (key.as_slice(), true))).unwrap()).unwrap();
        assert_eq!(store.range(&[layout::MARK], END, usize::MAX).unwrap().len(), 10);
        // What is there already, or is not, changes no row.
        assert!(changes(&store, [(keys[3].as_slice(), true), (b"k9", false)].into_iter()).unwrap().is_empty());
    }

    #[test]
    fn a_damaged_block_is_an_error() {
        assert_eq!(parse(&[0, 0, 2, 0, 7]), None, "bytes are missing");
        assert_eq!(parse(&[0, 0, 1]), None, "lengths are missing");
        assert_eq!(parse(&[1, 0, 1, 0, 7]), None, "nothing to share with");
        assert_eq!(parse(&[0, 0, 1, 0, 7, 1, 0, 1, 0, 8]), Some([vec![7], vec![7, 8]].into()));
    }
}
