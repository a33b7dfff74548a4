/**
 * Adds to a graph what is optimized: inputs for labels or targets, outputs for losses, scores and words, all named `zoswarm/...`.
 * Losses stay one by one: a float32 mean costs an ulp, which dividing by epsilon would amplify. Of the standard operators only those are
 * used that take the same inputs in every opset, so that the nodes are the same for each.
 */
import { TensorProto_DataType as Type } from "onnx-buf";
import { type Additions, createAdditions } from "./additions.ts";
import { valueInfoOf } from "./graph.ts";
import type { Model, Refused, ValueInfoProto } from "./onnx.ts";
import { namesIn, type Output, outputOf, shapeText, withOutputs } from "./outputs.ts";
import { isStandard } from "./walk.ts";

/** What is done with an output of the model; b, s, C and V are the batch, the sequence, the classes and the vocabulary. */
export type GraphObjective =
  /** Logits [b, C], [b, 1, C] or [b, C, 1, 1] against labels [b]: cross-entropy. One logit [b] or [b, 1] is that of class 1, class 0 having 0. */
  | { kind: "classes"; output: string }
  /** Logits [b, s, V]: of each example the row at its position, and of that the columns `words`, are scores [b, C]; then as classes. */
  | { kind: "words"; output: string; words: readonly number[] }
  /** Logits [b, s, V] against labels [b, s], the next tokens as shifted by the caller: cross-entropy. */
  | { kind: "tokens"; output: string }
  /** Values [b] or [b, 1] against targets [b]: (o - t)^2. */
  | { kind: "values"; output: string }
  /** No loss: the output as it is, for rewards. */
  | { kind: "none"; output: string };

export type ObjectiveCode = "name-taken" | "no-such-output" | "unsupported-output" | "unsupported-words" | "cannot-generate";

/** int64 [batch] or [batch, sequence]; int64 [batch]; float32 [batch]. */
export const INPUTS = { labels: "zoswarm/labels", positions: "zoswarm/positions", targets: "zoswarm/targets" } as const;
/** float32 [batch] or [batch * sequence]; float32 [batch, classes], [batch] or the output's own shape; int64 [batch, sequence]; int64 [batch]. */
export const OUTPUTS = { loss: "zoswarm/loss", scores: "zoswarm/scores", predicted: "zoswarm/predicted", next: "zoswarm/next" } as const;

/** Begins the names of the values between. */
const PREFIX = "zoswarm/objective/";
/** Names that are kept for what is added here; what else is done to a model has folders of its own, such as `zoswarm/lora/`. */
const RESERVED = /^zoswarm\/(objective\/|[^/]*$)/;

/** The tokens' softmax is taken in so many pieces, of which one is in memory at a time. */
const PIECES = 16;

/**
 * The model with an objective on one of its outputs. All its own outputs are removed, so that the runtime does not copy them, and so are the
 * nodes and weights that nothing needs any more; its inputs stay. Added, where the kind has it:
 *
 * | kind | inputs | outputs |
 * |---|---|---|
 * | classes | labels | loss [b], scores [b, C] |
 * | words | labels, positions | loss [b], scores [b, C]; next where it generates |
 * | tokens | labels; positions where it generates | loss [b * s], predicted [b, s]; next where it generates |
 * | values | targets | loss [b], scores [b] |
 * | none | positions where it generates | scores, float32 of the output's own shape, or next where it generates |
 *
 * next[b] is the likeliest token after `positions[b]`, of logits [b, s, V]. A label below 0 does not count: its loss is exactly 0. Labels and
 * positions that are out of range, or not as many as the logits have rows, make the run fail. To be done before weights are chosen to be
 * trained, as some may be gone after it. The model that is passed stays as it is.
 */
