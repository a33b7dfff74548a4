/**
 * Which operators a model may have: those that the runtime knows and whose loss is a function of the parameters and the batch alone.
 * A refusal names the node and says why; what is not refused here may still be refused by the runtime, in its own words.
 */
import type { Model, NodeProto, Refused } from "./onnx.ts";

const KNOWN_DOMAINS = ["", "ai.onnx", "ai.onnx.ml", "com.microsoft"];
const RANDOM = new Set(["Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"]);

/** The first node that cannot be trained with, as a refusal; undefined where there is none. Bodies of If, Loop and Scan count. */
export function refuseNodes({ graph, functions }: Model): Refused<"unsupported-node"> | undefined {
  const domains = new Set([...KNOWN_DOMAINS, ...functions.map(({ domain }) => domain)]);
  for (const node of withBodies([...graph.node, ...functions.flatMap((local) => local.node)])) {
    const why = unsupported(node, domains);
    if (why === undefined) continue;
    const called = node.name || `that makes ${node.output.map((output) => `"${output}"`).join(", ")}`;
    return { ok: false, code: "unsupported-node", message: `the node ${node.name ? `"${called}"` : called} (${node.opType}) ${why}` };
  }
  return undefined;
}

function unsupported({ opType, domain, input, attribute }: NodeProto, domains: ReadonlySet<string>): string | undefined {
  if (!domains.has(domain))
    return `is of the operators "${domain}", which the runtime does not have; export the model with standard operators`;
  if (RANDOM.has(opType)) return "draws random numbers, so equal weights would not give equal losses; export the model for inference";
  // Dropout takes its mode as a third input: with one it may be on, without it does nothing.
  if (opType === "Dropout" && input[2]) return "may drop values at random; export the model for inference";
  if (opType === "BatchNormalization" && attribute.some(({ name, i }) => name === "training_mode" && i === 1n))
    return "is in training mode, so a loss would depend on the batch's other examples; export the model for inference";
  return undefined;
}

function* withBodies(nodes: readonly NodeProto[]): Generator<NodeProto> {
  for (const node of nodes) {
    yield node;
    for (const { g, graphs } of node.attribute) for (const body of g ? [g, ...graphs] : graphs) yield* withBodies(body.node);
  }
}
