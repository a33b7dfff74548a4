/**
 * Moves the weights that are not trained out of a graph into one data file beside it, which the runtime maps into memory: the graph that
 * is left is kilobytes, and a frozen base takes no memory of its own. The bytes are streamed, and equal models give equal files.
 */

import { type FileHandle, open } from "node:fs/promises";
import { create } from "@bufbuild/protobuf";
import { StringStringEntryProtoSchema, type TensorProto, TensorProto_DataLocation, TensorProto_DataType } from "onnx-buf";
import { changed, type Model } from "./onnx.ts";
import { bytesFrom, extentOf, isExternal, type WeightSource, withRaw } from "./tensor.ts";
import { constantOf } from "./walk.ts";

/** What a page of memory holds on the machines that map the file. */
const ALIGNMENT = 4096;

export interface ExternalizeOptions {
  /** Smaller tensors stay in the graph, or come into it. */
  leastBytes?: number;
  /** Whether large Constant nodes become initializers, and are moved like them. */
  constants?: boolean;
}

export interface Externalized {
  /** The model without its large tensors. It expects their file beside it. */
  model: Model;
  /** Bytes of the data file; 0 where nothing was moved and no file is needed. */
  bytes: number;
  /** Writes the data file, to a path or an open handle, from its first byte. Rejects with what the disk says. */
  write(file: string | FileHandle): Promise<void>;
}

/**
 * Gives every large initializer of the main graph, of whatever type, a place in the file `location` (a plain name).
 * For a model of which no tensor is refused (refuse.ts); the model that is passed stays as it is.
 */
export function externalizeFrozen(
  model: Model,
  source: WeightSource,
  location: string,
  { leastBytes = 1024, constants = true }: ExternalizeOptions = {},
): Externalized {
  const { graph } = model;
  const moved: { tensor: TensorProto; offset: number; bytes: number }[] = [];
  let end = 0;
  const isLarge = (tensor: TensorProto) => {
    if (tensor.dataType === TensorProto_DataType.STRING) return false;
    const extent = extentOf(tensor);
    return extent.ok && extent.bytes >= leastBytes;
  };
  const move = (tensor: TensorProto) => {
    const size = source.sizeOf(tensor);
    if (!size.ok) throw new Error(size.message);
    const offset = Math.ceil(end / ALIGNMENT) * ALIGNMENT;
    moved.push({ tensor, offset, bytes: size.bytes });
    end = offset + size.bytes;
    return outside(tensor, location, offset, size.bytes);
  };
  const initializer = graph.initializer.map((tensor) => {
    if (isLarge(tensor)) return move(tensor);
    return isExternal(tensor) ? withRaw(tensor, bytesFrom(source, tensor)) : tensor;
  });
  const node = graph.node.filter((each) => {
    const tensor = constants ? constantOf(each) : undefined;
    if (tensor === undefined || !isLarge(tensor)) return true;
    initializer.push(move(tensor));
    return false;
  });
  return {
    model: changed(model, { graph: changed(graph, { node, initializer }) }),
    bytes: end,
    async write(file) {
      const handle = typeof file === "string" ? await open(file, "w") : file;
      try {
        for (const { tensor, offset } of moved) {
          let at = offset;
          for (const piece of source.piecesOf(tensor)) at += await writeAll(handle, piece, at);
        }
      } finally {
        if (typeof file === "string") await handle.close();
      }
    },
  };
}

/** A tensor whose data is elsewhere. */
function outside(tensor: TensorProto, location: string, offset: number, length: number): TensorProto {
  const entries = { location, offset: String(offset), length: String(length) };
  return changed(tensor, {
    dataLocation: TensorProto_DataLocation.EXTERNAL,
    externalData: Object.entries(entries).map(([key, value]) => create(StringStringEntryProtoSchema, { key, value })),
    rawData: undefined as never,
    floatData: [],
    int32Data: [],
    int64Data: [],
    doubleData: [],
    uint64Data: [],
  });
}

/** Writes a piece at its place, in as many writes as it takes. What lies between two tensors is never written, and reads as zeros. */
export async function writeAll(handle: FileHandle, piece: Uint8Array, position: number): Promise<number> {
  for (let at = 0; at < piece.byteLength; ) {
    const { bytesWritten } = await handle.write(piece, at, Math.min(piece.byteLength - at, 2 ** 30), position + at);
    at += bytesWritten;
  }
  return piece.byteLength;
}
