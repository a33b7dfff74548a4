/** A job run by real processes on this machine: a coordinator and workers of one thread each, on loopback. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Decision } from "@zoswarm/shared/ledger/folds";
import { coordinatorArgs, createProcesses, joinAddress, workerArgs } from "../../e2e/processes.ts";

/** What a coordinator says of its job's course: an evaluation, what its probe found, the end. */
const TOLD =
  /^held out after step (?<step>\d+): loss (?<loss>[\d.]+),|^decided .*(?:(?<found>one step gains most at)|(?<over>the job is over): )/;

export interface ProcessRun {
  /** From the first task until the coordinator says that the job is over, after the held-out evaluation that ends it. */
  seconds: number;
  /** Of these, until the probe had found a rate. */
  probeSeconds: number;
  /** Held-out losses as they were told, from the first task on; `steps` is how many commits had led to the state. */
  evaluations: { steps: number; loss: number; seconds: number }[];
  decisions: Decision[];
  /** Forward passes behind commits. */
  forwards: number;
  /** Of all workers: what a forward pass took, and the share of that time in which they were at one. */
  forwardSeconds: number;
  busyShare: number;
  stateHash: string;
  /** Of the workers. */
  stateHashes: string[];
}

/** Runs a job whose settings the coordinator chooses, in a folder that exists. Throws where a process ends with an error. */
export async function runProcesses(job: Record<string, unknown>, workers: number, dir: string): Promise<ProcessRun> {
  const processes = createProcesses();
  const at = (name: string) => join(dir, name);
  const read = (name: string) => JSON.parse(readFileSync(at(name), "utf8"));
  try {
    writeFileSync(at("job.json"), JSON.stringify(job));
    const coordinator = processes.start(
      "coordinator",
      coordinatorArgs(at("job.json"), at("data"), [
        ...["--threads", "1", "--wait-for-workers", String(workers), "--report", at("coordinator.json")],
      ]),
    );
    const address = await joinAddress(coordinator);
    const names = Array.from({ length: workers }, (_, i) => `worker-${i}`);
    const started = names.map((name) =>
      processes.start("worker", workerArgs(address, at(name), ["--name", name, "--report", at(`${name}.json`)])),
    );
    // The first task is on the very next entry.
    await coordinator.line(/^decided after step 0: rate /);
    const fromMs = performance.now();
    const evaluations: ProcessRun["evaluations"] = [];
    let [seconds, probeSeconds, from] = [0, 0, 0];
    for (let isOver = false; !isOver; ) {
      const { input, groups } = await coordinator.line(TOLD, from);
      from = coordinator.lines.indexOf(input, from) + 1;
      seconds = Math.max(0, performance.now() - fromMs) / 1000;
      isOver = groups?.over !== undefined;
      if (groups?.found !== undefined) probeSeconds = seconds;
      if (groups?.loss !== undefined) evaluations.push({ steps: Number(groups.step), loss: Number(groups.loss), seconds });
    }
    for (const one of [coordinator, ...started]) {
      const { code, signal } = await one.ended;
      if (code !== 0) throw new Error(`a process ended with ${code ?? signal}:\n${processes.tails()}`);
    }
    const report = read("coordinator.json");
    const reports = names.map((name) => read(`${name}.json`));
    const sum = (key: string) => reports.reduce((total, one) => total + one[key], 0);
    return {
      seconds,
      probeSeconds,
      evaluations,
      decisions: report.decisions,
      forwards: report.forwardsCommitted,
      forwardSeconds: sum("forwardSeconds") / sum("forwards"),
      busyShare: sum("forwardSeconds") / workers / report.seconds,
      stateHash: report.stateHash,
      stateHashes: reports.map(({ stateHash }) => stateHash),
    };
  } finally {
    await processes.killAll();
  }
}
