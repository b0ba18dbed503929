//! Openings: what a salted digest in a record stands for, and how the two are compared.

use domain::ids::Digest;
use serde::Serialize;
use sha2::Digest as _;

/// The digest of an opening: SHA-256 over its canonical bytes. The salt is part of it.
pub fn digest_of<T: Serialize>(opening: &T) -> Digest {
    Digest(sha2::Sha256::digest(crate::kv::write(opening)).into())
}
