//! Names: institutions, vouchers, records, operators, digests.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use crate::raw;

/// Longest institution id, in bytes (protocol section 1).
pub const MAX_INSTITUTION_BYTES: usize = 24;

/// Longest short name (programme, service, department, doctor, hospital term), in bytes.
pub const MAX_SHORT_NAME_BYTES: usize = 40;

/// A name that does not follow its grammar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a name has 1 to {max} characters of a-z, 0-9 and -")]
pub struct BadName {
    max: usize,
}

fn check_name(text: &str, max: usize) -> Result<(), BadName> {
    let good = !text.is_empty()
        && text.len() <= max
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if good { Ok(()) } else { Err(BadName { max }) }
}

/// Short stable id of an institution, such as `hospital-gulou`: 1 to 24 characters of a-z, 0-9, `-`.
///
/// Copied freely: it is part of every name of a record. Unused bytes are zero, so the derived order is that of the text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstitutionId {
    bytes: [u8; MAX_INSTITUTION_BYTES],
    length: u8,
}

impl InstitutionId {
    /// Reads an id.
    ///
    /// # Errors
    ///
    /// [`BadName`] unless it has 1 to 24 characters of a-z, 0-9, `-`.
    pub fn new(text: &str) -> Result<Self, BadName> {
        check_name(text, MAX_INSTITUTION_BYTES)?;
        let mut bytes = [0; MAX_INSTITUTION_BYTES];
        for (to, from) in bytes.iter_mut().zip(text.bytes()) {
            *to = from;
        }
        // At most 24, as was checked.
        Ok(Self { bytes, length: text.len() as u8 })
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// The bytes of the text.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

impl fmt::Display for InstitutionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for InstitutionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for InstitutionId {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        Self::new(text)
    }
}

impl Serialize for InstitutionId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // In bincode a text and its bytes are the same; that it is one need not be looked at for every name of a record.
        if serializer.is_human_readable() {
            serializer.serialize_str(self.as_str())
        } else {
            serializer.serialize_bytes(self.as_bytes())
        }
    }
}

impl<'de> Deserialize<'de> for InstitutionId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl serde::de::Visitor<'_> for Text {
            type Value = InstitutionId;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an institution id of 1 to 24 characters a-z, 0-9, -")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<InstitutionId, E> {
                InstitutionId::new(text).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// A short term from a programme, schedule or policy file: 1 to 40 characters of a-z, 0-9, `-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ShortName(String);

impl ShortName {
    /// Reads a short name.
    ///
    /// # Errors
    ///
    /// [`BadName`] unless it has 1 to 40 characters of a-z, 0-9, `-`.
    pub fn new(text: &str) -> Result<Self, BadName> {
        check_name(text, MAX_SHORT_NAME_BYTES)?;
        Ok(Self(text.to_owned()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ShortName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for ShortName {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        Self::new(text)
    }
}

impl<'de> Deserialize<'de> for ShortName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// 32 bytes that name something: a SHA-256 digest. Hexadecimal in text formats, raw in records.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = BadDigest;
    fn from_str(text: &str) -> Result<Self, BadDigest> {
        let raw = text.as_bytes();
        if raw.len() != 64 {
            return Err(BadDigest);
        }
        let mut out = [0; 32];
        for (to, pair) in out.iter_mut().zip(raw.chunks_exact(2)) {
            let [high, low] = [pair[0], pair[1]].map(|c| match c {
                b'0'..=b'9' => Some(c - b'0'),
                b'a'..=b'f' => Some(c - b'a' + 10),
                _ => None,
            });
            *to = high.zip(low).map(|(h, l)| h * 16 + l).ok_or(BadDigest)?;
        }
        Ok(Self(out))
    }
}

/// A digest that is not 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a digest has 64 lower-case hexadecimal digits")]
pub struct BadDigest;

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { raw::write_32(&self.0, serializer) }
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
        } else {
            raw::read_32(deserializer).map(Self)
        }
    }
}

/// The full name of a record: whose log, at which index, with which RFC 6962 leaf hash.
///
/// Because the leaf hash is part of it and a record holds its own index, names cannot run in circles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordName {
    /// The institution whose log holds the record.
    pub institution: InstitutionId,
    /// Its index there, from 0.
    pub index: u64,
    /// RFC 6962 leaf hash of its canonical bytes (`RecordId`).
    pub id: Digest,
}

