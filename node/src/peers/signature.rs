//! Requests between nodes are signed: HTTP message signatures (RFC 9421) with Ed25519, over a digest of the body (RFC 9530).
//!
//! The node key signs method, path, query, the institution that is asked, and of a request that changes something also its
//! body and its idempotency key. So nobody can send it elsewhere, change it, or, as the nonce is remembered, send it again.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::ids::InstitutionId;
use domain::time::{Millis, Timestamp};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sfv::{BareItem, Dictionary, FieldType as _, InnerList, Item, Key, List, ListEntry, Parser};
use sha2::Digest as _;

use super::clocks::APART;

/// How old or early a signature may be: as far as clocks may be apart.
pub const WINDOW: Millis = APART;

/// The header that says which institution is asked.
pub const AUDIENCE: &str = "Audience";

/// The header with the digest of the body.
pub const CONTENT_DIGEST: &str = "Content-Digest";

/// The header that says what is signed.
pub const SIGNATURE_INPUT: &str = "Signature-Input";

/// The header with the signature.
pub const SIGNATURE: &str = "Signature";

/// What a signature between nodes is for.
const TAG: &str = "voucher-node";

/// What the signature is called in both headers.
const LABEL: &str = "node";

/// Longest header that is parsed, in bytes.
const MAX_HEADER_BYTES: usize = 1_024;

/// What every request signs.
const COVERED: [&str; 4] = ["@method", "@path", "@query", "audience"];

/// What a request with a body signs beside that.
const COVERED_BODY: [&str; 3] = ["content-digest", "content-type", "idempotency-key"];

/// Why a signature is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A header is missing, too long, or no structured field of the kind that it should be.
    #[error("{0} is missing, or is not what RFC 9421 and RFC 9530 say")]
    Header(&'static str),
    /// Nodes sign one thing, once, in one way.
    #[error("one signature, ed25519, with tag \"voucher-node\", created, nonce and keyid")]
    Parameters,
    /// Something that must be signed is not, or something is that this node does not know.
    #[error(
        "a node signs \"@method\" \"@path\" \"@query\" \"audience\", with a body also its digest, type and idempotency key"
    )]
    Coverage,
    /// The body is another.
    #[error("the body does not have the digest that Content-Digest says")]
    Digest,
    /// Another institution was asked.
    #[error("it was signed for another institution")]
    Audience,
}

/// What is signed of a message.
pub struct Message<'a> {
    /// GET, POST and so on.
    pub method: &'a str,
    /// Host and port, as the caller wrote them.
    pub authority: &'a str,
    /// As it was sent, percent-encoded.
    pub path: &'a str,
    /// Without the `?`.
    pub query: &'a str,
    /// A header's values, in their order.
    pub header: &'a dyn Fn(&str) -> Vec<String>,
}

impl Message<'_> {
    /// The value of a component (RFC 9421 section 2).
    fn component(&self, name: &str) -> Option<String> {
        match name {
            "@method" => Some(self.method.to_owned()),
            "@authority" => Some(self.authority.to_ascii_lowercase()),
            "@path" => Some(self.path.to_owned()),
            "@query" => Some(format!("?{}", self.query)),
            derived if derived.starts_with('@') => None,
            field => {
                let values = (self.header)(field);
                let trimmed: Vec<&str> = values.iter().map(|value| value.trim()).collect();
                (!trimmed.is_empty()).then(|| trimmed.join(", "))
            }
        }
    }

    /// The signature base (RFC 9421 section 2.5). None if a component is missing, has parameters, or stands twice.
    fn base(&self, input: &InnerList) -> Option<String> {
        let mut base = String::new();
        for item in &input.items {
            let name = item.bare_item.as_string()?.as_str();
            let line = format!("\"{name}\": ");
            if !item.params.is_empty() || base.lines().any(|before| before.starts_with(&line)) {
                return None;
            }
            base.push_str(&line);
            base.push_str(&self.component(name)?);
            base.push('\n');
        }
        let parameters: List = vec![ListEntry::InnerList(input.clone())];
        base.push_str("\"@signature-params\": ");
        base.push_str(&parameters.serialize()?);
        Some(base)
    }
}

