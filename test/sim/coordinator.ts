/**
 * The coordinator of a simulation: the real round, and the effects of coordinator/src/coordinator.ts in the same order on a virtual
 * disk and network.
 */
import { branchTo } from "@zoswarm/shared/ledger/folds";
import { createAnnouncement } from "@zoswarm/shared/protocol/announcement";
import { LIMITS } from "@zoswarm/shared/protocol/limits";
import { type CoordinatorFrame, encodeCoordinatorFrame, parseWorkerFrame } from "@zoswarm/shared/protocol/messages";
import { PROTOCOL_VERSION } from "@zoswarm/shared/protocol/topics";
import { validateAnnouncement } from "@zoswarm/shared/protocol/validate";
import { headOf, receive } from "@zoswarm/shared/replica/replica";
import { firstSettings } from "../../coordinator/src/round/course.ts";
import { reduce } from "../../coordinator/src/round/round.ts";
import { createRound, type Round, type RoundEffect, type RoundEvent } from "../../coordinator/src/round/state.ts";
import type { Tally } from "./checkers.ts";
import type { Disk } from "./disk.ts";
import { createEvaluator, curvatureOf } from "./evaluator.ts";
import type { End } from "./network.ts";
import { type Process, startProcess } from "./process.ts";
import type { Sim } from "./simulate.ts";
import type { Life } from "./world.ts";

export interface CoordinatorProcess {
  life: Life;
  round: Round;
  /** A worker's session has reached it. */
  accept(peerId: string, end: End): void;
  range(fromSeq: number): Uint8Array[];
  /** Gossip that reached it from somebody else. */
  gossip(bytes: Uint8Array): void;
}

interface Open {
  end: End;
  greeted: boolean;
  heardMs: number;
}

/** Events of its own that may wait beyond the inbox's limit: a timer, a flush, the ends of sessions. */
const OWN_EVENTS_MAX = 40;
/** Forward passes of a held-out evaluation. */
const EVALUATION_PASSES = 4;

