/* <mist-run stream="…" after="123" view="hosts|stream" live>: appends what hosts say while they say it, keeps the end in sight
   while Follow is on, and shows times or wraps lines. Without it the page shows what was said until it was read. */
import "./run.css";

const LINES = 5000; // of one pane in the browser; the file has them all
const AGAIN = 2000;

class MistRun extends HTMLElement {
  connectedCallback() {
    this.follow = this.querySelector("[data-follow]");
    this.stopped = new AbortController();
    this.remember("times", this.querySelector("[data-times]"));
    const wrap = this.querySelector("[data-wrap]");
    const wraps = localStorage.getItem("run.wrap") === "1";
    const setWrap = (on) => {
      wrap.setAttribute("aria-pressed", String(on));
      this.classList.toggle("wrap", on);
      localStorage.setItem("run.wrap", on ? "1" : "");
    };
    setWrap(wraps);
    wrap.addEventListener("click", () => setWrap(wrap.getAttribute("aria-pressed") !== "true"));
    this.follow.addEventListener("change", () => this.follow.checked && this.toEnd());
    /* who scrolls up reads: the end comes back by Follow, or by scrolling there */
    for (const pre of this.querySelectorAll("pre")) pre.addEventListener("wheel", (event) => event.deltaY < 0 && (this.follow.checked = false), { passive: true });
    this.toEnd();
    document.addEventListener("mist:live", () => this.marks());
    if (this.hasAttribute("live")) this.listen();
  }

  disconnectedCallback() {
    this.stopped.abort();
  }

  remember(name, box) {
    box.checked = localStorage.getItem(`run.${name}`) === "1";
    const set = () => {
      this.classList.toggle(name, box.checked);
      localStorage.setItem(`run.${name}`, box.checked ? "1" : "");
    };
    box.addEventListener("change", set);
    set();
  }

  panes() {
    return new Map([...this.querySelectorAll("[data-pane]")].map((pane) => [pane.dataset.pane, pane.querySelector("pre")]));
  }

  async listen() {
    const all = this.querySelector("[data-all]");
    const panes = this.panes();
    if (!all && !panes.size) return setTimeout(() => location.reload(), AGAIN); // its hosts are being chosen
    const hosts = all ? "" : `&host=${[...panes.keys()].join(",")}`;
    let after = this.getAttribute("after");
    while (!this.stopped.signal.aborted) {
      try {
        const response = await fetch(`${this.getAttribute("stream")}?after=${after}${hosts}`, { signal: this.stopped.signal });
        if (!response.ok) return;
        const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
        let rest = "";
        for (;;) {
          const { value, done } = await reader.read();
          if (done) return;
          const lines = (rest + value).split("\n");
          rest = lines.pop();
          for (const line of lines) {
            const said = JSON.parse(line);
            after = said.after;
            this.append(all ?? panes.get(said.host), said, Boolean(all));
          }
        }
      } catch {
        if (this.stopped.signal.aborted) return;
        await new Promise((resolve) => setTimeout(resolve, AGAIN));
      }
    }
  }

  append(pre, said, named) {
    if (!pre) return;
    for (const waiting of pre.querySelectorAll("[data-waits]")) waiting.remove();
    if (named) {
      const name = document.createElement("b");
      name.className = "h";
      name.textContent = said.name;
      pre.append(name);
    }
    pre.insertAdjacentHTML("beforeend", said.html); // escaped by the server, every piece of it
    while (pre.childElementCount > LINES) pre.firstElementChild.remove();
    if (this.follow.checked) pre.scrollTop = pre.scrollHeight;
  }

  toEnd() {
    for (const pre of this.querySelectorAll("pre")) pre.scrollTop = pre.scrollHeight;
  }

  /* The list at the left is sent anew as hosts change; the panes' heads follow it. */
  marks() {
    for (const [id, pre] of this.panes()) {
      const line = document.querySelector(`#run-side [data-host="${id}"]`);
      const pane = pre.parentElement;
      if (!line || pane.dataset.mark === line.dataset.mark) continue;
      pane.dataset.mark = line.dataset.mark;
      pane.querySelector("header .mark").replaceWith(line.querySelector(".mark").cloneNode(true));
      const [exit, took] = pane.querySelectorAll("header .r > span");
      exit.textContent = line.dataset.exit;
      exit.classList.toggle("bad", line.classList.contains("on"));
      took.textContent = line.querySelector(".r").textContent;
      pane.classList.toggle("failed", line.classList.contains("on"));
    }
  }
}

customElements.define("mist-run", MistRun);
