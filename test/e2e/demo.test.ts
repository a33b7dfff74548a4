/** The demo's figures, from a real run of few steps: its processes' own measurements against what the project promises. */
import { spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const WEIGHTS_BYTES = 4 * 6_975_744;

/** Anonymous memory of a process's workers now, in bytes, where the system tells (Linux). */
function workersMemory(pid: number): number[] {
  try {
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ");
    return children
      .filter((child) => readFileSync(`/proc/${child}/cmdline`, "utf8").includes("worker/src/main.ts"))
      .map((child) => 1024 * Number(/RssAnon:\s+(\d+)/.exec(readFileSync(`/proc/${child}/status`, "utf8"))?.[1]));
  } catch {
    return [];
  }
}

test("a short demo reports four equal replicas, little traffic and little overhead", async () => {
  const dir = await mkdtemp(join(tmpdir(), "zoswarm-demo-"));
  try {
    const file = join(dir, "report.json");
    const script = fileURLToPath(new URL("../../deploy/demo/run.ts", import.meta.url));
    const demo = spawn(process.execPath, [script, "--steps", "2", "--report", file], { stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    let memory = 0;
    for (const stream of [demo.stdout, demo.stderr])
      stream.on("data", (text) => {
        output += text;
        memory = Math.max(memory, ...workersMemory(demo.pid ?? 0));
      });
    const code = await new Promise((resolve) => demo.on("close", resolve));
    expect(code, output).toBe(0);

    const report = JSON.parse(await readFile(file, "utf8"));
    expect(report).toMatchObject({ steps: 2, forwards: 32 });
    expect(report.startAccuracy).toBeGreaterThanOrEqual(0.48);
    expect(report.startAccuracy).toBeLessThanOrEqual(0.52);
    expect(report.endLoss).toBeLessThan(report.startLoss);
    expect(report.workers).toHaveLength(3);
    for (const { stateHash } of report.workers) expect(stateHash).toBe(report.coordinatorStateHash);
    expect(report.workers.reduce((n: number, { accepted }: { accepted: number }) => n + accepted, 0)).toBe(32);
    for (const bytes of report.peakRssBytes.workers) expect(bytes).toBeGreaterThan(WEIGHTS_BYTES);
    if (process.platform === "linux") expect(memory).toBeGreaterThan(WEIGHTS_BYTES);
    expect(memory).toBeLessThanOrEqual(1.6 * WEIGHTS_BYTES + 300e6);
    expect(report.bytesPerStep.workerOut.payload).toBeLessThanOrEqual(400);
    expect(report.bytesPerStep.workerIn.payload).toBeLessThanOrEqual(2000);
    for (const name of ["manifest.json", "initial.bin", "ledger.jsonl", "chain.bin"])
      expect(existsSync(join(report.bundle, name))).toBe(true);
    expect(output).not.toContain("\x1b");
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
});
