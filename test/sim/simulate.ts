/** One run from one seed: a coordinator, workers, and everything that goes wrong between them, until the job reaches its target. */
import type { Settings } from "@zoswarm/shared/ledger/folds";
import { parseAnnouncement } from "@zoswarm/shared/protocol/announcement";
import { commitKeyOf } from "@zoswarm/shared/protocol/announcement.testing";
import { type Manifest, manifestBytes } from "@zoswarm/shared/protocol/manifest";
import { sha256Hex } from "@zoswarm/shared/protocol/signing";
import { stateHash } from "@zoswarm/shared/zo/statehash";
import { firstSettings } from "../../coordinator/src/round/course.ts";
import { manifestOf } from "../../coordinator/src/round/driver.testing.ts";
import { type Checkers, createCheckers } from "./checkers.ts";
import { type CoordinatorProcess, startCoordinator } from "./coordinator.ts";
import { createDisk, type Disk } from "./disk.ts";
import { createObjective, EPSILON_LOG2, type Objective } from "./evaluator.ts";
import { drawScenario, type Faults, type Scenario } from "./faults.ts";
import { createForger } from "./forger.ts";
import { MUTATIONS, type Mutation } from "./mutations.ts";
import { createLink } from "./network.ts";
import { createRandom, type Random } from "./random.ts";
import { createStandby, type Standby } from "./standby.ts";
import { type Invariant, Violation } from "./violation.ts";
import { startWorker, type WorkerPlace, type WorkerProcess } from "./worker.ts";
import { createWorld, type World } from "./world.ts";

export interface Sim {
  world: World;
  random: Random;
  scenario: Scenario;
  objective: Objective;
  checkers: Checkers;
  commitKey: ReturnType<typeof commitKeyOf>;
  manifest: Manifest;
  manifestBytes: Uint8Array;
  jobId: string;
  mutation: Mutation | undefined;
  fail(invariant: Invariant, message: string): never;
  mayDie(who: string, effect: string, when: "before" | "after"): void;
  standby: Standby;
  kill(who: string): void;
  /** A worker's process ends by its own will and begins again from its disk. */
  startAnew(name: string): void;
  /** Sends an announcement of the coordinator to one worker. */
  gossip(peerId: string, bytes: Uint8Array): void;
  /** The coordinator, if one runs. */
  listener(): CoordinatorProcess | null;
}

export interface SimulateOptions {
  seed: number;
  workers?: number | undefined;
  steps?: number | undefined;
  /** The name of a deliberate bug. */
  mutate?: string | undefined;
  print?: ((line: string) => void) | undefined;
  linesMax?: number;
}

export interface Outcome {
  seed: number;
  failure: { invariant: Invariant; message: string } | null;
  traceHash: string;
  lines: readonly string[];
  events: number;
  virtualMs: number;
  steps: number;
  deaths: number;
  scenario: Scenario;
}

/** A run that has not ended by then never will. */
const EVENTS_MAX = 3_000_000;

export function simulate({ seed, workers, steps, mutate, print, linesMax = 0 }: SimulateOptions): Outcome {
  const random = createRandom(seed);
  const scenario = drawScenario(random, { workers, steps });
  const world = createWorld(linesMax, print);
  const mutation = mutate === undefined ? undefined : MUTATIONS[mutate];
  Object.assign(scenario.faults, mutation?.faults);
  const swarm = createSwarm(world, random, scenario, mutation);
  let failure: Outcome["failure"] = null;
  world.note("seed", `${seed}: ${JSON.stringify(scenario)}`);
  try {
    swarm.start();
    while (!swarm.isOver() && world.advance()) {
      if (world.nowMs > swarm.limitMs || world.happened > EVENTS_MAX)
        throw new Violation(
          "reaches-target",
          `${swarm.describe()} ${((world.nowMs - scenario.faults.untilMs) / 1000).toFixed(0)} s after the faults`,
        );
    }
  } catch (error) {
    const invariant = error instanceof Violation ? error.invariant : "no-own-stop";
    failure = { invariant, message: error instanceof Violation ? error.message : ((error as Error).stack ?? String(error)) };
    world.note("violated", failure.message);
  }
  return {
    seed,
    failure,
    traceHash: world.traceHash(),
    lines: world.lines,
    events: world.happened,
    virtualMs: world.nowMs,
    steps: scenario.job.steps,
    deaths: swarm.deaths(),
    scenario,
  };
}

