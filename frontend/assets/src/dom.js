/* What several elements need of the page. */

/** Is the person writing somewhere, so that single keys are letters? A field of a dialog that was just closed has the focus for a moment more. */
export function writing(target) {
  return target instanceof Element && target.closest("input, textarea, select, [contenteditable]") !== null && target.checkVisibility();
}

/** Announce politely, at most once in ten seconds: the last thing said in between wins. */
let said = 0;
let waiting = null;
export function announce(text) {
  const box = document.getElementById("announce");
  if (!box) return;
  clearTimeout(waiting);
  waiting = setTimeout(() => {
    said = Date.now();
    box.textContent = text;
  }, Math.max(0, said + 10_000 - Date.now()));
}

/** While this is waited for, the link or button that asked says so. */
export async function busy(asker, promise) {
  asker?.setAttribute("aria-busy", "true");
  try {
    return await promise;
  } finally {
    asker?.removeAttribute("aria-busy");
  }
}

/** The icon of the sprite as an element. */
export function icon(name, size = "s14") {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", `ico ${size}`);
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `${document.documentElement.dataset.icons}#i-${name}`);
  svg.append(use);
  return svg;
}
