/** Gains of a job's tensors from their weights or from the losses, and what the rate must be for a step to stay as long. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { elementsOf } from "@zoswarm/shared/zo/lattice";
import { type Lab, openLab } from "./lab.ts";

export interface Tensor {
  name: string;
  /** Root mean square of its initial weights. */
  rms: number;
  /** Mean square of a parameter's gradient in tensors of this kind, over the whole model's; as measured before the first step. */
  signal: number;
}

export interface GainRule {
  /** Binary logarithm of how much farther a tensor is moved; null freezes it. */
  gain: (tensor: Tensor) => number | null;
  usesSignal?: boolean;
}

/** Same-named tensors of all layers. */
const kindOf = (name: string) => name.replace(/\d+/g, "*");

/** The job's keys with those gains beside its own, and what its rate is multiplied by. */
export async function withGains(job: Record<string, unknown>, lab: Lab, { gain: gainOf, usesSignal }: GainRule, dir: string) {
  const signals = usesSignal ? await signalsOf(job, lab, dir) : new Map<string, number>();
  const bytes = await readFile(lab.pathOf(lab.manifest.initial.id));
  let [from, before, after] = [0, 0, 0];
  const gains: { pattern: string; gain: number }[] = [];
  for (const { name, shape, q, gain: given } of lab.manifest.tensors) {
    const count = elementsOf(shape);
    const x = new Int32Array(Uint8Array.from(bytes.subarray(from, from + 4 * count)).buffer);
    from += 4 * count;
    const rms = Math.sqrt(x.reduce((sum, value) => sum + value ** 2, 0) / count) * 2 ** -q;
    const gain = given !== 0 ? given : gainOf({ name, rms, signal: signals.get(kindOf(name)) ?? Number.NaN });
    before += count * 4 ** given;
    if (gain === null) continue;
    const bounded = Math.min(Math.max(Math.round(gain), -8), 8);
    after += count * 4 ** bounded;
    gains.push({ pattern: name, gain: bounded });
  }
  const patterns = gains.map(({ pattern }) => pattern);
  const isWhole = patterns.length === lab.manifest.tensors.length;
  return { keys: { ...job, gains, ...(!isWhole && { trained: { patterns } }) }, times: Math.sqrt(before / after) };
}

/** By kind of tensor: 32 one-sided losses along directions of those tensors alone. */
async function signalsOf(job: Record<string, unknown>, lab: Lab, dir: string): Promise<Map<string, number>> {
  const kinds = Map.groupBy(lab.manifest.tensors, ({ name }) => kindOf(name));
  const found: { kind: string; square: number; parameters: number }[] = [];
  for (const [kind, tensors] of kinds) {
    const gains = lab.manifest.tensors.map(({ name }) => ({ pattern: name, gain: kindOf(name) === kind ? 0 : -8 }));
    const alone = await openLab({ ...job, gains }, join(dir, "alone"));
    await alone.reset(0);
    let square = 0;
    for (const group of [0, 1]) {
      const asked = { step: 0, group, m: 4, epsilonLog2: -10, estimator: "one-sided" as const };
      const losses = (await alone.measure({ ...asked, examples: alone.batch(0, group, alone.manifest.job.batch) })).map(
        ({ plus }) => plus ?? Number.NaN,
      );
      const mean = losses.reduce((sum, loss) => sum + loss, 0) / losses.length;
      square += losses.reduce((sum, loss) => sum + ((loss - mean) * 2 ** 10) ** 2, 0) / (2 * (losses.length - 1));
    }
    await alone.close();
    found.push({ kind, square, parameters: tensors.reduce((sum, { shape }) => sum + elementsOf(shape), 0) });
  }
  const total = (of: "square" | "parameters") => found.reduce((sum, one) => sum + one[of], 0);
  const whole = total("square") / total("parameters");
  return new Map(found.map(({ kind, square, parameters }) => [kind, square / parameters / whole]));
}
