//! Liars: tokens and keys that are almost right, each refused for its own reason.

use ciborium::Value;
use uuid::Uuid;

use super::TokenError::{self, *};
use super::cose::{CLAIM_AUD, CLAIM_IAT, Claims as Map, Envelope};
use super::vp1::{Claims, PREFIX, Step, Unverified};
use super::{HolderKey, PublicKey, VoucherName, vp1, vq1};

const KID: [u8; 8] = *b"enrolled";

fn key() -> HolderKey {
    HolderKey::ed25519(&[7; 32])
}

fn arrival() -> Claims {
    let voucher = VoucherName { issuer: "nanjing-health".into(), id: Uuid::from_bytes([9; 16]) };
    Claims {
        kid: KID,
        iat: 1_793_491_200,
        cti: [3; 8],
        step: Step::Arrive { audience: "hospital-gulou".into(), voucher },
    }
}

/// The bytes of a good token.
fn good() -> Vec<u8> {
    vp1::parse(&vp1::sign(&arrival(), &key()).unwrap()).unwrap().cose_bytes().to_vec()
}

/// The good token with some bytes in place of others, which must be there.
fn with(from: &[u8], to: &[u8]) -> Vec<u8> {
    let good = good();
    let at = good.windows(from.len()).position(|window| window == from).unwrap();
    [&good[..at], to, &good[at + from.len()..]].concat()
}

/// A token whose signature is good whatever its payload says.
fn signed(payload: &[u8]) -> Vec<u8> {
    Envelope::seal(KID, payload.to_vec(), &key()).bytes().to_vec()
}

/// The good claims, changed before they are signed.
fn claims(change: impl FnOnce(&mut Vec<(i64, Value)>)) -> Vec<u8> {
    let mut map = vec![
        (CLAIM_AUD, Value::from("hospital-gulou")),
        (CLAIM_IAT, Value::from(1_793_491_200)),
        (7, Value::Bytes(vec![3; 8])),
        (-4, Value::Bytes([&[9; 16], &b"nanjing-health"[..]].concat())),
    ];
    change(&mut map);
    signed(&Map::write(map))
}

#[test]
fn the_envelope_has_one_form() {
    let good = good();
    let trailing = [&good[..], &[0]].concat();
    let protected = [&[0x4d, 0xa2, 0x01, 0x27, 0x04, 0x48][..], &KID].concat();
    let table: Vec<(&str, Vec<u8>, TokenError)> = vec![
        ("empty", vec![], NotSign1),
        ("no tag", good[1..].to_vec(), NotSign1),
        ("tag 17, COSE_Mac0", with(&[0xd2, 0x84], &[0xd1, 0x84]), NotSign1),
        ("tag 18 in two bytes", with(&[0xd2, 0x84], &[0xd8, 0x12, 0x84]), NotSign1),
        ("array of five", with(&[0xd2, 0x84], &[0xd2, 0x85]), NotSign1),
        ("array of 2^64 - 1", [&[0xd2, 0x9b][..], &[0xff; 8]].concat(), NotSign1),
        ("bytes of 2^63", [&[0xd2, 0x84, 0x5b, 0x7f][..], &[0xff; 7]].concat(), NotSign1),
        ("nested to the limit", [&[0xd2][..], &[0x81; 171]].concat(), NotSign1),
        ("indefinite array", [&[0xd2, 0x9f][..], &good[2..], &[0xff]].concat(), NotCanonical),
        ("trailing byte", trailing, TrailingBytes),
        ("cut short", good[..good.len() - 1].to_vec(), NotSign1),
        ("alg ES512", with(&protected, &[&[0x4e, 0xa2, 1, 0x38, 0x23, 4, 0x48][..], &KID].concat()), Algorithm),
        ("alg HMAC 256", with(&[0xa2, 0x01, 0x27], &[0xa2, 0x01, 0x05]), Algorithm),
        ("alg as text", with(&protected[..5], &[0x4d, 0xa2, 0x01, 0x60, 0x04]), Algorithm),
        ("no alg", with(&protected, &[&[0x4b, 0xa1, 0x04, 0x48][..], &KID].concat()), Algorithm),
        ("no kid", with(&protected, &[0x43, 0xa1, 0x01, 0x27]), KeyId),
        ("kid of seven bytes", with(&protected, &[&[0x4c, 0xa2, 1, 0x27, 4, 0x47][..], &KID[1..]].concat()), KeyId),
        ("alg twice", with(&protected, &[&[0x4f, 0xa3, 1, 0x27, 1, 0x27, 4, 0x48][..], &KID].concat()), Header),
        ("one header more", with(&protected, &[&[0x4f, 0xa3, 1, 0x27, 3, 0, 4, 0x48][..], &KID].concat()), Header),
        ("headers swapped", with(&protected, &[&[0x4d, 0xa2, 4, 0x48][..], &KID, &[1, 0x27]].concat()), NotCanonical),
        ("alg in two bytes", with(&protected, &[&[0x4e, 0xa2, 1, 0x38, 7, 4, 0x48][..], &KID].concat()), NotCanonical),
        ("unprotected alg", with(&[0xa0, 0x58], &[0xa1, 0x01, 0x27, 0x58]), Header),
        ("payload null", [&good[..16], &[0xa0, 0xf6, 0x58, 0x40], &[0; 64]].concat(), NotClaims),
        ("signature of 63", [&with(&[0x58, 0x40], &[0x58, 0x3f])[..good.len() - 1]].concat(), SignatureLength),
        ("length in three bytes", with(&[0x58, 0x40], &[0x59, 0x00, 0x40]), NotCanonical),
        ("oversize", vec![0xd2; vp1::MAX_BYTES + 1], TooLong { max: vp1::MAX_BYTES }),
    ];
    for (name, bytes, why) in table {
        assert_eq!(Unverified::from_cose(&bytes).unwrap_err(), why, "{name}");
    }
}

