/**
 * Finds tables of positions among a model's tensors: frequencies of sines, slopes of distances. They are computed with before any weight
 * or input value comes in, so they belong to the formula and are not trained.
 */
import type { Model, NodeProto } from "./onnx.ts";
import { bodiesOf, HANDS_ON } from "./walk.ts";

/** What a value depends on: how long the inputs are, what is in them, and weights. */
interface Origins {
  shapes: boolean;
  inputs: boolean;
  weights: boolean;
}

const ARITHMETIC = new Set(["Add", "Div", "MatMul", "Mul", "Pow", "Sub"]);

/**
 * Those of the `weights` whose every reader computes with them and with positions alone: values that depend on the inputs' sizes and on
 * nothing else that could change, as Range(Shape(x)) does.
 */
export function positionTables({ graph }: Model, weights: ReadonlySet<string>): Set<string> {
  const readers = new Map<string, NodeProto[]>();
  const inBodies = new Set(graph.node.flatMap((node) => bodiesOf(node).flatMap((body) => body.node.flatMap(({ input }) => input))));
  for (const node of graph.node) for (const name of new Set(node.input)) readers.set(name, [...(readers.get(name) ?? []), node]);
  const origins = originsIn(graph.node, new Set(graph.input.map(({ name }) => name)), weights);
  const isPosition = (name: string) => {
    const { shapes = false, inputs = false, weights = false } = origins.get(name) ?? {};
    return shapes && !inputs && !weights;
  };
  const isTable = (name: string): boolean => {
    const reading = readers.get(name) ?? [];
    return reading.length > 0 && !inBodies.has(name) && reading.every((node) => isReadAsTable(node, name));
  };
  const isReadAsTable = ({ opType, input, output }: NodeProto, name: string): boolean => {
    if (HANDS_ON.has(opType)) return input[0] === name && isTable(output[0] ?? "");
    return ARITHMETIC.has(opType) && input.every((other) => other === name || isPosition(other));
  };
  return new Set([...weights].filter(isTable));
}

/** Nodes stand in an order in which every input exists already. What happens in a body may depend on anything. */
function originsIn(nodes: readonly NodeProto[], inputs: ReadonlySet<string>, weights: ReadonlySet<string>): Map<string, Origins> {
  const origins = new Map<string, Origins>();
  for (const name of inputs) origins.set(name, { shapes: true, inputs: true, weights: false });
  for (const name of weights) origins.set(name, { shapes: false, inputs: false, weights: true });
  for (const node of nodes) {
    const from = node.input.flatMap((name) => origins.get(name) ?? []);
    const isOfShape = node.opType === "Shape" || node.opType === "Size";
    const made = {
      shapes: from.some(({ shapes }) => shapes),
      inputs: !isOfShape && (bodiesOf(node).length > 0 || from.some(({ inputs }) => inputs)),
      weights: !isOfShape && from.some(({ weights }) => weights),
    };
    for (const name of node.output) if (!weights.has(name)) origins.set(name, made);
  }
  return origins;
}
