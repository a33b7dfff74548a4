/**
 * Adds a linear head of zeros to a model that gives a pooled vector for each example, so that a classifier can be trained of an encoder.
 * Zeros say nothing of any class: the first loss is log(classes), and what the encoder knows is not disturbed.
 */
import { TensorProto_DataType as Type } from "onnx-buf";
import { nodeOf, tensorOf, valueInfoOf } from "./graph.ts";
import { changed, type Model, type Refused } from "./onnx.ts";
import { namesIn, outputOf, shapeText } from "./outputs.ts";
import { MODEL_BYTES_MAX } from "./tensor.ts";

export interface HeadOptions {
  /** The output that is read, of shape [batch, width], or [batch, sequence, width], which is pooled. */
  output: string;
  /** How many scores the head gives; one is for the objective of kind values. */
  classes: number;
  /** What the new output is called. */
  name?: string;
  /** The size of the vector, for a model that does not declare it. */
  width?: number;
  /** How the vectors of a sequence become one. */
  pool?: "mean" | "first";
  /** The input [batch, sequence] that is 1 where there is a token: only these are in the mean. */
  mask?: string;
}

export type HeadCode = "name-taken" | "no-such-output" | "unsupported-output" | "unsupported-head";

export const HEAD = { weight: "head.weight", bias: "head.bias" } as const;
/** The values between. */
const INPUT = "head.input";
const PRODUCT = "head.product";
const POOL = "head.pool.";

/**
 * The model with `name` = output x head.weight + head.bias, float32 [batch, classes], after its own outputs; the weight is [width, classes],
 * the bias [classes], both float32 and zero. An output of 16 bits is cast to float32 first. The model that is passed stays as it is.
 */
export function addHead(
  model: Model,
  { output, classes, name = "logits", width, pool = "mean", mask }: HeadOptions,
): { ok: true; model: Model } | Refused<HeadCode> {
  const own: string[] = [HEAD.weight, HEAD.bias, INPUT, PRODUCT];
  const taken =
    own.find((each) => each === name) ?? namesIn(model).find((each) => each === name || own.includes(each) || each.startsWith(POOL));
  if (taken !== undefined) {
    const remedy = taken === name ? "give the head's output another name" : "rename it, or train the head that the model has";
    return { ok: false, code: "name-taken", message: `"${taken}" is taken, and is needed for the head; ${remedy}` };
  }
  const found = outputOf(model, output);
  if (!found.ok) return found;
  const { isFloat32, sizes } = found.output;
  if (sizes !== undefined && sizes.length !== 2 && sizes.length !== 3) {
    const message = `the output "${output}" has the shape ${shapeText(sizes)}; a head needs [batch, width] or [batch, sequence, width]: name such an output, or export the model with one`;
    return { ok: false, code: "unsupported-output", message };
  }
  const declared = sizes?.at(-1) ?? null;
  const inputs = declared ?? width;
  if (inputs === undefined) {
    const message = `the model does not say how wide its output "${output}" is (${sizes ? shapeText(sizes) : "it declares no shape"}); say it in the head: width`;
    return { ok: false, code: "unsupported-head", message };
  }
  if (width !== undefined && width !== inputs) {
    const message = `the head's width is ${width}, but the output "${output}" is ${declared} wide; leave the width out`;
    return { ok: false, code: "unsupported-head", message };
  }
  if (![inputs, classes].every((size) => Number.isSafeInteger(size) && size >= 1) || 4 * inputs * classes > MODEL_BYTES_MAX) {
    const message = `the head on "${output}" is ${inputs} wide with ${classes} classes; both must be integers from 1, and the head at most ${MODEL_BYTES_MAX} bytes: correct them`;
    return { ok: false, code: "unsupported-head", message };
  }
  const { graph } = model;
  const from = isFloat32 ? output : INPUT;
  const isSequence = sizes?.length === 3;
  const nodes = [
    ...(isFloat32 ? [] : [nodeOf("Cast", [output], [INPUT], { to: Type.FLOAT })]),
    ...(isSequence ? poolNodes(from, { width: inputs, pool, mask }) : []),
    nodeOf("MatMul", [isSequence ? `${POOL}vector` : from, HEAD.weight], [PRODUCT]),
    nodeOf("Add", [PRODUCT, HEAD.bias], [name]),
  ];
  const tensors = [
    tensorOf(HEAD.weight, [inputs, classes], new Float32Array(inputs * classes)),
    tensorOf(HEAD.bias, [classes], new Float32Array(classes)),
  ];
  return {
    ok: true,
    model: changed(model, {
      graph: changed(graph, {
        node: [...graph.node, ...nodes],
        initializer: [...graph.initializer, ...tensors],
        output: [...graph.output, valueInfoOf(name, "float32", ["batch", classes])],
      }),
    }),
  };
}

/** From [batch, sequence, width] to [batch, width], of operators that are the same in every opset. */
function poolNodes(states: string, { width, pool, mask }: { width: number; pool: "mean" | "first"; mask: string | undefined }) {
  const at = (part: string) => POOL + part;
  const integers = (part: string, values: number[]) =>
    nodeOf("Constant", [], [at(part)], { value: tensorOf("", [values.length], BigInt64Array.from(values, BigInt)) });
  const vector = [integers("shape", [-1, width]), nodeOf("Reshape", [at("pooled"), at("shape")], [at("vector")])];
  if (pool === "first") return [integers("index", [0]), nodeOf("Gather", [states, at("index")], [at("pooled")], { axis: 1 }), ...vector];
  const turned = nodeOf("Transpose", [states], [at("turned")], { perm: [0, 2, 1] });
  if (mask === undefined) return [turned, nodeOf("GlobalAveragePool", [at("turned")], [at("pooled")]), ...vector];
  return [
    turned,
    nodeOf("Cast", [mask], [at("mask")], { to: Type.FLOAT }),
    integers("row", [0, 1, -1]),
    nodeOf("Reshape", [at("mask"), at("row")], [at("counted")]),
    nodeOf("Mul", [at("turned"), at("counted")], [at("kept")]),
    nodeOf("GlobalAveragePool", [at("kept")], [at("mean")]),
    nodeOf("GlobalAveragePool", [at("counted")], [at("share")]),
    nodeOf("Div", [at("mean"), at("share")], [at("pooled")]),
    ...vector,
  ];
}
