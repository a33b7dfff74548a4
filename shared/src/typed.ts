/** Paths as a person typed them: npm runs scripts in the package's folder and tells in INIT_CWD where the command was typed. */
import { resolve } from "node:path";

/** The absolute path of what was typed, resolved against the folder that it was typed in. */
export function typedPath(path: string): string {
  return resolve(process.env.INIT_CWD ?? process.cwd(), path);
}
