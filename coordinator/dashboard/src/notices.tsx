/** What somebody should know or do, in plain words, worst first. Nothing wrong: nothing shown. */
import type { Health, Job, Worker } from "../../src/http/schemas.ts";
import { Since } from "./link.tsx";
import type { PageState } from "./state.ts";

export function Notices(props: { job: Job; workers: readonly Worker[]; health: Health | null; link: PageState["link"] }) {
  const { job, workers, health, link } = props;
  const differing = workers.filter((worker) => worker.state !== "gone" && worker.stateHash === "differs");
  const over = job.state === "finished" || job.state === "failed";
  return (
    <div class="notices">
      {link.kind === "lost" && (
        <p class="notice">
          {over
            ? "The coordinator is not running any more. This is the last that was heard of it, "
            : "The link to the coordinator is broken; trying again. What you see is "}
          <Since ms={link.sinceMs} /> old.
        </p>
      )}
      {(job.state === "failed" || health?.status === "degraded") && (
        <p class="notice bad" role="alert">
          {job.state === "failed" ? "The job has stopped. " : "Something is wrong. "}
          {health?.reason ?? "The coordinator's log says why."}
        </p>
      )}
      {differing.length > 0 && (
        <p class="notice bad" role="alert">
          {differing.map((worker) => worker.name).join(", ")}: the parameters differ from the coordinator's. Results from there are not used
          until they agree again.
        </p>
      )}
    </div>
  );
}
