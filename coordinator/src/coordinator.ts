/**
 * The coordinator's imperative shell: performs what the round decides. An entry is durable before anyone hears of it; what is
 * durable is committed, and a restart reads it back and goes on from there.
 */

import { bestOf, isDecision } from "@zoswarm/shared/ledger/folds";
import { startLoop } from "@zoswarm/shared/loop";
import { serveBlobs } from "@zoswarm/shared/net/blobs";
import { joinTopic } from "@zoswarm/shared/net/gossip";
import type { SwarmNode } from "@zoswarm/shared/net/node";
import { serveRange } from "@zoswarm/shared/net/range";
import { serveSnapshots } from "@zoswarm/shared/net/snapshots";
import type { Traffic } from "@zoswarm/shared/net/traffic";
import { createAnnouncement } from "@zoswarm/shared/protocol/announcement";
import { ANNOUNCEMENT_CODES } from "@zoswarm/shared/protocol/codes";
import { LIMITS } from "@zoswarm/shared/protocol/limits";
import { announceTopic } from "@zoswarm/shared/protocol/topics";
import { type Validated, validateAnnouncement } from "@zoswarm/shared/protocol/validate";
import { headOf } from "@zoswarm/shared/replica/replica";
import { eitherBlobs } from "@zoswarm/shared/store/blobs";
import type { LoadedJob } from "./load.ts";
import { ENTRY_BYTES, refuseFull } from "./room.ts";
import { settingsOf, USUAL } from "./round/course.ts";
import { movesByJumps } from "./round/jumps.ts";
import { reduce } from "./round/round.ts";
import { activeMembers, type Round, type RoundEffect, type RoundEvent } from "./round/state.ts";
import { CURVATURE_BY } from "./round/steer.ts";
import { openSessions, type Sessions } from "./sessions.ts";
import { openStandby, type StandbyOptions } from "./standbys.ts";
import { recordSuccessor, successorMessage } from "./successor.ts";

/** Events that may wait for the loop; a session whose frame finds it full is closed. */
const INBOX_MAX = 20_000;

export interface CoordinatorOptions {
  loaded: LoadedJob;
  node: SwarmNode;
  /** A snapshot is written at the first checkpoint that is so many steps, or more, beyond the one before. */
  snapshotEvery: number;
  /** MiB a second of blobs, to all newcomers together. */
  upload: number;
  standby?: StandbyOptions;
  onChange: (change: Change) => void;
  log: (line: string) => void;
}

/** What just happened, for those who show it: read the rest from `round`. */
export type Change =
  | { kind: "roster" | "results" | "decided" }
  | { kind: "committed"; step: number; seconds: number | null }
  | { kind: "evaluated" };

export interface Coordinator {
  round: Round;
  sessions: Sessions;
  /** Measured between the announcements of the first task and of the last commit of this process. */
  measured(): { seconds: number; steps: number; traffic: { from: Traffic; to: Traffic } | null };
  evalForwards(): number;
  /** Its own replica's state hash, at the newest evaluation. */
  stateHash(): string;
  /** Whether somebody who took part was away when the job was finished: the next dial wants to hear of it. */
  absent(): boolean;
  /** What it waits for, in words, where it does not announce; else null. */
  waiting(): string | null;
  /** Resolves when the job is finished or `stop` was called; rejects when it cannot go on. */
  readonly done: Promise<"finished" | "stopped">;
  stop(): Promise<void>;
}

