/** How good answers are, by the metric of the task: plain arithmetic over what was predicted or generated. */

function requireSameLength(what: string, given: ArrayLike<unknown>, wanted: ArrayLike<unknown>): void {
  if (given.length !== wanted.length)
    throw new RangeError(`${given.length} ${what} against ${wanted.length}: give one of each for every example`);
  if (given.length === 0) throw new RangeError(`no ${what}: a metric needs at least one example`);
}

/** Share of examples whose predicted class is the label: 0..1. Throws a RangeError for no examples, or unequal numbers of them. */
export function accuracy(predictions: ArrayLike<number>, labels: ArrayLike<number>): number {
  requireSameLength("predictions", predictions, labels);
  let right = 0;
  for (let i = 0; i < labels.length; i++) if (predictions[i] === labels[i]) right++;
  return right / labels.length;
}

/**
 * F1 = 2 TP / (2 TP + FP + FN): 0..1. Of two classes, that of class 1 (0 where no example has it and none is predicted to); of more, the
 * mean over the classes that occur among labels or predictions, each counting the same. That is scikit-learn's f1_score with average
 * "binary" and "macro", zero_division=0. Throws a RangeError as `accuracy` does, and for a class that is not in 0..classes-1.
 */
export function f1(predictions: ArrayLike<number>, labels: ArrayLike<number>, classes: number): number {
  requireSameLength("predictions", predictions, labels);
  if (!Number.isInteger(classes) || classes < 2) throw new RangeError(`classes is ${classes}: give a whole number from 2`);
  const hits = new Float64Array(classes);
  /** How often a class is a label or a prediction: 2 TP + FP + FN. */
  const occurrences = new Float64Array(classes);
  const count = (what: string, i: number, c: number | undefined) => {
    if (c === undefined || !Number.isInteger(c) || c < 0 || c >= classes)
      throw new RangeError(`${what} ${i} is ${c}, not a class of 0..${classes - 1}`);
    occurrences[c] = (occurrences[c] as number) + 1;
    return c;
  };
  for (let i = 0; i < labels.length; i++) {
    const predicted = count("prediction", i, predictions[i]);
    if (predicted === count("label", i, labels[i])) hits[predicted] = (hits[predicted] as number) + 1;
  }
  const of = (c: number) => (occurrences[c] === 0 ? 0 : (2 * (hits[c] as number)) / (occurrences[c] as number));
  if (classes === 2) return of(1);
  const occurring = Array.from(occurrences.keys()).filter((c) => occurrences[c] !== 0);
  return occurring.reduce((sum, c) => sum + of(c), 0) / occurring.length;
}

/** Share of generated texts that are the target, up to white space: 0..1. Throws a RangeError for no texts, or unequal numbers of them. */
export function exactMatch(generated: readonly string[], targets: readonly string[]): number {
  requireSameLength("generated texts", generated, targets);
  return generated.filter((text, i) => plain(text) === plain(targets[i] as string)).length / targets.length;
}

/** Without white space at its ends, and with one space for any inside. */
const plain = (text: string) => text.trim().replace(/\s+/g, " ");

/**
 * exp of the mean negative log likelihood of a token: 1 for a model that is sure and right, Infinity beyond e^709.
 * `nllSum` is in nats, over all tokens. Throws a RangeError for no tokens, and for a sum that is negative or not a number.
 */
export function perplexity(nllSum: number, tokens: number): number {
  if (!Number.isInteger(tokens) || tokens < 1) throw new RangeError(`tokens is ${tokens}: perplexity needs at least one token`);
  if (!(nllSum >= 0)) throw new RangeError(`nllSum is ${nllSum}: give the sum of -log p in nats, which is 0 or more`);
  return Math.exp(nllSum / tokens);
}
