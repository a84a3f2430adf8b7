/* Builds the console's script, style, fonts and icon sprite into frontend/static/build (never committed).
   node frontend/assets/build.mjs [--watch] */
import { context } from "esbuild";
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const front = resolve(here, "..");
const out = join(front, "static", "build");
const lucide = join(dirname(createRequire(import.meta.url).resolve("lucide-static/package.json")), "icons");
const watch = process.argv.includes("--watch");

/* The dark tokens are written once, for data-theme="dark"; theme "system" gets the same block behind the media query.
   A token that no style, script or template names yet stays out of what is sent. */
const themes = {
  name: "themes",
  setup(build) {
    build.onLoad({ filter: /tokens\.css$/ }, async ({ path }) => {
      const written = await readFile(path, "utf8");
      let named = written;
      for (const [folder, ending] of [[join(here, "src"), /(?<!tokens)\.(css|js)$/], [join(front, "templates"), /\.html$/]]) {
        for await (const file of files(folder, ending)) named += await readFile(file, "utf8");
      }
      const used = new Set([...named.matchAll(/var\((--[a-z0-9-]+)/g)].map((match) => match[1]));
      const text = written.replace(/(--[a-z0-9-]+):[^;]+;/g, (whole, name) => (used.has(name) ? whole : ""));
      const dark = /\[data-theme="dark"\] (\{[^}]*\})/.exec(text);
      if (!dark) throw new Error("tokens.css: no [data-theme=\"dark\"] block");
      return { contents: `${text}\n@media (prefers-color-scheme: dark) { [data-theme="system"] ${dark[1]} }\n`, loader: "css" };
    });
  },
};

async function* files(folder, ending) {
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) yield* files(path, ending);
    else if (ending.test(entry.name)) yield path;
  }
}

/* One SVG with every Lucide icon that a template ({% icon "name" %}) or the code (icon="name") asks for. */
async function sprite() {
  const names = new Set();
  const sources = [[join(front, "templates"), /\.html$/], [join(here, "src"), /\.js$/]];
  for (const [folder, ending] of sources) {
    for await (const path of files(folder, ending)) {
      for (const match of (await readFile(path, "utf8")).matchAll(/\bicon[ =]"([a-z0-9-]+)"/g)) names.add(match[1]);
    }
  }
  for await (const path of files(front, /\.py$/)) {
    for (const match of (await readFile(path, "utf8")).matchAll(/\bicon="([a-z0-9-]+)"/g)) names.add(match[1]);
  }
  const symbols = [];
  for (const name of [...names].sort()) {
    const svg = await readFile(join(lucide, `${name}.svg`), "utf8").catch(() => {
      throw new Error(`No Lucide icon is named ${name}.`);
    });
    const body = /<svg[^>]*>([\s\S]*)<\/svg>/.exec(svg)[1].replace(/\s+/g, " ").trim();
    symbols.push(`<symbol id="i-${name}" viewBox="0 0 24 24">${body}</symbol>`);
  }
  await writeFile(join(out, "icons.svg"), `<svg xmlns="http://www.w3.org/2000/svg">${symbols.join("")}</svg>\n`);
}

await rm(out, { recursive: true, force: true });
await mkdir(out, { recursive: true });
const job = await context({
  absWorkingDir: here,
  entryPoints: { console: "src/console.js", style: "src/css/console.css", entry: "src/css/entry.css", addcloud: "src/css/addcloud.css", guide: "src/css/guide.css", shell: "src/shell/shell.js", replay: "src/shell/replay.js", run: "src/run/run.js", editor: "src/editor/editor.js" },
  outdir: out,
  bundle: true,
  minify: !watch,
  sourcemap: watch ? "inline" : false,
  format: "iife",
  target: ["chrome120", "firefox121", "safari17.4"],
  loader: { ".woff2": "file" },
  assetNames: "[name]",
  legalComments: "none",
  logLevel: "info",
  plugins: [themes, { name: "sprite", setup: (build) => build.onEnd(sprite) }],
});
if (watch) await job.watch();
else {
  const result = await job.rebuild();
  await job.dispose();
  if (result.errors.length) process.exit(1);
}
