/**
 * What becomes of a worker's result: each loss is accepted, known, or refused with a code. Pure; the coordinator's answer is a
 * function of the open step and the frame alone, so a retry gets the answer it got before.
 */
import type { Task } from "@zoswarm/shared/protocol/announcement";
import type { ResultCode } from "@zoswarm/shared/protocol/codes";
import type { ResultFrame } from "@zoswarm/shared/protocol/messages";

/** A slot that is answered; null where the worker found no finite loss: its coefficient is 0. */
export interface Answer {
  peerId: string;
  losses: { plus: number; minus: number | null } | null;
}

export interface OpenStep {
  task: Task;
  /** Hash of the payload that carried the task: a result measured on another branch names another. */
  head: string;
  total: number;
  answers: Map<number, Answer>;
  openedMs: number;
  /** By peer: slots that it may answer, and those of them that it was told to measure in its present session and has not reported. */
  offered: Map<string, Set<number>>;
  asked: Map<string, Set<number>>;
  /** By slot: who was asked for it last. */
  askedLast: string[];
  /** Peers that were given slots after the step was opened: they are not measured by its time. */
  late: Set<string>;
}

export interface Judged {
  /** What the verdict says: the first code that is not "accepted", or "accepted". */
  code: ResultCode;
  /** How many losses met each code; a copy of a loss that is known counts as a duplicate, whatever the verdict says. */
  counts: Partial<Record<ResultCode, number>>;
  /** Losses that count, now or since an earlier copy of this frame. */
  accepted: number;
  /** Slots answered by this frame for the first time. */
  fresh: number;
}

/**
 * Judges a result and records what is accepted in `open.answers`. `offered` are the slots that this worker may answer;
 * `diverged` says that its state hash is known to differ.
 */
export function judgeResult(
  frame: ResultFrame,
  peerId: string,
  open: OpenStep | null,
  lastStep: number,
  worker: { offered: ReadonlySet<number>; diverged: boolean },
): Judged {
  const whole = (code: ResultCode): Judged => ({ code, counts: { [code]: frame.losses.length }, accepted: 0, fresh: 0 });
  if (frame.step <= lastStep) return whole("late");
  if (open === null || frame.step !== open.task.step) return whole("unknown-step");
  if (frame.head !== open.head) return whole("wrong-head");
  if (worker.diverged) return whole("diverged");
  const judged: Judged = { code: "accepted", counts: {}, accepted: 0, fresh: 0 };
  for (const loss of frame.losses) {
    const code = judgeLoss(loss, peerId, open, worker.offered);
    const again = open.answers.has(loss.slot) && code !== "not-my-slot";
    const counted = again ? "duplicate" : code;
    judged.counts[counted] = (judged.counts[counted] ?? 0) + 1;
    if (judged.code === "accepted") judged.code = code;
    if (code === "accepted") judged.accepted++;
    if (again || (code !== "accepted" && code !== "not-finite")) continue;
    open.answers.set(loss.slot, { peerId, losses: code === "accepted" ? { plus: loss.plus as number, minus: loss.minus } : null });
    judged.fresh++;
  }
  return judged;
}

function judgeLoss(
  { slot, plus, minus }: ResultFrame["losses"][number],
  peerId: string,
  open: OpenStep,
  offered: ReadonlySet<number>,
): "accepted" | "duplicate" | "not-my-slot" | "not-finite" {
  if (!offered.has(slot)) return "not-my-slot";
  const finite = plus !== null && (minus !== null || open.task.estimator === "one-sided");
  const known = open.answers.get(slot);
  if (known === undefined) return finite ? "accepted" : "not-finite";
  const same = known.losses === null ? !finite : known.losses.plus === plus && known.losses.minus === minus;
  if (known.peerId !== peerId || !same) return "duplicate";
  return finite ? "accepted" : "not-finite";
}
