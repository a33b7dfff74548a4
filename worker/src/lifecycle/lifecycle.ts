/**
 * A volunteer as a reducer: what it measures, when it answers, when it gives up a measurement. Pure: time, results and hashes
 * arrive inside events; the shell performs the effects in order.
 */
import type { KeyObject } from "node:crypto";
import type { BranchNode, OpenTask } from "@zoswarm/shared/ledger/folds";
import { slotsOf, type Task } from "@zoswarm/shared/protocol/announcement";
import type { AnnouncementCode } from "@zoswarm/shared/protocol/codes";
import type { Checkpoint, CoordinatorFrame, WorkerFrame, WorkerState } from "@zoswarm/shared/protocol/messages";
import { type Replica, type ReplicaEffect, receive } from "@zoswarm/shared/replica/replica";
import { type Move, pathOf } from "./path.ts";
import { type Slots, slotsOfStep, withFrame } from "./slots.ts";

export interface Loss {
  slot: number;
  plus: number | null;
  minus: number | null;
}

/** An open task, and what of it is measured. */
export interface OpenWork extends OpenTask {
  losses: Map<number, Loss>;
  elapsedMs: number;
}

export interface Volunteer {
  replica: Replica;
  state: WorkerState;
  online: boolean;
  /** Null until the coordinator of this session has said. */
  slots: Slots | null;
  /** Oldest first. */
  open: OpenWork[];
  /** Where the parameters stand: at the base of what is measured, and with nothing left to measure at the ledger's end. */
  theta: BranchNode | null;
  /** `isVoid`: begun at a state that was not the ledger's. */
  measuring: { head: string; slots: number[]; isVoid?: true } | null;
  checkpoint: Checkpoint | null;
  /** Of which the ledger has said nothing yet: its evaluations may come some checkpoints later. */
  unjudged: Checkpoint[];
  /** Checkpoints in a row whose hash was not the ledger's. */
  mismatches: number;
}

export type VolunteerEvent =
  | { kind: "online" }
  | { kind: "offline" }
  | { kind: "announcement"; bytes: Uint8Array; source: "gossip" | "repair" | "range" | "disk" }
  | { kind: "caught-up" }
  | { kind: "slots"; frame: Extract<CoordinatorFrame, { kind: "slots" }> }
  | { kind: "measured"; head: string; losses: Loss[]; elapsedMs: number }
  | { kind: "checkpointed"; checkpoint: Checkpoint }
  /** Theta was made anew; `checkpoint` is the newest state on the way whose hash is the ledger's. */
  | { kind: "resynced"; checkpoint: Checkpoint | null }
  | { kind: "heartbeat" };

export type VolunteerEffect =
  | Exclude<ReplicaEffect, { kind: "compare" }>
  | Move
  /** Make theta anew from another peer: the hash after `step` is not the stated one. */
  | { kind: "resync"; step: number; stateHash: string; stated: string }
  | { kind: "give-up"; message: string }
  | { kind: "send"; frame: WorkerFrame }
  /** Measure where theta stands; `known` are slots of the step that are measured already. */
  | { kind: "measure"; task: Task; head: string; slots: number[]; known: number[] }
  | { kind: "abort" }
  | { kind: "outcome"; code: AnnouncementCode };

/** A volunteer over a replica that has taken in the ledger on disk, theta at its end. A step that is open there is open still: nobody announces it again. */
export function createVolunteer(replica: Replica): Volunteer {
  return {
    replica,
    state: "joining",
    online: false,
    slots: null,
    open: replica.history.open.map(unmeasured),
    theta: replica.history.branch,
    measuring: null,
    checkpoint: null,
    unjudged: [],
    mismatches: 0,
  };
}

const unmeasured = (open: OpenTask): OpenWork => ({ ...open, losses: new Map(), elapsedMs: 0 });

