// An export that somebody brings, chosen or dropped as a folder: each log's head goes to the node's check, and its tiles and bundles
// are held byte by byte against those that this node serves of the copy that it has verified itself. Whatever the export says of
// itself but the names of its logs is not looked at.

const AT_ONCE = 4;
const MAX_CONTENTS_BYTES = 1024 * 1024;
const MAX_NOTE_BYTES = 64 * 1024;
const MAX_LOGS = 1024;
const MAX_NAMED = 5;
const WIDTH = 256;
const HEADS = ["checkpoint", "cosigned-checkpoint"];

const section = document.querySelector("#export");
const check = document.querySelector("#check");
const chosen = section.querySelector("#folder");
const bar = section.querySelector("#export-bar");
const step = section.querySelector("#export-step");
const status = section.querySelector("#export-status");
const alarm = section.querySelector("#export-alert");
const table = section.querySelector("#export-logs");
const lines = table.querySelector("tbody");
const token = document.querySelector("meta[name=csrf-token]")?.content ?? "";

// One export at a time: who brings another gives up the one before.
let current = new AbortController();

// The node does not say what is needed to judge: nothing is said of the export then.
class Unjudged extends Error {}

function said(key, values = {}) {
  const text = section.querySelector("#export-texts").content.querySelector(`[data-text="${key}"]`).textContent;
  return text.replace(/%(\w+)%/g, (all, name) => values[name] ?? all);
}

// What the node answers; under load it asks for patience.
async function ask(signal, path, options = {}) {
  for (;;) {
    let answer;
    try {
      answer = await fetch(path, { signal, ...options });
    } catch {
      throw new Unjudged(said("away"));
    }
    if (answer.status === 401 || answer.status === 403) throw new Unjudged(said("signed-out"));
    if (answer.status !== 429 && answer.status !== 503) return answer;
    const secs = Number(answer.headers.get("retry-after")) || 1;
    await new Promise((done) => setTimeout(done, secs * 1000));
    signal.throwIfAborted();
  }
}

async function asked(signal, path, options) {
  const answer = await ask(signal, path, options);
  if (!answer.ok) throw new Unjudged(said("refused", { status: answer.status }));
  return answer;
}

// C2SP tlog-tiles: three digits a group, each but the last with an x.
function pathOf({ kind, index, width }) {
  let path = String(index % 1000).padStart(3, "0");
  for (let rest = Math.floor(index / 1000); rest > 0; rest = Math.floor(rest / 1000)) {
    path = `x${String(rest % 1000).padStart(3, "0")}/${path}`;
  }
  return `tile/${kind}/${path}${width < WIDTH ? `.p/${width}` : ""}`;
}

// How many hashes of a level, or entries, a log of this size has.
function count(size, level) {
  for (let n = 0; n < level; n++) size = Math.floor(size / WIDTH);
  return size;
}

// Every bundle and tile of a log's first `known` entries, as wide as they have it; `wide` is how wide the export has it.
function* filesOf(known, size) {
  for (let level = 0; count(known, level) > 0; level++) {
    const [here, there] = [count(known, level), count(size, level)];
    for (const kind of level === 0 ? ["entries", level] : [level]) {
      for (let index = 0; index * WIDTH < here; index++) {
        const width = (count) => Math.min(WIDTH, count - index * WIDTH);
        yield { kind, index, width: width(here), wide: width(there) };
      }
    }
  }
}

function filesIn(size) {
  let files = Math.ceil(size / WIDTH);
  for (let level = 0; count(size, level) > 0; level++) files += Math.ceil(count(size, level) / WIDTH);
  return files;
}

// The text of a small file, to the byte; null where it cannot be one.
async function textOf(file, most) {
  if (!file) return null;
  try {
    const opened = await file();
    if (opened.size > most) return null;
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(await opened.arrayBuffer());
  } catch {
    return null;
  }
}