impl std::hash::Hash for RecordName {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        // The place stands in the record, so the id alone tells names apart.
        self.id.hash(state);
    }
}

impl fmt::Display for RecordName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.institution, self.index)
    }
}

/// A voucher: the institution that generated it and a random UUID.
///
/// In text `issuer.uuid`, for example `nanjing-health.6f0b6a6e-…`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VoucherId {
    /// The institution that wrote `Generated`.
    pub issuer: InstitutionId,
    /// Random (version 4), so that it tells nothing.
    pub uuid: Uuid,
}

impl fmt::Display for VoucherId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.issuer, self.uuid)
    }
}

/// A voucher id that is not `issuer.uuid`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a voucher id is the issuer's id, a dot, and a UUID")]
pub struct BadVoucherId;

impl FromStr for VoucherId {
    type Err = BadVoucherId;
    fn from_str(text: &str) -> Result<Self, BadVoucherId> {
        let (issuer, uuid) = text.split_once('.').ok_or(BadVoucherId)?;
        let issuer = issuer.parse().map_err(|_| BadVoucherId)?;
        // One spelling only: a second one would be a second name for the same voucher.
        let parsed = Uuid::try_parse(uuid).map_err(|_| BadVoucherId)?;
        if parsed.hyphenated().to_string() != uuid {
            return Err(BadVoucherId);
        }
        Ok(Self { issuer, uuid: parsed })
    }
}

#[derive(Serialize, Deserialize)]
struct VoucherIdParts {
    issuer: InstitutionId,
    #[serde(serialize_with = "raw::write_16", deserialize_with = "raw::read_16")]
    uuid: [u8; 16],
}

impl Serialize for VoucherId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            VoucherIdParts { issuer: self.issuer, uuid: *self.uuid.as_bytes() }.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for VoucherId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
        } else {
            let VoucherIdParts { issuer, uuid } = VoucherIdParts::deserialize(deserializer)?;
            Ok(Self { issuer, uuid: Uuid::from_bytes(uuid) })
        }
    }
}

macro_rules! sixteen_bytes {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(&self.0)
                } else {
                    raw::write_16(self.0.as_bytes(), serializer)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    let text = String::deserialize(deserializer)?;
                    Uuid::try_parse(&text).map(Self).map_err(D::Error::custom)
                } else {
                    raw::read_16(deserializer).map(|b| Self(Uuid::from_bytes(b)))
                }
            }
        }
    };
}

sixteen_bytes! {
    /// An operator's pseudonym: who acted is answerable inside the institution, not outside.
    Operator
}
sixteen_bytes! {
    /// Random id of an enrolment: one person in one programme, without the person.
    EnrolmentId
}
sixteen_bytes! {
    /// Random id of a person, known to registrar, home community and voucher module alone; never in a record.
    HolderId
}
sixteen_bytes! {
    /// Random id of a printed card.
    CardId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_their_grammar() {
        for good in ["a", "hospital-gulou", "0-9", "abcdefghijklmnopqrstuvwx"] {
            assert_eq!(InstitutionId::new(good).unwrap().as_str(), good);
        }
        for bad in ["", "A", "hospital_gulou", "abcdefghijklmnopqrstuvwxy", "a b", "医院", "a\0b"] {
            assert!(InstitutionId::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_voucher_has_one_spelling() {
        let text = "nanjing-health.6f0b6a6e-5a0e-4f6c-9b7e-0c1d2e3f4a5b";
        assert_eq!(text.parse::<VoucherId>().unwrap().to_string(), text);
        for bad in [
            "nanjing-health",
            "nanjing-health.6F0B6A6E-5A0E-4F6C-9B7E-0C1D2E3F4A5B",
            "nanjing-health.6f0b6a6e5a0e4f6c9b7e0c1d2e3f4a5b",
            ".6f0b6a6e-5a0e-4f6c-9b7e-0c1d2e3f4a5b",
        ] {
            assert!(bad.parse::<VoucherId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_digest_has_one_spelling() {
        let text = "00ff".repeat(16);
        assert_eq!(text.parse::<Digest>().unwrap().to_string(), text);
        assert!(text.to_uppercase().parse::<Digest>().is_err());
        assert!("00".parse::<Digest>().is_err());
        assert!("zz".repeat(32).parse::<Digest>().is_err());
    }
}
