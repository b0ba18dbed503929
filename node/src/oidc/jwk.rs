//! A provider's public keys (RFC 7517), and which algorithms each one may verify. It knows no network.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

use crate::api::json;

/// Most keys of a provider.
pub const MAX_KEYS: usize = 32;

/// Bytes of a coordinate on P-256, and of an Ed25519 key.
const COORDINATE_BYTES: usize = 32;

/// A name of each algorithm that is taken. What is not here is never verified: above all `none`, and the HMACs, with which
/// whoever has the public key could sign.
const ALGORITHMS: [(&str, Algorithm); 4] = [
    ("RS256", Algorithm::RS256),
    ("PS256", Algorithm::PS256),
    ("ES256", Algorithm::ES256),
    ("EdDSA", Algorithm::EdDSA),
];

/// An algorithm by its name in a header or key.
#[must_use]
pub fn algorithm(name: &str) -> Option<Algorithm> {
    ALGORITHMS.iter().find(|(known, _)| *known == name).map(|(_, algorithm)| *algorithm)
}

/// A key as a provider shows it; what else stands in it is not needed.
#[derive(Debug, Deserialize)]
struct Shown {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

#[derive(Debug, Deserialize)]
struct ShownSet {
    keys: Vec<Value>,
}

/// A key that verifies.
#[derive(Debug, Clone)]
pub struct Key {
    kid: Option<String>,
    algorithms: Vec<Algorithm>,
    /// The key itself.
    pub public: DecodingKey,
}

/// Why a set of keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// It is no set.
    #[error("no set of keys: {0}")]
    Unreadable(#[from] serde_json::Error),
    /// More than [`MAX_KEYS`].
    #[error("more than {MAX_KEYS} keys")]
    TooMany,
    /// None of them verifies anything that is taken.
    #[error("none of its keys is for RS256, PS256, ES256 or EdDSA")]
    Empty,
}

/// The keys of a provider.
#[derive(Debug, Clone)]
pub struct KeySet(Vec<Key>);

/// What a set says to the name of a key.
#[derive(Debug)]
pub enum Found<'a> {
    /// The key, and it may verify the algorithm.
    Key(&'a Key),
    /// The key is for other algorithms.
    OtherAlgorithm,
    /// There is no such key, yet.
    Unknown,
}

impl KeySet {
    /// Reads a set. Keys of kinds that are not taken, and keys for encryption, are passed over.
    ///
    /// # Errors
    ///
    /// [`Unusable`].
    pub fn parse(bytes: &[u8]) -> Result<Self, Unusable> {
        let shown: ShownSet = json::read(bytes)?;
        if shown.keys.len() > MAX_KEYS {
            return Err(Unusable::TooMany);
        }
        let keys: Vec<Key> = shown.keys.into_iter().filter_map(|value| key(json::of(value).ok()?)).collect();
        if keys.is_empty() { Err(Unusable::Empty) } else { Ok(Self(keys)) }
    }

    /// The key of a name for an algorithm. Who names none means the only one.
    #[must_use]
    pub fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Found<'_> {
        let named =
            || self.0.iter().filter(|key| if kid.is_some() { key.kid.as_deref() == kid } else { self.0.len() == 1 });
        match named().find(|key| key.algorithms.contains(&algorithm)) {
            Some(key) => Found::Key(key),
            None if named().next().is_some() => Found::OtherAlgorithm,
            None => Found::Unknown,
        }
    }
}

/// What a key is for: what it says itself, and nothing that its kind cannot do.
fn key(shown: Shown) -> Option<Key> {
    let signs = shown.purpose.as_deref().is_none_or(|purpose| purpose == "sig");
    let verifies = shown.key_ops.as_ref().is_none_or(|all| all.iter().any(|one| one == "verify"));
    if !signs || !verifies {
        return None;
    }
    let (possible, public): (&[Algorithm], _) = match (shown.kty.as_str(), shown.crv.as_deref()) {
        ("RSA", _) => {
            let public = DecodingKey::from_rsa_raw_components(&bytes(shown.n)?, &bytes(shown.e)?);
            (&[Algorithm::RS256, Algorithm::PS256], public)
        }
        ("EC", Some("P-256")) => {
            let point = [vec![4], coordinate(shown.x)?, coordinate(shown.y)?].concat();
            (&[Algorithm::ES256], DecodingKey::from_ec_der(&point))
        }
        ("OKP", Some("Ed25519")) => (&[Algorithm::EdDSA], DecodingKey::from_ed_der(&coordinate(shown.x)?)),
        _ => return None,
    };
    let mut algorithms = possible.to_vec();
    if let Some(name) = &shown.alg {
        let only = algorithm(name)?;
        algorithms.retain(|possible| *possible == only);
    }
    (!algorithms.is_empty()).then_some(Key { kid: shown.kid, algorithms, public })
}