// What the node says of a head: that it is none of this log, or its size and whether it is of the history held here.
async function judgeHead(signal, log, note) {
  // Signed notes have no control characters, and with them it could be longer than what is checked.
  if (/[^\P{Cc}\n]/u.test(note)) return null;
  const headers = { "content-type": "application/json", "x-csrf-token": token, "idempotency-key": crypto.randomUUID() };
  const answer = await asked(signal, "/v1/audit/check", { method: "POST", headers, body: JSON.stringify({ text: note }) });
  const { kind, facts } = await answer.json();
  const fact = Object.fromEntries(facts.map(({ name, value }) => [name, value]));
  const isOfLog = kind === "checkpoint" && fact.institution === log && fact.size !== undefined;
  return isOfLog ? { size: Number(fact.size), held: fact["held-here"], by: fact["cosigned-by"] } : null;
}

// Whether a file begins with what is served, and has no more than that where all of it is served.
async function isSame(file, served, isAll) {
  if (isAll ? file.size !== served.length : file.size < served.length) return false;
  const bytes = new Uint8Array(await file.slice(0, served.length).arrayBuffer());
  return bytes.every((byte, at) => byte === served[at]);
}

// Holds the files of a log against those that are served: the first that are not the same, in words.
async function compare(signal, { log, known, size, files, used }) {
  const [todo, wrong] = [filesOf(known, size), []];
  const one = async () => {
    // One generator, several readers: each takes the next, and none ends it for the others.
    for (let { value: tile, done } = todo.next(); !done && wrong.length < MAX_NAMED; { value: tile, done } = todo.next()) {
      const path = pathOf({ ...tile, width: tile.wide });
      const name = `logs/${log}/${path}`;
      const file = files.get(name);
      used.add(name);
      if (file) {
        const answer = await asked(signal, `/mirrors/${log}/${pathOf(tile)}`, { cache: "no-store" });
        const served = new Uint8Array(await answer.arrayBuffer());
        let text = said("unreadable", { file: path });
        try {
          text = (await isSame(await file(), served, tile.width === tile.wide)) ? "" : said("differs", { file: path });
        } catch {
          // Moved or taken away while it was read.
        }
        if (text) wrong.push(text);
      } else wrong.push(said("missing", { file: path }));
      bar.value += 1;
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, one));
  return wrong;
}

// The verdict on a log: good, bad, or wait where this node cannot judge all of it.
async function judge(signal, log, known, files, used) {
  const bad = (why) => ({ log, verdict: "bad", why: [why] });
  const heads = [];
  for (const name of HEADS) {
    const path = `logs/${log}/${name}`;
    used.add(path);
    if (name !== HEADS[0] && !files.has(path)) continue;
    if (!files.has(path)) return bad(said("missing", { file: name }));
    const note = await textOf(files.get(path), MAX_NOTE_BYTES);
    if (note === null) return bad(said("no-head", { file: name }));
    if (known === undefined) continue;
    const head = await judgeHead(signal, log, note);
    if (!head) return bad(said("no-head", { file: name }));
    if (head.held === "other") return bad(said("other", { file: name }));
    // The cosigned one is the same or older: else what is said of it would be said of entries that nobody looks at.
    if (heads.length > 0 && head.size > heads[0].size) return bad(said("ahead", { file: name }));
    heads.push(head);
  }
  if (known === undefined) return { log, verdict: "wait", why: [said("unknown")] };
  const { size } = heads[0];
  const most = Math.min(known, size);
  step.textContent = said("step", { log, size: most });
  bar.max = Math.max(filesIn(most), 1);
  bar.value = 0;
  const why = await compare(signal, { log, known: most, size, files, used });
  if (why.length > 0) return { log, verdict: "bad", why: why.length < MAX_NAMED ? why : [...why, said("stopped")] };
  const by = heads.find((head) => head.by && head.by !== "–");
  const cosigned = by ? [said("cosigned", { size: by.size, by: by.by })] : [];
  if (!(known >= size) || heads.some((head) => head.held !== "same")) {
    return { log, verdict: "wait", why: [said("longer", { size, known: most }), ...cosigned] };
  }
  return { log, verdict: "good", why: [said("good", { size }), ...cosigned] };
}

