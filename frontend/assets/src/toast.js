/* <mist-toast kind="ok">: leaves after six seconds unless looked at; what failed or can be undone stays until closed. */

class MistToast extends HTMLElement {
  connectedCallback() {
    this.querySelector("[data-dismiss]")?.addEventListener("click", () => this.remove());
    const toasts = this.parentElement ? [...this.parentElement.querySelectorAll("mist-toast")] : [];
    for (const old of toasts.slice(0, Math.max(0, toasts.length - 3))) old.remove();
    this.watch();
  }

  watch() {
    clearTimeout(this.timer);
    if (this.dataset.stay !== undefined) return;
    this.timer = setTimeout(() => {
      if (this.matches(":hover, :focus-within") || this.dataset.stay !== undefined) this.watch();
      else this.remove();
    }, 6000);
  }

  static observedAttributes = ["data-stay", "class"];

  attributeChangedCallback() {
    if (this.isConnected) this.watch();
  }
}

customElements.define("mist-toast", MistToast);
