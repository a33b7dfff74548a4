/** What is being trained, in one sentence, and how far it is. */
import type { Job } from "../../src/http/schemas.ts";
import { count, duration, plural, short } from "./format.ts";

export function Title({ job }: { job: Job }) {
  const { step, steps, forwardsCommitted: spent } = job;
  const budget = job.stop.forwards;
  // Whichever comes first ends the job.
  const share = Math.min(1, Math.max(steps === null ? 0 : step / steps, budget === null ? 0 : spent / budget));
  return (
    <section class="title" aria-labelledby="job-name">
      <h1 id="job-name">{job.name}</h1>
      <p class="lead">{sentence(job)}</p>
      <div
        class="progress"
        role="progressbar"
        aria-label="Way to the job's end"
        aria-valuemin={0}
        aria-valuemax={100}
        aria-valuenow={Math.round(100 * share)}
        aria-valuetext={`${count(step)}${steps === null ? "" : ` of ${count(steps)}`} steps`}
      >
        <div class="progress-bar" style={{ width: `${100 * share}%` }} />
      </div>
      <p class="progress-text">
        <span>
          Step <strong>{count(step)}</strong>
          {steps !== null && ` of ${count(steps)}`}
          {budget !== null && `, ${count(spent)} of ${count(budget)} forward passes`}
        </span>
        <span>{remaining(job)}</span>
      </p>
    </section>
  );
}

function sentence(job: Job): string {
  const weights = `${short(job.parameters)} weights`;
  switch (job.state) {
    case "waiting":
      return `${weights}, ready to be trained with forward passes only. Waiting for volunteers.`;
    case "running":
      return `${weights}, being trained with forward passes only, by ${plural(job.workers, "volunteer")}.`;
    case "finished":
      return `${weights}, trained with forward passes only. Finished.`;
    case "failed":
      return `${weights}. The job has stopped before its end.`;
  }
}

function remaining(job: Job): string {
  if (job.state !== "running") return "";
  return job.etaSeconds === null ? "time left not known yet" : `about ${duration(job.etaSeconds)} left`;
}
