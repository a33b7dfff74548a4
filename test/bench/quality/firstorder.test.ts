import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { exampleOf } from "@zoswarm/shared/data/examples";
import { afterEach, describe, expect, it, vi } from "vitest";
import { firstOrder, pythonWithTorch } from "./firstorder.ts";

const model = fileURLToPath(new URL("../../../../shared/models/stories260K/stories260K.bin", import.meta.url));
/** "Once upon a time, there was a little" in the model's own pieces. */
const story = [1, 403, 407, 261, 378, 432, 383, 286, 261, 376];
const options = {
  model,
  batches: Array.from({ length: 3 }, () => [exampleOf(story), exampleOf(story.slice(0, 7))]),
  heldout: [exampleOf(story), exampleOf(story.slice(0, 5), { from: 3 })],
  initialLoss: 0,
  rates: [1e-3],
  decay: 0.01,
  evaluateAt: [1, 3],
};

describe("firstOrder", () => {
  afterEach(() => {
    vi.unstubAllEnvs();
  });

  it("says why it is skipped where there is no such Python", async () => {
    vi.stubEnv("ZOSWARM_PYTHON", "/no/such/python");
    expect(await firstOrder(options)).toEqual({
      skipped: expect.stringMatching(/\/no\/such\/python cannot be run .*ENOENT.*pip install torch/),
    });
  });

  const able = existsSync(model) && "python" in pythonWithTorch();
  it.skipIf(!able)("trains, from the loss that it is told (skipped without PyTorch or ../shared)", async () => {
    const refused = await firstOrder(options).catch((error: Error) => error.message);
    expect(refused).toMatch(/^firstorder.py: the held-out loss before training is [\d.]+ here and 0.000000 there/);
    const initialLoss = Number(/is ([\d.]+) here/.exec(String(refused))?.[1]);
    const trained = await firstOrder({ ...options, initialLoss });
    if ("skipped" in trained) throw new Error(trained.skipped);
    expect(trained).toMatchObject({ parameters: 260_032, wireBytesPerStep: 1_040_128 });
    const curve = trained.runs[0]?.curve ?? [];
    expect(curve.map(({ step, forwards }) => [step, forwards])).toEqual([
      [1, 3],
      [3, 9],
    ]);
    expect(curve[1]?.loss).toBeLessThan(initialLoss);
  });
});
