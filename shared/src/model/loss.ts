/**
 * Adds a classifier's loss to a graph: an input `labels` and an output `loss`, one value per example, beside `logits`.
 * The mean is not taken here: a float32 mean costs an ulp, which dividing by epsilon would amplify.
 */
import { nodeOf, tensorOf, valueInfoOf } from "./graph.ts";
import type { Model, Refused } from "./onnx.ts";

export const LABELS = "labels";
export const LOSS = "loss";
/** Every name that is added besides begins so. */
const PREFIX = "zoswarm/loss/";

/**
 * loss[b] = -log softmax(logits[b])[labels[b]], with `logits` float32 [batch, classes] and `labels` int64 [batch].
 * LogSoftmax shifts by the maximum, so the loss is finite for any finite logits. Refuses a graph that uses the names already.
 */
export function addLoss(model: Model, logits: string): { ok: true; model: Model } | Refused<"name-taken"> {
  const { graph } = model;
  const taken = namesOf(model).find((name) => name === LABELS || name === LOSS || name.startsWith(PREFIX));
  if (taken !== undefined) {
    const message = `the model has a value named "${taken}", which is needed for the loss; rename it, or export the model without its own loss`;
    return { ok: false, code: "name-taken", message };
  }
  const named = (name: string) => PREFIX + name;
  const constant = (name: string, values: number[]) =>
    nodeOf("Constant", [], [named(name)], { value: tensorOf("", [values.length], BigInt64Array.from(values, BigInt)) });
  const nodes = [
    constant("column", [-1, 1]),
    constant("row", [-1]),
    nodeOf("LogSoftmax", [logits], [named("log_softmax")], { axis: 1 }),
    nodeOf("Reshape", [LABELS, named("column")], [named("labels")]),
    nodeOf("GatherElements", [named("log_softmax"), named("labels")], [named("gathered")], { axis: 1 }),
    nodeOf("Reshape", [named("gathered"), named("row")], [named("log_likelihood")]),
    nodeOf("Neg", [named("log_likelihood")], [LOSS]),
  ];
  return {
    ok: true,
    model: {
      ...model,
      graph: {
        ...graph,
        node: [...graph.node, ...nodes],
        input: [...graph.input, valueInfoOf(LABELS, "int64", ["batch"])],
        output: [...graph.output, valueInfoOf(LOSS, "float32", ["batch"])],
      },
    },
  };
}

function namesOf({ graph }: Model): string[] {
  return [...graph.input, ...graph.initializer].map(({ name }) => name).concat(graph.node.flatMap(({ output }) => output));
}
