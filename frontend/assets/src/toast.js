/* <mist-toast>: at most three; success leaves after six seconds unless looked at, what failed or runs stays until closed.
   What could not be answered is said here too, or in its part of the page, which is asked for again when the server is back. */
const MOST = 3;
const LEAVES_AFTER = 6000;

class MistToast extends HTMLElement {
  static observedAttributes = ["data-stay", "class"];

  connectedCallback() {
    for (const other of document.querySelectorAll(`[id="${this.id}"]`)) if (other !== this) other.remove(); /* what was told of it before */
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

/** What was not done or shown, at the corner: in the server's words, or in ours where it did not answer at all. */
export async function unanswered(answer) {
  const made = document.createElement("template");
  made.innerHTML = (await answer?.text().catch(() => "")) ?? "";
  const notes = [...made.content.querySelectorAll("mist-toast")];
  if (!notes.length) notes.push(document.getElementById("no-answer").content.querySelector("mist-toast").cloneNode(true));
  document.getElementById("toasts").append(...notes);
}

/* The network, or the server itself, is gone: a part says so in its place, an act at the corner. */
function gone(ctx) {
  if (ctx.request.method !== "GET" || ctx.swap === "none" || !(ctx.target instanceof Element)) return unanswered(null);
  const note = document.getElementById("no-answer").content.querySelector(".failed-part").cloneNode(true);
  note.querySelector("[data-again]").dataset.again = ctx.request.action;
  ctx.target.replaceChildren(note);
}

document.addEventListener("htmx:error", (event) => event.detail?.ctx && !event.detail.ctx.response && gone(event.detail.ctx));
document.addEventListener("htmx:before:response", (event) => {
  const { ctx } = event.detail;
  if (ctx.response.headers.has("X-Request-Id")) return;
  event.preventDefault(); // something in between answered for the server: its words are not ours to show
  gone(ctx);
});

const again = (button) => window.htmx.ajax("GET", button.dataset.again, { source: button, target: button.closest(".failed-part").parentElement, swap: "innerHTML" });
document.addEventListener("click", (event) => {
  const button = event.target.closest?.("[data-again]");
  if (button) again(button);
});
document.addEventListener("mist:back", () => document.querySelectorAll("[data-again]").forEach(again));
document.addEventListener("click", (event) => event.target.closest?.("[data-dismiss]")?.closest("mist-toast")?.remove());