/** Starts a coordinator on a loaded job: from here on workers are answered. */
export async function startCoordinator(options: CoordinatorOptions): Promise<Coordinator> {
  const { loaded, node, snapshotEvery, onChange, log, standby: standbyOptions } = options;
  const { folder, round, commitKey, store, blobs, snapshots, evaluator } = loaded;
  const { manifest, jobId } = folder;
  const { history } = round.replica;

  let { stateHash } = loaded;
  let evalForwards = 0;
  let tip = { seq: history.nextSeq, hash: history.headHash };
  let timer: ReturnType<typeof setTimeout> | undefined;
  let openedMs: number | null = null;
  const span: { fromMs: number | null; toMs: number; steps: number; from: Traffic | null; to: Traffic | null } = {
    fromMs: null,
    toMs: 0,
    steps: 0,
    from: null,
    to: null,
  };
  let absent = false;
  const done = Promise.withResolvers<"finished" | "stopped">();
  done.promise.catch(() => {});

  const enqueue = (event: RoundEvent) => loop.enqueueOwn(event);
  /** A session whose frame finds the inbox full ends by this. */
  const enqueueOfPeer = (event: RoundEvent) => {
    if (!loop.enqueue(event)) throw new Error("the coordinator's inbox is full");
  };
  const orFail = (work: Promise<unknown>) => {
    work.catch((error: Error) => done.reject(error));
  };

  const topic = joinTopic(
    node,
    announceTopic(jobId),
    (bytes) => {
      const judged = validateAnnouncement(bytes, headOf(round.replica), commitKey);
      const { code } = judged;
      if (succeeds(judged)) return ANNOUNCEMENT_CODES[code];
      // Nobody else holds the commit key: a valid announcement that we did not make means that somebody does.
      if (code === "applied" || code === "gap" || code === "fork")
        log(`WARNING: somebody else signs announcements with this job's commit key (${code})`);
      return code === "applied" ? "ignore" : ANNOUNCEMENT_CODES[code];
    },
    () => {},
  );
  /** Announces nothing more. */
  let silent = false;
  /** Stops this coordinator where a higher epoch, validly signed, shows that another took over; false where it shows nothing. */
  function succeeds({ announcement }: Validated): boolean {
    if (announcement === undefined || announcement.epoch <= history.epoch) return false;
    if (silent) return true;
    silent = true;
    loop.stop();
    // It stops even where the disk does not take the proof.
    done.reject(new Error(successorMessage(folder.dir, announcement.epoch)));
    recordSuccessor(folder.dir, announcement);
    return true;
  }
  const publish = async (bytes: Uint8Array) => {
    const published = await topic.publish(bytes);
    if (!published.ok) log(`announcement not published: ${published.message}`);
    else for (const peer of published.missed) sessions.send(peer, { kind: "repair", announcement: bytes });
  };

  async function announce({ entry, task }: Extract<RoundEffect, { kind: "announce" }>): Promise<void> {
    const announcement = createAnnouncement({ jobId, epoch: history.epoch, seq: tip.seq, prevHash: tip.hash, entry, task }, commitKey);
    const full = await refuseFull(folder.dir, ENTRY_BYTES);
    if (full !== null) throw new Error(full.message);
    await store.append(tip.seq, announcement.bytes);
    standby?.grew();
    await standby?.durable(tip.seq + 1);
    // What waited meanwhile is not announced by one that stops: it was succeeded, or has lost its lease.
    if (silent) return;
    tip = { seq: tip.seq + 1, hash: announcement.hash };
    const nowMs = performance.now();
    if (entry.kind === "commit") {
      span.toMs = nowMs;
      span.steps++;
      orFail(node.traffic.readTraffic().then((traffic) => (span.to = traffic)));
    }
    const seconds = openedMs === null ? null : (nowMs - openedMs) / 1000;
    announced.push(
      entry.kind === "commit"
        ? { kind: "committed", step: entry.step, seconds }
        : { kind: entry.kind === "evaluation" ? "evaluated" : isDecision(entry) ? "decided" : "roster" },
    );
    if (task !== null) {
      openedMs = nowMs;
      if (span.fromMs === null) {
        span.fromMs = nowMs;
        span.from = await node.traffic.readTraffic();
      }
    }
    enqueue({ kind: "announced", bytes: announcement.bytes, nowMs });
    await publish(announcement.bytes);
  }
  /** A worker said that it has entries which are not here; it is told once. */
  let outrun = false;
  /** What each announcement changes, to be shown once the round has taken it in. */
  const announced: Change[] = [];

  async function evaluateHere(step: number): Promise<void> {
    // All calls stand in the evaluator's queue before any later commit: they see the state after `step`.
    if (snapshots.due(step, snapshotEvery)) orFail(keepSnapshot(step));
    const isSteered = manifest.job.rate === null;
    const bends = isSteered && !movesByJumps(manifest.objective);
    const epsilonLog2 = settingsOf(manifest, history)?.epsilonLog2 ?? USUAL.epsilonLog2;
    const [evaluation, hashed, bent] = await Promise.all([
      evaluator.call("evaluate", { batch: manifest.job.batch }),
      evaluator.call("stateHash", null),
      bends ? evaluator.call("curvature", { step: Math.max(0, step), epsilonLog2, ...CURVATURE_BY }) : null,
    ]);
    evalForwards += evaluation.forwards + (bent?.forwards ?? 0);
    stateHash = hashed.stateHash;
    if (hashed.clampedShare > 0.001)
      log(`WARNING: ${(100 * hashed.clampedShare).toFixed(2)} % of the parameters are at the clamp: lower the rate`);
    const { loss, score, examples } = evaluation;
    if (!Number.isFinite(loss) && (!isSteered || step < 0))
      throw new Error(`the held-out loss after step ${step} is ${loss}: the job has diverged; lower the rate and start anew`);
    enqueue({ kind: "evaluated", step, stateHash, loss, score, examples, curvature: bent?.curvature ?? null, nowMs: performance.now() });
  }

  async function tryHere({ step, examples }: Extract<RoundEffect, { kind: "try" }>): Promise<void> {
    const [{ loss, forwards }, hashed] = await Promise.all([
      evaluator.call("evaluate", { batch: manifest.job.batch, examplesMax: examples }),
      evaluator.call("stateHash", null),
    ]);
    evalForwards += forwards;
    stateHash = hashed.stateHash;
    enqueue({ kind: "tried", step, stateHash, loss, nowMs: performance.now() });
  }

  async function restore({ commits, step, stateHash: stated }: Extract<RoundEffect, { kind: "restore" }>): Promise<void> {
    const [, hashed] = await Promise.all([evaluator.call("reset", { commits }), evaluator.call("stateHash", null)]);
    stateHash = hashed.stateHash;
    if (stateHash !== stated) throw new Error(`the state restored to step ${step} has the hash ${stateHash}, the ledger states ${stated}`);
  }

  /** Once the evaluator stands where the ledger does: a restore may come last. */
  async function finish(): Promise<void> {
    stateHash = (await evaluator.call("stateHash", null)).stateHash;
    standby?.finish();
    done.resolve("finished");
  }

  async function keepSnapshot(step: number): Promise<void> {
    const best = bestOf(history.evaluations, manifest.objective.metric)?.step ?? null;
    const written = await snapshots.write(step, best, (file) => evaluator.call("writeSnapshot", { jobId, step, file }));
    if (written.ok) log(`snapshot after step ${step + 1}: ${(written.snapshot.bytes / 1e6).toFixed(1)} MB`);
    else if (stopping === undefined) log(`no snapshot after step ${step + 1}: ${written.message}`);
  }

  async function perform(effect: RoundEffect): Promise<void> {
    switch (effect.kind) {
      case "announce":
        // While the standby is away heartbeats and results are still taken in; what is announced waits in order.
        if (standby?.mode !== "sync") return announce(effect);
        announcing = announcing.then(() => announce(effect));
        return orFail(announcing);
      case "send":
        return sessions.send(effect.peerId, effect.frame);
      case "deadline":
        clearTimeout(timer);
        timer = setTimeout(() => enqueue({ kind: "deadline", step: effect.step, nowMs: performance.now() }), effect.afterMs);
        return;
      case "evaluate":
        return orFail(evaluateHere(effect.step));
      case "try":
        return orFail(tryHere(effect));
      case "apply":
        return orFail(evaluator.call("replay", { commits: [effect.commit] }));
      case "restore":
        return orFail(restore(effect));
      case "dismiss":
        return void sessions.dismiss(effect.peerId, effect.code, effect.message);
      case "finish":
        absent = [...round.members.values()].some(({ state }) => state === "gone");
        return orFail(finish());
      case "stop":
        throw new Error(effect.message);
      case "rewind":
      case "append":
      case "checkpoint":
      case "compare":
      case "task":
      case "fetch":
      case "successor":
        return;
    }
  }

  /** By its own word or by its results, whichever came first. */
  function sayDiverged(peerId: string): void {
    const member = round.members.get(peerId);
    const step = (member?.checkpoint?.step ?? -1) + 1;
    log(`worker ${member?.name || peerId.slice(-8)} diverged: its state after step ${step} is not the ledger's`);
  }

  const loop = startLoop<RoundEvent, RoundEffect>({
    reduce(event) {
      const { divergences } = round;
      const effects = reduce(round, event);
      if (round.divergences > divergences && "peerId" in event) sayDiverged(event.peerId);
      const change =
        event.kind === "announced" ? announced.shift() : { kind: event.kind === "result" ? ("results" as const) : ("roster" as const) };
      if (change) onChange(change);
      return effects;
    },
    perform,
    inboxMax: INBOX_MAX,
  });
  loop.stopped.catch((error) => done.reject(error));

  let announcing: Promise<void> = Promise.resolve();
  /** What may be known to others: in mode sync, what the standby has as well. */
  const readable = (fromSeq: number, countMax: number = LIMITS.rangeAnnouncementsMax, bytesMax?: number): Uint8Array[] => {
    const count = Math.min(countMax, (standby?.visible(store.length()) ?? store.length()) - fromSeq);
    return count > 0 ? store.range(fromSeq, count, bytesMax) : [];
  };
  const tellStandbys = (peerIds: Iterable<string>) => {
    const addresses = [...(standby?.addresses() ?? [])];
    if (addresses.length > 0) for (const peerId of peerIds) sessions.send(peerId, { kind: "standbys", addresses });
  };
  const standby = standbyOptions
    ? await openStandby(node, standbyOptions, { dir: folder.dir, store, log, onGreeted: () => tellStandbys(round.members.keys()) })
    : null;
  const sessions: Sessions = await openSessions(
    node,
    jobId,
    () => ({
      kind: "welcome",
      manifest: folder.manifestBytes,
      nextSeq: round.replica.history.nextSeq,
      donors: sessions.donors(activeMembers(round).map(({ peerId }) => peerId)),
      epoch: history.epoch,
    }),
    {
      joined(peerId, hello) {
        log(`worker ${hello.name || peerId.slice(-8)} joined: ${hello.device}, ${hello.threads} threads`);
        enqueueOfPeer({ kind: "joined", peerId, hello, nowMs: performance.now() });
        tellStandbys([peerId]);
      },
      frame(peerId, frame) {
        const nowMs = performance.now();
        if (frame.kind === "proof") return void succeeds(validateAnnouncement(frame.announcement, headOf(round.replica), commitKey));
        if (frame.kind === "result") return enqueueOfPeer({ kind: "result", peerId, frame, nowMs });
        enqueueOfPeer({ kind: "heartbeat", peerId, frame, nowMs });
        if (frame.nextSeq > tip.seq && !outrun) {
          outrun = true;
          log(
            `WARNING: worker ${round.members.get(peerId)?.name || peerId.slice(-8)} has ${frame.nextSeq} ledger entries, this coordinator ${tip.seq}: unless it lies, ${folder.dir} is an older copy; stop, and put the newest in its place`,
          );
        }
        // It missed something: the newest entry tells it where to ask from.
        const newest = frame.nextSeq < tip.seq ? readable(tip.seq - 1)[0] : undefined;
        if (newest) sessions.send(peerId, { kind: "repair", announcement: newest });
      },
      left(peerId) {
        log(`worker ${round.members.get(peerId)?.name || peerId.slice(-8)} left`);
        enqueue({ kind: "left", peerId, nowMs: performance.now() });
      },
      refused: (peerId, code, message) => log(`sent ${peerId.slice(-8)} away: ${code}: ${message}`),
    },
  );
  await serveRange(node, readable);
  await serveBlobs(node, eitherBlobs(blobs, snapshots.blobs), options.upload * 2 ** 20);
  await serveSnapshots(node, jobId, snapshots.all);
  enqueue({ kind: "started", nowMs: performance.now() });
  const publishOpen = async () => {
    for (const bytes of history.open.flatMap(({ seq }) => store.range(seq, 1))) await publish(bytes);
  };
  // What is on this disk alone was never announced, as far as this process knows.
  announcing = (standby?.durable(tip.seq) ?? Promise.resolve()).then(publishOpen);
  if (standby?.mode === "sync") orFail(announcing);
  else await announcing;

  let stopping: Promise<void> | undefined;
  async function stop(): Promise<void> {
    silent = true;
    done.resolve("stopped");
    clearTimeout(timer);
    loop.stop();
    await loop.stopped.catch(() => {});
    await sessions.closeAll(round.phase === "finished" ? "finished" : "stopping", "The coordinator stops.");
    topic.leave();
    await node.stop();
    await loaded.close();
  }

  return {
    round,
    sessions,
    measured: () => ({
      seconds: span.fromMs === null ? 0 : Math.max(0, span.toMs - span.fromMs) / 1000,
      steps: span.steps,
      traffic: span.from && span.to && { from: span.from, to: span.to },
    }),
    evalForwards: () => evalForwards,
    absent: () => absent,
    stateHash: () => stateHash,
    waiting: () => standby?.waiting() ?? null,
    done: done.promise,
    stop() {
      stopping ??= stop();
      return stopping;
    },
  };
}
