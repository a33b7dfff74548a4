import fc from "fast-check";
import { expect, test } from "vitest";
import {
  commitOf,
  evaluationOf,
  HASH,
  JOB_ID,
  PEERS,
  rateOf,
  restoreOf,
  rosterOf,
  startChain,
  taskOf,
} from "../protocol/announcement.testing.ts";
import { type Announcement, parseAnnouncement, type Task } from "../protocol/announcement.ts";
import type { Entry } from "../protocol/entries.ts";
import { runs } from "../zo/sample.ts";
import { branchTo, descendsFrom, type Extended, emptyHistory, evaluationsHere, extend, type History, lowestOf, stepOf } from "./folds.ts";

/** A history and the chain that it folds. */
function ledger() {
  const chain = startChain();
  const history = emptyHistory(JOB_ID);
  return {
    chain,
    history,
    add: (entry: Entry | null, task?: Task | null, epoch?: number) => extend(history, chain.next(entry, task, epoch)),
  };
}
const stepsOf = (history: History) => branchTo(history.branch).map(({ step }) => step);
const codeOf = (extended: Extended) => (extended.ok ? "ok" : extended.code);

test("before the first entry the chain begins at the job's id, and the state is the initial one", () => {
  const { history } = ledger();
  expect(history).toMatchObject({ nextSeq: 0, headHash: JOB_ID, epoch: 0, lastStep: -1, open: [], credit: [0] });
  expect(history).toMatchObject({ settings: null, decisions: [], forwards: 0, ended: null });
  expect([stepOf(history.branch), stepsOf(history)]).toEqual([-1, []]);
});

test("each entry moves the head by one place, to its own hash and epoch; a task alone moves nothing", () => {
  const { chain, history, add } = ledger();
  add(rosterOf("ada"));
  expect([history.nextSeq, history.headHash, history.epoch]).toEqual([1, chain.prevHash, 0]);
  add({ kind: "epoch", epoch: 3 }, null, 3);
  add(rateOf(), null, 3);
  expect([history.nextSeq, history.headHash, history.epoch]).toEqual([3, chain.prevHash, 3]);
  const { open, ...kept } = structuredClone(history);
  add(null, taskOf(0), 3);
  expect(open).toEqual([]);
  expect(history).toEqual({ ...kept, open: [{ task: taskOf(0), head: expect.any(String), seq: 3, base: null }] });
});

test("the roster grows in order of appearance, and whoever is new has no credit", () => {
  const { history, add } = ledger();
  add(rosterOf("ada"));
  add(commitOf(0, [[1, 4]]));
  add(rosterOf("bob", "cleo"));
  expect(history.roster).toEqual([
    { peerId: PEERS[0], name: "ada" },
    { peerId: PEERS[0], name: "bob" },
    { peerId: PEERS[1], name: "cleo" },
  ]);
  expect(history.credit).toEqual([0, 4, 0, 0]);
});

test("credit counts slots by contributor over all runs and commits; missing slots are nobody's", () => {
  const { history, add } = ledger();
  add(rosterOf("ada", "bob"));
  add(
    commitOf(0, [
      [2, 1],
      [0, 2],
      [1, 3],
      [2, 2],
    ]),
  );
  expect(history.credit).toEqual([2, 3, 3]);
  add(commitOf(1, [[1, 2]]));
  expect(history.credit).toEqual([2, 5, 3]);
});

test("the loss curve has a point for each commit, with the directions asked for and those that came in", () => {
  const { history, add } = ledger();
  add(rosterOf("ada"));
  add(
    commitOf(
      0,
      [
        [1, 1],
        [0, 3],
      ],
      0.7,
    ),
  );
  add(commitOf(3, [[0, 8]], null));
  expect(history.losses).toEqual([
    { step: 0, meanLoss: 0.7, directions: 4, committed: 1 },
    { step: 3, meanLoss: null, directions: 8, committed: 0 },
  ]);
  expect(history.lastStep).toBe(3);
});

