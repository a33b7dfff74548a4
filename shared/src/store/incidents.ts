/** What went wrong with a node's state or its peers, one JSON object a line, so that a volunteer or a launcher can read it afterwards. */
import { appendFileSync } from "node:fs";
import { join } from "node:path";

export interface Incident {
  code: "state-mismatch" | "epoch-rewind" | "fork" | "old-coordinator";
  /** In words for the person who runs the node. */
  message: string;
  seq?: number;
  step?: number;
}

/** Appends to `incidents.jsonl` in the node's data folder. A disk that refuses must not make the trouble worse: it is only said. */
export function recordIncident(dir: string, incident: Incident): void {
  try {
    appendFileSync(join(dir, "incidents.jsonl"), `${JSON.stringify({ at: new Date().toISOString(), ...incident })}\n`);
  } catch (error) {
    console.error(`incident not recorded: ${(error as Error).message}`);
  }
}
