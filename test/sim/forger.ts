/** A hostile peer's announcements: bytes with a flaw, or an entry of its own signed with a key of its own. */
import { createAnnouncement, parseAnnouncement } from "@zoswarm/shared/protocol/announcement";
import { commitKeyOf, HASH } from "@zoswarm/shared/protocol/announcement.testing";
import type { Random } from "./random.ts";

/** Makes a forgery of what has just been announced. `signed`: with the job's key after all, as if nobody looked at signatures. */
export function createForger(random: Random, signed: boolean): (announcement: Uint8Array) => Uint8Array {
  const { key } = commitKeyOf(signed ? 1 : 2);
  return (bytes) => {
    const read = parseAnnouncement(bytes);
    if (!read.ok || random.chance(0.5)) {
      const flawed = Uint8Array.from(bytes);
      const at = random.whole(0, bytes.byteLength - 1);
      flawed[at] = (flawed[at] as number) ^ (1 << random.whole(0, 7));
      return flawed;
    }
    const { jobId, epoch, seq, prevHash, hash } = read.announcement;
    const entry = { kind: "evaluation" as const, step: -1, stateHash: HASH, loss: 0, score: 0, examples: 1 };
    // Half of them follow what was announced, half replace it.
    const next = random.chance(0.5);
    return createAnnouncement({ jobId, epoch, seq: next ? seq + 1 : seq, prevHash: next ? hash : prevHash, entry, task: null }, key).bytes;
  };
}
