import { rateOf } from "@zoswarm/shared/protocol/announcement.testing";
import type { CommitEntry, Entry } from "@zoswarm/shared/protocol/entries";
import type { Manifest } from "@zoswarm/shared/protocol/manifest";
import { describe, expect, it, test } from "vitest";
import { canBegin, settingsOf } from "./course.ts";
import { drive, manifestOf } from "./driver.testing.ts";
import { isDeciding, type RoundEffect } from "./state.ts";

const A = "12D3KooWAAAAAAAAAAAAAAAAAAAA";
const B = "12D3KooWBBBBBBBBBBBBBBBBBBBB";
const slotsTo = (n: number) => Array.from({ length: n }, (_, slot) => slot);
const STOP = { target: null, patience: null, forwards: null };
const OPEN = { rate: null, epsilonLog2: null, groups: null, directionsLog2: null };

type Job = ReturnType<typeof drive>;
const announced = (effects: readonly RoundEffect[]) => effects.flatMap((effect) => (effect.kind === "announce" ? [effect] : []));
/** The entries in words: commits with their step, ends with their reason, and what task rides on them. */
const said = (effects: readonly RoundEffect[]) =>
  announced(effects).map(({ entry, task }) => {
    const what = entry.kind === "commit" ? ` ${entry.step}` : entry.kind === "end" ? ` ${entry.reason}` : "";
    return `${entry.kind}${what}${task ? `, task ${task.step}` : ""}`;
  });
const commits = (effects: readonly RoundEffect[]): CommitEntry[] =>
  announced(effects).flatMap(({ entry }) => (entry.kind === "commit" ? [entry] : []));
const codes = (effects: readonly RoundEffect[]) =>
  effects.flatMap((effect) => (effect.kind === "send" && effect.frame.kind === "verdict" ? [effect.frame.code] : []));
const isFinished = ({ round, effects }: Job) => round.phase === "finished" && effects.some(({ kind }) => kind === "finish");
const historyOf = ({ round }: Job) => round.replica.history;

test("the settings are the ledger's newest, before that the job file's, and unknown where it leaves them open", () => {
  const manifest = manifestOf("ab".repeat(32), {});
  const own = { rate: 1e-3, epsilonLog2: -10, groups: 1, directionsLog2: 3, probing: false, reference: null };
  expect(settingsOf(manifest, { settings: null })).toEqual(own);
  expect(settingsOf(manifest, { settings: { ...own, rate: 1 } })).toEqual({ ...own, rate: 1 });
  const open = { ...manifest, job: { ...manifest.job, ...OPEN, groups: 2 } };
  expect(settingsOf(open, { settings: null })).toBeNull();
  expect(settingsOf(open, { settings: own })).toEqual(own);
});

describe("a job that leaves its settings to the coordinator", () => {
  it("opens no step before the ledger says them, which it does once enough workers are ready and the initial state was tried", () => {
    const job = drive({ ...OPEN, directionsLog2: 2, steps: 50 }, 2);
    expect([said(job.effects), canBegin(job.round)]).toEqual([["evaluation"], false]);
    expect(said(job.join(A))).toEqual([]);
    expect(job.join(B)).toContainEqual({ kind: "try", step: -1, examples: 128 });
    expect([canBegin(job.round), job.round.open]).toEqual([true, []]);
    const effects = job.tried(1);
    expect(said(effects)).toEqual(["rate", "rate, task 0"]);
    const [decided, repeated] = announced(effects).map(({ entry }) => entry as Extract<Entry, { kind: "rate" }>);
    expect(decided).toMatchObject({ directionsLog2: 2, groups: 1, probing: true, why: expect.stringMatching(/./) });
    expect(repeated).toEqual({ ...decided, why: "" });
    expect(historyOf(job).decisions).toHaveLength(1);
    expect([...job.slots(A), ...job.slots(B)].sort()).toEqual(slotsTo(4));
  });
});

