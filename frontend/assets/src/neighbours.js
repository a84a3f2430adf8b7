/* "[" and "]" on a detail page go to the previous and next of the list one came from: the list leaves its links behind for this tab. */
import { writing } from "./dom.js";

const KEY = "list";
const MOST = 200;

window.addEventListener("pagehide", () => {
  const links = [...document.querySelectorAll(".tbl a.nm[href]")].slice(0, MOST).map((link) => link.getAttribute("href"));
  if (document.querySelector("mist-rows") && links.length) sessionStorage.setItem(KEY, JSON.stringify({ url: location.pathname + location.search, links }));
});

function kept() {
  try {
    return JSON.parse(sessionStorage.getItem(KEY) ?? "null");
  } catch {
    return null;
  }
}

const here = document.querySelector("[data-neighbours]");
const list = here && kept();
if (list) {
  const back = document.querySelector("a[data-back]");
  if (back && list.url.startsWith(back.getAttribute("href"))) back.href = list.url;
  const at = list.links.findIndex((link) => link.includes(here.dataset.neighbours));
  document.addEventListener("keydown", (event) => {
    const step = { "[": -1, "]": 1 }[event.key];
    if (!step || at < 0 || event.ctrlKey || event.metaKey || event.altKey || writing(event.target)) return;
    if (document.querySelector("dialog[open], :popover-open")) return;
    const link = list.links[at + step];
    if (link) location.assign(link);
  });
}
