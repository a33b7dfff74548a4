/** A volunteer of a simulation: the real lifecycle, and the effects of worker/src/worker.ts in the same order on a virtual disk and network. */
import { branchTo } from "@zoswarm/shared/ledger/folds";
import { nextDelayMs } from "@zoswarm/shared/net/redial";
import type { CommitEntry } from "@zoswarm/shared/protocol/entries";
import { LIMITS } from "@zoswarm/shared/protocol/limits";
import { encodeWorkerFrame, parseCoordinatorFrame } from "@zoswarm/shared/protocol/messages";
import { PROTOCOL_VERSION } from "@zoswarm/shared/protocol/topics";
import { validateAnnouncement } from "@zoswarm/shared/protocol/validate";
import { createReplica, headOf, receive } from "@zoswarm/shared/replica/replica";
import {
  createVolunteer,
  reduce,
  type Volunteer,
  type VolunteerEffect,
  type VolunteerEvent,
} from "../../worker/src/lifecycle/lifecycle.ts";
import type { Disk } from "./disk.ts";
import { createEvaluator, sidesOf } from "./evaluator.ts";
import type { Machine } from "./faults.ts";
import type { End, Link } from "./network.ts";
import { type Process, startProcess } from "./process.ts";
import type { Sim } from "./simulate.ts";
import type { Life } from "./world.ts";

export interface WorkerProcess {
  life: Life;
  volunteer: Volunteer;
  /** It was told that the job is over, and has its end. */
  readonly finished: boolean;
  isIdle(): boolean;
  gossip(bytes: Uint8Array): void;
  /** A bit of its parameters flips. */
  corrupt(): void;
  /** Sends more than it should, as a hostile program would. */
  flood(): void;
}

/** Events of its own that may wait beyond the inbox's limit. */
const OWN_EVENTS_MAX = 20;
const FOR_THE_LOOP: readonly string[] = ["applied", "gap", "fork", "rewind", "other-branch"];
/** Entries by which a range goes back where the peer has none at the place asked for. */
const PAGE_BACK = 8;
const FLOOD_FRAMES = 400;

export interface WorkerPlace {
  name: string;
  peerId: string;
  machine: Machine;
  link: Link;
  disk: Disk;
}