describe("settings that change while the job runs", () => {
  it("are the next announced task's, whose slots are shared anew though the roster is the same", () => {
    const job = drive({ steps: 9 }, 2);
    job.join(A);
    job.join(B);
    const turn = () => {
      const step = job.round.open[0]?.task.step ?? -1;
      return [A, B].flatMap((who) => job.answer(who, job.slots(who), { step }));
    };
    turn();
    const told = (effects: readonly RoundEffect[]) =>
      effects.flatMap((effect) => (effect.kind === "send" && effect.frame.kind === "slots" ? [effect.frame] : []));
    job.announced(rateOf({ rate: 0.5, epsilonLog2: -6, groups: 2, directionsLog2: 3, why: "twice as many batches" }));
    // Step 1 was announced before: it has one group still.
    expect(job.round.open.map(({ task, total }) => [task.step, total, task.epsilonLog2])).toEqual([[1, 8, -10]]);
    const effects = turn();
    expect(job.round.open.map(({ task, total }) => [task.step, total, task.epsilonLog2])).toEqual([[2, 16, -6]]);
    expect(told(effects).map(({ fromStep, toStep }) => [fromStep, toStep])).toEqual([
      [2, null],
      [2, null],
    ]);
    expect([...job.slots(A), ...job.slots(B)].sort((one, other) => one - other)).toEqual(slotsTo(16));
    const [commit] = commits(turn());
    expect(commit?.groups.map(({ g, m }) => [g, m])).toEqual([
      [0, 3],
      [1, 3],
    ]);
    job.announced(rateOf({ groups: 1, directionsLog2: 1, why: "few" }));
    turn();
    expect([...job.slots(A), ...job.slots(B)]).toEqual([0, 1]);
    turn();
    expect(historyOf(job).losses.map(({ directions, committed }) => [directions, committed])).toEqual([
      [8, 8],
      [8, 8],
      [16, 16],
      [16, 16],
      [2, 2],
    ]);
    expect(historyOf(job).forwards).toBe(2 * (8 + 8 + 16 + 16 + 2));
  });

  it("times of shares of another size no longer say how long a step waits", () => {
    const job = drive({ steps: 40, deadlineMs: 30_000, deadlineFloorMs: 100 });
    job.join(A);
    for (let step = 0; step < 9; step++) job.answer(A, slotsTo(8), { nowMs: 100 });
    expect(job.round.times.length).toBe(9);
    job.announced(rateOf({ directionsLog2: 5, why: "more" }));
    job.answer(A, slotsTo(8), { nowMs: 100 });
    expect([job.round.open[0]?.total, job.round.times]).toEqual([32, []]);
  });

  it("with stale steps: a commit is made at the rate that holds by then, from what its own task asked for", () => {
    const job = drive({ staleness: 1, steps: 9, rule: "plain", rate: 2 ** -10 });
    job.join(A);
    const furthest = (effects: readonly RoundEffect[]) => {
      const [group] = commits(effects)[0]?.groups ?? [];
      return Math.max(...Array.from(group?.a ?? [], (a) => Math.abs(a) * 2 ** -(group?.p ?? 0)));
    };
    // Slot 7 differs most: by 0.17 over two epsilons of 2^-10.
    const gradient = 0.17 / (2 * 2 ** -10);
    expect(furthest(job.answer(A, slotsTo(8)))).toBeCloseTo(gradient * 2 ** -10, 4);
    job.announced(rateOf({ rate: 2 ** -12, epsilonLog2: -8, directionsLog2: 4, why: "smaller" }));
    expect(job.round.open.map(({ task, total }) => [task.step, total])).toEqual([
      [1, 8],
      [2, 8],
    ]);
    for (const step of [1, 2]) expect(furthest(job.answer(A, slotsTo(8), { step }))).toBeCloseTo(gradient * 2 ** -12, 4);
    expect(job.round.open.map(({ task, total }) => [task.step, total, task.epsilonLog2])).toEqual([
      [3, 16, -8],
      [4, 16, -8],
    ]);
    expect(furthest(job.answer(A, slotsTo(16)))).toBeCloseTo(((0.25 * 2 ** 8) / 2) * 2 ** -12, 4);
  });

  it("on their way to the ledger, nothing is committed; a deadline that passed meanwhile comes again", () => {
    const job = drive({ steps: 9 }, 2);
    job.join(A);
    job.join(B);
    const mine = job.slots(A);
    job.round.decided++;
    job.answer(A, mine);
    expect(job.feed({ kind: "deadline", step: 0, nowMs: 1000 })).toEqual([]);
    expect(commits(job.answer(B, job.slots(B)))).toEqual([]);
    expect(said(job.announced(rateOf({ rate: 0.5, directionsLog2: 3, why: "longer" }), 1500))).toEqual(["roster", "commit 0, task 1"]);
    job.round.decided++;
    const rearmed = job.announced(rateOf({ rate: 0.25, directionsLog2: 3, why: "shorter" }), 1600);
    expect(rearmed.filter(({ kind }) => kind === "deadline")).toHaveLength(1);
  });
});

