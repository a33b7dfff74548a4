/**
 * An ONNX file with whatever lies beside it. External data is read a tensor at a time and only when asked for; nothing outside of the
 * model's folder is ever opened, however the path is written or linked.
 */
import { closeSync, openSync, readFileSync, readSync, realpathSync, type Stats, statSync } from "node:fs";
import { dirname, isAbsolute, relative, resolve, sep } from "node:path";
import type { TensorProto } from "onnx-buf";
import { MODEL_BYTES_MAX, type Model, type Refused, readModel } from "./onnx.ts";
import { extentOf, insideSource, isExternal, refuseMisfit, refuseTensor, type WeightSource } from "./tensor.ts";

const PIECE_BYTES = 4 * 2 ** 20;

export type Opened = { ok: true; model: Model; source: WeightSource };

/**
 * Opens an ONNX file. The model shares the memory of the file's bytes; external data stays where it is until its source is asked.
 * What is wrong with a tensor is told by the source, not here.
 */
export function openModel(path: string): Opened | Refused<"model-unreadable"> {
  const refused = (message: string) => ({ ok: false, code: "model-unreadable", message }) as const;
  try {
    const stats = statSync(path);
    if (!stats.isFile()) return refused(`${path} is not a file; name the .onnx file itself`);
    if (stats.size > MODEL_BYTES_MAX)
      return refused(
        `${path} has ${stats.size} bytes, more than the ${MODEL_BYTES_MAX} that an ONNX file can have; save its weights as external data`,
      );
    const bytes = readFileSync(path);
    const read = readModel(new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength));
    return read.ok ? { ok: true, model: read.model, source: sourceBeside(path) } : read;
  } catch (error) {
    return refused(`${path} cannot be read (${(error as Error).message}); check the path`);
  }
}

type Refusal = Refused<"external-data">;
type Place = { ok: true; file: string; offset: number; bytes: number };

/** The weights of the model at `path`: those inside it, and those in files of its folder. */
export function sourceBeside(path: string): WeightSource {
  // Where the model itself is a link (as in the caches of model hubs), what it points to lies among the files that belong to it.
  const folders = [realpathSync(dirname(path)), dirname(realpathSync(path))];
  const known = new Map<string, { ok: true; file: string; size: number } | { ok: false; why: string }>();
  const findOnce = (location: string) => {
    const found = known.get(location) ?? find(dirname(path), folders, location);
    known.set(location, found);
    return found;
  };
  const placeOf = (tensor: TensorProto): Place | Refusal | Refused<"tensor-unreadable"> => {
    const refused = (why: string) => refuseTensor("external-data", tensor, why);
    const entries = new Map(tensor.externalData.map(({ key, value }) => [key, value]));
    const location = entries.get("location") ?? "";
    if (location === "") return refused("is said to be in another file that is not named; save the model again");
    const found = findOnce(location);
    if (!found.ok) return refused(`keeps its data in "${location}", ${found.why}`);
    const extent = extentOf(tensor);
    if (!extent.ok) return extent;
    const offset = countOf(entries.get("offset") ?? "0");
    const length = countOf(entries.get("length") ?? String(extent.bytes));
    if (offset === undefined || length === undefined)
      return refused(
        `has the offset "${entries.get("offset")}" and the length "${entries.get("length")}" in "${location}"; save the model again`,
      );
    const misfit = refuseMisfit(tensor, length);
    if (misfit !== undefined) return misfit;
    if (offset + length > found.size)
      return refused(`needs bytes ${offset} to ${offset + length} of "${location}", which has ${found.size}; copy the whole file again`);
    return { ok: true, file: found.file, offset, bytes: length };
  };
  return {
    sizeOf: (tensor) => (isExternal(tensor) ? placeOf(tensor) : insideSource.sizeOf(tensor)),
    bytesOf(tensor) {
      if (!isExternal(tensor)) return insideSource.bytesOf(tensor);
      const place = placeOf(tensor);
      if (!place.ok) return place;
      const bytes = new Uint8Array(place.bytes);
      let at = 0;
      for (const piece of readPieces(place)) {
        bytes.set(piece, at);
        at += piece.byteLength;
      }
      return { ok: true, bytes };
    },
    *piecesOf(tensor) {
      if (!isExternal(tensor)) {
        yield* insideSource.piecesOf(tensor);
        return;
      }
      const place = placeOf(tensor);
      if (!place.ok) throw new Error(place.message);
      yield* readPieces(place);
    },
  };
}

/** Where a location leads, or why it must not be followed. */
function find(
  folder: string,
  folders: readonly string[],
  location: string,
): { ok: true; file: string; size: number } | { ok: false; why: string } {
  const refused = (why: string) => ({ ok: false, why }) as const;
  const outside = "which is outside of the model's folder; move the file beside the model and save the model again";
  if (isAbsolute(location) || !isWithin(resolve(folder), resolve(folder, location))) return refused(outside);
  let file: string;
  let stats: Stats;
  try {
    file = realpathSync(resolve(folder, location));
    if (!folders.some((each) => isWithin(each, file))) return refused(outside);
    stats = statSync(file);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    return refused(
      code === "ENOENT" ? "which is missing; copy that file beside the model" : `which cannot be read (${message}); check that file`,
    );
  }
  if (!stats.isFile()) return refused("which is not a file; save the model again");
  return { ok: true, file, size: stats.size };
}

function isWithin(folder: string, file: string): boolean {
  const path = relative(folder, file);
  return path !== "" && path !== ".." && !path.startsWith(`..${sep}`) && !isAbsolute(path);
}

/** A count of bytes as ONNX writes it, in decimal digits. */
function countOf(text: string): number | undefined {
  const count = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  return Number.isSafeInteger(count) ? count : undefined;
}

function* readPieces({ file, offset, bytes }: Place): Generator<Uint8Array> {
  const handle = openSync(file, "r");
  try {
    const buffer = new Uint8Array(Math.min(bytes, PIECE_BYTES));
    for (let at = 0; at < bytes; ) {
      const read = readSync(handle, buffer, 0, Math.min(buffer.byteLength, bytes - at), offset + at);
      if (read === 0) throw new Error(`${file} ended at byte ${offset + at} while it was read; leave it alone until this is done`);
      at += read;
      yield buffer.subarray(0, read);
    }
  } finally {
    closeSync(handle);
  }
}
