/**
 * A model's outputs: one as it is declared, and the graph cut down to what some outputs need; and every name that is in use.
 * Nothing here changes the model that it is given.
 */

import { create } from "@bufbuild/protobuf";
import { TensorProto_DataType as Type, ValueInfoProtoSchema } from "onnx-buf";
import { dimensionsOf } from "./graph.ts";
import { changed, type Model, type NodeProto, type Refused, type ValueInfoProto } from "./onnx.ts";
import { typeNameOf } from "./tensor.ts";
import { bodiesOf, definedIn, withBodies } from "./walk.ts";

export interface Output {
  info: ValueInfoProto;
  /** Whether it is declared to be float32. Where not it is of 16 bits, or nothing is said: a Cast to float32 is right in both cases. */
  isFloat32: boolean;
  /** null for a size that varies; undefined where not even the rank is declared. */
  sizes: readonly (number | null)[] | undefined;
}

const FLOATS: readonly number[] = [Type.UNDEFINED, Type.FLOAT, Type.FLOAT16, Type.BFLOAT16];

/** The graph's output of that name. Refuses one that is missing, and what is no tensor of float32, float16 or bfloat16. */
export function outputOf({ graph }: Model, name: string): { ok: true; output: Output } | Refused<"no-such-output" | "unsupported-output"> {
  const info = graph.output.find((output) => output.name === name);
  if (info === undefined) {
    const there = graph.output.map((output) => `"${output.name}"`).join(", ") || "none";
    const message = `the model has no output "${name}", its outputs are ${there}; name one of them, or export the model with it`;
    return { ok: false, code: "no-such-output", message };
  }
  const type = info.type?.value ?? { case: undefined };
  const elements = type.case === "tensorType" ? type.value.elemType : Type.UNDEFINED;
  if ((type.case !== "tensorType" && type.case !== undefined) || !FLOATS.includes(elements)) {
    const is = type.case === "tensorType" ? typeNameOf(elements) : `a ${type.case?.replace("Type", "")}`;
    const message = `the output "${name}" is ${is}; it must be a tensor of float32, float16 or bfloat16: name another, or export the model with one`;
    return { ok: false, code: "unsupported-output", message };
  }
  return { ok: true, output: { info, isFloat32: elements === Type.FLOAT, sizes: dimensionsOf(info)?.sizes } };
}

/** The model with a value that one of its nodes makes among its outputs, for instance the logits before a softmax; undefined where none does. */
export function withValueAsOutput(model: Model, name: string): Model | undefined {
  const { graph } = model;
  if (graph.output.some((output) => output.name === name)) return model;
  if (!graph.node.some((node) => node.output.includes(name))) return undefined;
  const declared = graph.valueInfo.find((value) => value.name === name) ?? create(ValueInfoProtoSchema, { name });
  return changed(model, { graph: changed(graph, { output: [...graph.output, declared] }) });
}

/** The values that a value is made of, nearest first, each as `"NAME" (OPERATOR)`. */
export function valuesBefore({ graph }: Model, name: string, most: number): string[] {
  const makers = new Map(graph.node.flatMap((node) => node.output.map((output) => [output, node] as const)));
  const isMade = (value: string) => !["Constant", "Identity", undefined].includes(makers.get(value)?.opType);
  const seen = new Set<string>();
  for (const each of seen.add(name))
    for (const input of makers.get(each)?.input ?? []) if (seen.size <= most && isMade(input)) seen.add(input);
  return [...seen].slice(1).map((each) => `"${each}" (${makers.get(each)?.opType})`);
}

/** A shape as messages write it, with "?" where a size varies. */
export function shapeText(sizes: readonly (number | null)[]): string {
  return `[${sizes.map((size) => size ?? "?").join(", ")}]`;
}

/** The names of all values and nodes, those in the bodies of If, Loop and Scan too. */
export function namesIn({ graph }: Model): string[] {
  const nodes = [...withBodies(graph.node)];
  return [graph, ...nodes.flatMap(bodiesOf)].flatMap(definedIn).concat(nodes.map(({ name }) => name));
}

/**
 * The model with these outputs alone, without the nodes, initializers and annotations that none of them needs.
 * Its inputs stay, whether needed or not, but for those that only list an initializer (as files before IR 4 do).
 */
export function withOutputs(model: Model, output: readonly ValueInfoProto[]): Model {
  const { graph } = model;
  const makers = new Map(graph.node.flatMap((node) => node.output.map((name) => [name, node] as const)));
  const needed = new Set<string>();
  const kept = new Set<NodeProto>();
  const open = output.map(({ name }) => name);
  for (let name = open.pop(); name !== undefined; name = open.pop()) {
    const maker = makers.get(name);
    if (name === "" || needed.has(name)) continue;
    needed.add(name);
    if (maker === undefined || kept.has(maker)) continue;
    kept.add(maker);
    open.push(...readBy(maker));
  }
  const isNeeded = ({ name }: { name: string }) => needed.has(name);
  const dropped = new Set(graph.initializer.filter((tensor) => !isNeeded(tensor)).map(({ name }) => name));
  return changed(model, {
    graph: changed(graph, {
      node: graph.node.filter((node) => kept.has(node)),
      input: graph.input.filter(({ name }) => !dropped.has(name)),
      output: [...output],
      initializer: graph.initializer.filter(isNeeded),
      valueInfo: graph.valueInfo.filter(isNeeded),
      quantizationAnnotation: graph.quantizationAnnotation.filter(({ tensorName }) => needed.has(tensorName)),
    }),
  });
}

/** What a node and its bodies read. A body's own values are among it, which does no harm: no value around it may have the same name. */
function readBy(node: NodeProto): string[] {
  const inside = bodiesOf(node).flatMap((body) => [...body.output.map(({ name }) => name), ...body.node.flatMap(readBy)]);
  return [...node.input, ...inside];
}
