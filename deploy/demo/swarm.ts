/** The demo's processes: one coordinator, some workers, started as a person would start them, and never left behind. */
import { type ChildProcess, spawn } from "node:child_process";
import { createWriteStream } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const script = (name: string) => fileURLToPath(new URL(`../../${name}/src/main.ts`, import.meta.url));
/** How long a process may take to stop in good order. */
const STOP_MS_MAX = 8_000;

export interface Swarm {
  /** Starts all; resolves when the coordinator can be reached. */
  start(): Promise<{ page: string; joinCommand: string }>;
  /** Resolves when all processes have ended well; rejects, with the end of its log, when one has not. */
  finished(): Promise<"finished" | "stopped">;
  /** Runs another coordinator command to its end and gives its output. */
  coordinator(args: readonly string[]): Promise<string>;
  /** Ends everything that runs. */
  stop(): Promise<void>;
}

interface Running {
  name: string;
  log: string;
  child: ChildProcess;
  ended: Promise<number | null>;
}

/** `dir` takes the data folders, logs (`NAME.log`) and reports (`NAME-report.json`). */
export function createSwarm({ dir, job, workers }: { dir: string; job: string; workers: readonly string[] }): Swarm {
  const running: Running[] = [];
  let stopping: Promise<void> | undefined;

  function launch(name: string, args: readonly string[]): Running {
    const log = join(dir, `${name}.log`);
    const out = createWriteStream(log);
    const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "pipe"] });
    child.stdout?.pipe(out, { end: false });
    child.stderr?.pipe(out, { end: false });
    const ended = new Promise<number | null>((resolve) => {
      child.on("error", () => resolve(null));
      child.on("close", (code) => {
        out.end();
        resolve(code);
      });
    });
    const one = { name, log, child, ended };
    running.push(one);
    return one;
  }

  async function failureOf({ name, log }: Running): Promise<Error> {
    const lines = (await readFile(log, "utf8").catch(() => "")).trimEnd().split("\n");
    return new Error(`${name} ended before the job was finished; its last lines (all of them in ${log}):\n${lines.slice(-8).join("\n")}`);
  }

  return {
    async start() {
      const data = join(dir, "coordinator");
      const where = ["--http", "127.0.0.1:8420", "--listen", "/ip4/127.0.0.1/tcp/4100", "--any-port"];
      const coordinator = launch("coordinator", [
        ...[script("coordinator"), "run", job, "--data", data, ...where],
        ...["--wait-for-workers", String(workers.length), "--report", join(dir, "coordinator-report.json")],
      ]);
      const page = await Promise.race([lineOf(coordinator.child, /^page\s+(http\S+)/), coordinator.ended.then(() => null)]);
      if (page === null) throw await failureOf(coordinator);
      const { addresses, joinCommand } = (await (await fetch(`${page}/api/job`)).json()) as { addresses: string[]; joinCommand: string };
      for (const name of workers)
        launch(name, [
          ...[script("worker"), "--join", addresses[0] ?? "", "--threads", "1", "--name", name],
          ...["--data", join(dir, name), "--report", join(dir, `${name}-report.json`)],
        ]);
      return { page, joinCommand };
    },
    async finished() {
      const all = running.map(async (one) => {
        if ((await one.ended) !== 0 && !stopping) throw await failureOf(one);
      });
      await Promise.all(all);
      return stopping ? "stopped" : "finished";
    },
    async coordinator(args) {
      const child = spawn(process.execPath, [script("coordinator"), ...args], { stdio: ["ignore", "pipe", "pipe"] });
      let out = "";
      let complaint = "";
      child.stdout.on("data", (text) => {
        out += text;
      });
      child.stderr.on("data", (text) => {
        complaint += text;
      });
      const code = await new Promise<number | null>((resolve) => child.on("close", resolve));
      if (code !== 0) throw new Error(`coordinator ${args[0]} failed: ${complaint.trim()}`);
      return out;
    },
    stop() {
      stopping ??= stopAll(running);
      return stopping;
    },
  };
}

async function stopAll(running: readonly Running[]): Promise<void> {
  const alive = running.filter(({ child }) => child.exitCode === null && child.signalCode === null);
  for (const { child } of alive) child.kill("SIGTERM");
  const timer = setTimeout(() => {
    for (const { child } of alive) child.kill("SIGKILL");
  }, STOP_MS_MAX);
  await Promise.all(alive.map(({ ended }) => ended));
  clearTimeout(timer);
}

/** The first group of the first line of a process's output that matches. */
function lineOf(child: ChildProcess, pattern: RegExp): Promise<string> {
  return new Promise((resolve) => {
    if (child.stdout === null) return;
    const lines = createInterface({ input: child.stdout });
    lines.on("line", (line) => {
      const found = pattern.exec(line)?.[1];
      if (found === undefined) return;
      resolve(found);
      lines.close();
      // A closed reader pauses its input; the log still wants the rest.
      child.stdout?.resume();
    });
  });
}
