/**
 * A job's model on trial, before anybody downloads it: run once on the examples that are hardest for it, and asked what would make training
 * useless without an error.
 */
import { type Example, encodeShard, exampleOf } from "@zoswarm/shared/data/examples";
import type { LoadRequest } from "@zoswarm/shared/evaluate/calls";
import type { Evaluator } from "@zoswarm/shared/evaluate/client";
import type { Objective } from "@zoswarm/shared/protocol/manifest";
import type { Fault } from "./folder.ts";

/** Rounding stays below, but for that of activations to 8 bits. */
const MIXES_MAX = 3e-4;
const FORESEES_MAX = 1e-4;

/** Runs the model once on the hardest examples: a fault of the runtime, which names the node, must come now and not at a volunteer. */
export async function tryModel(
  evaluator: Evaluator,
  load: LoadRequest,
  { train, heldout, before }: { train: readonly Example[]; heldout: readonly Example[]; before: readonly string[] },
): Promise<{ ok: true; doubts: string[] } | Fault<"model-fails">> {
  try {
    await evaluator.call("load", load);
    for (const [name, examples] of [
      ["training", train],
      ["held-out", heldout],
    ] as const) {
      await evaluator.call("setHeldout", { shards: [encodeShard(hardestOf(examples))] });
      const { loss } = await evaluator.call("evaluate", { batch: 2 });
      if (!Number.isFinite(loss))
        return { ok: false, code: "model-fails", message: `its loss on a ${name} example is ${loss}; check its weights` };
    }
    return { ok: true, doubts: await doubtsOf(evaluator, load.objective, { train, heldout, before }) };
  } catch (error) {
    const why = (error as Error).message.replaceAll(/\s+/g, " ").trim();
    const message = /GatherElements.*zoswarm\/objective\//.test(why)
      ? "its output has fewer classes than there are labels, or fewer entries for a token than the tokenizer has tokens; correct the labels, name another output, or take the model's own tokenizer"
      : `the runtime refuses it: ${why}; see that it runs in onnxruntime with several examples of different lengths, or export it again, for instance with opset 17`;
    return { ok: false, code: "model-fails", message };
  } finally {
    await evaluator.close();
  }
}

/** What is most likely a mistake, in words for the launcher. */
async function doubtsOf(
  evaluator: Evaluator,
  { kind, measure, generate }: Objective,
  { train, heldout, before }: { train: readonly Example[]; heldout: readonly Example[]; before: readonly string[] },
): Promise<string[]> {
  const doubts: string[] = [];
  const { scores } = await evaluator.call("predict", { examples: hardestOf(heldout) });
  if (kind === "classes" && scores.every(isDistribution))
    doubts.push(
      `the output holds probabilities, not logits, and learns slowly: name what is before its softmax or sigmoid (output: VALUE), one of ${before.join(", ")}`,
    );
  const mixes = measure === "loss" && generate === 0 ? await mixedUp(evaluator, train) : 0;
  if (mixes > MIXES_MAX)
    doubts.push(
      `the loss of the same examples differs by ${mixes.toPrecision(2)} when they are batched: the model reads padding, rounds activations, or has the sequence before the batch; export it with an attention mask, batch first`,
    );
  const foresees = kind === "tokens" && measure === "loss" ? await foreseen(evaluator, train) : 0;
  if (foresees > FORESEES_MAX)
    doubts.push(
      `what the model says of a token differs by ${foresees.toPrecision(2)} with the tokens after it: it sees what it shall predict, so it is no decoder (or rounds activations); take objective masked-lm or classification`,
    );
  return doubts;
}

/** How much a short example's loss changes beside a long one. */
async function mixedUp(evaluator: Evaluator, examples: readonly Example[]): Promise<number> {
  const short = examples.reduce((one, other) => (other.tokens.length < one.tokens.length ? other : one));
  await evaluator.call("setHeldout", { shards: [encodeShard([short, ...hardestOf(examples)])] });
  const [alone, together] = [await evaluator.call("evaluate", { batch: 1 }), await evaluator.call("evaluate", { batch: 3 })];
  return Math.abs(alone.loss - together.loss) / Math.max(1, Math.abs(alone.loss));
}

/** How much the loss of an example's first half changes with what comes after it: a decoder's does not. */
async function foreseen(evaluator: Evaluator, examples: readonly Example[]): Promise<number> {
  const [longest] = hardestOf(examples) as [Example];
  const { length } = longest.tokens;
  const half = Math.floor(length / 2);
  if (half < 2) return 0;
  const sumOf = async (to: number, from: number) => {
    const example = { ...exampleOf(Array.from(longest.tokens).slice(0, to), { from }), features: longest.features };
    await evaluator.call("setHeldout", { shards: [encodeShard([example])] });
    return (await evaluator.call("evaluate", { batch: 1 })).loss * (to - from);
  };
  const [whole, end, alone] = [await sumOf(length, 1), await sumOf(length, half), await sumOf(half, 1)];
  return Math.abs(whole - end - alone) / (half - 1);
}

/** Whether scores are probabilities: of these a cross-entropy would hardly move. */
function isDistribution(scores: readonly number[]): boolean {
  return scores.every((score) => score >= 0) && Math.abs(scores.reduce((sum, score) => sum + score, 0) - 1) < 1e-3;
}

/** The longest example of a set, and the one that holds its largest token id. */
function hardestOf(examples: readonly Example[]): Example[] {
  const largestIn = ({ tokens }: Example) => Array.from(tokens).reduce((most, token) => Math.max(most, token), -1);
  const longest = examples.reduce((one, other) => (other.tokens.length > one.tokens.length ? other : one));
  const largest = examples.reduce((one, other) => (largestIn(other) > largestIn(one) ? other : one));
  return [longest, largest];
}
