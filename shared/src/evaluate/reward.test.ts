/** A stranger's reward: what it computes, which sources cannot be one, and that no example's score depends on another. */
import { Worker } from "node:worker_threads";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { loadReward, type Reward, type RewardLimits } from "./reward.ts";

async function load(source: string, limits?: Partial<RewardLimits>): Promise<Reward> {
  const loaded = await loadReward(source, limits);
  if (!loaded.ok) throw new Error(`${loaded.code}: ${loaded.message}`);
  return loaded.reward;
}
const UNCOUNTED = "return Array.prototype.indexOf.call({ length: 2 ** 53 - 1 }, 1);";

describe("a reward", () => {
  it("is a number computed from the example", async () => {
    const reward = await load(`
      const words = (text) => text.toLowerCase().split(/\\s+/);
      function reward({ generated, target, scores, label }) {
        const shared = words(generated).filter((word) => words(target).includes(word)).length;
        return shared + (scores.indexOf(Math.max(...scores)) === label ? 0.5 : 0);
      }`);
    expect(reward.score({ generated: "The cat sat", target: "the CAT ran", scores: [0, 2, 1], label: 1 })).toEqual({
      ok: true,
      score: 2.5,
    });
    expect(reward.score({ generated: "a", target: "b", scores: [0, 2, 1], label: 0 })).toEqual({ ok: true, score: 0 });
  });

  it("may be a constant of any kind of function", async () => {
    const reward = await load("const reward = ({ label }) => -label;");
    expect(reward.score({ label: 3 })).toEqual({ ok: true, score: -3 });
  });

  it("sees every number and string as it is", async () => {
    const reward = await load("function reward({ text, scores }) { return text === undefined ? scores[0] : text.length; }");
    fc.assert(
      fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), (value) => {
        const scored = reward.score({ scores: [value] });
        // JSON has no negative zero.
        expect(scored).toEqual({ ok: true, score: value === 0 ? 0 : value });
      }),
    );
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (text) => {
        expect(reward.score({ text })).toEqual({ ok: true, score: text.length });
      }),
    );
    expect(reward.score({ text: "\0\ud800\u{1f600}" })).toEqual({ ok: true, score: 4 });
    expect(reward.score({ scores: [Number.NaN] })).toMatchObject({ code: "reward-not-a-number" });
  });

  it("runs on the evaluator's kind of thread, and meets its clock there", async () => {
    const code = `
      const { loadReward } = await import(${JSON.stringify(new URL("reward.ts", import.meta.url).href)});
      const { parentPort } = await import("node:worker_threads");
      const { reward } = await loadReward(${JSON.stringify(`function reward({ label }) { if (label) return label; ${UNCOUNTED} }`)}, { clockMsMax: 1_000 });
      parentPort.postMessage([1, 0, 2].map((label) => reward.score({ label }).code ?? label));`;
    const thread = new Worker(new URL(`data:text/javascript,${encodeURIComponent(code)}`));
    const answer = await new Promise((resolve, reject) => thread.once("message", resolve).once("error", reject));
    await thread.terminate();
    expect(answer).toEqual([1, "reward-timeout", 2]);
  });

  it("is closed once", async () => {
    const reward = await load("function reward() { return 1; }");
    reward.close();
    reward.close();
    expect(() => reward.score({})).toThrow("closed");
  });
});

