/**
 * What a model is to a job, before there is one: its inputs, outputs and tensors, what of it is trained and why the rest is not, what a
 * worker needs, and everything for which it would be refused. It only looks; nothing is printed or written.
 */
import { type TensorProto, TensorProto_DataType, type ValueInfoProto } from "onnx-buf";
import { openModel } from "./file.ts";
import { externalizeFrozen } from "./freeze.ts";
import { nothingToTrain } from "./importer.ts";
import { type Judged, judgeTensors } from "./judge.ts";
import { liftTrainable, trainableFrom } from "./lift.ts";
import { changed, type Model, opsetOf, type Refused, writeModel } from "./onnx.ts";
import { nodeRefusals, switchOffTraining } from "./operators.ts";
import { selectTrainable, type Weighed, weighTensor } from "./place.ts";
import { elementsIn, refusalsOf } from "./refuse.ts";
import { typeNameOf, type WeightSource } from "./tensor.ts";
import { constantOf } from "./walk.ts";
import { widenBfloat16 } from "./widen.ts";

export interface InspectOptions {
  /** epsilon = 2^epsilonLog2. */
  epsilonLog2: number;
  /** As in a job: names of what is trained, `*` standing for any text; everything that can be where it is left out. */
  trained?: readonly string[];
}

export interface InspectedValue {
  name: string;
  /** As ONNX writes it, "float"; what is no tensor by its kind, "sequence". */
  type: string;
  /** A size, the name of one that varies, or null for one without a name; null where nothing is declared. */
  dimensions: (number | string | null)[] | null;
}

export interface InspectedTensor {
  name: string;
  shape: number[];
  type: string;
  elements: number;
  /** Whether a Constant node makes it, not an initializer. */
  isConstant: boolean;
  trainable: boolean;
  /** Why it is not trained. */
  reason?: string;
  /** Of tensors whose values were read: the largest magnitude, and the lattice theta = X * 2^-q. */
  maxAbs?: number;
  q?: number;
  /** 2^-q, and its ratio to the root mean square of the values; null for a tensor of zeros. */
  resolution?: number;
  relativeResolution?: number | null;
}

export interface Inspection {
  opset: number;
  irVersion: number;
  producer: string;
  inputs: InspectedValue[];
  outputs: InspectedValue[];
  tensors: InspectedTensor[];
  totals: { tensors: number; elements: number; trainedTensors: number; trainedElements: number };
  /** Nodes that only matter in training and are switched off. */
  switchedOff: string[];
  /** What a worker holds, in bytes: 1.6 times the trained weights in float32, what is frozen (mapped), and 300 MB for the rest. */
  memoryBytes: number;
  /** What a late joiner fetches besides examples and ledger: the graph, the initial int32, the frozen weights. */
  download: { graphBytes: number; initialBytes: number; frozenBytes: number; totalBytes: number };
  /** All of them; a job starts where there are none. */
  refusals: { code: string; message: string }[];
}

/** As the worker says it before its first step (worker/src/prepare.ts). */
const MEMORY_FACTOR = 1.6;
const MEMORY_BASE_BYTES = 300e6;

