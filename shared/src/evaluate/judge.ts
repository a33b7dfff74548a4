/**
 * What a forward pass over a batch is worth: the objective's loss, which a direction is judged by, and what held-out metrics are made
 * of. Sums in float64 outside the graph: a float32 mean costs an ulp that dividing by epsilon would amplify.
 */
import type { Example } from "../data/examples.ts";
import { countedTokens, type Feed, feedsOf, fixedBatchOf, type Needs, nextToken } from "../data/feeds.ts";
import type { InputSpec, Objective } from "../protocol/manifest.ts";
import { accuracy, exactMatch, f1, perplexity } from "./metrics.ts";
import type { Reward } from "./reward.ts";
import type { Forward, ModelSession } from "./session.ts";

export interface Judge {
  /** One batch, forward passes and all. */
  observe(examples: readonly Example[]): Promise<Observed>;
  /** What a direction is judged by, less is better; null where it is not finite. */
  lossOf(observed: readonly Observed[]): number | null;
  /** The objective's metric over everything observed. */
  scoreOf(observed: readonly Observed[]): number;
  /** Greedy continuations of the examples' tokens up to where the model is asked: what follows is the answer. */
  generate(examples: readonly Example[]): Promise<number[][]>;
}

/** Sums and lists that batches add to. */
export interface Observed {
  rows: number;
  forwards: number;
  /** Sum of the losses, and how many there are: rows, or tokens that count. */
  lossSum: number;
  lossCount: number;
  /** Predicted and true class, or token, wherever one counts. */
  predicted: number[];
  truth: number[];
  /** Generated and wanted texts. */
  generated: string[];
  targets: string[];
  rewardSum: number;
  scores: number[][];
}

export interface JudgeOptions {
  session: ModelSession;
  inputs: readonly InputSpec[];
  objective: Objective;
  /** Of generated tokens; null where nothing is generated. */
  decode: ((tokens: number[]) => string) | null;
  reward: Reward | null;
  /** Between two forward passes. */
  pause(): Promise<void>;
}

export function createJudge({ session, inputs, objective, decode, reward, pause }: JudgeOptions): Judge {
  const has = (name: string) => session.inputNames.includes(name);
  const needs: Needs = {
    labels: has("zoswarm/labels") ? (objective.kind === "tokens" ? "tokens" : "classes") : null,
    positions: has("zoswarm/positions"),
    targets: has("zoswarm/targets"),
  };
  const feed = (examples: readonly Example[]): Record<string, Feed> => feedsOf(inputs, needs, examples);

  /** Forward passes over the examples, in parts where the model takes so many at a time; the last part is filled up, and its answers cut. */
  async function* forwards(examples: readonly Example[]): AsyncGenerator<{ part: readonly Example[]; forward: Forward }> {
    const size = fixedBatchOf(inputs) ?? examples.length;
    for (let from = 0; from < examples.length; from += size) {
      const part = examples.slice(from, from + size);
      const filled = Array.from({ length: size }, (_, i) => part[i] ?? (part[0] as Example));
      const forward = await session.forward(feed(filled));
      await pause();
      yield { part, forward: part.length === size ? forward : cutTo(forward, part.length / size) };
    }
  }

  async function generate(examples: readonly Example[]): Promise<number[][]> {
    const asked = examples.map(({ tokens, position }) => Array.from(tokens).slice(0, position + 1));
    const grown = asked.map((tokens) => [...tokens]);
    const done = examples.map(() => false);
    for (let n = 0; n < objective.generate && done.includes(false); n++) {
      const open = examples.flatMap((example, i) => (done[i] ? [] : [{ i, example }]));
      const batch = open.map(({ i, example }) => {
        const tokens = grown[i] as number[];
        return { ...example, tokens, from: tokens.length, position: tokens.length - 1 };
      });
      const next: bigint[] = [];
      for await (const { forward } of forwards(batch)) next.push(...(forward.next ?? []));
      if (next.length === 0) throw new Error("the graph does not say its next token");
      open.forEach(({ i }, row) => {
        const token = Number(next[row]);
        if (token === objective.stop) done[i] = true;
        else grown[i]?.push(token);
      });
    }
    return grown.map((tokens, i) => tokens.slice(asked[i]?.length));
  }

  async function observe(examples: readonly Example[]): Promise<Observed> {
    const observed: Observed = {
      rows: examples.length,
      forwards: 0,
      lossSum: 0,
      lossCount: 0,
      predicted: [],
      truth: [],
      generated: [],
      targets: [],
      rewardSum: 0,
      scores: [],
    };
    if (objective.generate > 0) {
      const generated = await generate(examples);
      observed.forwards += objective.generate;
      observed.generated = generated.map((tokens) => decode?.(tokens) ?? "");
      observed.targets = examples.map(({ extra }) => targetOf(extra));
    }
    if (objective.kind !== "none") {
      for await (const { part, forward } of forwards(examples)) {
        takeForward(observed, part, objective, forward);
        observed.forwards++;
      }
    }
    if (reward !== null)
      examples.forEach(({ extra, label, value }, i) => {
        const more = { generated: observed.generated[i], scores: observed.scores[i], label: label < 0 ? undefined : label, value };
        const judged = reward.score({ ...(extra === "" ? {} : JSON.parse(extra)), ...more });
        if (!judged.ok) throw new Error(`the reward: ${judged.message}`);
        observed.rewardSum += judged.score;
      });
    return observed;
  }

  const lossOf = (all: readonly Observed[]): number | null => {
    const loss =
      objective.measure === "loss"
        ? meanOf(all)
        : objective.measure === "reward"
          ? -scored("reward", all)
          : 1 - scored(objective.measure, all);
    return Number.isFinite(loss) ? loss : null;
  };
  return { observe, generate, lossOf, scoreOf: (all) => scored(objective.metric, all) };

  function scored(metric: Objective["metric"], all: readonly Observed[]): number {
    const [predicted, truth] = [all.flatMap((one) => one.predicted), all.flatMap((one) => one.truth)];
    switch (metric) {
      case "accuracy":
        return accuracy(predicted, truth);
      case "f1":
        return f1(predicted, truth, objective.classes);
      case "exact-match":
        return exactMatch(
          all.flatMap((one) => one.generated),
          all.flatMap((one) => one.targets),
        );
      case "perplexity": {
        const lossSum = sum(all, (one) => one.lossSum);
        // A model that has diverged is no fault of the caller's.
        return Number.isNaN(lossSum)
          ? lossSum
          : perplexity(
              lossSum,
              sum(all, (one) => one.lossCount),
            );
      }
      case "mean-squared-error":
        return meanOf(all);
      case "reward":
        return sum(all, (one) => one.rewardSum) / sum(all, (one) => one.rows);
    }
  }
}

