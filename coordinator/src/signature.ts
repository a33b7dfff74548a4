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

const TOKENS = /^(input_ids?|ids|tokens|token_ids|input|inputs|x|decoder_input_ids)$/i;
const MASK = /(^|_)(attention_mask|mask|input_mask)$/i;
const POSITIONS = /(^|_)position(s|_ids)$/i;
const TYPE_IDS = /(^|_)(token_type_ids|segment_ids)$/i;
/** What a decoder has seen before, and the first state of a recurrent net: nothing. */
const PAST = /^past(_|\.|$)|cache(?!_branch)|^(initial_)?(h|c|state|hidden|cell)(_?0|_in|_state)?$/i;
const BRANCH = /use_cache_branch/i;

export type Signature =
  | { ok: true; inputs: InputSpec[] /** Of each feature, in order: its column and elements. */; features: Feature[] }
  | Fault<"unsupported-signature">;

export interface Feature {
  input: string;
  column: string;
  type: InputSpec["type"];
  elements: number;
}

/** Chooses the sources. `columns` are the job file's; `reads` says whether there is a tokenizer; `pad` fills short rows. */
export function signatureOf(
  declared: readonly InspectedValue[],
  { columns, reads, pad }: { columns: Readonly<Record<string, string>>; reads: boolean; pad: number },
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
  const batchName = declared.find(({ name }) => TOKENS.test(name) || name in columns)?.dimensions?.[0];
  for (const { name, type, dimensions: dims } of declared) {
    const known = TYPES[type];
    if (known === undefined)
      return refuse(`the input "${name}" is of type ${type}, which cannot be filled; export the model with int64 or float32 inputs`);
    if (dims === null) return refuse(`the input "${name}" does not say its dimensions; export the model with them`);
    const column = columns[name];
    if (column !== undefined) {
      const rest = dims.slice(1);
      if (dims.length === 0 || rest.some((size) => typeof size !== "number"))
        return refuse(
          `the input "${name}" must have fixed dimensions after the batch to be filled from a column; export the model with them`,
        );
      const elements = (rest as number[]).reduce((n, size) => n * size, 1);
      inputs.push({ name, type: known, dims: ["batch", ...(rest as number[])], source: { from: "feature", index: features.length } });
      features.push({ input: name, column, type: known, elements });
      continue;
    }
    const integer = known === "int64" || known === "int32";
    const source: InputSpec["source"] | undefined = PAST.test(name)
      ? { from: "constant", value: 0 }
      : BRANCH.test(name)
        ? { from: "constant", value: 0 }
        : MASK.test(name) && dims.length === 2
          ? { from: "mask" }
          : POSITIONS.test(name) && integer && dims.length <= 2
            ? { from: "positions" }
            : TYPE_IDS.test(name) && integer
              ? { from: "constant", value: 0 }
              : reads && integer && dims.length === 2 && (TOKENS.test(name) || declared.length === 1)
                ? { from: "tokens", pad }
                : undefined;
    if (source === undefined)
      return refuse(`nothing says what fills the input "${name}": name its column in the job file, columns: {inputs: {${name}: COLUMN}}`);
    const grows = ["mask", "positions", "tokens"].includes(source.from) || TYPE_IDS.test(name);
    inputs.push({
      name,
      type: known,
      dims: grows
        ? ["batch", typeof dims[1] === "number" ? dims[1] : "sequence"]
        : dims.map((dim) => (typeof dim === "number" ? dim : dim === batchName && dim !== null ? "batch" : 0)),
      source,
    });
  }
  if (reads && !inputs.some(({ source }) => source.from === "tokens"))
    return refuse("no input takes token ids, though the job has a tokenizer");
  return { ok: true, inputs, features };
}
