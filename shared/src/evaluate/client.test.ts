/** Ending the evaluator's thread must never end the process: not while it loads the runtime, not while it is inside it. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";

const client = new URL("client.ts", import.meta.url).href;
/** Moments of a thread's start, in milliseconds: from before its first line to after the runtime is loaded. */
const MOMENTS = Array.from({ length: 30 }, (_, i) => 7 * i);

it("closes at any moment of its start, and what was asked for is rejected", () => {
  const script = `
    import { startEvaluator } from ${JSON.stringify(client)};
    import { setTimeout } from "node:timers/promises";
    await Promise.all(${JSON.stringify(MOMENTS)}.map(async (ms) => {
      const evaluator = startEvaluator({ threads: 1 });
      const asked = evaluator.call("stats", null).then(() => "answered", (error) => error.message);
      await setTimeout(ms);
      await evaluator.close();
      if (!["answered", "the evaluator is closed"].includes(await asked)) throw new Error(await asked);
      const late = await evaluator.call("stats", null).catch((error) => error.message);
      if (late !== "the evaluator is closed") throw new Error(late);
    }));
    process.exit(7);
  `;
  const dir = mkdtempSync(join(tmpdir(), "zoswarm-client-"));
  try {
    writeFileSync(join(dir, "close.mjs"), script);
    const { status, signal, stderr } = spawnSync(process.execPath, [join(dir, "close.mjs")], { encoding: "utf8" });
    expect({ status, signal, stderr }).toEqual({ status: 7, signal: null, stderr: "" });
  } finally {
    rmSync(dir, { recursive: true });
  }
});
