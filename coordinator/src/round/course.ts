/**
 * The job's course: what its steps are made with, and when it is over. Pure: each decision is an entry of the ledger. What a probe has
 * seen and what the newest evaluation says of the curvature are not: after a restart a probe begins again, and steering waits for an evaluation.
 */
import { descendsFrom, type EvaluationPoint, evaluationsHere, type History, type Settings } from "@zoswarm/shared/ledger/folds";
import type { Manifest } from "@zoswarm/shared/protocol/manifest";
import { lengthShare } from "@zoswarm/shared/zo/estimate";
import { endEntry, figure, rateEntry } from "./decisions.ts";
import { endOf, toBest } from "./end.ts";
import { isPlateau, JUMPS_EPSILON_LOG2, jumpsRate, jumpsWhy, movesByJumps, PLATEAU } from "./jumps.ts";
import { LOOK_RATE } from "./probe.ts";
import { beginProbe, leadProbe } from "./probing.ts";
import { directionsFor, directionsOf, epsilonFor, firstSize, resized, sizeFor, sizeWords, swarmOf } from "./size.ts";
import { activeMembers, type Round, type RoundEffect } from "./state.ts";
import { turnOf } from "./steer.ts";

/** What the next task and commit are made with: the newest that the ledger says, else the job file's own; null where nothing is chosen yet. */
export function settingsOf({ job }: Manifest, { settings }: Pick<History, "settings">): Settings | null {
  if (settings !== null) return settings;
  const { rate, epsilonLog2, groups, directionsLog2 } = job;
  if (rate === null || epsilonLog2 === null || groups === null || directionsLog2 === null) return null;
  return { rate, epsilonLog2, groups, directionsLog2, probing: false, reference: null };
}

/** What a step is measured with where a job file says nothing of it. */
export const USUAL = { epsilonLog2: -10, groups: 1, directionsLog2: 4 } as const;

/** What a job begins with that leaves the choice, as far as it leaves it, with so many workers: its probe's first look, if there is one. */
export function firstSettings(manifest: Manifest, workers = 1): Settings {
  const { job, objective } = manifest;
  const size = firstSize(workers, job);
  const usual = { ...size, probing: false, reference: null };
  if (job.rate === null && movesByJumps(objective)) {
    const epsilonLog2 = epsilonFor(manifest, jumpsRate(JUMPS_EPSILON_LOG2, directionsOf(size)), directionsOf(size));
    return { ...usual, rate: jumpsRate(epsilonLog2, directionsOf(size)), epsilonLog2 };
  }
  return { ...usual, rate: job.rate ?? LOOK_RATE, epsilonLog2: job.epsilonLog2 ?? USUAL.epsilonLog2, probing: job.rate === null };
}

/** Whether the initial state is evaluated and workers are ready: at first as many as are waited for, then any. */
export function canBegin(round: Round): boolean {
  return round.replica.history.evaluations.length > 0 && round.hasGathered && activeMembers(round).length > 0;
}

/**
 * Decides what the ledger is to say next of the job's course: `rate`, `restore` and `end` entries, to be announced in order, or a
 * state of the probe to be tried, or nothing. It is asked at the start, while the next step may not open, and after each commit, restore,
 * trial and evaluation; not while an earlier decision or a commit is on its way to the ledger, nor after the end.
 */
export function decide(round: Round): RoundEffect[] {
  const { manifest, replica } = round;
  const { history } = replica;
  const end = endOf(manifest, history);
  if (end.length > 0 || manifest.job.rate !== null) return end;
  const { settings } = history;
  if (settings !== null && !settings.probing) return steer(round, settings);
  const first = firstSettings(manifest, activeMembers(round).length);
  if (!first.probing) return canBegin(round) ? [rateEntry(first, jumpsWhy(manifest.objective))] : [];
  if (round.probe === null && (settings !== null || canBegin(round))) {
    const again = beginProbe(round);
    if (again.length > 0) return again;
  }
  if (round.probe === null || !canBegin(round)) return [];
  // One that begins again does so with whom it has now.
  return leadProbe(round, round.probe, round.probe.trials.length === 0 ? first : (settings ?? first));
}

/** Whether the next step may open: it is known what it is made with, and in a probe that was chosen by what the one before it did. */
export function mayOpen({ manifest, probe, replica: { history } }: Round): boolean {
  const settings = settingsOf(manifest, history);
  return settings !== null && (!settings.probing || (probe?.isChosen === true && probe.awaited === null));
}

