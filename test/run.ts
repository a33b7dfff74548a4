/**
 * `npm test`: lint, types, unit and end-to-end tests, vectors, one after the other; ends with `N passed, N failed`.
 * `--only lint,types` runs some stages; what follows `--` goes to vitest.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const ROOT = fileURLToPath(new URL("..", import.meta.url));

interface Outcome {
  passed: number;
  failed: number;
}

const STAGES: Record<string, (extra: readonly string[]) => Outcome> = {
  lint: () => whole("node_modules/@biomejs/biome/bin/biome", ["check", "--error-on-warnings", "."]),
  types: () => whole("node_modules/typescript/bin/tsc", ["--noEmit", "-p", "."]),
  tests: runTests,
  vectors: () => counted("test/vectors/run.ts", []),
};

function node(script: string, args: readonly string[], stdio: "inherit" | "pipe") {
  const env = process.stdout.isTTY ? process.env : { ...process.env, NO_COLOR: "1", FORCE_COLOR: "0" };
  return spawnSync(process.execPath, [join(ROOT, script), ...args], {
    cwd: ROOT,
    encoding: "utf8",
    env,
    stdio: ["ignore", stdio, "inherit"],
  });
}

/** A tool that passes or fails as a whole. */
function whole(script: string, args: readonly string[]): Outcome {
  const passed = node(script, args, "inherit").status === 0;
  return { passed: Number(passed), failed: Number(!passed) };
}

/** A script that counts for itself, in its last line. */
function counted(script: string, args: readonly string[]): Outcome {
  const { stdout, status } = node(script, args, "pipe");
  const [, passed, failed] = /^(\d+) passed, (\d+) failed\s*$/m.exec(stdout) ?? [];
  if (status !== 0 || passed === undefined) console.log(stdout);
  if (passed === undefined) return { passed: 0, failed: 1 };
  return { passed: Number(passed), failed: Number(failed) + Number(status !== 0 && failed === "0") };
}

interface VitestReport {
  numPassedTests: number;
  numFailedTests: number;
  testResults: { status: string; assertionResults: unknown[] }[];
}

function runTests(extra: readonly string[]): Outcome {
  const dir = mkdtempSync(join(tmpdir(), "zoswarm-test-"));
  try {
    const file = join(dir, "report.json");
    const { status } = node(
      "node_modules/vitest/vitest.mjs",
      ["run", "--reporter=default", "--reporter=json", `--outputFile=${file}`, ...extra],
      "inherit",
    );
    const report = JSON.parse(readFileSync(file, "utf8")) as VitestReport;
    // A file that cannot be loaded has no tests to count, but has failed.
    const broken = report.testResults.filter(
      ({ status: each, assertionResults }) => each === "failed" && assertionResults.length === 0,
    ).length;
    const failed = report.numFailedTests + broken;
    return { passed: report.numPassedTests, failed: failed === 0 && status !== 0 ? 1 : failed };
  } catch (error) {
    console.error(`the tests did not report: ${(error as Error).message}`);
    return { passed: 0, failed: 1 };
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

const { values, positionals } = parseArgs({ options: { only: { type: "string" } }, allowPositionals: true });
const stages = values.only?.split(",") ?? Object.keys(STAGES);
const unknown = stages.filter((stage) => !(stage in STAGES));
if (unknown.length > 0) {
  console.error(`--only ${unknown.join(",")}: unknown; the stages are ${Object.keys(STAGES).join(", ")}`);
  process.exit(1);
}
const total: Outcome = { passed: 0, failed: 0 };
for (const stage of stages) {
  console.log(`== ${stage}`);
  const { passed, failed } = STAGES[stage]?.(positionals) ?? { passed: 0, failed: 1 };
  console.log(`${stage}: ${failed === 0 ? "ok" : "FAILED"}`);
  total.passed += passed;
  total.failed += failed;
}
console.log(`${total.passed} passed, ${total.failed} failed`);
process.exitCode = total.failed > 0 ? 1 : 0;
