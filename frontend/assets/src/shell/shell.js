/* <mist-shells>: tabs of panes. The shells themselves live on the server; what is kept here is how they are laid out. */
import { announce, icon } from "../dom.js";
import "./shell.css";
import { element } from "./element.js";
import { mark, Pane } from "./pane.js";
import { post } from "./socket.js";

const LAYOUT = "mist-shells";
const DECORATIONS = { matchBackground: "#5c4a12", matchOverviewRuler: "#e0961a", activeMatchBackground: "#8a5500", activeMatchColorOverviewRuler: "#e0961a" };
const KEYS = { esc: "\x1b", tab: "\t", up: "\x1b[A", down: "\x1b[B", right: "\x1b[C", left: "\x1b[D" };
const two = (n) => String(n).padStart(2, "0");
const clock = (seconds) => {
  const at = new Date(seconds * 1000);
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
};

class MistShells extends HTMLElement {
  connectedCallback() {
    const facts = JSON.parse(document.getElementById("shells-facts").textContent);
    this.words = facts.words;
    this.base = facts.base;
    this.org = facts.org;
    this.readerMode = localStorage.getItem("mist-shell-reader") === "1";
    this.row = this.querySelector(".tabrow");
    this.terms = this.querySelector(".terms");
    this.form = this.querySelector(".find");
    this.info = this.querySelector(".info");
    this.tabs = [];
    this.cast = false;
    this.lay(facts);
    this.addEventListener("click", (event) => this.clicked(event));
    document.getElementById("share").addEventListener("click", (event) => this.clicked(event));
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.find(1);
    });
    this.form.querySelector("input").addEventListener("input", () => this.find(0));
    this.form.addEventListener("keydown", (event) => event.key === "Escape" && this.showFind(false));
    this.querySelector("[data-do=reader]").checked = this.readerMode;
    this.querySelector(".keyrow").addEventListener("pointerdown", (event) => event.preventDefault());
    this.newShell();
    this.uploading();
    setInterval(() => this.draw(), 5000);
    this.draw();
  }

  /* From what the last page of this tab had, and what is open on the server. */
  lay({ sessions, at, machine, together }) {
    const known = new Map(sessions.map((one) => [one.id, one]));
    let kept;
    try {
      kept = JSON.parse(sessionStorage.getItem(LAYOUT) ?? "[]");
    } catch {
      kept = []; /* what somebody else wrote there */
    }
    for (const ids of Array.isArray(kept) ? kept : []) {
      const mine = (Array.isArray(ids) ? ids : []).filter((id) => known.has(id)).map((id) => known.get(id));
      for (const one of mine) known.delete(one.id);
      if (mine.length) this.tabs.push({ panes: mine.map((one) => new Pane(this, one)) });
    }
    const beside = together.filter((id) => known.has(id)).map((id) => known.get(id));
    for (const one of beside) known.delete(one.id);
    if (beside.length) this.tabs.push({ panes: beside.map((one) => new Pane(this, one)) });
    for (const one of known.values()) this.tabs.push({ panes: [new Pane(this, one)] });
    for (const tab of this.tabs) tab.chosen = tab.panes[0];
    const wanted = this.tabs.find((tab) => tab.panes.some((pane) => pane.facts.id === at));
    if (wanted) wanted.chosen = wanted.panes.find((pane) => pane.facts.id === at);
    this.tab = wanted ?? (machine ? null : this.tabs.at(-1)) ?? null;
    if (this.tab) this.open(this.tab);
  }

  keep() {
    sessionStorage.setItem(LAYOUT, JSON.stringify(this.tabs.map((tab) => tab.panes.map((pane) => pane.facts.id))));
  }

  get pane() {
    return this.tab?.chosen ?? null;
  }

  open(tab, focus = true) {
    this.tab = tab;
    this.terms.replaceChildren(...(tab?.panes.map((pane) => pane.box) ?? []));
    this.terms.hidden = !tab;
    this.querySelector(".nothing").hidden = Boolean(tab);
    for (const pane of tab?.panes ?? []) pane.show();
    this.draw();
    this.keep();
    if (tab && focus) this.pane.focus();
  }

  choose(pane) {
    if (!this.tab || this.tab.chosen === pane) return;
    this.tab.chosen = pane;
    this.draw();
  }

  changed() {
    if (this.row) this.draw();
  }

  announce(pane, viewer) {
    announce(this.words.joined.replace("{name}", viewer.name).replace("{machine}", pane.facts.name));
  }

  /* --- drawing */

  draw() {
    const { words } = this;
    const many = this.tab ? this.tab.panes.length : 0;
    this.row.replaceChildren(...this.tabs.map((tab) => this.drawTab(tab)));
    this.querySelector(".stools").hidden = !this.tab;
    this.querySelector(".keyrow").hidden = !this.tab;
    this.terms.dataset.n = this.tab?.only ? 1 : many > 4 ? 6 : many;
    this.terms.classList.toggle("cast", this.cast && many > 1);
    for (const pane of this.tab?.panes ?? []) {
      pane.box.classList.toggle("on", pane === this.pane);
      pane.box.hidden = Boolean(this.tab.only && this.tab.only !== pane);
    }
    const casts = this.querySelector(".casts");
    casts.hidden = many < 2;
    casts.classList.toggle("on", this.cast);
    casts.querySelector(".casts-t").textContent = this.cast ? words.typing.replace("{n}", many) : words.typing_one;
    casts.querySelector("button").setAttribute("aria-checked", String(this.cast));
    this.drawUpload(this.pane?.noFiles ?? "");
    this.info.hidden = !this.tab;
    if (this.pane) this.drawInfo(this.pane);
  }

  drawTab(tab) {
    const { words } = this;
    const [first] = tab.panes;
    const state = tab.panes.some((pane) => pane.state === "open") ? "open" : first.socket ? first.state : "resumable";
    const name = tab.panes.length > 1 ? words.panes.replace("{name}", common(tab.panes.map((pane) => pane.facts.name))).replace("{n}", tab.panes.length) : first.facts.name;
    const open = element("button", "name", mark(state), name);
    const last = first.commands.findLast(([, text]) => !text.startsWith("#"));
    if (!first.socket && first.facts.detached) open.append(" ", element("small", "", words.resumable.replace("{age}", age(first.facts.detached))));
    else if (tab.panes.length === 1 && last) open.append(" ", element("small", "", last[1].split(" ")[0].slice(0, 16)));
    open.type = "button";
    if (tab === this.tab) open.setAttribute("aria-current", "true");
    open.addEventListener("click", () => {
      /* again on the one that is open: its next pane, the only way to it on a telephone */
      if (tab === this.tab) tab.chosen = tab.panes[(tab.panes.indexOf(tab.chosen) + 1) % tab.panes.length];
      this.open(tab);
    });
    const shut = element("button", "x", icon("x"));
    shut.type = "button";
    shut.setAttribute("aria-label", words.close.replace("{name}", name));
    shut.addEventListener("click", () => this.shut(tab));
    return element("span", tab === this.tab ? "t on" : "t", open, shut);
  }

  /* Where no file can be sent the button says why. */
  drawUpload(why) {
    const button = this.querySelector("[data-do=upload]");
    button.title = why || "Ctrl Shift O";
    for (const [name, value, is] of [["popovertarget", "upload", !why], ["aria-disabled", "true", why]]) {
      if (is) button.setAttribute(name, value);
      else button.removeAttribute(name);
    }
  }

  drawInfo(pane) {
    const { words } = this;
    const at = (name) => this.info.querySelector(`[data-fact=${name}]`);
    at("name").textContent = pane.facts.name;
    const opened = new Date(pane.facts.opened);
    at("opened").textContent = `${two(opened.getHours())}:${two(opened.getMinutes())} · ${words.ago.replace("{age}", age(pane.facts.opened))}`;
    at("by").textContent = pane.facts.by;
    at("reason").textContent = pane.facts.reason || "–";
    at("credential").textContent = pane.facts.credential || "–";
    const others = pane.viewers.slice(1);
    at("viewers").textContent = others.map((one) => `${one.name}, ${one.mode === "types" ? words.types : words.looks}`).join("; ") || words.nobody;
    at("replay").href = `${this.base}/sessions/${pane.facts.id}`;
    const last = pane.commands.slice(-8).reverse();
    const items = last.map(([when, text]) => {
      const code = element("code", "", text);
      code.title = text;
      return element("li", "", element("time", "", clock(when)), code);
    });
    at("commands").replaceChildren(...items);
  }

  /* --- doing */

  clicked(event) {
    const snippet = event.target.closest?.("[data-snippet]");
    if (snippet) {
      this.typed(this.pane, snippet.dataset.snippet);
      return this.pane?.focus();
    }
    const key = event.target.closest?.("[data-key]");
    if (key) return this.phoneKey(key);
    const what = event.target.closest?.("[data-do]")?.dataset.do;
    if (what === "cast") this.setCast(!this.cast);
    else if (what === "find") this.showFind(this.form.hidden);
    else if (what === "previous") this.find(-1);
    else if (what === "split") this.split();
    else if (what === "share") this.share();
    else if (what === "upload" && this.pane?.noFiles) announce(this.pane.noFiles);
    else if (what === "full") document.fullscreenElement ? document.exitFullscreen() : this.querySelector(".lay").requestFullscreen?.();
    else if (what === "reader") this.setReader(event.target.checked);
  }

  setReader(on) {
    this.readerMode = on;
    localStorage.setItem("mist-shell-reader", on ? "1" : "0");
    for (const tab of this.tabs) for (const pane of tab.panes) pane.terminal.options.screenReaderMode = on;
  }

  setCast(on) {
    this.cast = on;
    this.draw();
    this.pane?.focus();
  }

  typed(pane, data) {
    if (this.ctrl && typeof data === "string" && data.length === 1) {
      data = String.fromCharCode(data.toUpperCase().charCodeAt(0) & 31);
      this.setCtrl(false);
    }
    if (this.cast && this.tab?.panes.length > 1) for (const one of this.tab.panes) one.type(data);
    else pane?.type(data);
  }

  phoneKey(button) {
    const name = button.dataset.key;
    if (name === "ctrl") this.setCtrl(!this.ctrl);
    else this.typed(this.pane, KEYS[name]);
    this.pane?.focus();
  }

  setCtrl(on) {
    this.ctrl = on;
    this.querySelector("[data-key=ctrl]").setAttribute("aria-pressed", String(on));
  }

  /* The keys of a terminal (CONSOLE.md §7); false: not for the machine. */
  key(event) {
    if (event.type !== "keydown" || !event.ctrlKey || !event.shiftKey) return true;
    const panes = this.tab?.panes ?? [];
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const does = {
      KeyC: () => this.pane.terminal.hasSelection() && navigator.clipboard.writeText(this.pane.terminal.getSelection()),
      KeyV: () => navigator.clipboard.readText().then((text) => this.pane.terminal.paste(text)),
      KeyF: () => this.showFind(true),
      KeyE: () => this.split(),
      KeyO: () => this.askUpload(),
      KeyB: () => panes.length > 1 && this.setCast(!this.cast),
      Escape: () => this.row.querySelector("[aria-current]")?.focus(),
    }[event.code];
    if (step && panes.length > 1) {
      this.choose(panes[(panes.indexOf(this.pane) + step + panes.length) % panes.length]);
      this.pane.focus();
    } else if (does) does();
    else return true;
    event.preventDefault();
    return false;
  }

  showFind(on) {
    this.form.hidden = !on;
    if (on) this.form.querySelector("input").select();
    else {
      this.pane?.search.clearDecorations();
      this.pane?.focus();
    }
  }

  find(step) {
    const text = this.form.querySelector("input").value;
    if (!this.pane) return;
    if (!text) {
      this.pane.search.clearDecorations();
      this.form.querySelector("small").textContent = "";
      return;
    }
    const how = { decorations: DECORATIONS, incremental: step === 0 };
    if (step < 0) this.pane.search.findPrevious(text, how);
    else if (step > 0) this.pane.search.findNext(text, how);
    else this.pane.search.findPrevious(text, how);
  }

  found(pane, index, count) {
    if (pane !== this.pane) return;
    this.form.querySelector("small").textContent = count ? this.words.found.replace("{n}", index + 1).replace("{total}", count) : this.words.none;
  }

  async share() {
    const link = `${location.origin}${this.base}/shells?watch=${this.pane.facts.id}`;
    await navigator.clipboard?.writeText(link);
    document.getElementById("share").hidePopover();
    announce(this.words.copied);
  }

  alone(pane) {
    this.tab.only = this.tab.only === pane ? null : pane;
    this.tab.chosen = pane;
    this.draw();
    pane.focus();
  }

  /** Open a shell; its pane, or null where it did not work. */
  async start(machine, reason) {
    const body = new FormData();
    body.set("reason", reason ?? "");
    const answer = await post(`${this.base}/machines/${machine}/shell`, body);
    if (!answer?.session) {
      announce(this.words.failed.replace("{why}", answer?.error ?? ""));
      this.failed?.(answer?.error ?? "");
      return null;
    }
    return new Pane(this, answer.session);
  }

  async split() {
    const from = this.pane;
    if (!from?.facts.machine || this.tab.panes.length >= 6) return;
    const tab = this.tab;
    const pane = await this.start(from.facts.machine, from.facts.reason);
    if (!pane) return;
    tab.panes.push(pane);
    tab.chosen = pane;
    tab.only = null;
    this.open(tab);
  }

  async reopen(old) {
    const pane = await this.start(old.facts.machine, old.facts.reason);
    if (!pane) return;
    const tab = this.tabs.find((one) => one.panes.includes(old));
    tab.panes[tab.panes.indexOf(old)] = pane;
    tab.chosen = pane;
    old.dispose();
    this.open(tab);
  }

  remove(pane) {
    const tab = this.tabs.find((one) => one.panes.includes(pane));
    tab.panes = tab.panes.filter((one) => one !== pane);
    pane.dispose();
    if (tab.chosen === pane) tab.chosen = tab.panes[0];
    if (tab.only === pane) tab.only = null;
    if (!tab.panes.length) this.tabs = this.tabs.filter((one) => one !== tab);
    if (tab === this.tab) this.open(tab.panes.length ? tab : (this.tabs.at(-1) ?? null));
    else this.draw();
    this.keep();
  }

  /* Closing a tab ends its shells, unless they are another's that one only watches. */
  async shut(tab) {
    const live = tab.panes.filter((pane) => pane.facts.types && pane.state !== "ended");
    const name = tab.panes[0].facts.name;
    if (live.length && !window.confirm(this.words.end.replace("{name}", name))) return;
    for (const pane of [...tab.panes]) {
      if (live.includes(pane)) {
        await post(`${this.base}/sessions/${pane.facts.id}/do/kill`, new FormData());
      }
      this.remove(pane);
    }
  }

  /* The dialog of files: it goes to the pane that is chosen when it opens. */
  uploading() {
    const form = document.getElementById("upload");
    const [files, folder] = form.querySelectorAll("input");
    let pane = null;
    form.addEventListener("toggle", (event) => {
      if (event.newState !== "open") return;
      pane = this.pane;
      form.querySelector("h3").textContent = this.words.up_to.replace("{machine}", pane.facts.name);
      folder.value = pane.folder ?? "";
    });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      pane.folder = folder.value.trim();
      pane.uploads.add([...files.files], pane.folder);
      form.reset();
      form.hidePopover();
      pane.focus();
    });
    /* a file that is dropped beside a pane is not opened instead of the page */
    for (const name of ["dragover", "drop"]) this.addEventListener(name, (event) => event.dataTransfer?.types.includes("Files") && event.preventDefault());
    window.addEventListener("beforeunload", (event) => this.tabs.some((tab) => tab.panes.some((one) => one.uploads.busy)) && event.preventDefault());
  }

  askUpload() {
    const button = this.querySelector("[data-do=upload]");
    if (!document.getElementById("upload").matches(":popover-open")) button.click();
  }

  dropped(pane, dropped) {
    this.choose(pane);
    const wanted = new DataTransfer();
    for (const item of [...dropped.items]) {
      const file = item.getAsFile();
      const why = pane.noFiles || (item.webkitGetAsEntry?.()?.isDirectory && this.words.up_folder);
      if (file && why) pane.uploads.refuse(file, why);
      else if (file) wanted.items.add(file);
    }
    if (!wanted.files.length) return;
    const form = document.getElementById("upload");
    if (!form.matches(":popover-open")) form.addEventListener("toggle", () => form.querySelector("[type=submit]").focus(), { once: true });
    this.askUpload();
    form.querySelector("[type=file]").files = wanted.files;
  }

  newShell() {
    const box = document.getElementById("new-shell");
    const [field, why] = box.querySelectorAll("input");
    const found = box.querySelector(".found");
    let asked = 0;
    const look = async () => {
      const mine = ++asked;
      const query = new URLSearchParams({ search: `${field.value} -state:stopped,terminated,suspended`.trim(), only: "name,state,actions,cloud", limit: "8" });
      const answer = await fetch(`/api/v2/machines?${query}`, { credentials: "same-origin", headers: { "X-Org": this.org, Accept: "application/json" } });
      if (mine !== asked) return;
      const rows = answer.ok ? (await answer.json()).data.filter((row) => row.actions?.shell === true) : [];
      const items = rows.map((row) => {
        const item = element("button", "", row.name, element("small", "", row.cloud ?? ""));
        item.type = "button";
        item.setAttribute("role", "option");
        item.addEventListener("click", async () => {
          const pane = await this.start(row.id, why.value);
          if (!pane) return;
          box.hidePopover();
          this.tabs.push({ panes: [pane], chosen: pane });
          this.open(this.tabs.at(-1));
        });
        return item;
      });
      found.replaceChildren(...(items.length ? items : [element("p", "dim fs12", this.words.no_match)]));
    };
    this.failed = (text) => found.prepend(element("p", "c-crit fs12", text));
    field.addEventListener("input", look);
    box.addEventListener("toggle", (event) => {
      if (event.newState !== "open") return;
      field.focus();
      look();
    });
  }
}

function common(names) {
  let start = names[0];
  for (const name of names) while (!name.startsWith(start)) start = start.slice(0, -1);
  return start.replace(/[-_. \d]+$/, "") || names[0];
}

function age(iso) {
  const seconds = Math.max(0, (Date.now() - Date.parse(iso)) / 1000);
  return seconds < 60 ? `${Math.floor(seconds)} s` : seconds < 3600 ? `${Math.floor(seconds / 60)} min` : `${Math.floor(seconds / 3600)} h`;
}

customElements.define("mist-shells", MistShells);
