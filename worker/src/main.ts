/** The worker's command line. Expected failures: one message on stderr, exit code 1. */
import { isIP } from "node:net";
import { availableParallelism, hostname } from "node:os";
import { LIMITS } from "@zoswarm/shared/protocol/limits";
import { Command, InvalidArgumentError } from "commander";
import { run } from "./run.ts";

function threadsOf(text: string): number {
  const value = Number(text);
  const most = availableParallelism();
  if (!Number.isInteger(value) || value < 1 || value > most)
    throw new InvalidArgumentError(`It must be a whole number from 1 to ${most}, what this machine has.`);
  return value;
}

function nameOf(text: string): string {
  if (text.length > LIMITS.nameCharactersMax || !/^[\P{C}]*$/u.test(text))
    throw new InvalidArgumentError(`It must be at most ${LIMITS.nameCharactersMax} printable characters.`);
  return text;
}

function listenAddress(text: string, before: string[] | undefined): string[] {
  const [, kind, host = "", port] = /^\/(ip[46])\/([^/]+)\/tcp\/(\d{1,5})$/.exec(text) ?? [];
  if (`ip${isIP(host)}` !== kind || Number(port) > 65_535) throw new InvalidArgumentError("It must be like /ip4/0.0.0.0/tcp/4101.");
  return [...(before ?? []), text];
}

function refuse(message: string): never {
  console.error(message);
  process.exit(1);
}

const program = new Command("worker")
  .description("Give this computer's time to a fine-tuning job")
  .requiredOption("--join <multiaddr>", "the coordinator's address; may be repeated", (value: string, before: string[] | undefined) => [
    ...(before ?? []),
    value,
  ])
  .option("--threads <n>", "processor threads to use", threadsOf, Math.max(1, availableParallelism() - 1))
  .option("--name <text>", "how the dashboard calls this worker", nameOf, hostname().slice(0, LIMITS.nameCharactersMax))
  .option("--listen <multiaddr>", "where other volunteers may download the job (default: a free port)", listenAddress)
  .option("--no-serve", "let nobody download from this computer")
  .option("--keep-snapshots", "keep snapshots of the parameters for newcomers, as the coordinator does", false)
  .option("--allow-rewards", "let a job's own JavaScript judge what the model says, in a sandbox", false)
  .option("--data <dir>", "where downloads and the ledger are kept (default: ~/.zoswarm/worker)")
  .option("--report <file>", "write a JSON report at the end")
  .showHelpAfterError("(--help lists what there is)")
  .action(async ({ listen, ...options }) => {
    const ran = await run({ listen: listen ?? ["/ip4/0.0.0.0/tcp/0"], ...options });
    if (!ran.ok) refuse(ran.message);
  });

try {
  await program.parseAsync();
  process.exit(0);
} catch (error) {
  refuse((error as Error).message);
}
