/* What moves around a list without the list: the counts of its tabs and what it costs, told after the page and again as things
   change; and the order of columns. */
const EVERY = 15_000;

const tabs = document.querySelector("[data-counts]");
let last = 0;
let soon = null;

async function recount() {
  soon = null;
  last = Date.now();
  const answer = await fetch(tabs.dataset.counts, { headers: { "HX-Request": "true" }, credentials: "same-origin" }).catch(() => null);
  if (!answer?.ok) return;
  const told = await answer.json().catch(() => null);
  for (const count of tabs.querySelectorAll("[data-count]")) {
    const text = told?.counts?.[count.dataset.count];
    if (text !== undefined && count.textContent !== text) count.textContent = text;
  }
  const costs = document.getElementById("costs");
  if (costs && told?.cost) {
    costs.querySelector("b").textContent = told.cost;
    costs.hidden = false;
  }
}

if (tabs) {
  recount();
  document.addEventListener("mist:live", () => {
    if (soon === null && !document.hidden) soon = setTimeout(recount, Math.max(0, last + EVERY - Date.now()));
  });
}

document.addEventListener("click", (event) => {
  const up = event.target.closest?.("[data-columns] [data-up]");
  if (!up) return;
  const line = up.closest("li");
  if (line.previousElementSibling) line.previousElementSibling.before(line);
  up.focus();
});
