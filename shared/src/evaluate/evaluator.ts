/**
 * The evaluator's thread: theta, kernel and session live here and nowhere else. Calls are served one after the other; between
 * forwards it yields, so that an abort is heard; theta is back on its lattice point whatever happens to a measurement.
 */
import { closeSync, openSync, readSync } from "node:fs";
import { parentPort, workerData } from "node:worker_threads";
import { decodeShard, type Example } from "../data/examples.ts";
import { loadTokenizer } from "../data/tokenizer.ts";
import { createParameters, type Move, type Parameters } from "../zo/kernel.ts";
import { elementsOf } from "../zo/lattice.ts";
import type { Calls, Evaluation, EvaluatorStats, FromThread, LoadRequest, MeasureRequest, ToThread } from "./calls.ts";
import { createJudge, type Judge } from "./judge.ts";
import { loadReward, type Reward } from "./reward.ts";
import { type ModelSession, openModelSession } from "./session.ts";
import { loadSnapshot, writeSnapshot } from "./snapshot.ts";
import { spreadOver } from "./spread.ts";

const port = parentPort;
if (port === null) throw new Error("the evaluator runs in a worker_thread");
const { threads } = workerData as { threads: number };

let job: { parameters: Parameters; session: ModelSession; judge: Judge; reward: Reward | null; initialFile: string } | undefined;
let heldout: Example[] = [];
const stats: EvaluatorStats = { forwards: 0, evalForwards: 0, forwardSeconds: 0, busySeconds: 0 };
const aborted = new Set<number>();
const queue: Exclude<ToThread, { abort: number } | { close: true }>[] = [];
let serving = false;
let closing = false;

const yieldToMessages = () => new Promise<void>((resolve) => setImmediate(resolve));

function loaded() {
  if (job === undefined) throw new Error("no job is loaded");
  return job;
}

/** Reads the initial state tensor by tensor, so that no second copy of all parameters ever exists. */
function loadInitial(parameters: Parameters, file: string): void {
  const handle = openSync(file, "r");
  try {
    let position = 0;
    parameters.tensors.forEach(({ name, shape }, t) => {
      const x = new Int32Array(elementsOf(shape));
      const read = readSync(handle, new Uint8Array(x.buffer), 0, x.byteLength, position);
      if (read !== x.byteLength) throw new Error(`the initial parameters end inside tensor ${name}`);
      position += read;
      const set = parameters.load(t, x);
      if (!set.ok) throw new Error(`the initial parameters leave the lattice at ${name}[${set.index}]`);
    });
  } finally {
    closeSync(handle);
  }
}

async function load({ graphFile, tensors, key, initialFile, inputs, objective, tokenizerFile }: LoadRequest) {
  const parameters = createParameters(tensors, key);
  loadInitial(parameters, initialFile);
  const tokenizer = tokenizerFile === null ? null : await loadTokenizer(tokenizerFile);
  if (tokenizer?.ok === false) throw new Error(tokenizer.message);
  const rewarding = objective.reward === null ? null : await loadReward(objective.reward);
  if (rewarding?.ok === false) throw new Error(`the reward: ${rewarding.message}`);
  const reward = rewarding?.reward ?? null;
  const session = await openModelSession(graphFile, parameters, threads);
  const judge = createJudge({ session, inputs, objective, decode: tokenizer?.decode ?? null, reward, pause: yieldToMessages });
  await job?.session.release();
  job?.reward?.close();
  job = { parameters, session, judge, reward, initialFile };
  return { stateHash: parameters.stateHash() };
}

async function measure(id: number, request: MeasureRequest): Promise<Calls["measure"]["answer"]> {
  const { parameters, session, judge } = loaded();
  const { step, group, m, epsilonLog2, estimator, directions, examples } = request;
  const losses: Calls["measure"]["answer"]["losses"] = [];
  let standing: Move[] = [];
  /** One pass: undoes where theta stands and goes to `next`. */
  const moveTo = (next: Move[]) => {
    const moves = [...standing.map(({ k, n }) => ({ k, n: -n })), ...next];
    if (moves.length > 0) parameters.perturb({ step, group, m, epsilonLog2, moves });
    standing = next;
  };
  const lossAt = async (k: number, n: number) => {
    moveTo([{ k, n }]);
    const observed = await judge.observe(examples);
    stats.forwards += observed.forwards;
    return judge.lossOf([observed]);
  };
  const from = { wall: performance.now(), forward: session.seconds() };
  try {
    for (const k of directions) {
      if (closing || aborted.has(id)) break;
      const plus = await lossAt(k, 1);
      losses.push({ k, plus, minus: estimator === "two-sided" ? await lossAt(k, -1) : null });
    }
  } finally {
    moveTo([]);
    stats.forwardSeconds += session.seconds() - from.forward;
    stats.busySeconds += (performance.now() - from.wall) / 1000;
  }
  return { losses, aborted: aborted.has(id) };
}

