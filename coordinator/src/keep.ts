/** The job's own model in its data folder, from which the trained one is exported: the launcher's file, with a new head if the job adds one. */
import { writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { openModel } from "@zoswarm/shared/model/file";
import { externalizeFrozen } from "@zoswarm/shared/model/freeze";
import { writeModel } from "@zoswarm/shared/model/onnx";
import type { InputSpec } from "@zoswarm/shared/protocol/manifest";
import type { Fault } from "./folder.ts";
import { withHead } from "./graph.ts";
import type { JobFile } from "./jobfile.ts";

/** Beside the model's file: its weights, whatever files they came in. */
const WEIGHTS = "model.data";

/** Writes the model to `file`, its large weights streamed to a file beside it. Rejects with what the disk says. */
export async function keepModel(job: JobFile, inputs: readonly InputSpec[], file: string): Promise<{ ok: true } | Fault<string>> {
  const opened = openModel(job.model);
  if (!opened.ok) return opened;
  let { model } = opened;
  if (job.head !== undefined) {
    const headed = withHead(job, model, inputs);
    if (!headed.ok) return headed;
    model = headed.model;
  }
  const outside = externalizeFrozen(model, opened.source, WEIGHTS, { constants: false });
  if (outside.bytes > 0) await outside.write(join(dirname(file), WEIGHTS));
  await writeFile(file, writeModel(outside.model));
  return { ok: true };
}
