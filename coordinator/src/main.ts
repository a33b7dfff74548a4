/** The coordinator's command line. Expected failures: one message on stderr, exit code 1. */
import { isIP } from "node:net";
import { LIMITS } from "@zoswarm/shared/protocol/limits";
import { typedPath } from "@zoswarm/shared/typed";
import { Command, InvalidArgumentError } from "commander";
import { run } from "./run.ts";
import { exportBundle, exportOnnx, openClassifier } from "./trained.ts";

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

function refuse(message: string): never {
  console.error(message);
  process.exit(1);
}

const program = new Command("coordinator")
  .description("Launch and keep fine-tuning jobs that volunteers work on")
  .showHelpAfterError("(--help lists what there is)");

program
  .command("run", { isDefault: true })
  .description("run the job that a job file describes; the same command goes on after a stop")
  .argument("<job>", "job file, YAML or JSON")
  .option("--data <dir>", "the job's data folder (default: beside the job file, named after it)")
  .option(
    "--listen <multiaddr>",
    "where workers connect; may be repeated (default: /ip4/0.0.0.0/tcp/4100)",
    multiaddrs(["ip4", "ip6"], "/ip4/0.0.0.0/tcp/4100"),
  )
  .option(
    "--announce <multiaddr>",
    "address to tell workers, where a router forwards a port; may be repeated",
    multiaddrs(["ip4", "ip6", "dns", "dns4", "dns6"], "/dns4/example.org/tcp/4100"),
  )
  .option("--http <host:port>", "where the page and the API are served", hostPort, { host: "127.0.0.1", port: 8420 })
  .option("--any-port", "take a free port where one is taken", false)
  .option("--wait-for-workers <n>", "open the first step when so many workers are ready", whole(1, LIMITS.connectionsMax), 1)
  .option("--threads <n>", "threads of a held-out forward pass", whole(1, 256), 1)
  .option("--report <file>", "write a JSON report at the end")
  .action(async (job: string, { listen, announce, ...options }) => {
    const ran = await run(job, { listen: listen ?? ["/ip4/0.0.0.0/tcp/4100"], announce: announce ?? [], ...options });
    if (!ran.ok) refuse(ran.message);
  });

program
  .command("export")
  .description("write the audit bundle of a data folder, or with --model the trained model")
  .argument("<data-dir>")
  .argument("[out-dir]", "new folder for the bundle")
  .option("--model <file>", "write the trained model to this ONNX file")
  .action(async (dataDir: string, outDir: string | undefined, { model }: { model?: string }) => {
    if ((outDir === undefined) === (model === undefined))
      refuse("export: name a folder for the audit bundle, or --model FILE for the trained model");
    if (outDir !== undefined) {
      const written = await exportBundle(typedPath(dataDir), typedPath(outDir));
      if (!written.ok) refuse(written.message);
      console.log(`${written.entries} ledger entries, ${written.steps} steps, state hash ${written.stateHash}: ${typedPath(outDir)}`);
    } else if (model !== undefined) {
      const written = await exportOnnx(typedPath(dataDir), typedPath(model));
      if (!written.ok) refuse(written.message);
      console.log(`the model after ${written.steps} steps, state hash ${written.stateHash}: ${typedPath(model)}`);
    }
  });

program
  .command("classify")
  .description("say which class the trained model gives to texts")
  .argument("<data-dir>")
  .argument("<text...>", "texts, each in quotes")
  .option("--untrained", "by the model as it was before training", false)
  .option("--json", "print one JSON object a text", false)
  .action(async (dataDir: string, texts: string[], { untrained, json }: { untrained: boolean; json: boolean }) => {
    const opened = await openClassifier(typedPath(dataDir), { untrained });
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
