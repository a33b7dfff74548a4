/** Bad models, data, job files and data folders, through the coordinator's own command line: a clear refusal, and nothing is touched. */
import { appendFileSync, copyFileSync, existsSync, mkdtempSync, readdirSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { refusalOf, treeOf } from "./badinput.ts";
import { coordinatorArgs, createProcesses, joinAddress } from "./processes.ts";
import { jobText, type TinyJob, type TinyOptions, writeTinyJob } from "./tinyjob.ts";

const processes = createProcesses();
let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "zoswarm-badinput-"));
});
afterEach(async () => {
  await processes.killAll();
  rmSync(dir, { recursive: true, force: true });
});

const launch = (job: string, data = join(dir, "deep", "data")) => processes.start("coordinator", coordinatorArgs(job, data));

/** What is said of a job that `spoil` has spoilt; whatever it was, everything on the disk stays as it was. */
async function refusedJob(options: TinyOptions, spoil: (job: TinyJob) => void = () => {}): Promise<{ said: string; job: TinyJob }> {
  const job = await writeTinyJob(join(dir, "job"), options);
  spoil(job);
  const before = treeOf(dir);
  const said = await refusalOf(launch(job.job));
  expect(treeOf(dir)).toEqual(before);
  return { said, job };
}

describe("a model", () => {
  it("that is not there, or is no ONNX file, is named with the remedy", async () => {
    const missing = await refusedJob({}, ({ model }) => rmSync(model));
    expect(missing.said).toContain(`model: ${missing.job.model} cannot be read`);
    const cut = await refusedJob({}, ({ model }) => truncateSync(model, 1000));
    expect(cut.said).toMatch(/model\.onnx: the model is not an ONNX file \(.+\); export it again/);
  });

  it("with an operator that cannot be trained is refused with the node and the reason", async () => {
    const { said } = await refusedJob({
      change: (graph, hidden) => graph.node("Add", [hidden, graph.node("RandomNormal", [], { shape: [1] }, "noise")]),
    });
    expect(said).toMatch(/model\.onnx: the node "noise" \(RandomNormal\) draws random numbers, .+ export the model for inference/);
  });

  it("that the runtime cannot load is refused with the node", async () => {
    const { said } = await refusedJob({ change: (graph, hidden) => graph.node("NoSuchOperator", [hidden], {}, "odd") });
    expect(said).toMatch(/model\.onnx: the runtime refuses it: .*NoSuchOperator.*odd|odd.*NoSuchOperator/);
  });

  it("that fails on the longest text alone is refused with the node before anybody downloads it", async () => {
    const { said } = await refusedJob(
      {
        change(graph, hidden) {
          const table = graph.parameter("positions.weight", [12], new Float32Array(12));
          const placed = graph.node("Add", [graph.node("Cast", ["attention_mask"], { to: 1 }), table], {}, "placed");
          return graph.node("Add", [hidden, graph.node("ReduceMean", [placed], { axes: [1] })]);
        },
      },
      // Its words have the smallest token ids: neither the first row nor the one with the largest id shows the fault.
      ({ train }) => appendFileSync(train, `${JSON.stringify({ text: "weather0 ".repeat(14), label: 0 })}\n`),
    );
    expect(said).toMatch(/model\.onnx: the runtime refuses it: .*Add node\. Name:'placed'/);
  });

  it("with an input that nothing fills is refused with what to write, and all its inputs", async () => {
    const { said } = await refusedJob({
      change(graph, hidden) {
        graph.input("weather", "float32", ["batch", 3]);
        return hidden;
      },
    });
    expect(said).toMatch(/nothing says what fills the input "weather": .+columns: \{inputs: \{weather: COLUMN\}\}/);
    expect(said).toContain('"input_ids" int64 [batch, sequence]');
  });
});

