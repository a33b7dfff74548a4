/**
 * Ways through a graph: the bodies of If, Loop and Scan, the constants among its nodes, and renaming what is read.
 * Messages are never changed in place: what is returned shares all that stayed.
 */
import { create } from "@bufbuild/protobuf";
import { type AttributeProto, type GraphProto, type NodeProto, type TensorProto, TensorProto_DataType, TensorProtoSchema } from "onnx-buf";
import { changed, type Model } from "./onnx.ts";

/** The graphs inside a node. */
export function bodiesOf({ attribute }: NodeProto): GraphProto[] {
  return attribute.flatMap(({ g, graphs }) => (g ? [g, ...graphs] : graphs));
}

/** Nodes in order, each before those of its bodies. */
export function* withBodies(nodes: readonly NodeProto[]): Generator<NodeProto> {
  for (const node of nodes) {
    yield node;
    for (const body of bodiesOf(node)) yield* withBodies(body.node);
  }
}

/** A node as messages call it. */
export function calledOf({ name, output, opType }: NodeProto): string {
  return name ? `the node "${name}" (${opType})` : `the node that makes ${output.map((each) => `"${each}"`).join(", ")} (${opType})`;
}

/** Whether a node is of the standard operators, and of that type. */
export function isStandard({ domain, opType }: NodeProto, type: string): boolean {
  return opType === type && (domain === "" || domain === "ai.onnx");
}

/** These hand on values of their first input, all of them or some, in another shape or type. */
export const HANDS_ON = new Set(["Cast", "Expand", "Flatten", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"]);

/** Gives every node to `change`, those of bodies too and before the node that holds them. */
export function mapNodes(nodes: readonly NodeProto[], change: (node: NodeProto) => NodeProto): NodeProto[] {
  return nodes.map((node) => change(mapBodies(node, (body) => changed(body, { node: mapNodes(body.node, change) }))));
}

/** A node with its bodies changed; a node without any is returned as it is. */
export function mapBodies(node: NodeProto, change: (body: GraphProto) => GraphProto): NodeProto {
  if (bodiesOf(node).length === 0) return node;
  const attribute = node.attribute.map((each): AttributeProto => {
    if (each.g === undefined && each.graphs.length === 0) return each;
    return changed(each, { ...(each.g && { g: change(each.g) }), graphs: each.graphs.map(change) });
  });
  return changed(node, { attribute });
}

/** Nodes that read other values: each name that is a key is replaced by its value, in bodies too unless a body gives the name a meaning of its own. */
export function renameReads(nodes: readonly NodeProto[], names: ReadonlyMap<string, string>): NodeProto[] {
  if (names.size === 0) return [...nodes];
  return nodes.map((node) => {
    const inner = mapBodies(node, (body) => {
      const own = new Set(definedIn(body));
      return changed(body, { node: renameReads(body.node, new Map([...names].filter(([name]) => !own.has(name)))) });
    });
    if (!inner.input.some((name) => names.has(name))) return inner;
    return changed(inner, { input: inner.input.map((name) => names.get(name) ?? name) });
  });
}

/** Every name that a graph itself gives a value to. */
export function definedIn({ input, initializer, node }: GraphProto): string[] {
  return [...input, ...initializer].map(({ name }) => name).concat(node.flatMap(({ output }) => output));
}

/** Every value that something reads or returns, in whatever graph; an upper bound of what a name in one of them is used for. */
export function usedIn({ graph, functions }: Model): Set<string> {
  const nodes = [...withBodies([...graph.node, ...functions.flatMap(({ node }) => node)])];
  const bodies = [graph, ...nodes.flatMap(bodiesOf)];
  return new Set([
    ...nodes.flatMap(({ input }) => input),
    ...bodies.flatMap(({ output }) => output.map(({ name }) => name)),
    ...functions.flatMap(({ output }) => output),
  ]);
}

/** The tensor that a Constant node makes, under the name of its output; undefined for other nodes and for sparse constants. */
export function constantOf(node: NodeProto): TensorProto | undefined {
  if (!isStandard(node, "Constant")) return undefined;
  const [name = ""] = node.output;
  for (const { name: attribute, t, f, i, s, floats, ints, strings } of node.attribute) {
    const made = (dataType: number, values: Partial<TensorProto>, dims: bigint[] = []) =>
      changed(create(TensorProtoSchema, { name, dataType, dims }), values);
    switch (attribute) {
      case "value":
        return t && changed(t, { name });
      case "value_float":
        return made(TensorProto_DataType.FLOAT, { floatData: [f] });
      case "value_floats":
        return made(TensorProto_DataType.FLOAT, { floatData: floats }, [BigInt(floats.length)]);
      case "value_int":
        return made(TensorProto_DataType.INT64, { int64Data: [i] });
      case "value_ints":
        return made(TensorProto_DataType.INT64, { int64Data: ints }, [BigInt(ints.length)]);
      case "value_string":
        return made(TensorProto_DataType.STRING, { stringData: [s] });
      case "value_strings":
        return made(TensorProto_DataType.STRING, { stringData: strings }, [BigInt(strings.length)]);
    }
  }
  return undefined;
}

/** All tensors of the main graph in order: its initializers, then what its Constant nodes make. */
export function tensorsOf({ graph }: Model): { tensor: TensorProto; constant: NodeProto | null }[] {
  return [
    ...graph.initializer.map((tensor) => ({ tensor, constant: null })),
    ...graph.node.flatMap((node) => {
      const tensor = constantOf(node);
      return tensor === undefined ? [] : [{ tensor, constant: node }];
    }),
  ];
}
