/** What the quality benchmark draws of a comparison: held-out loss against forward passes, and against steps that wait for one another. */
import type { Comparison, MethodReport } from "./quality.ts";
import { type Axis, chartSvg } from "./svg.ts";

/** The ones that tell something beside each other. */
const SHOWN = /^MeZO|^automatic|^group of (16|64|256), one-sided, normalised|^group of 16, two-sided, plain/;
const NAMES: Record<string, string> = { lm: "stories260K, film reviews", demo: "the demo's classifier" };

/** File names and SVG texts. */
export function charts({ job, methods, mezo, forwards }: Comparison): [string, string][] {
  const shown = methods.filter(({ name }) => SHOWN.test(name));
  const reference = { name: `MeZO's loss after ${forwards} forward passes`, at: mezo.loss };
  const chart = (x: Axis, value: "forwards" | "steps") =>
    chartSvg({
      title: `Held-out loss, ${NAMES[job] ?? job}`,
      x,
      y: { label: "held-out loss", scale: "linear" },
      series: shown.map(({ name, runs }) => ({ name, runs: linesOf(runs, value) })),
      references: [reference],
    });
  return [
    [`${job}-forwards.svg`, chart({ label: "forward passes", scale: "linear" }, "forwards")],
    [`${job}-steps.svg`, chart({ label: "steps that wait for one another", scale: "log2" }, "steps")],
  ];
}

function linesOf(runs: MethodReport["runs"], value: "forwards" | "steps") {
  return runs.map(({ curve }) =>
    curve.filter((point) => value === "forwards" || point.steps > 0).map((point) => ({ x: point[value], y: point.loss })),
  );
}
