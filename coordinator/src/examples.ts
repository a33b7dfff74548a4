/**
 * From rows to what the model is shown: prompts rendered and cut to fit, tokens, labels, targets. A row that cannot be shown is refused
 * with its place in the file; nothing is skipped or guessed at.
 */
import { EXAMPLE_TOKENS_MAX, type Example, exampleOf } from "@zoswarm/shared/data/examples";
import { ARRAYS } from "@zoswarm/shared/data/feeds";
import { truncate } from "@zoswarm/shared/data/prompt";
import type { DataRecord } from "@zoswarm/shared/data/records";
import { labelOf, numberOf, numbersOf, type Reader, textOf } from "@zoswarm/shared/data/rows";
import { parseTemplate, type RenderedPart, render, renderParts, type Template } from "@zoswarm/shared/data/template";
import { CHARACTERS_PER_TOKEN, type LoadedTokenizer } from "@zoswarm/shared/data/tokenizer";
import type { InputSpec, Objective } from "@zoswarm/shared/protocol/manifest";
import type { Fault } from "./folder.ts";
import type { JobFile } from "./jobfile.ts";
import { columnsIn, type Feature } from "./signature.ts";

export interface MakerOptions {
  job: JobFile;
  objective: Objective;
  tokenizer: LoadedTokenizer | null;
  features: readonly Feature[];
  /** What the label column holds for each class; null without classes. */
  labels: readonly string[] | null;
  /** The rows are a person's own texts, without labels. */
  isAsked?: boolean;
}

/** A row's texts are cut in so many tries: first in proportion to what is too much, then by half, for an end may hold hardly a token. */
const CUTS_MAX = 40;

export type Made = { ok: true; examples: Example[] /** Rows of which something was cut. */; truncated: number } | Fault<string>;

/** Columns of the data that a job reads: the others are not looked at. */
export function columnsOf({ columns, template, completion, objective, tokenizer, words, measure, metric, generate }: JobFile): string[] {
  const inTemplate = (text: string) => [...text.replace(/\{\{|\}\}/g, "").matchAll(/\{([^{}]+)\}/g)].map(([, name]) => name as string);
  const texts = template === undefined ? (tokenizer === undefined ? [] : [columns.text]) : inTemplate(template);
  const classes = objective === "classification" || objective === "masked-lm" || words !== undefined;
  const compares = generate !== undefined && (measure === "exact-match" || metric === "exact-match");
  return [
    ...new Set([
      ...texts,
      ...(completion === undefined ? [] : inTemplate(completion)),
      ...(classes ? [columns.label] : []),
      ...(objective === "regression" ? [columns.value] : []),
      ...(compares ? [columns.target] : []),
      ...Object.values(columns.inputs).flatMap(columnsIn),
    ]),
  ];
}

/** All rows as examples, in order; packed texts become fewer. */
export function makeExamples(records: readonly DataRecord[], options: MakerOptions): Made {
  const { job, tokenizer } = options;
  const columns = columnsOf(job);
  const prompt = tokenizer === null ? null : parseTemplate(job.template ?? `{${job.columns.text}}`, columns);
  if (prompt?.ok === false) return { ...prompt, message: `${prompt.message}` };
  const completion = job.completion === undefined ? null : parseTemplate(job.completion, columns);
  if (completion?.ok === false) return { ...completion, message: `completion: ${completion.message}` };
  const examples: Example[] = [];
  const faults: string[] = [];
  let truncated = 0;
  for (const record of records) {
    const made = exampleFrom(record, { ...options, prompt: prompt?.template ?? null, completion: completion?.template ?? null });
    if (made.ok) {
      examples.push(made.example);
      if (made.cut) truncated++;
    } else if (faults.push(made.message) === FAULTS_MAX) break;
  }
  if (faults.length > 0) return { ok: false, code: "row-unusable", message: faults.join("\n") };
  if (!job.packed || tokenizer === null) return { ok: true, examples, truncated };
  return { ok: true, examples: pack(examples, job.maxTokens), truncated };
}

const FAULTS_MAX = 5;

interface RowOptions extends MakerOptions {
  prompt: Template | null;
  completion: Template | null;
}

type One = { ok: true; example: Example; cut: boolean } | { ok: false; message: string };

function exampleFrom(record: DataRecord, options: RowOptions): One {
  const { job, objective, tokenizer, features, labels, prompt } = options;
  const { columns } = job;
  const shown =
    tokenizer && prompt
      ? tokensOf(record, { ...options, tokenizer, prompt })
      : { ok: true as const, tokens: [] as number[], from: 0, asked: 0, cut: false };
  if (!shown.ok) return shown;
  const filled: Uint8Array[] = [];
  for (const { column, elements, type } of features) {
    const numbers = numbersIn(columnsIn(column), elements)(record);
    if (!numbers.ok) return numbers;
    filled.push(bytesOf(numbers.value, type));
  }
  const example = { ...exampleOf(shown.tokens, { from: shown.from, position: Math.max(0, shown.asked - 1) }), features: filled };
  const isClassed = objective.kind === "classes" || objective.kind === "words";
  if (isClassed && options.isAsked !== true && (job.objective !== "reward" || record.values[columns.label] !== undefined)) {
    const label = labelOf(columns.label, labels ?? [])(record);
    if (!label.ok) return label;
    example.label = label.value;
  }
  if (job.objective === "regression") {
    const value = numberOf(columns.value)(record);
    if (!value.ok) return value;
    example.value = value.value;
  }
  if (job.objective === "masked-lm") {
    const mask = tokenizer?.special.mask ?? -1;
    const places = shown.tokens.flatMap((token, at) => (token === mask ? [at] : []));
    if (places.length !== 1) return { ok: false, message: `${record.at}: the prompt has ${places.length} masks; it needs exactly one` };
    example.position = places[0] as number;
  }
  if (objective.generate > 0 || objective.reward !== null) {
    const text = tokenizer?.decode(shown.tokens.slice(0, shown.asked)) ?? "";
    const target = objective.measure === "exact-match" || objective.metric === "exact-match" ? textOf(columns.target)(record) : null;
    if (target?.ok === false) return target;
    example.extra = JSON.stringify({ text, ...(target && { target: target.value }), row: record.values });
  }
  return { ok: true, example, cut: shown.cut };
}

