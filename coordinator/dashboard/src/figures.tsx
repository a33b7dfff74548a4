/** The figures that people came for: how good, how fast, at what cost on the wire. */
import type { ComponentChildren } from "preact";
import type { Job } from "../../src/http/schemas.ts";
import { bytes, count, loss, percent, perSecond, seconds } from "./format.ts";

export function Figures({ job }: { job: Job }) {
  const { firstEvaluation: first, lastEvaluation: last, bytesPerStep } = job;
  return (
    <section class="figures" aria-label="Headline figures">
      <Figure tone="accuracy" name="Held-out accuracy" value={percent(last?.accuracy)}>
        {first && last && first.step !== last.step ? `from ${percent(first.accuracy)}` : "no step evaluated yet"}
        {job.majorityBaseline !== null && `; always the commonest class: ${percent(job.majorityBaseline)}`}
      </Figure>
      <Figure tone="loss" name="Held-out loss" value={loss(last?.loss)}>
        {first && last && first.step !== last.step ? `from ${loss(first.loss)}` : "no step evaluated yet"}
        {last && `, over ${count(last.examples)} examples`}
      </Figure>
      <Figure name="Forward passes" value={perSecond(job.forwardsPerSecond)} unit="/s">
        {count(job.forwards)} for training, {count(job.evalForwards)} to evaluate
        {job.secondsPerStep !== null && `; ${seconds(job.secondsPerStep)} a step`}
      </Figure>
      <Figure name="A volunteer sends" value={bytes(bytesPerStep.workerOut)} unit="/step">
        and receives {bytes(bytesPerStep.workerIn)}; the coordinator sends {bytes(bytesPerStep.coordinatorOut)} and receives{" "}
        {bytes(bytesPerStep.coordinatorIn)}
      </Figure>
    </section>
  );
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
