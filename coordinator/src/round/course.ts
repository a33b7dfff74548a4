/**
 * The job's course: what its steps are made with, and when it is over. Pure: the same ledger gives the same decisions, and each of them
 * is an entry of it. What a probe has seen so far is the only thing that a restart forgets; the probe then begins again.
 */
import { type EvaluationPoint, evaluationHere, type History, isAsGood, type Settings, stepOf } from "@zoswarm/shared/ledger/folds";
import type { Entry } from "@zoswarm/shared/protocol/entries";
import { LIMITS } from "@zoswarm/shared/protocol/limits";
import type { Manifest } from "@zoswarm/shared/protocol/manifest";
import { medianOf } from "./pace.ts";
import { findRate, LOOK_RATE, nextTrial, PROBE_EXAMPLES, type Probe } from "./probe.ts";
import { directionsOf, type Size, type Swarm, shareOfRate, sizeFor, stepSeconds } from "./size.ts";
import { activeMembers, type Round, type RoundEffect, type RoundEvent } from "./state.ts";
import { turnOf } from "./steer.ts";

/** What the next task and commit are made with: the newest that the ledger says, else the job file's own; null where nothing is chosen yet. */
export function settingsOf({ job }: Manifest, { settings }: Pick<History, "settings">): Settings | null {
  if (settings !== null) return settings;
  const { rate, epsilonLog2, groups, directionsLog2 } = job;
  if (rate === null || epsilonLog2 === null || groups === null || directionsLog2 === null) return null;
  return { rate, epsilonLog2, groups, directionsLog2, probing: false };
}

/** What a step is measured with where a job file says nothing of it. */
export const USUAL = { epsilonLog2: -10, groups: 1, directionsLog2: 4 } as const;

/** What a job begins with that leaves the choice, as far as it leaves it: its probe's first look. */
export function firstSettings({ rate, epsilonLog2, groups, directionsLog2 }: Manifest["job"]): Settings {
  return {
    rate: rate ?? LOOK_RATE,
    epsilonLog2: epsilonLog2 ?? USUAL.epsilonLog2,
    groups: groups ?? USUAL.groups,
    directionsLog2: directionsLog2 ?? USUAL.directionsLog2,
    probing: rate === null,
  };
}

/** Whether the initial state is evaluated and enough workers are ready. */
export function canBegin(round: Round): boolean {
  return round.replica.history.evaluations.length > 0 && activeMembers(round).length >= round.waitFor;
}

type Announce = Extract<RoundEffect, { kind: "announce" }>;
const announce = (entry: Entry): Announce => ({ kind: "announce", entry, task: null });
const rateEntry = (settings: Settings, why: string) => announce({ kind: "rate", ...settings, why: why.slice(0, LIMITS.whyCharactersMax) });
const figure = (value: number) => value.toPrecision(3);

/**
 * Decides what the ledger is to say next of the job's course: `rate`, `restore` and `end` entries, to be announced in order, or
 * nothing. It is asked at the start, as soon as the first step could open, and after each commit, restore and evaluation that was
 * announced; not while an earlier decision or a commit is on its way to the ledger, nor after the end.
 */
export function decide(round: Round): RoundEffect[] {
  const { manifest, replica } = round;
  const { history } = replica;
  const end = endOf(manifest, history);
  if (end.length > 0) return end;
  if (manifest.job.rate !== null || !canBegin(round)) return [];
  return history.settings === null || history.settings.probing ? probe(round) : steer(round, history.settings);
}

/** Whether the next step may open: in a probe, only once its rate is chosen by what the one before it did. */
export function mayOpen({ probe, replica: { history } }: Round): boolean {
  return history.settings?.probing !== true || (probe !== null && probe.isChosen && probe.awaited === null);
}

function probe(round: Round): RoundEffect[] {
  const { manifest, replica } = round;
  const { history } = replica;
  if (round.probe === null) {
    round.probe = { before: null, trials: [], isChosen: false, fromStep: -1, awaited: null };
    if (history.branch !== null) return [announce({ kind: "restore", step: -1, stateHash: manifest.stateHash })];
  }
  const { probe } = round;
  if (probe.awaited !== null) return [];
  if (probe.before === null) return attempt(probe, -1);
  const here = stepOf(history.branch);
  if (probe.isChosen) {
    const isMade = here === history.lastStep && here > probe.fromStep;
    return isMade ? attempt(probe, here) : [];
  }
  const settings = history.settings ?? firstSettings(manifest.job);
  const directions = directionsOf(settings);
  const rate = nextTrial(probe.before, probe.trials);
  if (rate === null) return conclude(round, probe, settings);
  probe.isChosen = true;
  probe.fromStep = history.lastStep;
  const why =
    probe.trials.length === 0
      ? "a first look: how steep the loss is"
      : `a trial; held-out loss ${figure(probe.trials.at(-1)?.loss ?? probe.before)} so far`;
  const epsilonLog2 = probe.trials.length === 0 ? settings.epsilonLog2 : epsilonFor(manifest, rate, directions);
  return [rateEntry({ ...settings, rate, epsilonLog2 }, why)];
}

