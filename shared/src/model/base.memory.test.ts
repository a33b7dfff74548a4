/**
 * A 4-bit base against the float32 base that it was made of, each in a process of its own: what a session and its first forward pass take
 * above a process that has loaded the runtime and not used it. The weights are external data of a file that is opened by its path.
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { externalizeFrozen } from "./freeze.ts";
import { createGraph } from "./graph.ts";
import { liftTrainable } from "./lift.ts";
import { addLora } from "./lora.ts";
import { type Model, writeModel } from "./onnx.ts";
import { quantizeModel } from "./quantize.ts";
import { insideSource } from "./tensor.ts";

const [LAYERS, WIDTH, RANK, ROWS] = [8, 2048, 8, 16];
const BASE_MEGABYTES = (4 * LAYERS * WIDTH * WIDTH) / 1e6;

const folder = mkdtempSync(join(tmpdir(), "zoswarm-base-"));
afterAll(() => rmSync(folder, { recursive: true }));

function float32Base(): Model {
  const graph = createGraph("base");
  let x = graph.input("x", "float32", ["rows", WIDTH]);
  // A generator of one multiplication: 29 million values need not be good ones.
  let state = 1;
  for (let layer = 0; layer < LAYERS; layer++) {
    const values = new Float32Array(WIDTH * WIDTH);
    for (let i = 0; i < values.length; i++) {
      state = (Math.imul(state, 1664525) + 1013904223) | 0;
      values[i] = state * 2 ** -36;
    }
    x = graph.node("Tanh", [graph.node("MatMul", [x, graph.parameter(`w${layer}`, [WIDTH, WIDTH], values)])]);
  }
  graph.node("Identity", [x], {}, "y");
  graph.output("y", "float32", ["rows", WIDTH]);
  return graph.model({ irVersion: 8, opset: 17, producer: "test" });
}

/** With LoRA on every layer, A and B as inputs, and the base in a file beside the graph. */
async function written(model: Model, name: string): Promise<string> {
  const lora = addLora(model, { rank: RANK, alpha: 16, targets: ["w*"], seed: [1, 2, 3, 4] });
  if (!lora.ok) throw new Error(lora.message);
  const inputs = lora.adapters.flatMap(({ a, b }) => [
    { name: a, shape: [WIDTH, RANK] },
    { name: b, shape: [RANK, WIDTH] },
  ]);
  const outside = externalizeFrozen(liftTrainable(lora.model, inputs), insideSource, `${name}.data`);
  await outside.write(join(folder, `${name}.data`));
  writeFileSync(join(folder, name), writeModel(outside.model));
  return join(folder, name);
}

const CHILD = `
import { readFileSync } from "node:fs";
import * as ort from ${JSON.stringify(import.meta.resolve("onnxruntime-node"))};
const resident = () => {
  const status = readFileSync("/proc/self/status", "utf8");
  return ["RssAnon", "RssFile"].reduce((sum, name) => sum + Number(new RegExp(name + ":\\\\s+(\\\\d+) kB").exec(status)[1]) * 1024, 0) / 1e6;
};
const feeds = { x: new ort.Tensor("float32", new Float32Array(${ROWS * WIDTH}).fill(0.1), [${ROWS}, ${WIDTH}]) };
for (let layer = 0; layer < ${LAYERS}; layer++) {
  feeds["w" + layer + ".lora_A"] = new ort.Tensor("float32", new Float32Array(${WIDTH * RANK}).fill(0.01), [${WIDTH}, ${RANK}]);
  feeds["w" + layer + ".lora_B"] = new ort.Tensor("float32", new Float32Array(${WIDTH * RANK}).fill(0.01), [${RANK}, ${WIDTH}]);
}
const empty = resident();
const openSession = (path) => ort.InferenceSession.create(path, { intraOpNumThreads: 1, logSeverityLevel: 4 });
await openSession(process.argv[2]);
const started = resident();
const session = await openSession(process.argv[1]);
await session.run(feeds);
console.log(JSON.stringify({ aboveEmpty: resident() - empty, aboveStarted: resident() - started }));
`;

/** Megabytes above the empty process, and above one with a session of a single node: the runtime itself takes 27 at its first. */
function measured(path: string): { aboveEmpty: number; aboveStarted: number } {
  const output = execFileSync(process.execPath, ["--input-type=module", "-e", CHILD, path, join(folder, "one.onnx")], { encoding: "utf8" });
  return JSON.parse(output);
}

test.skipIf(process.platform !== "linux")(
  "a 4-bit base with LoRA takes at most 0.35 of the float32 base's memory (measured on Linux alone)",
  async () => {
    expect(BASE_MEGABYTES).toBeGreaterThan(100);
    const model = float32Base();
    const quantised = quantizeModel(model, { kind: "4-bit" });
    if (!quantised.ok) throw new Error(quantised.message);
    const one = createGraph("one");
    one.output(one.node("Tanh", [one.input("x", "float32", [1])], {}, "y"), "float32", [1]);
    writeFileSync(join(folder, "one.onnx"), writeModel(one.model({ irVersion: 8, opset: 17, producer: "test" })));
    const float32 = measured(await written(model, "float32.onnx"));
    const fourBits = measured(await written(quantised.model, "4-bit.onnx"));
    for (const above of ["aboveEmpty", "aboveStarted"] as const)
      console.log(
        `${above}: float32 ${float32[above].toFixed(1)} MB, 4-bit ${fourBits[above].toFixed(1)} MB, ${(fourBits[above] / float32[above]).toFixed(3)}`,
      );
    expect(float32.aboveStarted).toBeGreaterThan(0.95 * BASE_MEGABYTES);
    expect(fourBits.aboveEmpty / float32.aboveEmpty).toBeLessThanOrEqual(0.35);
    expect(fourBits.aboveStarted / float32.aboveStarted).toBeLessThanOrEqual(0.25);
  },
);
