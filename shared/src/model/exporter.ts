/**
 * Puts trained weights back into the model they came from. Nothing else of the file changes: names, types, inputs, outputs and frozen
 * tensors stay. The result appears under its name when it is whole.
 */
import { open, rename, rm } from "node:fs/promises";
import { basename } from "node:path";
import type { TensorProto } from "onnx-buf";
import { openModel } from "./file.ts";
import { externalizeFrozen, writeAll } from "./freeze.ts";
import { narrow } from "./half.ts";
import { changed, MODEL_BYTES_MAX, type Model, type NodeProto, type Refused, writeModel } from "./onnx.ts";
import { elementsIn } from "./refuse.ts";
import { serializeModel } from "./serialize.ts";
import { bytesFrom, extentOf, isExternal, type TensorCode, TRAINABLE_TYPES, type WeightSource, withRaw } from "./tensor.ts";
import { constantOf, isStandard, mapBodies, mapNodes, tensorsOf } from "./walk.ts";

/** New values of a tensor, asked for once, when they are written. */
export interface NewValues {
  shape: readonly number[];
  values(): Float32Array;
}

export type Exported =
  | {
      ok: true;
      /** What was written: the model, and its external data where one file could not hold it. */
      files: string[];
    }
  | Refused<"model-unreadable" | TensorCode | "other-model" | "model-unwritable">;

export interface ExportOptions {
  /** Up to here everything is one file; beyond, the weights lie beside the model. */
  oneFileBytesMax?: number;
}

/** Weights with fewer elements are replaced in the model itself, those with more when they are written. */
const SMALL_ELEMENTS = 1024;
/** Protobuf's limit with room to spare for what readers add. */
const ONE_FILE_BYTES_MAX = MODEL_BYTES_MAX - 64 * 2 ** 20;

/**
 * Writes the ONNX file `outFile`: the one at `path` with these float32 values, bit for bit; a 16-bit weight is the one nearest to them. The
 * values of a tensor are asked for once, when they are written.
 */
export async function exportValues(
  path: string,
  values: ReadonlyMap<string, NewValues>,
  outFile: string,
  { oneFileBytesMax = ONE_FILE_BYTES_MAX }: ExportOptions = {},
): Promise<Exported> {
  const opened = openModel(path);
  if (!opened.ok) return opened;
  const refused = refuseOther(opened.model, values, opened.source);
  if (refused !== undefined) return refused;
  const { model, source, isNew } = withValues(opened.model, opened.source, values);
  const partials: [partial: string, final: string][] = [];
  const write = async (final: string, content: { write(partial: string): Promise<void> }) => {
    const partial = `${final}.${process.pid}.new`;
    partials.push([partial, final]);
    await content.write(partial);
  };
  try {
    const whole = serializeModel(model, source, isNew);
    if (whole.bytes <= oneFileBytesMax) await write(outFile, fileOf(whole));
    else {
      const { model: graph, ...data } = externalizeFrozen(model, source, `${basename(outFile)}.data`, { constants: false });
      await write(`${outFile}.data`, data);
      await write(outFile, fileOf({ pieces: () => [writeModel(graph)] }));
    }
    for (const [partial, final] of partials) await rename(partial, final);
    return { ok: true, files: partials.map(([, final]) => final) };
  } catch (error) {
    const why = partials.reduce((message, [partial, final]) => message.replaceAll(partial, final), (error as Error).message);
    return { ok: false, code: "model-unwritable", message: `${outFile}: cannot be written (${why}); name another file` };
  } finally {
    for (const [partial] of partials) await rm(partial, { force: true });
  }
}

function fileOf({ pieces }: { pieces(): Iterable<Uint8Array> }) {
  return {
    async write(file: string) {
      const handle = await open(file, "w");
      try {
        let at = 0;
        for (const piece of pieces()) at += await writeAll(handle, piece, at);
      } finally {
        await handle.close();
      }
    },
  };
}

