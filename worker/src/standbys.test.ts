import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openStandbys } from "./standbys.ts";

const PEERS = [
  "12D3KooWHv6MfPgxkegS6KAxneFCdFtxntzMuB7wFY8JQ2j3vbE4",
  "12D3KooWArsqDGBxX2BJ6hL5nnUJsMQGtjHAm2U7Xg1nodzpavkF",
  "12D3KooWJoFfmR6Y1wNkXZB4GYjFgvzkgKZJ1Gxd7rM9v3jNqzci",
] as const;
const [first, second, third] = PEERS.map((peerId, i) => `/ip4/127.0.0.1/tcp/${4100 + i}/p2p/${peerId}`) as [string, string, string];

let dir = "";
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "zoswarm-standbys-"));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

test("a worker that was only told the first address finds who took over from it, and from that one, after a restart too", () => {
  const told = openStandbys(dir);
  told.learn(PEERS[0], [second]);
  told.learn(PEERS[1], [third]);
  for (const standbys of [told, openStandbys(dir)]) {
    const addresses = [first];
    standbys.extend(addresses);
    standbys.extend(addresses);
    expect(addresses).toEqual([first, second, third]);
  }
});

test("what is no address is not kept, and the newest word of a coordinator replaces the one before", async () => {
  const standbys = openStandbys(dir);
  standbys.learn(PEERS[0], ["nonsense", second, "/ip4/127.0.0.1/tcp/1"]);
  standbys.learn(PEERS[0], [third]);
  expect(JSON.parse(await readFile(join(dir, "standbys.json"), "utf8"))).toEqual({ [PEERS[0]]: [third] });
});

test.each(["", "[1]", "null", '{"a": 1}', "{"])("a file that says %j is as good as none", async (text) => {
  await writeFile(join(dir, "standbys.json"), text);
  const addresses = [first];
  openStandbys(dir).extend(addresses);
  expect(addresses).toEqual([first]);
});
