import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { generateKeyPair } from "@libp2p/crypto/keys";
import { afterEach, expect, test } from "vitest";
import { loadPeerKey } from "./identity.ts";
import { loopbackNode, stopLater } from "./loopback.ts";
import { createNode } from "./node.ts";

const { keep, stopAll } = stopLater();
afterEach(stopAll);

test("a taken port is a value that names the port", async () => {
  const first = keep(await loopbackNode("coordinator"));
  const port = Number(/tcp\/(\d+)/.exec(first.addresses()[0] ?? "")?.[1]);
  const second = await createNode({
    role: "coordinator",
    privateKey: await generateKeyPair("Ed25519"),
    listen: [`/ip4/127.0.0.1/tcp/${port}`],
  });
  expect(second).toMatchObject({ ok: false, code: "port-in-use", port, message: expect.stringContaining(String(port)) });
  const foreign = await createNode({ role: "coordinator", privateKey: await generateKeyPair("Ed25519"), listen: ["/ip4/192.0.2.1/tcp/0"] });
  expect(foreign).toMatchObject({ ok: false, code: "address-unusable" });
});

test("a node names the addresses that reach it, and stops twice without harm", async () => {
  const node = await loopbackNode("coordinator");
  expect(node.addresses()).toEqual([expect.stringMatching(new RegExp(`^/ip4/127\\.0\\.0\\.1/tcp/\\d+/p2p/${node.peerId}$`))]);
  await node.stop();
  await node.stop();
});

test("the peer key is made once with mode 0600 and found again", async () => {
  const dir = await mkdtemp(join(tmpdir(), "zoswarm-key-"));
  try {
    const file = join(dir, "deep", "peer.key");
    const made = await loadPeerKey(file);
    const found = await loadPeerKey(file);
    if (!made.ok || !found.ok) throw new Error("no key");
    expect([made.created, found.created, made.tooOpen, found.tooOpen]).toEqual([true, false, false, false]);
    expect(found.privateKey.equals(made.privateKey)).toBe(true);
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect(await readdir(join(dir, "deep"))).toEqual(["peer.key"]);
    await chmod(file, 0o644);
    expect(await loadPeerKey(file)).toMatchObject({ ok: true, tooOpen: true });
  } finally {
    await rm(dir, { recursive: true });
  }
});

test("a damaged or unreadable peer key is refused and left as it is", async () => {
  const dir = await mkdtemp(join(tmpdir(), "zoswarm-key-"));
  try {
    const file = join(dir, "peer.key");
    for (const content of ["", "not a key", "x".repeat(5_000)]) {
      await writeFile(file, content);
      expect(await loadPeerKey(file)).toMatchObject({ ok: false, code: "key-damaged", message: expect.stringContaining(file) });
      expect(await readFile(file, "utf8")).toBe(content);
    }
    expect(await loadPeerKey(dir)).toMatchObject({ ok: false, code: "key-unreadable" });
    expect(await loadPeerKey(join(file, "below"))).toMatchObject({ ok: false, code: "key-unreadable" });
  } finally {
    await rm(dir, { recursive: true });
  }
});
