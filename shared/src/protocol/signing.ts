/** Ed25519 with the job's own commit key, which is never the peer key (shared/spec/ledger.md). Signs the exact payload bytes. */
import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, sign, verify } from "node:crypto";

const DOMAIN = new TextEncoder().encode("zoswarm/announce/1");
/** The fixed DER prefix of an Ed25519 SubjectPublicKeyInfo; the 32 key bytes follow (RFC 8410). */
const SPKI_PREFIX = Buffer.from("302a300506032b6570032100", "hex");

/** A commit key: the private half as PKCS#8 PEM for its file, the public half as 64 hex digits for the manifest. */
export function createCommitKey(): { privatePem: string; publicHex: string } {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  return { privatePem: privateKey.export({ type: "pkcs8", format: "pem" }).toString(), publicHex: publicHexOf(publicKey) };
}

/** Reads a private commit key from PEM. Throws on anything that is no Ed25519 key. */
export function readCommitKey(pem: string): { key: KeyObject; publicHex: string } {
  const key = createPrivateKey(pem);
  if (key.asymmetricKeyType !== "ed25519") throw new Error(`the commit key is of type ${key.asymmetricKeyType}, not ed25519`);
  return { key, publicHex: publicHexOf(createPublicKey(key)) };
}

/** Makes the key object that verifies announcements from the manifest's 64 hex digits. */
export function commitVerifier(publicHex: string): KeyObject {
  return createPublicKey({ key: Buffer.concat([SPKI_PREFIX, Buffer.from(publicHex, "hex")]), format: "der", type: "spki" });
}

/** The 64-byte signature over "zoswarm/announce/1" || payload. */
export function signPayload(payload: Uint8Array, key: KeyObject): Uint8Array {
  return Uint8Array.from(sign(null, Buffer.concat([DOMAIN, payload]), key));
}

/** Whether `signature` is the commit key's over these very bytes. Never throws. */
export function verifyPayload(payload: Uint8Array, signature: Uint8Array, key: KeyObject): boolean {
  return signature.byteLength === 64 && verify(null, Buffer.concat([DOMAIN, payload]), key, signature);
}

export function sha256(bytes: Uint8Array): Uint8Array {
  return Uint8Array.from(createHash("sha256").update(bytes).digest());
}

export function sha256Hex(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

function publicHexOf(key: KeyObject): string {
  return key.export({ type: "spki", format: "der" }).subarray(SPKI_PREFIX.length).toString("hex");
}