/** The first share of all that a forward pass says. */
function cutTo({ losses, scores, predicted, next }: Forward, share: number): Forward {
  const cut = <T extends Float32Array | BigInt64Array>(all: T | null) => (all === null ? null : (all.slice(0, all.length * share) as T));
  return { losses: cut(losses), scores: cut(scores), predicted: cut(predicted), next: cut(next) };
}

/** Adds what a forward pass says of the examples. */
function takeForward(observed: Observed, examples: readonly Example[], objective: Objective, { losses, scores, predicted }: Forward): void {
  for (const loss of losses ?? []) observed.lossSum += loss;
  if (objective.kind === "tokens") {
    const columns = (losses?.length ?? 0) / examples.length;
    examples.forEach((example, row) => {
      observed.lossCount += countedTokens(example);
      for (let c = 0; c < example.tokens.length; c++) {
        const wanted = nextToken(example, c);
        if (wanted < 0) continue;
        observed.truth.push(wanted);
        observed.predicted.push(Number(predicted?.[row * columns + c]));
      }
    });
    return;
  }
  observed.lossCount += examples.length;
  if (scores === null) return;
  const width = scores.length / examples.length;
  examples.forEach(({ label }, row) => {
    const own = Array.from(scores.subarray(row * width, (row + 1) * width));
    observed.scores.push(own);
    if (label < 0) return;
    observed.truth.push(label);
    observed.predicted.push(firstLargest(own));
  });
}

/** The place of the largest value; the lowest where they tie. */
export function firstLargest(values: readonly number[]): number {
  return values.reduce((best, value, i) => (value > (values[best] as number) ? i : best), 0);
}

function targetOf(extra: string): string {
  return extra === "" ? "" : String((JSON.parse(extra) as { target?: unknown }).target ?? "");
}

const sum = (all: readonly Observed[], of: (one: Observed) => number) => all.reduce((total, one) => total + of(one), 0);
const meanOf = (all: readonly Observed[]) =>
  sum(all, (one) => one.lossSum) /
  Math.max(
    1,
    sum(all, (one) => one.lossCount),
  );
