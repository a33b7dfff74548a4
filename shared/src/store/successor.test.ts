import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { COMMIT_KEY, commitKeyOf, HASH, JOB_ID, startChain } from "../protocol/announcement.testing.ts";
import { keepSuccessor, readSuccessor } from "./successor.ts";

let dir = "";
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "zoswarm-successor-"));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

const proofOf = (epoch: number, key = COMMIT_KEY.key) => startChain(key).next({ kind: "epoch", epoch }, null, epoch).bytes;

test("the newest proof is there again, and nothing else is left beside it", async () => {
  const file = join(dir, "successor");
  expect(readSuccessor(file, JOB_ID, COMMIT_KEY.verifier)).toBeNull();
  for (const epoch of [1, 3]) keepSuccessor(file, proofOf(epoch));
  expect(readSuccessor(file, JOB_ID, COMMIT_KEY.verifier)).toMatchObject({ epoch: 3, bytes: proofOf(3) });
  expect(await readdir(dir)).toEqual(["successor"]);
});

test("what is no proof of this job, signed with its key, proves nothing", async () => {
  const file = join(dir, "successor");
  keepSuccessor(file, proofOf(1, commitKeyOf(9).key));
  expect(readSuccessor(file, JOB_ID, COMMIT_KEY.verifier)).toBeNull();
  keepSuccessor(file, proofOf(1));
  expect(readSuccessor(file, HASH, COMMIT_KEY.verifier)).toBeNull();
  await writeFile(file, proofOf(1).subarray(1));
  expect(readSuccessor(file, JOB_ID, COMMIT_KEY.verifier)).toBeNull();
});
