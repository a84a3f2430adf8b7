/* What may come next in a query bar: a list under the field, from the server. Focus stays in the field; arrows choose, Enter and Tab
   take what is chosen, Enter alone searches, Esc closes. */
const WAIT = 80;

export class Completion {
  constructor(input, list, url) {
    Object.assign(this, { input, list, url, asked: 0 });
    input.setAttribute("role", "combobox");
    input.setAttribute("aria-autocomplete", "list");
    input.setAttribute("aria-expanded", "false");
    input.setAttribute("aria-controls", list.id);
    input.addEventListener("input", () => this.soon());
    input.addEventListener("click", () => this.soon());
    input.addEventListener("blur", () => this.close());
    input.addEventListener("keydown", (event) => this.pressed(event));
    list.addEventListener("pointerdown", (event) => {
      event.preventDefault(); /* the field keeps the focus */
      const option = event.target.closest("[role=option]");
      if (option) this.take(option);
    });
  }

  options() {
    return [...this.list.querySelectorAll("[role=option]")];
  }

  chosen() {
    return this.list.querySelector("[aria-selected=true]");
  }

  soon() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.ask(), WAIT);
  }

  async ask() {
    const mine = ++this.asked;
    const at = this.input.selectionStart;
    if (!this.input.value.trim() || at !== this.input.selectionEnd) return this.close();
    const about = new URLSearchParams({ q: this.input.value, at: String([...this.input.value.slice(0, at)].length) });
    const answer = await fetch(`${this.url}&${about}`, { headers: { "HX-Request": "true" }, credentials: "same-origin" }).catch(() => null);
    if (mine !== this.asked || !answer?.ok || document.activeElement !== this.input) return;
    this.list.innerHTML = await answer.text();
    for (const option of this.options()) option.id = `${this.list.id}-${option.id}`; /* a page may have several lists */
    if (!this.options().length) return this.close();
    this.list.hidden = false;
    this.input.setAttribute("aria-expanded", "true");
    this.mark(null);
  }

  close() {
    clearTimeout(this.timer);
    this.asked++;
    this.list.hidden = true;
    this.input.setAttribute("aria-expanded", "false");
    this.input.removeAttribute("aria-activedescendant");
  }

  mark(option) {
    this.chosen()?.setAttribute("aria-selected", "false");
    this.input.removeAttribute("aria-activedescendant");
    if (!option) return;
    option.setAttribute("aria-selected", "true");
    this.input.setAttribute("aria-activedescendant", option.id);
    option.scrollIntoView({ block: "nearest" });
  }

  pressed(event) {
    const all = this.options();
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (this.list.hidden) {
      if (step === 1) this.soon();
      if (event.key.startsWith("Arrow") || event.key === "Home" || event.key === "End") this.soon();
      return;
    }
    if (step) {
      event.preventDefault();
      const here = all.indexOf(this.chosen());
      this.mark(all[here < 0 ? (step > 0 ? 0 : all.length - 1) : (here + step + all.length) % all.length]);
    } else if ((event.key === "Enter" || event.key === "Tab") && this.chosen()) {
      event.preventDefault();
      this.take(this.chosen());
    } else if (event.key === "Enter") this.close();
    else if (event.key === "Escape") {
      event.preventDefault();
      event.stopImmediatePropagation();
      this.close();
    }
  }

  /* Places are counted in characters, as the server does; a script counts some of them twice. */
  take(option) {
    const letters = [...this.input.value];
    const before = letters.slice(0, Number(option.dataset.start)).join("") + option.dataset.insert;
    const after = letters.slice(Number(option.dataset.end)).join("");
    const more = /[:=<>~]$/.test(option.dataset.insert);
    const gap = more || after.startsWith(" ") ? "" : " ";
    this.input.value = before + gap + after;
    this.input.setSelectionRange(before.length + gap.length, before.length + gap.length);
    this.input.dispatchEvent(new Event("input", { bubbles: true }));
    if (!more) this.close();
  }
}
