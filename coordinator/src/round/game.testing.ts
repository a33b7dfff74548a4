/** Plays a job through the whole round by a course of losses: a quadratic whose held-out loss each step lowers by K s r (a - b r). */
import { type Settings, stepOf } from "@zoswarm/shared/ledger/folds";
import type { Entry } from "@zoswarm/shared/protocol/entries";
import type { Manifest } from "@zoswarm/shared/protocol/manifest";
import { expect } from "vitest";
import { drive } from "./driver.testing.ts";
import { directionsOf } from "./size.ts";

export const A = "12D3KooWAAAAAAAAAAAAAAAAAAAA";
export const B = "12D3KooWBBBBBBBBBBBBBBBBBBBB";
const HASH = "ab".repeat(32);
export const OPEN = { rate: null, epsilonLog2: null, groups: null, directionsLog2: null };
/** Everybody measures 160 directions a second. */
const SLOT_MS = 6.25;
export const PINNED = { rate: null, epsilonLog2: null, groups: 1, directionsLog2: 4 };

type Job = ReturnType<typeof drive>;
type Told = Partial<Manifest["job"]> & { staleness?: number };

/** Plays a job by a course of losses: `a` is the share of its promise that a short step keeps, `a / 2b` the best rate. */
export function play(
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

/** A job whose probe is over. */
export function probed(told: Told, options: Parameters<typeof play>[1] = {}) {
  const game = play(told, options);
  game.job.join(A);
  game.probe();
  return game;
}
/** What an undisturbed probe leaves. */
export const settled = (told: Told) => probed(told).history().settings as Settings;