function createSwarm(world: World, random: Random, scenario: Scenario, mutation: Mutation | undefined) {
  const objective = createObjective(scenario.elements);
  const checkers = createCheckers(objective);
  const commitKey = commitKeyOf(1);
  const publicHex = commitKey.verifier.export({ type: "spki", format: "der" }).subarray(12).toString("hex");
  const { key } = objective;
  const tensors = objective.tensors.map((tensor) => ({ ...tensor, shape: [...tensor.shape] }));
  const usual = manifestOf(publicHex, {
    ...scenario.job,
    epsilonLog2: EPSILON_LOG2,
    rate: scenario.isAutomatic ? null : 0.02,
    ...(scenario.isSized ? { groups: null, directionsLog2: null, epsilonLog2: null } : {}),
    stop: { target: null, patience: scenario.patience, forwards: scenario.budget },
  });
  const manifest: Manifest = {
    ...usual,
    objective: { ...usual.objective, measure: scenario.isJumpy ? "accuracy" : "loss" },
    key: [...key],
    staleness: scenario.staleness,
    tensors,
    stateHash: stateHash(objective.initial()),
  };
  const bytes = manifestBytes(manifest);
  const { faults } = scenario;
  const active = (): Faults | null => (world.nowMs < faults.untilMs ? faults : null);
  let coordinator: CoordinatorProcess | null = null;
  let runs = 0;
  let epochs = 0;
  let deaths = 0;
  let isTakingOver = false;
  let coordinatorDisk = createDisk(world, random, scenario.coordinator.flushMs, mutation?.lyingDisk === true);
  const places: (WorkerPlace & { process: WorkerProcess | null })[] = scenario.machines.map((machine, i) => ({
    name: `worker ${i}`,
    peerId: peerIdOf(i),
    machine,
    link: createLink(world, random, machine, active),
    disk: createDisk(world, random, machine.flushMs, false),
    process: null,
  }));
  const standby = createStandby(world, random, faults, mutation?.hasty === true);
  standby.adopt(coordinatorDisk);
  let identities = places.length;
  const forger = createForger(random, mutation?.unchecked === true);

  const sim: Sim = {
    world,
    random,
    scenario,
    objective,
    checkers,
    commitKey,
    manifest,
    manifestBytes: bytes,
    jobId: sha256Hex(bytes),
    mutation,
    fail(invariant, message) {
      throw new Violation(invariant, message);
    },
    mayDie(who, effect, when) {
      const drawn = active();
      if (drawn === null || !random.chance(who === "coordinator" ? drawn.crashCoordinator : drawn.crashWorker)) return;
      world.note(who, `dies ${when} ${effect}`);
      kill(who);
    },
    gossip(peerId, announcement) {
      const place = places.find((one) => one.peerId === peerId);
      if (place === undefined) return;
      place.link.gossip(announcement, (arrived) => place.process?.gossip(arrived));
      if (!random.chance(active()?.forgeries ?? 0)) return;
      const forged = forger(announcement);
      world.after(random.between(0, 50), () => place.process?.gossip(forged));
      if (mutation?.unchecked !== true) coordinator?.gossip(forged);
    },
    standby,
    kill,
    startAnew(name) {
      const place = places.find((one) => one.name === name);
      if (!place?.process) return;
      place.process.life.alive = false;
      place.process = null;
      place.link.breakSession();
      world.after(1, () => startOne(place));
    },
    listener: () => coordinator,
  };

  function kill(who: string) {
    deaths++;
    const downMs = random.between(0.1, 2) * faults.downMs;
    if (who === "coordinator") {
      if (coordinator) coordinator.life.alive = false;
      coordinator = null;
      coordinatorDisk.crash();
      for (const { link } of places) link.breakSession();
      return world.after(downMs, startLeader);
    }
    const place = places.find(({ name }) => name === who);
    if (!place?.process) return;
    place.process.life.alive = false;
    place.process = null;
    place.disk.crash();
    // A machine that loses its power says nothing.
    if (!random.chance(0.3)) place.link.breakSession();
    if (random.chance(faults.diskLoss)) {
      place.disk.loseLast(place.disk.entries.length);
      if (random.chance(0.5)) place.peerId = peerIdOf(identities++);
      world.note(who, "loses its disk");
    } else if (random.chance(faults.diskRollback)) place.disk.loseLast(random.whole(1, 4));
    world.after(downMs, () => startOne(place));
  }
  function startLeader(): void {
    if (coordinator !== null) return;
    world.note("coordinator", `starts with ${coordinatorDisk.entries.length} entries`);
    const takesOver = isTakingOver && !isFenced(coordinatorDisk, epochs);
    coordinator = startCoordinator(sim, coordinatorDisk, `coordinator ${++runs}`, takesOver);
  }
  /** A copy of the ledger takes over, which may lack the newest entries; the coordinator before it may live on for a while. */
  function takeOver(): void {
    if (coordinator === null || coordinatorDisk.entries.length === 0 || coordinator.round.replica.history.epoch !== epochs) return;
    const before = coordinator;
    const { entries } = coordinatorDisk;
    const firstOwn = 1 + entries.findLastIndex((bytes) => epochOf(bytes) < epochs);
    const lagging = faults.standby === "none" ? entries.slice(0, entries.length - random.whole(0, faults.copyLagMax)) : standby.entries;
    const kept = lagging.length;
    // A copy that has not heard of the present epoch would begin it again.
    if (kept <= firstOwn) return;
    if (faults.standby === "sync") checkers.succeeded(epochs, kept);
    const copy = createDisk(world, random, scenario.coordinator.flushMs, false);
    copy.entries.push(...lagging);
    world.note("coordinator", `is succeeded by a copy of ${kept} of its ${entries.length} entries`);
    coordinatorDisk = copy;
    standby.adopt(copy);
    coordinator = null;
    isTakingOver = true;
    epochs++;
    world.after(random.between(0, 1) * faults.downMs, () => {
      before.life.alive = false;
      for (const place of places) {
        place.link.breakSession();
        if (place.process?.finished) kill(place.name);
      }
    });
    world.after(random.between(0, 2_000), startLeader);
  }
  function startOne(place: (typeof places)[number]): void {
    if (place.process !== null) return;
    world.note(place.name, `starts with ${place.disk.entries.length} entries as ${place.peerId.slice(-4)}`);
    place.process = startWorker(sim, place, `${place.name}.${++runs}`);
  }
  /** Something that strikes again and again while there are faults. */
  function recurring(everyMs: number, strike: () => void): void {
    if (!Number.isFinite(everyMs)) return;
    const next = () =>
      world.after(-Math.log(1 - random.next()) * everyMs, () => {
        if (active() === null) return;
        strike();
        next();
      });
    next();
  }

  return {
    start() {
      startLeader();
      for (const place of places) world.after(random.between(0, 2_000), () => startOne(place));
      recurring(faults.partitionEveryMs, () => {
        const ms = random.between(0.2, 2) * faults.partitionMs;
        const all = random.chance(0.3);
        for (const { link, name } of places) {
          if (!all && !random.chance(0.4)) continue;
          world.note(name, `is cut off for ${(ms / 1000).toFixed(1)} s`);
          link.cut(Math.min(ms, faults.untilMs - world.nowMs));
        }
      });
      recurring(faults.breakEveryMs, () => random.pick(places).link.breakSession());
      recurring(faults.churnEveryMs, () => kill(random.pick(places).name));
      recurring(faults.takeOverEveryMs, takeOver);
      recurring(faults.corruptEveryMs, () => {
        const { name, process } = random.pick(places);
        if (process === null) return;
        world.note(name, "has a bit of its parameters flipped");
        process.corrupt();
      });
      recurring(faults.floodEveryMs, () => random.pick(places).process?.flood());
    },
    limitMs: faults.untilMs + boundMs(scenario, firstSettings(manifest)),
    isOver: () => coordinator?.round.phase === "finished" && places.every(({ process }) => process?.finished === true && process.isIdle()),
    deaths: () => deaths,
    describe: () =>
      `the job is at step ${coordinator?.round.replica.history.lastStep ?? "-"} of ${scenario.job.steps} (${coordinator?.round.phase ?? "down"}); ${places
        .map(
          ({ process }) =>
            `${process?.volunteer.state}${process?.finished ? " finished" : ""} at ${process?.volunteer.replica.history.nextSeq}`,
        )
        .join(", ")}`,
  };
}

/** In which a job without faults ends for certain: generous, but a stalled one is far beyond it. */
function boundMs({ job, machines, coordinator, faults }: Scenario, { groups, directionsLog2 }: Settings): number {
  const passes = 2 * groups * 2 ** directionsLog2;
  const slowest = Math.min(coordinator.passesPerSecond, ...machines.map(({ passesPerSecond }) => passesPerSecond));
  return 2 * faults.downMs + 120_000 + job.steps * (4 * job.deadlineMs + (3000 * passes) / slowest + 10_000);
}

function epochOf(bytes: Uint8Array): number {
  const read = parseAnnouncement(bytes);
  return read.ok ? read.announcement.epoch : -1;
}

/** Whether the entry that begins an epoch is on disk already: who died while taking over need not do it again. */
function isFenced({ entries }: Disk, epoch: number): boolean {
  const last = entries.at(-1);
  return last !== undefined && epochOf(last) >= epoch;
}

const BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

/** A peer id for each number. */
export function peerIdOf(n: number): string {
  let digits = "";
  for (let left = n, i = 0; i < 8; i++, left = Math.floor(left / 58)) digits = (BASE58[left % 58] as string) + digits;
  return `12D3KooWSimu${digits}`;
}
