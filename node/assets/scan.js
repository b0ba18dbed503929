// Reads codes into a form's field beside what a hand scanner types: from the camera, a chosen photo, one that is dropped or pasted.
// The browser's own reader is used where there is one, else the node's (/v1/qr/decode). What was read is sent like typed text.

const FRAME_MILLIS = 300;
const MAX_SIDE = 1600;
const JPEG_QUALITY = 0.85;

// A code of ours; what else a camera sees is left alone.
const OURS = /^(VP1|VQ1|VC1):/;

async function reader() {
  if (!("BarcodeDetector" in window)) return null;
  try {
    const formats = await window.BarcodeDetector.getSupportedFormats();
    return formats.includes("qr_code") ? new window.BarcodeDetector({ formats: ["qr_code"] }) : null;
  } catch {
    return null;
  }
}

const reading = reader();

// The picture of an image or video, no larger than is needed, as a file for the node.
function picture(source, width, height) {
  const scale = Math.min(1, MAX_SIDE / Math.max(width, height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  canvas.getContext("2d").drawImage(source, 0, 0, canvas.width, canvas.height);
  return new Promise((done) => canvas.toBlob(done, "image/jpeg", JPEG_QUALITY));
}

// The texts in a picture; none if there are none. Throws if nobody can say.
async function decode(file) {
  const token = document.querySelector("meta[name=csrf-token]")?.content ?? "";
  const headers = { "Content-Type": file.type, "X-CSRF-Token": token, Accept: "application/json" };
  const answer = await fetch("/v1/qr/decode", { method: "POST", headers, body: file });
  if (answer.status === 422) return [];
  if (!answer.ok) throw new Error(`decode: ${answer.status}`);
  return (await answer.json()).texts;
}

async function texts(source, width, height, file) {
  const own = await reading;
  if (own) {
    const found = await own.detect(source).catch(() => []);
    if (found.length > 0) return found.map((code) => code.rawValue);
  }
  return decode(file ?? (await picture(source, width, height)));
}

class Scanner {
  constructor(form) {
    this.form = form;
    this.field = form.querySelector("[name=scan]");
    this.said = form.querySelector("[data-scan-said]");
    this.video = form.querySelector("[data-scan-video]");
    this.button = form.querySelector("[data-scan-camera]");
    this.stream = null;
    const file = form.querySelector("[data-scan-file]");
    form.querySelector("[data-scan-more]").hidden = false;
    this.button.hidden = !navigator.mediaDevices?.getUserMedia;
    this.button.addEventListener("click", () => (this.stream ? this.stop() : this.start()));
    file.addEventListener("change", () => this.photo(file.files[0]));
    form.addEventListener("dragover", (event) => event.preventDefault());
    form.addEventListener("drop", (event) => {
      event.preventDefault();
      this.photo(event.dataTransfer.files[0]);
    });
    form.addEventListener("paste", (event) => {
      const file = event.clipboardData.files[0];
      if (file) this.photo(file);
    });
    window.addEventListener("pagehide", () => this.stop());
  }

  say(what) {
    this.said.textContent = what ? this.form.dataset[`says${what}`] : "";
  }

  // Sends what was read, as if it had been typed.
  take(found) {
    const ours = found.filter((text) => OURS.test(text));
    const [first, second] = ours.length > 0 ? ours : found;
    if (first === undefined) return false;
    this.stop();
    this.field.value = first;
    if (second !== undefined) {
      const also = document.createElement("input");
      Object.assign(also, { type: "hidden", name: "also", value: second });
      this.form.append(also);
    }
    this.say("");
    this.form.requestSubmit();
    return true;
  }

  async photo(file) {
    if (!file) return;
    this.say("Looking");
    try {
      const bitmap = await createImageBitmap(file);
      const found = await texts(bitmap, bitmap.width, bitmap.height, file.size <= 2_000_000 ? file : null);
      if (!this.take(found)) this.say("None");
    } catch (error) {
      this.say(String(error).includes("decode") ? "Busy" : "None");
    }
  }

  async start() {
    try {
      const video = { facingMode: "environment", width: { ideal: 1280 } };
      this.stream = await navigator.mediaDevices.getUserMedia({ video, audio: false });
    } catch {
      this.say("Camera");
      return;
    }
    this.video.srcObject = this.stream;
    this.video.hidden = false;
    this.button.setAttribute("aria-pressed", "true");
    this.say("Looking");
    await this.video.play();
    while (this.stream) {
      const { videoWidth: width, videoHeight: height } = this.video;
      if (width > 0) {
        // A frame that nobody could look at is followed by the next.
        const found = await texts(this.video, width, height).catch(() => []);
        if (!this.stream || this.take(found.filter((text) => OURS.test(text)))) return;
      }
      await new Promise((go) => setTimeout(go, FRAME_MILLIS));
    }
  }

  stop() {
    this.stream?.getTracks().forEach((track) => track.stop());
    this.stream = null;
    this.video.hidden = true;
    this.button.setAttribute("aria-pressed", "false");
  }
}

for (const form of document.querySelectorAll("form[data-scan]")) new Scanner(form);
