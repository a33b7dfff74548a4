import { expect, test } from "vitest";
import { LIMITS } from "../protocol/limits.ts";
import { createAdmission } from "./admission.ts";

test("a peer beyond its requests per second waits, another does not", () => {
  let ms = 0;
  const admit = createAdmission(() => ms);
  const greedy = admit("greedy");
  let admitted = 0;
  while (greedy.admits()) admitted++;
  expect(admitted).toBe(2 * LIMITS.requestsPerSecondPerPeerMax);
  expect(admit("greedy").admits()).toBe(false);
  expect(admit("other").admits()).toBe(true);
  ms = 1_000;
  expect(greedy.admits()).toBe(true);
});

test("bytes are charged to the peer and to everybody", () => {
  let ms = 0;
  const admit = createAdmission(() => ms);
  const peers = Array.from({ length: 4 }, (_, i) => admit(`peer ${i}`));
  for (const peer of peers) {
    expect(peer.admits()).toBe(true);
    peer.charge(LIMITS.requestBytesPerSecondPerPeerMax + 1);
    expect(peer.admits()).toBe(false);
  }
  // Everybody's budget is spent as well: a newcomer waits too, until it refills.
  expect(admit("newcomer").admits()).toBe(false);
  ms = 1_000;
  expect(admit("newcomer").admits()).toBe(true);
});

test("streams are limited per peer and in total, and come free again", () => {
  const admit = createAdmission(() => 0);
  const own = Array.from({ length: LIMITS.requestStreamsPerPeerMax + 1 }, () => admit("one"));
  expect(own.map(({ crowded }) => crowded)).toEqual([...Array(LIMITS.requestStreamsPerPeerMax).fill(false), true]);
  for (const { leave } of [...own, ...own]) leave();
  const all = Array.from({ length: LIMITS.requestStreamsMax }, (_, i) => admit(`peer ${i}`));
  expect(all.every(({ crowded }) => !crowded)).toBe(true);
  expect(admit("late").crowded).toBe(true);
});

test("the peers remembered are bounded, the longest known are forgotten first", () => {
  const admit = createAdmission(() => 0);
  const first = admit("first");
  while (first.admits());
  first.leave();
  expect(admit("first").admits()).toBe(false);
  for (let i = 0; i < LIMITS.requestPeersRememberedMax; i++) admit(`peer ${i}`).leave();
  expect(admit("first").admits()).toBe(true);
});

test("a node that gives less, to all together, refuses sooner", () => {
  const admit = createAdmission(() => 0, 1_000);
  const one = admit("one");
  expect(one.admits()).toBe(true);
  one.charge(1_001);
  expect([one.admits(), admit("other").admits()]).toEqual([false, false]);
});
