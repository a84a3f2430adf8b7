/* One terminal: its head, its screen, its socket. */
import { FitAddon } from "@xterm/addon-fit";
import { SearchAddon } from "@xterm/addon-search";
import { Unicode11Addon } from "@xterm/addon-unicode11";
import { WebLinksAddon } from "@xterm/addon-web-links";
import { Terminal } from "@xterm/xterm";
import { icon } from "../dom.js";
import { element } from "./element.js";
import { ShellSocket } from "./socket.js";
import { Uploads } from "./upload.js";

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function theme() {
  const [bg, fg] = [css("--t-bg"), css("--t-fg")];
  const [red, green, yellow, blue, magenta, cyan, dim] = ["red", "green", "yellow", "blue", "mag", "cyan", "dim"].map((name) => css(`--t-${name}`));
  return {
    background: bg, foreground: fg, cursor: fg, cursorAccent: bg, selectionBackground: css("--t-sel"), black: bg, red, green, yellow, blue, magenta, cyan, white: fg,
    brightBlack: dim, brightRed: red, brightGreen: green, brightYellow: yellow, brightBlue: blue, brightMagenta: magenta, brightCyan: cyan, brightWhite: css("--bar-fg"),
  };
}

/** The state mark of a pane or tab. */
export function mark(state) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", `mark ${{ open: "running", connecting: "pending", lost: "warn" }[state] ?? "unknown"}`);
  svg.setAttribute("viewBox", "0 0 12 12");
  svg.setAttribute("aria-hidden", "true");
  const circle = document.createElementNS("http://www.w3.org/2000/svg", "circle");
  for (const [key, value] of Object.entries({ cx: 6, cy: 6, r: 4.5, ...(state === "open" || state === "lost" ? { fill: "currentColor" } : { fill: "none", stroke: "currentColor", "stroke-width": 1.5, "stroke-dasharray": "2.2 2" }) })) circle.setAttribute(key, value);
  svg.append(circle);
  return svg;
}

export class Pane {
  /** `page`: the <mist-shells>. `facts`: the session as the server tells of it. */
  constructor(page, facts) {
    this.page = page;
    this.facts = facts;
    this.state = "connecting";
    this.viewers = [];
    this.commands = facts.commands ?? [];
    const words = page.words;
    this.mark = element("span", "", mark("connecting"));
    this.where = element("span", "where", [facts.login, facts.address].filter(Boolean).join(" · "));
    this.size = element("span", "size");
    this.delay = element("span", "delay");
    const recorded = element("span", "rec", words.recorded);
    this.only = element("button", "", icon("maximize-2"));
    this.only.type = "button";
    this.only.setAttribute("aria-label", words.only.replace("{name}", facts.name));
    const right = element("span", "r", ...(facts.types ? [] : [element("span", "", words.watching)]), recorded, this.size, this.delay, this.only);
    this.screen = element("div", "screen");
    this.uploads = new Uploads(this);
    this.box = element("article", "term", element("header", "", this.mark, element("b", "", facts.name), this.where, right), this.uploads.list, this.screen);
    this.box.dataset.drop = words.up_drop.replace("{machine}", facts.name);
    for (const name of ["dragenter", "dragover", "dragleave", "drop"]) this.box.addEventListener(name, (event) => this.dragged(event));
    this.box.addEventListener("pointerdown", () => page.choose(this), true);
    this.only.addEventListener("click", () => page.alone(this));
    this.terminal = new Terminal({
      fontFamily: css("--font-mono"), fontSize: 12, lineHeight: 1.15, scrollback: 10_000, allowProposedApi: true, cursorBlink: false, theme: theme(),
      screenReaderMode: page.readerMode, disableStdin: !facts.types, macOptionIsMeta: true,
    });
    this.fit = new FitAddon();
    this.search = new SearchAddon();
    for (const addon of [this.fit, this.search, new Unicode11Addon(), new WebLinksAddon()]) this.terminal.loadAddon(addon);
    this.terminal.unicode.activeVersion = "11";
    this.search.onDidChangeResults(({ resultIndex, resultCount }) => page.found(this, resultIndex, resultCount));
    this.terminal.onData((data) => page.typed(this, data));
    this.terminal.onBinary((data) => page.typed(this, Uint8Array.from(data, (c) => c.charCodeAt(0))));
    this.terminal.onResize(({ cols, rows }) => this.resized(cols, rows));
    this.terminal.attachCustomKeyEventHandler((event) => page.key(event));
    this.observer = new ResizeObserver(() => this.refit());
  }