#[test]
fn claims_have_one_form() {
    let table: Vec<(&str, Vec<u8>, TokenError)> = vec![
        ("not a map", signed(&[0x80]), NotClaims),
        ("empty", signed(&[]), NotClaims),
        ("text key", signed(&[0xa1, 0x61, b'a', 0]), NotClaims),
        ("map of 2^64 - 1", signed(&[0xbb, 255, 255, 255, 255, 255, 255, 255, 255]), NotClaims),
        ("trailing byte", signed(&[0xa0, 0x00]), TrailingBytes),
        ("nothing", claims(Vec::clear), MissingClaim(6)),
        ("no cti", claims(|map| drop(map.remove(2))), MissingClaim(7)),
        ("no aud", claims(|map| drop(map.remove(0))), MissingClaim(3)),
        ("no step", claims(|map| drop(map.pop())), MissingClaim(-1)),
        ("iat twice", claims(|map| map.insert(1, map[1].clone())), DuplicateClaim(6)),
        ("exp", claims(|map| map.insert(1, (4, Value::from(1)))), UnknownClaim(4)),
        ("step unknown", claims(|map| map[3].0 = -8), MissingClaim(-1)),
        ("two steps", claims(|map| map.push((-5, Value::Null))), UnknownClaim(-5)),
        ("order", claims(|map| map.swap(0, 1)), NotCanonical),
        ("iat before 1970", claims(|map| map[1].1 = Value::from(-1)), BadClaim(6)),
        ("iat after 2106", claims(|map| map[1].1 = Value::from(1_u64 << 32)), BadClaim(6)),
        ("iat above 2^63", claims(|map| map[1].1 = Value::from(u64::MAX)), BadClaim(6)),
        ("iat a float", claims(|map| map[1].1 = Value::from(1.5)), BadClaim(6)),
        ("cti of nine", claims(|map| map[2].1 = Value::Bytes(vec![3; 9])), BadClaim(7)),
        ("aud in upper case", claims(|map| map[0].1 = Value::from("Hospital")), BadClaim(3)),
        ("aud of 25", claims(|map| map[0].1 = Value::from("a".repeat(25))), BadClaim(3)),
        ("issuer missing", claims(|map| map[3].1 = Value::Bytes(vec![9; 16])), BadClaim(-4)),
        ("issuer not UTF-8", claims(|map| map[3].1 = Value::Bytes(vec![0xff; 18])), BadClaim(-4)),
        ("voucher short", claims(|map| map[3].1 = Value::Bytes(vec![9; 15])), BadClaim(-4)),
        ("aud on identify", claims(|map| map[3] = (-2, Value::Null)), UnknownClaim(3)),
        ("identify with a value", claims(|map| map[3] = (-2, Value::from(1))), BadClaim(-2)),
        ("digest of 31", claims(|map| map[3] = (-7, Value::Bytes(vec![1; 31]))), BadClaim(-7)),
        ("programme with a space", claims(|map| map[3] = (-3, Value::from("a b"))), BadClaim(-3)),
        ("programme of 41", claims(|map| map[3] = (-3, Value::from("a".repeat(41)))), BadClaim(-3)),
        ("iat in nine bytes", signed_with_wide_iat(), NotCanonical),
    ];
    for (name, bytes, why) in table {
        assert_eq!(Unverified::from_cose(&bytes).unwrap_err(), why, "{name}");
    }
}

