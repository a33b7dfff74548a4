/** What follows a probe, on the quadratic of game.testing.ts: shorter steps, back from a loss that rises, the end, and restarts. */
import { type Settings, stepOf } from "@zoswarm/shared/ledger/folds";
import { describe, expect, it } from "vitest";
import { decide } from "./course.ts";
import { A, PINNED, play, probed } from "./game.testing.ts";
import { noiseOf } from "./steer.ts";

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

  it("what the probe came to is evaluated, and where the loss only rises from there it is what the ledger goes back to", () => {
    const game = probed({ ...PINNED, evaluateEvery: 2 });
    const { rate } = game.history().settings as Settings;
    const from = stepOf(game.history().branch);
    expect(game.history().evaluations.at(-1)).toMatchObject({ step: from, loss: game.losses.get(from) });
    for (const loss of [0.8, 0.9, 0.95]) {
      expect(game.history().settings?.rate).toBe(rate);
      game.answer();
      game.losses.set(game.history().lastStep, loss);
      game.evaluate();
    }
    expect(stepOf(game.history().branch)).toBe(from);
    expect(game.history().settings?.rate).toBe(rate / 2);
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
      game.losses.set(game.history().lastStep, lowest + 1e-4 * (1 + (n % 2)));
      game.evaluate();
    }
    expect(game.kinds().slice(-2)).toEqual(["end", "restore"]);
    expect(game.history().ended).toMatchObject({ reason: "patience", why: expect.stringContaining(`after step ${best + 1}`) });
    expect([stepOf(game.history().branch), game.job.round.phase]).toEqual([best, "finished"]);
    // A crash between the two: the restore follows, and no other end.
    const again = play({ ...PINNED, evaluateEvery: 1, stop }, { ledger: game.job.ledger.slice(0, -1), pem: game.job.pem });
    expect(again.kinds().slice(-2)).toEqual(["end", "restore"]);
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

  it("the last state is left for the best one, whether steps or forward passes have come to their end", () => {
    for (const told of [{ steps: 20 }, { stop: { target: null, patience: null, forwards: 20 * 16 } }]) {
      const game = probed({ ...PINNED, estimator: "one-sided", evaluateEvery: 3, ...told });
      while (game.history().lastStep < 12) game.turn();
      const best = game.history().evaluations.at(-1)?.step as number;
      const lowest = game.losses.get(best) as number;
      for (let n = 0; n < 20 && game.job.round.phase !== "finished"; n++) {
        game.answer();
        game.losses.set(game.history().lastStep, lowest + 1e-4);
        game.evaluate();
      }
      expect(game.job.round.phase).toBe("finished");
      expect([game.history().lastStep, stepOf(game.history().branch), game.kinds().at(-1)]).toEqual([19, best, "restore"]);
      // And so it is found by a restart, also by one that comes before the restore.
      for (const ledger of [game.job.ledger, game.job.ledger.slice(0, -1)]) {
        const again = play({ ...PINNED, estimator: "one-sided", evaluateEvery: 3, ...told }, { ledger, pem: game.job.pem });
        expect([stepOf(again.history().branch), again.job.round.phase]).toEqual([best, "finished"]);
      }
    }
  });

  it("of states that tie the last one is kept", () => {
    const game = probed({ ...PINNED, steps: 14, evaluateEvery: 1 });
    game.turn();
    const lowest = game.here();
    while (game.job.round.phase !== "finished") {
      game.answer();
      game.losses.set(game.history().lastStep, lowest);
      game.evaluate();
    }
    expect([stepOf(game.history().branch), game.kinds().at(-1)]).toEqual([13, "rate"]);
  });

  it("a crash between the way back and its rate leaves a restart to halve it", () => {
    const game = probed({ ...PINNED, evaluateEvery: 1 });
    const { rate } = game.history().settings as Settings;
    game.turn();
    for (const loss of [0.9, 0.95]) {
      game.answer();
      game.losses.set(game.history().lastStep, loss);
      game.evaluate();
    }
    const cut = (game.history().decisions.at(-1) as { seq: number }).seq;
    const again = play({ ...PINNED, evaluateEvery: 1 }, { ledger: game.job.ledger.slice(0, cut), pem: game.job.pem });
    expect(again.history().settings?.rate).toBe(rate / 2);
    expect(again.kinds().slice(-2)).toEqual(["restore", "rate"]);
  });

  it("a restart right after the probe evaluates what it has left", () => {
    const game = probed({ ...PINNED, evaluateEvery: 2 });
    const from = stepOf(game.history().branch);
    const cut = (game.history().decisions.at(-1) as { seq: number }).seq + 1;
    const again = play({ ...PINNED, evaluateEvery: 2 }, { ledger: game.job.ledger.slice(0, cut), pem: game.job.pem });
    expect([stepOf(again.history().branch), again.history().evaluations.at(-1)?.step]).toEqual([from, from]);
  });

  it("a target that was reached is where the job ends, though steps behind it have left it and another state has a lower loss", () => {
    const stop = { target: 9, patience: null, forwards: null };
    const game = probed({ ...PINNED, evaluateEvery: 1, staleness: 1, stop });
    game.turn();
    game.answer();
    game.answer();
    const [reached, behind] = [...game.job.round.evaluating] as [number, number];
    expect(behind).toBe(reached + 1);
    const evaluated = { kind: "evaluated" as const, stateHash: game.job.round.manifest.stateHash, examples: 2, curvature: null, nowMs: 0 };
    game.job.feed({ ...evaluated, step: reached, loss: game.here(), score: 9 });
    expect(game.history().ended?.reason).toBe("target");
    game.job.feed({ ...evaluated, step: behind, loss: 0.01, score: 1 });
    expect([stepOf(game.history().branch), game.job.round.phase]).toEqual([reached, "finished"]);
  });

  it("one that its budget ends in such a state is over all the same", () => {
    const game = probed({ ...PINNED, evaluateEvery: 50, stop: { target: null, patience: null, forwards: 40 * 32 } });
    for (let n = 0; n < 60 && game.history().ended === null; n++) game.answer();
    expect(game.history().ended?.reason).toBe("forwards");
    game.losses.set(game.history().lastStep, Number.NaN);
    game.evaluate();
    expect([game.kinds().at(-1), game.job.round.phase]).toEqual(["restore", "finished"]);
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
