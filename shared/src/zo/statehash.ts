/** The state hash: a SHA-256 tree over the int32 little-endian X of all tensors (shared/spec/arithmetic.md 6). */
import { createHash } from "node:crypto";

/** Elements of one leaf. */
export const LEAF = 65536;

/** The hash of one leaf: up to 65536 elements of one tensor. The machines we run on are little-endian, as WebAssembly is. */
export function leafHash(x: Int32Array): Buffer {
  return createHash("sha256")
    .update(new Uint8Array(x.buffer, x.byteOffset, x.byteLength))
    .digest();
}

/** The root over the leaves of all tensors, in order, as 64 hex digits. An odd last node moves up unchanged. */
export function rootHash(leaves: readonly Buffer[]): string {
  let level = [...leaves];
  while (level.length > 1) {
    const up: Buffer[] = [];
    for (let i = 0; i < level.length; i += 2) {
      const left = level[i] as Buffer;
      const right = level[i + 1];
      up.push(right === undefined ? left : createHash("sha256").update(left).update(right).digest());
    }
    level = up;
  }
  return (level[0] ?? createHash("sha256").digest()).toString("hex");
}

/** The state hash of parameters held as Int32Array. */
export function stateHash(tensors: readonly Int32Array[]): string {
  const leaves: Buffer[] = [];
  for (const x of tensors) for (let i = 0; i < x.length; i += LEAF) leaves.push(leafHash(x.subarray(i, i + LEAF)));
  return rootHash(leaves);
}
