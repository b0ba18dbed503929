// VP1, the personal QR, in bytes: CBOR claims in a COSE_Sign1, written in base45. The same as actors/src/token, byte for byte
// (tests/vectors/tokens.json); it knows no clock and keeps no key.

/** What a holder wants, by the number n of its claim -1 - n. */
const STEPS = { register: 0, identify: 1, receive: 2, arrive: 3, complete: 4, cancel: 5, wallet: 6 };

const AUDIENCE = 3;
const ISSUED_AT = 6;
const UNIQUE = 7;

/** Each algorithm: its number in COSE as CBOR writes it, and what WebCrypto signs with. */
const ALGORITHMS = {
  EdDSA: { cose: 0x27, signing: { name: "Ed25519" } },
  ES256: { cose: 0x26, signing: { name: "ECDSA", hash: "SHA-256" } },
};

const BASE45 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:";

const utf8 = new TextEncoder();

/** Bytes behind each other. */
export function join(...parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** A CBOR head: major type and shortest argument, below 2^32. */
function head(major, n) {
  const type = major << 5;
  if (n < 24) return Uint8Array.of(type | n);
  if (n < 0x100) return Uint8Array.of(type | 24, n);
  if (n < 0x10000) return Uint8Array.of(type | 25, n >> 8, n & 0xff);
  return Uint8Array.of(type | 26, n >>> 24, (n >>> 16) & 0xff, (n >>> 8) & 0xff, n & 0xff);
}

const bytes = (value) => join(head(2, value.length), value);
const text = (value) => join(head(3, utf8.encode(value).length), utf8.encode(value));

/** A voucher's name `issuer.uuid`: the UUID's 16 bytes, then the issuer's characters. */
export function voucherName(voucher) {
  const dot = voucher.lastIndexOf(".");
  return join(uuid(voucher.slice(dot + 1)), utf8.encode(voucher.slice(0, dot)));
}

/** The 16 bytes of a UUID. */
export function uuid(spelled) {
  return unhex(spelled.replaceAll("-", ""));
}

export function unhex(digits) {
  return Uint8Array.from(digits.match(/../g) ?? [], (two) => parseInt(two, 16));
}

export function hex(value) {
  return Array.from(value, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** What stands under the claim of a step. */
function object(claims) {
  switch (claims.step) {
    case "register": return bytes(claims.key);
    case "identify": return Uint8Array.of(0xf6);
    case "receive": return text(claims.programme);
    case "wallet": return bytes(claims.request);
    default: return bytes(voucherName(claims.voucher));
  }
}

/** The CBOR map of claims: `step`, what it is about, `audience` where it has one, `iat` in seconds, `cti` of 8 bytes. */
export function cbor(claims) {
  const entries = [];
  if (claims.audience !== undefined) entries.push(join(head(0, AUDIENCE), text(claims.audience)));
  entries.push(join(head(0, ISSUED_AT), head(0, claims.iat)));
  entries.push(join(head(0, UNIQUE), bytes(claims.cti)));
  entries.push(join(head(1, STEPS[claims.step]), object(claims)));
  return join(head(5, entries.length), ...entries);
}

/** Bytes as base45 (RFC 9285). */
export function base45(value) {
  let written = "";
  for (let i = 0; i < value.length; i += 2) {
    const two = i + 1 < value.length;
    let n = two ? value[i] * 256 + value[i + 1] : value[i];
    for (let left = two ? 3 : 2; left > 0; left -= 1) {
      written += BASE45[n % 45];
      n = Math.floor(n / 45);
    }
  }
  return written;
}

/** The text of a signed VP1. `key` is { algorithm, privateKey }, `claims` as above with the `kid` of 8 bytes. */
export async function sign(key, claims) {
  const { cose, signing } = ALGORITHMS[key.algorithm];
  const header = join(Uint8Array.of(0xa2, 0x01, cose, 0x04), bytes(claims.kid));
  const payload = bytes(cbor(claims));
  const signed = join(head(4, 4), text("Signature1"), bytes(header), bytes(new Uint8Array()), payload);
  const signature = new Uint8Array(await crypto.subtle.sign(signing, key.privateKey, signed));
  return "VP1:" + base45(join(Uint8Array.of(0xd2, 0x84), bytes(header), Uint8Array.of(0xa0), payload, bytes(signature)));
}

/** SHA-256. */
export async function sha256(value) {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", value));
}

/** What a step *wallet* signs of a request: method, path with query, body in bytes. */
export async function requestDigest(method, path, body) {
  return sha256(join(utf8.encode(`${method}\n${path}\n`), await sha256(body)));
}
