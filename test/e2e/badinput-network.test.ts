/** Wrong addresses, taken ports and peers of another protocol version, against the real programs: a clear refusal, and nothing is touched. */
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loopbackNode, stopLater } from "@zoswarm/shared/net/loopback";
import { acceptSessions, openSession } from "@zoswarm/shared/net/session";
import {
  type CoordinatorFrame,
  encodeCoordinatorFrame,
  encodeWorkerFrame,
  parseCoordinatorFrame,
  parseWorkerFrame,
} from "@zoswarm/shared/protocol/messages";
import { PROTOCOL_VERSION } from "@zoswarm/shared/protocol/topics";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { refusalOf, treeOf } from "./badinput.ts";
import { coordinatorArgs, createProcesses, joinAddress, type Running, workerArgs } from "./processes.ts";
import { writeTinyJob } from "./tinyjob.ts";

const SOMEBODY = "12D3KooWKjsNskaEChUxL1THa4FKiZsRG6fxBS2SEZf2hJFYkkBN";
const OTHER_VERSION = PROTOCOL_VERSION + 1;
const processes = createProcesses();
const nodes = stopLater();
let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "zoswarm-badinput-"));
});
afterEach(async () => {
  await processes.killAll();
  await nodes.stopAll();
  rmSync(dir, { recursive: true, force: true });
});

const volunteer = (address: string, more: readonly string[] = []) =>
  processes.start("worker", workerArgs(address, join(dir, "worker"), more));
const launch = (job: string, more: readonly string[] = []) => processes.start("coordinator", coordinatorArgs(job, join(dir, "data"), more));

async function stopped(coordinator: Running): Promise<void> {
  coordinator.kill("SIGTERM");
  expect(await coordinator.ended).toEqual({ code: 0, signal: null });
}

/** A port of loopback that something else listens on. */
async function takenPort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  nodes.keep({
    stop: async () => {
      server.close();
    },
  });
  return (server.address() as AddressInfo).port;
}

describe("a worker's --join", () => {
  it("that is no multiaddr, or lacks a part, is refused with what it must look like; nothing is made", async () => {
    for (const [address, why] of [
      ["example.org:4100", "not a multiaddr"],
      ["/ip4/300.0.0.1/tcp/4100", "not a multiaddr"],
      ["/ip4/127.0.0.1/tcp/4100", "no peer id"],
      [`/ip4/127.0.0.1/udp/4100/quic-v1/p2p/${SOMEBODY}`, "no TCP port"],
    ] as const) {
      const said = await refusalOf(volunteer(address));
      expect(said).toContain(`address "${address}": ${why}`);
      expect(said).toContain("like /ip4/203.0.113.7/tcp/4100/p2p/12D3Koo...");
    }
    expect(treeOf(dir)).toEqual({});
  });

  it("where nobody answers is given up after a few tries, with the remedy; only the worker's own key and the folder's lock are kept", async () => {
    const coordinator = nodes.keep(await loopbackNode("coordinator"));
    const [address = ""] = coordinator.addresses();
    await coordinator.stop();
    const worker = volunteer(address);
    const said = await refusalOf(worker);
    expect(said).toContain(`cannot reach ${address} (`);
    expect(said).toContain("check the address, that the coordinator runs, and its firewall");
    expect(worker.lines[0]).toMatch(/trying again \(5 times, then this ends\)$/);
    expect(Object.keys(treeOf(dir) ?? {})).toEqual(["worker", "worker/peer.key", "worker/process.lock"]);
  });

  it("that is answered by another peer is refused with the remedy", async () => {
    const [one, other] = await Promise.all([nodes.keep(await loopbackNode("coordinator")), nodes.keep(await loopbackNode("coordinator"))]);
    const address = (one.addresses()[0] ?? "").replace(one.peerId, other.peerId);
    expect(await refusalOf(volunteer(address))).toContain(`${address} is answered by another peer id: ask for the coordinator's current`);
  });
});

describe("a port that is taken", () => {
  it("for workers or for the page is named with the remedy; the job's folder stays whole, and another port goes on with it", async () => {
    const { job } = await writeTinyJob(join(dir, "job"));
    const first = launch(job);
    const jobId = (await first.line(/^job "Weather or kitchen" (\w+)/))[1];
    await first.line(/^held out after step 0/);
    await stopped(first);
    const port = await takenPort();
    const { "data/ledger/lock.mdb": _lock, ...before } = treeOf(dir) ?? {};
    const unchanged = () => {
      const { "data/ledger/lock.mdb": _lock, ...now } = treeOf(dir) ?? {};
      expect(now).toEqual(before);
    };

    expect(await refusalOf(launch(job, ["--listen", `/ip4/127.0.0.1/tcp/${port}`]))).toBe(
      `listen: port ${port} is taken by another program; choose another port, or 0 for any free one`,
    );
    unchanged();
    expect(await refusalOf(launch(job, ["--http", `127.0.0.1:${port}`]))).toBe(
      `HTTP port ${port} on 127.0.0.1 is taken by another program: choose another, or 0 for any free one.`,
    );
    unchanged();
    expect((await launch(job).line(/^job "Weather or kitchen" (\w+)/))[1]).toBe(jobId);
  });

  it("is replaced by a free one where that was asked for", async () => {
    const { job } = await writeTinyJob(join(dir, "job"));
    const port = await takenPort();
    const running = launch(job, ["--any-port", "--listen", `/ip4/127.0.0.1/tcp/${port}`, "--http", `127.0.0.1:${port}`]);
    expect(await joinAddress(running)).not.toContain(`/tcp/${port}/`);
    expect(running.lines.filter((line) => /port \d+ .*taken.*taking a free one$/.test(line))).toHaveLength(2);
  });
});

