/**
 * What a ledger may say: the entries, their tuples on the wire and their schema, together (shared/spec/ledger.md).
 * Coefficients travel packed little-endian with a width byte; everything else is plain msgpack.
 */
import * as z from "zod";
import type { GroupCommit } from "../zo/commit.ts";
import { LIMITS } from "./limits.ts";
import { packRuns, unpackRuns } from "./runs.ts";

export const u32 = z.int().min(0).max(0xffffffff);
export const stepNumber = z.int().min(0).max(0xfffffffe);
export const bytes32 = z.instanceof(Uint8Array).refine((b) => b.byteLength === 32, "32 bytes");
/** -1 is the initial state, before any step. */
const stateStep = z.int().min(-1).max(0xfffffffe);
const finite = z.number();
/** Text that a terminal and a page will show: printable, bounded. */
export const shownText = (charactersMax: number) =>
  z
    .string()
    .max(charactersMax)
    .regex(/^[\P{C}]*$/u, "printable characters only");
export const peerIdText = z.string().regex(/^[1-9A-HJ-NP-Za-km-z]{20,80}$/, "a peer id in base58");

/** Packs coefficients in the narrowest of 1, 2 or 4 bytes each, little-endian (spec 5). */
export function packCoefficients(a: ArrayLike<number>): { width: 1 | 2 | 4; bytes: Uint8Array } {
  let largest = 0;
  for (let k = 0; k < a.length; k++) largest = Math.max(largest, Math.abs(a[k] ?? 0));
  const width = largest <= 0x7f ? 1 : largest <= 0x7fff ? 2 : 4;
  const bytes = new Uint8Array(a.length * width);
  const view = new DataView(bytes.buffer);
  for (let k = 0; k < a.length; k++) {
    const v = a[k] ?? 0;
    if (width === 1) view.setInt8(k, v);
    else if (width === 2) view.setInt16(k * 2, v, true);
    else view.setInt32(k * 4, v, true);
  }
  return { width, bytes };
}

function unpackCoefficients(width: 1 | 2 | 4, bytes: Uint8Array): Int32Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Int32Array.from({ length: bytes.byteLength / width }, (_, k) =>
    width === 1 ? view.getInt8(k) : width === 2 ? view.getInt16(k * 2, true) : view.getInt32(k * 4, true),
  );
}

const groupTuple = z
  .tuple([z.int().min(0).max(0xffffff), z.int().min(0).max(16), z.int().min(-8).max(80), z.literal([1, 2, 4]), z.instanceof(Uint8Array)])
  .refine(([, m, , width, bytes]) => bytes.byteLength === width * 2 ** m, "2^m coefficients of the stated width")
  .transform(([g, m, p, width, bytes]): GroupCommit => ({ g, m, p, a: unpackCoefficients(width, bytes) }));

const groupsTuple = z
  .array(groupTuple)
  .min(1)
  .max(LIMITS.groupsPerStepMax)
  .refine((groups) => groups.every((group, i) => i === 0 || group.g > (groups[i - 1]?.g ?? -1)), "groups in ascending g, each once")
  .refine((groups) => groups.reduce((n, { m }) => n + 2 ** m, 0) <= LIMITS.directionsPerStepMax, "too many directions");

const contributorRuns = z.instanceof(Uint8Array).transform((bytes, context) => {
  const runs = unpackRuns(bytes);
  if (runs !== null) return runs;
  context.addIssue("runs of contributors");
  return z.NEVER;
});

const commitTuple = z
  .tuple([z.literal(0), stepNumber, groupsTuple, finite.nullable(), contributorRuns])
  .refine(
    ([, , groups, , runs]) => groups.reduce((n, g) => n + 2 ** g.m, 0) === runs.reduce((n, [, length]) => n + length, 0),
    "contributors cover every slot once",
  )
  .transform(([, step, groups, meanLoss, contributors]) => ({ kind: "commit" as const, step, groups, meanLoss, contributors }));

