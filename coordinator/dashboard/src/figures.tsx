/** The figures that people came for: how good, how fast, at what cost on the wire. */
import type { ComponentChildren } from "preact";
import type { Job } from "../../src/http/schemas.ts";
import { bytes, count, loss, metricName, percent, perSecond, score, seconds } from "./format.ts";

export function Figures({ job }: { job: Job }) {
  const { firstEvaluation: first, lastEvaluation: last, bytesPerStep } = job;
  return (
    <section class="figures" aria-label="Headline figures">
      <Figure tone="accuracy" name={`Held-out ${metricName(job.metric)}`} value={score(last?.score, job.metric)}>
        {since(job, score(first?.score, job.metric))}
        {job.majorityBaseline !== null && `; always the commonest class: ${percent(job.majorityBaseline)}`}
        {job.bestEvaluation !== null &&
          job.bestEvaluation.step !== last?.step &&
          `; best ${score(job.bestEvaluation.score, job.metric)} after step ${count(job.bestEvaluation.step + 1)}`}
      </Figure>
      <Figure tone="loss" name="Held-out loss" value={loss(last?.loss)}>
        {since(job, loss(first?.loss))}
        {last && `, over ${count(last.examples)} examples`}
      </Figure>
      <Figure name="Forward passes" value={perSecond(job.forwardsPerSecond)} unit="/s">
        {count(job.forwards)} for training, {count(job.evalForwards)} to evaluate
        {job.secondsPerStep !== null && `; ${seconds(job.secondsPerStep)} a step`}
      </Figure>
      <Figure name="A volunteer sends" value={bytes(bytesPerStep.workerOut)} unit="/step">
        {bytesPerStep.workerOut === null
          ? "measured once steps are taken"
          : `and receives ${bytes(bytesPerStep.workerIn)}; the coordinator sends ${bytes(bytesPerStep.coordinatorOut)} and receives ${bytes(bytesPerStep.coordinatorIn)}`}
      </Figure>
    </section>
  );
}

/** Against what a held-out figure is to be read. */
function since({ firstEvaluation: first, lastEvaluation: last }: Job, value: string): string {
  if (first === null || last === null) return "not evaluated yet";
  return first.step === last.step ? "before training" : `from ${value}`;
}

function Figure(props: { name: string; value: string; unit?: string; tone?: "loss" | "accuracy"; children: ComponentChildren }) {
  return (
    <div class={`figure ${props.tone ?? ""}`}>
      <h2>{props.name}</h2>
      <p class="value">
        {props.value}
        {props.unit && props.value !== "–" && <span class="unit"> {props.unit}</span>}
      </p>
      <p class="detail">{props.children}</p>
    </div>
  );
}