/** The numbers of one column that holds them as a list, or of several that hold one each. */
function numbersIn(columns: readonly string[], elements: number): Reader<number[]> {
  const [first = ""] = columns;
  return (record) => {
    if (columns.length === 1 && (elements !== 1 || Array.isArray(record.values[first]))) return numbersOf(first, elements)(record);
    const values: number[] = [];
    for (const column of columns) {
      const read = numberOf(column)(record);
      if (!read.ok) return read;
      values.push(read.value);
    }
    return { ok: true, value: values };
  };
}

type Tokens =
  | { ok: true; tokens: number[]; from: number /** Tokens of the prompt alone. */; asked: number; cut: boolean }
  | { ok: false; message: string };

/** A row's prompt (and completion) as tokens that fit: a template's own words stay, the row's texts lose their ends. */
function tokensOf(
  record: DataRecord,
  { job, objective, tokenizer, prompt, completion }: RowOptions & { tokenizer: LoadedTokenizer; prompt: Template },
): Tokens {
  const shown = renderParts(prompt, record);
  if (!shown.ok) return shown;
  const answer = completion === null ? null : render(completion, record);
  if (answer?.ok === false) return answer;
  const { eos } = tokenizer.special;
  const isText = job.objective === "causal-lm" && objective.kind === "tokens";
  const tail = [...(answer ? tokenizer.encode(answer.value, { special: false }) : []), ...(isText && eos !== null ? [eos] : [])];
  // What is asked comes behind the prompt: the tokens that end a text would end it before.
  const isAsked = objective.kind === "words" || objective.kind === "tokens" || objective.generate > 0;
  const closing = isAsked && job.objective !== "masked-lm" ? (tokenizer.tokenize.closing ?? 0) : 0;
  const encode = (text: string) => {
    const tokens = tokenizer.encode(text, { special: true });
    return tokens.slice(0, tokens.length - closing);
  };
  // Packed texts go on in the next window.
  const room = job.packed ? EXAMPLE_TOKENS_MAX : job.maxTokens;
  const max = Math.max(1, room - tail.length);
  const fitted = fit(shown.value, encode, max, CHARACTERS_PER_TOKEN * room);
  if (fitted.tokens.length > max) {
    const message = `${record.at}: the prompt has ${fitted.tokens.length} tokens without the row's texts, and there is room for ${max}; raise maxTokens, shorten the template, or remove the row`;
    return { ok: false, message };
  }
  const kept = truncate([...fitted.tokens, ...tail], room, "end");
  if (kept.tokens.length === 0) return { ok: false, message: `${record.at}: has no token; remove the row or use another tokenizer` };
  const from = completion !== null && job.on === "completion" ? Math.min(fitted.tokens.length, kept.tokens.length) : 1;
  if (isText && from >= kept.tokens.length && !job.packed) {
    const message = `${record.at}: nothing is left to learn after ${fitted.tokens.length} tokens; raise maxTokens, shorten the template, or remove the row`;
    return { ok: false, message };
  }
  return {
    ok: true,
    tokens: kept.tokens,
    from,
    asked: Math.min(fitted.tokens.length, kept.tokens.length),
    cut: fitted.cut || kept.cut > 0,
  };
}

/** The longest text of the row loses its end until the tokens fit or nothing is left to cut: then they are more than `max`. */
function fit(
  parts: readonly RenderedPart[],
  encode: (text: string) => number[],
  max: number,
  charactersMax: number,
): { tokens: number[]; cut: boolean } {
  const texts = parts.map(({ text, cuttable }) => (cuttable ? text.slice(0, charactersMax) : text));
  let cut = texts.some((text, i) => text !== parts[i]?.text);
  let tokens = encode(texts.join(""));
  for (let tries = 0; tokens.length > max && tries < CUTS_MAX; tries++) {
    const lengths = parts.map(({ cuttable }, i) => (cuttable ? (texts[i] as string).length : 0));
    const longest = lengths.indexOf(Math.max(...lengths));
    const text = texts[longest] as string;
    if (lengths[longest] === 0) break;
    const share = tries < CUTS_MAX / 2 ? max / tokens.length : 1 / 2;
    texts[longest] = text.slice(0, Math.min(text.length - 1, Math.floor(text.length * share)));
    cut = true;
    tokens = encode(texts.join(""));
  }
  return { tokens, cut };
}

/** Texts one after the other in windows of `length` tokens; what does not fill a last window is left out, unless it is the only one. */
function pack(examples: readonly Example[], length: number): Example[] {
  const all = examples.flatMap(({ tokens }) => Array.from(tokens));
  const windows = Math.max(1, Math.floor(all.length / length));
  return Array.from({ length: windows }, (_, i) => exampleOf(all.slice(i * length, (i + 1) * length)));
}

function bytesOf(values: readonly number[], type: InputSpec["type"]): Uint8Array {
  const array = type === "int64" ? BigInt64Array.from(values, (value) => BigInt(Math.trunc(value))) : ARRAYS[type].from(values as number[]);
  return new Uint8Array(array.buffer);
}
