/** Coordinators and workers as a person starts them: real operating-system processes whose lines can be awaited. Nothing is left behind. */
import { type ChildProcess, spawn } from "node:child_process";
import { createServer } from "node:net";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const script = (name: "coordinator" | "worker") => fileURLToPath(new URL(`../../${name}/src/main.ts`, import.meta.url));

export interface Ended {
  /** Null where a signal ended it. */
  code: number | null;
  signal: NodeJS.Signals | null;
}

export interface Running {
  name: string;
  pid: number;
  /** Lines of stdout and stderr as they came; and of stderr alone. */
  lines: string[];
  errors: string[];
  /**
   * The first line, from the `from`-th on, that matches: one that has come already or one that will. Rejects, with the last lines, when
   * the process ends without it. `one.line(/x/, one.lines.length)` looks at what comes from now on.
   */
  line(pattern: RegExp, from?: number): Promise<RegExpExecArray>;
  /** Resolves when the process is gone and all of its output was read. */
  ended: Promise<Ended>;
  kill(signal: NodeJS.Signals): void;
}

export interface StartOptions {
  cwd?: string;
  env?: Record<string, string>;
  /** Runs node through a shell, after these commands: `ulimit -f 100`. */
  after?: string;
}

export interface Processes {
  /** Runs `node coordinator/src/main.ts ARGS` or `node worker/src/main.ts ARGS`. */
  start(program: "coordinator" | "worker", args: readonly string[], options?: StartOptions): Running;
  /** Runs another script of ours. */
  startScript(file: string, args: readonly string[]): Running;
  /** The last lines of each, for when a test fails. */
  tails(): string;
  /** Ends all that still run, at once, and waits until they are gone: for `afterEach`. */
  killAll(): Promise<void>;
}

export function createProcesses(): Processes {
  const all: Running[] = [];
  return {
    start(program, args, options = {}) {
      const one = watch(program, launch([script(program), ...args], options));
      all.push(one);
      return one;
    },
    startScript(file, args) {
      const one = watch(file, launch([file, ...args], {}));
      all.push(one);
      return one;
    },
    tails: () => all.map(({ name, lines }) => `-- ${name}\n${lines.slice(-8).join("\n")}`).join("\n"),
    async killAll() {
      for (const one of all) one.kill("SIGKILL");
      await Promise.all(all.splice(0).map(({ ended }) => ended));
    },
  };
}

/** How many ports this process has given out. */
let given = 0;

/**
 * A port for a coordinator that is to come back to it. It is below those that the system hands out by itself, so that while nobody
 * listens on it no other connection is given it either; files that are tested at the same time have other ones.
 */
export async function portToKeep(): Promise<number> {
  for (;;) {
    const port = 10_000 + ((97 * process.pid + given++) % 20_000);
    const server = createServer();
    const isFree = await new Promise<boolean>((resolve) => {
      server.once("error", () => resolve(false)).listen(port, "127.0.0.1", () => resolve(true));
    });
    if (!isFree) continue;
    await new Promise((resolve) => server.close(resolve));
    return port;
  }
}

/** Arguments of a coordinator on loopback, at `port` or a free one, with its data in `data`. */
export function coordinatorArgs(job: string, data: string, more: readonly string[] = [], port = 0): string[] {
  return ["run", job, "--data", data, "--http", "127.0.0.1:0", "--listen", `/ip4/127.0.0.1/tcp/${port}`, ...more];
}

/** Arguments of a worker of one thread. */
export function workerArgs(address: string, data: string, more: readonly string[] = []): string[] {
  return ["--join", address, "--data", data, "--threads", "1", ...more];
}

/** The address that a coordinator tells people to join by, once workers can. */
export async function joinAddress(coordinator: Running): Promise<string> {
  return (await coordinator.line(/--join (\S+)$/))[1] as string;
}

/** The address of a coordinator's page. */
export async function pageAddress(coordinator: Running): Promise<string> {
  return (await coordinator.line(/^page\s+(http\S+)$/))[1] as string;
}

function launch(args: readonly string[], { cwd, env, after }: StartOptions): ChildProcess {
  const { INIT_CWD: _typedElsewhere, ...inherited } = process.env;
  const options = { cwd, env: { ...inherited, ...env }, stdio: ["ignore", "pipe", "pipe"] as ("ignore" | "pipe")[] };
  return after === undefined
    ? spawn(process.execPath, args, options)
    : spawn("bash", ["-c", `${after} && exec "$0" "$@"`, process.execPath, ...args], options);
}

function watch(name: string, child: ChildProcess): Running {
  const lines: string[] = [];
  const errors: string[] = [];
  const waiting = new Set<() => void>();
  let over: Ended | undefined;
  for (const stream of [child.stdout, child.stderr])
    if (stream)
      createInterface({ input: stream }).on("line", (line) => {
        lines.push(line);
        if (stream === child.stderr) errors.push(line);
        for (const look of waiting) look();
      });
  const ended = new Promise<Ended>((resolve, reject) => {
    child.on("error", reject);
    // Unlike "exit", "close" comes after the last output.
    child.on("close", (code, signal) => {
      over = { code, signal };
      resolve(over);
      for (const look of waiting) look();
    });
  });
  return {
    name,
    pid: child.pid ?? 0,
    lines,
    errors,
    ended,
    kill(signal) {
      if (over === undefined) child.kill(signal);
    },
    line(pattern, from = 0) {
      return new Promise((resolve, reject) => {
        let at = from;
        const look = () => {
          for (; at < lines.length; at++) {
            const found = pattern.exec(lines[at] as string);
            if (found === null) continue;
            waiting.delete(look);
            return resolve(found);
          }
          if (over === undefined) return;
          waiting.delete(look);
          reject(new Error(`${name} ended (${over.code ?? over.signal}) without a line like ${pattern}:\n${lines.slice(-12).join("\n")}`));
        };
        waiting.add(look);
        look();
      });
    },
  };
}