export function addObjective(
  model: Model,
  objective: GraphObjective,
  { generates }: { generates: boolean },
): { ok: true; model: Model } | Refused<ObjectiveCode> {
  const taken = namesIn(model).find((name) => RESERVED.test(name));
  if (taken !== undefined) {
    const message = `the model has something named "${taken}", and such names are kept for what is added for training; rename it, or take the model as it was before`;
    return { ok: false, code: "name-taken", message };
  }
  const found = outputOf(model, objective.output);
  if (!found.ok) return found;
  const { output } = found;
  const refused = refuseObjective(objective, output, generates);
  if (refused !== undefined) return refused;
  const added = createAdditions(PREFIX);
  addNodes(added, { ...objective, output: logitsBehind(model, objective) }, output, generates);
  const whole = added.addedTo(model);
  return { ok: true, model: withOutputs(whole.model, whole.outputs) };
}

/** These leave the order of values as it is: classes that are flattened anyway can be read before them. */
const RESHAPING = new Set(["Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"]);

/** What a classifier that ends in Softmax or Sigmoid takes it of: cross-entropy wants logits, and their probabilities are the model's own output. */
function logitsBehind({ graph }: Model, { kind, output }: GraphObjective): string {
  const makerOf = (name: string | undefined) => graph.node.find((node) => node.output[0] === name);
  let maker = makerOf(output);
  if (kind === "values" || kind === "none") return output;
  if (kind === "classes") {
    let last = maker;
    while (last !== undefined && last.domain === "" && RESHAPING.has(last.opType)) last = makerOf(last.input[0]);
    if (last !== undefined && isStandard(last, "Sigmoid")) return last.input[0] ?? output;
    if (last !== undefined && isStandard(last, "Softmax")) maker = last;
  }
  if (maker === undefined || !isStandard(maker, "Softmax")) return output;
  const axis = maker.attribute.find(({ name }) => name === "axis")?.i ?? -1n;
  const isLast = axis === -1n || axis === (kind === "classes" ? 1n : 2n);
  return isLast ? (maker.input[0] ?? output) : output;
}

const EXPECTED = {
  classes:
    "[batch, classes], [batch, 1, classes] or [batch, classes, 1, 1], or one score for two classes: tags of every token are not supported; of an encoder's states name a pooled output, or give it a head",
  logits: "[batch, sequence, vocabulary]: export the model as one that gives logits for every token",
  values: "[batch] or [batch, 1]: several scores are for objective classification",
} as const;

/** What is learnt, as a launcher calls it. */
const LEARNT = {
  classes: "classes",
  words: "label words",
  tokens: "a language model",
  values: "regression",
  none: "generated text",
} as const;

function refuseObjective(
  objective: GraphObjective,
  { sizes }: Output,
  generates: boolean,
): Refused<"unsupported-output" | "unsupported-words" | "cannot-generate"> | undefined {
  const { kind, output } = objective;
  if (generates && (kind === "classes" || kind === "values")) {
    const message = `the kind is ${kind}, which makes no text from the output "${output}"; generate with kind tokens, words or none`;
    return { ok: false, code: "cannot-generate", message };
  }
  const form = kind === "classes" || kind === "values" ? kind : kind === "none" && !generates ? undefined : "logits";
  if (form !== undefined && sizes !== undefined && !fits(form, sizes)) {
    const message = `the output "${output}" has the shape ${shapeText(sizes)}; for ${LEARNT[kind]} it must be ${EXPECTED[form]}`;
    return { ok: false, code: "unsupported-output", message };
  }
  return kind === "words" ? refuseWords(objective, sizes?.[2] ?? null) : undefined;
}

function refuseWords(
  { output, words }: GraphObjective & { kind: "words" },
  vocabulary: number | null,
): Refused<"unsupported-words"> | undefined {
  const refused = (why: string) => {
    const message = `the words [${words.join(", ")}] of the output "${output}" ${why}; name the token of each class by its number`;
    return { ok: false, code: "unsupported-words", message } as const;
  };
  if (words.length < 2) return refused("must be 2 or more, one for each class");
  const strange = words.find((word) => !Number.isSafeInteger(word) || word < 0 || word >= (vocabulary ?? Number.POSITIVE_INFINITY));
  if (strange !== undefined)
    return refused(`have ${strange}, which is no integer from 0 to ${vocabulary === null ? "the vocabulary's last" : vocabulary - 1}`);
  const twice = words.find((word, i) => words.indexOf(word) !== i);
  return twice === undefined ? undefined : refused(`have ${twice} for more than one class`);
}

