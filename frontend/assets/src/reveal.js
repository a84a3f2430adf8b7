/* <mist-reveal seconds="60">: what is in [data-shown] leaves the page after so long, or by [data-hide], or when the page is left
   (so that going back does not show it). What stands there then is in its <template>. Without script the link reads the page anew. */
class MistReveal extends HTMLElement {
  connectedCallback() {
    this.timer = setTimeout(() => this.hide(), Number(this.getAttribute("seconds")) * 1000);
    this.addEventListener("click", (event) => {
      if (!event.target.closest("[data-hide]")) return;
      event.preventDefault();
      this.hide();
    });
    this.leaving = () => this.hide();
    window.addEventListener("pagehide", this.leaving);
  }

  disconnectedCallback() {
    clearTimeout(this.timer);
    window.removeEventListener("pagehide", this.leaving);
  }

  hide() {
    const after = this.querySelector("template");
    if (after) this.replaceChildren(after.content.cloneNode(true));
  }
}

customElements.define("mist-reveal", MistReveal);