export function startWorker(sim: Sim, { name, peerId, machine, link, disk }: WorkerPlace, run: string): WorkerProcess {
  const { world, checkers, commitKey, manifest, jobId, mutation, random } = sim;
  const { verifier } = commitKey;
  const life: Life = { alive: true };
  const timerMs = (ms: number) => ms / machine.clockRate;
  const replica = createReplica(jobId, manifest.job);
  for (const bytes of disk.entries) {
    const { code } = receive(replica, bytes, verifier, true);
    if (code !== "applied") sim.fail("no-own-stop", `${run}: the ledger on disk does not hold at ${replica.history.nextSeq} (${code})`);
  }
  const evaluator = createEvaluator(world, life, sim.objective, machine.passesPerSecond, (x, after) => checkers.moved(run, x, after));
  const volunteer = createVolunteer(replica);
  let session: End | null = null;
  let attempt = 0;
  let refusals = 0;
  let finished = false;
  /** Whether the last catching up, after the farewell, was complete. */
  let complete: boolean | null = null;

  /** Losses measured from parameters that a fault has changed, by head and slot. */
  const tainted = new Set<string>();
  /** State hashes of such parameters: theirs are the only ones that may differ from the ledger's. */
  const flipped = new Set<string>();
  const unapplied: CommitEntry[] = [];

  /** Commits in a row are replayed together; `done` when theta stands where the ledger does. */
  function applyAll(done: () => void) {
    const commits = unapplied.splice(0);
    if (commits.length === 0) return done();
    const last = commits.at(-1)?.step ?? -1;
    evaluator.replay(commits, replica.history.states.get(last) ?? null, done);
  }
  function checkpoint(step: number, done: () => void): void {
    applyAll(() =>
      evaluator.call(0.1, () => {
        if (evaluator.isTainted) flipped.add(evaluator.stateHash());
        process.enqueueOwn({ kind: "checkpointed", checkpoint: { step, stateHash: evaluator.stateHash() } });
        done();
      }),
    );
  }
  /** Theta anew from the ledger; the loop waits, and the coordinator hears that this node lives. */
  function resync(done: () => void) {
    world.note(name, "makes its state anew");
    unapplied.length = 0;
    const { branch, evaluations } = replica.history;
    evaluator.reset(branchTo(branch), branch, () => {
      const steps = new Set(branchTo(branch).map(({ step }) => step));
      const stated = evaluations.findLast(({ step }) => steps.has(step));
      process.enqueueOwn({ kind: "resynced", checkpoint: stated ? { step: stated.step, stateHash: stated.stateHash } : null });
      done();
    });
  }

  function perform(effect: VolunteerEffect, done: () => void) {
    switch (effect.kind) {
      case "append":
        if (mutation?.forgetAppend === true && effect.seq === 3) return done();
        return disk.append(effect.seq, effect.bytes, life, done);
      case "apply":
        unapplied.push(effect.commit);
        if (mutation?.applyTwice === true && effect.commit.step === 1) unapplied.push(effect.commit);
        return done();
      case "restore":
        unapplied.length = 0;
        return evaluator.reset(effect.commits, replica.history.branch, () => checkpoint(effect.step, done));
      case "anew": {
        unapplied.length = 0;
        const step = effect.commits.at(-1)?.step;
        evaluator.reset(effect.commits, step === undefined ? null : (replica.history.states.get(step) ?? null), () => {});
        return done();
      }
      case "checkpoint":
        return checkpoint(effect.step, done);
      case "resync":
        if (!flipped.has(effect.stateHash)) sim.fail("equal-bytes", `${run} differs from the ledger after step ${effect.step}`);
        return resync(done);
      case "give-up":
        if (![...flipped].some((hash) => effect.message.includes(hash.slice(0, 12)))) sim.fail("no-own-stop", `${run}: ${effect.message}`);
        world.note(name, "gives up");
        return sim.kill(name);
      case "fetch":
        ask(effect.fromSeq);
        return done();
      case "rewind":
        world.note(name, `drops ${effect.dropped} entries from ${effect.seq} on for epoch ${effect.epoch}`);
        return disk.replaceFrom(effect.seq, effect.bytes, life, () => sim.startAnew(name));
      case "send":
        if (effect.frame.kind === "result") checkers.sent(peerId, effect.frame, tainted);
        session?.send(encodeWorkerFrame(effect.frame));
        return done();
      case "measure":
        return applyAll(() => {
          const sides = sidesOf(effect.task, effect.slots, effect.known);
          const { head } = effect;
          evaluator.measure(effect.task, sides, (losses, elapsedMs) => {
            if (evaluator.isTainted) for (const { slot } of losses) tainted.add(`${head} ${slot}`);
            process.enqueueOwn({ kind: "measured", head, losses, elapsedMs });
          });
          done();
        });
      case "abort":
        evaluator.abort();
        return done();
      case "outcome":
        if (effect.code !== "applied") world.note(name, `announcement: ${effect.code}`);
        return done();
      case "stop":
        return sim.fail("no-own-stop", `${run}: ${effect.message}`);
      case "task":
      case "successor":
        return done();
    }
  }

  const process: Process<VolunteerEvent> = startProcess<VolunteerEvent, VolunteerEffect>({
    world,
    life,
    inboxMax: mutation?.inboxMax ?? sim.scenario.inboxMax,
    reduce: (event) => reduce(volunteer, event, verifier),
    perform,
    mayDie: (effect, when) => sim.mayDie(name, effect.kind, when),
    settled() {
      checkers.replica(run, replica);
      checkers.queue(run, "events waiting", process.waiting, sim.scenario.inboxMax + OWN_EVENTS_MAX);
    },
  });
  const beat = () => {
    process.enqueue({ kind: "heartbeat" });
    world.after(timerMs(LIMITS.heartbeatMs), beat, life);
  };

  /** Many announcements may be behind one gap: it is asked for once. */
  let askedFrom = Number.POSITIVE_INFINITY;
  function ask(from: number) {
    if (from >= askedFrom) return;
    askedFrom = from;
    catchUp(() => (askedFrom = Number.POSITIVE_INFINITY), from);
  }

  /** Asks for the ledger from the last own entry on until there is no more, or nobody answers; further back where nobody has that. */
  function catchUp(then: (complete: boolean) => void, from = Math.max(0, replica.history.nextSeq - 1), met = false) {
    const listener = sim.listener();
    if (listener === null) return world.after(link.delayMs(), () => then(false), life);
    link.ask(
      life,
      () => (listener.life.alive ? listener.range(from) : null),
      (answer) => {
        if (answer === null) return then(false);
        if (answer.length === 0 && (met || from === 0)) return then(true);
        if (answer.length === 0) return catchUp(then, Math.max(0, from - PAGE_BACK), false);
        for (const bytes of answer) if (!process.enqueue({ kind: "announcement", bytes, source: "range" })) return then(false);
        catchUp(then, from + answer.length, true);
      },
    );
  }

  function dial() {
    const listener = sim.listener();
    const ends = listener === null ? null : link.connect(life, listener.life);
    if (listener === null || ends === null) {
      const waitMs =
        listener === null ? nextDelayMs(refusals++, random.next(), LIMITS.redialRefusedMsMax) : nextDelayMs(attempt++, random.next());
      return world.after(timerMs(waitMs), dial, life);
    }
    refusals = 0;
    const sinceMs = world.nowMs;
    const end = ends.dialler;
    world.after(link.delayMs(), () => (listener.life.alive ? listener.accept(peerId, ends.listener) : end.close()));
    end.onFrame = (bytes) => hear(end, bytes);
    end.onClose = () => {
      if (session === end) {
        session = null;
        process.enqueueOwn({ kind: "offline" });
      }
      if (finished) return;
      if (world.nowMs - sinceMs >= LIMITS.redialMsMax) attempt = 0;
      world.after(timerMs(nextDelayMs(attempt++, random.next())), dial, life);
    };
    // The stream is open a round trip after the dial; the listener's ear comes first.
    world.after(
      2 * machine.delayMs,
      () =>
        end.send(encodeWorkerFrame({ kind: "hello", version: PROTOCOL_VERSION, jobId, name, device: "simulated", threads: 1, port: 0 })),
      life,
    );
  }

  function hear(end: End, bytes: Uint8Array) {
    const parsed = parseCoordinatorFrame(bytes);
    if (!parsed.ok) return end.close();
    const { frame } = parsed;
    switch (frame.kind) {
      case "welcome":
        session = end;
        process.enqueueOwn({ kind: "online" });
        return catchUp((complete) => {
          if (!end.open) return;
          if (complete) process.enqueueOwn({ kind: "caught-up" });
          else end.close();
        });
      case "slots":
        if (!process.enqueue({ kind: "slots", frame })) end.close();
        return;
      case "repair":
        if (!process.enqueue({ kind: "announcement", bytes: frame.announcement, source: "repair" })) end.close();
        return;
      case "farewell":
        if (frame.code !== "finished") return;
        finished = true;
        return catchUp((whole) => {
          complete = whole;
        });
      case "verdict":
        if (frame.code !== "accepted") world.note(name, `result of step ${frame.step}: ${frame.code}`);
    }
  }

  evaluator.replay(branchTo(replica.history.branch), replica.history.branch, () => {
    dial();
    world.after(timerMs(LIMITS.heartbeatMs), beat, life);
  });
  return {
    life,
    volunteer,
    get finished() {
      return finished;
    },
    isIdle: () =>
      complete !== null && process.waiting === 0 && (!complete || replica.history.nextSeq === checkers.lengthOf(replica.history.epoch)),
    gossip(bytes) {
      const { code } = validateAnnouncement(bytes, headOf(replica), verifier);
      if (FOR_THE_LOOP.includes(code)) process.enqueue({ kind: "announcement", bytes, source: "gossip" });
    },
    corrupt: () => evaluator.corrupt(random.next()),
    flood() {
      for (let i = 0; i < FLOOD_FRAMES; i++)
        session?.send(encodeWorkerFrame({ kind: "heartbeat", nextSeq: replica.history.nextSeq, state: volunteer.state, checkpoint: null }));
    },
  };
}
