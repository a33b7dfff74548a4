/** What the demo says at the end: the result, three mails before and after, and what to do with it. */
import { readRecords } from "@zoswarm/shared/data/records";
import type { Row } from "./data.ts";
import type { CoordinatorReport, DemoReport } from "./report.ts";
import type { Swarm } from "./swarm.ts";

interface Verdict {
  text: string;
  classes: { label: string; probability: number }[];
}

export interface ShownMail {
  text: string;
  truth: string;
  before: Verdict["classes"][0];
  after: Verdict["classes"][0];
}

/** Subjects that can be shown to anyone: chosen by hand from the held-out mails, before any training. */
const SHOWN = [/^Re: \[ILUG\]/, /^Re: /, /mortgage|interest rate|insurance|toner|loan/i] as const;
const TRUTH = [0, 0, 1] as const;

/** Three held-out mails, two ham and a spam, and what the model says of them before and after training. */
export async function chooseMails(heldout: string, swarm: Swarm, dataDir: string): Promise<ShownMail[]> {
  const read = await readRecords(heldout);
  if (!read.ok) throw new Error(read.message);
  const held = read.records.map(({ values }) => values as unknown as Row);
  const labels = ["ham", "spam"];
  const taken = new Set<string>();
  const rows = SHOWN.flatMap((pattern, i) => {
    const row = held.find(({ text, label }) => label === TRUTH[i] && !taken.has(text) && pattern.test(text.split("\n")[0] ?? ""));
    if (row) taken.add(row.text);
    return row ? [row] : [];
  });
  const ask = async (args: string[]) =>
    (await swarm.coordinator(["classify", dataDir, ...args, "--json", "--", ...rows.map(({ text }) => text)]))
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Verdict);
  const [before, after] = [await ask(["--at", "0"]), await ask([])];
  return rows.map(({ text, label }, i) => ({
    text,
    truth: labels[label] ?? String(label),
    before: before[i]?.classes[0] as Verdict["classes"][0],
    after: after[i]?.classes[0] as Verdict["classes"][0],
  }));
}

const percent = (share: number) => `${(100 * share).toFixed(1)} %`;

export function say(about: {
  measured: DemoReport;
  coordinator: CoordinatorReport;
  shown: readonly ShownMail[];
  dataDir: string;
  dir: string;
  home: string;
  mails: { heldoutRows: number };
}): void {
  const { measured, shown, dataDir, dir, home, mails } = about;
  const { workerIn, workerOut } = measured.bytesPerStep;
  console.log(`
On ${mails.heldoutRows} mails that it never trained on, the encoder now tells spam from ham in ${percent(measured.endAccuracy)} of the cases.
Before training it was ${percent(measured.startAccuracy)}; always giving the commoner answer would be ${percent(measured.majorityBaseline)}.
Loss ${measured.startLoss.toFixed(4)} -> ${measured.endLoss.toFixed(4)} in ${measured.steps} steps: ${measured.forwards} forward passes, no backward pass, ${measured.seconds.toFixed(0)} s.
Each worker sent ${Math.round(workerOut.payload)} and received ${Math.round(workerIn.payload)} bytes a step for 7 million weights, and spent ${percent(measured.forwardShare)} of its busy time in forward passes.
All four replicas end with the state hash ${measured.coordinatorStateHash.slice(0, 16)}...
`);
  for (const { text, truth, before, after } of shown) {
    const subject = text.split("\n")[0]?.slice(0, 76) ?? "";
    console.log(
      `  "${subject}"\n     is ${truth}; before: ${before.label} ${percent(before.probability)}; after: ${after.label} ${percent(after.probability)}`,
    );
  }
  console.log(`
Classify your own text   npm run coordinator -- classify ${dataDir} "Dear friend, claim your prize"
Export the model (ONNX)  npm run coordinator -- export ${dataDir} --model spam-or-ham.onnx
Audit bundle             ${measured.bundle}
Logs and data            ${dir} (remove ${home} to remove all of it)`);
}
