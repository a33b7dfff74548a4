/**
 * What fills each input of a model: token ids, masks, positions, features from columns, constants. By the names that exports use; what
 * cannot be told is refused with all inputs and what to write in the job file.
 */
import type { InspectedValue } from "@zoswarm/shared/model/inspect";
import type { InputSpec } from "@zoswarm/shared/protocol/manifest";
import type { Fault } from "./folder.ts";

const TYPES: Readonly<Record<string, InputSpec["type"]>> = {
  int64: "int64",
  int32: "int32",
  float: "float32",
  uint8: "uint8",
  int8: "int8",
  bool: "bool",
};

const TOKENS = /^(input_ids?|input_word_ids|ids|tokens|token_ids|input|inputs|x|decoder_input_ids)$/i;
const MASK = /(^|_)(attention_mask|mask|input_mask)$/i;
/** Torch's other way round: true where there is padding. */
const PADDING = /(^|_)padding_mask$/i;
const POSITIONS = /(^|_)position(s|_ids)?$/i;
const TYPE_IDS = /(^|_)(token_type_ids|segment_ids|input_type_ids)$/i;
/** What a decoder has seen before, and the first state of a recurrent net: nothing. */
const PAST = /^past(_|\.|$)|cache(?!_branch)/i;
const STATE = /^(initial_)?(h|c|state|hidden|cell)(_?0|_in|_state)?$/i;
const BRANCH = /use_cache_branch/i;

export type Signature =
  | { ok: true; inputs: InputSpec[] /** Of each feature, in order: its columns and elements. */; features: Feature[] }
  | Fault<"unsupported-signature">;

/** What fills an input: a column of lists, or columns of a number each; and the sizes after the batch, for a model that leaves them open. */
export type FilledBy = string | readonly string[] | { column: string | readonly string[]; shape: readonly number[] };

const columnIn = (filledBy: FilledBy) => (typeof filledBy === "object" && "column" in filledBy ? filledBy.column : filledBy);

/** The columns that fill an input. */
export function columnsIn(filledBy: FilledBy): readonly string[] {
  const column = columnIn(filledBy);
  return typeof column === "string" ? [column] : column;
}

export interface Feature {
  input: string;
  /** One that holds all its numbers, or one for each of them. */
  column: string | readonly string[];
  type: InputSpec["type"];
  elements: number;
}

