/* <mist-complete url="…?part=verbs"> around a field and its [role=listbox]: the server says what may come at the cursor. */
import { Completion } from "./complete.js";

class MistComplete extends HTMLElement {
  connectedCallback() {
    if (this.completion) return;
    this.completion = new Completion(this.querySelector("input"), this.querySelector("[role=listbox]"), this.getAttribute("url"));
  }
}

customElements.define("mist-complete", MistComplete);
