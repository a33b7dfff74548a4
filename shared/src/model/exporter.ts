/**
 * Puts trained weights back into the model they came from. Nothing else of the file changes: names, inputs, outputs and frozen tensors stay.
 */
import type { TensorSpec } from "../zo/lattice.ts";
import { readModel, writeModel } from "./onnx.ts";

/**
 * The original ONNX file with the trained tensors at theta = X * 2^-q, which float32 holds exactly, so the weights equal theta bit for bit.
 * Throws an Error where the file is not the one that the tensors were imported from.
 */
export function exportModel(original: Uint8Array, tensors: readonly TensorSpec[], x: readonly Int32Array[]): Uint8Array {
  const read = readModel(original);
  if (!read.ok) throw new Error(read.message);
  const trained = new Map(tensors.map((tensor, t) => [tensor.name, { ...tensor, x: x[t] }]));
  const { graph } = read.model;
  const initializer = graph.initializer.map((old) => {
    const tensor = trained.get(old.name);
    if (tensor === undefined) return old;
    trained.delete(old.name);
    if (tensor.x === undefined || String(old.dims) !== String(tensor.shape))
      throw new Error(
        `the tensor "${old.name}" has the shape [${old.dims}] in this file and [${tensor.shape}] in the job; take the job's own model`,
      );
    return { ...old, rawData: new Uint8Array(thetaOf(tensor.x, tensor.q).buffer), floatData: [] };
  });
  const missing = trained.keys().next().value;
  if (missing !== undefined) throw new Error(`the tensor "${missing}" is not in this file; take the job's own model`);
  return writeModel({ ...read.model, graph: { ...graph, initializer } });
}

/** Spec 1: a product by a power of two, exact for every lattice point. */
function thetaOf(x: Int32Array, q: number): Float32Array<ArrayBuffer> {
  const unit = 2 ** -q;
  const theta = new Float32Array(x.length);
  for (let i = 0; i < x.length; i++) theta[i] = (x[i] as number) * unit;
  return theta;
}
