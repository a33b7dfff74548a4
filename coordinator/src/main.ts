/** The coordinator's command line. Expected failures: one message on stderr, exit code 1. */
import { isIP } from "node:net";
import { inspectModel } from "@zoswarm/shared/model/inspect";
import { peerIdText } from "@zoswarm/shared/protocol/entries";
import { LIMITS } from "@zoswarm/shared/protocol/limits";
import { typedPath } from "@zoswarm/shared/typed";
import { Command, InvalidArgumentError } from "commander";
import { check } from "./check.ts";
import { openClassifier } from "./classify.ts";
import { promote } from "./promote.ts";
import { type RunOptions, run } from "./run.ts";
import { standby } from "./standby.ts";
import { checkedLines, inspectionLines } from "./tell.ts";
import { type At, exportAdapter, exportBundle, exportOnnx } from "./trained.ts";

const whole = (least: number, most: number) => (text: string) => {
  const value = Number(text);
  if (!Number.isInteger(value) || value < least || value > most)
    throw new InvalidArgumentError(`It must be a whole number from ${least} to ${most}.`);
  return value;
};

function hostPort(text: string): { host: string; port: number } {
  const [, host, port] = /^(.+):(\d+)$/.exec(text) ?? [];
  if (host === undefined || Number(port) > 65_535) throw new InvalidArgumentError("It must be HOST:PORT, like 127.0.0.1:8420.");
  return { host: host.replace(/^\[(.*)\]$/, "$1"), port: Number(port) };
}

/** An address to listen on is a host of numbers; one to announce may be a name. */
const multiaddrs =
  (hosts: readonly string[], example: string) =>
  (text: string, before: string[] | undefined): string[] => {
    const [, kind = "", host = "", port] = /^\/([^/]+)\/([^/]+)\/tcp\/(\d{1,5})$/.exec(text) ?? [];
    const fits = kind.startsWith("dns") ? /^[\w.-]{1,253}$/.test(host) : `ip${isIP(host)}` === kind;
    if (!hosts.includes(kind) || !fits || Number(port) > 65_535) throw new InvalidArgumentError(`It must be like ${example}.`);
    return [...(before ?? []), text];
  };

function peerIdOf(text: string): string {
  if (!peerIdText.safeParse(text).success) throw new InvalidArgumentError("It must be a peer id, as the standby command prints it.");
  return text;
}

function modeOf(text: string): "sync" | "async" {
  if (text !== "sync" && text !== "async") throw new InvalidArgumentError("It must be sync or async.");
  return text;
}

const DEFAULT_LISTEN = ["/ip4/0.0.0.0/tcp/4100"];

function refuse(message: string): never {
  console.error(message);
  process.exit(1);
}

const program = new Command("coordinator")
  .description("Launch and keep fine-tuning jobs that volunteers work on")
  .showHelpAfterError("(--help lists what there is)");

/** Where others reach a coordinator, or will once it is promoted. */
const reachable = (command: Command): Command =>
  command
    .option(
      "--listen <multiaddr>",
      "where workers connect; may be repeated (default: /ip4/0.0.0.0/tcp/4100)",
      multiaddrs(["ip4", "ip6"], "/ip4/0.0.0.0/tcp/4100"),
    )
    .option(
      "--announce <multiaddr>",
      "address to tell workers, where a router forwards a port; may be repeated",
      multiaddrs(["ip4", "ip6", "dns", "dns4", "dns6"], "/dns4/example.org/tcp/4100"),
    );

/** What `run` and `promote` have in common. */
const running = (command: Command): Command =>
  reachable(command)
    .option("--http <host:port>", "where the page and the API are served", hostPort, { host: "127.0.0.1", port: 8420 })
    .option("--any-port", "take a free port where one is taken", false)
    .option(
      "--upload <MiB/s>",
      "what newcomers may download of the job from here, all together; more slows the running step on a small machine",
      whole(1, LIMITS.requestBytesPerSecondMax / 2 ** 20),
      LIMITS.uploadMebibytesPerSecond,
    )
    .option("--wait-for-workers <n>", "open the first step when so many workers are ready", whole(1, LIMITS.connectionsMax), 1)
    .option(
      "--snapshot-every <steps>",
      "keep a snapshot for newcomers at the first evaluation after so many steps (default: every fourth evaluation)",
      whole(1, 1e9),
    )
    .option("--threads <n>", "threads of a held-out forward pass", whole(1, 256), 1)
    .option("--report <file>", "write a JSON report at the end")
    .option("--standby <peer-id>", "who gets the job's folder and every entry, to take over: what the standby command prints", peerIdOf)
    .option("--standby-mode <mode>", "sync: nothing is announced before the standby has it; async: at once", modeOf, "sync")
    .option(
      "--lease <postgres-address>",
      "announce only while this database gives the job's lease; a standby with the same takes over when it can",
    );

type Running = Omit<RunOptions, "listen" | "announce" | "standby"> & {
  listen?: string[];
  announce?: string[];
  standby?: string;
  standbyMode: "sync" | "async";
};

function runOptionsOf({ listen, announce, standby, standbyMode, ...options }: Running): RunOptions {
  const given = standby === undefined ? {} : { standby: { peerId: standby, mode: standbyMode } };
  return { listen: listen ?? DEFAULT_LISTEN, announce: announce ?? [], ...options, ...given };
}

running(
  program
    .command("run", { isDefault: true })
    .description("run the job that a job file describes; the same command goes on after a stop")
    .argument("<job>", "job file, YAML or JSON")
    .option("--data <dir>", "the job's data folder (default: beside the job file, named after it)"),
).action(async (job: string, options: Running) => {
  const ran = await run(job, runOptionsOf(options));
  if (!ran.ok) refuse(ran.message);
});

