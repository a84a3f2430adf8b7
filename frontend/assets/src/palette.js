/* The command palette: a field over a list the server writes. Focus stays in the field; arrows move, Enter does, Tab asks what else
   can be done with what is marked; Shift Tab, Escape or Backspace in the empty field lead back. */
const box = document.getElementById("palette");
const field = box?.querySelector("[role=combobox]");
const list = box?.querySelector("[role=listbox]");
const KEPT = 8;
let asked = 0;
let soon = null;
let from = null;
let waits = false; // for an answer to what is typed
let tabbed = false; // Tab was pressed meanwhile: it is of what will be found
let about = null; // what more is asked of, and what was typed before: { more, typed }

const options = () => [...list.querySelectorAll("[role=option]")];
const current = () => list.querySelector("[aria-selected=true]");
const rows = () => document.querySelector("mist-rows");
const store = () => `recent:${document.body.dataset.who}`;

function recent() {
  try {
    return JSON.parse(localStorage.getItem(store()) ?? "[]").filter((one) => one.url.startsWith(box.dataset.base));
  } catch {
    return [];
  }
}

/* A detail page is a thing one may come back to. */
const title = document.querySelector("main h1");
if (box && title && /\/[0-9a-f]{32}/.test(location.pathname)) {
  const here = { url: location.pathname, title: title.textContent.trim().slice(0, 120) };
  localStorage.setItem(store(), JSON.stringify([here, ...recent().filter((one) => one.url !== here.url)].slice(0, KEPT)));
}

function mark(option) {
  current()?.setAttribute("aria-selected", "false");
  field.removeAttribute("aria-activedescendant");
  box.querySelector(".tab").hidden = !option?.dataset.more || Boolean(about);
  box.querySelector(".back").hidden = !about;
  if (!option) return;
  option.setAttribute("aria-selected", "true");
  option.id ||= `palette-${options().indexOf(option)}`;
  field.setAttribute("aria-activedescendant", option.id);
  option.scrollIntoView({ block: "nearest" });
}

async function find() {
  const mine = ++asked;
  waits = true;
  const asking = new URLSearchParams({ q: field.value, path: location.pathname, more: about?.more ?? "" });
  const view = document.getElementById("bulk")?.dataset.q;
  if (view) asking.set("view", view);
  const chosen = rows()?.chosen;
  if (chosen?.size) asking.set("ids", [...chosen].slice(0, 1000).join(","));
  const answer = await fetch(`${box.dataset.base}/palette?${asking}`, { headers: { "HX-Request": "true" }, credentials: "same-origin" }).catch(() => null);
  if (mine !== asked) return;
  waits = false;
  if (!answer?.ok) return;
  list.innerHTML = await answer.text();
  if (!field.value.trim() && !about) showRecent();
  mark(options()[0]);
  if (tabbed) more();
}

function showRecent() {
  const kept = recent().filter((one) => one.url !== location.pathname);
  if (!kept.length) return;
  const group = document.createElement("div");
  group.setAttribute("role", "group");
  group.setAttribute("aria-label", box.dataset.recent);
  const head = document.createElement("h4");
  head.textContent = box.dataset.recent;
  group.append(head);
  for (const one of kept) {
    const option = document.createElement("a");
    option.className = "it";
    option.href = one.url;
    option.tabIndex = -1;
    option.setAttribute("role", "option");
    option.setAttribute("aria-selected", "false");
    const text = document.createElement("span");
    text.className = "clip";
    text.textContent = one.title;
    option.append(text);
    group.append(option);
  }
  list.prepend(group);
}

/* Tab: the acts of what is marked, where it has some. */
function more() {
  tabbed = false;
  const option = current();
  if (about || !option?.dataset.more) return;
  about = { more: option.dataset.more, typed: field.value };
  field.value = "";
  field.placeholder = option.dataset.about;
  find();
}

function back() {
  field.value = about.typed;
  forget();
  find();
}

function forget() {
  about = null;
  tabbed = false;
  field.placeholder = "";
}

function open() {
  if (!box || box.open) return;
  from = document.activeElement;
  document.querySelectorAll(":popover-open").forEach((pop) => pop.hidePopover());
  box.showModal();
  field.select();
  find();
}

function run(option, event) {
  const how = option.dataset.how;
  if (!how) {
    if (event.ctrlKey || event.metaKey) window.open(option.href, "_blank", "noopener");
    else location.assign(option.href);
    return;
  }
  box.close();
  if (how === "post") return window.htmx.ajax("POST", option.href, { source: document.body, swap: "none" });
  if (how === "bulk") {
    const body = new FormData(document.getElementById("palette-form"));
    body.set("ask", "1");
    if (option.dataset.q) body.set("q", option.dataset.q);
    else body.set("ids", [...rows().chosen].join(","));
    return window.mistOpenDialog(option.href, from, body);
  }
  return window.mistOpenDialog(option.href, from);
}

if (box) {
  document.addEventListener("keydown", (event) => {
    if (event.key.toLowerCase() === "k" && (event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey && !event.target.closest?.(".xterm")) {
      event.preventDefault();
      if (box.open) box.close();
      else open();
    }
  });
  document.addEventListener("click", (event) => {
    if (event.target.closest?.("[data-palette]") && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      open();
    }
  });
  field.addEventListener("input", () => {
    clearTimeout(soon);
    waits = true;
    tabbed = false;
    soon = setTimeout(find, 60);
  });
  box.addEventListener("keydown", (event) => {
    const all = options();
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && all.length) {
      event.preventDefault();
      mark(all[(all.indexOf(current()) + step + all.length) % all.length]);
    } else if (event.key === "Enter" && current()) {
      event.preventDefault();
      run(current(), event);
    } else if (event.key === "Tab" && !event.shiftKey && (waits || current()?.dataset.more)) {
      event.preventDefault();
      if (waits) tabbed = true;
      else more();
    } else if (about && ((event.key === "Tab" && event.shiftKey) || event.key === "Escape" || (event.key === "Backspace" && !field.value))) {
      event.preventDefault();
      back();
    }
  });
  list.addEventListener("pointermove", (event) => {
    const option = event.target.closest("[role=option]");
    if (option && option !== current()) mark(option);
  });
  list.addEventListener("click", (event) => {
    const option = event.target.closest("[role=option]");
    if (!option) return;
    event.preventDefault();
    event.stopPropagation();
    run(option, event);
  });
  box.addEventListener("click", (event) => event.target === box && box.close());
  box.addEventListener("close", forget);
  box.addEventListener("close", () => from?.isConnected && !document.querySelector("dialog[open]") && from.focus());
}
