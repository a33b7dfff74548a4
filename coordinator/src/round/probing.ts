/** Leads a round through the probe of its rate (probe.ts): a look, trials, and back to the best state with what was found. Pure. */
import { type Settings, stepOf } from "@zoswarm/shared/ledger/folds";
import { figure, rateEntry, restoreEntry, startOf } from "./decisions.ts";
import { medianOf } from "./pace.ts";
import { findRate, isTooFar, KEPT_SHARE, nextTrial, PROBE_EXAMPLES, type Probe } from "./probe.ts";
import { directionsOf, epsilonFor, resized, sizeFor, sizeWords, swarmOf } from "./size.ts";
import type { Round, RoundEffect, RoundEvent } from "./state.ts";

/** Begins a probe; one that a restart has forgotten begins again, from the initial state. */
export function beginProbe(round: Round): RoundEffect[] {
  round.probe = { here: null, trials: [], isChosen: false, fromStep: -1, awaited: null };
  return round.replica.history.settings === null ? [] : [restoreEntry(startOf(round.manifest))];
}

/** What the probe does next, whose newest step had `settings`; nothing while a trial's step or its loss is awaited. */
export function leadProbe(round: Round, probe: Probe, settings: Settings): RoundEffect[] {
  const { manifest, replica } = round;
  const { history } = replica;
  if (probe.awaited !== null) return [];
  const here = stepOf(history.branch);
  if (probe.here === null) return attempt(probe, here);
  if (probe.isChosen) return here === history.lastStep && here > probe.fromStep ? attempt(probe, here) : [];
  const rate = isLast(round, settings) ? null : nextTrial(probe.trials);
  if (rate === null) return conclude(round, probe.trials, settings);
  probe.isChosen = true;
  probe.fromStep = history.lastStep;
  const [look] = probe.trials;
  const newest = probe.trials.at(-1);
  if (look === undefined || newest === undefined) return [rateEntry({ ...settings, rate }, "a first look: how steep the loss is")];
  const next = { ...settings, rate, epsilonLog2: epsilonFor(manifest, rate, directionsOf(settings)) };
  if (!isTooFar(probe.trials)) return [rateEntry(next, `a trial; held-out loss ${figure(newest.loss)} so far`)];
  probe.here = look.loss;
  const why = `a trial; held-out loss ${figure(look.loss)}, and ${figure(newest.loss)} by the one before, which was too far`;
  return [restoreEntry(look), rateEntry(next, why)];
}

/** Whether one more trial would leave no step, or no forward pass, for what it finds. */
function isLast({ manifest: { job }, replica: { history } }: Round, settings: Settings): boolean {
  const passes = directionsOf(settings) * (job.estimator === "one-sided" ? 1 : 2);
  return history.lastStep + 2 >= job.steps || history.forwards + passes >= (job.stop.forwards ?? Number.POSITIVE_INFINITY);
}

/** Asks for the held-out loss of the state after `step`. */
function attempt(probe: Probe, step: number): RoundEffect[] {
  probe.awaited = step;
  return [{ kind: "try", step, examples: PROBE_EXAMPLES }];
}

/** Takes in what a trial came to. */
export function onTried(round: Round, { step, loss: measured, stateHash }: Extract<RoundEvent, { kind: "tried" }>): void {
  const { probe, replica, signal } = round;
  if (probe === null || probe.awaited !== step) return;
  probe.awaited = null;
  const from = probe.here;
  const loss = Number.isFinite(measured) ? measured : Number.POSITIVE_INFINITY;
  probe.here = loss;
  if (from === null) return;
  probe.isChosen = false;
  const { settings, losses } = replica.history;
  const rate = settings?.rate as number;
  probe.trials.push({ rate, directions: losses.at(-1)?.committed ?? 0, signal: signal ?? 0, from, loss, step, stateHash });
}

/** Back to the best state that a short enough trial came to, and from there on with what was found. */
function conclude(round: Round, trials: Probe["trials"], settings: Settings): RoundEffect[] {
  const { manifest, replica } = round;
  const { best, rate } = findRate(trials);
  const start = { ...startOf(manifest), loss: trials[0]?.from ?? Number.POSITIVE_INFINITY };
  const kept = trials
    .filter((trial) => trial.rate <= KEPT_SHARE * best)
    .reduce<Pick<Probe["trials"][number], "step" | "stateHash" | "loss">>((least, one) => (one.loss < least.loss ? one : least), start);
  // Of one worker's absurd losses the median hears nothing.
  const signal = medianOf(trials.map((trial) => trial.signal));
  const found = { ...settings, rate, probing: false, reference: signal > 0 && Number.isFinite(signal) ? signal : null };
  const swarm = swarmOf(round, directionsOf(settings));
  const size = swarm === null ? settings : sizeFor(swarm, manifest.job);
  const losses = trials.slice(1).map((trial) => `${figure(trial.rate)}: ${figure(trial.loss)}`);
  const words = swarm === null ? "" : ` ${sizeWords(manifest, swarm, size)}.`;
  const why = `one step gains most at rate ${figure(best)}; half of it is for many, and less as slopes flatten.${words} Held-out loss ${figure(start.loss)}, then by trial rate ${losses.join(", ")}`;
  round.probe = null;
  const back = kept.step === stepOf(replica.history.branch) ? [] : [restoreEntry(kept)];
  return [...back, rateEntry(resized(found, { groups: size.groups, directionsLog2: size.directionsLog2 }, manifest), why)];
}