fn bytes(text: Option<String>) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text?).ok()
}

fn coordinate(text: Option<String>) -> Option<Vec<u8>> {
    bytes(text).filter(|bytes| bytes.len() == COORDINATE_BYTES)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(keys: Value) -> Result<KeySet, Unusable> {
        KeySet::parse(json!({ "keys": keys }).to_string().as_bytes())
    }

    #[test]
    fn a_key_verifies_what_it_is_for_and_nothing_else() {
        let c = URL_SAFE_NO_PAD.encode([7; 32]);
        let table = [
            (json!({ "kty": "RSA", "n": c, "e": "AQAB" }), "RS256 PS256"),
            (json!({ "kty": "RSA", "n": c, "e": "AQAB", "alg": "PS256" }), "PS256"),
            (json!({ "kty": "RSA", "n": c, "e": "AQAB", "alg": "ES256" }), ""),
            (json!({ "kty": "RSA", "n": c, "e": "AQAB", "alg": "RS512" }), ""),
            (json!({ "kty": "RSA", "n": c, "e": "AQAB", "use": "enc" }), ""),
            (json!({ "kty": "RSA", "n": c, "e": "AQAB", "key_ops": ["encrypt"] }), ""),
            (json!({ "kty": "RSA", "n": c, "e": "AQAB", "key_ops": ["verify"], "use": "sig" }), "RS256 PS256"),
            (json!({ "kty": "RSA", "n": c }), ""),
            (json!({ "kty": "EC", "crv": "P-256", "x": c, "y": c }), "ES256"),
            (json!({ "kty": "EC", "crv": "P-384", "x": c, "y": c }), ""),
            (json!({ "kty": "EC", "crv": "P-256", "x": c, "y": "AAAA" }), ""),
            (json!({ "kty": "OKP", "crv": "Ed25519", "x": c }), "EdDSA"),
            (json!({ "kty": "OKP", "crv": "Ed448", "x": c }), ""),
            (json!({ "kty": "oct", "k": c, "alg": "HS256" }), ""),
        ];
        for (shown, expected) in table {
            let set = parse(json!([shown]));
            let may: Vec<&str> = ALGORITHMS
                .iter()
                .filter(|(_, algorithm)| {
                    set.as_ref().is_ok_and(|set| matches!(set.find(None, *algorithm), Found::Key(_)))
                })
                .map(|(name, _)| *name)
                .collect();
            assert_eq!(may.join(" "), expected, "{shown}");
        }
    }

    #[test]
    fn a_key_is_found_by_its_name_and_a_set_is_small() {
        let c = URL_SAFE_NO_PAD.encode([7; 32]);
        let key = |kid: &str| json!({ "kty": "OKP", "crv": "Ed25519", "x": c, "kid": kid });
        let set = parse(json!([key("a"), key("b")])).unwrap();
        assert!(matches!(set.find(Some("b"), Algorithm::EdDSA), Found::Key(_)));
        assert!(matches!(set.find(Some("b"), Algorithm::RS256), Found::OtherAlgorithm));
        assert!(matches!(set.find(Some("c"), Algorithm::EdDSA), Found::Unknown));
        assert!(matches!(set.find(None, Algorithm::EdDSA), Found::Unknown), "which of the two is not said");
        assert!(matches!(parse(Value::from(vec![key("a"); MAX_KEYS + 1])), Err(Unusable::TooMany)));
        assert!(matches!(parse(json!([])), Err(Unusable::Empty)));
        assert!(matches!(KeySet::parse(b"<html>"), Err(Unusable::Unreadable(_))));
    }
}