/** Chooses the sources. `columns` are the job file's; `reads` says whether there is a tokenizer; `pad` fills short rows. */
export function signatureOf(
  declared: readonly InspectedValue[],
  { columns, reads, pad }: { columns: Readonly<Record<string, FilledBy>>; reads: boolean; pad: number },
): Signature {
  const refuse = (why: string): Fault<"unsupported-signature"> => {
    const inputs = declared.map(
      ({ name, type, dimensions: dims }) => `"${name}" ${type} [${dims?.map((dim) => dim ?? "?").join(", ") ?? "?"}]`,
    );
    return { ok: false, code: "unsupported-signature", message: `${why}; the model's inputs are ${inputs.join(", ")}` };
  };
  const unknown = Object.keys(columns).find((name) => !declared.some((input) => input.name === name));
  if (unknown !== undefined) return refuse(`columns.inputs: the model has no input "${unknown}"`);
  const features: Feature[] = [];
  const inputs: InputSpec[] = [];
  const couldBeTokens = ({ name, type, dimensions }: InspectedValue) =>
    (type === "int64" || type === "int32") && dimensions?.length === 2 && sourceOf(name, type, dimensions) === undefined;
  const candidates = declared.filter((value) => couldBeTokens(value) && columns[value.name] === undefined);
  /** Whatever it is called. */
  const onlyTokens = candidates.length === 1 ? candidates[0]?.name : undefined;
  const batchName = declared.find(({ name }) => TOKENS.test(plain(name)) || name === onlyTokens || name in columns)?.dimensions?.[0];
  const isBatch = (size: string | null, at: number) => at === 0 || (size !== null && size === batchName);
  for (const { name, type, dimensions: dims } of declared) {
    const known = TYPES[type];
    if (known === undefined)
      return refuse(`the input "${name}" is of type ${type}, which cannot be filled; export the model with int64 or float32 inputs`);
    if (dims === null) return refuse(`the input "${name}" does not say its dimensions; export the model with them`);
    const filledBy = columns[name];
    if (filledBy !== undefined) {
      const shaped = typeof filledBy === "object" && "shape" in filledBy ? filledBy.shape : dims.slice(1);
      const isLike =
        dims.length === shaped.length + 1 && shaped.every((size, i) => typeof dims[i + 1] !== "number" || dims[i + 1] === size);
      if (!isLike)
        return refuse(`columns.inputs.${name}.shape: [${shaped.join(", ")}] does not fit the input, whose first dimension is the batch`);
      if (shaped.some((size) => typeof size !== "number"))
        return refuse(
          `the input "${name}" leaves dimensions after the batch open; say them in the job file, columns: {inputs: {${name}: {column: ${columnsIn(filledBy)[0]}, shape: [3, 224, 224]}}}`,
        );
      const rest = shaped as number[];
      const elements = rest.reduce((n, size) => n * size, 1);
      const from = columnsIn(filledBy);
      if (from.length > 1 && from.length !== elements)
        return refuse(
          `columns.inputs.${name}: ${from.length} columns for ${elements} numbers; name one column for each, or one that holds lists`,
        );
      inputs.push({ name, type: known, dims: [batchOf(dims[0]), ...rest], source: { from: "feature", index: features.length } });
      features.push({ input: name, column: columnIn(filledBy), type: known, elements });
      continue;
    }
    const isTokens = reads && couldBeTokens({ name, type, dimensions: dims }) && (TOKENS.test(plain(name)) || name === onlyTokens);
    const source = sourceOf(name, known, dims) ?? (isTokens ? ({ from: "tokens", pad } as const) : undefined);
    if (source === undefined)
      return refuse(`nothing says what fills the input "${name}": name its column in the job file, columns: {inputs: {${name}: COLUMN}}`);
    if (source.from === "tokens" && isSequenceFirst(dims))
      return refuse(
        `the input "${name}" has the sequence before the batch, so examples would be mixed; export the model with the batch first`,
      );
    const [first, second] = dims;
    const grows = ["mask", "padding", "positions", "tokens"].includes(source.from) || TYPE_IDS.test(plain(name));
    const long = (size: typeof first) => (typeof size === "number" ? size : "sequence");
    // Positions may be the same for all examples.
    const isShared = source.from === "positions" && first === 1;
    inputs.push({
      name,
      type: known,
      dims: !grows
        ? dims.map((size, at) => (typeof size === "number" ? size : isBatch(size, at) || STATE.test(plain(name)) ? "batch" : 0))
        : dims.length === 1
          ? [long(first)]
          : [isShared ? 1 : source.from === "tokens" ? batchOf(first) : "batch", long(second)],
      source,
    });
  }
  const reading = inputs.filter(({ source }) => source.from === "tokens").map(({ name }) => `"${name}"`);
  if (reads && reading.length === 0) return refuse("no input takes token ids, though the job has a tokenizer");
  if (reading.length > 1)
    return refuse(
      `${reading.join(" and ")} would take the same tokens, but a job has one text; export an encoder or a decoder by itself, not both`,
    );
  return { ok: true, inputs, features };
}

/** A name without what TensorFlow's converter puts around it: `serving_default_NAME:0`. */
const plain = (name: string) => name.replace(/^serving_default_/, "").replace(/:\d+$/, "");

/** What its name says of an input; undefined where it says nothing, or that it holds token ids. */
function sourceOf(full: string, type: string, dims: Dimensions): InputSpec["source"] | undefined {
  const name = plain(full);
  const isInteger = type === "int64" || type === "int32";
  if (POSITIONS.test(name) && isInteger && dims.length <= 2) return { from: "positions" };
  if (PAST.test(name) || STATE.test(name) || BRANCH.test(name)) return { from: "constant", value: 0 };
  if (PADDING.test(name) && type === "bool" && dims.length === 2) return { from: "padding" };
  if (MASK.test(name) && dims.length === 2) return { from: "mask" };
  if (TYPE_IDS.test(name) && isInteger) return { from: "constant", value: 0 };
  return undefined;
}

type Dimensions = NonNullable<InspectedValue["dimensions"]>;

/** A batch of a fixed size stays one: examples are fed so many at a time. */
const batchOf = (size: Dimensions[number] | undefined) => (typeof size === "number" ? size : "batch");

/** As the names of the dimensions say it; recurrent nets of torch are so unless they are told. */
function isSequenceFirst([first, second]: Dimensions): boolean {
  return /batch/i.test(`${second}`) && (typeof first === "number" || /seq|len|time|step/i.test(`${first}`));
}