describe("data", () => {
  it("that is empty is refused with the file", async () => {
    const { said, job } = await refusedJob({}, ({ train }) => writeFileSync(train, "\n\n"));
    expect(said).toBe(`${job.train}: has no rows; it needs lines of JSON objects, as {"text": "...", "label": 0}`);
  });

  it("that is malformed is refused with file and line of every fault", async () => {
    const { said, job } = await refusedJob({ heldoutRows: 3 }, ({ heldout }) => appendFileSync(heldout, 'nonsense\n{"text": "x"}\n'));
    const lines = said.split("\n");
    expect(lines).toHaveLength(2);
    expect(lines[0]).toContain(`${job.heldout}:4: is not JSON`);
    expect(lines[1]).toContain(`${job.heldout}:5: label:`);
  });

  it("with a label that is none, or a row without words, is refused with file, line and column", async () => {
    const wrong = '{"text": "x", "label": 2}\n{"text": "x", "label": "rain"}\n';
    const { said, job } = await refusedJob({ trainRows: 3 }, ({ train }) => appendFileSync(train, wrong));
    expect(said.split("\n")).toEqual([
      `${job.train}:4: label: 2 is no label; the 2 labels are "weather", "kitchen"`,
      `${job.train}:5: label: "rain" is no label; the 2 labels are "weather", "kitchen"`,
    ]);
    const blank = await refusedJob({ trainRows: 3 }, ({ train }) => appendFileSync(train, '{"text": " ", "label": 1}\n'));
    expect(blank.said).toMatch(/train\.jsonl:4: has no token/);
  });

  it("with a tokenizer that is none is refused with the file", async () => {
    const { said, job } = await refusedJob({}, ({ tokenizer }) => writeFileSync(tokenizer, "{}"));
    expect(said).toContain(`${job.tokenizer}: is not a Hugging Face tokenizer.json that can be used`);
  });
});

