/** Rewards that mean harm, or are broken: what they find, and that all that they do comes to a code. */
import { describe, expect, it } from "vitest";
import { loadReward, type Reward, type RewardLimits } from "./reward.ts";

async function load(source: string, limits?: Partial<RewardLimits>): Promise<Reward> {
  const loaded = await loadReward(source, limits);
  if (!loaded.ok) throw new Error(`${loaded.code}: ${loaded.message}`);
  return loaded.reward;
}
/** Fewer than by default, so that what ends by them ends soon. */
const STEPS_MAX = 1_000_000;
/** The code, or the score, of a reward with this body, called once. */
async function outcome(body: string) {
  const reward = await load(`function reward(example) { ${body} }`, { stepsMax: STEPS_MAX });
  const scored = reward.score({ text: "a" });
  reward.close();
  return scored.ok ? scored.score : scored.code;
}
const UNCOUNTED = "return Array.prototype.indexOf.call({ length: 2 ** 53 - 1 }, 1);";

describe("a reward has no", () => {
  it("names but those of the language", async () => {
    const reward = await load(`
      const KNOWN = "Error EvalError RangeError ReferenceError SyntaxError TypeError URIError InternalError AggregateError Array Object Iterator " +
        "parseInt parseFloat isNaN isFinite decodeURI decodeURIComponent encodeURI encodeURIComponent escape unescape Infinity NaN undefined " +
        "Number Boolean String Math Reflect Symbol globalThis BigInt RegExp JSON Proxy Map Set WeakMap WeakSet ArrayBuffer Promise " +
        "Uint8ClampedArray Int8Array Uint8Array Int16Array Uint16Array Int32Array Uint32Array BigInt64Array BigUint64Array reward";
      function reward() {
        const unknown = Object.getOwnPropertyNames(globalThis).filter((name) => !KNOWN.split(" ").includes(name));
        if (unknown.length > 0) throw new Error(unknown.join());
        return Object.getOwnPropertyNames(globalThis).length;
      }`);
    expect(reward.score({})).toEqual({ ok: true, score: 52 });
  });

  it.each([
    "Date",
    "Math.random",
    "performance",
    "console",
    "print",
    "fetch",
    "require",
    "process",
    "setTimeout",
    "WebAssembly",
    "std",
    "os",
  ])("%s", async (name) => {
    expect(await outcome(`return typeof ${name} === "undefined" ? 1 : 0;`)).toBe(1);
  });

  it.each([
    'eval("1")',
    'new Function("return 1")()',
    '(() => {}).constructor("return 1")()',
    '(function* () {}).constructor("yield 1")().next()',
    '(async () => {}).constructor("return 1")()',
    '(async function* () {}).constructor("yield 1")().next()',
    'Reflect.construct(Object.getPrototypeOf(function () {}).constructor, ["return 1"])',
    "[].constructor.constructor('return 1')()",
  ])("way to make code of text: %s", async (code) => {
    // Function.prototype's own prototype has a constructor, and it is Object: it makes objects, not code.
    expect(
      await outcome(`const made = ${code}; return typeof made === "object" && !("done" in made) && !("then" in made) ? 0 : 1;`),
    ).not.toBe(1);
  });

  it("way to import", async () => {
    expect(await outcome('return import("fs");')).toBe("reward-not-a-number");
  });
});

