// The personal terminal: which screen is shown, what stands on it, and what its buttons do. What it knows of vouchers is the
// node's word (GET /v1/wallet), kept for when there is no network; what it signs is made here.

import { draw } from "./code.js";
import { byEnrolment, byMain, make, spelled } from "./keys.js";
import { Caller, Refused, Silent, now, read, setAhead } from "./node.js";
import { forgetAll, keep, load } from "./store.js";
import { byId, clock, copy, counted, date, day, element, has, language, moment, t } from "./words.js";

/** How long a drawn code is shown, in milliseconds: a desk refuses what was signed 60 s ago, and reading takes a moment. */
const SHOWN_MILLIS = 57_000;

/** Rest between two looks at the wallet, in milliseconds, and where somebody waits for what comes next. */
const LOOK_MILLIS = 20_000;
const LOOK_SOON_MILLIS = 2_000;

/** How long an announcement counts as new: the community keeps it for a day. */
const ANNOUNCED_MILLIS = 12 * 3_600_000;

/** Most programmes for which a phone makes keys. */
const MAX_KEYS = 64;

const DAY = 86_400_000;

const institution = byId("terminal").dataset.institution;

/** What the phone knows: see store.js. */
let known = {};
let caller;
let isSilent = false;

// ── the code ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** The code on the screen that is drawn again. */
let live;

function hideCode() {
  clearInterval(live?.ticks);
  live = undefined;
  document.querySelectorAll(".place").forEach((place) => place.replaceChildren());
}

/** Shows a code in a screen's place: its name for who cannot see it, a line under it, and what makes its text. */
async function showCode(screen, name, line, text, isRenewed = true) {
  hideCode();
  const figure = copy("code");
  const canvas = figure.querySelector("canvas");
  const seconds = figure.querySelector(".seconds");
  canvas.setAttribute("aria-label", name);
  figure.querySelector(".line").textContent = line;
  screen.querySelector(".place").replaceChildren(figure);
  const mine = { until: 0 };
  live = mine;
  mine.again = async () => {
    const made = await text();
    if (live !== mine) return;
    draw(canvas, made);
    mine.made = made;
    mine.until = now() + SHOWN_MILLIS;
    performance.mark("code-drawn");
    tick();
  };
  const tick = () => {
    if (!isRenewed) return;
    const left = Math.ceil((mine.until - now()) / 1000);
    if (left <= 0 || left > SHOWN_MILLIS / 1000 + 1) mine.again();
    else seconds.textContent = counted("seconds-left", left);
  };
  await mine.again();
  if (live === mine) mine.ticks = setInterval(tick, 1000);
  stayAwake();
}

/** Keeps the screen from going dark while a code is on it, where the browser can. */
async function stayAwake() {
  try {
    await navigator.wakeLock?.request("screen");
  } catch {
    // A phone that saves its battery says no, and the code is there all the same.
  }
}

const keyOf = (programme) => known.keys?.[programme];
const enrolment = (programme) => known.wallet?.enrolments.find((e) => e.programme === programme);
const asMain = (claims) => byMain(known.main, claims, now());
const asHolder = (programme, claims) => byEnrolment(keyOf(programme), enrolment(programme).id, claims, now());

/** Consent to let a booking go, to move it, or to deny a use. */
const cancelling = (v) => asHolder(v.programme, { step: "cancel", audience: institution, voucher: v.voucher });

// ── what is said ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

function say(text, kind = "good") {
  const place = byId("said");
  place.replaceChildren(...(text ? [element("p", text, `notice ${kind}`)] : []));
  if (text) place.scrollIntoView({ block: "nearest" });
}

function sayFailure(error) {
  if (error instanceof Silent) {
    isSilent = true;
    tellAge();
    say(t("no-network"), "bad");
  } else if (error instanceof Refused) {
    say(error.problem.holder || error.problem.title || t("failed"), "bad");
  } else {
    say(t("failed"), "bad");
    throw error;
  }
}

