//! Personal data: how long it is kept, and which private rows are sealed: all but those named here, so that a new kind of
//! row is hidden until somebody has looked.
//!
//! | rows | why they are not sealed |
//! | --- | --- |
//! | `z` scrub, `K` forks, `I` requests, `N` letters counted | digests, heads and numbers |
//! | `A0` weekly hours, `A2` seats, `A4` tidying, `A6` days without hours | the hospital's own; a seat's department and doctor stand there as a tag ([`crate::hospital::rows`]) |
//! | `B0`… auditor | what everybody's logs say |
//! | `c` `e` `t` `c` `n` `o` `q` `w` | random ids and thumbprints that lead to a person's row; voucher QRs, which stand in the log; a count |
//! | `i` `E` `K` `F` `T` | random ids and thumbprints; times; published figures |
//! | `v` `e` `t` `g` `l` `s` `x` | random ids and thumbprints; times |
//!
//! A key of a row is never sealed, so it holds nothing that tells of a person: no name, no number, and of a document only
//! the beginning of a keyed digest that many documents share ([`crate::document::bucket`]).

use domain::time::Millis;

/// How long personal data is kept that nobody has asked to erase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// A hospital's openings and evidence, after their slot; longer where a settlement can still be corrected.
    pub openings: Millis,
    /// An issuer's openings of claims, after they came.
    pub claims: Millis,
    /// A voucher module's results, after they came.
    pub results: Millis,
}

impl Default for Retention {
    fn default() -> Self {
        Self { openings: Millis::days(30), claims: Millis::days(120), results: Millis::days(30) }
    }
}

/// Whether the value of a private row is sealed in journal and store.
#[must_use]
pub const fn is_sealed(key: &[u8]) -> bool {
    match key {
        [b'z' | b'K' | b'I' | b'N' | b'R', ..] | [0xA0 | 0xA2 | 0xA4 | 0xA6, ..] | [0xB0..=0xBF, ..] => false,
        [b'c', kind, ..] => !matches!(kind, b'e' | b't' | b'c' | b'n' | b'o' | b'q' | b'w'),
        [b'i', kind, ..] => !matches!(kind, b'E' | b'K' | b'F' | b'T'),
        [b'v', kind, ..] => !matches!(kind, b'e' | b't' | b'g' | b'l' | b's' | b'x'),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tells_of_people_is_sealed() {
        let sealed: [&[u8]; 18] = [
            b"X",
            b"ch",
            b"cd",
            b"cr",
            b"cp",
            b"cs",
            b"iP",
            b"iH",
            b"iD",
            b"iO",
            b"iS",
            b"vh",
            b"vc",
            b"vi",
            b"vb",
            b"vr",
            &[0xA1],
            &[0xA3],
        ];
        assert!(sealed.iter().all(|key| is_sealed(key)));
        let plain: [&[u8]; 11] = [b"z", b"I", b"R", &[0xB6], b"ce", b"cq", b"iE", b"vx", &[0xA0], &[0xA6], &[0xB1]];
        assert!(!plain.iter().any(|key| is_sealed(key)));
        assert!(is_sealed(b"a kind of which nobody has thought yet"));
    }
}
