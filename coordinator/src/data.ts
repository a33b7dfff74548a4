/** A job's data: its rows read, held out and drawn as the job file says, then made into examples. */
import { valueIn } from "@zoswarm/shared/data/collect";
import type { Example } from "@zoswarm/shared/data/examples";
import { type DataRecord, type ReadOptions, readRecords } from "@zoswarm/shared/data/records";
import { labelOf, labelsIn } from "@zoswarm/shared/data/rows";
import { splitHeldout } from "@zoswarm/shared/data/split";
import type { LoadedTokenizer } from "@zoswarm/shared/data/tokenizer";
import type { Objective } from "@zoswarm/shared/protocol/manifest";
import { columnsOf, makeExamples } from "./examples.ts";
import type { Fault } from "./folder.ts";
import { type DataFile, dataFileOf, heldoutFileOf, type JobFile } from "./jobfile.ts";
import type { Feature } from "./signature.ts";

export type Data =
  | {
      ok: true;
      train: Example[];
      heldout: Example[] /** 0 where the objective has none. */;
      classes: number;
      labels: string[] | null;
      truncated: number;
    }
  | Fault<string>;

export interface DataOptions {
  objective: Objective;
  features: readonly Feature[];
  tokenizer: LoadedTokenizer | null;
  /** How many tokens the model takes, where it takes no other number. */
  fixedLength: number | null;
}

/** Reads, splits and tokenizes. The same files and job give the same examples on every machine. */
export async function readData(job: JobFile, { objective, features, tokenizer, fixedLength }: DataOptions): Promise<Data> {
  // The last token that is generated is never read.
  const more = Math.max(0, objective.generate - 1);
  if (fixedLength !== null && job.maxTokens + more > fixedLength) {
    const generated = more > 0 ? `, and ${more} more are read to generate ${objective.generate}` : "";
    const message = `maxTokens: the model takes ${fixedLength} tokens, no more; it is ${job.maxTokens}${generated}`;
    return { ok: false, code: "too-many-tokens", message };
  }
  const columns = columnsOf(job);
  const all = await recordsOf(dataFileOf(job.train), columns);
  if (!all.ok) return all;
  const apart = heldoutFileOf(job.heldout);
  const others = apart === null ? null : await recordsOf(apart, columns);
  if (others?.ok === false) return others;
  const isClassed = (objective.kind === "classes" || objective.kind === "words") && columns.includes(job.columns.label);
  const named = isClassed ? namesOf(job, objective, [...all.records, ...(others?.records ?? [])]) : null;
  if (named?.ok === false) return named;
  const labels = named?.labels ?? null;
  // Of a model's classes the data may name fewer: its predictions are still any of them.
  const classes = labels === null ? objective.classes : Math.max(2, labels.length, objective.classes);
  const split = splitRecords(all.records, others?.records ?? null, job, labels);
  if (!split.ok) return split;
  const options = { job, objective: { ...objective, classes }, features, tokenizer, labels };
  const train = makeExamples(split.train, options);
  if (!train.ok) return train;
  const heldout = makeExamples(split.heldout, options);
  if (!heldout.ok) return heldout;
  return { ok: true, train: train.examples, heldout: heldout.examples, classes, labels, truncated: train.truncated + heldout.truncated };
}

function recordsOf({ file, format, delimiter, by }: DataFile, columns: readonly string[]) {
  const options: ReadOptions = { columns, by };
  return readRecords(file, { ...options, ...(format && { format }), ...(delimiter && { delimiter: delimiter as "," }) });
}

/** What the label column holds for each class: the job's names, numbers up to the model's classes, or what is found. */
function namesOf(job: JobFile, { classes }: Objective, records: readonly DataRecord[]): { ok: true; labels: string[] } | Fault<string> {
  const { label } = job.columns;
  if (job.labels !== undefined && classes > 0 && job.labels.length !== classes) {
    const message = `labels: ${job.labels.length} names for the model's ${classes} classes; give one name for each, or none`;
    return { ok: false, code: "labels-misfit", message };
  }
  const isNumbered = records.every((record) => /^\d+$/.test(String(valueIn(record, label))));
  const numbers = classes > 0 && isNumbered && job.labels === undefined ? Array.from({ length: classes }, (_, i) => `${i}`) : undefined;
  const found = labelsIn(records, label, job.labels ?? numbers);
  if (!found.ok) return found;
  if (classes > 0 && found.labels.length > classes) {
    const message = `${label}: the data has ${found.labels.length} labels, the model ${classes} classes; correct the data, or take another model`;
    return { ok: false, code: "labels-misfit", message };
  }
  return found;
}

type SplitUp = { ok: true; train: DataRecord[]; heldout: DataRecord[] } | Fault<string>;

function splitRecords(
  records: readonly DataRecord[],
  others: readonly DataRecord[] | null,
  { heldout, shots, seed, columns }: JobFile,
  labels: readonly string[] | null,
): SplitUp {
  const read = labels === null ? null : labelOf(columns.label, labels);
  const rows: { record: DataRecord; label: number }[] = [];
  const faults: string[] = [];
  for (const record of records) {
    const label = read?.(record) ?? { ok: true, value: 0 };
    if (label.ok) rows.push({ record, label: label.value });
    else if (faults.push(label.message) === FAULTS_MAX) break;
  }
  if (faults.length > 0) return { ok: false, code: "records-malformed", message: faults.join("\n") };
  // Of a model's many classes the data may have a few: rows are drawn of those that there are.
  const there = [...new Set(rows.map(({ label }) => label))].sort((one, other) => one - other);
  const places = new Map(there.map((label, place) => [label, place]));
  for (const row of rows) row.label = places.get(row.label) ?? 0;
  const inWords = (message: string) =>
    message.replace(/^class (\d+)/, (_, place) => `class ${labels?.[there[Number(place)] ?? 0] ?? place}`);
  const draw = { classes: there.length, keyOf: (_: string, { record }: (typeof rows)[number]) => JSON.stringify(record.values) };
  let train = rows;
  let held = others;
  if (held === null && typeof heldout === "object" && !("file" in heldout)) {
    const asked = "share" in heldout ? { heldoutShare: heldout.share } : { heldoutPerClass: heldout.perClass };
    const split = splitHeldout(rows, { ...draw, seed: `${seed}/heldout`, ...asked });
    if (!split.ok) return { ...split, message: `heldout: ${inWords(split.message)}` };
    train = split.train;
    held = split.heldout.map(({ record }) => record);
  }
  if (shots !== undefined) {
    // Those whose hash is smallest: more shots contain the fewer.
    const split = splitHeldout(train, { ...draw, seed: `${seed}/shots`, heldoutPerClass: shots });
    if (!split.ok) return { ...split, message: `shots: ${inWords(split.message)}` };
    train = split.heldout;
  }
  if (train.length === 0) return { ok: false, code: "too-few-rows", message: "train: no row is left to train on; hold out fewer" };
  return { ok: true, train: train.map(({ record }) => record), heldout: [...(held ?? [])] };
}

const FAULTS_MAX = 5;