const rosterTuple = z
  .tuple([
    z.literal(1),
    z
      .array(z.tuple([peerIdText, shownText(LIMITS.nameCharactersMax)]))
      .min(1)
      .max(256),
  ])
  .transform(([, peers]) => ({ kind: "roster" as const, peers: peers.map(([peerId, name]) => ({ peerId, name })) }));

/** What was seen and why this was chosen, for people. */
const whyText = shownText(LIMITS.whyCharactersMax);

/** What steps are measured and made with: bounds that the manifest shares (manifest.ts). */
export const settingFields = {
  rate: z.number().positive().max(1e3),
  epsilonLog2: z.int().min(-24).max(0),
  groups: z.int().min(1).max(LIMITS.groupsPerStepMax),
  directionsLog2: z.int().min(0).max(16),
};

const rateTuple = z
  .tuple([
    ...([z.literal(2), settingFields.rate, settingFields.epsilonLog2, settingFields.groups, settingFields.directionsLog2] as const),
    z.boolean(),
    finite.positive().nullable(),
    whyText,
  ])
  .refine(([, , , groups, directionsLog2]) => groups * 2 ** directionsLog2 <= LIMITS.directionsPerStepMax, "too many directions")
  .transform(([, rate, epsilonLog2, groups, directionsLog2, probing, reference, why]) => ({
    kind: "rate" as const,
    rate,
    epsilonLog2,
    groups,
    directionsLog2,
    /** Steps by it are a trial: where they stand is left again. */
    probing,
    /** Rms of projected gradients below which steps are shorter (zo/estimate.ts); null where all are of one length. */
    reference,
    why,
  }));

const evaluationTuple = z
  .tuple([z.literal(3), stateStep, bytes32, finite, finite, u32])
  .transform(([, step, stateHash, loss, score, examples]) => ({
    kind: "evaluation" as const,
    step,
    stateHash: toHex(stateHash),
    loss,
    score,
    examples,
  }));

const restoreTuple = z
  .tuple([z.literal(4), stateStep, bytes32])
  .transform(([, step, stateHash]) => ({ kind: "restore" as const, step, stateHash: toHex(stateHash) }));

const epochTuple = z.tuple([z.literal(5), u32]).transform(([, epoch]) => ({ kind: "epoch" as const, epoch }));

/** Why a job ends before its last step. */
export const END_REASONS = ["target", "patience", "forwards", "diverged"] as const;

const endTuple = z
  .tuple([z.literal(6), z.enum(END_REASONS), whyText])
  .transform(([, reason, why]) => ({ kind: "end" as const, reason, why }));

export const entrySchema = z.union([commitTuple, rosterTuple, rateTuple, evaluationTuple, restoreTuple, epochTuple, endTuple]);
export type Entry = z.output<typeof entrySchema>;
export type CommitEntry = Extract<Entry, { kind: "commit" }>;

/** An entry's tuple, as it stands in a signed payload. */
export function entryTuple(entry: Entry): unknown[] {
  switch (entry.kind) {
    case "commit":
      return [
        0,
        entry.step,
        entry.groups.map(({ g, m, p, a }) => {
          const { width, bytes } = packCoefficients(a);
          return [g, m, p, width, bytes];
        }),
        entry.meanLoss,
        packRuns(entry.contributors),
      ];
    case "roster":
      return [1, entry.peers.map(({ peerId, name }) => [peerId, name])];
    case "rate": {
      const { rate, epsilonLog2, groups, directionsLog2, probing, reference, why } = entry;
      return [2, rate, epsilonLog2, groups, directionsLog2, probing, reference, why];
    }
    case "evaluation":
      return [3, entry.step, fromHex(entry.stateHash), entry.loss, entry.score, entry.examples];
    case "restore":
      return [4, entry.step, fromHex(entry.stateHash)];
    case "epoch":
      return [5, entry.epoch];
    case "end":
      return [6, entry.reason, entry.why];
  }
}

export function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("hex");
}

export function fromHex(hex: string): Uint8Array {
  return Uint8Array.from(Buffer.from(hex, "hex"));
}
