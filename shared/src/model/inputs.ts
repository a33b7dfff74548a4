/** Lets inputs of 16-bit or 64-bit floats be fed as float32: what a decoder has seen before, pixels. For training only, the exported model keeps its types. */
import { TensorProto_DataType as Type } from "onnx-buf";
import { nodeOf, valueInfoOf } from "./graph.ts";
import { changed, type Model } from "./onnx.ts";
import { renameReads } from "./walk.ts";

const PREFIX = "zoswarm/input/";
const CAST: readonly number[] = [Type.FLOAT16, Type.BFLOAT16, Type.DOUBLE];

/** The model with such inputs as float32, cast to their own type before anything reads them; the model that is passed stays as it is. */
export function feedFloats(model: Model): Model {
  const { graph } = model;
  const initializers = new Set(graph.initializer.map(({ name }) => name));
  const casts = new Map<string, number>();
  const input = graph.input.map((value) => {
    const type = value.type?.value;
    if (type?.case !== "tensorType" || !CAST.includes(type.value.elemType) || initializers.has(value.name)) return value;
    casts.set(value.name, type.value.elemType);
    const wide = valueInfoOf(value.name, "float32", []);
    const own = wide.type?.value;
    if (own?.case === "tensorType" && type.value.shape !== undefined) own.value.shape = type.value.shape;
    return wide;
  });
  if (casts.size === 0) return model;
  const nodes = [...casts].map(([name, to]) => nodeOf("Cast", [name], [PREFIX + name], { to }));
  const names = new Map([...casts].map(([name]) => [name, PREFIX + name]));
  return changed(model, { graph: changed(graph, { input, node: [...nodes, ...renameReads(graph.node, names)] }) });
}