describe("a job ends", () => {
  const stopping = (stop: Partial<Manifest["job"]["stop"]>, job: Partial<Manifest["job"]> & { staleness?: number } = {}) =>
    drive({ steps: 50, evaluateEvery: 1, ...job, stop: { ...STOP, ...stop } });

  it("at the target, and everybody is thanked", () => {
    const job = stopping({ target: 0.8 });
    job.join(A);
    job.answer(A, slotsTo(8));
    job.evaluated({ score: 0.79 });
    job.answer(A, slotsTo(8));
    expect(isFinished(job)).toBe(false);
    job.evaluated({ score: 0.8 });
    expect(said(job.effects).slice(-2)).toEqual(["evaluation", "end target"]);
    expect(historyOf(job)).toMatchObject({ lastStep: 1, open: [], ended: { reason: "target" } });
    expect([isFinished(job), job.round.open]).toEqual([true, []]);
    expect(job.effects.some((effect) => effect.kind === "dismiss" && effect.peerId === A && effect.code === "finished")).toBe(true);
  });

  it("at a target of which less is better, which the initial state may have reached", () => {
    const job = drive({ stop: { ...STOP, target: 20 } });
    job.round.manifest.objective.metric = "perplexity";
    job.join(A);
    expect(said(job.answer(A, slotsTo(8)))).toContain("end target");
    job.evaluated({ score: 30 });
    expect(isFinished(job)).toBe(true);
  });

  it("with its budget of forward passes: the open step is abandoned, and the last state evaluated though it is no checkpoint", () => {
    const job = stopping({ forwards: 30 }, { evaluateEvery: 10 });
    job.join(A);
    job.answer(A, slotsTo(8));
    let isLate = false;
    // The end is on its way while the next step's results come.
    job.between = () => {
      if (!isDeciding(job.round) || isLate) return;
      isLate = true;
      job.answer(A, slotsTo(8), { step: 2 });
    };
    const effects = job.answer(A, slotsTo(8));
    expect([said(effects), isLate]).toEqual([["commit 1, task 2", "end forwards"], true]);
    expect(job.effects.filter((effect) => effect.kind === "evaluate")).toEqual([
      { kind: "evaluate", step: -1 },
      { kind: "evaluate", step: 1 },
    ]);
    expect([job.round.phase, historyOf(job).forwards]).toEqual(["ending", 32]);
    expect(codes([...job.answer(A, slotsTo(8), { step: 1 }), ...job.answer(A, slotsTo(8), { step: 2 })])).toEqual(["late", "unknown-step"]);
    job.evaluated();
    expect([isFinished(job), historyOf(job).evaluations.at(-1)?.step]).toEqual([true, 1]);
  });

  it("with stale steps: what is open behind the commit that ends it is abandoned", () => {
    const job = stopping({ forwards: 16 }, { evaluateEvery: 10, staleness: 2 });
    job.join(A);
    expect(job.round.open.map(({ task }) => task.step)).toEqual([0, 1, 2]);
    job.answer(A, slotsTo(8));
    expect([job.round.open, job.round.phase, historyOf(job).lastStep]).toEqual([[], "ending", 0]);
    job.evaluated();
    expect(isFinished(job)).toBe(true);
  });

  it("when its loss has not fallen in so many evaluations", () => {
    const job = stopping({ patience: 2 });
    job.join(A);
    for (const loss of [0.6, 0.65, 0.5, 0.5]) {
      job.answer(A, slotsTo(8));
      job.evaluated({ loss });
      expect(job.round.phase).toBe("open");
    }
    job.answer(A, slotsTo(8));
    job.evaluated({ loss: 0.7 });
    expect(historyOf(job).ended).toEqual({ reason: "patience", why: expect.stringContaining("0.5000, after step 3") });
    expect(isFinished(job)).toBe(true);
  });

  it("at its last step without an end entry, as it always did", () => {
    const job = stopping({ forwards: 1_000 }, { steps: 1 });
    job.join(A);
    job.answer(A, slotsTo(8));
    job.evaluated();
    expect([isFinished(job), historyOf(job).ended]).toEqual([true, null]);
  });

  it("once: restarted from an ended ledger it evaluates what is not evaluated, finishes, and sends away whoever comes", () => {
    const job = stopping({ forwards: 30 }, { evaluateEvery: 10 });
    job.join(A);
    for (let step = 0; step < 2; step++) job.answer(A, slotsTo(8));
    const settings = { steps: 50, evaluateEvery: 10, stop: { ...STOP, forwards: 30 } };
    const again = drive(settings, 1, job.ledger, job.pem);
    expect([isFinished(again), said(again.effects)]).toEqual([true, ["evaluation"]]);
    const third = drive(settings, 1, again.ledger, job.pem);
    expect([isFinished(third), said(third.effects)]).toEqual([true, []]);
    third.join(B);
    expect(third.effects.filter((effect) => effect.kind === "dismiss")).toMatchObject([{ peerId: B, code: "finished" }]);
    expect(third.effects.some((effect) => effect.kind === "send" && effect.frame.kind === "slots")).toBe(false);
  });

  it("also where a crash came between the commit and its end entry", () => {
    const job = stopping({ forwards: 30 }, { evaluateEvery: 10 });
    job.join(A);
    for (let step = 0; step < 2; step++) job.answer(A, slotsTo(8));
    const settings = { steps: 50, evaluateEvery: 10, stop: { ...STOP, forwards: 30 } };
    const again = drive(settings, 1, job.ledger.slice(0, -1), job.pem);
    expect([isFinished(again), said(again.effects)]).toEqual([true, ["end forwards", "evaluation"]]);
  });

  it("in a state that was restored, which is evaluated already", () => {
    const job = stopping({ forwards: 60 });
    job.join(A);
    for (let step = 0; step < 3; step++) {
      job.answer(A, slotsTo(8));
      job.evaluated();
    }
    job.announced({ kind: "restore", step: 0, stateHash: "ab".repeat(32) });
    expect(job.round.open.map(({ task }) => task.step)).toEqual([3]);
    job.announced({ kind: "restore", step: 1, stateHash: "ab".repeat(32) });
    job.announced({ kind: "end", reason: "diverged", why: "again and again" });
    expect([isFinished(job), job.round.evaluating.size]).toEqual([true, 0]);
  });
});