/// The value of `Content-Digest` for a body.
#[must_use]
pub fn content_digest(body: &[u8]) -> String {
    format!("sha-256=:{}:", STANDARD.encode(sha2::Sha256::digest(body)))
}

/// The parameters of a node's signature.
#[derive(Debug, Clone, Copy)]
pub struct Parameters {
    /// Whose key.
    pub institution: InstitutionId,
    /// When.
    pub created: Timestamp,
    /// Once for each request.
    pub nonce: [u8; 16],
}

/// Signs a message: the values of `Signature-Input` and `Signature`. None if a header that is signed is not there.
#[must_use]
pub fn sign(
    key: &SigningKey,
    message: &Message<'_>,
    has_body: bool,
    parameters: Parameters,
) -> Option<(String, String)> {
    let bodys = if has_body { COVERED_BODY.as_slice() } else { &[] };
    let text = |text: &str| sfv::String::from_string(text.to_owned()).ok().map(BareItem::String);
    let names = COVERED.iter().chain(bodys).map(|name| text(name).map(Item::new));
    let name = |name: &str| Key::from_string(name.to_owned()).ok();
    let created = sfv::Integer::try_from(parameters.created.secs()).ok()?;
    let input = InnerList::with_params(
        names.collect::<Option<_>>()?,
        [
            (name("created")?, BareItem::Integer(created)),
            (name("nonce")?, text(&hex::encode(parameters.nonce))?),
            (name("keyid")?, text(parameters.institution.as_str())?),
            (name("alg")?, text("ed25519")?),
            (name("tag")?, text(TAG)?),
        ]
        .into_iter()
        .collect(),
    );
    let signature = key.sign(message.base(&input)?.as_bytes());
    let one = |entry: ListEntry| -> Option<String> {
        [(name(LABEL)?, entry)].into_iter().collect::<Dictionary>().serialize()
    };
    let bytes = Item::new(BareItem::ByteSequence(signature.to_bytes().to_vec()));
    Some((one(ListEntry::InnerList(input))?, one(ListEntry::Item(bytes))?))
}

/// The headers with which a request to an institution is sent and signed: of what is `sent` the idempotency key and the body,
/// which is JSON. None if the key is no header's value.
#[must_use]
pub fn headers(
    key: &SigningKey,
    parameters: Parameters,
    audience: &str,
    method: &str,
    path_and_query: &str,
    sent: Option<(&str, &[u8])>,
) -> Option<Vec<(&'static str, String)>> {
    let mut headers = vec![(AUDIENCE, audience.to_owned())];
    if let Some((idempotency_key, body)) = sent {
        headers.push(("Idempotency-Key", idempotency_key.to_owned()));
        headers.push(("Content-Type", "application/json".to_owned()));
        headers.push((CONTENT_DIGEST, content_digest(body)));
    }
    let header = |name: &str| {
        let named = headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.clone()).collect()
    };
    let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
    let message = Message { method, authority: "", path, query, header: &header };
    let (input, signature) = sign(key, &message, sent.is_some(), parameters)?;
    headers.extend([(SIGNATURE_INPUT, input), (SIGNATURE, signature)]);
    Some(headers)
}

/// A signature over a request, read and not yet verified.
#[derive(Debug, Clone)]
pub struct Signed {
    /// What the key stands for.
    pub institution: InstitutionId,
    /// When it was made.
    pub created: Timestamp,
    /// Once for each request.
    pub nonce: [u8; 16],
    base: String,
    signature: Signature,
}