/** Changes `me` in place and returns the effects, to be performed in order. */
export function reduce(me: Volunteer, event: VolunteerEvent, commitKey: KeyObject): VolunteerEffect[] {
  switch (event.kind) {
    case "online":
      me.online = true;
      me.slots = null;
      me.state = me.state === "diverged" ? me.state : "syncing";
      return [];
    case "offline":
      me.online = false;
      return [];
    case "announcement":
      return onAnnouncement(me, event, commitKey);
    case "caught-up":
      if (me.state === "syncing") me.state = me.measuring ? "evaluating" : "ready";
      return [...heartbeat(me), ...measureNext(me)];
    case "slots":
      me.slots = withFrame(me.slots, event.frame, me.replica.history.lastStep);
      return [...resend(me, event.frame), ...measureNext(me)];
    case "measured":
      return onMeasured(me, event);
    case "checkpointed":
      me.checkpoint = event.checkpoint;
      me.unjudged = [...me.unjudged, event.checkpoint].slice(-UNJUDGED_MAX);
      return [...judge(me), ...(me.open.length === 0 ? heartbeat(me) : [])];
    case "resynced":
      me.checkpoint = event.checkpoint;
      me.unjudged = [];
      if (me.state === "diverged") me.state = "ready";
      return [...heartbeat(me), ...measureNext(me)];
    case "heartbeat":
      return heartbeat(me);
  }
}

function onAnnouncement(me: Volunteer, event: Extract<VolunteerEvent, { kind: "announcement" }>, commitKey: KeyObject): VolunteerEffect[] {
  const { code, effects } = receive(me.replica, event.bytes, commitKey, event.source === "disk");
  const out: VolunteerEffect[] = [{ kind: "outcome", code }];
  // A replica that has stopped has no step to measure.
  const open = me.replica.stopped === null ? me.replica.history.open : [];
  const isClosed = ({ head }: OpenWork) => !open.some((one) => one.head === head);
  if (me.open.some((one) => one.head === me.measuring?.head && isClosed(one))) out.push({ kind: "abort" });
  me.open = open.map((one) => me.open.find(({ head }) => head === one.head) ?? unmeasured(one));
  for (const effect of effects) {
    if (effect.kind === "compare") out.push(...judge(me));
    // A checkpoint passed while catching up is history: only the state we stand at is worth its hash.
    else if (effect.kind === "apply") out.push(...move(me).filter(({ kind }) => kind !== "checkpoint" || event.source !== "disk"));
    else if (effect.kind !== "checkpoint") out.push(effect);
    // Of an end: theta goes to where the ledger stands, and no task follows that would take it there.
    else if (me.replica.history.ended !== null) out.push(...move(me), effect);
    if (effect.kind === "restore") me.theta = me.replica.history.branch;
  }
  if (me.replica.stopped !== null) {
    me.state = "diverged";
    return out;
  }
  return [...out, ...measureNext(me)];
}

/** Takes theta to the base of what is measured next, or to the ledger's end; not while it is being measured. */
function move(me: Volunteer): Move[] {
  if (me.open.some(({ head }) => head === me.measuring?.head)) return [];
  const next = nextWork(me);
  const to = next === null ? me.replica.history.branch : next.work.base;
  const moves = pathOf(me.theta, to, me.replica);
  me.theta = to;
  return moves;
}

/** Checkpoints that may wait for the ledger's word: an evaluation that takes longer than so many is no longer compared. */
const UNJUDGED_MAX = 16;

