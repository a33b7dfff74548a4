/**
 * Writes shared/vectors/vectors.json: what the plain implementation gives for each case below. To be run only where the
 * arithmetic itself changes, which is a new protocol version; the threefry answers are Random123's own and are checked here.
 */
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { isDeepStrictEqual } from "node:util";
import { implementationsOf, type VectorCase, vectorFile } from "./cases.ts";

type Key = [number, number, number, number];
const KEY: Key = [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344];
const NONE = { n: 0, head: [], clamped: 0, sha256: "", stateHash: "" };
const ONES = 0xffffffff;

/** Known answers of threefry4x32-20 from Random123's kat_vectors. */
const KNOWN: { name: string; key: Key; counter: Key; words: string[] }[] = [
  { name: "zero", key: [0, 0, 0, 0], counter: [0, 0, 0, 0], words: ["9c6ca96a", "e17eae66", "fc10ecd4", "5256a7d8"] },
  {
    name: "ones",
    key: [ONES, ONES, ONES, ONES],
    counter: [ONES, ONES, ONES, ONES],
    words: ["2a881696", "57012287", "f6c7446e", "a16a6732"],
  },
  {
    name: "digits of pi",
    key: [0xa4093822, 0x299f31d0, 0x082efa98, 0xec4e6c89],
    counter: KEY,
    words: ["59cd1dbb", "b8879579", "86b5d00c", "ac8b6d84"],
  },
];

/** About 2^20 on either side of zero. */
const start = (n: number, salt: number) => ({ n, salt, shift: 11, offset: 2 ** 20 });
/** About 2^(31-shift) on either side of zero. */
const some = (m: number, salt: number, shift = 16) => ({ n: 2 ** m, salt, shift, offset: 2 ** (31 - shift) });

type Ops = Extract<VectorCase, { kind: "apply" }>["ops"];
type Entries = Extract<VectorCase, { kind: "replay" }>["entries"];

function apply(name: string, tensor: number, q: number, from: ReturnType<typeof start> | { x: number[] }, ops: Ops): VectorCase {
  return { kind: "apply", name, key: KEY, tensor, q, start: from, ops, expect: NONE };
}

function replay(name: string, tensors: [shape: number[], q: number, gain: number][], entries: Entries): VectorCase {
  const placed = tensors.map(([shape, q, gain], t) => ({
    shape,
    q,
    gain,
    start: start(
      shape.reduce((n, d) => n * d, 1),
      t + 1,
    ),
  }));
  return { kind: "replay", name, key: KEY, tensors: placed, entries, expect: { stateHash: "", tensors: [] } };
}

const at = { step: 6, group: 2, m: 5 };
const LIM = 2 ** 24 - 2 ** 22;

const CASES: VectorCase[] = [
  ...KNOWN.map(
    ({ name, key, counter, words }): VectorCase => ({ kind: "threefry", name: `threefry: ${name}`, key, counter, expect: { words } }),
  ),
  apply("perturb: the last direction of 32, seven blocks and a tail", 2, 22, start(900, 1), [
    { op: "perturb", ...at, k: 31, amount: 5000 },
  ]),
  apply("perturb: forth, back twice, forth again, is nothing", 2, 22, start(900, 1), [
    { op: "perturb", ...at, k: 9, amount: 2 ** 20 },
    { op: "perturb", ...at, k: 9, amount: -(2 ** 21) },
    { op: "perturb", ...at, k: 9, amount: 2 ** 20 },
  ]),
  apply("perturb: beyond the limit, not clamped", 0, 20, { x: [LIM, -LIM, LIM - 1, 1 - LIM, 0] }, [
    { op: "perturb", step: 0, group: 0, m: 0, k: 0, amount: 2 ** 20 },
  ]),
  ...[0, 1, 2, 3, 6, 7, 8, 10, 13, 16].map((m) =>
    apply(`commit: 2^${m} directions`, m, 22, start(1500, m), [{ op: "commit", step: m, group: 1, m, p: 36, a: some(m, 7 + m) }]),
  ),
  apply("commit: no bit lost", 4, 22, start(257, 3), [{ op: "commit", ...at, p: 22, a: some(5, 1, 20) }]),
  apply("commit: eight bits gained, clamped to VMAX", 4, 28, start(257, 3), [{ op: "commit", ...at, p: 20, a: some(5, 1, 12) }]),
  apply("commit: thirty-two bits lost", 4, 16, start(257, 3), [{ op: "commit", ...at, p: 48, a: some(5, 1, 1) }]),
  apply("commit: the largest and the least coefficient", 4, 16, start(130, 3), [
    { op: "commit", step: 1, group: 0, m: 1, p: 40, a: [2 ** 31 - 1, -(2 ** 31)] },
  ]),
  apply("commit: into the clamp and out of it again", 7, 20, { x: [LIM, -LIM, LIM - 5, 5 - LIM, 0, 1, -1] }, [
    { op: "commit", step: 1, group: 0, m: 0, p: 20, a: [1000] },
    { op: "commit", step: 2, group: 0, m: 0, p: 20, a: [-3000] },
    { op: "commit", step: 3, group: 0, m: 0, p: 20, a: [2000] },
  ]),
  apply("commit: last step, group and tensor", 0xffffff, 24, start(129, 5), [
    { op: "commit", step: ONES, group: 0xffffff, m: 4, p: 33, a: some(4, 5) },
  ]),
  apply("commit: three leaves of the state hash", 9, 21, start(2 * 65536 + 3, 8), [{ op: "commit", ...at, p: 30, a: some(5, 9) }]),
  replay(
    "replay: gains, a scalar, groups out of order, an empty step, two restores",
    [
      [[70, 33], 22, 0],
      [[], 20, 3],
      [[256, 2], 22, 5],
      [[3, 5, 7], 26, -4],
    ],
    [
      { step: 0, groups: [3, 1].map((g) => ({ g, m: 4, p: 32, a: some(4, g) })) },
      { step: 1, groups: [] },
      { step: 2, groups: [{ g: 0, m: 2, p: 30, a: [5, -9, 0, 70] }] },
      { restore: 0 },
      { step: 5, groups: [{ g: 0, m: 7, p: 34, a: some(7, 2) }] },
      { restore: -1 },
      { step: 8, groups: [{ g: 5, m: 3, p: 33, a: some(3, 4) }] },
      { step: 11, groups: [{ g: 5, m: 9, p: 36, a: some(9, 4) }] },
    ],
  ),
];

const file = fileURLToPath(new URL("../../shared/vectors/vectors.json", import.meta.url));
const cases = CASES.map((one) => {
  const expect = implementationsOf(one)[0]?.compute();
  if (one.kind === "threefry" && !isDeepStrictEqual(expect, one.expect)) throw new Error(`${one.name}: not Random123's answer`);
  return { ...one, expect };
});
const text = JSON.stringify(vectorFile.parse({ version: 1, cases }));
writeFileSync(file, `${text.replaceAll('{"kind"', '\n{"kind"').replace(/\]\}$/, "\n]}")}\n`);
console.log(`${cases.length} cases in ${file}`);
