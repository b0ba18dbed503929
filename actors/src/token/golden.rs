//! Golden bytes: every vector of tests/vectors/tokens.json, written and read again; they were made by another program.

use serde_json::Value;
use uuid::Uuid;

use super::vp1::Step;
use super::{HolderKey, PublicKey, TokenError, VoucherName, vc1, vp1, vq1};

fn vectors(kind: &str) -> Vec<Value> {
    let file = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors/tokens.json"));
    let all: Value = serde_json::from_str(file).unwrap();
    all[kind].as_array().unwrap().clone()
}

fn text(vector: &Value, field: &str) -> String {
    vector[field].as_str().unwrap_or_else(|| panic!("{field} in {vector}")).to_owned()
}

fn bytes<const N: usize>(vector: &Value, field: &str) -> [u8; N] {
    hex::decode(text(vector, field)).unwrap().try_into().unwrap()
}

fn holder_key(vector: &Value) -> HolderKey {
    let secret = bytes(&vector["key"], "secret_hex");
    let key = match text(&vector["key"], "alg").as_str() {
        "EdDSA" => HolderKey::ed25519(&secret),
        _ => HolderKey::es256(&secret).unwrap(),
    };
    assert_eq!(hex::encode(key.public().as_bytes()), text(&vector["key"], "public_hex"));
    key
}

fn voucher(claims: &Value) -> VoucherName {
    VoucherName { issuer: text(claims, "issuer"), id: Uuid::parse_str(&text(claims, "voucher")).unwrap() }
}

fn step(claims: &Value, key: PublicKey) -> Step {
    let audience = || text(claims, "aud");
    match text(claims, "step").as_str() {
        "register" => Step::Register { key },
        "identify" => Step::Identify,
        "receive" => Step::Receive { community: audience(), programme: text(claims, "programme") },
        "arrive" => Step::Arrive { audience: audience(), voucher: voucher(claims) },
        "complete" => Step::Complete { audience: audience(), voucher: voucher(claims) },
        "cancel" => Step::Cancel { audience: audience(), voucher: voucher(claims) },
        _ => Step::Wallet { audience: audience(), request: bytes(claims, "request_hex") },
    }
}

#[test]
fn vp1_is_the_published_bytes_both_ways() {
    for vector in vectors("vp1") {
        let name = text(&vector, "name");
        let key = holder_key(&vector);
        let claims = &vector["claims"];
        let claims = vp1::Claims {
            kid: bytes(claims, "kid_hex"),
            iat: claims["iat"].as_i64().unwrap(),
            cti: bytes(claims, "cti_hex"),
            step: step(claims, key.public()),
        };
        assert_eq!(hex::encode(claims.to_cbor().unwrap()), text(&vector, "cbor_hex"), "{name}");
        assert_eq!(vp1::sign(&claims, &key).unwrap(), text(&vector, "text"), "{name}");

        let read = vp1::parse(&text(&vector, "text")).unwrap();
        assert_eq!(read.claims, claims, "{name}");
        assert_eq!(hex::encode(read.cose_bytes()), text(&vector, "cose_hex"), "{name}");
        assert!(read.verify(&key.public()), "{name}");
        let kept = vp1::Unverified::from_cose(read.cose_bytes()).unwrap();
        assert_eq!((kept.claims.clone(), kept.text()), (claims, text(&vector, "text")), "{name}");
        let proven = matches!(kept.claims.step, Step::Register { .. }).then(|| key.public());
        assert_eq!(kept.proven_key(), proven.as_ref(), "{name}");
    }
}