function fits(form: keyof typeof EXPECTED, sizes: readonly (number | null)[]): boolean {
  const rank = sizes.length;
  if (form === "logits") return rank === 3;
  if (form === "values") return rank === 1 || (rank === 2 && (sizes[1] === 1 || sizes[1] === null));
  if (rank === 1 || rank === 2) return true;
  if (rank === 3) return sizes[1] === 1;
  return rank === 4 && sizes[2] === 1 && sizes[3] === 1;
}

/** Whether classes are told by a single score for each example. */
export function isOneScore(sizes: Output["sizes"]): boolean {
  return sizes !== undefined && sizes.length > 0 && sizes.slice(1).every((size) => size === 1);
}

function addNodes(added: Additions, objective: GraphObjective, { info, isFloat32, sizes }: Output, generates: boolean): void {
  const { kind, output } = objective;
  const { node, integers } = added;
  const float = (value: string) => (isFloat32 ? value : node("Cast", [value], { to: Type.FLOAT }));
  if (kind === "classes") {
    if (sizes?.slice(1).some((size) => (size ?? 0) > 1))
      classify(added, node("Reshape", [float(output), integers([0, -1])], {}, OUTPUTS.scores));
    else {
      // Beside a single score stands a 0; how many there are may only be known when it runs.
      const rows = added.size(output, 0);
      const given = node("Reshape", [float(output), node("Concat", [rows, integers([-1])], { axis: 0 })]);
      const zeros = node("Cast", [node("Equal", [added.size(given, 1), integers([1])])], { to: Type.INT64 });
      const beside = node("ConstantOfShape", [node("Concat", [rows, zeros], { axis: 0 })]);
      classify(added, node("Concat", [beside, given], { axis: 1 }, OUTPUTS.scores));
    }
  } else if (kind === "words") {
    const rows = rowsAtPositions(added, output);
    const scores = node("Gather", [rows, integers(objective.words)], { axis: 1 });
    classify(added, node("Cast", [scores], { to: Type.FLOAT }, OUTPUTS.scores));
    if (generates) addNext(added, float(rows));
  } else if (kind === "tokens") {
    const flat = node("Reshape", [output, node("Concat", [integers([-1]), added.size(output, 2)], { axis: 0 })]);
    const labels = added.input(INPUTS.labels, "int64", ["batch", "sequence"]);
    addCrossEntropy(added, flat, float, PIECES);
    added.output(valueInfoOf(OUTPUTS.loss, "float32", ["batch*sequence"]));
    const likeliest = (rows: string) => node("ArgMax", [rows], { axis: 1, keepdims: 0 });
    // float32 is read where it lies. Half is cast first, which in one piece would take twice the logits' own memory.
    const all = node("Range", [integers([0], []), added.size(flat, 0, []), integers([1], [])]);
    const predicted = isFloat32 ? likeliest(flat) : inPieces(added, all, PIECES, (at) => likeliest(float(node("Gather", [flat, at]))));
    node("Reshape", [predicted, node("Shape", [labels])], {}, OUTPUTS.predicted);
    added.output(valueInfoOf(OUTPUTS.predicted, "int64", ["batch", "sequence"]));
    if (generates) addNext(added, float(rowsAtPositions(added, output)));
  } else if (kind === "values") {
    const targets = added.input(INPUTS.targets, "float32", ["batch"]);
    const apart = node("Sub", [node("Reshape", [float(output), node("Shape", [targets])], {}, OUTPUTS.scores), targets]);
    node("Mul", [apart, apart], {}, OUTPUTS.loss);
    for (const name of [OUTPUTS.loss, OUTPUTS.scores]) added.output(valueInfoOf(name, "float32", ["batch"]));
  } else if (generates) {
    addNext(added, float(rowsAtPositions(added, output)));
  } else {
    node("Cast", [output], { to: Type.FLOAT }, OUTPUTS.scores);
    added.output(scoresLike(info));
  }
}

