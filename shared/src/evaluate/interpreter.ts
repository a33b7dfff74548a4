/**
 * One QuickJS in a WebAssembly instance of its own, for a stranger's JavaScript: a fixed piece of memory, and of the host nothing but
 * a counter. Every run starts from the same bytes, so that what it answers depends on nothing that ran before it, or on the machine.
 */
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { createContext, Script } from "node:vm";
import * as emscripten from "@jitl/quickjs-wasmfile-release-sync/emscripten-module";
import { QuickJSFFI } from "@jitl/quickjs-wasmfile-release-sync/ffi";
import {
  type EmscriptenModuleLoader,
  type EmscriptenModuleLoaderOptions,
  newQuickJSWASMModuleFromVariant,
  type QuickJSContext,
  type QuickJSEmscriptenModule,
  type QuickJSSyncVariant,
} from "quickjs-emscripten-core";

export interface InterpreterLimits {
  /** What the interpreter may allocate; the instance's whole memory is fixed at half as much again, and 8 MiB. */
  memoryBytesMax: number;
  /** Of the interpreter's own stack. The thread's stack must hold some 16 times as much, or it ends first: at 48 KiB any thread's does. */
  stackBytesMax: number;
  /** Jumps, calls and steps of regular expressions in one run, a turn of a loop being two; counted in lots of STEPS_PER_POLL. */
  stepsMax: number;
  /** Milliseconds of one run: only for work that takes no steps, since a slow machine meets it sooner than a fast one. */
  clockMsMax: number;
}

/** "steps" and "clock" name the limit that was met; "fault" is a stack, or an instance, that came to its end. */
export type Ran<T> = { ok: true; value: T } | { ok: false; met: "steps" | "clock" | "fault" };

export interface Interpreter {
  context: QuickJSContext;
  /**
   * Runs a task, which works on the context alone and returns no handles, under the limits; then puts the kept bytes back. Whatever the
   * task allocated is gone with that: nothing needs to be disposed, and an interpreter that nobody holds is garbage like any object.
   */
  run<T>(task: () => T): Ran<T>;
  /** As `run`, but what the task did stays where it came to its end: every later run starts from there. */
  keep<T>(task: () => T): Ran<T>;
  /** The size of the instance's memory, in bytes: it never changes. */
  memoryBytes(): number;
}

/** QuickJS asks whether to go on once in so many steps (JS_INTERRUPT_COUNTER_INIT). */
export const STEPS_PER_POLL = 10_000;
const PAGE = 65_536;
/** Static data and the C stack, 5.2 MiB of this build, with room for the host's own strings. */
const BASE_BYTES = 8 * 2 ** 20;
/** Objects of a new context, and the prelude, with room for a small reward; and what a volunteer's computer should be asked for at most. */
const MEMORY_BYTES_MIN = 2 ** 20;
const MEMORY_BYTES_MAX = 2 ** 28;
/** The build declares that it needs so many. */
const PAGES_MIN = 256;
const NOTHING = new Uint8Array(PAGE);

/** Eval is how the host hands over a source; Date is left out. */
const INTRINSICS = {
  BaseObjects: true,
  Eval: true,
  StringNormalize: true,
  RegExp: true,
  RegExpCompiler: true,
  JSON: true,
  Proxy: true,
  MapSet: true,
  TypedArrays: true,
  Promise: true,
  BigInt: true,
  Date: false,
};

/** Node's watchdog ends what runs in this thread, WebAssembly included, when a script's time is over. */
const watched: { task?: (() => unknown) | undefined } = {};
const WATCHED = createContext(watched);
const RUN_TASK = new Script("task()");

/** The file is ESM and its types are of CommonJS. */
const { default: loadModule } = emscripten as unknown as { default: EmscriptenModuleLoader<QuickJSEmscriptenModule> };

let compiling: Promise<WebAssembly.Module> | undefined;
const compiled = () => {
  compiling ??= readFile(createRequire(import.meta.url).resolve("@jitl/quickjs-wasmfile-release-sync/wasm")).then((bytes) =>
    WebAssembly.compile(bytes),
  );
  return compiling;
};

/**
 * Of all that Emscripten offers (a clock, a time zone, a console, timers, an environment) only the memory and the question whether to
 * stop go in: everything else answers 0, and where C does not expect an answer the instance traps.
 */
