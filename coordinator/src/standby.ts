/**
 * `coordinator standby`: a copy of the job's folder on another machine that follows the ledger, entry by entry, durable before it
 * asks for the next. It keeps no parameters: a promotion replays the ledger, as every restart does.
 */
import { existsSync, mkdirSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { loadPeerKey } from "@zoswarm/shared/net/identity";
import { createNode, type SwarmNode } from "@zoswarm/shared/net/node";
import { keepConnected, parseAddress } from "@zoswarm/shared/net/redial";
import { askAsStandby, type StandbyAsking } from "@zoswarm/shared/net/standby";
import { LIMITS } from "@zoswarm/shared/protocol/limits";
import { commitVerifier } from "@zoswarm/shared/protocol/signing";
import type { StandbyFile } from "@zoswarm/shared/protocol/standby";
import { createReplica, type Replica, receive, rewindMessage } from "@zoswarm/shared/replica/replica";
import { onStopSignal } from "@zoswarm/shared/signals";
import { recordIncident } from "@zoswarm/shared/store/incidents";
import { type LedgerStore, openLedgerStore } from "@zoswarm/shared/store/ledgerstore";
import { lockFolder } from "@zoswarm/shared/store/lock";
import { keepSuccessor } from "@zoswarm/shared/store/successor";
import { typedPath } from "@zoswarm/shared/typed";
import { type Fault, filesOf, type JobFolder, readFolder, readFolderKey, stateOf } from "./folder.ts";
import { type Lease, takeLease } from "./lease.ts";
import { beginEpoch } from "./promote.ts";
import { type RunOptions, runFolder } from "./run.ts";

/** How it ended, and the lease if that is why. */
type Stood = { ok: true; ended: "stopped" | "handed-over" } | { ok: true; ended: "leased"; lease: Lease };

const ENDED = {
  stopped: "stopped; the same command goes on from here",
  "handed-over": "handed over: the promote command goes on",
  leased: "the lease is free, and taken: this standby takes over",
} as const;

/** How often it looks whether somebody asked for its folder. */
const PROMOTE_LOOK_MS = 200;

/** How long a database that cannot be used is left alone, and the folder that has no job yet. */
const LEASE_PAUSE_MS = 2_000;

/**
 * Follows a coordinator until it is stopped, its folder is asked for, or it gets the lease that the coordinator held: then it runs the
 * job itself. Expected failures are values.
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

/** Copies what is missing of the folder, then follows. Resolves when the coordinator cannot be asked; throws where it may not go on. */
async function followAll(asking: StandbyAsking, shared: readonly StandbyFile[], dir: string, signal: AbortSignal): Promise<void> {
  // The file that makes the folder a job's comes last.
  const spec = (name: string) => Number(join(dir, name) === filesOf(dir).spec);
  for (const file of [...shared].sort((one, other) => spec(one.name) - spec(other.name))) if (!(await copyFile(asking, file, dir))) return;
  const folder = readFolder(dir);
  if (!folder.ok) throw new Error(folder.message);
  readFolderKey(folder);
  console.log(`has the folder of job "${folder.manifest.name}" ${folder.jobId.slice(0, 12)}`);
  const store = openLedgerStore(filesOf(dir).ledger);
  try {
    while (!signal.aborted && (await follow(asking, folder, store)) === "rewound");
  } finally {
    await store.close();
  }
}

/** One file, whole or not at all, for its owner's eyes only. False where the coordinator cannot be asked. */
async function copyFile(asking: StandbyAsking, { name, bytes }: StandbyFile, dir: string): Promise<boolean> {
  const file = join(dir, name);
  if (existsSync(file) && statSync(file).size === bytes) return true;
  mkdirSync(join(file, ".."), { recursive: true });
  const partial = `${file}.new`;
  rmSync(partial, { force: true });
  const handle = await open(partial, "wx", 0o600);
  try {
    for (let at = 0; at < bytes; ) {
      const answer = await asking.chunk(name, at);
      if (!answer.ok) return false;
      if (answer.content.byteLength === 0) throw new Error(`${name}: the coordinator's file ends at ${at} of ${bytes} bytes`);
      await handle.write(answer.content);
      at += answer.content.byteLength;
    }
    await handle.sync();
  } finally {
    await handle.close();
  }
  renameSync(partial, file);
  return true;
}

/** Follows from what is on disk, as a start does; "rewound" where that was cut. */
async function follow(asking: StandbyAsking, folder: JobFolder, store: LedgerStore): Promise<"rewound" | "ended"> {
  const key = commitVerifier(folder.manifest.commitKey);
  const replica: Replica = createReplica(folder.jobId, folder.manifest.job);
  for (let page = store.range(0); page.length > 0; page = store.range(replica.history.nextSeq))
    for (const bytes of page) {
      const { code } = receive(replica, bytes, key, true);
      if (code !== "applied")
        throw new Error(
          `the ledger in ${folder.dir} does not hold at entry ${replica.history.nextSeq} (${code}): remove the folder and start again`,
        );
    }
  // Its own last entry is asked for as well: another one in its place tells that somebody took over.
  let last = "";
  for (let fromSeq = Math.max(0, replica.history.nextSeq - 1); ; ) {
    const answer = await asking.follow(fromSeq);
    if (!answer.ok) return "ended";
    const askedFrom = fromSeq;
    if (answer.announcements.length === 0 && fromSeq < replica.history.nextSeq) {
      // It lacks what stands here: it took over further back, or it has lost it and would sign other entries in its place.
      if (last === "repeat" || fromSeq === 0)
        throw new Error(
          `the coordinator has ${fromSeq} ledger entries, this standby ${replica.history.nextSeq}: that one's folder is an older copy. Stop it, and take over here with the promote command`,
        );
      fromSeq = Math.max(0, fromSeq - LIMITS.rangeAnnouncementsMax);
      continue;
    }
    fromSeq += answer.announcements.length;
    for (const bytes of answer.announcements) {
      const { code, effects } = receive(replica, bytes, key);
      last = code;
      for (const effect of effects) {
        if (effect.kind === "append") await store.append(effect.seq, effect.bytes);
        if (effect.kind === "successor") keepSuccessor(filesOf(folder.dir).successor, effect.bytes);
        if (effect.kind === "fetch") fromSeq = Math.min(fromSeq, effect.fromSeq);
        if (effect.kind === "stop") throw new Error(effect.message);
        if (effect.kind !== "rewind") continue;
        await store.replaceFrom(effect.seq, effect.bytes);
        console.log(rewindMessage(effect));
        recordIncident(folder.dir, { code: "epoch-rewind", message: rewindMessage(effect), seq: effect.seq });
        return "rewound";
      }
    }
    // What is asked for next is what is on this disk, whatever came.
    fromSeq = Math.min(fromSeq, replica.history.nextSeq);
    if (fromSeq === askedFrom && answer.announcements.length > 0)
      throw new Error(
        `the coordinator's entry ${askedFrom} does not follow what this standby has (${last}): it is an old coordinator, or another job's`,
      );
  }
}
