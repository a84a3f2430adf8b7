/* <mist-replay src=… output=…>: plays a recording; speed, pauses cut, jumps to commands and to what was searched, links to moments.
   The pauses are cut here, not by the player, so that a moment keeps its name: #t=12.5 is 12.5 s after the beginning of the session. */
import * as AsciinemaPlayer from "asciinema-player";
import { announce } from "../dom.js";
import "./replay.css";

const LONGEST_PAUSE = 2;
const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;

class MistReplay extends HTMLElement {
  async connectedCallback() {
    this.stage = this.querySelector(".player");
    this.hits = this.querySelector(".hits");
    this.speed = 1;
    this.cut = true;
    this.addEventListener("click", (event) => this.clicked(event));
    document.querySelector(".info2")?.addEventListener("click", (event) => this.clicked(event));
    this.querySelector("[data-idle]").addEventListener("change", (event) => {
      const at = this.now();
      this.cut = event.target.checked;
      this.play(at);
    });
    this.querySelector("[data-search]").addEventListener("submit", (event) => {
      event.preventDefault();
      this.search(event.target.querySelector("input").value.trim());
    });
    window.addEventListener("hashchange", () => this.seek(this.wanted()));
    try {
      const answer = await fetch(this.getAttribute("src"), { credentials: "same-origin" });
      if (!answer.ok) throw new Error(`${answer.status} ${answer.statusText}`);
      this.read(await answer.text());
    } catch (error) {
      this.stage.textContent = this.dataset.failed.replace("{why}", error.message);
      return;
    }
    this.play(this.wanted(), false);
    setInterval(() => this.tell(), 500);
  }

  wanted() {
    return Number(/^#t=([\d.]+)/.exec(location.hash)?.[1] ?? 0) || 0;
  }

  read(text) {
    const [head, ...lines] = text.split("\n").filter(Boolean);
    this.head = JSON.parse(head);
    this.events = [];
    for (const line of lines) {
      try {
        this.events.push(JSON.parse(line));
      } catch {
        break; /* a torn last line */
      }
    }
  }

  /* [session second, played second] at each event, with the pauses cut. */
  timeline() {
    let played = 0;
    let before = 0;
    this.map = [[0, 0]];
    return this.events.map(([at, kind, data]) => {
      const gap = at - before;
      played += this.cut ? Math.min(gap, LONGEST_PAUSE) : gap;
      before = at;
      this.map.push([at, played]);
      return [played, kind, data];
    });
  }

  convert(value, from) {
    const to = 1 - from;
    let low = 0;
    let high = this.map.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.map[middle][from] <= value) low = middle;
      else high = middle - 1;
    }
    const here = this.map[low];
    const next = this.map[low + 1];
    if (!next || next[from] === here[from]) return here[to];
    return here[to] + ((value - here[from]) / (next[from] - here[from])) * (next[to] - here[to]);
  }

  async now() {
    return this.convert(await Promise.resolve(this.player?.getCurrentTime() ?? 0), 1);
  }

  async play(at, running = true) {
    at = await at;
    const events = this.timeline();
    this.player?.dispose();
    this.stage.replaceChildren();
    this.player = AsciinemaPlayer.create({ data: [this.head, ...events] }, this.stage, {
      cols: this.head.width, rows: this.head.height, speed: this.speed, startAt: this.convert(at, 0), autoPlay: running, preload: true, fit: "width", controls: true,
      terminalFontFamily: getComputedStyle(document.documentElement).getPropertyValue("--font-mono"), poster: `npt:${this.convert(at, 0)}`,
    });
  }

  async seek(at) {
    /* a moment before, so that what happened at it is seen to happen */
    await this.player?.seek(Math.max(0, this.convert(at, 0) - 0.3));
    await this.player?.play();
  }

  async tell() {
    this.querySelector("[data-at]").textContent = clock(await this.now());
  }

  async clicked(event) {
    const button = event.target.closest?.("button");
    if (!button) return;
    if (button.dataset.seek) return this.seek(Number(button.dataset.seek));
    if (button.dataset.speed) {
      for (const one of this.querySelectorAll("[data-speed]")) one.setAttribute("aria-pressed", String(one === button));
      const at = await this.now();
      this.speed = Number(button.dataset.speed);
      return this.play(at);
    }
    if ("link" in button.dataset) {
      const at = (await this.now()).toFixed(1);
      history.replaceState(null, "", `#t=${at}`);
      await navigator.clipboard?.writeText(location.href);
      announce(this.dataset.copied);
    }
  }

  async search(text) {
    this.hits.hidden = !text;
    if (!text) return;
    const answer = await fetch(`${this.getAttribute("output")}?${new URLSearchParams({ q: text })}`, { credentials: "same-origin" });
    const { hits = [], error } = await answer.json();
    const items = hits.map(({ at_s: at, line }) => {
      const item = document.createElement("li");
      const button = document.createElement("button");
      button.type = "button";
      button.dataset.seek = at;
      const when = document.createElement("time");
      when.textContent = clock(at);
      const code = document.createElement("code");
      code.textContent = line.trim();
      button.append(when, code);
      item.append(button);
      return item;
    });
    if (!items.length) {
      const none = document.createElement("li");
      none.className = "dim fs12";
      none.textContent = error ?? this.dataset.none;
      items.push(none);
    }
    this.hits.replaceChildren(...items);
  }
}

customElements.define("mist-replay", MistReplay);
