/**
 * Frames on the worker-dialled session stream: schema and type together (shared/spec/session.md).
 * Array tuples, the first element says which; nothing here has an effect before it is validated.
 */
import * as z from "zod";
import { decode, encode } from "./codec.ts";
import { RESULT_CODES, SESSION_CODES } from "./codes.ts";
import { bytes32, fromHex, shownText, stepNumber, toHex, u32 } from "./entries.ts";
import { LIMITS } from "./limits.ts";

const checkpoint = z
  .tuple([z.int().min(-1).max(0xfffffffe), bytes32])
  .transform(([step, stateHash]) => ({ step, stateHash: toHex(stateHash) }))
  .nullable();
export type Checkpoint = NonNullable<z.output<typeof checkpoint>>;

export const WORKER_STATES = ["joining", "syncing", "ready", "evaluating", "paused", "diverged"] as const;
export type WorkerState = (typeof WORKER_STATES)[number];

const hello = z
  .tuple([
    z.literal(0),
    z.int().min(0).max(65_535),
    bytes32.nullable(),
    shownText(LIMITS.nameCharactersMax),
    shownText(LIMITS.deviceCharactersMax),
    z.int().min(1).max(1024),
    z.int().min(0).max(65_535),
  ])
  .transform(([, version, jobId, name, device, threads, port]) => ({
    kind: "hello" as const,
    version,
    jobId: jobId && toHex(jobId),
    name,
    device,
    threads,
    /** Where others may download the job from this worker, at the address it is seen from; 0: nowhere. */
    port,
  }));

const lossTriple = z.tuple([
  z
    .int()
    .min(0)
    .max(LIMITS.directionsPerStepMax - 1),
  z.number().nullable(),
  z.number().nullable(),
]);

const result = z
  .tuple([
    z.literal(1),
    stepNumber,
    u32,
    bytes32,
    checkpoint,
    z.array(lossTriple).min(1).max(LIMITS.directionsPerStepMax),
    z.int().min(0).max(3_600_000),
  ])
  .transform(([, step, assignment, head, checkpoint, losses, elapsedMs]) => ({
    kind: "result" as const,
    step,
    assignment,
    head: toHex(head),
    checkpoint,
    losses: losses.map(([slot, plus, minus]) => ({ slot, plus, minus })),
    elapsedMs,
  }));

const heartbeat = z
  .tuple([
    z.literal(2),
    u32,
    z
      .int()
      .min(0)
      .max(WORKER_STATES.length - 1),
    checkpoint,
  ])
  .transform(([, nextSeq, state, checkpoint]) => ({
    kind: "heartbeat" as const,
    nextSeq,
    state: WORKER_STATES[state] as WorkerState,
    checkpoint,
  }));

const proof = z
  .tuple([z.literal(3), z.instanceof(Uint8Array).refine((b) => b.byteLength <= LIMITS.announcementBytesMax)])
  .transform(([, announcement]) => ({ kind: "proof" as const, announcement: Uint8Array.from(announcement) as Uint8Array }));

const fromWorker = z.union([hello, result, heartbeat, proof]);
/** A frame a worker sends. A loss is null where it was not finite; `minus` is null for a one-sided measurement. */
export type WorkerFrame = z.output<typeof fromWorker>;
export type ResultFrame = Extract<WorkerFrame, { kind: "result" }>;

const welcome = z
  .tuple([
    z.literal(0),
    z.instanceof(Uint8Array).refine((b) => b.byteLength <= LIMITS.manifestBytesMax),
    u32,
    z.array(shownText(LIMITS.donorCharactersMax)).max(LIMITS.donorsMax),
    u32,
  ])
  .transform(([, manifest, nextSeq, donors, epoch]) => ({
    kind: "welcome" as const,
    manifest: Uint8Array.from(manifest) as Uint8Array,
    nextSeq,
    /** Multiaddrs of workers that have what the coordinator has. */
    donors,
    /** The coordinator's own; a worker that knows a higher one proves it and leaves. */
    epoch,
  }));

/** Multiaddrs of who takes over if this coordinator is lost. */
const standbys = z
  .tuple([z.literal(5), z.array(shownText(LIMITS.donorCharactersMax)).max(LIMITS.standbyAddressesMax)])
  .transform(([, addresses]) => ({ kind: "standbys" as const, addresses }));

