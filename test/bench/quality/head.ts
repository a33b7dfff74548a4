/**
 * First-order training of a classifier's last layer alone, for comparison: softmax regression by AdamW (Loshchilov and Hutter,
 * arXiv 1711.05101) on what the frozen encoder says of each example. The encoder is run forwards, once over the examples, and never back.
 */
import type { Example } from "@zoswarm/shared/data/examples";
import type { InputSpec } from "@zoswarm/shared/protocol/manifest";
import { type Features, openEncoder } from "./features.ts";
import { normalsFrom } from "./mezo.ts";

/** As the demo's own batches. */
const BATCH = 24;
const RATES = [3e-4, 1e-3, 3e-3, 1e-2];
const EPOCHS_MAX = 30;
const DECAY = 0.01;
const FLOAT_BYTES = 4;

export interface HeadOptions {
  classes: number;
  epochs: number;
  batch: number;
  rate: number;
  /** Of the weights, not of the biases. */
  decay: number;
  /** Of the order of the examples. */
  seed: number;
}

export interface Scored {
  loss: number;
  accuracy: number;
}

/** Mean cross-entropy over `rows`, and its gradient; weights row-major [width + 1, classes], the biases last. */
export function lossAndGradient(weights: Float64Array, classes: number, { values, width, labels }: Features, rows: readonly number[]) {
  const gradient = new Float64Array(weights.length);
  let [loss, right] = [0, 0];
  for (const row of rows) {
    const x = Float64Array.from({ length: width + 1 }, (_, i) => (i < width ? (values[row * width + i] as number) : 1));
    const label = labels[row] as number;
    const logits = new Float64Array(classes);
    x.forEach((value, i) => {
      for (let c = 0; c < classes; c++) logits[c] = (logits[c] as number) + value * (weights[i * classes + c] as number);
    });
    const largest = Math.max(...logits);
    const total = logits.reduce((sum, logit) => sum + Math.exp(logit - largest), 0);
    loss += largest + Math.log(total) - (logits[label] as number);
    if (logits.indexOf(largest) === label) right++;
    const slopes = logits.map((logit, c) => Math.exp(logit - largest) / total - (c === label ? 1 : 0));
    x.forEach((value, i) => {
      for (let c = 0; c < classes; c++)
        gradient[i * classes + c] = (gradient[i * classes + c] as number) + ((slopes[c] as number) * value) / rows.length;
    });
  }
  return { loss: loss / rows.length, accuracy: right / rows.length, gradient };
}

/** Trains from zero. What is measured on `heldout` after each epoch changes nothing. */
export function trainHead(train: Features, heldout: Features, { classes, epochs, batch, rate, decay, seed }: HeadOptions): Scored[] {
  const [beta1, beta2, tiny] = [0.9, 0.999, 1e-8];
  const biases = train.width * classes;
  const weights = new Float64Array(biases + classes);
  const [mean, square] = [new Float64Array(weights.length), new Float64Array(weights.length)];
  const normal = normalsFrom(seed);
  let step = 0;
  return Array.from({ length: epochs }, () => {
    const order = shuffled(train, normal);
    for (let from = 0; from < order.length; from += batch) {
      const { gradient } = lossAndGradient(weights, classes, train, order.slice(from, from + batch));
      step++;
      gradient.forEach((g, i) => {
        mean[i] = beta1 * (mean[i] as number) + (1 - beta1) * g;
        square[i] = beta2 * (square[i] as number) + (1 - beta2) * g * g;
        const move = (mean[i] as number) / (1 - beta1 ** step) / (Math.sqrt((square[i] as number) / (1 - beta2 ** step)) + tiny);
        weights[i] = (weights[i] as number) * (1 - (i < biases ? rate * decay : 0)) - rate * move;
      });
    }
    const { loss, accuracy } = lossAndGradient(weights, classes, heldout, Array.from(heldout.labels.keys()));
    return { loss, accuracy };
  });
}