describe("whatever a reward does has a code", () => {
  const cases: [string, string | number][] = [
    ["for (;;);", "reward-timeout"],
    ["const f = () => {}; for (;;) f();", "reward-timeout"],
    ["for (;;) { try { for (;;); } catch {} finally { continue; } }", "reward-timeout"],
    ["const f = async () => { for (;;); }; for (;;) f();", "reward-timeout"],
    ["function* g() { for (;;) yield 1; } return [...g()].length;", "reward-timeout"],
    ["return /(a+)+$/.test('a'.repeat(40) + 'b') ? 1 : 0;", "reward-timeout"],
    ["return '['.repeat(1e5).replace(/(.|\\[)*x/, '').length;", "reward-timeout"],
    ["const f = () => f(); return f();", "reward-memory"],
    ["return JSON.parse('['.repeat(1e5));", "reward-memory"],
    ["let o = {}; for (let i = 0; i < 1e5; i++) o = { o }; return JSON.stringify(o).length;", "reward-memory"],
    ["let p = {}; for (let i = 0; i < 2e4; i++) p = new Proxy(p, {}); return Object.getPrototypeOf(p);", "reward-memory"],
    ["return new RegExp('(?:'.repeat(3e4)).test('');", "reward-memory"],
    ["const a = []; for (;;) a.push(new Array(1000).fill(0));", "reward-memory"],
    ["globalThis.a = []; for (;;) a.push({});", "reward-memory"],
    ["let s = 'ab'; for (;;) s += s;", "reward-memory"],
    ["return 'a'.repeat(2 ** 29).length;", "reward-memory"],
    ["return new ArrayBuffer(2 ** 30).byteLength;", "reward-memory"],
    ["try { new ArrayBuffer(2 ** 30); } catch { return 7; }", 7],
    ["try { (function f() { f(); })(); } catch { return 7; }", 7],
    ["throw new Error('x'.repeat(1e6));", "reward-threw"],
    ["throw undefined;", "reward-threw"],
    ["throw Symbol('x');", "reward-threw"],
    ["throw { get name() { throw 1; } };", "reward-threw"],
    ["throw { get name() { for (;;); } };", "reward-timeout"],
    ["throw { toString: null, get message() { return 'x'.repeat(2 ** 22); } };", "reward-threw"],
    ["return new Proxy({}, { get() { throw 1; } });", "reward-not-a-number"],
    ["return new Proxy({}, { get() { for (;;); } });", "reward-not-a-number"],
    ["return { valueOf() { return 1; } };", "reward-not-a-number"],
    ["return NaN;", "reward-not-a-number"],
    ["return 1 / 0;", "reward-not-a-number"],
    ["return '1';", "reward-not-a-number"],
    ["return 1n;", "reward-not-a-number"],
    ["return null;", "reward-not-a-number"],
    ["return true;", "reward-not-a-number"],
    ["return Symbol();", "reward-not-a-number"],
    ["return new Number(1);", "reward-not-a-number"],
    ["return Promise.resolve(1);", "reward-not-a-number"],
    ["", "reward-not-a-number"],
    ["JSON.parse = () => { throw 1; }; return 1;", 1],
    ["Object.prototype.name = 1; Array.prototype.push = null; String.prototype.toString = null; return 2;", 2],
    ["Object.defineProperty(Object.prototype, 'ok', { get() { throw 1; } }); return 3;", 3],
    ["const all = globalThis; for (const name of Object.getOwnPropertyNames(all)) delete all[name]; return 4;", 4],
  ];
  it.each(cases)("%s", async (body, expected) => {
    expect(await outcome(body)).toBe(expected);
  });

  it("one after the other in one interpreter, and it goes on", async () => {
    const bodies = cases.map(([body]) => `(example) => { ${body} }`);
    const reward = await load(
      `const all = [${bodies.join(",\n")}];\nfunction reward({ label }) { return label < 0 ? -1 : all[label](); }`,
      { stepsMax: STEPS_MAX },
    );
    const scoreOf = (label: number) => {
      const scored = reward.score({ label });
      return scored.ok ? scored.score : scored.code;
    };
    for (const index of [...cases.keys()].reverse()) {
      expect([index, scoreOf(index)]).toEqual([index, cases[index]?.[1]]);
      expect(scoreOf(-1)).toBe(-1);
    }
  });

  it("with work that takes no steps, by the clock", async () => {
    const reward = await load(`function reward({ label }) { if (label) return label; ${UNCOUNTED} }`, { clockMsMax: 1_000 });
    for (const label of [1, 2]) {
      expect(reward.score({ label: 0 })).toMatchObject({
        code: "reward-timeout",
        message: expect.stringContaining("clockMsMax = 1000 ms"),
      });
      expect(reward.score({ label })).toEqual({ ok: true, score: label });
    }
  });

  it("and a message that names the limit", async () => {
    const reward = await load("function reward({ text }) { throw new Error(text); }", { answerCharactersMax: 20, memoryBytesMax: 2 ** 20 });
    expect(reward.score({ text: "x".repeat(100) })).toEqual({
      ok: false,
      code: "reward-threw",
      message: "reward(example) threw Error: xxxxxxxxxxxxx...",
    });
    const large = reward.score({ text: "x".repeat(2 ** 18) });
    expect(large).toMatchObject({
      code: "reward-memory",
      message: expect.stringMatching(/262155 bytes as JSON.*memoryBytesMax = 1048576/),
    });
  });
});
