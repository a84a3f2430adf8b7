/* <mist-copy>text</mist-copy>: a button before the text that copies it; `value` copies something else. */
import { announce, icon } from "./dom.js";

class MistCopy extends HTMLElement {
  connectedCallback() {
    if (this.querySelector("button")) return;
    const text = this.getAttribute("value") ?? this.textContent.trim();
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-label", `${this.dataset.label ?? "Copy"} ${text.length > 60 ? "" : text}`.trim());
    button.append(icon("copy"));
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(text);
      } catch {
        return this.select(); // no clipboard without TLS: the text is selected, Ctrl C takes it
      }
      button.classList.add("done");
      button.replaceChildren(icon("check"));
      announce(this.dataset.done ?? "Copied");
      setTimeout(() => {
        button.classList.remove("done");
        button.replaceChildren(icon("copy"));
      }, 1500);
    });
    this.prepend(button);
  }

  select() {
    const range = document.createRange();
    range.selectNodeContents(this);
    getSelection().removeAllRanges();
    getSelection().addRange(range);
  }
}

customElements.define("mist-copy", MistCopy);
/* a live fragment comes without the button */
for (const name of ["mist:live", "htmx:after:swap"]) document.addEventListener(name, () => document.querySelectorAll("mist-copy").forEach((element) => element.connectedCallback()));
/* the build reads these: icon="copy" icon="check" */
