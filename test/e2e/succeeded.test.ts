/** A worker that has seen a higher epoch, and not its entries, is done with the coordinator before: at once, and after a crash as well. */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { serveBlobs } from "@zoswarm/shared/net/blobs";
import { loopbackNode } from "@zoswarm/shared/net/loopback";
import type { SwarmNode } from "@zoswarm/shared/net/node";
import { serveRange } from "@zoswarm/shared/net/range";
import { acceptSessions } from "@zoswarm/shared/net/session";
import { createAnnouncement } from "@zoswarm/shared/protocol/announcement";
import { readManifest } from "@zoswarm/shared/protocol/manifest";
import { encodeCoordinatorFrame, parseWorkerFrame } from "@zoswarm/shared/protocol/messages";
import { readCommitKey } from "@zoswarm/shared/protocol/signing";
import { openBlobFiles } from "@zoswarm/shared/store/blobs";
import { afterEach, beforeEach, expect, test } from "vitest";
import { coordinatorArgs, createProcesses, joinAddress, workerArgs } from "./processes.ts";
import { writeTinyJob } from "./tinyjob.ts";

const processes = createProcesses();
let dir = "";
let node: SwarmNode;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "zoswarm-succeeded-"));
  node = await loopbackNode("coordinator");
});
afterEach(async ({ task }) => {
  if (task.result?.state === "fail") console.info(processes.tails());
  await processes.killAll();
  await node.stop();
  await rm(dir, { recursive: true, force: true });
});

test("it leaves with the proof, and once more when it was killed and comes back", async () => {
  const { job } = await writeTinyJob(dir);
  const data = join(dir, "data");
  const launcher = processes.start("coordinator", coordinatorArgs(job, data));
  await joinAddress(launcher);
  launcher.kill("SIGINT");
  await launcher.ended;
  const manifest = Uint8Array.from(await readFile(join(data, "manifest.json")));
  const read = readManifest(manifest);
  if (!read.ok) throw new Error(read.message);
  const { key } = readCommitKey(await readFile(join(data, "commit.key"), "utf8"));
  // Far beyond what anybody here has.
  const far = { jobId: read.jobId, epoch: 1, seq: 1_000, prevHash: "ab".repeat(32), task: null };
  const proof = createAnnouncement({ ...far, entry: { kind: "epoch", epoch: 1 } }, key).bytes;

  // A coordinator of epoch 0 with an empty ledger. It tells of the proof only once.
  const proofs: Uint8Array[] = [];
  let told = false;
  const proven = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  await serveBlobs(node, await openBlobFiles(join(data, "blobs")));
  await serveRange(node, () => []);
  await acceptSessions(node, (session) => {
    session.onFrame((bytes) => {
      const parsed = parseWorkerFrame(bytes);
      if (!parsed.ok) throw new Error(parsed.code);
      const { frame } = parsed;
      if (frame.kind === "hello") session.send(encodeCoordinatorFrame({ kind: "welcome", manifest, nextSeq: 0, donors: [], epoch: 0 }));
      if (frame.kind === "heartbeat" && frame.state === "syncing" && !told) {
        told = true;
        session.send(encodeCoordinatorFrame({ kind: "repair", announcement: proof }));
      }
      if (frame.kind === "proof") proven[proofs.push(frame.announcement) - 1]?.resolve();
    });
  });
  const args = workerArgs(node.addresses()[0] as string, join(dir, "ada"));
  const ada = processes.start("worker", args);
  await ada.line(/^this coordinator is of epoch 0, and one of epoch 1 took over: leaving it/);
  await proven[0]?.promise;
  ada.kill("SIGKILL");
  await ada.ended;
  const seen = proofs.length;
  const again = Promise.withResolvers<void>();
  proven[seen] = again;
  const back = processes.start("worker", args);
  await back.line(/^this coordinator is of epoch 0, and one of epoch 1 took over: leaving it/);
  await again.promise;
  for (const each of proofs) expect(Buffer.compare(each, proof)).toBe(0);
});
