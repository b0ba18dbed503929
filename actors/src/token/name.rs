//! The names inside tokens: institutions, programmes, services and vouchers, as text, as bytes and packed.

use uuid::Uuid;

/// Longest institution id, in bytes of a-z, 0-9 and `-` (protocol section 1).
pub const MAX_INSTITUTION_BYTES: usize = 24;

/// Longest programme or service name, in bytes of a-z, 0-9 and `-`.
pub const MAX_NAME_BYTES: usize = 40;

/// Length of a UUID in bytes.
const UUID_BYTES: usize = 16;

/// Whether a text is a name: 1 to `max` bytes of a-z, 0-9 and `-`.
pub(super) fn is_name(text: &str, max: usize) -> bool {
    !text.is_empty() && text.len() <= max && text.bytes().all(|byte| symbol(byte).is_some())
}

/// A voucher's full name: the institution that generated it and its UUID (version 4).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct VoucherName {
    /// Institution id of the issuer, 1 to 24 characters of a-z, 0-9, `-`.
    pub issuer: String,
    /// The voucher's UUID.
    pub id: Uuid,
}

impl VoucherName {
    /// The UUID's 16 bytes and the issuer's characters behind them; `None` if the issuer is no institution id.
    pub(super) fn to_bytes(&self) -> Option<Vec<u8>> {
        is_name(&self.issuer, MAX_INSTITUTION_BYTES).then(|| [self.id.as_bytes(), self.issuer.as_bytes()].concat())
    }

    /// The inverse of [`Self::to_bytes`].
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (id, issuer) = bytes.split_first_chunk::<UUID_BYTES>()?;
        let issuer = std::str::from_utf8(issuer).ok()?;
        is_name(issuer, MAX_INSTITUTION_BYTES).then(|| Self { issuer: issuer.to_owned(), id: Uuid::from_bytes(*id) })
    }
}

/// Packs a name, three characters in two bytes: `a*1600 + b*40 + c`, big-endian, with a = 1 .. z = 26, 0 = 27 .. 9 = 36,
/// `-` = 37 and 0 for no character. 40 characters take 27 bytes. `None` if it is no name of at most `max` bytes.
pub(super) fn pack(name: &str, max: usize) -> Option<Vec<u8>> {
    if !is_name(name, max) {
        return None;
    }
    let mut packed = Vec::new();
    for three in name.as_bytes().chunks(3) {
        let mut symbols = three.iter().map(|byte| symbol(*byte).unwrap_or(0)).chain([0, 0]);
        let mut group = 0;
        for _ in 0..3 {
            group = group * 40 + symbols.next().unwrap_or(0);
        }
        // A single last character needs one byte only: 40 characters then fit in 27 bytes.
        match three.len() {
            1 => packed.extend([u8::try_from(group / 1600).unwrap_or(0)]),
            _ => packed.extend(group.to_be_bytes()),
        }
    }
    Some(packed)
}

/// The inverse of [`pack`]; `None` for anything that [`pack`] does not write.
pub(super) fn unpack(packed: &[u8], max: usize) -> Option<String> {
    let mut name = String::new();
    for two in packed.chunks(2) {
        let group = match two {
            [one] => u16::from(*one).checked_mul(1600)?,
            [high, low] => u16::from_be_bytes([*high, *low]),
            _ => return None,
        };
        for value in [group / 1600, group / 40 % 40, group % 40] {
            name.extend(character(value));
        }
        if name.len() > max {
            return None;
        }
    }
    (pack(&name, max)? == packed).then_some(name)
}

fn symbol(byte: u8) -> Option<u16> {
    match byte {
        b'a'..=b'z' => Some(u16::from(byte - b'a') + 1),
        b'0'..=b'9' => Some(u16::from(byte - b'0') + 27),
        b'-' => Some(37),
        _ => None,
    }
}

fn character(value: u16) -> Option<char> {
    let value = u8::try_from(value).ok()?;
    match value {
        1..=26 => Some(char::from(b'a' + value - 1)),
        27..=36 => Some(char::from(b'0' + value - 27)),
        37 => Some('-'),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_packed_form() {
        for name in ["a", "z9", "x-1", "a-b-", "prenatal-scan-2026", &"9-z".repeat(13), &"z".repeat(40)] {
            let packed = pack(name, MAX_NAME_BYTES).unwrap();
            assert!(packed.len() <= 27, "{name}: {}", packed.len());
            assert_eq!(unpack(&packed, MAX_NAME_BYTES).as_deref(), Some(name));
        }
        for bad in ["", "A", "ä", "a b", &"z".repeat(41)] {
            assert_eq!(pack(bad, MAX_NAME_BYTES), None, "{bad}");
        }
        // Every two bytes are the packed form of one name or of none.
        for two in 0..=u16::MAX {
            if let Some(name) = unpack(&two.to_be_bytes(), MAX_NAME_BYTES) {
                assert_eq!(pack(&name, MAX_NAME_BYTES).unwrap(), two.to_be_bytes());
            }
        }
        assert_eq!(unpack(&[0, 1, 0, 1], MAX_NAME_BYTES), None, "a gap inside");
        assert_eq!(unpack(&[0xff; 200], MAX_NAME_BYTES), None);
        assert_eq!(unpack(&[], MAX_NAME_BYTES), None);
    }
}
