// A QR code on the screen: black on white, level M, an integer number of dots to a module, as wide as there is room.

import qrcode from "../vendor/qrcode-generator.mjs";

/** Width of the white edge, in modules (ISO/IEC 18004). */
const QUIET = 4;

/** Widest code, in points: larger than a phone is wide, and held at arm's length. */
const WIDEST = 480;

/** Draws a text of digits, capitals and ` $%*+-./:` on a canvas. */
export function draw(canvas, text) {
  const code = qrcode(0, "M");
  code.addData(text, "Alphanumeric");
  code.make();
  const count = code.getModuleCount();
  const side = count + 2 * QUIET;
  const dense = window.devicePixelRatio || 1;
  const whole = canvas.parentElement.clientWidth;
  const room = Math.floor(Math.min(whole, WIDEST) * dense);
  const dots = Math.max(2, Math.floor(room / side));
  canvas.width = side * dots;
  canvas.height = side * dots;
  canvas.style.width = `${(side * dots) / dense}px`;
  // It begins at a whole dot too: halves would be mixed to grey.
  canvas.style.marginLeft = `${Math.floor((whole * dense - side * dots) / 2) / dense}px`;
  const paint = canvas.getContext("2d");
  paint.fillStyle = "#fff";
  paint.fillRect(0, 0, canvas.width, canvas.height);
  paint.fillStyle = "#000";
  for (let row = 0; row < count; row += 1) {
    for (let column = 0; column < count; column += 1) {
      if (code.isDark(row, column)) paint.fillRect((column + QUIET) * dots, (row + QUIET) * dots, dots, dots);
    }
  }
}