/** Does something, and says what is in the way if it cannot be done; whether it was done. */
async function tried(button, work) {
  if (button) button.disabled = true;
  try {
    await work();
    return true;
  } catch (error) {
    sayFailure(error);
    return false;
  } finally {
    if (button) button.disabled = false;
  }
}

/** How old what is shown is. */
function tellAge() {
  const since = known.walletAt ? moment(known.walletAt) : "";
  for (const place of document.querySelectorAll(".as-of")) place.textContent = since && t("as-of", { time: since });
  byId("silent").hidden = !isSilent;
  byId("silent-since").textContent = since && t("known-since", { time: since });
}

/** Asks before what cannot be taken back. */
function isSure(what, why, yes) {
  const dialog = byId("sure");
  byId("sure-what").textContent = what;
  byId("sure-why").textContent = why;
  dialog.querySelector("[value=yes]").textContent = yes;
  dialog.returnValue = "no";
  dialog.showModal();
  byId("sure-what").focus();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

// ── what the node says ───────────────────────────────────────────────────────────────────────────────────────────────────────

let looking;
let next;

/** Looks at the wallet, and shows what is new. */
async function look() {
  clearTimeout(next);
  looking ??= fetchWallet().finally(() => { looking = undefined; });
  await looking;
  clearTimeout(next);
  if (known.main) next = setTimeout(look, screens[shown]?.isSoon?.() ? LOOK_SOON_MILLIS : LOOK_MILLIS);
}

async function fetchWallet() {
  if (!known.main || document.hidden) return;
  try {
    const wallet = await caller.get("/v1/wallet");
    const notices = await caller.get("/v1/wallet/notices?limit=200");
    isSilent = false;
    const before = JSON.stringify([known.wallet, known.notices]);
    Object.assign(known, { wallet, notices: notices.items, walletAt: now(), isUnknown: false });
    keep("wallet", wallet);
    keep("notices", notices.items);
    keep("walletAt", known.walletAt);
    if (before !== JSON.stringify([wallet, notices.items]) && !screens[shown]?.isBooking) show();
  } catch (error) {
    if (error instanceof Silent) isSilent = true;
    else if (error instanceof Refused && error.problem.code === "unauthenticated") {
      isSilent = false;
      // Not yet registered; or blocked, erased, replaced by another phone since.
      if (known.wallet && !known.isUnknown) {
        known.isUnknown = true;
        show();
      }
      if (!known.wallet) await announce().catch(() => {});
    } else if (!(error instanceof Refused)) throw error;
  }
  tellAge();
}

/** Makes a key for each programme that there is and that the phone has none for: for all at first, later for those opened since. */
async function makeKeys() {
  const { items } = await read("/v1/programmes");
  const [keys, programmes] = [{ ...known.keys }, { ...known.programmes }];
  for (const { policy } of items) {
    if (keys[policy.programme] || Object.keys(keys).length >= MAX_KEYS) continue;
    keys[policy.programme] = await make();
    programmes[policy.programme] = { title_zh: policy.title_zh, title_en: policy.title_en };
  }
  return { keys, programmes };
}

/** The look for new programmes that is under way: two at once would make two keys for one. */
let offering;

/** Whoever asks for a voucher stands at the desk, which adds what was opened since the registration: it must know the keys by then. */
function offerNewKeys() {
  offering ??= tellNewKeys().catch(() => {}).finally(() => { offering = undefined; });
}

async function tellNewKeys() {
  const { keys, programmes } = await makeKeys();
  if (Object.keys(keys).length > Object.keys(known.keys).length) {
    await Promise.all([keep("keys", keys), keep("programmes", programmes)]);
    Object.assign(known, { keys, programmes, announcedAt: undefined });
  }
  // Those without an enrolment are told again after a day at most: there the desk may add them another time.
  if (Object.keys(keys).some((programme) => !enrolment(programme))) await announce();
}

/** Tells the community which keys this phone has; repeated once it would be forgotten there. */
async function announce() {
  if (known.announcedAt && now() - known.announcedAt < ANNOUNCED_MILLIS) return;
  const keys = Object.entries(known.keys).map(([programme, key]) => [programme, spelled(key)]);
  const register = await asMain({ step: "register", key: known.main.public });
  const announcement = JSON.stringify({ main_key: register, enrolment_keys: Object.fromEntries(keys) });
  const signature = await caller.signature(known.community, "POST", "/v1/community/registrations", announcement);
  await caller.post("/v1/wallet/registrations", { community: known.community, announcement, signature });
  known.announcedAt = now();
  keep("announcedAt", known.announcedAt);
}

// ── vouchers in words ────────────────────────────────────────────────────────────────────────────────────────────────────────

const title = (v) => (language === "en" ? v.title_en : v.title_zh);
const OPEN = ["issued", "booking-requested", "booked", "in-use"];
const isOver = (v) => !OPEN.includes(v.stage) || v.next === "nothing";
/** What people call a department or a doctor; institutions are called by their id. */
const called = (id) => known.names?.[id] || id;
const programmeTitle = (id) => (known.programmes?.[id] ? title(known.programmes[id]) : id);

function fillState(place, v) {
  const word = place.querySelector(".word");
  word.textContent = language === "en" ? v.word.en : v.word.zh;
  word.className = `word ${isOver(v) ? "over" : v.next === "await-answer" ? "" : "good"}`;
  const days = Math.max(0, Math.ceil((Date.parse(v.valid_until) - now()) / DAY));
  const isCounting = ["issued", "booking-requested", "booked"].includes(v.stage) && days > 0;
  place.querySelector(".left").textContent = isCounting ? counted("days-left", days) : "";
}

/** What to do next, in a sentence. */
function nextStep(v) {
  const b = v.booking;
  if (v.moving_to) return t("next-moving", { time: moment(v.moving_to.start), place: called(v.moving_to.hospital) });
  switch (v.next) {
    case "book": return Date.parse(v.valid_from) > now() ? t("next-later", { time: date(v.valid_from) }) : t("next-book");
    case "await-answer": return t("next-await-answer", { time: moment(b.respond_by) });
    case "arrive":
      if (b.release_requested) return t("next-released");
      return t("next-arrive", { time: moment(b.slot?.start ?? b.use_from), place: called(b.hospital) });
    case "complete": return t("next-complete");
    case "await-settlement": return t("next-await-settlement");
    default: return t("next-nothing");
  }
}

const voucher = (id) => known.wallet?.vouchers.find((v) => v.voucher === id);

/** What has to be thought of in the next days: worked out here, so that it is said without a network too. */
function reminders() {
  const soon = [];
  for (const v of known.wallet?.vouchers ?? []) {
    const start = Date.parse(v.booking?.slot?.start ?? v.booking?.use_from);
    if (v.stage === "booked" && start - now() < DAY && start > now()) {
      soon.push({ v, what: t("notice-day-before", { time: moment(start), place: called(v.booking.hospital) }) });
    }
    const left = Math.ceil((Date.parse(v.valid_until) - now()) / DAY);
    if (v.stage === "issued" && left > 0 && left <= 14) soon.push({ v, what: counted("notice-expiring", left) });
  }
  return soon;
}

const noticeText = (n) => (has(`notice-${n.what}`) ? t(`notice-${n.what}`) : n.what);

// ── screens ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Goes to a screen. */
function go(path) {
  location.hash = `#/${path}`;
  show();
}

const screens = {
  unfit: { show() {} },

  first: {
    async show(section) {
      const select = section.querySelector("#community");
      if (select.options.length > 0) return;
      await tried(undefined, async () => {
        const members = await read("/v1/members");
        isSilent = false;
        const communities = members.items.filter((m) => m.roles.includes("community"));
        select.replaceChildren(...communities.map((m) => new Option(m.institution, m.institution)));
      });
    },
  },

  register: {
    isSoon: () => true,
    show(section) {
      byId("register-where").textContent = t("register-where", { place: known.community });
      return showCode(section, t("code-register"), t("code-register"), () => asMain({ step: "register", key: known.main.public }));
    },
  },

  home: {
    show(section) {
      byId("no-vouchers").hidden = known.wallet.vouchers.length > 0;
      const rows = [...known.wallet.vouchers].sort((a, b) => isOver(a) - isOver(b));
      byId("vouchers").replaceChildren(...rows.map((v) => {
        const row = copy("voucher");
        row.querySelector("a").href = `#/voucher/${v.voucher}`;
        row.querySelector(".title").textContent = title(v);
        fillState(row, v);
        row.querySelector(".next").textContent = nextStep(v);
        return row;
      }));
      if (live?.isHome) return undefined;
      const shown = showCode(section, t("code-identify"), t("code-identify"), () => asMain({ step: "identify" }));
      if (live) live.isHome = true;
      return shown;
    },
  },

  receive: {
    isSoon: () => true,
    show(section, programme) {
      if (!live) offerNewKeys();
      const open = known.wallet.enrolments.filter((e) => !e.blocked && keyOf(e.programme));
      const only = open.length === 1 ? open[0].programme : programme;
      const list = byId("programmes");
      byId("receive-which").hidden = Boolean(only);
      list.hidden = Boolean(only);
      list.replaceChildren(...open.map((e) => tap(programmeTitle(e.programme), () => go(`receive/${e.programme}`))));
      const chosen = open.find((e) => e.programme === only);
      if (!chosen) return hideCode();
      const had = known.wallet.vouchers.length;
      if (live?.had !== undefined && had > live.had) {
        go("");
        return say(t("received"));
      }
      if (live?.had === had) return undefined;
      const claims = { step: "receive", audience: chosen.community ?? known.community, programme: chosen.programme };
      const line = t("code-receive", { programme: programmeTitle(chosen.programme) });
      const shown = showCode(section, line, line, () => asHolder(chosen.programme, claims));
      live.had = had;
      return shown;
    },
  },

  voucher: {
    isSoon() {
      const v = voucher(parts()[1]);
      const isGoingOn = ["booking-requested", "in-use", "examined", "claimed"].includes(v?.stage);
      return isGoingOn || Boolean(v?.moving_to || v?.booking?.release_requested);
    },
    async show(section, id) {
      const v = voucher(id);
      if (!v) return go("");
      const part = (css) => section.querySelector(css);
      const act = (name, isOffered, path) => {
        const button = part(`[data-do=${name}]`);
        button.hidden = !isOffered;
        if (path) button.href = `#/${path}/${id}`;
      };
      part("h1").textContent = title(v);
      fillState(part(".state"), v);
      part(".next").textContent = nextStep(v);
      const b = v.booking;
      const slot = b?.slot;
      part(".appointment").hidden = !slot;
      if (slot) {
        part(".when").textContent = moment(slot.start);
        part(".where").textContent = `${called(slot.hospital)} · ${called(`${slot.hospital}/${slot.department}`)}`;
        part(".who").textContent = called(`${slot.hospital}/${slot.doctor}`);
      }
      const canLeave = ["booking-requested", "booked"].includes(v.stage) && !b?.release_requested;
      act("book", v.next === "book" && !v.moving_to && Date.parse(v.valid_from) <= now(), "book");
      act("visit", (v.stage === "booked" && canLeave) || v.stage === "in-use", "visit");
      act("move", canLeave && v.stage === "booked", "move");
      act("cancel", canLeave);
      for (const [state, holds] of Object.entries(v.states)) {
        part(`[data-state=${state}]`).textContent = t(holds ? "yes" : "no");
      }
      part(".until").textContent = date(Date.parse(v.valid_until) - 1);
      part(".issuer").textContent = v.issuing_department;
      part(".result").hidden = !v.result;
      part(".words").textContent = v.result?.text ?? "";
      const items = (v.result?.items ?? []).map((item) => element("li", `${item.code}: ${item.result ?? t(item.done ? "yes" : "no")}`));
      part(".items").replaceChildren(...items);
      const happened = (known.notices ?? []).filter((n) => n.voucher === id);
      part(".history").replaceChildren(...happened.map((n) => event(noticeText(n), n.at, n.record)));
      part(".denial").hidden = !["in-use", "examined", "claimed", "rejected", "redeemed"].includes(v.stage);
      tellAge();
      if (!v.token) return hideCode();
      if (live?.token === v.token) return undefined;
      const shown = showCode(section, t("code-voucher"), title(v), async () => v.token, false);
      live.token = v.token;
      return shown;
    },
  },

  book: { isBooking: true, show: (section, ...path) => choose(section, "book", path) },
  move: { isBooking: true, show: (section, ...path) => choose(section, "move", path) },

  visit: {
    isSoon: () => true,
    async show(section, id, step) {
      const v = voucher(id);
      if (!v) return go("");
      const part = (css) => section.querySelector(css);
      // That the examination took place is said once the holder presses so, never by itself.
      const name = { done: "complete", token: "token" }[step] ?? (v.stage === "in-use" ? "inside" : "arrive");
      const isThere = ["booked", "in-use"].includes(v.stage);
      const isEarly = v.stage === "booked" && Date.parse(v.booking.use_from) > now();
      part("h1").textContent = t(isThere ? `visit-${name}` : "visit-over");
      const what = isEarly ? t("visit-early", { time: moment(v.booking.use_from) }) : t(`visit-${name}-about`);
      part(".what").textContent = isThere ? what : nextStep(v);
      const offer = (button, isOffered) => { part(`[data-do=${button}]`).hidden = !isOffered; };
      offer("done", isThere && !isEarly && name !== "complete");
      offer("arrive", v.stage === "booked" && name !== "arrive");
      offer("token", v.stage === "booked" && !isEarly && name === "arrive" && v.token);
      if (!isThere || isEarly || name === "inside") return hideCode();
      if (live?.visit === name + v.stage) return undefined;
      const stage = v.stage;
      let shown;
      if (name === "token") {
        shown = showCode(section, t("code-voucher"), title(v), async () => v.token, false);
      } else {
        const line = t(`code-${name}`, { place: called(v.booking.hospital) });
        const claims = { step: name, audience: v.booking.hospital, voucher: id };
        shown = showCode(section, line, line, () => asHolder(v.programme, claims));
      }
      live.visit = name + stage;
      // Sent ahead, the hospital needs to read one code instead of two.
      if (stage === "booked" && !v.booking.presented) {
        v.booking.presented = true;
        caller.post("/v1/wallet/uses", { voucher: id }).catch(() => { v.booking.presented = false; });
      }
      return shown;
    },
  },

  notices: {
    show(section) {
      const soon = reminders().map(({ v, what }) => event(what, undefined, undefined, v));
      const told = (known.notices ?? []).map((n) => event(noticeText(n), n.at, undefined, voucher(n.voucher)));
      section.querySelector(".notices").replaceChildren(...soon, ...told);
      section.querySelector(".none").hidden = soon.length + told.length > 0;
    },
  },

  data: { show() {} },
  unknown: { show() {} },
};

/** Something that happened, or is to be thought of. */
function event(what, at, record, v) {
  const row = copy("event");
  row.querySelector(".what").textContent = what;
  row.querySelector(".when").textContent = at ? moment(at) : "";
  const about = row.querySelector(".about");
  about.hidden = !v;
  if (v) {
    const link = element("a", title(v));
    link.href = `#/voucher/${v.voucher}`;
    about.append(link);
  }
  const button = row.querySelector("button");
  button.hidden = !record;
  if (record) {
    button.textContent = t("keep-proof");
    button.setAttribute("aria-label", `${t("keep-proof")}: ${what}`);
    button.addEventListener("click", () => tried(button, () => keepProof(record)));
  }
  return row;
}

/** Saves the proof of a record as a file. */
async function keepProof(record) {
  const place = `${record.institution}.${record.index}`;
  const proof = await caller.text(`/v1/wallet/proofs/${place}`);
  const link = element("a", "");
  link.href = URL.createObjectURL(new Blob([proof], { type: "text/plain" }));
  link.download = `${place}.tlog-proof`;
  link.click();
  URL.revokeObjectURL(link.href);
  say(t("proof-kept"));
}

/** A large button in a list. */
function tap(text, pressed) {
  const row = element("li", "");
  const button = element("button", text);
  button.addEventListener("click", () => pressed(button));
  row.append(button);
  return row;
}

// ── booking, in four taps ────────────────────────────────────────────────────────────────────────────────────────────────────

/** What is free for a voucher, and when it was asked. */
let offers = { at: 0 };

/** Most offers in one answer. A list that was cut says too little of one hospital: then that one is asked alone. */
const MAX_OFFERS = 1000;

/** Whether what is free is known already. */
function isKnown(v, hospital) {
  const isFresh = offers.voucher === v.voucher && now() - offers.at < 60_000;
  if (!isFresh || (offers.hospital && offers.hospital !== hospital)) return false;
  return !hospital || offers.hospital === hospital || offers.items.length < MAX_OFFERS;
}

async function ask(v, hospital) {
  const at = hospital ? `&hospital=${hospital}` : "";
  const { items, silent } = await caller.get(`/v1/wallet/slots?voucher=${v.voucher}&limit=${MAX_OFFERS}${at}`);
  offers = { at: now(), voucher: v.voucher, hospital, items, silent };
  known.names ??= {};
  for (const o of items) {
    known.names[`${o.hospital}/${o.department}`] = o.department_name || o.department;
    known.names[`${o.hospital}/${o.doctor}`] = o.doctor_name || o.doctor;
  }
  keep("names", known.names);
}

async function choose(section, way, [id, hospital, department, doctor]) {
  hideCode();
  const v = voucher(id);
  if (!v) return go("");
  const part = (css) => section.querySelector(css);
  const choice = part(".choice");
  const step = doctor ? "time" : department ? "doctor" : hospital ? "department" : "hospital";
  part("h1").textContent = t(`choose-${step}`);
  part(".back").href = `#/${doctor || department || hospital ? [way, id, hospital, department].slice(0, doctor ? 4 : department ? 3 : 2).join("/") : `voucher/${id}`}`;
  const so = [hospital && called(hospital), department && called(`${hospital}/${department}`), doctor && called(`${hospital}/${doctor}`)];
  part(".chosen").textContent = so.filter(Boolean).join(" · ");
  part(".none").hidden = true;
  part(".others").hidden = true;
  let isThere = true;
  if (!isKnown(v, hospital)) {
    choice.replaceChildren(element("p", t("asking"), "hint"));
    isThere = await tried(undefined, () => ask(v, hospital));
  }
  if (parts().join() !== [way, id, hospital, department, doctor].filter(Boolean).join()) return undefined;
  if (!isThere) return choice.replaceChildren();
  const left = offers.items.filter((o) => (!hospital || o.hospital === hospital) && (!department || o.department === department) && (!doctor || o.doctor === doctor));
  part(".none").hidden = left.length > 0;
  const silent = offers.silent?.join(", ");
  part(".others").hidden = !silent;
  part(".others").textContent = silent ? t("silent-hospitals", { places: silent }) : "";
  if (step === "time") return choice.replaceChildren(...times(v, way, left));
  const list = element("ul", "", "taps");
  const path = [way, id, hospital, department].filter(Boolean).join("/");
  const ids = [...new Set(left.map((o) => o[step]))];
  list.append(...ids.map((one) => tap(step === "hospital" ? called(one) : called(`${hospital}/${one}`), () => go(`${path}/${one}`))));
  return choice.replaceChildren(list);
}

/** The free times of a doctor, by day. */
function times(v, way, free) {
  const days = new Map();
  for (const o of free) {
    const key = day(o.start);
    if (!days.has(key)) days.set(key, []);
    days.get(key).push(o);
  }
  return [...days].flatMap(([name, all]) => {
    const list = element("ul", "", "times");
    list.append(...all.map((o) => {
      const row = tap(clock(o.start), (button) => take(button, v, way, o));
      row.firstElementChild.setAttribute("aria-label", `${name} ${clock(o.start)}`);
      return row;
    }));
    return [element("h2", name), list];
  });
}

async function take(button, v, way, { hospital, department, doctor, start }) {
  const place = { hospital, department, doctor, start };
  const isDone = await tried(button, async () => {
    if (way === "move") await caller.post(`/v1/wallet/bookings/${v.voucher}/move`, { qr: await cancelling(v), ...place });
    else await caller.post("/v1/wallet/bookings", { voucher: v.voucher, ...place });
  });
  offers = { at: 0 };
  // What was free a minute ago may be too near, or taken: then what is free now is shown under the reason.
  if (!isDone) return isSilent ? undefined : show();
  go(`voucher/${v.voucher}`);
  say(t(way === "move" ? "moving" : "asked", { time: moment(start), place: called(hospital) }));
  return look();
}

// ── which screen ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** The name of the screen on show. */
let shown = "";
/** The address of the screen on show. */
let where = "";

const parts = () => location.hash.replace(/^#\//, "").split("/").map(decodeURIComponent).filter(Boolean);

/** Shows what the address names, or what has to come first. */
async function show() {
  const [name = "home", ...path] = parts();
  let screen = screens[name] ? name : "home";
  if (!known.main) screen = "first";
  else if (known.isUnknown) screen = "unknown";
  else if (!known.wallet) screen = "register";
  else if (["first", "register", "unknown", "unfit"].includes(screen)) screen = "home";
  const isOther = where !== location.hash || screen !== shown;
  if (isOther) {
    hideCode();
    if (shown) say("");
  }
  const isFirst = !shown;
  where = location.hash;
  shown = screen;
  const section = byId(`screen-${screens[screen].isBooking ? "book" : screen}`);
  document.querySelectorAll("#terminal > section").forEach((other) => { other.hidden = other !== section; });
  tellAge();
  await screens[screen].show(section, ...path);
  if (isOther && !isFirst) {
    section.querySelector("h1").focus({ preventScroll: true });
    window.scrollTo(0, 0);
  }
}

// ── buttons ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────

byId("first").addEventListener("submit", async (event) => {
  event.preventDefault();
  await tried(byId("begin"), async () => {
    const { keys, programmes } = await makeKeys();
    const main = await make();
    const community = byId("community").value;
    Object.assign(known, { main, keys, community, programmes });
    caller = new Caller(institution, main, language);
    await announce();
    await Promise.all([keep("keys", keys), keep("community", community), keep("programmes", programmes)]);
    await keep("main", main);
    // A browser that is short of room shall not throw the keys away.
    navigator.storage?.persist?.().catch(() => {});
  }).then((isDone) => { if (!isDone) known.main = undefined; });
  show();
  look();
});

byId("other-community").addEventListener("click", async () => {
  await forgetAll();
  known = {};
  go("");
});

byId("screen-voucher").addEventListener("click", async ({ target }) => {
  const v = voucher(parts()[1]);
  const about = { voucher: v?.voucher };
  const name = title(v);
  switch (target.dataset?.do) {
    case "check":
      await tried(target, async () => {
        await caller.post("/v1/wallet/checks", about);
        await look();
        say(t("checked", { time: clock(now()) }));
      });
      break;
    case "cancel":
      if (!(await isSure(t("cancel-sure"), name, t("cancel-yes")))) break;
      await tried(target, async () => {
        await caller.post(`/v1/wallet/bookings/${v.voucher}/cancellation`, { qr: await cancelling(v) });
        await look();
        say(t("cancelled"));
      });
      break;
    case "deny":
      if (!(await isSure(t("deny-sure"), t("deny-why"), t("deny-yes")))) break;
      await tried(target, async () => {
        await caller.post("/v1/wallet/disputes", { ...about, qr: await cancelling(v) });
        say(t("denied"));
      });
      break;
    default:
  }
});

byId("screen-visit").addEventListener("click", ({ target }) => {
  const step = target.dataset?.do;
  if (step) go(`visit/${parts()[1]}${step === "arrive" ? "" : `/${step}`}`);
});

byId("profile").addEventListener("submit", async (event) => {
  event.preventDefault();
  await tried(event.submitter, async () => {
    const tokens = known.wallet.vouchers.map((v) => v.token).filter(Boolean);
    const given = {
      phone: byId("phone").value.trim() || null,
      document_type: byId("document-type").value,
      document_number: byId("document-number").value.trim(),
      tokens,
    };
    const answer = await caller.send("PUT", "/v1/wallet/profile", given);
    say(counted("profile-given", answer.result?.count ?? tokens.length));
  });
});

async function erase(button, everywhere) {
  if (!(await isSure(t("erase-sure"), t(everywhere ? "erase-everywhere-why" : "erase-here-why"), t("erase-yes")))) return;
  await tried(button, async () => {
    await caller.post("/v1/wallet/erasure", { everywhere });
    await forgetAll();
    known = {};
    go("");
    say(t("erased"));
  });
}

byId("erase-here").addEventListener("click", ({ target }) => erase(target, false));
byId("erase-everywhere").addEventListener("click", ({ target }) => erase(target, true));
byId("anew").addEventListener("click", async () => {
  await forgetAll();
  known = {};
  show();
});

// The other language: told to the worker, which shows the page of it from the phone.
for (const link of document.querySelectorAll(".languages a")) {
  link.addEventListener("click", async (event) => {
    event.preventDefault();
    await chosen(link.lang);
    if (isSilent || !navigator.onLine) location.reload();
    else location.assign(link.getAttribute("href") + location.hash);
  });
}

async function chosen(tag) {
  const cache = await caches.open("terminal-language");
  await cache.put("/terminal/language", new Response(tag));
}

window.addEventListener("hashchange", () => {
  // What was gone to here is shown already: drawn again it would go away under a finger.
  if (location.hash !== where) show();
});
document.addEventListener("visibilitychange", () => {
  if (document.hidden || !known.main) return;
  live?.again();
  look();
});
window.addEventListener("online", look);
window.addEventListener("offline", () => { isSilent = true; tellAge(); });

// ── the beginning ────────────────────────────────────────────────────────────────────────────────────────────────────────────

async function begin() {
  if (!window.isSecureContext || !window.crypto?.subtle || !window.indexedDB) {
    byId("screen-unfit").hidden = false;
    return;
  }
  known = await load("main", "keys", "community", "announcedAt", "wallet", "walletAt", "notices", "names", "programmes", "ahead");
  setAhead(known.ahead);
  if (known.main) caller = new Caller(institution, known.main, language);
  await show();
  look();
  if ("serviceWorker" in navigator) {
    await chosen(language);
    navigator.serviceWorker.register("/terminal/worker.js", { scope: "/terminal" }).catch(() => {});
  }
}

begin();
