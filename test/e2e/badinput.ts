/** What every refusal must be: exit code 1, a message, no stack trace; and what a folder holds, to see that nothing was touched. */
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "vitest";
import type { Running } from "./processes.ts";

/** Waits for the end, which must be a refusal in plain words; returns what was said on stderr. */
export async function refusalOf(one: Running): Promise<string> {
  const isAtWork = await one.line(/^join with /).then(
    () => true,
    () => false,
  );
  if (isAtWork) throw new Error(`${one.name} was not refused:\n${one.lines.join("\n")}`);
  const ended = await one.ended;
  const said = one.errors.join("\n");
  expect(ended, one.lines.join("\n")).toEqual({ code: 1, signal: null });
  expect(said).not.toBe("");
  // Frames of a stack, Node's own last line, and objects that were printed instead of read.
  expect(one.lines.join("\n")).not.toMatch(/^\s+at |Node\.js v\d|\[object |UnhandledPromise/m);
  return said;
}

/** Every file and folder below `dir` with the SHA-256 of what it holds; null where there is no such folder. */
export function treeOf(dir: string): Record<string, string> | null {
  const tree: Record<string, string> = {};
  const walk = (folder: string) => {
    for (const entry of readdirSync(join(dir, folder), { withFileTypes: true })) {
      const name = join(folder, entry.name);
      if (entry.isDirectory()) {
        tree[name] = "folder";
        walk(name);
      } else
        tree[name] = createHash("sha256")
          .update(readFileSync(join(dir, name)))
          .digest("hex");
    }
  };
  try {
    walk("");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw error;
  }
  return tree;
}
