/* <mist-rows name="machines" bar="/o/x/machines/bulk">: which rows are chosen. The set lives here (and for this tab), not in
   the boxes: it survives sorting, paging and live updates. The bulk bar comes from the server, which knows what each can do. */
import { announce, busy, writing } from "./dom.js";
import { unanswered } from "./toast.js";

const LIMIT = 1000; // ids sent with a request; above that one selects the query

class MistRows extends HTMLElement {
  connectedCallback() {
    this.key = `rows:${location.pathname}`;
    this.chosen = new Set(JSON.parse(sessionStorage.getItem(this.key) ?? "[]"));
    this.all = false;
    this.bar = document.getElementById("bulk");
    this.addEventListener("click", (event) => this.clicked(event));
    document.addEventListener("mist:live", this.redraw = () => this.draw());
    document.addEventListener("click", this.barClick = (event) => this.barClicked(event));
    document.addEventListener("keydown", this.keys = (event) => this.key_(event));
    this.draw();
    this.fetchBar();
  }

  disconnectedCallback() {
    document.removeEventListener("mist:live", this.redraw);
    document.removeEventListener("click", this.barClick);
    document.removeEventListener("keydown", this.keys);
  }

  boxes() {
    return [...this.querySelectorAll("tbody input[type=checkbox][value]")];
  }

  clicked(event) {
    const button = event.target.closest?.("[data-unfold]");
    if (button) return this.unfold(button);
    const box = event.target;
    if (!(box instanceof HTMLInputElement) || box.type !== "checkbox") return;
    this.all = false;
    if (box.hasAttribute("data-all")) for (const one of this.boxes()) this.choose(one.value, box.checked);
    else {
      const boxes = this.boxes();
      if (event.shiftKey && this.before?.isConnected) {
        const [from, to] = [boxes.indexOf(this.before), boxes.indexOf(box)].sort((a, b) => a - b);
        for (const one of boxes.slice(from, to + 1)) this.choose(one.value, box.checked);
      } else this.choose(box.value, box.checked);
      this.before = box;
    }
    this.changed();
  }

  choose(id, on) {
    if (on) this.chosen.add(id);
    else this.chosen.delete(id);
  }

  changed() {
    const chosen = [...this.chosen].slice(0, LIMIT);
    sessionStorage.setItem(this.key, JSON.stringify(chosen));
    for (const ids of this.bar?.querySelectorAll("input[name=ids]") ?? []) ids.value = chosen.join(","); // who is quicker than the bar asks for what is chosen now
    this.draw();
    this.asked = (this.asked ?? 0) + 1; // a bar still on its way is about what was chosen before
    clearTimeout(this.soon);
    this.soon = setTimeout(() => this.fetchBar(), 120);
  }

  draw() {
    const boxes = this.boxes();
    for (const box of boxes) {
      const on = this.all || this.chosen.has(box.value);
      if (box.checked !== on) box.checked = on;
      const row = box.closest("tr");
      if (row && (row.getAttribute("aria-selected") === "true") !== on) row.setAttribute("aria-selected", String(on));
    }
    const head = this.querySelector("input[data-all]");
    const here = boxes.filter((box) => box.checked).length;
    if (head) {
      head.checked = here > 0 && here === boxes.length;
      head.indeterminate = here > 0 && here < boxes.length;
    }
    this.classList.toggle("has-bulk", this.all || this.chosen.size > 0);
  }

  async fetchBar() {
    if (!this.bar) return;
    if (!this.all && !this.chosen.size) {
      this.bar.hidden = true;
      this.bar.replaceChildren();
      return;
    }
    const asked = (this.asked = (this.asked ?? 0) + 1);
    const body = new FormData(document.getElementById("bulk-form"));
    body.set("of", this.bar.dataset.total ?? "");
    if (this.all) body.set("q", this.bar.dataset.q);
    else body.set("ids", [...this.chosen].slice(0, LIMIT).join(","));
    const answer = await fetch(this.getAttribute("bar"), { method: "POST", body, headers: { "HX-Request": "true" }, credentials: "same-origin" }).catch(() => null);
    if (asked !== this.asked || !answer?.ok) return;
    this.bar.innerHTML = await answer.text();
    this.bar.hidden = false;
    window.htmx.process(this.bar);
    announce(this.bar.querySelector("b")?.textContent ?? "");
  }

  /* What is inside: the rows of a group, or of a host. They come when asked for, and go again. */
  async unfold(button) {
    const line = button.closest("tr");
    const under = new URL(button.dataset.unfold, location.href).searchParams.get("under");
    const open = button.getAttribute("aria-expanded") === "true";
    if (open) for (const row of under ? this.querySelectorAll(`[data-under="${window.CSS.escape(under)}"]`) : line.parentElement.querySelectorAll("tr + tr")) row.remove();
    else {
      const asked = fetch(button.dataset.unfold, { headers: { "HX-Request": "true", "HX-Dialog": "1" }, credentials: "same-origin" });
      const answer = await busy(button, asked).catch(() => null);
      if (!answer?.ok) return unanswered(answer);
      if (button.getAttribute("aria-expanded") === "true") return;
      line.insertAdjacentHTML("afterend", await answer.text());
      window.htmx.process(this);
    }
    button.setAttribute("aria-expanded", String(!open));
    document.dispatchEvent(new CustomEvent("mist:rows"));
    this.draw();
  }

  barClicked(event) {
    const button = event.target.closest?.("#bulk [data-bulk]");
    if (!button) return;
    if (button.dataset.bulk === "clear") this.clear();
    if (button.dataset.bulk === "all") {
      this.all = true;
      this.draw();
      this.fetchBar();
    }
  }

  clear() {
    this.all = false;
    this.chosen.clear();
    this.changed();
    this.fetchBar();
  }

  key_(event) {
    if (event.key === "Escape" && !writing(event.target) && (this.all || this.chosen.size) && !document.querySelector("dialog[open], :popover-open")) this.clear();
  }
}

customElements.define("mist-rows", MistRows);
/* A bulk act that was accepted ends the selection. */
document.addEventListener("htmx:after:request", (event) => {
  const status = event.detail?.ctx?.response?.status ?? 0;
  if (status >= 200 && status < 300 && event.target instanceof Element && event.target.matches("[data-bulk-act]")) document.querySelector("mist-rows")?.clear();
});
