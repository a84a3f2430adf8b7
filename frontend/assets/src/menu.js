/* Popovers stand by the button that opened them; arrows move in menus; an open one freezes the live row it belongs to. */
import { busy } from "./dom.js";
import { unanswered } from "./toast.js";

let invoker = null;
document.addEventListener("click", (event) => {
  const button = event.target.closest?.("[popovertarget]:not(#ask *), a[data-menu], [data-dialog]:not(.pop *)");
  if (button) invoker = button;
}, true);

function place(pop, anchor) {
  const at = anchor.getBoundingClientRect();
  const width = pop.offsetWidth;
  const height = pop.offsetHeight;
  const gap = 5;
  let left = anchor.closest(".act, .mla, td:last-child, .tools-r") ? at.right - width : at.left;
  left = Math.max(8, Math.min(left, innerWidth - width - 8));
  let top = at.bottom + gap;
  if (top + height > innerHeight - 8) top = at.top - height - gap > 8 ? at.top - height - gap : Math.max(8, innerHeight - height - 8);
  pop.style.left = `${left}px`;
  pop.style.top = `${top}px`;
}

/** Show this markup in a popover beside what asked for it; asked from a menu, beside the menu's button. */
export function showAt(pop, html, anchor) {
  if (!anchor.closest(".pop")) invoker = anchor;
  anchor.closest("[popover]")?.hidePopover();
  pop.innerHTML = html;
  window.htmx.process(pop);
  if (pop.matches(":popover-open")) pop.hidePopover();
  pop.showPopover();
}

/** No menu is open any more: what changed under one meanwhile is asked for (live.js). */
export function thaw() {
  const frozen = [...document.querySelectorAll("[data-live][hx-morph-skip]")];
  for (const one of frozen) one.removeAttribute("hx-morph-skip");
  if (frozen.length) document.dispatchEvent(new CustomEvent("mist:thawed", { detail: frozen }));
}

document.addEventListener("toggle", (event) => {
  const pop = event.target;
  if (!(pop instanceof HTMLElement) || !pop.matches("[popover]")) return;
  const open = event.newState === "open";
  if (!open) return thaw();
  (invoker ?? pop).closest?.("[data-live]")?.setAttribute("hx-morph-skip", "");
  if (pop.matches(".pop") && invoker) place(pop, invoker);
  pop.querySelector("[autofocus], input:not([type=hidden]), .it:not([aria-disabled=true])")?.focus();
}, true);

document.addEventListener("keydown", (event) => {
  const item = event.target.closest?.(".pop .it");
  if (!item || !["ArrowDown", "ArrowUp", "Home", "End"].includes(event.key)) return;
  event.preventDefault();
  const items = [...item.closest(".pop").querySelectorAll(".it")];
  const here = items.indexOf(item);
  const to = { ArrowDown: here + 1, ArrowUp: here - 1, Home: 0, End: items.length - 1 }[event.key];
  items[(to + items.length) % items.length].focus();
});

/* A row's menu is fetched when asked for: 50 menus nobody opens would be half of the page. */
document.addEventListener("click", async (event) => {
  const link = event.target.closest?.("a[data-menu]");
  const pop = document.getElementById("row-menu");
  if (!link || !pop || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  const answer = await busy(link, fetch(link.dataset.menu, { headers: { "HX-Request": "true", "HX-Dialog": "1" }, credentials: "same-origin" })).catch(() => null);
  if (answer?.status === 401) return location.assign(link.href);
  if (!answer?.ok) return unanswered(answer);
  showAt(pop, await answer.text(), link);
});

/* On narrow screens the sidebar slides in; its links close it by leaving. */
document.addEventListener("click", (event) => {
  const side = document.getElementById("side");
  if (!side) return;
  if (event.target.closest?.(".menu-open")) {
    event.preventDefault();
    side.classList.toggle("open");
    side.querySelector("a, button")?.focus();
  } else if (side.classList.contains("open") && !event.target.closest?.("#side, [popover]")) side.classList.remove("open");
});
document.addEventListener("keydown", (event) => event.key === "Escape" && document.getElementById("side")?.classList.remove("open"));
