/** The ledger's head and whether everybody holds the same bits: what makes this swarm trustworthy, so it is said in words. */
import type { Job, Worker } from "../../src/http/schemas.ts";
import { count, plural, shortHash } from "./format.ts";

export function Ledger({ job, workers }: { job: Job; workers: readonly Worker[] }) {
  const here = workers.filter((worker) => worker.state !== "gone");
  const agreeing = here.filter((worker) => worker.stateHash === "agrees").length;
  const differing = here.filter((worker) => worker.stateHash === "differs").length;
  return (
    <section class="card ledger" aria-labelledby="ledger">
      <h2 id="ledger">Ledger</h2>
      <p class={differing > 0 ? "verdict bad" : "verdict"}>{verdict(here.length, agreeing, differing)}</p>
      <dl>
        <div>
          <dt>Head</dt>
          <dd>
            entry {count(job.head.seq)} <Hash hash={job.head.hash} />
          </dd>
        </div>
        <div>
          <dt>Parameters</dt>
          <dd>{job.stateHash === null ? "not hashed yet" : <Hash hash={job.stateHash} />}</dd>
        </div>
        <div>
          <dt>Job</dt>
          <dd>
            <Hash hash={job.jobId} />
          </dd>
        </div>
      </dl>
      <Decisions decisions={job.decisions} />
    </section>
  );
}

/** What was decided of the job's course and why, the newest first. */
function Decisions({ decisions }: Pick<Job, "decisions">) {
  if (decisions.length === 0) return null;
  return (
    <>
      <h3 id="decisions">Decisions</h3>
      <ol class="decisions" aria-labelledby="decisions">
        {decisions.toReversed().map(({ seq, afterStep, text, why }) => (
          <li key={seq}>
            <span class="when">{afterStep < 0 ? "at the start" : `after step ${count(afterStep + 1)}`}</span> {text}
            {why !== "" && <p>{why}</p>}
          </li>
        ))}
      </ol>
    </>
  );
}

function verdict(here: number, agreeing: number, differing: number): string {
  if (here === 0) return "Whoever replays the ledger holds the same parameters, to the last bit.";
  if (differing > 0)
    return `${plural(differing, "replica")} of ${count(here)} ${differing === 1 ? "differs" : "differ"} from the coordinator's.`;
  if (agreeing === 0) return `${plural(here, "replica")}, not compared yet.`;
  if (agreeing === here)
    return here === 1
      ? "The volunteer's replica is the coordinator's, bit for bit."
      : `All ${count(here)} volunteers' replicas are the coordinator's, bit for bit.`;
  return `${count(agreeing)} of ${count(here)} replicas are the coordinator's, bit for bit; the others are not compared yet.`;
}

function Hash({ hash }: { hash: string }) {
  return (
    <code class="hash" title={hash}>
      {shortHash(hash)}
      <span class="hidden">, in full {hash}</span>
    </code>
  );
}
