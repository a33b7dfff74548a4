import { afterEach, expect, test } from "vitest";
import { LIMITS } from "../protocol/limits.ts";
import { encodeSnapshots, parseSnapshots, type Snapshot } from "../protocol/snapshots.ts";
import { SNAPSHOTS_PROTOCOL } from "../protocol/topics.ts";
import { serveRequests } from "./answers.ts";
import { loopbackNode, stopLater } from "./loopback.ts";
import { askSnapshots, serveSnapshots } from "./snapshots.ts";

const JOB = "1b".repeat(32);
const never = new AbortController().signal;
const { keep, stopAll } = stopLater();
afterEach(stopAll);

const most = Array.from(
  { length: LIMITS.snapshotsKeptMax },
  (_, i): Snapshot => ({ step: 0xfffffffe - i, stateHash: "ab".repeat(32), id: "cd".repeat(32), bytes: 32 * 2 ** 30 }),
);

test("a peer tells which snapshots it has of a job, and nothing of another job", async () => {
  const donor = keep(await loopbackNode("coordinator"));
  await serveSnapshots(donor, JOB, () => most);
  const asker = keep(await loopbackNode("worker"));
  const [address = ""] = donor.addresses();
  expect(await askSnapshots(asker, address, JOB, never)).toEqual({ ok: true, snapshots: most });
  expect(await askSnapshots(asker, address, "2c".repeat(32), never)).toMatchObject({ ok: false, code: "not-found" });
});

test("the longest honest answer fits; longer ones and other shapes are refused", () => {
  expect(parseSnapshots(encodeSnapshots(most))).toEqual(most);
  expect(parseSnapshots(encodeSnapshots([...most, ...most.slice(0, 1)]))).toBeNull();
  expect(parseSnapshots(Uint8Array.of(0x91, 0x01))).toBeNull();
  expect(parseSnapshots(new Uint8Array(LIMITS.snapshotsAnswerBytesMax + 1))).toBeNull();
  expect(parseSnapshots(encodeSnapshots([{ ...(most[0] as Snapshot), bytes: 0 }]))).toBeNull();
});

test("a peer that answers with something else is named as one that sends wrong bytes", async () => {
  const donor = keep(await loopbackNode("coordinator"));
  const nonsense = async () => Uint8Array.of(0xc1);
  await serveRequests(donor, { protocol: SNAPSHOTS_PROTOCOL, kind: "snapshots", requestBytesMax: 32, answer: nonsense });
  const asker = keep(await loopbackNode("worker"));
  expect(await askSnapshots(asker, donor.addresses()[0] ?? "", JOB, never)).toMatchObject({ ok: false, code: "wrong-bytes" });
});
