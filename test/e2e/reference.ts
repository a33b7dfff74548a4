/** The specification's own implementation, where a copy of it lies beside the project and Python has numpy. */
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

const REFERENCE = fileURLToPath(new URL("../../../shared/spec/reference.py", import.meta.url));
const isHere = existsSync(REFERENCE) && spawnSync("python3", ["-c", "import numpy"]).status === 0;
if (!isHere) console.log("skipped: replay of bundles by reference.py, because it or python3 with numpy is not here");

/** What it prints of a bundle, the state hash among it; null where it cannot be run. Throws where it fails. */
export function replayByReference(bundle: string): string | null {
  return isHere ? execFileSync("python3", [REFERENCE, "replay", bundle], { encoding: "utf8" }) : null;
}