/** The rate, and after how many epochs, that has the least loss on a fifth of the training examples, trained on the others. */
export function chooseHead(
  train: Features,
  rates: readonly number[],
  options: Omit<HeadOptions, "rate">,
): { rate: number; epochs: number; loss: number } {
  const order = shuffled(train, normalsFrom(options.seed));
  const cut = Math.floor(order.length / 5);
  const [validation, rest] = [pick(train, order.slice(0, cut)), pick(train, order.slice(cut))];
  const tried = rates.flatMap((rate) =>
    trainHead(rest, validation, { ...options, rate }).map(({ loss }, epoch) => ({ rate, epochs: epoch + 1, loss })),
  );
  return tried.reduce((best, one) => (one.loss < best.loss ? one : best));
}

function pick({ values, width, labels }: Features, rows: readonly number[]): Features {
  const picked = new Float32Array(rows.length * width);
  rows.forEach((row, r) => {
    picked.set(values.subarray(row * width, (row + 1) * width), r * width);
  });
  return { values: picked, width, labels: Int32Array.from(rows, (row) => labels[row] as number) };
}

function shuffled({ labels }: Features, normal: () => number): number[] {
  const keyed = Array.from(labels.keys(), (row) => ({ row, by: normal() }));
  return keyed.sort((one, other) => one.by - other.by).map(({ row }) => row);
}

export interface HeadRequest {
  /** The classifier's file, and the name in it of its last layer's weight. */
  model: string;
  weight: string;
  /** The job's, from its manifest. */
  inputs: readonly InputSpec[];
  classes: number;
  train: readonly Example[];
  heldout: readonly Example[];
  seed: number;
}

export interface HeadReference {
  /** Chosen on training examples alone. */
  rate: number;
  epochs: number;
  /** Of the held-out examples, after each epoch over all training examples. */
  curve: Scored[];
  /** The encoder's forward passes over the training examples, in batches of 24: all that any number of epochs and rates needs. */
  forwards: number;
  /** The same with a backward pass counted as two forwards: nothing is added, as going back through the last layer alone costs next to nothing. */
  forwardEquivalents: number;
  /** Of those forward passes; and of all training of the last layer, that for choosing rate and epochs included. */
  seconds: { features: number; training: number };
  /** By how much resident memory was above what it was before the encoder was opened, at most, as seen between the stages. */
  memoryBytes: number;
  /** Data-parallel training: a worker's float32 gradient for one step, of the last layer or of the whole model. */
  wireBytesPerStep: { head: number; model: number };
}

/** Trains the last layer of the model in `request`. */
export async function headReference({ model, weight, inputs, classes, train, heldout, seed }: HeadRequest): Promise<HeadReference> {
  const resident = process.memoryUsage.rss();
  let most = resident;
  const look = () => {
    most = Math.max(most, process.memoryUsage.rss());
  };
  const encoder = await openEncoder(model, weight, inputs);
  look();
  const begun = performance.now();
  const { features, forwards } = await encoder.featuresOf(train, BATCH);
  const extracted = performance.now();
  const measured = await encoder.featuresOf(heldout, BATCH);
  look();
  await encoder.close();
  const training = performance.now();
  const options = { classes, batch: BATCH, decay: DECAY, seed };
  const { rate, epochs } = chooseHead(features, RATES, { ...options, epochs: EPOCHS_MAX });
  const curve = trainHead(features, measured.features, { ...options, rate, epochs });
  look();
  return {
    rate,
    epochs,
    curve,
    forwards,
    forwardEquivalents: forwards,
    seconds: { features: (extracted - begun) / 1000, training: (performance.now() - training) / 1000 },
    memoryBytes: most - resident,
    wireBytesPerStep: { head: FLOAT_BYTES * (features.width + 1) * classes, model: FLOAT_BYTES * encoder.parameters },
  };
}
