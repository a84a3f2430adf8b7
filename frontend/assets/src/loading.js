/* A page that was left for another of ours and still stands after 200 ms: its heading becomes the next one's where a link names it, its
   rows become grey bars. A navigation that was stopped brings everything back; of an answer without a page (a file, or nothing) browsers
   say nothing, so the server does by a cookie; and so do Esc and a press on the bars. The same in parts that htmx fetches. A browser
   without the Navigation API does it for links and searches, not for where a script leads. */
import { announce } from "./dom.js";

const AFTER = 200;
const LOOK = 200;
const NO_PAGE = "mist-no-page"; // frontend/middleware.py
const TABS = ".main .tabs a, .main .set-nav a";
const NAMES = ".nav a, .crumbs a, .palette-list a, a.nm"; // links whose text is the heading of where they lead
const bones = document.getElementById("loading");
let soon = 0;
let looking = 0;
let undo = [];

function back() {
  clearTimeout(soon);
  clearInterval(looking);
  for (const one of undo.splice(0)) one();
}

const to = (url, links) => [...document.querySelectorAll(links)].find((link) => link.href === url.href);
const say = (name) => announce(name ? bones.dataset.words.replace("{name}", name) : bones.dataset.some);

/* Bars alone, or below a heading: "" is one that is not known yet. */
function bars(title) {
  const made = bones.content.firstElementChild.cloneNode(true);
  if (title === undefined) made.firstElementChild.remove();
  else if (title) made.querySelector("h1").textContent = title;
  made.classList.add("wait"); // what follows it is out of sight (lists.css)
  return made;
}

function put(made, where, how = "before") {
  where[how](made);
  undo.push(() => made.remove());
}

/* In place of the rows, or of what says that there are none. Is there such a place? */
function overRows(main) {
  const body = main.querySelector(".tbl.page tbody");
  if (body) {
    const made = document.createElement("tbody");
    made.className = "wait";
    const cell = made.insertRow().insertCell();
    cell.colSpan = [...body.parentElement.tHead.rows[0].cells].reduce((sum, one) => sum + one.colSpan, 0);
    cell.append(bars());
    put(made, body);
    return true;
  }
  const list = main.querySelector(".joblist");
  const none = main.querySelector("section.empty:not(:has(h1))");
  if (list) put(bars(), list, "prepend");
  else if (none) put(bars(), none);
  return Boolean(list ?? none);
}

/* Below its tabs, all of it goes. */
function underTabs(main, nav) {
  let last = nav;
  while (!last.nextElementSibling && last.parentElement !== main) last = last.parentElement;
  put(bars(), last, "after");
}

function become(link) {
  const was = link.closest("nav")?.querySelector("[aria-current]");
  was?.removeAttribute("aria-current");
  link.setAttribute("aria-current", "page");
  undo.push(() => {
    link.removeAttribute("aria-current");
    was?.setAttribute("aria-current", "page");
  });
}

const isNoPage = () => document.cookie.includes(`${NO_PAGE}=`);

function show(url, from) {
  if (isNoPage()) return;
  looking = setInterval(() => isNoPage() && back(), LOOK);
  const main = document.getElementById("main");
  const places = [main, ...main.querySelectorAll("*")].filter((one) => one.scrollTop).map((one) => [one, one.scrollTop]);
  document.getElementById("side")?.classList.remove("open");
  document.querySelector("#palette[open]")?.close();
  const had = document.activeElement;
  const heading = main.querySelector("h1")?.textContent.trim();
  const view = to(url, ".main .views a");
  const tab = to(url, TABS);
  let name = heading;
  if (tab) underTabs(main, tab.closest("nav"));
  else if ((url.pathname !== from && !view) || !overRows(main)) {
    const link = to(url, NAMES);
    name = url.pathname === from ? heading : (link?.querySelector(".t, .clip") ?? link)?.textContent.trim() ?? "";
    put(bars(name), main, "prepend");
  }
  for (const link of [tab, view, to(url, ".nav a")]) if (link) become(link);
  main.setAttribute("aria-busy", "true");
  undo.push(() => {
    main.removeAttribute("aria-busy");
    for (const [one, top] of places) one.scrollTop = top;
    if (had?.isConnected && had !== document.activeElement) had.focus({ preventScroll: true });
  });
  say(name);
}

function leave(url) {
  back();
  if (url.origin !== location.origin || !url.pathname.startsWith("/o/")) return;
  document.cookie = `${NO_PAGE}=; path=/; max-age=0`;
  soon = setTimeout(show, AFTER, url, location.pathname);
}

function navigated(event) {
  if (event.destination.sameDocument || event.hashChange) return;
  if (event.formData || event.downloadRequest !== null) return back();
  leave(new URL(event.destination.url));
  event.signal.addEventListener("abort", back);
}

function clicked(event) {
  const link = event.target.closest?.("a[href]");
  if (!link || event.defaultPrevented || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey || link.target || link.hasAttribute("download")) return;
  const url = new URL(link.href);
  if (!url.hash || url.href.split("#")[0] !== location.href.split("#")[0]) leave(url);
}

function sent(event) {
  const form = event.target;
  if (event.defaultPrevented || form.method !== "get") return;
  const url = new URL(form.action);
  url.search = new URLSearchParams(new FormData(form, event.submitter)).toString();
  leave(url);
}

if (bones) {
  if (window.navigation) window.navigation.addEventListener("navigate", navigated);
  else {
    window.addEventListener("click", clicked); // after all that may have taken it
    window.addEventListener("submit", sent);
  }
  window.addEventListener("pagehide", back); // as it was, for the way back
  document.addEventListener("keydown", (event) => event.key === "Escape" && back());
  document.addEventListener("pointerdown", (event) => event.target.closest?.(".main .wait") && back());

  document.addEventListener("htmx:before:request", (event) => {
    const { ctx } = event.detail;
    if (ctx.request.method !== "GET" || ctx.swap === "none" || !(ctx.target instanceof Element)) return;
    ctx.soon = setTimeout(() => {
      ctx.target.setAttribute("aria-busy", "true");
      ctx.target.prepend(bars());
      say("");
    }, AFTER);
  });
  document.addEventListener("htmx:finally:request", (event) => {
    const { ctx } = event.detail;
    if (!ctx.soon) return;
    clearTimeout(ctx.soon);
    ctx.target.removeAttribute("aria-busy");
    ctx.target.querySelector(":scope > .wait")?.remove();
  });
}
