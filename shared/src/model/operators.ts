/**
 * Which operators a model may have: those that the runtime knows and whose loss is a function of the parameters and the batch alone.
 * What only matters in training is switched off; what cannot be is refused with the node's name. What is not refused here may still be
 * refused by the runtime, in its own words.
 */
import { changed, type Model, type NodeProto, type Refused } from "./onnx.ts";
import { bodiesOf, calledOf, constantOf, isStandard, mapNodes, usedIn, withBodies } from "./walk.ts";

const KNOWN_DOMAINS = ["", "ai.onnx", "ai.onnx.ml", "com.microsoft"];
const RANDOM = new Set(["Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"]);

export type NodeRefusal = Refused<"unsupported-node">;

/** Every node that cannot be trained with, in order. Bodies of If, Loop and Scan count, and the model's own functions. */
export function nodeRefusals(model: Model): NodeRefusal[] {
  const domains = new Set([...KNOWN_DOMAINS, ...model.functions.map(({ domain }) => domain)]);
  const nodes = [...withBodies(allNodes(model))];
  const fixed = fixedIn(model, nodes);
  const used = usedIn(model);
  return nodes.flatMap((node) => {
    const why = unsupported(node, { domains, fixed, used });
    return why === undefined ? [] : [{ ok: false, code: "unsupported-node", message: `${calledOf(node)} ${why}` } as const];
  });
}

/**
 * The model as it is in use, not in training: Dropout passes its input on, BatchNormalization takes its running statistics.
 * For a model of which no node is refused. Says which nodes were switched off, by name or output.
 */
export function switchOffTraining(model: Model): { model: Model; off: string[] } {
  const off: string[] = [];
  const used = usedIn(model);
  const change = (node: NodeProto) => {
    const inUse = switchedOff(node, used);
    if (inUse !== node) off.push(node.name || (node.output[0] ?? ""));
    return inUse;
  };
  const functions = model.functions.map((local) => changed(local, { node: mapNodes(local.node, change) }));
  const graph = changed(model.graph, { node: mapNodes(model.graph.node, change) });
  return { model: off.length === 0 ? model : changed(model, { graph, functions }), off };
}

function switchedOff(node: NodeProto, used: ReadonlySet<string>): NodeProto {
  // Without a mode Dropout does nothing; with nobody to read its mask it is nothing else than its input.
  if (isStandard(node, "Dropout") && node.input[2])
    return node.output[1] && used.has(node.output[1])
      ? changed(node, { input: node.input.slice(0, 1) })
      : changed(node, { opType: "Identity", input: node.input.slice(0, 1), output: node.output.slice(0, 1), attribute: [] });
  if (isTrainingNorm(node)) {
    const attribute = node.attribute.filter(({ name }) => name !== "training_mode");
    return changed(node, { attribute, output: node.output.slice(0, 1) });
  }
  return node;
}

/** Since opset 14 an attribute says so; before, the outputs did. */
function isTrainingNorm(node: NodeProto): boolean {
  if (!isStandard(node, "BatchNormalization")) return false;
  return node.attribute.some(({ name, i }) => name === "training_mode" && i === 1n) || node.output.slice(1).some((name) => name !== "");
}

function allNodes({ graph, functions }: Model): NodeProto[] {
  return [...graph.node, ...functions.flatMap(({ node }) => node)];
}

/** Values that are the same in every run. */
function fixedIn({ graph }: Model, nodes: readonly NodeProto[]): Set<string> {
  const initializers = [graph, ...nodes.flatMap(bodiesOf)].flatMap(({ initializer }) => initializer);
  return new Set([
    ...initializers.map(({ name }) => name),
    ...nodes.flatMap((node) => (constantOf(node) === undefined ? [] : node.output)),
  ]);
}

interface Context {
  domains: ReadonlySet<string>;
  fixed: ReadonlySet<string>;
  used: ReadonlySet<string>;
}

function unsupported(node: NodeProto, { domains, fixed, used }: Context): string | undefined {
  const { opType, domain, input, output } = node;
  if (!domains.has(domain))
    return `is of the operators "${domain}", which the runtime does not have; export the model with standard operators`;
  if (RANDOM.has(opType)) return "draws random numbers, so equal weights would not give equal losses; export the model for inference";
  if (isStandard(node, "Dropout") && input[2] && !fixed.has(input[2]))
    return `takes from "${input[2]}" whether to drop values at random, so it cannot be switched off; export the model for inference`;
  const statistic = isTrainingNorm(node) ? output.slice(1).find((name) => name !== "" && used.has(name)) : undefined;
  if (statistic !== undefined)
    return `is in training mode and what it makes of the batch, "${statistic}", is used, so it cannot be switched off; export the model for inference`;
  return undefined;
}
