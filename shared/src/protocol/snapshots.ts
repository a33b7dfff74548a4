/** What nodes say of the snapshots that they have: schema and type together, on the wire and in a folder's index (shared/spec/snapshots.md). */
import * as z from "zod";
import { decode, encode } from "./codec.ts";
import { bytes32, fromHex, toHex } from "./entries.ts";
import { LIMITS } from "./limits.ts";

const step = z.int().min(0).max(0xfffffffe);
const size = z
  .int()
  .min(1)
  .max(32 * 2 ** 30);
const hex32 = z.string().regex(/^[0-9a-f]{64}$/, "64 hex digits");

const snapshot = z.strictObject({
  /** The state after this step. */
  step,
  stateHash: hex32,
  /** The blob that holds it, and its size. */
  id: hex32,
  bytes: size,
});
export type Snapshot = z.output<typeof snapshot>;

/** An index on disk, newest first. */
export const snapshotIndex = z.array(snapshot).max(LIMITS.snapshotsKeptMax);

const answer = z
  .array(
    z
      .tuple([step, bytes32, bytes32, size])
      .transform(([step, hash, id, bytes]) => ({ step, stateHash: toHex(hash), id: toHex(id), bytes })),
  )
  .max(LIMITS.snapshotsKeptMax);

/** The answer to a request for snapshots. */
export function encodeSnapshots(snapshots: readonly Snapshot[]): Uint8Array {
  return encode(snapshots.map(({ step, stateHash, id, bytes }) => [step, fromHex(stateHash), fromHex(id), bytes]));
}

/** Null where a peer's bytes are no answer. */
export function parseSnapshots(bytes: Uint8Array): Snapshot[] | null {
  const decoded = decode(bytes, LIMITS.snapshotsAnswerBytesMax);
  const parsed = decoded.ok ? answer.safeParse(decoded.value) : null;
  return parsed?.success ? parsed.data : null;
}