fn signed_with_wide_iat() -> Vec<u8> {
    let short = Map::write(vec![(6, Value::from(5)), (7, Value::Bytes(vec![3; 8])), (-2, Value::Null)]);
    let (head, rest) = short.split_at(2);
    signed(&[head, &[0x18], rest].concat())
}

#[test]
fn a_text_has_one_form() {
    let text = vp1::sign(&arrival(), &key()).unwrap();
    // An odd number of bytes ends in two characters.
    let odd = format!("{PREFIX}{}", base45::encode(&good()[..5]));
    let wrapped = format!("{}{}", &odd[..odd.len() - 2], "::");
    for (name, text, why) in [
        ("empty", String::new(), Prefix(PREFIX)),
        ("other kind", text.replacen("VP1", "VQ1", 1), Prefix(PREFIX)),
        ("lower-case prefix", text.replacen("VP1", "vp1", 1), Prefix(PREFIX)),
        ("lower case", format!("{PREFIX}{}", text[4..].to_lowercase()), Base45),
        ("not ASCII", format!("{PREFIX}é€"), Base45),
        ("line feed behind", format!("{text}\n"), Base45),
        ("one character left over", format!("{PREFIX}0"), Base45),
        ("three characters above 65535", format!("{PREFIX}:::"), Base45),
        ("two characters above 255", wrapped, Base45),
        ("oversize", "V".repeat(1 << 20), TooLong { max: vp1::MAX_CHARS }),
    ] {
        assert_eq!(vp1::parse(&text).unwrap_err(), why, "{name}");
    }
}

#[test]
fn each_flipped_bit_is_noticed() {
    for key in [key(), HolderKey::es256(&[7; 32]).unwrap()] {
        let good = vp1::parse(&vp1::sign(&arrival(), &key).unwrap()).unwrap();
        assert!(good.verify(&key.public()));
        for place in 0..good.cose_bytes().len() {
            let mut bytes = good.cose_bytes().to_vec();
            bytes[place] ^= 1;
            assert!(!Unverified::from_cose(&bytes).is_ok_and(|token| token.verify(&key.public())), "byte {place}");
        }
    }
}

#[test]
fn a_signature_is_of_one_key_and_one_algorithm() {
    let (ed, es) = (key(), HolderKey::es256(&[7; 32]).unwrap());
    let token = vp1::parse(&vp1::sign(&arrival(), &ed).unwrap()).unwrap();
    for other in [HolderKey::ed25519(&[8; 32]).public(), es.public(), PublicKey::Ed25519([0; 32])] {
        assert!(!token.verify(&other));
    }
    // Register proves possession only of the key that it names.
    let claims = Claims { kid: es.public().key_id(), step: Step::Register { key: es.public() }, ..arrival() };
    assert_eq!(vp1::parse(&vp1::sign(&claims, &ed).unwrap()).unwrap().proven_key(), None);
    assert_eq!(vp1::sign(&Claims { kid: KID, ..claims }, &es), Err(KeyId));
}