impl Signed {
    /// Reads the signature of a request to `me`, and checks all of it but the key.
    ///
    /// # Errors
    ///
    /// [`Fault`].
    pub fn read(message: &Message<'_>, body: &[u8], me: InstitutionId) -> Result<Self, Fault> {
        let inputs = only(message, SIGNATURE_INPUT)?;
        let ListEntry::InnerList(input) = inputs.1 else { return Err(Fault::Header(SIGNATURE_INPUT)) };
        let (label, signature) = only(message, SIGNATURE)?;
        if label != inputs.0 {
            return Err(Fault::Parameters);
        }
        let bytes = match &signature {
            ListEntry::Item(item) => item.bare_item.as_byte_sequence(),
            ListEntry::InnerList(_) => None,
        };
        let bytes = bytes.and_then(|bytes| Signature::from_slice(bytes).ok()).ok_or(Fault::Header(SIGNATURE))?;
        let text = |name: &str| input.params.get(name).and_then(|value| Some(value.as_string()?.as_str()));
        if text("alg") != Some("ed25519") || text("tag") != Some(TAG) || input.params.get("expires").is_some() {
            return Err(Fault::Parameters);
        }
        let created = input.params.get("created").and_then(BareItem::as_integer).ok_or(Fault::Parameters)?;
        let institution = text("keyid").and_then(|id| id.parse().ok()).ok_or(Fault::Parameters)?;
        let mut nonce = [0; 16];
        text("nonce").and_then(|text| hex::decode_to_slice(text, &mut nonce).ok()).ok_or(Fault::Parameters)?;
        covers(&input, message, body)?;
        if !body.is_empty() && single(message, CONTENT_DIGEST)? != content_digest(body) {
            return Err(Fault::Digest);
        }
        if single(message, AUDIENCE)? != me.as_str() {
            return Err(Fault::Audience);
        }
        let created = Timestamp::from_millis(i64::from(created).saturating_mul(1_000));
        let base = message.base(&input).ok_or(Fault::Coverage)?;
        Ok(Self { institution, created, nonce, base, signature: bytes })
    }

    /// Whether that key made it.
    #[must_use]
    pub fn is_by(&self, key: &VerifyingKey) -> bool {
        key.verify_strict(self.base.as_bytes(), &self.signature).is_ok()
    }
}

/// Whether all is signed that must be, and nothing that this node does not look at.
fn covers(input: &InnerList, message: &Message<'_>, body: &[u8]) -> Result<(), Fault> {
    let names: Option<Vec<&str>> = input.items.iter().map(|item| Some(item.bare_item.as_string()?.as_str())).collect();
    let names = names.ok_or(Fault::Coverage)?;
    let is_there = |name: &&&str| !(message.header)(name).is_empty();
    let mut needed = COVERED.to_vec();
    needed.extend((!body.is_empty()).then_some("content-digest"));
    needed.extend(COVERED_BODY.iter().filter(is_there));
    let known = |name: &&str| COVERED.contains(name) || COVERED_BODY.contains(name);
    let all = needed.iter().all(|name| names.contains(name)) && names.iter().all(known);
    if all { Ok(()) } else { Err(Fault::Coverage) }
}

/// The one member of a dictionary in a header.
fn only(message: &Message<'_>, name: &'static str) -> Result<(Key, ListEntry), Fault> {
    let text = single(message, name)?;
    let dictionary: Dictionary = Parser::new(&text).parse().map_err(|_| Fault::Header(name))?;
    let mut members = dictionary.into_iter();
    match (members.next(), members.next()) {
        (Some(member), None) => Ok(member),
        _ => Err(Fault::Header(name)),
    }
}

