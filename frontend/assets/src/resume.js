/* A session that ended while somebody typed: what was in the form is kept in this tab (never what is in a field of secrets), they
   sign in, and it is there again, in its dialog if it was in one. The server leads back with ?resume=1 (frontend/views/base.py); so
   does the dialog that says, over the page, that the session has ended (live.js hears it first). */
import { open } from "./dialog.js";
import { announce } from "./dom.js";
import { forget } from "./draft.js";

const KEY = "mist-typed";
const SECRET = "input[type=password], input[type=file], [data-secret], [name=csrfmiddlewaretoken], [data-no-draft]";

const fields = (form) => [...form.elements].filter((one) => one.name && !one.matches(SECRET) && one.type !== "submit" && one.type !== "hidden");

function keep(form) {
  if (form?.method !== "post" || !document.querySelector(".app")) return false; /* not the sign-in itself */
  const typed = fields(form).map((one) => [one.name, one.matches("[type=checkbox], [type=radio]") ? one.checked : one.value, one.value]);
  const dialog = form.closest("dialog")?.asked;
  if (typed.length) sessionStorage.setItem(KEY, JSON.stringify({ path: location.pathname, typed, dialog }));
  return typed.length > 0;
}

document.addEventListener("submit", (event) => keep(event.target), true);

let last = null; /* the form that was typed in */
document.addEventListener("input", (event) => (last = event.target.form ?? last));

document.addEventListener("mist:ended", () => {
  const box = document.getElementById("ended");
  if (!box || box.open) return;
  const there = new URL(location.href);
  if (last?.isConnected && keep(last)) there.searchParams.set("resume", "1");
  const link = box.querySelector("a");
  link.href = `${link.dataset.signIn}?next=${encodeURIComponent(there.pathname + there.search)}`;
  link.addEventListener("click", () => {
    if (there.searchParams.has("resume")) keep(last);
    forget();
  });
  box.showModal();
});

/* The dialog as it was asked for, with this session's token. */
async function reopened({ url, body }) {
  const data = body && new FormData();
  for (const [name, value] of body ?? []) data.append(name, value);
  data?.set("csrfmiddlewaretoken", document.querySelector("#palette-form [name=csrfmiddlewaretoken]").value);
  await open(url, null, data);
  return document.getElementById("dialog").querySelectorAll("form");
}

async function resume() {
  const here = new URL(location.href);
  if (!here.searchParams.has("resume")) return;
  here.searchParams.delete("resume");
  history.replaceState(history.state, "", here);
  const kept = JSON.parse(sessionStorage.getItem(KEY) ?? "null");
  sessionStorage.removeItem(KEY);
  const ours = kept?.path === here.pathname;
  const names = new Set(ours ? kept.typed.map(([name]) => name) : []);
  const alike = (form) => fields(form).filter((one) => names.has(one.name)).length;
  const [form] = [...(ours && kept.dialog ? await reopened(kept.dialog) : document.forms)].filter((one) => one.method === "post" && alike(one)).sort((a, b) => alike(b) - alike(a));
  const note = document.getElementById("resumed");
  if (form) {
    for (const list of form.querySelectorAll("mist-list-field")) list.become([...names]);
    const wanted = new Map(kept.typed.map(([name, value, of]) => [`${name} ${typeof value === "boolean" ? of : ""}`, value]));
    for (const one of fields(form)) {
      const box = one.matches("[type=checkbox], [type=radio]");
      const value = wanted.get(`${one.name} ${box ? one.value : ""}`);
      if (value === undefined) continue;
      if (box) one.checked = value;
      else one.value = value;
      if (kept.dialog) one.dispatchEvent(new Event("input", { bubbles: true }));
    }
  }
  if (note) {
    note.hidden = false;
    announce(note.textContent);
  }
}

resume();
