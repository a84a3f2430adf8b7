/* The console's script: htmx with its socket and preload parts, and our own small elements. Every page works without it. */
import "htmx.org/dist/htmx.esm.js";
import "htmx.org/dist/ext/hx-ws.js";
import "htmx.org/dist/ext/hx-preload.js";
import "./copy.js";
import "./dialog.js";
import "./draft.js";
import "./keys.js";
import "./list-field.js";
import "./live.js";
import "./menu.js";
import "./neighbours.js";
import "./optimistic.js";
import "./palette.js";
import "./query.js";
import "./rows.js";
import "./times.js";
import "./toast.js";
