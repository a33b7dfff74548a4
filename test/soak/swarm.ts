/** The soak's processes: started by the same command whenever they are gone, struck as the seed says, and what ended by itself noted. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { createProcesses, joinAddress, type Running, workerArgs } from "../e2e/processes.ts";
import { type Fault, VICTIMS, type Victim } from "./faults.ts";
import { judgeLife, type Life } from "./judge.ts";
import type { Sample } from "./samples.ts";

/** A process that was asked to stop has so long to do it; the demo kills after 8 s, on a machine that is not as busy. */
const GRACE_MS = 20_000;
/** A volunteer who sees that nobody answers starts the worker again after a while. */
const TRY_AGAIN_MS = 2_000;

export interface SoakSwarm {
  /** Starts all; resolves to the address of the coordinator. */
  start(): Promise<string>;
  /** Strikes and brings back, in its own time; false, and nothing done, where the victim is away already. */
  strike(fault: Fault): boolean;
  running(name: Victim): Running;
  /** Resolves when nobody is away. */
  allBack(): Promise<void>;
  /** Asks one to stop, and does not start it again. */
  retire(name: Victim): Promise<void>;
  lives: Life[];
  /** What must not happen: an end by itself, an end that took too long, a life that leaks. */
  failures: string[];
  starts: number;
  /** Runs another coordinator command to its end and gives its lines. */
  coordinator(args: readonly string[]): Promise<string[]>;
  stop(): Promise<void>;
}

/** `dir` takes the data folders, the samples and the reports. */
export function createSoakSwarm(dir: string, job: string): SoakSwarm {
  const processes = createProcesses();
  const now = new Map<Victim, Running>();
  const away = new Map<Victim, Promise<void>>();
  const retired = new Set<Victim>();
  let [address, port] = ["", "0"];
  const samples = join(dir, "samples");
  const env = {
    SOAK_SAMPLES: samples,
    NODE_OPTIONS: `--import=${new URL("samples.ts", import.meta.url).href} --disable-warning=ExperimentalWarning`,
  };

  function launch(name: Victim): Running {
    const coordinator = ["run", job, "--data", join(dir, "coordinator"), "--http", "127.0.0.1:0"];
    const report = ["--report", join(dir, `${name}-report.json`)];
    const one =
      name === "coordinator"
        ? processes.start("coordinator", [...coordinator, "--listen", `/ip4/127.0.0.1/tcp/${port}`, ...report], { env })
        : processes.start("worker", workerArgs(address, join(dir, name), ["--name", name, ...report]), { env });
    now.set(name, one);
    swarm.starts++;
    void one.ended.then(async ({ code, signal }) => {
      note(name, one);
      if (away.has(name) || retired.has(name)) return;
      // Where nobody answers from the start, a worker says so and ends.
      const gaveUp = name !== "coordinator" && code === 1 && /^cannot reach /.test(one.errors.at(-1) ?? "");
      if (!gaveUp) swarm.failures.push(`${name} ended by itself (${code ?? signal}): ${one.lines.slice(-4).join(" | ")}`);
      await setTimeout(TRY_AGAIN_MS);
      if (!away.has(name) && !retired.has(name)) launch(name);
    });
    return one;
  }

  function note(name: Victim, { pid }: Running): void {
    let lines: string[] = [];
    try {
      lines = readFileSync(join(samples, `${pid}.jsonl`), "utf8")
        .trim()
        .split("\n");
    } catch {
      // It was over before its first sample.
    }
    const life = judgeLife(name, pid, lines.flatMap(parsed));
    swarm.lives.push(life);
    swarm.failures.push(...life.faults.map((fault) => `${name} (${pid}): ${fault}`));
  }

  /** Asks it to stop; what does not is killed, and told. */
  async function terminate(name: Victim, one: Running): Promise<void> {
    one.kill("SIGTERM");
    const ended = await Promise.race([one.ended, setTimeout(GRACE_MS, null, { ref: false })]);
    if (ended === null) {
      swarm.failures.push(`${name} did not stop within ${GRACE_MS / 1000} s of SIGTERM: ${one.lines.slice(-4).join(" | ")}`);
      one.kill("SIGKILL");
      await one.ended;
    } else if (ended.code !== 0 && ended.signal !== "SIGTERM")
      swarm.failures.push(`${name} ended with ${ended.code ?? ended.signal} on SIGTERM: ${one.lines.slice(-4).join(" | ")}`);
  }

  async function suffer({ victim, signal, awayMs }: Fault): Promise<void> {
    const one = swarm.running(victim);
    if (signal === "SIGSTOP") {
      one.kill("SIGSTOP");
      await setTimeout(awayMs);
      return one.kill("SIGCONT");
    }
    if (signal === "SIGTERM") await terminate(victim, one);
    else {
      one.kill("SIGKILL");
      await one.ended;
    }
    await setTimeout(awayMs);
    launch(victim);
  }

  const swarm: SoakSwarm = {
    lives: [],
    failures: [],
    starts: 0,
    async start() {
      address = await joinAddress(launch("coordinator"));
      port = /\/tcp\/(\d+)/.exec(address)?.[1] ?? "0";
      for (const name of VICTIMS) if (name !== "coordinator") launch(name);
      return address;
    },
    strike(fault) {
      if (away.has(fault.victim)) return false;
      const back = suffer(fault).finally(() => away.delete(fault.victim));
      away.set(fault.victim, back);
      return true;
    },
    running: (name) => now.get(name) as Running,
    async allBack() {
      await Promise.all(away.values());
    },
    async retire(name) {
      retired.add(name);
      await terminate(name, swarm.running(name));
    },
    async coordinator(args) {
      const one = processes.start("coordinator", args);
      const { code } = await one.ended;
      if (code !== 0) throw new Error(`coordinator ${args[0]} failed: ${one.lines.join("\n")}`);
      return one.lines;
    },
    stop: () => processes.killAll(),
  };
  return swarm;
}

/** A process that was killed may have left half a line. */
function parsed(line: string): Sample[] {
  try {
    return [JSON.parse(line) as Sample];
  } catch {
    return [];
  }
}
