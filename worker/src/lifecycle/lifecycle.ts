/**
 * A volunteer as a reducer: what it measures, when it answers, when it gives up a measurement. Pure: time, results and hashes
 * arrive inside events; the shell performs the effects in order.
 */
import type { KeyObject } from "node:crypto";
import type { Task } from "@zoswarm/shared/protocol/announcement";
import type { AnnouncementCode } from "@zoswarm/shared/protocol/codes";
import type { Checkpoint, CoordinatorFrame, WorkerFrame, WorkerState } from "@zoswarm/shared/protocol/messages";
import { type Replica, type ReplicaEffect, receive } from "@zoswarm/shared/replica/replica";

export interface Loss {
  slot: number;
  plus: number | null;
  minus: number | null;
}

export interface Volunteer {
  replica: Replica;
  state: WorkerState;
  online: boolean;
  slots: Extract<CoordinatorFrame, { kind: "slots" }> | null;
  /** The step announced last, and what of it is measured. */
  open: { task: Task; head: string; losses: Map<number, Loss>; elapsedMs: number } | null;
  measuring: { head: string; slots: number[] } | null;
  checkpoint: Checkpoint | null;
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
  /** Make theta anew from another peer: the hash after `step` is not the stated one. */
  | { kind: "resync"; step: number; stateHash: string; stated: string }
  | { kind: "give-up"; message: string }
  | { kind: "send"; frame: WorkerFrame }
  | { kind: "measure"; task: Task; head: string; slots: number[] }
  | { kind: "abort" }
  | { kind: "outcome"; code: AnnouncementCode };

/** A volunteer over a replica that has taken in the ledger on disk. A step that is open there is open still: nobody announces it again. */
export function createVolunteer(replica: Replica): Volunteer {
  const { open } = replica.history;
  return {
    replica,
    state: "joining",
    online: false,
    slots: null,
    open: open && { task: open.task, head: open.head, losses: new Map(), elapsedMs: 0 },
    measuring: null,
    checkpoint: null,
    mismatches: 0,
  };
}

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
      me.slots = event.frame;
      return [...resend(me), ...measureNext(me)];
    case "measured":
      return onMeasured(me, event);
    case "checkpointed":
      me.checkpoint = event.checkpoint;
      return [...judge(me), ...(me.open === null ? heartbeat(me) : [])];
    case "resynced":
      me.checkpoint = event.checkpoint;
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
  const open = me.replica.stopped === null ? me.replica.history.open : null;
  if (me.open !== null && me.open.head !== open?.head) {
    me.open = null;
    if (me.measuring !== null) out.push({ kind: "abort" });
  }
  for (const effect of effects) {
    // A checkpoint passed while catching up is history: only the state we stand at is worth its hash.
    if (effect.kind === "checkpoint" && event.source === "disk") continue;
    if (effect.kind === "compare") out.push(...judge(me));
    else out.push(effect);
  }
  if (me.replica.stopped !== null) {
    me.state = "diverged";
    return out;
  }
  if (open !== null && me.open === null) me.open = { task: open.task, head: open.head, losses: new Map(), elapsedMs: 0 };
  return [...out, ...measureNext(me)];
}

/** Compares the last checkpoint with what the ledger states of it: from a differing state nothing more is sent. */
function judge(me: Volunteer): VolunteerEffect[] {
  const { checkpoint, replica, state, open, measuring } = me;
  const stated = checkpoint && replica.history.evaluations.findLast(({ step }) => step === checkpoint.step)?.stateHash;
  if (!checkpoint || stated === undefined || stated === null || state === "diverged") return [];
  if (stated === checkpoint.stateHash) {
    me.mismatches = 0;
    return [];
  }
  me.mismatches++;
  me.state = "diverged";
  open?.losses.clear();
  const { step, stateHash } = checkpoint;
  const out: VolunteerEffect[] = [...(measuring === null ? [] : [{ kind: "abort" as const }]), ...heartbeat(me)];
  if (me.mismatches === 1) return [...out, { kind: "resync", step, stateHash, stated }];
  const message = `after step ${step + 1} this replica has the state hash ${stateHash.slice(0, 12)}, the ledger states ${stated.slice(0, 12)}, again after it was made anew: this machine does not compute as the others do; please report it`;
  return [...out, { kind: "give-up", message }];
}

/** Slots of ours in the open step that are neither measured nor being measured. */
function missingSlots(me: Volunteer): number[] {
  const { slots, open, measuring } = me;
  if (slots === null || open === null || slots.fromStep > open.task.step) return [];
  const total = open.task.groups.reduce((n, { m }) => n + 2 ** m, 0);
  const busy = new Set(measuring?.head === open.head ? measuring.slots : []);
  const missing: number[] = [];
  for (const [start, count] of slots.runs)
    for (let slot = start; slot < Math.min(start + count, total); slot++) if (!open.losses.has(slot) && !busy.has(slot)) missing.push(slot);
  return missing;
}

function measureNext(me: Volunteer): VolunteerEffect[] {
  if (me.measuring !== null || (me.state !== "ready" && me.state !== "evaluating")) return [];
  const slots = missingSlots(me);
  if (me.open === null || slots.length === 0) {
    me.state = "ready";
    return [];
  }
  me.measuring = { head: me.open.head, slots };
  me.state = "evaluating";
  return [{ kind: "measure", task: me.open.task, head: me.open.head, slots }];
}

function onMeasured(me: Volunteer, event: Extract<VolunteerEvent, { kind: "measured" }>): VolunteerEffect[] {
  me.measuring = null;
  // Measured from a state that is not the ledger's.
  if (me.state === "diverged") return [];
  if (me.open === null || me.open.head !== event.head) return measureNext(me);
  for (const loss of event.losses) me.open.losses.set(loss.slot, loss);
  me.open.elapsedMs = event.elapsedMs;
  const next = measureNext(me);
  return [...sendResult(me, event.losses), ...next];
}

/** After a new assignment or a reconnection: answers again what is measured and still ours; the coordinator knows duplicates. */
function resend(me: Volunteer): VolunteerEffect[] {
  if (me.open === null || me.slots === null || me.slots.fromStep > me.open.task.step) return [];
  const mine = new Set<number>();
  for (const [start, count] of me.slots.runs) for (let slot = start; slot < start + count; slot++) mine.add(slot);
  return sendResult(
    me,
    [...me.open.losses.values()].filter(({ slot }) => mine.has(slot)),
  );
}

function sendResult(me: Volunteer, losses: Loss[]): VolunteerEffect[] {
  if (!me.online || me.open === null || losses.length === 0) return [];
  const { task, head, elapsedMs } = me.open;
  const assignment = me.slots?.version ?? 0;
  return [{ kind: "send", frame: { kind: "result", step: task.step, assignment, head, checkpoint: me.checkpoint, losses, elapsedMs } }];
}

function heartbeat(me: Volunteer): VolunteerEffect[] {
  if (!me.online) return [];
  return [{ kind: "send", frame: { kind: "heartbeat", nextSeq: me.replica.history.nextSeq, state: me.state, checkpoint: me.checkpoint } }];
}