/** Compares checkpoints with what the ledger states of them: from a differing state nothing more is sent. */
function judge(me: Volunteer): VolunteerEffect[] {
  const { replica, state, open, measuring } = me;
  if (state === "diverged") return [];
  const wordOf = (step: number) => replica.history.evaluations.findLast((each) => each.step === step)?.stateHash;
  const words = me.unjudged.map((checkpoint) => ({ ...checkpoint, stated: wordOf(checkpoint.step) }));
  me.unjudged = me.unjudged.filter((_, i) => words[i]?.stated === undefined);
  const differing = words.find(({ stateHash, stated }) => stated !== undefined && stated !== stateHash);
  if (differing?.stated === undefined) {
    if (words.some(({ stated }) => stated !== undefined)) me.mismatches = 0;
    return [];
  }
  me.mismatches++;
  me.state = "diverged";
  if (measuring !== null) measuring.isVoid = true;
  for (const { losses } of open) losses.clear();
  me.theta = replica.history.branch;
  const { step, stateHash, stated } = differing;
  const out: VolunteerEffect[] = [...(measuring === null ? [] : [{ kind: "abort" as const }]), ...heartbeat(me)];
  if (me.mismatches === 1) return [...out, { kind: "resync", step, stateHash, stated }];
  const message = `after step ${step + 1} this replica has the state hash ${stateHash.slice(0, 12)}, the ledger states ${stated.slice(0, 12)}, again after it was made anew: this machine does not compute as the others do; please report it`;
  return [...out, { kind: "give-up", message }];
}

/** The oldest open step of which slots of ours are neither measured nor being measured, and those slots. */
function nextWork(me: Volunteer): { work: OpenWork; slots: number[] } | null {
  if (me.state !== "ready" && me.state !== "evaluating") return null;
  for (const work of me.open) {
    const total = slotsOf(work.task.groups);
    const busy = new Set(me.measuring?.head === work.head ? me.measuring.slots : []);
    const slots = slotsOfStep(me.slots, work.task.step).filter((slot) => slot < total && !work.losses.has(slot) && !busy.has(slot));
    if (slots.length > 0) return { work, slots };
  }
  return null;
}

function measureNext(me: Volunteer): VolunteerEffect[] {
  if (me.measuring !== null || (me.state !== "ready" && me.state !== "evaluating")) return [];
  const next = nextWork(me);
  const moves = move(me);
  if (next === null) {
    me.state = "ready";
    return moves;
  }
  const { task, head, losses } = next.work;
  me.measuring = { head, slots: next.slots };
  me.state = "evaluating";
  return [...moves, { kind: "measure", task, head, slots: next.slots, known: [...losses.keys()] }];
}

function onMeasured(me: Volunteer, event: Extract<VolunteerEvent, { kind: "measured" }>): VolunteerEffect[] {
  // Its end may come only after the state was made anew.
  const isVoid = me.measuring?.isVoid === true;
  me.measuring = null;
  if (me.state === "diverged") return [];
  const work = isVoid ? undefined : me.open.find(({ head }) => head === event.head);
  if (work === undefined) return measureNext(me);
  for (const loss of event.losses) work.losses.set(loss.slot, loss);
  work.elapsedMs = event.elapsedMs;
  const next = measureNext(me);
  return [...sendResult(me, work, event.losses), ...next];
}

/** After a new assignment or a reconnection: answers again what is measured and still ours; the coordinator knows duplicates. */
function resend(me: Volunteer, { fromStep, toStep }: Extract<CoordinatorFrame, { kind: "slots" }>): VolunteerEffect[] {
  const meant = me.open.filter(({ task: { step } }) => step >= fromStep && (toStep === null || step <= toStep));
  return meant.flatMap((work) => {
    const mine = new Set(slotsOfStep(me.slots, work.task.step));
    return sendResult(
      me,
      work,
      [...work.losses.values()].filter(({ slot }) => mine.has(slot)),
    );
  });
}

function sendResult(me: Volunteer, { task, head, elapsedMs }: OpenWork, losses: Loss[]): VolunteerEffect[] {
  if (!me.online || losses.length === 0) return [];
  const assignment = me.slots?.version ?? 0;
  return [{ kind: "send", frame: { kind: "result", step: task.step, assignment, head, checkpoint: me.checkpoint, losses, elapsedMs } }];
}

function heartbeat(me: Volunteer): VolunteerEffect[] {
  if (!me.online) return [];
  return [{ kind: "send", frame: { kind: "heartbeat", nextSeq: me.replica.history.nextSeq, state: me.state, checkpoint: me.checkpoint } }];
}
