/**
 * Which tensors make a model unfit: what cannot be read, and weights where they could not be trained. A weight is never left out in silence.
 * Every refusal is found, not only the first, each with the node or tensor and the remedy.
 */
import { type GraphProto, type NodeProto, type TensorProto, TensorProto_DataType } from "onnx-buf";
import type { Model, Refused } from "./onnx.ts";
import { type NodeRefusal, nodeRefusals } from "./operators.ts";
import { insideSource, type TensorCode, TRAINABLE_TYPES, type WeightSource } from "./tensor.ts";
import { bodiesOf, calledOf, constantOf, isStandard, tensorsOf, withBodies } from "./walk.ts";

export type ModelRefusal = NodeRefusal | Refused<TensorCode | "unsupported-tensor" | "weights-in-body">;

/** A Constant of fewer elements, or of no dimension, is an attribute in disguise: an epsilon, an axis, a mask's value. */
export const CONSTANT_ELEMENTS_MIN = 16;

/** Whether a Constant's tensor is large enough to be a weight. */
export function isWeightSized({ dims }: TensorProto): boolean {
  return dims.length > 0 && elementsIn(dims) >= CONSTANT_ELEMENTS_MIN;
}

export function elementsIn(dims: readonly bigint[]): number {
  return dims.reduce((product, size) => product * Number(size), 1);
}

/** Everything for which a model is refused, whatever is trained of it; nothing of the weights is read. */
export function refusalsOf(model: Model, source: WeightSource = insideSource): ModelRefusal[] {
  const { graph, functions } = model;
  const nodes = [...withBodies(graph.node)];
  const inFunctions = [...withBodies(functions.flatMap(({ node }) => node))];
  return [
    ...nodeRefusals(model),
    ...strings(graph),
    ...[...nodes, ...inFunctions].flatMap(sparseConstant),
    ...sparse(graph, "is"),
    ...tensorsOf(model).flatMap(({ tensor }) => unreadable(tensor, source)),
    ...nodes.flatMap((owner) => bodiesOf(owner).flatMap((body) => inBody(body, owner, source))),
    ...inFunctions.flatMap((node) => constantIn(node, source, "in one of the model's functions", INLINE)),
  ];
}

const refusedTensor = (message: string) => ({ ok: false, code: "unsupported-tensor", message }) as const;

/** Texts that go in or out. Strings among the weights are found where they are read. */
function strings({ input, output }: GraphProto): ModelRefusal[] {
  return [...input, ...output].flatMap(({ name, type }) =>
    type?.value.case === "tensorType" && type.value.value.elemType === TensorProto_DataType.STRING
      ? [refusedTensor(`"${name}" is a tensor of strings; export the model without its own text processing, with token ids as input`)]
      : [],
  );
}

function sparse({ sparseInitializer }: GraphProto, is: string): ModelRefusal[] {
  return sparseInitializer.map(({ values }) =>
    refusedTensor(`the tensor "${values?.name ?? ""}" ${is} sparse; save the model with dense weights`),
  );
}

function sparseConstant(node: NodeProto): ModelRefusal[] {
  const isSparse = isStandard(node, "Constant") && node.attribute.some(({ sparseTensor }) => sparseTensor !== undefined);
  return isSparse ? [refusedTensor(`${calledOf(node)} holds a sparse tensor; save the model with dense weights`)] : [];
}

function unreadable(tensor: TensorProto, source: WeightSource): ModelRefusal[] {
  if (tensor.dataType === TensorProto_DataType.STRING)
    return [refusedTensor(`the tensor "${tensor.name}" holds strings; export the model without its own text processing`)];
  const size = source.sizeOf(tensor);
  return size.ok ? [] : [size];
}

/** What stands directly in a body; bodies within have owners of their own. */
function inBody(body: GraphProto, owner: NodeProto, source: WeightSource): ModelRefusal[] {
  const held = body.initializer.flatMap((tensor): ModelRefusal[] => {
    const isWeight = tensor.dataType in TRAINABLE_TYPES && tensor.dims.length > 0 && elementsIn(tensor.dims) > 1;
    return isWeight ? [weightIn(tensor, `inside of ${calledOf(owner)}`, MOVE_OUT)] : unreadable(tensor, source);
  });
  const made = body.node.flatMap((node) => constantIn(node, source, `inside of ${calledOf(owner)}`, MOVE_OUT));
  return [...held, ...sparse(body, `inside of ${calledOf(owner)} is`), ...made];
}

const INLINE = "export the model with its functions inlined";
const MOVE_OUT = "export the model without control flow, or with its weights outside of the body";

function constantIn(node: NodeProto, source: WeightSource, where: string, remedy: string): ModelRefusal[] {
  const tensor = constantOf(node);
  if (tensor === undefined) return [];
  return tensor.dataType in TRAINABLE_TYPES && isWeightSized(tensor) ? [weightIn(tensor, where, remedy)] : unreadable(tensor, source);
}

function weightIn({ name, dims }: TensorProto, where: string, remedy: string): ModelRefusal {
  const message = `the weight "${name}" of shape [${dims.join(", ")}] lies ${where}, where it cannot be trained; ${remedy}`;
  return { ok: false, code: "weights-in-body", message };
}
