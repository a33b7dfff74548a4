/** Full disks, against the real programs: a clear refusal with the remedy, nothing half-written, nothing lost. */
import { spawnSync } from "node:child_process";
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { refusalOf, treeOf } from "./badinput.ts";
import { coordinatorArgs, createProcesses, joinAddress, portToKeep, workerArgs } from "./processes.ts";
import { writeTinyJob } from "./tinyjob.ts";

const processes = createProcesses();
let dir: string;
/** Where the small disk is mounted, when there is one. */
let disk: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "zoswarm-badinput-"));
  disk = join(dir, "disk");
  mkdirSync(disk);
});
afterEach(async () => {
  await processes.killAll();
  unmount(disk);
  rmSync(dir, { recursive: true, force: true });
});

function mount(at: string, kilobytes: number): boolean {
  return spawnSync("mount", ["-t", "tmpfs", "-o", `size=${kilobytes}k`, "tmpfs", at]).status === 0;
}

function unmount(at: string): void {
  spawnSync("umount", [at]);
}

function mayMount(): boolean {
  const at = mkdtempSync(join(tmpdir(), "zoswarm-mount-"));
  const may = mount(at, 64);
  if (may) unmount(at);
  rmSync(at, { recursive: true });
  return may;
}

/** Fills the disk to the last byte. */
function fill(file: string): void {
  const handle = openSync(file, "w");
  try {
    for (let bytes = 2 ** 20; bytes >= 1; ) {
      try {
        writeSync(handle, new Uint8Array(bytes));
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
        bytes /= 2;
      }
    }
  } finally {
    closeSync(handle);
  }
}

const SMALL_DISKS = mayMount();
if (!SMALL_DISKS) console.log("skipped: tests of full disks, because this user may not mount a small one (tmpfs)");

describe.skipIf(!SMALL_DISKS)("a full disk", () => {
  it("is known before a job is made: what is free, what is needed, and the disk as it was", async () => {
    const { job } = await writeTinyJob(join(dir, "job"), { width: 128 });
    mount(disk, 3000);
    const said = await refusalOf(processes.start("coordinator", coordinatorArgs(job, join(disk, "deep", "data"))));
    expect(said).toMatch(
      /^the disk that holds \S+\/disk\/deep\/data has \d\.\d MB free and \d\.\d MB are needed: free some space, or name/,
    );
    expect(said).toContain("--data");
    expect(treeOf(disk)).toEqual({});
  });

  it("stops a running coordinator in good order; with room again it goes on from the same step", async () => {
    const { job } = await writeTinyJob(join(dir, "job"), { job: { steps: 100_000 } });
    mount(disk, 8000);
    const data = join(disk, "data");
    const first = processes.start("coordinator", coordinatorArgs(job, data));
    const worker = processes.start("worker", workerArgs(await joinAddress(first), join(dir, "worker")));
    await first.line(/^step 5\//);
    // While nobody works nothing is written, so that it is certain which write meets the full disk.
    worker.kill("SIGTERM");
    await first.line(/^worker .* left$/);
    const last = Number(newest(first.lines));
    fill(join(disk, "filling"));
    processes.start("worker", workerArgs(await joinAddress(first), join(dir, "second")));
    const ended = await first.ended;
    expect(ended, first.lines.join("\n")).toEqual({ code: 1, signal: null });
    const full = /^the disk that holds \S+\/disk\/data has \d\.\d MB free and \d\.\d MB are needed: free some space/;
    expect(first.errors.join("\n")).toMatch(full);
    expect(first.errors).toHaveLength(1);

    // Still full: refused at once, and the folder is as it was.
    const before = treeOf(data);
    expect(await refusalOf(processes.start("coordinator", coordinatorArgs(job, data)))).toMatch(full);
    expect(treeOf(data)).toEqual(before);

    rmSync(join(disk, "filling"));
    const again = processes.start("coordinator", coordinatorArgs(job, data));
    processes.start("worker", workerArgs(await joinAddress(again), join(dir, "third")));
    const [, step] = await again.line(/^step (\d+)\//);
    // A step may be durable whose line the full disk came before.
    expect([last + 1, last + 2]).toContain(Number(step));
  });

  it("at a worker is told with what it needs, and no half download is left", async () => {
    const { job } = await writeTinyJob(join(dir, "job"), { width: 512 });
    const address = await joinAddress(processes.start("coordinator", coordinatorArgs(job, join(dir, "data"))));
    mount(disk, 600);
    const data = join(disk, "worker");
    expect(await refusalOf(processes.start("worker", workerArgs(address, data)))).toMatch(
      /^weights: the disk that holds \S+\/disk\/worker\/blobs has \d+ MB free and \d+ MB are needed: free some space, or choose/,
    );
    const left = Object.keys(treeOf(data) ?? {}).filter(
      (name) => !/^(peer\.key|process\.lock|blobs|blobs\/[0-9a-f]{64}\.(blob|list))$/.test(name),
    );
    expect(left).toEqual([]);

    unmount(disk);
    mount(disk, 3000);
    expect(await refusalOf(processes.start("worker", workerArgs(address, data)))).toMatch(
      /^the disk that holds \S+\/disk\/worker has \d\.\d MB free and the ledger needs 4\.0 MB: free some space, or name .+ --data$/,
    );
    expect(Object.keys(treeOf(data) ?? {})).not.toContain("jobs");
  });

  it("ends a worker that has begun, and nobody else", async () => {
    const { job } = await writeTinyJob(join(dir, "job"), { job: { steps: 100_000 } });
    mount(disk, 8000);
    const port = await portToKeep();
    const start = () => processes.start("coordinator", coordinatorArgs(job, join(dir, "data"), [], port));
    const first = start();
    const address = await joinAddress(first);
    const worker = processes.start("worker", workerArgs(address, join(disk, "worker")));
    await worker.line(/^step 5\//);
    // While it has no coordinator it writes nothing, so that it is certain which write meets the full disk.
    first.kill("SIGTERM");
    await first.ended;
    await worker.line(/^the connection ended/);
    fill(join(disk, "filling"));
    const again = start();
    expect(await worker.ended, worker.lines.join("\n")).toEqual({ code: 1, signal: null });
    expect(worker.errors).toEqual([expect.stringMatching(/^the disk that holds \S+\/disk\/worker has 0\.0 MB free and the ledger needs/)]);
    const other = processes.start("worker", workerArgs(address, join(dir, "other")));
    await other.line(/^step /);
    again.kill("SIGTERM");
    expect(await again.ended).toEqual({ code: 0, signal: null });
  });
});

describe.skipIf(process.platform === "win32")("a limit on the size of files", () => {
  it("leaves no half folder, and is told", async () => {
    const { job } = await writeTinyJob(join(dir, "job"));
    const before = treeOf(dir);
    const said = await refusalOf(processes.start("coordinator", coordinatorArgs(job, join(dir, "data")), { after: "ulimit -f 4" }));
    expect(said).toMatch(/cannot write in \S+\/data\/blobs \(EFBIG: file too large/);
    expect(treeOf(dir)).toEqual(before);
  });
});

/** The newest step that was committed. */
function newest(lines: readonly string[]): string | undefined {
  return lines.findLast((line) => /^step \d+\//.test(line))?.match(/\d+/)?.[0];
}