#[test]
fn a_key_that_could_lie_is_refused() {
    /// Of order 8, from the published list of torsion points.
    const ORDER_8: &str = "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05";
    let bytes = |text: &str| -> [u8; 32] { hex::decode(text).unwrap().try_into().unwrap() };
    let mut one = [0; 32];
    one[0] = 1;
    let mut identity_again = [0xff; 32];
    (identity_again[0], identity_again[31]) = (0xee, 0x7f); // p + 1, the other spelling of the identity's 1
    let mut off_curve = [0; 32];
    off_curve[0] = 2;
    // A good point and one of small order: it verifies like the good one, under the cofactored rule.
    let sum = {
        use ed25519_dalek::VerifyingKey;
        let good = VerifyingKey::from_bytes(&key().public().as_bytes().try_into().unwrap()).unwrap();
        let torsion = VerifyingKey::from_bytes(&bytes(ORDER_8)).unwrap();
        (good.to_edwards() + torsion.to_edwards()).compress().to_bytes()
    };
    for (name, bad) in [
        ("zero, order 4", [0; 32]),
        ("identity", one),
        ("identity, not canonical", identity_again),
        ("order 8", bytes(ORDER_8)),
        ("with torsion", sum),
        ("not on the curve", off_curve),
    ] {
        assert_eq!(PublicKey::ed25519(bad), Err(BadKey), "{name}");
    }
    let good: [u8; 33] = HolderKey::es256(&[7; 32]).unwrap().public().as_bytes().try_into().unwrap();
    for (name, first) in [("identity", 0), ("uncompressed", 4), ("compact", 5), ("unknown", 9)] {
        let mut bad = good;
        bad[0] = first;
        assert_eq!(PublicKey::es256(bad), Err(BadKey), "{name}");
    }
    assert_eq!(PublicKey::es256([2; 33].map(|_| 0xff)), Err(BadKey));
    assert_eq!(PublicKey::from_slice(&[2; 34]), Err(BadKey));
}

#[test]
fn the_neutral_key_signs_nothing() {
    // R the neutral element and s = 0: good for any message under the neutral key by the loose rule.
    let mut neutral = [0; 32];
    neutral[0] = 1;
    let mut signature = [0; 64];
    signature[0] = 1;
    assert!(!PublicKey::Ed25519(neutral).verify(b"anything", &signature));
}

#[test]
fn vq1_refuses_what_is_not_its_own() {
    let node = ed25519_dalek::SigningKey::from_bytes(&[5; 32]);
    let voucher = VoucherName { issuer: "nanjing-health".into(), id: Uuid::from_bytes([9; 16]) };
    let claims = vq1::Claims {
        community: "community-xinjie".into(),
        voucher,
        service: "prenatal-scan".into(),
        not_before: 10,
        expires: 20,
        iat: 5,
    };
    let good = vq1::parse(&vq1::sign(&claims, &node).unwrap()).unwrap();
    let payload = claims.to_cbor().unwrap();
    let node_key = HolderKey::Ed25519(node.clone());
    let es = HolderKey::es256(&[5; 32]).unwrap();

    let other_algorithm = Envelope::seal(es.public().key_id(), payload.clone(), &es);
    assert_eq!(vq1::Unverified::from_cose(other_algorithm.bytes()).unwrap_err(), Algorithm);
    let other_kid = Envelope::seal(KID, payload.clone(), &node_key);
    assert!(!vq1::Unverified::from_cose(other_kid.bytes()).unwrap().verify(&node_key.public()));
    assert!(good.verify(&node_key.public()) && !good.verify(&key().public()));
    let personal = Envelope::seal(good.kid(), arrival().to_cbor().unwrap(), &node_key);
    assert_eq!(vq1::Unverified::from_cose(personal.bytes()).unwrap_err(), MissingClaim(1));
    // The service ends in a single `n`, one byte; a pair with two empty places would say the same.
    let spelled = [&payload[..payload.len() - 10], &[0x4a], &payload[payload.len() - 9..payload.len() - 1]].concat();
    let spelled = [&spelled[..], &(14_u16 * 1600).to_be_bytes()].concat();
    let spelled = Envelope::seal(good.kid(), spelled, &node_key);
    assert_eq!(vq1::Unverified::from_cose(spelled.bytes()).unwrap_err(), BadClaim(-9));

    for (bad, why) in [
        (vq1::Claims { expires: 10, ..claims.clone() }, BadClaim(4)),
        (vq1::Claims { not_before: -1, ..claims.clone() }, BadClaim(5)),
        (vq1::Claims { iat: 1 << 32, ..claims.clone() }, BadClaim(6)),
        (vq1::Claims { community: "a".repeat(25), ..claims.clone() }, BadClaim(1)),
        (vq1::Claims { service: "a".repeat(41), ..claims.clone() }, BadClaim(-9)),
        (vq1::Claims { service: String::new(), ..claims.clone() }, BadClaim(-9)),
    ] {
        assert_eq!(vq1::sign(&bad, &node), Err(why));
    }
}
