//! The keyed digest of an identity document: what finds a person again in private rows.

use domain::ids::{Digest, ShortName};
use hmac::{Hmac, KeyInit as _, Mac as _};

/// HMAC-SHA-256 under the secret over the kind, a zero byte and the number in one spelling: letters and digits alone,
/// upper case.
///
/// Numbers can be tried one by one by whoever has the secret. So a digest stands in sealed values alone, and rows are found
/// by its [`bucket`].
#[must_use]
pub fn digest(secret: &[u8; 32], kind: &ShortName, number: &str) -> Digest {
    let spelled: String = number.chars().filter(char::is_ascii_alphanumeric).collect();
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret).expect("any length is a key of an HMAC");
    for part in [kind.as_str().as_bytes(), &[0], spelled.to_ascii_uppercase().as_bytes()] {
        mac.update(part);
    }
    Digest(mac.finalize().into_bytes().into())
}

/// What of a digest stands in the key of a row, which stays in the journal when the row is gone: 12 bits, the same for one
/// of 4,096 documents. A look into one bucket opens each row in it.
#[must_use]
pub const fn bucket(digest: Digest) -> [u8; 2] {
    [digest.0[0], digest.0[1] & 0xF0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_has_one_digest_under_each_secret_and_its_bucket_says_little() {
        let kind: ShortName = "resident-id".parse().unwrap();
        let of = |secret: u8, number: &str| digest(&[secret; 32], &kind, number);
        assert_eq!(of(1, "110105 19491231-002x"), of(1, "11010519491231002X"));
        assert_ne!(of(1, "11010519491231002X"), of(2, "11010519491231002X"));
        let buckets: std::collections::BTreeSet<[u8; 2]> =
            (0..20_000).map(|n: u32| bucket(of(1, &n.to_string()))).collect();
        assert!(buckets.len() <= 4_096);
    }
}
