/** `npm run vectors -- FILE`: runs a vector file through every implementation of the arithmetic. Without a file, through our own. */
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { isDeepStrictEqual } from "node:util";
import * as z from "zod";
import { implementationsOf, vectorFile } from "./cases.ts";

const own = fileURLToPath(new URL("../../shared/vectors/vectors.json", import.meta.url));
const files = process.argv.slice(2).filter((argument) => argument !== "--");
let passed = 0;
let failed = 0;

for (const file of files.length > 0 ? files.map((name) => resolve(process.env.INIT_CWD ?? ".", name)) : [own]) {
  const parsed = read(file);
  if (!parsed.ok) {
    console.error(`${file}: ${parsed.message}`);
    process.exit(1);
  }
  for (const one of parsed.cases) for (const { implementation, compute } of implementationsOf(one)) check(one, implementation, compute);
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed > 0 ? 1 : 0;

function read(file: string) {
  try {
    const parsed = vectorFile.safeParse(JSON.parse(readFileSync(file, "utf8")));
    return parsed.success
      ? { ok: true as const, cases: parsed.data.cases }
      : { ok: false as const, message: `not a vector file of version 1:\n${z.prettifyError(parsed.error)}` };
  } catch (error) {
    return { ok: false as const, message: (error as Error).message };
  }
}

function check(one: { name: string; expect: unknown }, implementation: string, compute: () => unknown): void {
  let got: unknown;
  try {
    got = compute();
  } catch (error) {
    got = `fault: ${(error as Error).message}`;
  }
  const equal = isDeepStrictEqual(got, one.expect);
  if (equal) passed++;
  else failed++;
  console.log(`${equal ? "ok  " : "FAIL"} ${one.name} (${implementation})`);
  if (!equal) console.log(`     expected ${JSON.stringify(one.expect).slice(0, 500)}\n     got      ${JSON.stringify(got)?.slice(0, 500)}`);
}
