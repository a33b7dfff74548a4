/** Probes and what follows them through the whole round: a quadratic whose held-out loss each step lowers by K s r (a - b r). */
import { type Settings, stepOf } from "@zoswarm/shared/ledger/folds";
import type { Entry } from "@zoswarm/shared/protocol/entries";
import type { Manifest } from "@zoswarm/shared/protocol/manifest";
import { describe, expect, it } from "vitest";
import { drive } from "./driver.testing.ts";
import { LOOK_RATE, TRIALS_MAX } from "./probe.ts";
import { directionsOf } from "./size.ts";

const A = "12D3KooWAAAAAAAAAAAAAAAAAAAA";
const B = "12D3KooWBBBBBBBBBBBBBBBBBBBB";
const HASH = "ab".repeat(32);
const OPEN = { rate: null, epsilonLog2: null, groups: null, directionsLog2: null };
const PINNED = { rate: null, epsilonLog2: null, groups: 1, directionsLog2: 4 };

type Job = ReturnType<typeof drive>;
type Told = Partial<Manifest["job"]> & { staleness?: number };

/** Plays a job by a course of losses: `a` is the share of its promise that a short step keeps, `a / 2b` the best rate. */
function play(
  told: Told,
  { a = 0.5, b = 50, start = 1, waitFor = 1, ledger = [] as readonly Uint8Array[], pem = undefined as string | undefined } = {},
) {
  const job: Job = drive({ steps: 80, evaluateEvery: 5, ...told }, waitFor, ledger, pem);
  const losses = new Map([[-1, start]]);
  const history = () => job.round.replica.history;
  const here = () => losses.get(stepOf(history().branch)) as number;
  let nowMs = 0;
  const game = {
    job,
    history,
    here,
    losses,
    /** What a step at a rate gains. */
    gain: ({ rate, ...size }: Settings) => directionsOf(size) * rate * (a - b * rate),
    rates: () => history().decisions.flatMap(({ entry }) => (entry.kind === "rate" ? [entry as Extract<Entry, { kind: "rate" }>] : [])),
    kinds: () => history().decisions.map(({ entry }) => entry.kind),
    /** Everybody answers the oldest open step: each direction's projected gradient is 1. */
    answer(who: readonly string[] = [A, B]) {
      const open = job.round.open[0];
      if (open === undefined) return;
      nowMs += 100;
      const { step, epsilonLog2 } = open.task;
      for (const peerId of who) {
        const each = job.slots(peerId).map((slot) => ({ slot, plus: 1 + 2 ** epsilonLog2, minus: 1 - 2 ** epsilonLog2 }));
        if (each.length === 0) continue;
        const { settings, branch } = history();
        const before = losses.get(stepOf(branch)) as number;
        losses.set(step, before - game.gain(settings as Settings));
        const frame = { kind: "result" as const, step, head: open.head, assignment: 1, checkpoint: null, losses: each, elapsedMs: 100 };
        job.feed({ kind: "result", peerId, frame, nowMs });
      }
    },
    evaluate() {
      for (const step of [...job.round.evaluating]) {
        const loss = losses.get(step) as number;
        job.feed({ kind: "evaluated", step, stateHash: HASH, loss, score: loss, examples: 2, curvature: 2 * b, nowMs });
      }
    },
    turn(who?: readonly string[]) {
      game.answer(who);
      job.tried(losses.get(job.round.probe?.awaited ?? -1) as number, nowMs);
      game.evaluate();
    },
    /** Until the probe is over. */
    probe(who?: readonly string[]) {
      if (job.round.probe?.awaited === -1) job.tried(start);
      for (let n = 0; n < 30 && history().settings?.probing !== false; n++) game.turn(who);
      expect(history().settings?.probing).toBe(false);
    },
  };
  return game;
}