/** A group of directions that no step has. */
const CURVATURE_GROUP = 0xffffff;

async function curvature({
  step,
  epsilonLog2,
  directions,
  examplesMax,
}: Calls["curvature"]["request"]): Promise<Calls["curvature"]["answer"]> {
  const { judge } = loaded();
  const examples = spreadOver(heldout, examplesMax);
  const m = Math.ceil(Math.log2(directions));
  const from = { ...stats };
  const here = await judge.observe(examples);
  const { losses } = await measure(-1, {
    ...{ step, group: CURVATURE_GROUP, m, epsilonLog2, estimator: "two-sided", examples },
    directions: Array.from({ length: directions }, (_, k) => k),
  });
  const forwards = here.forwards + stats.forwards - from.forwards;
  Object.assign(stats, { ...from, evalForwards: from.evalForwards + forwards });
  const bends = losses.map(({ plus, minus }) => (plus ?? Number.NaN) + (minus ?? Number.NaN) - 2 * (judge.lossOf([here]) ?? Number.NaN));
  return { curvature: bends.reduce((sum, bend) => sum + bend, 0) / bends.length / 4 ** epsilonLog2, forwards };
}

async function evaluate({ batch, examplesMax = heldout.length }: Calls["evaluate"]["request"]): Promise<Evaluation> {
  const { judge } = loaded();
  const chosen = spreadOver(heldout, examplesMax);
  const observed: Awaited<ReturnType<Judge["observe"]>>[] = [];
  for (let from = 0; from < chosen.length && !closing; from += batch) observed.push(await judge.observe(chosen.slice(from, from + batch)));
  const forwards = observed.reduce((sum, one) => sum + one.forwards, 0);
  stats.evalForwards += forwards;
  return { loss: judge.lossOf(observed) ?? Number.NaN, score: judge.scoreOf(observed), examples: chosen.length, forwards };
}

async function predict({ examples }: Calls["predict"]["request"]): Promise<Calls["predict"]["answer"]> {
  const { judge } = loaded();
  const generated = await judge.generate(examples);
  const { scores } = await judge.observe(examples);
  return { scores, generated };
}

function reset({ commits, snapshot }: Calls["reset"]["request"]): null {
  const { parameters, initialFile } = loaded();
  const by = snapshot && loadSnapshot(loaded(), snapshot, snapshot.file).ok ? snapshot : null;
  if (by === null) loadInitial(parameters, initialFile);
  parameters.replay(commits.slice(by?.holds ?? 0));
  return null;
}

/** Applying commits is part of a worker's busy time. */
function timed(apply: () => void): null {
  const from = performance.now();
  apply();
  stats.busySeconds += (performance.now() - from) / 1000;
  return null;
}

async function serve(call: (typeof queue)[number]): Promise<unknown> {
  switch (call.name) {
    case "load":
      return load(call.request);
    case "setHeldout":
      heldout = call.request.shards.flatMap(decodeShard);
      return { count: heldout.length };
    case "reset":
      return reset(call.request);
    case "writeSnapshot":
      return writeSnapshot(loaded(), call.request, call.request.file);
    case "loadSnapshot": {
      const set = loadSnapshot(loaded(), call.request, call.request.file);
      if (!set.ok) loadInitial(loaded().parameters, loaded().initialFile);
      return set;
    }
    case "replay":
      return timed(() => loaded().parameters.replay(call.request.commits));
    case "measure":
      return measure(call.id, call.request);
    case "evaluate":
      return evaluate(call.request);
    case "curvature":
      return curvature(call.request);
    case "predict":
      return predict(call.request);
    case "stateHash":
      return { stateHash: loaded().parameters.stateHash(), clampedShare: loaded().parameters.clampedShare() };
    case "read":
      return loaded().parameters.tensors.map((_, t) => loaded().parameters.read(t));
    case "stats":
      return { ...stats };
  }
}

async function serveAll(): Promise<void> {
  if (serving) return;
  serving = true;
  for (let call = queue.shift(); call !== undefined; call = queue.shift()) {
    let reply: FromThread;
    try {
      reply = { id: call.id, answer: await serve(call) };
    } catch (error) {
      reply = { id: call.id, fault: error instanceof Error ? error.message : String(error) };
    }
    aborted.delete(call.id);
    port?.postMessage(reply);
  }
  serving = false;
  if (closing) port?.close();
}

port.on("message", (message: ToThread) => {
  if ("abort" in message) {
    aborted.add(message.abort);
    return;
  }
  if ("close" in message) {
    closing = true;
    queue.length = 0;
  } else queue.push(message);
  void serveAll();
});
