/* Single keys, outside fields and terminals. Elements say with data-key which key, as shipped, is theirs; the sidebar's lines answer
   to "g". The page says in data-keys which keys its person has moved ({as shipped: as chosen}) or switched off (""). */
import { writing } from "./dom.js";

const GO_WITHIN = 1200;
const moved = JSON.parse(document.body.dataset.keys ?? "{}");
let going = 0;

/* What a pressed key means, as shipped. */
function meaning(pressed) {
  for (const [key, own] of Object.entries(moved)) if (own && own === pressed) return key;
  return pressed in moved ? "" : pressed;
}

const isOpen = () => document.querySelector(":popover-open");
const busy = (event) =>
  event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || writing(event.target) || event.target.closest?.(".xterm, [data-terminal]") || document.querySelector("dialog[open]");

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
  if (element instanceof HTMLInputElement && element.type !== "checkbox") {
    element.focus();
    element.select();
  } else element.click();
  return true;
}

/* What a machine's page does with a key the marked row does too: its menu knows. What the menu lacks, it says why when it opens. */
async function ofRow(key) {
  const row = here();
  const link = row?.querySelector("a[data-menu]");
  if (!link) return;
  const answer = await fetch(link.dataset.menu, { headers: { "HX-Request": "true" }, credentials: "same-origin" }).catch(() => null);
  if (!answer?.ok) return;
  const menu = document.createElement("template");
  menu.innerHTML = await answer.text();
  const item = menu.content.querySelector(`[data-key="${key}"]`);
  if (!item) press(link);
  else if (item.matches("[data-dialog]")) window.mistOpenDialog(item.getAttribute("href"), row.querySelector("a.nm"));
  else location.assign(item.getAttribute("href"));
}

/* "z" undoes the last thing: the newest Undo there is, of a note, the drawer or the page. */
function undo() {
  const undos = [...document.querySelectorAll("[data-undo]")].filter((one) => one.checkVisibility());
  press(undos.filter((one) => one.closest("#toasts")).at(-1) ?? undos[0]);
}

const acts = {
  j: () => move(1),
  k: () => move(-1),
  x: (event) => here()?.querySelector("input[type=checkbox][value]")?.dispatchEvent(new window.MouseEvent("click", { bubbles: true, cancelable: true, shiftKey: event.shiftKey })),
  ".": () => press(here()?.querySelector("[data-menu], [popovertarget]")),
  o: () => press(here()?.querySelector("a.nm")),
  s: () => ofRow("s"),
  r: () => ofRow("r"),
  e: () => ofRow("e"),
  l: () => press(document.querySelector("mist-live")),
  z: undo,
  "[": () => document.dispatchEvent(new CustomEvent("mist:neighbour", { detail: -1 })),
  "]": () => document.dispatchEvent(new CustomEvent("mist:neighbour", { detail: 1 })),
  "?": () => window.mistOpenDialog(document.body.dataset.shortcuts, document.activeElement),
};

document.addEventListener("keydown", (event) => {
  if (busy(event)) return;
  const pressed = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (going && Date.now() - going < GO_WITHIN) {
    going = 0;
    const link = document.querySelector(`.nav a[data-go="${window.CSS.escape(pressed)}"]`);
    if (link) {
      event.preventDefault();
      location.assign(link.href);
    }
    return;
  }
  const key = meaning(pressed);
  if (!key) return;
  const pop = isOpen();
  if (pop) {
    /* an open menu answers to the keys it shows; everything else waits, but for what undoes */
    const item = pop.querySelector(`[data-key="${window.CSS.escape(key)}"]`);
    if (item ? press(item) : key === "z" && (undo(), true)) event.preventDefault();
    return;
  }
  if (key === "g" && !event.shiftKey) {
    going = Date.now();
    return;
  }
  const own = /^[a-z/]$/.test(key) && !event.shiftKey ? document.querySelector(`[data-key="${key}"]:not(#row-menu *)`) : null;
  if (own ? press(own) : acts[key] && (acts[key](event), true)) event.preventDefault();
});

document.addEventListener("keydown", (event) => {
  if ((event.key === "ArrowDown" || event.key === "ArrowUp") && !busy(event) && !isOpen() && here() && here().contains(document.activeElement)) {
    event.preventDefault();
    move(event.key === "ArrowDown" ? 1 : -1);
  }
});
