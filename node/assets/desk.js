// Printing, and what a desk does while its own node does not answer: the page that is open says so, and what to write on paper.
// A form is not sent into nothing: what was typed stays.

const EVERY_MILLIS = 5000;
const PATIENCE_MILLIS = 3000;

for (const button of document.querySelectorAll("[data-print]")) {
  button.hidden = false;
  button.addEventListener("click", () => window.print());
}

const down = document.querySelector("[data-node-down]");
const since = document.querySelector("[data-node-down-since]");

async function answers() {
  try {
    const answer = await fetch("/healthz", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MILLIS) });
    return answer.ok;
  } catch {
    return false;
  }
}

function show(isUp) {
  if (!down || down.hidden === isUp) return;
  if (!isUp) since.textContent = new Date().toLocaleTimeString(document.documentElement.lang, { hour: "2-digit", minute: "2-digit" });
  down.hidden = isUp;
}

if (down) {
  setInterval(async () => show(await answers()), EVERY_MILLIS);
  const sure = new WeakSet();
  document.addEventListener("submit", async (event) => {
    const { target: form, submitter } = event;
    if (sure.has(form)) return;
    event.preventDefault();
    const isUp = await answers();
    show(isUp);
    if (!isUp) {
      down.scrollIntoView();
      return;
    }
    sure.add(form);
    form.requestSubmit(submitter ?? undefined);
    sure.delete(form);
  });
}

// What came of a scan is what must be seen: the verdict, or who it is. The field for the next scan takes the focus, and on a small screen or at the foot of a long form
// that scrolls it away: it is brought back, and the focus stays where codes are typed.
const came = document.querySelector(".verdict, main .notice.good, .person h2, #new-phone, #listed");
if (came) {
  const show = () => came.scrollIntoView({ block: "nearest" });
  show();
  const field = document.querySelector("[autofocus]");
  field?.addEventListener("focus", () => requestAnimationFrame(show), { once: true });
}