test("evaluations are kept in the ledger's order, also one that comes after later commits, and move no state", () => {
  const { history, add } = ledger();
  add(evaluationOf(-1));
  add(commitOf(0));
  add(commitOf(1));
  add(evaluationOf(0, "cd".repeat(32)));
  expect(history.evaluations.map(({ step, stateHash, loss, score, examples }) => [step, stateHash, loss, score, examples])).toEqual([
    [-1, HASH, 0.7, 0.5, 8],
    [0, "cd".repeat(32), 0.7, 0.5, 8],
  ]);
  expect(stepsOf(history)).toEqual([0, 1]);
});

test("a task is open under the hash of the payload that carried it, until it is committed, or a restore", () => {
  const { chain, history, add } = ledger();
  const rate = rateOf();
  add(rate, taskOf(0));
  const opened = { task: taskOf(0), head: chain.prevHash, seq: 0, base: null };
  expect(history.open).toEqual([opened]);
  for (const entry of [rosterOf("ada"), evaluationOf(-1), rate]) add(entry);
  add({ kind: "epoch", epoch: 1 }, null, 1);
  expect(history.open).toEqual([opened]);
  add(commitOf(0), taskOf(1), 1);
  expect(history.open).toEqual([{ task: taskOf(1), head: chain.prevHash, seq: 5, base: history.branch }]);
  add(commitOf(1), null, 1);
  expect(history.open).toEqual([]);
  add(rosterOf("bob"), taskOf(2), 1);
  add(restoreOf(0), null, 1);
  expect(history.open).toEqual([]);
  add(restoreOf(1), taskOf(2), 1);
  expect(history.open.map(({ task }) => task)).toEqual([taskOf(2)]);
});

test("several tasks may be open, each with the state that the ledger stood at when it came; a commit closes its own, a restore all", () => {
  const { history, add } = ledger();
  const rate = rateOf();
  for (const step of [0, 1]) add(rate, taskOf(step));
  for (const step of [0, 1, 2]) add(commitOf(step), taskOf(step + 2));
  expect(history.open.map(({ task, seq, base }) => [task.step, seq, stepOf(base)])).toEqual([
    [3, 3, 1],
    [4, 4, 2],
  ]);
  add(commitOf(3));
  expect(history.open.map(({ task }) => task.step)).toEqual([4]);
  add(restoreOf(0));
  expect(history.open).toEqual([]);
});

test("a restore returns to the state of a step or to the initial one, and what was committed stays in curve and credit", () => {
  const { history, add } = ledger();
  add(rosterOf("ada"));
  for (const step of [0, 1, 2]) add(commitOf(step, [[1, 4]]));
  add(restoreOf(0));
  expect([stepOf(history.branch), stepsOf(history)]).toEqual([0, [0]]);
  add(commitOf(3, [[1, 4]]));
  expect(stepsOf(history)).toEqual([0, 3]);
  add(restoreOf(-1));
  expect([stepOf(history.branch), stepsOf(history)]).toEqual([-1, []]);
  add(commitOf(4, [[1, 4]]));
  expect(stepsOf(history)).toEqual([4]);
  // A branch that was left can be taken up again.
  add(restoreOf(2));
  expect(stepsOf(history)).toEqual([0, 1, 2]);
  expect([history.lastStep, history.credit, history.losses.map(({ step }) => step)]).toEqual([4, [0, 20], [0, 1, 2, 3, 4]]);
});

test("a step's number is never used again, not even after a restore to before it", () => {
  const { history, add } = ledger();
  for (const step of [0, 1, 2]) add(commitOf(step));
  expect(codeOf(add(commitOf(2)))).toBe("step-not-ascending");
  add(restoreOf(-1));
  for (const step of [0, 1, 2]) expect(codeOf(add(commitOf(step)))).toBe("step-not-ascending");
  expect(codeOf(add(commitOf(3)))).toBe("ok");
  expect(stepsOf(history)).toEqual([3]);
});

test("what breaks the ledger's rules is refused with its code and changes nothing, and neither does its task", () => {
  const { chain, history, add } = ledger();
  add(rosterOf("ada"));
  add(commitOf(5, [[1, 4]]), taskOf(6));
  const kept = structuredClone(history);
  const refused: [Entry, string][] = [
    [commitOf(5, [[1, 4]]), "step-not-ascending"],
    [
      commitOf(6, [
        [1, 2],
        [2, 2],
      ]),
      "unknown-contributor",
    ],
    [restoreOf(4), "unknown-restore"],
    [restoreOf(6), "unknown-restore"],
  ];
  for (const [entry, code] of refused) {
    expect(codeOf(extend(history, chain.branch().next(entry, taskOf(7))))).toBe(code);
    expect(history).toEqual(kept);
  }
  // The very same contributor is known once the roster names it.
  add(rosterOf("bob"));
  expect(codeOf(add(refused[1]?.[0] as Entry))).toBe("ok");
});

