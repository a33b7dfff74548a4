/** What the trained model says of a person's own texts: the class of each, shown to the model as the job shows its rows. */
import { loadTokenizer } from "@zoswarm/shared/data/tokenizer";
import { loadRequestOf, startEvaluator } from "@zoswarm/shared/evaluate/client";
import { openBlobFiles } from "@zoswarm/shared/store/blobs";
import { columnsOf, makeExamples } from "./examples.ts";
import { type Fault, filesOf, foundIn, readFolder } from "./folder.ts";
import { type At, commitsTo } from "./trained.ts";

export interface Classified {
  text: string;
  /** Probability of every class. */
  probabilities: number[];
}

export type Classifier = { ok: true; labels: string[]; classify(texts: readonly string[]): Promise<Classified[]>; close(): Promise<void> };

/** Opens the trained model of a data folder for texts, at a state of its ledger. */
export async function openClassifier(dataDir: string, { at }: { at: At }): Promise<Classifier | Fault<string>> {
  const folder = readFolder(dataDir);
  if (!folder.ok) return folder;
  const { manifest, spec } = folder;
  const { objective } = manifest;
  if ((objective.kind !== "classes" && objective.kind !== "words") || spec.tokenizer === undefined) {
    const message = `job "${manifest.name}" has no classes of texts; classify is for classification of text`;
    return { ok: false, code: "not-a-classifier", message };
  }
  const files = filesOf(dataDir);
  const { labels } = foundIn(dataDir);
  const tokenizer = await loadTokenizer(files.tokenizer);
  if (!tokenizer.ok) return tokenizer;
  const reached = await commitsTo(folder, at);
  if (!reached.ok) return reached;
  const blobs = await openBlobFiles(files.blobs);
  const evaluator = startEvaluator({ threads: 1 });
  try {
    await evaluator.call("load", loadRequestOf(manifest, blobs.path));
    await evaluator.call("replay", { commits: reached.commits });
  } catch (error) {
    await evaluator.close();
    throw error;
  }
  // A text stands in every column that the prompt names: most have one.
  const rowOf = (text: string) => ({
    values: Object.fromEntries(columnsOf(spec).map((column) => [column, text])),
    at: `"${text.slice(0, 40)}"`,
  });
  return {
    ok: true,
    labels: Array.from({ length: objective.classes }, (_, label) => labels?.[label] ?? `class ${label}`),
    async classify(texts) {
      const made = makeExamples(texts.map(rowOf), { job: spec, objective, tokenizer, features: [], labels: null, isAsked: true });
      if (!made.ok) throw new Error(made.message);
      const { scores } = await evaluator.call("predict", { examples: made.examples });
      return texts.map((text, i) => ({ text, probabilities: softmax(scores[i] ?? []) }));
    },
    close: () => evaluator.close(),
  };
}

function softmax(scores: readonly number[]): number[] {
  const most = Math.max(...scores);
  const parts = scores.map((score) => Math.exp(score - most));
  const sum = parts.reduce((total, part) => total + part, 0);
  return parts.map((part) => part / sum);
}