running(
  program
    .command("standby")
    .description("follow a coordinator on another machine, ready to take over")
    .argument("<multiaddr>", "the coordinator's address, as workers join it")
    .option("--data <dir>", "where the copy of the job's folder is kept (default: named after the coordinator, here)"),
).action(async (address: string, options: Running) => {
  const stood = await standby(address, runOptionsOf(options));
  if (!stood.ok) refuse(stood.message);
});

running(
  program
    .command("promote")
    .description("take a job over: a standby's folder becomes the coordinator's; the same command goes on after a stop")
    .argument("<data-dir>", "the standby's folder; a standby that runs hands it over"),
).action(async (dataDir: string, options: Running) => {
  const ran = await promote(dataDir, runOptionsOf(options));
  if (!ran.ok) refuse(ran.message);
});

/** A state of the ledger: "last", "best", or how many steps were taken. */
function stateAt(text: string): At {
  if (text === "last" || text === "best") return text;
  if (!/^\d{1,10}$/.test(text)) throw new InvalidArgumentError("It must be last, best, or a number of steps.");
  return Number(text);
}

program
  .command("check")
  .description("dry run of a job file: what it would cost, and what looks wrong; nothing is kept")
  .argument("<job>", "job file, YAML or JSON")
  .option("--threads <n>", "threads of a forward pass", whole(1, 256), 1)
  .option("--json", "print one JSON object", false)
  .action(async (job: string, { threads, json }: { threads: number; json: boolean }) => {
    const checked = await check(typedPath(job), threads);
    if (!checked.ok) refuse(checked.message);
    for (const line of json ? [JSON.stringify(checked)] : checkedLines(checked)) console.log(line);
  });

program
  .command("inspect")
  .description("what an ONNX model takes and gives, what of it can be trained and why the rest cannot, and what that costs")
  .argument("<model>", "ONNX file")
  .option("--epsilon-log2 <n>", "epsilon = 2^n", (text) => -whole(0, 24)(text.replace(/^-/, "")), -10)
  .option("--train <pattern...>", "tensors to train; `*` is any text")
  .option("--json", "print one JSON object", false)
  .action((model: string, { epsilonLog2, train, json }: { epsilonLog2: number; train?: string[]; json: boolean }) => {
    const file = typedPath(model);
    const inspected = inspectModel(file, { epsilonLog2, ...(train && { trained: train }) });
    if (!inspected.ok) refuse(inspected.message);
    for (const line of json ? [JSON.stringify(inspected.inspection)] : inspectionLines(file, inspected.inspection)) console.log(line);
    if (inspected.inspection.refusals.length > 0) process.exitCode = 1;
  });

program
  .command("export")
  .description("write the audit bundle of a data folder, the trained model, or the trained adapter")
  .argument("<data-dir>")
  .argument("[out-dir]", "new folder for the bundle")
  .option("--model <file>", "write the trained model to this ONNX file")
  .option("--adapter <file>", "write the trained LoRA adapter to this safetensors file")
  .option("--at <state>", "of the model: last, best by the held-out metric, or a number of steps", stateAt, "last")
  .action(async (dataDir: string, outDir: string | undefined, { model, adapter, at }: { model?: string; adapter?: string; at: At }) => {
    if ([outDir, model, adapter].filter((asked) => asked !== undefined).length !== 1)
      refuse("export: name a folder for the audit bundle, or --model FILE for the trained model, or --adapter FILE for its adapter");
    if (outDir !== undefined) {
      const written = await exportBundle(typedPath(dataDir), typedPath(outDir));
      if (!written.ok) refuse(written.message);
      return console.log(
        `${written.entries} ledger entries, ${written.steps} steps, state hash ${written.stateHash}: ${typedPath(outDir)}`,
      );
    }
    const what = model === undefined ? "adapter" : "model";
    const written =
      model === undefined
        ? await exportAdapter(typedPath(dataDir), typedPath(adapter ?? ""), at)
        : await exportOnnx(typedPath(dataDir), typedPath(model), at);
    if (!written.ok) refuse(written.message);
    console.log(`the ${what} after ${written.steps} steps, state hash ${written.stateHash}: ${written.files.join(", ")}`);
  });

program
  .command("classify")
  .description("say which class the trained model gives to texts")
  .argument("<data-dir>")
  .argument("<text...>", "texts, each in quotes")
  .option("--at <state>", "last, best by the held-out metric, or a number of steps", stateAt, "last")
  .option("--json", "print one JSON object a text", false)
  .action(async (dataDir: string, texts: string[], { at, json }: { at: At; json: boolean }) => {
    const opened = await openClassifier(typedPath(dataDir), { at });
    if (!opened.ok) refuse(opened.message);
    for (const { text, probabilities } of await opened.classify(texts)) {
      const classes = opened.labels
        .map((label, i) => ({ label, probability: probabilities[i] ?? 0 }))
        .sort((one, other) => other.probability - one.probability);
      if (json) console.log(JSON.stringify({ text, classes }));
      else
        console.log(
          `${classes.map(({ label, probability }) => `${label} ${(100 * probability).toFixed(1)} %`).join("   ")}   ${JSON.stringify(text.slice(0, 80))}`,
        );
    }
    await opened.close();
  });

try {
  await program.parseAsync();
  process.exit(process.exitCode ?? 0);
} catch (error) {
  refuse((error as Error).message);
}