/** Inspects the ONNX file at `path`. A file that is no model is a refusal; whatever else is wrong is among the findings. */
export function inspectModel(
  path: string,
  { epsilonLog2, trained: patterns }: InspectOptions,
): { ok: true; inspection: Inspection } | Refused<"model-unreadable"> {
  const opened = openModel(path);
  if (!opened.ok) return opened;
  const { source } = opened;
  const refusals: Inspection["refusals"] = refusalsOf(opened.model, source).map(({ code, message }) => ({ code, message }));
  const isFit = nodeRefusals(opened.model).length === 0;
  const { model, off } = isFit ? switchOffTraining(opened.model) : { model: opened.model, off: [] };
  const judged = judgeTensors(model);
  const candidates = judged.filter(({ reason }) => reason === undefined).map(({ tensor }) => tensor);
  const selected = patterns === undefined ? undefined : selectTrainable(candidates, patterns);
  if (selected?.ok === false) refusals.push({ code: selected.code, message: selected.message });
  const left = new Map(selected?.ok ? selected.frozen.map(({ name, reason }) => [name, reason]) : []);
  const tensors = judged.map((each) => inspectTensor(each, left.get(each.tensor.name), { source, epsilonLog2, refusals }));
  const trained = tensors.filter(({ trainable }) => trainable);
  const trainedElements = trained.reduce((sum, { elements }) => sum + elements, 0);
  if (trained.length === 0) {
    const { code, message } = nothingToTrain(model, []);
    refusals.push({ code, message });
  }
  const lifted = liftTrainable(withoutUnsized(model, source), trained);
  const frozen = externalizeFrozen(refusals.length === 0 ? widenBfloat16(lifted) : lifted, source, "frozen.data");
  const download = { graphBytes: writeModel(frozen.model).byteLength, initialBytes: 4 * trainedElements, frozenBytes: frozen.bytes };
  return {
    ok: true,
    inspection: {
      opset: opsetOf(model),
      irVersion: Number(model.irVersion),
      producer: [model.producerName, model.producerVersion].filter((text) => text).join(" "),
      inputs: inputsOf(model),
      outputs: outputsOf(model),
      tensors,
      totals: {
        tensors: tensors.length,
        elements: tensors.reduce((sum, { elements }) => sum + elements, 0),
        trainedTensors: trained.length,
        trainedElements,
      },
      switchedOff: off,
      memoryBytes: Math.round(MEMORY_FACTOR * 4 * trainedElements + download.frozenBytes + MEMORY_BASE_BYTES),
      download: { ...download, totalBytes: download.graphBytes + download.initialBytes + download.frozenBytes },
      refusals,
    },
  };
}

function inspectTensor(
  { tensor, constant, reason }: Judged,
  unasked: string | undefined,
  { source, epsilonLog2, refusals }: { source: WeightSource; epsilonLog2: number; refusals: Inspection["refusals"] },
): InspectedTensor {
  const about = {
    name: tensor.name,
    shape: tensor.dims.map(Number),
    type: typeNameOf(tensor.dataType),
    elements: elementsIn(tensor.dims),
    isConstant: constant !== null,
  };
  if (reason !== undefined) return { ...about, trainable: false, reason };
  if (!source.sizeOf(tensor).ok) return { ...about, trainable: false, reason: "cannot be read" };
  const weighed = weighTensor(trainableFrom(tensor, source), { gain: 0, epsilonLog2 });
  if (!weighed.ok) {
    if (unasked === undefined) refusals.push({ code: weighed.code, message: weighed.message });
    return { ...about, trainable: false, reason: unasked ?? "is not finite" };
  }
  const lattice = latticeOf(weighed);
  const why = unasked ?? weighed.reason;
  return { ...about, trainable: why === undefined, ...(why !== undefined && { reason: why }), ...lattice };
}

function latticeOf({ maxAbs, rms, q }: Weighed): Pick<InspectedTensor, "maxAbs" | "q" | "resolution" | "relativeResolution"> {
  if (q === null) return { maxAbs };
  return { maxAbs, q, resolution: 2 ** -q, relativeResolution: rms === 0 ? null : 2 ** -q / rms };
}

/** The model without tensors of which nothing is known, so that the sizes of the rest can be told. */
function withoutUnsized(model: Model, source: WeightSource): Model {
  const isSized = (tensor: TensorProto) => source.sizeOf(tensor).ok;
  const { graph } = model;
  const node = graph.node.filter((each) => {
    const tensor = constantOf(each);
    return tensor === undefined || isSized(tensor);
  });
  return changed(model, { graph: changed(graph, { node, initializer: graph.initializer.filter(isSized) }) });
}

/** What a model takes, weights aside. */
export function inputsOf({ graph }: Model): InspectedValue[] {
  const initializers = new Set(graph.initializer.map(({ name }) => name));
  return graph.input.filter(({ name }) => !initializers.has(name)).map(inspectValue);
}

export function outputsOf({ graph }: Model): InspectedValue[] {
  return graph.output.map(inspectValue);
}

function inspectValue({ name, type }: ValueInfoProto): InspectedValue {
  const value = type?.value;
  if (value?.case !== "tensorType") return { name, type: value?.case?.replace("Type", "") ?? "undeclared", dimensions: null };
  const dimensions = value.value.shape?.dim.map(({ value: size }) =>
    size.case === "dimValue" ? Number(size.value) : size.case === "dimParam" && size.value !== "" ? size.value : null,
  );
  return { name, type: (TensorProto_DataType[value.value.elemType] ?? "undefined").toLowerCase(), dimensions: dimensions ?? null };
}
