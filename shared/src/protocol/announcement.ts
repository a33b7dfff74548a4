/**
 * The announcement: an entry of the ledger and the next task in one signed message (shared/spec/ledger.md).
 * The ledger, relays and late joiners keep and verify these very bytes.
 */
import type { KeyObject } from "node:crypto";
import * as z from "zod";
import { decode, encode } from "./codec.ts";
import { bytes32, type Entry, entrySchema, entryTuple, fromHex, stepNumber, toHex, u32 } from "./entries.ts";
import { LIMITS } from "./limits.ts";
import { sha256Hex, signPayload, verifyPayload } from "./signing.ts";
import { PROTOCOL_VERSION } from "./topics.ts";

export const ESTIMATORS = ["two-sided", "one-sided"] as const;
export type Estimator = (typeof ESTIMATORS)[number];

export interface TaskGroup {
  g: number;
  m: number;
  /** All directions of the group see the batch drawn from (job, step, batch). */
  batch: number;
}

export interface Task {
  step: number;
  groups: TaskGroup[];
  epsilonLog2: number;
  estimator: Estimator;
}

const taskTuple = z
  .tuple([
    stepNumber,
    z
      .array(z.tuple([z.int().min(0).max(0xffffff), z.int().min(0).max(16), u32]))
      .min(1)
      .max(LIMITS.groupsPerStepMax),
    z.int().min(-24).max(0),
    z
      .int()
      .min(0)
      .max(ESTIMATORS.length - 1),
  ])
  .refine(([, groups]) => groups.every(([g], i) => i === 0 || g > (groups[i - 1]?.[0] ?? -1)), "groups in ascending g, each once")
  .refine(([, groups]) => groups.reduce((n, [, m]) => n + 2 ** m, 0) <= LIMITS.directionsPerStepMax, "too many directions")
  .transform(
    ([step, groups, epsilonLog2, estimator]): Task => ({
      step,
      groups: groups.map(([g, m, batch]) => ({ g, m, batch })),
      epsilonLog2,
      estimator: ESTIMATORS[estimator] as Estimator,
    }),
  );

const payloadTuple = z.tuple([z.literal(PROTOCOL_VERSION), bytes32, u32, u32, bytes32, entrySchema.nullable(), taskTuple.nullable()]);
const envelopeTuple = z.tuple([z.instanceof(Uint8Array), z.instanceof(Uint8Array).refine((b) => b.byteLength === 64, "64 bytes")]);

export interface Announcement {
  /** The signed bytes with their signature, exactly as published. */
  bytes: Uint8Array;
  payload: Uint8Array;
  signature: Uint8Array;
  /** SHA-256 of the payload, hex: the next entry's `prevHash`. */
  hash: string;
  jobId: string;
  epoch: number;
  /** The entry's place in the ledger, from 0; without an entry, the place the next one will take. */
  seq: number;
  prevHash: string;
  entry: Entry | null;
  task: Task | null;
}

/** Makes and signs an announcement. */
export function createAnnouncement(
  content: Pick<Announcement, "jobId" | "epoch" | "seq" | "prevHash" | "entry" | "task">,
  key: KeyObject,
): Announcement {
  const { task } = content;
  const payload = encode([
    PROTOCOL_VERSION,
    fromHex(content.jobId),
    content.epoch,
    content.seq,
    fromHex(content.prevHash),
    content.entry === null ? null : entryTuple(content.entry),
    task === null
      ? null
      : [task.step, task.groups.map(({ g, m, batch }) => [g, m, batch]), task.epsilonLog2, ESTIMATORS.indexOf(task.estimator)],
  ]);
  const signature = signPayload(payload, key);
  return { ...content, bytes: encode([payload, signature]), payload, signature, hash: sha256Hex(payload) };
}

export type ParsedAnnouncement =
  | { ok: true; announcement: Announcement }
  | { ok: false; code: "too-large" | "malformed" | "wrong-schema" | "wrong-version" };

/** Reads an announcement's bytes: size, codec, schema. The signature is NOT checked here: see `verifyAnnouncement`. */
export function parseAnnouncement(bytes: Uint8Array): ParsedAnnouncement {
  const outer = decode(bytes, LIMITS.announcementBytesMax);
  if (!outer.ok) return outer;
  const envelope = envelopeTuple.safeParse(outer.value);
  if (!envelope.success) return { ok: false, code: "wrong-schema" };
  const [payload, signature] = envelope.data.map((part) => Uint8Array.from(part)) as [Uint8Array, Uint8Array];
  const inner = decode(payload, LIMITS.announcementBytesMax);
  if (!inner.ok) return inner;
  if (Array.isArray(inner.value) && inner.value[0] !== PROTOCOL_VERSION) return { ok: false, code: "wrong-version" };
  const parsed = payloadTuple.safeParse(inner.value);
  if (!parsed.success) return { ok: false, code: "wrong-schema" };
  const [, jobId, epoch, seq, prevHash, entry, task] = parsed.data;
  return {
    ok: true,
    announcement: {
      bytes: Uint8Array.from(bytes),
      payload,
      signature,
      hash: sha256Hex(payload),
      jobId: toHex(jobId),
      epoch,
      seq,
      prevHash: toHex(prevHash),
      entry,
      task,
    },
  };
}

/** Whether the job's commit key signed these bytes. */
export function verifyAnnouncement(announcement: Announcement, commitKey: KeyObject): boolean {
  return verifyPayload(announcement.payload, announcement.signature, commitKey);
}

/** How many slots a task has: the directions of all its groups, in order. Slot index = directions of earlier groups + k. */
export function slotsOf(groups: readonly { m: number }[]): number {
  return groups.reduce((n, group) => n + 2 ** group.m, 0);
}