#[test]
fn vq1_is_the_published_bytes_both_ways() {
    for vector in vectors("vq1") {
        let name = text(&vector, "name");
        let key = holder_key(&vector);
        let HolderKey::Ed25519(node_key) = &key else { panic!("a node key is Ed25519") };
        let claims = &vector["claims"];
        let seconds = |field: &str| claims[field].as_i64().unwrap();
        let claims = vq1::Claims {
            community: text(claims, "iss"),
            voucher: voucher(claims),
            service: text(claims, "service"),
            not_before: seconds("nbf"),
            expires: seconds("exp"),
            iat: seconds("iat"),
        };
        assert_eq!(hex::encode(claims.to_cbor().unwrap()), text(&vector, "cbor_hex"), "{name}");
        assert_eq!(vq1::sign(&claims, node_key).unwrap(), text(&vector, "text"), "{name}");

        let read = vq1::parse(&text(&vector, "text")).unwrap();
        assert_eq!(read.claims, claims, "{name}");
        assert_eq!(hex::encode(read.cose_bytes()), text(&vector, "cose_hex"), "{name}");
        assert!(read.verify(&key.public()), "{name}");
        assert_eq!(vq1::Unverified::from_cose(read.cose_bytes()).unwrap().text(), text(&vector, "text"), "{name}");
    }
}

#[test]
fn vc1_gives_the_published_key_and_number() {
    for vector in vectors("vc1") {
        let card = vc1::Card::parse(&text(&vector, "text")).unwrap();
        assert_eq!(*card.text(), text(&vector, "text"));
        assert_eq!(card.id(), bytes(&vector, "card_id_hex"));
        let enrolment = Uuid::parse_str(&text(&vector, "enrolment")).unwrap();
        assert_eq!(hex::encode(card.key_for(*enrolment.as_bytes()).public().as_bytes()), text(&vector, "public_hex"));
        assert_eq!(card.lookup_number(), text(&vector, "lookup_number"));
        assert_eq!(vc1::check_lookup_number(&card.lookup_number()), Some(card.lookup_number()));
    }
}

#[test]
fn a_request_has_the_published_digest() {
    let file = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors/tokens.json"));
    let request = &serde_json::from_str::<Value>(file).unwrap()["request"];
    let digest = |method, body| vp1::request_digest(method, &text(request, "path_and_query"), body);
    let body = text(request, "body");
    assert_eq!(hex::encode(digest("POST", body.as_bytes())), text(request, "digest_hex"));
    assert_ne!(digest("PUT", body.as_bytes()), digest("POST", body.as_bytes()));
    assert_ne!(digest("POST", b""), digest("POST", body.as_bytes()));
}

#[test]
fn the_longest_tokens_fill_their_qr_and_no_more() {
    let longest = |kind| vectors(kind).iter().map(|vector| text(vector, "text").len()).max().unwrap();
    assert_eq!(longest("vp1"), vp1::MAX_CHARS);
    assert_eq!(longest("vq1"), vq1::MAX_CHARS - 1, "204 bytes are 306 characters; a pair more would be 313");
    assert_eq!(longest("vc1"), vc1::MAX_CHARS);
}

#[test]
fn a_key_survives_serde_and_a_bad_one_does_not() {
    for vector in vectors("vp1") {
        let key = holder_key(&vector).public();
        let json = serde_json::to_string(&key).unwrap();
        assert_eq!(serde_json::from_str::<PublicKey>(&json).unwrap(), key);
        assert_eq!(PublicKey::from_slice(key.as_bytes()), Ok(key));
        assert_eq!(key.to_string().parse(), Ok(key));
    }
    let small_order = format!("{{\"Ed25519\":[1{}]}}", ",0".repeat(31));
    let short = format!("{{\"Es256\":[2{}]}}", ",0".repeat(31));
    let long = format!("{{\"Es256\":[2{}]}}", ",0".repeat(33));
    for bad in [small_order, short, long] {
        assert!(serde_json::from_str::<PublicKey>(&bad).is_err(), "{bad}");
    }
    for bad in ["", "ed25519:", "ed25519:AAAA", "es256:AAAA", "rsa:AAAA", &format!("ed25519:{}=", "A".repeat(43))] {
        assert!(bad.parse::<PublicKey>().is_err(), "{bad}");
    }
    assert_eq!(HolderKey::es256(&[0; 32]).unwrap_err(), TokenError::BadKey);
}
