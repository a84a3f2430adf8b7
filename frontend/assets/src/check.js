/* <form data-check="id">: what is typed is tried on the server as soon as the form is complete, and the answer stands in that element.
   Nothing is kept of it. And the field that finds a provider. */
import { unanswered } from "./toast.js";

const WAIT = 900;
const form = document.querySelector("form[data-check]");
const box = form && document.getElementById(form.dataset.check);
let timer = null;
let asked = 0;
let last = "";

async function check() {
  const body = new FormData(form);
  body.set("_check", "1");
  const text = new URLSearchParams(body).toString();
  last = text;
  const mine = ++asked;
  const waiting = document.createElement("p");
  waiting.className = "dim fs12";
  waiting.textContent = box.dataset.checking;
  if (!box.querySelector("ul")) box.querySelector("[data-waiting]")?.replaceWith(waiting);
  box.setAttribute("aria-busy", "true");
  const answer = await fetch(form.action, { method: "POST", body, headers: { "HX-Request": "true" }, credentials: "same-origin" }).catch(() => null);
  if (mine !== asked) return;
  box.removeAttribute("aria-busy");
  if (!answer?.ok) {
    waiting.remove();
    return unanswered(answer);
  }
  box.innerHTML = await answer.text();
}

/* Only what would be sent: a form that lacks something is not tried, nor what was tried already. */
function soon() {
  clearTimeout(timer);
  timer = setTimeout(() => {
    if (!form.matches(":valid")) return;
    const body = new FormData(form);
    body.set("_check", "1");
    if (new URLSearchParams(body).toString() !== last) check();
  }, WAIT);
}

if (form) {
  form.addEventListener("input", soon);
  form.addEventListener("change", soon);
  document.addEventListener("click", (event) => {
    const again = event.target.closest?.("button[name=_check]");
    if (!again) return;
    if (form.reportValidity()) check();
    event.preventDefault();
  });
}

const finds = document.querySelector("input[data-finds]");
finds?.addEventListener("input", () => {
  const wanted = finds.value.trim().toLowerCase();
  let any = false;
  for (const group of document.querySelectorAll("[data-found]")) {
    let some = false;
    for (const link of group.querySelectorAll("a")) {
      link.hidden = !`${link.textContent} ${link.href.split("/").pop()}`.toLowerCase().includes(wanted);
      some ||= !link.hidden;
    }
    group.hidden = !some;
    any ||= some;
  }
  document.querySelector("[data-found-none]")?.toggleAttribute("hidden", any);
});
