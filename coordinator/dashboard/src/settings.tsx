/** How the job trains, for those who want to know. */
import type { ComponentChildren } from "preact";
import type { Job } from "../../src/http/schemas.ts";
import { count, percent, plural, powerOfTwo, seconds, small } from "./format.ts";

export function Settings({ job }: { job: Job }) {
  const { lastStep } = job;
  return (
    <section class="card settings" aria-labelledby="settings">
      <h2 id="settings">How it trains</h2>
      <dl>
        <Item name="Estimator">
          {job.estimator === "two-sided" ? "two-sided: loss at both ends of a direction" : "one-sided: loss at one end, against the mean"}
        </Item>
        <Item name="Step rule">
          {job.rule},{" "}
          {job.rate === null || job.epsilon === null ? "rate not chosen yet" : `rate ${small(job.rate)}, ε\u00a0${powerOfTwo(job.epsilon)}`}
        </Item>
        <Item name="A step">
          {job.directionsPerStep === null || job.groups === null
            ? "not chosen yet"
            : `${plural(job.directionsPerStep, "direction")} in ${plural(job.groups, "group")}`}
          {job.staleness > 0 && `, ${plural(job.staleness, "step")} stale`}
        </Item>
        <Item name="Last step">
          {lastStep === null
            ? "none yet"
            : `${count(lastStep.accepted)} of ${plural(lastStep.directions, "direction")} in${lastStep.seconds === null ? "" : `, ${seconds(lastStep.seconds)}`}`}
        </Item>
        <Item name="Signal">
          {small(lastStep?.signal)}, noise floor {small(job.noiseFloor)}
        </Item>
        {job.classes > 0 && (
          <Item name="Classes">
            {count(job.classes)}
            {job.majorityBaseline !== null && `, the commonest ${percent(job.majorityBaseline)}`}
          </Item>
        )}
        <Item name="Results">{outcomes(job)}</Item>
      </dl>
    </section>
  );
}

function Item({ name, children }: { name: string; children: ComponentChildren }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

/** Outcomes by their code, as in logs and metrics; those that never happened are left out. */
function outcomes({ results }: Job): string {
  const happened = Object.entries(results).filter(([, n]) => n > 0);
  return happened.length === 0 ? "none yet" : happened.map(([code, n]) => `${count(n)} ${code}`).join(", ");
}
