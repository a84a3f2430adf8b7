/* "[" and "]" on a detail page go to the previous and next of the list one came from: the list leaves its links behind for this tab. */
const KEY = "list";
const MOST = 200;
const ID = /[0-9a-f]{32}/;

window.addEventListener("pagehide", () => {
  if (ID.test(location.pathname)) return;
  const links = [...document.querySelectorAll(".tbl.page a.nm[href]")].slice(0, MOST).map((link) => link.getAttribute("href"));
  if (links.length) sessionStorage.setItem(KEY, JSON.stringify({ url: location.pathname + location.search, links }));
});

function kept() {
  try {
    return JSON.parse(sessionStorage.getItem(KEY) ?? "null");
  } catch {
    return null;
  }
}

const here = ID.exec(location.pathname)?.[0];
const list = here && kept();
if (list) {
  const back = document.querySelector("a[data-back]");
  if (back && list.url.startsWith(back.getAttribute("href"))) back.href = list.url;
  const at = list.links.findIndex((link) => link.includes(here));
  document.body.toggleAttribute("data-neighbours", at >= 0);
  document.addEventListener("mist:neighbour", (event) => {
    const link = at < 0 ? null : list.links[at + event.detail];
    if (link) location.assign(link);
  });
}
