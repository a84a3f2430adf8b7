/* <details data-call="/where/the/form/goes">: the form it stands in (or data-form="id") as a command, a curl, a few lines of Python. It is
   asked for when the fold is opened, and as the form changes while it is open. What is in a field of secrets is not sent for it. */
import { unanswered } from "./toast.js";

const SOON = 300;
const SECRET = "input[type=password], input[type=file], [data-secret]";
const formOf = (fold) => document.getElementById(fold.dataset.form) ?? fold.closest("form");

async function ask(fold) {
  const form = formOf(fold);
  const box = fold.querySelector("[data-calls]");
  const body = new FormData(form);
  for (const field of form.elements) if (field.name && field.value && field.matches(SECRET)) body.set(field.name, "…");
  body.set("_call", "1");
  const mine = (fold.asked = (fold.asked ?? 0) + 1);
  const answer = await fetch(fold.dataset.call, { method: "POST", body, headers: { "HX-Request": "true" }, credentials: "same-origin" }).catch(() => null);
  if (mine !== fold.asked || !fold.isConnected) return;
  if (!answer?.ok || answer.redirected) {
    box.replaceChildren(); // an old text is worse than none
    return unanswered(answer);
  }
  box.innerHTML = await answer.text();
  stay();
}

document.addEventListener(
  "toggle",
  (event) => {
    if (event.target.matches?.("details[data-call][open]")) ask(event.target);
  },
  true,
);

document.addEventListener("input", (event) => {
  const form = event.target.form ?? event.target.closest?.("form"); /* the editor of scripts is no field */
  if (!form) return;
  for (const fold of document.querySelectorAll("details[data-call][open]")) {
    if (formOf(fold) !== form) continue;
    clearTimeout(fold.soon);
    fold.soon = setTimeout(() => fold.open && ask(fold), SOON);
  }
});

/* <… data-calls>, in which the texts come anew (with the whole plan, when machines are created): the way one chose to read stays open there. */
document.addEventListener("click", (event) => {
  const summary = event.target.closest?.("[data-calls] mist-tabs summary");
  if (summary) summary.closest("[data-calls]").way = summary.textContent;
});
function stay() {
  for (const one of document.querySelectorAll("[data-calls] mist-tabs > details")) if (one.firstElementChild.textContent === one.closest("[data-calls]").way) one.open = true;
}
document.addEventListener("htmx:after:swap", stay);
