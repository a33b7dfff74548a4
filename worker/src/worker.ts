/**
 * A worker's imperative shell: performs what the volunteer's lifecycle decides. The parameters live in the evaluator's thread, the
 * ledger on disk; whatever breaks, the worker dials again and fetches what it missed.
 */
import type { KeyObject } from "node:crypto";
import { setTimeout } from "node:timers/promises";
import type { SnapshotOnWay } from "@zoswarm/shared/evaluate/calls";
import type { Evaluator } from "@zoswarm/shared/evaluate/client";
import { startLoop } from "@zoswarm/shared/loop";
import { joinTopic } from "@zoswarm/shared/net/gossip";
import type { SwarmNode } from "@zoswarm/shared/net/node";
import type { Session } from "@zoswarm/shared/net/session";
import type { Traffic } from "@zoswarm/shared/net/traffic";
import { ANNOUNCEMENT_CODES, type AnnouncementCode } from "@zoswarm/shared/protocol/codes";
import type { CommitEntry } from "@zoswarm/shared/protocol/entries";
import { LIMITS } from "@zoswarm/shared/protocol/limits";
import type { Manifest } from "@zoswarm/shared/protocol/manifest";
import { type Checkpoint, type CoordinatorFrame, encodeWorkerFrame } from "@zoswarm/shared/protocol/messages";
import { announceTopic } from "@zoswarm/shared/protocol/topics";
import { validateAnnouncement } from "@zoswarm/shared/protocol/validate";
import { headOf, highestEpoch, type Replica, rewindMessage } from "@zoswarm/shared/replica/replica";
import type { Incident } from "@zoswarm/shared/store/incidents";
import type { LedgerStore } from "@zoswarm/shared/store/ledgerstore";
import { createFollowing } from "./following.ts";
import { createVolunteer, reduce, type Volunteer, type VolunteerEffect, type VolunteerEvent } from "./lifecycle/lifecycle.ts";
import { measureSlots } from "./measure.ts";
import type { Shards } from "./shards.ts";

const INBOX_MAX = 20_000;
/** Commits that wait to be replayed together. */
const UNAPPLIED_MAX = 256;

/** Not applied, but the loop has something to do: to fetch, to go back, or to stop. */
const FOR_THE_LOOP: readonly AnnouncementCode[] = ["gap", "fork", "rewind", "other-branch"];

export interface WorkerOptions {
  node: SwarmNode;
  manifest: Manifest;
  jobId: string;
  /** What is on disk of the ledger. */
  replica: Replica;
  commitKey: KeyObject;
  /** Loaded with the job's graph, theta at the replica's head. */
  evaluator: Evaluator;
  /** Labels of the training examples, and the examples. */
  labels: Int32Array;
  shards: Shards;
  store: LedgerStore;
  /** Keeps the proof of a higher epoch on disk. */
  keepSuccessor: (bytes: Uint8Array) => void;
  /** A coordinator of a higher epoch is at work than that of the attached session. */
  onSucceeded: () => void;
  /** Makes theta anew from other peers, at the replica's head; gives the newest state on the way whose hash is the ledger's. */
  goAnew: (signal: AbortSignal) => Promise<Checkpoint | null>;
  /** A snapshot on this disk on the way of these commits. */
  nearest: (commits: readonly CommitEntry[]) => SnapshotOnWay | undefined;
  onStep: (volunteer: Volunteer) => void;
  /** Theta stands at the state after `step`, a checkpoint; calls made now to the evaluator see it. */
  onCheckpoint: (step: number) => void;
  onIncident: (incident: Incident) => void;
  log: (line: string) => void;
}

export interface RunningWorker {
  volunteer: Volunteer;
  /** Outcomes of announcements since the start. */
  outcomes: Partial<Record<AnnouncementCode, number>>;
  /** Uses a greeted session, with a coordinator of `epoch`, until it ends: catches up, then takes part. */
  attach(session: Session, epoch: number): void;
  /** A frame of the attached session. */
  frame(frame: Exclude<CoordinatorFrame, { kind: "welcome" | "farewell" | "standbys" }>): void;
  /** Signed bytes that prove the epoch that this worker knows; undefined before the first entry. */
  proof(): Uint8Array | undefined;
  detach(): void;
  /** Fetches what it misses of the ledger from a coordinator, whose session may be over, and applies it; false where it cannot be asked. */
  catchUp(peer: string, signal: AbortSignal): Promise<boolean>;
  /** Traffic at the first task and now, and the steps between. */
  measured(): Promise<{ steps: number; traffic: { from: Traffic; to: Traffic } | null }>;
  /** Rejects when the worker cannot go on; with code "rewound" where it can, once it is started anew from the disk. */
  readonly failed: Promise<never>;
  stop(): Promise<void>;
}

