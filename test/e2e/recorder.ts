/**
 * A bystander that writes down every announcement it hears, over crashes and restarts of the coordinator. What was announced even once
 * must stand in the final ledger, at its place, with its hash.
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { joinTopic } from "@zoswarm/shared/net/gossip";
import { loopbackNode } from "@zoswarm/shared/net/loopback";
import { fetchRange } from "@zoswarm/shared/net/range";
import { keepConnected } from "@zoswarm/shared/net/redial";
import { parseAnnouncement, verifyAnnouncement } from "@zoswarm/shared/protocol/announcement";
import { readManifest } from "@zoswarm/shared/protocol/manifest";
import { commitVerifier } from "@zoswarm/shared/protocol/signing";
import { announceTopic } from "@zoswarm/shared/protocol/topics";

export interface Recorder {
  /** Payload hashes by "epoch/seq": one each, unless somebody announced two truths. */
  heard: Map<string, Set<string>>;
  /** Called with each place that is new. */
  onNew: (seq: number) => void;
  stop(): Promise<void>;
}

/** Listens to the job in a coordinator's data folder, at its address. */
export async function startRecorder(dataDir: string, address: string): Promise<Recorder> {
  const read = readManifest(Uint8Array.from(readFileSync(join(dataDir, "manifest.json"))));
  if (!read.ok) throw new Error(read.message);
  const { manifest, jobId } = read;
  const key = commitVerifier(manifest.commitKey);
  const node = await loopbackNode("worker");
  const over = new AbortController();
  const recorder: Recorder = {
    heard: new Map(),
    onNew: () => {},
    async stop() {
      over.abort();
      await node.stop();
      await connected;
    },
  };
  const record = (bytes: Uint8Array) => {
    const parsed = parseAnnouncement(bytes);
    if (!parsed.ok || parsed.announcement.jobId !== jobId || !verifyAnnouncement(parsed.announcement, key)) return;
    const { epoch, seq, entry, hash } = parsed.announcement;
    // Without an entry it says nothing of the ledger.
    if (entry === null) return;
    const place = `${epoch}/${seq}`;
    const hashes = recorder.heard.get(place) ?? new Set();
    if (hashes.size === 0) queueMicrotask(() => recorder.onNew(seq));
    recorder.heard.set(place, hashes.add(hash));
  };
  const topic = joinTopic(
    node,
    announceTopic(jobId),
    (bytes) => {
      record(bytes);
      return "ignore";
    },
    () => {},
  );
  const connected = keepConnected({
    addresses: [address],
    signal: over.signal,
    async connect(to, signal) {
      // What a node serves counts as announced too; and the connection that this opens stays.
      const fetched = await fetchRange(node, to, recorder.heard.size, signal);
      if (!fetched.ok) return fetched;
      for (const bytes of fetched.announcements) record(bytes);
      return { ok: true, ended: alone() };
    },
    onAttempt: () => {},
  });
  const alone = () =>
    new Promise<void>((resolve) => {
      const look = () => {
        if (node.peers().length > 0) return;
        stop();
        resolve();
      };
      const stop = topic.onSubscribers(look);
      look();
    });
  return recorder;
}

/** What of the recorded is not in the bundle's chain as it was heard, and places of which two truths were heard; none, if all is well. */
export function contradictions(heard: Recorder["heard"], bundle: string): string[] {
  const file = join(bundle, "chain.bin");
  if (!existsSync(file)) return [`${file} is missing`];
  const chain = readFileSync(file);
  const final = new Map<string, string>();
  for (let at = 0; at < chain.byteLength; ) {
    const length = chain.readUInt32LE(at);
    const parsed = parseAnnouncement(Uint8Array.from(chain.subarray(at + 4, at + 4 + length)));
    if (!parsed.ok) return [`byte ${at} of the chain: ${parsed.code}`];
    final.set(`${parsed.announcement.epoch}/${parsed.announcement.seq}`, parsed.announcement.hash);
    at += 4 + length;
  }
  return [...heard].flatMap(([place, hashes]) =>
    [...hashes].filter((hash) => hash !== final.get(place)).map((hash) => `${place}: heard ${hash}, the ledger has ${final.get(place)}`),
  );
}