describe("a probe", () => {
  it("looks, climbs by threes from the initial state, goes back, and leaves a quarter of the best rate", () => {
    const game = play(PINNED);
    game.job.join(A);
    game.probe();
    const rates = game.rates();
    expect(rates[0]).toMatchObject({ rate: LOOK_RATE, probing: true });
    const climbs = rates.slice(1, -1).map(({ rate }) => rate);
    for (const [i, rate] of climbs.entries()) if (i > 0) expect(rate).toBeCloseTo(3 * (climbs[i - 1] as number), 12);
    const found = rates.at(-1) as Settings;
    const best = 0.5 / (2 * 50);
    expect(found.rate).toBeGreaterThan(best / 8);
    expect(found.rate).toBeLessThan(best / 2);
    expect(rates.at(-1)?.why).toMatch(/^one step gains most at rate .+ Held-out loss 1\.00, then by trial rate /);
    expect(game.kinds().slice(-2)).toEqual(["restore", "rate"]);
    expect(game.here()).toBeLessThan(1);
    expect(game.history().lastStep + 1).toBe(rates.length - 1);
    // One step after the other, whatever the staleness; and after it the job goes on.
    expect(game.job.round.open.map(({ task }) => task.step)).toEqual([game.history().lastStep + 1]);
  });

  it("opens one step at a time; once it is over, as many as the staleness says", () => {
    const game = play({ ...PINNED, staleness: 2 });
    game.job.join(A);
    game.job.tried(1);
    for (let n = 0; n < 3; n++) {
      expect(game.job.round.open).toHaveLength(1);
      game.turn();
    }
    game.probe();
    expect(game.job.round.open).toHaveLength(3);
  });

  it("waits for nobody in particular: it goes on with whoever is left, and from where it was when all were away", () => {
    const game = play(PINNED, { waitFor: 2 });
    game.job.join(A);
    game.job.join(B);
    game.job.tried(1);
    game.turn();
    game.job.feed({ kind: "left", peerId: B, nowMs: 200 });
    game.turn([A]);
    game.turn([A]);
    const made = game.history().lastStep;
    expect(made).toBe(2);
    game.job.feed({ kind: "left", peerId: A, nowMs: 200 });
    game.turn([A]);
    expect(game.history().lastStep).toBe(made);
    game.job.join(B);
    game.probe([B]);
    expect(game.rates().every(({ rate }) => rate > 0)).toBe(true);
  });

  it("goes on where the last worker left while a trial's loss was taken", () => {
    const game = play(PINNED);
    game.job.join(A);
    game.job.tried(1);
    game.answer([A]);
    game.job.feed({ kind: "left", peerId: A, nowMs: 200 });
    game.job.tried(1);
    expect(game.job.round.open).toEqual([]);
    game.job.join(A);
    expect(game.job.round.open.map(({ task }) => task.step)).toEqual([1]);
  });

  it("commits a trial with a quorum, and judges it by the directions that came in", () => {
    const game = play(PINNED);
    game.job.join(A);
    game.job.join(B);
    game.job.tried(1);
    const half = game.job.slots(A).length;
    game.answer([A]);
    game.job.feed({ kind: "deadline", step: 0, nowMs: 2_000 });
    game.job.tried(1);
    expect(game.job.round.probe?.trials).toMatchObject([{ directions: half, from: 1, loss: 1 }]);
  });

  it("begins again from the initial state after a restart, whatever it was at", () => {
    for (const turns of [1, 2, 4]) {
      const game = play(PINNED);
      game.job.join(A);
      game.job.tried(1);
      for (let n = 0; n < turns; n++) game.turn();
      const again = play(PINNED, { ledger: game.job.ledger, pem: game.job.pem });
      for (const [step, loss] of game.losses) again.losses.set(step, loss);
      expect(again.kinds().at(-1)).toBe("restore");
      expect([stepOf(again.history().branch), again.job.round.open]).toEqual([-1, []]);
      again.job.join(A);
      again.probe();
      expect(again.rates().at(-1)?.rate).toBeCloseTo(settled(PINNED).rate, 9);
    }
  });

  it("begins again where the crash came between its last restore and the rate", () => {
    const game = play(PINNED);
    game.job.join(A);
    game.probe();
    const found = game.history().decisions.at(-1)?.seq as number;
    const again = play(PINNED, { ledger: game.job.ledger.slice(0, found), pem: game.job.pem });
    expect(again.history().settings?.probing).toBe(true);
    again.job.join(A);
    again.probe();
  });

  it("ends before the job's last step, and before its budget is spent", () => {
    for (const told of [{ steps: 5 }, { stop: { target: null, patience: null, forwards: 7 * 32 } }]) {
      const game = play({ ...PINNED, ...told });
      game.job.join(A);
      game.probe();
      expect(game.history().lastStep).toBeLessThan(7);
      expect(game.rates().at(-1)?.rate).toBeGreaterThan(0);
    }
  });
});

describe("a trial that is too far", () => {
  it("is left again where it was the first: the next sets out from the look's state, 27 times shorter", () => {
    const game = play(PINNED, { b: 5e4, start: 4 });
    game.job.join(A);
    game.probe();
    const rates = game.rates().map(({ rate }) => rate);
    expect(rates[2]).toBeCloseTo((rates[1] as number) / 27, 12);
    expect(game.kinds().slice(1, 4)).toEqual(["rate", "restore", "rate"]);
    expect(rates.at(-1)).toBeLessThan(0.5 / 5e4 / 2);
  });

  it("may have a loss that is no number", () => {
    const game = play(PINNED);
    game.job.join(A);
    game.job.tried(1);
    game.turn();
    for (const loss of [Number.NaN, Number.POSITIVE_INFINITY]) {
      game.answer();
      game.job.tried(loss);
      expect(stepOf(game.history().branch)).toBe(0);
    }
    game.probe();
    expect(game.here()).toBeLessThan(1);
  });
});

describe("losses that say nothing", () => {
  it("end the probe with a usable rate: held-out losses that never move, and answers that all tie or are no numbers", () => {
    const still = play(PINNED, { a: 0, b: 0 });
    still.job.join(A);
    still.probe();
    for (const loss of [0.5, null]) {
      const job = drive({ ...PINNED, steps: 80 });
      job.join(A);
      job.tried(1);
      for (let n = 0; n < 30 && job.round.replica.history.settings?.probing; n++) {
        job.answer(A, job.slots(A), { loss });
        job.tried(1);
      }
      for (const { settings, lastStep } of [still.history(), job.round.replica.history]) {
        expect(settings?.probing).toBe(false);
        expect(settings?.rate).toBeGreaterThanOrEqual(LOOK_RATE / 4);
        expect(lastStep).toBeLessThan(TRIALS_MAX);
      }
    }
  });
});

/** What an undisturbed probe leaves. */
function settled(told: Told): Settings {
  const game = play(told);
  game.job.join(A);
  game.probe();
  return game.history().settings as Settings;
}

describe("size", () => {
  it("follows from speed and overhead at the end of the probe, within what is pinned", () => {
    const of = (told: Told) => settled(told);
    // 16 directions in 0.1 s, which is all measuring: 160 a second and the least overhead.
    expect(of(OPEN)).toMatchObject({ groups: 2, directionsLog2: 4 });
    expect(of({ ...OPEN, groups: 3 })).toMatchObject({ groups: 3, directionsLog2: 4 });
    expect(of({ ...OPEN, directionsLog2: 2 }).directionsLog2).toBe(2);
    expect(of({ ...OPEN, epsilonLog2: -5 }).epsilonLog2).toBe(-5);
  });
});