/** Labels [b] and the loss [b] of scores [b, C]. */
function classify(added: Additions, scores: string): void {
  added.input(INPUTS.labels, "int64", ["batch"]);
  addCrossEntropy(added, scores, (rows) => rows, 1);
  added.output(valueInfoOf(OUTPUTS.loss, "float32", ["batch"]));
  added.output(valueInfoOf(OUTPUTS.scores, "float32", ["batch", "classes"]));
}

/**
 * The loss [n] of logits [n, C] and as many labels, in any shape: -log softmax(logits[i])[labels[i]], or 0 for a label below 0.
 * Rows that do not count are not even read. LogSoftmax shifts by the maximum, so the loss is finite for finite logits less than 3e38 apart.
 */
function addCrossEntropy(added: Additions, logits: string, float: (rows: string) => string, pieces: number): void {
  const { node, integers } = added;
  // To the shape of the logits, not to any: the run must fail where the labels are not as many.
  const labels = node("Reshape", [INPUTS.labels, added.size(logits, 0)]);
  const counted = node("Reshape", [node("NonZero", [node("Not", [node("Less", [labels, integers([0])])])]), integers([-1])]);
  const likelihoods = inPieces(added, counted, pieces, (at) => {
    const columns = node("Reshape", [node("Gather", [labels, at]), integers([-1, 1])]);
    const rows = node("LogSoftmax", [float(node("Gather", [logits, at]))], { axis: 1 });
    return node("GatherElements", [rows, columns], { axis: 1 });
  });
  const losses = node("Neg", [node("Reshape", [likelihoods, integers([-1])])]);
  node("ScatterElements", [node("ConstantOfShape", [node("Shape", [labels])]), counted, losses], { axis: 0 }, OUTPUTS.loss);
}

/**
 * What `make` gives for the rows at each of `pieces` equal parts of `indices` [n], n from 0, joined along the first axis.
 * The runtime goes depth first from each output, so a part's rows are gone before the next one's are made, unless two outputs need them.
 * They are gathered, not sliced: slices whose bounds are constants, as in a graph of fixed shapes, it turns into one Split that makes all.
 */
function inPieces({ node, integers }: Additions, indices: string, pieces: number, make: (at: string) => string): string {
  if (pieces === 1) return make(indices);
  const steps = node("Range", [integers([0], []), integers([pieces + 1], []), integers([1], [])]);
  const ends = node("Div", [node("Mul", [node("Shape", [indices]), steps]), integers([pieces])]);
  const parts = Array.from({ length: pieces }, (_, i) => {
    const [from, to] = [i, i + 1].map((end) => node("Gather", [ends, integers([end])])) as [string, string];
    return make(node("Slice", [indices, from, to, integers([0])]));
  });
  return node("Concat", parts, { axis: 0 });
}

/** Of logits [b, s, V] the rows at the positions, [b, V]. GatherND checks them: an index into [b * s, V] could reach another example. */
function rowsAtPositions(added: Additions, logits: string): string {
  const { node, integers } = added;
  const positions = added.input(INPUTS.positions, "int64", ["batch"]);
  const examples = node("Range", [integers([0], []), added.size(logits, 0, []), integers([1], [])]);
  const columns = [examples, positions].map((indices) => node("Reshape", [indices, integers([-1, 1])]));
  return node("GatherND", [logits, node("Concat", columns, { axis: 1 })]);
}

function addNext(added: Additions, rows: string): void {
  added.node("ArgMax", [rows], { axis: 1, keepdims: 0 }, OUTPUTS.next);
  added.output(valueInfoOf(OUTPUTS.next, "int64", ["batch"]));
}

/** The output's declaration under the name of the scores, as float32. */
function scoresLike(info: ValueInfoProto): ValueInfoProto {
  const scores = valueInfoOf(OUTPUTS.scores, "float32", []);
  const [own, other] = [scores.type?.value, info.type?.value];
  if (own?.case !== "tensorType") return scores;
  if (other?.case === "tensorType" && other.value.shape !== undefined) own.value.shape = other.value.shape;
  else delete own.value.shape;
  return scores;
}
