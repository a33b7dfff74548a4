/** What a snapshot holds comes back bit for bit, and whatever a peer changes in one is refused. */
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { zstdCompressSync } from "node:zlib";
import { afterAll, beforeEach, describe, expect, it } from "vitest";
import type { Parameters } from "../zo/kernel.ts";
import { LIM } from "../zo/lattice.ts";
import { commitOf, groupOf, kernelWith, readAll, sameBits, scattered, tensor } from "../zo/sample.ts";
import { loadSnapshot, snapshotBytesMax, writeSnapshot } from "./snapshot.ts";

/** 2 + 1 + 1 leaves, the second and the last ones short. */
const TENSORS = [tensor([70_000], 22), tensor([], 20), tensor([5, 13], 24)];
const LEAVES = 4;
const JOB = "ab".repeat(32);
const HASHES_AT = 48;
const FRAMES_AT = HASHES_AT + 32 * LEAVES;
const dir = mkdtempSync(join(tmpdir(), "zoswarm-snapshot-"));
afterAll(() => rmSync(dir, { recursive: true }));

const initial = TENSORS.map(({ shape }, t) =>
  scattered(
    shape.reduce((n, d) => n * d, 1),
    t,
    2 ** 20,
  ),
);
const initialFile = join(dir, "initial");
const file = join(dir, "snapshot");
writeFileSync(initialFile, Buffer.concat(initial.map((x) => new Uint8Array(x.buffer, x.byteOffset, x.byteLength))));

let trained: Parameters;
let written: { stateHash: string; bytes: number };
beforeEach(() => {
  trained = kernelWith(TENSORS, initial);
  trained.replay([commitOf(0, groupOf(0, 4, 34)), commitOf(1, groupOf(0, 4, 34))]);
  written = writeSnapshot({ parameters: trained, initialFile }, { jobId: JOB, step: 7 }, file);
});

const load = (parameters: Parameters, over: { jobId?: string; step?: number; stateHash?: string } = {}) =>
  loadSnapshot({ parameters, initialFile }, { jobId: JOB, step: 7, stateHash: written.stateHash, ...over }, file);
const loadFresh = (over = {}) => load(kernelWith(TENSORS, initial), over);
const refused = (why: RegExp) => ({ ok: false, code: "wrong-snapshot", message: expect.stringMatching(why) });

/** Writes the file again with other bytes in it. */
function change(edit: (bytes: Buffer) => Uint8Array | undefined): void {
  const bytes = readFileSync(file);
  writeFileSync(file, edit(bytes) ?? bytes);
}

/** The file with another first leaf's frame. */
function withFrame(frame: Uint8Array): void {
  change((bytes) => {
    const length = bytes.readUInt32LE(FRAMES_AT + 1);
    const header = Buffer.from(bytes.subarray(FRAMES_AT, FRAMES_AT + 5));
    header.writeUInt32LE(frame.byteLength, 1);
    return Buffer.concat([bytes.subarray(0, FRAMES_AT), header, frame, bytes.subarray(FRAMES_AT + 5 + length)]);
  });
}

it("brings the state back bit for bit, whatever stood there, in fewer bytes than it has", () => {
  expect(written).toEqual({ stateHash: trained.stateHash(), bytes: statSync(file).size });
  expect(written.bytes).toBeLessThan(0.7 * 4 * 70_066);
  expect(written.bytes).toBeLessThan(snapshotBytesMax(TENSORS));
  const other = kernelWith(TENSORS, initial);
  other.replay([commitOf(2, groupOf(0, 3, 30))]);
  expect(load(other)).toEqual({ ok: true });
  expect(sameBits(readAll(other), readAll(trained))).toBe(true);
});

it("keeps plain values where a difference would be larger, to the ends of the lattice", () => {
  const x = TENSORS.map(({ shape }) => new Int32Array(shape.reduce((n, d) => n * d, 1)).map((_, i) => (i % 2 === 0 ? LIM : -LIM)));
  const plain = kernelWith(TENSORS, x);
  const far = writeSnapshot({ parameters: plain, initialFile }, { jobId: JOB, step: 7 }, file);
  expect(readFileSync(file)[FRAMES_AT]).toBe(1);
  const other = kernelWith(TENSORS, initial);
  expect(load(other, { stateHash: far.stateHash })).toEqual({ ok: true });
  expect(sameBits(readAll(other), x)).toBe(true);
});

describe("refuses", () => {
  it("another job's, another step's and another state's", () => {
    expect(loadFresh({ jobId: "cd".repeat(32) })).toEqual(refused(/another job/));
    expect(loadFresh({ step: 8 })).toEqual(refused(/another step/));
    expect(loadFresh({ stateHash: "cd".repeat(32) })).toEqual(refused(/do not give the state hash/));
  });

  it("a wrong leaf hash before it decodes anything", () => {
    change((bytes) => {
      bytes[HASHES_AT + 40] = (bytes[HASHES_AT + 40] as number) ^ 1;
      return undefined;
    });
    const parameters = kernelWith(TENSORS, initial);
    expect(load(parameters)).toEqual(refused(/do not give the state hash/));
    expect(sameBits(readAll(parameters), initial)).toBe(true);
  });

  it("a well-formed leaf with other values", () => {
    withFrame(zstdCompressSync(new Uint8Array(4 * 65_536)));
    expect(loadFresh()).toEqual(refused(/leaf 0 is not the one/));
  });

  it("a leaf that would unpack to more than its place", () => {
    withFrame(zstdCompressSync(new Uint8Array(2 ** 28)));
    const before = process.memoryUsage().rss;
    expect(loadFresh()).toEqual(refused(/leaf 0 cannot be decoded/));
    expect(process.memoryUsage().rss - before).toBeLessThan(2 ** 26);
  });

  it("a leaf that unpacks to less, or is no zstd at all", () => {
    withFrame(zstdCompressSync(new Uint8Array(8)));
    expect(loadFresh()).toEqual(refused(/leaf 0 cannot be decoded/));
    withFrame(new Uint8Array(100));
    expect(loadFresh()).toEqual(refused(/leaf 0 cannot be decoded/));
  });

  it("a frame that claims more bytes than any honest one, and a kind that does not exist", () => {
    change((bytes) => {
      bytes.writeUInt32LE(0xffffffff, FRAMES_AT + 1);
      return undefined;
    });
    expect(loadFresh()).toEqual(refused(/leaf 0 is cut short or malformed/));
    change((bytes) => {
      bytes[FRAMES_AT] = 2;
      return undefined;
    });
    expect(loadFresh()).toEqual(refused(/leaf 0 is cut short or malformed/));
  });

  it("a file that is cut short anywhere, and one with bytes behind its end", () => {
    const whole = readFileSync(file);
    for (const length of [0, 7, 47, HASHES_AT + 1, FRAMES_AT, FRAMES_AT + 5, FRAMES_AT + 100, whole.byteLength - 1]) {
      writeFileSync(file, whole.subarray(0, length));
      expect(loadFresh()).toMatchObject({ ok: false, code: "wrong-snapshot" });
    }
    writeFileSync(file, Buffer.concat([whole, Buffer.of(0)]));
    expect(loadFresh()).toEqual(refused(/bytes behind its end/));
  });

  it("a file that is gone", () => {
    rmSync(file);
    expect(loadFresh()).toEqual(refused(/cannot be read/));
  });

  it("another number of leaves", () => {
    change((bytes) => {
      bytes.writeUInt32LE(0xffffffff, HASHES_AT - 4);
      return undefined;
    });
    expect(loadFresh()).toEqual(refused(/number of leaves/));
  });
});
