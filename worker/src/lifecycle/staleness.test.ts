import type { Announcement } from "@zoswarm/shared/protocol/announcement";
import { COMMIT_KEY, commitOf, JOB_ID, rateOf, startChain, taskOf } from "@zoswarm/shared/protocol/announcement.testing";
import { createReplica } from "@zoswarm/shared/replica/replica";
import fc from "fast-check";
import { expect, test } from "vitest";
import { createVolunteer, reduce, type VolunteerEffect, type VolunteerEvent } from "./lifecycle.ts";

const rate = rateOf();

/** A volunteer with four of eight slots in a job of some staleness, and where its parameters stand: the step of the last commit. */
function volunteer(staleness: number, steps = 6) {
  const chain = startChain();
  const me = createVolunteer(createReplica(JOB_ID, { steps, evaluateEvery: 2 }));
  const at = { theta: -1, replays: 0, hashed: [] as number[] };
  const measured: { step: number; at: number; slots: number[] }[] = [];
  const feed = (event: VolunteerEvent) => {
    const effects = reduce(me, event, COMMIT_KEY.verifier);
    for (const effect of effects) follow(effect);
    return effects;
  };
  function follow(effect: VolunteerEffect) {
    if (effect.kind === "apply") {
      expect(effect.commit.step).toBe(at.theta + 1);
      at.theta = effect.commit.step;
    } else if (effect.kind === "anew") {
      at.theta = effect.commits.at(-1)?.step ?? -1;
      at.replays++;
    } else if (effect.kind === "checkpoint") at.hashed.push(at.theta);
    else if (effect.kind === "measure") measured.push({ step: effect.task.step, at: at.theta, slots: effect.slots });
  }
  const hear = ({ bytes }: Announcement) => feed({ kind: "announcement", bytes, source: "gossip" });
  const slots = (runs: [number, number][], fromStep = 0, toStep: number | null = null, version = 1) =>
    feed({ kind: "slots", frame: { kind: "slots", version, fromStep, toStep, deadlineMs: 1000, runs } });
  feed({ kind: "online" });
  feed({ kind: "caught-up" });
  slots([[0, 4]]);
  for (let step = 0; step <= staleness; step++) hear(chain.next(rate, taskOf(step, 3)));
  return {
    me,
    at,
    measured,
    slots,
    commit(step: number) {
      const next = step + 1 + staleness;
      return hear(chain.next(commitOf(step, [[0, 8]]), next < steps ? taskOf(next, 3) : undefined));
    },
    /** The ledger says that the job is over. */
    over: () => hear(chain.next({ kind: "end", reason: "patience", why: "no progress" })),
    /** Ends the running measurement. */
    end() {
      const { head, slots } = me.measuring ?? { head: "", slots: [] };
      return feed({ kind: "measured", head, losses: slots.map((slot) => ({ slot, plus: 0.5, minus: 0.4 })), elapsedMs: 70 });
    },
  };
}
const kinds = (effects: readonly VolunteerEffect[]) => effects.map(({ kind }) => kind);

test("with staleness 1 it measures two steps before the first commit, and a commit that comes meanwhile disturbs nothing", () => {
  const it = volunteer(1);
  it.end();
  expect(it.measured).toEqual([
    { step: 0, at: -1, slots: [0, 1, 2, 3] },
    { step: 1, at: -1, slots: [0, 1, 2, 3] },
  ]);
  // Step 1 is being measured at the initial state: the commit is known, and theta stays where it is.
  expect(kinds(it.commit(0))).toEqual(["outcome", "append", "task"]);
  expect(it.at.theta).toBe(-1);
  expect(kinds(it.end())).toEqual(["send", "apply", "measure"]);
  expect(it.measured.at(-1)).toEqual({ step: 2, at: 0, slots: [0, 1, 2, 3] });
});

test("with nothing left to measure theta stands at the ledger's end, and a checkpoint is hashed when it is passed", () => {
  const it = volunteer(1);
  it.end();
  it.end();
  expect(kinds(it.commit(0))).toEqual(["outcome", "append", "apply", "task", "measure"]);
  expect(kinds(it.commit(1))).toEqual(["outcome", "append", "task"]);
  expect(it.at.hashed).toEqual([]);
  expect(kinds(it.end())).toEqual(["send", "apply", "checkpoint", "measure"]);
  expect(it.at.hashed).toEqual([1]);
});

test("a commit of the step that is being measured aborts it; of another, nothing", () => {
  const it = volunteer(1);
  expect(kinds(it.commit(0))).toContain("abort");
  it.end();
  expect(it.measured.at(-1)).toEqual({ step: 1, at: -1, slots: [0, 1, 2, 3] });
});

test("an end aborts what is being measured, and theta goes to the state that the job ends in, which is worth its hash", () => {
  const it = volunteer(1, 9);
  it.end();
  it.commit(0);
  expect([it.at.theta, it.measured.at(-1)?.step]).toEqual([-1, 1]);
  expect(kinds(it.over())).toEqual(["outcome", "abort", "append", "apply", "checkpoint"]);
  expect(it.at).toEqual({ theta: 0, replays: 0, hashed: [0] });
  expect(kinds(it.end())).toEqual([]);
  expect([it.me.state, it.me.open]).toEqual(["ready", []]);
});

test("an end at a checkpoint has it hashed once, whether theta stood there or not", () => {
  for (const ended of [0, 1, 2]) {
    const it = volunteer(1, 9);
    for (const step of [0, 1]) {
      it.commit(step);
      for (let i = 0; i < ended; i++) if (it.me.measuring !== null) it.end();
    }
    it.over();
    if (it.me.measuring !== null) it.end();
    expect(it.at).toMatchObject({ theta: 1, hashed: [1] });
  }
});

test("slots of an older step are measured at its own state again: theta goes back, and on from there", () => {
  const it = volunteer(1);
  for (const step of [0, 1]) {
    it.end();
    it.end();
    it.commit(step);
  }
  it.end();
  it.end();
  expect(it.at).toMatchObject({ theta: 1, replays: 0 });
  // Open are 2, measured after commit 0, and 3, measured after commit 1.
  it.slots([[6, 1]], 2, 2, 2);
  expect(it.measured.at(-1)).toEqual({ step: 2, at: 0, slots: [6] });
  expect(it.at.replays).toBe(1);
  it.end();
  expect(it.at.theta).toBe(1);
  // An offer is for its step alone.
  it.commit(2);
  expect(it.measured.at(-1)).toEqual({ step: 4, at: 2, slots: [0, 1, 2, 3] });
});

test("whatever the order of events and the staleness, every step is measured at the state after commit step - 1 - staleness", () => {
  const event = fc.constantFrom("end", "end", "commit", "slots", "offer");
  fc.assert(
    fc.property(fc.array(event, { maxLength: 60 }), fc.nat(3), (events, staleness) => {
      const it = volunteer(staleness, 12);
      let next = 0;
      let version = 2;
      for (const what of events) {
        if (what === "end" && it.me.measuring !== null) it.end();
        else if (what === "commit" && next < 12) it.commit(next++);
        else if (what === "slots") it.slots([[version % 5, 3]], next + staleness, null, version++);
        else if (what === "offer") it.slots([[version % 8, 1]], next, next, version++);
      }
      for (const { step, at } of it.measured) expect(at).toBe(Math.max(-1, step - 1 - staleness));
      while (it.me.measuring !== null) it.end();
      expect(it.at.theta).toBe(next - 1);
    }),
    { seed: 5, numRuns: 200 },
  );
});
