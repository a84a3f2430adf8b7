/* <mist-live hx-ws:connect="/ws/console?org=…">: tells the server what is on screen, and the person how fresh it is.
   Fragments come as HTML with hx-swap-oob and are morphed in by htmx. A message that is JSON without content is for us (see
   frontend/consumers.py). It is live once the server says that all on screen is right,
   and not while it says that it cannot know. */
import { announce } from "./dom.js";

const PING_AFTER = 30_000;
const GIVE_UP = 10_000;
const ENDED = 4401;

class MistLive extends HTMLElement {
  connectedCallback() {
    this.state = "connecting";
    this.missed = new WeakSet(); /* changed while a menu held them still */
    this.last = this.told = Date.now(); /* when the page was right, and when anything came, last */
    this.addEventListener("htmx:ws:after:connection", (event) => {
      this.connection = event.detail.connection;
      this.away = null;
      this.show();
    });
    this.addEventListener("htmx:ws:before:message:incoming", (event) => {
      const text = event.detail.message.data;
      if (typeof text === "string" && text.startsWith('{"away"')) this.away = JSON.parse(text).away;
      for (const element of document.querySelectorAll("[data-live][hx-morph-skip]")) {
        if (typeof text === "string" && text.includes(`id="${element.id}"`)) this.missed.add(element);
      }
      this.heard();
      this.applying = true;
    });
    this.addEventListener("htmx:ws:after:message:incoming", (event) => {
      const text = event.detail.message.data;
      if (typeof text === "string" && text.startsWith('{"gone"')) this.gone(JSON.parse(text).gone);
      if (typeof text === "string" && text.startsWith('{"new"')) this.news(JSON.parse(text).new);
      /* the observer's records are delivered as a microtask: what it sees until then is the server's doing */
      setTimeout(() => (this.applying = false), 0);
      document.dispatchEvent(new CustomEvent("mist:live"));
    });
    this.addEventListener("htmx:ws:close", (event) => {
      if (event.detail.code === ENDED) this.over();
      else this.set(event.detail.reason === "removed" ? "paused" : "reconnecting");
    });
    this.addEventListener("htmx:ws:error", () => this.state !== "live" && this.set("reconnecting"));
    for (const name of ["htmx:after:swap", "mist:rows"]) document.addEventListener(name, () => this.show());
    document.addEventListener("mist:thawed", (event) => this.again(event.detail));
    this.addEventListener("click", () => this.toggle());
    this.addEventListener("keydown", (event) => (event.key === "Enter" || event.key === " ") && (event.preventDefault(), this.toggle()));
    this.timer = setInterval(() => this.beat(), 1000);
    this.observer = new MutationObserver((records) => this.applying && this.flash(records));
    const main = document.getElementById("main");
    if (main) this.observer.observe(main, { subtree: true, childList: true, characterData: true, attributes: true, attributeFilter: ["class"] });
  }

  disconnectedCallback() {
    clearInterval(this.timer);
    this.observer?.disconnect();
  }

  /* {"machine.row": [ids], …} of everything on screen that can change; nothing while it is paused. Sent whenever that changes. */
  show() {
    if (this.connection?.socket?.readyState !== WebSocket.OPEN) return;
    const shown = {};
    for (const element of this.held ? [] : document.querySelectorAll("[data-live]")) {
      const [name, id] = element.dataset.live.split(":");
      (shown[name] ??= []).push(id);
    }
    const how = this.held ? null : document.querySelector("[data-live-how]");
    const text = JSON.stringify({ show: shown, how: how ? JSON.parse(how.dataset.liveHow) : {} });
    if (text === this.shown && this.shownOn === this.connection.socket) return;
    this.shown = text;
    this.shownOn = this.connection.socket;
    this.connection.socket.send(text);
  }

