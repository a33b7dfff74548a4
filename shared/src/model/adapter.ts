/**
 * LoRA adapters as files: safetensors, with the names and shapes that PEFT gives them, and what is needed to use them as metadata.
 * Reading checks every size before anything is allocated; a file is either wholly sound or refused.
 */
import type { Adapter } from "./lora.ts";
import type { Refused } from "./onnx.ts";

export const ADAPTER_FORMAT = "zoswarm-lora/1";
/** The header's limit; a target takes about 300 bytes of it. */
const HEADER_BYTES_MAX = 2 ** 24;
const LENGTH_BYTES = 8;

export interface AdapterValues {
  /** The name of the weight in the model. */
  target: string;
  inputs: number;
  outputs: number;
  /** Row-major [inputs, rank] and [rank, outputs], as the graph has them. */
  a: Float32Array;
  b: Float32Array;
}

export interface AdapterFile {
  rank: number;
  alpha: number;
  adapters: AdapterValues[];
}

/** What a file holds of trained branches: `valuesOf` gives the values of an initializer by its name. */
export function adapterFileOf(adapters: readonly Adapter[], valuesOf: (name: string) => Float32Array): AdapterFile {
  const [first] = adapters;
  if (first === undefined) throw new Error("an adapter file needs at least one adapter");
  const { rank, alpha } = first;
  return {
    rank,
    alpha,
    adapters: adapters.map(({ target, inputs, outputs, a, b }) => ({ target, inputs, outputs, a: valuesOf(a), b: valuesOf(b) })),
  };
}

/**
 * The bytes of an adapter file. As in PEFT, `base_model.model.NAME.lora_A.weight` is [rank, inputs], `lora_B` [outputs, rank], and NAME is
 * the target without a closing `.weight`. Throws where sizes do not fit each other.
 */
export function writeAdapter({ rank, alpha, adapters }: AdapterFile): Uint8Array<ArrayBuffer> {
  const targets = adapters.map(({ target }) => target);
  const known = new Set(targets);
  const parts = adapters.flatMap(({ target, inputs, outputs, a, b }) => {
    if (a.length !== inputs * rank || b.length !== rank * outputs)
      throw new Error(`"${target}" is ${inputs} x ${outputs} at rank ${rank}, but its A has ${a.length} elements and its B ${b.length}`);
    const keys = keysOf(target, known);
    return [
      { key: keys.a, shape: [rank, inputs], values: transposed(a, inputs, rank) },
      { key: keys.b, shape: [outputs, rank], values: transposed(b, rank, outputs) },
    ];
  });
  const header: Record<string, unknown> = {
    __metadata__: { format: ADAPTER_FORMAT, rank: String(rank), alpha: String(alpha), targets: JSON.stringify(targets) },
  };
  let end = 0;
  for (const { key, shape, values } of parts) {
    header[key] = { dtype: "F32", shape, data_offsets: [end, end + values.byteLength] };
    end += values.byteLength;
  }
  const text = new TextEncoder().encode(JSON.stringify(header));
  // Filled up with spaces, so that the values begin at a multiple of 8.
  const length = Math.ceil(text.length / 8) * 8;
  const bytes = new Uint8Array(LENGTH_BYTES + length + end);
  bytes.fill(0x20, LENGTH_BYTES, LENGTH_BYTES + length).set(text, LENGTH_BYTES);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(length), true);
  let at = LENGTH_BYTES + length;
  for (const { values } of parts) {
    bytes.set(new Uint8Array(values.buffer), at);
    at += values.byteLength;
  }
  return bytes;
}

export type ReadAdapter = ({ ok: true } & AdapterFile) | Refused<"adapter-unreadable">;

