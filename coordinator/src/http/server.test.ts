import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Registry } from "prom-client";
import { afterEach, expect, test } from "vitest";
import { registerMetrics } from "./metrics.ts";
import { createSampleView, sampleStep, sampleWorker } from "./sample.ts";
import { healthSchema, jobSchema, stepsPageSchema, workersSchema } from "./schemas.ts";
import { createHttp, SECURITY_HEADERS, startHttp } from "./server.ts";

const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const each of undo.splice(0).reverse()) await each();
});

function http({ host = "127.0.0.1", dashboardDir = "/nowhere", view = createSampleView() } = {}) {
  const registry = new Registry();
  registerMetrics(registry, view);
  const faults: Error[] = [];
  const app = createHttp({ view, registry, host, dashboardDir, onFault: (error) => faults.push(error) });
  undo.push(() => app.close());
  return { app, view, faults, get: (url: string, headers = {}) => app.inject({ url, headers: { host: "localhost", ...headers } }) };
}

function builtPage(): string {
  const dir = mkdtempSync(join(tmpdir(), "zoswarm-page-"));
  undo.push(() => rmSync(dir, { recursive: true }));
  mkdirSync(join(dir, "assets"));
  writeFileSync(join(dir, "index.html"), "<!doctype html><title>page</title>");
  writeFileSync(join(dir, "assets", "main-1a2b.js"), "1");
  return dir;
}

test("every answer fits its schema", async () => {
  const { get, view } = http();
  expect(jobSchema.parse((await get("/api/job")).json())).toEqual(view.data.job);
  expect(workersSchema.parse((await get("/api/workers")).json()).workers).toEqual(view.data.workers);
  expect(stepsPageSchema.parse((await get("/api/steps?from=1")).json())).toEqual({
    steps: view.data.steps.slice(1),
    evaluations: view.data.evaluations.slice(1),
    next: null,
  });
  expect((await get("/api/steps")).json().evaluations).toHaveLength(2);
});

test("an answer is cut to its schema: nothing else leaves the process", async () => {
  const { get, view } = http();
  Object.assign(view.data.job, { secretKey: "k" });
  Object.assign(view.data.workers[0] as object, { address: "10.0.0.1" });
  expect((await get("/api/job")).body).not.toContain("secretKey");
  expect((await get("/api/workers")).body).not.toContain("10.0.0.1");
});

test("steps come in bounded pages", async () => {
  const view = createSampleView(2_500);
  const { get } = http({ view });
  const first = (await get("/api/steps?from=0")).json();
  expect(first.steps).toHaveLength(1_000);
  expect(first.next).toBe(1_000);
  const last = (await get("/api/steps?from=2000")).json();
  expect(last.steps.at(-1)).toEqual(sampleStep(2_499));
  expect(last.next).toBe(null);
});

test.each(["from=x", "from=-2", "from=1.5", "from=99999999999"])("/api/steps?%s is refused by name", async (query) => {
  const { get } = http();
  const answer = await get(`/api/steps?${query}`);
  expect(answer.statusCode).toBe(400);
  expect(answer.json()).toEqual({ code: "bad-request", message: expect.stringContaining("from") });
});

test("health is 200 while well, 503 with the reason while not", async () => {
  const { get, view } = http();
  expect((await get("/healthz")).statusCode).toBe(200);
  view.data.health = { status: "degraded", reason: "the disk is full" };
  const answer = await get("/healthz");
  expect(answer.statusCode).toBe(503);
  expect(healthSchema.parse(answer.json())).toEqual({ status: "degraded", reason: "the disk is full" });
});

test("a fault of the view is a 500 that tells strangers nothing and the log everything", async () => {
  const { get, view, faults } = http();
  view.data.job.forwardsPerSecond = Number.NaN;
  const answer = await get("/api/job");
  expect(answer.statusCode).toBe(500);
  expect(answer.json().code).toBe("fault");
  expect(faults.map(String).join()).toContain("forwardsPerSecond");
});

test("metrics are read from the view, and what is not known yet has no series", async () => {
  const { get, view } = http();
  view.data.workers.push({ ...sampleWorker("bob"), state: "gone", stateHash: "unknown" });
  const text = (await get("/metrics")).body;
  expect(text).toContain("zoswarm_step 3\n");
  expect(text).toContain("zoswarm_heldout_score 0.5\n");
  expect(text).toContain('zoswarm_results_total{outcome="accepted"} 48\n');
  expect(text).toContain('zoswarm_workers{state="evaluating"} 1\n');
  expect(text).toContain('zoswarm_workers{state="gone"} 1\n');
  expect(text).toContain('zoswarm_replicas{state_hash="agrees"} 1\n');
  expect(text).toContain('zoswarm_bytes_per_step{role="worker",direction="out"} 210\n');
  expect(text).not.toContain('role="coordinator",direction="out"');
  view.data.job.lastEvaluation = null;
  view.data.job.results = { accepted: 64 };
  const later = (await get("/metrics")).body;
  expect(later).not.toMatch(/^zoswarm_heldout_score /m);
  expect(later).toContain('zoswarm_results_total{outcome="accepted"} 64\n');
  expect(later).toContain('zoswarm_results_total{outcome="late"} 0\n');
});

test("on loopback, a request that names another host is refused; on other addresses any name may be used", async () => {
  const local = http();
  const refused = await local.get("/api/job", { host: "evil.example" });
  expect(refused.statusCode).toBe(403);
  expect(refused.json().code).toBe("wrong-host");
  expect((await http({ host: "0.0.0.0" }).get("/api/job", { host: "lab.example" })).statusCode).toBe(200);
});

test("the page is served with headers that allow its own scripts and no others; hashed files are kept, the page is not", async () => {
  const { get } = http({ dashboardDir: builtPage() });
  const page = await get("/");
  expect(page.statusCode).toBe(200);
  expect(page.headers).toMatchObject({ ...SECURITY_HEADERS, "cache-control": "no-cache" });
  expect(page.headers["content-security-policy"]).not.toContain("unsafe");
  expect((await get("/assets/main-1a2b.js")).headers["cache-control"]).toContain("immutable");
  expect((await get("/../../etc/passwd")).statusCode).toBe(404);
  expect((await get("/assets/missing.js")).json().code).toBe("not-found");
});

test("a page that is not built says how to build it, and the data is served all the same", async () => {
  const { get } = http();
  const page = await get("/");
  expect(page.statusCode).toBe(503);
  expect(page.body).toContain("npx vite build coordinator/dashboard");
  expect((await get("/api/job")).statusCode).toBe(200);
});

test("nothing but reading is answered", async () => {
  const { app } = http();
  for (const method of ["POST", "PUT", "DELETE"] as const)
    expect((await app.inject({ method, url: "/api/job", headers: { host: "localhost" } })).statusCode).toBe(404);
});

test("a taken port and a foreign address are values that say what to do", async () => {
  const view = createSampleView();
  const options = { view, registry: new Registry(), host: "127.0.0.1", dashboardDir: "/nowhere" };
  const first = await startHttp({ ...options, port: 0 });
  if (!first.ok) throw new Error(first.message);
  undo.push(first.close);
  expect(await startHttp({ ...options, port: first.port })).toMatchObject({
    ok: false,
    code: "port-in-use",
    message: expect.stringContaining(`${first.port}`),
  });
  expect(await startHttp({ ...options, host: "192.0.2.1", port: 0 })).toMatchObject({ ok: false, code: "no-such-address" });
  expect(view.listeners()).toBe(1);
});
