/**
 * The evaluator's thread: theta, kernel and session live here and nowhere else. Calls are served one after the other; between
 * forwards it yields, so that an abort is heard; theta is back on its lattice point whatever happens to a measurement.
 */
import { closeSync, openSync, readSync } from "node:fs";
import { parentPort, workerData } from "node:worker_threads";
import { decodeExamples, type Examples } from "../data/examples.ts";
import { createParameters, type Move, type Parameters } from "../zo/kernel.ts";
import { elementsOf } from "../zo/lattice.ts";
import type { Calls, Evaluation, EvaluatorStats, ExamplesName, FromThread, LoadRequest, MeasureRequest, ToThread } from "./calls.ts";
import { type ModelSession, meanOf, openModelSession, predictionsOf } from "./session.ts";

const port = parentPort;
if (port === null) throw new Error("the evaluator runs in a worker_thread");
const { threads } = workerData as { threads: number };

let job: { parameters: Parameters; session: ModelSession; initialFile: string } | undefined;
const examples = new Map<ExamplesName, Examples>();
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

function examplesOf(name: ExamplesName): Examples {
  const found = examples.get(name);
  if (found === undefined) throw new Error(`no ${name} examples are set`);
  return found;
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

async function load({ graph, tensors, key, initialFile }: LoadRequest) {
  const parameters = createParameters(tensors, key);
  loadInitial(parameters, initialFile);
  await job?.session.release();
  job = { parameters, session: await openModelSession(graph, parameters, threads), initialFile };
  return { stateHash: parameters.stateHash() };
}

async function measure(id: number, request: MeasureRequest): Promise<Calls["measure"]["answer"]> {
  const { parameters, session } = loaded();
  const { step, group, m, epsilonLog2, estimator, directions } = request;
  const batch = examplesOf("train").batch(request.batch);
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
    const { losses } = await session.forward(batch);
    stats.forwards++;
    await yieldToMessages();
    return meanOf(losses);
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

async function evaluate({ name, batch, indices }: Calls["evaluate"]["request"]): Promise<Evaluation> {
  const { session } = loaded();
  const set = examplesOf(name);
  const asked = indices ?? Array.from({ length: set.count }, (_, i) => i);
  const predictions = new Int32Array(asked.length);
  let lossSum = 0;
  let correct = 0;
  let forwards = 0;
  for (let from = 0; from < asked.length && !closing; from += batch) {
    const forward = await session.forward(set.batch(asked.slice(from, from + batch)));
    forwards++;
    for (const loss of forward.losses) lossSum += loss;
    predictionsOf(forward).forEach((prediction, row) => {
      predictions[from + row] = prediction;
      if (prediction === set.labels[asked[from + row] as number]) correct++;
    });
    await yieldToMessages();
  }
  stats.evalForwards += forwards;
  return { loss: lossSum / asked.length, accuracy: correct / asked.length, examples: asked.length, forwards, predictions };
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
    case "setExamples": {
      const set = decodeExamples(call.request.blob);
      examples.set(call.request.name, set);
      return { count: set.count };
    }
    case "reset":
      loadInitial(loaded().parameters, loaded().initialFile);
      loaded().parameters.replay(call.request.commits);
      return null;
    case "replay":
      return timed(() => loaded().parameters.replay(call.request.commits));
    case "measure":
      return measure(call.id, call.request);
    case "evaluate":
      return evaluate(call.request);
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
