// Calls to the node, each signed with the main key, and what time it is there.

import { byMain } from "./keys.js";
import { keep } from "./store.js";
import { requestDigest } from "./vp1.js";

/** How long a call may take, in milliseconds: after that the network counts as gone. */
const CALL_MILLIS = 8_000;

/** By how much the node's clock is ahead of the phone's, in milliseconds. */
let ahead = 0;

/** Sets what was found out when the node was last heard of. */
export function setAhead(millis) {
  ahead = millis ?? 0;
}

/** Now, by the node's clock. */
export const now = () => Date.now() + ahead;

/** The node could not be reached. */
export class Silent extends Error {}

/** The node said no. `problem` is its reason, with a text for the holder. */
export class Refused extends Error {
  constructor(problem) {
    super(problem.code);
    this.problem = problem;
  }
}

/** Asks; the answer is a Response, whatever its status. */
async function ask(method, path, headers, body) {
  const began = Date.now();
  const stop = AbortSignal.timeout(CALL_MILLIS);
  let answer;
  try {
    answer = await fetch(path, { method, headers, body, signal: stop, cache: "no-store", credentials: "omit" });
  } catch {
    throw new Silent();
  }
  const time = Date.parse(answer.headers.get("Node-Time") ?? "");
  if (!Number.isNaN(time)) {
    // Half of the way went by before the node looked at its clock.
    ahead = time - (began + Date.now()) / 2;
    keep("ahead", ahead);
  }
  if (answer.status === 502 || answer.status === 504) throw new Silent();
  if (!answer.ok) throw new Refused(await answer.json().catch(() => ({ code: String(answer.status), holder: "" })));
  return answer;
}

/** GETs what everybody may know. */
export async function read(path) {
  return (await ask("GET", path, {})).json();
}

/** A caller: the institution whose node it is, the holder's main key, the language of its answers. */
export class Caller {
  constructor(institution, main, language) {
    Object.assign(this, { institution, main, language });
  }

  /** The signature over a request to a node. */
  async signature(institution, method, path, body) {
    const request = await requestDigest(method, path, new TextEncoder().encode(body));
    return byMain(this.main, { step: "wallet", audience: institution, request }, now());
  }

  async #send(method, path, body, key) {
    const headers = { "Accept-Language": this.language };
    if (body !== undefined) {
      Object.assign(headers, { "Content-Type": "application/json", "Idempotency-Key": key });
    }
    headers.Authorization = `VP1 ${await this.signature(this.institution, method, path, body ?? "")}`;
    try {
      return await ask(method, path, headers, body);
    } catch (error) {
      // The phone's clock was off and is corrected by now: once more.
      if (!(error instanceof Refused) || error.problem.code !== "presentation-stale") throw error;
    }
    headers.Authorization = `VP1 ${await this.signature(this.institution, method, path, body ?? "")}`;
    return ask(method, path, headers, body);
  }

  async get(path) {
    return (await this.#send("GET", path)).json();
  }

  async text(path) {
    return (await this.#send("GET", path)).text();
  }

  /** Sends something. Asked twice because an answer was lost, it is done once: the key says that it is the same. */
  async send(method, path, body) {
    const key = crypto.randomUUID();
    const sent = JSON.stringify(body);
    try {
      return await (await this.#send(method, path, sent, key)).json();
    } catch (error) {
      if (!(error instanceof Silent)) throw error;
    }
    return (await this.#send(method, path, sent, key)).json();
  }

  post(path, body) {
    return this.send("POST", path, body);
  }
}
