/** After a soak: whether a worker's ledger is the coordinator's, and its parameters are those that the ledger leads to. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parseAnnouncement } from "@zoswarm/shared/protocol/announcement";
import { readManifest } from "@zoswarm/shared/protocol/manifest";
import { openLedgerStore } from "@zoswarm/shared/store/ledgerstore";
import type { SoakSwarm } from "./swarm.ts";

/** Every announcement in a bundle's chain. */
function chainOf(bundle: string): Uint8Array[] {
  const bytes = readFileSync(join(bundle, "chain.bin"));
  const all: Uint8Array[] = [];
  for (let at = 0; at < bytes.byteLength; ) {
    const length = bytes.readUInt32LE(at);
    all.push(Uint8Array.from(bytes.subarray(at + 4, at + 4 + length)));
    at += 4 + length;
  }
  return all;
}

/** What differs, in words; nothing where the worker's ledger is a part of the chain and its last state hash is right. */
export async function copyFaults(name: string, dir: string, bundle: string, swarm: SoakSwarm): Promise<string[]> {
  const read = readManifest(Uint8Array.from(readFileSync(join(bundle, "manifest.json"))));
  if (!read.ok) return [read.message];
  const chain = chainOf(bundle);
  const store = openLedgerStore(join(dir, name, "jobs", read.jobId.slice(0, 32)));
  const length = store.length();
  const faults: string[] = [];
  let steps = 0;
  for (let seq = 0; seq < length; seq++) {
    const mine = store.range(seq, 1)[0] as Uint8Array;
    const theirs = chain[seq];
    if (theirs === undefined || Buffer.compare(mine, theirs) !== 0) {
      faults.push(`${name} holds another entry ${seq} than the coordinator`);
      break;
    }
    const parsed = parseAnnouncement(mine);
    if (parsed.ok && parsed.announcement.entry?.kind === "commit") steps++;
  }
  await store.close();
  const report = join(dir, `${name}-report.json`);
  if (!existsSync(report)) return [...faults, `${name} left no report`];
  const { stateHash } = JSON.parse(readFileSync(report, "utf8"));
  const said = await swarm.coordinator(["export", join(dir, "coordinator"), "--model", join(dir, `${name}.onnx`), "--at", String(steps)]);
  const right = /state hash ([0-9a-f]{64})/.exec(said.at(-1) ?? "")?.[1];
  if (stateHash !== right) faults.push(`${name} has the state hash ${stateHash} after ${steps} steps, the ledger leads to ${right}`);
  return faults;
}