/** Whether steps should be shorter, go back, or have another size. */
function steer(round: Round, settings: Settings): RoundEffect[] {
  const { manifest, replica, notFinite } = round;
  const { history } = replica;
  if (notFinite !== null && descendsFrom(history, notFinite))
    return goBack(round, settings, `the held-out loss after step ${notFinite + 1} is no number: back to the best state with half the rate`);
  const since = history.decisions.at(-1)?.afterStep ?? -1;
  const points = history.evaluations.filter(({ step }) => step > since);
  if (history.decisions.at(-1)?.entry.kind === "restore")
    return goBack(round, settings, "half the rate, which a crash kept from following the way back");
  const turned = movesByJumps(manifest.objective) ? halveAtPlateau(round, settings, since) : turn(round, settings, points, since);
  return turned.length > 0 ? turned : resize(round, settings, points);
}

/** Steps of half the length where a measure that moves by jumps becomes no better. */
function halveAtPlateau({ manifest, replica: { history } }: Round, settings: Settings, since: number): RoundEffect[] {
  if (settings.rate / 2 < LOOK_RATE || !isPlateau(evaluationsHere(history), since)) return [];
  const why = `no better ${manifest.objective.measure} in ${PLATEAU} evaluations: half the length`;
  return [rateEntry(slower(manifest, settings, settings.rate / 2), why)];
}

/** Shorter steps, or back, by the losses of the evaluations since the last decision, which came after step `since`. */
function turn(round: Round, settings: Settings, points: readonly EvaluationPoint[], since: number): RoundEffect[] {
  const { manifest, replica, curvature } = round;
  const start = evaluationsHere(replica.history).findLast(({ step }) => step <= since);
  const rate = lengthOf(round, settings);
  const course = { rate: rate ?? settings.rate, directions: directionsOf(settings), curvature: rate === null ? null : curvature };
  const wanted = turnOf(course, points, start);
  if (wanted?.kind === "back") {
    const why = `the held-out loss rose from ${figure(wanted.from)} to ${figure(wanted.loss)}, beyond its noise of ${figure(wanted.noise)}: back to the best state with half the rate`;
    return goBack(round, settings, why);
  }
  if (wanted?.kind !== "shorter") return [];
  const progress = `${wanted.gain < 0 ? "rises" : "falls"} by ${figure(Math.abs(wanted.gain))} a step`;
  const why = `the held-out loss ${progress}, and the noise of a step costs ${figure(wanted.cost)}: shorter steps gain more`;
  return [rateEntry(slower(manifest, settings, settings.rate * wanted.share), why)];
}

/** A swarm that would want this many times the directions, or as many fewer, gets another size. */
const RESIZE = 4;

/** Another size, only where the ledger has grown by an evaluation: a swarm that flickers must not change it each time. */
function resize(round: Round, settings: Settings, points: readonly EvaluationPoint[]): RoundEffect[] {
  const { manifest } = round;
  const directions = directionsOf(settings);
  const swarm = points.length > 0 ? swarmOf(round, directions) : null;
  if (swarm === null) return [];
  const size = sizeFor(swarm, manifest.job);
  const wanted = directionsFor(swarm, manifest.job);
  // Of a step's time little is overhead, which is told by the difference: a small one must not go back and forth.
  if (directionsOf(size) === directions || Math.max(wanted / directions, directions / wanted) < RESIZE) return [];
  return [rateEntry(resized(settings, size, manifest), `the swarm has changed. ${sizeWords(manifest, swarm, size)}`)];
}

/** The rate that steps have now that slopes are flatter (estimate.ts); null where a restart has forgotten how steep they are. */
function lengthOf({ signal }: Round, { rate, reference }: Settings): number | null {
  if (reference === null) return rate;
  return signal === null ? null : rate * lengthShare(signal, reference);
}

/** The same steps at another rate, measured as far away as they are long then. */
function slower(manifest: Manifest, settings: Settings, rate: number): Settings {
  return { ...settings, rate, epsilonLog2: epsilonFor(manifest, rate, directionsOf(settings)) };
}

/** Back to the best state of those that led here, with half the rate; the end where no rate is left. */
function goBack({ manifest, replica: { history } }: Round, settings: Settings, why: string): RoundEffect[] {
  const rate = settings.rate / 2;
  if (rate >= LOOK_RATE) return [...toBest(history), rateEntry(slower(manifest, settings, rate), why)];
  return [endEntry("diverged", `the loss rises at any rate; ${manifest.job.rule} steps cannot lower it`)];
}
