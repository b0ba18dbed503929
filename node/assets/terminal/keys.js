// The keys of a phone: made here, kept where no script can read their secret, one for the person and one for each programme.

import { sha256, sign, uuid } from "./vp1.js";

/** What a key may be, best first. An older browser has the second alone. */
const KINDS = [
  { algorithm: "EdDSA", making: { name: "Ed25519" } },
  { algorithm: "ES256", making: { name: "ECDSA", namedCurve: "P-256" } },
];

/** A new key whose secret cannot be taken out: { algorithm, privateKey, public } with the public key's bytes. */
export async function make() {
  for (const { algorithm, making } of KINDS) {
    let pair;
    try {
      pair = await crypto.subtle.generateKey(making, false, ["sign", "verify"]);
    } catch {
      continue;
    }
    const raw = new Uint8Array(await crypto.subtle.exportKey("raw", pair.publicKey));
    return { algorithm, privateKey: pair.privateKey, public: algorithm === "ES256" ? compressed(raw) : raw };
  }
  throw new Error("no signature algorithm");
}

/** A point of P-256 as SEC1 writes it in 33 bytes. */
function compressed(point) {
  const short = point.slice(0, 33);
  short[0] = 2 + (point[64] & 1);
  return short;
}

/** A public key as the interface writes it. */
export function spelled(key) {
  const word = key.algorithm === "ES256" ? "es256" : "ed25519";
  return `${word}:${btoa(String.fromCharCode(...key.public))}`;
}

/** Signs with the main key. */
export async function byMain(main, claims, now) {
  const kid = (await sha256(main.public)).slice(0, 8);
  return sign(main, { ...claims, kid, ...fresh(now) });
}

/** Signs with the key of an enrolment, whose id its node gave it. */
export async function byEnrolment(key, enrolment, claims, now) {
  return sign(key, { ...claims, kid: uuid(enrolment).slice(0, 8), ...fresh(now) });
}

function fresh(now) {
  return { iat: Math.floor(now / 1000), cti: crypto.getRandomValues(new Uint8Array(8)) };
}