describe("an option that makes no sense", () => {
  it("is refused with its name and value before anything is made", async () => {
    const { job } = await writeTinyJob(join(dir, "job"));
    writeFileSync(join(dir, "file"), "");
    const before = treeOf(dir);
    for (const [option, value, remedy] of [
      ["--listen", "127.0.0.1:4100", "like /ip4/0.0.0.0/tcp/4100"],
      ["--listen", "/ip4/127.0.0.1/tcp/65536", "like /ip4/0.0.0.0/tcp/4100"],
      ["--announce", "/example.org/4100", "like /dns4/example.org/tcp/4100"],
      ["--http", "8420", "HOST:PORT"],
      ["--wait-for-workers", "0", "from 1 to 2000"],
      ["--report", join(dir, "none", "report.json"), "in a folder that exists"],
    ] as const) {
      const said = await refusalOf(launch(job, [option, value]));
      expect(said).toContain(option);
      expect(said).toContain(value);
      expect(said).toContain(remedy);
    }
    const address = `/ip4/127.0.0.1/tcp/4100/p2p/${SOMEBODY}`;
    expect(await refusalOf(volunteer(address, ["--threads", "0"]))).toMatch(/--threads.+'0'.+whole number from 1 to \d+/s);
    expect(await refusalOf(volunteer(address, ["--report", join(dir, "none", "r.json")]))).toContain("in a folder that exists");
    expect(await refusalOf(volunteer(address, ["--data", join(dir, "file")]))).toMatch(/data folder .+file: cannot be used .+ --data$/);
    expect(treeOf(dir)).toEqual(before);
  });
});

describe("a peer of another protocol version", () => {
  it("that says so is sent away with both versions, and the coordinator goes on", async () => {
    const { job } = await writeTinyJob(join(dir, "job"), { job: { steps: 1 } });
    const coordinator = launch(job);
    const address = await joinAddress(coordinator);
    const stranger = nodes.keep(await loopbackNode("worker"));
    const opened = await openSession(stranger, address, AbortSignal.timeout(30_000));
    if (!opened.ok) throw new Error(opened.message);
    const farewell = new Promise<CoordinatorFrame>((resolve, reject) => {
      opened.session.onFrame((bytes) => {
        const parsed = parseCoordinatorFrame(bytes);
        if (parsed.ok) resolve(parsed.frame);
        else reject(new Error(parsed.code));
      });
    });
    opened.session.send(
      encodeWorkerFrame({ kind: "hello", version: OTHER_VERSION, jobId: null, name: "stranger", device: "none", threads: 1, port: 0 }),
    );
    const message = `this coordinator speaks protocol ${PROTOCOL_VERSION}, your worker ${OTHER_VERSION}: use the version of zoswarm that the launcher uses`;
    expect(await farewell).toEqual({ kind: "farewell", code: "wrong-version", message });
    await coordinator.line(/^sent \S+ away: wrong-version: /);
    // A finished coordinator lingers for those who are still connected.
    await stranger.stop();

    const worker = volunteer(address);
    expect(await worker.ended).toEqual({ code: 0, signal: null });
    expect(await coordinator.ended).toEqual({ code: 0, signal: null });
  });

  it("that a worker joins is refused in the coordinator's words", async () => {
    const coordinator = nodes.keep(await loopbackNode("coordinator"));
    const versions: number[] = [];
    await acceptSessions(coordinator, (session) =>
      session.onFrame((bytes) => {
        const parsed = parseWorkerFrame(bytes);
        if (parsed.ok && parsed.frame.kind === "hello") versions.push(parsed.frame.version);
        session.send(encodeCoordinatorFrame({ kind: "farewell", code: "wrong-version", message: "this coordinator speaks protocol 9" }));
      }),
    );
    expect(await refusalOf(volunteer(coordinator.addresses()[0] ?? ""))).toBe("this coordinator speaks protocol 9");
    expect(versions).toEqual([PROTOCOL_VERSION]);
  });

  it("that does not know our streams at all is refused with the remedy", async () => {
    const coordinator = nodes.keep(await loopbackNode("coordinator"));
    const [address = ""] = coordinator.addresses();
    expect(await refusalOf(volunteer(address))).toBe(`${address} speaks another protocol version: bring both programs to the same release`);
  });

  it("whose frames are noise is sent away, and the coordinator goes on", async () => {
    const { job } = await writeTinyJob(join(dir, "job"));
    const coordinator = launch(job);
    const stranger = nodes.keep(await loopbackNode("worker"));
    const opened = await openSession(stranger, await joinAddress(coordinator), AbortSignal.timeout(30_000));
    if (!opened.ok) throw new Error(opened.message);
    opened.session.send(randomBytes(100));
    await coordinator.line(/^sent \S+ away: malformed: a frame of 100 bytes is not one of protocol 1/);
    await stopped(coordinator);
  });
});
