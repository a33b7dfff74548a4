/**
 * Lets a model that computes in bfloat16 run where the runtime has no such kernels (its CPU has Cast alone): the same graph in float32.
 * Weights keep their rounding to bfloat16; only what is computed of them is finer. For training only, the exported model keeps its types.
 */
import { type AttributeProto, type GraphProto, type TensorProto, TensorProto_DataType as Type, type ValueInfoProto } from "onnx-buf";
import { nodeOf, tensorOf } from "./graph.ts";
import { LIFT_PREFIX } from "./lift.ts";
import { changed, type Model, type NodeProto } from "./onnx.ts";
import { floatsOf } from "./tensor.ts";
import { constantOf, isStandard, mapBodies, mapNodes, renameReads, withBodies } from "./walk.ts";

const PREFIX = "zoswarm/widen/";

/**
 * A lifted model in which bfloat16 occurs as the type of weights alone: what is read of them is float32, and so is everything that is
 * computed, taken in or given out. One without bfloat16 is returned as it is, and so is one whose weights are cast before use already.
 */
export function widenBfloat16(model: Model): Model {
  const { graph } = model;
  const narrow = [
    ...graph.initializer.filter(({ dataType }) => dataType === Type.BFLOAT16).map(({ name }) => name),
    ...graph.node.flatMap((node) => (isLifted(node) || isNarrow(constantOf(node)) ? node.output.slice(0, 1) : [])),
  ];
  if (isStoredOnly(model, new Set(narrow))) return model;
  const casts = new Map(narrow.map((name) => [name, nodeOf("Cast", [name], [PREFIX + name], { to: Type.FLOAT })]));
  const wide = mapNodes(graph.node, (node) => (isLifted(node) ? node : widenNode(node))).map((node) => mapBodies(node, widenBody));
  const renamed = renameReads(wide, new Map(narrow.map((name) => [name, PREFIX + name])));
  const initializerCasts = graph.initializer.flatMap(({ name }) => casts.get(name) ?? []);
  const node = renamed.flatMap((each) => {
    const cast = casts.get(each.output[0] ?? "");
    return cast === undefined ? [each] : [each, cast];
  });
  return changed(model, {
    graph: changed(graph, {
      node: [...initializerCasts, ...node],
      input: graph.input.map(widenValue),
      output: graph.output.map(widenValue),
      valueInfo: graph.valueInfo.filter((value) => elementTypeOf(value) !== Type.BFLOAT16),
    }),
    functions: model.functions.map((local) => changed(local, { node: mapNodes(local.node, widenNode), valueInfo: [] })),
  });
}

/** Whether bfloat16 is only a way to store weights: each is read by a Cast, and nothing else has the type. */
function isStoredOnly({ graph, functions }: Model, narrow: ReadonlySet<string>): boolean {
  if ([...graph.input, ...graph.output].some((value) => elementTypeOf(value) === Type.BFLOAT16)) return false;
  const nodes = [...withBodies([...graph.node, ...functions.flatMap((local) => local.node)])].filter((node) => !isLifted(node));
  return nodes.every((node) => widenNode(node) === node && (isCast(node) || !node.input.some((name) => narrow.has(name))));
}

const isCast = (node: NodeProto) => isStandard(node, "Cast");
const isNarrow = (tensor: TensorProto | undefined) => tensor?.dataType === Type.BFLOAT16;
/** The rounding of a weight that is trained, which stays. */
const isLifted = (node: NodeProto) =>
  isCast(node) && (node.output[0] ?? "").startsWith(LIFT_PREFIX) && node.attribute.some(({ i }) => i === BigInt(Type.BFLOAT16));

/** Attributes that name an element type: of what is made, or of what it is computed in. */
const TYPE_ATTRIBUTES = new Set(["to", "dtype", "output_dtype", "stash_type", "softmax_precision", "qk_matmul_precision"]);

function widenAttribute(node: NodeProto, attribute: AttributeProto): AttributeProto {
  if (TYPE_ATTRIBUTES.has(attribute.name) && attribute.i === BigInt(Type.BFLOAT16)) return changed(attribute, { i: BigInt(Type.FLOAT) });
  if (isStandard(node, "ConstantOfShape") && isNarrow(attribute.t))
    return changed(attribute, { t: widenTensor(attribute.t as TensorProto) });
  return attribute;
}

function widenNode(node: NodeProto): NodeProto {
  const attribute = node.attribute.map((each) => widenAttribute(node, each));
  return attribute.every((each, at) => each === node.attribute[at]) ? node : changed(node, { attribute });
}

/** Bodies hold no weights (refuse.ts), so what they hold is small and is widened itself. */
function widenBody(body: GraphProto): GraphProto {
  const node = body.node.map((each) => {
    const inner = mapBodies(each, widenBody);
    if (!isNarrow(constantOf(inner))) return inner;
    const attribute = inner.attribute.map((value) => (value.t ? changed(value, { t: widenTensor(value.t) }) : value));
    return changed(inner, { attribute });
  });
  return changed(body, {
    node,
    initializer: body.initializer.map((tensor) => (isNarrow(tensor) ? widenTensor(tensor) : tensor)),
    input: body.input.map(widenValue),
    output: body.output.map(widenValue),
    valueInfo: body.valueInfo.map(widenValue),
  });
}

function widenTensor(tensor: TensorProto): TensorProto {
  const floats = floatsOf(tensor);
  if (!floats.ok) throw new Error(floats.message);
  return tensorOf(tensor.name, floats.shape, floats.values);
}

function elementTypeOf({ type }: ValueInfoProto): number | undefined {
  return type?.value.case === "tensorType" ? type.value.value.elemType : undefined;
}

function widenValue(value: ValueInfoProto): ValueInfoProto {
  const { type } = value;
  if (type?.value.case !== "tensorType" || elementTypeOf(value) !== Type.BFLOAT16) return value;
  return changed(value, {
    type: changed(type, { value: { case: "tensorType", value: changed(type.value.value, { elemType: Type.FLOAT }) } }),
  });
}