/** Asks for the held-out loss of the state after `step`. */
function attempt(probe: Probe, step: number): RoundEffect[] {
  probe.awaited = step;
  return [{ kind: "try", step, examples: PROBE_EXAMPLES }];
}

/** Takes in what a trial came to. */
export function onTried(round: Round, { step, loss, stateHash }: Extract<RoundEvent, { kind: "tried" }>): void {
  const { probe, replica, signal } = round;
  if (probe === null || probe.awaited !== step) return;
  probe.awaited = null;
  if (probe.before === null) {
    probe.before = loss;
    return;
  }
  probe.isChosen = false;
  const { settings, losses } = replica.history;
  probe.trials.push({
    ...{ rate: settings?.rate ?? LOOK_RATE, directions: losses.at(-1)?.committed ?? 0, signal: signal ?? 0 },
    ...{ loss: Number.isFinite(loss) ? loss : Number.POSITIVE_INFINITY, step, stateHash },
  });
}

/** Back to the best state that a short enough trial came to, and from there on with what was found. */
function conclude(round: Round, { before, trials }: Probe, settings: Settings): RoundEffect[] {
  const { manifest, replica } = round;
  const start = { step: -1, loss: before ?? Number.POSITIVE_INFINITY, stateHash: manifest.stateHash };
  const directions = directionsOf(settings);
  const found = findRate(start.loss, trials);
  // Longer steps gained more at once, and left noise that takes longer to undo than they saved.
  const kept = trials.filter(({ rate }) => rate <= found.best / 2).reduce((least, one) => (one.loss < least.loss ? one : least), start);
  const swarm = swarmOf(round, directions);
  const size = sizeFor(swarm, manifest.job);
  const chosen = resized({ ...settings, rate: found.rate, probing: false }, size, manifest);
  const losses = trials.slice(1).map(({ rate, loss }) => `${figure(rate)}: ${figure(loss)}`);
  const why = `one step gains most at rate ${figure(found.best)}; a quarter of it is for many. ${sizeWords(manifest, swarm, size)}. Held-out loss ${figure(start.loss)}, then by trial rate ${losses.join(", ")}`;
  round.probe = null;
  const back =
    kept.step === stepOf(replica.history.branch) ? [] : [announce({ kind: "restore", step: kept.step, stateHash: kept.stateHash })];
  return [...back, rateEntry(chosen, why)];
}

/** Steps of another size: longer or shorter as far as that is worth it, and measured as far away as they are long. */
function resized(settings: Settings, size: Size, manifest: Manifest): Settings {
  const [was, is] = [directionsOf(settings), directionsOf(size)];
  const rate = (settings.rate * shareOfRate(is)) / shareOfRate(was);
  return { ...settings, ...size, rate, epsilonLog2: epsilonFor(manifest, rate, is) };
}

/** Directions are followed about as far as a step moves, within what the lattice holds (spec 1). */
function epsilonFor({ job, tensors }: Manifest, rate: number, directions: number): number {
  if (job.epsilonLog2 !== null) return job.epsilonLog2;
  const exponents = tensors.map(({ q, gain }) => q + gain);
  const [least, most] = [exponents.reduce((a, b) => Math.min(a, b)), exponents.reduce((a, b) => Math.max(a, b))];
  return Math.min(Math.max(Math.round(Math.log2(rate * Math.sqrt(directions))), EPSILON_LOG2_MIN, -least), EPSILON_LOG2_MAX, 20 - most);
}

/** Nearer, rounding of the losses shows; further, the loss is no parabola any more (measured on four jobs). */
const EPSILON_LOG2_MIN = -12;
const EPSILON_LOG2_MAX = -7;

function swarmOf(round: Round, directions: number): Swarm {
  const members = activeMembers(round);
  const known = members.flatMap(({ speed }) => (speed === null ? [] : [speed]));
  const mean = known.reduce((sum, speed) => sum + speed, 0) / known.length;
  const speed = known.length > 0 ? mean * members.length : 1;
  const seconds = round.times.length > 0 ? medianOf(round.times) / 1000 : directions / speed;
  return { workers: members.length, speed, overhead: Math.max(OVERHEAD_MIN_S, seconds - directions / speed) };
}

/** A step costs this at least besides measuring: a commit is signed, written, sent and applied. */
const OVERHEAD_MIN_S = 0.01;