/** Reads what writeAdapter writes. Refuses anything else, with what is wrong; nothing larger than the file is ever allocated. */
export function readAdapter(bytes: Uint8Array): ReadAdapter {
  const refused = (why: string) => ({ ok: false, code: "adapter-unreadable", message: `the adapter ${why}; export it again` }) as const;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const lengthMax = Math.min(bytes.byteLength - LENGTH_BYTES, HEADER_BYTES_MAX);
  if (lengthMax < 2) return refused(`has ${bytes.byteLength} bytes, too few for a safetensors file`);
  const stated = view.getBigUint64(0, true);
  if (stated > BigInt(lengthMax)) return refused(`says that its header has ${stated} bytes; in this file it can have ${lengthMax}`);
  const length = Number(stated);
  const header = parsed(bytes.subarray(LENGTH_BYTES, LENGTH_BYTES + length));
  if (!isRecord(header)) return refused("has a header that is not a JSON object");
  const about = aboutOf(header.__metadata__);
  if (typeof about === "string") return refused(about);
  const { rank, alpha, targets } = about;
  const data = bytes.subarray(LENGTH_BYTES + length);
  const places = placesOf(header, data.byteLength);
  if (typeof places === "string") return refused(places);
  const known = new Set(targets);
  const adapters: AdapterValues[] = [];
  for (const target of targets) {
    const keys = keysOf(target, known);
    const [a, b] = [places.get(keys.a), places.get(keys.b)];
    if (a === undefined || b === undefined)
      return refused(`has no tensor "${a === undefined ? keys.a : keys.b}", which its target "${target}" needs`);
    const [inputs, outputs] = [a.shape[1], b.shape[0]];
    if (a.shape[0] !== rank || b.shape[1] !== rank || Math.min(inputs, outputs) < rank)
      return refused(
        `has A [${a.shape}] and B [${b.shape}] for "${target}"; at rank ${rank} they must be [${rank}, inputs] and [outputs, ${rank}]`,
      );
    const read = { a: transposed(floatsAt(data, a), rank, inputs), b: transposed(floatsAt(data, b), outputs, rank) };
    if (![read.a, read.b].every((values) => values.every(Number.isFinite)))
      return refused(`has values for "${target}" that are not finite`);
    adapters.push({ target, inputs, outputs, ...read });
  }
  if (places.size !== 2 * targets.length) return refused(`has ${places.size} tensors for ${targets.length} targets, which have two each`);
  return { ok: true, rank, alpha, adapters };
}

interface Place {
  shape: readonly [number, number];
  begin: number;
  end: number;
}

/** Where each tensor lies. Together they are the data, without gaps or overlaps: a small file cannot ask for much memory. */
function placesOf(header: Record<string, unknown>, dataBytes: number): Map<string, Place> | string {
  const places = new Map<string, Place>();
  for (const [key, entry] of Object.entries(header)) {
    if (key === "__metadata__") continue;
    const { dtype, shape, data_offsets: offsets } = isRecord(entry) ? entry : {};
    if (dtype !== "F32") return `has the tensor "${key}" of type ${JSON.stringify(dtype)}; only F32 is read`;
    if (!isPair(shape)) return `has the tensor "${key}" of shape ${JSON.stringify(shape)}; two dimensions are needed`;
    if (!isPair(offsets) || offsets[1] > dataBytes || offsets[1] - offsets[0] !== 4 * shape[0] * shape[1])
      return `has the tensor "${key}" of shape [${shape}] at the bytes ${JSON.stringify(offsets)} of ${dataBytes}`;
    places.set(key, { shape, begin: offsets[0], end: offsets[1] });
  }
  let at = 0;
  for (const { begin, end } of [...places.values()].sort((one, other) => one.begin - other.begin)) {
    if (begin !== at) return `has tensors that overlap or leave a gap at byte ${Math.min(begin, at)}`;
    at = end;
  }
  return at === dataBytes ? places : `has ${dataBytes - at} bytes after its last tensor`;
}

/** A copy, since the file's bytes need not be aligned. */
function floatsAt(data: Uint8Array, { begin, end }: Place): Float32Array {
  return new Float32Array(Uint8Array.from(data.subarray(begin, end)).buffer);
}

/** The metadata's values are texts, as safetensors has them. */
function aboutOf(metadata: unknown): { rank: number; alpha: number; targets: string[] } | string {
  if (!isRecord(metadata) || metadata.format !== ADAPTER_FORMAT) return `is not of the format "${ADAPTER_FORMAT}"`;
  const rank = Number(metadata.rank);
  if (!Number.isSafeInteger(rank) || rank < 1) return `has the rank ${JSON.stringify(metadata.rank)}, which is no count`;
  const alpha = Number(metadata.alpha);
  if (!Number.isFinite(alpha) || alpha <= 0) return `has the alpha ${JSON.stringify(metadata.alpha)}, which is no number above 0`;
  const targets = typeof metadata.targets === "string" ? parsed(new TextEncoder().encode(metadata.targets)) : undefined;
  const isList = Array.isArray(targets) && targets.length > 0 && targets.every((target) => typeof target === "string");
  if (!isList || new Set(targets).size !== targets.length) return "has no list of different targets";
  return { rank, alpha, targets };
}

function keysOf(target: string, targets: ReadonlySet<string>): { a: string; b: string } {
  const short = target.replace(/\.weight$/, "");
  const name = `base_model.model.${targets.has(short) ? target : short}`;
  return { a: `${name}.lora_A.weight`, b: `${name}.lora_B.weight` };
}

/** [rows, columns] as [columns, rows]. */
function transposed(values: Float32Array, rows: number, columns: number): Float32Array<ArrayBuffer> {
  const turned = new Float32Array(values.length);
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++) turned[column * rows + row] = values[row * columns + column] as number;
  return turned;
}

function parsed(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    return undefined;
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isPair(value: unknown): value is [number, number] {
  return Array.isArray(value) && value.length === 2 && value.every((each) => Number.isSafeInteger(each) && each >= 0);
}