/** Takes part from the state on that the replica stands at. */
export async function startWorker(options: WorkerOptions): Promise<RunningWorker> {
  const {
    node,
    manifest,
    jobId,
    replica,
    commitKey,
    evaluator,
    labels,
    shards,
    store,
    keepSuccessor,
    onSucceeded,
    goAnew,
    nearest,
    onStep,
    onCheckpoint,
    onIncident,
    log,
  } = options;
  const volunteer = createVolunteer(replica);

  const outcomes: RunningWorker["outcomes"] = {};
  const failed = Promise.withResolvers<never>();
  failed.promise.catch(() => {});
  let session: Session | null = null;
  let sessionEpoch = 0;
  let measuring: AbortController | null = null;
  const over = new AbortController();
  let from: Traffic | null = null;
  let last: { steps: number; traffic: Traffic } | null = null;
  let firstStep = 0;
  /** Who waits for which event: an earlier one of the kind may stand before what was fetched. */
  const caughtUp = new Map<VolunteerEvent, () => void>();

  const topic = joinTopic(
    node,
    announceTopic(jobId),
    (bytes) => {
      const judged = validateAnnouncement(bytes, headOf(replica), commitKey);
      // Of a range it may still be history; who announces it now was succeeded.
      const code = judged.announcement && judged.announcement.epoch < highestEpoch(replica) ? "old-epoch" : judged.code;
      // Only what is applied is passed on.
      if (FOR_THE_LOOP.includes(code)) loop.enqueue({ kind: "announcement", bytes, source: "gossip" });
      return ANNOUNCEMENT_CODES[code];
    },
    (bytes) => loop.enqueue({ kind: "announcement", bytes, source: "gossip" }),
  );

  /** Says so, and takes the state from others; the coordinator hears of it meanwhile, since the loop waits. */
  async function resync({ step, stateHash, stated }: Extract<VolunteerEffect, { kind: "resync" }>): Promise<void> {
    const message = `after step ${step + 1} this replica has the state hash ${stateHash.slice(0, 12)}, the ledger states ${stated.slice(0, 12)}`;
    log(`${message}: nothing more is sent until the state is made anew from another peer`);
    onIncident({ code: "state-mismatch", message, step });
    const alive = setInterval(() => session?.send(encodeWorkerFrame(diverged)), LIMITS.heartbeatMs);
    const { nextSeq } = replica.history;
    const diverged = { kind: "heartbeat" as const, nextSeq, state: "diverged" as const, checkpoint: volunteer.checkpoint };
    try {
      unapplied.length = 0;
      const checkpoint = await goAnew(over.signal);
      log("the state agrees with the ledger again");
      loop.enqueueOwn({ kind: "resynced", checkpoint });
    } finally {
      clearInterval(alive);
    }
  }

  /** Commits in a row are replayed together, block by block: theta is needed when it is measured or hashed, not before. */
  const unapplied: CommitEntry[] = [];
  async function applyAll(): Promise<void> {
    const commits = unapplied.splice(0);
    if (commits.length > 0) await evaluator.call("replay", { commits });
  }

  async function checkpoint(step: number): Promise<void> {
    await applyAll();
    onCheckpoint(step);
    const { stateHash } = await evaluator.call("stateHash", null);
    loop.enqueueOwn({ kind: "checkpointed", checkpoint: { step, stateHash } });
  }

  async function restored({ commits, step, stateHash }: Extract<VolunteerEffect, { kind: "restore" }>): Promise<void> {
    unapplied.length = 0;
    await evaluator.call("reset", { commits, snapshot: nearest(commits) });
    const now = await evaluator.call("stateHash", null);
    if (now.stateHash !== stateHash)
      throw new Error(`the state restored to step ${step} has the hash ${now.stateHash}, the ledger states ${stateHash}`);
    loop.enqueueOwn({ kind: "checkpointed", checkpoint: { step, stateHash } });
  }

  /** Examples that could not be fetched are asked for again, after a pause: the coordinator may be away. */
  async function unmeasured(error: Error & { code?: string }): Promise<{ losses: []; elapsedMs: 0 }> {
    if (error.code !== "interrupted") throw error;
    log(error.message);
    await setTimeout(LIMITS.busyPauseMsMax);
    return { losses: [], elapsedMs: 0 };
  }

  const leaveSucceeded = () => {
    if (session !== null && sessionEpoch < highestEpoch(replica)) onSucceeded();
  };

  async function perform(effect: VolunteerEffect): Promise<void> {
    switch (effect.kind) {
      case "append":
        await store.append(effect.seq, effect.bytes);
        return leaveSucceeded();
      case "successor":
        keepSuccessor(effect.bytes);
        return leaveSucceeded();
      case "apply": {
        unapplied.push(effect.commit);
        if (unapplied.length >= UNAPPLIED_MAX) await applyAll();
        if (from === null) return;
        last = { steps: effect.commit.step + 1 - firstStep, traffic: await node.traffic.readTraffic() };
        // With stale parameters several are applied at once: the newest is what there is to tell.
        if (effect.commit.step === replica.history.lastStep) onStep(volunteer);
        return;
      }
      case "restore":
        return restored(effect);
      case "anew":
        unapplied.length = 0;
        // Not awaited: what is asked of the evaluator later stands behind it in its queue, and the loop hears and beats meanwhile.
        evaluator.call("reset", { commits: effect.commits, snapshot: nearest(effect.commits) }).catch(failed.reject);
        return;
      case "checkpoint":
        return checkpoint(effect.step);
      case "resync":
        return resync(effect);
      case "give-up":
        throw new Error(effect.message);
      case "task":
        if (from !== null || !volunteer.online) return;
        firstStep = effect.task.step;
        from = await node.traffic.readTraffic();
        return;
      case "fetch":
        return ask(effect.fromSeq);
      case "rewind":
        await store.replaceFrom(effect.seq, effect.bytes);
        throw Object.assign(new Error(rewindMessage(effect)), { code: "rewound", seq: effect.seq });
      case "send":
        session?.send(encodeWorkerFrame(effect.frame));
        return;
      case "measure":
        // The evaluator's queue keeps the order; the loop need not wait.
        applyAll().catch(failed.reject);
        measuring = new AbortController();
        measureSlots(effect, { manifest, jobId, evaluator, labels, shards }, measuring.signal)
          .catch((error: Error & { code?: string }) => unmeasured(error))
          .then((measured) => loop.enqueueOwn({ kind: "measured", head: effect.head, ...measured }))
          .catch(failed.reject);
        return;
      case "abort":
        return measuring?.abort();
      case "outcome":
        outcomes[effect.code] = (outcomes[effect.code] ?? 0) + 1;
        return;
      case "stop":
        throw new Error(effect.message);
    }
  }

  const loop = startLoop<VolunteerEvent, VolunteerEffect>({
    reduce(event) {
      caughtUp.get(event)?.();
      caughtUp.delete(event);
      return reduce(volunteer, event, commitKey);
    },
    perform,
    inboxMax: INBOX_MAX,
  });
  loop.stopped.catch((error) => failed.reject(error));
  const heart = setInterval(() => loop.enqueue({ kind: "heartbeat" }), LIMITS.heartbeatMs);

  const { ask, catchUp, heardBy } = createFollowing({
    node,
    topic,
    coordinator: () => session?.peerId,
    nextSeq: () => replica.history.nextSeq,
    take: (bytes) => loop.enqueue({ kind: "announcement", bytes, source: "range" }),
  });

  async function takePart(current: Session): Promise<void> {
    const ended = new AbortController();
    current.onClose(() => ended.abort());
    loop.enqueueOwn({ kind: "online" });
    await heardBy(current.peerId, ended.signal);
    const complete = await catchUp(ended.signal);
    if (ended.signal.aborted) return;
    // Without the ledger's end nothing can be measured: a new session tries again.
    if (complete) loop.enqueueOwn({ kind: "caught-up" });
    else await current.close();
  }

  return {
    volunteer,
    outcomes,
    attach(next, epoch) {
      session = next;
      sessionEpoch = epoch;
      takePart(next).catch(failed.reject);
    },
    frame(frame) {
      // A frame that finds no room is lost, and with it what the coordinator believes of us: a new session begins afresh.
      const orLeave = (taken: boolean) => void (taken || session?.close());
      if (frame.kind === "slots") orLeave(loop.enqueue({ kind: "slots", frame }));
      else if (frame.kind === "repair") orLeave(loop.enqueue({ kind: "announcement", bytes: frame.announcement, source: "repair" }));
      else if (frame.code !== "accepted" && frame.code !== "duplicate") log(`result of step ${frame.step + 1}: ${frame.code}`);
    },
    proof: () =>
      highestEpoch(replica) > replica.history.epoch ? replica.successor?.bytes : store.range(replica.history.nextSeq - 1, 1)[0],
    detach() {
      session = null;
      loop.enqueueOwn({ kind: "offline" });
    },
    async catchUp(peer, signal) {
      const complete = await catchUp(signal, undefined, peer);
      const own: VolunteerEvent = { kind: "caught-up" };
      const settled = new Promise<void>((resolve) => caughtUp.set(own, resolve));
      loop.enqueueOwn(own);
      await Promise.race([settled, failed.promise]);
      return complete;
    },
    measured: async () => ({ steps: last?.steps ?? 0, traffic: from && last && { from, to: last.traffic } }),
    failed: failed.promise,
    async stop() {
      over.abort();
      clearInterval(heart);
      measuring?.abort();
      loop.stop();
      await loop.stopped.catch(() => {});
      topic.leave();
      await store.close();
    },
  };
}
