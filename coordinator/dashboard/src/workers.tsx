/**
 * A row per volunteer; on a narrow screen a card each, of the same fields. Rows keep their place (by name, those who left last):
 * a list that reorders itself cannot be read.
 */
import { useState } from "preact/hooks";
import type { Worker } from "../../src/http/schemas.ts";
import { bytes, count, duration, perSecond, plural } from "./format.ts";
import { useMedia } from "./media.ts";

const SHOWN_AT_FIRST = 60;

export function Workers({ workers, finished }: { workers: readonly Worker[] | null; finished: boolean }) {
  const narrow = useMedia("(max-width: 60rem)");
  const [all, setAll] = useState(false);
  const sorted = [...(workers ?? [])].sort(
    (a, b) => Number(a.state === "gone") - Number(b.state === "gone") || a.name.localeCompare(b.name) || (a.peerId < b.peerId ? -1 : 1),
  );
  const shown = all ? sorted : sorted.slice(0, SHOWN_AT_FIRST);
  const here = sorted.filter((worker) => worker.state !== "gone").length;
  return (
    <section class="card workers" aria-labelledby="workers">
      <div class="heading">
        <h2 id="workers">Volunteers</h2>
        {sorted.length > 0 && (
          <p>
            {count(here)} connected{sorted.length > here && `, ${count(sorted.length - here)} left`}
          </p>
        )}
      </div>
      {sorted.length === 0 && (
        <p class="empty">
          {finished
            ? "Nobody is connected."
            : "Each computer that joins gets a row here: its share, its speed, and whether its parameters agree."}
        </p>
      )}
      {shown.length > 0 && (narrow ? <Cards workers={shown} /> : <Table workers={shown} />)}
      {shown.length < sorted.length && (
        <button type="button" onClick={() => setAll(true)}>
          Show all {plural(sorted.length, "volunteer")}
        </button>
      )}
    </section>
  );
}

/** The numbers of a worker, one list for both shapes. */
const FIELDS: readonly (readonly [name: string, read: (worker: Worker) => string])[] = [
  ["Slots", (worker) => count(worker.slots)],
  ["Forwards/s", (worker) => perSecond(worker.forwardsPerSecond)],
  ["Accepted", (worker) => count(worker.accepted)],
  ["Late", (worker) => count(worker.late)],
  ["Rejected", (worker) => count(worker.rejected)],
  ["Duplicate", (worker) => count(worker.duplicate)],
  ["Received", (worker) => bytes(worker.bytesIn)],
  ["Sent", (worker) => bytes(worker.bytesOut)],
  ["Heard", (worker) => (worker.secondsSinceHeard < 10 ? "now" : `${duration(worker.secondsSinceHeard)} ago`)],
];

function Table({ workers }: { workers: readonly Worker[] }) {
  return (
    <table>
      <thead>
        <tr>
          <th scope="col">Name</th>
          <th scope="col">State</th>
          <th scope="col">Parameters</th>
          {FIELDS.map(([name]) => (
            <th scope="col" class="number" key={name}>
              {name}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {workers.map((worker) => (
          <tr key={worker.peerId} class={worker.state === "gone" ? "gone" : ""} data-peer={worker.peerId}>
            <th scope="row">
              <Who worker={worker} />
            </th>
            <td>
              <State worker={worker} />
            </td>
            <td>
              <Agreement worker={worker} />
            </td>
            {FIELDS.map(([name, read]) => (
              <td class="number" key={name}>
                {read(worker)}
              </td>
            ))}
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function Cards({ workers }: { workers: readonly Worker[] }) {
  return (
    <ul class="cards">
      {workers.map((worker) => (
        <li key={worker.peerId} class={worker.state === "gone" ? "gone" : ""} data-peer={worker.peerId}>
          <div class="card-head">
            <h3>
              <Who worker={worker} />
            </h3>
            <p>
              <State worker={worker} />
              <Agreement worker={worker} />
            </p>
          </div>
          <dl>
            {FIELDS.map(([name, read]) => (
              <div key={name}>
                <dt>{name}</dt>
                <dd>{read(worker)}</dd>
              </div>
            ))}
          </dl>
        </li>
      ))}
    </ul>
  );
}

function Who({ worker }: { worker: Worker }) {
  return (
    <>
      <span class="name">{worker.name}</span> <span class="device">{worker.device}</span>{" "}
      <span class="device" title={worker.peerId}>
        {plural(worker.threads, "thread")} · <span class="peer">…{worker.peerId.slice(-8)}</span>
      </span>
    </>
  );
}

function State({ worker: { state, onProbation } }: { worker: Worker }) {
  return (
    <span class={`state state-${state}`}>
      <span class="dot" aria-hidden="true" />
      {state === "gone" ? "left" : state}
      {state !== "gone" && onProbation && ", on probation"}
    </span>
  );
}

function Agreement({ worker }: { worker: Worker }) {
  const words = { agrees: "agree", differs: "differ", unknown: "not known" } as const;
  const marks = { agrees: "✓", differs: "✕", unknown: "·" } as const;
  return (
    <span class={`agreement ${worker.stateHash}`} title={`Parameters ${words[worker.stateHash]}`}>
      <span aria-hidden="true">{marks[worker.stateHash]} </span>
      {words[worker.stateHash]}
    </span>
  );
}
