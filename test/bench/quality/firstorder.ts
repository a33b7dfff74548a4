/** First-order training of the whole language model, for comparison: firstorder.py over our own batches, where PyTorch is at hand. */
import { spawnSync } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Example } from "@zoswarm/shared/data/examples";
import * as z from "zod";

const SCRIPT = fileURLToPath(new URL("firstorder.py", import.meta.url));

export interface FirstOrderOptions {
  /** llama2.c's stories260K.bin, the weights of the job's model. */
  model: string;
  /** Of each optimizer step. */
  batches: readonly (readonly Example[])[];
  heldout: readonly Example[];
  /** The job's held-out loss at its initial state: within 1e-3 of it, or the script fails. */
  initialLoss: number;
  /** A run for each, constant. */
  rates: readonly number[];
  decay: number;
  /** Optimizer steps after which the held-out loss is measured. */
  evaluateAt: readonly number[];
}

const answer = z.strictObject({
  initialLoss: z.number(),
  parameters: z.int(),
  runs: z.array(
    z.strictObject({
      rate: z.number(),
      /** `forwards`: a step's forward and backward pass count three. `seconds`: of the steps, without evaluations. */
      curve: z.array(z.strictObject({ step: z.int(), forwards: z.int(), seconds: z.number(), loss: z.number() })),
    }),
  ),
  /** The most that the process had in memory, and how much of that came after its code, data and weights were there. */
  peakBytes: z.int(),
  trainingBytes: z.int(),
  /** What a data-parallel worker would send for one step: a float32 gradient. */
  wireBytesPerStep: z.int(),
});
export type FirstOrder = z.output<typeof answer>;

/** Python that can import torch: what ZOSWARM_PYTHON names, else python3. */
export function pythonWithTorch(): { python: string } | { skipped: string } {
  const python = process.env.ZOSWARM_PYTHON ?? "python3";
  const { status, error } = spawnSync(python, ["-c", "import torch"], { encoding: "utf8" });
  if (status === 0) return { python };
  const remedy = "pip install torch, or set ZOSWARM_PYTHON to a Python that has it";
  return { skipped: error ? `${python} cannot be run (${error.message}); ${remedy}` : `${python} has no torch; ${remedy}` };
}

/** Trains with AdamW. Throws what the script says where it fails; where there is no PyTorch, says so. */
export async function firstOrder({ batches, heldout, ...rest }: FirstOrderOptions): Promise<FirstOrder | { skipped: string }> {
  const found = pythonWithTorch();
  if ("skipped" in found) return found;
  const rowsOf = (examples: readonly Example[]) => examples.map(({ tokens, from }) => ({ tokens: Array.from(tokens), from }));
  const folder = await mkdtemp(join(tmpdir(), "zoswarm-firstorder-"));
  try {
    const input = join(folder, "input.json");
    await writeFile(input, JSON.stringify({ ...rest, batches: batches.map(rowsOf), heldout: rowsOf(heldout) }));
    // One thread, as our own forward passes have.
    const env = { ...process.env, OMP_NUM_THREADS: "1", MKL_NUM_THREADS: "1" };
    const { status, stdout, stderr, error } = spawnSync(found.python, [SCRIPT, input], { encoding: "utf8", env, maxBuffer: 2 ** 26 });
    if (error || status !== 0)
      throw new Error(`firstorder.py: ${error?.message ?? (stderr.trim().split("\n").at(-1) || `code ${status}`)}`);
    return answer.parse(JSON.parse(stdout));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
