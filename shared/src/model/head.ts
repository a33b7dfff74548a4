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
  /** The output that is read, of shape [batch, width]. */
  output: string;
  /** How many scores the head gives; one is for the objective of kind values. */
  classes: number;
  /** What the new output is called. */
  name?: string;
  /** The size of the vector, for a model that does not declare it. */
  width?: number;
}

export type HeadCode = "name-taken" | "no-such-output" | "unsupported-output" | "unsupported-head";

export const HEAD = { weight: "head.weight", bias: "head.bias" } as const;
/** The values between. */
const INPUT = "head.input";
const PRODUCT = "head.product";

/**
 * The model with `name` = output x head.weight + head.bias, float32 [batch, classes], after its own outputs; the weight is [width, classes],
 * the bias [classes], both float32 and zero. An output of 16 bits is cast to float32 first. The model that is passed stays as it is.
 */
export function addHead(
  model: Model,
  { output, classes, name = "logits", width }: HeadOptions,
): { ok: true; model: Model } | Refused<HeadCode> {
  const own: string[] = [HEAD.weight, HEAD.bias, INPUT, PRODUCT];
  const taken = own.find((each) => each === name) ?? namesIn(model).find((each) => each === name || own.includes(each));
  if (taken !== undefined) {
    const remedy = taken === name ? "give the head's output another name" : "rename it, or train the head that the model has";
    return { ok: false, code: "name-taken", message: `"${taken}" is taken, and is needed for the head; ${remedy}` };
  }
  const found = outputOf(model, output);
  if (!found.ok) return found;
  const { isFloat32, sizes } = found.output;
  if (sizes !== undefined && sizes.length !== 2) {
    const message = `the output "${output}" has the shape ${shapeText(sizes)}; a head needs [batch, width]: name the pooled output, or export the model with one`;
    return { ok: false, code: "unsupported-output", message };
  }
  const declared = sizes?.[1] ?? null;
  const inputs = declared ?? width;
  if (inputs === undefined) {
    const message = `the model does not say how wide its output "${output}" is (${sizes ? shapeText(sizes) : "it declares no shape"}); give the head's width`;
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
  const nodes = [
    ...(isFloat32 ? [] : [nodeOf("Cast", [output], [INPUT], { to: Type.FLOAT })]),
    nodeOf("MatMul", [from, HEAD.weight], [PRODUCT]),
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
