/** The page from top to bottom. With nobody connected, how to join comes first: it is the one thing to do. */
import { Chart } from "./chart.tsx";
import { Figures } from "./figures.tsx";
import { Join } from "./join.tsx";
import { Ledger } from "./ledger.tsx";
import { LinkState } from "./link.tsx";
import { Notices } from "./notices.tsx";
import { Settings } from "./settings.tsx";
import type { PageState } from "./state.ts";
import { Title } from "./title.tsx";
import { Workers } from "./workers.tsx";

export function Page({ state }: { state: PageState }) {
  const { job, workers, health, steps, evaluations, link } = state;
  const over = job?.state === "finished" || job?.state === "failed";
  const lonely = job !== null && job.workers === 0 && !over;
  return (
    <>
      <header class="top">
        <span class="brand">
          <Mark /> zoswarm
        </span>
        <LinkState link={link} over={over} />
      </header>
      <main data-link={link.kind} data-state={job?.state ?? "unknown"}>
        {job === null ? (
          <p class="asking">{link.kind === "lost" ? "There is no answer from the coordinator yet." : "Asking the coordinator…"}</p>
        ) : (
          <>
            <Title job={job} />
            <Notices job={job} workers={workers ?? []} health={health} link={link} />
            {lonely && <Join job={job} first />}
            <Figures job={job} />
            <Chart job={job} steps={steps} evaluations={evaluations} />
            <Workers workers={workers} finished={over} />
            <div class="pair">
              {!lonely && !over && <Join job={job} />}
              <Ledger job={job} workers={workers ?? []} />
              <Settings job={job} />
            </div>
          </>
        )}
      </main>
      <footer>
        The same figures as data: <a href="api/job">job</a>, <a href="api/steps">steps</a>, <a href="api/workers">workers</a>,{" "}
        <a href="metrics">metrics</a>.
      </footer>
    </>
  );
}

function Mark() {
  return (
    <svg class="mark" viewBox="0 0 32 32" aria-hidden="true">
      <path d="M4 7c7 0 7 17 14 17h10" />
      <circle cx="18.5" cy="8" r="2.6" />
      <circle cx="26" cy="8" r="2.6" />
      <circle cx="26" cy="15.5" r="2.6" />
    </svg>
  );
}
