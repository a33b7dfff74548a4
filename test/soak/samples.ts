/**
 * Loaded into every process of a soak by NODE_OPTIONS=--import: writes down now and then what the process holds. It changes nothing
 * and does not keep the process alive. A line of JSON each time, in SOAK_SAMPLES/PID.jsonl.
 */
import { appendFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { isMainThread } from "node:worker_threads";

const EVERY_MS = 2_000;

export interface Sample {
  /** Since the process started. */
  seconds: number;
  rssBytes: number;
  heapBytes: number;
  /** Open files and sockets; null where the system does not list them. */
  handles: number | null;
  /** What keeps the event loop going. */
  timers: number;
  resources: number;
}

function handles(): number | null {
  try {
    return readdirSync("/proc/self/fd").length;
  } catch {
    return null;
  }
}

function sample(): Sample {
  const { rss, heapUsed } = process.memoryUsage();
  const active = process.getActiveResourcesInfo();
  const timers = active.filter((name) => name === "Timeout").length;
  return { seconds: process.uptime(), rssBytes: rss, heapBytes: heapUsed, handles: handles(), timers, resources: active.length };
}

const dir = process.env.SOAK_SAMPLES;
if (isMainThread && dir !== undefined)
  setInterval(() => appendFileSync(join(dir, `${process.pid}.jsonl`), `${JSON.stringify(sample())}\n`), EVERY_MS).unref();
