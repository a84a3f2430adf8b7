/* Links marked data-dialog open in the page's <dialog>, and so does what a button so marked sends of its form; without script they are
   pages of their own.
   <mist-confirm word="web-1"> keeps its submit button shut until the word is typed. */

import { busy } from "./dom.js";
import { showAt, thaw } from "./menu.js";
import { unanswered } from "./toast.js";

const dialog = () => document.getElementById("dialog");

/* The answer is a dialog, or a short question (data-ask-form) for a popover beside what asked. */
export async function open(url, invoker, body) {
  const asked = fetch(url, { method: body ? "POST" : "GET", body, headers: { "HX-Request": "true", "HX-Dialog": "1" }, credentials: "same-origin" });
  const answer = await busy(invoker, asked).catch(() => null);
  if (answer?.redirected || answer?.status === 401) return location.assign(body ? location.href : url);
  if (!answer?.ok && answer?.status !== 422) return unanswered(answer);
  const text = await answer.text();
  if (text.includes("data-ask-form")) return showAt(document.getElementById("ask"), text, invoker);
  invoker?.closest("[popover]")?.hidePopover();
  const box = dialog();
  box.asked = { url, body: body ? [...body] : null }; // to be asked once more, should the session end meanwhile (resume.js)
  box.innerHTML = text;
  window.htmx.process(box);
  box.addEventListener("close", () => invoker?.isConnected && invoker.focus(), { once: true });
  for (const line of box.querySelectorAll("[data-when]")) line.hidden = !document.querySelector(line.dataset.when); // keys of this page
  box.showModal();
  const title = box.querySelector("h2[id]");
  if (title) box.setAttribute("aria-labelledby", title.id);
  (box.querySelector("[autofocus], [aria-invalid='true'], input:not([type=hidden]), button") ?? box).focus();
}

document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[data-dialog]");
  if (link && !event.ctrlKey && !event.metaKey && !event.shiftKey && dialog()) {
    event.preventDefault();
    open(link.href, link);
    return;
  }
  const button = event.target.closest?.("button[data-dialog]");
  if (button) {
    event.preventDefault();
    open(button.dataset.dialog || button.form.action, button, new FormData(button.form, button.type === "submit" ? button : null));
    return;
  }
  if (event.target.closest?.("[data-close]")) {
    const box = event.target.closest("dialog");
    if (box) {
      event.preventDefault();
      box.close();
    }
  }
});

/* An act that went well closes what asked for it. */
document.addEventListener("htmx:after:request", (event) => {
  const status = event.detail?.ctx?.response?.status ?? 0;
  if (status < 200 || status >= 300) return;
  const element = event.target;
  if (!(element instanceof Element) || !element.matches("form[data-act]")) return;
  const box = element.closest("dialog");
  if (box) {
    box.close();
    box.replaceChildren(); // at once: what is left in it would be taken for an answer to show
  }
  const pop = element.closest("[popover]");
  if (!pop?.matches(":popover-open")) return;
  pop.hidePopover();
  thaw(); // at once: the answer may bring what the menu belongs to
});

/* What a form asked for arrives in the dialog: show it. */
document.addEventListener("htmx:after:swap", () => {
  const box = dialog();
  if (!box || box.open || !box.querySelector("form")) return;
  for (const line of box.querySelectorAll("[data-when]")) line.hidden = !document.querySelector(line.dataset.when); // keys of this page
  box.showModal();
  (box.querySelector("[autofocus], input:not([type=hidden])") ?? box).focus();
});
document.addEventListener("close", (event) => event.target === dialog() && event.target.replaceChildren(), true);

/* Forms that a live fragment brought have no token of their own; the cookie has it. And one may be gone before its answer is there,
   replaced by what it changed: htmx would drop the answer with its note, was it meant for the form. */
document.addEventListener("htmx:config:request", (event) => {
  const { ctx } = event.detail;
  const token = /(?:^|; )csrftoken=([^;]+)/.exec(document.cookie)?.[1];
  if (token) ctx.request.headers["X-CSRFToken"] = token;
  if (ctx.swap === "none") ctx.target = document.getElementById("toasts") ?? ctx.target;
});

class MistConfirm extends HTMLElement {
  connectedCallback() {
    const field = this.querySelector("input");
    const button = (this.closest("form") ?? this).querySelector("button[type=submit]:not([formnovalidate])");
    if (!field || !button) return;
    const check = () => {
      button.disabled = field.value.trim() !== this.getAttribute("word");
    };
    field.addEventListener("input", check);
    check();
  }
}

customElements.define("mist-confirm", MistConfirm);
window.mistOpenDialog = open;
