/** Probes through the whole round, on the quadratic of game.testing.ts; and the size of a step, which follows from them. */
import { type Settings, stepOf } from "@zoswarm/shared/ledger/folds";
import { describe, expect, it } from "vitest";
import { drive } from "./driver.testing.ts";
import { A, B, OPEN, PINNED, play, probed, settled } from "./game.testing.ts";
import { KEPT_SHARE, LOOK_RATE, SHARE_OF_BEST, TRIALS_MAX } from "./probe.ts";
import { directionsOf } from "./size.ts";

describe("a probe", () => {
  it("looks, climbs by threes from the initial state, goes back, and leaves half of the best rate and how steep the loss was", () => {
    const game = play(PINNED);
    game.job.join(A);
    game.probe();
    const rates = game.rates();
    expect(rates[0]).toMatchObject({ rate: LOOK_RATE, probing: true });
    const climbs = rates.slice(1, -1).map(({ rate }) => rate);
    for (const [i, rate] of climbs.entries()) if (i > 0) expect(rate).toBeCloseTo(3 * (climbs[i - 1] as number), 12);
    const found = rates.at(-1) as Settings;
    const best = 0.5 / (2 * 50);
    expect(SHARE_OF_BEST).toBe(0.5);
    expect(found.rate).toBeCloseTo(SHARE_OF_BEST * best, 9);
    expect(found.reference).toBeCloseTo(1, 9);
    expect(rates.slice(0, -1).map(({ reference }) => reference)).toEqual(Array.from({ length: climbs.length + 1 }, () => null));
    expect(rates.at(-1)?.why).toMatch(/^one step gains most at rate .+ Held-out loss 0\.700, then by trial rate /);
    expect(game.kinds().slice(-2)).toEqual(["restore", "rate"]);
    expect(game.here()).toBeLessThan(0.7);
    // The look is step 0: each trial gained, and the longest of those that are short enough is where it trains from.
    expect(stepOf(game.history().branch)).toBe(climbs.filter((rate) => rate <= KEPT_SHARE * best).length);
    expect(game.history().lastStep + 1).toBe(rates.length - 1);
    // One step after the other, whatever the staleness; and after it the job goes on.
    expect(game.job.round.open.map(({ task }) => task.step)).toEqual([game.history().lastStep + 1]);
  });

  it("opens one step at a time; once it is over, as many as the staleness says", () => {
    const game = play({ ...PINNED, staleness: 2 });
    game.job.join(A);
    game.job.tried(0.7);
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
    game.job.tried(0.7);
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
    game.job.tried(0.7);
    game.answer([A]);
    game.job.feed({ kind: "left", peerId: A, nowMs: 200 });
    game.job.tried(0.7);
    expect(game.job.round.open).toEqual([]);
    game.job.join(A);
    expect(game.job.round.open.map(({ task }) => task.step)).toEqual([1]);
  });

  it("commits a trial with a quorum, and judges it by the directions that came in", () => {
    const game = play(PINNED);
    game.job.join(A);
    game.job.join(B);
    game.job.tried(0.7);
    const half = game.job.slots(A).length;
    game.answer([A]);
    game.job.feed({ kind: "deadline", step: 0, nowMs: 2_000 });
    game.job.tried(0.7);
    expect(game.job.round.probe?.trials).toMatchObject([{ directions: half, from: 0.7, loss: 0.7 }]);
  });

  it("begins again from the initial state after a restart, whatever it was at", () => {
    for (const turns of [1, 2, 4]) {
      const game = play(PINNED);
      game.job.join(A);
      game.job.tried(0.7);
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
    game.job.tried(0.7);
    game.turn();
    for (const loss of [Number.NaN, Number.POSITIVE_INFINITY]) {
      game.answer();
      game.job.tried(loss);
      expect(stepOf(game.history().branch)).toBe(0);
    }
    game.probe();
    expect(game.here()).toBeLessThan(0.7);
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
      job.tried(0.7);
      for (let n = 0; n < 30 && job.round.replica.history.settings?.probing; n++) {
        job.answer(A, job.slots(A), { loss });
        job.tried(0.7);
      }
      for (const { settings, lastStep } of [still.history(), job.round.replica.history]) {
        expect(settings?.probing).toBe(false);
        expect(settings?.rate).toBeGreaterThanOrEqual(SHARE_OF_BEST * LOOK_RATE);
        expect(lastStep).toBeLessThan(TRIALS_MAX);
      }
      // Slopes that nobody saw are no reference.
      expect(job.round.replica.history.settings?.reference).toBeNull();
    }
  });

  it("one step's slopes beyond all numbers, from a worker's absurd answers, leave the reference as the others have it", () => {
    const game = play(PINNED);
    game.job.join(A);
    game.job.tried(0.7);
    game.slope = 1e200;
    game.turn();
    expect(game.job.round.probe?.trials[0]?.signal).toBe(Number.POSITIVE_INFINITY);
    game.slope = 1;
    game.probe();
    expect(game.history().settings?.reference).toBe(1);
  });
});

describe("size", () => {
  it("follows from speed and overhead at the end of the probe, within what is pinned", () => {
    // 16 directions in 0.1 s, which is all measuring: 160 a second and the least overhead.
    expect(settled(OPEN)).toMatchObject({ groups: 2, directionsLog2: 4 });
    expect(settled({ ...OPEN, groups: 3 })).toMatchObject({ groups: 3, directionsLog2: 3 });
    expect(settled({ ...OPEN, directionsLog2: 2 }).directionsLog2).toBe(2);
    expect(settled({ ...OPEN, epsilonLog2: -5 }).epsilonLog2).toBe(-5);
  });

  it("follows a swarm that grows sixteenfold, once an evaluation has come, and then stays", () => {
    const game = probed({ ...OPEN, steps: 300 }, { b: 5, start: 100 });
    const before = game.history().settings as Settings;
    for (let n = 0; n < 5; n++) game.turn([A]);
    const crowd = [A, ...Array.from({ length: 31 }, (_, i) => `12D3KooWC${"ABCDEFGHJKLMNPQRSTUVWXYZabcdefgh"[i]}${"C".repeat(18)}`)];
    // Twelve want 99 directions, and would get 128 from the beginning: not reason enough.
    for (const one of crowd.slice(1, 12)) game.job.join(one);
    for (let n = 0; n < 10; n++) game.turn(crowd.slice(0, 12));
    expect(game.job.round.open.map(({ total }) => total)).toEqual([32]);
    for (const one of crowd.slice(12)) game.job.join(one);
    for (let n = 0; n < 30; n++) game.turn(crowd);
    const sizes = game.rates().filter(({ probing, why }) => !probing && why.startsWith("the swarm has changed"));
    expect(sizes).toHaveLength(1);
    const grown = sizes[0] as Settings;
    expect([directionsOf(before), directionsOf(grown)]).toEqual([32, 128]);
    expect(grown.rate).toBeLessThan(before.rate);
    expect(game.job.round.open.map(({ total }) => total)).toEqual([directionsOf(grown)]);
  });
});
