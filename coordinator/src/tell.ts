/** What inspect and check found and what a ledger decides, as lines for people. */
import type { Decision } from "@zoswarm/shared/ledger/folds";
import type { Inspection } from "@zoswarm/shared/model/inspect";
import type { Checked } from "./check.ts";

const mb = (bytes: number) => (bytes < 1e6 ? `${(bytes / 1e3).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(1)} MB`);
const seconds = (value: number) => (value < 1 ? `${(1000 * value).toFixed(value < 0.01 ? 2 : 0)} ms` : `${value.toFixed(1)} s`);
const count = (value: number) => value.toLocaleString("en");

export function inspectionLines(file: string, inspection: Inspection): string[] {
  const { opset, irVersion, producer, inputs, outputs, tensors, totals, switchedOff, memoryBytes, download, refusals } = inspection;
  const value = ({ name, type, dimensions }: Inspection["inputs"][number]) =>
    `  ${name}  ${type} [${dimensions?.map((size) => size ?? "?").join(", ") ?? "?"}]`;
  const width = Math.min(60, Math.max(6, ...tensors.map(({ name }) => name.length)));
  return [
    `${file}: opset ${opset}, IR ${irVersion}${producer === "" ? "" : `, by ${producer}`}`,
    "inputs",
    ...inputs.map(value),
    "outputs",
    ...outputs.map(value),
    `tensors: ${count(totals.elements)} elements in ${totals.tensors}; ${count(totals.trainedElements)} in ${totals.trainedTensors} can be trained`,
    ...tensors.map(({ name, shape, type, trainable, reason, q, relativeResolution }) => {
      const lattice =
        q === undefined ? "" : `  q ${q}, step 2^-${q}${relativeResolution ? ` = ${relativeResolution.toExponential(1)} of its rms` : ""}`;
      return `  ${trainable ? "+" : "-"} ${name.padEnd(width)}  ${type} [${shape.join(", ")}]${lattice}${trainable ? "" : `  not trained: it ${reason}`}`;
    }),
    ...(switchedOff.length === 0 ? [] : [`switched off, for training only: ${switchedOff.join(", ")}`]),
    `memory of a worker     about ${mb(memoryBytes)}`,
    `a late joiner fetches  ${mb(download.totalBytes)} (graph ${mb(download.graphBytes)}, weights ${mb(download.initialBytes)}, frozen ${mb(download.frozenBytes)}), examples and ledger`,
    ...(refusals.length === 0
      ? ["a job can train it"]
      : ["a job would be refused:", ...refusals.map(({ code, message }) => `  ${code}: ${message}`)]),
  ];
}

const ENDED = {
  target: "the job is over: its target is reached",
  patience: "the job is over: it makes no more progress",
  forwards: "the job is over: its forward passes are spent",
  diverged: "the job is over: it diverged",
} as const;

/** What a decision changes, without the reason. */
export function decisionText({ entry }: Pick<Decision, "entry">): string {
  if (entry.kind === "restore") return `back to the state after step ${entry.step + 1}`;
  if (entry.kind === "end") return ENDED[entry.reason];
  const { rate, epsilonLog2, groups, directionsLog2 } = entry;
  const each = `${groups * 2 ** directionsLog2} directions a step${groups > 1 ? ` in ${groups} groups` : ""}`;
  return `rate ${Number(rate.toPrecision(3))}, epsilon 2^${epsilonLog2}, ${each}`;
}

/** A decision in one line. */
export function decisionLine(decision: Decision): string {
  const { afterStep, entry } = decision;
  const why = entry.kind === "restore" ? "" : `: ${entry.why}`;
  return `decided after step ${afterStep + 1}: ${decisionText(decision)}${why}`;
}

export function checkedLines(checked: Checked): string[] {
  const { parameters, tensors, trainRows, heldoutRows, downloadBytes, exampleBytes, memoryBytes, forwardSeconds, stepSeconds } = checked;
  return [
    `trains     ${count(parameters)} parameters in ${tensors} tensors on ${count(trainRows)} examples, ${count(heldoutRows)} held out`,
    `before     loss ${checked.startLoss.toFixed(4)}, score ${checked.startScore.toPrecision(4)}; evaluating takes ${seconds(checked.evaluationSeconds)}`,
    `memory     ${mb(memoryBytes)} at the peak, as a worker has it`,
    `downloads  ${mb(downloadBytes)} before the first step, then examples as they are needed, at most ${mb(exampleBytes)}`,
    `a forward  ${seconds(forwardSeconds)}; a step ${seconds(stepSeconds)} for one such worker, ${seconds(stepSeconds / 10)} for ten`,
    `a step     every worker receives ${count(checked.commitBytes)} bytes; all together send ${count(checked.resultBytes)}`,
    ...checked.warnings.map((warning) => `warning    ${warning}`),
  ];
}
