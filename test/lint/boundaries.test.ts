/** The rooms of ARCHITECTURE.md are kept by Biome: for every rule something that breaks it, in a copy of the rooms, and what must pass. */
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const BIOME = join(ROOT, "node_modules/@biomejs/biome/bin/biome");
const IMPORTS = "lint/style/noRestrictedImports";
/** Our own rule: chance.grit. */
const CHANCE = "plugin";
const GLOBALS = "lint/style/noRestrictedGlobals";
const PURE = [
  "shared/src/zo",
  "shared/src/protocol",
  "shared/src/ledger",
  "shared/src/replica",
  "coordinator/src/round",
  "worker/src/lifecycle",
];

interface Snippet {
  room: string;
  code: string;
  /** The category that must be found; null where nothing may be. */
  breaks: string | null;
}

const imported = (room: string, from: string, breaks: string | null): Snippet => ({ room, code: `import "${from}";\n`, breaks });
const forbidden = (room: string, ...from: string[]) => from.map((each) => imported(room, each, IMPORTS));
const allowed = (room: string, ...from: string[]) => from.map((each) => imported(room, each, null));
const shared = (...rooms: string[]) => rooms.map((room) => `@zoswarm/shared/${room}`);

const NODE_IO = ["node:fs", "node:fs/promises", "node:net", "node:timers", "node:timers/promises", "node:worker_threads", "node:http"];

/** One room for each of these. */
const OWNED: Record<string, string[]> = {
  "shared/src/store": ["lmdb"],
  "shared/src/net": ["libp2p", "@libp2p/tcp", "@libp2p/gossipsub/score", "@multiformats/multiaddr"],
  "shared/src/evaluate": ["onnxruntime-node", "quickjs-emscripten-core", "@jitl/quickjs-wasmfile-release-sync/ffi"],
  "coordinator/src/http": ["fastify", "@fastify/static"],
};

const SNIPPETS: Snippet[] = [
  ...Object.entries(OWNED).flatMap(([owner, packages]) => [
    ...allowed(owner, ...packages),
    ...[...Object.keys(OWNED), ...PURE, "shared/src/model", "shared/src/data", "shared/src", "coordinator/src", "worker/src", "deploy/demo"]
      .filter((room) => room !== owner)
      .flatMap((room) => forbidden(room, ...packages)),
  ]),

  ...PURE.flatMap((room) => [
    ...forbidden(room, ...NODE_IO, "fs", "node:os", "node:child_process", "node:module"),
    { room, code: 'export { readFileSync } from "node:fs";\n', breaks: IMPORTS },
    { room, code: 'export const later = () => import("node:fs");\n', breaks: IMPORTS },
    { room, code: 'import { randomBytes } from "node:crypto";\nexport const drawn = randomBytes(8);\n', breaks: IMPORTS },
    { room, code: 'import { createHash } from "node:crypto";\nexport const hash = createHash("sha256");\n', breaks: null },
    ...[
      "Date.now()",
      "new Date()",
      "performance.now()",
      "crypto.getRandomValues(new Uint8Array(1))",
      "setTimeout(() => {}, 1)",
      "setInterval(() => {}, 1)",
      "process.env.HOME",
      "console.log(1)",
      'fetch("http://127.0.0.1")',
      "globalThis.Date",
    ].map((code) => ({ room, code: `export const got = ${code};\n`, breaks: GLOBALS })),
    ...[
      "export const got = Math.random();\n",
      'export const got = Math["random"]();\n',
      "const { random } = Math;\nexport { random };\n",
    ].map((code) => ({ room, code, breaks: CHANCE })),
    { room, code: "export const got = Math.floor(1.5);\n", breaks: null },
    ...forbidden(room, "../../somewhere.ts", "./../net/node.ts", "../zo/../net/node.ts"),
  ]),

  ...forbidden("shared/src/zo", "../protocol/limits.ts", "../ledger/folds.ts", "../typed.ts", "zod", ...shared("protocol/limits")),
  ...allowed("shared/src/protocol", "../zo/commit.ts", "./codec.ts", "zod", "msgpackr"),
  ...forbidden("shared/src/protocol", "../ledger/folds.ts", "../replica/replica.ts", "../store/lock.ts", "../loop.ts"),
  ...allowed("shared/src/ledger", "../zo/commit.ts", "../protocol/entries.ts"),
  ...forbidden("shared/src/ledger", "../replica/replica.ts", "../store/ledgerstore.ts", "../net/range.ts"),
  ...allowed("shared/src/replica", "../ledger/folds.ts", "../protocol/validate.ts", "../zo/apply.ts"),
  ...forbidden("shared/src/replica", "../store/ledgerstore.ts", "../net/range.ts", "../evaluate/client.ts"),
  ...["coordinator/src/round", "worker/src/lifecycle"].flatMap((room) => [
    ...allowed(room, ...shared("zo/estimate", "protocol/codes", "ledger/folds", "replica/replica"), "./state.ts"),
    ...forbidden(room, ...shared("store/ledgerstore", "net/node", "evaluate/client", "data/batches", "loop"), "../run.ts"),
  ]),

  ...allowed("shared/src/store", "../ledger/folds.ts", "../protocol/limits.ts", "../zo/kernel.ts", "node:fs/promises"),
  ...forbidden("shared/src/store", "../net/node.ts", "../evaluate/client.ts", "../model/onnx.ts", "../replica/replica.ts"),
  ...allowed("shared/src/model", "../zo/lattice.ts", "onnx-buf", "node:fs", "node:fs/promises", "node:path"),
  ...forbidden("shared/src/model", "../evaluate/session.ts", "../data/examples.ts", "node:net", "node:worker_threads"),
  ...allowed("shared/src/data", "../protocol/limits.ts", "node:fs", "csv-parse", "hyparquet", "hyparquet/src/column.js"),
  ...forbidden(
    "shared/src/data",
    "../model/onnx.ts",
    "../evaluate/client.ts",
    "../net/node.ts",
    "hyparquet/src/read.js",
    "hyparquet-writer",
  ),
  ...allowed("shared/src/evaluate", "../model/onnx.ts", "../data/examples.ts", "../zo/kernel.ts", "node:worker_threads"),
  ...forbidden("shared/src/evaluate", "../net/node.ts", "../store/blobs.ts", "../replica/replica.ts"),
  ...allowed("shared/src/net", "../protocol/limits.ts", "../store/blobs.ts"),
  ...forbidden("shared/src/net", "../replica/replica.ts", "../ledger/folds.ts", "../store/ledgerstore.ts", "../evaluate/client.ts"),
  ...forbidden("shared/src", "./net/node.ts", "./zo/lattice.ts"),

  ...["coordinator/src", "coordinator/src/http"].flatMap((room) => forbidden(room, "@zoswarm/worker/x", "../../worker/src/run.ts")),
  ...forbidden("worker/src", "@zoswarm/coordinator/x", "../../coordinator/src/run.ts"),
  ...allowed("coordinator/src", ...shared("net/node", "store/lock"), "node:fs"),
  ...allowed("worker/src", ...shared("net/node", "store/lock"), "node:fs"),
];