test("the newest rate entry says what is measured and made; it is a decision where it gives a reason, as restores and ends are", () => {
  const { history, add } = ledger();
  const first = rateOf({ rate: 0.2, epsilonLog2: -8, groups: 2, directionsLog2: 3, why: "a probe" });
  add(first, taskOf(0));
  const { kind, why, ...settings } = first;
  expect([kind, why, history.settings]).toEqual(["rate", "a probe", settings]);
  add(commitOf(0));
  const repeat = rateOf({ ...settings });
  add(repeat, taskOf(1));
  const shorter = rateOf({ ...settings, rate: 0.1, why: "it did not fall" });
  for (const entry of [shorter, restoreOf(0)]) add(entry);
  const end: Entry = { kind: "end", reason: "patience", why: "nor did this help" };
  add(end);
  expect(history.settings?.rate).toBe(0.1);
  expect(history.decisions).toEqual([
    { seq: 0, afterStep: -1, entry: first },
    { seq: 3, afterStep: 0, entry: shorter },
    { seq: 4, afterStep: 0, entry: restoreOf(0) },
    { seq: 5, afterStep: 0, entry: end },
  ]);
  expect(history.ended).toEqual({ reason: "patience", why: "nor did this help" });
});

test("forward passes are those behind committed slots: two for each where the task was two-sided, whatever other tasks are open", () => {
  const { history, add } = ledger();
  add(rosterOf("ada"));
  add(rateOf(), { ...taskOf(0), estimator: "one-sided" });
  add(rateOf(), taskOf(1));
  const three: [number, number][] = [
    [1, 3],
    [0, 1],
  ];
  add(commitOf(0, three));
  expect(history.forwards).toBe(3);
  add(commitOf(1, three), taskOf(2));
  expect(history.forwards).toBe(3 + 6);
  add(restoreOf(0));
  expect(history.forwards).toBe(9);
});

test("after an end nothing is trained and nothing is asked for; evaluations, a restore, rosters and a new epoch still stand", () => {
  const { chain, history, add } = ledger();
  const end: Entry = { kind: "end", reason: "forwards", why: "" };
  for (const step of [0, 1]) add(rateOf(), taskOf(step));
  add(commitOf(0));
  expect(codeOf(extend(history, chain.branch().next(end, taskOf(2))))).toBe("after-end");
  expect(history.open).toHaveLength(1);
  add(end);
  expect(history).toMatchObject({ open: [], lastStep: 0, ended: { reason: "forwards", why: "" } });
  const refused: [Entry | null, Task?][] = [
    [commitOf(1)],
    [rateOf()],
    [restoreOf(0), taskOf(1)],
    [restoreOf(7)],
    [end],
    [null, taskOf(1)],
    [evaluationOf(0), taskOf(1)],
  ];
  for (const [entry, task] of refused) {
    const kept = structuredClone(history);
    const code = entry?.kind === "restore" && task === undefined ? "unknown-restore" : "after-end";
    expect(codeOf(extend(history, chain.branch().next(entry, task ?? null)))).toBe(code);
    expect(structuredClone(history)).toEqual(kept);
  }
  for (const entry of [evaluationOf(0), restoreOf(-1), rosterOf("ada")]) expect(codeOf(add(entry))).toBe("ok");
  expect(codeOf(add({ kind: "epoch", epoch: 1 }, null, 1))).toBe("ok");
  expect(codeOf(add(commitOf(1), null, 1))).toBe("after-end");
});