  /** Into the document: xterm wants to measure. */
  show() {
    if (!this.terminal.element) {
      this.terminal.open(this.screen);
      const textarea = this.terminal.textarea;
      textarea?.setAttribute("aria-label", this.page.words.terminal.replace("{name}", this.facts.name));
      textarea?.addEventListener("focus", () => this.page.choose(this));
    }
    this.observer.observe(this.screen);
    this.refit();
    if (!this.socket) {
      const url = `${this.page.base}/shells/${this.facts.id}/${this.facts.types ? "join" : "watch"}`;
      this.socket = new ShellSocket(url, { output: (...args) => this.output(...args), told: (told) => this.told(told), state: (...args) => this.set(...args) });
    }
  }

  refit() {
    if (!this.screen.clientWidth || !this.terminal.element) return;
    if (this.facts.types) this.fit.fit();
  }

  resized(cols, rows) {
    this.size.textContent = `${cols} × ${rows}`;
    if (this.facts.types) this.socket?.send("1", JSON.stringify({ height: rows, width: cols }));
  }

  output(bytes, drawn, first) {
    if (first && this.cameBack) this.terminal.reset();
    if (this.typedAt) {
      this.delay.textContent = `${Math.max(1, Math.round(performance.now() - this.typedAt))} ms`;
      this.typedAt = 0;
    }
    this.terminal.write(bytes, drawn);
  }

  type(data) {
    if (!this.facts.types) return;
    this.typedAt ||= performance.now();
    this.socket?.send("0", data);
  }

  /** Why no file can be sent there now, or "". */
  get noFiles() {
    const { words } = this.page;
    if (!this.facts.types) return words.up_watching;
    return this.state === "open" ? (this.facts.no_files ?? "") : words.up_closed;
  }

  dragged(event) {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    const leaves = event.type === "drop" || (event.type === "dragleave" && !this.box.contains(event.relatedTarget));
    this.box.classList.toggle("drop", !leaves);
    if (event.type === "drop") this.page.dropped(this, event.dataTransfer);
  }

  told(told) {
    if (told.upload) return this.uploads.told(told.upload);
    if (told.facts) {
      Object.assign(this.facts, told.facts);
      this.where.textContent = [this.facts.login, this.facts.address].filter(Boolean).join(" · ");
    }
    if (told.size && !this.facts.types) this.terminal.resize(...told.size);
    if (told.viewers) {
      const before = this.viewers.length;
      this.viewers = told.viewers;
      if (before && told.viewers.length > before) this.page.announce(this, told.viewers.at(-1));
    }
    if (told.ending) {
      const at = new Date(told.ending.at * 1000).toLocaleTimeString(document.documentElement.lang, { timeStyle: "medium" });
      this.note?.remove();
      this.over(this.page.words.ending.replace("{time}", at).replace("{machine}", this.facts.name));
    }
    if (told.command) this.commands.push([told.command.at, told.command.text]);
    this.page.changed(this);
  }

  set(state, text) {
    this.state = state;
    if (state !== "open") this.uploads.lost();
    this.mark.replaceChildren(mark(state));
    this.note?.remove();
    this.note = null;
    if (state === "open") {
      this.resized(this.terminal.cols, this.terminal.rows);
    } else if (state === "lost") {
      this.cameBack = true;
      this.typedAt = 0;
      this.over(this.page.words.reattaching);
    } else if (state === "ended") {
      this.terminal.options.disableStdin = true;
      this.over(text, true);
    }
    this.page.changed(this);
  }

  over(text, ended) {
    const words = this.page.words;
    this.note = element("div", "over", element("span", "txt", text));
    this.note.setAttribute("role", "status");
    if (ended) {
      const again = element("button", "", words.again);
      again.type = "button";
      again.addEventListener("click", () => this.page.reopen(this));
      const replay = element("a", "", words.replay);
      replay.href = `${this.page.base}/sessions/${this.facts.id}`;
      const close = element("button", "", words.dismiss);
      close.type = "button";
      close.addEventListener("click", () => this.page.remove(this));
      this.note.append(...(this.facts.machine && this.facts.types ? [again] : []), replay, close);
    }
    this.box.append(this.note);
  }

  focus() {
    this.terminal.focus();
  }

  dispose() {
    this.observer.disconnect();
    this.socket?.close();
    this.terminal.dispose();
    this.box.remove();
  }
}
