/**
 * The coordinator's end of its standby: one peer, named by the launcher, gets the job's folder and then every entry. What it asks
 * for next says what it has on its disk; in mode sync nothing is announced before that.
 */
import { open, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import type { SwarmNode } from "@zoswarm/shared/net/node";
import { packAnnouncements } from "@zoswarm/shared/net/range";
import { parseAddress } from "@zoswarm/shared/net/redial";
import { serveStandby } from "@zoswarm/shared/net/standby";
import { LIMITS } from "@zoswarm/shared/protocol/limits";
import { encodeStandbyFiles, type StandbyFile, type StandbyRequest } from "@zoswarm/shared/protocol/standby";
import type { LedgerStore } from "@zoswarm/shared/store/ledgerstore";
import { filesOf } from "./folder.ts";

export interface StandbyOptions {
  peerId: string;
  mode: "sync" | "async";
}

export interface StandbyLink {
  mode: StandbyOptions["mode"];
  /** Resolves when the standby has all entries before `seq` on its disk; at once in mode async. */
  durable(seq: number): Promise<void>;
  /** Entries that may be known to anybody else. */
  visible(length: number): number;
  /** Tells that the ledger grew. */
  grew(): void;
  /** Tells that nothing follows any more: the standby is told so once it has everything. */
  finish(): void;
  /** Where workers will find the standby once it is promoted. */
  addresses(): readonly string[];
  /** What the coordinator waits for, in words; null where it does not. */
  waiting(): string | null;
}

/** Of a data folder, what is each machine's own. */
const OWN = ["peer.key", "ledger", "snapshots", "blobs", "successor.announcement", "standby.json", "promote"];

/** How long the standby is silent before people are told that everything waits for it. */
const AWAY_MS = 2_000;

/** Serves the standby. */
export async function openStandby(
  node: SwarmNode,
  { peerId, mode }: StandbyOptions,
  { dir, store, log, onGreeted }: { dir: string; store: LedgerStore; log: (line: string) => void; onGreeted: () => void },
): Promise<StandbyLink> {
  const shared = await sharedFiles(dir);
  let acked = 0;
  let addresses: string[] = [];
  let isAway = false;
  let isAhead = false;
  let isFinished = false;
  const waiters: { seq: number; resolve: () => void }[] = [];
  const grown = new Set<() => void>();

  async function follow(nextSeq: number): Promise<Uint8Array | undefined> {
    // What it has beyond this ledger is another history: that it has ours as well is not said, and it looks further back now.
    if (nextSeq > store.length()) {
      if (!isAhead) log(`WARNING: the standby has ${nextSeq} ledger entries or more, this coordinator ${store.length()}`);
      isAhead = true;
      return packAnnouncements([]);
    }
    acked = nextSeq;
    for (let i = waiters.length - 1; i >= 0; i--) if ((waiters[i]?.seq ?? 0) <= acked) waiters.splice(i, 1)[0]?.resolve();
    if (store.length() <= nextSeq && !isFinished) await untilGrown();
    if (store.length() <= nextSeq && isFinished) return undefined;
    return packAnnouncements(store.range(nextSeq));
  }
  function untilGrown(): Promise<void> {
    return new Promise((resolve) => {
      const on = () => {
        clearTimeout(timer);
        grown.delete(on);
        resolve();
      };
      const timer = setTimeout(on, LIMITS.standbyHoldMs);
      grown.add(on);
    });
  }
  const refused = await serveStandby(node, peerId, async (request: StandbyRequest, seenAt: string | null) => {
    switch (request.kind) {
      case "greet": {
        const own = seenAt === null ? [] : [`${seenAt}/tcp/${request.port}/p2p/${peerId}`];
        const named = request.addresses.map((address) => `${address}/p2p/${peerId}`);
        addresses = [...named, ...own].filter((address) => parseAddress(address).ok).slice(0, LIMITS.standbyAddressesMax);
        log(`standby ${peerId.slice(-8)} is here; once promoted it is found at ${addresses.join(", ")}`);
        onGreeted();
        return encodeStandbyFiles(shared);
      }
      case "chunk":
        return shared.some(({ name }) => name === request.name) ? readChunk(join(dir, request.name), request.offset) : undefined;
      case "follow":
        return follow(request.nextSeq);
    }
  });

  const grew = () => {
    for (const on of [...grown]) on();
  };

  return {
    mode,
    async durable(seq) {
      if (mode === "async" || acked >= seq) return;
      const away = setTimeout(() => {
        isAway = true;
        log(`WARNING: ${awayText(peerId)}${refused.refused ? ` (${refused.refused} requests of others were refused)` : ""}`);
      }, AWAY_MS);
      await new Promise<void>((resolve) => waiters.push({ seq, resolve }));
      clearTimeout(away);
      if (isAway) log("the standby has everything again: going on");
      isAway = false;
    },
    visible: (length) => (mode === "async" ? length : Math.min(length, acked)),
    grew,
    finish() {
      isFinished = true;
      grew();
    },
    addresses: () => addresses,
    waiting: () => (isAway ? awayText(peerId) : null),
  };
}

function awayText(peerId: string): string {
  return `the standby ${peerId.slice(-8)} does not answer, so nothing is announced: start it, or start this coordinator again with --standby-mode async, or without --standby`;
}

/** The files that make a coordinator's folder on another machine. */
async function sharedFiles(dir: string): Promise<StandbyFile[]> {
  const own = Object.values(filesOf(dir)).filter((path) => !OWN.includes(path.slice(dir.length + 1)));
  const names = [
    ...own.map((path) => path.slice(dir.length + 1)),
    "model.data",
    ...(await readdir(join(dir, "blobs"))).map((name) => `blobs/${name}`),
  ];
  const found = await Promise.all(
    names.map(async (name): Promise<StandbyFile[]> => {
      const info = await stat(join(dir, name)).catch(() => null);
      return info?.isFile() ? [{ name, bytes: info.size }] : [];
    }),
  );
  return found.flat();
}

async function readChunk(file: string, offset: number): Promise<Uint8Array> {
  const handle = await open(file, "r");
  try {
    const chunk = Buffer.alloc(LIMITS.blobChunkBytes);
    const { bytesRead } = await handle.read(chunk, 0, chunk.byteLength, offset);
    return Uint8Array.from(chunk.subarray(0, bytesRead));
  } finally {
    await handle.close();
  }
}
