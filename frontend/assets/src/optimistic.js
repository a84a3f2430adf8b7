/* Metadata is shown as if it were done: forms marked data-optimistic="remove" (the form is the thing), "remove-row" (its row),
   "add-tag" (a tag appears at the end of the line). What is refused comes back, with the note that says why. */

const shown = new WeakMap();

function begin(form) {
  const way = form.dataset.optimistic;
  if (way === "add-tag") {
    const line = document.querySelector(".tagline");
    const text = form.elements.key.value.trim();
    if (!line || !text) return;
    const tag = document.createElement("span");
    const key = document.createElement("i");
    const [name, ...rest] = text.split("=");
    tag.className = "tag pending";
    key.textContent = rest.length ? `${name}=` : name;
    tag.append(key, rest.join("="));
    line.insertBefore(tag, line.querySelector("button[popovertarget]"));
    shown.set(form, () => tag.remove());
    return;
  }
  const thing = way === "remove-row" ? form.closest("tr") : form;
  thing.hidden = true;
  shown.set(form, () => (thing.hidden = false));
}

document.addEventListener("htmx:before:request", (event) => {
  if (event.target instanceof Element && event.target.matches("form[data-optimistic]")) begin(event.target);
});

function settle(event) {
  const form = event.target;
  if (!(form instanceof Element) || !form.matches("form[data-optimistic]")) return;
  const status = event.detail?.ctx?.response?.status ?? 0;
  const well = status >= 200 && status < 300;
  if (!well || form.dataset.optimistic === "add-tag") shown.get(form)?.(); // the answer brought the tag itself
  if (well && form.dataset.optimistic === "add-tag") form.reset();
  shown.delete(form);
}
document.addEventListener("htmx:after:request", settle);
document.addEventListener("htmx:error", settle);
