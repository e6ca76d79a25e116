// Builds dist/caller.html: one file that holds everything, so that it can be served, embedded, mailed or opened from a disk.
// `node build.mjs --check` builds nothing and fails when dist/caller.html is not what would be built.

import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build, transform } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const out = join(here, "dist", "caller.html");

const bundle = await build({
  absWorkingDir: here,
  entryPoints: ["src/main.ts"],
  bundle: true,
  write: false,
  metafile: true,
  format: "iife",
  target: ["chrome100", "firefox100", "safari15.4"],
  minify: true,
  charset: "utf8",
  legalComments: "eof",
  logLevel: "warning",
});
// Text inside a script element ends at the first "</script", wherever it stands.
const script = bundle.outputFiles[0].text.trim().replaceAll("</script", "<\\/script").replaceAll("<!--", "<\\!--");
const css = await transform(readFileSync(join(here, "src/caller.css"), "utf8"), { loader: "css", minify: true, target: ["chrome105", "firefox105", "safari15.4"] });
const style = css.code.trim();

const hash = (text) => `'sha256-${createHash("sha256").update(text, "utf8").digest("base64")}'`;
// Nothing may be loaded but what stands in the file; connections go to relays, and to the callgate that serves the page, which has recordings and
// their posters too.
const policy = [
  "default-src 'none'",
  `script-src ${hash(script)}`,
  `style-src ${hash(style)}`,
  "img-src 'self' data:",
  "media-src 'self' blob: mediastream:",
  "connect-src 'self' ws: wss:",
  "base-uri 'none'",
  "form-action 'none'",
].join("; ");

const parts = { policy, style, script, licences: licences(Object.keys(bundle.metafile.inputs)) };
const page = readFileSync(join(here, "src/caller.html"), "utf8").replace(/\{\{(\w+)\}\}/g, (_, name) => parts[name]);

if (process.argv.includes("--check")) {
  if (!existsSync(out) || readFileSync(out, "utf8") !== page) {
    console.error("web/dist/caller.html is not what its sources build: run `npm run build` in web/");
    process.exit(1);
  }
} else {
  mkdirSync(dirname(out), { recursive: true });
  writeFileSync(out, page);
  console.log(`dist/caller.html: ${Buffer.byteLength(page)} bytes`);
}

/** The licences of the libraries in the bundle, in full, as a comment. */
function licences(inputs) {
  const names = new Set();
  for (const input of inputs) {
    const found = /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(input);
    if (found) names.add(found[1]);
  }
  const texts = [...names].sort().map((name) => {
    const folder = join(here, "node_modules", name);
    const { version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
    const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
    const text = file === undefined ? `(${license})` : readFileSync(join(folder, file), "utf8").trim();
    return `${name} ${version}, ${license}\n\n${text}`;
  });
  // A comment ends at the first "-->".
  return `<!--\nThis page contains:\n\n${texts.join("\n\n* * *\n\n").replaceAll("--", "- -")}\n-->`;
}
