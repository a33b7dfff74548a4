/** Probes and what follows them through the whole round: a quadratic whose held-out loss each step lowers by K s r (a - b r). */
import { type Settings, stepOf } from "@zoswarm/shared/ledger/folds";
import type { Entry } from "@zoswarm/shared/protocol/entries";
import type { Manifest } from "@zoswarm/shared/protocol/manifest";
import { describe, expect, it } from "vitest";
import { decide } from "./course.ts";
import { drive } from "./driver.testing.ts";
import { KEPT_SHARE, LOOK_RATE, SHARE_OF_BEST, TRIALS_MAX } from "./probe.ts";
import { directionsOf } from "./size.ts";
import { noiseOf } from "./steer.ts";

const A = "12D3KooWAAAAAAAAAAAAAAAAAAAA";
const B = "12D3KooWBBBBBBBBBBBBBBBBBBBB";
const HASH = "ab".repeat(32);
const OPEN = { rate: null, epsilonLog2: null, groups: null, directionsLog2: null };
/** Everybody measures 160 directions a second. */
const SLOT_MS = 6.25;
const PINNED = { rate: null, epsilonLog2: null, groups: 1, directionsLog2: 4 };

type Job = ReturnType<typeof drive>;
type Told = Partial<Manifest["job"]> & { staleness?: number };

/** Plays a job by a course of losses: `a` is the share of its promise that a short step keeps, `a / 2b` the best rate. */
function play(
  told: Told,
  { a = 0.5, b = 50, start = 0.7, waitFor = 1, ledger = [] as readonly Uint8Array[], pem = undefined as string | undefined } = {},
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
    /** Each direction's projected gradient. */
    slope: 1,
    /** What a step at a rate gains. */
    gain: ({ rate, ...size }: Settings) => directionsOf(size) * rate * (a - b * rate),
    rates: () => history().decisions.flatMap(({ entry }) => (entry.kind === "rate" ? [entry as Extract<Entry, { kind: "rate" }>] : [])),
    kinds: () => history().decisions.map(({ entry }) => entry.kind),
    /** Everybody answers the oldest open step: by the slope. */
    answer(who: readonly string[] = [A, B]) {
      const open = job.round.open[0];
      if (open === undefined) return;
      nowMs += SLOT_MS * Math.max(...who.map((peerId) => job.slots(peerId).length));
      const { step, epsilonLog2 } = open.task;
      const height = game.slope * 2 ** epsilonLog2;
      for (const peerId of who) {
        const each = job.slots(peerId).map((slot) => ({ slot, plus: 1 + height, minus: 1 - height }));
        if (each.length === 0) continue;
        const { settings, branch } = history();
        const before = losses.get(stepOf(branch)) as number;
        losses.set(step, before - game.gain(settings as Settings));
        const frame = {
          kind: "result" as const,
          step,
          head: open.head,
          assignment: 1,
          checkpoint: null,
          losses: each,
          elapsedMs: SLOT_MS * each.length,
        };
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

/** A job whose probe is over. */
function probed(told: Told, options: Parameters<typeof play>[1] = {}) {
  const game = play(told, options);
  game.job.join(A);
  game.probe();
  return game;
}
/** What an undisturbed probe leaves. */
const settled = (told: Told) => probed(told).history().settings as Settings;

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
    for (const one of crowd.slice(1)) game.job.join(one);
    for (let n = 0; n < 30; n++) game.turn(crowd);
    const sizes = game.rates().filter(({ probing, why }) => !probing && why.startsWith("the swarm has changed"));
    expect(sizes).toHaveLength(1);
    const grown = sizes[0] as Settings;
    expect([directionsOf(before), directionsOf(grown)]).toEqual([32, 128]);
    expect(grown.rate).toBeLessThan(before.rate);
    expect(game.job.round.open.map(({ total }) => total)).toEqual([directionsOf(grown)]);
  });
});

