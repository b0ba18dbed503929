// The page's texts, times and elements for scripts: what people read stands in the page, in its language, and none of it here.

const texts = new Map();
for (const entry of document.getElementById("texts").content.querySelectorAll("[data-t]")) {
  texts.set(entry.dataset.t, entry.textContent);
}

export const language = document.documentElement.lang;

const plural = new Intl.PluralRules(language);

/** A text; each `{name}` in it becomes what is given. */
export function t(key, given = {}) {
  const text = texts.get(key) ?? "";
  return Object.entries(given).reduce((said, [name, value]) => said.replaceAll(`{${name}}`, value), text);
}

/** Whether there is such a text. */
export const has = (key) => texts.has(key);

/** A text that counts: `key-one` where the language says one. */
export function counted(key, n) {
  const one = `${key}-one`;
  return t(plural.select(n) === "one" && texts.has(one) ? one : key, { n });
}

/** The federation's offset from UTC, in milliseconds: opening hours are local, wherever the phone is. */
const OFFSET = Number(document.getElementById("terminal").dataset.offsetMinutes) * 60_000;

const format = (options) => {
  const made = new Intl.DateTimeFormat(language, { ...options, timeZone: "UTC", hourCycle: "h23" });
  return (time) => made.format(new Date(new Date(time).getTime() + OFFSET));
};

export const clock = format({ hour: "2-digit", minute: "2-digit" });
export const day = format({ weekday: "long", month: "long", day: "numeric" });
export const date = format({ year: "numeric", month: "long", day: "numeric" });
export const moment = format({ month: "long", day: "numeric", weekday: "short", hour: "2-digit", minute: "2-digit" });

/** An element of the page by its id. */
export const byId = (id) => document.getElementById(id);

/** A copy of what a template of the page holds. */
export const copy = (id) => byId(id).content.firstElementChild.cloneNode(true);

/** An element with a text. */
export function element(name, text, classes = "") {
  const made = document.createElement(name);
  made.textContent = text;
  made.className = classes;
  return made;
}
