/* The live tail of the audit log: when the server says that something came, the page is asked again and what is new is put on top,
   at most every two seconds. It waits, and counts, while somebody reads: the list is scrolled, pointed at, or a row is open. */

const EVERY = 2000;
const MOST = 200; // rows kept

let asked = 0;
let soon = null;
let waiting = []; // rows that came and are not shown

const at = (id) => document.getElementById(id);
const paused = () => at("tail-pause")?.getAttribute("aria-pressed") === "true";

function reading() {
  const box = at("events");
  return box.scrollTop > 8 || box.matches(":hover") || box.querySelector("details[open]") !== null || document.querySelector("mist-brush")?.busy;
}

function told() {
  const tail = at("tail");
  if (!tail) return;
  if (tail.dataset.newest === at("events").dataset.newest || paused() || soon) return;
  soon = setTimeout(ask, Math.max(0, asked + EVERY - Date.now()));
}

async function ask() {
  const tail = at("tail");
  asked = Date.now();
  const answer = tail ? await fetch(location.href, { headers: { Accept: "text/html" }, credentials: "same-origin" }).catch(() => null) : null;
  soon = null;
  if (!answer?.ok || answer.redirected || !at("tail")) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  at("events").dataset.newest = page.getElementById("tail")?.dataset.newest ?? tail.dataset.newest;
  const rows = [...page.querySelectorAll("#events tbody[id]")].map((row) => document.adoptNode(row));
  waiting = rows.filter((row) => !at(row.id));
  if (!document.querySelector("mist-brush")?.busy) for (const id of ["bars", "facets", "meta", "count"]) put(page.getElementById(id));
  if (!at("events").querySelector("table")) location.reload(); // the first ones
  else if (reading()) offer();
  else show();
  told();
}

/* Opened parts stay open, and what has the focus keeps it. */
function put(now) {
  const was = now && at(now.id);
  if (!was || was.innerHTML === now.innerHTML) return;
  if (was.contains(document.activeElement) || was.querySelector("details[open]")) return;
  was.innerHTML = now.innerHTML;
}

function offer() {
  const button = at("fresh");
  button.hidden = waiting.length === 0;
  button.textContent = waiting.length === 1 ? button.dataset.one : button.dataset.many.replace("{n}", waiting.length);
}

function show() {
  const table = at("events").querySelector("table");
  table.tHead.after(...waiting);
  for (const row of waiting) row.classList.add("came");
  waiting = [];
  for (const row of [...table.tBodies].slice(MOST)) row.remove();
  offer();
}

document.addEventListener("mist:live", told);
document.addEventListener("click", (event) => {
  if (event.target.closest?.("#fresh")) {
    at("events").scrollTop = 0;
    show();
  }
  const pause = event.target.closest?.("#tail-pause");
  if (!pause) return;
  pause.setAttribute("aria-pressed", String(!paused()));
  at("tail").classList.toggle("held", paused());
  told();
});
