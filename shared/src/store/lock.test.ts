import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type Locked, lockFolder } from "./lock.ts";

let dir = "";
let lock = "";
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "zoswarm-lock-"));
  lock = join(dir, "process.pid");
});
afterEach(() => rm(dir, { recursive: true, force: true }));

const heldBy = (pid: number | undefined) => ({
  ok: false,
  code: "folder-in-use",
  message: expect.stringContaining(`${dir} is in use by process ${pid}: stop that one first`),
});

function release(locked: Locked): void {
  if (!locked.ok) throw new Error(locked.message);
  locked.release();
}

/** A process that holds the folder by this very module until it is killed. */
async function holder(): Promise<ChildProcess> {
  const module = new URL("./lock.ts", import.meta.url).href;
  const source = `import { lockFolder } from ${JSON.stringify(module)};
    console.log(JSON.stringify(lockFolder(${JSON.stringify(dir)})));
    process.stdin.resume();`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", source], { stdio: ["pipe", "pipe", "inherit"] });
  const [said] = await once(child.stdout, "data");
  expect(JSON.parse(String(said))).toEqual({ ok: true });
  return child;
}

test("a folder that a live process holds is refused with its number; when that one is killed, its hold is taken over", async () => {
  const child = await holder();
  try {
    expect(lockFolder(dir)).toMatchObject(heldBy(child.pid));
    expect(await readFile(lock, "utf8")).toBe(String(child.pid));
  } finally {
    const ended = once(child, "exit");
    child.kill("SIGKILL");
    await ended;
  }
  expect(existsSync(lock)).toBe(true);
  const taken = lockFolder(dir);
  expect(taken.ok).toBe(true);
  expect(await readFile(lock, "utf8")).toBe(String(process.pid));
  release(taken);
});

test("a second hold of the same process is refused, until the first is released", async () => {
  const first = lockFolder(dir);
  expect(lockFolder(dir)).toMatchObject(heldBy(process.pid));
  release(first);
  expect(await readdir(dir)).toEqual([]);
  release(lockFolder(dir));
});

test("releasing again does no harm, and other folders are not concerned", async () => {
  const other = await mkdtemp(join(tmpdir(), "zoswarm-lock-"));
  try {
    const [here, there] = [lockFolder(dir), lockFolder(other)];
    release(here);
    release(here);
    expect(existsSync(join(other, "process.pid"))).toBe(true);
    release(there);
  } finally {
    await rm(other, { recursive: true });
  }
});

// Numbers that the operating system would take for a group of processes must not be asked about.
test.each(["", "not a number", "0", "-1", "1.5", "NaN", "\0\0\0\0"])("a damaged lock file (%j) holds nothing", async (content) => {
  await writeFile(lock, content);
  const locked = lockFolder(dir);
  expect(locked.ok).toBe(true);
  expect(await readFile(lock, "utf8")).toBe(String(process.pid));
  release(locked);
});

test("a folder that is not there cannot be held, and is named", () => {
  expect(() => lockFolder(join(dir, "none"))).toThrow(`data folder ${join(dir, "none")} cannot be held: ENOENT`);
});