describe("a source that cannot be used", () => {
  it.each<[string, string, RegExp, Partial<RewardLimits>?]>([
    ["", "reward-missing", /function reward\(example\)/],
    ["const reward = 1;", "reward-missing", /name reward/],
    ["Object.defineProperty(globalThis, 'reward', { get() { throw 1; } });", "reward-missing", /name reward/],
    ["function reward( {", "reward-threw", /loading the reward threw SyntaxError/],
    ["import 'fs'; function reward() {}", "reward-threw", /SyntaxError/],
    ["throw new TypeError('no');", "reward-threw", /TypeError: no$/],
    ["throw new Proxy({}, { get() { throw 1; } });", "reward-threw", /cannot be shown/],
    ["for (;;);", "reward-timeout", /stepsMax = 10000000/],
    ["throw { get name() { for (;;); } };", "reward-timeout", /stepsMax/],
    [UNCOUNTED.replace("return", ""), "reward-timeout", /clockMsMax = 50 ms/, { clockMsMax: 50 }],
    ["globalThis.all = []; for (;;) all.push(new Uint8Array(1e5));", "reward-memory", /memoryBytesMax = 16777216/],
    ["(function f() { f(); })();", "reward-memory", /stackBytesMax = 49152/],
    ["[".repeat(60_000), "reward-memory", /stack/],
    ["(".repeat(60_000), "reward-memory", /stack/],
    [`// ${"é".repeat(40_000)}`, "reward-too-large", /80003 bytes.*sourceBytesMax = 65536/],
  ])("%.40s: %s", async (source, code, message, limits) => {
    expect(await loadReward(source, limits)).toEqual({ ok: false, code, message: expect.stringMatching(message) });
  });
});

describe("every example is scored as if it were the only one", () => {
  it.each([
    "let calls = 0; function reward() { return ++calls; }",
    "function reward() { globalThis.calls = (globalThis.calls ?? 0) + 1; return calls; }",
    "function reward() { Object.prototype.calls = (({}).calls ?? 0) + 1; return ({}).calls; }",
    "const once = /a/g; function reward() { return once.test('aa') ? once.lastIndex : -1; }",
    "const seen = new Map(); function reward() { seen.set(seen.size, 1); return seen.size; }",
    "function reward() { const was = Array.prototype.map; Array.prototype.map = null; return was ? 1 : 0; }",
    "function* count() { for (let i = 1; ; i++) yield i; } const counter = count(); function reward() { return counter.next().value; }",
    "function reward() { if (typeof reward.calls === 'number') return 2; reward.calls = 1; Object.freeze(Math); return 1; }",
  ])("%s", async (source) => {
    const reward = await load(source);
    for (let call = 0; call < 3; call++) expect(reward.score({})).toEqual({ ok: true, score: 1 });
  });

  it("also in what it counts", async () => {
    const source = "function reward({ label }) { for (let i = 0; i < label; i++); return 1; }";
    const fresh = await load(source, { stepsMax: 100_000 });
    const used = await load(source, { stepsMax: 100_000 });
    for (let call = 0; call < 50; call++) used.score({ label: call * 9_999, text: "x".repeat(call) });
    // The last that fits, found by bisection, is the same to the step.
    const lastOf = (reward: Reward) => {
      let fits = 0;
      for (let more = 2 ** 20; more >= 1; more /= 2) if (reward.score({ label: fits + more }).ok) fits += more;
      return fits;
    };
    expect(lastOf(used)).toBe(lastOf(fresh));
    // A turn is two steps, and the limit is met at the poll after it.
    expect(lastOf(used)).toBeGreaterThan(50_000);
    expect(lastOf(used)).toBeLessThan(55_000);
  });

  it("also in what fits into its memory, and finds nothing in it", async () => {
    const source = `function reward({ label }) {
      const bytes = new Uint8Array(label);
      const found = bytes.indexOf(255);
      bytes.fill(255);
      return found;
    }`;
    const [fresh, used] = [await load(source), await load(source)];
    for (let call = 0; call < 20; call++) expect(used.score({ label: 2 ** 22 + call * 1_000 })).toEqual({ ok: true, score: -1 });
    const lastOf = (reward: Reward) => {
      let fits = 0;
      for (let more = 2 ** 25; more >= 1; more /= 2) if (reward.score({ label: fits + more }).ok) fits += more;
      return fits;
    };
    expect(lastOf(used)).toBe(lastOf(fresh));
  });
});
