/* Single keys, outside fields and terminals. Elements say with data-key what key is theirs; the sidebar's lines answer to "g". */
import { writing } from "./dom.js";

const GO_WITHIN = 1200;
let going = 0;

const off = () => document.body.dataset.keys === "off";
const busy = (event) =>
  event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || writing(event.target) || event.target.closest?.(".xterm, [data-terminal]") || document.querySelector("dialog[open], :popover-open");

function rows() {
  return [...document.querySelectorAll(".tbl.page tbody tr")].filter((row) => row.querySelector("a.nm"));
}

/* The row itself is kept: a live update that morphs it takes the mark away. */
let at = null;
const here = () => (at?.isConnected ? at : null);
document.addEventListener("mist:live", () => here()?.setAttribute("data-here", ""));

function move(step) {
  const all = rows();
  if (!all.length) return;
  const now = all.indexOf(here());
  const to = all[Math.max(0, Math.min(all.length - 1, now < 0 ? (step > 0 ? 0 : all.length - 1) : now + step))];
  here()?.removeAttribute("data-here");
  at = to;
  to.setAttribute("data-here", "");
  to.querySelector("a.nm").focus({ preventScroll: true });
  to.scrollIntoView({ block: "nearest" });
}

function press(element) {
  if (!element || element.disabled || element.getAttribute("aria-disabled") === "true") return false;
  element.click();
  return true;
}

const acts = {
  j: () => move(1),
  k: () => move(-1),
  x: (event) => here()?.querySelector("input[type=checkbox][value]")?.dispatchEvent(new window.MouseEvent("click", { bubbles: true, cancelable: true, shiftKey: event.shiftKey })),
  ".": () => press(here()?.querySelector("[data-menu], [popovertarget]")),
  o: () => press(here()?.querySelector("a.nm")),
  l: () => press(document.querySelector("mist-live")),
  "?": () => window.mistOpenDialog(document.body.dataset.shortcuts, document.activeElement),
};

document.addEventListener("keydown", (event) => {
  if (off() || busy(event)) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (going && Date.now() - going < GO_WITHIN) {
    going = 0;
    const link = document.querySelector(`.nav a[data-go="${window.CSS.escape(key)}"]`);
    if (link) {
      event.preventDefault();
      location.assign(link.href);
    }
    return;
  }
  if (key === "g" && !event.shiftKey) {
    going = Date.now();
    return;
  }
  const own = /^[a-z]$/.test(key) && !event.shiftKey ? document.querySelector(`[data-key="${key}"]`) : null;
  if (own ? press(own) : acts[key] && (acts[key](event), true)) event.preventDefault();
});

document.addEventListener("keydown", (event) => {
  if ((event.key === "ArrowDown" || event.key === "ArrowUp") && !off() && !busy(event) && here() && here().contains(document.activeElement)) {
    event.preventDefault();
    move(event.key === "ArrowDown" ? 1 : -1);
  }
});
