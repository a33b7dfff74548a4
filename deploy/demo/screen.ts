/**
 * The demo's progress in a terminal, read from the coordinator's own page like any other watcher: a line that moves where there is a
 * terminal, one line for each held-out evaluation and every eighth step where there is none.
 */
const REFRESH_MS = 400;
const BAR = 24;

interface Shown {
  step: number;
  steps: number;
  forwardsPerSecond: number;
  etaSeconds: number | null;
  bytesPerStep: { workerIn: number | null; workerOut: number | null };
  lastEvaluation: { step: number; loss: number; score: number } | null;
  lastStep: { meanLoss: number | null } | null;
}

/** Watches `page` until closed. A page that does not answer is asked again: the processes themselves are watched elsewhere. */
export function createScreen(page: string): { close(): void } {
  const live = process.stdout.isTTY === true;
  let open = true;
  let lastLine = -1;
  let lastEvaluated = -2;

  const show = (job: Shown) => {
    const evaluation = job.lastEvaluation;
    if (evaluation !== null && evaluation.step !== lastEvaluated) {
      lastEvaluated = evaluation.step;
      const when = evaluation.step < 0 ? "before training" : `after step ${evaluation.step + 1}`;
      print(`held out    ${when}: ${percent(evaluation.score)} right, loss ${evaluation.loss.toFixed(3)}`);
    }
    if (live) process.stdout.write(`\r\x1b[2K${lineOf(job)}`);
    else if (job.step > 0 && Math.floor(job.step / 8) !== lastLine) {
      lastLine = Math.floor(job.step / 8);
      console.log(lineOf(job));
    }
  };
  const print = (text: string) => {
    if (live) process.stdout.write("\r\x1b[2K");
    console.log(text);
  };
  const look = async () => {
    try {
      const answer = await fetch(`${page}/api/job`, { signal: AbortSignal.timeout(2_000) });
      if (open) show((await answer.json()) as Shown);
    } catch {
      // Between two looks the coordinator may have ended.
    }
    if (open) timer = setTimeout(look, REFRESH_MS);
  };
  let timer = setTimeout(look, 0);

  return {
    close() {
      open = false;
      clearTimeout(timer);
      if (live) process.stdout.write("\r\x1b[2K");
    },
  };
}

const percent = (share: number) => `${(100 * share).toFixed(1)} %`;

function lineOf({ step, steps, forwardsPerSecond, etaSeconds, bytesPerStep, lastEvaluation, lastStep }: Shown): string {
  const done = Math.round((BAR * step) / steps);
  const bytes =
    bytesPerStep.workerIn === null || bytesPerStep.workerOut === null ? "-" : Math.round(bytesPerStep.workerIn + bytesPerStep.workerOut);
  return [
    `step ${String(step).padStart(String(steps).length)}/${steps} ${"█".repeat(done)}${"░".repeat(BAR - done)}`,
    `loss ${lastStep?.meanLoss?.toFixed(3) ?? "-"}`,
    `held out ${lastEvaluation ? percent(lastEvaluation.score) : "-"}`,
    `${forwardsPerSecond.toFixed(0)} forwards/s`,
    `${bytes} B/step each`,
    etaSeconds === null ? "" : `${Math.ceil(etaSeconds)} s left`,
  ].join("  ");
}