  /* What came for these while a menu held them still was left out: it is sent as it is now. */
  again(elements) {
    const wanted = {};
    for (const element of elements.filter((one) => this.missed.delete(one))) {
      const [name, id] = element.dataset.live.split(":");
      (wanted[name] ??= []).push(id);
    }
    const socket = this.connection?.socket;
    if (Object.keys(wanted).length && socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ again: wanted }));
  }

  /* Deleted, or out of sight: the row stays where it is, dimmed, until the page is read again. */
  gone(names) {
    for (const [name, ids] of Object.entries(names)) {
      for (const id of ids) for (const element of document.querySelectorAll(`[data-live="${name}:${id}"]`)) element.classList.add("gone");
    }
  }

  /* Rows that have come since: they wait above the table until asked for, so that nothing moves under the pointer. */
  news(count) {
    const note = document.getElementById("news");
    if (!note) return;
    note.hidden = !count;
    note.querySelector("span").textContent = count === 1 ? note.dataset.one : note.dataset.many.replace("{n}", count > 100 ? "100+" : String(count));
  }

  /* The server ended it: they may look no more, or their session only has another key since (a password was changed). */
  async over(tries = 1) {
    this.set("ended");
    const again = Date.now() - Number(this.dataset.again ?? 0) > GIVE_UP;
    const answer = await fetch(document.body.dataset.shortcuts, { redirect: "manual", credentials: "same-origin" }).catch(() => null);
    if (!answer) return setTimeout(() => this.isConnected && this.over(), 2000);
    if (!answer.ok && tries) return setTimeout(() => this.isConnected && this.over(0), 1000); // the session's new key may be on its way
    if (!answer.ok || !again) return document.dispatchEvent(new CustomEvent("mist:ended"));
    const next = this.cloneNode(true);
    next.dataset.again = String(Date.now());
    this.replaceWith(next);
    window.htmx.process(next);
  }

  heard() {
    this.told = Date.now();
    this.asked = 0;
    if (this.away === false) this.last = this.told;
    this.settle();
  }

  settle() {
    if (this.away !== null) this.set(this.away ? "reconnecting" : this.held ? "paused" : "live");
  }

  /* Paused: nothing of the page is watched. Resumed: the server is told what is on screen, and says how that is now. */
  toggle() {
    if (this.state !== "live" && !this.held) return;
    this.held = !this.held;
    this.shown = null;
    this.settle();
    this.show();
  }

  beat() {
    const silent = Date.now() - this.told;
    if (this.connection?.socket?.readyState === WebSocket.OPEN && silent > PING_AFTER) {
      if (!this.asked) {
        this.asked = Date.now();
        this.connection?.socket?.send(JSON.stringify({ ping: true }));
      } else if (Date.now() - this.asked > GIVE_UP) {
        this.connection?.socket?.close();
        this.set("reconnecting");
      }
    }
    if (this.state !== "live") this.draw();
  }

  set(state) {
    if (state === this.state) return;
    if (state === "live" && this.state === "reconnecting") {
      announce(this.dataset.live);
      document.dispatchEvent(new CustomEvent("mist:back"));
    }
    this.state = state;
    this.draw();
  }

  draw() {
    const dot = this.querySelector(".livedot");
    const text = this.querySelector(".t");
    const age = Math.round((Date.now() - this.last) / 1000);
    const words = { live: this.dataset.live, connecting: this.dataset.connecting, paused: this.dataset.paused, ended: this.dataset.ended };
    const label = words[this.state] ?? this.dataset.reconnecting.replace("{age}", String(age));
    dot.className = `livedot${{ live: "", reconnecting: " warn" }[this.state] ?? " off"}`;
    if (text.textContent !== label) text.textContent = label;
    this.title = this.state === "live" ? this.dataset.liveTitle : label;
    this.dataset.state = this.state;
  }

  flash(records) {
    for (const record of records) {
      const node = record.target instanceof Element ? record.target : record.target.parentElement;
      const cell = node?.closest("td, .flashable");
      if (!cell || cell.classList.contains("flash") || !cell.closest("[data-live]")) continue;
      cell.classList.add("flash");
    }
  }
}

customElements.define("mist-live", MistLive);
/* Not of each cell: one that changes before its tint has gone is tinted anew, and its last one never ends. */
document.addEventListener("animationend", (event) => event.target.classList.remove("flash"));
