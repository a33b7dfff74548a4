/** The smallest model of any output, for the tests of what is done with it. */
import { createGraph, type Dimension, type ElementType } from "./graph.ts";
import type { Model } from "./onnx.ts";

export interface Form {
  opset?: number;
  type?: ElementType;
  /** What the output is declared to be, where that is not what it is; null for no shape. */
  declared?: readonly Dimension[] | null;
}

/** out = x, of a type. */
export function modelOf(dimensions: readonly Dimension[], { opset = 17, type = "float32", declared = dimensions }: Form = {}): Model {
  const graph = createGraph("model");
  const x = graph.input("x", "float32", dimensions);
  const to = { float16: 10, bfloat16: 16, int64: 7 }[type as string] ?? 1;
  graph.node("Cast", [x], { to }, "out");
  graph.output("out", type, declared ?? []);
  const model = graph.model({ irVersion: 8, opset, producer: "test" });
  const info = model.graph.output[0]?.type?.value;
  if (declared === null && info?.case === "tensorType") delete info.value.shape;
  return model;
}