/** The exceptions: one file each, by its own name. */
const FILES: Record<string, { code: string; breaks: string | null }> = {
  "shared/src/zo/instance.ts": { code: 'import { readFileSync } from "node:fs";\nexport const read = readFileSync;\n', breaks: null },
  "coordinator/src/round/round.test.ts": { code: 'import "vitest";\nimport "node:fs";\nexport const now = Date.now();\n', breaks: null },
  "coordinator/src/round/accept.test.ts": { code: 'import "@zoswarm/worker/x";\n', breaks: IMPORTS },
  "worker/src/lifecycle/lifecycle.test.ts": { code: 'import "lmdb";\n', breaks: IMPORTS },
  "shared/src/net/node.test.ts": { code: 'import "@multiformats/multiaddr";\nimport "../store/blobs.ts";\n', breaks: null },
};

interface Report {
  diagnostics: { category: string; location: { path: string } }[];
}

/** Which of the rooms' rules Biome finds broken below a folder, by path. */
function brokenIn(cwd: string): Map<string, string[]> {
  const args = [BIOME, "lint", "--reporter=json", "--max-diagnostics=none", "."];
  const { stdout, stderr } = spawnSync(process.execPath, args, { cwd, encoding: "utf8", maxBuffer: 2 ** 26 });
  if (!stdout.startsWith("{")) throw new Error(`Biome gave no report: ${stderr}`);
  const broken = new Map<string, string[]>();
  for (const { category, location } of (JSON.parse(stdout) as Report).diagnostics)
    if ([IMPORTS, GLOBALS, CHANCE].includes(category)) broken.set(location.path, [...(broken.get(location.path) ?? []), category]);
  return broken;
}

describe("the rooms", () => {
  let dir: string;
  let broken: Map<string, string[]>;
  const pathOf = (room: string, index: number) => `${room}/snippet${index}.ts`;
  const expected = (breaks: string | null) => (breaks === null ? [] : [breaks]);

  beforeAll(() => {
    dir = mkdtempSync(join(tmpdir(), "zoswarm-rooms-"));
    const put = (path: string, code: string) => {
      mkdirSync(join(dir, dirname(path)), { recursive: true });
      writeFileSync(join(dir, path), code);
    };
    for (const file of ["biome.jsonc", ".gitignore", "test/lint/chance.grit"]) put(file, readFileSync(join(ROOT, file), "utf8"));
    SNIPPETS.forEach(({ room, code }, index) => {
      put(pathOf(room, index), code);
    });
    for (const [path, { code }] of Object.entries(FILES)) put(path, code);
    broken = brokenIn(dir);
  });
  afterAll(() => rmSync(dir, { recursive: true, force: true }));

  it.each([...new Set(SNIPPETS.map(({ room }) => room))])("%s lets in what it may and nothing else", (wanted) => {
    const here = SNIPPETS.flatMap(({ room, ...snippet }, index) => (room === wanted ? [{ path: pathOf(room, index), ...snippet }] : []));
    expect(here.map(({ path, code }) => [code, broken.get(path) ?? []])).toEqual(here.map(({ code, breaks }) => [code, expected(breaks)]));
  });

  it("have these exceptions and no more", () => {
    const paths = Object.entries(FILES);
    expect(paths.map(([path]) => [path, broken.get(path) ?? []])).toEqual(paths.map(([path, { breaks }]) => [path, expected(breaks)]));
  });

  it("are kept by this very tree", () => {
    expect([...brokenIn(ROOT)]).toEqual([]);
  });
});
