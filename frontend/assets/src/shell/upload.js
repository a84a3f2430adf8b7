/* Files into the machine of a pane, over its socket (machines/shell/upload.py): one after the other, in pieces between what is typed. */
import { announce, icon } from "../dom.js";
import { element } from "./element.js";

const LEAST = 64 << 10; // bytes on their way,
const MOST = 1 << 20;
const PIECE = 256 << 10;
const LATE_MS = 120; // a piece that takes so much longer than the fastest did waits in line: so would a key
const SPEED_MS = 3000; // the speed is of so long
const GONE_MS = 6000;
const shown = new Intl.NumberFormat(document.documentElement.lang, { maximumFractionDigits: 1 });
let numbers = 0;

export function size(bytes) {
  const units = ["B", "KiB", "MiB", "GiB"];
  let unit = 0;
  let amount = bytes;
  for (; amount >= 1024 && unit < 3; unit++) amount /= 1024;
  return `${shown.format(amount)} ${units[unit]}`;
}

const fill = (words, values) => words.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);

/** One file: its row, and where it is. States: waiting, sending, asked (one of that name is there), done, failed. */
class Item {
  constructor(uploads, file, folder) {
    this.uploads = uploads;
    this.file = file;
    this.folder = folder;
    this.name = element("b", "", file.name);
    this.bar = element("progress");
    this.bar.max = Math.max(1, file.size);
    this.bar.setAttribute("aria-label", fill(uploads.words.up_of, { name: file.name }));
    this.said = element("span", "said");
    this.does = element("span", "does");
    this.row = element("li", "up", element("span", "what", this.name, this.said), this.bar, this.does);
    this.again("ask");
  }

  again(exists) {
    Object.assign(this, { exists, number: ++numbers, sent: 0, written: 0, credit: 0, window: 2 * LEAST, fastest: Infinity, flying: [], past: [] });
    this.set("waiting");
  }

  /* `does`: [[icon or word, what it is called, what it does]], and a cross after them. Only who was in the row is kept in it: who types is not taken from the terminal. */
  set(state, text, does = [], crossed = true) {
    const { words } = this.uploads;
    const had = this.row.contains(document.activeElement);
    this.state = state;
    this.row.dataset.state = state;
    this.bar.hidden = state !== "waiting" && state !== "sending";
    this.said.textContent = text ?? words[`up_${state}`] ?? "";
    const cross = () => (state === "waiting" || state === "sending" ? this.uploads.cancel(this) : this.uploads.remove(this));
    if (crossed) does = [...does, [icon("x"), fill(state === "waiting" || state === "sending" ? words.up_cancel : words.up_dismiss, { name: this.file.name }), cross]];
    this.does.replaceChildren(...does.map(([shows, called, act]) => {
      const button = element("button", typeof shows === "string" ? "word" : "", shows);
      button.type = "button";
      if (called) button.setAttribute("aria-label", called);
      button.addEventListener("click", act);
      return button;
    }));
    if (had) this.does.lastElementChild.focus();
  }

  draw() {
    this.bar.value = this.written;
    const now = performance.now();
    this.past.push([now, this.written]);
    while (this.past.length > 2 && now - this.past[0][0] > SPEED_MS) this.past.shift();
    const [at, was] = this.past[0];
    const speed = now - at > 250 ? ` · ${size(((this.written - was) / (now - at)) * 1000)}/s` : "";
    const values = { sent: size(this.written), size: size(this.file.size) };
    this.said.textContent = this.written < this.file.size ? fill(this.uploads.words.up_sent, values) + speed : this.uploads.words.up_ending;
  }
}

export class Uploads {
  /** `pane`: whose machine they go to. `list`, for its box: a row a file. */
  constructor(pane) {
    this.pane = pane;
    this.words = pane.page.words;
    this.items = [];
    this.list = element("ul", "ups");
    this.list.setAttribute("aria-label", fill(this.words.up_list, { machine: pane.facts.name }));
    this.list.hidden = true;
  }

  /** Is anything on its way? */
  get busy() {
    return this.items.some((item) => item.state === "waiting" || item.state === "sending");
  }

  add(files, folder) {
    for (const file of files) this.row(file, folder);
    this.next();
  }

  /** A file that is not sent. */
  refuse(file, why) {
    this.row(file, "").set("failed", why);
    announce(`${file.name}: ${why}`);
  }

  row(file, folder) {
    const item = new Item(this, file, folder);
    this.items.push(item);
    this.list.append(item.row);
    this.list.hidden = false;
    return item;
  }

  remove(item) {
    const had = item.row.contains(document.activeElement);
    this.items = this.items.filter((one) => one !== item);
    item.row.remove();
    this.list.hidden = !this.items.length;
    if (had) this.pane.focus();
  }