/** Starts from what is on disk; `takesOver`: as the next epoch, whose entry comes before anything else. */
export function startCoordinator(sim: Sim, disk: Disk, run: string, takesOver: boolean): CoordinatorProcess {
  const { world, checkers, commitKey, manifest, jobId, scenario, mutation } = sim;
  const machine = scenario.coordinator;
  const life: Life = { alive: true };
  const bornMs = world.nowMs;
  const nowMs = () => machine.clockMs + (world.nowMs - bornMs) * machine.clockRate;
  const timerMs = (ms: number) => ms / machine.clockRate;
  const tally: Tally = { credited: new Map(), abandoned: 0 };
  const round = createRound(manifest, jobId, commitKey.key, scenario.waitFor);
  const { history } = round.replica;
  const takeIn = (bytes: Uint8Array) => receive(round.replica, bytes, commitKey.verifier, true).code;
  for (const [seq, bytes] of disk.entries.entries()) {
    checkers.durable(seq, bytes);
    const code = takeIn(bytes);
    if (code !== "applied") sim.fail("no-own-stop", `${run}: entry ${seq} of the ledger on disk does not hold (${code})`);
  }
  const evaluator = createEvaluator(world, life, sim.objective, machine.passesPerSecond, (x, after) => checkers.moved(run, x, after));
  evaluator.replay(branchTo(history.branch), history.branch, () => {});
  let tip = { seq: history.nextSeq, hash: history.headHash };
  let deadline = 0;
  let isListening = !takesOver;
  const sessions = new Map<string, Open>();

  function send(peerId: string, frame: CoordinatorFrame): void {
    const open = sessions.get(peerId);
    if (open?.greeted) open.end.send(encodeCoordinatorFrame(frame));
  }

  function publish(bytes: Uint8Array): void {
    checkers.published(bytes);
    for (const [peerId, { greeted }] of sessions) if (greeted) sim.gossip(peerId, bytes);
  }

  function announce({ entry, task }: Extract<RoundEffect, { kind: "announce" }>, done: () => void) {
    const { bytes, hash, seq } = createAnnouncement(
      { jobId, epoch: history.epoch, seq: tip.seq, prevHash: tip.hash, entry, task },
      commitKey.key,
    );
    world.note(
      "coordinator",
      `announces ${seq}: ${entry.kind}${entry.kind === "commit" ? ` of step ${entry.step}` : ""}${task ? `, task ${task.step}` : ""}`,
    );
    const publishEarly = mutation?.announceEarly === true;
    if (publishEarly) publish(bytes);
    disk.append(seq, bytes, life, () => {
      checkers.durable(seq, bytes);
      sim.standby.follow(disk, seq + 1, life, () => {
        tip = { seq: seq + 1, hash };
        enqueue({ kind: "announced", bytes, nowMs: nowMs() });
        if (!publishEarly) publish(bytes);
        done();
      });
    });
  }

  /** The held-out loss; of a state that a job may go back from, now and then no number. */
  function lossAfter(step: number): number {
    const isHole = step >= 0 && manifest.job.rate === null && sim.random.chance(scenario.holes);
    return isHole ? Number.NaN : sim.objective.loss(evaluator.x, 0, -1);
  }

  function perform(effect: RoundEffect, done: () => void) {
    switch (effect.kind) {
      case "announce":
        return announce(effect, done);
      case "send":
        send(effect.peerId, effect.frame);
        return done();
      case "deadline": {
        const mine = ++deadline;
        const { step } = effect;
        world.after(timerMs(effect.afterMs), () => mine === deadline && enqueue({ kind: "deadline", step, nowMs: nowMs() }), life);
        return done();
      }
      case "evaluate":
        evaluator.call(EVALUATION_PASSES, () => {
          const loss = lossAfter(effect.step);
          enqueue({
            kind: "evaluated",
            step: effect.step,
            stateHash: evaluator.stateHash(),
            loss,
            score: loss,
            examples: 1,
            curvature: curvatureOf(sim.objective, evaluator.x),
            nowMs: nowMs(),
          });
        });
        return done();
      case "try":
        evaluator.call(EVALUATION_PASSES, () => {
          enqueue({ kind: "tried", step: effect.step, stateHash: evaluator.stateHash(), loss: lossAfter(effect.step), nowMs: nowMs() });
        });
        return done();
      case "apply":
        evaluator.replay([effect.commit], history.states.get(effect.commit.step) ?? null, () => {});
        return done();
      case "restore":
        evaluator.reset(effect.commits, history.branch, () => {});
        return done();
      case "dismiss":
        send(effect.peerId, { kind: "farewell", code: effect.code, message: effect.message });
        sessions.get(effect.peerId)?.end.close();
        return done();
      case "stop":
        return sim.fail("no-own-stop", `${run}: ${effect.message}`);
      case "finish":
        world.note("coordinator", "finished");
        return done();
      default:
        return done();
    }
  }

  const process: Process<RoundEvent> = startProcess<RoundEvent, RoundEffect>({
    world,
    life,
    inboxMax: mutation?.inboxMax ?? scenario.inboxMax,
    reduce(event) {
      const before = round.open;
      const effects = mutation?.roundEffects?.(reduce(round, event), round) ?? reduce(round, event);
      for (const effect of effects)
        if (effect.kind === "announce" && effect.entry.kind === "commit")
          tally.credited.set(
            effect.entry.step,
            effect.entry.contributors.reduce((n, [who, slots]) => n + (who === 0 ? 0 : slots), 0),
          );
      // A restore and an end drop all that is open.
      if (before !== round.open)
        tally.abandoned += before.flatMap(({ answers }) => [...answers.values()].filter(({ losses }) => losses !== null)).length;
      if (event.kind === "announced") checkers.credit(round.replica);
      return effects;
    },
    perform,
    mayDie: (effect, when) => sim.mayDie("coordinator", effect.kind, when),
    settled() {
      checkers.replica(run, round.replica);
      checkers.round(round, tally);
      checkers.queue(run, "events waiting", process.waiting, scenario.inboxMax + OWN_EVENTS_MAX);
    },
  });
  const enqueue = (event: RoundEvent) => process.enqueueOwn(event);

  function accept(peerId: string, end: End): void {
    if (!isListening) {
      end.close();
      return;
    }
    const before = sessions.get(peerId);
    before?.end.close();
    const one: Open = { end, greeted: false, heardMs: world.nowMs };
    sessions.set(peerId, one);
    const listen = () => {
      const leftMs = one.heardMs + (one.greeted ? LIMITS.silenceMsMax : LIMITS.helloTimeoutMs) - world.nowMs;
      if (!end.open) return;
      if (leftMs > 0) world.after(timerMs(leftMs) + 1, listen, life);
      else end.close();
    };
    listen();
    end.onClose = () => {
      if (sessions.get(peerId) === one) sessions.delete(peerId);
      if (one.greeted) enqueue({ kind: "left", peerId, nowMs: nowMs() });
    };
    end.onFrame = (bytes) => {
      one.heardMs = world.nowMs;
      const parsed = parseWorkerFrame(bytes);
      if (!parsed.ok || (parsed.frame.kind === "hello") === one.greeted) return end.close();
      const { frame } = parsed;
      // No simulated coordinator is succeeded.
      if (frame.kind === "proof") return end.close();
      if (frame.kind !== "hello") {
        const event: RoundEvent =
          frame.kind === "result"
            ? { kind: "result", peerId, frame, nowMs: nowMs() }
            : { kind: "heartbeat", peerId, frame, nowMs: nowMs() };
        if (!process.enqueue(event)) return end.close();
        const newest = frame.kind === "heartbeat" && frame.nextSeq < tip.seq ? disk.entries[tip.seq - 1] : undefined;
        if (newest && mutation?.noRepair !== true) send(peerId, { kind: "repair", announcement: newest });
        return;
      }
      if (frame.version !== PROTOCOL_VERSION) return end.close();
      one.greeted = true;
      send(peerId, { kind: "welcome", manifest: sim.manifestBytes, nextSeq: history.nextSeq, donors: [], epoch: history.epoch });
      if (!process.enqueue({ kind: "joined", peerId, hello: frame, nowMs: nowMs() })) end.close();
    };
  }

  function begin(): void {
    if (mutation?.noReopen !== true || disk.entries.length === 0) {
      enqueue({ kind: "started", nowMs: nowMs() });
      const reopened = history.open.map(({ seq }) => disk.entries[seq] as Uint8Array);
      sim.standby.follow(disk, disk.entries.length, life, () => world.after(0, () => reopened.forEach(publish), life));
    }
  }
  /** Fences the coordinator before it: nobody who has heard of this epoch listens to a lower one. */
  function takeOver(): void {
    const epoch = history.epoch + (mutation?.noEpoch === true ? 0 : 1);
    const entry =
      mutation?.noEpoch === true ? { kind: "rate" as const, ...firstSettings(manifest), why: "" } : { kind: "epoch" as const, epoch };
    const { bytes, seq, hash } = createAnnouncement({ jobId, epoch, seq: tip.seq, prevHash: tip.hash, entry, task: null }, commitKey.key);
    world.note("coordinator", `takes over at ${seq} as epoch ${epoch}`);
    disk.append(seq, bytes, life, () => {
      checkers.durable(seq, bytes);
      takeIn(bytes);
      tip = { seq: seq + 1, hash };
      isListening = true;
      begin();
    });
  }
  if (takesOver) takeOver();
  else begin();
  return {
    life,
    round,
    accept,
    range: (fromSeq) => disk.entries.slice(fromSeq, Math.min(fromSeq + 4, sim.standby.visible(disk))),
    gossip(bytes) {
      const { code } = validateAnnouncement(bytes, headOf(round.replica), commitKey.verifier);
      if (code === "applied" || code === "gap" || code === "fork")
        sim.fail("one-ledger", `somebody else signs with the commit key (${code})`);
    },
  };
}