function sizeWords({ job }: Manifest, swarm: Swarm, size: Size): string {
  const directions = directionsOf(size);
  const seconds = stepSeconds(swarm, directions);
  const { forwards } = job.stop;
  const whole = forwards === null ? "" : `, ${forwards} forward passes about ${Math.ceil(((forwards / directions) * seconds) / 60)} min`;
  return `${swarm.workers} workers measure ${figure(swarm.speed)} directions a second and a step costs ${figure(swarm.overhead)} s besides: ${directions} directions take ${figure(seconds)} s and bring each worker ${figure((2 * directions + COMMIT_BYTES) / 1000)} kB${whole}`;
}

/** Of a commit besides its coefficients. */
const COMMIT_BYTES = 230;
/** A swarm that would want this many times the directions, or as many fewer, gets another size. */
const RESIZE = 4;

/** Whether steps should be shorter, go back, or have another size. */
function steer(round: Round, settings: Settings): RoundEffect[] {
  const { manifest, replica } = round;
  const { history } = replica;
  const since = history.decisions.at(-1)?.afterStep ?? -1;
  const points = history.evaluations.filter(({ step }) => step > since);
  const directions = directionsOf(settings);
  const turn = turnOf({ rate: settings.rate, directions, curvature: round.curvature }, points);
  const at = (rate: number): Settings => ({ ...settings, rate, epsilonLog2: epsilonFor(manifest, rate, directions) });
  if (turn?.kind === "back") {
    const why = `the held-out loss rose from ${figure(turn.to.loss)} to ${figure(points.at(-1)?.loss ?? 0)}, beyond its noise of ${figure(turn.noise)}: back to the best state with half the rate`;
    return goBack(manifest, history, at(settings.rate / 2), turn.to, why);
  }
  if (turn?.kind === "shorter") {
    const why = `the held-out loss falls by ${figure(turn.gain)} a step, and the noise of a step costs ${figure(turn.cost)}: shorter steps gain more`;
    return [rateEntry(at(turn.rate), why)];
  }
  // Only where the ledger has grown by an evaluation: a swarm that flickers must not.
  if (points.length === 0 || evaluationHere(history) === undefined) return [];
  const swarm = swarmOf(round, directions);
  const size = sizeFor(swarm, manifest.job);
  const wanted = directionsOf(size);
  if (Math.max(wanted / directions, directions / wanted) < RESIZE) return [];
  return [rateEntry(resized(settings, size, manifest), `the swarm has changed. ${sizeWords(manifest, swarm, size)}`)];
}

function goBack({ job }: Manifest, { evaluations }: History, settings: Settings, to: EvaluationPoint, why: string): RoundEffect[] {
  if (settings.rate < LOOK_RATE)
    return [announce({ kind: "end", reason: "diverged", why: `the loss rises at any rate; ${job.rule} steps cannot lower it` })];
  const best = evaluations.reduce((least, one) => (one.loss < least.loss ? one : least), to);
  return [announce({ kind: "restore", step: best.step, stateHash: best.stateHash }), rateEntry(settings, why)];
}

/** A held-out loss that is no number: back to the best state, with steps half as long. */
export function onNotFinite(round: Round, step: number): RoundEffect[] {
  const { manifest, replica } = round;
  const { history } = replica;
  const [first] = history.evaluations;
  const { settings } = history;
  // A state that was left meanwhile is nobody's any more.
  if (first === undefined || settings === null || settings.probing || step <= (history.decisions.at(-1)?.afterStep ?? -1)) return [];
  const rate = settings.rate / 2;
  return goBack(
    manifest,
    history,
    { ...settings, rate },
    first,
    `the held-out loss after step ${step + 1} is no number: back to the best state with half the rate`,
  );
}

/** The end that the job file's rules call for; nothing where none does. */
function endOf({ job, objective }: Manifest, history: History): Announce[] {
  const { evaluations, forwards } = history;
  const { target, patience, forwards: budget } = job.stop;
  const newest = evaluations.at(-1);
  if (newest === undefined) return [];
  if (target !== null && isAsGood(newest.score, target, objective.metric))
    return [
      announce({ kind: "end", reason: "target", why: `the held-out score ${newest.score.toPrecision(4)} reaches the target ${target}` }),
    ];
  if (budget !== null && forwards >= budget)
    return [announce({ kind: "end", reason: "forwards", why: `${forwards} forward passes are spent, of ${budget}` })];
  const best = evaluations.reduce((least, { loss }, i) => (loss < (evaluations[least]?.loss ?? Number.POSITIVE_INFINITY) ? i : least), 0);
  const since = evaluations.length - 1 - best;
  if (patience !== null && since >= patience)
    return [
      announce({
        kind: "end",
        reason: "patience",
        why: `no lower held-out loss in ${since} evaluations; the lowest was ${evaluations[best]?.loss.toPrecision(4)}, after step ${(evaluations[best]?.step ?? -1) + 1}`,
      }),
    ];
  return [];
}
