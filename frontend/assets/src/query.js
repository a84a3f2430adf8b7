/* <mist-query>: the query bar. Terms are painted under the text while it is not being scrolled; "/" comes here (its data-key), Esc leaves. */
import { Completion } from "./complete.js";

const TERM = /"[^"]*"?|[^\s"()]+(?:"[^"]*"?)?|[()]|\s+/g;
const SPLIT = /^(-?)([A-Za-z_][\w.]*)(!=|>=|<=|[:=<>~])(.*)$/s;

class MistQuery extends HTMLElement {
  connectedCallback() {
    this.input = this.querySelector("input");
    this.paint = this.querySelector(".qbar-paint");
    const draw = () => this.draw();
    const list = this.querySelector("[role=listbox]");
    if (list) new Completion(this.input, list, list.dataset.url); /* first: Esc closes its list before it empties the field */
    this.input.addEventListener("input", draw);
    this.input.addEventListener("scroll", () => (this.paint.scrollLeft = this.input.scrollLeft));
    this.input.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.input.value ? (this.input.value = "", draw()) : this.input.blur();
    });
    draw();
  }

  draw() {
    const parts = [];
    let painted = false;
    for (const [word] of this.input.value.matchAll(TERM)) {
      const term = SPLIT.exec(word);
      if (!term) {
        parts.push(document.createTextNode(word));
        continue;
      }
      painted = true;
      const span = document.createElement("span");
      const key = document.createElement("b");
      const operator = document.createElement("i");
      key.textContent = term[1] + term[2];
      operator.textContent = term[3];
      span.append(key, operator, term[4]);
      if (term[1]) span.className = "neg";
      parts.push(span);
    }
    this.paint.replaceChildren(...parts);
    this.classList.toggle("painted", painted);
    this.paint.scrollLeft = this.input.scrollLeft;
  }
}

customElements.define("mist-query", MistQuery);