test("any ledger gives the same history from its bytes, its credit is the sum of its slots, and its branch ascends", () => {
  const act = fc.record({
    what: fc.constantFrom("commit", "commit", "commit", "roster", "restore", "evaluation", "task"),
    step: fc.integer({ min: -1, max: 12 }),
    who: fc.nat(4),
    m: fc.nat(3),
  });
  const made = ({ what, step, who, m }: { what: string; step: number; who: number; m: number }): Entry | null => {
    if (what === "commit")
      return commitOf(Math.max(0, step), [
        [who, 2 ** m],
        [0, 2 ** m],
      ]);
    if (what === "roster") return rosterOf(...["ada", "bob", "cleo"].slice(0, 1 + (who % 3)));
    if (what === "restore") return restoreOf(step);
    return what === "evaluation" ? evaluationOf(step) : null;
  };
  fc.assert(
    fc.property(fc.array(act, { maxLength: 40 }), (acts) => {
      const { chain, history } = ledger();
      const taken: Announcement[] = [];
      for (const each of acts) {
        const ahead = chain.branch();
        const announcement = ahead.next(made(each), each.who % 2 === 0 ? taskOf(each.m) : null);
        if (!extend(history, announcement).ok) continue;
        Object.assign(chain, { seq: ahead.seq, prevHash: ahead.prevHash });
        taken.push(announcement);
      }
      const again = emptyHistory(JOB_ID);
      for (const { bytes } of taken) {
        const parsed = parseAnnouncement(bytes);
        expect(parsed.ok && extend(again, parsed.announcement)).toEqual({ ok: true });
      }
      expect(again).toEqual(history);
      const { credit, losses, roster, lastStep, nextSeq } = history;
      expect(nextSeq).toBe(taken.filter(({ entry }) => entry !== null).length);
      expect(credit).toHaveLength(roster.length + 1);
      expect(credit.reduce((sum, n) => sum + n, 0)).toBe(losses.reduce((sum, { directions }) => sum + directions, 0));
      expect(credit.slice(1).reduce((sum, n) => sum + n, 0)).toBe(losses.reduce((sum, { committed }) => sum + committed, 0));
      for (const steps of [stepsOf(history), losses.map(({ step }) => step)])
        expect(steps).toEqual([...new Set(steps)].sort((one, other) => one - other));
      expect(lastStep).toBe(losses.at(-1)?.step ?? -1);
    }),
    runs(200),
  );
});

test("an epoch begins with its own entry, once, and with nothing else", () => {
  const { history, add } = ledger();
  const refused: [Entry | null, number][] = [
    [rosterOf("ada"), 1],
    [null, 1],
    [{ kind: "epoch", epoch: 0 }, 0],
    [{ kind: "epoch", epoch: 2 }, 1],
    [{ kind: "epoch", epoch: 1 }, 0],
  ];
  for (const [entry, epoch] of refused) {
    const kept = structuredClone(history);
    expect(codeOf(extend(history, startChain().next(entry, entry === null ? taskOf(0) : null, epoch)))).toBe("epoch-without-entry");
    expect(structuredClone(history)).toEqual(kept);
  }
  expect(codeOf(add({ kind: "epoch", epoch: 4 }, null, 4))).toBe("ok");
  expect(codeOf(add(rosterOf("ada"), null, 4))).toBe("ok");
});

test("evaluations of states that a restore has left are of no state on the way here, until it is gone back to", () => {
  const { history, add } = ledger();
  const here = () => evaluationsHere(history).map(({ step }) => step);
  add(rosterOf("ada"));
  add(evaluationOf(-1));
  for (const step of [0, 1, 2]) {
    add(commitOf(step, [[1, 4]]));
    add(evaluationOf(step));
  }
  expect(here()).toEqual([-1, 0, 1, 2]);
  add(restoreOf(0));
  add(commitOf(3, [[1, 4]]));
  expect(here()).toEqual([-1, 0]);
  expect([-1, 0, 1, 2, 3, 4].filter((step) => descendsFrom(history, step))).toEqual([-1, 0, 3]);
  add(evaluationOf(2));
  add(evaluationOf(3));
  expect(here()).toEqual([-1, 0, 3]);
  add(restoreOf(2));
  expect(here()).toEqual([-1, 0, 1, 2, 2]);
});

test("the evaluation with the lowest loss is the oldest of those that tie", () => {
  const points = [0.5, 0.4, 0.4, 0.6].map((loss, step) => ({ ...evaluationOf(step), loss }));
  expect(lowestOf(points)?.step).toBe(1);
  expect(lowestOf([])).toBeUndefined();
});
