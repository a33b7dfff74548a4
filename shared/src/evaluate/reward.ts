/**
 * A reward that the launcher wrote in JavaScript, run without the volunteer's rights: inside QuickJS inside WebAssembly, with no import
 * from the host, and limits on memory, stack, steps and time. The same source and example give the same answer on every machine and in
 * every order: no clock, no chance, no bits of a NaN to look at, and each call starts from the bytes that loading left behind.
 */
import type { QuickJSHandle } from "quickjs-emscripten-core";
import { type Interpreter, openInterpreter, type Ran, STEPS_PER_POLL } from "./interpreter.ts";

export interface RewardLimits {
  /** The source, in UTF-8. */
  sourceBytesMax: number;
  /** What the interpreter may allocate; an example may have a quarter of it as JSON. */
  memoryBytesMax: number;
  stackBytesMax: number;
  /** Jumps, calls and steps of regular expressions, a turn of a loop being two: of loading, and of each call. */
  stepsMax: number;
  /** Loading, or one call, by the clock: only native work without steps, such as indexOf over 2^53 holes, gets so far. */
  clockMsMax: number;
  /** How much of a thrown error goes into a message. */
  answerCharactersMax: number;
}

/** 10 million steps are 0.05 s of empty loops, or 1.2 s of calls of built-in functions; the clock is there for what takes no steps. */
export const REWARD_LIMITS: RewardLimits = {
  sourceBytesMax: 64 * 1024,
  memoryBytesMax: 16 * 1024 * 1024,
  stackBytesMax: 48 * 1024,
  stepsMax: 10_000_000,
  clockMsMax: 10_000,
  answerCharactersMax: 200,
};

/** What `reward` is called with, as plain data; numbers that are not finite arrive as null, as JSON has it. */
export interface RewardExample {
  text?: string;
  generated?: string;
  label?: number;
  value?: number;
  target?: string;
  /** Logits, one for each class. */
  scores?: readonly number[];
}

export type ScoreCode = "reward-threw" | "reward-timeout" | "reward-memory" | "reward-not-a-number";
export type LoadCode = "reward-too-large" | "reward-missing" | Exclude<ScoreCode, "reward-not-a-number">;
type Failed<Code> = { ok: false; code: Code; message: string };

export interface Reward {
  /** Calls `reward(example)`. Its answer is a finite number; anything else is a code. Throws after `close`. */
  score(example: RewardExample): { ok: true; score: number } | Failed<ScoreCode>;
  close(): void;
}

/** How an answer begins that is no number. */
const THREW = "threw ";
const NOT_A_NUMBER = "returned ";
const MISSING = "missing";
const RESERVE_BYTES = 16_384;

/**
 * Runs before the source. It takes away what would let machines disagree, and what makes code of text, so that the source is all that
 * ever runs; with Float64Array and its like the sign of a NaN would show, which WebAssembly leaves to the processor.
 */
const PRELUDE = `"use strict";
(() => {
  const { parse } = JSON;
  for (const name of ["eval", "Function", "Float16Array", "Float32Array", "Float64Array", "DataView", "SharedArrayBuffer"]) delete globalThis[name];
  delete Math.random;
  for (const f of [function () {}, function* () {}, async function () {}, async function* () {}]) delete Object.getPrototypeOf(f).constructor;
  // Given up when something was thrown, so that there is memory left to say what.
  let reserve = new ArrayBuffer(${RESERVE_BYTES});
  const shown = (error) => {
    reserve = undefined;
    try {
      return error !== null && typeof error === "object" ? \`\${error.name}: \${error.message}\` : \`\${error}\`;
    } catch {
      return "something that cannot be shown";
    }
  };
  const scorer = (reward) => (json) => {
    try {
      const answer = reward(parse(json));
      return typeof answer === "number" ? answer : \`${NOT_A_NUMBER}\${answer === null ? "null" : typeof answer}\`;
    } catch (error) {
      return \`${THREW}\${shown(error)}\`;
    }
  };
  return { shown, scorer };
})()`;

/** What the interpreter throws by itself; null where not even the error fits into memory. */
const MEMORY = /^(?:InternalError: (?:out of memory|string too long)|null)$/;
const STACK = /^(?:InternalError|SyntaxError): stack overflow$/;

function failedRun(
  { met }: Ran<unknown> & { ok: false },
  during: string,
  limits: RewardLimits,
): Failed<"reward-timeout" | "reward-memory"> {
  const { stepsMax, clockMsMax, memoryBytesMax, stackBytesMax } = limits;
  if (met === "steps")
    return {
      ok: false,
      code: "reward-timeout",
      message: `${during} took more than stepsMax = ${stepsMax} steps (counted in lots of ${STEPS_PER_POLL}): make its loops shorter, or allow more`,
    };
  if (met === "clock")
    return {
      ok: false,
      code: "reward-timeout",
      message: `${during} took more than clockMsMax = ${clockMsMax} ms without coming to its steps' limit: give less work to one built-in function`,
    };
  return {
    ok: false,
    code: "reward-memory",
    message: `${during} used up its thread's stack, or its instance (memoryBytesMax = ${memoryBytesMax}, stackBytesMax = ${stackBytesMax}): nest less`,
  };
}

