/**
 * A node's persistent peer key: Ed25519, in a file that only its owner may read.
 * It names the node on the network and is never the key that signs a job's announcements. It is never overwritten.
 */
import { randomBytes } from "node:crypto";
import { chmod, mkdir, open, readFile, rename, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { generateKeyPair, privateKeyFromProtobuf, privateKeyToProtobuf } from "@libp2p/crypto/keys";
import type { PrivateKey } from "@libp2p/interface";

export const PEER_KEY_CODES = ["key-unreadable", "key-damaged", "key-unwritable"] as const;
export type PeerKeyCode = (typeof PEER_KEY_CODES)[number];

export type LoadedPeerKey =
  | {
      ok: true;
      privateKey: PrivateKey;
      created: boolean /** Others than the owner may read the file: worth a warning. */;
      tooOpen: boolean;
    }
  | { ok: false; code: PeerKeyCode; message: string };

/** A key file is a protobuf of 68 bytes; anything much longer is something else. */
const KEY_FILE_BYTES_MAX = 1024;

/** Reads the peer key, or makes one (mode 0600, written beside the file and renamed, so that a crash leaves no half key). */
export async function loadPeerKey(file: string): Promise<LoadedPeerKey> {
  let bytes: Uint8Array;
  let mode: number;
  try {
    const info = await stat(file);
    mode = info.mode;
    if (!info.isFile()) return unreadable(file, "it is no file");
    if (info.size > KEY_FILE_BYTES_MAX) return damaged(file, `it has ${info.size} bytes, a key has 68`);
    bytes = await readFile(file);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") return await createPeerKey(file);
    return unreadable(file, message);
  }
  try {
    const privateKey = privateKeyFromProtobuf(bytes);
    if (privateKey.type !== "Ed25519") return damaged(file, `it holds a key of type ${privateKey.type}, not Ed25519`);
    return { ok: true, privateKey, created: false, tooOpen: process.platform !== "win32" && (mode & 0o077) !== 0 };
  } catch {
    return damaged(file, `its ${bytes.byteLength} bytes are no peer key`);
  }
}

async function createPeerKey(file: string): Promise<LoadedPeerKey> {
  const privateKey = await generateKeyPair("Ed25519");
  const temporary = `${file}.${randomBytes(6).toString("hex")}.new`;
  try {
    await mkdir(dirname(file), { recursive: true });
    const handle = await open(temporary, "wx", 0o600);
    try {
      await handle.writeFile(privateKeyToProtobuf(privateKey));
      await handle.sync();
    } finally {
      await handle.close();
    }
    // The umask may have taken bits away, never added any; some network disks ignore the mode of open.
    await chmod(temporary, 0o600);
    await rename(temporary, file);
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => {});
    return {
      ok: false,
      code: "key-unwritable",
      message: `peer key: cannot write ${file} (${(error as Error).message}); free some space or name a folder this user may write to`,
    };
  }
  return { ok: true, privateKey, created: true, tooOpen: false };
}

function unreadable(file: string, why: string): LoadedPeerKey {
  return {
    ok: false,
    code: "key-unreadable",
    message: `peer key: cannot read ${file} (${why}); give this user read access, or name another file`,
  };
}

function damaged(file: string, why: string): LoadedPeerKey {
  return {
    ok: false,
    code: "key-damaged",
    message: `peer key: ${file} is damaged (${why}); restore it from a backup, or move it away and a new peer id is made`,
  };
}
