// How far something is: asks for the page anew each second, and shows its part `#progress`, until it is over.

const EVERY_MILLIS = 1000;

async function look() {
  try {
    const answer = await fetch(location.href, { headers: { accept: "text/html" } });
    if (answer.ok) {
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const now = page.querySelector("#progress");
      // Signed out meanwhile, there is none: the link of the page leads on.
      if (!now) return;
      document.querySelector("#progress").replaceWith(now);
    }
  } catch {
    // The node cannot be reached just now: asked again below.
  }
  wait();
}

function wait() {
  if (document.querySelector("#progress[data-runs]")) setTimeout(look, EVERY_MILLIS);
}

wait();