function failedThrow(error: string, during: string, limits: RewardLimits): Failed<"reward-threw" | "reward-memory"> {
  if (MEMORY.test(error)) {
    const message = `${during} needs more than memoryBytesMax = ${limits.memoryBytesMax}: keep less, or allow more`;
    return { ok: false, code: "reward-memory", message };
  }
  if (STACK.test(error)) {
    const message = `${during} needs more stack than stackBytesMax = ${limits.stackBytesMax}: call or nest less deeply`;
    return { ok: false, code: "reward-memory", message };
  }
  const shown = error.length > limits.answerCharactersMax ? `${error.slice(0, limits.answerCharactersMax)}...` : error;
  return { ok: false, code: "reward-threw", message: `${during} threw ${shown}` };
}

/**
 * Loads a source that defines `function reward(example) { return number }`, and runs what stands at its top once. A source that is too
 * large, does not parse, throws, meets a limit or defines no function is a value. Rejects where the interpreter's build cannot be read,
 * and with a RangeError for limits that make no sense. By default a reward takes some 20 ms to load and 0.25 ms a call; of its memory of
 * 32 MiB an ordinary one touches 6, and a copy of these is what each call starts from.
 */
export async function loadReward(
  source: string,
  given: Partial<RewardLimits> = {},
): Promise<{ ok: true; reward: Reward } | Failed<LoadCode>> {
  const limits = { ...REWARD_LIMITS, ...given };
  const sourceBytes = Buffer.byteLength(source);
  if (sourceBytes > limits.sourceBytesMax) {
    const message = `the reward's source has ${sourceBytes} bytes, more than sourceBytesMax = ${limits.sourceBytesMax}: shorten it, or allow more`;
    return { ok: false, code: "reward-too-large", message };
  }
  const interpreter = await openInterpreter(limits);
  const { context } = interpreter;
  let scorer: QuickJSHandle | undefined;
  const loaded = interpreter.keep((): string => {
    const prelude = context.unwrapResult(context.evalCode(PRELUDE, "prelude.js", { type: "global" }));
    const shownOf = (error: QuickJSHandle) => {
      const shown = context.callFunction(context.getProp(prelude, "shown"), context.undefined, error);
      return shown.error ? "null" : context.getString(shown.value);
    };
    const ran = context.evalCode(source, "reward.js", { type: "global" });
    if (ran.error) return `${THREW}${shownOf(ran.error)}`;
    const found = context.evalCode("reward", "reward.js", { type: "global" });
    if (found.error || context.typeof(found.value) !== "function") return MISSING;
    scorer = context.unwrapResult(context.callFunction(context.getProp(prelude, "scorer"), context.undefined, found.value));
    return "";
  });
  const during = "loading the reward";
  if (!loaded.ok) return failedRun(loaded, during, limits);
  if (loaded.value.startsWith(THREW)) return failedThrow(loaded.value.slice(THREW.length), during, limits);
  if (scorer === undefined) {
    const message = "the reward's source defines no function of the name reward: write function reward(example) { return 1; }";
    return { ok: false, code: "reward-missing", message };
  }
  return { ok: true, reward: rewardOf(interpreter, scorer, limits) };
}

function rewardOf(opened: Interpreter, scorer: QuickJSHandle, limits: RewardLimits): Reward {
  let interpreter: Interpreter | undefined = opened;
  const exampleBytesMax = Math.floor(limits.memoryBytesMax / 4);
  const during = "reward(example)";
  return {
    score(example) {
      if (interpreter === undefined) throw new Error("the reward is closed");
      const { context } = interpreter;
      const json = JSON.stringify(example);
      const bytes = Buffer.byteLength(json);
      if (bytes > exampleBytesMax) {
        const message = `the example has ${bytes} bytes as JSON, more than a quarter of memoryBytesMax = ${limits.memoryBytesMax}: shorten it, or allow more`;
        return { ok: false, code: "reward-memory", message };
      }
      const ran = interpreter.run((): number | string => {
        const called = context.callFunction(scorer, context.undefined, context.newString(json));
        // The scorer catches what is thrown: this is the interpreter at its end, and reading its error could run more of the reward.
        if (called.error) return `${THREW}null`;
        return context.typeof(called.value) === "number" ? context.getNumber(called.value) : context.getString(called.value);
      });
      if (!ran.ok) return failedRun(ran, during, limits);
      const answer = ran.value;
      if (typeof answer === "number" && Number.isFinite(answer)) return { ok: true, score: answer };
      if (typeof answer === "string" && answer.startsWith(THREW)) return failedThrow(answer.slice(THREW.length), during, limits);
      const what = typeof answer === "number" ? `${answer}` : `a value of type ${answer.slice(NOT_A_NUMBER.length)}`;
      return { ok: false, code: "reward-not-a-number", message: `${during} returned ${what}: return a finite number, at once` };
    },
    close() {
      interpreter = undefined;
    },
  };
}
