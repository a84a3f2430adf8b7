/* <mist-toast>: at most three; success leaves after six seconds unless looked at, what failed or runs stays until closed. */
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
