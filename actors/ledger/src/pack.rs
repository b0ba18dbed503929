//! How rows of the state lie in the store: packed, because a document repeats the same names over and over.
//!
//! ```text
//!   nothing                            the empty value
//!   0, bytes                           a value that packing does not make smaller
//!   1, length u32 little-endian, LZ4   the length is that of the value
//! ```

use std::sync::Arc;

use lz4_flex::block;

use crate::record::MAX_VALUE_BYTES;

/// Shorter values are not worth the time, in bytes.
const MIN_BYTES: usize = 96;

const PLAIN: u8 = 0;
const PACKED: u8 = 1;
const LENGTH_BYTES: usize = size_of::<u32>();

/// What the store keeps of a value.
pub(crate) fn pack(value: &Arc<[u8]>) -> Arc<[u8]> {
    if value.is_empty() {
        return value.clone();
    }
    if value.len() >= MIN_BYTES
        && let Ok(length) = u32::try_from(value.len())
    {
        let mut packed = vec![PACKED; 1 + LENGTH_BYTES + block::get_maximum_output_size(value.len())];
        packed[1..=LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
        // It cannot fail with room for the worst case; if it did, the value would lie there plain.
        if let Ok(bytes) = block::compress_into(value, &mut packed[1 + LENGTH_BYTES..])
            && LENGTH_BYTES + bytes < value.len()
        {
            return packed[..1 + LENGTH_BYTES + bytes].into();
        }
    }
    let mut plain = Vec::with_capacity(1 + value.len());
    plain.push(PLAIN);
    plain.extend_from_slice(value);
    plain.into()
}

/// The value; `None` if what is stored is damaged.
pub(crate) fn unpack(stored: &[u8]) -> Option<Arc<[u8]>> {
    match stored.split_first() {
        None => Some(Arc::from([])),
        Some((&PLAIN, value)) => Some(value.into()),
        Some((&PACKED, rest)) => {
            let (length, packed) = rest.split_first_chunk::<LENGTH_BYTES>()?;
            let length = u32::from_le_bytes(*length) as usize;
            // LZ4 makes nothing smaller than 1 in 255, so a damaged length asks for no more memory than that.
            if length > MAX_VALUE_BYTES.min(packed.len().saturating_mul(255)) {
                return None;
            }
            let value = block::decompress(packed, length).ok()?;
            (value.len() == length).then(|| value.into())
        }
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_unpacked_as_it_was() {
        let noise: Vec<u8> = (0..2_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for value in [vec![], vec![7], vec![0; 95], vec![0; 96], noise[..300].to_vec(), b"nanjing-health".repeat(100)] {
            let value: Arc<[u8]> = value.into();
            let packed = pack(&value);
            assert!(packed.len() <= value.len() + 1);
            assert_eq!(unpack(&packed).as_deref(), Some(&*value));
        }
        assert!(pack(&vec![1; 10_000].into()).len() < 100);
    }

    #[test]
    fn what_is_damaged_is_none() {
        let packed = pack(&b"nanjing-health".repeat(100).into());
        assert_eq!(unpack(&[2, 0]), None);
        assert_eq!(unpack(&[PACKED, 1]), None);
        assert_eq!(unpack(&[PACKED, 255, 255, 255, 255, 0]), None, "a length that nothing packs to");
        for cut in 1..packed.len() {
            assert_eq!(unpack(&packed[..cut]), None, "{cut}");
        }
    }
}