/// A header that stands once.
fn single(message: &Message<'_>, name: &'static str) -> Result<String, Fault> {
    let mut values = (message.header)(name);
    match (values.pop(), values.is_empty()) {
        (Some(value), true) if value.len() <= MAX_HEADER_BYTES => Ok(value),
        _ => Err(Fault::Header(name)),
    }
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    /// Headers by name.
    type Headers = Vec<(&'static str, String)>;

    fn of(headers: &Headers) -> impl Fn(&str) -> Vec<String> + use<> {
        let headers = headers.clone();
        move |name| {
            headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, v)| v.clone()).collect()
        }
    }

    fn me() -> InstitutionId {
        "gulou".parse().unwrap()
    }

    fn key() -> SigningKey {
        SigningKey::from_bytes(&[7; 32])
    }

    const BODY: &[u8] = br#"{"voucher":"v"}"#;

    /// A good request with these headers, signed.
    fn signed(has_body: bool) -> Headers {
        let mut headers: Headers = vec![("Audience", "gulou".to_owned())];
        if has_body {
            headers.push(("Content-Type", "application/json".to_owned()));
            headers.push(("Idempotency-Key", "letter-1".to_owned()));
            headers.push(("Content-Digest", content_digest(BODY)));
        }
        let header = of(&headers);
        let message = Message { method: "POST", authority: "", path: "/v1/x", query: "a=b", header: &header };
        let parameters = Parameters {
            institution: "xuanwu".parse().unwrap(),
            created: Timestamp::from_millis(1_700_000_000_000),
            nonce: [9; 16],
        };
        let (input, signature) = sign(&key(), &message, has_body, parameters).unwrap();
        headers.extend([("Signature-Input", input), ("Signature", signature)]);
        headers
    }

    fn read(headers: &Headers, method: &str, path: &str, query: &str, body: &[u8]) -> Result<Signed, Fault> {
        Signed::read(&Message { method, authority: "", path, query, header: &of(headers) }, body, me())
    }

    /// RFC 9421 appendix B.2.6: the request of B.2, signed with the key of B.1.4.
    #[test]
    fn the_ed25519_example_of_the_rfc_holds_both_ways() {
        let headers: Headers = vec![
            ("Date", "Tue, 20 Apr 2021 02:07:55 GMT".to_owned()),
            ("Content-Type", "application/json".to_owned()),
            ("Content-Length", "18".to_owned()),
        ];
        let header = of(&headers);
        let message = Message {
            method: "POST",
            authority: "Example.com",
            path: "/foo",
            query: "param=Value&Pet=dog",
            header: &header,
        };
        let text = "sig-b26=(\"date\" \"@method\" \"@path\" \"@authority\" \"content-type\" \"content-length\")\
                    ;created=1618884473;keyid=\"test-key-ed25519\"";
        let mut dictionary: Dictionary = Parser::new(text).parse().unwrap();
        let Some(ListEntry::InnerList(input)) = dictionary.shift_remove("sig-b26") else { panic!("no inner list") };
        let base = message.base(&input).unwrap();
        assert_eq!(
            base,
            "\"date\": Tue, 20 Apr 2021 02:07:55 GMT\n\"@method\": POST\n\"@path\": /foo\n\
             \"@authority\": example.com\n\"content-type\": application/json\n\"content-length\": 18\n\
             \"@signature-params\": (\"date\" \"@method\" \"@path\" \"@authority\" \"content-type\" \"content-length\")\
             ;created=1618884473;keyid=\"test-key-ed25519\""
        );
        let bytes = |text: &str| <[u8; 32]>::try_from(URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap();
        let key = SigningKey::from_bytes(&bytes("n4Ni-HpISpVObnQMW0wOhCKROaIKqKtW_2ZYb2p9KcU"));
        assert_eq!(key.verifying_key().to_bytes(), bytes("JrQLj5P_89iXES9-vFgrIy29clF9CC_oPPsw3c5D0bs"));
        let signature = STANDARD.encode(key.sign(base.as_bytes()).to_bytes());
        assert_eq!(
            signature,
            "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw=="
        );
    }

    /// RFC 9530 appendix D: the digest of the example's body.
    #[test]
    fn the_digest_of_the_rfc_holds() {
        let digest = content_digest(br#"{"hello": "world"}"#);
        assert_eq!(digest, "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:");
    }

    #[test]
    fn what_a_node_signs_another_reads() {
        for (has_body, body) in [(true, BODY), (false, b"".as_slice())] {
            let read = read(&signed(has_body), "POST", "/v1/x", "a=b", body).unwrap();
            assert_eq!((read.institution.as_str(), read.nonce), ("xuanwu", [9; 16]));
            assert_eq!(read.created, Timestamp::from_millis(1_700_000_000_000));
            assert!(read.is_by(&key().verifying_key()));
            assert!(!read.is_by(&SigningKey::from_bytes(&[8; 32]).verifying_key()));
        }
    }

    #[test]
    fn what_was_not_signed_is_told_apart() {
        let good = signed(true);
        let with = |name: &'static str, value: &str| {
            let mut headers = good.clone();
            headers.retain(|(known, _)| *known != name);
            if !value.is_empty() {
                headers.push((name, value.to_owned()));
            }
            headers
        };
        let changed = |from: &str, to: &str| {
            let mut headers = good.clone();
            for (name, value) in &mut headers {
                if *name == "Signature-Input" {
                    assert!(value.contains(from), "{value}");
                    *value = value.replace(from, to);
                }
            }
            headers
        };
        let twice = [good.clone(), vec![("Signature", "node=:AA==:".to_owned())]].concat();
        let table: Vec<(&str, Headers, Fault)> = vec![
            ("no signature", with("Signature", ""), Fault::Header(SIGNATURE)),
            ("no input", with("Signature-Input", ""), Fault::Header(SIGNATURE_INPUT)),
            ("two", twice, Fault::Header(SIGNATURE)),
            ("no field", with("Signature-Input", "node=("), Fault::Header(SIGNATURE_INPUT)),
            ("long", with("Signature-Input", &"a".repeat(2_000)), Fault::Header(SIGNATURE_INPUT)),
            ("other label", with("Signature", "else=:AA==:"), Fault::Parameters),
            ("short", with("Signature", "node=:AA==:"), Fault::Header(SIGNATURE)),
            ("not bytes", with("Signature", "node=\"AA==\""), Fault::Header(SIGNATURE)),
            ("other algorithm", changed("ed25519", "hmac-sha256"), Fault::Parameters),
            ("other tag", changed("voucher-node", "web"), Fault::Parameters),
            ("no time", changed("created", "x"), Fault::Parameters),
            ("no nonce", changed("nonce", "x"), Fault::Parameters),
            ("short nonce", changed(&"09".repeat(16), "09"), Fault::Parameters),
            ("bad keyid", changed("xuanwu", "Xuan Wu"), Fault::Parameters),
            ("body not signed", changed(" \"content-digest\"", ""), Fault::Coverage),
            ("key not signed", changed(" \"idempotency-key\"", ""), Fault::Coverage),
            ("path not signed", changed(" \"@path\"", ""), Fault::Coverage),
            ("audience not signed", changed(" \"audience\"", ""), Fault::Coverage),
            ("signs what is not there", changed("\"@path\"", "\"@path\" \"@status\""), Fault::Coverage),
            ("signs it twice", changed("\"@path\"", "\"@path\" \"@path\""), Fault::Coverage),
            ("with a parameter", changed("\"@path\"", "\"@path\";req"), Fault::Coverage),
            ("no digest", with("Content-Digest", ""), Fault::Header(CONTENT_DIGEST)),
            ("other digest", with("Content-Digest", &content_digest(b"")), Fault::Digest),
            ("for another", with("Audience", "zhongda"), Fault::Audience),
        ];
        for (what, headers, fault) in table {
            assert_eq!(read(&headers, "POST", "/v1/x", "a=b", BODY).map(|_| ()), Err(fault), "{what}");
        }
        // Well-formed, and another request than the one that was signed.
        let key = key().verifying_key();
        for (method, path, query) in [("PUT", "/v1/x", "a=b"), ("POST", "/v1/y", "a=b"), ("POST", "/v1/x", "")] {
            assert!(!read(&good, method, path, query, BODY).unwrap().is_by(&key), "{method} {path} {query}");
        }
        let other_key = with("Idempotency-Key", "letter-2");
        assert!(!read(&other_key, "POST", "/v1/x", "a=b", BODY).unwrap().is_by(&key));
        assert!(!read(&changed("1700000000", "1700000001"), "POST", "/v1/x", "a=b", BODY).unwrap().is_by(&key));
        assert!(read(&good, "POST", "/v1/x", "a=b", b"{}").is_err());
    }
}
