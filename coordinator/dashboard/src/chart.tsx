/**
 * Loss and the held-out metric over steps: the lines, their values under the cursor (mouse, finger or arrow keys), a sentence and a
 * table for those who do not see lines. `data-points` on the figure says how many points of the training loss are drawn.
 */
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type uPlot from "uplot";
import type { Evaluation, Job, StepPoint } from "../../src/http/schemas.ts";
import { count, loss, metricName, score } from "./format.ts";
import { useMedia } from "./media.ts";
import { createPlot } from "./plot.ts";
import { type Lines, lastKnown, linesOf, summaryOf, tableOf } from "./series.ts";

interface Props {
  job: Job;
  steps: readonly StepPoint[];
  evaluations: readonly Evaluation[];
}

export function Chart({ job, steps, evaluations }: Props) {
  const figure = useRef<HTMLElement>(null);
  const canvas = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const [pointed, setPointed] = useState<number | null>(null);
  // The step that the keys read: a pixel can hold many steps and the axis moves as the line grows, so the cursor only shows it.
  const [read, setRead] = useState<number | null>(null);
  const dark = useMedia("(prefers-color-scheme: dark)");
  const lines = useMemo(() => linesOf(steps, evaluations), [steps, evaluations]);
  const shown = useRef({ lines, job });
  shown.current = { lines, job };

  // The theme is in the drawing's colours: another theme is another drawing.
  useEffect(() => {
    const element = canvas.current as HTMLDivElement;
    const created = createPlot(element, () => shown.current, {
      moved: setPointed,
      drawn: (points) => {
        (figure.current as HTMLElement).dataset.points = String(points);
      },
    });
    plot.current = created;
    const observer = new ResizeObserver(() => created.setSize(sizeOf(element)));
    observer.observe(element);
    return () => {
      observer.disconnect();
      created.destroy();
      plot.current = null;
    };
  }, [dark]);

  useEffect(() => {
    plot.current?.setData([lines.x, lines.trainLoss, lines.heldoutLoss, lines.score]);
  }, [lines, job.steps]);

  // The cursor stays at the step that is read. In a microtask, because uPlot scales new data in one that it queued above.
  useEffect(() => {
    if (read === null) return;
    queueMicrotask(() => plot.current && showAt(plot.current, read));
    return () => {
      if (plot.current) showAt(plot.current, null);
    };
  }, [read, lines, dark]);

  const end = lines.x.length - 1;
  const at = read === null ? pointed : indexAt(lines, read);
  const here = at === null ? end : Math.min(at, end);
  return (
    <figure ref={figure} class="card chart" aria-labelledby="chart" data-points="0">
      <figcaption>
        <h2 id="chart">Loss and {metricName(job.metric)}</h2>
        <Legend lines={lines} metric={job.metric} at={here} />
      </figcaption>
      <div class="plot-frame">
        {/* A slider is what it is for a keyboard: arrow keys move along the steps, and the value is spoken. */}
        <div
          ref={canvas}
          class="plot"
          role="slider"
          tabIndex={0}
          aria-label={`Chart of loss and ${metricName(job.metric)} over steps. ${summaryOf(lines, job)} Arrow keys read it step by step.`}
          aria-valuemin={0}
          aria-valuemax={Math.max(0, lines.x[end] ?? 0)}
          aria-valuenow={lines.x[here] ?? 0}
          aria-valuetext={spoken(lines, job.metric, here)}
          onKeyDown={(event) => {
            const to = target(event.key, at ?? end + 1, end);
            if (to === undefined) return;
            event.preventDefault();
            setRead(to === null ? null : (lines.x[to] ?? null));
          }}
          onBlur={() => setRead(null)}
          onPointerMove={() => setRead(null)}
        />
        {lines.points === 0 && <p class="plot-empty">The lines begin with the first step.</p>}
      </div>
      <Listing lines={lines} metric={job.metric} />
    </figure>
  );
}

/** The point at a step, or the last before it. */
function indexAt(lines: Lines, step: number): number {
  const index = lines.x.findLastIndex((x) => x <= step);
  return Math.max(0, index);
}

function sizeOf(element: HTMLElement): { width: number; height: number } {
  return { width: element.clientWidth, height: element.clientHeight };
}

/** Where a key leads on the axis; null is nowhere (the newest values are shown), undefined is not our key. */
function target(key: string, from: number, end: number): number | null | undefined {
  const stride = Math.max(1, Math.round(end / 20));
  const moves: Record<string, number> = { ArrowLeft: -1, ArrowRight: 1, PageDown: -stride, PageUp: stride };
  if (key === "Escape") return null;
  if (key === "Home") return 0;
  if (key === "End") return end;
  const move = moves[key];
  return move === undefined ? undefined : Math.max(0, Math.min(end, from + move));
}

/** Puts the cursor at a step, or away. */
function showAt(plot: uPlot, step: number | null): void {
  plot.setCursor(step === null ? { left: -10, top: -10 } : { left: plot.valToPos(step, "x"), top: 0 });
}

function spoken(lines: Lines, metric: Job["metric"], at: number): string {
  const held = lastKnown(lines.heldoutLoss, at);
  const parts = [`After ${count(lines.x[at] ?? 0)} steps: training loss ${loss(lastKnown(lines.trainLoss, at))}`];
  if (held !== null)
    parts.push(`held-out loss ${loss(held)}`, `held-out ${metricName(metric)} ${score(lastKnown(lines.score, at), metric)}`);
  return parts.join(", ");
}

/** What each line is, and its value at the cursor or, without one, at the newest step. */
function Legend({ lines, metric, at }: { lines: Lines; metric: Job["metric"]; at: number }) {
  return (
    <ul class="legend" aria-hidden="true">
      <li class="train">
        <i /> training loss <b>{loss(lastKnown(lines.trainLoss, at))}</b>
      </li>
      <li class="heldout">
        <i /> held-out loss <b>{loss(lastKnown(lines.heldoutLoss, at))}</b>
      </li>
      <li class="accuracy">
        <i /> held-out {metricName(metric)} <b>{score(lastKnown(lines.score, at), metric)}</b>
      </li>
      <li class="where">
        after <b>{count(lines.x[at] ?? 0)}</b> steps
      </li>
    </ul>
  );
}

function Listing({ lines, metric }: { lines: Lines; metric: Job["metric"] }) {
  const [open, setOpen] = useState(false);
  return (
    <details onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>The same as a table</summary>
      {open && (
        <table class="listing">
          <thead>
            <tr>
              {["Steps", "Training loss", "Held-out loss", `Held-out ${metricName(metric)}`].map((name) => (
                <th scope="col" class="number" key={name}>
                  {name}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {tableOf(lines, 40).map((row) => (
              <tr key={row.steps}>
                <th scope="row" class="number">
                  {count(row.steps)}
                </th>
                <td class="number">{loss(row.trainLoss)}</td>
                <td class="number">{loss(row.heldoutLoss)}</td>
                <td class="number">{score(row.score, metric)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </details>
  );
}
