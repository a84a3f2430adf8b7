/* <mist-toast>: at most three; success leaves after six seconds unless looked at, what failed or runs stays until closed.
   "z" undoes the last thing: the newest Undo there is, of a note, the drawer or the page. */
import { writing } from "./dom.js";

const MOST = 3;
const LEAVES_AFTER = 6000;

class MistToast extends HTMLElement {
  static observedAttributes = ["data-stay", "class"];

  connectedCallback() {
    const toasts = this.parentElement ? [...this.parentElement.querySelectorAll("mist-toast")] : [];
    for (const old of toasts.slice(0, Math.max(0, toasts.length - MOST))) old.remove();
    this.watch();
  }

  attributeChangedCallback() {
    if (this.isConnected) this.watch();
  }

  watch() {
    clearTimeout(this.timer);
    if (this.dataset.stay !== undefined) return;
    this.timer = setTimeout(() => {
      if (this.matches(":hover, :focus-within") || this.dataset.stay !== undefined) this.watch();
      else this.remove();
    }, LEAVES_AFTER);
  }
}

customElements.define("mist-toast", MistToast);
document.addEventListener("click", (event) => event.target.closest?.("[data-dismiss]")?.closest("mist-toast")?.remove());

document.addEventListener("keydown", (event) => {
  if (event.key !== "z" || event.ctrlKey || event.metaKey || event.altKey || writing(event.target) || document.querySelector("dialog[open]")) return;
  const undos = [...document.querySelectorAll("#toasts [data-undo]"), ...document.querySelectorAll("[data-undo]")].filter((one) => one.checkVisibility());
  const last = undos.filter((one) => one.closest("#toasts")).at(-1) ?? undos[0];
  if (!last) return;
  event.preventDefault();
  last.click();
});
