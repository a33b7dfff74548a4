import fc from "fast-check";
import { Packr, pack } from "msgpackr";
import { describe, expect, it } from "vitest";
import { parseAnnouncement } from "./announcement.ts";
import { decode, encode } from "./codec.ts";
import { LIMITS } from "./limits.ts";
import { encodeWorkerFrame, parseCoordinatorFrame, parseWorkerFrame } from "./messages.ts";

describe("decode", () => {
  it("gives back tuples of what messages are made of", () => {
    const value = [0, 1.5, -7, "ada", null, Uint8Array.of(1, 2), [[1, 2], []]];
    const decoded = decode(encode(value), 1000);
    expect(
      decoded.ok && Array.isArray(decoded.value) && decoded.value.map((part) => (part instanceof Uint8Array ? [...part] : part)),
    ).toEqual([...value.slice(0, 5), [1, 2], value[6]]);
  });

  it("refuses what is too large before it looks at it", () => {
    expect(decode(new Uint8Array(11).fill(0xc1), 10)).toEqual({ ok: false, code: "too-large" });
  });

  it("refuses every extension type, in every length that msgpack has for one", () => {
    for (let type = 0; type < 256; type++) {
      for (const [head, length] of [
        [[0xd4], 1],
        [[0xd5], 2],
        [[0xd6], 4],
        [[0xd7], 8],
        [[0xd8], 16],
        [[0xc7, 3], 3],
        [[0xc8, 0, 3], 3],
      ] as const) {
        const bytes = Uint8Array.from([0x91, ...head, type, ...new Uint8Array(length).fill(0x40)]);
        expect(decode(bytes, 100), `type ${type}, head ${head}`).toMatchObject({ ok: false, code: "malformed" });
      }
    }
  });

  it("refuses dates, sets, regular expressions, errors and records as msgpackr itself writes them", () => {
    for (const value of [new Date(), new Set([1]), /a/, new Error("x")])
      expect(decode(new Packr({ moreTypes: true }).pack([value]), 1000)).toMatchObject({ ok: false });
    expect(decode(new Packr({ useRecords: true }).pack([{ a: 1 }]), 1000)).toMatchObject({ ok: false });
    // A record's definition must not change what a later message's small integers mean.
    expect(decode(encode([64, 65]), 1000)).toEqual({ ok: true, value: [64, 65] });
  });

  it("refuses maps, depths that no message has, and lengths that are not there", () => {
    expect(decode(pack({ a: 1 }), 1000)).toEqual({ ok: false, code: "malformed" });
    expect(decode(new Uint8Array(500_000).fill(0x91), 1_000_000)).toEqual({ ok: false, code: "malformed" });
    for (const head of [0xdd, 0xc6, 0xdb])
      expect(decode(Uint8Array.of(head, 255, 255, 255, 255), 1000)).toEqual({ ok: false, code: "malformed" });
  });

  it("refuses bytes after the value, and a value that is cut short", () => {
    const whole = pack([1, 2, 3]);
    expect(decode(Buffer.concat([whole, whole]), 1000)).toEqual({ ok: false, code: "malformed" });
    for (let length = 0; length < whole.length; length++) expect(decode(whole.subarray(0, length), 1000)).toMatchObject({ ok: false });
  });
});

describe("parsers", () => {
  it("answer any bytes with a code, and never throw", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        for (const parse of [parseWorkerFrame, parseCoordinatorFrame, parseAnnouncement]) expect(parse(bytes).ok).toBe(false);
      }),
      { seed: 20_240_601, numRuns: 2000 },
    );
  });

  it("answer any tuple with a code or a frame of a known kind", () => {
    const leaf = fc.oneof(fc.integer(), fc.double(), fc.string(), fc.constant(null), fc.uint8Array({ minLength: 30, maxLength: 34 }));
    fc.assert(
      fc.property(fc.integer({ min: -1, max: 6 }), fc.array(fc.oneof(leaf, fc.array(leaf)), { maxLength: 7 }), (kind, rest) => {
        const parsed = parseWorkerFrame(encode([kind, ...rest]));
        if (parsed.ok) expect(["hello", "result", "heartbeat"]).toContain(parsed.frame.kind);
        else expect(parsed.code).toBe("wrong-schema");
      }),
      { seed: 20_240_601, numRuns: 2000 },
    );
  });

  it("take the largest result that a step allows, which a session can send at once", () => {
    const losses = Array.from({ length: LIMITS.directionsPerStepMax }, (_, slot) => ({ slot, plus: Math.LN2, minus: Math.E }));
    const hash = "f".repeat(64);
    const bytes = encodeWorkerFrame({
      kind: "result",
      step: 0xfffffffe,
      assignment: 0xffffffff,
      head: hash,
      checkpoint: { step: 0xfffffffe, stateHash: hash },
      losses,
      elapsedMs: 3_600_000,
    });
    expect(bytes.byteLength).toBeLessThanOrEqual(Math.min(LIMITS.sessionFrameFromWorkerBytesMax, LIMITS.sendQueueBytesMax));
    expect(parseWorkerFrame(bytes)).toMatchObject({ ok: true, frame: { step: 0xfffffffe, losses: { length: losses.length } } });
  });

  it("refuse frames above their limits unread", () => {
    expect(parseWorkerFrame(new Uint8Array(LIMITS.sessionFrameFromWorkerBytesMax + 1))).toEqual({ ok: false, code: "too-large" });
    expect(parseAnnouncement(new Uint8Array(LIMITS.announcementBytesMax + 1))).toEqual({ ok: false, code: "too-large" });
  });
});
