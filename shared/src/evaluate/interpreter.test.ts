/** The interpreter's promises: a memory that never grows, runs that leave nothing behind, and an instance that survives its own end. */
import { describe, expect, it } from "vitest";
import { openInterpreter } from "./interpreter.ts";

const LIMITS = { memoryBytesMax: 16 * 2 ** 20, stackBytesMax: 48 * 1024, stepsMax: 1_000_000, clockMsMax: 10_000 };
const MEMORY_BYTES = 32 * 2 ** 20;

describe("an interpreter", () => {
  it("undoes a thousand runs, with all that they allocated", async () => {
    const interpreter = await openInterpreter(LIMITS);
    const { context } = interpreter;
    const counted = interpreter.keep(() => context.unwrapResult(context.evalCode("let n = 0; () => ++n")));
    if (!counted.ok) throw new Error(counted.met);
    for (let run = 0; run < 1_000; run++) {
      // Neither the string nor the result is disposed.
      const ran = interpreter.run(() => {
        context.newString("left".repeat(1_000));
        return context.getNumber(context.unwrapResult(context.callFunction(counted.value, context.undefined)));
      });
      expect(ran).toEqual({ ok: true, value: 1 });
    }
    expect(interpreter.memoryBytes()).toBe(MEMORY_BYTES);
    // QuickJS asserts that nothing is left when a runtime goes.
    counted.value.dispose();
    context.dispose();
    context.runtime.dispose();
  });

  it("keeps what it is told to keep, and drops what failed", async () => {
    const interpreter = await openInterpreter(LIMITS);
    const { context } = interpreter;
    const evaluate = (code: string) => context.getNumber(context.unwrapResult(context.evalCode(code)));
    expect(interpreter.keep(() => evaluate("globalThis.n = 1"))).toEqual({ ok: true, value: 1 });
    expect(interpreter.keep(() => evaluate("globalThis.n = 2; for (;;);"))).toEqual({ ok: false, met: "steps" });
    expect(interpreter.run(() => evaluate("n++; n"))).toEqual({ ok: true, value: 2 });
    expect(interpreter.run(() => evaluate("n"))).toEqual({ ok: true, value: 1 });
  });

  it("has a memory that is filled and never grows", async () => {
    const interpreter = await openInterpreter(LIMITS);
    const { context } = interpreter;
    const bomb = () => "error" in context.evalCode("globalThis.all = []; for (;;) all.push(new Uint8Array(1000).fill(1));");
    for (let run = 0; run < 3; run++) expect(interpreter.run(bomb)).toEqual({ ok: true, value: true });
    expect(interpreter.memoryBytes()).toBe(MEMORY_BYTES);
  });

  it("comes back from the end of the thread's stack, and from a trap", async () => {
    const interpreter = await openInterpreter({ ...LIMITS, stackBytesMax: 4 * 2 ** 20 });
    const { context } = interpreter;
    const evaluate = (code: string) => context.getNumber(context.unwrapResult(context.evalCode(code)));
    for (let run = 0; run < 3; run++) {
      expect(interpreter.run(() => evaluate("(function f() { f(); })()"))).toEqual({ ok: false, met: "fault" });
      // A handle of nothing: C reads where it pleases.
      const nowhere = () => context.getNumber({ ...context.undefined, value: 0xfff_fff0, owner: context.runtime } as never);
      expect(interpreter.run(nowhere)).toEqual({ ok: false, met: "fault" });
      expect(interpreter.run(() => evaluate("1 + 1"))).toEqual({ ok: true, value: 2 });
    }
  });

  it.each([
    [{ memoryBytesMax: 1_000 }, "memoryBytesMax is 1000: give 1048576 to 268435456"],
    [{ memoryBytesMax: 2 ** 31 }, "memoryBytesMax is 2147483648"],
    [{ clockMsMax: 0.5 }, "clockMsMax is 0.5: give a whole number from 1"],
    [{ stepsMax: Number.NaN }, "stepsMax is NaN"],
    [{ stackBytesMax: 0 }, "stackBytesMax is 0"],
  ])("refuses %j", async (limits, message) => {
    await expect(openInterpreter({ ...LIMITS, ...limits })).rejects.toThrow(message);
  });
});
