/** The drawing itself, in uPlot: three lines, two scales, the page's colours. It holds no data of its own beyond what is drawn. */
import uPlot from "uplot";
import type { Job } from "../../src/http/schemas.ts";
import { isShare } from "./format.ts";
import { type Lines, lossRange, scoreRange, stepRange } from "./series.ts";

const EVALUATION_DOTS_MAX = 150;

interface Told {
  /** The index under the cursor; null without one. */
  moved(index: number | null): void;
  /** A drawing is on the screen, with so many points of the training loss. */
  drawn(points: number): void;
}

/** Draws into `element`, in its size. `shown` is asked anew for ranges and the baseline whenever something is drawn. */
export function createPlot(element: HTMLElement, shown: () => { lines: Lines; job: Job }, told: Told): uPlot {
  const style = getComputedStyle(element);
  const colour = (name: string) => style.getPropertyValue(`--${name}`).trim();
  const axis = { stroke: colour("soft"), font: `12px ${style.fontFamily}`, ticks: { show: false }, gap: 8 };
  const { lines } = shown();
  const plot = new uPlot(
    {
      width: element.clientWidth,
      height: element.clientHeight,
      padding: [12, 0, 0, 0],
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false, setScale: false }, points: { size: 8, width: 2 } },
      scales: {
        x: { time: false, range: () => stepRange(shown().lines.x.at(-1) ?? 0, shown().job.steps ?? Number.POSITIVE_INFINITY) },
        loss: { range: (_u, low, high) => lossRange(low ?? 0, high ?? 0, shown().job.classes) },
        score: { range: (_u, low, high) => scoreRange(low ?? 0.5, high ?? 1, shown().job) },
      },
      axes: [
        {
          ...axis,
          grid: { show: false },
          size: 34,
          space: 60,
          incrs: [1, 2, 5, 10, 20, 25, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 1e6],
        },
        { ...axis, scale: "loss", size: 44, space: 44, grid: { stroke: colour("line"), width: 1 }, values: (_u, at) => decimals(at) },
        {
          ...axis,
          scale: "score",
          side: 1,
          size: 48,
          space: 44,
          grid: { show: false },
          values: (_u, at) => (isShare(shown().job.metric) ? at.map((share) => `${Math.round(100 * share)} %`) : decimals(at)),
        },
      ],
      series: [
        {},
        { scale: "loss", stroke: colour("train"), width: 1.25, points: { show: false }, spanGaps: true },
        evaluationLine("loss", colour("loss"), colour("card")),
        evaluationLine("score", colour("accuracy"), colour("card")),
      ],
      hooks: {
        setCursor: [(u) => told.moved(u.cursor.idx ?? null)],
        draw: [
          (u) => {
            drawBaseline(u, shown().job.majorityBaseline, colour("accuracy"));
            told.drawn(pointsOf(u, 1));
          },
        ],
      },
    },
    [lines.x, lines.trainLoss, lines.heldoutLoss, lines.score],
    element,
  );
  followFinger(plot);
  return plot;
}

/** Values of a series that are there. */
function pointsOf(u: uPlot, series: number): number {
  let points = 0;
  for (const value of u.data[series] ?? []) if (typeof value === "number") points += 1;
  return points;
}

function evaluationLine(scale: string, stroke: string, fill: string): uPlot.Series {
  const few = (u: uPlot, series: number) => pointsOf(u, series) <= EVALUATION_DOTS_MAX;
  return { scale, stroke, width: 2.25, spanGaps: true, points: { show: few, size: 6, width: 2, stroke, fill } };
}

/** As many decimals as tell the ticks apart. */
function decimals(at: number[]): string[] {
  const step = Math.abs((at[1] ?? 1) - (at[0] ?? 0));
  const digits = Math.min(6, Math.max(1, Math.ceil(-Math.log10(step || 1) - 1e-9)));
  return at.map((value) => value.toFixed(digits));
}

/** What guessing the commonest class would reach: the accuracy is worth what it is above this. */
function drawBaseline(u: uPlot, baseline: number | null, stroke: string): void {
  if (baseline === null) return;
  const y = Math.round(u.valToPos(baseline, "score", true)) + 0.5;
  const { left, top, width, height } = u.bbox;
  if (y < top || y > top + height) return;
  u.ctx.save();
  u.ctx.strokeStyle = stroke;
  u.ctx.globalAlpha = 0.55;
  u.ctx.lineWidth = devicePixelRatio;
  u.ctx.setLineDash([2 * devicePixelRatio, 5 * devicePixelRatio]);
  u.ctx.beginPath();
  u.ctx.moveTo(left, y);
  u.ctx.lineTo(left + width, y);
  u.ctx.stroke();
  u.ctx.restore();
}

/** A finger reads the chart like a mouse; scrolling the page up and down stays the browser's (touch-action in the styles). */
function followFinger(plot: uPlot): void {
  plot.over.addEventListener("pointermove", (event) => {
    if (event.pointerType === "touch") plot.setCursor({ left: event.clientX - plot.over.getBoundingClientRect().left, top: 0 });
  });
}