describe("a job file", () => {
  it("is refused with all of its faults at once, each with its path, value and limit", async () => {
    const gains = [{ pattern: "*", gain: 99, extra: true }];
    const { said } = await refusedJob({ job: { model: undefined, steps: 0, batch: 5000, gains, stepz: 3, estimator: "three-sided" } });
    const [first, ...faults] = said.split("\n");
    expect(first).toMatch(/job\.yaml: 7 faults$/);
    for (const fault of [
      /^ {2}model: is missing/,
      /^ {2}steps: .+>=1 \(it is 0\)/,
      /^ {2}batch: .+<=4096 \(it is 5000\)/,
      /^ {2}gains\.0\.gain: .+<=8 \(it is 99\)/,
      /^ {2}gains\.0\.extra: unknown key/,
      /^ {2}stepz: unknown key; known keys: name, model/,
      /^ {2}estimator: .+"two-sided".+\(it is "three-sided"\)/,
    ])
      expect(faults).toContainEqual(expect.stringMatching(fault));
    expect(faults).toHaveLength(7);
  });

  it("is refused where its keys do not fit together, beside its other faults", async () => {
    const { said } = await refusedJob({ job: { rate: -1, groups: 64, directionsLog2: 16 } });
    expect(said).toMatch(/2 faults\n {2}rate: .+\n {2}groups, directionsLog2: .+4194304 directions a step; at most 65536 fit/);
  });

  it("that is not there, or neither YAML nor JSON, is named", async () => {
    const none = join(dir, "none.yaml");
    expect(await refusalOf(launch(none))).toContain(`job file ${none}: cannot be read`);
    const { said } = await refusedJob({}, ({ job }) => appendFileSync(job, "steps: [\n"));
    expect(said).toMatch(/job\.yaml: is neither YAML nor JSON \(.+ at line \d+/);
  });

  it("whose class names are not as many as the model's classes is refused", async () => {
    const { said } = await refusedJob({ job: { labels: ["a", "b", "c"] } });
    expect(said).toBe("labels: 3 names for the model's 2 classes; give one name for each, or none");
  });
});

describe("a data folder", () => {
  it("of another job is refused, both are named and neither is touched", async () => {
    const first = await writeTinyJob(join(dir, "first"), { job: { name: "First" } });
    const data = join(dir, "data");
    const running = launch(first.job, data);
    await joinAddress(running);
    running.kill("SIGTERM");
    expect(await running.ended).toEqual({ code: 0, signal: null });

    const second = await writeTinyJob(join(dir, "second"), { trainRows: 10, job: { name: "Second", steps: 7 } });
    const before = treeOf(dir);
    const said = await refusalOf(launch(second.job, data));
    expect(said).toContain(`data folder ${data} belongs to job "First" (`);
    expect(said).toContain('the job file describes "Second"');
    expect(said).toContain("  steps: 12 there, 7 in the job file");
    expect(said).toMatch(/ {2}content of train: "\w{12}" there, "\w{12}" in the job file/);
    expect(said).toContain("name another folder with --data");
    expect(treeOf(dir)).toEqual(before);
  });

  it("of an equal job is resumed, wherever its files lie and however they are called", async () => {
    const first = await writeTinyJob(join(dir, "first"));
    const data = join(dir, "data");
    const made = launch(first.job, data);
    const id = (await made.line(/^job "Weather or kitchen" (\w{12})/))[1];
    made.kill("SIGTERM");
    await made.ended;

    const again = await writeTinyJob(join(dir, "again"));
    copyFileSync(again.model, join(again.dir, "renamed.onnx"));
    writeFileSync(again.job, jobText({ model: "renamed.onnx" }));
    const resumed = launch(again.job, data);
    expect((await resumed.line(/^job "Weather or kitchen" (\w{12})/))[1]).toBe(id);
    expect(resumed.lines.join("\n")).not.toContain("made the job");
  });

  it("that holds something else is refused and not touched", async () => {
    const job = await writeTinyJob(join(dir, "job"));
    const before = treeOf(dir);
    expect(await refusalOf(launch(job.job, job.dir))).toBe(`data folder ${job.dir}: holds other files; name a new folder with --data`);
    expect(await refusalOf(launch(job.job, job.model))).toContain(`data folder ${job.model}: holds other files`);
    expect(treeOf(dir)).toEqual(before);
  });

  it("without a job is not exported, nor over something else", async () => {
    const job = await writeTinyJob(join(dir, "job"));
    const data = join(dir, "data");
    const made = launch(job.job, data);
    await joinAddress(made);
    made.kill("SIGTERM");
    await made.ended;
    const refused = (...args: string[]) => refusalOf(processes.start("coordinator", ["export", ...args]));
    const { "data/ledger/lock.mdb": _lock, ...before } = treeOf(dir) ?? {};
    expect(await refused(job.dir, join(dir, "bundle"))).toBe(
      `data folder ${job.dir}: holds no job; name the folder that a coordinator made, or a new one`,
    );
    expect(await refused(data, job.dir)).toBe(`${job.dir} holds files already: name a new folder for the bundle`);
    expect(await refused(data, "--model", job.dir)).toMatch(/^--model \S+\/job: cannot be written \(EISDIR.+name another file$/);
    const { "data/ledger/lock.mdb": _newLock, ...after } = treeOf(dir) ?? {};
    expect(after).toEqual(before);
  });

  it("that another process holds is refused, and that process is named", async () => {
    const job = await writeTinyJob(join(dir, "job"));
    const data = join(dir, "data");
    const holder = launch(job.job, data);
    await joinAddress(holder);
    expect(await refusalOf(launch(job.job, data))).toMatch(new RegExp(`in use by process ${holder.pid}: stop that one first`));
  });

  it("is not left half-made by a Ctrl-C", async () => {
    const job = await writeTinyJob(join(dir, "job"), { width: 512, trainRows: 20_000 });
    const before = treeOf(dir);
    const making = launch(job.job);
    await whileMaking(making.ended);
    making.kill("SIGINT");
    expect(await making.ended).toEqual({ code: 130, signal: null });
    expect(treeOf(dir)).toEqual(before);
  });
});

/** Resolves as soon as the unfinished folder is there. */
async function whileMaking(ended: Promise<unknown>): Promise<void> {
  let over = false;
  void ended.then(() => {
    over = true;
  });
  while (!existsSync(join(dir, "deep")) || readdirSync(join(dir, "deep")).length === 0) {
    if (over) throw new Error("it ended before it began to make the folder");
    await new Promise((resolve) => setImmediate(resolve));
  }
}
