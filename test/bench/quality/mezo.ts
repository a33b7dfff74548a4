/**
 * MeZO as published (Malladi et al., arXiv 2305.17333, Algorithm 1), written from the paper alone: Gaussian directions drawn again from
 * their seed, two forward passes a step, one constant rate, plain float32. It shares nothing with shared/src/zo, which it is compared with.
 */
import { open } from "node:fs/promises";
import { createJudge, type Judge } from "@zoswarm/shared/evaluate/judge";
import { openModelSession } from "@zoswarm/shared/evaluate/session";
import type { Manifest } from "@zoswarm/shared/protocol/manifest";

/** Standard normal draws, the same for the same seed. */
export function normalsFrom(seed: number): () => number {
  const next = wordsFrom(seed);
  let kept: number | undefined;
  // Box and Muller: two independent normals of two uniforms, the first of which must not be 0.
  return () => {
    if (kept !== undefined) {
      const z = kept;
      kept = undefined;
      return z;
    }
    const radius = Math.sqrt(-2 * Math.log((next() + 1) / 2 ** 32));
    const angle = (2 * Math.PI * next()) / 2 ** 32;
    kept = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  };
}

/** Uniform 32-bit words: sfc32 (Doty-Humphrey, PractRand), its state set from the seed and stirred. */
function wordsFrom(seed: number): () => number {
  let [a, b, c, count] = [0, seed | 0, Math.trunc(seed / 2 ** 32) | 0, 1];
  const next = () => {
    const word = (((a + b) | 0) + count) | 0;
    count = (count + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (((c << 21) | (c >>> 11)) + word) | 0;
    return word >>> 0;
  };
  for (let i = 0; i < 15; i++) next();
  return next;
}

/** theta += scale z(seed), in place. */
export function perturb(parameters: readonly Float32Array[], scale: number, seed: number): void {
  const normal = normalsFrom(seed);
  for (const tensor of parameters) for (let i = 0; i < tensor.length; i++) tensor[i] = (tensor[i] as number) + scale * normal();
}

function move(parameters: readonly Float32Array[], scale: number, z: readonly Float32Array[]): void {
  for (const [t, theta] of parameters.entries()) {
    const direction = z[t] as Float32Array;
    for (let i = 0; i < theta.length; i++) theta[i] = (theta[i] as number) + scale * (direction[i] as number);
  }
}

export interface MezoOptions {
  /** theta, which `lossAt` reads and a step moves in place. */
  parameters: readonly Float32Array[];
  /** Mean loss over a batch at theta as it is. */
  lossAt(batch: number): Promise<number>;
  /** Of the whole run; step t draws from its own. An integer from 0 to 2^20. */
  seed: number;
  epsilon: number;
  rate: number;
}

/** Takes step t on batch t: two forward passes. Returns both losses and the projected gradient. */
export async function mezoStep(options: MezoOptions, t: number): Promise<{ plus: number; minus: number; projected: number }> {
  const { parameters, lossAt, epsilon, rate } = options;
  // Drawn once here: the paper draws it four times from its seed, which spares memory and gives the same numbers.
  const z = parameters.map(({ length }) => new Float32Array(length));
  perturb(z, 1, options.seed * 2 ** 32 + t);
  move(parameters, epsilon, z);
  const plus = await lossAt(t);
  move(parameters, -2 * epsilon, z);
  const minus = await lossAt(t);
  move(parameters, epsilon, z);
  const projected = (plus - minus) / (2 * epsilon);
  move(parameters, -rate * projected, z);
  return { plus, minus, projected };
}

export interface Plain {
  /** theta, tensor by tensor: what the judge's forward passes read. */
  parameters: Float32Array[];
  judge: Judge;
  /** Puts the job's initial values back. */
  reset(): Promise<void>;
  close(): Promise<void>;
}

/** A job's model over plain arrays that begin at its initial state, X 2^-q. `pathOf` is where a blob lies. One thread. */
export async function openPlain(manifest: Manifest, pathOf: (id: string) => string): Promise<Plain> {
  const { model, initial, tensors, inputs, objective } = manifest;
  const parameters = tensors.map(({ shape }) => new Float32Array(shape.reduce((n, size) => n * size, 1)));
  const reset = async () => {
    const file = await open(pathOf(initial.id));
    try {
      for (const [t, theta] of parameters.entries()) {
        const x = new Int32Array(theta.length);
        await file.read(new Uint8Array(x.buffer));
        const unit = 2 ** -(tensors[t]?.q ?? Number.NaN);
        for (let i = 0; i < x.length; i++) theta[i] = (x[i] as number) * unit;
      }
    } finally {
      await file.close();
    }
  };
  await reset();
  // A session asks of its parameters what they are called and where they lie.
  const fed = { tensors, view: (t: number) => parameters[t] } as unknown as Parameters<typeof openModelSession>[1];
  const session = await openModelSession(pathOf(model.id), fed, 1);
  const judge = createJudge({ session, inputs, objective, decode: null, reward: null, pause: async () => {} });
  return { parameters, judge, reset, close: () => session.release() };
}
