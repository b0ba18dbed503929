// What somebody brings to have it checked: a file or picture, chosen or dropped anywhere, becomes the text of the form.

const MAX_TEXT_BYTES = 64 * 1024;
const form = document.querySelector("#check");
const text = form.querySelector("#text");
const file = form.querySelector("#file");
const noCode = form.querySelector("#no-code");

// The node reads the code in a picture.
async function textOfPicture(picture) {
  const token = document.querySelector("meta[name=csrf-token]")?.content ?? "";
  const headers = { "content-type": picture.type, "x-csrf-token": token };
  const answer = await fetch("/v1/qr/decode", { method: "POST", headers, body: picture });
  if (!answer.ok) return "";
  return (await answer.json()).texts[0] ?? "";
}

async function take(brought) {
  noCode.hidden = true;
  let read = "";
  try {
    if (brought.type.startsWith("image/")) read = await textOfPicture(brought);
    else if (brought.size <= MAX_TEXT_BYTES) read = await brought.text();
  } catch {
    // Said below: there is nothing to check.
  }
  noCode.hidden = read !== "";
  if (read === "") return;
  text.value = read;
  form.requestSubmit();
}

form.querySelector("#file-field").hidden = false;
file.addEventListener("change", () => { if (file.files[0]) take(file.files[0]); });
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  const brought = event.dataTransfer.files[0];
  const entry = event.dataTransfer.items[0]?.webkitGetAsEntry();
  if (entry?.isDirectory) form.dispatchEvent(new CustomEvent("folder", { detail: entry }));
  else if (brought) take(brought);
  else {
    text.value = event.dataTransfer.getData("text");
    if (text.value) form.requestSubmit();
  }
});
