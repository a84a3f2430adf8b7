/* <time datetime=… data-rel>: "6 s ago" under an hour, then the clock of the viewer's zone; the full date on hover.
   <time datetime=… data-until>: seconds left. */

const { lang, dataset } = document.documentElement;
const timeZone = dataset.zone || undefined; /* the person's choice; without one, the browser's */
const format = (how) => new Intl.DateTimeFormat(lang.startsWith("en") ? "en-GB" : lang, { timeZone, ...how });
const clock = format({ hour: "2-digit", minute: "2-digit", hour12: false });
const day = format({ day: "numeric", month: "short" });
const dated = format({ day: "numeric", month: "short", year: "numeric" });
const full = format({ dateStyle: "full", timeStyle: "long" });

function words(at, element) {
  const now = Date.now();
  const s = Math.round((now - at.getTime()) / 1000);
  if (element.hasAttribute("data-until")) return `${Math.max(0, -s)} s`;
  if (element.hasAttribute("data-elapsed")) return s < 120 ? `${Math.max(0, s)} s` : s < 7200 ? `${Math.floor(s / 60)} min` : `${Math.floor(s / 3600)} h`;
  if (element.hasAttribute("data-clock-only")) return s < 86400 ? clock.format(at) : day.format(at);
  if (element.hasAttribute("data-at")) return `${dated.format(at)} ${clock.format(at)}`;
  const form = element.dataset.ago || "{} ago";
  if (s >= 0 && s < 60) return form.replace("{}", `${s} s`);
  if (s >= 0 && s < 3600) return form.replace("{}", `${Math.floor(s / 60)} min`);
  if (dated.format(at) === dated.format(now)) return clock.format(at);
  if (element.hasAttribute("data-clock")) return `${day.format(at)} ${clock.format(at)}`;
  return at.getFullYear() === new Date().getFullYear() ? day.format(at) : dated.format(at);
}

function tell() {
  for (const element of document.querySelectorAll("time[data-rel], time[data-at], time[data-until], time[data-elapsed]")) {
    const at = new Date(element.dateTime);
    if (Number.isNaN(at.getTime())) continue;
    const text = words(at, element);
    if (element.textContent !== text) element.textContent = text;
    if (!element.title) element.title = `${full.format(at)} · ${at.toISOString().replace(".000Z", "Z")}`;
  }
}

tell();
setInterval(tell, 1000);
document.addEventListener("htmx:after:swap", tell);
document.addEventListener("mist:live", tell);