// The names of an export's logs; null if it is none.
async function logsOf(files) {
  const text = await textOf(files.get("export.json"), MAX_CONTENTS_BYTES);
  try {
    const { version, logs } = JSON.parse(text);
    const names = [...new Set(logs.map(({ institution }) => institution))];
    const isName = (name) => typeof name === "string" && /^[a-z0-9-]{1,24}$/.test(name);
    return version === 1 && names.length > 0 && names.length <= MAX_LOGS && names.every(isName) ? names : null;
  } catch {
    return null;
  }
}

// The logs of which this node has a head.
async function held(signal) {
  const { items } = await (await asked(signal, "/v1/checkpoints")).json();
  return new Set(items.map(({ institution }) => institution));
}

// How many of a log's entries it holds in full; none while it is still fetching.
async function sizeHeld(signal, log) {
  const answer = await ask(signal, `/mirrors/${log}/checkpoint`, { cache: "no-store" });
  return answer.ok ? Number((await answer.text()).split("\n")[1]) : undefined;
}

function row({ log, verdict, why }) {
  const line = lines.insertRow();
  const name = document.createElement("th");
  name.scope = "row";
  name.textContent = log;
  const tag = document.createElement("span");
  tag.className = `tag ${verdict}`;
  tag.textContent = said(`tag-${verdict}`);
  line.append(name);
  line.insertCell().append(tag);
  const cell = line.insertCell();
  for (const text of why) {
    const one = document.createElement("p");
    one.textContent = text;
    cell.append(one);
  }
}

function conclude(verdict, text) {
  const one = document.createElement("p");
  one.className = `notice ${verdict}`;
  one.textContent = text;
  (verdict === "bad" ? alarm : status).replaceChildren(one);
}

// `files` are the paths below the folder, each with what opens it: nothing is read before its turn comes.
async function look(files) {
  current.abort();
  const mine = (current = new AbortController());
  const { signal } = mine;
  for (const part of [alarm, status, lines]) part.replaceChildren();
  table.hidden = true;
  bar.removeAttribute("value");
  bar.hidden = false;
  step.textContent = said("reads");
  try {
    const logs = await logsOf(files);
    signal.throwIfAborted();
    if (!logs) return conclude("bad", said("no-export"));
    const here = await held(signal);
    const [used, verdicts] = [new Set(), new Set()];
    for (const log of logs) {
      const one = await judge(signal, log, here.has(log) ? await sizeHeld(signal, log) : undefined, files, used);
      signal.throwIfAborted();
      verdicts.add(one.verdict);
      row(one);
      table.hidden = false;
    }
    let others = 0;
    for (const path of files.keys()) if (path.startsWith("logs/") && !used.has(path)) others += 1;
    const verdict = ["bad", "wait"].find((verdict) => verdicts.has(verdict)) ?? "good";
    conclude(verdict, `${said(`all-${verdict}`)}${others > 0 ? ` ${said("others", { count: others })}` : ""}`);
  } catch (error) {
    // Who brought another export meanwhile waits for that one's verdict.
    if (signal.aborted) return;
    conclude("bad", error instanceof Unjudged ? error.message : said("failed"));
  } finally {
    if (current === mine) {
      bar.hidden = true;
      step.textContent = "";
    }
  }
}

// A folder that was dropped, file by file; a browser gives a hundred at a time.
async function walk(folder, path, files) {
  const reader = folder.createReader();
  for (;;) {
    const some = await new Promise((done, failed) => reader.readEntries(done, failed));
    if (some.length === 0) return;
    for (const one of some) {
      const name = path + one.name;
      if (one.isDirectory) await walk(one, `${name}/`, files);
      else files.set(name, () => new Promise((done, failed) => one.file(done, failed)));
    }
  }
}

section.hidden = false;
chosen.addEventListener("change", () => {
  const below = (file) => file.webkitRelativePath.split("/").slice(1).join("/");
  look(new Map(Array.from(chosen.files, (file) => [below(file), async () => file])));
});
check.addEventListener("folder", async ({ detail }) => {
  const files = new Map();
  section.scrollIntoView();
  try {
    await walk(detail, "", files);
  } catch {
    // What could not be read is missing in what follows.
  }
  look(files);
});