function withoutHost(imports: WebAssembly.Imports, poll: () => number): WebAssembly.Imports {
  // Emscripten calls its imports a, b, c: this one is known by the callback that it would ask.
  const isInterrupt = (value: unknown) => typeof value === "function" && String(value).includes("shouldInterrupt");
  const all = Object.entries(imports).flatMap(([module, values]) =>
    Object.entries(values).map(([name, value]) => ({ module, name, value })),
  );
  if (all.filter(({ value }) => isInterrupt(value)).length !== 1) throw new Error("QuickJS's build has not one import for its interrupts");
  const given: Record<string, Record<string, WebAssembly.ImportValue>> = {};
  for (const { module, name, value } of all) {
    given[module] ??= {};
    given[module][name] = typeof value !== "function" ? value : isInterrupt(value) ? poll : () => 0;
  }
  return given;
}

/**
 * Opens an interpreter with a global object as ECMAScript has it, without Date. Rejects where the build cannot be read, and with a
 * RangeError for a limit that is no whole number above 0, or a memory that does not hold the interpreter itself.
 */
export async function openInterpreter({ memoryBytesMax, stackBytesMax, stepsMax, clockMsMax }: InterpreterLimits): Promise<Interpreter> {
  for (const [name, value] of Object.entries({ memoryBytesMax, stackBytesMax, stepsMax, clockMsMax }))
    if (!Number.isSafeInteger(value) || value < 1) throw new RangeError(`${name} is ${value}: give a whole number from 1`);
  if (memoryBytesMax < MEMORY_BYTES_MIN || memoryBytesMax > MEMORY_BYTES_MAX)
    throw new RangeError(`memoryBytesMax is ${memoryBytesMax}: give ${MEMORY_BYTES_MIN} to ${MEMORY_BYTES_MAX}`);
  const wasm = await compiled();
  let polls = 0;
  const pollsMax = Math.ceil(stepsMax / STEPS_PER_POLL);
  const poll = () => {
    // Thrown through the instance, and not answered: QuickJS would hand the end of an async function to its promise, and go on.
    if (++polls > pollsMax) throw new Error("out of steps");
    return 0;
  };
  const pages = Math.max(PAGES_MIN, Math.ceil((BASE_BYTES + memoryBytesMax * 1.5) / PAGE));
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
  /** What the instance of now exports; one that trapped is replaced, over the same memory. */
  let exported: Record<string, (...values: unknown[]) => unknown> = {};
  let instantiate = () => {};
  const moduleOptions: EmscriptenModuleLoaderOptions = {
    wasmMemory: memory,
    instantiateWasm(imports, done) {
      const given = withoutHost(imports, poll);
      instantiate = () => {
        exported = new WebAssembly.Instance(wasm, given).exports as typeof exported;
      };
      instantiate();
      const names = Object.keys(exported);
      done({ exports: Object.fromEntries(names.map((name) => [name, (...values: unknown[]) => exported[name]?.(...values)])) });
      return exported as WebAssembly.Exports;
    },
  };
  const variant: QuickJSSyncVariant = {
    type: "sync",
    importFFI: async () => QuickJSFFI,
    importModuleLoader: async () => () => loadModule(moduleOptions),
  };
  const runtime = (await newQuickJSWASMModuleFromVariant(variant)).newRuntime();
  runtime.setMemoryLimit(memoryBytesMax);
  runtime.setMaxStackSize(stackBytesMax);
  // This makes QuickJS ask; what it asks is `poll`.
  runtime.setInterruptHandler(() => false);
  const context = runtime.newContext({ intrinsics: INTRINSICS });

  const bytes = new Uint8Array(memory.buffer);
  const copy = () => {
    let end = pages;
    while (end > 0 && Buffer.compare(bytes.subarray((end - 1) * PAGE, end * PAGE), NOTHING) === 0) end--;
    return bytes.slice(0, end * PAGE);
  };
  let kept = copy();

  const perform = <T>(task: () => T): Ran<T> => {
    polls = 0;
    watched.task = task;
    try {
      return { ok: true, value: RUN_TASK.runInContext(WATCHED, { timeout: clockMsMax }) as T };
    } catch (error) {
      // It stopped somewhere inside: its stack pointer is where it was, and only a new instance has one at the start.
      instantiate();
      bytes.set(kept);
      if (polls > pollsMax) return { ok: false, met: "steps" };
      return { ok: false, met: (error as NodeJS.ErrnoException).code === "ERR_SCRIPT_EXECUTION_TIMEOUT" ? "clock" : "fault" };
    } finally {
      watched.task = undefined;
    }
  };
  return {
    context,
    run(task) {
      const ran = perform(task);
      bytes.set(kept);
      return ran;
    },
    keep(task) {
      const ran = perform(task);
      if (ran.ok) kept = copy();
      else bytes.set(kept);
      return ran;
    },
    memoryBytes: () => memory.buffer.byteLength,
  };
}
