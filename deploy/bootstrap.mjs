/**
 * Sets up a fresh checkout and starts a script of it: `node deploy/bootstrap.mjs SCRIPT.ts [arguments]`. Plain JavaScript for Node 18
 * and newer, no dependencies. Installs with pnpm once, borrows a newer Node where this one is too old, builds the page, then
 * starts node itself, so that signals reach it. Without changes a second run needs no network.
 */
import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const PNPM = "pnpm@12.21.0";
const NODE = "node@24";
/** The oldest Node that runs TypeScript as it is. */
const FLOOR = [22, 18];
const notes = join(root, "node_modules", ".zoswarm");

/** @returns {never} */
function fail(message) {
  console.error(message);
  process.exit(1);
}

function npx(packages, command, options) {
  const args = ["--yes", "--prefer-offline", ...packages.flatMap((name) => ["-p", name]), "--", ...command];
  const npxCli = process.env.npm_execpath?.replace(/npm-cli\.js$/, "npx-cli.js");
  return npxCli?.endsWith("npx-cli.js") && existsSync(npxCli)
    ? spawnSync(process.execPath, [npxCli, ...args], { cwd: root, ...options })
    : spawnSync(process.platform === "win32" ? "npx.cmd" : "npx", args, { cwd: root, shell: process.platform === "win32", ...options });
}

/** The node that runs the project: this one, or a borrowed one whose place is remembered. */
function nodeToUse() {
  const [major, minor] = process.versions.node.split(".").map(Number);
  if (major > FLOOR[0] || (major === FLOOR[0] && minor >= FLOOR[1])) return process.execPath;
  const note = join(root, ".zoswarm", "node");
  const known = existsSync(note) ? readFileSync(note, "utf8") : "";
  if (known !== "" && existsSync(known)) return known;
  if (process.platform === "darwin") fail(`Node ${process.versions.node} is too old: install Node 22.18 or newer from https://nodejs.org`);
  console.log(`Node ${process.versions.node} is older than ${FLOOR.join(".")}: borrowing ${NODE} from the npm registry`);
  const found = npx([NODE], ["node", "-p", "process.execPath"], { encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });
  const path = found.stdout?.trim().split("\n").at(-1) ?? "";
  if (found.status !== 0 || !existsSync(path))
    fail("Node 24 cannot be fetched: check the network, or install Node 22.18 or newer from https://nodejs.org");
  mkdirSync(dirname(note), { recursive: true });
  writeFileSync(note, path);
  return path;
}

/** SHA-256 over files and everything in folders, by name and content. */
function fingerprint(paths) {
  const hash = createHash("sha256");
  const add = (path) => {
    hash.update(path.slice(root.length)).update("\0").update(readFileSync(path)).update("\0");
  };
  const walk = (folder) => {
    for (const entry of readdirSync(folder, { withFileTypes: true }).sort((one, other) => (one.name < other.name ? -1 : 1))) {
      if (["node_modules", "dist"].includes(entry.name)) continue;
      if (entry.isDirectory()) walk(join(folder, entry.name));
      else add(join(folder, entry.name));
    }
  };
  for (const path of paths.map((name) => join(root, name))) path.includes(".") ? add(path) : walk(path);
  return hash.digest("hex");
}

/** Does `work` unless it was done for this very fingerprint. */
function once(name, mark, isThere, work) {
  const note = join(notes, name);
  if (isThere() && existsSync(note) && readFileSync(note, "utf8") === mark) return;
  work();
  mkdirSync(notes, { recursive: true });
  writeFileSync(note, mark);
}

function install() {
  console.log("setting up: installing dependencies (about 40 s the first time)");
  // No stdin: nothing may ask. CI: no progress bars, and the lockfile is law.
  const done = npx([PNPM], ["pnpm", "install", "--frozen-lockfile", "--prefer-offline"], {
    stdio: ["ignore", "pipe", "pipe"],
    encoding: "utf8",
    env: { ...process.env, CI: "true" },
  });
  if (done.status !== 0)
    fail(
      `${done.stdout ?? ""}${done.stderr ?? ""}\nThe dependencies could not be installed: check the network and the disk, then run the same command again.`,
    );
}

const [script, ...args] = process.argv.slice(2);
if (script === undefined) fail("usage: node deploy/bootstrap.mjs SCRIPT.ts [arguments]");
const packages = [
  "package.json",
  "shared/package.json",
  "coordinator/package.json",
  "worker/package.json",
  "deploy/demo/package.json",
  "test/package.json",
];
once(
  "installed",
  fingerprint([...packages, "pnpm-lock.yaml", "pnpm-workspace.yaml"]),
  () => existsSync(join(root, "coordinator", "node_modules")),
  install,
);
const node = nodeToUse();
const dashboard = join(root, "coordinator", "dashboard");
once(
  "page",
  fingerprint(["coordinator/dashboard", "coordinator/src/http/schemas.ts", "pnpm-lock.yaml"]),
  () => existsSync(join(dashboard, "dist", "index.html")),
  () => {
    const vite = join(root, "coordinator", "node_modules", "vite", "bin", "vite.js");
    const built = spawnSync(node, [vite, "build", dashboard, "--logLevel", "warn"], { cwd: root, stdio: ["ignore", "inherit", "inherit"] });
    if (built.status !== 0) fail("The page could not be built; its messages stand above.");
  },
);

// Node 22 calls its SQLite, our folder lock, experimental.
const child = spawn(node, ["--disable-warning=ExperimentalWarning", join(root, script), ...args], {
  cwd: root,
  stdio: "inherit",
  env: { ...process.env, INIT_CWD: process.env.INIT_CWD ?? process.cwd() },
});
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal));
child.on("error", (error) => fail(`${node} cannot be started: ${error.message}`));
child.on("exit", (code, signal) => {
  if (signal !== null) {
    process.removeAllListeners(signal);
    process.kill(process.pid, signal);
  } else process.exit(code ?? 1);
});
