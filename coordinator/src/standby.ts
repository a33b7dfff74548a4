/**
 * `coordinator standby`: a copy of the job's folder on another machine that follows the ledger, entry by entry, durable before it
 * asks for the next. It keeps no parameters: a promotion replays the ledger, as every restart does.
 */
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { setTimeout } from "node:timers/promises";
import { loadPeerKey } from "@zoswarm/shared/net/identity";
import { createNode, type SwarmNode } from "@zoswarm/shared/net/node";
import { keepConnected, parseAddress } from "@zoswarm/shared/net/redial";
import { askAsStandby } from "@zoswarm/shared/net/standby";
import { onStopSignal } from "@zoswarm/shared/signals";
import { lockFolder } from "@zoswarm/shared/store/lock";
import { typedPath } from "@zoswarm/shared/typed";
import { type Fault, filesOf, readFolder, stateOf } from "./folder.ts";
import { followAll } from "./follow.ts";
import { type Lease, takeLease } from "./lease.ts";
import { beginEpoch } from "./promote.ts";
import { type RunOptions, runFolder } from "./run.ts";

/** How it ended, and the lease if that is why. */
type Stood = { ok: true; ended: "stopped" | "handed-over" | "finished" } | { ok: true; ended: "leased"; lease: Lease };

const ENDED = {
  stopped: "stopped; the same command goes on from here",
  "handed-over": "handed over: the promote command goes on",
  finished: "the job is finished, and all of it is here",
  leased: "the lease is free, and taken: this standby takes over",
} as const;

/** How often it looks whether somebody asked for its folder. */
const PROMOTE_LOOK_MS = 200;

/** How long a database that cannot be used is left alone, and the folder that has no job yet. */
const LEASE_PAUSE_MS = 2_000;

/**
 * Follows a coordinator until the job is finished, it is stopped, its folder is asked for, or it gets the lease that the coordinator
 * held: then it runs the job itself. Expected failures are values.
 */
export async function standby(address: string, options: RunOptions): Promise<{ ok: true } | Fault<string>> {
  const parsed = parseAddress(address);
  if (!parsed.ok) return parsed;
  const port = Number(/\/tcp\/(\d+)/.exec(options.listen[0] ?? "")?.[1] ?? 0);
  if (port === 0)
    return {
      ok: false,
      code: "port-unknown",
      message: "--listen: a standby needs a port from 1 up: workers are told of it before it is open",
    };
  const dir = typedPath(options.data ?? `${parsed.peerId.slice(-8)}.standby`);
  if (stateOf(dir) === "job" && !existsSync(filesOf(dir).standby))
    return { ok: false, code: "not-a-standby", message: `data folder ${dir} is a coordinator's: name a new folder with --data` };
  mkdirSync(dir, { recursive: true });
  const locked = lockFolder(dir);
  if (!locked.ok) return locked;
  try {
    const files = filesOf(dir);
    const key = await loadPeerKey(files.peerKey);
    if (!key.ok) return key;
    writeFileSync(files.standby, `${JSON.stringify({ coordinator: parsed.address })}\n`);
    const created = await createNode({ role: "coordinator", privateKey: key.privateKey });
    if (!created.ok) return created;
    let stood: Stood | Fault<string>;
    try {
      console.log(`standby of ${parsed.address} in ${dir}`);
      console.log(`start the coordinator with --standby ${created.node.peerId}`);
      console.log(`take over with npm run coordinator -- promote ${dir} --listen ${options.listen.join(" --listen ")}`);
      stood = await stand(created.node, parsed.address, dir, { port, addresses: options.announce }, options.lease);
    } finally {
      await created.node.stop();
    }
    if (!stood.ok || stood.ended !== "leased") return stood;
    return await takeOver(dir, options, stood.lease);
  } finally {
    locked.release();
  }
}

async function stand(
  node: SwarmNode,
  address: string,
  dir: string,
  found: { port: number; addresses: string[] },
  database: string | undefined,
): Promise<Stood | Fault<string>> {
  const over = new AbortController();
  const end = Promise.withResolvers<Stood | Fault<string>>();
  const unhandle = onStopSignal(() => end.resolve({ ok: true, ended: "stopped" }));
  const look = setInterval(() => existsSync(filesOf(dir).promote) && end.resolve({ ok: true, ended: "handed-over" }), PROMOTE_LOOK_MS);
  const leasing = database === undefined ? null : waitForLease(database, dir, over.signal);
  void leasing?.then((lease) => lease && end.resolve({ ok: true, ended: "leased", lease }));
  let said = "";
  const connected = keepConnected({
    addresses: [address],
    signal: over.signal,
    async connect(to, signal) {
      const opened = await askAsStandby(node, to, signal);
      const none = { message: `the coordinator has no standby ${node.peerId}: start it with --standby ${node.peerId}` };
      if (!opened.ok) return opened.code === "wrong-protocol" ? { ...opened, ...none } : opened;
      const { asking } = opened;
      const greeted = await asking.greet(found.port, found.addresses);
      if (!greeted.ok) {
        asking.close();
        return greeted.code === "refused" ? { ...greeted, ...none } : greeted;
      }
      const ended = followAll(asking, greeted.files, dir, signal)
        .then((isFinished) => isFinished && end.resolve({ ok: true, ended: "finished" }))
        .catch((error: Error) => end.resolve({ ok: false, code: "failed", message: error.message }))
        .finally(() => asking.close());
      return { ok: true, ended };
    },
    onAttempt(attempt) {
      const line =
        attempt.event === "failed" ? attempt.message : attempt.event === "connected" ? "following" : "the connection ended; trying again";
      if (line !== said) console.log(line);
      said = line;
    },
  });
  const ended = await end.promise;
  unhandle();
  clearInterval(look);
  over.abort();
  await connected;
  if (ended.ok) console.log(ENDED[ended.ended]);
  const late = await leasing;
  if (late && !(ended.ok && ended.ended === "leased")) await late.release();
  return ended;
}

/** The lease, once the coordinator that was seen to hold it does so no more; null where `signal` ended the wait. */
async function waitForLease(url: string, dir: string, signal: AbortSignal): Promise<Lease | null> {
  let said = "";
  while (!signal.aborted) {
    const folder = readFolder(dir);
    const wait = {
      fromAnother: true,
      onWaiting: () => console.log("the coordinator holds the lease; this standby takes over when it does not"),
    };
    if (folder.ok)
      try {
        return await takeLease(url, folder.jobId, signal, wait);
      } catch (error) {
        if (said !== (error as Error).message) console.log((error as Error).message);
        said = (error as Error).message;
      }
    await setTimeout(LEASE_PAUSE_MS, undefined, { signal }).catch(() => {});
  }
  return null;
}

async function takeOver(dir: string, options: RunOptions, lease: Lease): Promise<{ ok: true } | Fault<string>> {
  const folder = readFolder(dir);
  const begun = folder.ok ? await beginEpoch(folder) : folder;
  if (begun.ok && folder.ok) return await runFolder(folder, options, lease);
  await lease.release();
  return begun;
}
