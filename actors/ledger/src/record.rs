//! The canonical bytes of records and of state values: the only file that names bincode.

use bincode::config::{Configuration, Fixint, Limit, LittleEndian};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Longest record, in bytes, its version byte included. A tile entry could hold 65,535 (C2SP tlog-tiles), but sled
/// keeps values over some KiB badly; what is larger is named by digest and served beside the log.
pub const MAX_RECORD_BYTES: usize = 7 * 1024;

/// Longest value of the state or of the private rows, in bytes: a voucher about which a hundred members have written all
/// that the rules link stays below it. The codec's memory stays below it whatever a length field claims.
pub const MAX_VALUE_BYTES: usize = 32 * 1024 * 1024;

/// The version of the record format that this program writes: the first byte of every record.
pub const FORMAT: u8 = 1;

/// Room for most values, so that they are written without moving.
const USUAL_BYTES: usize = 1_024;

/// What the codec may claim while it reads a record: what comes from outside gets no more than it could need.
const RECORD_CONFIG: Configuration<LittleEndian, Fixint, Limit<{ 2 * MAX_RECORD_BYTES }>> =
    bincode::config::standard().with_little_endian().with_fixed_int_encoding().with_limit::<{ 2 * MAX_RECORD_BYTES }>();

const CONFIG: Configuration<LittleEndian, Fixint, Limit<MAX_VALUE_BYTES>> =
    bincode::config::standard().with_little_endian().with_fixed_int_encoding().with_limit::<MAX_VALUE_BYTES>();

/// Why a value has no bytes.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// The bytes would be longer than the limit.
    #[error("the value takes {bytes} bytes, more than the {limit} allowed; name it by digest")]
    TooLarge {
        /// What it takes, in bytes.
        bytes: usize,
        /// What is allowed, in bytes.
        limit: usize,
    },
    /// The type cannot be written in this format.
    #[error("the value cannot be encoded: {0}")]
    Codec(#[from] bincode::error::EncodeError),
}

/// Why bytes are no value.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The bytes are longer than the limit.
    #[error("{bytes} bytes are more than the {limit} allowed")]
    TooLarge {
        /// What was given, in bytes.
        bytes: usize,
        /// What is allowed, in bytes.
        limit: usize,
    },
    /// No byte at all, so no version either.
    #[error("an empty record")]
    Empty,
    /// A record of a version that this program does not know: it is kept and provable, and not folded.
    #[error("record version {0} is not known here; this node needs an upgrade to read it")]
    UnknownVersion(u8),
    /// Bytes are left over behind the value.
    #[error("{0} bytes are left over behind the value")]
    LeftOver(usize),
    /// The value has another, canonical spelling.
    #[error("the bytes are not the canonical spelling of their value")]
    NotCanonical,
    /// The bytes do not hold such a value.
    #[error("the bytes hold no such value: {0}")]
    Codec(#[from] bincode::error::DecodeError),
}

/// Encodes a value: bincode 2.0.1 through serde, little-endian, fixed-width integers.
///
/// # Errors
///
/// [`EncodeError::TooLarge`] above [`MAX_VALUE_BYTES`].
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, EncodeError> {
    encode_onto(Vec::with_capacity(USUAL_BYTES), value)
}

/// As [`encode`], behind bytes that are there already.
///
/// # Errors
///
/// [`EncodeError::TooLarge`] above [`MAX_VALUE_BYTES`] in all.
pub fn encode_onto<T: Serialize>(mut bytes: Vec<u8>, value: &T) -> Result<Vec<u8>, EncodeError> {
    bincode::serde::encode_into_std_write(value, &mut bytes, CONFIG)?;
    within(bytes, MAX_VALUE_BYTES)
}

/// Decodes a value from outside, and only from its one canonical spelling: nothing is left over, and encoding it again
/// gives the same bytes.
///
/// # Errors
///
/// See [`DecodeError`]; [`DecodeError::UnknownVersion`] and [`DecodeError::Empty`] never come from here.
pub fn decode<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    canonical(decode_trusted(bytes)?, bytes)
}

fn canonical<T: Serialize>(value: T, bytes: &[u8]) -> Result<T, DecodeError> {
    // serde types may accept two spellings of one value (unordered map keys, for example).
    let mut same = Same(bytes);
    match bincode::serde::encode_into_std_write(&value, &mut same, CONFIG) {
        Ok(_) if same.0.is_empty() => Ok(value),
        _ => Err(DecodeError::NotCanonical),
    }
}

/// What is written must be these bytes.
struct Same<'a>(&'a [u8]);

impl std::io::Write for Same<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 = self.0.strip_prefix(bytes).ok_or(std::io::ErrorKind::InvalidData)?;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Decodes a value that this node wrote itself, without comparing its spelling.
///
/// # Errors
///
/// As [`decode`], without [`DecodeError::NotCanonical`].
pub fn decode_trusted<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    if bytes.len() > MAX_VALUE_BYTES {
        return Err(DecodeError::TooLarge { bytes: bytes.len(), limit: MAX_VALUE_BYTES });
    }
    let (value, used) = bincode::serde::decode_from_slice(bytes, CONFIG)?;
    match bytes.len().saturating_sub(used) {
        0 => Ok(value),
        left => Err(DecodeError::LeftOver(left)),
    }
}