const slots = z
  .tuple([
    z.literal(1),
    u32,
    stepNumber,
    stepNumber.nullable(),
    z.int().min(1).max(3_600_000),
    z
      .array(
        z.tuple([
          z
            .int()
            .min(0)
            .max(LIMITS.directionsPerStepMax - 1),
          z.int().min(1).max(LIMITS.directionsPerStepMax),
        ]),
      )
      .max(LIMITS.slotRunsMax)
      .refine((runs) =>
        runs.every(([start, count], i) => start >= (i === 0 ? 0 : sumOf(runs[i - 1])) && start + count <= LIMITS.directionsPerStepMax),
      ),
  ])
  .transform(([, version, fromStep, toStep, deadlineMs, runs]) => ({
    kind: "slots" as const,
    version,
    fromStep,
    /** The last step it is for: then on top of the others. Null: of all steps from `fromStep` on, in the place of earlier ones. */
    toStep,
    deadlineMs,
    runs,
  }));

const repair = z
  .tuple([z.literal(2), z.instanceof(Uint8Array).refine((b) => b.byteLength <= LIMITS.announcementBytesMax)])
  .transform(([, announcement]) => ({ kind: "repair" as const, announcement: Uint8Array.from(announcement) as Uint8Array }));

const verdict = z
  .tuple([
    z.literal(3),
    stepNumber,
    z
      .int()
      .min(0)
      .max(RESULT_CODES.length - 1),
    z.int().min(0),
  ])
  .transform(([, step, code, accepted]) => ({ kind: "verdict" as const, step, code: RESULT_CODES[code] ?? RESULT_CODES[0], accepted }));

const farewell = z
  .tuple([
    z.literal(4),
    z
      .int()
      .min(0)
      .max(SESSION_CODES.length - 1),
    shownText(512),
  ])
  .transform(([, code, message]) => ({ kind: "farewell" as const, code: SESSION_CODES[code] ?? SESSION_CODES[0], message }));

const fromCoordinator = z.union([welcome, slots, repair, verdict, farewell, standbys]);
/** A frame the coordinator sends. */
export type CoordinatorFrame = z.output<typeof fromCoordinator>;

function sumOf(run: [number, number] | undefined): number {
  return run ? run[0] + run[1] : 0;
}

const checkpointTuple = (c: Checkpoint | null) => c && [c.step, fromHex(c.stateHash)];

export function encodeWorkerFrame(frame: WorkerFrame): Uint8Array {
  switch (frame.kind) {
    case "hello":
      return encode([0, frame.version, frame.jobId && fromHex(frame.jobId), frame.name, frame.device, frame.threads, frame.port]);
    case "result":
      return encode([
        1,
        frame.step,
        frame.assignment,
        fromHex(frame.head),
        checkpointTuple(frame.checkpoint),
        frame.losses.map(({ slot, plus, minus }) => [slot, plus, minus]),
        frame.elapsedMs,
      ]);
    case "heartbeat":
      return encode([2, frame.nextSeq, WORKER_STATES.indexOf(frame.state), checkpointTuple(frame.checkpoint)]);
    case "proof":
      return encode([3, frame.announcement]);
  }
}

export function encodeCoordinatorFrame(frame: CoordinatorFrame): Uint8Array {
  switch (frame.kind) {
    case "welcome":
      return encode([0, frame.manifest, frame.nextSeq, frame.donors, frame.epoch]);
    case "slots":
      return encode([1, frame.version, frame.fromStep, frame.toStep, frame.deadlineMs, frame.runs]);
    case "repair":
      return encode([2, frame.announcement]);
    case "verdict":
      return encode([3, frame.step, RESULT_CODES.indexOf(frame.code), frame.accepted]);
    case "farewell":
      return encode([4, SESSION_CODES.indexOf(frame.code), frame.message]);
    case "standbys":
      return encode([5, frame.addresses]);
  }
}

export type ParsedFrame<F> = { ok: true; frame: F } | { ok: false; code: "too-large" | "malformed" | "wrong-schema" };

export function parseWorkerFrame(bytes: Uint8Array): ParsedFrame<WorkerFrame> {
  return parse(bytes, LIMITS.sessionFrameFromWorkerBytesMax, fromWorker);
}

export function parseCoordinatorFrame(bytes: Uint8Array): ParsedFrame<CoordinatorFrame> {
  return parse(bytes, LIMITS.sessionFrameFromCoordinatorBytesMax, fromCoordinator);
}

function parse<F>(bytes: Uint8Array, bytesMax: number, schema: z.ZodType<F>): ParsedFrame<F> {
  const decoded = decode(bytes, bytesMax);
  if (!decoded.ok) return decoded;
  const parsed = schema.safeParse(decoded.value);
  return parsed.success ? { ok: true, frame: parsed.data } : { ok: false, code: "wrong-schema" };
}