describe("after the probe", () => {
  it("a loss that rises twice beyond its noise takes the ledger back to the best state, with half the rate", () => {
    const game = probed({ ...PINNED, evaluateEvery: 1 });
    const { rate } = game.history().settings as Settings;
    game.turn();
    const best = game.history().lastStep;
    for (const loss of [0.9, 0.95]) {
      game.answer();
      game.losses.set(game.history().lastStep, loss);
      game.evaluate();
    }
    expect(game.kinds().slice(-2)).toEqual(["restore", "rate"]);
    expect(stepOf(game.history().branch)).toBe(best);
    expect(game.rates().at(-1)).toMatchObject({
      rate: rate / 2,
      why: expect.stringContaining("back to the best state with half the rate"),
    });
    expect(game.job.round.open.map(({ task }) => task.step)).toEqual([best + 3]);
  });

  it("so does one that is no number, also where it comes while a commit is on its way, or behind it", () => {
    for (const late of [false, true]) {
      const game = probed({ ...PINNED, evaluateEvery: 1 });
      const { rate } = game.history().settings as Settings;
      game.turn();
      const best = game.history().lastStep;
      game.answer();
      game.losses.set(best + 1, Number.NaN);
      let isTold = false;
      // The answers of the next step come first: its commit is on its way when the evaluation is through.
      game.job.between = () => {
        if (isTold || !late || game.job.round.phase !== "announcing") return;
        isTold = true;
        game.evaluate();
      };
      if (late) game.answer();
      else game.evaluate();
      game.job.between = () => {};
      expect(isTold).toBe(late);
      expect(game.kinds().slice(-2)).toEqual(["restore", "rate"]);
      expect(stepOf(game.history().branch)).toBe(best);
      expect(game.rates().at(-1)).toMatchObject({ rate: rate / 2, why: expect.stringContaining("is no number") });
      // Once: the state is nobody's any more.
      game.turn();
      game.turn();
      expect(game.rates().filter(({ why }) => why.includes("is no number"))).toHaveLength(1);
    }
  });

  it("an evaluation of a state that was left is recorded, and neither steers nor ends the job", () => {
    const stop = { target: 5, patience: null, forwards: null };
    const game = probed({ ...PINNED, evaluateEvery: 1, staleness: 1, stop });
    game.turn();
    const best = game.history().lastStep;
    game.answer();
    game.answer();
    game.losses.set(best + 1, Number.NaN);
    const left = best + 2;
    const events = [...game.job.round.evaluating];
    expect(events).toEqual([best + 1, left]);
    game.losses.set(left, 9);
    // Both come: the first takes the ledger back, and the second, which would be the target, is of no state on the way.
    game.evaluate();
    expect(stepOf(game.history().branch)).toBe(best);
    expect(game.history().evaluations.at(-1)).toMatchObject({ step: left, score: 9 });
    expect([game.history().ended, game.kinds().at(-1)]).toEqual([null, "rate"]);
  });

  it("where no rate is left, the job ends in its best state", () => {
    const game = probed({ ...PINNED, steps: 10_000, evaluateEvery: 1 });
    const best = Math.min(...game.history().evaluations.map(({ loss }) => loss), game.here());
    for (let n = 0; n < 200 && game.history().ended === null; n++) {
      game.answer();
      game.losses.set(game.history().lastStep, 5 + n);
      game.evaluate();
    }
    expect(game.history().ended?.reason).toBe("diverged");
    expect(game.here()).toBeCloseTo(best, 1);
    expect(game.job.round.phase).toBe("finished");
  });

  it("without progress it goes back to its best state and ends there", () => {
    const stop = { target: null, patience: 3, forwards: null };
    const game = probed({ ...PINNED, evaluateEvery: 1, stop });
    game.turn();
    const best = game.history().lastStep;
    const lowest = game.here();
    for (let n = 0; n < 3; n++) {
      game.answer();
      game.losses.set(game.history().lastStep, lowest + 1e-4 * (n % 2));
      game.evaluate();
    }
    expect(game.kinds().slice(-2)).toEqual(["restore", "end"]);
    expect(game.history().ended).toMatchObject({ reason: "patience", why: expect.stringContaining(`after step ${best + 1}`) });
    expect([stepOf(game.history().branch), game.job.round.phase]).toEqual([best, "finished"]);
    // A crash between the two: the end follows, and no other restore.
    const again = play({ ...PINNED, evaluateEvery: 1, stop }, { ledger: game.job.ledger.slice(0, -1), pem: game.job.pem });
    expect(again.kinds().slice(-2)).toEqual(["restore", "end"]);
    expect(again.job.round.phase).toBe("finished");
  });

  it("a last state whose loss is no number is left for the best one", () => {
    const game = probed({ ...PINNED, steps: 12, evaluateEvery: 1 });
    while (game.history().lastStep < 10) game.turn();
    const best = game.history().lastStep;
    game.answer();
    game.losses.set(11, Number.NaN);
    game.evaluate();
    expect(game.kinds().at(-1)).toBe("restore");
    expect([stepOf(game.history().branch), game.job.round.phase]).toEqual([best, "finished"]);
  });

  it("one that its budget ends in such a state is over all the same", () => {
    const game = probed({ ...PINNED, evaluateEvery: 50, stop: { target: null, patience: null, forwards: 40 * 32 } });
    for (let n = 0; n < 60 && game.history().ended === null; n++) game.answer();
    expect(game.history().ended?.reason).toBe("forwards");
    game.losses.set(game.history().lastStep, Number.NaN);
    game.evaluate();
    expect(game.job.round.phase).toBe("finished");
  });

  it("a restart steers by the ledger's evaluations, and shortens steps only when it knows the curvature again", () => {
    const game = probed({ ...PINNED, evaluateEvery: 1 });
    const settings = game.history().settings as Settings;
    for (let n = 0; n < 2; n++) game.turn();
    const again = play({ ...PINNED, evaluateEvery: 1 }, { ledger: game.job.ledger, pem: game.job.pem });
    for (const [step, loss] of game.losses) again.losses.set(step, loss);
    again.job.join(A);
    const still = again.here();
    again.answer();
    again.losses.set(again.history().lastStep, still);
    expect(again.history().settings?.rate).toBe(settings.rate);
    again.evaluate();
    // One of the two intervals that progress is averaged over is from before the restart.
    const share = (1 + game.gain(settings) / 2 / noiseOf({ rate: settings.rate, directions: 16, curvature: 100 })) / 4;
    const { rate, why } = again.rates().at(-1) as { rate: number; why: string };
    expect([rate, why]).toEqual([expect.closeTo(share * settings.rate, 9), expect.stringContaining("shorter steps gain more")]);
  });

  describe("on flatter slopes", () => {
    /** Three steps that each lower the loss by so many times what the noise of a step costs at half the length. */
    function descend(slope: number, times: number) {
      const game = probed({ ...PINNED, evaluateEvery: 1 });
      game.slope = slope;
      const { rate, reference } = game.history().settings as Settings;
      const cost = noiseOf({ rate: rate / 2, directions: 16, curvature: 100 });
      const decided = game.rates().length;
      for (let n = 0; n < 3; n++) {
        const next = game.here() - times * cost;
        game.answer();
        game.losses.set(game.history().lastStep, next);
        game.evaluate();
      }
      return { rate, reference, decisions: game.rates().slice(decided) };
    }

    it("a step's noise is judged by the length that it has there", () => {
      expect(descend(0.25, 3).decisions).toEqual([]);
      expect(descend(1, 3).decisions).toHaveLength(1);
    });

    it("what falls is the rate, by the share that the present length should: the reference stays", () => {
      const { rate, reference, decisions } = descend(0.25, 1.4);
      expect(decisions).toMatchObject([{ rate: expect.closeTo(0.6 * rate, 9), reference, why: expect.stringContaining("shorter steps") }]);
    });

    it("steeper ones than the reference make no step longer", () => {
      const [steeper, same] = [descend(3, 1.4), descend(1, 1.4)];
      expect(steeper.decisions.map(({ rate }) => rate)).toEqual(same.decisions.map(({ rate }) => rate));
    });

    it("nothing is shortened after a restart before a step has told how steep they are", () => {
      const game = probed({ ...PINNED, evaluateEvery: 1 });
      for (let n = 0; n < 3; n++) {
        const loss = game.here() - 1e-4;
        game.answer();
        game.losses.set(game.history().lastStep, loss);
        game.job.evaluated({ loss });
      }
      const again = play({ ...PINNED, evaluateEvery: 1 }, { ledger: game.job.ledger, pem: game.job.pem });
      again.job.round.curvature = 100;
      expect(decide(again.job.round)).toEqual([]);
      again.job.round.signal = 0.5;
      expect(decide(again.job.round)).toHaveLength(1);
    });
  });
});
