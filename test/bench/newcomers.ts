/**
 * Newcomers of the benchmark `latejoin`, as a process of its own: `node newcomers.ts ADDRESS COUNT FOLDER`. Each is a node of its own that
 * says hello, asks the donors that the coordinator names, and downloads all of the job's blobs; none measures anything. Prints `begin`
 * and, when all are done, their bytes.
 */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { loopbackNode } from "@zoswarm/shared/net/loopback";
import { openSession } from "@zoswarm/shared/net/session";
import { readManifest } from "@zoswarm/shared/protocol/manifest";
import { type CoordinatorFrame, encodeWorkerFrame, parseCoordinatorFrame } from "@zoswarm/shared/protocol/messages";
import { PROTOCOL_VERSION } from "@zoswarm/shared/protocol/topics";
import { openBlobFiles } from "@zoswarm/shared/store/blobs";
import { createSources } from "../../worker/src/sources.ts";

const [address = "", count = "1", folder = "."] = process.argv.slice(2);
const { signal } = new AbortController();

async function joined(name: string) {
  const node = await loopbackNode("worker");
  const opened = await openSession(node, address, signal);
  if (!opened.ok) throw new Error(opened.message);
  const { session } = opened;
  const welcome = new Promise<Extract<CoordinatorFrame, { kind: "welcome" }>>((resolve) => {
    session.onFrame((bytes) => {
      const parsed = parseCoordinatorFrame(bytes);
      if (parsed.ok && parsed.frame.kind === "welcome") resolve(parsed.frame);
    });
  });
  session.send(
    encodeWorkerFrame({ kind: "hello", version: PROTOCOL_VERSION, jobId: null, name, device: "benchmark", threads: 1, port: 0 }),
  );
  const { manifest: bytes, donors } = await welcome;
  const read = readManifest(bytes);
  if (!read.ok) throw new Error(read.message);
  const peers = () => ({ coordinator: session.peerId, donors });
  const sources = createSources({ node, jobId: read.jobId, peers, log: (line) => console.error(line) });
  const cache = await openBlobFiles(join(folder, name));
  return { manifest: read.manifest, sources, cache };
}

await mkdir(folder, { recursive: true });
const all = await Promise.all(Array.from({ length: Number(count) }, (_, i) => joined(`newcomer${i}`)));
console.log("begin");
const fetched = await Promise.all(
  all.map(async ({ manifest, sources, cache }) => {
    await sources.greet(signal);
    let sum = 0;
    for (const blob of [manifest.model, manifest.frozen, manifest.initial, manifest.examples]) {
      if (blob === null) continue;
      const got = await sources.blob(blob.id, cache, { signal, bytes: blob.bytes });
      if (!got.ok) throw new Error(got.message);
      sum += blob.bytes;
    }
    return sum;
  }),
);
console.log(`done ${fetched.reduce((sum, bytes) => sum + bytes, 0)}`);
process.exit(0);