  cancel(item) {
    if (item.state === "sending") this.pane.socket.send("3", JSON.stringify({ upload: item.number, cancel: true }));
    else this.fail(item, this.words.up_cancelled);
  }

  next() {
    if (this.items.some((item) => item.state === "sending")) return;
    const item = this.items.find((one) => one.state === "waiting");
    if (!item) return;
    const why = this.pane.noFiles;
    if (why) {
      this.fail(item, why);
      return this.next();
    }
    item.set("sending", this.words.up_asking);
    const { number: upload, file, folder, exists } = item;
    this.pane.socket.send("3", JSON.stringify({ upload, name: file.name, folder, size: file.size, exists }));
  }

  /** The server says something of one. */
  told({ id, ...told }) {
    const item = this.items.find((one) => one.number === id && one.state === "sending");
    if (!item) return;
    if (told.go) item.there = told.go;
    if (told.credit !== undefined) this.moved(item, told);
    if (told.exists) this.ask(item, told.exists);
    if (told.done) this.done(item, told.done);
    if (told.failed) this.fail(item, item.why ?? told.failed.detail);
    if (item.state !== "sending") this.next();
  }

  moved(item, { credit, written = 0 }) {
    const now = performance.now();
    let took = 0;
    while (item.flying.length && item.flying[0].end <= written) took = now - item.flying.shift().at;
    if (took) {
      item.fastest = Math.min(item.fastest, took);
      if (took > item.fastest + LATE_MS) item.window = Math.max(LEAST, Math.floor(item.window * 0.7));
      else item.window = Math.min(MOST, item.window + written - item.written);
    }
    item.written = written;
    item.credit = credit;
    if (now - (item.drawn ?? 0) > 200 || written >= item.file.size) {
      item.drawn = now;
      item.draw();
    }
    this.pump(item);
  }

  /* As much as may be on its way; told of the next that is there, it goes on. */
  async pump(item) {
    const { number } = item;
    if (item.pumping === number) return;
    item.pumping = number;
    try {
      while (item.state === "sending" && item.number === number) {
        const end = Math.min(item.credit, item.written + item.window, item.sent + PIECE, item.file.size);
        if (end <= item.sent) break;
        const bytes = new Uint8Array(await item.file.slice(item.sent, end).arrayBuffer());
        if (item.state !== "sending" || item.number !== number) break;
        if (bytes.length !== end - item.sent) throw new Error(this.words.up_changed);
        item.flying.push({ end, at: performance.now() });
        item.sent = end;
        this.pane.socket.piece(number, bytes);
      }
    } catch (error) {
      if (item.number !== number || item.state !== "sending") return;
      item.why = fill(this.words.up_unread, { why: error.message });
      this.cancel(item);
    }
    if (item.pumping === number) item.pumping = 0;
  }

  ask(item, { folder, kind, bytes, modified }) {
    const { words } = this;
    const when = new Date(modified * 1000).toLocaleString(document.documentElement.lang, { dateStyle: "medium", timeStyle: "short" });
    const what = fill(words[`up_is_${kind}`] ?? words.up_is_other, { folder, size: size(bytes), when });
    const choose = (exists) => () => {
      item.again(exists);
      this.next();
    };
    const ways = [[words.up_both, fill(words.up_both_of, { name: item.file.name }), choose("both")], [words.up_skip, fill(words.up_skip_of, { name: item.file.name }), () => this.remove(item)]];
    if (kind !== "folder") ways.unshift([words.up_replace, fill(words.up_replace_of, { name: item.file.name }), choose("replace")]);
    item.set("asked", what, ways, false); /* Skip is the cross */
    announce(`${item.file.name}: ${what}`);
  }

  done(item, { folder, name, bytes }) {
    const path = `${folder.replace(/\/$/, "")}/${name}`;
    item.set("done", fill(this.words.up_done, { path, size: size(bytes) }));
    announce(`${item.file.name}: ${item.said.textContent}`);
    const leave = () => {
      if (!item.row.isConnected) return;
      if (item.row.matches(":hover, :focus-within")) setTimeout(leave, GONE_MS);
      else this.remove(item);
    };
    setTimeout(leave, GONE_MS);
  }

  fail(item, text) {
    const again = () => {
      item.why = undefined;
      item.again("ask");
      this.next();
    };
    item.set("failed", text, [[this.words.up_again, fill(this.words.up_again_of, { name: item.file.name }), again]]);
    announce(`${item.file.name}: ${text}`);
  }

  /** The socket is gone, and with it what was on its way. */
  lost() {
    for (const item of this.items) if (item.state === "sending" || item.state === "waiting") this.fail(item, this.words.up_lost);
  }
}