/// Encodes a record: [`FORMAT`], then the value as [`encode`] writes it.
///
/// # Errors
///
/// [`EncodeError::TooLarge`] above [`MAX_RECORD_BYTES`].
pub fn encode_record<T: Serialize>(record: &T) -> Result<Vec<u8>, EncodeError> {
    let mut bytes = Vec::with_capacity(USUAL_BYTES);
    bytes.push(FORMAT);
    bincode::serde::encode_into_std_write(record, &mut bytes, CONFIG)?;
    within(bytes, MAX_RECORD_BYTES)
}

/// Decodes a record from outside, canonically as [`decode`] does.
///
/// # Errors
///
/// [`DecodeError::UnknownVersion`] if the first byte is not [`FORMAT`]; otherwise see [`DecodeError`].
pub fn decode_record<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    if bytes.len() > MAX_RECORD_BYTES {
        return Err(DecodeError::TooLarge { bytes: bytes.len(), limit: MAX_RECORD_BYTES });
    }
    match bytes.split_first() {
        None => Err(DecodeError::Empty),
        Some((&FORMAT, value)) => {
            let (record, used): (T, usize) = bincode::serde::decode_from_slice(value, RECORD_CONFIG)?;
            match value.len().saturating_sub(used) {
                0 => canonical(record, value),
                left => Err(DecodeError::LeftOver(left)),
            }
        }
        Some((&version, _)) => Err(DecodeError::UnknownVersion(version)),
    }
}

/// Decodes the fields that a record begins with, whatever follows them: for a look at a record that is judged later.
/// `None` for another version, and where the bytes do not begin with such a value.
pub fn decode_opening<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let (&FORMAT, value) = bytes.split_first()? else { return None };
    bincode::serde::decode_from_slice(value, RECORD_CONFIG).ok().map(|(opening, _)| opening)
}

fn within(bytes: Vec<u8>, limit: usize) -> Result<Vec<u8>, EncodeError> {
    if bytes.len() > limit {
        return Err(EncodeError::TooLarge { bytes: bytes.len(), limit });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    type Sample = (u64, String, Option<bool>, BTreeMap<u8, u16>);

    fn sample() -> Sample {
        (7, "ab".into(), Some(true), BTreeMap::from([(1, 2), (3, 4)]))
    }

    #[test]
    fn golden_bytes() {
        let golden =
            "01 0700000000000000 0200000000000000 6162 01 01 0200000000000000 01 0200 03 0400".replace(' ', "");
        assert_eq!(hex::encode(encode_record(&sample()).unwrap()), golden);
        assert_eq!(decode_record::<Sample>(&hex::decode(golden).unwrap()).unwrap(), sample());
    }

    type Expected = fn(&DecodeError) -> bool;

    #[test]
    fn only_the_canonical_spelling_is_taken() {
        let good = encode_record(&sample()).unwrap();
        let mut left_over = good.clone();
        left_over.push(0);
        let mut swapped = good.clone();
        let at = good.len() - 6;
        swapped[at..].copy_from_slice(&[3, 4, 0, 1, 2, 0]);
        let mut odd_bool = good.clone();
        odd_bool[20] = 2;
        let mut newer = good.clone();
        newer[0] = 2;
        let table: [(&str, Vec<u8>, Expected); 7] = [
            ("left over", left_over, |e| matches!(e, DecodeError::LeftOver(1))),
            ("map out of order", swapped, |e| matches!(e, DecodeError::NotCanonical)),
            ("a third truth", odd_bool, |e| matches!(e, DecodeError::Codec(_))),
            ("cut", good[..good.len() - 1].to_vec(), |e| matches!(e, DecodeError::Codec(_))),
            ("newer version", newer, |e| matches!(e, DecodeError::UnknownVersion(2))),
            ("empty", vec![], |e| matches!(e, DecodeError::Empty)),
            ("too long", vec![1; MAX_RECORD_BYTES + 1], |e| matches!(e, DecodeError::TooLarge { .. })),
        ];
        for (name, bytes, expected) in table {
            let error = decode_record::<Sample>(&bytes).unwrap_err();
            assert!(expected(&error), "{name}: {error}");
        }
    }

    #[test]
    fn a_record_is_known_by_how_it_begins() {
        let bytes = encode_record(&(7_u64, "text", vec![1_u8; 9])).unwrap();
        assert_eq!(decode_opening::<u64>(&bytes), Some(7));
        assert_eq!(decode_opening::<(u64, String)>(&bytes), Some((7, "text".to_owned())));
        assert_eq!(decode_opening::<u64>(&bytes[..5]), None);
        assert_eq!(decode_opening::<u64>(&[]), None);
        let mut other = bytes;
        other[0] = FORMAT + 1;
        assert_eq!(decode_opening::<u64>(&other), None);
    }

    #[test]
    fn a_length_of_a_bomb_is_an_error_and_no_allocation() {
        let mut bomb = vec![FORMAT];
        bomb.extend(u64::MAX.to_le_bytes());
        assert!(decode_record::<Vec<u8>>(&bomb).is_err());
        assert!(decode::<Vec<u64>>(&bomb[1..]).is_err());
    }

    #[test]
    fn limits_hold_when_writing() {
        assert!(encode_record(&vec![0_u8; MAX_RECORD_BYTES - 9]).is_ok());
        assert!(matches!(encode_record(&vec![0_u8; MAX_RECORD_BYTES - 8]), Err(EncodeError::TooLarge { .. })));
        assert!(encode(&vec![0_u8; MAX_VALUE_BYTES]).is_err());
    }
}
