import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type Locked, lockFolder } from "./lock.ts";

let dir = "";
let pid = "";
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "zoswarm-lock-"));
  pid = join(dir, "process.pid");
});
afterEach(() => rm(dir, { recursive: true, force: true }));

const heldBy = (holder: number | undefined) => ({
  ok: false,
  code: "folder-in-use",
  message: expect.stringContaining(`${dir} is in use by process ${holder}: stop that one first`),
});

function release(locked: Locked): void {
  if (!locked.ok) throw new Error(locked.message);
  locked.release();
}

/** A process that holds the folder by this very module until it is killed. */
async function holder(): Promise<ChildProcess> {
  const { child, ok } = await starter();
  expect(ok).toBe(true);
  return child;
}

/** A process that tries to hold the folder, and stays. */
async function starter(): Promise<{ child: ChildProcess; ok: boolean }> {
  const module = new URL("./lock.ts", import.meta.url).href;
  const source = `import { lockFolder } from ${JSON.stringify(module)};
    console.log(JSON.stringify(lockFolder(${JSON.stringify(dir)})));
    process.stdin.resume();`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", source], { stdio: ["pipe", "pipe", "inherit"] });
  const [said] = await once(child.stdout, "data");
  return { child, ok: JSON.parse(String(said)).ok };
}

test("a folder that a live process holds is refused with its number; when that one is killed, its hold is taken over", async () => {
  const child = await holder();
  try {
    expect(lockFolder(dir)).toMatchObject(heldBy(child.pid));
    expect(await readFile(pid, "utf8")).toBe(String(child.pid));
  } finally {
    const ended = once(child, "exit");
    child.kill("SIGKILL");
    await ended;
  }
  expect(existsSync(pid)).toBe(true);
  const taken = lockFolder(dir);
  expect(taken.ok).toBe(true);
  expect(await readFile(pid, "utf8")).toBe(String(process.pid));
  release(taken);
});

// In a container the one before was process 1, as the next one is.
test("what a crash left is no hold, even where its number is that of a process that lives", async () => {
  await writeFile(pid, "1");
  await writeFile(join(dir, "process.lock"), "");
  release(lockFolder(dir));
});

test("of many that start at once after a crash, one holds the folder", async () => {
  const first = await holder();
  const ended = once(first, "exit");
  first.kill("SIGKILL");
  await ended;
  const rivals = await Promise.all(Array.from({ length: 6 }, () => starter()));
  try {
    expect(rivals.map(({ ok }) => ok).sort()).toEqual([false, false, false, false, false, true]);
  } finally {
    for (const { child } of rivals) child.kill("SIGKILL");
  }
});

test("a second hold of the same process is refused, until the first is released", async () => {
  const first = lockFolder(dir);
  expect(lockFolder(dir)).toMatchObject(heldBy(process.pid));
  release(first);
  expect(await readdir(dir)).toEqual(["process.lock"]);
  release(lockFolder(dir));
});

test("releasing again does no harm, and other folders are not concerned", async () => {
  const other = await mkdtemp(join(tmpdir(), "zoswarm-lock-"));
  try {
    const [here, there] = [lockFolder(dir), lockFolder(other)];
    release(here);
    release(here);
    expect(lockFolder(other).ok).toBe(false);
    release(there);
  } finally {
    await rm(other, { recursive: true });
  }
});

test("a holder that cannot be read is told without a number", async () => {
  const held = lockFolder(dir);
  await writeFile(pid, "\0\0\0");
  expect(lockFolder(dir)).toMatchObject({ message: expect.stringContaining("is in use by another process: stop") });
  release(held);
});

test("a lock file that is damaged is refused by name", async () => {
  await writeFile(join(dir, "process.lock"), "x".repeat(5_000));
  expect(() => lockFolder(dir)).toThrow(`data folder ${dir} cannot be held: file is not a database`);
});

test("a folder that is not there cannot be held, and is named", () => {
  expect(() => lockFolder(join(dir, "none"))).toThrow(`data folder ${join(dir, "none")} cannot be held: unable to open database file`);
});
