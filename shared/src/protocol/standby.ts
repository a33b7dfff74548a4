/** What a standby asks of its coordinator, and the answers: schema and type together (shared/spec/standby.md). */
import * as z from "zod";
import { decode, encode } from "./codec.ts";
import { shownText, u32 } from "./entries.ts";
import { LIMITS } from "./limits.ts";

/** A file of a job's folder by its path in it: no way leads out. */
const fileName = z.string().regex(/^(blobs\/)?[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/, "a file of a job's folder");
const fileSize = z.int().min(0).max(Number.MAX_SAFE_INTEGER);

const greet = z
  .tuple([z.literal(0), z.int().min(1).max(65_535), z.array(shownText(LIMITS.donorCharactersMax)).max(LIMITS.standbyAddressesMax)])
  .transform(([, port, addresses]) => ({ kind: "greet" as const, port, addresses }));
const chunk = z.tuple([z.literal(1), fileName, fileSize]).transform(([, name, offset]) => ({ kind: "chunk" as const, name, offset }));
const follow = z.tuple([z.literal(2), u32]).transform(([, nextSeq]) => ({ kind: "follow" as const, nextSeq }));

const request = z.union([greet, chunk, follow]);
/**
 * `greet`: where workers will find it once it is promoted; answered with the folder's files. `chunk`: a piece of one. `follow`: the
 * standby has everything before `nextSeq` on its disk; answered with what comes then, after a wait where that is nothing yet,
 * or with "not-found" where the job is finished.
 */
export type StandbyRequest = z.output<typeof request>;

export interface StandbyFile {
  name: string;
  bytes: number;
}

export function encodeStandbyRequest(asked: StandbyRequest): Uint8Array {
  switch (asked.kind) {
    case "greet":
      return encode([0, asked.port, asked.addresses]);
    case "chunk":
      return encode([1, asked.name, asked.offset]);
    case "follow":
      return encode([2, asked.nextSeq]);
  }
}

/** Null where a peer's bytes are no request. */
export function parseStandbyRequest(bytes: Uint8Array): StandbyRequest | null {
  const decoded = decode(bytes, LIMITS.standbyRequestBytesMax);
  const parsed = decoded.ok ? request.safeParse(decoded.value) : null;
  return parsed?.success ? parsed.data : null;
}

const files = z
  .array(z.tuple([fileName, fileSize]).transform(([name, bytes]): StandbyFile => ({ name, bytes })))
  .max(LIMITS.standbyFilesMax);

export function encodeStandbyFiles(all: readonly StandbyFile[]): Uint8Array {
  return encode(all.map(({ name, bytes }) => [name, bytes]));
}

/** Null where the coordinator's bytes are no list of files. */
export function parseStandbyFiles(bytes: Uint8Array): StandbyFile[] | null {
  const decoded = decode(bytes, LIMITS.standbyAnswerBytesMax);
  const parsed = decoded.ok ? files.safeParse(decoded.value) : null;
  return parsed?.success ? parsed.data : null;
}
