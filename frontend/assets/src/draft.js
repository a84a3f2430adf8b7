/* <form data-draft="/o/x/drafts/machine.create">: what is typed is kept on the server (never what is in a field of secrets). Leaving with
   changes asks, on a page or in its dialog; not for what stands in data-no-draft. Ctrl Enter sends any form. */

const SOON = 900;
let dirty = null;

/** What was typed is kept elsewhere: leaving asks no more. */
export const forget = () => (dirty = null);

async function keep(form) {
  const data = new FormData(form);
  for (const field of form.querySelectorAll("input[type=password], input[type=file], [data-secret]")) data.delete(field.name);
  const answer = await fetch(form.dataset.draft, { method: "POST", body: data, headers: { "HX-Request": "true" }, credentials: "same-origin" }).catch(() => null);
  const note = form.querySelector("[data-draft-note]");
  if (note) note.textContent = answer?.ok ? note.dataset.saved : answer?.status === 422 || answer?.status === 409 ? await answer.text() : note.dataset.failed;
}

document.addEventListener("input", (event) => {
  const form = event.target.form ?? event.target.closest("form"); /* the editor of scripts is no field */
  if (!form || event.target.closest("[data-no-draft]")) return;
  if (form.method === "post" && form.closest(".app main, #dialog") && !form.closest("[popover]")) dirty = form;
  if (!form.dataset.draft) return;
  clearTimeout(form.keeping);
  form.keeping = setTimeout(() => keep(form), SOON);
});

document.addEventListener("submit", (event) => {
  clearTimeout(event.target.keeping);
  if (event.target === dirty) dirty = null;
});

window.addEventListener("beforeunload", (event) => {
  if (dirty?.isConnected) event.preventDefault();
});

/* A choice made while the list it stands in is being fetched anew stays. */
document.addEventListener("change", (event) => {
  const list = event.target.matches?.("input[type=radio]") && event.target.closest(".picks");
  if (list) list.dataset.chosen = event.target.value;
});
document.addEventListener("htmx:after:swap", () => {
  for (const list of document.querySelectorAll(".picks[data-chosen]")) {
    const chosen = [...list.querySelectorAll("input[type=radio]")].find((one) => one.value === list.dataset.chosen);
    if (chosen) chosen.checked = true;
  }
});

/* − and + beside a number */
document.addEventListener("click", (event) => {
  const step = event.target.closest?.("button[data-step]");
  const field = step?.parentElement.querySelector("input");
  if (!field) return;
  field.value = String(Math.min(Number(field.dataset.most ?? 100), Math.max(1, (Number(field.value) || 1) + Number(step.dataset.step))));
  field.dispatchEvent(new window.Event("input", { bubbles: true }));
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  const form = event.target.form ?? event.target.closest?.("form");
  if (!form || form.method !== "post") return;
  event.preventDefault();
  form.requestSubmit(form.querySelector("button.pri[type=submit], button.crit.fill[type=submit]") ?? undefined);
});
