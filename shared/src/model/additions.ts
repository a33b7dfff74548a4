/**
 * Nodes, inputs and outputs to be added to a graph that is there already. Every value that is not named gets a name with a prefix, and a count,
 * so equal calls give equal bytes.
 */
import { type AttributeValue, type Dimension, type ElementType, nodeOf, tensorOf, valueInfoOf } from "./graph.ts";
import { changed, type Model, type NodeProto, type ValueInfoProto } from "./onnx.ts";

export interface Additions {
  /** Each returns the name of what it made, to be passed on as an input. Nodes must be added in an order in which every input exists. */
  node(opType: string, inputs: readonly string[], attributes?: Readonly<Record<string, AttributeValue>>, output?: string): string;
  /** An int64 constant, of one dimension unless the shape is given. */
  integers(values: readonly number[], shape?: readonly number[]): string;
  /** One dimension of a value, int64 [1], or [] where that shape is given. */
  size(value: string, axis: number, shape?: readonly number[]): string;
  input(name: string, type: ElementType, dimensions: readonly Dimension[]): string;
  output(info: ValueInfoProto): void;
  /** The model with the additions after its own nodes and inputs; and the outputs that were added, which are not among its outputs yet. */
  addedTo(model: Model): { model: Model; outputs: readonly ValueInfoProto[] };
}

export function createAdditions(prefix: string): Additions {
  const nodes: NodeProto[] = [];
  const inputs: ValueInfoProto[] = [];
  const outputs: ValueInfoProto[] = [];
  const additions: Additions = {
    node(opType, read, attributes = {}, output = `${prefix}${opType.toLowerCase()}_${nodes.length}`) {
      nodes.push(nodeOf(opType, read, [output], attributes));
      return output;
    },
    integers: (values, shape = [values.length]) =>
      additions.node("Constant", [], { value: tensorOf("", shape, BigInt64Array.from(values, BigInt)) }),
    size: (value, axis, shape) => additions.node("Gather", [additions.node("Shape", [value]), additions.integers([axis], shape)]),
    input(name, type, dimensions) {
      inputs.push(valueInfoOf(name, type, dimensions));
      return name;
    },
    output(info) {
      outputs.push(info);
    },
    addedTo(model) {
      const { graph } = model;
      const whole = changed(graph, { node: [...graph.node, ...nodes], input: [...graph.input, ...inputs] });
      return { model: changed(model, { graph: whole }), outputs };
    },
  };
  return additions;
}