/** Refuses a file that is not the one that the tensors were imported from, or that is not whole. */
function refuseOther(
  model: Model,
  values: ReadonlyMap<string, NewValues>,
  source: WeightSource,
): Extract<Exported, { ok: false }> | undefined {
  const other = (message: string) => ({ ok: false, code: "other-model", message: `${message}; take the job's own model` }) as const;
  const missing = new Set(values.keys());
  for (const { tensor } of tensorsOf(model)) {
    const { name, dims, dataType } = tensor;
    const shape = values.get(name)?.shape;
    if (shape !== undefined) {
      missing.delete(name);
      if (String(dims) !== String(shape))
        return other(`the tensor "${name}" has the shape [${dims}] in this file and [${shape}] in the job`);
      if (!(dataType in TRAINABLE_TYPES)) return other(`the tensor "${name}" is of a type in this file that is not trained`);
    } else if (isExternal(tensor)) {
      const size = source.sizeOf(tensor);
      if (!size.ok) return size;
    }
  }
  const [name] = missing;
  return name === undefined ? undefined : other(`the tensor "${name}" is not in this file`);
}

/** The model with new values in its Constant nodes, and a source that has them for its initializers. Everything else that was external in nodes is inside. */
function withValues(model: Model, source: WeightSource, values: ReadonlyMap<string, NewValues>) {
  const { graph } = model;
  const isNew = (tensor: TensorProto) => replaced.has(tensor);
  const isSmall = ({ dims }: TensorProto) => elementsIn(dims) < SMALL_ELEMENTS;
  const replaced = new Set(graph.initializer.filter((tensor) => values.has(tensor.name) && !isSmall(tensor)));
  const newBytes = (tensor: TensorProto) => bytesAs(tensor, (values.get(tensor.name) as NewValues).values());
  const inside = (tensor: TensorProto) => (isExternal(tensor) ? withRaw(tensor, bytesFrom(source, tensor)) : tensor);
  const nodes = mapNodes(graph.node, (node) =>
    mapBodies(isStandard(node, "Constant") ? mapTensor(node, inside) : node, (body) =>
      changed(body, { initializer: body.initializer.map(inside) }),
    ),
  );
  const node = nodes.map((each) => {
    const tensor = constantOf(each);
    return tensor !== undefined && values.has(tensor.name) ? mapTensor(each, () => withRaw(tensor, newBytes(tensor))) : each;
  });
  const initializer = graph.initializer.map((tensor) =>
    values.has(tensor.name) && isSmall(tensor) ? withRaw(tensor, newBytes(tensor)) : tensor,
  );
  const withNew: WeightSource = {
    sizeOf: (tensor) => (isNew(tensor) ? extentOf(tensor) : source.sizeOf(tensor)),
    bytesOf: (tensor) => (isNew(tensor) ? { ok: true, bytes: newBytes(tensor) } : source.bytesOf(tensor)),
    piecesOf: (tensor) => (isNew(tensor) ? [newBytes(tensor)] : source.piecesOf(tensor)),
  };
  return { model: changed(model, { graph: changed(graph, { node, initializer }) }), source: withNew, isNew };
}

/** A Constant with another tensor. One that holds a list of floats goes on doing so. */
function mapTensor(node: NodeProto, change: (tensor: TensorProto) => TensorProto): NodeProto {
  const attribute = node.attribute.map((each) => {
    if (each.t !== undefined) return changed(each, { t: changed(change(each.t), { name: each.t.name }) });
    if (each.name !== "value_floats") return each;
    const { rawData } = change(constantOf(node) as TensorProto);
    return rawData.byteLength === 0 ? each : changed(each, { floats: [...new Float32Array(Uint8Array.from(rawData).buffer)] });
  });
  return changed(node, { attribute });
}

/** Values as the bytes of a tensor's own type. */
function bytesAs(tensor: TensorProto, values: Float32Array): Uint8Array {
  const extent = extentOf(tensor);
  if (!extent.ok || extent.elements !== values.length) throw new Error(`"${tensor.name}" was given ${values.length} values`);
  const type = TRAINABLE_TYPES[tensor.dataType];
  const { buffer, byteOffset, byteLength } = type === undefined || type === "float32" ? values : narrow(values, type);
  return new Uint8Array(buffer as ArrayBuffer, byteOffset, byteLength);
}
